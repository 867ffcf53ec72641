//! Trains a small CNN on MNIST.
//!
//!     cargo run --release --example mnist
//!
//! Writes the model, its curves, the figures behind them and a few test digits to `runs/mnist`.
//! Ctrl-C ends the training early and still writes all of it.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use kiln::data::{DataLoader, Dataset, Mnist, Split, Subset, image};
use kiln::models::Cnn;
use kiln::nn::{Module, Params, loss};
use kiln::optim::{Adam, AdamOptions, OneCycle, Optimizer, Schedule};
use kiln::{DType, Engine, no_grad};
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Train a small convolutional network on MNIST.
#[derive(Parser)]
struct Options {
    /// auto, cpu, gpu, or a part of an adapter's name or its number [default: $KILN_DEVICE, or auto]
    #[arg(long)]
    device: Option<String>,
    /// Passes over the training images
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Images per step
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Seed of the weights and of the order of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the results
    #[arg(long, default_value = "runs/mnist")]
    out: PathBuf,
    /// Train on the first N images only (and test on half as many), for slow devices
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Folder that holds the four IDX files, instead of the copy in assets/
    #[arg(long)]
    data: Option<PathBuf>,
}

/// What one epoch came to.
struct Record {
    loss: f64,
    accuracy: f64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.limit != Some(0), "--limit 0 leaves no images to train on");
    let engine = match &options.device {
        Some(name) => Engine::new(name)?,
        None => Engine::from_env()?,
    };
    println!("device: {} ({})", engine.name(), engine.reason());

    let mut train: Arc<dyn Dataset> = Arc::new(Mnist::load(Split::Train, options.data.as_deref())?);
    let mut test: Arc<dyn Dataset> = Arc::new(Mnist::load(Split::Test, options.data.as_deref())?);
    if let Some(limit) = options.limit {
        train = Arc::new(Subset::take(train, limit));
        test = Arc::new(Subset::take(test, limit.div_ceil(2)));
    }
    let loader = DataLoader::new(train.clone(), options.batch_size)?.shuffle(options.seed);
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("cannot make the folder {}", options.out.display()))?;

    let params = Params::new(&engine, options.seed);
    let model = Cnn::new(&params, train.classes().len())?;
    let steps = loader.len() * options.epochs as usize;
    let schedule = OneCycle::new(5e-3, steps)?;
    let mut optimizer = Adam::new(&params, AdamOptions::default())?;
    println!(
        "model: {} parameters; {} training and {} test images; {} epochs of {} steps",
        params.count(),
        train.len(),
        test.len(),
        options.epochs,
        loader.len()
    );

    let stopped = Arc::new(AtomicBool::new(false));
    let flag = stopped.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("cannot watch for Ctrl-C")?;

    let started = Instant::now();
    let bar = progress(train.len() as u64 * u64::from(options.epochs));
    let mut records: Vec<Record> = Vec::new();
    let mut step = 0;
    'epochs: for epoch in 1..=options.epochs {
        params.train();
        let mut total = 0.0;
        for batch in loader.epoch(u64::from(epoch)) {
            let (images, labels) = batch?.tensors(&engine)?;
            optimizer.set_learning_rate(schedule.lr_at(step));
            let loss = loss::cross_entropy(&model.forward(&images)?, &labels)?;
            optimizer.step(loss.backward()?)?;
            let value = loss.item()?;
            ensure!(value.is_finite(), "the loss became {value} at step {step}");
            if step == 0 {
                let seconds = started.elapsed().as_secs_f64();
                say(&bar, &format!("first step, shader compilation included: {seconds:.2} s"));
            }
            step += 1;
            total += value;
            bar.inc(labels.elements() as u64);
            bar.set_message(format!("epoch {epoch}, loss {value:.4}"));
            if stopped.load(Ordering::Relaxed) {
                say(&bar, "stopped; saving what has been learned");
                break 'epochs;
            }
        }
        let record = Record {
            loss: total / loader.len() as f64,
            accuracy: accuracy(&model, &params, &test, options.batch_size)?,
        };
        let (loss, accuracy, seconds) =
            (record.loss, 100.0 * record.accuracy, started.elapsed().as_secs_f64());
        say(
            &bar,
            &format!("epoch {epoch}: training loss {loss:.4}, test accuracy {accuracy:.2} %, {seconds:.1} s"),
        );
        records.push(record);
    }
    bar.finish_and_clear();

    let metadata = BTreeMap::from([
        ("architecture".to_string(), "cnn".to_string()),
        ("classes".to_string(), serde_json::to_string(train.classes())?),
        ("input".to_string(), "1x28x28, white on black, 0 to 1".to_string()),
    ]);
    params.save(options.out.join("model.safetensors"), metadata)?;
    write_records(&options.out.join("metrics.csv"), &records)?;
    write_samples(&options.out.join("samples"), &*test)?;
    if !records.is_empty() {
        draw(&options.out.join("curves.svg"), &records)?;
    }
    println!("{:.0} s; results in {}", started.elapsed().as_secs_f64(), options.out.display());
    Ok(())
}

/// A line above the bar, or a plain one where there is no terminal and so no bar.
fn say(bar: &ProgressBar, line: &str) {
    if bar.is_hidden() { println!("{line}") } else { bar.println(line) }
}

fn progress(images: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len}, {rate}, {eta} left, {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, text: &mut dyn Write| {
            // The only error is that of the bar's own line, which has nowhere else to go.
            let _ = write!(text, "{:.0} images/s", state.per_sec());
        });
    ProgressBar::new(images).with_style(style)
}

/// The share of images whose highest logit is that of their label.
fn accuracy(model: &Cnn, params: &Params, test: &Arc<dyn Dataset>, batch_size: usize) -> Result<f64> {
    params.eval();
    let mut right = 0.0;
    for batch in DataLoader::new(test.clone(), batch_size.max(250))?.epoch(0) {
        let (images, labels) = batch?.tensors(params.engine())?;
        let hits = no_grad(|| model.forward(&images)?.argmax(1, false)?.eq(&labels)?.cast(DType::F32))?;
        right += hits.sum(.., false)?.item()?;
    }
    Ok(right / test.len() as f64)
}

fn write_records(path: &Path, records: &[Record]) -> Result<()> {
    let mut text = String::from("epoch,training_loss,test_accuracy\n");
    for (epoch, record) in (1..).zip(records) {
        writeln!(text, "{epoch},{},{}", record.loss, record.accuracy)?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Ten test digits as PNG files, for the `predict` example.
fn write_samples(folder: &Path, test: &dyn Dataset) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut pixels = vec![0.0; test.shape().iter().product()];
    for index in 0..test.len().min(10) {
        let label = test.sample(index, &mut pixels)?;
        image::save_gray(folder.join(format!("{index}_is_{label}.png")), &pixels, 28, 28)?;
    }
    Ok(())
}

/// Loss on the left axis, accuracy on the right.
fn draw(path: &Path, records: &[Record]) -> Result<()> {
    let root = SVGBackend::new(path, (720, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let epochs = 0.9..records.len() as f64 + 0.1;
    let top = 1.1 * records.iter().map(|record| record.loss).fold(0.01, f64::max);
    let low = 100.0 * records.iter().map(|record| record.accuracy).fold(0.99, f64::min) - 0.5;
    let mut chart = ChartBuilder::on(&root)
        .caption("MNIST", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .right_y_label_area_size(56)
        .build_cartesian_2d(epochs.clone(), 0.0..top)?
        .set_secondary_coord(epochs, low..100.0);
    chart.configure_mesh().x_desc("epoch").y_desc("training loss").x_labels(records.len().min(12)).draw()?;
    chart.configure_secondary_axes().y_desc("test accuracy, %").draw()?;
    let points = |value: fn(&Record) -> f64| (1..).map(f64::from).zip(records.iter().map(value));
    chart
        .draw_series(LineSeries::new(points(|record| record.loss), BLUE.stroke_width(2)).point_size(3))?
        .label("training loss")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLUE));
    chart
        .draw_secondary_series(
            LineSeries::new(points(|r| 100.0 * r.accuracy), RED.stroke_width(2)).point_size(3),
        )?
        .label("test accuracy")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], RED));
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    root.present()?;
    Ok(())
}
