//! Elementwise ops, on many shapes and views.

use super::{Binary, Map, Test, Unary, Zip};
use crate::Tensor;
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference as r;
use ndarray::ArrayD;

/// The shapes that every elementwise op is tried on: scalar, one, odd, empty, more than a block.
const SHAPES: &[&[usize]] = &[&[], &[1], &[5], &[3, 7], &[2, 0, 3], &[2, 1, 3, 2, 1, 5], &[37, 131]];

pub fn unary(cases: &mut Vec<Case>) {
    let ops: [(&str, Unary, Map, f64, f64); 21] = [
        ("neg/", Tensor::neg, |a| -a, -2.0, 2.0),
        ("abs/", Tensor::abs, f64::abs, -2.0, 2.0),
        ("exp/", Tensor::exp, f64::exp, -3.0, 3.0),
        ("log/", Tensor::log, f64::ln, 0.1, 3.0),
        ("sqrt/", Tensor::sqrt, f64::sqrt, 0.1, 3.0),
        ("rsqrt/", Tensor::rsqrt, |a| 1.0 / a.sqrt(), 0.1, 3.0),
        ("reciprocal/", Tensor::reciprocal, f64::recip, 0.2, 3.0),
        ("square/", Tensor::square, |a| a * a, -2.0, 2.0),
        ("sin/", Tensor::sin, f64::sin, -3.0, 3.0),
        ("cos/", Tensor::cos, f64::cos, -3.0, 3.0),
        ("tanh/", Tensor::tanh, f64::tanh, -3.0, 3.0),
        ("erf/", Tensor::erf, r::erf, -3.0, 3.0),
        ("relu/", Tensor::relu, |a| a.max(0.0), -2.0, 2.0),
        ("sigmoid/", Tensor::sigmoid, |a| 1.0 / (1.0 + (-a).exp()), -4.0, 4.0),
        ("gelu/", Tensor::gelu, |a| a * 0.5 * (1.0 + r::erf(a / 2f64.sqrt())), -3.0, 3.0),
        ("silu/", Tensor::silu, |a| a / (1.0 + (-a).exp()), -3.0, 3.0),
        ("leaky_relu/", |x| x.leaky_relu(0.1), |a| if a < 0.0 { 0.1 * a } else { a }, -2.0, 2.0),
        ("clamp/", |x| x.clamp(-0.5, 0.75), |a| a.clamp(-0.5, 0.75), -2.0, 2.0),
        (
            "add/number_",
            |x| x.add(0.5)?.mul(3.0)?.sub(1)?.div(0.7),
            |a| ((a + 0.5) * 3.0 - 1.0) / f64::from(0.7f32),
            -2.0,
            2.0,
        ),
        ("pow/number_", |x| x.pow(2.5), |a| a.powf(2.5), 0.2, 2.0),
        (
            "mul/chain_",
            |x| x.mul(x)?.sub(0.5)?.relu()?.add(x)?.exp(),
            |a| ((a * a - 0.5).max(0.0) + a).exp(),
            -1.5,
            1.5,
        ),
    ];
    for (name, op, f, low, high) in ops {
        let mut with = |variant: String, input: Input| {
            let case = Case::new(format!("{name}{variant}"), [input], move |x| op(&x[0]), r::map(f));
            cases.push(case.tolerance(1e-5, 1e-6));
        };
        for shape in SHAPES {
            with(format!("{shape:?}"), Input::within(shape, low, high));
        }
        with("permuted".into(), Input::within(&[3, 4, 5], low, high).permute(&[2, 0, 1]));
        with("sliced_flipped".into(), Input::within(&[9, 4], low, high).slice(0, 1, 8, 3).flip(1));
        with("broadcast".into(), Input::within(&[3, 1], low, high).broadcast(&[2, 3, 4]));
        let half = Input::within(&[3, 7], low, high).half();
        let case = Case::new(format!("{name}f16"), [half], move |x| op(&x[0]), r::map(f));
        cases.push(case.value_only().tolerance(6e-3, 4e-3));
    }
    let exact: [(&str, Unary, Map); 5] = [
        ("trunc", Tensor::trunc, f64::trunc),
        ("sign", Tensor::sign, |a| if a == 0.0 { 0.0 } else { a.signum() }),
        ("floor", Tensor::floor, f64::floor),
        ("ceil", Tensor::ceil, f64::ceil),
        ("round", Tensor::round, f64::round_ties_even),
    ];
    for (name, op, f) in exact {
        let halves = Input::given(&[-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 0.49, 7.0]);
        cases.push(
            Case::new(format!("{name}/halves"), [halves], move |x| op(&x[0]), r::map(f))
                .value_only()
                .tolerance(0.0, 0.0),
        );
    }
}

pub fn binary(cases: &mut Vec<Case>) {
    let ops: [(&str, Binary, Zip, f64, f64); 7] = [
        ("add", |a, b| a.add(b), |a, b| a + b, -2.0, 2.0),
        ("sub", |a, b| a.sub(b), |a, b| a - b, -2.0, 2.0),
        ("mul", |a, b| a.mul(b), |a, b| a * b, -2.0, 2.0),
        ("div", |a, b| a.div(b), |a, b| a / b, 0.3, 2.0),
        ("pow", |a, b| a.pow(b), f64::powf, 0.3, 2.0),
        ("maximum", |a, b| a.maximum(b), f64::max, -2.0, 2.0),
        ("minimum", |a, b| a.minimum(b), f64::min, -2.0, 2.0),
    ];
    for (name, op, f, low, high) in ops {
        let mut with = |variant: &str, a: Input, b: Input| {
            let case = Case::new(
                format!("{name}/{variant}"),
                [a, b.reseeded()],
                move |x| op(&x[0], &x[1]),
                r::zip(f),
            );
            cases.push(case.tolerance(1e-5, 1e-6));
        };
        let input = |shape: &[usize]| Input::within(shape, low, high);
        with("same", input(&[5, 7]), input(&[5, 7]));
        with("scalar", input(&[]), input(&[3, 2]));
        with("rows", input(&[4, 5]), input(&[5]));
        with("outer", input(&[6, 1]), input(&[1, 7]));
        with("rank", input(&[2, 1, 3, 1]), input(&[4, 1, 5]));
        with("empty", input(&[0, 3]), input(&[1, 3]));
        with("transposed", input(&[7, 5]).permute(&[1, 0]), input(&[5, 7]));
        with("blocks", input(&[37, 131]), input(&[37, 1]));
    }
    let same = |x: &[Tensor]| x[0].mul(&x[0])?.add(&x[0]);
    cases.push(Case::new("mul/same_tensor_twice", [Input::floats(&[3, 5])], same, r::map(|a| a * a + a)));
    // Rows of whole vectors: read as they are, of one element each, and from a place inside a vector.
    let fours = || {
        [
            ("rows_of_8", Input::floats(&[5, 8]), Input::floats(&[8])),
            ("channels_of_8", Input::floats(&[2, 3, 8]), Input::floats(&[3, 1])),
            (
                "slices_of_8",
                Input::floats(&[5, 9]).slice(1, 1, 9, 1),
                Input::floats(&[5, 12]).slice(1, 4, 12, 1),
            ),
            ("from_the_second", Input::floats(&[14]).slice(0, 1, 14, 1), Input::floats(&[13])),
        ]
    };
    for (variant, a, b) in fours() {
        let sum = |x: &[Tensor]| x[0].add(&x[1]);
        let half = [a.half(), b.reseeded().half()];
        cases.push(
            Case::new(format!("add/{variant}_f16"), half, sum, r::zip(|a, b| a + b))
                .value_only()
                .tolerance(1e-3, 1e-3),
        );
    }
    for (variant, a, b) in fours() {
        cases.push(Case::new(
            format!("add/{variant}"),
            [a, b.reseeded()],
            |x| x[0].add(&x[1]),
            r::zip(|a, b| a + b),
        ));
    }
    let tests: [(&str, Binary, Test); 6] = [
        ("eq", |a, b| a.eq(b), |a, b| a == b),
        ("ne", |a, b| a.ne(b), |a, b| a != b),
        ("lt", |a, b| a.lt(b), |a, b| a < b),
        ("le", |a, b| a.le(b), |a, b| a <= b),
        ("gt", |a, b| a.gt(b), |a, b| a > b),
        ("ge", |a, b| a.ge(b), |a, b| a >= b),
    ];
    for (name, op, f) in tests {
        let float = Input::given(&[1.0, 2.0, f64::NAN, f64::INFINITY, -0.0, f64::NEG_INFINITY, 3.0]);
        let other = Input::given(&[1.0, 3.0, f64::NAN, f64::INFINITY, 0.0, f64::INFINITY, f64::NAN]);
        for (variant, a, b) in
            [("float", float, other), ("int", Input::ints(&[4, 5], -2, 3), Input::ints(&[5], -2, 3))]
        {
            let reference = r::zip(move |a, b| f64::from(u8::from(f(a, b))));
            cases.push(
                Case::new(format!("{name}/{variant}"), [a, b], move |x| op(&x[0], &x[1]), reference)
                    .value_only(),
            );
        }
    }
    let logic: [(&str, Binary, Test); 3] = [
        ("logical_and", |a, b| a.logical_and(b), |a, b| a != 0.0 && b != 0.0),
        ("logical_or", |a, b| a.logical_or(b), |a, b| a != 0.0 || b != 0.0),
        ("logical_xor", |a, b| a.logical_xor(b), |a, b| (a != 0.0) != (b != 0.0)),
    ];
    for (name, op, f) in logic {
        let inputs = [Input::bools(&[5, 7]), Input::bools(&[5, 7]).reseeded()];
        let reference = r::zip(move |a, b| f64::from(u8::from(f(a, b))));
        cases.push(
            Case::new(format!("{name}/bool"), inputs, move |x| op(&x[0], &x[1]), reference).value_only(),
        );
    }
    let not = |x: &[Tensor]| x[0].logical_not();
    cases.push(Case::new("logical_not/bool", [Input::bools(&[9])], not, r::map(|a| 1.0 - a)).value_only());
    let ints: [(&str, Binary, Zip); 4] = [
        ("add", |a, b| a.add(b), |a, b| a + b),
        ("mul", |a, b| a.mul(b), |a, b| a * b),
        ("div", |a, b| a.div(b), |a, b| if b == 0.0 { 0.0 } else { (a / b).trunc() }),
        ("maximum", |a, b| a.maximum(b), f64::max),
    ];
    for (name, op, f) in ints {
        let inputs = [Input::ints(&[6, 5], -9, 9), Input::ints(&[5], -3, 4)];
        cases.push(
            Case::new(format!("{name}/int"), inputs, move |x| op(&x[0], &x[1]), r::zip(f)).value_only(),
        );
    }
    let select = |x: &[Array]| {
        let x = r::broadcast(x);
        ArrayD::from_shape_fn(x[0].raw_dim(), |at| if x[0][&at] != 0.0 { x[1][&at] } else { x[2][&at] })
    };
    let inputs = [Input::bools(&[3, 1]), Input::floats(&[3, 4]), Input::floats(&[4])];
    cases.push(Case::new("where/broadcast", inputs, |x| x[0].where_(&x[1], &x[2]), select));
    let inputs = [Input::floats(&[3, 4]), Input::bools(&[4])];
    cases.push(Case::new(
        "masked_fill/rows",
        inputs,
        |x| x[0].masked_fill(&x[1], -7.5),
        |x| {
            let x = r::broadcast(x);
            ArrayD::from_shape_fn(x[0].raw_dim(), |at| if x[1][&at] != 0.0 { -7.5 } else { x[0][&at] })
        },
    ));
}
