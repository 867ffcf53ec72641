//! Devices: what holds buffers and runs operations on them.
//!
//! A device knows buffers and plans; it never names an operation.

pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
mod plan;
mod specialise;

pub use plan::{Binding, Caps, Cooperative, Kernel, Place, Plan, Shader, Variants};
pub use specialise::{IMPORTS, specialise};

use crate::op::Op;
use crate::{Result, Spec};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a device is, for placement and for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The processor Kiln itself runs on.
    Cpu,
    /// A discrete, integrated or virtual GPU.
    Gpu,
    /// A software implementation of a GPU (llvmpipe, SwiftShader, WARP).
    SoftwareGpu,
}

/// Memory of a device, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Held by tensors and by work in flight.
    pub live: u64,
    /// The most that was live at once.
    pub peak: u64,
    /// Kept for reuse.
    pub pooled: u64,
}

/// Bytes on their way back from a device.
pub type Download<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send + 'a>>;

/// One place that can hold buffers and run operations.
///
/// Work is queued in order: `run` may return before the device has finished, and a later
/// `download` sees what was queued before it.
pub trait Device: fmt::Debug + Send + Sync {
    /// The device's name, as its driver gives it.
    fn name(&self) -> &str;

    /// Its name and whatever else tells how fast it is, such as the driver's version: what is measured of a
    /// device is remembered under it.
    fn identity(&self) -> String {
        self.name().to_string()
    }

    /// What it is.
    fn kind(&self) -> DeviceKind;

    /// A buffer of at least `bytes` bytes whose content is undefined.
    fn allocate(&self, bytes: usize) -> Result<Buffer>;

    /// A buffer holding a copy of `data`.
    fn upload(&self, data: &[u8]) -> Result<Buffer>;

    /// The bytes of `range`, once everything queued before has run.
    fn download<'a>(&'a self, buffer: &Buffer, range: Range<usize>) -> Download<'a>;

    /// The bytes of `range` where they lie in the program's own memory, which saves the copy of a download.
    fn bytes<'a>(&self, _buffer: &'a Buffer, _range: Range<usize>) -> Option<&'a [u8]> {
        None
    }

    /// The byte alignment at which a kernel's input may start inside a buffer.
    fn alignment(&self) -> usize;

    /// The largest buffer it can hold, in bytes.
    fn largest(&self) -> usize {
        usize::MAX
    }

    /// Whether [`run`](Device::run) can be given the buffer of input `index`, of the output's layout and size, to
    /// write the output to.
    fn in_place(&self, _op: &dyn Op, _index: usize, _inputs: &[Spec], _output: &Spec) -> bool {
        false
    }

    /// How many buffers one kernel of several small elementwise programs may take; 0 where it is no quicker than
    /// a kernel for each.
    fn merges(&self) -> usize {
        0
    }

    /// Is told, before a run, of that one and all that follow in the graph, so that what takes long can begin
    /// beside the first of them. A device to which they are nothing new lets `coming` be, which costs nothing then.
    fn prepare(&self, _coming: &mut dyn Iterator<Item = Coming>) {}

    /// Whether [`run`](Device::run) has a kernel for this operation on these inputs.
    fn supports(&self, op: &dyn Op, inputs: &[Spec], output: &Spec) -> bool;

    /// Runs `op`. Unless the op is [`strided`](Op::strided), every input is contiguous and its
    /// offset is a multiple of [`alignment`](Device::alignment). The output buffer is distinct
    /// from the inputs' unless [`in_place`](Device::in_place) allowed it.
    fn run(&self, op: &dyn Op, inputs: &[Argument], output: &Argument) -> Result<()>;

    /// Waits until everything queued has run.
    fn synchronize(&self) -> Result<()>;

    /// Memory in use now.
    fn memory(&self) -> Memory;
}

/// An operation that will run: what [`Device::run`] is given but for the buffers.
#[derive(Clone, Debug)]
pub struct Coming {
    /// The operation.
    pub op: Arc<dyn Op>,
    /// Its inputs.
    pub inputs: Vec<Spec>,
    /// Its output.
    pub output: Spec,
    /// The input that the output is written over.
    pub over: Option<usize>,
}

/// A kernel's argument: a buffer and how the tensor lies in it.
#[derive(Clone, Debug)]
pub struct Argument {
    /// The memory.
    pub buffer: Buffer,
    /// Dtype and layout.
    pub spec: Spec,
}

/// What a device keeps of a buffer; it goes back to the device's pool when dropped.
pub trait Storage: Any + fmt::Debug + Send + Sync {
    /// For the device to find its own type again.
    fn as_any(&self) -> &dyn Any;
}

/// A shared handle to memory on some device.
#[derive(Clone, Debug)]
pub struct Buffer {
    shared: Arc<Shared<dyn Storage>>,
    kind: DeviceKind,
}

#[derive(Debug)]
struct Shared<S: ?Sized> {
    /// Graphs that have made or read the content, or what it takes the place of; for placement.
    uses: AtomicU32,
    storage: S,
}

impl Buffer {
    /// Wraps a device's own storage.
    pub fn new(storage: impl Storage, kind: DeviceKind) -> Buffer {
        Buffer { shared: Arc::new(Shared { uses: AtomicU32::new(0), storage }), kind }
    }

    /// The kind of device that holds it.
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// The storage as the device's own type; `None` when another device made the buffer.
    pub fn storage<T: Storage>(&self) -> Option<&T> {
        self.shared.storage.as_any().downcast_ref()
    }

    /// How many handles to the memory there are.
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.shared)
    }

    /// Whether both are handles to the same memory.
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// A number that no other memory has as long as there is a handle to this.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.shared).cast::<u8>() as usize
    }

    pub(crate) fn uses(&self) -> u32 {
        self.shared.uses.load(Ordering::Relaxed)
    }

    pub(crate) fn set_uses(&self, uses: u32) {
        self.shared.uses.store(uses, Ordering::Relaxed);
    }
}
