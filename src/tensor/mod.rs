//! The tensor: a handle to a node of the graph.

mod construct;
mod display;
mod operators;
mod read;
mod scopes;

pub use operators::Operand;
pub use scopes::{autocast, no_grad};
pub(crate) use scopes::{autocasts, product, records_gradients, replay, replays, unwidened};

use crate::device::{Buffer, DeviceKind};
use crate::expr::Expr;
use crate::graph::collect::Mark;
use crate::graph::execute;
use crate::ops::elementwise::{self, cast};
use crate::{DType, Engine, Error, Layout, Op, Result, Shape, Spec};
use smallvec::SmallVec;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pending nodes in a row before a new one evaluates them.
const MAX_DEPTH: u32 = 20_000;

/// An n-dimensional array that is computed when it is read.
///
/// An operation checks its inputs at once (a mistake is an `Err` at the line that made it) and
/// records a node; nothing runs until a value is read ([`to_vec`](Tensor::to_vec),
/// [`item`](Tensor::item)), at [`eval`](crate::eval), or when an optimiser steps. Cloning copies
/// the handle.
#[derive(Clone)]
pub struct Tensor {
    node: Arc<Node>,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Tensor({}, {} {}, {:?})",
            self.node.op.name(),
            self.dtype(),
            self.shape(),
            self.node.engine
        )
    }
}

/// An operation with its inputs and, once computed, its result.
pub(crate) struct Node {
    pub id: u64,
    pub op: Arc<dyn Op>,
    pub spec: Spec,
    /// The result is the first input's buffer seen through `spec.layout`.
    pub view: bool,
    pub requires_grad: bool,
    /// Least and greatest value of an index tensor that came from the host.
    range: Option<(i32, i32)>,
    /// Pending nodes above this one when it was recorded; 0 if it never had inputs.
    pub depth: u32,
    /// For whoever runs the graph.
    pub mark: Mark,
    engine: Engine,
    state: Mutex<State>,
}

/// Mostly one to three, which take no memory of their own.
pub(crate) type Inputs = SmallVec<[Tensor; 3]>;

#[derive(Default)]
pub(crate) struct State {
    pub inputs: Inputs,
    pub value: Option<Buffer>,
    /// Gave up inputs that gradient flowed to: there is no way back through this node.
    pub released: bool,
    /// Its inputs are needed no longer than until it is computed.
    pub finished: bool,
}

impl State {
    /// Forgets the inputs, and returns them.
    pub fn release(&mut self) -> Inputs {
        self.released |= self.inputs.iter().any(Tensor::requires_grad);
        std::mem::take(&mut self.inputs)
    }
}

impl Node {
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // State is replaced whole, so it is consistent even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    /// Frees a chain of nodes without recursion: a million of them must not overflow the stack.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut pending = std::mem::take(&mut state.inputs);
        while let Some(tensor) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(tensor.node) {
                let state = node.state.get_mut().unwrap_or_else(PoisonError::into_inner);
                pending.extend(std::mem::take(&mut state.inputs));
            }
        }
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The output of an op, which for an elementwise one is that of its row.
fn output(op: &dyn Op, inputs: &[Spec]) -> Result<Spec> {
    let expected = match op.expr() {
        _ if elementwise::is_plain(op) => return op.output(inputs),
        Some(Expr::Row(row)) => row.output(&inputs[..row.rule.arity().min(inputs.len())]),
        Some(Expr::Partial(row, numbers)) => row.output_with(&numbers, inputs),
        Some(Expr::Constant(_)) | None => return op.output(inputs),
    };
    let (spec, expected) = (op.output(inputs)?, expected?);
    if spec != expected {
        let [found, expected] = [spec, expected].map(|spec| format!("{} {}", spec.dtype, spec.shape()));
        return Err(Error::op(op.name(), format!("the output is {found}, that of its row {expected}")));
    }
    Ok(spec)
}

impl Tensor {
    /// Applies an operation, one of Kiln's or your own. All inputs must share an engine.
    pub fn apply(op: impl Op, inputs: &[&Tensor]) -> Result<Tensor> {
        Tensor::record(Arc::new(op), inputs)
    }

    fn record(op: Arc<dyn Op>, inputs: &[&Tensor]) -> Result<Tensor> {
        let Some(first) = inputs.first() else {
            return Err(Error::op(op.name(), "an operation without inputs is made by Tensor::generate"));
        };
        if inputs.iter().any(|input| !input.node.engine.same(&first.node.engine)) {
            return Err(Error::op(op.name(), "the inputs belong to different engines"));
        }
        if !op.half() && inputs.iter().any(|input| input.dtype() == DType::F16) {
            return Tensor::record_widened(op, inputs);
        }
        let specs: SmallVec<[Spec; 3]> = inputs.iter().map(|input| *input.spec()).collect();
        let mut spec = output(&*op, &specs)?;
        let view = op.view(&specs[0].layout);
        if let Some(layout) = view {
            debug_assert_eq!(layout.shape, spec.layout.shape);
            spec.layout = layout;
        }
        let requires_grad =
            records_gradients() && spec.dtype.is_float() && inputs.iter().any(|i| i.requires_grad());
        let depth = 1 + inputs.iter().map(|input| input.pending_depth()).max().unwrap_or(0);
        let tensor = Tensor::node(Node {
            id: next_id(),
            op,
            spec,
            view: view.is_some(),
            requires_grad,
            range: view.and(first.node.range),
            depth,
            mark: Mark::default(),
            engine: first.node.engine.clone(),
            state: Mutex::new(State {
                inputs: inputs.iter().map(|&t| t.clone()).collect(),
                value: None,
                ..State::default()
            }),
        });
        if depth >= MAX_DEPTH {
            execute::evaluate(std::slice::from_ref(&tensor), &|_| false, false)?;
        }
        Ok(tensor)
    }

    /// Half precision is storage: the op runs in `f32`, and its result is narrowed again when
    /// every float input was narrow.
    fn record_widened(op: Arc<dyn Op>, inputs: &[&Tensor]) -> Result<Tensor> {
        let wide = op.wide() && autocasts();
        let narrow = !wide && inputs.iter().all(|input| input.dtype() != DType::F32);
        let widened = inputs
            .iter()
            .map(|&t| if t.dtype() == DType::F16 { cast(t, DType::F32) } else { Ok(t.clone()) })
            .collect::<Result<Vec<_>>>()?;
        let result = Tensor::record(op, &widened.iter().collect::<Vec<_>>())?;
        if narrow && result.dtype() == DType::F32 { cast(&result, DType::F16) } else { Ok(result) }
    }

    /// The result of an operation that has no inputs.
    pub fn generate(op: impl Op, engine: &Engine) -> Result<Tensor> {
        let op: Arc<dyn Op> = Arc::new(op);
        let spec = output(&*op, &[])?;
        Ok(Tensor::leaf(op, spec, engine, None, None))
    }

    fn leaf(
        op: Arc<dyn Op>,
        spec: Spec,
        engine: &Engine,
        value: Option<Buffer>,
        range: Option<(i32, i32)>,
    ) -> Tensor {
        let state = Mutex::new(State { value, ..State::default() });
        Tensor::node(Node {
            id: next_id(),
            op,
            spec,
            view: false,
            requires_grad: false,
            range,
            depth: 0,
            mark: Mark::default(),
            engine: engine.clone(),
            state,
        })
    }

    fn node(node: Node) -> Tensor {
        Tensor { node: Arc::new(node) }
    }

    /// Whether the value is there, or on its way on the device.
    pub(crate) fn is_computed(&self) -> bool {
        self.node.state().value.is_some()
    }

    /// The same values cut from the graph: no gradient flows back through the result.
    pub fn detach(&self) -> Tensor {
        self.alias(false)
    }

    /// The same values as a leaf of the graph that gradients are computed for, as PyTorch's
    /// `detach().requires_grad_()`. An error unless the dtype is a float.
    pub fn variable(&self) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::op("variable", format!("a {} tensor has no gradient", self.dtype())));
        }
        // Detached first: a leaf is a node below which nothing requires gradients.
        Ok(if self.requires_grad() { self.detach().alias(true) } else { self.alias(true) })
    }

    fn alias(&self, requires_grad: bool) -> Tensor {
        let value = self.node.state().value.clone();
        // A computed tensor is shared by its buffer, so that its history can go.
        let inputs = if value.is_some() { None } else { Some(self.clone()) }.into_iter().collect();
        Tensor::node(Node {
            id: next_id(),
            op: Arc::new(Alias),
            spec: self.node.spec,
            view: true,
            requires_grad,
            range: self.node.range,
            depth: self.node.depth + 1,
            mark: Mark::default(),
            engine: self.node.engine.clone(),
            state: Mutex::new(State { inputs, value, ..State::default() }),
        })
    }

    /// The sizes of the dimensions.
    pub fn shape(&self) -> &Shape {
        &self.node.spec.layout.shape
    }

    /// The sizes of the dimensions, as a slice.
    pub fn dims(&self) -> &[usize] {
        self.shape().dims()
    }

    /// Size of one dimension; a negative axis counts from the end.
    pub fn size(&self, axis: isize) -> Result<usize> {
        Ok(self.dims()[crate::layout::axis("size", axis, self.rank())?])
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape().elements()
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.node.spec.dtype
    }

    /// Dtype and layout.
    pub fn spec(&self) -> &Spec {
        &self.node.spec
    }

    /// Shape, strides and offset.
    pub fn layout(&self) -> &Layout {
        &self.node.spec.layout
    }

    /// Whether gradients flow to or through this tensor.
    pub fn requires_grad(&self) -> bool {
        self.node.requires_grad
    }

    /// The engine this tensor belongs to.
    pub fn engine(&self) -> &Engine {
        &self.node.engine
    }

    /// Where the value is, once it has been computed.
    pub fn device_kind(&self) -> Option<DeviceKind> {
        self.node.state().value.as_ref().map(Buffer::kind)
    }

    pub(crate) fn inner(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn from_inner(node: &Arc<Node>) -> Tensor {
        Tensor { node: node.clone() }
    }

    /// A number that no other node has.
    pub(crate) fn id(&self) -> u64 {
        self.node.id
    }

    fn pending_depth(&self) -> u32 {
        if self.node.state().value.is_some() { 0 } else { self.node.depth }
    }

    /// Checks that every index lies in `0..size`, as far as that is known without waiting for the
    /// device: always for tensors that came from the host. Kernels check the others.
    pub(crate) fn check_indices(&self, op: &'static str, what: &str, size: usize) -> Result<()> {
        self.check_indices_but(op, what, size, None)
    }

    /// As [`check_indices`](Tensor::check_indices), where one more value is allowed.
    pub(crate) fn check_indices_but(
        &self,
        op: &'static str,
        what: &str,
        size: usize,
        allowed: Option<i32>,
    ) -> Result<()> {
        let inside = |value: i32| (0..size as i64).contains(&i64::from(value)) || Some(value) == allowed;
        let Some((least, greatest)) = self.node.range else { return Ok(()) };
        // What lies between an allowed value and the indices is left to the kernels: looking would mean
        // to wait for the device.
        if self.elements() == 0 || (inside(least) && inside(greatest)) {
            return Ok(());
        }
        // The range is that of the whole host tensor: a view may leave the offending values out.
        match self.to_vec::<i32>()?.into_iter().find(|&value| !inside(value)) {
            Some(value) => Err(Error::op(
                op,
                format!("{what} {value} is out of range, expected 0 to {}", size.saturating_sub(1)),
            )),
            None => Ok(()),
        }
    }
}

/// The op of leaves that share another tensor's value.
#[derive(Debug)]
struct Alias;

impl Op for Alias {
    fn name(&self) -> &'static str {
        "detach"
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

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None])
    }
}
