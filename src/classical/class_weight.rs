//! Weights of classes, for data in which some are rare.

use super::data::{Classes, Training};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How much the samples of each class count.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeight {
    /// Every sample counts the same.
    #[default]
    None,
    /// Every class counts the same: a weight of `samples / (classes * samples of the class)`.
    Balanced,
    /// These weights by label; a class that is not named has weight 1.
    Map(BTreeMap<i64, f64>),
}

impl ClassWeight {
    /// The weight of each class, in the order of [`Classes::values`].
    ///
    /// # Errors
    /// A weight that is negative or not finite, or of a label that `y` does not hold.
    pub fn weights(&self, name: &'static str, classes: &Classes) -> Result<Vec<f64>> {
        match self {
            ClassWeight::None => Ok(vec![1.0; classes.values.len()]),
            ClassWeight::Balanced => {
                let samples = classes.codes.len() as f64;
                let counts = classes.counts(None);
                Ok(counts.iter().map(|count| samples / (counts.len() as f64 * count)).collect())
            }
            ClassWeight::Map(map) => {
                for (label, weight) in map {
                    if classes.values.binary_search(label).is_err() {
                        return Err(Error::op(
                            name,
                            format!("class_weight names label {label}, which y does not hold"),
                        ));
                    }
                    if !weight.is_finite() || *weight < 0.0 {
                        return Err(Error::op(
                            name,
                            format!("class_weight of label {label} is {weight}; it must be 0 or more"),
                        ));
                    }
                }
                Ok(classes.values.iter().map(|label| map.get(label).copied().unwrap_or(1.0)).collect())
            }
        }
    }

    /// The data with each sample's weight multiplied by its class's.
    ///
    /// # Errors
    /// As [`ClassWeight::weights`], and if no sample keeps a weight above 0 or their sum overflows.
    pub fn apply<'a>(
        &self,
        name: &'static str,
        data: &'a Training<'_, Classes>,
    ) -> Result<Option<Cow<'a, [f64]>>> {
        if *self == ClassWeight::None {
            return Ok(data.weights.as_deref().map(Cow::Borrowed));
        }
        let of_class = self.weights(name, &data.y)?;
        let codes = data.y.codes.iter().enumerate();
        let weights: Vec<f64> = codes.map(|(row, &code)| data.weight(row) * of_class[code]).collect();
        let total: f64 = weights.iter().sum();
        if !total.is_finite() {
            return Err(Error::op(name, "class_weight makes the sum of the weights overflow"));
        }
        if total == 0.0 {
            return Err(Error::op(name, "class_weight leaves every sample with weight 0"));
        }
        Ok(Some(Cow::Owned(weights)))
    }
}
