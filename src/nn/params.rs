//! The registry of a model's parameters, by path.

use super::Init;
use crate::io::{HostTensor, StateDict};
use crate::ops::recompute::recompute;
use crate::tensor::replays;
use crate::{Engine, Error, IntoShape, Result, Tensor, eval, no_grad};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::Div;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The parameters of a model: a registry and a path in it.
///
/// A layer registers its parameters under the path it is given, `&params / "layers" / 0`; names
/// are those of PyTorch's state dicts, parts joined by dots. Cloning copies the handle. Methods that
/// list, save or load parameters are about those below this path and name them from there on.
///
/// ```
/// use kiln::nn::{Init, Params};
/// let params = Params::new(&kiln::Engine::cpu(), 7);
/// let fc = &params / "fc1";
/// fc.parameter("weight", [10, 784], Init::weight())?;
/// assert_eq!(params.named()[0].0, "fc1.weight");
/// assert_eq!((params.count(), fc.named()[0].0.as_str()), (7840, "weight"));
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone)]
pub struct Params {
    registry: Arc<Registry>,
    path: String,
}

struct Registry {
    engine: Engine,
    seed: u64,
    /// In the order of construction.
    entries: Mutex<Vec<Param>>,
    training: AtomicBool,
    draws: AtomicU64,
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Params({:?}, {} tensors)", self.path, self.named().len())
    }
}

impl<T: Display> Div<T> for &Params {
    type Output = Params;

    /// The path one part further down.
    fn div(self, part: T) -> Params {
        Params { registry: self.registry.clone(), path: join(&self.path, &part.to_string()) }
    }
}

impl<T: Display> Div<T> for Params {
    type Output = Params;

    fn div(self, part: T) -> Params {
        &self / part
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

impl Params {
    /// An empty registry in training mode. Everything random in the model follows from `seed`.
    pub fn new(engine: &Engine, seed: u64) -> Params {
        let registry = Registry {
            engine: engine.clone(),
            seed,
            entries: Mutex::default(),
            training: AtomicBool::new(true),
            draws: AtomicU64::new(0),
        };
        Params { registry: Arc::new(registry), path: String::new() }
    }

    /// The engine its tensors belong to.
    pub fn engine(&self) -> &Engine {
        &self.registry.engine
    }

    /// Registers an `f32` tensor to be trained. Its random values depend on the registry's seed and
    /// its path alone, so adding a layer does not change the others. An error where the path is
    /// taken, or the initial values do not fit the shape.
    pub fn parameter(&self, name: &str, shape: impl IntoShape, init: Init) -> Result<Param> {
        let path = join(&self.path, name);
        let seed = stream(self.registry.seed, path.as_bytes());
        let value = init.tensor(shape.into_shape()?, seed, self.engine())?;
        self.register(path, seed, true, &value)
    }

    /// Registers a tensor that is saved with the model but not trained, such as running statistics.
    /// An error where the path is taken.
    pub fn buffer(&self, name: &str, value: Tensor) -> Result<Param> {
        self.register(join(&self.path, name), 0, false, &value)
    }

    fn register(&self, path: String, seed: u64, trained: bool, value: &Tensor) -> Result<Param> {
        let value = RwLock::new(held(value, trained)?);
        let mut entries = self.registry.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.iter().any(|param| param.path() == path) {
            return Err(Error::op("params", format!("there is already a parameter {path:?}")));
        }
        let param = Param(Arc::new(Inner { path, seed, trained, value, computed: Mutex::default() }));
        entries.push(param.clone());
        Ok(param)
    }

    /// Every tensor below this path with its name, in the order of construction.
    pub fn named(&self) -> Vec<(String, Param)> {
        let entries = self.registry.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let below = |param: &Param| match param.path().strip_prefix(self.path.as_str())? {
            rest if self.path.is_empty() => Some(rest.to_string()),
            rest => rest.strip_prefix('.').map(str::to_string),
        };
        entries.iter().filter_map(|param| Some((below(param)?, param.clone()))).collect()
    }

    /// As [`named`](Params::named), of the tensors that are trained.
    pub fn trainable(&self) -> Vec<(String, Param)> {
        let mut named = self.named();
        named.retain(|(_, param)| param.is_trained());
        named
    }

    /// The number of trained scalars below this path.
    pub fn count(&self) -> usize {
        self.trainable().iter().map(|(_, param)| param.get().elements()).sum()
    }

    /// Puts the whole model in training mode: dropout drops, batch norm uses and follows the
    /// statistics of its batch.
    pub fn train(&self) {
        self.registry.training.store(true, Ordering::Relaxed);
    }

    /// Puts the whole model in evaluation mode: a sample's result depends on nothing but the sample.
    pub fn eval(&self) {
        self.registry.training.store(false, Ordering::Relaxed);
    }

    /// Whether the model is in training mode.
    pub fn is_training(&self) -> bool {
        self.registry.training.load(Ordering::Relaxed)
    }

    /// A seed for the next random draw of the forward pass: the `n`-th one depends on the
    /// registry's seed and `n` alone.
    pub fn next_seed(&self) -> u64 {
        let draw = self.registry.draws.fetch_add(1, Ordering::Relaxed);
        // No path starts with a byte that UTF-8 does not have.
        let mut bytes = [0xff; 9];
        bytes[1..].copy_from_slice(&draw.to_le_bytes());
        stream(self.registry.seed, &bytes)
    }

    /// How many seeds [`next_seed`](Params::next_seed) has given.
    pub(crate) fn draws(&self) -> u64 {
        self.registry.draws.load(Ordering::Relaxed)
    }

    /// Goes on as after that many seeds.
    pub(crate) fn set_draws(&self, draws: u64) {
        self.registry.draws.store(draws, Ordering::Relaxed);
    }

    /// What `layer` makes of `x`, of which nothing but the result is kept for the gradient: that runs the layer
    /// once more, for less memory (Chen et al. 2016, arXiv:1604.06174). PyTorch's `torch.utils.checkpoint`.
    ///
    /// The parameters that the layer trains must be registered here; random draws come out the same, and
    /// running statistics move once. An error where the layer gives one; [`backward`](Tensor::backward) gives
    /// one where the layer depends on trained tensors from elsewhere, or parameters have changed since.
    ///
    /// ```
    /// use kiln::nn::{Linear, Module, Params};
    /// use kiln::{Engine, Tensor};
    /// use std::sync::Arc;
    /// let params = Params::new(&Engine::cpu(), 0);
    /// let layer = Arc::new(Linear::new(&(&params / "fc"), 4, 4)?);
    /// let x = Tensor::ones([2, 4], params.engine())?;
    /// let y = params.checkpoint(&x, move |x| layer.forward(x)?.tanh())?;
    /// let gradients = y.sum(.., false)?.backward()?;
    /// assert!(params.trainable().iter().all(|(_, param)| gradients.get(&param.get()).is_some()));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn checkpoint(
        &self,
        x: &Tensor,
        layer: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        let trained: Vec<Param> = self.trainable().into_iter().map(|(_, param)| param).collect();
        let tensors: Vec<Tensor> = trained.iter().map(Param::get).collect();
        // Not the tensors, which could then not be updated in place.
        let then: Vec<u64> = tensors.iter().map(Tensor::id).collect();
        let (params, first_draw) = (self.clone(), self.draws());
        recompute(&[x], &tensors, move |x| {
            if !replays() {
                return layer(&x[0]);
            }
            let mut pairs = trained.iter().zip(&then);
            if let Some((param, _)) = pairs.find(|(param, then)| param.get().id() != **then) {
                let message = format!("{:?} has changed since the layer ran", param.path());
                return Err(Error::op("checkpoint", message));
            }
            let next_draw = params.draws();
            params.set_draws(first_draw);
            let again = layer(&x[0]);
            params.set_draws(next_draw);
            again
        })
    }

    /// The running statistics of the whole model, for an optimiser to compute with its step.
    pub(crate) fn buffers(&self) -> Vec<Tensor> {
        let entries = self.registry.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|param| !param.is_trained()).map(Param::get).collect()
    }

    /// Takes back running statistics that could not be computed.
    pub(crate) fn restore_buffers(&self) {
        let entries = self.registry.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().for_each(Param::restore);
    }

    /// A copy in host memory of everything below this path. Waits for the device.
    pub fn state_dict(&self) -> Result<StateDict> {
        let values: Vec<_> = self.named().into_iter().map(|(name, param)| (name, param.get())).collect();
        eval(values.iter().map(|(_, value)| value))?;
        let tensors = values.into_iter().map(|(name, value)| Ok((name, to_host(&value)?)));
        Ok(StateDict { tensors: tensors.collect::<Result<_>>()?, ..StateDict::default() })
    }

    /// Sets everything below this path from a state dict; `path` is the file to name in an error.
    ///
    /// [`Error::Keys`] lists everything that is missing, unexpected or of another shape; a tensor
    /// of another kind of numbers is an error too. After an error nothing has changed.
    pub fn load_state_dict(&self, state: &StateDict, path: impl AsRef<Path>) -> Result<()> {
        self.load_where(state, path.as_ref(), |_| true)
    }

    /// As [`load_state_dict`](Params::load_state_dict), of the names that are `wanted`; it does not
    /// matter whether the state dict has the others.
    pub(crate) fn load_where(
        &self,
        state: &StateDict,
        path: &Path,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let (named, others): (Vec<_>, Vec<_>) = self.named().into_iter().partition(|(name, _)| wanted(name));
        let expected = named.iter().map(|(name, param)| (name.clone(), param.get().dims().to_vec()));
        let found = |name: String| Some((state.tensors.get(&name)?.shape.clone(), name));
        let others =
            others.into_iter().filter_map(|(name, _)| found(name)).map(|(shape, name)| (name, shape));
        state.check(path, &expected.chain(others).collect())?;
        let values = named
            .iter()
            .map(|(name, param)| from_host(name, &state.tensors[name], &param.get(), path))
            .collect::<Result<Vec<_>>>()?;
        named.iter().zip(values).try_for_each(|((_, param), value)| param.set(value))
    }

    /// Writes everything below this path to a safetensors file, with text such as the architecture
    /// and the names of the classes. The file holds its old content until the new one is complete.
    pub fn save(&self, path: impl AsRef<Path>, metadata: BTreeMap<String, String>) -> Result<()> {
        StateDict { metadata, ..self.state_dict()? }.save(path)
    }

    /// Sets everything below this path from a safetensors file, as
    /// [`load_state_dict`](Params::load_state_dict), and returns the file's metadata.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
        let state = StateDict::load(&path)?;
        self.load_state_dict(&state, path)?;
        Ok(state.metadata)
    }
}

/// A handle to one tensor of a model; clones share it.
#[derive(Clone)]
pub struct Param(Arc<Inner>);

struct Inner {
    path: String,
    seed: u64,
    trained: bool,
    value: RwLock<Tensor>,
    /// Of a running statistic: the last value before this one that was computed, or the first one.
    computed: Mutex<Option<Tensor>>,
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Param({:?}, {:?})", self.path(), self.get())
    }
}

impl Param {
    /// The path from the registry's root.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Whether optimisers train it.
    pub fn is_trained(&self) -> bool {
        self.0.trained
    }

    /// The current value; a leaf that gradients are computed for if it is trained.
    pub fn get(&self) -> Tensor {
        self.0.value.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the value; the new one's own history is cut off. An error where shape, dtype or
    /// engine differ.
    pub fn set(&self, value: Tensor) -> Result<()> {
        let old = self.get();
        let (given, wanted) = ((value.shape(), value.dtype()), (old.shape(), old.dtype()));
        if given != wanted {
            let message =
                format!("{} is {} {}, not {} {}", self.path(), wanted.1, wanted.0, given.1, given.0);
            return Err(Error::op("params", message));
        }
        if !value.engine().same(old.engine()) {
            let message = format!("the new value of {} belongs to another engine", self.path());
            return Err(Error::op("params", message));
        }
        let value = held(&value, self.is_trained())?;
        if !self.is_trained() {
            let mut computed = self.0.computed.lock().unwrap_or_else(PoisonError::into_inner);
            if computed.is_none() || old.is_computed() {
                *computed = Some(old);
            }
        }
        *self.0.value.write().unwrap_or_else(PoisonError::into_inner) = value;
        Ok(())
    }

    /// Goes back to the last running statistic that was computed, if this one is not.
    fn restore(&self) {
        let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
        let computed = self.0.computed.lock().unwrap_or_else(PoisonError::into_inner);
        if let (false, Some(computed)) = (value.is_computed(), &*computed) {
            *value = computed.clone();
        }
    }

    /// Starts over with other initial values, drawn from the same random stream. An error where
    /// they do not fit the shape.
    pub fn init(&self, init: Init) -> Result<()> {
        let old = self.get();
        self.set(init.tensor(*old.shape(), self.0.seed, old.engine())?)
    }
}

/// The form in which a registry holds a value: without gaps, and a leaf.
fn held(value: &Tensor, trained: bool) -> Result<Tensor> {
    let value = no_grad(|| value.contiguous())?.detach();
    if trained { value.variable() } else { Ok(value) }
}

/// A seed from another seed and a name: 64-bit FNV-1a, the same in every version and on every
/// machine.
fn stream(seed: u64, name: &[u8]) -> u64 {
    let bytes = seed.to_le_bytes();
    bytes.iter().chain(name).fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A tensor's copy in host memory.
pub(crate) fn to_host(tensor: &Tensor) -> Result<HostTensor> {
    Ok(HostTensor { dtype: tensor.dtype(), shape: tensor.dims().to_vec(), bytes: tensor.to_bytes()? })
}

/// The tensor called `name` in file `path`, in the dtype of the one it replaces.
pub(crate) fn from_host(name: &str, host: &HostTensor, old: &Tensor, path: &Path) -> Result<Tensor> {
    let (given, wanted) = (host.dtype, old.dtype());
    if given != wanted && !(given.is_float() && wanted.is_float()) {
        return Err(Error::file(path, format!("tensor {name:?} is {given}, expected {wanted}")));
    }
    Tensor::from_bytes(&host.bytes, given, host.shape.clone(), old.engine())?.cast(wanted)
}
