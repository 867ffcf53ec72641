//! Every file format that Kiln reads; the first byte says which.
#![no_main]

use kiln::Engine;
use kiln::data::IdxArray;
use kiln::io::StateDict;
use kiln::nn::{Linear, Params};
use kiln::optim::{Adam, AdamOptions, Optimizer};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let path = Path::new("fuzzed");
    match kind % 5 {
        0 => {
            if let Ok(array) = IdxArray::read(bytes, usize::from(kind / 5 % 5), path) {
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
            let _ = StateDict::read_pytorch(bytes, path);
        }
        _ => {
            let file = std::env::temp_dir().join(format!("kiln-fuzz-{}", std::process::id()));
            if std::fs::write(&file, bytes).is_ok() {
                if let Ok(values) = kiln::data::image::load_gray(&file, 8, 8) {
                    assert_eq!(values.len(), 64);
                }
            }
        }
    }
});
