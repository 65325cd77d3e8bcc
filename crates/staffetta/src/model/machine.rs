//! A channel of one sender and one receiver between the threads of a model, explored by loom.

#![allow(unsafe_code)] // Calls of the protocols.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64 as Counter, Ordering};
use std::sync::Arc;
use std::time::Instant;

use loom::cell::UnsafeCell;

use super::exhaustive::{quiet, Loom, LoomU64};
use crate::channel::buffer::Buffer;
use crate::channel::call::{Ground, Incoming, Lent, Memory, Outgoing, Patience, Stop};
use crate::channel::line::Line;
use crate::channel::rendezvous::Party;
use crate::channel::ring::{RingParty, Shape, Slots};
use crate::channel::side::{Side, DIED, LEFT};
use crate::channel::tally::Tally;
use crate::memory::platform::Word64;
use crate::memory::word::Word;
use crate::process::pcb::Pcb;
use crate::process::wait::Wait;

/// Words of a variable.
pub const VARIABLE_WORDS: usize = 5;
/// Slots that fit the model's ring.
const RING_BYTES: usize = 2048;

pub struct Storage(pub UnsafeCell<[u64; VARIABLE_WORDS]>);
// SAFETY: loom reports conflicting accesses.
unsafe impl Sync for Storage {}
// SAFETY: as above.
unsafe impl Send for Storage {}

#[repr(C, align(64))]
struct RingBytes(std::cell::UnsafeCell<[u8; RING_BYTES]>);
// SAFETY: guarded by the ring's protocol.
unsafe impl Sync for RingBytes {}
// SAFETY: as above.
unsafe impl Send for RingBytes {}

pub const SENDER: usize = 0;
pub const RECEIVER: usize = 1;

/// A channel, its two sides, and two entities that can wait.
pub struct Channel {
    pub line: Line<Loom>,
    pub sides: [Side<Loom>; 2],
    pub tallies: [Tally<Loom>; 2],
    pub pcbs: [Pcb<Loom>; 2],
    /// Message variable and target variable.
    pub variables: [Storage; 2],
    /// How often each was adopted, and given back.
    pub adopted: [Counter; 2],
    pub given_back: [Counter; 2],
    /// Private memory of the sender that it lends, as the receiver may see it: a word that is read while it is written.
    pub lent: LoomU64,
    /// What becomes of reading it.
    pub reading: Lent,
    /// Staging blocks, and whether there is room for them.
    pub staging: Option<[Storage; 2]>,
    pub room: Counter,
    ring: RingBytes,
    pub degree: u64,
    pub head: LoomU64,
    pub tail: LoomU64,
}

impl Channel {
    /// Both sides attached.
    pub fn new() -> Arc<Channel> {
        Channel::with_degree(0)
    }

    pub fn with_degree(degree: u64) -> Arc<Channel> {
        let channel = Channel::unattached(degree);
        for side in &channel.sides {
            side.attach(1).unwrap();
        }
        channel
    }

    /// Both sides attached, for a sender that lends.
    pub fn lending(reading: Lent, room: bool) -> Arc<Channel> {
        let mut channel = Channel::bare(0);
        channel.reading = reading;
        channel.staging = Some([0, 1].map(|_| Storage(UnsafeCell::new([0; VARIABLE_WORDS]))));
        channel.room = Counter::new(room.into());
        for side in &channel.sides {
            side.attach(1).unwrap();
        }
        Arc::new(channel)
    }

    pub fn unattached(degree: u64) -> Arc<Channel> {
        Arc::new(Channel::bare(degree))
    }

    fn bare(degree: u64) -> Channel {
        let channel = Channel {
            line: Line::new(),
            sides: [Side::new(), Side::new()],
            tallies: quiet(|| [Tally::new(), Tally::new()]),
            pcbs: [Pcb::new(), Pcb::new()],
            variables: [0, 1].map(|_| Storage(UnsafeCell::new([0; VARIABLE_WORDS]))),
            adopted: Default::default(),
            given_back: Default::default(),
            lent: LoomU64::new(0),
            reading: Lent::Refused,
            staging: None,
            room: Counter::new(0),
            ring: RingBytes(std::cell::UnsafeCell::new([0; RING_BYTES])),
            degree,
            head: LoomU64::new(0),
            tail: LoomU64::new(0),
        };
        // SAFETY: inside the ring's bytes, which nobody else has yet.
        unsafe { channel.slots().make() };
        channel
    }

    pub fn slots(&self) -> Slots<Loom> {
        let shape = Shape::of::<Loom>(self.degree, 8, 8).unwrap();
        assert!(shape.bytes() <= RING_BYTES as u64, "{shape:?}");
        let ring = NonNull::new(self.ring.0.get().cast::<u8>()).unwrap();
        Slots { ring, shape, platform: PhantomData }
    }

    /// Detach, look at what the partner may be about to sleep on, wake: as `channel::sweep::detach` does.
    pub fn detach(&self, who: usize, held: Word, into: u8) {
        if self.sides[who].detach(held, into) {
            self.line.word_after_change();
            self.slots().touch();
            self.wake(self.sides[1 - who].pcb_ref());
        }
    }

    pub fn leave(&self, who: usize) {
        self.detach(who, self.sides[who].end(), LEFT);
    }

    /// As `channel::sweep::settle_ends` does for the rendezvous and the ring.
    pub fn sweep(&self, who: usize, held: Word) {
        let still = || self.sides[who].end().awake() == held.awake();
        self.line.settle_death(who == SENDER, true, still);
        if who == RECEIVER {
            self.slots().settle_receiver(still);
        }
        self.detach(who, held, DIED);
    }

    pub fn wake(&self, pcb_ref: u64) {
        if let Some(pcb) = pcb_ref.checked_sub(1).and_then(|i| self.pcbs.get(i as usize)) {
            pcb.wake_up(0);
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: made in `unattached`, and nobody uses them any more.
        unsafe { self.slots().unmake() };
    }
}

/// One thread's end.
pub struct Actor {
    pub channel: Arc<Channel>,
    pub who: usize,
    pub memory: Memory,
    /// Of a buffered channel.
    pub buffer: Option<Buffer<Loom>>,
}

impl Ground<Loom> for (&Channel, usize) {
    fn own_pcb(&self) -> Option<(&Pcb<Loom>, u64)> {
        Some((&self.0.pcbs[self.1], self.1 as u64 + 1))
    }
    fn wake(&self, pcb_ref: u64) {
        self.0.wake(pcb_ref);
    }
    // The moment at which the copy goes through the pointer: reading the message variable, writing the target.
    fn resolve(&self, reference: u64, length: u64) -> Option<*mut u8> {
        if let Some(parity) = reference.checked_sub(STAGING) {
            let storage = &self.0.staging.as_ref()?.get(parity as usize)?.0;
            return Some(storage.with(|p| p.cast_mut().cast()));
        }
        let who = reference.checked_sub(100)? as usize;
        let storage = &self.0.variables.get(who)?.0;
        let pointer = if who == SENDER {
            storage.with(|p| p.cast_mut().cast())
        } else {
            storage.with_mut(|p| p.cast())
        };
        (length <= 8 * VARIABLE_WORDS as u64).then_some(pointer)
    }
    fn stage(&self, parity: usize, _length: usize) -> Option<(u64, *mut u8)> {
        let storage = &self.0.staging.as_ref()?[parity].0;
        if self.0.room.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some((STAGING + parity as u64, storage.with_mut(|p| p.cast())))
    }
    fn adopt(&self, storage: *const u8) {
        self.0.adopted[self.which(storage)].fetch_add(1, Ordering::Relaxed);
    }
    fn abandoned(&self, storage: *const u8) {
        self.0.given_back[self.which(storage)].fetch_add(1, Ordering::Relaxed);
    }
    fn read_lent(
        &self,
        _owner: Word,
        _address: u64,
        to: &mut [MaybeUninit<u8>],
        _deadline: Option<Instant>,
    ) -> Lent {
        if self.0.reading == Lent::Read {
            // Relaxed: another process's memory, read without its knowledge.
            let value = self.0.lent.load(Ordering::Relaxed);
            to.iter_mut().zip(value.to_ne_bytes()).for_each(|(to, byte)| *to = MaybeUninit::new(byte));
        }
        self.0.reading
    }
}

trait Which {
    fn which(&self, storage: *const u8) -> usize;
}
impl Which for (&Channel, usize) {
    fn which(&self, _storage: *const u8) -> usize {
        1 - self.1 // a second one only ever adopts its partner's
    }
}

/// Reference of the first staging block.
const STAGING: u64 = 200;

/// Reference of a variable.
pub fn reference(who: usize) -> u64 {
    100 + who as u64
}

impl Actor {
    pub fn new(channel: &Arc<Channel>, who: usize, wait: Wait) -> Actor {
        let memory = Memory::new(&channel.line, &channel.sides[1 - who], wait);
        Actor { channel: channel.clone(), who, memory, buffer: None }
    }

    /// An end of a buffered channel, which has just attached.
    pub fn buffered(channel: &Arc<Channel>, who: usize, wait: Wait) -> Actor {
        let place = if who == SENDER { &channel.tail } else { &channel.head };
        let buffer = Buffer::new(channel.slots(), place.load(Ordering::Relaxed));
        Actor { buffer: Some(buffer), ..Actor::new(channel, who, wait) }
    }

    /// Whose the bytes of a slot are: loom reports conflicts. For a ring of two slots.
    fn watched(&self, place: u64) -> &UnsafeCell<[u64; VARIABLE_WORDS]> {
        &self.channel.variables[(place % 2) as usize].0
    }

    fn with_buffer<R>(
        &self,
        f: impl FnOnce(&mut RingParty<'_, Loom, (&Channel, usize)>, &Buffer<Loom>) -> R,
    ) -> R {
        let channel = &*self.channel;
        let mut party = RingParty {
            slots: channel.slots(),
            place: if self.who == SENDER { &channel.tail } else { &channel.head },
            me: &channel.sides[self.who],
            peer: &channel.sides[1 - self.who],
            ground: &(channel, self.who),
            tally: &channel.tallies[self.who],
            memory: &self.memory,
        };
        f(&mut party, self.buffer.as_ref().expect("buffered"))
    }

    /// Reserves a slot, builds a message in it and, unless it stops there, sends it.
    pub fn build(&self, value: u64, patience: Patience, send: bool) -> Result<(), Stop> {
        self.with_buffer(|party, buffer| {
            let empty = party.await_room(buffer, patience)?;
            buffer.hold(true);
            buffer.begin_writing();
            // SAFETY: reserved.
            self.watched(buffer.place())
                .with_mut(|_| unsafe { buffer.bytes().cast::<u64>().write_unaligned(value) });
            if send {
                let asleep = buffer.publish(party.place, empty, 8).expect("reserved");
                buffer.hold(false);
                party.wake_if(asleep);
            }
            Ok(())
        })
    }

    /// Takes a message in hand, looks at it and, unless it stops there, gives it back. `change`: adds as much to it.
    pub fn look(&self, patience: Patience, change: Option<u64>, give_back: bool) -> Result<u64, Stop> {
        self.with_buffer(|party, buffer| {
            let full = party.await_message(buffer, patience)?;
            let (reading, asleep) = buffer.take(full).expect("nobody else takes it");
            buffer.hold(true);
            party.wake_if(asleep);
            // SAFETY: in hand.
            let mut value = self
                .watched(buffer.place())
                .with(|_| unsafe { buffer.bytes().cast::<u64>().read_unaligned() });
            if let Some(more) = change {
                value += more;
                buffer.begin_changing();
                // SAFETY: in hand.
                self.watched(buffer.place())
                    .with_mut(|_| unsafe { buffer.bytes().cast::<u64>().write_unaligned(value) });
            }
            if give_back {
                let asleep = buffer.give_back(party.place, reading, 8);
                buffer.hold(false);
                party.wake_if(asleep);
            }
            Ok(value)
        })
    }

    /// `send(v)`.
    pub fn put_into(&self, value: u64, patience: Patience) -> Result<(), Stop> {
        let bytes = std::ptr::from_ref(&value).cast();
        // SAFETY: the only sender; the bytes live until the call returns.
        self.with_buffer(|party, buffer| unsafe { party.send_into(buffer, bytes, 8, patience, true) })
    }

    /// `recv()`.
    pub fn get_from(&self, patience: Patience) -> Result<u64, Stop> {
        let mut value = 0_u64;
        let to = std::ptr::from_mut(&mut value).cast();
        // SAFETY: the only receiver; the target lives until the call returns.
        self.with_buffer(|party, buffer| unsafe { party.receive_from(buffer, to, 8, patience, true) })?;
        Ok(value)
    }

    pub fn send_to_line(&mut self, message: Outgoing, patience: Patience) -> Result<(), Stop> {
        let channel = &*self.channel;
        let mut party = Party {
            line: &channel.line,
            me: &channel.sides[SENDER],
            peer: &channel.sides[RECEIVER],
            ground: &(channel, SENDER),
            tally: &channel.tallies[SENDER],
            memory: &self.memory,
        };
        // SAFETY: the only sender; the bytes live until the call returns.
        unsafe { party.send(message, patience) }
    }

    pub fn receive_from_line(&mut self, target: Incoming, patience: Patience) -> Result<usize, Stop> {
        let channel = &*self.channel;
        let mut party = Party {
            line: &channel.line,
            me: &channel.sides[RECEIVER],
            peer: &channel.sides[SENDER],
            ground: &(channel, RECEIVER),
            tally: &channel.tallies[RECEIVER],
            memory: &self.memory,
        };
        // SAFETY: the only receiver; the bytes live until the call returns.
        unsafe { party.receive(target, patience) }
    }

    pub fn send(&mut self, value: u64, patience: Patience) -> Result<(), Stop> {
        let bytes = std::ptr::from_ref(&value).cast();
        self.send_to_line(Outgoing::Cell { bytes, length: 8 }, patience)
    }

    pub fn receive(&mut self, patience: Patience) -> Result<u64, Stop> {
        let mut value = 0_u64;
        let bytes = std::ptr::from_mut(&mut value).cast();
        self.receive_from_line(Incoming::Cell { bytes, length: 8 }, patience).map(|_| value)
    }

    /// Sends `words` words, each `value`, from the message variable; a single word is a small sized message.
    pub fn send_variable(&mut self, value: u64, words: usize, patience: Patience) -> Result<(), Stop> {
        let channel = self.channel.clone();
        let bytes = channel.variables[SENDER].0.with_mut(|p| {
            // SAFETY: ours until the message is sent; loom reports conflicts.
            unsafe { (*p).fill(value) };
            p.cast_const().cast()
        });
        let (length, exact) = (8 * words, words == 1);
        let message = Outgoing::Variable { bytes, length, reference: reference(SENDER), exact };
        let sent = self.send_to_line(message, patience);
        if sent != Err(Stop::Abandoned) {
            // Ours again: nobody may be reading any more.
            // SAFETY: as above.
            channel.variables[SENDER].0.with_mut(|p| unsafe { (*p).fill(u64::MAX) });
        }
        sent
    }

    /// Receives into the target variable, with room for `words`; one word is that of a small sized message.
    pub fn receive_variable(&mut self, words: usize, patience: Patience) -> Result<u64, Stop> {
        let channel = self.channel.clone();
        let bytes = channel.variables[RECEIVER].0.with_mut(|p| p.cast());
        let capacity = 8 * words;
        let target = Incoming::Variable {
            bytes,
            capacity,
            reference: reference(RECEIVER),
            small: words == 1,
            exact: words == 1,
        };
        let length = self.receive_from_line(target, patience)?;
        // SAFETY: ours again; loom reports conflicts.
        let got = channel.variables[RECEIVER].0.with(|p| unsafe { *p });
        assert!(got[..length / 8].iter().all(|word| *word == got[0]), "torn: {got:?}");
        Ok(got[0])
    }

    /// Lends `value`; changes it as soon as it is its own again.
    pub fn lend(&mut self, value: u64, patience: Patience) -> Result<(), Stop> {
        self.lend_words(value, 1, patience)
    }

    /// Lends two words at most.
    pub fn lend_words(&mut self, value: u64, words: usize, patience: Patience) -> Result<(), Stop> {
        self.memory.lends.set(true);
        let channel = self.channel.clone();
        channel.lent.store(value, Ordering::Relaxed);
        let message = [value; 2];
        let bytes = message.as_ptr().cast();
        let sent = self.send_to_line(Outgoing::Lent { bytes, length: 8 * words }, patience);
        channel.lent.store(u64::MAX, Ordering::Relaxed);
        sent
    }

    /// Receives into private memory with room for `words`, reading what is lent.
    pub fn receive_private(&mut self, words: usize, patience: Patience) -> Result<u64, Stop> {
        self.memory.lends.set(true);
        let mut target = [0_u64; 2];
        let bytes = target.as_mut_ptr().cast();
        let target_of = Incoming::Private { bytes, capacity: 8 * words, exact: false };
        let length = self.receive_from_line(target_of, patience)?;
        assert_eq!(length, 8);
        Ok(target[0])
    }

    pub fn put(&mut self, value: u64, patience: Patience) -> Result<(), Stop> {
        let bytes = std::ptr::from_ref(&value).cast();
        let channel = &*self.channel;
        let mut party = RingParty {
            slots: channel.slots(),
            place: &channel.tail,
            me: &channel.sides[self.who],
            peer: &channel.sides[1 - self.who],
            ground: &(channel, self.who),
            tally: &channel.tallies[self.who],
            memory: &self.memory,
        };
        // SAFETY: the only sender; the bytes live until the call returns.
        unsafe { party.send(bytes, 8, patience, true) }
    }

    pub fn get(&mut self, patience: Patience) -> Result<u64, Stop> {
        let mut value = 0_u64;
        let bytes = std::ptr::from_mut(&mut value).cast();
        let channel = &*self.channel;
        let mut party = RingParty {
            slots: channel.slots(),
            place: &channel.head,
            me: &channel.sides[self.who],
            peer: &channel.sides[1 - self.who],
            ground: &(channel, self.who),
            tally: &channel.tallies[self.who],
            memory: &self.memory,
        };
        // SAFETY: the only receiver; the bytes live until the call returns.
        unsafe { party.receive(bytes, 8, patience, true) }.map(|_| value)
    }
}
