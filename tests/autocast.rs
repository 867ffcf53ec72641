//! Mixed precision: which results are narrow, that gradients are those of the rounded operands, and that
//! the loss scale follows overflows.

use kiln::nn::{BatchNorm2d, Init, Params, cross_entropy};
use kiln::ops::Conv2dOptions;
use kiln::optim::{GradScaler, Optimizer, Sgd, SgdOptions};
use kiln::{DType, Engine, Result, Tensor, autocast, no_grad};

/// The engines that are there; without a GPU the CPU alone, unless `KILN_REQUIRE_GPU` is set.
fn engines() -> Vec<Engine> {
    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    let gpu = Engine::new("gpu");
    assert!(gpu.is_ok() || !required, "{gpu:?}");
    [Engine::cpu()].into_iter().chain(gpu).collect()
}

/// Numbers between -2 and 2, most of them not exact in half precision.
fn numbers(shape: &[usize], seed: usize, engine: &Engine) -> Result<Tensor> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 25.3 - 2.0).collect();
    Tensor::from_slice(&values, shape, engine)
}

#[test]
fn products_are_narrow_and_sums_are_not() -> Result<()> {
    for engine in engines() {
        let (x, w) = (numbers(&[3, 5], 1, &engine)?, numbers(&[4, 5], 2, &engine)?);
        let bias = numbers(&[4], 3, &engine)?;
        let image = numbers(&[2, 3, 5, 5], 4, &engine)?;
        let kernel = numbers(&[4, 3, 3, 3], 5, &engine)?;
        let params = Params::new(&engine, 0);
        let norm = BatchNorm2d::new(&params, 4)?;
        autocast(|| {
            let y = x.linear(&w, Some(&bias))?;
            assert_eq!((y.dtype(), y.relu()?.dtype()), (DType::F16, DType::F16));
            for wide in [y.softmax(1)?, y.log_softmax(1)?, y.sum(1, false)?, y.mean(.., false)?] {
                assert_eq!(wide.dtype(), DType::F32);
            }
            let maps = image.conv2d(&kernel, Some(&bias), Conv2dOptions::default())?;
            assert_eq!(maps.dtype(), DType::F16);
            assert_eq!(kiln::nn::Module::forward(&norm, &maps)?.dtype(), DType::F16);
            // Inside another scope too; and what is no product is as outside.
            assert_eq!(no_grad(|| x.matmul(&w.t()?))?.dtype(), DType::F16);
            assert_eq!(x.add(&x)?.dtype(), DType::F32);
            Ok::<_, kiln::Error>(())
        })?;
        assert_eq!(x.matmul(&w.t()?)?.dtype(), DType::F32);
    }
    Ok(())
}

#[test]
fn the_scope_ends_with_an_error_or_a_panic() -> Result<()> {
    let x = Tensor::ones([2, 2], &Engine::cpu())?;
    let failed = autocast(|| x.matmul(&Tensor::ones([3, 3], &Engine::cpu())?));
    assert!(failed.is_err());
    assert!(std::panic::catch_unwind(|| autocast(|| panic!("inside"))).is_err());
    assert_eq!(x.matmul(&x)?.dtype(), DType::F32);
    Ok(())
}

#[test]
fn gradients_are_those_of_rounded_operands() -> Result<()> {
    for engine in engines() {
        let rounded = |x: &Tensor| x.cast(DType::F16)?.cast(DType::F32);
        let x = numbers(&[2, 3, 6, 5], 1, &engine)?;
        let w = numbers(&[4, 3, 3, 3], 2, &engine)?.variable()?;
        let same = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
        // The upstream gradient is exact in half precision, so that nothing but the operands is rounded.
        let loss = |y: Tensor| y.cast(DType::F32)?.mul(0.5)?.sum(.., false);
        let narrow = autocast(|| loss(x.conv2d(&w, None, same)?))?.backward()?;
        let wide = loss(rounded(&x)?.conv2d(&rounded(&w)?, None, same)?)?.backward()?;
        let (narrow, wide) = (narrow.get(&w).unwrap(), wide.get(&w).unwrap());
        assert_eq!(narrow.dtype(), DType::F32, "the gradient of a parameter is as wide as it");
        for (a, b) in narrow.to_vec::<f32>()?.into_iter().zip(wide.to_vec::<f32>()?) {
            // The gradient passes the rounding of the weight, in half precision.
            assert!((a - b).abs() <= 1e-3 * b.abs() + 1e-4, "{a} {b}");
        }
    }
    Ok(())
}

#[test]
fn the_scale_halves_at_an_overflow_and_doubles_after_2000_updates() -> Result<()> {
    let params = Params::new(&Engine::cpu(), 0);
    let weight = params.parameter("weight", 1, Init::Ones)?;
    let mut scaler = GradScaler::default();
    let mut optimizer = Sgd::new(&params, SgdOptions { lr: 1e-4, ..Default::default() })?;
    let mut step = |factor: f64| -> Result<bool> {
        let mut gradients = scaler.scale(&weight.get().mul(factor)?.sum(.., false)?)?.backward()?;
        let finite = scaler.unscale(&mut gradients, &params)?;
        if finite {
            let gradient = gradients.get(&weight.get()).unwrap().to_vec::<f32>()?;
            assert_eq!(gradient, [factor as f32], "divided by the scale again");
            optimizer.step(gradients)?;
        }
        Ok(finite)
    };
    assert!(!step(1e35)?, "65536e35 is infinite in f32");
    assert_eq!(weight.get().to_vec::<f32>()?, [1.0], "no update");
    for _ in 0..2000 {
        assert!(step(1.0)?);
    }
    assert!(!step(f64::INFINITY)? && !step(f64::NAN)?);
    // Halved, doubled, and halved twice.
    assert_eq!(scaler.get_scale(), 65536.0 / 4.0);
    let other = Params::new(&Engine::cpu(), 0);
    let mut gradients = weight.get().sum(.., false)?.backward()?;
    assert!(scaler.unscale(&mut gradients, &other).unwrap_err().to_string().contains("no parameter"));
    Ok(())
}

/// A small product is nothing in half precision, and so is its gradient, unless it is scaled.
#[test]
fn scaling_keeps_small_gradients() -> Result<()> {
    for engine in engines() {
        let params = Params::new(&engine, 0);
        let weight = params.parameter("weight", [1, 2], Init::Ones)?;
        let x = Tensor::ones([1, 1], &engine)?;
        let loss = || {
            autocast(|| {
                let logits = x.matmul(&weight.get())?;
                let labels = Tensor::from_slice(&[0], 1, &engine)?;
                cross_entropy(&logits, &labels)?.mul(2e-8)
            })
        };
        let plain = loss()?.backward()?;
        assert_eq!(plain.get(&weight.get()).unwrap().to_vec::<f32>()?, [0.0, 0.0]);
        let mut scaler = GradScaler::default();
        let mut scaled = scaler.scale(&loss()?)?.backward()?;
        assert!(scaler.unscale(&mut scaled, &params)?);
        for (got, want) in scaled.get(&weight.get()).unwrap().to_vec::<f32>()?.iter().zip([-1e-8, 1e-8]) {
            assert!((got - want).abs() < 1e-11, "{got} {want}");
        }
    }
    Ok(())
}
