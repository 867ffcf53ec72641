//! The traits that let estimators be swapped: parameters are fitted to data and give a model.
//!
//! Parameters (`FitClassifier` and its like) know their type of model; the `Dyn` traits beside them are
//! for code that chooses an estimator at run time (pipelines, grid search, voting).

use super::data::{
    Accepts, Classes, Features, Labels, Matrix, Targets, Training, checked_features, checked_targets, finite,
};
use super::metrics;
use super::persist::Saved;
use crate::{Error, Result};
use ndarray::{Array1, Array2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;
use std::path::Path;

/// The parameters of an estimator: plain values with defaults, set by methods of their names.
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
        let failed = |error: serde_json::Error| Self::error(error.to_string());
        let mut all = serde_json::to_value(self).map_err(failed)?;
        if let Value::Object(all) = &mut all {
            all.extend(values.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        serde_json::from_value(all).map_err(failed)
    }

    /// An error of this estimator.
    fn error(message: impl Into<String>) -> Error {
        Error::op(Self::NAME, message)
    }
}

/// A fitted estimator of any kind.
pub trait Model: Debug + Send + Sync {
    /// The name of the estimator, as in scikit-learn.
    fn name(&self) -> &'static str;

    /// How many columns it was fitted on, and wants at prediction.
    fn n_features(&self) -> usize;

    /// What kind of input it takes.
    fn accepts(&self) -> Accepts {
        Accepts::PLAIN
    }

    /// How much each column counts for the model, in a unit of its own: a tree's `feature_importances`, the
    /// sums of the squares of linear coefficients. `None` if it cannot say.
    fn importances(&self) -> Option<Vec<f64>> {
        None
    }

    /// Whether the fields fit each other as a fit leaves them, which predictions rely on. Asked of a model that
    /// was read: the checksum of a file does not tell that a fit made it.
    fn is_consistent(&self) -> bool {
        true
    }

    /// The model as bytes that [`Saved::from_bytes`] reads.
    ///
    /// # Errors
    /// If a part cannot be serialised.
    fn to_bytes(&self) -> Result<Vec<u8>>;

    /// Writes the model to a file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save(&self, path: &Path) -> Result<()> {
        super::persist::write(path, &self.to_bytes()?)
    }

    /// The checked matrix that a prediction works on.
    ///
    /// # Errors
    /// Another number of columns than at the fit, no rows, values that are not finite (unless NaN is
    /// accepted as missing).
    fn input<'a>(&self, x: &'a dyn Features) -> Result<Matrix<'a>> {
        let matrix = checked_features(self.name(), self.accepts(), x)?;
        let (given, fitted) = (matrix.columns(), self.n_features());
        if given != fitted {
            return Err(Error::op(
                self.name(),
                format!("x has {given} columns; the model was fitted on {fitted}"),
            ));
        }
        Ok(matrix)
    }
}

/// A fitted classifier.
pub trait Classifier: Model {
    /// The labels it can predict, ascending; columns of probabilities and scores are in this order.
    fn classes(&self) -> &[i64];

    /// The position in [`Classifier::classes`] of each row's predicted label; `x` is checked.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>>;

    /// Class probabilities `[rows, classes]` of checked rows, or `None` if the model has none.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn probabilities(&self, _x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        Ok(None)
    }

    /// Confidence scores of checked rows, or `None` if the model has none: `[rows, 1]` for two classes
    /// (above 0 means the second), else `[rows, classes]`.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn scores(&self, _x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        Ok(None)
    }

    /// The predicted label of each row.
    ///
    /// # Errors
    /// As [`Model::input`].
    fn predict(&self, x: &dyn Features) -> Result<Array1<i64>> {
        let codes = self.predict_codes(&self.input(x)?)?;
        Ok(codes.into_iter().map(|code| self.classes()[code]).collect())
    }

    /// The probability of each class, `[rows, classes]`; rows sum to 1.
    ///
    /// # Errors
    /// As [`Model::input`], and if the model gives no probabilities.
    fn predict_proba(&self, x: &dyn Features) -> Result<Array2<f64>> {
        let probabilities = self.probabilities(&self.input(x)?)?;
        let none = || Error::op(self.name(), "this model gives no probabilities");
        let probabilities = probabilities.ok_or_else(none)?;
        finite(self.name(), &probabilities)?;
        Ok(probabilities)
    }

    /// Confidence scores, as [`Classifier::scores`] describes.
    ///
    /// # Errors
    /// As [`Model::input`], and if the model has no decision function.
    fn decision_function(&self, x: &dyn Features) -> Result<Array2<f64>> {
        let scores = self.scores(&self.input(x)?)?;
        let scores = scores.ok_or_else(|| Error::op(self.name(), "this model has no decision function"))?;
        finite(self.name(), &scores)?;
        Ok(scores)
    }

    /// The accuracy on `x` and `y`, between 0 and 1.
    ///
    /// # Errors
    /// As [`Model::input`], and if `y` has another length.
    fn score(&self, x: &dyn Features, y: &dyn Labels) -> Result<f64> {
        metrics::accuracy_score(y, &self.predict(x)?)
    }
}

/// A fitted regressor.
pub trait Regressor: Model {
    /// The predicted value of each checked row.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>>;

    /// The predicted value of each row.
    ///
    /// # Errors
    /// As [`Model::input`].
    fn predict(&self, x: &dyn Features) -> Result<Array1<f64>> {
        let predicted = self.predict_rows(&self.input(x)?)?;
        finite(self.name(), &predicted)?;
        Ok(predicted.into())
    }

    /// The coefficient of determination R2 on `x` and `y`, at most 1.
    ///
    /// # Errors
    /// As [`Model::input`], and if `y` has another length.
    fn score(&self, x: &dyn Features, y: &dyn Targets) -> Result<f64> {
        metrics::r2_score(y, &self.predict(x)?)
    }
}

/// A fitted clustering.
pub trait Clusterer: Model {
    /// The cluster of each training row, from 0; -1 is noise.
    fn labels(&self) -> &[i64];

    /// The cluster of each checked row, or `None` if the algorithm says nothing about new rows.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn assign(&self, _x: &Matrix<'_>) -> Result<Option<Vec<i64>>> {
        Ok(None)
    }

    /// The cluster of each row.
    ///
    /// # Errors
    /// As [`Model::input`], and if the algorithm cannot place new rows.
    fn predict(&self, x: &dyn Features) -> Result<Array1<i64>> {
        let assigned = self.assign(&self.input(x)?)?;
        assigned.map(Array1::from).ok_or_else(|| {
            Error::op(self.name(), "this clustering labels its training rows only; see labels()")
        })
    }
}

/// A fitted outlier detector.
pub trait OutlierDetector: Model {
    /// A score for each checked row: below 0 is an outlier, the lower the more abnormal.
    ///
    /// # Errors
    /// If the model cannot be evaluated.
    fn outlier_scores(&self, x: &Matrix<'_>) -> Result<Vec<f64>>;

    /// A score for each row: below 0 is an outlier.
    ///
    /// # Errors
    /// As [`Model::input`].
    fn decision_function(&self, x: &dyn Features) -> Result<Array1<f64>> {
        let scores = self.outlier_scores(&self.input(x)?)?;
        finite(self.name(), &scores)?;
        Ok(scores.into())
    }

    /// -1 for outliers, 1 for inliers.
    ///
    /// # Errors
    /// As [`Model::input`].
    fn predict(&self, x: &dyn Features) -> Result<Array1<i64>> {
        Ok(self.decision_function(x)?.mapv(|score| if score < 0.0 { -1 } else { 1 }))
    }
}

/// A fitted transformer.
pub trait Transformer: Model {
    /// The transformed rows of a checked matrix.
    ///
    /// # Errors
    /// If a value cannot be transformed (an unseen category, say).
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>>;

    /// The original rows of transformed ones, or `None` if there is no way back.
    ///
    /// # Errors
    /// If a value cannot be transformed.
    fn inverse_rows(&self, _x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        Ok(None)
    }

    /// The names of the columns that [`Transformer::transform`] makes of columns with these names.
    fn feature_names_out(&self, input: &[String]) -> Vec<String>;

    /// The transformed rows as a dense array.
    ///
    /// # Errors
    /// As [`Model::input`], and if a value cannot be transformed.
    fn transform(&self, x: &dyn Features) -> Result<Array2<f64>> {
        let rows = self.transform_rows(&self.input(x)?)?.dense().into_owned();
        // NaN is a missing value that stays one.
        finite(self.name(), rows.iter().filter(|value| !value.is_nan()))?;
        Ok(rows)
    }

    /// The original rows of transformed ones.
    ///
    /// # Errors
    /// As [`Model::input`], and if the transform has no inverse.
    fn inverse_transform(&self, x: &dyn Features) -> Result<Array2<f64>> {
        let matrix = checked_features(self.name(), self.accepts(), x)?;
        let rows = self.inverse_rows(&matrix)?;
        let rows = rows.ok_or_else(|| Error::op(self.name(), "this transform has no inverse"))?;
        finite(self.name(), rows.iter().filter(|value| !value.is_nan()))?;
        Ok(rows)
    }
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
    let labels = y.labels();
    let accepts = params.accepts();
    let data = Training::checked(P::NAME, accepts, x, Classes::new(&labels), Some(labels.len()), weights)?;
    let (found, needed) = (data.y.values.len(), accepts.classes);
    if found < needed {
        let only = data.y.values.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        return Err(P::error(format!("y holds {found} class ({only}); at least {needed} are needed")));
    }
    params.fit_checked(&data)
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
