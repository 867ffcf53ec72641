//! Growing a tree: depth first, or best first where the number of leaves is limited.

use super::columns::Column;
use super::criterion::Criterion;
use super::prune;
use super::search::{Found, Rules, Search};
use super::structure::{Rule, Tree};
use fastrand::Rng;
use std::collections::BinaryHeap;

/// What trees of every kind are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    pub max_depth: Option<usize>,
    pub min_samples_split: usize,
    pub min_samples_leaf: usize,
    pub min_weight_fraction_leaf: f64,
    /// How many features a split looks at.
    pub max_features: usize,
    pub max_leaf_nodes: Option<usize>,
    pub min_impurity_decrease: f64,
    pub ccp_alpha: f64,
    pub random_thresholds: bool,
}

/// A node that has a split to be made.
struct Candidate {
    /// Whose turn is next: the gain, or the time of appearance.
    priority: f64,
    node: usize,
    depth: usize,
    start: usize,
    end: usize,
    found: Found,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> std::cmp::Ordering {
        self.priority.total_cmp(&other.priority).then_with(|| other.node.cmp(&self.node))
    }
}

struct Grower<'a, C> {
    search: Search<'a, C>,
    growth: Growth,
    columns: &'a [Column],
    weights: &'a [f64],
    total: f64,
    rng: &'a mut Rng,
    samples: Vec<u32>,
    scratch: Vec<u32>,
    tree: Tree,
    /// What each node would predict as a leaf.
    values: Vec<f64>,
    candidates: BinaryHeap<Candidate>,
}

/// Grows a tree on the rows that have a weight above 0; there is at least one.
pub(super) fn grow<C: Criterion>(
    columns: &[Column],
    weights: &[f64],
    criterion: C,
    growth: Growth,
    rng: &mut Rng,
) -> Tree {
    let samples: Vec<u32> = (0..weights.len() as u32).filter(|&row| weights[row as usize] > 0.0).collect();
    let total = weights.iter().sum();
    let rules = Rules {
        min_samples_leaf: growth.min_samples_leaf,
        min_weight_leaf: growth.min_weight_fraction_leaf * total,
        max_features: growth.max_features,
        random_thresholds: growth.random_thresholds,
    };
    let outputs = criterion.outputs();
    let mut grower = Grower {
        search: Search::new(columns, criterion, rules),
        growth,
        columns,
        weights,
        total,
        rng,
        scratch: Vec::new(),
        tree: Tree::new(outputs),
        values: Vec::new(),
        candidates: BinaryHeap::new(),
        samples,
    };
    grower.add(0, 0, grower.samples.len());
    let mut leaves = 1;
    while leaves < growth.max_leaf_nodes.unwrap_or(usize::MAX)
        && let Some(candidate) = grower.candidates.pop()
    {
        grower.split(&candidate);
        leaves += 1;
    }
    prune::finish(grower.tree, &grower.values, growth.ccp_alpha * total)
}

impl<C: Criterion> Grower<'_, C> {
    /// Appends the node of these samples, and a candidate if it can be split.
    fn add(&mut self, depth: usize, start: usize, end: usize) {
        let growth = self.growth;
        let samples = &self.samples[start..end];
        self.search.criterion.load(samples);
        self.search.criterion.push_value(&mut self.values);
        let weight = samples.iter().map(|&row| self.weights[row as usize]).sum();
        let node = self.tree.push_node(weight, samples.len());
        let leaf = growth.max_depth.is_some_and(|max_depth| depth >= max_depth)
            || samples.len() < growth.min_samples_split
            || samples.len() < 2 * growth.min_samples_leaf
            || weight < 2.0 * growth.min_weight_fraction_leaf * self.total
            || self.search.criterion.pure();
        if leaf {
            return;
        }
        let Some(found) = self.search.best(samples, self.rng) else { return };
        if found.gain / self.total + f64::EPSILON < growth.min_impurity_decrease {
            return;
        }
        let priority = if growth.max_leaf_nodes.is_some() { found.gain } else { node as f64 };
        self.candidates.push(Candidate { priority, node, depth, start, end, found });
    }

    fn split(&mut self, candidate: &Candidate) {
        let Candidate { node, depth, start, end, found, .. } = *candidate;
        let ranks = &self.columns[found.feature].ranks;
        self.scratch.resize(self.samples.len(), 0);
        let (mut middle, mut right) = (start, 0);
        for at in start..end {
            let row = self.samples[at];
            // Both are written and one is kept: which one is hard to foresee, so no branch.
            let left = found.left(ranks[row as usize]);
            self.samples[middle] = row;
            self.scratch[right] = row;
            middle += usize::from(left);
            right += usize::from(!left);
        }
        self.samples[middle..end].copy_from_slice(&self.scratch[..right]);
        let left = self.tree.n_nodes();
        self.add(depth + 1, start, middle);
        self.add(depth + 1, middle, end);
        let Found { feature, threshold, missing_left, gain, .. } = found;
        self.tree.set_split(node, left, feature, Rule::Threshold(threshold), missing_left, gain);
    }
}
