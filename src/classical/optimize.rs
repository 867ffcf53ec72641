//! Minimisation of smooth functions: L-BFGS (Liu and Nocedal, 1989) with a line search for the strong
//! Wolfe conditions.

/// Steps that the approximation of the Hessian remembers.
const MEMORY: usize = 10;
/// Decrease, as a share of what the slope promises, that a step must bring.
const DECREASE: f64 = 1e-4;
/// What is left of the slope after a step, at most.
const CURVATURE: f64 = 0.9;
/// Points that a line search tries.
const TRIALS: usize = 50;

/// Where a minimisation ended.
#[derive(Debug, Clone)]
pub struct Minimum {
    /// The point.
    pub point: Vec<f64>,
    /// How many steps were taken.
    pub iterations: usize,
}

/// Walks from `point` until no component of the gradient is greater than `tol`, `max_iter` steps are
/// taken or the value cannot be lowered any more. `function` fills in the gradient and returns the value;
/// `None` if that is not finite at the start.
pub fn lbfgs(
    mut point: Vec<f64>,
    tol: f64,
    max_iter: usize,
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Option<Minimum> {
    let mut gradient = vec![0.0; point.len()];
    let mut value = function(&point, &mut gradient);
    if !value.is_finite() || !gradient.iter().all(|value| value.is_finite()) {
        return None;
    }
    let mut history: Vec<(Vec<f64>, Vec<f64>, f64)> = Vec::new();
    let mut iterations = 0;
    while iterations < max_iter && gradient.iter().any(|value| value.abs() > tol) {
        let mut direction = descent(&gradient, &history);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 || !slope.is_finite() {
            // Rounding has spoiled the memory: begin anew along the gradient.
            history.clear();
            direction = gradient.iter().map(|value| -value).collect();
            slope = dot(&direction, &gradient);
        }
        let first =
            if history.is_empty() { 1.0_f64.min(1.0 / dot(&gradient, &gradient).sqrt()) } else { 1.0 };
        let start = End { step: 0.0, value, slope };
        let found = line_search(start, first, |step| {
            let trial: Vec<f64> = point.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            let mut gradient = vec![0.0; trial.len()];
            let value = function(&trial, &mut gradient);
            (value, dot(&gradient, &direction), trial, gradient)
        });
        let Some((lower, trial, new_gradient)) = found else {
            if history.is_empty() {
                break;
            }
            history.clear();
            continue;
        };
        let moved: Vec<f64> = trial.iter().zip(&point).map(|(new, old)| new - old).collect();
        let turned: Vec<f64> = new_gradient.iter().zip(&gradient).map(|(new, old)| new - old).collect();
        let curvature = dot(&moved, &turned);
        if curvature > f64::EPSILON * dot(&turned, &turned) {
            if history.len() == MEMORY {
                history.remove(0);
            }
            history.push((moved, turned, curvature));
        }
        (point, gradient, value) = (trial, new_gradient, lower);
        iterations += 1;
    }
    Some(Minimum { point, iterations })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The two-loop recursion: minus the approximate inverse Hessian times the gradient.
fn descent(gradient: &[f64], history: &[(Vec<f64>, Vec<f64>, f64)]) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|value| -value).collect();
    let add = |to: &mut [f64], scale: f64, from: &[f64]| {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += scale * from)
    };
    let mut shares = Vec::with_capacity(history.len());
    for (moved, turned, curvature) in history.iter().rev() {
        let share = dot(moved, &direction) / curvature;
        add(&mut direction, -share, turned);
        shares.push(share);
    }
    if let Some((_, turned, curvature)) = history.last() {
        let scale = curvature / dot(turned, turned);
        direction.iter_mut().for_each(|value| *value *= scale);
    }
    for ((moved, turned, curvature), share) in history.iter().zip(shares.iter().rev()) {
        let back = dot(turned, &direction) / curvature;
        add(&mut direction, share - back, moved);
    }
    direction
}

/// A place on the line, its value and slope.
#[derive(Clone, Copy)]
struct End {
    step: f64,
    value: f64,
    slope: f64,
}

/// A step that satisfies the strong Wolfe conditions, or, where the values no longer differ by more than
/// rounding, their form for slopes alone (Hager and Zhang, 2005): value, point and gradient there.
fn line_search(
    start: End,
    first: f64,
    mut evaluate: impl FnMut(f64) -> (f64, f64, Vec<f64>, Vec<f64>),
) -> Option<(f64, Vec<f64>, Vec<f64>)> {
    let rounding = 1e-14 * start.value.abs();
    let (mut low, mut high): (End, Option<End>) = (start, None);
    let mut step = first;
    for _ in 0..TRIALS {
        let (value, slope, trial, gradient) = evaluate(step);
        let finite = value.is_finite() && slope.is_finite();
        let flat = (value - start.value).abs() <= rounding && slope <= (2.0 * DECREASE - 1.0) * start.slope;
        let enough = finite && (value <= start.value + DECREASE * step * start.slope || flat);
        if enough && slope.abs() <= -CURVATURE * start.slope {
            return Some((value, trial, gradient));
        }
        let here = End { step, value, slope };
        if !enough || value > low.value + rounding {
            high = Some(here);
        } else {
            let towards = high.map_or(1.0, |high| high.step - low.step);
            if slope * towards >= 0.0 {
                high = Some(low);
            }
            low = here;
        }
        let Some(high) = high else {
            step *= 4.0;
            continue;
        };
        if (high.step - low.step).abs() <= f64::EPSILON * low.step {
            break;
        }
        step = between(low, high);
    }
    None
}

/// A step between two: the minimum of the parabola through them, kept away from both.
fn between(low: End, high: End) -> f64 {
    let width = high.step - low.step;
    let bend = high.value - low.value - low.slope * width;
    let share = -low.slope * width / (2.0 * bend);
    low.step + width * if share.is_finite() { share.clamp(0.1, 0.9) } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosenbrock_in_ten_dimensions() {
        let minimum = lbfgs(vec![-1.0; 10], 1e-9, 1000, |x, gradient| {
            gradient.fill(0.0);
            let mut value = 0.0;
            for i in 0..9 {
                let (a, b) = (1.0 - x[i], x[i + 1] - x[i] * x[i]);
                value += a * a + 100.0 * b * b;
                gradient[i] += -2.0 * a - 400.0 * x[i] * b;
                gradient[i + 1] += 200.0 * b;
            }
            value
        })
        .expect("the function is finite");
        assert!(minimum.point.iter().all(|x| (x - 1.0).abs() < 1e-7), "{minimum:?}");
        assert!(minimum.iterations < 200, "{}", minimum.iterations);
    }

    #[test]
    fn infinite_values_are_stepped_back_from() {
        // 1/x + x, infinite at and below 0, from far right: the first step overshoots.
        let minimum = lbfgs(vec![1e-3], 1e-10, 100, |x, gradient| {
            gradient[0] = 1.0 - 1.0 / (x[0] * x[0]);
            if x[0] > 0.0 { x[0] + 1.0 / x[0] } else { f64::INFINITY }
        })
        .expect("the function is finite at the start");
        assert!((minimum.point[0] - 1.0).abs() < 1e-7);
        assert!(lbfgs(vec![0.0], 1e-3, 5, |_, _| f64::NAN).is_none());
    }
}
