//! `staffetta inspect`: a domain, or one of its channels, as its words say.

use super::{describe, failure, json, pretty};
use crate::failure::Failure;
use crate::show::size::show;
use crate::show::style::Style;
use crate::show::table::{self, line, numbers, words};
use clap::Args;
use staffetta::inspect::{ChannelView, DomainView, Observer};

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  staffetta inspect camera              processes, channels, who waits for whom
  staffetta inspect camera/frames       the words of one channel, its counters, its layout
  staffetta inspect '#5f3a'             a domain without a name, by its identity
  staffetta inspect camera --json | jq '.channels[] | {name, waiting}'";

/// Show a domain, or one of its channels, without touching it
///
/// Prints the descriptor's words, who holds which end, who waits for whom, the counters of both sides
/// and the layout of the messages. Words are read one after the other while the domain runs on: what is
/// shown may never have been so at one moment.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", super::EXIT_CODES))]
pub struct InspectArgs {
    /// DOMAIN or DOMAIN/CHANNEL
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: InspectArgs) -> Result<(), Failure> {
    let (domain, channel) = split(&args.name);
    let view = Observer::of(domain).and_then(|observer| observer.look()).map_err(failure)?;
    let Some(channel) = channel else {
        return if args.json { line(&pretty(&json::domain(&view))?) } else { show_domain(&view) };
    };
    let channel = find(&view, channel)?;
    if args.json {
        return line(&pretty(&json::channel(channel))?);
    }
    show_channel(&view, channel)
}

/// A domain's name has no slash.
pub fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('/').map_or((name, None), |(domain, channel)| (domain, Some(channel)))
}

/// The channel of this name, or, without one, of this place in the list.
pub fn find<'v>(view: &'v DomainView, name: &str) -> Result<&'v ChannelView, Failure> {
    let unnamed = |channel: &&ChannelView| channel.name.is_empty() && describe::name(channel) == name;
    view.channel(name).or_else(|| view.channels.iter().find(unnamed)).ok_or_else(|| {
        let names: Vec<String> = view.channels.iter().map(describe::name).collect();
        let there = if names.is_empty() {
            "it has none".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        Failure::Usage(format!("there is no channel {name:?} in the domain; {there}"))
    })
}

fn show_domain(view: &DomainView) -> Result<(), Failure> {
    let style = Style::of_stdout();
    let name = describe::clean(view.name.as_deref().unwrap_or("(unnamed)"));
    line(&style.strong(&format!("domain {name} {}", view.identity)))?;
    line(&format!(
        "memory {} of {}, {} of it kept for the next message; window {} at {:#x}",
        show(view.memory_bytes),
        show(view.memory_max_bytes),
        show(view.retained_bytes),
        show(view.window_bytes),
        view.window_base
    ))?;
    line("")?;
    let columns = [
        numbers("slot", 4),
        numbers("process", 8),
        words("program", 24),
        words("is", 10),
        words("status", 10),
    ];
    table::head(&columns, style)?;
    for process in &view.processes {
        let cells = [
            process.slot.to_string(),
            process.pid.to_string(),
            describe::clean(&process.program),
            process.membership.to_string(),
            process.status.to_string(),
        ];
        table::row(&columns, &cells)?;
    }
    line("")?;
    let columns = [
        words("channel", 20),
        words("kind", 10),
        numbers("degree", 7),
        numbers("waiting", 7),
        numbers("sent", 12),
        numbers("received", 12),
        words("messages", 30),
    ];
    table::head(&columns, style)?;
    for channel in &view.channels {
        let (sent, received) = channel.counters();
        let spec = channel.spec.as_ref();
        let cells = [
            describe::name(channel),
            spec.map_or_else(|| "corrupt".to_owned(), |spec| spec.kind.to_string()),
            spec.map_or_else(String::new, |spec| spec.degree.to_string()),
            channel.waiting.to_string(),
            sent.messages.to_string(),
            received.messages.to_string(),
            spec.map_or_else(String::new, |spec| {
                let parcels = if spec.carries_parcels { "parcels of " } else { "" };
                format!("{parcels}{}", spec.schema.identity())
            }),
        ];
        table::row(&columns, &cells)?;
    }
    let waits: Vec<_> = view
        .channels
        .iter()
        .flat_map(|channel| channel.waits.iter().map(move |wait| (channel, wait)))
        .collect();
    if !waits.is_empty() {
        line("")?;
        line(&style.strong("who waits"))?;
    }
    for (channel, wait) in waits {
        line(&format!("{}: {}", describe::name(channel), describe::wait(view, wait)))?;
    }
    let asleep = view.pcbs.iter().filter(|pcb| pcb.sleeps_on.is_some()).count();
    line(&format!("\nPCBs: {} held, {asleep} asleep on a channel", view.pcbs.len()))
}

fn show_channel(view: &DomainView, channel: &ChannelView) -> Result<(), Failure> {
    let style = Style::of_stdout();
    line(&style.strong(&format!("channel {}", describe::name(channel))))?;
    let Some(spec) = &channel.spec else {
        return line("what its record says makes no sense: a program wrote into it");
    };
    let mut what = spec.kind.to_string();
    if spec.degree != 0 {
        what += &format!(" of degree {}", spec.degree);
    }
    if let Some(form) = &spec.form {
        what += &format!(" ({form})");
    }
    what += &format!(", {} references", spec.method);
    if spec.message_bytes_max != 0 {
        what += &format!(", messages of at most {} bytes", spec.message_bytes_max);
    }
    if spec.continuation != Default::default() {
        what += &format!(", on a death: {}", spec.continuation);
    }
    line(&what)?;
    line(&format!("senders:   {}", describe::holders(view, &channel.senders)))?;
    line(&format!("receivers: {}", describe::holders(view, &channel.receivers)))?;
    if let Some(descriptor) = channel.descriptor {
        line(&format!("descriptor: {descriptor}"))?;
    } else {
        line(&format!("messages that wait: {}", channel.waiting))?;
        if channel.lost != 0 {
            line(&format!("messages lost with dead receivers: {}", channel.lost))?;
        }
    }
    if !channel.slots.is_empty() {
        let slot = |slot: &staffetta::inspect::SlotView| {
            format!("{}:{}{}", slot.place, slot.state, if slot.asleep { "+P" } else { "" })
        };
        line(&format!("slots: {}", channel.slots.iter().map(slot).collect::<Vec<_>>().join(" ")))?;
    }
    for wait in &channel.waits {
        line(&describe::wait(view, wait))?;
    }
    line("")?;
    let columns = [
        words("side", 10),
        numbers("messages", 12),
        numbers("bytes", 14),
        numbers("copied", 14),
        numbers("waits", 10),
        numbers("parks", 10),
        numbers("wake-ups", 10),
        numbers("dropped", 10),
    ];
    table::head(&columns, style)?;
    let (sent, received) = channel.counters();
    for (side, counters) in [("senders", sent), ("receivers", received)] {
        let numbers = [
            counters.messages,
            counters.bytes,
            counters.bytes_copied,
            counters.waits,
            counters.parks,
            counters.wake_ups,
            counters.dropped,
        ];
        let cells: Vec<String> =
            std::iter::once(side.to_owned()).chain(numbers.iter().map(u64::to_string)).collect();
        table::row(&columns, &cells)?;
    }
    line("")?;
    let parcels = if spec.carries_parcels { "parcels of " } else { "" };
    line(&format!("{parcels}{}", spec.schema.pretty().trim_end()))?;
    line(&format!("layout: {}", spec.schema))
}
