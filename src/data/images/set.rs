//! Images with labels.

use super::check;
use super::listing::{Records, Source};
use super::{folder, records};
use crate::data::check_index;
use crate::data::loader::mix;
use crate::{Error, Result};
use fastrand::Rng;
use image::RgbImage;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Images with labels: checked, and read from their files when they are asked for, or all in memory
/// where they came in one file. Cheap to clone.
#[derive(Clone)]
pub struct ImageSet {
    pub(super) all: Arc<Contents>,
    /// Which of all images belong to this set.
    pub(super) members: Vec<usize>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) warnings: Vec<String>,
}

/// What the sets of one [`ImageSet::open`] share.
pub(super) struct Contents {
    pub classes: Vec<String>,
    pub images: Vec<Entry>,
    pub records: Vec<Records>,
}

/// An image that can be used.
pub(super) struct Entry {
    pub source: Source,
    pub label: usize,
    /// The same number for images that are byte for byte the same.
    pub group: usize,
    pub width: u32,
    pub height: u32,
    pub grey: bool,
}

/// What [`ImageSet::open`] found.
#[derive(Clone)]
pub struct Opened {
    /// What to learn from.
    pub train: ImageSet,
    /// What to judge by, where the data says so itself.
    pub test: Option<ImageSet>,
}

/// A file that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its path.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What the images of a set are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typical {
    /// 1 where all images are grey, else 3.
    pub channels: usize,
    /// The median height, in pixels.
    pub height: usize,
    /// The median width, in pixels.
    pub width: usize,
}

impl ImageSet {
    /// Opens what is at `path`, told by its content:
    ///
    /// - a folder with a folder of images for each class, at any depth below;
    /// - a folder with `train` and one of `val`, `valid`, `validation`, `test`, each so;
    /// - a folder of IDX files, plain or gzip-compressed, named as MNIST's are, or the file of images
    ///   of such a set;
    /// - a folder of the binary files of CIFAR-10 (`data_batch_*.bin`, `test_batch.bin`, names of
    ///   classes in `batches.meta.txt`) or CIFAR-100 (`train.bin`, `test.bin`,
    ///   `fine_label_names.txt`), or one of these files;
    /// - a CSV file of path, label and perhaps part (`train`, `validation`, `test`), in this order or
    ///   with a header line; paths are relative to the file.
    ///
    /// Every file is looked at. What cannot be used is in [`skipped`](ImageSet::skipped), what is
    /// odd in [`warnings`](ImageSet::warnings), both of the set `train`. Up to 64 MiB of files are
    /// decoded in full. Of more, headers and ends are looked at, and damage between them shows when
    /// the image is read. A class without images is left out. Memory is bounded as
    /// [`image`](crate::data::image) says.
    ///
    /// An error where nothing is there, nothing useful is left, or there is only one class.
    pub fn open(path: impl AsRef<Path>) -> Result<Opened> {
        let path = path.as_ref();
        let found = if path.is_file() {
            records::list_file(path)?
        } else if let Some(found) = records::list_folder(path)? {
            found
        } else {
            folder::list(path)?
        };
        check::check(found, path)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no images; never so for what [`open`](ImageSet::open) and
    /// [`split`](ImageSet::split) return.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The names of the classes; a label is an index into them.
    pub fn classes(&self) -> &[String] {
        &self.all.classes
    }

    /// The number of images of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes().len()];
        self.entries().for_each(|entry| counts[entry.label] += 1);
        counts
    }

    /// The label of image `index`; an error where there is no such image.
    pub fn label(&self, index: usize) -> Result<i32> {
        Ok(self.entry(index)?.label as i32)
    }

    /// The path of image `index`, or its file and place in it, as one line; an error where there is
    /// no such image.
    pub fn name(&self, index: usize) -> Result<String> {
        Ok(self.entry(index)?.source.name(&self.all.records))
    }

    /// Files that cannot be used.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// What somebody should know of the data before training on it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Splits into a set to learn from and one that holds about `share` of the images of each
    /// class, drawn by `seed`. Images that are byte for byte the same stay on one side. A class
    /// with at least two different images has some on both sides.
    ///
    /// An error where `share` is not between 0 and 1, or one side would be empty.
    pub fn split(&self, share: f64, seed: u64) -> Result<(ImageSet, ImageSet)> {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::op("split", format!("a share of {share}, expected one between 0 and 1")));
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &member in &self.members {
            groups.entry(self.all.images[member].group).or_default().push(member);
        }
        let mut classes = vec![Vec::new(); self.classes().len()];
        for group in groups.into_values() {
            classes[self.all.images[group[0]].label].push(group);
        }
        let mut rng = Rng::with_seed(mix(seed));
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for mut class in classes {
            rng.shuffle(&mut class);
            let images: usize = class.iter().map(Vec::len).sum();
            let (wanted, last) = ((images as f64 * share).round() as usize, class.len().saturating_sub(1));
            let mut held = 0;
            for (place, group) in class.into_iter().enumerate() {
                // Not all of a class, and not none where there are two groups.
                if place < last && (held < wanted || place == 0) {
                    held += group.len();
                    held_out.extend(group);
                } else {
                    train.extend(group);
                }
            }
        }
        if train.is_empty() || held_out.is_empty() {
            return Err(Error::op("split", format!("{} images are too few to split", self.len())));
        }
        let part = |mut members: Vec<usize>| {
            members.sort_unstable();
            ImageSet { all: self.all.clone(), members, skipped: Vec::new(), warnings: Vec::new() }
        };
        let train =
            ImageSet { skipped: self.skipped.clone(), warnings: self.warnings.clone(), ..part(train) };
        Ok((train, part(held_out)))
    }

    /// The first `n` images in an order drawn by nothing: every `len / n`-th image, so that all
    /// classes have their share. All where there are no more.
    pub(super) fn spread(&self, n: usize) -> impl Iterator<Item = usize> {
        let (len, n) = (self.len(), n.min(self.len()));
        (0..n).map(move |place| place * len / n)
    }

    /// What the images are like.
    pub fn typical(&self) -> Typical {
        let median = |side: fn(&Entry) -> u32| {
            let mut sides: Vec<_> = self.entries().map(side).collect();
            let middle = sides.len() / 2;
            sides.select_nth_unstable(middle).1.to_owned() as usize
        };
        let grey = self.entries().all(|entry| entry.grey);
        let channels = if grey { 1 } else { 3 };
        Typical { channels, height: median(|entry| entry.height), width: median(|entry| entry.width) }
    }

    /// Reads image `index` as [`decode_file`](crate::data::decode_file) does.
    pub fn decode(&self, index: usize) -> Result<RgbImage> {
        self.entry(index)?.source.decode(&self.all.records)
    }

    fn entry(&self, index: usize) -> Result<&Entry> {
        check_index(index, self.len())?;
        Ok(&self.all.images[self.members[index]])
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.members.iter().map(|&member| &self.all.images[member])
    }
}
