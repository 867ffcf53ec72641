//! Reductions over one run of neighbouring dimensions; several runs are reduced one after the
//! other.

mod cpu;

pub(super) use cpu::{greatest, sum};

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::{DType, Error, Identity, IntoAxes, Op, Output, Result, Shape, Spec, Tensor, View};
use cpu::{fold, greater, lesser, positions};

/// What a reduction keeps of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Product,
    Max,
    Min,
    ArgMax,
    ArgMin,
}

/// Reduces dimensions `start..end`, which disappear.
#[derive(Debug, Hash)]
struct Reduce {
    kind: Kind,
    start: usize,
    end: usize,
}

impl Reduce {
    /// The input as `[outer, length, inner]` with `length` reduced.
    fn sizes(&self, shape: &Shape) -> (usize, usize, usize) {
        let product = |dims: &[usize]| dims.iter().product();
        (product(&shape[..self.start]), product(&shape[self.start..self.end]), product(&shape[self.end..]))
    }

    fn is_position(&self) -> bool {
        matches!(self.kind, Kind::ArgMax | Kind::ArgMin)
    }

    /// One dispatch over `[outer, length, inner]`, with the length in so many parts.
    fn kernel(
        &self,
        dtype: DType,
        (outer, length, inner): (usize, usize, usize),
        parts: usize,
        bindings: Vec<Binding>,
        caps: &Caps,
    ) -> Kernel {
        let (kind, float, int) = match self.kind {
            Kind::Sum => ("0u", 0.0, 0),
            Kind::Product => ("3u", 1.0, 1),
            Kind::Max | Kind::ArgMax => ("1u", f32::NEG_INFINITY, i32::MIN),
            Kind::Min | Kind::ArgMin => ("2u", f32::INFINITY, i32::MAX),
        };
        let (element, first) =
            if dtype == DType::F32 { ("f32", float.to_bits()) } else { ("i32", int as u32) };
        let Reading { vectors, lanes, outputs } = Reading::of((outer, length, inner), caps);
        let (width, places, step) = match (vectors, outputs) {
            (true, 1) => ("4u", "vec4(0u, 1u, 2u, 3u)", "4u"),
            (true, _) => ("4u", "vec4(0u)", "1u"),
            (false, _) => ("1u", "vec4(0u, NONE / 2u, NONE / 2u, NONE / 2u)", "1u"),
        };
        let items = outer * inner / outputs;
        let sizes = [items, length, inner, parts, length.div_ceil(parts).next_multiple_of(4)];
        Kernel {
            shader: Shader::file("reduce", include_str!("../../shaders/reduce.wgsl")),
            constants: vec![
                ("T", element.into()),
                ("R", if self.is_position() { "i32" } else { element }.into()),
                ("Word", if vectors { format!("vec4<{element}>") } else { element.into() }.into()),
                ("WIDTH", width.into()),
                ("PLACES", places.into()),
                ("STEP", step.into()),
                ("OUTPUTS", format!("{outputs}u").into()),
                ("FLOAT", (dtype == DType::F32).to_string().into()),
                ("KIND", kind.into()),
                ("POSITION", self.is_position().to_string().into()),
                ("LANES", format!("{lanes}u").into()),
                ("SUBGROUPS", caps.subgroups_within(lanes).to_string().into()),
            ],
            bindings,
            params: sizes.iter().map(|&size| size as u32).chain([first]).collect(),
            groups: Kernel::fold((items * parts).div_ceil(GROUP / lanes), caps),
        }
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sum => "sum",
            Kind::Product => "prod",
            Kind::Max => "max",
            Kind::Min => "min",
            Kind::ArgMax => "argmax",
            Kind::ArgMin => "argmin",
        }
    }

    fn wide(&self) -> bool {
        true
    }

    fn begins(&self) -> bool {
        !self.is_position()
    }

    fn finishes(&self) -> bool {
        !self.is_position()
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let (dtype, shape) = (inputs[0].dtype, inputs[0].shape());
        let refuse = |message: String| Err(Error::op(self.name(), message));
        let index = self.is_position();
        if dtype == DType::Bool {
            return refuse(format!("is not defined for {dtype}; cast first"));
        }
        if !matches!(self.kind, Kind::Sum | Kind::Product) && shape[self.start..self.end].contains(&0) {
            return refuse(format!(
                "has no value over no elements: dimensions {}..{} of shape {shape}",
                self.start, self.end
            ));
        }
        let dims = [&shape[..self.start], &shape[self.end..]].concat();
        Ok(Spec::new(if index { DType::I32 } else { dtype }, Shape::new(&dims)?))
    }

    fn flops(&self, inputs: &[Spec], _: &Spec) -> u64 {
        inputs[0].elements() as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let sizes = self.sizes(inputs[0].spec.shape());
        match (inputs[0].spec.dtype, self.kind) {
            (DType::I32, Kind::Max) => fold(inputs[0].elements(), output.slice(), sizes, i32::MIN, i32::max),
            (DType::I32, Kind::Min) => fold(inputs[0].elements(), output.slice(), sizes, i32::MAX, i32::min),
            (DType::I32, Kind::Sum) => {
                fold(inputs[0].elements(), output.slice(), sizes, 0, i32::wrapping_add)
            }
            (DType::I32, Kind::Product) => {
                fold(inputs[0].elements(), output.slice(), sizes, 1, i32::wrapping_mul);
            }
            (DType::I32, Kind::ArgMax) => {
                positions(inputs[0].slice::<i32>(), output.slice(), sizes, |a, b| a > b);
            }
            (DType::I32, Kind::ArgMin) => {
                positions(inputs[0].slice::<i32>(), output.slice(), sizes, |a, b| a < b);
            }
            (_, Kind::Sum) => fold(inputs[0].elements(), output.slice(), sizes, 0.0, |a: f32, b| a + b),
            (_, Kind::Product) => fold(inputs[0].elements(), output.slice(), sizes, 1.0, |a: f32, b| a * b),
            (_, Kind::Max) => fold(inputs[0].elements(), output.slice(), sizes, f32::NEG_INFINITY, greater),
            (_, Kind::Min) => fold(inputs[0].elements(), output.slice(), sizes, f32::INFINITY, lesser),
            // Nothing is better than NaN, and it is better than all but NaN.
            (_, Kind::ArgMax) => {
                positions(inputs[0].slice::<f32>(), output.slice(), sizes, |a, b| {
                    a > b || (a.is_nan() && !b.is_nan())
                });
            }
            (_, Kind::ArgMin) => {
                positions(inputs[0].slice::<f32>(), output.slice(), sizes, |a, b| {
                    a < b || (a.is_nan() && !b.is_nan())
                });
            }
        }
        output.finish().run_shared(0, output.slice());
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let (outer, length, inner) = self.sizes(inputs[0].shape());
        let outputs = output.elements();
        let dtype = inputs[0].dtype;
        // A part for so many lanes' worth of elements, until there are invocations enough.
        let reading = Reading::of((outer, length, inner), caps);
        let workers = outputs / reading.outputs * reading.lanes;
        let parts = (INVOCATIONS / workers.max(1)).min(length / (16 * reading.lanes));
        if self.is_position() || parts < 2 {
            let bindings = vec![Binding::Input(0), Binding::Output];
            return Some(Plan::one(self.kernel(dtype, (outer, length, inner), 1, bindings, caps)));
        }
        let part = length.div_ceil(parts).next_multiple_of(4);
        let parts = length.div_ceil(part);
        let cut = vec![Binding::Input(0), Binding::Scratch(0)];
        let joined = vec![Binding::Written(0), Binding::Output];
        Some(Plan {
            kernels: vec![
                self.kernel(dtype, (outer, length, inner), parts, cut, caps),
                self.kernel(dtype, (1, parts, outputs), 1, joined, caps),
            ],
            scratch: vec![parts * outputs * 4],
            ..Plan::default()
        })
    }

    fn gradient(&self, inputs: &[Tensor], output: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = &inputs[0];
        let kept: Vec<usize> = x
            .dims()
            .iter()
            .enumerate()
            .map(|(i, &d)| if (self.start..self.end).contains(&i) { 1 } else { d })
            .collect();
        let (outer, length, inner) = self.sizes(x.shape());
        let spread = |t: &Tensor| t.reshape(&kept)?.broadcast_to(x.shape());
        Ok(vec![match self.kind {
            Kind::Sum => Some(spread(upstream)?),
            Kind::Product => {
                // The product of what stands before an element and what stands after it: no
                // division, so zeros in the run are as exact as anything else.
                let run = x.reshape([outer, length, inner])?;
                let others = run.exclusive_product(1, false)?.mul(&run.exclusive_product(1, true)?)?;
                Some(spread(upstream)?.mul(&others.reshape(x.shape())?)?)
            }
            Kind::Max | Kind::Min => {
                // Equal elements share, as in PyTorch's amax.
                let chosen = x.eq(&spread(output)?)?.cast(x.dtype())?;
                let count = chosen.reduce_run(Kind::Sum, self.start, self.end)?;
                Some(chosen.mul(&spread(&upstream.div(&count)?)?)?)
            }
            Kind::ArgMax | Kind::ArgMin => None,
        }])
    }
}

/// Invocations in a workgroup of the GPU kernel.
const GROUP: usize = 256;
/// Invocations that keep a large GPU busy.
pub(super) const INVOCATIONS: usize = 64 * 1024;

/// How the GPU kernel reads `[outer, length, inner]`.
struct Reading {
    /// Whether as vectors of four.
    vectors: bool,
    /// Invocations that share an output.
    lanes: usize,
    /// Outputs of an invocation.
    outputs: usize,
}

impl Reading {
    fn of((outer, length, inner): (usize, usize, usize), caps: &Caps) -> Reading {
        if inner >= 32 {
            // Neighbours along `inner` are read together.
            let vectors = inner.is_multiple_of(4);
            return Reading { vectors, lanes: 1, outputs: if vectors { 4 } else { 1 } };
        }
        let vectors =
            inner == 1 && (length.is_multiple_of(4) || (outer == 1 && caps.reads_vectors(length * 4)));
        Reading { vectors, lanes: lanes_of_row(if vectors { length / 2 } else { length }), outputs: 1 }
    }
}

/// Invocations that share a row of this length, at most a workgroup.
pub(super) fn lanes_of_row(length: usize) -> usize {
    (length / 8).next_power_of_two().min(GROUP)
}

impl Tensor {
    fn reduce_run(&self, kind: Kind, start: usize, end: usize) -> Result<Tensor> {
        Tensor::apply(Reduce { kind, start, end }, &[self])
    }

    fn reduce(&self, kind: Kind, axes: Vec<usize>, keepdim: bool) -> Result<Tensor> {
        let mut result = self.clone();
        let mut end = axes.len();
        // From the back, so that the axes still to come keep their numbers.
        while end > 0 {
            let mut start = end - 1;
            while start > 0 && axes[start - 1] + 1 == axes[start] {
                start -= 1;
            }
            result = result.reduce_run(kind, axes[start], axes[end - 1] + 1)?;
            end = start;
        }
        if keepdim {
            let dims: Vec<usize> =
                self.dims().iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
            return result.reshape(dims);
        }
        Ok(result)
    }

    /// Sums over axes: `x.sum(-1, false)`, `x.sum([0, 2], true)`, `x.sum(.., false)` for all.
    /// `keepdim` leaves reduced dimensions with size 1.
    pub fn sum(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        self.reduce(Kind::Sum, axes.into_axes("sum", self.rank())?, keepdim)
    }

    /// An error that names `op` unless the dtype is a float.
    pub(super) fn check_float(&self, op: &'static str) -> Result<()> {
        if self.dtype().is_float() {
            return Ok(());
        }
        Err(Error::op(op, format!("is not defined for {}; cast first", self.dtype())))
    }

    /// Means over axes; see [`sum`](Tensor::sum). NaN over no elements; an error unless the dtype
    /// is a float.
    pub fn mean(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        self.check_float("mean")?;
        let axes = axes.into_axes("mean", self.rank())?;
        let count: usize = axes.iter().map(|&axis| self.dims()[axis]).product();
        self.reduce(Kind::Sum, axes, keepdim)?.mul(1.0 / count as f64)
    }

    /// Variances over axes: the squared distances from the mean, summed and divided by the number of
    /// elements less `correction` (1 for a sample's unbiased estimate, PyTorch's default; 0 for a
    /// population). NaN where that leaves nothing to divide by; an error unless the dtype is a float.
    pub fn var(&self, axes: impl IntoAxes, correction: usize, keepdim: bool) -> Result<Tensor> {
        self.check_float("var")?;
        let axes = axes.into_axes("var", self.rank())?;
        let count: usize = axes.iter().map(|&axis| self.dims()[axis]).product();
        let mean = self.reduce(Kind::Sum, axes.clone(), true)?.mul(1.0 / count as f64)?;
        let squares = self.sub(&mean)?.square()?.reduce(Kind::Sum, axes, keepdim)?;
        squares.div(count.saturating_sub(correction) as f64)
    }

    /// The greatest element over axes; NaN wins, equal elements share the gradient (PyTorch's
    /// `amax`). An error over no elements.
    pub fn max(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        self.reduce(Kind::Max, axes.into_axes("max", self.rank())?, keepdim)
    }

    /// The least element over axes; see [`max`](Tensor::max).
    pub fn min(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        self.reduce(Kind::Min, axes.into_axes("min", self.rank())?, keepdim)
    }

    /// The product over axes, of floats or integers; see [`sum`](Tensor::sum). 1 over no elements.
    /// The gradient is exact where elements are 0.
    pub fn prod(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        self.reduce(Kind::Product, axes.into_axes("prod", self.rank())?, keepdim)
    }

    /// The position of the greatest element along an axis, as `I32`: the first of equal ones, and
    /// the first NaN where there is one. Over `..` or several neighbouring axes it is the position in
    /// the elements of those axes, flattened. An error over no elements, for `Bool`, and where axes
    /// are not neighbours.
    pub fn argmax(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        self.position(Kind::ArgMax, axes.into_axes("argmax", self.rank())?, keepdim)
    }

    /// The position of the least element; see [`argmax`](Tensor::argmax).
    pub fn argmin(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        self.position(Kind::ArgMin, axes.into_axes("argmin", self.rank())?, keepdim)
    }

    fn position(&self, kind: Kind, axes: Vec<usize>, keepdim: bool) -> Result<Tensor> {
        if self.rank() == 0 {
            return self.reshape(1usize)?.position(kind, vec![0], false);
        }
        let run = !axes.is_empty() && axes[axes.len() - 1] - axes[0] + 1 == axes.len();
        if !run {
            let name = Reduce { kind, start: 0, end: 0 }.name();
            return Err(Error::op(
                name,
                format!("axes {axes:?} of shape {} are not neighbours", self.shape()),
            ));
        }
        self.reduce(kind, axes, keepdim)
    }
}
