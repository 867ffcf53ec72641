//! Probabilities from decisions.

use ndarray::{Array2, ArrayView1};

/// The probability of the upper side of a decision as `1 / (1 + exp(slope * decision + offset))`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Sigmoid {
    slope: f64,
    offset: f64,
}

impl Sigmoid {
    /// The sigmoid under which the sides that decisions should have had are likeliest (Platt, 1999), by
    /// Newton's method with line search (Lin, Lin and Weng, 2007).
    pub(super) fn fit(decisions: &[f64], upper: &[bool]) -> Sigmoid {
        let above = upper.iter().filter(|upper| **upper).count() as f64;
        let below = upper.len() as f64 - above;
        let target = |upper: bool| if upper { (above + 1.0) / (above + 2.0) } else { 1.0 / (below + 2.0) };
        let loss = |sigmoid: Sigmoid| -> f64 {
            let terms = decisions.iter().zip(upper).map(|(decision, &upper)| {
                let (z, target) = (sigmoid.slope * decision + sigmoid.offset, target(upper));
                let rest = (-z.abs()).exp().ln_1p();
                if z >= 0.0 { target * z + rest } else { (target - 1.0) * z + rest }
            });
            terms.sum()
        };
        let mut best = Sigmoid { slope: 0.0, offset: ((below + 1.0) / (above + 1.0)).ln() };
        let mut value = loss(best);
        for _ in 0..100 {
            // The ridge keeps the Hessian positive definite.
            let (mut h11, mut h22, mut h21, mut g1, mut g2) = (1e-12, 1e-12, 0.0, 0.0, 0.0);
            for (decision, &upper) in decisions.iter().zip(upper) {
                let probability = best.probability(*decision);
                let curvature = probability * (1.0 - probability);
                h11 += decision * decision * curvature;
                h22 += curvature;
                h21 += decision * curvature;
                let error = target(upper) - probability;
                g1 += decision * error;
                g2 += error;
            }
            if g1.abs() < 1e-5 && g2.abs() < 1e-5 {
                break;
            }
            let determinant = h11 * h22 - h21 * h21;
            let (slope, offset) = (-(h22 * g1 - h21 * g2) / determinant, (h21 * g1 - h11 * g2) / determinant);
            let descent = g1 * slope + g2 * offset;
            let mut step = 1.0;
            let improved = loop {
                let next = Sigmoid { slope: best.slope + step * slope, offset: best.offset + step * offset };
                let found = loss(next);
                if found < value + 1e-4 * step * descent {
                    (best, value) = (next, found);
                    break true;
                }
                step /= 2.0;
                if step < 1e-10 {
                    break false;
                }
            };
            if !improved {
                break;
            }
        }
        best
    }

    pub(super) fn probability(self, decision: f64) -> f64 {
        let z = self.slope * decision + self.offset;
        if z >= 0.0 { (-z).exp() / (1.0 + (-z).exp()) } else { 1.0 / (1.0 + z.exp()) }
    }
}

/// Probabilities of `classes` from those of each class against each later one, in the order (0, 1),
/// (0, 2) and so on (Wu, Lin and Weng, 2004, second method).
pub(super) fn couple(classes: usize, pairs: ArrayView1<'_, f64>) -> Vec<f64> {
    let mut against = Array2::<f64>::zeros((classes, classes));
    let mut pair = pairs.iter();
    for i in 0..classes {
        for j in i + 1..classes {
            let probability = pair.next().map_or(0.5, |value| value.clamp(1e-7, 1.0 - 1e-7));
            against[[i, j]] = probability;
            against[[j, i]] = 1.0 - probability;
        }
    }
    let q = Array2::from_shape_fn((classes, classes), |(i, j)| {
        if i == j {
            (0..classes).filter(|&k| k != i).map(|k| against[[k, i]].powi(2)).sum()
        } else {
            -against[[j, i]] * against[[i, j]]
        }
    });
    let mut p = vec![1.0 / classes as f64; classes];
    for _ in 0..classes.max(100) {
        let mut qp: Vec<f64> = (0..classes).map(|i| (0..classes).map(|j| q[[i, j]] * p[j]).sum()).collect();
        let mut total: f64 = p.iter().zip(&qp).map(|(p, qp)| p * qp).sum();
        let worst = qp.iter().map(|qp| (qp - total).abs()).fold(0.0, f64::max);
        if worst < 0.005 / classes as f64 {
            break;
        }
        for i in 0..classes {
            let change = (total - qp[i]) / q[[i, i]];
            p[i] += change;
            total = (total + change * (change * q[[i, i]] + 2.0 * qp[i])) / (1.0 + change).powi(2);
            for j in 0..classes {
                qp[j] = (qp[j] + change * q[[i, j]]) / (1.0 + change);
                p[j] /= 1.0 + change;
            }
        }
    }
    p
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decisions whose probabilities are those of a known sigmoid give that sigmoid back.
    #[test]
    fn the_sigmoid_is_found_again() {
        let truth = Sigmoid { slope: -1.7, offset: 0.4 };
        let (mut decisions, mut upper) = (Vec::new(), Vec::new());
        for step in -20..=20 {
            let decision = f64::from(step) / 8.0;
            let share = (truth.probability(decision) * 1000.0).round() as usize;
            decisions.extend(vec![decision; 1000]);
            upper.extend((0..1000).map(|row| row < share));
        }
        let found = Sigmoid::fit(&decisions, &upper);
        assert!(
            (found.slope - truth.slope).abs() < 0.01 && (found.offset - truth.offset).abs() < 0.01,
            "{found:?}"
        );
    }

    /// Pairs that follow from probabilities of classes give these back.
    #[test]
    fn coupling_inverts_pairs() {
        let truth = [0.5, 0.3, 0.15, 0.05];
        let mut pairs = Vec::new();
        for i in 0..4 {
            pairs.extend((i + 1..4).map(|j| truth[i] / (truth[i] + truth[j])));
        }
        let found = couple(4, ArrayView1::from(&pairs));
        for (found, truth) in found.iter().zip(truth) {
            assert!((found - truth).abs() < 0.003, "{found} against {truth}");
        }
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
