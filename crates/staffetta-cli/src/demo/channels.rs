//! The library's mechanisms: the basic channel, the rendezvous between variables, and parcels by each of
//! the three reference methods.
//!
//! | mechanism | where a message comes from | where it arrives | copies |
//! |---|---|---|---|
//! | `basic` | the sender's private memory | the receiver's private memory | 2 |
//! | `rendezvous` | a variable of the domain | a variable of the domain | 1 |
//! | `parcel` | a parcel | the same parcel | 0 |
//!
//! Messages are built in variables and parcels before the clock runs: that is where a program that uses them
//! would have them. All the memory is kept from pass to pass.

use super::mechanism::{Copies, Mechanism, Messages, Plan, Receiving, Sending};
use crate::failure::Fault;
use crate::raw::initialised;
use crate::two::wire::Wire;
use staffetta::{
    Addresses, Carried, ChannelBuilder, Domain, Method, Parcel, Receiver, SendError, Sender, Variable, Wait,
};

/// The name of the one channel in the domain.
const CHANNEL: &str = "demo";

/// Asynchrony degree of the basic channel: the sender may be one message ahead.
const DEGREE: u64 = 1;

/// Every combination; the default ones show each mechanism once, `rendezvous` by each way to wait, and parcels by
/// each method.
pub fn mechanisms() -> Vec<Box<dyn Mechanism>> {
    let default = Wait::default();
    let mut all: Vec<Box<dyn Mechanism>> = Vec::new();
    let mut add = |form, method, wait, by_default| {
        all.push(Box::new(Channel { form, method, wait, by_default }));
    };
    for wait in [default, Wait::Park, Wait::Spin] {
        add(Form::Basic, None, wait, wait == default);
    }
    for method in [Method::Coinciding, Method::Distinct] {
        for wait in [default, Wait::Park, Wait::Spin] {
            add(Form::Rendezvous, Some(method), wait, method == Method::Coinciding);
        }
    }
    for method in Method::ALL {
        for wait in [default, Wait::Park, Wait::Spin] {
            add(Form::Parcel, Some(method), wait, wait == default);
        }
    }
    all
}

#[derive(Clone, Copy)]
enum Form {
    Basic,
    Rendezvous,
    Parcel,
}

struct Channel {
    form: Form,
    method: Option<Method>,
    wait: Wait,
    by_default: bool,
}

impl Channel {
    /// What both ends say of the channel.
    fn end<'d>(&self, domain: &'d Domain, plan: Plan) -> ChannelBuilder<'d> {
        let channel = domain.channel(CHANNEL).wait(self.wait);
        let channel = match self.form {
            Form::Basic => channel.basic(DEGREE).message_bytes_max(plan.longest() as u64),
            Form::Rendezvous | Form::Parcel => channel.rendezvous(),
        };
        match self.method {
            Some(method) => channel.method(method),
            None => channel,
        }
    }
}

impl Mechanism for Channel {
    fn name(&self) -> &'static str {
        match self.form {
            Form::Basic => "basic",
            Form::Rendezvous => "rendezvous",
            Form::Parcel => "parcel",
        }
    }

    fn reference(&self) -> Option<&'static str> {
        self.method.map(|method| match method {
            Method::Coinciding => "coinciding",
            Method::Distinct => "distinct",
            Method::Capability => "capability",
        })
    }

    fn wait(&self) -> Option<&'static str> {
        Some(match self.wait {
            Wait::Spin => "spin",
            Wait::SpinThenPark => "spin-then-park",
            Wait::Park => "park",
        })
    }

    fn copies(&self) -> Copies {
        Copies::Counted
    }

    fn by_default(&self) -> bool {
        self.by_default
    }

    /// The sender makes the domain, under a name that nobody else has, and tells it to the receiver.
    fn sender(&self, meet: &Wire, plan: Plan) -> Result<Box<dyn Sending>, Fault> {
        let name = format!("demo-{}", std::process::id());
        let domain = Domain::options().create_new(&name)?;
        meet.send(&name)?;
        let end = self.end(&domain, plan);
        Ok(match self.form {
            Form::Basic => Box::new(Out { end: end.sender::<[u8]>()?, built: Vec::<()>::new(), domain }),
            Form::Rendezvous => {
                Box::new(Out { end: end.sender::<[u8]>()?, built: Vec::<Variable<[u8]>>::new(), domain })
            }
            Form::Parcel => {
                let end = end.sender()?;
                Box::new(OutParcels {
                    end,
                    built: Vec::new(),
                    method: self.method.unwrap_or_default(),
                    domain,
                })
            }
        })
    }

    fn receiver(&self, meet: &Wire, plan: Plan) -> Result<Box<dyn Receiving>, Fault> {
        let name: String = meet.recv()?;
        let addresses = match self.method {
            // Elsewhere than the sender, so that the addresses really differ.
            Some(Method::Distinct) => Addresses::Distinct,
            _ => Addresses::Coinciding,
        };
        let domain = Domain::options().addresses(addresses).join(&name)?;
        let end = self.end(&domain, plan);
        Ok(match self.form {
            Form::Basic => {
                let mut target = Vec::new();
                target.try_reserve_exact(plan.longest())?;
                target.resize(plan.longest(), 0);
                Box::new(In { end: end.receiver::<[u8]>()?, target, _domain: domain })
            }
            Form::Rendezvous => {
                let target = domain.variable_slice::<u8>(plan.longest())?;
                Box::new(In { end: end.receiver::<[u8]>()?, target, _domain: domain })
            }
            Form::Parcel => Box::new(InParcels { end: end.receiver()?, _domain: domain }),
        })
    }
}

/// The sentence of a send that failed, without the message inside.
fn unsent<T>(error: SendError<T>) -> Fault {
    error.why.to_string().into()
}

/// The bytes that both sides copied on the channel of `end`.
fn copied<T: Carried + ?Sized>(end: &Sender<T>) -> u64 {
    let (sent, received) = end.channel_counters();
    sent.bytes_copied + received.bytes_copied
}

/// A sending end of bytes, with the messages built in variables, if any are.
struct Out<B> {
    end: Sender<[u8]>,
    built: Vec<B>,
    domain: Domain,
}

impl Sending for Out<()> {
    fn send_all(&mut self, messages: Messages<'_>) -> Result<(), Fault> {
        messages.iter().try_for_each(|message| self.end.send_slice(message).map_err(unsent))
    }

    fn bytes_copied(&self) -> u64 {
        copied(&self.end)
    }
}

impl Sending for Out<Variable<[u8]>> {
    /// Sending leaves the message where it is, so once is enough.
    fn prepare(&mut self, messages: Messages<'_>) -> Result<(), Fault> {
        for message in messages.iter().skip(self.built.len()) {
            let mut variable = self.domain.variable_slice(message.len())?;
            if !variable.set_slice(message) {
                return Err("a variable has no room for what it was made for".into());
            }
            self.built.push(variable);
        }
        Ok(())
    }

    fn send_all(&mut self, _: Messages<'_>) -> Result<(), Fault> {
        self.built.iter_mut().try_for_each(|variable| self.end.send_variable(variable).map_err(unsent))
    }

    fn bytes_copied(&self) -> u64 {
        copied(&self.end)
    }
}

/// A sending end of parcels, with those that wait for the next pass.
struct OutParcels {
    end: Sender<Parcel<[u8]>>,
    built: Vec<Parcel<[u8]>>,
    method: Method,
    domain: Domain,
}

impl Sending for OutParcels {
    /// The parcels of the last pass are the receiver's, who has dropped them: builds new ones, in the same memory.
    fn prepare(&mut self, messages: Messages<'_>) -> Result<(), Fault> {
        self.built.clear();
        let parcels = self.domain.parcels(self.method);
        for message in messages.iter() {
            let mut parcel = initialised(parcels.uninit_slice(message.len())?);
            parcel.copy_from_slice(message);
            self.built.push(parcel);
        }
        Ok(())
    }

    fn send_all(&mut self, _: Messages<'_>) -> Result<(), Fault> {
        self.built.drain(..).try_for_each(|parcel| self.end.send(parcel).map_err(unsent))
    }

    fn bytes_copied(&self) -> u64 {
        copied(&self.end)
    }
}

/// A receiving end of bytes, and its target variable: in private memory, or in the domain.
struct In<V> {
    end: Receiver<[u8]>,
    target: V,
    _domain: Domain,
}

impl Receiving for In<Vec<u8>> {
    fn receive_all(&mut self, plan: Plan, reader: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
        for _ in plan.lengths() {
            let length = self.end.recv_slice(&mut self.target)?;
            reader(&self.target[..length]);
        }
        Ok(())
    }
}

impl Receiving for In<Variable<[u8]>> {
    fn receive_all(&mut self, plan: Plan, reader: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
        for _ in plan.lengths() {
            self.end.recv_into(&mut self.target)?;
            reader(self.target.get().ok_or("a variable is empty after a message was received into it")?);
        }
        Ok(())
    }
}

/// A receiving end of parcels: a message is read where it was built.
struct InParcels {
    end: Receiver<Parcel<[u8]>>,
    _domain: Domain,
}

impl Receiving for InParcels {
    fn receive_all(&mut self, plan: Plan, reader: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
        for _ in plan.lengths() {
            reader(&self.end.recv()?);
        }
        Ok(())
    }
}
