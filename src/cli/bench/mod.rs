//! `kiln bench`: the same workloads as in every engine it is compared with, measured the same way.

mod protocol;
mod workloads;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use kiln::Engine;
use protocol::{Report, Row, print_json};
use std::process::Command;
use workloads::{Variant, WORKLOADS};

/// What to measure, and where.
#[derive(Args)]
pub struct Bench {
    /// w1, w2, w3, w4, w5, w6, w7lstm, w7attn (w7 is both), or peak [default: w1 to w7]
    workloads: Vec<String>,
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// Samples in a batch of w4 and w5
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// The size of w1's matrices [default: 256, 512, 1024 and 2048]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=32768))]
    size: Option<u32>,
    /// The elements of w1's matrices
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Element,
    /// w4, w5 and w6 in mixed precision, the training steps with a gradient scaler
    #[arg(long)]
    autocast: bool,
    /// A line of JSON for each result, instead of a table
    #[arg(long)]
    json: bool,
}

/// Elements of matrices.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Element {
    F32,
    F16,
}

impl Bench {
    /// Runs one workload in this process, several in a process each: what one leaves in memory and
    /// caches must not help or hinder the next.
    pub fn run(&self) -> Result<()> {
        let names = self.names()?;
        let mut rows = Vec::new();
        match &names[..] {
            [name] => {
                let engine = self.device.as_deref().map_or_else(Engine::from_env, Engine::new)?;
                let mut report = Report::new(engine.name(), name, self.json);
                let size = |value: Option<u32>| value.map(|value| value as usize);
                let variant = Variant {
                    batch: size(self.batch_size),
                    n: size(self.size),
                    half: self.dtype == Element::F16,
                    autocast: self.autocast,
                };
                workloads::run(name, &engine, variant, &mut report)?;
                rows = report.rows;
            }
            _ => {
                for name in names {
                    rows.extend(self.in_process(name)?);
                }
            }
        }
        if !self.json {
            print_table(&rows);
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<&'static str>> {
        if self.workloads.is_empty() {
            return Ok(WORKLOADS.iter().map(|(name, _)| *name).filter(|name| *name != "peak").collect());
        }
        let mut names = Vec::new();
        for asked in &self.workloads {
            let matches = |name: &str| name == asked || asked == "w7" && name.starts_with("w7");
            let found: Vec<_> =
                WORKLOADS.iter().map(|(name, _)| *name).filter(|name| matches(name)).collect();
            if found.is_empty() {
                let known: Vec<_> =
                    WORKLOADS.iter().map(|(name, what)| format!("  {name:8}{what}")).collect();
                bail!("no workload is called {asked:?}; there are\n{}", known.join("\n"));
            }
            names.extend(found);
        }
        Ok(names)
    }

    fn in_process(&self, name: &str) -> Result<Vec<Row>> {
        let program = std::env::current_exe().context("cannot find this program to run it again")?;
        let mut command = Command::new(program);
        command.args(["bench", name, "--json"]);
        for (option, value) in [("--batch-size", self.batch_size), ("--size", self.size)] {
            command.args(value.map(|value| format!("{option}={value}")));
        }
        command.args((self.dtype == Element::F16).then_some("--dtype=f16"));
        command.args(self.autocast.then_some("--autocast"));
        command.args(self.device.as_ref().map(|device| format!("--device={device}")));
        let output = command.stderr(std::process::Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot run {name}"))?;
        let rows = String::from_utf8_lossy(&output.stdout);
        let rows = rows.lines().map(serde_json::from_str).collect::<Result<Vec<Row>, _>>();
        ensure!(output.status.success(), "{name} failed: {}", output.status);
        let rows = rows.with_context(|| format!("{name} printed something else than results"))?;
        if self.json {
            rows.iter().for_each(print_json);
        }
        Ok(rows)
    }
}

fn print_table(rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    println!("{} {} on {}", first.peer, first.version, first.device);
    for row in rows {
        println!("{:8}{:24}{:>14.3} {}", row.workload, row.metric, row.value, row.unit);
    }
}
