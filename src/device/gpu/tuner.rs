//! Which of an operation's variants is the fastest: measured on the device, and remembered in a file.

use super::GpuDevice;
use super::context::lock;
use super::plans::Ready;
use super::stream::Stamps;
use crate::device::{Argument, Caps, Device, DeviceKind, Variants};
use crate::{Op, Result, cache};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The file of all that was measured, in the user's cache directory.
const FILE: &str = "variants.json";
/// Classes that a program measures at most, and the time after which it begins none.
const CLASSES: usize = 64;
const TIME: Duration = Duration::from_millis(1500);
/// Runs of a variant that are measured after a first one, unless that took so long that it says enough.
const RUNS: u32 = 8;
const LONG: Duration = Duration::from_millis(2);
/// What another variant must take of the rule's time to be chosen: less is noise.
const GAIN: f64 = 0.97;

/// What was found for a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    /// The name of the fastest variant.
    fastest: String,
    /// What each took.
    microseconds: BTreeMap<String, f64>,
}

/// By device, and by class.
type Known = BTreeMap<String, BTreeMap<String, Found>>;

/// What is left to spend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub classes: usize,
    pub time: Duration,
}

/// The choices of a device.
pub(super) struct Tuner {
    file: Option<PathBuf>,
    device: String,
    stamps: Option<Stamps>,
    found: Mutex<BTreeMap<String, Found>>,
    left: Mutex<Budget>,
    explained: bool,
}

/// Whether variants are measured: on GPUs, unless `KILN_TUNE` says otherwise. A software one is too slow for it, and
/// one with limits stands for any GPU.
fn wanted(asked: &str, kind: DeviceKind, limited: bool) -> bool {
    match asked {
        "0" => false,
        "1" => true,
        _ => kind == DeviceKind::Gpu && !limited,
    }
}

impl Tuner {
    /// A device's tuner by the environment, if it is to have one.
    pub fn of(gpu: &GpuDevice, limited: bool) -> Option<Tuner> {
        let asked = std::env::var("KILN_TUNE").unwrap_or_default();
        let file = || cache::directory().map(|directory| directory.join(FILE));
        wanted(&asked, gpu.kind, limited)
            .then(|| Tuner::new(gpu, file(), Budget { classes: CLASSES, time: TIME }))
    }

    pub fn new(gpu: &GpuDevice, file: Option<PathBuf>, left: Budget) -> Tuner {
        // What may run on it is part of what was measured.
        let device = format!("{}, kiln {}, {:?}", gpu.identity(), env!("CARGO_PKG_VERSION"), gpu.caps);
        let found = cache::read::<Known>(file.as_deref()).remove(&device).unwrap_or_default();
        Tuner {
            stamps: Stamps::new(&gpu.context),
            file,
            device,
            found: Mutex::new(found),
            left: Mutex::new(left),
            explained: std::env::var_os("KILN_EXPLAIN").is_some_and(|value| value == "1"),
        }
    }

    /// The number of the fastest, if it is known.
    pub fn known(&self, variants: &Variants) -> Option<usize> {
        let found = lock(&self.found);
        let fastest = &found.get(&variants.class)?.fastest;
        variants.names.iter().position(|name| name == fastest)
    }

    /// Keeps what `variants` took, as far as they were measured: the number of the fastest.
    fn keep(&self, variants: &Variants, seconds: &[Option<f64>]) -> Option<usize> {
        let by_rule = (*seconds.first()?)?;
        let measured =
            seconds.iter().enumerate().filter_map(|(variant, seconds)| Some((variant, (*seconds)?)));
        let (fastest, least) = measured.clone().min_by(|a, b| a.1.total_cmp(&b.1))?;
        let fastest = if least < GAIN * by_rule { fastest } else { 0 };
        let microseconds =
            measured.map(|(variant, seconds)| (variants.names[variant].clone(), seconds * 1e6)).collect();
        let found = Found { fastest: variants.names[fastest].clone(), microseconds };
        if self.explained {
            let took = |name: &str| format!("{name} takes {:.1} us", found.microseconds[name]);
            let [fastest, by_rule] = [&found.fastest, &variants.names[0]].map(|name| took(name));
            // There is nobody to tell that standard error is closed.
            let _ = writeln!(std::io::stderr(), "{}: {fastest}, by rule {by_rule}", variants.class);
        }
        lock(&self.found).insert(variants.class.clone(), found.clone());
        if let Some(file) = &self.file {
            // Others may have added to it.
            let mut known = cache::read::<Known>(Some(file));
            known.entry(self.device.clone()).or_default().insert(variants.class.clone(), found);
            cache::write(file, &known);
        }
        Some(fastest)
    }
}

impl GpuDevice {
    /// What an operation runs by instead of `ready`, the plan by rule: the fastest variant, which is measured here
    /// unless that was done before or the budget is spent. Nothing in place of the rule's own.
    pub(super) fn tuned(
        &self,
        op: &dyn Op,
        inputs: &[Argument],
        output: &Argument,
        ready: &Ready,
    ) -> Option<Arc<Ready>> {
        let (tuner, variants) = (self.tuner.as_ref()?, ready.plan.variants.as_ref()?);
        let specs = self.all_as_bound(inputs.iter().map(|input| &input.spec));
        let of = |variant: usize| {
            let caps = Caps { variant: Some(variant), ..self.caps.clone() };
            self.make_ready(op, &specs, &super::as_written(&output.spec), None, &caps)
                .filter(|ready| ready.allowed)
                .map(Arc::new)
        };
        // One at a time, or they would be in each other's way.
        let mut left = lock(&tuner.left);
        let fastest = match tuner.known(variants) {
            Some(fastest) => fastest,
            None => {
                left.classes = left.classes.checked_sub(1).filter(|_| !left.time.is_zero())?;
                let begin = Instant::now();
                let all: Vec<_> = (0..variants.names.len()).map(of).collect();
                self.compile(&all);
                let seconds: Vec<Option<f64>> = all
                    .iter()
                    .map(|ready| {
                        let in_time = begin.elapsed() < left.time;
                        let ready = ready.as_ref().filter(|_| in_time)?;
                        self.seconds(tuner, op, inputs, output, ready).ok()
                    })
                    .collect();
                left.time = left.time.saturating_sub(begin.elapsed());
                tuner.keep(variants, &seconds)?
            }
        };
        if fastest == 0 { None } else { of(fastest) }
    }

    /// Compiles the kernels of all, beside each other.
    fn compile(&self, all: &[Option<Arc<Ready>>]) {
        std::thread::scope(|scope| {
            for ready in all.iter().flatten() {
                // Without a thread, they are compiled when they are measured; so is what fails reported then.
                let _ = std::thread::Builder::new().name("kiln-compile".into()).spawn_scoped(scope, || {
                    for kernel in &ready.plan.kernels {
                        let params = self.arena.slot(&kernel.params);
                        let _ = params.map(|params| self.pipelines.get(kernel, params));
                    }
                });
            }
        });
    }

    /// What a run takes.
    fn seconds(
        &self,
        tuner: &Tuner,
        op: &dyn Op,
        inputs: &[Argument],
        output: &Argument,
        ready: &Ready,
    ) -> Result<f64> {
        self.record(op, inputs, output, ready, |stream, dispatches| {
            let mut time = |runs: u32| Ok(stream.time(dispatches, runs, tuner.stamps.as_ref())? / runs);
            // The first run of a kernel may take more.
            let first: Duration = time(1)?;
            let taken = if first > LONG { time(1)? } else { time(RUNS)? };
            Ok(taken.as_secs_f64())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::tests::device;
    use crate::ops::matmul::Matmul;
    use crate::{DType, Shape, Spec};
    use std::path::Path;

    #[test]
    fn variants_are_measured_on_gpus_unless_told_otherwise() {
        use DeviceKind::{Gpu, SoftwareGpu};
        assert!(wanted("", Gpu, false) && !wanted("", Gpu, true) && !wanted("", SoftwareGpu, false));
        assert!(wanted("1", SoftwareGpu, false) && wanted("1", Gpu, true) && !wanted("0", Gpu, false));
    }

    /// The product of two matrices of small whole numbers, exact in any order, of which the first differs by `seed`;
    /// whether it is right.
    fn multiplies(gpu: &GpuDevice, [m, n, k]: [usize; 3]) -> bool {
        let matrix = |rows: usize, columns: usize| -> Vec<f32> {
            (0..rows * columns).map(|at| (at * 7 % 11) as f32 - 5.0).collect()
        };
        let (a, b) = (matrix(m, k), matrix(k, n));
        let argument = |values: &[f32], rows: usize, columns: usize| Argument {
            buffer: gpu.upload(bytemuck::cast_slice(values)).unwrap(),
            spec: Spec::new(DType::F32, Shape::new(&[rows, columns]).unwrap()),
        };
        let inputs = [argument(&a, m, k), argument(&b, k, n)];
        let output = argument(&vec![0.0; m * n], m, n);
        gpu.run(&Matmul, &inputs, &output).unwrap();
        let bytes = pollster::block_on(gpu.download(&output.buffer, 0..4 * m * n)).unwrap();
        let product: &[f32] = bytemuck::cast_slice(&bytes);
        let exact = |at: usize| (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum::<f32>();
        (0..m * n).all(|at| product[at] == exact(at))
    }

    /// A device that measures into `file`.
    fn tuned(file: &Path, classes: usize) -> Option<GpuDevice> {
        let mut gpu = device()?;
        gpu.tuner = None;
        let budget = Budget { classes, time: Duration::from_secs(600) };
        let tuner = Tuner::new(&gpu, Some(file.into()), budget);
        gpu.tuner = Some(tuner);
        Some(gpu)
    }

    fn left(gpu: &GpuDevice) -> usize {
        lock(&gpu.tuner.as_ref().unwrap().left).classes
    }

    #[test]
    fn what_was_measured_is_right_and_remembered() {
        let folder = std::env::temp_dir().join(format!("kiln-tuner-{}", std::process::id()));
        let file = folder.join(FILE);
        let Some(gpu) = tuned(&file, 2) else { return };
        // The second is of the first's class.
        for (sizes, classes) in
            [([65, 66, 70], 1), ([70, 70, 66], 1), ([65, 66, 70], 1), ([40, 130, 66], 0), ([130, 40, 66], 0)]
        {
            assert!(multiplies(&gpu, sizes), "{sizes:?}");
            assert_eq!(left(&gpu), classes, "{sizes:?}");
        }
        let known = |file: &Path| cache::read::<Known>(Some(file)).into_values().next().unwrap_or_default();
        let measured = known(&file);
        assert_eq!(measured.len(), 2, "no more classes than the budget has");
        for found in measured.values() {
            assert!(found.microseconds.len() > 1 && found.microseconds.contains_key(&found.fastest));
        }

        // Each of the variants, as if it had been the fastest.
        let class = measured.keys().find(|class| class.ends_with("128x128x128 x1")).unwrap().clone();
        for variant in measured[&class].microseconds.keys() {
            let mut known = cache::read::<Known>(Some(&file));
            known.values_mut().for_each(|found| found.get_mut(&class).unwrap().fastest.clone_from(variant));
            cache::write(&file, &known);
            let gpu = tuned(&file, 0).unwrap();
            assert!(multiplies(&gpu, [65, 66, 70]), "{variant}");
        }

        // A file cut short, and one of another shape, are as none; a variant that there is not is the rule's.
        let text = std::fs::read_to_string(&file).unwrap();
        let renamed = text.replace("\"fastest\": \"", "\"fastest\": \"no ");
        for (text, classes) in [(&text[..text.len() / 2], 0), ("{\"a\": [1]}", 0), (&renamed, 0)] {
            std::fs::write(&file, text).unwrap();
            let gpu = tuned(&file, 1).unwrap();
            assert!(multiplies(&gpu, [65, 66, 70]));
            assert_eq!(left(&gpu), classes);
            assert!(known(&file)[&class].microseconds.len() > 1);
        }

        // Without a tuner, or one that may measure nothing, nothing is written.
        std::fs::remove_file(&file).unwrap();
        let mut gpu = tuned(&file, 0).unwrap();
        assert!(multiplies(&gpu, [65, 66, 70]));
        gpu.tuner = None;
        assert!(multiplies(&gpu, [65, 66, 71]));
        assert!(!file.exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
