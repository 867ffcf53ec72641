//! A case: inputs with views, the op, and its float64 reference.

use crate::{DType, Engine, Op, Result, Tensor};
use ndarray::{ArrayD, Axis, IxDyn, Slice};
use std::collections::HashSet;

/// What references compute with.
pub type Array = ArrayD<f64>;

/// What is done to a stored tensor before the op sees it.
#[derive(Clone, Debug)]
enum Step {
    Permute(Vec<isize>),
    /// Dimension, start, end, step.
    Slice(isize, usize, usize, usize),
    Flip(isize),
    Broadcast(Vec<usize>),
}

/// One input of a case.
#[derive(Clone, Debug)]
pub struct Input {
    shape: Vec<usize>,
    dtype: DType,
    values: Vec<f64>,
    steps: Vec<Step>,
    /// Chooses among formulas, so that a small change means nothing.
    fixed: bool,
}

/// Numbers in `low..high` from a linear congruential generator: the same on every machine.
pub(super) fn draw(shape: &[usize], low: f64, high: f64, seed: u64) -> Array {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    ArrayD::from_shape_fn(IxDyn(shape), |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Rounded to f32, which is what the devices see.
        f64::from((low + (high - low) * ((state >> 33) as f64 / (1u64 << 31) as f64)) as f32)
    })
}

impl Input {
    fn new(shape: &[usize], dtype: DType, values: Array) -> Input {
        Input {
            shape: shape.to_vec(),
            dtype,
            values: values.into_iter().collect(),
            steps: Vec::new(),
            fixed: false,
        }
    }

    /// Floats in -2..2.
    pub(super) fn floats(shape: &[usize]) -> Input {
        Input::within(shape, -2.0, 2.0)
    }

    /// Floats in a range.
    pub(super) fn within(shape: &[usize], low: f64, high: f64) -> Input {
        let seed = shape.iter().fold(7, |seed, &d| seed * 31 + d as u64) + (low.abs() * 8.0) as u64;
        Input::new(shape, DType::F32, draw(shape, low, high, seed))
    }

    /// Floats of which no two are closer than 0.1, for ops that choose among elements.
    pub(super) fn distinct(shape: &[usize]) -> Input {
        let order = draw(shape, 0.0, 1.0, 3);
        let mut ranks: Vec<usize> = (0..order.len()).collect();
        let keys: Vec<f64> = order.iter().copied().collect();
        ranks.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
        let mut values = vec![0.0; ranks.len()];
        for (rank, at) in ranks.into_iter().enumerate() {
            values[at] = f64::from((rank as f64 * 0.125 - values.len() as f64 / 16.0) as f32);
        }
        let values = ArrayD::from_shape_fn(IxDyn(&[values.len()]), |at| values[at[0]]);
        Input::new(shape, DType::F32, values)
    }

    /// These floats.
    pub(super) fn given(values: &[f64]) -> Input {
        let values = ArrayD::from_shape_fn(IxDyn(&[values.len()]), |at| values[at[0]]);
        Input::new(&[values.len()], DType::F32, values)
    }

    /// Whole numbers from `low` to `high` (excluded).
    pub(super) fn ints(shape: &[usize], low: i32, high: i32) -> Input {
        Input::new(shape, DType::I32, draw(shape, f64::from(low), f64::from(high), 11).mapv(f64::floor))
    }

    /// Truth values.
    pub(super) fn bools(shape: &[usize]) -> Input {
        Input::new(shape, DType::Bool, draw(shape, 0.0, 2.0, 13).mapv(f64::floor))
    }

    /// The same, stored in half precision.
    pub(super) fn half(mut self) -> Input {
        self.dtype = DType::F16;
        self.values.iter_mut().for_each(|v| *v = half::f16::from_f64(*v).to_f64());
        self
    }

    /// Not to be differentiated, though of floats.
    pub(super) fn fixed(mut self) -> Input {
        self.fixed = true;
        self
    }

    /// Whether gradients of it are compared.
    pub(super) fn differentiable(&self) -> bool {
        self.dtype == DType::F32 && !self.fixed
    }

    /// A function of the numbers.
    pub(super) fn mapped(mut self, f: fn(f64) -> f64) -> Input {
        self.values.iter_mut().for_each(|value| *value = f(*value));
        self
    }

    /// Other numbers of the same kind.
    pub(super) fn reseeded(mut self) -> Input {
        self.values.reverse();
        self
    }

    pub(super) fn permute(self, order: &[isize]) -> Input {
        self.step(Step::Permute(order.to_vec()))
    }

    pub(super) fn slice(self, dim: isize, start: usize, end: usize, step: usize) -> Input {
        self.step(Step::Slice(dim, start, end, step))
    }

    pub(super) fn flip(self, dim: isize) -> Input {
        self.step(Step::Flip(dim))
    }

    pub(super) fn broadcast(self, shape: &[usize]) -> Input {
        self.step(Step::Broadcast(shape.to_vec()))
    }

    fn step(mut self, step: Step) -> Input {
        self.steps.push(step);
        self
    }

    /// The stored tensor.
    pub fn leaf(&self, engine: &Engine) -> Result<Tensor> {
        let floats: Vec<f32> = self.values.iter().map(|&v| v as f32).collect();
        match self.dtype {
            DType::F32 => Tensor::from_slice(&floats, &self.shape[..], engine),
            DType::F16 => {
                let halves: Vec<half::f16> = floats.iter().map(|&v| half::f16::from_f32(v)).collect();
                Tensor::from_slice(&halves, &self.shape[..], engine)
            }
            DType::I32 => {
                let ints: Vec<i32> = self.values.iter().map(|&v| v as i32).collect();
                Tensor::from_slice(&ints, &self.shape[..], engine)
            }
            DType::Bool => {
                let bools: Vec<bool> = self.values.iter().map(|&v| v != 0.0).collect();
                Tensor::from_slice(&bools, &self.shape[..], engine)
            }
        }
    }

    /// The stored numbers.
    pub fn array(&self) -> Array {
        ArrayD::from_shape_vec(IxDyn(&self.shape), self.values.clone()).expect("one value an element")
    }

    /// The view that the op sees, of the stored tensor.
    pub fn viewed(&self, leaf: &Tensor) -> Result<Tensor> {
        self.steps.iter().try_fold(leaf.clone(), |x, step| match step {
            Step::Permute(order) => x.permute(order),
            Step::Slice(dim, start, end, by) => x.slice(*dim, *start, *end, *by),
            Step::Flip(dim) => x.flip(*dim),
            Step::Broadcast(shape) => x.broadcast_to(&shape[..]),
        })
    }

    /// The view that the op sees, of the stored numbers.
    ///
    /// # Panics
    /// Where `stored` has not the shape of [`array`](Input::array).
    pub fn viewed_array(&self, stored: &Array) -> Array {
        let mut x = stored.clone();
        for step in &self.steps {
            x = match step {
                Step::Permute(order) => {
                    x.permuted_axes(IxDyn(&order.iter().map(|&a| a as usize).collect::<Vec<_>>()))
                }
                Step::Slice(dim, start, end, by) => {
                    let slice = Slice::new(*start as isize, Some(*end as isize), *by as isize);
                    x.slice_axis(Axis(*dim as usize), slice).to_owned()
                }
                Step::Flip(dim) => {
                    x.invert_axis(Axis(*dim as usize));
                    x
                }
                Step::Broadcast(shape) => x.broadcast(IxDyn(shape)).expect("the case broadcasts").to_owned(),
            };
        }
        x.as_standard_layout().to_owned()
    }
}

/// A function that several threads may call.
pub type Boxed<In, Out> = Box<dyn Fn(&In) -> Out + Send + Sync>;

/// One line of the table: an operation on certain inputs, and what it should give.
pub struct Case {
    /// `OPERATION/VARIANT`, unique in the table.
    pub name: String,
    /// What the operation is given.
    pub inputs: Vec<Input>,
    /// The operation, from the viewed inputs.
    pub op: Boxed<[Tensor], Result<Tensor>>,
    /// The same in float64, of arrays shaped as the viewed inputs; it panics with others.
    pub reference: Boxed<[Array], Array>,
    /// Allowed error of a value, relative to the reference.
    pub rtol: f64,
    /// Allowed error of a value, to which the relative part is added.
    pub atol: f64,
    /// Whether gradients, and gradients of gradients, are compared.
    pub gradient: bool,
    /// Allowed error of a gradient, relative to the greater of 1 and the reference.
    pub gradient_tolerance: f64,
}

/// What an operation has to do at least, to compare with the time it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of all kernels.
    pub flops: u64,
    /// Bytes of the inputs as the operation sees them, and of the result.
    pub bytes: u64,
}

impl Cost {
    /// Of what was recorded between inputs and output.
    pub fn of(inputs: &[Tensor], output: &Tensor) -> Cost {
        let seen = |tensor: &Tensor| (tensor.elements() * tensor.dtype().size()) as u64;
        let bytes = inputs.iter().chain([output]).map(seen).sum();
        let flops = recorded(inputs, output).iter().map(flops).sum();
        Cost { flops, bytes }
    }
}

impl Case {
    pub(super) fn new(
        name: impl Into<String>,
        inputs: impl Into<Vec<Input>>,
        op: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
        reference: impl Fn(&[Array]) -> Array + Send + Sync + 'static,
    ) -> Case {
        Case::boxed(name.into(), inputs.into(), Box::new(op), Box::new(reference))
    }

    fn boxed(
        name: String,
        inputs: Vec<Input>,
        op: Boxed<[Tensor], Result<Tensor>>,
        reference: Boxed<[Array], Array>,
    ) -> Case {
        Case { name, inputs, op, reference, rtol: 2e-6, atol: 2e-6, gradient: true, gradient_tolerance: 2e-4 }
    }

    /// Not differentiable, or compared by value alone.
    pub(super) fn value_only(mut self) -> Case {
        self.gradient = false;
        self
    }

    pub(super) fn tolerance(mut self, rtol: f64, atol: f64) -> Case {
        (self.rtol, self.atol) = (rtol, atol);
        self
    }

    /// The operation: the name of the function that the case is about.
    pub fn operation(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }

    /// Whether gradients of gradients are compared: not those of large tensors, where a difference of the
    /// reference's sum would be lost in its rounding.
    pub fn second_order(&self) -> bool {
        const LARGEST: usize = 500;
        self.gradient && self.inputs.iter().all(|input| input.values.len() <= LARGEST)
    }

    /// The inputs as the op sees them.
    pub fn tensors(&self, engine: &Engine) -> Result<Vec<Tensor>> {
        self.inputs.iter().map(|input| input.viewed(&input.leaf(engine)?)).collect()
    }

    /// The inputs as the reference sees them.
    pub fn arrays(&self) -> Vec<Array> {
        self.inputs.iter().map(|input| input.viewed_array(&input.array())).collect()
    }

    /// Runs the operation and reads its result.
    pub fn run(&self, engine: &Engine) -> Result<Array> {
        read(&(self.op)(&self.tensors(engine)?)?)
    }

    /// What the operation costs. Records it on `engine`, and runs nothing.
    pub fn cost(&self, engine: &Engine) -> Result<Cost> {
        let inputs = self.tensors(engine)?;
        Ok(Cost::of(&inputs, &(self.op)(&inputs)?))
    }

    /// Whether one of the operations it runs [finishes](crate::Op::finishes), and the result is `f32`: then
    /// [`followed`](Case::followed) has something to show.
    pub fn finishes(&self, engine: &Engine) -> Result<bool> {
        let output = (self.op)(&self.tensors(engine)?)?;
        Ok(runs(&output, |op| op.finishes()) && output.dtype() == DType::F32)
    }

    /// Whether one of the operations it runs [begins](crate::Op::begins) with steps, and the first input is `f32`: then
    /// [`led`](Case::led) has something to show.
    pub fn begins(&self, engine: &Engine) -> Result<bool> {
        let inputs = self.tensors(engine)?;
        Ok(runs(&(self.op)(&inputs)?, |op| op.begins()) && inputs[0].dtype() == DType::F32)
    }

    /// The names of the kernels that the operation consists of before fusion, each once.
    pub fn kernels(&self, engine: &Engine) -> Result<Vec<&'static str>> {
        let inputs = self.tensors(engine)?;
        let output = (self.op)(&inputs)?;
        let mut nodes = recorded(&inputs, &output);
        nodes.retain(|node| !node.inner().view);
        nodes.sort_unstable_by_key(Tensor::id);
        let mut names: Vec<&'static str> = Vec::new();
        for name in nodes.iter().map(|node| node.inner().op.name()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Whether one of the operations recorded for an output is such.
fn runs(output: &Tensor, is: impl Fn(&dyn Op) -> bool) -> bool {
    recorded(&[], output).iter().any(|node| is(&*node.inner().op))
}

/// What was recorded between inputs and output, the output included.
fn recorded(inputs: &[Tensor], output: &Tensor) -> Vec<Tensor> {
    let mut seen: HashSet<u64> = inputs.iter().map(Tensor::id).collect();
    let (mut nodes, mut stack) = (Vec::new(), vec![output.clone()]);
    while let Some(tensor) = stack.pop() {
        // What has no inputs is a constant, or an index that the host made.
        let before = tensor.inner().state().inputs.clone();
        if seen.insert(tensor.id()) && !before.is_empty() {
            stack.extend(before);
            nodes.push(tensor);
        }
    }
    nodes
}

fn flops(node: &Tensor) -> u64 {
    let specs: Vec<_> = node.inner().state().inputs.iter().map(|input| *input.spec()).collect();
    if node.inner().view { 0 } else { node.inner().op.flops(&specs, node.spec()) }
}

/// A tensor's elements as float64.
pub fn read(tensor: &Tensor) -> Result<Array> {
    let values: Vec<f64> = match tensor.dtype() {
        DType::F32 => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        DType::F16 => tensor.to_vec::<half::f16>()?.into_iter().map(half::f16::to_f64).collect(),
        DType::I32 => tensor.to_vec::<i32>()?.into_iter().map(f64::from).collect(),
        DType::Bool => tensor.to_vec::<bool>()?.into_iter().map(|v| f64::from(u8::from(v))).collect(),
    };
    Ok(ArrayD::from_shape_vec(IxDyn(tensor.dims()), values).expect("one value an element"))
}
