//! Scores of predicted labels.

use super::confusion::{Average, ConfusionMatrix};
use super::label_pairs;
use crate::Result;
use crate::classical::data::Labels;

/// The share of labels predicted right, between 0 and 1.
///
/// # Errors
/// Columns of different lengths, or empty; wrong weights.
pub fn accuracy_score(y_true: &dyn Labels, y_pred: &dyn Labels) -> Result<f64> {
    let (truth, predicted, weights) = label_pairs("accuracy_score", y_true, y_pred)?;
    let right =
        truth.iter().zip(&predicted).map(|(truth, predicted)| f64::from(u8::from(truth == predicted)));
    Ok(super::weighted_mean(right, &weights))
}

/// How many samples of each class were predicted to be of each class.
///
/// # Errors
/// As [`accuracy_score`].
pub fn confusion_matrix(y_true: &dyn Labels, y_pred: &dyn Labels) -> Result<ConfusionMatrix> {
    ConfusionMatrix::new(y_true, y_pred)
}

/// The mean recall of the classes: accuracy that a frequent class cannot dominate.
///
/// # Errors
/// As [`accuracy_score`].
pub fn balanced_accuracy_score(y_true: &dyn Labels, y_pred: &dyn Labels) -> Result<f64> {
    Ok(ConfusionMatrix::new(y_true, y_pred)?.balanced_accuracy())
}

/// The share of predictions of a class that are right; 0 where the class is never predicted
/// ([`ConfusionMatrix::average`] takes another value for that).
///
/// # Errors
/// As [`accuracy_score`] and [`ConfusionMatrix::average`].
pub fn precision_score(y_true: &dyn Labels, y_pred: &dyn Labels, average: Average) -> Result<f64> {
    Ok(ConfusionMatrix::new(y_true, y_pred)?.average(average, 1.0, 0.0)?.precision)
}

/// The share of a class's samples that are found; 0 where it has none.
///
/// # Errors
/// As [`precision_score`].
pub fn recall_score(y_true: &dyn Labels, y_pred: &dyn Labels, average: Average) -> Result<f64> {
    Ok(ConfusionMatrix::new(y_true, y_pred)?.average(average, 1.0, 0.0)?.recall)
}

/// The harmonic mean of precision and recall.
///
/// # Errors
/// As [`precision_score`].
pub fn f1_score(y_true: &dyn Labels, y_pred: &dyn Labels, average: Average) -> Result<f64> {
    fbeta_score(y_true, y_pred, 1.0, average)
}

/// The harmonic mean of precision and recall, in which recall counts `beta` times as much.
///
/// # Errors
/// As [`precision_score`], and a negative `beta`.
pub fn fbeta_score(y_true: &dyn Labels, y_pred: &dyn Labels, beta: f64, average: Average) -> Result<f64> {
    Ok(ConfusionMatrix::new(y_true, y_pred)?.average(average, beta, 0.0)?.fscore)
}

/// Samples in both over samples in either of predicted and true class.
///
/// # Errors
/// As [`precision_score`].
pub fn jaccard_score(y_true: &dyn Labels, y_pred: &dyn Labels, average: Average) -> Result<f64> {
    Ok(ConfusionMatrix::new(y_true, y_pred)?.average(average, 1.0, 0.0)?.jaccard)
}

/// Matthews' correlation coefficient, between -1 and 1; 0 for constant columns.
///
/// # Errors
/// As [`accuracy_score`].
pub fn matthews_corrcoef(y_true: &dyn Labels, y_pred: &dyn Labels) -> Result<f64> {
    Ok(ConfusionMatrix::new(y_true, y_pred)?.matthews_corrcoef())
}

/// Cohen's kappa without weights; [`ConfusionMatrix::cohen_kappa`] has them.
///
/// # Errors
/// As [`accuracy_score`].
pub fn cohen_kappa_score(y_true: &dyn Labels, y_pred: &dyn Labels) -> Result<f64> {
    Ok(ConfusionMatrix::new(y_true, y_pred)?.cohen_kappa(0))
}

/// The share of labels predicted wrong.
///
/// # Errors
/// As [`accuracy_score`].
pub fn hamming_loss(y_true: &dyn Labels, y_pred: &dyn Labels) -> Result<f64> {
    Ok(1.0 - accuracy_score(y_true, y_pred)?)
}

/// Precision, recall, F1 and support of each class and their averages as text.
///
/// # Errors
/// As [`accuracy_score`].
pub fn classification_report(y_true: &dyn Labels, y_pred: &dyn Labels) -> Result<String> {
    Ok(ConfusionMatrix::new(y_true, y_pred)?.report(&[]))
}
