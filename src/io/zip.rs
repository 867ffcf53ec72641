//! The entries of a zip archive that are stored as they are.

use std::collections::BTreeMap;

/// Reads a little-endian number of `N` bytes at `at`.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<usize, String> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).ok_or("a truncated zip archive")?;
    Ok(field.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
}

fn range(bytes: &[u8], at: usize, count: usize) -> Result<&[u8], String> {
    let end = at.checked_add(count);
    end.and_then(|end| bytes.get(at..end)).ok_or_else(|| "a truncated zip archive".into())
}

/// The entries of an archive by name, without copying them (PKWARE's APPNOTE 6.3, sections 4.3.7 to
/// 4.3.16). An error for compressed entries and for the form for more than 4 GiB.
pub(super) fn entries(bytes: &[u8]) -> Result<BTreeMap<&str, &[u8]>, String> {
    // The end record may be followed by a comment of up to 65,535 bytes.
    let last = bytes.len().checked_sub(22).ok_or("a truncated zip archive")?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let end = (first..=last).rev().find(|&at| bytes[at..].starts_with(b"PK\x05\x06"));
    let end = end.ok_or("a zip archive without its directory: truncated")?;
    let count = number::<2>(bytes, end + 10)?;
    let mut at = number::<4>(bytes, end + 16)?;
    if count == usize::from(u16::MAX) || at == u32::MAX as usize {
        return Err("a zip archive of more than 4 GiB or 65,534 entries: save it as safetensors".into());
    }

    let mut found = BTreeMap::new();
    for _ in 0..count {
        if range(bytes, at, 4)? != b"PK\x01\x02" {
            return Err("the directory of the zip archive is damaged".into());
        }
        let [name_length, extra, comment] = [28, 30, 32].map(|field| number::<2>(bytes, at + field));
        let (name_length, size) = (name_length?, number::<4>(bytes, at + 24)?);
        let name = std::str::from_utf8(range(bytes, at + 46, name_length)?)
            .map_err(|_| "a name in the zip archive is not UTF-8")?;
        if number::<2>(bytes, at + 10)? != 0 {
            return Err(format!("{name:?} is compressed in the zip archive, expected to be stored"));
        }
        let local = number::<4>(bytes, at + 42)?;
        if range(bytes, local, 4)? != b"PK\x03\x04" {
            return Err(format!("the zip archive does not hold {name:?} where its directory says"));
        }
        let data = local + 30 + number::<2>(bytes, local + 26)? + number::<2>(bytes, local + 28)?;
        found.insert(name, range(bytes, data, size)?);
        at += 46 + name_length + extra? + comment?;
    }
    Ok(found)
}
