//! Growing a boosted tree leaf by leaf, the most gaining first, on histograms.

use super::binning::{Binned, Bins, Group};
use super::histogram::{FeatureSums, fill, subtract};
use super::split::{Feature, Limits, Monotonic, Split, Thresholds, Totals, contains};
use crate::classical::parallel;
use crate::classical::random;
use crate::classical::tree::Tree;
use crate::classical::tree::structure::Rule;
use fastrand::Rng;

/// How trees are grown.
#[derive(Debug, Clone)]
pub(super) struct Growth {
    pub max_leaf_nodes: usize,
    pub max_depth: usize,
    pub min_samples_leaf: usize,
    pub l2: f64,
    pub learning_rate: f64,
    /// How many features each split looks at.
    pub max_features: usize,
    /// One for each feature.
    pub monotonic: Vec<Monotonic>,
}

/// A leaf: its node, its rows (a range of [`Grown::rows`]), its value.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub node: usize,
    pub rows: std::ops::Range<usize>,
    pub value: f64,
}

/// A grown tree that has no values in its leaves yet.
pub(super) struct Grown {
    pub tree: Tree,
    pub leaves: Vec<Leaf>,
    /// The training rows in the order of the leaves.
    pub rows: Vec<u32>,
}

struct Node<const N: usize> {
    leaf: Leaf,
    depth: usize,
    totals: Totals,
    bounds: (f64, f64),
    histograms: Vec<FeatureSums<N>>,
    split: Option<Split>,
}

/// The memory of a thread that grows trees, kept from one tree to the next.
pub(super) struct Buffers<const N: usize> {
    histograms: Vec<Vec<FeatureSums<N>>>,
    ordered: Vec<[f32; 2]>,
    /// One for each group.
    thresholds: Vec<Thresholds>,
    scratch: Vec<u32>,
}

impl<const N: usize> Default for Buffers<N> {
    fn default() -> Self {
        Buffers { histograms: Vec::new(), ordered: Vec::new(), thresholds: Vec::new(), scratch: Vec::new() }
    }
}

struct Grower<'a, const N: usize> {
    binned: &'a Binned,
    growth: &'a Growth,
    gradients: &'a [[f32; 2]],
    buffers: &'a mut Buffers<N>,
    rng: &'a mut Rng,
    rows: Vec<u32>,
    tree: Tree,
}

/// Grows a tree on gradients and hessians of all rows; `N` is 2 where all hessians are 1, else 3.
pub(super) fn grow<const N: usize>(
    binned: &Binned,
    gradients: &[[f32; 2]],
    growth: &Growth,
    buffers: &mut Buffers<N>,
    rng: &mut Rng,
) -> Grown {
    let rows: Vec<u32> = (0..binned.rows as u32).collect();
    let mut grower = Grower { binned, growth, gradients, buffers, rng, rows, tree: Tree::new(1) };
    let mut open = vec![grower.root()];
    let mut closed = Vec::new();
    loop {
        // Of equal gains the node that came first.
        let mut best: Option<(usize, Split)> = None;
        for (index, node) in open.iter().enumerate() {
            if let Some(split) = node.split
                && best.is_none_or(|(_, best)| split.gain > best.gain)
            {
                best = Some((index, split));
            }
        }
        let room = open.len() + closed.len() < growth.max_leaf_nodes;
        let Some((index, split)) = best.filter(|_| room) else { break };
        let node = open.remove(index);
        let last = open.len() + closed.len() + 2 >= growth.max_leaf_nodes;
        for child in grower.split(node, split, last) {
            if child.split.is_some() {
                open.push(child);
            } else {
                closed.push(child.leaf);
                grower.buffers.histograms.extend((!child.histograms.is_empty()).then_some(child.histograms));
            }
        }
    }
    for node in open {
        closed.push(node.leaf);
        grower.buffers.histograms.push(node.histograms);
    }
    Grown { tree: grower.tree, leaves: closed, rows: grower.rows }
}

impl<const N: usize> Grower<'_, N> {
    fn limits(&self, bounds: (f64, f64)) -> Limits {
        Limits { min_samples_leaf: self.growth.min_samples_leaf as f64, l2: self.growth.l2, bounds }
    }

    fn root(&mut self) -> Node<N> {
        let mut totals = Totals { count: self.rows.len() as f64, ..Totals::default() };
        for &[gradient, hessian] in self.gradients {
            totals.gradient += f64::from(gradient);
            totals.hessian += f64::from(hessian);
        }
        let bounds = (f64::NEG_INFINITY, f64::INFINITY);
        let mut node = self.node(0..self.rows.len(), 0, totals, bounds);
        node.histograms = self.histograms();
        if self.rows.len() >= 2 * self.growth.min_samples_leaf {
            self.search(&mut node, None);
        }
        node
    }

    fn node(
        &mut self,
        rows: std::ops::Range<usize>,
        depth: usize,
        totals: Totals,
        bounds: (f64, f64),
    ) -> Node<N> {
        let value = totals.value(&self.limits(bounds));
        let node = self.tree.push_node(rows.len() as f64, rows.len());
        let leaf = Leaf { node, rows, value };
        Node { leaf, depth, totals, bounds, histograms: Vec::new(), split: None }
    }

    /// Histograms with any content.
    fn histograms(&mut self) -> Vec<FeatureSums<N>> {
        let features = self.binned.features.len();
        self.buffers.histograms.pop().unwrap_or_else(|| vec![[[0.0; N]; 256]; features])
    }

    /// Makes the split of a node, and finds those of its children unless they are the last leaves.
    fn split(&mut self, mut node: Node<N>, mut split: Split, last: bool) -> [Node<N>; 2] {
        let middle = self.partition(node.leaf.rows.clone(), &split);
        let (left, right) = (node.leaf.rows.start..middle, middle..node.leaf.rows.end);
        if !self.binned.has_missing[split.feature] {
            split.missing_left = left.len() > right.len();
        }
        let mut bounds = [node.bounds; 2];
        let limits = self.limits(node.bounds);
        let halfway = (split.left.value(&limits) + split.right.value(&limits)) / 2.0;
        match self.growth.monotonic[split.feature] {
            Monotonic::None => {}
            Monotonic::Increasing => (bounds[0].1, bounds[1].0) = (halfway, halfway),
            Monotonic::Decreasing => (bounds[0].0, bounds[1].1) = (halfway, halfway),
        }
        let depth = node.depth + 1;
        let rule = self.rule(&split);
        let mut left = self.node(left, depth, split.left, bounds[0]);
        let mut right = self.node(right, depth, split.right, bounds[1]);
        // Children are valued within the bounds of the node, as they were when the split was judged.
        (left.leaf.value, right.leaf.value) = (split.left.value(&limits), split.right.value(&limits));
        let (feature, missing_left) = (split.feature, split.missing_left);
        self.tree.set_split(node.leaf.node, left.leaf.node, feature, rule, missing_left, split.gain);
        let open = |node: &Node<N>| {
            !last && depth < self.growth.max_depth && node.leaf.rows.len() >= 2 * self.growth.min_samples_leaf
        };
        let histograms = std::mem::take(&mut node.histograms);
        if !open(&left) && !open(&right) {
            self.buffers.histograms.push(histograms);
            return [left, right];
        }
        let (small, large) = if left.leaf.rows.len() < right.leaf.rows.len() {
            (&mut left, &mut right)
        } else {
            (&mut right, &mut left)
        };
        large.histograms = histograms;
        small.histograms = self.histograms();
        self.search(small, Some(large));
        for child in [&mut left, &mut right] {
            if depth >= self.growth.max_depth || child.leaf.rows.len() < 2 * self.growth.min_samples_leaf {
                child.split = None;
            }
        }
        [left, right]
    }

    /// Fills the histograms of `small`, takes them from those of its parent, which `large` has, and finds
    /// the best split of both.
    fn search(&mut self, small: &mut Node<N>, mut large: Option<&mut Node<N>>) {
        let drawn = [self.draw(), self.draw()];
        let (binned, gradients) = (self.binned, self.gradients);
        let features = binned.features.len();
        let judged = |node: &Node<N>| (node.totals, node.leaf.value, self.limits(node.bounds));
        let nodes = [Some(judged(small)), large.as_deref().map(judged)];
        let rows = &self.rows[small.leaf.rows.clone()];
        let Buffers { ordered, thresholds, .. } = &mut *self.buffers;
        thresholds.resize_with(binned.groups.len(), Thresholds::default);
        let ordered = if rows.len() == gradients.len() {
            gradients
        } else {
            ordered.clear();
            ordered.extend(rows.iter().map(|&row| gradients[row as usize]));
            &ordered[..]
        };
        // The large child's histograms, in as many pieces as there are groups; empty without a parent.
        let mut large_pieces = pieces(binned, large.as_mut().map_or(&mut [], |node| &mut node.histograms));
        let small_pieces = pieces(binned, &mut small.histograms);
        large_pieces.resize_with(small_pieces.len(), Default::default);
        let tasks = binned.groups.iter().zip(thresholds).zip(small_pieces.into_iter().zip(large_pieces));
        let work = |((group, thresholds), (small, large)): ((&Group, &mut Thresholds), Pieces<'_, N>)| {
            let used = |place: usize| {
                let feature = group.first + place;
                binned.features[feature].count() + usize::from(binned.has_missing[feature])
            };
            for (place, sums) in small.iter_mut().enumerate() {
                sums[..used(place)].fill([0.0; N]);
            }
            fill(group, rows, ordered, small);
            let mut best: [Option<Split>; 2] = [None; 2];
            for place in 0..group.width {
                let index = group.first + place;
                if let Some(large) = large.get_mut(place) {
                    subtract(&mut large[..used(place)], &small[place][..used(place)]);
                }
                for (side, sums) in [Some(&small[place]), large.get(place)].into_iter().enumerate() {
                    let (Some(sums), Some((totals, value, limits))) = (sums, &nodes[side]) else { continue };
                    if !drawn[side][index] {
                        continue;
                    }
                    let feature = Feature {
                        index,
                        bins: &binned.features[index],
                        has_missing: binned.has_missing[index],
                        monotonic: self.growth.monotonic[index],
                        sums,
                    };
                    best[side] = better(best[side], feature.best(*totals, *value, limits, thresholds));
                }
            }
            best
        };
        let size = (2 * rows.len() + 4 * 256) * features;
        let reduce = |a: [Option<Split>; 2], b: [Option<Split>; 2]| [better(a[0], b[0]), better(a[1], b[1])];
        let best = parallel::map(size, tasks, work).into_iter().fold([None; 2], reduce);
        small.split = best[0];
        if let Some(large) = large {
            large.split = best[1];
        }
    }

    /// Which features a split may use.
    fn draw(&mut self) -> Vec<bool> {
        let features = self.binned.features.len();
        let mut drawn = vec![self.growth.max_features >= features; features];
        if self.growth.max_features < features {
            let order = random::permutation(self.rng, features);
            order[..self.growth.max_features].iter().for_each(|&feature| drawn[feature] = true);
        }
        drawn
    }

    /// Moves the rows that go left before those that go right, each in their order; where the right begins.
    fn partition(&mut self, rows: std::ops::Range<usize>, split: &Split) -> usize {
        let (bins, place, width) = self.binned.feature(split.feature);
        let missing = self.binned.features[split.feature].count();
        let mut goes_left = [false; 256];
        for (bin, left) in (0..=255).zip(&mut goes_left) {
            *left = split.goes_left(bin, missing);
        }
        let rows_here = &mut self.rows[rows.clone()];
        let scratch = &mut self.buffers.scratch;
        scratch.resize(rows_here.len(), 0);
        let (mut left, mut right) = (0, 0);
        for at in 0..rows_here.len() {
            let row = rows_here[at];
            // Both are written and one is kept: which one is hard to foresee, so no branch.
            let goes_left = goes_left[usize::from(bins[row as usize * width + place])];
            rows_here[left] = row;
            scratch[right] = row;
            left += usize::from(goes_left);
            right += usize::from(!goes_left);
        }
        rows_here[left..].copy_from_slice(&scratch[..right]);
        rows.start + left
    }

    fn rule(&self, split: &Split) -> Rule {
        match &self.binned.features[split.feature] {
            Bins::Numbers(thresholds) => {
                let left: u32 = split.left_bins.iter().map(|word| word.count_ones()).sum();
                // Past the last threshold only missing values go right.
                Rule::Threshold(thresholds.get(left as usize - 1).copied().unwrap_or(f64::INFINITY))
            }
            Bins::Categories(codes) => {
                // Categories that were not seen go where missing values go.
                let mut set = if split.missing_left { [u64::MAX; 4] } else { [0; 4] };
                for (bin, &code) in codes.iter().enumerate() {
                    let (word, bit) = (usize::from(code) / 64, code % 64);
                    let left = u64::from(contains(&split.left_bins, bin));
                    set[word] = set[word] & !(1 << bit) | left << bit;
                }
                Rule::Categories(set)
            }
        }
    }
}

/// What growing the trees of a round takes: a tree adds up its rows a few times, and looks at the bins of two
/// children for each of its splits.
pub(super) fn work(binned: &Binned, growth: &Growth, outputs: usize) -> usize {
    let splits = growth.max_leaf_nodes.min(binned.rows / growth.min_samples_leaf);
    outputs * binned.features.len() * (4 * binned.rows + 512 * splits)
}

/// The better of two splits, of equal ones that of the first feature.
fn better(a: Option<Split>, b: Option<Split>) -> Option<Split> {
    match (a, b) {
        (Some(a), Some(b)) if b.gain > a.gain || (b.gain == a.gain && b.feature < a.feature) => Some(b),
        (None, b) => b,
        (a, _) => a,
    }
}

/// A group's histograms of the small child and of the large one.
type Pieces<'a, const N: usize> = (&'a mut [FeatureSums<N>], &'a mut [FeatureSums<N>]);

/// The histograms of each group.
fn pieces<'a, const N: usize>(
    binned: &Binned,
    mut histograms: &'a mut [FeatureSums<N>],
) -> Vec<&'a mut [FeatureSums<N>]> {
    let mut pieces = Vec::with_capacity(binned.groups.len());
    for group in &binned.groups {
        if histograms.is_empty() {
            break;
        }
        let (piece, rest) = histograms.split_at_mut(group.width);
        pieces.push(piece);
        histograms = rest;
    }
    pieces
}
