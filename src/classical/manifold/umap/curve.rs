//! The curve of attraction over distance.

/// Points at which the curve is compared with what it should be.
const POINTS: usize = 300;

/// `a` and `b` for which `1 / (1 + a d^(2 b))` is nearest to 1 up to `min_dist` and an exponential of scale
/// `spread` from there: least squares by Levenberg and Marquardt's method.
pub(super) fn fit(spread: f64, min_dist: f64) -> (f64, f64) {
    let points: Vec<(f64, f64)> = (0..POINTS)
        .map(|i| {
            let x = 3.0 * spread * i as f64 / (POINTS - 1) as f64;
            (x, if x < min_dist { 1.0 } else { (-(x - min_dist) / spread).exp() })
        })
        .collect();
    let curve = |a: f64, b: f64, x: f64| 1.0 / (1.0 + a * x.powf(2.0 * b));
    let loss = |a: f64, b: f64| -> f64 { points.iter().map(|&(x, y)| (y - curve(a, b, x)).powi(2)).sum() };
    let (mut a, mut b, mut damping) = (1.0_f64, 1.0_f64, 1e-3);
    let mut now = loss(a, b);
    for _ in 0..200 {
        // Sums of products of the slopes in a and b, and of slopes with errors.
        let (mut aa, mut ab, mut bb, mut ea, mut eb) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(x, y) in points.iter().filter(|point| point.0 > 0.0) {
            let (value, power) = (curve(a, b, x), x.powf(2.0 * b));
            let slope_a = -value * value * power;
            let slope_b = slope_a * a * 2.0 * x.ln();
            let error = y - value;
            aa += slope_a * slope_a;
            ab += slope_a * slope_b;
            bb += slope_b * slope_b;
            ea += slope_a * error;
            eb += slope_b * error;
        }
        let (da, db) = (aa * (1.0 + damping), bb * (1.0 + damping));
        let determinant = da * db - ab * ab;
        let step = ((db * ea - ab * eb) / determinant, (da * eb - ab * ea) / determinant);
        let next = loss(a + step.0, b + step.1);
        if next <= now {
            (a, b) = (a + step.0, b + step.1);
            damping *= 0.3;
            if now - next <= 1e-15 * now {
                break;
            }
            now = next;
        } else {
            // Also where the step led to no number at all.
            damping *= 5.0;
        }
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    /// scipy 1.17's curve_fit, as umap-learn calls it.
    #[test]
    fn curves_are_scipy_s() {
        for (spread, min_dist, a, b) in [
            (1.0, 0.1, 1.576_943_460_3, 0.895_060_877_9),
            (1.0, 0.5, 0.583_030_020_3, 1.334_166_992_4),
            (2.0, 0.3, 0.379_494_688_6, 0.948_815_219_4),
            (1.0, 0.0, 1.932_808_397_3, 0.790_494_973_2),
        ] {
            let found = super::fit(spread, min_dist);
            assert!((found.0 - a).abs() < 1e-5 && (found.1 - b).abs() < 1e-5, "{found:?}");
        }
    }
}
