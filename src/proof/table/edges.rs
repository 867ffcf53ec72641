//! Elementwise ops at the edges of the number range, and casts.

use super::{Map, Unary};
use crate::proof::case::{Case, Input};
use crate::proof::reference as r;
use crate::{DType, Tensor};

/// NaN, infinities, zeros of both signs and large magnitudes.
pub fn edges(cases: &mut Vec<Case>) {
    const EDGES: [f64; 10] =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e38, -1e38, 1e-30, 88.0, -100.0];
    let ops: [(&str, Unary, Map); 33] = [
        ("asin", Tensor::asin, f64::asin),
        ("acos", Tensor::acos, f64::acos),
        ("atan", Tensor::atan, f64::atan),
        ("sinh", Tensor::sinh, f64::sinh),
        ("cosh", Tensor::cosh, f64::cosh),
        ("asinh", Tensor::asinh, f64::asinh),
        ("acosh", Tensor::acosh, f64::acosh),
        ("atanh", Tensor::atanh, f64::atanh),
        ("exp2", Tensor::exp2, f64::exp2),
        ("expm1", Tensor::expm1, f64::exp_m1),
        ("log1p", Tensor::log1p, f64::ln_1p),
        ("log2", Tensor::log2, f64::log2),
        ("log10", Tensor::log10, f64::log10),
        ("rsqrt", Tensor::rsqrt, |a| 1.0 / a.sqrt()),
        ("reciprocal", Tensor::reciprocal, f64::recip),
        ("trunc", Tensor::trunc, f64::trunc),
        ("logsigmoid", Tensor::logsigmoid, |a| a.min(0.0) - (-a.abs()).exp().ln_1p()),
        ("hardshrink", |x| x.hardshrink(0.5), |a| if a.abs() <= 0.5 { 0.0 } else { a }),
        ("softshrink", |x| x.softshrink(0.5), |a| a - a.clamp(-0.5, 0.5)),
        ("threshold", |x| x.threshold(0.5, -7.0), |a| if a <= 0.5 { -7.0 } else { a }),
        ("relu", Tensor::relu, |a| if a < 0.0 { 0.0 } else { a }),
        ("exp", Tensor::exp, f64::exp),
        ("log", Tensor::log, f64::ln),
        ("sqrt", Tensor::sqrt, f64::sqrt),
        ("abs", Tensor::abs, f64::abs),
        ("tanh", Tensor::tanh, f64::tanh),
        ("sigmoid", Tensor::sigmoid, |a| 1.0 / (1.0 + (-a).exp())),
        ("erf", Tensor::erf, r::erf),
        ("floor", Tensor::floor, f64::floor),
        ("isnan", Tensor::isnan, |a| f64::from(u8::from(a.is_nan()))),
        ("isinf", Tensor::isinf, |a| f64::from(u8::from(a.is_infinite()))),
        ("isfinite", Tensor::isfinite, |a| f64::from(u8::from(a.is_finite()))),
        ("clamp", |x| x.clamp(-2.0, 3.0), |a| a.clamp(-2.0, 3.0)),
    ];
    for (name, op, f) in ops {
        let case = Case::new(format!("{name}/edges"), [Input::given(&EDGES)], move |x| op(&x[0]), r::map(f));
        cases.push(case.value_only().tolerance(1e-5, 1e-37));
    }
    let pairs = || {
        let (a, b): (Vec<f64>, Vec<f64>) = EDGES.iter().flat_map(|&a| EDGES.map(|b| (a, b))).unzip();
        [Input::given(&a), Input::given(&b)]
    };
    let max = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
    let min = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) };
    cases.push(Case::new("maximum/edges", pairs(), |x| x[0].maximum(&x[1]), r::zip(max)).value_only());
    cases.push(Case::new("minimum/edges", pairs(), |x| x[0].minimum(&x[1]), r::zip(min)).value_only());
    cases.push(
        Case::new(
            "pow/edges",
            pairs(),
            |x| x[0].pow(&x[1]),
            r::zip(|a, b| f64::from((a as f32).powf(b as f32))),
        )
        .value_only(),
    );
    let whole =
        [Input::given(&[-2.0, -2.0, -3.0, 0.0, -1.5, -2.0]), Input::given(&[3.0, 2.0, -1.0, 0.0, 2.0, 0.5])];
    cases.push(
        Case::new("pow/negative_base", whole, |x| x[0].pow(&x[1]), r::zip(f64::powf))
            .value_only()
            .tolerance(1e-5, 0.0),
    );
}

pub fn casts(cases: &mut Vec<Case>) {
    let floats = || Input::given(&[0.0, -0.5, 0.5, 1.9, -1.9, 100.25]);
    let truths = Input::given(&[0.0, -0.0, 0.5, -100.25, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    let all = [
        ("f32_i32", floats(), DType::I32, f64::trunc as fn(f64) -> f64),
        ("f32_bool", truths, DType::Bool, |a| f64::from(u8::from(a != 0.0))),
        ("f32_f16", floats(), DType::F16, |a| half::f16::from_f64(a).to_f64()),
        ("f16_f32", Input::floats(&[7]).half(), DType::F32, |a| a),
        ("i32_f32", Input::ints(&[3, 5], -9, 9), DType::F32, |a| a),
        ("i32_f16", Input::ints(&[5], -9, 9), DType::F16, |a| a),
        ("bool_i32", Input::bools(&[9]), DType::I32, |a| a),
        ("bool_f16", Input::bools(&[4, 2]).permute(&[1, 0]), DType::F16, |a| a),
        ("i32_bool", Input::ints(&[9], -1, 2), DType::Bool, |a| f64::from(u8::from(a != 0.0))),
    ];
    for (name, input, dtype, f) in all {
        let case = Case::new(format!("cast/{name}"), [input], move |x| x[0].cast(dtype), r::map(f));
        cases.push(case.value_only().tolerance(0.0, 0.0));
    }
    // Through half precision and back: the gradient passes.
    let through = |x: &[Tensor]| x[0].mul(1.0)?.cast(DType::F16)?.cast(DType::F32);
    cases.push(
        Case::new("cast/through_f16", [Input::floats(&[3, 3])], through, r::map(|a| a))
            .tolerance(1e-3, 1e-3)
            .value_only(),
    );
}
