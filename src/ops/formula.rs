//! Elementwise steps that are recorded as one operation where no gradient is asked for: the rule of an optimiser, or
//! the gradient of a norm, would otherwise be a dozen nodes.

use super::elementwise::{ADD, CAST_F16, DIV, MUL, RSQRT, SQRT, SUB, record};
use super::fused::Fused;
use crate::expr::{Arg, Program, Row, Scalar, Step};
use crate::tensor::{Inputs, Operand, records_gradients};
use crate::{DType, Error, Result, Shape, Tensor};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::ops;

/// Tensors and numbers of most formulas.
const ROOM: usize = 4;

/// Steps over tensors of one dtype, broadcast to one shape.
pub(crate) struct Formula<'a>(RefCell<Parts<'a>>);

struct Parts<'a> {
    program: Program,
    inputs: SmallVec<[&'a Tensor; ROOM]>,
}

/// A value of a formula.
#[derive(Clone, Copy)]
pub(crate) struct Term<'f, 'a> {
    formula: &'f Formula<'a>,
    at: Arg,
    dtype: DType,
}

impl<'a> Formula<'a> {
    /// The result of the steps, of which `build` gives the last; as one node, or as one for each step where a
    /// gradient can be asked for.
    ///
    /// An error where its tensors differ in dtype or engine, or do not broadcast together.
    pub fn record(build: impl for<'f> FnOnce(&'f Formula<'a>) -> Term<'f, 'a>) -> Result<Tensor> {
        let program = Program {
            inputs: Vec::with_capacity(ROOM),
            scalars: Vec::with_capacity(ROOM),
            steps: Vec::with_capacity(2 * ROOM),
        };
        let formula = Formula(RefCell::new(Parts { program, inputs: SmallVec::new() }));
        let result = build(&formula).at;
        let Parts { program, inputs } = formula.0.into_inner();
        let Some(first) = inputs.first() else { return Err(Error::op("formula", "it has no tensors")) };
        if let Arg::Input(only) = result {
            return Ok(inputs[only].clone());
        }
        debug_assert_eq!(result, program.result());
        let joint = |shape: Shape, input: &&Tensor| {
            let joint = shape.broadcast(input.shape()).filter(|_| input.dtype() == first.dtype());
            joint.ok_or_else(|| {
                let kinds = inputs.iter().map(|input| format!("{} {}", input.dtype(), input.shape()));
                Error::op("formula", format!("no steps of {}", kinds.collect::<Vec<_>>().join(", ")))
            })
        };
        let shape = inputs[1..].iter().try_fold(*first.shape(), joint)?;
        if records_gradients() && inputs.iter().any(|input| input.requires_grad()) {
            return rows(&program, &inputs);
        }
        let dtype = program.dtype();
        let inputs = inputs.iter().map(|input| input.broadcast_to(shape)).collect::<Result<Inputs>>()?;
        let inputs: SmallVec<[&Tensor; ROOM]> = inputs.iter().collect();
        Tensor::apply(Fused::new(program, shape, dtype), &inputs)
    }

    /// A tensor; one that is not used is not read.
    pub fn tensor(&self, tensor: &'a Tensor) -> Term<'_, 'a> {
        let mut parts = self.0.borrow_mut();
        let known = parts.inputs.iter().position(|known| known.id() == tensor.id());
        let at = known.unwrap_or_else(|| {
            parts.inputs.push(tensor);
            parts.program.inputs.push(tensor.dtype());
            parts.inputs.len() - 1
        });
        Term { formula: self, at: Arg::Input(at), dtype: tensor.dtype() }
    }

    fn step(&self, row: &'static Row, args: [Arg; 3], from: DType, to: DType) -> Arg {
        let steps = &mut self.0.borrow_mut().program.steps;
        steps.push(Step { row, args, from, to });
        Arg::Step(steps.len() - 1)
    }
}

/// A program as operations of their own.
fn rows(program: &Program, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut values: Vec<Tensor> = Vec::with_capacity(program.steps.len());
    for step in &program.steps {
        let operand = |arg: Arg| match arg {
            Arg::Input(i) => Operand::Tensor(inputs[i]),
            Arg::Scalar(i) => Operand::Number(program.scalars[i].value()),
            Arg::Step(i) => Operand::Tensor(&values[i]),
        };
        let operands = &step.args.map(operand)[..step.row.rule.arity()];
        let value = match operands {
            // What is rounded is so already.
            [Operand::Tensor(first)] if *step.row == CAST_F16 => Tensor::clone(first),
            [Operand::Tensor(first), rest @ ..] => record(step.row, first, rest)?,
            _ => return Err(Error::op(step.row.name, "its first argument is a number")),
        };
        values.push(value);
    }
    values.pop().ok_or_else(|| Error::op("formula", "it has no steps"))
}

impl<'f, 'a> Term<'f, 'a> {
    fn number(self, value: f64) -> Arg {
        let scalars = &mut self.formula.0.borrow_mut().program.scalars;
        scalars.push(Scalar::new(value, self.dtype));
        Arg::Scalar(scalars.len() - 1)
    }

    fn row(self, row: &'static Row, other: Arg) -> Term<'f, 'a> {
        let mut at = self.formula.step(row, [self.at, other, other], self.dtype, self.dtype);
        if self.dtype == DType::F16 {
            // As an operation of its own it would be rounded.
            at = self.formula.step(&CAST_F16, [at; 3], DType::F32, DType::F16);
        }
        Term { at, ..self }
    }

    pub fn sqrt(self) -> Term<'f, 'a> {
        self.row(&SQRT, self.at)
    }

    pub fn rsqrt(self) -> Term<'f, 'a> {
        self.row(&RSQRT, self.at)
    }
}

/// `term + term` and `term + number`, and likewise.
macro_rules! operators {
    ($($trait:ident $method:ident $row:ident;)*) => {$(
        impl<'f, 'a> ops::$trait for Term<'f, 'a> {
            type Output = Term<'f, 'a>;

            fn $method(self, other: Term<'f, 'a>) -> Term<'f, 'a> {
                self.row(&$row, other.at)
            }
        }

        impl<'f, 'a> ops::$trait<f64> for Term<'f, 'a> {
            type Output = Term<'f, 'a>;

            fn $method(self, other: f64) -> Term<'f, 'a> {
                self.row(&$row, self.number(other))
            }
        }
    )*};
}

operators! {
    Add add ADD;
    Sub sub SUB;
    Mul mul MUL;
    Div div DIV;
}
