//! `kiln predict`: with a model of images or of a table, told by the file.

use super::predict_table;
use anyhow::{Context, Result, bail, ensure};
use kiln::data::{decode_bytes, decode_file};
use kiln::train::ImageClassifier;
use rayon::prelude::*;
use serde_json::json;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `kiln predict` is asked.
#[derive(clap::Args)]
pub struct Predict {
    /// A model that `kiln train` or `kiln fit` saved
    model: PathBuf,
    /// Images and folders of images, or - for an image or a list of paths on the standard input; for a
    /// model of a table, one CSV file
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// The most probable classes to tell of each image
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Print a JSON object a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV: path, rank, class, probability
    #[arg(long)]
    csv: bool,
    /// Images that pass through the network together
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..))]
    batch_size: u64,
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// Where to write the predictions of a table, a line for each row [default: the standard output]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs the command: 1 where an image could not be read.
pub fn run(predict: &Predict) -> Result<ExitCode> {
    if kiln::classical::is_model_file(&predict.model)? {
        let [data] = predict.inputs.as_slice() else {
            bail!("a model of a table takes one CSV file, got {} paths", predict.inputs.len());
        };
        predict_table::run(&predict.model, data, predict.out.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        predict.out.is_none(),
        "--out is for models of tables; images are predicted on the standard output"
    );
    let model = ImageClassifier::load(&predict.model, &super::engine(predict.device.as_deref())?)?;
    let mut sources = Vec::new();
    for input in &predict.inputs {
        if input == Path::new("-") { standard_input(&mut sources)? } else { list(input, &mut sources) }
    }
    ensure!(!sources.is_empty(), "no images there");
    let mut out = io::stdout().lock();
    if predict.csv {
        writeln!(out, "path,rank,class,probability")?;
    }
    let mut failed = 0;
    for batch in sources.chunks(predict.batch_size as usize) {
        let (images, names): (Vec<_>, Vec<_>) = batch
            .par_iter()
            .map(Source::read)
            .collect::<Vec<_>>()
            .into_iter()
            .zip(batch.iter().map(Source::name))
            .filter_map(|(image, name)| match image {
                Ok(image) => Some((image, name)),
                Err(error) => {
                    failed += 1;
                    eprintln!("error: {error}");
                    None
                }
            })
            .unzip();
        for (name, probabilities) in names.iter().zip(model.predict(&images)?) {
            tell(predict, &mut out, name, model.classes(), &probabilities)?;
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Source {
    fn name(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::Bytes(_) => "-".into(),
        }
    }

    fn read(&self) -> kiln::Result<image::RgbImage> {
        match self {
            Source::File(path) => decode_file(path),
            Source::Bytes(bytes) => decode_bytes(bytes, Path::new("-")),
        }
    }
}

/// An image, or paths a line.
fn standard_input(sources: &mut Vec<Source>) -> Result<()> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).context("cannot read the standard input")?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            let lines = text.lines().filter(|line| !line.is_empty());
            lines.for_each(|line| list(Path::new(line), sources));
        }
        Err(_) => sources.push(Source::Bytes(bytes)),
    }
    Ok(())
}

/// A file, or all files below a folder in the order of their names; hidden ones and links to folders are
/// left out.
fn list(path: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(path) else {
        sources.push(Source::File(path.to_path_buf()));
        return;
    };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let linked = entry.file_type().is_ok_and(|kind| kind.is_symlink()) && entry.path().is_dir();
        if !(hidden || linked) {
            list(&entry.path(), sources);
        }
    }
}

fn tell(predict: &Predict, out: &mut impl Write, name: &str, classes: &[String], row: &[f32]) -> Result<()> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    order.truncate(predict.top.max(1));
    let ranked = order.into_iter().map(|class| (classes[class].as_str(), row[class]));
    if predict.json {
        let classes: Vec<_> =
            ranked.map(|(class, probability)| json!({"class": class, "probability": probability})).collect();
        writeln!(out, "{}", json!({"path": name, "predictions": classes}))?;
    } else if predict.csv {
        let mut csv = csv::Writer::from_writer(out);
        for (rank, (class, probability)) in (1..).zip(ranked) {
            csv.write_record([name, &format!("{rank}"), class, &format!("{probability:.6}")])?;
        }
        csv.flush()?;
    } else {
        let ranked: Vec<_> =
            ranked.map(|(class, probability)| format!("{class} {:.1} %", 100.0 * probability)).collect();
        writeln!(out, "{name}: {}", ranked.join(", "))?;
    }
    Ok(())
}
