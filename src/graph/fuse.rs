//! From pending nodes to tasks: views take no kernel, runs of elementwise ops become one.

use super::execute::Item;
use crate::expr::{Arg, Expr, Numbers, Program, Row, Scalar, Step};
use crate::ops::elementwise::CAST_F16;
use crate::ops::epilogue::Epilogue;
use crate::ops::fused::{Fused, Together};
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
    /// The op of its output's item.
    Op,
    Steps(Steps),
    /// The op of an item, with so many inputs, and then steps of which an input is its result.
    Epilogue {
        item: usize,
        own: usize,
        steps: Steps,
        at: usize,
    },
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
        let mut program = self.fused.program.clone();
        for (scalar, &(item, argument)) in program.scalars.iter_mut().zip(&self.constants) {
            match items[item].node.op.expr() {
                Some(Expr::Constant(number)) => *scalar = number,
                Some(Expr::Partial(_, numbers)) => *scalar = numbers[argument].unwrap_or(*scalar),
                Some(Expr::Row(_)) | None => {}
            }
        }
        Fused { program, ..self.fused }
    }
}

impl Form {
    fn new(work: Work, inputs: Vec<(usize, Spec)>, output: usize) -> Form {
        Form { work, inputs, output, merges: false, supported: OnceLock::new() }
    }

    /// The task of a graph.
    pub fn task(&self, items: &[Item]) -> Task<'_> {
        let op: Arc<dyn Op> = match &self.work {
            Work::Op => Arc::clone(&items[self.output].node.op),
            Work::Steps(steps) => Arc::new(steps.of(items)),
            &Work::Epilogue { item, own, ref steps, at } => {
                let Node { op, spec, .. } = &*items[item].node;
                Arc::new(Epilogue { op: Arc::clone(op), own, result: *spec, fused: steps.of(items), at })
            }
        };
        Task { op, form: self }
    }
}

/// Bytes that a task may keep alive until the end of a graph; and of a result that takes longer to begin with than to
/// compute.
const LATE_BYTES: usize = 64 << 10;

/// Steps that are rather computed again for each kernel that needs them than written and read.
const CHEAP_STEPS: usize = 4;

/// A number of the graph: an argument of an item's, or a constant item.
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
        let inputs: Vec<usize> = other.inputs.iter().map(|&(root, spec)| self.input(root, spec)).collect();
        let scalars = other.constants.iter().zip(&other.program.scalars);
        let scalars: Vec<Arg> = scalars.map(|(&number, &scalar)| self.scalar(number, scalar)).collect();
        let mut steps: Vec<Arg> = Vec::with_capacity(other.program.steps.len());
        let moved = |arg: Arg, steps: &[Arg]| match arg {
            Arg::Input(i) => Arg::Input(inputs[i]),
            Arg::Scalar(i) => scalars[i],
            Arg::Step(i) => steps[i],
        };
        for step in &other.program.steps {
            let step = Step { args: step.args.map(|arg| moved(arg, &steps)), ..*step };
            let known = self.program.steps.iter().position(|known| *known == step);
            steps.push(Arg::Step(known.unwrap_or_else(|| {
                self.program.steps.push(step);
                self.program.steps.len() - 1
            })));
        }
        moved(other.program.result(), &steps)
    }

    /// Whether its result is as soon computed again as read.
    fn cheap(&self) -> bool {
        let whole = |&&(_, spec): &&(usize, Spec)| spec.layout.extent().len() >= spec.elements();
        self.program.steps.len() <= CHEAP_STEPS && self.inputs.iter().filter(whole).count() <= 1
    }

    fn step(&mut self, row: &'static Row, args: &[Arg], from: DType, to: DType) {
        let arg = |i: usize| args[i.min(args.len() - 1)];
        self.program.steps.push(Step { row, args: [arg(0), arg(1), arg(2)], from, to });
    }

    fn form(self, spec: &Spec, output: usize) -> Form {
        let fused = Fused { program: self.program, shape: *spec.shape(), dtype: spec.dtype };
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
    let mut consumers = vec![Consumers::default(); items.len()];
    for (at, item) in items.iter().enumerate() {
        let elementwise =
            item.pending && matches!(item.node.op.expr(), Some(Expr::Row(_) | Expr::Partial(..)));
        for &input in &item.inputs {
            let consumers = &mut consumers[input];
            consumers.others |= !elementwise;
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
        let expr = item.node.op.expr();
        match expr {
            Some(Expr::Constant(scalar)) => {
                let mut part = Part::default();
                part.scalar((at, 0), scalar);
                tasks.push(part.form(spec, at));
            }
            Some(Expr::Row(row) | Expr::Partial(row, _)) => {
                let mut part = Part::default();
                let mut args: Vec<Arg> = Vec::with_capacity(3);
                // The dtype of the last argument.
                let mut from = spec.dtype;
                let numbers = if let Some(Expr::Partial(_, numbers)) = expr { numbers } else { [None; 3] };
                let arity = row.rule.arity();
                // Inputs past those of the row are there for the gradient.
                let taken = arity - numbers[..arity].iter().flatten().count();
                let mut inputs = item.inputs[..taken].iter().copied().enumerate();
                for (argument, number) in numbers[..arity].iter().enumerate() {
                    if let Some(scalar) = *number {
                        from = scalar.dtype;
                        args.push(part.scalar((at, argument), scalar));
                        continue;
                    }
                    let Some((position, input)) = inputs.next() else { continue };
                    from = items[input].node.spec.dtype;
                    if let Some(same) = item.inputs[..position].iter().position(|&other| other == input) {
                        args.push(args[nth_input(&numbers, same)]);
                        continue;
                    }
                    let root = &items[items[input].root];
                    if let (true, Some(Expr::Constant(scalar))) = (root.pending, root.node.op.expr()) {
                        args.push(part.scalar((items[input].root, 0), scalar));
                        continue;
                    }
                    // The inputs still to come need a place each at most.
                    let room = MAX_INPUTS - (taken - position - 1) - part.inputs.len();
                    if let Some(producer) = deferred[input].take() {
                        if part.added_by(&producer) <= room
                            && part.program.steps.len() + producer.program.steps.len() < MAX_STEPS
                        {
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
                part.step(row, &args, from, spec.dtype);
                let fits =
                    fuse && !item.keep && !consumers[at].others && (consumers[at].count == 1 || part.cheap());
                if fits {
                    if spec.dtype == DType::F16 && !std::ptr::eq(row, &CAST_F16) {
                        // Fused or not, a half-precision result is rounded to half precision.
                        let result = part.program.result();
                        part.step(&CAST_F16, &[result], DType::F32, DType::F16);
                    }
                    deferred[at] = Some(part);
                } else {
                    tasks.push(part.form(spec, at));
                }
            }
            None => {
                let inputs = item.inputs.iter().map(|&input| operands(input)).collect();
                tasks.push(Form::new(Work::Op, inputs, at));
            }
        }
    }
    // The items whose buffers outlive the graph.
    let mut kept = vec![false; items.len()];
    items.iter().filter(|item| item.keep).for_each(|item| kept[item.root] = true);
    without_unused(&mut tasks, &kept);
    if fuse {
        epilogues(&mut tasks, items, &kept);
        postpone(&mut tasks, items, &kept);
    }
    tasks
}

/// Which argument of a row the input of this place is.
fn nth_input(numbers: &Numbers, place: usize) -> usize {
    let inputs = numbers.iter().enumerate().filter(|(_, number)| number.is_none());
    inputs.map(|(argument, _)| argument).nth(place).unwrap_or(place)
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

/// Joins operations and the elementwise tasks that alone read their results.
fn epilogues(tasks: &mut Vec<Form>, items: &[Item], kept: &[bool]) {
    // For each item the task that computes it, and how many read it.
    let mut computed = vec![None; items.len()];
    let mut readers = vec![0usize; items.len()];
    for (at, task) in tasks.iter().enumerate() {
        computed[task.output] = Some(at);
        task.inputs.iter().for_each(|&(root, _)| readers[root] += 1);
    }
    let mut joined = vec![false; tasks.len()];
    for at in 0..tasks.len() {
        let task = &tasks[at];
        let Work::Steps(Steps { fused, constants }) = &task.work else { continue };
        let dense = |spec: &Spec| spec.layout.is_contiguous() && spec.layout.offset == 0;
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
            let Form { work: Work::Op, inputs, output, .. } = &tasks[before] else { return None };
            let op = &items[*output].node.op;
            let fits = op.finishes()
                && readers[root] == 1
                && !kept[root]
                && spec.dtype == DType::F32
                && [spec.elements(), items[root].node.spec.elements()] == [elements; 2]
                && dense(&spec)
                && (op.strided() || inputs.iter().all(|(_, spec)| dense(spec)));
            fits.then_some(before)
        };
        let candidates = task.inputs.iter().enumerate();
        let Some((before, input)) = candidates.filter_map(|(i, read)| Some((producer(read)?, i))).max()
        else {
            continue;
        };
        let fused = Fused { program: fused.program.clone(), ..*fused };
        let steps = Steps { fused, constants: constants.clone() };
        let Form { inputs, output, .. } = &tasks[before];
        let work = Work::Epilogue { item: *output, own: inputs.len(), steps, at: input };
        let others = task.inputs.iter().enumerate().filter(|&(i, _)| i != input);
        let inputs = inputs.iter().chain(others.map(|(_, read)| read)).copied().collect();
        tasks[at] = Form::new(work, inputs, task.output);
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

#[cfg(test)]
mod tests {
    use super::super::execute::collect;
    use super::*;
    use crate::{Engine, Result, Tensor};

    /// The kernels that compute `y`, in the form of `Debug`.
    fn kernels(y: &Tensor) -> Result<Vec<String>> {
        let items = collect(&[y], &|_| false)?;
        Ok(forms(&items, true).iter().map(|form| format!("{:?}", form.task(&items).op)).collect())
    }

    fn ready(shape: [usize; 2]) -> Result<Tensor> {
        let x = Tensor::rand(shape, 1, &Engine::cpu())?;
        x.eval()?;
        Ok(x)
    }

    #[test]
    fn a_step_that_two_others_need_is_in_their_kernel_once() -> Result<()> {
        let x = ready([4, 4])?;
        let half = x.mul(0.5)?;
        let y = half.exp()?.add(&half.sin()?)?;
        drop(half);
        let kernels = kernels(&y)?;
        assert_eq!(kernels.len(), 1, "{kernels:?}");
        assert_eq!(kernels[0].matches("row: mul").count(), 1, "{kernels:?}");
        Ok(())
    }

    #[test]
    fn cheap_steps_are_in_each_kernel_that_needs_them() -> Result<()> {
        let x = ready([4, 4])?;
        let half = x.mul(0.5)?;
        let y = half.exp()?.softmax(-1)?.add(&half.sin()?)?;
        drop(half);
        let kernels = kernels(&y)?;
        // The exponential's, the softmax and the sum's.
        assert_eq!(kernels.len(), 3, "{kernels:?}");
        assert_eq!(kernels.iter().filter(|kernel| kernel.contains("row: mul")).count(), 2, "{kernels:?}");
        Ok(())
    }

    #[test]
    fn what_reads_more_than_it_writes_is_computed_once() -> Result<()> {
        let x = ready([4, 4])?;
        let product = x.mul(&x.t()?)?;
        let y = product.exp()?.softmax(-1)?.add(&product.sin()?)?;
        drop(product);
        let kernels = kernels(&y)?;
        assert_eq!(kernels.iter().filter(|kernel| kernel.contains("row: mul")).count(), 1, "{kernels:?}");
        Ok(())
    }

    /// Square matrices of one engine.
    fn squares<const N: usize>() -> Result<[Tensor; N]> {
        let all = ready([4 * N, 4])?;
        let mut squares = std::array::from_fn(|_| all.clone());
        for (at, square) in squares.iter_mut().enumerate() {
            *square = Tensor::from_vec(all.narrow(0, 4 * at, 4)?.to_vec::<f32>()?, [4, 4], all.engine())?;
        }
        Ok(squares)
    }

    /// The names of the kernels that compute `y`.
    fn names(y: &Tensor) -> Result<Vec<&'static str>> {
        let items = collect(&[y], &|_| false)?;
        Ok(forms(&items, true).iter().map(|form| form.task(&items).op.name()).collect())
    }

    #[test]
    fn what_follows_a_product_is_in_its_kernel() -> Result<()> {
        let [x, w, bias] = squares()?;
        let bias = bias.narrow(0, 0, 1)?;
        bias.eval()?;
        let follow = |product: Tensor| product.add(&bias)?.relu()?.add(&x);
        assert_eq!(names(&follow(x.matmul(&w)?)?)?, ["matmul"]);
        let product = x.matmul(&w)?;
        product.eval()?;
        assert_eq!(follow(x.matmul(&w)?)?.to_vec::<f32>()?, follow(product)?.to_vec::<f32>()?);
        Ok(())
    }

    #[test]
    fn a_product_that_others_read_too_has_a_kernel_of_its_own() -> Result<()> {
        let x = ready([4, 4])?;
        let product = x.matmul(&x)?;
        // One that a handle keeps, one that two kernels read, one of which a part is read.
        assert_eq!(names(&product.relu()?)?, ["matmul", "relu"]);
        let twice = {
            let product = x.matmul(&x)?;
            product.relu()?.add(&product.softmax(-1)?)?
        };
        assert_eq!(names(&twice)?, ["matmul", "softmax", "fused"]);
        let part = x.matmul(&x)?.slice(0, 0, 2, 1)?.relu()?;
        assert_eq!(names(&part)?, ["matmul", "relu"]);
        Ok(())
    }

    #[test]
    fn the_later_of_two_products_takes_what_follows_both() -> Result<()> {
        let [x, w] = squares()?;
        let y = x.matmul(&w)?.add(&w.matmul(&x)?)?.exp()?;
        let items = collect(&[&y], &|_| false)?;
        let tasks = forms(&items, true);
        let ops = tasks.iter().map(|form| form.task(&items).op);
        let finish: Vec<_> = ops.map(|op| (op.name(), op.finishes())).collect();
        assert_eq!(finish, [("matmul", true), ("matmul", false)]);
        Ok(())
    }

    #[test]
    fn what_replaces_a_parameter_is_written_over_it() -> Result<()> {
        let [x, parameter] = squares()?;
        let updated = parameter.sub(&x.matmul(&x)?.mul(0.1)?)?;
        drop(parameter);
        assert_eq!(names(&updated)?, ["matmul", "fused"]);
        Ok(())
    }
}
