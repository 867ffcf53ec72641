//! Isolation forest (Liu, Ting and Zhou: Isolation-Based Anomaly Detection, 2012): rows that random splits
//! set apart early are outliers.

use crate::Result;
use crate::classical::data::{Matrix, Training};
use crate::classical::estimator::{FitOutlierDetector, OutlierDetector};
use crate::classical::parallel;
use crate::classical::params::params;
use crate::classical::random;
use crate::classical::tree::settings::tree_model;
use crate::classical::tree::structure::Rule;
use crate::classical::tree::{Tree, add_values};
use fastrand::Rng;
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// A fitted isolation forest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IsolationForest {
    n_features: usize,
    /// Leaves hold the expected length of the way to a single row.
    trees: Vec<Tree>,
    /// The mean length of the way in a tree of as many rows.
    usual: f64,
    offset: f64,
}

params! {
    /// Parameters of [`IsolationForest`].
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let mut x = Array2::from_shape_fn((100, 2), |(row, column)| (row * (column + 3)) as f64 % 7.0);
    /// x[[50, 0]] = 60.0;
    /// let model = IsolationForest::params().contamination(0.01).fit(&x)?;
    /// assert_eq!(model.predict(&x)?[50], -1);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    IsolationForestParams for IsolationForest = "IsolationForest" {
        /// How many trees there are.
        n_estimators: usize = 100,
        /// How many rows each tree is grown on, drawn without replacement; all if there are fewer.
        max_samples: usize = 256,
        /// The share of outliers in the training rows, above 0 and at most 0.5, which decides from which
        /// score on a row is one; with `None` it is the score of -0.5 of the paper.
        contamination: Option<f64> = None,
        /// Seed of the rows and splits.
        seed: u64 = 0,
    }

    fn accepts(&self) -> crate::classical::Accepts {
        crate::classical::Accepts { missing: true, ..crate::classical::Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if self.n_estimators == 0 || self.max_samples == 0 {
            let (trees, rows) = (self.n_estimators, self.max_samples);
            return Err(Self::error(format!("n_estimators is {trees}, max_samples {rows}; they must be 1 or more")));
        }
        match self.contamination {
            Some(share) if !(share > 0.0 && share <= 0.5) => {
                Err(Self::error(format!("contamination is {share}; it must be above 0 and at most 0.5")))
            }
            _ => Ok(()),
        }
    }
}

/// The mean length of the way to a row in a tree grown until rows are alone: that of an unsuccessful
/// search in a binary search tree.
fn mean_path(rows: f64) -> f64 {
    const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;
    match rows {
        rows if rows <= 1.0 => 0.0,
        rows if rows <= 2.0 => 1.0,
        rows => 2.0 * ((rows - 1.0).ln() + EULER_GAMMA) - 2.0 * (rows - 1.0) / rows,
    }
}

/// Grows a tree by random splits until rows are alone, alike, or `max_depth` deep.
fn grow(x: ArrayView2<'_, f64>, mut rows: Vec<usize>, max_depth: usize, rng: &mut Rng) -> Tree {
    let mut tree = Tree::new(1);
    tree.push_node(rows.len() as f64, rows.len());
    let mut pending = vec![(0, 0, 0, rows.len())];
    while let Some((node, depth, start, end)) = pending.pop() {
        let samples = &mut rows[start..end];
        let split = if depth < max_depth && samples.len() > 1 { draw(x, samples, rng) } else { None };
        let Some((feature, threshold, missing_left)) = split else {
            tree.set_leaf(node, &[depth as f64 + mean_path(samples.len() as f64)]);
            continue;
        };
        let left = |row: usize| {
            let value = x[[row, feature]];
            if value.is_nan() { missing_left } else { value <= threshold }
        };
        let mut middle = 0;
        for at in 0..samples.len() {
            if left(samples[at]) {
                samples.swap(middle, at);
                middle += 1;
            }
        }
        let first = tree.push_node(middle as f64, middle);
        tree.push_node((samples.len() - middle) as f64, samples.len() - middle);
        tree.set_split(node, first, feature, Rule::Threshold(threshold), missing_left, 0.0);
        pending.push((first + 1, depth + 1, start + middle, end));
        pending.push((first, depth + 1, start, start + middle));
    }
    tree
}

/// A random feature that is not constant, a random threshold, and the side of missing values.
fn draw(x: ArrayView2<'_, f64>, samples: &[usize], rng: &mut Rng) -> Option<(usize, f64, bool)> {
    let mut features: Vec<usize> = (0..x.ncols()).collect();
    for drawn in 0..features.len() {
        let other = rng.usize(drawn..features.len());
        features.swap(drawn, other);
        let feature = features[drawn];
        let (mut low, mut high, mut missing) = (f64::INFINITY, f64::NEG_INFINITY, 0);
        for &row in samples {
            let value = x[[row, feature]];
            if value.is_nan() {
                missing += 1;
            } else {
                (low, high) = (low.min(value), high.max(value));
            }
        }
        if low < high {
            let share = rng.f64();
            let threshold = (low * (1.0 - share) + high * share).max(low);
            return Some((feature, if threshold < high { threshold } else { low }, rng.bool()));
        }
        if missing > 0 && missing < samples.len() {
            return Some((feature, f64::INFINITY, false));
        }
    }
    None
}

impl FitOutlierDetector for IsolationForestParams {
    type Model = IsolationForest;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<IsolationForest> {
        let x = data.x.dense();
        let candidates: Vec<usize> = (0..x.nrows()).filter(|&row| data.weight(row) > 0.0).collect();
        let count = self.max_samples.min(candidates.len());
        let max_depth = (count.max(2) as f64).log2().ceil() as usize;
        let tree = |index: usize| {
            let mut rng = random::stream(self.seed, index);
            let mut rows = candidates.clone();
            for place in 0..count {
                let other = rng.usize(place..rows.len());
                rows.swap(place, other);
            }
            rows.truncate(count);
            grow(x.view(), rows, max_depth, &mut rng)
        };
        let trees =
            parallel::map(self.n_estimators * (candidates.len() + 64 * count), 0..self.n_estimators, tree);
        let usual = mean_path(count as f64);
        let mut model = IsolationForest { n_features: x.ncols(), trees, usual, offset: -0.5 };
        if let Some(share) = self.contamination {
            let mut scores = model.raw_scores(x.view());
            scores.sort_unstable_by(f64::total_cmp);
            let place = share * (scores.len() - 1) as f64;
            let (below, above) = (scores[place as usize], scores[place.ceil() as usize]);
            model.offset = below + (above - below) * place.fract();
        }
        Ok(model)
    }
}

impl IsolationForest {
    /// The fitted trees; their leaves hold the expected length of the way to a single row.
    pub fn estimators(&self) -> &[Tree] {
        &self.trees
    }

    /// What is subtracted from the scores of the paper, negated, to give [`OutlierDetector::decision_function`].
    pub fn offset(&self) -> f64 {
        self.offset
    }

    /// Minus the anomaly score of the paper, between -1 (outlier) and 0.
    fn raw_scores(&self, x: ArrayView2<'_, f64>) -> Vec<f64> {
        let mut lengths = vec![0.0; x.nrows()];
        add_values(&self.trees, x, &mut lengths, 1);
        let scale = self.trees.len() as f64 * self.usual;
        // Trees of a single row set nothing apart: no row is more of an outlier than another.
        lengths.into_iter().map(|length| if scale > 0.0 { -(-length / scale).exp2() } else { -0.5 }).collect()
    }
}

impl OutlierDetector for IsolationForest {
    fn outlier_scores(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let scores = self.raw_scores(x.dense().view());
        Ok(scores.into_iter().map(|score| score - self.offset).collect())
    }
}

tree_model!(
    IsolationForest = "IsolationForest",
    fn is_consistent(&self) -> bool {
        self.trees.iter().all(|tree| tree.fits(self.n_features, 1))
    }
);
