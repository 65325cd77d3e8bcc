//! What lies in parcels: ends of channels, and parcels; and how a channel without a name is over.
//!
//! A message has no drop glue: whoever sweeps it need not know its type. So what has to be given back lies beside it, as an
//! *entry* of a table of the domain, with a state word of its own. The block of the parcel heads a list of its entries;
//! the message holds their numbers ([`Enclosed`](face::Enclosed)), which are worth nothing without the parcel.
//!
//! ```text
//!   block record of a parcel: inside --> entry --> entry            channel: end word  ATTACHED by nobody: IN_MESSAGE
//!                                          |         `- parcel: its block is ENCLOSED
//!                                          `----------- end: of which channel, which seat, as which end word says
//! ```
//!
//! | state of an entry | means | left by |
//! |---|---|---|
//! | FREE | not in use | who claims it: MAKING |
//! | MAKING(process) | being enclosed or taken out by that process | it: ENCLOSED, TAKEN, FREE; after its death a sweeper: RELEASING |
//! | ENCLOSED | in the parcel | who holds the parcel: MAKING, RELEASING |
//! | TAKEN | was taken out; still in the parcel's list | who holds the parcel: RELEASING |
//! | RELEASING(process) | that process gives back what it stands for | it: FREE, or TAKEN if it still stands in the list behind others; after its death a sweeper: RELEASING |
//! | HOLD(process) | that process may have ends of that channel, which has no name | it, or a sweeper: FREE |
//!
//! N1. What an entry stands for is the entry's if and only if its own word says so: an end whose end word is the entry's
//!     `held` (ATTACHED, IN_MESSAGE), a block that is ENCLOSED in the entry's incarnation. So who finds an entry half
//!     made knows what to give back, and giving back twice changes nothing.
//! N2. The list of a block changes at its head only, by who holds the block; an entry is FREE only when it is in no list.
//! N3. A channel without a name is in use while an entry names it: a HOLD, or an end in a parcel. A HOLD is made before an
//!     end is taken out, and the channel's state word changes its sequence then; who finds no entry, and the word as it
//!     was before it looked, has the channel alone (`collect.rs`).
//!
//! | file | one idea |
//! |---|---|
//! | `table` | the entries: claimed, changed, found |
//! | `contents` | what lies in a block: put in, taken out, given back |
//! | `collect` | channels without a name that no process can reach |
//! | `face` | `Enclosed`, `Parcel::enclose`, `Parcel::take_out`, ends as messages |

pub(crate) mod collect;
pub(crate) mod contents;
pub(crate) mod face;
pub(crate) mod table;

pub(crate) use table::Entry;
