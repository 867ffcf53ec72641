//! What a device does at its best, measured on the device itself.

use crate::device::cpu::threads;
use crate::device::{Argument, Device, DeviceKind};
use crate::ops::fused::Fused;
use crate::ops::matmul::Matmul;
use crate::{DType, Error, Op, Result, Shape, Spec, cache};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rates and latencies of a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Floating-point operations a second, of a large product of `f32` matrices.
    pub flops: f64,
    /// Bytes a second that a copy on the device reads and writes.
    pub bandwidth: f64,
    /// Seconds from one small kernel to the next, where none is waited for.
    pub launch: f64,
    /// Seconds of a small kernel that is waited for.
    pub launch_and_wait: f64,
    /// Bytes a second to the device.
    pub upload: f64,
    /// Seconds of an upload of one element, where it is not waited for.
    pub upload_latency: f64,
    /// Bytes a second from the device.
    pub download: f64,
    /// Seconds of a download of one element.
    pub download_latency: f64,
}

/// A product or a copy that takes this long needs not grow to show what a device can do.
const LONG: f64 = 4e-3;
/// The smallest and the largest matrices multiplied.
const PRODUCTS: [usize; 2] = [256, 4096];
/// The fewest and the most bytes copied, uploaded and downloaded: in the end more than most caches hold.
const COPIES: [usize; 2] = [1 << 20, 32 << 20];
/// What a device is measured in when it is first placed on: with two devices a fraction of a second.
const QUICK: Duration = Duration::from_millis(10);
/// The file of all that was measured, in the user's cache directory.
const FILE: &str = "ceilings.json";

impl Ceilings {
    /// Measures a device. Each of the quantities takes about `budget`, and a warm-up; the best of all
    /// repetitions counts.
    ///
    /// ```
    /// use kiln::{Ceilings, device::cpu::CpuDevice};
    /// use std::time::Duration;
    /// let ceilings = Ceilings::measure(&CpuDevice::new(), Duration::from_millis(1))?;
    /// assert!(ceilings.flops > 0.0 && ceilings.launch < 1.0);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn measure(device: &dyn Device, budget: Duration) -> Result<Ceilings> {
        let measured = || Measured { device, budget }.ceilings();
        // As a graph is: handed over to the threads that run kernels once.
        if device.kind() == DeviceKind::Cpu { threads::run(measured) } else { measured() }
    }

    /// What was measured of a device before, by this version of Kiln, or what is measured now.
    pub(crate) fn remembered(device: &dyn Device) -> Result<Ceilings> {
        let file = cache::directory().map(|directory| directory.join(FILE));
        remembered(file.as_deref(), &device.identity(), || Ceilings::measure(device, QUICK))
    }

    /// Whether it can be counted with.
    fn is_sound(&self) -> bool {
        [
            self.flops,
            self.bandwidth,
            self.launch,
            self.launch_and_wait,
            self.upload,
            self.upload_latency,
            self.download,
            self.download_latency,
        ]
        .iter()
        .all(|value| value.is_finite() && *value > 0.0)
    }
}

/// The entry of a device in `file`; without one there, what `measure` gives, which is then added. A file
/// that cannot be read or written is only a measurement more.
fn remembered(
    file: Option<&Path>,
    identity: &str,
    measure: impl FnOnce() -> Result<Ceilings>,
) -> Result<Ceilings> {
    let key = format!("{identity}, kiln {}", env!("CARGO_PKG_VERSION"));
    let mut known: BTreeMap<String, Ceilings> = cache::read(file);
    if let Some(ceilings) = known.get(&key).filter(|ceilings| ceilings.is_sound()) {
        return Ok(*ceilings);
    }
    let ceilings = measure()?;
    known.insert(key, ceilings);
    if let Some(file) = file {
        cache::write(file, &known);
    }
    Ok(ceilings)
}

struct Measured<'a> {
    device: &'a dyn Device,
    budget: Duration,
}

impl Measured<'_> {
    fn ceilings(&self) -> Result<Ceilings> {
        let device = self.device;
        let copied = |bytes: usize| {
            let spec = Spec::new(DType::F32, Shape::new(&[bytes / 4])?);
            self.kernel(Fused::copy(&spec), &[spec])
        };
        let multiplied = |n: usize| {
            let spec = Spec::new(DType::F32, Shape::new(&[n, n])?);
            self.kernel(Matmul, &[spec, spec])
        };
        let (n, product) = self.grown(PRODUCTS, (device.largest() / 4).isqrt(), multiplied)?;
        let (bytes, copy) = self.grown(COPIES, device.largest(), copied)?;
        let small = copied(4)?;
        let host = vec![0; bytes];
        let buffer = device.upload(&host)?;
        let download = |bytes: usize| pollster::block_on(device.download(&buffer, 0..bytes)).map(drop);
        let large = bytes as f64;
        Ok(Ceilings {
            flops: 2.0 * (n as f64).powi(3) / self.seconds(self.budget, &product)?,
            bandwidth: 2.0 * large / self.seconds(self.budget, &copy)?,
            launch: self.seconds(self.budget, &small)?,
            launch_and_wait: self.seconds(self.budget, || small().and_then(|()| device.synchronize()))?,
            upload: large / self.seconds(self.budget, || device.upload(&host).map(drop))?,
            upload_latency: self.seconds(self.budget, || device.upload(&host[..4]).map(drop))?,
            download: large / self.seconds(self.budget, || download(bytes))?,
            download_latency: self.seconds(self.budget, || download(4))?,
        })
    }

    /// Work of twice the size again and again, until it takes a while or reaches the greater size or the `limit`.
    fn grown<W: Fn() -> Result<()>>(
        &self,
        [mut size, greatest]: [usize; 2],
        limit: usize,
        work: impl Fn(usize) -> Result<W>,
    ) -> Result<(usize, W)> {
        loop {
            let sized = work(size)?;
            if 2 * size > greatest.min(limit) || self.seconds(Duration::ZERO, &sized)? > LONG {
                return Ok((size, sized));
            }
            size *= 2;
        }
    }

    /// An operation on inputs of ones, ready to be run again and again.
    fn kernel<O: Op>(&self, op: O, inputs: &[Spec]) -> Result<impl Fn() -> Result<()> + use<'_, O>> {
        let device = self.device;
        let spec = op.output(inputs)?;
        if !device.supports(&op, inputs, &spec) {
            return Err(Error::device(device.name(), format!("has no kernel for {}", op.name())));
        }
        let ones = |spec: &Spec| device.upload(bytemuck::cast_slice(&vec![1.0f32; spec.elements()]));
        let argument = |spec: &Spec| Ok(Argument { buffer: ones(spec)?, spec: *spec });
        let inputs = inputs.iter().map(argument).collect::<Result<Vec<_>>>()?;
        let output = Argument { buffer: device.allocate(spec.bytes())?, spec };
        Ok(move || device.run(&op, &inputs, &output))
    }

    /// The seconds that `work` takes at best in about `budget`, in rows of calls with a wait at their end.
    fn seconds(&self, budget: Duration, work: impl Fn() -> Result<()>) -> Result<f64> {
        // Compiles shaders and touches memory.
        work()?;
        self.device.synchronize()?;
        let (mut calls, mut best) = (1u32, f64::INFINITY);
        let start = Instant::now();
        loop {
            let begin = Instant::now();
            (0..calls).try_for_each(|_| work())?;
            self.device.synchronize()?;
            let row = begin.elapsed();
            best = best.min(row.as_secs_f64() / f64::from(calls));
            if start.elapsed() >= budget {
                return Ok(best);
            }
            // Rows so long that their one wait does not show, and some of them.
            if 8 * row < budget && calls < 1024 {
                calls *= 2;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const MADE_UP: Ceilings = Ceilings {
        flops: 1e11,
        bandwidth: 1e10,
        launch: 1e-6,
        launch_and_wait: 2e-6,
        upload: 1e9,
        upload_latency: 1e-5,
        download: 1e9,
        download_latency: 1e-4,
    };

    #[test]
    fn what_was_measured_is_remembered_until_the_file_is_spoilt() {
        let folder = std::env::temp_dir().join(format!("kiln-ceilings-{}", std::process::id()));
        let file = folder.join("deep").join(FILE);
        let measured = Cell::new(0);
        let ask = |file: Option<&Path>, identity: &str| {
            let measure = || {
                measured.set(measured.get() + 1);
                Ok(Ceilings { flops: f64::from(measured.get()), ..MADE_UP })
            };
            remembered(file, identity, measure).unwrap().flops
        };
        assert_eq!([ask(Some(&file), "a"), ask(Some(&file), "b"), ask(Some(&file), "a")], [1.0, 2.0, 1.0]);
        // Numbers that no device has, a file cut short, and none.
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("\"bandwidth\": 10000000000.0", "\"bandwidth\": 0.0")).unwrap();
        assert_eq!([ask(Some(&file), "a"), ask(Some(&file), "a")], [3.0, 3.0]);
        std::fs::write(&file, &text[..text.len() / 2]).unwrap();
        assert_eq!([ask(Some(&file), "b"), ask(Some(&file), "b")], [4.0, 4.0]);
        assert_eq!([ask(None, "b"), ask(Some(Path::new("/dev/null/no")), "b")], [5.0, 6.0]);
        let left: Vec<_> = std::fs::read_dir(file.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(remembered(None, "c", || Err(Error::op("measure", "fails"))).is_err());
    }
}
