//! Each class by its middle.

use super::index::{Algorithm, Index};
use super::metric::Metric;
use crate::Result;
use crate::classical::data::{Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, Parameters};
use crate::classical::params::{model, params};
use crate::classical::preprocessing::{quantile_sorted, sorted};
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

/// A fitted nearest-centroid classifier.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NearestCentroid {
    n_features: usize,
    classes: Vec<i64>,
    centroids: Array2<f64>,
    index: Index,
}

params! {
    /// Parameters of [`NearestCentroid`]: each row gets the class whose middle is nearest (the Rocchio
    /// classifier of text retrieval; Tibshirani and others, 2002).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [10.0], [11.0]];
    /// let model = NearestCentroid::params().fit(&x, &[0, 0, 1, 1])?;
    /// assert_eq!(model.centroids(), array![[0.5], [10.5]]);
    /// assert_eq!(model.predict(&array![[3.0]])?, array![0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    NearestCentroidParams for NearestCentroid = "NearestCentroid" {
        /// How distances are measured: Euclidean ones are from the means, Manhattan ones from the medians.
        metric: Metric = Metric::Euclidean,
    }

    fn check(&self) -> Result<()> {
        match self.metric {
            Metric::Euclidean | Metric::Manhattan => Ok(()),
            other => Err(Self::error(format!("metric is {other:?}; it must be Euclidean or Manhattan"))),
        }
    }
}

impl FitClassifier for NearestCentroidParams {
    type Model = NearestCentroid;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<NearestCentroid> {
        data.refuse_weights(Self::NAME)?;
        let x = data.x.dense();
        let distance = self.metric.distance(Self::NAME, 2.0)?;
        distance.check(Self::NAME, x.view())?;
        let mut centroids = Array2::zeros((data.y.values.len(), x.ncols()));
        for (class, mut centroid) in centroids.rows_mut().into_iter().enumerate() {
            let rows: Vec<usize> = (0..x.nrows()).filter(|&row| data.y.codes[row] == class).collect();
            let own = x.select(Axis(0), &rows);
            for (to, column) in centroid.iter_mut().zip(own.columns()) {
                *to = if self.metric == Metric::Manhattan {
                    quantile_sorted(&sorted(&column.to_vec()), 0.5)
                } else {
                    column.sum() / rows.len() as f64
                };
            }
        }
        let index = Index::new(Self::NAME, centroids.view(), distance, Algorithm::Brute, 1)?;
        Ok(NearestCentroid { n_features: x.ncols(), classes: data.y.values.clone(), centroids, index })
    }
}

impl NearestCentroid {
    /// The middle of each class, `[classes, columns]`.
    pub fn centroids(&self) -> &Array2<f64> {
        &self.centroids
    }
}

impl Classifier for NearestCentroid {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        let found = self.index.nearest("NearestCentroid", x.dense().view(), 1)?;
        Ok(found.indices.into_iter().collect())
    }
}

model!(
    NearestCentroid = "NearestCentroid",
    fn is_consistent(&self) -> bool {
        self.index.fits(self.n_features, 1) && self.index.rows() == self.classes.len()
    }
);
