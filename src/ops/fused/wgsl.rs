//! The WGSL of an elementwise kernel. An invocation computes [`LANES`] neighbouring elements: on a GPU a
//! vector takes no longer to read or write than one word.

use super::Fused;
use crate::expr::{Access, Arg, Loops};
use crate::{DType, Spec};
use std::fmt::{Error, Result, Write};

/// Elements that an invocation computes, those of a `vec4`.
pub(super) const LANES: usize = 4;

/// How an invocation reads an input at its elements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// One vector.
    Vector,
    /// One element, which all share.
    Shared,
    /// One by one.
    Each,
}

impl Load {
    /// For an input of these strides; `whole` says that the elements never lie in two rows.
    fn of(spec: &Spec, strides: &[isize], whole: bool) -> Load {
        let aligned = |places: &[isize]| places.iter().all(|place| place % LANES as isize == 0);
        let starts = aligned(&[spec.layout.offset as isize]);
        match (Access::of(spec), strides.split_last()) {
            (Access::Single, _) => Load::Shared,
            (Access::Linear, _) if starts => Load::Vector,
            (Access::Strided, Some((0, _))) if whole => Load::Shared,
            (Access::Strided, Some((1, outer))) if whole && starts && aligned(outer) => Load::Vector,
            _ => Load::Each,
        }
    }

    /// The functions that read input `i` at place `p` of `name`: what an invocation wants there, and one element.
    pub(super) fn declare(self, code: &mut String, i: &str, dtype: DType, name: &str) -> Result {
        let vector = self == Load::Vector;
        let value = match dtype {
            DType::F16 => {
                let pair = |axis| format!("unpack2x16float({name}[p / 4u].{axis})");
                format!("vec4({}, {})", pair('x'), pair('y'))
            }
            DType::Bool => format!("{name}[p / 4u] != vec4(0u)"),
            _ => format!("{name}[p / 4u]"),
        };
        // Words of an element's own, but for halves.
        let word = match (vector, dtype) {
            (true, DType::F16) => format!("{name}[p / 4u][p / 2u % 2u]"),
            (true, _) => format!("{name}[p / 4u][p % 4u]"),
            (false, DType::F16) => format!("{name}[p / 2u]"),
            (false, _) => format!("{name}[p]"),
        };
        let element = match dtype {
            DType::F16 => format!("unpack2x16float({word})[p % 2u]"),
            DType::Bool => format!("{word} != 0u"),
            _ => word,
        };
        let register = register(dtype);
        writeln!(code, "fn element{i}(p: u32) -> {register} {{ return {element}; }}")?;
        if vector {
            writeln!(code, "fn load{i}(p: u32) -> vec4<{register}> {{ return {value}; }}")
        } else {
            writeln!(code, "fn load{i}(p: u32) -> {register} {{ return element{i}(p); }}")
        }
    }
}

/// The type of an element, or of two halves, in memory.
fn word(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::I32 => "i32",
        DType::F16 | DType::Bool => "u32",
    }
}

/// The type of the elements of an invocation in memory.
pub(super) fn vector(dtype: DType) -> String {
    match dtype {
        DType::F16 => "vec2<u32>".into(),
        _ => format!("vec4<{}>", word(dtype)),
    }
}

fn register(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 | DType::F16 => "f32",
        DType::I32 => "i32",
        DType::Bool => "bool",
    }
}

/// Words of the uniform, and how the kernel names them.
pub(super) struct Params {
    name: &'static str,
    words: Vec<u32>,
}

impl Params {
    pub(super) fn new(name: &'static str) -> Params {
        Params { name, words: Vec::new() }
    }

    pub(super) fn push(&mut self, value: u32) -> String {
        let at = self.words.len();
        self.words.push(value);
        format!("{}[{}][{}]", self.name, at / 4, at % 4)
    }

    /// As whole vectors.
    pub(super) fn vectors(mut self) -> Vec<u32> {
        self.words.resize(self.words.len().next_multiple_of(4), 0);
        self.words
    }
}

/// The code of a program, as it is written.
struct Writer<'a> {
    /// What all names begin with.
    prefix: &'static str,
    inputs: &'a [Spec],
    /// The input that the caller hands over.
    given: Option<usize>,
    loops: Loops,
    /// Whether four elements never lie in two rows.
    whole: bool,
    code: String,
    params: Params,
    /// Where in the uniform sizes are, if an input is strided.
    sizes: Vec<String>,
    /// The place of each input's element from that of the first, `first`, and its coordinates, `c0`, `c1`, ...
    places: Vec<String>,
}

impl<'a> Writer<'a> {
    /// Begins with the function `compute` of one element; its words are found under `name` in the uniform.
    fn new(
        fused: &'a Fused,
        inputs: &'a [Spec],
        given: Option<usize>,
        (prefix, name): (&'static str, &'static str),
    ) -> std::result::Result<Writer<'a>, Error> {
        let layouts: Vec<_> = inputs.iter().map(|spec| spec.layout).collect();
        let loops = Loops::new(&fused.shape, &layouts);
        let whole = loops.dims.last().is_some_and(|size| size.is_multiple_of(LANES));
        let mut params = Params::new(name);
        let scalars: Vec<String> = fused.numbers.iter().map(|&bits| params.push(bits)).collect();
        let mut code = String::new();
        compute(fused, &mut code, &format!("{prefix}compute"), &scalars)?;
        let strided = inputs.iter().any(|spec| Access::of(spec) == Access::Strided);
        let sizes = loops.dims.iter().filter(|_| strided).map(|&size| params.push(size as u32)).collect();
        let places = (inputs.iter().zip(&loops.strides))
            .map(|(spec, strides)| {
                let offset = params.push(spec.layout.offset as u32);
                match Access::of(spec) {
                    Access::Single => offset,
                    Access::Linear => format!("{offset} + first"),
                    Access::Strided => {
                        let step =
                            |(axis, &stride)| format!(" + c{axis} * {}", params.push(stride as i32 as u32));
                        let steps = strides.iter().enumerate().filter(|(_, stride)| **stride != 0);
                        offset + &steps.map(step).collect::<String>()
                    }
                }
            })
            .collect();
        Ok(Writer { prefix, inputs, given, loops, whole, code, params, sizes, places })
    }

    fn load(&self, i: usize) -> Load {
        Load::of(&self.inputs[i], &self.loops.strides[i], self.whole)
    }

    /// Declares the inputs at these bindings, and the functions that read them; one that the result is written over
    /// is read there.
    fn declare(&mut self, mut bindings: impl Iterator<Item = usize>, over: Option<usize>) -> Result {
        for (i, spec) in self.inputs.iter().enumerate().filter(|&(i, _)| self.given != Some(i)) {
            let load = self.load(i);
            let mut name = "result".to_string();
            if over != Some(i) {
                name = format!("{}in{i}", self.prefix);
                let words = if load == Load::Vector { vector(spec.dtype) } else { word(spec.dtype).into() };
                let variable = format!("var<storage, read> {name}: array<{words}>");
                let binding = bindings.next().ok_or(Error)?;
                writeln!(self.code, "@group(0) @binding({binding}) {variable};")?;
            }
            load.declare(&mut self.code, &format!("{}{i}", self.prefix), spec.dtype, &name)?;
        }
        Ok(())
    }

    /// Writes what gives an element's coordinates the values of `first`: `all` of them, or those that places depend on.
    fn coordinates(&mut self, all: bool) -> Result {
        let strided = |i: &usize| self.given != Some(*i) && Access::of(&self.inputs[*i]) == Access::Strided;
        let strided: Vec<_> =
            (0..self.inputs.len()).filter(strided).map(|i| &self.loops.strides[i]).collect();
        let used = |axis: usize| all || strided.iter().any(|strides| strides[axis] != 0);
        let Some(outermost) = (0..self.sizes.len()).find(|&axis| used(axis)) else { return Ok(()) };
        writeln!(self.code, "  var c0 = first;")?;
        for axis in (1..self.sizes.len()).rev().take_while(|&axis| axis >= outermost) {
            let size = &self.sizes[axis];
            if used(axis) {
                writeln!(self.code, "  var c{axis} = c0 % {size};")?;
            }
            if axis > outermost {
                writeln!(self.code, "  c0 /= {size};")?;
            }
        }
        Ok(())
    }

    /// Writes the body of a function: the results for the four elements from `first` on, where the given input's are
    /// `values`.
    fn four(&mut self) -> Result {
        let others: Vec<usize> = (0..self.inputs.len()).filter(|&i| self.given != Some(i)).collect();
        let strided = |i: &usize| Access::of(&self.inputs[*i]) == Access::Strided;
        self.coordinates(others.iter().any(|i| strided(i) && self.load(*i) == Load::Each))?;
        for lane in 0..LANES {
            let loads: Vec<usize> =
                others.iter().copied().filter(|&i| lane == 0 || self.load(i) == Load::Each).collect();
            if lane > 0 && loads.iter().any(strided) {
                advance(&mut self.code, &self.sizes, self.whole)?;
            }
            for i in loads {
                let step = if Access::of(&self.inputs[i]) == Access::Linear { lane } else { 0 };
                writeln!(
                    self.code,
                    "  let x{i}_{lane} = load{}{i}({} + {step}u);",
                    self.prefix, self.places[i]
                )?;
            }
        }
        let value = |lane: usize| {
            let argument = |i: usize| match self.load(i) {
                _ if self.given == Some(i) => format!("values[{lane}]"),
                Load::Vector => format!("x{i}_0[{lane}]"),
                Load::Shared => format!("x{i}_0"),
                Load::Each => format!("x{i}_{lane}"),
            };
            let arguments = (0..self.inputs.len()).map(argument).collect::<Vec<_>>().join(", ");
            format!("{}compute({arguments})", self.prefix)
        };
        let results = (0..LANES).map(value).collect::<Vec<_>>().join(", ");
        writeln!(self.code, "  let y = vec4({results});")
    }

    /// Writes the body of a function of one element, `first`, where the given input's is `value`.
    fn one(&mut self) -> Result {
        self.coordinates(false)?;
        let argument = |i: usize| match self.given {
            Some(given) if given == i => "value".to_string(),
            _ => format!("element{}{i}({})", self.prefix, self.places[i]),
        };
        let arguments = (0..self.inputs.len()).map(argument).collect::<Vec<_>>().join(", ");
        writeln!(self.code, "  return {}compute({arguments});\n}}", self.prefix)
    }

    /// Ends with functions of one element and of four, for a shader with this text; the code and its words.
    fn both(mut self, one: &str, four: &str, text: &str) -> std::result::Result<(String, Vec<u32>), Error> {
        writeln!(self.code, "fn {one} {{")?;
        self.one()?;
        writeln!(self.code, "fn {four} {{")?;
        self.four()?;
        writeln!(self.code, "  return y;\n}}")?;
        self.code.insert_str(0, &called(&self.code, text).ok_or(Error)?);
        Ok((self.code, self.params.vectors()))
    }
}

/// The declarations and the functions `compute` and `store` for the template, and the uniform's words. The result
/// is written over input `over`, which has its dtype and layout.
pub(super) fn generate(
    fused: &Fused,
    over: Option<usize>,
    inputs: &[Spec],
) -> std::result::Result<(String, Vec<u32>), Error> {
    let mut writer = Writer::new(fused, inputs, None, ("", "params"))?;
    writer.declare(1.., over)?;
    let (kind, binding) = (vector(fused.dtype), 1 + inputs.len() - usize::from(over.is_some()));
    writeln!(writer.code, "@group(0) @binding({binding}) var<storage, read_write> result: array<{kind}>;")?;
    let vectors = writer.params.push(fused.shape.elements().div_ceil(LANES) as u32);
    writeln!(writer.code, "fn store(i: u32) {{\n  let first = {LANES}u * i;")?;
    writer.four()?;
    let result = match fused.dtype {
        DType::F16 => "vec2(pack2x16float(y.xy), pack2x16float(y.zw))",
        DType::Bool => "select(vec4(0u), vec4(1u), y)",
        _ => "y",
    };
    writeln!(writer.code, "  if i < {vectors} {{ result[i] = {result}; }}\n}}")?;
    Ok((writer.code, writer.params.vectors()))
}

/// The functions `finish` and `finish4` for a shader with this text, whose `f32` result is input `given`, and the words
/// that they find in its uniform as `params.finish`. Inputs are bound from this binding on.
pub(in crate::ops) fn finish_code(
    fused: &Fused,
    inputs: &[Spec],
    given: usize,
    binding: usize,
    text: &str,
) -> std::result::Result<(String, Vec<u32>), Error> {
    let mut writer = Writer::new(fused, inputs, Some(given), ("", "params.finish"))?;
    writer.declare(binding.., None)?;
    writer.both(
        "finish(first: u32, value: f32) -> f32",
        "finish4(first: u32, values: vec4<f32>) -> vec4<f32>",
        text,
    )
}

/// The functions `given` and `given4` for a shader with this text, and the words that they find in its uniform as
/// `params.given`. Inputs are bound to these bindings.
pub(in crate::ops) fn given_code(
    fused: &Fused,
    inputs: &[Spec],
    bindings: impl Iterator<Item = usize>,
    text: &str,
) -> std::result::Result<(String, Vec<u32>), Error> {
    let mut writer = Writer::new(fused, inputs, None, ("given_", "params.given"))?;
    writer.declare(bindings, None)?;
    let element = register(fused.dtype);
    let four = format!("given4(first: u32) -> vec4<{element}>");
    writer.both(&format!("given(first: u32) -> {element}"), &four, text)
}

const TEMPLATE: &str = include_str!("../../../shaders/elementwise.wgsl");

/// The shader of which this is the generated part.
pub(super) fn shader(generated: &str) -> Option<String> {
    let (head, rest) = TEMPLATE.split_once("// begin functions\n")?;
    let (_, tail) = rest.split_once("// end generated\n")?;
    Some([head, &called(generated, "")?, generated, tail].concat())
}

/// The template's functions that some code calls, and those that they call, but for those that are in a text: a
/// driver compiles what it is given.
fn called(code: &str, there: &str) -> Option<String> {
    let (_, rest) = TEMPLATE.split_once("// begin functions\n")?;
    let (functions, _) = rest.split_once("// end functions\n")?;
    let declared = |block: &&'static str| {
        let names =
            block.lines().filter_map(|line| line.strip_prefix("fn ").or(line.strip_prefix("struct ")));
        names.map(|rest| rest.split(['(', ' ']).next().unwrap_or(rest)).next()
    };
    let mut unused: Vec<&str> =
        functions.split_inclusive("\n}\n").filter(|block| !there.contains(block)).collect();
    let mut text = String::new();
    loop {
        let before = text.len();
        unused.retain(|block| {
            let used = declared(block).is_some_and(|name| code.contains(name) || text.contains(name));
            if used {
                text.push_str(block);
            }
            !used
        });
        if text.len() == before {
            return Some(text);
        }
    }
}

/// Moves the coordinates `c0`, `c1`, ... on to the next element; in a `whole` row it is in the same row.
fn advance(code: &mut String, sizes: &[String], whole: bool) -> Result {
    let last = sizes.len() - 1;
    writeln!(code, "  c{last}++;")?;
    for axis in (1..sizes.len()).rev().filter(|_| !whole) {
        let size = &sizes[axis];
        writeln!(
            code,
            "  c{} += u32(c{axis} == {size}); c{axis} = select(c{axis}, 0u, c{axis} == {size});",
            axis - 1
        )?;
    }
    Ok(())
}

/// The function of one element; `scalars` is where in the uniform they are.
pub(super) fn compute(fused: &Fused, code: &mut String, name: &str, scalars: &[String]) -> Result {
    let program = &fused.program;
    let arguments = program.inputs.iter().enumerate().map(|(i, &dtype)| format!("x{i}: {}", register(dtype)));
    let arguments = arguments.collect::<Vec<_>>().join(", ");
    writeln!(code, "fn {name}({arguments}) -> {} {{", register(program.dtype()))?;
    for (i, (scalar, word)) in program.scalars.iter().zip(scalars).enumerate() {
        match scalar.dtype {
            DType::Bool => writeln!(code, "  let s{i} = {word} != 0u;")?,
            dtype => writeln!(code, "  let s{i} = bitcast<{}>({word});", register(dtype))?,
        }
    }
    let name = |arg: Arg| match arg {
        Arg::Input(i) => format!("x{i}"),
        Arg::Scalar(i) => format!("s{i}"),
        Arg::Step(i) => format!("t{i}"),
    };
    for (i, step) in program.steps.iter().enumerate() {
        // `a`, `b` and `c` are the letters of a row's expression.
        write!(code, "  var t{i}: {}; {{ ", register(step.to))?;
        for (letter, &arg) in ["a", "b", "c"].iter().zip(&step.args[..step.row.rule.arity()]) {
            write!(code, "let {letter} = {}; ", name(arg))?;
        }
        writeln!(code, "t{i} = {}; }}", step.row.wgsl.replace("{T}", register(step.from)))?;
    }
    writeln!(code, "  return {};\n}}", name(program.result()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shaders_get_the_functions_that_they_call() {
        let functions = |code: &str| called(code, "").unwrap_or_default();
        assert_eq!(functions("let y = x * 2.0;"), "");
        let sine = functions("let y = sin_f32(x);");
        for part in ["fn sin_f32(", "fn sine(", "fn octant(", "struct Octant"] {
            assert_eq!(sine.matches(part).count(), 1, "{part}");
        }
        assert!(!sine.contains("fn erf_f32("));
        assert_eq!(called("let y = sin_f32(x);", &sine), Some(String::new()));
    }
}
