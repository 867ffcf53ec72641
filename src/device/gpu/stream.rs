//! The command stream: dispatches packed into passes, passes into submits.

use super::bound::Bound;
use super::context::Context;
use super::pipeline::{FIRST_GROUP_BYTES, Pipeline};
use super::pool::Block;
use crate::Result;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// A dispatch ready to be recorded.
pub(super) struct Dispatch<'a> {
    pub pipeline: Arc<Pipeline>,
    pub group: wgpu::BindGroup,
    pub bound: Vec<Bound<'a>>,
    pub params: Cow<'a, [u32]>,
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
        let alignment = limits.min_uniform_buffer_offset_alignment as usize;
        // Beside a dispatch's params, the number of its first workgroup and the zero before all uniforms.
        let room = ARENA_BYTES - 2 * alignment;
        Ok(Arena {
            buffer: buffer.map_err(|error| context.error(error.to_string()))?,
            alignment,
            largest: room.min(limits.max_uniform_buffer_binding_size as usize),
        })
    }

    /// Where the next uniform may start.
    fn aligned(&self, bytes: usize) -> usize {
        bytes.next_multiple_of(self.alignment)
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

/// Cuts a grid of x times y workgroups into pieces of about `share`, of no more than `rows` rows: for
/// each the number of its first workgroup and its own grid.
fn divide(x: u32, y: u32, share: u64, rows: u32) -> impl Iterator<Item = (u32, [u32; 3])> {
    let columns = share.clamp(1, u64::from(x)) as u32;
    let rows = (share / u64::from(x)).clamp(1, u64::from(rows.min(y))) as u32;
    (0..y).step_by(rows as usize).flat_map(move |row| {
        let starts = (0..x).step_by(columns as usize);
        starts.map(move |column| (row * x + column, [columns.min(x - column), rows.min(y - row), 1]))
    })
}

/// Two timestamps, and the way they take to the host.
pub(super) struct Stamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    read: wgpu::Buffer,
}

const STAMPS_BYTES: u64 = 16;

impl Stamps {
    /// None where the device has none.
    pub fn new(context: &Context) -> Option<Stamps> {
        let device = &context.device;
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let buffer = |usage| {
            let size = STAMPS_BYTES;
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let made = context.guard(|| Stamps {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            read: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
        });
        made.ok()
    }

    /// The time between them, which have been written; none where a driver gives nothing that can be.
    fn between(&self, context: &Context) -> Option<Duration> {
        self.read.map_async(wgpu::MapMode::Read, .., |_| ());
        context.wait(None).ok()?;
        let mut ticks = [0u64; 2];
        bytemuck::cast_slice_mut(&mut ticks).copy_from_slice(&self.read.get_mapped_range(..).ok()?);
        self.read.unmap();
        let ticks = ticks[1].checked_sub(ticks[0]).filter(|&ticks| ticks > 0)?;
        let nanoseconds = ticks as f64 * f64::from(context.queue.get_timestamp_period());
        Some(Duration::from_nanos(nanoseconds as u64))
    }
}

pub(super) struct Stream {
    context: Arc<Context>,
    arena: Arena,
    /// Rows of workgroups that a dispatch may have.
    rows: u32,
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
            rows: context.device.limits().max_compute_workgroups_per_dimension,
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

    /// Dispatches recorded since the last submit.
    #[cfg(test)]
    pub fn dispatches(&self) -> usize {
        self.dispatches
    }

    /// Records a dispatch, in pieces where it is long; submits when enough has come together.
    pub fn dispatch(&mut self, dispatch: &Dispatch) -> Result<()> {
        if !dispatch.pipeline.divisible {
            return self.piece(dispatch, 0, dispatch.groups, dispatch.nanoseconds);
        }
        let [x, y, _] = dispatch.groups;
        let count = u64::from(x) * u64::from(y);
        let pieces = dispatch.nanoseconds.div_ceil(MAX_NANOSECONDS).clamp(1, count);
        for (first, groups) in divide(x, y, count.div_ceil(pieces), self.rows) {
            let share = u128::from(groups[0]) * u128::from(groups[1]) * u128::from(dispatch.nanoseconds);
            self.piece(dispatch, first, groups, (share / u128::from(count)) as u64)?;
        }
        Ok(())
    }

    /// Records the dispatch of `groups` workgroups, numbered from `first` on.
    fn piece(&mut self, dispatch: &Dispatch, first: u32, groups: [u32; 3], nanoseconds: u64) -> Result<()> {
        let room = self.arena.aligned(self.params.len())
            + self.arena.aligned(slot_bytes(&dispatch.params))
            + FIRST_GROUP_BYTES as usize;
        let long = self.dispatches > 0 && self.nanoseconds + nanoseconds > MAX_NANOSECONDS;
        if room > ARENA_BYTES || long {
            self.submit()?;
        }
        // The start of every submit's uniforms is 0, as the number of the first workgroup nearly always is.
        self.params.resize(self.params.len().max(FIRST_GROUP_BYTES as usize), 0);
        let offsets = [self.uniform(&dispatch.params), if first == 0 { 0 } else { self.uniform(&[first]) }];
        let uniforms = if dispatch.pipeline.divisible { 2 } else { 1 };
        for bound in &dispatch.bound {
            bound.block.mark(self.epoch);
        }
        let pass = self.pass();
        pass.set_pipeline(&dispatch.pipeline.compute);
        pass.set_bind_group(0, &dispatch.group, &offsets[..uniforms]);
        let [x, y, z] = groups;
        pass.dispatch_workgroups(x, y, z);
        self.dispatches += 1;
        self.nanoseconds += nanoseconds;
        if self.dispatches >= MAX_DISPATCHES || self.nanoseconds >= MAX_NANOSECONDS {
            self.submit()?;
        }
        Ok(())
    }

    /// What so many runs of `dispatches` take on an idle device.
    pub fn time(&mut self, dispatches: &[Dispatch], runs: u32, stamps: Option<&Stamps>) -> Result<Duration> {
        let before = self.submit()?;
        self.context.wait(before)?;
        let (start, epoch) = (Instant::now(), self.epoch);
        if let Some(stamps) = stamps {
            let pass = self.encoder().begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &stamps.queries,
                    beginning_of_pass_write_index: Some(0),
                    end_of_pass_write_index: Some(1),
                }),
            });
            self.pass = Some(pass.forget_lifetime());
        }
        for _ in 0..runs {
            dispatches.iter().try_for_each(|dispatch| self.dispatch(dispatch))?;
        }
        // What takes several submits takes so long that the clock says it well enough.
        let stamps = stamps.filter(|_| self.epoch == epoch);
        if let Some(stamps) = stamps {
            self.pass = None;
            let encoder = self.encoder();
            encoder.resolve_query_set(&stamps.queries, 0..2, &stamps.resolved, 0);
            encoder.copy_buffer_to_buffer(&stamps.resolved, 0, &stamps.read, 0, STAMPS_BYTES);
        }
        let submitted = self.submit()?;
        self.context.wait(submitted)?;
        let elapsed = start.elapsed();
        Ok(stamps.and_then(|stamps| stamps.between(&self.context)).unwrap_or(elapsed))
    }

    /// Adds a uniform to this submit's; its offset.
    fn uniform(&mut self, words: &[u32]) -> u32 {
        let offset = self.arena.aligned(self.params.len());
        self.params.resize(offset, 0);
        self.params.extend_from_slice(bytemuck::cast_slice(words));
        self.params.resize(offset + slot_bytes(words), 0);
        offset as u32
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
            written.map_err(|error| self.context.raised(&error, chunk.len() as u64))?;
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
            // Tensors count on what was recorded; without it their content is undefined.
            let submitted =
                submitted.map_err(|error| self.context.lose(format!("a submit failed: {error}")))?;
            self.in_flight.push_back(submitted);
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
        let device = &self.context.device;
        self.pass.get_or_insert_with(|| {
            let encoder =
                self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
            encoder.begin_compute_pass(&Default::default()).forget_lifetime()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_workgroup_once() {
        for (x, y, share, rows) in
            [(7, 5, 35, 9), (7, 5, 14, 9), (7, 5, 16, 9), (7, 5, 3, 9), (7, 5, 1, 9), (7, 5, 35, 2)]
        {
            let mut seen = Vec::new();
            for (first, [width, height, depth]) in divide(x, y, share, rows) {
                assert!(depth == 1 && height <= rows && u64::from(width * height) <= share);
                // Numbers as the shader makes them.
                seen.extend(
                    (0..height).flat_map(|row| (0..width).map(move |column| first + column + row * width)),
                );
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..x * y).collect::<Vec<_>>(), "{x} x {y} in pieces of {share}");
        }
    }
}
