//! Ranges of a dimension, without a copy; and the padding that is their inverse.

use crate::layout::axis;
use crate::{Error, Layout, Op, Result, Shape, Spec, Tensor};

/// `count` elements of `axis` from `start`, every `step`-th.
#[derive(Debug)]
struct Slice {
    axis: usize,
    start: usize,
    count: usize,
    step: isize,
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let mut dims = inputs[0].shape().to_vec();
        dims[self.axis] = self.count;
        Ok(Spec::new(inputs[0].dtype, Shape::new(&dims)?))
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        Some(input.slice(self.axis, self.start, self.count, self.step))
    }

    fn half(&self) -> bool {
        true
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        if self.count == 0 {
            return Ok(vec![Some(inputs[0].zeros_like()?)]);
        }
        let axis = self.axis as isize;
        let (gaps, span) = (self.step.unsigned_abs() - 1, (self.count - 1) * self.step.unsigned_abs());
        let (first, ascending) = if self.step < 0 {
            (self.start - span, upstream.flip(axis)?)
        } else {
            (self.start, upstream.clone())
        };
        let after = inputs[0].dims()[self.axis] - first - span - 1;
        Ok(vec![Some(ascending.pad_axis(axis, first, after, gaps, 0.0)?)])
    }
}

impl Tensor {
    /// Elements `start` to `end` (excluded) of a dimension, every `step`-th. No data moves. An
    /// error where the range reaches past the dimension or the step is 0.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::arange(0.0, 6.0, 1.0, &Engine::cpu())?;
    /// assert_eq!(x.slice(0, 1, 6, 2)?.to_vec::<f32>()?, [1.0, 3.0, 5.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn slice(&self, dim: isize, start: usize, end: usize, step: usize) -> Result<Tensor> {
        let axis = axis("slice", dim, self.rank())?;
        let size = self.dims()[axis];
        if start > end || end > size || step == 0 {
            let message =
                format!("{start}..{end} by {step} does not fit dimension {axis} of shape {}", self.shape());
            return Err(Error::op("slice", message));
        }
        let count = (end - start).div_ceil(step);
        // A longer step than the dimension is one element as well.
        let step = step.min(size.max(1)) as isize;
        Tensor::apply(Slice { axis, start, count, step }, &[self])
    }

    /// `length` elements of a dimension from `start`. No data moves.
    pub fn narrow(&self, dim: isize, start: usize, length: usize) -> Result<Tensor> {
        self.slice(dim, start, start.saturating_add(length), 1)
    }

    /// Element `index` of a dimension, without that dimension.
    pub fn select(&self, dim: isize, index: usize) -> Result<Tensor> {
        self.narrow(dim, index, 1)?.squeeze(axis("select", dim, self.rank())? as isize)
    }

    /// A dimension in reverse order. No data moves.
    pub fn flip(&self, dim: isize) -> Result<Tensor> {
        let axis = axis("flip", dim, self.rank())?;
        let count = self.dims()[axis];
        Tensor::apply(Slice { axis, start: count.saturating_sub(1), count, step: -1 }, &[self])
    }
}
