//! Matrix products (the `gemm` crate, all cores) and decompositions (the `nalgebra` crate) of `ndarray`
//! arrays in double precision.

mod scatter;
mod truncated;

pub use scatter::scatter;
pub use truncated::{Operand, eigsh, orthonormal, randomized_svd, sparse_times};

use crate::classical::order;
use crate::classical::parallel;
use crate::gemm::{self, Matrix, Parallelism};
use crate::{Error, Result};
use nalgebra::{DMatrix, DVector, SVD, SymmetricEigen};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2};

/// `a @ b`, of any strides: `[m, k]` by `[k, n]`; the caller keeps the inner sizes equal.
pub fn matmul(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut out = Array2::zeros((a.nrows(), b.ncols()));
    add_matmul(out.view_mut(), a, b);
    out
}

/// `out += a @ b`, of any strides; the caller keeps the sizes fitting.
pub fn add_matmul(out: ArrayViewMut2<'_, f64>, a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) {
    let work = parallel::products([a.nrows(), a.ncols(), b.ncols()]);
    let parallelism = if parallel::worth(work) { Parallelism::Rayon(0) } else { Parallelism::None };
    product(1.0, a, b, out, true, parallelism);
}

/// `out = scale * (a @ b)` on the calling thread, for work that is divided already.
pub(crate) fn matmul_into(
    scale: f64,
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
    out: ArrayViewMut2<'_, f64>,
) {
    product(scale, a, b, out, false, Parallelism::None);
}

/// `out = scale * (a @ b)`, or `out += scale * (a @ b)` if `add`.
fn product(
    scale: f64,
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
    mut out: ArrayViewMut2<'_, f64>,
    add: bool,
    parallelism: Parallelism,
) {
    let (m, k, n) = (a.nrows(), a.ncols(), b.ncols());
    assert_eq!(k, b.nrows(), "inner sizes of a product");
    assert_eq!(out.dim(), (m, n), "outer sizes of a product");
    if k == 0 && !add {
        out.fill(0.0);
    }
    if m == 0 || k == 0 || n == 0 {
        return;
    }
    let (row_stride, column_stride) = (out.strides()[0], out.strides()[1]);
    // SAFETY: the pointers and strides are those of arrays of just these sizes, and `out` is borrowed
    // for writing, so that nobody else reads it meanwhile.
    unsafe {
        let operands =
            [a, b].map(|matrix| Matrix::new(matrix.as_ptr(), matrix.strides()[0], matrix.strides()[1]));
        gemm::multiply(
            [m, n, k],
            (out.as_mut_ptr(), row_stride, column_stride),
            add,
            operands,
            scale,
            parallelism,
        );
    }
}

/// `a.t() @ a`, `[columns, columns]`.
pub fn gram(a: ArrayView2<'_, f64>) -> Array2<f64> {
    matmul(a.t(), a)
}

fn to_nalgebra(a: ArrayView2<'_, f64>) -> DMatrix<f64> {
    DMatrix::from_row_iterator(a.nrows(), a.ncols(), a.iter().copied())
}

fn to_array(matrix: &DMatrix<f64>) -> Array2<f64> {
    Array2::from_shape_fn(matrix.shape(), |place| matrix[place])
}

fn failed(what: &'static str) -> Error {
    Error::op(what, "the decomposition did not converge; are there values of extreme size?")
}

/// What counts as 0 beside the greatest element, tried in turn: where rounding keeps an element of a
/// rank-deficient matrix just above it, the vectors come out wrong, which the product then shows.
const TOLERANCES: [f64; 3] = [5.0 * f64::EPSILON, 100.0 * f64::EPSILON, 10_000.0 * f64::EPSILON];
/// How far the product of the factors may be from the matrix, as a share of its greatest element.
const PRODUCT_ERROR: f64 = 1e-10;
/// Iterations after which a decomposition is given up; a few for each column is usual.
const MAX_ITERATIONS: usize = 100_000;

/// Whether a product of factors is the matrix that they were made of.
fn rebuilds(matrix: &DMatrix<f64>, product: &DMatrix<f64>) -> bool {
    (product - matrix).amax() <= PRODUCT_ERROR * matrix.amax()
}

/// Eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix.
///
/// # Errors
/// If the iteration does not converge.
pub fn eigh(a: ArrayView2<'_, f64>) -> Result<(Array1<f64>, Array2<f64>)> {
    let matrix = to_nalgebra(a);
    let found = TOLERANCES.iter().find_map(|&tolerance| {
        let eigen = SymmetricEigen::try_new(matrix.clone(), tolerance, MAX_ITERATIONS)?;
        rebuilds(&matrix, &eigen.recompose()).then_some(eigen)
    });
    let eigen = found.ok_or_else(|| failed("eigh"))?;
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order::ascending(&mut order, eigen.eigenvalues.as_slice());
    let values = order.iter().map(|&i| eigen.eigenvalues[i]).collect();
    let vectors = Array2::from_shape_fn(a.dim(), |(row, column)| eigen.eigenvectors[(row, order[column])]);
    Ok((values, vectors))
}

/// The thin singular value decomposition `u @ diag(s) @ vt`: `u [m, r]`, `s [r]` descending, `vt [r, n]`
/// with `r = min(m, n)`.
///
/// # Errors
/// If the iteration does not converge.
pub fn svd(a: ArrayView2<'_, f64>) -> Result<(Array2<f64>, Array1<f64>, Array2<f64>)> {
    let (rows, columns) = a.dim();
    if rows < columns {
        let (u, s, vt) = svd(a.t())?;
        return Ok((vt.reversed_axes(), s, u.reversed_axes()));
    }
    if rows > 2 * columns {
        // The triangular factor has the same singular values and far fewer rows.
        let (q, r) = qr(a);
        let (u, s, vt) = svd(r.view())?;
        return Ok((matmul(q.view(), u.view()), s, vt));
    }
    let matrix = to_nalgebra(a);
    let found = TOLERANCES.iter().find_map(|&tolerance| {
        let svd = SVD::try_new(matrix.clone(), true, true, tolerance, MAX_ITERATIONS)?;
        rebuilds(&matrix, &svd.clone().recompose().ok()?).then_some(svd)
    });
    let svd = found.ok_or_else(|| failed("svd"))?;
    match (&svd.u, &svd.v_t) {
        (Some(u), Some(vt)) => Ok((to_array(u), svd.singular_values.iter().copied().collect(), to_array(vt))),
        _ => Err(failed("svd")),
    }
}

/// The thin QR decomposition: `q [m, r]` with orthonormal columns and `r [r, n]`, `r = min(m, n)`.
pub fn qr(a: ArrayView2<'_, f64>) -> (Array2<f64>, Array2<f64>) {
    let qr = to_nalgebra(a).qr();
    (to_array(&qr.q()), to_array(&qr.r()))
}

/// The lower Cholesky factor of a symmetric positive definite matrix, whose lower half is read; `None`
/// if it is not positive definite.
pub fn cholesky(a: ArrayView2<'_, f64>) -> Option<Array2<f64>> {
    to_nalgebra(a).cholesky().map(|factor| to_array(&factor.l()))
}

/// Solves `l @ x = b` for a lower triangular `l` and the columns of `b`; `None` if `l` is singular.
pub fn solve_lower(l: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Option<Array2<f64>> {
    to_nalgebra(l).solve_lower_triangular(&to_nalgebra(b)).map(|x| to_array(&x))
}

/// Solves `a @ x = b` for a symmetric positive definite `a`; `None` if it is not.
pub fn solve_positive(a: ArrayView2<'_, f64>, b: ArrayView1<'_, f64>) -> Option<Array1<f64>> {
    let right = DVector::from_iterator(b.len(), b.iter().copied());
    Some(to_nalgebra(a).cholesky()?.solve(&right).iter().copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{array, s};

    fn close(a: &Array2<f64>, b: &Array2<f64>) {
        assert_eq!(a.shape(), b.shape());
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-10, "{a} against {b}");
        }
    }

    fn sample() -> Array2<f64> {
        Array2::from_shape_fn((7, 4), |(i, j)| {
            ((i * 5 + j * 3) % 7) as f64 - 2.5 + if i == j { 3.0 } else { 0.0 }
        })
    }

    #[test]
    fn products_of_any_strides() {
        let a = sample();
        close(&matmul(a.t(), a.view()), &a.t().dot(&a));
        let (strided, reversed) = (a.slice(s![..;2, ..]), a.slice(s![.., ..;-1]));
        close(&matmul(strided, reversed.t()), &strided.dot(&reversed.t()));
        assert_eq!(matmul(a.slice(s![..0, ..]), a.t()).shape(), [0, 7]);
        let mut out = Array2::ones((9, 7));
        matmul_into(-2.0, a.view(), a.t(), out.slice_mut(s![2.., ..]));
        close(&out.slice(s![2.., ..]).to_owned(), &(a.dot(&a.t()) * -2.0));
        assert_eq!(out.slice(s![..2, ..]), Array2::<f64>::ones((2, 7)));
        assert_eq!(matmul(a.slice(s![.., ..0]), a.slice(s![..0, ..])), Array2::<f64>::zeros((7, 4)));
        let (left, right) = (a.slice(s![.., ..2]), a.dot(&a.t()));
        let mut sum = a.t().to_owned();
        add_matmul(sum.slice_mut(s![..;2, ..]), left.t(), right.view());
        let mut expected = a.t().to_owned();
        expected.slice_mut(s![..;2, ..]).scaled_add(1.0, &left.t().dot(&right));
        close(&sum, &expected);
    }

    #[test]
    fn large_products_on_all_cores() {
        let a = Array2::from_shape_fn((130, 110), |(i, j)| ((i * 31 + j * 17) % 23) as f64 - 11.0);
        close(&matmul(a.view(), a.t()), &a.dot(&a.t()));
    }

    #[test]
    fn decompositions_rebuild_their_matrix() -> Result<()> {
        let a = sample();
        let (u, s, vt) = svd(a.view())?;
        close(&(&u * &s).dot(&vt), &a);
        close(&u.t().dot(&u), &Array2::eye(4));
        assert!(s.windows(2).into_iter().all(|pair| pair[0] >= pair[1]));
        let (q, r) = qr(a.view());
        close(&q.dot(&r), &a);
        close(&q.t().dot(&q), &Array2::eye(4));

        let symmetric = gram(a.view());
        let (values, vectors) = eigh(symmetric.view())?;
        close(&(&vectors * &values).dot(&vectors.t()), &symmetric);
        assert!(values.windows(2).into_iter().all(|pair| pair[0] <= pair[1]));

        let l =
            cholesky(symmetric.view()).expect("a Gram matrix of independent columns is positive definite");
        close(&l.dot(&l.t()), &symmetric);
        close(&l.dot(&solve_lower(l.view(), a.t()).expect("its diagonal has no zero")), &a.t().to_owned());
        let x = array![1.0, -2.0, 0.5, 3.0];
        let solved = solve_positive(symmetric.view(), symmetric.dot(&x).view()).expect("positive definite");
        close(&solved.insert_axis(ndarray::Axis(0)), &x.insert_axis(ndarray::Axis(0)));
        assert!(cholesky(array![[1.0, 2.0], [2.0, 1.0]].view()).is_none());
        Ok(())
    }

    #[test]
    fn rank_deficient_matrices_of_all_shapes() -> Result<()> {
        for case in 0..300_usize {
            let (m, n, rank) = (1 + case % 7, 1 + case / 7 % 9, 1 + case % 3);
            let value =
                |i: usize, j: usize| ((i * 7919 + j * 104_729 + case * 1_299_709 + i * j * 31) % 1009) as f64;
            let a = Array2::from_shape_fn((m, rank), |(i, j)| value(i, j) / 504.5 - 1.0);
            let a = a.dot(&Array2::from_shape_fn((rank, n), |(i, j)| value(i + 9, j) / 504.5 - 1.0));
            let (u, s, vt) = svd(a.view())?;
            close(&(&u * &s).dot(&vt), &a);
            let symmetric = gram(a.view());
            let (values, vectors) = eigh(symmetric.view())?;
            close(&(&vectors * &values).dot(&vectors.t()), &symmetric);
        }
        Ok(())
    }
}
