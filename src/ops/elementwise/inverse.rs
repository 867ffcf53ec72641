//! Inverse trigonometric and hyperbolic functions, and powers and logarithms to other bases.

use super::unary_methods;
use crate::Tensor;
use crate::expr::{Row, Rule, each};
use std::f64::consts;

pub(super) const ROWS: &[&Row] =
    &[&ASIN, &ACOS, &SINH, &COSH, &ASINH, &ACOSH, &ATANH, &EXP2, &LOG2, &LOG10, &FRAC];

unary_methods! {
    /// The arc sine, in radians; NaN beyond -1 and 1.
    asin => ASIN;
    /// The arc cosine, in radians; NaN beyond -1 and 1.
    acos => ACOS;
    /// The hyperbolic sine.
    sinh => SINH;
    /// The hyperbolic cosine.
    cosh => COSH;
    /// The inverse of the hyperbolic sine.
    asinh => ASINH;
    /// The inverse of the hyperbolic cosine; NaN below 1.
    acosh => ACOSH;
    /// The inverse of the hyperbolic tangent; NaN beyond -1 and 1.
    atanh => ATANH;
    /// 2 to the power of each element.
    exp2 => EXP2;
    /// The logarithm to the base 2.
    log2 => LOG2;
    /// The logarithm to the base 10.
    log10 => LOG10;
    /// What is behind the point: `x - trunc(x)`, of the sign of `x`. Gradient 1.
    frac => FRAC;
}

macro_rules! float {
    ($row:ident, $name:literal, $wgsl:literal, |$a:ident| $value:expr, |$x:ident, $y:ident, $g:ident| $gradient:expr) => {
        static $row: Row = Row {
            name: $name,
            rule: Rule::Map(1),
            wgsl: $wgsl,
            float: each!(|$a: f32| -> f32 { $value }),
            int: None,
            bool: None,
            gradient: |x: &[Tensor], $y, $g| {
                let $x = &x[0];
                Ok(vec![Some($gradient)])
            },
        };
    };
}

float!(ASIN, "asin", "asin_f32(a)", |a| a.asin(), |x, _y, g| g
    .mul(&x.square()?.neg()?.add(1.0)?.rsqrt()?)?);
float!(ACOS, "acos", "acos_f32(a)", |a| a.acos(), |x, _y, g| {
    g.mul(&x.square()?.neg()?.add(1.0)?.rsqrt()?)?.neg()?
});
float!(SINH, "sinh", "sinh_f32(a)", |a| a.sinh(), |x, _y, g| g.mul(&x.cosh()?)?);
float!(COSH, "cosh", "cosh_f32(a)", |a| a.cosh(), |x, _y, g| g.mul(&x.sinh()?)?);
// The standard library's cancel near 0 and 1 in single precision.
float!(ASINH, "asinh", "asinh_f32(a)", |a| f64::from(a).asinh() as f32, |x, _y, g| {
    g.mul(&x.square()?.add(1.0)?.rsqrt()?)?
});
float!(ACOSH, "acosh", "acosh_f32(a)", |a| f64::from(a).acosh() as f32, |x, _y, g| {
    g.mul(&x.square()?.sub(1.0)?.rsqrt()?)?
});
float!(ATANH, "atanh", "atanh_f32(a)", |a| f64::from(a).atanh() as f32, |x, _y, g| {
    g.div(&x.square()?.neg()?.add(1.0)?)?
});
float!(EXP2, "exp2", "exp2_f32(a)", |a| a.exp2(), |_x, y, g| g.mul(y)?.mul(consts::LN_2)?);
float!(LOG2, "log2", "log_f32(a) * 1.442695041", |a| a.log2(), |x, _y, g| g.div(&x.mul(consts::LN_2)?)?);
float!(LOG10, "log10", "log_f32(a) * 0.4342944819", |a| a.log10(), |x, _y, g| g
    .div(&x.mul(consts::LN_10)?)?);
float!(FRAC, "frac", "a - trunc(a)", |a| a - a.trunc(), |_x, _y, g| g.clone());
