//! The best split of a histogram.

use super::binning::Bins;
use super::histogram::{FeatureSums, Sums};
use crate::vectors::vectorised;

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

    /// The value that lowers the loss most, within bounds.
    #[inline(always)]
    pub fn value(self, limits: &Limits) -> f64 {
        let value = -self.gradient / (self.hessian + limits.l2 + 1e-15);
        let value = if value < limits.bounds.0 { limits.bounds.0 } else { value };
        if value > limits.bounds.1 { limits.bounds.1 } else { value }
    }

    #[inline(always)]
    fn too_small(self, limits: &Limits) -> bool {
        (self.count < limits.min_samples_leaf) | (self.hessian < MIN_HESSIAN)
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
    split: Option<Split>,
}

impl Best {
    /// What a split must gain more than.
    fn gain(&self) -> f64 {
        self.split.map_or(0.0, |split| split.gain)
    }
}

/// What the splits of a feature in a node are judged by.
#[derive(Clone, Copy)]
struct Judge {
    parent: f64,
    limits: Limits,
    /// The sign that the right value less the left one may not have; 0 for any.
    forbidden: f64,
}

impl Judge {
    /// By how much a split into these sums lowers the loss from `parent`; minus infinity if it may not be.
    #[inline(always)]
    fn gain(&self, [left, right]: [Totals; 2]) -> f64 {
        let (left_value, right_value) = (left.value(&self.limits), right.value(&self.limits));
        let gain = self.parent - left.gradient * left_value - right.gradient * right_value;
        let small = left.too_small(&self.limits) | right.too_small(&self.limits);
        if small | ((right_value - left_value) * self.forbidden > 0.0) { f64::NEG_INFINITY } else { gain }
    }
}

/// Bins that are looked at together.
const BLOCK: usize = 64;
/// Gains that are computed at a time, at most.
const LANES: usize = 8;

/// The sums on the near side of some thresholds, what they gain, and their bins: memory that is used over and
/// over, each time from the start.
pub(super) struct Thresholds {
    gradients: [f64; BLOCK],
    hessians: [f64; BLOCK],
    counts: [f64; BLOCK],
    gains: [f64; BLOCK],
    bins: [usize; BLOCK],
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        let [gradients, hessians, counts, gains] = [[0.0; BLOCK]; 4];
        Thresholds { gradients, hessians, counts, gains, bins: [0; BLOCK] }
    }
}

impl<const N: usize> Feature<'_, N> {
    /// The best split of a node with these totals and this value.
    pub fn best(
        &self,
        total: Totals,
        value: f64,
        limits: &Limits,
        thresholds: &mut Thresholds,
    ) -> Option<Split> {
        let forbidden = match self.monotonic {
            Monotonic::None => 0.0,
            Monotonic::Increasing => -1.0,
            Monotonic::Decreasing => 1.0,
        };
        let judge = Judge { parent: total.gradient * value, limits: *limits, forbidden };
        let mut best = Best { total, split: None };
        match self.bins {
            Bins::Numbers(_) => vectorised(
                #[inline(always)]
                || {
                    self.scan::<false>(&mut best, judge, thresholds);
                    if self.has_missing {
                        self.scan::<true>(&mut best, judge, thresholds);
                    }
                },
            ),
            Bins::Categories(_) => self.scan_categories(&mut best, judge),
        }
        best.split
    }

    /// All thresholds from below, with missing values on the right; `DOWN` from above, with them on the left.
    #[inline(always)]
    fn scan<const DOWN: bool>(&self, best: &mut Best, judge: Judge, thresholds: &mut Thresholds) {
        let (first, end) = if DOWN {
            (1, self.bins.count())
        } else {
            (0, self.bins.count() - 1 + usize::from(self.has_missing))
        };
        let total = best.total;
        let sides = |near: Totals| if DOWN { [total.minus(near), near] } else { [near, total.minus(near)] };
        let mut near = Totals::default();
        let Thresholds { gradients, hessians, counts, gains, bins } = thresholds;
        let blocks = end.div_ceil(BLOCK);
        for place in 0..blocks {
            let block = if DOWN { blocks - 1 - place } else { place };
            // An empty bin's threshold parts the same rows as the one before. In small nodes most are empty:
            // they are found without a branch for each.
            let from = block * BLOCK;
            let all = self.sums[from..end.min(from + BLOCK)].iter().enumerate();
            let mut occupied = all.fold(0, |all, (bit, sums)| all | u64::from(sums[N - 1] != 0.0) << bit);
            if from < first {
                occupied &= !1;
            }
            let mut count = 0;
            while occupied != 0 {
                let bit = if DOWN { 63 - occupied.leading_zeros() } else { occupied.trailing_zeros() };
                occupied ^= 1 << bit;
                let bin = from + bit as usize;
                near.add(&self.sums[bin]);
                gradients[count] = near.gradient;
                hessians[count] = near.hessian;
                counts[count] = near.count;
                bins[count] = bin;
                count += 1;
            }
            // Whole vectors; a loop of its own, without a branch, so that it becomes vector code.
            let padded = count.next_multiple_of(LANES);
            let sums = gradients[..padded].iter().zip(&hessians[..padded]).zip(&counts[..padded]);
            for (gain, ((&gradient, &hessian), &count)) in gains[..padded].iter_mut().zip(sums) {
                *gain = judge.gain(sides(Totals { gradient, hessian, count }));
            }
            let needed = best.gain();
            if gains[..count].iter().fold(false, |any, &gain| any | (gain > needed)) {
                let better = |top: usize, place: usize| if gains[place] > gains[top] { place } else { top };
                let top = (1..count).fold(0, better);
                let (gradient, hessian, count) = (gradients[top], hessians[top], counts[top]);
                let [left, right] = sides(Totals { gradient, hessian, count });
                let left_bins = up_to(bins[top] - usize::from(DOWN));
                let (feature, missing_left, gain) = (self.index, DOWN, gains[top]);
                best.split = Some(Split { feature, left_bins, missing_left, gain, left, right });
            }
            if sides(near)[usize::from(!DOWN)].too_small(&judge.limits) {
                break;
            }
        }
    }

    /// Categories in the order of their mean gradient, from both ends (Fisher, 1958).
    fn scan_categories(&self, best: &mut Best, judge: Judge) {
        let limits = &judge.limits;
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
                let gain = judge.gain([left, right]);
                if gain > best.gain() {
                    let missing_left = self.has_missing && contains(&set, missing);
                    best.split =
                        Some(Split { feature: self.index, left_bins: set, missing_left, gain, left, right });
                }
            }
        }
    }
}
