//! Dot products of a few rows with many columns, of which each is read once.

use pulp::{Arch, Simd, WithSimd};

/// Products of `rows` with columns that lie in one piece each.
pub(super) struct Dots<'a> {
    /// Rows of as many numbers as a column.
    pub rows: &'a [&'a [f32]],
    /// The columns, which begin `apart` from each other, and how many they are.
    pub from: &'a [f32],
    pub apart: usize,
    pub columns: usize,
    /// Where the first row's products go; those of the others `width` further each.
    pub output: *mut f32,
    pub width: usize,
}

impl Dots<'_> {
    /// Writes the products.
    ///
    /// # Safety
    /// All places of the products are valid for writes, by nobody else meanwhile.
    pub unsafe fn write(self) {
        Arch::new().dispatch(self);
    }

    /// The products of all rows with columns from the first one on.
    #[inline(always)]
    fn strip<S: Simd, const COLUMNS: usize>(&self, simd: S, column: usize) {
        let rows = self.rows.len();
        (0..rows / 2).for_each(|pair| self.tile::<S, 2, COLUMNS>(simd, 2 * pair, column));
        if rows % 2 == 1 {
            self.tile::<S, 1, COLUMNS>(simd, rows - 1, column);
        }
    }

    /// The products of rows and columns from the first ones on.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const COLUMNS: usize>(&self, simd: S, row: usize, column: usize) {
        let length = self.rows[row].len();
        let rows: [_; ROWS] = std::array::from_fn(|i| S::as_simd_f32s(&self.rows[row + i][..length]));
        let columns: [_; COLUMNS] =
            std::array::from_fn(|j| S::as_simd_f32s(&self.from[(column + j) * self.apart..][..length]));
        let mut sums = [[simd.splat_f32s(0.0); COLUMNS]; ROWS];
        for at in 0..length / S::F32_LANES {
            let parts = columns.map(|(whole, _)| whole[at]);
            for (&(row, _), sums) in rows.iter().zip(&mut sums) {
                for (part, sum) in parts.iter().zip(sums) {
                    *sum = simd.mul_add_e_f32s(row[at], *part, *sum);
                }
            }
        }
        for (i, (&(_, rest), sums)) in rows.iter().zip(sums).enumerate() {
            for (j, (&(_, other), sum)) in columns.iter().zip(sums).enumerate() {
                let rest: f32 = rest.iter().zip(other).map(|(a, b)| a * b).sum();
                // SAFETY: as of `write`.
                unsafe {
                    let place = self.output.add((row + i) * self.width + column + j);
                    place.write(simd.reduce_sum_f32s(sum) + rest);
                }
            }
        }
    }
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let fours = self.columns / 4 * 4;
        (0..fours).step_by(4).for_each(|column| self.strip::<S, 4>(simd, column));
        (fours..self.columns).for_each(|column| self.strip::<S, 1>(simd, column));
    }
}
