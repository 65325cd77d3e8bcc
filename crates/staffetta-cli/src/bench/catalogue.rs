//! Every subject and every limit that can be measured, in the order of the report.

use super::channel::{broadcast, locked, parcel, private, reply, select, slice, value, variable};
use super::limit::{cacheline, futex, memcpy, mmap, touch, vm_readv};
use super::subject::Spec;
use super::threads;

/// All of them; both processes build the same list, so an index names a subject. A quick run leaves
/// out the largest sizes.
pub fn specs(quick: bool) -> Vec<Spec> {
    let mut specs = Vec::new();
    specs.extend(cacheline::specs());
    specs.extend(futex::specs());
    specs.extend(memcpy::specs(quick));
    specs.extend(mmap::specs());
    specs.extend(touch::specs(quick));
    specs.extend(vm_readv::specs());
    specs.extend(value::basic_specs());
    specs.extend(slice::specs());
    specs.extend(value::buffered_specs());
    specs.extend(select::specs());
    specs.extend(value::rendezvous_specs());
    specs.extend(broadcast::specs());
    specs.extend(broadcast::latest_specs());
    specs.extend(reply::specs());
    specs.extend(variable::specs());
    specs.extend(private::specs());
    specs.extend(locked::specs());
    specs.extend(parcel::specs(quick));
    specs.extend(threads::specs(quick));
    specs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_names_a_limit_that_exists_and_shares_its_batch() {
        for quick in [true, false] {
            let specs = specs(quick);
            for spec in &specs {
                assert_eq!(spec.is_limit(), spec.limit.is_none(), "{}", spec.label());
                if let Some(name) = spec.limit {
                    let limit = specs.iter().find(|limit| limit.name() == name);
                    let limit = limit.unwrap_or_else(|| panic!("{}: no {name:?}", spec.label()));
                    assert_eq!(limit.batch, spec.batch, "{}", spec.label());
                }
            }
        }
    }
}
