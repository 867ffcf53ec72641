//! A heat map on its image.

use super::{HeatMap, scaled};
use image::{Rgb, RgbImage};

/// The image, half of its colour taken away, under the map: from clear where it is 0 over red to yellow
/// where it is 1. A map of another size is scaled to the image's.
pub fn overlay(image: &RgbImage, map: &HeatMap) -> RgbImage {
    let (width, height) = image.dimensions();
    let size = [height as usize, width as usize];
    let heat = scaled(map.values.clone(), [map.height, map.width], size);
    let mut picture = image.clone();
    for (Rgb(pixel), heat) in picture.pixels_mut().zip(heat) {
        let heat = heat.clamp(0.0, 1.0);
        // The luma of ITU-R BT.601.
        let grey = 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
        let colour = [255.0, 255.0 * (2.0 * heat - 1.0).max(0.0), 0.0];
        for (channel, colour) in pixel.iter_mut().zip(colour) {
            let pale = (f32::from(*channel) + grey) / 2.0;
            *channel = (pale + 0.75 * heat * (colour - pale)).round() as u8;
        }
    }
    picture
}
