//! Aligned memory, kept for reuse: fresh pages from the system cost more than most kernels.

use crate::device::{Memory, Storage};
use range_alloc::RangeAllocator;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Alignment of every block: a cache line, and the widest vector.
const ALIGN: usize = 64;
/// Bytes from which on a block is a part of a slab. Free neighbours become one there, so that what one size
/// leaves serves another; by the system's own allocator each thread has memory of its own.
const LARGE: usize = 1 << 15;
/// Bytes of a slab at least. Pages that are never touched take no memory.
const SLAB: usize = 64 << 20;

/// Free memory, and what is in use.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Small free blocks by size; of each size there are as many, with those in use, as were ever in use at once.
    small: BTreeMap<usize, Vec<Raw>>,
    /// Bytes of all small blocks.
    small_bytes: usize,
    slabs: Vec<Slab>,
    live: usize,
    peak: usize,
}

/// Memory of the system's.
#[derive(Debug)]
struct Raw {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a `Raw` is an owned allocation.
unsafe impl Send for Raw {}

#[derive(Debug)]
struct Slab {
    raw: Raw,
    /// The free parts, by their distance from the first aligned byte.
    free: RangeAllocator<usize>,
    /// Bytes up to which it was ever in use.
    reached: usize,
}

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

impl Raw {
    /// Zeroed, so that a kernel's output slice never covers uninitialised memory.
    fn new(size: usize, align: usize) -> Option<Raw> {
        let layout = Layout::from_size_align(size, align).ok()?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Raw { start, layout })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: made by `alloc_zeroed` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl Slab {
    fn new(size: usize) -> Option<Slab> {
        // The system has zeroed pages for what it aligns itself; else they are zeroed, and so touched, at once.
        let raw = Raw::new(size.checked_add(ALIGN)?, size_of::<usize>())?;
        Some(Slab { raw, free: RangeAllocator::new(0..size), reached: 0 })
    }

    /// The first aligned byte.
    fn first(&self) -> *mut u8 {
        let start = self.raw.start.as_ptr();
        start.wrapping_add(start.align_offset(ALIGN))
    }

    fn size(&self) -> usize {
        self.free.initial_range().end
    }

    fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        let range = self.free.allocate_range(size).ok()?;
        self.reached = self.reached.max(range.end);
        NonNull::new(self.first().wrapping_add(range.start))
    }

    /// Takes a block back, if it is this one's.
    fn give_back(&mut self, start: NonNull<u8>, size: usize) -> bool {
        let place = (start.as_ptr() as usize).wrapping_sub(self.first() as usize);
        let own = place < self.size();
        if own {
            self.free.free_range(place..place + size);
        }
        own
    }
}

/// The block size for a request: of small ones a quarter of a power of two, so that there are few, and at most a
/// fifth is wasted.
fn class(bytes: usize) -> Option<usize> {
    let bytes = bytes.max(1);
    let step = if bytes < LARGE { (bytes.checked_next_power_of_two()? / 8).max(ALIGN) } else { ALIGN };
    // No allocation is larger than half of the address space.
    bytes.checked_next_multiple_of(step).filter(|&size| isize::try_from(size).is_ok())
}

impl State {
    fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        if size < LARGE {
            let raw = match self.small.get_mut(&size).and_then(Vec::pop) {
                Some(raw) => raw,
                None => {
                    let raw = Raw::new(size, ALIGN)?;
                    self.small_bytes += size;
                    raw
                }
            };
            return Some(ManuallyDrop::new(raw).start);
        }
        if let Some(start) = self.slabs.iter_mut().find_map(|slab| slab.take(size)) {
            return Some(start);
        }
        // Larger ones the more there is, and just what is asked for where the system has no more.
        let wanted = size.max(SLAB).max(self.held() / 4).next_multiple_of(ALIGN);
        self.slabs.push(Slab::new(wanted).or_else(|| Slab::new(size))?);
        self.slabs.last_mut()?.take(size)
    }

    fn give_back(&mut self, start: NonNull<u8>, size: usize) {
        if size < LARGE {
            if let Ok(layout) = Layout::from_size_align(size, ALIGN) {
                self.small.entry(size).or_default().push(Raw { start, layout });
            }
        } else if let Some(at) = self.slabs.iter_mut().position(|slab| slab.give_back(start, size)) {
            // The others can hold all that was ever in use at once.
            if self.slabs[at].free.is_empty() && self.held() - self.slabs[at].size() >= self.peak {
                self.slabs.swap_remove(at);
            }
        }
    }

    /// Bytes of all slabs.
    fn held(&self) -> usize {
        self.slabs.iter().map(Slab::size).sum()
    }

    fn memory(&self) -> Memory {
        let touched = self.small_bytes + self.slabs.iter().map(|slab| slab.reached).sum::<usize>();
        Memory { live: self.live as u64, peak: self.peak as u64, pooled: (touched - self.live) as u64 }
    }
}

impl Pool {
    /// A block of at least `bytes` bytes; `None` when the system has no memory left.
    pub fn take(pool: &Arc<Pool>, bytes: usize) -> Option<Block> {
        let size = class(bytes)?;
        let mut state = pool.state();
        let start = state.take(size)?;
        state.live += size;
        state.peak = state.peak.max(state.live);
        Some(Block { start, size, pool: pool.clone() })
    }

    pub fn memory(&self) -> Memory {
        self.state().memory()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.live -= self.size;
        state.give_back(self.start, self.size);
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
        let _large = Pool::take(&pool, LARGE).unwrap();
        for bytes in [usize::MAX, usize::MAX / 2 + 1, usize::MAX / 2 - 1000] {
            assert!(Pool::take(&pool, bytes).is_none(), "{bytes}");
        }
    }

    #[test]
    fn what_large_blocks_leave_serves_other_sizes() {
        const MIB: usize = 1 << 20;
        let pool = Arc::<Pool>::default();
        let take = |mib: usize| Pool::take(&pool, mib * MIB).unwrap();
        let blocks = [take(4), take(6), take(2)];
        let start = blocks[0].pointer();
        drop(blocks);
        assert_eq!(pool.memory(), Memory { live: 0, peak: 12 << 20, pooled: 12 << 20 });
        // Joined again, and taken in another division.
        let blocks = [take(9), take(3)];
        assert_eq!((blocks[0].pointer(), blocks[1].pointer()), (start, start.wrapping_add(9 * MIB)));
        assert_eq!(pool.memory(), Memory { live: 12 << 20, peak: 12 << 20, pooled: 0 });
        blocks[1].bytes().iter().step_by(4096).for_each(|&byte| assert_eq!(byte, 0));
    }

    #[test]
    fn slabs_that_are_not_needed_go_back_to_the_system() {
        let pool = Arc::<Pool>::default();
        let [first, second] = [0, 1].map(|_| Pool::take(&pool, SLAB).unwrap());
        let slabs = || pool.state().slabs.len();
        assert_eq!(slabs(), 2);
        drop(first);
        drop(second);
        // Both were in use at once.
        assert_eq!(slabs(), 2);
        let larger = Pool::take(&pool, 3 * SLAB).unwrap();
        assert_eq!((slabs(), pool.memory().peak), (3, 3 * SLAB as u64));
        drop(Pool::take(&pool, SLAB));
        assert_eq!(slabs(), 2);
        drop(larger);
        assert_eq!(slabs(), 2);
    }
}
