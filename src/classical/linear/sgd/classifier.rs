//! Linear classifiers by stochastic gradient descent.

use super::core::{Data, Fitted, LearningRate, SGDLoss, SGDPenalty, Settings, Validate, descend};
use super::{ACCEPTS, check, split};
use crate::Result;
use crate::classical::ClassWeight;
use crate::classical::data::{Accepts, Classes, Training};
use crate::classical::estimator::{FitClassifier, Parameters};
use crate::classical::linear::function::{Linear, linear_classifier, overflow, sigmoid};
use crate::classical::linear::rows::Rows;
use crate::classical::parallel;
use crate::classical::params::params;
use crate::classical::random;
use ndarray::Array2;

linear_classifier!(
    /// A fitted linear classifier; it gives probabilities if its loss was `LogLoss` or `ModifiedHuber`.
    SGDClassifier = "SGDClassifier", accepts ACCEPTS,
    probabilities |model, scores| probabilities(model.loss, scores),
    field loss: SGDLoss
);

linear_classifier!(
    /// A fitted perceptron.
    Perceptron = "Perceptron", accepts ACCEPTS
);

params! {
    /// Parameters of [`SGDClassifier`]: the mean loss and `alpha` times the penalty, by stochastic gradient
    /// descent (Bottou, 2010), one function against the rest for each of more than two classes. Features
    /// should be scaled to about 1.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((200, 1), |(i, _)| (i % 10) as f64 - 4.5);
    /// let y: Vec<i64> = x.iter().map(|&x| i64::from(x > 0.0)).collect();
    /// let model = SGDClassifier::params().seed(1_u64).fit(&x, &y)?;
    /// assert!(model.score(&x, &y)? > 0.9);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    SGDClassifierParams for SGDClassifier = "SGDClassifier" {
        /// The loss.
        loss: SGDLoss = SGDLoss::Hinge,
        /// The penalty.
        penalty: SGDPenalty = SGDPenalty::L2,
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1e-4,
        /// The share of the L1 penalty in `Elasticnet`.
        l1_ratio: f64 = 0.15,
        /// Whether to learn an intercept.
        fit_intercept: bool = true,
        /// The most passes over the data.
        max_iter: usize = 1000,
        /// A pass that lowers the objective (or raises the validation accuracy) by less has not improved it.
        tol: f64 = 1e-3,
        /// Whether to shuffle the samples before each pass.
        shuffle: bool = true,
        /// The error at which some losses change.
        epsilon: f64 = 0.1,
        /// How long the steps are.
        learning_rate: LearningRate = LearningRate::Optimal,
        /// The first step's length, but for `Optimal`.
        eta0: f64 = 0.01,
        /// The exponent of `Invscaling`.
        power_t: f64 = 0.5,
        /// Whether a part of the samples, held back, tells when to stop.
        early_stopping: bool = false,
        /// The share held back, of each class.
        validation_fraction: f64 = 0.1,
        /// Passes without improvement that end the fit.
        n_iter_no_change: usize = 5,
        /// How much the samples of each class count.
        class_weight: ClassWeight = ClassWeight::None,
        /// The number of the sample from which on coefficients are averaged; 0 for no averaging.
        average: usize = 0_usize,
        /// Where the random order begins.
        seed: u64 = 0_u64,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        check::<Self>(&self.settings(), self.validation_fraction)
    }
}

params! {
    /// Parameters of [`Perceptron`] (Rosenblatt, 1958): [`SGDClassifierParams`] with the perceptron's loss,
    /// a constant step and no penalty.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0], [1.0], [3.0], [4.0]], [0, 0, 1, 1]);
    /// let model = Perceptron::params().fit(&x, &y)?;
    /// assert_eq!(model.predict(&x)?.to_vec(), y);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    PerceptronParams for Perceptron = "Perceptron" {
        /// The penalty.
        penalty: SGDPenalty = SGDPenalty::None,
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1e-4,
        /// The share of the L1 penalty in `Elasticnet`.
        l1_ratio: f64 = 0.15,
        /// Whether to learn an intercept.
        fit_intercept: bool = true,
        /// The most passes over the data.
        max_iter: usize = 1000,
        /// A pass that lowers the objective by less has not improved it.
        tol: f64 = 1e-3,
        /// Whether to shuffle the samples before each pass.
        shuffle: bool = true,
        /// The steps' length.
        eta0: f64 = 1.0,
        /// Passes without improvement that end the fit.
        n_iter_no_change: usize = 5,
        /// How much the samples of each class count.
        class_weight: ClassWeight = ClassWeight::None,
        /// Where the random order begins.
        seed: u64 = 0_u64,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        self.general().check()
    }
}

impl PerceptronParams {
    fn general(&self) -> SGDClassifierParams {
        SGDClassifierParams {
            loss: SGDLoss::Perceptron,
            learning_rate: LearningRate::Constant,
            penalty: self.penalty,
            alpha: self.alpha,
            l1_ratio: self.l1_ratio,
            fit_intercept: self.fit_intercept,
            max_iter: self.max_iter,
            tol: self.tol,
            shuffle: self.shuffle,
            eta0: self.eta0,
            n_iter_no_change: self.n_iter_no_change,
            class_weight: self.class_weight.clone(),
            seed: self.seed,
            ..SGDClassifierParams::default()
        }
    }
}

impl SGDClassifierParams {
    fn settings(&self) -> Settings {
        Settings {
            loss: self.loss,
            penalty: self.penalty,
            alpha: self.alpha,
            l1_ratio: self.l1_ratio,
            fit_intercept: self.fit_intercept,
            max_iter: self.max_iter,
            tol: self.tol,
            shuffle: self.shuffle,
            epsilon: self.epsilon,
            learning_rate: self.learning_rate,
            eta0: self.eta0,
            power_t: self.power_t,
            n_iter_no_change: self.n_iter_no_change,
            average: self.average,
        }
    }

    /// The functions and the most passes over the data.
    fn functions(&self, name: &'static str, data: &Training<'_, Classes>) -> Result<(Linear, usize)> {
        let weights = self.class_weight.apply(name, data)?;
        let weights: Vec<f64> =
            (0..data.x.rows()).map(|row| weights.as_ref().map_or(1.0, |weights| weights[row])).collect();
        let (rows, features, classes) = (Rows::of(&data.x)?, data.x.columns(), data.y.values.len());
        let (outputs, first) = if classes == 2 { (1, 1) } else { (classes, 0) };
        let (training, held) = if self.early_stopping {
            split(&data.y.codes, self.validation_fraction, &mut random::stream(self.seed, outputs))
        } else {
            ((0..data.x.rows()).collect(), Vec::new())
        };
        if training.is_empty() {
            return Err(crate::Error::op(name, "early_stopping leaves no samples to learn from"));
        }
        let work = outputs * data.x.rows() * features * 16;
        let fits: Vec<Option<Fitted>> = parallel::map(work, 0..outputs, |output| {
            let code = output + first;
            let y: Vec<f64> = data.y.codes.iter().map(|&own| if own == code { 1.0 } else { -1.0 }).collect();
            let accuracy = |coef: &[f64], intercept: f64| {
                let right = |&&row: &&usize| (rows.get(row).dot(coef) + intercept > 0.0) == (y[row] > 0.0);
                held.iter().filter(right).count() as f64 / held.len() as f64
            };
            let validate: Option<Validate<'_>> = if held.is_empty() { None } else { Some(&accuracy) };
            let samples = Data { rows, features, y: &y, weights: &weights, training: training.clone() };
            descend(&self.settings(), &samples, &mut random::stream(self.seed, output), validate)
        });
        let fits: Option<Vec<Fitted>> = fits.into_iter().collect();
        let fits = fits.ok_or_else(|| overflow(name))?;
        let coef = Array2::from_shape_fn((outputs, features), |(output, column)| fits[output].coef[column]);
        let linear = Linear::new(name, coef, fits.iter().map(|fit| fit.intercept).collect())?;
        Ok((linear, fits.iter().map(|fit| fit.epochs).max().unwrap_or(0)))
    }
}

impl FitClassifier for SGDClassifierParams {
    type Model = SGDClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<SGDClassifier> {
        let (linear, n_iter) = self.functions(Self::NAME, data)?;
        let classes = data.y.values.clone();
        Ok(SGDClassifier { n_features: data.x.columns(), classes, linear, n_iter, loss: self.loss })
    }
}

impl FitClassifier for PerceptronParams {
    type Model = Perceptron;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<Perceptron> {
        let (linear, n_iter) = self.general().functions(Self::NAME, data)?;
        Ok(Perceptron { n_features: data.x.columns(), classes: data.y.values.clone(), linear, n_iter })
    }
}

/// The probabilities that the scores of a loss stand for (Zadrozny and Elkan, 2002), if it has any.
fn probabilities(loss: SGDLoss, scores: Array2<f64>) -> Option<Array2<f64>> {
    let mut each = match loss {
        SGDLoss::LogLoss => scores.mapv(sigmoid),
        SGDLoss::ModifiedHuber => scores.mapv(|score| (score.clamp(-1.0, 1.0) + 1.0) / 2.0),
        _ => return None,
    };
    if each.ncols() == 1 {
        return Some(Array2::from_shape_fn((each.nrows(), 2), |(row, class)| {
            if class == 1 { each[[row, 0]] } else { 1.0 - each[[row, 0]] }
        }));
    }
    let uniform = 1.0 / each.ncols() as f64;
    for mut row in each.rows_mut() {
        let total = row.sum();
        if total > 0.0 {
            row /= total;
        } else {
            row.fill(uniform);
        }
    }
    Some(each)
}
