//! Convolution as products of matrices: `columns[tap][position]` is what each tap of a filter sees from each
//! position.

use super::Sizes;
use super::cpu::multiply;
use crate::gemm::Parallelism;
use crate::op::Finish;
use crate::ops::scratch::with_scratch;
use rayon::prelude::*;
use std::ops::Range;

/// Floats of columns that are gathered for a product of many images.
const COLUMNS: usize = 1 << 20;
/// Floats of columns that are gathered for a product of one image: a part of a thread's second-level cache.
const STRIP: usize = 1 << 17;
/// The same where positions are what is summed over: a longer sum is worth more than the nearest cache.
const LONG_STRIP: usize = 1 << 19;
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
#[inline(always)]
pub(super) fn copy_every(stride: usize, from: &[f32], to: &mut [f32]) {
    match stride {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => {
            // So that it becomes vectors.
            let (pairs, last) = from.as_chunks::<2>();
            let count = pairs.len().min(to.len());
            let (to, rest) = to.split_at_mut(count);
            to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
            rest.iter_mut().zip(last).for_each(|(to, &x)| *to = x);
        }
        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, &x)| *to = x),
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
    fn gather(&self, input: &[f32], columns: &mut [f32], threads: Parallelism) {
        let (sizes, length) = (self.sizes, self.length());
        let each = columns.par_chunks_exact_mut(sizes.taps() / sizes.channels * length);
        each.with_min_len(share(threads)).enumerate().for_each(|(channel, columns)| {
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
    fn columns<'c>(
        &self,
        input: &'c [f32],
        memory: &'c mut [f32],
        threads: Parallelism,
    ) -> (&'c [f32], usize, usize) {
        if self.sizes.pointwise() {
            let first = self.plane(0, self.sizes.channels) * self.sizes.pixels();
            return (&input[first + self.start()..], self.sizes.pixels(), 1);
        }
        self.gather(input, memory, threads);
        (memory, self.length(), 1)
    }

    /// Goes on with its results, which are complete, in the planes of its one image.
    fn finish(&self, planes: &mut [f32], finish: Finish, threads: Parallelism) {
        let (length, positions) = (self.length(), self.sizes.positions());
        let first = self.plane(0, self.sizes.filters) * positions;
        if length < positions {
            for (filter, plane) in planes.chunks_exact_mut(positions).enumerate() {
                let start = self.start();
                finish.run(first + filter * positions + start, &mut plane[start..start + length]);
            }
        } else {
            go_on(finish, first, planes, threads);
        }
    }

    /// Adds columns of its one image to the pixels that they see.
    fn scatter(&self, columns: &[f32], image: &mut [f32], threads: Parallelism) {
        let (sizes, length) = (self.sizes, self.length());
        let columns = columns.par_chunks_exact(sizes.taps() / sizes.channels * length);
        let planes = image.par_chunks_exact_mut(sizes.pixels()).with_min_len(share(threads));
        planes.zip(columns).for_each(|(plane, columns)| {
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

/// Planes that a thread takes at least: all where each has other work, since one that waits takes up more of
/// it, and more memory.
fn share(threads: Parallelism) -> usize {
    if matches!(threads, Parallelism::None) { usize::MAX } else { 1 }
}

/// Goes on with what is complete, on the threads that computed it.
fn go_on(finish: Finish, first: usize, elements: &mut [f32], threads: Parallelism) {
    match threads {
        Parallelism::None => finish.run(first, elements),
        Parallelism::Rayon(_) => finish.run_shared(first, elements),
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
fn strips(sizes: &Sizes, at: usize, floats: usize, mut each: impl FnMut(&Part, &mut [f32])) {
    let (image, group) = (at / sizes.groups, at % sizes.groups);
    // Pixels are columns themselves.
    let taps = if sizes.pointwise() { 0 } else { sizes.taps() };
    let most = (floats / taps.max(1)).max(LENGTH).min(sizes.positions());
    with_scratch(most * taps, |columns| {
        for area in areas(sizes, most) {
            let part = Part { sizes, group, images: image..image + 1, area };
            each(&part, &mut columns[..part.length() * taps]);
        }
    });
}

pub(super) fn forward(sizes: &Sizes, input: &[f32], weight: &[f32], output: &mut [f32], finish: Finish) {
    let (taps, positions, filters) = (sizes.taps(), sizes.positions(), sizes.filters);
    images(sizes, output, filters * positions, |at, output, threads| {
        strips(sizes, at, STRIP, |part, columns| {
            let columns = part.columns(input, columns, threads);
            let to = (&mut output[part.start()..], positions);
            let weight = (part.weight(weight), taps, 1);
            multiply([filters, part.length(), taps], to, false, weight, columns, threads);
            part.finish(output, finish, threads);
        });
    });
}

pub(super) fn input_gradient(
    sizes: &Sizes,
    weight: &[f32],
    upstream: &[f32],
    output: &mut [f32],
    finish: Finish,
) {
    let (taps, positions, filters) = (sizes.taps(), sizes.positions(), sizes.filters);
    let size = sizes.channels * sizes.pixels();
    images(sizes, output, size, |at, image, threads| {
        if !sizes.pointwise() {
            image.fill(0.0);
        }
        strips(sizes, at, STRIP, |part, columns| {
            let upstream = (&upstream[part.position(0)..], positions, 1);
            let (weight, shape) = ((part.weight(weight), 1, taps), [taps, part.length(), filters]);
            if sizes.pointwise() {
                let image = (&mut image[part.start()..], positions);
                return multiply(shape, image, false, weight, upstream, threads);
            }
            multiply(shape, (columns, part.length()), false, weight, upstream, threads);
            part.scatter(columns, image, threads);
        });
        go_on(finish, at * size, image, threads);
    });
}

/// Images are summed in this many runs, whatever the number of threads, so that the rounding is always
/// the same.
const RUNS: usize = 8;
/// Filters up to which a product is best with the filters next to each other: the columns, of which there are
/// more, then need not be packed.
const FILTERS: usize = 256;
/// Floats of a weight of which each run can have a sum of its own.
const SUMS: usize = 1 << 19;

pub(super) fn weight_gradient(sizes: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (taps, positions, filters, groups) = (sizes.taps(), sizes.positions(), sizes.filters, sizes.groups);
    if sizes.batch < RUNS || groups * filters * taps > SUMS {
        return weight_gradient_together(sizes, input, upstream, output);
    }
    let per_run = sizes.batch.div_ceil(RUNS);
    let partial: Vec<Vec<f32>> = (0..sizes.batch.div_ceil(per_run))
        .into_par_iter()
        .map(|run| {
            let mut sums = vec![0.0; groups * taps * filters];
            for at in run * per_run * groups..sizes.batch.min((run + 1) * per_run) * groups {
                strips(sizes, at, LONG_STRIP, |part, columns| {
                    let columns = part.columns(input, columns, Parallelism::None);
                    let upstream = (&upstream[part.position(0)..], 1, positions);
                    let sums = (&mut sums[part.group * taps * filters..][..taps * filters], filters);
                    multiply(
                        [taps, filters, part.length()],
                        sums,
                        true,
                        columns,
                        upstream,
                        Parallelism::None,
                    );
                });
            }
            sums
        })
        .collect();
    output.fill(0.0);
    for (group, output) in output.chunks_exact_mut(filters * taps).enumerate() {
        for sums in &partial {
            add_turned(&sums[group * taps * filters..][..taps * filters], filters, output);
        }
    }
}

/// The same by products that all threads share, of as many images as there is room for.
fn weight_gradient_together(sizes: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (taps, filters, positions) = (sizes.taps(), sizes.filters, sizes.positions());
    let most = (COLUMNS / taps).max(LENGTH);
    let many = (most / positions).clamp(1, sizes.batch);
    let many = sizes.batch.div_ceil(sizes.batch.div_ceil(many));
    let beside = filters <= FILTERS;
    output.fill(0.0);
    let sums = if beside { taps * filters } else { 0 };
    with_scratch(sums + many * most.min(positions) * (taps + filters), |scratch| {
        let (sums, scratch) = scratch.split_at_mut(sums);
        for (group, output) in output.chunks_exact_mut(filters * taps).enumerate() {
            sums.fill(0.0);
            for first in (0..sizes.batch).step_by(many) {
                for area in areas(sizes, most) {
                    let part = Part { sizes, group, images: first..sizes.batch.min(first + many), area };
                    let length = part.length();
                    let (columns, rows) = scratch[..length * (taps + filters)].split_at_mut(length * taps);
                    part.gather(input, columns, Parallelism::Rayon(0));
                    part.upstream(upstream, rows);
                    if beside {
                        let (columns, rows) = ((&*columns, length, 1), (&*rows, 1, length));
                        let sums = (&mut *sums, filters);
                        multiply([taps, filters, length], sums, true, columns, rows, Parallelism::Rayon(0));
                    } else {
                        let (rows, columns) = ((&*rows, length, 1), (&*columns, 1, length));
                        let output = (&mut *output, taps);
                        multiply([filters, taps, length], output, true, rows, columns, Parallelism::Rayon(0));
                    }
                }
            }
            if beside {
                add_turned(sums, filters, output);
            }
        }
    });
}

/// Adds `[taps, filters]` to an output of the other order.
fn add_turned(sums: &[f32], filters: usize, output: &mut [f32]) {
    let taps = sums.len() / filters;
    output.par_chunks_exact_mut(taps).with_min_len(8).enumerate().for_each(|(filter, output)| {
        output.iter_mut().zip(sums[filter..].iter().step_by(filters)).for_each(|(to, sum)| *to += sum);
    });
}
