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
/// Invocations in a workgroup.
const THREADS: usize = 64;

/// A kernel that goes through `count` steps: how many units an invocation of it computes, and what its
/// params end with.
struct Walk {
    shader: Shader,
    bindings: Vec<Binding>,
    count: usize,
    units: usize,
    offsets: [usize; 3],
}

impl Walk {
    fn plan(self, pass: &Pass, caps: &Caps) -> Plan {
        let size = pass.size;
        let alone = size * pass.width() <= ALONE;
        let run = if alone { size } else { THREADS * self.units };
        let (runs, vectors) = (size.div_ceil(run), if pass.batch > 4 { 2 } else { 1 });
        let steps = if alone { (DISPATCH / (pass.batch * size * pass.width())).max(1) } else { 1 };
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
            ("THREADS", word(THREADS)),
            ("VECTORS", word(vectors)),
            ("REVERSE", pass.reverse.to_string().into()),
        ];
        constants.extend((self.units > 1).then(|| ("UNITS", word(self.units))));
        let kernel = |begin: usize| {
            let end = self.count.min(begin + steps);
            let sizes = [pass.batch, pass.steps, size, run, runs, begin, end, pass.saved()];
            Kernel {
                shader: self.shader.clone(),
                constants: constants.clone(),
                bindings: self.bindings.clone(),
                params: sizes.into_iter().chain(self.offsets).map(|word| word as u32).collect(),
                groups: Kernel::fold(pass.batch.div_ceil(4 * vectors) * runs, caps),
            }
        };
        Plan { kernels: (0..self.count).step_by(steps).map(kernel).collect(), scratch: Vec::new() }
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
        units: 1,
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
        units: 4,
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
