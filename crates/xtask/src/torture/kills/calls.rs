//! The part of a client and of a server: each call is a letter, and the reply is its answer.

use std::sync::atomic::Ordering::SeqCst;

use staffetta::{AttachError, CallError, CallFailure, Client, Message, RecvError, Select, Server};

use super::super::history::{answer, is_whole, letter, phase, Letter, INCARNATIONS, LETTERS};
use super::super::line::Fault;
use super::super::random::Random;
use super::ends::A_WHILE;
use super::member::{Member, Play};
use super::scene::{Cargo, Style};

/// A request or a reply: a letter, perhaps with padding that does not fit into a line.
trait Packed: Message {
    fn pack(letter: Letter) -> Self;
    fn letter(&self) -> Letter;
}

impl Packed for Letter {
    fn pack(letter: Letter) -> Self {
        letter
    }
    fn letter(&self) -> Letter {
        *self
    }
}

impl Packed for [Letter; 20] {
    fn pack(letter: Letter) -> Self {
        [letter; 20]
    }
    fn letter(&self) -> Letter {
        match self.iter().all(|letter| *letter == self[0]) {
            true => self[0],
            false => [u64::MAX; 3],
        }
    }
}

/// Calls until it is to stop.
pub fn call(member: &Member, play: Play) -> Result<(), AttachError> {
    match play.scene.cargo {
        Cargo::Large => call_with::<[Letter; 20]>(member, play),
        _ => call_with::<Letter>(member, play),
    }
}

/// Serves until it is to stop and no client is there any more.
pub fn serve(member: &Member, play: Play) -> Result<(), AttachError> {
    match play.scene.cargo {
        Cargo::Large => serve_with::<[Letter; 20]>(member, play),
        _ => serve_with::<Letter>(member, play),
    }
}

fn call_with<M: Packed>(member: &Member, play: Play) -> Result<(), AttachError> {
    let Play { domain, scene, style, .. } = play;
    let name = scene.channel();
    let client: Client<M, M> = scene.builder(domain, &name).client()?;
    let notes = member.notes();
    notes.enter(phase::ATTACHED);
    let mut random = Random::new(scene.number ^ member.who as u64);
    for number in 0..LETTERS {
        let asks = letter(member.who, number);
        notes.begun.store(number + 1, SeqCst);
        // A call that was given up, or whose server is gone, is not made again: it may have been served.
        let mut settled = false;
        while !settled {
            notes.calls.fetch_add(1, SeqCst);
            settled = match reply(&client, M::pack(asks), style) {
                Ok(reply) if reply.letter() == answer(asks) => {
                    if member.ledger().has_come(member.who, number) {
                        notes.came.fetch_add(1, SeqCst);
                    } else {
                        notes
                            .fault(Fault::Lost, &format!("call {number} was answered, and no server had it"));
                    }
                    true
                }
                Ok(reply) => {
                    let what = format!("the reply to {number} is another's: {:x?}", reply.letter());
                    notes.fault(Fault::Duplicated, &what);
                    true
                }
                Err(CallError { why: CallFailure::PeerDied, request }) => {
                    notes.died.fetch_add(1, SeqCst);
                    request.is_none()
                }
                Err(CallError { why: CallFailure::Disconnected, request }) => {
                    notes.left.fetch_add(1, SeqCst);
                    request.is_none()
                }
                Err(CallError { why: CallFailure::TimedOut | CallFailure::Unanswered, request }) => {
                    request.is_none()
                }
                Err(failed) => {
                    notes.fault(Fault::Wrong, &format!("call: {}", failed.why));
                    return Ok(());
                }
            };
        }
        notes.done.store(number + 1, SeqCst);
        if member.has_sent_enough(play, number) || member.is_to_stop() {
            break;
        }
        member.pace(scene, &mut random);
    }
    notes.enter(phase::LEAVING);
    Ok(())
}

fn reply<M: Packed>(client: &Client<M, M>, request: M, style: Style) -> Result<M, CallError<M>> {
    match style {
        Style::Blocking => client.call(request),
        Style::Timeout | Style::Try => client.call_timeout(request, A_WHILE),
        Style::Select => {
            let pending = client.begin(request)?;
            let mut select = Select::new();
            let failed = |why| CallError { why: CallFailure::Select(why), request: None };
            select.recv(&pending).map_err(failed)?;
            let ready = select.ready_timeout(A_WHILE);
            drop(select);
            match ready {
                Ok(_) => pending.wait(),
                Err(_) => pending.wait_timeout(A_WHILE),
            }
        }
    }
}

fn serve_with<M: Packed>(member: &Member, play: Play) -> Result<(), AttachError> {
    let Play { domain, scene, style, .. } = play;
    let name = scene.channel();
    let server: Server<M, M> = scene.builder(domain, &name).server()?;
    let notes = member.notes();
    notes.enter(phase::ATTACHED);
    let mut next = [0; INCARNATIONS];
    loop {
        notes.calls.fetch_add(1, SeqCst);
        let request = match style {
            Style::Blocking => server.recv(),
            Style::Try => server.try_recv(),
            Style::Timeout => server.recv_timeout(A_WHILE),
            Style::Select => {
                let mut select = Select::new();
                let registered = select.recv(&server);
                registered
                    .and_then(|_| select.select())
                    .map_err(RecvError::from)
                    .and_then(|op| op.recv(&server))
            }
        };
        let over = member.is_over(scene, &request, &next);
        match request {
            Ok(request) => {
                let asked = request.letter();
                note(member, asked, &mut next);
                // A client that is gone, or has given up, does not want it.
                let _ = request.reply(M::pack(answer(asked)));
            }
            Err(RecvError::PeerDied) => drop(notes.died.fetch_add(1, SeqCst)),
            Err(RecvError::Disconnected) => drop(notes.left.fetch_add(1, SeqCst)),
            Err(RecvError::WouldBlock | RecvError::NoPeer) => std::thread::yield_now(),
            Err(RecvError::TimedOut) => {}
            Err(why) => {
                notes.fault(Fault::Wrong, &format!("serve: {why}"));
                break;
            }
        }
        if over || member.has_had_enough(play) {
            break;
        }
    }
    notes.enter(phase::LEAVING);
    Ok(())
}

/// A request came: whole, once, and in the order of its client.
fn note(member: &Member, asked: Letter, next: &mut [u64; INCARNATIONS]) {
    let [who, number, _] = asked;
    let notes = member.notes();
    if !is_whole(asked) || who >= INCARNATIONS as u64 || number >= LETTERS {
        return notes.fault(Fault::Duplicated, &format!("a request came torn: {asked:x?}"));
    }
    let next = &mut next[who as usize];
    if number < *next || !member.ledger().came(who as usize, number) {
        notes.fault(Fault::Duplicated, &format!("request {number} of {who} came twice, or after {next}"));
    }
    *next = number + 1;
    notes.came.fetch_add(1, SeqCst);
}
