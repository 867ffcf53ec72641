//! Loops compiled for the widest vector registers that the machine has.

use pulp::{Arch, Simd, WithSimd};

/// Runs `work` as compiled for this machine's vector registers. The closure, and what it calls in its
/// loops, are to be `#[inline(always)]`: only what is inlined is compiled so.
///
/// A closure that is given to `Arch::dispatch` itself is called through an adapter of the compiler's, which
/// is not inlined when it is large; as `FnMut` it needs none.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnMut() -> R) -> R {
    struct Work<W>(W);

    impl<R, W: FnMut() -> R> WithSimd for Work<W> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }

    Arch::new().dispatch(Work(work))
}
