//! A thread that does something at the same time.

use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// Does `job` beside; waits for it when dropped.
pub fn beside(job: impl FnOnce() + Send + 'static) -> Beside {
    static PARTNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let partner = PARTNER.get_or_init(|| {
        let (tx, rx) = channel::<Job>();
        std::thread::spawn(move || rx.into_iter().for_each(|job| job()));
        Mutex::new(tx)
    });
    let (tx, rx) = channel();
    let job = Box::new(move || {
        job();
        let _ = tx.send(());
    });
    partner.lock().unwrap_or_else(PoisonError::into_inner).send(job).expect("the partner lives");
    Beside(rx)
}

/// Something is done beside.
pub struct Beside(Receiver<()>);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}
