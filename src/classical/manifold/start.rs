//! Where an embedding starts.

use crate::Result;
use crate::classical::decomposition::Pca;
use crate::classical::estimator::{FitTransformer, Transformer};
use crate::classical::random::{normal, stream};
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// Where an embedding starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The first principal components: the large distances are right from the beginning.
    #[default]
    Pca,
    /// Normal variates.
    Random,
}

/// Positions whose first column has deviation `scale`.
pub(super) fn start(
    how: Start,
    x: ArrayView2<'_, f64>,
    components: usize,
    scale: f64,
    seed: u64,
) -> Result<Array2<f64>> {
    if how == Start::Pca {
        let pca = Pca::params().n_components(components).seed(seed).fit(&x)?;
        let positions = pca.transform(&x)?;
        let deviation = positions.index_axis(Axis(1), 0).std(0.0);
        // Where all rows are the same, only chance can tell them apart.
        if deviation > 0.0 {
            return Ok(positions * (scale / deviation));
        }
    }
    let mut rng = stream(seed, 0);
    Ok(Array2::from_shape_simple_fn((x.nrows(), components), || scale * normal(&mut rng)))
}
