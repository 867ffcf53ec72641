//! The engine: which devices a graph may run on, and the policy that picks one for each op.

#[cfg(not(feature = "gpu"))]
use crate::Error;
use crate::device::cpu::CpuDevice;
use crate::device::{Buffer, Device, DeviceKind, Memory};
use crate::graph::Schedules;
use crate::{Ceilings, Result};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The devices that tensors of one program live on, and the policy that places each operation.
///
/// The CPU is always among them: an operation that the GPU has no kernel for runs there and the graph goes
/// on. Cloning is cheap; tensors can only be combined when they share an engine.
///
/// ```
/// use kiln::{Engine, Tensor};
/// let engine = Engine::cpu();
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], 3, &engine)?;
/// assert_eq!(x.mul(&x)?.to_vec::<f32>()?, [1.0, 4.0, 9.0]);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    cpu: Arc<dyn Device>,
    gpu: Option<Arc<dyn Device>>,
    /// What the processor and the GPU can do, once it is measured, where each operation goes to the one
    /// that is estimated to be done first; without it the GPU runs whatever it has a kernel for.
    balance: Option<OnceLock<Option<[Ceilings; 2]>>>,
    name: String,
    reason: String,
    /// Whether every op's output is looked at.
    debug_nan: AtomicBool,
    /// Held while a graph is evaluated: results are stored and inputs donated by one thread at a
    /// time.
    running: Mutex<Schedules>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.name())
    }
}

impl Engine {
    /// The engine that a name asks for:
    ///
    /// | name | device |
    /// |---|---|
    /// | `auto` | the best real GPU if there is one and the CPU, each operation where it is done first; else the CPU |
    /// | `cpu` | the CPU |
    /// | `gpu` | the best GPU, a software one if there is no other |
    /// | a number or a part of a name | that adapter of `kiln::device::gpu::adapters` |
    /// | `auto:` and one of the last two | that GPU and the CPU, each operation where it is done first |
    ///
    /// A GPU asked for without `auto` runs every operation that it has a kernel for. An error names what was
    /// found when nothing fits.
    pub fn new(name: &str) -> Result<Engine> {
        match name {
            "cpu" => Ok(Engine::cpu_because("asked for by name")),
            "auto" => Ok(Engine::auto()),
            _ => match name.strip_prefix("auto:") {
                Some(name) => Ok(Engine::gpu_named(name)?.balanced()),
                None => Engine::gpu_named(name),
            },
        }
    }

    /// [`Engine::new`] with the value of the environment variable `KILN_DEVICE`, `auto` where it
    /// is not set.
    pub fn from_env() -> Result<Engine> {
        match std::env::var("KILN_DEVICE") {
            Ok(name) if !name.is_empty() => Engine::new(&name),
            _ => Ok(Engine::auto()),
        }
    }

    /// The CPU alone.
    pub fn cpu() -> Engine {
        Engine::cpu_because("asked for by name")
    }

    fn cpu_because(reason: impl Into<String>) -> Engine {
        Engine::with_devices(None, reason)
    }

    /// The CPU, and a device of your own that is preferred wherever it has a kernel.
    pub fn with_devices(gpu: Option<Arc<dyn Device>>, reason: impl Into<String>) -> Engine {
        Engine::of(gpu, None, reason.into())
    }

    fn of(
        gpu: Option<Arc<dyn Device>>,
        balance: Option<OnceLock<Option<[Ceilings; 2]>>>,
        reason: String,
    ) -> Engine {
        let cpu = Arc::new(CpuDevice::new());
        let name = match (&gpu, &balance) {
            (Some(gpu), Some(_)) => format!("{} and {}", cpu.name(), gpu.name()),
            (Some(gpu), None) => gpu.name().to_string(),
            (None, _) => cpu.name().to_string(),
        };
        let debug_nan =
            std::env::var("KILN_DEBUG").is_ok_and(|what| what.split(',').any(|word| word == "nan"));
        let debug_nan = AtomicBool::new(debug_nan);
        let running = Mutex::default();
        Engine(Arc::new(Inner { cpu, gpu, balance, name, reason, debug_nan, running }))
    }

    /// An engine of the same GPU whose operations run where they are estimated to be done first, by rates that
    /// are measured on both devices once and remembered in the user's cache directory. Tensors of this engine
    /// are not its own.
    pub fn balanced(&self) -> Engine {
        Engine::of(self.0.gpu.clone(), Some(OnceLock::new()), self.0.reason.clone())
    }

    /// As [`balanced`](Engine::balanced), with rates of the CPU and the GPU that are known.
    #[cfg(test)]
    pub(crate) fn balanced_by(&self, rates: [Ceilings; 2]) -> Engine {
        Engine::of(self.0.gpu.clone(), Some(OnceLock::from(Some(rates))), self.0.reason.clone())
    }

    /// An engine of the same GPU, which runs every operation that it has a kernel for. Tensors of this engine are
    /// not its own.
    pub fn gpu_first(&self) -> Engine {
        Engine::of(self.0.gpu.clone(), None, self.0.reason.clone())
    }

    /// The best real GPU and the CPU, [balanced](Engine::balanced); without one the CPU. A software GPU is
    /// slower than the CPU it runs on, so it is never chosen here.
    #[cfg(feature = "gpu")]
    pub fn auto() -> Engine {
        use crate::device::gpu::{GpuDevice, Selector};
        match GpuDevice::open(&Selector::Best) {
            Ok(gpu) => Engine::with_devices(Some(Arc::new(gpu)), "a GPU was found").balanced(),
            Err(error) => Engine::cpu_because(error.to_string()),
        }
    }

    /// The CPU: this build has no GPU support.
    #[cfg(not(feature = "gpu"))]
    pub fn auto() -> Engine {
        Engine::cpu_because("built without the `gpu` feature")
    }

    #[cfg(feature = "gpu")]
    fn gpu_named(name: &str) -> Result<Engine> {
        use crate::device::gpu::{GpuDevice, Selector};
        let selector = if name == "gpu" { Selector::Any } else { Selector::Named(name.to_string()) };
        Ok(Engine::with_devices(Some(Arc::new(GpuDevice::open(&selector)?)), "asked for by name"))
    }

    #[cfg(not(feature = "gpu"))]
    fn gpu_named(name: &str) -> Result<Engine> {
        Err(Error::NoDevice { asked: name.into(), message: "built without the `gpu` feature".into() })
    }

    /// Runs on a wgpu device and queue that the program already has.
    #[cfg(feature = "gpu")]
    pub fn from_wgpu(info: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Result<Engine> {
        let gpu = crate::device::gpu::GpuDevice::from_wgpu(info, device, queue)?;
        Ok(Engine::with_devices(Some(Arc::new(gpu)), "given by the program"))
    }

    /// Name of the device that does the work, or of both.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Why this device was chosen.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// What kind of device does the work; of two it is the GPU.
    pub fn kind(&self) -> DeviceKind {
        self.main().kind()
    }

    /// Whether to look at the output of every op and to stop with an error at the first that is not finite, naming
    /// the op and its inputs' shapes. `KILN_DEBUG=nan` turns it on for every engine. Slow: nothing is fused, and every
    /// output is read. An op that is meant to give infinities is named too.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let engine = Engine::cpu();
    /// engine.debug_nan(true);
    /// let x = Tensor::from_slice(&[1.0f32, -1.0], 2, &engine)?;
    /// let error = x.mul(2.0)?.log()?.exp()?.to_vec::<f32>().unwrap_err();
    /// assert!(error.to_string().starts_with("log: "));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn debug_nan(&self, on: bool) {
        self.0.debug_nan.store(on, Ordering::Relaxed);
    }

    pub(crate) fn debugs_nan(&self) -> bool {
        self.0.debug_nan.load(Ordering::Relaxed)
    }

    /// Waits until all work given to the devices is done.
    pub fn synchronize(&self) -> Result<()> {
        self.0.gpu.as_ref().map_or(Ok(()), |gpu| gpu.synchronize())
    }

    /// Memory in use on the device that does the work; of two it is the GPU.
    pub fn memory(&self) -> Memory {
        self.main().memory()
    }

    /// What the device that does the work, of two the GPU, does at its best: each quantity is measured for about
    /// `budget`.
    pub fn ceilings(&self, budget: Duration) -> Result<Ceilings> {
        Ceilings::measure(&**self.main(), budget)
    }

    /// The processor.
    pub(crate) fn cpu_device(&self) -> &Arc<dyn Device> {
        &self.0.cpu
    }

    /// The GPU, if there is one.
    pub(crate) fn gpu_device(&self) -> Option<&Arc<dyn Device>> {
        self.0.gpu.as_ref()
    }

    /// The GPU if there is one, else the CPU.
    pub(crate) fn main(&self) -> &Arc<dyn Device> {
        self.0.gpu.as_ref().unwrap_or(&self.0.cpu)
    }

    /// What the CPU and the GPU can do, where operations are placed by that; measured when first asked for.
    /// Where it cannot be measured the GPU runs what it has kernels for.
    pub(crate) fn rates(&self) -> Option<&[Ceilings; 2]> {
        let (gpu, balance) = (self.0.gpu.as_ref()?, self.0.balance.as_ref()?);
        // The memory that the processor is measured with is given back.
        let measure = || -> Result<[Ceilings; 2]> {
            Ok([Ceilings::remembered(&CpuDevice::new())?, Ceilings::remembered(&**gpu)?])
        };
        balance.get_or_init(|| measure().ok()).as_ref()
    }

    /// Why the GPU runs whatever it has a kernel for, where it does.
    pub(crate) fn preference(&self) -> &str {
        if self.0.balance.is_some() { "not measured" } else { &self.0.reason }
    }

    /// A buffer with a copy of `bytes`, on the main device if that can hold one so large. With two devices to
    /// choose from it stays where it is until an operation is placed: a copy to the GPU that proves
    /// unnecessary would cost a wait to get it back.
    pub(crate) fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        let main = self.main();
        let stays = self.0.balance.is_some() || bytes.len() > main.largest();
        if stays { self.0.cpu.upload(bytes) } else { main.upload(bytes) }
    }

    /// The device of this engine that holds buffers of `kind`.
    pub(crate) fn holder(&self, kind: DeviceKind) -> &Arc<dyn Device> {
        if kind == DeviceKind::Cpu { &self.0.cpu } else { self.main() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Schedules> {
        // What it guards changes as a whole: after a panic elsewhere there is nothing to repair.
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn same(&self, other: &Engine) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
