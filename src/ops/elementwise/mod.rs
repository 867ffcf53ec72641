//! Elementwise ops: each is a row of a table (`arithmetic`, `compare`, `unary`, `inverse`, `activation`).

mod activation;
mod arithmetic;
mod compare;
mod inverse;
mod unary;

pub(crate) use arithmetic::{ADD, MUL};
pub(crate) use compare::{CAST_F16, cast};

use super::fused::Fused;
use crate::device::{Caps, Plan};
use crate::expr::{Arg, Expr, Program, Row, Step};
use crate::{DType, Error, Op, Operand, Output, Result, Spec, Tensor, View};

/// Every row, for the tests' table.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [activation::ROWS, arithmetic::ROWS, compare::ROWS, inverse::ROWS, unary::ROWS]
        .into_iter()
        .flatten()
        .copied()
}

/// A row as an op. Its inputs have one shape: broadcasting is a view before it.
#[derive(Debug)]
struct Elementwise(&'static Row);

impl Elementwise {
    /// The program of this row alone.
    fn fused(&self, inputs: &[Spec], output: &Spec) -> Fused {
        let last = inputs.len() - 1;
        let step = Step {
            row: self.0,
            args: [0, 1, 2].map(|i| Arg::Input(i.min(last))),
            from: inputs[last].dtype,
            to: output.dtype,
        };
        let inputs = inputs.iter().map(|spec| spec.dtype).collect();
        let program = Program { inputs, scalars: Vec::new(), steps: vec![step] };
        Fused { program, shape: *output.shape(), dtype: output.dtype }
    }
}

impl Op for Elementwise {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        self.0.output(inputs)
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
        Some(Expr::Row(self.0))
    }

    fn gradient(&self, inputs: &[Tensor], output: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        (self.0.gradient)(inputs, output, upstream)
    }
}

/// Records a row over tensors and numbers, broadcast to one shape. Numbers take the dtype of the
/// first tensor.
pub(crate) fn record(row: &'static Row, first: &Tensor, rest: &[Operand]) -> Result<Tensor> {
    let dtype = rest.iter().fold(first.dtype(), |dtype, operand| match operand {
        // The condition of a selection says nothing about the dtype of a number beside it.
        Operand::Tensor(tensor) if dtype == DType::Bool => tensor.dtype(),
        _ => dtype,
    });
    let mut operands = vec![first.clone()];
    for operand in rest {
        operands.push(operand.tensor(dtype, first.engine())?);
    }
    let mut shape = *first.shape();
    for operand in &operands[1..] {
        shape = shape.broadcast(operand.shape()).ok_or_else(|| {
            let shapes: Vec<_> = operands.iter().map(|t| t.shape().to_string()).collect();
            Error::op(row.name, format!("shapes {} do not broadcast together", shapes.join(" and ")))
        })?;
    }
    let operands = operands.iter().map(|t| t.broadcast_to(shape)).collect::<Result<Vec<_>>>()?;
    Tensor::apply(Elementwise(row), &operands.iter().collect::<Vec<_>>())
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
