//! Percentiles and quartiles, from all the samples: nothing is binned.

use serde::{Deserialize, Serialize};

/// One-way latency in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Percentiles {
    /// The fastest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// 999 of 1000 are faster.
    pub p999: f64,
}

/// The middle of some ratios, and of their halves.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Quartiles {
    /// The median.
    pub median: f64,
    /// A quarter is smaller.
    pub q1: f64,
    /// A quarter is larger.
    pub q3: f64,
}

/// The value below which the `part` (0 to 1) of the sorted samples lie: nearest rank.
fn at(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// The percentiles of one-way latencies.
pub fn percentiles(samples: &mut [f64]) -> Percentiles {
    samples.sort_by(f64::total_cmp);
    let tenth = |ns: f64| (ns * 10.0).round() / 10.0;
    Percentiles {
        min: tenth(at(samples, 0.0)),
        p50: tenth(at(samples, 0.5)),
        p99: tenth(at(samples, 0.99)),
        p999: tenth(at(samples, 0.999)),
    }
}

/// The quartiles of the blocks' ratios.
pub fn quartiles(ratios: &mut [f64]) -> Quartiles {
    ratios.sort_by(f64::total_cmp);
    let thousandth = |ratio: f64| (ratio * 1000.0).round() / 1000.0;
    Quartiles {
        median: thousandth(at(ratios, 0.5)),
        q1: thousandth(at(ratios, 0.25)),
        q3: thousandth(at(ratios, 0.75)),
    }
}

/// The median of one block.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    at(&sorted, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        let found = percentiles(&mut samples);
        assert_eq!((found.min, found.p50, found.p99, found.p999), (1.0, 500.0, 990.0, 999.0));
        let one = percentiles(&mut [7.0]);
        assert_eq!((one.min, one.p999), (7.0, 7.0));
    }

    #[test]
    fn quartiles_of_few() {
        let found = quartiles(&mut [3.0, 1.0, 2.0, 4.0]);
        assert_eq!((found.q1, found.median, found.q3), (1.0, 2.0, 3.0));
    }
}
