//! One value, from which every filled tensor is broadcast. Elementwise kernels take it as a
//! parameter instead of reading a buffer.

use crate::expr::{Expr, Scalar};
use crate::{Op, Result, Shape, Spec, Tensor};

/// A scalar tensor of this value.
#[derive(Debug)]
pub(crate) struct Constant(pub Scalar);

impl Op for Constant {
    fn name(&self) -> &'static str {
        "full"
    }

    fn output(&self, _: &[Spec]) -> Result<Spec> {
        Ok(Spec::new(self.0.dtype, Shape::new(&[])?))
    }

    fn expr(&self) -> Option<Expr> {
        Some(Expr::Constant(self.0))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(Vec::new())
    }
}
