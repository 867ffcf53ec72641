//! Random variants of images, against plain references.

use crate::{folder, picture, png};
use image::{Rgb, RgbImage};
use kiln::Result;
use kiln::data::{
    Augment, Augmentation, DataLoader, Dataset, ImageSet, Images, Operation, Preprocessing, RandAugment,
    RandomCrop, RandomErasing,
};
use std::collections::HashSet;
use std::sync::Arc;

fn plain(size: usize) -> Preprocessing {
    Preprocessing { channels: 3, size, mean: vec![0.0; 3], std: vec![1.0; 3] }
}

fn nothing() -> Augmentation {
    Augmentation::default()
}

/// What `augmentation` makes of `image` at its own size, in units of 255: planes.
fn apply(augmentation: &Augmentation, image: &RgbImage, seed: u64) -> Vec<f32> {
    let size = image.width() as usize;
    let mut input = vec![0.0; 3 * size * size];
    augmentation.apply(image, &plain(size), seed, &mut input).unwrap();
    input.iter().map(|value| value * 255.0).collect()
}

/// The planes whose pixel at `(x, y)` is `pixel(x, y)`.
fn planes(size: u32, pixel: impl Fn(u32, u32) -> [f32; 3]) -> Vec<f32> {
    let places = (0..size * size).map(|i| (i % size, i / size));
    (0..3).flat_map(|channel| places.clone().map(|(x, y)| pixel(x, y)[channel]).collect::<Vec<_>>()).collect()
}

fn at(image: &RgbImage, x: u32, y: u32) -> [f32; 3] {
    image.get_pixel(x, y).0.map(f32::from)
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "differs by {worst}");
}

/// Noise without symmetry.
fn noise(size: u32) -> RgbImage {
    let mut rng = fastrand::Rng::with_seed(5);
    RgbImage::from_fn(size, size, |_, _| Rgb([rng.u8(..), rng.u8(..), rng.u8(..)]))
}

#[test]
fn no_transform_is_the_preprocessing() {
    for size in [1, 7, 8] {
        let image = noise(size);
        assert_close(&apply(&nothing(), &image, 3), &planes(size, |x, y| at(&image, x, y)), 1e-4);
    }
}

#[test]
fn flips_and_right_angles_move_pixels_exactly() {
    for size in [6, 7] {
        let (image, last) = (noise(size), size - 1);
        let check = |augmentation: Augmentation, place: fn(u32, u32, u32) -> (u32, u32)| {
            let expected = planes(size, |x, y| {
                let (x, y) = place(x, y, last);
                at(&image, x, y)
            });
            assert_close(&apply(&augmentation, &image, 1), &expected, 0.01);
        };
        check(Augmentation { horizontal_flip: 1.0, ..nothing() }, |x, y, last| (last - x, y));
        check(Augmentation { vertical_flip: 1.0, ..nothing() }, |x, y, last| (x, last - y));
        // Clockwise: what was at the left comes to the top.
        check(Augmentation { rotate: [90.0; 2], ..nothing() }, |x, y, last| (y, last - x));
        check(Augmentation { rotate: [180.0; 2], ..nothing() }, |x, y, last| (last - x, last - y));
        check(Augmentation { rotate: [-90.0; 2], ..nothing() }, |x, y, last| (last - y, x));
        // A mirror and half a turn are the other mirror.
        let both = Augmentation { horizontal_flip: 1.0, rotate: [180.0; 2], ..nothing() };
        check(both, |x, y, last| (x, last - y));
    }
}

#[test]
fn translations_move_and_edges_go_on() {
    let image = noise(8);
    let moved = apply(&Augmentation { translate: [0.25; 2], ..nothing() }, &image, 1);
    assert_close(&moved, &planes(8, |x, y| at(&image, x.saturating_sub(2), y.saturating_sub(2))), 0.01);
    let back = apply(&Augmentation { translate: [-0.25; 2], ..nothing() }, &image, 1);
    assert_close(&back, &planes(8, |x, y| at(&image, (x + 2).min(7), (y + 2).min(7))), 0.01);
}

/// One pixel of the map `source = matrix * (output - middle) + middle`, bilinear, in float64.
fn sampled(image: &RgbImage, matrix: [f64; 4], x: u32, y: u32) -> [f32; 3] {
    let (last, middle) = (f64::from(image.width() - 1), f64::from(image.width()) / 2.0 - 0.5);
    let (u, v) = (f64::from(x) - middle, f64::from(y) - middle);
    let [column, row] = [matrix[0] * u + matrix[1] * v, matrix[2] * u + matrix[3] * v]
        .map(|at| (at + middle).clamp(0.0, last));
    let mut sum = [0.0; 3];
    for (y, below) in [(row.floor(), 1.0 - row.fract()), (row.ceil(), row.fract())] {
        for (x, right) in [(column.floor(), 1.0 - column.fract()), (column.ceil(), column.fract())] {
            let pixel = image.get_pixel(x as u32, y as u32).0;
            sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += f64::from(value) * below * right);
        }
    }
    sum.map(|value| value as f32)
}

#[test]
fn scale_shear_and_rotation_agree_with_a_plain_reference() {
    let image = noise(9);
    let check = |augmentation: Augmentation, matrix: [f64; 4]| {
        assert_close(
            &apply(&augmentation, &image, 1),
            &planes(9, |x, y| sampled(&image, matrix, x, y)),
            0.02,
        );
    };
    check(Augmentation { scale: [1.25; 2], ..nothing() }, [0.8, 0.0, 0.0, 0.8]);
    check(Augmentation { scale: [0.8; 2], ..nothing() }, [1.25, 0.0, 0.0, 1.25]);
    check(Augmentation { shear: [0.2; 2], ..nothing() }, [1.0, 0.2, 0.2, 1.0]);
    let (sin, cos) = 20_f64.to_radians().sin_cos();
    check(Augmentation { rotate: [20.0; 2], ..nothing() }, [cos, sin, -sin, cos]);
    check(
        Augmentation { rotate: [20.0; 2], scale: [1.25; 2], ..nothing() },
        [cos, sin, -sin, cos].map(|it| it * 0.8),
    );
    let crop = RandomCrop { area: [0.25; 2], ratio: [1.0; 2] };
    // The rectangle's place is random: of an image whose values grow evenly, steps halve everywhere.
    let ramp = RgbImage::from_fn(32, 32, |x, y| Rgb([8 * x as u8, 8 * y as u8, 0]));
    let cropped = apply(&Augmentation { crop: Some(crop), ..nothing() }, &ramp, 4);
    let inner = |plane: usize, x: usize, y: usize| cropped[plane * 1024 + y * 32 + x];
    assert!((1..31).all(|x| (inner(0, x + 1, 9) - inner(0, x, 9) - 4.0).abs() < 4.01));
    assert!(
        (inner(0, 24, 9) - inner(0, 8, 9) - 64.0).abs() < 0.1
            && (inner(1, 9, 24) - inner(1, 9, 8) - 64.0).abs() < 0.1
    );
}

#[test]
fn what_shrinks_does_not_alias() {
    let stripes = RgbImage::from_fn(64, 64, |x, _| Rgb([255 * (x % 2) as u8; 3]));
    let small = apply(&Augmentation { scale: [0.25; 2], ..nothing() }, &stripes, 1);
    let middle = (26..38).map(|x| small[32 * 64 + x]);
    middle.for_each(|value| assert!((value - 127.5).abs() < 20.0, "{value}"));
}

/// The value that `change` makes of `pixel` in an image that has nothing else.
fn changed(augmentation: &Augmentation, pixel: [u8; 3]) -> [f32; 3] {
    let planes = apply(augmentation, &RgbImage::from_pixel(3, 3, Rgb(pixel)), 1);
    [planes[4], planes[13], planes[22]]
}

#[test]
fn colours_change_as_they_are_defined() {
    let close = |augmentation: Augmentation, pixel: [u8; 3], expected: [f32; 3]| {
        assert_close(&changed(&augmentation, pixel), &expected, 0.05);
    };
    close(Augmentation { brightness: [0.5; 2], ..nothing() }, [200, 100, 7], [100.0, 50.0, 3.5]);
    close(Augmentation { brightness: [2.0; 2], ..nothing() }, [200, 100, 7], [255.0, 200.0, 14.0]);
    let luma = 0.2126 * 200.0 + 0.7152 * 100.0 + 0.0722 * 20.0;
    let towards = |factor: f32| [200.0, 100.0, 20.0].map(|value| luma + (value - luma) * factor);
    close(Augmentation { saturation: [0.0; 2], ..nothing() }, [200, 100, 20], [luma; 3]);
    close(Augmentation { saturation: [0.5; 2], ..nothing() }, [200, 100, 20], towards(0.5));
    // In an image of one colour the mean luma is the luma of each pixel.
    close(Augmentation { contrast: [0.5; 2], ..nothing() }, [200, 100, 20], towards(0.5));
    // A third of the circle swaps channels, half of it mirrors them in their middle.
    close(Augmentation { hue: [1.0 / 3.0; 2], ..nothing() }, [200, 100, 20], [20.0, 200.0, 100.0]);
    close(Augmentation { hue: [-1.0 / 3.0; 2], ..nothing() }, [200, 100, 20], [100.0, 20.0, 200.0]);
    close(Augmentation { hue: [0.5; 2], ..nothing() }, [200, 100, 20], [20.0, 120.0, 200.0]);
    close(Augmentation { hue: [1.0; 2], ..nothing() }, [200, 100, 20], [200.0, 100.0, 20.0]);
    close(Augmentation { hue: [0.3; 2], saturation: [2.0; 2], ..nothing() }, [90; 3], [90.0; 3]);
}

fn only(operation: Operation, magnitude: f32) -> Augmentation {
    let rand_augment = RandAugment { count: 1, magnitude, operations: vec![operation] };
    Augmentation { rand_augment: Some(rand_augment), ..nothing() }
}

#[test]
fn operations_of_rand_augment_agree_with_plain_references() {
    let image = noise(8);
    let unchanged = planes(8, |x, y| at(&image, x, y));
    let pixelwise = |operation, magnitude, change: &dyn Fn(f32) -> f32| {
        let expected: Vec<_> = unchanged.iter().map(|&value| change(value)).collect();
        assert_close(&apply(&only(operation, magnitude), &image, 1), &expected, 0.02);
    };
    pixelwise(Operation::Identity, 1.0, &|value| value);
    pixelwise(Operation::Posterize, 1.0, &|value| f32::from(value as u8 & 0xf0));
    pixelwise(Operation::Posterize, 0.25, &|value| f32::from(value as u8 & 0xfe));
    pixelwise(Operation::Solarize, 1.0, &|value| 255.0 - value);
    pixelwise(Operation::Solarize, 0.5, &|value| if value >= 127.5 { 255.0 - value } else { value });

    // Both signs are drawn, and each is one of two results.
    let both = |operation, magnitude, expected: [&dyn Fn(u32, u32) -> [f32; 3]; 2]| {
        let expected = expected.map(|pixel| planes(8, pixel));
        let fits = |found: &[f32], side: &Vec<f32>| found.iter().zip(side).all(|(a, b)| (a - b).abs() < 0.05);
        let drawn: HashSet<_> = (0..20)
            .map(|seed| {
                let found = apply(&only(operation, magnitude), &image, seed);
                expected.iter().position(|side| fits(&found, side)).unwrap_or_else(|| panic!("{operation:?}"))
            })
            .collect();
        assert_eq!(drawn.len(), 2, "{operation:?}");
    };
    let map = |matrix: [f64; 4]| {
        let image = image.clone();
        move |x, y| sampled(&image, matrix, x, y)
    };
    both(Operation::ShearX, 1.0, [&map([1.0, 0.3, 0.0, 1.0]), &map([1.0, -0.3, 0.0, 1.0])]);
    both(Operation::ShearY, 0.5, [&map([1.0, 0.0, 0.15, 1.0]), &map([1.0, 0.0, -0.15, 1.0])]);
    let (sin, cos) = 30_f64.to_radians().sin_cos();
    both(Operation::Rotate, 1.0, [&map([cos, sin, -sin, cos]), &map([cos, -sin, sin, cos])]);
    let magnitude = 0.25 / 0.45;
    let (left, right) =
        (|x: u32, y| at(&image, (x + 2).min(7), y), |x: u32, y| at(&image, x.saturating_sub(2), y));
    both(Operation::TranslateX, magnitude, [&left, &right]);
    let (up, down) =
        (|x, y: u32| at(&image, x, (y + 2).min(7)), |x, y: u32| at(&image, x, y.saturating_sub(2)));
    both(Operation::TranslateY, magnitude, [&up, &down]);
    let times = |factor: f32| move |x, y| at(&noise(8), x, y).map(|value| (value * factor).min(255.0));
    both(Operation::Brightness, 0.5, [&times(0.55), &times(1.45)]);

    let luma = |x, y| {
        let [r, g, b] = at(&image, x, y);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    let away = |x: u32, y: u32, from: f32, factor: f32| {
        at(&image, x, y).map(|value| (from + (value - from) * factor).clamp(0.0, 255.0))
    };
    both(
        Operation::Saturation,
        0.5,
        [&|x, y| away(x, y, luma(x, y), 0.55), &|x, y| away(x, y, luma(x, y), 1.45)],
    );
    let mean = (0..64).map(|i| luma(i % 8, i / 8)).sum::<f32>() / 64.0;
    both(Operation::Contrast, 0.5, [&|x, y| away(x, y, mean, 0.55), &|x, y| away(x, y, mean, 1.45)]);
    let blurred = |x: u32, y: u32| {
        let mut sum = at(&image, x, y).map(|value| 4.0 * value);
        for (dx, dy) in (0..9).map(|i| (i % 3, i / 3)) {
            sum.iter_mut().zip(at(&image, x + dx - 1, y + dy - 1)).for_each(|(sum, value)| *sum += value);
        }
        sum.map(|sum| sum / 13.0)
    };
    let sharp = |x: u32, y: u32, factor: f32| {
        let (from, pixel) = if x.is_multiple_of(7) || y.is_multiple_of(7) {
            (at(&image, x, y), at(&image, x, y))
        } else {
            (blurred(x, y), at(&image, x, y))
        };
        [0, 1, 2].map(|i| (from[i] + (pixel[i] - from[i]) * factor).clamp(0.0, 255.0))
    };
    both(Operation::Sharpness, 0.5, [&|x, y| sharp(x, y, 0.55), &|x, y| sharp(x, y, 1.45)]);
}

#[test]
fn histograms_are_stretched_and_made_even() {
    // 64 to 127 becomes the whole range.
    let ramp = RgbImage::from_fn(8, 8, |x, y| Rgb([64 + (8 * y + x) as u8; 3]));
    let stretched = apply(&only(Operation::AutoContrast, 0.0), &ramp, 1);
    assert_close(&stretched, &planes(8, |x, y| [(8 * y + x) as f32 * 255.0 / 63.0; 3]), 0.01);
    let flat = RgbImage::from_pixel(20, 20, Rgb([30; 3]));
    assert_close(&apply(&only(Operation::AutoContrast, 0.0), &flat, 1), &[30.0; 1200], 0.01);
    assert_close(&apply(&only(Operation::Equalize, 0.0), &flat, 1), &[30.0; 1200], 0.01);
    // 1,024 pixels, all values four times: a step is (1024 - 4) / 255 = 4 pixels, so value v becomes
    // (4 v + 2) / 4 = v. With squared values the counts are even again.
    let even = RgbImage::from_fn(32, 32, |x, y| Rgb([((32 * y + x) / 4) as u8; 3]));
    let expected = planes(32, |x, y| [((32 * y + x) / 4) as f32; 3]);
    assert_close(&apply(&only(Operation::Equalize, 0.0), &even, 1), &expected, 0.01);
    // Two values, half of the pixels each: the lower one goes to the bottom. 512 of 1,024 are left
    // without the last, so a step is 2, and the upper one has 512 below it: 513 / 2 is cut to 255.
    let two = RgbImage::from_fn(32, 32, |x, _| Rgb([if x < 16 { 100 } else { 110 }; 3]));
    let expected = planes(32, |x, _| [if x < 16 { 0.0 } else { 255.0 }; 3]);
    assert_close(&apply(&only(Operation::Equalize, 0.0), &two, 1), &expected, 0.01);
}

#[test]
fn erasing_leaves_a_rectangle_of_the_mean() -> Result<()> {
    let erasing = RandomErasing { probability: 1.0, area: [0.25; 2], ratio: [1.0; 2] };
    let augmentation = Augmentation { erasing: Some(erasing), ..nothing() };
    let preprocessing = Preprocessing { mean: vec![0.5; 3], ..plain(16) };
    let image = RgbImage::from_pixel(16, 16, Rgb([255; 3]));
    let mut places = HashSet::new();
    for seed in 0..10 {
        let mut input = vec![0.0; 768];
        augmentation.apply(&image, &preprocessing, seed, &mut input)?;
        let erased: Vec<usize> = (0..768).filter(|&i| input[i] == 0.0).collect();
        assert_eq!(erased.len(), 3 * 64);
        assert!(input.iter().all(|value| *value == 0.0 || *value == 0.5));
        let first = erased[0];
        let expected =
            (0..3).flat_map(|channel| (0..64).map(move |i| first + 256 * channel + 16 * (i / 8) + i % 8));
        assert_eq!(erased, expected.collect::<Vec<_>>());
        places.insert(erased[0]);
    }
    assert!(places.len() > 3);
    let never = Augmentation { erasing: Some(RandomErasing { probability: 0.0, ..erasing }), ..nothing() };
    assert_close(&apply(&never, &image, 1), &[255.0; 768], 1e-3);
    Ok(())
}

#[test]
fn light_variants_stay_near_and_presets_mirror_nothing() {
    let light = Augment::Light.augmentation().unwrap();
    let strong = Augment::Strong.augmentation().unwrap();
    for preset in [&light, &strong] {
        assert_eq!((preset.horizontal_flip, preset.vertical_flip), (0.0, 0.0));
    }
    // A dot off the middle moves by a tenth, 10 degrees and a tenth of its distance: 6.4 + 5 + 3 of 64.
    let image = RgbImage::from_fn(64, 64, |x, y| {
        Rgb([if x.abs_diff(52) < 3 && y.abs_diff(32) < 3 { 255 } else { 0 }; 3])
    });
    let mut places = HashSet::new();
    for seed in 0..200 {
        let input = apply(&light, &image, seed);
        let (brightest, _) = input[..4096].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        let (x, y) = (brightest % 64, brightest / 64);
        assert!(x.abs_diff(52) <= 12 && y.abs_diff(32) <= 15, "{x}, {y}");
        places.insert((x, y));
    }
    assert!(places.len() > 50, "{}", places.len());
}

fn tree(name: &str, count: u8) -> Result<ImageSet> {
    let root = folder(name);
    for tone in 0..count {
        png(root.join(["a", "b"][usize::from(tone) % 2]).join(format!("{tone}.png")), 10 * tone);
    }
    Ok(ImageSet::open(&root)?.train)
}

#[test]
fn variants_depend_on_seed_index_and_epoch_alone() -> Result<()> {
    let set = tree("variants", 8)?;
    let images = |seed| -> Result<Arc<Images>> {
        Ok(Arc::new(Images::new(set.clone(), plain(8))?.augment(Augment::Strong, seed)))
    };
    let sample = |images: &Images, index, epoch| -> Result<Vec<f32>> {
        let mut input = vec![0.0; 192];
        images.sample_in(index, epoch, &mut input)?;
        Ok(input)
    };
    let first = images(1)?;
    let inputs = |images: &Arc<Images>, epoch| -> Result<Vec<f32>> {
        let batches = DataLoader::new(images.clone(), 3)?.epoch(epoch).collect::<Result<Vec<_>>>()?;
        Ok(batches.into_iter().flat_map(|batch| batch.inputs).collect())
    };
    // The loader's threads make what one thread makes, in whatever order, whatever was cached.
    let all = inputs(&first, 5)?;
    for pool in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(pool).build().unwrap();
        let fresh = images(1)?;
        let one: Vec<_> = pool.install(|| {
            use rayon::prelude::*;
            (0..8).into_par_iter().rev().map(|index| sample(&fresh, index, 5)).collect::<Result<Vec<_>>>()
        })?;
        assert_eq!(one.into_iter().rev().flatten().collect::<Vec<_>>(), all);
    }
    assert_eq!(inputs(&images(1)?, 5)?, all);
    assert_ne!(inputs(&first, 6)?, all);
    assert_ne!(inputs(&images(2)?, 5)?, all);
    let mut same = vec![0.0; 192];
    first.sample(3, &mut same)?;
    let mut expected = vec![0.0; 192];
    plain(8).apply(&set.decode(3)?, &mut expected)?;
    assert_eq!(same, expected);
    Ok(())
}

#[test]
fn the_cache_keeps_its_bound_and_changes_nothing() -> Result<()> {
    let set = tree("cache", 8)?;
    let read = |images: Images| -> Result<(Vec<f32>, usize)> {
        let images = Arc::new(images);
        let mut inputs = Vec::new();
        for epoch in 0..2 {
            for batch in DataLoader::new(images.clone(), 8)?.epoch(epoch) {
                inputs.extend(batch?.inputs);
            }
        }
        Ok((inputs, images.cached_bytes()))
    };
    for how in [Augment::None, Augment::Light] {
        let images = || -> Result<Images> { Ok(Images::new(set.clone(), plain(4))?.augment(how, 1)) };
        let (inputs, kept) = read(images()?)?;
        // 4 x 4 pixels, or those of the file where they are fewer than 1.25 times as many: 5 x 4.
        let pixels = if how == Augment::None { 16 } else { 20 };
        assert!(kept >= 8 * 3 * pixels && kept <= 8 * (3 * pixels + 64), "{kept}");
        let (again, some) = read(images()?.cache(kept / 2))?;
        assert!(some > 0 && some <= kept / 2, "{some} of {kept}");
        assert_eq!(again, inputs);
        let (again, none) = read(images()?.cache(0))?;
        assert_eq!((again, none), (inputs, 0));
    }
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |augmentation: Augmentation, expected: &str| {
        let error =
            augmentation.apply(&picture(4, 4, 1), &plain(4), 0, &mut [0.0; 48]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(Augmentation { rotate: [10.0, -10.0], ..nothing() }, "rotate is [10.0, -10.0]");
    refused(Augmentation { translate: [f32::NAN, 0.0], ..nothing() }, "translate is [NaN, 0.0]");
    refused(Augmentation { brightness: [0.0, f32::INFINITY], ..nothing() }, "brightness is [0.0, inf]");
    refused(Augmentation { scale: [0.0, 1.0], ..nothing() }, "scale is [0.0, 1.0]");
    refused(Augmentation { horizontal_flip: 1.5, ..nothing() }, "a horizontal flip is 1.5, expected 0 to 1");
    refused(only(Operation::Rotate, -0.1), "the magnitude is -0.1");
    let crop = RandomCrop { area: [0.5, 2.0], ratio: [1.0; 2] };
    refused(Augmentation { crop: Some(crop), ..nothing() }, "the crop's area is [0.5, 2.0]");
    assert!(
        "loud".parse::<Augment>().is_err_and(|error| error.to_string().contains("none, light or strong"))
    );
    assert_eq!("strong".parse::<Augment>().ok(), Some(Augment::Strong));
}
