//! The traits of fitted models.

use crate::classical::data::{Accepts, Features, Labels, Matrix, Targets, checked_features, finite};
use crate::classical::{metrics, persist};
use crate::{Error, Result};
use ndarray::{Array1, Array2};
use std::fmt::Debug;
use std::path::Path;

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

    /// The model as bytes that [`Saved::from_bytes`](persist::Saved::from_bytes) reads.
    ///
    /// # Errors
    /// If a part cannot be serialised.
    fn to_bytes(&self) -> Result<Vec<u8>>;

    /// Writes the model to a file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save(&self, path: &Path) -> Result<()> {
        persist::write(path, self.to_bytes())
    }

    /// The checked matrix that a prediction works on.
    ///
    /// # Errors
    /// Another number of columns than at the fit, no rows, values that are not finite (unless NaN is
    /// accepted as missing).
    fn input<'a>(&self, x: &'a dyn Features) -> Result<Matrix<'a>> {
        fitting(self.name(), self.accepts(), x, self.n_features())
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
        Ok(labels(self.classes(), &self.predict_codes(&self.input(x)?)?))
    }

    /// The probability of each class, `[rows, classes]`; rows sum to 1.
    ///
    /// # Errors
    /// As [`Model::input`], and if the model gives no probabilities.
    fn predict_proba(&self, x: &dyn Features) -> Result<Array2<f64>> {
        given(self.name(), self.probabilities(&self.input(x)?)?, "this model gives no probabilities")
    }

    /// Confidence scores, as [`Classifier::scores`] describes.
    ///
    /// # Errors
    /// As [`Model::input`], and if the model has no decision function.
    fn decision_function(&self, x: &dyn Features) -> Result<Array2<f64>> {
        given(self.name(), self.scores(&self.input(x)?)?, "this model has no decision function")
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
        numbers(self.name(), self.predict_rows(&self.input(x)?)?)
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
        numbers(self.name(), self.outlier_scores(&self.input(x)?)?)
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
        transformed(self.name(), self.transform_rows(&self.input(x)?)?.dense().into_owned())
    }

    /// The original rows of transformed ones.
    ///
    /// # Errors
    /// As [`Model::input`], and if the transform has no inverse.
    fn inverse_transform(&self, x: &dyn Features) -> Result<Array2<f64>> {
        let matrix = checked_features(self.name(), self.accepts(), x)?;
        let rows = self.inverse_rows(&matrix)?;
        transformed(self.name(), given_at_all(self.name(), rows, "this transform has no inverse")?)
    }
}

// What the methods above share is no part of them: they are compiled for each of a hundred models.

fn fitting<'a>(
    name: &'static str,
    accepts: Accepts,
    x: &'a dyn Features,
    fitted: usize,
) -> Result<Matrix<'a>> {
    let matrix = checked_features(name, accepts, x)?;
    let given = matrix.columns();
    if given != fitted {
        return Err(Error::op(name, format!("x has {given} columns; the model was fitted on {fitted}")));
    }
    Ok(matrix)
}

fn labels(classes: &[i64], codes: &[usize]) -> Array1<i64> {
    codes.iter().map(|&code| classes[code]).collect()
}

fn given_at_all(name: &'static str, values: Option<Array2<f64>>, none: &str) -> Result<Array2<f64>> {
    values.ok_or_else(|| Error::op(name, none))
}

fn given(name: &'static str, values: Option<Array2<f64>>, none: &str) -> Result<Array2<f64>> {
    let values = given_at_all(name, values, none)?;
    finite(name, &values)?;
    Ok(values)
}

fn numbers(name: &'static str, values: Vec<f64>) -> Result<Array1<f64>> {
    finite(name, &values)?;
    Ok(values.into())
}

fn transformed(name: &'static str, rows: Array2<f64>) -> Result<Array2<f64>> {
    // NaN is a missing value that stays one.
    finite(name, rows.iter().filter(|value| !value.is_nan()))?;
    Ok(rows)
}
