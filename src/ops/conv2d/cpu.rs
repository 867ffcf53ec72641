//! Convolution on the CPU: windows gathered into columns, and matrix products; Winograd's method
//! where it applies.

use super::{Sizes, depthwise, direct, winograd};
use crate::gemm::{self, Matrix, Parallelism};
use rayon::prelude::*;
use std::cell::RefCell;

/// Calls `each` with the places in an output and in an image plane, and the length, of every run of
/// an output row for which the tap lies inside the image.
fn rows(sizes: &Sizes, tap: [usize; 2], mut each: impl FnMut(usize, usize, usize)) {
    // The first and the end of the output rows (or columns) whose window has this tap inside the
    // image, and the image's row (or column) it meets first.
    let span = |axis: usize| {
        let shift = tap[axis] * sizes.dilation[axis];
        let (stride, padding) = (sizes.stride[axis], sizes.padding[axis]);
        let first = padding.saturating_sub(shift).div_ceil(stride).min(sizes.output[axis]);
        let end =
            (sizes.image[axis] + padding).saturating_sub(shift).div_ceil(stride).min(sizes.output[axis]);
        (first, end.max(first), first * stride + shift - padding.min(first * stride + shift))
    };
    let (y_first, y_end, y) = span(0);
    let (x_first, x_end, x) = span(1);
    if x_first == x_end {
        // Then `x` may lie beyond the image.
        return;
    }
    for (row, oy) in (y_first..y_end).enumerate() {
        each(
            oy * sizes.output[1] + x_first,
            (y + row * sizes.stride[0]) * sizes.image[1] + x,
            x_end - x_first,
        );
    }
}

/// The taps of a kernel's plane in order.
pub(super) fn taps(&Sizes { kernel: [height, width], .. }: &Sizes) -> impl Iterator<Item = [usize; 2]> {
    (0..height).flat_map(move |y| (0..width).map(move |x| [y, x]))
}

/// `columns[tap][position]`: what each tap sees from each position of one image's group.
fn gather(sizes: &Sizes, image: &[f32], columns: &mut [f32]) {
    let mut columns = columns.chunks_exact_mut(sizes.positions());
    for plane in image.chunks_exact(sizes.pixels()) {
        taps(sizes).zip(&mut columns).for_each(|(tap, column)| see(sizes, tap, plane, column));
    }
}

/// What a tap sees of a plane from each position.
fn see(sizes: &Sizes, tap: [usize; 2], plane: &[f32], column: &mut [f32]) {
    column.fill(0.0);
    rows(sizes, tap, |to, from, count| {
        copy_every(sizes.stride[1], &plane[from..], &mut column[to..to + count]);
    });
}

/// Fills `to` with elements that are `stride` apart in `from`.
pub(super) fn copy_every(stride: usize, from: &[f32], to: &mut [f32]) {
    if stride == 1 {
        to.copy_from_slice(&from[..to.len()]);
    } else {
        to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, &x)| *to = x);
    }
}

/// The transpose of `gather`: adds every column's elements to the pixels they came from.
fn scatter(sizes: &Sizes, columns: &[f32], image: &mut [f32]) {
    let mut columns = columns.chunks_exact(sizes.positions());
    let stride = sizes.stride[1];
    image.fill(0.0);
    for plane in image.chunks_exact_mut(sizes.pixels()) {
        for (tap, column) in taps(sizes).zip(&mut columns) {
            rows(sizes, tap, |from, to, count| {
                let from = &column[from..from + count];
                plane[to..].iter_mut().step_by(stride).zip(from).for_each(|(x, &from)| *x += from);
            });
        }
    }
}

/// `c[m, n] = a[m, k] b[k, n]` (or added to `c`), each with the strides of its rows and columns.
pub(super) fn multiply(
    [m, n, k]: [usize; 3],
    c: &mut [f32],
    add: bool,
    (a, a_row, a_column): (&[f32], usize, usize),
    (b, b_row, b_column): (&[f32], usize, usize),
) {
    assert!(c.len() >= m * n && a.len() >= m * k && b.len() >= k * n);
    let [a_row, a_column, b_row, b_column] = [a_row, a_column, b_row, b_column].map(|stride| stride as isize);
    // SAFETY: dense matrices in either order, as long as just checked.
    unsafe {
        let output = (c.as_mut_ptr(), n as isize, 1);
        let operands = [Matrix::new(a.as_ptr(), a_row, a_column), Matrix::new(b.as_ptr(), b_row, b_column)];
        gemm::multiply([m, n, k], output, add, operands, 1.0, Parallelism::None);
    }
}

/// Runs `body` with memory of `length` floats, whose content is left from before. The thread keeps
/// it for the next time: fresh pages from the system cost more than what is done with them.
pub(super) fn with_scratch<R>(length: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        // Several, because a thread that waits inside `body` may take up other work meanwhile.
        static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    }
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < length {
        scratch = vec![0.0; length];
    }
    let result = body(&mut scratch[..length]);
    SCRATCH.with_borrow_mut(|kept| kept.push(scratch));
    result
}

/// Runs `body` on what `gather` gives for an image.
fn with_columns(sizes: &Sizes, image: &[f32], body: impl FnOnce(&[f32])) {
    if sizes.pointwise() {
        return body(image);
    }
    with_scratch(sizes.taps() * sizes.positions(), |columns| {
        gather(sizes, image, columns);
        body(columns);
    });
}

pub(super) fn forward(sizes: &Sizes, input: &[f32], weight: &[f32], output: &mut [f32]) {
    let (taps, positions, filters) = (sizes.taps(), sizes.positions(), sizes.filters);
    if input.is_empty() || weight.is_empty() {
        return output.fill(0.0);
    }
    if depthwise::applies(sizes) {
        return depthwise::forward(sizes, input, weight, output);
    }
    if winograd::applies(sizes) {
        return winograd::forward(sizes, input, weight, output);
    }
    if direct::applies(filters) && !sizes.pointwise() {
        for group in 0..sizes.groups {
            direct::forward(sizes, group, input, &weight[group * filters * taps..], output);
        }
        return;
    }
    let images = input.par_chunks_exact(sizes.channels * sizes.pixels());
    let outputs = output.par_chunks_exact_mut(filters * positions);
    outputs.zip(images).enumerate().for_each(|(at, (output, image))| {
        let weight = &weight[at % sizes.groups * filters * taps..][..filters * taps];
        with_columns(sizes, image, |columns| {
            multiply([filters, positions, taps], output, false, (weight, taps, 1), (columns, positions, 1));
        });
    });
}

pub(super) fn input_gradient(sizes: &Sizes, weight: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (taps, positions, filters) = (sizes.taps(), sizes.positions(), sizes.filters);
    if weight.is_empty() || upstream.is_empty() {
        return output.fill(0.0);
    }
    if depthwise::applies(sizes) {
        return depthwise::input_gradient(sizes, weight, upstream, output);
    }
    if winograd::applies(sizes) {
        return winograd::input_gradient(sizes, weight, upstream, output);
    }
    if direct::applies(sizes.channels) && !sizes.pointwise() {
        for group in 0..sizes.groups {
            direct::input_gradient(sizes, group, &weight[group * filters * taps..], upstream, output);
        }
        return;
    }
    let upstreams = upstream.par_chunks_exact(filters * positions);
    let images = output.par_chunks_exact_mut(sizes.channels * sizes.pixels());
    images.zip(upstreams).enumerate().for_each(|(at, (image, upstream))| {
        let weight = &weight[at % sizes.groups * filters * taps..][..filters * taps];
        let product = |columns: &mut [f32]| {
            multiply([taps, positions, filters], columns, false, (weight, 1, taps), (upstream, positions, 1));
        };
        if sizes.pointwise() {
            return product(image);
        }
        with_scratch(taps * positions, |columns| {
            product(columns);
            scatter(sizes, columns, image);
        });
    });
}

/// Images are summed in this many runs, whatever the number of threads, so that the rounding is
/// always the same.
const RUNS: usize = 8;

pub(super) fn weight_gradient(sizes: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (taps, positions, filters) = (sizes.taps(), sizes.positions(), sizes.filters);
    output.fill(0.0);
    if input.is_empty() || upstream.is_empty() {
        return;
    }
    if depthwise::applies(sizes) {
        return depthwise::weight_gradient(sizes, input, upstream, output);
    }
    if filters >= MANY {
        return weight_gradient_of_many(sizes, input, upstream, output);
    }
    if direct::applies(filters) {
        for group in 0..sizes.groups {
            let output = &mut output[group * filters * taps..][..filters * taps];
            direct::weight_gradient(sizes, group, input, upstream, output);
        }
        return;
    }
    let per_run = sizes.batch.div_ceil(RUNS);
    let (image, upstream_image) = (sizes.channels * sizes.pixels(), filters * positions);
    let partial: Vec<Vec<f32>> = (0..sizes.batch.div_ceil(per_run))
        .into_par_iter()
        .map(|run| {
            let mut sum = vec![0.0; sizes.groups * filters * taps];
            for at in run * per_run * sizes.groups..sizes.batch.min((run + 1) * per_run) * sizes.groups {
                let upstream = &upstream[at * upstream_image..][..upstream_image];
                let sum = &mut sum[at % sizes.groups * filters * taps..][..filters * taps];
                with_columns(sizes, &input[at * image..][..image], |columns| {
                    let (upstream, columns) = ((upstream, positions, 1), (columns, 1, positions));
                    multiply([filters, taps, positions], sum, true, upstream, columns);
                });
            }
            sum
        })
        .collect();
    for sum in partial {
        output.iter_mut().zip(&sum).for_each(|(output, &sum)| *output += sum);
    }
}

/// Filters for which columns are worth gathering: each number is multiplied that often.
const MANY: usize = 128;
/// Floats of columns that are gathered for one product.
const COLUMNS: usize = 1 << 21;

/// The gradient of the weight where there are many filters: one product for as many images as there is room
/// for, since those of a single small image are too short.
fn weight_gradient_of_many(sizes: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (taps, positions, filters) = (sizes.taps(), sizes.positions(), sizes.filters);
    let (image, upstream_image) = (sizes.channels * sizes.pixels(), filters * positions);
    let many = (COLUMNS / (taps * positions)).clamp(1, sizes.batch);
    with_scratch(many * positions * (taps + filters), |scratch| {
        for (group, output) in output.chunks_exact_mut(filters * taps).enumerate() {
            for first in (0..sizes.batch).step_by(many) {
                let images = many.min(sizes.batch - first);
                let length = images * positions;
                let (columns, rows) = scratch.split_at_mut(many * positions * taps);
                let of = |at: usize| (first + at) * sizes.groups + group;
                let columns = &mut columns[..taps * length];
                columns.par_chunks_exact_mut(taps / sizes.channels * length).enumerate().for_each(
                    |(channel, columns)| {
                        for (tap, column) in self::taps(sizes).zip(columns.chunks_exact_mut(length)) {
                            for (at, column) in column.chunks_exact_mut(positions).enumerate() {
                                let plane = of(at) * image + channel * sizes.pixels();
                                see(sizes, tap, &input[plane..][..sizes.pixels()], column);
                            }
                        }
                    },
                );
                let rows = &mut rows[..filters * length];
                rows.par_chunks_exact_mut(length).with_min_len(16).enumerate().for_each(|(filter, row)| {
                    for (at, row) in row.chunks_exact_mut(positions).enumerate() {
                        let from = of(at) * upstream_image + filter * positions;
                        row.copy_from_slice(&upstream[from..][..positions]);
                    }
                });
                // SAFETY: dense matrices of these sizes, cut to them just now.
                unsafe {
                    let result = (output.as_mut_ptr(), taps as isize, 1);
                    let operands = [
                        Matrix::new(rows.as_ptr(), length as isize, 1),
                        Matrix::new(columns.as_ptr(), 1, length as isize),
                    ];
                    let sizes = [filters, taps, length];
                    gemm::multiply(sizes, result, true, operands, 1.0, Parallelism::Rayon(0));
                }
            }
        }
    });
}
