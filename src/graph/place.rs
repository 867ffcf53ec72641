//! Which device runs which task.
//!
//! On an engine of two devices each task is estimated on both: the launch of a kernel, and what takes longer,
//! its arithmetic or its memory. A value that is read on another device than it lies on costs a transfer, once.
//! The assignment starts as the better of the two devices alone and then moves task after task while the sum
//! of both falls, so it is never estimated worse than either.

mod explain;
#[cfg(test)]
mod tests;

use super::collect::Item;
use super::fuse::Task;
use crate::device::{Device, DeviceKind};
use crate::{Ceilings, Engine, Spec, Tensor};
use std::ops::Range;

const CPU: usize = 0;
const GPU: usize = 1;
/// Times that all tasks are looked at. Nearly all graphs are settled after two.
const SWEEPS: usize = 6;
/// What both devices must take, of what one takes alone, to be used together: estimates are no better.
const MIXED: f64 = 0.95;

/// The devices of a graph's tasks.
pub(super) struct Placement<'a> {
    /// One for each task.
    pub devices: Vec<&'a dyn Device>,
    /// What becomes of each item's value, where operations are placed by estimates.
    pub fates: Vec<Fate>,
}

/// What becomes of a value.
#[derive(Clone, Copy, Default)]
pub(super) struct Fate {
    /// It was computed before and is read on the other device alone: it moves there for good.
    pub moves: bool,
    /// How many graphs have made or read it, or what it takes the place of.
    pub uses: u32,
}

/// What one task takes, and the values it reads and makes.
struct Node {
    /// Seconds on the CPU and on the GPU, infinite where there is no kernel.
    seconds: [f64; 2],
    /// Where its inputs are in [`Graph::reads`].
    reads: Range<usize>,
    output: usize,
}

/// Where a value lies.
#[derive(Clone, Copy)]
enum Home {
    /// On this device, before the graph runs.
    Device(usize),
    /// Where this task runs.
    Task(usize),
}

/// A value that tasks may read.
struct Value {
    home: Home,
    /// Where it lies before the graph runs, if it was computed before.
    lies: Option<usize>,
    /// Graphs that made or read it, or what it takes the place of, this one included.
    uses: u32,
    /// Seconds that it takes to the other device, from the CPU and from the GPU.
    transfer: [f64; 2],
    /// Whether the host reads it.
    wanted: bool,
}

/// The tasks of a graph, as far as they matter here.
#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    /// The inputs of all nodes, each once a node.
    reads: Vec<usize>,
    values: Vec<Value>,
}

/// An assignment, and what follows from it.
#[derive(Clone)]
struct Assignment<'g> {
    graph: &'g Graph,
    /// The device of each node.
    on: Vec<usize>,
    /// Readers of each value on either device.
    readers: Vec<[u32; 2]>,
}

/// Decides where each task runs. The host waits for what is `wanted`.
pub(super) fn place<'a>(
    engine: &'a Engine,
    items: &[Item],
    tasks: &[Task],
    wanted: &[&Tensor],
) -> Placement<'a> {
    let mut graph = engine.rates().map(|rates| Graph::new(items, tasks, wanted, rates));
    let gpu = engine.gpu_device();
    let supported = |task: &Task| {
        let ask = || {
            let inputs: Vec<Spec> = task.inputs.iter().map(|&(_, spec)| spec).collect();
            let output = &items[task.output].node.spec;
            gpu.is_some_and(|gpu| output.elements() == 0 || gpu.supports(&*task.op, &inputs, output))
        };
        // What has no identity may be another operation in each graph.
        let known = task.op.identity().map(|_| *task.supported.get_or_init(ask));
        known.unwrap_or_else(ask)
    };
    // To ask a GPU takes longer than all the rest, and mostly it is plain without.
    let asked = gpu.is_some() && (explain::wanted() || !graph.as_ref().is_some_and(Graph::is_for_cpu));
    let supported = if asked { tasks.iter().map(supported).collect() } else { vec![false; tasks.len()] };
    let (on, fates) = match &mut graph {
        Some(graph) if asked => {
            graph.restrict(&supported);
            let best = graph.assign();
            (best.on.clone(), best.fates())
        }
        Some(graph) => (vec![CPU; tasks.len()], graph.alone_on(CPU).fates()),
        None => (supported.iter().map(|&supported| usize::from(supported)).collect(), Vec::new()),
    };
    explain::print(engine, items, tasks, graph.as_ref(), &on, |at| match (&graph, supported[at]) {
        _ if gpu.is_none() => "only device",
        (_, false) => "no kernel",
        (None, true) => engine.preference(),
        (Some(graph), true) => {
            let seconds = graph.nodes[at].seconds;
            if seconds[on[at]] <= seconds[1 - on[at]] { "cheaper" } else { "cheaper with transfers" }
        }
    });
    let devices = [engine.cpu_device(), engine.main()];
    Placement { devices: on.into_iter().map(|at| &**devices[at]).collect(), fates }
}

/// The seconds that a task is estimated to take on each device.
fn seconds(rates: &[Ceilings; 2], task: &Task, output: &Spec) -> [f64; 2] {
    // Of a broadcast input there are fewer elements than of its shape.
    let touched = |spec: &Spec| spec.elements().min(spec.layout.extent().len()) * spec.dtype.size();
    let inputs: Vec<Spec> = task.inputs.iter().map(|&(_, spec)| spec).collect();
    let bytes = (inputs.iter().map(touched).sum::<usize>() + output.bytes()) as f64;
    let flops = task.op.flops(&inputs, output) as f64;
    rates.each_ref().map(|rates| rates.launch + (flops / rates.flops).max(bytes / rates.bandwidth))
}

impl Graph {
    /// As if the GPU had a kernel for everything.
    fn new(items: &[Item], tasks: &[Task], wanted: &[&Tensor], rates: &[Ceilings; 2]) -> Graph {
        let values = items.iter().map(|item| value(item, &rates[GPU]));
        let mut graph = Graph { values: values.collect(), ..Graph::default() };
        let mut kept = vec![false; items.len()];
        for item in items {
            kept[item.root] |= item.keep;
        }
        for target in wanted {
            // Items are in the order of their nodes.
            if let Ok(at) = items.binary_search_by_key(&target.id(), |item| item.node.id) {
                graph.values[items[at].root].wanted = true;
            }
        }
        for (at, task) in tasks.iter().enumerate() {
            let (spec, start) = (&items[task.output].node.spec, graph.reads.len());
            graph.values[task.output].home = Home::Task(at);
            for &(root, _) in &task.inputs {
                if !graph.reads[start..].contains(&root) {
                    graph.reads.push(root);
                }
            }
            // Graphs to come read this output for that input, and from where this task leaves it.
            let replaced = |&&(root, read): &&(usize, Spec)| graph.values[root].is_state() && read == *spec;
            if let Some(&(root, _)) = task.inputs.iter().find(replaced).filter(|_| kept[task.output]) {
                graph.values[root].home = Home::Task(at);
                graph.values[task.output].uses = graph.values[root].uses;
            }
            let seconds = if spec.elements() == 0 { [0.0; 2] } else { seconds(rates, task, spec) };
            let reads = start..graph.reads.len();
            graph.nodes.push(Node { seconds, reads, output: task.output });
        }
        graph
    }

    /// Whether no assignment can be faster than the CPU alone: it has all that is read, and is faster at each task.
    fn is_for_cpu(&self) -> bool {
        self.nodes.iter().all(|node| node.seconds[CPU] <= node.seconds[GPU])
            && self.values.iter().all(|value| value.lies != Some(GPU))
    }

    /// Leaves the GPU what it has kernels for.
    fn restrict(&mut self, supported: &[bool]) {
        for (node, _) in self.nodes.iter_mut().zip(supported).filter(|(_, supported)| !**supported) {
            node.seconds[GPU] = f64::INFINITY;
        }
    }

    /// Both devices together, or the better of them alone.
    fn assign(&self) -> Assignment<'_> {
        let [cpu, gpu] = [CPU, GPU].map(|device| self.alone_on(device));
        let alone = if gpu.seconds() < cpu.seconds() { gpu } else { cpu };
        let mut mixed = alone.clone();
        mixed.improve();
        if mixed.seconds() < MIXED * alone.seconds() { mixed } else { alone }
    }

    /// All on one device, the GPU with the CPU's help where it has no kernel.
    fn alone_on(&self, device: usize) -> Assignment<'_> {
        let able = |node: &Node| if node.seconds[device].is_finite() { device } else { CPU };
        Assignment::new(self, self.nodes.iter().map(able).collect())
    }
}

impl Value {
    /// Whether it may be a parameter or other state, whose next value no task was found to make so far: what came
    /// from the host for this graph is not.
    fn is_state(&self) -> bool {
        matches!(self.home, Home::Device(_)) && self.uses > 1
    }
}

/// What there is to say of an item before its graph is known.
fn value(item: &Item, gpu: &Ceilings) -> Value {
    let bytes = item.node.spec.bytes() as f64;
    let mut value = Value {
        home: Home::Device(CPU),
        lies: None,
        uses: 1,
        transfer: [gpu.upload_latency + bytes / gpu.upload, gpu.download_latency + bytes / gpu.download],
        wanted: false,
    };
    if let (false, Some(buffer)) = (item.pending, &item.node.state().value) {
        let at = if buffer.kind() == DeviceKind::Cpu { CPU } else { GPU };
        (value.home, value.lies) = (Home::Device(at), Some(at));
        // A value that was used before will be used again, as often: it moves once for all of them.
        value.transfer = value.transfer.map(|seconds| seconds / f64::from(buffer.uses().max(1)));
        value.uses = buffer.uses().saturating_add(1);
    }
    value
}

impl<'g> Assignment<'g> {
    fn new(graph: &'g Graph, on: Vec<usize>) -> Assignment<'g> {
        let mut readers: Vec<[u32; 2]> =
            graph.values.iter().map(|value| [u32::from(value.wanted), 0]).collect();
        for (node, &at) in graph.nodes.iter().zip(&on) {
            graph.reads[node.reads.clone()].iter().for_each(|&value| readers[value][at] += 1);
        }
        Assignment { graph, on, readers }
    }

    /// What becomes of each value.
    fn fates(&self) -> Vec<Fate> {
        let values = self.graph.values.iter().zip(&self.readers);
        let fate = |(value, readers): (&Value, &[u32; 2])| {
            let moves = value.lies.is_some_and(|at| readers[at] == 0 && readers[1 - at] > 0);
            Fate { moves, uses: value.uses }
        };
        values.map(fate).collect()
    }

    /// What moving a value takes.
    fn transfer(&self, value: usize) -> f64 {
        let Value { home, transfer, .. } = self.graph.values[value];
        let at = match home {
            Home::Device(at) => at,
            Home::Task(task) => self.on[task],
        };
        if self.readers[value][1 - at] > 0 { transfer[at] } else { 0.0 }
    }

    /// What the whole graph takes.
    fn seconds(&self) -> f64 {
        let nodes = self.graph.nodes.iter().zip(&self.on).map(|(node, &at)| node.seconds[at]);
        nodes.sum::<f64>() + (0..self.readers.len()).map(|value| self.transfer(value)).sum::<f64>()
    }

    /// What a node and the transfers of all that it reads and makes take.
    fn around(&self, at: usize) -> f64 {
        let node = &self.graph.nodes[at];
        let reads = self.graph.reads[node.reads.clone()].iter();
        node.seconds[self.on[at]]
            + reads.chain([&node.output]).map(|&value| self.transfer(value)).sum::<f64>()
    }

    /// Moves a node to the other device.
    fn flip(&mut self, at: usize) {
        let from = self.on[at];
        self.on[at] = 1 - from;
        for &value in &self.graph.reads[self.graph.nodes[at].reads.clone()] {
            self.readers[value][from] -= 1;
            self.readers[value][1 - from] += 1;
        }
    }

    /// Moves single nodes as long as that makes the whole faster.
    fn improve(&mut self) {
        let count = self.graph.nodes.len();
        for sweep in 0..SWEEPS {
            let mut settled = true;
            for place in 0..count {
                // To and fro: a run of nodes follows the one that moved first, whichever end it is at.
                let at = if sweep % 2 == 0 { place } else { count - 1 - place };
                if self.graph.nodes[at].seconds[1 - self.on[at]].is_infinite() {
                    continue;
                }
                let before = self.around(at);
                self.flip(at);
                if self.around(at) < before {
                    settled = false;
                } else {
                    self.flip(at);
                }
            }
            if settled {
                return;
            }
        }
    }
}
