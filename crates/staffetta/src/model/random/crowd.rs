//! The sleep handshake where many may wait for the same change (crowd.rs): three sleepers, two wakers, of which one crashes anywhere,
//! also between its change and the wake-up that it owes. Then whoever changes something next wakes (D2).

use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::Arc;

use shuttle::thread;

use super::{crashes_after, dice, explore, Shuttle, ShuttleU64};
use crate::channel::crowd::{Crowd, Seat};
use crate::channel::side::Side;
use crate::memory::platform::Word64;
use crate::model::checker::Checker;
use crate::process::pcb::Pcb;
use crate::process::wait::{wait, Spinner, Wait, Waited, Woken};

const SLEEPERS: usize = 3;

/// A number that grows, and who waits for it.
struct Bed {
    crowd: Box<Crowd<Shuttle>>,
    level: ShuttleU64,
    pcbs: Vec<Pcb<Shuttle>>,
}

impl Bed {
    fn sleeps_until(&self, seat: usize, level: u64) {
        let woken = wait(
            Wait::Park,
            &mut Spinner::default(),
            None,
            &mut Waited::default(),
            || Some((&self.pcbs[seat], seat as u64 + 1)),
            || (self.level.load(Acquire) >= level).then_some(()),
            |pcb_ref| {
                self.crowd.seat(seat).side.set_pcb_ref(pcb_ref);
                self.crowd.announce(seat);
                true
            },
        );
        assert!(matches!(woken, Woken::Ready(())));
        self.crowd.retire(seat);
    }

    fn raises(&self) {
        self.level.fetch_add(1, AcqRel);
        self.crowd.wake(self.crowd.sleepers_after_rmw(), |side| {
            if let Some(pcb) = self.pcbs.get((side.pcb_ref() as usize).wrapping_sub(1)) {
                pcb.wake_up(0);
            }
        });
    }
}

#[test]
fn shuttle_crowd() {
    explore("crowd, three sleepers, two wakers, one of which crashes", || {
        let seat = |number: usize| match number < SLEEPERS {
            true => Shuttle::quiet(Seat::new).with_side(Side::new()),
            false => Shuttle::quiet(Seat::new),
        };
        let bed = Arc::new(Bed {
            crowd: Crowd::boxed(seat),
            level: ShuttleU64::new(0),
            pcbs: (0..SLEEPERS).map(|_| Pcb::new()).collect(),
        });
        let sleepers: Vec<_> = (0..SLEEPERS)
            .map(|seat| {
                let bed = bed.clone();
                thread::spawn(move || {
                    // Again and again: who was woken once must be found asleep the next time, too.
                    bed.sleeps_until(seat, 1);
                    bed.sleeps_until(seat, 1 + seat as u64);
                    bed.sleeps_until(seat, 4);
                })
            })
            .collect();
        let other = bed.clone();
        let steps = dice(30);
        let crashes = thread::spawn(move || {
            crashes_after(Some(steps), || (0..2).for_each(|_| other.raises()));
        });
        // These alone are enough, and the last change comes after the crash.
        (0..3).for_each(|_| bed.raises());
        crashes.join().unwrap();
        bed.raises();
        sleepers.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
