//! An operation and the elementwise steps that compute its input, by the same kernels.
//!
//! On the CPU the steps fill a part of memory that stays in a cache, and the operation takes it from there. On the GPU
//! they are written into the operation's shader, where it would read its input.

use super::epilogue::{joint_numbers, put, rebind};
use super::fused::{Blocks, Fused, given_code};
use crate::device::{Binding, Caps, Place, Plan};
use crate::op::identify;
use crate::{Error, Identity, Op, Output, Result, Spec, Tensor, View};
use std::hash::{Hash, Hasher};
use std::iter::once;
use std::sync::Arc;

/// An op that [`begins`](Op::begins), and a program whose result is its input. Inputs are the program's, one at least.
#[derive(Debug)]
pub(crate) struct Prologue {
    pub op: Arc<dyn Op>,
    /// The op's input: as many elements as the program computes, contiguous.
    pub input: Spec,
    pub fused: Fused,
}

impl Prologue {
    /// The op's plan, its first kernel's shader with the steps put in. None where a kernel cannot bind the inputs.
    fn joined(&self, plan: &Plan, inputs: &[Spec], caps: &Caps) -> Option<Plan> {
        let mut plan = plan.clone();
        let (first, others) = plan.kernels.split_first_mut()?;
        let bound = first.bindings.len();
        if first.bindings.first() != Some(&Binding::Input(0))
            || others.iter().any(|kernel| kernel.bindings.contains(&Binding::Input(0)))
            || bound + inputs.len() - 1 > caps.storage_buffers as usize
            || !inputs.iter().all(|spec| caps.reads_vectors(spec.layout.extent().end * spec.dtype.size()))
        {
            return None;
        }
        let bindings = once(1).chain(bound + 1..);
        let (code, params) = given_code(&self.fused, inputs, bindings, &first.shader.source).ok()?;
        let param = put(first, "given", &code, params)?;
        first.bindings.extend((1..inputs.len()).map(Binding::Input));
        plan.numbers.push(Place { kernel: 0, param, numbers: joint_numbers(&*self.op, &self.fused).1 });
        Some(plan)
    }

    /// The program as a kernel of its own, and the op's plan.
    fn separate(&self, mut plan: Plan, inputs: &[Spec], caps: &Caps) -> Option<Plan> {
        let scratch = plan.scratch.len();
        plan.scratch.push(self.input.bytes());
        rebind(&mut plan.kernels, &|bound| match bound {
            Binding::Input(_) => Binding::Written(scratch),
            bound => bound,
        });
        let mut program = self.fused.gpu(inputs, &Spec::new(self.fused.dtype, self.fused.shape), caps)?;
        rebind(&mut program.kernels, &|bound| match bound {
            Binding::Output => Binding::Scratch(scratch),
            bound => bound,
        });
        plan.numbers.iter_mut().for_each(|place| place.kernel += program.kernels.len());
        plan.numbers.push(Place { kernel: 0, param: 0, numbers: joint_numbers(&*self.op, &self.fused).1 });
        plan.kernels.splice(0..0, program.kernels);
        Some(plan)
    }
}

impl Hash for Prologue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        identify(&*self.op, state);
        (self.input.dtype, self.input.shape().dims(), self.fused.shape.dims()).hash(state);
        self.fused.hash(state);
    }
}

impl Op for Prologue {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn output(&self, _: &[Spec]) -> Result<Spec> {
        self.op.output(&[self.input])
    }

    fn strided(&self) -> bool {
        true
    }

    fn half(&self) -> bool {
        true
    }

    fn finishes(&self) -> bool {
        self.op.finishes()
    }

    fn flops(&self, _: &[Spec], output: &Spec) -> u64 {
        self.fused.flops(&[], &self.input) + self.op.flops(&[self.input], output)
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let read: Vec<_> = inputs.iter().map(|view| (view.spec, view.pointer())).collect();
        let blocks = Blocks::new(&self.fused, &read, std::ptr::null_mut(), None)?;
        let compute = |first: usize, words: &mut [u32]| {
            // SAFETY: the program's elements are words of 32 bits, and the inputs are those of views.
            unsafe { blocks.run_all(words.as_mut_ptr().cast(), first..first + words.len()) }
        };
        self.op.cpu(&[View::computed(self.input, &compute)], output)
    }

    fn identity(&self) -> Option<&dyn Identity> {
        self.op.identity().map(|_| self as &dyn Identity)
    }

    fn numbers(&self) -> Vec<u32> {
        joint_numbers(&*self.op, &self.fused).0
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let plan = self.op.gpu(&[self.input], output, caps)?;
        self.joined(&plan, inputs, caps).or_else(|| self.separate(plan, inputs, caps))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(Error::op("prologue", "is made by the scheduler and has no gradient of its own"))
    }
}
