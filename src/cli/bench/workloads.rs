//! The workloads w1 to w7, and the device's own ceilings.

use super::protocol::{Report, Stream, Timing, time};
use anyhow::{Result, bail, ensure};
use kiln::models::{Cnn, ResNet, ResNetOptions};
use kiln::nn::loss::cross_entropy;
use kiln::nn::recurrent::RecurrentOptions;
use kiln::nn::{LSTM, Module, Params, TransformerEncoderLayer, TransformerOptions};
use kiln::ops::Conv2dOptions;
use kiln::optim::{Adam, AdamOptions, GradScaler, Optimizer, Sgd, SgdOptions};
use kiln::{DType, Engine, Gradients, Tensor, autocast, eval, no_grad};
use std::time::Duration;

/// Names and what is done, in the order they run.
pub const WORKLOADS: &[(&str, &str)] = &[
    ("w1", "square matrix products"),
    ("w2", "a 3x3 convolution of 64 channels, forward and backward"),
    ("w3", "relu(1.5 x - 0.25) + 0.5 x over 4,194,304 elements"),
    ("w4", "training a small CNN on 1x28x28 images with Adam, batch 64"),
    ("w5", "training ResNet-18 on 3x32x32 images with SGD, batch 32"),
    ("w6", "inference of ResNet-18, one image and 32"),
    ("w7lstm", "an LSTM of 256 over 64 steps, batch 32, forward and backward"),
    ("w7attn", "a transformer block of 256, batch 8 of 128 tokens, forward and backward"),
    ("peak", "the device's own ceilings: arithmetic, bandwidth, transfers, latencies"),
];

/// Floating-point operations of one pass of w2's convolution, in units of 10^9.
const CONVOLUTION: f64 = 2.0 * 32.0 * 64.0 * 64.0 * 9.0 * 32.0 * 32.0 / 1e9;
const CHAIN: usize = 4 * 1024 * 1024;

/// What the command line may change of a workload.
#[derive(Clone, Copy)]
pub struct Variant {
    /// Samples of w4 and w5.
    pub batch: Option<usize>,
    /// The only size of w1.
    pub n: Option<usize>,
    /// Whether w1's matrices are of `f16`.
    pub half: bool,
    /// Whether w4, w5 and w6 run in mixed precision.
    pub autocast: bool,
}

impl Variant {
    /// What the names of its measurements begin with.
    fn prefix(self) -> &'static str {
        if self.autocast { "autocast_" } else { "" }
    }

    fn forward(self, pass: impl FnOnce() -> kiln::Result<Tensor>) -> kiln::Result<Tensor> {
        if self.autocast { autocast(pass) } else { pass() }
    }
}

struct Bench<'a> {
    engine: &'a Engine,
    random: Stream,
    variant: Variant,
    report: &'a mut Report,
}

/// Runs one workload and reports it.
pub fn run(workload: &str, engine: &Engine, variant: Variant, report: &mut Report) -> Result<()> {
    ensure!(!variant.half || workload == "w1", "{workload} has no --dtype f16, only w1 does");
    let mixed = ["w4", "w5", "w6"].contains(&workload);
    ensure!(!variant.autocast || mixed, "{workload} has no --autocast; w4, w5 and w6 do");
    let mut bench = Bench { engine, random: Stream::new(42), variant, report };
    match workload {
        "w1" => bench.matmul(),
        "w2" => bench.convolution(),
        "w3" => bench.chain(),
        "w4" => bench.small_cnn(variant.batch.unwrap_or(64)),
        "w5" => bench.resnet(variant.batch.unwrap_or(32)),
        "w6" => bench.inference(),
        "w7lstm" => bench.lstm(),
        "w7attn" => bench.encoder(),
        "peak" => bench.peak(),
        other => bail!("no workload is called {other:?}"),
    }
}

impl Bench<'_> {
    fn uniform<const N: usize>(&mut self, shape: [usize; N]) -> Result<Tensor> {
        let values = self.random.floats(shape.iter().product());
        let tensor = Tensor::from_vec(values, shape, self.engine)?;
        tensor.eval()?;
        Ok(tensor)
    }

    /// Times work whose results are kept until the device has finished: a lazy engine may skip what
    /// nobody holds.
    fn time(&self, latency_only: bool, work: impl Fn() -> Result<Vec<Tensor>>) -> Result<Timing> {
        let mut held = Vec::new();
        time(latency_only, |wait| {
            let results = work()?;
            eval(&results)?;
            held.extend(results);
            if wait {
                self.engine.synchronize()?;
                held.clear();
            }
            Ok(())
        })
    }

    fn matmul(&mut self) -> Result<()> {
        let sizes = self.variant.n.map_or(vec![256, 512, 1024, 2048], |n| vec![n]);
        let (dtype, suffix) = if self.variant.half { (DType::F16, "f16_") } else { (DType::F32, "") };
        for n in sizes {
            let (a, b) = (self.uniform([n, n])?.cast(dtype)?, self.uniform([n, n])?.cast(dtype)?);
            eval([&a, &b])?;
            let timing = self.time(false, || Ok(vec![a.matmul(&b)?]))?;
            self.report.timing(&format!("n{n}_{suffix}"), &timing);
            let rate = 2.0 * (n as f64).powi(3) / timing.median / 1e9;
            self.report.add(format!("n{n}_{suffix}rate"), rate, "GFLOP/s");
        }
        Ok(())
    }

    fn convolution(&mut self) -> Result<()> {
        let same = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
        let (x, k) = (self.uniform([32, 64, 32, 32])?, self.uniform([64, 64, 3, 3])?);
        let timing = self.time(false, || Ok(vec![no_grad(|| x.conv2d(&k, None, same))?]))?;
        self.report.timing("fwd_", &timing);
        self.report.add("fwd_rate", CONVOLUTION / timing.median, "GFLOP/s");

        let g = self.uniform([32, 64, 32, 32])?;
        let (x, k) = (x.variable()?, k.variable()?);
        let timing = self.time(false, || gradients(&x.conv2d(&k, None, same)?, &g, &[&x, &k]))?;
        self.report.timing("fwdbwd_", &timing);
        self.report.add("fwdbwd_rate", 3.0 * CONVOLUTION / timing.median, "GFLOP/s");
        Ok(())
    }

    fn chain(&mut self) -> Result<()> {
        let x = self.uniform([CHAIN])?;
        let work = || Ok(vec![x.mul(1.5)?.add(-0.25)?.relu()?.add(&x.mul(0.5)?)?]);
        let timing = self.time(true, work)?;
        self.report.timing("", &timing);
        self.report.add("rate", 8.0 * CHAIN as f64 / timing.median / 1e9, "GB/s");
        let timing = self.time(false, work)?;
        self.report.timing("queued_held_", &timing);
        Ok(())
    }

    fn small_cnn(&mut self, batch: usize) -> Result<()> {
        let params = Params::new(self.engine, 42);
        let model = Cnn::new(&params, 10)?;
        let optimizer = Adam::new(&params, AdamOptions::default())?;
        let x = self.uniform([batch, 1, 28, 28])?;
        self.train(&params, &model, optimizer, &x)
    }

    fn resnet(&mut self, batch: usize) -> Result<()> {
        let params = Params::new(self.engine, 42);
        let model = ResNet::new(&params, ResNetOptions::RESNET18.cifar(), 10)?;
        let options = SgdOptions { lr: 0.01, momentum: 0.9, ..SgdOptions::default() };
        let optimizer = Sgd::new(&params, options)?;
        let x = self.uniform([batch, 3, 32, 32])?;
        self.report.add("batch", batch as f64, "count");
        self.train(&params, &model, optimizer, &x)
    }

    /// Steps on one batch, whose loss must fall, or nothing was learned.
    fn train(
        &mut self,
        params: &Params,
        model: &dyn Module,
        mut optimizer: impl Optimizer,
        x: &Tensor,
    ) -> Result<()> {
        let batch = x.dims()[0];
        let labels = Tensor::from_vec(self.random.labels(batch, 10), batch, self.engine)?;
        let (mut first, mut last, mut steps) = (f64::NAN, None, 0);
        let variant = self.variant;
        let mut scaler = GradScaler::default();
        let timing = time(false, |wait| {
            let loss = variant.forward(|| cross_entropy(&model.forward(x)?, &labels))?;
            if variant.autocast {
                let mut gradients = scaler.scale(&loss)?.backward()?;
                if scaler.unscale(&mut gradients, params)? {
                    optimizer.step(gradients)?;
                }
            } else {
                optimizer.step(loss.backward()?)?;
            }
            if steps == 0 {
                first = loss.item()?;
            }
            steps += 1;
            last = Some(loss);
            if wait {
                self.engine.synchronize()?;
            }
            Ok(())
        })?;
        let last = last.map_or(Ok(f64::NAN), |loss| loss.item())?;
        let prefix = variant.prefix();
        self.report.timing(prefix, &timing);
        self.report.add(format!("{prefix}rate"), batch as f64 / timing.median, "samples/s");
        self.report.add("loss_first", first, "nats");
        self.report.add("loss_last", last, "nats");
        self.report.add("steps", f64::from(steps), "count");
        self.report.memory();
        ensure!(last < first, "the loss went from {first} to {last}: the steps did not train");
        Ok(())
    }

    fn inference(&mut self) -> Result<()> {
        let params = Params::new(self.engine, 42);
        let model = ResNet::new(&params, ResNetOptions::RESNET18.cifar(), 10)?;
        params.eval();
        let (variant, prefix) = (self.variant, self.variant.prefix());
        for batch in [1, 32] {
            let x = self.uniform([batch, 3, 32, 32])?;
            let mut sum = 0.0;
            let timing = time(batch == 1, |_| {
                // The answer is read back: what a caller of inference waits for.
                let logits = no_grad(|| variant.forward(|| model.forward(&x)))?;
                let logits = logits.cast(DType::F32)?.to_vec::<f32>()?;
                sum = logits.iter().sum();
                Ok(())
            })?;
            self.report.timing(&format!("b{batch}_{prefix}"), &timing);
            self.report.add(format!("b{batch}_{prefix}rate"), batch as f64 / timing.median, "images/s");
            self.report.add(format!("b{batch}_{prefix}logit_sum"), f64::from(sum), "none");
        }
        self.report.memory();
        Ok(())
    }

    fn lstm(&mut self) -> Result<()> {
        let params = Params::new(self.engine, 42);
        let options = RecurrentOptions { batch_first: true, ..RecurrentOptions::default() };
        let model = LSTM::new(&params, 256, 256, options)?;
        self.sequence(&params, &model, [32, 64, 256])
    }

    fn encoder(&mut self) -> Result<()> {
        let params = Params::new(self.engine, 42);
        let options = TransformerOptions {
            feedforward: 1024,
            dropout: 0.0,
            activation: Tensor::gelu,
            ..TransformerOptions::new(256, 4)
        };
        let model = TransformerEncoderLayer::new(&params, options)?;
        self.sequence(&params, &model, [8, 128, 256])
    }

    fn sequence(&mut self, params: &Params, model: &dyn Module, shape: [usize; 3]) -> Result<()> {
        let (x, g) = (self.uniform(shape)?.variable()?, self.uniform(shape)?);
        let weights: Vec<Tensor> = params.trainable().iter().map(|(_, param)| param.get()).collect();
        let wanted: Vec<&Tensor> = std::iter::once(&x).chain(&weights).collect();
        let timing = self.time(false, || gradients(&model.forward(&x)?, &g, &wanted))?;
        self.report.timing("", &timing);
        self.report.memory();
        Ok(())
    }

    fn peak(&mut self) -> Result<()> {
        let peak = self.engine.ceilings(Duration::from_millis(500))?;
        for (metric, per_second, unit) in [
            ("gemm", peak.flops, "GFLOP/s"),
            ("bandwidth", peak.bandwidth, "GB/s"),
            ("upload", peak.upload, "GB/s"),
            ("download", peak.download, "GB/s"),
        ] {
            self.report.add(metric, per_second / 1e9, unit);
        }
        for (metric, seconds) in [
            ("launch", peak.launch),
            ("launch_and_wait", peak.launch_and_wait),
            ("upload_latency", peak.upload_latency),
            ("download_latency", peak.download_latency),
        ] {
            self.report.add(metric, seconds * 1e6, "us");
        }
        Ok(())
    }
}

/// The gradients of `sum(y * g)`.
fn gradients(y: &Tensor, g: &Tensor, wanted: &[&Tensor]) -> Result<Vec<Tensor>> {
    let gradients: Gradients = y.mul(g)?.sum(.., false)?.backward()?;
    wanted
        .iter()
        .map(|tensor| match gradients.get(tensor) {
            Some(gradient) => Ok(gradient.clone()),
            None => bail!("a weight of shape {} has no gradient", tensor.shape()),
        })
        .collect()
}
