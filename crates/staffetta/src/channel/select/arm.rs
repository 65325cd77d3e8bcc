//! What the macros ask of a select: no errors before an arm is chosen, since only an arm can be told of them.

use std::time::Duration;

use super::{operands, Receives, Select, SelectedOperation, Sends};
use crate::channel::end::deadline_after;
use crate::error::SelectError;

/// What a macro is to run.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Arm {
    index: usize,
    refused: Option<SelectError>,
}

impl Arm {
    const DEFAULT: Arm = Arm { index: usize::MAX, refused: None };

    #[doc(hidden)]
    pub fn is(self, operation: usize) -> bool {
        self.index == operation
    }

    #[doc(hidden)]
    pub fn is_default(self) -> bool {
        self.index == usize::MAX
    }
}

impl<'a> Select<'a> {
    #[doc(hidden)]
    pub fn __recv<R: Receives + ?Sized>(&mut self, from: &'a R, guard: bool) -> usize {
        self.add_guarded(from.operation(), guard)
    }

    #[doc(hidden)]
    pub fn __send<S: Sends + ?Sized>(&mut self, to: &'a S, guard: bool) -> usize {
        self.add_guarded(to.operation(), guard)
    }

    /// For the macros: what cannot be an operation is chosen at once, and completed with the reason.
    fn add_guarded(&mut self, operand: operands::Operand<'a>, guard: bool) -> usize {
        let operation = operand.operation;
        if !guard {
            let i = self.turn.add(operation);
            self.turn.enable(i, false);
            return i;
        }
        self.add(operand).unwrap_or_else(|why| {
            let i = self.turn.add(operation);
            self.turn.enable(i, false);
            self.refused.get_or_insert((i, why));
            i
        })
    }

    /// For the macros: the arm to run. An error is that of the operation that was refused, or else of the first.
    #[doc(hidden)]
    pub fn __select(&mut self) -> Arm {
        let chosen = match self.refused {
            None => self.choose(None, true),
            Some((_, why)) => Err(why),
        };
        self.arm(chosen)
    }

    /// As `__select`, or the default arm.
    #[doc(hidden)]
    pub fn __try_select(&mut self) -> Arm {
        let chosen = match self.refused {
            None => self.choose_now(true),
            Some((_, why)) => Err(why),
        };
        match chosen {
            Err(SelectError::WouldBlock | SelectError::Empty) => Arm::DEFAULT,
            chosen => self.arm(chosen),
        }
    }

    /// As `__try_select`, after `timeout`.
    #[doc(hidden)]
    pub fn __select_timeout(&mut self, timeout: Duration) -> Arm {
        let chosen = match self.refused {
            None if self.turn.is_empty() => {
                std::thread::sleep(timeout);
                Err(SelectError::TimedOut)
            }
            None => self.choose(deadline_after(timeout), true),
            Some((_, why)) => Err(why),
        };
        match chosen {
            Err(SelectError::TimedOut) => Arm::DEFAULT,
            chosen => self.arm(chosen),
        }
    }

    fn arm(&mut self, chosen: Result<usize, SelectError>) -> Arm {
        match (self.refused, chosen) {
            (Some((index, why)), _) => Arm { index, refused: Some(why) },
            (None, Err(why)) => Arm { index: 0, refused: Some(why) },
            (None, Ok(index)) => {
                self.chosen = Some(index);
                Arm { index, refused: None }
            }
        }
    }

    #[doc(hidden)]
    pub fn __selected(&mut self, arm: Arm) -> SelectedOperation<'_, 'a> {
        self.chosen = None;
        SelectedOperation { select: self, index: arm.index, refused: arm.refused }
    }
}
