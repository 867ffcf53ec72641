//! Naive Bayes classifiers: the features are taken as independent within a class.

mod categorical;
mod discrete;
mod gaussian;

pub use categorical::{CategoricalNB, CategoricalNBParams};
pub use discrete::{
    BernoulliNB, BernoulliNBParams, ComplementNB, ComplementNBParams, MultinomialNB, MultinomialNBParams,
};
pub use gaussian::{GaussianNB, GaussianNBParams};

use super::data::{Classes, Training};
use super::estimator::{Classifier, Parameters};
use super::registry::{DynClassifier, Entry, classifier};
use crate::Result;

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] = &[
    classifier::<GaussianNBParams>(),
    classifier::<MultinomialNBParams>(),
    classifier::<ComplementNBParams>(),
    classifier::<BernoulliNBParams>(),
    classifier::<CategoricalNBParams>(),
];

/// The weight of each class's samples.
///
/// # Errors
/// A class without any, of which nothing could be learned.
pub(super) fn class_counts<P: Parameters>(data: &Training<'_, Classes>) -> Result<Vec<f64>> {
    let counts = data.y.counts(data.weights.as_deref());
    match counts.iter().position(|&count| count == 0.0) {
        Some(class) => Err(P::error(format!("every sample of class {} has weight 0", data.y.values[class]))),
        None => Ok(counts),
    }
}

/// Checks given class probabilities, or takes the classes' shares of the samples.
///
/// # Errors
/// Another number than there are classes, values that are not above 0, or a sum that is not 1.
pub(super) fn class_priors<P: Parameters>(given: Option<&Vec<f64>>, counts: &[f64]) -> Result<Vec<f64>> {
    let Some(given) = given else {
        let total: f64 = counts.iter().sum();
        return Ok(counts.iter().map(|count| count / total).collect());
    };
    if given.len() != counts.len() {
        return Err(P::error(format!(
            "{} class probabilities are given; there are {} classes",
            given.len(),
            counts.len()
        )));
    }
    if let Some(value) = given.iter().find(|value| value.is_nan() || **value <= 0.0) {
        return Err(P::error(format!("a class probability is {value}; each must be above 0")));
    }
    let sum: f64 = given.iter().sum();
    if (sum - 1.0).abs() > 1e-8 {
        return Err(P::error(format!("the class probabilities sum to {sum}; they must sum to 1")));
    }
    Ok(given.clone())
}
