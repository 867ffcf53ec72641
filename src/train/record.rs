//! What each epoch came to, and `metrics.csv`.

use crate::io::write_atomic;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What one epoch of training came to: a line of `metrics.csv`, whose columns have the names of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The number of the epoch, the first is 1.
    pub epoch: u32,
    /// The mean loss of the training images, as they were seen during the epoch.
    pub train_loss: f64,
    /// The share of the training images predicted right, as they were seen during the epoch.
    pub train_accuracy: f64,
    /// The mean loss of the validation images after the epoch.
    pub val_loss: f64,
    /// The share of the validation images predicted right after the epoch.
    pub val_accuracy: f64,
    /// The learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// The wall-clock time that the epoch took, validation included, in seconds.
    pub seconds: f64,
    /// Training images per second, validation left out.
    pub images_per_second: f64,
}

/// Writes the epochs as CSV with a line of names; the file is whole at any moment.
///
/// # Errors
/// A file that cannot be written.
pub fn write_metrics(path: &Path, records: &[EpochRecord]) -> Result<()> {
    write_atomic(path, |file| {
        let mut writer = csv::Writer::from_writer(file);
        records.iter().try_for_each(|record| writer.serialize(record))?;
        writer.flush()
    })
}

/// Reads what [`write_metrics`] wrote.
///
/// # Errors
/// A file that cannot be read, lacks a column, or holds something else than a number, with its line.
pub fn read_metrics(path: &Path) -> Result<Vec<EpochRecord>> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    csv::Reader::from_reader(bytes.as_slice())
        .deserialize()
        .collect::<csv::Result<_>>()
        .map_err(|error| Error::file(path, error.to_string()))
}
