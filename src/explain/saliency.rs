//! Gradients of a class score by the pixels.

use super::{HeatMap, finite, image_size, score};
use crate::models::Classifier;
use crate::{Error, Result, Tensor, no_grad};

/// How fast the score of a class (the most probable one if none is named) changes with each pixel of the
/// image `[1, C, H, W]`: the gradient's absolute value, the largest of the channels.
///
/// Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", 2014.
///
/// # Errors
/// Not one image; a class that the model lacks; scores that are not finite.
pub fn saliency(model: &dyn Classifier, image: &Tensor, class: Option<usize>) -> Result<HeatMap> {
    smooth("saliency", model, image, class, 1, 0.0, 0)
}

/// [`saliency`] of the mean gradient over `samples` copies of the image with normal noise, whose standard
/// deviation is `noise` times the range of the image's values; 50 samples and a noise of 0.15 are usual.
///
/// Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
///
/// # Errors
/// As [`saliency`], no samples, and a noise that is negative or not finite.
pub fn smooth_grad(
    model: &dyn Classifier,
    image: &Tensor,
    class: Option<usize>,
    samples: usize,
    noise: f64,
    seed: u64,
) -> Result<HeatMap> {
    if samples == 0 || !noise.is_finite() || noise < 0.0 {
        let message = format!(
            "{samples} samples with a noise of {noise}: at least 1 sample and a noise of 0 or more are needed"
        );
        return Err(Error::op("smooth_grad", message));
    }
    smooth("smooth_grad", model, image, class, samples, noise, seed)
}

fn smooth(
    name: &'static str,
    model: &dyn Classifier,
    image: &Tensor,
    class: Option<usize>,
    samples: usize,
    noise: f64,
    seed: u64,
) -> Result<HeatMap> {
    let [_, height, width] = image_size(name, image)?;
    let (_, class) = no_grad(|| score(name, &model.forward(image)?, class))?;
    let values = image.to_vec::<f32>()?;
    let range =
        values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
    let deviation = noise * f64::from(range.1 - range.0);
    let mut sum = vec![0.0f32; values.len()];
    for sample in 0..samples {
        let noise = Tensor::randn(*image.shape(), seed.wrapping_add(sample as u64), image.engine())?;
        let pixels = no_grad(|| image.add(&noise.mul(deviation)?))?.variable()?;
        let (score, _) = score(name, &model.forward(&pixels)?, Some(class))?;
        if let Some(gradient) = score.backward()?.get(&pixels) {
            sum.iter_mut().zip(gradient.to_vec::<f32>()?).for_each(|(sum, part)| *sum += part);
        }
    }
    finite(name, &sum, class)?;
    let plane = height * width;
    let mut map = vec![0.0f32; plane];
    for channel in sum.chunks_exact(plane) {
        map.iter_mut().zip(channel).for_each(|(most, value)| *most = most.max(value.abs()));
    }
    HeatMap::new(name, map, [height, width], class)
}
