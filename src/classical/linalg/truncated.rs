//! A few singular values or eigenvalues of large matrices.

use super::{cholesky, eigh, gram, matmul, qr, solve_lower, svd};
use crate::classical::data::Matrix;
use crate::classical::random::{normal, stream};
use crate::parallel;
use crate::{Error, Result};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use sprs::{CsMat, CsMatView};

/// A matrix that is multiplied with from both sides again and again: dense, or sparse with its
/// transpose at hand, so that either product goes row by row.
#[derive(Debug)]
pub enum Operand<'a> {
    /// Any strides.
    Dense(ArrayView2<'a, f64>),
    /// Compressed rows of the matrix and of its transpose.
    Sparse(CsMat<f64>, CsMat<f64>),
}

impl<'a> Operand<'a> {
    /// The matrix; a sparse one is copied twice.
    pub fn new(matrix: &'a Matrix<'_>) -> Operand<'a> {
        match matrix {
            Matrix::Dense(array) => Operand::Dense(array.view()),
            Matrix::Sparse(rows) => Operand::Sparse(rows.to_owned(), rows.transpose_view().to_csr()),
        }
    }

    /// Rows and columns.
    pub fn dim(&self) -> (usize, usize) {
        match self {
            Operand::Dense(array) => array.dim(),
            Operand::Sparse(rows, _) => rows.shape(),
        }
    }

    /// `self @ b`.
    pub fn times(&self, b: ArrayView2<'_, f64>) -> Array2<f64> {
        match self {
            Operand::Dense(array) => matmul(array.view(), b),
            Operand::Sparse(rows, _) => sparse_times(rows.view(), b),
        }
    }

    /// `self.t() @ b`.
    pub fn transposed_times(&self, b: ArrayView2<'_, f64>) -> Array2<f64> {
        match self {
            Operand::Dense(array) => matmul(array.t(), b),
            Operand::Sparse(_, columns) => sparse_times(columns.view(), b),
        }
    }

    fn transposed(self) -> Operand<'a> {
        match self {
            Operand::Dense(array) => Operand::Dense(array.reversed_axes()),
            Operand::Sparse(rows, columns) => Operand::Sparse(columns, rows),
        }
    }
}

/// `a @ b` of compressed rows and a dense matrix; the caller keeps the inner sizes equal.
pub fn sparse_times(a: CsMatView<'_, f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut out = Array2::zeros((a.rows(), b.ncols()));
    let rows = out.rows_mut().into_iter().zip(a.outer_iterator());
    parallel::map(64, rows, |(mut row, stored)| {
        for (column, &value) in stored.iter() {
            row.scaled_add(value, &b.row(column));
        }
    });
    out
}

/// An orthonormal basis of the columns of a tall matrix, `[rows, columns]`.
///
/// Cholesky factors of the Gram matrix, taken twice (CholeskyQR2; Yamamoto et al., 2015), are mere
/// products; where the columns depend on each other, Householder reflections step in.
pub fn orthonormal(a: Array2<f64>) -> Array2<f64> {
    let basis = half_orthonormal(&a).and_then(|half| half_orthonormal(&half));
    basis.unwrap_or_else(|| qr(a.view()).0)
}

fn half_orthonormal(a: &Array2<f64>) -> Option<Array2<f64>> {
    let l = cholesky(gram(a.view()).view())?;
    let (low, high) = l
        .diag()
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(low, high), &value| (low.min(value), high.max(value)));
    // Beyond a condition of the root of the precision, the Gram matrix has lost the small columns.
    if low < 1e-7 * high || !high.is_finite() {
        return None;
    }
    let inverse = solve_lower(l.view(), Array2::eye(l.nrows()).view())?;
    Some(matmul(a.view(), inverse.t()))
}

/// The largest `k` singular values, descending, with their vectors: `u [m, k]`, `s [k]`, `vt [k, n]`
/// (Halko, Martinsson and Tropp, 2011).
///
/// The range is found by multiplying `k + oversamples` random vectors `iterations` times with the matrix
/// and its transpose; `None` takes 7, or 4 if `k` is a tenth of the smaller side or more.
///
/// # Errors
/// Values so large that they overflow.
pub fn randomized_svd(
    a: Operand<'_>,
    k: usize,
    oversamples: usize,
    iterations: Option<usize>,
    seed: u64,
) -> Result<(Array2<f64>, Array1<f64>, Array2<f64>)> {
    let (m, n) = a.dim();
    if m < n {
        let (v, s, ut) = randomized_svd(a.transposed(), k, oversamples, iterations, seed)?;
        return Ok((ut.reversed_axes(), s, v.reversed_axes()));
    }
    let iterations = iterations.unwrap_or(if (k as f64) < 0.1 * n as f64 { 7 } else { 4 });
    let size = (k + oversamples).min(n);
    let mut rng = stream(seed, 0);
    let mut basis = Array2::from_shape_simple_fn((n, size), || normal(&mut rng));
    for _ in 0..iterations {
        basis = orthonormal(a.times(basis.view()));
        basis = orthonormal(a.transposed_times(basis.view()));
        finite("randomized_svd", &basis)?;
    }
    let range = orthonormal(a.times(basis.view()));
    let small = a.transposed_times(range.view());
    finite("randomized_svd", &small)?;
    let (v, s, ut) = svd(small.view())?;
    let u = matmul(range.view(), ut.slice(s![..k, ..]).t());
    Ok((u, s.slice(s![..k]).to_owned(), v.slice(s![.., ..k]).t().as_standard_layout().into_owned()))
}

fn finite(op: &'static str, values: &Array2<f64>) -> Result<()> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(Error::op(op, "the matrix holds values so large that its products overflow"))
}

/// Rounds after which [`eigsh`] gives up; each multiplies with the matrix about `k` times.
const MAX_RESTARTS: usize = 3000;

/// The `k` largest eigenvalues, descending, and eigenvectors `[n, k]` of a symmetric `[n, n]` matrix
/// that is known by its products with vectors.
///
/// Lanczos' method with full orthogonalisation and thick restarts (Wu and Simon, 2000). An eigenvalue is
/// done when its residual is below `tolerance` times the largest one's size.
///
/// # Errors
/// If it does not converge, and on values that are not finite.
pub fn eigsh(
    n: usize,
    k: usize,
    tolerance: f64,
    apply: impl Fn(ArrayView1<'_, f64>) -> Array1<f64>,
) -> Result<(Array1<f64>, Array2<f64>)> {
    let k = k.min(n);
    let size = n.min((2 * k + 1).max(24));
    let mut rng = stream(0, 0);
    // The rows of the basis, the last one the direction in which it goes on.
    let mut basis = Array2::<f64>::zeros((size + 1, n));
    let mut projected = Array2::<f64>::zeros((size, size));
    let start = random_beside(&mut rng, basis.slice(s![..0, ..]));
    basis.row_mut(0).assign(&start);
    let mut kept = 0;
    for _ in 0..MAX_RESTARTS {
        let mut beta = 0.0;
        for j in kept..size {
            let mut next = apply(basis.row(j));
            let known = basis.slice(s![..=j, ..]);
            let along = orthogonalize(&mut next, known);
            for (i, &value) in along.iter().enumerate() {
                projected[[i, j]] = value;
                projected[[j, i]] = value;
            }
            beta = next.dot(&next).sqrt();
            let scale = along.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            if !(beta + scale).is_finite() {
                return Err(Error::op("eigsh", "the matrix holds values that are not finite or too large"));
            }
            if j + 1 == n {
                beta = 0.0;
            } else if beta <= f64::EPSILON * scale.max(f64::MIN_POSITIVE) {
                // The basis spans an invariant space; what lies beside it starts anew.
                beta = 0.0;
                let fresh = random_beside(&mut rng, known);
                basis.row_mut(j + 1).assign(&fresh);
            } else {
                basis.row_mut(j + 1).assign(&(next / beta));
            }
        }
        let (values, vectors) = eigh(projected.view())?;
        let largest = values.iter().fold(f64::MIN_POSITIVE, |most, value| most.max(value.abs()));
        let residual = |i: usize| (beta * vectors[[size - 1, i]]).abs();
        let done = (size - k..size).all(|i| residual(i) <= tolerance * largest);
        let keep = if done { k } else { (k + size) / 2 };
        let wanted = vectors.slice(s![.., size - keep..]);
        let ritz = matmul(wanted.t(), basis.slice(s![..size, ..]));
        if done {
            let descending = s![..;-1, ..];
            let vectors = ritz.slice(descending).t().as_standard_layout().into_owned();
            return Ok((values.slice(s![size - k..;-1]).to_owned(), vectors));
        }
        basis.slice_mut(s![..keep, ..]).assign(&ritz);
        let direction = basis.row(size).to_owned();
        basis.row_mut(keep).assign(&direction);
        projected.fill(0.0);
        projected.diag_mut().slice_mut(s![..keep]).assign(&values.slice(s![size - keep..]));
        kept = keep;
    }
    Err(Error::op("eigsh", format!("no convergence after {MAX_RESTARTS} restarts; loosen the tolerance")))
}

/// Takes from `vector` what lies along the orthonormal rows of `basis`, twice for full precision, and
/// returns how much that was.
fn orthogonalize(vector: &mut Array1<f64>, basis: ArrayView2<'_, f64>) -> Array1<f64> {
    let first = basis.dot(vector);
    *vector -= &first.dot(&basis);
    let second = basis.dot(vector);
    *vector -= &second.dot(&basis);
    first + second
}

/// A random unit vector orthogonal to the rows of `basis`.
fn random_beside(rng: &mut fastrand::Rng, basis: ArrayView2<'_, f64>) -> Array1<f64> {
    let mut vector = Array1::from_shape_simple_fn(basis.len_of(Axis(1)), || normal(rng));
    orthogonalize(&mut vector, basis);
    let norm = vector.dot(&vector).sqrt();
    vector / norm
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `u @ diag(s) @ vt` of known singular values, by reflections as orthogonal factors.
    fn with_values(m: usize, n: usize, values: &[f64]) -> Array2<f64> {
        let reflection = |n: usize, shift: f64| {
            let v = Array1::from_shape_fn(n, |i| (i as f64 + shift).sin());
            let outer = v.view().insert_axis(Axis(1)).dot(&v.view().insert_axis(Axis(0)));
            Array2::eye(n) - outer * (2.0 / v.dot(&v))
        };
        let mut middle = Array2::zeros((m, n));
        middle.diag_mut().slice_mut(s![..values.len()]).assign(&ArrayView1::from(values));
        reflection(m, 1.0).dot(&middle).dot(&reflection(n, 2.0))
    }

    #[test]
    fn randomized_svd_finds_known_values() -> Result<()> {
        let values: Vec<f64> = (0..30).map(|i| 0.8_f64.powi(i)).collect();
        for (m, n) in [(90, 40), (40, 90)] {
            let dense = Matrix::Dense(with_values(m, n, &values).into());
            let sparse = CsMat::csr_from_dense(dense.dense().view(), 0.0);
            for matrix in [dense, Matrix::Sparse(sparse.view())] {
                let (u, s, vt) = randomized_svd(Operand::new(&matrix), 5, 10, None, 3)?;
                for (found, expected) in s.iter().zip(&values) {
                    assert!((found - expected).abs() < 1e-9, "{found} against {expected}");
                }
                let product = matrix.dense().dot(&vt.t());
                assert!((&u * &s - product).iter().all(|error| error.abs() < 1e-6));
            }
        }
        Ok(())
    }

    #[test]
    fn dependent_columns_have_an_orthonormal_basis() {
        let mut a = Array2::from_shape_fn((50, 6), |(i, j)| ((i * j) as f64 * 0.7).cos());
        let copy = a.column(1).to_owned();
        a.column_mut(4).assign(&copy);
        let q = orthonormal(a);
        assert!((q.t().dot(&q) - Array2::<f64>::eye(6)).iter().all(|error| error.abs() < 1e-12));
    }

    #[test]
    fn eigsh_finds_known_values() -> Result<()> {
        // The path graph's Laplacian of n vertices has the eigenvalues 2 - 2 cos(pi j / n).
        let n = 300;
        let laplacian = |x: ArrayView1<'_, f64>| {
            Array1::from_shape_fn(n, |i| {
                let left = if i > 0 { x[i] - x[i - 1] } else { 0.0 };
                let right = if i + 1 < n { x[i] - x[i + 1] } else { 0.0 };
                left + right
            })
        };
        let (values, vectors) = eigsh(n, 5, 1e-10, laplacian)?;
        for j in 0..5 {
            let angle = std::f64::consts::PI * (n - 1 - j) as f64 / n as f64;
            assert!((values[j] - (2.0 - 2.0 * angle.cos())).abs() < 1e-9, "{}", values[j]);
            let residual = laplacian(vectors.column(j)) - &vectors.column(j) * values[j];
            assert!(residual.iter().all(|error| error.abs() < 1e-8));
        }
        Ok(())
    }

    #[test]
    fn eigsh_finds_repeated_values_and_small_matrices() -> Result<()> {
        let (values, _) =
            eigsh(60, 4, 1e-10, |x| Array1::from_shape_fn(60, |i| if i < 3 { 2.0 * x[i] } else { x[i] }))?;
        for (found, expected) in values.iter().zip([2.0, 2.0, 2.0, 1.0]) {
            assert!((found - expected).abs() < 1e-9, "{values}");
        }
        let (values, _) = eigsh(2, 5, 1e-10, |x| x.mapv(|value| 3.0 * value))?;
        assert_eq!(values.len(), 2);
        assert!(eigsh(40, 2, 1e-10, |x| x.mapv(|value| value * f64::INFINITY)).is_err());
        Ok(())
    }
}
