//! `(x - mean) / sqrt(variance + eps) * weight + bias` by the input's own moments: elementwise with its
//! neighbours, and a gradient of one pass for its sums and one for the input's, and one more for parameters of
//! each element.

use super::channels::{Channels, Moments, Of, Sums, halves};
use crate::expr::{Expr, Row};
use crate::graph::grad::differentiable;
use crate::ops::elementwise::{ADD, MUL};
use crate::ops::formula::Formula;
use crate::tensor::{no_grad, records_gradients};
use crate::{Op, Result, Spec, Tensor};

/// The last step of the formula, of its two operands. What follows them is there for the gradient: x, its
/// moments, and weight and bias as far as there are such.
#[derive(Debug)]
struct Normalise {
    moments: Moments,
    eps: f64,
    /// Whether parameters are for each element of a channel, not for each channel.
    each: bool,
    weight: bool,
    bias: bool,
}

impl Normalise {
    fn row(&self) -> &'static Row {
        if self.bias { &ADD } else { &MUL }
    }

    /// The weight and the bias among the parameters that there are.
    fn parameters<'a>(&self, given: &'a [Tensor]) -> [Option<&'a Tensor>; 2] {
        let mut given = given.iter();
        [self.weight, self.bias].map(|is| is.then(|| given.next()).flatten())
    }

    /// A parameter in a shape that broadcasts to the input's.
    fn seen(&self, parameter: &Tensor) -> Result<Tensor> {
        if self.each { Ok(parameter.clone()) } else { parameter.reshape(&self.moments.kept[..]) }
    }

    /// One over the deviation, times the weight.
    fn scale(&self, variance: &Tensor, weight: Option<&Tensor>) -> Result<Tensor> {
        let weight = weight.map(|weight| self.seen(weight)).transpose()?;
        Formula::record(|f| {
            let inverse = (f.tensor(variance) + self.eps).rsqrt();
            weight.as_ref().map_or(inverse, |weight| f.tensor(weight) * inverse)
        })
    }

    /// The operands of the formula's last step.
    fn operands(&self, x: &Tensor, moments: &Tensor, parameters: &[Tensor]) -> Result<[Tensor; 2]> {
        let kept = &self.moments.kept;
        let [weight, bias] = self.parameters(parameters);
        let [mean, variance] = halves(moments, kept)?;
        let scale = self.scale(&variance, weight)?;
        Ok(match bias {
            Some(bias) => {
                let scaled = Formula::record(|f| (f.tensor(x) - f.tensor(&mean)) * f.tensor(&scale))?;
                [scaled, self.seen(bias)?.broadcast_to(x.shape())?]
            }
            None => [x.sub(&mean)?, scale.broadcast_to(x.shape())?],
        })
    }
}

impl Op for Normalise {
    fn name(&self) -> &'static str {
        "normalise"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        self.row().output(&inputs[..2])
    }

    fn expr(&self) -> Option<Expr> {
        Some(Expr::Row(self.row()))
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, moments, parameters) = (&inputs[2], &inputs[3], &inputs[4..]);
        let Moments { channels, kept } = &self.moments;
        let [of_x, of_parameters] = if records_gradients() {
            let arguments = [std::slice::from_ref(x), parameters].concat();
            let mut found = differentiable(&arguments, &[], upstream, &|arguments| {
                let (x, parameters) = (&arguments[0], &arguments[1..]);
                let moments = Tensor::apply(self.moments.clone(), &[x])?;
                let [a, b] = self.operands(x, &moments, parameters)?;
                if self.bias { a.add(&b) } else { a.mul(&b) }
            })?;
            let rest = found.split_off(1);
            [found, rest]
        } else {
            let [weight, bias] = self.parameters(parameters);
            let [mean, variance] = halves(moments, kept)?;
            let sums = |channels, of, more: &[&Tensor]| {
                let inputs = [&[upstream, x, moments], more].concat();
                Tensor::apply(Sums { channels, of }, &inputs)
            };
            // The gradient of x over the deviation, and what weights it after that.
            let (found, upstream, after) = match weight {
                Some(weight) if self.each => {
                    (sums(*channels, Of::Weighted, &[weight])?, &upstream.mul(weight)?, None)
                }
                _ => (sums(*channels, Of::Upstream, &[])?, upstream, weight),
            };
            let [total, product] = halves(&found, kept)?;
            let inverse = self.scale(&variance, None)?;
            let share = 1.0 / channels.count() as f64;
            let slope = Formula::record(|f| {
                let inverse = f.tensor(&inverse);
                f.tensor(&product) * (inverse * inverse) * share
            })?;
            let (level, scale) = (total.mul(share)?, self.scale(&variance, after)?);
            let of_x = Formula::record(|f| {
                let centred = f.tensor(x) - f.tensor(&mean);
                (f.tensor(upstream) - f.tensor(&level) - centred * f.tensor(&slope)) * f.tensor(&scale)
            })?;
            let [of_bias, of_weight] = if self.each {
                let columns = Channels { outer: channels.channels, channels: channels.length, length: 1 };
                halves(
                    &sums(columns, Of::Across { eps: (self.eps as f32).to_bits() }, &[])?,
                    &[columns.channels],
                )?
            } else {
                [total, product.mul(&inverse)?]
            };
            let of_weight = weight.map(|weight| of_weight.reshape(weight.shape()));
            let of_bias = bias.map(|bias| of_bias.reshape(bias.shape()));
            let parameters = [of_weight, of_bias].into_iter().flatten().map(|found| found.map(Some));
            [vec![Some(of_x)], parameters.collect::<Result<_>>()?]
        };
        Ok([vec![None, None], of_x, vec![None], of_parameters].concat())
    }
}

/// `x` normalised by its `moments`, which [`Moments`] of this kind made of it; the parameters are for each
/// channel, or for each element of one if `each`, of a single outer.
pub(super) fn normalised(
    x: &Tensor,
    (tensor, moments): (&Tensor, Moments),
    [weight, bias]: [Option<&Tensor>; 2],
    each: bool,
    eps: f64,
) -> Result<Tensor> {
    let op = Normalise { moments, eps, each, weight: weight.is_some(), bias: bias.is_some() };
    let parameters: Vec<Tensor> = [weight, bias].into_iter().flatten().cloned().collect();
    // The gradient starts from x: nothing in between is kept for it.
    let [a, b] = no_grad(|| op.operands(x, tensor, &parameters))?;
    let inputs = [&a, &b, x, tensor].into_iter().chain(&parameters);
    Tensor::apply(op, &inputs.collect::<Vec<_>>())
}
