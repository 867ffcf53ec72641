//! Reductions and softmax.

use crate::{check_gradients, close, cpu, scattered, tensor};
use kiln::{DType, Result, Tensor};

#[test]
fn reductions_match_plain_loops() -> Result<()> {
    let engine = cpu();
    let shapes = [
        [1, 1, 1],
        [3, 5, 7],
        [1, 1000, 3],
        [2, 70_001, 1],
        [1, 3, 40_000],
        [300, 2, 5],
        [2, 200, 600],
        [0, 3, 2],
    ];
    for [outer, length, inner] in shapes {
        let values = scattered(outer * length * inner);
        let x = tensor(&values, &[outer, length, inner], &engine)?;
        let int = x.mul(10.0)?.cast(DType::I32)?;
        let line = |at: usize| {
            let base = at / inner * length * inner + at % inner;
            (0..length).map(|k| f64::from(values[base + k * inner])).collect::<Vec<_>>()
        };
        let each = |f: &dyn Fn(Vec<f64>) -> f64| (0..outer * inner).map(|at| f(line(at))).collect::<Vec<_>>();
        let greatest = |line: &[f64]| line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = |line: &[f64]| line.iter().copied().fold(f64::INFINITY, f64::min);
        let position = |line: &[f64], best: f64| line.iter().position(|&v| v == best).unwrap() as f64;
        let floats = |t: Tensor| t.cast(DType::F32)?.to_vec::<f32>();
        close(&floats(x.sum(1, false)?)?, &each(&|line| line.iter().sum()), 1e-5);
        close(&floats(x.max(1, false)?)?, &each(&|line| greatest(&line)), 0.0);
        close(&floats(x.min(1, false)?)?, &each(&|line| least(&line)), 0.0);
        close(&floats(x.argmax(1, false)?)?, &each(&|line| position(&line, greatest(&line))), 0.0);
        close(&floats(x.argmin(1, false)?)?, &each(&|line| position(&line, least(&line))), 0.0);
        let whole = |line: Vec<f64>| line.iter().map(|v| (*v as f32 * 10.0) as i32).collect::<Vec<_>>();
        let sums: Vec<i32> = (0..outer * inner).map(|at| whole(line(at)).iter().sum()).collect();
        let most: Vec<i32> = (0..outer * inner).map(|at| *whole(line(at)).iter().max().unwrap()).collect();
        assert_eq!(int.sum(1, false)?.to_vec::<i32>()?, sums);
        assert_eq!(int.max(1, false)?.to_vec::<i32>()?, most);
    }
    Ok(())
}

#[test]
fn reductions_at_the_edges() -> Result<()> {
    let engine = cpu();
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let x = tensor(&[1.0, nan, 3.0, -inf, -inf, -inf, 2.0, inf, 2.0, 5.0, 5.0, 4.0], &[4, 3], &engine)?;
    close(&x.max(1, false)?.to_vec::<f32>()?, &[f64::NAN, f64::NEG_INFINITY, f64::INFINITY, 5.0], 0.0);
    close(&x.min(1, false)?.to_vec::<f32>()?, &[f64::NAN, f64::NEG_INFINITY, 2.0, 4.0], 0.0);
    close(&x.t()?.max(0, false)?.to_vec::<f32>()?, &[f64::NAN, f64::NEG_INFINITY, f64::INFINITY, 5.0], 0.0);
    assert_eq!(x.argmax(1, false)?.to_vec::<i32>()?, [1, 0, 1, 0]);
    assert_eq!(x.argmin(1, false)?.to_vec::<i32>()?, [1, 0, 0, 2]);
    let empty = Tensor::zeros([2, 0, 3], &engine)?;
    assert_eq!(empty.sum(1, false)?.to_vec::<f32>()?, [0.0; 6]);
    assert!(empty.sum(0, false)?.to_vec::<f32>()?.is_empty());
    let error = empty.max(1, false).unwrap_err().to_string();
    assert!(error.contains("max: has no value") && error.contains("[2, 0, 3]"), "{error}");
    let y = tensor(&[1.0, 2.0, 4.0, 7.0], &[4], &engine)?;
    assert_eq!(y.var(0, 1, false)?.item()?, 7.0);
    assert_eq!(y.var(0, 0, true)?.to_vec::<f32>()?, [5.25]);
    assert!(y.cast(DType::I32)?.mean(0, false).is_err());
    check_gradients(&[2, 3, 4], |x| x.max([0, 2], false))?;
    check_gradients(&[2, 3], |x| x.var(1, 1, false))?;
    check_gradients(&[2, 3, 2], |x| x.sum(1, true)?.square())
}

#[test]
fn softmax_over_any_axis() -> Result<()> {
    let engine = cpu();
    for (shape, axis) in [([4, 5, 3], 1), ([2, 1, 7], 2), ([3, 4, 1], 0), ([1, 1, 1], -1), ([2, 2, 3000], -1)]
    {
        let values = scattered(shape.iter().product());
        let x = tensor(&values, &shape, &engine)?;
        let at = if axis < 0 { 2 } else { axis as usize };
        let (length, inner) = (shape[at], shape[at + 1..].iter().product::<usize>());
        let logs: Vec<f64> = (0..values.len())
            .map(|i| {
                let base = i / (length * inner) * length * inner + i % inner;
                let line = || (0..length).map(|k| f64::from(values[base + k * inner]));
                let top = line().fold(f64::NEG_INFINITY, f64::max);
                f64::from(values[i]) - top - line().map(|v| (v - top).exp()).sum::<f64>().ln()
            })
            .collect();
        close(&x.log_softmax(axis)?.to_vec::<f32>()?, &logs, 1e-6);
        close(&x.softmax(axis)?.to_vec::<f32>()?, &logs.iter().map(|l| l.exp()).collect::<Vec<_>>(), 1e-6);
    }
    let inf = f32::INFINITY;
    let x = tensor(
        &[-inf, 1000.0, -inf, 1000.0, -inf, -inf, -inf, -inf, 0.0, f32::NAN, 0.0, 0.0],
        &[3, 4],
        &engine,
    )?;
    let nan = f64::NAN;
    let rows = [0.0, 0.5, 0.0, 0.5, nan, nan, nan, nan, nan, nan, nan, nan];
    close(&x.softmax(1)?.to_vec::<f32>()?, &rows, 0.0);
    let low = x.narrow(0, 0, 1)?.log_softmax(1)?.to_vec::<f32>()?;
    assert_eq!((low[0], low[1]), (-inf, -(2f32.ln())));
    assert!(Tensor::zeros([0, 3], &engine)?.softmax(1)?.to_vec::<f32>()?.is_empty());
    assert!(Tensor::zeros([3, 0], &engine)?.softmax(1)?.to_vec::<f32>()?.is_empty());
    assert_eq!(x.softmax(2).unwrap_err().to_string(), "softmax: axis 2 is out of range for rank 2");
    assert!(x.cast(DType::I32)?.log_softmax(1).is_err());
    assert_eq!(x.cast(DType::F16)?.softmax(1)?.dtype(), DType::F16);
    check_gradients(&[2, 4], |x| x.softmax(1))?;
    check_gradients(&[3, 2, 2], |x| x.log_softmax(0))
}
