//! From handles to a graph: what is pending below them, in order, with its history released.

use crate::tensor::{Inputs, Node};
use crate::{Error, Result, Tensor};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A node in a graph being run; inputs are item numbers, always lower than the item's own.
pub(super) struct Item {
    pub node: Arc<Node>,
    pub inputs: SmallVec<[usize; 3]>,
    /// Has no value yet.
    pub pending: bool,
    /// Its value is asked for, or somebody outside this graph holds a handle to it.
    pub keep: bool,
    /// The item whose buffer holds its value: itself, unless it is a view.
    pub root: usize,
}

/// A node's place in the graph that is being run. One graph of an engine runs at a time, and a node belongs to one
/// engine.
#[derive(Default)]
pub(crate) struct Mark {
    run: AtomicU64,
    place: AtomicUsize,
}

impl Mark {
    /// Whether this run comes by for the first time.
    fn first(&self, run: u64) -> bool {
        self.run.swap(run, Ordering::Relaxed) != run
    }

    fn set_place(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
    }

    fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed)
    }
}

/// The pending graph below `targets` in the order of recording, its history released; memory is taken for `likely`
/// nodes.
pub(super) fn collect(
    targets: &[&Tensor],
    finished: &(dyn Fn(u64) -> bool + Sync),
    likely: usize,
) -> Result<Vec<Item>> {
    static RUNS: AtomicU64 = AtomicU64::new(1);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let mut nodes: Vec<(Arc<Node>, Option<Inputs>)> = Vec::with_capacity(likely);
    let new = |tensor: &&Tensor| tensor.inner().mark.first(run);
    let entry = |tensor: &Tensor| (tensor.inner().clone(), None);
    nodes.extend(targets.iter().copied().filter(new).map(entry));
    let mut next = 0;
    while let Some((node, _)) = nodes.get(next) {
        let state = node.state();
        let inputs = state.value.is_none().then(|| state.inputs.clone());
        drop(state);
        if inputs.as_ref().is_some_and(|inputs| inputs.is_empty()) && node.depth > 0 {
            let message = "the value was dropped, and its inputs were released by an optimiser step or lost to an earlier error";
            return Err(Error::op(node.op.name(), message));
        }
        nodes.extend(inputs.iter().flatten().filter(new).map(entry));
        nodes[next].1 = inputs;
        next += 1;
    }
    nodes.sort_unstable_by_key(|(node, _)| node.id);
    for (at, (node, _)) in nodes.iter().enumerate() {
        node.mark.set_place(at);
    }
    // From the last to the first: what reads a node has forgotten it by then, or keeps it for a gradient.
    let mut items: Vec<Item> = Vec::with_capacity(nodes.len());
    for (at, (node, inputs)) in nodes.into_iter().enumerate().rev() {
        let pending = inputs.is_some();
        let from = inputs.unwrap_or_default();
        let inputs = from.iter().map(|input| input.inner().mark.place()).collect();
        if pending {
            let history = node.requires_grad && from.iter().any(Tensor::requires_grad);
            let held = Arc::strong_count(&node) > 1;
            let mut state = node.state();
            if finished(node.id) || state.finished || !history || !held {
                state.release();
            }
        }
        items.push(Item { keep: false, node, inputs, pending, root: at });
    }
    items.reverse();
    for at in 0..items.len() {
        if items[at].pending && items[at].node.view {
            items[at].root = items[items[at].inputs[0]].root;
        }
    }
    // Only now is all forgotten that this graph alone held.
    for item in &mut items {
        item.keep = Arc::strong_count(&item.node) > 1;
    }
    for target in targets {
        items[target.inner().mark.place()].keep = true;
    }
    Ok(items)
}
