//! Logistic regression with an L1 penalty: for one class after the other, coordinate descent on the
//! quadratic model of the loss, and a step along its solution that lowers the loss.

use super::coordinate_descent::{Penalty, Problem, Stop, descend};
use super::function::overflow;
use super::logistic::LogisticRegressionParams;
use super::rows::{Rows, add_scaled};
use crate::Result;
use crate::classical::data::{Classes, Matrix, Training};
use crate::classical::estimator::Parameters;
use ndarray::{Array2, Axis};

/// The least curvature that a sample is given: a greater one only shortens the step.
const LEAST_CURVATURE: f64 = 1e-8;
/// Sweeps of one descent on a quadratic model.
const SWEEPS: usize = 1000;
/// A step that lowers the objective by no more than this share has reached what rounding allows.
const ROUNDING: f64 = 1e-15;
/// Halvings of a step that does not lower the objective.
const HALVINGS: usize = 40;

/// Coefficients `[functions, features]`, intercepts and iterations.
pub(super) fn fit(
    params: &LogisticRegressionParams,
    data: &Training<'_, Classes>,
    weights: Option<&[f64]>,
) -> Result<(Array2<f64>, Vec<f64>, usize)> {
    let (rows, features, classes) = (data.x.rows(), data.x.columns(), data.y.values.len());
    let outputs = if classes == 2 { 1 } else { classes };
    let weights = weights.map_or_else(|| vec![1.0; rows], <[f64]>::to_vec);
    let total: f64 = weights.iter().sum();
    let mut state = State {
        x: &data.x,
        weights: &weights,
        penalty: Penalty {
            l1: params.l1_ratio / params.c,
            l2: (1.0 - params.l1_ratio) / params.c,
            positive: false,
        },
        fit_intercept: params.fit_intercept,
        coef: Array2::zeros((outputs, features)),
        intercept: vec![0.0; outputs],
        values: Array2::zeros((outputs, rows)),
    };
    let mut iterations = 0;
    while iterations < params.max_iter {
        iterations += 1;
        let mut fault = 0.0_f64;
        for output in 0..outputs {
            let class = if outputs == 1 { 1 } else { output };
            let positive: Vec<bool> = data.y.codes.iter().map(|&code| code == class).collect();
            fault = fault.max(state.improve(output, &positive, params.tol * total)? / total);
        }
        if fault <= params.tol {
            break;
        }
    }
    if outputs > 1 && params.fit_intercept {
        // Adding the same to all intercepts changes nothing; their mean is 0, as where nothing is learned.
        let mean = state.intercept.iter().sum::<f64>() / outputs as f64;
        state.intercept.iter_mut().for_each(|intercept| *intercept -= mean);
    }
    Ok((state.coef, state.intercept, iterations))
}

struct State<'a, 'x> {
    x: &'a Matrix<'x>,
    weights: &'a [f64],
    penalty: Penalty,
    fit_intercept: bool,
    coef: Array2<f64>,
    intercept: Vec<f64>,
    /// The functions' values at the rows, `[functions, rows]`.
    values: Array2<f64>,
}

impl State<'_, '_> {
    /// One step for one function; by how much the optimality conditions were violated before it. Within
    /// `tol` nothing is moved.
    fn improve(&mut self, output: usize, positive: &[bool], tol: f64) -> Result<f64> {
        let name = LogisticRegressionParams::NAME;
        // Against all other classes taken together, the function is a binary one with an offset.
        let offsets: Vec<f64> = (0..positive.len()).map(|row| self.others(output, row)).collect();
        let (mut target, mut curvature) = (vec![0.0; positive.len()], vec![0.0; positive.len()]);
        let mut gradient = vec![0.0; self.x.columns()];
        let mut intercept_gradient = 0.0;
        let rows = Rows::of(self.x)?;
        for (row, &positive) in positive.iter().enumerate() {
            let value = self.values[[output, row]];
            let p = super::function::sigmoid(value - offsets[row]);
            let share = (p * (1.0 - p)).max(LEAST_CURVATURE);
            let pull = f64::from(u8::from(positive)) - p;
            target[row] = value + pull / share;
            curvature[row] = self.weights[row] * share;
            rows.get(row).add_to(&mut gradient, self.weights[row] * pull);
            intercept_gradient += self.weights[row] * pull;
        }
        let old = self.coef.row(output).to_vec();
        let fault =
            self.violation(&old, &gradient, if self.fit_intercept { intercept_gradient } else { 0.0 });
        if !fault.is_finite() {
            return Err(overflow(name));
        }
        if fault <= tol {
            return Ok(fault);
        }
        let mut problem = Problem::new(self.x, &target, Some(&curvature), self.fit_intercept)?;
        let mut new = old.clone();
        problem.start(&old);
        let stop = Stop { max_iter: SWEEPS, change: 1e-3 * fault.min(1e-3), gap: f64::INFINITY };
        descend(&mut *problem.quadratic, &mut new, self.penalty, stop);
        let mut direction = new;
        let moved =
            if self.fit_intercept { problem.intercept(&direction) - self.intercept[output] } else { 0.0 };
        add_scaled(&mut direction, -1.0, &old);
        let change: Vec<f64> = (0..positive.len()).map(|row| rows.get(row).dot(&direction) + moved).collect();
        let before = self.objective(output, positive, &offsets, &old, 0.0, &change);
        let mut step = 1.0;
        for _ in 0..HALVINGS {
            let mut trial = old.clone();
            add_scaled(&mut trial, step, &direction);
            let after = self.objective(output, positive, &offsets, &trial, step, &change);
            if after <= before {
                self.coef.row_mut(output).assign(&ndarray::ArrayView1::from(&trial));
                self.intercept[output] += step * moved;
                let mut values = self.values.index_axis_mut(Axis(0), output);
                values.iter_mut().zip(&change).for_each(|(value, change)| *value += step * change);
                return Ok(if before - after <= ROUNDING * before { 0.0 } else { fault });
            }
            step *= 0.5;
        }
        // Rounding hides any further improvement.
        Ok(0.0)
    }

    /// The logarithm of the sum of the exponentials of all other functions; 0 if there is only one.
    fn others(&self, output: usize, row: usize) -> f64 {
        let values = self.values.column(row);
        let others =
            || values.iter().enumerate().filter(|(other, _)| *other != output).map(|(_, &value)| value);
        let greatest = others().fold(f64::NEG_INFINITY, f64::max);
        if greatest == f64::NEG_INFINITY {
            0.0
        } else {
            greatest + others().map(|value| (value - greatest).exp()).sum::<f64>().ln()
        }
    }

    /// The greatest distance of a component of the gradient from what the penalty allows at a minimum.
    fn violation(&self, coef: &[f64], gradient: &[f64], intercept: f64) -> f64 {
        coef.iter().zip(gradient).fold(intercept.abs(), |greatest, (&w, gradient)| {
            let smooth = gradient - self.penalty.l2 * w;
            let fault = if w == 0.0 {
                smooth.abs() - self.penalty.l1
            } else {
                (smooth - self.penalty.l1 * w.signum()).abs()
            };
            greatest.max(fault)
        })
    }

    /// The part of the objective that depends on one function, at `coef` and with its values moved by
    /// `step` times `change`.
    fn objective(
        &self,
        output: usize,
        positive: &[bool],
        offsets: &[f64],
        coef: &[f64],
        step: f64,
        change: &[f64],
    ) -> f64 {
        let losses: f64 = positive
            .iter()
            .enumerate()
            .map(|(row, &positive)| {
                let odds = self.values[[output, row]] + step * change[row] - offsets[row];
                self.weights[row] * super::logistic::softplus(if positive { -odds } else { odds })
            })
            .sum();
        coef.iter().map(|w| self.penalty.l1 * w.abs() + 0.5 * self.penalty.l2 * w * w).sum::<f64>() + losses
    }
}
