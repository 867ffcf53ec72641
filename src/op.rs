//! The operation: one trait that says everything about one op.

use crate::device::{Caps, Plan};
use crate::expr::Expr;
use crate::layout::MAX_RANK;
use crate::ops::scratch::with_scratch;
use crate::parallel;
use crate::{DType, Error, Layout, Result, Spec, Tensor};
use half::slice::HalfFloatSliceExt;
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Range;

/// One operation on tensors: its shape rule, kernels and gradient.
///
/// Users add their own with this trait too: make the op, then `Tensor::apply(op, &[&x])`.
pub trait Op: fmt::Debug + Any + Send + Sync {
    /// The name used in errors, profiles and tables.
    fn name(&self) -> &'static str;

    /// The shape and dtype rule: the (contiguous) output for these inputs, or an error that names
    /// the shapes. All validation happens here.
    fn output(&self, inputs: &[Spec]) -> Result<Spec>;

    /// For an op that only looks at its first input in another way: the layout it sees. No kernel is run
    /// then; other inputs are there for the gradient. The layout's shape must be
    /// [`output`](Op::output)'s.
    fn view(&self, _input: &Layout) -> Option<Layout> {
        None
    }

    /// Whether the kernels read inputs of any strides and offset. If not, they get contiguous ones.
    fn strided(&self) -> bool {
        false
    }

    /// Whether the op reads `f16` inputs itself. If not, they are widened to `f32` before it and
    /// an `f32` result is narrowed after it.
    fn half(&self) -> bool {
        false
    }

    /// Whether a result of `f16` inputs stays `f32` inside [`autocast`](crate::autocast), as sums of many
    /// numbers and exponentials should.
    fn wide(&self) -> bool {
        false
    }

    /// Whether the output may be written over input `index` (same layout and element size). The CPU kernel
    /// then reads that input by its [`pointer`](View::pointer).
    fn in_place(&self, _index: usize) -> bool {
        false
    }

    /// The CPU kernel: writes every element of `output`, of which there is at least one. Must not evaluate
    /// tensors.
    fn cpu(&self, _inputs: &[View], _output: &mut Output) -> Result<()> {
        Err(Error::op(self.name(), "has no CPU kernel"))
    }

    /// The GPU kernels; `None` where there are none for these inputs on such a device (the CPU
    /// then runs the op). The output has at least one element.
    fn gpu(&self, _inputs: &[Spec], _output: &Spec, _caps: &Caps) -> Option<Plan> {
        None
    }

    /// As [`gpu`](Op::gpu), of one kernel, with the output written over input `index` (same layout and dtype): the
    /// two are one binding, [`Binding::Output`](crate::device::Binding::Output).
    fn gpu_in_place(&self, _index: usize, _inputs: &[Spec], _output: &Spec, _caps: &Caps) -> Option<Plan> {
        None
    }

    /// All that the op's [`gpu`](Op::gpu) plan depends on besides the specs, [`numbers`](Op::numbers) left out;
    /// mostly `Some(self)`. A device then makes the plan once and keeps it; without, it is made for every run.
    fn identity(&self) -> Option<&dyn Identity> {
        None
    }

    /// Words that change from run to run: params of the kernels, at the places that the plan
    /// [names](crate::device::Plan::numbers).
    fn numbers(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Whether elementwise steps that follow can be part of the kernels of a float result: the CPU kernel hands every
    /// element once, and for the last time, to what [`Output::finish`] gives, and the shaders of the GPU kernels that
    /// bind the output write `finish(place, value)` or `finish4(place, values)` where they would write an element's
    /// value, for the last time too, or four neighbours from a multiple of four on. They declare those that they call
    /// between the lines `// begin finish` and `// end finish` as functions that return what they are given, and end
    /// their `Params` with a line `// finish`.
    fn finishes(&self) -> bool {
        false
    }

    /// Whether elementwise steps that compute its only input, contiguous, can be part of its kernels: the CPU kernel reads
    /// it by [`View::elements`], and the shader of the first GPU kernel reads element `i` as `given(i)`, or four
    /// neighbours from a multiple of four on as `given4(i)`. It declares both, and the binding 1 that they read, between
    /// the lines `// begin given` and `// end given`, and its `Params` have a line `// given` before that of
    /// [`finish`](Op::finishes).
    fn begins(&self) -> bool {
        false
    }

    /// For an elementwise op: its row, by which it is fused with its neighbours, and whose rule its first
    /// inputs and its output have to follow; other inputs are there for the gradient.
    fn expr(&self) -> Option<Expr> {
        None
    }

    /// Floating-point operations, for placement and to bound the work of a submit. The default
    /// counts one an output element.
    fn flops(&self, _inputs: &[Spec], output: &Spec) -> u64 {
        output.elements() as u64
    }

    /// The gradients of the inputs given the gradient `upstream` of the output, in tensor ops; `None`
    /// where there is none. Entries that nobody reads are never computed.
    fn gradient(&self, inputs: &[Tensor], output: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

/// What can be [`Hash`]ed, behind a reference.
pub trait Identity {
    /// Gives `key` every byte that tells two values apart.
    fn write(&self, key: &mut dyn Hasher);
}

impl<T: Hash> Identity for T {
    fn write(&self, mut key: &mut dyn Hasher) {
        self.hash(&mut key);
    }
}

/// A hasher that keeps every byte it is given: keys are compared, so that no two operations are taken for one.
pub(crate) struct Key(pub Vec<u8>);

impl Hasher for Key {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Gives `key` what an operation is but for its numbers; false where it has no identity.
pub(crate) fn identify(op: &dyn Op, mut key: &mut dyn Hasher) -> bool {
    let op_type: &dyn Any = op;
    op_type.type_id().hash(&mut key);
    let identity = op.identity();
    identity.iter().for_each(|identity| identity.write(key));
    identity.is_some()
}

impl Key {
    /// Adds a dtype and a layout.
    pub fn spec(&mut self, Spec { dtype, layout }: &Spec) {
        let mut words = [0; 2 + 2 * MAX_RANK];
        let rank = layout.shape.rank();
        (words[0], words[1]) = (*dtype as usize + (rank << 8), layout.offset);
        words[2..2 + rank].copy_from_slice(layout.shape.dims());
        let strides = words[2 + rank..].iter_mut().zip(layout.strides());
        strides.for_each(|(word, &stride)| *word = stride as usize);
        self.write(bytemuck::cast_slice(&words[..2 + 2 * rank]));
    }
}

/// A type whose values lie in a buffer word by word (`f32`, `f16`, `i32`, and `u32` for truth
/// values).
pub trait Word: bytemuck::Pod + Send + Sync {}
impl Word for f32 {}
impl Word for half::f16 {}
impl Word for i32 {}
impl Word for u32 {}

/// A CPU kernel's input.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Dtype and layout.
    pub spec: Spec,
    data: *const u8,
    bytes: usize,
    /// Whether the output lies over it.
    aliased: bool,
    /// What computes its elements, where they are nowhere.
    source: Option<Computed<'a>>,
    lifetime: PhantomData<&'a [u8]>,
}

/// What computes elements, words of 32 bits, from a place on.
#[derive(Clone, Copy)]
struct Computed<'a>(&'a (dyn Fn(usize, &mut [u32]) + Sync));

impl fmt::Debug for Computed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Computed")
    }
}

/// The elements of a contiguous input: those of a slice, or what steps in front of the op compute.
#[derive(Clone, Copy)]
pub struct Elements<'a, T> {
    there: &'a [T],
    computed: Option<Computed<'a>>,
}

impl<'a, T: Word> Elements<'a, T> {
    /// Those of a slice.
    pub fn of(there: &'a [T]) -> Elements<'a, T> {
        Elements { there, computed: None }
    }

    /// Hands the elements of `range` to `then`.
    ///
    /// # Panics
    /// Where the range is past the end of a slice.
    pub fn with<R>(&self, range: Range<usize>, then: impl FnOnce(&[T]) -> R) -> R {
        let Some(Computed(compute)) = self.computed else { return then(&self.there[range]) };
        with_scratch(range.len(), |memory| {
            compute(range.start, bytemuck::cast_slice_mut(memory));
            then(bytemuck::cast_slice(memory))
        })
    }
}

/// A CPU kernel's output: contiguous, its content undefined before.
#[derive(Debug)]
pub struct Output<'a> {
    /// Dtype and layout.
    pub spec: Spec,
    data: *mut u8,
    bytes: usize,
    finish: Finish<'a>,
    lifetime: PhantomData<&'a mut [u8]>,
}

/// What an op that [`finishes`](Op::finishes) does with elements that it has computed.
#[derive(Clone, Copy, Default)]
pub struct Finish<'a>(Option<&'a Follow<'a>>);

/// Goes on with the output's elements from a place on.
type Follow<'a> = dyn Fn(usize, &mut [f32]) + Sync + 'a;

impl Finish<'_> {
    /// Goes on with the output's elements from `first` on: computes what follows them in their place.
    pub fn run(&self, first: usize, elements: &mut [f32]) {
        if let Some(follow) = self.0 {
            follow(first, elements);
        }
    }

    /// The same on all threads.
    pub(crate) fn run_shared(&self, first: usize, elements: &mut [f32]) {
        if self.0.is_some() {
            parallel::chunks(elements, SHARE, 1, |at, part| self.run(first + at * SHARE, part));
        }
    }
}

/// Elements that are worth a thread of their own.
const SHARE: usize = 1 << 14;

impl fmt::Debug for Finish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Finish({})", if self.0.is_some() { "steps" } else { "nothing" })
    }
}

// SAFETY: a View is a shared borrow of plain bytes.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}
// SAFETY: an Output is an exclusive borrow of plain bytes.
unsafe impl Send for Output<'_> {}
// SAFETY: `&Output` gives no access to the bytes.
unsafe impl Sync for Output<'_> {}

impl<'a> View<'a> {
    /// A view of a whole buffer.
    ///
    /// # Safety
    /// `data` must be aligned to 64 bytes, valid for `bytes` bytes for `'a`, cover `spec`'s extent, and
    /// not be written meanwhile but by the output of the same kernel, where it is `aliased`.
    pub(crate) unsafe fn new(spec: Spec, data: *const u8, bytes: usize, aliased: bool) -> View<'a> {
        View { spec, data, bytes, aliased, source: None, lifetime: PhantomData }
    }

    /// An input that `compute` computes, of words of 32 bits.
    pub(crate) fn computed(spec: Spec, compute: &'a (dyn Fn(usize, &mut [u32]) + Sync)) -> View<'a> {
        let source = Some(Computed(compute));
        View { spec, data: std::ptr::null(), bytes: 0, aliased: false, source, lifetime: PhantomData }
    }

    /// The elements of the input of an op that [`begins`](Op::begins) with them.
    ///
    /// # Panics
    /// As [`slice`](View::slice), but for an input that is computed.
    pub fn elements<T: Word>(&self) -> Elements<'a, T> {
        assert_eq!(size_of::<T>(), self.spec.dtype.size(), "element size of {}", self.spec.dtype);
        let there = if self.source.is_some() { &[] } else { self.slice() };
        Elements { there, computed: self.source }
    }

    /// The elements of a contiguous input.
    ///
    /// # Panics
    /// As [`buffer`](View::buffer), and if the input is not contiguous (an op that is not
    /// [`strided`](Op::strided) never sees one).
    pub fn slice<T: Word>(&self) -> &'a [T] {
        assert!(self.spec.layout.is_contiguous(), "slice of a strided view");
        let range = self.spec.layout.offset..self.spec.layout.offset + self.spec.elements();
        &self.buffer()[range]
    }

    /// All elements of the underlying buffer, to be indexed by the layout's offset and strides.
    ///
    /// # Panics
    /// If `T` has another size than the dtype, or the output is written over this input or it is computed (an op that
    /// does not ask for that by [`in_place`](Op::in_place) or [`begins`](Op::begins) never sees it).
    pub fn buffer<T: Word>(&self) -> &'a [T] {
        assert_eq!(size_of::<T>(), self.spec.dtype.size(), "element size of {}", self.spec.dtype);
        assert!(!self.aliased, "a slice of an input that the output is written over");
        assert!(self.source.is_none(), "a slice of an input that is computed");
        // SAFETY: by the contract of `new` the bytes are valid and aligned, and nobody writes them.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.bytes / size_of::<T>()) }
    }

    /// All elements of the buffer of a float input, widened where they are `f16`.
    pub(crate) fn widened(&self) -> Cow<'a, [f32]> {
        match self.spec.dtype {
            DType::F16 => Cow::Owned(self.buffer::<half::f16>().to_f32_vec()),
            _ => Cow::Borrowed(self.buffer()),
        }
    }

    /// The buffer's start, for kernels that may write over their input.
    pub fn pointer(&self) -> *const u8 {
        self.data
    }
}

impl<'a> Output<'a> {
    /// An output over a whole buffer.
    ///
    /// # Safety
    /// `data` must be aligned to 64 bytes, valid for `spec.bytes()` bytes for `'a` and used by nobody else
    /// but aliased inputs of the same kernel.
    pub(crate) unsafe fn new(spec: Spec, data: *mut u8, bytes: usize) -> Output<'a> {
        Output { spec, data, bytes, finish: Finish::default(), lifetime: PhantomData }
    }

    /// The same memory as the output `spec` of an op whose elements `follow` goes on with.
    pub(crate) fn followed<'b>(&'b mut self, spec: Spec, follow: &'b Follow<'b>) -> Output<'b> {
        assert_eq!(spec.bytes(), self.spec.bytes(), "the memory of another output");
        Output { spec, finish: Finish(Some(follow)), ..*self }
    }

    /// What to do with elements once they are computed, in an op that [`finishes`](Op::finishes) them.
    pub fn finish(&self) -> Finish<'a> {
        self.finish
    }

    /// The elements to write.
    ///
    /// # Panics
    /// If `T` has another size than the dtype.
    pub fn slice<T: Word>(&mut self) -> &mut [T] {
        assert_eq!(size_of::<T>(), self.spec.dtype.size(), "element size of {}", self.spec.dtype);
        debug_assert!(self.bytes >= self.spec.bytes());
        // SAFETY: by the contract of `new` the bytes are valid, aligned and ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast(), self.spec.elements()) }
    }

    /// The buffer's start, for kernels that may write over their input.
    pub fn pointer(&mut self) -> *mut u8 {
        self.data
    }
}
