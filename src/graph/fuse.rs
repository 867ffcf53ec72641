//! From pending nodes to tasks: views take no kernel, runs of elementwise ops become one.

#[cfg(test)]
mod tests;

use super::collect::Item;
use crate::expr::{Arg, Expr, Numbers, Program, Scalar, Step};
use crate::ops::elementwise::CAST_F16;
use crate::ops::epilogue::Epilogue;
use crate::ops::fused::{Fused, Together};
use crate::ops::prologue::Prologue;
use crate::tensor::Node;
use crate::{DType, Op, Spec};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Inputs of a fused kernel: with its output, the storage buffers that every GPU can bind.
const MAX_INPUTS: usize = 7;
/// Steps of a fused kernel.
const MAX_STEPS: usize = 48;

/// One kernel to run.
pub(super) struct Task<'a> {
    pub op: Arc<dyn Op>,
    form: &'a Form,
}

impl Deref for Task<'_> {
    type Target = Form;

    fn deref(&self) -> &Form {
        self.form
    }
}

/// A task, as far as it is the same in all graphs of one structure.
pub(super) struct Form {
    work: Work,
    /// The items whose buffers are read, and as what.
    pub inputs: Vec<(usize, Spec)>,
    /// The item computed.
    pub output: usize,
    /// Whether it is rather run together with those beside it, see [`Together`].
    pub merges: bool,
    /// Whether the GPU has a kernel for it, once it was asked.
    pub supported: OnceLock<bool>,
}

/// What a task does.
enum Work {
    Steps(Steps),
    Op(Whole),
}

/// The op of an item, with elementwise steps around it.
#[derive(Default)]
struct Whole {
    item: usize,
    /// Steps that compute its input, and the input.
    before: Option<Box<(Steps, Spec)>>,
    /// Steps of which this input is its result.
    after: Option<Box<(Steps, usize)>>,
    /// Inputs of all but the steps after it.
    own: usize,
}

/// Elementwise steps.
struct Steps {
    /// Its scalars are those of some graph.
    fused: Fused,
    /// What the scalars are.
    constants: Vec<Number>,
}

impl Steps {
    /// The steps with the numbers of a graph.
    fn of(&self, items: &[Item]) -> Fused {
        let scalars = &self.fused.program.scalars;
        let number = |(&(item, at), scalar): (&Number, &Scalar)| {
            let op = &*items[item].node.op;
            let found = match op.expr() {
                Some(Expr::Constant(number)) => Some(number.bits),
                Some(Expr::Partial(_, numbers)) => numbers.iter().flatten().nth(at).map(|number| number.bits),
                Some(Expr::Row(_)) => None,
                None => Fused::of(op).and_then(|fused| fused.numbers.get(at).copied()),
            };
            found.unwrap_or(scalar.bits)
        };
        Fused { numbers: self.constants.iter().zip(scalars).map(number).collect(), ..self.fused.clone() }
    }
}

impl Whole {
    /// The op of a graph, and its steps.
    fn of(&self, items: &[Item]) -> Arc<dyn Op> {
        let Node { op, spec: result, .. } = &*items[self.item].node;
        let mut op = Arc::clone(op);
        if let Some((steps, input)) = self.before.as_deref() {
            op = Arc::new(Prologue { op, input: *input, fused: steps.of(items) });
        }
        if let Some((steps, at)) = self.after.as_deref() {
            op = Arc::new(Epilogue { op, own: self.own, result: *result, fused: steps.of(items), at: *at });
        }
        op
    }
}

impl Form {
    fn new(work: Work, inputs: Vec<(usize, Spec)>, output: usize) -> Form {
        Form { work, inputs, output, merges: false, supported: OnceLock::new() }
    }

    /// What it does and reads, to be part of another.
    fn take(&mut self) -> (Work, Vec<(usize, Spec)>) {
        (std::mem::replace(&mut self.work, Work::Op(Whole::default())), std::mem::take(&mut self.inputs))
    }

    /// The task of a graph.
    pub fn task(&self, items: &[Item]) -> Task<'_> {
        let op = match &self.work {
            Work::Steps(steps) => Arc::new(steps.of(items)),
            Work::Op(whole) => whole.of(items),
        };
        Task { op, form: self }
    }
}

/// Bytes that a task may keep alive until the end of a graph; and of a result that takes longer to begin with than to
/// compute.
const LATE_BYTES: usize = 64 << 10;

/// Steps that are rather computed again for each kernel that needs them than written and read.
const CHEAP_STEPS: usize = 4;

/// A number of the graph: an item, and which of its numbers.
type Number = (usize, usize);

/// An elementwise program with the items it reads.
#[derive(Clone, Default)]
struct Part {
    program: Program,
    inputs: Vec<(usize, Spec)>,
    /// What the program's scalars are.
    constants: Vec<Number>,
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

    /// The scalar that a number is. Where it is from is compared, not its value: a program must not change with its
    /// numbers.
    fn scalar(&mut self, number: Number, scalar: Scalar) -> Arg {
        let known = self.constants.iter().position(|&constant| constant == number);
        Arg::Scalar(known.unwrap_or_else(|| {
            self.constants.push(number);
            self.program.scalars.push(scalar);
            self.constants.len() - 1
        }))
    }

    /// Adds the steps of `other` that are not there yet; returns where its result is.
    fn append(&mut self, other: &Part) -> Arg {
        let inputs = other.inputs.iter().map(|&(root, spec)| Arg::Input(self.input(root, spec)));
        let inputs: Vec<Arg> = inputs.collect();
        let scalars = other.constants.iter().zip(&other.program.scalars);
        let scalars: Vec<Arg> = scalars.map(|(&number, &scalar)| self.scalar(number, scalar)).collect();
        self.run(&other.program, &inputs, &scalars)
    }

    /// Adds the steps of a program that are not there yet, with its inputs and scalars; returns where its result is.
    fn run(&mut self, program: &Program, inputs: &[Arg], scalars: &[Arg]) -> Arg {
        let mut steps: Vec<Arg> = Vec::with_capacity(program.steps.len());
        let moved = |arg: Arg, steps: &[Arg]| match arg {
            Arg::Input(i) => inputs[i],
            Arg::Scalar(i) => scalars[i],
            Arg::Step(i) => steps[i],
        };
        for step in &program.steps {
            let step = Step { args: step.args.map(|arg| moved(arg, &steps)), ..*step };
            let known = self.program.steps.iter().position(|known| *known == step);
            steps.push(Arg::Step(known.unwrap_or_else(|| {
                self.program.steps.push(step);
                self.program.steps.len() - 1
            })));
        }
        moved(program.result(), &steps)
    }

    /// Fused or not, a half-precision result is rounded to half precision.
    fn round(&mut self, dtype: DType) {
        let last = self.program.steps.last();
        if dtype == DType::F16 && last.is_some_and(|last| *last.row != CAST_F16) {
            let result = self.program.result();
            self.program.steps.push(Step {
                row: &CAST_F16,
                args: [result; 3],
                from: DType::F32,
                to: DType::F16,
            });
        }
    }

    /// Whether its result is as soon computed again as read.
    fn cheap(&self) -> bool {
        let whole = |&&(_, spec): &&(usize, Spec)| spec.layout.extent().len() >= spec.elements();
        self.program.steps.len() <= CHEAP_STEPS && self.inputs.iter().filter(whole).count() <= 1
    }

    fn form(self, spec: &Spec, output: usize) -> Form {
        let fused = Fused::new(self.program, *spec.shape(), spec.dtype);
        let work = Work::Steps(Steps { fused, constants: self.constants });
        Form::new(work, self.inputs, output)
    }
}

/// The items that use an item.
#[derive(Clone, Copy, Default)]
struct Consumers {
    count: usize,
    last: Option<usize>,
    /// Whether one of them is no elementwise op.
    others: bool,
}

/// The tasks that compute every kept item, in order; without `fuse`, one for each op. They depend on nothing but
/// what [`structure`](super::schedule) tells of a graph.
pub(super) fn forms(items: &[Item], fuse: bool) -> Vec<Form> {
    let mut programs: Vec<_> = items.iter().map(|item| program(items, item)).collect();
    let mut consumers = vec![Consumers::default(); items.len()];
    for (at, item) in items.iter().enumerate() {
        for &input in &item.inputs {
            let consumers = &mut consumers[input];
            consumers.others |= programs[at].is_none();
            consumers.count += usize::from(consumers.last.replace(at) != Some(at));
        }
    }
    let mut deferred: Vec<Option<Part>> = (0..items.len()).map(|_| None).collect();
    let mut tasks = Vec::new();
    for (at, item) in items.iter().enumerate() {
        if !item.pending || item.node.view {
            continue;
        }
        let spec = &item.node.spec;
        let operands = |at: usize| (items[at].root, items[at].node.spec);
        if let Some(Expr::Constant(scalar)) = item.node.op.expr() {
            let mut part = Part::default();
            part.scalar((at, 0), scalar);
            tasks.push(part.form(spec, at));
            continue;
        }
        let Some(own) = programs[at].take() else {
            let inputs: Vec<_> = item.inputs.iter().map(|&input| operands(input)).collect();
            let whole = Whole { item: at, own: inputs.len(), ..Whole::default() };
            tasks.push(Form::new(Work::Op(whole), inputs, at));
            continue;
        };
        let mut part = Part::default();
        // Inputs past those of the program are there for the gradient.
        let taken = own.inputs.len();
        let mut args: Vec<Arg> = Vec::with_capacity(taken);
        for (position, &input) in item.inputs[..taken].iter().enumerate() {
            if let Some(same) = item.inputs[..position].iter().position(|&other| other == input) {
                args.push(args[same]);
                continue;
            }
            let root = &items[items[input].root];
            if let (true, Some(Expr::Constant(scalar))) = (root.pending, root.node.op.expr()) {
                args.push(part.scalar((items[input].root, 0), scalar));
                continue;
            }
            // The inputs still to come need a place each at most.
            let room = MAX_INPUTS.saturating_sub(taken - position - 1 + part.inputs.len());
            if let Some(producer) = deferred[input].take() {
                let steps = [&part.program, &producer.program, &own].map(|program| program.steps.len());
                if part.added_by(&producer) <= room && steps.iter().sum::<usize>() <= MAX_STEPS {
                    // The first step goes on from what only it needs.
                    if consumers[input].count == 1 && part.program.is_empty() {
                        part = producer;
                        args.push(part.program.result());
                    } else {
                        args.push(part.append(&producer));
                        deferred[input] = Some(producer);
                    }
                    continue;
                }
                tasks.push(producer.form(&items[input].node.spec, input));
            }
            let (root, spec) = operands(input);
            args.push(Arg::Input(part.input(root, spec)));
        }
        let numbers = own.scalars.iter().enumerate();
        let scalars: Vec<Arg> = numbers.map(|(i, &scalar)| part.scalar((at, i), scalar)).collect();
        let result = part.run(&own, &args, &scalars);
        debug_assert_eq!(result, part.program.result(), "no step before the last one is the last one");
        if fuse && !item.keep && !consumers[at].others && (consumers[at].count == 1 || part.cheap()) {
            part.round(spec.dtype);
            deferred[at] = Some(part);
        } else {
            tasks.push(part.form(spec, at));
        }
    }
    // The items whose buffers outlive the graph.
    let mut kept = vec![false; items.len()];
    items.iter().filter(|item| item.keep).for_each(|item| kept[item.root] = true);
    without_unused(&mut tasks, &kept);
    if fuse {
        prologues(&mut tasks, items, &kept);
        epilogues(&mut tasks, items, &kept);
        postpone(&mut tasks, items, &kept);
    }
    tasks
}

/// The elementwise steps that an item is, over its first inputs, where it is to be computed.
fn program(items: &[Item], item: &Item) -> Option<Program> {
    let Node { op, spec, view, .. } = &*item.node;
    if !item.pending || *view {
        return None;
    }
    let row = |row, numbers| {
        let dtype = |at: usize| items[item.inputs[at]].node.spec.dtype;
        Program::of_row(row, numbers, dtype, spec.dtype)
    };
    match op.expr() {
        Some(Expr::Row(only)) => Some(row(only, &Numbers::default())),
        Some(Expr::Partial(partial, numbers)) => Some(row(partial, &numbers)),
        Some(Expr::Constant(_)) => None,
        None => Fused::of(&**op).map(|fused| Program::clone(&fused.program)),
    }
}

/// Marks what is rather run [together](Together) with others, and puts those of them at the end for whose results
/// nothing in the graph waits but others of these.
fn postpone(tasks: &mut [Form], items: &[Item], kept: &[bool]) {
    let (mut awaited, mut last) = (vec![false; items.len()], true);
    let mut late = vec![false; items.len()];
    for task in tasks.iter_mut().rev() {
        if let Work::Steps(steps) = &task.work
            && Together::takes(&steps.fused, task.inputs.iter().map(|&(_, spec)| spec))
        {
            let dying = |&&(root, _): &&(usize, Spec)| items[root].pending && !kept[root];
            let bytes: usize = task.inputs.iter().filter(dying).map(|(_, spec)| spec.bytes()).sum();
            late[task.output] = !awaited[task.output] && (last || bytes <= LATE_BYTES);
            task.merges = late[task.output] || items[task.output].node.spec.bytes() <= LATE_BYTES;
        }
        if !late[task.output] {
            last = false;
            task.inputs.iter().for_each(|&(root, _)| awaited[root] = true);
        }
    }
    tasks.sort_by_key(|task| late[task.output]);
}

/// Which task computes each item, and how many read it.
struct Uses {
    computed: Vec<Option<usize>>,
    readers: Vec<usize>,
}

impl Uses {
    fn of(tasks: &[Form], items: &[Item]) -> Uses {
        let mut uses = Uses { computed: vec![None; items.len()], readers: vec![0; items.len()] };
        for (at, task) in tasks.iter().enumerate() {
            uses.computed[task.output] = Some(at);
            task.inputs.iter().for_each(|&(root, _)| uses.readers[root] += 1);
        }
        uses
    }
}

/// Whether elements lie as they are counted.
fn dense(spec: &Spec) -> bool {
    spec.layout.is_contiguous() && spec.layout.offset == 0
}

/// Joins elementwise tasks and the operations that alone read their results.
fn prologues(tasks: &mut Vec<Form>, items: &[Item], kept: &[bool]) {
    let Uses { computed, readers } = Uses::of(tasks, items);
    let mut joined = vec![false; tasks.len()];
    for at in 0..tasks.len() {
        let (&[(root, spec)], Work::Op(Whole { item, .. })) = (&tasks[at].inputs[..], &tasks[at].work) else {
            continue;
        };
        let alone = readers[root] == 1 && !kept[root] && items[*item].node.op.begins();
        let Some(before) = computed[root].filter(|_| alone) else { continue };
        let Work::Steps(Steps { fused, .. }) = &tasks[before].work else { continue };
        // What is only rearranged is as well read where it is.
        if fused.program.steps.is_empty()
            || tasks[before].inputs.is_empty()
            || fused.dtype == DType::F16
            || fused.shape.elements() != spec.elements()
            || !dense(&spec)
        {
            continue;
        }
        let (work, inputs) = tasks[before].take();
        if let (Work::Op(whole), Work::Steps(steps)) = (&mut tasks[at].work, work) {
            (whole.before, whole.own) = (Some(Box::new((steps, spec))), inputs.len());
            tasks[at].inputs = inputs;
        }
        joined[before] = true;
    }
    let mut joined = joined.into_iter();
    tasks.retain(|_| !joined.next().unwrap_or_default());
}

/// Joins operations and the elementwise tasks that alone read their results.
fn epilogues(tasks: &mut Vec<Form>, items: &[Item], kept: &[bool]) {
    let Uses { computed, readers } = Uses::of(tasks, items);
    let mut joined = vec![false; tasks.len()];
    for at in 0..tasks.len() {
        let task = &tasks[at];
        let Work::Steps(Steps { fused, .. }) = &task.work else { continue };
        let elements = fused.shape.elements();
        // What is there before the graph and is read for the last time is rather written over.
        let replaces = task.inputs.iter().any(|&(root, spec)| {
            !items[root].pending && !kept[root] && readers[root] == 1 && spec.elements() == elements
        });
        if replaces || fused.dtype != DType::F32 || elements == 0 {
            continue;
        }
        let producer = |&(root, spec): &(usize, Spec)| {
            let before = computed[root].filter(|&before| !joined[before])?;
            let Form { work: Work::Op(Whole { item, before: led, after: None, .. }), inputs, .. } =
                &tasks[before]
            else {
                return None;
            };
            let op = &items[*item].node.op;
            let fits = op.finishes()
                && readers[root] == 1
                && !kept[root]
                && spec.dtype == DType::F32
                && [spec.elements(), items[root].node.spec.elements()] == [elements; 2]
                && dense(&spec)
                && (led.is_some() || op.strided() || inputs.iter().all(|(_, spec)| dense(spec)));
            fits.then_some(before)
        };
        let candidates = task.inputs.iter().enumerate();
        let Some((before, input)) = candidates.filter_map(|(i, read)| Some((producer(read)?, i))).max()
        else {
            continue;
        };
        let (steps, mut others) = tasks[at].take();
        let (mut work, mut inputs) = tasks[before].take();
        if let (Work::Op(whole), Work::Steps(steps)) = (&mut work, steps) {
            whole.after = Some(Box::new((steps, input)));
        }
        others.remove(input);
        inputs.append(&mut others);
        (tasks[at].work, tasks[at].inputs) = (work, inputs);
        joined[before] = true;
    }
    let mut joined = joined.into_iter();
    tasks.retain(|_| !joined.next().unwrap_or_default());
}

/// Drops tasks whose result nobody reads, such as constants that became parameters.
fn without_unused(tasks: &mut Vec<Form>, kept: &[bool]) {
    let mut needed = kept.to_vec();
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
}
