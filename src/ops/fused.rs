//! One kernel for a run of elementwise ops.
//!
//! On the CPU the program runs block by block: a block of every register stays in the first-level
//! cache, and each row is one vectorised loop. On the GPU the rows' WGSL expressions are written out
//! into the template `shaders/elementwise.wgsl`.

mod together;
mod wgsl;

pub(crate) use together::{Operand, Together};
pub(super) use wgsl::{finish_code, given_code};

use super::scratch::with_scratch;
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::expr::{Access, Arg, Loop, Loops, Program, Step};
use crate::parallel;
use crate::{DType, Error, Identity, Op, Output, Result, Shape, Spec, Tensor, View};
use half::f16;
use smallvec::SmallVec;
use std::any::Any;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

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
#[derive(Clone, Debug)]
pub(crate) struct Fused {
    pub program: Arc<Program>,
    /// The bits of the program's scalars, whatever it says they are: graphs of one structure share programs.
    pub numbers: SmallVec<[u32; 4]>,
    pub shape: Shape,
    /// Dtype of the output: the program's, or `F16` to narrow its `F32`.
    pub dtype: DType,
}

impl Fused {
    pub fn new(program: Program, shape: Shape, dtype: DType) -> Fused {
        let numbers = program.scalars.iter().map(|scalar| scalar.bits).collect();
        Fused { program: Arc::new(program), numbers, shape, dtype }
    }

    /// The copy of a tensor into row-major order.
    pub fn copy(spec: &Spec) -> Fused {
        let program = Program { inputs: vec![spec.dtype], ..Program::default() };
        Fused::new(program, *spec.shape(), spec.dtype)
    }

    /// The steps of an operation that is nothing else.
    pub fn of(op: &dyn Op) -> Option<&Fused> {
        let op: &dyn Any = op;
        op.downcast_ref()
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
        let source = wgsl::shader(&body)?;
        let kernel = Kernel {
            shader: Shader::text(body, source),
            constants: vec![("PARAMS", format!("{}u", params.len() / 4).into())],
            bindings,
            params,
            groups: Kernel::fold(output.elements().div_ceil(wgsl::LANES * GROUP), caps),
        };
        Some(Plan::numbered(kernel, self.program.scalars.len()))
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
        let inputs: Vec<_> = inputs.iter().map(|view| (view.spec, view.pointer())).collect();
        let kernel = Blocks::new(self, &inputs, output.pointer(), None)?;
        let elements = self.shape.elements();
        let blocks = |range: Range<usize>| {
            let out = kernel.output.wrapping_add(range.start * self.dtype.size());
            // SAFETY: the output covers its elements.
            unsafe { kernel.run_all(out, range) };
        };
        if elements < 2 * PARALLEL {
            blocks(0..elements);
        } else {
            let share =
                elements.div_ceil(rayon::current_num_threads() * 4).next_multiple_of(BLOCK).max(PARALLEL);
            parallel::ranges(elements.div_ceil(share), 1, &|parts| {
                parts.for_each(|i| blocks(i * share..elements.min((i + 1) * share)));
            });
        }
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn numbers(&self) -> Vec<u32> {
        self.numbers.to_vec()
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
pub(super) struct Blocks<'a> {
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
    /// Where the output starts, for those who write all of it.
    output: *mut u8,
    /// The input that is read where the result is written, wherever that is.
    given: Option<usize>,
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
    /// Of inputs by what they are and where their buffers start, which must be valid for reads of all elements
    /// while the blocks are used; nothing is read of the given one there.
    pub(super) fn new(
        fused: &'a Fused,
        views: &[(Spec, *const u8)],
        output: *mut u8,
        given: Option<usize>,
    ) -> Result<Blocks<'a>> {
        let kernel = |step: &Step| {
            let undefined = || Error::op(step.row.name, format!("is not defined for {}", step.from));
            step.row.kernel(step.from).ok_or_else(undefined)
        };
        let kernels = fused.program.steps.iter().map(kernel).collect::<Result<_>>()?;
        let layouts: Vec<_> = views.iter().map(|(spec, _)| spec.layout).collect();
        let mut loaded = 0;
        let inputs: Vec<Input> = views
            .iter()
            .enumerate()
            .map(|(at, (spec, data))| {
                let (access, dtype) = (Access::of(spec), spec.dtype);
                let loads = given != Some(at) && (access != Access::Linear || dtype == DType::F16);
                let block = loads.then(|| {
                    loaded += 1;
                    loaded - 1
                });
                Input { data: *data, access, dtype, offset: spec.layout.offset, block }
            })
            .collect();
        let (registers, count) = fused.program.registers();
        let aliased = given.is_some() || inputs.iter().any(|input| std::ptr::eq(input.data, output));
        // One block for the result where it cannot be written straight to the output.
        let register_words = (count + 1) * STEP;
        let loops = Loops::new(&fused.shape, &layouts);
        Ok(Blocks {
            fused,
            kernels,
            inputs,
            loops,
            registers,
            register_words,
            loaded,
            output,
            given,
            aliased,
        })
    }

    /// Words of memory `run` needs.
    fn words(&self) -> usize {
        self.register_words + (self.loaded + self.fused.program.scalars.len()) * STEP
    }

    /// Fills the blocks of numbers that are the same everywhere, which nothing else writes, for so many elements.
    fn fill_scalars(&self, elements: usize, memory: &mut [u32]) {
        let used = BLOCK.min(elements);
        let blocks = memory[self.register_words + self.loaded * STEP..].chunks_mut(STEP);
        let numbers = self.fused.numbers.iter().zip(blocks);
        numbers.for_each(|(&bits, block)| block[..used].fill(bits));
    }

    /// Computes elements `range` and writes them to `out` and on.
    ///
    /// # Safety
    /// `out` must be valid for as many elements, and hold those of the given input, if there is one; the inputs
    /// must be valid as [`new`](Self::new) says.
    pub(super) unsafe fn run_all(&self, out: *mut u8, range: Range<usize>) {
        with_scratch(self.words() + LINE, |memory| {
            let memory: &mut [u32] = bytemuck::cast_slice_mut(memory);
            let aligned = memory.as_ptr().align_offset(LINE * size_of::<u32>());
            let memory = &mut memory[aligned..];
            self.fill_scalars(range.len(), memory);
            for start in range.clone().step_by(BLOCK) {
                let out = out.wrapping_add((start - range.start) * self.fused.dtype.size());
                self.run(out, start, BLOCK.min(range.end - start), memory);
            }
        });
    }

    /// Computes elements `start..start + n`, `n` at most a block, in memory whose scalars are filled, and writes
    /// them to `result`.
    fn run(&self, result: *mut u8, start: usize, n: usize, memory: &mut [u32]) {
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
                Arg::Input(i) if self.given == Some(i) => result.cast(),
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
            let out = if last && direct { result.cast::<u32>() } else { place(Arg::Step(i)).cast_mut() };
            let args = step.args.map(place);
            // SAFETY: registers never overlap (`Program::registers`), and the output does not
            // overlap an input here.
            unsafe { kernel(&args, out, n) };
        }
        if program.steps.is_empty() || !direct {
            let last = place(program.result());
            // SAFETY: `last` holds n words; there is room for n results. An aliased input is read at
            // the same place it is written, which `copy` allows.
            unsafe {
                if narrow {
                    let out = result.cast::<f16>();
                    for i in 0..n {
                        *out.add(i) = f16::from_f32(*last.cast::<f32>().add(i));
                    }
                } else {
                    std::ptr::copy(last, result.cast::<u32>(), n);
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
