//! Grad-CAM.

use super::{HeatMap, image_size, scaled, score};
use crate::models::Classifier;
use crate::{Error, Result, Tensor, no_grad};

/// Where in the image `[1, C, H, W]` the last feature map holds what speaks for a class (the most probable
/// one if none is named): its channels weighted by the mean of the score's gradient over their places, what
/// is below 0 cut off, scaled to the size of the image.
///
/// Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
/// 2017.
///
/// # Errors
/// Not one image; a class that the model lacks; a model whose features are no map (a transformer's tokens:
/// [`saliency`](super::saliency) and [`occlusion`](super::occlusion) explain it); scores that are not finite.
pub fn grad_cam(model: &dyn Classifier, image: &Tensor, class: Option<usize>) -> Result<HeatMap> {
    const NAME: &str = "grad_cam";
    let [_, height, width] = image_size(NAME, image)?;
    let features = no_grad(|| model.features(image))?.variable()?;
    let &[1, _, rows, columns] = features.dims() else {
        let shape = features.shape();
        return Err(Error::op(
            NAME,
            format!(
                "it needs features [1, K, h, w], and this model's are {shape}; use saliency or occlusion"
            ),
        ));
    };
    let (score, class) = score(NAME, &model.classify(&features)?, class)?;
    let gradient =
        score.backward()?.get(&features).map_or_else(|| features.zeros_like(), |g| Ok(g.clone()))?;
    let weights = gradient.mean([2, 3], true)?;
    let map = no_grad(|| features.mul(&weights)?.sum(1, false)?.relu())?.to_vec::<f32>()?;
    HeatMap::new(NAME, scaled(map, [rows, columns], [height, width]), [height, width], class)
}
