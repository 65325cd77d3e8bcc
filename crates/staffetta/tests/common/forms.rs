//! Every form of channel behind one pair of closures, so that one test runs over all of them.
//!
//! A message is a number; larger ones repeat it, and whoever receives checks that all of it arrived.

use std::rc::Rc;
use std::time::Duration;

use staffetta::{ChannelBuilder, Domain, Method, Parcel, Receiver, RecvError, SendFailure, Sender, Wait};

/// What travels, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Value,
    LineValue,
    Large,
    Slice,
    /// From private memory into private memory, lent where it may be.
    Lent,
    Variable,
    Parcel,
    Basic(u64),
    BasicLarge(u64),
    BasicParcel(u64),
    Buffered(u64),
    /// Built in its slot, read in its slot.
    InPlace(u64),
    BufferedParcel(u64),
}

/// What travels, and the reference method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    pub what: What,
    pub method: Method,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub enum When {
    Blocking,
    Try,
    Within(Duration),
}

impl Form {
    /// All that differ.
    pub fn all() -> Vec<Form> {
        let of = |what, method| Form { what, method };
        let one = |what| of(what, Method::Coinciding);
        let mut forms = vec![one(What::Value), one(What::LineValue), one(What::Large), one(What::Slice)];
        forms.extend(Method::ALL.map(|method| of(What::Lent, method)));
        forms.extend(Method::ALL.map(|method| of(What::Variable, method)));
        forms.extend(Method::ALL.map(|method| of(What::Parcel, method)));
        forms.extend([one(What::Basic(0)), one(What::Basic(3)), one(What::BasicLarge(1))]);
        forms.extend(Method::ALL.map(|method| of(What::BasicParcel(2), method)));
        forms.extend([
            one(What::Buffered(1)),
            one(What::Buffered(3)),
            one(What::InPlace(1)),
            one(What::InPlace(5)),
        ]);
        forms.extend(Method::ALL.map(|method| of(What::BufferedParcel(2), method)));
        forms
    }

    /// Buffered: `send` returns before the message was taken.
    pub fn degree(self) -> u64 {
        match self.what {
            What::Basic(k) | What::BasicLarge(k) | What::BasicParcel(k) => k,
            What::Buffered(k) | What::InPlace(k) | What::BufferedParcel(k) => k,
            _ => 0,
        }
    }

    pub fn is_basic(self) -> bool {
        matches!(self.what, What::Basic(_) | What::BasicLarge(_) | What::BasicParcel(_))
    }

    pub fn is_buffered(self) -> bool {
        matches!(self.what, What::Buffered(_) | What::InPlace(_) | What::BufferedParcel(_))
    }

    fn of<'d>(self, domain: &'d Domain, name: &'d str) -> ChannelBuilder<'d> {
        let channel = domain.channel(name).method(self.method);
        match (self.is_basic(), self.is_buffered()) {
            (true, _) => channel.basic(self.degree()),
            (_, true) => channel.buffered(self.degree()),
            _ => channel,
        }
    }

    /// Its index in [`Form::all`], for a process in a role.
    pub fn code(self) -> String {
        Form::all().iter().position(|form| *form == self).expect("one of all").to_string()
    }

    pub fn decode(code: &str) -> Form {
        Form::all()[code.parse::<usize>().expect("a code")]
    }
}

pub fn wait_of(text: &str) -> Wait {
    Wait::ALL.into_iter().find(|w| w.to_string() == text).expect("a wait policy")
}

/// Longest slice.
const ELEMENTS: usize = 600;

fn elements(n: u64) -> usize {
    1 + (n as usize * 37) % ELEMENTS
}

fn whole(slice: &[u64]) -> u64 {
    let n = slice[0];
    assert!(slice.iter().all(|x| *x == n), "a torn message: it begins with {n}");
    n
}

fn whole_slice(slice: &[u64]) -> u64 {
    let n = whole(slice);
    assert_eq!(slice.len(), elements(n), "message {n} has another length than it was sent with");
    n
}

type Sent = Result<(), (u64, SendFailure)>;

/// A sending end: the number that was not sent comes back, read from the message that came back.
pub struct Tx {
    pub send: Box<dyn FnMut(u64, When) -> Sent>,
    pub has_peer: Box<dyn Fn() -> bool>,
}

/// A receiving end.
pub struct Rx {
    pub recv: Box<dyn FnMut(When) -> Result<u64, RecvError>>,
    pub has_peer: Box<dyn Fn() -> bool>,
}

fn sized<T: staffetta::Payload>(
    tx: Sender<T>,
    make: impl Fn(u64) -> T + 'static,
    read: impl Fn(&T) -> u64 + 'static,
) -> Tx {
    let tx = Rc::new(tx);
    let peer = tx.clone();
    Tx {
        send: Box::new(move |n, when| {
            let message = make(n);
            match when {
                When::Blocking => tx.send(message),
                When::Try => tx.try_send(message),
                When::Within(time) => tx.send_timeout(message, time),
            }
            .map_err(|e| (read(&e.message), e.why))
        }),
        has_peer: Box::new(move || peer.has_peer()),
    }
}

fn unsized_receiver<T: staffetta::Payload>(rx: Receiver<T>, read: impl Fn(T) -> u64 + 'static) -> Rx {
    let rx = Rc::new(rx);
    let peer = rx.clone();
    Rx {
        recv: Box::new(move |when| {
            match when {
                When::Blocking => rx.recv(),
                When::Try => rx.try_recv(),
                When::Within(time) => rx.recv_timeout(time),
            }
            .map(&read)
        }),
        has_peer: Box::new(move || peer.has_peer()),
    }
}

/// Attaches the sending end of channel `name`.
pub fn sender(domain: &Domain, name: &str, form: Form) -> Tx {
    let channel = form.of(domain, name);
    let method = form.method;
    match form.what {
        What::Value | What::Basic(_) | What::Buffered(_) => {
            sized(channel.sender::<u64>().unwrap(), |n| n, |n| *n)
        }
        What::LineValue => sized(channel.sender::<[u64; 3]>().unwrap(), |n| [n; 3], |message| whole(message)),
        What::Large | What::BasicLarge(_) => {
            sized(channel.sender::<[u64; 100]>().unwrap(), |n| [n; 100], |message| whole(message))
        }
        What::Parcel | What::BasicParcel(_) | What::BufferedParcel(_) => {
            let domain = domain.clone();
            let make = move |n| {
                let mut parcel = domain.parcels(method).zeroed::<[u64]>(elements(n)).unwrap();
                parcel.fill(n);
                parcel
            };
            sized(channel.sender::<Parcel<[u64]>>().unwrap(), make, |parcel| whole_slice(parcel))
        }
        What::InPlace(_) => {
            let tx = Rc::new(channel.sender::<[u64; 100]>().unwrap());
            let peer = tx.clone();
            Tx {
                send: Box::new(move |n, when| {
                    let slot = match when {
                        When::Blocking => tx.reserve(),
                        When::Try => tx.try_reserve(),
                        When::Within(time) => tx.reserve_timeout(time),
                    };
                    let mut slot = slot.map_err(|why| (n, why))?.reused();
                    slot.fill(n);
                    slot.send().map_err(|why| (n, why))
                }),
                has_peer: Box::new(move || peer.has_peer()),
            }
        }
        What::Slice => {
            let tx = Rc::new(channel.sender::<[u64]>().unwrap());
            let peer = tx.clone();
            Tx {
                send: Box::new(move |n, when| {
                    let message = vec![n; elements(n)];
                    match when {
                        When::Blocking => tx.send_slice(&message),
                        // There is no try_send_slice: the shortest time there is.
                        When::Try => tx.send_slice_timeout(&message, Duration::ZERO),
                        When::Within(time) => tx.send_slice_timeout(&message, time),
                    }
                    .map_err(|e| (n, e.why))
                }),
                has_peer: Box::new(move || peer.has_peer()),
            }
        }
        What::Lent => {
            let tx = Rc::new(channel.sender::<[u64]>().unwrap());
            let peer = tx.clone();
            Tx {
                send: Box::new(move |n, when| {
                    let message = vec![n; elements(n)];
                    match when {
                        When::Blocking => tx.send_from(&message),
                        // There is no try_send_from: the shortest time there is.
                        When::Try => tx.send_from_timeout(&message, Duration::ZERO),
                        When::Within(time) => tx.send_from_timeout(&message, time),
                    }
                    .map(drop)
                    .map_err(|e| (n, e.why))
                }),
                has_peer: Box::new(move || peer.has_peer()),
            }
        }
        What::Variable => {
            let tx = Rc::new(channel.sender::<[u64]>().unwrap());
            let peer = tx.clone();
            let mut variable = domain.variable_slice::<u64>(ELEMENTS).unwrap();
            Tx {
                send: Box::new(move |n, when| {
                    variable.zero(elements(n)).unwrap().fill(n);
                    match when {
                        When::Blocking => tx.send_variable(&mut variable),
                        When::Try => tx.try_send_variable(&mut variable),
                        When::Within(time) => tx.send_variable_timeout(&mut variable, time),
                    }
                    .map_err(|e| (whole_slice(variable.get().expect("the message is kept")), e.why))
                }),
                has_peer: Box::new(move || peer.has_peer()),
            }
        }
    }
}

/// Attaches the receiving end of channel `name`.
pub fn receiver(domain: &Domain, name: &str, form: Form) -> Rx {
    let channel = form.of(domain, name);
    match form.what {
        What::Value | What::Basic(_) | What::Buffered(_) => {
            unsized_receiver(channel.receiver::<u64>().unwrap(), |n| n)
        }
        What::LineValue => {
            unsized_receiver(channel.receiver::<[u64; 3]>().unwrap(), |message| whole(&message))
        }
        What::Large | What::BasicLarge(_) => {
            unsized_receiver(channel.receiver::<[u64; 100]>().unwrap(), |message| whole(&message))
        }
        What::Parcel | What::BasicParcel(_) | What::BufferedParcel(_) => {
            unsized_receiver(channel.receiver::<Parcel<[u64]>>().unwrap(), |parcel| whole_slice(&parcel))
        }
        What::InPlace(_) => {
            let rx = Rc::new(channel.receiver::<[u64; 100]>().unwrap());
            let peer = rx.clone();
            Rx {
                recv: Box::new(move |when| {
                    let message = match when {
                        When::Blocking => rx.recv_ref(),
                        When::Try => rx.try_recv_ref(),
                        When::Within(time) => rx.recv_ref_timeout(time),
                    };
                    message.map(|message| whole(&*message))
                }),
                has_peer: Box::new(move || peer.has_peer()),
            }
        }
        What::Slice => {
            let rx = Rc::new(channel.receiver::<[u64]>().unwrap());
            let peer = rx.clone();
            let mut into = vec![0; ELEMENTS];
            Rx {
                recv: Box::new(move |when| {
                    let length = match when {
                        When::Blocking => rx.recv_slice(&mut into),
                        When::Try => rx.recv_slice_timeout(&mut into, Duration::ZERO),
                        When::Within(time) => rx.recv_slice_timeout(&mut into, time),
                    }?;
                    Ok(whole_slice(&into[..length]))
                }),
                has_peer: Box::new(move || peer.has_peer()),
            }
        }
        What::Lent => {
            let rx = Rc::new(channel.receiver::<[u64]>().unwrap());
            let peer = rx.clone();
            let mut into = vec![0; ELEMENTS];
            Rx {
                recv: Box::new(move |when| {
                    let came = match when {
                        When::Blocking => rx.recv_into(&mut into),
                        When::Try => rx.recv_into_timeout(&mut into, Duration::ZERO),
                        When::Within(time) => rx.recv_into_timeout(&mut into, time),
                    }?;
                    Ok(whole_slice(&into[..came.elements]))
                }),
                has_peer: Box::new(move || peer.has_peer()),
            }
        }
        What::Variable => {
            let rx = Rc::new(channel.receiver::<[u64]>().unwrap());
            let peer = rx.clone();
            let mut variable = domain.variable_slice::<u64>(ELEMENTS).unwrap();
            Rx {
                recv: Box::new(move |when| {
                    match when {
                        When::Blocking => rx.recv_into(&mut variable),
                        When::Try => rx.try_recv_into(&mut variable),
                        When::Within(time) => rx.recv_into_timeout(&mut variable, time),
                    }?;
                    Ok(whole_slice(variable.get().expect("received")))
                }),
                has_peer: Box::new(move || peer.has_peer()),
            }
        }
    }
}
