use super::*;
use crate::device::cpu::CpuDevice;
use crate::device::{Argument, Buffer, Coming, Download, Memory, Storage};
use crate::nn::{Init, Params};
use crate::optim::{Optimizer, Sgd, SgdOptions};
use crate::{Op, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Numbers that look random, the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn seconds(&mut self) -> f64 {
        (1 + self.below(1000)) as f64 * 1e-6
    }
}

/// A graph of up to 40 tasks, of which some have no kernel on the GPU, whose values are dear or cheap to move.
fn random_graph(draw: &mut Draw) -> Graph {
    let (leaves, count) = (1 + draw.below(4), 1 + draw.below(40));
    let scale = [0.01, 0.3, 3.0][draw.below(3)];
    let mut graph = Graph::default();
    for at in 0..leaves + count {
        let lies = (at < leaves).then(|| draw.below(2));
        let home = lies.map_or(Home::Task(at.saturating_sub(leaves)), Home::Device);
        let transfer = [draw.seconds() * scale, draw.seconds() * scale];
        graph.values.push(Value { home, lies, uses: 1, transfer, wanted: draw.below(8) == 0 });
    }
    for at in 0..count {
        let start = graph.reads.len();
        for _ in 0..draw.below(4) {
            let value = draw.below(leaves + at);
            if !graph.reads[start..].contains(&value) {
                graph.reads.push(value);
            }
        }
        let gpu = if draw.below(5) == 0 { f64::INFINITY } else { draw.seconds() };
        let reads = start..graph.reads.len();
        // One of its inputs may be a parameter that the task makes the next of.
        let leaf = graph.reads[start..].iter().find(|&&value| value < leaves);
        if let Some(&leaf) = leaf.filter(|_| draw.below(2) == 0) {
            graph.values[leaf].home = Home::Task(at);
        }
        graph.nodes.push(Node { seconds: [draw.seconds(), gpu], reads, output: leaves + at });
    }
    graph
}

/// The sum by its definition: each task on its device, each value once to a device that reads it and has it not.
fn by_definition(graph: &Graph, on: &[usize]) -> f64 {
    let mut sum: f64 = graph.nodes.iter().zip(on).map(|(node, &at)| node.seconds[at]).sum();
    for (place, value) in graph.values.iter().enumerate() {
        let at = match value.home {
            Home::Device(at) => at,
            Home::Task(task) => on[task],
        };
        let reads = |(node, &reader): (&Node, &usize)| {
            reader != at && graph.reads[node.reads.clone()].contains(&place)
        };
        if graph.nodes.iter().zip(on).any(reads) || value.wanted && at == GPU {
            sum += value.transfer[at];
        }
    }
    sum
}

#[test]
fn no_graph_is_estimated_worse_than_on_either_device() {
    let mut draw = Draw(1);
    let (mut better, mut optimal, mut small) = (0, 0, 0);
    for _ in 0..400 {
        let graph = random_graph(&mut draw);
        let assignment = graph.assign();
        let chosen = by_definition(&graph, &assignment.on);
        assert!((assignment.seconds() - chosen).abs() <= 1e-9 * chosen, "{} {chosen}", assignment.seconds());
        let alone = [CPU, GPU].map(|device| by_definition(&graph, &graph.alone_on(device).on));
        assert!(chosen <= alone[0].min(alone[1]) * (1.0 + 1e-9), "{chosen} {alone:?}");
        assert!(chosen.is_finite(), "a task without a kernel went to the GPU");
        better += usize::from(chosen < 0.9 * alone[0].min(alone[1]));
        if graph.nodes.len() <= 8 {
            let every = (0..1usize << graph.nodes.len())
                .map(|bits| (0..graph.nodes.len()).map(|at| bits >> at & 1).collect::<Vec<_>>());
            let best = every.map(|on| by_definition(&graph, &on)).fold(f64::INFINITY, f64::min);
            assert!(best <= chosen * (1.0 + 1e-9));
            small += 1;
            optimal += usize::from(chosen <= best / MIXED);
        }
    }
    // Both devices together are worth it for many of these graphs, and single moves nearly always find the best.
    assert!(better > 100, "{better}");
    assert!(small > 50 && optimal * 10 > small * 8, "{optimal} of {small}");
}

/// A GPU that is the CPU in disguise: its buffers are its own, and it has no kernel for argsort.
#[derive(Debug, Default)]
struct Fake {
    cpu: CpuDevice,
    uploads: AtomicUsize,
    downloads: AtomicUsize,
    /// What it was told of before the first run, and what it ran.
    told: Mutex<Vec<Known>>,
    ran: Mutex<Vec<Known>>,
}

/// An operation by name, its inputs and its output.
type Known = (&'static str, Vec<Spec>, Spec);

#[derive(Debug)]
struct Held(Buffer);

impl Storage for Held {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn held(buffer: &Buffer) -> &Buffer {
    &buffer.storage::<Held>().expect("a buffer of the fake GPU").0
}

impl Device for Fake {
    fn name(&self) -> &str {
        "fake"
    }
    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpu
    }
    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        Ok(Buffer::new(Held(self.cpu.allocate(bytes)?), DeviceKind::Gpu))
    }
    fn upload(&self, data: &[u8]) -> Result<Buffer> {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        Ok(Buffer::new(Held(self.cpu.upload(data)?), DeviceKind::Gpu))
    }
    fn download<'a>(&'a self, buffer: &Buffer, range: Range<usize>) -> Download<'a> {
        self.downloads.fetch_add(1, Ordering::Relaxed);
        self.cpu.download(held(buffer), range)
    }
    fn alignment(&self) -> usize {
        256
    }
    fn supports(&self, op: &dyn Op, _: &[Spec], output: &Spec) -> bool {
        assert!(output.elements() > 0);
        op.name() != "argsort"
    }
    fn prepare(&self, coming: &mut dyn Iterator<Item = Coming>) {
        if self.ran.lock().expect("no panic").is_empty() {
            let known = |Coming { op, inputs, output, .. }: Coming| (op.name(), inputs, output);
            *self.told.lock().expect("no panic") = coming.map(known).collect();
        }
    }
    fn run(&self, op: &dyn Op, inputs: &[Argument], output: &Argument) -> Result<()> {
        let specs = inputs.iter().map(|input| input.spec).collect();
        self.ran.lock().expect("no panic").push((op.name(), specs, output.spec));
        assert!(self.supports(op, &[], &output.spec));
        let own =
            |argument: &Argument| Argument { buffer: held(&argument.buffer).clone(), ..argument.clone() };
        self.cpu.run(op, &inputs.iter().map(own).collect::<Vec<_>>(), &own(output))
    }
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
    fn memory(&self) -> Memory {
        self.cpu.memory()
    }
}

/// Ten times the CPU, behind a slow bus.
const FAST_GPU: [Ceilings; 2] = [
    Ceilings {
        flops: 1e11,
        bandwidth: 1e10,
        launch: 1e-6,
        launch_and_wait: 1e-6,
        upload: 1e10,
        upload_latency: 1e-6,
        download: 1e10,
        download_latency: 1e-6,
    },
    Ceilings {
        flops: 1e12,
        bandwidth: 1e11,
        launch: 1e-5,
        launch_and_wait: 1e-4,
        upload: 1e9,
        upload_latency: 1e-5,
        download: 1e9,
        download_latency: 1e-4,
    },
];

fn pair_of(rates: [Ceilings; 2]) -> (Arc<Fake>, Engine) {
    let fake = Arc::new(Fake::default());
    let engine = Engine::with_devices(Some(fake.clone()), "made up").balanced_by(rates);
    (fake, engine)
}

fn pair() -> (Arc<Fake>, Engine) {
    pair_of(FAST_GPU)
}

impl Fake {
    fn transfers(&self) -> [usize; 2] {
        [&self.uploads, &self.downloads].map(|count| count.load(Ordering::Relaxed))
    }
}

/// Numbers from the host.
fn given(shape: &[usize], engine: &Engine) -> Tensor {
    let mut draw = Draw(shape.len() as u64);
    let values = (0..shape.iter().product()).map(|_| draw.below(2001) as f32 / 1000.0 - 1.0).collect();
    Tensor::from_vec(values, shape, engine).expect("as many values as elements")
}

#[test]
fn cheap_chains_stay_and_large_products_move() -> Result<()> {
    let (fake, engine) = pair();
    assert_eq!(engine.name(), format!("{} and fake", Engine::cpu().name()));
    let chain = given(&[8, 100], &engine).softmax(1)?.cumsum(0)?.sum(1, false)?;
    chain.eval()?;
    assert_eq!((chain.device_kind(), fake.transfers()), (Some(DeviceKind::Cpu), [0, 0]));

    // 11 ms of arithmetic on the CPU; on the GPU 1 ms, and 4 ms for the operands.
    let [a, b] = [[1024, 512], [512, 1024]].map(|shape| given(&shape, &engine));
    let product = a.matmul(&b)?;
    let sum = product.sum(1, false)?;
    crate::eval([&product, &sum])?;
    // What follows a product stays where it is, and so do the operands, for what comes next.
    assert!([&a, &b, &sum].iter().all(|tensor| tensor.device_kind() == Some(DeviceKind::Gpu)));
    a.matmul(&b)?.eval()?;
    assert_eq!(fake.transfers(), [2, 0]);
    let cpu = Engine::cpu();
    let same = given(&[1024, 512], &cpu).matmul(&given(&[512, 1024], &cpu))?.sum(1, false)?;
    assert_eq!(sum.to_vec::<f32>()?, same.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn what_has_no_kernel_runs_on_the_cpu() -> Result<()> {
    let (fake, engine) = pair();
    let x = Tensor::randn([1024, 1024], 1, &engine)?;
    let product = x.matmul(&x)?.matmul(&x)?;
    let order = product.argsort(1, false)?;
    crate::eval([&product, &order])?;
    assert_eq!(product.device_kind(), Some(DeviceKind::Gpu));
    assert_eq!(order.device_kind(), Some(DeviceKind::Cpu));
    assert_eq!(fake.transfers(), [0, 1]);
    let cpu = Tensor::from_vec(product.to_vec::<f32>()?, [1024, 1024], &Engine::cpu())?;
    assert_eq!(order.to_vec::<i32>()?, cpu.argsort(1, false)?.to_vec::<i32>()?);
    Ok(())
}

#[test]
fn a_device_is_told_of_all_that_it_will_run() -> Result<()> {
    let fake = Arc::new(Fake::default());
    let engine = Engine::with_devices(Some(fake.clone()), "made up");
    let x = given(&[8, 6], &engine);
    // A view that needs a copy, a result without elements, and an operation that goes to the other device.
    let soft = x.t()?.softmax(1)?.add(&x.t()?)?;
    let order = soft.argsort(1, false)?;
    crate::eval([&soft.matmul(&x)?, &order, &soft.narrow(0, 0, 0)?.exp()?])?;
    let ran = fake.ran.lock().expect("no panic");
    assert_eq!(*ran, *fake.told.lock().expect("no panic"));
    let names: Vec<&str> = ran.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, ["copy", "softmax", "add", "matmul"]);
    Ok(())
}

#[test]
fn the_way_back_to_the_host_counts() -> Result<()> {
    let (_, engine) = pair();
    // On the CPU 2.7 ms; on the GPU 0.3 ms, 2.1 ms for the operands, and 1.2 ms for a result that is read.
    let product = || given(&[512, 512], &engine).matmul(&given(&[512, 512], &engine));
    let (kept, read) = (product()?, product()?);
    kept.eval()?;
    read.to_vec::<f32>()?;
    let kinds = [kept.device_kind(), read.device_kind()];
    assert_eq!(kinds, [Some(DeviceKind::Gpu), Some(DeviceKind::Cpu)]);
    Ok(())
}

/// Losses of some steps of a linear layer whose weight comes from the host; `after` each step.
fn train(engine: &Engine, mut after: impl FnMut(&Tensor)) -> Result<Vec<f64>> {
    let params = Params::new(engine, 0);
    let weight = params.parameter("weight", [256, 4096], Init::Zeros)?;
    weight.set(given(&[256, 4096], engine))?;
    let options = SgdOptions { lr: 10.0, momentum: 0.9, ..Default::default() };
    let mut optimizer = Sgd::new(&params, options)?;
    let mut losses = Vec::new();
    for _ in 0..9 {
        let loss = given(&[32, 256], engine).matmul(&weight.get())?.square()?.mean(.., false)?;
        optimizer.step(loss.backward()?)?;
        losses.push(loss.item()?);
        after(&weight.get());
    }
    Ok(losses)
}

#[test]
fn parameters_move_once_and_for_all() -> Result<()> {
    // A step takes 1.3 ms of arithmetic on the CPU and a tenth on the GPU, the way of the weight 8 ms.
    let slow_bus = Ceilings { upload: 5e8, download: 5e8, ..FAST_GPU[GPU] };
    let (fake, engine) = pair_of([FAST_GPU[CPU], slow_bus]);
    let mut seen = Vec::new();
    let losses = train(&engine, |weight| seen.push((weight.device_kind(), fake.transfers())))?;
    let moved = seen.iter().position(|(kind, _)| *kind == Some(DeviceKind::Gpu)).expect("many steps to come");
    // Not for one step, and before staying has cost more than moving.
    assert!((2..=7).contains(&moved), "{moved}");
    assert!(seen[..moved].iter().all(|seen| *seen == (Some(DeviceKind::Cpu), [0, 0])), "{seen:?}");
    // From then on there goes a batch for a loss.
    let [uploads, downloads] = seen[moved].1;
    for (step, seen) in seen[moved..].iter().enumerate() {
        assert_eq!(*seen, (Some(DeviceKind::Gpu), [uploads + step, downloads + step]));
    }
    assert_eq!(losses, train(&Engine::cpu(), |_| ())?);
    assert!(losses[8] < 0.9 * losses[0], "{losses:?}");
    Ok(())
}

/// A GPU that multiplies and a CPU that does everything else, with nothing to keep them from it; `None` where there is
/// no GPU and none is required.
#[cfg(feature = "gpu")]
fn multiplier() -> Result<Option<Engine>> {
    match Engine::new("gpu") {
        Ok(gpu) => {
            let free = Ceilings { launch: 1e-9, upload: 1e15, download: 1e15, ..FAST_GPU[GPU] };
            let free = Ceilings { upload_latency: 1e-9, download_latency: 1e-9, ..free };
            let cpu = Ceilings { flops: 1e9, bandwidth: 1e13, ..free };
            Ok(Some(gpu.balanced_by([cpu, Ceilings { flops: 1e13, bandwidth: 1e9, ..free }])))
        }
        Err(error @ crate::Error::NoDevice { .. })
            if std::env::var_os("KILN_REQUIRE_GPU").is_none_or(|value| value != "1") =>
        {
            eprintln!("not run: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(all(feature = "gpu", feature = "proof"))]
#[test]
fn operations_are_right_on_two_devices_at_once() -> Result<()> {
    let Some(both) = multiplier()? else { return Ok(()) };
    for case in crate::proof::cases() {
        let value = case.value(&both)?;
        assert!(value.passes(), "{}: {}", case.name, value.worst);
    }
    Ok(())
}

#[cfg(feature = "gpu")]
#[test]
fn a_gpu_and_the_cpu_train_together() -> Result<()> {
    use crate::models::Cnn;
    use crate::nn::{Module, cross_entropy};
    let Some(both) = multiplier()? else { return Ok(()) };
    let losses = |engine: &Engine| -> Result<(Vec<f64>, Vec<DeviceKind>)> {
        let params = Params::new(engine, 3);
        let model = Cnn::new(&params, 10)?;
        let mut optimizer = Sgd::new(&params, SgdOptions { lr: 0.05, ..Default::default() })?;
        let (x, labels) = (given(&[4, 1, 28, 28], engine), Tensor::from_vec(vec![1i32; 4], 4, engine)?);
        let mut losses = Vec::new();
        for _ in 0..4 {
            let loss = cross_entropy(&model.forward(&x)?, &labels)?;
            optimizer.step(loss.backward()?)?;
            losses.push(loss.item()?);
        }
        let hidden = x.conv2d(&params.trainable()[0].1.get(), None, Default::default())?;
        let grown = hidden.exp()?;
        crate::eval([&hidden, &grown])?;
        Ok((losses, [hidden, grown].iter().filter_map(Tensor::device_kind).collect()))
    };
    let (expected, _) = losses(&Engine::cpu())?;
    let (found, kinds) = losses(&both)?;
    assert_eq!(kinds, [both.kind(), DeviceKind::Cpu]);
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4 * expected, "{found} {expected}");
    }
    assert!(found[3] < found[0], "{found:?}");
    Ok(())
}
