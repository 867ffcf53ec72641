//! A tour of tensors: read this first.
//!
//!     cargo run --release --example tensors

use kiln::nn::{Linear, Module, Params, loss};
use kiln::optim::{Optimizer, Sgd, SgdOptions};
use kiln::{DType, Engine, INFER, Result, Tensor, eval, no_grad};

fn main() -> Result<()> {
    // Everything lives on an engine: a GPU if there is one, else the CPU. KILN_DEVICE=cpu, gpu or
    // a part of an adapter's name chooses another.
    let engine = Engine::from_env()?;
    println!("running on {} ({})\n", engine.name(), engine.reason());

    // Making tensors.
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &engine)?;
    let noise = Tensor::randn([2, 3], 42, &engine)?;
    println!("x =\n{x}\n");
    println!("randn with seed 42 =\n{noise}\n");

    // Every operation returns a Result: a mistake in shapes or dtypes is an error at this line. Nothing
    // has been computed yet: that happens when a value is read, so neighbours can be fused.
    let y = x.mul(2.0)?.add(&noise)?.relu()?;
    println!("relu(2x + noise) =\n{y}\n");
    let mistake = x.matmul(&x).unwrap_err();
    println!("x times x: {mistake}\n");

    // The operators do the same as the methods.
    let z = ((&x + &y)? * 0.5)?;
    println!("mean of x and y, summed over rows = {}\n", z.sum(1, false)?);

    // Views share memory: no data moves here.
    println!("transposed, every second row, reversed =\n{}\n", x.t()?.slice(0, 0, 3, 2)?.flip(0)?);
    println!("reshaped to [3, 2] =\n{}\n", x.reshape([3, INFER])?);

    // Comparisons give truth values, which select and count.
    let large = x.gt(3.0)?;
    println!("x > 3 =\n{large}");
    println!("how many: {}\n", large.cast(DType::F32)?.sum(.., false)?.item()?);

    // Gradients: a variable is a leaf that they are computed for.
    let w = Tensor::from_slice(&[0.5f32, -1.0, 2.0], [3, 1], &engine)?.variable()?;
    let cost = x.matmul(&w)?.tanh()?.square()?.sum(.., false)?;
    let gradients = cost.backward()?;
    println!("d sum(tanh(xw)^2) / dw = {}\n", gradients.get(&w).expect("cost depends on w").t()?);

    // Gradients can be differentiated again.
    let first = cost.grad(&[&w])?.remove(0);
    let second = first.square()?.sum(.., false)?.grad(&[&w])?.remove(0);
    println!("gradient of its squared norm = {}\n", second.t()?);

    // Layers register their parameters by path; an optimiser updates them.
    let params = Params::new(&engine, 0);
    let layer = Linear::new(&(&params / "line"), 1, 1)?;
    let mut optimizer = Sgd::new(&params, SgdOptions { lr: 0.1, momentum: 0.9, ..Default::default() })?;
    let inputs = Tensor::arange(-1.0, 1.0, 0.1, &engine)?.reshape([INFER, 1])?;
    let targets = inputs.mul(3.0)?.sub(0.5)?;
    for step in 0..=60 {
        let loss = loss::mse_loss(&layer.forward(&inputs)?, &targets, loss::Reduction::Mean)?;
        optimizer.step(loss.backward()?)?;
        if step % 20 == 0 {
            println!("step {step:2}: loss {:.6}", loss.item()?);
        }
    }
    for (name, param) in params.named() {
        println!("{name} = {:.3}", param.get().item()?);
    }

    // Without gradients nothing is kept for them; eval computes several tensors in one go.
    let (mean, spread) = no_grad(|| {
        let predicted = layer.forward(&inputs)?;
        Ok::<_, kiln::Error>((
            predicted.mean(.., false)?,
            predicted.max(.., false)?.sub(&predicted.min(.., false)?)?,
        ))
    })?;
    eval([&mean, &spread])?;
    println!("\npredictions: mean {:.3}, range {:.3}", mean.item()?, spread.item()?);
    Ok(())
}
