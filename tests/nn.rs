//! Layers, losses and parameters against values computed by hand or in `f64`.

use kiln::io::StateDict;
use kiln::nn::{
    AdaptiveAvgPool2d, AvgPool2d, BatchNorm1d, BatchNorm2d, BatchNorm3d, Conv1d, Conv2d, ConvTranspose2d,
    Dropout, Fan, Flatten, GELU, Init, LeakyReLU, Linear, MaxPool2d, Module, Param, Params, ReLU, Reduction,
    Sequential, SiLU, Sigmoid, Tanh, cross_entropy, mse_loss,
};
use kiln::ops::{Conv1dOptions, Conv2dOptions, ConvTranspose2dOptions, Pool2dOptions};
use kiln::{Engine, Error, IntoShape, Result, Tensor, no_grad};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn tensor(values: &[f32], shape: impl IntoShape, params: &Params) -> Tensor {
    Tensor::from_slice(values, shape, params.engine()).unwrap()
}

fn fresh() -> Params {
    Params::new(&Engine::cpu(), 11)
}

/// Numbers without a pattern, from -1 to 1.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97_531) >> 8) as f32;
    (0..n as u32).map(|i| value(i * i + i + 1) / (1 << 23) as f32 - 1.0).collect()
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let limit = tolerance * want.abs().max(1.0);
        assert!((f64::from(got) - want).abs() <= limit, "element {i}: {got} instead of {want}");
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
    let message = result.unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn values(params: &Params) -> BTreeMap<String, Vec<f32>> {
    let read = |(name, param): (String, Param)| (name, param.get().to_vec().unwrap());
    params.trainable().into_iter().map(read).collect()
}

#[test]
fn parameters_are_named_by_path() -> Result<()> {
    let params = fresh();
    Linear::new(&params / "fc1", 4, 3)?;
    let block = &params / "layers" / 0;
    BatchNorm2d::new(&block / "bn", 2)?;
    Linear::without_bias(&(&block / "fc"), 3, 2)?;
    let names = |params: &Params| params.named().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let below = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"];
    assert_eq!(names(&block)[..5], below);
    assert_eq!(names(&params)[1..3], ["fc1.bias", "layers.0.bn.weight"]);
    assert_eq!(names(&(&params / "layers"))[5..], ["0.fc.weight"]);
    assert!(names(&(&params / "lay")).is_empty());
    assert_eq!((params.count(), block.count(), block.trainable().len()), (15 + 10, 10, 3));
    assert_refused(Linear::new(&params / "fc1", 4, 3), "\"fc1.weight\"");
    assert_eq!(params.named().len(), 8);
    params.eval();
    assert!(!block.is_training());
    block.train();
    assert!(params.is_training());
    Ok(())
}

#[test]
fn values_are_set_with_their_shape_and_type() -> Result<()> {
    let params = fresh();
    let fc = Linear::new(&params, 2, 3)?;
    assert!(fc.weight.get().requires_grad() && fc.weight.is_trained());
    fc.weight.set(tensor(&noise(6, 0), [2, 3], &params).t()?)?;
    assert!(fc.weight.get().requires_grad() && fc.weight.get().layout().is_contiguous());
    assert_refused(
        fc.weight.set(tensor(&noise(6, 0), [2, 3], &params)),
        "weight is f32 [3, 2], not f32 [2, 3]",
    );
    assert_refused(fc.bias.unwrap().set(Tensor::from_slice(&[1i32; 3], 3, params.engine())?), "i32");
    assert_refused(fc.weight.set(Tensor::zeros([3, 2], &Engine::cpu())?), "another engine");
    Ok(())
}

#[test]
fn initial_values_depend_on_seed_and_path_alone() -> Result<()> {
    let engine = Engine::cpu();
    let build = |seed: u64, order: [&str; 2]| -> Result<_> {
        let params = Params::new(&engine, seed);
        for name in order {
            Linear::new(&params / name, 20, 30)?;
        }
        Ok(values(&params))
    };
    let (first, second) = (build(1, ["a", "b"])?, build(1, ["b", "a"])?);
    assert_eq!(first, second);
    assert_ne!(first["a.weight"], first["b.weight"]);
    assert_ne!(first["a.weight"], build(2, ["a", "b"])?["a.weight"]);
    Ok(())
}

#[test]
fn initial_values_have_their_distribution() -> Result<()> {
    let params = fresh();
    let measure = |name: &str, shape: &[usize], init: Init| -> Result<(f64, f64, f64)> {
        let values = params.parameter(name, shape, init)?.get().to_vec::<f32>()?;
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        Ok((mean, square.sqrt(), values.iter().fold(0.0, |m: f64, &v| m.max(f64::from(v).abs()))))
    };
    // Uniform within b of 0: standard deviation b / sqrt(3). 20,000 draws: within 3 %.
    let uniform = |name: &str, shape: &[usize], init: Init, bound: f64| -> Result<()> {
        let (mean, std, most) = measure(name, shape, init)?;
        assert!(mean.abs() < 0.03 * bound && (std * 3.0f64.sqrt() / bound - 1.0).abs() < 0.03, "{name}");
        assert!(most <= bound * 1.000001 && most > 0.99 * bound, "{name}");
        Ok(())
    };
    uniform("weight", &[50, 400], Init::weight(), 0.05)?;
    uniform("conv", &[50, 16, 5, 5], Init::weight(), 0.05)?;
    uniform("bias", &[20_000], Init::bias(400), 0.05)?;
    uniform("xavier", &[100, 200], Init::XavierUniform, 0.02f64.sqrt())?;
    uniform("relu", &[200, 100], Init::KaimingUniform { slope: 0.0, fan: Fan::Out }, 0.03f64.sqrt())?;
    let (mean, std, _) = measure("normal", &[20_000], Init::Normal { mean: 3.0, std: 0.5 })?;
    assert!((mean - 3.0).abs() < 0.02 && (std - 0.5).abs() < 0.015);
    let (_, std, _) = measure("he", &[100, 8, 5, 5], Init::KaimingNormal { slope: 0.0, fan: Fan::In })?;
    assert!((std / 0.1 - 1.0).abs() < 0.03);
    assert_eq!(measure("constant", &[3], Init::Constant(0.5))?, (0.5, 0.0, 0.5));
    assert_refused(params.parameter("flat", 3, Init::weight()), "two dimensions");
    let weight = &params.named()[0].1;
    weight.init(Init::Zeros)?;
    assert_eq!(weight.get().to_vec::<f32>()?, vec![0.0; 20_000]);
    Ok(())
}

#[test]
fn linear_and_convolution() -> Result<()> {
    let params = fresh();
    let fc = Linear::new(&params / "fc", 2, 3)?;
    fc.weight.set(tensor(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2], &params))?;
    fc.bias.as_ref().unwrap().set(tensor(&[0.5, 0.0, -1.0], 3, &params))?;
    let y = fc.forward(&tensor(&[1.0, -1.0, 2.0, 0.0], [2, 2], &params))?;
    assert_eq!(y.to_vec::<f32>()?, [-0.5, -1.0, -2.0, 2.5, 6.0, 9.0]);
    assert!(fc.forward(&tensor(&[1.0; 3], [1, 3], &params)).is_err());

    let options = Conv2dOptions { stride: [2, 1], padding: [1, 0], ..Default::default() };
    let conv = Conv2d::new(&params / "conv", 1, 1, [3, 2], options)?;
    conv.weight.set(Tensor::ones([1, 1, 3, 2], params.engine())?)?;
    conv.bias.as_ref().unwrap().set(tensor(&[0.5], 1, &params))?;
    let x = tensor(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], [1, 1, 3, 3], &params);
    assert_eq!(conv.forward(&x)?.to_vec::<f32>()?, [12.5, 16.5, 24.5, 28.5]);
    let grouped = Conv2dOptions { groups: 2, ..Default::default() };
    let depthwise = Conv2d::without_bias(&params / "depthwise", 2, 4, [1, 1], grouped)?;
    assert_eq!(depthwise.weight.get().dims(), [4, 1, 1, 1]);
    assert_refused(Conv2d::new(&params / "odd", 3, 4, [1, 1], grouped), "2 groups of 3 input");
    Ok(())
}

#[test]
fn layers_without_parameters() -> Result<()> {
    let params = fresh();
    let x = tensor(&[-2.0, -0.5, 0.0, 1.0], [1, 1, 2, 2], &params);
    let check = |module: &dyn Module, want: &[f64]| {
        assert_close(&module.forward(&x).unwrap().to_vec::<f32>().unwrap(), want, 1e-6);
    };
    check(&ReLU, &[0.0, 0.0, 0.0, 1.0]);
    check(&LeakyReLU(0.1), &[-0.2, -0.05, 0.0, 1.0]);
    check(&Sigmoid, &[0.119202922, 0.377540669, 0.5, 0.731058579]);
    check(&Tanh, &[-0.964027580, -0.462117157, 0.0, 0.761594156]);
    check(&GELU, &[-0.045500264, -0.154268770, 0.0, 0.841344746]);
    check(&SiLU, &[-0.238405844, -0.188770334, 0.0, 0.731058579]);
    check(&MaxPool2d(Pool2dOptions::new(2)), &[1.0]);
    check(&AvgPool2d(Pool2dOptions::new(2)), &[-0.375]);
    check(&AdaptiveAvgPool2d([1, 2]), &[-1.0, 0.25]);
    let scale = 3.0;
    let net = Sequential::new().add(Flatten).add(Tensor::relu).add(move |x: &Tensor| x.mul(scale));
    check(&net, &[0.0, 0.0, 0.0, 3.0]);
    assert_eq!(net.forward(&x)?.dims(), [1, 4]);
    check(&Sequential::new(), &[-2.0, -0.5, 0.0, 1.0]);
    Ok(())
}

#[test]
fn dropout_drops_in_training_only() -> Result<()> {
    let engine = Engine::cpu();
    let params = Params::new(&engine, 11);
    let layer = Dropout::new(&params, 0.25)?;
    let x = Tensor::ones(10_000, params.engine())?;
    let (first, second) = (layer.forward(&x)?.to_vec::<f32>()?, layer.forward(&x)?.to_vec::<f32>()?);
    assert_ne!(first, second);
    let dropped = first.iter().filter(|&&value| value == 0.0).count();
    assert!((2300..2700).contains(&dropped), "{dropped}");
    assert!(first.iter().all(|&value| value == 0.0 || (value - 4.0 / 3.0).abs() < 1e-6));
    let again = Dropout::new(Params::new(&engine, 11), 0.25)?;
    assert_eq!(again.forward(&x)?.to_vec::<f32>()?, first);
    params.eval();
    assert_eq!(layer.forward(&x)?.to_vec::<f32>()?, vec![1.0; 10_000]);
    assert_refused(Dropout::new(&params, 1.5), "1.5");
    assert_refused(Dropout::new(&params, f64::NAN), "NaN");
    Ok(())
}

/// Mean and biased variance by channel of `[n, c, s]`.
fn statistics(x: &[f64], [n, c, s]: [usize; 3]) -> Vec<(f64, f64)> {
    let channel = |k: usize| (0..n * s).map(move |i| x[(i / s * c + k) * s + i % s]);
    let mean = |k| channel(k).sum::<f64>() / (n * s) as f64;
    (0..c)
        .map(|k| (mean(k), channel(k).map(|v| (v - mean(k)).powi(2)).sum::<f64>() / (n * s) as f64))
        .collect()
}

/// The gradient of `(batch_norm(x) * upstream).sum()` for x, by the closed form.
fn norm_gradient(x: &[f64], upstream: &[f64], weight: &[f64], shape: [usize; 3]) -> Vec<f64> {
    let [n, c, s] = shape;
    let statistics = statistics(x, shape);
    let hat = |i: usize| (x[i] - statistics[i / s % c].0) / (statistics[i / s % c].1 + 1e-5).sqrt();
    let mean = |k: usize, f: &dyn Fn(usize) -> f64| {
        (0..n * s).map(|i| f((i / s * c + k) * s + i % s)).sum::<f64>() / (n * s) as f64
    };
    let means: Vec<(f64, f64)> =
        (0..c).map(|k| (mean(k, &|i| upstream[i]), mean(k, &|i| upstream[i] * hat(i)))).collect();
    (0..x.len())
        .map(|i| {
            let k = i / s % c;
            let scale = weight[k] / (statistics[k].1 + 1e-5).sqrt();
            scale * (upstream[i] - means[k].0 - hat(i) * means[k].1)
        })
        .collect()
}

#[test]
fn batch_norm_follows_its_batches() -> Result<()> {
    let params = fresh();
    let norm = BatchNorm2d { momentum: 0.3, ..BatchNorm2d::new(&params / "bn", 2)? };
    norm.weight.set(tensor(&[1.5, -0.5], 2, &params))?;
    norm.bias.set(tensor(&[0.25, 2.0], 2, &params))?;
    let (weight, bias) = ([1.5, -0.5], [0.25, 2.0]);
    let (mut mean, mut variance) = ([0.0; 2], [1.0; 2]);
    for step in 0..3 {
        let x: Vec<f32> = noise(3 * 2 * 4, step).iter().map(|v| v * 3.0 + 1.0).collect();
        let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let batch = statistics(&wide, [3, 2, 4]);
        let y = norm.forward(&tensor(&x, [3, 2, 2, 2], &params))?;
        let hat = |i: usize| (wide[i] - batch[i / 4 % 2].0) / (batch[i / 4 % 2].1 + 1e-5).sqrt();
        let want: Vec<f64> = (0..24).map(|i| hat(i) * weight[i / 4 % 2] + bias[i / 4 % 2]).collect();
        assert_close(&y.to_vec::<f32>()?, &want, 2e-6);
        for k in 0..2 {
            mean[k] = 0.7 * mean[k] + 0.3 * batch[k].0;
            variance[k] = 0.7 * variance[k] + 0.3 * batch[k].1 * 12.0 / 11.0;
        }
    }
    assert_close(&norm.running_mean.get().to_vec::<f32>()?, &mean, 1e-6);
    assert_close(&norm.running_var.get().to_vec::<f32>()?, &variance, 1e-6);
    assert_eq!(norm.num_batches_tracked.get().item()?, 3.0);

    params.eval();
    let x = noise(8, 9);
    let y = norm.forward(&tensor(&x, [1, 2, 2, 2], &params))?;
    let hat = |i: usize| (f64::from(x[i]) - mean[i / 4]) / (variance[i / 4] + 1e-5).sqrt();
    let want: Vec<f64> = (0..8).map(|i| hat(i) * weight[i / 4] + bias[i / 4]).collect();
    assert_close(&y.to_vec::<f32>()?, &want, 2e-6);
    assert_eq!(norm.num_batches_tracked.get().item()?, 3.0);
    assert_refused(norm.forward(&tensor(&x, [2, 4], &params)), "[N, C, H, W] with C = 2");
    params.train();
    assert_refused(norm.forward(&tensor(&[1.0, 2.0], [1, 2, 1, 1], &params)), "more than one value");
    assert!(norm.forward(&tensor(&[], [0, 2, 1, 1], &params)).is_err());
    Ok(())
}

#[test]
fn batch_norm_of_other_ranks_is_that_of_images() -> Result<()> {
    let x = noise(24, 5);
    let image = BatchNorm2d::new(fresh(), 2)?;
    let want = image.forward(&tensor(&x, [3, 2, 2, 2], &image.params))?.to_vec::<f32>()?;
    let sequence = BatchNorm1d::new(fresh(), 2)?;
    assert_eq!(sequence.forward(&tensor(&x, [3, 2, 4], &sequence.params))?.to_vec::<f32>()?, want);
    assert_eq!(sequence.running_var.get().to_vec::<f32>()?, image.running_var.get().to_vec::<f32>()?);
    let volume = BatchNorm3d::new(fresh(), 2)?;
    assert_eq!(volume.forward(&tensor(&x, [3, 2, 1, 4, 1], &volume.params))?.to_vec::<f32>()?, want);
    assert_refused(sequence.forward(&tensor(&x, [3, 2, 2, 2], &sequence.params)), "[N, C, L] with C = 2");
    assert_eq!(sequence.forward(&tensor(&x, [12, 2], &sequence.params))?.dims(), [12, 2]);
    Ok(())
}

#[test]
fn batch_norm_has_both_derivatives() -> Result<()> {
    let params = fresh();
    let norm = BatchNorm2d::new(&params, 2)?;
    norm.weight.set(tensor(&[1.5, -0.5], 2, &params))?;
    let (shape, weight) = ([3, 2, 2], [1.5, -0.5]);
    let (x, upstream) = (noise(12, 3), noise(12, 4));
    let leaf = tensor(&x, [3, 2, 2, 1], &params).variable()?;
    let y = norm.forward(&leaf)?.mul(&tensor(&upstream, [3, 2, 2, 1], &params))?.sum(.., false)?;
    let first = y.grad(&[&leaf])?.remove(0);
    let second = first.square()?.sum(.., false)?.grad(&[&leaf])?.remove(0);

    let wide: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    let upstream: Vec<f64> = upstream.iter().map(|&v| f64::from(v)).collect();
    assert_close(&first.to_vec::<f32>()?, &norm_gradient(&wide, &upstream, &weight, shape), 1e-5);
    let squares =
        |x: &[f64]| -> f64 { norm_gradient(x, &upstream, &weight, shape).iter().map(|g| g * g).sum() };
    let numeric: Vec<f64> = (0..12)
        .map(|i| {
            let moved = |by: f64| {
                let mut x = wide.clone();
                x[i] += by;
                squares(&x)
            };
            (moved(1e-5) - moved(-1e-5)) / 2e-5
        })
        .collect();
    assert_close(&second.to_vec::<f32>()?, &numeric, 1e-4);
    Ok(())
}

#[test]
fn statistics_hold_no_more_than_the_last_pass() -> Result<()> {
    let params = fresh();
    let norm = BatchNorm2d::new(&params, 4)?;
    let mut live = Vec::new();
    for step in 0..20 {
        let x = tensor(&noise(16 * 4 * 64, step), [16, 4, 8, 8], &params);
        norm.forward(&x)?;
        no_grad(|| norm.forward(&x))?;
        live.push(params.engine().memory().live);
    }
    assert_eq!(live[5], live[19]);
    Ok(())
}

#[test]
fn cross_entropy_and_its_mistakes() -> Result<()> {
    let params = fresh();
    let labels = |values: &[i32]| Tensor::from_slice(values, values.len(), params.engine()).unwrap();
    let logits = tensor(&[1.0, 2.0, 3.0, 0.0, 0.0, 0.0], [2, 3], &params).variable()?;
    let loss = cross_entropy(&logits, &labels(&[2, 0]))?;
    let rows = [[1.0f64, 2.0, 3.0], [0.0, 0.0, 0.0]];
    let sums = rows.map(|row| row.iter().map(|v| v.exp()).sum::<f64>());
    let want = ((sums[0].ln() - 3.0) + sums[1].ln()) / 2.0;
    assert!((loss.item()? - want).abs() < 1e-6);
    let gradient = loss.backward()?.get(&logits).unwrap().to_vec::<f32>()?;
    let share = |row: usize, k: usize| rows[row][k].exp() / sums[row] / 2.0;
    let want = [share(0, 0), share(0, 1), share(0, 2) - 0.5, share(1, 0) - 0.5, share(1, 1), share(1, 2)];
    assert_close(&gradient, &want, 1e-6);

    // Large logits neither overflow nor lose the small ones.
    let large = tensor(&[1000.0, -1000.0, 990.0], [1, 3], &params);
    assert!((cross_entropy(&large, &labels(&[1]))?.item()? - 2000.0000454).abs() < 1e-3);

    let refused = |labels: &Tensor, expected| assert_refused(cross_entropy(&logits, labels), expected);
    refused(&labels(&[0, 3]), "label 3 is out of range, expected 0 to 2");
    refused(&labels(&[-1, 0]), "label -1");
    refused(&labels(&[0]), "i32 [2]");
    refused(&tensor(&[0.0, 1.0], 2, &params), "f32 [2]");
    assert_refused(cross_entropy(&logits.flatten(0, -1)?, &labels(&[0, 1])), "[N, C]");
    assert_refused(cross_entropy(&tensor(&[], [0, 3], &params), &labels(&[])), "empty");
    Ok(())
}

#[test]
fn mean_squared_error() -> Result<()> {
    let params = fresh();
    let (x, y) = (tensor(&[1.0, 2.0, 4.0], 3, &params).variable()?, tensor(&[1.0, 0.0, 1.0], 3, &params));
    let loss = mse_loss(&x, &y, Reduction::Mean)?;
    assert_close(&[loss.item()? as f32], &[13.0 / 3.0], 1e-6);
    assert_close(&loss.backward()?.get(&x).unwrap().to_vec::<f32>()?, &[0.0, 4.0 / 3.0, 2.0], 1e-6);
    assert_refused(mse_loss(&x, &y.reshape([3, 1])?, Reduction::Mean), "[3] and [3, 1]");
    assert_refused(mse_loss(&tensor(&[], 0, &params), &tensor(&[], 0, &params), Reduction::Mean), "empty");
    Ok(())
}

fn network(params: &Params) -> Result<()> {
    Linear::new(params / "fc", 3, 2)?;
    BatchNorm2d::new(params / "bn", 2)?;
    Ok(())
}

#[test]
fn models_are_saved_and_loaded() -> Result<()> {
    let (saved, loaded, path) = (fresh(), Params::new(&Engine::cpu(), 99), file("model.safetensors"));
    network(&saved)?;
    network(&loaded)?;
    saved.named()[3].1.set(tensor(&[0.5, 0.25], 2, &saved))?;
    assert_ne!(saved.state_dict()?, loaded.state_dict()?);
    let metadata = BTreeMap::from([("classes".to_string(), "cat,dog".to_string())]);
    saved.save(&path, metadata.clone())?;
    assert_eq!(loaded.load(&path)?, metadata);
    assert_eq!(saved.state_dict()?, loaded.state_dict()?);
    assert!(loaded.trainable().iter().all(|(_, param)| param.get().requires_grad()));

    // A part of a model is saved under the names it has by itself.
    let part = (&saved / "fc").state_dict()?;
    assert_eq!(part.tensors.keys().collect::<Vec<_>>(), ["bias", "weight"]);
    (&loaded / "fc").load_state_dict(&part, "part")?;
    Ok(())
}

#[test]
fn what_does_not_fit_is_listed_and_changes_nothing() -> Result<()> {
    let params = fresh();
    network(&params)?;
    let before = params.state_dict()?;
    let mut state = before.clone();
    let weight = state.tensors.remove("fc.weight").unwrap();
    state.tensors.insert("fc.wieght".into(), weight.clone());
    state.tensors.remove("bn.running_var");
    let mut wrong = weight;
    wrong.shape = vec![6];
    state.tensors.insert("fc.bias".into(), wrong);
    let Err(Error::Keys { missing, unexpected, mismatched, path }) =
        params.load_state_dict(&state, "model.safetensors")
    else {
        panic!("expected an error about keys")
    };
    assert_eq!(missing, ["bn.running_var", "fc.weight"]);
    assert_eq!(unexpected, ["fc.wieght"]);
    assert_eq!(mismatched, ["fc.bias: file [6], model [2]"]);
    assert_eq!(path, Path::new("model.safetensors"));

    let mut state = StateDict::default();
    state.tensors.clone_from(&before.tensors);
    state.tensors.insert("fc.bias".into(), kiln::io::HostTensor::from_slice(&[2], &[1i32, 2])?);
    state.tensors.insert("bn.weight".into(), kiln::io::HostTensor::from_slice(&[2], &[7.0f32, 7.0])?);
    assert_refused(params.load_state_dict(&state, "m"), "\"fc.bias\" is i32, expected f32");
    assert_eq!(params.state_dict()?, before);
    Ok(())
}

#[test]
fn other_convolutions_have_pytorchs_shapes() -> Result<()> {
    let params = fresh();
    let x = Tensor::zeros([2, 4, 6], params.engine())?;
    let options = Conv1dOptions { groups: 2, padding: 1, ..Default::default() };
    assert_eq!(Conv1d::new(&params / "one", 4, 6, 3, options)?.forward(&x)?.dims(), [2, 6, 6]);
    let image = x.unsqueeze(2)?;
    let options = ConvTranspose2dOptions { stride: [2, 2], groups: 2, ..Default::default() };
    let layer = ConvTranspose2d::new(&params / "two", 4, 6, [3, 3], options)?;
    assert_eq!(layer.forward(&image)?.dims(), [2, 6, 3, 13]);
    let shapes: Vec<_> = params.named().into_iter().map(|(_, param)| param.get().dims().to_vec()).collect();
    assert_eq!(shapes, [vec![6, 2, 3], vec![6], vec![4, 3, 3, 3], vec![6]]);
    assert_refused(ConvTranspose2d::new(&params / "odd", 4, 5, [3, 3], options), "2 groups of 4 input");
    Ok(())
}
