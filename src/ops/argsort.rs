//! Sorting: the order of a row's elements, from which sorted values are gathered.

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::layout::axis;
use crate::parallel;
use crate::{DType, Error, Identity, Op, Output, Result, Shape, Spec, Tensor, View};
use rayon::slice::ParallelSliceMut;

/// Elements a thread should have at least.
const SHARE: usize = 4 * 1024;

/// The longest row that the GPU sorts: its kernel compares each element with every other one.
const GPU_LENGTH: usize = 16 * 1024;

/// The positions of the first `keep` elements of each row of the last dimension, in order, equal
/// elements in the order of their positions.
#[derive(Debug, Hash)]
struct ArgSort {
    descending: bool,
    keep: usize,
}

impl ArgSort {
    fn key(&self, word: u32, dtype: DType) -> u32 {
        let key = if dtype == DType::I32 { word ^ (1 << 31) } else { float_key(f32::from_bits(word)) };
        if self.descending { !key } else { key }
    }
}

/// A number that orders as the float does: NaN above all, and both zeros the same.
fn float_key(value: f32) -> u32 {
    if value.is_nan() {
        return u32::MAX;
    }
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | (1 << 31) }
}

impl Op for ArgSort {
    fn name(&self) -> &'static str {
        "argsort"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let mut dims = inputs[0].shape().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = self.keep;
        }
        Ok(Spec::new(DType::I32, Shape::new(&dims)?))
    }

    fn flops(&self, inputs: &[Spec], _: &Spec) -> u64 {
        // The GPU kernel's.
        let length = inputs[0].shape().last().copied().unwrap_or(1);
        4 * inputs[0].elements() as u64 * length as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let length = inputs[0].spec.shape().last().copied().unwrap_or(1);
        let (dtype, input) = (inputs[0].spec.dtype, inputs[0].slice::<u32>());
        parallel::chunks(output.slice::<i32>(), self.keep, SHARE.div_ceil(length), |at, out| {
            let row = &input[at * length..][..length];
            // The position below the key: no two are equal, so an unstable sort is stable.
            let keyed = |(at, &word): (usize, &u32)| u64::from(self.key(word, dtype)) << 32 | at as u64;
            let mut keys: Vec<u64> = row.iter().enumerate().map(keyed).collect();
            if out.len() < keys.len() {
                keys.select_nth_unstable(out.len());
                keys.truncate(out.len());
            }
            if keys.len() > 16 * SHARE {
                keys.par_sort_unstable()
            } else {
                keys.sort_unstable()
            }
            out.iter_mut().zip(keys).for_each(|(out, key)| *out = key as u32 as i32);
        });
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], _: &Spec, caps: &Caps) -> Option<Plan> {
        let length = inputs[0].shape().last().copied().unwrap_or(1);
        if length > GPU_LENGTH {
            return None;
        }
        let count = inputs[0].elements();
        Some(Plan::one(Kernel {
            shader: Shader::file("argsort", include_str!("../../shaders/argsort.wgsl")),
            constants: vec![
                ("FLOAT", (inputs[0].dtype == DType::F32).to_string().into()),
                ("DESCENDING", self.descending.to_string().into()),
            ],
            bindings: vec![Binding::Input(0), Binding::Output],
            params: vec![count as u32, length as u32, self.keep as u32],
            groups: Kernel::fold(count.div_ceil(256), caps),
        }))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None])
    }
}

impl Tensor {
    fn order(&self, op: &'static str, dim: isize, descending: bool, keep: Option<usize>) -> Result<Tensor> {
        if self.rank() == 0 {
            axis(op, dim, 1)?;
            return self.reshape(1usize)?.order(op, 0, descending, keep)?.reshape(());
        }
        let at = axis(op, dim, self.rank())?;
        let length = self.dims()[at];
        let keep = keep.unwrap_or(length);
        if keep > length {
            let message = format!("{keep} elements of dimension {at} of shape {}", self.shape());
            return Err(Error::op(op, message));
        }
        let data = if self.dtype() == DType::Bool { self.cast(DType::I32)? } else { self.clone() };
        let rows = data.detach().transpose(at as isize, -1)?;
        Tensor::apply(ArgSort { descending, keep }, &[&rows])?.transpose(at as isize, -1)
    }

    /// The positions (`I32`) that sort a dimension: equal elements stay in their order, and NaN is
    /// greater than all numbers. An error where there is no such dimension.
    pub fn argsort(&self, dim: isize, descending: bool) -> Result<Tensor> {
        self.order("argsort", dim, descending, None)
    }

    /// A dimension sorted, and the positions (`I32`) that the elements had; as
    /// [`argsort`](Tensor::argsort). The gradient goes back to where an element was.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::from_slice(&[2.0f32, 3.0, 1.0], 3, &Engine::cpu())?;
    /// let (values, positions) = x.sort(0, true)?;
    /// assert_eq!(values.to_vec::<f32>()?, [3.0, 2.0, 1.0]);
    /// assert_eq!(positions.to_vec::<i32>()?, [1, 0, 2]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn sort(&self, dim: isize, descending: bool) -> Result<(Tensor, Tensor)> {
        let positions = self.order("sort", dim, descending, None)?;
        Ok((self.at_positions(dim, &positions)?, positions))
    }

    /// The `k` greatest elements of a dimension (the least where not `largest`), best first, and their
    /// positions (`I32`); of equal elements the first. NaN is greater than all numbers. An error where
    /// the dimension has fewer elements.
    pub fn topk(&self, k: usize, dim: isize, largest: bool) -> Result<(Tensor, Tensor)> {
        let positions = self.order("topk", dim, largest, Some(k))?;
        Ok((self.at_positions(dim, &positions)?, positions))
    }

    fn at_positions(&self, dim: isize, positions: &Tensor) -> Result<Tensor> {
        if self.rank() == 0 { Ok(self.clone()) } else { self.gather(dim, positions) }
    }
}
