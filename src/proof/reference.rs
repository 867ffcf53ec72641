//! Plain float64 references: as simple as they can be written.

use crate::proof::case::Array;
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
    move |x| x[0].mapv(&f)
}

/// A function of two broadcast elements.
pub fn zip(f: impl Fn(f64, f64) -> f64 + Send + Sync + 'static) -> impl Fn(&[Array]) -> Array + Send + Sync {
    move |x| {
        let mut x = broadcast(x);
        let second = x.remove(1);
        let mut first = x.remove(0);
        first.zip_mut_with(&second, |a, &b| *a = f(*a, b));
        first
    }
}

/// Folds axes (highest first), keeping them with size 1 if asked.
pub fn reduce(x: &Array, axes: &[usize], keepdim: bool, fold: impl Fn(&[f64]) -> f64) -> Array {
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

/// Geometry of a window over two dimensions.
#[derive(Clone, Copy)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub ceil: bool,
}

impl Window {
    pub fn new(kernel: [usize; 2]) -> Window {
        Window { kernel, stride: kernel, padding: [0, 0], dilation: [1, 1], ceil: false }
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

    /// The position that kernel element `k` of window `o` reads; `None` in the padding.
    pub fn place(&self, axis: usize, o: usize, k: usize, size: usize) -> Option<usize> {
        (o * self.stride[axis] + k * self.dilation[axis])
            .checked_sub(self.padding[axis])
            .filter(|&at| at < size)
    }
}

/// Two-dimensional convolution, NCHW.
pub fn conv2d(x: &Array, w: &Array, window: Window, groups: usize) -> Array {
    let (s, ws) = (x.shape(), w.shape());
    let per_group = ws[0] / groups;
    let shape = [s[0], ws[0], window.count(0, s[2]), window.count(1, s[3])];
    ArrayD::from_shape_fn(IxDyn(&shape), |index| {
        let (n, o, oh, ow) = (index[0], index[1], index[2], index[3]);
        let mut sum = 0.0;
        for c in 0..ws[1] {
            for kh in 0..ws[2] {
                for kw in 0..ws[3] {
                    if let (Some(h), Some(v)) = (window.place(0, oh, kh, s[2]), window.place(1, ow, kw, s[3]))
                    {
                        sum += x[[n, o / per_group * ws[1] + c, h, v]] * w[[o, c, kh, kw]];
                    }
                }
            }
        }
        sum
    })
}

/// Pools windows of the last two of four dimensions; the fold gets the elements inside the input
/// and the size of the window clipped to the padded input.
pub fn pool2d(x: &Array, window: Window, fold: impl Fn(&[f64], usize) -> f64) -> Array {
    let s = x.shape();
    let shape = [s[0], s[1], window.count(0, s[2]), window.count(1, s[3])];
    ArrayD::from_shape_fn(IxDyn(&shape), |index| {
        let (oh, ow) = (index[2], index[3]);
        let mut values = Vec::new();
        for kh in 0..window.kernel[0] {
            for kw in 0..window.kernel[1] {
                if let (Some(h), Some(v)) = (window.place(0, oh, kh, s[2]), window.place(1, ow, kw, s[3])) {
                    values.push(x[[index[0], index[1], h, v]]);
                }
            }
        }
        let padded = |axis: usize, o: usize| {
            let start = o * window.stride[axis];
            (start + window.kernel[axis]).min(s[2 + axis] + 2 * window.padding[axis]) - start
        };
        fold(&values, padded(0, oh) * padded(1, ow))
    })
}

/// Adaptive average pooling.
pub fn adaptive_avg_pool2d(x: &Array, size: [usize; 2]) -> Array {
    let s = x.shape();
    let bounds = |o: usize, out: usize, of: usize| (o * of / out, ((o + 1) * of).div_ceil(out));
    ArrayD::from_shape_fn(IxDyn(&[s[0], s[1], size[0], size[1]]), |index| {
        let (h0, h1) = bounds(index[2], size[0], s[2]);
        let (w0, w1) = bounds(index[3], size[1], s[3]);
        let mut sum = 0.0;
        for h in h0..h1 {
            for w in w0..w1 {
                sum += x[[index[0], index[1], h, w]];
            }
        }
        sum / ((h1 - h0) * (w1 - w0)) as f64
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
