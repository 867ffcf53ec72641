//! Text, templates and images inside HTML.

use crate::{Error, Result};
use image::imageops::{FilterType, resize};
use image::{ImageFormat, RgbImage};
use std::io::Cursor;

/// Text that means itself wherever it stands in HTML, attributes included.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A template with each `{{key}}` replaced, in one pass: what is put in is not read again.
pub(super) fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let mut pieces = template.split("{{");
    let mut page = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let (key, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        page.extend(parts.iter().find(|(name, _)| *name == key).map(|(_, part)| part.as_str()));
        page += rest;
    }
    page
}

/// The image as a `data:` URI of a PNG with at most `side` pixels a side.
pub(super) fn data_uri(image: &RgbImage, side: u32) -> Result<String> {
    let (width, height) = image.dimensions();
    let scale =
        |length: u32, longest: u32| (u64::from(length) * u64::from(side) / u64::from(longest)).max(1) as u32;
    let small = match width.max(height) {
        longest if longest > side => {
            &resize(image, scale(width, longest), scale(height, longest), FilterType::Triangle)
        }
        _ => image,
    };
    let mut png = Cursor::new(Vec::new());
    small
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| Error::op("report", format!("a thumbnail of {width}x{height}: {error}")))?;
    Ok(format!("data:image/png;base64,{}", base64(&png.into_inner())))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let letter = LETTERS[bits >> (18 - 6 * at) & 63];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    /// The vectors of RFC 4648, section 10.
    #[test]
    fn base64() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(super::base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn what_is_put_in_is_not_read_again() {
        let parts = [("a", "{{b}}".to_string()), ("b", "!".to_string())];
        assert_eq!(super::fill("<{{a}}{{b}}>", &parts), "<{{b}}!>");
    }
}
