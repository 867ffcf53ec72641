//! Resizing: each output element along a dimension is a weighted sum of a few neighbours.
//!
//! Every mode of [`Tensor::interpolate`] is such a map, one dimension after the other, and so is the
//! gradient of each: the same op with the weights turned around.

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::parallel;
use crate::{DType, Error, Op, Output, Result, Shape, Spec, Tensor, View};
use std::sync::Arc;

/// Elements a thread should have at least.
const SHARE: usize = 4 * 1024;

/// For each output the first input it takes, and the weights from there on.
type Bands = Vec<(usize, Vec<f32>)>;

/// Inputs: x, the bands' starts `[outputs]`, their weights `[outputs, taps]`.
#[derive(Debug)]
struct Resample {
    axis: usize,
    /// The input's size along the axis.
    size: usize,
    taps: usize,
    bands: Arc<Bands>,
}

impl Resample {
    fn apply(x: &Tensor, axis: usize, bands: Bands) -> Result<Tensor> {
        let taps = bands.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let starts: Vec<i32> = bands.iter().map(|&(start, _)| start as i32).collect();
        let mut all = Vec::with_capacity(bands.len() * taps);
        for (_, weights) in &bands {
            all.extend_from_slice(weights);
            all.resize(all.len() + taps - weights.len(), 0.0);
        }
        let starts = Tensor::from_slice(&starts, bands.len(), x.engine())?;
        let weights = Tensor::from_slice(&all, [bands.len(), taps], x.engine())?;
        let op = Resample { axis, size: x.dims()[axis], taps, bands: Arc::new(bands) };
        Tensor::apply(op, &[x, &starts, &weights])?.cast(x.dtype())
    }

    /// The bands of the gradient: for each input the outputs that took it.
    fn transposed(&self) -> Bands {
        let mut turned: Bands = vec![(0, Vec::new()); self.size];
        for (output, (start, weights)) in self.bands.iter().enumerate() {
            for (input, &weight) in (*start..).zip(weights) {
                let (first, taken) = &mut turned[input];
                if taken.is_empty() {
                    *first = output;
                }
                taken.resize(output - *first, 0.0);
                taken.push(weight);
            }
        }
        turned
    }
}

impl Op for Resample {
    fn name(&self) -> &'static str {
        "interpolate"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        if inputs[0].dtype != DType::F32 {
            return Err(Error::op(
                self.name(),
                format!("is not defined for {}; cast first", inputs[0].dtype),
            ));
        }
        let mut dims = inputs[0].shape().to_vec();
        dims[self.axis] = self.bands.len();
        Ok(Spec::new(DType::F32, Shape::new(&dims)?))
    }

    fn flops(&self, _: &[Spec], output: &Spec) -> u64 {
        2 * output.elements() as u64 * self.taps as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let inner: usize = output.spec.shape()[self.axis + 1..].iter().product();
        let (input, count) = (inputs[0].slice::<f32>(), self.bands.len());
        // Long rows are shared among threads one by one, short ones by their plane.
        let together = if inner < 32 { count } else { 1 };
        let work = together * inner * self.taps.max(1);
        parallel::chunks(output.slice::<f32>(), together * inner, SHARE.div_ceil(work), |piece, rows| {
            let plane = &input[piece * together / count * self.size * inner..][..self.size * inner];
            let bands = &self.bands[piece * together % count..];
            if inner == 1 {
                for ((start, weights), out) in bands.iter().zip(rows) {
                    let taken = weights.iter().zip(&plane[*start..]).filter(|(weight, _)| **weight != 0.0);
                    *out = taken.map(|(weight, value)| weight * value).sum();
                }
                return;
            }
            for ((start, weights), out) in bands.iter().zip(rows.chunks_exact_mut(inner)) {
                out.fill(0.0);
                for (&weight, values) in weights.iter().zip(plane[start * inner..].chunks_exact(inner)) {
                    if weight != 0.0 {
                        out.iter_mut().zip(values).for_each(|(out, &value)| *out += weight * value);
                    }
                }
            }
        });
        Ok(())
    }

    fn gpu(&self, _: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        // Without weights there is nothing to bind.
        if self.taps == 0 {
            return None;
        }
        let inner = output.shape()[self.axis + 1..].iter().product();
        let sizes = [output.elements(), self.bands.len(), self.size, inner, self.taps];
        Some(Plan::one(Kernel {
            shader: Shader::file("resample", include_str!("../../shaders/resample.wgsl")),
            constants: Vec::new(),
            bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Input(2), Binding::Output],
            params: sizes.map(|size| size as u32).to_vec(),
            groups: Kernel::fold(output.elements().div_ceil(256), caps),
        }))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(Resample::apply(upstream, self.axis, self.transposed())?), None, None])
    }
}

/// How [`Tensor::interpolate`] finds values between elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The element at the start of the place: PyTorch's `nearest`.
    Nearest,
    /// The element nearest to the middle of the place: PyTorch's `nearest-exact`.
    NearestExact,
    /// A straight line between two neighbours, along every dimension: `linear`, `bilinear`,
    /// `trilinear`.
    Linear {
        /// Whether the middles of the first and last elements, instead of their outer edges, lie on
        /// each other.
        align_corners: bool,
    },
    /// A cubic through four neighbours (Keys 1981, with -0.75): `bicubic`.
    Cubic {
        /// As for `Linear`.
        align_corners: bool,
    },
    /// The mean of the elements that the place covers: `area`.
    Area,
}

impl Interpolation {
    /// The bands from `size` to `count` elements, with so many elements an output.
    fn bands(self, size: usize, count: usize, ratio: f64) -> Bands {
        let last = size - 1;
        (0..count).map(|output| self.band(output, size, count, ratio, last)).collect()
    }

    fn band(self, output: usize, size: usize, count: usize, ratio: f64, last: usize) -> (usize, Vec<f32>) {
        let place = |align_corners: bool| match (align_corners, count) {
            (true, 1) => 0.0,
            (true, _) => output as f64 * last as f64 / (count - 1) as f64,
            (false, _) => (output as f64 + 0.5) * ratio - 0.5,
        };
        match self {
            // In f32, as PyTorch does, so that the same element is chosen where rounding decides.
            Interpolation::Nearest => (((output as f32 * ratio as f32) as usize).min(last), vec![1.0]),
            Interpolation::NearestExact => {
                ((((output as f32 + 0.5) * ratio as f32) as usize).min(last), vec![1.0])
            }
            Interpolation::Linear { align_corners } => {
                // By whatever factor: what keeps its size stays as it is, in PyTorch too.
                let place = if size == count { output as f64 } else { place(align_corners).max(0.0) };
                let start = (place as usize).min(last);
                let share = (place - start as f64) as f32;
                let between = start < last && share > 0.0;
                (start, if between { vec![1.0 - share, share] } else { vec![1.0] })
            }
            Interpolation::Cubic { align_corners } => {
                let place = place(align_corners);
                let first = place.floor() as isize - 1;
                let start = first.clamp(0, last as isize) as usize;
                let mut weights = vec![0.0f64; (first + 3).clamp(0, last as isize) as usize - start + 1];
                // Neighbours beyond the edge are the edge.
                for neighbour in first..first + 4 {
                    let at = neighbour.clamp(0, last as isize) as usize;
                    weights[at - start] += cubic((place - neighbour as f64).abs());
                }
                (start, weights.into_iter().map(|weight| weight as f32).collect())
            }
            Interpolation::Area => {
                let start = output * size / count;
                let covered = ((output + 1) * size).div_ceil(count) - start;
                (start, vec![1.0 / covered as f32; covered])
            }
        }
    }
}

/// The cubic convolution kernel at this distance.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let d = distance;
    if d <= 1.0 {
        ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((d - 5.0) * d + 8.0) * d * A - 4.0 * A
    } else {
        0.0
    }
}

impl Tensor {
    /// Resizes `[N, C, ...]` to `size`, one for each dimension after the second (PyTorch's
    /// `interpolate`). Dimensions are resized one after the other, by [`Interpolation`]. An error where
    /// the rank does not fit, a size is 0, or the dtype is no float.
    ///
    /// ```
    /// use kiln::ops::Interpolation;
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::arange(0.0, 2.0, 1.0, &Engine::cpu())?.reshape([1, 1, 2])?;
    /// let twice = x.interpolate(&[4], Interpolation::Nearest)?;
    /// assert_eq!(twice.to_vec::<f32>()?, [0.0, 0.0, 1.0, 1.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn interpolate(&self, size: &[usize], mode: Interpolation) -> Result<Tensor> {
        let ratios = |from: usize, to: usize, _| from as f64 / to as f64;
        self.resample(size, mode, ratios)
    }

    /// As [`interpolate`](Tensor::interpolate) to `factors` times the size, rounded down. As in PyTorch
    /// the places are those of the exact factor, also where the size was rounded. An error also
    /// where a factor is not positive.
    pub fn interpolate_by(&self, factors: &[f64], mode: Interpolation) -> Result<Tensor> {
        if let Some(factor) = factors.iter().find(|&&factor| !(factor > 0.0 && factor.is_finite())) {
            return Err(Error::op("interpolate", format!("factor {factor} is not a positive number")));
        }
        let sizes = self.dims().iter().skip(2).zip(factors);
        let size: Vec<usize> = sizes.map(|(&size, factor)| (size as f64 * factor).floor() as usize).collect();
        if size.len() != factors.len() {
            let message = format!("{} factors for shape {}", factors.len(), self.shape());
            return Err(Error::op("interpolate", message));
        }
        self.resample(&size, mode, |_, _, at| 1.0 / factors[at])
    }

    fn resample(
        &self,
        size: &[usize],
        mode: Interpolation,
        ratio: impl Fn(usize, usize, usize) -> f64,
    ) -> Result<Tensor> {
        let fits = self.rank() == size.len() + 2 && !size.is_empty();
        if !fits || size.contains(&0) || self.dims()[2..].contains(&0) {
            let message = format!("shape {} does not go to sizes {size:?}", self.shape());
            return Err(Error::op("interpolate", message));
        }
        self.check_float("interpolate")?;
        let mut dims = self.dims().to_vec();
        dims[2..].copy_from_slice(size);
        Shape::new(&dims)?;
        size.iter().enumerate().try_fold(self.clone(), |x, (at, &count)| {
            let from = x.dims()[at + 2];
            let bands = mode.bands(from, count, ratio(from, count, at));
            let same = from == count
                && bands
                    .iter()
                    .enumerate()
                    .all(|(at, (start, weights))| *start == at && weights[..] == [1.0]);
            if same { Ok(x) } else { Resample::apply(&x, at + 2, bands) }
        })
    }
}
