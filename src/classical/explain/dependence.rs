//! Partial dependence (Friedman: Greedy Function Approximation, 2001) and individual conditional
//! expectation (Goldstein et al.: Peeking Inside the Black Box, 2015).

use crate::classical::data::{Accepts, Features, checked_features};
use crate::parallel;
use crate::{Error, Result};
use ndarray::{Array1, Array2, ArrayView1, Axis};

/// How predictions depend on some features.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialDependence {
    /// For each of the features the values that were tried, ascending.
    pub grid: Vec<Vec<f64>>,
    /// The mean prediction at each point; the last feature's value changes fastest.
    pub average: Array1<f64>,
    /// Each row's prediction at each point, `[rows, points]` (individual conditional expectation).
    pub individual: Array2<f64>,
}

/// The values to try: all if they are few, else evenly spaced between the 5th and the 95th percentile.
fn grid(column: ArrayView1<'_, f64>, resolution: usize) -> Vec<f64> {
    let mut values: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
    values.sort_unstable_by(f64::total_cmp);
    // Cunnane's plotting positions, as scikit-learn takes them.
    let quantile = |share: f64| {
        let place = (share * (values.len() as f64 + 0.2) - 0.6).clamp(0.0, (values.len() - 1) as f64);
        let (below, above) = (values[place as usize], values[place.ceil() as usize]);
        below + (above - below) * place.fract()
    };
    let mut distinct = values.clone();
    distinct.dedup();
    if distinct.len() < resolution {
        return distinct;
    }
    let (low, high) = (quantile(0.05), quantile(0.95));
    (0..resolution).map(|step| low + (high - low) * step as f64 / (resolution - 1) as f64).collect()
}

/// Sets `features` of every row to each point of a grid of up to `resolution` values a feature, and
/// predicts; `predict` is of any model, one number a row.
///
/// ```
/// use kiln::classical::explain::partial_dependence;
/// use kiln::classical::prelude::*;
/// use ndarray::Array2;
///
/// let x = Array2::from_shape_fn((100, 3), |(row, column)| (row * (column + 3)) as f64 % 11.0);
/// let y = &x.column(0) + &x.column(1);
/// let model = Ridge::params().alpha(1e-6).fit(&x, &y)?;
/// let found = partial_dependence(&x, &[0], 20, |x| model.predict(x))?;
/// assert!((found.average[10] - found.average[0] - 10.0).abs() < 1e-3);
/// # Ok::<(), kiln::Error>(())
/// ```
///
/// # Errors
/// Columns that do not exist or hold no value, a resolution below 2, and what `predict` returns.
pub fn partial_dependence(
    x: &dyn Features,
    features: &[usize],
    resolution: usize,
    predict: impl Fn(&Array2<f64>) -> Result<Array1<f64>> + Sync,
) -> Result<PartialDependence> {
    const NAME: &str = "partial_dependence";
    let x = checked_features(NAME, Accepts { missing: true, ..Accepts::PLAIN }, x)?;
    let x = x.dense().into_owned();
    if features.is_empty() || resolution < 2 {
        let message =
            format!("{} features, resolution {resolution}; at least 1 and 2 are needed", features.len());
        return Err(Error::op(NAME, message));
    }
    for &feature in features {
        if feature >= x.ncols() {
            return Err(Error::op(NAME, format!("no column {feature}; x has {} columns", x.ncols())));
        }
        if x.column(feature).iter().all(|value| value.is_nan()) {
            return Err(Error::op(NAME, format!("column {feature} holds no value")));
        }
    }
    let grid: Vec<Vec<f64>> = features.iter().map(|&feature| grid(x.column(feature), resolution)).collect();
    let points: usize = grid.iter().map(Vec::len).product();
    let at = |point: usize| -> Result<Array1<f64>> {
        let mut changed = x.clone();
        let mut rest = point;
        for (&feature, values) in features.iter().zip(&grid).rev() {
            changed.column_mut(feature).fill(values[rest % values.len()]);
            rest /= values.len();
        }
        let predicted = predict(&changed)?;
        if predicted.len() != x.nrows() {
            let message = format!("predict gave {} numbers for {} rows", predicted.len(), x.nrows());
            return Err(Error::op(NAME, message));
        }
        Ok(predicted)
    };
    let columns: Vec<Array1<f64>> = parallel::try_map(0..points, at)?;
    let individual = Array2::from_shape_fn((x.nrows(), points), |(row, point)| columns[point][row]);
    let average = individual.sum_axis(Axis(0)) / x.nrows() as f64;
    Ok(PartialDependence { grid, average, individual })
}
