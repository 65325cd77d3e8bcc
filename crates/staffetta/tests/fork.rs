//! A forked child has nothing of its parent's domain: every operation says so, every drop does nothing, and nobody else
//! notices that it was there.
//!
//! The child walks through everything that a process can hold or call, and ends with a status of its own ([`TRIED`]): a child
//! that panics, faults or hangs on the way cannot end so. The step it was at is in memory that both share.
#![allow(unsafe_code)]

mod common;

use std::mem::ManuallyDrop;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::{finish, name, role, start, watchdog};
use staffetta::{
    AcquireError, AllocateError, AttachError, CallFailure, Domain, DomainError, DynRecvError, DynSendError,
    EncloseFailure, Enclosed, Method, Parcel, RecvError, Select, SelectError, SendError, SendFailure, Sender,
    SlowReceiver, TakeOutError, Wait,
};

/// How a child ends that has tried everything.
const TRIED: i32 = 77;
/// Long enough to hang aloud.
const LONG: Duration = Duration::from_secs(600);

/// What a child is doing: the text of its step.
struct Step(*const (AtomicPtr<u8>, AtomicUsize));

impl Step {
    fn new() -> Step {
        // SAFETY: fresh shared memory, zeroed, large enough and aligned to a page.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let page =
                libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED);
            Step(page.cast())
        }
    }

    fn is(&self, text: &'static str) {
        // SAFETY: mapped for ever.
        let (at, len) = unsafe { &*self.0 };
        len.store(0, Relaxed);
        at.store(text.as_ptr().cast_mut(), Relaxed);
        len.store(text.len(), Relaxed);
    }

    fn last(&self) -> &'static str {
        // SAFETY: a text of this program, which the child was forked from.
        unsafe {
            let (at, len) = &*self.0;
            match at.load(Relaxed) {
                at if at.is_null() => "nothing yet",
                at => std::str::from_utf8_unchecked(std::slice::from_raw_parts(at, len.load(Relaxed))),
            }
        }
    }
}

/// Forks; the child runs `child` and ends with [`TRIED`], or with 1 if it panicked. Gives the child's raw wait status.
fn forked(child: impl FnOnce()) -> i32 {
    // SAFETY: the child is the copy of a thread that held no lock; it ends by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: a plain system call; one that hangs ends as well.
        unsafe { libc::alarm(20) };
        let tried = catch_unwind(AssertUnwindSafe(child)).is_ok();
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(if tried { TRIED } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

/// The child of `forked` did everything.
#[track_caller]
fn tried(step: &Step, status: i32) {
    let tried = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == TRIED;
    assert!(tried, "the child ended with {status:#x} at: {}", step.last());
}

fn send<M>(result: Result<impl Sized, SendError<M>>) {
    match result {
        Err(SendError { why: SendFailure::Forked, .. }) => {}
        Err(SendError { why, .. }) => panic!("{why}"),
        Ok(_) => panic!("it was sent"),
    }
}

fn room(result: Result<impl Sized, SendFailure>) {
    assert!(matches!(result, Err(SendFailure::Forked)));
}

fn recv(result: Result<impl Sized, RecvError>) {
    assert!(matches!(result, Err(RecvError::Forked)));
}

fn dyn_send(result: Result<(), DynSendError>) {
    assert!(matches!(result, Err(DynSendError::Send(SendFailure::Forked))), "{result:?}");
}

fn dyn_recv(result: Result<impl Sized, DynRecvError>) {
    assert!(matches!(result, Err(DynRecvError::Recv(RecvError::Forked))));
}

fn chosen(result: Result<impl Sized, SelectError>) {
    assert!(matches!(result, Err(SelectError::Forked)));
}

fn attached(result: Result<impl Sized, AttachError>) {
    assert!(matches!(result, Err(AttachError::Forked)));
}

/// Reading it panics, and says why: the memory is not there.
fn says_why(read: impl FnOnce() -> u64) {
    let said = catch_unwind(AssertUnwindSafe(read)).expect_err("it is not there");
    assert!(said.downcast_ref::<&str>().is_some_and(|said| said.contains("forked")));
}

fn soon() -> Instant {
    Instant::now() + LONG
}

#[derive(staffetta::Message, Default)]
struct Letter {
    end: Enclosed<Sender<u64>>,
    parcel: Enclosed<Parcel<u64>>,
}

/// Channels of values of every mechanism, in both directions, with and without something in hand.
fn values(domain: &Domain, step: &Step) {
    for wait in Wait::ALL {
        let channels = [
            ("rendezvous", domain.channel("").rendezvous()),
            ("basic", domain.channel("").basic(2)),
            ("buffered", domain.channel("").buffered(2)),
            ("bounded", domain.channel("").bounded(2)),
            ("many to one", domain.channel("").many_to_one(2)),
            ("work queue", domain.channel("").work_queue(2)),
        ];
        for (what, channel) in channels {
            let in_place = matches!(what, "buffered" | "bounded" | "many to one" | "work queue");
            let (tx, rx) = channel.wait(wait).unnamed::<u64>().unwrap();
            if what != "rendezvous" {
                tx.send(1).unwrap();
                tx.send(2).unwrap();
            }
            let taken = in_place.then(|| rx.recv_ref().unwrap());
            let slot = in_place.then(|| tx.reserve().unwrap());
            let mut slot = slot.map(staffetta::Slot::zeroed);
            let status = forked(|| {
                step.is(what);
                if let Some(taken) = taken.as_ref().map(std::ptr::from_ref) {
                    step.is("a message in hand: its place");
                    // SAFETY: a guard of our own; the copy is dropped as the child's own would be.
                    let taken = unsafe { std::ptr::read(taken) };
                    let _ = (taken.seq(), format!("{taken:?}"));
                    step.is("a message in hand: dropped");
                    drop(taken);
                }
                if let Some(slot) = slot.as_ref().map(std::ptr::from_ref) {
                    // SAFETY: as above.
                    let copy = || unsafe { std::ptr::read(slot) };
                    step.is("a slot: its place");
                    let _ = (copy().seq(), format!("{:?}", copy()));
                    step.is("a slot: sent");
                    room(copy().send());
                    assert!(matches!(
                        ManuallyDrop::new(copy().try_send()).as_ref(),
                        Err((_, SendFailure::Forked))
                    ));
                    assert!(matches!(copy().send_timeout(LONG), Err((_, SendFailure::Forked))));
                }
                step.is("sends");
                send(tx.send(1));
                send(tx.try_send(1));
                send(tx.send_timeout(1, LONG));
                send(tx.send_deadline(1, soon()));
                send(tx.send_many([1, 2]));
                send(tx.force_send(1));
                step.is("slots");
                room(tx.reserve().map(drop));
                room(tx.try_reserve().map(drop));
                room(tx.reserve_timeout(LONG).map(drop));
                room(tx.reserve_deadline(soon()).map(drop));
                step.is("receives");
                recv(rx.recv());
                recv(rx.try_recv());
                recv(rx.recv_timeout(LONG));
                recv(rx.recv_deadline(soon()));
                recv(rx.recv_many(&mut Vec::new(), 4));
                assert_eq!((rx.iter().next(), rx.try_iter().next()), (None, None));
                step.is("messages in place");
                recv(rx.recv_ref().map(drop));
                recv(rx.try_recv_ref().map(drop));
                recv(rx.recv_ref_timeout(LONG).map(drop));
                recv(rx.recv_ref_deadline(soon()).map(drop));
                step.is("what ends are asked");
                assert_eq!((tx.len(), rx.len(), tx.is_empty()), (0, 0, true));
                assert_eq!((tx.counters().messages, rx.channel_counters().0.messages), (0, 0));
                assert!(!tx.has_peer() && !rx.has_peer() && tx.descriptor().is_none());
                let _ = (tx.degree(), tx.wait());
                tx.set_wait(Wait::Spin);
                attached(tx.try_clone());
                attached(rx.try_clone());
                step.is("selects");
                let mut select = Select::new();
                let added = [select.recv(&rx), select.send(&tx)];
                assert!(added
                    .iter()
                    .all(|added| matches!(added, Ok(_) | Err(SelectError::Forked | SelectError::PutsFirst))));
                if added.iter().any(Result::is_ok) {
                    chosen(select.ready());
                    chosen(select.try_select().map(drop));
                    chosen(select.ready_timeout(LONG));
                }
                drop(select);
                step.is("ends dropped");
                // SAFETY: as above.
                unsafe { drop((std::ptr::read(&tx), std::ptr::read(&rx))) };
            });
            tried(step, status);
            // The parent's are as they were.
            if let Some(slot) = &mut slot {
                **slot = 3;
            }
            if let Some(taken) = taken {
                assert_eq!(*taken, 1);
                drop(taken);
                assert_eq!(rx.recv().unwrap(), 2);
            }
            if let Some(sent) = slot.map(staffetta::Slot::send) {
                sent.unwrap();
                assert_eq!(rx.recv().unwrap(), 3, "{what}");
            }
            match what {
                "rendezvous" => {
                    let sends = std::thread::spawn(move || tx.send(9).unwrap());
                    assert_eq!(rx.recv().unwrap(), 9);
                    sends.join().unwrap();
                }
                "basic" => assert_eq!((rx.recv().unwrap(), rx.recv().unwrap()), (1, 2)),
                _ => {
                    tx.send(9).unwrap();
                    assert_eq!(rx.recv().unwrap(), 9);
                }
            }
        }
    }
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

/// Broadcasts, the latest value, request-reply, ends typed at run time.
fn the_others(domain: &Domain, step: &Step) {
    for slow in [SlowReceiver::Block, SlowReceiver::DropOldest, SlowReceiver::Disconnect] {
        let name = format!("news {slow:?}");
        let news = || domain.channel(&name).broadcast(4).slow_receiver(slow);
        let (tx, rx) = (news().sender::<u64>().unwrap(), news().receiver::<u64>().unwrap());
        let observer = domain.channel(&name).dyn_observer().unwrap();
        tx.send(1).unwrap();
        let seen = rx.recv_ref().unwrap();
        let slot = tx.reserve().unwrap().zeroed();
        let status = forked(|| {
            step.is("broadcast: guards");
            // SAFETY: as the child's own.
            let (seen, slot) = unsafe { (std::ptr::read(&seen), std::ptr::read(&slot)) };
            let _ = (seen.seq(), slot.seq(), format!("{seen:?} {slot:?}"));
            drop(seen);
            room(slot.send());
            step.is("broadcast: sends");
            send(tx.send(2));
            send(tx.try_send(2));
            send(tx.send_timeout(2, LONG));
            send(tx.send_deadline(2, soon()));
            room(tx.reserve().map(drop));
            room(tx.reserve_timeout(LONG).map(drop));
            step.is("broadcast: receives");
            recv(rx.recv());
            recv(rx.try_recv());
            recv(rx.recv_timeout(LONG));
            recv(rx.recv_ref().map(drop));
            assert_eq!((rx.iter().next(), rx.try_iter().next()), (None, None));
            step.is("broadcast: asked");
            let _ = (tx.sent(), tx.degree(), tx.slow_receiver(), tx.counters(), rx.missed(), rx.degree());
            let _ = (rx.channel_counters(), tx.receivers());
            assert!(!rx.has_peer());
            step.is("broadcast: observed");
            dyn_recv(observer.recv_bytes());
            dyn_recv(observer.try_recv_bytes());
            dyn_recv(observer.recv_value());
            let _ = (observer.missed(), observer.kind());
            step.is("broadcast: selected");
            let mut select = Select::new();
            if select.recv(&rx).is_ok() {
                chosen(select.ready());
            }
            drop(select);
            // SAFETY: as above.
            unsafe { drop((std::ptr::read(&tx), std::ptr::read(&rx), std::ptr::read(&observer))) };
        });
        tried(step, status);
        assert_eq!(*seen, 1);
        drop(seen);
        slot.send().unwrap();
        assert_eq!(rx.recv().unwrap(), 0);
    }
    let (tx, rx) = (
        domain.channel("now").latest().sender::<u64>().unwrap(),
        domain.channel("now").latest().receiver::<u64>().unwrap(),
    );
    tx.send(1).unwrap();
    let seen = rx.get_ref().unwrap();
    let status = forked(|| {
        step.is("latest");
        // SAFETY: as the child's own.
        drop(unsafe { std::ptr::read(&seen) });
        send(tx.send(2));
        room(tx.reserve().map(drop));
        recv(rx.get());
        recv(rx.get_ref().map(drop));
        recv(rx.recv());
        recv(rx.try_recv());
        recv(rx.recv_timeout(LONG));
        let _ = (tx.sent(), rx.missed(), rx.has_peer(), tx.counters());
        // SAFETY: as above.
        unsafe { drop((std::ptr::read(&tx), std::ptr::read(&rx))) };
    });
    tried(step, status);
    assert_eq!(*seen, 1);
    drop(seen);
    tx.send(2).unwrap();
    assert_eq!(rx.get().unwrap(), 2);

    let desk = || domain.channel("desk").service(4);
    let (client, server) = (desk().client::<u64, u64>().unwrap(), desk().server::<u64, u64>().unwrap());
    let (first, second) = (client.begin(1).unwrap(), client.begin(2).unwrap());
    let request = server.recv().unwrap();
    let status = forked(|| {
        step.is("calls under way");
        assert!(!first.is_ended() && !first.is_taken());
        // SAFETY: as the child's own.
        let (first, second, request) =
            unsafe { (std::ptr::read(&first), std::ptr::read(&second), std::ptr::read(&request)) };
        let forked = |why| assert!(matches!(why, CallFailure::Forked), "{why}");
        forked(first.wait().unwrap_err().why);
        forked(second.wait_timeout(LONG).unwrap_err().why);
        step.is("a request in hand");
        assert!(!request.is_wanted());
        send(request.reply(1));
        step.is("calls");
        forked(client.call(1).unwrap_err().why);
        forked(client.call_timeout(1, LONG).unwrap_err().why);
        forked(client.begin(1).map(drop).unwrap_err().why);
        recv(server.recv().map(drop));
        recv(server.try_recv().map(drop));
        recv(server.recv_timeout(LONG).map(drop));
        assert!(matches!(server.serve(|n| *n), RecvError::Forked));
        let _ = (client.counters(), server.channel_counters(), client.has_peer(), server.has_peer());
        step.is("a service: selected");
        let mut select = Select::new();
        if select.recv(&server).is_ok() {
            chosen(select.ready());
        }
        drop(select);
        // SAFETY: as above.
        unsafe { drop((std::ptr::read(&client), std::ptr::read(&server))) };
    });
    tried(step, status);
    assert_eq!(*request, 1);
    request.reply(10).unwrap();
    server.recv().unwrap().reply(20).unwrap();
    assert_eq!((first.wait().unwrap(), second.wait().unwrap()), (10, 20));

    let typed = domain.channel("typed").buffered(2).receiver::<u64>().unwrap();
    let untyped = domain.channel("typed").dyn_sender().unwrap();
    let other = domain.channel("untyped").buffered(2).sender::<u64>().unwrap();
    let others = domain.channel("untyped").dyn_receiver().unwrap();
    other.send(5).unwrap();
    let status = forked(|| {
        step.is("ends typed at run time");
        let bytes = 1_u64.to_ne_bytes();
        dyn_send(untyped.send_bytes(&bytes));
        dyn_send(untyped.try_send_bytes(&bytes));
        dyn_send(untyped.send_bytes_timeout(&bytes, LONG));
        dyn_recv(others.recv_bytes());
        dyn_recv(others.try_recv_bytes());
        dyn_recv(others.recv_value());
        dyn_recv(others.recv_bytes_timeout(LONG));
        // SAFETY: as the child's own.
        unsafe { drop((std::ptr::read(&untyped), std::ptr::read(&others))) };
    });
    tried(step, status);
    untyped.send_bytes(&7_u64.to_ne_bytes()).unwrap();
    assert_eq!((typed.recv().unwrap(), others.recv_bytes().unwrap()), (7, 5_u64.to_ne_bytes().to_vec()));
}

/// Selects that exist already, and one that has chosen.
fn selects(domain: &Domain, step: &Step) {
    let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    let (jobs, job) = domain.channel("").work_queue(2).unnamed::<u64>().unwrap();
    let (_meets, meet) = domain.channel("").rendezvous().unnamed::<u64>().unwrap();
    let (local, locals) = staffetta::bounded::<u64>(1);
    let mut select = Select::new();
    let (a, b) = (select.recv(&rx).unwrap(), select.recv(&job).unwrap());
    select.recv(&meet).unwrap();
    select.recv(&locals).unwrap();
    // It has slept: it stands on the rendezvous, and has a ready set.
    assert_eq!(select.ready_timeout(Duration::from_millis(20)).err(), Some(SelectError::TimedOut));
    let status = forked(|| {
        step.is("a select that has slept");
        chosen(select.ready());
        chosen(select.try_ready());
        chosen(select.select_timeout(LONG).map(drop));
        // SAFETY: dropped as the child's own.
        let mut select = unsafe { std::ptr::read(&select) };
        step.is("a select: removed from");
        assert!(select.remove(a));
        step.is("a select: dropped");
        drop(select);
    });
    tried(step, status);
    jobs.send(4).unwrap();
    let operation = select.select_timeout(LONG).unwrap();
    assert_eq!(operation.index(), b);
    let status = forked(|| {
        step.is("a select that has chosen");
        // SAFETY: as the child's own.
        let operation = unsafe { std::ptr::read(&operation) };
        recv(operation.recv(&job));
    });
    tried(step, status);
    let status = forked(|| {
        step.is("a select that has chosen: dropped");
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(&operation) });
    });
    tried(step, status);
    assert_eq!(operation.recv(&job).unwrap(), 4);
    tx.send(5).unwrap();
    let operation = select.select_timeout(LONG).unwrap();
    assert_eq!((operation.index(), operation.recv(&rx).unwrap()), (a, 5));
    local.send(6).unwrap();
    assert_eq!(select.select_timeout(LONG).unwrap().recv(&locals).unwrap(), 6);
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
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 100);
    let domain = common::options().open(&arguments[0]).unwrap();
    let step = Step::new();
    match role.as_str() {
        "values" => values(&domain, &step),
        "memory" => memory(&domain, &step),
        "the others" => the_others(&domain, &step),
        "selects" => selects(&domain, &step),
        "the domain" => the_domain(&domain, &arguments[0], &step),
        "faults" => faults(&domain),
        other => panic!("no role {other}"),
    }
    // The child of any of them neither took the parent along nor told anybody that it was dead.
    domain.channel("alive").buffered(1).sender::<u64>().unwrap().send(1).unwrap();
}

/// Plays a role in a process of its own, beside a member that watches.
fn beside_a_member(what: &str) {
    let _watchdog = watchdog(what, 120);
    let name = name("fork");
    let domain = common::options().open(&name).unwrap();
    let alive = domain.channel("alive").buffered(1).receiver::<u64>().unwrap();
    finish(start(what, &[&name]));
    assert_eq!(alive.recv().unwrap(), 1);
    let left = alive.recv();
    assert!(
        matches!(left, Err(RecvError::Disconnected)),
        "{what}: alive to the end, and then left: {left:?}"
    );
}

#[test]
fn a_child_may_use_no_channel_of_values() {
    beside_a_member("values");
}

#[test]
fn a_child_may_use_no_memory() {
    beside_a_member("memory");
}

#[test]
fn a_child_may_use_no_other_channel() {
    beside_a_member("the others");
}

#[test]
fn a_child_may_use_no_select() {
    beside_a_member("selects");
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
