//! Batches, shuffled and assembled in the background.

use super::Dataset;
use crate::parallel;
use crate::{Engine, Error, Result, Shape, Tensor};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, LazyLock};
use std::thread;

/// The threads that fill batches, for all loaders. They are not rayon's global ones: a reader that
/// waits for a batch may itself occupy those (training several models in parallel), and the batch
/// would never come.
static WORKERS: LazyLock<Result<rayon::ThreadPool, String>> = LazyLock::new(|| {
    let name = |index| format!("kiln-data-{index}");
    rayon::ThreadPoolBuilder::new().thread_name(name).build().map_err(|error| error.to_string())
});

/// The threads for reading data.
pub(super) fn workers() -> Result<&'static rayon::ThreadPool> {
    WORKERS.as_ref().map_err(|error| no_threads(error))
}

/// Samples gathered for one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The samples one after the other, row-major.
    pub inputs: Vec<f32>,
    /// The shape of `inputs`: the number of samples, then the shape of one.
    pub shape: Vec<usize>,
    /// One label a sample.
    pub labels: Vec<i32>,
}

impl Batch {
    /// The samples `[N, ...]` and the labels `I32` `[N]` as tensors. An error where the numbers do
    /// not fit the shape, or the device has no memory for them.
    pub fn tensors(&self, engine: &Engine) -> Result<(Tensor, Tensor)> {
        let inputs = Tensor::from_slice(&self.inputs, &self.shape[..], engine)?;
        Ok((inputs, Tensor::from_slice(&self.labels, self.labels.len(), engine)?))
    }
}

/// Cuts a data set into batches, in a new order each epoch if asked to.
///
/// The order depends on the seed and the epoch's number alone, not on the machine or the number of
/// threads.
#[derive(Clone)]
pub struct DataLoader {
    dataset: Arc<dyn Dataset>,
    samples: usize,
    sample_shape: Vec<usize>,
    batch_size: usize,
    seed: Option<u64>,
    drop_last: bool,
    prefetch: usize,
}

impl DataLoader {
    /// A loader of `dataset` in its own order, `batch_size` samples a batch, the last batch with
    /// what remains.
    ///
    /// An error where the batch size is 0, the data set is empty, or a batch would not fit a tensor.
    pub fn new(dataset: Arc<dyn Dataset>, batch_size: usize) -> Result<DataLoader> {
        let refuse = |message: String| Err(Error::op("data loader", message));
        let (samples, sample_shape) = (dataset.len(), dataset.shape().to_vec());
        if batch_size == 0 {
            return refuse("the batch size is 0".into());
        }
        if samples == 0 {
            return refuse("the data set is empty".into());
        }
        let batch_shape = Shape::new(&batch_shape(batch_size.min(samples), &sample_shape))?;
        if batch_shape.elements() == 0 {
            return refuse(format!("a sample of shape {sample_shape:?} has no elements"));
        }
        let (seed, drop_last, prefetch) = (None, false, 2);
        Ok(DataLoader { dataset, samples, sample_shape, batch_size, seed, drop_last, prefetch })
    }

    /// Shuffles every epoch, each differently, by this seed.
    pub fn shuffle(mut self, seed: u64) -> DataLoader {
        self.seed = Some(seed);
        self
    }

    /// Whether to leave out the last batch where it is smaller than the others. With fewer samples
    /// than the batch size that leaves none.
    pub fn drop_last(mut self, drop_last: bool) -> DataLoader {
        self.drop_last = drop_last;
        self
    }

    /// How many finished batches may wait to be read; at least 1, and 2 unless set. One more is
    /// being made meanwhile.
    pub fn prefetch(mut self, batches: usize) -> DataLoader {
        self.prefetch = batches.max(1);
        self
    }

    /// Number of batches in an epoch.
    pub fn len(&self) -> usize {
        if self.drop_last { self.samples / self.batch_size } else { self.samples.div_ceil(self.batch_size) }
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// The indices of all samples in the order in which epoch number `epoch` visits them.
    ///
    /// Shuffling is Durstenfeld's (Fisher-Yates from the end): the `i`-th of its random numbers,
    /// from 1, is `mix(key + i * 0x9E3779B97F4A7C15)` with `key = mix(mix(seed) + epoch)`, where
    /// `mix` is the finaliser of SplitMix64; its product with the number of choices, divided by
    /// 2^64, is the choice.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.samples).collect();
        if let Some(seed) = self.seed {
            let mut state = mix(mix(seed).wrapping_add(epoch));
            for last in (1..order.len()).rev() {
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let choice = (u128::from(mix(state)) * (last as u128 + 1)) >> 64;
                order.swap(last, choice as usize);
            }
        }
        order
    }

    /// Starts epoch number `epoch`.
    pub fn epoch(&self, epoch: u64) -> Epoch {
        self.epoch_from(epoch, 0)
    }

    /// As [`epoch`](DataLoader::epoch), without its first `skip` batches, as when a training run goes on.
    pub fn epoch_from(&self, epoch: u64, skip: usize) -> Epoch {
        let (sender, receiver) = sync_channel(self.prefetch);
        let (loader, spare) = (self.clone(), sender.clone());
        let make = move || {
            for indices in loader.order(epoch).chunks(loader.batch_size).take(loader.len()).skip(skip) {
                let batch = loader.batch(indices, epoch);
                let failed = batch.is_err();
                // Sending fails when the epoch was dropped: nobody wants the rest.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("kiln-data".into()).spawn(make) {
            // The channel is empty and holds at least one, so this cannot fail.
            let _ = spare.try_send(Err(no_threads(&error.to_string())));
        }
        Epoch { receiver, remaining: self.len().saturating_sub(skip) }
    }

    fn batch(&self, indices: &[usize], epoch: u64) -> Result<Batch> {
        let size: usize = self.sample_shape.iter().product();
        let mut inputs = vec![0.0; indices.len() * size];
        let fill = || {
            let places = inputs.chunks_mut(size).zip(indices);
            parallel::map(1, places, |(input, &index)| self.sample(index, epoch, input))
        };
        let labels = workers()?.install(fill);
        // Collected in order first, so that of several errors it is always the same one that is told.
        let labels = labels.into_iter().collect::<Result<_>>()?;
        Ok(Batch { inputs, shape: batch_shape(indices.len(), &self.sample_shape), labels })
    }

    fn sample(&self, index: usize, epoch: u64, input: &mut [f32]) -> Result<i32> {
        // Nothing of a sample that panicked is used afterwards but the error.
        catch_unwind(AssertUnwindSafe(|| self.dataset.sample_in(index, epoch, input))).unwrap_or_else(
            |panic| {
                let message = format!("reading sample {index} panicked: {}", panic_message(&*panic));
                Err(Error::op("data loader", message))
            },
        )
    }
}

/// The batches of one epoch, from [`DataLoader::epoch`]. Ends after the first error. Dropping it
/// early stops the work behind it.
pub struct Epoch {
    receiver: Receiver<Result<Batch>>,
    remaining: usize,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        self.remaining = self.remaining.checked_sub(1)?;
        let stopped = || Err(Error::op("data loader", "its thread stopped before the last batch"));
        let batch = self.receiver.recv().unwrap_or_else(|_| stopped());
        if batch.is_err() {
            self.remaining = 0;
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining.min(1), Some(self.remaining))
    }
}

fn batch_shape(samples: usize, sample_shape: &[usize]) -> Vec<usize> {
    [&[samples], sample_shape].concat()
}

/// The finaliser of SplitMix64: a bijection whose every output bit depends on every input bit.
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn no_threads(reason: &str) -> Error {
    Error::op("data loader", format!("cannot start threads: {reason}"))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
