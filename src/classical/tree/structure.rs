//! The grown tree, shared by decision trees, forests, boosting and isolation forests.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// The feature of a node that has no children.
const LEAF: u32 = u32::MAX;
/// The category set of a node that splits by a threshold.
const NO_SET: u32 = u32::MAX;

/// A node as predictions need it: 24 bytes. The right child follows the left one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Node {
    threshold: f64,
    feature: u32,
    /// The left child; of a leaf, its index among the values.
    left: u32,
    set: u32,
    missing_left: bool,
}

/// What a node saw at the fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Seen {
    gain: f64,
    weight: f64,
    samples: u32,
}

/// The categories, by code, that go to the left child.
pub(crate) type CategorySet = [u64; 4];

/// Whether `value` is in the set; `None` if it is no category's code.
fn in_set(set: &CategorySet, value: f64) -> Option<bool> {
    let code = value as usize;
    (code as f64 == value && code < 256).then(|| set[code / 64] >> (code % 64) & 1 == 1)
}

/// How the rows of a node part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    /// Left if the value is at most this.
    Threshold(f64),
    /// Left if the value is one of these categories.
    Categories(CategorySet),
}

/// A fitted binary tree. Nodes are numbered from the root, 0; children follow their parent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tree {
    nodes: Vec<Node>,
    seen: Vec<Seen>,
    sets: Vec<CategorySet>,
    /// `outputs` numbers for each leaf.
    values: Vec<f64>,
    outputs: usize,
}

impl Tree {
    /// A tree without nodes, whose leaves will hold `outputs` numbers.
    pub(crate) fn new(outputs: usize) -> Tree {
        Tree { outputs, ..Tree::default() }
    }

    /// Appends a node that becomes a leaf or a split later.
    pub(crate) fn push_node(&mut self, weight: f64, samples: usize) -> usize {
        self.nodes.push(Node { threshold: 0.0, feature: LEAF, left: 0, set: NO_SET, missing_left: false });
        self.seen.push(Seen { gain: 0.0, weight, samples: samples as u32 });
        self.nodes.len() - 1
    }

    /// Makes a node a leaf with this value.
    pub(crate) fn set_leaf(&mut self, node: usize, value: &[f64]) {
        self.nodes[node].left = (self.values.len() / self.outputs) as u32;
        self.values.extend_from_slice(value);
    }

    /// Makes a node a split; its children are the last two nodes appended.
    pub(crate) fn set_split(
        &mut self,
        node: usize,
        left: usize,
        feature: usize,
        rule: Rule,
        missing_left: bool,
        gain: f64,
    ) {
        let (threshold, set) = match rule {
            Rule::Threshold(threshold) => (threshold, NO_SET),
            Rule::Categories(set) => {
                self.sets.push(set);
                (0.0, self.sets.len() as u32 - 1)
            }
        };
        self.nodes[node] = Node { threshold, feature: feature as u32, left: left as u32, set, missing_left };
        self.seen[node].gain = gain;
    }

    /// Whether every node but the root is the child of one before it, so that every way from the root ends in
    /// a leaf, and asks for a column below `features`; and whether leaves hold `outputs` numbers.
    pub(crate) fn fits(&self, features: usize, outputs: usize) -> bool {
        let count = self.nodes.len();
        let mut has_parent = vec![false; count];
        let mut adopt =
            |child: usize| has_parent.get_mut(child).is_some_and(|has| !std::mem::replace(has, true));
        let leaves = self.values.len().checked_div(outputs).unwrap_or(0);
        let sound = |(at, node): (usize, &Node)| {
            let left = node.left as usize;
            if node.feature == LEAF {
                return left < leaves;
            }
            (node.feature as usize) < features
                && (node.set == NO_SET || (node.set as usize) < self.sets.len())
                && left > at
                && adopt(left)
                && adopt(left + 1)
        };
        self.outputs == outputs
            && self.seen.len() == count
            && self.nodes.iter().enumerate().all(sound)
            && has_parent.iter().skip(1).all(|&has| has)
            && count > 0
    }

    /// How many nodes there are, leaves included.
    pub fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The bytes that predictions may look at.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.nodes.as_slice()) + size_of_val(self.values.as_slice())
    }

    /// How many leaves there are.
    pub fn n_leaves(&self) -> usize {
        self.nodes.len().div_ceil(2)
    }

    /// How many numbers a leaf holds.
    pub fn n_outputs(&self) -> usize {
        self.outputs
    }

    /// The length of the longest way from the root to a leaf, in splits.
    pub fn depth(&self) -> usize {
        let mut depths = vec![0; self.nodes.len()];
        for node in 0..self.nodes.len() {
            if let Some((left, right)) = self.children(node) {
                depths[left] = depths[node] + 1;
                depths[right] = depths[node] + 1;
            }
        }
        depths.into_iter().max().unwrap_or_default()
    }

    /// The children of a node, or `None` for a leaf.
    ///
    /// # Panics
    /// If the tree has no such node.
    pub fn children(&self, node: usize) -> Option<(usize, usize)> {
        let node = self.nodes[node];
        (node.feature != LEAF).then_some((node.left as usize, node.left as usize + 1))
    }

    /// The feature that a node asks for, or `None` for a leaf.
    ///
    /// # Panics
    /// If the tree has no such node.
    pub fn feature(&self, node: usize) -> Option<usize> {
        let feature = self.nodes[node].feature;
        (feature != LEAF).then_some(feature as usize)
    }

    /// The value up to which rows go to the left child; `None` for leaves and splits by category.
    ///
    /// # Panics
    /// If the tree has no such node.
    pub fn threshold(&self, node: usize) -> Option<f64> {
        let node = self.nodes[node];
        (node.feature != LEAF && node.set == NO_SET).then_some(node.threshold)
    }

    /// The category codes that go to the left child, of a split by category.
    ///
    /// # Panics
    /// If the tree has no such node.
    pub fn categories(&self, node: usize) -> Option<Vec<usize>> {
        let set = self.sets.get(self.nodes[node].set as usize)?;
        Some((0..256).filter(|&code| in_set(set, code as f64) == Some(true)).collect())
    }

    /// Whether rows without a value go to the left child.
    ///
    /// # Panics
    /// If the tree has no such node.
    pub fn missing_left(&self, node: usize) -> bool {
        self.nodes[node].missing_left
    }

    /// How many training rows reached a node.
    ///
    /// # Panics
    /// If the tree has no such node.
    pub fn samples(&self, node: usize) -> usize {
        self.seen[node].samples as usize
    }

    /// The weight of the training rows that reached a node.
    ///
    /// # Panics
    /// If the tree has no such node.
    pub fn weight(&self, node: usize) -> f64 {
        self.seen[node].weight
    }

    /// By how much a split lowered the loss of its rows (weight times impurity); 0 for a leaf.
    ///
    /// # Panics
    /// If the tree has no such node.
    pub fn gain(&self, node: usize) -> f64 {
        self.seen[node].gain
    }

    /// What a leaf predicts, [`Tree::n_outputs`] numbers; `None` for a split.
    ///
    /// # Panics
    /// If the tree has no such node.
    pub fn value(&self, node: usize) -> Option<&[f64]> {
        let node = self.nodes[node];
        (node.feature == LEAF).then(|| self.leaf_value(node))
    }

    fn leaf_value(&self, leaf: Node) -> &[f64] {
        let at = leaf.left as usize * self.outputs;
        &self.values[at..at + self.outputs]
    }

    /// The child that a row goes to.
    #[inline(always)]
    fn next(&self, node: Node, value: f64) -> u32 {
        let right = if node.set == NO_SET {
            (value > node.threshold) | (value.is_nan() & !node.missing_left)
        } else {
            !in_set(&self.sets[node.set as usize], value).unwrap_or(node.missing_left)
        };
        node.left + u32::from(right)
    }

    /// The child of a split that a row goes to.
    pub(crate) fn child(&self, node: usize, row: &[f64]) -> usize {
        let node = self.nodes[node];
        self.next(node, row[node.feature as usize]) as usize
    }

    /// The leaf that a row ends in; the row has all of the tree's features.
    pub(crate) fn leaf(&self, row: &[f64]) -> usize {
        let mut at = 0;
        loop {
            let node = self.nodes[at as usize];
            if node.feature == LEAF {
                return at as usize;
            }
            at = self.next(node, row[node.feature as usize]);
        }
    }

    /// Calls `take` with each row's number, in no certain order, and the value of its leaf. A few rows go down
    /// at a time, so that one waits for memory while another moves; the next row follows where one is done.
    pub(crate) fn each_value(&self, rows: ArrayView2<'_, f64>, mut take: impl FnMut(usize, &[f64])) {
        const LANES: usize = 8;
        let (count, columns) = rows.dim();
        let Some(flat) = rows.to_slice() else {
            rows.rows().into_iter().enumerate().for_each(|(index, row)| {
                take(index, self.leaf_value(self.nodes[self.leaf(&row.to_vec())]));
            });
            return;
        };
        // The row of each lane, and the node it is at.
        let mut lanes: [(usize, u32); LANES] = std::array::from_fn(|lane| (lane, 0));
        let (mut live, mut next) = (count.min(LANES), count.min(LANES));
        while live > 0 {
            let mut lane = 0;
            while lane < live {
                let (row, at) = lanes[lane];
                let node = self.nodes[at as usize];
                if node.feature != LEAF {
                    lanes[lane].1 = self.next(node, flat[row * columns + node.feature as usize]);
                    lane += 1;
                    continue;
                }
                take(row, self.leaf_value(node));
                if next < count {
                    lanes[lane] = (next, 0);
                    next += 1;
                } else {
                    live -= 1;
                    lanes[lane] = lanes[live];
                }
            }
        }
    }

    /// Adds each split's gain to its feature's.
    pub(crate) fn add_gains(&self, gains: &mut [f64]) {
        for (node, seen) in self.nodes.iter().zip(&self.seen).filter(|(node, _)| node.feature != LEAF) {
            gains[node.feature as usize] += seen.gain;
        }
    }

    /// Changes every leaf's value.
    pub(crate) fn map_values(&mut self, change: impl FnMut(&mut f64)) {
        self.values.iter_mut().for_each(change);
    }

    /// The tree as indented text, a line a node, with these names of features.
    pub(crate) fn text(&self, names: &[String], leaf: &dyn Fn(&[f64]) -> String) -> String {
        let mut text = String::new();
        let mut pending = vec![(0, 0, String::new())];
        while let Some((node, depth, condition)) = pending.pop() {
            if !condition.is_empty() {
                text += &format!("{}|--- {condition}\n", "|   ".repeat(depth - 1));
            }
            let indent = "|   ".repeat(depth);
            let Some((left, right)) = self.children(node) else {
                let value = self.leaf_value(self.nodes[node]);
                text += &format!("{indent}|--- {}\n", leaf(value));
                continue;
            };
            let name = &names[self.nodes[node].feature as usize];
            let (yes, no) = match self.categories(node) {
                None => {
                    let threshold = self.nodes[node].threshold;
                    (format!("{name} <= {threshold:.2}"), format!("{name} >  {threshold:.2}"))
                }
                Some(codes) => (format!("{name} in {codes:?}"), format!("{name} not in {codes:?}")),
            };
            pending.push((right, depth + 1, no));
            pending.push((left, depth + 1, yes));
        }
        text
    }
}

/// Gains as shares of their sum; all 0 if there was no gain.
pub(crate) fn shares(mut gains: Vec<f64>) -> Vec<f64> {
    let total: f64 = gains.iter().sum();
    if total > 0.0 {
        gains.iter_mut().for_each(|gain| *gain /= total);
    }
    gains
}
