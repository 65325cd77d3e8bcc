//! The operations and their starting states, a file for each family.

mod memory;
mod plain;
mod relay;
mod to_all;

use std::sync::OnceLock;

use super::scene::Scene;

/// All of them, in an order that is the same in every process.
pub fn all() -> &'static [Box<dyn Scene>] {
    static ALL: OnceLock<Vec<Box<dyn Scene>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        relay::scenes(&mut all);
        memory::scenes(&mut all);
        to_all::scenes(&mut all);
        all
    })
}
