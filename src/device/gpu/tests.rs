use super::*;
use crate::device::{Plan, Shader};
use crate::{DType, Shape, Tensor};
use std::borrow::Cow;
use std::time::Instant;

mod graphs;

/// `out[i] = in[i] * 2 + addend`, by way of a scratch buffer when `twice`.
#[derive(Clone, Debug)]
struct Affine {
    addend: f32,
    shader: &'static str,
    groups: Option<u32>,
    params: usize,
    twice: bool,
    flops: Option<u64>,
}

pub(super) const AFFINE: &str = "
struct Params { count: u32, addend: f32 }
const FACTOR: f32 = 1.0;
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
    let i = (group.x + group.y * groups.x) * 64u + local;
    if i < params.count { output[i] = input[i] * FACTOR + params.addend; }
}
";
/// The same over a scratch buffer, which is never read only.
fn scratch_affine() -> Shader {
    let source = AFFINE.replace("read> input", "read_write> input");
    Shader::text("affine_scratch".into(), source)
}
const BROKEN: &str = "const FACTOR = 1; fn main() { let x: f32 = 1u; }";
const GREEDY: &str = "
const FACTOR = 1;
@group(0) @binding(0) var<uniform> params: array<vec4<u32>, 4>;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@compute @workgroup_size(1) fn main() { output[0] = input[0] + f32(params[3].x); }
";

impl Affine {
    fn coming(&self) -> Coming {
        Coming { op: Arc::new(self.clone()), inputs: vec![spec(8)], output: spec(8), over: None }
    }

    fn new(addend: f32) -> Affine {
        Affine { addend, shader: AFFINE, groups: None, params: 2, twice: false, flops: None }
    }
}

impl Op for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }
    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(Spec::new(inputs[0].dtype, *inputs[0].shape()))
    }
    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        assert_eq!(inputs[0].layout.offset, 0);
        let kernel = |from, to, factor, addend: f32| Kernel {
            shader: match from {
                Binding::Scratch(_) => scratch_affine(),
                // One name for all, the broken ones included: a name alone is no shader.
                _ => Shader::file("affine", self.shader),
            },
            constants: vec![("FACTOR", Cow::Borrowed(factor))],
            bindings: vec![from, to],
            params: [output.elements() as u32, addend.to_bits()]
                .into_iter()
                .cycle()
                .take(self.params)
                .collect(),
            groups: match self.groups {
                Some(groups) => [groups, 1, 1],
                None => Kernel::fold(output.elements().div_ceil(64), caps),
            },
        };
        if !self.twice {
            return Some(Plan::one(kernel(Binding::Input(0), Binding::Output, "2.0", self.addend)));
        }
        let first = kernel(Binding::Input(0), Binding::Scratch(0), "2.0", 0.0);
        let second = kernel(Binding::Scratch(0), Binding::Output, "1.0", self.addend);
        Some(Plan { kernels: vec![first, second], scratch: vec![output.bytes()], ..Plan::default() })
    }
    fn flops(&self, _: &[Spec], output: &Spec) -> u64 {
        self.flops.unwrap_or(output.elements() as u64)
    }
    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None])
    }
}

/// The GPU to test on, whatever it is; `None` where there is none and none is required.
fn present<T>(opened: Result<T>) -> Option<T> {
    match opened {
        Ok(device) => Some(device),
        Err(error @ Error::NoDevice { .. })
            if std::env::var_os("KILN_REQUIRE_GPU").is_none_or(|value| value != "1") =>
        {
            eprintln!("not run: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn device() -> Option<GpuDevice> {
    present(GpuDevice::open(&Selector::Any))
}

fn spec(elements: usize) -> Spec {
    Spec::new(DType::F32, Shape::new(&[elements]).unwrap())
}

fn upload(device: &GpuDevice, values: &[f32]) -> Argument {
    Argument { buffer: device.upload(bytemuck::cast_slice(values)).unwrap(), spec: spec(values.len()) }
}

fn run(device: &GpuDevice, op: &Affine, input: &Argument) -> Result<Argument> {
    let spec = op.output(&[input.spec])?;
    let output = Argument { buffer: device.allocate(spec.bytes())?, spec };
    device.run(op, std::slice::from_ref(input), &output)?;
    Ok(output)
}

/// Whether a kernel gives what it should.
pub(super) fn computes(device: &GpuDevice) -> bool {
    let output = run(device, &Affine::new(0.5), &upload(device, &[1.0, -2.0])).unwrap();
    read(device, &output) == [2.5, -3.5]
}

fn read(device: &GpuDevice, argument: &Argument) -> Vec<f32> {
    let bytes = pollster::block_on(device.download(&argument.buffer, 0..argument.spec.bytes())).unwrap();
    bytemuck::pod_collect_to_vec(&bytes)
}

#[test]
fn bytes_come_back_as_they_went() {
    let Some(device) = device() else { return };
    for bytes in [0, 1, 2, 3, 4, 5, 15, 16, 17, 255, 4097, 100_003] {
        let data: Vec<u8> = (0..bytes).map(|i| (i * 7 + bytes) as u8).collect();
        let buffer = device.upload(&data).unwrap();
        for range in [0..bytes, bytes / 3..bytes, 0..bytes / 2, bytes / 3..bytes / 2] {
            let got = pollster::block_on(device.download(&buffer, range.clone())).unwrap();
            assert_eq!(got, data[range]);
        }
    }
    let buffer = device.upload(&[1; 16]).unwrap();
    assert!(pollster::block_on(device.download(&buffer, 0..17)).is_err());
}

#[test]
fn a_long_chain_spans_submits() {
    let Some(device) = device() else { return };
    let mut x = upload(&device, &[1.0; 1000]);
    for _ in 0..300 {
        // Stays at 1: twice 1 less 1.
        x = run(&device, &Affine::new(-1.0), &x).unwrap();
    }
    assert_eq!(read(&device, &x), [1.0; 1000]);
    let start = Instant::now();
    for _ in 0..300 {
        x = run(&device, &Affine::new(-1.0), &x).unwrap();
    }
    let recorded = start.elapsed();
    device.synchronize().unwrap();
    eprintln!(
        "{}: {:?} a recorded dispatch, {:?} a run one",
        device.name(),
        recorded / 300,
        start.elapsed() / 300
    );
}

#[test]
fn recycled_buffers_keep_the_order_of_commands() {
    let Some(device) = device() else { return };
    let mut results = Vec::new();
    for round in 0..500 {
        // The input's buffer is free again while the dispatch that reads it is still unsubmitted.
        let x = upload(&device, &[round as f32; 64]);
        results.push(run(&device, &Affine { twice: round % 3 == 0, ..Affine::new(1.0) }, &x).unwrap());
    }
    for (round, result) in results.iter().enumerate() {
        assert_eq!(read(&device, result), [round as f32 * 2.0 + 1.0; 64]);
    }
}

#[test]
fn default_limits_are_enough() {
    let Some(device) = present(GpuDevice::open_with_limits(&Selector::Any, wgpu::Limits::default())) else {
        return;
    };
    let Caps { workgroup_size, software, .. } = *device.caps();
    assert_eq!(device.caps(), &Caps { workgroup_size, software, ..Caps::default() });
    // More groups than one dimension holds, and a size that is no multiple of a group's.
    let values: Vec<f32> = (0..5_000_001).map(|i| (i % 1000) as f32).collect();
    let y = run(&device, &Affine::new(0.5), &upload(&device, &values)).unwrap();
    assert!(read(&device, &y).iter().zip(&values).all(|(y, x)| *y == x * 2.0 + 0.5));
}

/// What `work` makes, and the number of submits that takes.
fn submits<T>(device: &GpuDevice, work: impl FnOnce() -> T) -> (T, u64) {
    device.synchronize().unwrap();
    let before = lock(&device.stream).epoch();
    let made = work();
    device.synchronize().unwrap();
    (made, lock(&device.stream).epoch() - before)
}

#[test]
fn no_submit_is_estimated_above_a_tenth_of_a_second() {
    let Some(device) = device() else { return };
    let values: Vec<f32> = (0..5000).map(|i| i as f32).collect();
    let want: Vec<f32> = values.iter().map(|x| x * 2.0 + 1.0).collect();
    let x = upload(&device, &values);
    // Each estimated at so many milliseconds.
    let runs = |count: usize, cost: f64| {
        let op = Affine { flops: Some((cost * 1e6 * device.rates.flops) as u64), ..Affine::new(1.0) };
        let (made, submits) = submits(&device, || {
            (0..count).map(|_| run(&device, &op, &x)).collect::<Result<Vec<_>>>().unwrap()
        });
        assert!(made.iter().all(|made| read(&device, made) == want));
        submits
    };
    assert_eq!(runs(20, 1.0), 1);
    assert_eq!(runs(20, 20.0), 4);
    // One alone is too long: its workgroups are shared out.
    assert_eq!(runs(1, 1000.0), 10);
    assert_eq!(runs(1, 1e6), values.len().div_ceil(64) as u64, "one workgroup each");
}

#[test]
fn more_workgroups_than_both_dimensions_hold() {
    let limits = wgpu::Limits { max_compute_workgroups_per_dimension: 3, ..Default::default() };
    let Some(device) = present(GpuDevice::open_with_limits(&Selector::Any, limits)) else { return };
    let values: Vec<f32> = (0..5001).map(|i| i as f32).collect();
    let x = upload(&device, &values);
    let op = Affine { twice: true, ..Affine::new(0.5) };
    assert!(device.supports(&op, &[x.spec], &x.spec));
    let y = run(&device, &op, &x).unwrap();
    assert!(read(&device, &y).iter().zip(&values).all(|(y, x)| *y == x * 2.0 + 0.5));
    // A shader that cannot be told where to start is refused.
    let source = AFFINE.replace("group.x + group.y * groups.x", "group.y * groups.x + group.x");
    let whole = Affine { shader: source.leak(), ..Affine::new(0.5) };
    assert!(!device.supports(&whole, &[x.spec], &x.spec));
    let error = run(&device, &whole, &x).unwrap_err();
    assert!(error.to_string().contains("workgroups are above 3"), "{error}");
}

#[test]
fn inputs_start_at_their_offset() {
    let Some(device) = device() else { return };
    let start = device.alignment() / 4;
    let values: Vec<f32> = (0..start + 10).map(|i| i as f32).collect();
    let mut x = upload(&device, &values);
    x.spec = spec(7);
    x.spec.layout.offset = start;
    let y = run(&device, &Affine::new(0.0), &x).unwrap();
    let want: Vec<f32> = values[start..start + 7].iter().map(|x| x * 2.0).collect();
    assert_eq!(read(&device, &y), want);
    assert!(read(&device, &run(&device, &Affine::new(0.0), &upload(&device, &[])).unwrap()).is_empty());
}

#[test]
fn mistakes_are_errors_and_the_next_call_works() {
    let Some(device) = device() else { return };
    let x = upload(&device, &[3.0; 8]);
    let kept = run(&device, &Affine::new(0.0), &x).unwrap();

    for shader in [BROKEN, GREEDY] {
        let error = run(&device, &Affine { shader, ..Affine::new(0.0) }, &x).unwrap_err();
        assert!(error.to_string().contains("shader"), "{error}");
    }
    let groups = device.caps().groups + 1;
    let error = run(&device, &Affine { groups: Some(groups), ..Affine::new(0.0) }, &x).unwrap_err();
    assert!(error.to_string().contains("workgroups"), "{error}");
    let error = device.allocate(usize::MAX / 2).unwrap_err();
    assert!(error.to_string().contains("max_"), "{error}");
    let mut unaligned = Argument { buffer: x.buffer.clone(), spec: spec(2) };
    unaligned.spec.layout.offset = 1;
    assert!(run(&device, &Affine::new(0.0), &unaligned).is_err());
    let mut outside = Argument { buffer: x.buffer.clone(), spec: spec(2) };
    outside.spec.layout.offset = 1 << 20;
    assert!(run(&device, &Affine::new(0.0), &outside).is_err());
    let error = device.run(&Affine::new(0.0), std::slice::from_ref(&x), &x).unwrap_err();
    assert!(error.to_string().contains("read and written"), "{error}");
    assert!(run(&device, &Affine { params: 1 << 20, ..Affine::new(0.0) }, &x).is_err());

    assert_eq!(read(&device, &kept), [6.0; 8]);
    assert_eq!(read(&device, &run(&device, &Affine::new(1.0), &x).unwrap()), [7.0; 8]);
}

#[test]
fn the_largest_params_fit_beside_the_other_uniforms() {
    let Some(device) = device() else { return };
    let fits = |words: &usize| device.arena.slot(&vec![0; *words]).is_some();
    let most = (0..=16 << 10).rev().find(fits).unwrap();
    let values: Vec<f32> = (0..200).map(|i| i as f32).collect();
    let x = upload(&device, &values);
    // Long enough to be cut into pieces, each of which has the number of its first workgroup too.
    let flops = Some((3e8 * device.rates.flops) as u64);
    let y = run(&device, &Affine { params: most, flops, ..Affine::new(1.0) }, &x).unwrap();
    assert!(read(&device, &y).iter().zip(&values).all(|(y, x)| *y == x * 2.0 + 1.0));
    let error = run(&device, &Affine { params: most + 1, ..Affine::new(1.0) }, &x).unwrap_err();
    assert!(error.to_string().contains("words of params are too many"), "{error}");
}

#[test]
fn memory_is_accounted_for() {
    let Some(device) = device() else { return };
    let before = device.memory();
    let x = upload(&device, &[1.0; 1024]);
    assert_eq!(device.memory().live, before.live + 4096);
    let y = run(&device, &Affine { twice: true, ..Affine::new(1.0) }, &x).unwrap();
    read(&device, &y);
    // The scratch and the staging buffer are back in the pool.
    assert_eq!(device.memory().live, before.live + 8192);
    drop((x, y));
    let after = device.memory();
    assert_eq!((after.live, after.peak), (before.live, before.live + 12288));
    assert_eq!(after.pooled, before.pooled + 16384);
    // A download given up early must not hand its mapped buffer to another.
    let x = upload(&device, &[1.0; 1024]);
    drop(device.download(&x.buffer, 0..4096));
    assert_eq!(read(&device, &x), [1.0; 1024]);
}

#[test]
fn threads_share_a_device() {
    let Some(device) = device() else { return };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let device = &device;
            scope.spawn(move || {
                for round in 0..40 {
                    let value = (thread * 100 + round) as f32;
                    let mut x = upload(device, &[value; 100]);
                    for _ in 0..5 {
                        x = run(device, &Affine::new(-value), &x).unwrap();
                    }
                    assert_eq!(read(device, &x), [value; 100]);
                }
            });
        }
    });
    assert_eq!(device.memory().live, 0);
}

#[test]
fn a_lost_device_is_reported() {
    let Some(device) = device() else { return };
    let x = upload(&device, &[1.0; 8]);
    device.context.device.destroy();
    let lost = |result: Result<()>| matches!(result, Err(Error::DeviceLost { .. }));
    assert!(lost(pollster::block_on(device.download(&x.buffer, 0..4)).map(drop)));
    assert!(lost(run(&device, &Affine::new(0.0), &x).map(drop)));
    assert!(lost(device.upload(&[1]).map(drop)));
    assert!(lost(device.synchronize()));
}

#[test]
fn the_loss_of_a_device_with_other_callbacks_is_found_out() {
    let Some(own) = device() else { return };
    let (device, queue) = (own.context.device.clone(), own.context.queue.clone());
    let device = GpuDevice::from_wgpu(&own.context.device.adapter_info(), device, queue).unwrap();
    let x = upload(&device, &[1.0; 8]);
    device.synchronize().unwrap();
    device.wgpu_device().destroy();
    let lost = |result: Result<()>| matches!(result, Err(Error::DeviceLost { .. }));
    assert!(lost(pollster::block_on(device.download(&x.buffer, 0..4)).map(drop)));
    assert!(lost(run(&device, &Affine::new(0.0), &x).map(drop)));
    assert!(lost(device.synchronize()));
}

#[test]
fn an_existing_wgpu_device_is_wrapped() {
    let Some(own) = device() else { return };
    let (device, queue) = (own.context.device.clone(), own.context.queue.clone());
    let device = GpuDevice::from_wgpu(&own.context.device.adapter_info(), device, queue).unwrap();
    let x = upload(&device, &[1.0; 8]);
    assert_eq!(read(&device, &run(&device, &Affine::new(1.0), &x).unwrap()), [3.0; 8]);
    assert!(run(&own, &Affine::new(1.0), &x).is_err(), "a buffer of another device");
    assert!(device.supports(&Affine::new(0.0), &[x.spec], &x.spec));
    assert_eq!(device.kind(), own.kind());
}

#[test]
fn adapters_are_listed_best_first() {
    let Some(device) = device() else { return };
    let listed = adapters();
    assert_eq!(listed[0].name, device.name());
    eprintln!("{listed:#?}");
    let named = GpuDevice::open(&Selector::Named(device.name().to_uppercase())).unwrap();
    assert_eq!(named.name(), device.name());
}

#[test]
fn kernels_to_come_are_compiled_ahead_and_once() {
    let Some(device) = device() else { return };
    let input = upload(&device, &[1.0; 8]);
    let [plain, mut twice, mut broken] = [Affine::new(1.0), Affine::new(2.0), Affine::new(3.0)];
    twice.twice = true;
    broken.shader = BROKEN;
    // Nothing is looked at before there was a kernel that nobody had told of.
    device.prepare(&mut std::iter::from_fn(|| panic!("nothing is new")));
    assert!(run(&device, &plain, &input).is_ok());
    device.prepare(&mut [&plain, &twice, &broken].into_iter().map(Affine::coming));
    // The second of `twice`, whose first is that of `plain`, and the broken one.
    let count = || lock(&device.pipelines.slots).len();
    assert_eq!(count(), 3);
    assert_eq!(read(&device, &run(&device, &twice, &input).unwrap()), [4.0; 8]);
    let error = run(&device, &broken, &input).unwrap_err().to_string();
    assert!(error.contains("affine"), "{error}");
    assert_eq!(count(), 3);
    device.prepare(&mut std::iter::from_fn(|| panic!("nothing is new")));
}
