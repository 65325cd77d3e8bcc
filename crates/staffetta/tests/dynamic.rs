//! Ends typed at run time against typed ends, in another process.

mod common;

use common::{finish, name, role, start, watchdog};
use staffetta::message::Value;
use staffetta::{Domain, DynSendError, Message, Method, Parcel};

#[derive(Message, Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Mode {
    Off,
    Hold { at: i16 } = 7,
}

#[derive(Message, Clone, Copy, Debug, PartialEq)]
struct Sample {
    time_ns: u64,
    good: bool,
    mode: Mode,
    sign: char,
    values: [f32; 3],
    next: Option<std::num::NonZeroU32>,
}

fn sample(n: u64) -> Sample {
    Sample {
        time_ns: n,
        good: n % 2 == 0,
        mode: if n % 3 == 0 { Mode::Off } else { Mode::Hold { at: -(n as i16) } },
        sign: 'è',
        values: [n as f32, -0.5, f32::MAX],
        next: std::num::NonZeroU32::new(n as u32),
    }
}

fn value(n: u64) -> Value {
    let mode = match n % 3 {
        0 => Value::Enum { variant: "Off".to_owned(), fields: Vec::new() },
        _ => Value::Enum {
            variant: "Hold".to_owned(),
            fields: vec![("at".to_owned(), Value::Signed(-i128::from(n)))],
        },
    };
    Value::structure([
        ("time_ns", Value::Unsigned(n.into())),
        ("good", Value::Bool(n % 2 == 0)),
        ("mode", mode),
        ("sign", Value::Char('è')),
        ("values", Value::List(vec![Value::F32(n as f32), Value::F32(-0.5), Value::F32(f32::MAX)])),
        ("next", if n == 0 { Value::None } else { Value::Some(Box::new(Value::Unsigned(n.into()))) }),
    ])
}

const COUNT: u64 = 200;

#[test]
fn roles() {
    let Some((role, arguments)) = role() else {
        return;
    };
    let _watchdog = watchdog(&role, 120);
    let domain = common::options().open(&arguments[0]).unwrap();
    let channel = |kind: &str| match kind {
        "rendezvous" => domain.channel("there").rendezvous(),
        "basic" => domain.channel("there").basic(4),
        "buffered" => domain.channel("there").buffered(4),
        other => panic!("no kind {other}"),
    };
    match role.as_str() {
        // Sends as it was compiled, receives as it was compiled.
        "values" => {
            let tx = channel(&arguments[1]).sender::<Sample>().unwrap();
            let rx = domain.channel("back").buffered(4).receiver::<Sample>().unwrap();
            for n in 0..COUNT {
                tx.send(sample(n)).unwrap();
                assert_eq!(rx.recv().unwrap(), sample(n));
            }
        }
        "parcels" => {
            let method = Method::ALL[arguments[1].parse::<usize>().unwrap()];
            let tx = domain.channel("there").method(method).buffered(4).sender::<Parcel<[u16]>>().unwrap();
            let rx = domain.channel("back").method(method).receiver::<Parcel<[u16]>>().unwrap();
            for n in 0..COUNT as usize {
                tx.send(domain.parcels(method).uninit_slice(n).unwrap().fill_with(|i| i as u16)).unwrap();
                let parcel = rx.recv().unwrap();
                assert!(parcel.len() == n && parcel.iter().enumerate().all(|(i, x)| *x == i as u16));
            }
        }
        other => panic!("no role {other}"),
    }
}

fn attached<T>(mut attach: impl FnMut() -> Result<T, staffetta::AttachError>) -> T {
    let mut end = None;
    common::until(|| {
        end = attach().ok();
        end.is_some()
    });
    end.unwrap()
}

#[test]
fn values_of_a_type_that_is_not_known_here() {
    let _watchdog = watchdog("values", 120);
    for kind in ["rendezvous", "basic", "buffered"] {
        let name = name("dynamic");
        let domain = common::options().open(&name).unwrap();
        let child = start("values", &[&name, kind]);
        let rx = attached(|| domain.channel("there").dyn_receiver());
        let tx = attached(|| domain.channel("back").dyn_sender());
        assert!(rx.schema().identity().ends_with("::Sample@1"), "{}", rx.schema());
        assert_eq!(rx.kind().to_string(), kind);
        for n in 0..COUNT {
            if n % 2 == 0 {
                assert_eq!(rx.recv_value().unwrap(), value(n));
                tx.send_value(&value(n)).unwrap();
            } else {
                let bytes = rx.recv_bytes().unwrap();
                let mut wrong = bytes.clone();
                wrong.fill(0xee);
                assert!(matches!(tx.send_bytes(&wrong), Err(DynSendError::Field(_))));
                tx.send_bytes(&bytes).unwrap();
            }
        }
        finish(child);
    }
}

#[test]
fn parcels_by_every_reference_method() {
    let _watchdog = watchdog("parcels", 120);
    for method in 0..Method::ALL.len() {
        let name = name("dynamic-parcels");
        let domain = common::options().open(&name).unwrap();
        let child = start("parcels", &[&name, &method.to_string()]);
        let rx = attached(|| domain.channel("there").dyn_receiver());
        let tx = attached(|| domain.channel("back").dyn_sender());
        assert!(rx.carries_parcels());
        for n in 0..COUNT as usize {
            let bytes = rx.recv_bytes().unwrap();
            assert_eq!(bytes.len(), 2 * n);
            tx.send_bytes(&bytes).unwrap();
        }
        finish(child);
        // What was received and sent is free again.
        drop((rx, tx));
        assert!(domain.memory().unwrap().1 < 1 << 24);
    }
}

#[test]
fn nothing_is_made_by_looking_for_it() {
    let domain = Domain::create().unwrap();
    assert!(domain.channel("x").dyn_sender().is_err());
    assert!(domain.channel("x").dyn_receiver().is_err());
    domain.sender::<u8>("x").unwrap();
}
