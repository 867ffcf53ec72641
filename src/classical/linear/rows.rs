//! Rows of dense and sparse matrices, and the inner loops over them.

use crate::classical::data::Matrix;
use crate::vectors::vectorised;
use crate::{Error, Result};
use sprs::CsMatView;

/// Elements that one step of a vectorised sum takes; fixed, so that a sum is the same on every processor.
const LANES: usize = 16;

/// The sum of the products of two slices of one length.
pub(in crate::classical) fn dot(a: &[f64], b: &[f64]) -> f64 {
    vectorised(
        #[inline(always)]
        || {
            let mut sums = [0.0; LANES];
            let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
            let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
            for (a, b) in a.zip(b) {
                for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                    *sum += a * b;
                }
            }
            sums.iter().sum::<f64>() + rest
        },
    )
}

/// `to += scale * from`, element by element.
pub(in crate::classical) fn add_scaled(to: &mut [f64], scale: f64, from: &[f64]) {
    vectorised(
        #[inline(always)]
        || {
            for (to, from) in to.iter_mut().zip(from) {
                *to += scale * from;
            }
        },
    );
}

/// One sample.
#[derive(Clone, Copy)]
pub(in crate::classical) enum Row<'a> {
    /// All values.
    Dense(&'a [f64]),
    /// The columns and values that are stored.
    Sparse(&'a [usize], &'a [f64]),
}

impl Row<'_> {
    /// The product with a coefficient for each column.
    pub fn dot(self, coef: &[f64]) -> f64 {
        match self {
            Row::Dense(values) => dot(values, &coef[..values.len()]),
            Row::Sparse(columns, values) => {
                columns.iter().zip(values).map(|(&column, value)| coef[column] * value).sum()
            }
        }
    }

    /// `to += scale * row`.
    pub fn add_to(self, to: &mut [f64], scale: f64) {
        match self {
            Row::Dense(values) => add_scaled(to, scale, values),
            Row::Sparse(columns, values) => {
                columns.iter().zip(values).for_each(|(&column, value)| to[column] += scale * value);
            }
        }
    }

    /// The sum of squares.
    pub fn squared_norm(self) -> f64 {
        match self {
            Row::Dense(values) | Row::Sparse(_, values) => dot(values, values),
        }
    }

    /// Calls `visit` with the column and value of each stored element.
    pub fn for_each(self, mut visit: impl FnMut(usize, f64)) {
        match self {
            Row::Dense(values) => values.iter().enumerate().for_each(|(column, &value)| visit(column, value)),
            Row::Sparse(columns, values) => {
                columns.iter().zip(values).for_each(|(&column, &value)| visit(column, value));
            }
        }
    }
}

/// The rows of a matrix.
#[derive(Clone, Copy)]
pub(in crate::classical) enum Rows<'a> {
    /// Values row after row, and the number of columns.
    Dense(&'a [f64], usize),
    /// Compressed rows.
    Sparse(CsMatView<'a, f64>),
}

impl<'a> Rows<'a> {
    /// The rows of a checked matrix.
    ///
    /// # Errors
    /// A dense matrix that is not row-major.
    pub fn of(x: &'a Matrix<'_>) -> Result<Rows<'a>> {
        match x {
            Matrix::Dense(array) => array
                .as_slice()
                .map(|values| Rows::Dense(values, array.ncols()))
                .ok_or_else(|| Error::op("Matrix", "a dense matrix must be row-major")),
            Matrix::Sparse(matrix) => Ok(Rows::Sparse(*matrix)),
        }
    }

    /// The row at a position below the number of rows.
    pub fn get(&self, row: usize) -> Row<'_> {
        match self {
            Rows::Dense(values, columns) => Row::Dense(&values[row * columns..][..*columns]),
            Rows::Sparse(matrix) => {
                let range = matrix.indptr().outer_inds_sz(row);
                Row::Sparse(&matrix.indices()[range.clone()], &matrix.data()[range])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, ArrayView1, array};
    use sprs::CsMat;

    #[test]
    fn dense_and_sparse_rows_agree() -> Result<()> {
        let x = Array2::from_shape_fn((3, 37), |(i, j)| ((i * 7 + j * 3) % 4) as f64 - 1.0);
        let sparse = CsMat::csr_from_dense(x.view(), 0.0);
        let (dense, sparse) = (Matrix::Dense(x.view().into()), Matrix::Sparse(sparse.view()));
        let coef: Vec<f64> = (0..37).map(|column| column as f64 * 0.5 - 3.0).collect();
        for rows in [Rows::of(&dense)?, Rows::of(&sparse)?] {
            for (index, row) in x.rows().into_iter().enumerate() {
                let expected = row.dot(&ArrayView1::from(&coef));
                assert!((rows.get(index).dot(&coef) - expected).abs() < 1e-12);
                assert!((rows.get(index).squared_norm() - row.dot(&row)).abs() < 1e-12);
                let mut sum = coef.clone();
                rows.get(index).add_to(&mut sum, -2.0);
                let mut visited = coef.clone();
                rows.get(index).for_each(|column, value| visited[column] -= 2.0 * value);
                assert_eq!(sum, visited);
                assert!((sum[5] - (coef[5] - 2.0 * row[5])).abs() < 1e-12);
            }
        }
        assert!(Rows::of(&Matrix::Dense(array![[1.0, 2.0], [3.0, 4.0]].reversed_axes().into())).is_err());
        Ok(())
    }
}
