//! That the training loop learns, that it goes on to the same bits, and what it does when it cannot.

use kiln::data::{Dataset, InMemory, Preprocessing};
use kiln::io::StateDict;
use kiln::models::{Architecture, Classifier};
use kiln::nn::{BatchNorm2d, Conv2d, Dropout, Linear, Module, Params};
use kiln::ops::Conv2dOptions;
use kiln::train::{
    EpochRecord, ImageClassifier, LearningRate, Precision, TrainOptions, Trainer, Watch, find_learning_rate,
    predict,
};
use kiln::{Engine, Error, Result, Tensor};
use std::path::PathBuf;
use std::sync::Arc;

/// Grey 8x8 images with a bright quadrant, which is the class, in noise.
fn quadrants(images: usize, seed: u64) -> Arc<dyn Dataset> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let labels: Vec<i32> = (0..images).map(|image| (image % 4) as i32).collect();
    let pixels: Vec<f32> = labels
        .iter()
        .flat_map(|label| (0..64).map(move |pixel| (label, pixel)))
        .map(|(&label, pixel)| {
            let quadrant = (pixel / 32) * 2 + (pixel % 8) / 4;
            2.0 * rng.f32() + if quadrant == label { 0.5 } else { 0.0 }
        })
        .collect();
    let classes = (0..4).map(|class| format!("quadrant {class}")).collect();
    Arc::new(InMemory::new(pixels, labels, &[1, 8, 8], classes).unwrap())
}

/// A convolution, batch norm and dropout: all that has a state of its own.
struct Net {
    conv: Conv2d,
    norm: BatchNorm2d,
    dropout: Dropout,
    fc: Linear,
}

impl Net {
    fn new(params: &Params) -> Result<Net> {
        Ok(Net {
            conv: Conv2d::new(
                params / "conv",
                1,
                6,
                [4, 4],
                Conv2dOptions { stride: [4, 4], ..Default::default() },
            )?,
            norm: BatchNorm2d::new(params / "norm", 6)?,
            dropout: Dropout::new(params, 0.2)?,
            fc: Linear::new(params / "fc", 24, 4)?,
        })
    }
}

impl Module for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.classify(&self.features(x)?)
    }
}

impl Classifier for Net {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        self.norm.forward(&self.conv.forward(images)?)?.relu()
    }

    fn classify(&self, features: &Tensor) -> Result<Tensor> {
        self.fc.forward(&self.dropout.forward(&features.flatten(1, -1)?)?)
    }

    fn head(&self) -> &'static str {
        "fc"
    }
}

/// Stops before update `at`, counted over the whole life of the watch, and keeps what it was told.
#[derive(Default)]
struct Log {
    updates: usize,
    stop_at: Option<usize>,
    notes: Vec<String>,
    best: Vec<u32>,
}

impl Watch for Log {
    fn epoch(&mut self, record: &EpochRecord, best: bool) -> Result<()> {
        self.best.extend(best.then_some(record.epoch));
        Ok(())
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }

    fn stopped(&mut self) -> bool {
        self.updates += 1;
        self.stop_at.is_some_and(|at| self.updates >= at)
    }
}

fn temporary(name: &str) -> PathBuf {
    super::folder(name).join("checkpoint.safetensors")
}

fn bits(params: &Params) -> Vec<(String, Vec<u8>)> {
    params.state_dict().unwrap().tensors.into_iter().map(|(name, tensor)| (name, tensor.bytes)).collect()
}

#[test]
fn a_network_learns_and_the_records_say_so() -> Result<()> {
    let params = Params::new(&Engine::cpu(), 1);
    let net = Net::new(&params)?;
    let options =
        TrainOptions { epochs: 6, batch_size: 20, lr: LearningRate::Is(0.05), ..Default::default() };
    let validation = quadrants(120, 9);
    let mut trainer = Trainer::new(&net, &params, quadrants(400, 2), validation.clone(), options)?;
    let mut log = Log::default();
    let history = trainer.run(&mut log)?;
    assert_eq!(history.iter().map(|record| record.epoch).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let last = &history[5];
    assert!(last.val_accuracy > 0.97, "{last:?}");
    assert!(last.train_loss < 0.7 * history[0].train_loss, "{history:?}");
    assert_eq!(trainer.learning_rates().len(), 6 * 20);
    // What the last record says is what the parameters do.
    let predictions = predict(&net, &params, &validation, 7)?;
    assert_eq!(predictions.accuracy(), last.val_accuracy);
    assert!((predictions.loss() - last.val_loss).abs() < 1e-6);
    let sums = predictions.probabilities.chunks(4).map(|row| row.iter().sum::<f32>());
    assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
    assert_eq!(log.best.first(), Some(&1));
    assert!(params.is_training());
    Ok(())
}

#[test]
fn a_run_that_was_stopped_ends_with_the_same_bits() -> Result<()> {
    let options = TrainOptions {
        epochs: 4,
        batch_size: 16,
        accumulate: 2,
        mixup: 0.3,
        cutmix: 1.0,
        ema: Some(0.9),
        freeze: 1,
        class_weights: Some(vec![1.0, 2.0, 0.5, 1.0]),
        ..Default::default()
    };
    let finish = |path: Option<&PathBuf>, stops: &[usize]| -> Result<_> {
        let options = TrainOptions { checkpoint: path.cloned(), ..options.clone() };
        for &stop in stops.iter().chain(&[usize::MAX]) {
            let params = Params::new(&Engine::cpu(), 3);
            let net = Net::new(&params)?;
            let mut trainer =
                Trainer::new(&net, &params, quadrants(100, 2), quadrants(20, 3), options.clone())?;
            if let Some(path) = path.filter(|path| path.exists()) {
                trainer.resume(path)?;
            }
            let mut log = Log { stop_at: Some(stop), ..Log::default() };
            let history = trainer.run(&mut log)?;
            if stop == usize::MAX {
                let judged: Vec<_> = history.iter().map(|r| (r.epoch, r.train_loss, r.val_loss)).collect();
                return Ok((bits(&params), judged, trainer.learning_rates().to_vec()));
            }
        }
        unreachable!("the last stop is the end")
    };
    let whole = finish(None, &[])?;
    // In the first epoch, at its end, at the end of the frozen part, in two later ones.
    let path = temporary("stopped");
    let stopped = finish(Some(&path), &[2, 2, 3, 1, 5, 2])?;
    assert!(whole == stopped, "{:?} {:?}", whole.1, stopped.1);
    Ok(())
}

#[test]
fn pieces_of_a_batch_make_the_same_update() -> Result<()> {
    let step = |accumulate: usize, batch_size: usize| -> Result<_> {
        let params = Params::new(&Engine::cpu(), 5);
        let architecture = Architecture { name: "lenet".into(), classes: 4, channels: 1, image_size: 28 };
        let net = architecture.build(&params)?;
        let mut rng = fastrand::Rng::with_seed(1);
        let pixels: Vec<f32> = (0..30 * 784).map(|_| rng.f32()).collect();
        let labels = (0..30).map(|image| image % 4).collect();
        let classes = (0..4).map(|class| class.to_string()).collect();
        let images: Arc<dyn Dataset> = Arc::new(InMemory::new(pixels, labels, &[1, 28, 28], classes)?);
        let options =
            TrainOptions { epochs: 1, batch_size, accumulate, clip_norm: Some(0.5), ..Default::default() };
        Trainer::new(&*net, &params, images.clone(), images, options)?.run(&mut ())?;
        params.named().iter().map(|(_, param)| param.get().to_vec::<f32>()).collect::<Result<Vec<_>>>()
    };
    let (whole, parts) = (step(1, 30)?, step(3, 10)?);
    for (whole, parts) in whole.iter().flatten().zip(parts.iter().flatten()) {
        // One update of AdamW moves a parameter by up to the learning rate, 4e-3.
        assert!((whole - parts).abs() < 2e-5, "{whole} {parts}");
    }
    Ok(())
}

#[test]
fn a_frozen_network_keeps_its_weights_and_statistics() -> Result<()> {
    let params = Params::new(&Engine::cpu(), 3);
    let net = Net::new(&params)?;
    let before = bits(&params);
    let options = TrainOptions { epochs: 3, freeze: 2, batch_size: 10, ..Default::default() };
    let mut trainer = Trainer::new(&net, &params, quadrants(40, 2), quadrants(20, 3), options)?;
    // After the 2 x 4 updates of the head.
    trainer.run(&mut Log { stop_at: Some(8), ..Log::default() })?;
    let changed = |after: &[(String, Vec<u8>)]| {
        let pairs = before.iter().zip(after).filter(|(old, new)| old != new);
        pairs.map(|(old, _)| old.0.clone()).collect::<Vec<_>>()
    };
    assert_eq!(changed(&bits(&params)), ["fc.bias", "fc.weight"]);
    trainer.run(&mut ())?;
    assert_eq!(changed(&bits(&params)).len(), before.len());
    Ok(())
}

#[test]
fn the_range_test_leaves_no_trace_and_finds_a_rate_that_learns() -> Result<()> {
    let params = Params::new(&Engine::cpu(), 1);
    let net = Net::new(&params)?;
    let before = bits(&params);
    let loader = kiln::data::DataLoader::new(quadrants(400, 2), 20)?.shuffle(1);
    let found = find_learning_rate(&net, &params, &loader, &Default::default())?;
    assert_eq!(bits(&params), before);
    assert!(found.points.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let options = TrainOptions { epochs: 6, batch_size: 20, lr: LearningRate::Auto, ..Default::default() };
    let mut log = Log::default();
    let history =
        Trainer::new(&net, &params, quadrants(400, 2), quadrants(120, 9), options)?.run(&mut log)?;
    assert!(history[5].val_accuracy > 0.95, "{history:?}");
    assert!(log.notes[0].contains("learning rate"), "{:?}", log.notes);
    Ok(())
}

#[test]
fn a_last_image_alone_is_left_for_the_next_epoch() -> Result<()> {
    // ResNet-18 makes a map of one pixel of an 8x8 image: batch norm cannot train on one of those.
    let params = Params::new(&Engine::cpu(), 1);
    let architecture = Architecture { name: "resnet18".into(), classes: 4, channels: 1, image_size: 8 };
    let net = architecture.build(&params)?;
    let options = TrainOptions { epochs: 1, batch_size: 4, ..Default::default() };
    let mut trainer = Trainer::new(&*net, &params, quadrants(9, 2), quadrants(4, 3), options)?;
    trainer.run(&mut ())?;
    assert_eq!((trainer.updates_per_epoch(), trainer.learning_rates().len()), (2, 2));
    Ok(())
}

#[test]
fn patience_ends_a_run_that_gets_no_better() -> Result<()> {
    let params = Params::new(&Engine::cpu(), 1);
    let net = Net::new(&params)?;
    // Without a learning rate to speak of, the first epoch stays the best but for chance.
    let options = TrainOptions {
        epochs: 50,
        batch_size: 40,
        lr: LearningRate::Is(1e-12),
        patience: Some(2),
        ..Default::default()
    };
    let mut log = Log::default();
    let history = Trainer::new(&net, &params, quadrants(40, 2), quadrants(20, 3), options)?.run(&mut log)?;
    let best = *log.best.last().unwrap();
    assert_eq!(history.len() as u32, best + 2);
    assert!(history.len() < 50);
    Ok(())
}

#[test]
fn what_cannot_work_is_an_error() -> Result<()> {
    let params = Params::new(&Engine::cpu(), 1);
    let net = Net::new(&params)?;
    let (train, validation) = (quadrants(40, 2), quadrants(20, 3));
    let refused = |options: TrainOptions, word: &str| {
        let error = Trainer::new(&net, &params, train.clone(), validation.clone(), options)
            .and_then(|mut trainer| trainer.run(&mut ()))
            .unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    };
    let options = TrainOptions { epochs: 1, batch_size: 10, ..Default::default() };
    refused(TrainOptions { epochs: 0, ..options.clone() }, "epochs");
    refused(TrainOptions { batch_size: 0, ..options.clone() }, "batch_size");
    refused(TrainOptions { freeze: 1, ..options.clone() }, "frozen");
    refused(TrainOptions { ema: Some(1.0), ..options.clone() }, "ema");
    refused(TrainOptions { mixup: f64::NAN, ..options.clone() }, "mixup");
    refused(TrainOptions { class_weights: Some(vec![1.0]), ..options.clone() }, "class_weights");
    refused(TrainOptions { label_smoothing: 2.0, ..options.clone() }, "smoothing");
    refused(TrainOptions { weight_decay: -1.0, ..options.clone() }, "weight decay");
    let wild = TrainOptions { lr: LearningRate::Is(1e30), clip_norm: None, epochs: 9, ..options.clone() };
    refused(wild, "learning rate");

    let other = Arc::new(InMemory::new(vec![0.0; 64], vec![0], &[1, 8, 8], vec!["one".into()])?);
    let error = Trainer::new(&net, &params, train.clone(), other, options.clone()).map(drop).unwrap_err();
    assert!(error.to_string().contains("classes"), "{error}");

    // Neither a file that is not there nor one that is something else changes the parameters.
    let mut trainer = Trainer::new(&net, &params, train.clone(), validation.clone(), options)?;
    let path = temporary("other");
    assert!(matches!(trainer.resume(&path), Err(Error::Io { .. })));
    params.save(&path, Default::default())?;
    let before = bits(&params);
    let error = trainer.resume(&path).unwrap_err();
    assert!(error.to_string().contains("checkpoint"), "{error}");
    assert_eq!(bits(&params), before);
    Ok(())
}

#[cfg(feature = "gpu")]
#[test]
fn out_of_memory_makes_smaller_pieces() -> Result<()> {
    use kiln::device::gpu::{GpuDevice, Selector};
    let open = || match GpuDevice::open(&Selector::Any) {
        Ok(device) => Ok(Some(Arc::new(device))),
        Err(Error::NoDevice { .. }) if std::env::var("KILN_REQUIRE_GPU").is_err() => Ok(None),
        Err(error) => Err(error),
    };
    // A device of its own for each run: buffers of an earlier one would be used again.
    let run = |device: Arc<GpuDevice>, limit: u64| -> Result<_> {
        let engine = Engine::with_devices(Some(device.clone()), "a test");
        device.limit_memory(limit);
        let params = Params::new(&engine, 3);
        let conv = Conv2d::new(
            &params / "conv",
            1,
            64,
            [3, 3],
            Conv2dOptions { padding: [1, 1], ..Default::default() },
        )?;
        let head = Linear::new(&params / "fc", 64, 4)?;
        struct Wide(Conv2d, Linear);
        impl Module for Wide {
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                self.classify(&self.features(x)?)
            }
        }
        impl Classifier for Wide {
            fn features(&self, x: &Tensor) -> Result<Tensor> {
                self.0.forward(x)?.relu()
            }
            fn classify(&self, x: &Tensor) -> Result<Tensor> {
                self.1.forward(&x.mean([2, 3], false)?)
            }
            fn head(&self) -> &'static str {
                "fc"
            }
        }
        let net = Wide(conv, head);
        let options = TrainOptions { epochs: 1, batch_size: 128, ..Default::default() };
        let mut log = Log::default();
        Trainer::new(&net, &params, quadrants(128, 2), quadrants(8, 3), options)?.run(&mut log)?;
        let mut values = params
            .named()
            .iter()
            .map(|(_, param)| param.get().to_vec::<f32>())
            .collect::<Result<Vec<_>>>()?;
        values.push(predict(&net, &params, &quadrants(512, 5), 512)?.probabilities);
        Ok((values, log.notes))
    };
    let (Some(first), Some(second)) = (open()?, open()?) else { return Ok(()) };
    let (whole, notes) = run(first, u64::MAX)?;
    assert!(notes.is_empty());
    // The convolution's output takes 2 MiB for all images.
    let (pieces, notes) = run(second, 3 << 19)?;
    assert!(notes.iter().any(|note| note.contains("out of memory")), "{notes:?}");
    for (whole, pieces) in whole.iter().flatten().zip(pieces.iter().flatten()) {
        assert!((whole - pieces).abs() < 1e-4, "{whole} {pieces}");
    }
    Ok(())
}

#[test]
fn mixed_precision_learns_as_much() -> Result<()> {
    let engines = [Engine::cpu()].into_iter().chain(Engine::new("gpu"));
    for engine in engines {
        let run = |amp: bool| {
            let params = Params::new(&engine, 1);
            let net = Net::new(&params)?;
            let lr = LearningRate::Is(0.05);
            let options =
                TrainOptions { epochs: 6, batch_size: 10, accumulate: 2, lr, amp, ..Default::default() };
            let mut trainer = Trainer::new(&net, &params, quadrants(400, 2), quadrants(120, 9), options)?;
            let history = trainer.run(&mut ())?;
            Ok::<_, Error>((history.last().unwrap().val_accuracy, history[0].train_loss))
        };
        let ((wide, wide_loss), (narrow, narrow_loss)) = (run(false)?, run(true)?);
        assert!(wide >= 0.95 && narrow >= wide - 0.03, "{engine:?}: {wide} {narrow}");
        // It did compute in half precision, and not far from single precision.
        assert!(wide_loss != narrow_loss && (wide_loss - narrow_loss).abs() < 0.05 * wide_loss);
    }
    Ok(())
}

#[test]
fn a_model_file_is_checked_before_anything_is_made_of_it() -> Result<()> {
    let architecture = Architecture { name: "lenet".into(), classes: 2, channels: 1, image_size: 28 };
    let preprocessing = Preprocessing { channels: 1, size: 28, mean: vec![0.5], std: vec![0.2] };
    let classes = vec!["a".to_string(), "b".to_string()];
    let make = |architecture: &Architecture, preprocessing: &Preprocessing| {
        ImageClassifier::new(&Engine::cpu(), 0, architecture.clone(), classes.clone(), preprocessing.clone())
    };
    let model = make(&architecture, &preprocessing)?;
    let path = temporary("hostile");
    model.save(&path, Precision::F32)?;
    ImageClassifier::load(&path, &Engine::cpu())?;
    for (key, from, to) in [
        // An input of 2^60 elements.
        ("preprocessing", "\"size\":28", "\"size\":1073741824"),
        ("preprocessing", "\"size\":28", "\"size\":32"),
        ("preprocessing", "[0.2]", "[0.0]"),
        ("preprocessing", "\"channels\":1", "\"channels\":3"),
        ("architecture", "\"image_size\":28", "\"image_size\":1073741824"),
        ("architecture", "\"classes\":2", "\"classes\":1099511627776"),
        ("architecture", "lenet", "lemon"),
        ("classes", "\"b\"", "\"b\",\"c\""),
    ] {
        let mut state = StateDict::load(&path)?;
        let text = state.metadata[key].replace(from, to);
        assert_ne!(text, state.metadata[key], "{from}");
        state.metadata.insert(key.into(), text);
        let changed = temporary("hostile-changed");
        state.save(&changed)?;
        let error = ImageClassifier::load(&changed, &Engine::cpu()).map(drop).unwrap_err();
        assert!(error.to_string().contains("checkpoint.safetensors"), "{error}");
    }
    Ok(())
}

/// Two samples, one of them with a label that is no class.
struct Mislabelled(Arc<dyn Dataset>, i32);

impl Dataset for Mislabelled {
    fn len(&self) -> usize {
        2
    }
    fn shape(&self) -> &[usize] {
        self.0.shape()
    }
    fn classes(&self) -> &[String] {
        self.0.classes()
    }
    fn sample(&self, index: usize, input: &mut [f32]) -> Result<i32> {
        self.0.sample(index, input)?;
        Ok(if index == 1 { self.1 } else { 0 })
    }
}

#[test]
fn labels_and_checkpoints_that_cannot_be_are_errors() -> Result<()> {
    let params = Params::new(&Engine::cpu(), 1);
    let net = Net::new(&params)?;
    for label in [-1, 4] {
        let images: Arc<dyn Dataset> = Arc::new(Mislabelled(quadrants(2, 1), label));
        let options = TrainOptions { epochs: 1, mixup: 0.2, ..Default::default() };
        let mut trainer = Trainer::new(&net, &params, images, quadrants(4, 3), options)?;
        let error = trainer.run(&mut ()).unwrap_err().to_string();
        assert!(error.contains(&format!("label is {label}")), "{error}");
    }
    // One epoch of five batches, which does not fit a run of two batches an epoch, or of a frozen start.
    let path = temporary("misfit");
    let options =
        TrainOptions { epochs: 1, batch_size: 8, checkpoint: Some(path.clone()), ..Default::default() };
    let trainer = |options| Trainer::new(&net, &params, quadrants(40, 2), quadrants(4, 3), options);
    trainer(options.clone())?.run(&mut ())?;
    let misfit = TrainOptions { epochs: 3, batch_size: 20, ..options.clone() };
    assert!(trainer(misfit)?.resume(&path).unwrap_err().to_string().contains("other epochs"));
    trainer(options)?.resume(&path)
}
