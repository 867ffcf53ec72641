//! `kiln predict` with a model that `kiln fit` saved.

use anyhow::Result;
use kiln::classical::prelude::*;
use kiln::classical::table::{Table, TableModel, TablePredictions};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Predicts each row of a CSV file, on the standard output unless `out` says where.
pub fn run(model: &Path, data: &Path, out: Option<&Path>) -> Result<()> {
    let model = TableModel::load(model)?;
    let predictions = model.predict(&Table::read_csv(data)?)?;
    match out {
        None => write(&predictions, model.target(), io::stdout().lock()),
        Some(path) => write(&predictions, model.target(), create(path)?),
    }
}

fn create(path: &Path) -> kiln::Result<File> {
    File::create(path).map_err(|source| kiln::Error::io(path, source))
}

/// A column of predictions under the target's name; for classes with the probability of the class.
fn write(predictions: &TablePredictions, target: &str, out: impl Write) -> Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    match predictions {
        TablePredictions::Numbers(numbers) => {
            csv.write_record([target])?;
            numbers.iter().try_for_each(|number| csv.write_record([number.to_string()]))?;
        }
        TablePredictions::Classes(names, None) => {
            csv.write_record([target])?;
            names.iter().try_for_each(|name| csv.write_record([name]))?;
        }
        TablePredictions::Classes(names, Some(shares)) => {
            csv.write_record([target, "probability"])?;
            for (name, shares) in names.iter().zip(shares.rows()) {
                let probability = shares.iter().copied().fold(0.0, f64::max);
                csv.write_record([name, &format!("{probability:.6}")])?;
            }
        }
    }
    Ok(csv.flush()?)
}
