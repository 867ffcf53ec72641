//! `kiln doctor`: what this machine has, and whether every operation is right on it.

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use kiln::Engine;
use kiln::proof::{self, Case, Deviation};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

/// What is asked for.
#[derive(clap::Args)]
pub struct Arguments {
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// Print one JSON object, for a bug report; docs/doctor.md describes it
    #[arg(long)]
    json: bool,
    /// Check these operations only, by name (conv2d, softmax ...)
    operations: Vec<String>,
}

/// The object that `--json` prints. Fields are only ever added.
#[derive(Serialize)]
struct Report {
    kiln: &'static str,
    os: &'static str,
    arch: &'static str,
    threads: usize,
    adapters: Vec<Adapter>,
    auto: Choice,
    tested: Choice,
    seconds: f64,
    passed: bool,
    operations: BTreeMap<String, Operation>,
}

#[derive(Serialize)]
struct Adapter {
    index: usize,
    name: String,
    kind: String,
    driver: String,
    limits: BTreeMap<&'static str, u64>,
    features: Vec<String>,
}

#[derive(Serialize)]
struct Choice {
    device: String,
    kind: String,
    reason: String,
}

/// The worst of an operation's cases; none of what no case compares.
#[derive(Default, Serialize)]
struct Operation {
    cases: usize,
    value: Option<Deviation>,
    gradient: Option<Deviation>,
    second_gradient: Option<Deviation>,
    failures: Vec<Failure>,
}

#[derive(Serialize)]
struct Failure {
    case: String,
    check: &'static str,
    message: String,
}

/// Prints the report; the exit code says whether all passed.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let engine = arguments.device.as_deref().map_or_else(Engine::from_env, Engine::new)?;
    // Its kernels are in question, not where they are best run.
    let engine = engine.gpu_first();
    let mut cases = proof::cases();
    if let Some(unknown) =
        arguments.operations.iter().find(|name| !cases.iter().any(|case| case.operation() == *name))
    {
        bail!("no operation is called {unknown:?}; docs/ops.md lists them");
    }
    if !arguments.operations.is_empty() {
        cases.retain(|case| arguments.operations.iter().any(|name| case.operation() == name));
    }
    let mut report = Report {
        kiln: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        adapters: adapters(),
        auto: choice(&Engine::auto()),
        tested: choice(&engine),
        seconds: 0.0,
        passed: true,
        operations: BTreeMap::new(),
    };
    if !arguments.json {
        introduce(&report, cases.len());
    }
    let start = Instant::now();
    // Drawn on standard error, and only where that is a terminal.
    let progress = ProgressBar::new(cases.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:32} {pos}/{len} {msg}")?);
    for case in &cases {
        progress.set_message(case.name.clone());
        report.operations.entry(case.operation().to_string()).or_default().check(case, &engine);
        progress.inc(1);
    }
    progress.finish_and_clear();
    report.seconds = start.elapsed().as_secs_f64();
    report.passed = report.operations.values().all(|operation| operation.failures.is_empty());
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        conclude(&report);
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Operation {
    fn check(&mut self, case: &Case, engine: &Engine) {
        self.cases += 1;
        type Check = fn(&Case, &Engine) -> kiln::Result<Deviation>;
        let checks: [(&str, Check, bool, &mut Option<Deviation>); 3] = [
            ("value", Case::value, true, &mut self.value),
            ("gradient", Case::first_gradient, case.gradient, &mut self.gradient),
            ("second gradient", Case::second_gradient, case.second_order(), &mut self.second_gradient),
        ];
        for (check, run, _, worst) in checks.into_iter().filter(|(_, _, wanted, _)| *wanted) {
            let message = match run(case, engine) {
                Ok(found) => {
                    let message = (!found.passes()).then(|| found.worst.clone());
                    worst.get_or_insert_default().join(found);
                    message
                }
                Err(error) => Some(error.to_string()),
            };
            self.failures.extend(message.map(|message| Failure { case: case.name.clone(), check, message }));
        }
    }
}

fn choice(engine: &Engine) -> Choice {
    Choice {
        device: engine.name().to_string(),
        kind: format!("{:?}", engine.kind()),
        reason: engine.reason().to_string(),
    }
}

#[cfg(feature = "gpu")]
fn adapters() -> Vec<Adapter> {
    let limits = |limits: &wgpu::Limits| {
        BTreeMap::from([
            ("max_buffer_size", limits.max_buffer_size),
            ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size),
            ("max_storage_buffers_per_shader_stage", limits.max_storage_buffers_per_shader_stage.into()),
            ("max_compute_workgroup_storage_size", limits.max_compute_workgroup_storage_size.into()),
            ("max_compute_invocations_per_workgroup", limits.max_compute_invocations_per_workgroup.into()),
            ("max_compute_workgroups_per_dimension", limits.max_compute_workgroups_per_dimension.into()),
            ("min_storage_buffer_offset_alignment", limits.min_storage_buffer_offset_alignment.into()),
        ])
    };
    let described = |adapter: kiln::device::gpu::AdapterInfo| Adapter {
        index: adapter.index,
        name: adapter.name,
        kind: format!("{:?}", adapter.kind),
        driver: adapter.driver,
        limits: limits(&adapter.limits),
        features: adapter.features.iter_names().map(|(name, _)| name.to_lowercase()).collect(),
    };
    kiln::device::gpu::adapters().into_iter().map(described).collect()
}

#[cfg(not(feature = "gpu"))]
fn adapters() -> Vec<Adapter> {
    Vec::new()
}

fn introduce(report: &Report, cases: usize) {
    println!("kiln {} on {} {}, {} threads", report.kiln, report.os, report.arch, report.threads);
    for adapter in &report.adapters {
        println!(
            "\nadapter {}: {}, {}, driver {}",
            adapter.index, adapter.name, adapter.kind, adapter.driver
        );
        for (name, value) in &adapter.limits {
            println!("  {name}: {value}");
        }
        println!("  features: {}", adapter.features.join(" "));
    }
    println!("\nauto chooses: {} ({})", report.auto.device, report.auto.reason);
    println!("tested: {} ({}), {cases} cases\n", report.tested.device, report.tested.reason);
}

fn conclude(report: &Report) {
    println!("worst error in units of what is allowed, and absolute:\n");
    println!("{:34} {:>5}  {:18} {:18} second gradient", "", "cases", "value", "gradient");
    for (name, operation) in &report.operations {
        let [value, first, second] =
            [&operation.value, &operation.gradient, &operation.second_gradient].map(|worst| {
                worst.as_ref().map_or("-".into(), |w| format!("{:<7.2} {:.1e}", w.units, w.absolute))
            });
        let mark = if operation.failures.is_empty() { "" } else { "  FAILED" };
        println!("{name:34} {:>5}  {value:18} {first:18} {second}{mark}", operation.cases);
    }
    for failure in report.operations.values().flat_map(|operation| &operation.failures) {
        println!("\n{} of {}: {}", failure.check, failure.case, failure.message);
    }
    let failed = report.operations.values().filter(|operation| !operation.failures.is_empty()).count();
    let result = if report.passed {
        "all passed".into()
    } else {
        format!("{failed} of {} operations FAILED", report.operations.len())
    };
    println!("\n{result} in {:.1} s", report.seconds);
}
