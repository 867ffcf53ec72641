//! Trees of folders, one for each class.

use super::Skipped;
use super::listing::{Candidate, Listing, Source, shown, some};
use crate::data::Split;
use crate::{Error, Result};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The images below `root`: a folder for each class, or `train` and one of [`HELD_OUT`] with a
/// folder for each class in both.
pub(super) fn list(root: &Path) -> Result<Listing> {
    let (folders, files) = children(root).map_err(|error| Error::io(root, error))?;
    let mut listing = Listing::default();
    if let Some((train, held_out)) = parts(&folders) {
        let rest: Vec<_> =
            folders.iter().filter(|&folder| folder != train && Some(folder) != held_out).collect();
        if let (Some(held_out), false) = (held_out, rest.is_empty()) {
            let [train, held_out] = [train, held_out].map(|folder| shown(folder));
            let rest = some(rest.into_iter().map(|folder| shown(folder)));
            listing.warnings.push(format!("not used beside {train} and {held_out}: {rest}"));
        }
        add(&mut listing, train, Split::Train)?;
        if let Some(held_out) = held_out {
            add(&mut listing, held_out, Split::Test)?;
        }
    } else {
        if folders.is_empty() {
            let found = if files.is_empty() { "an empty folder" } else { "no folders" };
            let message =
                format!("{found}: put the images of each class into a folder with the class's name");
            return Err(Error::file(root, message));
        }
        add_classes(&mut listing, &folders, Split::Train);
        if !files.is_empty() {
            let files = some(files.iter().map(|file| shown(file)));
            listing.warnings.push(format!("not used, since not in the folder of a class: {files}"));
        }
    }
    Ok(listing)
}

/// Names of the folder that is not trained on; the first that is there is taken.
const HELD_OUT: [&str; 5] = ["val", "valid", "validation", "test", "testing"];

/// The folders `train` and held out. A lone `train` beside others is a class (of vehicles).
fn parts(folders: &[PathBuf]) -> Option<(&PathBuf, Option<&PathBuf>)> {
    let find = |name: &str| {
        let named = |folder: &&PathBuf| folder.file_name().is_some_and(|it| it.eq_ignore_ascii_case(name));
        folders.iter().find(named)
    };
    let train = find("train").or_else(|| find("training"))?;
    let held_out = HELD_OUT.iter().find_map(|name| find(name));
    let holds_folders = |folder: &PathBuf| children(folder).is_ok_and(|(folders, _)| !folders.is_empty());
    let lone = held_out.is_none() && folders.len() > 1;
    (!lone && [Some(train), held_out].into_iter().flatten().all(holds_folders)).then_some((train, held_out))
}

fn add(listing: &mut Listing, part: &Path, split: Split) -> Result<()> {
    let (folders, _) = children(part).map_err(|error| Error::io(part, error))?;
    add_classes(listing, &folders, split);
    Ok(())
}

fn add_classes(listing: &mut Listing, folders: &[PathBuf], part: Split) {
    let name = |folder: &PathBuf| shown(Path::new(folder.file_name().unwrap_or_default()));
    if part == Split::Train {
        listing.classes = folders.iter().map(name).collect();
        order(&mut listing.classes);
    }
    let start = listing.images.len();
    for folder in folders {
        let Some(label) = listing.classes.iter().position(|class| *class == name(folder)) else {
            listing
                .warnings
                .push(format!("not used, since there is no such class to train: {}", shown(folder)));
            continue;
        };
        let before = listing.images.len();
        add_files(listing, folder, label, part);
        if listing.images.len() == before {
            listing.warnings.push(format!("an empty folder: {}", shown(folder)));
        }
    }
    listing.images[start..].sort_by_key(|image| image.label);
}

/// Sorts class names: by value where all are whole numbers, by character otherwise.
pub(super) fn order(classes: &mut [String]) {
    if classes.iter().all(|class| class.parse::<i64>().is_ok()) {
        classes.sort_by_key(|class| class.parse::<i64>().ok());
    } else {
        classes.sort();
    }
}

/// All files below `folder`, each folder once, wherever symbolic links lead.
fn add_files(listing: &mut Listing, folder: &Path, label: usize, part: Split) {
    let (mut waiting, mut seen) = (vec![folder.to_path_buf()], HashSet::new());
    while let Some(folder) = waiting.pop() {
        match fs::canonicalize(&folder).and_then(|real| Ok((seen.insert(real), children(&folder)?))) {
            Ok((true, (folders, files))) => {
                waiting.extend(folders.into_iter().rev());
                let candidates =
                    files.into_iter().map(|file| Candidate { source: Source::File(file), label, part });
                listing.images.extend(candidates);
            }
            Ok((false, _)) => {}
            Err(error) => listing.skipped.push(Skipped { name: shown(&folder), reason: error.to_string() }),
        }
    }
}

/// The folders and the files in a folder, without what systems hide or leave behind, by name.
fn children(folder: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !hidden(&entry.file_name()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths.into_iter().partition(|path| path.is_dir()))
}

fn hidden(name: &OsStr) -> bool {
    let left_behind = ["__MACOSX", "Thumbs.db", "desktop.ini"];
    name.as_encoded_bytes().starts_with(b".") || left_behind.iter().any(|other| name == *other)
}
