//! Constant padding, around and between elements: the inverse of a strided slice.

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::expr::Scalar;
use crate::layout::axis;
use crate::parallel;
use crate::{DType, Error, Identity, Op, Output, Result, Shape, Spec, Tensor, View};
use std::hash::{Hash, Hasher};

/// Elements a thread should have at least.
const SHARE: usize = 16 * 1024;

/// Pads one dimension: `before` and `after` it, and `gap` elements between neighbours.
#[derive(Debug)]
struct Pad {
    axis: usize,
    before: usize,
    after: usize,
    gap: usize,
    value: f32,
}

impl Pad {
    /// The stored word of the padding.
    fn word(&self, dtype: DType) -> u32 {
        Scalar::new(f64::from(self.value), dtype).bits
    }
}

impl Hash for Pad {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.axis, self.before, self.after, self.gap, self.value.to_bits()).hash(state);
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let mut dims = inputs[0].shape().to_vec();
        let size = dims[self.axis];
        // Saturated sizes are refused by `Shape::new`.
        let gaps = size.saturating_sub(1).saturating_mul(self.gap);
        dims[self.axis] = self.before.saturating_add(size).saturating_add(gaps).saturating_add(self.after);
        Ok(Spec::new(inputs[0].dtype, Shape::new(&dims)?))
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let shape = inputs[0].spec.shape();
        let value = self.word(inputs[0].spec.dtype);
        let (size, padded) = (shape[self.axis], output.spec.shape()[self.axis]);
        let inner: usize = shape[self.axis + 1..].iter().product();
        let (input, output) = (inputs[0].slice::<u32>(), output.slice::<u32>());
        // Without gaps all of a block is one run.
        let (runs, run) = if self.gap == 0 { (1, size * inner) } else { (size, inner) };
        let block = padded * inner;
        parallel::chunks(output, block, SHARE.div_ceil(block), |outer, block| {
            block.fill(value);
            for i in 0..runs {
                let to = (self.before + i * (self.gap + 1)) * inner;
                block[to..to + run].copy_from_slice(&input[outer * size * inner + i * run..][..run]);
            }
        });
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let (shape, count) = (inputs[0].shape(), output.elements());
        let inner: usize = shape[self.axis + 1..].iter().product();
        let (word, width) = if inner.is_multiple_of(4) { ("vec4<u32>", 4) } else { ("u32", 1) };
        let (count, inner) = (count / width, inner / width);
        let (size, padded) = (shape[self.axis], output.shape()[self.axis]);
        let sizes = [count, size, padded, inner, self.before, self.gap + 1].map(|size| size as u32);
        Some(Plan::one(Kernel {
            shader: Shader::file("pad", include_str!("../../shaders/pad.wgsl")),
            constants: vec![("Word", word.into())],
            bindings: vec![Binding::Input(0), Binding::Output],
            params: [&sizes[..], &[self.word(output.dtype)]].concat(),
            groups: Kernel::fold(count.div_ceil(256), caps),
        }))
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let size = inputs[0].dims()[self.axis];
        let end = self.before + if size == 0 { 0 } else { (size - 1) * (self.gap + 1) + 1 };
        Ok(vec![Some(upstream.slice(self.axis as isize, self.before, end, self.gap + 1)?)])
    }
}

impl Tensor {
    /// Pads one dimension with `value`: `before` and `after` it, and `gap` between neighbours.
    pub(crate) fn pad_axis(
        &self,
        dim: isize,
        before: usize,
        after: usize,
        gap: usize,
        value: f32,
    ) -> Result<Tensor> {
        let axis = axis("pad", dim, self.rank())?;
        if before == 0 && after == 0 && gap == 0 {
            return Ok(self.clone());
        }
        Tensor::apply(Pad { axis, before, after, gap, value }, &[self])
    }

    /// Pads with `value`: `padding[i]` elements before and after dimension `i`, counted from the
    /// first; one pair per dimension.
    pub fn pad(&self, padding: &[(usize, usize)], value: f32) -> Result<Tensor> {
        if padding.len() != self.rank() {
            let message = format!("{} pairs of paddings for shape {}", padding.len(), self.shape());
            return Err(Error::op("pad", message));
        }
        padding.iter().enumerate().try_fold(self.clone(), |padded, (axis, &(before, after))| {
            padded.pad_axis(axis as isize, before, after, 0, value)
        })
    }
}
