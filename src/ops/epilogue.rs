//! An operation and the elementwise steps that follow it, by the same kernels.
//!
//! On the CPU the steps take what the operation has just written, while it is in a cache. On the GPU they are written
//! out into the operation's shader, before its results go to memory.

use super::fused::{Blocks, Fused, finish_code};
use crate::device::{Binding, Caps, Kernel, Place, Plan};
use crate::op::identify;
use crate::{Error, Identity, Op, Output, Result, Spec, Tensor, View};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// An op that [`finishes`](Op::finishes), and a program of which one input is the op's result. Inputs are the op's
/// and then the program's others.
#[derive(Debug)]
pub(crate) struct Epilogue {
    pub op: Arc<dyn Op>,
    /// How many inputs are the op's.
    pub own: usize,
    /// What the op computes: as many elements as the program does.
    pub result: Spec,
    pub fused: Fused,
    /// Which of the program's inputs the result is.
    pub at: usize,
}

impl Epilogue {
    /// The inputs of the program; contiguous is the op's result.
    fn program_inputs(&self, inputs: &[Spec]) -> Vec<Spec> {
        let mut all = inputs[self.own..].to_vec();
        all.insert(self.at, Spec::new(self.result.dtype, self.fused.shape));
        all
    }

    /// The op's plan with the steps put into the shaders that write its result. None where a kernel cannot bind the
    /// inputs, or many others share it.
    fn joined(&self, plan: &Plan, inputs: &[Spec], caps: &Caps) -> Option<Plan> {
        let mut plan = plan.clone();
        let given = self.program_inputs(inputs);
        let writes = |kernel: &Kernel| kernel.bindings.contains(&Binding::Output);
        if plan.shared
            || !plan.kernels.iter().any(writes)
            || !given.iter().all(|spec| caps.reads_vectors(spec.layout.extent().end * spec.dtype.size()))
        {
            return None;
        }
        let numbers = joint_numbers(&*self.op, &self.fused).1;
        for (at, kernel) in plan.kernels.iter_mut().enumerate().filter(|(_, kernel)| writes(kernel)) {
            if kernel.bindings.len() + given.len() - 1 > caps.storage_buffers as usize {
                return None;
            }
            let binding = kernel.bindings.len() + 1;
            let (code, params) =
                finish_code(&self.fused, &given, self.at, binding, &kernel.shader.source).ok()?;
            let param = put(kernel, "finish", &code, params)?;
            plan.numbers.push(Place { kernel: at, param, numbers: numbers.clone() });
            kernel.bindings.extend((self.own..inputs.len()).map(Binding::Input));
        }
        Some(plan)
    }

    /// The op's plan, and the program as a kernel of its own.
    fn separate(&self, mut plan: Plan, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let scratch = plan.scratch.len();
        plan.scratch.push(self.result.bytes());
        rebind(&mut plan.kernels, &|bound| match bound {
            Binding::Output => Binding::Scratch(scratch),
            bound => bound,
        });
        let mut program = self.fused.gpu(&self.program_inputs(inputs), output, caps)?;
        rebind(&mut program.kernels, &|bound| match bound {
            Binding::Input(i) if i == self.at => Binding::Written(scratch),
            Binding::Input(i) => Binding::Input(self.own + i - usize::from(i > self.at)),
            bound => bound,
        });
        plan.numbers.push(Place {
            kernel: plan.kernels.len(),
            param: 0,
            numbers: joint_numbers(&*self.op, &self.fused).1,
        });
        plan.kernels.append(&mut program.kernels);
        Some(plan)
    }
}

/// Puts code between the shader's lines `// begin MARK` and `// end MARK`, and its words at the line `// MARK` of its
/// params. Gives the first of these.
pub(super) fn put(kernel: &mut Kernel, mark: &str, code: &str, params: Vec<u32>) -> Option<usize> {
    let (head, rest) = kernel.shader.source.split_once(&format!("// begin {mark}\n"))?;
    let (_, tail) = rest.split_once(&format!("// end {mark}\n"))?;
    let words = format!("{mark}: array<vec4<u32>, {}>,\n", params.len() / 4);
    let source = format!("{head}{code}{tail}").replacen(&format!("// {mark}\n"), &words, 1);
    kernel.shader = kernel.shader.rewritten(format!("{}\n{code}", kernel.shader.name), source);
    let first = kernel.params.len().next_multiple_of(4);
    kernel.params.resize(first, 0);
    kernel.params.extend(params);
    Some(first)
}

/// The numbers of an op and then of a program in its kernels, where they are the first words; and which of all are the
/// program's.
pub(super) fn joint_numbers(op: &dyn Op, fused: &Fused) -> (Vec<u32>, Range<usize>) {
    let mut numbers = op.numbers();
    let own = numbers.len();
    numbers.extend(&fused.numbers);
    let all = numbers.len();
    (numbers, own..all)
}

/// Binds other buffers to kernels.
pub(super) fn rebind(kernels: &mut [Kernel], to: &dyn Fn(Binding) -> Binding) {
    kernels.iter_mut().flat_map(|kernel| &mut kernel.bindings).for_each(|bound| *bound = to(*bound));
}

impl Hash for Epilogue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        identify(&*self.op, state);
        (self.own, self.at, self.result.shape().dims()).hash(state);
        self.fused.hash(state);
    }
}

impl Op for Epilogue {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        self.fused.output(inputs)
    }

    fn strided(&self) -> bool {
        true
    }

    fn half(&self) -> bool {
        true
    }

    fn flops(&self, inputs: &[Spec], output: &Spec) -> u64 {
        self.op.flops(&inputs[..self.own], &self.result) + self.fused.flops(&[], output)
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let (own, others) = inputs.split_at(self.own);
        let mut read: Vec<_> = others.iter().map(|view| (view.spec, view.pointer())).collect();
        read.insert(self.at, (Spec::new(self.result.dtype, self.fused.shape), std::ptr::null()));
        let blocks = Blocks::new(&self.fused, &read, std::ptr::null_mut(), Some(self.at))?;
        let follow = |first: usize, elements: &mut [f32]| {
            // SAFETY: the elements are those from `first` on, and hold the op's results.
            unsafe { blocks.run_all(elements.as_mut_ptr().cast(), first..first + elements.len()) }
        };
        self.op.cpu(own, &mut output.followed(self.result, &follow))
    }

    fn identity(&self) -> Option<&dyn Identity> {
        self.op.identity().map(|_| self as &dyn Identity)
    }

    fn numbers(&self) -> Vec<u32> {
        joint_numbers(&*self.op, &self.fused).0
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let plan = self.op.gpu(&inputs[..self.own], &self.result, caps)?;
        self.joined(&plan, inputs, caps).or_else(|| self.separate(plan, inputs, output, caps))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(Error::op("epilogue", "is made by the scheduler and has no gradient of its own"))
    }
}
