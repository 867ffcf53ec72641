//! Functions of one tensor.

use super::{no_gradient, unary_methods};
use crate::expr::{Row, Rule, each};
use crate::ops::math;
use crate::{Operand, Result, Tensor};

pub(super) const ROWS: &[&Row] = &[
    &NEG,
    &ABS,
    &SIGN,
    &EXP,
    &EXPM1,
    &LOG,
    &LOG1P,
    &SQRT,
    &RSQRT,
    &RECIPROCAL,
    &SQUARE,
    &SIN,
    &COS,
    &TAN,
    &ATAN,
    &TANH,
    &ERF,
    &FLOOR,
    &CEIL,
    &ROUND,
    &TRUNC,
    &ISNAN,
    &ISINF,
    &ISFINITE,
    &CLAMP,
];

unary_methods! {
    /// The negative.
    neg => NEG;
    /// The absolute value; gradient 0 at 0.
    abs => ABS;
    /// -1, 0 or 1. Gradient 0.
    sign => SIGN;
    /// e to the power of each element.
    exp => EXP;
    /// `exp(x) - 1`, accurate near 0.
    expm1 => EXPM1;
    /// The natural logarithm.
    log => LOG;
    /// `log(1 + x)`, accurate near 0.
    log1p => LOG1P;
    /// The square root.
    sqrt => SQRT;
    /// One over the square root.
    rsqrt => RSQRT;
    /// One over each element.
    reciprocal => RECIPROCAL;
    /// Each element times itself.
    square => SQUARE;
    /// The sine, of radians.
    sin => SIN;
    /// The cosine, of radians.
    cos => COS;
    /// The tangent, of radians.
    tan => TAN;
    /// The arc tangent, in radians.
    atan => ATAN;
    /// The hyperbolic tangent.
    tanh => TANH;
    /// The error function.
    erf => ERF;
    /// The next whole number below. Gradient 0.
    floor => FLOOR;
    /// The next whole number above. Gradient 0.
    ceil => CEIL;
    /// The nearest whole number, halves to even. Gradient 0.
    round => ROUND;
    /// The next whole number towards 0. Gradient 0.
    trunc => TRUNC;
    /// Where an element is NaN, as `Bool`.
    isnan => ISNAN;
    /// Where an element is infinite, as `Bool`.
    isinf => ISINF;
    /// Where an element is neither NaN nor infinite, as `Bool`.
    isfinite => ISFINITE;
}

impl Tensor {
    /// Elements below `min` become `min`, those above `max` become `max` (`max` everywhere if `min` is
    /// above it), broadcast; NaN wins. The gradient flows to elements strictly between the bounds, and
    /// elsewhere to the bound that took their place. PyTorch's `clamp`.
    pub fn clamp<'a>(&self, min: impl Into<Operand<'a>>, max: impl Into<Operand<'a>>) -> Result<Tensor> {
        super::record(&CLAMP, self, &[min.into(), max.into()])
    }

    /// [`clamp`](Tensor::clamp) with a lower bound alone.
    pub fn clamp_min<'a>(&self, min: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.clamp(min, f64::INFINITY)
    }

    /// [`clamp`](Tensor::clamp) with an upper bound alone.
    pub fn clamp_max<'a>(&self, max: impl Into<Operand<'a>>) -> Result<Tensor> {
        self.clamp(f64::NEG_INFINITY, max)
    }
}

macro_rules! float {
    ($row:ident, $name:literal, $wgsl:literal, |$a:ident| $value:expr, $gradient:expr) => {
        pub(crate) static $row: Row = Row {
            name: $name,
            rule: Rule::Map(1),
            wgsl: $wgsl,
            float: each!(|$a: f32| -> f32 { $value }),
            int: None,
            bool: None,
            gradient: $gradient,
        };
    };
}

static NEG: Row = Row {
    name: "neg",
    rule: Rule::Map(1),
    wgsl: "-a",
    float: each!(|a: f32| -> f32 { -a }),
    int: each!(|a: i32| -> i32 { a.wrapping_neg() }),
    bool: None,
    gradient: |_, _, g| Ok(vec![Some(g.neg()?)]),
};

static ABS: Row = Row {
    name: "abs",
    rule: Rule::Map(1),
    wgsl: "abs(a)",
    float: each!(|a: f32| -> f32 { a.abs() }),
    int: each!(|a: i32| -> i32 { a.wrapping_abs() }),
    bool: None,
    gradient: |x, _, g| Ok(vec![Some(g.mul(&x[0].sign()?)?)]),
};

static SIGN: Row = Row {
    name: "sign",
    rule: Rule::Map(1),
    wgsl: "{T}(a > {T}(0)) - {T}(a < {T}(0))",
    float: each!(|a: f32| -> f32 { f32::from(i8::from(a > 0.0) - i8::from(a < 0.0)) }),
    int: each!(|a: i32| -> i32 { a.signum() }),
    bool: None,
    gradient: no_gradient,
};

float!(EXP, "exp", "exp_f32(a)", |a| math::exp(a), |_, y, g| Ok(vec![Some(g.mul(y)?)]));
float!(EXPM1, "expm1", "expm1_f32(a)", |a| a.exp_m1(), |_, y, g| Ok(vec![Some(g.mul(&y.add(1.0)?)?)]));
float!(LOG, "log", "log_f32(a)", |a| a.ln(), |x, _, g| Ok(vec![Some(g.div(&x[0])?)]));
float!(LOG1P, "log1p", "log1p_f32(a)", |a| a.ln_1p(), |x, _, g| Ok(vec![Some(g.div(&x[0].add(1.0)?)?)]));
float!(SQRT, "sqrt", "sqrt(a)", |a| a.sqrt(), |_, y, g| Ok(vec![Some(g.div(&y.mul(2.0)?)?)]));
float!(RSQRT, "rsqrt", "1.0 / sqrt(a)", |a| 1.0 / a.sqrt(), |_, y, g| {
    Ok(vec![Some(g.mul(&y.mul(y)?.mul(y)?.mul(-0.5)?)?)])
});
float!(RECIPROCAL, "reciprocal", "1.0 / a", |a| 1.0 / a, |_, y, g| Ok(vec![Some(g.mul(&y.mul(y)?.neg()?)?)]));
float!(SQUARE, "square", "a * a", |a| a * a, |x, _, g| Ok(vec![Some(g.mul(&x[0].mul(2.0)?)?)]));
float!(SIN, "sin", "sin_f32(a)", |a| a.sin(), |x, _, g| Ok(vec![Some(g.mul(&x[0].cos()?)?)]));
float!(COS, "cos", "cos_f32(a)", |a| a.cos(), |x, _, g| Ok(vec![Some(g.mul(&x[0].sin()?.neg()?)?)]));
float!(TAN, "tan", "tan_f32(a)", |a| a.tan(), |_, y, g| Ok(vec![Some(g.mul(&y.square()?.add(1.0)?)?)]));
float!(ATAN, "atan", "atan_f32(a)", |a| a.atan(), |x, _, g| {
    Ok(vec![Some(g.div(&x[0].square()?.add(1.0)?)?)])
});
float!(TANH, "tanh", "tanh_f32(a)", |a| math::tanh(a), |_, y, g| {
    Ok(vec![Some(g.sub(&g.mul(&y.mul(y)?)?)?)])
});
float!(ERF, "erf", "erf_f32(a)", |a| math::erf(a), |x, _, g| {
    Ok(vec![Some(g.mul(&x[0].square()?.neg()?.exp()?.mul(std::f64::consts::FRAC_2_SQRT_PI)?)?)])
});
float!(FLOOR, "floor", "floor(a)", |a| a.floor(), no_gradient);
float!(CEIL, "ceil", "ceil(a)", |a| a.ceil(), no_gradient);
float!(ROUND, "round", "round(a)", |a| a.round_ties_even(), no_gradient);
float!(TRUNC, "trunc", "trunc(a)", |a| a.trunc(), no_gradient);

macro_rules! test {
    ($row:ident, $name:literal, $wgsl:literal, |$a:ident| $test:expr) => {
        static $row: Row = Row {
            name: $name,
            rule: Rule::Test(1),
            wgsl: $wgsl,
            float: each!(|$a: f32| -> u32 { u32::from($test) }),
            int: None,
            bool: None,
            gradient: no_gradient,
        };
    };
}

test!(ISNAN, "isnan", "is_nan(a)", |a| a.is_nan());
test!(ISINF, "isinf", "is_inf(a)", |a| a.is_infinite());
test!(ISFINITE, "isfinite", "!is_nan(a) && !is_inf(a)", |a| a.is_finite());

static CLAMP: Row = Row {
    name: "clamp",
    rule: Rule::Map(3),
    wgsl: "minimum_{T}(maximum_{T}(a, b), c)",
    float: each!(|a: f32, b: f32, c: f32| -> f32 {
        let low = if a > b || a.is_nan() { a } else { b };
        if low < c || low.is_nan() { low } else { c }
    }),
    int: each!(|a: i32, b: i32, c: i32| -> i32 { a.max(b).min(c) }),
    bool: None,
    gradient: |x, _, g| {
        let inside = x[0].gt(&x[1])?.logical_and(&x[0].lt(&x[2])?)?;
        let at_max = x[0].ge(&x[2])?.logical_or(&x[1].gt(&x[2])?)?;
        let at_min = x[0].le(&x[1])?.logical_and(&at_max.logical_not()?)?;
        Ok(vec![Some(inside.where_(g, 0.0)?), Some(at_min.where_(g, 0.0)?), Some(at_max.where_(g, 0.0)?)])
    },
};
