//! A column of 0 and 1 for each category.

use super::columns::{MISSING, category, columns, distinct, unknown};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// What becomes of a category that the fit did not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownCategory {
    /// It is refused.
    #[default]
    Error,
    /// It is 0 in every column.
    Ignore,
    /// It counts among the infrequent categories, if there are any; else it is 0 in every column.
    InfrequentIfExist,
}

/// Which category has no column of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropCategory {
    /// Every category has a column.
    #[default]
    None,
    /// The first has none, so that the columns do not sum to 1.
    First,
    /// The first of two has none.
    IfBinary,
}

/// The output columns of one input column.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Encoding {
    /// Ascending; NaN, if it is a category, last.
    categories: Vec<f64>,
    /// The output column of each category, counted from `start`; none for a dropped one.
    places: Vec<Option<usize>>,
    /// The output column of the infrequent categories.
    infrequent: Option<usize>,
    start: usize,
    width: usize,
}

/// A fitted one-hot encoder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OneHotEncoder {
    n_features: usize,
    encodings: Vec<Encoding>,
    handle_unknown: UnknownCategory,
}

params! {
    /// Parameters of [`OneHotEncoder`]: a column of 0 and 1 for each category of each column. Missing
    /// values are a category of their own.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let encoder = OneHotEncoder::params().fit(&array![[0.0], [2.0], [1.0]])?;
    /// assert_eq!(encoder.transform(&array![[2.0]])?, array![[0.0, 0.0, 1.0]]);
    /// assert!(encoder.transform(&array![[7.0]]).is_err());
    /// # Ok::<(), kiln::Error>(())
    /// ```
    OneHotEncoderParams for OneHotEncoder = "OneHotEncoder" {
        /// What becomes of a category that the fit did not see.
        handle_unknown: UnknownCategory = UnknownCategory::Error,
        /// Which category has no column of its own.
        drop: DropCategory = DropCategory::None,
        /// Categories with fewer samples share one column, the last.
        min_frequency: Option<usize> = None,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }
}

impl FitTransformer for OneHotEncoderParams {
    type Model = OneHotEncoder;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<OneHotEncoder> {
        let rows = data.x.rows();
        let mut start = 0;
        let encodings: Vec<Encoding> = columns(&data.x)
            .iter()
            .map(|values| {
                let encoding = self.encoding(values, rows - values.len(), start);
                start += encoding.width;
                encoding
            })
            .collect();
        if start == 0 {
            return Err(Self::error("every column has one category only, which is dropped: nothing is left"));
        }
        Ok(OneHotEncoder { n_features: encodings.len(), encodings, handle_unknown: self.handle_unknown })
    }
}

impl OneHotEncoderParams {
    fn encoding(&self, values: &[f64], missing: usize, start: usize) -> Encoding {
        let mut categories = distinct(values);
        let mut counts = vec![0; categories.len()];
        // Every value is among the categories.
        values.iter().for_each(|&value| counts[category(&categories, value).unwrap_or_default()] += 1);
        if missing > 0 {
            categories.push(f64::NAN);
            counts.push(missing);
        }
        let rare = |count: usize| self.min_frequency.is_some_and(|least| count < least);
        let frequent = counts.iter().filter(|&&count| !rare(count)).count();
        let any_rare = frequent < categories.len();
        let total = frequent + usize::from(any_rare);
        let dropped = match self.drop {
            DropCategory::First => 1,
            DropCategory::IfBinary if total == 2 => 1,
            DropCategory::None | DropCategory::IfBinary => 0,
        };
        let infrequent = if any_rare { (total - 1).checked_sub(dropped) } else { None };
        let mut next = 0..frequent;
        let place = |&count: &usize| {
            if rare(count) {
                infrequent
            } else {
                next.next().and_then(|place: usize| place.checked_sub(dropped))
            }
        };
        let places = counts.iter().map(place).collect();
        Encoding { categories, places, infrequent, start, width: total - dropped }
    }
}

impl Encoding {
    fn is_consistent(&self) -> bool {
        self.categories.len() == self.places.len()
            && self.width <= self.places.len()
            && self.places.iter().chain([&self.infrequent]).flatten().all(|&place| place < self.width)
    }

    fn find(&self, value: f64) -> Option<usize> {
        if value.is_nan() {
            return self
                .categories
                .last()
                .is_some_and(|last| last.is_nan())
                .then(|| self.categories.len() - 1);
        }
        category(&self.categories, value)
    }
}

impl OneHotEncoder {
    /// The categories of each column, ascending, NaN last.
    pub fn categories(&self) -> Vec<&[f64]> {
        self.encodings.iter().map(|encoding| encoding.categories.as_slice()).collect()
    }
}

impl Transformer for OneHotEncoder {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let width = self.encodings.iter().map(|encoding| encoding.width).sum();
        let mut out = Array2::zeros((x.rows(), width));
        for ((row, column), &value) in x.dense().indexed_iter() {
            let encoding = &self.encodings[column];
            let place = match (encoding.find(value), self.handle_unknown) {
                (Some(known), _) => encoding.places[known],
                (None, UnknownCategory::Error) => {
                    return Err(unknown("OneHotEncoder", row, column, value));
                }
                (None, UnknownCategory::Ignore) => None,
                (None, UnknownCategory::InfrequentIfExist) => encoding.infrequent,
            };
            if let Some(place) = place {
                out[[row, encoding.start + place]] = 1.0;
            }
        }
        Ok(Matrix::Dense(out.into()))
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let x = x.dense();
        let width: usize = self.encodings.iter().map(|encoding| encoding.width).sum();
        if x.ncols() != width {
            let message = format!("x has {} columns; the encoder makes {width}", x.ncols());
            return Err(OneHotEncoderParams::error(message));
        }
        let mut back = Array2::from_elem((x.nrows(), self.n_features), f64::NAN);
        for (row, mut back) in x.rows().into_iter().zip(back.rows_mut()) {
            for (value, encoding) in back.iter_mut().zip(&self.encodings) {
                let hot = (0..encoding.width).find(|place| row[encoding.start + place] > 0.0);
                let known = encoding.places.iter().position(|&place| place == hot);
                *value = known.map_or(f64::NAN, |known| encoding.categories[known]);
            }
        }
        Ok(Some(back))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        let mut names = Vec::new();
        for (name, encoding) in input.iter().zip(&self.encodings) {
            let mut own = vec![format!("{name}_infrequent"); encoding.width];
            for (value, place) in encoding.categories.iter().zip(&encoding.places) {
                if let Some(place) = place.filter(|&place| Some(place) != encoding.infrequent) {
                    own[place] = format!("{name}_{value}");
                }
            }
            names.extend(own);
        }
        names
    }
}

model!(
    OneHotEncoder = "OneHotEncoder",
    fn accepts(&self) -> Accepts {
        MISSING
    },
    fn is_consistent(&self) -> bool {
        let mut start = 0;
        let follows = |encoding: &Encoding| {
            let fits = encoding.start == start && encoding.is_consistent();
            start += encoding.width;
            fits
        };
        self.encodings.len() == self.n_features && self.encodings.iter().all(follows)
    }
);
