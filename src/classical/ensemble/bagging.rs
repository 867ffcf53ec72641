//! Bagging (Breiman: Bagging Predictors, 1996): copies of an estimator on rows drawn at random.

use super::members::{columns, dense_accepts, knows, largest_codes, member_probabilities};
use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Regressor};
use crate::classical::params::{model, params};
use crate::classical::persist::Boxed;
use crate::classical::random;
use crate::classical::registry::{AnyClassifier, AnyRegressor};
use crate::classical::tree::{DecisionTreeClassifier, DecisionTreeRegressor};
use crate::parallel;
use crate::{Error, Result};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// How rows and features are drawn.
struct Draw {
    n_estimators: usize,
    max_samples: f64,
    max_features: f64,
    bootstrap: bool,
    seed: u64,
}

impl Draw {
    fn check(&self, name: &'static str) -> Result<()> {
        let share = |value: f64| value > 0.0 && value <= 1.0;
        if self.n_estimators == 0 {
            return Err(Error::op(name, "n_estimators is 0; it must be 1 or more"));
        }
        if !share(self.max_samples) || !share(self.max_features) {
            let (samples, features) = (self.max_samples, self.max_features);
            let message = format!(
                "max_samples is {samples}, max_features {features}; both must be above 0 and at most 1"
            );
            return Err(Error::op(name, message));
        }
        Ok(())
    }

    /// Fits all members, each by `fit` with its rows, their weights, and its features.
    fn members<M: Send>(
        &self,
        x: &Matrix<'_>,
        weights: Option<&[f64]>,
        fit: impl Fn(&[usize], Matrix<'static>, Option<&[f64]>) -> Result<M> + Sync,
    ) -> Result<Vec<(M, Vec<usize>)>> {
        let candidates: Vec<usize> =
            (0..x.rows()).filter(|&row| weights.is_none_or(|weights| weights[row] > 0.0)).collect();
        let count = |share: f64, of: usize| ((share * of as f64) as usize).max(1);
        let member = |index: usize| {
            let mut rng = random::stream(self.seed, index);
            let rows: Vec<usize> = if self.bootstrap {
                let drawn =
                    (0..count(self.max_samples, candidates.len())).map(|_| rng.usize(..candidates.len()));
                drawn.map(|index| candidates[index]).collect()
            } else {
                let order = random::permutation(&mut rng, candidates.len());
                order[..count(self.max_samples, order.len())].iter().map(|&index| candidates[index]).collect()
            };
            let mut features = random::permutation(&mut rng, x.columns());
            features.truncate(count(self.max_features, x.columns()));
            features.sort_unstable();
            let weights: Option<Vec<f64>> =
                weights.map(|weights| rows.iter().map(|&row| weights[row]).collect());
            let model = fit(&rows, columns(&x.select(&rows), &features), weights.as_deref())?;
            Ok((model, features))
        };
        parallel::try_map(0..self.n_estimators, member)
    }
}

/// Defines parameters and model of a bagging, and what both kinds share.
macro_rules! bagging {
    ($(#[$doc:meta])* $params:ident for $model:ident = $name:literal of $any:ident, $member:ident, $tree:ident, { $($field:ident: $type:ty,)* }) => {
        #[doc = concat!("A fitted `", $name, "`.")]
        #[derive(Debug, Serialize, Deserialize)]
        pub struct $model {
            n_features: usize,
            $($field: $type,)*
            /// Each with the features it was fitted on.
            members: Vec<(Boxed<dyn $member>, Vec<usize>)>,
        }

        params! {
            $(#[$doc])*
            $params for $model = $name {
                /// What is copied.
                estimator: $any = $tree::params().into(),
                /// How many copies.
                n_estimators: usize = 10,
                /// The share of rows that each copy learns from.
                max_samples: f64 = 1.0,
                /// The share of features that each copy learns from.
                max_features: f64 = 1.0,
                /// Whether rows are drawn with replacement.
                bootstrap: bool = true,
                /// Seed of the rows and features drawn.
                seed: u64 = 0,
            }

            fn accepts(&self) -> Accepts {
                dense_accepts([self.estimator.0.accepts()])
            }

            fn check(&self) -> Result<()> {
                self.draw().check(Self::NAME)
            }
        }

        impl $params {
            fn draw(&self) -> Draw {
                Draw {
                    n_estimators: self.n_estimators,
                    max_samples: self.max_samples,
                    max_features: self.max_features,
                    bootstrap: self.bootstrap,
                    seed: self.seed,
                }
            }
        }

        impl $model {
            /// The copies, each with the features it was fitted on.
            pub fn estimators(&self) -> &[(Boxed<dyn $member>, Vec<usize>)] {
                &self.members
            }
        }

        model!(
            $model = $name,
            fn accepts(&self) -> Accepts {
                dense_accepts(self.members.iter().map(|(member, _)| member.accepts()))
            },
            fn is_consistent(&self) -> bool {
                let drawn = |columns: &[usize]| columns.iter().all(|&column| column < self.n_features);
                self.members.iter().all(|(member, columns)| drawn(columns) && self.takes(&**member, columns.len()))
            }
        );
    };
}

bagging!(
    /// Parameters of [`BaggingClassifier`]: copies of a classifier on rows and features drawn at random;
    /// their class probabilities are averaged.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((60, 2), |(row, column)| (row * (column + 3)) as f64 % 11.0);
    /// let y: Vec<i64> = x.column(0).iter().map(|&value| i64::from(value > 4.0)).collect();
    /// let tree = DecisionTreeClassifier::params().max_depth(3);
    /// let model = BaggingClassifier::params().estimator(tree).n_estimators(20).fit(&x, &y)?;
    /// assert!(model.score(&x, &y)? > 0.95);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    BaggingClassifierParams for BaggingClassifier = "BaggingClassifier" of AnyClassifier, Classifier,
    DecisionTreeClassifier, { classes: Vec<i64>, }
);

impl BaggingClassifier {
    fn takes(&self, member: &dyn Classifier, columns: usize) -> bool {
        !self.classes.is_empty() && knows(member, columns, self.classes.len())
    }
}

impl FitClassifier for BaggingClassifierParams {
    type Model = BaggingClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<BaggingClassifier> {
        let members = self.draw().members(&data.x, data.weights.as_deref(), |rows, x, weights| {
            let codes: Vec<usize> = rows.iter().map(|&row| data.y.codes[row]).collect();
            self.estimator.0.fit_boxed(&x, &codes, weights).map(Boxed)
        })?;
        Ok(BaggingClassifier { n_features: data.x.columns(), classes: data.y.values.clone(), members })
    }
}

impl Classifier for BaggingClassifier {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        Ok(self.probabilities(x)?.map_or_else(Vec::new, |shares| largest_codes(&shares)))
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let mut sum = Array2::zeros((x.rows(), self.classes.len()));
        for (member, features) in &self.members {
            sum += &member_probabilities(&**member, &columns(x, features), self.classes.len())?;
        }
        Ok(Some(sum / self.members.len() as f64))
    }
}

bagging!(
    /// Parameters of [`BaggingRegressor`]: copies of a regressor on rows and features drawn at random;
    /// their predictions are averaged.
    BaggingRegressorParams for BaggingRegressor = "BaggingRegressor" of AnyRegressor, Regressor,
    DecisionTreeRegressor, {}
);

impl BaggingRegressor {
    fn takes(&self, member: &dyn Regressor, columns: usize) -> bool {
        member.n_features() == columns
    }
}

impl FitRegressor for BaggingRegressorParams {
    type Model = BaggingRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<BaggingRegressor> {
        let members = self.draw().members(&data.x, data.weights.as_deref(), |rows, x, weights| {
            let targets: Vec<f64> = rows.iter().map(|&row| data.y[row]).collect();
            self.estimator.0.fit_boxed(&x, &targets, weights).map(Boxed)
        })?;
        Ok(BaggingRegressor { n_features: data.x.columns(), members })
    }
}

impl Regressor for BaggingRegressor {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let mut sums = vec![0.0; x.rows()];
        for (member, features) in &self.members {
            let predicted = member.predict_rows(&columns(x, features))?;
            sums.iter_mut().zip(predicted).for_each(|(sum, value)| *sum += value / self.members.len() as f64);
        }
        Ok(sums)
    }
}
