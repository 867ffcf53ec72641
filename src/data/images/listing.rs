//! What was found at a path, before anybody looked into the images.

use super::Skipped;
use crate::data::Split;
use crate::data::image::{decode_bytes, read_file};
use crate::{Error, Result};
use image::RgbImage;
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// Images that may belong to a set, with their labels as indices into `classes`.
#[derive(Default)]
pub(super) struct Listing {
    pub classes: Vec<String>,
    pub images: Vec<Candidate>,
    pub records: Vec<Records>,
    pub skipped: Vec<Skipped>,
    pub warnings: Vec<String>,
}

pub(super) struct Candidate {
    pub source: Source,
    pub label: usize,
    pub part: Split,
}

/// Where an image is.
#[derive(Clone)]
pub(super) enum Source {
    File(PathBuf),
    Record { block: usize, index: usize },
}

/// Images of one size in memory, channel after channel.
pub(super) struct Records {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    /// Bytes before the pixels of each record.
    pub offset: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Records {
    pub fn stride(&self) -> usize {
        self.offset + self.channels * self.height * self.width
    }

    /// The planes of record `index`.
    fn planes(&self, index: usize) -> Option<&[u8]> {
        self.bytes.chunks_exact(self.stride()).nth(index)?.get(self.offset..)
    }

    fn decode(&self, index: usize) -> Option<RgbImage> {
        let planes = self.planes(index)?;
        let area = self.height * self.width;
        let plane = |channel: usize| &planes[(channel % self.channels) * area..][..area];
        let (red, green, blue) = (plane(0), plane(1), plane(2));
        let pixels = (0..area).flat_map(|i| [red[i], green[i], blue[i]]).collect();
        RgbImage::from_raw(self.width as u32, self.height as u32, pixels)
    }
}

impl Source {
    pub fn path<'a>(&'a self, records: &'a [Records]) -> Option<&'a Path> {
        match self {
            Source::File(path) => Some(path),
            Source::Record { block, .. } => records.get(*block).map(|block| block.path.as_path()),
        }
    }

    pub fn name(&self, records: &[Records]) -> String {
        let path = self.path(records).map(shown).unwrap_or_default();
        match self {
            Source::File(_) => path,
            Source::Record { index, .. } => format!("{path}[{index}]"),
        }
    }

    /// What tells whether two images are the same.
    pub fn bytes<'a>(&self, records: &'a [Records]) -> Result<Cow<'a, [u8]>> {
        match self {
            Source::File(path) => Ok(Cow::Owned(read_file(path)?)),
            &Source::Record { block, index } => {
                let planes = records.get(block).and_then(|block| block.planes(index));
                Ok(Cow::Borrowed(planes.ok_or_else(missing)?))
            }
        }
    }

    pub fn decode(&self, records: &[Records]) -> Result<RgbImage> {
        match self {
            Source::File(path) => decode_bytes(&read_file(path)?, path),
            &Source::Record { block, index } => {
                records.get(block).and_then(|block| block.decode(index)).ok_or_else(missing)
            }
        }
    }
}

fn missing() -> Error {
    Error::op("image set", "there is no such record")
}

/// A path in one line of valid text.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(printable).collect()
}

pub(super) fn printable(character: char) -> String {
    if character.is_control() { character.escape_default().to_string() } else { character.into() }
}

/// The first few of many: `a, b, c and 4 more`.
pub(super) fn some<T: fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let mut all = all.into_iter();
    let first: Vec<String> = all.by_ref().take(3).map(|item| item.to_string()).collect();
    match all.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
