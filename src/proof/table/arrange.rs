//! Ops that split, repeat and rearrange, constructors, and what else moves elements.

use crate::ops::Interpolation;
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference as r;
use crate::{DType, Result, Tensor};
use ndarray::{ArrayD, Axis, Dimension, IxDyn, concatenate};

/// Pieces in one row, each times its number, so that their order shows.
fn joined(pieces: &[Tensor]) -> Result<Tensor> {
    let numbered = |(at, piece): (usize, &Tensor)| piece.mul(at as f64 + 1.0)?.flatten(0, -1);
    let rows = pieces.iter().enumerate().map(numbered).collect::<Result<Vec<_>>>()?;
    Tensor::concat(&rows.iter().collect::<Vec<_>>(), 0)
}

/// The same of pieces of an array along an axis, by their sizes.
fn pieces(x: &Array, axis: usize, sizes: &[usize]) -> Array {
    let mut start = 0;
    let mut rows = Vec::new();
    for (at, &size) in sizes.iter().enumerate() {
        let piece = x.slice_axis(Axis(axis), (start..start + size).into());
        rows.extend(piece.iter().map(|value| value * (at + 1) as f64));
        start += size;
    }
    ArrayD::from_shape_vec(IxDyn(&[rows.len()]), rows).expect("one row")
}

pub fn arrange(cases: &mut Vec<Case>) {
    parts(cases);
    repeats(cases);
    pixels(cases);
    triangles(cases);
    constructors(cases);
    for (name, factors, mode) in [
        ("nearest", [2.0, 0.5], Interpolation::Nearest),
        ("kept", [1.2, 2.0], Interpolation::Linear { align_corners: false }),
        ("linear", [1.5, 0.75], Interpolation::Linear { align_corners: false }),
    ] {
        // By factors the scale is that of the factors, which here is that of the sizes, or the size stays.
        let op = move |x: &[Tensor]| x[0].interpolate_by(&factors, mode);
        let reference = move |x: &[Array]| {
            let sizes: Vec<usize> =
                x[0].shape()[2..].iter().zip(factors).map(|(&d, f)| (d as f64 * f) as usize).collect();
            super::shape::interpolated(&x[0], &sizes, mode)
        };
        cases.push(Case::new(
            format!("interpolate_by/{name}"),
            [Input::floats(&[2, 3, 4, 8])],
            op,
            reference,
        ));
    }
    for (name, input, index, axis) in [
        ("rows", Input::floats(&[5, 4]), vec![3, 4], 0usize),
        ("view", Input::floats(&[4, 6]).permute(&[1, 0]), vec![6, 2], 1),
    ] {
        let size = if axis == 0 { 5 } else { 4 };
        let op = move |x: &[Tensor]| x[0].scatter_value(axis as isize, &x[1], 9.5);
        let reference = move |x: &[Array]| {
            let mut y = x[0].clone();
            for (place, &to) in x[1].indexed_iter() {
                let mut place = place.clone();
                place[axis] = to as usize;
                y[place] = 9.5;
            }
            y
        };
        let inputs = [input, Input::ints(&index, 0, size)];
        cases.push(Case::new(format!("scatter_value/{name}"), inputs, op, reference));
    }
}

fn parts(cases: &mut Vec<Case>) {
    for (name, input) in [
        ("plain", Input::floats(&[3, 7, 2])),
        ("view", Input::floats(&[2, 7, 3]).permute(&[2, 1, 0])),
        ("empty", Input::floats(&[0, 7, 2])),
    ] {
        let mut with = |op: &str, f: fn(&Tensor) -> Result<Vec<Tensor>>, sizes: &'static [usize]| {
            let reference = move |x: &[Array]| pieces(&x[0], 1, sizes);
            cases.push(Case::new(
                format!("{op}/{name}"),
                [input.clone()],
                move |x| joined(&f(&x[0])?),
                reference,
            ));
        };
        with("chunk", |x| x.chunk(3, 1), &[3, 3, 1]);
        with("split", |x| x.split(2, -2), &[2, 2, 2, 1]);
        with("split_with_sizes", |x| x.split_with_sizes(&[2, 0, 4, 1], 1), &[2, 0, 4, 1]);
        let reference = |x: &[Array]| x[0].index_axis(Axis(1), 4).to_owned();
        cases.push(Case::new(format!("select/{name}"), [input.clone()], |x| x[0].select(1, 4), reference));
        let reference = |x: &[Array]| x[0].clone().insert_axis(Axis(3));
        cases.push(Case::new(
            format!("unsqueeze/{name}"),
            [input.clone()],
            |x| x[0].unsqueeze(-1),
            reference,
        ));
        let reference = |x: &[Array]| {
            let mut x = x[0].clone();
            x.swap_axes(1, 2);
            x
        };
        cases.push(Case::new(format!("t/{name}"), [input], |x| x[0].t(), reference));
    }
}

fn repeats(cases: &mut Vec<Case>) {
    for (name, input, repeats) in [
        ("rows", Input::floats(&[2, 3]), vec![2, 1]),
        ("new", Input::floats(&[3]), vec![2, 1, 2]),
        ("none", Input::floats(&[2, 3]), vec![0, 2]),
        ("view", Input::floats(&[3, 4]).flip(1), vec![1, 3]),
    ] {
        let counts = repeats.clone();
        let reference = move |x: &[Array]| {
            let mut shape = vec![1; repeats.len() - x[0].ndim()];
            shape.extend(x[0].shape());
            let mut y = r::reshape(&x[0], &shape);
            for (axis, &count) in repeats.iter().enumerate() {
                let none = y.slice_axis(Axis(axis), (0..0).into()).to_owned();
                let copies = std::iter::once(none.view()).chain((0..count).map(|_| y.view()));
                y = concatenate(Axis(axis), &copies.collect::<Vec<_>>()).expect("equal shapes");
            }
            y
        };
        cases.push(Case::new(format!("repeat/{name}"), [input], move |x| x[0].repeat(&counts), reference));
    }
    for (name, shape, size, full) in [
        ("rows", vec![1, 3], vec![4, -1], vec![4, 3]),
        ("new", vec![2, 1], vec![3, -1, 5], vec![3, 2, 5]),
        ("scalar", vec![], vec![2, 2], vec![2, 2]),
    ] {
        let reference = move |x: &[Array]| x[0].broadcast(IxDyn(&full)).expect("it broadcasts").to_owned();
        let op = move |x: &[Tensor]| x[0].expand(&size);
        cases.push(Case::new(format!("expand/{name}"), [Input::floats(&shape)], op, reference));
    }
    for (name, sizes) in [("three", vec![2, 3, 4]), ("one", vec![3]), ("empty", vec![2, 0])] {
        let inputs: Vec<Input> = sizes.iter().map(|&n| Input::floats(&[n])).collect();
        let op = |x: &[Tensor]| joined(&Tensor::meshgrid(&x.iter().collect::<Vec<_>>())?);
        let reference = move |x: &[Array]| {
            let grids = x.iter().enumerate().map(|(at, vector)| {
                ArrayD::from_shape_fn(IxDyn(&sizes), |place| vector[[place[at]]] * (at + 1) as f64)
            });
            let values: Vec<f64> = grids.flat_map(|grid| grid.into_iter()).collect();
            ArrayD::from_shape_vec(IxDyn(&[values.len()]), values).expect("one row")
        };
        cases.push(Case::new(format!("meshgrid/{name}"), inputs, op, reference));
    }
    for (name, shape) in [("vector", vec![7]), ("matrix", vec![3, 2]), ("scalar", vec![]), ("empty", vec![0])]
    {
        let reference = |x: &[Array]| {
            let shape = [x[0].shape(), &[5]].concat();
            ArrayD::from_shape_fn(IxDyn(&shape), |at| {
                let class = x[0][&at.slice()[..at.ndim() - 1]];
                f64::from(u8::from(class == at[at.ndim() - 1] as f64))
            })
        };
        let op = |x: &[Tensor]| x[0].one_hot(5);
        cases.push(
            Case::new(format!("one_hot/{name}"), [Input::ints(&shape, 0, 5)], op, reference).value_only(),
        );
    }
}

fn pixels(cases: &mut Vec<Case>) {
    for (name, outer, factor) in [("two", vec![2], 2), ("three", vec![], 3), ("one", vec![1, 2], 1)] {
        let (channels, height, width) = (2, 3, 5);
        let deep = [&outer[..], &[channels * factor * factor, height, width]].concat();
        let wide = [&outer[..], &[channels, height * factor, width * factor]].concat();
        // The place in the deep tensor of a place in the wide one.
        let place = move |at: &[usize]| {
            let (outer, last) = at.split_at(at.len() - 3);
            let channel = (last[0] * factor + last[1] % factor) * factor + last[2] % factor;
            IxDyn(&[outer, &[channel, last[1] / factor, last[2] / factor]].concat())
        };
        let shape = wide.clone();
        cases.push(Case::new(
            format!("pixel_shuffle/{name}"),
            [Input::floats(&deep)],
            move |x| x[0].pixel_shuffle(factor),
            move |x| ArrayD::from_shape_fn(IxDyn(&shape), |at| x[0][place(at.slice())]),
        ));
        cases.push(Case::new(
            format!("pixel_unshuffle/{name}"),
            [Input::floats(&wide)],
            move |x| x[0].pixel_unshuffle(factor),
            move |x| {
                let mut y = ArrayD::zeros(IxDyn(&deep));
                x[0].indexed_iter().for_each(|(at, &value)| y[place(at.slice())] = value);
                y
            },
        ));
    }
}

fn triangles(cases: &mut Vec<Case>) {
    for (name, input) in [
        ("square", Input::floats(&[4, 4])),
        ("wide", Input::floats(&[2, 3, 6])),
        ("view", Input::floats(&[3, 5]).permute(&[1, 0])),
        ("empty", Input::floats(&[0, 3])),
    ] {
        for diagonal in [0isize, 2, -1, -9] {
            let kept = move |x: &[Array], keep: fn(isize, isize) -> bool| {
                ArrayD::from_shape_fn(x[0].raw_dim(), |at| {
                    let (row, column) = (at[at.ndim() - 2] as isize, at[at.ndim() - 1] as isize);
                    if keep(column - row, diagonal) { x[0][&at] } else { 0.0 }
                })
            };
            let lower = move |x: &[Array]| kept(x, |place, diagonal| place <= diagonal);
            let op = move |x: &[Tensor]| x[0].tril(diagonal);
            cases.push(Case::new(format!("tril/{name}_{diagonal}"), [input.clone()], op, lower));
            let upper = move |x: &[Array]| kept(x, |place, diagonal| place >= diagonal);
            let op = move |x: &[Tensor]| x[0].triu(diagonal);
            cases.push(Case::new(format!("triu/{name}_{diagonal}"), [input.clone()], op, upper));
        }
    }
}

/// Constructors: the input lends its shape or its engine.
fn constructors(cases: &mut Vec<Case>) {
    let mut with = |name: &str, op: fn(&Tensor) -> Result<Tensor>, f: fn(&Array) -> Array| {
        let case = Case::new(name, [Input::floats(&[3, 5])], move |x| op(&x[0]), move |x| f(&x[0]));
        cases.push(case.value_only().tolerance(0.0, 0.0));
    };
    with("zeros/shape", |x| Tensor::zeros([3, 5], x.engine()), |x| x * 0.0);
    with("ones/shape", |x| Tensor::ones([3, 5], x.engine()), |x| x * 0.0 + 1.0);
    with("full/float", |x| Tensor::full([3, 5], -2.5, DType::F32, x.engine()), |x| x * 0.0 - 2.5);
    with("full/int", |x| Tensor::full([3, 5], -2.0, DType::I32, x.engine()), |x| x * 0.0 - 2.0);
    with("zeros_like/view", |x| x.t()?.zeros_like(), |x| x.t().to_owned() * 0.0);
    with("ones_like/view", |x| x.t()?.ones_like(), |x| x.t().to_owned() * 0.0 + 1.0);
    with("eye/three", |x| Tensor::eye(3, x.engine()), |_| ndarray::Array2::eye(3).into_dyn());
    with(
        "arange/steps",
        |x| Tensor::arange(-1.0, 2.0, 0.5, x.engine()),
        |_| ndarray::Array1::range(-1.0, 2.0, 0.5).into_dyn(),
    );
}
