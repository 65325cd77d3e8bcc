//! Channels whose messages go to all receivers, behind the closures of [`ends`](super::ends).

use std::rc::Rc;

use staffetta::{
    AttachError, BroadcastReceiver, BroadcastSender, Domain, LatestReceiver, LatestSender, RecvError, Select,
};

use super::super::history::Letter;
use super::ends::{Rx, Take, Tx, A_WHILE};
use super::scene::{Cargo, Flavor, Scene, Style};

/// Attaches the sender.
pub fn sender(domain: &Domain, scene: &Scene, style: Style) -> Result<Tx, AttachError> {
    let name = scene.channel();
    let in_place = scene.cargo == Cargo::InPlace;
    Ok(match scene.flavor {
        Flavor::Latest => tell_latest(scene.latest(domain, &name).sender()?, in_place),
        _ => tell(scene.broadcast(domain, &name).sender()?, in_place, style),
    })
}

/// Attaches a receiver; it gets what is sent from now on.
pub fn receiver(domain: &Domain, scene: &Scene, style: Style) -> Result<Rx, AttachError> {
    let name = scene.channel();
    let in_place = scene.cargo == Cargo::InPlace;
    Ok(match scene.flavor {
        Flavor::Latest => hear_latest(scene.latest(domain, &name).receiver()?, in_place, style),
        _ => hear(scene.broadcast(domain, &name).receiver()?, in_place, style),
    })
}

fn tell(tx: BroadcastSender<Letter>, in_place: bool, style: Style) -> Tx {
    let send = move |letter: Letter| {
        if in_place {
            let slot = match style {
                Style::Try => tx.try_reserve(),
                Style::Timeout => tx.reserve_timeout(A_WHILE),
                _ => tx.reserve(),
            }?;
            return slot.write(letter);
        }
        let sent = match style {
            Style::Try => tx.try_send(letter),
            Style::Timeout => tx.send_timeout(letter, A_WHILE),
            Style::Select => {
                let mut select = Select::new();
                select.send(&tx)?;
                let chosen = select.select_timeout(A_WHILE)?;
                chosen.send(&tx, letter)
            }
            Style::Blocking => tx.send(letter),
        };
        sent.map_err(|failed| failed.why)
    };
    Tx { send: Box::new(send), dropped: Box::new(|| 0) }
}

fn tell_latest(tx: LatestSender<Letter>, in_place: bool) -> Tx {
    let send = move |letter: Letter| match in_place {
        true => tx.reserve()?.write(letter),
        false => tx.send(letter).map_err(|failed| failed.why),
    };
    Tx { send: Box::new(send), dropped: Box::new(|| 0) }
}

macro_rules! hearing {
    ($hear:ident, $receiver:ident) => {
        fn $hear(rx: $receiver<Letter>, in_place: bool, style: Style) -> Rx {
            let rx = Rc::new(rx);
            let (counting, asking) = (rx.clone(), rx.clone());
            let recv = move |take: Take| -> Result<(), RecvError> {
                if style == Style::Select {
                    let mut select = Select::new();
                    select.recv(&*rx)?;
                    let letter = select.select()?.recv(&*rx)?;
                    take(letter, false);
                } else if in_place {
                    let message = match style {
                        Style::Try => rx.try_recv_ref(),
                        Style::Timeout => rx.recv_ref_timeout(A_WHILE),
                        _ => rx.recv_ref(),
                    }?;
                    take(*message, true);
                } else {
                    let letter = match style {
                        Style::Try => rx.try_recv(),
                        Style::Timeout => rx.recv_timeout(A_WHILE),
                        _ => rx.recv(),
                    }?;
                    take(letter, false);
                }
                Ok(())
            };
            let (missed, has_peer) = (move || counting.missed(), move || asking.has_peer());
            Rx { recv: Box::new(recv), missed: Box::new(missed), has_peer: Box::new(has_peer) }
        }
    };
}

hearing!(hear, BroadcastReceiver);
hearing!(hear_latest, LatestReceiver);
