//! The threads that kernels share their work out to.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::LazyLock;

/// Not rayon's global ones: those may all wait for an evaluation, which then finds no thread for its
/// kernels. As many as the caller's pool has, so that a program's own limit holds.
static THREADS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let name = |i| format!("kiln-cpu-{i}");
    let threads = rayon::current_num_threads();
    ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build().ok()
});

/// How many there are.
pub(super) fn count() -> usize {
    THREADS.as_ref().map_or(1, ThreadPool::current_num_threads)
}

/// Runs `work` on one of them, at once where the caller is one; on the caller's own where the system grants
/// no others.
pub(crate) fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match &*THREADS {
        Some(threads) => threads.install(work),
        None => work(),
    }
}
