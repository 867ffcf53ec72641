//! Calibration of any classifier by cross-validation.

use super::isotonic::{IsotonicRegression, IsotonicRegressionParams};
use crate::Result;
use crate::classical::data::{Accepts, Classes, Features, Matrix, Training, weighted};
use crate::classical::dummy::DummyClassifierParams;
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Parameters};
use crate::classical::model_selection::{Splitter, StratifiedKFold};
use crate::classical::params::{model, params};
use crate::classical::persist::Boxed;
use crate::classical::registry::AnyClassifier;
use crate::parallel;
use ndarray::{Array2, ArrayView1, Axis};
use serde::{Deserialize, Serialize};

/// How a score becomes a probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationMethod {
    /// By a logistic function ([`SigmoidCalibration`]).
    #[default]
    Sigmoid,
    /// By isotonic regression, for a thousand samples and more.
    Isotonic,
}

/// The probability `1 / (1 + exp(a * score + b))` (Platt, 1999).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SigmoidCalibration {
    /// The factor of the score.
    pub a: f64,
    /// What is added.
    pub b: f64,
}

impl SigmoidCalibration {
    /// Maximum likelihood with Platt's smoothed targets, by Newton's method with backtracking (Lin, Lin and
    /// Weng, 2007). The caller gives finite scores, and as many truths and weights.
    pub fn fit(scores: &[f64], positive: &[bool], weights: &[f64]) -> SigmoidCalibration {
        let of = |class: bool| -> f64 {
            positive.iter().zip(weights).filter(|(truth, _)| **truth == class).map(|(_, weight)| weight).sum()
        };
        let (negatives, positives) = (of(false), of(true));
        let (low, high) = (1.0 / (negatives + 2.0), (positives + 1.0) / (positives + 2.0));
        let target = |row: usize| if positive[row] { high } else { low };
        // Scores of a size near 1 keep the steps well conditioned.
        let size = scores.iter().fold(0.0, |size: f64, score| size.max(score.abs())).max(f64::MIN_POSITIVE);
        let cost = |a: f64, b: f64| -> f64 {
            let row = |row: usize| {
                let f = a * scores[row] / size + b;
                let log = (-f.abs()).exp().ln_1p();
                weights[row] * if f >= 0.0 { target(row) * f + log } else { (target(row) - 1.0) * f + log }
            };
            (0..scores.len()).map(row).sum()
        };
        let (mut a, mut b) = (0.0, ((negatives + 1.0) / (positives + 1.0)).ln());
        let mut now = cost(a, b);
        for _ in 0..100 {
            let (mut haa, mut hbb, mut hab, mut ga, mut gb) = (1e-12, 1e-12, 0.0, 0.0, 0.0);
            for (row, (&score, &weight)) in scores.iter().zip(weights).enumerate() {
                let score = score / size;
                let p = 1.0 / (1.0 + (a * score + b).exp());
                let (slope, curve) = (weight * (target(row) - p), weight * p * (1.0 - p));
                ga += slope * score;
                gb += slope;
                haa += curve * score * score;
                hbb += curve;
                hab += curve * score;
            }
            if ga.abs() < 1e-10 && gb.abs() < 1e-10 {
                break;
            }
            let determinant = haa * hbb - hab * hab;
            let (da, db) = (-(hbb * ga - hab * gb) / determinant, -(haa * gb - hab * ga) / determinant);
            let downhill = ga * da + gb * db;
            let mut step = 1.0;
            while step > 1e-10 && cost(a + step * da, b + step * db) > now + 1e-4 * step * downhill {
                step /= 2.0;
            }
            if step <= 1e-10 {
                break; // Rounding is all that is left.
            }
            (a, b) = (a + step * da, b + step * db);
            now = cost(a, b);
        }
        SigmoidCalibration { a: a / size, b }
    }

    /// The probability of a score.
    pub fn probability(&self, score: f64) -> f64 {
        1.0 / (1.0 + (self.a * score + self.b).exp())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Calibrator {
    Sigmoid(SigmoidCalibration),
    Isotonic(IsotonicRegression),
}

impl Calibrator {
    fn probability(&self, score: f64) -> f64 {
        match self {
            Calibrator::Sigmoid(sigmoid) => sigmoid.probability(score),
            Calibrator::Isotonic(isotonic) => isotonic.value(score),
        }
    }
}

/// Classifiers of the folds, each with its calibration.
#[derive(Debug, Serialize, Deserialize)]
pub struct CalibratedClassifier {
    n_features: usize,
    missing: bool,
    classes: Vec<i64>,
    /// For each fold a classifier, and a calibrator for each class, of two for the second only.
    folds: Vec<(Boxed<dyn Classifier>, Vec<Calibrator>)>,
}

params! {
    /// Parameters of [`CalibratedClassifier`]: classifiers fitted on folds, their scores made probabilities
    /// by the rows left out; the probabilities of the folds are averaged.
    CalibratedClassifierParams for CalibratedClassifier = "CalibratedClassifier" {
        /// The classifier to calibrate.
        estimator: AnyClassifier = DummyClassifierParams::default().into(),
        /// How a score becomes a probability.
        method: CalibrationMethod = CalibrationMethod::Sigmoid,
        /// How many folds.
        cv: usize = 5,
    }

    fn accepts(&self) -> Accepts {
        Accepts { sparse: false, ..self.estimator.0.accepts() }
    }
}

/// The scores of a classifier, `[rows, 1]` for two classes: its decision function, else its probabilities.
fn scores(model: &dyn Classifier, x: &dyn Features) -> Result<Array2<f64>> {
    let input = model.input(x)?;
    if let Some(scores) = model.scores(&input)? {
        return Ok(scores);
    }
    let missing = || {
        CalibratedClassifierParams::error(format!("{} gives neither scores nor probabilities", model.name()))
    };
    let probabilities = model.probabilities(&input)?.ok_or_else(missing)?;
    Ok(if model.classes().len() == 2 { probabilities.select(Axis(1), &[1]) } else { probabilities })
}

impl CalibratedClassifierParams {
    fn calibrator(
        &self,
        scores: ArrayView1<'_, f64>,
        positive: &[bool],
        weights: &[f64],
    ) -> Result<Calibrator> {
        let scores = scores.to_vec();
        match self.method {
            CalibrationMethod::Sigmoid => {
                Ok(Calibrator::Sigmoid(SigmoidCalibration::fit(&scores, positive, weights)))
            }
            CalibrationMethod::Isotonic => {
                let truth: Vec<f64> = positive.iter().map(|&truth| f64::from(u8::from(truth))).collect();
                let x = ArrayView1::from(&scores).insert_axis(Axis(1));
                let params = IsotonicRegressionParams::default().y_min(0.0).y_max(1.0);
                Ok(Calibrator::Isotonic(params.fit(&x, &weighted(&truth, weights))?))
            }
        }
    }
}

impl FitClassifier for CalibratedClassifierParams {
    type Model = CalibratedClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<CalibratedClassifier> {
        let classes = &data.y;
        if let Some(class) = classes.counts(None).iter().position(|&count| count < self.cv as f64) {
            let label = classes.values[class];
            return Err(Self::error(format!("class {label} has fewer samples than the {} folds", self.cv)));
        }
        let labels: Vec<i64> = classes.codes.iter().map(|&code| classes.values[code]).collect();
        let run = |fold: &crate::classical::model_selection::Fold| {
            let part = |rows: &[usize]| -> Vec<f64> { rows.iter().map(|&row| data.weight(row)).collect() };
            let train: Vec<i64> = fold.train.iter().map(|&row| labels[row]).collect();
            let (of_train, of_test) = (part(&fold.train), part(&fold.test));
            let given = data.weights.is_some().then_some(of_train.as_slice());
            let model = self.estimator.0.fit_boxed(&data.x.select(&fold.train), &train, given)?;
            if model.classes() != classes.values {
                return Err(Self::error("a fold's classifier does not know all classes"));
            }
            let scores = scores(&*model, &data.x.select(&fold.test))?;
            if of_test.iter().sum::<f64>() == 0.0 {
                return Err(Self::error("every sample_weight of a fold is 0"));
            }
            let first = classes.values.len() - scores.ncols();
            let calibrator = |column: usize| {
                let positive: Vec<bool> =
                    fold.test.iter().map(|&row| classes.codes[row] == first + column).collect();
                self.calibrator(scores.column(column), &positive, &of_test)
            };
            let calibrators = (0..scores.ncols()).map(calibrator).collect::<Result<_>>()?;
            Ok((Boxed(model), calibrators))
        };
        let folds = StratifiedKFold::new(self.cv).split(labels.len(), Some(&labels))?;
        Ok(CalibratedClassifier {
            n_features: data.x.columns(),
            missing: Parameters::accepts(self).missing,
            classes: classes.values.clone(),
            folds: parallel::try_map(&folds, run)?,
        })
    }
}

impl Classifier for CalibratedClassifier {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        let best = |row: ArrayView1<'_, f64>| {
            (0..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
        };
        Ok(self.average(x)?.rows().into_iter().map(best).collect())
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        self.average(x).map(Some)
    }
}

impl CalibratedClassifier {
    fn average(&self, x: &Matrix<'_>) -> Result<Array2<f64>> {
        let classes = self.classes.len();
        let mut sum = Array2::zeros((x.rows(), classes));
        for (model, calibrators) in &self.folds {
            let scores = scores(&**model, x)?;
            for (scores, mut sum) in scores.rows().into_iter().zip(sum.rows_mut()) {
                let mut row: Vec<f64> = scores
                    .iter()
                    .zip(calibrators)
                    .map(|(&score, calibrator)| calibrator.probability(score))
                    .collect();
                if let [positive] = row[..] {
                    row = vec![1.0 - positive, positive];
                }
                let total: f64 = row.iter().sum();
                let share = |p: f64| if total > 0.0 { p / total } else { 1.0 / classes as f64 };
                sum.iter_mut().zip(row).for_each(|(sum, p)| *sum += share(p) / self.folds.len() as f64);
            }
        }
        Ok(sum)
    }
}

model!(
    CalibratedClassifier = "CalibratedClassifier",
    fn accepts(&self) -> Accepts {
        Accepts { missing: self.missing, ..Accepts::PLAIN }
    },
    fn is_consistent(&self) -> bool {
        let isotonic = |calibrator: &Calibrator| match calibrator {
            Calibrator::Sigmoid(_) => true,
            Calibrator::Isotonic(isotonic) => isotonic.is_consistent(),
        };
        !self.classes.is_empty() && self.folds.iter().flat_map(|(_, calibrators)| calibrators).all(isotonic)
    }
);
