//! One kernel for a run of elementwise ops.
//!
//! On the CPU the program runs block by block: a block of every register stays in the first-level
//! cache, and each row is one vectorised loop. On the GPU the rows' WGSL expressions are written out
//! into the template `shaders/elementwise.wgsl`.

mod wgsl;

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::expr::{Access, Arg, Loop, Loops, Program, Step};
use crate::{DType, Error, Identity, Op, Output, Result, Shape, Spec, Tensor, View};
use half::f16;
use rayon::prelude::*;
use std::hash::{Hash, Hasher};

/// Words in a block of a register.
const BLOCK: usize = 1024;
/// How far two blocks are apart: not a power of two, whose places share a few lines of the cache.
const STEP: usize = BLOCK + LINE;
/// Words of a line of the cache, at whose start a block begins: a vector that crosses two takes twice as long.
const LINE: usize = 16;
/// Elements that are worth a thread of their own.
const PARALLEL: usize = 16 * BLOCK;
/// Invocations in a workgroup; that of the template.
const GROUP: usize = 256;

/// A program over tensors of one shape (inputs may be broadcast views).
#[derive(Debug)]
pub(crate) struct Fused {
    pub program: Program,
    pub shape: Shape,
    /// Dtype of the output: the program's, or `F16` to narrow its `F32`.
    pub dtype: DType,
}

impl Fused {
    /// The copy of a tensor into row-major order.
    pub fn copy(spec: &Spec) -> Fused {
        let program = Program { inputs: vec![spec.dtype], ..Program::default() };
        Fused { program, shape: *spec.shape(), dtype: spec.dtype }
    }

    /// The GPU's kernel, which writes over input `over`.
    fn plan(&self, over: Option<usize>, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let bindings = (0..inputs.len()).filter(|&i| over != Some(i)).map(Binding::Input);
        let bindings: Vec<_> = bindings.chain([Binding::Output]).collect();
        let vectors = |&i: &usize| Access::of(&inputs[i]) == Access::Linear && inputs[i].dtype == self.dtype;
        let reached = |spec: &Spec| spec.layout.extent().end * spec.dtype.size();
        if !over.iter().all(vectors)
            || bindings.len() > caps.storage_buffers as usize
            || inputs.iter().chain([output]).any(|spec| !caps.reads_vectors(reached(spec)))
        {
            return None;
        }
        let (body, params) = wgsl::generate(self, over, inputs).ok()?;
        let template = include_str!("../../shaders/elementwise.wgsl");
        let (head, rest) = template.split_once("// begin generated")?;
        let (_, tail) = rest.split_once("// end generated")?;
        Some(Plan::one(Kernel {
            shader: Shader::text(body.clone(), format!("{head}{body}{tail}")),
            constants: vec![("PARAMS", format!("{}u", params.len() / 4).into())],
            bindings,
            params,
            groups: Kernel::fold(output.elements().div_ceil(wgsl::LANES * GROUP), caps),
        }))
    }
}

impl Hash for Fused {
    /// By what is compiled: the scalars' values are numbers, and the rest is in the specs.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.program.scalars.len().hash(state);
        self.program.scalars.iter().for_each(|scalar| scalar.dtype.hash(state));
        self.program.steps.hash(state);
    }
}

impl Op for Fused {
    fn name(&self) -> &'static str {
        match self.program.steps.as_slice() {
            [] => "copy",
            [step] => step.row.name,
            _ => "fused",
        }
    }

    fn output(&self, _: &[Spec]) -> Result<Spec> {
        Ok(Spec::new(self.dtype, self.shape))
    }

    fn strided(&self) -> bool {
        true
    }

    fn half(&self) -> bool {
        true
    }

    fn in_place(&self, _: usize) -> bool {
        true
    }

    fn flops(&self, _: &[Spec], output: &Spec) -> u64 {
        (output.elements() * self.program.steps.len().max(1)) as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let kernel = Blocks::new(self, inputs, output)?;
        let elements = self.shape.elements();
        let blocks = |range: std::ops::Range<usize>| {
            let mut memory = vec![0u32; kernel.words() + LINE];
            let aligned = memory.as_ptr().align_offset(LINE * size_of::<u32>());
            let memory = &mut memory[aligned..];
            kernel.fill_scalars(memory);
            for start in range.step_by(BLOCK) {
                kernel.run(start, BLOCK.min(elements - start), memory);
            }
        };
        if elements < 2 * PARALLEL {
            blocks(0..elements);
        } else {
            let share =
                elements.div_ceil(rayon::current_num_threads() * 4).next_multiple_of(BLOCK).max(PARALLEL);
            (0..elements.div_ceil(share))
                .into_par_iter()
                .for_each(|i| blocks(i * share..elements.min((i + 1) * share)));
        }
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn numbers(&self) -> Vec<u32> {
        self.program.scalars.iter().map(|scalar| scalar.bits).collect()
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        self.plan(None, inputs, output, caps)
    }

    fn gpu_in_place(&self, index: usize, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        self.plan(Some(index), inputs, output, caps)
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(Error::op("fused", "is made by the scheduler and has no gradient of its own"))
    }
}

/// A program laid out for the CPU: where every input is and which register every step writes.
struct Blocks<'a> {
    fused: &'a Fused,
    /// One for each step.
    kernels: Vec<Loop>,
    inputs: Vec<Input>,
    loops: Loops,
    registers: Vec<usize>,
    /// Words of memory before the input blocks.
    register_words: usize,
    /// Loaded input blocks; the others are read in place.
    loaded: usize,
    output: *mut u8,
    /// The output lies over an input: the result goes through a register, since a loop's output
    /// must not overlap its inputs.
    aliased: bool,
}

struct Input {
    data: *const u8,
    access: Access,
    dtype: DType,
    offset: usize,
    /// Number of its block of loaded words, unless it is read in place.
    block: Option<usize>,
}

// SAFETY: threads write disjoint blocks of the output, and read inputs that nobody else writes (an
// aliased input is read only at the block being written, by the thread that writes it).
unsafe impl Sync for Blocks<'_> {}

impl<'a> Blocks<'a> {
    fn new(fused: &'a Fused, views: &[View], output: &mut Output) -> Result<Blocks<'a>> {
        let kernel = |step: &Step| {
            let undefined = || Error::op(step.row.name, format!("is not defined for {}", step.from));
            step.row.kernel(step.from).ok_or_else(undefined)
        };
        let kernels = fused.program.steps.iter().map(kernel).collect::<Result<_>>()?;
        let layouts: Vec<_> = views.iter().map(|view| view.spec.layout).collect();
        let output = output.pointer();
        let mut loaded = 0;
        let inputs: Vec<Input> = views
            .iter()
            .map(|view| {
                let (access, dtype) = (Access::of(&view.spec), view.spec.dtype);
                let block = (access != Access::Linear || dtype == DType::F16).then(|| {
                    loaded += 1;
                    loaded - 1
                });
                Input { data: view.pointer(), access, dtype, offset: view.spec.layout.offset, block }
            })
            .collect();
        let (registers, count) = fused.program.registers();
        let aliased = inputs.iter().any(|input| std::ptr::eq(input.data, output));
        // One block for the result where it cannot be written straight to the output.
        let register_words = (count + 1) * STEP;
        let loops = Loops::new(&fused.shape, &layouts);
        Ok(Blocks { fused, kernels, inputs, loops, registers, register_words, loaded, output, aliased })
    }

    /// Words of memory `run` needs.
    fn words(&self) -> usize {
        self.register_words + (self.loaded + self.fused.program.scalars.len()) * STEP
    }

    /// Fills the blocks of numbers that are the same everywhere, which nothing else writes.
    fn fill_scalars(&self, memory: &mut [u32]) {
        let blocks = memory[self.register_words + self.loaded * STEP..].chunks_mut(STEP);
        self.fused.program.scalars.iter().zip(blocks).for_each(|(scalar, block)| block.fill(scalar.bits));
    }

    /// Computes elements `start..start + n`, `n` at most a block, in memory whose scalars are filled.
    fn run(&self, start: usize, n: usize, memory: &mut [u32]) {
        let program = &self.fused.program;
        let (registers, rest) = memory.split_at_mut(self.register_words);
        let (loads, scalars) = rest.split_at_mut(self.loaded * STEP);
        for (input, strides) in self.inputs.iter().zip(&self.loops.strides) {
            if let Some(block) = input.block {
                self.load(input, strides, start, &mut loads[block * STEP..][..n]);
            }
        }
        let registers = registers.as_mut_ptr();
        let place = |arg: Arg| -> *const u32 {
            match arg {
                Arg::Input(i) => match self.inputs[i].block {
                    Some(block) => loads[block * STEP..].as_ptr(),
                    // SAFETY: a linear input covers the output's elements.
                    None => unsafe { self.inputs[i].data.cast::<u32>().add(self.inputs[i].offset + start) },
                },
                Arg::Scalar(i) => scalars[i * STEP..].as_ptr(),
                // SAFETY: `register_words` counts every register.
                Arg::Step(i) => unsafe { registers.add(self.registers[i] * STEP) },
            }
        };
        let narrow = self.fused.dtype == DType::F16;
        let direct = !narrow && !self.aliased;
        for (i, (step, kernel)) in program.steps.iter().zip(&self.kernels).enumerate() {
            let last = i + 1 == program.steps.len();
            let out = if last && direct {
                // SAFETY: the output covers its elements.
                unsafe { self.output.cast::<u32>().add(start) }
            } else {
                place(Arg::Step(i)).cast_mut()
            };
            let args = step.args.map(place);
            // SAFETY: registers never overlap (`Program::registers`), and the output does not
            // overlap an input here.
            unsafe { kernel(&args, out, n) };
        }
        if program.steps.is_empty() || !direct {
            let result = place(program.result());
            // SAFETY: `result` holds n words; the output covers elements start..start + n. An
            // aliased input is read at the same place it is written, which `copy` allows.
            unsafe {
                if narrow {
                    let out = self.output.cast::<f16>().add(start);
                    for i in 0..n {
                        *out.add(i) = f16::from_f32(*result.cast::<f32>().add(i));
                    }
                } else {
                    std::ptr::copy(result, self.output.cast::<u32>().add(start), n);
                }
            }
        }
    }

    /// Gathers an input's elements into a block.
    fn load(&self, input: &Input, strides: &[isize], start: usize, block: &mut [u32]) {
        // SAFETY (both): layouts stay inside their buffer.
        let word = |at: isize| unsafe { *input.data.cast::<u32>().offset(at) };
        let half = |at: isize| unsafe { (*input.data.cast::<f16>().offset(at)).to_f32().to_bits() };
        if input.dtype == DType::F16 {
            self.gather(input, strides, start, block, half)
        } else {
            self.gather(input, strides, start, block, word)
        }
    }

    fn gather(
        &self,
        input: &Input,
        strides: &[isize],
        start: usize,
        block: &mut [u32],
        read: impl Fn(isize) -> u32,
    ) {
        let base = input.offset as isize;
        match input.access {
            Access::Single => block.fill(read(base)),
            Access::Linear => {
                for (i, word) in block.iter_mut().enumerate() {
                    *word = read(base + (start + i) as isize);
                }
            }
            Access::Strided => {
                let dims = &self.loops.dims;
                let inner = dims.len() - 1;
                let mut done = 0;
                while done < block.len() {
                    let mut rest = (start + done) / dims[inner];
                    let column = (start + done) % dims[inner];
                    let mut at = base + column as isize * strides[inner];
                    for axis in (0..inner).rev() {
                        at += (rest % dims[axis]) as isize * strides[axis];
                        rest /= dims[axis];
                    }
                    let run = (dims[inner] - column).min(block.len() - done);
                    let words = &mut block[done..done + run];
                    match strides[inner] {
                        0 => words.fill(read(at)),
                        step => (0..).zip(words).for_each(|(i, word)| *word = read(at + i * step)),
                    }
                    done += run;
                }
            }
        }
    }
}
