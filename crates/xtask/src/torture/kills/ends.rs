//! Every form of channel of which each message goes to one receiver, and every cargo, behind one pair of closures.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use staffetta::{
    AttachError, Domain, Message, Method, Parcel, Payload, Receiver, RecvError, Select, SendFailure, Sender,
};

use super::super::history::{is_whole, Letter};
use super::scene::{Cargo, Scene, Style};

/// Receives one letter.
pub type Receive = Box<dyn FnMut(Take) -> Result<(), RecvError>>;

/// What is done with a letter that came; told whether it is read in place, where it still lies in the channel.
pub type Take<'t> = &'t mut dyn FnMut(Letter, bool);

/// A sending end. A letter that was not sent may be sent again.
pub struct Tx {
    pub send: Box<dyn FnMut(Letter) -> Result<(), SendFailure>>,
    /// Messages that senders of this channel dropped.
    pub dropped: Box<dyn Fn() -> u64>,
}

/// A receiving end.
pub struct Rx {
    pub recv: Receive,
    /// Messages that went to all, and were gone before this end came to them.
    pub missed: Box<dyn Fn() -> u64>,
    /// Does anybody send?
    pub has_peer: Box<dyn Fn() -> bool>,
}

/// How long calls with a time wait.
pub const A_WHILE: Duration = Duration::from_millis(2);
/// A slice's, a large value's letters.
const COPIES: usize = 20;
const WORDS: usize = COPIES * 3;

/// A letter, packed.
trait Pack: Payload + Sized + 'static {
    fn pack(domain: &Domain, method: Method, letter: Letter) -> Option<Self>;
    fn letter(&self) -> Letter;
}

impl Pack for Letter {
    fn pack(_: &Domain, _: Method, letter: Letter) -> Option<Self> {
        Some(letter)
    }
    fn letter(&self) -> Letter {
        *self
    }
}

/// Many times the same.
type Large = [Letter; COPIES];

impl Pack for Large {
    fn pack(_: &Domain, _: Method, letter: Letter) -> Option<Self> {
        Some([letter; COPIES])
    }
    fn letter(&self) -> Letter {
        first(self)
    }
}

impl Pack for Parcel<[Letter]> {
    fn pack(domain: &Domain, method: Method, letter: Letter) -> Option<Self> {
        let mut parcel = domain.parcels(method).zeroed::<[Letter]>(copies(letter)).ok()?;
        parcel.fill(letter);
        Some(parcel)
    }
    fn letter(&self) -> Letter {
        let letter = first(self);
        if self.len() == copies(letter) {
            letter
        } else {
            TORN
        }
    }
}

/// What no letter is.
const TORN: Letter = [u64::MAX, 0, 0];

/// Mostly short, sometimes of several pages.
fn copies([_, number, _]: Letter) -> usize {
    if number % 13 == 7 {
        1 + (number as usize * 31) % 700
    } else {
        1 + number as usize % 9
    }
}

/// The letter that all of it repeats.
fn first(letters: &[Letter]) -> Letter {
    match letters {
        [first, rest @ ..] if rest.iter().all(|letter| letter == first) && is_whole(*first) => *first,
        _ => TORN,
    }
}

/// A slice of words, as letters.
fn first_of_words(words: &[u64]) -> Letter {
    let letters: Vec<Letter> = words.chunks_exact(3).map(|w| [w[0], w[1], w[2]]).collect();
    match first(&letters) {
        letter if words.len() == length(letter) => letter,
        _ => TORN,
    }
}

fn words(letter: Letter, into: &mut [u64]) -> usize {
    let length = length(letter);
    into[..length].chunks_exact_mut(3).for_each(|to| to.copy_from_slice(&letter));
    length
}

fn length(letter: Letter) -> usize {
    (copies(letter) * 3).min(WORDS)
}

/// Attaches a sender.
pub fn sender(domain: &Domain, scene: &Scene, style: Style) -> Result<Tx, AttachError> {
    let name = scene.channel();
    let channel = scene.builder(domain, &name);
    Ok(match scene.cargo {
        Cargo::Value => plain_sender(channel.sender::<Letter>()?, domain, scene.method, style),
        Cargo::Large => plain_sender(channel.sender::<Large>()?, domain, scene.method, style),
        Cargo::Parcel => plain_sender(channel.sender::<Parcel<[Letter]>>()?, domain, scene.method, style),
        Cargo::InPlace => builder_of_slots(channel.sender::<Large>()?, style),
        Cargo::Slice | Cargo::Lent | Cargo::Variable => {
            words_sender(channel.sender::<[u64]>()?, domain, scene.cargo, style)
        }
    })
}

/// Attaches a receiver.
pub fn receiver(domain: &Domain, scene: &Scene, style: Style) -> Result<Rx, AttachError> {
    let name = scene.channel();
    let channel = scene.builder(domain, &name);
    Ok(match scene.cargo {
        Cargo::Value => plain_receiver(channel.receiver::<Letter>()?, domain, style),
        Cargo::Large => plain_receiver(channel.receiver::<Large>()?, domain, style),
        Cargo::Parcel => plain_receiver(channel.receiver::<Parcel<[Letter]>>()?, domain, style),
        Cargo::InPlace => reader_of_slots(channel.receiver::<Large>()?, style),
        Cargo::Slice | Cargo::Lent | Cargo::Variable => {
            words_receiver(channel.receiver::<[u64]>()?, domain, scene.cargo, style)
        }
    })
}

fn plain_sender<T: Pack>(tx: Sender<T>, domain: &Domain, method: Method, style: Style) -> Tx {
    let tx = Rc::new(tx);
    let (counting, domain) = (tx.clone(), domain.clone());
    // Something else that the select waits for, in vain.
    let idle =
        (style == Style::Select).then(|| domain.channel("").buffered(1).unnamed::<u64>().ok()).flatten();
    let send = move |letter: Letter| {
        let Some(message) = T::pack(&domain, method, letter) else {
            return Err(SendFailure::NoStaging);
        };
        let sent = match (style, &idle) {
            (Style::Select, Some((_, idle))) => {
                let mut select = Select::new();
                select.recv(idle)?;
                let op = select.send(&*tx)?;
                let chosen = select.select_timeout(A_WHILE)?;
                assert_eq!(chosen.index(), op, "nothing comes over the idle channel");
                chosen.send(&*tx, message)
            }
            (Style::Try, _) => tx.try_send(message),
            (Style::Timeout, _) => tx.send_timeout(message, A_WHILE),
            _ => tx.send(message),
        };
        sent.map_err(|failed| {
            assert_eq!(failed.message.letter(), letter, "another message came back than was sent");
            failed.why
        })
    };
    let dropped = move || counting.channel_counters().0.dropped;
    Tx { send: Box::new(send), dropped: Box::new(dropped) }
}

fn plain_receiver<T: Pack>(rx: Receiver<T>, domain: &Domain, style: Style) -> Rx {
    let idle =
        (style == Style::Select).then(|| domain.channel("").buffered(1).unnamed::<u64>().ok()).flatten();
    let recv = move |take: Take| {
        let message = match (style, &idle) {
            (Style::Select, Some((_, idle))) => {
                let mut select = Select::new();
                let op = select.recv(&rx)?;
                select.recv(idle)?;
                let chosen = select.select()?;
                assert_eq!(chosen.index(), op, "nothing comes over the idle channel");
                chosen.recv(&rx)?
            }
            (Style::Try, _) => rx.try_recv()?,
            (Style::Timeout, _) => rx.recv_timeout(A_WHILE)?,
            _ => rx.recv()?,
        };
        take(message.letter(), false);
        Ok(())
    };
    Rx { recv: Box::new(recv), missed: Box::new(|| 0), has_peer: Box::new(|| true) }
}

fn builder_of_slots<T: Pack + Message>(tx: Sender<T>, style: Style) -> Tx
where
    Large: Into<T>,
{
    let tx = Rc::new(tx);
    let counting = tx.clone();
    let send = move |letter: Letter| {
        let slot = match style {
            Style::Try => tx.try_reserve(),
            Style::Timeout => tx.reserve_timeout(A_WHILE),
            _ => tx.reserve(),
        }?;
        slot.write([letter; COPIES].into())
    };
    let dropped = move || counting.channel_counters().0.dropped;
    Tx { send: Box::new(send), dropped: Box::new(dropped) }
}

fn reader_of_slots<T: Pack + Message>(rx: Receiver<T>, style: Style) -> Rx {
    let recv = move |take: Take| {
        let message = match style {
            Style::Try => rx.try_recv_ref(),
            Style::Timeout => rx.recv_ref_timeout(A_WHILE),
            _ => rx.recv_ref(),
        }?;
        take((*message).letter(), true);
        Ok(())
    };
    Rx { recv: Box::new(recv), missed: Box::new(|| 0), has_peer: Box::new(|| true) }
}

/// Words of a slice, of lent private memory, of a variable.
fn words_sender(tx: Sender<[u64]>, domain: &Domain, cargo: Cargo, style: Style) -> Tx {
    let tx = Rc::new(tx);
    let counting = tx.clone();
    let timed = matches!(style, Style::Timeout | Style::Try);
    let mut buffer = [0; WORDS];
    let variable =
        RefCell::new((cargo == Cargo::Variable).then(|| domain.variable_slice::<u64>(WORDS).ok()).flatten());
    let send = move |letter: Letter| {
        let length = words(letter, &mut buffer);
        let message = &buffer[..length];
        let failed = match (cargo, variable.borrow_mut().as_mut()) {
            (Cargo::Variable, Some(variable)) => {
                if let Some(room) = variable.zero(length) {
                    room.copy_from_slice(message);
                }
                match timed {
                    true => tx.send_variable_timeout(variable, A_WHILE),
                    false => tx.send_variable(variable),
                }
            }
            (Cargo::Variable, None) => return Err(SendFailure::NoStaging),
            (Cargo::Lent, _) if timed => tx.send_from_timeout(message, A_WHILE).map(drop),
            (Cargo::Lent, _) => tx.send_from(message).map(drop),
            _ if timed => tx.send_slice_timeout(message, A_WHILE),
            _ => tx.send_slice(message),
        };
        failed.map_err(|failed| failed.why)
    };
    let dropped = move || counting.channel_counters().0.dropped;
    Tx { send: Box::new(send), dropped: Box::new(dropped) }
}

fn words_receiver(rx: Receiver<[u64]>, domain: &Domain, cargo: Cargo, style: Style) -> Rx {
    let timed = matches!(style, Style::Timeout | Style::Try);
    let mut buffer = [0; WORDS];
    let mut variable = (cargo == Cargo::Variable).then(|| domain.variable_slice::<u64>(WORDS).ok()).flatten();
    let recv = move |take: Take| {
        let letter = match (cargo, &mut variable) {
            (Cargo::Variable, Some(variable)) => {
                match timed {
                    true => rx.recv_into_timeout(variable, A_WHILE),
                    false => rx.recv_into(variable),
                }?;
                variable.get().map_or(TORN, first_of_words)
            }
            (Cargo::Variable, None) => return Err(RecvError::TimedOut),
            (Cargo::Lent, _) => {
                let came = match timed {
                    true => rx.recv_into_timeout(&mut buffer[..], A_WHILE),
                    false => rx.recv_into(&mut buffer[..]),
                }?;
                first_of_words(&buffer[..came.elements])
            }
            _ => {
                let length = match timed {
                    true => rx.recv_slice_timeout(&mut buffer, A_WHILE),
                    false => rx.recv_slice(&mut buffer),
                }?;
                first_of_words(&buffer[..length])
            }
        };
        take(letter, false);
        Ok(())
    };
    Rx { recv: Box::new(recv), missed: Box::new(|| 0), has_peer: Box::new(|| true) }
}
