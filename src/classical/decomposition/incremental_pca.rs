//! Principal components of data that comes in batches.

use super::projection::{Projection, accessors, flipped, shares};
use super::{check_count, finite};
use crate::Result;
use crate::classical::data::{Accepts, Features, Training};
use crate::classical::estimator::{FitTransformer, Model, Parameters, Target};
use crate::classical::linalg;
use crate::classical::params::{model, params};
use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};
use serde::{Deserialize, Serialize};

/// Principal components of all batches seen so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IncrementalPca {
    n_features: usize,
    n_samples_seen: usize,
    /// The variance of each feature over the samples seen, divided by their number.
    variance: Array1<f64>,
    projection: Projection,
}

params! {
    /// Parameters of [`IncrementalPca`]: principal components updated batch by batch, in memory that does
    /// not grow with the number of samples (Ross, Lim, Lin and Yang, 2008).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((40, 3), |(i, j)| (i * (j + 1)) as f64 % 7.0);
    /// let mut pca = IncrementalPca::params().n_components(2).fit(&x)?;
    /// pca.partial_fit(&(&x + 1.0))?;
    /// assert_eq!(pca.n_samples_seen(), 80);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    IncrementalPcaParams for IncrementalPca = "IncrementalPCA" {
        /// How many components to keep; none means the smaller of features and the first batch's samples.
        n_components: Option<usize> = None,
        /// Whether to scale each component to variance 1.
        whiten: bool = false,
        /// Samples of a batch in `fit`; none means five times the features.
        batch_size: Option<usize> = None,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        match self.batch_size {
            Some(size) if size < 2 => Err(Self::error(format!("batch_size is {size}; it must be 2 or more"))),
            _ => Ok(()),
        }
    }
}

impl FitTransformer for IncrementalPcaParams {
    type Model = IncrementalPca;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<IncrementalPca> {
        let x = data.x.dense();
        let (rows, n_features) = x.dim();
        let size = self.batch_size.unwrap_or(5 * n_features).min(rows);
        let mut start = 0;
        let mut model: Option<IncrementalPca> = None;
        while start < rows {
            // A rest too small to stand alone goes with the batch before it.
            let whole = start + size + self.n_components.unwrap_or(0) <= rows;
            let end = if whole { start + size } else { rows };
            let batch = x.slice(s![start..end, ..]);
            match &mut model {
                Some(model) => model.update(batch)?,
                None => model = Some(self.first(batch)?),
            }
            start = end;
        }
        model.ok_or_else(|| Self::error("no batch to fit"))
    }
}

impl IncrementalPcaParams {
    fn first(&self, batch: ArrayView2<'_, f64>) -> Result<IncrementalPca> {
        let (rows, n_features) = batch.dim();
        let most = rows.min(n_features);
        let what = "the smaller of features and the first batch's samples";
        let count = check_count(Self::NAME, self.n_components.unwrap_or(most), most, what)?;
        let mut model = IncrementalPca {
            n_features,
            n_samples_seen: 0,
            variance: Array1::zeros(n_features),
            projection: Projection {
                mean: Array1::zeros(n_features),
                components: Array2::zeros((count, n_features)),
                explained_variance: Array1::zeros(count),
                explained_variance_ratio: Array1::zeros(count),
                singular_values: Array1::zeros(count),
                noise_variance: 0.0,
                whiten: self.whiten,
            },
        };
        model.update(batch)?;
        Ok(model)
    }
}

impl IncrementalPca {
    /// Learns from one more batch.
    ///
    /// # Errors
    /// What [`Model::input`] refuses, and values so large that they overflow; the model stays as it was.
    pub fn partial_fit(&mut self, x: &dyn Features) -> Result<()> {
        let batch = self.input(x)?;
        self.update(batch.dense().view())
    }

    /// How many samples all batches held.
    pub fn n_samples_seen(&self) -> usize {
        self.n_samples_seen
    }

    fn update(&mut self, batch: ArrayView2<'_, f64>) -> Result<()> {
        let name = self.name();
        let (seen, rows) = (self.n_samples_seen as f64, batch.nrows() as f64);
        let total = seen + rows;
        let old = &self.projection;
        let batch_mean = batch.mean_axis(Axis(0)).unwrap_or_default();
        let centred = &batch - &batch_mean;
        let apart = &old.mean - &batch_mean;
        let between = &apart * &apart * (seen * rows / total);
        let squares = centred.map_axis(Axis(0), |column| column.dot(&column));
        let variance = (&self.variance * seen + squares + between) / total;
        // What is known of earlier batches: their components, and how far apart the means are.
        let known = &old.components * &old.singular_values.view().insert_axis(Axis(1));
        let correction = (&apart * (seen * rows / total).sqrt()).insert_axis(Axis(0));
        let stacked = if seen > 0.0 {
            // The parts have the same number of columns.
            concatenate(Axis(0), &[known.view(), centred.view(), correction.view()]).unwrap_or_default()
        } else {
            centred
        };
        let (_, values, components) = linalg::svd(finite(name, stacked)?.view())?;
        let count = old.components.nrows();
        let squares = values.mapv(|value| value * value);
        let explained = &squares / (total - 1.0);
        let left = explained.slice(s![count..]);
        let all_kept = count == batch.nrows() || count == self.n_features;
        let noise_variance = if all_kept { 0.0 } else { left.mean().unwrap_or(0.0) };
        self.projection = Projection {
            mean: (&old.mean * seen + &batch_mean * rows) / total,
            components: finite(name, flipped(components.slice(s![..count, ..])))?,
            explained_variance: explained.slice(s![..count]).to_owned(),
            explained_variance_ratio: shares(&squares.slice(s![..count]).to_owned(), variance.sum() * total),
            singular_values: values.slice(s![..count]).to_owned(),
            noise_variance,
            whiten: old.whiten,
        };
        self.variance = variance;
        self.n_samples_seen += batch.nrows();
        Ok(())
    }
}

accessors!(IncrementalPca);
model!(
    IncrementalPca = "IncrementalPCA",
    fn is_consistent(&self) -> bool {
        self.projection.fits(self.n_features) && self.variance.len() == self.n_features
    }
);
