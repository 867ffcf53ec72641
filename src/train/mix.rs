//! Mixup and cutmix: batches whose images are blends of two.

use super::TrainOptions;
use crate::classical::random::{beta, permutation, stream};
use crate::data::Batch;
use fastrand::Rng;

/// Blends the images of a batch with one another, if the options ask for it, and returns the targets:
/// probabilities `[N, classes]`, row-major, or none where nothing was blended. Where both mixup and
/// cutmix are on, half of the batches get the one and half the other. The draw follows from the seed and
/// the step alone.
pub(super) fn mix(
    batch: &mut Batch,
    classes: usize,
    options: &TrainOptions,
    step: usize,
) -> Option<Vec<f32>> {
    let mut rng = stream(options.seed, step);
    let cut = options.cutmix > 0.0 && (options.mixup == 0.0 || rng.bool());
    let alpha = if cut { options.cutmix } else { options.mixup };
    if alpha == 0.0 {
        return None;
    }
    let drawn = beta(&mut rng, alpha, alpha) as f32;
    let partners = permutation(&mut rng, batch.labels.len());
    let kept = if cut { cutmix(batch, &partners, drawn, &mut rng) } else { mixup(batch, &partners, drawn) };
    let mut targets = vec![0.0; batch.labels.len() * classes];
    for (index, (row, &partner)) in targets.chunks_exact_mut(classes).zip(&partners).enumerate() {
        row[batch.labels[index] as usize] += kept;
        row[batch.labels[partner] as usize] += 1.0 - kept;
    }
    Some(targets)
}

/// Each image becomes `kept` of itself and the rest of its partner.
fn mixup(batch: &mut Batch, partners: &[usize], kept: f32) -> f32 {
    let original = batch.inputs.clone();
    let size = original.len() / partners.len();
    for (image, &partner) in batch.inputs.chunks_exact_mut(size).zip(partners) {
        let other = &original[partner * size..][..size];
        image.iter_mut().zip(other).for_each(|(own, other)| *own = kept * *own + (1.0 - kept) * other);
    }
    kept
}

/// A rectangle of about `1 - kept` of each image `[C, H, W]` is its partner's; returns what is really kept.
fn cutmix(batch: &mut Batch, partners: &[usize], kept: f32, rng: &mut Rng) -> f32 {
    let &[_, _, height, width] = batch.shape.as_slice() else { return mixup(batch, partners, kept) };
    let mut span = |size: usize| {
        let half = 0.5 * (1.0 - kept).sqrt() * size as f32;
        let centre = rng.f32() * size as f32;
        (((centre - half).round().max(0.0) as usize).min(size), ((centre + half).round() as usize).min(size))
    };
    let ((top, bottom), (left, right)) = (span(height), span(width));
    let original = batch.inputs.clone();
    let size = original.len() / partners.len();
    for (image, &partner) in batch.inputs.chunks_exact_mut(size).zip(partners) {
        let other = &original[partner * size..][..size];
        for (own, other) in image.chunks_exact_mut(height * width).zip(other.chunks_exact(height * width)) {
            for row in top..bottom {
                own[row * width + left..row * width + right]
                    .copy_from_slice(&other[row * width + left..row * width + right]);
            }
        }
    }
    1.0 - ((bottom - top) * (right - left)) as f32 / (height * width) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Image `i` is full of the value `i`, and so is its label.
    fn batch() -> Batch {
        let inputs = (0..4).flat_map(|image| vec![image as f32; 2 * 10 * 8]).collect();
        Batch { inputs, shape: vec![4, 2, 10, 8], labels: vec![0, 1, 2, 3] }
    }

    #[test]
    fn targets_are_the_shares_of_the_pixels() {
        for options in [
            TrainOptions { mixup: 0.4, ..TrainOptions::default() },
            TrainOptions { cutmix: 1.0, ..TrainOptions::default() },
            TrainOptions { mixup: 0.4, cutmix: 1.0, ..TrainOptions::default() },
        ] {
            for step in 0..40 {
                let mut mixed = batch();
                let targets = mix(&mut mixed, 4, &options, step).unwrap();
                for (image, target) in mixed.inputs.chunks(160).zip(targets.chunks(4)) {
                    assert!((target.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                    // The mean pixel is the mean of the labels, weighted as the targets say.
                    let mean = image.iter().sum::<f32>() / 160.0;
                    let expected: f32 = (0..4).map(|class| class as f32 * target[class]).sum();
                    assert!((mean - expected).abs() < 1e-5, "{mean} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_step_draws_the_same_each_time_and_nothing_unless_asked() {
        let options = TrainOptions { mixup: 0.4, cutmix: 1.0, ..TrainOptions::default() };
        let draw = |step| {
            let mut mixed = batch();
            let targets = mix(&mut mixed, 4, &options, step);
            (mixed, targets)
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let mut same = batch();
        assert_eq!(mix(&mut same, 4, &TrainOptions::default(), 0), None);
        assert_eq!(same, batch());
    }
}
