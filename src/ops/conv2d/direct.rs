//! The gradient of the weight without columns: sums of products found through tables of addresses.
//!
//! `out[i, f] += sum over k of data[rows[i] + columns[k]] * matrix[k, f]`: `i` is a tap, `k` a position and
//! the matrix the upstream gradient. A tile of the output stays in registers while `k` runs, one element of
//! the data is multiplied with a vector of `f` at a time, and nothing is gathered: the data is the tensor
//! itself, or a copy with its padding.

use super::Sizes;
use super::cpu::with_scratch;
use super::transpose::{copy, transpose};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Columns of a panel: the matrix and the output are stored as panels of this many columns.
const PANEL: usize = 32;
/// Positions that are worth a look at the taps.
const BLOCK: usize = 96;
/// Parts of the work, whatever the number of threads, so that sums are always the same.
const PARTS: usize = 8;
/// Floats of data that a thread works on at a time: a part of its second-level cache.
const GROUP: usize = 1 << 17;

/// Whether there are enough filters to fill vectors.
pub(super) fn applies(columns: usize) -> bool {
    columns >= PANEL / 2
}

/// `out[i, f] += sum over k of data[rows[i] + columns[k]] * matrix[k, f]` for one panel.
struct Panel<'a> {
    data: &'a [f32],
    rows: &'a [usize],
    columns: &'a [usize],
    /// `[columns, PANEL]`
    matrix: &'a [f32],
    /// `[rows, PANEL]`
    out: &'a mut [f32],
}

impl WithSimd for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let furthest = |table: &[usize]| table.iter().copied().max().unwrap_or_default();
        let (rows, columns) = (self.rows.len(), self.columns.len());
        assert!(furthest(self.rows) + furthest(self.columns) < self.data.len());
        assert!(self.matrix.len() >= columns * PANEL && self.out.len() >= rows * PANEL);
        // As many sums as the registers hold, with room for the vectors of the matrix and an element.
        match S::F32_LANES {
            16 => self.tiles::<S, 12, 2>(simd),
            8 => self.tiles::<S, 6, 2>(simd),
            4 => self.tiles::<S, 6, 4>(simd),
            _ => self.tiles::<S, 4, 1>(simd),
        }
    }
}

impl Panel<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const ROWS: usize, const VECTORS: usize>(&mut self, simd: S) {
        for first in (0..self.rows.len()).step_by(ROWS) {
            for part in (0..PANEL).step_by(VECTORS * S::F32_LANES) {
                // SAFETY: the tables, the matrix and the output were checked by the caller.
                unsafe { self.tile::<S, ROWS, VECTORS>(simd, first, part) };
            }
        }
    }

    /// The rows from `first`, the columns from `part`.
    ///
    /// # Safety
    /// Every row and column of the tables together must lie in the data, and matrix and output must have
    /// their sizes.
    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        first: usize,
        part: usize,
    ) {
        let kept = ROWS.min(self.rows.len() - first);
        // Rows past the end repeat the last one and are not kept.
        let mut rows = [self.data.as_ptr(); ROWS];
        for (at, row) in rows.iter_mut().enumerate() {
            // SAFETY: an address of the data.
            *row = unsafe { row.add(*self.rows.get_unchecked(first + at.min(kept - 1))) };
        }
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        let mut matrix = unsafe { self.matrix.as_ptr().add(part) };
        for &column in self.columns {
            let mut vectors = [simd.splat_f32s(0.0); VECTORS];
            for (at, vector) in vectors.iter_mut().enumerate() {
                // SAFETY: a row of the matrix has `PANEL` elements.
                *vector = unsafe { matrix.add(at * S::F32_LANES).cast::<S::f32s>().read_unaligned() };
            }
            // Not `zip`: a function of it is not marked to be inlined, and a call here, where it was not,
            // made this loop five times slower.
            for (at, row) in rows.iter().enumerate() {
                // SAFETY: as promised of the tables.
                let element = simd.splat_f32s(unsafe { *row.add(column) });
                for (part, vector) in vectors.iter().enumerate() {
                    sums[at][part] = simd.mul_add_e_f32s(element, *vector, sums[at][part]);
                }
            }
            // SAFETY: there is a row for each column of the table.
            matrix = unsafe { matrix.add(PANEL) };
        }
        let out = unsafe { self.out.as_mut_ptr().add(first * PANEL + part) };
        for (at, sums) in sums.iter().enumerate().take(kept) {
            for (vector, sum) in sums.iter().enumerate() {
                // SAFETY: the output has a row of `PANEL` elements for each of the table's.
                unsafe {
                    let out = out.add(at * PANEL + vector * S::F32_LANES).cast::<S::f32s>();
                    out.write_unaligned(simd.add_f32s(out.read_unaligned(), *sum));
                }
            }
        }
    }
}

/// Planes `[channels, height, width]` of images, with zeros around them.
struct Padded {
    channels: usize,
    size: [usize; 2],
    padding: [usize; 2],
}

impl Padded {
    fn height(&self) -> usize {
        self.size[0] + 2 * self.padding[0]
    }

    fn width(&self) -> usize {
        self.size[1] + 2 * self.padding[1]
    }

    fn plane(&self) -> usize {
        self.height() * self.width()
    }

    fn image(&self) -> usize {
        self.channels * self.plane()
    }

    /// Images that are worked on at a time.
    fn group(&self, positions: usize, batch: usize) -> usize {
        (GROUP / self.image()).max(BLOCK.div_ceil(positions)).clamp(1, batch.div_ceil(PARTS).max(1))
    }

    /// Calls `body` with images that lie `apart` in `tensor`, padded.
    fn with<R>(&self, tensor: &[f32], images: usize, apart: usize, body: impl FnOnce(&[f32]) -> R) -> R {
        let pixels = self.size[0] * self.size[1];
        if self.plane() == pixels && (images == 1 || apart == self.image()) {
            return body(&tensor[..images * self.image()]);
        }
        with_scratch(images * self.image(), |data| {
            data.fill(0.0);
            for (image, data) in data.chunks_exact_mut(self.image()).enumerate() {
                let planes = tensor[image * apart..].chunks_exact(pixels);
                for (plane, data) in planes.zip(data.chunks_exact_mut(self.plane())) {
                    let lines = data.chunks_exact_mut(self.width()).skip(self.padding[0]);
                    for (line, data) in plane.chunks_exact(self.size[1]).zip(lines) {
                        data[self.padding[1]..][..line.len()].copy_from_slice(line);
                    }
                }
            }
            body(data)
        })
    }
}

/// Addresses of every pair of places along two axes, `step` elements apart on each.
fn grid(counts: [usize; 2], steps: [usize; 2]) -> impl Iterator<Item = usize> + Clone {
    (0..counts[0]).flat_map(move |y| (0..counts[1]).map(move |x| y * steps[0] + x * steps[1]))
}

/// A grid in each of several planes.
fn grids(planes: usize, plane: usize, counts: [usize; 2], steps: [usize; 2]) -> Vec<usize> {
    (0..planes).flat_map(|at| grid(counts, steps).map(move |place| at * plane + place)).collect()
}

/// The gradient of one group's weight: `output[filter, tap] += sum of upstream * input`.
pub(super) fn weight_gradient(s: &Sizes, group: usize, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    let arch = Arch::new();
    let (filters, taps, positions) = (s.filters, s.taps(), s.positions());
    let padded = Padded { channels: s.channels, size: s.image, padding: s.padding };
    let width = padded.width();
    let rows = grids(s.channels, padded.plane(), s.kernel, [s.dilation[0] * width, s.dilation[1]]);
    let at_once = padded.group(positions, s.batch);
    let all_columns = grids(at_once, padded.image(), s.output, [s.stride[0] * width, s.stride[1]]);
    let panels = filters.div_ceil(PANEL);
    let (image, upstream_image) = (s.groups * s.channels * s.pixels(), s.groups * filters * positions);
    let per_part = s.batch.div_ceil(PARTS);
    let partial: Vec<Vec<f32>> = (0..s.batch.div_ceil(per_part))
        .into_par_iter()
        .map(|part| {
            let mut sums = vec![0.0; panels * taps * PANEL];
            let end = s.batch.min((part + 1) * per_part);
            for first in (part * per_part..end).step_by(at_once) {
                let images = at_once.min(end - first);
                let columns = &all_columns[..images * positions];
                let input = &input[first * image + group * s.channels * s.pixels()..];
                let upstream = &upstream[first * upstream_image + group * filters * positions..];
                padded.with(input, images, image, |data| {
                    with_scratch(panels * columns.len() * PANEL, |matrix| {
                        let packed = matrix.chunks_exact_mut(columns.len() * PANEL).enumerate();
                        for (panel, matrix) in packed {
                            pack_planes(upstream, upstream_image, positions, images, filters, panel, matrix);
                        }
                        for (matrix, out) in matrix
                            .chunks_exact(columns.len() * PANEL)
                            .zip(sums.chunks_exact_mut(taps * PANEL))
                        {
                            arch.dispatch(Panel { data, rows: &rows, columns, matrix, out });
                        }
                    });
                });
            }
            sums
        })
        .collect();
    for (panel, output) in output.chunks_mut(PANEL * taps).enumerate() {
        for sums in &partial {
            let sums = &sums[panel * taps * PANEL..][..taps * PANEL];
            for (filter, output) in output.chunks_exact_mut(taps).enumerate() {
                output
                    .iter_mut()
                    .zip(sums.chunks_exact(PANEL))
                    .for_each(|(output, sums)| *output += sums[filter]);
            }
        }
    }
}

/// The planes of one panel, `[positions of all images, PANEL]`.
fn pack_planes(
    tensor: &[f32],
    image: usize,
    positions: usize,
    images: usize,
    planes: usize,
    panel: usize,
    packed: &mut [f32],
) {
    let kept = PANEL.min(planes - panel * PANEL);
    if kept < PANEL {
        packed.fill(0.0);
    }
    for at in 0..images {
        let planes = &tensor[at * image + panel * PANEL * positions..];
        let packed = &mut packed[at * positions * PANEL..][..positions * PANEL];
        transpose(planes, positions, kept, positions, |position, plane, values| {
            copy(values, &mut packed[position * PANEL + plane..]);
        });
    }
}
