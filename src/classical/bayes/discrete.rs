//! Naive Bayes for counts and for features that are there or not: linear functions of the features.

use super::{class_counts, class_priors};
use crate::Result;
use crate::classical::data::{Accepts, Classes, Features, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, Parameters};
use crate::classical::linear::function::{Linear, argmax, softmax};
use crate::classical::linear::rows::Rows;
use crate::classical::params::{model, params};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// Sparse matrices are used as they are.
const ACCEPTS: Accepts = Accepts { sparse: true, ..Accepts::PLAIN };
/// A smaller amount added to the counts would make the logarithm of an unseen feature's share overflow.
const LEAST_ALPHA: f64 = 1e-10;

/// The weighted sum of each feature in each class, `[classes, features]`.
///
/// # Errors
/// A value below 0.
fn feature_counts<P: Parameters>(x: &Matrix<'_>, data: &Training<'_, Classes>) -> Result<Array2<f64>> {
    let rows = Rows::of(x)?;
    let mut counts = Array2::zeros((data.y.values.len(), x.columns()));
    for (row, &code) in data.y.codes.iter().enumerate() {
        let mut negative = None;
        let own = rows.get(row);
        own.for_each(|column, value| {
            if value < 0.0 {
                negative.get_or_insert((column, value));
            }
        });
        if let Some((column, value)) = negative {
            return Err(P::error(format!(
                "x holds {value} at row {row}, column {column}; counts are 0 or more"
            )));
        }
        if let Some(counts) = counts.row_mut(code).into_slice() {
            own.add_to(counts, data.weight(row));
        }
    }
    Ok(counts)
}

fn check_alpha<P: Parameters>(alpha: f64) -> Result<()> {
    if alpha >= 0.0 && alpha.is_finite() {
        return Ok(());
    }
    Err(P::error(format!("alpha is {alpha}; it must be 0 or more")))
}

/// The logarithms of the class probabilities: given, the shares of the samples, or all the same.
fn log_priors<P: Parameters>(
    given: Option<&Vec<f64>>,
    fit_prior: bool,
    counts: &[f64],
) -> Result<Array1<f64>> {
    let counts = if fit_prior { counts.to_vec() } else { vec![1.0; counts.len()] };
    Ok(class_priors::<P>(given, &counts)?.into_iter().map(f64::ln).collect())
}

macro_rules! discrete {
    ($(#[$doc:meta])* $model:ident = $name:literal, input $input:expr $(, field $field:ident: $type:ty)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub struct $model {
            n_features: usize,
            classes: Vec<i64>,
            class_log_prior: Vec<f64>,
            feature_log_prob: Vec<f64>,
            joint: Linear,
            $($field: $type,)*
        }

        impl $model {
            /// The logarithm of each class's probability.
            pub fn class_log_prior(&self) -> &[f64] {
                &self.class_log_prior
            }

            /// The logarithm of each feature's share in each class, `[classes, features]`.
            pub fn feature_log_prob(&self) -> ArrayView2<'_, f64> {
                let shape = (self.classes.len(), self.n_features);
                ArrayView2::from_shape(shape, &self.feature_log_prob).unwrap_or_else(|_| ndarray::aview2::<f64, 0>(&[]))
            }

            fn joint(&self, x: &Matrix<'_>) -> Result<Array2<f64>> {
                let input: fn(&Self, &Linear, &Matrix<'_>) -> Result<Array2<f64>> = $input;
                input(self, &self.joint, x)
            }
        }

        impl Classifier for $model {
            fn classes(&self) -> &[i64] {
                &self.classes
            }

            fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
                Ok(argmax(self.joint(x)?.view()))
            }

            fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
                Ok(Some(softmax(self.joint(x)?)))
            }
        }

        model!(
            $model = $name, fn accepts(&self) -> Accepts {
            ACCEPTS
        },
            fn is_consistent(&self) -> bool {
                let (classes, features) = (self.classes.len(), self.n_features);
                self.joint.fits(features, classes)
                    && self.class_log_prior.len() == classes
                    && self.feature_log_prob.len() == classes * features
            }
        );
    };
}

discrete!(
    /// A fitted multinomial naive Bayes classifier.
    MultinomialNB = "MultinomialNB", input |_, joint, x| joint.apply("MultinomialNB", x)
);
discrete!(
    /// A fitted complement naive Bayes classifier.
    ComplementNB = "ComplementNB", input |_, joint, x| joint.apply("ComplementNB", x)
);
discrete!(
    /// A fitted Bernoulli naive Bayes classifier.
    BernoulliNB = "BernoulliNB",
    input |model, joint, x| joint.apply("BernoulliNB", &binarized(x, model.binarize).matrix()),
    field binarize: Option<f64>
);

params! {
    /// Parameters of [`MultinomialNB`]: features are counts (of words, say), or weights of 0 or more
    /// (Manning, Raghavan and Schuetze, 2008, chapter 13).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[3.0, 0.0], [2.0, 1.0], [0.0, 4.0]], [0, 0, 1]);
    /// let model = MultinomialNB::params().fit(&x, &y)?;
    /// assert_eq!(model.predict(&array![[5.0, 1.0], [1.0, 5.0]])?.to_vec(), [0, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    MultinomialNBParams for MultinomialNB = "MultinomialNB" {
        /// Added to each count (Laplace, Lidstone); below 1e-10 it counts as that.
        alpha: f64 = 1.0,
        /// Whether classes are as probable as their shares of the samples; otherwise all the same.
        fit_prior: bool = true,
        /// The probability of each class, ascending by label.
        class_prior: Option<Vec<f64>> = None,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        check_alpha::<Self>(self.alpha)
    }
}

params! {
    /// Parameters of [`ComplementNB`]: each class is described by what the other classes are like, which
    /// suits classes of very different sizes (Rennie, Shih, Teevan and Karger, 2003).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[3.0, 0.0], [2.0, 1.0], [0.0, 4.0]], [0, 0, 1]);
    /// let model = ComplementNB::params().fit(&x, &y)?;
    /// assert_eq!(model.predict(&array![[5.0, 1.0], [1.0, 5.0]])?.to_vec(), [0, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    ComplementNBParams for ComplementNB = "ComplementNB" {
        /// Added to each count (Laplace, Lidstone); below 1e-10 it counts as that.
        alpha: f64 = 1.0,
        /// Whether classes are as probable as their shares of the samples; matters for one class only.
        fit_prior: bool = true,
        /// The probability of each class, ascending by label; matters for one class only.
        class_prior: Option<Vec<f64>> = None,
        /// Whether the weights of each class are scaled to sum to 1.
        norm: bool = false,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        check_alpha::<Self>(self.alpha)
    }
}

params! {
    /// Parameters of [`BernoulliNB`]: features are there or not (McCallum and Nigam, 1998).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [0, 0, 1]);
    /// let model = BernoulliNB::params().fit(&x, &y)?;
    /// assert_eq!(model.predict(&array![[1.0, 0.0], [0.0, 1.0]])?.to_vec(), [0, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    BernoulliNBParams for BernoulliNB = "BernoulliNB" {
        /// Added to each count (Laplace, Lidstone); below 1e-10 it counts as that.
        alpha: f64 = 1.0,
        /// A feature above this is there; none if all values are 0 or 1 already.
        binarize: Option<f64> = Some(0.0),
        /// Whether classes are as probable as their shares of the samples; otherwise all the same.
        fit_prior: bool = true,
        /// The probability of each class, ascending by label.
        class_prior: Option<Vec<f64>> = None,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        check_alpha::<Self>(self.alpha)
    }
}

impl FitClassifier for MultinomialNBParams {
    type Model = MultinomialNB;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<MultinomialNB> {
        let counts = class_counts::<Self>(data)?;
        let prior = log_priors::<Self>(self.class_prior.as_ref(), self.fit_prior, &counts)?;
        let features = feature_counts::<Self>(&data.x, data)? + self.alpha.max(LEAST_ALPHA);
        let totals = features.sum_axis(Axis(1)).insert_axis(Axis(1));
        let logs = features.mapv(f64::ln) - totals.mapv(f64::ln);
        Ok(MultinomialNB {
            n_features: data.x.columns(),
            classes: data.y.values.clone(),
            class_log_prior: prior.to_vec(),
            feature_log_prob: logs.iter().copied().collect(),
            joint: Linear::new(Self::NAME, logs, prior.to_vec())?,
        })
    }
}

impl FitClassifier for ComplementNBParams {
    type Model = ComplementNB;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<ComplementNB> {
        let counts = class_counts::<Self>(data)?;
        let prior = log_priors::<Self>(self.class_prior.as_ref(), self.fit_prior, &counts)?;
        let features = feature_counts::<Self>(&data.x, data)?;
        let others = features.sum_axis(Axis(0)) + self.alpha.max(LEAST_ALPHA) - &features;
        let totals = others.sum_axis(Axis(1)).insert_axis(Axis(1));
        let logs = (others / totals).mapv(f64::ln);
        let weights = if self.norm { &logs / &logs.sum_axis(Axis(1)).insert_axis(Axis(1)) } else { -logs };
        Ok(ComplementNB {
            n_features: data.x.columns(),
            classes: data.y.values.clone(),
            class_log_prior: prior.to_vec(),
            feature_log_prob: weights.iter().copied().collect(),
            joint: Linear::new(Self::NAME, weights, vec![0.0; counts.len()])?,
        })
    }
}

impl FitClassifier for BernoulliNBParams {
    type Model = BernoulliNB;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<BernoulliNB> {
        let counts = class_counts::<Self>(data)?;
        let prior = log_priors::<Self>(self.class_prior.as_ref(), self.fit_prior, &counts)?;
        let x = binarized(&data.x, self.binarize);
        let alpha = self.alpha.max(LEAST_ALPHA);
        let features = feature_counts::<Self>(&x.matrix(), data)?;
        let counts = Array1::from(counts).insert_axis(Axis(1));
        let share = |count: Array2<f64>| (count + alpha) / (&counts + 2.0 * alpha);
        let there = share(features.clone()).mapv(f64::ln);
        let absent = share(&counts - features).mapv(f64::ln);
        if !absent.iter().all(|value| value.is_finite()) {
            return Err(Self::error("x holds values above 1; set binarize to a threshold"));
        }
        let intercept = &prior + &absent.sum_axis(Axis(1));
        Ok(BernoulliNB {
            n_features: data.x.columns(),
            classes: data.y.values.clone(),
            class_log_prior: prior.to_vec(),
            feature_log_prob: there.iter().copied().collect(),
            joint: Linear::new(Self::NAME, there - absent, intercept.to_vec())?,
            binarize: self.binarize,
        })
    }
}

/// 1 where a value is above the threshold, 0 elsewhere; without a threshold the matrix itself.
fn binarized<'a>(x: &'a Matrix<'_>, threshold: Option<f64>) -> Box<dyn Features + 'a> {
    let Some(threshold) = threshold else {
        return Box::new(x.matrix());
    };
    let above = |value: f64| f64::from(u8::from(value > threshold));
    match x {
        Matrix::Sparse(matrix) if threshold >= 0.0 => Box::new(matrix.map(|&value| above(value))),
        other => Box::new(other.dense().mapv(above)),
    }
}
