//! The confusion matrix, and the scores that are counted from it.

use super::label_pairs;
use crate::classical::data::Labels;
use crate::{Error, Result};
use ndarray::{Array2, Axis};
use std::fmt;

/// How scores of several classes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// The score of the class with this label alone.
    Binary(i64),
    /// From the counts of all classes together.
    Micro,
    /// The mean over classes.
    Macro,
    /// The mean over classes, each weighted by its true samples.
    Weighted,
}

/// Precision, recall and F of one class, or averaged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassScores {
    /// The share of predictions of the class that are right.
    pub precision: f64,
    /// The share of the class's samples that are found.
    pub recall: f64,
    /// The weighted harmonic mean of the two.
    pub fscore: f64,
    /// Intersection over union of predicted and true samples.
    pub jaccard: f64,
    /// How many samples (or what weight) the class has.
    pub support: f64,
}

/// How many samples of each class (rows) were predicted to be of each class (columns).
#[derive(Debug, Clone, PartialEq)]
pub struct ConfusionMatrix {
    /// The labels of rows and columns, ascending.
    pub labels: Vec<i64>,
    /// Counts, or sums of weights, `[true, predicted]`.
    pub counts: Array2<f64>,
}

impl ConfusionMatrix {
    /// Counts true against predicted labels; the classes are all that appear in either.
    ///
    /// # Errors
    /// Columns of different lengths, or empty; wrong weights.
    pub fn new(y_true: &dyn Labels, y_pred: &dyn Labels) -> Result<ConfusionMatrix> {
        let (truth, predicted, weights) = label_pairs("confusion_matrix", y_true, y_pred)?;
        let mut labels: Vec<i64> = truth.iter().chain(&predicted).copied().collect();
        labels.sort_unstable();
        labels.dedup();
        let mut counts = Array2::zeros((labels.len(), labels.len()));
        // Every label is in the list just made.
        let code = |label: &i64| labels.binary_search(label).unwrap_or_default();
        for ((truth, predicted), weight) in truth.iter().zip(&predicted).zip(weights) {
            counts[[code(truth), code(predicted)]] += weight;
        }
        Ok(ConfusionMatrix { labels, counts })
    }

    /// True positives, predictions and true samples of each class.
    fn tallies(&self) -> Vec<[f64; 3]> {
        let (rows, columns) = (self.counts.sum_axis(Axis(1)), self.counts.sum_axis(Axis(0)));
        let hits = self.counts.diag();
        (0..self.labels.len()).map(|class| [hits[class], columns[class], rows[class]]).collect()
    }

    /// The share of samples predicted right.
    pub fn accuracy(&self) -> f64 {
        self.counts.diag().sum() / self.counts.sum()
    }

    /// The scores of each class, in the order of `labels`, with F-`beta`; `zero_division` stands for
    /// what has nothing to be counted.
    pub fn per_class(&self, beta: f64, zero_division: f64) -> Vec<ClassScores> {
        self.tallies().into_iter().map(|tally| scores(tally, beta, zero_division)).collect()
    }

    /// The scores averaged over classes; a `zero_division` of NaN leaves undefined ones out.
    ///
    /// # Errors
    /// [`Average::Binary`] with a label that is not there, or with more than two classes.
    pub fn average(&self, average: Average, beta: f64, zero_division: f64) -> Result<ClassScores> {
        if beta < 0.0 || !beta.is_finite() {
            return Err(Error::op("fbeta_score", format!("beta is {beta}; it must be 0 or more")));
        }
        let tallies = self.tallies();
        match average {
            Average::Binary(positive) => {
                if self.labels.len() > 2 {
                    let message =
                        "there are more than two classes; choose the micro, macro or weighted average";
                    return Err(Error::op("precision_recall_fscore", message));
                }
                let at = self.labels.binary_search(&positive).map_err(|_| {
                    let labels = &self.labels;
                    Error::op(
                        "precision_recall_fscore",
                        format!("no label is {positive}; there are {labels:?}"),
                    )
                })?;
                Ok(scores(tallies[at], beta, zero_division))
            }
            Average::Micro => {
                let mut sums = [0.0; 3];
                for tally in tallies {
                    sums.iter_mut().zip(tally).for_each(|(sum, part)| *sum += part);
                }
                Ok(scores(sums, beta, zero_division))
            }
            Average::Macro => Ok(self.mean(beta, zero_division, |_| 1.0)),
            Average::Weighted => Ok(self.mean(beta, zero_division, |class| class.support)),
        }
    }

    fn mean(&self, beta: f64, zero_division: f64, weight: impl Fn(&ClassScores) -> f64) -> ClassScores {
        let classes = self.per_class(beta, zero_division);
        let mean = |score: fn(&ClassScores) -> f64| {
            let defined = || classes.iter().filter(|class| !score(class).is_nan());
            let total: f64 = defined().map(&weight).sum();
            let sum: f64 = defined().map(|class| score(class) * weight(class)).sum();
            if total == 0.0 { zero_division } else { sum / total }
        };
        ClassScores {
            precision: mean(|class| class.precision),
            recall: mean(|class| class.recall),
            fscore: mean(|class| class.fscore),
            jaccard: mean(|class| class.jaccard),
            support: self.counts.sum(),
        }
    }

    /// The mean recall of the classes that have true samples.
    pub fn balanced_accuracy(&self) -> f64 {
        let tallies = self.tallies();
        let recalls: Vec<f64> =
            tallies.iter().filter(|tally| tally[2] > 0.0).map(|tally| tally[0] / tally[2]).collect();
        recalls.iter().sum::<f64>() / recalls.len() as f64
    }

    /// Matthews' correlation coefficient, between -1 and 1; 0 if either column is constant
    /// (Gorodkin, 2004, for more than two classes).
    pub fn matthews_corrcoef(&self) -> f64 {
        let (total, tallies) = (self.counts.sum(), self.tallies());
        let sum = |term: fn(&[f64; 3]) -> f64| tallies.iter().map(term).sum::<f64>();
        let both = sum(|tally| tally[0]) * total - sum(|tally| tally[1] * tally[2]);
        let predicted = total * total - sum(|tally| tally[1] * tally[1]);
        let truth = total * total - sum(|tally| tally[2] * tally[2]);
        if predicted * truth == 0.0 { 0.0 } else { both / (predicted * truth).sqrt() }
    }

    /// Cohen's kappa: agreement beyond chance, at most 1 (Cohen, 1960). A disagreement between the
    /// classes at positions `i` and `j` costs `|i - j|` to the power `power`: 0 for plain kappa, 1 for
    /// linear, 2 for quadratic weights. NaN if only one class appears at all.
    pub fn cohen_kappa(&self, power: i32) -> f64 {
        let (total, tallies) = (self.counts.sum(), self.tallies());
        let (mut observed, mut expected) = (0.0, 0.0);
        for ((i, j), count) in self.counts.indexed_iter() {
            if i != j {
                let cost = (i.abs_diff(j) as f64).powi(power);
                observed += cost * count;
                expected += cost * tallies[i][2] * tallies[j][1] / total;
            }
        }
        1.0 - observed / expected
    }

    /// Precision, recall, F1 and support of each class and their averages as text; `names` are the
    /// classes' names, in the order of `labels`, or empty.
    pub fn report(&self, names: &[String]) -> String {
        let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| self.labels[class].to_string());
        let width =
            (0..self.labels.len()).map(|class| name(class).chars().count()).max().unwrap_or(0).max(12);
        let line = |name: &str, scores: &ClassScores| {
            let ClassScores { precision, recall, fscore, support, .. } = scores;
            format!("{name:>width$}  {precision:>9.2} {recall:>9.2} {fscore:>9.2} {support:>9}\n")
        };
        let mut text = format!(
            "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n\n",
            "", "precision", "recall", "f1-score", "support"
        );
        for (class, scores) in self.per_class(1.0, 0.0).iter().enumerate() {
            text += &line(&name(class), scores);
        }
        let total = self.counts.sum();
        text +=
            &format!("\n{:>width$}  {:>9} {:>9} {:>9.2} {total:>9}\n", "accuracy", "", "", self.accuracy());
        text += &line("macro avg", &self.mean(1.0, 0.0, |_| 1.0));
        text + &line("weighted avg", &self.mean(1.0, 0.0, |class| class.support))
    }

    /// The matrix as an SVG picture; `names` as for [`ConfusionMatrix::report`].
    pub fn to_svg(&self, names: &[String]) -> String {
        const CELL: usize = 56;
        const MARGIN: usize = 120;
        let classes = self.labels.len();
        let size = MARGIN + classes * CELL + 20;
        let name = |class: usize| {
            let name = names.get(class).cloned().unwrap_or_else(|| self.labels[class].to_string());
            name.replace('&', "&amp;").replace('<', "&lt;")
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size}\" height=\"{size}\" \
             font-family=\"sans-serif\" font-size=\"13\" text-anchor=\"middle\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let middle = MARGIN + classes * CELL / 2;
        svg += &format!("<text x=\"{middle}\" y=\"20\">predicted</text>\n");
        svg += &format!("<text transform=\"translate(20 {middle}) rotate(-90)\">true</text>\n");
        for (class, row) in self.counts.rows().into_iter().enumerate() {
            let along = MARGIN + class * CELL + CELL / 2;
            let name = name(class);
            svg += &format!(
                "<text transform=\"translate({along} {}) rotate(-45)\" text-anchor=\"start\">{name}</text>\n\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>\n",
                MARGIN - 8,
                MARGIN - 8,
                along + 5,
            );
            let total = row.sum().max(f64::MIN_POSITIVE);
            for (column, &count) in row.iter().enumerate() {
                let share = count / total;
                let shade = |dark: f64| (255.0 - share * (255.0 - dark)).round();
                let ink = if share > 0.5 { "white" } else { "black" };
                let (x, y) = (MARGIN + column * CELL, MARGIN + class * CELL);
                svg += &format!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" stroke=\"#ccc\" \
                     fill=\"rgb({},{},{})\"/>\n<text x=\"{}\" y=\"{}\" fill=\"{ink}\">{count}</text>\n",
                    shade(8.0),
                    shade(48.0),
                    shade(107.0),
                    x + CELL / 2,
                    y + CELL / 2 + 5,
                );
            }
        }
        svg + "</svg>\n"
    }
}

/// The scores of one tally of true positives, predictions and true samples.
fn scores([hits, predicted, truth]: [f64; 3], beta: f64, zero_division: f64) -> ClassScores {
    let ratio = |part: f64, whole: f64| if whole == 0.0 { zero_division } else { part / whole };
    let square = beta * beta;
    ClassScores {
        precision: ratio(hits, predicted),
        recall: ratio(hits, truth),
        fscore: ratio((1.0 + square) * hits, square * truth + predicted),
        jaccard: ratio(hits, truth + predicted - hits),
        support: truth,
    }
}

impl fmt::Display for ConfusionMatrix {
    /// A table of counts, true classes down, predicted ones across.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.counts.iter().map(|count| count.to_string().len());
        let labels = self.labels.iter().map(|label| label.to_string().len());
        let width = cells.chain(labels).max().unwrap_or(1) + 1;
        write!(f, "{:width$} ", "")?;
        self.labels.iter().try_for_each(|label| write!(f, "{label:>width$}"))?;
        for (label, row) in self.labels.iter().zip(self.counts.rows()) {
            write!(f, "\n{label:>width$} ")?;
            row.iter().try_for_each(|count| write!(f, "{count:>width$}"))?;
        }
        Ok(())
    }
}
