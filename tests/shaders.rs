//! Every shader file is valid WGSL as it stands, before the specialiser has touched it.

use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::path::Path;

#[test]
fn every_file_is_valid_as_it_stands() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{}: {}", path.display(), error.emit_to_string(&source)));
        // What `unpack2x16float` needs, which is plain WGSL; and what only a GPU with tensor cores or subgroups is given.
        let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        if path.ends_with("gemm_cooperative.wgsl") {
            capabilities |= Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16;
        }
        capabilities.set(Capabilities::SUBGROUP, source.contains("subgroup"));
        Validator::new(ValidationFlags::all(), capabilities)
            .validate(&module)
            .unwrap_or_else(|error| panic!("{}: {}", path.display(), error.emit_to_string(&source)));
        files += 1;
    }
    assert!(files > 0);
}
