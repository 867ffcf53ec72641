//! Tables of named columns of numbers and categories, read from CSV files, and models of them.

mod model;
mod read;

pub use model::{Estimator, TableModel, TablePredictions, preprocessing};
#[cfg(feature = "train")]
pub(crate) use read::separator;
pub use read::{Column, Table, Values};

use crate::{Error, Result};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Numbers.
    Number,
    /// These categories, whose positions are the numbers they get.
    Category(Vec<String>),
}

/// The columns that a model was fitted on, by name; it makes matrices of tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    columns: Vec<(String, Kind)>,
}

impl Schema {
    /// The columns of a table.
    pub fn of(table: &Table) -> Schema {
        let kind = |values: &Values| match values {
            Values::Numbers(_) => Kind::Number,
            Values::Categories { names, .. } => Kind::Category(names.clone()),
        };
        let columns = table.columns().iter().map(|column| (column.name.clone(), kind(&column.values)));
        Schema { columns: columns.collect() }
    }

    /// The columns' names and kinds.
    pub fn columns(&self) -> &[(String, Kind)] {
        &self.columns
    }

    /// The columns' names.
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The positions of the columns of numbers.
    pub fn numbers(&self) -> Vec<usize> {
        (0..self.columns.len()).filter(|&at| self.columns[at].1 == Kind::Number).collect()
    }

    /// The positions of the columns of categories.
    pub fn categories(&self) -> Vec<usize> {
        (0..self.columns.len()).filter(|&at| self.columns[at].1 != Kind::Number).collect()
    }

    /// The positions of columns by name.
    ///
    /// # Errors
    /// A name that is not there; the error lists those there are.
    pub fn positions(&self, names: &[&str]) -> Result<Vec<usize>> {
        let position = |name: &&str| {
            self.columns.iter().position(|(known, _)| known == name).ok_or_else(|| {
                let known = self.names().join(", ");
                Error::op("Schema", format!("no column is called {name:?}; there are {known}"))
            })
        };
        names.iter().map(position).collect()
    }

    /// The table's rows as numbers, `[rows, columns]`, in the order of the schema: categories are their
    /// positions, a category that is not known the position after the last, what is missing NaN. Other
    /// columns of the table are left alone.
    ///
    /// # Errors
    /// A column that the table lacks, or text where numbers belong, with its line.
    pub fn matrix(&self, table: &Table) -> Result<Array2<f64>> {
        let mut out = Array2::from_elem((table.rows(), self.columns.len()), f64::NAN);
        for ((name, kind), mut out) in self.columns.iter().zip(out.columns_mut()) {
            let column = table.column(name)?;
            match (kind, &column.values) {
                (Kind::Number, Values::Numbers(numbers)) => {
                    out.iter_mut().zip(numbers).for_each(|(out, &number)| *out = number);
                }
                (Kind::Number, Values::Categories { names, codes }) => {
                    let text = |code: &Option<u32>| code.map(|code| names[code as usize].as_str());
                    let wrong = |text: &&str| text.parse::<f64>().is_err();
                    let mut texts = codes.iter().map(text).enumerate();
                    if let Some((row, text)) = texts.find_map(|(row, text)| Some((row, text.filter(wrong)?)))
                    {
                        return Err(table.error(row, name, format!("{text:?} is no number")));
                    }
                }
                (Kind::Category(known), values) => {
                    let positions: HashMap<&str, usize> = known.iter().map(String::as_str).zip(0..).collect();
                    let number = |text: &str| positions.get(text).copied().unwrap_or(known.len()) as f64;
                    match values {
                        Values::Categories { names, codes } => {
                            let numbers: Vec<f64> = names.iter().map(|name| number(name)).collect();
                            let present = out.iter_mut().zip(codes);
                            present.for_each(|(out, code)| {
                                *out = code.map_or(f64::NAN, |code| numbers[code as usize])
                            });
                        }
                        // A file may hold only such categories as look like numbers.
                        Values::Numbers(values) => {
                            let present = out.iter_mut().zip(values).filter(|(_, value)| !value.is_nan());
                            present.for_each(|(out, value)| *out = number(&value.to_string()));
                        }
                    }
                }
            }
        }
        Ok(out)
    }
}
