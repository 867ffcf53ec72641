//! Every file format that Kiln reads; the first byte says which.
#![no_main]

mod seeds;

use kiln::classical::recommend::{Als, BiasedFactorization, Neighborhood, Recommender};
use kiln::classical::reinforcement::QTable;
use kiln::classical::table::{Table, TableModel};
use kiln::classical::{Boxed, Classifier, Clusterer, OutlierDetector, Regressor, Saved, Transformer};
use kiln::data::{IdxArray, ImageSet, InMemory, Preprocessing, RgbImage, decode_bytes};
use kiln::io::{StateDict, load_weights};
use kiln::models::{Classifier as _, load_pretrained};
use kiln::nn::{Linear, Module, Params};
use kiln::optim::{Adam, AdamOptions, Optimizer};
use kiln::train::{ImageClassifier, Settings, TrainOptions, Trainer, read_metrics};
use kiln::{Engine, Result, Tensor};
use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file is read as. Seeds are named so too.
const KINDS: [(&str, fn(&[u8])); 16] = [
    ("idx", idx),
    ("idx-set", idx_set),
    ("cifar", cifar),
    ("csv-images", |bytes| images("images.csv", bytes)),
    ("image", image),
    ("safetensors", |bytes| drop(StateDict::read(bytes, bytes.len() as u64, Path::new("fuzzed")))),
    ("pytorch", |bytes| drop(StateDict::read_pytorch(bytes, Path::new("fuzzed")))),
    ("weights", weights),
    ("optimizer", optimizer),
    ("checkpoint", |bytes| drop(checkpoint(&write("checkpoint.safetensors", bytes)))),
    ("settings", |bytes| drop(Settings::load(write("settings.json", bytes).with_file_name("")))),
    ("metrics", |bytes| drop(read_metrics(&write("metrics.csv", bytes)))),
    ("image-classifier", image_classifier),
    ("table", table),
    ("model", model),
    ("recommender", recommender),
];

fuzz_target!(
    init: {
        // A decoder's panic is caught by the library; all others still end the fuzzer.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
        seeds::write().expect("seeds");
    },
    |bytes: &[u8]| {
        let Some((&kind, bytes)) = bytes.split_first() else { return };
        KINDS[usize::from(kind) % KINDS.len()].1(bytes);
    }
);

/// A file of this name with these bytes, in a folder of this process and of the files beside it.
fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("kiln-fuzz-{}", std::process::id())).join(name);
    let folder = path.parent().expect("a folder");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, bytes))
        .expect("a file can be written");
    path
}

fn idx(bytes: &[u8]) {
    let Some((&rank, bytes)) = bytes.split_first() else { return };
    if let Ok(array) = IdxArray::read(bytes, usize::from(rank % 5), Path::new("fuzzed")) {
        assert_eq!(array.data.len(), array.dims.iter().product::<usize>());
    }
}

/// A file of labels, as long as the first byte says, and one of images.
fn idx_set(bytes: &[u8]) {
    let Some((&labels, bytes)) = bytes.split_first() else { return };
    let (labels, bytes) = bytes.split_at(bytes.len().min(labels.into()));
    write("idx/train-labels-idx1-ubyte", labels);
    images("idx/train-images-idx3-ubyte", bytes);
}

/// Records, and before them the names of classes where that is not a whole number of records.
fn cifar(bytes: &[u8]) {
    let (names, records) = bytes.split_at(bytes.len() % 3073);
    let folder = write("cifar/batches.meta.txt", names).with_file_name("");
    write("cifar/data_batch_1.bin", records);
    open(&folder);
    images("data.bin", bytes);
}

fn images(name: &str, bytes: &[u8]) {
    open(&write(name, bytes));
}

fn open(path: &Path) {
    let Ok(opened) = ImageSet::open(path) else { return };
    let set = opened.train;
    assert!(set.classes().len() > 1);
    assert_eq!(set.counts().iter().sum::<usize>(), set.len());
    let _ = set.decode(set.len() - 1);
    if let Ok((train, held_out)) = set.split(0.5, 0) {
        assert_eq!(train.len() + held_out.len(), set.len());
    }
}

fn image(bytes: &[u8]) {
    if let Ok(image) = decode_bytes(bytes, Path::new("fuzzed")) {
        assert!(image.width() > 0 && image.height() > 0);
        let plain = Preprocessing { channels: 3, size: 8, mean: vec![0.0; 3], std: vec![1.0; 3] };
        plain.apply(&image, &mut [0.0; 3 * 8 * 8]).expect("an image fits");
    }
}

/// A linear layer, the network of what is read below.
struct Network(Linear);

impl Network {
    fn new(params: &Params) -> Result<Network> {
        Ok(Network(Linear::new(params / "fc", 2, 2)?))
    }
}

impl Module for Network {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.classify(&self.features(x)?)
    }
}

impl kiln::models::Classifier for Network {
    fn features(&self, images: &Tensor) -> Result<Tensor> {
        images.flatten(1, -1)
    }

    fn classify(&self, features: &Tensor) -> Result<Tensor> {
        self.0.forward(features)
    }

    fn head(&self) -> &'static str {
        "fc"
    }
}

fn weights(bytes: &[u8]) {
    let path = write("weights", bytes);
    let Ok(state) = load_weights(&path) else { return };
    let params = Params::new(&Engine::cpu(), 0);
    let network = Network::new(&params).expect("a network");
    let _ = params.load_state_dict(&state, &path);
    if load_pretrained(&params, &network, &state, &path).is_ok() {
        assert!(params.state_dict().is_ok());
    }
}

fn optimizer(bytes: &[u8]) {
    let path = Path::new("fuzzed");
    let Ok(state) = StateDict::read(bytes, bytes.len() as u64, path) else { return };
    let params = Params::new(&Engine::cpu(), 0);
    let _network = Network::new(&params).expect("a network");
    let mut adam = Adam::new(&params, AdamOptions::default()).expect("an optimiser");
    if adam.load_state_dict(&state, path).is_ok() {
        assert!(adam.state_dict().is_ok());
    }
}

/// Goes on with a run from a checkpoint; without one, makes it.
fn checkpoint(path: &Path) -> Result<()> {
    let params = Params::new(&Engine::cpu(), 0);
    let network = Network::new(&params)?;
    let classes = vec!["0".into(), "1".into()];
    let images = Arc::new(InMemory::new(vec![0.0f32, 1.0, 2.0, 3.0], vec![0, 1], &[1, 1, 2], classes)?);
    let options = TrainOptions {
        epochs: 1,
        batch_size: 1,
        ema: Some(0.5),
        checkpoint: Some(path.into()),
        ..TrainOptions::default()
    };
    let mut trainer = Trainer::new(&network, &params, images.clone(), images, options)?;
    if path.exists() {
        trainer.resume(path)?;
    }
    trainer.run(&mut ()).map(drop)
}

fn image_classifier(bytes: &[u8]) {
    let Ok(model) = ImageClassifier::load(write("model.safetensors", bytes), &Engine::cpu()) else { return };
    if model.preprocessing().size <= 32 {
        let _ = model.predict(&[RgbImage::new(3, 2)]);
    }
}

fn table(bytes: &[u8]) {
    let Ok(table) = Table::parse(bytes, "fuzzed") else { return };
    for column in table.columns() {
        let _ = table.target(&column.name);
    }
    assert!(table.take(&[0, table.rows() - 1]).is_ok());
}

/// A saved model, of whatever estimator it names. The header is mended: a checksum keeps damage out, and the
/// fuzzer with it.
fn model(bytes: &[u8]) {
    let bytes = seeds::sealed(bytes);
    let _ = Boxed::<dyn Classifier>::from_bytes(&bytes);
    let _ = Boxed::<dyn Regressor>::from_bytes(&bytes);
    let _ = Boxed::<dyn Clusterer>::from_bytes(&bytes);
    let _ = Boxed::<dyn OutlierDetector>::from_bytes(&bytes);
    let _ = Boxed::<dyn Transformer>::from_bytes(&bytes);
    let _ = TableModel::from_bytes(&bytes);
}

/// As [`model`], for those that are not in the registry.
fn recommender(bytes: &[u8]) {
    let path = write("recommender", &seeds::sealed(bytes));
    let _ = QTable::load(&path);
    let _ = Als::load(&path);
    let _ = BiasedFactorization::load(&path);
    let _ = Neighborhood::load(&path);
}
