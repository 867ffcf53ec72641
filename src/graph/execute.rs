//! Runs what is pending: order, memory, device by device.

use super::collect::{Item, collect};
use super::fuse::Task;
use super::place::{Fate, Placement, place};
use super::profile::Profile;
use super::schedule::Schedules;
use crate::device::cpu::threads;
use crate::device::{Argument, Buffer, Coming, Device, DeviceKind};
use crate::ops::fused::{Fused, Operand, Together};
use crate::{DType, Error, Op, Result, Spec, Tensor};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Computes `targets`.
///
/// Nodes forget their inputs where no gradient can flow through them any more: none is asked for, nobody holds
/// them or what was computed from them, or `finished` says so of a node number. Values that nobody holds then live
/// only until their last use. A differentiable node that keeps its history keeps its value too, for a later
/// `backward`.
/// `read` says that the host waits for the targets.
pub(crate) fn evaluate(
    targets: &[Tensor],
    finished: &(dyn Fn(u64) -> bool + Sync),
    read: bool,
) -> Result<()> {
    let pending = |t: &Tensor| t.inner().state().value.is_none();
    let mut by_engine: Vec<&Tensor> = Vec::new();
    for target in targets.iter().filter(|target| pending(target)) {
        if !by_engine.iter().any(|other| other.engine().same(target.engine())) {
            by_engine.push(target);
        }
    }
    for first in by_engine {
        let engine = first.engine();
        let targets: Vec<&Tensor> = targets.iter().filter(|t| t.engine().same(engine)).collect();
        let run = |schedules: &mut Schedules| {
            let profile = Profile::get()?;
            let items = collect(&targets, finished, schedules.items)?;
            let forms = schedules.forms(&items, !engine.debugs_nan());
            let tasks: Vec<Task> = forms.iter().map(|form| form.task(&items)).collect();
            let wanted = if read { &targets[..] } else { &[] };
            let Placement { devices, fates } = place(engine, &items, &tasks, wanted);
            let mut run = Run::new(&items, &tasks, profile);
            let mut all = || {
                let mut placed = devices.iter().copied().enumerate();
                let done = placed.try_for_each(|(at, device)| {
                    run.make_way(at, device)?;
                    if run.batch.is_empty() {
                        let own = |&at: &usize| devices[at].kind() == device.kind();
                        let coming = || run.coming((at..devices.len()).filter(own), device);
                        device.prepare(&mut std::iter::once_with(coming).flatten());
                    }
                    run.task(at, device)
                });
                // What came before an error is computed.
                let rest = run.finish_batch();
                done.and(rest)
            };
            // Many kernels, handed over to the threads that run them once.
            let on_threads = devices.iter().any(|device| device.kind() == DeviceKind::Cpu);
            let result = if on_threads { threads::run(all) } else { all() };
            run.settle(result.is_err(), &fates);
            result
        };
        undisturbed(|| run(&mut engine.lock()))?;
    }
    Ok(())
}

/// Runs `work` on a thread that takes up nothing else while it waits. Rayon's threads do: one that holds
/// an engine's lock could come upon another evaluation, and wait for itself.
fn undisturbed(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    if rayon::current_thread_index().is_none() {
        return work();
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("kiln-evaluate".into()).spawn_scoped(scope, work);
        let refused = |error| Error::device("CPU", format!("no thread to evaluate on: {error}"));
        thread.map_err(refused)?.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The values of a graph while it runs.
struct Run<'a> {
    items: &'a [Item],
    tasks: &'a [Task<'a>],
    /// The buffer of each root item that has one.
    buffers: Vec<Option<Buffer>>,
    /// Copies of buffers on another device than the one that made them.
    copies: HashMap<usize, Buffer>,
    /// The last task that reads each item; none for kept ones, which are never dropped.
    last_use: Vec<Option<usize>>,
    /// Tasks to be run together, and what they are together.
    batch: Vec<Launch>,
    together: Together,
    /// What runs the batch.
    device: Option<&'a dyn Device>,
    profile: Option<&'static Profile>,
}

/// A task and its memory.
struct Launch {
    /// The item computed.
    item: usize,
    arguments: Vec<Argument>,
    output: Argument,
}

impl Launch {
    /// The arguments and, past them, the output.
    fn operand(&self, at: usize) -> &Argument {
        self.arguments.get(at).unwrap_or(&self.output)
    }

    /// How many handles to a buffer it holds.
    fn handles(&self, buffer: &Buffer) -> usize {
        let all = self.arguments.iter().chain([&self.output]);
        all.filter(|argument| argument.buffer.same(buffer)).count()
    }
}

impl<'a> Run<'a> {
    fn new(items: &'a [Item], tasks: &'a [Task<'a>], profile: Option<&'static Profile>) -> Run<'a> {
        let mut last_use = vec![None; items.len()];
        for (at, task) in tasks.iter().enumerate() {
            for &(root, _) in &task.inputs {
                last_use[root] = Some(at);
            }
        }
        for item in items.iter().filter(|item| item.keep) {
            last_use[item.root] = None;
        }
        let buffers = items
            .iter()
            .map(|item| {
                let mut state = item.node.state();
                // A value that only this graph holds is taken, so that it can be donated.
                if item.keep { state.value.clone() } else { state.value.take() }
            })
            .collect();
        let (copies, batch, together) = Default::default();
        Run { items, tasks, buffers, copies, last_use, batch, together, device: None, profile }
    }

    /// Whether a task is rather run together with others: it has room in a kernel that takes so many buffers.
    fn merges(&self, at: usize, device: &dyn Device) -> bool {
        self.tasks[at].merges && self.tasks[at].inputs.len() < device.merges()
    }

    /// Runs the batch unless a task is to be part of it.
    fn make_way(&mut self, at: usize, device: &'a dyn Device) -> Result<()> {
        let joins = self.merges(at, device) && self.device.is_some_and(|own| own.kind() == device.kind());
        if joins { Ok(()) } else { self.finish_batch() }
    }

    fn task(&mut self, at: usize, device: &'a dyn Device) -> Result<()> {
        let task = &self.tasks[at];
        let launch = self.launch(at, device)?;
        let value = launch.output.buffer.clone();
        if self.joins(at, &launch, device)? {
            self.device = Some(device);
            self.batch.push(launch);
        } else if launch.output.spec.elements() > 0 {
            // Without elements there is nothing to compute, and no kernel needs to know of that.
            self.run(&*task.op, &launch.arguments, &launch.output, device)?;
        }
        // Those that follow in the batch read it.
        self.buffers[task.output] = Some(value);
        Ok(())
    }

    /// Adds a task to what runs together, or to what does next; false where it runs alone.
    fn joins(&mut self, at: usize, launch: &Launch, device: &dyn Device) -> Result<bool> {
        if !self.merges(at, device) {
            return Ok(false);
        }
        let op = &*self.tasks[at].op;
        let operand = |argument: &Argument| (argument.buffer.address(), argument.spec);
        let inputs: Vec<_> = launch.arguments.iter().map(operand).collect();
        let output = operand(&launch.output);
        if self.together.add(op, &inputs, output, device.merges()) {
            return Ok(true);
        }
        self.finish_batch()?;
        Ok(self.together.add(op, &inputs, output, device.merges()))
    }

    /// A task's inputs and a place for its output; those of the last use are let go.
    fn launch(&mut self, at: usize, device: &dyn Device) -> Result<Launch> {
        let task = &self.tasks[at];
        let spec = self.items[task.output].node.spec;
        let runs = spec.elements() > 0;
        let arguments = task
            .inputs
            .iter()
            .filter(|_| runs)
            .map(|&(root, spec)| self.argument(root, spec, &*task.op, device))
            .collect::<Result<Vec<_>>>()?;
        for &(root, _) in &task.inputs {
            if self.last_use[root] == Some(at) {
                self.buffers[root] = None;
                self.copies.remove(&root);
            }
        }
        // Whether nobody holds the buffer but the task, by this input, and those that run before it.
        let unique = |input: usize| {
            let buffer = arguments.get(input).map(|input: &Argument| &input.buffer);
            buffer.is_some_and(|buffer| {
                let before = self.batch.iter().map(|launch| launch.handles(buffer)).sum::<usize>();
                buffer.handles() == before + 1
            })
        };
        let buffer = match self.donor(at, device, unique) {
            Some(donor) => arguments[donor].buffer.clone(),
            None => device.allocate(spec.bytes())?,
        };
        Ok(Launch { item: task.output, arguments, output: Argument { buffer, spec } })
    }

    /// Runs what was put together.
    fn finish_batch(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let together = std::mem::take(&mut self.together);
        let batch = std::mem::take(&mut self.batch);
        let Some((device, (inputs, output))) = self.device.take().zip(together.operands()) else {
            return Ok(());
        };
        let argument = |operand: Operand| batch[operand.member].operand(operand.at);
        let inputs: Vec<Argument> = inputs.into_iter().map(|operand| argument(operand).clone()).collect();
        let result = self.run(&together, &inputs, argument(output), device);
        if result.is_err() {
            batch.iter().for_each(|launch| self.buffers[launch.item] = None);
        }
        result
    }

    /// Has the device run an operation.
    fn run(&self, op: &dyn Op, inputs: &[Argument], output: &Argument, device: &dyn Device) -> Result<()> {
        let run = || device.run(op, inputs, output);
        let specs = || inputs.iter().map(|input| input.spec).collect::<Vec<_>>();
        match self.profile {
            Some(profile) => profile.run(op, &specs(), &output.spec, device, run)?,
            None => run()?,
        }
        if self.items[0].node.engine().debugs_nan() {
            check_finite(op, &specs(), output, device)?;
        }
        Ok(())
    }

    /// The first input that the task's output can be written over: `unique`, so that nobody else holds its buffer,
    /// read for the last time, and laid out like the output. For a GPU that is another kernel, worth it only for what
    /// was there before the graph and is replaced in it, such as parameters.
    fn donor(&self, at: usize, device: &dyn Device, unique: impl Fn(usize) -> bool) -> Option<usize> {
        let task = &self.tasks[at];
        let output = &self.items[task.output].node.spec;
        let specs = || task.inputs.iter().map(|&(_, spec)| spec).collect::<Vec<_>>();
        (0..task.inputs.len()).find(|&i| {
            let (root, spec) = &task.inputs[i];
            self.last_use[*root] == Some(at)
                && (device.kind() == DeviceKind::Cpu || !self.items[*root].pending)
                && (spec.layout, spec.dtype.size()) == (output.layout, output.dtype.size())
                && unique(i)
                && match self.merges(at, device) {
                    true => spec.dtype == output.dtype,
                    false => device.in_place(&*task.op, i, &specs(), output),
                }
        })
    }

    /// What the tasks of a device will run: the copies of their inputs, and their ops.
    fn coming(&self, tasks: impl Iterator<Item = usize>, device: &dyn Device) -> Vec<Coming> {
        let mut all = Vec::new();
        // What runs together, and the items whose buffers it writes over.
        let (mut batch, mut together) = (Vec::new(), Together::default());
        let mut places: Vec<usize> = (0..self.items.len()).collect();
        for at in tasks {
            let task = &self.tasks[at];
            let output = self.items[task.output].node.spec;
            if output.elements() == 0 {
                continue;
            }
            let reads = |root| task.inputs.iter().filter(|&&(other, _)| other == root).count();
            let over = self.donor(at, device, |input| reads(task.inputs[input].0) == 1);
            if self.merges(at, device) {
                places[task.output] = over.map_or(task.output, |i| places[task.inputs[i].0]);
                let inputs: Vec<_> = task.inputs.iter().map(|&(root, spec)| (places[root], spec)).collect();
                let written = (places[task.output], output);
                let mut joins = together.add(&*task.op, &inputs, written, device.merges());
                if !joins {
                    all.extend(self.merged(std::mem::take(&mut together), &batch));
                    batch.clear();
                    joins = together.add(&*task.op, &inputs, written, device.merges());
                }
                if joins {
                    batch.push(at);
                    continue;
                }
            }
            let mut inputs: Vec<Spec> = task.inputs.iter().map(|&(_, spec)| spec).collect();
            for input in &mut inputs {
                if let Some(copy) = copied(&*task.op, input, device)
                    && let Ok(output) = copy.output(&[])
                {
                    all.push(Coming { op: Arc::new(copy), inputs: vec![*input], output, over: None });
                    *input = output;
                }
            }
            all.push(Coming { op: Arc::clone(&task.op), inputs, output, over });
        }
        all.extend(self.merged(together, &batch));
        all
    }

    /// What tasks put together will run, if there are any.
    fn merged(&self, together: Together, batch: &[usize]) -> Option<Coming> {
        let (inputs, output) = together.operands()?;
        let spec = |operand: Operand| {
            let task = &self.tasks[batch[operand.member]];
            task.inputs.get(operand.at).map_or(self.items[task.output].node.spec, |&(_, spec)| spec)
        };
        let inputs = inputs.into_iter().map(spec).collect();
        Some(Coming { op: Arc::new(together), inputs, output: spec(output), over: None })
    }

    /// An input as the device and the op want it: there, and contiguous unless the op takes strides.
    fn argument(&mut self, root: usize, spec: Spec, op: &dyn Op, device: &dyn Device) -> Result<Argument> {
        let missing = || Error::op(op.name(), "an input was lost to an earlier error");
        let mut buffer = self.buffers[root].clone().ok_or_else(missing)?;
        let mut spec = spec;
        if buffer.kind() != device.kind() {
            let from = self.items[root].node.engine().holder(buffer.kind());
            let size = spec.dtype.size();
            // Buffers may be larger than the tensor; views never reach past the root's own extent.
            let extent = spec.layout.extent();
            let end = self.items[root].node.spec.layout.extent().end.max(extent.end);
            let moved = |range: Range<usize>| {
                let range = range.start * size..range.end * size;
                match from.bytes(&buffer, range.clone()) {
                    Some(bytes) => device.upload(bytes),
                    None => device.upload(&pollster::block_on(from.download(&buffer, range))?),
                }
            };
            buffer = match self.copies.get(&root) {
                Some(copy) => copy.clone(),
                // What the device cannot hold as a whole goes there view by view.
                None if end * size > device.largest() => {
                    spec.layout.offset -= extent.start;
                    moved(extent)?
                }
                None => {
                    let copy = moved(0..end)?;
                    self.copies.insert(root, copy.clone());
                    copy
                }
            };
        }
        let argument = Argument { buffer, spec };
        let Some(copy) = copied(op, &spec, device) else { return Ok(argument) };
        let spec = copy.output(&[])?;
        let output = Argument { buffer: device.allocate(spec.bytes())?, spec };
        device.run(&copy, &[argument], &output)?;
        Ok(output)
    }

    /// Gives the nodes their values, and those that move the copy on the other device; after an error, what was
    /// not computed gets its inputs back.
    fn settle(mut self, failed: bool, fates: &[Fate]) {
        for (at, item) in self.items.iter().enumerate() {
            let fate = fates.get(item.root).copied().unwrap_or_default();
            let moved = if fate.moves { self.copies.remove(&at) } else { None };
            let value = moved.or_else(|| self.buffers[item.root].clone());
            if let Some(value) = &value {
                value.set_uses(fate.uses);
            }
            let mut state = item.node.state();
            if !item.pending {
                state.value = value.or(state.value.take());
            } else if item.keep && value.is_some() {
                state.value = value;
            } else if failed {
                state.inputs = item.inputs.iter().map(|&i| Tensor::from_inner(&self.items[i].node)).collect();
                state.released = false;
            }
        }
        self.buffers.clear();
    }
}

/// The copy that a device takes of an input, where the op has to be given one.
fn copied(op: &dyn Op, spec: &Spec, device: &dyn Device) -> Option<Fused> {
    let aligned = (spec.layout.offset * spec.dtype.size()).is_multiple_of(device.alignment());
    let fits = op.strided() || spec.elements() == 0 || (spec.layout.is_contiguous() && aligned);
    (!fits).then(|| Fused::copy(spec))
}

/// An error where an output holds a NaN or an infinity.
fn check_finite(op: &dyn Op, inputs: &[Spec], output: &Argument, device: &dyn Device) -> Result<()> {
    let spec = &output.spec;
    let bytes = pollster::block_on(device.download(&output.buffer, 0..spec.bytes()))?;
    let found = match spec.dtype {
        DType::F32 => bytemuck::pod_collect_to_vec::<u8, f32>(&bytes).into_iter().find(|v| !v.is_finite()),
        DType::F16 => {
            let halves = bytemuck::pod_collect_to_vec::<u8, half::f16>(&bytes);
            halves.into_iter().map(half::f16::to_f32).find(|v| !v.is_finite())
        }
        DType::I32 | DType::Bool => None,
    };
    let Some(value) = found else { return Ok(()) };
    let inputs: Vec<String> = inputs.iter().map(|spec| spec.shape().to_string()).collect();
    let message = format!("the output {} has {value}; inputs {}", spec.shape(), inputs.join(" and "));
    Err(Error::op(op.name(), message))
}
