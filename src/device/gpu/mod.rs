//! The GPU device: kernels in WGSL, dispatched through wgpu.

mod adapter;
mod bound;
mod branches;
mod compiled;
mod context;
mod cooperative;
mod pipeline;
mod plans;
mod pool;
mod readback;
mod rehearsal;
mod stream;
#[cfg(test)]
mod tests;
mod tuner;
mod wide;

pub use adapter::{AdapterInfo, Selector, adapters};

use super::specialise::{divisible, specialise};
use super::{Argument, Binding, Buffer, Caps, Coming, Device, DeviceKind, Download, Kernel, Memory};
use crate::op::Op;
use crate::{Error, Result, Spec};
use bound::{Bound, as_written};
use compiled::Compiled;
use context::{Context, lock};
use pipeline::{Pipeline, Pipelines, Trust, group_entry};
use plans::{Plans, Ready};
use pool::{Block, Kind, Pool};
use rehearsal::Rehearsal;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use stream::{Arena, Dispatch, Stream};
use tuner::Tuner;

/// Operations and bytes per nanosecond that a submit's length is estimated with. Both are far
/// below what the hardware does at its best, since kernels rarely do.
struct Rates {
    flops: f64,
    bytes: f64,
}

/// Buffers of a kernel of several programs: each takes a place of the few that Metal has.
const MERGED: u32 = 24;
/// Where a kernel costs more to compile than to begin: an update of one parameter by Adam, whose kernel all then share.
const MERGED_SOFTWARE: u32 = 4;

/// A GPU, real or software, that Kiln runs operations on.
pub struct GpuDevice {
    kind: DeviceKind,
    caps: Caps,
    alignment: usize,
    rates: Rates,
    context: Arc<Context>,
    pool: Arc<Pool>,
    pipelines: Pipelines,
    plans: Plans,
    /// None where plans are made by rule alone.
    tuner: Option<Tuner>,
    arena: Arena,
    stream: Mutex<Stream>,
    waiter: readback::Waiter,
}

impl GpuDevice {
    /// Runs on a device and queue that the program already has, beside the program's own work on
    /// them. Its callbacks stay as they are, so a lost device shows as a failed
    /// [`download`](Device::download) or [`synchronize`](Device::synchronize).
    pub fn from_wgpu(
        info: &wgpu::AdapterInfo,
        device: wgpu::Device,
        queue: wgpu::Queue,
    ) -> Result<GpuDevice> {
        let context = Context::new(adapter::full_name(info), device, queue);
        let mut gpu = GpuDevice::new(adapter::kind(info), context, false, None)?;
        gpu.tuner = Tuner::of(&gpu, false);
        Ok(gpu)
    }

    /// Where `limited`, the device stands for any GPU there is: no shader goes unchecked, and none is chosen
    /// because the GPU is software.
    fn new(
        kind: DeviceKind,
        context: Context,
        limited: bool,
        rehearsal: Option<Rehearsal>,
    ) -> Result<GpuDevice> {
        let context = Arc::new(context);
        let limits = context.device.limits();
        let arena = Arena::new(&context)?;
        // Only for measuring what the checks cost: an index past a buffer is then undefined.
        let unchecked = std::env::var_os("KILN_UNCHECKED_SHADERS").is_some_and(|value| value == "1");
        let trust = match limited {
            _ if unchecked => Trust::All,
            true => Trust::None,
            false => Trust::Marked,
        };
        Ok(GpuDevice {
            kind,
            caps: Caps {
                storage_buffers: limits.max_storage_buffers_per_shader_stage,
                binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
                workgroup_bytes: limits.max_compute_workgroup_storage_size,
                workgroup_size: limits.max_compute_invocations_per_workgroup,
                groups: limits.max_compute_workgroups_per_dimension,
                software: kind == DeviceKind::SoftwareGpu && !limited,
                subgroups: adapter::subgroups(&context.device).filter(|_| !limited),
                cooperative: None,
                variant: None,
            },
            // At least a `vec4`, for kernels that read by it.
            alignment: (limits.min_storage_buffer_offset_alignment as usize).max(16),
            rates: match context.device.adapter_info().device_type {
                wgpu::DeviceType::Cpu => Rates { flops: 5.0, bytes: 5.0 },
                wgpu::DeviceType::DiscreteGpu => Rates { flops: 500.0, bytes: 50.0 },
                _ => Rates { flops: 100.0, bytes: 10.0 },
            },
            pool: Arc::new(Pool::new(Arc::clone(&context))),
            pipelines: Pipelines::new(Arc::clone(&context), trust, Compiled::of(&context), rehearsal),
            plans: Plans::default(),
            tuner: None,
            stream: Mutex::new(Stream::new(Arc::clone(&context), arena.clone())),
            waiter: readback::Waiter::new(Arc::clone(&context)),
            arena,
            context,
        })
    }

    /// Sets the most bytes that buffers may take on this device, those kept for reuse included: an
    /// operation that needs more is [`Error::OutOfMemory`]. `KILN_GPU_MEMORY` sets it for every GPU
    /// that is opened.
    pub fn limit_memory(&self, bytes: u64) {
        self.pool.set_limit(bytes);
    }

    /// The wgpu device that operations run on.
    pub fn wgpu_device(&self) -> &wgpu::Device {
        &self.context.device
    }

    /// What plans may use on this device.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    fn block<'a>(&self, buffer: &'a Buffer) -> Result<&'a Block> {
        let block = buffer.storage::<Block>().filter(|block| block.is_from(&self.pool));
        block.ok_or_else(|| self.context.error("a buffer of another device was given"))
    }

    /// A block of the pool. Where memory is out, everything that can be is given back first.
    fn take(&self, stream: Option<&mut Stream>, kind: Kind, bytes: usize) -> Result<Block> {
        let before = stream.as_ref().map(|stream| stream.epoch());
        let first = self.pool.take(kind, bytes as u64, before);
        if !matches!(first, Err(Error::OutOfMemory { .. })) {
            return first;
        }
        // Recorded commands keep dropped buffers alive until they have run.
        let submitted = match stream {
            Some(stream) => stream.submit()?,
            None => lock(&self.stream).submit()?,
        };
        self.pool.trim();
        self.context.wait(submitted)?;
        self.pool.take(kind, bytes as u64, None)
    }

    /// An estimate of an operation's time.
    fn nanoseconds(&self, op: &dyn Op, inputs: &[Spec], output: &Spec) -> u64 {
        let bytes: usize = inputs.iter().chain([output]).map(Spec::bytes).sum();
        let compute = op.flops(inputs, output) as f64 / self.rates.flops;
        compute.max(bytes as f64 / self.rates.bytes) as u64
    }

    /// What `op` does on inputs of these specs, as `as_bound` gives them, its output written over
    /// one of them; none without kernels.
    fn ready(&self, op: &dyn Op, inputs: &[Spec], output: &Spec, over: Option<usize>) -> Option<Arc<Ready>> {
        self.plans.get(op, inputs, output, over, || {
            let ready = self.make_ready(op, inputs, output, over, &self.caps)?;
            let known = self.tuner.as_ref().zip(ready.plan.variants.as_ref());
            let Some(variant) = known.and_then(|(tuner, variants)| tuner.known(variants)) else {
                return Some(ready);
            };
            let caps = Caps { variant: Some(variant), ..self.caps.clone() };
            let known = self.make_ready(op, inputs, output, over, &caps).filter(|known| known.allowed);
            let ready = known.unwrap_or(ready);
            let _ = ready.tuned.set(None);
            Some(ready)
        })
    }

    /// As [`ready`](Self::ready), anew and on a device of these `caps`.
    fn make_ready(
        &self,
        op: &dyn Op,
        inputs: &[Spec],
        output: &Spec,
        over: Option<usize>,
        caps: &Caps,
    ) -> Option<Ready> {
        let plan = match over {
            Some(index) => op.gpu_in_place(index, inputs, output, caps)?,
            None => op.gpu(inputs, output, caps)?,
        };
        let limit = caps.binding_bytes;
        let reached = |spec: &Spec| (spec.layout.extent().end * spec.dtype.size()) as u64 <= limit;
        // An op that takes no strides gets a copy, which may be larger than what it is a view of.
        let copied = |spec: &Spec| op.strided() || spec.bytes() as u64 <= limit;
        let divisible = |kernel: &Kernel| specialise(kernel).is_ok_and(|text| divisible(&text));
        let allowed = inputs.iter().chain([output]).all(|spec| reached(spec) && copied(spec))
            && plan.scratch.iter().all(|&bytes| bytes as u64 <= limit)
            && plan.kernels.iter().all(|kernel| self.holds(kernel.groups, || divisible(kernel)));
        let nanoseconds = self.nanoseconds(op, inputs, output);
        let pipelines = plan.kernels.iter().map(|_| OnceLock::new()).collect();
        Some(Ready { plan, allowed, nanoseconds, pipelines, tuned: OnceLock::new() })
    }

    /// The dispatch of one kernel of a plan.
    fn dispatch<'a>(
        &self,
        (kernel, known): (&'a Kernel, &OnceLock<Arc<Pipeline>>),
        bound: Vec<Bound<'a>>,
        params: Cow<'a, [u32]>,
        nanoseconds: u64,
    ) -> Result<Dispatch<'a>> {
        let fault = |message: String| self.context.error(format!("shader {}: {message}", kernel.shader.name));
        let slot = self.check(kernel, &bound).map_err(fault)?;
        let pipeline = match known.get() {
            Some(pipeline) => Arc::clone(pipeline),
            None => {
                let pipeline = self.pipelines.get(kernel, slot)?;
                Arc::clone(known.get_or_init(|| pipeline))
            }
        };
        if !self.holds(kernel.groups, || pipeline.divisible) {
            let (groups, limit) = (kernel.groups, self.caps.groups);
            return Err(fault(format!("{groups:?} workgroups are above {limit} in one dimension")));
        }
        let mut key: SmallVec<[u64; 2 + 3 * 10]> = smallvec![Arc::as_ptr(&pipeline) as u64, slot];
        bound.iter().for_each(|bound| key.extend([bound.block.id, bound.offset, bound.bytes]));
        let group = self.pool.group(&key, || self.group(kernel, &pipeline, &bound, slot))?;
        Ok(Dispatch { pipeline, group, bound, params, groups: kernel.groups, nanoseconds })
    }

    /// Makes the dispatches of what is ready, and hands them to `then`.
    fn record<T>(
        &self,
        op: &dyn Op,
        inputs: &[Argument],
        output: &Argument,
        ready: &Ready,
        then: impl FnOnce(&mut Stream, &[Dispatch]) -> Result<T>,
    ) -> Result<T> {
        let plan = &ready.plan;
        let scratch = plan.scratch.iter().map(|&bytes| self.take(None, Kind::Storage, bytes));
        let scratch = scratch.collect::<Result<Vec<_>>>()?;
        let missing = || Error::op(op.name(), "its plan binds an input or scratch buffer that there is not");
        let groups = |kernel: &Kernel| kernel.groups.iter().map(|&count| u128::from(count)).product::<u128>();
        let all = plan.kernels.iter().map(groups).sum::<u128>().max(1);
        let numbers = op.numbers();
        let mut dispatches = Vec::with_capacity(plan.kernels.len());
        for (at, (kernel, pipeline)) in plan.kernels.iter().zip(&ready.pipelines).enumerate() {
            if kernel.groups.contains(&0) {
                continue;
            }
            let mut bound = Vec::with_capacity(kernel.bindings.len());
            for &binding in &kernel.bindings {
                bound.push(match binding {
                    Binding::Input(i) => self.bound(inputs.get(i).ok_or_else(missing)?, false)?,
                    Binding::Both(i) => self.bound(inputs.get(i).ok_or_else(missing)?, true)?,
                    Binding::Output => self.bound(output, true)?,
                    Binding::Scratch(i) | Binding::Written(i) => {
                        let (block, &bytes) = scratch.get(i).zip(plan.scratch.get(i)).ok_or_else(missing)?;
                        let bytes = self.binding_bytes(block, 0, bytes as u64);
                        Bound { block, offset: 0, bytes, written: matches!(binding, Binding::Scratch(_)) }
                    }
                });
            }
            let share = (u128::from(ready.nanoseconds) * groups(kernel) / all) as u64;
            let params = plan.params(at, &numbers).ok_or_else(|| {
                let (shader, numbers) = (&kernel.shader.name, numbers.len());
                self.context
                    .error(format!("shader {shader}: it has no place for the {numbers} numbers of its op"))
            })?;
            dispatches.push(self.dispatch((kernel, pipeline), bound, params, share)?);
        }
        then(&mut lock(&self.stream), &dispatches)
    }

    /// The bind group of a kernel whose uniform takes `slot` bytes.
    fn group(
        &self,
        kernel: &Kernel,
        pipeline: &Pipeline,
        bound: &[Bound],
        slot: u64,
    ) -> Result<wgpu::BindGroup> {
        let mut entries = vec![group_entry(0, self.arena.buffer(), 0, slot)];
        for (place, bound) in bound.iter().enumerate() {
            entries.push(group_entry(place + 1, &bound.block.buffer, bound.offset, bound.bytes));
        }
        if pipeline.divisible {
            entries.push(group_entry(entries.len(), self.arena.buffer(), 0, pipeline::FIRST_GROUP_BYTES));
        }
        let name = &kernel.shader.name;
        let group = self.context.guard(|| {
            self.context.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(name),
                layout: &pipeline.group,
                entries: &entries,
            })
        });
        group.map_err(|error| self.context.error(format!("shader {name}: {error}")))
    }

    fn copy_out(
        &self,
        buffer: &Buffer,
        range: Range<usize>,
    ) -> Result<(Block, Option<wgpu::SubmissionIndex>)> {
        let block = self.block(buffer)?;
        if range.end as u64 > block.bytes() {
            let bytes = block.bytes();
            return Err(self.context.error(format!("bytes {range:?} are past the {bytes} of the buffer")));
        }
        let start = range.start & !3;
        let bytes = range.end.next_multiple_of(4) - start;
        let staging = self.take(None, Kind::Readback, bytes)?;
        let index = lock(&self.stream).copy_out(block, start as u64, &staging, bytes as u64)?;
        Ok((staging, index))
    }
}

impl Device for GpuDevice {
    fn name(&self) -> &str {
        &self.context.name
    }

    fn identity(&self) -> String {
        let info = self.context.device.adapter_info();
        format!("{} {} {}", self.context.name, info.driver, info.driver_info)
    }

    fn kind(&self) -> DeviceKind {
        self.kind
    }

    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        Ok(Buffer::new(self.take(None, Kind::Storage, bytes)?, self.kind))
    }

    fn upload(&self, data: &[u8]) -> Result<Buffer> {
        let mut stream = lock(&self.stream);
        let block = self.take(Some(&mut stream), Kind::Storage, data.len())?;
        stream.upload(&block, data)?;
        Ok(Buffer::new(block, self.kind))
    }

    fn download<'a>(&'a self, buffer: &Buffer, range: Range<usize>) -> Download<'a> {
        if range.is_empty() {
            return Box::pin(std::future::ready(self.context.check().map(|()| Vec::new())));
        }
        let skipped = range.start % 4;
        match self.copy_out(buffer, range.clone()) {
            Ok((staging, index)) => {
                Box::pin(readback::read(&self.waiter, staging, skipped..skipped + range.len(), index))
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn alignment(&self) -> usize {
        self.alignment
    }

    fn largest(&self) -> usize {
        self.pool.largest() as usize
    }

    fn supports(&self, op: &dyn Op, inputs: &[Spec], output: &Spec) -> bool {
        let inputs = self.all_as_bound(inputs.iter());
        self.ready(op, &inputs, &as_written(output), None).is_some_and(|ready| ready.allowed)
    }

    fn in_place(&self, op: &dyn Op, index: usize, inputs: &[Spec], output: &Spec) -> bool {
        let inputs = self.all_as_bound(inputs.iter());
        self.ready(op, &inputs, &as_written(output), Some(index)).is_some_and(|ready| ready.allowed)
    }

    fn merges(&self) -> usize {
        let enough = self.caps.storage_buffers >= Caps::default().storage_buffers;
        let most = if self.caps.software { MERGED_SOFTWARE } else { MERGED };
        if enough { self.caps.storage_buffers.min(most) as usize } else { 0 }
    }

    fn prepare(&self, coming: &mut dyn Iterator<Item = Coming>) {
        let all = coming.filter_map(|Coming { op, inputs, output, over }| {
            self.ready(&*op, &self.all_as_bound(inputs.iter()), &as_written(&output), over)
        });
        let kernels = all.flat_map(|ready| ready.plan.kernels.clone());
        let run = kernels.filter(|kernel| !kernel.groups.contains(&0));
        self.pipelines.prepare(run.filter_map(|kernel| {
            let params = self.arena.slot(&kernel.params)?;
            Some((kernel, params))
        }));
    }

    fn run(&self, op: &dyn Op, inputs: &[Argument], output: &Argument) -> Result<()> {
        self.context.check()?;
        let specs = self.all_as_bound(inputs.iter().map(|input| &input.spec));
        if !op.strided() && specs.iter().any(|spec| spec.layout.offset != 0) {
            let message = format!("an input starts at no multiple of {} bytes", self.alignment);
            return Err(Error::op(op.name(), message));
        }
        let result = as_written(&output.spec);
        let over = inputs.iter().position(|input| input.buffer.same(&output.buffer));
        let Some(ready) = self.ready(op, &specs, &result, over) else {
            let message = match over {
                Some(_) => "one buffer is both read and written, for which it has no kernel".into(),
                None => format!("{} has no kernel for these inputs", self.name()),
            };
            return Err(Error::op(op.name(), message));
        };
        let tuned = match over {
            None => ready.tuned.get_or_init(|| self.tuned(op, inputs, output, &ready)).as_ref(),
            Some(_) => None,
        };
        self.record(op, inputs, output, tuned.unwrap_or(&ready), |stream, dispatches| {
            dispatches.iter().try_for_each(|dispatch| stream.dispatch(dispatch))
        })
    }

    fn synchronize(&self) -> Result<()> {
        let submitted = lock(&self.stream).submit()?;
        self.context.wait(submitted)?;
        self.context.probe()
    }

    fn memory(&self) -> Memory {
        self.pool.memory()
    }
}

impl fmt::Debug for GpuDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GpuDevice").field(&self.context.name).finish()
    }
}
