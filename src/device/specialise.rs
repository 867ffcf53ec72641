//! The WGSL preprocessor: imports, and new values for top-level constants and aliases.
//!
//! It needs no GPU, so every permutation of every shader can be validated without one.

use super::Kernel;
use crate::{Error, Result};

/// Shaders that others may import by name.
pub const IMPORTS: &[(&str, &str)] = &[
    ("fold", include_str!("../../shaders/fold.wgsl")),
    ("gemm", include_str!("../../shaders/gemm.wgsl")),
    ("gemm_cooperative", include_str!("../../shaders/gemm_cooperative.wgsl")),
    ("gemm_vector", include_str!("../../shaders/gemm_vector.wgsl")),
    ("recurrent_steps", include_str!("../../shaders/recurrent_steps.wgsl")),
];

/// A workgroup's number, as shaders write it.
const NUMBER: &str = "group.x + group.y * groups.x";
/// What is added to it: a dispatch may be cut into several.
const FIRST_GROUP: &str = "first_group";

/// The WGSL of a kernel: each line `// import: NAME` replaced by the shader of that name in
/// [`IMPORTS`] (once, however often it is imported) without its part between `// begin operands`
/// and `// end operands`, for which the importer stands in, and each of the kernel's constants put in
/// place of the value of the `const` or `alias` that declares it at the start of a line. `// import: CONSTANT =
/// NAME` imports the shader that this constant of the kernel names, or else `NAME`. `enable` comes first, wherever
/// it stood.
///
/// Then the lines from `// if: FLAG` (or `// if: !FLAG`) to `// end if` go where that constant is not `true`
/// (or is), and a loop `for (var i = 0u; i < COUNT; i++) { // unroll` becomes as many blocks with a constant `i`
/// each: drivers keep an array in registers only where they know the places that are used of it, and not all
/// unroll loops to find out.
///
/// To a workgroup's number, `group.x + group.y * groups.x`, the variable `first_group` is added, a uniform
/// at the binding that follows those of the kernel: a dispatch can then be cut into several.
pub fn specialise(kernel: &Kernel) -> Result<String> {
    let name = &kernel.shader.name;
    let mut text = String::with_capacity(kernel.shader.source.len() + 256);
    resolve(kernel, &kernel.shader.source, &mut Vec::new(), &mut text)?;
    let chosen_by = |constant: &str| kernel.shader.source.contains(&format!("// import: {constant} = "));
    for (constant, value) in kernel.constants.iter().filter(|(constant, _)| !chosen_by(constant)) {
        let (start, end) = declared_value(&text, constant).ok_or_else(|| {
            fault(name, format!("no line `const {constant}: TYPE = VALUE;` or `alias {constant} = TYPE;`"))
        })?;
        text.replace_range(start..end, value);
    }
    let text = chosen(name, &text)?;
    let mut lines = text.lines();
    let mut unrolled = String::with_capacity(4 * text.len());
    unroll(name, &text, &mut lines, false, &mut unrolled)?;
    let mut text = unrolled;
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

fn resolve(kernel: &Kernel, source: &str, included: &mut Vec<String>, text: &mut String) -> Result<()> {
    for line in source.lines() {
        if line.starts_with("enable ") {
            text.insert_str(0, &format!("{line}\n"));
            continue;
        }
        let Some(import) = line.trim().strip_prefix("// import:").map(str::trim) else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let import = match import.split_once(" = ") {
            Some((constant, default)) => {
                let given = kernel.constants.iter().find(|(name, _)| *name == constant);
                given.map_or(default, |(_, name)| name)
            }
            None => import,
        };
        let Some((name, source)) = IMPORTS.iter().find(|(name, _)| *name == import) else {
            return Err(fault(&kernel.shader.name, format!("no shader {import:?} to import")));
        };
        if !included.iter().any(|done| done == name) {
            included.push(name.to_string());
            let (head, rest) = source.split_once("// begin operands").unwrap_or((source, ""));
            let tail = rest.split_once("// end operands").map_or("", |(_, tail)| tail);
            resolve(kernel, head, included, text)?;
            resolve(kernel, tail, included, text)?;
        }
    }
    Ok(())
}

/// The text without the sections whose flag says so.
fn chosen(shader: &str, text: &str) -> Result<String> {
    let mut kept = String::with_capacity(text.len());
    // For each section that is open, whether its lines stay.
    let mut open = Vec::new();
    for line in text.lines() {
        let line_kept = open.iter().all(|&stays| stays);
        match line.trim() {
            "// end if" => {
                open.pop().ok_or_else(|| fault(shader, "`// end if` without `// if:`".into()))?;
            }
            mark if mark.starts_with("// if: ") => {
                let flag = &mark["// if: ".len()..];
                let name = flag.trim_start_matches('!');
                let value = declared_value(text, name).map(|(start, end)| &text[start..end] == "true");
                let value = value.ok_or_else(|| fault(shader, format!("no constant {name} to choose by")))?;
                open.push(value != flag.starts_with('!'));
            }
            _ if line_kept => {
                kept.push_str(line);
                kept.push('\n');
            }
            _ => {}
        }
    }
    if open.is_empty() { Ok(kept) } else { Err(fault(shader, "`// if:` without `// end if`".into())) }
}

/// Most copies of a loop's body.
const MOST_COPIES: u32 = 256;

/// Copies `lines` with the marked loops unrolled: all of them, or those of a loop's body up to its end.
fn unroll(
    shader: &str,
    text: &str,
    lines: &mut std::str::Lines,
    in_loop: bool,
    unrolled: &mut String,
) -> Result<()> {
    let mut depth = 0;
    while let Some(line) = lines.next() {
        if let Some(header) = line.trim_start().strip_suffix(" { // unroll") {
            let counted = header.strip_prefix("for (var ").and_then(|rest| rest.split_once(" = 0u; "));
            let count = counted.and_then(|(variable, rest)| {
                let bound = rest.strip_prefix(variable)?.strip_prefix(" < ")?.split_once(';')?.0;
                number_of(text, bound)
            });
            let (Some((variable, _)), Some(count @ ..=MOST_COPIES)) = (counted, count) else {
                let message =
                    format!("cannot unroll `{}`: expected a bound of at most {MOST_COPIES}", line.trim());
                return Err(fault(shader, message));
            };
            let mut body = String::new();
            unroll(shader, text, lines, true, &mut body)?;
            for i in 0..count {
                *unrolled += &format!("{{ const {variable} = {i}u;\n{body}}}\n");
            }
            continue;
        }
        let code = line.split("//").next().unwrap_or_default();
        depth += code.matches('{').count() as isize - code.matches('}').count() as isize;
        if in_loop && depth < 0 {
            break;
        }
        unrolled.push_str(line);
        unrolled.push('\n');
    }
    Ok(())
}

/// The value of numbers and constants that are multiplied and divided, from left to right. A constant may name
/// those before it.
fn number_of(text: &str, expression: &str) -> Option<u32> {
    let factor = |word: &str| match word.strip_suffix('u').unwrap_or(word).parse() {
        Ok(number) => Some(number),
        Err(_) => {
            declared_value(text, word).and_then(|(start, end)| number_of(&text[..start], &text[start..end]))
        }
    };
    let mut words = expression.split_whitespace();
    let mut value: u32 = factor(words.next()?)?;
    while let Some(operator) = words.next() {
        let operand = factor(words.next()?)?;
        value = match operator {
            "*" => value.checked_mul(operand)?,
            "/" => value.checked_div(operand)?,
            _ => return None,
        };
    }
    Some(value)
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
        const A_ALONG_K: bool = true;\n\
        const B_ALONG_K: bool = false;\n\
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
        assert_eq!(text.matches("fn within(").count(), 1);
        assert!(!text.contains("struct Params"), "the importer declares the operands");
    }

    #[test]
    fn sections_follow_their_flags() {
        let source = "const A: bool = true;\nconst B: bool = false;\n// if: A\none\n// if: !B\ntwo\n// end if\n\
            // if: B\nthree\n// end if\n// end if\n// if: !A\n// if: A\nfour\n// end if\n// end if\nfive\n";
        let lines = |constants: &[(&'static str, &'static str)]| {
            let text = specialise(&kernel(source, constants)).unwrap();
            text.lines().filter(|line| !line.contains("const")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(lines(&[]), "one two five");
        assert_eq!(lines(&[("B", "true")]), "one three five");
        assert_eq!(lines(&[("A", "false")]), "five");
        for source in ["// if: A\n", "const A = true;\n// if: A\n", "// end if\n"] {
            assert!(specialise(&kernel(source, &[])).is_err(), "{source}");
        }
    }

    #[test]
    fn marked_loops_are_unrolled() {
        let source = "const N: u32 = 6u;\nconst M: u32 = N * 2u / 4u;\n\
            for (var i = 0u; i < M; i++) { // unroll\n  if i > 0u {\n    for (var j = 0u; j < 2u; j++) { // unroll\n\
            f(i, j);\n    }\n  }\n}\nrest();\n";
        let text = specialise(&kernel(source, &[])).unwrap();
        assert_eq!((text.matches("f(i, j);").count(), text.matches("rest();").count()), (6, 1), "{text}");
        let at = |what: &str| text.find(what).unwrap();
        assert!(at("const i = 0u;") < at("const j = 0u;") && at("const j = 1u;") < at("const i = 1u;"));
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        // Braces of comments, and one too many, lose nothing of the text.
        let text = specialise(&kernel("// }\nfn f() {}\n}\nfn g() {}\n", &[])).unwrap();
        assert_eq!(text, "// }\nfn f() {}\n}\nfn g() {}\n");
        let error = specialise(&kernel("for (var i = 0u; i < K; i++) { // unroll\n}\n", &[])).unwrap_err();
        assert!(error.to_string().contains("i < K"), "{error}");
        for bound in ["N", "1000000u"] {
            let source =
                format!("const N: u32 = N * 2u;\nfor (var i = 0u; i < {bound}; i++) {{ // unroll\n}}\n");
            assert!(specialise(&kernel(source.leak(), &[])).is_err(), "{bound}");
        }
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
        for (source, constant) in [(SOURCE, "TILE_LOCAL"), (SOURCE, "TILE_"), (SOURCE, "Elem")] {
            let error = specialise(&kernel(source, &[(constant, "1")])).unwrap_err().to_string();
            assert!(error.contains("shader test") && error.contains(constant), "{error}");
        }
        let error = specialise(&kernel("// import: nothing\n", &[])).unwrap_err().to_string();
        assert!(error.contains("shader test") && error.contains("nothing"), "{error}");
    }
}
