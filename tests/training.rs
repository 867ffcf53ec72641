//! Training runs of PyTorch, step by step: same weights and batches, same losses and final weights.
//!
//! Reads `assets/fixtures/train`, or the directory that `KILN_FIXTURES` names (the one with
//! `runs.json` in it, or its parent). A run that Kiln has no network for, and every run on a device
//! that is absent, is listed as ignored; `KILN_REQUIRE_GPU=1` makes an absent GPU a failure.

use kiln::data::Batch;
use kiln::io::{HostTensor, StateDict};
use kiln::nn::recurrent::RecurrentOptions;
use kiln::nn::{
    BatchNorm2d, Conv2d, Embedding, Init, LSTM, Linear, MaxPool2d, Module, Params, Sequential,
    TransformerEncoderLayer, TransformerOptions, cross_entropy,
};
use kiln::ops::{Conv2dOptions, Pool2dOptions};
use kiln::optim::{Adam, AdamOptions, AdamW, Optimizer, Sgd, SgdOptions};
use kiln::{DType, Engine, Result, Tensor};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Deserialize)]
struct Runs {
    runs: Vec<Run>,
}

#[derive(Clone, Deserialize)]
struct Run {
    name: String,
    model: String,
    bn: Option<Norm>,
    heads: Option<usize>,
    activation: Option<String>,
    #[serde(default)]
    norm_first: bool,
    optimizer: OptimizerOf,
    data: String,
    tensors: String,
    formula: Option<Formula>,
    loss_f64: Vec<f64>,
    loss_atol: Vec<f64>,
    r#final: BTreeMap<String, Final>,
}

#[derive(Clone, Copy, Deserialize)]
struct Norm {
    momentum: f64,
    eps: f64,
}

/// torch.optim's arguments.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OptimizerOf {
    name: String,
    lr: f64,
    momentum: Option<f64>,
    dampening: Option<f64>,
    nesterov: Option<bool>,
    weight_decay: Option<f64>,
    betas: Option<[f64; 2]>,
    eps: Option<f64>,
}

#[derive(Clone, Deserialize)]
struct Formula {
    seed: u32,
    parameters: BTreeMap<String, FormulaTensor>,
}

#[derive(Clone, Deserialize)]
struct FormulaTensor {
    tensor: u32,
    shape: Vec<usize>,
    bound: f32,
    first: Vec<f32>,
}

#[derive(Clone, Deserialize)]
struct Final {
    atol: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = folder();
    let text = std::fs::read_to_string(folder.join("runs.json")).expect("runs.json can be read");
    let runs: Runs = serde_json::from_str(&text).expect("runs.json has the documented form");
    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    let mut trials = Vec::new();
    for device in ["cpu", "gpu", "auto:gpu"] {
        let engine = Engine::new(device);
        for run in &runs.runs {
            let absent = engine.is_err() && !required;
            let known = matches!(run.model.as_str(), "cnn" | "resnet" | "lstm" | "encoder");
            let (run, folder) = (run.clone(), folder.clone());
            let engine = engine.as_ref().map(Engine::clone).map_err(ToString::to_string);
            let name = format!("{}::{device}", run.name);
            let trial = Trial::test(name, move || check(&run, &folder, &engine?));
            trials.push(trial.with_ignored_flag(absent || !known));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn folder() -> PathBuf {
    let given = std::env::var_os("KILN_FIXTURES").filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fixtures"));
    if folder.join("runs.json").is_file() { folder } else { folder.join("train") }
}

/// Trains as the run did, and compares.
fn check(run: &Run, folder: &Path, engine: &Engine) -> Result<(), Failed> {
    let params = Params::new(engine, 0);
    let net = network(run, &params)?;
    let stored = StateDict::load(folder.join(&run.tensors))?;
    start(run, &stored, &params)?;
    let mut optimizer = optimizer(&run.optimizer, &params)?;

    let batches = StateDict::load(folder.join(&run.data))?;
    let mut wrong = Vec::new();
    for (step, (&want, &atol)) in run.loss_f64.iter().zip(&run.loss_atol).enumerate() {
        let (x, labels) = batch(&batches, step)?.tensors(engine)?;
        let loss = cross_entropy(&net.forward(&x)?, &labels)?;
        optimizer.step(loss.backward()?)?;
        let (got, limit) = (loss.item()?, atol.min(1e-4 * want.abs()));
        if got.is_nan() || (got - want).abs() > limit {
            wrong.push(format!("step {}: loss {got:.7} instead of {want:.7} +- {limit:.1e}", step + 1));
        }
    }
    let state = params.state_dict()?;
    for (name, entry) in &run.r#final {
        let want: Vec<f32> = stored.tensors[&format!("final/{name}")].to_vec()?;
        let got: Vec<f32> = state.tensors.get(name).ok_or(format!("there is no {name}"))?.to_vec()?;
        let off = |(got, want): (&f32, &f32)| (f64::from(*got) - f64::from(*want)).abs();
        // Of a large tensor only the beginning is stored. `max` would pass over a NaN.
        let offs = got.iter().zip(&want).map(off);
        let worst = offs.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
        if got.len() < want.len() || worst.is_nan() || worst > entry.atol {
            wrong.push(format!("{name} is off by {worst:.2e}, more than {:.1e}", entry.atol));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Sets the weights and running statistics of before the first step.
fn start(run: &Run, stored: &StateDict, params: &Params) -> Result<(), Failed> {
    let mut state = StateDict::default();
    if let Some(formula) = &run.formula {
        for (name, tensor) in &formula.parameters {
            let values = formula_weight(formula.seed, tensor);
            if values[..tensor.first.len()] != tensor.first {
                return Err(format!("the formula gives other first values for {name}").into());
            }
            state.tensors.insert(name.clone(), HostTensor::from_slice(&tensor.shape, &values)?);
        }
    }
    for (key, tensor) in &stored.tensors {
        if let Some(name) = key.strip_prefix("init/") {
            state.tensors.insert(name.into(), tensor.clone());
        }
    }
    // PyTorch's count of batches changes nothing and is not stored.
    for (name, param) in params.named() {
        if name.ends_with("num_batches_tracked") && !state.tensors.contains_key(&name) {
            assert_eq!(param.get().dtype(), DType::I32);
            state.tensors.insert(name, HostTensor::from_slice(&[], &[0i32])?);
        }
    }
    Ok(params.load_state_dict(&state, &run.tensors)?)
}

fn formula_weight(seed: u32, tensor: &FormulaTensor) -> Vec<f32> {
    let elements: usize = tensor.shape.iter().product();
    let offset = tensor.tensor.wrapping_add(1).wrapping_mul(0x85EB_CA6B).wrapping_add(seed);
    let value = |i: u32| {
        let mut h = (i + 1).wrapping_mul(0x9E37_79B1).wrapping_add(offset);
        h = (h ^ h >> 16).wrapping_mul(0x7FEB_352D);
        h = (h ^ h >> 15).wrapping_mul(0x846C_A68B);
        h ^= h >> 16;
        tensor.bound * ((h >> 8) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..elements as u32).map(value).collect()
}

fn batch(data: &StateDict, step: usize) -> Result<Batch> {
    let (input, target) = (&data.tensors["input"], &data.tensors["target"]);
    let (size, samples): (usize, usize) = (input.shape[1..].iter().product(), target.shape[1]);
    let inputs = match input.dtype {
        // Bytes of images, which stand for 0 to 1, or tokens.
        DType::I32 => {
            let scale = if input.shape.len() > 3 { 255.0 } else { 1.0 };
            let numbers = &input.to_vec::<i32>()?[step * size..][..size];
            numbers.iter().map(|&number| number as f32 / scale).collect()
        }
        _ => input.to_vec::<f32>()?[step * size..][..size].to_vec(),
    };
    let labels = target.to_vec::<i32>()?[step * samples..][..samples].to_vec();
    Ok(Batch { inputs, shape: input.shape[1..].to_vec(), labels })
}

fn optimizer(of: &OptimizerOf, params: &Params) -> Result<Box<dyn Optimizer>, Failed> {
    let adam = |defaults: AdamOptions| AdamOptions {
        lr: of.lr,
        betas: of.betas.unwrap_or(defaults.betas),
        eps: of.eps.unwrap_or(defaults.eps),
        weight_decay: of.weight_decay.unwrap_or(defaults.weight_decay),
        ..defaults
    };
    Ok(match of.name.as_str() {
        "SGD" => {
            let options = SgdOptions {
                lr: of.lr,
                momentum: of.momentum.unwrap_or(0.0),
                dampening: of.dampening.unwrap_or(0.0),
                weight_decay: of.weight_decay.unwrap_or(0.0),
                nesterov: of.nesterov.unwrap_or(false),
            };
            Box::new(Sgd::new(params, options)?)
        }
        "Adam" => Box::new(Adam::new(params, adam(AdamOptions::default()))?),
        "AdamW" => Box::new(AdamW::new(params, adam(AdamOptions::adamw()))?),
        other => return Err(format!("there is no optimiser {other:?}").into()),
    })
}

fn network(run: &Run, params: &Params) -> Result<Box<dyn Module>, Failed> {
    Ok(match run.model.as_str() {
        "cnn" => Box::new(cnn(params)?),
        "resnet" => Box::new(ResNet::new(params, run.bn.ok_or("the run does not describe `bn`")?)?),
        "lstm" => Box::new(lstm(params)?),
        "encoder" => Box::new(encoder(params, run)?),
        other => return Err(format!("there is no network {other:?}").into()),
    })
}

fn same(stride: usize) -> Conv2dOptions {
    Conv2dOptions { stride: [stride; 2], padding: [1, 1], ..Default::default() }
}

fn cnn(params: &Params) -> Result<Sequential> {
    let pool = || MaxPool2d(Pool2dOptions::new(2));
    Ok(Sequential::new()
        .add(Conv2d::new(params / "conv1", 1, 32, [3, 3], same(1))?)
        .add(Tensor::relu)
        .add(pool())
        .add(Conv2d::new(params / "conv2", 32, 64, [3, 3], same(1))?)
        .add(Tensor::relu)
        .add(pool())
        .add(|x: &Tensor| x.flatten(1, -1))
        .add(Linear::new(params / "fc1", 3136, 128)?)
        .add(Tensor::relu)
        .add(Linear::new(params / "fc2", 128, 10)?))
}

fn lstm(params: &Params) -> Result<Sequential> {
    let options = RecurrentOptions { batch_first: true, ..Default::default() };
    Ok(Sequential::new()
        .add(LSTM::new(params / "lstm", 8, 32, options)?)
        .add(|x: &Tensor| x.select(1, x.dims()[1] - 1))
        .add(Linear::new(params / "fc", 32, 5)?))
}

fn encoder(params: &Params, run: &Run) -> Result<Sequential, Failed> {
    let options = TransformerOptions {
        feedforward: 64,
        dropout: 0.0,
        activation: match run.activation.as_deref() {
            Some("relu") => Tensor::relu,
            Some("gelu") => Tensor::gelu,
            other => return Err(format!("there is no activation {other:?}").into()),
        },
        norm_first: run.norm_first,
        ..TransformerOptions::new(32, run.heads.ok_or("the run does not give `heads`")?)
    };
    let position = params.parameter("position", [12, 32], Init::Zeros)?;
    Ok(Sequential::new()
        .add(|x: &Tensor| x.cast(DType::I32))
        .add(Embedding::new(params / "embed", 40, 32)?)
        .add(move |x: &Tensor| x.add(&position.get()))
        .add(TransformerEncoderLayer::new(params / "encoder", options)?)
        .add(|x: &Tensor| x.mean(1, false))
        .add(Linear::new(params / "fc", 32, 6)?))
}

fn norm(params: Params, channels: usize, norm: Norm) -> Result<BatchNorm2d> {
    let Norm { momentum, eps } = norm;
    Ok(BatchNorm2d { momentum, eps, ..BatchNorm2d::new(params, channels)? })
}

struct Block {
    body: Sequential,
    downsample: Sequential,
}

impl Block {
    fn new(params: &Params, inputs: usize, outputs: usize, stride: usize, bn: Norm) -> Result<Block> {
        let body = Sequential::new()
            .add(Conv2d::without_bias(params / "conv1", inputs, outputs, [3, 3], same(stride))?)
            .add(norm(params / "bn1", outputs, bn)?)
            .add(Tensor::relu)
            .add(Conv2d::without_bias(params / "conv2", outputs, outputs, [3, 3], same(1))?)
            .add(norm(params / "bn2", outputs, bn)?);
        let mut downsample = Sequential::new();
        if inputs != outputs {
            let (params, options) =
                (params / "downsample", Conv2dOptions { padding: [0, 0], ..same(stride) });
            downsample = downsample
                .add(Conv2d::without_bias(&params / 0, inputs, outputs, [1, 1], options)?)
                .add(norm(&params / 1, outputs, bn)?);
        }
        Ok(Block { body, downsample })
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.body.forward(x)?.add(&self.downsample.forward(x)?)?.relu()
    }
}

struct ResNet(Sequential);

impl ResNet {
    fn new(params: &Params, bn: Norm) -> Result<ResNet> {
        let layers = params / "layers";
        Ok(ResNet(
            Sequential::new()
                .add(Conv2d::without_bias(params / "conv1", 3, 16, [3, 3], same(1))?)
                .add(norm(params / "bn1", 16, bn)?)
                .add(Tensor::relu)
                .add(Block::new(&(&layers / 0), 16, 16, 1, bn)?)
                .add(Block::new(&(&layers / 1), 16, 32, 2, bn)?)
                .add(Block::new(&(&layers / 2), 32, 32, 1, bn)?)
                .add(|x: &Tensor| x.mean([2, 3], false))
                .add(Linear::new(params / "fc", 32, 10)?),
        ))
    }
}

impl Module for ResNet {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward(x)
    }
}
