//! Curves over all thresholds of a score, and the areas under them.

use super::probabilities::binary;
use super::weighted_mean;
use crate::classical::data::{Classes, Labels, Targets, weighted};
use crate::classical::order;
use crate::{Error, Result};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// True and false positives for each distinct score, from the highest down.
struct Steps {
    thresholds: Vec<f64>,
    true_positives: Vec<f64>,
    false_positives: Vec<f64>,
}

fn steps(name: &'static str, y_true: &dyn Labels, y_score: &dyn Targets, positive: i64) -> Result<Steps> {
    let (truth, scores, weights) = binary(name, y_true, y_score, positive)?;
    let mut order: Vec<usize> = (0..scores.len()).filter(|&row| weights[row] > 0.0).collect();
    order::descending(&mut order, &scores);
    let mut steps = Steps { thresholds: Vec::new(), true_positives: Vec::new(), false_positives: Vec::new() };
    let (mut hits, mut misses) = (0.0, 0.0);
    for (at, &row) in order.iter().enumerate() {
        *(if truth[row] { &mut hits } else { &mut misses }) += weights[row];
        if order.get(at + 1).is_none_or(|&next| scores[next] != scores[row]) {
            steps.thresholds.push(scores[row]);
            steps.true_positives.push(hits);
            steps.false_positives.push(misses);
        }
    }
    Ok(steps)
}

/// The receiver operating characteristic.
#[derive(Debug, Clone, PartialEq)]
pub struct RocCurve {
    /// The share of negative samples with a score of at least the threshold.
    pub fpr: Vec<f64>,
    /// The share of positive samples with a score of at least the threshold.
    pub tpr: Vec<f64>,
    /// Descending; the first is infinity.
    pub thresholds: Vec<f64>,
}

/// The ROC curve of a score for the class `positive`; points on a straight line between their
/// neighbours are left out.
///
/// # Errors
/// Columns of different lengths, or empty; scores that are not finite; only positive samples, or none;
/// wrong weights.
pub fn roc_curve(y_true: &dyn Labels, y_score: &dyn Targets, positive: i64) -> Result<RocCurve> {
    let steps = steps("roc_curve", y_true, y_score, positive)?;
    let (hits, misses) = (&steps.true_positives, &steps.false_positives);
    let last = hits.len() - 1;
    if hits[last] == 0.0 || misses[last] == 0.0 {
        return Err(Error::op("roc_curve", "y_true needs both positive and negative samples"));
    }
    let straight = |values: &[f64], at: usize| values[at + 1] - values[at] == values[at] - values[at - 1];
    let keep = |at: usize| at == 0 || at == last || !(straight(hits, at) && straight(misses, at));
    let mut curve = RocCurve { fpr: vec![0.0], tpr: vec![0.0], thresholds: vec![f64::INFINITY] };
    for at in (0..=last).filter(|&at| keep(at)) {
        curve.fpr.push(misses[at] / misses[last]);
        curve.tpr.push(hits[at] / hits[last]);
        curve.thresholds.push(steps.thresholds[at]);
    }
    Ok(curve)
}

/// The area under a curve by the trapezoidal rule; `x` ascends or descends.
///
/// # Errors
/// Columns of different lengths, fewer than two points, or an `x` that turns.
pub fn auc(x: &[f64], y: &[f64]) -> Result<f64> {
    if x.len() != y.len() || x.len() < 2 {
        return Err(Error::op(
            "auc",
            format!("{} and {} points; the same number is needed, at least 2", x.len(), y.len()),
        ));
    }
    let (ascending, descending) = (x.is_sorted(), x.is_sorted_by(|a, b| a >= b));
    if !ascending && !descending {
        return Err(Error::op("auc", "x neither ascends nor descends"));
    }
    let area: f64 = x.windows(2).zip(y.windows(2)).map(|(x, y)| (x[1] - x[0]) * (y[0] + y[1]) / 2.0).sum();
    Ok(if ascending { area } else { -area })
}

/// How several classes are reduced to pairs of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiClass {
    /// Each class against all others; the mean over classes.
    #[default]
    Ovr,
    /// As `Ovr`, classes weighted by their samples.
    OvrWeighted,
    /// Each class against each other one; the mean over pairs (Hand and Till, 2001).
    Ovo,
    /// As `Ovo`, pairs weighted by their samples.
    OvoWeighted,
}

/// The area under the ROC curve of a score for the class `positive`: the probability that a positive
/// sample scores above a negative one.
///
/// # Errors
/// As [`roc_curve`].
pub fn roc_auc_score(y_true: &dyn Labels, y_score: &dyn Targets, positive: i64) -> Result<f64> {
    let curve = roc_curve(y_true, y_score, positive)?;
    auc(&curve.fpr, &curve.tpr)
}

/// The area under the ROC curve for more than two classes; the columns of `scores` are those of
/// `classes`.
///
/// # Errors
/// As [`roc_curve`], another number of columns than classes, or a class without samples.
pub fn roc_auc_score_multiclass(
    y_true: &dyn Labels,
    scores: ArrayView2<'_, f64>,
    classes: &[i64],
    multi_class: MultiClass,
) -> Result<f64> {
    let name = "roc_auc_score";
    let labels = y_true.labels();
    let found = Classes::new(&labels);
    if found.values != classes || scores.dim() != (labels.len(), classes.len()) {
        let message = format!(
            "y_true holds classes {:?} in {} rows; the scores are {:?} for classes {classes:?}",
            found.values,
            labels.len(),
            scores.dim()
        );
        return Err(Error::op(name, message));
    }
    let given = super::sample_weights(name, labels.len(), y_true.weights())?;
    let counts = found.counts(None);
    let (mut areas, mut parts) = (Vec::new(), Vec::new());
    match multi_class {
        MultiClass::Ovr | MultiClass::OvrWeighted => {
            let weights = found.counts(Some(&given));
            for (column, &class) in classes.iter().enumerate() {
                areas.push(roc_auc_score(&weighted(&labels, &given), &scores.column(column), class)?);
                parts.push(if multi_class == MultiClass::Ovr { 1.0 } else { weights[column] });
            }
        }
        MultiClass::Ovo | MultiClass::OvoWeighted => {
            if y_true.weights().is_some() {
                return Err(Error::op(name, "sample_weight is not defined one against one"));
            }
            for a in 0..classes.len() {
                for b in a + 1..classes.len() {
                    let rows: Vec<usize> =
                        (0..labels.len()).filter(|&row| [a, b].contains(&found.codes[row])).collect();
                    let truth: Vec<i64> = rows.iter().map(|&row| labels[row]).collect();
                    let area = |class: usize| {
                        let column: Vec<f64> = rows.iter().map(|&row| scores[[row, class]]).collect();
                        roc_auc_score(&truth, &column, classes[class])
                    };
                    areas.push((area(a)? + area(b)?) / 2.0);
                    parts.push(if multi_class == MultiClass::Ovo { 1.0 } else { counts[a] + counts[b] });
                }
            }
        }
    }
    Ok(weighted_mean(areas.into_iter(), &parts))
}

/// Precision against recall.
#[derive(Debug, Clone, PartialEq)]
pub struct PrecisionRecallCurve {
    /// The share of samples at or above the threshold that are positive; the last is 1.
    pub precision: Vec<f64>,
    /// The share of positive samples at or above the threshold; the last is 0.
    pub recall: Vec<f64>,
    /// Ascending, one fewer than the points.
    pub thresholds: Vec<f64>,
}

/// Precision and recall for every threshold of a score for the class `positive`.
///
/// # Errors
/// As [`roc_curve`], but negative samples are not needed.
pub fn precision_recall_curve(
    y_true: &dyn Labels,
    y_score: &dyn Targets,
    positive: i64,
) -> Result<PrecisionRecallCurve> {
    let steps = steps("precision_recall_curve", y_true, y_score, positive)?;
    let total = steps.true_positives.last().copied().unwrap_or(0.0);
    if total == 0.0 {
        return Err(Error::op("precision_recall_curve", "y_true holds no positive sample"));
    }
    let points = steps.true_positives.iter().zip(&steps.false_positives).rev();
    let (mut precision, mut recall): (Vec<f64>, Vec<f64>) =
        points.map(|(hits, misses)| (hits / (hits + misses), hits / total)).unzip();
    precision.push(1.0);
    recall.push(0.0);
    Ok(PrecisionRecallCurve { precision, recall, thresholds: steps.thresholds.into_iter().rev().collect() })
}

/// The mean precision at the thresholds, weighted by the gain in recall.
///
/// # Errors
/// As [`precision_recall_curve`].
pub fn average_precision_score(y_true: &dyn Labels, y_score: &dyn Targets, positive: i64) -> Result<f64> {
    let curve = precision_recall_curve(y_true, y_score, positive)?;
    Ok(curve.recall.windows(2).zip(&curve.precision).map(|(recall, p)| (recall[0] - recall[1]) * p).sum())
}
