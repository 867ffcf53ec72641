//! Linear functions of the features: what every linear model predicts with.

use super::rows::Rows;
use crate::classical::data::Matrix;
use crate::classical::linalg;
use crate::classical::parallel;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// Rows that one task evaluates.
const TASK: usize = 1024;

/// `outputs` linear functions: `x @ coef.t() + intercept`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::classical) struct Linear {
    features: usize,
    coef: Vec<f64>,
    intercept: Vec<f64>,
}

impl Linear {
    /// Functions with coefficients `[outputs, features]` and an intercept each.
    ///
    /// # Errors
    /// Coefficients that are not finite, in the name of the estimator that found them.
    pub fn new(name: &'static str, coef: Array2<f64>, intercept: Vec<f64>) -> Result<Linear> {
        if !coef.iter().chain(&intercept).all(|value| value.is_finite()) {
            return Err(overflow(name));
        }
        Ok(Linear { features: coef.ncols(), coef: coef.into_iter().collect(), intercept })
    }

    /// One function.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn single(name: &'static str, coef: Vec<f64>, intercept: f64) -> Result<Linear> {
        Linear::new(name, ArrayView1::from(&coef).insert_axis(Axis(0)).to_owned(), vec![intercept])
    }

    /// Whether these are functions of so many columns, as many as `outputs`.
    pub fn fits(&self, features: usize, outputs: usize) -> bool {
        let coefficients = features.saturating_mul(outputs);
        let shape = (self.features, self.intercept.len(), self.coef.len());
        coefficients > 0 && shape == (features, outputs, coefficients)
    }

    /// How many columns the functions take.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The coefficients, `[outputs, features]`.
    pub fn coef(&self) -> ArrayView2<'_, f64> {
        let shape = (self.intercept.len(), self.features);
        // The vector was made of an array of this shape.
        ArrayView2::from_shape(shape, &self.coef).unwrap_or_else(|_| ndarray::aview2::<f64, 0>(&[]))
    }

    /// All coefficients, function after function.
    pub fn coef_slice(&self) -> &[f64] {
        &self.coef
    }

    /// The sum of the squares of each feature's coefficients.
    pub fn importances(&self) -> Vec<f64> {
        self.coef().map_axis(Axis(0), |coef| coef.dot(&coef)).to_vec()
    }

    /// The value of each function where every feature is 0.
    pub fn intercept(&self) -> &[f64] {
        &self.intercept
    }

    /// The values at the rows of `x`, `[rows, outputs]`.
    ///
    /// # Errors
    /// Values that are not finite, in the name of the estimator.
    pub fn apply(&self, name: &'static str, x: &Matrix<'_>) -> Result<Array2<f64>> {
        let outputs = self.intercept.len();
        let mut out = Array2::zeros((x.rows(), outputs));
        match x {
            Matrix::Dense(array) if outputs > 1 => {
                out += &ArrayView1::from(&self.intercept);
                linalg::add_matmul(out.view_mut(), array.view(), self.coef().t());
            }
            _ => {
                let rows = Rows::of(x)?;
                let values = out.as_slice_mut().unwrap_or_default();
                let work = values.len() * x.columns() / 4;
                parallel::for_each(work, values.chunks_mut(TASK * outputs).enumerate(), |(task, values)| {
                    for (at, values) in values.chunks_exact_mut(outputs).enumerate() {
                        let row = rows.get(task * TASK + at);
                        let functions = self.coef.chunks_exact(self.features).zip(&self.intercept);
                        for (value, (coef, intercept)) in values.iter_mut().zip(functions) {
                            *value = row.dot(coef) + intercept;
                        }
                    }
                });
            }
        }
        if !out.iter().all(|value| value.is_finite()) {
            return Err(overflow(name));
        }
        Ok(out)
    }
}

/// The error of numbers that left the range of double precision.
pub(in crate::classical) fn overflow(name: &'static str) -> Error {
    Error::op(name, "numbers overflow; are there values of extreme size? Scale the columns")
}

/// The class of the greatest score in each row; the first of equal ones.
pub(in crate::classical) fn argmax(scores: ArrayView2<'_, f64>) -> Vec<usize> {
    let rows = scores.rows().into_iter();
    rows.map(|row| (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })).collect()
}

/// The class of each row of decision scores: one column (above 0 is the second class) or one a class.
pub(in crate::classical) fn decide(scores: ArrayView2<'_, f64>) -> Vec<usize> {
    if scores.ncols() == 1 {
        return scores.iter().map(|&score| usize::from(score > 0.0)).collect();
    }
    argmax(scores)
}

/// Turns each row of logarithms into probabilities that sum to 1.
pub(in crate::classical) fn softmax(mut logs: Array2<f64>) -> Array2<f64> {
    for mut row in logs.rows_mut() {
        let greatest = row.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        row.map_inplace(|value| *value = (*value - greatest).exp());
        let total = row.sum();
        row /= total;
    }
    logs
}

/// The logistic function, `1 / (1 + exp(-x))`, without overflow.
pub(in crate::classical) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let exponential = x.exp();
        exponential / (1.0 + exponential)
    }
}

/// Probabilities `[rows, 2]` of one column of log-odds.
pub(in crate::classical) fn binary_probabilities(scores: ArrayView2<'_, f64>) -> Array2<f64> {
    Array2::from_shape_fn((scores.nrows(), 2), |(row, class)| {
        let second = sigmoid(scores[[row, 0]]);
        if class == 1 { second } else { 1.0 - second }
    })
}

/// Defines a regressor that predicts a linear function of the features, or `link` of the model and it.
macro_rules! linear_regressor {
    ($(#[$doc:meta])* $model:ident = $name:literal, accepts $accepts:expr $(; link $link:expr)? $(, $(#[$field_doc:meta])* $field:ident: $type:ty)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        pub struct $model {
            n_features: usize,
            linear: $crate::classical::linear::function::Linear,
            n_iter: usize,
            $($field: $type,)*
        }

        impl $model {
            fn new(coef: Vec<f64>, intercept: f64, n_iter: usize $(, $field: $type)*) -> $crate::Result<$model> {
                let linear = $crate::classical::linear::function::Linear::single($name, coef, intercept)?;
                Ok($model { n_features: linear.features(), linear, n_iter $(, $field)* })
            }

            /// A coefficient for each feature.
            pub fn coef(&self) -> &[f64] {
                self.linear.coef_slice()
            }

            /// The linear function's value where every feature is 0.
            pub fn intercept(&self) -> f64 {
                self.linear.intercept()[0]
            }

            /// How many iterations the fit took; 0 where it takes none.
            pub fn n_iter(&self) -> usize {
                self.n_iter
            }

            $($(#[$field_doc])* pub fn $field(&self) -> &$type {
                &self.$field
            })*
        }

        impl $crate::classical::Regressor for $model {
            fn predict_rows(&self, x: &$crate::classical::data::Matrix<'_>) -> $crate::Result<Vec<f64>> {
                let values = self.linear.apply($name, x)?.into_raw_vec_and_offset().0;
                $(let link: fn(&Self, f64) -> f64 = $link;
                let values = $crate::classical::linear::function::linked($name, values, |value| link(self, value))?;)?
                Ok(values)
            }
        }

        $crate::classical::params::model!(
            $model = $name,
            fn accepts(&self) -> $crate::classical::data::Accepts {
                $accepts
            },
            fn importances(&self) -> Option<Vec<f64>> {
                Some(self.linear.importances())
            },
            fn is_consistent(&self) -> bool {
                self.linear.fits(self.n_features, 1)
            }
        );
    };
}

/// `link` of each value.
///
/// # Errors
/// If one is not finite.
pub(super) fn linked(
    name: &'static str,
    mut values: Vec<f64>,
    link: impl Fn(f64) -> f64,
) -> Result<Vec<f64>> {
    values.iter_mut().for_each(|value| *value = link(*value));
    if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(overflow(name)) }
}

/// Defines a classifier whose scores are linear functions of the features: one for two classes, else
/// one a class.
macro_rules! linear_classifier {
    ($(#[$doc:meta])* $model:ident = $name:literal, accepts $accepts:expr $(, probabilities $probabilities:expr)? $(, consistent $consistent:expr)? $(, field $field:ident: $type:ty)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        pub struct $model {
            n_features: usize,
            classes: Vec<i64>,
            linear: $crate::classical::linear::function::Linear,
            n_iter: usize,
            $($field: $type,)*
        }

        impl $model {
            /// The coefficients: one row for two classes (towards the second), else a row a class.
            pub fn coef(&self) -> ndarray::ArrayView2<'_, f64> {
                self.linear.coef()
            }

            /// The score where every feature is 0, for each row of [`Self::coef`].
            pub fn intercept(&self) -> &[f64] {
                self.linear.intercept()
            }

            /// The most iterations that the fit of one function took; 0 where it takes none.
            pub fn n_iter(&self) -> usize {
                self.n_iter
            }
        }

        impl $crate::classical::Classifier for $model {
            fn classes(&self) -> &[i64] {
                &self.classes
            }

            fn predict_codes(&self, x: &$crate::classical::data::Matrix<'_>) -> $crate::Result<Vec<usize>> {
                Ok($crate::classical::linear::function::decide(self.linear.apply($name, x)?.view()))
            }

            fn scores(&self, x: &$crate::classical::data::Matrix<'_>) -> $crate::Result<Option<ndarray::Array2<f64>>> {
                self.linear.apply($name, x).map(Some)
            }

            $(fn probabilities(&self, x: &$crate::classical::data::Matrix<'_>) -> $crate::Result<Option<ndarray::Array2<f64>>> {
                let probabilities: fn(&Self, ndarray::Array2<f64>) -> Option<ndarray::Array2<f64>> = $probabilities;
                Ok(probabilities(self, self.linear.apply($name, x)?))
            })?
        }

        $crate::classical::params::model!(
            $model = $name,
            fn accepts(&self) -> $crate::classical::data::Accepts {
                $accepts
            },
            fn importances(&self) -> Option<Vec<f64>> {
                Some(self.linear.importances())
            },
            fn is_consistent(&self) -> bool {
                let functions = if self.classes.len() == 2 { 1 } else { self.classes.len() };
                self.linear.fits(self.n_features, functions)
                    $(&& {
                        let consistent: fn(&Self) -> bool = $consistent;
                        consistent(self)
                    })?
            }
        );
    };
}

pub(in crate::classical) use {linear_classifier, linear_regressor};
