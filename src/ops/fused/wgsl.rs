//! The WGSL of an elementwise kernel. An invocation computes [`LANES`] neighbouring elements: on a GPU a
//! vector takes no longer to read or write than one word.

use super::Fused;
use crate::expr::{Access, Arg, Loops};
use crate::{DType, Op, Spec};
use std::fmt::{Error, Result, Write};

/// Elements that an invocation computes, those of a `vec4`.
pub(super) const LANES: usize = 4;

/// How an invocation reads an input at its elements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
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

    /// The function that reads input `i` at place `p` of `name`, the binding of this number unless it is declared
    /// already.
    fn declare(
        self,
        code: &mut String,
        i: usize,
        dtype: DType,
        name: &str,
        binding: Option<usize>,
    ) -> Result {
        let (words, value) = match (self, dtype) {
            (Load::Vector, DType::F16) => {
                let pair = |axis| format!("unpack2x16float({name}[p / 4u].{axis})");
                (vector(dtype), format!("vec4({}, {})", pair('x'), pair('y')))
            }
            (Load::Vector, DType::Bool) => (vector(dtype), format!("{name}[p / 4u] != vec4(0u)")),
            (Load::Vector, _) => (vector(dtype), format!("{name}[p / 4u]")),
            (_, DType::F16) => {
                (word(dtype).into(), format!("unpack2x16float({name}[p / 2u] >> (16u * (p % 2u))).x"))
            }
            (_, DType::Bool) => (word(dtype).into(), format!("{name}[p] != 0u")),
            _ => (word(dtype).into(), format!("{name}[p]")),
        };
        let register = register(dtype);
        let result = if self == Load::Vector { format!("vec4<{register}>") } else { register.into() };
        if let Some(binding) = binding {
            writeln!(code, "@group(0) @binding({binding}) var<storage, read> {name}: array<{words}>;")?;
        }
        writeln!(code, "fn load{i}(p: u32) -> {result} {{ return {value}; }}")
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
fn vector(dtype: DType) -> String {
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
struct Params(Vec<u32>);

impl Params {
    fn push(&mut self, value: u32) -> String {
        let at = self.0.len();
        self.0.push(value);
        format!("params[{}][{}]", at / 4, at % 4)
    }
}

/// The declarations and the functions `compute` and `store` for the template, and the uniform's words. The result
/// is written over input `over`, which has its dtype and layout.
pub(super) fn generate(
    fused: &Fused,
    over: Option<usize>,
    inputs: &[Spec],
) -> std::result::Result<(String, Vec<u32>), Error> {
    let layouts: Vec<_> = inputs.iter().map(|spec| spec.layout).collect();
    let loops = Loops::new(&fused.shape, &layouts);
    let whole = loops.dims.last().is_some_and(|size| size.is_multiple_of(LANES));
    let load = |i: usize| Load::of(&inputs[i], &loops.strides[i], whole);

    let mut code = String::new();
    let mut binding = 1;
    for (i, spec) in inputs.iter().enumerate() {
        if over == Some(i) {
            load(i).declare(&mut code, i, spec.dtype, "result", None)?;
        } else {
            load(i).declare(&mut code, i, spec.dtype, &format!("in{i}"), Some(binding))?;
            binding += 1;
        }
    }
    let kind = vector(fused.dtype);
    writeln!(code, "@group(0) @binding({binding}) var<storage, read_write> result: array<{kind}>;")?;

    let mut params = Params(Vec::new());
    let scalars: Vec<String> = fused.numbers().into_iter().map(|bits| params.push(bits)).collect();
    let vectors = params.push(fused.shape.elements().div_ceil(LANES) as u32);
    let mut store = format!("fn store(i: u32) {{\n  let first = {LANES}u * i;\n");
    let strided = inputs.iter().any(|spec| Access::of(spec) == Access::Strided);
    let sizes: Vec<String> =
        loops.dims.iter().filter(|_| strided).map(|&size| params.push(size as u32)).collect();
    if strided {
        // Where the first element is along each axis.
        writeln!(store, "  var c0 = first;")?;
        for axis in (1..sizes.len()).rev() {
            writeln!(store, "  var c{axis} = c0 % {size}; c0 /= {size};", size = sizes[axis])?;
        }
    }
    let places: Vec<String> = (inputs.iter().zip(&loops.strides))
        .map(|(spec, strides)| {
            let offset = params.push(spec.layout.offset as u32);
            match Access::of(spec) {
                Access::Single => offset,
                Access::Linear => format!("{offset} + first"),
                Access::Strided => {
                    let step =
                        |(axis, &stride)| format!(" + c{axis} * {}", params.push(stride as i32 as u32));
                    offset + &strides.iter().enumerate().map(step).collect::<String>()
                }
            }
        })
        .collect();
    for lane in 0..LANES {
        let loads: Vec<usize> = (0..inputs.len()).filter(|&i| lane == 0 || load(i) == Load::Each).collect();
        if lane > 0 && loads.iter().any(|&i| Access::of(&inputs[i]) == Access::Strided) {
            advance(&mut store, &sizes, whole)?;
        }
        for i in loads {
            let step = if Access::of(&inputs[i]) == Access::Linear { lane } else { 0 };
            writeln!(store, "  let x{i}_{lane} = load{i}({} + {step}u);", places[i])?;
        }
    }
    let value = |lane: usize| {
        let argument = |i: usize| match load(i) {
            Load::Vector => format!("x{i}_0[{lane}]"),
            Load::Shared => format!("x{i}_0"),
            Load::Each => format!("x{i}_{lane}"),
        };
        format!("compute({})", (0..inputs.len()).map(argument).collect::<Vec<_>>().join(", "))
    };
    let values = (0..LANES).map(value).collect::<Vec<_>>().join(", ");
    writeln!(store, "  let y = vec4({values});")?;
    let result = match fused.dtype {
        DType::F16 => "vec2(pack2x16float(y.xy), pack2x16float(y.zw))",
        DType::Bool => "select(vec4(0u), vec4(1u), y)",
        _ => "y",
    };
    writeln!(store, "  if i < {vectors} {{ result[i] = {result}; }}\n}}")?;
    compute(fused, &mut code, &scalars)?;
    code += &store;
    params.0.resize(params.0.len().next_multiple_of(4), 0);
    Ok((code, params.0))
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
fn compute(fused: &Fused, code: &mut String, scalars: &[String]) -> Result {
    let program = &fused.program;
    let arguments = program.inputs.iter().enumerate().map(|(i, &dtype)| format!("x{i}: {}", register(dtype)));
    let arguments = arguments.collect::<Vec<_>>().join(", ");
    writeln!(code, "fn compute({arguments}) -> {} {{", register(program.dtype()))?;
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
