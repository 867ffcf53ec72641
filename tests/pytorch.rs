//! PyTorch's checkpoints: files that `tests/fixtures/weights_main.py` made, and damaged and hostile ones.

use half::f16;
use kiln::io::{HostTensor, StateDict, load_weights};
use kiln::nn::{BatchNorm1d, Linear, Params};
use kiln::{Element, Engine, Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fixtures/weights").join(name)
}

fn read(bytes: &[u8]) -> Result<StateDict> {
    StateDict::read_pytorch(bytes, Path::new("model.pt"))
}

#[track_caller]
fn assert_refused<T>(result: Result<T>, expected: &str) {
    let error = result.err().expect("an error");
    let message = error.to_string();
    assert!(matches!(error, Error::File { .. }), "{message}");
    assert!(message.contains(expected), "{message}");
}

fn tensor<T: Element>(shape: &[usize], values: &[T]) -> HostTensor {
    HostTensor::from_slice(shape, values).unwrap()
}

#[test]
fn every_type_and_layout_in_every_form() {
    let counted: Vec<f32> = (0..24u8).map(f32::from).collect();
    let transposed: Vec<f32> = (0..24).map(|i| counted[i % 4 * 6 + i / 4]).collect();
    let odd: Vec<f32> = (0..12).map(|i| counted[2 * i + 1]).collect();
    let expected = [
        ("plain", tensor(&[2, 3, 4], &counted)),
        ("transposed", tensor(&[6, 4], &transposed)),
        ("window", tensor(&[2, 3], &[8.0f32, 9.0, 10.0, 14.0, 15.0, 16.0])),
        ("every_other", tensor(&[12], &odd)),
        ("parameter", tensor(&[2], &[0.5f32, -0.25])),
        ("scalar", tensor(&[], &[7])),
        ("empty", tensor::<f32>(&[0, 3], &[])),
        ("half", tensor(&[2], &[1.5, -2.0].map(f16::from_f32))),
        ("bfloat16", tensor(&[2], &[1.5f32, -2.0])),
        ("double", tensor(&[1], &[0.1f32])),
        ("int", tensor(&[1], &[-3])),
        ("uint8", tensor(&[2], &[0, 255])),
        ("bool", tensor(&[3], &[true, false, true])),
    ];
    let expected = expected.map(|(name, tensor)| (name.to_string(), tensor)).into();
    for file in ["types.pt", "types_legacy.pt", "types_protocol4.pt"] {
        let state = load_weights(fixture(file)).unwrap();
        assert_eq!(state.tensors, expected, "{file}");
        assert!(state.metadata.is_empty());
    }
}

#[test]
fn a_model_s_weights_are_found_in_a_training_checkpoint() {
    let state = load_weights(fixture("model.pt")).unwrap();
    let params = Params::new(&Engine::cpu(), 0);
    Linear::new(&params / 0, 2, 3).unwrap();
    BatchNorm1d::new(&params / 1, 3).unwrap();
    params.load_state_dict(&state, "model.pt").unwrap();
    // Below `state_dict`, and without data parallel training's prefix.
    assert_eq!(load_weights(fixture("nested.pt")).unwrap(), state);
}

#[test]
fn the_content_tells_the_form() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("told_by_content");
    fs::create_dir_all(&folder).unwrap();
    let state = load_weights(fixture("types.pt")).unwrap();
    state.save(folder.join("safetensors.pt")).unwrap();
    assert_eq!(load_weights(folder.join("safetensors.pt")).unwrap(), state);
    fs::copy(fixture("types_legacy.pt"), folder.join("legacy.safetensors")).unwrap();
    assert_eq!(load_weights(folder.join("legacy.safetensors")).unwrap(), state);
    fs::write(folder.join("text.pt"), "neither of them").unwrap();
    assert_refused(load_weights(folder.join("text.pt")), "text.pt: ");
    assert!(matches!(load_weights(folder.join("none.pt")), Err(Error::Io { .. })));
}

#[test]
fn what_is_no_state_dict_is_named() {
    assert_refused(load_weights(fixture("whole_model.pt")), "torch.nn.modules.linear.Linear is none of what");
    assert_refused(load_weights(fixture("complex.pt")), "torch.ComplexFloatStorage is none of what");
    assert_refused(read(b"PK\x03\x04"), "model.pt: a truncated zip archive");
    assert_refused(read(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "a zip archive without data.pkl");

    let mut bytes = fs::read(fixture("model.pt")).unwrap();
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[directory + 10] = 8;
    assert_refused(read(&bytes), "\"model/data.pkl\" is compressed in the zip archive");
    let order = bytes.windows(6).position(|window| window == b"little").unwrap();
    bytes[directory + 10] = 0;
    bytes[order..order + 6].copy_from_slice(b"big---");
    assert_refused(read(&bytes), "a checkpoint from a big-endian machine");
}

/// A checkpoint of the older form around a pickle, whose storage "0", if it has one, holds four floats.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let start = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";
    let system = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.";
    let storages = match pickle.windows(7).any(|window| window == b"storage") {
        true => {
            [&b"]U\x010a."[..], &4u64.to_le_bytes(), bytemuck::cast_slice(&[1.0f32, 2.0, 3.0, 4.0])].concat()
        }
        false => b"].".to_vec(),
    };
    [&start[..], system, pickle, &storages].concat()
}

/// A state dict of one tensor "w"; offset, shape and strides are pickled numbers and tuples.
fn one(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x04NtQ";
    let start = b"}U\x01wctorch._utils\n_rebuild_tensor_v2\n(";
    [start, &storage[..], offset, shape, strides, b"\x89}tRs."].concat()
}

#[test]
fn hostile_pickles_are_refused() {
    let state = read(&legacy(&one(b"K\x01", b"K\x03\x85", b"K\x01\x85"))).unwrap();
    assert_eq!(state.tensors["w"].to_vec::<f32>().unwrap(), [2.0, 3.0, 4.0]);
    let state = read(&legacy(&one(b"K\x00", b"ctorch\nSize\n(K\x02K\x02t\x85R", b"(K\x01K\x02t"))).unwrap();
    assert_eq!(state.tensors["w"].to_vec::<f32>().unwrap(), [1.0, 3.0, 2.0, 4.0]);

    // Python 2's way to write an ordered dict: from a list of lists.
    let python2 = one(b"K\x00", b"K\x02\x85", b"K\x01\x85");
    let python2 =
        [&b"ccollections\nOrderedDict\n(]](U\x01w"[..], &python2[4..python2.len() - 2], b"eatR."].concat();
    let state = read(&legacy(&python2)).unwrap();
    assert_eq!(state.tensors["w"].to_vec::<f32>().unwrap(), [1.0, 2.0]);

    let refused = |pickle: &[u8], expected: &str| assert_refused(read(&legacy(pickle)), expected);
    refused(b"cos\nsystem\n(U\x04exittR.", "os.system is none of what a state dict consists of");
    refused(b"\x8c\x08builtins\x8c\x04eval\x93.", "builtins.eval is none of what");
    refused(&one(b"K\x02", b"K\x03\x85", b"K\x01\x85"), "\"w\": shape [3] with strides [1] from element 2");
    refused(&one(b"K\x00", b"K\x02\x85", b"J\xff\xff\xff\xff\x85"), "-1 is negative or too large");
    refused(&one(b"K\x00", b"K\x02\x85", b"J\xff\xff\xff\x7f\x85"), "does not lie within its storage");
    refused(&one(b"K\x00", b"K\x02\x85", b")"), "are of different ranks");
    // A few bytes that stand for more than any memory holds.
    let most = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    refused(&one(b"K\x00", b"M\xff\xffM\xff\xff\x86", b"K\x00K\x00\x86"), "holds more than such a file can");
    refused(&one(most, b"K\x01\x85", b"K\x01\x85"), "does not lie within its storage");
    refused(
        &one(b"K\x00", &[&most[..], most, b"\x86"].concat(), b"K\x00K\x00\x86"),
        "holds more than such a file can",
    );
    let state = read(&legacy(&one(b"K\x00", b"K\x64\x85", b"K\x00\x85"))).unwrap();
    assert_eq!(state.tensors["w"].to_vec::<f32>().unwrap(), [1.0; 100], "one element, expanded");

    refused(b"}q\x00U\x05modelh\x00s.", "\"model\": expected a tensor, found a dict"); // A dict in itself.
    refused(b"]q\x00h\x00a.", "expected a dict of tensors, found a list");
    refused(b"}U\x01wK\x01s.", "\"w\": expected a tensor, found a number");
    refused(b"}K\x01K\x01s.", "expected a text, found a number");
    refused(b"R.", "an operation without its operands");
    refused(b"}(U\x01wu.", "a key without a value");
    refused(b"h\x07.", "nothing is remembered as 7");
    refused(b"\x8a\x09123456789.", "an integer of 9 bytes");
    refused(b"U\x01\xff.", "a text that is not UTF-8");
    refused(b"i", "the operation 0x69 has no place in a state dict (before byte");
    // Nesting that a recursive reader would not survive.
    let deep = [&b")"[..], &b"\x85".repeat(200_000), b"."].concat();
    refused(&deep, "expected a dict of tensors, found a tuple");
    let parameter = b"ctorch._utils\n_rebuild_parameter\nq\x00}U\x01w".to_vec();
    let chain = [parameter, b"h\x00".repeat(50_000), b"N".to_vec(), b"\x85R".repeat(50_000), b"s.".to_vec()];
    refused(&chain.concat(), "\"w\": expected a tensor, found None");
}

#[test]
fn damaged_files_never_panic() {
    for (file, flips) in [("types.pt", 4), ("types_legacy.pt", 16), ("types_protocol4.pt", 4)] {
        let whole = fs::read(fixture(file)).unwrap();
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{file} cut at {end}");
        }
        for place in 0..whole.len() {
            for flip in 0..flips {
                let mut bytes = whole.clone();
                bytes[place] ^= 0xff ^ (flip as u8).wrapping_mul(37);
                if let Ok(state) = read(&bytes) {
                    assert!(state.tensors.len() <= 13);
                }
            }
        }
    }
}
