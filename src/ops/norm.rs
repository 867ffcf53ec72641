//! Normalisation: values less their mean, over their standard deviation.

mod channels;
mod normalise;

use super::formula::Formula;
use crate::{DType, Error, Result, Tensor, no_grad};
use channels::{Channels, Moments, halves};
use normalise::normalised;

/// The statistics of a batch: see [`Tensor::batch_norm_training`].
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// The mean of each channel, `[C]`.
    pub mean: Tensor,
    /// The biased variance of each channel, `[C]`.
    pub variance: Tensor,
    /// How many values a channel has.
    pub count: usize,
}

impl BatchStatistics {
    /// Running statistics moved towards these by the share `momentum`: the mean, and the variance
    /// by the unbiased estimate, as PyTorch does. No gradient flows through them. An error where a channel has
    /// fewer than two values.
    pub fn track(&self, mean: &Tensor, variance: &Tensor, momentum: f64) -> Result<[Tensor; 2]> {
        let moved = |running: &Tensor, batch: &Tensor, scale: f64| {
            no_grad(|| {
                Formula::record(|f| {
                    f.tensor(running) * (1.0 - momentum) + f.tensor(batch) * (momentum * scale)
                })
            })
        };
        let unbiased = match self.count {
            0 | 1 => return Err(Error::op("batch_norm", "one value a channel has no unbiased variance")),
            count => count as f64 / (count - 1) as f64,
        };
        Ok([moved(mean, &self.mean, 1.0)?, moved(variance, &self.variance, unbiased)?])
    }
}

/// An error unless the parameter has the shape that the input calls for.
fn check(op: &'static str, what: &str, parameter: Option<&Tensor>, wanted: &[usize]) -> Result<()> {
    match parameter {
        Some(parameter) if parameter.dims() != wanted => {
            Err(Error::op(op, format!("{what} has shape {}, expected {wanted:?}", parameter.shape())))
        }
        _ => Ok(()),
    }
}

/// `x * scale + shift`, of what is given; parameters are seen with the shape `dims`.
fn affine(x: Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, dims: &[usize]) -> Result<Tensor> {
    let scaled = match weight {
        Some(weight) => x.mul(&weight.reshape(dims)?)?,
        None => x,
    };
    match bias {
        Some(bias) => scaled.add(&bias.reshape(dims)?),
        None => Ok(scaled),
    }
}

impl Tensor {
    /// The number of channels, and `[1, C, 1, ...]`.
    fn channels(&self, op: &'static str) -> Result<(usize, Vec<usize>)> {
        if self.rank() < 2 || !self.dtype().is_float() {
            let message = format!("{} {} is not a float [N, C, ...]", self.dtype(), self.shape());
            return Err(Error::op(op, message));
        }
        let mut dims = vec![1; self.rank()];
        dims[1] = self.dims()[1];
        Ok((self.dims()[1], dims))
    }

    /// The number of dimensions before the last ones, which must have these sizes.
    fn leading(&self, op: &'static str, sizes: &[usize]) -> Result<usize> {
        if sizes.is_empty() || !self.dims().ends_with(sizes) || !self.dtype().is_float() {
            let message =
                format!("{} {} is not a float tensor that ends in {sizes:?}", self.dtype(), self.shape());
            return Err(Error::op(op, message));
        }
        Ok(self.rank() - sizes.len())
    }

    /// Less the mean and over the deviation of the last dimensions, all but the first `rows`.
    fn standardised(&self, rows: usize, eps: f64) -> Result<Tensor> {
        if self.dtype() == DType::F16 {
            return self.cast(DType::F32)?.standardised(rows, eps)?.cast(DType::F16);
        }
        self.standardised_by(rows, [None, None], eps)
    }

    /// The same of f32, and with a weight and a bias for each element of the last dimensions.
    fn standardised_by(&self, rows: usize, parameters: [Option<&Tensor>; 2], eps: f64) -> Result<Tensor> {
        let (rows, rest) = self.dims().split_at(rows);
        let kept = [rows, &vec![1; rest.len()]].concat();
        let channels = Channels { outer: 1, channels: rows.iter().product(), length: rest.iter().product() };
        let moments = Moments { channels, kept };
        let values = Tensor::apply(moments.clone(), &[self])?;
        normalised(self, (&values, moments), parameters, true, eps)
    }

    /// Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167) of `[N, C, ...]` by given
    /// statistics `[C]`, as in evaluation: `(x - mean) / sqrt(variance + eps) * weight + bias`. An
    /// error where a parameter is not `[C]`.
    pub fn batch_norm(
        &self,
        mean: &Tensor,
        variance: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        const NAME: &str = "batch_norm";
        if self.dtype() == DType::F16 {
            return self.cast(DType::F32)?.batch_norm(mean, variance, weight, bias, eps)?.cast(DType::F16);
        }
        let (channels, dims) = self.channels(NAME)?;
        let named = [("mean", Some(mean)), ("variance", Some(variance)), ("weight", weight), ("bias", bias)];
        named.into_iter().try_for_each(|(what, parameter)| check(NAME, what, parameter, &[channels]))?;
        let deviation = variance.add(eps)?.sqrt()?;
        let scale = match weight {
            Some(weight) => weight.div(&deviation)?,
            None => deviation.reciprocal()?,
        };
        // A product and a sum for each element, whatever is given.
        let shift = mean.mul(&scale)?.neg()?;
        let shift = if let Some(bias) = bias { bias.add(&shift)? } else { shift };
        affine(self.clone(), Some(&scale), Some(&shift), &dims)
    }

    /// Batch normalisation of `[N, C, ...]` by each channel's own mean and biased variance, as in
    /// training, and these. An error where a parameter is not `[C]` or a channel has fewer than two
    /// values.
    pub fn batch_norm_training(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<(Tensor, BatchStatistics)> {
        const NAME: &str = "batch_norm";
        if self.dtype() == DType::F16 {
            let (output, statistics) = self.cast(DType::F32)?.batch_norm_training(weight, bias, eps)?;
            return Ok((output.cast(DType::F16)?, statistics));
        }
        let (channels, dims) = self.channels(NAME)?;
        let named = [("weight", weight), ("bias", bias)];
        named.into_iter().try_for_each(|(what, parameter)| check(NAME, what, parameter, &[channels]))?;
        let count = self.elements().checked_div(channels).unwrap_or(0);
        if count < 2 {
            let message = format!("training needs more than one value a channel, got {}", self.shape());
            return Err(Error::op(NAME, message));
        }
        let length = self.dims()[2..].iter().product();
        let moments = Moments { channels: Channels { outer: self.dims()[0], channels, length }, kept: dims };
        let values = Tensor::apply(moments.clone(), &[self])?;
        let output = normalised(self, (&values, moments), [weight, bias], false, eps)?;
        let [mean, variance] = halves(&values, &[channels])?;
        Ok((output, BatchStatistics { mean, variance, count }))
    }

    /// Layer normalisation (Ba et al. 2016, arXiv:1607.06450): each sample by its own mean and
    /// variance over the last dimensions, of sizes `shape`, which is that of weight and bias too. An
    /// error where the shapes do not fit.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 3.0, 5.0, 5.0], [2, 2], &Engine::cpu())?;
    /// assert_eq!(x.layer_norm(&[2], None, None, 0.0625)?.to_vec::<f32>()?[2..], [0.0, 0.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn layer_norm(
        &self,
        shape: &[usize],
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        let rows = self.leading("layer_norm", shape)?;
        check("layer_norm", "weight", weight, shape)?;
        check("layer_norm", "bias", bias, shape)?;
        if [Some(self), weight, bias].into_iter().flatten().all(|tensor| tensor.dtype() == DType::F32) {
            return self.standardised_by(rows, [weight, bias], eps);
        }
        affine(self.standardised(rows, eps)?, weight, bias, shape)
    }

    /// Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467): over the root of the
    /// mean square of the last dimensions, of sizes `shape`, which is that of the weight too. An error
    /// where the shapes do not fit.
    pub fn rms_norm(&self, shape: &[usize], weight: Option<&Tensor>, eps: f64) -> Result<Tensor> {
        let rows = self.leading("rms_norm", shape)?;
        check("rms_norm", "weight", weight, shape)?;
        let axes: Vec<isize> = (rows..self.rank()).map(|axis| axis as isize).collect();
        let scale = self.square()?.mean(&axes[..], true)?.add(eps)?.rsqrt()?;
        affine(self.mul(&scale)?, weight, None, shape)
    }

    /// Group normalisation (Wu and He 2018, arXiv:1803.08494) of `[N, C, ...]`: each sample's channels
    /// in `groups` of neighbours, each group by its own mean and variance; weight and bias are `[C]`.
    /// An error where the groups do not divide the channels or shapes do not fit.
    pub fn group_norm(
        &self,
        groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        self.grouped_norm("group_norm", groups, weight, bias, eps)
    }

    /// Instance normalisation (Ulyanov et al. 2016, arXiv:1607.08022) of `[N, C, ...]`: each channel of
    /// each sample by its own mean and variance; weight and bias are `[C]`. An error where shapes do
    /// not fit.
    pub fn instance_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
        let (channels, _) = self.channels("instance_norm")?;
        self.grouped_norm("instance_norm", channels, weight, bias, eps)
    }

    fn grouped_norm(
        &self,
        op: &'static str,
        groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        let (channels, dims) = self.channels(op)?;
        check(op, "weight", weight, &[channels])?;
        check(op, "bias", bias, &[channels])?;
        if groups == 0 || channels % groups != 0 {
            let message = format!("{groups} groups do not divide the channels of {}", self.shape());
            return Err(Error::op(op, message));
        }
        let rest: usize = self.dims()[2..].iter().product();
        let grouped = self.reshape([self.dims()[0], groups, channels / groups * rest])?;
        affine(grouped.standardised(2, eps)?.reshape(self.shape())?, weight, bias, &dims)
    }

    /// Local response normalisation (Krizhevsky et al. 2012) of `[N, C, ...]`: each element over
    /// `(k + alpha * m)^beta`, where `m` is the mean square of `size` neighbouring channels, those
    /// beyond the ends counted as zero. An error where `size` is 0.
    pub fn local_response_norm(&self, size: usize, alpha: f64, beta: f64, k: f64) -> Result<Tensor> {
        const NAME: &str = "local_response_norm";
        let (channels, _) = self.channels(NAME)?;
        if size == 0 {
            return Err(Error::op(NAME, "a mean of 0 channels has no value"));
        }
        let rest: usize = self.dims()[2..].iter().product();
        let squares = self.square()?.reshape([self.dims()[0], 1, channels, rest])?;
        // One more channel before than after where the size is even.
        let padded = squares.pad_axis(2, size / 2, (size - 1) / 2, 0, 0.0)?;
        let windows =
            super::Pool2dOptions { kernel: [size, 1], stride: [1, 1], ..super::Pool2dOptions::new(1) };
        let means = padded.avg_pool2d(windows)?.reshape(self.shape())?;
        self.div(&means.mul(alpha)?.add(k)?.pow(beta)?)
    }
}
