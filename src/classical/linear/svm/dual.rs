//! Coordinate descent on the dual of a linear support vector machine, with shrinking: for classes
//! Hsieh, Chang, Lin, Keerthi and Sundararajan (2008), for regression Ho and Lin (2012).

use super::Samples;
use fastrand::Rng;

/// Smaller moves of a dual variable are not made.
const LEAST: f64 = 1e-12;

/// When to stop, and in which order to go.
pub(super) struct Descent {
    pub tol: f64,
    pub max_iter: usize,
    pub rng: Rng,
}

/// The box of a dual variable and the quadratic term that the loss adds to it: a loss that grows
/// linearly bounds it by the sample's cost, one that grows quadratically adds `1 / (2 cost)`.
fn bound(cost: f64, squared: bool) -> (f64, f64) {
    if squared { (f64::INFINITY, 0.5 / cost) } else { (cost, 0.0) }
}

/// Samples in the order they are visited; those beyond `len` are shrunk away.
struct Order {
    order: Vec<usize>,
    len: usize,
}

impl Order {
    /// All samples that cost anything.
    fn new(costs: &[f64]) -> Order {
        let order: Vec<usize> = (0..costs.len()).filter(|&row| costs[row] > 0.0).collect();
        Order { len: order.len(), order }
    }

    fn shuffle(&mut self, rng: &mut Rng) {
        rng.shuffle(&mut self.order[..self.len]);
    }

    fn shrink(&mut self, at: usize) {
        self.len -= 1;
        self.order.swap(at, self.len);
    }

    /// Whether none was shrunk away; all are back afterwards.
    fn restore(&mut self) -> bool {
        let whole = self.len == self.order.len();
        self.len = self.order.len();
        whole
    }
}

/// The weight vector and iterations for classes `y` of -1 and 1 and the hinge loss or its square.
pub(super) fn classify(
    samples: Samples<'_>,
    y: &[f64],
    costs: &[f64],
    squared: bool,
    mut descent: Descent,
) -> (Vec<f64>, usize) {
    let mut w = vec![0.0; samples.features + 1];
    let mut alpha = vec![0.0_f64; samples.count];
    let norms: Vec<f64> = (0..samples.count).map(|row| samples.squared_norm(row)).collect();
    let mut order = Order::new(costs);
    let (mut highest, mut lowest) = (f64::INFINITY, f64::NEG_INFINITY);
    for iteration in 1..=descent.max_iter {
        let (mut greatest, mut least) = (f64::NEG_INFINITY, f64::INFINITY);
        order.shuffle(&mut descent.rng);
        let mut at = 0;
        while at < order.len {
            let row = order.order[at];
            let (upper, diagonal) = bound(costs[row], squared);
            let gradient = y[row] * samples.dot(row, &w) - 1.0 + diagonal * alpha[row];
            let shrinks = alpha[row] == 0.0 && gradient > highest || alpha[row] >= upper && gradient < lowest;
            if shrinks {
                order.shrink(at);
                continue;
            }
            at += 1;
            // What is left of the gradient at the edges of the box.
            let projected = if alpha[row] == 0.0 {
                gradient.min(0.0)
            } else if alpha[row] >= upper {
                gradient.max(0.0)
            } else {
                gradient
            };
            greatest = greatest.max(projected);
            least = least.min(projected);
            if projected.abs() > LEAST {
                let old = alpha[row];
                let curvature = norms[row] + diagonal;
                // A sample of zeros without intercept: its loss is constant and its variable at the bound.
                alpha[row] =
                    if curvature > 0.0 { (old - gradient / curvature).clamp(0.0, upper) } else { upper };
                samples.add_to(row, &mut w, (alpha[row] - old) * y[row]);
            }
        }
        if greatest - least <= descent.tol {
            if order.restore() {
                return (w, iteration);
            }
            (highest, lowest) = (f64::INFINITY, f64::NEG_INFINITY);
        } else {
            highest = if greatest > 0.0 { greatest } else { f64::INFINITY };
            lowest = if least < 0.0 { least } else { f64::NEG_INFINITY };
        }
    }
    (w, descent.max_iter)
}

/// The weight vector and iterations for targets `y` and the loss `max(0, |y - w x| - epsilon)` or its
/// square.
pub(super) fn regress(
    samples: Samples<'_>,
    y: &[f64],
    costs: &[f64],
    epsilon: f64,
    squared: bool,
    mut descent: Descent,
) -> (Vec<f64>, usize) {
    let mut w = vec![0.0; samples.features + 1];
    let mut beta = vec![0.0_f64; samples.count];
    let norms: Vec<f64> = (0..samples.count).map(|row| samples.squared_norm(row)).collect();
    let mut order = Order::new(costs);
    let (mut highest, mut first) = (f64::INFINITY, None);
    for iteration in 1..=descent.max_iter {
        let (mut greatest, mut sum) = (0.0_f64, 0.0);
        order.shuffle(&mut descent.rng);
        let mut at = 0;
        while at < order.len {
            let row = order.order[at];
            let (upper, diagonal) = bound(costs[row], squared);
            let old = beta[row];
            let gradient = samples.dot(row, &w) - y[row] + diagonal * old;
            let (above, below) = (gradient + epsilon, gradient - epsilon);
            let shrinks = if old == 0.0 {
                above > highest && below < -highest
            } else if old >= upper {
                above < -highest
            } else {
                old <= -upper && below > highest
            };
            if shrinks {
                order.shrink(at);
                continue;
            }
            at += 1;
            let violation = if old == 0.0 {
                (-above).max(below).max(0.0)
            } else if old >= upper {
                above.max(0.0)
            } else if old <= -upper {
                (-below).max(0.0)
            } else if old > 0.0 {
                above.abs()
            } else {
                below.abs()
            };
            greatest = greatest.max(violation);
            sum += violation;
            let curvature = norms[row] + diagonal;
            if curvature == 0.0 {
                continue;
            }
            let step = if above < curvature * old {
                -above / curvature
            } else if below > curvature * old {
                -below / curvature
            } else {
                -old
            };
            if step.abs() > LEAST {
                beta[row] = (old + step).clamp(-upper, upper);
                samples.add_to(row, &mut w, beta[row] - old);
            }
        }
        if sum <= descent.tol * *first.get_or_insert(sum) {
            if order.restore() {
                return (w, iteration);
            }
            highest = f64::INFINITY;
        } else {
            highest = greatest;
        }
    }
    (w, descent.max_iter)
}
