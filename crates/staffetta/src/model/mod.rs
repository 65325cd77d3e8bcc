//! The shipped protocols under two model checkers. `random/` has shuttle: random schedules of three or four actors, which may
//! crash anywhere. The rest is loom's: every interleaving of their atomic steps, and every value that the
//! orderings allow a load to see, up to a number of preemptions (2; `LOOM_MAX_PREEMPTIONS=3` for the long run).
//!
//! Those of `stops.rs` (`loom_stops_*`) have an actor that stops for good before any one of its atomic steps, killed or only
//! stopped: each model is explored once for each of these steps.
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
//! And of select (the first is what was written first):
//!
//! | mutant | fails |
//! |---|---|
//! | `Turn::stand` without another look before the sleep | `loom_select_against_select_mixed` |
//! | `Party::look` without the announcement on the line | `loom_select_against_a_call` and five more |
//! | the sender's select does not nudge | `loom_select_against_select`, `loom_select_against_select_mixed` |
//! | who offers or wants does not wake the select that put P on IDLE | `loom_select_against_a_call` |
//! | who stands does not wake it | `loom_select_against_select`, `loom_select_against_select_mixed` |
//! | `ReadySet::deliver` looks at `asleep` first | `loom_ready_set` and six more |
//! | a withdrawal takes a message that came first for none | `loom_select_withdraws_from_what_is_reserved` and three more |
//! | what was taken back counts as sent | `loom_select_withdraws_from_what_is_reserved` and two more |
//!
//! Of the same handshake where many may wait (crowd.rs, D1 and D2), and of its order in `wait`:
//!
//! | mutant | fails |
//! |---|---|
//! | `Crowd::announce` without its fence | `loom_queue_many_to_one`, `loom_queue_degree_per_sender`, `loom_queue_one_to_many`, `loom_queue_receiver_dies`, `loom_queue_sender_leaves` |
//! | `Crowd::sleepers_after_rmw` without its fence | the same five |
//! | `Crowd::announce` counts the sleep after it has set its bit | the same five |
//! | `Crowd::wake` says `rung` before it wakes | `loom_queue_waker_stops_before_its_wake_up` |
//! | `Crowd::sleepers_after_rmw` clears the bits that it takes | `loom_queue_waker_stops_before_its_wake_up` |
//! | `wait` without step 3, the recheck | those five, `loom_buffer_sender_gives_up`, and those above |
//! | `wait` takes its ticket after it has announced | 27 of the 42 |
//!
//! And of request-reply (the first two are what was written first):
//!
//! | mutant | fails |
//! |---|---|
//! | one of several servers lets a request go whose client has just fallen asleep | `loom_reply_calls_in_turn`, `loom_reply_client_gives_up` |
//! | after a server's death only those are woken whose word says that they sleep | `loom_reply_server_dies_before_its_wake_up` |
//! | the next only server does not stamp what is asked | `loom_reply_a_request_between_two_sweepers` |
//! | a server's select does not look again after it has announced itself | `loom_reply_select_of_a_server`, `loom_reply_select_cleans_up` |
//! | its look leaves what was abandoned | `loom_reply_select_cleans_up` |
//! | a call's select does not look again after it has announced itself | `loom_reply_select_of_a_call_and_a_death` |
//!
//! Those of selects over broadcasts, and over channels within a process, are in `broadcast` and `select_local`.
//!
//! And of the sender's guess:
//!
//! | mutant | fails |
//! |---|---|
//! | `send_walk` keeps the guess | `loom_values_around_a_variable`, `loom_variable_to_variable_between_values` |
//! | `deliver_now` guesses one too far, or writes the other cell | `loom_three_values`, `loom_guess_meets_withdrawals` and six more |
//! | `deliver_now` takes a failed exchange for a delivery | `loom_withdrawal` and eight more |
//! | a small variable is staged for a receiver that expects it in the cell | `loom_values_around_a_variable` |

mod bits;
mod broadcast;
mod buffer;
mod checker;
mod enclosure;
mod exhaustive;
mod lent;
mod local;
mod machine;
mod queue;
mod random;
mod ready;
mod rendezvous;
mod replaced;
mod reply;
mod ring;
mod select;
mod select_local;
mod sleep;
mod stops;
mod world;
