//! From pending nodes to tasks: views take no kernel, runs of elementwise ops become one.

use super::execute::Item;
use crate::expr::{Arg, Expr, Program, Row, Step};
use crate::ops::elementwise::CAST_F16;
use crate::ops::fused::Fused;
use crate::{DType, Op, Spec};
use std::sync::Arc;

/// Inputs of a fused kernel: with its output, the storage buffers that every GPU can bind.
const MAX_INPUTS: usize = 7;
/// Steps of a fused kernel.
const MAX_STEPS: usize = 48;

/// One kernel to run.
pub(super) struct Task {
    pub op: Arc<dyn Op>,
    /// The items whose buffers are read, and as what.
    pub inputs: Vec<(usize, Spec)>,
    /// The item computed.
    pub output: usize,
}

/// An elementwise program with the items it reads.
#[derive(Default)]
struct Part {
    program: Program,
    inputs: Vec<(usize, Spec)>,
}

impl Part {
    /// The number of the input that reads `spec` of item `root`.
    fn input(&mut self, root: usize, spec: Spec) -> usize {
        let known = self.inputs.iter().position(|&input| input == (root, spec));
        known.unwrap_or_else(|| {
            self.inputs.push((root, spec));
            self.program.inputs.push(spec.dtype);
            self.inputs.len() - 1
        })
    }

    /// How many inputs `other` would add.
    fn added_by(&self, other: &Part) -> usize {
        other.inputs.iter().filter(|input| !self.inputs.contains(input)).count()
    }

    fn append(&mut self, other: &Part) -> Arg {
        let inputs: Vec<usize> = other.inputs.iter().map(|&(root, spec)| self.input(root, spec)).collect();
        self.program.append(&other.program, &inputs)
    }

    fn step(&mut self, row: &'static Row, args: &[Arg], from: DType, to: DType) {
        let arg = |i: usize| args[i.min(args.len() - 1)];
        self.program.steps.push(Step { row, args: [arg(0), arg(1), arg(2)], from, to });
    }

    fn task(self, spec: &Spec, output: usize) -> Task {
        let op = Fused { program: self.program, shape: *spec.shape(), dtype: spec.dtype };
        Task { op: Arc::new(op), inputs: self.inputs, output }
    }
}

/// The tasks that compute every kept item, in order; without `fuse`, one for each op.
pub(super) fn tasks(items: &[Item], fuse: bool) -> Vec<Task> {
    // The one item that uses an item, while it is the only one.
    let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
    for (at, item) in items.iter().enumerate() {
        for &input in &item.inputs {
            if consumers[input].last() != Some(&at) {
                consumers[input].push(at);
            }
        }
    }
    let elementwise = |at: usize| items[at].pending && matches!(items[at].node.op.expr(), Some(Expr::Row(_)));
    let mut deferred: Vec<Option<Part>> = (0..items.len()).map(|_| None).collect();
    let mut tasks = Vec::new();
    for (at, item) in items.iter().enumerate() {
        if !item.pending || item.node.view {
            continue;
        }
        let spec = &item.node.spec;
        let operands = |at: usize| (items[at].root, items[at].node.spec);
        match item.node.op.expr() {
            Some(Expr::Constant(scalar)) => {
                let mut part = Part::default();
                part.program.scalars.push(scalar);
                tasks.push(part.task(spec, at));
            }
            Some(Expr::Row(row)) => {
                let mut part = Part::default();
                let mut args: Vec<Arg> = Vec::with_capacity(3);
                // The dtype of the last argument.
                let mut from = spec.dtype;
                for (position, &input) in item.inputs.iter().enumerate() {
                    from = items[input].node.spec.dtype;
                    if let Some(same) = item.inputs[..position].iter().position(|&other| other == input) {
                        args.push(args[same]);
                        continue;
                    }
                    let root = &items[items[input].root];
                    if let (true, Some(Expr::Constant(scalar))) = (root.pending, root.node.op.expr()) {
                        part.program.scalars.push(scalar);
                        args.push(Arg::Scalar(part.program.scalars.len() - 1));
                        continue;
                    }
                    // The inputs still to come need a place each at most.
                    let room = MAX_INPUTS - (item.inputs.len() - position - 1) - part.inputs.len();
                    if let Some(producer) = deferred[input].take() {
                        if part.added_by(&producer) <= room
                            && part.program.steps.len() + producer.program.steps.len() < MAX_STEPS
                        {
                            args.push(part.append(&producer));
                            continue;
                        }
                        tasks.push(producer.task(&items[input].node.spec, input));
                    }
                    let (root, spec) = operands(input);
                    args.push(Arg::Input(part.input(root, spec)));
                }
                part.step(row, &args, from, spec.dtype);
                let fits = match consumers[at][..] {
                    [consumer] => fuse && !item.keep && elementwise(consumer),
                    _ => false,
                };
                if fits {
                    if spec.dtype == DType::F16 && !std::ptr::eq(row, &CAST_F16) {
                        // Fused or not, a half-precision result is rounded to half precision.
                        let result = part.program.result();
                        part.step(&CAST_F16, &[result], DType::F32, DType::F16);
                    }
                    deferred[at] = Some(part);
                } else {
                    tasks.push(part.task(spec, at));
                }
            }
            None => tasks.push(Task {
                op: item.node.op.clone(),
                inputs: item.inputs.iter().map(|&input| operands(input)).collect(),
                output: at,
            }),
        }
    }
    without_unused(tasks, items)
}

/// Drops tasks whose result nobody reads, such as constants that became parameters.
fn without_unused(mut tasks: Vec<Task>, items: &[Item]) -> Vec<Task> {
    let mut needed = vec![false; items.len()];
    for item in items.iter().filter(|item| item.keep) {
        needed[item.root] = true;
    }
    let mut used: Vec<bool> = tasks
        .iter()
        .rev()
        .map(|task| {
            let used = needed[task.output];
            task.inputs.iter().for_each(|&(root, _)| needed[root] |= used);
            used
        })
        .collect();
    tasks.retain(|_| used.pop().unwrap_or(true));
    tasks
}
