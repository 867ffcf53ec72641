//! Reductions.

use super::{Fold, Test};
use crate::Tensor;
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference as r;
use ndarray::{ArrayD, IxDyn};

pub fn reductions(cases: &mut Vec<Case>) {
    composed(cases);
    type Op = fn(&Tensor, &[isize], bool) -> crate::Result<Tensor>;
    let sum: Op = |x, axes, keep| x.sum(axes, keep);
    let mean: Op = |x, axes, keep| x.mean(axes, keep);
    let max: Op = |x, axes, keep| x.max(axes, keep);
    let min: Op = |x, axes, keep| x.min(axes, keep);
    let ops: [(&str, Op, Fold); 4] = [
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
        ("long_rows", vec![2, 2200], vec![1], false),
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
                move |x| r::reduce(&x[0], &axes, keep, &fold),
            );
            let sharp = matches!(name, "max" | "min");
            cases.push(if sharp { case.tolerance(0.0, 0.0) } else { case.tolerance(2e-6, 2e-3) });
        }
        let strided = Input::distinct(&[4, 6]).permute(&[1, 0]).slice(0, 0, 6, 2);
        cases.push(Case::new(
            format!("{name}/strided"),
            [strided],
            move |x| op(&x[0], &[1], false),
            move |x| r::reduce(&x[0], &[1], false, &fold),
        ));
        for (variant, shape, axis) in [("int", [4, 5], 0), ("long_int", [2, 2200], 1)] {
            if name == "mean" {
                continue;
            }
            cases.push(
                Case::new(
                    format!("{name}/{variant}"),
                    [Input::ints(&shape, -9, 9)],
                    move |x| op(&x[0], &[axis as isize], false),
                    move |x| r::reduce(&x[0], &[axis], false, &fold),
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
            |x| r::reduce(&x[0], &[0], false, &|row| row.iter().sum()),
        )
        .tolerance(1e-5, 0.0)
        .value_only(),
    );
    const INF: f64 = f64::INFINITY;
    // One row with a NaN and one of infinities, of a few elements and of a workgroup's.
    let edges = |length: usize| {
        let mut values = vec![-INF; 2 * length];
        values[..length].iter_mut().zip(0..).for_each(|(value, place)| *value = f64::from(place % 9));
        values[length / 2] = f64::NAN;
        values[length - 1] = f64::NAN;
        Input::given(&values)
    };
    for (name, op, fold) in [("max", max, r::greatest as Fold), ("min", min, r::least)] {
        for (variant, length) in [("edges", 3), ("long_edges", 2200)] {
            let rows = move |x: &[Tensor]| op(&x[0].reshape([2, length])?, &[1], false);
            let reference =
                move |x: &[Array]| r::reduce(&r::reshape(&x[0], &[2, length]), &[1], false, &fold);
            cases.push(Case::new(format!("{name}/{variant}"), [edges(length)], rows, reference).value_only());
        }
    }
    type Arg = fn(&Tensor, isize) -> crate::Result<Tensor>;
    let args: [(&str, Arg, Test); 2] = [
        ("argmax", |x, d| x.argmax(d, false), |a, b| a > b),
        ("argmin", |x, d| x.argmin(d, false), |a, b| a < b),
    ];
    for (name, op, better) in args {
        for (variant, input, dim) in [
            ("last", Input::distinct(&[5, 7]), 1),
            ("first", Input::distinct(&[9, 3]), 0),
            ("middle", Input::distinct(&[3, 4, 5]), 1),
            ("long", Input::distinct(&[2, 2200]), 1),
            ("long_ties", Input::ints(&[3, 2200], -9, 9), 1),
            ("tall", Input::distinct(&[700, 2]), 0),
            ("ties", Input::given(&[1.0, 3.0, 3.0, 1.0]), 0),
            ("nan", Input::given(&[1.0, f64::NAN, 3.0, f64::NAN]), 0),
            ("long_nan", edges(2200), 0),
        ] {
            let reference =
                move |x: &[Array]| r::reduce(&x[0], &[dim], false, &|row| r::position(row, better));
            cases.push(
                Case::new(format!("{name}/{variant}"), [input], move |x| op(&x[0], dim as isize), reference)
                    .value_only(),
            );
        }
    }
}

/// Reductions that are made of others.
fn composed(cases: &mut Vec<Case>) {
    type Op = fn(&Tensor, &[isize], bool) -> crate::Result<Tensor>;
    fn variance(row: &[f64], correction: f64) -> f64 {
        let mean = r::mean(row);
        row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (row.len() as f64 - correction)
    }
    fn norm(row: &[f64], p: f64) -> f64 {
        row.iter().map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p)
    }
    let greatest = |row: &[f64]| row.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
    let least = |row: &[f64]| row.iter().fold(f64::INFINITY, |a: f64, v| a.min(v.abs()));
    let nonzero = |row: &[f64]| row.iter().filter(|&&v| v != 0.0).count() as f64;
    let ops: [(&str, Op, Fold); 10] = [
        ("var/", |x, axes, keep| x.var(axes, 1, keep), |row| variance(row, 1.0)),
        ("var/biased_", |x, axes, keep| x.var(axes, 0, keep), |row| variance(row, 0.0)),
        ("std/", |x, axes, keep| x.std(axes, 1, keep), |row| variance(row, 1.0).sqrt()),
        ("norm/1_", |x, axes, keep| x.norm(1.0, axes, keep), |row| norm(row, 1.0)),
        ("norm/2_", |x, axes, keep| x.norm(2.0, axes, keep), |row| norm(row, 2.0)),
        ("norm/3_", |x, axes, keep| x.norm(3.0, axes, keep), |row| norm(row, 3.0)),
        ("norm/0_", |x, axes, keep| x.norm(0.0, axes, keep), nonzero),
        ("norm/inf_", |x, axes, keep| x.norm(f64::INFINITY, axes, keep), greatest),
        ("norm/-inf_", |x, axes, keep| x.norm(f64::NEG_INFINITY, axes, keep), least),
        (
            "logsumexp/",
            |x, axes, keep| x.logsumexp(axes, keep),
            |row| row.iter().map(|v| v.exp()).sum::<f64>().ln(),
        ),
    ];
    for (name, op, fold) in ops {
        for (variant, input, axes, keep) in [
            ("all", Input::floats(&[3, 5, 7]), vec![0, 1, 2], false),
            ("last", Input::floats(&[5, 7]), vec![1], true),
            ("split", Input::floats(&[3, 4, 5, 2]), vec![0, 2], false),
            ("long", Input::floats(&[2, 1500]), vec![1], false),
            ("view", Input::floats(&[6, 5]).permute(&[1, 0]).slice(1, 0, 6, 2), vec![0], false),
        ] {
            let signed: Vec<isize> = axes.iter().map(|&axis| axis as isize).collect();
            let op = move |x: &[Tensor]| op(&x[0], &signed, keep);
            let reference = move |x: &[Array]| r::reduce(&x[0], &axes, keep, &fold);
            let case = Case::new(format!("{name}{variant}"), [input], op, reference).tolerance(1e-5, 1e-6);
            cases.push(if name == "norm/0_" { case.value_only() } else { case });
        }
    }
    let far = [Input::within(&[3, 5], 900.0, 1000.0)];
    let reference = |x: &[Array]| {
        r::reduce(&x[0], &[1], false, &|row| {
            let top = r::greatest(row);
            row.iter().map(|v| (v - top).exp()).sum::<f64>().ln() + top
        })
    };
    cases.push(Case::new("logsumexp/far", far, |x| x[0].logsumexp(1, false), reference));
    let truth: [(&str, Op, Fold); 2] = [
        ("any", |x, axes, keep| x.any(axes, keep), |row| f64::from(u8::from(row.iter().any(|&v| v != 0.0)))),
        ("all", |x, axes, keep| x.all(axes, keep), |row| f64::from(u8::from(row.iter().all(|&v| v != 0.0)))),
    ];
    for (name, op, fold) in truth {
        for (variant, input, axes) in [
            ("bool", Input::bools(&[5, 3]), vec![1]),
            ("int", Input::ints(&[4, 3, 2], 0, 2), vec![0, 2]),
            ("nan", Input::given(&[0.0, f64::NAN, -0.0]), vec![0]),
            ("empty", Input::bools(&[3, 0]), vec![1]),
            ("long", Input::ints(&[2, 1500], 0, 1500), vec![1]),
        ] {
            let signed: Vec<isize> = axes.iter().map(|&axis| axis as isize).collect();
            let op = move |x: &[Tensor]| op(&x[0], &signed, false);
            let reference = move |x: &[Array]| r::reduce(&x[0], &axes, false, &fold);
            cases.push(Case::new(format!("{name}/{variant}"), [input], op, reference).value_only());
        }
    }
    let pair = [Input::distinct(&[4, 9]).flip(1)];
    let reference = |x: &[Array]| r::reduce(&x[0], &[1], true, &r::least);
    cases.push(Case::new("min_dim/last", pair, |x| Ok(x[0].min_dim(-1, true)?.0), reference));
}
