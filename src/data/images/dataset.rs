//! Images as samples for training.

use super::{ImageSet, Preprocessing};
use crate::Result;
use crate::data::Dataset;

/// The images of a set as samples `[channels, size, size]`.
pub struct Images {
    set: ImageSet,
    preprocessing: Preprocessing,
    shape: [usize; 3],
}

impl Images {
    /// The images of `set`, each as `preprocessing` makes it. An error where its fields do not fit
    /// each other.
    pub fn new(set: ImageSet, preprocessing: Preprocessing) -> Result<Images> {
        preprocessing.check()?;
        let shape = [preprocessing.channels, preprocessing.size, preprocessing.size];
        Ok(Images { set, preprocessing, shape })
    }

    /// The images.
    pub fn set(&self) -> &ImageSet {
        &self.set
    }

    /// How an image becomes a sample.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
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

    fn sample(&self, index: usize, input: &mut [f32]) -> Result<i32> {
        self.preprocessing.apply(&self.set.decode(index)?, input)?;
        self.set.label(index)
    }
}
