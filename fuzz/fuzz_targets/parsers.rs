//! Every file format that Kiln reads; the first byte says which.
#![no_main]

use kiln::Engine;
use kiln::data::{IdxArray, ImageSet, decode_bytes};
use kiln::io::StateDict;
use kiln::nn::{Linear, Params};
use kiln::optim::{Adam, AdamOptions, Optimizer};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let path = Path::new("fuzzed");
    match kind % 7 {
        0 => {
            if let Ok(array) = IdxArray::read(bytes, usize::from(kind / 7 % 5), path) {
                assert_eq!(array.data.len(), array.dims.iter().product::<usize>());
            }
        }
        1 => {
            let _ = StateDict::read(bytes, bytes.len() as u64, path);
        }
        2 => {
            // Parameters and an optimiser's memory of them.
            let Ok(state) = StateDict::read(bytes, bytes.len() as u64, path) else { return };
            let params = Params::new(&Engine::cpu(), 0);
            let Ok(_layer) = Linear::new(&params / "fc", 2, 1) else { return };
            let _ = params.load_state_dict(&state, path);
            if let Ok(mut adam) = Adam::new(&params, AdamOptions::default()) {
                let _ = adam.load_state_dict(&state, path);
            }
        }
        3 => {
            if let Ok(image) = decode_bytes(bytes, path) {
                assert!(image.width() > 0 && image.height() > 0);
            }
        }
        4 => {
            let _ = StateDict::read_pytorch(bytes, path);
        }
        5 => open("csv", bytes),
        _ => open("bin", bytes),
    }
});

/// Opens a file as a set of images.
fn open(extension: &str, bytes: &[u8]) {
    let file = std::env::temp_dir().join(format!("kiln-fuzz-{}.{extension}", std::process::id()));
    if std::fs::write(&file, bytes).is_ok()
        && let Ok(opened) = ImageSet::open(&file)
    {
        assert!(opened.train.classes().len() > 1);
    }
}
