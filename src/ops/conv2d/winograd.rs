//! Winograd's convolution F(4x4, 3x3) on the CPU: 36 multiplications for a 4 x 4 tile of the output of
//! a 3 x 3 kernel instead of 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks").
//!
//! Each 6 x 6 tile of the input and the kernel are transformed to 36 points; at every point what is
//! left is a matrix product over channels; its 36 results are transformed to the 4 x 4 outputs. The
//! input gradient is the convolution of the output's gradient with the kernel turned around; the
//! weight gradient sums, at every point, the products of both transformed tiles.
//!
//! Transforms work on `LANES` channels at a time, which lie next to each other in all buffers here
//! but in those of the tensors. The price is rounding: at 256 channels 3e-6 of a typical element in
//! the mean and 5e-5 at worst, where a plain sum has 4e-7 and 2e-6; training does not notice.

mod rows;
mod tiles;

use super::Sizes;
use super::cpu::{multiply, with_scratch};
use pulp::Arch;
use rayon::prelude::*;
use rows::{Input, Upstream};
use tiles::{Back, BackToWeight, Kernels, Planes, Shared, TransformWeight, apart, forth};

const LANES: usize = 16;
/// Points of a transformed tile.
const POINTS: usize = 36;
/// Outputs along a side of a tile.
const SIDE: usize = 4;
/// Tiles from which on the weight's transform pays.
const ENOUGH_TILES: usize = 32;
/// Bytes of transformed tiles that one thread works on: about its second-level cache.
const UNIT_BYTES: usize = 1 << 20;
/// Bytes of transformed tiles that wait for their products: about the shared cache.
const CHUNK_BYTES: usize = 16 << 20;

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

fn planes(channels: usize, size: [usize; 2], padding: [usize; 2], output: [usize; 2]) -> Planes {
    Planes { channels, size, padding, tiles: output.map(|size| size.div_ceil(SIDE)) }
}

/// Tile rows for each thread at a time: their number depends on shapes only.
fn rows_at_once(rows: usize, from: &Planes, to: &Planes) -> usize {
    let bytes = (from.transformed(1) + to.transformed(1)) * size_of::<f32>();
    (UNIT_BYTES / bytes).clamp(1, rows.div_ceil(8).max(1)).max(32usize.div_ceil(from.tiles[1]).min(rows))
}

fn correlate(batch: usize, from: Planes, to: Planes, input: &[f32], kernels: Kernels, output: &mut [f32]) {
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
                forth::<Input, 6>(&from, first, rows, input, tiles);
                let sizes = [rows * from.tiles[1], outputs, inputs];
                for at in 0..POINTS {
                    let (tiles, weight) = (&tiles[at * from.point(rows)..], &weight[at * point..]);
                    let products = &mut products[at * to.point(rows)..];
                    multiply(sizes, products, false, (tiles, inputs, 1), (weight, outputs, 1));
                }
                arch.dispatch(Back { planes: &to, first, rows, transformed: products, tensor: &output });
            });
        });
    });
}

pub(super) fn forward(s: &Sizes, input: &[f32], weight: &[f32], output: &mut [f32]) {
    let from = planes(s.channels, s.image, s.padding, s.output);
    let to = planes(s.filters, s.output, [0, 0], s.output);
    let kernels = Kernels { weight, channels: s.channels, turned: false };
    correlate(s.batch, from, to, input, kernels, output);
}

pub(super) fn input_gradient(s: &Sizes, weight: &[f32], upstream: &[f32], output: &mut [f32]) {
    let from = planes(s.filters, s.output, s.padding.map(|padding| 2 - padding), s.image);
    let to = planes(s.channels, s.image, [0, 0], s.image);
    let kernels = Kernels { weight, channels: s.channels, turned: true };
    correlate(s.batch, from, to, upstream, kernels, output);
}

pub(super) fn weight_gradient(s: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let arch = Arch::new();
    let from = planes(s.channels, s.image, s.padding, s.output);
    let to = planes(s.filters, s.output, [0, 0], s.output);
    let (all_rows, [inputs, outputs]) = (s.batch * from.tiles[0], [from.padded(), to.padded()]);
    let at_once = rows_at_once(all_rows, &from, &to);
    let (before, after) = (from.transformed(at_once), to.transformed(at_once));
    let units = all_rows.div_ceil(at_once);
    let per_chunk = (CHUNK_BYTES / (size_of::<f32>() * (before + after))).clamp(1, units);
    let point = inputs * outputs;
    with_scratch(POINTS * point + per_chunk * (before + after), |scratch| {
        let (sums, tiles) = scratch.split_at_mut(POINTS * point);
        for chunk in (0..units).step_by(per_chunk) {
            let count = per_chunk.min(units - chunk);
            let rows = |unit: usize| at_once.min(all_rows - (chunk + unit) * at_once);
            tiles.par_chunks_mut(before + after).take(count).enumerate().for_each(|(unit, tiles)| {
                let (first, rows) = ((chunk + unit) * at_once, rows(unit));
                let (x, y) = tiles.split_at_mut(before);
                let (x, y) = (&mut x[..from.transformed(rows)], &mut y[..to.transformed(rows)]);
                forth::<Input, 6>(&from, first, rows, input, x);
                forth::<Upstream, 4>(&to, first, rows, upstream, y);
            });
            // A thread has a point to itself and takes the units in order: the sums do not depend
            // on the number of threads.
            sums.par_chunks_mut(point).enumerate().for_each(|(at, sums)| {
                for (unit, tiles) in tiles.chunks_exact(before + after).take(count).enumerate() {
                    let rows = rows(unit);
                    let (x, y) = (&tiles[at * from.point(rows)..], &tiles[before + at * to.point(rows)..]);
                    let sizes = [inputs, outputs, rows * from.tiles[1]];
                    multiply(sizes, sums, chunk + unit > 0, (x, 1, inputs), (y, outputs, 1));
                }
            });
        }
        output.par_chunks_mut(LANES * s.channels * 9).enumerate().for_each(|(block, gradient)| {
            let (channels, first) = (s.channels, block * LANES);
            arch.dispatch(BackToWeight { channels, sums, filters: outputs, first, gradient });
        });
    });
}
