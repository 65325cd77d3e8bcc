//! What is seen, in words: processes, ends, who waits for whom.

use staffetta::inspect::{ChannelView, DomainView, EndState, EndView, WaitView};

/// Text that a program chose, fit for a terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// What a channel is called: unnamed ones by their place.
pub fn name(channel: &ChannelView) -> String {
    match channel.name.as_str() {
        "" => format!("(unnamed {})", channel.index),
        name => clean(name),
    }
}

/// Process id and program of who is in a slot.
pub fn process(view: &DomainView, slot: u16) -> String {
    match view.process(slot) {
        Some(process) => format!("{} ({})", process.pid, clean(&process.program)),
        None => format!("slot {slot}"),
    }
}

/// Who holds these ends.
pub fn holders(view: &DomainView, ends: &[EndView]) -> String {
    let held: Vec<String> =
        ends.iter().filter_map(|end| end.process).map(|slot| process(view, slot)).collect();
    let last = ends.iter().map(|end| end.state).find(|state| *state != EndState::Attached);
    match (held.as_slice(), last) {
        ([], Some(state)) => state.to_string(),
        ([], None) => "nobody".to_owned(),
        (held, _) => held.join(", "),
    }
}

/// `sender 12 (a) waits for room, asleep: for 13 (b, stopped)`.
pub fn wait(view: &DomainView, wait: &WaitView) -> String {
    let who = wait.process.map_or_else(String::new, |slot| format!(" {}", process(view, slot)));
    let whom = match wait.for_whom.as_slice() {
        [] => "nobody is there yet".to_owned(),
        slots => {
            let one = |slot: &u16| {
                let status = view.process(*slot).map(|process| format!(", {}", process.status));
                process(view, *slot) + &status.unwrap_or_default()
            };
            format!("for {}", slots.iter().map(one).collect::<Vec<_>>().join("; "))
        }
    };
    let asleep = if wait.asleep { ", asleep" } else { ", busy" };
    format!("{}{who} waits for {}{asleep}: {whom}", wait.side, wait.what)
}
