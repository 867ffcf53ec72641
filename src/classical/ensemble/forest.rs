//! Forests of randomised trees: random forests (Breiman: Random Forests, 2001) and extremely randomised
//! trees (Geurts, Ernst and Wehenkel, 2006).

use crate::classical::data::{Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Parameters, Regressor};
use crate::classical::metrics::r2_score;
use crate::classical::parallel;
use crate::classical::tree::columns::{Column, columns};
use crate::classical::tree::grow::Growth;
use crate::classical::tree::problem::Problem;
use crate::classical::tree::settings::{tree_model, tree_params};
use crate::classical::tree::structure::shares;
use crate::classical::tree::{ClassificationCriterion, RegressionCriterion, Tree, add_values, largest};
use crate::classical::{ClassWeight, random};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// How the trees of a forest are made different.
struct Plan<'a> {
    name: &'static str,
    n_estimators: usize,
    bootstrap: bool,
    max_samples: Option<f64>,
    oob_score: bool,
    seed: u64,
    growth: Growth,
    weights: &'a [f64],
}

impl Plan<'_> {
    fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::op(self.name, message));
        if self.n_estimators == 0 {
            return refuse("n_estimators is 0; it must be 1 or more".into());
        }
        if let Some(share) = self.max_samples.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return refuse(format!("max_samples is {share}; it must be above 0 and at most 1"));
        }
        if !self.bootstrap && (self.oob_score || self.max_samples.is_some()) {
            return refuse("oob_score and max_samples need bootstrap".into());
        }
        Ok(())
    }

    /// How often each row is in the sample of a tree, times its weight.
    fn bag(&self, rng: &mut fastrand::Rng) -> Vec<f64> {
        let rows = self.weights.len();
        let draws = self.max_samples.map_or(rows, |share| ((share * rows as f64) as usize).max(1));
        let mut bag = vec![0.0; rows];
        for _ in 0..draws {
            let row = rng.usize(..rows);
            bag[row] += self.weights[row];
        }
        // Rows without weight may be all that was drawn.
        if bag.iter().all(|&weight| weight == 0.0) { self.weights.to_vec() } else { bag }
    }

    /// The trees, each with its bag if rows out of it are wanted.
    fn grow(&self, problem: &Problem, columns: &[Column]) -> Vec<(Tree, Option<Vec<f64>>)> {
        let tree = |index: usize| {
            let mut rng = random::stream(self.seed, index);
            if !self.bootstrap {
                return (problem.grow(columns, self.weights, self.growth, &mut rng), None);
            }
            let bag = self.bag(&mut rng);
            let tree = problem.grow(columns, &bag, self.growth, &mut rng);
            (tree, self.oob_score.then_some(bag))
        };
        // A row goes through some ten nodes, where a few columns are searched.
        let work = self.n_estimators * self.weights.len() * 64;
        parallel::map(work, 0..self.n_estimators, tree)
    }
}

/// A fitted forest of either kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Forest {
    trees: Vec<Tree>,
    /// The mean over trees of each feature's importance.
    importances: Vec<f64>,
    oob: Option<OutOfBag>,
}

impl Forest {
    fn fit(plan: &Plan<'_>, problem: &Problem, x: ArrayView2<'_, f64>) -> Result<Forest> {
        plan.check()?;
        let grown = plan.grow(problem, &columns(x));
        let mut importances = vec![0.0; x.ncols()];
        for (tree, _) in &grown {
            let mut gains = vec![0.0; x.ncols()];
            tree.add_gains(&mut gains);
            importances.iter_mut().zip(shares(gains)).for_each(|(sum, share)| *sum += share);
        }
        let oob = if plan.oob_score { Some(OutOfBag::new(plan.name, x, &grown)?) } else { None };
        let trees = grown.into_iter().map(|(tree, _)| tree).collect();
        Ok(Forest { trees, importances: shares(importances), oob })
    }

    fn fits(&self, features: usize, outputs: usize) -> bool {
        !self.trees.is_empty()
            && self.trees.iter().all(|tree| tree.fits(features, outputs))
            && self.importances.len() == features
    }

    /// The mean of the trees' values, `[rows, outputs]`.
    fn predict(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        let outputs = self.trees[0].n_outputs();
        let mut means = Array2::zeros((x.nrows(), outputs));
        // The array was made row after row.
        if let Some(sums) = means.as_slice_mut() {
            add_values(&self.trees, x, sums, outputs);
        }
        means / self.trees.len() as f64
    }
}

/// What trees say about the training rows that they did not see.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OutOfBag {
    /// The mean prediction for each row, 0 where every tree saw it.
    means: Vec<f64>,
    /// Whether any tree did not see the row.
    known: Vec<bool>,
    outputs: usize,
}

impl OutOfBag {
    fn new(
        name: &'static str,
        x: ArrayView2<'_, f64>,
        grown: &[(Tree, Option<Vec<f64>>)],
    ) -> Result<OutOfBag> {
        let outputs = grown[0].0.n_outputs();
        let mut means = vec![0.0; x.nrows() * outputs];
        let mut counts = vec![0.0_f64; x.nrows()];
        for (tree, bag) in grown {
            let Some(bag) = bag else { continue };
            tree.each_value(x, |row, values| {
                if bag[row] == 0.0 {
                    counts[row] += 1.0;
                    means[row * outputs..].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            });
        }
        if counts.iter().all(|&count| count == 0.0) {
            return Err(Error::op(name, "no row is out of any bag; oob_score needs more rows or trees"));
        }
        for (row, count) in means.chunks_mut(outputs).zip(&counts) {
            row.iter_mut().for_each(|mean| *mean /= count.max(1.0));
        }
        Ok(OutOfBag { means, known: counts.into_iter().map(|count| count > 0.0).collect(), outputs })
    }

    /// The known rows and their means.
    fn rows(&self) -> impl Iterator<Item = (usize, &[f64])> {
        let rows = self.means.chunks(self.outputs).zip(&self.known).enumerate();
        rows.filter(|(_, (_, known))| **known).map(|(row, (means, _))| (row, means))
    }
}

/// [`tree_params`] with the fields of forests.
macro_rules! forest_params {
    (
        $(#[$doc:meta])*
        $params:ident for $model:ident = $name:literal, max_features $max_features:ident,
        random_thresholds $random:literal, bootstrap $bootstrap:literal {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        tree_params! {
            $(#[$doc])*
            $params for $model = $name, max_features $max_features, random_thresholds $random {
                /// How many trees there are.
                n_estimators: usize = 100,
                /// Whether each tree learns from as many rows drawn with replacement.
                bootstrap: bool = $bootstrap,
                /// The share of rows drawn for a tree, with `bootstrap`; `None` is all.
                max_samples: Option<f64> = None,
                /// Whether to predict the training rows by the trees that did not see them.
                oob_score: bool = false,
                $($(#[$field_doc])* $field: $type = $default,)*
            }
            check(self) { self.plan(1, &[]).check() }
        }

        impl $params {
            /// The same as `n_estimators`.
            #[must_use]
            pub fn trees(self, count: usize) -> Self {
                self.n_estimators(count)
            }

            fn plan<'a>(&self, features: usize, weights: &'a [f64]) -> Plan<'a> {
                Plan {
                    name: Self::NAME,
                    n_estimators: self.n_estimators,
                    bootstrap: self.bootstrap,
                    max_samples: self.max_samples,
                    oob_score: self.oob_score,
                    seed: self.seed,
                    growth: self.growth(features),
                    weights,
                }
            }
        }

        impl $model {
            /// The fitted trees.
            pub fn estimators(&self) -> &[Tree] {
                &self.forest.trees
            }

            /// Each feature's share of the decrease in impurity, averaged over the trees; they sum to 1,
            /// or are all 0 if no tree has a split.
            pub fn feature_importances(&self) -> &[f64] {
                &self.forest.importances
            }
        }

        tree_model!(
            $model = $name,
            fn importances(&self) -> Option<Vec<f64>> {
                Some(self.feature_importances().to_vec())
            },
            fn is_consistent(&self) -> bool {
                self.forest.fits(self.n_features, self.outputs())
            }
        );
    };
}

macro_rules! forest_classifier {
    ($(#[$doc:meta])* $params:ident for $model:ident = $name:literal, random_thresholds $random:literal, bootstrap $bootstrap:literal) => {
        #[doc = concat!("A fitted `", $name, "`: the class with the highest mean probability of the trees.")]
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub struct $model {
            n_features: usize,
            classes: Vec<i64>,
            forest: Forest,
            oob_score: Option<f64>,
        }

        forest_params! {
            $(#[$doc])*
            $params for $model = $name, max_features Sqrt, random_thresholds $random, bootstrap $bootstrap {
                /// How splits are judged.
                criterion: ClassificationCriterion = ClassificationCriterion::Gini,
                /// Weights of the classes.
                class_weight: ClassWeight = ClassWeight::None,
            }
        }

        impl FitClassifier for $params {
            type Model = $model;

            fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<$model> {
                let x = data.x.dense();
                let weights = self.class_weight.apply(Self::NAME, data)?;
                let weights = weights.map_or_else(|| vec![1.0; x.nrows()], |weights| weights.into_owned());
                let problem = Problem::classes(&data.y, self.criterion);
                let forest = Forest::fit(&self.plan(x.ncols(), &weights), &problem, x.view())?;
                let oob_score = forest.oob.as_ref().map(|oob| {
                    let right = oob.rows().filter(|(row, means)| largest(means) == data.y.codes[*row]);
                    right.count() as f64 / oob.rows().count() as f64
                });
                Ok($model { n_features: x.ncols(), classes: data.y.values.clone(), forest, oob_score })
            }
        }

        impl Classifier for $model {
            fn classes(&self) -> &[i64] {
                &self.classes
            }

            fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
                let probabilities = self.forest.predict(x.dense().view());
                Ok(probabilities.rows().into_iter().map(|row| largest(&row.to_vec())).collect())
            }

            fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
                Ok(Some(self.forest.predict(x.dense().view())))
            }
        }

        impl $model {
            fn outputs(&self) -> usize {
                self.classes.len()
            }

            /// The accuracy on training rows by the trees that did not see them, if it was asked for.
            pub fn oob_score(&self) -> Option<f64> {
                self.oob_score
            }

            /// The class probabilities `[rows, classes]` of the training rows by the trees that did not
            /// see them, if they were asked for; all 0 in rows that every tree saw.
            pub fn oob_decision_function(&self) -> Option<ArrayView2<'_, f64>> {
                let oob = self.forest.oob.as_ref()?;
                ArrayView2::from_shape((oob.known.len(), oob.outputs), &oob.means).ok()
            }
        }
    };
}

macro_rules! forest_regressor {
    ($(#[$doc:meta])* $params:ident for $model:ident = $name:literal, random_thresholds $random:literal, bootstrap $bootstrap:literal) => {
        #[doc = concat!("A fitted `", $name, "`: the mean of the trees' predictions.")]
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub struct $model {
            n_features: usize,
            forest: Forest,
            oob_score: Option<f64>,
        }

        forest_params! {
            $(#[$doc])*
            $params for $model = $name, max_features All, random_thresholds $random, bootstrap $bootstrap {
                /// How splits are judged.
                criterion: RegressionCriterion = RegressionCriterion::SquaredError,
            }
        }

        impl FitRegressor for $params {
            type Model = $model;

            fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<$model> {
                let x = data.x.dense();
                let weights: Vec<f64> = (0..x.nrows()).map(|row| data.weight(row)).collect();
                let problem = Problem::targets(Self::NAME, &data.y, self.criterion)?;
                let forest = Forest::fit(&self.plan(x.ncols(), &weights), &problem, x.view())?;
                let oob_score = forest.oob.as_ref().map(|oob| {
                    let (truth, predicted): (Vec<f64>, Vec<f64>) =
                        oob.rows().map(|(row, means)| (data.y[row], means[0])).unzip();
                    r2_score(&truth, &predicted)
                });
                Ok($model { n_features: x.ncols(), forest, oob_score: oob_score.transpose()? })
            }
        }

        impl Regressor for $model {
            fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
                Ok(self.forest.predict(x.dense().view()).into_raw_vec_and_offset().0)
            }
        }

        impl $model {
            fn outputs(&self) -> usize {
                1
            }

            /// R2 on the training rows by the trees that did not see them, if it was asked for.
            pub fn oob_score(&self) -> Option<f64> {
                self.oob_score
            }

            /// The predictions of the training rows by the trees that did not see them, if they were asked
            /// for; 0 for rows that every tree saw.
            pub fn oob_prediction(&self) -> Option<&[f64]> {
                Some(&self.forest.oob.as_ref()?.means)
            }
        }
    };
}

/// The name that other libraries give to [`RandomForestClassifier`].
pub type RandomForest = RandomForestClassifier;

forest_classifier! {
    /// Parameters of [`RandomForestClassifier`]: trees on rows drawn with replacement, whose splits look
    /// at some features only.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((100, 2), |(row, column)| (row * (column + 1)) as f64 % 10.0);
    /// let y: Vec<i64> = x.column(0).iter().map(|&value| i64::from(value > 4.0)).collect();
    /// let model = RandomForest::params().trees(20).seed(7).oob_score(true).fit(&x, &y)?;
    /// assert_eq!(model.score(&x, &y)?, 1.0);
    /// assert!(model.oob_score() > Some(0.9));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    RandomForestClassifierParams for RandomForestClassifier = "RandomForestClassifier",
    random_thresholds false, bootstrap true
}
forest_classifier! {
    /// Parameters of [`ExtraTreesClassifier`]: trees on all rows, whose splits look at one random
    /// threshold for each of some features.
    ExtraTreesClassifierParams for ExtraTreesClassifier = "ExtraTreesClassifier",
    random_thresholds true, bootstrap false
}
forest_regressor! {
    /// Parameters of [`RandomForestRegressor`]: trees on rows drawn with replacement.
    RandomForestRegressorParams for RandomForestRegressor = "RandomForestRegressor",
    random_thresholds false, bootstrap true
}
forest_regressor! {
    /// Parameters of [`ExtraTreesRegressor`]: trees on all rows, whose splits look at one random threshold
    /// for each feature.
    ExtraTreesRegressorParams for ExtraTreesRegressor = "ExtraTreesRegressor",
    random_thresholds true, bootstrap false
}
