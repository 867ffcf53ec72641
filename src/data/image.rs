//! Image files to and from the numbers that networks take.

use crate::{Error, Result};
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageReader, Limits};
use std::path::Path;

/// Reads a PNG or JPEG file as grey values `[height * width]` in 0..=1, scaled to that size where
/// it has another. The format is told by the content, not by the name. An image above 16,384 pixels
/// a side is refused before it is decoded.
pub fn load_gray(path: impl AsRef<Path>, height: u32, width: u32) -> Result<Vec<f32>> {
    let path = path.as_ref();
    let image = decode(path)?.into_luma8();
    let image = if image.dimensions() == (width, height) {
        image
    } else {
        image::imageops::resize(&image, width, height, FilterType::Triangle)
    };
    Ok(image.into_raw().into_iter().map(|byte| f32::from(byte) / 255.0).collect())
}

/// Writes grey values `[height * width]` in 0..=1 as a PNG file.
pub fn save_gray(path: impl AsRef<Path>, values: &[f32], height: u32, width: u32) -> Result<()> {
    let path = path.as_ref();
    let bytes: Vec<u8> = values.iter().map(|value| (value * 255.0).round().clamp(0.0, 255.0) as u8).collect();
    let image = GrayImage::from_raw(width, height, bytes).ok_or_else(|| {
        Error::file(path, format!("{} values are fewer than {height}x{width}", values.len()))
    })?;
    image.save(path).map_err(|error| fault(path, error))
}

fn decode(path: &Path) -> Result<DynamicImage> {
    let mut reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|error| Error::io(path, error))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(16_384);
    limits.max_image_height = Some(16_384);
    reader.limits(limits);
    reader.decode().map_err(|error| fault(path, error))
}

fn fault(path: &Path, error: image::ImageError) -> Error {
    match error {
        image::ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::io(path, error)
        }
        error => Error::file(path, error.to_string()),
    }
}
