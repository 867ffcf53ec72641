//! Reproducible random numbers: a stream for each part of the work, so that the result does not depend
//! on the number of threads.

use fastrand::Rng;

/// The generator of part `index` (a tree, a fold, a restart) of the work seeded with `seed`.
pub fn stream(seed: u64, index: usize) -> Rng {
    // The golden ratio's step and the finaliser of SplitMix64 keep neighbouring streams apart.
    let mut x = seed.wrapping_add((index as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Rng::with_seed(x ^ (x >> 31))
}

/// A normal variate of mean 0 and deviation 1 (Marsaglia's polar method).
pub fn normal(rng: &mut Rng) -> f64 {
    loop {
        let (u, v) = (2.0 * rng.f64() - 1.0, 2.0 * rng.f64() - 1.0);
        let square = u * u + v * v;
        if square > 0.0 && square < 1.0 {
            return u * (-2.0 * square.ln() / square).sqrt();
        }
    }
}

/// A beta variate, from two gamma variates.
pub fn beta(rng: &mut Rng, a: f64, b: f64) -> f64 {
    let (x, y) = (gamma(rng, a), gamma(rng, b));
    x / (x + y)
}

/// A gamma variate of a shape above 0 (Marsaglia and Tsang, 2000).
fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        return gamma(rng, shape + 1.0) * (1.0 - rng.f64()).powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.f64()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// The numbers below `n` in a random order.
pub fn permutation(rng: &mut Rng, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut order);
    order
}

/// The index of a weight drawn with its weight's probability; the weights are not all 0.
pub fn weighted(rng: &mut Rng, weights: &[f64]) -> usize {
    let mut left = rng.f64() * weights.iter().sum::<f64>();
    let mut last = 0;
    for (index, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        last = index;
        left -= weight;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// `count` indices drawn as [`weighted`] draws one, in logarithmic time each.
pub fn weighted_many(rng: &mut Rng, weights: &[f64], count: usize) -> Vec<usize> {
    let mut sum = 0.0;
    let sums: Vec<f64> = weights
        .iter()
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect();
    let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap_or_default();
    (0..count)
        .map(|_| {
            let drawn = rng.f64() * sum;
            sums.partition_point(|&sum| sum <= drawn).min(last)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_its_moments() {
        let mut rng = stream(1, 0);
        let values: Vec<f64> = (0..100_000).map(|_| normal(&mut rng)).collect();
        let moment =
            |power: i32| values.iter().map(|value| value.powi(power)).sum::<f64>() / values.len() as f64;
        for (power, expected, error) in [(1, 0.0, 0.01), (2, 1.0, 0.015), (3, 0.0, 0.04), (4, 3.0, 0.1)] {
            assert!((moment(power) - expected).abs() < error, "moment {power}: {}", moment(power));
        }
    }

    #[test]
    fn beta_has_its_moments() {
        let mut rng = stream(3, 0);
        for (a, b) in [(0.3, 0.3), (1.0, 1.0), (4.0, 2.0), (30.0, 70.0)] {
            let draws: Vec<f64> = (0..50_000).map(|_| beta(&mut rng, a, b)).collect();
            let mean = draws.iter().sum::<f64>() / 50_000.0;
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 50_000.0;
            assert!((mean - a / (a + b)).abs() < 0.005, "{mean}");
            let expected = a * b / ((a + b).powi(2) * (a + b + 1.0));
            assert!((variance / expected - 1.0).abs() < 0.05, "{variance} against {expected}");
        }
    }

    #[test]
    fn weighted_follows_the_weights() {
        let mut rng = stream(2, 0);
        let weights = [0.0, 1.0, 3.0, 0.0];
        let one_by_one = (0..40_000).map(|_| weighted(&mut rng, &weights)).collect();
        for drawn in [one_by_one, weighted_many(&mut rng, &weights, 40_000)] {
            let share = |index| drawn.iter().filter(|&&drawn| drawn == index).count() as f64 / 40_000.0;
            assert_eq!((share(0), share(3)), (0.0, 0.0));
            assert!((share(2) - 0.75).abs() < 0.01, "{}", share(2));
        }
    }
}
