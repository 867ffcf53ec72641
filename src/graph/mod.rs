//! The graph: gradients, and the way from recorded nodes to kernels.

pub(crate) mod collect;
pub(crate) mod execute;
mod fuse;
pub(crate) mod grad;
mod place;
mod profile;
mod schedule;

pub use grad::Gradients;
pub(crate) use schedule::Schedules;

use crate::tensor::Inputs;
use crate::{Result, Tensor};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Computes several tensors in one go: what they share is computed once.
pub fn eval<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<()> {
    let tensors: Vec<Tensor> = tensors.into_iter().cloned().collect();
    execute::evaluate(&tensors, &|_| false, false)
}

/// Everything that `output` is computed from and that has not been computed yet, in the order of
/// recording, with each node's inputs; what comes before a node that `ends` the walk is left out.
pub(crate) fn recorded(output: &Tensor, ends: impl Fn(&Tensor) -> bool) -> Vec<(Tensor, Inputs)> {
    let mut nodes = BTreeMap::new();
    let mut stack = vec![output.clone()];
    while let Some(tensor) = stack.pop() {
        if let Entry::Vacant(place) = nodes.entry(tensor.id()) {
            let inputs = if ends(&tensor) { Inputs::new() } else { tensor.inner().state().inputs.clone() };
            stack.extend(inputs.iter().cloned());
            place.insert((tensor, inputs));
        }
    }
    nodes.into_values().collect()
}
