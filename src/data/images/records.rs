//! Files that hold many images of one size: IDX (MNIST) and the binary form of CIFAR.

use super::listing::{Candidate, Listing, Records, Source, shown, some};
use crate::data::image::read_file;
use crate::data::{IdxArray, Split};
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The images of the IDX or CIFAR files in `folder`, `None` where there are none.
pub(super) fn list_folder(folder: &Path) -> Result<Option<Listing>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io(folder, error))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.is_file());
    files.sort();
    let named =
        |fits: fn(&str) -> bool| files.iter().filter(|path| fits(name(path))).cloned().collect::<Vec<_>>();

    let images = named(|name| name.contains("images") && name.contains("idx3-ubyte"));
    let (held_out, train): (Vec<_>, Vec<_>) =
        images.into_iter().partition(|path| name(path).contains("t10k") || name(path).contains("test"));
    match (&train[..], &held_out[..]) {
        ([], []) => {}
        ([only], _) | ([], [only]) => return list_idx(only).map(Some),
        (several, more) => {
            let names = some(several.iter().chain(more).map(|path| name(path)));
            return Err(Error::file(
                folder,
                format!("several IDX sets: give the images file of one of {names}"),
            ));
        }
    }

    let train =
        named(|name| name == "train.bin" || name.starts_with("data_batch_") && name.ends_with(".bin"));
    let test = named(|name| matches!(name, "test.bin" | "test_batch.bin"));
    // Test batches alone are what there is to learn from.
    let (train, test) = if train.is_empty() { (test, train) } else { (train, test) };
    if train.is_empty() {
        return Ok(None);
    }
    let train = train.into_iter().map(|path| (path, Split::Train));
    list_cifar(train.chain(test.into_iter().map(|path| (path, Split::Test)))).map(Some)
}

/// The images of an IDX file, and those of the test file beside one to learn from. Their labels are
/// in the file with `labels` and `idx1` in its name instead of `images` and `idx3`.
pub(super) fn list_idx(images: &Path) -> Result<Listing> {
    let mut listing = Listing::default();
    add_idx(&mut listing, images, Split::Train)?;
    let test = ["t10k", "test"].iter().find_map(|test| sibling(images, &[("train", test)]));
    if let Some(test) = test {
        add_idx(&mut listing, &test, Split::Test)?;
    }
    listing.number_classes();
    Ok(listing)
}

fn add_idx(listing: &mut Listing, path: &Path, part: Split) -> Result<()> {
    let labels_path = sibling(path, &[("images", "labels"), ("idx3", "idx1")]).ok_or_else(|| {
        let message = "its labels are not beside it: expected an IDX file with 'labels' and 'idx1' in its name \
                       instead of 'images' and 'idx3'";
        Error::file(path, message)
    })?;
    let IdxArray { dims, data: bytes } = IdxArray::load(path, 3)?;
    let labels = IdxArray::load(&labels_path, 1)?.data;
    let [count, height, width] = dims[..] else { return Err(Error::file(path, "not three dimensions")) };
    if labels.len() != count {
        return Err(Error::file(labels_path, format!("{} labels for {count} images", labels.len())));
    }
    let records = Records { path: path.to_path_buf(), bytes, offset: 0, channels: 1, height, width };
    listing.add_records(records, labels.into_iter().map(usize::from), part)
}

/// The file beside `path` with other parts in its name, gzip-compressed or not.
fn sibling(path: &Path, replace: &[(&str, &str)]) -> Option<PathBuf> {
    let name = name(path);
    let other = replace.iter().fold(name.to_string(), |name, (from, to)| name.replace(from, to));
    let plain = other.trim_end_matches(".gz");
    let places = [path.with_file_name(plain), path.with_file_name(format!("{plain}.gz"))];
    if other == name { None } else { places.into_iter().find(|place| place.is_file()) }
}

/// CIFAR-10's records are a label and 32 x 32 pixels of red, green and blue; those of CIFAR-100
/// (`train.bin` and `test.bin`) have the label of a group of classes before that of the class.
/// The names are in `batches.meta.txt` or `fine_label_names.txt` beside the files, one a line;
/// without, classes are called by their number.
pub(super) fn list_cifar(files: impl IntoIterator<Item = (PathBuf, Split)>) -> Result<Listing> {
    const PIXELS: usize = 3 * 32 * 32;
    let mut listing = Listing::default();
    let mut names = None;
    for (path, part) in files {
        let fine = matches!(name(&path), "train.bin" | "test.bin");
        let (offset, meta) = if fine { (2, "fine_label_names.txt") } else { (1, "batches.meta.txt") };
        let bytes = read_file(&path)?;
        if bytes.is_empty() || bytes.len() % (offset + PIXELS) != 0 {
            let (len, record) = (bytes.len(), offset + PIXELS);
            let message = format!("{len} bytes are not a whole number of CIFAR records of {record} bytes");
            return Err(Error::file(path, message));
        }
        names = names.or_else(|| Some(path.with_file_name(meta)).filter(|meta| meta.is_file()));
        let labels: Vec<usize> =
            bytes.chunks_exact(offset + PIXELS).map(|record| record[offset - 1].into()).collect();
        listing.add_records(
            Records { path, bytes, offset, channels: 3, height: 32, width: 32 },
            labels,
            part,
        )?;
    }
    let Some(names) = names else {
        listing.number_classes();
        return Ok(listing);
    };
    let text = String::from_utf8(read_file(&names)?).map_err(|_| Error::file(&names, "not a text"))?;
    listing.classes =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_string).collect();
    match listing.images.iter().find(|image| image.label >= listing.classes.len()) {
        None => Ok(listing),
        Some(image) => {
            let (label, classes) = (image.label, listing.classes.len());
            let record = image.source.name(&listing.records);
            Err(Error::file(names, format!("names of {classes} classes, but {record} has the label {label}")))
        }
    }
}

impl Listing {
    fn add_records(
        &mut self,
        records: Records,
        labels: impl IntoIterator<Item = usize>,
        part: Split,
    ) -> Result<()> {
        if u32::try_from(records.height.max(records.width)).is_err() {
            return Err(Error::file(&records.path, "images of more than 2^32 pixels a side"));
        }
        let block = self.records.len();
        let source = |index| Source::Record { block, index };
        let candidates = labels.into_iter().enumerate();
        self.images.extend(candidates.map(|(index, label)| Candidate { source: source(index), label, part }));
        self.records.push(records);
        Ok(())
    }

    /// Classes that have no names are called by their labels.
    fn number_classes(&mut self) {
        let classes = self.images.iter().map(|image| image.label + 1).max().unwrap_or(0);
        self.classes = (0..classes).map(|class| class.to_string()).collect();
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What a single file holds.
pub(super) fn list_file(path: &Path) -> Result<Listing> {
    let start = {
        use std::io::Read;
        let mut start = Vec::new();
        let file = fs::File::open(path).map_err(|error| Error::io(path, error))?;
        file.take(64).read_to_end(&mut start).map_err(|error| Error::io(path, error))?;
        start
    };
    match &start[..] {
        [0x1f, 0x8b, ..] | [0, 0, 8, ..] => list_idx(path),
        [b'P', b'K', 3, 4, ..] => Err(Error::file(path, "a zip archive: unpack it and give the folder")),
        _ if name(path).ends_with(".bin") => list_cifar([(path.to_path_buf(), Split::Train)]),
        start if image::guess_format(start).is_ok() => {
            let message = "one image: give the folder that holds a folder for each class";
            Err(Error::file(shown(path), message))
        }
        _ => super::table::list(path),
    }
}
