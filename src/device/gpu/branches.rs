//! Constant branches, decided before a driver sees them.
//!
//! Shaders choose between ways by constants (`if A_VECTORS { ... }`), and a function that is called in many places is
//! inlined in each with all its branches; a driver may spend longer on taking out what is never run than on the rest.

use super::wide::{use_twins, with_twins};
use wgpu::naga::{
    Arena, Block, Constant, Expression, Function, Handle, Literal, Module, Statement, SwitchCase,
    SwitchValue, compact, front::wgsl::parse_str,
};

/// The module of a WGSL text without the branches that are never taken and what only these use; where `wide`, with
/// reads of 64 bits. None where the text is not valid; a module that is not valid is left to those who report it.
pub(super) fn without_dead_branches(source: &str, wide: bool) -> Option<Module> {
    let mut module = if wide { parse_str(&with_twins(source)) } else { parse_str(source) }.ok()?;
    let values = Values { constants: &module.constants, values: &module.global_expressions };
    let entries = module.entry_points.iter_mut().map(|entry| &mut entry.function);
    for function in module.functions.iter_mut().map(|(_, function)| function).chain(entries) {
        values.decide_in(function);
    }
    if wide {
        use_twins(&mut module);
    }
    compact::compact(&mut module, compact::KeepUnused::No);
    Some(module)
}

/// The values of a module's constants.
struct Values<'a> {
    constants: &'a Arena<Constant>,
    values: &'a Arena<Expression>,
}

impl Values<'_> {
    fn decide_in(&self, function: &mut Function) {
        self.decide(&mut function.body, &function.expressions, false);
        // The names are for those who debug, and would keep what nothing else uses.
        function.named_expressions.clear();
    }

    /// Of a `whole` block the end stays too, even if it is never reached: something else uses what is computed there.
    fn decide(&self, block: &mut Block, expressions: &Arena<Expression>, whole: bool) {
        let mut kept = Block::new();
        for (mut statement, span) in std::mem::take(block).span_into_iter() {
            match &mut statement {
                Statement::Block(inner) => self.decide(inner, expressions, false),
                Statement::Loop { body, continuing, break_if } => {
                    self.decide(body, expressions, !continuing.is_empty() || break_if.is_some());
                    self.decide(continuing, expressions, break_if.is_some());
                }
                Statement::If { condition, accept, reject } => {
                    self.decide(accept, expressions, false);
                    self.decide(reject, expressions, false);
                    let value = self
                        .value(*condition, expressions)
                        .or_else(|| self.stored(*condition, &kept, expressions));
                    if let Some(Literal::Bool(holds)) = value {
                        let taken = if holds { accept } else { reject };
                        let ended = taken.last().is_some_and(ends);
                        if !(ended && whole) {
                            kept.append(taken);
                            if ended {
                                break;
                            }
                            continue;
                        }
                    }
                }
                Statement::Switch { selector, cases } => {
                    cases.iter_mut().for_each(|case| self.decide(&mut case.body, expressions, false));
                    if let Some(value) = self.value(*selector, expressions) {
                        choose(cases, value);
                    }
                }
                _ => {}
            }
            kept.push(statement, span);
        }
        *block = kept;
    }

    fn value(&self, expression: Handle<Expression>, expressions: &Arena<Expression>) -> Option<Literal> {
        let value = match expressions[expression] {
            Expression::Constant(constant) => &self.values[self.constants[constant].init],
            ref other => other,
        };
        if let Expression::Literal(literal) = value { Some(*literal) } else { None }
    }

    /// The value of a variable that is loaded where the last statement has stored it: `&&` and `||` come as branches
    /// that store what the next one asks for.
    fn stored(
        &self,
        loaded: Handle<Expression>,
        before: &Block,
        expressions: &Arena<Expression>,
    ) -> Option<Literal> {
        let Expression::Load { pointer } = expressions[loaded] else { return None };
        let variable = |pointer: Handle<Expression>| match expressions[pointer] {
            Expression::LocalVariable(variable) => Some(variable),
            _ => None,
        };
        let last = before.iter().rposition(|statement| !matches!(statement, Statement::Emit(_)))?;
        let loads = |statement: &Statement| matches!(statement, Statement::Emit(range) if range.clone().any(|emitted| emitted == loaded));
        match &before[last] {
            Statement::Store { pointer: stored, value }
                if variable(*stored).is_some()
                    && variable(*stored) == variable(pointer)
                    && before[last + 1..].iter().any(loads) =>
            {
                self.value(*value, expressions)
            }
            _ => None,
        }
    }
}

/// Whether nothing that follows in a block is run.
fn ends(statement: &Statement) -> bool {
    matches!(statement, Statement::Return { .. } | Statement::Break | Statement::Continue | Statement::Kill)
}

/// Leaves one case of a switch.
fn choose(cases: &mut Vec<SwitchCase>, value: Literal) {
    let value = match value {
        Literal::U32(value) => SwitchValue::U32(value),
        Literal::I32(value) => SwitchValue::I32(value),
        _ => return,
    };
    let of = |value| cases.iter().position(|case| case.value == value);
    let Some(first) = of(value).or_else(|| of(SwitchValue::Default)) else { return };
    // Values that share a case go on, with nothing, to the one that has it.
    let empty = |case: &SwitchCase| case.fall_through && case.body.is_empty();
    if let Some(taken) = (first..cases.len()).find(|&i| !empty(&cases[i]))
        && !cases[taken].fall_through
    {
        let taken = cases.swap_remove(taken);
        *cases = vec![SwitchCase { value: SwitchValue::Default, ..taken }];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::naga::back::wgsl::{WriterFlags, write_string};
    use wgpu::naga::back::{hlsl, msl};
    use wgpu::naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

    /// What is left of a text, which is valid.
    fn module_of(source: &str) -> (Module, ModuleInfo) {
        let module = without_dead_branches(source, false).unwrap();
        let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).unwrap();
        (module, info)
    }

    /// The same as a text.
    fn left_of(source: &str) -> String {
        let (module, info) = module_of(source);
        write_string(&module, &info, WriterFlags::empty()).unwrap()
    }

    #[test]
    fn what_is_left_can_be_written_for_metal_and_directx() {
        let (module, info) = module_of(SOURCE);
        msl::write_string(&module, &info, &msl::Options::default(), &msl::PipelineOptions::default())
            .unwrap();
        let (options, pipeline, mut text) = (Default::default(), Default::default(), String::new());
        hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None).unwrap();
        assert!(text.contains("main"), "{text}");
    }

    const SOURCE: &str = "
        const ON: bool = true;
        const OFF: bool = false;
        const ROLE: u32 = 1u;
        @group(0) @binding(0) var<storage, read_write> result: array<f32>;
        fn used(x: f32) -> f32 { return x + 1.0; }
        fn unused(x: f32) -> f32 { return x + 2.0; }
        fn early(x: f32) -> f32 {
            if ON && !OFF { return used(x); }
            return unused(x);
        }
        fn chain(x: f32) -> f32 {
            var y = x;
            if OFF { y = unused(y); } else if ROLE == 1u { y *= 5.0; } else { y *= 6.0; }
            for (var i = 0; i < 3; i++) {
                if ON { if x < 2.0 { continue; } } else { break; }
                y *= 7.0;
            }
            return y;
        }
        fn role(x: f32) -> f32 {
            switch ROLE {
                case 0u: { return x * 10.0; }
                case 1u, 2u: { if x > 0.0 { break; } return x * 11.0; }
                default: { return x * 12.0; }
            }
            return x * 13.0;
        }
        fn other(x: f32) -> f32 {
            var y = x;
            switch ROLE {
                case 3u: { y = unused(y); }
                default: { y *= 14.0; }
            }
            return y;
        }
        @compute @workgroup_size(1)
        fn main() { result[0] = early(result[1]) + chain(result[2]) + role(result[3]) + other(result[4]); }";

    #[test]
    fn only_what_is_taken_is_left() {
        let left = left_of(SOURCE);
        for (text, count) in [
            ("fn used(", 1),
            ("unused", 0),
            ("2f", 1), // of `x < 2.0`
            ("5f", 1),
            ("6f", 0),
            ("7f", 1),
            ("10f", 0),
            ("11f", 1),
            ("12f", 0),
            ("13f", 1),
            ("14f", 1),
        ] {
            assert_eq!(left.matches(text).count(), count, "{text} in\n{left}");
        }
    }

    #[test]
    fn what_is_decided_at_run_time_stays() {
        let source = "
            @group(0) @binding(0) var<storage, read_write> result: array<u32>;
            @compute @workgroup_size(1)
            fn main() {
                if result[0] > 1u { result[1] = 2u; } else { result[1] = 3u; }
                switch result[2] { case 4u: { result[3] = 5u; } default: { result[3] = 6u; } }
                var flag = result[7] > 8u;
                let before = flag;
                flag = true;
                if before { result[9] = 10u; }
            }";
        let left = left_of(source);
        for number in 0..11 {
            assert!(left.contains(&number.to_string()), "{number} in\n{left}");
        }
    }

    #[test]
    fn what_a_loop_goes_on_with_stays() {
        let source = "
            const ON: bool = true;
            @group(0) @binding(0) var<storage, read_write> result: array<u32>;
            fn next(x: u32) -> u32 { return x + 1u; }
            @compute @workgroup_size(1)
            fn main() {
                loop {
                    if ON { break; }
                    let more = next(result[0]);
                    continuing { result[0] = more; }
                }
            }";
        assert!(left_of(source).contains("next("));
    }

    #[test]
    fn what_is_no_shader_is_left_to_others() {
        assert!(without_dead_branches("fn main() { missing(); }", false).is_none());
    }
}
