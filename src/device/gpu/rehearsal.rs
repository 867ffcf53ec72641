//! Kernels dispatched for nothing, before they are needed, on devices beside the one that works.
//!
//! A software GPU makes machine code of a kernel where it is first dispatched, all on the one thread that a
//! device's work runs on. Mesa's llvmpipe keeps that code in files, which all devices read. So kernels that are
//! about to be needed are dispatched without a workgroup on devices of their own, as many at a time as there are
//! processors, and the first dispatch that counts finds its code.

use super::context::{Context, lock};
use super::pipeline::{FIRST_GROUP_BYTES, Pipeline, group_entry};
use crate::device::Kernel;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Kernels by which a driver may show that one device finds what another compiled.
const TRIALS: usize = 3;
/// Apart enough for any storage binding.
const BINDING_BYTES: u64 = 256;

pub(super) struct Rehearsal {
    adapter: wgpu::Adapter,
    descriptor: wgpu::DeviceDescriptor<'static>,
    idle: Mutex<Vec<Context>>,
    trials: AtomicUsize,
    proven: AtomicBool,
}

impl Rehearsal {
    /// On devices of `adapter` that are opened as the one that works was; none on a single processor, which has
    /// nothing to do beside the work.
    pub fn new(adapter: wgpu::Adapter, descriptor: wgpu::DeviceDescriptor<'static>) -> Option<Rehearsal> {
        let (idle, trials, proven) = Default::default();
        let several = std::thread::available_parallelism().is_ok_and(|threads| threads.get() > 1);
        several.then_some(Rehearsal { adapter, descriptor, idle, trials, proven })
    }

    /// Dispatches the kernel whose pipeline on a device `make` gives. What fails is left to the device that works.
    pub fn play(&self, kernel: &Kernel, params: u64, make: impl Fn(&wgpu::Device) -> Pipeline) {
        let proven = self.proven.load(Ordering::Relaxed);
        if !proven && self.trials.fetch_add(1, Ordering::Relaxed) >= TRIALS {
            return;
        }
        let time = |context: &Context| {
            let begin = Instant::now();
            let submitted =
                context.guard(|| dispatch(context, kernel, params, &make(&context.device))).ok()?;
            context.wait(Some(submitted)).ok().map(|()| begin.elapsed())
        };
        let Some(context) = self.device() else { return };
        let first = time(&context);
        // A second device, for the first is still in use.
        if !proven && let Some((first, other)) = first.zip(self.device()) {
            let found = time(&other).is_some_and(|again| again < first / 2);
            self.proven.fetch_or(found, Ordering::Relaxed);
            lock(&self.idle).push(other);
        }
        lock(&self.idle).push(context);
    }

    /// Closes the devices that nobody uses.
    pub fn end(&self) {
        lock(&self.idle).clear();
    }

    fn device(&self) -> Option<Context> {
        if let Some(idle) = lock(&self.idle).pop() {
            return Some(idle);
        }
        let (device, queue) = pollster::block_on(self.adapter.request_device(&self.descriptor)).ok()?;
        let context = Context::new("rehearsal".into(), device, queue);
        context.watch();
        Some(context)
    }
}

/// Submits a dispatch of no workgroup, with buffers that fit any kernel's bindings.
fn dispatch(context: &Context, kernel: &Kernel, params: u64, pipeline: &Pipeline) -> wgpu::SubmissionIndex {
    use wgpu::BufferUsages;
    let (device, label) = (&context.device, Some(kernel.shader.name.as_ref()));
    let buffer = |size, usage| {
        device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
    };
    let uniform = buffer(params.max(FIRST_GROUP_BYTES), BufferUsages::UNIFORM);
    let bytes = BINDING_BYTES * kernel.bindings.len().max(1) as u64;
    let [read, written] = [(); 2].map(|()| buffer(bytes, BufferUsages::STORAGE));
    let mut entries = vec![group_entry(0, &uniform, 0, params)];
    for (place, binding) in kernel.bindings.iter().enumerate() {
        let buffer = if binding.read_only() { &read } else { &written };
        entries.push(group_entry(place + 1, buffer, BINDING_BYTES * place as u64, BINDING_BYTES));
    }
    if pipeline.divisible {
        entries.push(group_entry(entries.len(), &uniform, 0, FIRST_GROUP_BYTES));
    }
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label,
        layout: &pipeline.group,
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes: None });
    pass.set_pipeline(&pipeline.compute);
    pass.set_bind_group(0, &group, &[0, 0][..if pipeline.divisible { 2 } else { 1 }]);
    pass.dispatch_workgroups(0, 0, 0);
    drop(pass);
    context.queue.submit([encoder.finish()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::tests::{AFFINE, device};
    use crate::device::{Binding, Shader};
    use wgpu::ShaderSource;

    #[test]
    fn rehearsals_are_tried_proven_or_given_up() {
        let Some(gpu) = device() else { return };
        let compiler = &gpu.pipelines.compiler;
        let Some(rehearsal) = &compiler.rehearsal else { return };
        let kernel = Kernel {
            shader: Shader::file("affine", AFFINE),
            constants: Vec::new(),
            bindings: vec![Binding::Input(0), Binding::Output],
            params: vec![8, 0],
            groups: [1, 1, 1],
        };
        // How often a shader is compiled, and the devices that are open afterwards.
        let play = |text: &'static str| {
            let made = AtomicUsize::new(0);
            rehearsal.play(&kernel, 256, |device| {
                made.fetch_add(1, Ordering::Relaxed);
                compiler.make(device, &kernel, ShaderSource::Wgsl(text.into()), 256, false)
            });
            (made.into_inner(), lock(&rehearsal.idle).len())
        };
        // A trial is over where the first device fails, and else takes two.
        assert_eq!(play("fn main() { let x: f32 = 1u; }"), (1, 1));
        assert_eq!(play(AFFINE), (2, 2));
        rehearsal.proven.store(false, Ordering::Relaxed);
        rehearsal.trials.store(TRIALS, Ordering::Relaxed);
        assert_eq!(play(AFFINE).0, 0, "given up");
        rehearsal.proven.store(true, Ordering::Relaxed);
        rehearsal.end();
        assert_eq!(play(AFFINE), (1, 1));
    }
}
