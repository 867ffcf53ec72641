//! Buffers, recycled by size.

use super::context::{Context, lock};
use crate::Result;
use crate::device::{Memory, Storage};
use rustc_hash::FxHashMap;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What a buffer is for. The two kinds cannot be one: a buffer that the host maps for reading may
/// be nothing but the target of copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Storage,
    Readback,
}

impl Kind {
    fn usage(self) -> wgpu::BufferUsages {
        use wgpu::BufferUsages as Usage;
        match self {
            Kind::Storage => Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST,
            Kind::Readback => Usage::MAP_READ | Usage::COPY_DST,
        }
    }
}

/// Pooled bytes below which nothing is ever given back to the driver.
const KEPT_BYTES: u64 = 64 << 20;
/// Bind groups kept at most.
const MAX_GROUPS: usize = 1 << 13;

pub(super) struct Pool {
    context: Arc<Context>,
    largest: u64,
    /// The most bytes that buffers may take.
    limit: AtomicU64,
    /// The number of the next buffer.
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What can be handed out again, by kind and size and then by number.
    free: FxHashMap<(Kind, u64), BTreeMap<u64, Free>>,
    /// Bind groups made before. They hold their buffers, so those go back to the driver only with them.
    groups: FxHashMap<Vec<u64>, wgpu::BindGroup>,
    peak: u64,
    pooled: u64,
}

struct Free {
    buffer: wgpu::Buffer,
    epoch: u64,
}

/// What [`State::empty`] took out.
type Emptied = (FxHashMap<(Kind, u64), BTreeMap<u64, Free>>, FxHashMap<Vec<u64>, wgpu::BindGroup>);

impl Pool {
    pub fn new(context: Arc<Context>) -> Pool {
        let largest = context.device.limits().max_buffer_size;
        Pool {
            context,
            largest,
            limit: AtomicU64::new(u64::MAX),
            next: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// Bytes of the largest buffer it can make.
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// Sets the most bytes that buffers may take, those kept for reuse included.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// A buffer of at least `bytes`, its content undefined. With `before`, one that no command
    /// recorded since that epoch began refers to.
    pub fn take(self: &Arc<Pool>, kind: Kind, bytes: u64, before: Option<u64>) -> Result<Block> {
        self.context.check()?;
        if bytes > self.largest {
            return Err(self.context.error(format!(
                "a buffer of {bytes} bytes is above the device's max_buffer_size of {} bytes",
                self.largest
            )));
        }
        // Above half the limit the class may be past it; the exact size then is its own class.
        let class = size_class(bytes).min((self.largest & !15).max(bytes.next_multiple_of(4)));
        let block = |id, buffer, epoch| Block {
            buffer,
            id,
            kind,
            bytes: class,
            reusable: true,
            epoch: AtomicU64::new(epoch),
            pool: Arc::clone(self),
        };
        let mut state = lock(&self.state);
        if let Some(free) = state.free.get_mut(&(kind, class)) {
            // Always the one of the lowest number, so that a graph that is run again finds the same buffers for
            // the same values, and with them its bind groups.
            let usable = |free: &Free| before.is_none_or(|before| free.epoch < before);
            let place = free.iter().find(|(_, free)| usable(free)).map(|(&id, _)| id);
            if let Some((id, Free { buffer, epoch })) = place.and_then(|id| free.remove_entry(&id)) {
                state.pooled -= class;
                self.hold(&mut state, class);
                return Ok(block(id, buffer, epoch));
            }
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let live = self.context.live.load(Ordering::Relaxed);
        if live.saturating_add(class) > limit {
            return Err(self.context.out_of_memory(bytes));
        }
        // Held from now on, so that others asking meanwhile see what is left.
        self.hold(&mut state, class);
        let freed = if live + class + state.pooled > limit { state.empty() } else { Emptied::default() };
        // The driver may take long over a new buffer; others need not wait for it.
        drop(state);
        drop(freed);
        let created = self.context.guard(|| {
            self.context.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: class,
                usage: kind.usage(),
                mapped_at_creation: false,
            })
        });
        let buffer = created.map_err(|error| {
            self.context.live.fetch_sub(class, Ordering::Relaxed);
            self.context.raised(&error, bytes)
        })?;
        Ok(block(self.next.fetch_add(1, Ordering::Relaxed), buffer, 0))
    }

    /// Gives every buffer that nobody holds back to the driver.
    pub fn trim(&self) {
        let freed = lock(&self.state).empty();
        drop(freed);
    }

    /// The bind group of `key`, which names a layout and ranges of numbered blocks; made where it is new.
    pub fn group(
        &self,
        key: &[u64],
        make: impl FnOnce() -> Result<wgpu::BindGroup>,
    ) -> Result<wgpu::BindGroup> {
        if let Some(group) = lock(&self.state).groups.get(key) {
            return Ok(group.clone());
        }
        let group = make()?;
        let mut state = lock(&self.state);
        if state.groups.len() >= MAX_GROUPS {
            state.groups.clear();
        }
        state.groups.insert(key.to_vec(), group.clone());
        Ok(group)
    }

    /// How many bind groups are kept.
    #[cfg(test)]
    pub fn groups(&self) -> usize {
        lock(&self.state).groups.len()
    }

    pub fn memory(&self) -> Memory {
        let state = lock(&self.state);
        Memory { live: self.context.live.load(Ordering::Relaxed), peak: state.peak, pooled: state.pooled }
    }

    fn hold(&self, state: &mut State, bytes: u64) {
        let live = self.context.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        state.peak = state.peak.max(live);
    }
}

impl State {
    /// Takes out every free buffer, to be dropped when the lock is not held any more.
    fn empty(&mut self) -> Emptied {
        self.pooled = 0;
        (std::mem::take(&mut self.free), std::mem::take(&mut self.groups))
    }
}

/// The size of the buffer that serves a request: four steps to each power of two, so that less
/// than a fifth of it is waste, and a multiple of 16, so that a kernel may read its tail by `vec4`.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(16);
    let step = (bytes.next_power_of_two() / 8).max(16);
    bytes.next_multiple_of(step)
}

/// A buffer of the pool; it goes back when dropped.
pub(super) struct Block {
    pub buffer: wgpu::Buffer,
    /// No other buffer of the pool has this number, nor ever had.
    pub id: u64,
    reusable: bool,
    kind: Kind,
    bytes: u64,
    epoch: AtomicU64,
    pool: Arc<Pool>,
}

impl Block {
    /// Its size, which may be above what was asked for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the pool may hand it out again when it is dropped; not while it is mapped.
    pub fn set_reusable(&mut self, reusable: bool) {
        self.reusable = reusable;
    }

    /// Notes that a command recorded in `epoch` refers to it.
    pub fn mark(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// Whether it is a buffer of `pool`.
    pub fn is_from(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut dropped = None;
        let mut state = lock(&self.pool.state);
        self.pool.context.live.fetch_sub(self.bytes, Ordering::Relaxed);
        if !self.reusable {
            return;
        }
        // More in the pool than ever was live means sizes that nobody asks for any more.
        if state.pooled + self.bytes > state.peak.max(KEPT_BYTES) {
            dropped = Some(state.empty());
        }
        let free = Free { buffer: self.buffer.clone(), epoch: *self.epoch.get_mut() };
        state.free.entry((self.kind, self.bytes)).or_default().insert(self.id, free);
        state.pooled += self.bytes;
        drop(state);
        drop(dropped);
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} buffer of {} bytes on {}", self.kind, self.bytes, self.pool.context.name)
    }
}

impl Storage for Block {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_little_and_suit_vec4() {
        for bytes in (0..5000).chain([1 << 20, (1 << 20) + 1, (1 << 30) + 1, 3 << 30]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(16) && class >= 16, "{bytes}: {class}");
            assert!(bytes < 64 || class <= bytes + bytes / 4, "{bytes}: {class}");
            assert_eq!(size_class(class), class);
        }
    }
}
