//! Models as files: a header that names format and estimator, a checksum, and fields as `postcard` writes them.

use super::estimator::{Classifier, Clusterer, Model, OutlierDetector, Regressor, Transformer};
use super::registry;
use crate::io::write_atomic;
use crate::{Error, Result};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Deref;
use std::path::Path;

const MAGIC: &[u8; 8] = b"KILNMODL";
/// Raised whenever a model's fields change their meaning.
const VERSION: u32 = 1;
const HEADER: usize = MAGIC.len() + 4 + 4;

/// A model that can be read back.
pub trait Saved: Model + Serialize + DeserializeOwned {
    /// The estimator's name, which the file carries.
    const NAME: &'static str;

    /// The model that [`Model::to_bytes`] made these of.
    ///
    /// # Errors
    /// Bytes that are no model, of another version, of another estimator, or damaged.
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        from_bytes(Self::NAME, bytes, Self::is_consistent)
    }

    /// Reads a model that [`Model::save`] wrote.
    ///
    /// # Errors
    /// A file that cannot be read, and what [`Saved::from_bytes`] refuses.
    fn load(path: &Path) -> Result<Self> {
        Self::from_bytes(&read(path)?).map_err(|error| Error::file(path, error.to_string()))
    }
}

/// Whether a file begins as [`Model::save`] begins one. An error where it cannot be read.
pub fn is_model_file(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start));
    read.map_err(|error| Error::io(path, error))?;
    Ok(start == MAGIC)
}

/// A model's fields under its name: magic, version, checksum of the rest, length and name, payload.
pub(super) fn to_bytes(name: &'static str, model: &impl Serialize) -> Result<Vec<u8>> {
    sealed(name, postcard::to_extend(model, named(name)))
}

fn named(name: &'static str) -> Vec<u8> {
    let mut start = vec![name.len() as u8];
    start.extend(name.as_bytes());
    start
}

fn sealed(name: &'static str, rest: postcard::Result<Vec<u8>>) -> Result<Vec<u8>> {
    let rest = rest.map_err(|error| Error::op(name, format!("cannot be saved: {error}")))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(crc32fast::hash(&rest).to_le_bytes());
    bytes.extend(rest);
    Ok(bytes)
}

/// What [`to_bytes`] made these bytes of, if its fields fit each other.
pub(super) fn from_bytes<T: DeserializeOwned>(
    expected: &'static str,
    bytes: &[u8],
    is_consistent: impl FnOnce(&T) -> bool,
) -> Result<T> {
    let (payload, _level) = payload(expected, bytes)?;
    let model = postcard::from_bytes(payload).map_err(|error| unreadable(expected, &error))?;
    if is_consistent(&model) { Ok(model) } else { Err(damaged(expected, "its fields do not fit each other")) }
}

fn payload<'a>(expected: &'static str, bytes: &'a [u8]) -> Result<(&'a [u8], Level)> {
    let (name, payload) = open(bytes)?;
    if name != expected {
        return Err(Error::op(expected, format!("the saved model is a {name}")));
    }
    let level = Level::enter().ok_or_else(|| damaged(expected, "too many models within each other"))?;
    Ok((payload, level))
}

fn damaged(name: &'static str, reason: &str) -> Error {
    Error::op(name, format!("the saved model is damaged: {reason}"))
}

fn unreadable(name: &'static str, error: &postcard::Error) -> Error {
    let reason = REASON.take();
    let text = reason.clone().unwrap_or_else(|| error.to_string());
    REASON.set(reason);
    damaged(name, &text)
}

thread_local! {
    /// How many models, each within the one before it, are being read.
    static LEVELS: Cell<usize> = const { Cell::new(0) };
    /// Why the innermost of them cannot be read, for which the format's own errors have no room.
    static REASON: Cell<Option<String>> = const { Cell::new(None) };
}

/// A model that is being read: reading those within it takes more of the stack, which ends.
struct Level;

impl Level {
    /// Models within each other that are read; no pipeline of sense comes near.
    const MOST: usize = 32;

    fn enter() -> Option<Level> {
        let levels = LEVELS.get();
        if levels == 0 {
            REASON.set(None);
        }
        (levels < Level::MOST).then(|| {
            LEVELS.set(levels + 1);
            Level
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        LEVELS.set(LEVELS.get() - 1);
    }
}

/// The estimator's name and the payload, after the checks that need no estimator.
fn open(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let refuse = |message: &str| Error::op("load", message);
    let (header, rest) =
        bytes.split_at_checked(HEADER).ok_or_else(|| refuse("not a saved model: too short"))?;
    if !header.starts_with(MAGIC) {
        return Err(refuse("not a saved model"));
    }
    let word = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let version = word(MAGIC.len());
    if version != VERSION {
        return Err(refuse(&format!(
            "saved in version {version} of the format; this build reads version {VERSION}"
        )));
    }
    if word(MAGIC.len() + 4) != crc32fast::hash(rest) {
        return Err(refuse("the saved model is damaged: its checksum does not match"));
    }
    let damaged = || refuse("the saved model is damaged: no name");
    let (&length, rest) = rest.split_first().ok_or_else(damaged)?;
    let (name, payload) = rest.split_at_checked(usize::from(length)).ok_or_else(damaged)?;
    Ok((std::str::from_utf8(name).map_err(|_| damaged())?, payload))
}

pub(super) fn write(path: &Path, bytes: Result<Vec<u8>>) -> Result<()> {
    let bytes = bytes?;
    write_atomic(path, |file| file.write_all(&bytes))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::io(path, source))
}

/// A model behind its trait that can be part of a saved one: `Boxed<dyn Classifier>` and its like.
#[derive(Debug)]
pub struct Boxed<T: ?Sized>(pub Box<T>);

impl<T: ?Sized> Deref for Boxed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A kind of model that the registry can read back by its estimator's name.
pub trait Kind: Model {
    /// The model that [`Model::to_bytes`] of an estimator with this name made these of.
    ///
    /// # Errors
    /// An unknown name, and what [`Saved::from_bytes`] refuses.
    fn by_name(name: &str, bytes: &[u8]) -> Result<Box<Self>>;
}

macro_rules! kind {
    ($($model:ident from $registry:ident),*) => {
        $(impl Kind for dyn $model {
            fn by_name(name: &str, bytes: &[u8]) -> Result<Box<Self>> {
                (registry::find(registry::$registry(), name)?.load)(bytes)
            }
        })*
    };
}

kind!(
    Classifier from classifiers,
    Regressor from regressors,
    Clusterer from clusterers,
    OutlierDetector from outlier_detectors,
    Transformer from transformers
);

impl<T: ?Sized + Kind> Boxed<T> {
    /// Reads a model of any estimator of this kind.
    ///
    /// # Errors
    /// As [`Saved::load`].
    pub fn load(path: &Path) -> Result<Boxed<T>> {
        Self::from_bytes(&read(path)?).map_err(|error| Error::file(path, error.to_string()))
    }

    /// The model that [`Model::to_bytes`] made these of.
    ///
    /// # Errors
    /// As [`Saved::from_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Boxed<T>> {
        let (name, _) = open(bytes)?;
        T::by_name(name, bytes).map(Boxed)
    }
}

impl<T: ?Sized + Kind> Serialize for Boxed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_bytes().map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de, T: ?Sized + Kind> Deserialize<'de> for Boxed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Boxed::from_bytes(&Vec::<u8>::deserialize(deserializer)?).map_err(|error| {
            REASON.set(Some(REASON.take().unwrap_or_else(|| error.to_string())));
            D::Error::custom(error)
        })
    }
}
