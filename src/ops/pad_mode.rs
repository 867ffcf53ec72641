//! Padding with what the tensor holds, and cropping.

use crate::{Error, Result, Tensor};

/// What stands around a padded tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PadMode {
    /// This value.
    Constant(f32),
    /// The elements mirrored at the edge, without the edge itself: `c b | a b c | b a`.
    Reflect,
    /// The element at the edge: `a a | a b c | c c`.
    Replicate,
    /// The elements of the other end: `b c | a b c | a b`.
    Circular,
}

impl Tensor {
    /// Pads, or crops where negative: `padding[i]` elements before and after dimension `i`, counted
    /// from the first; one pair a dimension. The gradient of an element is the sum of those of its
    /// copies.
    ///
    /// An error without a pair a dimension, where more is cropped than is there, and where the
    /// dimension is too short: mirrored elements must be fewer than its elements, those from the
    /// other end at most as many, and the edge must exist.
    pub fn pad_with(&self, padding: &[(isize, isize)], mode: PadMode) -> Result<Tensor> {
        if padding.len() != self.rank() {
            let message = format!("{} pairs of paddings for shape {}", padding.len(), self.shape());
            return Err(Error::op("pad", message));
        }
        padding.iter().enumerate().try_fold(self.clone(), |padded, (dim, &(before, after))| {
            padded.pad_dimension(dim, before, after, mode)
        })
    }

    fn pad_dimension(&self, dim: usize, before: isize, after: isize, mode: PadMode) -> Result<Tensor> {
        let refuse = || {
            let message = format!(
                "{before} and {after} by {mode:?} do not fit dimension {dim} of shape {}",
                self.shape()
            );
            Error::op("pad", message)
        };
        let [first, last] = [before, after].map(|n| n.min(0).unsigned_abs());
        let [before, after] = [before, after].map(|n| n.max(0).unsigned_abs());
        let size = self.dims()[dim];
        let axis = dim as isize;
        let length =
            first.checked_add(last).and_then(|cropped| size.checked_sub(cropped)).ok_or_else(refuse)?;
        let kept = if length == size { self.clone() } else { self.narrow(axis, first, length)? };
        if before == 0 && after == 0 {
            return Ok(kept);
        }
        let most = match mode {
            PadMode::Constant(value) => return kept.pad_axis(axis, before, after, 0, value),
            PadMode::Reflect => length.saturating_sub(1),
            PadMode::Replicate if length == 0 => 0,
            PadMode::Replicate => usize::MAX,
            PadMode::Circular => length,
        };
        if before.max(after) > most {
            return Err(refuse());
        }
        let (start, end) = match mode {
            PadMode::Reflect => (
                kept.narrow(axis, 1, before)?.flip(axis)?,
                kept.narrow(axis, length - 1 - after, after)?.flip(axis)?,
            ),
            PadMode::Circular => (kept.narrow(axis, length - before, before)?, kept.narrow(axis, 0, after)?),
            _ => {
                let edge = |at: usize, count: usize| {
                    let mut dims = self.dims().to_vec();
                    dims[dim] = count;
                    kept.narrow(axis, at, 1)?.broadcast_to(dims)
                };
                (edge(0, before)?, edge(length - 1, after)?)
            }
        };
        Tensor::concat(&[&start, &kept, &end], axis)
    }
}
