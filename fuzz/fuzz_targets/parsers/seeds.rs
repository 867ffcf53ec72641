//! Files of every kind to begin with, written by Kiln itself or taken from the fixtures.

use super::{KINDS, Network, checkpoint};
use kiln::classical::recommend::{Als, Neighborhood, Ratings, Recommender};
use kiln::classical::table::{Estimator, Table, TableModel};
use kiln::classical::{Model, Target, registry};
use kiln::data::{Preprocessing, RgbImage};
use kiln::models::Architecture;
use kiln::nn::Params;
use kiln::optim::{Adam, AdamOptions, Optimizer};
use kiln::train::{EpochRecord, ImageClassifier, Precision, Settings, write_metrics};
use kiln::{Engine, Tensor};
use ndarray::Array2;
use serde_json::json;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// The largest seed, in bytes: large ones make every run slow.
const LARGEST: usize = 1 << 16;

/// Writes the corpus, unless it is there.
pub fn write() -> Result<(), Box<dyn Error>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = fuzz.join("corpus/parsers");
    if corpus.join("idx-0").exists() {
        return Ok(());
    }
    fs::create_dir_all(&corpus)?;
    let fixtures = fuzz.join("../assets/fixtures");
    for (kind, (name, _)) in KINDS.iter().enumerate() {
        let seeds = of(name, &fixtures)?;
        for (at, seed) in seeds.iter().filter(|seed| seed.len() < LARGEST).enumerate() {
            fs::write(corpus.join(format!("{name}-{at}")), [&[kind as u8], &seed[..]].concat())?;
        }
    }
    Ok(())
}

fn of(kind: &str, fixtures: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 2, 0, 1][..]].concat();
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..], &[0, 50, 100, 150]].concat();
    let folder = std::env::temp_dir().join(format!("kiln-seeds-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let path = folder.join(kind);
    let engine = Engine::cpu();
    let params = Params::new(&engine, 0);
    let network = Network::new(&params)?;
    Ok(match kind {
        "idx" => vec![[&[1], &labels[..]].concat(), [&[3], &images[..]].concat()],
        "idx-set" => vec![[&[labels.len() as u8], &labels[..], &images].concat()],
        "cifar" => {
            let record = |label: u8| [vec![label], vec![7 * label; 3072]].concat();
            let records = [record(0), record(1)].concat();
            vec![records.clone(), [b"cat\ndog\n", &records[..]].concat()]
        }
        "csv-images" => {
            let image = fixtures.join("images/palette.png").display().to_string();
            let lines = ["path,label,part".into(), format!("{image},a,train"), format!("{image},b,val")];
            vec![lines.join("\n").into(), lines[1..].join("\n").into()]
        }
        "image" => {
            let image = RgbImage::from_fn(9, 5, |x, y| [x as u8 * 20, y as u8 * 40, 128].into());
            let saved = ["png", "jpg", "gif", "webp", "bmp"].map(|extension| {
                let path = path.with_extension(extension);
                image.save(&path).map(|()| path)
            });
            let mut files = saved.into_iter().collect::<Result<Vec<_>, _>>()?;
            files.extend(["cmyk.jpg", "palette.png"].map(|name| fixtures.join("images").join(name)));
            read(files)?
        }
        "safetensors" | "weights" => {
            params.save(&path, Default::default())?;
            let more = fs::read_dir(fixtures.join("weights"))?.filter(|_| kind == "weights");
            let more = more.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
            read(more.into_iter().chain([path]))?
        }
        "pytorch" => {
            let files = fs::read_dir(fixtures.join("weights"))?;
            read(files.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?)?
        }
        "optimizer" => {
            let mut adam = Adam::new(&params, AdamOptions::default())?;
            let output = kiln::nn::Module::forward(&network, &Tensor::ones([1, 2], &engine)?)?;
            adam.step(output.sum(.., false)?.backward()?)?;
            adam.state_dict()?.save(&path)?;
            read([path])?
        }
        "checkpoint" => {
            checkpoint(&path)?;
            read([path])?
        }
        "settings" => {
            vec![serde_json::to_vec(&json!({"settings": Settings::new("photos"), "images": 1}))?]
        }
        "metrics" => {
            let record = EpochRecord {
                epoch: 1,
                train_loss: 2.5,
                train_accuracy: 0.5,
                val_loss: 2.0,
                val_accuracy: 0.25,
                learning_rate: 1e-3,
                seconds: 1.5,
                images_per_second: 100.0,
            };
            write_metrics(&path, &[record, record])?;
            read([path])?
        }
        "image-classifier" => {
            let architecture = Architecture { name: "lenet".into(), classes: 2, channels: 1, image_size: 12 };
            let plain = Preprocessing { channels: 1, size: 12, mean: vec![0.5], std: vec![0.25] };
            let classes = vec!["a".into(), "b".into()];
            let model = ImageClassifier::new(&engine, 0, architecture, classes, plain)?;
            model.save(&path, Precision::Int8)?;
            // Whole, and without its tensors, which the fuzzer passes more often.
            let mut head = kiln::io::StateDict::load(&path)?;
            head.tensors.clear();
            let header = path.with_extension("header");
            head.save(&header)?;
            read([path, header])?
        }
        "table" => vec![TABLE.into(), TABLE.replace(',', ";").into()],
        "model" => models()?,
        "recommender" => {
            let ratings = Ratings::new(&[(1, 10, 5.0), (1, 20, 1.0), (2, 10, 4.5), (3, 20, 5.0)])?;
            let (als, neighbours) = (path.with_extension("als"), path.with_extension("neighbours"));
            Als::params().factors(2).fit(&ratings)?.save(&als)?;
            Neighborhood::params().fit(&ratings)?.save(&neighbours)?;
            read([als, neighbours])?
        }
        _ => return Err(format!("no seeds of {kind}").into()),
    })
}

fn read(files: impl IntoIterator<Item = PathBuf>) -> std::io::Result<Vec<Vec<u8>>> {
    files.into_iter().map(fs::read).collect()
}

const TABLE: &str = "size,colour,price\n1.5,red,3\n2,blue,4\n,red,5\n4,\"light, blue\",NA\n";

/// A saved model of every estimator that learns from eight rows.
fn models() -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let x = Array2::from_shape_fn((8, 2), |(row, column)| ((row * 5 + column * 3) % 7) as f64);
    let (labels, values) = (vec![0i64, 1, 0, 1, 1, 0, 1, 0], vec![0.5, 1.0, 2.0, 1.5, 0.0, 3.0, 2.5, 1.0]);
    let none = || json!({});
    let mut models: Vec<kiln::Result<Box<dyn Model>>> = Vec::new();
    for entry in registry::classifiers() {
        models
            .push((entry.params)(none()).and_then(|p| Ok(p.fit_boxed(&x, &labels, None)? as Box<dyn Model>)));
    }
    for entry in registry::regressors() {
        models
            .push((entry.params)(none()).and_then(|p| Ok(p.fit_boxed(&x, &values, None)? as Box<dyn Model>)));
    }
    for entry in registry::clusterers() {
        models.push((entry.params)(none()).and_then(|p| Ok(p.fit_boxed(&x, None)? as Box<dyn Model>)));
    }
    for entry in registry::outlier_detectors() {
        models.push((entry.params)(none()).and_then(|p| Ok(p.fit_boxed(&x, None)? as Box<dyn Model>)));
    }
    for entry in registry::transformers() {
        let fit = |target| {
            (entry.params)(none()).and_then(|p| Ok(p.fit_boxed(&x, target, None)? as Box<dyn Model>))
        };
        models.push(fit(Target::classes(&labels)));
    }
    let saved = models.into_iter().flatten().map(|model| model.to_bytes());
    let mut saved = saved.collect::<kiln::Result<Vec<_>>>()?;
    let ridge = Estimator::by_name("ridge", false, none())?;
    let rows: String = TABLE.lines().take(4).map(|line| format!("{line}\n")).collect();
    saved.push(TableModel::fit(&Table::parse(rows.as_bytes(), "seed")?, "price", &ridge)?.to_bytes()?);
    Ok(saved)
}

/// A model's file with the header that its content should have.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let rest = bytes.get(16..).unwrap_or_default();
    [b"KILNMODL", &1u32.to_le_bytes()[..], &crc32fast::hash(rest).to_le_bytes(), rest].concat()
}
