//! How an image becomes a network's input.

use super::ImageSet;
use super::color::luma;
use super::resize::resize;
use super::warp::Pixels;
use crate::data::loader::workers;
use crate::parallel;
use crate::{Error, Result};
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// The most images that [`Preprocessing::of`] measures.
const MEASURED: usize = 1000;

/// How an image becomes a network's input `[channels, size, size]`: the whole image is resized to a
/// square (a triangle filter as wide as the reduction, so nothing aliases), then each channel
/// becomes `(value / 255 - mean) / std`.
///
/// The whole image rather than its middle: what matters may lie at the edge, and a network learns
/// stretched shapes as well as others. It is saved in a model file, so that a trained model sees
/// what it saw in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// 3 for RGB, 1 for grey (the luma of BT.709).
    pub channels: usize,
    /// Height and width, in pixels.
    pub size: usize,
    /// The mean of each channel, in 0..=1.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, of values in 0..=1.
    pub std: Vec<f32>,
}

impl Preprocessing {
    /// Inputs of `[channels, size, size]` with the mean and the standard deviation of the images of
    /// `set`, measured on up to 1,000 of them.
    ///
    /// An error where `channels` is not 1 or 3, `size` is not in 1..=4096, or an image cannot be
    /// read.
    pub fn of(set: &ImageSet, size: usize, channels: usize) -> Result<Preprocessing> {
        let plain = Preprocessing { channels, size, mean: vec![0.0; channels], std: vec![1.0; channels] };
        plain.check()?;
        let indices: Vec<usize> = set.spread(MEASURED).collect();
        let measure = |&index: &usize| -> Result<Vec<[f64; 2]>> {
            let pixels = plain.fit(&set.decode(index)?).bytes;
            let channel = |channel| {
                let values =
                    pixels.iter().skip(channel).step_by(channels).map(|&byte| f64::from(byte) / 255.0);
                values.fold([0.0, 0.0], |[sum, squares], value| [sum + value, squares + value * value])
            };
            Ok((0..channels).map(channel).collect())
        };
        let sums = workers()?.install(|| parallel::map(1, &indices, measure));
        let sums = sums.into_iter().collect::<Result<Vec<_>>>()?;
        let values = (sums.len() * size * size) as f64;
        let moments = |channel: usize| {
            // In the order of the images, whatever the threads did.
            let [sum, squares] = sums.iter().fold([0.0, 0.0], |[sum, squares], image| {
                [sum + image[channel][0], squares + image[channel][1]]
            });
            let mean = sum / values;
            // Where all images are one colour there is nothing to scale.
            let std = (squares / values - mean * mean).max(0.0).sqrt();
            (mean as f32, if std < 1e-3 { 1.0 } else { std as f32 })
        };
        let (mean, std) = (0..channels).map(moments).unzip();
        Ok(Preprocessing { mean, std, ..plain })
    }

    /// Number of elements of an input.
    pub fn elements(&self) -> usize {
        self.channels * self.size * self.size
    }

    /// Writes the input `[channels, size, size]` that `image` becomes.
    ///
    /// An error where the fields do not fit each other, `image` has no pixels, or `input` has not as
    /// many elements.
    pub fn apply(&self, image: &RgbImage, input: &mut [f32]) -> Result<()> {
        self.check()?;
        Preprocessing::check_image(image)?;
        self.write(&self.fit(image), input)
    }

    /// An error where the fields cannot be used: they may come from a file.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::op("preprocessing", message));
        let Preprocessing { channels, size, mean, std } = self;
        if !matches!(channels, 1 | 3) {
            return refuse(format!("{channels} channels, expected 1 (grey) or 3 (RGB)"));
        }
        if !(1..=4096).contains(size) {
            return refuse(format!("images of {size}x{size} pixels, expected 1 to 4096 a side"));
        }
        if mean.len() != *channels || std.len() != *channels {
            let (means, stds) = (mean.len(), std.len());
            return refuse(format!("{means} means and {stds} standard deviations for {channels} channels"));
        }
        if !mean.iter().all(|mean| mean.is_finite()) || !std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return refuse(format!(
                "means {mean:?} and standard deviations {std:?}, expected finite, positive ones"
            ));
        }
        Ok(())
    }

    /// An error where there is nothing to resize.
    pub(super) fn check_image(image: &RgbImage) -> Result<()> {
        if image.is_empty() { Err(Error::op("preprocessing", "an image without pixels")) } else { Ok(()) }
    }

    /// The image at the size of the input.
    pub(super) fn fit(&self, image: &RgbImage) -> Pixels {
        self.resize(image, self.size as u32, self.size as u32)
    }

    /// The image with sides of at most 1.25 times the input's: enough to draw variants from.
    pub(super) fn reduced(&self, image: &RgbImage) -> Pixels {
        let most = (self.size * 5).div_ceil(4) as u32;
        self.resize(image, image.width().min(most), image.height().min(most))
    }

    fn resize(&self, image: &RgbImage, width: u32, height: u32) -> Pixels {
        let (width, height) = (width as usize, height as usize);
        let mut bytes = resize(image, width, height);
        if self.channels == 1 {
            bytes = bytes
                .as_chunks::<3>()
                .0
                .iter()
                .map(|&pixel| luma(pixel.map(f32::from)).round() as u8)
                .collect();
        }
        Pixels { width, height, bytes }
    }

    /// Writes the input that pixels at its size become.
    pub(super) fn write(&self, pixels: &Pixels, input: &mut [f32]) -> Result<()> {
        self.check_room(input)?;
        for (channel, plane) in input.chunks_exact_mut(self.size * self.size).enumerate() {
            let bytes = pixels.bytes.iter().skip(channel).step_by(self.channels);
            plane.iter_mut().zip(bytes).for_each(|(value, &byte)| *value = f32::from(byte) / 255.0);
        }
        self.normalize(input);
        Ok(())
    }

    /// An error where `input` is not as long as an input.
    pub(super) fn check_room(&self, input: &[f32]) -> Result<()> {
        if input.len() == self.elements() {
            return Ok(());
        }
        let message = format!("room for {} elements, an image has {}", input.len(), self.elements());
        Err(Error::op("preprocessing", message))
    }

    /// Planes of values in 0..=1 to normalised ones.
    pub(super) fn normalize(&self, input: &mut [f32]) {
        let planes = input.chunks_exact_mut(self.size * self.size);
        for (plane, (mean, std)) in planes.zip(self.mean.iter().zip(&self.std)) {
            plane.iter_mut().for_each(|value| *value = (*value - mean) / std);
        }
    }
}
