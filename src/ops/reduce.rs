//! Reductions over one run of neighbouring dimensions; several runs are reduced one after the
//! other.

use crate::{DType, Error, IntoAxes, Op, Output, Result, Shape, Spec, Tensor, View};
use rayon::prelude::*;

/// What a reduction keeps of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sum,
    Max,
    Min,
    ArgMax,
    ArgMin,
}

/// Reduces dimensions `start..end`, which disappear.
#[derive(Debug)]
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
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sum => "sum",
            Kind::Max => "max",
            Kind::Min => "min",
            Kind::ArgMax => "argmax",
            Kind::ArgMin => "argmin",
        }
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let (dtype, shape) = (inputs[0].dtype, inputs[0].shape());
        let refuse = |message: String| Err(Error::op(self.name(), message));
        let index = matches!(self.kind, Kind::ArgMax | Kind::ArgMin);
        if dtype == DType::Bool || (index && dtype != DType::F32) {
            return refuse(format!("is not defined for {dtype}; cast first"));
        }
        if self.kind != Kind::Sum && shape[self.start..self.end].contains(&0) {
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
            (DType::I32, kind) => {
                let fold = match kind {
                    Kind::Max => |a: i32, b: i32| a.max(b),
                    Kind::Min => |a: i32, b: i32| a.min(b),
                    _ => |a: i32, b: i32| a.wrapping_add(b),
                };
                let first = match kind {
                    Kind::Max => i32::MIN,
                    Kind::Min => i32::MAX,
                    _ => 0,
                };
                columns(inputs[0].slice(), output.slice(), sizes, first, fold);
            }
            (_, Kind::Sum) if sizes.2 == 1 => sum_rows(inputs[0].slice(), output.slice(), sizes.1),
            (_, Kind::Sum) => columns(inputs[0].slice::<f32>(), output.slice(), sizes, 0.0, |a, b| a + b),
            (_, Kind::Max) => columns(inputs[0].slice(), output.slice(), sizes, f32::NEG_INFINITY, greater),
            (_, Kind::Min) => columns(inputs[0].slice(), output.slice(), sizes, f32::INFINITY, lesser),
            (_, Kind::ArgMax) => positions(inputs[0].slice(), output.slice(), sizes, |a, b| a > b),
            (_, Kind::ArgMin) => positions(inputs[0].slice(), output.slice(), sizes, |a, b| a < b),
        }
        Ok(())
    }

    fn gradient(&self, inputs: &[Tensor], output: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = &inputs[0];
        let kept: Vec<usize> = x
            .dims()
            .iter()
            .enumerate()
            .map(|(i, &d)| if (self.start..self.end).contains(&i) { 1 } else { d })
            .collect();
        let spread = |t: &Tensor| t.reshape(&kept)?.broadcast_to(x.shape());
        Ok(vec![match self.kind {
            Kind::Sum => Some(spread(upstream)?),
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

/// The greater; NaN wins.
fn greater(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// The lesser; NaN wins.
fn lesser(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

/// Elements a thread should have at least.
const SHARE: usize = 16 * 1024;

/// Sums of rows of `length`. Long rows are cut at fixed places, so that the rounding does not
/// depend on the number of threads.
fn sum_rows(input: &[f32], output: &mut [f32], length: usize) {
    const CUT: usize = 64 * 1024;
    if length == 0 {
        output.fill(0.0);
    } else if length > CUT {
        for (row, out) in input.chunks_exact(length).zip(output) {
            let parts: Vec<f32> = row.par_chunks(CUT).map(sum).collect();
            *out = sum(&parts);
        }
    } else {
        let rows = SHARE.div_ceil(length);
        output.par_chunks_mut(rows).zip(input.par_chunks(rows * length)).for_each(|(out, rows)| {
            out.iter_mut().zip(rows.chunks_exact(length)).for_each(|(out, row)| *out = sum(row));
        });
    }
}

/// A sum in 32 lanes: vectors, and a rounding error that grows with a 32nd of the length.
fn sum(values: &[f32]) -> f32 {
    pulp::Arch::new().dispatch(|| {
        let mut lanes = [0.0f32; 32];
        let chunks = values.chunks_exact(32);
        let rest: f32 = chunks.remainder().iter().sum();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += value;
            }
        }
        for half in [16, 8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
        }
        lanes[0] + rest
    })
}

/// Folds `length` rows of `inner` elements into one, for each of `outer`.
fn columns<T: crate::Word>(
    input: &[T],
    output: &mut [T],
    (_, length, inner): (usize, usize, usize),
    first: T,
    fold: impl Fn(T, T) -> T + Sync,
) {
    if inner == 0 {
        return;
    }
    // A share is whole outer rows, or a piece of one.
    let width = inner.min(SHARE.div_ceil(length.max(1)).max(256));
    let per_task = (SHARE / (length * inner).max(1)).max(1);
    output.par_chunks_mut(inner * per_task).enumerate().for_each(|(task, rows)| {
        rows.chunks_mut(inner).enumerate().for_each(|(row, out)| {
            let base = (task * per_task + row) * length * inner;
            out.par_chunks_mut(width).enumerate().for_each(|(piece, out)| {
                pulp::Arch::new().dispatch(|| {
                    out.fill(first);
                    for step in 0..length {
                        let from = base + step * inner + piece * width;
                        for (out, &value) in out.iter_mut().zip(&input[from..]) {
                            *out = fold(*out, value);
                        }
                    }
                });
            });
        });
    });
}

/// The first position of the best element; NaN is best.
fn positions(
    input: &[f32],
    output: &mut [i32],
    (_, length, inner): (usize, usize, usize),
    better: impl Fn(f32, f32) -> bool + Sync,
) {
    output.par_iter_mut().with_min_len(SHARE.div_ceil(length.max(1))).enumerate().for_each(|(at, out)| {
        let base = at / inner * length * inner + at % inner;
        let (mut best, mut position) = (input[base], 0);
        for step in 1..length {
            let value = input[base + step * inner];
            if !best.is_nan() && (better(value, best) || value.is_nan()) {
                (best, position) = (value, step as i32);
            }
        }
        *out = position;
    });
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

    /// Means over axes; see [`sum`](Tensor::sum). NaN over no elements.
    pub fn mean(&self, axes: impl IntoAxes, keepdim: bool) -> Result<Tensor> {
        let axes = axes.into_axes("mean", self.rank())?;
        let count: usize = axes.iter().map(|&axis| self.dims()[axis]).product();
        self.reduce(Kind::Sum, axes, keepdim)?.mul(1.0 / count as f64)
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

    /// The position of the greatest element along an axis, the first of equal ones, as `I32`.
    pub fn argmax(&self, axis: isize, keepdim: bool) -> Result<Tensor> {
        self.reduce(Kind::ArgMax, axis.into_axes("argmax", self.rank())?, keepdim)
    }

    /// The position of the least element along an axis, the first of equal ones, as `I32`.
    pub fn argmin(&self, axis: isize, keepdim: bool) -> Result<Tensor> {
        self.reduce(Kind::ArgMin, axis.into_axes("argmin", self.rank())?, keepdim)
    }
}
