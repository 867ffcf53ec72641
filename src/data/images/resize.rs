//! Images at another size.
//!
//! What the `image` crate does, for one filter and one kind of pixel, in a third of its time: it is
//! what the first epoch, and every epoch beyond the cache, waits for.

use image::RgbImage;

/// The inputs of one output along a side: the first one, and the weight of each.
type Window = (usize, Vec<f32>);

/// Resizes by a triangle filter as wide as two steps through the larger of both images, as Pillow's
/// `BILINEAR` does: along rows first, then along columns.
pub(super) fn resize(image: &RgbImage, width: usize, height: usize) -> Vec<u8> {
    let (pixels, _) = image.as_raw().as_chunks::<3>();
    let columns = windows(image.width() as usize, width);
    let mut narrow = Vec::with_capacity(3 * width * image.height() as usize);
    for row in pixels.chunks_exact(image.width() as usize) {
        for (first, weights) in &columns {
            let mut sum = [0.0; 3];
            for (pixel, weight) in row[*first..].iter().zip(weights) {
                sum.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += weight * f32::from(value));
            }
            narrow.extend(sum);
        }
    }
    let mut resized = Vec::with_capacity(3 * width * height);
    let mut sums = vec![0.0; 3 * width];
    for (first, weights) in windows(image.height() as usize, height) {
        sums.fill(0.5);
        for (row, weight) in narrow.chunks_exact(3 * width).skip(first).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
        resized.extend(sums.iter().map(|&sum| sum as u8));
    }
    resized
}

fn windows(from: usize, to: usize) -> Vec<Window> {
    let step = from as f32 / to as f32;
    let reach = step.max(1.0);
    let window = |output: usize| {
        let middle = (output as f32 + 0.5) * step;
        let first = (middle - reach).max(0.0) as usize;
        let end = ((middle + reach).ceil() as usize).min(from);
        let weight = |input: usize| (1.0 - ((input as f32 + 0.5 - middle) / reach).abs()).max(0.0);
        let weights: Vec<f32> = (first..end).map(weight).collect();
        let sum: f32 = weights.iter().sum();
        (first, weights.into_iter().map(|weight| weight / sum).collect())
    };
    (0..to).map(window).collect()
}
