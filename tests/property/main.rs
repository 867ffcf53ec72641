//! Ops on drawn shapes, views and arguments: none panics, none reads what is not there, and what an op makes of
//! strided views is what it makes of contiguous copies, on the CPU and on the GPU.
//!
//! The draws are the same in every run. `fuzz/` drives the same ops by a fuzzer.

mod draw;

use draw::{OPS, Source, apply, rank};
use kiln::{DType, Engine, Error, Result, Tensor};

/// Bytes from a linear congruential generator.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// The most elements of a result that is read.
const READ: usize = 1 << 16;

/// A result's elements; an error's class. What is too large to read is not.
fn outcome(result: Result<Tensor>) -> Result<Option<Vec<f64>>, String> {
    let read = |y: Tensor| {
        if y.elements() > READ {
            return Ok(None);
        }
        let values = y.cast(DType::F32)?.to_vec::<f32>()?;
        assert_eq!(values.len(), y.elements());
        Ok(Some(values.into_iter().map(f64::from).collect()))
    };
    match result.and_then(read) {
        Ok(values) => Ok(values),
        Err(error @ (Error::Op { .. } | Error::OutOfMemory { .. })) => Err(error.to_string()),
        Err(error) => panic!("a device failed: {error}"),
    }
}

#[track_caller]
fn same(what: &str, got: &Result<Option<Vec<f64>>, String>, want: &Result<Option<Vec<f64>>, String>) {
    let (Ok(got), Ok(want)) = (got, want) else {
        assert_eq!(got.is_err(), want.is_err(), "{what}: {got:?} but {want:?}");
        return;
    };
    let (Some(got), Some(want)) = (got, want) else { return };
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().filter(|v| v.is_finite()).fold(1.0, |scale: f64, v| scale.max(v.abs()));
    for (at, (a, b)) in got.iter().zip(want).enumerate() {
        let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-5 * scale;
        assert!(close, "{what}, element {at}: {a} but {b}");
    }
}

/// One op on a drawn view and on its contiguous copy.
fn once(op: usize, seed: u64, engine: &Engine, other: &Engine) -> Result<()> {
    let bytes = bytes(seed, 256);
    let on = |engine: &Engine, copied: bool| {
        let mut source = Source(&bytes);
        let rank = rank(op, &mut source);
        let mut x = source.tensor(rank, DType::F32, engine)?;
        if copied {
            x = Tensor::from_vec(x.to_vec::<f32>()?, x.shape(), engine)?;
        }
        Ok::<_, Error>(outcome(apply(op, &x, &mut source)))
    };
    let want = on(engine, true)?;
    same(&format!("op {op}, seed {seed}, views"), &on(engine, false)?, &want);
    same(&format!("op {op}, seed {seed}, {}", other.name()), &on(other, false)?, &want);
    Ok(())
}

/// A gradient has the shape of its tensor, whatever the op.
fn gradient(op: usize, seed: u64, engine: &Engine) -> Result<()> {
    let bytes = bytes(seed, 256);
    let mut source = Source(&bytes);
    let rank = rank(op, &mut source);
    let leaf = source.tensor(rank, DType::F32, engine)?.variable()?;
    let Ok(y) = apply(op, &leaf, &mut source) else { return Ok(()) };
    if y.requires_grad() && y.elements() <= READ {
        let gradient = y.sum(.., false).and_then(|sum| Ok(sum.grad(&[&leaf])?.remove(0)));
        let gradient = gradient.unwrap_or_else(|error| panic!("op {op}, seed {seed}, {y:?}: {error}"));
        assert_eq!(gradient.shape(), leaf.shape(), "op {op}, seed {seed}");
        let values = gradient.to_vec::<f32>();
        let values = values.unwrap_or_else(|error| panic!("op {op}, seed {seed}, {y:?}: {error}"));
        assert_eq!(values.len(), leaf.elements());
    }
    Ok(())
}

#[test]
fn views_and_copies_agree_on_the_cpu() -> Result<()> {
    let cpu = Engine::cpu();
    for op in 0..OPS {
        for seed in 0..200 {
            once(op, seed, &cpu, &cpu)?;
            gradient(op, seed, &cpu)?;
        }
    }
    Ok(())
}

#[test]
fn views_and_copies_agree_on_the_gpu() -> Result<()> {
    let gpu = match Engine::new("gpu") {
        Ok(gpu) => gpu,
        Err(error) if std::env::var_os("KILN_REQUIRE_GPU").is_none_or(|value| value == "0") => {
            eprintln!("no GPU: {error}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let cpu = Engine::cpu();
    for op in 0..OPS {
        for seed in 1000..1010 {
            once(op, seed, &cpu, &gpu)?;
        }
    }
    Ok(())
}
