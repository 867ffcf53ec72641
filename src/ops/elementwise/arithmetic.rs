//! Arithmetic of two tensors, or of a tensor and a number.

use super::binary_methods;
use crate::expr::{Row, Rule, each};
use crate::{Result, Tensor};

pub(super) const ROWS: &[&Row] =
    &[&ADD, &SUB, &MUL, &DIV, &POW, &MAXIMUM, &MINIMUM, &FMOD, &REMAINDER, &ATAN2];

binary_methods! {
    /// Sum, broadcast. Gradients: 1 and 1.
    add => ADD;
    /// Difference, broadcast. Gradients: 1 and -1.
    sub => SUB;
    /// Product, broadcast. Gradients: the other factor.
    mul => MUL;
    /// Quotient, broadcast. Integers truncate, and give 0 for a divisor of 0.
    div => DIV;
    /// `self` to the power `other`, broadcast.
    pow => POW;
    /// The greater of two elements, broadcast; NaN wins. Equal elements share the gradient.
    maximum => MAXIMUM;
    /// The lesser of two elements, broadcast; NaN wins. Equal elements share the gradient.
    minimum => MINIMUM;
    /// `self - other * trunc(self / other)`, broadcast: what division leaves, with the sign of
    /// `self`. Exact; integers give 0 for a divisor of 0. PyTorch's `fmod`.
    fmod => FMOD;
    /// `self - other * floor(self / other)`, broadcast: what division leaves, with the sign of
    /// `other`. Integers give 0 for a divisor of 0. PyTorch's `remainder`.
    remainder => REMAINDER;
    /// The angle of the point (`other`, `self`) in radians, from -pi to pi, broadcast: the arc tangent
    /// of `self / other` in the right quadrant.
    atan2 => ATAN2;
}

pub(crate) static ADD: Row = Row {
    name: "add",
    rule: Rule::Map(2),
    wgsl: "a + b",
    float: each!(|a: f32, b: f32| -> f32 { a + b }),
    int: each!(|a: i32, b: i32| -> i32 { a.wrapping_add(b) }),
    bool: None,
    gradient: |_, _, g| Ok(vec![Some(g.clone()), Some(g.clone())]),
};

pub(crate) static SUB: Row = Row {
    name: "sub",
    rule: Rule::Map(2),
    wgsl: "a - b",
    float: each!(|a: f32, b: f32| -> f32 { a - b }),
    int: each!(|a: i32, b: i32| -> i32 { a.wrapping_sub(b) }),
    bool: None,
    gradient: |_, _, g| Ok(vec![Some(g.clone()), Some(g.neg()?)]),
};

pub(crate) static MUL: Row = Row {
    name: "mul",
    rule: Rule::Map(2),
    wgsl: "a * b",
    float: each!(|a: f32, b: f32| -> f32 { a * b }),
    int: each!(|a: i32, b: i32| -> i32 { a.wrapping_mul(b) }),
    bool: None,
    gradient: |x, _, g| Ok(vec![Some(g.mul(&x[1])?), Some(g.mul(&x[0])?)]),
};

pub(crate) static DIV: Row = Row {
    name: "div",
    rule: Rule::Map(2),
    wgsl: "divide_{T}(a, b)",
    float: each!(|a: f32, b: f32| -> f32 { a / b }),
    int: each!(|a: i32, b: i32| -> i32 { if b == 0 { 0 } else { a.wrapping_div(b) } }),
    bool: None,
    gradient: |x, y, g| {
        let first = g.div(&x[1])?;
        let second = first.mul(y)?.neg()?;
        Ok(vec![Some(first), Some(second)])
    },
};

static POW: Row = Row {
    name: "pow",
    rule: Rule::Map(2),
    wgsl: "pow_f32(a, b)",
    float: each!(|a: f32, b: f32| -> f32 { a.powf(b) }),
    int: None,
    bool: None,
    gradient: |x, y, g| {
        let (base, exponent) = (&x[0], &x[1]);
        // Where the exponent is 0 the result is 1 whatever the base.
        let slope = exponent.mul(&base.pow(&exponent.sub(1.0)?)?)?;
        let slope = exponent.eq(0.0)?.where_(0.0, &slope)?;
        // 0 to a positive power stays 0 however the exponent moves.
        let growth = base.eq(0.0)?.logical_and(&exponent.ge(0.0)?)?.where_(0.0, &y.mul(&base.log()?)?)?;
        Ok(vec![Some(g.mul(&slope)?), Some(g.mul(&growth)?)])
    },
};

static MAXIMUM: Row = Row {
    name: "maximum",
    rule: Rule::Map(2),
    wgsl: "maximum_{T}(a, b)",
    float: each!(|a: f32, b: f32| -> f32 { if a > b || a.is_nan() { a } else { b } }),
    int: each!(|a: i32, b: i32| -> i32 { a.max(b) }),
    bool: None,
    gradient: |x, _, g| shared(&x[0].lt(&x[1])?, &x[0].gt(&x[1])?, &x[0].eq(&x[1])?, g),
};

static MINIMUM: Row = Row {
    name: "minimum",
    rule: Rule::Map(2),
    wgsl: "minimum_{T}(a, b)",
    float: each!(|a: f32, b: f32| -> f32 { if a < b || a.is_nan() { a } else { b } }),
    int: each!(|a: i32, b: i32| -> i32 { a.min(b) }),
    bool: None,
    gradient: |x, _, g| shared(&x[0].gt(&x[1])?, &x[0].lt(&x[1])?, &x[0].eq(&x[1])?, g),
};

static FMOD: Row = Row {
    name: "fmod",
    rule: Rule::Map(2),
    wgsl: "fmod_{T}(a, b)",
    float: each!(|a: f32, b: f32| -> f32 { a % b }),
    int: each!(|a: i32, b: i32| -> i32 { a.checked_rem(b).unwrap_or(0) }),
    bool: None,
    gradient: |x, _, g| Ok(vec![Some(g.clone()), Some(g.mul(&x[0].div(&x[1])?.trunc()?)?.neg()?)]),
};

static REMAINDER: Row = Row {
    name: "remainder",
    rule: Rule::Map(2),
    wgsl: "remainder_{T}(a, b)",
    float: each!(|a: f32, b: f32| -> f32 {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
    }),
    int: each!(|a: i32, b: i32| -> i32 {
        let rest = a.checked_rem(b).unwrap_or(0);
        if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
    }),
    bool: None,
    gradient: |x, _, g| Ok(vec![Some(g.clone()), Some(g.mul(&x[0].div(&x[1])?.floor()?)?.neg()?)]),
};

static ATAN2: Row = Row {
    name: "atan2",
    rule: Rule::Map(2),
    wgsl: "atan2_f32(a, b)",
    float: each!(|a: f32, b: f32| -> f32 { a.atan2(b) }),
    int: None,
    bool: None,
    gradient: |x, _, g| {
        let weighted = g.div(&x[0].square()?.add(&x[1].square()?)?)?;
        Ok(vec![Some(weighted.mul(&x[1])?), Some(weighted.mul(&x[0])?.neg()?)])
    },
};

/// The upstream to the one that was chosen, half of it to each where they were equal; all of it to both
/// where one is NaN, as in PyTorch.
fn shared(
    not_first: &Tensor,
    not_second: &Tensor,
    equal: &Tensor,
    g: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let share = equal.where_(&g.mul(0.5)?, g)?;
    Ok(vec![Some(not_first.where_(0.0, &share)?), Some(not_second.where_(0.0, &share)?)])
}
