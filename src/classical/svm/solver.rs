//! Sequential minimal optimisation with second-order working sets, a cache of kernel rows and shrinking
//! (Platt, 1998; Fan, Chen and Lin, 2005; Joachims, 1999).

use super::cache::Cache;
use super::kernel::{KernelFunction, squared_norms};
use crate::vectors::vectorised;
use crate::{Error, Result};
use ndarray::{Array2, Axis};
use std::sync::Arc;

/// Minimises `beta K beta / 2 + linear beta` with the sum of each part of `beta` kept and each variable
/// within its limits.
///
/// Every support vector machine is of this form when its variables are multiplied by their signs. A row
/// of the kernel may have several variables (two in regression): those numbered by the row, the row plus
/// the number of rows, and so on.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    pub(super) kernel: &'a KernelFunction,
    /// Prepared rows.
    pub(super) rows: Array2<f64>,
    pub(super) linear: Vec<f64>,
    pub(super) lower: Vec<f64>,
    pub(super) upper: Vec<f64>,
    /// Where to begin, within the limits; its sums are what is kept.
    pub(super) start: Vec<f64>,
    /// Whether each variable is of the second of two parts whose sums are kept; empty for a single part.
    pub(super) second: Vec<bool>,
}

/// How exact to be, and at what cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// The optimality conditions may be violated by this much.
    pub(super) tolerance: f64,
    /// Steps after which to give up, with an error, or without one if they were asked for.
    pub(super) max_iter: Option<usize>,
    /// Bytes for kernel rows.
    pub(super) cache: usize,
    /// Whether variables that seem to stay at their limits are set aside for a while.
    pub(super) shrinking: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Solution {
    /// `beta`.
    pub(super) coefficients: Vec<f64>,
    /// What a decision is measured against: rows with more kernel-weighted `beta` are on the upper side.
    /// Each part has its own; this is the middle of them.
    pub(super) rho: f64,
    /// How far the first part's is above the middle; 0 for a single part.
    pub(super) margin: f64,
    /// Steps taken.
    pub(super) iterations: usize,
}

impl Solution {
    /// The same decisions in units of the margin.
    ///
    /// # Errors
    /// A margin that is nothing, in the name of `name`.
    pub(super) fn scaled(mut self, name: &'static str) -> Result<Solution> {
        if self.margin <= 0.0 {
            return Err(Error::op(name, "the classes lie on each other; there is no margin between them"));
        }
        self.coefficients.iter_mut().for_each(|coefficient| *coefficient /= self.margin);
        self.rho /= self.margin;
        if !self.rho.is_finite() || self.coefficients.iter().any(|value| !value.is_finite()) {
            return Err(Error::op(name, "the margin is too small for numbers; scale x"));
        }
        Ok(self)
    }
}

/// Curvatures below this count as this.
const TINY: f64 = 1e-12;
/// Values of which the largest is found together.
const CHUNK: usize = 64;

/// The variables at work, and the kernel's rows for them. Variable `v` belongs to row `v % active.len()`.
struct Working<'a> {
    problem: &'a Problem<'a>,
    /// The rows at work.
    active: Vec<usize>,
    /// Their values, column after column.
    columns: Vec<f64>,
    norms: Vec<f64>,
    diagonal: Vec<f64>,
    cache: Cache,
    /// `K beta + linear`.
    gradient: Vec<f64>,
    beta: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// For each part, 0 where its variable may grow, else minus infinity.
    rise: Vec<Vec<f64>>,
    /// For each part, 0 where its variable may fall, else minus infinity.
    fall: Vec<Vec<f64>>,
}

/// The first of the largest among `length` values, which `fill` writes a chunk at a time from a start on;
/// `None` if all are minus infinity.
#[inline(always)]
fn largest(length: usize, fill: impl Fn(usize, &mut [f64])) -> Option<(usize, f64)> {
    let mut values = [f64::NEG_INFINITY; CHUNK];
    let (mut best, mut place) = (f64::NEG_INFINITY, None);
    for start in (0..length).step_by(CHUNK) {
        if start + CHUNK > length {
            values.fill(f64::NEG_INFINITY);
        }
        fill(start, &mut values[..(length - start).min(CHUNK)]);
        let mut lanes = [f64::NEG_INFINITY; 8];
        for eight in values.chunks_exact(8) {
            for (lane, &value) in lanes.iter_mut().zip(eight) {
                *lane = if value > *lane { value } else { *lane };
            }
        }
        let top = lanes.into_iter().fold(f64::NEG_INFINITY, f64::max);
        if top > best {
            (best, place) = (top, Some(start));
        }
    }
    let start = place?;
    fill(start, &mut values[..(length - start).min(CHUNK)]);
    values.iter().position(|&value| value == best).map(|within| (start + within, best))
}

/// The largest gradient of a variable that may fall.
#[inline(always)]
fn falling(gradient: &[f64], fall: &[f64]) -> f64 {
    let top = largest(gradient.len(), |start, values| {
        let pairs = gradient[start..].iter().zip(&fall[start..]);
        values.iter_mut().zip(pairs).for_each(|(value, (gradient, fall))| *value = gradient + fall);
    });
    top.map_or(f64::NEG_INFINITY, |(_, value)| value)
}

/// The values column after column, a line of the cache of each at a time.
fn transposed(rows: &Array2<f64>) -> Vec<f64> {
    const TOGETHER: usize = 8;
    let (count, width) = rows.dim();
    let mut columns = vec![0.0; count * width];
    let blocks = rows.as_slice().unwrap_or_default().chunks(TOGETHER * width.max(1));
    for (block, rows) in blocks.enumerate() {
        for column in 0..width {
            let to = columns[column * count + block * TOGETHER..].iter_mut();
            to.zip(rows.chunks_exact(width)).for_each(|(to, row)| *to = row[column]);
        }
    }
    columns
}

fn limit(may: bool) -> f64 {
    if may { 0.0 } else { f64::NEG_INFINITY }
}

impl<'a> Working<'a> {
    /// All rows at work.
    fn new(problem: &'a Problem<'a>, beta: Vec<f64>, gradient: Vec<f64>, cache: usize) -> Working<'a> {
        let rows = problem.rows.nrows();
        let masks = |may: &dyn Fn(usize) -> bool| -> Vec<Vec<f64>> {
            let of = |part: bool| {
                let own = |v: usize| problem.second.get(v).is_none_or(|&second| second == part);
                (0..beta.len()).map(|v| limit(own(v) && may(v))).collect()
            };
            if problem.second.is_empty() { vec![of(false)] } else { vec![of(false), of(true)] }
        };
        let norms = squared_norms(problem.rows.view());
        let diagonal = problem.kernel.diagonal(&norms);
        Working {
            problem,
            active: (0..rows).collect(),
            columns: transposed(&problem.rows),
            norms,
            // Rounded as kernel rows are, or the step to the optimum of a pair would miss it.
            diagonal: diagonal.iter().map(|&value| f64::from(value as f32)).collect(),
            cache: Cache::new(rows, cache),
            rise: masks(&|v| beta[v] < problem.upper[v]),
            fall: masks(&|v| beta[v] > problem.lower[v]),
            gradient,
            beta,
            lower: problem.lower.clone(),
            upper: problem.upper.clone(),
        }
    }

    /// The kernel of one row with all at work.
    fn kernel_row(&mut self, row: usize) -> Arc<[f32]> {
        let count = self.active.len();
        let (problem, columns, norms, id) = (self.problem, &self.columns, &self.norms, self.active[row]);
        self.cache.row(row, || {
            let query = problem.rows.row(id).to_vec();
            let mut values = Vec::with_capacity(count);
            let mut block = [0.0; 512];
            vectorised(
                #[inline(always)]
                || {
                    for start in (0..count).step_by(block.len()) {
                        let block = &mut block[..(count - start).min(512)];
                        block.fill(0.0);
                        // Four columns at a time, so that the sums are read and written less often.
                        let (fours, rest) = query.as_chunks::<4>();
                        for (columns, [a, b, c, d]) in columns.chunks_exact(4 * count).zip(fours) {
                            let column = |at: usize| &columns[at * count + start..][..block.len()];
                            let (first, second) =
                                (column(0).iter().zip(column(1)), column(2).iter().zip(column(3)));
                            for ((sum, (w, x)), (y, z)) in block.iter_mut().zip(first).zip(second) {
                                *sum = *sum + a * w + b * x + c * y + d * z;
                            }
                        }
                        for (column, value) in columns.chunks_exact(count).skip(4 * fours.len()).zip(rest) {
                            for (sum, other) in block.iter_mut().zip(&column[start..]) {
                                *sum += value * other;
                            }
                        }
                        problem.kernel.apply(block, norms[row], &norms[start..]);
                        values.extend(block.iter().map(|&value| value as f32));
                    }
                },
            );
            values.into()
        })
    }

    /// The variable of a part that wants most to grow, and how much.
    fn first(&self, part: usize) -> Option<(usize, f64)> {
        let rise = &self.rise[part];
        vectorised(
            #[inline(always)]
            || {
                largest(self.beta.len(), |start, values| {
                    let pairs = rise[start..].iter().zip(&self.gradient[start..]);
                    values
                        .iter_mut()
                        .zip(pairs)
                        .for_each(|(value, (rise, gradient))| *value = rise - gradient);
                })
            },
        )
    }

    /// The part with the largest violation of the optimality conditions, and its [`Working::first`].
    fn worst(&self) -> Option<(usize, usize, f64)> {
        let first = |part: usize| self.first(part).map(|(first, top)| (part, first, top));
        if self.rise.len() == 1 {
            return first(0);
        }
        let violation = |part: usize, top: f64| top + falling(&self.gradient, &self.fall[part]);
        let parts = (0..self.rise.len()).filter_map(first);
        parts.max_by(|a, b| violation(a.0, a.2).total_cmp(&violation(b.0, b.2)))
    }

    /// The variable of the part that gains most by falling as much as `first` grows, and the largest
    /// violation of the part's optimality conditions.
    fn second(&self, part: usize, first: usize, top: f64, row: &[f32]) -> Option<(usize, f64)> {
        let count = self.active.len();
        let own = self.diagonal[first % count];
        let mut best: Option<(usize, f64)> = None;
        let mut violation = f64::NEG_INFINITY;
        for (half, (gradient, fall)) in
            self.gradient.chunks_exact(count).zip(self.fall[part].chunks_exact(count)).enumerate()
        {
            let (gain, most) = vectorised(
                #[inline(always)]
                || {
                    let gain = largest(count, |start, values| {
                        let slopes = gradient[start..].iter().zip(&fall[start..]);
                        let kernels = self.diagonal[start..].iter().zip(&row[start..]);
                        for ((value, (gradient, fall)), (diagonal, &kernel)) in
                            values.iter_mut().zip(slopes).zip(kernels)
                        {
                            let slope = top + gradient + fall;
                            let curvature = own + diagonal - 2.0 * f64::from(kernel);
                            let curvature = if curvature > TINY { curvature } else { TINY };
                            let gain = slope * slope / curvature;
                            *value = if slope > 0.0 { gain } else { f64::NEG_INFINITY };
                        }
                    });
                    (gain, falling(gradient, fall))
                },
            );
            violation = violation.max(top + most);
            if let Some((place, gain)) = gain
                && best.is_none_or(|(_, other)| gain > other)
            {
                best = Some((half * count + place, gain));
            }
        }
        best.map(|(v, _)| (v, violation))
    }

    /// Moves the pair, of one part, to its optimum.
    fn step(&mut self, part: usize, (first, second): (usize, usize), row: &[f32], other: &[f32]) {
        let count = self.active.len();
        let (i, j) = (first % count, second % count);
        let curvature = (self.diagonal[i] + self.diagonal[j] - 2.0 * f64::from(row[j])).max(TINY);
        let wanted = (self.gradient[second] - self.gradient[first]) / curvature;
        let (up, down) = (self.upper[first] - self.beta[first], self.beta[second] - self.lower[second]);
        let step = wanted.min(up).min(down);
        self.beta[first] = if step == up { self.upper[first] } else { self.beta[first] + step };
        self.beta[second] = if step == down { self.lower[second] } else { self.beta[second] - step };
        for v in [first, second] {
            self.rise[part][v] = limit(self.beta[v] < self.upper[v]);
            self.fall[part][v] = limit(self.beta[v] > self.lower[v]);
        }
        vectorised(
            #[inline(always)]
            || {
                for gradient in self.gradient.chunks_exact_mut(count) {
                    for ((gradient, &own), &other) in gradient.iter_mut().zip(row).zip(other) {
                        *gradient += step * (f64::from(own) - f64::from(other));
                    }
                }
            },
        );
    }

    /// Sets aside the rows all of whose variables stand at limits that they want to go beyond. `beta`
    /// keeps what they had.
    fn shrink(&mut self, beta: &mut [f64]) {
        let count = self.active.len();
        let ends = |part: usize| {
            let top = self.first(part).map_or(f64::NEG_INFINITY, |(_, top)| top);
            (top, falling(&self.gradient, &self.fall[part]))
        };
        let ends: Vec<(f64, f64)> = (0..self.rise.len()).map(ends).collect();
        let stays = |v: usize| {
            let in_part = |(part, &(top, bottom)): (usize, &(f64, f64))| {
                let upward = self.rise[part][v] == 0.0 && -self.gradient[v] >= -bottom;
                let downward = self.fall[part][v] == 0.0 && -self.gradient[v] <= top;
                upward || downward
            };
            ends.iter().enumerate().any(in_part)
        };
        let kept: Vec<usize> =
            (0..count).filter(|row| (*row..self.beta.len()).step_by(count).any(stays)).collect();
        // Moving the rest together costs about as much as a tenth of it saves. At the optimum nothing is
        // left, which is for the solver to find out.
        if kept.is_empty() || kept.len() * 10 > count * 9 {
            return;
        }
        self.store(beta);
        let rows = |values: &[f64]| -> Vec<f64> {
            values.chunks_exact(count).flat_map(|half| kept.iter().map(|&row| half[row])).collect()
        };
        for values in [
            &mut self.columns,
            &mut self.norms,
            &mut self.diagonal,
            &mut self.gradient,
            &mut self.beta,
            &mut self.lower,
            &mut self.upper,
        ]
        .into_iter()
        .chain(&mut self.rise)
        .chain(&mut self.fall)
        {
            *values = rows(values);
        }
        self.cache.keep(&kept);
        self.active = kept.iter().map(|&row| self.active[row]).collect();
    }

    /// Writes the variables at work to their places among all.
    fn store(&self, beta: &mut [f64]) {
        let total = self.problem.rows.nrows();
        for (half, values) in self.beta.chunks_exact(self.active.len()).enumerate() {
            self.active.iter().zip(values).for_each(|(&row, &value)| beta[half * total + row] = value);
        }
    }
}

impl Problem<'_> {
    /// `K beta + linear`.
    fn gradient(&self, beta: &[f64]) -> Vec<f64> {
        let total = self.rows.nrows();
        let weights: Vec<f64> = (0..total).map(|row| beta.iter().skip(row).step_by(total).sum()).collect();
        let used: Vec<usize> = (0..total).filter(|&row| weights[row] != 0.0).collect();
        if used.is_empty() {
            return self.linear.clone();
        }
        let vectors = self.rows.select(Axis(0), &used);
        let weights = Array2::from_shape_fn((used.len(), 1), |(place, _)| weights[used[place]]);
        let sums = self.kernel.product(&self.rows, vectors.view(), weights.view());
        self.linear.iter().enumerate().map(|(v, linear)| linear + sums[[v % total, 0]]).collect()
    }

    /// The optimum.
    ///
    /// # Errors
    /// If it is not reached in many more steps than is usual.
    pub(super) fn solve(&self, name: &'static str, effort: Effort) -> Result<Solution> {
        let rows = self.rows.nrows();
        let mut beta = self.start.clone();
        let mut working = Working::new(self, beta.clone(), self.gradient(&beta), effort.cache);
        let (period, patience) = (rows.clamp(1, 1000), rows.saturating_mul(100).max(10_000_000));
        let most = effort.max_iter.unwrap_or(patience);
        let (mut iterations, mut until_shrink, mut near) = (0, period, false);
        loop {
            let pair = working.worst().and_then(|(part, first, top)| {
                let row = working.kernel_row(first % working.active.len());
                let (second, violation) = working.second(part, first, top, &row)?;
                Some((part, (first, second), row, violation)).filter(|_| violation >= effort.tolerance)
            });
            let Some((part, pair, row, violation)) = pair else {
                if working.active.len() == rows {
                    break;
                }
                working.store(&mut beta);
                working = Working::new(self, beta.clone(), self.gradient(&beta), effort.cache);
                until_shrink = 1;
                continue;
            };
            if iterations == most {
                if effort.max_iter.is_some() {
                    break;
                }
                let message = format!("no optimum after {iterations} steps; scale x, or raise tol");
                return Err(Error::op(name, message));
            }
            iterations += 1;
            let other = working.kernel_row(pair.1 % working.active.len());
            working.step(part, pair, &row, &other);
            until_shrink -= 1;
            if until_shrink > 0 {
                continue;
            }
            until_shrink = period;
            if !effort.shrinking {
                continue;
            }
            if !near && violation <= effort.tolerance * 10.0 {
                // Rows may have been set aside too early: close to the optimum, all are looked at again.
                near = true;
                working.store(&mut beta);
                if working.active.len() < rows {
                    working = Working::new(self, beta.clone(), self.gradient(&beta), effort.cache);
                }
            }
            working.shrink(&mut beta);
        }
        working.store(&mut beta);
        if working.active.len() < rows {
            working = Working::new(self, beta.clone(), self.gradient(&beta), effort.cache);
        }
        let (first, last) = (working.rho(0), working.rho(working.rise.len() - 1));
        let (rho, margin) = ((first + last) / 2.0, (first - last) / 2.0);
        if !rho.is_finite() || beta.iter().any(|value| !value.is_finite()) {
            return Err(Error::op(name, "the optimum is not finite; scale x"));
        }
        Ok(Solution { coefficients: beta, rho, margin, iterations })
    }
}

impl Working<'_> {
    /// The gradient of a part's variables between their limits, which are all but equal; without any, the
    /// middle of what the others allow.
    fn rho(&self, part: usize) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        let (mut above, mut below) = (f64::INFINITY, f64::NEG_INFINITY);
        for (v, &gradient) in self.gradient.iter().enumerate() {
            match (self.rise[part][v] == 0.0, self.fall[part][v] == 0.0) {
                (true, true) => (sum, count) = (sum + gradient, count + 1.0),
                (true, false) => above = above.min(gradient),
                (false, true) => below = below.max(gradient),
                (false, false) => {}
            }
        }
        match (count > 0.0, above.is_finite(), below.is_finite()) {
            (true, ..) => sum / count,
            (false, true, true) => (above + below) / 2.0,
            (false, true, false) => above,
            (false, false, _) => {
                if below.is_finite() {
                    below
                } else {
                    0.0
                }
            }
        }
    }
}
