//! Data sets and the loader that makes batches of them.
//!
//! Everything here is host memory: a [`Dataset`] writes one sample at a time into a slice, and a
//! [`DataLoader`] gathers samples into [`Batch`]es on a background thread.

mod idx;
#[cfg(feature = "vision")]
pub mod image;
#[cfg(feature = "train")]
mod images;
mod loader;
mod memory;
mod mnist;

#[cfg(feature = "vision")]
pub use ::image::RgbImage;
pub use idx::IdxArray;
#[cfg(feature = "vision")]
pub use image::{decode_bytes, decode_file};
#[cfg(feature = "train")]
pub use images::{
    Augment, Augmentation, ImageSet, Images, Opened, Operation, Preprocessing, RandAugment, RandomCrop,
    RandomErasing, Skipped, Typical,
};
pub use loader::{Batch, DataLoader, Epoch};
pub use memory::{InMemory, Samples};
pub use mnist::{Mnist, Split};

use crate::{Error, Result};
use std::sync::Arc;

/// Labelled samples of one shape, read by index from any thread.
pub trait Dataset: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of one sample, without a batch dimension.
    fn shape(&self) -> &[usize];

    /// The names of the classes; a label is an index into them.
    fn classes(&self) -> &[String];

    /// Writes sample `index` to `input`, row-major, and returns its label. An error where `index`
    /// is not below [`len`](Dataset::len), `input` has not as many elements as a sample, or the
    /// sample cannot be read.
    fn sample(&self, index: usize, input: &mut [f32]) -> Result<i32>;

    /// Like [`sample`](Dataset::sample), in epoch number `epoch` of a training run. A data set that
    /// augments draws another variant of the sample each epoch, from its seed, the index and the
    /// epoch alone; for all others this is `sample`. [`DataLoader`] reads samples by it.
    fn sample_in(&self, index: usize, epoch: u64, input: &mut [f32]) -> Result<i32> {
        let _ = epoch;
        self.sample(index, input)
    }
}

/// The first samples of another data set.
#[derive(Clone)]
pub struct Subset {
    dataset: Arc<dyn Dataset>,
    len: usize,
}

impl Subset {
    /// The first `n` samples of `dataset`, or all of them where there are fewer.
    pub fn take(dataset: Arc<dyn Dataset>, n: usize) -> Subset {
        let len = n.min(dataset.len());
        Subset { dataset, len }
    }
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.len
    }

    fn shape(&self) -> &[usize] {
        self.dataset.shape()
    }

    fn classes(&self) -> &[String] {
        self.dataset.classes()
    }

    fn sample(&self, index: usize, input: &mut [f32]) -> Result<i32> {
        check_index(index, self.len)?;
        self.dataset.sample(index, input)
    }

    fn sample_in(&self, index: usize, epoch: u64, input: &mut [f32]) -> Result<i32> {
        check_index(index, self.len)?;
        self.dataset.sample_in(index, epoch, input)
    }
}

fn check_index(index: usize, len: usize) -> Result<()> {
    if index < len {
        return Ok(());
    }
    Err(Error::op("dataset", format!("sample {index} is out of range: there are {len}")))
}
