//! Convolution in one and three dimensions, with padding that keeps the size, and transposed.

use crate::Tensor;
use crate::ops::{
    Conv1dOptions, Conv3dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions, ConvTranspose3dOptions,
};
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference::{self as r, Window};

/// A window with these strides, paddings and dilations.
fn window<const N: usize>(kernel: [usize; N], ways: [[usize; N]; 3]) -> Window<N> {
    let [stride, padding, dilation] = ways;
    Window { kernel, stride, padding, dilation, ceil: false }
}

pub fn convolutions(cases: &mut Vec<Case>) {
    let sequences = [
        ("plain", [2, 3, 9], [4, 3, 3], [1, 0, 1], 1),
        ("all", [2, 4, 17], [6, 2, 3], [2, 2, 3], 2),
        ("depthwise", [1, 5, 8], [10, 1, 2], [1, 1, 1], 5),
        ("one", [1, 1, 1], [1, 1, 1], [1, 0, 1], 1),
    ];
    for (name, x, w, [stride, padding, dilation], groups) in sequences {
        let options = Conv1dOptions { stride, padding, dilation, groups };
        let window = window([w[2]], [[stride], [padding], [dilation]]);
        let inputs = [Input::floats(&x), Input::floats(&w).reseeded(), Input::floats(&[w[0]])];
        cases.push(Case::new(
            format!("conv1d/{name}"),
            inputs,
            move |x| x[0].conv1d(&x[1], Some(&x[2]), options),
            move |x| r::conv(&x[0], &x[1], window, groups) + &r::reshape(&x[2], &[w[0], 1]),
        ));
    }
    let volumes = [
        ("plain", [1, 2, 4, 3, 5], [3, 2, 2, 3, 2], [[1; 3], [0; 3], [1; 3]], 1),
        ("all", [2, 4, 6, 5, 7], [2, 2, 3, 2, 2], [[2, 1, 3], [1, 2, 0], [2, 1, 2]], 2),
        ("one", [1, 1, 1, 1, 1], [2, 1, 1, 1, 1], [[1; 3], [0; 3], [1; 3]], 1),
    ];
    for (name, x, w, ways, groups) in volumes {
        let [stride, padding, dilation] = ways;
        let options = Conv3dOptions { stride, padding, dilation, groups };
        let window = window([w[2], w[3], w[4]], ways);
        let inputs = [Input::floats(&x), Input::floats(&w).reseeded()];
        let op = move |x: &[Tensor]| x[0].conv3d(&x[1], None, options);
        let reference = move |x: &[Array]| r::conv(&x[0], &x[1], window, groups);
        cases.push(Case::new(format!("conv3d/{name}"), inputs, op, reference).tolerance(2e-6, 1e-5));
    }
    same(cases);
    transposed(cases);
}

/// Padding that keeps the size, the odd zero at the end: a crop of a wider padding gives the same.
fn same(cases: &mut Vec<Case>) {
    fn kept<const N: usize>(x: &Array, w: &Array, dilation: [usize; N], groups: usize) -> Array {
        let kernel: [usize; N] = std::array::from_fn(|axis| w.shape()[axis + 2]);
        let total = std::array::from_fn(|axis| dilation[axis] * (kernel[axis] - 1));
        let wide = window(kernel, [[1; N], total, dilation]);
        let mut y = r::conv(x, w, wide, groups);
        for (axis, total) in total.into_iter().enumerate() {
            let start = total - total / 2;
            let size = x.shape()[axis + 2];
            y.slice_axis_inplace(ndarray::Axis(axis + 2), (start..start + size).into());
        }
        y.as_standard_layout().into_owned()
    }
    for (name, kernel, dilation) in [("odd", 3, 2), ("even", 4, 1), ("one", 1, 1)] {
        let inputs = [Input::floats(&[2, 4, 7]), Input::floats(&[2, 2, kernel]).reseeded()];
        let op = move |x: &[Tensor]| x[0].conv1d_same(&x[1], None, dilation, 2);
        let reference = move |x: &[Array]| kept(&x[0], &x[1], [dilation], 2);
        cases.push(Case::new(format!("conv1d_same/{name}"), inputs, op, reference));
        let inputs = [Input::floats(&[1, 2, 6, 7]), Input::floats(&[3, 2, kernel, 3]).reseeded()];
        let op = move |x: &[Tensor]| x[0].conv2d_same(&x[1], None, [dilation, 1], 1);
        let reference = move |x: &[Array]| kept(&x[0], &x[1], [dilation, 1], 1);
        cases.push(Case::new(format!("conv2d_same/{name}"), inputs, op, reference).tolerance(2e-6, 1e-5));
        let inputs = [Input::floats(&[1, 2, 3, 4, 5]), Input::floats(&[2, 2, 2, kernel, 1]).reseeded()];
        let op = move |x: &[Tensor]| x[0].conv3d_same(&x[1], None, [1, dilation, 1], 1);
        let reference = move |x: &[Array]| kept(&x[0], &x[1], [1, dilation, 1], 1);
        cases.push(Case::new(format!("conv3d_same/{name}"), inputs, op, reference).tolerance(2e-6, 1e-5));
    }
}

/// The size that a transposed convolution gives.
fn grown<const N: usize>(x: &[usize], w: &[usize], ways: [[usize; N]; 3], extra: [usize; N]) -> [usize; N] {
    let [stride, padding, dilation] = ways;
    std::array::from_fn(|axis| {
        (x[axis + 2] - 1) * stride[axis] + dilation[axis] * (w[axis + 2] - 1) + extra[axis] + 1
            - 2 * padding[axis]
    })
}

fn transposed(cases: &mut Vec<Case>) {
    let sequences = [
        ("plain", [2, 3, 5], [3, 2, 3], [[1], [0], [1]], 0, 1),
        ("all", [1, 4, 6], [4, 3, 3], [[3], [2], [2]], 2, 2),
        ("one", [1, 1, 1], [1, 1, 1], [[1], [0], [1]], 0, 1),
    ];
    for (name, x, w, ways, output_padding, groups) in sequences {
        let [[stride], [padding], [dilation]] = ways;
        let options = ConvTranspose1dOptions { stride, padding, output_padding, dilation, groups };
        let size = grown(&x, &w, ways, [output_padding]);
        let window = window([w[2]], ways);
        cases.push(Case::new(
            format!("conv_transpose1d/{name}"),
            [Input::floats(&x), Input::floats(&w).reseeded()],
            move |x| x[0].conv_transpose1d(&x[1], None, options),
            move |x| r::conv_transpose(&x[0], &x[1], window, size, groups),
        ));
    }
    let images = [
        ("plain", [2, 3, 4, 3], [3, 2, 3, 2], [[1; 2], [0; 2], [1; 2]], [0; 2], 1),
        ("all", [1, 4, 4, 5], [4, 3, 3, 2], [[2, 3], [1, 2], [2, 3]], [1, 2], 2),
        // The output padding is above the stride, below the dilation.
        ("open", [1, 2, 3, 4], [2, 2, 3, 2], [[1, 2], [1, 0], [3, 2]], [2, 1], 1),
    ];
    for (name, x, w, ways, output_padding, groups) in images {
        let [stride, padding, dilation] = ways;
        let options = ConvTranspose2dOptions { stride, padding, output_padding, dilation, groups };
        let size = grown(&x, &w, ways, output_padding);
        let window = window([w[2], w[3]], ways);
        let outputs = w[1] * groups;
        cases.push(
            Case::new(
                format!("conv_transpose2d/{name}"),
                [Input::floats(&x), Input::floats(&w).reseeded(), Input::floats(&[outputs])],
                move |x| x[0].conv_transpose2d(&x[1], Some(&x[2]), options),
                move |x| {
                    r::conv_transpose(&x[0], &x[1], window, size, groups)
                        + &r::reshape(&x[2], &[outputs, 1, 1])
                },
            )
            .tolerance(2e-6, 1e-5),
        );
    }
    let volumes = [
        ("plain", [1, 2, 3, 2, 3], [2, 2, 2, 3, 2], [[1; 3], [0; 3], [1; 3]], [0; 3], 1),
        ("all", [1, 4, 3, 2, 4], [4, 1, 3, 2, 2], [[2, 3, 1], [1, 0, 1], [1, 2, 2]], [1, 2, 1], 2),
        ("one", [2, 1, 1, 1, 1], [1, 2, 1, 1, 1], [[1; 3], [0; 3], [1; 3]], [0; 3], 1),
    ];
    for (name, x, w, ways, output_padding, groups) in volumes {
        let [stride, padding, dilation] = ways;
        let options = ConvTranspose3dOptions { stride, padding, output_padding, dilation, groups };
        let size = grown(&x, &w, ways, output_padding);
        let window = window([w[2], w[3], w[4]], ways);
        let outputs = w[1] * groups;
        cases.push(Case::new(
            format!("conv_transpose3d/{name}"),
            [Input::floats(&x), Input::floats(&w).reseeded(), Input::floats(&[outputs])],
            move |x| x[0].conv_transpose3d(&x[1], Some(&x[2]), options),
            move |x| {
                r::conv_transpose(&x[0], &x[1], window, size, groups)
                    + &r::reshape(&x[2], &[outputs, 1, 1, 1])
            },
        ));
    }
}
