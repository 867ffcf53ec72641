//! Runs a case and compares what it gives with what PyTorch gave.

use crate::case::{Case, Expected};
use crate::dispatch;
use kiln::io::HostTensor;
use kiln::{DType, Engine, Result, Tensor};

/// What is wrong; nothing if the case passes. Where a device `flushes` denormal numbers to 0, elements that
/// were computed from such are not compared.
pub fn run(case: &Case, engine: &Engine, flushes: bool) -> Result<Vec<String>> {
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
        let excused = if flushes && case.denormal { denormals(case, &leaves, output)? } else { Vec::new() };
        let difference = differs(case.expected(expected)?, output, expected, &excused)?;
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
        let difference = differs(case.expected(expected)?, gradient, expected, &[])?;
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
/// numbers within `atol + rtol * |want|`. Elements `excused` are passed over.
fn differs(want: &HostTensor, got: &Tensor, allowed: &Expected, excused: &[bool]) -> Result<Option<String>> {
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
        if excused.get(at) == Some(&true) {
            continue;
        }
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

/// Whether a device takes denormal numbers for 0, as many GPUs do.
pub fn flushes(engine: &Engine) -> Result<bool> {
    let least = Tensor::from_slice(&[f32::from_bits(1), 1e-40], 2, engine)?;
    let kept = least.neg()?.floor()?.to_vec::<f32>()? == [-1.0, -1.0]
        && least.gt(0.0)?.to_vec::<bool>()? == [true, true]
        && least.abs()?.to_vec::<f32>()? == least.to_vec::<f32>()?;
    Ok(!kept)
}

/// Where an elementwise op's output was computed from a denormal number.
fn denormals(case: &Case, leaves: &[Tensor], output: &Tensor) -> Result<Vec<bool>> {
    let mut found = vec![false; output.elements()];
    for (input, leaf) in case.inputs.iter().zip(leaves) {
        let seen = input.viewed(leaf)?;
        if seen.dims() == output.dims() && seen.dtype() == DType::F32 {
            let values = seen.to_vec::<f32>()?;
            found.iter_mut().zip(values).for_each(|(found, value)| *found |= value.is_subnormal());
        }
    }
    Ok(found)
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
