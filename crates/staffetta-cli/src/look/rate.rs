//! `staffetta rate`: how fast messages pass, by the counters that the channels keep anyway.

use super::{describe, failure, inspect};
use crate::failure::Failure;
use crate::interrupt;
use crate::show::size::show;
use crate::show::style::Style;
use crate::show::table::{self, line, numbers, words};
use clap::Args;
use serde_json::json;
use staffetta::inspect::{ChannelView, DomainView, Observer};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  staffetta rate camera/frames                  once a second, until interrupted
  staffetta rate camera --interval 5            all channels of the domain
  staffetta rate camera/frames --count 1 --json one line of JSON";

/// Tell how fast messages pass: per second, bytes per second, drops
///
/// Reads the counters that the channels keep anyway: the programs are not disturbed, and nothing is taken. Ends when
/// the last process of the domain has ended.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", super::EXIT_CODES))]
pub struct RateArgs {
    /// DOMAIN or DOMAIN/CHANNEL
    #[arg(value_name = "NAME")]
    name: String,
    /// Seconds from one look to the next
    #[arg(long, default_value_t = 1.0, value_parser = seconds, value_name = "SECONDS")]
    interval: f64,
    /// End after so many intervals
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print a line of JSON for each channel and interval
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.001 to 86400".to_owned()),
    }
}

/// Counters at one moment.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    sent: u64,
    received: u64,
    bytes: u64,
    dropped: u64,
}

fn read(channel: &ChannelView, at: Instant) -> Reading {
    let (sent, received) = channel.counters();
    Reading {
        at,
        sent: sent.messages,
        received: received.messages,
        bytes: sent.bytes,
        dropped: sent.dropped + received.dropped,
    }
}

/// Runs the command.
pub fn run(args: RateArgs) -> Result<(), Failure> {
    interrupt::install()?;
    let (domain, wanted) = inspect::split(&args.name);
    let observer = Observer::of(domain).map_err(failure)?;
    let look = || observer.look().map_err(failure).map(|view| (view, Instant::now()));
    let (view, mut at) = look()?;
    let wanted = wanted.map(|wanted| inspect::find(&view, wanted)).transpose()?.map(|channel| channel.index);
    let shown = |view: &DomainView| -> Vec<ChannelView> {
        let all = view.channels.iter();
        all.filter(|channel| wanted.is_none_or(|wanted| channel.index == wanted)).cloned().collect()
    };
    let mut before: HashMap<usize, Reading> =
        shown(&view).iter().map(|channel| (channel.index, read(channel, at))).collect();
    let columns = [
        words("channel", 20),
        numbers("sent/s", 12),
        numbers("received/s", 12),
        numbers("bytes/s", 14),
        numbers("dropped", 9),
        numbers("waiting", 9),
    ];
    if !args.json {
        table::head(&columns, Style::of_stdout())?;
    }
    let mut rounds = 0;
    while args.count.is_none_or(|count| rounds < count) {
        wait_until(at + Duration::from_secs_f64(args.interval))?;
        let view;
        (view, at) = look()?;
        for channel in shown(&view) {
            let now = read(&channel, at);
            // One that is new began with nothing.
            let nothing = Reading { sent: 0, received: 0, bytes: 0, dropped: 0, ..now };
            let last = before.insert(channel.index, now).unwrap_or(nothing);
            tell(&args, &columns, &channel, last, now)?;
        }
        rounds += 1;
        if !view.is_alive() {
            if !args.json {
                line("the domain has ended")?;
            }
            break;
        }
    }
    Ok(())
}

fn tell(
    args: &RateArgs,
    columns: &[table::Column],
    channel: &ChannelView,
    last: Reading,
    now: Reading,
) -> Result<(), Failure> {
    let seconds = (now.at - last.at).as_secs_f64();
    let seconds = if seconds > 0.0 { seconds } else { args.interval };
    let more = |now: u64, last: u64| now.wrapping_sub(last);
    let per_second = |now, last| more(now, last) as f64 / seconds;
    let (sent, received) = (per_second(now.sent, last.sent), per_second(now.received, last.received));
    let bytes = per_second(now.bytes, last.bytes);
    let dropped = more(now.dropped, last.dropped);
    if args.json {
        let told = json!({
            "channel": describe::name(channel),
            "seconds": seconds,
            "sent": more(now.sent, last.sent),
            "received": more(now.received, last.received),
            "sent_per_second": sent,
            "received_per_second": received,
            "bytes_per_second": bytes,
            "dropped": dropped,
            "waiting": channel.waiting,
        });
        return line(&told.to_string());
    }
    let cells = [
        describe::name(channel),
        format!("{sent:.1}"),
        format!("{received:.1}"),
        show(bytes as u64),
        dropped.to_string(),
        channel.waiting.to_string(),
    ];
    table::row(columns, &cells)
}

/// In steps, so that a signal is seen soon.
fn wait_until(then: Instant) -> Result<(), Failure> {
    loop {
        interrupt::check()?;
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}
