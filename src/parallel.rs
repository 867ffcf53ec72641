//! Loops on the threads of the caller's pool. Rayon's own adapters are compiled anew for each loop, most of
//! it machinery; here a loop is a function of a range, and the machinery exists once.

use crate::Result;
use rayon::iter::{self, ParallelIterator};
use std::ops::Range;
use std::slice;
use std::sync::OnceLock;
#[cfg(feature = "classical")]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Calls `run` with ranges that hold each number below `count` once. No range that can be cut into two of
/// `least` or more is kept from a thread without work.
pub(crate) fn ranges(count: usize, least: usize, run: &(dyn Fn(Range<usize>) + Sync)) {
    let least = least.max(1);
    let cut = |range: Range<usize>| {
        if range.len() / 2 < least {
            return (range, None);
        }
        let middle = range.start + range.len() / 2;
        (range.start..middle, Some(middle..range.end))
    };
    if count / 2 < least {
        run(0..count);
    } else {
        iter::split(0..count, cut).for_each(run);
    }
}

/// `f` of each part, in their order; `least` is that of [`ranges`].
pub(crate) fn map<T: Send, R: Send>(
    least: usize,
    parts: impl IntoIterator<Item = T>,
    f: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let mut parts: Vec<T> = parts.into_iter().collect();
    let count = parts.len();
    let mut results: Vec<R> = Vec::with_capacity(count);
    let (from, to) = (Places(parts.as_mut_ptr()), Places(results.as_mut_ptr()));
    // SAFETY: the threads take the parts out; what a panic leaves behind is not dropped.
    unsafe { parts.set_len(0) };
    ranges(count, least, &|range| {
        for at in range {
            // SAFETY: each place is some call's alone, and there are `count` in both vectors.
            unsafe { to.at(at).write(f(from.at(at).read())) };
        }
    });
    // SAFETY: all have been written.
    unsafe { results.set_len(count) };
    results
}

/// As [`map`], of what can fail; after an error no part is begun any more.
#[cfg(feature = "classical")]
pub(crate) fn try_map<T: Send, R: Send>(
    parts: impl IntoIterator<Item = T>,
    f: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let failed = AtomicBool::new(false);
    let results = map(1, parts, |part| {
        if failed.load(Relaxed) {
            return None;
        }
        let result = f(part);
        failed.fetch_or(result.is_err(), Relaxed);
        Some(result)
    });
    results.into_iter().flatten().collect()
}

/// Calls `run` with the number of each piece of `size` elements, of which the last may be shorter, and the
/// piece; `least` is that of [`ranges`].
pub(crate) fn chunks<T: Send>(
    data: &mut [T],
    size: usize,
    least: usize,
    run: impl Fn(usize, &mut [T]) + Sync,
) {
    let (length, data) = (data.len(), Places(data.as_mut_ptr()));
    ranges(length.div_ceil(size), least, &|range| {
        let (start, end) = (range.start * size, length.min(range.end * size));
        // SAFETY: the pieces of each range are some call's alone.
        let pieces = unsafe { slice::from_raw_parts_mut(data.at(start), end - start) };
        range.zip(pieces.chunks_mut(size)).for_each(|(at, piece)| run(at, piece));
    });
}

/// As [`chunks`], of what can fail; after an error no piece is begun any more.
pub(crate) fn try_chunks<T: Send>(
    data: &mut [T],
    size: usize,
    least: usize,
    run: impl Fn(usize, &mut [T]) -> Result<()> + Sync,
) -> Result<()> {
    let failed = OnceLock::new();
    chunks(data, size, least, |at, piece| {
        if failed.get().is_none()
            && let Err(error) = run(at, piece)
        {
            // Of several errors one is told.
            let _ = failed.set(error);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

/// The first of elements that threads reach at places of their own.
pub(crate) struct Places<T>(pub *mut T);

// SAFETY: whoever reaches an element has it alone, so it is as if it had been sent there.
unsafe impl<T: Send> Sync for Places<T> {}

impl<T> Places<T> {
    pub fn at(&self, place: usize) -> *mut T {
        self.0.wrapping_add(place)
    }
}
