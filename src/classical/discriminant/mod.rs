//! Discriminant analysis: a normal distribution for each class.

mod linear;
mod quadratic;

pub use linear::{
    DiscriminantProjectionParams, DiscriminantSolver, LinearDiscriminantAnalysis,
    LinearDiscriminantAnalysisParams, Shrinkage,
};
pub use quadratic::{QuadraticDiscriminantAnalysis, QuadraticDiscriminantAnalysisParams};

use super::data::Classes;
use super::estimator::{Classifier, Transformer};
use super::registry::{DynClassifier, DynTransformer, Entry, classifier, transformer};
use ndarray::{Array1, Array2, ArrayView2, Axis};

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] =
    &[classifier::<LinearDiscriminantAnalysisParams>(), classifier::<QuadraticDiscriminantAnalysisParams>()];

pub(super) const TRANSFORMERS: &[Entry<dyn DynTransformer, dyn Transformer>] =
    &[transformer::<DiscriminantProjectionParams>()];

/// The rows of one class less their mean, and the mean.
fn class_rows(x: ArrayView2<'_, f64>, classes: &Classes, class: usize) -> (Array2<f64>, Array1<f64>) {
    let own: Vec<usize> = (0..x.nrows()).filter(|&row| classes.codes[row] == class).collect();
    centred(x.select(Axis(0), &own))
}

/// A matrix less the means of its columns, and the means.
fn centred(mut x: Array2<f64>) -> (Array2<f64>, Array1<f64>) {
    let mean = x.sum_axis(Axis(0)) / x.nrows() as f64;
    x -= &mean;
    (x, mean)
}
