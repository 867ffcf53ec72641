//! Loops as vectors of the processor at hand.

use pulp::{Arch, Simd, WithSimd};

/// Runs `work`, compiled for each instruction set there is, in the version for this processor.
///
/// The closure must be written here and marked `#[inline(always)]`: one that is not inlined is compiled for
/// what every processor has. Handed to [`Arch::dispatch`] itself, a closure that could run twice is called
/// through a function of its own that bears no such mark.
#[inline(always)]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);

    impl<R, F: FnOnce() -> R> WithSimd for Work<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> R {
            (self.0)()
        }
    }

    Arch::new().dispatch(Work(work))
}

/// Copies `run` to the start of `to`. Where nearly all runs are of `N`: a length that is not known is a call of
/// memcpy.
#[inline(always)]
pub(crate) fn copy<const N: usize>(run: &[f32], to: &mut [f32]) {
    match (<&[f32; N]>::try_from(run), to.first_chunk_mut::<N>()) {
        (Ok(run), Some(to)) => *to = *run,
        _ => to[..run.len()].copy_from_slice(run),
    }
}
