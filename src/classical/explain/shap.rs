//! Exact Shapley values of tree models in polynomial time (Lundberg, Erion and Lee: Consistent
//! Individualized Feature Attribution for Tree Ensembles, 2018; the path-dependent algorithm).

use crate::classical::data::Features;
use crate::classical::ensemble::{
    ExtraTreesClassifier, ExtraTreesRegressor, HistGradientBoostingClassifier, HistGradientBoostingRegressor,
    IsolationForest, RandomForestClassifier, RandomForestRegressor,
};
use crate::classical::estimator::Model;
use crate::classical::tree::{DecisionTreeClassifier, DecisionTreeRegressor, Tree};
use crate::parallel;
use crate::{Error, Result};
use ndarray::{Array2, Array3, ArrayView1, Axis};

/// Ways longer than this would need more stack than threads have.
const MAX_DEPTH: usize = 1024;

/// The trees of a model as terms of a sum: output `j` of its raw prediction is
/// `base[j] + scale * sum of the trees' values`, where trees of one output take turns in the outputs.
#[derive(Debug)]
pub struct TreeTerms<'a> {
    /// The trees.
    pub trees: &'a [Tree],
    /// What their values are multiplied by.
    pub scale: f64,
    /// What they are added to, for each output.
    pub base: Vec<f64>,
}

/// A model whose raw prediction is a sum of trees.
pub trait TreeEnsemble: Model {
    /// The sum.
    fn terms(&self) -> TreeTerms<'_>;
}

macro_rules! ensembles {
    ($($model:ident: $terms:expr;)*) => {
        $(impl TreeEnsemble for $model {
            fn terms(&self) -> TreeTerms<'_> {
                let terms: fn(&$model) -> TreeTerms<'_> = $terms;
                terms(self)
            }
        })*
    };
}

/// The mean of trees.
fn mean(trees: &[Tree]) -> TreeTerms<'_> {
    let outputs = trees.first().map_or(1, Tree::n_outputs);
    TreeTerms { trees, scale: 1.0 / trees.len() as f64, base: vec![0.0; outputs] }
}

ensembles! {
    DecisionTreeClassifier: |model| mean(std::slice::from_ref(model.tree()));
    DecisionTreeRegressor: |model| mean(std::slice::from_ref(model.tree()));
    RandomForestClassifier: |model| mean(model.estimators());
    RandomForestRegressor: |model| mean(model.estimators());
    ExtraTreesClassifier: |model| mean(model.estimators());
    ExtraTreesRegressor: |model| mean(model.estimators());
    IsolationForest: |model| mean(model.estimators());
    HistGradientBoostingClassifier: |model| {
        TreeTerms { trees: model.estimators(), scale: 1.0, base: model.baseline().to_vec() }
    };
    HistGradientBoostingRegressor: |model| {
        TreeTerms { trees: model.estimators(), scale: 1.0, base: model.baseline().to_vec() }
    };
}

/// Shapley values of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Shap {
    /// The mean raw prediction over the training rows, as the trees remember them, for each output.
    pub base: Vec<f64>,
    /// How far each feature moves the raw prediction from the base, `[rows, features, outputs]`. Over the
    /// features they sum to raw prediction less base.
    pub values: Array3<f64>,
}

impl Shap {
    /// The raw predictions that the values explain, `[rows, outputs]`.
    pub fn raw_predictions(&self) -> Array2<f64> {
        self.values.sum_axis(Axis(1)) + ArrayView1::from(&self.base)
    }
}

/// Attributes each row's raw prediction to the features. Raw is the probability of decision trees and
/// forests that classify, the decision function of boosting, the predicted number of regressors (its
/// logarithm with a log link), and the mean length of the way of isolation forests.
///
/// ```
/// use kiln::classical::explain::shap_values;
/// use kiln::classical::prelude::*;
/// use ndarray::Array2;
///
/// let x = Array2::from_shape_fn((100, 3), |(row, column)| (row * (column + 3)) as f64 % 11.0);
/// let y = &x.column(0) - &x.column(1);
/// let model = HistGradientBoostingRegressor::params().fit(&x, &y)?;
/// let shap = shap_values(&model, &x)?;
/// let difference = &shap.raw_predictions().column(0) - &model.predict(&x)?;
/// assert!(difference.iter().all(|value| value.abs() < 1e-9));
/// # Ok::<(), kiln::Error>(())
/// ```
///
/// # Errors
/// As [`Model::input`], and trees deeper than 1024 splits.
pub fn shap_values(model: &dyn TreeEnsemble, x: &dyn Features) -> Result<Shap> {
    let input = model.input(x)?;
    let x = input.dense();
    let TreeTerms { trees, scale, base } = model.terms();
    if let Some(depth) = trees.iter().map(Tree::depth).find(|&depth| depth > MAX_DEPTH) {
        return Err(Error::op(
            "shap_values",
            format!("a tree is {depth} splits deep; limit max_depth to {MAX_DEPTH} or less"),
        ));
    }
    let (features, outputs) = (x.ncols(), base.len());
    let means: Vec<Vec<f64>> = trees.iter().map(tree_mean).collect();
    let mut expected = base;
    for (index, mean) in means.iter().enumerate() {
        let first = index * mean.len() % outputs;
        expected[first..].iter_mut().zip(mean).for_each(|(sum, value)| *sum += scale * value);
    }
    let mut values = vec![0.0; x.nrows() * features * outputs];
    parallel::chunks(&mut values, features * outputs, 1, |row, values| {
        let row = x.row(row).to_vec();
        for (index, tree) in trees.iter().enumerate() {
            let column = index * tree.n_outputs() % outputs;
            let mut walk = Walk { tree, row: &row, scale, column, outputs, values };
            walk.visit(0, &[], Step { feature: None, zero: 1.0, one: 1.0, weight: 1.0 });
        }
    });
    let values = Array3::from_shape_vec((x.nrows(), features, outputs), values)
        .map_err(|error| Error::op("shap_values", error.to_string()))?;
    Ok(Shap { base: expected, values })
}

/// The mean of the leaves' values, by the weight of the training rows in them.
fn tree_mean(tree: &Tree) -> Vec<f64> {
    let mut mean = vec![0.0; tree.n_outputs()];
    for node in 0..tree.n_nodes() {
        let share = tree.weight(node) / tree.weight(0);
        for (mean, value) in mean.iter_mut().zip(tree.value(node).into_iter().flatten()) {
            *mean += share * value;
        }
    }
    mean
}

/// A feature on the way to a node: the share of ways that stay on it when the feature is not known (zero)
/// and when it is (one), and the weight of subsets of as many known features as there are steps before it.
#[derive(Debug, Clone, Copy)]
struct Step {
    feature: Option<usize>,
    zero: f64,
    one: f64,
    weight: f64,
}

/// The path with one more step.
fn extended(path: &[Step], zero: f64, one: f64, feature: Option<usize>) -> Vec<Step> {
    let depth = path.len();
    let mut path = path.to_vec();
    path.push(Step { feature, zero, one, weight: if depth == 0 { 1.0 } else { 0.0 } });
    let length = (depth + 1) as f64;
    for place in (0..depth).rev() {
        path[place + 1].weight += one * path[place].weight * (place + 1) as f64 / length;
        path[place].weight *= zero * (depth - place) as f64 / length;
    }
    path
}

/// The path without the step at `index`.
fn unwound(path: &[Step], index: usize) -> Vec<Step> {
    let last = path.len() - 1;
    let (zero, one, length) = (path[index].zero, path[index].one, path.len() as f64);
    let mut weights: Vec<f64> = path.iter().map(|step| step.weight).collect();
    let mut next = weights[last];
    for place in (0..last).rev() {
        if one != 0.0 {
            let before = weights[place];
            weights[place] = next * length / ((place + 1) as f64 * one);
            next = before - weights[place] * zero * (last - place) as f64 / length;
        } else {
            weights[place] = weights[place] * length / (zero * (last - place) as f64);
        }
    }
    let mut path = path.to_vec();
    path.remove(index);
    path.iter_mut().zip(weights).for_each(|(step, weight)| step.weight = weight);
    path
}

struct Walk<'a> {
    tree: &'a Tree,
    row: &'a [f64],
    scale: f64,
    column: usize,
    outputs: usize,
    values: &'a mut [f64],
}

impl Walk<'_> {
    fn visit(&mut self, node: usize, path: &[Step], step: Step) {
        let path = extended(path, step.zero, step.one, step.feature);
        let Some((left, right)) = self.tree.children(node) else {
            self.leaf(node, &path);
            return;
        };
        let (hot, cold) = if self.tree.child(node, self.row) == left { (left, right) } else { (right, left) };
        let feature = self.tree.feature(node);
        // A feature met before takes its step's shares along.
        let (path, zero, one) = match path.iter().position(|step| step.feature == feature) {
            Some(index) => (unwound(&path, index), path[index].zero, path[index].one),
            None => (path, 1.0, 1.0),
        };
        let share = |child: usize| self.tree.weight(child) / self.tree.weight(node);
        let (hot_share, cold_share) = (share(hot), share(cold));
        self.visit(hot, &path, Step { feature, zero: zero * hot_share, one, weight: 0.0 });
        self.visit(cold, &path, Step { feature, zero: zero * cold_share, one: 0.0, weight: 0.0 });
    }

    fn leaf(&mut self, node: usize, path: &[Step]) {
        let value = self.tree.value(node).unwrap_or_default();
        for (index, step) in path.iter().enumerate() {
            let Some(feature) = step.feature else { continue };
            let weight: f64 = unwound(path, index).iter().map(|step| step.weight).sum();
            let scale = self.scale * weight * (step.one - step.zero);
            let to = &mut self.values[feature * self.outputs + self.column..];
            to.iter_mut().zip(value).for_each(|(sum, value)| *sum += scale * value);
        }
    }
}
