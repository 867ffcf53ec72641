//! Names of classes as integers.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Names numbered in their order: numerically if all are numbers, else by their characters.
///
/// ```
/// use kiln::classical::preprocessing::LabelEncoder;
///
/// let encoder = LabelEncoder::fit(["tabby", "siamese", "tabby"])?;
/// assert_eq!(encoder.transform(["siamese", "tabby"])?, [0, 1]);
/// assert_eq!(encoder.inverse_transform(&[1])?, ["tabby"]);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelEncoder {
    classes: Vec<String>,
}

impl LabelEncoder {
    /// Learns the names.
    ///
    /// # Errors
    /// If there are none.
    pub fn fit<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<LabelEncoder> {
        let mut classes: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        if classes.is_empty() {
            return Err(Error::op("LabelEncoder", "there are no labels"));
        }
        let number = |name: &String| name.parse::<f64>().ok().filter(|number| number.is_finite());
        if classes.iter().all(|name| number(name).is_some()) {
            classes.sort_by(|a, b| {
                let (x, y) = (number(a).unwrap_or_default(), number(b).unwrap_or_default());
                x.total_cmp(&y).then_with(|| a.cmp(b))
            });
        } else {
            classes.sort_unstable();
        }
        classes.dedup();
        Ok(LabelEncoder { classes })
    }

    /// The names; a name's number is its position.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The numbers of names.
    ///
    /// # Errors
    /// Names one that the fit did not see.
    pub fn transform<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Result<Vec<i64>> {
        let codes: std::collections::HashMap<&str, i64> =
            self.classes.iter().map(String::as_str).zip(0..).collect();
        names
            .into_iter()
            .map(|name| {
                let name = name.as_ref();
                codes.get(name).copied().ok_or_else(|| {
                    Error::op(
                        "LabelEncoder",
                        format!("{name:?} is not one of the classes {:?}", self.classes),
                    )
                })
            })
            .collect()
    }

    /// The names of numbers.
    ///
    /// # Errors
    /// A number that is no class.
    pub fn inverse_transform(&self, codes: &[i64]) -> Result<Vec<&str>> {
        let name = |&code: &i64| {
            let class = usize::try_from(code).ok().and_then(|code| self.classes.get(code));
            class.map(String::as_str).ok_or_else(|| {
                Error::op(
                    "LabelEncoder",
                    format!("no class has number {code}; there are {}", self.classes.len()),
                )
            })
        };
        codes.iter().map(name).collect()
    }
}
