//! What becomes one kernel, and what does not.

use super::*;
use crate::graph::collect::collect;
use crate::ops::formula::Formula;
use crate::{Engine, Result, Tensor};

/// The kernels that compute `y`, in the form of `Debug`.
fn kernels(y: &Tensor) -> Result<Vec<String>> {
    let items = collect(&[y], &|_| false, 0)?;
    Ok(forms(&items, true).iter().map(|form| format!("{:?}", form.task(&items).op)).collect())
}

fn ready(shape: [usize; 2]) -> Result<Tensor> {
    let x = Tensor::rand(shape, 1, &Engine::cpu())?;
    x.eval()?;
    Ok(x)
}

#[test]
fn a_step_that_two_others_need_is_in_their_kernel_once() -> Result<()> {
    let x = ready([4, 4])?;
    let half = x.mul(0.5)?;
    let y = half.exp()?.add(&half.sin()?)?;
    drop(half);
    let kernels = kernels(&y)?;
    assert_eq!(kernels.len(), 1, "{kernels:?}");
    assert_eq!(kernels[0].matches("row: mul").count(), 1, "{kernels:?}");
    Ok(())
}

#[test]
fn the_steps_of_a_formula_share_a_kernel_with_those_around_it() -> Result<()> {
    let x = ready([4, 4])?;
    let chain = || {
        let half = x.mul(0.5)?;
        Formula::record(|f| f.tensor(&half) * f.tensor(&half) + f.tensor(&x) * 3.0)?.exp()
    };
    let kernels = kernels(&chain()?)?;
    assert_eq!(kernels.len(), 1, "{kernels:?}");
    assert_eq!(kernels[0].matches("row: mul").count(), 3, "{kernels:?}");
    let expected = x.to_vec::<f32>()?.into_iter().map(|x| (0.5 * x * (0.5 * x) + x * 3.0).exp());
    for (found, expected) in chain()?.to_vec::<f32>()?.into_iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5 * expected, "{found} for {expected}");
    }
    Ok(())
}

#[test]
fn cheap_steps_are_in_each_kernel_that_needs_them() -> Result<()> {
    let x = ready([4, 4])?;
    let half = x.mul(0.5)?;
    let y = half.exp()?.softmax(-1)?.add(&half.sin()?)?;
    drop(half);
    let kernels = kernels(&y)?;
    // The exponential's, the softmax and the sum's.
    assert_eq!(kernels.len(), 3, "{kernels:?}");
    assert_eq!(kernels.iter().filter(|kernel| kernel.contains("row: mul")).count(), 2, "{kernels:?}");
    Ok(())
}

#[test]
fn what_reads_more_than_it_writes_is_computed_once() -> Result<()> {
    let x = ready([4, 4])?;
    let product = x.mul(&x.t()?)?;
    let y = product.exp()?.softmax(-1)?.add(&product.sin()?)?;
    drop(product);
    let kernels = kernels(&y)?;
    assert_eq!(kernels.iter().filter(|kernel| kernel.contains("row: mul")).count(), 1, "{kernels:?}");
    Ok(())
}

/// Square matrices of one engine.
fn squares<const N: usize>() -> Result<[Tensor; N]> {
    let all = ready([4 * N, 4])?;
    let mut squares = std::array::from_fn(|_| all.clone());
    for (at, square) in squares.iter_mut().enumerate() {
        *square = Tensor::from_vec(all.narrow(0, 4 * at, 4)?.to_vec::<f32>()?, [4, 4], all.engine())?;
    }
    Ok(squares)
}

/// The names of the kernels that compute `y`.
fn names(y: &Tensor) -> Result<Vec<&'static str>> {
    let items = collect(&[y], &|_| false, 0)?;
    Ok(forms(&items, true).iter().map(|form| form.task(&items).op.name()).collect())
}

#[test]
fn what_follows_a_product_is_in_its_kernel() -> Result<()> {
    let [x, w, bias] = squares()?;
    let bias = bias.narrow(0, 0, 1)?;
    bias.eval()?;
    let follow = |product: Tensor| product.add(&bias)?.relu()?.add(&x);
    assert_eq!(names(&follow(x.matmul(&w)?)?)?, ["matmul"]);
    let product = x.matmul(&w)?;
    product.eval()?;
    assert_eq!(follow(x.matmul(&w)?)?.to_vec::<f32>()?, follow(product)?.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn what_a_sum_alone_reads_is_in_its_kernel() -> Result<()> {
    let [x, y] = squares()?;
    let mean = x.sub(&y)?.square()?.mean(.., false)?;
    let mean = kernels(&mean)?;
    assert!(mean.len() == 1 && mean[0].contains("Prologue") && mean[0].contains("Epilogue"), "{mean:?}");
    let row = y.narrow(0, 0, 1)?;
    row.eval()?;
    let spread = x.sub(&row)?.square()?.mean(0, false)?;
    assert_eq!(kernels(&spread)?.len(), 1);
    // Of another shape, one that is read twice, one that lies otherwise, and one that a handle keeps.
    let reshaped = x.mul(&y)?.reshape([2, 8])?.max(0, false)?;
    assert_eq!(names(&reshaped)?, ["max"]);
    let twice = {
        let product = x.mul(&y)?.exp()?;
        product.sum(0, false)?.add(&product.max(0, false)?)?
    };
    assert_eq!(names(&twice)?, ["fused", "sum", "max"]);
    let turned = x.mul(&y)?.exp()?.t()?.sum(0, false)?;
    assert_eq!(names(&turned)?, ["fused", "sum"]);
    let kept = x.mul(&y)?;
    assert_eq!(names(&kept.sum(.., false)?)?, ["mul", "sum"]);
    Ok(())
}

#[test]
fn a_product_that_others_read_too_has_a_kernel_of_its_own() -> Result<()> {
    let x = ready([4, 4])?;
    let product = x.matmul(&x)?;
    // One that a handle keeps, one that two kernels read, one of which a part is read.
    assert_eq!(names(&product.relu()?)?, ["matmul", "relu"]);
    let twice = {
        let product = x.matmul(&x)?;
        product.relu()?.add(&product.softmax(-1)?)?
    };
    assert_eq!(names(&twice)?, ["matmul", "softmax", "fused"]);
    let part = x.matmul(&x)?.slice(0, 0, 2, 1)?.relu()?;
    assert_eq!(names(&part)?, ["matmul", "relu"]);
    Ok(())
}

#[test]
fn the_later_of_two_products_takes_what_follows_both() -> Result<()> {
    let [x, w] = squares()?;
    let y = x.matmul(&w)?.add(&w.matmul(&x)?)?.exp()?;
    let items = collect(&[&y], &|_| false, 0)?;
    let tasks = forms(&items, true);
    let ops = tasks.iter().map(|form| form.task(&items).op);
    let finish: Vec<_> = ops.map(|op| (op.name(), op.finishes())).collect();
    assert_eq!(finish, [("matmul", true), ("matmul", false)]);
    Ok(())
}

#[test]
fn what_replaces_a_parameter_is_written_over_it() -> Result<()> {
    let [x, parameter] = squares()?;
    let updated = parameter.sub(&x.matmul(&x)?.mul(0.1)?)?;
    drop(parameter);
    assert_eq!(names(&updated)?, ["matmul", "fused"]);
    Ok(())
}

#[test]
fn what_no_gradient_can_ask_for_again_is_not_kept() -> Result<()> {
    let [x, w] = squares()?;
    let x = x.variable()?;
    let gradient = |y: &Tensor| -> Result<Tensor> {
        let gradients = y.sum(.., false)?.backward()?;
        gradients.get(&x).cloned().ok_or_else(|| crate::Error::op("test", "no gradient"))
    };
    let model = || x.matmul(&w)?.add(&w)?.exp()?.sin();
    let y = model()?;
    let held = kernels(&gradient(&y)?)?;
    let alone = gradient(&model()?)?;
    let freed = kernels(&alone)?;
    // The first product goes on into the steps after it unless its value is kept.
    let own = |kernels: &[String]| kernels.iter().filter(|kernel| *kernel == "Matmul").count();
    assert_eq!((own(&held), own(&freed)), (2, 1), "{held:?} {freed:?}");
    // Of `y`, which is still there, there may be other gradients.
    let fresh = gradient(&model()?)?.to_vec::<f32>()?;
    for _ in 0..2 {
        assert_eq!(gradient(&y)?.to_vec::<f32>()?, fresh);
    }
    Ok(())
}
