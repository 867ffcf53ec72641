//! Reductions.

use super::{Fold, Test};
use crate::Tensor;
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference as r;
use ndarray::{ArrayD, IxDyn};

pub fn reductions(cases: &mut Vec<Case>) {
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
    for (name, op, fold) in [("max", max, r::greatest as Fold), ("min", min, r::least)] {
        let rows = move |x: &[Tensor]| op(&x[0].reshape([2, 3])?, &[1], false);
        cases.push(
            Case::new(format!("{name}/edges"), [edge()], rows, move |x| {
                r::reduce(&x[0].clone().into_shape_with_order(IxDyn(&[2, 3])).unwrap(), &[1], false, fold)
            })
            .value_only(),
        );
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
