//! What two members say to each other over a socket.
//!
//! ```text
//!   0        4        8                16               24
//!   +--------+--------+----------------+----------------+------------ - -
//!   | magic  | kind   | first number   | second number  | payload
//!   +--------+--------+----------------+----------------+------------ - -
//! ```
//!
//! | kind | from | numbers | payload | descriptors |
//! |---|---|---|---|---|
//! | `Join` | joiner | format | | |
//! | `Welcome` | member | its slot, its generation | number of the stake, the domain's own words | memory file, stake, listener |
//! | `WrongFormat` | member | format | | |
//! | `Hello` | either | slot, generation | | pidfd |
//! | `Goodbye` | either | | | |
//! | `Pass` | either | id | | the descriptor passed |
//! | `Ask` | either | id, what is asked and in which round | | |
//! | `Answer` | who was asked | id, what was asked and in which round | | the descriptor, if it was asked for and is there |
//!
//! The numbers are in the machine's own byte order: both ends are on one machine. `Join` and
//! `WrongFormat` must never change, or versions could not tell each other apart.
//!
//! What it does not do: it sends nothing. A message that does not decode is [`Malformed`], never
//! a panic: a peer's bytes are input.

use crate::os::fork::NotInherited;
use rustix::fd::OwnedFd;

/// The longest message, in bytes.
pub(crate) const MESSAGE_MAX: usize = 1024;
/// The longest payload of a welcome, in bytes.
pub(crate) const PAYLOAD_MAX: usize = MESSAGE_MAX - HEAD - size_of::<u64>();

const HEAD: usize = 24;
const MAGIC: u32 = u32::from_be_bytes(*b"STFT");

/// One member of a domain, for as long as it is one: the pair is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Member {
    /// Which slot of the process table.
    pub(crate) slot: u16,
    /// How often the slot had been taken before, plus one. Grows with every use of the slot.
    pub(crate) generation: u64,
}

/// A socket that stands for a slot which is reserved (`service::stakes`).
#[derive(Debug)]
pub(crate) struct Stake {
    pub(crate) socket: NotInherited,
    /// Its number, never 0.
    pub(crate) number: u64,
}

/// What one member asks another about a number under which descriptors are passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// "Do you have the descriptor? Then give me a copy." The answer has it, or has none.
    Descriptor,
    /// "Take it out of your address space." Answered when that is done.
    Unmap,
}

impl Question {
    const fn code(self) -> u64 {
        match self {
            Question::Descriptor => 1,
            Question::Unmap => 2,
        }
    }

    fn from_code(code: u64) -> Result<Question, Malformed> {
        match code {
            1 => Ok(Question::Descriptor),
            2 => Ok(Question::Unmap),
            _ => Err(Malformed),
        }
    }
}

/// A message, as it is meant.
#[derive(Debug)]
pub(crate) enum Message {
    /// "May I come in? I know this format of the domain's memory."
    Join { format: u64 },
    /// "Come in; this is the domain."
    Welcome {
        /// Who answers, and is from now on linked with the joiner by this very connection.
        host: Member,
        memory: OwnedFd,
        /// What keeps the joiner's place for it.
        stake: Stake,
        listener: Option<NotInherited>,
        payload: Vec<u8>,
    },
    /// "Our memory has this other format."
    WrongFormat { format: u64 },
    /// "This is me."
    Hello { me: Member, pidfd: Option<OwnedFd> },
    /// "I am leaving; what follows is no death."
    Goodbye,
    /// "Hold this for me; somebody will ask for it by number."
    Pass { id: u64, descriptor: OwnedFd },
    /// "Answer me this, when you can."
    Ask { question: Question, id: u64, round: u64 },
    /// "This is my answer."
    Answer { question: Question, id: u64, round: u64, descriptor: Option<OwnedFd> },
}

/// Bytes that are no message of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A question's number carries the round above its code.
const ROUND_SHIFT: u32 = 8;
const CODE_MASK: u64 = (1 << ROUND_SHIFT) - 1;

const JOIN: u32 = 1;
const WELCOME: u32 = 2;
const WRONG_FORMAT: u32 = 3;
const HELLO: u32 = 4;
const GOODBYE: u32 = 5;
const PASS: u32 = 6;
const ASK: u32 = 7;
const ANSWER: u32 = 8;

/// The bytes of each kind of message; descriptors travel beside them.
pub(crate) mod encode {
    use super::{Member, Question};
    use super::{ANSWER, ASK, GOODBYE, HEAD, HELLO, JOIN, MAGIC, PASS, WELCOME, WRONG_FORMAT};

    /// Two numbers under a heading.
    fn head(kind: u32, first: u64, second: u64) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[4..8].copy_from_slice(&kind.to_ne_bytes());
        bytes[8..16].copy_from_slice(&first.to_ne_bytes());
        bytes[16..].copy_from_slice(&second.to_ne_bytes());
        bytes
    }

    pub(crate) fn join(format: u64) -> [u8; HEAD] {
        head(JOIN, format, 0)
    }

    /// Goes with the memory file, the stake and, if there is one, the listener.
    pub(crate) fn welcome(host: Member, stake: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = head(WELCOME, host.slot.into(), host.generation).to_vec();
        bytes.extend_from_slice(&stake.to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    pub(crate) fn wrong_format(format: u64) -> [u8; HEAD] {
        head(WRONG_FORMAT, format, 0)
    }

    /// Goes with a pidfd.
    pub(crate) fn hello(me: Member) -> [u8; HEAD] {
        head(HELLO, me.slot.into(), me.generation)
    }

    pub(crate) fn goodbye() -> [u8; HEAD] {
        head(GOODBYE, 0, 0)
    }

    /// Goes with the descriptor.
    pub(crate) fn pass(id: u64) -> [u8; HEAD] {
        head(PASS, id, 0)
    }

    pub(crate) fn ask(question: Question, id: u64, round: u64) -> [u8; HEAD] {
        head(ASK, id, round << super::ROUND_SHIFT | question.code())
    }

    /// Goes with the descriptor that was asked for, if it is there.
    pub(crate) fn answer(question: Question, id: u64, round: u64) -> [u8; HEAD] {
        head(ANSWER, id, round << super::ROUND_SHIFT | question.code())
    }
}

/// Whether a message passes a descriptor.
pub(crate) fn passes(bytes: &[u8]) -> bool {
    matches!(parse(bytes), Ok((PASS, ..)))
}

/// Reads a message that came with these descriptors. Those that do not belong are closed.
pub(crate) fn decode(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Message, Malformed> {
    let (kind, first, second, payload) = parse(bytes)?;
    let mut descriptors = descriptors.into_iter();
    let member = || {
        let slot = u16::try_from(first).map_err(|_| Malformed)?;
        Ok(Member { slot, generation: second })
    };
    Ok(match kind {
        JOIN => Message::Join { format: first },
        WELCOME => {
            let (number, payload) = payload.split_first_chunk().ok_or(Malformed)?;
            let memory = descriptors.next().ok_or(Malformed)?;
            let mut kept =
                || descriptors.next().map(NotInherited::register).transpose().map_err(|_| Malformed);
            let socket = kept()?.ok_or(Malformed)?;
            Message::Welcome {
                host: member()?,
                memory,
                stake: Stake { socket, number: u64::from_ne_bytes(*number) },
                listener: kept()?,
                payload: payload.to_vec(),
            }
        }
        WRONG_FORMAT => Message::WrongFormat { format: first },
        HELLO => Message::Hello { me: member()?, pidfd: descriptors.next() },
        GOODBYE => Message::Goodbye,
        PASS => Message::Pass { id: first, descriptor: descriptors.next().ok_or(Malformed)? },
        ASK => Message::Ask {
            question: Question::from_code(second & CODE_MASK)?,
            id: first,
            round: second >> ROUND_SHIFT,
        },
        ANSWER => {
            let (question, round) = (Question::from_code(second & CODE_MASK)?, second >> ROUND_SHIFT);
            Message::Answer { question, id: first, round, descriptor: descriptors.next() }
        }
        _ => return Err(Malformed),
    })
}

/// Takes the bytes apart: kind, two numbers, payload.
fn parse(bytes: &[u8]) -> Result<(u32, u64, u64, &[u8]), Malformed> {
    let (head, payload) = bytes.split_first_chunk::<HEAD>().ok_or(Malformed)?;
    let short = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let long = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&head[at..at + 8]);
        u64::from_ne_bytes(number)
    };
    if short(0) != MAGIC {
        return Err(Malformed);
    }
    Ok((short(4), long(8), long(16), payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn every_kind_comes_back_as_it_was_sent() {
        let me = Member { slot: 7, generation: 1 << 40 };
        let welcome = encode::welcome(me, 77, b"words");
        match decode(&welcome, vec![descriptor(), descriptor(), descriptor()]).unwrap() {
            Message::Welcome { host, stake, listener: Some(_), payload, .. } => {
                assert_eq!((host, stake.number, &payload[..]), (me, 77, &b"words"[..]))
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(decode(&encode::join(3), vec![]), Ok(Message::Join { format: 3 })));
        assert!(matches!(
            decode(&encode::hello(me), vec![]),
            Ok(Message::Hello { me: who, pidfd: None }) if who == me
        ));
        assert!(matches!(decode(&encode::goodbye(), vec![]), Ok(Message::Goodbye)));
        assert!(passes(&encode::pass(9)));
        assert!(!passes(&encode::join(9)));
        for question in [Question::Descriptor, Question::Unmap] {
            assert!(matches!(
                decode(&encode::ask(question, 8, 9), vec![]),
                Ok(Message::Ask { question: asked, id: 8, round: 9 }) if asked == question
            ));
            assert!(matches!(
                decode(&encode::answer(question, 8, 9), vec![descriptor()]),
                Ok(Message::Answer { question: asked, id: 8, round: 9, descriptor: Some(_) }) if asked == question
            ));
        }
    }

    #[test]
    fn foreign_bytes_are_malformed() {
        let good = encode::hello(Member { slot: 1, generation: 1 });
        for len in 0..good.len() {
            assert_eq!(decode(&good[..len], vec![]).unwrap_err(), Malformed);
        }
        let mut bad_slot = good;
        bad_slot[8..16].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert!(decode(&bad_slot, vec![]).is_err());
        let mut bad_kind = good;
        bad_kind[4] = 99;
        assert!(decode(&bad_kind, vec![]).is_err());
        assert!(decode(&encode::pass(1), vec![]).is_err(), "nothing is passed");
        let mut bad_question = encode::ask(Question::Unmap, 1, 1);
        bad_question[16] = 99;
        assert!(decode(&bad_question, vec![]).is_err());
        assert!(decode(&encode::welcome(Member { slot: 1, generation: 1 }, 1, b""), vec![]).is_err());
    }
}
