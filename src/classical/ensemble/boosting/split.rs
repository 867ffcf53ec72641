//! The best split of a histogram.

use super::binning::Bins;
use super::histogram::{FeatureSums, Sums};

/// A category may stand on its own side only with at least this many samples, and noise in rare ones is
/// damped by as much (scikit-learn's constant).
const CATEGORY_SUPPORT: f64 = 10.0;
/// The least sum of hessians of a child.
const MIN_HESSIAN: f64 = 1e-3;

/// Which way predictions may go as a feature grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monotonic {
    /// Any.
    #[default]
    None,
    /// Never down.
    Increasing,
    /// Never up.
    Decreasing,
}

/// What a split of a node must heed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub min_samples_leaf: f64,
    pub l2: f64,
    /// The lowest and highest value of the children.
    pub bounds: (f64, f64),
}

impl Limits {
    #[inline(always)]
    fn unbounded(&self) -> bool {
        self.bounds == (f64::NEG_INFINITY, f64::INFINITY)
    }
}

/// Sums of gradients and hessians, and the count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub gradient: f64,
    pub hessian: f64,
    pub count: f64,
}

impl Totals {
    #[inline(always)]
    fn add<const N: usize>(&mut self, sums: &Sums<N>) {
        self.gradient += sums[0];
        self.hessian += sums[1];
        self.count += sums[N - 1];
    }

    #[inline(always)]
    fn minus(self, other: Totals) -> Totals {
        Totals {
            gradient: self.gradient - other.gradient,
            hessian: self.hessian - other.hessian,
            count: self.count - other.count,
        }
    }

    #[inline(always)]
    fn curvature(self, limits: &Limits) -> f64 {
        self.hessian + limits.l2 + 1e-15
    }

    /// The value that lowers the loss most, within bounds.
    #[inline(always)]
    pub fn value(self, limits: &Limits) -> f64 {
        let value = -self.gradient / self.curvature(limits);
        value.max(limits.bounds.0).min(limits.bounds.1)
    }

    #[inline(always)]
    fn too_small(self, limits: &Limits) -> bool {
        self.count < limits.min_samples_leaf || self.hessian < MIN_HESSIAN
    }
}

/// A bit for each bin.
pub(super) type BinSet = [u64; 4];

/// The bins up to this one.
fn up_to(bin: usize) -> BinSet {
    std::array::from_fn(|word| {
        let bins = (bin + 1).saturating_sub(64 * word).min(64);
        u64::MAX.checked_shr(64 - bins as u32).unwrap_or(0)
    })
}

/// Whether a bin is in a set.
pub(super) fn contains(set: &BinSet, bin: usize) -> bool {
    set[bin / 64] >> (bin % 64) & 1 == 1
}

/// A split that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    pub feature: usize,
    /// The first bins of numbers, any of categories.
    pub left_bins: BinSet,
    pub missing_left: bool,
    pub gain: f64,
    pub left: Totals,
    pub right: Totals,
}

impl Split {
    /// Whether a bin goes left; `missing` is the bin of missing values.
    #[inline(always)]
    pub fn goes_left(&self, bin: u8, missing: usize) -> bool {
        if usize::from(bin) == missing {
            self.missing_left
        } else {
            contains(&self.left_bins, usize::from(bin))
        }
    }
}

/// A feature's histogram in a node.
pub(super) struct Feature<'a, const N: usize> {
    pub index: usize,
    pub bins: &'a Bins,
    pub has_missing: bool,
    pub monotonic: Monotonic,
    pub sums: &'a FeatureSums<N>,
}

/// The best split found so far.
struct Best {
    total: Totals,
    parent: f64,
    split: Option<Split>,
}

impl Best {
    /// Whether a split without bounds certainly gains no more than the best: their comparison with the
    /// denominators multiplied out, which spares most splits two divisions. A hair of a difference is left
    /// to the exact comparison.
    #[inline(always)]
    fn cannot_win(&self, left: Totals, right: Totals, limits: &Limits) -> bool {
        let needed = self.split.map_or(0.0, |split| split.gain) - self.parent;
        let (left_curve, right_curve) = (left.curvature(limits), right.curvature(limits));
        let reached =
            left.gradient * left.gradient * right_curve + right.gradient * right.gradient * left_curve;
        reached < (1.0 - 1e-9) * needed * (left_curve * right_curve)
    }

    #[inline(always)]
    fn offer(
        &mut self,
        (left, right): (Totals, Totals),
        limits: &Limits,
        monotonic: Monotonic,
        make: impl FnOnce() -> (usize, BinSet, bool),
    ) {
        if limits.unbounded() && self.cannot_win(left, right, limits) {
            return;
        }
        let (left_value, right_value) = (left.value(limits), right.value(limits));
        let forbidden = match monotonic {
            Monotonic::None => false,
            Monotonic::Increasing => left_value > right_value,
            Monotonic::Decreasing => left_value < right_value,
        };
        let gain = self.parent - left.gradient * left_value - right.gradient * right_value;
        if !forbidden && gain > self.split.map_or(0.0, |split| split.gain) {
            let (feature, left_bins, missing_left) = make();
            self.split = Some(Split { feature, left_bins, missing_left, gain, left, right });
        }
    }
}

impl<const N: usize> Feature<'_, N> {
    /// The best split of a node with these totals and this value.
    pub fn best(&self, total: Totals, value: f64, limits: &Limits) -> Option<Split> {
        let mut best = Best { total, parent: total.gradient * value, split: None };
        match self.bins {
            Bins::Numbers(_) => {
                self.scan_up(&mut best, limits);
                if self.has_missing {
                    self.scan_down(&mut best, limits);
                }
            }
            Bins::Categories(_) => self.scan_categories(&mut best, limits),
        }
        best.split
    }

    /// All thresholds, with missing values on the right.
    fn scan_up(&self, best: &mut Best, limits: &Limits) {
        let last = self.bins.count() - 1 + usize::from(self.has_missing);
        let mut left = Totals::default();
        'bins: for (block, sums) in self.sums[..last].chunks(64).enumerate() {
            // An empty bin's threshold parts the same rows as the one before. In small nodes most are empty:
            // they are found without a branch for each.
            let occupied = sums.iter().enumerate().map(|(bit, sums)| u64::from(sums[N - 1] != 0.0) << bit);
            let mut occupied = occupied.fold(0, |all, bit| all | bit);
            while occupied != 0 {
                let bit = occupied.trailing_zeros() as usize;
                occupied &= occupied - 1;
                left.add(&sums[bit]);
                if left.too_small(limits) {
                    continue;
                }
                let right = best.total.minus(left);
                if right.too_small(limits) {
                    break 'bins;
                }
                let bins = || (self.index, up_to(64 * block + bit), false);
                best.offer((left, right), limits, self.monotonic, bins);
            }
        }
    }

    /// All thresholds, with missing values on the left.
    fn scan_down(&self, best: &mut Best, limits: &Limits) {
        let mut right = Totals::default();
        for bin in (1..self.bins.count()).rev() {
            right.add(&self.sums[bin]);
            if right.too_small(limits) {
                continue;
            }
            let left = best.total.minus(right);
            if left.too_small(limits) {
                break;
            }
            best.offer((left, right), limits, self.monotonic, || (self.index, up_to(bin - 1), true));
        }
    }

    /// Categories in the order of their mean gradient, from both ends (Fisher, 1958).
    fn scan_categories(&self, best: &mut Best, limits: &Limits) {
        let missing = self.bins.count();
        let support = best.total.count / best.total.hessian;
        let mut order: Vec<(f64, usize)> = (0..missing + usize::from(self.has_missing))
            .filter(|&bin| self.sums[bin][1] * support >= CATEGORY_SUPPORT)
            .map(|bin| (self.sums[bin][0] / (self.sums[bin][1] + CATEGORY_SUPPORT), bin))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let middle = order.len().div_ceil(2);
        for (backwards, steps) in [(false, middle), (true, middle.saturating_sub(1))] {
            let mut left = Totals::default();
            let mut set = [0; 4];
            for step in 0..steps.min(order.len().saturating_sub(1)) {
                let bin = order[if backwards { order.len() - 1 - step } else { step }].1;
                left.add(&self.sums[bin]);
                set[bin / 64] |= 1_u64 << (bin % 64);
                if left.too_small(limits) {
                    continue;
                }
                let right = best.total.minus(left);
                if right.too_small(limits) {
                    break;
                }
                let missing_left = self.has_missing && contains(&set, missing);
                best.offer((left, right), limits, Monotonic::None, || (self.index, set, missing_left));
            }
        }
    }
}
