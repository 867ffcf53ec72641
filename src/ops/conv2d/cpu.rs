//! Convolution on the CPU: windows gathered into columns, and matrix products; Winograd's method
//! where it applies.

use super::{Sizes, columns, depthwise, winograd};
use crate::gemm::{self, Matrix, Parallelism};
use crate::op::Finish;

/// `c[m, n] = a[m, k] b[k, n]` (or added to `c`): `c` with the stride of its rows, the others with those of
/// rows and columns.
pub(super) fn multiply(
    [m, n, k]: [usize; 3],
    (c, c_row): (&mut [f32], usize),
    add: bool,
    (a, a_row, a_column): (&[f32], usize, usize),
    (b, b_row, b_column): (&[f32], usize, usize),
    threads: Parallelism,
) {
    let fits = |data: &[f32], [rows, row]: [usize; 2], [columns, column]: [usize; 2]| {
        assert!((rows.max(1) - 1) * row + (columns.max(1) - 1) * column < data.len());
    };
    fits(c, [m, c_row], [n, 1]);
    fits(a, [m, a_row], [k, a_column]);
    fits(b, [k, b_row], [n, b_column]);
    let [a_row, a_column, b_row, b_column] = [a_row, a_column, b_row, b_column].map(|stride| stride as isize);
    // SAFETY: the furthest element of each matrix is inside its slice, as just checked.
    unsafe {
        let output = (c.as_mut_ptr(), c_row as isize, 1);
        let operands = [Matrix::new(a.as_ptr(), a_row, a_column), Matrix::new(b.as_ptr(), b_row, b_column)];
        gemm::multiply([m, n, k], output, add, operands, 1.0, threads);
    }
}

/// A sum of nothing.
fn zeros(output: &mut [f32], finish: Finish) {
    output.fill(0.0);
    finish.run(0, output);
}

pub(super) fn forward(sizes: &Sizes, input: &[f32], weight: &[f32], output: &mut [f32], finish: Finish) {
    if input.is_empty() || weight.is_empty() {
        return zeros(output, finish);
    }
    if depthwise::applies(sizes) {
        return depthwise::forward(sizes, input, weight, output, finish);
    }
    if winograd::applies(sizes) {
        return winograd::forward(sizes, input, weight, output, finish);
    }
    columns::forward(sizes, input, weight, output, finish);
}

pub(super) fn input_gradient(
    sizes: &Sizes,
    weight: &[f32],
    upstream: &[f32],
    output: &mut [f32],
    finish: Finish,
) {
    if weight.is_empty() || upstream.is_empty() {
        return zeros(output, finish);
    }
    if depthwise::applies(sizes) {
        return depthwise::input_gradient(sizes, weight, upstream, output, finish);
    }
    if winograd::applies(sizes) {
        return winograd::input_gradient(sizes, weight, upstream, output, finish);
    }
    columns::input_gradient(sizes, weight, upstream, output, finish);
}

pub(super) fn weight_gradient(sizes: &Sizes, input: &[f32], upstream: &[f32], output: &mut [f32]) {
    if input.is_empty() || upstream.is_empty() {
        return output.fill(0.0);
    }
    if depthwise::applies(sizes) {
        return depthwise::weight_gradient(sizes, input, upstream, output);
    }
    if winograd::applies_to_weight_gradient(sizes) {
        return winograd::weight_gradient(sizes, input, upstream, output);
    }
    columns::weight_gradient(sizes, input, upstream, output);
}
