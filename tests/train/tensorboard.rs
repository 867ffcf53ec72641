use crate::{assert_refused, folder};
use kiln::train::EventWriter;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// CRC-32C by its table, masked as TFRecords mask it: another way than the library's.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut table = [0u32; 256];
    for (byte, entry) in (0..).zip(&mut table) {
        *entry = byte;
        for _ in 0..8 {
            *entry = if *entry & 1 == 1 { *entry >> 1 ^ 0x82f6_3b78 } else { *entry >> 1 };
        }
    }
    let crc = !bytes.iter().fold(!0, |crc, byte| table[(crc as u8 ^ byte) as usize] ^ crc >> 8);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The messages of a file of TFRecords.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(word(8), masked_crc(&bytes[..8]), "the length's checksum");
        let message = bytes[12..12 + length].to_vec();
        assert_eq!(word(12 + length), masked_crc(&message), "the message's checksum");
        records.push(message);
        bytes = &bytes[16 + length..];
    }
    records
}

/// A field of a message: its number, and its bytes or its value's.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
        let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
        *bytes = &bytes[end + 1..];
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let size = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, bytes[..size].to_vec()));
        bytes = &bytes[size..];
    }
    fields
}

fn double(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().unwrap())
}

/// Time, step, tag and value of a scalar's message.
fn scalar(message: &[u8]) -> (f64, u64, String, f32) {
    let event = fields(message);
    let numbers: Vec<u64> = event.iter().map(|field| field.0).collect();
    assert_eq!(numbers, [1, 2, 5]);
    let summary = fields(&event[2].1);
    assert_eq!((summary.len(), summary[0].0), (1, 1));
    let value = fields(&summary[0].1);
    assert_eq!((value.len(), value[0].0, value[1].0), (2, 1, 2));
    let step = u64::from_le_bytes(event[1].1.as_slice().try_into().unwrap());
    let tag = String::from_utf8(value[0].1.clone()).unwrap();
    (double(&event[0].1), step, tag, f32::from_le_bytes(value[1].1.as_slice().try_into().unwrap()))
}

#[test]
fn written_is_read() {
    let folder = folder("events").join("made/on/the/way");
    let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    let long = "loss/".repeat(60); // Lengths beyond 127 take two bytes.
    let mut writer = EventWriter::create(&folder).unwrap();
    writer.scalar("loss/train", 0, 0.5, time).unwrap();
    writer.scalar(&long, 300, f64::NAN, time).unwrap();
    writer.scalar("größe", i64::MAX as u64, -1e-3, time).unwrap();
    writer.flush().unwrap();

    let name = writer.path().file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("events.out.tfevents."), "{name}");
    let messages = records(&fs::read(writer.path()).unwrap());
    assert_eq!(messages.len(), 4);
    let first = fields(&messages[0]);
    assert_eq!((first[0].0, first[1].0, first[1].1.as_slice()), (1, 3, b"brain.Event:2".as_slice()));
    assert!(double(&first[0].1) > 1.7e9);
    assert_eq!(scalar(&messages[1]), (1_700_000_000.25, 0, "loss/train".to_string(), 0.5));
    let (_, step, tag, value) = scalar(&messages[2]);
    assert!((step, tag) == (300, long) && value.is_nan());
    assert_eq!(scalar(&messages[3]), (1_700_000_000.25, i64::MAX as u64, "größe".to_string(), -1e-3));
}

#[test]
fn a_second_writer_starts_a_second_file() {
    let folder = folder("two_writers");
    let (first, second) = (EventWriter::create(&folder).unwrap(), EventWriter::create(&folder).unwrap());
    assert!(first.path() < second.path());
}

#[test]
fn bad_input() {
    let folder = folder("bad_events");
    let file = folder.join("file");
    fs::write(&file, "").unwrap();
    assert_refused(EventWriter::create(&file), "file");
    assert_refused(EventWriter::create(Path::new("/dev/null/events")), "/dev/null/events");
    let mut writer = EventWriter::create(&folder).unwrap();
    assert_refused(writer.scalar("loss", u64::MAX, 0.0, UNIX_EPOCH), "step 18446744073709551615");
}
