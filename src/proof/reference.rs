//! Plain float64 references: as simple as they can be written. What they are given is behind `dyn`, for speed
//! is no concern and a copy for each case would be.

pub use crate::proof::case::Array;
use ndarray::{ArrayD, Axis, Dimension, IxDyn};

/// NumPy's broadcasting of several arrays.
pub fn broadcast(arrays: &[Array]) -> Vec<Array> {
    let rank = arrays.iter().map(|a| a.ndim()).max().unwrap_or(0);
    let size = |a: &Array, axis: usize| (axis + a.ndim()).checked_sub(rank).map_or(1, |axis| a.shape()[axis]);
    let shape: Vec<usize> =
        (0..rank).map(|axis| arrays.iter().map(|a| size(a, axis)).find(|&d| d != 1).unwrap_or(1)).collect();
    arrays.iter().map(|a| a.broadcast(IxDyn(&shape)).expect("the case broadcasts").to_owned()).collect()
}

/// A function of each element.
pub fn map(f: impl Fn(f64) -> f64 + Send + Sync + 'static) -> impl Fn(&[Array]) -> Array + Send + Sync {
    move |x| x[0].mapv(&f as &dyn Fn(f64) -> f64)
}

/// A function of two broadcast elements.
pub fn zip(f: impl Fn(f64, f64) -> f64 + Send + Sync + 'static) -> impl Fn(&[Array]) -> Array + Send + Sync {
    move |x| zipped(x, &f)
}

fn zipped(x: &[Array], f: &dyn Fn(f64, f64) -> f64) -> Array {
    let mut x = broadcast(x);
    let second = x.remove(1);
    let mut first = x.remove(0);
    first.zip_mut_with(&second, |a, &b| *a = f(*a, b));
    first
}

/// Folds axes (highest first), keeping them with size 1 if asked.
pub fn reduce(x: &Array, axes: &[usize], keepdim: bool, fold: &dyn Fn(&[f64]) -> f64) -> Array {
    let kept: Vec<usize> = (0..x.ndim()).filter(|axis| !axes.contains(axis)).collect();
    let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
    let moved = x.clone().permuted_axes(IxDyn(&order));
    let outer: Vec<usize> = kept.iter().map(|&axis| x.shape()[axis]).collect();
    let length: usize = axes.iter().map(|&axis| x.shape()[axis]).product();
    let flat: Vec<f64> = moved.iter().copied().collect();
    let count: usize = outer.iter().product();
    let values: Vec<f64> = (0..count).map(|i| fold(&flat[i * length..(i + 1) * length])).collect();
    let shape: Vec<usize> = if keepdim {
        x.shape().iter().enumerate().map(|(axis, &d)| if axes.contains(&axis) { 1 } else { d }).collect()
    } else {
        outer
    };
    ArrayD::from_shape_vec(IxDyn(&shape), values).expect("one value an element")
}

/// Position of the best of a row: the first, NaN best of all.
pub fn position(row: &[f64], better: fn(f64, f64) -> bool) -> f64 {
    let mut best = 0;
    for (i, &value) in row.iter().enumerate() {
        if !row[best].is_nan() && (value.is_nan() || better(value, row[best])) {
            best = i;
        }
    }
    best as f64
}

/// The greatest, NaN winning.
pub fn greatest(row: &[f64]) -> f64 {
    row.iter().copied().fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b })
}

/// The least, NaN winning.
pub fn least(row: &[f64]) -> f64 {
    row.iter().copied().fold(f64::INFINITY, |a, b| if a.is_nan() || a < b { a } else { b })
}

/// torch.matmul for operands of rank 2 and more.
pub fn matmul(a: &Array, b: &Array) -> Array {
    let rank = a.ndim().max(b.ndim());
    let (m, k, n) = (a.shape()[a.ndim() - 2], a.shape()[a.ndim() - 1], b.shape()[b.ndim() - 1]);
    let size = |x: &Array, axis: usize| (axis + x.ndim()).checked_sub(rank).map_or(1, |axis| x.shape()[axis]);
    let mut shape: Vec<usize> =
        (0..rank - 2).map(|i| if size(a, i) == 1 { size(b, i) } else { size(a, i) }).collect();
    shape.extend([m, n]);
    ArrayD::from_shape_fn(IxDyn(&shape), |index| {
        let at = |x: &Array, row: usize, column: usize| {
            let skip = rank - x.ndim();
            let mut place: Vec<usize> =
                (skip..rank - 2).map(|i| if x.shape()[i - skip] == 1 { 0 } else { index[i] }).collect();
            place.extend([row, column]);
            x[IxDyn(&place)]
        };
        let (row, column) = (index[rank - 2], index[rank - 1]);
        (0..k).map(|i| at(a, row, i) * at(b, i, column)).sum()
    })
}

/// Softmax of the last axis, or its logarithm.
pub fn softmax(x: &Array, axis: usize, log: bool) -> Array {
    let mut y = x.clone();
    for mut lane in y.lanes_mut(Axis(axis)) {
        let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = lane.iter().map(|v| (v - max).exp()).sum();
        lane.mapv_inplace(|v| if log { v - max - sum.ln() } else { (v - max).exp() / sum });
    }
    y
}

/// Geometry of a window over `N` dimensions.
#[derive(Clone, Copy)]
pub struct Window<const N: usize> {
    pub kernel: [usize; N],
    pub stride: [usize; N],
    pub padding: [usize; N],
    pub dilation: [usize; N],
    pub ceil: bool,
}

impl<const N: usize> Window<N> {
    pub fn new(kernel: [usize; N]) -> Window<N> {
        Window { kernel, stride: kernel, padding: [0; N], dilation: [1; N], ceil: false }
    }

    /// Number of windows along a dimension, by PyTorch's rule.
    pub fn count(&self, axis: usize, size: usize) -> usize {
        let span = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
        let room = size + 2 * self.padding[axis] - span;
        let mut count = room / self.stride[axis] + 1;
        if self.ceil {
            count = room.div_ceil(self.stride[axis]) + 1;
            if (count - 1) * self.stride[axis] >= size + self.padding[axis] {
                count -= 1;
            }
        }
        count
    }

    /// The place that elements `kernel` of windows `window` read in an image of this shape, after the two
    /// dimensions of batch and channels; `None` in the padding.
    fn place(&self, window: &[usize], kernel: &[usize], shape: &[usize]) -> Option<[usize; N]> {
        let mut place = [0; N];
        for axis in 0..N {
            place[axis] = (window[axis] * self.stride[axis] + kernel[axis] * self.dilation[axis])
                .checked_sub(self.padding[axis])
                .filter(|&at| at < shape[axis + 2])?;
        }
        Some(place)
    }
}

/// The place in a batch of images.
fn at<const N: usize>(sample: usize, channel: usize, place: [usize; N]) -> IxDyn {
    IxDyn(&[&[sample, channel], &place[..]].concat())
}

/// Convolution of `[N, C, ...]` with `[O, C / groups, ...]`.
pub fn conv<const N: usize>(x: &Array, w: &Array, window: Window<N>, groups: usize) -> Array {
    let (s, per_group) = (x.shape(), w.shape()[0] / groups);
    let mut shape = vec![s[0], w.shape()[0]];
    shape.extend((0..N).map(|axis| window.count(axis, s[axis + 2])));
    ArrayD::from_shape_fn(IxDyn(&shape), |index| {
        let filter = w.index_axis(Axis(0), index[1]);
        let term = |(k, &weight): (IxDyn, &f64)| {
            let place = window.place(&index.slice()[2..], &k.slice()[1..], s)?;
            Some(x[at(index[0], index[1] / per_group * w.shape()[1] + k[0], place)] * weight)
        };
        filter.indexed_iter().filter_map(term).sum()
    })
}

/// Transposed convolution of `[N, C, ...]` with `[C, O / groups, ...]` to outputs of `size`: each element spread
/// over its window.
pub fn conv_transpose<const N: usize>(
    x: &Array,
    w: &Array,
    window: Window<N>,
    size: [usize; N],
    groups: usize,
) -> Array {
    let (inputs, outputs) = (x.shape()[1] / groups, w.shape()[1]);
    let shape = [&[x.shape()[0], outputs * groups], &size[..]].concat();
    let mut y = ArrayD::zeros(IxDyn(&shape));
    for (index, &value) in x.indexed_iter() {
        for (k, &weight) in w.index_axis(Axis(0), index[1]).indexed_iter() {
            if let Some(place) = window.place(&index.slice()[2..], &k.slice()[1..], &shape) {
                y[at(index[0], index[1] / inputs * outputs + k[0], place)] += value * weight;
            }
        }
    }
    y
}

/// What a pool does to the elements of a window, their flat places and the window's size.
type Pooling<'a> = dyn Fn(&[f64], &[usize], usize) -> f64 + 'a;

/// Pools windows of `[N, C, ...]`; the fold gets the elements inside the input with their flat places, and the size
/// of the window clipped to the padded input.
pub fn pool<const N: usize>(x: &Array, window: Window<N>, fold: &Pooling<'_>) -> Array {
    let s = x.shape();
    let mut shape = vec![s[0], s[1]];
    shape.extend((0..N).map(|axis| window.count(axis, s[axis + 2])));
    ArrayD::from_shape_fn(IxDyn(&shape), |index| {
        let (mut values, mut flat) = (Vec::new(), Vec::new());
        for k in ndarray::indices(IxDyn(&window.kernel)) {
            if let Some(place) = window.place(&index.slice()[2..], k.slice(), s) {
                values.push(x[at(index[0], index[1], place)]);
                flat.push(place.iter().zip(&s[2..]).fold(0, |flat, (&at, &size)| flat * size + at));
            }
        }
        let padded = |axis: usize| {
            let start = index[axis + 2] * window.stride[axis];
            (start + window.kernel[axis]).min(s[2 + axis] + 2 * window.padding[axis]) - start
        };
        fold(&values, &flat, (0..N).map(padded).product())
    })
}

/// Adaptive pooling of `[N, C, ...]`.
pub fn adaptive<const N: usize>(x: &Array, size: [usize; N], fold: &dyn Fn(&[f64]) -> f64) -> Array {
    let s = x.shape();
    let shape = [&s[..2], &size[..]].concat();
    ArrayD::from_shape_fn(IxDyn(&shape), |index| {
        let mut part = x.view();
        for axis in 0..2 + N {
            let (o, of, out) = (index[axis], s[axis], shape[axis]);
            part.slice_axis_inplace(Axis(axis), (o * of / out..((o + 1) * of).div_ceil(out)).into());
        }
        fold(&part.iter().copied().collect::<Vec<_>>())
    })
}

/// PyTorch's gather.
pub fn gather(x: &Array, dim: usize, index: &Array) -> Array {
    ArrayD::from_shape_fn(index.raw_dim(), |place| {
        let mut from = place.clone();
        from[dim] = index[&place] as usize;
        x[from]
    })
}

/// PyTorch's scatter_add.
pub fn scatter_add(x: &Array, dim: usize, index: &Array, src: &Array) -> Array {
    let mut y = x.clone();
    for (place, &at) in index.indexed_iter() {
        let mut to = place.clone();
        to[dim] = at as usize;
        let value = src[IxDyn(place.as_array_view().as_slice().expect("indices are contiguous"))];
        y[to] += value;
    }
    y
}

/// The error function, by its series and continued fraction, in float64.
pub fn erf(x: f64) -> f64 {
    let z = x.abs();
    if x.is_nan() || z > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    if z < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let tail = (1..60).rev().fold(z, |fraction, n| z + f64::from(n) / 2.0 / fraction);
    x.signum() * (1.0 - (-z * z).exp() / tail / std::f64::consts::PI.sqrt())
}

/// The mean of a row.
pub fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

/// Each line along an axis replaced by what `f` makes of it.
pub fn lines(x: &Array, axis: usize, f: &dyn Fn(&[f64]) -> Vec<f64>) -> Array {
    let results: Vec<Vec<f64>> = x.lanes(Axis(axis)).into_iter().map(|line| f(&line.to_vec())).collect();
    let mut dims = x.shape().to_vec();
    dims[axis] = results.first().map_or(0, Vec::len);
    let mut out = ArrayD::zeros(IxDyn(&dims));
    for (mut line, values) in out.lanes_mut(Axis(axis)).into_iter().zip(results) {
        line.iter_mut().zip(values).for_each(|(to, value)| *to = value);
    }
    out
}

/// The same elements under another shape, row-major.
pub fn reshape(x: &Array, shape: &[usize]) -> Array {
    let values: Vec<f64> = x.iter().copied().collect();
    ArrayD::from_shape_vec(IxDyn(shape), values).expect("as many elements")
}

/// A scalar.
pub fn scalar(value: f64) -> Array {
    ArrayD::from_elem(IxDyn(&[]), value)
}

/// Elements less their mean over axes, divided by their deviation.
pub fn standardised(x: &Array, axes: &[usize], eps: f64) -> Array {
    let centred = x - &reduce(x, axes, true, &mean);
    let variance = reduce(&centred.mapv(|v| v * v), axes, true, &mean);
    centred / variance.mapv(|v| (v + eps).sqrt())
}
