//! Tensors beyond a GPU's limits: more workgroups than a dispatch holds, bindings and buffers larger than
//! the device allows. `KILN_GPU_LIMITS=small cargo test --test ops --test conformance` runs every
//! operation on such a device; here are the sizes that real ones have, and what is promised beyond them.

#![cfg(feature = "gpu")]

use kiln::device::gpu::{GpuDevice, Selector};
use kiln::device::{Device, DeviceKind};
use kiln::{DType, Engine, Error, Result, Tensor};
use std::sync::Arc;

/// A GPU with these limits; `None` where there is none and none is required.
fn open(limits: wgpu::Limits) -> Option<GpuDevice> {
    match GpuDevice::open_with_limits(&Selector::Any, limits) {
        Ok(device) => Some(device),
        Err(Error::NoDevice { .. }) if std::env::var("KILN_REQUIRE_GPU").is_ok_and(|value| value == "1") => {
            panic!("no GPU")
        }
        Err(Error::NoDevice { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn engine(limits: wgpu::Limits) -> Option<Engine> {
    open(limits).map(|device| Engine::with_devices(Some(Arc::new(device)), "a test"))
}

/// Small whole numbers, whose sums `f32` holds exactly.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 7) as f32).collect()
}

/// The sum of each batch of `data` times `weight`, and its gradient with respect to `weight`.
fn batches(data: &Tensor, weight: &Tensor) -> Result<Vec<f32>> {
    let mut results = Vec::new();
    for start in (0..data.dims()[0]).step_by(1000) {
        let batch = data.narrow(0, start, 1000)?;
        let loss = batch.matmul(weight)?.sum(.., false)?;
        results.extend(loss.to_vec::<f32>()?);
        results.extend(loss.backward()?.get(weight).expect("the weight has a gradient").to_vec::<f32>()?);
    }
    Ok(results)
}

#[test]
fn more_workgroups_than_a_dimension_holds() -> Result<()> {
    let Some(gpu) = engine(wgpu::Limits::default()) else { return Ok(()) };
    // Of 256 elements a workgroup.
    let (rows, columns) = (4099, 4111);
    let numbers = values(rows * columns);
    assert!(numbers.len().div_ceil(256) > 65_535);
    let picked: Vec<i32> = (0..rows as i32).rev().collect();
    type Step = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let steps: [(&str, Step); 6] = [
        ("elementwise", |x, _| x.mul(3.0)?.add(1.0)?.maximum(x)),
        ("copy", |x, _| x.t()?.contiguous()),
        ("sum", |x, _| x.sum(1, false)),
        ("cumsum", |x, _| x.cumsum(0)),
        ("gather", |x, index| x.index_select(0, index)),
        ("pad", |x, _| x.pad(&[(1, 0), (0, 1)], 2.0)),
    ];
    let inputs = |engine: &Engine| -> Result<[Tensor; 2]> {
        let index = Tensor::from_slice(&picked, rows, engine)?;
        Ok([Tensor::from_slice(&numbers, [rows, columns], engine)?, index])
    };
    let ([x, index], [on_cpu, cpu_index]) = (inputs(&gpu)?, inputs(&Engine::cpu())?);
    for (name, step) in steps {
        let same = step(&x, &index)?.to_bytes()? == step(&on_cpu, &cpu_index)?.to_bytes()?;
        assert!(same, "{name} differs from the CPU");
    }
    Ok(())
}

#[test]
fn more_bytes_than_a_binding_holds() -> Result<()> {
    let Some(gpu) = engine(wgpu::Limits::default()) else { return Ok(()) };
    let count = (128 << 20) / 4 + 1000;
    let numbers = values(count);
    let x = Tensor::from_slice(&numbers, count, &gpu)?;
    // The whole is left to the CPU.
    let y = x.add(1.0)?;
    assert!(y.to_vec::<f32>()?.iter().zip(&numbers).all(|(y, x)| *y == x + 1.0));
    // Parts are not, wherever the whole is.
    for (whole, added) in [(&x, 0.0), (&y, 1.0)] {
        let before = gpu.memory().live;
        let part = whole.narrow(0, count - 501, 500)?.mul(2.0)?;
        part.eval()?;
        assert!(gpu.memory().live > before, "the product lies on the GPU");
        let want: Vec<f32> = numbers[count - 501..count - 1].iter().map(|x| (x + added) * 2.0).collect();
        assert_eq!(part.to_vec::<f32>()?, want);
    }
    Ok(())
}

#[test]
fn more_bytes_than_a_buffer_holds() -> Result<()> {
    let limits = wgpu::Limits {
        max_buffer_size: 1 << 20,
        max_storage_buffer_binding_size: 1 << 20,
        ..Default::default()
    };
    let Some(gpu) = engine(limits) else { return Ok(()) };
    let numbers = values(40_000 * 25);
    let inputs = |engine: &Engine| -> Result<[Tensor; 2]> {
        let weight = Tensor::from_slice(&values(25 * 3), [25, 3], engine)?.variable()?;
        Ok([Tensor::from_slice(&numbers, [40_000, 25], engine)?, weight])
    };
    let ([data, weight], [on_cpu, cpu_weight]) = (inputs(&gpu)?, inputs(&Engine::cpu())?);
    assert!(batches(&data, &weight)? == batches(&on_cpu, &cpu_weight)?, "batches differ");
    assert!(gpu.memory().live > 0, "the weight lies on the GPU");
    // Views of any strides, and several of one tensor.
    let view = |data: &Tensor| {
        let columns = data.t()?.slice(0, 1, 25, 6)?.narrow(1, 30_000, 77)?.flip(1)?;
        columns.mul(&data.narrow(0, 123, 77)?.slice(1, 2, 24, 6)?.t()?)?.to_vec::<f32>()
    };
    assert!(view(&data)? == view(&on_cpu)?, "views differ");
    Ok(())
}

#[test]
fn what_a_device_cannot_hold_is_an_error_with_both_numbers() {
    let Some(device) = open(wgpu::Limits { max_buffer_size: 1 << 20, ..Default::default() }) else { return };
    assert_ne!(device.kind(), DeviceKind::Cpu);
    let error = device.allocate(5_000_000).unwrap_err().to_string();
    assert!(error.contains("5000000 bytes") && error.contains("1048576"), "{error}");
    // On an engine the host takes it.
    let engine = Engine::with_devices(Some(Arc::new(device)), "a test");
    let ones = Tensor::full(1_250_000, 1.0, DType::F32, &engine).unwrap().contiguous().unwrap();
    assert_eq!(ones.sum(.., false).unwrap().item().unwrap(), 1_250_000.0);
}
