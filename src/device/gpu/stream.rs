//! The command stream: dispatches packed into passes, passes into submits.

use super::context::Context;
use super::pipeline::Pipeline;
use super::pool::Block;
use crate::Result;
use std::collections::VecDeque;
use std::sync::Arc;

/// Room for the uniforms of one submit.
const ARENA_BYTES: usize = 64 << 10;
/// Dispatches in one submit: enough that the cost of a submit does not show, few enough that the
/// GPU starts while the rest is recorded.
const MAX_DISPATCHES: usize = 96;
/// Estimated nanoseconds in one submit, well below what trips an operating system's watchdog.
const MAX_NANOSECONDS: u64 = 100_000_000;
/// Bytes to upload in one submit; wgpu holds them in host memory until then.
const MAX_UPLOAD: u64 = 64 << 20;
/// Submits that may wait for the GPU, which bounds what pending work holds.
const MAX_IN_FLIGHT: usize = 3;

/// A range of a buffer bound to a kernel.
pub(super) struct Bound<'a> {
    pub block: &'a Block,
    pub offset: u64,
    pub bytes: u64,
    /// Whether the kernel may write it.
    pub written: bool,
}

/// A dispatch ready to be recorded.
pub(super) struct Dispatch<'a> {
    pub pipeline: Arc<Pipeline>,
    pub group: wgpu::BindGroup,
    pub bound: Vec<Bound<'a>>,
    pub params: &'a [u32],
    pub groups: [u32; 3],
    /// Estimated time it takes.
    pub nanoseconds: u64,
}

/// The uniforms of all dispatches of a submit. One buffer is enough: its content is written at the
/// submit, after all that was submitted before and ahead of the submit's own commands.
#[derive(Clone)]
pub(super) struct Arena {
    buffer: wgpu::Buffer,
    alignment: usize,
    largest: usize,
}

impl Arena {
    pub fn new(context: &Context) -> Result<Arena> {
        let limits = context.device.limits();
        let buffer = context.guard(|| {
            context.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("params"),
                size: ARENA_BYTES as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        Ok(Arena {
            buffer: buffer.map_err(|error| context.error(error.to_string()))?,
            alignment: limits.min_uniform_buffer_offset_alignment as usize,
            largest: ARENA_BYTES.min(limits.max_uniform_buffer_binding_size as usize),
        })
    }

    /// The bytes that `params` take, or `None` if they are too many.
    pub fn slot(&self, params: &[u32]) -> Option<u64> {
        let bytes = slot_bytes(params);
        (bytes <= self.largest).then_some(bytes as u64)
    }

    /// The buffer that binding 0 of every bind group refers to.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

/// A uniform struct is as large as its words rounded up to the alignment of a `vec4`.
fn slot_bytes(params: &[u32]) -> usize {
    (params.len() * 4).next_multiple_of(16).max(16)
}

pub(super) struct Stream {
    context: Arc<Context>,
    arena: Arena,
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    params: Vec<u8>,
    dispatches: usize,
    nanoseconds: u64,
    uploaded: u64,
    epoch: u64,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
}

impl Stream {
    pub fn new(context: Arc<Context>, arena: Arena) -> Stream {
        Stream {
            context,
            arena,
            encoder: None,
            pass: None,
            params: Vec::with_capacity(ARENA_BYTES),
            dispatches: 0,
            nanoseconds: 0,
            uploaded: 0,
            // A block that no command ever referred to is of epoch 0.
            epoch: 1,
            in_flight: VecDeque::new(),
        }
    }

    /// The number of the submit that is being recorded.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Records a dispatch; submits when enough has come together.
    pub fn dispatch(&mut self, dispatch: &Dispatch) -> Result<()> {
        let bytes = slot_bytes(dispatch.params);
        let full = self.params.len().next_multiple_of(self.arena.alignment) + bytes > ARENA_BYTES;
        if full || (self.dispatches > 0 && self.nanoseconds + dispatch.nanoseconds > MAX_NANOSECONDS) {
            self.submit()?;
        }
        let offset = self.params.len().next_multiple_of(self.arena.alignment);
        self.params.resize(offset, 0);
        self.params.extend_from_slice(bytemuck::cast_slice(dispatch.params));
        self.params.resize(offset + bytes, 0);
        for bound in &dispatch.bound {
            bound.block.mark(self.epoch);
        }
        let pass = self.pass();
        pass.set_pipeline(&dispatch.pipeline.compute);
        pass.set_bind_group(0, &dispatch.group, &[offset as u32]);
        let [x, y, z] = dispatch.groups;
        pass.dispatch_workgroups(x, y, z);
        self.dispatches += 1;
        self.nanoseconds += dispatch.nanoseconds;
        if self.dispatches >= MAX_DISPATCHES || self.nanoseconds >= MAX_NANOSECONDS {
            self.submit()?;
        }
        Ok(())
    }

    /// Writes `data` to the start of `block`, to which no command of this epoch may refer: the
    /// write happens before all of them.
    pub fn upload(&mut self, block: &Block, data: &[u8]) -> Result<()> {
        for (place, chunk) in data.chunks(MAX_UPLOAD as usize).enumerate() {
            let offset = place as u64 * MAX_UPLOAD;
            let (words, rest) = chunk.split_at(chunk.len() & !3);
            let written = self.context.guard(|| {
                let queue = &self.context.queue;
                queue.write_buffer(&block.buffer, offset, words);
                if !rest.is_empty() {
                    let mut last = [0; 4];
                    last[..rest.len()].copy_from_slice(rest);
                    queue.write_buffer(&block.buffer, offset + words.len() as u64, &last);
                }
            });
            written.map_err(|error| self.context.error(error.to_string()))?;
            self.uploaded += chunk.len() as u64;
            if self.uploaded >= MAX_UPLOAD {
                self.submit()?;
            }
        }
        Ok(())
    }

    /// Copies `bytes` of `from` at `offset` to the start of `to` and submits; the number to wait
    /// for.
    pub fn copy_out(
        &mut self,
        from: &Block,
        offset: u64,
        to: &Block,
        bytes: u64,
    ) -> Result<Option<wgpu::SubmissionIndex>> {
        // Copies and passes exclude each other on an encoder.
        self.pass = None;
        from.mark(self.epoch);
        to.mark(self.epoch);
        self.encoder().copy_buffer_to_buffer(&from.buffer, offset, &to.buffer, 0, bytes);
        self.submit()
    }

    /// Submits what was recorded. The number of the newest submit, while it may be running.
    pub fn submit(&mut self) -> Result<Option<wgpu::SubmissionIndex>> {
        if self.encoder.is_some() || self.uploaded > 0 {
            self.pass = None;
            let encoder = self.encoder.take();
            let submitted = self.context.guard(|| {
                if !self.params.is_empty() {
                    self.context.queue.write_buffer(&self.arena.buffer, 0, &self.params);
                }
                self.context.queue.submit(encoder.map(wgpu::CommandEncoder::finish))
            });
            self.params.clear();
            (self.dispatches, self.nanoseconds, self.uploaded) = (0, 0, 0);
            self.epoch += 1;
            self.in_flight.push_back(submitted.map_err(|error| self.context.error(error.to_string()))?);
            if self.in_flight.len() > MAX_IN_FLIGHT {
                let oldest = self.in_flight.pop_front();
                self.context.wait(oldest)?;
            }
        }
        Ok(self.in_flight.back().cloned())
    }

    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        let device = &self.context.device;
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    fn pass(&mut self) -> &mut wgpu::ComputePass<'static> {
        if self.pass.is_none() {
            self.pass = Some(self.encoder().begin_compute_pass(&Default::default()).forget_lifetime());
        }
        self.pass.get_or_insert_with(|| unreachable!("a pass was just begun"))
    }
}
