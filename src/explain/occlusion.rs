//! What is lost where the image is covered.

use super::{HeatMap, image_size, score};
use crate::models::Classifier;
use crate::{Error, Result, Tensor, no_grad};

/// How many covered images are classified at once.
const BATCH: usize = 32;

/// How much the score of a class (the most probable one if none is named) falls where a square of `window`
/// pixels a side covers the image `[1, C, H, W]` with zeros, the mean of normalised images. The square moves
/// by `stride` pixels; a pixel's value is the mean of the squares that cover it. It needs no gradients, and
/// about `H * W / stride^2` passes of the network.
///
/// Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014.
///
/// # Errors
/// Not one image; a class that the model lacks; a window that is 0 or larger than the image; a stride that
/// is 0 or larger than the window, which would leave pixels out; scores that are not finite.
pub fn occlusion(
    model: &dyn Classifier,
    image: &Tensor,
    class: Option<usize>,
    window: usize,
    stride: usize,
) -> Result<HeatMap> {
    const NAME: &str = "occlusion";
    let [channels, height, width] = image_size(NAME, image)?;
    if window == 0 || window > height.min(width) || stride == 0 || stride > window {
        return Err(Error::op(
            NAME,
            format!(
                "a window of {window} moved by {stride} over {height}x{width} pixels: 1 <= stride <= window <= image is needed"
            ),
        ));
    }
    let (whole, class) = no_grad(|| score(NAME, &model.forward(image)?, class))?;
    let (whole, values) = (whole.item()? as f32, image.to_vec::<f32>()?);
    let squares: Vec<(usize, usize)> = starts(height, window, stride)
        .flat_map(|top| starts(width, window, stride).map(move |left| (top, left)))
        .collect();
    let (mut drops, mut covers) = (vec![0.0; height * width], vec![0.0; height * width]);
    for batch in squares.chunks(BATCH) {
        let mut covered = values.repeat(batch.len());
        for (copy, &(top, left)) in covered.chunks_exact_mut(values.len()).zip(batch) {
            for row in
                (0..channels).flat_map(|channel| (top..top + window).map(move |y| channel * height + y))
            {
                copy[row * width + left..][..window].fill(0.0);
            }
        }
        let shape = [batch.len(), channels, height, width];
        let logits = no_grad(|| model.forward(&Tensor::from_vec(covered, shape, image.engine())?))?;
        for (score, &(top, left)) in logits.select(1, class)?.to_vec::<f32>()?.into_iter().zip(batch) {
            for row in (top..top + window).map(|y| y * width + left) {
                drops[row..row + window].iter_mut().for_each(|drop| *drop += whole - score);
                covers[row..row + window].iter_mut().for_each(|count| *count += 1.0);
            }
        }
    }
    let means = drops.iter().zip(&covers).map(|(drop, count)| drop / count).collect();
    HeatMap::new(NAME, means, [height, width], class)
}

/// Where windows begin: at each stride, and where the last one ends with the image.
fn starts(size: usize, window: usize, stride: usize) -> impl Iterator<Item = usize> {
    let last = size - window;
    (0..last).step_by(stride).chain([last])
}
