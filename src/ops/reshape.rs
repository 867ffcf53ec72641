//! The same elements under another shape.

use crate::layout::axis;
use crate::{Error, INFER, IntoAxes, Layout, Op, Result, Shape, Spec, Tensor};

#[derive(Debug)]
struct Reshape(Shape);

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        if self.0.elements() != inputs[0].elements() {
            let message = format!("shape {} does not hold the elements of {}", self.0, inputs[0].shape());
            return Err(Error::op("reshape", message));
        }
        Ok(Spec::new(inputs[0].dtype, self.0))
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        input.reshape(self.0)
    }

    fn half(&self) -> bool {
        true
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(upstream.reshape(inputs[0].shape())?)])
    }
}

impl Tensor {
    /// The same elements, row-major, under another shape. One size may be [`INFER`]. No data moves
    /// unless the strides leave no other way. An error where the shape does not hold as many elements.
    ///
    /// ```
    /// use kiln::{Engine, INFER, Tensor};
    /// let x = Tensor::arange(0.0, 6.0, 1.0, &Engine::cpu())?;
    /// assert_eq!(x.reshape([2, INFER])?.dims(), [2, 3]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn reshape(&self, shape: impl AsDims) -> Result<Tensor> {
        self.reshape_to(shape.as_dims())
    }

    fn reshape_to(&self, mut dims: Vec<usize>) -> Result<Tensor> {
        if dims.iter().filter(|&&d| d == INFER).count() > 1 {
            return Err(Error::op("reshape", format!("more than one size is to be inferred in {dims:?}")));
        }
        if let Some(at) = dims.iter().position(|&d| d == INFER) {
            dims[at] = 1;
            let known = dims.iter().fold(1, |product: usize, &size| product.saturating_mul(size));
            dims[at] = self.elements().checked_div(known).unwrap_or(0);
        }
        let shape = Shape::new(&dims)?;
        if shape == *self.shape() {
            return Ok(self.clone());
        }
        // Checked before the copy that strides may call for.
        let op = Reshape(shape);
        op.output(&[*self.spec()])?;
        match self.layout().reshape(shape) {
            Some(_) => Tensor::apply(op, &[self]),
            None => Tensor::apply(op, &[&self.contiguous()?]),
        }
    }

    /// Dimensions `start` to `end`, both included, as one.
    pub fn flatten(&self, start: isize, end: isize) -> Result<Tensor> {
        if self.rank() == 0 {
            return self.reshape(1usize);
        }
        let start = axis("flatten", start, self.rank())?;
        let end = axis("flatten", end, self.rank())?;
        if start > end {
            return Err(Error::op("flatten", format!("dimension {start} comes after dimension {end}")));
        }
        let dims = self.dims();
        let merged = dims[start..=end].iter().product();
        self.reshape([&dims[..start], &[merged], &dims[end + 1..]].concat())
    }

    /// Without these dimensions, which must be of size 1.
    pub fn squeeze(&self, axes: impl IntoAxes) -> Result<Tensor> {
        let axes = axes.into_axes("squeeze", self.rank())?;
        if let Some(&axis) = axes.iter().find(|&&axis| self.dims()[axis] != 1) {
            let message = format!("dimension {axis} of shape {} is not of size 1", self.shape());
            return Err(Error::op("squeeze", message));
        }
        let kept = (0..self.rank()).filter(|axis| !axes.contains(axis)).map(|axis| self.dims()[axis]);
        self.reshape(kept.collect::<Vec<_>>())
    }

    /// With a dimension of size 1 put in at `at`; -1 puts it last.
    pub fn unsqueeze(&self, at: isize) -> Result<Tensor> {
        let at = axis("unsqueeze", at, self.rank() + 1)?;
        let mut dims = self.dims().to_vec();
        dims.insert(at, 1);
        self.reshape(dims)
    }
}

/// What [`Tensor::reshape`] takes: sizes as an array, a slice, a `Vec`, a `Shape` or one number.
pub trait AsDims {
    /// The sizes.
    fn as_dims(&self) -> Vec<usize>;
}

impl AsDims for usize {
    fn as_dims(&self) -> Vec<usize> {
        vec![*self]
    }
}
impl AsDims for () {
    fn as_dims(&self) -> Vec<usize> {
        Vec::new()
    }
}
impl<const N: usize> AsDims for [usize; N] {
    fn as_dims(&self) -> Vec<usize> {
        self.to_vec()
    }
}
impl AsDims for Vec<usize> {
    fn as_dims(&self) -> Vec<usize> {
        self.clone()
    }
}
impl AsDims for [usize] {
    fn as_dims(&self) -> Vec<usize> {
        self.to_vec()
    }
}
impl AsDims for Shape {
    fn as_dims(&self) -> Vec<usize> {
        self.dims().to_vec()
    }
}
impl<T: AsDims + ?Sized> AsDims for &T {
    fn as_dims(&self) -> Vec<usize> {
        (**self).as_dims()
    }
}
