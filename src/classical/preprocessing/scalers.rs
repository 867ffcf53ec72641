//! Scalers: each column shifted and divided.

use super::columns::{MISSING, each_column, map_columns, mean, quantile_sorted, same_names, sorted};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// `(x - center) / scale`, column by column.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Affine {
    center: Vec<f64>,
    scale: Vec<f64>,
}

impl Affine {
    /// A scale of 0 (a constant column) becomes 1.
    fn new(center: Vec<f64>, mut scale: Vec<f64>) -> Affine {
        for scale in scale.iter_mut().filter(|scale| **scale < 10.0 * f64::MIN_POSITIVE) {
            *scale = 1.0;
        }
        Affine { center, scale }
    }

    fn fits(&self, columns: usize) -> bool {
        self.center.len() == columns && self.scale.len() == columns
    }

    fn apply(&self, name: &'static str, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        map_columns(name, x, self.center.len(), |column, value| {
            (value - self.center[column]) / self.scale[column]
        })
    }

    fn undo(&self, name: &'static str, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let back = map_columns(name, x, self.center.len(), |column, value| {
            value * self.scale[column] + self.center[column]
        })?;
        Ok(Some(back.dense().into_owned()))
    }
}

/// A scaler's parts that follow from its [`Affine`] map.
macro_rules! scaler {
    ($model:ident = $name:literal) => {
        impl Transformer for $model {
            fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
                self.affine.apply($name, x)
            }

            fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
                self.affine.undo($name, x)
            }

            fn feature_names_out(&self, input: &[String]) -> Vec<String> {
                same_names(input)
            }
        }

        impl $model {
            /// What each column is divided by.
            pub fn scale(&self) -> &[f64] {
                &self.affine.scale
            }
        }

        model!(
            $model = $name,
            fn accepts(&self) -> Accepts {
                MISSING
            },
            fn is_consistent(&self) -> bool {
                self.affine.fits(self.n_features)
            }
        );
    };
}

/// A fitted standard scaler.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StandardScaler {
    n_features: usize,
    affine: Affine,
    mean: Vec<f64>,
    var: Vec<f64>,
}

params! {
    /// Parameters of [`StandardScaler`]: each column to mean 0 and deviation 1.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let scaled = StandardScaler::params().fit_transform(&array![[1.0], [3.0], [5.0]])?;
    /// assert!((scaled[[2, 0]] - 1.5_f64.sqrt()).abs() < 1e-12);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    StandardScalerParams for StandardScaler = "StandardScaler" {
        /// Whether to subtract the mean.
        with_mean: bool = true,
        /// Whether to divide by the standard deviation.
        with_std: bool = true,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }
}

impl FitTransformer for StandardScalerParams {
    type Model = StandardScaler;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<StandardScaler> {
        let mean = each_column(Self::NAME, data, mean)?;
        let var = each_column(Self::NAME, data, variance)?;
        let rows = data.x.rows() as f64;
        // A variance that rounding alone explains is that of a constant.
        let constant =
            |mean: f64, var: f64| var <= rows * f64::EPSILON * var + (rows * mean * f64::EPSILON).powi(2);
        let deviation = |(&mean, &var): (&f64, &f64)| if constant(mean, var) { 0.0 } else { var.sqrt() };
        let columns = mean.len();
        let center = if self.with_mean { mean.clone() } else { vec![0.0; columns] };
        let scale =
            if self.with_std { mean.iter().zip(&var).map(deviation).collect() } else { vec![1.0; columns] };
        Ok(StandardScaler { n_features: columns, affine: Affine::new(center, scale), mean, var })
    }
}

/// The population variance; a second sum takes back the rounding of the mean.
fn variance(values: &[f64]) -> f64 {
    let (mean, n) = (mean(values), values.len() as f64);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let rest: f64 = values.iter().map(|value| value - mean).sum();
    (squares - rest * rest / n) / n
}

impl StandardScaler {
    /// The mean of each column.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The variance of each column.
    pub fn var(&self) -> &[f64] {
        &self.var
    }
}

scaler!(StandardScaler = "StandardScaler");

/// A fitted min-max scaler.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MinMaxScaler {
    n_features: usize,
    affine: Affine,
    data_min: Vec<f64>,
    data_max: Vec<f64>,
    clip: Option<(f64, f64)>,
}

params! {
    /// Parameters of [`MinMaxScaler`]: each column into a range.
    MinMaxScalerParams for MinMaxScaler = "MinMaxScaler" {
        /// The lowest and the highest value of a column after scaling.
        feature_range: (f64, f64) = (0.0, 1.0),
        /// Whether new values outside the range are set to its ends.
        clip: bool = false,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }

    fn check(&self) -> Result<()> {
        let (low, high) = self.feature_range;
        if low < high && low.is_finite() && high.is_finite() {
            return Ok(());
        }
        Err(Self::error(format!("feature_range is {low} to {high}; the first must be below the second")))
    }
}

fn lowest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn highest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

impl FitTransformer for MinMaxScalerParams {
    type Model = MinMaxScaler;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<MinMaxScaler> {
        let data_min = each_column(Self::NAME, data, lowest)?;
        let data_max = each_column(Self::NAME, data, highest)?;
        each_column(Self::NAME, data, |values| highest(values) - lowest(values))?;
        let (low, high) = self.feature_range;
        let ranges = data_min.iter().zip(&data_max).map(|(min, max)| max - min).collect();
        let mut affine = Affine::new(data_min.clone(), ranges);
        for (center, scale) in affine.center.iter_mut().zip(&mut affine.scale) {
            *scale /= high - low;
            *center -= low * *scale;
        }
        let clip = self.clip.then_some(self.feature_range);
        Ok(MinMaxScaler { n_features: data_min.len(), affine, data_min, data_max, clip })
    }
}

impl MinMaxScaler {
    /// The lowest value of each column.
    pub fn data_min(&self) -> &[f64] {
        &self.data_min
    }

    /// The highest value of each column.
    pub fn data_max(&self) -> &[f64] {
        &self.data_max
    }
}

impl Transformer for MinMaxScaler {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let scaled = self.affine.apply("MinMaxScaler", x)?;
        match self.clip {
            None => Ok(scaled),
            Some((low, high)) => {
                map_columns("MinMaxScaler", &scaled, self.n_features, |_, value| value.clamp(low, high))
            }
        }
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        self.affine.undo("MinMaxScaler", x)
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        same_names(input)
    }
}

model!(
    MinMaxScaler = "MinMaxScaler",
    fn accepts(&self) -> Accepts {
        MISSING
    },
    fn is_consistent(&self) -> bool {
        self.affine.fits(self.n_features) && self.clip.is_none_or(|(low, high)| low <= high)
    }
);

/// A fitted scaler by the largest absolute value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MaxAbsScaler {
    n_features: usize,
    affine: Affine,
}

params! {
    /// Parameters of [`MaxAbsScaler`]: each column divided by its largest absolute value, zeros stay.
    MaxAbsScalerParams for MaxAbsScaler = "MaxAbsScaler" {}

    fn accepts(&self) -> Accepts {
        MISSING
    }
}

impl FitTransformer for MaxAbsScalerParams {
    type Model = MaxAbsScaler;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<MaxAbsScaler> {
        let scale = each_column(Self::NAME, data, |values| {
            values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()))
        })?;
        let n_features = scale.len();
        Ok(MaxAbsScaler { n_features, affine: Affine::new(vec![0.0; n_features], scale) })
    }
}

scaler!(MaxAbsScaler = "MaxAbsScaler");

/// A fitted scaler by quantiles.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RobustScaler {
    n_features: usize,
    affine: Affine,
}

params! {
    /// Parameters of [`RobustScaler`]: the median of each column to 0 and its quartiles 1 apart, whatever
    /// the outliers.
    RobustScalerParams for RobustScaler = "RobustScaler" {
        /// Whether to subtract the median.
        with_centering: bool = true,
        /// Whether to divide by the distance of the quantiles.
        with_scaling: bool = true,
        /// The two quantiles, in percent.
        quantile_range: (f64, f64) = (25.0, 75.0),
        /// Whether to divide further by the same distance of a normal distribution, so that normal
        /// columns get variance 1.
        unit_variance: bool = false,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }

    fn check(&self) -> Result<()> {
        let (low, high) = self.quantile_range;
        if 0.0 <= low && low <= high && high <= 100.0 {
            return Ok(());
        }
        Err(Self::error(format!("quantile_range is {low} to {high}; it must lie within 0 to 100")))
    }
}

impl FitTransformer for RobustScalerParams {
    type Model = RobustScaler;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<RobustScaler> {
        let columns = data.x.columns();
        let (low, high) = (self.quantile_range.0 / 100.0, self.quantile_range.1 / 100.0);
        let center = if self.with_centering {
            each_column(Self::NAME, data, |values| quantile_sorted(&sorted(values), 0.5))?
        } else {
            vec![0.0; columns]
        };
        let scale = if self.with_scaling {
            each_column(Self::NAME, data, |values| {
                let sorted = sorted(values);
                quantile_sorted(&sorted, high) - quantile_sorted(&sorted, low)
            })?
        } else {
            vec![1.0; columns]
        };
        let mut affine = Affine::new(center, scale);
        if self.unit_variance && 0.0 < low && low < high && high < 1.0 {
            let normal = super::quantile::normal_quantile(high) - super::quantile::normal_quantile(low);
            affine.scale.iter_mut().for_each(|scale| *scale /= normal);
        }
        Ok(RobustScaler { n_features: columns, affine })
    }
}

impl RobustScaler {
    /// The median of each column, or 0 without centring.
    pub fn center(&self) -> &[f64] {
        &self.affine.center
    }
}

scaler!(RobustScaler = "RobustScaler");
