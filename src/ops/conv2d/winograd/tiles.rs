//! Between tensors and transformed tiles.

use super::rows::{Output, Row, Taps, Weight, tile};
use super::{LANES, POINTS, SIDE, TILE};
use crate::ops::transpose::transpose;
use crate::vectors::copy;
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// The distance of matrices of `length` floats that are written at the same time: not a power of
/// two, where their lines would share the few places of a cache that an address can be at.
pub(super) fn apart(length: usize) -> usize {
    length + LANES
}

/// A tensor `[batch, channels, height, width]` and the tiles laid over it.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    /// Rows and columns of the tensor before its first tile.
    pub(super) padding: [usize; 2],
    /// Tiles in a column and in a row of an image.
    pub(super) tiles: [usize; 2],
}

impl Planes {
    /// Channels with the unused lanes of the last block.
    pub(super) fn padded(&self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    /// Floats from one point to the next in the transforms of a number of tile rows.
    pub(super) fn point(&self, rows: usize) -> usize {
        apart(rows * self.tiles[1] * self.padded())
    }

    /// Floats of the transforms of a number of tile rows.
    pub(super) fn transformed(&self, rows: usize) -> usize {
        POINTS * self.point(rows)
    }

    /// The rows of the tensor that line `line` of tile row `row` (counted through all images) lies
    /// on, for each channel of a block; none outside the image.
    fn line(&self, row: usize, line: usize) -> Option<(usize, usize)> {
        let (image, ty) = (row / self.tiles[0], row % self.tiles[0]);
        let y = (ty * SIDE + line).checked_sub(self.padding[0]).filter(|&y| y < self.size[0])?;
        Some((
            image * self.channels * self.size[0] * self.size[1] + y * self.size[1],
            self.size[0] * self.size[1],
        ))
    }

    /// Calls `each` with the place and the length of every run of elements that `rows` tile rows from `first` on
    /// cover.
    pub(super) fn lines(&self, first: usize, rows: usize, mut each: impl FnMut(usize, usize)) {
        let plane = self.size[0] * self.size[1];
        let mut row = first;
        while row < first + rows {
            let (image, top) = (row / self.tiles[0], row % self.tiles[0]);
            let bottom = self.tiles[0].min(top + first + rows - row);
            let start = image * self.channels * plane;
            let [y, end] = [top, bottom].map(|row| (row * SIDE).min(self.size[0]));
            if end - y == self.size[0] {
                each(start, self.channels * plane);
            } else {
                let line = |channel: usize| start + channel * plane + y * self.size[1];
                (0..self.channels).for_each(|channel| each(line(channel), (end - y) * self.size[1]));
            }
            row += bottom - top;
        }
    }

    /// The tile rows from `first` on, by block of channels.
    fn blocks(&self, first: usize, rows: usize) -> impl Iterator<Item = (usize, usize)> {
        let blocks = self.padded() / LANES;
        (first..first + rows).flat_map(move |row| (0..blocks).map(move |block| (row, block)))
    }
}

/// Transforms the tiles of `rows` tile rows from `first` to `[point, tile, channel]`, tiles of `FROM` x `FROM`.
pub(super) struct Forth<'a, R, const FROM: usize> {
    pub(super) transform: PhantomData<R>,
    pub(super) planes: &'a Planes,
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) tensor: &'a [f32],
    pub(super) transformed: &'a mut [f32],
}

impl<R: Row<FROM, TILE>, const FROM: usize> WithSimd for Forth<'_, R, FROM> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forth { transform: _, planes, first, rows, tensor, transformed } = self;
        let width = (planes.tiles[1] - 1) * SIDE + FROM;
        let (skipped, kept) = (planes.padding[1], planes.size[1].min(width - planes.padding[1]));
        let (padded, point) = (planes.padded(), transformed.len() / POINTS);
        // The lines that a tile row sees, channels innermost; what is not written stays 0.
        let mut band = vec![0.0; FROM * width * LANES];
        for (row, block) in planes.blocks(first, rows) {
            let channels = LANES.min(planes.channels - block * LANES);
            if channels < LANES {
                band.fill(0.0);
            }
            for line in 0..FROM {
                let to = &mut band[line * width * LANES..(line + 1) * width * LANES];
                let Some((place, plane)) = planes.line(row, line) else {
                    to.fill(0.0);
                    continue;
                };
                let to = &mut to[skipped * LANES..];
                let from = &tensor[place + block * LANES * plane..];
                transpose(from, plane, channels, kept, |x, lane, values| {
                    copy::<4>(values, &mut to[x * LANES + lane..]);
                });
            }
            for tx in 0..planes.tiles[1] {
                let place = ((row - first) * planes.tiles[1] + tx) * padded + block * LANES;
                let from = |y: usize, x: usize| (y * width + tx * SIDE + x) * LANES;
                tile::<S, R, FROM, TILE>(simd, &band, from, transformed, |y, x| {
                    (y * TILE + x) * point + place
                });
            }
        }
    }
}

/// Transforms `rows` tile rows from `first` back to the tensor.
pub(super) struct Back<'a> {
    pub(super) planes: &'a Planes,
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) transformed: &'a [f32],
    pub(super) tensor: &'a Shared,
}

impl WithSimd for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Back { planes, first, rows, transformed, tensor } = self;
        let width = planes.tiles[1] * SIDE;
        let (padded, point) = (planes.padded(), transformed.len() / POINTS);
        let mut band = vec![0.0; SIDE * width * LANES];
        for (row, block) in planes.blocks(first, rows) {
            for tx in 0..planes.tiles[1] {
                let place = ((row - first) * planes.tiles[1] + tx) * padded + block * LANES;
                let to = |y: usize, x: usize| (y * width + tx * SIDE + x) * LANES;
                let from = |y: usize, x: usize| (y * TILE + x) * point + place;
                tile::<S, Output, TILE, SIDE>(simd, transformed, from, &mut band, to);
            }
            for line in 0..SIDE {
                let Some((place, plane)) = planes.line(row, line) else { continue };
                let (place, channels) = (place + block * LANES * plane, planes.channels - block * LANES);
                let from = &band[line * width * LANES..];
                transpose(from, LANES, planes.size[1], LANES.min(channels), |lane, x, values| {
                    // SAFETY: a line of a channel belongs to one tile row, and each tile row is
                    // worked on once.
                    let to = unsafe { tensor.slice(place + lane * plane + x, values.len()) };
                    copy::<4>(values, to);
                });
            }
        }
    }
}

/// Memory that several threads write to, each its own lines.
pub(super) struct Shared {
    pub(super) data: *mut f32,
    pub(super) length: usize,
}

// SAFETY: the pointer is only used through `slice`, whose callers keep their ranges apart.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(memory: &mut [f32]) -> Shared {
        Shared { data: memory.as_mut_ptr(), length: memory.len() }
    }

    /// # Safety
    /// The memory must still be borrowed, and no two slices in use at a time may overlap.
    #[expect(clippy::mut_from_ref, reason = "the ranges are disjoint, as the caller vouches")]
    pub(super) unsafe fn slice(&self, start: usize, length: usize) -> &mut [f32] {
        assert!(start + length <= self.length);
        // SAFETY: inside the memory, by the check, and not shared, by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), length) }
    }
}

/// A weight `[filters, channels, 3, 3]` as the direction at hand needs it.
#[derive(Clone, Copy)]
pub(super) struct Kernels<'a> {
    pub(super) weight: &'a [f32],
    pub(super) channels: usize,
    /// From output to input, with the kernels turned around.
    pub(super) turned: bool,
}

impl Kernels<'_> {
    /// Copies the kernels from `input` to the outputs from `first` on to `[tap, output]`.
    fn gather(&self, input: usize, first: usize, count: usize, lanes: &mut [f32]) {
        for lane in 0..count {
            let output = first + lane;
            let place =
                if self.turned { input * self.channels + output } else { output * self.channels + input };
            for (tap, &value) in self.weight[place * 9..][..9].iter().enumerate() {
                let tap = if self.turned { 8 - tap } else { tap };
                lanes[tap * LANES + lane] = value;
            }
        }
    }
}

/// Transforms the kernels of one input channel to `[point, input channel, output channel]`.
pub(super) struct TransformWeight<'a> {
    pub(super) kernels: Kernels<'a>,
    pub(super) input: usize,
    pub(super) outputs: usize,
    /// Floats from one point to the next.
    pub(super) point: usize,
    pub(super) transformed: &'a Shared,
}

impl WithSimd for TransformWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let TransformWeight { kernels, input, outputs, point, transformed } = self;
        let padded = outputs.next_multiple_of(LANES);
        for first in (0..outputs).step_by(LANES) {
            let mut lanes = [0.0; 9 * LANES];
            kernels.gather(input, first, LANES.min(outputs - first), &mut lanes);
            let mut points = [0.0; POINTS * LANES];
            let from = |y: usize, x: usize| (y * 3 + x) * LANES;
            tile::<S, Weight, 3, TILE>(simd, &lanes, from, &mut points, |y, x| (y * TILE + x) * LANES);
            for (at, lanes) in points.chunks_exact(LANES).enumerate() {
                // SAFETY: each input channel is worked on once.
                let to = unsafe { transformed.slice(at * point + input * padded + first, LANES) };
                to.copy_from_slice(lanes);
            }
        }
    }
}

/// Transforms sums `[point, input channel, output channel]` back to the gradient of a weight
/// `[output channel, input channel, 3, 3]`, a block of output channels.
pub(super) struct WeightBack<'a> {
    pub(super) sums: &'a [f32],
    /// Input and output channels.
    pub(super) channels: [usize; 2],
    /// The block's first output channel.
    pub(super) first: usize,
    /// The part of the gradient that is the block's.
    pub(super) gradient: &'a mut [f32],
}

impl WithSimd for WeightBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let WeightBack { sums, channels: [inputs, outputs], first, gradient } = self;
        let (point, padded) = (sums.len() / POINTS, outputs.next_multiple_of(LANES));
        for input in 0..inputs {
            let mut taps = [0.0; 9 * LANES];
            let from = |y: usize, x: usize| (y * TILE + x) * point + input * padded + first;
            tile::<S, Taps, TILE, 3>(simd, sums, from, &mut taps, |y, x| (y * 3 + x) * LANES);
            for (lane, kernels) in gradient.chunks_exact_mut(inputs * 9).enumerate() {
                let kernel = &mut kernels[input * 9..][..9];
                kernel.iter_mut().enumerate().for_each(|(tap, value)| *value = taps[tap * LANES + lane]);
            }
        }
    }
}
