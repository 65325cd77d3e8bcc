//! Signals that ask a command to stop.
//!
//! The handler only notes the signal. Commands look at the note wherever they wait (they wait in
//! `poll`, which a signal ends), so that children are killed and the terminal is restored on the
//! ordinary way out.

use crate::failure::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

static NOTED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Starts noting SIGINT, SIGTERM and SIGHUP.
pub fn install() -> Result<(), Failure> {
    let noted = NOTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_usize(signal, noted.clone(), signal as usize)
            .map_err(|error| Failure::os("cannot install a signal handler", error))?;
    }
    Ok(())
}

/// Lets a file that would grow past `ulimit -f` be an error, not the end by SIGXFSZ: a memfd counts too.
pub fn survive_file_limit() -> Result<(), Failure> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
        .map(drop)
        .map_err(|error| Failure::os("cannot install a signal handler", error))
}

/// `Err` once a signal has asked us to stop.
pub fn check() -> Result<(), Failure> {
    // Relaxed: the note publishes nothing but itself.
    match NOTED.get().map_or(0, |noted| noted.load(Ordering::Relaxed)) {
        0 => Ok(()),
        signal => Err(Failure::Interrupted(signal as i32)),
    }
}

/// Whether a child that died of `signal` died because the *user* asked all of us to stop: a
/// terminal sends its signal to the children too, and theirs may be seen first.
pub fn is_request(signal: i32) -> bool {
    [SIGINT, SIGTERM, SIGHUP].contains(&signal)
}
