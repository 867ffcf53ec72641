//! Reverse-mode differentiation: a walk over the recorded graph that names no operation.

use crate::tensor::{Inputs, no_grad};
use crate::{Error, Result, Tensor};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// The gradients of a scalar by tensor, from [`Tensor::backward`].
#[derive(Clone, Debug)]
pub struct Gradients {
    loss: Tensor,
    by_id: FxHashMap<u64, Tensor>,
    /// The nodes that gradient flowed through: an optimiser step ends their history.
    visited: Arc<FxHashSet<u64>>,
}

impl Gradients {
    /// The gradient of a leaf (a tensor from [`Tensor::variable`], such as a parameter), of its
    /// shape; `None` where the scalar does not depend on it.
    pub fn get(&self, tensor: &Tensor) -> Option<&Tensor> {
        self.by_id.get(&tensor.id())
    }

    /// Replaces a gradient, as clipping does.
    pub fn set(&mut self, tensor: &Tensor, gradient: Tensor) {
        self.by_id.insert(tensor.id(), gradient);
    }

    /// Adds the gradients of another scalar, so that several small batches make the step of a large one.
    /// A tensor that only one of the two scalars depends on has the gradient of that one.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0], 2, &Engine::cpu())?.variable()?;
    /// let mut gradients = x.sum(.., false)?.backward()?;
    /// gradients.add(&x.square()?.sum(.., false)?.backward()?)?;
    /// assert_eq!(gradients.get(&x).unwrap().to_vec::<f32>()?, [3.0, 5.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn add(&mut self, other: &Gradients) -> Result<()> {
        for (&id, gradient) in &other.by_id {
            let sum = match self.by_id.get(&id) {
                Some(own) => no_grad(|| own.add(gradient))?,
                None => gradient.clone(),
            };
            self.by_id.insert(id, sum);
        }
        Ok(())
    }

    /// Computes the loss, its gradients and `others` while nothing that they were computed from has
    /// been replaced, and forgets activations as [`finish`](Gradients::finish) does.
    pub(crate) fn compute(&self, others: Vec<Tensor>) -> Result<()> {
        let mut targets = others;
        targets.push(self.loss.clone());
        targets.extend(self.by_id.values().cloned());
        super::execute::evaluate(&targets, &|id| self.visited.contains(&id), false)
    }

    /// Computes `targets` and the loss, and forgets how the loss was computed: its value stays,
    /// the activations go, and parameters can be updated in place. Optimisers end a step so.
    pub fn finish(self, targets: &[Tensor]) -> Result<()> {
        let mut targets = targets.to_vec();
        targets.push(self.loss.clone());
        drop(self.by_id);
        super::execute::evaluate(&targets, &|id| self.visited.contains(&id), false)?;
        // What had been computed before (a loss that was read early) was not part of that.
        let mut stack = vec![self.loss];
        while let Some(tensor) = stack.pop() {
            if self.visited.contains(&tensor.id()) {
                stack.extend(tensor.inner().state().release());
            }
        }
        Ok(())
    }
}

impl Tensor {
    /// The gradients of this scalar with respect to every leaf it was computed from.
    ///
    /// Only records nodes: the gradients are computed when they are read or when an optimiser
    /// steps. They are not differentiable themselves; [`grad`](Tensor::grad) gives such. An error
    /// unless the tensor has one element and depends on a leaf that requires gradients.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0], 2, &Engine::cpu())?.variable()?;
    /// let gradients = x.mul(&x)?.sum(.., false)?.backward()?;
    /// assert_eq!(gradients.get(&x).unwrap().to_vec::<f32>()?, [2.0, 4.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn backward(&self) -> Result<Gradients> {
        let (by_id, visited) = no_grad(|| walk(scalar(self)?, self.ones_like()?, None, false))?;
        Ok(Gradients { loss: self.clone(), by_id, visited: Arc::new(visited) })
    }

    /// The gradients of this scalar with respect to `inputs` (leaves or not), zeros where it does not
    /// depend on one. They are differentiable in turn, as with PyTorch's `create_graph=True`.
    pub fn grad(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let (mut by_id, _) = walk(scalar(self)?, self.ones_like()?, Some(inputs), false)?;
        inputs.iter().map(|input| by_id.remove(&input.id()).map_or_else(|| input.zeros_like(), Ok)).collect()
    }
}

/// For an op whose own gradient kernel has no gradient: those of `f` at the op's inputs, given the
/// gradient `upstream` of its result, in the ops that `f` records and so differentiable in turn; then those
/// of tensors that `f` has `caught`. `None` for a tensor that requires none.
pub(crate) fn differentiable(
    inputs: &[Tensor],
    caught: &[Tensor],
    upstream: &Tensor,
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Option<Tensor>>> {
    // Views of their own, at which the walk ends: one input may be another, or be computed from it.
    let view = |input: &Tensor| match input.rank() {
        0 => input.reshape([1])?.reshape([0; 0]),
        _ => input.narrow(0, 0, input.size(0)?),
    };
    let views = inputs.iter().map(view).collect::<Result<Vec<_>>>()?;
    let all: Vec<&Tensor> = views.iter().chain(caught).collect();
    let wanted: Vec<&Tensor> = all.iter().copied().filter(|view| view.requires_grad()).collect();
    let (mut by_id, _) = walk(&f(&views)?, upstream.clone(), Some(&wanted), true)?;
    Ok(all.iter().map(|view| by_id.remove(&view.id())).collect())
}

/// The same where the gradients need not be differentiable: what `f` records lives until they are computed.
/// An error where it depends on other tensors that require gradients.
pub(crate) fn recomputed(
    inputs: &[Tensor],
    caught: &[Tensor],
    upstream: &Tensor,
    f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Option<Tensor>>> {
    let leaf = |input: &Tensor| if input.requires_grad() { input.variable() } else { Ok(input.detach()) };
    let leaves = inputs.iter().map(leaf).collect::<Result<Vec<_>>>()?;
    let all: Vec<&Tensor> = leaves.iter().chain(caught).collect();
    let wanted: Vec<&Tensor> = all.iter().copied().filter(|leaf| leaf.requires_grad()).collect();
    let result = f(&leaves)?;
    if !result.requires_grad() {
        return Ok(vec![None; all.len()]);
    }
    let (mut by_id, visited) = walk(&result, upstream.clone(), Some(&wanted), true)?;
    let mut stack = vec![result];
    while let Some(tensor) = stack.pop() {
        if !visited.contains(&tensor.id()) || wanted.iter().any(|wanted| wanted.id() == tensor.id()) {
            continue;
        }
        let mut state = tensor.inner().state();
        if !state.inputs.iter().any(Tensor::requires_grad) {
            let message = "the function depends on trained tensors that it was not given";
            return Err(Error::op("recompute", message));
        }
        if !std::mem::replace(&mut state.finished, true) {
            stack.extend(state.inputs.iter().cloned());
        }
    }
    Ok(all.iter().map(|leaf| by_id.remove(&leaf.id())).collect())
}

/// The tensor, if gradients can start from it.
fn scalar(loss: &Tensor) -> Result<&Tensor> {
    if loss.elements() != 1 {
        return Err(Error::op("backward", format!("the loss has shape {}, not one element", loss.shape())));
    }
    if !loss.requires_grad() {
        return Err(Error::op("backward", "nothing the loss was computed from requires gradients"));
    }
    Ok(loss)
}

/// Gradients of the leaves (or of `wanted`, below which the walk does not go where it `ends` there)
/// given that of `result`, and the nodes visited.
fn walk(
    result: &Tensor,
    upstream: Tensor,
    wanted: Option<&[&Tensor]>,
    ends: bool,
) -> Result<(FxHashMap<u64, Tensor>, FxHashSet<u64>)> {
    let wanted: Option<FxHashSet<u64>> = wanted.map(|inputs| inputs.iter().map(|t| t.id()).collect());
    let inputs_of = |tensor: &Tensor| match &wanted {
        Some(wanted) if ends && wanted.contains(&tensor.id()) => Ok(Inputs::new()),
        _ => inputs_of(tensor),
    };
    let mut visited = FxHashSet::default();
    let mut order = Vec::new();
    let mut stack = vec![result.clone()];
    while let Some(tensor) = stack.pop() {
        if visited.insert(tensor.id()) {
            stack.extend(inputs_of(&tensor)?.into_iter().filter(Tensor::requires_grad));
            order.push(tensor);
        }
    }
    // Numbers grow in the order of recording, so every node comes after all that use it.
    order.sort_unstable_by_key(|tensor| std::cmp::Reverse(tensor.id()));

    let mut gradients = FxHashMap::from_iter([(result.id(), upstream)]);
    for tensor in order {
        let Some(upstream) = gradients.get(&tensor.id()).cloned() else { continue };
        let inputs = inputs_of(&tensor)?;
        let leaf = !inputs.iter().any(Tensor::requires_grad);
        if wanted.as_ref().map_or(!leaf, |wanted| !wanted.contains(&tensor.id())) {
            gradients.remove(&tensor.id());
        }
        if leaf {
            continue;
        }
        let op = &tensor.inner().op;
        let found = op.gradient(&inputs, &tensor, &upstream)?;
        for (input, gradient) in inputs.iter().zip(found) {
            let Some(gradient) = gradient.filter(|_| input.requires_grad()) else { continue };
            if gradient.shape() != input.shape() || gradient.dtype() != input.dtype() {
                let (given, wanted) = (gradient.spec(), input.spec());
                return Err(Error::op(op.name(), format!("gradient {given:?} for an input {wanted:?}")));
            }
            let sum = match gradients.remove(&input.id()) {
                Some(other) => other.add(&gradient)?,
                None => gradient,
            };
            gradients.insert(input.id(), sum);
        }
    }
    Ok((gradients, visited))
}

fn inputs_of(tensor: &Tensor) -> Result<Inputs> {
    let state = tensor.inner().state();
    if state.released && tensor.requires_grad() {
        return Err(Error::op(
            "backward",
            "the graph was released by an optimiser step; compute the loss again before another backward",
        ));
    }
    Ok(state.inputs.clone())
}
