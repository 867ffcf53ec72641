//! A case: inputs with views, the op, and its float64 reference.

use kiln::{DType, Engine, Result, Tensor};
use ndarray::{ArrayD, Axis, IxDyn, Slice};

pub type Array = ArrayD<f64>;

/// What is done to a stored tensor before the op sees it.
#[derive(Clone, Debug)]
pub enum Step {
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
}

/// Numbers in `low..high` from a linear congruential generator: the same on every machine.
pub fn draw(shape: &[usize], low: f64, high: f64, seed: u64) -> Array {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    ArrayD::from_shape_fn(IxDyn(shape), |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Rounded to f32, which is what the devices see.
        f64::from((low + (high - low) * ((state >> 33) as f64 / (1u64 << 31) as f64)) as f32)
    })
}

impl Input {
    fn new(shape: &[usize], dtype: DType, values: Array) -> Input {
        Input { shape: shape.to_vec(), dtype, values: values.into_iter().collect(), steps: Vec::new() }
    }

    /// Floats in -2..2.
    pub fn floats(shape: &[usize]) -> Input {
        Input::within(shape, -2.0, 2.0)
    }

    /// Floats in a range.
    pub fn within(shape: &[usize], low: f64, high: f64) -> Input {
        let seed = shape.iter().fold(7, |seed, &d| seed * 31 + d as u64) + (low.abs() * 8.0) as u64;
        Input::new(shape, DType::F32, draw(shape, low, high, seed))
    }

    /// Floats of which no two are closer than 0.1, for ops that choose among elements.
    pub fn distinct(shape: &[usize]) -> Input {
        let order = draw(shape, 0.0, 1.0, 3);
        let mut ranks: Vec<usize> = (0..order.len()).collect();
        let keys: Vec<f64> = order.iter().copied().collect();
        ranks.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
        let mut values = vec![0.0; ranks.len()];
        for (rank, at) in ranks.into_iter().enumerate() {
            values[at] = f64::from((rank as f64 * 0.125 - values.len() as f64 / 16.0) as f32);
        }
        Input { shape: shape.to_vec(), dtype: DType::F32, values, steps: Vec::new() }
    }

    /// These floats.
    pub fn given(values: &[f64]) -> Input {
        Input { shape: vec![values.len()], dtype: DType::F32, values: values.to_vec(), steps: Vec::new() }
    }

    /// Whole numbers from `low` to `high` (excluded).
    pub fn ints(shape: &[usize], low: i32, high: i32) -> Input {
        Input::new(shape, DType::I32, draw(shape, f64::from(low), f64::from(high), 11).mapv(f64::floor))
    }

    /// Truth values.
    pub fn bools(shape: &[usize]) -> Input {
        Input::new(shape, DType::Bool, draw(shape, 0.0, 2.0, 13).mapv(f64::floor))
    }

    /// The same, stored in half precision.
    pub fn half(mut self) -> Input {
        self.dtype = DType::F16;
        self.values.iter_mut().for_each(|v| *v = half::f16::from_f64(*v).to_f64());
        self
    }

    /// Other numbers of the same kind.
    pub fn reseeded(mut self) -> Input {
        self.values.reverse();
        self
    }

    pub fn permute(self, order: &[isize]) -> Input {
        self.step(Step::Permute(order.to_vec()))
    }

    pub fn slice(self, dim: isize, start: usize, end: usize, step: usize) -> Input {
        self.step(Step::Slice(dim, start, end, step))
    }

    pub fn flip(self, dim: isize) -> Input {
        self.step(Step::Flip(dim))
    }

    pub fn broadcast(self, shape: &[usize]) -> Input {
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

/// A function that the trials of several threads call.
type Boxed<In, Out> = Box<dyn Fn(&In) -> Out + Send + Sync>;

/// One line of the table.
pub struct Case {
    pub name: String,
    pub inputs: Vec<Input>,
    pub op: Boxed<[Tensor], Result<Tensor>>,
    pub reference: Boxed<[Array], Array>,
    pub rtol: f64,
    pub atol: f64,
    pub gradient: bool,
    pub gradient_tolerance: f64,
}

impl Case {
    pub fn new(
        name: impl Into<String>,
        inputs: impl Into<Vec<Input>>,
        op: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
        reference: impl Fn(&[Array]) -> Array + Send + Sync + 'static,
    ) -> Case {
        Case {
            name: name.into(),
            inputs: inputs.into(),
            op: Box::new(op),
            reference: Box::new(reference),
            rtol: 2e-6,
            atol: 2e-6,
            gradient: true,
            gradient_tolerance: 2e-4,
        }
    }

    /// Not differentiable, or compared by value alone.
    pub fn value_only(mut self) -> Case {
        self.gradient = false;
        self
    }

    pub fn tolerance(mut self, rtol: f64, atol: f64) -> Case {
        (self.rtol, self.atol) = (rtol, atol);
        self
    }

    /// The inputs as the op sees them.
    pub fn tensors(&self, engine: &Engine) -> Result<Vec<Tensor>> {
        self.inputs.iter().map(|input| input.viewed(&input.leaf(engine)?)).collect()
    }

    /// The inputs as the reference sees them.
    pub fn arrays(&self) -> Vec<Array> {
        self.inputs.iter().map(|input| input.viewed_array(&input.array())).collect()
    }

    pub fn run(&self, engine: &Engine) -> Result<Array> {
        read(&(self.op)(&self.tensors(engine)?)?)
    }
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

/// NaN equals NaN, infinities must be equal, else `|got - want| <= atol + rtol * |want|`.
pub fn compare(got: &Array, want: &Array, rtol: f64, atol: f64) -> Result<(), String> {
    if got.shape() != want.shape() {
        return Err(format!("shape {:?}, expected {:?}", got.shape(), want.shape()));
    }
    for (position, (&got, &want)) in got.iter().zip(want).enumerate() {
        // A reference beyond the range of f32 is infinite there.
        let want = f64::from(want as f32);
        let close =
            got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= atol + rtol * want.abs();
        if !close || (want.is_infinite() && got != want) {
            return Err(format!("element {position}: got {got}, expected {want}"));
        }
    }
    Ok(())
}
