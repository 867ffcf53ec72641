//! Where time goes: a row for each operation, in Chrome's trace event format.

use crate::device::{Device, DeviceKind};
use crate::{Error, Op, Result, Spec};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// The trace file that `KILN_PROFILE` names.
pub(super) struct Profile {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
    start: Instant,
}

impl Profile {
    /// The program's, if it has one. An error where the file cannot be made.
    pub fn get() -> Result<Option<&'static Profile>> {
        static PROFILE: OnceLock<Option<Result<Profile, String>>> = OnceLock::new();
        let named = || std::env::var_os("KILN_PROFILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        match PROFILE.get_or_init(|| named().map(|path| Profile::create(path).map_err(|e| e.to_string()))) {
            None => Ok(None),
            Some(Ok(profile)) => Ok(Some(profile)),
            Some(Err(message)) => Err(Error::op("KILN_PROFILE", message)),
        }
    }

    fn create(path: PathBuf) -> Result<Profile> {
        let io = |error| Error::io(&path, error);
        let mut file = BufWriter::new(File::create(&path).map_err(io)?);
        // The format lets the closing bracket be absent, as it is when a program is stopped.
        file.write_all(b"[\n").map_err(io)?;
        Ok(Profile { path, file: Mutex::new(file), start: Instant::now() })
    }

    /// Runs one operation and adds its row. A GPU is waited for before and after, so that the time is the
    /// operation's own, and what it takes to start it.
    pub fn run(
        &self,
        op: &dyn Op,
        inputs: &[Spec],
        output: &Spec,
        device: &dyn Device,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        device.synchronize()?;
        let started = Instant::now();
        work()?;
        device.synchronize()?;
        let seconds = started.elapsed().as_secs_f64();
        let bytes: usize = inputs.iter().chain([output]).map(Spec::bytes).sum();
        let rate = |amount: f64| (amount / seconds / 1e9 * 1e3).round() / 1e3;
        let shapes: Vec<String> =
            inputs.iter().map(|spec| format!("{} {}", spec.dtype, spec.shape())).collect();
        let gpu = device.kind() != DeviceKind::Cpu;
        let row = json!({
            "name": op.name(),
            "cat": if gpu { "gpu" } else { "cpu" },
            "ph": "X",
            "ts": (started - self.start).as_secs_f64() * 1e6,
            "dur": seconds * 1e6,
            "pid": 1,
            // The format wants numbers.
            "tid": i32::from(gpu),
            "args": {
                "device": device.name(),
                "inputs": shapes,
                "output": format!("{} {}", output.dtype, output.shape()),
                "GFLOP/s": rate(op.flops(inputs, output) as f64),
                "GB/s": rate(bytes as f64),
            },
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Complete at every moment: a program may end at any.
        let written = writeln!(file, "{row},").and_then(|()| file.flush());
        written.map_err(|error| Error::io(&self.path, error))
    }
}
