//! The cases as the fixtures describe them.

use kiln::io::{HostTensor, StateDict};
use kiln::{Engine, Result, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A set of cases, with the tensors they name.
pub struct Cases {
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Index {
    format: u32,
    tensors: String,
    cases: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    op: String,
    attrs: Map<String, Value>,
    inputs: Vec<Input>,
    outputs: Vec<Expected>,
    #[serde(default)]
    second_order: bool,
    #[serde(default)]
    tags: Vec<String>,
}

/// One case.
pub struct Case {
    pub name: String,
    pub op: String,
    pub attrs: Map<String, Value>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Expected>,
    /// The gradients are those of the squared first gradients' sum.
    pub second_order: bool,
    /// Some inputs are denormal numbers.
    pub denormal: bool,
    store: Arc<StateDict>,
}

#[derive(Deserialize)]
pub struct Input {
    /// The argument's name in the PyTorch function.
    pub arg: String,
    tensor: String,
    #[serde(default)]
    view: Vec<Step>,
    pub grad: Option<Expected>,
}

/// A step from the stored tensor to what the op sees.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Permute(Vec<isize>),
    /// Dimension, start, end, step.
    Slice(isize, usize, usize, usize),
    Expand(Vec<usize>),
    Unsqueeze(isize),
}

/// A tensor to compare with.
#[derive(Deserialize)]
pub struct Expected {
    tensor: String,
    pub rtol: f64,
    pub atol: f64,
    /// The gradient to feed into this output.
    pub upstream: Option<String>,
}

impl Cases {
    /// Reads the repository's cases, or those of the folder that `KILN_FIXTURES` names.
    pub fn load() -> Result<Cases, String> {
        let folder = match std::env::var_os("KILN_FIXTURES") {
            Some(folder) => {
                let folder = PathBuf::from(folder);
                let inner = folder.join("ops");
                if inner.is_dir() { inner } else { folder }
            }
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fixtures/ops"),
        };
        let path = folder.join("cases.json");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let index: Index =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if index.format != 1 {
            return Err(format!("{}: format {}, expected 1", path.display(), index.format));
        }
        let store = StateDict::load(folder.join(&index.tensors)).map_err(|error| error.to_string())?;
        let store = Arc::new(store);
        let case = |entry: Entry| Case {
            name: entry.name,
            op: entry.op,
            attrs: entry.attrs,
            inputs: entry.inputs,
            outputs: entry.outputs,
            second_order: entry.second_order,
            denormal: entry.tags.iter().any(|tag| tag == "denormal"),
            store: store.clone(),
        };
        Ok(Cases { cases: index.cases.into_iter().map(case).collect() })
    }
}

impl Case {
    /// The stored tensor of this name.
    pub fn stored(&self, key: &str) -> Result<&HostTensor> {
        let lost = || kiln::Error::op("fixtures", format!("the tensor {key:?} is not in the file"));
        self.store.tensors.get(key).ok_or_else(lost)
    }

    /// The tensor to compare with.
    pub fn expected(&self, expected: &Expected) -> Result<&HostTensor> {
        self.stored(&expected.tensor)
    }

    /// The stored tensor of this name, on an engine.
    pub fn upload(&self, key: &str, engine: &Engine) -> Result<Tensor> {
        let host = self.stored(key)?;
        Tensor::from_bytes(&host.bytes, host.dtype, &host.shape[..], engine)
    }

    /// The stored inputs, those whose gradient is checked as variables.
    pub fn leaves(&self, engine: &Engine) -> Result<Vec<Tensor>> {
        let leaf = |input: &Input| {
            let leaf = self.upload(&input.tensor, engine)?;
            if input.grad.is_some() { leaf.variable() } else { Ok(leaf) }
        };
        self.inputs.iter().map(leaf).collect()
    }
}

impl Input {
    /// What the op sees of the stored tensor.
    pub fn viewed(&self, leaf: &Tensor) -> Result<Tensor> {
        self.view.iter().try_fold(leaf.clone(), |x, step| match step {
            Step::Permute(order) => x.permute(order),
            Step::Slice(dim, start, end, by) => x.slice(*dim, *start, *end, *by),
            Step::Expand(shape) => x.broadcast_to(&shape[..]),
            Step::Unsqueeze(at) => x.unsqueeze(*at),
        })
    }
}
