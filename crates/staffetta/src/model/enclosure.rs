//! Channels without a name under loom: their holds, an end that is taken out of a parcel, and who takes the channel back.
//!
//! Mutants, made by hand, and who fails:
//!
//! | mutant | fails |
//! |---|---|
//! | `record::came` leaves the sequence as it was | `loom_enclosure_taken_out_while_the_last_hold_goes` |
//! | the end is taken out before the hold is made | `loom_enclosure_taken_out_while_the_last_hold_goes` |
//! | no fence between giving up and looking | the first two |
//! | `begin_unmaking` from the word as it is now | the first two |
//! | holds and ends are looked for in one walk over the entries | `loom_enclosure_put_in_while_the_other_hold_goes` |

use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::exhaustive::{explore, Loom, LoomU64};
use crate::channel::record::{begin_unmaking, came, state};
use crate::enclosure::table::{of_channel, state as entry, usage, what, Entry, Usage};
use crate::memory::platform::{Platform, Word64};
use crate::memory::word::Word;

const CHANNEL: usize = 7;

/// One channel without a name, and the whole table of entries.
struct World {
    state: LoomU64,
    entries: [Entry<Loom>; 3],
    unmade: LoomU64,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            state: LoomU64::new(Word::new(state::UNNAMED, 0, 1).0),
            entries: [Entry::new(), Entry::new(), Entry::new()],
            unmade: LoomU64::new(0),
        })
    }

    /// An end of the channel lies in a parcel.
    fn enclose(&self, index: usize) {
        let mine = self.entries[index].claim(1).unwrap();
        self.entries[index].what.store(what::RECEIVER, Relaxed);
        self.entries[index].of.store(of_channel(mine, CHANNEL), Relaxed);
        assert!(self.entries[index].change(mine, mine.with_state(entry::ENCLOSED)));
    }

    fn hold(&self, slot: u16) -> (usize, Word) {
        let claim = |index: usize| Some((index, self.entries[index].claim(slot)?));
        let (index, mine) = (0..self.entries.len()).find_map(claim).unwrap();
        (index, self.entries[index].hold(mine, CHANNEL))
    }

    /// As `enclosure::collect`, where an end in a parcel is one that somebody reaches.
    fn give_up(&self, slot: u16, (index, hold): (usize, Word)) {
        assert!(self.entries[index].free(hold));
        Loom::fence_after_rmw();
        let seen = Word(self.state.load(Acquire));
        if usage(|| self.entries.iter(), CHANNEL) == Usage::Nobody && begin_unmaking(&self.state, seen, slot)
        {
            assert_eq!(self.unmade.fetch_add(1, AcqRel), 0, "taken back twice");
        }
    }
}

/// One process takes an end out of the parcel that it holds while the last other one gives its hold up.
#[test]
fn loom_enclosure_taken_out_while_the_last_hold_goes() {
    explore("an end is taken out while the last hold goes", || {
        let world = World::new();
        world.enclose(0);
        let mine = world.hold(1);
        let other = world.clone();
        let takes = thread::spawn(move || {
            let hold = other.hold(2);
            assert!(came(&other.state), "the entry keeps the channel");
            assert!(other.entries[0].take_out(2, || Some(())).is_some());
            assert_eq!(other.unmade.load(Acquire), 0, "taken back while a process has an end");
            other.give_up(2, hold);
        });
        world.give_up(1, mine);
        takes.join().unwrap();
        assert_eq!(world.unmade.load(Acquire), 1, "nobody has it, and nobody took it back");
    });
}

#[test]
fn loom_enclosure_two_holds_go() {
    explore("two holds go at once", || {
        let world = World::new();
        let (one, two) = (world.hold(1), world.hold(2));
        let other = world.clone();
        let thread = thread::spawn(move || other.give_up(2, two));
        world.give_up(1, one);
        thread.join().unwrap();
        assert_eq!(world.unmade.load(Acquire), 1);
    });
}

/// One process puts its end into a parcel, in an entry before that of its hold, and gives the hold up, while the other one looks.
#[test]
fn loom_enclosure_put_in_while_the_other_hold_goes() {
    explore("an end is put into a parcel while the other hold goes", || {
        let world = World::new();
        let (one, between, two) = (world.hold(1), world.hold(1), world.hold(2));
        assert!(world.entries[between.0].free(between.1) && between.0 < two.0);
        let other = world.clone();
        let puts = thread::spawn(move || {
            other.enclose(between.0);
            other.give_up(2, two);
        });
        world.give_up(1, one);
        puts.join().unwrap();
        assert_eq!(world.unmade.load(Acquire), 0, "taken back while an end lies in a parcel");
    });
}
