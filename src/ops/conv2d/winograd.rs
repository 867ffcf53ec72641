//! Winograd's convolution F(2x2, 3x3) on the CPU: 16 multiplications for a 2 x 2 tile of the output of
//! a 3 x 3 kernel instead of 36 (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks").
//!
//! Each 4 x 4 tile of the input and the kernel are transformed to 16 points; at every point what is
//! left is a matrix product over channels; its 16 results are transformed to the 2 x 2 outputs. The
//! input gradient is the convolution of the output's gradient with the kernel turned around.
//!
//! Transforms work on `LANES` channels at a time, which lie next to each other in all buffers here
//! but in those of the tensors. F(4x4, 3x3) needs fewer multiplications still, and the weight gradient
//! has a form of its own, but their rounding moved training runs with Adam away from float64.

mod rows;
mod tiles;
mod transpose;

use super::Sizes;
use super::cpu::{multiply, with_scratch};
use crate::gemm::Parallelism;
use pulp::Arch;
use rayon::prelude::*;
use tiles::{Back, Forth, Kernels, Planes, Shared, TransformWeight, apart};

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
                arch.dispatch(Forth { planes: &from, first, rows, tensor: input, transformed: tiles });
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
