//! Arithmetic of two tensors, or of a tensor and a number.

use super::binary_methods;
use crate::expr::{Row, Rule, each};

pub(super) const ROWS: &[&Row] = &[&ADD, &SUB, &MUL, &DIV, &POW, &MAXIMUM, &MINIMUM];

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
}

static ADD: Row = Row {
    name: "add",
    rule: Rule::Map(2),
    wgsl: "a + b",
    float: each!(|a: f32, b: f32| -> f32 { a + b }),
    int: each!(|a: i32, b: i32| -> i32 { a.wrapping_add(b) }),
    bool: None,
    gradient: |_, _, g| Ok(vec![Some(g.clone()), Some(g.clone())]),
};

static SUB: Row = Row {
    name: "sub",
    rule: Rule::Map(2),
    wgsl: "a - b",
    float: each!(|a: f32, b: f32| -> f32 { a - b }),
    int: each!(|a: i32, b: i32| -> i32 { a.wrapping_sub(b) }),
    bool: None,
    gradient: |_, _, g| Ok(vec![Some(g.clone()), Some(g.neg()?)]),
};

static MUL: Row = Row {
    name: "mul",
    rule: Rule::Map(2),
    wgsl: "a * b",
    float: each!(|a: f32, b: f32| -> f32 { a * b }),
    int: each!(|a: i32, b: i32| -> i32 { a.wrapping_mul(b) }),
    bool: None,
    gradient: |x, _, g| Ok(vec![Some(g.mul(&x[1])?), Some(g.mul(&x[0])?)]),
};

static DIV: Row = Row {
    name: "div",
    rule: Rule::Map(2),
    wgsl: "divide_{T}(a, b)",
    float: each!(|a: f32, b: f32| -> f32 { a / b }),
    int: each!(|a: i32, b: i32| -> i32 { a.checked_div(b).unwrap_or(0) }),
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
    gradient: |x, _, g| shared(&x[0].gt(&x[1])?, &x[0].eq(&x[1])?, g),
};

static MINIMUM: Row = Row {
    name: "minimum",
    rule: Rule::Map(2),
    wgsl: "minimum_{T}(a, b)",
    float: each!(|a: f32, b: f32| -> f32 { if a < b || a.is_nan() { a } else { b } }),
    int: each!(|a: i32, b: i32| -> i32 { a.min(b) }),
    bool: None,
    gradient: |x, _, g| shared(&x[0].lt(&x[1])?, &x[0].eq(&x[1])?, g),
};

use crate::{Result, Tensor};

/// The upstream to the first where it was chosen, half of it to each where they were equal.
fn shared(first: &Tensor, equal: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
    let to_first = equal.where_(&g.mul(0.5)?, &first.where_(g, 0.0)?)?;
    let to_second = g.sub(&to_first)?;
    Ok(vec![Some(to_first), Some(to_second)])
}
