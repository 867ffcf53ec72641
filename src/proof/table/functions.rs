//! Elementwise functions and activations that are accurate over wide ranges, and their edges.

use super::{Binary, Map, Unary, Zip};
use crate::Tensor;
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference as r;

const SELU: (f64, f64) = (1.673_263_242_354_377_2, 1.050_700_987_355_480_5);

pub fn functions(cases: &mut Vec<Case>) {
    let softplus = |a: f64| if a > 20.0 { a } else { a.exp().ln_1p() };
    let ops: [(&str, Unary, Map, f64, f64); 43] = [
        ("asin/", |x| x.asin(), f64::asin, -0.95, 0.95),
        ("acos/", |x| x.acos(), f64::acos, -0.95, 0.95),
        ("sinh/", |x| x.sinh(), f64::sinh, -4.0, 4.0),
        ("sinh/near_0_", |x| x.sinh(), f64::sinh, -1e-3, 1e-3),
        ("cosh/", |x| x.cosh(), f64::cosh, -4.0, 4.0),
        ("asinh/", |x| x.asinh(), f64::asinh, -9.0, 9.0),
        ("asinh/near_0_", |x| x.asinh(), f64::asinh, -1e-3, 1e-3),
        ("acosh/", |x| x.acosh(), f64::acosh, 1.1, 9.0),
        ("atanh/", |x| x.atanh(), f64::atanh, -0.95, 0.95),
        ("atanh/near_0_", |x| x.atanh(), f64::atanh, -1e-3, 1e-3),
        ("exp2/", |x| x.exp2(), f64::exp2, -9.0, 9.0),
        ("log2/", |x| x.log2(), f64::log2, 0.1, 9.0),
        ("log10/", |x| x.log10(), f64::log10, 0.1, 9.0),
        ("frac/", |x| x.frac(), |a| a - a.trunc(), 0.1, 0.9),
        ("softshrink/", |x| x.softshrink(0.5), |a| a - a.clamp(-0.5, 0.5), -2.0, 2.0),
        ("hardshrink/", |x| x.hardshrink(0.5), |a| if a.abs() > 0.5 { a } else { 0.0 }, -2.0, 2.0),
        ("tanhshrink/", |x| x.tanhshrink(), |a| a - a.tanh(), -3.0, 3.0),
        ("threshold/", |x| x.threshold(0.5, -7.0), |a| if a > 0.5 { a } else { -7.0 }, -2.0, 2.0),
        (
            "prelu/",
            |x| x.prelu(&x.zeros_like()?.sum(.., true)?.add(0.2)?),
            |a| if a > 0.0 { a } else { 0.2 * a },
            -2.0,
            2.0,
        ),
        ("expm1/", |x| x.expm1(), f64::exp_m1, -5.0, 5.0),
        ("expm1/near_0_", |x| x.expm1(), f64::exp_m1, -1e-3, 1e-3),
        ("log1p/", |x| x.log1p(), f64::ln_1p, -0.9, 9.0),
        ("log1p/near_0_", |x| x.log1p(), f64::ln_1p, -1e-3, 1e-3),
        ("tan/", |x| x.tan(), f64::tan, -1.4, 1.4),
        ("tan/far_", |x| x.tan()?.atan(), |a| a.tan().atan(), 3.3, 4.5),
        ("atan/", |x| x.atan(), f64::atan, -9.0, 9.0),
        ("softsign/", |x| x.softsign(), |a| a / (1.0 + a.abs()), -3.0, 3.0),
        ("logsigmoid/", |x| x.logsigmoid(), |a| -(-a).exp().ln_1p(), -9.0, 9.0),
        ("relu6/", |x| x.relu6(), |a| a.clamp(0.0, 6.0), -9.0, 9.0),
        ("hardtanh/", |x| x.hardtanh(-0.5, 0.75), |a| a.clamp(-0.5, 0.75), -2.0, 2.0),
        ("hardsigmoid/", |x| x.hardsigmoid(), |a| (a + 3.0).clamp(0.0, 6.0) / 6.0, -5.0, 5.0),
        ("hardswish/", |x| x.hardswish(), |a| a * (a + 3.0).clamp(0.0, 6.0) / 6.0, -5.0, 5.0),
        ("elu/", |x| x.elu(0.5), |a| if a > 0.0 { a } else { 0.5 * a.exp_m1() }, -3.0, 3.0),
        ("celu/", |x| x.celu(2.0), |a| if a > 0.0 { a } else { 2.0 * (a / 2.0).exp_m1() }, -3.0, 3.0),
        ("selu/", |x| x.selu(), |a| SELU.1 * if a > 0.0 { a } else { SELU.0 * a.exp_m1() }, -3.0, 3.0),
        ("softplus/", |x| x.softplus(1.0, 20.0), softplus, -9.0, 9.0),
        ("softplus/sharp_", |x| x.softplus(4.0, 20.0), |a| (4.0 * a).exp().ln_1p() / 4.0, -4.0, 4.0),
        ("mish/", |x| x.mish(), |a| a * a.exp().ln_1p().tanh(), -5.0, 5.0),
        ("gelu_tanh/", |x| x.gelu_tanh(), gelu_tanh, -3.0, 3.0),
        ("clamp_min/", |x| x.clamp_min(0.25), |a| a.max(0.25), -2.0, 2.0),
        ("clamp_max/", |x| x.clamp_max(0.25), |a| a.min(0.25), -2.0, 2.0),
        ("fmod/number_", |x| x.fmod(0.75), |a| a % 0.75, -2.0, 2.0),
        ("remainder/number_", |x| x.remainder(0.75), |a| a.rem_euclid(0.75), -2.0, 2.0),
    ];
    for (name, op, f, low, high) in ops {
        let mut with = |variant: &str, input: Input| {
            let case = Case::new(format!("{name}{variant}"), [input], move |x| op(&x[0]), r::map(f));
            // The absolute part is for what cancels near 0, and must not hide errors of small numbers.
            cases.push(case.tolerance(2e-6, 2e-7 * high.min(1.0)));
        };
        with("scalar", Input::within(&[], low, high));
        with("empty", Input::within(&[2, 0, 3], low, high));
        with("blocks", Input::within(&[37, 131], low, high));
        with("view", Input::within(&[9, 4], low, high).slice(0, 1, 8, 3).permute(&[1, 0]));
    }
    let ops: [(&str, Binary, Zip, f64, f64); 5] = [
        ("atan2/", |a, b| a.atan2(b), f64::atan2, -2.0, 2.0),
        ("fmod/", |a, b| a.fmod(&b.add(3.0)?), |a, b| a % (b + 3.0), -2.0, 2.0),
        ("remainder/", |a, b| a.remainder(&b.add(3.0)?), |a, b| a.rem_euclid(b + 3.0), -2.0, 2.0),
        (
            "clamp/between_",
            |a, b| a.clamp(&b.sub(0.5)?, &b.add(0.5)?),
            |a, b| a.clamp(b - 0.5, b + 0.5),
            -2.0,
            2.0,
        ),
        ("leaky_relu/slope_", |a, b| a.leaky_relu(b), |a, b| if a > 0.0 { a } else { a * b }, -2.0, 2.0),
    ];
    for (name, op, f, low, high) in ops {
        for (variant, a, b) in [("same", &[37, 131][..], &[37, 131][..]), ("outer", &[6, 1], &[1, 7])] {
            let inputs = [Input::within(a, low, high), Input::within(b, low, high).reseeded()];
            let case = Case::new(format!("{name}{variant}"), inputs, move |x| op(&x[0], &x[1]), r::zip(f));
            cases.push(case.tolerance(2e-6, 1e-6));
        }
    }
    let inputs = [Input::floats(&[2, 3, 4]), Input::within(&[3], -0.5, 0.5)];
    let prelu = |x: &[Array]| {
        let weight = r::reshape(&x[1], &[1, 3, 1]);
        r::zip(|a, b| if a > 0.0 { a } else { a * b })(&[x[0].clone(), weight])
    };
    cases.push(Case::new("prelu/channels", inputs, |x| x[0].prelu(&x[1]), prelu));
    for (name, input, axis) in [
        ("last", Input::floats(&[3, 6]), 1usize),
        ("middle", Input::floats(&[2, 4, 3]), 1),
        ("view", Input::floats(&[3, 8]).permute(&[1, 0]), 0),
    ] {
        let halves = move |x: &[Array]| {
            r::lines(&x[0], axis, &|line| {
                let (a, b) = line.split_at(line.len() / 2);
                a.iter().zip(b).map(|(a, b)| a / (1.0 + (-b).exp())).collect()
            })
        };
        let op = move |x: &[Tensor]| x[0].glu(axis as isize);
        cases.push(Case::new(format!("glu/{name}"), [input.clone()], op, halves));
        let op = move |x: &[Tensor]| x[0].softmin(axis as isize);
        let reference = move |x: &[Array]| r::softmax(&-&x[0], axis, false);
        cases.push(Case::new(format!("softmin/{name}"), [input], op, reference));
    }
    edges(cases);
}

fn gelu_tanh(a: f64) -> f64 {
    0.5 * a * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (a + 0.044715 * a.powi(3))).tanh())
}

/// Exact remainders, whole numbers, quadrants and far angles.
fn edges(cases: &mut Vec<Case>) {
    let mut exact = |name: &str, [a, b]: [Input; 2], op: Binary, f: Zip| {
        let case = Case::new(name, [a, b], move |x| op(&x[0], &x[1]), r::zip(f));
        cases.push(case.value_only().tolerance(0.0, 0.0));
    };
    let inf = f64::INFINITY;
    let floats = || {
        let wide = |value: f32| f64::from(value);
        [
            Input::given(&[7.0, -7.0, 5.5, -0.5, 1e7, wide(-3e38), 3.0, inf, f64::NAN, 2.0, -2.0, 1.0]),
            Input::given(&[3.0, 3.0, -2.0, 2.0, wide(0.1), wide(0.7), inf, 2.0, 1.0, 0.0, inf, f64::NAN]),
        ]
    };
    let floor_mod: Zip = |a, b| {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
    };
    exact("fmod/edges", floats(), |a, b| a.fmod(b), |a, b| a % b);
    // The sum after the exact remainder rounds.
    let [a, b] = floats();
    let case = Case::new("remainder/edges", [a, b], |x| x[0].remainder(&x[1]), r::zip(floor_mod));
    let ints = || [Input::ints(&[5, 9], -20, 20), Input::ints(&[5, 9], -3, 4).reseeded()];
    exact("fmod/int", ints(), |a, b| a.fmod(b), |a, b| if b == 0.0 { 0.0 } else { a % b });
    exact(
        "remainder/int",
        ints(),
        |a, b| a.remainder(b),
        |a, b| {
            let rest = if b == 0.0 { 0.0 } else { a % b };
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        },
    );
    cases.push(case.value_only().tolerance(1e-7, 0.0));
    let quadrants = [
        Input::given(&[0.0, -0.0, 0.0, -0.0, 1.0, -1.0, inf, -inf, inf, 1.0, -1.0, f64::NAN]),
        Input::given(&[1.0, 1.0, -1.0, -1.0, 0.0, 0.0, inf, inf, -inf, inf, -inf, 1.0]),
    ];
    let case = Case::new("atan2/quadrants", quadrants, |x| x[0].atan2(&x[1]), r::zip(f64::atan2));
    cases.push(case.value_only().tolerance(1e-6, 0.0));
    let far = || Input::within(&[999], -1000.0, 1000.0);
    for (name, op, f) in [("sin", Tensor::sin as Unary, f64::sin as Map), ("cos", Tensor::cos, f64::cos)] {
        let case = Case::new(format!("{name}/thousands"), [far()], move |x| op(&x[0]), r::map(f));
        cases.push(case.value_only().tolerance(0.0, 3e-7));
    }
    let case = Case::new("tan/thousands", [far()], |x| x[0].tan()?.atan(), r::map(|a| a.tan().atan()));
    cases.push(case.value_only().tolerance(2e-6, 2e-6));
    let bounds = [
        Input::given(&[1.0, f64::NAN, 1.0, 1.0, 3.0, -inf, inf]),
        Input::given(&[0.0, 0.0, f64::NAN, 0.0, 2.0, 0.0, 0.0]),
        Input::given(&[2.0, 2.0, 2.0, f64::NAN, 1.0, 2.0, 2.0]),
    ];
    let clamp = |x: &[Array]| {
        let nan = |a: f64, b: f64, value: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { value };
        let low = ndarray::Zip::from(&x[0]).and(&x[1]).map_collect(|&a, &b| nan(a, b, a.max(b)));
        ndarray::Zip::from(&low).and(&x[2]).map_collect(|&a, &b| nan(a, b, a.min(b)))
    };
    let case = Case::new("clamp/nan_wins", bounds, |x| x[0].clamp(&x[1], &x[2]), clamp);
    cases.push(case.value_only().tolerance(0.0, 0.0));
}
