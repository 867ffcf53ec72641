//! Compute pipelines, each made once.

use super::adapter;
use super::branches::without_dead_branches;
use super::compiled::Compiled;
use super::context::{Context, lock};
use super::rehearsal::Rehearsal;
use crate::device::specialise::{divisible, specialise};
use crate::device::{DeviceKind, Kernel, Shader};
use crate::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use wgpu::ShaderSource;

/// A compiled kernel and the shape of its one bind group.
pub(super) struct Pipeline {
    pub compute: wgpu::ComputePipeline,
    pub group: wgpu::BindGroupLayout,
    /// Whether a dispatch may be cut into several: the last binding then is the number of the
    /// first workgroup.
    pub divisible: bool,
}

/// The binding of a divisible kernel's `first_group`.
pub(super) const FIRST_GROUP_BYTES: u64 = 16;

/// The entry of a bind group for some bytes of a buffer.
pub(super) fn group_entry(
    binding: usize,
    buffer: &wgpu::Buffer,
    offset: u64,
    bytes: u64,
) -> wgpu::BindGroupEntry<'_> {
    let size = wgpu::BufferSize::new(bytes);
    let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
    wgpu::BindGroupEntry { binding: binding as u32, resource }
}

/// All that a pipeline depends on; sizes and strides are no part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    shader: Shader,
    constants: Vec<(&'static str, Cow<'static, str>)>,
    /// For each storage binding, whether it is read only.
    read_only: Vec<bool>,
}

impl Key {
    fn of(kernel: &Kernel) -> Key {
        Key {
            shader: kernel.shader.clone(),
            constants: kernel.constants.clone(),
            read_only: kernel.bindings.iter().map(|b| b.read_only()).collect(),
        }
    }
}

/// A pipeline or why there is none; set by whoever comes first while the others wait.
type Slot = Arc<OnceLock<Result<Arc<Pipeline>, String>>>;

/// Which kernels are compiled without bounds checks, loop bounds and division guards.
#[derive(Clone, Copy)]
pub(super) enum Trust {
    None,
    /// Those whose shader says so: see [`Shader::unchecked`].
    Marked,
    All,
}

/// All pipelines of a device.
pub(super) struct Pipelines {
    pub(super) compiler: Arc<Compiler>,
    pub(super) slots: Mutex<HashMap<Key, Slot>>,
    /// Whether a kernel was asked for that nobody had prepared: others are likely to follow.
    surprised: AtomicBool,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Pipelines {
    pub fn new(
        context: Arc<Context>,
        trust: Trust,
        compiled: Option<Compiled>,
        rehearsal: Option<Rehearsal>,
    ) -> Pipelines {
        let stopped = AtomicBool::new(false);
        let wide = adapter::kind(&context.device.adapter_info()) == DeviceKind::SoftwareGpu
            && context.device.features().contains(wgpu::Features::SHADER_INT64);
        let compiler = Arc::new(Compiler { context, trust, wide, compiled, rehearsal, stopped });
        Pipelines {
            compiler,
            slots: Mutex::default(),
            surprised: AtomicBool::new(false),
            workers: Mutex::default(),
        }
    }

    /// The pipeline of `kernel`, compiled at the first call for its key; its params take
    /// `params` bytes.
    pub fn get(&self, kernel: &Kernel, params: u64) -> Result<Arc<Pipeline>> {
        let (slot, prepared) = match lock(&self.slots).entry(Key::of(kernel)) {
            Entry::Occupied(known) => (Arc::clone(known.get()), true),
            Entry::Vacant(unknown) => {
                self.surprised.store(true, Ordering::Relaxed);
                (Arc::clone(unknown.insert(Slot::default())), false)
            }
        };
        let pipeline = self.compiler.fill(&slot, kernel, params, prepared);
        pipeline.map_err(|message| self.compiler.context.error(message))
    }

    /// Begins to compile what there is no pipeline for among `kernels` and their params' sizes, on threads of
    /// its own and in this order; where the last kernels asked for were all known, nothing is looked at. Who
    /// needs a pipeline before its turn compiles it.
    pub fn prepare(&self, kernels: impl Iterator<Item = (Kernel, u64)>) {
        if !self.surprised.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut missing = Vec::new();
        for (kernel, params) in kernels {
            if let Entry::Vacant(unknown) = lock(&self.slots).entry(Key::of(&kernel)) {
                missing.push((Arc::clone(unknown.insert(Slot::default())), kernel, params));
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(missing.len());
        let (missing, next) = (Arc::new(missing), Arc::new(AtomicUsize::new(0)));
        let mut workers = lock(&self.workers);
        workers.retain(|worker| !worker.is_finished());
        for _ in 0..threads {
            let (compiler, missing, next) =
                (Arc::clone(&self.compiler), Arc::clone(&missing), Arc::clone(&next));
            let work = move || {
                while !compiler.stopped.load(Ordering::Relaxed)
                    && let Some((slot, kernel, params)) = missing.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    // What fails is reported to whoever asks for it.
                    let _ = compiler.fill(slot, kernel, *params, true);
                }
                if let Some(rehearsal) = &compiler.rehearsal {
                    rehearsal.end();
                }
            };
            // Without a thread, pipelines are compiled when they are asked for.
            workers.extend(std::thread::Builder::new().name("kiln-compile".into()).spawn(work));
        }
    }
}

impl Drop for Pipelines {
    /// No driver is left compiling in a program that is about to end.
    fn drop(&mut self) {
        self.compiler.stopped.store(true, Ordering::Relaxed);
        for worker in lock(&self.workers).drain(..) {
            // A panic was printed, and its pipeline left to others.
            let _ = worker.join();
        }
    }
}

/// What makes pipelines, on any thread.
pub(super) struct Compiler {
    context: Arc<Context>,
    trust: Trust,
    /// Whether vectors are read by halves of 64 bits.
    wide: bool,
    compiled: Option<Compiled>,
    pub(super) rehearsal: Option<Rehearsal>,
    stopped: AtomicBool,
}

impl Compiler {
    /// The pipeline of a slot, which is compiled unless that was begun elsewhere.
    fn fill(
        &self,
        slot: &Slot,
        kernel: &Kernel,
        params: u64,
        prepared: bool,
    ) -> Result<Arc<Pipeline>, String> {
        let result = slot.get_or_init(|| {
            self.compile(kernel, params, prepared).map(Arc::new).map_err(|error| match error {
                Error::Device { device, message } => format!("{device}: {message}"),
                error => error.to_string(),
            })
        });
        result.clone()
    }

    /// What was prepared is rehearsed first.
    fn compile(&self, kernel: &Kernel, params: u64, prepared: bool) -> Result<Pipeline> {
        let name = kernel.shader.name.as_ref();
        let source = specialise(kernel)?;
        if let Some(folder) = std::env::var_os("KILN_DUMP_SHADERS") {
            dump(folder.as_ref(), name, &source)?;
        }
        let divisible = divisible(&source);
        let make = |source| {
            self.context.guard(|| self.make(&self.context.device, kernel, source, params, divisible))
        };
        let short =
            without_dead_branches(&source, self.wide).map(|module| ShaderSource::Naga(Cow::Owned(module)));
        if let (true, Some(rehearsal), Some(short)) = (prepared, &self.rehearsal, &short) {
            rehearsal
                .play(kernel, params, |device| self.make(device, kernel, short.clone(), params, divisible));
        }
        // What fails is reported by lines of the text.
        let made = short.and_then(|short| make(short).ok());
        let made = made.map_or_else(|| make(ShaderSource::Wgsl(source.into())), Ok);
        made.map_err(|error| Error::device(format!("shader {name}"), error.to_string()))
    }

    /// The pipeline of a kernel's specialised shader.
    pub fn make(
        &self,
        device: &wgpu::Device,
        kernel: &Kernel,
        source: ShaderSource,
        params: u64,
        divisible: bool,
    ) -> Pipeline {
        let name = kernel.shader.name.as_ref();
        let desc = wgpu::ShaderModuleDescriptor { label: Some(name), source };
        let trusted = match self.trust {
            Trust::None => false,
            Trust::Marked => kernel.shader.trusted(),
            Trust::All => true,
        };
        let module = if trusted {
            // SAFETY: a shader that was declared to stay within its buffers and to end its loops, or the
            // user's explicit wish.
            unsafe { device.create_shader_module_trusted(desc, wgpu::ShaderRuntimeChecks::unchecked()) }
        } else {
            device.create_shader_module(desc)
        };
        use wgpu::BufferBindingType::{Storage, Uniform};
        let entry = |binding: usize, ty, min_binding_size| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: ty == Uniform, min_binding_size },
            count: None,
        };
        // With the size known here, too few params fail now and not in the middle of a submit.
        let mut entries = vec![entry(0, Uniform, wgpu::BufferSize::new(params))];
        for (place, binding) in kernel.bindings.iter().enumerate() {
            let read_only = binding.read_only();
            entries.push(entry(place + 1, Storage { read_only }, None));
        }
        if divisible {
            entries.push(entry(entries.len(), Uniform, wgpu::BufferSize::new(FIRST_GROUP_BYTES)));
        }
        let group = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(name),
            entries: &entries,
        });
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&group)],
            immediate_size: 0,
        });
        let compute = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // A kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: self
                .compiled
                .as_ref()
                .map(|compiled| &compiled.cache)
                .filter(|_| device == &self.context.device),
        });
        Pipeline { compute, group, divisible }
    }
}

/// Writes a specialised shader to `folder`, for other tools to look at.
fn dump(folder: &Path, name: &str, source: &str) -> Result<()> {
    // Generated kernels are named by their text.
    let stem = if name.contains(' ') { "fused" } else { name };
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    let path = folder.join(format!("{stem}-{:016x}.wgsl", hasher.finish()));
    std::fs::write(&path, source).map_err(|error| Error::io(path, error))
}
