//! Views, and ops that only move elements.

use crate::Tensor;
use crate::proof::case::{Array, Case, Input};
use ndarray::{ArrayD, Axis, IxDyn, concatenate, stack};

pub fn views(cases: &mut Vec<Case>) {
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
        "pad/rows_of_4",
        [Input::floats(&[2, 3, 4])],
        |x| x[0].pad(&[(0, 0), (2, 1), (0, 0)], 9.5),
        |x| {
            ArrayD::from_shape_fn(IxDyn(&[2, 6, 4]), |at| {
                if (2..5).contains(&at[1]) { x[0][[at[0], at[1] - 2, at[2]]] } else { 9.5 }
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
}
