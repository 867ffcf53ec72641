//! Products, softmax and indexing.

use crate::proof::case::{Array, Case, Input};
use crate::proof::reference as r;
use crate::{DType, Tensor};
use ndarray::{ArrayD, Axis, IxDyn};

pub fn products(cases: &mut Vec<Case>) {
    let shapes: [(&str, Input, Input); 21] = [
        ("square", Input::floats(&[5, 5]), Input::floats(&[5, 5])),
        ("odd", Input::floats(&[7, 13]), Input::floats(&[13, 3])),
        ("tiles", Input::floats(&[65, 33]), Input::floats(&[33, 70])),
        ("one", Input::floats(&[1, 1]), Input::floats(&[1, 1])),
        ("row", Input::floats(&[1, 9]), Input::floats(&[9, 6])),
        ("column", Input::floats(&[6, 9]), Input::floats(&[9, 1])),
        ("deep", Input::floats(&[3, 2000]), Input::floats(&[2000, 4])),
        // Few rows or columns, of matrices that lie along k and across it, in whole vectors and not.
        ("long_row", Input::floats(&[1, 516]), Input::floats(&[516, 516])),
        ("rows_along", Input::floats(&[2, 1030]), Input::floats(&[131, 1030]).permute(&[1, 0])),
        ("rows", Input::floats(&[3, 130]), Input::floats(&[130, 37])),
        ("rows_across", Input::floats(&[40, 4]).permute(&[1, 0]), Input::floats(&[36, 40]).permute(&[1, 0])),
        ("long_column", Input::floats(&[132, 516]), Input::floats(&[516, 1])),
        (
            "column_across",
            Input::floats(&[41, 130]).permute(&[1, 0]),
            Input::floats(&[41, 2]).slice(1, 0, 2, 2),
        ),
        ("columns", Input::floats(&[70, 944]), Input::floats(&[944, 4])),
        ("batch_rows", Input::floats(&[3, 2, 50]), Input::floats(&[3, 9, 50]).permute(&[0, 2, 1])),
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
    // Operands in half precision, of odd lengths: elements share words.
    let half = |shape: &[usize]| Input::floats(shape).half();
    let halves: [(&str, Input, Input, f64); 8] = [
        ("half", half(&[7, 13]), half(&[13, 3]), 3e-3),
        ("half_left", half(&[5, 9]), Input::floats(&[9, 4]), 1e-5),
        ("half_right", Input::floats(&[5, 9]), half(&[9, 4]), 1e-5),
        ("half_views", half(&[13, 7]).permute(&[1, 0]), half(&[27, 4]).slice(0, 1, 27, 2).flip(1), 3e-3),
        ("half_row", half(&[1, 132]), half(&[132, 36]), 3e-3),
        ("half_column", half(&[36, 129]), half(&[129, 1]), 3e-3),
        ("half_rows", half(&[2, 132]), half(&[37, 132]).permute(&[1, 0]), 3e-3),
        ("half_batch", half(&[3, 3, 5]), half(&[3, 5, 1]).flip(0), 3e-3),
    ];
    for (name, a, b, rtol) in halves {
        let case = Case::new(
            format!("matmul/{name}"),
            [a, b.reseeded()],
            |x| x[0].matmul(&x[1])?.cast(DType::F32),
            |x| r::matmul(&x[0], &x[1]),
        );
        let case = case.tolerance(rtol, 2.0 * rtol);
        cases.push(if rtol > 1e-3 { case.value_only() } else { case });
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
            ("long", Input::floats(&[3, 2200]), 1),
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
        // Rows of 4 and of 3 elements: whole vectors or not.
        for width in [4, 3] {
            const INF: f64 = f64::INFINITY;
            let values = [-INF, -INF, 1.0, -INF, -INF, -INF, 2.0, INF, 3.0, 5.0, f64::NAN, -INF];
            let op = move |x: &[Tensor]| {
                let rows = x[0].reshape([12 / width, width])?;
                if log { rows.log_softmax(-1) } else { rows.softmax(-1) }
            };
            let reference = move |x: &[Array]| {
                r::softmax(&x[0].clone().into_shape_with_order(IxDyn(&[12 / width, width])).unwrap(), 1, log)
            };
            let case = Case::new(format!("{name}/edges_{width}"), [Input::given(&values)], op, reference);
            cases.push(case.value_only().tolerance(1e-5, 1e-5));
        }
        // A row that begins with more of -inf than a subgroup reads, and one with a NaN.
        let mut values = [vec![-f64::INFINITY; 1200], vec![1.0; 3200]].concat();
        values[4000] = f64::NAN;
        let op = move |x: &[Tensor]| {
            let rows = x[0].reshape([2, 2200])?;
            if log { rows.log_softmax(-1) } else { rows.softmax(-1) }
        };
        let reference = move |x: &[Array]| r::softmax(&r::reshape(&x[0], &[2, 2200]), 1, log);
        let case = Case::new(format!("{name}/long_edges"), [Input::given(&values)], op, reference);
        cases.push(case.value_only().tolerance(1e-5, 1e-5));
    }
}

pub fn indexing(cases: &mut Vec<Case>) {
    cases.push(Case::new(
        "index_select/rows_of_8",
        [Input::floats(&[5, 8]), Input::ints(&[7], 0, 5)],
        |x| x[0].index_select(0, &x[1]),
        |x| ArrayD::from_shape_fn(IxDyn(&[7, 8]), |at| x[0][[x[1][at[0]] as usize, at[1]]]),
    ));
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
