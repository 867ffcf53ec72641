//! The WGSL preprocessor: imports, and new values for top-level constants and aliases.
//!
//! It needs no GPU, so every permutation of every shader can be validated without one.

use super::Kernel;
use crate::{Error, Result};

/// Shaders that others may import by name.
pub const IMPORTS: &[(&str, &str)] = &[("gemm", include_str!("../../shaders/gemm.wgsl"))];

/// A workgroup's number, as shaders write it.
const NUMBER: &str = "group.x + group.y * groups.x";
/// What is added to it: a dispatch may be cut into several.
const FIRST_GROUP: &str = "first_group";

/// The WGSL of a kernel: each line `// import: NAME` replaced by the shader of that name in
/// [`IMPORTS`] (once, however often it is imported) without its part between `// begin operands`
/// and `// end operands`, for which the importer stands in, and each of the kernel's constants put in
/// place of the value of the `const` or `alias` that declares it at the start of a line.
///
/// To a workgroup's number, `group.x + group.y * groups.x`, the variable `first_group` is added, a uniform
/// at the binding that follows those of the kernel: a dispatch can then be cut into several.
pub fn specialise(kernel: &Kernel) -> Result<String> {
    let name = &kernel.shader.name;
    let mut text = String::with_capacity(kernel.shader.source.len() + 256);
    resolve(name, &kernel.shader.source, &mut Vec::new(), &mut text)?;
    for (constant, value) in &kernel.constants {
        let (start, end) = declared_value(&text, constant).ok_or_else(|| {
            fault(name, format!("no line `const {constant}: TYPE = VALUE;` or `alias {constant} = TYPE;`"))
        })?;
        text.replace_range(start..end, value);
    }
    if text.contains(NUMBER) {
        text = text.replace(NUMBER, &format!("{FIRST_GROUP} + {NUMBER}"));
        let binding = kernel.bindings.len() + 1;
        text += &format!("@group(0) @binding({binding}) var<uniform> {FIRST_GROUP}: u32;\n");
    }
    Ok(text)
}

/// Whether a dispatch of this specialised shader can be cut into several.
#[cfg(feature = "gpu")]
pub(super) fn divisible(text: &str) -> bool {
    text.contains(FIRST_GROUP)
}

fn fault(shader: &str, message: String) -> Error {
    Error::device(format!("shader {shader}"), message)
}

fn resolve(shader: &str, source: &str, included: &mut Vec<String>, text: &mut String) -> Result<()> {
    for line in source.lines() {
        let Some(import) = line.trim().strip_prefix("// import:").map(str::trim) else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let Some((name, source)) = IMPORTS.iter().find(|(name, _)| *name == import) else {
            return Err(fault(shader, format!("no shader {import:?} to import")));
        };
        if !included.iter().any(|done| done == name) {
            included.push(name.to_string());
            let (head, rest) = source.split_once("// begin operands").unwrap_or((source, ""));
            let tail = rest.split_once("// end operands").map_or("", |(_, tail)| tail);
            resolve(shader, head, included, text)?;
            resolve(shader, tail, included, text)?;
        }
    }
    Ok(())
}

/// The byte range of the value in the top-level declaration of `name`.
fn declared_value(text: &str, name: &str) -> Option<(usize, usize)> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let declared = ["const ", "alias "].iter().find_map(|keyword| line.strip_prefix(keyword));
        let rest = declared.and_then(|rest| rest.trim_start().strip_prefix(name));
        // What follows must end the name, or `TILE` would match `TILE_ROWS`.
        if let Some(rest) = rest
            && rest.trim_start().starts_with([':', '='])
        {
            let equals = line.find('=')?;
            let value = line[equals + 1..].split_once(';')?.0;
            let end = start + equals + 1 + value.len();
            return Some((end - value.trim_start().len(), end));
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Binding, Shader};

    const SOURCE: &str = "// import: gemm\n\
        alias Element = f32;\n\
        const TILE_ROWS: u32 = 4u; // rows\n\
        const TILE = 8u;\n\
        // import: gemm\n\
        fn f() { const TILE_LOCAL: u32 = 1u; }\n";

    fn kernel(source: &'static str, constants: &[(&'static str, &'static str)]) -> Kernel {
        Kernel {
            shader: Shader::file("test", source),
            constants: constants.iter().map(|&(name, value)| (name, value.into())).collect(),
            bindings: Vec::new(),
            params: Vec::new(),
            groups: [1, 1, 1],
        }
    }

    #[test]
    fn constants_aliases_and_imports_are_replaced() {
        let text =
            specialise(&kernel(SOURCE, &[("TILE", "32u"), ("Element", "f16"), ("TILE_ROWS", "2u")])).unwrap();
        assert!(text.contains("alias Element = f16;\nconst TILE_ROWS: u32 = 2u; // rows\nconst TILE = 32u;"));
        assert_eq!(text.matches("fn gemm_tile(").count(), 1);
        assert!(!text.contains("struct Params"), "the importer declares the operands");
    }

    #[test]
    fn the_number_of_a_workgroup_starts_anywhere() {
        let mut kernel = kernel("fn main() { let i = (group.x + group.y * groups.x) * 64u; }", &[]);
        kernel.bindings = vec![Binding::Input(0), Binding::Output];
        let text = specialise(&kernel).unwrap();
        assert!(text.contains("(first_group + group.x + group.y * groups.x) * 64u"), "{text}");
        assert!(text.contains("@group(0) @binding(3) var<uniform> first_group: u32;"), "{text}");
    }

    #[test]
    fn unknown_names_are_errors_that_name_them() {
        for (source, constant) in [(SOURCE, "TILE_LOCAL"), (SOURCE, "ROWS"), (SOURCE, "Elem")] {
            let error = specialise(&kernel(source, &[(constant, "1")])).unwrap_err().to_string();
            assert!(error.contains("shader test") && error.contains(constant), "{error}");
        }
        let error = specialise(&kernel("// import: nothing\n", &[])).unwrap_err().to_string();
        assert!(error.contains("shader test") && error.contains("nothing"), "{error}");
    }
}
