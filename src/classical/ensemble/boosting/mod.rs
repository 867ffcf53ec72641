//! Gradient boosting on histograms (Friedman: Greedy Function Approximation, 2001; Ke et al.: LightGBM,
//! 2017), with the rules of scikit-learn's `HistGradientBoosting`.

mod binning;
mod grow;
mod histogram;
mod loss;
mod split;
mod train;

pub use loss::BoostingLoss;
pub use split::Monotonic;

use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Parameters, Regressor};
use crate::classical::order;
use crate::classical::params::params;
use crate::classical::tree::settings::tree_model;
use crate::classical::tree::structure::shares;
use crate::classical::tree::{Tree, add_values, largest};
use crate::classical::{ClassWeight, Setting, random};
use crate::{Error, Result};
use binning::Binned;
use loss::{Loss, Sample, sigmoid, softmax};
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};
use train::{Plan, Stopping, train};

/// Whether boosting stops when the loss falls no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// With more than 10,000 samples.
    #[default]
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

impl Setting<EarlyStopping> for bool {
    fn setting(self) -> EarlyStopping {
        if self { EarlyStopping::On } else { EarlyStopping::Off }
    }
}

/// [`params`] with the fields that both estimators share.
macro_rules! boosting_params {
    (
        $(#[$doc:meta])*
        $params:ident for $model:ident = $name:literal, checks($self:ident) $checks:expr, {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        params! {
            $(#[$doc])*
            $params for $model = $name {
                $($(#[$field_doc])* $field: $type = $default,)*
                /// By how much the leaves' values are scaled down, above 0.
                learning_rate: f64 = 0.1,
                /// The most rounds; each adds a tree, with more than two classes one for each.
                max_iter: usize = 100,
                /// The most leaves of a tree, at least 2; `None` for no limit.
                max_leaf_nodes: Option<usize> = Some(31),
                /// The longest way to a leaf, in splits; `None` for no limit.
                max_depth: Option<usize> = None,
                /// The fewest samples of a leaf.
                min_samples_leaf: usize = 20,
                /// The penalty on the squares of the leaves' values, 0 or more.
                l2_regularization: f64 = 0.0,
                /// The share of features, drawn anew for each split, that it looks at; above 0, at most 1.
                max_features: f64 = 1.0,
                /// The most bins of a feature, between 2 and 255, besides that of missing values.
                max_bins: usize = 255,
                /// The columns that hold categories: whole numbers from 0 up to below `max_bins`.
                categorical_features: Vec<usize> = Vec::new(),
                /// For each feature which way predictions may go as it grows; empty for any. With two
                /// classes the prediction is the probability of the second.
                monotonic_cst: Vec<Monotonic> = Vec::new(),
                /// Whether to stop when the loss falls no more.
                early_stopping: EarlyStopping = EarlyStopping::Auto,
                /// The share of samples that is held out to watch the loss on, between 0 and 1; with
                /// `None` the training loss is watched.
                validation_fraction: Option<f64> = Some(0.1),
                /// For how many rounds the loss must not have fallen.
                n_iter_no_change: usize = 10,
                /// By how much less counts as not fallen.
                tol: f64 = 1e-7,
                /// Seed of the rows held out and the features drawn.
                seed: u64 = 0,
            }

            fn accepts(&self) -> Accepts {
                Accepts { missing: true, ..Accepts::PLAIN }
            }

            fn check(&$self) -> Result<()> {
                $self.settings().check()?;
                $checks
            }
        }

        impl $params {
            fn settings(&self) -> Settings<'_> {
                Settings {
                    name: Self::NAME,
                    learning_rate: self.learning_rate,
                    max_iter: self.max_iter,
                    max_leaf_nodes: self.max_leaf_nodes,
                    max_depth: self.max_depth,
                    min_samples_leaf: self.min_samples_leaf,
                    l2_regularization: self.l2_regularization,
                    max_features: self.max_features,
                    max_bins: self.max_bins,
                    categorical_features: &self.categorical_features,
                    monotonic_cst: &self.monotonic_cst,
                    early_stopping: self.early_stopping,
                    validation_fraction: self.validation_fraction,
                    n_iter_no_change: self.n_iter_no_change,
                    tol: self.tol,
                    seed: self.seed,
                }
            }
        }

        tree_model!(
            $model = $name,
            fn importances(&self) -> Option<Vec<f64>> {
                Some(self.feature_importances())
            },
            fn is_consistent(&self) -> bool {
                let of_trees = |tree: &Tree| tree.fits(self.n_features, 1);
                self.boosted.baseline.len() == self.outputs() && self.boosted.trees.iter().all(of_trees)
            }
        );

        impl $model {
            /// How many rounds there were.
            pub fn n_iter(&self) -> usize {
                self.boosted.trees.len() / self.boosted.baseline.len()
            }

            /// The fitted trees, round after round; with more than two classes each round has one for each.
            pub fn estimators(&self) -> &[Tree] {
                &self.boosted.trees
            }

            /// The raw prediction, for each output, to which the trees' are added.
            pub fn baseline(&self) -> &[f64] {
                &self.boosted.baseline
            }

            /// The mean loss before the first round and after each, if it was watched for early stopping.
            pub fn losses(&self) -> &[f64] {
                &self.boosted.losses
            }

            /// Each feature's share of the splits' gain; they sum to 1, or are all 0 if there is no split.
            pub fn feature_importances(&self) -> Vec<f64> {
                let mut gains = vec![0.0; self.n_features];
                self.boosted.trees.iter().for_each(|tree| tree.add_gains(&mut gains));
                shares(gains)
            }
        }
    };
}

/// The parameters of either estimator.
struct Settings<'a> {
    name: &'static str,
    learning_rate: f64,
    max_iter: usize,
    max_leaf_nodes: Option<usize>,
    max_depth: Option<usize>,
    min_samples_leaf: usize,
    l2_regularization: f64,
    max_features: f64,
    max_bins: usize,
    categorical_features: &'a [usize],
    monotonic_cst: &'a [Monotonic],
    early_stopping: EarlyStopping,
    validation_fraction: Option<f64>,
    n_iter_no_change: usize,
    tol: f64,
    seed: u64,
}

impl Settings<'_> {
    fn check(&self) -> Result<()> {
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let wrong = [
            ("learning_rate", self.learning_rate > 0.0 && self.learning_rate.is_finite(), "above 0"),
            ("max_iter", self.max_iter > 0, "1 or more"),
            ("max_leaf_nodes", self.max_leaf_nodes.is_none_or(|leaves| leaves >= 2), "2 or more, or none"),
            ("max_depth", self.max_depth.is_none_or(|depth| depth >= 1), "1 or more, or none"),
            ("min_samples_leaf", self.min_samples_leaf > 0, "1 or more"),
            (
                "l2_regularization",
                self.l2_regularization >= 0.0 && self.l2_regularization.is_finite(),
                "0 or more",
            ),
            ("max_features", share(self.max_features), "above 0 and at most 1"),
            ("max_bins", (2..=255).contains(&self.max_bins), "between 2 and 255"),
            (
                "validation_fraction",
                self.validation_fraction.is_none_or(|value| value > 0.0 && value < 1.0),
                "between 0 and 1, or none",
            ),
            ("n_iter_no_change", self.n_iter_no_change > 0, "1 or more"),
            ("tol", self.tol >= 0.0, "0 or more"),
        ];
        match wrong.into_iter().find(|(_, right, _)| !right) {
            Some((parameter, _, wanted)) => {
                Err(Error::op(self.name, format!("{parameter} must be {wanted}")))
            }
            None => Ok(()),
        }
    }

    /// The constraints of all features.
    fn monotonic(&self, features: usize) -> Result<Vec<Monotonic>> {
        let given = self.monotonic_cst.len();
        if given != 0 && given != features {
            let message = format!("monotonic_cst has {given} entries for {features} features");
            return Err(Error::op(self.name, message));
        }
        for &column in self.categorical_features {
            if column >= features {
                let message =
                    format!("categorical_features names column {column}, but x has {features} columns");
                return Err(Error::op(self.name, message));
            }
            if self.monotonic_cst.get(column).is_some_and(|&way| way != Monotonic::None) {
                let message =
                    format!("column {column} is categorical and cannot have a monotonic constraint");
                return Err(Error::op(self.name, message));
            }
        }
        Ok(if given == 0 { vec![Monotonic::None; features] } else { self.monotonic_cst.to_vec() })
    }

    /// Which rows to hold out; of each class its share.
    fn held_out(&self, y: &[f64], by_class: bool) -> Option<(Vec<usize>, Vec<usize>)> {
        let stop = match self.early_stopping {
            EarlyStopping::Auto => y.len() > 10_000,
            EarlyStopping::On => true,
            EarlyStopping::Off => false,
        };
        let fraction = self.validation_fraction.filter(|_| stop)?;
        let mut order = random::permutation(&mut random::stream(self.seed, usize::MAX), y.len());
        if by_class {
            order::ascending(&mut order, y);
        }
        // Every so many rows one is held out; in the order of classes that takes its share of each.
        let count = |rows: usize| (rows as f64 * fraction) as usize;
        let (mut kept, mut held): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for (place, &row) in order.iter().enumerate() {
            if count(place + 1) > count(place) { held.push(row) } else { kept.push(row) }
        }
        kept.sort_unstable();
        (!held.is_empty() && !kept.is_empty()).then_some((kept, held))
    }

    fn fit(&self, x: ArrayView2<'_, f64>, loss: Loss, y: &[f64], weights: Option<&[f64]>) -> Result<Boosted> {
        let features = x.ncols();
        let growth = grow::Growth {
            max_leaf_nodes: self.max_leaf_nodes.unwrap_or(usize::MAX),
            max_depth: self.max_depth.unwrap_or(usize::MAX),
            min_samples_leaf: self.min_samples_leaf,
            l2: self.l2_regularization,
            learning_rate: self.learning_rate,
            max_features: ((self.max_features * features as f64).ceil() as usize).clamp(1, features),
            monotonic: self.monotonic(features)?,
        };
        let stops = match self.early_stopping {
            EarlyStopping::Auto => y.len() > 10_000,
            other => other == EarlyStopping::On,
        };
        let mut plan =
            Plan { name: self.name, loss, growth, max_iter: self.max_iter, seed: self.seed, stopping: None };
        let bin = |x, weights| {
            Binned::new(self.name, x, weights, self.categorical_features, self.max_bins, self.seed)
        };
        let trained = if let Some((kept, held)) = self.held_out(y, !matches!(loss, Loss::Regression(_))) {
            let pick =
                |values: &[f64], rows: &[usize]| rows.iter().map(|&row| values[row]).collect::<Vec<_>>();
            let (held_x, held_y) = (x.select(Axis(0), &held), pick(y, &held));
            let held_weights = weights.map(|weights| pick(weights, &held));
            // Rows without weight say nothing about the loss.
            let watched =
                held_weights.as_ref().is_none_or(|weights| weights.iter().any(|&weight| weight > 0.0));
            let held_sample = Sample { y: &held_y, weights: held_weights.as_deref() };
            let held_out = watched.then_some((held_x.view(), held_sample));
            plan.stopping = Some(self.stopping(held_out));
            let (y, weights) = (pick(y, &kept), weights.map(|weights| pick(weights, &kept)));
            let binned = bin(x.select(Axis(0), &kept).view(), weights.as_deref())?;
            self.train(&plan, &binned, Sample { y: &y, weights: weights.as_deref() })?
        } else {
            plan.stopping = stops.then(|| self.stopping(None));
            self.train(&plan, &bin(x, weights)?, Sample { y, weights })?
        };
        Ok(Boosted { loss, baseline: trained.baseline, trees: trained.trees, losses: trained.losses })
    }

    fn stopping<'a>(&self, held_out: Option<(ArrayView2<'a, f64>, Sample<'a>)>) -> Stopping<'a> {
        Stopping { held_out, n_iter_no_change: self.n_iter_no_change, tol: self.tol }
    }

    fn train(&self, plan: &Plan<'_>, binned: &Binned, sample: Sample<'_>) -> Result<train::Trained> {
        if sample.weights.is_some_and(|weights| weights.iter().all(|&weight| weight == 0.0)) {
            return Err(Error::op(self.name, "every sample that was not held out has weight 0"));
        }
        let trained = train(plan, binned, sample)?;
        if trained.baseline.iter().any(|value| !value.is_finite()) {
            return Err(Error::op(self.name, "y is too large to be averaged; scale it down"));
        }
        Ok(trained)
    }
}

/// The trees of either estimator.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Boosted {
    loss: Loss,
    baseline: Vec<f64>,
    trees: Vec<Tree>,
    losses: Vec<f64>,
}

impl Boosted {
    /// Raw predictions `[rows, outputs]`.
    fn raw(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        let outputs = self.baseline.len();
        let mut raw = Array2::from_shape_fn((x.nrows(), outputs), |(_, output)| self.baseline[output]);
        // The array was made row after row.
        if let Some(raw) = raw.as_slice_mut() {
            add_values(&self.trees, x, raw, outputs);
        }
        raw
    }
}

/// A fitted boosting of trees that tells classes apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistGradientBoostingClassifier {
    n_features: usize,
    classes: Vec<i64>,
    boosted: Boosted,
}

boosting_params! {
    /// Parameters of [`HistGradientBoostingClassifier`], which lowers the log loss. NaN is a missing
    /// value, which each split sends to the better side.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((200, 2), |(row, column)| (row * (column + 3)) as f64 % 11.0);
    /// let y: Vec<i64> = x.rows().into_iter().map(|row| i64::from(row[0] > row[1])).collect();
    /// let model = HistGradientBoostingClassifier::params().max_iter(30).fit(&x, &y)?;
    /// assert!(model.score(&x, &y)? > 0.97);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    HistGradientBoostingClassifierParams for HistGradientBoostingClassifier = "HistGradientBoostingClassifier",
    checks(self) Ok(()), {
        /// Weights of the classes.
        class_weight: ClassWeight = ClassWeight::None,
    }
}

impl HistGradientBoostingClassifier {
    fn outputs(&self) -> usize {
        if self.classes.len() == 2 { 1 } else { self.classes.len() }
    }
}

impl FitClassifier for HistGradientBoostingClassifierParams {
    type Model = HistGradientBoostingClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<HistGradientBoostingClassifier> {
        let x = data.x.dense();
        let weights = self.class_weight.apply(Self::NAME, data)?;
        let classes = data.y.values.len();
        if classes > 2 && !self.monotonic_cst.iter().all(|&way| way == Monotonic::None) {
            return Err(Self::error("monotonic_cst needs two classes"));
        }
        let loss = if classes == 2 { Loss::Binary } else { Loss::Classes(classes) };
        let y: Vec<f64> = data.y.codes.iter().map(|&code| code as f64).collect();
        let boosted = self.settings().fit(x.view(), loss, &y, weights.as_deref())?;
        Ok(HistGradientBoostingClassifier { n_features: x.ncols(), classes: data.y.values.clone(), boosted })
    }
}

impl Classifier for HistGradientBoostingClassifier {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        let raw = self.boosted.raw(x.dense().view());
        let code = |row: &[f64]| if row.len() == 1 { usize::from(row[0] > 0.0) } else { largest(row) };
        Ok(raw.rows().into_iter().map(|row| code(&row.to_vec())).collect())
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let mut raw = self.boosted.raw(x.dense().view());
        if raw.ncols() == 1 {
            let second = raw.column(0).mapv(sigmoid);
            return Ok(Some(ndarray::stack![Axis(1), 1.0 - &second, second]));
        }
        for mut row in raw.rows_mut() {
            row.as_slice_mut().into_iter().for_each(softmax);
        }
        Ok(Some(raw))
    }

    fn scores(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        Ok(Some(self.boosted.raw(x.dense().view())))
    }
}

/// A fitted boosting of trees that predicts numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistGradientBoostingRegressor {
    n_features: usize,
    boosted: Boosted,
}

boosting_params! {
    /// Parameters of [`HistGradientBoostingRegressor`]. NaN is a missing value, which each split sends to
    /// the better side.
    ///
    /// ```
    /// use kiln::classical::ensemble::BoostingLoss;
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((200, 2), |(row, column)| (row * (column + 3)) as f64 % 11.0);
    /// let y = &x.column(0) + &(&x.column(1) * 2.0);
    /// let params = HistGradientBoostingRegressor::params().loss(BoostingLoss::SquaredError);
    /// let model = params.min_samples_leaf(5).fit(&x, &y)?;
    /// assert!(model.score(&x, &y)? > 0.95);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    HistGradientBoostingRegressorParams for HistGradientBoostingRegressor = "HistGradientBoostingRegressor",
    checks(self) match self.loss {
        BoostingLoss::Quantile(share) if !(share > 0.0 && share < 1.0) => {
            Err(Self::error(format!("the quantile of the loss is {share}; it must be between 0 and 1")))
        }
        _ => Ok(()),
    }, {
        /// What is learned to be predicted.
        loss: BoostingLoss = BoostingLoss::SquaredError,
    }
}

impl HistGradientBoostingRegressor {
    fn outputs(&self) -> usize {
        1
    }
}

impl FitRegressor for HistGradientBoostingRegressorParams {
    type Model = HistGradientBoostingRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<HistGradientBoostingRegressor> {
        let lowest = data.y.iter().copied().fold(f64::INFINITY, f64::min);
        match self.loss {
            BoostingLoss::Poisson if lowest < 0.0 || data.y.iter().all(|&value| value == 0.0) => {
                return Err(Self::error("the loss poisson needs y of 0 or more, not all 0"));
            }
            BoostingLoss::Gamma if lowest <= 0.0 => {
                return Err(Self::error("the loss gamma needs y above 0"));
            }
            _ => {}
        }
        let x = data.x.dense();
        let loss = Loss::Regression(self.loss);
        let boosted = self.settings().fit(x.view(), loss, &data.y, data.weights.as_deref())?;
        Ok(HistGradientBoostingRegressor { n_features: x.ncols(), boosted })
    }
}

impl Regressor for HistGradientBoostingRegressor {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let mut raw = self.boosted.raw(x.dense().view());
        if matches!(self.boosted.loss, Loss::Regression(BoostingLoss::Poisson | BoostingLoss::Gamma)) {
            raw.mapv_inplace(f64::exp);
        }
        Ok(raw.into_raw_vec_and_offset().0)
    }
}
