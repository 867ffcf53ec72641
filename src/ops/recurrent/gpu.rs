//! Recurrent networks on the GPU: a workgroup takes some sequences through the steps.

use super::{Cell, Pass};
use crate::device::{Binding, Caps, Kernel, Plan, Shader};

/// Multiply-adds of a step up to which a workgroup computes all units of its sequences, and several
/// steps one after the other. Its share of the bandwidth is then enough; above, every step has a
/// dispatch of its own, in which workgroups share the units.
const ALONE: usize = 1 << 16;
/// Multiply-adds of a dispatch, which bounds the steps in it: well below a tenth of a second even on
/// a software GPU.
const DISPATCH: usize = 1 << 27;
/// Invocations in a workgroup of four sequences.
const THREADS: usize = 64;

/// A kernel that goes through `count` steps.
struct Walk {
    shader: Shader,
    bindings: Vec<Binding>,
    count: usize,
    /// Whether the first step has a dispatch of its own.
    starts: bool,
    /// Invocations of a workgroup that are next to each other along the units, and units of each.
    lanes: usize,
    units: usize,
    /// What its declarations are where the size is no multiple of 4.
    narrow: Vec<(&'static str, &'static str)>,
    offsets: [usize; 3],
}

impl Walk {
    fn plan(self, pass: &Pass, caps: &Caps) -> Plan {
        let width = if pass.size.is_multiple_of(4) { 4 } else { 1 };
        let size = pass.size / width;
        let alone = pass.size * pass.width() <= ALONE;
        let run = if alone { size } else { self.lanes * self.units };
        // Sequences by fours that an invocation multiplies: the more, the fewer times the weight is read; the fewer,
        // the more workgroups there are, and the sooner a kernel is compiled.
        let most = match (caps.software, alone) {
            (false, _) => 1,
            (true, true) => 2,
            (true, false) => 4,
        };
        let runs = size.div_ceil(run);
        let steps = if alone { (DISPATCH / (pass.batch * pass.size * pass.width())).max(1) } else { 1 };
        let cell = match pass.cell {
            Cell::Rnn => 0,
            Cell::RnnRelu => 1,
            Cell::Lstm => 2,
            Cell::Gru => 3,
        };
        let word = |value: usize| format!("{value}u").into();
        let mut constants = vec![
            ("CELL", word(cell)),
            ("GATES", word(pass.cell.gates())),
            ("LANES", word(self.lanes)),
            ("REVERSE", pass.reverse.to_string().into()),
        ];
        if width == 1 {
            constants.extend(self.narrow.iter().map(|&(name, value)| (name, value.into())));
        }
        let kernel = |begin: usize, end: usize| {
            let mut constants = constants.clone();
            let first = self.starts && begin == 0;
            constants.extend(first.then(|| ("FIRST", "true".into())));
            let vectors = if first { 1 } else { pass.batch.div_ceil(4).next_power_of_two().min(most) };
            constants.extend([("THREADS", word(THREADS / vectors)), ("VECTORS", word(vectors))]);
            let sizes = [pass.batch, pass.steps, size, run, runs, begin, end, pass.saved() / width];
            let offsets = self.offsets.map(|elements| elements / width);
            Kernel {
                shader: self.shader.clone(),
                constants,
                bindings: self.bindings.clone(),
                params: sizes.into_iter().chain(offsets).map(|word| word as u32).collect(),
                groups: Kernel::fold(pass.batch.div_ceil(4 * vectors) * runs, caps),
            }
        };
        let first = usize::from(self.starts);
        let begins = (first..self.count).step_by(steps);
        let others = begins.map(|begin| kernel(begin, self.count.min(begin + steps)));
        let kernels = self.starts.then(|| kernel(0, 1)).into_iter().chain(others).collect();
        Plan { kernels, ..Plan::default() }
    }
}

pub(super) fn forward(pass: &Pass, caps: &Caps) -> Plan {
    // Only an LSTM has cells; the others bind the state in their place.
    let cells = if pass.cell == Cell::Lstm { 4 } else { 1 };
    let inputs = [0, 1, 2, 3, cells].map(Binding::Input);
    let walk = Walk {
        shader: Shader::file("recurrent", include_str!("../../../shaders/recurrent.wgsl")),
        bindings: inputs.into_iter().chain([Binding::Output]).collect(),
        count: pass.steps,
        starts: true,
        lanes: 16,
        units: 1,
        narrow: vec![("WIDTH", "1u"), ("Element", "f32"), ("Weights", "vec4<f32>"), ("Bits", "u32")],
        offsets: [pass.outputs(), pass.outputs() + pass.cells(), 0],
    };
    walk.plan(pass, caps)
}

pub(super) fn backward(pass: &Pass, caps: &Caps) -> Plan {
    let source = include_str!("../../../shaders/recurrent_gradient.wgsl");
    let products = pass.batch * pass.steps * pass.width();
    let walk = Walk {
        shader: Shader::file("recurrent_gradient", source),
        bindings: vec![Binding::Input(0), Binding::Input(1), Binding::Input(2), Binding::Output],
        // One more after the steps: the gradient of the initial state.
        count: pass.steps + 1,
        starts: false,
        // Fewer columns than the other way, and longer.
        lanes: 4,
        units: 4,
        narrow: vec![("WIDTH", "1u"), ("Element", "f32"), ("Weights", "vec4<f32>")],
        offsets: [pass.outputs(), pass.outputs() + pass.cells(), products],
    };
    walk.plan(pass, caps)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every step is in one dispatch, in order, and no dispatch is long.
    #[test]
    fn dispatches_share_the_steps() {
        for (batch, steps, size) in [(1, 1, 1), (1024, 64, 128), (70_000, 3, 8), (32, 5, 256)] {
            for cell in [Cell::Rnn, Cell::Lstm] {
                let pass = Pass { cell, batch, steps, size, reverse: false, saves: true };
                for (plan, count) in [
                    (forward(&pass, &Caps::default()), steps),
                    (backward(&pass, &Caps::default()), steps + 1),
                ] {
                    let mut next = 0;
                    for kernel in &plan.kernels {
                        let [begin, end] = [5, 6].map(|word: usize| kernel.params[word] as usize);
                        assert!(begin == next && end > begin);
                        assert!(end == begin + 1 || (end - begin) * batch * size * pass.width() <= DISPATCH);
                        next = end;
                    }
                    assert_eq!(next, count);
                }
            }
        }
    }
}
