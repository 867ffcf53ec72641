//! Features replaced by fewer: principal components, factors, independent sources.

mod fast_ica;
mod incremental_pca;
mod kernel_pca;
mod nmf;
mod pca;
mod projection;
mod truncated_svd;

pub use fast_ica::{FastIca, FastIcaParams, IcaAlgorithm, IcaFunction};
pub use incremental_pca::{IncrementalPca, IncrementalPcaParams};
pub(crate) use kernel_pca::KernelSpace;
pub use kernel_pca::{KernelPca, KernelPcaParams, PcaKernel};
pub use nmf::{BetaLoss, Nmf, NmfInit, NmfParams, NmfSolver};
pub use pca::{Components, Pca, PcaParams, SvdSolver};
pub use truncated_svd::{TruncatedSvd, TruncatedSvdParams};

use super::estimator::Transformer;
use super::registry::{DynTransformer, Entry, transformer};
use crate::{Error, Result};
use ndarray::{Array2, ArrayViewMut1};

pub(super) const TRANSFORMERS: &[Entry<dyn DynTransformer, dyn Transformer>] = &[
    transformer::<PcaParams>(),
    transformer::<IncrementalPcaParams>(),
    transformer::<TruncatedSvdParams>(),
    transformer::<NmfParams>(),
    transformer::<FastIcaParams>(),
    transformer::<KernelPcaParams>(),
];

/// Turns a vector so that its entry of largest size is positive, as scikit-learn does.
fn flip_sign(mut vector: ArrayViewMut1<'_, f64>) {
    let largest = vector
        .iter()
        .copied()
        .fold(0.0_f64, |most, value| if value.abs() > most.abs() { value } else { most });
    if largest < 0.0 {
        vector.mapv_inplace(|value| -value);
    }
}

/// Names of made columns: `pca0`, `pca1`, ...
pub(super) fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}{index}")).collect()
}

/// The values, if they are all finite.
fn finite(name: &'static str, values: Array2<f64>) -> Result<Array2<f64>> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    Err(overflow(name))
}

fn overflow(name: &'static str) -> Error {
    Error::op(name, "the features hold values so large that sums of squares overflow; scale them")
}

/// Checks a number of components against the most there can be.
fn check_count(name: &'static str, count: usize, most: usize, what: &str) -> Result<usize> {
    if (1..=most).contains(&count) {
        return Ok(count);
    }
    Err(Error::op(name, format!("n_components is {count}; it must be between 1 and {most}, {what}")))
}

/// Checks the width of rows that are transformed back.
fn check_columns(name: &'static str, given: usize, components: usize) -> Result<()> {
    if given == components {
        return Ok(());
    }
    Err(Error::op(name, format!("x has {given} columns; the model has {components} components")))
}
