//! Stretching size-1 dimensions, without a copy.

use crate::{Error, IntoShape, Layout, Op, Result, Shape, Spec, Tensor};

#[derive(Debug)]
struct Broadcast(Shape);

impl Op for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let from = inputs[0].shape();
        if from.broadcast(&self.0) != Some(self.0) {
            return Err(Error::op("broadcast_to", format!("shape {from} does not broadcast to {}", self.0)));
        }
        Ok(Spec::new(inputs[0].dtype, self.0))
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        Some(input.broadcast(self.0))
    }

    fn half(&self) -> bool {
        true
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let from = inputs[0].shape();
        let added = self.0.rank() - from.rank();
        let axes: Vec<isize> = (0..self.0.rank())
            .filter(|&axis| axis < added || (from[axis - added] == 1 && self.0[axis] != 1))
            .map(|axis| axis as isize)
            .collect();
        Ok(vec![Some(upstream.sum(&axes[..], true)?.reshape(from)?)])
    }
}

impl Tensor {
    /// This tensor seen with another shape: size-1 dimensions are repeated, new dimensions are
    /// added in front. No data moves. (PyTorch's `expand`.)
    pub fn broadcast_to(&self, shape: impl IntoShape) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        if shape == *self.shape() {
            return Ok(self.clone());
        }
        Tensor::apply(Broadcast(shape), &[self])
    }
}
