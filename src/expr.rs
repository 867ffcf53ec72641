//! Elementwise expressions: the rows that define elementwise ops, and programs of several rows
//! that run as one kernel.

use crate::layout::MAX_RANK;
use crate::{DType, Error, Layout, Result, Shape, Spec, Tensor};
use std::fmt;
use std::hash::{Hash, Hasher};

/// A vectorised loop over a block: reads `n` words of each argument, writes `n` words.
///
/// # Safety
/// Every pointer the row uses must be valid for `n` words, and `out` must not overlap the
/// arguments.
pub type Loop = unsafe fn(args: &[*const u32; 3], out: *mut u32, n: usize);

/// The gradients of a row's arguments from (arguments, output, upstream). Shapes are those of the
/// output: broadcasting has its own gradient.
pub type RowGradient = fn(&[Tensor], &Tensor, &Tensor) -> Result<Vec<Option<Tensor>>>;

/// How a row's output type follows from its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// This many arguments of one dtype, and an output of the same.
    Map(usize),
    /// This many arguments of one dtype, and a `Bool` output.
    Test(usize),
    /// A `Bool` and two arguments of one dtype; output of that dtype.
    Select,
    /// One argument of any dtype; output of this one.
    Cast(DType),
}

impl Rule {
    /// Number of arguments.
    pub fn arity(self) -> usize {
        match self {
            Rule::Map(n) | Rule::Test(n) => n,
            Rule::Select => 3,
            Rule::Cast(_) => 1,
        }
    }
}

/// One elementwise op: its name, its WGSL expression, its CPU loops and its gradient.
pub struct Row {
    /// The op's name.
    pub name: &'static str,
    /// Dtypes and number of arguments.
    pub rule: Rule,
    /// WGSL expression in `a`, `b` and `c`, where `{T}` stands for the type of the arguments. May
    /// call the functions of `shaders/elementwise.wgsl`.
    pub wgsl: &'static str,
    /// The loop for float arguments.
    pub float: Option<Loop>,
    /// The loop for `i32` arguments.
    pub int: Option<Loop>,
    /// The loop for truth values (words of 0 and 1).
    pub bool: Option<Loop>,
    /// The gradient.
    pub gradient: RowGradient,
}

impl Row {
    /// The loop for arguments of this dtype; registers of `F16` tensors hold `f32`.
    pub fn kernel(&self, dtype: DType) -> Option<Loop> {
        match dtype {
            DType::F32 | DType::F16 => self.float,
            DType::I32 => self.int,
            DType::Bool => self.bool,
        }
    }

    /// Its arguments, made of those that are numbers and, for the others, of the places of the inputs in turn.
    pub(crate) fn arguments<T>(
        &self,
        numbers: &Numbers,
        mut number: impl FnMut(Scalar) -> T,
        mut input: impl FnMut(usize) -> T,
    ) -> Vec<T> {
        let mut places = 0..;
        let argument = |given: &Option<Scalar>| match given {
            Some(scalar) => number(*scalar),
            None => input(places.next().unwrap_or(0)),
        };
        numbers.iter().take(self.rule.arity()).map(argument).collect()
    }

    /// As [`output`](Row::output), where some arguments are numbers.
    pub(crate) fn output_with(&self, numbers: &Numbers, inputs: &[Spec]) -> Result<Spec> {
        let tensors = numbers.iter().take(self.rule.arity()).filter(|number| number.is_none()).count();
        let Some(first) = inputs.first().filter(|_| inputs.len() >= tensors) else {
            return Err(Error::op(self.name, format!("takes {tensors} tensors, not {}", inputs.len())));
        };
        let (mut specs, mut inputs) = ([*first; 3], inputs.iter());
        for (spec, number) in specs.iter_mut().zip(numbers).take(self.rule.arity()) {
            match number {
                Some(number) => spec.dtype = number.dtype,
                None => *spec = inputs.next().copied().unwrap_or(*first),
            }
        }
        self.output(&specs[..self.rule.arity().min(3)])
    }

    /// The output for inputs of these dtypes and of one shape, or an error that names them.
    pub(crate) fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let refuse = |message: String| Err(Error::op(self.name, message));
        let arity = self.rule.arity();
        if !(1..=3).contains(&arity) {
            return refuse(format!("a row takes 1 to 3 tensors, not {arity}"));
        }
        if inputs.len() != arity {
            return refuse(format!("takes {arity} tensors, not {}", inputs.len()));
        }
        if inputs.iter().any(|input| input.shape() != inputs[0].shape()) {
            let shapes: Vec<_> = inputs.iter().map(|input| input.shape()).collect();
            return refuse(format!("shapes {shapes:?} differ"));
        }
        let data = if self.rule == Rule::Select { &inputs[1..] } else { inputs };
        let from = data[0].dtype;
        let condition = self.rule != Rule::Select || inputs[0].dtype == DType::Bool;
        if !condition || data.iter().any(|input| input.dtype != from) || self.kernel(from).is_none() {
            let dtypes: Vec<_> = inputs.iter().map(|input| input.dtype.to_string()).collect();
            return refuse(format!("is not defined for {}", dtypes.join(" and ")));
        }
        let dtype = match self.rule {
            Rule::Map(_) | Rule::Select => from,
            Rule::Test(_) => DType::Bool,
            Rule::Cast(dtype) => dtype,
        };
        Ok(Spec::new(dtype, *inputs[0].shape()))
    }
}

impl PartialEq for Row {
    /// Whether they are the same row of the table.
    fn eq(&self, other: &Row) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::from_ref(self).hash(state);
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A row's CPU loop: `each!(|a: f32, b: f32| -> f32 { a + b })`, compiled for every instruction
/// set and chosen at run time.
macro_rules! each {
    (|$($arg:ident: $type:ty),+| -> $out:ty $body:block) => {{
        // SAFETY: `Loop`'s contract is exactly that the slices below are valid and disjoint.
        unsafe fn run(args: &[*const u32; 3], out: *mut u32, n: usize) {
            let mut position = 0..;
            $(let $arg = unsafe {
                std::slice::from_raw_parts(args[position.next().unwrap_or(0)].cast::<$type>(), n)
            };)+
            let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<$out>(), n) };
            crate::vectors::vectorised(#[inline(always)] || {
                for (i, out) in out.iter_mut().enumerate() {
                    $(let $arg = $arg[i];)+
                    *out = $body;
                }
            });
        }
        Some(run as $crate::expr::Loop)
    }};
}
pub(crate) use each;

/// What an elementwise op is made of.
#[derive(Clone, Copy, Debug)]
pub enum Expr {
    /// A row applied to the op's inputs.
    Row(&'static Row),
    /// A row of which some arguments are numbers, and the others the op's inputs. The op follows the row's rule.
    Partial(&'static Row, Numbers),
    /// The same value everywhere.
    Constant(Scalar),
}

/// Which arguments of a row are numbers.
pub type Numbers = [Option<Scalar>; 3];

/// A typed constant; its bits are passed to kernels as a parameter, never compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scalar {
    /// Type of the tensors it stands beside.
    pub dtype: DType,
    /// The word in a register: for `F16` tensors that of the unrounded `f32`.
    pub bits: u32,
}

impl Scalar {
    /// `value` as a constant of this dtype.
    pub fn new(value: f64, dtype: DType) -> Scalar {
        match dtype {
            DType::F32 | DType::F16 => Scalar { dtype, bits: (value as f32).to_bits() },
            DType::I32 => Scalar { dtype, bits: value as i32 as u32 },
            DType::Bool => Scalar { dtype, bits: u32::from(value != 0.0) },
        }
    }
}

impl Scalar {
    /// The constant.
    pub(crate) fn value(self) -> f64 {
        match self.dtype {
            DType::F32 | DType::F16 => f64::from(f32::from_bits(self.bits)),
            DType::I32 | DType::Bool => f64::from(self.bits as i32),
        }
    }
}

/// Where a step's argument comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arg {
    /// An input tensor.
    Input(usize),
    /// A constant.
    Scalar(usize),
    /// An earlier step.
    Step(usize),
}

/// One row applied to registers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// What to compute.
    pub row: &'static Row,
    /// Its arguments; the first `row.rule.arity()` count, the others repeat the last.
    pub args: [Arg; 3],
    /// Dtype of the arguments (of the second one for `Select`).
    pub from: DType,
    /// Dtype of the result.
    pub to: DType,
}

impl Hash for Step {
    /// In few words: keys of graphs and kernels hold all steps, and are made for each run.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let arg = |arg| match arg {
            Arg::Input(i) => 3 * i,
            Arg::Scalar(i) => 3 * i + 1,
            Arg::Step(i) => 3 * i + 2,
        };
        self.row.hash(state);
        self.args.map(arg).hash(state);
        [self.from as u8, self.to as u8].hash(state);
    }
}

/// Several rows evaluated together for each element: the last step is the result. A program
/// without steps copies its one input or fills with its one scalar.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Dtypes of the inputs.
    pub inputs: Vec<DType>,
    /// Constants.
    pub scalars: Vec<Scalar>,
    /// Rows, in order.
    pub steps: Vec<Step>,
}

impl Program {
    /// A row over inputs of these dtypes, and numbers.
    pub(crate) fn of_row(
        row: &'static Row,
        numbers: &Numbers,
        dtype: impl Fn(usize) -> DType,
        to: DType,
    ) -> Program {
        let (mut inputs, mut scalars) = (Vec::new(), Vec::new());
        let number = |scalar: Scalar| {
            scalars.push(scalar);
            (Arg::Scalar(scalars.len() - 1), scalar.dtype)
        };
        let input = |at| {
            inputs.push(dtype(at));
            (Arg::Input(at), dtype(at))
        };
        let args = row.arguments(numbers, number, input);
        let last = args.len() - 1;
        let step = Step { row, args: [0, 1, 2].map(|i| args[i.min(last)].0), from: args[last].1, to };
        Program { inputs, scalars, steps: vec![step] }
    }

    /// Whether nothing is computed, and from nothing.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.scalars.is_empty() && self.steps.is_empty()
    }

    /// Where the result is.
    pub fn result(&self) -> Arg {
        match (self.steps.len(), self.inputs.len()) {
            (0, 0) => Arg::Scalar(0),
            (0, _) => Arg::Input(0),
            (n, _) => Arg::Step(n - 1),
        }
    }

    /// Dtype of the result.
    pub fn dtype(&self) -> DType {
        match self.result() {
            Arg::Input(i) => self.inputs[i],
            Arg::Scalar(i) => self.scalars[i].dtype,
            Arg::Step(i) => self.steps[i].to,
        }
    }

    /// A register for each step such that a register is free again after its last use, and how many
    /// registers that takes. A step never writes a register it reads.
    pub fn registers(&self) -> (Vec<usize>, usize) {
        let mut last_use: Vec<usize> = (0..self.steps.len()).collect();
        for (at, step) in self.steps.iter().enumerate() {
            for arg in &step.args[..step.row.rule.arity()] {
                if let Arg::Step(used) = *arg {
                    last_use[used] = at;
                }
            }
        }
        let mut free_from: Vec<usize> = Vec::new();
        let registers = (0..self.steps.len())
            .map(|at| {
                let register = free_from.iter().position(|&from| from < at).unwrap_or(free_from.len());
                if register == free_from.len() {
                    free_from.push(0);
                }
                free_from[register] = last_use[at];
                register
            })
            .collect();
        (registers, free_from.len())
    }
}

/// The loops of a kernel over several strided operands: sizes, outermost first, and for each
/// operand its strides. Size-1 dimensions are dropped and neighbours merged where every operand
/// allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loops {
    /// Sizes.
    pub dims: Vec<usize>,
    /// `strides[operand][dimension]`.
    pub strides: Vec<Vec<isize>>,
}

impl Loops {
    /// The loops over `shape` for operands of that shape.
    pub fn new(shape: &Shape, operands: &[Layout]) -> Loops {
        let mut dims: Vec<usize> = Vec::with_capacity(MAX_RANK);
        let mut strides = vec![Vec::with_capacity(MAX_RANK); operands.len()];
        for (axis, &size) in shape.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let merges = operands
                .iter()
                .zip(&strides)
                .all(|(o, s): (_, &Vec<isize>)| s.last() == Some(&(o.strides()[axis] * size as isize)));
            match dims.last_mut() {
                Some(last) if merges => {
                    *last *= size;
                    strides.iter_mut().for_each(|strides| strides.truncate(dims.len() - 1));
                }
                _ => dims.push(size),
            }
            for (operand, strides) in operands.iter().zip(&mut strides) {
                strides.push(operand.strides()[axis]);
            }
        }
        Loops { dims, strides }
    }
}

/// How a kernel reads one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Element `i` is at `offset + i`.
    Linear,
    /// Every element is at `offset`.
    Single,
    /// By strides.
    Strided,
}

impl Access {
    /// The cheapest access that reads `spec`.
    pub fn of(spec: &Spec) -> Access {
        if spec.layout.strides().iter().zip(spec.shape().iter()).all(|(&s, &d)| s == 0 || d == 1) {
            Access::Single
        } else if spec.layout.is_contiguous() {
            Access::Linear
        } else {
            Access::Strided
        }
    }
}
