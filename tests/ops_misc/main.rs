//! Reductions, softmax, gather, concat, pad, pooling and random numbers on the CPU, against plain
//! loops in f64.

mod index;
mod pool2d;
mod random;
mod reduce;
mod shape;

use kiln::{Engine, Result, Tensor};
use std::sync::OnceLock;

/// One engine for all tests, so that tensors made anywhere can be combined.
fn cpu() -> Engine {
    static CPU: OnceLock<Engine> = OnceLock::new();
    CPU.get_or_init(Engine::cpu).clone()
}

/// Values in no order; the first 257 are distinct and so far apart that a finite difference changes
/// no maximum.
fn scattered(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 61 % 257) as f32 * 0.03 - 3.0).collect()
}

fn tensor(values: &[f32], shape: &[usize], engine: &Engine) -> Result<Tensor> {
    Tensor::from_slice(values, shape, engine)
}

#[track_caller]
fn close(actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let a = f64::from(a);
        let same = a == e || (a.is_nan() && e.is_nan()) || (a - e).abs() <= tolerance * e.abs().max(1.0);
        assert!(same, "element {i}: {a} but expected {e}");
    }
}

/// First and second derivatives of `f` against finite differences, with upstream gradients that are
/// not 1.
fn check_gradients(shape: &[usize], f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    let engine = cpu();
    let weighted = |y: &Tensor, seed| y.mul(&Tensor::rand(y.shape(), seed, &engine)?.add(0.5)?);
    let value = |x: &Tensor| weighted(&f(x)?, 1);
    let slope = |x: &Tensor| weighted(&value(x)?.sum(.., false)?.grad(&[x])?[0], 2);
    compare(shape, "gradient", value)?;
    // Where the function is linear its gradient depends on nothing.
    let x = tensor(&scattered(shape.iter().product()), shape, &engine)?.variable()?;
    if slope(&x)?.requires_grad() { compare(shape, "second gradient", slope) } else { Ok(()) }
}

/// The gradient of the sum of `f` against finite differences.
fn compare(shape: &[usize], what: &str, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    let (engine, values) = (cpu(), scattered(shape.iter().product()));
    let x = tensor(&values, shape, &engine)?.variable()?;
    let found = f(&x)?.sum(.., false)?.grad(&[&x])?.remove(0).to_vec::<f32>()?;
    for i in 0..values.len() {
        // Summed in f64: the sum's own rounding would drown the difference.
        let at = |step: f32| -> Result<f64> {
            let mut moved = values.clone();
            moved[i] += step;
            let y = f(&tensor(&moved, shape, &engine)?.variable()?)?.to_vec::<f32>()?;
            Ok(y.into_iter().map(f64::from).sum())
        };
        let expected = (at(0.01)? - at(-0.01)?) / 0.02;
        let difference = (f64::from(found[i]) - expected).abs();
        assert!(difference < 3e-3 * expected.abs().max(1.0), "{what} {i}: {} not {expected}", found[i]);
    }
    Ok(())
}
