//! Products with a right operand that lies along its columns, as the weight of a linear layer does.
//!
//! The kernels read such an operand slowly: 32 rows by 1024 x 1024 took seven times as long as with its transpose,
//! since columns that are a power of two apart share few lines of a cache, and half as long again where several
//! threads share the product. So each thread takes columns of its own, and turns those that are so far apart over
//! first.

use super::Product;
use super::dots::Dots;
use crate::gemm::{self, Matrix, Parallelism};
use crate::ops::scratch::with_scratch;
use crate::ops::transpose::transpose;
use crate::parallel::{self, Places};
use crate::vectors::copy;
use std::slice;

/// Elements of a right operand that are worth it, and rows and columns of it.
const ELEMENTS: usize = 1 << 16;
const DEPTH: usize = 512;
const COLUMNS: usize = 64;
/// Rows up to which the products are dot products of whole columns.
const FEW: usize = 16;
/// Columns that are a multiple of this apart are turned over.
const APART: usize = 512;
/// Elements that are turned over before they are multiplied.
const TURNED: usize = 1 << 18;
/// What is turned over at once: as many lines of the cache of the first level.
const BLOCK: usize = 256;

impl Product {
    /// Whether [`run_by_columns`](Self::run_by_columns) is the faster way.
    pub(super) fn is_by_columns(&self) -> bool {
        self.b.0 == 1 && self.b.1 > 1 && self.k >= DEPTH && self.n >= COLUMNS && self.k * self.n >= ELEMENTS
    }

    /// As [`run`](Self::run), on so many threads, where [`is_by_columns`](Self::is_by_columns).
    ///
    /// # Safety
    /// That of [`run`](Self::run).
    pub(super) unsafe fn run_by_columns(
        &self,
        a: *const f32,
        b: *const f32,
        output: &mut [f32],
        threads: usize,
    ) {
        let &Product { m, n, k, .. } = self;
        let apart = self.b.1 as usize;
        let few = (m <= FEW && self.a.1 == 1 && self.a.0 >= 0).then(|| {
            // SAFETY: the caller vouches for the operands.
            let rows =
                (0..m).map(|row| unsafe { slice::from_raw_parts(a.offset(row as isize * self.a.0), k) });
            rows.collect::<Vec<_>>()
        });
        let turned = few.is_none() && apart.is_multiple_of(APART);
        // What is turned over stays in a cache.
        let most = if turned { (TURNED / k).max(48) } else { n };
        let share = n.div_ceil(threads).min(most).next_multiple_of(16);
        let (a, b, output) = (Places(a.cast_mut()), Places(b.cast_mut()), Places(output.as_mut_ptr()));
        let multiply = |first: usize, columns: usize, b: Matrix<f32>| {
            let operands = [Matrix::new(a.at(0), self.a.0, self.a.1), b];
            let output = (output.at(first), n as isize, 1);
            // SAFETY: as of `run`; nobody else writes these columns.
            unsafe { gemm::multiply([m, columns, k], output, false, operands, 1.0, Parallelism::None) };
        };
        parallel::ranges(n.div_ceil(share), 1, &|shares| {
            for first in shares.map(|number| number * share) {
                let columns = share.min(n - first);
                // SAFETY: the caller vouches for the operand.
                let from = unsafe { slice::from_raw_parts(b.at(first * apart), (columns - 1) * apart + k) };
                if let Some(rows) = &few {
                    let output = output.at(first);
                    // SAFETY: as of `run`; nobody else writes these columns.
                    unsafe { Dots { rows, from, apart, columns, output, width: n }.write() };
                    continue;
                }
                if !turned {
                    multiply(first, columns, Matrix::new(from.as_ptr(), 1, apart as isize));
                    continue;
                }
                // Rows that are a power of two apart would share lines, too.
                let width = columns + 16;
                with_scratch(k * width, |rows| {
                    for begin in (0..k).step_by(BLOCK) {
                        transpose(
                            &from[begin..],
                            apart,
                            columns,
                            BLOCK.min(k - begin),
                            |row, column, run| {
                                copy::<4>(run, &mut rows[(begin + row) * width + column..]);
                            },
                        );
                    }
                    multiply(first, columns, Matrix::new(rows.as_ptr(), width as isize, 1));
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Tensor};

    /// Products of whole numbers, which are exact in any order.
    #[test]
    fn columns_that_are_near_and_far_apart_are_right() {
        let engine = Engine::cpu();
        let number = |i: usize, j: usize| ((i * 31 + j * 17) % 23) as f32 - 11.0;
        let sizes = [
            (1, 70, 1000, 1000),
            (2, 64, 1024, 1024),
            (5, 202, 515, 515),
            (16, 97, 1027, 1030),
            (17, 96, 1027, 1030),
            (33, 130, 1000, 1024),
            (512, 97, 700, 1536),
        ];
        for ((m, n, k, apart), across) in sizes.into_iter().flat_map(|size| [(size, false), (size, true)]) {
            let product = Product { m, n, k, a: (k as isize, 1), b: (1, apart as isize) };
            assert!(product.is_by_columns());
            let matrix = |rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns).map(|at| number(at / columns, at % columns)).collect()
            };
            let (a, b) = (matrix(m, k), matrix(n, apart));
            let [x, w] = [(&a, m, k), (&b, n, apart)]
                .map(|(values, rows, columns)| Tensor::from_slice(values, [rows, columns], &engine).unwrap());
            let w = w.narrow(1, 0, k).unwrap().t().unwrap();
            // The rows of the left operand in one piece, or its columns.
            let x = if across { x.t().unwrap().contiguous().unwrap().t().unwrap() } else { x };
            let result = x.matmul(&w).unwrap().to_vec::<f32>().unwrap();
            for (at, &found) in result.iter().enumerate() {
                let (row, column) = (&a[at / n * k..][..k], &b[at % n * apart..][..k]);
                let expected: f64 = row.iter().zip(column).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
                assert_eq!(f64::from(found), expected, "{m} x {n} x {k}, {at}");
            }
        }
    }
}
