//! Vectors in storage read by halves of 64 bits.
//!
//! llvmpipe goes through a loop over its lanes for every access to memory, and checks and places each component: some
//! 45 instructions a lane for a `vec4<f32>`, 30 for the same bytes as a `vec2<u64>`. So each buffer of `vec4` that is
//! only read gets a twin at the same binding, and a function that reads it; what a module loads becomes calls of
//! that. A buffer of which single components are used stays as it is. (Writing by halves is slower.)

use std::collections::HashMap;
use wgpu::naga::{Arena, Block, Expression, Function, GlobalVariable, Handle, Module, Range, Statement};

const PREFIX: &str = "kiln_wide_";

/// The functions that read variables' twins.
type Twins = HashMap<Handle<GlobalVariable>, Handle<Function>>;

/// A WGSL text with the twins of its buffers.
pub(super) fn with_twins(source: &str) -> String {
    // Our shaders declare a buffer in a line.
    let twin = |line: &str| {
        let rest = line.strip_prefix("@group(0) @binding(")?;
        let (binding, rest) = rest.split_once(") var<storage, read> ")?;
        let (name, rest) = rest.split_once(": array<")?;
        let element = rest.strip_suffix(">;")?;
        let alias = source.lines().find_map(|line| {
            line.strip_prefix("alias ")?.strip_prefix(element)?.strip_prefix(" = ")?.strip_suffix(';')
        });
        let of = alias.unwrap_or(element).strip_prefix("vec4<")?.strip_suffix('>')?;
        ["f32", "u32", "i32"].contains(&of).then(|| {
            format!(
                "@group(0) @binding({binding}) var<storage, read> {PREFIX}{name}: array<vec2<u64>>;
fn {PREFIX}read_{name}(i: u32) -> vec4<{of}> {{
    let halves = {PREFIX}{name}[i];
    let low = vec2<u32>(halves);
    let high = vec2<u32>(halves >> vec2(32u));
    return bitcast<vec4<{of}>>(vec4(low.x, high.x, low.y, high.y));
}}
"
            )
        })
    };
    source.lines().filter_map(twin).collect::<String>() + source
}

/// Has a module of such a text use the twins.
pub(super) fn use_twins(module: &mut Module) {
    let functions: HashMap<&str, Handle<Function>> = module
        .functions
        .iter()
        .filter_map(|(handle, function)| Some((function.name.as_deref()?.strip_prefix(PREFIX)?, handle)))
        .collect();
    let twins = module.global_variables.iter().filter_map(|(handle, global)| {
        Some((handle, *functions.get(&*format!("read_{}", global.name.as_deref()?))?))
    });
    let mut twins: Twins = twins.collect();
    let entries = module.entry_points.iter().map(|entry| &entry.function);
    // Where something else than whole elements at a place is used, there is no call for that.
    for function in module.functions.iter().map(|(_, function)| function).chain(entries) {
        let expressions = &function.expressions;
        for (_, expression) in expressions.iter() {
            let other = match *expression {
                Expression::AccessIndex { base, .. } => {
                    whole(expressions, base).or_else(|| element(expressions, base).map(|(global, _)| global))
                }
                Expression::Access { base, .. } => element(expressions, base).map(|(global, _)| global),
                _ => None,
            };
            other.and_then(|global| twins.remove(&global));
        }
    }
    let entries = module.entry_points.iter_mut().map(|entry| &mut entry.function);
    for function in module.functions.iter_mut().map(|(_, function)| function).chain(entries) {
        let reads = reads(&mut function.expressions, &twins);
        place(&mut function.body, &reads);
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

/// For what is loaded, the function that reads it and the place.
type Reads = HashMap<Handle<Expression>, (Handle<Function>, Handle<Expression>)>;

/// Has what is loaded of twins come from calls, which are to be placed.
fn reads(expressions: &mut Arena<Expression>, twins: &Twins) -> Reads {
    let loads = expressions.iter().filter_map(|(loaded, expression)| {
        let Expression::Load { pointer } = *expression else { return None };
        let (global, index) = element(expressions, pointer)?;
        Some((loaded, (*twins.get(&global)?, index)))
    });
    let reads: Reads = loads.collect();
    for (&loaded, &(read, _)) in &reads {
        expressions[loaded] = Expression::CallResult(read);
    }
    reads
}

/// Places the calls where the loads were.
fn place(block: &mut Block, reads: &Reads) {
    let mut placed = Block::new();
    for (mut statement, span) in std::mem::take(block).span_into_iter() {
        match &mut statement {
            Statement::Emit(range) => {
                // What comes before a call, and what after.
                let mut bounds: Option<(Handle<Expression>, Handle<Expression>)> = None;
                let emit = |(first, last)| Statement::Emit(Range::new_from_bounds(first, last));
                for emitted in range.clone() {
                    if let Some(&(function, index)) = reads.get(&emitted) {
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
            Statement::Block(inner) => place(inner, reads),
            Statement::If { accept, reject, .. } => {
                place(accept, reads);
                place(reject, reads);
            }
            Statement::Loop { body, continuing, .. } => {
                place(body, reads);
                place(continuing, reads);
            }
            Statement::Switch { cases, .. } => cases.iter_mut().for_each(|case| place(&mut case.body, reads)),
            _ => {}
        }
        placed.push(statement, span);
    }
    *block = placed;
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
    fn buffers_of_vectors_are_read_as_their_twins() {
        assert_eq!(buffers(TEXT, false), ["params", "parts", "result", "whole", "words"]);
        // A single component of `parts` is read, and `result` is written.
        assert_eq!(buffers(TEXT, true), ["kiln_wide_whole", "params", "parts", "result", "words"]);
        // At a place that is constant, a buffer stays, too.
        let constant = TEXT.replace("whole[i]", "whole[0]");
        assert_eq!(buffers(&constant, true), buffers(TEXT, false));
    }
}
