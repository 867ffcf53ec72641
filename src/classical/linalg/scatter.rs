//! Means and centred sums of products.

use super::add_matmul;
use crate::classical::parallel;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

/// Rows that a thread takes at a time where sums over rows are divided; fixed, so that the result does
/// not depend on the number of threads.
const CHUNK: usize = 512;

/// The mean of each column, and the sum over rows of `(row - mean)^T (row - mean)`, `[columns, columns]`.
///
/// Each chunk of rows is centred on its own mean and the parts are combined (Chan, Golub and LeVeque,
/// 1983): exact for data far from 0, in one pass.
pub fn scatter(x: ArrayView2<'_, f64>) -> (Array1<f64>, Array2<f64>) {
    let columns = x.ncols();
    let work = x.len() + parallel::products([x.nrows(), columns, columns]);
    let parts: Vec<(f64, Array1<f64>, Array2<f64>)> =
        parallel::map(work, x.axis_chunks_iter(Axis(0), CHUNK), |chunk| {
            let mean = chunk.sum_axis(Axis(0)) / chunk.nrows() as f64;
            let centred = &chunk - &mean;
            let mut part = Array2::zeros((columns, columns));
            // Blocks of the upper triangle; the lower one is its mirror image.
            for from in (0..columns).step_by(TRIANGLE) {
                let to = columns.min(from + TRIANGLE);
                add_matmul(
                    part.slice_mut(s![..to, from..to]),
                    centred.slice(s![.., ..to]).t(),
                    centred.slice(s![.., from..to]),
                );
            }
            (chunk.nrows() as f64, mean, part)
        });
    let rows = x.nrows().max(1) as f64;
    let mut mean = Array1::<f64>::zeros(columns);
    parts.iter().for_each(|(count, part, _)| mean.scaled_add(count / rows, part));
    let mut total = Array2::<f64>::zeros((columns, columns));
    for (count, part_mean, part) in parts {
        total += &part;
        let apart = part_mean - &mean;
        for (mut row, &difference) in total.rows_mut().into_iter().zip(&apart) {
            row.scaled_add(count * difference, &apart);
        }
    }
    for i in 0..columns {
        for j in 0..i {
            total[[i, j]] = total[[j, i]];
        }
    }
    (mean, total)
}

/// Columns of a block of the triangle in [`scatter`].
const TRIANGLE: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scatter_far_from_zero() {
        let (mean, sum) =
            scatter(Array2::from_shape_fn((1300, 3), |(i, j)| 1e9 + (i % (j + 2)) as f64).view());
        // Each column repeats 0, 1, ... j + 1; the reference is the sum in exact integers, times 1300.
        let column = |j: usize| (0..1300_i64).map(move |i| i % (j as i64 + 2));
        for i in 0..3 {
            assert!((mean[i] - 1e9 - column(i).sum::<i64>() as f64 / 1300.0).abs() < 1e-6);
            for j in 0..3 {
                let products: i64 = column(i).zip(column(j)).map(|(a, b)| a * b).sum();
                let exact =
                    (1300 * products - column(i).sum::<i64>() * column(j).sum::<i64>()) as f64 / 1300.0;
                assert!((sum[[i, j]] - exact).abs() < 1e-4, "{} against {exact}", sum[[i, j]]);
            }
        }
    }
}
