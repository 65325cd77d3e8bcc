//! Workers that hand each other ends of channels without names, and parcels with such ends in them: a mesh whose edges travel.
//!
//! Nobody counts letters here. What counts is that nothing is in use when the survivors have dropped what they have.

use std::sync::atomic::Ordering::SeqCst;

use staffetta::{
    AttachError, Domain, Enclosed, Message, Method, Parcel, Receiver, RecvError, SendFailure, Sender,
};

use super::super::history::phase;
use super::super::line::Fault;
use super::super::random::Random;
use super::member::{Member, Play};
use super::scene::Scene;

/// What travels.
#[derive(Message)]
struct Node {
    tx: Enclosed<Sender<u64>>,
    rx: Enclosed<Receiver<u64>>,
    inner: Enclosed<Parcel<Node>>,
}

#[derive(Default)]
struct Pool {
    senders: Vec<Sender<u64>>,
    receivers: Vec<Receiver<u64>>,
    nodes: Vec<Parcel<Node>>,
}

/// Most of a kind that a worker keeps.
const MOST: usize = 12;

/// Makes, hands on, takes out, drops, at random, until it is to stop.
pub fn work(member: &Member, play: Play) -> Result<(), AttachError> {
    let Play { domain, scene, .. } = play;
    let name = scene.channel();
    let desk =
        || domain.channel(&name).method(method_of(scene)).bounded(4).senders(8).receivers(8).wait(scene.wait);
    let (to, from): (Sender<Parcel<Node>>, Receiver<Parcel<Node>>) = (desk().sender()?, desk().receiver()?);
    let notes = member.notes();
    notes.enter(phase::ATTACHED);
    let mut random = Random::new(scene.number ^ (member.who as u64) << 32);
    let mut pool = Pool::default();
    for turn in 0.. {
        if member.is_to_stop() || member.has_sent_enough(play, turn) {
            break;
        }
        notes.calls.fetch_add(1, SeqCst);
        if let Err(why) = pool.turn(domain, scene, &to, &from, &mut random) {
            notes.fault(Fault::Wrong, &format!("a worker: {why}"));
            break;
        }
    }
    notes.enter(phase::LEAVING);
    while let Ok(node) = from.try_recv() {
        drop(node);
    }
    Ok(())
}

impl Pool {
    fn turn(
        &mut self,
        domain: &Domain,
        scene: &Scene,
        to: &Sender<Parcel<Node>>,
        from: &Receiver<Parcel<Node>>,
        random: &mut Random,
    ) -> Result<(), String> {
        match random.below(8) {
            0 | 1 => {
                let channel = domain.channel("").method(method_of(scene)).wait(scene.wait);
                let channel = match random.below(5) {
                    0 => channel.rendezvous(),
                    1 => channel.basic(2),
                    2 => channel.buffered(2),
                    3 => channel.bounded(2).senders(3).receivers(3),
                    _ => channel.many_to_one(2).senders(3),
                };
                let (tx, rx) = channel.unnamed::<u64>().map_err(|why| why.to_string())?;
                self.senders.push(tx);
                self.receivers.push(rx);
            }
            2 | 3 => {
                let node = self.filled(domain, random)?;
                match to.try_send(node) {
                    Ok(()) => {}
                    // It is dropped, with what is in it.
                    Err(failed) if is_expected(&failed.why) => {}
                    Err(failed) => return Err(format!("send: {}", failed.why)),
                }
            }
            4 => {
                if let Ok(node) = from.try_recv() {
                    self.nodes.push(node);
                }
            }
            5 => {
                if let Some(mut node) = any(&mut self.nodes, random) {
                    let (tx, rx, inner) = (node.tx, node.rx, node.inner);
                    let said = |why: staffetta::TakeOutError| format!("take out: {why}");
                    if !tx.is_none() {
                        self.senders.push(node.take_out(tx).map_err(said)?);
                    }
                    if !rx.is_none() {
                        self.receivers.push(node.take_out(rx).map_err(said)?);
                    }
                    if !inner.is_none() && random.below(2) == 0 {
                        self.nodes.push(node.take_out(inner).map_err(said)?);
                    }
                }
            }
            6 => {
                for tx in &self.senders {
                    match tx.try_send(random.next()) {
                        Ok(()) => {}
                        Err(failed) if is_expected(&failed.why) => {}
                        Err(failed) => return Err(format!("send over an end: {}", failed.why)),
                    }
                }
                for rx in &self.receivers {
                    match rx.try_recv() {
                        Ok(_) | Err(RecvError::WouldBlock | RecvError::NoPeer) => {}
                        Err(RecvError::Disconnected | RecvError::PeerDied) => {}
                        Err(why) => return Err(format!("receive from an end: {why}")),
                    }
                }
            }
            _ => {
                any(&mut self.senders, random);
                any(&mut self.receivers, random);
                any(&mut self.nodes, random);
            }
        }
        self.senders.truncate(MOST);
        self.receivers.truncate(MOST);
        self.nodes.truncate(MOST);
        Ok(())
    }

    /// A parcel with some of what this worker has.
    fn filled(&mut self, domain: &Domain, random: &mut Random) -> Result<Parcel<Node>, String> {
        let empty = Node { tx: Enclosed::default(), rx: Enclosed::default(), inner: Enclosed::default() };
        let mut node = Parcel::new(domain, empty).map_err(|why| why.to_string())?;
        if let Some(tx) = any(&mut self.senders, random) {
            node.tx = node.enclose(tx).map_err(|why| why.to_string())?;
        }
        if let Some(rx) = any(&mut self.receivers, random) {
            node.rx = node.enclose(rx).map_err(|why| why.to_string())?;
        }
        if let Some(inner) = any(&mut self.nodes, random) {
            node.inner = node.enclose(inner).map_err(|why| why.to_string())?;
        }
        Ok(node)
    }
}

/// Parcels that hold something lie in the domain's window.
fn method_of(scene: &Scene) -> Method {
    match scene.method {
        Method::Capability => Method::Distinct,
        other => other,
    }
}

fn is_expected(why: &SendFailure) -> bool {
    use SendFailure::{Disconnected, NoPeer, PeerDied, ThroughItself, WouldBlock};
    matches!(why, Disconnected | NoPeer | PeerDied | ThroughItself | WouldBlock)
}

/// One of them, taken out.
fn any<T>(of: &mut Vec<T>, random: &mut Random) -> Option<T> {
    (!of.is_empty()).then(|| of.swap_remove(random.below(of.len() as u64) as usize))
}
