//! Reductions made of others: norms, standard deviation, the logarithm of a sum of exponentials,
//! truth over axes, and extremes with their positions.

use crate::layout::axis;
use crate::{DType, Error, IntoAxes, Result, Tensor};

impl Tensor {
    /// `f` of this tensor where it is not 0, and 0 where it is, without a gradient there: for roots and
    /// powers, whose slope at 0 is infinite.
    fn where_nonzero(&self, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let zero = self.eq(0.0)?;
        zero.where_(0.0, &f(&zero.where_(1.0, self)?)?)
    }

    /// Where an element is not 0: a comparison, which takes NaN for true on every device.
    fn truth(&self) -> Result<Tensor> {
        if self.dtype() == DType::Bool { Ok(self.clone()) } else { self.ne(0.0) }
    }

    /// Whether any element over axes is true (not 0), as `Bool`: `x.any(1, false)`, `x.any(.., false)`.
    /// False over no elements.
    pub fn any(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        let axes = to_signed(axes.into_axes("any", self.rank())?);
        self.truth()?.cast(DType::I32)?.sum(&axes[..], keepdim)?.ne(0.0)
    }

    /// Whether all elements over axes are true (not 0), as `Bool`; see [`any`](Tensor::any). True over
    /// no elements.
    pub fn all(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        let axes = to_signed(axes.into_axes("all", self.rank())?);
        self.truth()?.logical_not()?.cast(DType::I32)?.sum(&axes[..], keepdim)?.eq(0.0)
    }

    /// Standard deviations over axes: the square root of [`var`](Tensor::var), with its correction and
    /// its NaN. The gradient is 0 where the deviation is 0.
    pub fn std(&self, axes: impl IntoAxes, correction: usize, keepdim: bool) -> Result<Tensor> {
        self.check_float("std")?;
        let axes = to_signed(axes.into_axes("std", self.rank())?);
        self.var(&axes[..], correction, keepdim)?.where_nonzero(Tensor::sqrt)
    }

    /// The vector norm of this order over axes (PyTorch's `linalg.vector_norm`):
    /// `sum(|x|^order)^(1/order)`, the number of elements that are not 0 for order 0, the greatest
    /// `|x|` for infinity, the least for negative infinity. The gradient is 0 at elements that are 0,
    /// and where the norm is; elements that are equally great share that of infinity.
    ///
    /// An error unless the dtype is a float, where the order is NaN, and over no elements for an
    /// infinite order.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::from_slice(&[3.0f32, -4.0], 2, &Engine::cpu())?;
    /// assert_eq!(x.norm(2.0, .., false)?.item()?, 5.0);
    /// assert_eq!(x.norm(f64::INFINITY, .., false)?.item()?, 4.0);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn norm(&self, order: f64, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        self.check_float("norm")?;
        let axes = to_signed(axes.into_axes("norm", self.rank())?);
        let axes = &axes[..];
        let none = axes.iter().any(|&axis| self.dims()[axis as usize] == 0);
        if order.is_nan() || (order.is_infinite() && none) {
            let message =
                format!("has no value of order {order} over axes {axes:?} of shape {}", self.shape());
            return Err(Error::op("norm", message));
        }
        if order == 0.0 {
            return self.ne(0.0)?.cast(self.dtype())?.sum(axes, keepdim);
        }
        if order == 1.0 {
            return self.abs()?.sum(axes, keepdim);
        }
        if order == 2.0 {
            return self.square()?.sum(axes, keepdim)?.where_nonzero(Tensor::sqrt);
        }
        if order.is_infinite() {
            let sizes = self.abs()?;
            return if order > 0.0 { sizes.max(axes, keepdim) } else { sizes.min(axes, keepdim) };
        }
        let sizes = self.abs()?;
        let zero = sizes.eq(0.0)?;
        let at_zero = if order > 0.0 { 0.0 } else { f64::INFINITY };
        let powers = zero.where_(at_zero, &zero.where_(1.0, &sizes)?.pow(order)?)?;
        powers.sum(axes, keepdim)?.where_nonzero(|sum| sum.pow(1.0 / order))
    }

    /// `log(sum(exp(x)))` over axes, without its overflow: negative infinity where every element is,
    /// and over no elements; no gradient flows there. An error unless the dtype is a float.
    pub fn logsumexp(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        self.check_float("logsumexp")?;
        let axes = to_signed(axes.into_axes("logsumexp", self.rank())?);
        let axes = &axes[..];
        if self.elements() == 0 {
            return self.exp()?.sum(axes, keepdim)?.log();
        }
        // The result does not depend on what is taken out and put back, so it has no gradient.
        let top = self.detach().max(axes, true)?;
        let top = top.isfinite()?.where_(&top, 0.0)?;
        let sums = self.sub(&top)?.exp()?.sum(axes, true)?;
        let none = sums.eq(0.0)?;
        let logarithms = none.where_(f64::NEG_INFINITY, &none.where_(1.0, &sums)?.log()?)?.add(&top)?;
        if keepdim { Ok(logarithms) } else { logarithms.squeeze(axes) }
    }

    /// The greatest elements along a dimension and their positions (`I32`), PyTorch's `max(dim)`: NaN
    /// wins, and the first of equal elements, which alone gets the gradient. (Over
    /// [`max`](Tensor::max) equal elements share it.) An error for `Bool`, or where the dimension has no
    /// elements.
    pub fn max_dim(&self, dim: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let dim = axis("max_dim", dim, self.rank())? as isize;
        self.chosen(dim, keepdim, self.argmax(dim, true)?)
    }

    /// The least elements along a dimension and their positions; see [`max_dim`](Tensor::max_dim).
    pub fn min_dim(&self, dim: isize, keepdim: bool) -> Result<(Tensor, Tensor)> {
        let dim = axis("min_dim", dim, self.rank())? as isize;
        self.chosen(dim, keepdim, self.argmin(dim, true)?)
    }

    fn chosen(&self, dim: isize, keepdim: bool, positions: Tensor) -> Result<(Tensor, Tensor)> {
        let values = self.gather(dim, &positions)?;
        if keepdim {
            return Ok((values, positions));
        }
        Ok((values.squeeze(dim)?, positions.squeeze(dim)?))
    }
}

fn to_signed(axes: Vec<usize>) -> Vec<isize> {
    axes.into_iter().map(|axis| axis as isize).collect()
}
