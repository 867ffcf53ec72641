//! Convolution and pooling.

use crate::ops::{Conv2dOptions, Pool2dOptions};
use crate::proof::case::{Case, Input};
use crate::proof::reference as r;
use ndarray::{ArrayD, IxDyn};

pub fn convolutions(cases: &mut Vec<Case>) {
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

pub fn pooling(cases: &mut Vec<Case>) {
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
