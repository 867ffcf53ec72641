//! Losses: what training makes small. PyTorch's names, formulas and defaults.

mod classes;
mod ctc;
mod pairs;
mod regression;

pub use classes::{
    BceOptions, CrossEntropyOptions, NllOptions, binary_cross_entropy_with_logits, cross_entropy,
    cross_entropy_with, kl_div, nll_loss,
};
pub use ctc::{CtcOptions, ctc_loss};
pub use pairs::{TripletOptions, cosine_embedding_loss, hinge_embedding_loss, triplet_margin_loss};
pub use regression::{huber_loss, l1_loss, mse_loss, smooth_l1_loss};

use crate::{Error, Result, Tensor};

/// What becomes of the losses of single elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// They stay as they are.
    None,
    /// Their mean; an error where there are none.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum divided by the size of the first dimension, as the definition of
    /// [`kl_div`] has it.
    BatchMean,
}

impl Reduction {
    fn apply(self, op: &'static str, losses: &Tensor) -> Result<Tensor> {
        if losses.elements() == 0 && matches!(self, Reduction::Mean | Reduction::BatchMean) {
            return Err(Error::op(op, "the batch is empty"));
        }
        match self {
            Reduction::None => Ok(losses.clone()),
            Reduction::Mean => losses.mean(.., false),
            Reduction::Sum => losses.sum(.., false),
            Reduction::BatchMean => {
                let batch = losses.dims().first().copied().unwrap_or(1);
                losses.sum(.., false)?.mul(1.0 / batch as f64)
            }
        }
    }
}

/// An error unless the shapes are equal: they are not broadcast, which is a mistake more often than
/// not.
fn check_shapes(op: &'static str, input: &Tensor, target: &Tensor) -> Result<()> {
    if input.shape() == target.shape() {
        return Ok(());
    }
    Err(Error::op(op, format!("shapes {} and {} differ", input.shape(), target.shape())))
}
