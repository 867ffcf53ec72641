//! The shaders that the ops would give a GPU, validated without one.

use kiln::device::{Argument, Buffer, Caps, Cooperative, Device, DeviceKind, Download, Memory, specialise};
use kiln::proof::Case;
use kiln::{Engine, Error, Op, Result, Spec};
use libtest_mimic::Failed;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A device that is asked for support of every op, checks the plan it gets, and then leaves the op
/// to the CPU.
#[derive(Debug)]
pub struct Recorder {
    cpu: kiln::device::cpu::CpuDevice,
    /// Sources seen valid before.
    valid: Mutex<HashSet<String>>,
    found: Arc<Mutex<Found>>,
}

/// What was seen while a case ran.
#[derive(Debug, Default)]
struct Found {
    errors: Vec<String>,
    /// Ops without a plan, which a GPU leaves to the CPU.
    without_plan: BTreeSet<&'static str>,
}

/// An engine with a recorder, and what it found.
#[derive(Clone)]
pub struct Recording {
    engine: Engine,
    found: Arc<Mutex<Found>>,
}

impl Recorder {
    pub fn engine() -> Recording {
        let found = Arc::<Mutex<Found>>::default();
        let recorder = Recorder { cpu: Default::default(), valid: Mutex::default(), found: found.clone() };
        Recording { engine: Engine::with_devices(Some(Arc::new(recorder)), "records shaders"), found }
    }

    fn check(&self, op: &dyn Op, inputs: &[Spec], output: &Spec) -> Result<(), String> {
        let caps = Caps::default();
        let Some(plan) = op.gpu(inputs, output, &caps) else {
            self.found.lock().unwrap().without_plan.insert(op.name());
            return Ok(());
        };
        let cooperative = Some(Cooperative { size: 16, subgroup: 32 });
        let others = [
            Caps { software: true, ..caps.clone() },
            Caps { cooperative, ..caps.clone() },
            Caps { subgroups: Some(4), ..caps.clone() },
        ];
        let others =
            others.iter().filter_map(|caps| op.gpu(inputs, output, caps)).flat_map(|plan| plan.kernels);
        for kernel in &plan.kernels.into_iter().chain(others).collect::<Vec<_>>() {
            if kernel.bindings.len() > caps.storage_buffers as usize {
                return Err(format!("{} binds {} buffers", op.name(), kernel.bindings.len()));
            }
            if kernel.groups.iter().any(|&groups| groups > caps.groups) {
                return Err(format!("{} asks for {:?} workgroups", op.name(), kernel.groups));
            }
            let source = specialise(kernel).map_err(|error| error.to_string())?;
            if !self.valid.lock().unwrap().contains(&source) {
                translate(&source)?;
                self.valid.lock().unwrap().insert(source);
            }
        }
        Ok(())
    }
}

/// Validates a shader and writes it in the language of every graphics API that wgpu drives.
fn translate(source: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let cooperative = source.contains("enable wgpu_cooperative_matrix;");
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if cooperative {
        capabilities |= Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16;
    }
    let subgroups = source.contains("subgroup");
    capabilities.set(Capabilities::SUBGROUP, cooperative || subgroups);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(source))?;
    spv::write_vec(&module, &info, &spv::Options::default(), None).map_err(|e| format!("SPIR-V: {e}"))?;
    if cooperative {
        // Other languages write them otherwise, or not at all.
        return Ok(());
    }
    msl::write_string(&module, &info, &msl::Options::default(), &msl::PipelineOptions::default())
        .map_err(|e| format!("MSL: {e}"))?;
    let (options, pipeline) = (hlsl::Options::default(), hlsl::PipelineOptions::default());
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}

/// Runs a case so that each of its ops is asked for its plan.
pub fn validate(case: &Case, recording: &Recording) -> Result<(), Failed> {
    // One engine for all trials, so faults are told apart by asking under a lock.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    recording.of(case)?;
    Ok(())
}

impl Recording {
    /// The ops of a case that have no plan for a GPU; an error where a plan is faulty.
    pub fn of(&self, case: &Case) -> Result<BTreeSet<&'static str>, Failed> {
        *self.found.lock().unwrap() = Found::default();
        case.run(&self.engine)?;
        if case.begins(&self.engine)? {
            case.led(&self.engine)?;
        }
        if case.finishes(&self.engine)? {
            case.followed(&self.engine)?;
        }
        let found = std::mem::take(&mut *self.found.lock().unwrap());
        if found.errors.is_empty() { Ok(found.without_plan) } else { Err(found.errors.join("\n").into()) }
    }
}

impl Device for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        self.cpu.allocate(bytes)
    }

    fn upload(&self, data: &[u8]) -> Result<Buffer> {
        self.cpu.upload(data)
    }

    fn download<'a>(&'a self, buffer: &Buffer, range: Range<usize>) -> Download<'a> {
        self.cpu.download(buffer, range)
    }

    fn alignment(&self) -> usize {
        256
    }

    fn supports(&self, op: &dyn Op, inputs: &[Spec], output: &Spec) -> bool {
        if let Err(error) = self.check(op, inputs, output) {
            self.found.lock().unwrap().errors.push(error);
        }
        false
    }

    fn run(&self, op: &dyn Op, _: &[Argument], _: &Argument) -> Result<()> {
        Err(Error::device("recorder", format!("was asked to run {}", op.name())))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn memory(&self) -> Memory {
        self.cpu.memory()
    }
}
