//! The traits that let estimators be swapped: parameters are fitted to data and give a model.
//!
//! Parameters (`FitClassifier` and its like) know their type of model; the `Dyn` traits beside them are
//! for code that chooses an estimator at run time (pipelines, grid search, voting).

mod model;

pub use model::{Classifier, Clusterer, Model, OutlierDetector, Regressor, Transformer};

use super::data::{Accepts, Classes, Features, Labels, Matrix, Targets, Training, checked_targets};
use super::fields;
use super::persist::Saved;
use crate::{Error, Result};
use ndarray::Array2;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

/// The parameters of an estimator: plain values with defaults, set by methods of their names. Read from the
/// fields of JSON objects, which takes a `Deserialize` that is derived.
pub trait Parameters: Clone + Debug + Default + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// The estimator's name, as in scikit-learn.
    const NAME: &'static str;

    /// What kind of input the estimator takes.
    fn accepts(&self) -> Accepts {
        Accepts::PLAIN
    }

    /// Whether the parameters' values make sense.
    ///
    /// # Errors
    /// Names the parameter, its value and what it may be.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The same parameters with some replaced, by name; estimators made of others take the names of
    /// their parts too (`step__parameter`).
    ///
    /// # Errors
    /// Names a parameter that does not exist, or whose value is of another type.
    fn replaced(&self, values: &serde_json::Map<String, Value>) -> Result<Self> {
        fields::parameters(merged(Self::NAME, serde_json::to_value(self), values)?)
    }

    /// An error of this estimator.
    fn error(message: impl Into<String>) -> Error {
        Error::op(Self::NAME, message)
    }
}

fn merged(
    name: &'static str,
    all: serde_json::Result<Value>,
    values: &serde_json::Map<String, Value>,
) -> Result<Value> {
    let mut all = all.map_err(|error| fields::refused(name, &error))?;
    if let Value::Object(all) = &mut all {
        all.extend(values.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(all)
}

/// What a transformer may learn from besides the features.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Nothing.
    None,
    /// Class labels.
    Classes(Classes),
    /// Numbers.
    Values(Vec<f64>),
}

impl Target {
    /// Class labels as a target.
    pub fn classes(y: &dyn Labels) -> Target {
        Target::Classes(Classes::new(&y.labels()))
    }

    /// How many samples it is for, if it says.
    pub fn len(&self) -> Option<usize> {
        match self {
            Target::None => None,
            Target::Classes(classes) => Some(classes.codes.len()),
            Target::Values(values) => Some(values.len()),
        }
    }

    /// Whether there is no sample in it.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

/// Parameters of a classifier.
pub trait FitClassifier: Parameters {
    /// What a fit gives.
    type Model: Classifier + Saved;

    /// Fits checked data, with at least [`Accepts::classes`] classes.
    ///
    /// # Errors
    /// If the algorithm cannot learn from the data.
    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<Self::Model>;

    /// Learns from features and their labels.
    ///
    /// # Errors
    /// Wrong parameters, and data that [`Training::checked`] refuses or that has too few classes.
    fn fit(&self, x: &dyn Features, y: &dyn Labels) -> Result<Self::Model> {
        fit_classifier(self, x, y, y.weights())
    }

    /// As [`FitClassifier::fit`], with a weight for each sample.
    ///
    /// # Errors
    /// As [`FitClassifier::fit`], and weights that are negative or of another length.
    fn fit_weighted(&self, x: &dyn Features, y: &dyn Labels, sample_weight: &[f64]) -> Result<Self::Model> {
        fit_classifier(self, x, y, Some(sample_weight))
    }
}

fn fit_classifier<P: FitClassifier>(
    params: &P,
    x: &dyn Features,
    y: &dyn Labels,
    weights: Option<&[f64]>,
) -> Result<P::Model> {
    params.check()?;
    params.fit_checked(&classified(P::NAME, params.accepts(), x, y, weights)?)
}

fn classified<'a>(
    name: &'static str,
    accepts: Accepts,
    x: &'a dyn Features,
    y: &dyn Labels,
    weights: Option<&'a [f64]>,
) -> Result<Training<'a, Classes>> {
    let labels = y.labels();
    let data = Training::checked(name, accepts, x, Classes::new(&labels), Some(labels.len()), weights)?;
    let (found, needed) = (data.y.values.len(), accepts.classes);
    if found < needed {
        let only = data.y.values.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let message = format!("y holds {found} class ({only}); at least {needed} are needed");
        return Err(Error::op(name, message));
    }
    Ok(data)
}

/// Parameters of a regressor.
pub trait FitRegressor: Parameters {
    /// What a fit gives.
    type Model: Regressor + Saved;

    /// Fits checked data.
    ///
    /// # Errors
    /// If the algorithm cannot learn from the data.
    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<Self::Model>;

    /// Learns from features and their targets.
    ///
    /// # Errors
    /// Wrong parameters, and data that [`Training::checked`] refuses.
    fn fit(&self, x: &dyn Features, y: &dyn Targets) -> Result<Self::Model> {
        fit_regressor(self, x, y, y.weights())
    }

    /// As [`FitRegressor::fit`], with a weight for each sample.
    ///
    /// # Errors
    /// As [`FitRegressor::fit`], and weights that are negative or of another length.
    fn fit_weighted(&self, x: &dyn Features, y: &dyn Targets, sample_weight: &[f64]) -> Result<Self::Model> {
        fit_regressor(self, x, y, Some(sample_weight))
    }
}

fn fit_regressor<P: FitRegressor>(
    params: &P,
    x: &dyn Features,
    y: &dyn Targets,
    weights: Option<&[f64]>,
) -> Result<P::Model> {
    params.check()?;
    let targets = checked_targets(P::NAME, y)?;
    let length = targets.len();
    params.fit_checked(&Training::checked(P::NAME, params.accepts(), x, targets, Some(length), weights)?)
}

/// Parameters of an estimator that learns from features alone.
macro_rules! unsupervised {
    ($(#[$doc:meta])* $trait:ident, $model:ident) => {
        $(#[$doc])*
        pub trait $trait: Parameters {
            /// What a fit gives.
            type Model: $model + Saved;

            /// Fits checked data.
            ///
            /// # Errors
            /// If the algorithm cannot learn from the data.
            fn fit_checked(&self, data: &Training<'_, ()>) -> Result<Self::Model>;

            /// Learns from features.
            ///
            /// # Errors
            /// Wrong parameters, and data that [`Training::checked`] refuses.
            fn fit(&self, x: &dyn Features) -> Result<Self::Model> {
                self.check()?;
                self.fit_checked(&Training::checked(Self::NAME, self.accepts(), x, (), None, None)?)
            }

            /// As `fit`, with a weight for each sample.
            ///
            /// # Errors
            /// As `fit`, and weights that are negative or of another length.
            fn fit_weighted(&self, x: &dyn Features, sample_weight: &[f64]) -> Result<Self::Model> {
                self.check()?;
                self.fit_checked(&Training::checked(Self::NAME, self.accepts(), x, (), None, Some(sample_weight))?)
            }
        }
    };
}

unsupervised!(
    /// Parameters of a clustering algorithm.
    FitClusterer,
    Clusterer
);
unsupervised!(
    /// Parameters of an outlier detector.
    FitOutlierDetector,
    OutlierDetector
);

/// Parameters of a transformer.
pub trait FitTransformer: Parameters {
    /// What a fit gives.
    type Model: Transformer + Saved;

    /// Fits checked data.
    ///
    /// # Errors
    /// If the transformer cannot learn from the data, or needs a target and has none.
    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<Self::Model>;

    /// Fits checked data and transforms it. Differs from the two steps one after the other where a row
    /// must not see its own target (target encoding).
    ///
    /// # Errors
    /// As [`FitTransformer::fit_checked`] and [`Transformer::transform_rows`].
    fn fit_transform_checked(&self, data: &Training<'_, Target>) -> Result<(Self::Model, Matrix<'static>)> {
        let model = self.fit_checked(data)?;
        let rows = model.transform_rows(&data.x)?;
        Ok((model, rows))
    }

    /// Learns from features.
    ///
    /// # Errors
    /// Wrong parameters, and data that [`Training::checked`] refuses.
    fn fit(&self, x: &dyn Features) -> Result<Self::Model> {
        self.fit_with(x, Target::None)
    }

    /// Learns from features and a target (target encoding, supervised selection and projection).
    ///
    /// # Errors
    /// As [`FitTransformer::fit`], and a target of another length.
    fn fit_with(&self, x: &dyn Features, y: Target) -> Result<Self::Model> {
        self.check()?;
        let length = y.len();
        self.fit_checked(&Training::checked(Self::NAME, self.accepts(), x, y, length, None)?)
    }

    /// Learns from features and transforms them.
    ///
    /// # Errors
    /// As [`FitTransformer::fit`].
    fn fit_transform(&self, x: &dyn Features) -> Result<Array2<f64>> {
        Ok(self.fit_transform_with(x, Target::None)?.1.dense().into_owned())
    }

    /// Learns from features and a target, and transforms the features.
    ///
    /// # Errors
    /// As [`FitTransformer::fit_with`].
    fn fit_transform_with(&self, x: &dyn Features, y: Target) -> Result<(Self::Model, Matrix<'static>)> {
        self.check()?;
        let length = y.len();
        self.fit_transform_checked(&Training::checked(Self::NAME, self.accepts(), x, y, length, None)?)
    }
}
