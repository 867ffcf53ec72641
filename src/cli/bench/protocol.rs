//! How a workload is timed: the same for every engine it is compared with.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// One result, printed as a line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The engine: `kiln`.
    pub peer: String,
    /// Its version.
    pub version: String,
    /// The device the workload ran on.
    pub device: String,
    /// Which workload.
    pub workload: String,
    /// What was measured.
    pub metric: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
}

/// Prints rows as they come, or keeps them for a table.
pub struct Report {
    pub device: String,
    pub workload: String,
    pub json: bool,
    pub rows: Vec<Row>,
}

impl Report {
    pub fn new(device: &str, workload: &str, json: bool) -> Report {
        Report { device: device.to_string(), workload: workload.to_string(), json, rows: Vec::new() }
    }

    pub fn add(&mut self, metric: impl Into<String>, value: f64, unit: &str) {
        let row = Row {
            peer: "kiln".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: self.device.clone(),
            workload: self.workload.clone(),
            metric: metric.into(),
            value,
            unit: unit.into(),
        };
        if self.json {
            print_json(&row);
        }
        self.rows.push(row);
    }

    /// The times of a workload, and its work by the median.
    pub fn timing(&mut self, prefix: &str, timing: &Timing) {
        self.add(format!("{prefix}time"), timing.median * 1e3, "ms");
        self.add(format!("{prefix}time_min"), timing.min * 1e3, "ms");
        self.add(format!("{prefix}time_max"), timing.max * 1e3, "ms");
        self.add(format!("{prefix}first_iteration"), timing.first, "s");
        self.add(format!("{prefix}warmup_total"), timing.warmup, "s");
        self.add(format!("{prefix}reps"), timing.reps as f64, "count");
        self.add(format!("{prefix}inner"), timing.inner as f64, "count");
    }

    /// The most memory that the process had, and what it has now.
    pub fn memory(&mut self) {
        for (metric, field) in [("peak_rss", "VmHWM:"), ("end_rss", "VmRSS:")] {
            if let Some(mebibytes) = process_memory(field) {
                self.add(metric, mebibytes, "MiB");
            }
        }
    }
}

pub fn print_json(row: &Row) {
    // A row is strings and one number, which JSON can hold.
    println!("{}", serde_json::to_string(row).unwrap_or_default());
}

/// A field of Linux's account of this process; other systems have none.
fn process_memory(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

/// Seconds an iteration takes.
pub struct Timing {
    /// The very first one in the process: shaders, page faults.
    pub first: f64,
    /// The whole warm-up.
    pub warmup: f64,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub reps: usize,
    /// Iterations between two waits for the device.
    pub inner: usize,
}

/// Times `step`, which runs one iteration and waits for the device where it is told to.
///
/// Warm-up: at least 3 awaited iterations and 1 s, at most 30 iterations. Then 7 repetitions (5 where
/// 7 would take over a minute) of about 0.1 s each, with one wait at the end of each; with
/// `latency_only` 20 repetitions of one iteration.
pub fn time(latency_only: bool, mut step: impl FnMut(bool) -> Result<()>) -> Result<Timing> {
    let start = Instant::now();
    step(true)?;
    let first = start.elapsed().as_secs_f64();
    let mut last = first;
    for iteration in 1..30 {
        if iteration >= 3 && start.elapsed().as_secs_f64() >= 1.0 {
            break;
        }
        let begin = Instant::now();
        step(true)?;
        last = begin.elapsed().as_secs_f64();
    }
    let warmup = start.elapsed().as_secs_f64();
    let inner = if latency_only { 1 } else { ((0.1 / last).ceil() as usize).clamp(1, 200) };
    let target = if latency_only { 20 } else { 7 };
    let mut seconds = Vec::new();
    let begin = Instant::now();
    while seconds.len() < target && (seconds.len() < 5 || begin.elapsed().as_secs_f64() < 60.0) {
        let begin = Instant::now();
        for iteration in 1..=inner {
            step(iteration == inner)?;
        }
        seconds.push(begin.elapsed().as_secs_f64() / inner as f64);
    }
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.len() / 2;
    let median = match seconds.len() % 2 {
        1 => seconds[middle],
        _ => (seconds[middle - 1] + seconds[middle]) / 2.0,
    };
    let (min, max) = (seconds[0], seconds[seconds.len() - 1]);
    Ok(Timing { first, warmup, median, min, max, reps: seconds.len(), inner })
}

/// Uniform values in [-1, 1): the same stream in every engine that is compared.
pub struct Stream(u64);

impl Stream {
    pub fn new(seed: u64) -> Stream {
        Stream(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() >> 8) as f32 / (1u32 << 23) as f32 - 1.0).collect()
    }

    pub fn labels(&mut self, count: usize, classes: u32) -> Vec<i32> {
        (0..count).map(|_| (self.next() % classes) as i32).collect()
    }
}
