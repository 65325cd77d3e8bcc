//! The operations and their starting states, a file for each family.

pub mod relay;

use std::sync::OnceLock;

use super::scene::Scene;

/// All of them, in an order that is the same in every process.
pub fn all() -> &'static [Box<dyn Scene>] {
    static ALL: OnceLock<Vec<Box<dyn Scene>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        relay::scenes(&mut all);
        all
    })
}
