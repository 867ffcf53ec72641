//! The search for a node's best split, over all thresholds or over one random threshold a feature.

use super::columns::{Column, MISSING};
use super::criterion::Criterion;
use fastrand::Rng;

/// So many samples are asked on which side of a threshold they are sooner than the column's values between
/// them are searched for it.
const FEW_SAMPLES: usize = 16;

/// A split that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub feature: usize,
    /// Samples of this rank or a lower one go left.
    pub rank: u32,
    pub threshold: f64,
    pub missing_left: bool,
    /// What the criterion gains.
    pub gain: f64,
}

impl Found {
    /// Whether a sample goes to the left.
    #[inline(always)]
    pub fn left(&self, rank: u32) -> bool {
        (rank <= self.rank) | (rank == MISSING) & self.missing_left
    }
}

/// What both children of a split must have, and how features are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub min_samples_leaf: usize,
    pub min_weight_leaf: f64,
    pub max_features: usize,
    pub random_thresholds: bool,
}

/// Searches nodes one after another; its buffers are kept between them.
pub(super) struct Search<'a, C> {
    columns: &'a [Column],
    pub criterion: C,
    rules: Rules,
    features: Vec<u32>,
    /// Rank and position of each sample, `rank << 32 | position`.
    pairs: Vec<u64>,
    sorted: Vec<u64>,
}

impl<'a, C: Criterion> Search<'a, C> {
    pub fn new(columns: &'a [Column], criterion: C, rules: Rules) -> Self {
        let features = (0..columns.len() as u32).collect();
        Search { columns, criterion, rules, features, pairs: Vec::new(), sorted: Vec::new() }
    }

    /// The best split of the samples that the criterion has loaded. At least `max_features` features are
    /// looked at, in random order, and more until one of them is not constant.
    pub fn best(&mut self, samples: &[u32], rng: &mut Rng) -> Option<Found> {
        let (mut best, mut best_score, mut varied) = (None, f64::NEG_INFINITY, false);
        for drawn in 0..self.features.len() {
            if drawn >= self.rules.max_features && varied {
                break;
            }
            let other = rng.usize(drawn..self.features.len());
            self.features.swap(drawn, other);
            let feature = self.features[drawn] as usize;
            let Some(range) = self.gather(feature, samples) else { continue };
            varied = true;
            let found = if self.rules.random_thresholds {
                self.random(feature, range, rng)
            } else {
                sort(&mut self.pairs, &mut self.sorted, range);
                self.exhaustive(feature)
            };
            if let Some((score, found)) = found.filter(|(score, _)| *score > best_score) {
                (best_score, best) = (score, Some(found));
            }
        }
        let gain = best_score - self.criterion.parent_score();
        best.map(|found| Found { gain, ..found })
    }

    /// Fills `pairs`; the lowest and highest rank present, or `None` if the feature is constant.
    fn gather(&mut self, feature: usize, samples: &[u32]) -> Option<(u32, u32)> {
        let ranks = &self.columns[feature].ranks;
        let (mut low, mut high) = (MISSING, 0);
        self.pairs.clear();
        self.pairs.extend(samples.iter().zip(0_u64..).map(|(&row, position)| {
            let rank = ranks[row as usize];
            (low, high) = (low.min(rank), high.max(rank));
            u64::from(rank) << 32 | position
        }));
        (low < high).then_some((low, high))
    }

    fn allowed(&self, left: usize) -> bool {
        let Rules { min_samples_leaf, min_weight_leaf, .. } = self.rules;
        let (left_weight, right_weight) = self.criterion.weights();
        left >= min_samples_leaf
            && self.pairs.len() - left >= min_samples_leaf
            && left_weight >= min_weight_leaf
            && right_weight >= min_weight_leaf
    }

    /// The best threshold of a feature whose pairs are sorted, so missing values are last.
    fn exhaustive(&mut self, feature: usize) -> Option<(f64, Found)> {
        let column = &self.columns[feature];
        let present = self.pairs.partition_point(|&pair| rank(pair) != MISSING);
        let missing = self.pairs.len() - present;
        let (mut best, mut best_score) = (None, f64::NEG_INFINITY);
        for missing_left in [false, true].into_iter().take(if missing > 0 { 2 } else { 1 }) {
            self.criterion.reset();
            let mut left = 0;
            if missing_left {
                self.pairs[present..].iter().for_each(|&pair| self.criterion.move_left(position(pair)));
                left = missing;
            }
            for at in 0..present {
                self.criterion.move_left(position(self.pairs[at]));
                left += 1;
                let here = rank(self.pairs[at]);
                // The last value parts from missing ones only, and those may be on the left already.
                let next = self.pairs.get(at + 1).map_or(MISSING, |&pair| rank(pair));
                if next == here || (next == MISSING && (missing_left || missing == 0)) {
                    continue;
                }
                if !self.allowed(left) {
                    continue;
                }
                let score = self.criterion.score();
                if score > best_score {
                    // Where no value is missing, later ones go where most samples went.
                    let missing_left = if missing > 0 { missing_left } else { 2 * left > self.pairs.len() };
                    (best_score, best) = (score, Some((here, next, missing_left)));
                }
            }
        }
        let (rank, next, missing_left) = best?;
        let threshold = if next == MISSING { f64::INFINITY } else { column.between(rank, next) };
        Some((best_score, Found { feature, rank, threshold, missing_left, gain: 0.0 }))
    }

    /// A threshold drawn uniformly between the lowest and the highest value.
    fn random(&mut self, feature: usize, (low, high): (u32, u32), rng: &mut Rng) -> Option<(f64, Found)> {
        let column = &self.columns[feature];
        let missing = high == MISSING;
        let present = self.pairs.iter().map(|&pair| rank(pair)).filter(|&rank| rank != MISSING);
        let top = if missing { present.max().unwrap_or(low) } else { high };
        let (from, to) = (column.values[low as usize], column.values[top as usize]);
        let (mut threshold, mut cut) = (f64::INFINITY, top);
        if low < top {
            let share = rng.f64();
            threshold = (from * (1.0 - share) + to * share).max(from);
            if threshold >= to {
                threshold = from;
            }
            cut = if self.pairs.len() <= FEW_SAMPLES {
                let below = |&at: &u32| at != MISSING && column.values[at as usize] <= threshold;
                self.pairs.iter().map(|&pair| rank(pair)).filter(below).max().unwrap_or(low)
            } else {
                let values = &column.values[low as usize..top as usize];
                low + values.partition_point(|&value| value <= threshold) as u32 - 1
            };
        }
        let mut found = Found { feature, rank: cut, threshold, missing_left: false, gain: 0.0 };
        found.missing_left = missing && low < top && rng.bool();
        self.criterion.reset();
        // Every pair is written and those on the left are kept: which they are is hard to foresee, so no
        // branch.
        let mut left = 0;
        self.sorted.resize(self.pairs.len(), 0);
        for &pair in &self.pairs {
            self.sorted[left] = pair;
            left += usize::from(found.left(rank(pair)));
        }
        self.sorted[..left].iter().for_each(|&pair| self.criterion.move_left(position(pair)));
        if !missing {
            found.missing_left = 2 * left > self.pairs.len();
        }
        self.allowed(left).then(|| (self.criterion.score(), found))
    }
}

#[inline(always)]
fn rank(pair: u64) -> u32 {
    (pair >> 32) as u32
}

#[inline(always)]
fn position(pair: u64) -> usize {
    pair as u32 as usize
}

/// Sorts pairs whose ranks are between these two; missing values are last. Many pairs are sorted by
/// counting, in as few passes over their ranks as their range needs.
fn sort(pairs: &mut Vec<u64>, scratch: &mut Vec<u64>, (low, high): (u32, u32)) {
    const FEW: usize = 192;
    const MAX_BITS: u32 = 11;
    if pairs.len() < FEW {
        pairs.sort_unstable();
        return;
    }
    let mut missing = Vec::new();
    let mut range = high - low;
    if high == MISSING {
        missing.extend(pairs.iter().copied().filter(|&pair| rank(pair) == MISSING));
        pairs.retain(|&pair| rank(pair) != MISSING);
        range = pairs.iter().map(|&pair| rank(pair)).max().map_or(0, |top| top - low);
    }
    let bits = u32::BITS - range.leading_zeros();
    let passes = if range as usize <= 2 * pairs.len() { 1 } else { bits.div_ceil(MAX_BITS) };
    let digit = bits.div_ceil(passes.max(1));
    scratch.resize(pairs.len(), 0);
    let mut starts = vec![0_u32; 1 << digit];
    for pass in 0..passes {
        let bucket = |pair: u64| ((rank(pair) - low) >> (pass * digit) & ((1 << digit) - 1)) as usize;
        starts.fill(0);
        pairs.iter().for_each(|&pair| starts[bucket(pair)] += 1);
        let mut start = 0;
        for count in &mut starts {
            start += std::mem::replace(count, start);
        }
        for &pair in pairs.iter() {
            let at = &mut starts[bucket(pair)];
            scratch[*at as usize] = pair;
            *at += 1;
        }
        std::mem::swap(pairs, scratch);
    }
    pairs.append(&mut missing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_sorts_any_range() {
        for range in [1, 5, 300, 4_000, 5_000_000] {
            let mut rng = Rng::with_seed(u64::from(range));
            let ranks = (0..1000).map(|_| if rng.u8(..) == 0 { MISSING } else { 7 + rng.u32(..=range) });
            let mut pairs: Vec<u64> =
                ranks.zip(0..).map(|(rank, position)| u64::from(rank) << 32 | position).collect();
            let low = pairs.iter().map(|&pair| rank(pair)).min().unwrap_or_default();
            let high = pairs.iter().map(|&pair| rank(pair)).max().unwrap_or_default();
            let mut expected = pairs.clone();
            expected.sort();
            sort(&mut pairs, &mut Vec::new(), (low, high));
            assert_eq!(pairs, expected, "range {range}");
        }
    }
}
