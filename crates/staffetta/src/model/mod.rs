//! The shipped protocols under loom: every interleaving of their atomic steps, and every value that the
//! orderings allow a load to see, up to a number of preemptions (2; `LOOM_MAX_PREEMPTIONS=3` for the long run).
//!
//! `cargo test -p staffetta --lib loom -- --nocapture` prints the executions explored. What loom does not
//! see: load buffering; and it takes SeqCst accesses for weaker than they are (there are none here). Raw message
//! bytes are copied through pointers: loom checks that the moments of their copies are ordered, not each byte.
//!
//! Mutants of the sleep handshake, made by hand, and who fails:
//!
//! | mutant | fails |
//! |---|---|
//! | `wait` without step 3, the recheck | `loom_sleeper_sees_the_partner_leave`, `loom_partner_leaves_while_one_waits`, `loom_try`, `loom_ring_withdrawal`, `loom_receiver_dies_while_taking` |
//! | `Line::announce` by a plain store | `loom_values_one_way`, `loom_sleeper_sees_the_partner_leave` and eight more |
//! | `Line::announce` skipped (says true, sets nothing) | `loom_values_one_way`, `loom_variables` and nine more |
//! | `Pcb::wake_up` asks the kernel first, then increments | `loom_sleeper_sees_the_partner_come`, `loom_values_one_way` and ten more |
//!
//! And of the sender's guess:
//!
//! | mutant | fails |
//! |---|---|
//! | `send_walk` keeps the guess | `loom_values_around_a_variable`, `loom_variable_to_variable_between_values` |
//! | `deliver_now` guesses one too far, or writes the other cell | `loom_three_values`, `loom_guess_meets_withdrawals` and six more |
//! | `deliver_now` takes a failed exchange for a delivery | `loom_withdrawal` and eight more |
//! | a small variable is staged for a receiver that expects it in the cell | `loom_values_around_a_variable` |

mod buffer;
mod lent;
mod local;
mod machine;
mod queue;
mod ready;
mod rendezvous;
mod ring;
mod select;
mod sleep;
