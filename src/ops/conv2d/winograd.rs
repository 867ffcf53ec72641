//! Winograd's convolution F(2x2, 3x3) on the CPU: 16 multiplications for a 2 x 2 tile of the output of
//! a 3 x 3 kernel instead of 36 (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks").
//!
//! Each 4 x 4 tile of the input and the kernel are transformed to 16 points; at every point what is
//! left is a matrix product over channels; its 16 results are transformed to the 2 x 2 outputs. The
//! input gradient is the convolution of the output's gradient with the kernel turned around. The
//! weight gradient is the transpose of the same: both tensors' tiles are transformed, the products are
//! over tiles, and their sums are transformed to 3 x 3 taps.
//!
//! Transforms work on `LANES` channels at a time, which lie next to each other in all buffers here
//! but in those of the tensors. F(4x4, 3x3) needs fewer multiplications still, but its rounding moved
//! training runs with Adam away from float64.

mod rows;
mod tiles;

use super::Sizes;
use super::cpu::multiply;
use crate::gemm::Parallelism;
use crate::op::Finish;
use crate::ops::scratch::with_scratch;
use pulp::Arch;
use rayon::prelude::*;
use rows::{Input, Upstream};
use std::marker::PhantomData;
use tiles::{Back, Forth, Kernels, Planes, Shared, TransformWeight, WeightBack, apart};

const LANES: usize = 16;
/// Outputs along a side of a tile.
const SIDE: usize = 2;
/// Inputs along a side of a tile.
const TILE: usize = SIDE + 2;
/// Points of a transformed tile.
const POINTS: usize = TILE * TILE;
/// Tiles from which on the weight's transform pays.
const ENOUGH_TILES: usize = 32;
/// Bytes of transformed tiles that one thread works on: about its second-level cache.
const UNIT_BYTES: usize = 1 << 20;

/// Whether the method applies and pays: kernels that step by one, over enough channels to fill the
/// lanes and enough tiles to be worth the transform of the weight.
pub(super) fn applies(sizes: &Sizes) -> bool {
    sizes.kernel == [3, 3]
        && sizes.stride == [1, 1]
        && sizes.dilation == [1, 1]
        && sizes.groups == 1
        && sizes.padding.iter().all(|&padding| padding <= 2)
        && sizes.channels.min(sizes.filters) >= LANES
        && sizes.batch * sizes.output[0].div_ceil(SIDE) * sizes.output[1].div_ceil(SIDE) >= ENOUGH_TILES
}

/// Channels and filters from which on the weight gradient is computed so.
pub(super) const WIDE: usize = 64;
/// Tiles that a product of the weight gradient sums over.
const SUMMED: usize = 64;
/// Bytes of transformed tiles of the weight gradient that there are at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// Parts of all tiles that each have sums of their own, whatever the number of threads.
const RUNS: usize = 8;
/// Floats of the sums up to which they do: half of a second-level cache.
const SUMS: usize = 1 << 18;

/// Whether the weight gradient is computed by the method: with fewer channels the transforms take what the products
/// save.
pub(super) fn applies_to_weight_gradient(sizes: &Sizes) -> bool {
    applies(sizes) && sizes.channels.min(sizes.filters) >= WIDE
}

fn planes(channels: usize, size: [usize; 2], padding: [usize; 2], output: [usize; 2]) -> Planes {
    Planes { channels, size, padding, tiles: output.map(|size| size.div_ceil(SIDE)) }
}

/// Tile rows for each thread at a time: their number depends on shapes only.
fn rows_at_once(rows: usize, from: &Planes, to: &Planes) -> usize {
    let bytes = (from.transformed(1) + to.transformed(1)) * size_of::<f32>();
    (UNIT_BYTES / bytes).clamp(1, rows.div_ceil(8).max(1)).max(32usize.div_ceil(from.tiles[1]).min(rows))
}

fn correlate(
    batch: usize,
    [from, to]: [Planes; 2],
    input: &[f32],
    kernels: Kernels,
    output: &mut [f32],
    finish: Finish,
) {
    let arch = Arch::new();
    let (inputs, outputs) = (from.padded(), to.padded());
    let all_rows = batch * from.tiles[0];
    let at_once = rows_at_once(all_rows, &from, &to);
    let output = Shared::new(output);
    let point = apart(inputs * outputs);
    with_scratch(POINTS * point, |weight| {
        let transformed = Shared::new(weight);
        (0..inputs).into_par_iter().with_min_len(8).for_each(|input| {
            if input < from.channels {
                let transformed = &transformed;
                arch.dispatch(TransformWeight { kernels, input, outputs: to.channels, point, transformed });
            } else {
                for at in 0..POINTS {
                    // SAFETY: each input channel is worked on once.
                    unsafe { transformed.slice(at * point + input * outputs, outputs) }.fill(0.0);
                }
            }
        });
        let weight = &*weight;
        (0..all_rows).into_par_iter().step_by(at_once).for_each(|first| {
            let rows = at_once.min(all_rows - first);
            with_scratch(from.transformed(rows) + to.transformed(rows), |scratch| {
                let (tiles, products) = scratch.split_at_mut(from.transformed(rows));
                arch.dispatch(Forth {
                    transform: PhantomData::<Input>,
                    planes: &from,
                    first,
                    rows,
                    tensor: input,
                    transformed: tiles,
                });
                let sizes = [rows * from.tiles[1], outputs, inputs];
                for at in 0..POINTS {
                    let (tiles, weight) = (&tiles[at * from.point(rows)..], &weight[at * point..]);
                    let products = &mut products[at * to.point(rows)..];
                    multiply(
                        sizes,
                        (products, outputs),
                        false,
                        (tiles, inputs, 1),
                        (weight, outputs, 1),
                        Parallelism::None,
                    );
                }
                arch.dispatch(Back { planes: &to, first, rows, transformed: products, tensor: &output });
                to.lines(first, rows, |place, length| {
                    // SAFETY: the lines of these tile rows, which no other thread works on.
                    finish.run(place, unsafe { output.slice(place, length) });
                });
            });
        });
    });
}

pub(super) fn forward(s: &Sizes, input: &[f32], weight: &[f32], output: &mut [f32], finish: Finish) {
    let from = planes(s.channels, s.image, s.padding, s.output);
    let to = planes(s.filters, s.output, [0, 0], s.output);
    let kernels = Kernels { weight, channels: s.channels, turned: false };
    correlate(s.batch, [from, to], input, kernels, output, finish);
}

pub(super) fn input_gradient(
    s: &Sizes,
    weight: &[f32],
    upstream: &[f32],
    output: &mut [f32],
    finish: Finish,
) {
    let from = planes(s.filters, s.output, s.padding.map(|padding| 2 - padding), s.image);
    let to = planes(s.channels, s.image, [0, 0], s.image);
    let kernels = Kernels { weight, channels: s.channels, turned: true };
    correlate(s.batch, [from, to], upstream, kernels, output, finish);
}

/// The two tensors whose tiles are multiplied for the weight gradient.
struct Pair<'a> {
    from: Planes,
    to: Planes,
    input: &'a [f32],
    upstream: &'a [f32],
}

impl Pair<'_> {
    /// Floats of the transforms of a number of tile rows.
    fn transformed(&self, rows: usize) -> usize {
        self.from.transformed(rows) + self.to.transformed(rows)
    }

    /// Transforms `rows` tile rows from `first` on.
    fn transform(&self, arch: Arch, first: usize, rows: usize, tiles: &mut [f32]) {
        let (tiles, gradients) = tiles[..self.transformed(rows)].split_at_mut(self.from.transformed(rows));
        let (planes, tensor, transform) = (&self.from, self.input, PhantomData::<Input>);
        arch.dispatch(Forth { transform, planes, first, rows, tensor, transformed: tiles });
        let (planes, tensor, transform) = (&self.to, self.upstream, PhantomData::<Upstream>);
        arch.dispatch(Forth { transform, planes, first, rows, tensor, transformed: gradients });
    }

    /// Adds the products over the tiles of `rows` transformed rows at one point.
    fn add(&self, at: usize, rows: usize, tiles: &[f32], sums: &mut [f32]) {
        let (inputs, outputs) = (self.from.padded(), self.to.padded());
        let (tiles, gradients) = tiles.split_at(self.from.transformed(rows));
        multiply(
            [inputs, outputs, rows * self.from.tiles[1]],
            (sums, outputs),
            true,
            (&tiles[at * self.from.point(rows)..], 1, inputs),
            (&gradients[at * self.to.point(rows)..], outputs, 1),
            Parallelism::None,
        );
    }
}

pub(super) fn weight_gradient(s: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let arch = Arch::new();
    let from = planes(s.channels, s.image, s.padding, s.output);
    let to = planes(s.filters, s.output, [0, 0], s.output);
    let pair = Pair { from, to, input, upstream };
    let all_rows = s.batch * from.tiles[0];
    let at_once = SUMMED.div_ceil(from.tiles[1]).min(all_rows);
    let unit = pair.transformed(at_once);
    let point = apart(from.padded() * to.padded());
    let length = POINTS * point;
    // Each part by one thread, which has tiles and sums in its cache; or tiles by all threads, and then points.
    let by_parts = length <= SUMS;
    let share = if by_parts { all_rows.div_ceil(RUNS).next_multiple_of(at_once) } else { all_rows };
    with_scratch(all_rows.div_ceil(share) * length, |sums| {
        sums.fill(0.0);
        if by_parts {
            let parts = (0..all_rows).into_par_iter().step_by(share).zip(sums.par_chunks_exact_mut(length));
            parts.for_each(|(start, sums)| {
                with_scratch(unit, |tiles| {
                    let end = all_rows.min(start + share);
                    for first in (start..end).step_by(at_once) {
                        let rows = at_once.min(end - first);
                        pair.transform(arch, first, rows, tiles);
                        for (at, sums) in sums.chunks_exact_mut(point).enumerate() {
                            pair.add(at, rows, tiles, sums);
                        }
                    }
                });
            });
        } else {
            let units = (CHUNK_BYTES / (unit * size_of::<f32>())).clamp(1, all_rows.div_ceil(at_once));
            with_scratch(units * unit, |tiles| {
                for start in (0..all_rows).step_by(at_once * units) {
                    let of_unit = |at: usize| {
                        let first = start + at * at_once;
                        (first, at_once.min(all_rows - first))
                    };
                    let tiles = &mut tiles[..(all_rows - start).div_ceil(at_once).min(units) * unit];
                    tiles.par_chunks_exact_mut(unit).enumerate().for_each(|(at, tiles)| {
                        let (first, rows) = of_unit(at);
                        pair.transform(arch, first, rows, tiles);
                    });
                    sums.par_chunks_exact_mut(point).enumerate().for_each(|(at, sums)| {
                        for (unit, tiles) in tiles.chunks_exact(unit).enumerate() {
                            pair.add(at, of_unit(unit).1, tiles, sums);
                        }
                    });
                }
            });
        }
        let (sums, others) = sums.split_at_mut(length);
        for part in others.chunks_exact(length) {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let (sums, channels) = (&*sums, [s.channels, s.filters]);
        output.par_chunks_mut(LANES * s.channels * 9).enumerate().for_each(|(block, gradient)| {
            arch.dispatch(WeightBack { sums, channels, first: block * LANES, gradient });
        });
    });
}
