//! Different transformers for different columns.

use super::{by_step, none_left, replace_step};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training, column_name};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use crate::classical::persist::Boxed;
use crate::classical::registry::AnyTransformer;
use ndarray::{Array2, Axis, concatenate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const ACCEPTS: Accepts = Accepts { missing: true, ..Accepts::PLAIN };

/// What becomes of the columns that no transformer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remainder {
    /// They are left out.
    #[default]
    Drop,
    /// They follow unchanged.
    Passthrough,
}

/// Fitted transformers of different columns.
#[derive(Debug, Serialize, Deserialize)]
pub struct ColumnTransformer {
    n_features: usize,
    parts: Vec<(String, Boxed<dyn Transformer>, Vec<usize>)>,
    rest: Vec<usize>,
}

params! {
    /// Parameters of [`ColumnTransformer`]: different transformers for different columns, what they make
    /// side by side. In searches the parameters are called `name__parameter`. A
    /// [`Schema`](crate::classical::table::Schema) gives the columns of a table by name or kind.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let columns = ColumnTransformer::params()
    ///     .transformer("numbers", MinMaxScaler::params(), &[0])
    ///     .transformer("kinds", OneHotEncoder::params(), &[1]);
    /// let out = columns.fit_transform(&array![[10.0, 0.0], [20.0, 1.0]])?;
    /// assert_eq!(out, array![[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    ColumnTransformerParams for ColumnTransformer = "ColumnTransformer" {
        /// A name, a transformer and the columns it gets, for each part.
        transformers: Vec<(String, AnyTransformer, Vec<usize>)> = Vec::new(),
        /// What becomes of the other columns.
        remainder: Remainder = Remainder::Drop,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn replaced(&self, values: &Map<String, Value>) -> Result<Self> {
        let mut values = by_step(Self::NAME, values)?;
        let part = |(name, transformer, columns): &(String, AnyTransformer, Vec<usize>)| {
            Ok((name.clone(), replace_step(transformer, values.remove(name))?, columns.clone()))
        };
        let transformers = self.transformers.iter().map(part).collect::<Result<_>>()?;
        none_left(Self::NAME, &values, self.transformers.iter().map(|(name, ..)| name.as_str()))?;
        Ok(ColumnTransformerParams { transformers, remainder: self.remainder })
    }
}

impl ColumnTransformerParams {
    /// Appends a transformer of these columns under a name.
    #[must_use]
    pub fn transformer(
        mut self,
        name: &str,
        transformer: impl Into<AnyTransformer>,
        columns: &[usize],
    ) -> Self {
        self.transformers.push((name.to_owned(), transformer.into(), columns.to_vec()));
        self
    }
}

/// Some columns of a matrix.
fn pick(x: &Matrix<'_>, columns: &[usize]) -> Array2<f64> {
    let (dense, mut out) = (x.dense(), Array2::zeros((x.rows(), columns.len())));
    for (row, mut out) in dense.rows().into_iter().zip(out.rows_mut()) {
        out.iter_mut().zip(columns).for_each(|(out, &column)| *out = row[column]);
    }
    out
}

/// Matrices of the same rows side by side.
fn side_by_side(parts: &[Matrix<'_>]) -> Matrix<'static> {
    let dense: Vec<_> = parts.iter().map(Matrix::dense).collect();
    let views: Vec<_> = dense.iter().map(|part| part.view()).collect();
    // All parts have the rows of the input.
    Matrix::Dense(concatenate(Axis(1), &views).unwrap_or_default().as_standard_layout().into_owned().into())
}

impl FitTransformer for ColumnTransformerParams {
    type Model = ColumnTransformer;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<ColumnTransformer> {
        Ok(self.fit_transform_checked(data)?.0)
    }

    fn fit_transform_checked(
        &self,
        data: &Training<'_, Target>,
    ) -> Result<(ColumnTransformer, Matrix<'static>)> {
        let columns = data.x.columns();
        let (mut parts, mut out, mut taken) = (Vec::new(), Vec::new(), vec![false; columns]);
        for (name, transformer, own) in &self.transformers {
            if let Some(column) = own.iter().find(|&&column| column >= columns) {
                return Err(Self::error(format!("{name} is to get column {column}; x has {columns}")));
            }
            if own.is_empty() {
                continue;
            }
            own.iter().for_each(|&column| taken[column] = true);
            let (model, rows) = transformer.0.fit_transform_boxed(&pick(&data.x, own), data.y.clone())?;
            parts.push((name.clone(), Boxed(model), own.clone()));
            out.push(rows);
        }
        let rest: Vec<usize> = match self.remainder {
            Remainder::Drop => Vec::new(),
            Remainder::Passthrough => (0..columns).filter(|&column| !taken[column]).collect(),
        };
        if !rest.is_empty() {
            out.push(Matrix::Dense(pick(&data.x, &rest).into()));
        }
        if out.is_empty() {
            return Err(Self::error("there is no transformer with a column, and the remainder is dropped"));
        }
        Ok((ColumnTransformer { n_features: columns, parts, rest }, side_by_side(&out)))
    }
}

impl Transformer for ColumnTransformer {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let mut out = Vec::new();
        for (_, model, columns) in &self.parts {
            let own = pick(x, columns);
            out.push(model.transform_rows(&model.input(&own)?)?);
        }
        if !self.rest.is_empty() {
            out.push(Matrix::Dense(pick(x, &self.rest).into()));
        }
        Ok(side_by_side(&out))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        let names =
            |columns: &[usize]| columns.iter().map(|&column| column_name(input, column)).collect::<Vec<_>>();
        let mut out = Vec::new();
        for (part, model, columns) in &self.parts {
            let own = model.feature_names_out(&names(columns));
            out.extend(own.into_iter().map(|name| format!("{part}__{name}")));
        }
        out.extend(names(&self.rest).into_iter().map(|name| format!("remainder__{name}")));
        out
    }
}

model!(
    ColumnTransformer = "ColumnTransformer",
    fn accepts(&self) -> Accepts {
        ACCEPTS
    },
    fn is_consistent(&self) -> bool {
        let parts = self.parts.iter().map(|(_, _, columns)| columns).chain([&self.rest]);
        parts.flatten().all(|&column| column < self.n_features)
    }
);
