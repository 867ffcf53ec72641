//! Image files to and from the numbers that networks take.
//!
//! What a file is, is told by its content, not by its name. Decoding one image holds at most about
//! 1 GiB: a file above 256 MiB, or an image above 256 MiB decoded (as the file stores it, so 89
//! megapixels of 8-bit RGB), is refused from its header, and the decoder, the image and its
//! conversion to 8-bit RGB come to four times that at the most. Images above 32 MiB are decoded one
//! at a time, whatever the number of threads, so threads together hold at most 1 GiB and 128 MiB
//! for each of them.

use crate::{Error, Result};
use ::image::imageops::FilterType;
use ::image::metadata::Orientation;
use ::image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, Rgba};
use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The largest file that is read, and the largest image that is decoded, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Images above this many bytes are decoded one at a time.
const LARGE_BYTES: u64 = 32 << 20;
static LARGE: Mutex<()> = Mutex::new(());

/// Reads an image file as 8-bit RGB, as a viewer would show it: turned by its EXIF orientation,
/// transparent places over white, 16-bit, palette, CMYK and grey images converted, the first frame
/// of an animation.
///
/// [`Error::Io`] where the file cannot be read, [`Error::File`] where it is not a whole image of a
/// format that Kiln reads, or is too large (see the [module](self)).
pub fn decode_file(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    decode_bytes(&read_file(path)?, path)
}

/// Like [`decode_file`] from the file's bytes; `name` is only named in errors.
pub fn decode_bytes(bytes: &[u8], name: &Path) -> Result<RgbImage> {
    let image = decode(bytes, name)?;
    Ok(if image.color().has_alpha() { over_white(image) } else { image.into_rgb8() })
}

/// Reads an image file as grey values `[height * width]` in 0..=1, scaled to that size where it has
/// another. Otherwise like [`decode_file`].
pub fn load_gray(path: impl AsRef<Path>, height: u32, width: u32) -> Result<Vec<f32>> {
    let image = DynamicImage::ImageRgb8(decode_file(path)?).into_luma8();
    let image = if image.dimensions() == (width, height) {
        image
    } else {
        ::image::imageops::resize(&image, width, height, FilterType::Triangle)
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

/// What the first bytes of an image file say.
#[cfg(feature = "train")]
pub(super) struct Header {
    pub format: ImageFormat,
    /// As shown, that is turned by the orientation.
    pub width: u32,
    /// As shown.
    pub height: u32,
    pub grey: bool,
    /// Whether there are more frames than the one that is read.
    pub animated: bool,
}

/// Reads the header, and looks whether the file was cut off.
#[cfg(feature = "train")]
pub(super) fn header(bytes: &[u8], name: &Path) -> Result<Header> {
    guarded(name, || {
        let (format, decoder, orientation) = open(bytes, name)?;
        let (mut width, mut height) = decoder.dimensions();
        if orientation.to_exif() > 4 {
            (width, height) = (height, width);
        }
        let grey = !decoder.color_type().has_color();
        Ok(Header { format, width, height, grey, animated: animated(bytes, format) })
    })
}

/// Whether the file says that it is an animation.
#[cfg(feature = "train")]
fn animated(bytes: &[u8], format: ImageFormat) -> bool {
    let first = |mark: &[u8]| bytes.windows(mark.len()).position(|window| window == mark);
    match format {
        // An animation's chunk comes before the pixels.
        ImageFormat::Png => first(b"acTL").is_some_and(|control| Some(control) < first(b"IDAT")),
        // The extension by which all of them are repeated.
        ImageFormat::Gif => first(b"NETSCAPE2.0").is_some(),
        // A flag of the extended header.
        ImageFormat::WebP => {
            bytes.get(12..16) == Some(b"VP8X") && bytes.get(20).is_some_and(|flags| flags & 2 != 0)
        }
        _ => false,
    }
}

/// The content of a regular file; a pipe or device is refused, since reading it might never end.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io(path, error);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::file(path, "not a file"));
    }
    let too_large = || Err(Error::file(path, format!("a file above the limit of {} MiB", MAX_BYTES >> 20)));
    if metadata.len() > MAX_BYTES {
        return too_large();
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return too_large();
    }
    Ok(bytes)
}

fn decode(bytes: &[u8], name: &Path) -> Result<DynamicImage> {
    guarded(name, || {
        let (_, decoder, orientation) = open(bytes, name)?;
        let large = decoder.total_bytes() > LARGE_BYTES;
        let _one_at_a_time = large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
        let mut image = DynamicImage::from_decoder(decoder).map_err(|error| fault(name, error))?;
        image.apply_orientation(orientation);
        Ok(image)
    })
}

/// A decoder's panic is that file's fault, not the program's.
fn guarded<T>(name: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::file(name, "not a valid image: its decoder gave up")))
}

fn open<'a>(bytes: &'a [u8], name: &Path) -> Result<(ImageFormat, impl ImageDecoder + 'a, Orientation)> {
    if bytes.is_empty() {
        return Err(Error::file(name, "an empty file"));
    }
    let format = ::image::guess_format(bytes).map_err(|_| Error::file(name, "not an image"))?;
    if cut_off(bytes, format) {
        return Err(Error::file(name, "truncated: the image data has no end"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| fault(name, error))?;
    if decoder.total_bytes() == 0 {
        return Err(Error::file(name, "an image without pixels"));
    }
    if decoder.total_bytes() > MAX_BYTES {
        let (width, height) = decoder.dimensions();
        let (size, limit) = (decoder.total_bytes() >> 20, MAX_BYTES >> 20);
        let message = format!("{width}x{height} pixels take {size} MiB, the limit is {limit} MiB");
        return Err(Error::file(name, message));
    }
    // Damaged metadata is no reason to refuse the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((format, decoder, orientation))
}

/// Whether the end is missing. JPEG decoders fill up what is missing with grey and say nothing.
fn cut_off(bytes: &[u8], format: ImageFormat) -> bool {
    let last = |mark: &[u8]| bytes.windows(mark.len()).rposition(|window| window == mark);
    match format {
        // The end of the image after the last start of a scan: metadata may hold a whole thumbnail.
        ImageFormat::Jpeg => last(b"\xff\xd9") < last(b"\xff\xda").or(Some(0)),
        ImageFormat::Png => last(b"IEND").is_none(),
        _ => false,
    }
}

fn over_white(image: DynamicImage) -> RgbImage {
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let Rgba([red, green, blue, alpha]) = *image.get_pixel(x, y);
        let blend = |value| {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        ::image::Rgb([blend(red), blend(green), blend(blue)])
    })
}

fn fault(path: &Path, error: ::image::ImageError) -> Error {
    match error {
        ::image::ImageError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::io(path, error)
        }
        error => Error::file(path, error.to_string().trim_end()),
    }
}
