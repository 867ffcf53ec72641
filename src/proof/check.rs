//! A case on a device: its values, gradients and gradients of gradients against float64.

use super::case::{Array, Case, Input, draw, read};
use crate::{Engine, Error, Result, Tensor};
use serde::Serialize;

/// How far a result lies from the reference at the element that is worst.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Deviation {
    /// `|result - reference|` in units of what the case allows there; up to 1 passes. Infinite where one of the two
    /// is NaN or infinite and the other is not.
    pub units: f64,
    /// The greatest `|result - reference|` of all elements.
    pub absolute: f64,
    /// The worst element in words; empty where nothing deviates.
    pub worst: String,
}

impl Deviation {
    /// Whether every element is as close as the case demands.
    pub fn passes(&self) -> bool {
        self.units <= 1.0
    }

    /// Keeps the worse of both.
    pub fn join(&mut self, other: Deviation) {
        let absolute = self.absolute.max(other.absolute);
        if other.units > self.units {
            *self = other;
        }
        self.absolute = absolute;
    }

    fn element(&mut self, got: f64, want: f64, allowed: f64, place: impl FnOnce() -> String) {
        let equal = got == want || (got.is_nan() && want.is_nan());
        let absolute = if equal { 0.0 } else { (got - want).abs() };
        // A NaN or an infinity where none belongs is beyond any tolerance.
        let absolute = if absolute.is_finite() { absolute } else { f64::INFINITY };
        let units = if absolute == 0.0 { 0.0 } else { absolute / allowed };
        if units > self.units {
            *self = Deviation {
                units,
                absolute: self.absolute,
                worst: format!("{}: got {got}, expected {want}", place()),
            };
        }
        self.absolute = self.absolute.max(absolute);
    }
}

/// `got` against `want`: NaN equals NaN, infinities must be equal, else
/// `|got - want| <= atol + rtol * |want|` passes. An error where the shapes differ.
pub fn compare(got: &Array, want: &Array, rtol: f64, atol: f64) -> Result<Deviation> {
    same_shape(got, want.shape(), "the result")?;
    let mut deviation = Deviation::default();
    for (position, (&got, &want)) in got.iter().zip(want).enumerate() {
        // A reference beyond the range of f32 is infinite there.
        let want = f64::from(want as f32);
        let allowed = if want.is_finite() { atol + rtol * want.abs() } else { 0.0 };
        deviation.element(got, want, allowed, || format!("element {position}"));
    }
    Ok(deviation)
}

fn same_shape(got: &Array, want: &[usize], what: &str) -> Result<()> {
    let (found, given) = (got.shape(), what);
    if found == want {
        return Ok(());
    }
    Err(Error::op("proof", format!("{given} has shape {found:?}, expected {want:?}")))
}

/// The shape of one number for each channel.
fn per_channel(shape: &[usize]) -> Vec<usize> {
    let channel = shape.len().min(2).saturating_sub(1);
    shape.iter().enumerate().map(|(axis, &size)| if axis == channel { size } else { 1 }).collect()
}

/// Numbers of a shape, sometimes of other strides.
fn beside(shape: &[usize], seed: u64, engine: &Engine) -> Result<(Tensor, Array)> {
    if shape.iter().product::<usize>().is_multiple_of(2) {
        let numbers = draw(shape, -1.0, 1.0, seed);
        return Ok((upload(&numbers, engine)?, numbers));
    }
    let turned: Vec<usize> = shape.iter().rev().copied().collect();
    let numbers = draw(&turned, -1.0, 1.0, seed);
    let order: Vec<isize> = (0..shape.len() as isize).rev().collect();
    Ok((upload(&numbers, engine)?.permute(&order)?, numbers.reversed_axes()))
}

/// Elements of an input whose gradient is compared, spread over it.
const FIRST: usize = 32;
/// Elements of an input whose second gradient is compared: each takes four evaluations of the reference.
const SECOND: usize = 8;

/// An operation in the middle of a graph: something before it, and a weighted sum after it, whose gradient
/// upstream of the operation is not 1.
struct Middle {
    /// The stored inputs that are differentiable.
    leaves: Vec<Option<Tensor>>,
    loss: Tensor,
    /// The weights of the sum.
    weights: Array,
}

impl Case {
    /// The result against the reference. An error also where two runs differ in their bits.
    pub fn value(&self, engine: &Engine) -> Result<Deviation> {
        let result = (self.op)(&self.tensors(engine)?)?;
        let again = (self.op)(&self.tensors(engine)?)?;
        if result.to_bytes()? != again.to_bytes()? {
            return Err(Error::op("proof", "two runs differ in their bits"));
        }
        compare(&read(&result)?, &(self.reference)(&self.arrays()), self.rtol, self.atol)
    }

    /// The result on one engine against that on another.
    pub fn agreement(&self, engine: &Engine, other: &Engine) -> Result<Deviation> {
        compare(&self.run(engine)?, &self.run(other)?, self.rtol, self.atol)
    }

    /// The result after elementwise steps, which an operation that [finishes](crate::Op::finishes) computes in its own
    /// kernel, against the same steps of the reference. The result must be `f32`.
    pub fn followed(&self, engine: &Engine) -> Result<Deviation> {
        let output = (self.op)(&self.tensors(engine)?)?;
        let want = (self.reference)(&self.arrays());
        let bias = draw(&per_channel(want.shape()), -1.0, 1.0, 79);
        let (beside, other) = beside(want.shape(), 80, engine)?;
        let got = output.add(&upload(&bias, engine)?)?.relu()?.mul(0.5)?.sub(&beside)?;
        // NaN stays NaN.
        let want = (want + bias).mapv(|value| if value < 0.0 { 0.0 } else { value * 0.5 }) - other;
        drop(output);
        // Where the case is exact, the steps still round.
        let [rtol, atol] = match [self.rtol, self.atol] {
            [0.0, 0.0] => [4.0 * f64::from(f32::EPSILON); 2],
            given => given,
        };
        compare(&read(&got)?, &want, rtol, atol)
    }

    /// The result of an input that elementwise steps compute, which an operation that [begins](crate::Op::begins) with
    /// them does in its own kernel, against the reference. The steps round nothing, and the input must be `f32`.
    pub fn led(&self, engine: &Engine) -> Result<Deviation> {
        let (mut tensors, mut arrays) = (self.tensors(engine)?, self.arrays());
        let shape = arrays[0].shape().to_vec();
        let scale = draw(&per_channel(&shape), -1.0, 1.0, 81).mapv(|x| if x < 0.0 { 0.5 } else { 1.0 });
        let (beside, other) = beside(&shape, 82, engine)?;
        let less = tensors[0].mul(0.5)?;
        tensors[0] = beside.gt(0.0)?.where_(&tensors[0], &less)?.mul(&upload(&scale, engine)?)?;
        arrays[0].zip_mut_with(&other, |x, &other| *x *= if other > 0.0 { 1.0 } else { 0.5 });
        arrays[0] = &arrays[0] * &scale;
        let output = (self.op)(&tensors)?;
        // What a handle is held of is computed by itself.
        drop((tensors, less));
        compare(&read(&output)?, &(self.reference)(&arrays), self.rtol, self.atol)
    }

    /// The gradients against central differences of the reference.
    pub fn first_gradient(&self, engine: &Engine) -> Result<Deviation> {
        const H: f64 = 1e-4;
        let middle = self.middle(engine)?;
        let gradients = middle.loss.backward()?;
        let found = |leaf: &Tensor| {
            gradients.get(leaf).cloned().ok_or_else(|| Error::op("proof", "an input got no gradient"))
        };
        self.differences(&middle, FIRST, found, |arrays, shift| {
            let at = |by: f64| self.loss(&shift(arrays, by * H), &middle.weights);
            (at(1.0) - at(-1.0)) / (2.0 * H)
        })
    }

    /// The Hessian times a vector, by differentiating the gradients again, against second differences of
    /// the reference.
    pub fn second_gradient(&self, engine: &Engine) -> Result<Deviation> {
        const H: f64 = 1e-3;
        let middle = self.middle(engine)?;
        let leaves: Vec<&Tensor> = middle.leaves.iter().flatten().collect();
        let direction = |(input, leaf): (&Input, &Option<Tensor>)| {
            let direction = draw(input.array().shape(), 0.5, 1.5, 78);
            if leaf.is_some() { direction } else { direction * 0.0 }
        };
        let directions: Vec<Array> = self.inputs.iter().zip(&middle.leaves).map(direction).collect();
        // A step along many inputs at once would be a long one.
        let squares: f64 = directions.iter().flatten().map(|part| part * part).sum();
        let step = H / squares.sqrt().max(1.0);
        let mut slope: Option<Tensor> = None;
        let along = directions.iter().zip(&middle.leaves).filter(|(_, leaf)| leaf.is_some());
        for (gradient, (direction, _)) in middle.loss.grad(&leaves)?.iter().zip(along) {
            let part = gradient.mul(&upload(direction, engine)?)?.sum(.., false)?;
            slope = Some(slope.map_or(Ok(part.clone()), |slope| slope.add(&part))?);
        }
        // Gradients that depend on nothing are those of a linear operation.
        let gradients = slope.filter(Tensor::requires_grad).map(|slope| slope.backward()).transpose()?;
        let found = |leaf: &Tensor| match gradients.as_ref().and_then(|gradients| gradients.get(leaf)) {
            Some(gradient) => Ok(gradient.clone()),
            None => leaf.zeros_like(),
        };
        self.differences(&middle, SECOND, found, |arrays, shift| {
            let slope = |by: f64| {
                let at = |along: f64| {
                    let mut moved = shift(arrays, by * H);
                    for (array, direction) in moved.iter_mut().zip(&directions) {
                        *array += &(direction * (along * step));
                    }
                    self.loss(&moved, &middle.weights)
                };
                (at(1.0) - at(-1.0)) / (2.0 * step)
            };
            (slope(1.0) - slope(-1.0)) / (2.0 * H)
        })
    }

    fn middle(&self, engine: &Engine) -> Result<Middle> {
        const SCALE: f64 = 1.5;
        let (mut leaves, mut inputs) = (Vec::new(), Vec::new());
        for input in &self.inputs {
            let leaf = input.leaf(engine)?;
            if input.differentiable() {
                let leaf = leaf.variable()?;
                inputs.push(input.viewed(&leaf.mul(SCALE)?.div(SCALE)?)?);
                leaves.push(Some(leaf));
            } else {
                inputs.push(input.viewed(&leaf)?);
                leaves.push(None);
            }
        }
        let output = (self.op)(&inputs)?;
        let weights = draw(output.dims(), 0.5, 2.0, 77);
        let loss = output.mul(&upload(&weights, engine)?)?.sum(.., false)?;
        Ok(Middle { leaves, loss, weights })
    }

    /// The reference's weighted sum at these stored inputs.
    fn loss(&self, stored: &[Array], weights: &Array) -> f64 {
        let viewed: Vec<Array> =
            self.inputs.iter().zip(stored).map(|(input, array)| input.viewed_array(array)).collect();
        ((self.reference)(&viewed) * weights).sum()
    }

    /// What the engine found for each differentiable input against `difference` at some of its elements, where
    /// `difference` is given a function that shifts that element.
    fn differences(
        &self,
        middle: &Middle,
        most: usize,
        found: impl Fn(&Tensor) -> Result<Tensor>,
        difference: impl Fn(&[Array], &dyn Fn(&[Array], f64) -> Vec<Array>) -> f64,
    ) -> Result<Deviation> {
        let stored: Vec<Array> = self.inputs.iter().map(Input::array).collect();
        let mut deviation = Deviation::default();
        for (position, leaf) in middle.leaves.iter().enumerate() {
            let Some(leaf) = leaf else { continue };
            let found = read(&found(leaf)?)?;
            same_shape(&found, stored[position].shape(), "a gradient")?;
            let step = found.len().div_ceil(most).max(1);
            for (element, &got) in found.iter().enumerate().step_by(step) {
                let shift = |arrays: &[Array], by: f64| {
                    let mut arrays = arrays.to_vec();
                    if let Some(value) = arrays[position].iter_mut().nth(element) {
                        *value += by;
                    }
                    arrays
                };
                let want = difference(&stored, &shift);
                let allowed = self.gradient_tolerance * want.abs().max(1.0);
                deviation.element(got, want, allowed, || format!("input {position}, element {element}"));
            }
        }
        Ok(deviation)
    }
}

fn upload(array: &Array, engine: &Engine) -> Result<Tensor> {
    let values: Vec<f32> = array.iter().map(|&value| value as f32).collect();
    Tensor::from_slice(&values, array.shape(), engine)
}
