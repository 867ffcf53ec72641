//! Activations that are computed again for the gradient.

use kiln::nn::{BatchNorm2d, Conv2d, Dropout, Linear, Module, Params};
use kiln::ops::Conv2dOptions;
use kiln::optim::{Optimizer, Sgd, SgdOptions};
use kiln::{DType, Engine, Result, Tensor};
use std::sync::Arc;

/// A convolution, batch norm and dropout, run in one go or as a checkpoint.
fn block(params: &Params) -> Result<Arc<impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static>> {
    let options = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
    let conv = Conv2d::new(&(params / "conv"), 3, 4, [3, 3], options)?;
    let norm = BatchNorm2d::new(&(params / "norm"), 4)?;
    let dropout = Dropout::new(params, 0.5)?;
    Ok(Arc::new(move |x: &Tensor| dropout.forward(&norm.forward(&conv.forward(x)?)?.silu()?)))
}

/// The input's gradient and, after a step of the optimiser, all that the model holds.
fn step(checkpoint: bool) -> Result<Vec<Vec<f32>>> {
    let engine = Engine::cpu();
    let params = Params::new(&engine, 5);
    let layer = block(&params)?;
    let mut optimizer = Sgd::new(&params, SgdOptions { lr: 0.1, ..SgdOptions::default() })?;
    let x = Tensor::randn([2, 3, 5, 5], 1, &engine)?.variable()?;
    let y = if checkpoint { params.checkpoint(&x, move |x| layer(x))? } else { layer(&x)? };
    let weights = Tensor::randn(y.dims().to_vec(), 2, &engine)?;
    let gradients = y.mul(&weights)?.sum(.., false)?.backward()?;
    let mut values = vec![gradients.get(&x).map_or_else(|| Ok(Vec::new()), Tensor::to_vec)?];
    optimizer.step(gradients)?;
    for (_, param) in params.named() {
        values.push(param.get().cast(DType::F32)?.to_vec()?);
    }
    values.push(vec![params.next_seed() as f32]);
    Ok(values)
}

#[test]
fn a_checkpoint_trains_as_the_layer_itself() -> Result<()> {
    let (plain, checkpoint) = (step(false)?, step(true)?);
    assert_eq!(plain.len(), checkpoint.len());
    for (plain, checkpoint) in plain.iter().zip(&checkpoint) {
        assert!(!plain.is_empty() && plain.len() == checkpoint.len());
        for (a, b) in plain.iter().zip(checkpoint) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{a} and {b}");
        }
    }
    Ok(())
}

/// The most memory that a step through `tanh` layers takes.
fn peak(checkpoint: bool) -> Result<u64> {
    let engine = Engine::cpu();
    let params = Params::new(&engine, 5);
    let mut x = Tensor::randn([256, 64], 1, &engine)?;
    for segment in 0..4 {
        let segment = &params / format!("{segment}").as_str();
        let layers = (0..4).map(|at| Linear::new(&(&segment / format!("{at}").as_str()), 64, 64));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let layer = move |x: &Tensor| layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x)?.tanh());
        x = if checkpoint { segment.checkpoint(&x, layer)? } else { layer(&x)? };
    }
    Sgd::new(&params, SgdOptions { lr: 0.1, ..SgdOptions::default() })?
        .step(x.sum(.., false)?.backward()?)?;
    Ok(engine.memory().peak)
}

#[test]
fn a_checkpoint_takes_less_memory() -> Result<()> {
    let (plain, checkpoint) = (peak(false)?, peak(true)?);
    // Of 16 activations of 64 KiB a checkpoint keeps those of 4 segments, and of the one at work.
    assert!(checkpoint + 6 * 65_536 < plain, "{checkpoint} and {plain} bytes");
    Ok(())
}

/// The most memory that a step of one large layer takes, for two samples.
fn peak_of_a_weight(checkpoint: bool) -> Result<u64> {
    let params = Params::new(&Engine::cpu(), 5);
    let layer = Linear::new(&(&params / "fc"), 512, 512)?;
    let x = Tensor::randn([2, 512], 1, params.engine())?;
    let y = if checkpoint { params.checkpoint(&x, move |x| layer.forward(x))? } else { layer.forward(&x)? };
    Sgd::new(&params, SgdOptions { lr: 0.1, ..SgdOptions::default() })?
        .step(y.sum(.., false)?.backward()?)?;
    Ok(params.engine().memory().peak)
}

#[test]
fn parameters_of_a_checkpoint_are_updated_in_place() -> Result<()> {
    let (plain, checkpoint) = (peak_of_a_weight(false)?, peak_of_a_weight(true)?);
    assert!(checkpoint < plain + 512 * 512, "{checkpoint} and {plain} bytes");
    Ok(())
}

#[test]
fn second_derivatives_go_through_a_checkpoint() -> Result<()> {
    let params = Params::new(&Engine::cpu(), 0);
    let x = Tensor::from_slice(&[0.5f32, -1.5], 2, params.engine())?.variable()?;
    let y = params.checkpoint(&x, |x| x.mul(x)?.mul(x))?;
    let first = y.sum(.., false)?.grad(&[&x])?.remove(0);
    let second = first.sum(.., false)?.backward()?;
    assert_eq!(second.get(&x).unwrap().to_vec::<f32>()?, [3.0, -9.0]);
    Ok(())
}

#[test]
fn what_a_checkpoint_cannot_see_is_an_error() -> Result<()> {
    let engine = Engine::cpu();
    let (params, others) = (Params::new(&engine, 0), Params::new(&engine, 1));
    let foreign = Arc::new(Linear::new(&(&others / "fc"), 2, 2)?);
    let x = Tensor::ones([1, 2], &engine)?.variable()?;
    let y = params.checkpoint(&x, move |x| foreign.forward(x))?;
    let error = y.sum(.., false)?.backward().unwrap_err().to_string();
    assert!(error.contains("was not given"), "{error}");

    let layer = Linear::new(&(&params / "fc"), 2, 2)?;
    let weight = params.trainable()[0].1.clone();
    let y = params.checkpoint(&x, move |x| layer.forward(x))?;
    weight.set(weight.get().mul(2.0)?)?;
    let error = y.sum(.., false)?.backward().unwrap_err().to_string();
    assert!(error.contains("has changed"), "{error}");
    Ok(())
}
