//! Convolution as products of matrices: `columns[tap][position]` is what each tap of a filter sees from each
//! position.

use super::Sizes;
use super::cpu::{multiply, with_scratch};
use crate::gemm::Parallelism;
use rayon::prelude::*;
use std::ops::Range;

/// Floats of columns that are gathered for a product of many images.
const COLUMNS: usize = 1 << 21;
/// Floats of columns that are gathered for a product of one image: a part of a thread's second-level cache.
const STRIP: usize = 1 << 17;
/// Positions that a product of one image has at least.
const LENGTH: usize = 256;

/// Calls `each` with the places in an area of an output plane and in an image plane, and the length, of
/// every run of an output row for which the tap lies inside the image.
fn runs(sizes: &Sizes, area: &Area, tap: [usize; 2], mut each: impl FnMut(usize, usize, usize)) {
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
    let from = x_first.max(area[1].start);
    let Some(count) = x_end.min(area[1].end).checked_sub(from).filter(|&count| count > 0) else { return };
    for oy in y_first.max(area[0].start)..y_end.min(area[0].end) {
        each(
            (oy - area[0].start) * area[1].len() + from - area[1].start,
            (y + (oy - y_first) * sizes.stride[0]) * sizes.image[1] + x + (from - x_first) * sizes.stride[1],
            count,
        );
    }
}

/// The taps of a kernel's plane in order.
pub(super) fn taps(&Sizes { kernel: [height, width], .. }: &Sizes) -> impl Iterator<Item = [usize; 2]> {
    (0..height).flat_map(move |y| (0..width).map(move |x| [y, x]))
}

/// Fills `to` with elements that are `stride` apart in `from`.
pub(super) fn copy_every(stride: usize, from: &[f32], to: &mut [f32]) {
    if stride == 1 {
        to.copy_from_slice(&from[..to.len()]);
    } else {
        to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, &x)| *to = x);
    }
}

/// The places of an output plane that are worked on: several whole lines, or a part of one.
type Area = [Range<usize>; 2];

/// Areas of so many positions, or less, that cover a plane.
fn areas(sizes: &Sizes, positions: usize) -> impl Iterator<Item = Area> + Clone {
    let [height, width] = sizes.output;
    let (lines, across) = ((positions / width).clamp(1, height), positions.clamp(1, width));
    let part = |first: usize, step: usize, end: usize| first..end.min(first + step);
    (0..height).step_by(lines).flat_map(move |y| {
        (0..width).step_by(across).map(move |x| [part(y, lines, height), part(x, across, width)])
    })
}

/// One group of some images, and an area of their output planes.
struct Part<'a> {
    sizes: &'a Sizes,
    group: usize,
    images: Range<usize>,
    area: Area,
}

impl Part<'_> {
    /// Positions of an image.
    fn positions(&self) -> usize {
        self.area[0].len() * self.area[1].len()
    }

    /// Positions of all the images.
    fn length(&self) -> usize {
        self.images.len() * self.positions()
    }

    /// Where in an output plane the area starts.
    fn start(&self) -> usize {
        self.area[0].start * self.sizes.output[1] + self.area[1].start
    }

    /// Where in a tensor of `planes` planes a group the group's first one of an image is.
    fn plane(&self, image: usize, planes: usize) -> usize {
        ((self.images.start + image) * self.sizes.groups + self.group) * planes
    }

    /// Where in an output tensor the group's first positions of an image are.
    fn position(&self, image: usize) -> usize {
        self.plane(image, self.sizes.filters) * self.sizes.positions() + self.start()
    }

    /// The filters of its group.
    fn weight<'w>(&self, weight: &'w [f32]) -> &'w [f32] {
        let size = self.sizes.filters * self.sizes.taps();
        &weight[self.group * size..][..size]
    }

    /// What each tap sees of the input from each position.
    fn gather(&self, input: &[f32], columns: &mut [f32]) {
        let (sizes, length) = (self.sizes, self.length());
        let each = columns.par_chunks_exact_mut(sizes.taps() / sizes.channels * length);
        each.enumerate().for_each(|(channel, columns)| {
            for (tap, column) in taps(sizes).zip(columns.chunks_exact_mut(length)) {
                column.fill(0.0);
                for (image, column) in column.chunks_exact_mut(self.positions()).enumerate() {
                    let plane = &input[(self.plane(image, sizes.channels) + channel) * sizes.pixels()..];
                    runs(sizes, &self.area, tap, |to, from, count| {
                        copy_every(sizes.stride[1], &plane[from..], &mut column[to..to + count]);
                    });
                }
            }
        });
    }

    /// The columns of its one image, with the strides of their rows and columns; gathered into `memory` unless
    /// they are the pixels themselves.
    fn columns<'c>(&self, input: &'c [f32], memory: &'c mut [f32]) -> (&'c [f32], usize, usize) {
        if self.sizes.pointwise() {
            let first = self.plane(0, self.sizes.channels) * self.sizes.pixels();
            return (&input[first + self.start()..], self.sizes.pixels(), 1);
        }
        self.gather(input, memory);
        (memory, self.length(), 1)
    }

    /// Adds columns of its one image to the pixels that they see.
    fn scatter(&self, columns: &[f32], image: &mut [f32]) {
        let (sizes, length) = (self.sizes, self.length());
        let columns = columns.par_chunks_exact(sizes.taps() / sizes.channels * length);
        image.par_chunks_exact_mut(sizes.pixels()).zip(columns).for_each(|(plane, columns)| {
            for (tap, column) in taps(sizes).zip(columns.chunks_exact(length)) {
                runs(sizes, &self.area, tap, |from, to, count| {
                    let pixels = plane[to..].iter_mut().step_by(sizes.stride[1]);
                    pixels.zip(&column[from..from + count]).for_each(|(pixel, &from)| *pixel += from);
                });
            }
        });
    }

    /// The planes `[filter, image, position]` of the upstream gradient.
    fn upstream(&self, upstream: &[f32], rows: &mut [f32]) {
        rows.par_chunks_exact_mut(self.length()).with_min_len(16).enumerate().for_each(|(filter, row)| {
            for (image, row) in row.chunks_exact_mut(self.positions()).enumerate() {
                let from = self.position(image) + filter * self.sizes.positions();
                row.copy_from_slice(&upstream[from..][..row.len()]);
            }
        });
    }
}

/// Images (with their groups) from which on each has a thread of its own; fewer are done one after the other,
/// by all threads.
const APART: usize = 8;

/// Calls `each` with every image of every group, its part of `output` and who is to multiply.
fn images(
    sizes: &Sizes,
    output: &mut [f32],
    size: usize,
    each: impl Fn(usize, &mut [f32], Parallelism) + Sync,
) {
    if sizes.batch * sizes.groups < APART {
        let outputs = output.chunks_exact_mut(size).enumerate();
        outputs.for_each(|(at, output)| each(at, output, Parallelism::Rayon(0)));
    } else {
        let outputs = output.par_chunks_exact_mut(size).enumerate();
        outputs.for_each(|(at, output)| each(at, output, Parallelism::None));
    }
}

/// Calls `each` with every part of image `at` (counted with its groups) and memory for its columns.
fn strips(sizes: &Sizes, at: usize, mut each: impl FnMut(&Part, &mut [f32])) {
    let (image, group) = (at / sizes.groups, at % sizes.groups);
    // Pixels are columns themselves.
    let taps = if sizes.pointwise() { 0 } else { sizes.taps() };
    let most = (STRIP / taps.max(1)).max(LENGTH).min(sizes.positions());
    with_scratch(most * taps, |columns| {
        for area in areas(sizes, most) {
            let part = Part { sizes, group, images: image..image + 1, area };
            each(&part, &mut columns[..part.length() * taps]);
        }
    });
}

pub(super) fn forward(sizes: &Sizes, input: &[f32], weight: &[f32], output: &mut [f32]) {
    let (taps, positions, filters) = (sizes.taps(), sizes.positions(), sizes.filters);
    images(sizes, output, filters * positions, |at, output, threads| {
        strips(sizes, at, |part, columns| {
            let columns = part.columns(input, columns);
            let output = (&mut output[part.start()..], positions);
            let weight = (part.weight(weight), taps, 1);
            multiply([filters, part.length(), taps], output, false, weight, columns, threads);
        });
    });
}

pub(super) fn input_gradient(sizes: &Sizes, weight: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (taps, positions, filters) = (sizes.taps(), sizes.positions(), sizes.filters);
    images(sizes, output, sizes.channels * sizes.pixels(), |at, image, threads| {
        if !sizes.pointwise() {
            image.fill(0.0);
        }
        strips(sizes, at, |part, columns| {
            let upstream = (&upstream[part.position(0)..], positions, 1);
            let (weight, shape) = ((part.weight(weight), 1, taps), [taps, part.length(), filters]);
            if sizes.pointwise() {
                let image = (&mut image[part.start()..], positions);
                return multiply(shape, image, false, weight, upstream, threads);
            }
            multiply(shape, (columns, part.length()), false, weight, upstream, threads);
            part.scatter(columns, image);
        });
    });
}

/// Images are summed in this many runs, whatever the number of threads, so that the rounding is always
/// the same.
const RUNS: usize = 8;

/// Adds to `output`, which is 0.
pub(super) fn weight_gradient(sizes: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (taps, positions, filters) = (sizes.taps(), sizes.positions(), sizes.filters);
    let per_run = sizes.batch.div_ceil(RUNS);
    let partial: Vec<Vec<f32>> = (0..sizes.batch.div_ceil(per_run))
        .into_par_iter()
        .map(|run| {
            let mut sum = vec![0.0; sizes.groups * filters * taps];
            for at in run * per_run * sizes.groups..sizes.batch.min((run + 1) * per_run) * sizes.groups {
                strips(sizes, at, |part, columns| {
                    let (columns, row, _) = part.columns(input, columns);
                    let (upstream, columns) =
                        ((&upstream[part.position(0)..], positions, 1), (columns, 1, row));
                    let sum = (&mut sum[part.group * filters * taps..][..filters * taps], taps);
                    multiply([filters, taps, part.length()], sum, true, upstream, columns, Parallelism::None);
                });
            }
            sum
        })
        .collect();
    for sum in partial {
        output.iter_mut().zip(&sum).for_each(|(output, &sum)| *output += sum);
    }
}

/// Adds to `output`, which is 0: the gradient of the weight where there are many filters. One product for as
/// many images as there is room for, since those of a single small image are too short.
pub(super) fn weight_gradient_of_many(sizes: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (taps, filters, positions) = (sizes.taps(), sizes.filters, sizes.positions());
    let most = (COLUMNS / taps).max(LENGTH);
    let many = (most / positions).clamp(1, sizes.batch);
    let many = sizes.batch.div_ceil(sizes.batch.div_ceil(many));
    with_scratch(many * most.min(positions) * (taps + filters), |scratch| {
        for (group, output) in output.chunks_exact_mut(filters * taps).enumerate() {
            for first in (0..sizes.batch).step_by(many) {
                for area in areas(sizes, most) {
                    let part = Part { sizes, group, images: first..sizes.batch.min(first + many), area };
                    let length = part.length();
                    let (columns, rows) = scratch[..length * (taps + filters)].split_at_mut(length * taps);
                    part.gather(input, columns);
                    part.upstream(upstream, rows);
                    let (sizes, output) = ([filters, taps, length], (&mut *output, taps));
                    let (rows, columns) = ((&*rows, length, 1), (&*columns, 1, length));
                    multiply(sizes, output, true, rows, columns, Parallelism::Rayon(0));
                }
            }
        }
    });
}
