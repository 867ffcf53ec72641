//! One entry of a factor after the other, each to its best value (Cichocki and Phan, 2009).

use super::{Factors, NmfParams, Penalty};
use crate::classical::linalg::matmul;
use crate::parallel;
use ndarray::{Array2, ArrayView2};

pub(super) fn improve(
    params: &NmfParams,
    x: ArrayView2<'_, f64>,
    factors: &mut Factors,
    learn_h: bool,
) -> usize {
    let (penalty_w, penalty_h) = params.penalties(x);
    let mut ht = factors.h.t().as_standard_layout().into_owned();
    let mut first = 0.0;
    let mut done = params.max_iter;
    for iteration in 1..=params.max_iter {
        let mut violation = sweep(x, &mut factors.w, ht.view(), penalty_w);
        if learn_h {
            violation += sweep(x.t(), &mut ht, factors.w.view(), penalty_h);
        }
        if iteration == 1 {
            first = violation;
        }
        if violation <= params.tol * first {
            done = iteration;
            break;
        }
    }
    factors.h = ht.t().as_standard_layout().into_owned();
    done
}

/// Rows that a thread takes at a time.
const CHUNK: usize = 64;

/// Improves each entry of `w` once, `x = w @ ht.t()`; returns how far the gradients were from where they
/// should be. Rows of `w` do not depend on each other.
fn sweep(x: ArrayView2<'_, f64>, w: &mut Array2<f64>, ht: ArrayView2<'_, f64>, penalty: Penalty) -> f64 {
    let mut hessian = matmul(ht.t(), ht);
    hessian.diag_mut().map_inplace(|value| *value += penalty.l2);
    let target = matmul(x, ht) - penalty.l1;
    let components = w.ncols();
    let rows = w.rows_mut().into_iter().zip(target.rows());
    let violations = parallel::map(CHUNK, rows, |(mut row, target)| {
        let mut violation = 0.0;
        for t in 0..components {
            let gradient = hessian.row(t).dot(&row) - target[t];
            violation += if row[t] == 0.0 { gradient.min(0.0).abs() } else { gradient.abs() };
            if hessian[[t, t]] != 0.0 {
                row[t] = (row[t] - gradient / hessian[[t, t]]).max(0.0);
            }
        }
        violation
    });
    violations.iter().sum()
}
