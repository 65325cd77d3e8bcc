//! `staffetta bench`: subjects and the machine's own limits, in interleaved blocks, between processes.
//!
//! | file | what it is |
//! |---|---|
//! | `subject`, `catalogue` | what can be measured; the list of it |
//! | `limit` | the machine's own limits |
//! | `channel` | the library's channels, and the students' baseline |
//! | `threads` | channels within one process, beside crossbeam's and others |
//! | `ping`, `pong`, `orders` | the two processes, and what they say to each other |
//! | `blocks`, `stream` | the timed loops: to and fro, and one way |
//! | `facts` | figures that are no latencies |
//! | `stats`, `row`, `report` | the figures |

mod blocks;
mod catalogue;
mod channel;
mod facts;
mod limit;
mod orders;
mod parked;
pub mod ping;
pub mod pong;
mod report;
mod row;
mod run;
mod stats;
mod stream;
mod subject;
mod threads;

pub use run::run;

use clap::Args;

/// Examples in the help.
pub const EXAMPLES: &str = "\
Examples:
  staffetta bench --quick                      everything, within 40 s
  staffetta bench --only limit.cacheline       one row (or all that begin so)
  staffetta bench --only parcel --blocks 100
  staffetta bench --cores 2,3                  where the two processes run
  staffetta bench --facts                      page faults, CPU when idle or paced, memory, time to join
  staffetta bench --json > bench.json";

/// Measure latencies between two processes, beside the machine's own limits
///
/// Two processes are pinned to two cores and answer each other; one way is half a round trip. A
/// machine drifts from second to second, so each subject runs in short blocks between blocks of its
/// limit, in the very same processes, and the figure to quote is the ratio: median and quartiles of
/// the blocks' ratios, where a block's ratio is its median to the mean of the medians of the two blocks
/// of the limit around it.
///
/// min, p50, p99 and p99.9 are over all round trips. Reading the clock costs about 25 ns, so round
/// trips under a microsecond are timed 16 at a time, and their percentiles are of the batches'
/// means; a limit is timed as its subjects are. The row of a limit is made of all the blocks that ran
/// between its subjects.
///
/// touch: `first`, the reader reads the first word (hand-over); `all`, the writer writes every byte
/// and the reader reads every byte, over rotating buffers larger than the last cache (end to end).
/// p99.9 of small messages is also told beside the p99.9 of their limit in the blocks around, under the
/// table.
/// msg/s is measured one way, without traffic in the other direction, sequence numbers checked.
///
/// limit.cacheline is the fastest of eight raw variants (one or two lines, store or compare-exchange, with or
/// without pause). All of them run in every block, and the one counts, in every block, whose median over all
/// the blocks is the lowest. The fastest of each block would be another one each time: where a machine
/// changes within a block, the lowest of eight readings is lower than any one variant's. limit.mmap maps a
/// memfd, reads one byte (first) or a
/// byte a page (all) and unmaps it; its rows with `capability` also pass the descriptor over a Unix
/// socket. limit.touch writes and reads every byte in one process. limit.vm_readv reads private memory of
/// the other process by the system call alone (first), or in turn with every byte written before and read
/// after (all); private, which is sent by send_from, is compared with it.
///
/// local and std.* are channels between threads of one process: how long a message takes in a stream in one direction, from
/// so many senders to so many receivers with a buffer of 1024 messages, compared with std.crossbeam; meet is one of each
/// without a buffer, compared with std.kanal.
///
/// rendezvous.locked is the textbook's descriptor with its LOCK. A parcel by capability that is compared
/// with limit.cacheline goes to and fro and is acquired from the cache; one that is compared with limit.mmap is
/// new to its receiver every time.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Finish within 40 s: fewer sizes, short blocks
    #[arg(long)]
    quick: bool,
    /// Only the rows whose name begins so; may be repeated
    #[arg(long, value_name = "WHAT")]
    only: Vec<String>,
    /// Blocks of each subject [default: 30 with --quick, else 60]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    blocks: Option<u32>,
    /// The cores of the two processes, as A,B [default: two that are not threads of one core]
    #[arg(long, value_name = "A,B", value_delimiter = ',', num_args = 1)]
    cores: Vec<usize>,
    /// Not latencies, but what else it costs: page faults, idle CPU, memory, parked receivers, time to join (30 s)
    #[arg(long, conflicts_with_all = ["quick", "only", "blocks"])]
    facts: bool,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// What both processes must agree on.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Short blocks, fewer sizes.
    pub quick: bool,
    /// Blocks of each subject.
    pub blocks: u32,
}

impl Plan {
    /// How long a block takes, about.
    pub fn block_ns(self) -> f64 {
        if self.quick {
            2.5e6
        } else {
            5e6
        }
    }

    /// How long a stream takes at the least.
    pub fn stream_ns(self) -> f64 {
        if self.quick {
            30e6
        } else {
            150e6
        }
    }
}
