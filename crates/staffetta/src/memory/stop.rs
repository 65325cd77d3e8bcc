//! Where a process may be killed between two steps that belong together: tests stop there.
//!
//! In the program that ships this is nothing at all.

/// A thread whose test says so stops here, for ever.
#[inline(always)]
pub(crate) fn here(_window: &'static str) {
    #[cfg(test)]
    tests::here(_window);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::{channel, Sender};

    thread_local! {
        static ARMED: Cell<Option<(&'static str, usize, Sender<bool>)>> = const { Cell::new(None) };
    }

    pub(super) fn here(window: &'static str) {
        // A thread that ends has none any more.
        let Ok(Some((armed, left, told))) = ARMED.try_with(Cell::take) else {
            return;
        };
        if armed != window || left != 0 {
            let left = if armed == window { left - 1 } else { left };
            ARMED.set(Some((armed, left, told)));
            return;
        }
        let _ = told.send(true);
        loop {
            std::thread::park(); // nothing of this thread is ever undone
        }
    }

    /// Runs `f` in a thread that stops for ever when it comes to `window` for time number `skip` (from 0), as if its process had
    /// been killed there. False: it came to its end.
    pub(crate) fn killed_at(window: &'static str, skip: usize, f: impl FnOnce() + Send + 'static) -> bool {
        let (tell, told) = channel();
        std::thread::spawn(move || {
            ARMED.set(Some((window, skip, tell.clone())));
            f();
            ARMED.set(None);
            let _ = tell.send(false);
        });
        told.recv().unwrap_or(false)
    }
}
