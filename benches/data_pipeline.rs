//! Images a second through each stage of the input pipeline, at 64 x 64 from photos of 100 x 100:
//! `cargo bench --bench data_pipeline [-- FOLDER]`. Without a folder the photos are made up.

use image::{Rgb, RgbImage};
use kiln::Result;
use kiln::data::{Augment, DataLoader, Dataset, ImageSet, Images, Preprocessing};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: usize = 64;

fn main() -> Result<()> {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let folder = folder.map_or_else(photos, Ok)?;
    let start = Instant::now();
    let set = ImageSet::open(&folder)?.train;
    report("open, all files decoded", set.len(), start.elapsed());

    let preprocessing = Preprocessing::of(&set, SIZE, 3)?;
    for (name, how) in [("none", Augment::None), ("light", Augment::Light), ("strong", Augment::Strong)] {
        let images = Arc::new(Images::new(set.clone(), preprocessing.clone())?.augment(how, 1));
        let loader = DataLoader::new(images.clone(), 64)?.shuffle(1);
        for (epoch, what) in ["files, all threads", "cached, all threads"].into_iter().enumerate() {
            let start = Instant::now();
            let samples: usize =
                loader.epoch(epoch as u64).map(|batch| Ok(batch?.labels.len())).sum::<Result<_>>()?;
            report(&format!("{name}, {what}"), samples, start.elapsed());
        }
        let (mut input, start) = (vec![0.0; 3 * SIZE * SIZE], Instant::now());
        for index in 0..set.len() {
            images.sample_in(index, 2, &mut input)?;
        }
        report(&format!("{name}, cached, one thread"), set.len(), start.elapsed());
    }
    Ok(())
}

fn report(what: &str, images: usize, time: Duration) {
    println!("{what:<32} {:>9.0} images/s", images as f64 / time.as_secs_f64());
}

/// JPEG photos of smooth shapes in two classes.
fn photos() -> Result<PathBuf> {
    let root = std::env::temp_dir().join("kiln-data-pipeline");
    let failed = |error: std::io::Error| kiln::Error::io(&root, error);
    for index in 0..2000_u32 {
        let folder = root.join(["a", "b"][index as usize % 2]);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let wave = |place: u32, length: u32| 128.0 + 100.0 * (place as f32 / length as f32).sin();
        let photo = RgbImage::from_fn(100, 100, |x, y| {
            Rgb([wave(x + index, 9), wave(y + index, 14), wave(x + y, 5 + index % 7)]
                .map(|value| value as u8))
        });
        let path = folder.join(format!("{index}.jpg"));
        photo.save(&path).map_err(|error| kiln::Error::file(&path, error.to_string()))?;
    }
    Ok(root)
}
