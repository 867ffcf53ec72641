//! The greatest element of each window.
//!
//! Which element that is gets decided anew from the input wherever it is needed: that takes four
//! comparisons in the usual 2x2 window, less than it costs to store positions and read them back.

use super::{Pool2dOptions, SHARE, check_images, resized};
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::parallel;
use crate::vectors::vectorised;
use crate::{DType, Error, Identity, Op, Output, Result, Spec, Tensor, View};
use std::iter::zip;

/// What is done with the position of each window's greatest element. The first input is always the
/// one that decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// The greatest element itself.
    Forward,
    /// The element of the second input at that position.
    Pick,
    /// The second input's value for the window, added at that position: the transpose of `Pick`.
    Spread,
}

#[derive(Debug, Hash)]
struct MaxPool {
    part: Part,
    options: Pool2dOptions,
}

/// A plane's geometry.
#[derive(Clone, Copy)]
struct Plane {
    input: [usize; 2],
    output: [usize; 2],
    options: Pool2dOptions,
}

impl MaxPool {
    fn plane(&self, input: &Spec) -> Result<Plane> {
        let shape = input.shape();
        let output = self.options.sizes(self.name(), shape)?;
        Ok(Plane { input: [shape[2], shape[3]], output, options: self.options })
    }

    /// Whether windows of 2 x 2 lie side by side, as in most networks.
    fn halves(&self, output: [usize; 2], input: [usize; 2]) -> bool {
        let Pool2dOptions { kernel, stride, padding, dilation, .. } = self.options;
        (kernel, stride, padding, dilation) == ([2; 2], [2; 2], [0; 2], [1; 2])
            && output == input.map(|size| size / 2)
    }
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        match self.part {
            Part::Forward => "max_pool2d",
            Part::Pick => "max_pool2d_pick",
            Part::Spread => "max_pool2d_spread",
        }
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        check_images(self.name(), &inputs[0])?;
        let pooled = resized(inputs[0].shape(), self.plane(&inputs[0])?.output)?;
        let (other, output) = match self.part {
            Part::Forward => return Ok(pooled),
            Part::Pick => (*inputs[0].shape(), pooled),
            Part::Spread => (*pooled.shape(), Spec::new(inputs[0].dtype, *inputs[0].shape())),
        };
        if inputs[1].dtype != inputs[0].dtype || *inputs[1].shape() != other {
            let message = format!("shape {} where {other} was expected", inputs[1].shape());
            return Err(Error::op(self.name(), message));
        }
        Ok(output)
    }

    fn flops(&self, _: &[Spec], output: &Spec) -> u64 {
        let Pool2dOptions { kernel, stride, .. } = self.options;
        let [window, stride] = [kernel, stride].map(|[height, width]| (height * width) as u64);
        // The GPU kernel looks through every window that holds an element.
        let windows = if self.part == Part::Spread { window.div_ceil(stride) } else { 1 };
        (output.elements() as u64).saturating_mul(window).saturating_mul(windows)
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let plane = self.plane(&inputs[0].spec)?;
        let x = inputs[0].slice::<f32>();
        let other = inputs.last().map_or(x, View::slice);
        let size = |[height, width]: [usize; 2]| height * width;
        let (input, pooled) = (size(plane.input), size(plane.output));
        let (from, to) = if self.part == Part::Spread { (pooled, input) } else { (input, pooled) };
        let halves = self.halves(plane.output, plane.input);
        let finish = output.finish();
        parallel::chunks(output.slice::<f32>(), to, SHARE.div_ceil(input), |at, out| {
            let (x, other) = (&x[at * input..][..input], &other[at * from..][..from]);
            match self.part {
                Part::Forward if halves => plane.forward_halves(x, out),
                Part::Spread if halves => plane.spread_halves(x, other, out),
                Part::Forward => plane.windows(x, |window, best| {
                    out[window] = best.map_or(f32::NEG_INFINITY, |best| x[best]);
                }),
                Part::Pick => plane.windows(x, |window, best| {
                    out[window] = best.map_or(0.0, |best| other[best]);
                }),
                Part::Spread => {
                    out.fill(0.0);
                    plane.windows(x, |window, best| {
                        if let Some(best) = best {
                            out[best] += other[window];
                        }
                    });
                }
            }
            finish.run(at * to, out);
        });
        Ok(())
    }

    fn finishes(&self) -> bool {
        true
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let Plane { input, output: pooled, options } = self.plane(&inputs[0]).ok()?;
        // The maximum is the input's own element at its position.
        let bindings = vec![Binding::Input(0), Binding::Input(inputs.len() - 1), Binding::Output];
        let flag = |name, part| (name, (self.part == part).to_string().into());
        if self.halves(pooled, input) && input.iter().all(|size| size.is_multiple_of(2)) {
            let windows = inputs[0].elements() / 4;
            return Some(Plan::one(Kernel {
                shader: Shader::file("pool2d_halves", include_str!("../../../shaders/pool2d_halves.wgsl")),
                constants: vec![flag("PICK", Part::Pick), flag("SPREAD", Part::Spread)],
                bindings: [bindings, vec![Binding::Output]].concat(),
                params: vec![windows as u32, pooled[1] as u32],
                groups: Kernel::fold(windows.div_ceil(256), caps),
            }));
        }
        let empty = if self.part == Part::Forward { f32::NEG_INFINITY } else { 0.0 };
        let pairs = [input, pooled, options.kernel, options.stride, options.padding, options.dilation];
        let mut params = vec![output.elements() as u32, empty.to_bits()];
        params.extend(pairs.as_flattened().iter().map(|&size| size as u32));
        Some(Plan::one(Kernel {
            shader: Shader::file("pool2d_max", include_str!("../../../shaders/pool2d_max.wgsl")),
            constants: vec![flag("SPREAD", Part::Spread)],
            bindings,
            params,
            groups: Kernel::fold(output.elements().div_ceil(256), caps),
        }))
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let back =
            |part| Tensor::apply(MaxPool { part, options: self.options }, &[&inputs[0], upstream]).map(Some);
        // A position does not change with the values that decide it.
        Ok(match self.part {
            Part::Forward => vec![back(Part::Spread)?],
            Part::Pick => vec![None, back(Part::Spread)?],
            Part::Spread => vec![None, back(Part::Pick)?],
        })
    }
}

/// Whether `value` displaces `best` as the greatest: the first of equal ones stays, NaN comes before
/// all. Without short cuts, so that it vectorises.
fn displaces(value: f32, best: f32) -> bool {
    (value > best) | (value.is_nan() & !best.is_nan())
}

/// `value` if `chosen`, else 0; by bits, which vectorises where a choice becomes a branch.
fn given(value: f32, chosen: bool) -> f32 {
    f32::from_bits(value.to_bits() & u32::from(chosen).wrapping_neg())
}

impl Plane {
    /// Calls `visit` with each window's number and the position of its greatest element; `None`
    /// where dilation leaves no element inside the image.
    fn windows(&self, x: &[f32], mut visit: impl FnMut(usize, Option<usize>)) {
        let width = self.input[1];
        let columns: Vec<_> = (0..self.output[1]).map(|o| self.inside(1, o)).collect();
        // The greatest of each column in the window's rows, and its row.
        let mut values = vec![0.0f32; width];
        let mut rows = vec![0u32; width];
        for oh in 0..self.output[0] {
            let mut inside = self.inside(0, oh);
            let first = inside.next();
            if let Some(first) = first {
                values.copy_from_slice(&x[first * width..][..width]);
                rows.fill(first as u32);
            }
            for h in inside {
                vectorised(
                    #[inline(always)]
                    || {
                        let best = zip(&mut values, &mut rows);
                        for ((best, row), &value) in zip(best, &x[h * width..][..width]) {
                            let displaced = displaces(value, *best);
                            *best = if displaced { value } else { *best };
                            *row = if displaced { h as u32 } else { *row };
                        }
                    },
                );
            }
            for (ow, columns) in columns.iter().enumerate() {
                let earlier = |w: usize, best: usize| {
                    let (value, other) = (values[w], values[best]);
                    // Of equal elements the one in the higher row is the first.
                    displaces(value, other) || (!displaces(other, value) && rows[w] < rows[best])
                };
                let best = columns.clone().reduce(|best, w| if earlier(w, best) { w } else { best });
                let best = best.filter(|_| first.is_some());
                visit(oh * self.output[1] + ow, best.map(|best| rows[best] as usize * width + best));
            }
        }
    }

    /// The rows (`d` 0) or columns (`d` 1) of window `o` that lie inside the image.
    fn inside(&self, d: usize, o: usize) -> std::iter::StepBy<std::ops::Range<usize>> {
        let (dilation, start) = (self.options.dilation[d], o * self.options.stride[d]);
        // Counted from the start of the padding.
        let skipped = self.options.padding[d].saturating_sub(start).div_ceil(dilation);
        let first = start + skipped * dilation - self.options.padding[d];
        let end =
            (start + (self.options.kernel[d] - 1) * dilation + 1).saturating_sub(self.options.padding[d]);
        (first..end.min(self.input[d])).step_by(dilation)
    }

    /// The usual case: 2x2 windows side by side.
    fn forward_halves(&self, x: &[f32], out: &mut [f32]) {
        let (width, half) = (self.input[1], self.output[1]);
        vectorised(
            #[inline(always)]
            || {
                for (rows, out) in zip(x.chunks_exact(2 * width), out.chunks_exact_mut(half)) {
                    let (top, bottom) = rows.split_at(width);
                    for ((a, b), out) in zip(zip(top.as_chunks::<2>().0, bottom.as_chunks::<2>().0), out) {
                        let a = if displaces(a[1], a[0]) { a[1] } else { a[0] };
                        let b = if displaces(b[1], b[0]) { b[1] } else { b[0] };
                        *out = if displaces(b, a) { b } else { a };
                    }
                }
            },
        );
    }

    fn spread_halves(&self, x: &[f32], upstream: &[f32], out: &mut [f32]) {
        let (width, half) = (self.input[1], self.output[1]);
        // An odd last row or column belongs to no window.
        out[2 * self.output[0] * width..].fill(0.0);
        // Where in its window the greatest element of each is.
        let mut places = vec![0u32; half];
        vectorised(
            #[inline(always)]
            || {
                let rows = zip(x.chunks_exact(2 * width), out.chunks_exact_mut(2 * width));
                for ((x, out), upstream) in zip(rows, upstream.chunks_exact(half)) {
                    let (top, bottom) = x.split_at(width);
                    let pairs = zip(top.as_chunks::<2>().0, bottom.as_chunks::<2>().0);
                    for (place, (a, b)) in zip(&mut places, pairs) {
                        let (right_a, right_b) = (displaces(a[1], a[0]), displaces(b[1], b[0]));
                        let best_a = if right_a { a[1] } else { a[0] };
                        let best_b = if right_b { b[1] } else { b[0] };
                        let below = displaces(best_b, best_a);
                        *place = if below { 2 + u32::from(right_b) } else { u32::from(right_a) };
                    }
                    for (out, first) in zip(out.chunks_exact_mut(width), [0, 2]) {
                        out[2 * half..].fill(0.0);
                        for (out, (&g, &place)) in zip(out.as_chunks_mut().0, zip(upstream, &places)) {
                            *out = [given(g, place == first), given(g, place == first + 1)];
                        }
                    }
                }
            },
        );
    }
}

impl Tensor {
    /// The greatest element of each window of images `[N, C, H, W]`; NaN wins, and the gradient goes
    /// to the first of equal elements. An error names the shape where a window does not fit, and
    /// options out of their range (see [`Pool2dOptions`]).
    ///
    /// ```
    /// use kiln::ops::Pool2dOptions;
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::arange(0.0, 16.0, 1.0, &Engine::cpu())?.reshape([1, 1, 4, 4])?;
    /// let y = x.max_pool2d(Pool2dOptions::new(2))?;
    /// assert_eq!(y.to_vec::<f32>()?, [5.0, 7.0, 13.0, 15.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn max_pool2d(&self, options: Pool2dOptions) -> Result<Tensor> {
        Tensor::apply(MaxPool { part: Part::Forward, options }, &[self])
    }

    /// As [`max_pool2d`](Tensor::max_pool2d), and where in its plane each greatest element stands,
    /// counted row by row: `I32` of the output's shape, what PyTorch calls `return_indices`.
    pub fn max_pool2d_with_indices(&self, options: Pool2dOptions) -> Result<(Tensor, Tensor)> {
        let values = self.max_pool2d(options)?;
        // Rows and columns apart: a float counts a large plane's elements no longer one by one.
        let place = |axis: isize| {
            let count = Tensor::arange(0.0, self.size(axis)? as f64, 1.0, self.engine())?;
            let count = if axis == -2 { count.unsqueeze(1)? } else { count };
            let op = MaxPool { part: Part::Pick, options };
            Tensor::apply(op, &[&self.detach(), &count.broadcast_to(self.shape())?])?.cast(DType::I32)
        };
        let indices = place(-2)?.mul(self.dims()[3] as f64)?.add(&place(-1)?)?;
        Ok((values, indices))
    }
}
