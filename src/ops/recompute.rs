//! Values whose way there is computed again for the gradient instead of being kept.

use crate::graph::grad::{differentiable, recomputed};
use crate::tensor::{no_grad, records_gradients, replay};
use crate::{Layout, Op, Result, Spec, Tensor};
use std::fmt;
use std::sync::Arc;

type Function = dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync;

/// The first input, as a function of the next ones, and of the rest, which it has caught.
struct Recompute {
    arguments: usize,
    function: Arc<Function>,
}

impl fmt::Debug for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recompute")
    }
}

impl Op for Recompute {
    fn name(&self) -> &'static str {
        "recompute"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(inputs[0])
    }

    fn half(&self) -> bool {
        true
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        Some(*input)
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let gradients = if records_gradients() { differentiable } else { recomputed };
        let (arguments, caught) = inputs[1..].split_at(self.arguments);
        let mut found = gradients(arguments, caught, upstream, &*self.function)?;
        found.insert(0, None);
        Ok(found)
    }
}

/// `function` of these tensors, of which nothing but the result is kept for the gradient: that runs it once
/// more. It must give the same both times, and depend on no other tensors that require gradients than these
/// and those it has `caught`.
pub(crate) fn recompute(
    inputs: &[&Tensor],
    caught: &[Tensor],
    function: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let tensors: Vec<Tensor> = inputs.iter().map(|&input| input.clone()).collect();
    let mut all = inputs.iter().copied().chain(caught);
    if !records_gradients() || !all.any(Tensor::requires_grad) {
        return function(&tensors);
    }
    let value = no_grad(|| function(&tensors))?;
    let again = replay();
    let function = Arc::new(move |inputs: &[Tensor]| again(&|| function(inputs)));
    let all: Vec<&Tensor> = std::iter::once(&value).chain(inputs.iter().copied()).chain(caught).collect();
    Tensor::apply(Recompute { arguments: inputs.len(), function }, &all)
}
