//! Ends of channels and parcels as messages: sent, taken out, given back; circles; partners that die.

mod common;

use std::time::Duration;

use common::{finish, in_use, name, options, role, start, watchdog};
use staffetta::{
    AttachError, Domain, EncloseFailure, Enclosed, Message, Method, Parcel, Receiver, RecvError, SendFailure,
    Sender, TakeOutError, Wait,
};

#[derive(Message)]
struct Question {
    number: u64,
    answer: Enclosed<Sender<u64>>,
}

/// A message that holds an end of a channel of such messages, and another such message.
#[derive(Message)]
struct Node {
    number: u64,
    next: Enclosed<Sender<Parcel<Node>>>,
    from: Enclosed<Receiver<Parcel<Node>>>,
    inner: Enclosed<Parcel<Node>>,
}

impl Node {
    fn new(domain: &Domain, number: u64) -> Parcel<Node> {
        let (next, from, inner) = Default::default();
        Parcel::new(domain, Node { number, next, from, inner }).unwrap()
    }
}

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let domain = Domain::join(&arguments[0]).unwrap();
    match role.as_str() {
        "answers" => {
            let questions = domain.receiver::<Parcel<Question>>("questions").unwrap();
            while let Ok(mut question) = questions.recv() {
                let answer = question.answer;
                question.take_out(answer).unwrap().send(question.number * 7).unwrap();
            }
        }
        "takes an end and waits" => {
            let ends = domain.receiver::<Receiver<u64>>("ends").unwrap();
            let end = ends.recv().unwrap();
            domain.sender::<()>("has it").unwrap().send(()).unwrap();
            while let Ok(number) = end.recv() {
                assert_ne!(number, u64::MAX);
            }
        }
        "holds what it got" => {
            let nodes = domain.receiver::<Parcel<Node>>("nodes").unwrap();
            let held = nodes.recv().unwrap();
            domain.sender::<()>("has it").unwrap().send(()).unwrap();
            assert_eq!(held.number, 1);
            loop {
                std::thread::park();
            }
        }
        "sends an end and leaves" => {
            let (tx, rx) = domain.channel("").bounded(4).unnamed::<u64>().unwrap();
            tx.send(1).unwrap();
            tx.send(2).unwrap();
            let ends = domain.sender::<Receiver<u64>>("ends").unwrap();
            ends.send(rx).unwrap();
        }
        "elsewhere" => {
            let domain =
                Domain::options().addresses(staffetta::Addresses::Distinct).join(&arguments[0]).unwrap();
            let method = Method::Distinct;
            let ends = domain.channel("ends").method(method).receiver::<Sender<u64>>().unwrap();
            let why = ends.recv().map(drop).unwrap_err();
            let needs =
                matches!(why, RecvError::TakeOut(TakeOutError::Attach(AttachError::AddressesDiffer { .. })));
            assert!(needs, "{why}");
            // The message as it is can be sent on.
            drop(ends);
            let ends =
                domain.channel("ends").method(method).receiver::<Parcel<Enclosed<Sender<u64>>>>().unwrap();
            let mut parcel = ends.recv().unwrap();
            let enclosed = *parcel;
            let why = parcel.take_out(enclosed).map(drop).unwrap_err();
            assert!(matches!(why, TakeOutError::Attach(AttachError::AddressesDiffer { .. })), "{why}");
            let back =
                domain.channel("back").method(method).sender::<Parcel<Enclosed<Sender<u64>>>>().unwrap();
            back.send(parcel).unwrap();
        }
        other => panic!("no role {other}"),
    }
}

#[test]
fn the_channel_for_the_answer_travels_inside_the_question() {
    let _dog = watchdog("answers", 60);
    let name = name("answers");
    let domain = options().open(&name).unwrap();
    let questions = domain.channel("questions").buffered(4).sender::<Parcel<Question>>().unwrap();
    let child = start("answers", &[&name]);
    for round in 0..200 {
        for channel in
            [domain.channel("").buffered(1), domain.channel("").rendezvous(), domain.channel("").bounded(2)]
        {
            let (tx, rx) = channel.wait(Wait::Park).unnamed::<u64>().unwrap();
            let answer = Enclosed::default();
            let mut question = Parcel::new(&domain, Question { number: round, answer }).unwrap();
            question.answer = question.enclose(tx).unwrap();
            questions.send(question).unwrap();
            assert_eq!(rx.recv().unwrap(), round * 7);
            assert!(matches!(rx.recv(), Err(RecvError::Disconnected)), "it answers once");
        }
    }
    drop(questions);
    finish(child);
}

#[test]
fn an_end_is_a_message_of_its_own() {
    let _dog = watchdog("ends", 60);
    let domain = options().create().unwrap();
    let (ends, got) = domain.channel("").buffered(2).unnamed::<Sender<u64>>().unwrap();
    let (tx, rx) = domain.channel("").buffered(4).unnamed::<u64>().unwrap();
    tx.send(1).unwrap();
    ends.send(tx).unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
    assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)), "nobody has left: it lies in a message");
    let tx = got.recv().unwrap();
    tx.send(2).unwrap();
    assert_eq!(rx.recv().unwrap(), 2);
    drop(tx);
    assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
    // Back and forth many times: the same holding, and no entry is lost.
    let (tx, rx) = domain.channel("").bounded(2).unnamed::<u64>().unwrap();
    let mut tx = tx;
    for number in 0..1000 {
        tx.send(number).unwrap();
        ends.send(tx).unwrap();
        tx = got.recv().unwrap();
        assert_eq!(rx.recv().unwrap(), number);
    }
}

#[test]
fn what_was_sent_before_the_end_moves_is_received_after() {
    let _dog = watchdog("moves", 60);
    let name = name("moves");
    let domain = options().open(&name).unwrap();
    let ends = domain.channel("ends").rendezvous().receiver::<Receiver<u64>>().unwrap();
    let child = start("sends an end and leaves", &[&name]);
    let rx = ends.recv().unwrap();
    finish(child);
    assert_eq!((rx.recv().unwrap(), rx.recv().unwrap()), (1, 2));
    assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
}

#[test]
fn whoever_dies_with_an_end_is_told_of() {
    let _dog = watchdog("dies", 60);
    for channel in ["rendezvous", "buffered", "bounded"] {
        let name = name("dies");
        let domain = options().open(&name).unwrap();
        let ends = domain.channel("ends").rendezvous().sender::<Receiver<u64>>().unwrap();
        let builder = domain.channel("").wait(Wait::Park);
        let (tx, rx) = match channel {
            "rendezvous" => builder.rendezvous(),
            "buffered" => builder.buffered(2),
            _ => builder.bounded(2),
        }
        .unnamed::<u64>()
        .unwrap();
        let mut child = start("takes an end and waits", &[&name]);
        ends.send(rx).unwrap();
        domain.receiver::<()>("has it").unwrap().recv().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let why = loop {
            if let Err(failed) = tx.send(1) {
                break failed.why;
            }
        };
        assert!(matches!(why, SendFailure::PeerDied), "{channel}: {why}");
    }
}

#[test]
fn whoever_dies_with_a_parcel_gives_back_what_lies_in_it() {
    let _dog = watchdog("lies", 60);
    let name = name("lies");
    let domain = options().open(&name).unwrap();
    let has_it = domain.receiver::<()>("has it").unwrap();
    let nodes = domain.channel("nodes").rendezvous().sender::<Parcel<Node>>().unwrap();
    let before = in_use(&domain);
    let mut child = start("holds what it got", &[&name]);
    let (tx, rx) = domain.channel("").buffered(2).wait(Wait::Park).unnamed::<Parcel<Node>>().unwrap();
    let mut node = Node::new(&domain, 1);
    node.next = node.enclose(tx).unwrap();
    // One more, with an end of its own.
    let (inner_tx, inner_rx) = domain.channel("").bounded(2).unnamed::<Parcel<Node>>().unwrap();
    let mut inner = Node::new(&domain, 2);
    inner.next = inner.enclose(inner_tx).unwrap();
    node.inner = node.enclose(inner).unwrap();
    nodes.send(node).unwrap();
    has_it.recv().unwrap();
    assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(rx.recv(), Err(RecvError::PeerDied)));
    assert!(matches!(inner_rx.recv(), Err(RecvError::PeerDied)));
    drop((rx, inner_rx));
    common::comes_back_to(&domain, before, "what lay in it");
}

#[test]
fn a_dropped_parcel_gives_back_what_lies_in_it() {
    let domain = options().open(&name("in-use")).unwrap();
    let before = in_use(&domain);
    let (tx, rx) = domain.channel("").rendezvous().unnamed::<Parcel<Node>>().unwrap();
    let mut outer = Node::new(&domain, 1);
    let mut inner = Node::new(&domain, 2);
    inner.next = inner.enclose(tx).unwrap();
    outer.inner = outer.enclose(inner).unwrap();
    drop(outer);
    assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));
    drop(rx);
    assert_eq!(in_use(&domain), before);
}

#[test]
fn a_channel_that_holds_its_own_end_is_collected() {
    let domain = options().open(&name("in-use")).unwrap();
    let before = in_use(&domain);
    for _ in 0..100 {
        // Its own sender, with many senders.
        let (tx, rx) = domain.channel("").bounded(4).unnamed::<Parcel<Node>>().unwrap();
        let mut node = Node::new(&domain, 1);
        node.next = node.enclose(tx.try_clone().unwrap()).unwrap();
        tx.send(node).unwrap();
        drop((tx, rx));
        // Two that hold each other's receiver.
        let (tx1, rx1) = domain.channel("").buffered(1).unnamed::<Parcel<Node>>().unwrap();
        let (tx2, rx2) = domain.channel("").bounded(1).unnamed::<Parcel<Node>>().unwrap();
        let (mut a, mut b) = (Node::new(&domain, 1), Node::new(&domain, 2));
        a.from = a.enclose(rx2).unwrap();
        let mut in_b = Node::new(&domain, 3);
        in_b.from = in_b.enclose(rx1).unwrap();
        b.inner = b.enclose(in_b).unwrap();
        tx1.send(a).unwrap();
        tx2.send(b).unwrap();
        drop((tx1, tx2));
    }
    assert_eq!(in_use(&domain), before, "the circles are gone");
    // Reached from outside it stays.
    let (tx1, rx1) = domain.channel("").buffered(1).unnamed::<Parcel<Node>>().unwrap();
    let (tx2, rx2) = domain.channel("").buffered(1).unnamed::<Parcel<Node>>().unwrap();
    let mut node = Node::new(&domain, 7);
    node.from = node.enclose(rx1).unwrap();
    tx2.send(node).unwrap();
    tx1.send(Node::new(&domain, 8)).unwrap();
    drop((tx1, tx2));
    let mut node = rx2.recv().unwrap();
    let from = node.from;
    assert_eq!(node.take_out(from).unwrap().recv().unwrap().number, 8);
}

#[test]
fn a_long_chain_is_given_back_without_recursion() {
    let domain = options().open(&name("in-use")).unwrap();
    let before = in_use(&domain);
    let (first, mut inner) = domain.channel("").buffered(1).unnamed::<Parcel<Node>>().unwrap();
    let mut senders = vec![first];
    for number in 0..1000 {
        let (tx, rx) = domain.channel("").buffered(1).unnamed::<Parcel<Node>>().unwrap();
        let mut node = Node::new(&domain, number);
        node.from = node.enclose(inner).unwrap();
        tx.send(node).unwrap();
        senders.push(tx);
        inner = rx;
    }
    drop(senders);
    drop(inner);
    assert_eq!(in_use(&domain), before);
}

#[test]
fn the_last_receiver_cannot_be_sent_through_its_own_channel() {
    let domain = options().create().unwrap();
    for channel in
        [domain.channel("").rendezvous(), domain.channel("").buffered(2), domain.channel("").bounded(2)]
    {
        let (tx, rx) = channel.unnamed::<Parcel<Node>>().unwrap();
        let mut node = Node::new(&domain, 1);
        node.from = node.enclose(rx).unwrap();
        let mut outer = Node::new(&domain, 2);
        outer.inner = outer.enclose(node).unwrap();
        let failed = tx.send(outer).unwrap_err();
        assert!(matches!(failed.why, SendFailure::ThroughItself), "{}", failed.why);
        // It comes back whole.
        let mut outer = failed.message;
        let inner = outer.inner;
        let mut node = outer.take_out(inner).unwrap();
        let from = node.from;
        let rx = node.take_out(from).unwrap();
        assert!(matches!(rx.try_recv(), Err(RecvError::WouldBlock)));
    }
    // With another receiver it can.
    let (tx, rx) = domain.channel("").bounded(2).unnamed::<Parcel<Node>>().unwrap();
    let mut node = Node::new(&domain, 1);
    node.from = node.enclose(rx.try_clone().unwrap()).unwrap();
    tx.send(node).unwrap();
    assert_eq!(rx.recv().unwrap().number, 1);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let domain = options().create().unwrap();
    let other = options().create().unwrap();
    let (tx, _rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    let mut question = Parcel::new(&domain, Question { number: 1, answer: Enclosed::default() }).unwrap();
    let nothing = question.answer;
    assert!(matches!(question.take_out(nothing).map(drop), Err(TakeOutError::Nothing)));
    let enclosed = question.enclose(tx).unwrap();
    // A copy of the number in another parcel is worth nothing.
    let mut copy = Parcel::new(&domain, Question { number: 1, answer: enclosed }).unwrap();
    assert!(matches!(copy.take_out(enclosed).map(drop), Err(TakeOutError::NotHere)));
    let tx = question.take_out(enclosed).unwrap();
    assert!(matches!(question.take_out(enclosed).map(drop), Err(TakeOutError::NotHere)), "once");
    // Another domain's parcel; a parcel in a memory file of its own.
    let mut foreign = Parcel::new(&other, 1_u64).unwrap();
    let failed = foreign.enclose(tx).map(drop).unwrap_err();
    assert_eq!(failed.why, EncloseFailure::WrongDomain);
    let mut file = domain.parcels(Method::Capability).new(1_u64).unwrap();
    let failed = file.enclose(failed.what).unwrap_err();
    assert_eq!(failed.why, EncloseFailure::Capability);
    failed.what.try_send(5).unwrap();
    // A channel whose parcels lie in files of their own.
    let (ends, _got) =
        domain.channel("").buffered(1).method(Method::Capability).unnamed::<Sender<u64>>().unwrap();
    let failed2 = ends.send(failed.what).unwrap_err();
    assert!(matches!(failed2.why, SendFailure::Enclose(EncloseFailure::Capability)), "{}", failed2.why);
}

#[test]
fn the_types_are_compared_when_an_end_or_a_parcel_is_taken_out() {
    let domain = options().create().unwrap();
    let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    let (ends, _got) = domain.channel("").buffered(1).unnamed::<Parcel<Enclosed<Sender<u64>>>>().unwrap();
    let mut parcel = Parcel::new(&domain, Enclosed::<Sender<u64>>::default()).unwrap();
    *parcel = parcel.enclose(tx).unwrap();
    ends.send(parcel).unwrap();
    drop((ends, rx));

    // The same words read as an end of another type.
    let wire = domain.channel("wire").buffered(1);
    let tx_side = wire.clone().sender::<Parcel<Enclosed<Sender<u64>>>>().unwrap();
    let rx_side = wire.receiver::<Parcel<Enclosed<Sender<[u8; 8]>>>>().unwrap();
    let (tx, rx) = domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    let mut parcel = Parcel::new(&domain, Enclosed::<Sender<u64>>::default()).unwrap();
    *parcel = parcel.enclose(tx).unwrap();
    tx_side.send(parcel).unwrap();
    let mut parcel = rx_side.recv().unwrap();
    let enclosed = *parcel;
    let why = parcel.take_out(enclosed).map(drop).unwrap_err().to_string();
    assert!(why.contains("u64") && why.contains("u8"), "{why}");
    drop(parcel);
    assert!(matches!(rx.recv(), Err(RecvError::Disconnected)));

    // Parcels of the same length.
    let wire = domain.channel("parcels").buffered(1);
    let tx_side = wire.clone().sender::<Parcel<Enclosed<Parcel<u32>>>>().unwrap();
    let rx_side = wire.receiver::<Parcel<Enclosed<Parcel<char>>>>().unwrap();
    let mut parcel = Parcel::new(&domain, Enclosed::<Parcel<u32>>::default()).unwrap();
    *parcel = parcel.enclose(Parcel::new(&domain, 0xdead_beef_u32).unwrap()).unwrap();
    tx_side.send(parcel).unwrap();
    let mut parcel = rx_side.recv().unwrap();
    let enclosed = *parcel;
    let why = parcel.take_out(enclosed).map(drop).unwrap_err();
    assert!(matches!(why, TakeOutError::Type { .. }), "{why}");
}

#[test]
fn an_end_whose_partner_left_meanwhile_says_so() {
    let domain = options().create().unwrap();
    let (ends, got) = domain.channel("").buffered(1).unnamed::<Receiver<u64>>().unwrap();
    for channel in
        [domain.channel("").rendezvous(), domain.channel("").buffered(1), domain.channel("").bounded(1)]
    {
        let (tx, rx) = channel.unnamed::<u64>().unwrap();
        ends.send(rx).unwrap();
        drop(tx);
        let rx = got.recv().unwrap();
        assert!(matches!(rx.recv_timeout(Duration::from_secs(20)), Err(RecvError::Disconnected)));
        // Also one that had said so before.
        ends.send(rx).unwrap();
        let rx = got.recv().unwrap();
        assert!(matches!(rx.recv_timeout(Duration::from_secs(20)), Err(RecvError::Disconnected)));
    }
}

#[test]
fn a_send_to_an_end_in_a_message_waits_to_its_deadline() {
    let domain = options().create().unwrap();
    let (ends, got) = domain.channel("").buffered(1).unnamed::<Receiver<u64>>().unwrap();
    let (tx, rx) = domain.channel("").rendezvous().unnamed::<u64>().unwrap();
    ends.send(rx).unwrap();
    let failed = tx.send_timeout(1, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(failed.why, SendFailure::TimedOut), "{}", failed.why);
    let sender = std::thread::spawn(move || tx.send(2));
    assert_eq!(got.recv().unwrap().recv().unwrap(), 2);
    sender.join().unwrap().unwrap();
}

#[test]
fn private_memory_is_lent_over_an_end_that_came_in_a_message() {
    let domain = options().create().unwrap();
    let (ends, got) = domain.channel("").buffered(1).unnamed::<Receiver<[u8]>>().unwrap();
    let (tx, rx) = domain.channel("").rendezvous().unnamed::<[u8]>().unwrap();
    ends.send(rx).unwrap();
    let rx = got.recv().unwrap();
    let receiver = std::thread::spawn(move || {
        let mut bytes = vec![0; 100_000];
        rx.recv_into(&mut bytes).map(|transfer| (bytes, transfer.copies))
    });
    tx.send_from(&vec![7; 100_000]).unwrap();
    let (bytes, copies) = receiver.join().unwrap().unwrap();
    assert!(bytes.iter().all(|byte| *byte == 7));
    assert_eq!(copies, 1);
}

#[test]
fn a_process_that_cannot_map_what_an_end_needs_says_so_and_can_send_it_on() {
    let _dog = watchdog("elsewhere", 60);
    let name = name("elsewhere");
    let domain = options().open(&name).unwrap();
    let ends = domain.channel("ends").buffered(2).method(Method::Distinct).sender::<Sender<u64>>().unwrap();
    let back = domain.channel("back").buffered(1).method(Method::Distinct);
    let back = back.receiver::<Parcel<Enclosed<Sender<u64>>>>().unwrap();
    let unnamed = || domain.channel("").buffered(1).unnamed::<u64>().unwrap();
    let ((tx1, rx1), (tx2, rx2)) = (unnamed(), unnamed());
    ends.send(tx1).unwrap();
    ends.send(tx2).unwrap();
    let child = start("elsewhere", &[&name]);
    let mut parcel = back.recv().unwrap();
    let enclosed = *parcel;
    parcel.take_out(enclosed).unwrap().send(3).unwrap();
    assert_eq!(rx2.recv().unwrap(), 3);
    assert!(matches!(rx1.recv(), Err(RecvError::Disconnected)));
    finish(child);
}
