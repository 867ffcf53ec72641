//! Newton's method for the squared hinge loss (Keerthi and DeCoste, 2005), for tall dense data.

use super::Samples;
use crate::classical::linalg;
use crate::classical::linear::gram::gram;
use crate::classical::linear::rows::{add_scaled, dot};
use ndarray::{Array1, Array2, ArrayView2};

/// Halvings of a step that does not lower the objective enough.
const HALVINGS: usize = 30;

/// Minimises `|w|^2 / 2 + sum cost max(0, 1 - y w x)^2`; the weight vector and the iterations, or `None`
/// if numbers overflow. It ends when the gradient is `tol` times that at 0.
pub(super) fn squared_hinge(
    x: ArrayView2<'_, f64>,
    samples: Samples<'_>,
    y: &[f64],
    costs: &[f64],
    tol: f64,
    max_iter: usize,
) -> Option<(Vec<f64>, usize)> {
    let size = samples.features + 1;
    let constant = Array2::from_elem((samples.count, 1), samples.constant);
    let mut w = vec![0.0; size];
    let mut values = vec![0.0; samples.count];
    let mut limit = None;
    for iteration in 0..max_iter {
        let mut gradient = w.clone();
        let mut active = vec![0.0; samples.count];
        for row in 0..samples.count {
            let slack = 1.0 - y[row] * values[row];
            if slack > 0.0 && costs[row] > 0.0 {
                active[row] = 2.0 * costs[row];
                samples.add_to(row, &mut gradient, -2.0 * costs[row] * slack * y[row]);
            }
        }
        let norm = dot(&gradient, &gradient).sqrt();
        if !norm.is_finite() {
            return None;
        }
        if norm <= *limit.get_or_insert(tol * norm) {
            return Some((w, iteration));
        }
        let mut hessian = gram(x, constant.view(), Some(&active), None);
        hessian.diag_mut().map_inplace(|value| *value += 1.0);
        let direction = linalg::solve_positive(hessian.view(), Array1::from(gradient.clone()).view())?
            .mapv(|value| -value);
        let direction = direction.to_vec();
        let moves: Vec<f64> = (0..samples.count).map(|row| samples.dot(row, &direction)).collect();
        let objective = |step: f64| {
            let losses: f64 = (0..samples.count)
                .map(|row| costs[row] * (1.0 - y[row] * (values[row] + step * moves[row])).max(0.0).powi(2))
                .sum();
            let moved = dot(&w, &w) + step * (2.0 * dot(&w, &direction) + step * dot(&direction, &direction));
            0.5 * moved + losses
        };
        let (before, slope) = (objective(0.0), dot(&gradient, &direction));
        let mut step = 1.0;
        for _ in 0..HALVINGS {
            if objective(step) <= before + 1e-4 * step * slope {
                break;
            }
            step *= 0.5;
        }
        if before + step * slope == before {
            // No step changes the objective any more.
            return Some((w, iteration));
        }
        add_scaled(&mut w, step, &direction);
        add_scaled(&mut values, step, &moves);
    }
    Some((w, max_iter))
}
