//! Every schema over every kind of channel, by value and in parcels: what goes in comes out.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proptest::prelude::*;

use super::*;
use crate::error::AllocateError;
use crate::message::fields::tests::some_value;
use crate::message::schema::arbitrary::{any_schema, config};
use crate::{ChannelBuilder, Method, Overflow};

type Say = fn(ChannelBuilder<'_>) -> ChannelBuilder<'_>;

const KINDS: [(&str, Say); 6] = [
    ("rendezvous", |channel| channel.rendezvous()),
    ("basic", |channel| channel.basic(2)),
    ("buffered", |channel| channel.buffered(2)),
    ("bounded", |channel| channel.bounded(2).senders(2).receivers(2)),
    ("many to one", |channel| channel.many_to_one(2).senders(2)),
    ("drop oldest", |channel| channel.buffered(2).overflow(Overflow::DropOldest)),
];

thread_local! {
    static DOMAIN: Domain =
        Domain::options().window_bytes(16 << 30).memory_max_bytes(1 << 30).create().unwrap();
}

fn there_and_back(schema: &Schema, value: &Value) -> Result<(), TestCaseError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let domain = DOMAIN.with(Domain::clone);
    for (what, say) in KINDS {
        for method in Method::ALL {
            for carries in [Carries::Values(schema.clone()), Carries::Parcels(schema.clone())] {
                let name = format!("{what} {}", NEXT.fetch_add(1, Relaxed));
                let channel = || say(domain.channel(&name)).method(method).message_bytes_max(4096);
                let channel = || match (carries.content(), schema.is_sized(), what) {
                    (
                        Content::Value,
                        false,
                        "basic" | "buffered" | "bounded" | "many to one" | "drop oldest",
                    ) => channel(),
                    _ => say(domain.channel(&name)).method(method),
                };
                let tx = channel().dyn_sender_of(&carries);
                if let Err(AttachError::Allocate(_)) = tx {
                    continue; // an alignment of more than a page
                }
                let (tx, rx) = (tx.unwrap(), domain.channel(&name).dyn_receiver().unwrap());
                prop_assert_eq!(rx.schema(), schema);
                prop_assert_eq!(rx.carries_parcels(), carries.content() == Content::Parcel);
                let received = std::thread::scope(|scope| {
                    let sending = scope.spawn(move || tx.send_value(value).map(|()| tx));
                    let received = rx.recv_value_timeout(Duration::from_secs(if schema.align() > 4096 {
                        1
                    } else {
                        60
                    }));
                    (sending.join().unwrap(), received)
                });
                match received {
                    (Ok(_), received) => prop_assert_eq!(&received.unwrap(), value, "{}, {}", name, method),
                    (Err(DynSendError::Send(SendFailure::Allocate(AllocateError::Alignment { .. }))), _) => {}
                    (Err(other), _) => panic!("{name}, {method}: {other}"),
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases.min(24), ..config() })]

    #[test]
    fn what_goes_in_comes_out(schema in any_schema(), seed in any::<u64>()) {
        prop_assume!(schema.size() <= 4096 && schema.align() <= 4096);
        if let Some(value) = some_value(&schema, &mut seed.clone()) {
            if schema.write(&value).is_ok() {
                there_and_back(&schema, &value)?;
            }
        }
    }
}

#[test]
fn small_long_and_variable_messages_of_every_kind() {
    for text in [
        "8/8 u64",
        "24/8 [8/8 u64; 3]",
        "100/1 [1/1 u8; 100]",
        "0/2 [2/2 u16]",
        "\"a::B@1\" 4/4 {n@0 4/4 u32, tail@4 0/1 [1/1 bool]}",
    ] {
        let schema = Schema::parse(text).unwrap();
        for seed in 0..4 {
            let value = some_value(&schema, &mut seed.clone()).unwrap();
            there_and_back(&schema, &value).unwrap();
        }
    }
}

#[test]
fn what_is_refused_was_not_sent_and_what_is_wrong_comes_back() {
    let domain = Domain::create().unwrap();
    let switch = Carries::Values(Schema::parse("1/1 bool").unwrap());
    let tx = domain.channel("switch").buffered(2).dyn_sender_of(&switch).unwrap();
    let rx = domain.channel("switch").dyn_receiver().unwrap();
    assert!(matches!(tx.send_bytes(&[2]), Err(DynSendError::Field(FieldError::Invalid { .. }))));
    assert!(matches!(tx.send_bytes(&[1, 1]), Err(DynSendError::Field(FieldError::Length { length: 2, .. }))));
    assert!(matches!(tx.send_value(&Value::Unsigned(1)), Err(DynSendError::Field(_))));
    assert_eq!(tx.len(), 0);
    tx.send_bytes(&[1]).unwrap();
    tx.try_send_value(&Value::Bool(false)).unwrap();
    let full = tx.send_bytes_timeout(&[1], Duration::from_millis(1));
    assert!(matches!(full, Err(DynSendError::Send(SendFailure::TimedOut))));
    assert!(matches!(tx.try_send_bytes(&[1]), Err(DynSendError::Send(SendFailure::WouldBlock))));
    assert_eq!(rx.recv_bytes().unwrap(), [1]);
    assert_eq!(rx.try_recv_value().unwrap(), Value::Bool(false));
    assert!(matches!(rx.try_recv_bytes(), Err(DynRecvError::Recv(RecvError::WouldBlock))));
    drop(tx);
    assert!(matches!(rx.recv_value(), Err(DynRecvError::Recv(RecvError::Disconnected))));
}

#[test]
fn copies_are_counted_those_of_parcels_too() {
    let domain = Domain::create().unwrap();
    for (carries, copied) in [
        (Carries::Values(Schema::parse("100/1 [1/1 u8; 100]").unwrap()), (100, 100)),
        (Carries::Parcels(Schema::parse("100/1 [1/1 u8; 100]").unwrap()), (100, 100)),
    ] {
        let name = format!("{:?}", carries.content());
        let tx = domain.channel(&name).buffered(2).dyn_sender_of(&carries).unwrap();
        let rx = domain.channel(&name).dyn_receiver().unwrap();
        tx.send_bytes(&[7; 100]).unwrap();
        assert_eq!(rx.recv_bytes().unwrap(), [7; 100]);
        let (sent, received) = rx.channel_counters();
        assert_eq!((sent.bytes_copied, received.bytes_copied), copied, "{name}");
        assert_eq!((sent.messages, sent.bytes, received.bytes), (1, 100, 100), "{name}");
    }
}

#[test]
fn a_channel_that_is_not_there_or_is_another() {
    let domain = Domain::create().unwrap();
    let _tx = domain.sender::<u64>("numbers").unwrap();
    let error = domain.channel("number").dyn_receiver().err().unwrap();
    assert!(error.to_string().ends_with("there are \"numbers\""), "{error}");
    assert!(matches!(error, AttachError::NoChannel { known, .. } if known == ["numbers"]));
    let wrong = Carries::Values(Schema::parse("4/4 u32").unwrap());
    let error = domain.channel("numbers").dyn_receiver_of(&wrong).err().unwrap().to_string();
    assert!(error.contains("8/8 u64") && error.contains("4/4 u32"), "{error}");
    let error = domain.channel("numbers").buffered(3).dyn_receiver().err().unwrap();
    assert!(matches!(error, AttachError::Mismatch { what: "the kinds differ", .. }), "{error}");
    // A layout that contradicts itself is stored nowhere.
    let crooked = Schema::structure(
        "a::Crooked@1",
        4,
        4,
        [crate::message::Field::new("x", 4, Schema::parse("4/4 u32").unwrap())],
    );
    let error = domain.channel("crooked").dyn_sender_of(&Carries::Values(crooked)).err().unwrap();
    assert!(matches!(error, AttachError::Impossible { .. }), "{error}");
}

#[test]
fn a_longer_message_than_there_is_room_for_is_refused_on_both_sides() {
    let domain = Domain::create().unwrap();
    let rx = domain.receiver::<[u8]>("text").unwrap();
    drop(rx);
    let rx = domain.channel("text").dyn_receiver().unwrap();
    rx.set_room(4);
    let tx = domain.sender::<[u8]>("text").unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || (tx.send_slice(b"hello").unwrap_err().why, tx.send_slice(b"hi")));
        let error = rx.recv_bytes().unwrap_err();
        assert!(
            matches!(error, DynRecvError::Recv(RecvError::TooLong { length: 5, capacity: 4 })),
            "{error}"
        );
        assert_eq!(rx.recv_bytes().unwrap(), b"hi");
        assert!(matches!(sending.join().unwrap(), (SendFailure::TooLong { length: 5, capacity: 4 }, Ok(()))));
    });
}

#[test]
fn a_broadcast_and_the_latest_value_are_observed_and_not_attached_to() {
    let domain = Domain::create().unwrap();
    let tx = domain.channel("ticks").broadcast(2).sender::<(u8, u32)>().unwrap();
    let newest = domain.channel("newest").latest().sender::<u32>().unwrap();
    for name in ["ticks", "newest"] {
        for error in [domain.channel(name).dyn_receiver().err(), domain.channel(name).dyn_sender().err()] {
            assert!(matches!(error.unwrap(), AttachError::Impossible { .. }));
        }
    }
    let rx = domain.channel("ticks").dyn_observer().unwrap();
    tx.send((1, 2)).unwrap();
    let expected = Value::structure([("0", Value::Unsigned(1)), ("1", Value::Unsigned(2))]);
    assert_eq!(rx.recv_value().unwrap(), expected);
    assert!(matches!(rx.try_recv_bytes(), Err(DynRecvError::Recv(RecvError::WouldBlock))));
    let late = rx.recv_bytes_timeout(Duration::from_millis(1));
    assert!(matches!(late, Err(DynRecvError::Recv(RecvError::TimedOut))));
    newest.send(7).unwrap();
    assert_eq!(domain.channel("newest").dyn_observer().unwrap().recv_bytes().unwrap(), 7_u32.to_ne_bytes());
    drop(tx);
    assert!(matches!(rx.recv_bytes(), Err(DynRecvError::Recv(RecvError::Disconnected))));
    let _tx = domain.sender::<u8>("plain").unwrap();
    let error = domain.channel("plain").dyn_observer().err().unwrap();
    assert!(error.to_string().contains("takes messages away"), "{error}");
}
