//! Training runs, and what is told of them and their models: evaluation, figures, reports, explanations.

mod evaluation;
mod explain;
mod record;
mod report;
mod tensorboard;
mod trainer;

use kiln::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A fresh folder for one test's files.
fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("train").join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Asserts that this is an error whose message holds `expected`.
#[track_caller]
fn assert_refused<T>(result: Result<T, Error>, expected: &str) {
    let message = result.err().expect("this should have been refused").to_string();
    assert!(message.contains(expected), "{message:?} does not say {expected:?}");
}
