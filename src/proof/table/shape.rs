//! The table: products and scans, sorting, windows, resizing, padding and scatter.

use crate::Tensor;
use crate::ops::{Interpolation, PadMode, UnfoldOptions};
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference::{self as r, lines};
use ndarray::{ArrayD, Axis, IxDyn};

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    products(&mut cases);
    sorting(&mut cases);
    windows(&mut cases);
    resizing(&mut cases);
    padding(&mut cases);
    scatter(&mut cases);
    cases
}

fn running(line: &[f64], join: fn(f64, f64) -> f64) -> Vec<f64> {
    let mut sofar = None;
    let step = |&value: &f64| {
        let next = sofar.map_or(value, |before| join(before, value));
        sofar = Some(next);
        next
    };
    line.iter().map(step).collect()
}

fn products(cases: &mut Vec<Case>) {
    let near_one = |shape: &[usize]| Input::within(shape, 0.9, 1.1);
    // A line that a workgroup shares, one with several lines to a workgroup, and one a line each.
    let shapes: [(&str, Input, usize); 8] = [
        ("last", near_one(&[4, 7]), 1),
        ("first", near_one(&[9, 3]), 0),
        ("middle", near_one(&[2, 60, 5]), 1),
        ("long", near_one(&[3, 2200]), 1),
        ("tall", near_one(&[700, 2]), 0),
        ("many", near_one(&[5, 16_400]), 0),
        ("one", near_one(&[4, 1]), 1),
        ("view", near_one(&[7, 6]).permute(&[1, 0]).slice(0, 1, 6, 2).flip(1), 1),
    ];
    for (name, input, axis) in shapes {
        let dim = axis as isize;
        let sums = move |x: &[Array]| lines(&x[0], axis, &|line| running(line, |a, b| a + b));
        let case = Case::new(format!("cumsum/{name}"), [input.clone()], move |x| x[0].cumsum(dim), sums);
        cases.push(case.tolerance(3e-6, 1e-5));
        let products = move |x: &[Array]| lines(&x[0], axis, &|line| running(line, |a, b| a * b));
        let case =
            Case::new(format!("cumprod/{name}"), [input.clone()], move |x| x[0].cumprod(dim), products);
        cases.push(case.tolerance(2e-5, 1e-6));
        let total = move |x: &[Array]| r::reduce(&x[0], &[axis], false, &|line| line.iter().product());
        let case = Case::new(format!("prod/{name}"), [input], move |x| x[0].prod(dim, false), total);
        cases.push(case.tolerance(2e-5, 1e-6));
    }
    for (name, zeros) in
        [("one_zero", vec![2.0, 0.0, -1.5, 3.0]), ("two_zeros", vec![2.0, 0.0, 3.0, 0.0, 1.5])]
    {
        let products = |x: &[Array]| lines(&x[0], 0, &|line| running(line, |a, b| a * b));
        cases.push(Case::new(
            format!("cumprod/{name}"),
            [Input::given(&zeros)],
            |x| x[0].cumprod(0),
            products,
        ));
        let total = |x: &[Array]| r::reduce(&x[0], &[0], false, &|line| line.iter().product());
        cases.push(Case::new(format!("prod/{name}"), [Input::given(&zeros)], |x| x[0].prod(0, false), total));
    }
    let ints = || [Input::ints(&[4, 300], -3, 4)];
    let sums = |x: &[Array]| lines(&x[0], 1, &|line| running(line, |a, b| a + b));
    cases.push(Case::new("cumsum/i32", ints(), |x| x[0].cumsum(1), sums).value_only());
    let first = |x: &[Array]| r::reduce(&x[0], &[1], false, &|line| r::position(line, |a, b| a > b));
    cases.push(Case::new("argmax/i32", ints(), |x| x[0].argmax(1, false), first).value_only());
    let flat = |x: &[Array]| r::reduce(&x[0], &[0, 1], true, &|line| r::position(line, |a, b| a < b));
    let distinct = [Input::distinct(&[5, 7])];
    cases.push(Case::new("argmin/flat", distinct, |x| x[0].argmin(.., true), flat).value_only());
    let small = [Input::ints(&[3, 5], -2, 3)];
    let total = |x: &[Array]| r::reduce(&x[0], &[1], true, &|line| line.iter().product());
    cases.push(Case::new("prod/i32", small, |x| x[0].prod(1, true), total).value_only());
    let pair = [Input::distinct(&[4, 9])];
    let greatest = |x: &[Array]| r::reduce(&x[0], &[0], false, &r::greatest);
    cases.push(Case::new("max_dim/first", pair, |x| Ok(x[0].max_dim(0, false)?.0), greatest));
}

/// The positions that sort a line, NaN above all, equal elements in their order.
fn sorted(line: &[f64], descending: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..line.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (line[a], line[b]);
        let ascending =
            a.is_nan().cmp(&b.is_nan()).then(a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal));
        if descending { ascending.reverse() } else { ascending }
    });
    order
}

fn sorting(cases: &mut Vec<Case>) {
    let edges = [0.0, f64::NAN, -0.0, f64::INFINITY, 1.0, f64::NEG_INFINITY, 1.0, f64::NAN, -1.0];
    for descending in [false, true] {
        for (name, input, axis) in [
            ("last", Input::distinct(&[5, 7]), 1usize),
            ("first", Input::distinct(&[9, 3]), 0),
            ("middle", Input::distinct(&[3, 40, 2]), 1),
            ("long", Input::distinct(&[2, 1500]), 1),
            // Beyond what the GPU's kernel sorts.
            ("very_long", Input::distinct(&[1, 20_000]), 1),
            ("three", Input::distinct(&[2, 3]), 1),
            ("ties", Input::ints(&[3, 50], -4, 5), 1),
            ("edges", Input::given(&edges), 0),
        ] {
            let dim = axis as isize;
            let positions = move |x: &[Array]| {
                lines(&x[0], axis, &|line| sorted(line, descending).into_iter().map(|at| at as f64).collect())
            };
            let values = move |x: &[Array]| {
                lines(&x[0], axis, &|line| sorted(line, descending).into_iter().map(|at| line[at]).collect())
            };
            let way = if descending { "descending" } else { "ascending" };
            let op = move |x: &[Tensor]| x[0].argsort(dim, descending);
            let case = Case::new(format!("argsort/{way}_{name}"), [input.clone()], op, positions);
            cases.push(case.value_only().tolerance(0.0, 0.0));
            let op = move |x: &[Tensor]| Ok(x[0].sort(dim, descending)?.0);
            let case = Case::new(format!("sort/{way}_{name}"), [input.clone()], op, values);
            cases.push(if matches!(name, "ties" | "edges") { case.value_only() } else { case });
            let best = move |x: &[Array]| {
                let best = |line: &[f64]| -> Vec<f64> {
                    sorted(line, descending).into_iter().take(3).map(|at| line[at]).collect()
                };
                lines(&x[0], axis, &best)
            };
            let op = move |x: &[Tensor]| Ok(x[0].topk(3, dim, descending)?.0);
            let case = Case::new(format!("topk/{way}_{name}"), [input], op, best);
            cases.push(if matches!(name, "ties" | "edges") { case.value_only() } else { case });
        }
    }
}

/// Calls `f` with a place in an image `[N, C, H, W]` and its place in the columns.
fn each_window(dims: [usize; 4], o: UnfoldOptions, mut f: impl FnMut([usize; 4], [usize; 3])) -> [usize; 2] {
    let [n, c, h, w] = dims;
    let count = |size: usize, way: usize| {
        (size + 2 * o.padding[way] - o.dilation[way] * (o.kernel[way] - 1) - 1) / o.stride[way] + 1
    };
    let (rows, columns) = (count(h, 0), count(w, 1));
    for at in 0..n * c * o.kernel[0] * o.kernel[1] * rows * columns {
        let (window, rest) = (at % (rows * columns), at / (rows * columns));
        let (element, rest) = (rest % (o.kernel[0] * o.kernel[1]), rest / (o.kernel[0] * o.kernel[1]));
        let (channel, sample) = (rest % c, rest / c);
        let y = (window / columns * o.stride[0] + element / o.kernel[1] * o.dilation[0])
            .checked_sub(o.padding[0]);
        let x = (window % columns * o.stride[1] + element % o.kernel[1] * o.dilation[1])
            .checked_sub(o.padding[1]);
        if let (Some(y), Some(x)) = (y.filter(|&y| y < h), x.filter(|&x| x < w)) {
            f([sample, channel, y, x], [sample, channel * o.kernel[0] * o.kernel[1] + element, window]);
        }
    }
    [o.kernel[0] * o.kernel[1], rows * columns]
}

fn windows(cases: &mut Vec<Case>) {
    let plain = UnfoldOptions::new([3, 2]);
    for (name, dims, options) in [
        ("plain", [2, 3, 7, 5], plain),
        ("stride", [1, 2, 9, 8], UnfoldOptions { stride: [2, 3], ..plain }),
        ("padding", [2, 1, 5, 6], UnfoldOptions { padding: [1, 2], ..plain }),
        ("all", [2, 2, 8, 9], UnfoldOptions { stride: [2, 1], padding: [2, 1], dilation: [2, 3], ..plain }),
    ] {
        let [kernel, count] = each_window(dims, options, |_, _| {});
        let columns = [dims[0], dims[1] * kernel, count];
        let unfold = move |x: &[Array]| {
            let mut out = ArrayD::zeros(IxDyn(&columns));
            each_window(dims, options, |image, column| out[IxDyn(&column)] = x[0][IxDyn(&image)]);
            out
        };
        let input = [Input::floats(&dims)];
        cases.push(Case::new(format!("unfold/{name}"), input, move |x| x[0].unfold(options), unfold));
        let fold = move |x: &[Array]| {
            let mut out = ArrayD::zeros(IxDyn(&dims));
            each_window(dims, options, |image, column| out[IxDyn(&image)] += x[0][IxDyn(&column)]);
            out
        };
        let op = move |x: &[Tensor]| x[0].fold([dims[2], dims[3]], options);
        cases.push(Case::new(format!("fold/{name}"), [Input::floats(&columns)], op, fold));
    }
}

/// A line resized: for each output the inputs it takes, with weights.
fn resized(line: &[f64], count: usize, mode: Interpolation) -> Vec<f64> {
    let (size, last) = (line.len(), line.len() as f64 - 1.0);
    let at = |place: f64| line[place.clamp(0.0, last) as usize];
    let middle = |output: usize, align: bool| match align {
        true if count == 1 => 0.0,
        true => output as f64 * last / (count as f64 - 1.0),
        false => (output as f64 + 0.5) * size as f64 / count as f64 - 0.5,
    };
    let keys = |d: f64| {
        let d = d.abs();
        if d <= 1.0 {
            1.25 * d.powi(3) - 2.25 * d * d + 1.0
        } else {
            -0.75 * (d.powi(3) - 5.0 * d * d + 8.0 * d - 4.0)
        }
    };
    let value = |output: usize| match mode {
        Interpolation::Nearest => line[output * size / count],
        Interpolation::NearestExact => line[((output as f64 + 0.5) * size as f64 / count as f64) as usize],
        Interpolation::Linear { align_corners } => {
            let place = middle(output, align_corners).clamp(0.0, last);
            at(place.floor()) * (1.0 - place.fract()) + at(place.floor() + 1.0) * place.fract()
        }
        Interpolation::Cubic { align_corners } => {
            let place = middle(output, align_corners);
            (-1..3).map(|step| place.floor() + f64::from(step)).map(|n| keys(place - n) * at(n)).sum()
        }
        Interpolation::Area => {
            let covered = &line[output * size / count..((output + 1) * size).div_ceil(count)];
            covered.iter().sum::<f64>() / covered.len() as f64
        }
    };
    (0..count).map(value).collect()
}

/// Each dimension after the second resized.
pub fn interpolated(x: &Array, sizes: &[usize], mode: Interpolation) -> Array {
    let resize = |x: Array, (at, &n): (usize, &usize)| lines(&x, at + 2, &|line| resized(line, n, mode));
    sizes.iter().enumerate().fold(x.clone(), resize)
}

fn resizing(cases: &mut Vec<Case>) {
    let modes = [
        ("nearest", Interpolation::Nearest),
        ("nearest_exact", Interpolation::NearestExact),
        ("linear", Interpolation::Linear { align_corners: false }),
        ("linear_corners", Interpolation::Linear { align_corners: true }),
        ("cubic", Interpolation::Cubic { align_corners: false }),
        ("cubic_corners", Interpolation::Cubic { align_corners: true }),
        ("area", Interpolation::Area),
    ];
    for (name, mode) in modes {
        for (variant, dims, size) in [
            ("up", vec![2, 3, 4, 5], vec![9, 11]),
            ("down", vec![2, 1, 9, 8], vec![4, 3]),
            ("mixed", vec![1, 2, 3, 7], vec![8, 2]),
            ("to_one", vec![2, 2, 5], vec![1]),
            ("volume", vec![1, 2, 3, 4, 2], vec![5, 4, 3]),
        ] {
            let sizes = size.clone();
            let reference = move |x: &[Array]| interpolated(&x[0], &size, mode);
            let op = move |x: &[Tensor]| x[0].interpolate(&sizes, mode);
            cases.push(Case::new(
                format!("interpolate/{name}_{variant}"),
                [Input::floats(&dims)],
                op,
                reference,
            ));
        }
    }
}

fn padding(cases: &mut Vec<Case>) {
    type Place = fn(isize, isize) -> isize;
    let modes: [(&str, PadMode, Place); 3] = [
        ("reflect", PadMode::Reflect, |at, size| {
            if at < 0 {
                -at
            } else if at < size {
                at
            } else {
                2 * size - 2 - at
            }
        }),
        ("replicate", PadMode::Replicate, |at, size| at.clamp(0, size - 1)),
        ("circular", PadMode::Circular, |at, size| at.rem_euclid(size)),
    ];
    for (name, mode, place) in modes {
        for (variant, dims, pairs) in [
            ("last", vec![2, 5], vec![(0isize, 0isize), (3, 2)]),
            ("both", vec![4, 5], vec![(2, 1), (0, 4)]),
            ("crop", vec![6, 3, 4], vec![(-1, 2), (1, 0), (-2, -1)]),
        ] {
            let given = pairs.clone();
            let reference = move |x: &[Array]| {
                let pad = |x: Array, (axis, &(before, after)): (usize, &(isize, isize))| {
                    lines(&x, axis, &|line| {
                        let line = &line[(-before).max(0) as usize..line.len() - (-after).max(0) as usize];
                        let size = line.len() as isize;
                        (-before.max(0)..size + after.max(0))
                            .map(|at| line[place(at, size) as usize])
                            .collect()
                    })
                };
                given.iter().enumerate().fold(x[0].clone(), pad)
            };
            let op = move |x: &[Tensor]| x[0].pad_with(&pairs, mode);
            cases.push(Case::new(
                format!("pad_with/{name}_{variant}"),
                [Input::floats(&dims)],
                op,
                reference,
            ));
        }
    }
    let op = |x: &[Tensor]| x[0].roll(&[2, -1], &[0, 1]);
    let rolled = |x: &[Array]| {
        let roll = |x: &Array, axis, by: usize| {
            lines(x, axis, &|line| (0..line.len()).map(|at| line[(at + by) % line.len()]).collect())
        };
        roll(&roll(&x[0], 0, 3), 1, 1)
    };
    cases.push(Case::new("roll/two", [Input::floats(&[5, 4])], op, rolled));
}

fn scatter(cases: &mut Vec<Case>) {
    for (name, data, index, axis) in [
        ("within", vec![4, 6], vec![3, 2], 1usize),
        ("rows", vec![5, 4], vec![7, 3], 0),
        ("middle", vec![3, 5, 2], vec![2, 9, 2], 1),
    ] {
        let reference = move |x: &[Array]| {
            let mut out = x[0].clone();
            // Row-major: along the axis, later positions come later.
            for (at, &to) in x[1].indexed_iter() {
                let mut place = at.clone();
                place[axis] = to as usize;
                out[place] = x[2][at];
            }
            out
        };
        let size = data[axis] as i32;
        let inputs = [Input::floats(&data), Input::ints(&index, 0, size), Input::floats(&index).reseeded()];
        let op = move |x: &[Tensor]| x[0].scatter(axis as isize, &x[1], &x[2]);
        cases.push(Case::new(format!("scatter/{name}"), inputs, op, reference));
    }
    // One index for all lines, long enough to be sorted.
    for (name, table, count) in
        [("rows", vec![50, 5], 400), ("vector", vec![7], 65), ("sparse", vec![3000, 3], 90)]
    {
        let rows = table[0] as i32;
        let inputs = [Input::floats(&table), Input::ints(&[count], 0, rows)];
        let reference =
            |x: &[Array]| x[0].select(Axis(0), &x[1].iter().map(|&i| i as usize).collect::<Vec<_>>());
        let op = |x: &[Tensor]| x[0].embedding(&x[1], None);
        cases.push(Case::new(format!("embedding/{name}"), inputs, op, reference));
        let mut dims = table.clone();
        dims[0] = count;
        let inputs = [Input::floats(&table), Input::ints(&[count], 0, rows), Input::floats(&dims).reseeded()];
        // The whole shape of the source, along which the index is repeated.
        let spread = |x: &[Tensor]| {
            let mut shape = vec![1; x[2].rank()];
            shape[0] = x[1].elements();
            x[1].reshape(shape)?.broadcast_to(x[2].shape())
        };
        let reference = |x: &[Array]| {
            let mut out = x[0].clone();
            for (row, &to) in x[2].outer_iter().zip(x[1].iter()) {
                let mut target = out.index_axis_mut(Axis(0), to as usize);
                target += &row;
            }
            out
        };
        let op = move |x: &[Tensor]| x[0].scatter_add(0, &spread(x)?, &x[2]);
        cases.push(
            Case::new(format!("scatter_add/shared_{name}"), inputs.clone(), op, reference)
                .tolerance(2e-6, 1e-5),
        );
        let reference = |x: &[Array]| {
            let mut out = x[0].clone();
            for (row, &to) in x[2].outer_iter().zip(x[1].iter()) {
                out.index_axis_mut(Axis(0), to as usize).assign(&row);
            }
            out
        };
        let op = move |x: &[Tensor]| x[0].scatter(0, &spread(x)?, &x[2]);
        cases.push(Case::new(format!("scatter/shared_{name}"), inputs, op, reference));
    }
}
