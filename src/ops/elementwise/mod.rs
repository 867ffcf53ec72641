//! Elementwise ops: each is a row of a table (`arithmetic`, `compare`, `unary`, `inverse`, `activation`).

mod activation;
mod arithmetic;
mod compare;
mod inverse;
mod unary;

pub(crate) use arithmetic::{ADD, DIV, MUL, SUB};
pub(crate) use compare::{CAST_F16, cast};
pub(crate) use unary::{RSQRT, SQRT};

use super::constant::Constant;
use super::fused::Fused;
use crate::device::{Caps, Plan};
use crate::expr::{Expr, Numbers, Program, Row, Scalar};
use crate::tensor::Inputs;
use crate::{DType, Error, Op, Operand, Output, Result, Spec, Tensor, View};
use smallvec::SmallVec;
use std::any::Any;

/// Every row, for the tests' table.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [activation::ROWS, arithmetic::ROWS, compare::ROWS, inverse::ROWS, unary::ROWS]
        .into_iter()
        .flatten()
        .copied()
}

/// A row as an op; arguments that are no numbers are its inputs. They have one shape: broadcasting is a view before
/// it.
#[derive(Debug)]
struct Elementwise {
    row: &'static Row,
    numbers: Numbers,
}

impl Elementwise {
    /// The program of this row alone.
    fn fused(&self, inputs: &[Spec], output: &Spec) -> Fused {
        let program = Program::of_row(self.row, &self.numbers, |at| inputs[at].dtype, output.dtype);
        Fused::new(program, *output.shape(), output.dtype)
    }
}

impl Op for Elementwise {
    fn name(&self) -> &'static str {
        self.row.name
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        self.row.output_with(&self.numbers, inputs)
    }

    fn strided(&self) -> bool {
        true
    }

    fn half(&self) -> bool {
        true
    }

    fn in_place(&self, _: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let specs: Vec<Spec> = inputs.iter().map(|view| view.spec).collect();
        self.fused(&specs, &output.spec).cpu(inputs, output)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        self.fused(inputs, output).gpu(inputs, output, caps)
    }

    fn expr(&self) -> Option<Expr> {
        Some(Expr::Partial(self.row, self.numbers))
    }

    fn gradient(&self, inputs: &[Tensor], output: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        if self.numbers.iter().all(Option::is_none) {
            return (self.row.gradient)(inputs, output, upstream);
        }
        let full = |number| Tensor::generate(Constant(number), output.engine())?.broadcast_to(output.shape());
        let arguments = self.row.arguments(&self.numbers, full, |at| Ok(inputs[at].clone()));
        let arguments = arguments.into_iter().collect::<Result<Vec<_>>>()?;
        let gradients = (self.row.gradient)(&arguments, output, upstream)?;
        let of_inputs = gradients.into_iter().zip(&self.numbers).filter(|(_, number)| number.is_none());
        Ok(of_inputs.map(|(gradient, _)| gradient).collect())
    }
}

/// Whether an op is nothing but a row of the table.
pub(crate) fn is_plain(op: &dyn Op) -> bool {
    let op: &dyn Any = op;
    op.is::<Elementwise>()
}

/// Records a row over tensors and numbers, broadcast to one shape. Numbers take the dtype of the
/// first tensor.
pub(crate) fn record(row: &'static Row, first: &Tensor, rest: &[Operand]) -> Result<Tensor> {
    let dtype = rest.iter().fold(first.dtype(), |dtype, operand| match operand {
        // The condition of a selection says nothing about the dtype of a number beside it.
        Operand::Tensor(tensor) if dtype == DType::Bool => tensor.dtype(),
        _ => dtype,
    });
    let mut numbers = Numbers::default();
    let (mut shape, mut stretched) = (*first.shape(), false);
    for (operand, number) in rest.iter().zip(&mut numbers[1..]) {
        match operand {
            Operand::Number(value) => *number = Some(Scalar::new(*value, dtype)),
            Operand::Tensor(tensor) if *tensor.shape() == shape => {}
            Operand::Tensor(tensor) => {
                stretched = true;
                shape = shape.broadcast(tensor.shape()).ok_or_else(|| {
                    let shapes: Vec<_> = tensors(first, rest).map(|t| t.shape().to_string()).collect();
                    Error::op(row.name, format!("shapes {} do not broadcast together", shapes.join(" and ")))
                })?;
            }
        }
    }
    let op = Elementwise { row, numbers };
    if !stretched {
        return Tensor::apply(op, &tensors(first, rest).collect::<SmallVec<[&Tensor; 3]>>());
    }
    let stretched = tensors(first, rest).map(|t| t.broadcast_to(shape)).collect::<Result<Inputs>>()?;
    Tensor::apply(op, &stretched.iter().collect::<SmallVec<[&Tensor; 3]>>())
}

/// The tensors among operands.
fn tensors<'a>(first: &'a Tensor, rest: &'a [Operand<'a>]) -> impl Iterator<Item = &'a Tensor> {
    let others = rest.iter().filter_map(|operand| match operand {
        Operand::Tensor(tensor) => Some(*tensor),
        Operand::Number(_) => None,
    });
    std::iter::once(first).chain(others)
}

/// The methods that record rows: `unary_methods! { /// doc  name => ROW; }`.
macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident => $row:ident;)*) => {
        impl $crate::Tensor {
            $($(#[$doc])*
            pub fn $name(&self) -> $crate::Result<$crate::Tensor> {
                $crate::ops::elementwise::record(&$row, self, &[])
            })*
        }
    };
}
pub(crate) use unary_methods;

/// As `unary_methods!`, with a tensor or a number on the right.
macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident => $row:ident;)*) => {
        impl $crate::Tensor {
            $($(#[$doc])*
            pub fn $name<'a>(&self, other: impl Into<$crate::Operand<'a>>) -> $crate::Result<$crate::Tensor> {
                $crate::ops::elementwise::record(&$row, self, &[other.into()])
            })*
        }
    };
}
pub(crate) use binary_methods;

/// For rows whose output is constant almost everywhere.
pub(crate) fn no_gradient(inputs: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
    Ok(vec![None; inputs.len()])
}
