//! Work on all cores, where there is enough of it: a thread that sleeps takes tens of microseconds to wake.
//!
//! Work is given in elementary operations, of about a nanosecond each. How it is divided is for the caller,
//! and may not depend on the number of threads; only where the parts run is decided here.

use crate::parallel;

/// Less work than this runs on the calling thread.
const WORTH: usize = 150_000;

/// Multiplications of a matrix product that take as long as one elementary operation.
const PRODUCTS: usize = 16;

/// The work of so many multiplications in matrix products.
pub(crate) fn products(sizes: [usize; 3]) -> usize {
    sizes.into_iter().fold(1, usize::saturating_mul) / PRODUCTS
}

/// Whether so much work is worth more than one thread, if there are more.
pub(crate) fn worth(work: usize) -> bool {
    work >= WORTH && rayon::current_num_threads() > 1
}

/// `f` of each part, in their order.
pub(crate) fn map<T: Send, R: Send>(
    work: usize,
    parts: impl IntoIterator<Item = T>,
    f: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    parallel::map(if worth(work) { 1 } else { usize::MAX }, parts, f)
}

/// Calls `f` for each part.
pub(crate) fn for_each<T: Send>(work: usize, parts: impl IntoIterator<Item = T>, f: impl Fn(T) + Sync) {
    map(work, parts, f);
}

/// Both results.
pub(crate) fn join<A: Send, B: Send>(
    work: usize,
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    if worth(work) { rayon::join(a, b) } else { (a(), b()) }
}

/// Runs what divides its work many times over on a thread of the pool, from which the others are called
/// without waiting for one of them to wake: from any other thread, each time the caller falls asleep and the
/// pool wakes. `work` is that of one time.
pub(crate) fn within<R: Send>(work: usize, f: impl FnOnce() -> R + Send) -> R {
    if worth(work) { rayon::scope(|_| f()) } else { f() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        for work in [0, usize::MAX] {
            let squares = within(work, || map(work, 0..1000_usize, |value| value * value));
            assert!(squares.iter().enumerate().all(|(place, &square)| square == place * place));
            let mut parts = vec![0; 100];
            for_each(work, parts.chunks_mut(7).enumerate(), |(place, part)| part.fill(place));
            assert!(parts.iter().enumerate().all(|(place, &part)| part == place / 7));
            assert_eq!(join(work, || 1, || 2), (1, 2));
        }
    }
}
