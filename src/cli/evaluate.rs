//! `kiln evaluate` and `kiln export`: how good a model is, and what it costs to make it smaller.

use anyhow::{Context, Result, ensure};
use kiln::data::{Dataset, ImageSet, Images};
use kiln::train::{Evaluation, ImageClassifier, Precision, predict};
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What `kiln evaluate` is asked.
#[derive(clap::Args)]
pub struct Evaluate {
    /// A model that `kiln train` saved
    model: PathBuf,
    /// Images with labels, as for `kiln train`; where they have a part to judge by, that part
    data: PathBuf,
    /// Images that pass through the network together
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    batch_size: u64,
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `kiln export` is asked.
#[derive(clap::Args)]
pub struct Export {
    /// A model that `kiln train` saved
    model: PathBuf,
    /// Store weights as 16-bit floats
    #[arg(long, conflicts_with = "int8", required_unless_present = "int8")]
    f16: bool,
    /// Store weights as 8-bit integers
    #[arg(long)]
    int8: bool,
    /// The file to write [default: the model's name with -f16 or -int8]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Images with labels, to measure what accuracy the smaller file costs
    #[arg(long)]
    data: Option<PathBuf>,
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `kiln evaluate`.
pub fn run(evaluate: &Evaluate) -> Result<()> {
    let model = ImageClassifier::load(&evaluate.model, &super::engine(evaluate.device.as_deref())?)?;
    let evaluation = judge(&model, &open(&evaluate.data)?, evaluate.batch_size as usize)?;
    if evaluate.json {
        println!("{}", serde_json::to_string(&evaluation)?);
    } else {
        println!("{evaluation}");
    }
    Ok(())
}

/// Runs `kiln export`.
pub fn export(export: &Export) -> Result<()> {
    let engine = super::engine(export.device.as_deref())?;
    let (precision, suffix) = if export.int8 { (Precision::Int8, "int8") } else { (Precision::F16, "f16") };
    let model = ImageClassifier::load(&export.model, &engine)?;
    let out = match &export.out {
        Some(out) => out.clone(),
        None => {
            let stem = export.model.file_stem().context("the model's path names no file")?.to_string_lossy();
            export.model.with_file_name(format!("{stem}-{suffix}.safetensors"))
        }
    };
    ensure!(out != export.model, "{} is the model itself; choose another --out", out.display());
    model.save(&out, precision)?;
    let size = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.len());
    let mut told = json!({"out": out, "bytes": size(&out)?, "bytes_before": size(&export.model)?});
    if let Some(data) = &export.data {
        let images = open(data)?;
        let accuracy =
            |model: &ImageClassifier| judge(model, &images, 64).map(|evaluation| evaluation.accuracy);
        told["accuracy_before"] = accuracy(&model)?.into();
        told["accuracy"] = accuracy(&ImageClassifier::load(&out, &engine)?)?.into();
    }
    if export.json {
        println!("{told}");
        return Ok(());
    }
    println!("{}: {} bytes, before {}", out.display(), told["bytes"], told["bytes_before"]);
    if let (Some(after), Some(before)) = (told["accuracy"].as_f64(), told["accuracy_before"].as_f64()) {
        println!("accuracy {:.2} %, before {:.2} %", 100.0 * after, 100.0 * before);
    }
    Ok(())
}

fn open(data: &Path) -> Result<ImageSet> {
    let opened = ImageSet::open(data)?;
    let images = opened.test.unwrap_or(opened.train);
    images.skipped().iter().for_each(|file| eprintln!("skipped {}: {}", file.name, file.reason));
    Ok(images)
}

/// Classes are matched by name; those of the model that have no images are left without.
fn judge(model: &ImageClassifier, images: &ImageSet, batch_size: usize) -> Result<Evaluation> {
    let known: HashMap<_, _> = (0..).zip(model.classes()).map(|(index, name)| (name, index)).collect();
    let labels = images.classes().iter().map(|class| {
        known.get(class).copied().with_context(|| {
            format!(
                "the images have a class {class:?}; those of the model are {}",
                model.classes().join(", ")
            )
        })
    });
    let labels = labels.collect::<Result<Vec<i32>>>()?;
    let dataset: Arc<dyn Dataset> = Arc::new(Images::new(images.clone(), model.preprocessing().clone())?);
    let found = predict(model.network(), model.params(), &dataset, batch_size)?;
    let labels: Vec<i32> = found.labels.iter().map(|&label| labels[label as usize]).collect();
    Ok(Evaluation::new(model.classes(), &found.probabilities, &labels)?)
}
