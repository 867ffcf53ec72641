//! What is left after a GPU ran out of memory or was lost: a typed error, and a way to go on.

#![cfg(feature = "gpu")]

use kiln::device::gpu::{GpuDevice, Selector};
use kiln::nn::{BatchNorm2d, Linear, Module, Param, Params, Sequential, loss};
use kiln::optim::{Adam, AdamOptions, Optimizer};
use kiln::{DType, Engine, Error, Result, Tensor};
use std::sync::Arc;

/// A GPU and an engine on it; `None` where there is none and none is required.
fn gpu() -> Option<(Arc<GpuDevice>, Engine)> {
    match GpuDevice::open(&Selector::Any) {
        Ok(device) => {
            let device = Arc::new(device);
            Some((device.clone(), Engine::with_devices(Some(device), "a test")))
        }
        Err(Error::NoDevice { .. }) if std::env::var("KILN_REQUIRE_GPU").is_ok_and(|value| value == "1") => {
            panic!("no GPU")
        }
        Err(Error::NoDevice { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

const MIB: usize = 1 << 20;

/// A tensor of so many MiB, computed on the engine.
fn computed(mib: usize, value: f64, engine: &Engine) -> Result<Tensor> {
    let x = Tensor::full(mib * MIB / 4, value, DType::F32, engine)?.contiguous()?;
    x.eval()?;
    Ok(x)
}

#[test]
fn out_of_memory_names_the_bytes_and_the_next_smaller_operation_works() -> Result<()> {
    let Some((device, engine)) = gpu() else { return Ok(()) };
    device.limit_memory(16 * MIB as u64);
    let x = computed(4, 1.5, &engine)?;
    let y = x.reshape([4, MIB / 4])?;
    // As a graph: 16 MiB on top of the 4.
    let large = Tensor::concat(&[&y, &y, &y, &y], 0)?.add(1.0)?;
    let error = large.eval().unwrap_err();
    let text = error.to_string();
    let Error::OutOfMemory { requested, in_use, .. } = error else { panic!("{error}") };
    assert_eq!((requested, in_use), (16 * MIB as u64, 4 * MIB as u64));
    assert!(
        text.contains("16777216") && text.contains("4194304") && text.contains("smaller batch"),
        "{text}"
    );
    assert!(matches!(
        Tensor::from_slice(&vec![0.0f32; 4 * MIB], 4 * MIB, &engine),
        Err(Error::OutOfMemory { .. })
    ));
    // Nothing of the failed graph is left.
    assert_eq!(engine.memory().live, 4 * MIB as u64);
    assert_eq!(y.narrow(0, 0, 2)?.add(1.0)?.sum(.., false)?.item()?, 2.5 * (MIB / 2) as f64);
    // With room, the same tensor is computed after all.
    device.limit_memory(64 * MIB as u64);
    assert_eq!(large.narrow(0, 15, 1)?.mean(.., false)?.item()?, 2.5);
    Ok(())
}

#[test]
fn buffers_kept_for_reuse_make_room() -> Result<()> {
    let Some((device, engine)) = gpu() else { return Ok(()) };
    device.limit_memory(16 * MIB as u64);
    // Each of another size, while work on the one before it is still under way.
    for mib in [1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1] {
        let x = computed(mib, mib as f64, &engine)?.add(1.0)?;
        assert_eq!(x.narrow(0, 7, 1)?.item()?, mib as f64 + 1.0);
        let memory = engine.memory();
        assert!(memory.live + memory.pooled <= 16 * MIB as u64, "{memory:?}");
    }
    Ok(())
}

/// A classifier of points by quadrant, and what trains it.
struct Training {
    params: Params,
    net: Sequential,
    optimizer: Adam,
}

impl Training {
    fn new(engine: &Engine) -> Result<Training> {
        let params = Params::new(engine, 1);
        let net = Sequential::new()
            .add(Linear::without_bias(&params / "first", 2, 16)?)
            .add(|x: &Tensor| x.unsqueeze(-1)?.unsqueeze(-1))
            .add(BatchNorm2d::new(&params / "norm", 16)?)
            .add(|x: &Tensor| x.flatten(1, -1)?.tanh())
            .add(Linear::new(&params / "second", 16, 4)?);
        let optimizer = Adam::new(&params, AdamOptions { lr: 0.02, ..Default::default() })?;
        Ok(Training { params, net, optimizer })
    }

    /// A step on `count` points; the loss before it.
    fn step(&mut self, count: usize) -> Result<f64> {
        let engine = self.params.engine();
        let points: Vec<f32> =
            (0..2 * count).map(|i| ((i * 37 + i / 2 * 11) % 101) as f32 / 50.0 - 1.01).collect();
        let quadrants: Vec<i32> =
            points.chunks(2).map(|p| i32::from(p[0] > 0.0) + 2 * i32::from(p[1] > 0.0)).collect();
        let x = Tensor::from_slice(&points, [count, 2], engine)?;
        let loss =
            loss::cross_entropy(&self.net.forward(&x)?, &Tensor::from_slice(&quadrants, count, engine)?)?;
        self.optimizer.step(loss.backward()?)?;
        loss.item()
    }

    fn steps(&mut self, steps: usize) -> Result<Vec<f64>> {
        (0..steps).map(|_| self.step(64)).collect()
    }
}

#[test]
fn training_goes_on_after_a_batch_that_was_too_large() -> Result<()> {
    let Some((device, engine)) = gpu() else { return Ok(()) };
    let mut undisturbed = Training::new(&Engine::cpu())?;
    let expected = undisturbed.steps(8)?;
    let mut training = Training::new(&engine)?;
    let mut losses = training.steps(4)?;
    device.limit_memory(2 * MIB as u64);
    for _ in 0..2 {
        // The points take 0.5 MB, a layer's outputs 2.5.
        let error = training.step(40_000).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { requested: 2_560_000, .. }), "{error}");
    }
    losses.extend(training.steps(4)?);
    for (loss, expected) in losses.iter().zip(&expected) {
        assert!((loss - expected).abs() < 1e-4, "{losses:?} instead of {expected:?}");
    }
    // Parameters and running statistics know nothing of those batches.
    for ((name, param), (_, expected)) in training.params.named().iter().zip(undisturbed.params.named()) {
        let values = |param: &Param| param.get().cast(DType::F32)?.to_vec::<f32>();
        for (value, expected) in values(param)?.iter().zip(values(&expected)?) {
            assert!((value - expected).abs() < 1e-4, "{name}: {value} instead of {expected}");
        }
    }
    Ok(())
}

#[test]
fn training_is_resumed_from_the_host_after_the_device_was_lost() -> Result<()> {
    let Some((device, engine)) = gpu() else { return Ok(()) };
    let mut undisturbed = Training::new(&Engine::cpu())?;
    let expected = undisturbed.steps(20)?;
    let mut training = Training::new(&engine)?;
    let mut losses = training.steps(10)?;
    let saved = (training.params.state_dict()?, training.optimizer.state_dict()?);

    device.wgpu_device().destroy();
    for _ in 0..2 {
        let error = training.step(64).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        assert!(error.to_string().contains(engine.name()), "{error}");
    }
    assert!(matches!(training.params.state_dict(), Err(Error::DeviceLost { .. })));
    assert!(matches!(engine.synchronize(), Err(Error::DeviceLost { .. })));

    let Some((_, engine)) = gpu() else { return Ok(()) };
    let mut training = Training::new(&engine)?;
    training.params.load_state_dict(&saved.0, "saved")?;
    training.optimizer.load_state_dict(&saved.1, "saved".as_ref())?;
    losses.extend(training.steps(10)?);
    for (loss, expected) in losses.iter().zip(&expected) {
        assert!((loss - expected).abs() < 1e-4, "{losses:?} instead of {expected:?}");
    }
    assert!(losses[19] < 0.8 * losses[10] && losses[10] < losses[9], "{losses:?}");
    Ok(())
}
