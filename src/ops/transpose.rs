//! Transposes of matrices in memory.

/// The transpose of a block. In shuffles where there are some for sure: left to themselves, compilers
/// make scattered stores of it, which are several times as slow.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    use bytemuck::cast;
    use std::arch::x86_64::{_mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps};
    let [a, b, c, d] = [cast(rows[0]), cast(rows[1]), cast(rows[2]), cast(rows[3])];
    // SAFETY: every x86-64 processor has SSE.
    unsafe {
        let (low_ab, low_cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (high_ab, high_cd) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        [
            cast(_mm_movelh_ps(low_ab, low_cd)),
            cast(_mm_movehl_ps(low_cd, low_ab)),
            cast(_mm_movelh_ps(high_ab, high_cd)),
            cast(_mm_movehl_ps(high_cd, high_ab)),
        ]
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn transposed(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
}

/// Hands out the transpose of a matrix in runs along its columns: `write(column, first row, values)`.
#[inline(always)]
pub(crate) fn transpose(
    matrix: &[f32],
    stride: usize,
    rows: usize,
    columns: usize,
    mut write: impl FnMut(usize, usize, &[f32]),
) {
    let (whole_rows, whole_columns) = (rows / 4 * 4, columns / 4 * 4);
    for row in (0..whole_rows).step_by(4) {
        let line = |i: usize| &matrix[(row + i) * stride..][..columns];
        let [a, b, c, d] = [line(0), line(1), line(2), line(3)];
        for column in (0..whole_columns).step_by(4) {
            let four = |line: &[f32]| [line[column], line[column + 1], line[column + 2], line[column + 3]];
            let block = [four(a), four(b), four(c), four(d)];
            for (i, values) in transposed(block).iter().enumerate() {
                write(column + i, row, values);
            }
        }
        for column in whole_columns..columns {
            write(column, row, &[a[column], b[column], c[column], d[column]]);
        }
    }
    for row in whole_rows..rows {
        for column in 0..columns {
            write(column, row, &[matrix[row * stride + column]]);
        }
    }
}
