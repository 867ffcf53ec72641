//! Training from end to end on MNIST, on every device; and the examples' answers to bad input.

use kiln::data::{DataLoader, Dataset, Mnist, Split, Subset};
use kiln::models::Cnn;
use kiln::nn::{Module, Params, loss};
use kiln::optim::{Adam, AdamOptions, Optimizer, Sgd, SgdOptions};
use kiln::{DType, Engine, Result, no_grad};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

fn main() {
    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    let mut trials = Vec::new();
    for name in ["cpu", "gpu"] {
        type Test = fn(&str) -> Result<(), Failed>;
        let tests: [(&str, Test); 3] =
            [("memory_stays_the_same", memory), ("same_seed_same_bits", same_bits), ("learns", learns)];
        let present = Engine::new(name).is_ok();
        for (test, run) in tests {
            let trial = Trial::test(format!("{name}/{test}"), move || run(name));
            trials.push(trial.with_ignored_flag(!present && !required));
        }
    }
    trials.push(Trial::test("examples/refuse_bad_input", refusals));
    trials.push(Trial::test("examples/train_then_predict", train_then_predict));
    trials.push(Trial::test("examples/tensors", || check(&example("tensors", &[]), 0, "times x: matmul")));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn images(count: usize) -> Result<Arc<dyn Dataset>> {
    Ok(Arc::new(Subset::take(Arc::new(Mnist::load(Split::Train, None)?), count)))
}

/// Software GPUs train as the real ones do, but slowly.
fn scale(device: &str, cpu: usize, gpu: usize) -> usize {
    if device == "cpu" { cpu } else { gpu }
}

/// Trains for some epochs; the losses, and the live memory after each epoch.
fn train(device: &str, count: usize, epochs: u64) -> Result<(Vec<u64>, Vec<u64>)> {
    let engine = Engine::new(device)?;
    let params = Params::new(&engine, 3);
    let model = Cnn::new(&params, 10)?;
    let mut optimizer = Sgd::new(&params, SgdOptions { lr: 0.02, momentum: 0.9, ..Default::default() })?;
    let loader = DataLoader::new(images(count)?, 16)?.shuffle(1);
    let (mut losses, mut live) = (Vec::new(), Vec::new());
    for epoch in 0..epochs {
        for batch in loader.epoch(epoch) {
            let (images, labels) = batch?.tensors(&engine)?;
            let loss = loss::cross_entropy(&model.forward(&images)?, &labels)?;
            optimizer.step(loss.backward()?)?;
            losses.push(loss.item()?.to_bits());
        }
        engine.synchronize()?;
        live.push(engine.memory().live);
    }
    Ok((losses, live))
}

fn memory(device: &str) -> Result<(), Failed> {
    let (_, live) = train(device, scale(device, 96, 32), 10)?;
    if live[1] != live[9] || live[1] == 0 {
        return Err(format!("live bytes after each epoch: {live:?}").into());
    }
    Ok(())
}

fn same_bits(device: &str) -> Result<(), Failed> {
    let count = scale(device, 320, 48);
    let (first, second) = (train(device, count, 2)?.0, train(device, count, 2)?.0);
    if first != second || first.first() == first.last() {
        return Err(format!("the losses of two runs: {first:?} and {second:?}").into());
    }
    Ok(())
}

fn learns(device: &str) -> Result<(), Failed> {
    let engine = Engine::new(device)?;
    let params = Params::new(&engine, 0);
    let model = Cnn::new(&params, 10)?;
    let mut optimizer = Adam::new(&params, AdamOptions { lr: 2e-3, ..Default::default() })?;
    for batch in DataLoader::new(images(scale(device, 3000, 800))?, 32)?.shuffle(0).epoch(0) {
        let (images, labels) = batch?.tensors(&engine)?;
        let loss = loss::cross_entropy(&model.forward(&images)?, &labels)?;
        optimizer.step(loss.backward()?)?;
    }
    let test: Arc<dyn Dataset> = Arc::new(Subset::take(Arc::new(Mnist::load(Split::Test, None)?), 300));
    let mut right = 0.0;
    for batch in DataLoader::new(test, 100)?.epoch(0) {
        let (images, labels) = batch?.tensors(&engine)?;
        let hits = no_grad(|| model.forward(&images)?.argmax(1, false)?.eq(&labels)?.cast(DType::F32));
        right += hits?.sum(.., false)?.item()?;
    }
    let wanted = if device == "cpu" { 0.9 } else { 0.75 };
    if right / 300.0 < wanted {
        return Err(format!("{right} of 300 right").into());
    }
    Ok(())
}

/// Runs an example that was built beside this test.
fn example(name: &str, arguments: &[&str]) -> Output {
    let folder = std::env::current_exe().expect("this test has a path");
    let folder = folder.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("examples");
    let program = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    let output = Command::new(&program).args(arguments).env("KILN_DEVICE", "cpu").output();
    output.unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// The exit code, and a text that the output must hold.
fn check(output: &Output, code: i32, text: &str) -> Result<(), Failed> {
    let all =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() != Some(code) || !all.contains(text) || all.contains("panicked") {
        return Err(
            format!("exit {:?}, expected {code} and {text:?} in:\n{all}", output.status.code()).into()
        );
    }
    Ok(())
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // It may not exist yet.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

fn refusals() -> Result<(), Failed> {
    let out = folder("refusals");
    let out = out.to_str().expect("the path is text");
    let mnist =
        |arguments: &[&str]| example("mnist", &[&["--out", out, "--epochs", "1"], arguments].concat());
    check(&mnist(&["--batch-size", "0"]), 1, "batch")?;
    check(&mnist(&["--limit", "0"]), 1, "--limit 0")?;
    check(&mnist(&["--epochs", "0"]), 2, "--epochs")?;
    check(&mnist(&["--device", "no such adapter"]), 1, "no such adapter")?;
    check(&mnist(&["--data", "/nowhere"]), 1, "/nowhere")?;
    let corrupt = folder("corrupt");
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/mnist");
    for file in std::fs::read_dir(assets)? {
        let file = file?;
        let mut bytes = std::fs::read(file.path())?;
        if file.file_name().to_string_lossy().starts_with("train-images") {
            bytes.truncate(bytes.len() / 2);
        }
        std::fs::write(corrupt.join(file.file_name()), bytes)?;
    }
    check(&mnist(&["--data", corrupt.to_str().expect("the path is text")]), 1, "train-images")?;
    let model = Path::new(out).join("broken.safetensors");
    std::fs::write(&model, b"not a model")?;
    let predict = ["--model", model.to_str().expect("the path is text"), "x.png"];
    check(&example("predict", &predict), 1, "broken.safetensors")
}

fn train_then_predict() -> Result<(), Failed> {
    let out = folder("train_then_predict");
    let path = |name: &str| out.join(name).to_str().expect("the path is text").to_string();
    let output =
        example("mnist", &["--out", &path(""), "--epochs", "2", "--limit", "1500", "--batch-size", "32"]);
    check(&output, 0, "test accuracy")?;
    for file in ["model.safetensors", "metrics.csv", "curves.svg", "samples/0_is_7.png"] {
        if std::fs::metadata(out.join(file))?.len() == 0 {
            return Err(format!("{file} is empty").into());
        }
    }
    let model = path("model.safetensors");
    check(&example("predict", &["--model", &model, &path("samples/0_is_7.png")]), 0, "0_is_7.png: 7 ")?;
    // One bad image fails the run, and the other is still classified.
    std::fs::write(out.join("bad.png"), b"no image")?;
    let output = example("predict", &["--model", &model, &path("bad.png"), &path("samples/0_is_7.png")]);
    check(&output, 1, "0_is_7.png: 7 ")?;
    check(&output, 1, "bad.png")
}
