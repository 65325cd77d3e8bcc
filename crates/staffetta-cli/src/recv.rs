//! `staffetta recv`: from a channel to the standard output.

use crate::data::{output, FORMS};
use crate::failure::Failure;
use crate::interrupt;
use crate::target::{Target, AGAIN};
use clap::Args;
use staffetta::{DynReceiver, DynRecvError, RecvError};

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
/// A message goes to one receiver, so what is printed here nobody else gets: that takes --consume.
/// (`staffetta inspect` and `staffetta rate` look at a channel without taking anything.)
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
    check_consume(&args)?;
    let target = &args.target;
    let rx = target.attach(|c| c.dyn_receiver(), |c, carries| c.dyn_receiver_of(carries))?;
    let mut taken = 0;
    while args.count.is_none_or(|count| taken < count) {
        if output::is_closed() {
            return Err(Failure::OutputClosed);
        }
        interrupt::check()?;
        match rx.recv_bytes_timeout(AGAIN) {
            Ok(bytes) => {
                taken += 1;
                write(&args, &rx, taken, &bytes)?;
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

/// Whoever only wants to look is not to take anything away by mistake. (A form whose receivers all get each message
/// needs no --consume: here is the place to say so.)
fn check_consume(args: &RecvArgs) -> Result<(), Failure> {
    if args.consume {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "recv takes messages away from {}, and its other receivers do not get them: say --consume if that is meant; \
         `staffetta inspect {0}` and `staffetta rate {0}` only look",
        args.target.name()
    )))
}

fn write(args: &RecvArgs, rx: &DynReceiver, number: u64, bytes: &[u8]) -> Result<(), Failure> {
    let encoded = output::encode(bytes, rx.schema(), args.raw);
    let encoded = encoded.map_err(|why| lost(args, number, bytes, &why))?;
    output::write(&encoded).inspect_err(|why| {
        let form = if args.raw { output::encode(bytes, rx.schema(), false) } else { Ok(encoded.clone()) };
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
