//! Tables of images: a path, a label and perhaps a part in each line.

use super::folder::order;
use super::listing::{Candidate, Listing, Source, printable};
use crate::classical::table::separator;
use crate::data::Split;
use crate::data::image::read_file;
use crate::{Error, Result};
use csv::{ReaderBuilder, StringRecord, Trim};
use std::path::Path;

/// What the columns may be called in a header line.
const PATHS: [&str; 9] =
    ["path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "name"];
const LABELS: [&str; 6] = ["label", "class", "class_name", "category", "target", "y"];
const PARTS: [&str; 4] = ["split", "part", "set", "subset"];

/// The images that a CSV file lists as `path,label` or `path,label,part`, with a header line in any
/// order of the columns, or without in this one. Paths are relative to the file.
pub(super) fn list(path: &Path) -> Result<Listing> {
    let text = read_file(path)?;
    let failed = |error: csv::Error| Error::file(path, error.to_string());
    let mut reader = ReaderBuilder::new();
    reader.delimiter(separator(&text)).trim(Trim::All).flexible(true).has_headers(false);
    let rows: Vec<StringRecord> =
        reader.from_reader(&text[..]).records().collect::<Result<_, _>>().map_err(failed)?;

    let find = |names: &[&str]| {
        let named = |field: &str| names.iter().any(|name| name.eq_ignore_ascii_case(field));
        rows.first().and_then(|header| header.iter().position(named))
    };
    let header = find(&PATHS).zip(find(&LABELS));
    let ([file, label], part, first) = match header {
        Some((file, label)) => ([file, label], find(&PARTS), 1),
        None => ([0, 1], Some(2), 0),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for row in rows.iter().skip(first) {
        let (Some(file), Some(label)) = (row.get(file), row.get(label).filter(|label| !label.is_empty()))
        else {
            let message = format!("line {}: expected a path and a label, found {row:?}", line(row));
            return Err(Error::file(path, message));
        };
        let part = part.and_then(|part| row.get(part)).unwrap_or_default().to_ascii_lowercase();
        let label: String = label.chars().map(printable).collect();
        let part = match &part[..] {
            "" | "train" | "training" => Part::Train,
            "val" | "valid" | "validation" => Part::Validation,
            "test" | "testing" => Part::Test,
            other => {
                let line = line(row);
                let message = format!("line {line}: the part {other:?}, expected train, validation or test");
                return Err(Error::file(path, message));
            }
        };
        found.push((folder.join(file), label, part));
    }

    let mut listing = Listing::default();
    let before = found.len();
    if found.iter().any(|(_, _, part)| *part == Part::Validation) {
        found.retain(|(_, _, part)| *part != Part::Test);
    }
    if found.len() < before {
        let unused = before - found.len();
        listing
            .warnings
            .push(format!("{unused} lines to test by are not used, since others are to validate by"));
    }
    let mut classes: Vec<String> = found.iter().map(|(_, label, _)| label.clone()).collect();
    classes.sort_unstable();
    classes.dedup();
    order(&mut classes);
    let labels: std::collections::HashMap<_, _> = classes.iter().zip(0..).collect();
    for (file, label, part) in found {
        let part = if part == Part::Train { Split::Train } else { Split::Test };
        if let Some(&label) = labels.get(&label) {
            listing.images.push(Candidate { source: Source::File(file), label, part });
        }
    }
    listing.classes = classes;
    Ok(listing)
}

#[derive(PartialEq)]
enum Part {
    Train,
    Validation,
    Test,
}

fn line(row: &StringRecord) -> u64 {
    row.position().map_or(0, csv::Position::line)
}
