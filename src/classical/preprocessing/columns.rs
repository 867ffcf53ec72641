//! What the transformers share: work column by column.

use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::parallel;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView1, ArrayViewMut1, Axis};

/// NaN is a missing value.
pub(super) const MISSING: Accepts = Accepts { missing: true, ..Accepts::PLAIN };

/// Rows that one thread works on at a time.
const BLOCK: usize = 256;

/// The matrix of so many columns with each value changed by its column's function.
///
/// # Errors
/// Another number of columns (which is checked for transforms already, not for their inverse), and a value
/// that overflows.
pub(super) fn map_columns(
    name: &'static str,
    x: &Matrix<'_>,
    columns: usize,
    change: impl Fn(usize, f64) -> f64 + Sync,
) -> Result<Matrix<'static>> {
    if x.columns() != columns {
        let message = format!("x has {} columns; the model was fitted on {columns}", x.columns());
        return Err(Error::op(name, message));
    }
    let mut out = x.dense().into_owned();
    each_row(&mut out, |_, mut row| {
        for (column, value) in row.iter_mut().enumerate() {
            *value = change(column, *value);
        }
    });
    finite(name, out)
}

/// Works on the rows of a matrix on all cores.
pub(super) fn each_row(x: &mut Array2<f64>, work: impl Fn(usize, ArrayViewMut1<'_, f64>) + Sync) {
    let size = 2 * x.len();
    parallel::for_each(size, x.axis_chunks_iter_mut(Axis(0), BLOCK).enumerate(), |(block, mut rows)| {
        for (row, values) in rows.rows_mut().into_iter().enumerate() {
            work(block * BLOCK + row, values);
        }
    });
}

/// The matrix, if no value is infinite.
///
/// # Errors
/// Names the first value at fault.
pub(super) fn finite(name: &'static str, x: Array2<f64>) -> Result<Matrix<'static>> {
    // A sum is infinite or NaN if a value is: one cheap pass for the usual case.
    if !x.sum().is_finite()
        && let Some(((row, column), _)) = x.indexed_iter().find(|(_, value)| value.is_infinite())
    {
        let message = format!("the value at row {row}, column {column} is too large to be transformed");
        return Err(Error::op(name, message));
    }
    Ok(Matrix::Dense(x.into()))
}

/// A number for each column, from its values without the missing ones.
///
/// # Errors
/// Names the column without values, or whose number is not finite.
pub(super) fn each_column<Y: Sync>(
    name: &'static str,
    data: &Training<'_, Y>,
    number: impl Fn(&[f64]) -> f64 + Sync,
) -> Result<Vec<f64>> {
    let columns = present(name, data)?;
    let numbers: Vec<f64> =
        parallel::map(32 * data.x.rows() * columns.len(), &columns, |values| number(values));
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(column) => Err(Error::op(name, format!("the values of column {column} are too large"))),
        None => Ok(numbers),
    }
}

/// The values of each column without the missing ones.
///
/// # Errors
/// Names a column without values.
pub(super) fn present<Y>(name: &'static str, data: &Training<'_, Y>) -> Result<Vec<Vec<f64>>> {
    let columns = columns(&data.x);
    match columns.iter().position(Vec::is_empty) {
        Some(column) => Err(Error::op(name, format!("column {column} has no value that is not missing"))),
        None => Ok(columns),
    }
}

/// The values of each column without the missing ones; a column may be empty.
pub(super) fn columns(x: &Matrix<'_>) -> Vec<Vec<f64>> {
    let x = x.dense();
    let values =
        |column: ArrayView1<'_, f64>| column.iter().copied().filter(|value| !value.is_nan()).collect();
    parallel::map(4 * x.len(), x.columns(), values)
}

/// Ascending.
pub(in crate::classical) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// The distinct values, ascending; 0 and -0 are one.
pub(super) fn distinct(values: &[f64]) -> Vec<f64> {
    let mut distinct: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
    distinct.sort_unstable_by(f64::total_cmp);
    distinct.dedup();
    distinct
}

/// The quantile `q` of ascending values by linear interpolation, as numpy's; the caller gives at least
/// one value.
pub(in crate::classical) fn quantile_sorted(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Names that stay as they are.
pub(super) fn same_names(input: &[String]) -> Vec<String> {
    input.to_vec()
}

/// Where a value lies among ascending categories.
pub(super) fn category(categories: &[f64], value: f64) -> Option<usize> {
    categories.binary_search_by(|known| known.total_cmp(&(value + 0.0))).ok()
}

/// The error for a value that was not there at the fit.
pub(super) fn unknown(name: &'static str, row: usize, column: usize, value: f64) -> Error {
    Error::op(name, format!("row {row}, column {column} holds {value}, which the fit did not see"))
}
