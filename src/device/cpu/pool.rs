//! Aligned memory, kept for reuse: fresh pages from the system cost more than most kernels.

use crate::device::{Memory, Storage};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Alignment of every block: a cache line, and the widest vector.
const ALIGN: usize = 64;

/// Free blocks by size, and what is in use.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    free: BTreeMap<usize, Vec<Raw>>,
    memory: Memory,
}

#[derive(Debug)]
struct Raw(NonNull<u8>);

// SAFETY: a `Raw` is an owned allocation.
unsafe impl Send for Raw {}

/// A block of memory that returns to its pool when dropped.
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    size: usize,
    pool: Arc<Pool>,
}

// SAFETY: a block is plain memory; who may write it when is the executor's affair.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// The block size for a request: a quarter of a power of two, so that at most a fifth is wasted.
fn class(bytes: usize) -> Option<usize> {
    let quarter = (bytes.max(1).checked_next_power_of_two()? / 8).max(ALIGN);
    bytes.max(1).checked_next_multiple_of(quarter)
}

impl Pool {
    /// A block of at least `bytes` bytes; `None` when the system has no memory left.
    pub fn take(pool: &Arc<Pool>, bytes: usize) -> Option<Block> {
        let size = class(bytes)?;
        let mut state = pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = match state.free.get_mut(&size).and_then(Vec::pop) {
            Some(raw) => {
                state.memory.pooled -= size as u64;
                raw.0
            }
            None => {
                let layout = Layout::from_size_align(size, ALIGN).ok()?;
                // SAFETY: the size is not zero. Zeroed, so that a kernel's output slice never
                // covers uninitialised memory; for large blocks the system's pages are zero anyway.
                NonNull::new(unsafe { alloc_zeroed(layout) })?
            }
        };
        state.memory.live += size as u64;
        state.memory.peak = state.memory.peak.max(state.memory.live);
        Some(Block { start, size, pool: pool.clone() })
    }

    pub fn memory(&self) -> Memory {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).memory
    }
}

fn release(start: NonNull<u8>, size: usize) {
    // SAFETY: made by `alloc_zeroed` with this very layout.
    unsafe { dealloc(start.as_ptr(), Layout::from_size_align_unchecked(size, ALIGN)) }
}

impl Drop for State {
    fn drop(&mut self) {
        for (&size, blocks) in &self.free {
            blocks.iter().for_each(|raw| release(raw.0, size));
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut state = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.memory.live -= self.size as u64;
        state.memory.pooled += self.size as u64;
        state.free.entry(self.size).or_default().push(Raw(self.start));
        // No more is kept than was ever in use at once. The largest blocks go first, but not those
        // of the size in use now.
        while state.memory.live + state.memory.pooled > state.memory.peak {
            let other = state.free.keys().rev().find(|&&size| size != self.size);
            let size = other.copied().unwrap_or(self.size);
            let blocks = state.free.entry(size).or_default();
            if let Some(raw) = blocks.pop() {
                release(raw.0, size);
                state.memory.pooled -= size as u64;
            }
            if state.free.get(&size).is_some_and(Vec::is_empty) {
                state.free.remove(&size);
            }
        }
    }
}

impl Block {
    /// The first byte.
    pub fn pointer(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block is `size` initialised bytes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size) }
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
    fn blocks_are_counted_and_reused() {
        let pool = Arc::<Pool>::default();
        let block = Pool::take(&pool, 1000).unwrap();
        let start = block.pointer();
        assert_eq!(start as usize % ALIGN, 0);
        assert_eq!(pool.memory(), Memory { live: 1024, peak: 1024, pooled: 0 });
        drop(block);
        assert_eq!(pool.memory(), Memory { live: 0, peak: 1024, pooled: 1024 });
        assert_eq!(Pool::take(&pool, 1001).unwrap().pointer(), start);
        assert!(Pool::take(&pool, usize::MAX).is_none());
    }

    #[test]
    fn blocks_of_other_sizes_make_room() {
        let pool = Arc::<Pool>::default();
        drop(Pool::take(&pool, 4096));
        let small = Pool::take(&pool, 1024).unwrap();
        let start = small.pointer();
        drop(small);
        // The block of 4,096 bytes left, so that the one in use now is kept.
        assert_eq!(pool.memory(), Memory { live: 0, peak: 4096, pooled: 1024 });
        assert_eq!(Pool::take(&pool, 1024).unwrap().pointer(), start);
    }
}
