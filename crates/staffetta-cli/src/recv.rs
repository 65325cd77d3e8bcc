//! `staffetta recv`: from a channel to the standard output.

use crate::data::{output, FORMS};
use crate::failure::Failure;
use crate::interrupt;
use crate::target::{Target, AGAIN};
use clap::Args;
use staffetta::message::Schema;
use staffetta::{AttachError, ChannelBuilder, DynObserver, DynReceiver, DynRecvError, Kind, RecvError};

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  staffetta recv lab/numbers --consume --wait | awk '{ sum += $1 } END { print sum }'
  staffetta recv camera/pose --consume --count 1
  staffetta recv robot/log --consume --follow >> robot.jsonl
  staffetta recv lab/frames --consume --raw > frames.bin";

/// The exit codes of this command.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    the sender has left, --count messages came, or the reader of the output has gone
  1    the sender died, or a message was none of the channel's type
  2    the command line was not understood; no such channel, or one of another type; no --consume
  4    the machine or its limits do not allow it; the end is held by another process
  130  interrupted (128 + the number of the signal)";

/// Receive messages, and print them
///
/// Of most channels a message goes to one receiver, so what is printed here nobody else gets: that takes
/// --consume. A broadcast, and the latest value, can be listened to: nobody waits for this receiver, and what it
/// missed is told at the end. (`staffetta inspect` and `staffetta rate` look at any channel without taking anything.)
///
/// A message is taken when the one before is written, and not when the reader of the output has gone: so
/// back-pressure reaches the sender. One that was taken and could not be written is
/// printed on the standard error.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{FORMS}\n\n{EXIT_CODES}"))]
pub struct RecvArgs {
    #[command(flatten)]
    target: Target,
    /// Take the messages away from the channel
    #[arg(long)]
    consume: bool,
    /// Write frames, not lines: 4 bytes of length, the least significant first, then the message
    #[arg(long)]
    raw: bool,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Go on with the next sender when one has left
    #[arg(long)]
    follow: bool,
}

/// Runs the command.
pub fn run(args: RecvArgs) -> Result<(), Failure> {
    interrupt::install()?;
    let target = &args.target;
    let rx = target.attach(
        |channel| From::attach(&args, channel, |channel| channel.dyn_receiver()),
        |channel, carries| {
            if channel.carries().is_ok_and(|there| there == *carries) {
                return From::attach(&args, channel, |channel| channel.dyn_receiver());
            }
            From::take(&args, || channel.dyn_receiver_of(carries))
        },
    )?;
    let Some(schema) = rx.schema() else {
        return Err(refused(&args));
    };
    let mut taken = 0;
    while args.count.is_none_or(|count| taken < count) {
        if output::is_closed() {
            return Err(Failure::OutputClosed);
        }
        interrupt::check()?;
        match rx.recv() {
            Ok(bytes) => {
                taken += 1;
                write(&args, schema, taken, &bytes)?;
            }
            Err(DynRecvError::Recv(RecvError::TimedOut)) => {}
            Err(DynRecvError::Recv(RecvError::Disconnected | RecvError::PeerDied)) if args.follow => {}
            Err(DynRecvError::Recv(RecvError::Disconnected)) => return Ok(()),
            Err(DynRecvError::Field { why, bytes }) => {
                return Err(lost(&args, taken + 1, &bytes, &why.to_string()));
            }
            Err(why) => {
                let told = format!("{}: {why}; {taken} messages came before", target.name());
                return Err(match why {
                    DynRecvError::NoRoom { .. } => Failure::Environment(told),
                    _ => Failure::Mechanism(told),
                });
            }
        }
    }
    Ok(())
}

/// Where messages come from.
enum From {
    /// From a channel whose messages go to one receiver each.
    Takes(DynReceiver),
    /// From one whose receivers all get each message.
    Observes(DynObserver),
    /// From the first without --consume: nothing was attached.
    Refused,
}

impl From {
    fn attach(
        args: &RecvArgs,
        channel: ChannelBuilder<'_>,
        take: impl FnOnce(ChannelBuilder<'_>) -> Result<DynReceiver, AttachError>,
    ) -> Result<From, AttachError> {
        match channel.kind()? {
            Kind::Broadcast | Kind::Latest => channel.dyn_observer().map(From::Observes),
            _ => From::take(args, || take(channel)),
        }
    }

    /// Whoever only wants to look is not to take anything away by mistake.
    fn take(
        args: &RecvArgs,
        take: impl FnOnce() -> Result<DynReceiver, AttachError>,
    ) -> Result<From, AttachError> {
        if args.consume {
            take().map(From::Takes)
        } else {
            Ok(From::Refused)
        }
    }

    fn schema(&self) -> Option<&Schema> {
        match self {
            From::Takes(rx) => Some(rx.schema()),
            From::Observes(rx) => Some(rx.schema()),
            From::Refused => None,
        }
    }

    fn recv(&self) -> Result<Vec<u8>, DynRecvError> {
        match self {
            From::Takes(rx) => rx.recv_bytes_timeout(AGAIN),
            From::Observes(rx) => rx.recv_bytes_timeout(AGAIN),
            From::Refused => Err(DynRecvError::Recv(RecvError::Disconnected)),
        }
    }
}

impl Drop for From {
    fn drop(&mut self) {
        if let From::Observes(rx) = self {
            if rx.missed() != 0 && rx.kind() == Kind::Broadcast {
                eprintln!("staffetta: {} messages were missed: nobody waits for this receiver", rx.missed());
            }
        }
    }
}

fn refused(args: &RecvArgs) -> Failure {
    Failure::Usage(format!(
        "recv takes messages away from {}, and its other receivers do not get them: say --consume if that is meant; \
         `staffetta inspect {0}` and `staffetta rate {0}` only look",
        args.target.name()
    ))
}

fn write(args: &RecvArgs, schema: &Schema, number: u64, bytes: &[u8]) -> Result<(), Failure> {
    let encoded = output::encode(bytes, schema, args.raw);
    let encoded = encoded.map_err(|why| lost(args, number, bytes, &why))?;
    output::write(&encoded).inspect_err(|why| {
        let form = if args.raw { output::encode(bytes, schema, false) } else { Ok(encoded.clone()) };
        let shown =
            form.map_or_else(|_| hex(bytes), |line| String::from_utf8_lossy(&line).trim_end().to_owned());
        eprintln!(
            "staffetta: {why}: message {number} was taken from {} and is not written: {shown}",
            args.target.name()
        );
    })
}

/// A message that was taken and cannot be printed as one.
fn lost(args: &RecvArgs, number: u64, bytes: &[u8], why: &str) -> Failure {
    Failure::Mechanism(format!("{}: message {number}: {why}; its bytes: {}", args.target.name(), hex(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 256;
    let shown: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > SHOWN { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    shown + &more
}
