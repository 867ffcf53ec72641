//! Images as samples for training.

use super::warp::Pixels;
use super::{Augment, Augmentation, ImageSet, Preprocessing, Skipped};
use crate::Result;
use crate::data::Dataset;
use crate::data::loader::mix;
use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The images of a set as samples `[channels, size, size]`.
///
/// Decoded images are kept, reduced to what samples are made of: to the size of the input, or a
/// quarter more a side where there is augmentation, a byte a channel. Those that the cache has no
/// room for are decoded again in every epoch.
///
/// [`ImageSet::open`] does not decode all of a large set. An image that cannot be read after all is
/// replaced by the next one with its label (nine are tried), and is in [`failed`](Images::failed).
pub struct Images {
    set: ImageSet,
    preprocessing: Preprocessing,
    shape: [usize; 3],
    augmentation: Option<(Augmentation, u64)>,
    cache: Cache,
    failed: Mutex<BTreeMap<usize, Skipped>>,
}

impl Images {
    /// The images of `set`, each as `preprocessing` makes it, with a cache of 1 GiB. An error where
    /// the fields of `preprocessing` do not fit each other.
    pub fn new(set: ImageSet, preprocessing: Preprocessing) -> Result<Images> {
        preprocessing.check()?;
        let shape = [preprocessing.channels, preprocessing.size, preprocessing.size];
        let (cache, failed) = (Cache::new(set.len(), 1 << 30), Mutex::default());
        Ok(Images { set, preprocessing, shape, augmentation: None, cache, failed })
    }

    /// Varies samples in training ([`Dataset::sample_in`]), drawn from `seed`, the index and the
    /// epoch alone.
    pub fn augment(mut self, how: Augment, seed: u64) -> Images {
        self.augmentation = how.augmentation().map(|augmentation| (augmentation, seed));
        let bound = self.cache.bound;
        self.cache(bound)
    }

    /// Like [`augment`](Images::augment) with other transforms. An error where one makes no sense.
    pub fn augment_with(mut self, augmentation: Augmentation, seed: u64) -> Result<Images> {
        augmentation.check()?;
        self.augmentation = Some((augmentation, seed));
        let bound = self.cache.bound;
        Ok(self.cache(bound))
    }

    /// Keeps up to `bytes` of decoded images instead of 1 GiB.
    pub fn cache(self, bytes: usize) -> Images {
        Images { cache: Cache::new(self.set.len(), bytes), ..self }
    }

    /// Bytes of decoded images that are kept by now.
    pub fn cached_bytes(&self) -> usize {
        self.cache.used.load(Relaxed)
    }

    /// The images.
    pub fn set(&self) -> &ImageSet {
        &self.set
    }

    /// How an image becomes a sample.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Images that could not be read, and are replaced by others.
    pub fn failed(&self) -> Vec<Skipped> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What `read` makes of image `index`, or of the next with its label that can be read.
    fn readable<T>(&self, index: usize, read: impl Fn(usize) -> Result<T>) -> Result<T> {
        let failure = match read(index) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let label = self.set.label(index)?;
        let after = (index + 1..self.set.len()).chain(0..index);
        let mut others = after.filter(|&other| self.set.label(other).is_ok_and(|other| other == label));
        let Some(value) = others.by_ref().take(9).find_map(|other| read(other).ok()) else {
            return Err(failure);
        };
        let failed = Skipped { name: self.set.name(index)?, reason: super::check::reason(failure) };
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(index, failed);
        Ok(value)
    }
}

impl Dataset for Images {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn classes(&self) -> &[String] {
        self.set.classes()
    }

    /// The image without augmentation. Where there is one, the cache holds nothing to make it of,
    /// and the image is decoded each time.
    fn sample(&self, index: usize, input: &mut [f32]) -> Result<i32> {
        let fit = |index| Ok(self.preprocessing.fit(&self.set.decode(index)?));
        let pixels = match &self.augmentation {
            Some(_) => Arc::new(self.readable(index, fit)?),
            None => self.readable(index, |index| self.cache.get(index, fit))?,
        };
        self.preprocessing.write(&pixels, input)?;
        self.set.label(index)
    }

    fn sample_in(&self, index: usize, epoch: u64, input: &mut [f32]) -> Result<i32> {
        let Some((augmentation, seed)) = &self.augmentation else { return self.sample(index, input) };
        let reduced = |index| Ok(self.preprocessing.reduced(&self.set.decode(index)?));
        let pixels = self.readable(index, |index| self.cache.get(index, reduced))?;
        let draw = mix(mix(mix(*seed).wrapping_add(index as u64)).wrapping_add(epoch));
        augmentation.render(&pixels, &self.preprocessing, draw, input)?;
        self.set.label(index)
    }
}

/// Images that were decoded, within a number of bytes.
struct Cache {
    slots: Vec<OnceLock<Arc<Pixels>>>,
    used: AtomicUsize,
    bound: usize,
}

impl Cache {
    fn new(images: usize, bound: usize) -> Cache {
        Cache { slots: vec![OnceLock::new(); images], used: AtomicUsize::new(0), bound }
    }

    /// Image `index`, kept or made. Two threads may make the same one; the first is kept.
    fn get(&self, index: usize, make: impl FnOnce(usize) -> Result<Pixels>) -> Result<Arc<Pixels>> {
        let slot = self.slots.get(index);
        if let Some(kept) = slot.and_then(OnceLock::get) {
            return Ok(kept.clone());
        }
        let made = Arc::new(make(index)?);
        let bytes = made.bytes.len() + mem::size_of::<Pixels>();
        let room = |used: usize| used.checked_add(bytes).filter(|&used| used <= self.bound);
        if let (Some(slot), Ok(_)) = (slot, self.used.fetch_update(Relaxed, Relaxed, room))
            && slot.set(made.clone()).is_err()
        {
            self.used.fetch_sub(bytes, Relaxed);
        }
        Ok(made)
    }
}
