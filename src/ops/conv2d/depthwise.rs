//! Depthwise convolution on the CPU, one filter for each channel: no matrices to multiply, but sums of a
//! few shifted planes.
//!
//! A plane is copied with its padding, and taken apart into one plane for each step of the strides, in
//! which neighbours lie as far apart as neighbouring windows. What a tap sees from a row of windows is then one
//! run of numbers, and vectors of outputs stay in registers while all taps are summed.

use super::Sizes;
use super::columns::{copy_every, taps};
use crate::op::Finish;
use crate::ops::scratch::with_scratch;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use smallvec::SmallVec;

/// Multiply-adds that are worth a thread of their own.
const SHARE: usize = 1 << 15;
/// Taps of most filters.
const TAPS: usize = 25;

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

    /// Where every `stride`-th element of row `y` of the image, from `x` on, lies in the planes.
    fn place(&self, sizes: &Sizes, [y, x]: [usize; 2]) -> usize {
        let [y, x] = [y + sizes.padding[0], x + sizes.padding[1]];
        let plane = y % sizes.stride[0] * sizes.stride[1] + x % sizes.stride[1];
        (plane * self.rows + y / sizes.stride[0]) * self.columns + x / sizes.stride[1]
    }

    /// Takes a plane of the image apart.
    #[inline(always)]
    fn split<S: Simd>(&self, simd: S, sizes: &Sizes, image: &[f32], planes: &mut [f32]) {
        planes.fill(0.0);
        let stride = sizes.stride[1];
        if sizes.stride == [1; 2] {
            let (first, across) = (self.place(sizes, [0; 2]), sizes.image[1]);
            return copy_rows(simd, across, (image, across), (&mut planes[first..], self.columns));
        }
        for (y, row) in image.chunks_exact(sizes.image[1]).enumerate() {
            for x in 0..stride.min(row.len()) {
                let to = &mut planes[self.place(sizes, [y, x])..];
                copy_every(stride, &row[x..], &mut to[..(row.len() - x).div_ceil(stride)]);
            }
        }
    }

    /// Puts a plane of the image together.
    #[inline(always)]
    fn join(&self, sizes: &Sizes, planes: &[f32], image: &mut [f32]) {
        let stride = sizes.stride[1];
        for (y, row) in image.chunks_exact_mut(sizes.image[1]).enumerate() {
            let from = |x: usize| planes[self.place(sizes, [y, x])..].iter();
            if stride == 2 {
                let halves = from(0).zip(from(1));
                let (pairs, last) = row.as_chunks_mut();
                pairs.iter_mut().zip(halves).for_each(|(pair, (&a, &b))| *pair = [a, b]);
                last.iter_mut().zip(from(0).skip(pairs.len())).for_each(|(x, &from)| *x = from);
            } else {
                for x in 0..stride.min(row.len()) {
                    row[x..].iter_mut().step_by(stride).zip(from(x)).for_each(|(x, &from)| *x = from);
                }
            }
        }
    }
}

/// Stores the first `count` elements of a vector; the others too where there is room. Whole vectors are stored
/// faster than parts of some, and seen by the loads that follow.
#[inline(always)]
fn store<S: Simd>(simd: S, values: S::f32s, count: usize, to: &mut [f32]) {
    match to.get_mut(..S::F32_LANES) {
        // SAFETY: a vector has so many elements.
        Some(to) => unsafe { to.as_mut_ptr().cast::<S::f32s>().write_unaligned(values) },
        None => simd.partial_store_f32s(&mut to[..count], values),
    }
}

/// Copies rows of `width` elements that are so far apart. Zeros may follow a row, until the next one is copied.
#[inline(always)]
fn copy_rows<S: Simd>(
    simd: S,
    width: usize,
    (from, apart): (&[f32], usize),
    (to, to_apart): (&mut [f32], usize),
) {
    for (row, from) in from.chunks(apart).enumerate() {
        let (vectors, rest) = S::as_simd_f32s(&from[..width]);
        let mut place = row * to_apart;
        for &vector in vectors {
            store(simd, vector, S::F32_LANES, &mut to[place..]);
            place += S::F32_LANES;
        }
        if !rest.is_empty() {
            store(simd, simd.partial_load_f32s(rest), rest.len(), &mut to[place..]);
        }
    }
}

/// `out[r * apart + i] = sum over t of weight[t] * data[offsets[t] + r * columns + i]`, of so many rows `r` of `width`
/// elements; what follows a row may be written before the next one is.
struct Shifted<'a> {
    data: &'a [f32],
    offsets: &'a [usize],
    weight: &'a [f32],
    rows: usize,
    width: usize,
    columns: usize,
    out: &'a mut [f32],
    apart: usize,
}

/// Elements past those that [`Shifted`] is asked for that it may see.
const SLACK: usize = 16;

impl WithSimd for Shifted<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Rows of 56, 28, 14 and 7 elements fill sevens of vectors.
        const VECTORS: usize = 7;
        let Shifted { data, offsets, weight, rows, width, columns, out, apart } = self;
        let across = width.div_ceil(S::F32_LANES);
        let furthest = offsets.iter().copied().max().unwrap_or_default();
        let last = (rows - 1) * columns + (across - 1) * S::F32_LANES;
        assert!(furthest + last + S::F32_LANES <= data.len() && offsets.len() == weight.len());
        let (mut row, mut at) = (0, 0);
        for done in (0..rows * across).step_by(VECTORS) {
            let count = VECTORS.min(rows * across - done);
            // The rows and places of the next vectors, the first one's again where there are fewer.
            let mut places = [(row, at); VECTORS];
            for place in &mut places[..count] {
                *place = (row, at);
                at += S::F32_LANES;
                if at >= width {
                    (row, at) = (row + 1, 0);
                }
            }
            let mut sums = [simd.splat_f32s(0.0); VECTORS];
            for (tap, &weight) in weight.iter().enumerate() {
                let weight = simd.splat_f32s(weight);
                for (sum, (row, at)) in sums.iter_mut().zip(places) {
                    // SAFETY: the furthest tap sees the last vector inside the data.
                    let seen = unsafe {
                        let place = offsets.get_unchecked(tap) + row * columns + at;
                        data.as_ptr().add(place).cast::<S::f32s>().read_unaligned()
                    };
                    *sum = simd.mul_add_e_f32s(weight, seen, *sum);
                }
            }
            for (&sum, (row, at)) in sums.iter().zip(places).take(count) {
                store(simd, sum, width - at, &mut out[row * apart + at..]);
            }
        }
    }
}

/// `sums[t] += sum over i of run[i] * data[offsets[t] + i]`.
struct Products<'a> {
    data: &'a [f32],
    offsets: &'a [usize],
    run: &'a [f32],
    sums: &'a mut [f64],
}

impl Products<'_> {
    /// The sums of the first `N` taps.
    #[inline(always)]
    fn first<S: Simd, const N: usize>(&mut self, simd: S) {
        let (Some((offsets, rest)), sums) =
            (self.offsets.split_first_chunk::<N>(), std::mem::take(&mut self.sums))
        else {
            return;
        };
        let (own, others) = sums.split_at_mut(N);
        (self.offsets, self.sums) = (rest, others);
        let seen = offsets.map(|offset| &self.data[offset..][..self.run.len()]);
        let (vectors, last) = S::as_simd_f32s(self.run);
        let mut totals = [simd.splat_f32s(0.0); N];
        for (at, &values) in vectors.iter().enumerate() {
            for (total, seen) in totals.iter_mut().zip(seen) {
                // SAFETY: as many elements are seen as there are in the run.
                let seen = unsafe { seen.as_ptr().cast::<S::f32s>().add(at).read_unaligned() };
                *total = simd.mul_add_e_f32s(values, seen, *total);
            }
        }
        let values = simd.partial_load_f32s(last);
        for ((sum, total), seen) in own.iter_mut().zip(totals).zip(seen) {
            let seen = simd.partial_load_f32s(&seen[self.run.len() - last.len()..]);
            *sum += f64::from(simd.reduce_sum_f32s(simd.mul_add_e_f32s(values, seen, total)));
        }
    }
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // As many sums as stay in registers: the run is read once for all of them.
        while self.offsets.len() >= 9 {
            self.first::<S, 9>(simd);
        }
        while self.offsets.len() >= 4 {
            self.first::<S, 4>(simd);
        }
        while !self.offsets.is_empty() {
            self.first::<S, 1>(simd);
        }
    }
}

/// One plane of the output.
struct Forward<'a> {
    grid: &'a Grid,
    sizes: &'a Sizes,
    offsets: &'a [usize],
    image: &'a [f32],
    weight: &'a [f32],
    /// For the planes of the image.
    scratch: &'a mut [f32],
    output: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { grid, sizes, offsets, image, weight, scratch: data, output: out } = self;
        let ([rows, width], columns) = (sizes.output, grid.columns);
        grid.split(simd, sizes, image, &mut data[..grid.length(sizes)]);
        Shifted { data, offsets, weight, rows, width, columns, out, apart: width }.with_simd(simd);
    }
}

/// One plane of the input's gradient.
struct Spread<'a> {
    grid: &'a Grid,
    sizes: &'a Sizes,
    /// For each plane where the taps that see it see the first place, and which they are.
    phases: &'a [(Vec<usize>, Vec<usize>)],
    weight: &'a [f32],
    upstream: &'a [f32],
    margin: usize,
    scratch: &'a mut [f32],
    image: &'a mut [f32],
}

impl WithSimd for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Spread { grid, sizes, phases, weight, upstream, margin, scratch, image } = self;
        let (columns, across) = (grid.columns, sizes.output[1]);
        let (result, data) = scratch.split_at_mut(grid.length(sizes));
        data.fill(0.0);
        copy_rows(simd, across, (upstream, across), (&mut data[margin..], columns));
        if sizes.stride == [1; 2] {
            let ([rows, width], offsets) = (sizes.image, &phases[0].0);
            let of_all = Shifted { data, offsets, weight, rows, width, columns, out: image, apart: width };
            return of_all.with_simd(simd);
        }
        for ((offsets, taps), out) in phases.iter().zip(result.chunks_exact_mut(grid.plane())) {
            let weight: SmallVec<[f32; TAPS]> = taps.iter().map(|&tap| weight[tap]).collect();
            let (weight, width) = (&*weight, out.len());
            Shifted { data, offsets, weight, rows: 1, width, columns, out, apart: width }.with_simd(simd);
        }
        grid.join(sizes, result, image);
    }
}

/// A plane's part of the gradient of its weight.
struct Share<'a> {
    grid: &'a Grid,
    sizes: &'a Sizes,
    offsets: &'a [usize],
    image: &'a [f32],
    upstream: &'a [f32],
    scratch: &'a mut [f32],
    sums: &'a mut [f64],
}

impl WithSimd for Share<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Share { grid, sizes, offsets, image, upstream, scratch, sums } = self;
        let (data, run) = scratch.split_at_mut(grid.length(sizes));
        grid.split(simd, sizes, image, data);
        // Between the rows nothing counts.
        run.fill(0.0);
        let width = sizes.output[1];
        copy_rows(simd, width, (upstream, width), (run, grid.columns));
        Products { data, offsets, run, sums }.with_simd(simd);
    }
}

pub(super) fn forward(sizes: &Sizes, input: &[f32], weight: &[f32], output: &mut [f32], finish: Finish) {
    let (grid, taps, arch) = (&Grid::new(sizes), sizes.taps(), Arch::new());
    let (offsets, room) = (&*grid.offsets(), grid.length(sizes) + SLACK);
    let outputs = output.par_chunks_exact_mut(sizes.positions()).with_min_len(share(sizes));
    outputs.zip(input.par_chunks_exact(sizes.pixels())).enumerate().for_each(|(at, (output, image))| {
        let weight = &weight[at % sizes.groups * taps..][..taps];
        with_scratch(room, |scratch| {
            arch.dispatch(Forward { grid, sizes, offsets, image, weight, scratch, output });
        });
        finish.run(at * sizes.positions(), output);
    });
}

pub(super) fn input_gradient(
    sizes: &Sizes,
    weight: &[f32],
    upstream: &[f32],
    output: &mut [f32],
    finish: Finish,
) {
    let (grid, taps, arch) = (&Grid::new(sizes), sizes.taps(), Arch::new());
    // Before the first window, so that a tap can look back to where it is.
    let margin = grid.taps.iter().map(|&(_, place)| place).max().unwrap_or_default();
    let room = grid.length(sizes) + margin + grid.plane() + SLACK;
    // With steps of one straight to the image, without its padding.
    let first = if sizes.stride == [1; 2] { grid.place(sizes, [0; 2]) } else { 0 };
    let mut phases = vec![(Vec::new(), Vec::new()); sizes.stride[0] * sizes.stride[1]];
    for (tap, &(plane, back)) in grid.taps.iter().enumerate() {
        phases[plane].0.push(first + margin - back);
        phases[plane].1.push(tap);
    }
    let phases = &*phases;
    let images = output.par_chunks_exact_mut(sizes.pixels()).with_min_len(share(sizes));
    images.zip(upstream.par_chunks_exact(sizes.positions())).enumerate().for_each(
        |(at, (image, upstream))| {
            let weight = &weight[at % sizes.groups * taps..][..taps];
            with_scratch(room, |scratch| {
                arch.dispatch(Spread { grid, sizes, phases, weight, upstream, margin, scratch, image });
            });
            finish.run(at * sizes.pixels(), image);
        },
    );
}

pub(super) fn weight_gradient(sizes: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let (grid, arch) = (&Grid::new(sizes), Arch::new());
    let (offsets, room) = (&*grid.offsets(), grid.length(sizes) + grid.run(sizes));
    output.par_chunks_exact_mut(sizes.taps()).enumerate().for_each(|(group, output)| {
        let mut sums = vec![0.0; output.len()];
        for image in 0..sizes.batch {
            let at = image * sizes.groups + group;
            let image = &input[at * sizes.pixels()..][..sizes.pixels()];
            let upstream = &upstream[at * sizes.positions()..][..sizes.positions()];
            with_scratch(room, |scratch| {
                arch.dispatch(Share { grid, sizes, offsets, image, upstream, scratch, sums: &mut sums });
            });
        }
        output.iter_mut().zip(&sums).for_each(|(output, &sum)| *output = sum as f32);
    });
}

/// Planes that are worth a thread of their own.
fn share(sizes: &Sizes) -> usize {
    SHARE.div_ceil((sizes.positions() * sizes.taps()).max(1))
}
