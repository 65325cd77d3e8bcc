//! Zero-copy message passing between processes on Linux.
//!
//! A program opens a [`Domain`] by name, and sends and receives over channels by name:
//!
//! ```
//! use staffetta::Domain;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let name = format!("doc-hello-{}", std::process::id());
//! # let name = name.as_str();
//! let sender = std::thread::spawn({
//!     let name = name.to_owned();
//!     move || {
//!         let tx = Domain::open(&name).unwrap().sender::<u64>("numbers").unwrap();
//!         tx.send(42).unwrap();
//!     }
//! });
//! for n in Domain::open(name)?.receiver::<u64>("numbers")? {
//!     println!("{n}");
//! #   assert_eq!(n, 42);
//! }
//! # sender.join().unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! Here both ends are threads of one program; they may as well be two programs, started in any order. Between threads alone
//! [`bounded`] and [`rendezvous`] need no domain and carry anything that is `Send`: see [`local`].
//!
//! # Layers
//!
//! Each knows only those above it: `os` (system calls), `memory` (the domain's segment and its blocks),
//! `reference` (from a word in shared memory to a pointer), `process` (PCBs, waiting, who is a member and who
//! died), `message` (what may be sent), `channel`. `Domain` and `launch` put them together.

// Lets the derive's `::staffetta` paths resolve inside this crate too.
extern crate self as staffetta;

mod channel;
mod custody;
mod domain;
mod enclosure;
mod error;
mod handle;
pub mod inspect;
pub mod launch;
mod limits;
pub mod local;
mod member;
mod memory;
pub mod message;
#[cfg(test)]
mod model;
#[allow(dead_code)] // a few calls are for the tests of the layer itself
mod os;
mod process;
mod reference;
mod roster;
mod succession;
#[cfg(test)]
mod windows_test;

pub use channel::broadcast::builder::{BroadcastBuilder, LatestBuilder};
pub use channel::broadcast::ends::{BroadcastIter, BroadcastReceiver, BroadcastSender};
pub use channel::broadcast::guard::{Shared, SharedSlot};
pub use channel::broadcast::latest::{LatestReceiver, LatestSender};
pub use channel::broadcast::observer::DynObserver;
pub use channel::broadcast::{Late, SlowReceiver};
pub use channel::builder::ChannelBuilder;
pub use channel::continuation::Continuation;
pub use channel::dynamic::{Carries, DynReceiver, DynRecvError, DynSendError, DynSender};
pub use channel::form::Overflow;
pub use channel::guard::{Received, Slot};
pub use channel::receiver::{IntoIter, Receiver};
pub use channel::reply::{Client, Pending, Request, Server};
pub use channel::select::{after, at, never, tick, Receives, Select, SelectedOperation, Sends, Timer};
pub use channel::sender::Sender;
pub use channel::spec::{Carried, Kind, Payload};
pub use channel::tally::SideCounters;
pub use channel::transfer::{Target, Transfer};
pub use channel::view::{DescriptorState, DescriptorView};
pub use domain::{Addresses, Domain, DomainOptions};
pub use enclosure::face::{Enclose, Enclosed};
pub use error::{
    AcquireError, AllocateError, AttachError, CallError, CallFailure, DomainError, RecvError, SelectError,
    SendError, SendFailure,
};
pub use error::{EncloseError, EncloseFailure, TakeOutError};
pub use limits::{limits, Limit};
pub use local::{bounded, rendezvous};
pub use message::number::Number;
pub use message::parcel::{Capability, Parcel, Parcels, ReadOnly};
pub use message::variable::Variable;
pub use message::Message;
pub use os::Error as OsError;
pub use process::wait::{park_ns, Wait};
pub use process::{Name, NameError, OpenError, PassError, Place, PlaceError, StartError, TakeError};
pub use reference::Method;
pub use staffetta_derive::Message;
pub use succession::{LeftEnd, Succession};

// The README's examples are tests too.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
