//! Shows where a trained model looks.
//!
//!     cargo run --release --example explain -- model.safetensors photo.jpg --out heat.png
//!
//! Writes the image beside its heat maps for one class: Grad-CAM, saliency (SmoothGrad) and occlusion.

use anyhow::{Context, Result};
use clap::Parser;
use image::{GenericImage, RgbImage};
use kiln::Engine;
use kiln::data::decode_file;
use kiln::explain::{grad_cam, occlusion, overlay, smooth_grad};
use kiln::train::ImageClassifier;
use std::path::PathBuf;

/// Show where a trained model looks.
#[derive(Parser)]
struct Options {
    /// The model file
    model: PathBuf,
    /// The image
    image: PathBuf,
    /// The class to explain [default: the most probable one]
    #[arg(long)]
    class: Option<String>,
    /// The picture to write
    #[arg(long, default_value = "explain.png")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let model = ImageClassifier::load(&options.model, &Engine::from_env()?)?;
    let image = decode_file(&options.image)?;
    let class =
        match &options.class {
            None => None,
            Some(name) => {
                let found = model.classes().iter().position(|class| class == name);
                Some(found.with_context(|| {
                    format!("no class is called {name:?}; there are {:?}", model.classes())
                })?)
            }
        };

    let (network, input) = (model.network(), model.inputs(std::slice::from_ref(&image))?);
    let window = (model.preprocessing().size / 8).max(1);
    let maps = [
        grad_cam(network, &input, class)?,
        smooth_grad(network, &input, class, 20, 0.15, 0)?,
        occlusion(network, &input, class, window, window.div_ceil(2))?,
    ];
    let name = &model.classes()[maps[0].class];
    println!("{name}: from left to right the image, Grad-CAM, SmoothGrad, occlusion");

    let (width, height) = image.dimensions();
    let mut strip = RgbImage::new(width * 4, height);
    strip.copy_from(&image, 0, 0)?;
    for (at, map) in (1..).zip(&maps) {
        strip.copy_from(&overlay(&image, map), at * width, 0)?;
    }
    strip.save(&options.out).with_context(|| format!("cannot write {}", options.out.display()))
}
