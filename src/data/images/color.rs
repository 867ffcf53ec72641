//! Changes of colour, on planes `[channels, size, size]` of values in 0..=1.

use serde::{Deserialize, Serialize};

/// A change of the values of an image. Results stay in 0..=1; what changes colours only leaves grey
/// images as they are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Change {
    /// Times a factor.
    Brightness(f32),
    /// Away from the mean of the luma by a factor.
    Contrast(f32),
    /// Away from the luma of each pixel by a factor.
    Saturation(f32),
    /// Around the circle of colours, in turns.
    Hue(f32),
    /// Away from a blurred copy by a factor.
    Sharpness(f32),
    /// Only so many leading bits of each 8.
    Posterize(u32),
    /// Values from here on upside down.
    Solarize(f32),
    /// Each channel stretched to the whole range.
    AutoContrast,
    /// Each channel's values spread evenly over the range.
    Equalize,
}

impl Change {
    pub fn apply(self, planes: &mut [f32], size: usize) {
        match self {
            // These would change nothing.
            Change::Brightness(1.0) | Change::Contrast(1.0) | Change::Saturation(1.0) => {}
            Change::Hue(0.0) | Change::Sharpness(1.0) => {}
            Change::Brightness(factor) => each(planes, |value| value * factor),
            Change::Contrast(factor) => {
                let sum: f64 = lumas(planes, size * size).map(f64::from).sum();
                let mean = (sum / (size * size) as f64) as f32;
                each(planes, |value| mean + (value - mean) * factor);
            }
            Change::Saturation(factor) => colors(planes, size * size, |pixel| {
                let luma = luma(pixel);
                pixel.map(|value| luma + (value - luma) * factor)
            }),
            Change::Hue(turns) => colors(planes, size * size, |pixel| turn_hue(pixel, turns)),
            Change::Sharpness(factor) => {
                planes.chunks_exact_mut(size * size).for_each(|plane| sharpen(plane, size, factor));
            }
            Change::Posterize(bits) => {
                let mask = !(0xff_u8 >> bits.min(8));
                each(planes, |value| f32::from(byte(value) & mask) / 255.0);
            }
            Change::Solarize(threshold) => {
                each(planes, |value| if value >= threshold { 1.0 - value } else { value });
            }
            Change::AutoContrast => planes.chunks_exact_mut(size * size).for_each(stretch),
            Change::Equalize => planes.chunks_exact_mut(size * size).for_each(equalize),
        }
    }
}

fn each(values: &mut [f32], change: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|value| *value = change(*value).clamp(0.0, 1.0));
}

/// Changes every pixel of an image in colour.
fn colors(planes: &mut [f32], area: usize, change: impl Fn([f32; 3]) -> [f32; 3]) {
    let (red, rest) = planes.split_at_mut(area.min(planes.len()));
    let (green, blue) = rest.split_at_mut(area.min(rest.len()));
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        [*red, *green, *blue] = change([*red, *green, *blue]).map(|value| value.clamp(0.0, 1.0));
    }
}

/// The luma of BT.709.
pub(super) fn luma([red, green, blue]: [f32; 3]) -> f32 {
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn lumas(planes: &[f32], area: usize) -> impl Iterator<Item = f32> {
    let grey = planes.len() == area;
    (0..area).map(
        move |i| if grey { planes[i] } else { luma([0, 1, 2].map(|channel| planes[channel * area + i])) },
    )
}

/// Moves the hue of the HSV model; saturation and value stay.
fn turn_hue([red, green, blue]: [f32; 3], turns: f32) -> [f32; 3] {
    let value = red.max(green).max(blue);
    let chroma = value - red.min(green).min(blue);
    if chroma == 0.0 {
        return [value; 3];
    }
    let sixth = if value == red {
        (green - blue) / chroma
    } else if value == green {
        2.0 + (blue - red) / chroma
    } else {
        4.0 + (red - green) / chroma
    };
    let hue = sixth + 6.0 * turns;
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + hue).rem_euclid(6.0);
        value - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

/// The blur has a weight of 5 in the middle and 1 around it, and leaves the edge as it is, as in
/// Pillow.
fn sharpen(plane: &mut [f32], size: usize, factor: f32) {
    let source = plane.to_vec();
    for row in 1..size.saturating_sub(1) {
        for column in 1..size - 1 {
            let middle = row * size + column;
            let square =
                [middle - size, middle, middle + size].map(|i| source[i - 1] + source[i] + source[i + 1]);
            let blurred = (square.iter().sum::<f32>() + 4.0 * source[middle]) / 13.0;
            plane[middle] = (blurred + (source[middle] - blurred) * factor).clamp(0.0, 1.0);
        }
    }
}

fn stretch(plane: &mut [f32]) {
    let least = plane.iter().copied().fold(1.0, f32::min);
    let most = plane.iter().copied().fold(0.0, f32::max);
    if most > least {
        each(plane, |value| (value - least) / (most - least));
    }
}

/// As Pillow does it, on a histogram of 256 values.
fn equalize(plane: &mut [f32]) {
    let mut counts = [0_usize; 256];
    plane.iter().for_each(|&value| counts[usize::from(byte(value))] += 1);
    let last = counts.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
    let step = (plane.len() - last) / 255;
    if step == 0 {
        return;
    }
    let mut below = step / 2;
    let spread = counts.map(|count| {
        let value = (below / step).min(255) as f32 / 255.0;
        below += count;
        value
    });
    plane.iter_mut().for_each(|value| *value = spread[usize::from(byte(*value))]);
}

fn byte(value: f32) -> u8 {
    (value * 255.0).round() as u8
}
