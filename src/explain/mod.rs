//! Where a classifier looks: heat maps of an image for one of its classes.
//!
//! Give the model in evaluation mode ([`Params::eval`](crate::nn::Params::eval)): dropout and batch norm
//! would explain themselves. Why a model of tables predicts what it does is [`crate::classical::explain`].
//!
//! ```
//! use kiln::explain::grad_cam;
//! use kiln::models::Architecture;
//! use kiln::nn::Params;
//! use kiln::{Engine, Tensor};
//!
//! let engine = Engine::cpu();
//! let params = Params::new(&engine, 0);
//! let architecture = Architecture { name: "lenet".into(), classes: 10, channels: 1, image_size: 28 };
//! let model = architecture.build(&params)?;
//! params.eval();
//! let map = grad_cam(&*model, &Tensor::rand([1, 1, 28, 28], 0, &engine)?, None)?;
//! assert_eq!(map.values.len(), 28 * 28);
//! # Ok::<(), kiln::Error>(())
//! ```

mod grad_cam;
mod occlusion;
mod overlay;
mod saliency;

pub use grad_cam::grad_cam;
pub use occlusion::occlusion;
pub use overlay::overlay;
pub use saliency::{saliency, smooth_grad};

use crate::{DType, Error, Result, Tensor};
use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Luma};

/// How much each pixel of an image speaks for a class.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Row after row, 0 to 1; the highest is 1, unless nothing speaks for the class and all are 0.
    pub values: Vec<f32>,
    /// The class.
    pub class: usize,
}

impl HeatMap {
    /// What is above 0 in `values`, over the highest of them.
    fn new(
        name: &'static str,
        values: Vec<f32>,
        [height, width]: [usize; 2],
        class: usize,
    ) -> Result<HeatMap> {
        finite(name, &values, class)?;
        let highest = values.iter().copied().fold(0.0, f32::max);
        // Where nothing is above 0, it is 0 over something.
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let values = values.into_iter().map(|value| value.max(0.0) / highest).collect();
        Ok(HeatMap { height, width, values, class })
    }
}

/// Refuses what a score that is not finite leads to.
fn finite(name: &'static str, values: &[f32], class: usize) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::op(name, format!("the score of class {class} leads to {value}"))),
        None => Ok(()),
    }
}

/// The sizes `[C, H, W]` of one image `[1, C, H, W]` of floats.
fn image_size(name: &'static str, image: &Tensor) -> Result<[usize; 3]> {
    match *image.dims() {
        [1, channels, height, width] if image.dtype() == DType::F32 && image.elements() > 0 => {
            Ok([channels, height, width])
        }
        _ => {
            let (dtype, shape) = (image.dtype(), image.shape());
            Err(Error::op(name, format!("one f32 image [1, C, H, W] is needed; this is {dtype} {shape}")))
        }
    }
}

/// The score of one class from logits `[N, classes]`, summed over the images, and which class it is: the
/// one asked for, else the first image's best.
fn score(name: &'static str, logits: &Tensor, class: Option<usize>) -> Result<(Tensor, usize)> {
    let &[_, classes] = logits.dims() else {
        return Err(Error::op(name, format!("the model's logits have shape {}", logits.shape())));
    };
    let class = match class {
        Some(class) => class,
        None => logits.narrow(0, 0, 1)?.argmax(.., false)?.item()? as usize,
    };
    if class >= classes {
        return Err(Error::op(name, format!("there is no class {class}; the model has {classes}")));
    }
    Ok((logits.select(1, class)?.sum(.., false)?, class))
}

/// Values `from` rows and columns, scaled to `to` by linear interpolation.
fn scaled(values: Vec<f32>, from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let [height, width] = from.map(|size| size as u32);
    if from == to {
        return values;
    }
    match ImageBuffer::<Luma<f32>, _>::from_raw(width, height, values) {
        Some(map) => resize(&map, to[1] as u32, to[0] as u32, FilterType::Triangle).into_raw(),
        None => vec![0.0; to[0] * to[1]], // Fewer values than pixels: nothing to show.
    }
}
