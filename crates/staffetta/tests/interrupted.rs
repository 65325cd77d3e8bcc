//! Waits that are interrupted by signals ten thousand times a second, and threads that panic or end with something in hand: nobody
//! returns early, nothing is lost, and who is left goes on.
#![allow(unsafe_code)]

mod common;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::{name, watchdog};
use staffetta::{
    CallFailure, Domain, Enclosed, Method, Parcel, Receiver, RecvError, Select, SelectError, SendFailure,
    Sender, Wait,
};

/// Signals that were handled.
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.fetch_add(1, Relaxed);
}

/// A timer that interrupts the calling thread every 100 us, until it is dropped.
struct Storm(libc::timer_t);

impl Storm {
    fn begin(restart: bool) -> Storm {
        // SAFETY: plain system calls on local structs; the handler only counts.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
            assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGUSR1;
            event.sigev_notify_thread_id = libc::syscall(libc::SYS_gettid) as i32;
            let mut timer = std::mem::zeroed();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
            let often = libc::timespec { tv_sec: 0, tv_nsec: 100_000 };
            let every = libc::itimerspec { it_interval: often, it_value: often };
            assert_eq!(libc::timer_settime(timer, 0, &every, std::ptr::null_mut()), 0);
            Storm(timer)
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        // SAFETY: our own timer, once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// How long a wait is interrupted before what it waits for comes.
const STORM: Duration = Duration::from_millis(15);

/// `waits` must not return before `comes` has begun; both end well.
fn in_a_storm(what: &str, waits: impl FnOnce() + Send, comes: impl FnOnce() + Send) {
    let (here, may) = (AtomicBool::new(false), AtomicBool::new(false));
    let before = HANDLED.load(Relaxed);
    std::thread::scope(|scope| {
        let (here, may) = (&here, &may);
        scope.spawn(move || {
            let _storm = Storm::begin(what.ends_with("restarted"));
            here.store(true, SeqCst);
            waits();
            assert!(may.load(SeqCst), "{what}: it came back early");
        });
        scope.spawn(move || {
            while !here.load(SeqCst) {
                std::thread::yield_now();
            }
            std::thread::sleep(STORM);
            may.store(true, SeqCst);
            comes();
        });
    });
    assert!(HANDLED.load(Relaxed) > before, "{what}: no signal came");
}

#[test]
fn no_wait_ends_early_under_a_storm_of_signals() {
    let _watchdog = watchdog("storm", 120);
    let domain = common::options().open(&name("storm")).unwrap();
    for wait in Wait::ALL {
        for how in ["interrupted", "restarted"] {
            let say = |what: &str| format!("{what}, {wait}, {how}");
            let kinds = [
                ("rendezvous", domain.channel("").rendezvous()),
                ("basic", domain.channel("").basic(1)),
                ("buffered", domain.channel("").buffered(1)),
                ("bounded", domain.channel("").bounded(1)),
            ];
            for (kind, channel) in kinds {
                let channel = channel.wait(wait);
                let (tx, rx) = channel.clone().unnamed::<u64>().unwrap();
                in_a_storm(
                    &say(kind),
                    move || assert_eq!(rx.recv().unwrap(), 7),
                    move || tx.send(7).unwrap(),
                );
                let (tx, rx) = channel.clone().unnamed::<u64>().unwrap();
                let before = if kind == "rendezvous" { 0 } else { tx.degree() };
                (0..before).for_each(|n| tx.send(n).unwrap());
                let receive = move || (0..=before).for_each(|n| assert_eq!(rx.recv().unwrap(), n));
                in_a_storm(&say(kind), move || tx.send(before).unwrap(), receive);
                let (tx, rx) = channel.unnamed::<u64>().unwrap();
                let select = move || {
                    let mut select = Select::new();
                    select.set_wait(wait);
                    select.recv(&rx).unwrap();
                    assert_eq!(select.select().unwrap().recv(&rx).unwrap(), 7);
                };
                in_a_storm(&say(kind), select, move || tx.send(7).unwrap());
            }
            let news = || domain.channel("news").broadcast(2).wait(wait);
            let (tx, rx) = (news().sender::<u64>().unwrap(), news().receiver::<u64>().unwrap());
            in_a_storm(
                &say("broadcast"),
                move || assert_eq!(rx.recv().unwrap(), 7),
                move || tx.send(7).unwrap(),
            );
            let desk = || domain.channel("desk").service(2).wait(wait);
            let (client, server) =
                (desk().client::<u64, u64>().unwrap(), desk().server::<u64, u64>().unwrap());
            let serve = move || server.recv().unwrap().reply(8).unwrap();
            in_a_storm(&say("call"), move || assert_eq!(client.call(7).unwrap(), 8), serve);
            // Variables, memory files, and time limits.
            let (tx, rx) = domain.channel("").wait(wait).unnamed::<[u64]>().unwrap();
            let (mut from, mut to) =
                (domain.variable_slice::<u64>(9).unwrap(), domain.variable_slice::<u64>(9).unwrap());
            let send = move || {
                assert!(from.set_slice(&[5; 9]));
                tx.send_variable(&mut from).unwrap();
            };
            in_a_storm(&say("variable"), move || rx.recv_into(&mut to).unwrap(), send);
            let (tx, rx) = domain.channel("").wait(wait).unnamed::<u64>().unwrap();
            let _storm = Storm::begin(how == "restarted");
            let start = Instant::now();
            assert!(matches!(rx.recv_timeout(STORM), Err(RecvError::TimedOut)), "{wait}");
            assert!(start.elapsed() >= STORM, "{wait}");
            let start = Instant::now();
            assert!(matches!(tx.send_timeout(1, STORM).unwrap_err().why, SendFailure::TimedOut), "{wait}");
            assert!(start.elapsed() >= STORM, "{wait}");
        }
    }
    eprintln!("{} signals handled", HANDLED.load(Relaxed));
}

#[test]
fn domains_memory_and_capabilities_under_a_storm_of_signals() {
    let _watchdog = watchdog("storm, memory", 120);
    let name = name("storm-join");
    let domain = common::options().open(&name).unwrap();
    for restart in [false, true] {
        let _storm = Storm::begin(restart);
        for n in 0..20_u64 {
            let own = common::options().create().unwrap();
            let mut large = Parcel::<[u8]>::with_tail(&own, 8 << 20).unwrap();
            large.fill(1);
            drop(large);
            own.trim().unwrap();
            let again = common::options().addresses(staffetta::Addresses::Distinct).join(&name).unwrap();
            let method = Method::Capability;
            let tx = domain.channel("files").method(method).basic(2).sender::<Parcel<u64>>().unwrap();
            let rx = again.channel("files").method(method).basic(2).receiver::<Parcel<u64>>().unwrap();
            tx.send(domain.parcels(method).new(n).unwrap()).unwrap();
            let got = rx.recv().unwrap();
            assert_eq!(*got, n);
            let mut capability = got.release().ok().unwrap();
            capability.seal().unwrap();
            assert_eq!(*capability.acquire_read().unwrap(), n);
        }
    }
}

/// Runs `f` in a thread that ends by a panic.
fn panics(f: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            f();
            std::panic::resume_unwind(Box::new("meant"));
        });
        thread.join().expect_err("it panics");
    });
}

#[derive(staffetta::Message, Default)]
struct Letter {
    end: Enclosed<Sender<u64>>,
    parcel: Enclosed<Parcel<u64>>,
}

#[test]
fn panics_with_something_in_hand() {
    let _watchdog = watchdog("panics", 60);
    let domain = common::options().open(&name("panics")).unwrap();
    let round = || {
        for channel in [domain.channel("").buffered(2), domain.channel("").bounded(2)] {
            // A slot is no message; a message in hand was received.
            let (tx, rx) = channel.unnamed::<u64>().unwrap();
            let tx = std::sync::Mutex::new(tx);
            let hold = |f: &dyn Fn(&Sender<u64>)| f(&tx.lock().unwrap_or_else(|e| e.into_inner()));
            panics(|| {
                hold(&|tx| {
                    let _slot = tx.reserve().unwrap().zeroed();
                    std::panic::resume_unwind(Box::new("meant"));
                });
            });
            hold(&|tx| (1..=2).for_each(|n| tx.send(n).unwrap()));
            let taken = catch_unwind(AssertUnwindSafe(|| {
                let taken = rx.recv_ref().unwrap();
                assert_eq!(*taken, 1);
                std::panic::resume_unwind(Box::new("meant"));
            }));
            assert!(taken.is_err());
            assert_eq!(rx.recv().unwrap(), 2);
            // An end goes with its thread: the other one is told that it left, not that anybody died.
            let tx = tx.into_inner().unwrap_or_else(|e| e.into_inner());
            panics(move || drop(tx.try_send(3)));
        }
        // In a wait that another thread ends, in a select, with an offer out.
        let (tx, rx) = domain.channel("").rendezvous().wait(Wait::Park).unnamed::<u64>().unwrap();
        panics(move || assert!(rx.recv_timeout(Duration::from_millis(3)).is_err()));
        assert!(matches!(tx.send(1).unwrap_err().why, SendFailure::Disconnected));
        let (tx, rx) = domain.channel("").rendezvous().wait(Wait::Park).unnamed::<u64>().unwrap();
        panics(move || {
            let mut select = Select::new();
            select.recv(&rx).unwrap();
            let late = select.ready_timeout(Duration::from_millis(3));
            assert_eq!(late, Err(SelectError::TimedOut));
            std::panic::resume_unwind(Box::new("meant"));
        });
        assert!(matches!(tx.try_send(1).unwrap_err().why, SendFailure::Disconnected));
        let (tx, rx) = domain.channel("").work_queue(2).unnamed::<u64>().unwrap();
        tx.send(5).unwrap();
        let chosen = catch_unwind(AssertUnwindSafe(|| {
            let mut select = Select::new();
            select.recv(&rx).unwrap();
            let _operation = select.select().unwrap();
            std::panic::resume_unwind(Box::new("meant"));
        }));
        assert!(chosen.is_err());
        assert_eq!(rx.recv().unwrap(), 5, "chosen, and not received");
        // A call under way, a request in hand.
        let desk = || domain.channel("desk").service(2);
        let (client, server) = (desk().client::<u64, u64>().unwrap(), desk().server::<u64, u64>().unwrap());
        let given_up = catch_unwind(AssertUnwindSafe(|| {
            let _call = client.begin(1).unwrap();
            std::panic::resume_unwind(Box::new("meant"));
        }));
        assert!(given_up.is_err());
        let call = client.begin(2).unwrap();
        let refused = catch_unwind(AssertUnwindSafe(|| loop {
            let request = server.recv().unwrap();
            if *request == 2 {
                std::panic::resume_unwind(Box::new("meant"));
            }
        }));
        assert!(refused.is_err());
        assert!(matches!(call.wait().unwrap_err().why, CallFailure::Unanswered));
        let call = client.begin(3).unwrap();
        server.recv().unwrap().reply(4).unwrap();
        assert_eq!(call.wait().unwrap(), 4);
        // A broadcast's guards.
        let news = || domain.channel("news").broadcast(2);
        let (tx, rx) = (news().sender::<u64>().unwrap(), news().receiver::<u64>().unwrap());
        tx.send(1).unwrap();
        let both = catch_unwind(AssertUnwindSafe(|| {
            let (_slot, _seen) = (tx.reserve().unwrap().zeroed(), rx.recv_ref().unwrap());
            std::panic::resume_unwind(Box::new("meant"));
        }));
        assert!(both.is_err());
        tx.send(2).unwrap();
        assert_eq!(rx.recv().unwrap(), 2);
        // A parcel half built, and one with an end and a parcel in it.
        panics(|| {
            let built = Parcel::<[u64]>::uninit_slice_of(&domain);
            let _ = built.fill_with(|i| {
                if i == 500 {
                    std::panic::resume_unwind(Box::new("meant"))
                } else {
                    i as u64
                }
            });
        });
        let (tx, rx): (Sender<u64>, Receiver<u64>) = domain.channel("").buffered(1).unnamed().unwrap();
        panics(|| {
            let mut letter = Parcel::new(&domain, Letter::default()).unwrap();
            letter.end = letter.enclose(tx).unwrap();
            letter.parcel = letter.enclose(Parcel::new(&domain, 7_u64).unwrap()).unwrap();
            std::panic::resume_unwind(Box::new("meant"));
        });
        assert!(matches!(rx.recv(), Err(RecvError::Disconnected)), "what lay in it is closed");
    };
    round();
    let before = common::in_use(&domain);
    (0..20).for_each(|_| round());
    assert_eq!(common::in_use(&domain), before, "nothing stays behind");
}

/// A slice that is to be written.
trait UninitSlice {
    fn uninit_slice_of(domain: &Domain) -> Parcel<[std::mem::MaybeUninit<u64>]>;
}

impl UninitSlice for Parcel<[u64]> {
    fn uninit_slice_of(domain: &Domain) -> Parcel<[std::mem::MaybeUninit<u64>]> {
        domain.parcels(Method::default()).uninit_slice(1_000).unwrap()
    }
}

/// Thread-local values are dropped after the thread's PCB was given back: what they do then must still work.
#[test]
fn a_thread_local_value_that_sends_and_receives_when_its_thread_ends() {
    let _watchdog = watchdog("thread-local", 60);
    struct Last(Sender<u64>, Receiver<u64>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.send(1).unwrap();
            assert_eq!(self.1.recv().unwrap(), 2);
        }
    }
    thread_local!(static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) });
    let domain = common::options().create().unwrap();
    for wait in Wait::ALL {
        let there = domain.channel("").rendezvous().wait(wait).unnamed::<u64>().unwrap();
        let back = domain.channel("").rendezvous().wait(wait).unnamed::<u64>().unwrap();
        let thread = std::thread::spawn(move || {
            LAST.with(|last| *last.borrow_mut() = Some(Last(there.0, back.1)));
            // Its PCB is taken after the value was made, so it may go before it.
            let (_tx, rx) = staffetta::Domain::create().unwrap().channel("").unnamed::<u64>().unwrap();
            let _ = rx.recv_timeout(Duration::from_millis(1));
        });
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(there.1.recv().unwrap(), 1);
        back.0.send(2).unwrap();
        thread.join().unwrap();
    }
}
