//! Runs a case and compares what it gives with what PyTorch gave.

use crate::case::{Case, Expected};
use crate::dispatch;
use kiln::io::HostTensor;
use kiln::{DType, Engine, Result, Tensor};

/// What is wrong; nothing if the case passes.
pub fn run(case: &Case, engine: &Engine) -> Result<Vec<String>> {
    let leaves = case.leaves(engine)?;
    let outputs = match dispatch::run(case, &leaves)? {
        Ok(outputs) => outputs,
        Err(lack) => return Ok(vec![lack]),
    };
    if outputs.len() != case.outputs.len() {
        return Ok(vec![format!("{} outputs instead of {}", outputs.len(), case.outputs.len())]);
    }
    let mut problems = Vec::new();
    for (at, (output, expected)) in outputs.iter().zip(&case.outputs).enumerate() {
        let difference = differs(case.expected(expected)?, output, expected)?;
        problems.extend(difference.map(|text| format!("output {at}: {text}")));
    }
    let differentiated: Vec<&Tensor> = case
        .inputs
        .iter()
        .zip(&leaves)
        .filter(|(input, _)| input.grad.is_some())
        .map(|(_, leaf)| leaf)
        .collect();
    if differentiated.is_empty() {
        return Ok(problems);
    }
    let gradients = gradients(case, engine, &outputs, &differentiated)?;
    let checked = case.inputs.iter().filter_map(|input| Some((&input.arg, input.grad.as_ref()?)));
    for ((arg, expected), gradient) in checked.zip(&gradients) {
        let difference = differs(case.expected(expected)?, gradient, expected)?;
        problems.extend(difference.map(|text| format!("gradient of {arg}: {text}")));
    }
    Ok(problems)
}

/// The gradients of the outputs' sum, weighted by their upstreams; or of the squares of those.
fn gradients(case: &Case, engine: &Engine, outputs: &[Tensor], leaves: &[&Tensor]) -> Result<Vec<Tensor>> {
    let zeros = || leaves.iter().map(|leaf| leaf.zeros_like()).collect();
    let mut loss = Tensor::zeros((), engine)?;
    for (output, expected) in outputs.iter().zip(&case.outputs) {
        if let Some(upstream) = &expected.upstream {
            let weighted = output.mul(&case.upload(upstream, engine)?)?;
            loss = loss.add(&weighted.sum(.., false)?)?;
        }
    }
    if !loss.requires_grad() {
        return zeros();
    }
    if !case.second_order {
        let gradients = loss.backward()?;
        return leaves
            .iter()
            .map(|leaf| gradients.get(leaf).map_or_else(|| leaf.zeros_like(), |g| Ok(g.clone())))
            .collect();
    }
    let mut squares = Tensor::zeros((), engine)?;
    for gradient in loss.grad(leaves)? {
        squares = squares.add(&gradient.square()?.sum(.., false)?)?;
    }
    if squares.requires_grad() { squares.grad(leaves) } else { zeros() }
}

/// `None` where shape, dtype and every element agree: NaN with NaN, infinities with their equals,
/// numbers within `atol + rtol * |want|`.
fn differs(want: &HostTensor, got: &Tensor, allowed: &Expected) -> Result<Option<String>> {
    if got.dims() != &want.shape[..] || got.dtype() != want.dtype {
        let (dtype, shape) = (got.dtype(), got.shape());
        return Ok(Some(format!("{dtype} {shape} instead of {} {:?}", want.dtype, want.shape)));
    }
    let (found, wanted) = match want.dtype {
        DType::F32 => (floats(got.to_vec()?), floats(want.to_vec()?)),
        DType::I32 => (integers(got.to_vec()?), integers(want.to_vec()?)),
        DType::Bool => (truths(got.to_vec()?), truths(want.to_vec()?)),
        DType::F16 => return Ok(Some("the fixtures hold no f16".into())),
    };
    let mut worst: Option<(f64, usize)> = None;
    let mut count = 0;
    for (at, (&g, &w)) in found.iter().zip(&wanted).enumerate() {
        let error = (g - w).abs() - allowed.rtol * w.abs();
        if g == w || (g.is_nan() && w.is_nan()) || (w.is_finite() && error <= allowed.atol) {
            continue;
        }
        count += 1;
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if worst.is_none_or(|(largest, _)| error > largest) {
            worst = Some((error, at));
        }
    }
    Ok(worst.map(|(_, at)| {
        let (rtol, atol) = (allowed.rtol, allowed.atol);
        let place = place(at, &want.shape);
        let (g, w) = (found[at], wanted[at]);
        format!(
            "{count} of {} differ, at {place:?}: {g:e} instead of {w:e}, rtol {rtol:e} atol {atol:e}",
            found.len()
        )
    }))
}

fn floats(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

fn integers(values: Vec<i32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

fn truths(values: Vec<bool>) -> Vec<f64> {
    values.into_iter().map(|value| f64::from(u8::from(value))).collect()
}

/// The index of the element at a flat position.
fn place(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let i = at % size;
            at /= size;
            i
        })
        .collect();
    index.reverse();
    index
}
