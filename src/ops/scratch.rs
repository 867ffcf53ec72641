//! Memory that a thread's kernels use while they run.

use std::cell::RefCell;

/// Runs `body` with memory of `length` floats, whose content is left from before. The thread keeps
/// it for the next time: fresh pages from the system cost more than what is done with them.
pub(crate) fn with_scratch<R>(length: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        // Several, because a thread that waits inside `body` may take up other work meanwhile.
        static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
    }
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < length {
        scratch = vec![0.0; length];
    }
    let result = body(&mut scratch[..length]);
    SCRATCH.with_borrow_mut(|kept| kept.push(scratch));
    result
}
