//! The graph: gradients, and the way from recorded nodes to kernels.

pub(crate) mod execute;
mod fuse;
pub(crate) mod grad;

pub use grad::Gradients;

use crate::{Result, Tensor};

/// Computes several tensors in one go: what they share is computed once.
pub fn eval<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<()> {
    let tensors: Vec<Tensor> = tensors.into_iter().cloned().collect();
    execute::evaluate(&tensors, &|_| false)
}
