//! Event files that TensorBoard reads.
//!
//! A file is a row of TFRecords: the length, its checksum, an `Event` message and its checksum
//! (`tensorflow/core/lib/io/record_writer.h`). The messages are those of `tensorflow/core/util/event.proto`
//! and `tensorflow/core/framework/summary.proto`, of which scalars need five fields; so they are written
//! here field by field, as the protocol buffers' encoding asks.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Writes the scalars of one run; `tensorboard --logdir` shows them.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Starts an event file in a folder, which is made if it is missing. A run that goes on writes another
    /// file into the same folder: TensorBoard reads all of them, in the order they were started.
    ///
    /// # Errors
    /// A folder or file that cannot be written.
    pub fn create(folder: &Path) -> Result<EventWriter> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let now = SystemTime::now();
        let (seconds, pid) = (since_1970(now).as_secs(), process::id());
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // TensorBoard sorts by name, so the time comes first, in ten digits.
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.kiln.{pid}.{number}"));
        let file = File::create_new(&path).map_err(|error| Error::io(&path, error))?;
        let mut writer = EventWriter { path, file: BufWriter::new(file) };
        let mut event = wall_time(now);
        bytes_field(&mut event, 3, b"brain.Event:2");
        writer.record(&event)?;
        Ok(writer)
    }

    /// Adds the value of `tag` (`loss/train`: tags are grouped by what is before the slash) at a step, in
    /// single precision as TensorBoard keeps it.
    ///
    /// # Errors
    /// A file that cannot be written; a step beyond what TensorBoard counts to, 2^63 - 1.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64, time: SystemTime) -> Result<()> {
        if i64::try_from(step).is_err() {
            return Err(Error::op("tensorboard", format!("step {step} is above {}", i64::MAX)));
        }
        let mut entry = Vec::new();
        bytes_field(&mut entry, 1, tag.as_bytes());
        entry.push(field(2, FIXED32));
        entry.extend((value as f32).to_le_bytes());
        let mut summary = Vec::new();
        bytes_field(&mut summary, 1, &entry);
        let mut event = wall_time(time);
        event.push(field(2, VARINT));
        varint(&mut event, step);
        bytes_field(&mut event, 5, &summary);
        self.record(&event)
    }

    /// Brings what was added to the file, for a TensorBoard that watches; dropping the writer does it too.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| Error::io(&self.path, error))
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let parts = [&length, &masked_crc32c(&length)[..], event, &masked_crc32c(event)];
        self.file.write_all(&parts.concat()).map_err(|error| Error::io(&self.path, error))
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Types of fields on the wire.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// What a field with a number below 16 starts with.
const fn field(number: u8, wire_type: u8) -> u8 {
    number << 3 | wire_type
}

/// An event that so far holds its time, in seconds since 1970.
fn wall_time(time: SystemTime) -> Vec<u8> {
    let mut event = vec![field(1, FIXED64)];
    event.extend(since_1970(time).as_secs_f64().to_le_bytes());
    event
}

fn bytes_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(field(number, BYTES));
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

/// Seven bits a byte, the lowest first; all bytes but the last have the eighth bit set.
fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// A CRC of data that holds CRCs is weak, so TFRecords rotate theirs and add a constant.
fn masked_crc32c(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C (Castagnoli; RFC 3720), bit by bit: records are short.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

#[cfg(test)]
mod tests {
    /// The vectors of RFC 3720, appendix B.4, and the usual check value.
    #[test]
    fn crc32c() {
        let (up, down): (Vec<u8>, Vec<u8>) = ((0..32).collect(), (0..32).rev().collect());
        assert_eq!(super::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(super::crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(super::crc32c(&up), 0x46dd_794e);
        assert_eq!(super::crc32c(&down), 0x113f_db5c);
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
    }
}
