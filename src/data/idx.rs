//! IDX files, the format of MNIST and its relatives.

use crate::{Error, Result};
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

/// The most data a file may claim, in bytes; the largest IDX set in use (EMNIST) has 0.6 GB.
const MAX_BYTES: u64 = 1 << 32;

/// The content of an IDX file of unsigned bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxArray {
    /// Sizes of the dimensions, none of them zero; the first counts the items.
    pub dims: Vec<usize>,
    /// The elements, row-major; as many as the product of `dims`.
    pub data: Vec<u8>,
}

impl IdxArray {
    /// Reads an IDX file with `rank` dimensions (MNIST's images have 3, its labels 1). Whether it
    /// is gzip-compressed is told from its content, not its name.
    ///
    /// [`Error::Io`] where the file cannot be read, [`Error::File`] where its content is wrong.
    pub fn load(path: impl AsRef<Path>, rank: usize) -> Result<IdxArray> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        IdxArray::read(BufReader::new(file), rank, path)
    }

    /// Like [`load`](IdxArray::load) from any reader; `path` is only named in errors.
    ///
    /// Memory grows with the data that is there, not with what the header claims, and decompression
    /// stops one byte past what the header claims.
    pub fn read(mut source: impl BufRead, rank: usize, path: &Path) -> Result<IdxArray> {
        let start = source.fill_buf().map_err(|source| Error::io(path, source))?;
        // An IDX file begins with two zero bytes, so gzip's mark cannot be one.
        if start.starts_with(&[0x1f, 0x8b]) {
            parse(MultiGzDecoder::new(source), rank, path)
        } else {
            parse(source, rank, path)
        }
    }
}

fn parse(mut source: impl Read, rank: usize, path: &Path) -> Result<IdxArray> {
    let magic = take(&mut source, 4, path)?;
    let [zero_a, zero_b, kind, found_rank] = magic[..] else {
        return Err(Error::file(path, format!("not an IDX file: {} bytes long", magic.len())));
    };
    if (zero_a, zero_b) != (0, 0) {
        let shown = format!("{zero_a:02x} {zero_b:02x} {kind:02x} {found_rank:02x}");
        return Err(Error::file(path, format!("not an IDX file: begins with {shown}, not with 00 00")));
    }
    if kind != 0x08 {
        let name = match kind {
            0x09 => "i8",
            0x0b => "i16",
            0x0c => "i32",
            0x0d => "f32",
            0x0e => "f64",
            _ => "unknown",
        };
        let message = format!("IDX element type 0x{kind:02x} ({name}), expected 0x08 (u8)");
        return Err(Error::file(path, message));
    }
    if found_rank as usize != rank {
        return Err(Error::file(path, format!("IDX data of rank {found_rank}, expected rank {rank}")));
    }

    let header = take(&mut source, 4 * rank, path)?;
    if header.len() < 4 * rank {
        let (expected, found) = (4 + 4 * rank, 4 + header.len());
        let message = format!("truncated: the IDX header has {expected} bytes, found {found}");
        return Err(Error::file(path, message));
    }
    let sizes = header.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let dims: Vec<usize> = sizes.map(|size| size as usize).collect();
    if dims.contains(&0) {
        return Err(Error::file(path, format!("no items: the IDX header says {dims:?}")));
    }
    let bytes = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).filter(|&n| n <= MAX_BYTES);
    let Some(bytes) = bytes else {
        let message = format!("the IDX header says {dims:?}, which is more than {MAX_BYTES} bytes");
        return Err(Error::file(path, message));
    };

    // One byte more than expected shows trailing data, and makes gzip verify its checksum at the end.
    let data = take(&mut source, bytes as usize + 1, path)?;
    let found = data.len() as u64;
    if found < bytes {
        let message = format!("truncated: expected {bytes} bytes of data for {dims:?}, found {found}");
        return Err(Error::file(path, message));
    }
    if found > bytes {
        let message = format!("trailing data: more than the {bytes} bytes that {dims:?} takes");
        return Err(Error::file(path, message));
    }
    Ok(IdxArray { dims, data })
}

/// Up to `limit` bytes, fewer only where the source ends.
fn take(source: &mut impl Read, limit: usize, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match source.take(limit as u64).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(match error.kind() {
            ErrorKind::UnexpectedEof => {
                Error::file(path, format!("truncated: the gzip stream ends after {} bytes", bytes.len()))
            }
            ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                Error::file(path, format!("corrupt gzip stream: {error}"))
            }
            _ => Error::io(path, error),
        }),
    }
}
