//! Products of a few rows with a matrix that is laid out once and multiplied at every step.
//!
//! The general product lays its right operand out anew each time, which for so few rows takes as long as
//! multiplying.

use crate::ops::scratch::with_scratch;
use crate::parallel;
use pulp::{Arch, Simd, WithSimd};

/// Columns that lie side by side: two vectors of the widest instruction set.
const PANEL: usize = 32;

/// A matrix `[rows, columns]` as `[panel, row, column of the panel]`, zeros past the last column.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    panels: &'a [f32],
    rows: usize,
    columns: usize,
}

impl Packed<'_> {
    /// Calls `work` with a row-major matrix that is laid out for it.
    pub(super) fn with<R>(matrix: &[f32], columns: usize, work: impl FnOnce(Packed) -> R) -> R {
        let rows = matrix.len() / columns.max(1);
        with_scratch(rows * columns.next_multiple_of(PANEL), |panels| {
            parallel::chunks(panels, (rows * PANEL).max(1), 1, |number, panel| {
                let first = number * PANEL;
                let count = PANEL.min(columns - first);
                for (to, from) in panel.chunks_exact_mut(PANEL).zip(matrix.chunks_exact(columns)) {
                    to[..count].copy_from_slice(&from[first..first + count]);
                    to[count..].fill(0.0);
                }
            });
            work(Packed { panels, rows, columns })
        })
    }

    /// Writes the product of row-major `left` with it to `output`. An element's sum is taken in the order of the
    /// rows, however many rows there are on the left.
    pub(super) fn multiply(self, left: &[f32], output: &mut [f32]) {
        Arch::new().dispatch(Multiply { right: self, left, output });
    }
}

struct Multiply<'a> {
    right: Packed<'a>,
    left: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Multiply { right: Packed { panels, rows, columns }, left, output } = self;
        if rows == 0 {
            return output.fill(0.0);
        }
        for (number, panel) in panels.chunks_exact(rows * PANEL).enumerate() {
            for part in (0..PANEL).step_by(2 * S::F32_LANES) {
                let column = number * PANEL + part;
                if column >= columns {
                    break;
                }
                let (mut left, mut output) = (left, &mut *output);
                macro_rules! tiles {
                    ($height:literal) => {
                        while left.len() >= $height * rows {
                            tile::<S, $height>(simd, left, panel, part, (&mut *output, columns, column));
                            left = &left[$height * rows..];
                            output = &mut output[$height * columns..];
                        }
                    };
                }
                // As many sums as there are registers for.
                if S::F32_LANES != 8 {
                    tiles!(8);
                }
                tiles!(4);
                tiles!(1);
            }
        }
    }
}

/// Multiplies `HEIGHT` rows with two vectors of a panel's columns, from `part` on, and writes the products to the
/// output's rows of `width` elements, from `column` on.
#[inline(always)]
fn tile<S: Simd, const HEIGHT: usize>(
    simd: S,
    left: &[f32],
    panel: &[f32],
    part: usize,
    (output, width, column): (&mut [f32], usize, usize),
) {
    let rows = panel.len() / PANEL;
    assert!(left.len() >= HEIGHT * rows && part + 2 * S::F32_LANES <= PANEL);
    let mut sums = [[simd.splat_f32s(0.0); 2]; HEIGHT];
    for at in 0..rows {
        // SAFETY: the panel has `rows` rows of PANEL elements, and the left operand HEIGHT rows of `rows`.
        unsafe {
            let place = panel.as_ptr().add(at * PANEL + part);
            let first = place.cast::<S::f32s>().read_unaligned();
            let second = place.add(S::F32_LANES).cast::<S::f32s>().read_unaligned();
            for (row, sums) in sums.iter_mut().enumerate() {
                let factor = simd.splat_f32s(*left.get_unchecked(row * rows + at));
                sums[0] = simd.mul_add_e_f32s(factor, first, sums[0]);
                sums[1] = simd.mul_add_e_f32s(factor, second, sums[1]);
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (vector, sum) in sums.into_iter().enumerate() {
            let start = column + vector * S::F32_LANES;
            let count = S::F32_LANES.min(width.saturating_sub(start));
            if count > 0 {
                simd.partial_store_f32s(&mut output[row * width + start..][..count], sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_matrix() {
        for (m, k, n) in [(1, 1, 1), (3, 7, 33), (8, 5, 32), (13, 40, 70), (29, 3, 31)] {
            let values = |count: usize, by: usize| -> Vec<f32> {
                (0..count).map(|i| ((i * by) % 23) as f32 - 11.0).collect()
            };
            let (left, right) = (values(m * k, 7), values(k * n, 5));
            let mut output = vec![f32::NAN; m * n];
            Packed::with(&right, n, |right| right.multiply(&left, &mut output));
            // Whole numbers, whose sums are exact.
            for (place, &value) in output.iter().enumerate() {
                let (row, column) = (place / n, place % n);
                let sum: f32 = (0..k).map(|at| left[row * k + at] * right[at * n + column]).sum();
                assert_eq!(value, sum, "{m} x {k} x {n}, element {row}, {column}");
            }
        }
    }
}
