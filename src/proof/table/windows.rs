//! Convolution of images.

use crate::DType;
use crate::ops::Conv2dOptions;
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
        Line("depthwise_wide", [2, 3, 5, 40], [3, 1, 3, 5], [1, 1], [1, 2], [1, 1], 3),
        Line("depthwise_stride", [2, 3, 9, 38], [3, 1, 3, 3], [2, 3], [1, 0], [1, 2], 3),
        Line("depthwise_far", [1, 2, 1, 2], [2, 1, 3, 3], [1, 1], [40, 40], [40, 40], 2),
        Line("depthwise_vectors", [2, 3, 9, 12], [3, 1, 3, 3], [1, 1], [1, 1], [1, 1], 3),
        Line("depthwise_steps", [2, 3, 8, 16], [3, 1, 3, 3], [2, 2], [1, 1], [1, 1], 3),
        Line("depthwise_long_steps", [1, 3, 13, 16], [3, 1, 5, 5], [4, 4], [2, 2], [1, 1], 3),
        Line("depthwise_filters", [2, 3, 7, 8], [6, 1, 3, 3], [1, 1], [1, 1], [1, 1], 3),
        Line("depthwise_filters_steps", [2, 2, 6, 7], [6, 1, 2, 3], [1, 2], [1, 0], [1, 1], 2),
        Line("depthwise_large", [1, 2, 14, 14], [2, 1, 7, 7], [1, 1], [3, 3], [1, 1], 2),
        Line("depthwise_dilation", [2, 3, 10, 12], [3, 1, 3, 3], [1, 1], [2, 2], [2, 2], 3),
        Line("depthwise_many", [40, 2, 8, 16], [2, 1, 3, 3], [1, 1], [1, 1], [1, 1], 2),
        Line("filters", [3, 2, 5, 4], [130, 2, 3, 3], [2, 1], [1, 1], [1, 1], 1),
        Line("channels", [2, 17, 6, 6], [33, 17, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        Line("channels_odd_sizes", [2, 16, 9, 7], [18, 16, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        Line("channels_vectors", [2, 18, 8, 12], [16, 18, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        Line("channels_in_rows", [1, 16, 14, 14], [16, 16, 3, 3], [1, 1], [0, 2], [1, 1], 1),
        Line("many", [9, 2, 4, 4], [3, 2, 3, 3], [1, 1], [1, 1], [1, 1], 1),
        Line("pixel_in_wide_window", [1, 2, 1, 1], [3, 2, 5, 5], [1, 1], [2, 2], [1, 1], 1),
        Line("pixel_in_far_window", [1, 1, 1, 2], [2, 1, 3, 3], [4, 4], [2, 2], [1, 1], 1),
        Line("one_pixel", [1, 3, 1, 1], [2, 3, 3, 3], [1, 1], [1, 1], [1, 1], 1),
    ];
    for Line(name, x, w, stride, padding, dilation, groups) in lines {
        let options = Conv2dOptions { stride, padding, dilation, groups };
        let window = r::Window { kernel: [w[2], w[3]], stride, padding, dilation, ceil: false };
        let case = Case::new(
            format!("conv2d/{name}"),
            [Input::floats(&x), Input::floats(&w).reseeded()],
            move |x| x[0].conv2d(&x[1], None, options),
            move |x| r::conv(&x[0], &x[1], window, groups),
        );
        cases.push(case.tolerance(1e-5, 1e-4));
        // Operands in half precision: the images, the weight, or both.
        let halves =
            if matches!(name, "all" | "rectangle" | "depthwise" | "depthwise_vectors") { 0..3 } else { 0..0 };
        for (at, which) in halves.zip(["half_images", "half_weight", "half"]) {
            let mut inputs = [Input::floats(&x), Input::floats(&w).reseeded()];
            inputs = inputs.map(|input| if at == 2 { input.half() } else { input });
            if let Some(input) = inputs.get_mut(at) {
                *input = input.clone().half();
            }
            let case = Case::new(
                format!("conv2d/{name}_{which}"),
                inputs,
                move |x| x[0].conv2d(&x[1], None, options)?.cast(DType::F32),
                move |x| r::conv(&x[0], &x[1], window, groups),
            );
            cases.push(match at {
                2 => case.tolerance(3e-3, 3e-2).value_only(),
                _ => case.tolerance(1e-5, 1e-4),
            });
        }
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
                r::conv(&x[0], &x[1], window, 1) + &bias
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
            move |x| r::conv(&x[0], &x[1], window, 1),
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
