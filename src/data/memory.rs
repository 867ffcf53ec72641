//! A data set that lies in memory.

use super::{Dataset, check_index};
use crate::{Error, Result, Shape};

/// The elements of all samples of an [`InMemory`] data set, one sample after the other.
#[derive(Clone, Debug)]
pub enum Samples {
    /// Values as they are.
    F32(Vec<f32>),
    /// Bytes that stand for `f32::from(byte) / 255`, at a quarter of the memory.
    U8(Vec<u8>),
}

impl From<Vec<f32>> for Samples {
    fn from(values: Vec<f32>) -> Samples {
        Samples::F32(values)
    }
}

impl From<Vec<u8>> for Samples {
    fn from(bytes: Vec<u8>) -> Samples {
        Samples::U8(bytes)
    }
}

/// Samples and labels held in memory.
#[derive(Clone, Debug)]
pub struct InMemory {
    samples: Samples,
    labels: Vec<i32>,
    shape: Vec<usize>,
    classes: Vec<String>,
    /// Mean and standard deviation of each channel; empty without normalisation.
    normalization: Vec<(f32, f32)>,
}

impl InMemory {
    /// A data set of `labels.len()` samples of `shape`, stored one after the other in `samples`.
    ///
    /// An error where there are no samples, a sample would have no elements, the number of elements
    /// does not fit, or a label is not an index into `classes`.
    pub fn new(
        samples: impl Into<Samples>,
        labels: Vec<i32>,
        shape: &[usize],
        classes: Vec<String>,
    ) -> Result<InMemory> {
        let samples = samples.into();
        let refuse = |message: String| Err(Error::op("dataset", message));
        let size = Shape::new(shape)?.elements();
        if size == 0 {
            return refuse(format!("a sample of shape {shape:?} has no elements"));
        }
        if labels.is_empty() {
            return refuse("there are no samples".into());
        }
        let elements = match &samples {
            Samples::F32(values) => values.len(),
            Samples::U8(bytes) => bytes.len(),
        };
        if labels.len().checked_mul(size) != Some(elements) {
            let fits = if elements % size == 0 {
                format!("{} samples", elements / size)
            } else {
                format!("{elements} elements, not a whole number of samples,")
            };
            return refuse(format!("{fits} of shape {shape:?} for {} labels", labels.len()));
        }
        let outside = |&label: &i32| usize::try_from(label).map_or(true, |label| label >= classes.len());
        if let Some(index) = labels.iter().position(outside) {
            let (label, count) = (labels[index], classes.len());
            return refuse(format!("label {label} of sample {index} is not in 0..{count}"));
        }
        Ok(InMemory { samples, labels, shape: shape.to_vec(), classes, normalization: Vec::new() })
    }

    /// Makes each sample `(value - mean) / std`, with one mean and one standard deviation for each
    /// channel, the first dimension of a sample. They count in the units of the samples (bytes are
    /// divided by 255 first).
    ///
    /// An error where their number is not that of the channels, a mean is not finite, or a standard
    /// deviation is not finite and positive.
    pub fn normalize(mut self, mean: &[f32], std: &[f32]) -> Result<InMemory> {
        let channels = self.shape.first().copied().unwrap_or(1);
        if mean.len() != channels || std.len() != channels {
            let (means, stds) = (mean.len(), std.len());
            let message = format!("{means} means and {stds} standard deviations for {channels} channels");
            return Err(Error::op("normalize", message));
        }
        self.normalization = mean.iter().copied().zip(std.iter().copied()).collect();
        let wrong = |&(mean, std): &(f32, f32)| !(mean.is_finite() && std.is_finite() && std > 0.0);
        if let Some(channel) = self.normalization.iter().position(wrong) {
            let (mean, std) = self.normalization[channel];
            let message = format!("mean {mean} and standard deviation {std} of channel {channel}");
            return Err(Error::op("normalize", message));
        }
        Ok(self)
    }
}

impl Dataset for InMemory {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn sample(&self, index: usize, input: &mut [f32]) -> Result<i32> {
        check_index(index, self.len())?;
        let size: usize = self.shape.iter().product();
        if input.len() != size {
            let message = format!("room for {} elements, a sample has {size}", input.len());
            return Err(Error::op("dataset", message));
        }
        let place = index * size..(index + 1) * size;
        match &self.samples {
            Samples::F32(values) => input.copy_from_slice(&values[place]),
            Samples::U8(bytes) => {
                for (value, &byte) in input.iter_mut().zip(&bytes[place]) {
                    *value = f32::from(byte) / 255.0;
                }
            }
        }
        if !self.normalization.is_empty() {
            let channels = input.chunks_exact_mut(size / self.normalization.len());
            for (channel, &(mean, std)) in channels.zip(&self.normalization) {
                channel.iter_mut().for_each(|value| *value = (*value - mean) / std);
            }
        }
        Ok(self.labels[index])
    }
}
