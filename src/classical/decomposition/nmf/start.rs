//! Where a factorisation starts.

use super::{Factors, NmfInit, NmfParams};
use crate::Result;
use crate::classical::linalg::{Operand, randomized_svd};
use crate::classical::random::{normal, stream};
use ndarray::{Array2, ArrayView1, ArrayView2};

/// Entries below are 0.
const SMALLEST: f64 = 1e-6;

/// The mean size of factors' entries whose product has the data's mean.
pub(super) fn scale(x: ArrayView2<'_, f64>, components: usize) -> f64 {
    (x.mean().unwrap_or(0.0) / components as f64).sqrt()
}

pub(super) fn start(params: &NmfParams, x: ArrayView2<'_, f64>, components: usize) -> Result<Factors> {
    let few = components <= x.nrows().min(x.ncols());
    match params.init.unwrap_or(if few { NmfInit::Nndsvda } else { NmfInit::Random }) {
        NmfInit::Random => {
            let scale = scale(x, components);
            let mut rng = stream(params.seed, 0);
            let mut random = |rows, columns| {
                Array2::from_shape_simple_fn((rows, columns), || scale * normal(&mut rng).abs())
            };
            let h = random(components, x.ncols());
            Ok(Factors { w: random(x.nrows(), components), h })
        }
        NmfInit::Nndsvd => positive_parts(params, x, components),
        NmfInit::Nndsvda => {
            let mut factors = positive_parts(params, x, components)?;
            let mean = x.mean().unwrap_or(0.0);
            for value in factors.w.iter_mut().chain(&mut factors.h).filter(|value| **value == 0.0) {
                *value = mean;
            }
            Ok(factors)
        }
    }
}

/// Of each pair of singular vectors the positive or the negative parts, whichever hold more.
fn positive_parts(params: &NmfParams, x: ArrayView2<'_, f64>, components: usize) -> Result<Factors> {
    let most = x.nrows().min(x.ncols());
    super::check_count(
        "NMF",
        components,
        most,
        "the smaller of samples and features, unless init is random",
    )?;
    let (u, values, vt) = randomized_svd(Operand::Dense(x), components, 10, None, params.seed)?;
    let mut factors =
        Factors { w: Array2::zeros((x.nrows(), components)), h: Array2::zeros((components, x.ncols())) };
    for (index, &value) in values.iter().enumerate() {
        let (left, right) = (u.column(index), vt.row(index));
        let part = |vector: ArrayView1<'_, f64>, sign: f64| {
            // The first pair has one sign throughout (Perron and Frobenius).
            vector.mapv(|entry| if index == 0 { entry.abs() } else { (sign * entry).max(0.0) })
        };
        let sized = |sign: f64| {
            let (left, right) = (part(left, sign), part(right, sign));
            let norms = (left.dot(&left).sqrt(), right.dot(&right).sqrt());
            (norms.0 * norms.1, left, norms.0, right, norms.1)
        };
        let (positive, negative) = (sized(1.0), sized(-1.0));
        let (size, left, left_norm, right, right_norm) =
            if positive.0 > negative.0 { positive } else { negative };
        if size > 0.0 {
            let root = (value * size).sqrt();
            factors.w.column_mut(index).assign(&(left * (root / left_norm)));
            factors.h.row_mut(index).assign(&(right * (root / right_norm)));
        }
    }
    for entry in factors.w.iter_mut().chain(&mut factors.h).filter(|entry| **entry < SMALLEST) {
        *entry = 0.0;
    }
    Ok(factors)
}
