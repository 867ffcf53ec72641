//! Classifies PNG or JPEG files with the model that the `mnist` example trained.
//!
//!     cargo run --release --example predict -- runs/mnist/samples/*.png

use anyhow::{Context, Result, bail};
use clap::Parser;
use kiln::data::image;
use kiln::io::StateDict;
use kiln::models::Cnn;
use kiln::nn::{Module, Params};
use kiln::{Engine, Tensor, no_grad};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Classify images of handwritten digits.
#[derive(Parser)]
struct Options {
    /// Images: white digits on black, or the reverse with --invert; scaled to 28x28
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Model file
    #[arg(long, default_value = "runs/mnist/model.safetensors")]
    model: PathBuf,
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// The digits are black on white
    #[arg(long)]
    invert: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let engine = match &options.device {
        Some(name) => Engine::new(name)?,
        None => Engine::from_env()?,
    };
    let (model, classes) = load(&options.model, &engine)?;
    let mut code = ExitCode::SUCCESS;
    for path in &options.images {
        match classify(&model, &classes, path, options.invert, &engine) {
            Ok(line) => println!("{}: {line}", path.display()),
            // One bad file does not keep the others from being classified.
            Err(error) => {
                eprintln!("error: {error:#}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn load(path: &Path, engine: &Engine) -> Result<(Cnn, Vec<String>)> {
    let state =
        StateDict::load(path).context("no model; train one with: cargo run --release --example mnist")?;
    let entry = |key: &str| {
        let value = state.metadata.get(key);
        value.with_context(|| format!("{}: the metadata has no {key:?}", path.display()))
    };
    let architecture = entry("architecture")?;
    if architecture != "cnn" {
        bail!("{}: the architecture is {architecture:?}, expected \"cnn\"", path.display());
    }
    let classes: Vec<String> = serde_json::from_str(entry("classes")?)
        .with_context(|| format!("{}: the class names are not a list", path.display()))?;
    let params = Params::new(engine, 0);
    let model = Cnn::new(&params, classes.len())?;
    params.load_state_dict(&state, path)?;
    params.eval();
    Ok((model, classes))
}

/// The three most probable classes of an image.
fn classify(model: &Cnn, classes: &[String], path: &Path, invert: bool, engine: &Engine) -> Result<String> {
    let mut pixels = image::load_gray(path, 28, 28)?;
    if invert {
        pixels.iter_mut().for_each(|pixel| *pixel = 1.0 - *pixel);
    }
    let images = Tensor::from_slice(&pixels, [1, 1, 28, 28], engine)?;
    let probabilities = no_grad(|| model.forward(&images)?.softmax(-1))?.to_vec::<f32>()?;
    let mut ranked: Vec<(&String, f32)> = classes.iter().zip(probabilities).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top = ranked.iter().take(3).map(|(class, p)| format!("{class} {:.1} %", 100.0 * p));
    Ok(top.collect::<Vec<_>>().join(", "))
}
