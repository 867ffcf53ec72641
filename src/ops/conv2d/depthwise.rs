//! Depthwise convolution on the CPU, one filter for each channel: no matrices to multiply, but sums of a
//! few shifted planes.
//!
//! A plane is copied with its padding, and taken apart into one plane for each step of the strides, in
//! which neighbours lie as far apart as neighbouring windows. What a tap sees from all windows is then one
//! run of numbers, and a vector of outputs stays in a register while all taps are summed.

use super::Sizes;
use super::columns::{copy_every, taps};
use crate::op::Finish;
use crate::ops::scratch::with_scratch;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Multiply-adds that are worth a thread of their own.
const SHARE: usize = 1 << 15;

/// Whether each group is one channel and one filter, and the padding not most of what would be copied.
pub(super) fn applies(sizes: &Sizes) -> bool {
    let Sizes { channels: 1, filters: 1, image, padding, .. } = sizes else { return false };
    let padded = [0, 1].map(|axis| image[axis].saturating_add(padding[axis].saturating_mul(2)));
    padded[0].saturating_mul(padded[1]) <= 1024 + 4 * (sizes.pixels() + sizes.positions())
}

/// The planes that a padded plane is taken apart into, `[stride, stride, rows, columns]`.
struct Grid {
    rows: usize,
    columns: usize,
    /// For each tap the plane that it sees, and the place there that it sees from the first window.
    taps: Vec<(usize, usize)>,
}

impl Grid {
    fn new(sizes: &Sizes) -> Grid {
        let Sizes { image, padding, stride, dilation, .. } = sizes;
        let [rows, columns] = [0, 1].map(|axis| (image[axis] + 2 * padding[axis]).div_ceil(stride[axis]));
        let place = |tap: [usize; 2]| {
            let [y, x] = [0, 1].map(|axis| tap[axis] * dilation[axis]);
            (y % stride[0] * stride[1] + x % stride[1], y / stride[0] * columns + x / stride[1])
        };
        Grid { rows, columns, taps: taps(sizes).map(place).collect() }
    }

    fn plane(&self) -> usize {
        self.rows * self.columns
    }

    /// All planes.
    fn length(&self, sizes: &Sizes) -> usize {
        sizes.stride[0] * sizes.stride[1] * self.plane()
    }

    /// Where each tap sees the first window's element, in all planes.
    fn offsets(&self) -> Vec<usize> {
        self.taps.iter().map(|&(plane, place)| plane * self.plane() + place).collect()
    }

    /// From the first window's place to the last one's, and one.
    fn run(&self, sizes: &Sizes) -> usize {
        (sizes.output[0] - 1) * self.columns + sizes.output[1]
    }

    /// Calls `each` with the runs that every row of the image is made of: the first place in the planes, the
    /// first in the image, and how many there are, `stride` apart in the image.
    fn pieces(&self, sizes: &Sizes, mut each: impl FnMut(usize, usize, usize)) {
        let Sizes { image, padding, stride, .. } = sizes;
        for y in 0..image[0] {
            let (row, phase) = ((y + padding[0]) / stride[0], (y + padding[0]) % stride[0]);
            for x in 0..stride[1].min(image[1]) {
                let (column, step) = ((x + padding[1]) / stride[1], (x + padding[1]) % stride[1]);
                let plane = phase * stride[1] + step;
                let place = (plane * self.rows + row) * self.columns + column;
                each(place, y * image[1] + x, (image[1] - x).div_ceil(stride[1]));
            }
        }
    }

    /// Takes a plane of the image apart.
    fn split(&self, sizes: &Sizes, image: &[f32], planes: &mut [f32]) {
        planes.fill(0.0);
        self.pieces(sizes, |to, from, count| {
            copy_every(sizes.stride[1], &image[from..], &mut planes[to..to + count]);
        });
    }

    /// Puts a plane of the image together.
    fn join(&self, sizes: &Sizes, planes: &[f32], image: &mut [f32]) {
        let stride = sizes.stride[1];
        self.pieces(sizes, |from, to, count| {
            let from = &planes[from..from + count];
            image[to..].iter_mut().step_by(stride).zip(from).for_each(|(x, &from)| *x = from);
        });
    }
}

/// `out[i] = sum over t of weight[t] * data[offsets[t] + i]`.
struct Shifted<'a> {
    data: &'a [f32],
    offsets: &'a [usize],
    weight: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Shifted<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const VECTORS: usize = 4;
        let Shifted { data, offsets, weight, out } = self;
        let furthest = offsets.iter().copied().max().unwrap_or_default();
        assert!(furthest + out.len() <= data.len() && offsets.len() == weight.len());
        let mut at = 0;
        while at + VECTORS * S::F32_LANES <= out.len() {
            let mut sums = [simd.splat_f32s(0.0); VECTORS];
            for (tap, &weight) in weight.iter().enumerate() {
                let weight = simd.splat_f32s(weight);
                for (vector, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the furthest tap sees the last element of the output inside the data.
                    let seen = unsafe {
                        let place = at + offsets.get_unchecked(tap) + vector * S::F32_LANES;
                        data.as_ptr().add(place).cast::<S::f32s>().read_unaligned()
                    };
                    *sum = simd.mul_add_e_f32s(weight, seen, *sum);
                }
            }
            for sum in sums {
                // SAFETY: there is room for all vectors of the round.
                unsafe { out.as_mut_ptr().add(at).cast::<S::f32s>().write_unaligned(sum) };
                at += S::F32_LANES;
            }
        }
        while at < out.len() {
            let count = S::F32_LANES.min(out.len() - at);
            let mut sum = simd.splat_f32s(0.0);
            for (&offset, &weight) in offsets.iter().zip(weight) {
                let seen = simd.partial_load_f32s(&data[at + offset..][..count]);
                sum = simd.mul_add_e_f32s(simd.splat_f32s(weight), seen, sum);
            }
            simd.partial_store_f32s(&mut out[at..at + count], sum);
            at += count;
        }
    }
}

/// `sums[t] += sum over i of rows[i] * data[offsets[t] + place of i]`, of rows of `width` elements that are
/// `columns` apart in the data.
struct Products<'a> {
    data: &'a [f32],
    offsets: &'a [usize],
    rows: &'a [f32],
    width: usize,
    columns: usize,
    sums: &'a mut [f64],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Products { data, offsets, rows, width, columns, sums } = self;
        for (&offset, total) in offsets.iter().zip(sums) {
            let mut sum = [simd.splat_f32s(0.0); 2];
            for (row, values) in rows.chunks_exact(width).enumerate() {
                let seen = &data[offset + row * columns..][..width];
                let mut at = 0;
                while at + 2 * S::F32_LANES <= width {
                    for (vector, sum) in sum.iter_mut().enumerate() {
                        let place = at + vector * S::F32_LANES;
                        // SAFETY: both slices have `width` elements.
                        let (a, b) = unsafe {
                            let load =
                                |slice: &[f32]| slice.as_ptr().add(place).cast::<S::f32s>().read_unaligned();
                            (load(values), load(seen))
                        };
                        *sum = simd.mul_add_e_f32s(a, b, *sum);
                    }
                    at += 2 * S::F32_LANES;
                }
                while at < width {
                    let count = S::F32_LANES.min(width - at);
                    let load = |slice: &[f32]| simd.partial_load_f32s(&slice[at..at + count]);
                    sum[0] = simd.mul_add_e_f32s(load(values), load(seen), sum[0]);
                    at += count;
                }
            }
            *total += f64::from(simd.reduce_sum_f32s(simd.add_f32s(sum[0], sum[1])));
        }
    }
}

pub(super) fn forward(sizes: &Sizes, input: &[f32], weight: &[f32], output: &mut [f32], finish: Finish) {
    let (grid, taps) = (Grid::new(sizes), sizes.taps());
    let (offsets, planes, arch) = (grid.offsets(), grid.length(sizes), Arch::new());
    let outputs = output.par_chunks_exact_mut(sizes.positions()).with_min_len(share(sizes));
    outputs.zip(input.par_chunks_exact(sizes.pixels())).enumerate().for_each(|(at, (output, image))| {
        let weight = &weight[at % sizes.groups * taps..][..taps];
        with_scratch(planes + grid.run(sizes), |scratch| {
            let (data, out) = scratch.split_at_mut(planes);
            grid.split(sizes, image, data);
            arch.dispatch(Shifted { data, offsets: &offsets, weight, out });
            let rows = out.chunks(grid.columns).zip(output.chunks_exact_mut(sizes.output[1]));
            rows.for_each(|(from, to)| to.copy_from_slice(&from[..to.len()]));
            finish.run(at * sizes.positions(), output);
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
    let (grid, taps, arch) = (Grid::new(sizes), sizes.taps(), Arch::new());
    let (planes, plane) = (grid.length(sizes), grid.plane());
    // Before the first window, so that a tap can look back to where it is.
    let margin = grid.taps.iter().map(|&(_, place)| place).max().unwrap_or_default();
    let images = output.par_chunks_exact_mut(sizes.pixels()).with_min_len(share(sizes));
    images.zip(upstream.par_chunks_exact(sizes.positions())).enumerate().for_each(
        |(at, (image, upstream))| {
            let weight = &weight[at % sizes.groups * taps..][..taps];
            with_scratch(planes + margin + plane, |scratch| {
                let (result, spread) = scratch.split_at_mut(planes);
                spread.fill(0.0);
                let rows = spread[margin..].chunks_mut(grid.columns);
                rows.zip(upstream.chunks_exact(sizes.output[1])).for_each(|(to, row)| {
                    to[..row.len()].copy_from_slice(row);
                });
                for (number, out) in result.chunks_exact_mut(plane).enumerate() {
                    // The taps that see this plane.
                    let seen = grid.taps.iter().zip(weight).filter(|((plane, _), _)| *plane == number);
                    let (offsets, weight): (Vec<usize>, Vec<f32>) =
                        seen.map(|((_, place), &weight)| (margin - place, weight)).unzip();
                    arch.dispatch(Shifted { data: spread, offsets: &offsets, weight: &weight, out });
                }
                grid.join(sizes, result, image);
                finish.run(at * sizes.pixels(), image);
            });
        },
    );
}

pub(super) fn weight_gradient(sizes: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (grid, arch) = (Grid::new(sizes), Arch::new());
    let (offsets, planes) = (grid.offsets(), grid.length(sizes));
    output.par_chunks_exact_mut(sizes.taps()).enumerate().for_each(|(group, output)| {
        let mut sums = vec![0.0; output.len()];
        for image in 0..sizes.batch {
            let at = image * sizes.groups + group;
            let rows = &upstream[at * sizes.positions()..][..sizes.positions()];
            with_scratch(planes, |data| {
                grid.split(sizes, &input[at * sizes.pixels()..][..sizes.pixels()], data);
                let (width, columns) = (sizes.output[1], grid.columns);
                arch.dispatch(Products { data, offsets: &offsets, rows, width, columns, sums: &mut sums });
            });
        }
        output.iter_mut().zip(&sums).for_each(|(output, &sum)| *output = sum as f32);
    });
}

/// Planes that are worth a thread of their own.
fn share(sizes: &Sizes) -> usize {
    SHARE.div_ceil((sizes.positions() * sizes.taps()).max(1))
}
