//! Random variants of images.

use super::Preprocessing;
use super::color::Change;
use super::warp::{Affine, Pixels, warp};
use crate::{Error, Result};
use fastrand::Rng;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// How much images are varied in training. None of these mirrors an image: a mirrored 2 or left
/// hand may be something else. Set the flips of an [`Augmentation`] where it makes no difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Augment {
    /// Images as they are.
    None,
    /// What another photo of the same thing could be: turned by up to 10 degrees, moved by up to a
    /// tenth, 0.9 to 1.1 times as large, a tenth brighter or darker, with a tenth more or less
    /// contrast.
    #[default]
    Light,
    /// Light, and crops of at least 60 % of the area, two operations of [`RandAugment`] at a
    /// magnitude of 0.3, and in one of four images an erased rectangle.
    Strong,
}

impl FromStr for Augment {
    type Err = Error;

    fn from_str(name: &str) -> Result<Augment> {
        match name {
            "none" => Ok(Augment::None),
            "light" => Ok(Augment::Light),
            "strong" => Ok(Augment::Strong),
            _ => Err(Error::op("augment", format!("{name:?}, expected none, light or strong"))),
        }
    }
}

impl Augment {
    /// The transforms behind the name; `None` for [`Augment::None`].
    pub fn augmentation(self) -> Option<Augmentation> {
        let light = Augmentation {
            rotate: [-10.0, 10.0],
            translate: [-0.1, 0.1],
            scale: [0.9, 1.1],
            brightness: [0.9, 1.1],
            contrast: [0.9, 1.1],
            ..Augmentation::default()
        };
        match self {
            Augment::None => None,
            Augment::Light => Some(light),
            Augment::Strong => Some(Augmentation {
                crop: Some(RandomCrop { area: [0.6, 1.0], ratio: [0.75, 4.0 / 3.0] }),
                rand_augment: Some(RandAugment::default()),
                erasing: Some(RandomErasing { probability: 0.25, ..RandomErasing::default() }),
                ..light
            }),
        }
    }
}

/// What may happen to an image. Pairs are ranges that a value is drawn from evenly, anew for every
/// image; [`default`](Augmentation::default) changes nothing.
///
/// All that moves pixels happens first and in one pass: flips, scale, rotation, shear, translation,
/// crop and the size of the input come to one affine map, by which the image is sampled once
/// (bilinear, several samples where it shrinks; pixels at the edge go on beyond it). Then come
/// brightness, contrast, saturation, hue, the other operations of RandAugment in the order drawn,
/// the normalisation, and erasing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// A part of the image instead of all of it.
    pub crop: Option<RandomCrop>,
    /// Degrees clockwise.
    pub rotate: [f32; 2],
    /// Parts of a side, drawn for each direction.
    pub translate: [f32; 2],
    /// A magnification, about the middle.
    pub scale: [f32; 2],
    /// Tangents of angles, drawn for each direction.
    pub shear: [f32; 2],
    /// The probability to swap left and right.
    pub horizontal_flip: f32,
    /// The probability to swap top and bottom.
    pub vertical_flip: f32,
    /// A factor of all values.
    pub brightness: [f32; 2],
    /// A factor of the distances from the mean grey.
    pub contrast: [f32; 2],
    /// A factor of the distances from each pixel's grey.
    pub saturation: [f32; 2],
    /// Turns of the hue (HSV).
    pub hue: [f32; 2],
    /// Operations drawn from a list.
    pub rand_augment: Option<RandAugment>,
    /// A rectangle made grey.
    pub erasing: Option<RandomErasing>,
}

impl Default for Augmentation {
    fn default() -> Augmentation {
        let (nothing, unchanged) = ([0.0; 2], [1.0; 2]);
        Augmentation {
            crop: None,
            rotate: nothing,
            translate: nothing,
            scale: unchanged,
            shear: nothing,
            horizontal_flip: 0.0,
            vertical_flip: 0.0,
            brightness: unchanged,
            contrast: unchanged,
            saturation: unchanged,
            hue: nothing,
            rand_augment: None,
            erasing: None,
        }
    }
}

/// Shows a random rectangle of the image, stretched to the input ("random resized crop", Szegedy et
/// al. 2015). Where ten draws do not fit the image, all of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RandomCrop {
    /// The rectangle's part of the image's area.
    pub area: [f32; 2],
    /// Its width over its height, in units of the image's sides; evenly drawn by its logarithm.
    pub ratio: [f32; 2],
}

/// Makes a rectangle the mean colour (Zhong et al. 2017, "Random Erasing Data Augmentation").
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RandomErasing {
    /// How likely it is.
    pub probability: f32,
    /// The rectangle's part of the area.
    pub area: [f32; 2],
    /// Its width over its height; evenly drawn by its logarithm.
    pub ratio: [f32; 2],
}

impl Default for RandomErasing {
    fn default() -> RandomErasing {
        RandomErasing { probability: 0.5, area: [0.02, 0.33], ratio: [0.3, 3.3] }
    }
}

/// Some operations drawn from a list, all at one strength (Cubuk et al. 2019, "RandAugment").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RandAugment {
    /// How many are drawn.
    pub count: usize,
    /// The strength, in 0..=1; the paper's and torchvision's 30 is 1, their usual 9 is 0.3.
    pub magnitude: f32,
    /// The list.
    pub operations: Vec<Operation>,
}

impl Default for RandAugment {
    fn default() -> RandAugment {
        RandAugment { count: 2, magnitude: 0.3, operations: Operation::ALL.to_vec() }
    }
}

/// What [`RandAugment`] may do at magnitude `m`. Directions and signs are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Nothing.
    Identity,
    /// Shears rows by a tangent of `0.3 m`.
    ShearX,
    /// Shears columns by a tangent of `0.3 m`.
    ShearY,
    /// Moves sideways by `0.45 m` of the width.
    TranslateX,
    /// Moves up or down by `0.45 m` of the height.
    TranslateY,
    /// Turns by `30 m` degrees.
    Rotate,
    /// Brightness times `1 + 0.9 m` or `1 - 0.9 m`.
    Brightness,
    /// Saturation times `1 + 0.9 m` or `1 - 0.9 m`.
    Saturation,
    /// Contrast times `1 + 0.9 m` or `1 - 0.9 m`.
    Contrast,
    /// Sharpness times `1 + 0.9 m` or `1 - 0.9 m`, from a blur (0) to twice the edges (2).
    Sharpness,
    /// Keeps `8 - 4 m` bits of a value.
    Posterize,
    /// Turns values above `1 - m` upside down.
    Solarize,
    /// Stretches each channel to the whole range.
    AutoContrast,
    /// Spreads each channel's values evenly.
    Equalize,
}

impl Operation {
    /// All operations.
    pub const ALL: [Operation; 14] = [
        Operation::Identity,
        Operation::ShearX,
        Operation::ShearY,
        Operation::TranslateX,
        Operation::TranslateY,
        Operation::Rotate,
        Operation::Brightness,
        Operation::Saturation,
        Operation::Contrast,
        Operation::Sharpness,
        Operation::Posterize,
        Operation::Solarize,
        Operation::AutoContrast,
        Operation::Equalize,
    ];

    /// Adds itself to what moves pixels or to what changes colours.
    fn add(self, magnitude: f32, sign: f32, map: &mut Affine, changes: &mut Vec<Change>) {
        let (signed, factor) = (sign * magnitude, 1.0 + sign * 0.9 * magnitude);
        let moved = match self {
            Operation::Identity => return,
            Operation::ShearX => Affine::shear(0.3 * signed, 0.0),
            Operation::ShearY => Affine::shear(0.0, 0.3 * signed),
            Operation::TranslateX => Affine::translation(0.45 * signed, 0.0),
            Operation::TranslateY => Affine::translation(0.0, 0.45 * signed),
            Operation::Rotate => Affine::rotation(30.0 * signed),
            Operation::Brightness => return changes.push(Change::Brightness(factor)),
            Operation::Saturation => return changes.push(Change::Saturation(factor)),
            Operation::Contrast => return changes.push(Change::Contrast(factor)),
            Operation::Sharpness => return changes.push(Change::Sharpness(factor)),
            Operation::Posterize => {
                return changes.push(Change::Posterize(8 - (4.0 * magnitude).round() as u32));
            }
            Operation::Solarize => return changes.push(Change::Solarize(1.0 - magnitude)),
            Operation::AutoContrast => return changes.push(Change::AutoContrast),
            Operation::Equalize => return changes.push(Change::Equalize),
        };
        *map = map.then(moved);
    }
}

impl Augmentation {
    /// Writes the variant of `image` that `seed` draws, as an input `[channels, size, size]`.
    ///
    /// An error where a range or probability makes no sense, or as from [`Preprocessing::apply`].
    pub fn apply(&self, image: &RgbImage, to: &Preprocessing, seed: u64, input: &mut [f32]) -> Result<()> {
        self.check()?;
        to.check()?;
        Preprocessing::check_image(image)?;
        self.render(&to.reduced(image), to, seed, input)
    }

    /// What [`apply`](Augmentation::apply) does, of an image that is reduced already.
    pub(super) fn render(
        &self,
        image: &Pixels,
        to: &Preprocessing,
        seed: u64,
        input: &mut [f32],
    ) -> Result<()> {
        to.check_room(input)?;
        let mut rng = Rng::with_seed(seed);
        let (map, changes) = self.draw(&mut rng);
        match to.channels {
            1 => warp::<1>(image, map, to.size, input),
            _ => warp::<3>(image, map, to.size, input),
        }
        changes.into_iter().for_each(|change| change.apply(input, to.size));
        to.normalize(input);
        if let Some(erasing) = &self.erasing {
            erasing.erase(input, to.size, &mut rng);
        }
        Ok(())
    }

    fn draw(&self, rng: &mut Rng) -> (Affine, Vec<Change>) {
        let flip = Affine::flip(rng.f32() < self.horizontal_flip, rng.f32() < self.vertical_flip);
        let (scale, degrees) = (between(self.scale, rng), between(self.rotate, rng));
        let shear = Affine::shear(between(self.shear, rng), between(self.shear, rng));
        let moved = Affine::translation(between(self.translate, rng), between(self.translate, rng));
        // From the output back to the source: what happens last to the image comes first.
        let mut map = moved.then(shear).then(Affine::rotation(degrees)).then(Affine::scale(scale)).then(flip);
        let mut changes = vec![
            Change::Brightness(between(self.brightness, rng)),
            Change::Contrast(between(self.contrast, rng)),
            Change::Saturation(between(self.saturation, rng)),
            Change::Hue(between(self.hue, rng)),
        ];
        if let Some(RandAugment { count, magnitude, operations }) = &self.rand_augment {
            for _ in 0..*count {
                let sign = if rng.bool() { 1.0 } else { -1.0 };
                if let Some(operation) = rng.choice(operations) {
                    operation.add(*magnitude, sign, &mut map, &mut changes);
                }
            }
        }
        if let Some(crop) = &self.crop {
            map = map.then(crop.draw(rng));
        }
        (map, changes)
    }

    /// An error where a field makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |name: &str, value: &dyn std::fmt::Debug, expected: &str| {
            Err(Error::op("augmentation", format!("{name} is {value:?}, expected {expected}")))
        };
        let (crop, erasing) = (self.crop, self.erasing);
        let ranges = [
            ("rotate", Some(self.rotate), -360.0, 360.0),
            ("translate", Some(self.translate), -10.0, 10.0),
            ("scale", Some(self.scale), 0.01, 100.0),
            ("shear", Some(self.shear), -10.0, 10.0),
            ("brightness", Some(self.brightness), 0.0, 100.0),
            ("contrast", Some(self.contrast), 0.0, 100.0),
            ("saturation", Some(self.saturation), 0.0, 100.0),
            ("hue", Some(self.hue), -1.0, 1.0),
            ("the crop's area", crop.map(|crop| crop.area), 1e-4, 1.0),
            ("the crop's ratio", crop.map(|crop| crop.ratio), 1e-4, 1e4),
            ("the erased area", erasing.map(|erasing| erasing.area), 1e-4, 1.0),
            ("the erased ratio", erasing.map(|erasing| erasing.ratio), 1e-4, 1e4),
        ];
        for (name, range, least, most) in ranges {
            if let Some([low, high]) =
                range.filter(|[low, high]| !(least <= *low && low <= high && *high <= most))
            {
                return refuse(name, &[low, high], &format!("a range in [{least}, {most}]"));
            }
        }
        let shares = [
            ("the probability of a horizontal flip", self.horizontal_flip),
            ("the probability of a vertical flip", self.vertical_flip),
            ("the probability of erasing", erasing.map_or(0.0, |erasing| erasing.probability)),
            ("the magnitude", self.rand_augment.as_ref().map_or(0.0, |these| these.magnitude)),
        ];
        match shares.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            Some((name, value)) => refuse(name, value, "0 to 1"),
            None => Ok(()),
        }
    }
}

impl RandomCrop {
    fn draw(&self, rng: &mut Rng) -> Affine {
        rectangle(self.area, self.ratio, rng).map_or(Affine::IDENTITY, |[left, top, width, height]| {
            Affine::crop(width, height, [left + 0.5 * width - 0.5, top + 0.5 * height - 0.5])
        })
    }
}

impl RandomErasing {
    fn erase(&self, input: &mut [f32], size: usize, rng: &mut Rng) {
        if rng.f32() >= self.probability {
            return;
        }
        let Some(sides) = rectangle(self.area, self.ratio, rng) else { return };
        let [left, top, width, height] = sides.map(|side| (side * size as f32).round() as usize);
        for row in input
            .chunks_exact_mut(size * size)
            .flat_map(|plane| plane.chunks_exact_mut(size).skip(top).take(height))
        {
            row.iter_mut().skip(left).take(width).for_each(|value| *value = 0.0);
        }
    }
}

/// Left, top, width and height of a rectangle in a square with sides of 1.
fn rectangle(area: [f32; 2], ratio: [f32; 2], rng: &mut Rng) -> Option<[f32; 4]> {
    (0..10).find_map(|_| {
        let (area, ratio) = (between(area, rng), between(ratio.map(f32::ln), rng).exp());
        let (width, height) = ((area * ratio).sqrt(), (area / ratio).sqrt());
        let fits = width <= 1.0 && height <= 1.0;
        fits.then(|| [rng.f32() * (1.0 - width), rng.f32() * (1.0 - height), width, height])
    })
}

fn between([low, high]: [f32; 2], rng: &mut Rng) -> f32 {
    low + (high - low) * rng.f32()
}
