//! How good a classifier is, from its probabilities for images whose classes are known.

use crate::classical::metrics::{Average, ConfusionMatrix, calibration_bins, log_loss, top_k_accuracy_score};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2};
use serde::{Serialize, Serializer};
use std::fmt;

/// The bins of confidence, as in Guo et al. (2017).
const BINS: usize = 15;
/// How many confused pairs are kept.
const PAIRS: usize = 20;
/// How many mistakes are kept.
const MISTAKES: usize = 50;

/// How good a classifier is on labelled images.
///
/// [`fmt::Display`] prints a table; as JSON (serde) it has the layout that `docs/json.md` describes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// How many images were classified.
    pub images: usize,
    /// The share of images whose class has the highest probability.
    pub accuracy: f64,
    /// The share of images whose class is among the most probable ones.
    pub top_k: TopK,
    /// The mean cross-entropy in nats.
    pub loss: f64,
    /// F1 averaged over all classes; a class without images and predictions counts 0.
    pub macro_f1: f64,
    /// How well the probabilities tell how often the predictions are right.
    pub calibration: Calibration,
    /// Each class, in the order of the network's outputs.
    pub classes: Vec<ClassResult>,
    /// How many images of each class (rows) were predicted to be of each class (columns).
    #[serde(serialize_with = "rows")]
    pub confusion: ConfusionMatrix,
    /// The pairs of classes most often confused, at most 20, the most frequent first.
    pub confused: Vec<ConfusedPair>,
    /// The images predicted wrong with the highest probability, at most 50, the surest first.
    pub mistakes: Vec<Mistake>,
}

/// Accuracy where each image has several guesses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TopK {
    /// How many guesses: 5, or the number of classes where that is less.
    pub k: usize,
    /// The share of images whose class is among them.
    pub accuracy: f64,
}

/// The scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassResult {
    /// The class's name.
    pub name: String,
    /// The share of predictions of the class that are right; 0 where it is never predicted.
    pub precision: f64,
    /// The share of the class's images that are found; 0 where it has none.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// How many images are of the class.
    pub support: usize,
    /// How many images were predicted to be of the class.
    pub predicted: usize,
}

/// Confidence (the highest probability of an image) against accuracy.
///
/// Guo et al., "On Calibration of Modern Neural Networks", 2017.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// The expected calibration error: the mean distance of accuracy and confidence in 15 bins of equal
    /// width, each weighted by its images; 0 is best, 1 worst.
    pub expected_error: f64,
    /// The bins that hold images, by ascending confidence.
    pub bins: Vec<CalibrationBin>,
}

/// The images of like confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// The bin's lower edge, which is not part of it.
    pub low: f64,
    /// The bin's upper edge, which is part of it.
    pub high: f64,
    /// How many images it holds.
    pub images: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them predicted right.
    pub accuracy: f64,
}

/// Images of one class that were taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ConfusedPair {
    /// The class of the images.
    pub label: usize,
    /// The class they were predicted to be.
    pub predicted: usize,
    /// How many there are.
    pub images: usize,
    /// Their share of the images of the class.
    pub share: f64,
}

/// An image that was predicted wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mistake {
    /// Its place among the images.
    pub index: usize,
    /// Its class.
    pub label: usize,
    /// The class it was predicted to be.
    pub predicted: usize,
    /// The probability of the class predicted.
    pub probability: f64,
    /// The probability of its own class.
    pub label_probability: f64,
}

impl Evaluation {
    /// Compares probabilities `[images, classes]`, row after row, with the images' labels. Of equal
    /// probabilities the first class is the one predicted.
    ///
    /// # Errors
    /// No images or no classes, another number of probabilities than images times classes, a label that is
    /// no class, or a row that is no distribution (numbers outside 0..=1, NaN, a sum that is not 1).
    pub fn new(classes: &[String], probabilities: &[f32], labels: &[i32]) -> Result<Evaluation> {
        let (images, count) = (labels.len(), classes.len());
        let refuse = |message: String| Err(Error::op("evaluation", message));
        if images == 0 || count == 0 || images.checked_mul(count) != Some(probabilities.len()) {
            let given = probabilities.len();
            return refuse(format!("{given} probabilities for {images} images of {count} classes"));
        }
        if let Some(at) = labels.iter().position(|&label| !usize::try_from(label).is_ok_and(|at| at < count))
        {
            let label = labels[at];
            return refuse(format!("image {at} has the label {label}; there are {count} classes"));
        }
        let truth: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
        let ids: Vec<i64> = (0..count as i64).collect();
        let wide: Vec<f64> = probabilities.iter().map(|&p| f64::from(p)).collect();
        let table = ArrayView2::from_shape((images, count), &wide)
            .map_err(|error| Error::op("evaluation", error.to_string()))?;
        let loss = log_loss(&truth, table, &ids)?;
        let k = count.min(5);
        let top_k = TopK { k, accuracy: top_k_accuracy_score(&truth, table, &ids, k)? };

        let guesses: Vec<Mistake> = (0..images)
            .map(|index| {
                let (row, label) = (table.row(index), labels[index] as usize);
                let predicted = (0..count).fold(0, |best, at| if row[at] > row[best] { at } else { best });
                let (probability, label_probability) = (row[predicted], row[label]);
                Mistake { index, label, predicted, probability, label_probability }
            })
            .collect();
        let mut counts = Array2::zeros((count, count));
        guesses.iter().for_each(|guess| counts[[guess.label, guess.predicted]] += 1.0);
        let confusion = ConfusionMatrix { labels: ids, counts };

        let per_class = confusion.per_class(1.0, 0.0);
        let results =
            classes.iter().zip(per_class).zip(confusion.counts.columns()).map(|((name, scores), column)| {
                ClassResult {
                    name: name.clone(),
                    precision: scores.precision,
                    recall: scores.recall,
                    f1: scores.fscore,
                    support: scores.support as usize,
                    predicted: column.sum() as usize,
                }
            });
        let mut mistakes: Vec<Mistake> =
            guesses.iter().filter(|guess| guess.predicted != guess.label).copied().collect();
        mistakes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        mistakes.truncate(MISTAKES);
        Ok(Evaluation {
            images,
            accuracy: confusion.accuracy(),
            top_k,
            loss,
            macro_f1: confusion.average(Average::Macro, 1.0, 0.0)?.fscore,
            calibration: Calibration::new(&guesses),
            classes: results.collect(),
            confused: confused(&confusion),
            confusion,
            mistakes,
        })
    }

    /// The name of a class, or its number where there is no such class.
    pub fn class(&self, class: usize) -> String {
        self.classes.get(class).map_or_else(|| class.to_string(), |class| class.name.clone())
    }
}

impl Calibration {
    fn new(guesses: &[Mistake]) -> Calibration {
        let edge = |bin: usize| bin as f64 / BINS as f64;
        let edges: Vec<f64> = (1..BINS).map(edge).collect();
        let right: Vec<bool> = guesses.iter().map(|guess| guess.predicted == guess.label).collect();
        let confidence: Vec<f64> = guesses.iter().map(|guess| guess.probability).collect();
        let sums = calibration_bins(&right, &confidence, &edges);
        let distance: f64 = sums.iter().map(|[right, confidence, _]| (right - confidence).abs()).sum();
        let bins = sums.iter().enumerate().filter(|(_, sums)| sums[2] > 0.0);
        let bins = bins.map(|(bin, &[right, confidence, images])| CalibrationBin {
            low: edge(bin),
            high: edge(bin + 1),
            images: images as usize,
            confidence: confidence / images,
            accuracy: right / images,
        });
        Calibration { expected_error: distance / guesses.len() as f64, bins: bins.collect() }
    }
}

fn confused(confusion: &ConfusionMatrix) -> Vec<ConfusedPair> {
    let off_diagonal =
        |&((label, predicted), &count): &((usize, usize), &f64)| label != predicted && count > 0.0;
    let pair = |((label, predicted), &count)| ConfusedPair {
        label,
        predicted,
        images: count as usize,
        share: count / confusion.counts.row(label).sum(),
    };
    let mut pairs: Vec<ConfusedPair> =
        confusion.counts.indexed_iter().filter(off_diagonal).map(pair).collect();
    pairs.sort_by(|a, b| b.images.cmp(&a.images).then(b.share.total_cmp(&a.share)));
    pairs.truncate(PAIRS);
    pairs
}

/// The counts of a confusion matrix as integers, row after row.
fn rows<S: Serializer>(confusion: &ConfusionMatrix, serializer: S) -> Result<S::Ok, S::Error> {
    let row = |row: ndarray::ArrayView1<'_, f64>| -> Vec<usize> {
        row.iter().map(|&count| count as usize).collect()
    };
    serializer.collect_seq(confusion.counts.rows().into_iter().map(row))
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        writeln!(f, "images             {}", self.images)?;
        writeln!(f, "accuracy           {}", percent(self.accuracy))?;
        if self.top_k.k < self.classes.len() {
            writeln!(f, "top-{} accuracy     {}", self.top_k.k, percent(self.top_k.accuracy))?;
        }
        writeln!(f, "loss               {:.4}", self.loss)?;
        writeln!(f, "calibration error  {}", percent(self.calibration.expected_error))?;
        let names: Vec<String> = self.classes.iter().map(|class| class.name.clone()).collect();
        write!(f, "\n{}", self.confusion.report(&names))?;
        if !self.confused.is_empty() {
            writeln!(f, "\nmost confused:")?;
        }
        for pair in self.confused.iter().take(5) {
            let (label, predicted) = (self.class(pair.label), self.class(pair.predicted));
            let share = percent(pair.share);
            writeln!(f, "  {} of {label} taken for {predicted} ({share} of {label})", pair.images)?;
        }
        Ok(())
    }
}
