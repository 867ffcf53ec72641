//! Softmax and its logarithm.

use super::math::exp;
use super::reduce::{greatest, lanes_of_row, sum};
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::layout::axis;
use crate::parallel;
use crate::vectors::vectorised;
use crate::{DType, Error, Identity, Op, Output, Result, Spec, Tensor, View};

/// Elements a thread should have at least.
const SHARE: usize = 4 * 1024;

/// Over the last dimension.
#[derive(Debug, Hash)]
struct Softmax {
    log: bool,
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn wide(&self) -> bool {
        true
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        if inputs[0].dtype != DType::F32 {
            return Err(Error::op(self.name(), format!("is not defined for {}", inputs[0].dtype)));
        }
        Ok(Spec::new(DType::F32, *inputs[0].shape()))
    }

    fn flops(&self, _: &[Spec], output: &Spec) -> u64 {
        8 * output.elements() as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let length = inputs[0].spec.shape().last().copied().unwrap_or(1);
        let input = inputs[0].slice::<f32>();
        parallel::chunks(output.slice::<f32>(), length, SHARE.div_ceil(length), |at, out| {
            let row = &input[at * length..][..length];
            // Less the greatest, so that no exponential overflows.
            let top = greatest(row);
            vectorised(
                #[inline(always)]
                || {
                    for (out, value) in out.iter_mut().zip(row) {
                        *out = exp(value - top);
                    }
                },
            );
            let total = sum(out);
            if self.log {
                let shift = total.ln();
                out.iter_mut().zip(row).for_each(|(out, value)| *out = value - top - shift);
            } else {
                let scale = 1.0 / total;
                out.iter_mut().for_each(|out| *out *= scale);
            }
        });
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let length = inputs[0].shape().last().copied().unwrap_or(1);
        let rows = output.elements().checked_div(length).unwrap_or(0);
        let vectors = length.is_multiple_of(4);
        let lanes = lanes_of_row(if vectors { length / 2 } else { length });
        let [word, bits, width] =
            if vectors { ["vec4<f32>", "vec4<u32>", "4u"] } else { ["f32", "u32", "1u"] };
        Some(Plan::one(Kernel {
            shader: Shader::file("softmax", include_str!("../../shaders/softmax.wgsl")),
            constants: vec![
                ("Word", word.into()),
                ("Bits", bits.into()),
                ("WIDTH", width.into()),
                ("LANES", format!("{lanes}u").into()),
                ("LOG", self.log.to_string().into()),
                ("SHARED", "true".into()),
                ("SUBGROUPS", caps.subgroups_within(lanes).to_string().into()),
            ],
            bindings: vec![Binding::Input(0), Binding::Output],
            params: vec![rows as u32, length as u32, f32::NEG_INFINITY.to_bits()],
            groups: Kernel::fold((rows * lanes).div_ceil(256), caps),
        }))
    }

    fn gradient(&self, _: &[Tensor], y: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(if self.log {
            upstream.sub(&y.exp()?.mul(&upstream.sum(-1, true)?)?)?
        } else {
            let weighted = upstream.mul(y)?;
            weighted.sub(&y.mul(&weighted.sum(-1, true)?)?)?
        })])
    }
}

impl Tensor {
    /// `exp(x) / sum(exp(x))` along an axis; the shape stays. A row that is `-inf` throughout gives
    /// NaN, as in PyTorch. An error unless the dtype is a float and the axis exists.
    pub fn softmax(&self, axis: isize) -> Result<Tensor> {
        self.softmax_over(Softmax { log: false }, axis)
    }

    /// The [`softmax`](Tensor::softmax) of the negative.
    pub fn softmin(&self, axis: isize) -> Result<Tensor> {
        self.neg()?.softmax(axis)
    }

    /// The logarithm of [`softmax`](Tensor::softmax), without its underflow.
    pub fn log_softmax(&self, axis: isize) -> Result<Tensor> {
        self.softmax_over(Softmax { log: true }, axis)
    }

    fn softmax_over(&self, op: Softmax, dim: isize) -> Result<Tensor> {
        let at = axis(op.name(), dim, self.rank())?;
        if at + 1 == self.rank() {
            return Tensor::apply(op, &[self]);
        }
        Tensor::apply(op, &[&self.transpose(at as isize, -1)?])?.transpose(at as isize, -1)
    }
}
