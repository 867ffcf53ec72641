//! A program of ops on drawn tensors, with drawn arguments, and its gradient: an error or a result, and never a
//! panic or a read out of bounds.
#![no_main]

#[path = "../../tests/property/draw.rs"]
mod draw;

use draw::{OPS, Source, apply, rank};
use kiln::{DType, Engine, Tensor};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// The most elements of a tensor that the program goes on with.
const LARGEST: usize = 1 << 14;

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::cpu);

fuzz_target!(|bytes: &[u8]| {
    let mut source = Source(bytes);
    let op = source.below(OPS);
    let rank = rank(op, &mut source);
    let Ok(leaf) = source.tensor(rank, DType::F32, &ENGINE).and_then(|x| x.variable()) else { return };
    let Ok(mut x) = apply(op, &leaf, &mut source) else { return };
    for _ in 0..8 {
        if source.0.is_empty() || x.elements() > LARGEST {
            break;
        }
        let op = source.below(OPS);
        match apply(op, &x, &mut source) {
            Ok(y) => x = y,
            Err(_) => continue,
        }
    }
    if x.elements() > LARGEST {
        return;
    }
    let _ = x.to_bytes();
    if x.requires_grad() {
        let gradient = x.sum(.., false).and_then(|sum| sum.grad(&[&leaf]));
        if let Ok([gradient]) = gradient.as_deref() {
            assert_eq!(Tensor::shape(gradient), leaf.shape());
            let _ = gradient.to_bytes();
        }
    }
});
