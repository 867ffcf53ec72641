//! Dimensions in another order, without a copy.

use crate::layout::axis;
use crate::{Error, Layout, Op, Result, Spec, Tensor};

#[derive(Debug)]
struct Permute(Vec<usize>);

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(Spec::new(inputs[0].dtype, inputs[0].layout.permute(&self.0).shape))
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        Some(input.permute(&self.0))
    }

    fn half(&self) -> bool {
        true
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let mut inverse = vec![0; self.0.len()];
        for (to, &from) in self.0.iter().enumerate() {
            inverse[from] = to as isize;
        }
        Ok(vec![Some(upstream.permute(&inverse)?)])
    }
}

impl Tensor {
    /// Dimension `i` of the result is dimension `order[i]` of this tensor. No data moves.
    pub fn permute(&self, order: &[isize]) -> Result<Tensor> {
        let rank = self.rank();
        let resolved = order.iter().map(|&a| axis("permute", a, rank)).collect::<Result<Vec<_>>>()?;
        let mut sorted = resolved.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..rank) {
            let message = format!("{order:?} does not name each of {rank} dimensions once");
            return Err(Error::op("permute", message));
        }
        Tensor::apply(Permute(resolved), &[self])
    }

    /// Two dimensions swapped. No data moves.
    pub fn transpose(&self, first: isize, second: isize) -> Result<Tensor> {
        let first = axis("transpose", first, self.rank())?;
        let second = axis("transpose", second, self.rank())?;
        let mut order: Vec<usize> = (0..self.rank()).collect();
        order.swap(first, second);
        Tensor::apply(Permute(order), &[self])
    }

    /// The last two dimensions swapped: the transpose of a matrix or of a batch of them.
    pub fn t(&self) -> Result<Tensor> {
        self.transpose(-2, -1)
    }
}
