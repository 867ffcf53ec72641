//! Pooling in one to three dimensions.

use crate::ops::{Pool1dOptions, Pool2dOptions, Pool3dOptions};
use crate::proof::case::{Case, Input};
use crate::proof::reference::{self as r, Window};
use crate::{DType, Result, Tensor};

pub fn pooling(cases: &mut Vec<Case>) {
    images(cases);
    sequences(cases);
    volumes(cases);
    positions(cases);
    norms(cases);
    adaptive(cases);
}

fn images(cases: &mut Vec<Case>) {
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
            move |x| r::pool(&x[0], window, &|values, _, _| r::greatest(values)),
        ));
        for include in [true, false] {
            let options = Pool2dOptions { count_include_pad: include, ..options };
            cases.push(Case::new(
                format!("avg_pool2d/{name}_{include}"),
                [input(Input::floats(&shape))],
                move |x| x[0].avg_pool2d(options),
                move |x| {
                    r::pool(&x[0], window, &|values, _, padded| {
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
        move |x| r::pool(&x[0], window, &|values, _, _| r::greatest(values)),
    ));
    for (name, size) in [("one", [1, 1]), ("uneven", [3, 2]), ("same", [5, 7]), ("larger", [8, 9])] {
        cases.push(Case::new(
            format!("adaptive_avg_pool2d/{name}"),
            [Input::floats(&[2, 3, 5, 7])],
            move |x| x[0].adaptive_avg_pool2d(size),
            move |x| r::adaptive(&x[0], size, &r::mean),
        ));
    }
}

fn sequences(cases: &mut Vec<Case>) {
    let plain = Pool1dOptions::new(2);
    let lines = [
        ("plain", [2, 3, 8], plain),
        ("one", [1, 1, 1], Pool1dOptions::new(1)),
        ("padded", [1, 2, 7], Pool1dOptions { kernel: 3, stride: 2, padding: 1, ..plain }),
        ("ceil", [1, 2, 8], Pool1dOptions { kernel: 3, stride: 3, ceil_mode: true, ..plain }),
    ];
    for (name, shape, options) in lines {
        let window = Window {
            kernel: [options.kernel],
            stride: [options.stride],
            padding: [options.padding],
            dilation: [1],
            ceil: options.ceil_mode,
        };
        cases.push(Case::new(
            format!("max_pool1d/{name}"),
            [Input::distinct(&shape)],
            move |x| x[0].max_pool1d(options),
            move |x| r::pool(&x[0], window, &|values, _, _| r::greatest(values)),
        ));
        cases.push(Case::new(
            format!("avg_pool1d/{name}"),
            [Input::floats(&shape).permute(&[1, 0, 2])],
            move |x| x[0].avg_pool1d(options),
            move |x| r::pool(&x[0], window, &|values, _, padded| values.iter().sum::<f64>() / padded as f64),
        ));
    }
}

fn volumes(cases: &mut Vec<Case>) {
    let plain = Pool3dOptions::new(2);
    let lines = [
        ("plain", [2, 2, 4, 5, 6], plain),
        ("one", [1, 1, 1, 1, 1], Pool3dOptions::new(1)),
        (
            "padded",
            [1, 2, 5, 4, 7],
            Pool3dOptions { kernel: [3, 2, 3], stride: [2, 1, 2], padding: [1, 0, 1], ..plain },
        ),
        ("ceil", [1, 2, 5, 3, 4], Pool3dOptions { stride: [3, 2, 3], ceil_mode: true, ..plain }),
        ("divisor", [1, 1, 4, 4, 4], Pool3dOptions { divisor: Some(3), ..plain }),
    ];
    for (name, shape, options) in lines {
        let Pool3dOptions { kernel, stride, padding, dilation, ceil_mode: ceil, divisor, .. } = options;
        let window = Window { kernel, stride, padding, dilation, ceil };
        if divisor.is_none() {
            cases.push(Case::new(
                format!("max_pool3d/{name}"),
                [Input::distinct(&shape)],
                move |x| x[0].max_pool3d(options),
                move |x| r::pool(&x[0], window, &|values, _, _| r::greatest(values)),
            ));
        }
        for include in [true, false] {
            let options = Pool3dOptions { count_include_pad: include, ..options };
            let count = move |inside: usize, padded: usize| {
                divisor.unwrap_or(if include { padded } else { inside }) as f64
            };
            cases.push(Case::new(
                format!("avg_pool3d/{name}_{include}"),
                [Input::floats(&shape)],
                move |x| x[0].avg_pool3d(options),
                move |x| {
                    r::pool(&x[0], window, &|values, _, padded| {
                        values.iter().sum::<f64>() / count(values.len(), padded)
                    })
                },
            ));
        }
    }
    let dilated = Pool3dOptions { kernel: [2, 2, 2], stride: [1, 1, 2], dilation: [2, 1, 2], ..plain };
    let window = Window { stride: [1, 1, 2], dilation: [2, 1, 2], ..Window::new([2, 2, 2]) };
    cases.push(Case::new(
        "max_pool3d/dilated",
        [Input::distinct(&[1, 2, 4, 3, 5]).flip(3)],
        move |x| x[0].max_pool3d(dilated),
        move |x| r::pool(&x[0], window, &|values, _, _| r::greatest(values)),
    ));
}

/// Positions of the greatest elements: the first of equal ones.
fn positions(cases: &mut Vec<Case>) {
    let padded = Pool2dOptions { kernel: [3, 2], stride: [2, 1], padding: [1, 1], ..Pool2dOptions::new(3) };
    let around = Window { stride: [2, 1], padding: [1, 1], ..Window::new([3, 2]) };
    let (square, quarters) = (Pool2dOptions::new(2), Window { stride: [2, 2], ..Window::new([2, 2]) });
    let first =
        |values: &[f64], places: &[usize], _| places[r::position(values, |a, b| a > b) as usize] as f64;
    for (name, input, options, window) in [
        ("distinct", Input::distinct(&[2, 2, 5, 6]), padded, around),
        ("ties", Input::ints(&[2, 2, 5, 6], 0, 3), padded, around),
        ("ties_of_2x2", Input::ints(&[2, 2, 4, 8], 0, 3), square, quarters),
    ] {
        let op = move |x: &[Tensor]| Ok(x[0].cast(DType::F32)?.max_pool2d_with_indices(options)?.1);
        let reference = move |x: &[r::Array]| r::pool(&x[0], window, &first);
        cases.push(Case::new(format!("max_pool2d_with_indices/{name}"), [input], op, reference).value_only());
    }
    let options = Pool1dOptions { kernel: 3, stride: 2, ..Pool1dOptions::new(3) };
    let window = Window { stride: [2], ..Window::new([3]) };
    cases.push(
        Case::new(
            "max_pool1d_with_indices/distinct",
            [Input::distinct(&[2, 3, 9])],
            move |x| Ok(x[0].max_pool1d_with_indices(options)?.1),
            move |x| r::pool(&x[0], window, &first),
        )
        .value_only(),
    );
}

fn norms(cases: &mut Vec<Case>) {
    for (name, p) in [("2", 2.0), ("3", 3.0), ("1", 1.0)] {
        let norm = move |values: &[f64], _: &[usize], _: usize| {
            values.iter().map(|value| value.powf(p)).sum::<f64>().powf(1.0 / p)
        };
        let positive = |shape: &[usize]| [Input::within(shape, 0.2, 2.0)];
        let options = Pool2dOptions { kernel: [2, 3], stride: [1, 2], ..Pool2dOptions::new(2) };
        let window = Window { stride: [1, 2], ..Window::new([2, 3]) };
        let op = move |x: &[Tensor]| x[0].lp_pool2d(p, options);
        let reference = move |x: &[r::Array]| r::pool(&x[0], window, &norm);
        let case = Case::new(format!("lp_pool2d/{name}"), positive(&[2, 2, 5, 7]), op, reference);
        cases.push(case.tolerance(5e-6, 0.0));
        let op = move |x: &[Tensor]| x[0].lp_pool1d(p, Pool1dOptions::new(3));
        let reference = move |x: &[r::Array]| r::pool(&x[0], Window::new([3]), &norm);
        let case = Case::new(format!("lp_pool1d/{name}"), positive(&[2, 3, 9]), op, reference);
        cases.push(case.tolerance(5e-6, 0.0));
    }
}

fn adaptive(cases: &mut Vec<Case>) {
    type Pool<const N: usize> = fn(&Tensor, [usize; N]) -> Result<Tensor>;
    fn with<const N: usize>(
        cases: &mut Vec<Case>,
        name: &str,
        shape: &[usize],
        pool: Pool<N>,
        sizes: [[usize; N]; 3],
    ) {
        let fold = if name.contains("max") { r::greatest } else { r::mean };
        for size in sizes {
            cases.push(Case::new(
                format!("{name}/{size:?}"),
                [Input::distinct(shape)],
                move |x| pool(&x[0], size),
                move |x| r::adaptive(&x[0], size, &fold),
            ));
        }
    }
    with(cases, "adaptive_avg_pool1d", &[2, 3, 7], |x, [n]| x.adaptive_avg_pool1d(n), [[1], [3], [9]]);
    with(cases, "adaptive_max_pool1d", &[2, 3, 7], |x, [n]| x.adaptive_max_pool1d(n), [[1], [3], [9]]);
    with(cases, "adaptive_max_pool2d", &[2, 2, 5, 7], Tensor::adaptive_max_pool2d, [[1, 1], [3, 2], [8, 9]]);
    let volume = [1, 2, 3, 5, 4];
    with(cases, "adaptive_avg_pool3d", &volume, Tensor::adaptive_avg_pool3d, [[1; 3], [2, 3, 4], [4, 2, 5]]);
    with(cases, "adaptive_max_pool3d", &volume, Tensor::adaptive_max_pool3d, [[1; 3], [2, 3, 4], [4, 2, 5]]);
}
