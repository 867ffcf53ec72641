//! `kiln info`: what is in a model file.

use anyhow::Result;
use kiln::Engine;
use kiln::classical::is_model_file;
use kiln::classical::prelude::*;
use kiln::classical::table::TableModel;
use kiln::models::{names, summary};
use kiln::train::ImageClassifier;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What `kiln info` is asked.
#[derive(clap::Args)]
pub struct Info {
    /// A model that `kiln train` or `kiln fit` saved; without one, the networks that `kiln train` knows
    model: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(info: &Info) -> Result<()> {
    let Some(path) = &info.model else {
        if info.json {
            println!("{}", json!({"networks": names().collect::<Vec<_>>()}));
        } else {
            names().for_each(|name| println!("{name}"));
        }
        return Ok(());
    };
    if is_model_file(path)? { table(path, info.json) } else { images(path, info.json) }
}

fn table(path: &Path, json: bool) -> Result<()> {
    let model = TableModel::load(path)?;
    let columns = model.schema().names();
    if json {
        println!("{}", json!({"kind": "table", "target": model.target(), "columns": columns}));
    } else {
        println!("a model of {} from {}", model.target(), columns.join(", "));
    }
    Ok(())
}

fn images(path: &Path, json: bool) -> Result<()> {
    let model = ImageClassifier::load(path, &Engine::cpu())?;
    let (architecture, preprocessing) = (model.architecture(), model.preprocessing());
    let size = preprocessing.size;
    let rows = summary(model.network(), model.params(), [preprocessing.channels, size, size])?;
    let flops: u64 = rows.iter().map(|row| row.flops).sum();
    if json {
        let told = json!({
            "kind": "images",
            "architecture": architecture,
            "classes": model.classes(),
            "preprocessing": preprocessing,
            "parameters": model.params().count(),
            "flops": flops,
        });
        println!("{told}");
        return Ok(());
    }
    println!("{} for images of {}x{size}x{size}", architecture.name, preprocessing.channels);
    println!("{} classes: {}", model.classes().len(), model.classes().join(", "));
    println!("mean {:?}, std {:?} of values from 0 to 1", preprocessing.mean, preprocessing.std);
    super::layers(&rows, |line| println!("{line}"));
    Ok(())
}
