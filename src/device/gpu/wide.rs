//! Vectors in storage read and written by halves of 64 bits.
//!
//! llvmpipe goes through a loop over its lanes for every access to memory, and checks and places each component: some
//! 45 instructions a lane for a `vec4<f32>`, 30 for the same bytes as a `vec2<u64>`. So each buffer of `vec4` gets a
//! twin at the same binding, and functions that read and write it; what a module does with the vectors becomes
//! calls of these. A buffer of which single components are used stays as it is.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use wgpu::naga::{Arena, Block, Expression, Function, GlobalVariable, Handle, Module, Range, Statement};

const PREFIX: &str = "kiln_wide_";

/// The functions that read a variable's twin and, where it may, write it.
type Twins = HashMap<Handle<GlobalVariable>, (Handle<Function>, Option<Handle<Function>>)>;

/// A WGSL text with the twins of its buffers.
pub(super) fn with_twins(source: &str) -> String {
    let mut twins = String::new();
    for line in source.lines() {
        // Our shaders declare a buffer in a line.
        let declared = || {
            let rest = line.strip_prefix("@group(0) @binding(")?;
            let (binding, rest) = rest.split_once(") var<storage, ")?;
            let (access, rest) = rest.split_once("> ")?;
            let (name, rest) = rest.split_once(": array<")?;
            let element = rest.strip_suffix(">;")?;
            let alias = source.lines().find_map(|line| {
                line.strip_prefix("alias ")?.strip_prefix(element)?.strip_prefix(" = ")?.strip_suffix(';')
            });
            let of = alias.unwrap_or(element).strip_prefix("vec4<")?.strip_suffix('>')?;
            ["f32", "u32", "i32"].contains(&of).then_some((binding, access, name, of))
        };
        let Some((binding, access, name, of)) = declared() else { continue };
        // Nothing is written to a string that fails.
        let _ = write!(
            twins,
            "@group(0) @binding({binding}) var<storage, {access}> {PREFIX}{name}: array<vec2<u64>>;
fn {PREFIX}read_{name}(i: u32) -> vec4<{of}> {{
    let halves = {PREFIX}{name}[i];
    let low = vec2<u32>(halves);
    let high = vec2<u32>(halves >> vec2(32u));
    return bitcast<vec4<{of}>>(vec4(low.x, high.x, low.y, high.y));
}}
"
        );
        if access == "read_write" {
            let _ = write!(
                twins,
                "fn {PREFIX}write_{name}(i: u32, value: vec4<{of}>) {{
    let words = bitcast<vec4<u32>>(value);
    {PREFIX}{name}[i] = vec2<u64>(words.xz) | (vec2<u64>(words.yw) << vec2(32u));
}}
"
            );
        }
    }
    twins + source
}

/// Has a module of such a text use the twins.
pub(super) fn use_twins(module: &mut Module) {
    let functions: HashMap<&str, Handle<Function>> = module
        .functions
        .iter()
        .filter_map(|(handle, function)| Some((function.name.as_deref()?.strip_prefix(PREFIX)?, handle)))
        .collect();
    let twins: Twins = module
        .global_variables
        .iter()
        .filter_map(|(handle, global)| {
            let of = |what: &str| functions.get(&*format!("{what}_{}", global.name.as_deref()?)).copied();
            Some((handle, (of("read")?, of("write"))))
        })
        .collect();
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    // Those of which something else than whole elements at a place is used.
    let mut others = HashSet::new();
    for function in module.functions.iter().map(|(_, function)| function).chain(entries) {
        let expressions = &function.expressions;
        others.extend(expressions.iter().filter_map(|(_, expression)| match *expression {
            Expression::AccessIndex { base, .. } => {
                whole(expressions, base).or_else(|| element(expressions, base).map(|(global, _)| global))
            }
            Expression::Access { base, .. } => element(expressions, base).map(|(global, _)| global),
            _ => None,
        }));
    }
    let twins = twins.into_iter().filter(|(global, _)| !others.contains(global)).collect();
    let entries = module.entry_points.iter_mut().map(|entry| &mut entry.function);
    for function in module.functions.iter_mut().map(|(_, function)| function).chain(entries) {
        Calls::of(function, &twins).place(&mut function.body);
    }
}

/// The variable that an expression is.
fn whole(expressions: &Arena<Expression>, at: Handle<Expression>) -> Option<Handle<GlobalVariable>> {
    if let Expression::GlobalVariable(global) = expressions[at] { Some(global) } else { None }
}

/// The variable of which an expression is the element at a place, and the place.
fn element(
    expressions: &Arena<Expression>,
    at: Handle<Expression>,
) -> Option<(Handle<GlobalVariable>, Handle<Expression>)> {
    let Expression::Access { base, index } = expressions[at] else { return None };
    Some((whole(expressions, base)?, index))
}

/// What becomes calls of a function's accesses.
struct Calls {
    /// Of what is loaded, the function and the place.
    reads: HashMap<Handle<Expression>, (Handle<Function>, Handle<Expression>)>,
    /// Of a pointer that may be written through.
    writes: HashMap<Handle<Expression>, (Handle<Function>, Handle<Expression>)>,
}

impl Calls {
    /// Has what is loaded come from calls, which are to be placed.
    fn of(function: &mut Function, twins: &Twins) -> Calls {
        let expressions = &mut function.expressions;
        let mut calls = Calls { reads: HashMap::new(), writes: HashMap::new() };
        let mut pointers = HashMap::new();
        for (pointer, _) in expressions.iter() {
            if let Some((global, index)) = element(expressions, pointer)
                && let Some(&(read, write)) = twins.get(&global)
            {
                pointers.insert(pointer, (read, index));
                calls.writes.extend(write.map(|write| (pointer, (write, index))));
            }
        }
        for (loaded, expression) in expressions.iter_mut() {
            if let Expression::Load { pointer } = expression
                && let Some(&(read, index)) = pointers.get(pointer)
            {
                *expression = Expression::CallResult(read);
                calls.reads.insert(loaded, (read, index));
            }
        }
        calls
    }

    fn place(&self, block: &mut Block) {
        let mut placed = Block::new();
        for (mut statement, span) in std::mem::take(block).span_into_iter() {
            match &mut statement {
                Statement::Emit(range) => {
                    // What comes before a call, and what after.
                    let mut bounds: Option<(Handle<Expression>, Handle<Expression>)> = None;
                    let emit = |(first, last)| Statement::Emit(Range::new_from_bounds(first, last));
                    for emitted in range.clone() {
                        if let Some(&(function, index)) = self.reads.get(&emitted) {
                            placed.extend(bounds.take().map(|bounds| (emit(bounds), span)));
                            let (arguments, result) = (vec![index], Some(emitted));
                            placed.push(Statement::Call { function, arguments, result }, span);
                        } else {
                            bounds = Some((bounds.map_or(emitted, |(first, _)| first), emitted));
                        }
                    }
                    placed.extend(bounds.map(|bounds| (emit(bounds), span)));
                    continue;
                }
                Statement::Store { pointer, value } => {
                    if let Some(&(function, index)) = self.writes.get(pointer) {
                        statement =
                            Statement::Call { function, arguments: vec![index, *value], result: None };
                    }
                }
                Statement::Block(inner) => self.place(inner),
                Statement::If { accept, reject, .. } => {
                    self.place(accept);
                    self.place(reject);
                }
                Statement::Loop { body, continuing, .. } => {
                    self.place(body);
                    self.place(continuing);
                }
                Statement::Switch { cases, .. } => {
                    cases.iter_mut().for_each(|case| self.place(&mut case.body))
                }
                _ => {}
            }
            placed.push(statement, span);
        }
        *block = placed;
    }
}

#[cfg(test)]
mod tests {
    use super::super::branches::without_dead_branches;
    use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

    const TEXT: &str = "
alias Element = vec4<f32>;
@group(0) @binding(0) var<uniform> params: vec4<u32>;
@group(0) @binding(1) var<storage, read> whole: array<Element>;
@group(0) @binding(2) var<storage, read> parts: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> words: array<u32>;
@group(0) @binding(4) var<storage, read_write> result: array<vec4<f32>>;
fn sum(i: u32) -> vec4<f32> {
    return whole[i] + whole[i + words[i]];
}
@compute @workgroup_size(1)
fn main() {
    for (var i = 0u; i < params.x; i++) {
        if parts[i].y > 0u {
            result[i] = sum(i) + result[i + 1u];
        }
    }
}
";

    /// The buffers that are left of a text, which is valid.
    fn buffers(source: &str, wide: bool) -> Vec<String> {
        let module = without_dead_branches(source, wide).unwrap();
        Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).unwrap();
        let mut names: Vec<_> = module.global_variables.iter().filter_map(|(_, g)| g.name.clone()).collect();
        names.sort();
        names
    }

    #[test]
    fn buffers_of_vectors_are_read_and_written_as_their_twins() {
        assert_eq!(buffers(TEXT, false), ["params", "parts", "result", "whole", "words"]);
        // A single component of `parts` is read.
        assert_eq!(buffers(TEXT, true), ["kiln_wide_result", "kiln_wide_whole", "params", "parts", "words"]);
        // At a place that is constant, a buffer stays, too.
        let constant = TEXT.replace("whole[i]", "whole[0]");
        assert_eq!(buffers(&constant, true), ["kiln_wide_result", "params", "parts", "whole", "words"]);
    }
}
