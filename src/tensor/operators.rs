//! `+`, `-`, `*`, `/` and unary `-`, each returning a `Result`.

use super::Tensor;
use crate::Result;

/// What can stand on the right of a binary operation: a tensor or a number.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// A tensor, broadcast by NumPy's rule.
    Tensor(&'a Tensor),
    /// A number, taken in the other operand's dtype.
    Number(f64),
}

impl<'a> From<&'a Tensor> for Operand<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Operand::Tensor(tensor)
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl From<$type> for Operand<'_> {
            fn from(value: $type) -> Self {
                Operand::Number(f64::from(value))
            }
        }
    )*};
}
numbers!(f64, f32, i32);

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl<'a, T: Into<Operand<'a>>> std::ops::$trait<T> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, rhs: T) -> Result<Tensor> {
                Tensor::$method(self, rhs)
            }
        }
        impl<'a, T: Into<Operand<'a>>> std::ops::$trait<T> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, rhs: T) -> Result<Tensor> {
                Tensor::$method(&self, rhs)
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl std::ops::Neg for &Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(self)
    }
}
