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
    /// gradient can be asked for or NaN is looked for.
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
        let differentiable = records_gradients() && inputs.iter().any(|input| input.requires_grad());
        // Where the first result that is not finite is looked for, its operation has a name.
        if differentiable || first.engine().debugs_nan() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::recorded;
    use crate::{Engine, eval, no_grad};

    /// `(a * 0.3 + b) / (a - c * c)` as a formula.
    fn formula([a, b, c]: [&Tensor; 3]) -> Result<Tensor> {
        Formula::record(|f| {
            let (a, b, c) = (f.tensor(a), f.tensor(b), f.tensor(c));
            (a * 0.3 + b) / (a - c * c)
        })
    }

    /// The same as operations.
    fn operations([a, b, c]: [&Tensor; 3]) -> Result<Tensor> {
        a.mul(0.3)?.add(b)?.div(&a.sub(&c.mul(c)?)?)
    }

    /// Three tensors that broadcast to `[3, 5]`.
    fn tensors(dtype: DType, engine: &Engine) -> Result<[Tensor; 3]> {
        let [a, b, c] = [([3, 5], 1), ([1, 5], 2), ([3, 1], 3)]
            .map(|(shape, seed)| Tensor::rand(shape, seed, engine)?.add(0.5)?.cast(dtype));
        let all = [a?, b?, c?];
        eval(&all)?;
        Ok(all)
    }

    #[test]
    fn it_is_one_node_and_computes_what_its_steps_do() -> Result<()> {
        for engine in [Some(Engine::cpu()), Engine::new("gpu").ok()].into_iter().flatten() {
            for dtype in [DType::F32, DType::F16] {
                let all = tensors(dtype, &engine)?;
                let all = all.each_ref();
                let (found, expected) = (formula(all)?, operations(all)?);
                assert_eq!((found.dims(), found.dtype()), (&[3, 5][..], dtype));
                // Itself, its tensors, and two of them broadcast.
                assert_eq!(recorded(&found, |_| false).len(), 6);
                let [found, expected] = [found, expected].map(|x| x.cast(DType::F32)?.to_vec::<f32>());
                assert_eq!(found?, expected?, "{dtype} on {}", engine.name());
            }
        }
        Ok(())
    }

    #[test]
    fn where_a_gradient_can_be_asked_for_it_has_one() -> Result<()> {
        let engine = Engine::cpu();
        let [a, b, c] = tensors(DType::F32, &engine)?;
        let a = a.variable()?;
        let gradient = |f: fn([&Tensor; 3]) -> Result<Tensor>| {
            f([&a, &b, &c])?.sum(.., false)?.backward()?.get(&a).unwrap().to_vec::<f32>()
        };
        assert_eq!(gradient(formula)?, gradient(operations)?);
        assert!(!no_grad(|| formula([&a, &b, &c]))?.requires_grad());
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_what_is_not_used_is_not_read() -> Result<()> {
        let engine = Engine::cpu();
        let [a, b, c] = tensors(DType::F32, &engine)?;
        let narrow = c.cast(DType::F16)?;
        let error = formula([&a, &b, &narrow]).unwrap_err().to_string();
        assert!(error.contains("f32 [3, 5], f32 [1, 5], f16 [3, 1]"), "{error}");
        let long = Tensor::zeros([4, 5], &engine)?;
        assert!(formula([&a, &b, &long]).is_err());
        let same = Formula::record(|f| f.tensor(&a))?;
        assert_eq!(same.id(), a.id());
        engine.debug_nan(true);
        let infinite = Formula::record(|f| f.tensor(&a) / (f.tensor(&a) - f.tensor(&a)) + 1.0)?;
        let error = infinite.eval().unwrap_err().to_string();
        assert!(error.starts_with("div: "), "{error}");
        Ok(())
    }
}
