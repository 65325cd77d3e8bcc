//! Every mechanism that the demo can show, in the order in which it shows them.

use super::channels;
use super::kernel::{Pipe, Tcp, Unix};
use super::mechanism::Mechanism;

/// All of them. Both processes build the same list, so an index names a mechanism.
pub fn mechanisms() -> Vec<Box<dyn Mechanism>> {
    let mut all: Vec<Box<dyn Mechanism>> = vec![Box::new(Tcp), Box::new(Unix), Box::new(Pipe)];
    all.extend(channels::mechanisms());
    all
}
