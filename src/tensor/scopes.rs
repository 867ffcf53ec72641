//! What holds for all that is recorded inside a closure, on its thread.

use crate::{DType, Op, Result, Tensor};
use std::cell::Cell;
use std::thread::LocalKey;

thread_local! {
    static GRAD: Cell<bool> = const { Cell::new(true) };
    static AUTOCAST: Cell<bool> = const { Cell::new(false) };
    static REPLAY: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` with the flag set to `value`, which it loses again whatever happens.
fn with<R>(flag: &'static LocalKey<Cell<bool>>, value: bool, body: impl FnOnce() -> R) -> R {
    struct Restore(&'static LocalKey<Cell<bool>>, bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restore = Restore(flag, flag.replace(value));
    body()
}

/// Runs `body` without recording for gradients: nothing computed inside requires them.
///
/// As PyTorch's `torch.no_grad()`; per thread.
pub fn no_grad<R>(body: impl FnOnce() -> R) -> R {
    with(&GRAD, false, body)
}

/// Whether what is recorded now can be differentiated later: not inside [`no_grad`].
pub(crate) fn records_gradients() -> bool {
    GRAD.get()
}

/// Runs `body` in mixed precision: matrix products and convolutions take `f32` operands as `f16`, sum in
/// `f32` and give `f16`; what follows them is stored in `f16`, and reductions and softmaxes of it give
/// `f32`. Parameters stay as they are.
///
/// As PyTorch's `torch.autocast(dtype=torch.float16)`; per thread. The loss belongs inside, its
/// [`backward`](Tensor::backward) outside. Small gradients vanish in `f16`:
/// [`GradScaler`](crate::optim::GradScaler) keeps them (Micikevicius et al. 2018, arXiv:1710.03740).
///
/// ```
/// use kiln::{DType, Engine, Tensor, autocast};
/// let x = Tensor::ones([2, 2], &Engine::cpu())?;
/// let y = autocast(|| x.matmul(&x))?;
/// assert_eq!((y.dtype(), x.dtype()), (DType::F16, DType::F32));
/// # Ok::<(), kiln::Error>(())
/// ```
pub fn autocast<R>(body: impl FnOnce() -> R) -> R {
    with(&AUTOCAST, true, body)
}

/// Whether this is inside [`autocast`].
pub(crate) fn autocasts() -> bool {
    AUTOCAST.get()
}

/// Runs what is recorded once more for a gradient, in the precision that holds here now.
pub(crate) fn replay() -> impl Fn(&dyn Fn() -> Result<Tensor>) -> Result<Tensor> + Send + Sync {
    let autocast = autocasts();
    move |body| with(&GRAD, true, || with(&AUTOCAST, autocast, || with(&REPLAY, true, body)))
}

/// Whether this has been recorded before: what follows the data, as running statistics do, has seen it.
pub(crate) fn replays() -> bool {
    REPLAY.get()
}

/// The result of an op that sums products of two operands, which it reads in either precision: narrow
/// where both operands are, as [`autocast`] makes them.
pub(crate) fn product(op: impl Op, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
    if autocasts() && [a, b].iter().any(|operand| operand.dtype() == DType::F32) {
        return product(op, [&a.cast(DType::F16)?, &b.cast(DType::F16)?]);
    }
    let narrow = [a, b].iter().all(|operand| operand.dtype() == DType::F16);
    let result = Tensor::apply(op, &[a, b])?;
    if narrow { result.cast(DType::F16) } else { Ok(result) }
}

/// The narrow tensor that this one is a widened copy of, or itself: an op that reads either precision takes the
/// narrow one, which is as exact and which tensor cores multiply.
pub(crate) fn unwidened(tensor: &Tensor) -> Tensor {
    let node = tensor.inner();
    if tensor.dtype() == DType::F32
        && node.op.name() == "cast"
        && let [source] = node.state().inputs.as_slice()
        && source.dtype() == DType::F16
    {
        return source.clone();
    }
    tensor.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;

    #[test]
    fn what_was_widened_comes_back_narrow() {
        let engine = Engine::cpu();
        let narrow = Tensor::rand([3], 0, &engine).unwrap().cast(DType::F16).unwrap();
        let wide = narrow.cast(DType::F32).unwrap();
        assert_eq!(unwidened(&wide).id(), narrow.id());
        // An integer that became a float, a narrow tensor and one that was narrowed stay what they are.
        let counted = narrow.cast(DType::I32).unwrap().cast(DType::F32).unwrap();
        for tensor in [&counted, &narrow, &wide.mul(2.0).unwrap()] {
            assert_eq!(unwidened(tensor).id(), tensor.id());
        }
    }
}
