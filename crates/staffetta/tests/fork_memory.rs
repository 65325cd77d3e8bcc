//! A forked child has nothing of its parent's memory, nor of the domain itself; what it reads in place ends it, and nobody else.
#![allow(unsafe_code)]

mod common;

use common::forked::{attached, beside_a_member, forked, play, recv, says_why, send, tried, Step, LONG};
use staffetta::{
    AcquireError, AllocateError, Domain, DomainError, EncloseFailure, Enclosed, Method, Parcel, Sender,
    TakeOutError,
};

#[derive(staffetta::Message, Default)]
struct Letter {
    end: Enclosed<Sender<u64>>,
    parcel: Enclosed<Parcel<u64>>,
}

#[test]
fn roles() {
    play(&[
        ("memory", |domain, _, step| memory(domain, step)),
        ("the domain", the_domain),
        ("faults", |domain, _, _| faults(domain)),
    ]);
}

/// Memory: parcels, capabilities, variables, what lies in parcels.
fn memory(domain: &Domain, step: &Step) {
    for method in Method::ALL {
        let parcels = domain.parcels(method);
        let (tx, rx) = domain.channel("").method(method).basic(2).unnamed::<Parcel<u64>>().unwrap();
        let parcel = parcels.new(5_u64).unwrap();
        tx.send(parcels.new(6_u64).unwrap()).unwrap();
        let status = forked(|| {
            // SAFETY: dropped, or refused and dropped, as the child's own.
            let copy = || unsafe { std::ptr::read(&parcel) };
            step.is("a parcel: sent");
            send(tx.send(copy()));
            step.is("a parcel: received");
            recv(rx.recv());
            step.is("a parcel: read");
            says_why(|| *parcel);
            step.is("a parcel: asked");
            assert_eq!(parcel.length(), 8);
            assert!(parcel.prefault().is_err());
            step.is("a parcel: dropped, released");
            drop(copy());
            match copy().release() {
                Ok(capability) => {
                    step.is("a capability: acquired");
                    let Err((mut capability, why)) = capability.acquire() else { panic!("acquired") };
                    assert!(matches!(why, AcquireError::Forked), "{why}");
                    step.is("a capability: read");
                    assert!(matches!(capability.acquire_read().err(), Some(AcquireError::Forked)));
                    step.is("a capability: sealed");
                    assert!(matches!(capability.seal(), Err(AcquireError::Forked)));
                    step.is("a capability: dropped");
                }
                Err(parcel) => drop(parcel),
            }
            step.is("allocation");
            assert!(matches!(parcels.new(1_u64), Err(AllocateError::Forked)));
            assert!(matches!(parcels.zeroed::<[u64]>(9), Err(AllocateError::Forked)));
            assert!(matches!(parcels.uninit_slice::<u64>(9), Err(AllocateError::Forked)));
        });
        tried(step, status);
        assert_eq!((*parcel, *rx.recv().unwrap()), (5, 6));
    }
    // A capability that is only read; a variable; lent memory.
    let capability = domain.parcels(Method::Capability).new(7_u64).unwrap().release().ok().unwrap();
    let read = capability.acquire_read().unwrap();
    let (mut variable, mut empty) = (domain.variable::<u64>().unwrap(), domain.variable::<u64>().unwrap());
    variable.set(3);
    let mut slice = domain.variable_slice::<u64>(4).unwrap();
    let (vars, into) = domain.channel("").unnamed::<u64>().unwrap();
    let (lends, reads) = domain.channel("").unnamed::<[u8]>().unwrap();
    let status = forked(|| {
        step.is("a mapping for reading: read, dropped");
        says_why(|| *read);
        // SAFETY: dropped as the child's own.
        drop(unsafe { std::ptr::read(&read) });
        step.is("a variable");
        assert!(variable.get().is_none() && variable.get_mut().is_none() && variable.zero(0).is_none());
        variable.set(4);
        assert!(!slice.set_slice(&[1, 2]) && slice.zero(2).is_none());
        let _ = (variable.length(), variable.capacity());
        step.is("a variable: sent, received");
        send(vars.send_variable(&mut variable));
        send(vars.try_send_variable(&mut variable));
        send(vars.send_variable_timeout(&mut variable, LONG));
        recv(into.recv_into(&mut empty));
        recv(into.try_recv_into(&mut empty));
        recv(into.recv_into_timeout(&mut empty, LONG));
        step.is("lent memory");
        send(lends.send_from(b"lent"));
        send(lends.send_from_timeout(b"lent", LONG));
        send(lends.send_slice(b"lent"));
        recv(reads.recv_into(&mut [0; 4]));
        recv(reads.recv_slice(&mut [0; 4]));
        // SAFETY: as above.
        unsafe { drop((std::ptr::read(&variable), std::ptr::read(&empty), std::ptr::read(&capability))) };
    });
    tried(step, status);
    assert_eq!((*read, variable.get()), (7, Some(&3)));
    drop(read);
    // Ends and parcels in a parcel.
    let mut letter = Parcel::new(domain, Letter::default()).unwrap();
    let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    let (other, _others) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    letter.end = letter.enclose(tx).unwrap();
    letter.parcel = letter.enclose(Parcel::new(domain, 8_u64).unwrap()).unwrap();
    let (end, parcel) = (letter.end, letter.parcel);
    let (ends, _get) = domain.channel("").buffered(1).unnamed::<Sender<u64>>().unwrap();
    let status = forked(|| {
        step.is("enclosures");
        // SAFETY: refused and dropped as the child's own.
        let Err(refused) = letter.enclose(unsafe { std::ptr::read(&other) }) else { panic!("enclosed") };
        assert!(matches!(refused.why, EncloseFailure::Forked));
        assert!(matches!(letter.take_out(end).err(), Some(TakeOutError::Forked)));
        assert!(matches!(letter.take_out(parcel).err(), Some(TakeOutError::Forked)));
        // SAFETY: as above.
        send(ends.send(unsafe { std::ptr::read(&other) }));
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(&letter) });
    });
    tried(step, status);
    assert_eq!(*letter.take_out(parcel).unwrap(), 8);
    letter.take_out(end).unwrap().send(1).unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
}

#[test]
fn a_child_may_use_no_memory() {
    beside_a_member("memory");
}

/// The domain itself, and a domain of the child's own.
fn the_domain(domain: &Domain, name: &str, step: &Step) {
    let heard = domain.channel("child").buffered(4).receiver::<u64>().unwrap();
    let status = forked(|| {
        step.is("the domain");
        assert!(matches!(domain.memory(), Err(DomainError::Forked)));
        assert!(matches!(domain.trim(), Err(DomainError::Forked)));
        assert!(matches!(domain.variable::<u64>().err(), Some(AllocateError::Forked)));
        attached(domain.sender::<u64>("d"));
        attached(domain.receiver::<u64>("d"));
        attached(domain.channel("").unnamed::<u64>());
        attached(domain.channel("d").broadcast(2).sender::<u64>());
        attached(domain.channel("d").broadcast(2).receiver::<u64>());
        attached(domain.channel("d").latest().sender::<u64>());
        attached(domain.channel("d").latest().receiver::<u64>());
        attached(domain.channel("d").service(2).client::<u64, u64>());
        attached(domain.channel("d").service(2).server::<u64, u64>());
        attached(domain.channel("d").dyn_sender());
        attached(domain.channel("d").dyn_receiver());
        attached(domain.channel("d").dyn_observer());
        attached(domain.channel("d").kind());
        let _ = (domain.name(), domain.window_base(), domain.window_bytes(), format!("{domain:?}"));
        step.is("a launcher");
        assert!(domain.launcher("/bin/true").spawn().is_err());
        step.is("the domain: opened again, as a member of its own");
        let own = common::options().join(name).unwrap();
        own.channel("child").buffered(4).sender::<u64>().unwrap().send(1).unwrap();
        drop(own);
        step.is("the domain: another one");
        let other = common::options().create().unwrap();
        let (tx, rx) = other.channel("").buffered(1).unnamed::<u64>().unwrap();
        tx.send(2).unwrap();
        assert_eq!(rx.recv().unwrap(), 2);
        step.is("the domain: dropped");
        // SAFETY: as the child's own.
        drop(unsafe { std::ptr::read(domain) });
    });
    tried(step, status);
    assert_eq!(heard.recv().unwrap(), 1);
}

#[test]
fn a_child_may_use_no_domain_but_one_of_its_own() {
    beside_a_member("the domain");
}

/// The guards of messages in place do not ask, each time they are read, whether this is still the process that they were made
/// in: the memory is not there in a child, so reading faults. That ends the child, and nothing else.
fn faults(domain: &Domain) {
    let (tx, rx) = domain.channel("").buffered(2).unnamed::<u64>().unwrap();
    tx.send(1).unwrap();
    let taken = rx.recv_ref().unwrap();
    let mut slot = tx.reserve().unwrap().zeroed();
    let desk = || domain.channel("desk").service(4);
    let (client, server) = (desk().client::<u64, u64>().unwrap(), desk().server::<u64, u64>().unwrap());
    let call = client.begin(7).unwrap();
    let request = server.recv().unwrap();
    let news = || domain.channel("news").broadcast(4);
    let (cast, heard) = (news().sender::<u64>().unwrap(), news().receiver::<u64>().unwrap());
    cast.send(3).unwrap();
    let seen = heard.recv_ref().unwrap();
    let quiet = || {
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a plain system call on a local struct.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) };
    };
    let reads: [(&str, &dyn Fn() -> u64); 4] = [
        ("a message in hand", &|| *taken),
        ("a slot", &|| *slot),
        ("a request", &|| *request),
        ("a message to all", &|| *seen),
    ];
    for (what, reads) in reads {
        let status = forked(|| {
            quiet();
            std::hint::black_box(reads());
        });
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{what}: {status:#x}");
    }
    let written = forked(|| {
        quiet();
        *slot = 5;
    });
    assert!(libc::WIFSIGNALED(written) && libc::WTERMSIG(written) == libc::SIGSEGV, "{written:#x}");
    *slot = 2;
    assert_eq!((*taken, *request, *seen), (1, 7, 3));
    drop((taken, seen));
    slot.send().unwrap();
    assert_eq!(rx.recv().unwrap(), 2);
    request.reply(8).unwrap();
    assert_eq!(call.wait().unwrap(), 8);
}

#[test]
fn a_guard_that_is_read_in_a_child_ends_the_child_and_nobody_else() {
    beside_a_member("faults");
}
