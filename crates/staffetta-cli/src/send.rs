//! `staffetta send`: from the standard input into a channel.

use crate::data::input::Input;
use crate::data::FORMS;
use crate::failure::Failure;
use crate::interrupt;
use crate::target::{Target, AGAIN};
use clap::Args;
use staffetta::{DynSendError, DynSender, Kind, SendFailure};

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  echo '{\"x\": 1.5, \"y\": 0}' | staffetta send robot/goal
  seq 1000 | staffetta send lab/numbers --layout u64 --degree 16   makes the channel
  staffetta send lab/numbers --wait < numbers.txt                  waits for it
  printf '\\2\\0\\0\\0hi' | staffetta send lab/text --raw              a frame of two bytes
  staffetta recv a/x --consume | staffetta send b/y                from domain to domain";

/// The exit codes of this command.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    everything was sent, and taken unless --leave
  1    the receiver left or died; what was not sent is told
  2    the command line was not understood; no such channel, or one of another type
  3    the input is no message of the channel: the line or frame and the field are told;
       all before it were sent, nothing of it
  4    the machine or its limits do not allow it; the end is held by another process
  130  interrupted (128 + the number of the signal)";

/// Send messages from the standard input
///
/// Each is checked against the layout that the domain stores before anything of it is sent. When the
/// channel is full, or nobody receives, nothing more is read: the pipe fills, and whoever writes it waits.
///
/// At the end of the input the command waits until what it sent has been taken, since a domain goes with
/// its last process, and what waits in it with the domain.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{FORMS}\n\n{EXIT_CODES}"))]
pub struct SendArgs {
    #[command(flatten)]
    target: Target,
    /// Read frames, not lines: 4 bytes of length, the least significant first, then the message
    #[arg(long)]
    raw: bool,
    /// Go on with the next receiver when one has left
    #[arg(long)]
    keep: bool,
    /// End when everything is sent, whether or not it has been taken
    #[arg(long)]
    leave: bool,
}

/// Runs the command.
pub fn run(args: SendArgs) -> Result<(), Failure> {
    interrupt::install()?;
    let target = &args.target;
    let tx = target.attach(|c| c.dyn_sender(), |c, carries| c.dyn_sender_of(carries))?;
    let mut input = Input::new(args.raw);
    while let Some(bytes) = input.next(tx.schema())? {
        send(&args, &tx, &bytes, &input.place())?;
    }
    while !args.leave && tx.kind() != Kind::Rendezvous && !tx.is_empty() {
        if interrupt::check().is_err() {
            eprintln!("staffetta: {} messages still wait in {}", tx.len(), target.name());
        }
        interrupt::check()?;
        std::thread::sleep(AGAIN / 10);
    }
    Ok(())
}

fn send(args: &SendArgs, tx: &DynSender, bytes: &[u8], place: &str) -> Result<(), Failure> {
    loop {
        let why = match tx.send_bytes_timeout(bytes, AGAIN) {
            Ok(()) => return Ok(()),
            Err(DynSendError::Send(SendFailure::TimedOut)) => {
                if let Err(interrupted) = interrupt::check() {
                    eprintln!("staffetta: {place} was not sent");
                    return Err(interrupted);
                }
                continue;
            }
            Err(DynSendError::Send(SendFailure::Disconnected | SendFailure::PeerDied)) if args.keep => {
                continue
            }
            Err(why) => why,
        };
        let told = format!("{}: {why}; {place} was not sent", args.target.name());
        return Err(match why {
            DynSendError::Field(_) => Failure::Data(told),
            DynSendError::Send(SendFailure::Disconnected | SendFailure::PeerDied) => {
                Failure::Mechanism(format!("{told}; --keep waits for the next receiver"))
            }
            DynSendError::Send(SendFailure::TooLong { .. }) => Failure::Data(told),
            _ => Failure::Environment(told),
        });
    }
}
