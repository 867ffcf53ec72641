//! `kiln explain`: where in an image a classifier looks.

use anyhow::{Context, Result};
use kiln::data::decode_file;
use kiln::explain::{grad_cam, occlusion, overlay, saliency};
use kiln::train::ImageClassifier;
use std::path::PathBuf;

/// What `kiln explain` is asked.
#[derive(clap::Args)]
pub struct Explain {
    /// A model that `kiln train` saved
    model: PathBuf,
    /// An image
    image: PathBuf,
    /// How to look: by the last feature map, by the gradient of each pixel, or by covering parts
    #[arg(long, value_enum, default_value_t = Method::Gradcam)]
    method: Method,
    /// The class to explain [default: the most probable one]
    #[arg(long)]
    class: Option<String>,
    /// The PNG file to write
    #[arg(long, default_value = "overlay.png")]
    out: PathBuf,
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Method {
    Gradcam,
    Saliency,
    Occlusion,
}

/// Runs the command.
pub fn run(explain: &Explain) -> Result<()> {
    let model = ImageClassifier::load(&explain.model, &super::engine(explain.device.as_deref())?)?;
    let classes = model.classes();
    let asked = explain.class.as_ref().map(|name| {
        let known = || format!("no class is called {name:?}; there are {}", classes.join(", "));
        classes.iter().position(|class| class == name).with_context(known)
    });
    let asked = asked.transpose()?;
    let image = decode_file(&explain.image)?;
    let input = model.inputs(std::slice::from_ref(&image))?;
    let size = model.preprocessing().size;
    let map = match explain.method {
        Method::Gradcam => grad_cam(model.network(), &input, asked)?,
        Method::Saliency => saliency(model.network(), &input, asked)?,
        Method::Occlusion => occlusion(model.network(), &input, asked, size.div_ceil(6), size.div_ceil(18))?,
    };
    let overlay = overlay(&image, &map);
    overlay.save(&explain.out).with_context(|| format!("cannot write {}", explain.out.display()))?;
    println!("{}: where {} is seen", explain.out.display(), classes[map.class]);
    Ok(())
}
