//! Optimisers, schedules and clipping against their formulas in `f64`.

use kiln::io::StateDict;
use kiln::nn::{Init, Linear, Module, Param, Params, Sequential, cross_entropy};
use kiln::optim::{
    Adam, AdamOptions, AdamW, CosineAnnealing, OneCycle, OneCycleOptions, Optimizer, Schedule, Sgd,
    SgdOptions, StepLr, clip_grad_norm, clip_grad_value,
};
use kiln::{Engine, Gradients, Result, Tensor};
use std::f64::consts::PI;
use std::path::{Path, PathBuf};

const N: usize = 7;

/// Numbers without a pattern, from -1 to 1.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97_531) >> 8) as f32;
    (0..n as u32).map(|i| value(i * i + i + 1) / (1 << 23) as f32 - 1.0).collect()
}

#[track_caller]
fn assert_refused<T>(result: Result<T>, expected: &str) {
    let message = result.err().expect("an error").to_string();
    assert!(message.contains(expected), "{message}");
}

fn one() -> Result<(Params, Param)> {
    let params = Params::new(&Engine::cpu(), 5);
    let param = params.parameter("w", N, Init::Normal { mean: 0.0, std: 1.0 })?;
    Ok((params, param))
}

/// The engines that are there; without a GPU the CPU alone, unless `KILN_REQUIRE_GPU` is set.
fn engines() -> Vec<Engine> {
    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    let gpu = Engine::new("gpu");
    assert!(gpu.is_ok() || !required, "{gpu:?}");
    [Engine::cpu()].into_iter().chain(gpu).collect()
}

/// Gradients that are `direction` for this parameter.
fn gradients(param: &Param, direction: &[f32]) -> Result<Gradients> {
    towards(param, direction)?.backward()
}

/// A loss whose gradient is `direction`.
fn towards(param: &Param, direction: &[f32]) -> Result<Tensor> {
    let value = param.get();
    value.mul(&Tensor::from_slice(direction, value.shape(), value.engine())?)?.sum(.., false)
}

/// Sizes of parameters: more of them than one kernel updates, some no whole vectors, one of a single number.
const SIZES: [usize; 10] = [N, 1, 300, 64, 5, 1025, 2, 33, 12, 256];

/// Runs an optimiser for some steps beside `rule`, which updates one number from its gradient, the
/// number of the step from 1 and two numbers of state.
fn compare(
    make: impl Fn(&Params) -> Result<Box<dyn Optimizer>>,
    rule: impl Fn(&mut f64, f64, i32, &mut [f64; 2]),
) -> Result<()> {
    for engine in engines() {
        let params = Params::new(&engine, 5);
        let parameter = |(i, n)| params.parameter(&format!("w{i}"), n, Init::Normal { mean: 0.0, std: 1.0 });
        let all: Vec<Param> = SIZES.into_iter().enumerate().map(parameter).collect::<Result<_>>()?;
        let mut optimizer = make(&params)?;
        let read =
            |param: &Param| Ok::<_, kiln::Error>(param.get().to_vec::<f32>()?.into_iter().map(f64::from));
        let mut want =
            all.iter().map(|param| Ok(read(param)?.collect())).collect::<Result<Vec<Vec<f64>>>>()?;
        let mut state = SIZES.map(|n| vec![[0.0; 2]; n]);
        let mut held = None;
        for step in 1..=6 {
            let directions: Vec<_> = (0..).zip(SIZES).map(|(i, n)| noise(n, 10 * step + i)).collect();
            let mut losses = Vec::new();
            for (i, param) in all.iter().enumerate() {
                losses.push(towards(param, &directions[i])?);
                for ((want, state), &g) in want[i].iter_mut().zip(&mut state[i]).zip(&directions[i]) {
                    rule(want, f64::from(g), step as i32, state);
                }
            }
            if step == 4 {
                held = Some((all[2].get(), all[2].get().to_vec::<f32>()?));
            }
            optimizer
                .step(Tensor::stack(&losses.iter().collect::<Vec<_>>(), 0)?.sum(.., false)?.backward()?)?;
            for (param, want) in all.iter().zip(&want) {
                for (got, want) in read(param)?.zip(want) {
                    assert!((got - want).abs() < 1e-6, "{engine:?}, step {step}: {got} instead of {want}");
                }
            }
        }
        // Whoever holds an old value keeps it.
        assert!(held.is_some_and(|(value, numbers)| value.to_vec::<f32>().is_ok_and(|now| now == numbers)));
    }
    Ok(())
}

#[test]
fn sgd_follows_torch() -> Result<()> {
    let options = SgdOptions { lr: 0.1, ..Default::default() };
    for (momentum, dampening, weight_decay, nesterov) in [
        (0.0, 0.0, 0.0, false),
        (0.0, 0.0, 0.1, false),
        (0.9, 0.0, 0.0, false),
        (0.9, 0.5, 0.1, false),
        (0.9, 0.0, 0.1, true),
    ] {
        let options = SgdOptions { momentum, dampening, weight_decay, nesterov, ..options };
        compare(
            |params| Ok(Box::new(Sgd::new(params, options)?)),
            |p, g, step, [v, _]| {
                let d = g + weight_decay * *p;
                *v = if step == 1 { d } else { momentum * *v + (1.0 - dampening) * d };
                *p -= 0.1 * if nesterov { d + momentum * *v } else { *v };
            },
        )?;
    }
    Ok(())
}

fn adam_rule(options: AdamOptions, decoupled: bool) -> impl Fn(&mut f64, f64, i32, &mut [f64; 2]) {
    move |p, g, step, [m, v]| {
        let AdamOptions { lr, betas: [beta1, beta2], eps, weight_decay, .. } = options;
        let mut g = g;
        if decoupled {
            *p -= lr * weight_decay * *p
        } else {
            g += weight_decay * *p
        }
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        let (mean, square) = (*m / (1.0 - beta1.powi(step)), *v / (1.0 - beta2.powi(step)));
        *p -= lr * mean / (square.sqrt() + eps);
    }
}

#[test]
fn adam_and_adamw_follow_torch() -> Result<()> {
    let plain = AdamOptions { lr: 0.05, ..Default::default() };
    let decayed = AdamOptions { lr: 0.05, betas: [0.8, 0.95], eps: 1e-3, weight_decay: 0.1, ..plain };
    for options in [plain, decayed] {
        compare(|params| Ok(Box::new(Adam::new(params, options)?)), adam_rule(options, false))?;
        compare(|params| Ok(Box::new(AdamW::new(params, options)?)), adam_rule(options, true))?;
    }
    assert_eq!(AdamOptions::adamw().weight_decay, 0.01);
    // The parameter compared is a vector, which can be spared.
    let spared = AdamOptions { spare_vectors: true, ..decayed };
    let rule = adam_rule(AdamOptions { weight_decay: 0.0, ..decayed }, true);
    compare(|params| Ok(Box::new(AdamW::new(params, spared)?)), rule)
}

#[test]
fn matrices_are_not_spared() -> Result<()> {
    let params = Params::new(&Engine::cpu(), 0);
    let matrix = params.parameter("matrix", [1, 2], Init::Ones)?;
    let options = AdamOptions { lr: 0.5, weight_decay: 0.1, spare_vectors: true, ..AdamOptions::default() };
    let mut optimizer = AdamW::new(&params, options)?;
    // A gradient of 0 leaves the decay alone: 1 - 0.5 * 0.1.
    optimizer.step(matrix.get().mul(0.0)?.sum(.., false)?.backward()?)?;
    assert_eq!(matrix.get().to_vec::<f32>()?, [0.95; 2]);
    Ok(())
}

#[test]
fn arguments_are_checked() -> Result<()> {
    let (params, param) = one()?;
    let sgd = SgdOptions::default();
    assert_refused(Sgd::new(&params, SgdOptions { lr: -1.0, ..sgd }), "learning rate -1");
    assert_refused(Sgd::new(&params, SgdOptions { lr: f64::NAN, ..sgd }), "NaN");
    assert_refused(Sgd::new(&params, SgdOptions { momentum: -0.1, ..sgd }), "momentum -0.1");
    assert_refused(Sgd::new(&params, SgdOptions { weight_decay: f64::INFINITY, ..sgd }), "weight decay inf");
    assert_refused(Sgd::new(&params, SgdOptions { nesterov: true, ..sgd }), "Nesterov");
    let adam = AdamOptions::default();
    assert_refused(Adam::new(&params, AdamOptions { betas: [1.0, 0.9], ..adam }), "beta 1 1 is not in 0..1");
    assert_refused(AdamW::new(&params, AdamOptions { betas: [0.9, -0.1], ..adam }), "beta 2");
    assert_refused(AdamW::new(&params, AdamOptions { eps: f64::NAN, ..adam }), "eps NaN");

    let mut optimizer = Sgd::new(&params, sgd)?;
    optimizer.set_learning_rate(f64::NAN);
    assert_refused(optimizer.step(gradients(&param, &[1.0; N])?), "learning rate NaN");
    optimizer.set_learning_rate(0.5);
    assert_eq!(optimizer.learning_rate(), 0.5);
    let stale = gradients(&param, &[1.0; N])?;
    optimizer.step(gradients(&param, &[1.0; N])?)?;
    assert_refused(optimizer.step(stale), "no parameter has a gradient");
    let value = params.trainable()[0].1.get();
    let mut wrong = value.square()?.sum(.., false)?.backward()?;
    wrong.set(&value, Tensor::zeros([7, 1], params.engine())?);
    assert_refused(optimizer.step(wrong), "is f32 [7, 1], the parameter f32");
    Ok(())
}

#[test]
fn parameters_without_a_gradient_are_left_alone() -> Result<()> {
    let (params, param) = one()?;
    let other = params.parameter("other", N, Init::Ones)?;
    let options = AdamOptions { weight_decay: 0.5, ..Default::default() };
    let mut optimizer = AdamW::new(&params, options)?;
    optimizer.step(gradients(&param, &[1.0; N])?)?;
    assert_eq!(other.get().to_vec::<f32>()?, [1.0; N]);
    let state = optimizer.state_dict()?;
    assert_eq!(state.tensors.keys().collect::<Vec<_>>(), ["w.exp_avg", "w.exp_avg_sq", "w.step"]);
    Ok(())
}

/// A network with its optimiser, and its loss on one batch.
struct Training {
    params: Params,
    net: Sequential,
    optimizer: Box<dyn Optimizer>,
}

type Make = fn(&Params) -> Result<Box<dyn Optimizer>>;

impl Training {
    fn new(sizes: [usize; 3], make: Make) -> Result<Training> {
        let params = Params::new(&Engine::cpu(), 3);
        let net = Sequential::new()
            .add(Linear::new(&params / "fc1", sizes[0], sizes[1])?)
            .add(Tensor::relu)
            .add(Linear::new(&params / "fc2", sizes[1], sizes[2])?);
        let optimizer = make(&params)?;
        Ok(Training { params, net, optimizer })
    }

    fn step(&mut self, number: u32) -> Result<f64> {
        let engine = self.params.engine();
        let inputs = self.params.named()[0].1.get().dims()[1];
        let x = Tensor::from_slice(&noise(8 * inputs, number), [8, inputs], engine)?;
        let labels = Tensor::from_slice(&[0i32, 1, 2, 0, 1, 2, 0, 1], 8, engine)?;
        let loss = cross_entropy(&self.net.forward(&x)?, &labels)?;
        self.optimizer.step(loss.backward()?)?;
        loss.item()
    }
}

fn momentum(params: &Params) -> Result<Box<dyn Optimizer>> {
    let options = SgdOptions { lr: 0.1, momentum: 0.9, weight_decay: 1e-3, ..Default::default() };
    Ok(Box::new(Sgd::new(params, options)?))
}

fn adam(params: &Params) -> Result<Box<dyn Optimizer>> {
    Ok(Box::new(Adam::new(params, AdamOptions { lr: 0.01, ..Default::default() })?))
}

#[test]
fn training_goes_on_from_a_saved_state() -> Result<()> {
    for make in [momentum, adam] {
        let mut whole = Training::new([5, 4, 3], make)?;
        (0..3).try_for_each(|step| whole.step(step).map(drop))?;
        whole.optimizer.set_learning_rate(0.0125);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("optimizer.safetensors");
        whole.optimizer.state_dict()?.save(&path)?;

        let mut resumed = Training::new([5, 4, 3], make)?;
        resumed.params.load_state_dict(&whole.params.state_dict()?, "model")?;
        resumed.optimizer.load_state_dict(&StateDict::load(&path)?, &path)?;
        assert_eq!(resumed.optimizer.learning_rate(), 0.0125);
        for step in 3..6 {
            assert_eq!(whole.step(step)?, resumed.step(step)?);
        }
        assert_eq!(whole.params.state_dict()?, resumed.params.state_dict()?);
        assert_eq!(whole.optimizer.state_dict()?, resumed.optimizer.state_dict()?);
    }
    Ok(())
}

#[test]
fn a_state_that_does_not_fit_is_refused() -> Result<()> {
    let (mut sgd, mut adam) = (Training::new([5, 4, 3], momentum)?, Training::new([5, 4, 3], adam)?);
    sgd.step(0)?;
    adam.step(0)?;
    let state = adam.optimizer.state_dict()?;
    let refused = |training: &mut Training, state: &StateDict, expected: &str| {
        let before = training.optimizer.state_dict().unwrap();
        let result = training.optimizer.load_state_dict(state, Path::new("optimizer.safetensors"));
        assert_refused(result, expected);
        assert_eq!(training.optimizer.state_dict().unwrap(), before);
    };
    refused(&mut sgd, &state, "optimizer.safetensors: holds the state of \"Adam\", not of \"SGD\"");
    let mut partial = state.clone();
    let moved = partial.tensors.remove("fc1.bias.exp_avg").unwrap();
    partial.tensors.insert("fc3.bias.exp_avg".into(), moved);
    refused(&mut adam, &partial, "missing: fc1.bias.exp_avg; unexpected: fc3.bias.exp_avg");
    let mut slow = state.clone();
    slow.metadata.insert("learning_rate".into(), "slow".into());
    refused(&mut adam, &slow, "\"slow\" is not a number");
    slow.metadata.insert("learning_rate".into(), "-1".into());
    refused(&mut adam, &slow, "learning rate -1");
    Ok(())
}

#[test]
fn steps_take_no_more_memory_as_they_go_on() -> Result<()> {
    for (make, state) in [(momentum as Make, 1), (adam, 2)] {
        let mut training = Training::new([300, 200, 3], make)?;
        let mut memory = Vec::new();
        for step in 1..=30 {
            training.step(step)?;
            memory.push(training.params.engine().memory());
        }
        assert_eq!((memory[2].live, memory[2].peak), (memory[29].live, memory[29].peak));
        // Parameters and state, and nothing else.
        let least = (4 * training.params.count() * (1 + state)) as u64;
        // Buffers come in sizes up to a quarter larger.
        assert!((least..least * 5 / 4).contains(&memory[29].live), "{} {least}", memory[29].live);
    }
    Ok(())
}

#[test]
fn gradients_are_clipped() -> Result<()> {
    let (params, param) = one()?;
    let other = params.parameter("other", 2, Init::Ones)?;
    let both = || -> Result<Gradients> {
        let engine = params.engine();
        let first = param.get().mul(&Tensor::full(N, 2.0, kiln::DType::F32, engine)?)?.sum(.., false)?;
        first.add(&other.get().mul(-6.0)?.sum(.., false)?)?.backward()
    };
    let read = |gradients: &Gradients, param: &Param| -> Result<f64> {
        gradients.get(&param.get()).unwrap().narrow(0, 0, 1)?.item()
    };
    let mut gradients = both()?;
    let norm = clip_grad_norm(&mut gradients, &params, 5.0)?;
    assert!((norm.item()? - 10.0).abs() < 1e-5);
    assert!((read(&gradients, &param)? - 1.0).abs() < 1e-5 && (read(&gradients, &other)? + 3.0).abs() < 1e-5);
    clip_grad_norm(&mut gradients, &params, 100.0)?;
    assert!((read(&gradients, &param)? - 1.0).abs() < 1e-5);

    let mut gradients = both()?;
    clip_grad_value(&mut gradients, &params, 3.0)?;
    assert_eq!((read(&gradients, &param)?, read(&gradients, &other)?), (2.0, -3.0));
    assert_refused(clip_grad_norm(&mut gradients, &params, f64::NAN), "NaN");
    assert_refused(clip_grad_norm(&mut gradients, &(&params / "none"), 1.0), "no parameter has a gradient");
    assert_refused(clip_grad_value(&mut gradients, &params, -1.0), "-1");
    Ok(())
}

#[track_caller]
fn assert_rates(schedule: &dyn Schedule, want: &[(usize, f64)]) {
    for &(step, want) in want {
        let got = schedule.lr_at(step);
        assert!((got - want).abs() <= 1e-12 * want.abs(), "step {step}: {got} instead of {want}");
    }
}

#[test]
fn schedules_follow_torch() -> Result<()> {
    let step = StepLr::new(0.5, 3, 0.1)?;
    assert_rates(&step, &[(0, 0.5), (2, 0.5), (3, 0.05), (5, 0.05), (6, 0.005), (9, 0.0005)]);

    let cosine = CosineAnnealing::new(1.0, 4, 0.2)?;
    let quarter = 0.2 + 0.4 * (1.0 + (PI / 4.0).cos());
    assert_rates(&cosine, &[(0, 1.0), (1, quarter), (2, 0.6), (4, 0.2), (8, 1.0)]);

    // PyTorch's phases: up until step 0.3 * 10 - 1 = 2, then down until step 9.
    let cycle = OneCycle::new(1.0, 10)?;
    let (first, last) = (1.0 / 25.0, 1.0 / 25.0 / 1e4);
    let fall = |at: f64| last + (1.0 - last) / 2.0 * (1.0 + (PI * at).cos());
    let rates = [(0, first), (1, (1.0 + first) / 2.0), (2, 1.0), (3, fall(1.0 / 7.0)), (8, fall(6.0 / 7.0))];
    assert_rates(&cycle, &rates);
    assert!((cycle.lr_at(9) - last).abs() < 1e-15 && cycle.lr_at(99) == cycle.lr_at(9));
    // The peak may lie before the first step or be the last one.
    let short = OneCycle::new(1.0, 3)?;
    let fall = |at: f64| last + (1.0 - last) / 2.0 * (1.0 + (PI * at).cos());
    assert_rates(&short, &[(0, fall(0.1 / 2.1)), (1, fall(1.1 / 2.1))]);
    let rising = OneCycle::with_options(1.0, 3, OneCycleOptions { pct_start: 1.0, ..Default::default() })?;
    assert_rates(&rising, &[(0, first), (1, (1.0 + first) / 2.0), (2, 1.0), (7, 1.0)]);

    assert_refused(StepLr::new(0.1, 0, 0.1), "step_size is 0");
    assert_refused(StepLr::new(f64::NAN, 1, 0.1), "NaN");
    assert_refused(CosineAnnealing::new(0.1, 0, 0.0), "steps is 0");
    assert_refused(OneCycle::new(0.1, 0), "total_steps is 0");
    let options = OneCycleOptions { div_factor: 0.0, ..Default::default() };
    assert_refused(OneCycle::with_options(0.1, 5, options), "div_factor 0");
    let options = OneCycleOptions { pct_start: 1.5, ..Default::default() };
    assert_refused(OneCycle::with_options(0.1, 5, options), "pct_start 1.5");
    Ok(())
}
