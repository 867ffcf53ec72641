//! Functions that loops become vectors with: without branches, tables and calls.

use std::f32::consts::{FRAC_2_SQRT_PI, LOG2_E};

/// The exponential, by the polynomial of S. L. Moshier's Cephes library (expf.c): within 2e-7 of the value,
/// relative to it.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to a whole number, which its lowest bits then hold.
    const ROUND: f32 = 12_582_912.0;
    // Comparisons and not `clamp`, which is slower, nor `min` and `max`, which lose NaN. Beyond these it
    // overflows, or is 0.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = ((((1.987_569_1e-4 * r + 1.398_2e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r
        + 0.166_666_65)
        * r
        + 0.5;
    // Two powers of 2, since that of a number without leading 1 has no bits of its own.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    let half = n >> 1;
    (p * r * r + r + 1.0) * power(half) * power(n.wrapping_sub(half))
}

/// Within 4e-7 of the value, relative to it.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Near 0 by the polynomial of Cephes (tanhf.c): within 3e-7 of the value, relative to it.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let (a, s) = (x.abs(), x * x);
    let p = (((-5.704_988_7e-3 * s + 2.063_909e-2) * s - 5.373_971_5e-2) * s + 0.133_314_2) * s - 0.333_332_8;
    let far = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    (if a < 0.625 { a + a * s * p } else { far }).copysign(x)
}

/// The error function: below 1 by its series, beyond by the tail of Numerical Recipes' erfcc. Within 2e-7 of
/// the value, relative to it.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let (z, s) = (x.abs(), x * x);
    // 1 / (n! (2n + 1)), with alternating signs.
    let series =
        ((((((((-1.450_385_2e-7 * s + 1.458_916_9e-6) * s - 1.322_751_3e-5) * s + 1.068_376_1e-4) * s
            - 7.575_757_6e-4)
            * s
            + 4.629_629_6e-3)
            * s
            - 2.380_952_4e-2)
            * s
            + 0.1)
            * s
            - 0.333_333_33)
            * s
            + 1.0;
    let t = 1.0 / (1.0 + 0.5 * z);
    let tail = ((((((((0.170_872_77 * t - 0.822_152_23) * t + 1.488_515_9) * t - 1.135_204) * t
        + 0.278_868_08)
        * t
        - 0.186_288_06)
        * t
        + 0.096_784_18)
        * t
        + 0.374_091_96)
        * t
        + 1.000_023_7)
        * t
        - 1.265_512_2;
    let far = (1.0 - t * exp(tail - s)).copysign(x);
    if z < 1.0 { FRAC_2_SQRT_PI * x * series } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `function` is as near to `exact` as it says, for arguments up to `reach` on both sides.
    fn check(function: fn(f32) -> f32, exact: fn(f64) -> f64, reach: f32, allowed: f64) {
        for step in -100_000..=100_000 {
            let x = step as f32 * (reach / 1e5) + 1e-6;
            let (value, exact) = (f64::from(function(x)), exact(f64::from(x)));
            // What has no leading 1 has fewer digits.
            let allowed = allowed * exact.abs() + f64::from(f32::from_bits(1));
            assert!((value - exact).abs() <= allowed, "{x}: {value}, not {exact}");
        }
        assert!(function(f32::NAN).is_nan());
    }

    #[test]
    fn functions_are_as_near_as_they_say() {
        check(exp, f64::exp, 88.7, 2e-7);
        check(exp, f64::exp, 1.0, 2e-7);
        check(tanh, f64::tanh, 88.0, 3e-7);
        check(tanh, f64::tanh, 2.0, 3e-7);
        check(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 86.0, 4e-7);
    }

    /// By the values of Abramowitz and Stegun's table 7.1.
    #[test]
    fn the_error_function_is_as_near_as_it_says() {
        let table = [
            (0.02, 0.022_564_574_7),
            (0.5, 0.520_499_877_8),
            (0.98, 0.834_231_504_3),
            (1.0, 0.842_700_792_9),
            (1.5, 0.966_105_146_5),
            (2.0, 0.995_322_265_0),
        ];
        for (x, exact) in table {
            for (x, exact) in [(x, exact), (-x, -exact)] {
                assert!((f64::from(erf(x)) - exact).abs() <= 2e-7 * exact.abs(), "{x}: {}", erf(x));
            }
        }
        assert!(erf(f32::NAN).is_nan());
    }

    #[test]
    fn functions_have_their_limits() {
        let infinity = f32::INFINITY;
        assert_eq!([exp(infinity), exp(89.0), exp(-infinity), exp(0.0)], [infinity, infinity, 0.0, 1.0]);
        assert!(exp(88.72).is_finite() && exp(-103.0) > 0.0);
        assert_eq!([tanh(1e-30), tanh(infinity), tanh(-200.0)], [1e-30, 1.0, -1.0]);
        assert_eq!([sigmoid(infinity), sigmoid(-infinity), sigmoid(0.0)], [1.0, 0.0, 0.5]);
        assert_eq!(
            [erf(infinity), erf(-infinity), erf(0.0), erf(1e-30)],
            [1.0, -1.0, 0.0, FRAC_2_SQRT_PI * 1e-30]
        );
        assert!(erf(-0.0).is_sign_negative() && tanh(-0.0).is_sign_negative());
    }
}
