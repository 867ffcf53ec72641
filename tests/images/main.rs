//! Image data: files, trees of them, and what becomes of an image on its way to a network.

mod augment;
mod folders;
mod formats;
mod preprocessing;
mod records;

use image::{ImageFormat, Rgb, RgbImage};
use kiln::{Error, Result};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// A fresh folder for one test's files.
fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images").join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A picture that differs from pixel to pixel, and with `tone`.
fn picture(width: u32, height: u32, tone: u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([tone, (x * 255 / width) as u8, (y * 255 / height) as u8]))
}

fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Writes a file and the folders above it.
fn write(path: PathBuf, bytes: &[u8]) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn png(path: PathBuf, tone: u8) -> PathBuf {
    write(path, &encoded(&picture(6, 4, tone), ImageFormat::Png))
}

/// Asserts that this is a `File` error that says all of `expected`.
#[track_caller]
fn assert_refused<T>(result: Result<T>, expected: &[&str]) {
    match result.err() {
        Some(error @ Error::File { .. }) => {
            let text = error.to_string();
            expected.iter().for_each(|part| assert!(text.contains(part), "no {part:?} in {text:?}"));
        }
        Some(error) => panic!("not a file error: {error:?}"),
        None => panic!("accepted"),
    }
}

/// Asserts that one of `all` says all of `expected`.
#[track_caller]
fn assert_says(all: &[String], expected: &[&str]) {
    let fits = |text: &String| expected.iter().all(|part| text.contains(part));
    assert!(all.iter().any(fits), "{expected:?} is not in {all:?}");
}
