//! Every kind of image file, and files that are none.

use crate::{assert_refused, assert_says, encoded, folder, picture, png, write};
use image::codecs::gif::{GifEncoder, Repeat};
use image::{DynamicImage, Frame, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use kiln::Result;
use kiln::data::{Dataset, ImageSet, Images, Preprocessing, decode_bytes, decode_file};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

fn decode(bytes: &[u8]) -> Result<RgbImage> {
    decode_bytes(bytes, Path::new("image"))
}

fn written(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fixtures/images").join(name)
}

/// A chunk of a PNG file.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind[..], data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
}

/// A PNG file with a header, something after it, and pixels that are not there.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunk(b"IDAT", &[]), &chunk(b"IEND", &[])].concat()
}

/// `bytes` with `more` before the first `mark`; for a PNG chunk, before its length.
fn inserted(bytes: &[u8], mark: &[u8], back: usize, more: &[u8]) -> Vec<u8> {
    let place = bytes.windows(mark.len()).position(|window| window == mark).unwrap() - back;
    [&bytes[..place], more, &bytes[place..]].concat()
}

#[test]
fn formats_without_loss_come_back_exactly() -> Result<()> {
    let image = picture(9, 5, 77);
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        assert_eq!(decode(&encoded(&image, format))?, image, "{format:?}");
    }
    let jpeg = decode(&encoded(&RgbImage::from_pixel(9, 5, Rgb([200, 30, 60])), ImageFormat::Jpeg))?;
    assert_eq!(jpeg.dimensions(), (9, 5));
    assert!(jpeg.pixels().all(|pixel| pixel.0.iter().zip([200, 30, 60]).all(|(a, b)| a.abs_diff(b) < 5)));
    Ok(())
}

#[test]
fn every_kind_of_pixel_becomes_rgb() -> Result<()> {
    let grey = ImageBuffer::from_fn(3, 2, |x, y| Luma([(60 * x + 50 * y) as u8]));
    let decoded = decode(&written(grey.into(), ImageFormat::Png))?;
    assert!(decoded.enumerate_pixels().all(|(x, y, pixel)| pixel.0 == [(60 * x + 50 * y) as u8; 3]));

    // 257 is 1 / 255 of 65,535.
    let deep =
        ImageBuffer::from_fn(3, 2, |x, y| Rgb([257 * 10, 257 * (100 + x as u16), 257 * (200 + y as u16)]));
    let decoded = decode(&written(deep.into(), ImageFormat::Png))?;
    assert!(decoded.enumerate_pixels().all(|(x, y, pixel)| pixel.0 == [10, 100 + x as u8, 200 + y as u8]));

    let clear = RgbaImage::from_fn(256, 1, |x, _| Rgba([200, 100, 0, x as u8]));
    let decoded = decode(&written(clear.into(), ImageFormat::Png))?;
    for (x, _, pixel) in decoded.enumerate_pixels() {
        let over = |value: f64| (value * f64::from(x) / 255.0 + 255.0 - f64::from(x)).round() as u8;
        assert_eq!(pixel.0, [over(200.0), over(100.0), over(0.0)]);
    }

    let palette = decode_file(fixture("palette.png"))?;
    let expected = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];
    assert_eq!(palette.pixels().map(|pixel| pixel.0).collect::<Vec<_>>(), expected);
    let cmyk = decode_file(fixture("cmyk.jpg"))?;
    for (x, y, [red, green, blue]) in cmyk.enumerate_pixels().map(|(x, y, pixel)| (x, y, pixel.0)) {
        let (ink, other) = if x < 8 { (red, blue) } else { (blue, red) };
        assert!(ink > 245 && other < 10 && green < 10, "{:?} at {x}, {y}", [red, green, blue]);
    }
    Ok(())
}

#[test]
fn photos_are_turned_as_their_camera_was() -> Result<()> {
    // White in one corner block tells all eight orientations apart.
    let photo = RgbImage::from_fn(32, 16, |x, y| Rgb([if x < 8 && y < 8 { 255 } else { 0 }; 3]));
    let jpeg = encoded(&photo, ImageFormat::Jpeg);
    // The corner in which it comes to lie by the EXIF standard: right, and at the bottom.
    let corners = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0], [1, 0], [1, 1], [0, 1]];
    let root = folder("orientation");
    for (orientation, [right, bottom]) in (1_u8..).zip(corners) {
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let segment = [&[0xff, 0xe1, 0, exif.len() as u8 + 2][..], &exif].concat();
        let bytes = [&jpeg[..2], &segment, &jpeg[2..]].concat();
        let decoded = decode(&bytes)?;
        let (width, height) = if orientation > 4 { (16, 32) } else { (32, 16) };
        assert_eq!(decoded.dimensions(), (width, height), "{orientation}");
        let bright = decoded.get_pixel(4 + right * (width - 8), 4 + bottom * (height - 8));
        assert!(bright.0[0] > 200, "orientation {orientation}");
        write(root.join(["a", "b"][usize::from(orientation) % 2]).join(format!("{orientation}.jpg")), &bytes);
    }
    // What the header says is what is shown.
    fs::remove_dir_all(root.join("a")).unwrap();
    write(root.join("a/8.jpg"), &jpeg);
    let typical = ImageSet::open(&root)?.train.typical();
    assert_eq!((typical.width, typical.height, typical.channels), (32, 16, 1));
    Ok(())
}

/// Two frames of a GIF, red and green.
fn gif() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(Repeat::Infinite).unwrap();
    for color in [[255, 0, 0, 255], [0, 255, 0, 255]] {
        encoder.encode_frame(Frame::new(RgbaImage::from_pixel(4, 4, Rgba(color)))).unwrap();
    }
    drop(encoder);
    bytes
}

/// Two frames of a WebP, red and green.
fn webp() -> Vec<u8> {
    let riff = |kind: &[u8], data: &[u8]| [kind, &(data.len() as u32).to_le_bytes(), data].concat();
    let frame = |color| {
        let still = encoded(&RgbImage::from_pixel(4, 4, Rgb(color)), ImageFormat::WebP);
        // Place, size less one, duration and flags; then the still image without its header.
        riff(b"ANMF", &[&[0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 10, 0, 0, 2][..], &still[12..]].concat())
    };
    let parts = [
        riff(b"VP8X", &[2, 0, 0, 0, 3, 0, 0, 3, 0, 0]),
        riff(b"ANIM", &[0; 6]),
        frame([255, 0, 0]),
        frame([0, 255, 0]),
    ];
    riff(b"RIFF", &[b"WEBP".to_vec(), parts.concat()].concat())
}

#[test]
fn animations_are_their_first_frame() -> Result<()> {
    let root = folder("animations");
    let red = RgbImage::from_pixel(4, 4, Rgb([255, 0, 0]));
    let apng =
        inserted(&encoded(&red, ImageFormat::Png), b"IDAT", 4, &chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]));
    for (name, bytes) in [("a.gif", gif()), ("b.webp", webp()), ("c.png", apng)] {
        assert_eq!(decode(&bytes)?, red, "{name}");
        write(root.join("x").join(name), &bytes);
    }
    png(root.join("y/still.png"), 5);
    let set = ImageSet::open(&root)?.train;
    assert_eq!((set.counts(), set.skipped()), (vec![3, 1], &[][..]));
    assert_says(set.warnings(), &["3 animations", "first frame", "a.gif", "b.webp", "c.png"]);
    Ok(())
}

#[test]
fn files_that_are_no_whole_image_are_skipped_and_named() -> Result<()> {
    let root = folder("skipped");
    let (jpeg, good) =
        (encoded(&picture(64, 64, 9), ImageFormat::Jpeg), encoded(&picture(64, 64, 9), ImageFormat::Png));
    let mut broken = good.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 0xff;
    // A JPEG with a whole thumbnail in its metadata has an end in spite of being cut.
    let thumbnail =
        [&[0xff, 0xd8, 0xff, 0xe1][..], &[0, 8], b"\xff\xda..\xff\xd9", &jpeg[2..jpeg.len() - 20]].concat();
    let mut wide = jpeg.clone();
    let frame = wide.windows(2).position(|mark| mark == [0xff, 0xc0]).unwrap();
    wide[frame + 5..frame + 9].fill(0xff);
    let mut screen = gif();
    screen[6..10].fill(0xff);
    let mut bitmap = encoded(&picture(4, 4, 1), ImageFormat::Bmp);
    bitmap[18..26].copy_from_slice(&[0, 128, 0, 0, 0, 128, 0, 0]);
    let files: [(&str, &[u8], &str); 13] = [
        ("empty.png", b"", "an empty file"),
        ("text.jpg", b"This is not a picture.", "not an image"),
        ("cut.jpg", &jpeg[..jpeg.len() - 20], "truncated"),
        ("cut.png", &good[..good.len() / 2], "truncated"),
        ("thumbnail.jpg", &thumbnail, "truncated"),
        ("cut.gif", &gif()[..30], ""),
        ("cut.webp", &webp()[..40], ""),
        ("broken.png", &broken, ""),
        (
            "bomb.png",
            &png_header(100_000, 100_000),
            "100000x100000 pixels take 28610 MiB, the limit is 256 MiB",
        ),
        ("bomb.jpg", &wide, "65535x65535 pixels"),
        ("bomb.gif", &screen, "65535x65535 pixels"),
        ("bomb.bmp", &bitmap, "32768x32768 pixels"),
        ("nothing.png", &png_header(0, 0), ""),
    ];
    for (name, bytes, reason) in files {
        assert_refused(decode(bytes), &["image", reason]);
        write(root.join("x").join(name), bytes);
    }
    png(root.join("x/good.png"), 1);
    png(root.join("y/good.png"), 2);
    let set = ImageSet::open(&root)?.train;
    assert_eq!(set.counts(), [1, 1]);
    let skipped: Vec<String> = set.skipped().iter().map(|it| format!("{}: {}", it.name, it.reason)).collect();
    assert_eq!(skipped.len(), files.len());
    files.iter().for_each(|(name, _, reason)| assert_says(&skipped, &[name, reason]));
    Ok(())
}

#[test]
fn content_tells_the_format() -> Result<()> {
    let root = folder("extensions");
    let image = picture(6, 4, 3);
    write(root.join("a/really.jpg"), &encoded(&image, ImageFormat::Png));
    write(root.join("a/upper.PNG"), &encoded(&image, ImageFormat::Png));
    write(root.join("b/nothing"), &encoded(&picture(6, 4, 4), ImageFormat::Png));
    let set = ImageSet::open(&root)?.train;
    assert_eq!(set.decode(0)?, image);
    assert_says(set.warnings(), &["1 images whose name has the extension of another format", "really.jpg"]);
    Ok(())
}

#[test]
fn damage_that_shows_late_is_replaced_and_counted() -> Result<()> {
    let root = folder("late");
    let mut broken = encoded(&picture(64, 64, 1), ImageFormat::Png);
    let middle = broken.len() / 2;
    broken[middle] ^= 0xff;
    write(root.join("a/1.png"), &broken);
    png(root.join("a/2.png"), 2);
    write(root.join("b/1.png"), &broken);
    // Too large a set to decode all of it when it is opened.
    fs::File::create(root.join("b/huge.png")).and_then(|file| file.set_len(65 << 20)).unwrap();
    let set = ImageSet::open(&root)?.train;
    assert_eq!((set.len(), set.skipped().len()), (3, 1));
    let preprocessing = Preprocessing { channels: 3, size: 4, mean: vec![0.0; 3], std: vec![1.0; 3] };
    let images = Images::new(set, preprocessing)?;
    let (mut replaced, mut second) = ([0.0; 48], [0.0; 48]);
    assert_eq!((images.sample(0, &mut replaced)?, images.sample(1, &mut second)?), (0, 0));
    assert_eq!(replaced, second);
    assert_eq!(images.failed().len(), 1);
    assert!(images.failed()[0].name.ends_with("1.png"), "{:?}", images.failed());
    assert!(images.sample(2, &mut replaced).is_err() && images.sample(3, &mut replaced).is_err());
    Ok(())
}

#[cfg(unix)]
#[test]
fn odd_names_links_and_pipes_do_no_harm() -> Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::{ffi::OsStrExt, fs::symlink};
    let root = folder("odd");
    png(root.join("a/line\nbreak.png"), 1);
    png(root.join("a").join(OsStr::from_bytes(b"\xff\xfe.png")), 2);
    png(root.join("b\tc/3.png"), 3);
    symlink(&root, root.join("a/loop")).unwrap();
    symlink("away.png", root.join("a/dangling.png")).unwrap();
    symlink("circle", root.join("a/circle")).unwrap();
    symlink("/dev/zero", root.join("a/endless.png")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(root.join("a/pipe.png")).status().unwrap().success());
    let set = ImageSet::open(&root)?.train;
    assert_eq!(set.classes(), ["a", "b\\tc"]);
    let names = (0..set.len()).map(|index| set.name(index)).collect::<Result<Vec<_>>>()?;
    assert_says(&names, &["line\\nbreak.png"]);
    assert!(names.iter().all(|name| !name.contains('\n')), "{names:?}");
    let skipped: Vec<String> = set.skipped().iter().map(|it| format!("{}: {}", it.name, it.reason)).collect();
    assert_says(&skipped, &["endless.png", "not a file"]);
    assert_says(&skipped, &["pipe.png", "not a file"]);
    assert_says(&skipped, &["dangling.png", "No such file"]);
    Ok(())
}
