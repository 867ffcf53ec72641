//! What the linear decompositions have in common: rows times components.

use super::{finite, flip_sign};
use crate::Result;
use crate::classical::linalg::matmul;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// Orthogonal directions through a mean, by falling variance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Projection {
    pub mean: Array1<f64>,
    /// `[components, features]`.
    pub components: Array2<f64>,
    pub explained_variance: Array1<f64>,
    pub explained_variance_ratio: Array1<f64>,
    pub singular_values: Array1<f64>,
    pub noise_variance: f64,
    pub whiten: bool,
}

impl Projection {
    pub fn fits(&self, features: usize) -> bool {
        let components = (self.explained_variance.len(), features);
        self.mean.len() == features && self.components.dim() == components
    }

    /// The coordinates of rows, `[rows, components]`.
    pub fn transform(&self, name: &'static str, x: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        let mut out = matmul(x, self.components.t());
        out -= &self.components.dot(&self.mean);
        if self.whiten {
            out /= &self.deviations();
        }
        finite(name, out)
    }

    /// The rows that have these coordinates.
    pub fn inverse(&self, name: &'static str, x: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        super::check_columns(name, x.ncols(), self.components.nrows())?;
        let mut out = if self.whiten {
            matmul((&x * &self.deviations()).view(), self.components.view())
        } else {
            matmul(x, self.components.view())
        };
        out += &self.mean;
        finite(name, out)
    }

    /// Deviations along the components; none is 0, so that whitening can divide by them.
    fn deviations(&self) -> Array1<f64> {
        self.explained_variance.mapv(|variance| variance.sqrt().max(f64::EPSILON))
    }
}

/// Components as rows, each with the sign that makes its largest entry positive; in row-major order, as
/// they are read back from a file, so that products add in the same order.
pub(super) fn flipped(components: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut components = components.as_standard_layout().into_owned();
    components.axis_iter_mut(Axis(0)).for_each(flip_sign);
    components
}

/// Parts of a total, 0 where there is none.
pub(super) fn shares(parts: &Array1<f64>, total: f64) -> Array1<f64> {
    parts.mapv(|part| if total > 0.0 { part / total } else { 0.0 })
}

/// The accessors of a model whose field `projection` is a [`Projection`].
macro_rules! accessors {
    ($model:ident) => {
        impl $model {
            /// The mean of each feature.
            pub fn mean(&self) -> ndarray::ArrayView1<'_, f64> {
                self.projection.mean.view()
            }

            /// Directions of most variance, `[components, features]`, orthonormal.
            pub fn components(&self) -> ndarray::ArrayView2<'_, f64> {
                self.projection.components.view()
            }

            /// The variance along each component (of samples: divided by their number less one).
            pub fn explained_variance(&self) -> ndarray::ArrayView1<'_, f64> {
                self.projection.explained_variance.view()
            }

            /// The share of the whole variance along each component, between 0 and 1.
            pub fn explained_variance_ratio(&self) -> ndarray::ArrayView1<'_, f64> {
                self.projection.explained_variance_ratio.view()
            }

            /// The singular values of the centred data along the components.
            pub fn singular_values(&self) -> ndarray::ArrayView1<'_, f64> {
                self.projection.singular_values.view()
            }

            /// The mean variance along the directions left out (Tipping and Bishop, 1999).
            pub fn noise_variance(&self) -> f64 {
                self.projection.noise_variance
            }
        }

        impl $crate::classical::Transformer for $model {
            fn transform_rows(
                &self,
                x: &$crate::classical::Matrix<'_>,
            ) -> $crate::Result<$crate::classical::Matrix<'static>> {
                let name = $crate::classical::Model::name(self);
                let rows = self.projection.transform(name, x.dense().view())?;
                Ok($crate::classical::Matrix::Dense(rows.into()))
            }

            fn inverse_rows(
                &self,
                x: &$crate::classical::Matrix<'_>,
            ) -> $crate::Result<Option<ndarray::Array2<f64>>> {
                let name = $crate::classical::Model::name(self);
                self.projection.inverse(name, x.dense().view()).map(Some)
            }

            fn feature_names_out(&self, _input: &[String]) -> Vec<String> {
                let prefix = $crate::classical::Model::name(self).to_lowercase();
                super::numbered(&prefix, self.projection.components.nrows())
            }
        }
    };
}

pub(super) use accessors;
