//! From an image to numbers.

use crate::{folder, picture, png, write};
use image::imageops::{self, FilterType};
use image::{ImageFormat, Rgb, RgbImage};
use kiln::Result;
use kiln::data::{DataLoader, Dataset, ImageSet, Images, Preprocessing};
use std::sync::Arc;

fn plain(size: usize, channels: usize) -> Preprocessing {
    Preprocessing { channels, size, mean: vec![0.0; channels], std: vec![1.0; channels] }
}

#[test]
fn channels_become_normalised_planes() -> Result<()> {
    let image = RgbImage::from_fn(2, 2, |x, y| Rgb([255, 51 * x as u8, 102 * y as u8]));
    let preprocessing =
        Preprocessing { channels: 3, size: 2, mean: vec![0.5, 0.0, 0.2], std: vec![0.25, 1.0, 0.5] };
    let mut input = [0.0; 12];
    preprocessing.apply(&image, &mut input)?;
    let expected = [2.0, 2.0, 2.0, 2.0, 0.0, 0.2, 0.0, 0.2, -0.4, -0.4, 0.4, 0.4];
    assert!(input.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 1e-6), "{input:?}");

    // The luma of BT.709.
    let mut grey = [0.0; 4];
    plain(2, 1).apply(&RgbImage::from_pixel(2, 2, Rgb([100, 200, 50])), &mut grey)?;
    let expected = (0.2126 * 100.0 + 0.7152 * 200.0 + 0.0722 * 50.0) / 255.0;
    assert!(grey.iter().all(|value| (value - expected).abs() < 1.0 / 255.0), "{grey:?}");
    Ok(())
}

#[test]
fn shrinking_does_not_alias() -> Result<()> {
    // Stripes one pixel wide must become even grey, not stripes.
    let stripes = RgbImage::from_fn(256, 256, |x, _| Rgb([255 * (x % 2) as u8; 3]));
    let mut input = vec![0.0; 32 * 32];
    plain(32, 1).apply(&stripes, &mut input)?;
    assert!(input.iter().all(|value| (value - 0.5).abs() < 0.02), "{input:?}");
    Ok(())
}

#[test]
fn resizing_agrees_with_the_image_crate() -> Result<()> {
    let mut rng = fastrand::Rng::with_seed(3);
    for (width, height, size) in [(40, 27, 16), (9, 13, 16), (16, 100, 16), (1, 1, 4), (33, 2, 5)] {
        let image = RgbImage::from_fn(width, height, |_, _| Rgb([rng.u8(..), rng.u8(..), rng.u8(..)]));
        let expected = imageops::resize(&image, size, size, FilterType::Triangle);
        let mut input = vec![0.0; 3 * (size * size) as usize];
        plain(size as usize, 3).apply(&image, &mut input)?;
        for (x, y, pixel) in expected.enumerate_pixels() {
            for channel in 0..3 {
                let value = 255.0 * input[(channel * size * size + y * size + x) as usize];
                let expected = f32::from(pixel.0[channel as usize]);
                assert!((value - expected).abs() < 1.01, "{value} and {expected} of {width}x{height}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() {
    let image = picture(4, 4, 1);
    let fails = |preprocessing: Preprocessing, elements: usize, expected: &str| {
        let text = preprocessing.apply(&image, &mut vec![0.0; elements]).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    };
    let nothing = plain(4, 3).apply(&RgbImage::new(0, 4), &mut [0.0; 48]).unwrap_err();
    assert!(nothing.to_string().contains("an image without pixels"), "{nothing}");
    fails(plain(4, 2), 32, "2 channels");
    fails(plain(0, 1), 0, "0x0 pixels");
    fails(plain(5000, 1), 1, "5000x5000 pixels");
    fails(plain(4, 3), 47, "room for 47 elements, an image has 48");
    fails(Preprocessing { mean: vec![0.0; 2], ..plain(4, 3) }, 48, "2 means and 3 standard deviations");
    fails(Preprocessing { std: vec![0.0], ..plain(4, 1) }, 16, "standard deviations [0.0]");
    fails(Preprocessing { mean: vec![f32::NAN], ..plain(4, 1) }, 16, "means [NaN]");
}

#[test]
fn mean_and_deviation_are_measured_and_saved() -> Result<()> {
    let root = folder("measured");
    // Half of the values of each channel are one number and half another one.
    for (class, pixel) in [("a", [0, 100, 60]), ("b", [255, 100, 180])] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        RgbImage::from_pixel(8, 8, Rgb(pixel)).write_to(&mut bytes, ImageFormat::Png).unwrap();
        write(root.join(class).join("1.png"), bytes.get_ref());
    }
    let set = ImageSet::open(&root)?.train;
    let measured = Preprocessing::of(&set, 4, 3)?;
    let close = |values: &[f32], expected: [f32; 3]| {
        values.iter().zip(expected).all(|(value, expected)| (value - expected / 255.0).abs() < 1e-5)
    };
    assert!(close(&measured.mean, [127.5, 100.0, 120.0]), "{measured:?}");
    // A channel that is always the same is left as it is.
    assert!(close(&measured.std, [127.5, 255.0, 60.0]), "{measured:?}");
    let json = serde_json::to_string(&measured).unwrap();
    assert_eq!(serde_json::from_str::<Preprocessing>(&json).unwrap(), measured);
    Ok(())
}

#[test]
fn a_loader_reads_images() -> Result<()> {
    let root = folder("loader");
    for tone in 0..5 {
        png(root.join(["a", "b"][usize::from(tone) % 2]).join(format!("{tone}.png")), 10 * tone);
    }
    let set = ImageSet::open(&root)?.train;
    let preprocessing = Preprocessing::of(&set, 8, 3)?;
    let images = Images::new(set.clone(), preprocessing.clone())?;
    assert_eq!((images.len(), images.shape(), images.classes()), (5, &[3, 8, 8][..], set.classes()));
    let batches: Vec<_> = DataLoader::new(Arc::new(images), 3)?.epoch(0).collect::<Result<_>>()?;
    let labels: Vec<_> = batches.iter().flat_map(|batch| &batch.labels).copied().collect();
    assert_eq!(labels, [0, 0, 0, 1, 1]);
    let mut expected = vec![0.0; 192];
    preprocessing.apply(&set.decode(3)?, &mut expected)?;
    assert_eq!(batches[1].inputs[..192], expected);
    Ok(())
}
