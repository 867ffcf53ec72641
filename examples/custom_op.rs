//! An operation of your own: its rule, a CPU kernel, a GPU kernel in WGSL and a gradient.
//!
//!     cargo run --release --example custom_op
//!
//! A leaky integrator along the last dimension, `y[t] = decay * y[t - 1] + x[t]`: an element needs the one
//! before it, which no elementwise expression can say. The program compares the GPU (with `--device gpu`, a
//! software one too) with the CPU, the gradient with finite differences, and trains such neurons.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kiln::device::{Binding, Caps, DeviceKind, Kernel, Plan, Shader};
use kiln::nn::{Linear, Module, Params, loss};
use kiln::optim::{Adam, AdamOptions, Optimizer};
use kiln::{DType, Engine, Error, Op, Output, Spec, Tensor, View, no_grad};

/// Try an operation of one's own.
#[derive(Parser)]
struct Options {
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
}

/// Moments in a recording.
const LENGTH: usize = 24;
/// Updates of the network.
const UPDATES: u64 = 100;
/// How far an input is moved for a finite difference.
const STEP: f64 = 0.01;

/// `y[t] = decay * y[t - 1] + x[t]` along the last dimension, with `y[-1] = 0`.
#[derive(Clone, Copy, Debug)]
struct Leaky {
    decay: f32,
}

impl Op for Leaky {
    fn name(&self) -> &'static str {
        "leaky"
    }

    // All validation is here: a kernel only sees inputs that this has passed.
    fn output(&self, inputs: &[Spec]) -> kiln::Result<Spec> {
        match inputs {
            [x] if x.dtype == DType::F32 && x.shape().rank() > 0 => Ok(Spec::new(x.dtype, *x.shape())),
            [x] => Err(Error::op("leaky", format!("expected f32 rows, got {} {}", x.dtype, x.shape()))),
            _ => Err(Error::op("leaky", format!("expected 1 input, got {}", inputs.len()))),
        }
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> kiln::Result<()> {
        let length = output.spec.shape().last().copied().unwrap_or(0).max(1);
        let rows = inputs[0].slice::<f32>().chunks_exact(length);
        for (y, x) in output.slice::<f32>().chunks_exact_mut(length).zip(rows) {
            let mut state = 0.0;
            for (y, x) in y.iter_mut().zip(x) {
                state = self.decay * state + x;
                *y = state;
            }
        }
        Ok(())
    }

    fn gpu(&self, _: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let length = output.shape().last().copied().unwrap_or(0);
        let rows = output.elements().checked_div(length).unwrap_or(0);
        Some(Plan::one(Kernel {
            shader: Shader::file("leaky", include_str!("custom_op.wgsl")),
            // `{:?}` writes a point in every number, so that WGSL reads a float.
            constants: vec![("DECAY", format!("{:?}", self.decay).into())],
            bindings: vec![Binding::Input(0), Binding::Output],
            params: vec![rows as u32, length as u32],
            groups: Kernel::fold(rows.div_ceil(64), caps),
        }))
    }

    // An element reaches all that come after it, so a gradient comes from there: the same filter, backwards.
    fn gradient(&self, _: &[Tensor], _: &Tensor, upstream: &Tensor) -> kiln::Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(leaky(&upstream.flip(-1)?, self.decay)?.flip(-1)?)])
    }
}

fn leaky(x: &Tensor, decay: f32) -> kiln::Result<Tensor> {
    Tensor::apply(Leaky { decay }, &[x])
}

fn main() -> Result<()> {
    let engine = match Options::parse().device {
        Some(name) => Engine::new(&name)?,
        None => Engine::from_env()?,
    };
    println!("device: {}", engine.name());
    if engine.kind() != DeviceKind::Cpu {
        // Rows whose number is no multiple of a workgroup's.
        let outputs = |engine| leaky(&Tensor::randn([7, 19, 33], 1, engine)?, 0.9)?.to_vec::<f32>();
        let pairs = outputs(&engine)?.into_iter().zip(outputs(&Engine::cpu())?);
        let difference = pairs.map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap_or(0.0);
        println!("the largest difference from the CPU is {difference:.1e}");
        ensure!(difference < 1e-5, "the two kernels differ");
    }
    let difference = check_gradient(&engine)?;
    println!("the gradient differs from finite differences by a share of {difference:.1e}");
    ensure!(difference < 1e-3, "the gradient is wrong");
    let [before, after] = train(&engine)?;
    println!("accuracy {:.1} % before {UPDATES} updates, {:.1} % after", 100.0 * before, 100.0 * after);
    Ok(())
}

/// By what share the gradient of `sum(weights * leaky(x)^2)` in some direction is off finite differences.
fn check_gradient(engine: &Engine) -> Result<f64> {
    let [x, weights, direction] = [2, 3, 4].map(|seed| Tensor::randn([3, 8], seed, engine));
    let (x, weights, direction) = (x?.variable()?, weights?, direction?);
    let sum = |x: &Tensor| leaky(x, 0.7)?.square()?.mul(&weights)?.sum(.., false);
    let gradients = sum(&x)?.backward()?;
    let gradient = gradients.get(&x).context("there is no gradient")?;
    let expected = gradient.mul(&direction)?.sum(.., false)?.item()?;
    let moved = |by: f64| sum(&x.add(&direction.mul(by)?)?)?.item();
    let slope = (moved(STEP)? - moved(-STEP)?) / (2.0 * STEP);
    Ok((slope - expected).abs() / expected.abs())
}

/// Noise `[count, LENGTH, 1]`, and for each whether its latest moments are above 0 on the whole.
fn recordings(count: usize, seed: u64, engine: &Engine) -> kiln::Result<(Tensor, Tensor)> {
    let x = Tensor::randn([count, LENGTH, 1], seed, engine)?;
    let trace = leaky(&x.transpose(1, 2)?, 0.8)?.select(-1, LENGTH - 1)?;
    Ok((x, trace.gt(0.0)?.cast(DType::I32)?.reshape(count)?))
}

/// Trains leaky neurons to tell so; their accuracy on other recordings before and after.
fn train(engine: &Engine) -> kiln::Result<[f64; 2]> {
    let params = Params::new(engine, 0);
    let (neurons, scores) = (Linear::new(&params / "neurons", 1, 8)?, Linear::new(&params / "scores", 8, 2)?);
    let forward = |x: &Tensor| {
        let currents = neurons.forward(x)?.tanh()?.transpose(1, 2)?;
        scores.forward(&leaky(&currents, 0.8)?.select(-1, LENGTH - 1)?)
    };
    let (test, answers) = recordings(1000, u64::MAX, engine)?;
    let accuracy = || {
        let right = no_grad(|| forward(&test)?.argmax(1, false)?.eq(&answers)?.cast(DType::F32))?;
        right.mean(.., false)?.item()
    };
    let before = accuracy()?;
    let mut optimizer = Adam::new(&params, AdamOptions { lr: 0.02, ..Default::default() })?;
    for step in 0..UPDATES {
        let (x, labels) = recordings(128, step, engine)?;
        optimizer.step(loss::cross_entropy(&forward(&x)?, &labels)?.backward()?)?;
    }
    Ok([before, accuracy()?])
}
