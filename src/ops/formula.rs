//! Elementwise steps that are recorded as one operation, where no gradient is asked for: a rule of an optimiser
//! would otherwise be a dozen nodes for each parameter.

use super::elementwise::{ADD, CAST_F16, DIV, MUL, SQRT, SUB};
use super::fused::Fused;
use crate::expr::{Arg, Program, Row, Scalar, Step};
use crate::{DType, Error, Result, Tensor};
use std::cell::RefCell;
use std::ops;

/// Steps over tensors of one shape and dtype.
#[derive(Default)]
pub(crate) struct Formula<'a>(RefCell<Parts<'a>>);

#[derive(Default)]
struct Parts<'a> {
    program: Program,
    inputs: Vec<&'a Tensor>,
}

/// A value of a formula.
#[derive(Clone, Copy)]
pub(crate) struct Term<'f, 'a> {
    formula: &'f Formula<'a>,
    at: Arg,
    dtype: DType,
}

impl<'a> Formula<'a> {
    /// The result of the steps that `build` takes last, as one node.
    ///
    /// An error where its tensors differ in shape, dtype or engine.
    pub fn record(build: impl for<'f> FnOnce(&'f Formula<'a>) -> Term<'f, 'a>) -> Result<Tensor> {
        let formula = Formula::default();
        let result = build(&formula).at;
        let Parts { program, inputs } = formula.0.into_inner();
        let Some(first) = inputs.first() else { return Err(Error::op("formula", "it has no tensors")) };
        if let Arg::Input(only) = result {
            return Ok(inputs[only].clone());
        }
        debug_assert_eq!(result, program.result());
        let kind = |tensor: &Tensor| (*tensor.shape(), tensor.dtype());
        if let Some(other) = inputs.iter().find(|input| kind(input) != kind(first)) {
            let [first, other] = [*first, *other].map(|x| format!("{} {}", x.dtype(), x.shape()));
            return Err(Error::op("formula", format!("tensors of {first} and of {other}")));
        }
        let fused = Fused { dtype: program.dtype(), shape: *first.shape(), program };
        Tensor::apply(fused, &inputs)
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
