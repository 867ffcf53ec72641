//! The table: one line, or one short loop, an op.

use crate::case::{Array, Case, Input};
use crate::reference as r;
use kiln::ops::{Conv2dOptions, Pool2dOptions};
use kiln::{DType, Tensor};
use ndarray::{ArrayD, Axis, IxDyn, concatenate, stack};

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    unary(&mut cases);
    binary(&mut cases);
    edges(&mut cases);
    casts(&mut cases);
    views(&mut cases);
    reductions(&mut cases);
    products(&mut cases);
    indexing(&mut cases);
    convolutions(&mut cases);
    pooling(&mut cases);
    random(&mut cases);
    cases
}

/// The shapes that every elementwise op is tried on: scalar, one, odd, empty, more than a block.
const SHAPES: &[&[usize]] = &[&[], &[1], &[5], &[3, 7], &[2, 0, 3], &[2, 1, 3, 2, 1, 5], &[37, 131]];

fn unary(cases: &mut Vec<Case>) {
    type Op = fn(&Tensor) -> kiln::Result<Tensor>;
    let ops: [(&str, Op, fn(f64) -> f64, f64, f64); 21] = [
        ("neg", Tensor::neg, |a| -a, -2.0, 2.0),
        ("abs", Tensor::abs, f64::abs, -2.0, 2.0),
        ("exp", Tensor::exp, f64::exp, -3.0, 3.0),
        ("log", Tensor::log, f64::ln, 0.1, 3.0),
        ("sqrt", Tensor::sqrt, f64::sqrt, 0.1, 3.0),
        ("rsqrt", Tensor::rsqrt, |a| 1.0 / a.sqrt(), 0.1, 3.0),
        ("reciprocal", Tensor::reciprocal, f64::recip, 0.2, 3.0),
        ("square", Tensor::square, |a| a * a, -2.0, 2.0),
        ("sin", Tensor::sin, f64::sin, -3.0, 3.0),
        ("cos", Tensor::cos, f64::cos, -3.0, 3.0),
        ("tanh", Tensor::tanh, f64::tanh, -3.0, 3.0),
        ("erf", Tensor::erf, r::erf, -3.0, 3.0),
        ("relu", Tensor::relu, |a| a.max(0.0), -2.0, 2.0),
        ("sigmoid", Tensor::sigmoid, |a| 1.0 / (1.0 + (-a).exp()), -4.0, 4.0),
        ("gelu", Tensor::gelu, |a| a * 0.5 * (1.0 + r::erf(a / 2f64.sqrt())), -3.0, 3.0),
        ("silu", Tensor::silu, |a| a / (1.0 + (-a).exp()), -3.0, 3.0),
        ("leaky_relu", |x| x.leaky_relu(0.1), |a| if a < 0.0 { 0.1 * a } else { a }, -2.0, 2.0),
        ("clamp", |x| x.clamp(-0.5, 0.75), |a| a.clamp(-0.5, 0.75), -2.0, 2.0),
        (
            "add_number",
            |x| x.add(0.5)?.mul(3.0)?.sub(1)?.div(0.7),
            |a| ((a + 0.5) * 3.0 - 1.0) / f64::from(0.7f32),
            -2.0,
            2.0,
        ),
        ("pow_number", |x| x.pow(2.5), |a| a.powf(2.5), 0.2, 2.0),
        (
            "chain",
            |x| x.mul(x)?.sub(0.5)?.relu()?.add(x)?.exp(),
            |a| ((a * a - 0.5).max(0.0) + a).exp(),
            -1.5,
            1.5,
        ),
    ];
    for (name, op, f, low, high) in ops {
        let mut with = |variant: String, input: Input| {
            let case = Case::new(format!("{name}/{variant}"), [input], move |x| op(&x[0]), r::map(f));
            cases.push(case.tolerance(1e-5, 1e-6));
        };
        for shape in SHAPES {
            with(format!("{shape:?}"), Input::within(shape, low, high));
        }
        with("permuted".into(), Input::within(&[3, 4, 5], low, high).permute(&[2, 0, 1]));
        with("sliced_flipped".into(), Input::within(&[9, 4], low, high).slice(0, 1, 8, 3).flip(1));
        with("broadcast".into(), Input::within(&[3, 1], low, high).broadcast(&[2, 3, 4]));
        let half = Input::within(&[3, 7], low, high).half();
        let case = Case::new(format!("{name}/f16"), [half], move |x| op(&x[0]), r::map(f));
        cases.push(case.value_only().tolerance(6e-3, 4e-3));
    }
    type Round = (&'static str, Op, fn(f64) -> f64);
    let exact: [Round; 4] = [
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

fn binary(cases: &mut Vec<Case>) {
    type Op = fn(&Tensor, &Tensor) -> kiln::Result<Tensor>;
    let ops: [(&str, Op, fn(f64, f64) -> f64, f64, f64); 7] = [
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
    type Test = fn(f64, f64) -> bool;
    let tests: [(&str, Op, Test); 6] = [
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
    let logic: [(&str, Op, Test); 3] = [
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
    let ints: [(&str, Op, fn(f64, f64) -> f64); 4] = [
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

/// NaN, infinities, zeros of both signs and large magnitudes.
fn edges(cases: &mut Vec<Case>) {
    const EDGES: [f64; 10] =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e38, -1e38, 1e-30, 88.0, -100.0];
    type Op = fn(&Tensor) -> kiln::Result<Tensor>;
    let ops: [(&str, Op, fn(f64) -> f64); 13] = [
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
        (
            "clamp",
            |x| x.clamp(-2.0, 3.0),
            |a| {
                if a < -2.0 {
                    -2.0
                } else if a > 3.0 {
                    3.0
                } else {
                    a
                }
            },
        ),
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

fn casts(cases: &mut Vec<Case>) {
    let floats = || Input::given(&[0.0, -0.5, 0.5, 1.9, -1.9, 100.25]);
    let all = [
        ("f32_i32", floats(), DType::I32, f64::trunc as fn(f64) -> f64),
        ("f32_bool", floats(), DType::Bool, |a| f64::from(u8::from(a != 0.0))),
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

fn views(cases: &mut Vec<Case>) {
    let x = || Input::floats(&[3, 4, 5]);
    let shaped = |shape: &'static [usize]| {
        move |x: &[Array]| x[0].as_standard_layout().into_owned().into_shape_with_order(IxDyn(shape)).unwrap()
    };
    let mut push = |case: Case| cases.push(case.tolerance(0.0, 0.0));
    push(Case::new("reshape/contiguous", [x()], |x| x[0].reshape([5, 12]), shaped(&[5, 12])));
    push(Case::new(
        "reshape/permuted",
        [x().permute(&[1, 0, 2])],
        |x| x[0].reshape([6, 10]),
        shaped(&[6, 10]),
    ));
    push(Case::new(
        "reshape/split",
        [x().permute(&[2, 0, 1])],
        |x| x[0].reshape([5, 3, 2, 2]),
        shaped(&[5, 3, 2, 2]),
    ));
    push(Case::new("flatten/tail", [x()], |x| x[0].flatten(1, -1), shaped(&[3, 20])));
    push(Case::new(
        "squeeze/unsqueeze",
        [x()],
        |x| x[0].unsqueeze(1)?.unsqueeze(-1)?.squeeze([1, -1]),
        shaped(&[3, 4, 5]),
    ));
    push(Case::new(
        "permute/rank3",
        [x()],
        |x| x[0].permute(&[2, 0, -2]),
        |x| x[0].clone().permuted_axes(IxDyn(&[2, 0, 1])),
    ));
    push(Case::new("transpose/last", [x()], |x| x[0].t(), |x| x[0].clone().permuted_axes(IxDyn(&[0, 2, 1]))));
    push(Case::new(
        "contiguous/permuted",
        [x().permute(&[2, 1, 0])],
        |x| x[0].contiguous(),
        |x| x[0].clone(),
    ));
    push(
        Case::new(
            "contiguous/int",
            [Input::ints(&[4, 3], 0, 9).permute(&[1, 0])],
            |x| x[0].contiguous(),
            |x| x[0].clone(),
        )
        .value_only(),
    );
    push(
        Case::new(
            "contiguous/bool",
            [Input::bools(&[4, 3]).flip(0)],
            |x| x[0].contiguous(),
            |x| x[0].clone(),
        )
        .value_only(),
    );
    push(Case::new(
        "broadcast_to/new_axes",
        [Input::floats(&[3, 1])],
        |x| x[0].broadcast_to([2, 3, 4]),
        |x| x[0].broadcast(IxDyn(&[2, 3, 4])).unwrap().to_owned(),
    ));
    push(Case::new(
        "slice/steps",
        [x()],
        |x| x[0].slice(1, 1, 4, 2)?.slice(2, 0, 5, 3),
        |x| {
            x[0].slice_axis(Axis(1), (1..4).into())
                .slice_axis(Axis(1), ndarray::Slice::new(0, None, 2))
                .slice_axis(Axis(2), ndarray::Slice::new(0, None, 3))
                .to_owned()
        },
    ));
    push(Case::new("slice/empty", [x()], |x| x[0].slice(1, 2, 2, 1), |_| ArrayD::zeros(IxDyn(&[3, 0, 5]))));
    push(Case::new(
        "narrow/select",
        [x()],
        |x| x[0].narrow(0, 1, 2)?.select(-1, 3),
        |x| x[0].slice_axis(Axis(0), (1..3).into()).index_axis(Axis(2), 3).to_owned(),
    ));
    push(Case::new(
        "flip/both",
        [x()],
        |x| x[0].flip(0)?.flip(-1),
        |x| {
            let mut y = x[0].clone();
            y.invert_axis(Axis(0));
            y.invert_axis(Axis(2));
            y
        },
    ));
    push(Case::new(
        "pad/edges",
        [Input::floats(&[2, 3])],
        |x| x[0].pad(&[(1, 0), (2, 3)], 9.5),
        |x| {
            ArrayD::from_shape_fn(IxDyn(&[3, 8]), |at| {
                if at[0] >= 1 && (2..5).contains(&at[1]) { x[0][[at[0] - 1, at[1] - 2]] } else { 9.5 }
            })
        },
    ));
    push(Case::new(
        "pad/strided",
        [Input::floats(&[3, 2]).permute(&[1, 0])],
        |x| x[0].pad(&[(0, 1), (1, 0)], 0.0),
        |x| {
            ArrayD::from_shape_fn(IxDyn(&[3, 4]), |at| {
                if at[0] < 2 && at[1] >= 1 { x[0][[at[0], at[1] - 1]] } else { 0.0 }
            })
        },
    ));
    push(
        Case::new(
            "pad/int",
            [Input::ints(&[3], 0, 9)],
            |x| x[0].pad(&[(2, 1)], -1.0),
            |x| {
                ArrayD::from_shape_fn(IxDyn(&[6]), |at| {
                    if (2..5).contains(&at[0]) { x[0][[at[0] - 2]] } else { -1.0 }
                })
            },
        )
        .value_only(),
    );
    for (name, dim) in [("first", 0), ("middle", 1), ("last", 2)] {
        let shape = |n: usize| {
            let mut shape = [2, 3, 4];
            shape[dim] = n;
            shape
        };
        let inputs = [
            Input::floats(&shape(2)),
            Input::floats(&shape(1)),
            Input::floats(&shape(0)),
            Input::floats(&shape(5)),
        ];
        push(Case::new(
            format!("concat/{name}"),
            inputs,
            move |x| Tensor::concat(&x.iter().collect::<Vec<_>>(), dim as isize),
            move |x| concatenate(Axis(dim), &x.iter().map(|a| a.view()).collect::<Vec<_>>()).unwrap(),
        ));
        let inputs = [x(), x().reseeded(), Input::floats(&[5, 4, 3]).permute(&[2, 1, 0])];
        push(Case::new(
            format!("stack/{name}"),
            inputs,
            move |x| Tensor::stack(&x.iter().collect::<Vec<_>>(), dim as isize),
            move |x| stack(Axis(dim), &x.iter().map(|a| a.view()).collect::<Vec<_>>()).unwrap(),
        ));
    }
    let many: Vec<Input> = (0..20).map(|i| Input::floats(&[2, 1 + i % 3])).collect();
    push(Case::new(
        "concat/twenty",
        many,
        |x| Tensor::concat(&x.iter().collect::<Vec<_>>(), 1),
        |x| concatenate(Axis(1), &x.iter().map(|a| a.view()).collect::<Vec<_>>()).unwrap(),
    ));
    push(Case::new(
        "full/zeros_ones",
        [Input::floats(&[2, 3])],
        |x| x[0].add(&x[0].zeros_like()?)?.mul(&x[0].ones_like()?),
        |x| x[0].clone(),
    ));
}

fn reductions(cases: &mut Vec<Case>) {
    type Op = fn(&Tensor, &[isize], bool) -> kiln::Result<Tensor>;
    let sum: Op = |x, axes, keep| x.sum(axes, keep);
    let mean: Op = |x, axes, keep| x.mean(axes, keep);
    let max: Op = |x, axes, keep| x.max(axes, keep);
    let min: Op = |x, axes, keep| x.min(axes, keep);
    let ops: [(&str, Op, fn(&[f64]) -> f64); 4] = [
        ("sum", sum, |row| row.iter().sum()),
        ("mean", mean, |row| row.iter().sum::<f64>() / row.len() as f64),
        ("max", max, r::greatest),
        ("min", min, r::least),
    ];
    let shapes: [(&str, Vec<usize>, Vec<usize>, bool); 9] = [
        ("all", vec![3, 5, 7], vec![0, 1, 2], false),
        ("last", vec![5, 7], vec![1], false),
        ("first", vec![7, 5], vec![0], true),
        ("middle", vec![3, 4, 5], vec![1], true),
        ("split", vec![3, 4, 5, 2], vec![0, 2], false),
        ("channels", vec![4, 3, 5, 5], vec![0, 2, 3], false),
        ("long_rows", vec![2, 1500], vec![1], false),
        ("tall", vec![1200, 3], vec![0], false),
        ("one", vec![1], vec![0], true),
    ];
    for (name, op, fold) in ops {
        for (variant, shape, axes, keep) in shapes.clone() {
            let signed: Vec<isize> = axes.iter().map(|&axis| axis as isize).collect();
            let case = Case::new(
                format!("{name}/{variant}"),
                [Input::distinct(&shape)],
                move |x| op(&x[0], &signed, keep),
                move |x| r::reduce(&x[0], &axes, keep, fold),
            );
            let sharp = matches!(name, "max" | "min");
            cases.push(if sharp { case.tolerance(0.0, 0.0) } else { case.tolerance(2e-6, 2e-3) });
        }
        let strided = Input::distinct(&[4, 6]).permute(&[1, 0]).slice(0, 0, 6, 2);
        cases.push(Case::new(
            format!("{name}/strided"),
            [strided],
            move |x| op(&x[0], &[1], false),
            move |x| r::reduce(&x[0], &[1], false, fold),
        ));
        let ints = Input::ints(&[4, 5], -9, 9);
        if name != "mean" {
            cases.push(
                Case::new(
                    format!("{name}/int"),
                    [ints],
                    move |x| op(&x[0], &[0], false),
                    move |x| r::reduce(&x[0], &[0], false, fold),
                )
                .value_only(),
            );
        }
    }
    cases.push(Case::new(
        "sum/no_elements",
        [Input::floats(&[3, 0])],
        |x| x[0].sum(1, false),
        |_| ArrayD::zeros(IxDyn(&[3])),
    ));
    let big = Input::within(&[300_001], 0.0, 1.0);
    cases.push(
        Case::new(
            "sum/300001",
            [big],
            |x| x[0].sum(.., false),
            |x| r::reduce(&x[0], &[0], false, |row| row.iter().sum()),
        )
        .tolerance(1e-5, 0.0)
        .value_only(),
    );
    let edge =
        || Input::given(&[1.0, f64::NAN, 5.0, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY]);
    for (name, op, fold) in [("max", max, r::greatest as fn(&[f64]) -> f64), ("min", min, r::least)] {
        let rows = move |x: &[Tensor]| op(&x[0].reshape([2, 3])?, &[1], false);
        cases.push(
            Case::new(format!("{name}/edges"), [edge()], rows, move |x| {
                r::reduce(&x[0].clone().into_shape_with_order(IxDyn(&[2, 3])).unwrap(), &[1], false, fold)
            })
            .value_only(),
        );
    }
    type Arg = fn(&Tensor, isize) -> kiln::Result<Tensor>;
    let args: [(&str, Arg, fn(f64, f64) -> bool); 2] = [
        ("argmax", |x, d| x.argmax(d, false), |a, b| a > b),
        ("argmin", |x, d| x.argmin(d, false), |a, b| a < b),
    ];
    for (name, op, better) in args {
        for (variant, input, dim) in [
            ("last", Input::distinct(&[5, 7]), 1),
            ("first", Input::distinct(&[9, 3]), 0),
            ("middle", Input::distinct(&[3, 4, 5]), 1),
            ("long", Input::distinct(&[2, 1500]), 1),
            ("tall", Input::distinct(&[700, 2]), 0),
            ("ties", Input::given(&[1.0, 3.0, 3.0, 1.0]), 0),
            ("nan", Input::given(&[1.0, f64::NAN, 3.0, f64::NAN]), 0),
        ] {
            let reference =
                move |x: &[Array]| r::reduce(&x[0], &[dim], false, |row| r::position(row, better));
            cases.push(
                Case::new(format!("{name}/{variant}"), [input], move |x| op(&x[0], dim as isize), reference)
                    .value_only(),
            );
        }
    }
}

fn products(cases: &mut Vec<Case>) {
    let shapes: [(&str, Input, Input); 13] = [
        ("square", Input::floats(&[5, 5]), Input::floats(&[5, 5])),
        ("odd", Input::floats(&[7, 13]), Input::floats(&[13, 3])),
        ("tiles", Input::floats(&[65, 33]), Input::floats(&[33, 70])),
        ("one", Input::floats(&[1, 1]), Input::floats(&[1, 1])),
        ("row", Input::floats(&[1, 9]), Input::floats(&[9, 6])),
        ("column", Input::floats(&[6, 9]), Input::floats(&[9, 1])),
        ("deep", Input::floats(&[3, 2000]), Input::floats(&[2000, 4])),
        ("left_transposed", Input::floats(&[13, 7]).permute(&[1, 0]), Input::floats(&[13, 3])),
        ("right_transposed", Input::floats(&[7, 13]), Input::floats(&[3, 13]).permute(&[1, 0])),
        ("sliced", Input::floats(&[9, 8]).slice(1, 1, 8, 2), Input::floats(&[4, 5]).flip(0)),
        ("batch", Input::floats(&[3, 4, 5]), Input::floats(&[3, 5, 2])),
        ("batch_broadcast", Input::floats(&[2, 1, 4, 5]), Input::floats(&[3, 5, 2])),
        ("batch_matrix", Input::floats(&[6, 4, 5]), Input::floats(&[5, 3])),
    ];
    for (name, a, b) in shapes {
        let case = Case::new(
            format!("matmul/{name}"),
            [a, b.reseeded()],
            |x| x[0].matmul(&x[1]),
            |x| r::matmul(&x[0], &x[1]),
        );
        cases.push(case.tolerance(1e-5, 2e-4));
    }
    let empty = [Input::floats(&[3, 0]), Input::floats(&[0, 4])];
    cases.push(Case::new(
        "matmul/no_columns",
        empty,
        |x| x[0].matmul(&x[1]),
        |_| ArrayD::zeros(IxDyn(&[3, 4])),
    ));
    for (log, name) in [(false, "softmax"), (true, "log_softmax")] {
        for (variant, input, axis) in [
            ("last", Input::floats(&[4, 7]), 1),
            ("first", Input::floats(&[5, 3]), 0),
            ("middle", Input::floats(&[2, 5, 3]), 1),
            ("long", Input::floats(&[3, 1000]), 1),
            ("one", Input::floats(&[4, 1]), 1),
            ("large", Input::within(&[3, 5], 900.0, 1000.0), 1),
        ] {
            let op = move |x: &[Tensor]| {
                if log { x[0].log_softmax(axis as isize) } else { x[0].softmax(axis as isize) }
            };
            let case =
                Case::new(format!("{name}/{variant}"), [input], op, move |x| r::softmax(&x[0], axis, log));
            cases.push(case.tolerance(1e-5, 1e-5));
        }
    }
}

fn indexing(cases: &mut Vec<Case>) {
    for (name, shape, index, dim) in [
        ("labels", vec![6, 10], vec![6, 1], 1),
        ("rows", vec![5, 4], vec![3, 4], 0),
        ("middle", vec![3, 5, 2], vec![2, 7, 2], 1),
        ("vector", vec![9], vec![12], 0),
    ] {
        let size = shape[dim] as i32;
        let inputs = [Input::floats(&shape), Input::ints(&index, 0, size)];
        cases.push(Case::new(
            format!("gather/{name}"),
            inputs,
            move |x| x[0].gather(dim as isize, &x[1]),
            move |x| r::gather(&x[0], dim, &x[1]),
        ));
        let inputs = [Input::floats(&shape), Input::ints(&index, 0, size), Input::floats(&index).reseeded()];
        cases.push(Case::new(
            format!("scatter_add/{name}"),
            inputs,
            move |x| x[0].scatter_add(dim as isize, &x[1], &x[2]),
            move |x| r::scatter_add(&x[0], dim, &x[1], &x[2]),
        ));
    }
    for dim in [0usize, 1] {
        let inputs = [Input::floats(&[4, 5]), Input::ints(&[7], 0, 4)];
        cases.push(Case::new(
            format!("index_select/{dim}"),
            inputs,
            move |x| x[0].index_select(dim as isize, &x[1]),
            move |x| x[0].select(Axis(dim), &x[1].iter().map(|&i| i as usize).collect::<Vec<_>>()),
        ));
    }
}

fn convolutions(cases: &mut Vec<Case>) {
    struct Line(&'static str, [usize; 4], [usize; 4], [usize; 2], [usize; 2], [usize; 2], usize);
    let lines = [
        Line("plain", [2, 3, 7, 5], [4, 3, 3, 3], [1, 1], [0, 0], [1, 1], 1),
        Line("same", [2, 1, 9, 9], [5, 1, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        Line("pointwise", [3, 6, 5, 4], [7, 6, 1, 1], [1, 1], [0, 0], [1, 1], 1),
        Line("pointwise_stride", [2, 3, 5, 7], [4, 3, 1, 1], [2, 2], [0, 0], [1, 1], 1),
        Line("stride", [2, 3, 9, 8], [4, 3, 3, 3], [2, 3], [1, 0], [1, 1], 1),
        Line("rectangle", [1, 2, 6, 9], [3, 2, 2, 5], [1, 2], [1, 2], [1, 1], 1),
        Line("dilation", [2, 2, 9, 9], [3, 2, 3, 3], [1, 1], [2, 2], [2, 2], 1),
        Line("all", [2, 4, 11, 9], [6, 2, 3, 2], [2, 1], [1, 2], [1, 2], 2),
        Line("groups", [2, 6, 5, 5], [9, 2, 3, 3], [1, 1], [1, 1], [1, 1], 3),
        Line("depthwise", [2, 5, 6, 6], [5, 1, 3, 3], [1, 1], [1, 1], [1, 1], 5),
        Line("channels", [2, 17, 6, 6], [33, 17, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        Line("many", [9, 2, 4, 4], [3, 2, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        Line("one_pixel", [1, 3, 1, 1], [2, 3, 3, 3], [1, 1], [1, 1], [1, 1], 1),
    ];
    for Line(name, x, w, stride, padding, dilation, groups) in lines {
        let options = Conv2dOptions { stride, padding, dilation, groups };
        let window = r::Window { kernel: [w[2], w[3]], stride, padding, dilation, ceil: false };
        let case = Case::new(
            format!("conv2d/{name}"),
            [Input::floats(&x), Input::floats(&w).reseeded()],
            move |x| x[0].conv2d(&x[1], None, options),
            move |x| r::conv2d(&x[0], &x[1], window, groups),
        );
        cases.push(case.tolerance(1e-5, 1e-4));
    }
    let window = r::Window { padding: [1, 1], stride: [1, 1], ..r::Window::new([3, 3]) };
    let options = Conv2dOptions { padding: [1, 1], ..Default::default() };
    let inputs = [Input::floats(&[2, 3, 5, 5]), Input::floats(&[4, 3, 3, 3]), Input::floats(&[4])];
    cases.push(
        Case::new(
            "conv2d/bias",
            inputs,
            move |x| x[0].conv2d(&x[1], Some(&x[2]), options),
            move |x| {
                let bias = x[2].view().into_shape_with_order(IxDyn(&[1, 4, 1, 1])).unwrap().to_owned();
                r::conv2d(&x[0], &x[1], window, 1) + &bias
            },
        )
        .tolerance(1e-5, 1e-4),
    );
    let inputs = [
        Input::floats(&[5, 5, 2, 3]).permute(&[2, 3, 0, 1]),
        Input::floats(&[3, 4, 3, 3]).permute(&[1, 0, 2, 3]),
    ];
    cases.push(
        Case::new(
            "conv2d/strided_views",
            inputs,
            move |x| x[0].conv2d(&x[1], None, options),
            move |x| r::conv2d(&x[0], &x[1], window, 1),
        )
        .tolerance(1e-5, 1e-4),
    );
    let inputs = [Input::floats(&[0, 3, 5, 5]), Input::floats(&[4, 3, 3, 3])];
    cases.push(Case::new(
        "conv2d/no_images",
        inputs,
        move |x| x[0].conv2d(&x[1], None, options),
        |_| ArrayD::zeros(IxDyn(&[0, 4, 5, 5])),
    ));
}

fn pooling(cases: &mut Vec<Case>) {
    let square = Pool2dOptions::new(2);
    let lines = [
        ("2x2", [2, 3, 6, 8], square),
        ("odd", [1, 2, 7, 5], square),
        (
            "3x3_stride2_pad1",
            [2, 2, 9, 7],
            Pool2dOptions { stride: [2, 2], padding: [1, 1], ..Pool2dOptions::new(3) },
        ),
        (
            "overlapping",
            [1, 2, 6, 6],
            Pool2dOptions { kernel: [3, 2], stride: [1, 1], ..Pool2dOptions::new(3) },
        ),
        (
            "ceil",
            [1, 2, 8, 7],
            Pool2dOptions {
                ceil_mode: true,
                padding: [1, 0],
                kernel: [3, 2],
                stride: [2, 3],
                ..Pool2dOptions::new(3)
            },
        ),
        ("permuted", [2, 3, 6, 8], square),
    ];
    for (name, shape, options) in lines {
        let input = |input: Input| if name == "permuted" { input.permute(&[0, 1, 3, 2]) } else { input };
        let window = r::Window {
            kernel: options.kernel,
            stride: options.stride,
            padding: options.padding,
            dilation: [1, 1],
            ceil: options.ceil_mode,
        };
        cases.push(Case::new(
            format!("max_pool2d/{name}"),
            [input(Input::distinct(&shape))],
            move |x| x[0].max_pool2d(options),
            move |x| r::pool2d(&x[0], window, |values, _| r::greatest(values)),
        ));
        for include in [true, false] {
            let options = Pool2dOptions { count_include_pad: include, ..options };
            cases.push(Case::new(
                format!("avg_pool2d/{name}_{include}"),
                [input(Input::floats(&shape))],
                move |x| x[0].avg_pool2d(options),
                move |x| {
                    r::pool2d(&x[0], window, |values, padded| {
                        values.iter().sum::<f64>() / if include { padded } else { values.len() } as f64
                    })
                },
            ));
        }
    }
    let dilated = Pool2dOptions { kernel: [2, 3], dilation: [2, 1], stride: [1, 1], ..Pool2dOptions::new(3) };
    let window = r::Window { dilation: [2, 1], stride: [1, 1], ..r::Window::new([2, 3]) };
    cases.push(Case::new(
        "max_pool2d/dilated",
        [Input::distinct(&[1, 2, 6, 5])],
        move |x| x[0].max_pool2d(dilated),
        move |x| r::pool2d(&x[0], window, |values, _| r::greatest(values)),
    ));
    for (name, size) in [("one", [1, 1]), ("uneven", [3, 2]), ("same", [5, 7]), ("larger", [8, 9])] {
        cases.push(Case::new(
            format!("adaptive_avg_pool2d/{name}"),
            [Input::floats(&[2, 3, 5, 7])],
            move |x| x[0].adaptive_avg_pool2d(size),
            move |x| r::adaptive_avg_pool2d(&x[0], size),
        ));
    }
}

/// Devices draw the same numbers: the reference is the generator as published, written again here.
fn random(cases: &mut Vec<Case>) {
    let ones = || [Input::given(&[1.0; 1000])];
    let moments = |x: &Tensor| -> kiln::Result<Tensor> {
        let mean = x.mean(.., false)?;
        let spread = x.sub(&mean)?.square()?.mean(.., false)?;
        Tensor::stack(&[&mean, &spread], 0)
    };
    let close = |mean: f64, spread: f64| {
        move |_: &[Array]| ArrayD::from_shape_vec(IxDyn(&[2]), vec![mean, spread]).unwrap()
    };
    let draws = 200_000;
    cases.push(
        Case::new(
            "rand/moments",
            ones(),
            move |x| moments(&Tensor::rand(draws, 5, x[0].engine())?),
            close(0.5, 1.0 / 12.0),
        )
        .value_only()
        .tolerance(0.0, 4e-3),
    );
    cases.push(
        Case::new(
            "randn/moments",
            ones(),
            move |x| moments(&Tensor::randn(draws, 5, x[0].engine())?),
            close(0.0, 1.0),
        )
        .value_only()
        .tolerance(0.0, 1.5e-2),
    );
    cases.push(
        Case::new(
            "bernoulli/moments",
            ones(),
            move |x| moments(&Tensor::bernoulli(draws, 0.3, 9, x[0].engine())?.cast(DType::F32)?),
            close(0.3, 0.21),
        )
        .value_only()
        .tolerance(0.0, 6e-3),
    );
    let kept = |x: &[Tensor]| x[0].dropout(0.25, 3)?.gt(0.0)?.cast(DType::F32)?.mean(.., false);
    let input = [Input::within(&[100_000], 0.5, 1.0)];
    cases.push(
        Case::new("dropout/kept", input, kept, |_| ArrayD::from_elem(IxDyn(&[]), 0.75))
            .value_only()
            .tolerance(0.0, 6e-3),
    );
}
