//! Multiplicative updates: factors times ratios, so that what is positive stays so (Lee and Seung, 2001;
//! Fevotte and Idier, 2011).

use super::{BetaLoss, Factors, NmfParams, Penalty};
use crate::classical::linalg::matmul;
use ndarray::{Array2, ArrayView2, Axis, Zip};

/// Keeps denominators from 0.
const EPSILON: f64 = f32::EPSILON as f64;

pub(super) fn improve(
    params: &NmfParams,
    x: ArrayView2<'_, f64>,
    factors: &mut Factors,
    learn_h: bool,
) -> usize {
    let (penalty_w, penalty_h) = params.penalties(x);
    let error =
        |factors: &Factors| (2.0 * divergence(params.beta_loss, x, &factors.w, &factors.h)).max(0.0).sqrt();
    let first = error(factors);
    let mut previous = first;
    for iteration in 1..=params.max_iter {
        update(params.beta_loss, x, &mut factors.w, factors.h.view(), penalty_w);
        if learn_h {
            // The transposed problem: x.t() = h.t() @ w.t().
            let mut ht = factors.h.t().as_standard_layout().into_owned();
            update(params.beta_loss, x.t(), &mut ht, factors.w.t(), penalty_h);
            if params.beta_loss == BetaLoss::KullbackLeibler {
                ht.mapv_inplace(|value| if value < f64::EPSILON { 0.0 } else { value });
            }
            factors.h = ht.t().as_standard_layout().into_owned();
        }
        if params.tol > 0.0 && iteration % 10 == 0 {
            let now = error(factors);
            if previous - now < params.tol * first {
                return iteration;
            }
            previous = now;
        }
    }
    params.max_iter
}

/// One update of `w` in `x = w @ h`.
fn update(
    loss: BetaLoss,
    x: ArrayView2<'_, f64>,
    w: &mut Array2<f64>,
    h: ArrayView2<'_, f64>,
    penalty: Penalty,
) {
    let (numerator, mut denominator) = match loss {
        BetaLoss::Frobenius => (matmul(x, h.t()), matmul(w.view(), matmul(h, h.t()).view())),
        BetaLoss::KullbackLeibler => {
            let mut ratio = matmul(w.view(), h);
            Zip::from(&mut ratio).and(x).for_each(|ratio, &x| *ratio = x / ratio.max(EPSILON));
            let sums = h.sum_axis(Axis(1));
            (matmul(ratio.view(), h.t()), Array2::zeros(w.dim()) + &sums)
        }
    };
    denominator += penalty.l1;
    denominator.scaled_add(penalty.l2, w);
    Zip::from(w).and(&numerator).and(&denominator).for_each(|w, &numerator, &denominator| {
        *w *= numerator / if denominator == 0.0 { EPSILON } else { denominator };
    });
}

/// The loss of `w @ h` for `x`.
pub(super) fn divergence(loss: BetaLoss, x: ArrayView2<'_, f64>, w: &Array2<f64>, h: &Array2<f64>) -> f64 {
    let product = matmul(w.view(), h.view());
    let terms = x.iter().zip(&product);
    match loss {
        BetaLoss::Frobenius => terms.map(|(x, y)| (x - y).powi(2)).sum::<f64>() / 2.0,
        BetaLoss::KullbackLeibler => {
            let term = |(x, y): (&f64, &f64)| {
                if *x > EPSILON { x * (x / y.max(EPSILON)).ln() - x + y } else { y - x }
            };
            terms.map(term).sum()
        }
    }
}
