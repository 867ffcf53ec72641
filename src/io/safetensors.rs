//! Safetensors files: named tensors and text metadata.

use super::write_atomic;
use crate::{DType, Element, Error, Result, Shape};
use half::bf16;
use safetensors::tensor::{Dtype, Metadata};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

// The format is little-endian and tensors are copied to and from it as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"), "Kiln needs a little-endian machine");

/// The longest header that the format's reference implementation accepts, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// The header's own key among the tensors' names.
const METADATA: &str = "__metadata__";

/// A tensor in host memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTensor {
    /// The type of the elements.
    pub dtype: DType,
    /// The sizes of the dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements in their stored form, row-major, [`DType::size`] bytes each.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// A tensor of these values, row-major. An error where their number does not fit the shape, or
    /// a value does not fit the stored form.
    pub fn from_slice<T: Element>(shape: &[usize], values: &[T]) -> Result<HostTensor> {
        let elements = Shape::new(shape)?.elements();
        if elements != values.len() {
            let message = format!("{} values for shape {shape:?}, which has {elements}", values.len());
            return Err(Error::op("from_slice", message));
        }
        let mut bytes = Vec::new();
        T::store(values, &mut bytes)?;
        Ok(HostTensor { dtype: T::DTYPE, shape: shape.to_vec(), bytes })
    }

    /// The values, row-major. An error where the elements are of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if self.dtype != T::DTYPE {
            let message = format!("a tensor of {} read as {}", self.dtype, T::DTYPE);
            return Err(Error::op("to_vec", message));
        }
        Ok(T::load(&self.bytes))
    }

    fn file_dtype(&self) -> Dtype {
        match self.dtype {
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::I32 => Dtype::I32,
            DType::Bool => Dtype::BOOL,
        }
    }

    /// A tensor from its form in a file, row-major; the message of an error is for the one who knows the key.
    pub(super) fn decode(dtype: Dtype, shape: &[usize], raw: Vec<u8>) -> Result<HostTensor, String> {
        Shape::new(shape).map_err(|error| error.to_string())?;
        let (dtype, bytes) = match dtype {
            Dtype::F32 => (DType::F32, raw),
            Dtype::F16 => (DType::F16, raw),
            Dtype::I32 => (DType::I32, raw),
            Dtype::BOOL => (DType::Bool, convert(&raw, |[byte]| u32::from(byte != 0).to_ne_bytes())),
            Dtype::U8 => (DType::I32, convert(&raw, |[byte]| i32::from(byte).to_ne_bytes())),
            Dtype::BF16 => {
                (DType::F32, convert(&raw, |word| bf16::from_le_bytes(word).to_f32().to_ne_bytes()))
            }
            Dtype::F64 => (DType::F32, convert(&raw, |word| (f64::from_le_bytes(word) as f32).to_ne_bytes())),
            Dtype::I64 => {
                let wide = raw.as_chunks().0.iter().map(|&word| i64::from_le_bytes(word));
                if let Some((index, value)) = wide.enumerate().find(|&(_, v)| i32::try_from(v).is_err()) {
                    return Err(format!("element {index} is {value}, which does not fit i32"));
                }
                (DType::I32, convert(&raw, |word| (i64::from_le_bytes(word) as i32).to_ne_bytes()))
            }
            other => {
                let known = "F32, F16, BF16, F64, I32, I64, U8 or BOOL";
                return Err(format!("elements of type {other}, expected {known}"));
            }
        };
        Ok(HostTensor { dtype, shape: shape.to_vec(), bytes })
    }
}

fn convert<const N: usize>(raw: &[u8], element: impl Fn([u8; N]) -> [u8; 4]) -> Vec<u8> {
    raw.as_chunks().0.iter().flat_map(|&word| element(word)).collect()
}

/// Named tensors in host memory and text metadata: the content of a safetensors file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDict {
    /// The tensors by name.
    pub tensors: BTreeMap<String, HostTensor>,
    /// Free text by name; a saved model's architecture, classes and preprocessing.
    pub metadata: BTreeMap<String, String>,
}

impl StateDict {
    /// Reads a safetensors file.
    ///
    /// Types that Kiln does not have become the nearest it has: `I64` and `U8` become `I32` (an
    /// error where a value does not fit), `BF16` and `F64` become `F32` (rounded; infinite where
    /// beyond its range).
    ///
    /// [`Error::Io`] where the file cannot be read, [`Error::File`] where its content is wrong.
    /// Memory is bounded by the file's size, whatever its header says.
    pub fn load(path: impl AsRef<Path>) -> Result<StateDict> {
        let path = path.as_ref();
        let io = |source| Error::io(path, source);
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        StateDict::read(file, size, path)
    }

    /// Like [`load`](StateDict::load) from a reader of `size` bytes; `path` is only named in errors.
    pub fn read(mut source: impl Read, size: u64, path: &Path) -> Result<StateDict> {
        let corrupt = |message: String| Error::file(path, message);
        let mut read = |count: u64| {
            // Only called for counts within `size`, so there is that much to read.
            let mut bytes = vec![0; count as usize];
            source.read_exact(&mut bytes).map_err(|source| Error::io(path, source))?;
            Ok::<_, Error>(bytes)
        };

        let Some(after_length) = size.checked_sub(8) else {
            return Err(corrupt(format!("truncated: {size} bytes, and the header's length takes 8")));
        };
        let header = read(8)?.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
        if header > after_length.min(MAX_HEADER) {
            let message =
                format!("a header of {header} bytes in a file of {size}: truncated, or not safetensors");
            return Err(corrupt(message));
        }
        let data = after_length - header;
        // This also checks that every tensor's bytes fit its shape and follow one another.
        let header: Metadata = serde_json::from_slice(&read(header)?)
            .map_err(|error| corrupt(format!("the header is wrong: {error}")))?;
        let described = header.data_len() as u64;
        if described != data {
            let what = if described > data { "truncated" } else { "trailing data" };
            return Err(corrupt(format!(
                "{what}: the header describes {described} bytes of data, found {data}"
            )));
        }

        let metadata = header.metadata().iter().flatten();
        let mut state = StateDict {
            tensors: BTreeMap::new(),
            metadata: metadata.map(|(key, value)| (key.clone(), value.clone())).collect(),
        };
        for key in header.offset_keys() {
            if let Some(info) = header.info(&key) {
                let raw = read((info.data_offsets.1 - info.data_offsets.0) as u64)?;
                let tensor = HostTensor::decode(info.dtype, &info.shape, raw)
                    .map_err(|message| corrupt(format!("tensor {key:?}: {message}")))?;
                state.tensors.insert(key, tensor);
            }
        }
        Ok(state)
    }

    /// Writes a safetensors file; the same content gives the same bytes. `path` holds its old
    /// content until all of the new one is on disk.
    ///
    /// [`Error::Io`] where the file cannot be written, [`Error::File`] where a tensor's bytes do not
    /// fit its shape, a name is the format's own (`__metadata__`), or the header would be too long.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let refuse = |message: String| Err(Error::file(path, message));
        // Widest elements first keeps every tensor aligned to its element size.
        let mut tensors: Vec<_> = self.tensors.iter().collect();
        tensors.sort_by_key(|(_, tensor)| Reverse(tensor.file_dtype()));

        let mut header = serde_json::Map::new();
        if !self.metadata.is_empty() {
            header.insert(METADATA.into(), serde_json::json!(self.metadata));
        }
        let mut offset = 0;
        for &(key, tensor) in &tensors {
            if key == METADATA {
                return refuse(format!("a tensor cannot have the name {METADATA:?}"));
            }
            let HostTensor { dtype, shape, bytes } = tensor;
            let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            if elements.and_then(|n| n.checked_mul(dtype.size())) != Some(bytes.len()) {
                let found = bytes.len();
                return refuse(format!("tensor {key:?}: {found} bytes for shape {shape:?} of {dtype}"));
            }
            let size = if *dtype == DType::Bool { bytes.len() / 4 } else { bytes.len() };
            let end = offset + size;
            let description = serde_json::json!({
                "dtype": tensor.file_dtype(), "shape": shape, "data_offsets": [offset, end],
            });
            header.insert(key.clone(), description);
            offset = end;
        }
        let mut header = serde_json::Value::from(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        if header.len() as u64 > MAX_HEADER {
            return refuse(format!("a header of {} bytes is above {MAX_HEADER}", header.len()));
        }

        write_atomic(path, |file| {
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            for (_, tensor) in tensors {
                match tensor.dtype {
                    DType::Bool => {
                        let bytes: Vec<u8> = bool::load(&tensor.bytes).into_iter().map(u8::from).collect();
                        file.write_all(&bytes)?;
                    }
                    _ => file.write_all(&tensor.bytes)?,
                }
            }
            Ok(())
        })
    }

    /// Compares names and shapes with those a model expects. [`Error::Keys`] lists everything that
    /// is missing, unexpected or of another shape; `path` is the file to name in it.
    pub fn check(&self, path: impl AsRef<Path>, expected: &BTreeMap<String, Vec<usize>>) -> Result<()> {
        let missing: Vec<_> =
            expected.keys().filter(|&key| !self.tensors.contains_key(key)).cloned().collect();
        let unexpected: Vec<_> =
            self.tensors.keys().filter(|&key| !expected.contains_key(key)).cloned().collect();
        let mismatched: Vec<_> = expected
            .iter()
            .filter_map(|(key, model)| {
                let file = &self.tensors.get(key)?.shape;
                (file != model).then(|| format!("{key}: file {file:?}, model {model:?}"))
            })
            .collect();
        if missing.is_empty() && unexpected.is_empty() && mismatched.is_empty() {
            return Ok(());
        }
        Err(Error::Keys { path: path.as_ref().to_path_buf(), missing, unexpected, mismatched })
    }
}
