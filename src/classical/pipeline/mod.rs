//! Several steps as one estimator: fitted, used, searched and saved together.

mod columns;
mod steps;

pub use columns::{ColumnTransformer, ColumnTransformerParams, Remainder};
pub use steps::{
    ClassifierPipeline, ClassifierPipelineParams, RegressorPipeline, RegressorPipelineParams,
    TransformerPipeline, TransformerPipelineParams,
};

use super::estimator::{Classifier, Regressor, Transformer};
use super::registry::{
    AnyTransformer, DynClassifier, DynRegressor, DynTransformer, Entry, classifier, regressor, transformer,
};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] =
    &[classifier::<ClassifierPipelineParams>()];
pub(super) const REGRESSORS: &[Entry<dyn DynRegressor, dyn Regressor>] =
    &[regressor::<RegressorPipelineParams>()];
pub(super) const TRANSFORMERS: &[Entry<dyn DynTransformer, dyn Transformer>] =
    &[transformer::<TransformerPipelineParams>(), transformer::<ColumnTransformerParams>()];

/// Values by the step they are for: `step__parameter`.
///
/// # Errors
/// A name without `__`.
fn by_step(name: &'static str, values: &Map<String, Value>) -> Result<BTreeMap<String, Map<String, Value>>> {
    let mut steps: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (key, value) in values {
        let (step, parameter) = key.split_once("__").ok_or_else(|| {
            Error::op(
                name,
                format!("there is no parameter {key:?}; those of a step are called step__parameter"),
            )
        })?;
        steps.entry(step.to_owned()).or_default().insert(parameter.to_owned(), value.clone());
    }
    Ok(steps)
}

/// The step's parameters with some replaced, if there are values for it.
fn replace_step(step: &AnyTransformer, values: Option<Map<String, Value>>) -> Result<AnyTransformer> {
    values.map_or_else(|| Ok(step.clone()), |values| Ok(AnyTransformer(step.0.with(&values)?)))
}

/// An error if values are left for steps that do not exist.
fn none_left<'a>(
    name: &'static str,
    left: &BTreeMap<String, Map<String, Value>>,
    steps: impl Iterator<Item = &'a str>,
) -> Result<()> {
    match left.keys().next() {
        None => Ok(()),
        Some(step) => {
            let steps: Vec<&str> = steps.collect();
            Err(Error::op(name, format!("no step is called {step:?}; there are {}", steps.join(", "))))
        }
    }
}
