//! Running sums and products, and the recurrence that is the gradient of them all.
//!
//! The gradient of a running product is a recurrence (each element passes its share on to the one
//! before, times a factor), and so is that of a recurrence: written so, no gradient divides, and zeros
//! are exact to any order.

use super::reduce::lanes_of_row;
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::layout::axis;
use crate::parallel;
use crate::{DType, Error, Identity, Op, Output, Result, Shape, Spec, Tensor, View, Word};

/// Elements a thread should have at least.
const SHARE: usize = 16 * 1024;

/// How an element joins the result before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// `y[i] = y[i - 1] + x[i]`.
    Sum,
    /// `y[i] = y[i - 1] * x[i]`.
    Product,
    /// `y[i] = y[i - 1] * factor[i] + x[i]`, with 0 before the first. Inputs: x, factor.
    Recurrence,
}

/// A scan along an axis, from its end where reversed.
#[derive(Debug, Hash)]
struct Scan {
    kind: Kind,
    axis: usize,
    reverse: bool,
}

impl Scan {
    /// The input as `[outer, length, inner]`, scanned along `length`.
    fn sizes(&self, shape: &Shape) -> (usize, usize, usize) {
        let product = |dims: &[usize]| dims.iter().product();
        (product(&shape[..self.axis]), shape[self.axis], product(&shape[self.axis + 1..]))
    }

    /// Each element replaced by the one before it in the order of this scan, the first by `first`.
    fn previous(&self, x: &Tensor, first: f32, reverse: bool) -> Result<Tensor> {
        let (dim, length) = (self.axis as isize, x.dims()[self.axis]);
        if length == 0 {
            return Ok(x.clone());
        }
        let kept = length - 1;
        if reverse {
            x.narrow(dim, 1, kept)?.pad_axis(dim, 0, 1, 0, first)
        } else {
            x.narrow(dim, 0, kept)?.pad_axis(dim, 1, 0, 0, first)
        }
    }
}

impl Op for Scan {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sum => "cumsum",
            Kind::Product => "cumprod",
            Kind::Recurrence => "recurrence",
        }
    }

    fn wide(&self) -> bool {
        true
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let dtype = inputs[0].dtype;
        if dtype == DType::Bool || (self.kind == Kind::Recurrence && dtype != DType::F32) {
            return Err(Error::op(self.name(), format!("is not defined for {dtype}; cast first")));
        }
        Ok(Spec::new(inputs[0].dtype, *inputs[0].shape()))
    }

    fn flops(&self, _: &[Spec], output: &Spec) -> u64 {
        4 * output.elements() as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let lines = Lines { sizes: self.sizes(output.spec.shape()), reverse: self.reverse };
        let second = &inputs[inputs.len() - 1];
        if output.spec.dtype == DType::I32 {
            let (x, out) = (inputs[0].slice::<i32>(), output.slice::<i32>());
            match self.kind {
                Kind::Sum => lines.scan(x, x, out, |x| x, |y, x, _| y.wrapping_add(x), |y| y),
                _ => lines.scan(x, x, out, |x| x, |y, x, _| y.wrapping_mul(x), |y| y),
            }
            return Ok(());
        }
        let (x, factor, out) = (inputs[0].slice::<f32>(), second.slice::<f32>(), output.slice::<f32>());
        // Carried in f64: a long line would gather a rounding error an element.
        let (widen, narrow) = (f64::from, |y| y as f32);
        match self.kind {
            Kind::Sum => lines.scan(x, x, out, widen, |y, x, _| y + f64::from(x), narrow),
            Kind::Product => lines.scan(x, x, out, widen, |y, x, _| y * f64::from(x), narrow),
            Kind::Recurrence => {
                lines.scan(x, factor, out, widen, |y, x, f| y * f64::from(f) + f64::from(x), narrow);
            }
        }
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let (outer, length, inner) = self.sizes(output.shape());
        let kind = match self.kind {
            Kind::Sum => "0u",
            Kind::Product => "1u",
            Kind::Recurrence => "2u",
        };
        // Many lines fill the device by themselves, and neighbours are read together.
        let enough = if inner >= 32 { 2 * 1024 } else { 16 * 1024 };
        let lanes = if outer * inner >= enough { 1 } else { lanes_of_row(length) };
        // A scan of one input has no factors, and binds its input in their place.
        let factor = Binding::Input(inputs.len() - 1);
        let element = if output.dtype == DType::F32 { "f32" } else { "i32" };
        Some(Plan::one(Kernel {
            shader: Shader::file("scan", include_str!("../../shaders/scan.wgsl")),
            constants: vec![
                ("T", element.into()),
                ("KIND", kind.into()),
                ("REVERSE", self.reverse.to_string().into()),
                ("LANES", format!("{lanes}u").into()),
            ],
            bindings: vec![Binding::Input(0), factor, Binding::Output],
            params: [outer * inner, length, inner, length.div_ceil(lanes)].map(|size| size as u32).to_vec(),
            groups: Kernel::fold((outer * inner).div_ceil(256 / lanes), caps),
        }))
    }

    fn gradient(&self, inputs: &[Tensor], output: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let back = |kind| Scan { kind, axis: self.axis, reverse: !self.reverse };
        if self.kind == Kind::Sum {
            return Ok(vec![Some(Tensor::apply(back(Kind::Sum), &[upstream])?)]);
        }
        let factor = &inputs[inputs.len() - 1];
        let factors = self.previous(factor, 0.0, !self.reverse)?;
        let reaching = Tensor::apply(back(Kind::Recurrence), &[upstream, &factors])?;
        let before = |first| self.previous(output, first, self.reverse);
        Ok(if self.kind == Kind::Product {
            vec![Some(reaching.mul(&before(1.0)?)?)]
        } else {
            let to_factor = reaching.mul(&before(0.0)?)?;
            vec![Some(reaching), Some(to_factor)]
        })
    }
}

/// The lines of `[outer, length, inner]`.
struct Lines {
    sizes: (usize, usize, usize),
    reverse: bool,
}

impl Lines {
    /// Scans every line: the first result is `start` of its element, and the next is `join` of the one
    /// before with an element and its factor.
    fn scan<T: Word, C: Copy + Send + Sync>(
        &self,
        x: &[T],
        factor: &[T],
        out: &mut [T],
        start: impl Fn(T) -> C + Sync,
        join: impl Fn(C, T, T) -> C + Sync,
        finish: impl Fn(C) -> T + Sync,
    ) {
        let (_, length, inner) = self.sizes;
        let block = length * inner;
        let row = |step: usize| if self.reverse { length - 1 - step } else { step } * inner;
        parallel::chunks(out, block, SHARE.div_ceil(block), |at, out| {
            let (x, factor) = (&x[at * block..][..block], &factor[at * block..][..block]);
            let mut carried: Vec<C> = x[row(0)..row(0) + inner].iter().map(|&x| start(x)).collect();
            for step in 0..length {
                let row = row(step);
                let rows = x[row..row + inner].iter().zip(&factor[row..row + inner]);
                for ((carried, out), (&x, &factor)) in
                    carried.iter_mut().zip(&mut out[row..row + inner]).zip(rows)
                {
                    if step > 0 {
                        *carried = join(*carried, x, factor);
                    }
                    *out = finish(*carried);
                }
            }
        });
    }
}

impl Tensor {
    fn scan(&self, kind: Kind, dim: isize) -> Result<Tensor> {
        let named = Scan { kind, axis: 0, reverse: false };
        if self.rank() == 0 {
            axis(named.name(), dim, 1)?;
            return self.reshape(1usize)?.scan(kind, 0)?.reshape(());
        }
        let axis = axis(named.name(), dim, self.rank())?;
        Tensor::apply(Scan { axis, ..named }, &[self])
    }

    /// Running sums along a dimension: element `i` is the sum of those up to `i`. The shape stays. An
    /// error for `Bool`, or where there is no such dimension.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], 3, &Engine::cpu())?;
    /// assert_eq!(x.cumsum(0)?.to_vec::<f32>()?, [1.0, 3.0, 6.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn cumsum(&self, dim: isize) -> Result<Tensor> {
        self.scan(Kind::Sum, dim)
    }

    /// Running products along a dimension, as [`cumsum`](Tensor::cumsum). The gradient is exact where
    /// elements are 0.
    pub fn cumprod(&self, dim: isize) -> Result<Tensor> {
        self.scan(Kind::Product, dim)
    }

    /// The product of all elements before each one along an axis; of all after it where reversed.
    pub(super) fn exclusive_product(&self, axis: usize, reverse: bool) -> Result<Tensor> {
        let scan = Scan { kind: Kind::Product, axis, reverse };
        let previous = scan.previous(self, 1.0, reverse)?;
        Tensor::apply(scan, &[&previous])
    }
}
