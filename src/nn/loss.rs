//! Losses: what training makes small. Each is the mean over its batch, a scalar.

use crate::{DType, Error, Result, Tensor};

/// The mean cross-entropy of class labels under `softmax(logits)`: logits `[N, C]`, labels `I32`
/// `[N]`, result a scalar. PyTorch's `cross_entropy`.
///
/// An error where the shapes are others, the batch is empty, or a label is not a class (labels
/// computed on a device are checked when the loss is).
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let refuse = |message: String| Err(Error::op("cross_entropy", message));
    let &[samples, classes] = logits.dims() else {
        return refuse(format!("expected logits [N, C], got {}", logits.shape()));
    };
    if labels.dims() != [samples] || labels.dtype() != DType::I32 {
        let (dtype, shape) = (labels.dtype(), labels.shape());
        return refuse(format!("expected labels i32 [{samples}] for the logits, got {dtype} {shape}"));
    }
    if samples == 0 {
        return refuse("the batch is empty".into());
    }
    labels.check_indices("cross_entropy", "label", classes)?;
    logits.log_softmax(1)?.gather(1, &labels.unsqueeze(1)?)?.mean(.., false)?.neg()
}

/// The mean squared difference of two tensors of one shape, a scalar. PyTorch's `mse_loss`.
///
/// An error where the shapes differ (they are not broadcast: that is a mistake more often than not),
/// or there are no elements.
pub fn mse_loss(input: &Tensor, target: &Tensor) -> Result<Tensor> {
    let refuse = |message: String| Err(Error::op("mse_loss", message));
    if input.shape() != target.shape() {
        return refuse(format!("shapes {} and {} differ", input.shape(), target.shape()));
    }
    if input.elements() == 0 {
        return refuse("the batch is empty".into());
    }
    input.sub(target)?.square()?.mean(.., false)
}
