//! Channels: basic, buffered, rendezvous; their ends, and how ends are found.
//!
//! | file | one idea |
//! |---|---|
//! | `line` | the rendezvous descriptor: a state word and two cells in one cache line |
//! | `side` | who holds an end |
//! | `continuation` | what a death means to a channel |
//! | `call` | what goes out or in, how long it may wait, how it ends |
//! | `quick` | the rendezvous' fast paths |
//! | `rendezvous` | whoever arrives second hands over and wakes the partner |
//! | `lent` | the receiver's and the sender's step when private memory is lent |
//! | `ring` | the slots of channels with a buffer; the basic channel |
//! | `buffer` | the buffered channel: the same slots, in place |
//! | `queue` | many senders, many receivers, each message to one: cells and lanes |
//! | `crowd` | the ends of one direction, and who of them sleeps |
//! | `form` | how many ends, whose degree, what happens when it is full |
//! | `many`, `queued` | a queue in the domain; what its ends do |
//! | `broadcast` | each message to all receivers, in place; the latest value |
//! | `kept` | parcels that a dead receiver had not acknowledged, and their next receiver |
//! | `guard` | a slot reserved, a message in hand |
//! | `transfer` | messages in private memory: lent, and read across processes |
//! | `tally` | counters, and the one function that copies message bytes |
//! | `ground` | the process around a protocol |
//! | `spec`, `record`, `attach` | what a channel is, where it is written, how it is found or made |
//! | `end` | an end as this process holds it |
//! | `payload` | how values and parcels travel |
//! | `sender`, `receiver`, `builder` | the typed faces |
//! | `service` | request-reply: slots in which a request comes and its reply goes |
//! | `desk`, `reply` | a service in the domain; its typed faces |
//! | `dynamic` | the face for types known only at run time |
//! | `accessors` | what both ends can be asked |
//! | `select` | the theory's alternative: several operations at once |
//! | `view` | the descriptor as people see it |
//! | `waits` | what a thread waits for, as its PCB says to people |
//! | `heirs` | which seat or end a successor takes |
//! | `sweep` | what a dead process left in the channels |

mod accessors;
pub(crate) mod attach;
pub(crate) mod broadcast;
pub(crate) mod buffer;
pub(crate) mod builder;
pub mod call;
pub(crate) mod continuation;
pub(crate) mod crowd;
pub(crate) mod desk;
pub(crate) mod dynamic;
pub(crate) mod end;
pub(crate) mod form;
pub(crate) mod ground;
pub(crate) mod guard;
mod heirs;
pub(crate) mod kept;
pub(crate) mod lent;
pub mod line;
pub(crate) mod many;
pub(crate) mod payload;
pub(crate) mod queue;
pub(crate) mod queued;
pub(crate) mod quick;
pub(crate) mod receiver;
pub mod record;
pub mod rendezvous;
pub(crate) mod reply;
pub(crate) mod ring;
pub(crate) mod schemas;
pub(crate) mod select;
pub(crate) mod sender;
pub(crate) mod service;
pub mod side;
pub(crate) mod spec;
pub(crate) mod sweep;
pub mod tally;
pub(crate) mod transfer;
pub(crate) mod view;
pub(crate) mod waits;

pub(crate) use heirs::ends_that_died;
