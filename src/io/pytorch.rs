//! PyTorch's checkpoints.

use super::pickle::{Id, Pickle, Value, kind};
use super::zip;
use super::{HostTensor, StateDict};
use crate::{Error, Result};
use safetensors::tensor::Dtype;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// How a file of the form before PyTorch 1.6 begins: a pickle of one number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The keys under which training scripts put a model's state dict.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// What data parallel training puts before each name.
const PARALLEL: &str = "module.";

/// Whether bytes begin like a PyTorch checkpoint.
pub(super) fn is_pytorch(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(LEGACY)
}

impl StateDict {
    /// Reads the state dict in a checkpoint made by PyTorch's `torch.save`, in the zip archive that
    /// it writes or the form before version 1.6; `path` is only named in errors.
    ///
    /// The pickle in it is read as data: nothing runs, and a class that state dicts do not consist
    /// of is an error that names it. A checkpoint of a training run is looked into (`state_dict`,
    /// `model_state_dict`, `model`); the prefix `module.` on every name, from data parallel
    /// training, is left out. Tensors become row-major, and their types those of
    /// [`load`](StateDict::load). Memory is bounded by a multiple of the file's size.
    pub fn read_pytorch(bytes: &[u8], path: &Path) -> Result<StateDict> {
        let tensors = if bytes.starts_with(LEGACY) { legacy(bytes) } else { archive(bytes) };
        let tensors = tensors.map_err(|message| Error::file(path, message))?;
        Ok(StateDict { tensors, ..StateDict::default() })
    }
}

type Tensors = BTreeMap<String, HostTensor>;

fn archive(bytes: &[u8]) -> Result<Tensors, String> {
    let entries = zip::entries(bytes)?;
    let folder = entries.keys().find_map(|name| name.strip_suffix("data.pkl"));
    let folder = folder.ok_or("a zip archive without data.pkl: not a checkpoint of PyTorch")?;
    let entry = |name: &str| entries.get(format!("{folder}{name}").as_str()).copied();
    if entry("byteorder").is_some_and(|order| order != b"little") {
        return Err(BIG_ENDIAN.into());
    }
    let mut rest = entry("data.pkl").unwrap_or_default();
    let pickle = Pickle::read(&mut rest, allowed)?;
    let storages = entries
        .iter()
        .filter_map(|(name, data)| Some((name.strip_prefix(folder)?.strip_prefix("data/")?, *data)));
    Checkpoint { pickle, storages: storages.collect(), budget: 4 * bytes.len() }.tensors()
}

fn legacy(bytes: &[u8]) -> Result<Tensors, String> {
    let mut rest = &bytes[LEGACY.len()..];
    Pickle::read(&mut rest, allowed)?; // The version of the form.
    let system = Pickle::read(&mut rest, allowed)?;
    let little = system.dict(system.root)?.iter().any(|&(key, value)| {
        system.text(key) == Ok("little_endian") && matches!(system.values[value], Value::Bool(true))
    });
    if !little {
        return Err(BIG_ENDIAN.into());
    }
    let pickle = Pickle::read(&mut rest, allowed)?;
    let sizes = pickle.storage_sizes()?;

    // The keys of the storages in the order of what follows: of each the number of elements and the bytes.
    let keys = Pickle::read(&mut rest, allowed)?;
    let Value::List(order) = &keys.values[keys.root] else { return Err("no list of storages".into()) };
    let mut storages = HashMap::new();
    for &key in order {
        let key = keys.text(key)?;
        let size = sizes.get(key).ok_or_else(|| format!("storage {key:?} belongs to no tensor"))?;
        let (count, data) = rest.split_first_chunk::<8>().ok_or("truncated")?;
        let count =
            usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(*size));
        let data = count.and_then(|count| data.split_at_checked(count));
        let (data, after) = data.ok_or_else(|| format!("storage {key:?} is truncated"))?;
        storages.insert(key, data);
        rest = after;
    }
    Checkpoint { pickle, storages, budget: 4 * bytes.len() }.tensors()
}

const BIG_ENDIAN: &str = "a checkpoint from a big-endian machine";

/// The type of a storage's elements, and their size.
fn element(class: &str) -> Option<(Dtype, usize)> {
    Some(match class {
        "FloatStorage" => (Dtype::F32, 4),
        "DoubleStorage" => (Dtype::F64, 8),
        "HalfStorage" => (Dtype::F16, 2),
        "BFloat16Storage" => (Dtype::BF16, 2),
        "LongStorage" => (Dtype::I64, 8),
        "IntStorage" => (Dtype::I32, 4),
        "ByteStorage" => (Dtype::U8, 1),
        "BoolStorage" => (Dtype::BOOL, 1),
        _ => return None,
    })
}

fn allowed(module: &str, name: &str) -> bool {
    match module {
        "collections" => name == "OrderedDict",
        "torch._utils" => ["_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_parameter"].contains(&name),
        "torch" => name == "Size" || element(name).is_some(),
        _ => false,
    }
}

/// A storage as a pickle describes it.
struct Storage<'a> {
    key: &'a str,
    dtype: Dtype,
    /// Bytes of an element.
    size: usize,
}

impl<'a> Pickle<'a> {
    fn dict(&self, id: Id) -> Result<&[(Id, Id)], String> {
        match &self.values[id] {
            Value::Dict(entries) => Ok(entries),
            other => Err(format!("expected a dict of tensors, found {}", kind(other))),
        }
    }

    /// From the key `("storage", class, key, location, elements)` of a persistent value; the older
    /// form may have a view of another storage after that.
    fn storage(&self, key: Id) -> Result<Storage<'a>, String> {
        let parts = self.tuple(key, 5)?;
        let Value::Global("torch", class) = self.values[parts[1]] else {
            return Err("a storage without a class".into());
        };
        let (dtype, size) = element(class).ok_or_else(|| format!("torch.{class} is no storage"))?;
        if parts.get(5).is_some_and(|&view| !matches!(self.values[view], Value::None)) {
            return Err("a storage that is a view of another one".into());
        }
        Ok(Storage { key: self.text(parts[2])?, dtype, size })
    }

    /// The bytes of an element of each storage.
    fn storage_sizes(&self) -> Result<HashMap<&'a str, usize>, String> {
        let keys = self.values.iter().filter_map(|value| match value {
            Value::Persistent(key) => Some(*key),
            _ => None,
        });
        keys.map(|key| self.storage(key).map(|storage| (storage.key, storage.size))).collect()
    }
}

struct Checkpoint<'a> {
    pickle: Pickle<'a>,
    storages: HashMap<&'a str, &'a [u8]>,
    /// Elements that may still be read: tensors can share a storage, and a few bytes would fill any memory.
    budget: usize,
}

impl Checkpoint<'_> {
    fn tensors(mut self) -> Result<Tensors, String> {
        let mut dict = self.pickle.root;
        // A dict can hold itself: the depth is bounded.
        for _ in 0..4 {
            let entries = self.pickle.dict(dict)?;
            let inner = NESTED.iter().find_map(|name| {
                let named = |&&(key, value): &&(Id, Id)| {
                    self.pickle.text(key) == Ok(name) && matches!(self.pickle.values[value], Value::Dict(_))
                };
                entries.iter().find(named)
            });
            match inner {
                Some(&(_, inner)) => dict = inner,
                None => break,
            }
        }
        let entries = self.pickle.dict(dict)?.to_vec();
        let names = entries.iter().map(|&(key, _)| self.pickle.text(key)).collect::<Result<Vec<_>, _>>()?;
        let parallel = names.iter().all(|name| name.starts_with(PARALLEL));
        let mut tensors = BTreeMap::new();
        for (name, (_, value)) in names.iter().zip(entries) {
            let tensor = self.tensor(value).map_err(|message| format!("{name:?}: {message}"))?;
            tensors.insert(name[if parallel { PARALLEL.len() } else { 0 }..].to_string(), tensor);
        }
        Ok(tensors)
    }

    /// The tensor that a call would rebuild.
    fn tensor(&mut self, mut id: Id) -> Result<HostTensor, String> {
        let pickle = &self.pickle;
        // A parameter is a tensor with a flag; each call's arguments lie before it.
        let arguments = loop {
            let (function, arguments) = match &pickle.values[id] {
                Value::Call(function, arguments) => (&pickle.values[*function], *arguments),
                other => return Err(format!("expected a tensor, found {}", kind(other))),
            };
            match function {
                Value::Global("torch._utils", "_rebuild_parameter") => id = pickle.tuple(arguments, 1)?[0],
                Value::Global("torch._utils", _) => break pickle.tuple(arguments, 4)?,
                _ => return Err("expected a tensor".into()),
            }
        };
        let Value::Persistent(key) = pickle.values[arguments[0]] else {
            return Err("a tensor without a storage".into());
        };
        let storage = pickle.storage(key)?;
        let sizes = |id| {
            // A shape may be given as `torch.Size(tuple)`.
            let id = match pickle.values[id] {
                Value::Call(_, arguments) => pickle.tuple(arguments, 1)?[0],
                _ => id,
            };
            pickle.tuple(id, 0)?.iter().map(|&size| pickle.size(size)).collect::<Result<Vec<_>, _>>()
        };
        let (offset, shape, strides) =
            (pickle.size(arguments[1])?, sizes(arguments[2])?, sizes(arguments[3])?);
        let elements = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let Some((elements, left)) =
            elements.and_then(|count| Some((count, self.budget.checked_sub(count)?)))
        else {
            return Err(format!("a tensor of shape {shape:?} holds more than such a file can"));
        };
        let data = self
            .storages
            .get(storage.key)
            .ok_or_else(|| format!("storage {:?} is not in the file", storage.key))?;
        let raw = gather(data, storage.size, offset, &shape, &strides, elements)?;
        self.budget = left;
        HostTensor::decode(storage.dtype, &shape, raw)
    }
}

/// The elements, of `size` bytes each, that shape and strides pick from a storage, row-major.
fn gather(
    data: &[u8],
    size: usize,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
    elements: usize,
) -> Result<Vec<u8>, String> {
    if shape.len() != strides.len() {
        return Err(format!("shape {shape:?} and strides {strides:?} are of different ranks"));
    }
    if elements == 0 {
        return Ok(Vec::new());
    }
    let last = shape.iter().zip(strides).try_fold(offset, |last, (&count, &stride)| {
        stride.checked_mul(count - 1).and_then(|step| last.checked_add(step))
    });
    if last.is_none_or(|last| last >= data.len() / size) {
        let message = "does not lie within its storage of";
        return Err(format!(
            "shape {shape:?} with strides {strides:?} from element {offset} on {message} {} elements",
            data.len() / size
        ));
    }
    let mut raw = Vec::with_capacity(elements * size);
    let mut index = vec![0; shape.len()];
    let mut at = offset;
    // Runs that lie together are copied as one.
    let run = match (shape.last(), strides.last()) {
        (Some(&count), Some(1)) => count,
        _ => 1,
    };
    for _ in 0..elements / run {
        raw.extend_from_slice(&data[at * size..(at + run) * size]);
        // The next place, from the last dimension that is not part of the run.
        for axis in (0..shape.len() - usize::from(run > 1)).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    Ok(raw)
}
