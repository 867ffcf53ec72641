//! What cross-validation needs to know of classifiers and regressors alike.

use crate::Result;
use crate::classical::data::{Accepts, Labels, Matrix, Targets, weighted};
use crate::classical::estimator::{Classifier, Model, Regressor};
use crate::classical::metrics::{classifier_scorer, regressor_scorer};
use crate::classical::registry::{AnyClassifier, AnyRegressor};
use serde_json::{Map, Value};
use std::fmt::Debug;

/// A score of a model on checked rows with their truth and weights.
pub(super) type Scorer<L> = Box<
    dyn Fn(&<L as Learner>::Model, &Matrix<'_>, &[<L as Learner>::Value], Option<&[f64]>) -> Result<f64>
        + Send
        + Sync,
>;

/// [`AnyClassifier`] or [`AnyRegressor`]: parameters that learn from rows and their truth.
pub trait Learner: Clone + Debug + Send + Sync {
    /// What the truth is given as: labels or targets.
    type Truth<'a>: ?Sized;
    /// The truth of a row.
    type Value: Copy + Debug + PartialEq + Send + Sync;
    /// What is learned.
    type Model: Model + ?Sized;
    /// The score that is used if none is named.
    const SCORING: &'static str;

    /// The truth of each row, and the weights if it has some.
    fn truth(y: &Self::Truth<'_>) -> (Vec<Self::Value>, Option<Vec<f64>>);

    /// The truth as class labels, if that is what it is.
    fn labels(values: &[Self::Value]) -> Option<Vec<i64>>;

    /// What kind of input is taken.
    fn accepts(&self) -> Accepts;

    /// Learns from rows.
    ///
    /// # Errors
    /// As the estimator's own fit.
    fn learn(&self, x: &Matrix<'_>, y: &[Self::Value], weights: Option<&[f64]>) -> Result<Box<Self::Model>>;

    /// The prediction for each row.
    ///
    /// # Errors
    /// As the model's own.
    fn predict(model: &Self::Model, x: &Matrix<'_>) -> Result<Vec<Self::Value>>;

    /// The score of this name.
    ///
    /// # Errors
    /// An unknown name.
    fn scorer(scoring: &str) -> Result<Scorer<Self>>;

    /// The same parameters with some replaced.
    ///
    /// # Errors
    /// Names a parameter that does not exist, or whose value is of another type.
    fn with(&self, values: &Map<String, Value>) -> Result<Self>;
}

macro_rules! learner {
    ($any:ident, $truth:ident, $truths:ident, $value:ty, $model:ident, $scoring:literal, $scorer:ident, $labels:expr) => {
        impl Learner for $any {
            type Truth<'a> = dyn $truth + 'a;
            type Value = $value;
            type Model = dyn $model;
            const SCORING: &'static str = $scoring;

            fn truth(y: &Self::Truth<'_>) -> (Vec<$value>, Option<Vec<f64>>) {
                (y.$truths(), y.weights().map(<[f64]>::to_vec))
            }

            fn labels(values: &[$value]) -> Option<Vec<i64>> {
                let labels: fn(&[$value]) -> Option<Vec<i64>> = $labels;
                labels(values)
            }

            fn accepts(&self) -> Accepts {
                self.0.accepts()
            }

            fn learn(
                &self,
                x: &Matrix<'_>,
                y: &[$value],
                weights: Option<&[f64]>,
            ) -> Result<Box<dyn $model>> {
                self.0.fit_boxed(x, &y, weights)
            }

            fn predict(model: &dyn $model, x: &Matrix<'_>) -> Result<Vec<$value>> {
                Ok(model.predict(x)?.to_vec())
            }

            fn scorer(scoring: &str) -> Result<Scorer<Self>> {
                let score = $scorer(scoring)?;
                Ok(Box::new(move |model, x, y, weights| match weights {
                    None => score(model, x, &y),
                    Some(weights) => score(model, x, &weighted(&y, weights)),
                }))
            }

            fn with(&self, values: &Map<String, Value>) -> Result<Self> {
                Ok($any(self.0.with(values)?))
            }
        }
    };
}

learner!(AnyClassifier, Labels, labels, i64, Classifier, "accuracy", classifier_scorer, |values| Some(
    values.to_vec()
));
learner!(AnyRegressor, Targets, targets, f64, Regressor, "r2", regressor_scorer, |_| None);
