//! Safetensors files.

use half::f16;
use kiln::io::{HostTensor, StateDict};
use kiln::{DType, Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A fresh folder for one test's files.
fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A file of this header and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A file of one tensor `w`.
fn one(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let end = data.len();
    file(&format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#), data)
}

fn read(bytes: &[u8]) -> Result<StateDict> {
    StateDict::read(bytes, bytes.len() as u64, Path::new("model.safetensors"))
}

#[track_caller]
fn assert_refused<T>(result: Result<T>, expected: &str) {
    let error = result.err().expect("an error");
    let message = error.to_string();
    assert!(matches!(error, Error::File { .. }), "{message}");
    assert!(message.contains("model.safetensors: ") && message.contains(expected), "{message}");
}

fn example() -> StateDict {
    let tensors = [
        ("mask", HostTensor::from_slice(&[3], &[true, false, true]).unwrap()),
        ("half", HostTensor::from_slice(&[1, 3], &[1.5, -2.0, 65504.0].map(f16::from_f32)).unwrap()),
        ("index", HostTensor::from_slice(&[2], &[i64::from(i32::MIN), 7]).unwrap()),
        ("weight \"é\"", HostTensor::from_slice(&[2, 2], &[1.0f32, -0.0, f32::INFINITY, 1e-42]).unwrap()),
        ("scalar", HostTensor::from_slice(&[], &[3.25f32]).unwrap()),
        ("empty", HostTensor::from_slice::<f32>(&[0, 4], &[]).unwrap()),
    ];
    StateDict {
        tensors: tensors.map(|(key, tensor)| (key.to_string(), tensor)).into(),
        metadata: [("model", "cnn"), ("classes", "[\"a\",\n\"b\"]")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
    }
}

#[test]
fn round_trip() {
    let dir = folder("round_trip");
    let path = dir.join("model.safetensors");
    let state = example();
    fs::write(&path, "what was there before").unwrap();
    state.save(&path).unwrap();
    let read = StateDict::load(&path).unwrap();
    assert_eq!(read, state);
    assert_eq!(read.tensors["mask"].to_vec::<bool>().unwrap(), [true, false, true]);
    assert_eq!(read.tensors["index"].to_vec::<i32>().unwrap(), [i32::MIN, 7]);
    assert_eq!(read.tensors["scalar"].to_vec::<f32>().unwrap(), [3.25]);
    assert!(read.tensors["scalar"].to_vec::<i32>().is_err());

    // The reference implementation reads it too, and a truth value takes one byte.
    let bytes = fs::read(&path).unwrap();
    let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(reference.len(), 6);
    assert_eq!(reference.tensor("mask").unwrap().data(), [1, 0, 1]);
    assert_eq!(reference.tensor("half").unwrap().shape(), [1, 3]);

    state.save(dir.join("again.safetensors")).unwrap();
    assert_eq!(fs::read(dir.join("again.safetensors")).unwrap(), bytes, "the same bytes each time");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "no temporary file is left");
    StateDict::default().save(&path).unwrap();
    assert_eq!(StateDict::load(&path).unwrap(), StateDict::default());
}

#[test]
fn what_cannot_be_saved_leaves_the_old_file() {
    let dir = folder("what_cannot_be_saved");
    let path = dir.join("model.safetensors");
    let state = example();
    state.save(&path).unwrap();
    let mut wrong = state.clone();
    wrong.tensors.get_mut("half").unwrap().bytes.pop();
    assert_refused(wrong.save(&path), "tensor \"half\": 5 bytes for shape [1, 3] of f16");
    let mut wrong = state.clone();
    wrong.tensors.insert("__metadata__".into(), state.tensors["mask"].clone());
    assert_refused(wrong.save(&path), "__metadata__");
    assert_eq!(StateDict::load(&path).unwrap(), state);

    for path in [dir.join("no/such/folder/m"), "/".into(), dir.clone()] {
        assert!(matches!(state.save(&path), Err(Error::Io { path: named, .. }) if named == path));
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no temporary file is left");
    assert!(matches!(StateDict::load(dir.join("none")), Err(Error::Io { .. })));
    assert!(StateDict::load(&dir).is_err());
}

#[test]
fn other_types_become_the_nearest() {
    let get = |bytes: Vec<u8>| read(&bytes).unwrap().tensors.remove("w").unwrap();
    let wide: Vec<u8> = [-3i64, i64::from(i32::MAX)].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(get(one("I64", "[2]", &wide)).to_vec::<i32>().unwrap(), [-3, i32::MAX]);
    let wide: Vec<u8> = [0.1f64, 1e300].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(get(one("F64", "[2]", &wide)).to_vec::<f32>().unwrap(), [0.1, f32::INFINITY]);
    assert_eq!(get(one("BF16", "[1]", &[0x80, 0xbf])).to_vec::<f32>().unwrap(), [-1.0]);
    assert_eq!(get(one("U8", "[2,1]", &[0, 255])).to_vec::<i32>().unwrap(), [0, 255]);
    assert_eq!(get(one("BOOL", "[2]", &[0, 1])).dtype, DType::Bool);

    let large = one("I64", "[1]", &(1i64 << 31).to_le_bytes());
    assert_refused(read(&large), "tensor \"w\": element 0 is 2147483648, which does not fit i32");
    assert_refused(read(&one("I8", "[1]", &[0])), "tensor \"w\": elements of type I8");
    assert_refused(read(&one("F32", "[1,1,1,1,1,1,1,1,1]", &[0; 4])), "tensor \"w\": shape: rank 9");
}

#[test]
fn corruptions_are_named() {
    let header = |bytes: &[u8]| read(&file(std::str::from_utf8(bytes).unwrap(), &[]));
    assert_refused(read(&[]), "truncated: 0 bytes");
    assert_refused(read(&[1, 0, 0]), "truncated: 3 bytes");
    assert_refused(read(&[255; 64]), "a header of 18446744073709551615 bytes in a file of 64");
    assert_refused(header(b"{\"w\":"), "the header is wrong: EOF");
    assert_refused(header(b"[]"), "the header is wrong");
    assert_refused(header(&[b'['; 4000]), "the header is wrong");
    assert_refused(read(&file("\u{0}", &[])), "the header is wrong");
    assert_refused(read(&[&2u64.to_le_bytes()[..], b"\xff\xff"].concat()), "the header is wrong");
    assert_refused(read(&one("F99", "[1]", &[0; 4])), "unknown variant `F99`");
    assert_refused(read(&one("F32", "[2]", &[0; 4])), "invalid shape, data type, or offset");
    assert_refused(read(&one("F32", "[-1]", &[0; 4])), "the header is wrong");
    assert_refused(read(&one("F32", "[4294967296,4294967296,4294967296]", &[0; 4])), "overflow");

    let mut whole = one("F32", "[4]", &[0; 16]);
    assert_refused(
        read(&whole[..whole.len() - 3]),
        "truncated: the header describes 16 bytes of data, found 13",
    );
    whole.push(0);
    assert_refused(read(&whole), "trailing data: the header describes 16 bytes of data, found 17");
    let entry = |name: &str, from: u64, to: u64| {
        let size = to.wrapping_sub(from);
        format!(r#""{name}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{from},{to}]}}"#)
    };
    let several = |entries: &[String]| read(&file(&format!("{{{}}}", entries.join(",")), &[0; 8]));
    assert_refused(several(&[entry("a", 0, 4), entry("b", 3, 8)]), "invalid offset for tensor `b`");
    assert_refused(several(&[entry("a", 0, 4), entry("b", 5, 8)]), "invalid offset for tensor `b`");
    assert_refused(several(&[entry("a", 4, 0)]), "invalid offset for tensor `a`");
    // Claims that reach the end of the address space.
    let step = (1 << 61) - 1;
    let huge: Vec<_> = (0..8).map(|i| entry(&i.to_string(), i * step, (i + 1) * step)).collect();
    assert_refused(several(&huge), "truncated");
}

#[test]
fn damaged_files_never_panic() {
    let path = folder("damaged_files").join("model.safetensors");
    example().save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    for end in 0..whole.len() {
        assert!(matches!(read(&whole[..end]), Err(Error::File { .. })), "cut at {end}");
    }
    for place in 0..whole.len() {
        for flip in 1..=255 {
            let mut bytes = whole.clone();
            bytes[place] ^= flip;
            if let Ok(state) = read(&bytes) {
                assert!(state.tensors.len() <= 6);
            }
        }
    }
}

#[test]
fn check_lists_every_difference() {
    let expected = |shapes: &[(&str, &[usize])]| -> BTreeMap<String, Vec<usize>> {
        shapes.iter().map(|(key, shape)| (key.to_string(), shape.to_vec())).collect()
    };
    let mut state = example();
    state.tensors.retain(|key, _| ["half", "index", "mask", "scalar"].contains(&key.as_str()));
    let same = expected(&[("half", &[1, 3]), ("index", &[2]), ("mask", &[3]), ("scalar", &[])]);
    state.check("m", &same).unwrap();

    let other =
        expected(&[("half", &[3, 1]), ("index", &[2]), ("mask", &[4]), ("new.a", &[1]), ("new.b", &[])]);
    let error = state.check("m", &other).unwrap_err();
    let Error::Keys { path, missing, unexpected, mismatched } = error else { panic!("{error}") };
    assert_eq!(path, Path::new("m"));
    assert_eq!(missing, ["new.a", "new.b"]);
    assert_eq!(unexpected, ["scalar"]);
    assert_eq!(mismatched, ["half: file [1, 3], model [3, 1]", "mask: file [3], model [4]"]);
}

#[test]
fn training_fixtures_can_be_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fixtures/train");
    let runs: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("runs.json")).unwrap()).unwrap();
    for run in runs["runs"].as_array().unwrap() {
        let data = StateDict::load(dir.join(run["data"].as_str().unwrap())).unwrap();
        let [steps, batch] = ["steps", "batch"].map(|key| run[key].as_u64().unwrap() as usize);
        assert_eq!(data.tensors["target"].shape, [steps, batch]);
        let state = StateDict::load(dir.join(run["tensors"].as_str().unwrap())).unwrap();
        for key in run["final"].as_object().unwrap().keys() {
            assert_eq!(state.tensors[&format!("final/{key}")].dtype, DType::F32);
        }
    }
}
