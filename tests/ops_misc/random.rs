//! Random tensors.

use crate::{close, cpu};
use kiln::ops::random::philox4x32;
use kiln::{DType, Result, Tensor};

#[test]
fn philox_gives_the_published_words() {
    let ones = u32::MAX;
    let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    let cases = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
    ];
    for (counter, key, words) in cases {
        assert_eq!(philox4x32(counter, key), words);
    }
}

#[test]
fn random_tensors() -> Result<()> {
    let engine = cpu();
    let count = 200_003;
    let uniform = Tensor::rand(count, 11, &engine)?.to_vec::<f32>()?;
    let words = philox4x32([0, 0, 0, 0], [11, 0]);
    assert_eq!(uniform[..4], words.map(|word| (word >> 8) as f32 / 16_777_216.0));
    assert!(uniform.iter().all(|value| (0.0..1.0).contains(value)));
    assert_eq!(uniform[..7], Tensor::rand(7, 11, &engine)?.to_vec::<f32>()?);
    assert_ne!(uniform[..7], Tensor::rand(7, 11 | 1 << 40, &engine)?.to_vec::<f32>()?);
    let moments = |values: &[f32]| {
        let power = |p: i32| values.iter().map(|&v| f64::from(v).powi(p)).sum::<f64>() / values.len() as f64;
        [power(1), power(2), power(3), power(4)]
    };
    let near = |values: &[f32], expected: [f64; 4]| {
        for (found, expected) in moments(values).into_iter().zip(expected) {
            assert!((found - expected).abs() < 0.03, "{found} not {expected}");
        }
    };
    near(&uniform, [1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0, 1.0 / 5.0]);
    let normal = Tensor::randn(count, 5, &engine)?.to_vec::<f32>()?;
    near(&normal, [0.0, 1.0, 0.0, 3.0]);
    // The written-out functions against the library's.
    for (block, normals) in normal.chunks_exact(4).enumerate() {
        let words =
            philox4x32([block as u32, 0, 0, 1], [5, 0]).map(|word| f64::from(word >> 8) / 16_777_216.0);
        for pair in 0..2 {
            let radius = (-2.0 * (words[2 * pair] + 0.5f64.powi(24)).ln()).sqrt();
            let (sin, cos) = (words[2 * pair + 1] * std::f64::consts::TAU).sin_cos();
            close(&normals[2 * pair..2 * pair + 2], &[radius * cos, radius * sin], 1e-6);
        }
    }
    let trues = Tensor::bernoulli(count, 0.3, 1, &engine)?.cast(DType::F32)?.mean(0, false)?.item()?;
    assert!((trues - 0.3).abs() < 0.005, "{trues}");
    assert_eq!(Tensor::bernoulli(9, 1.0, 1, &engine)?.to_vec::<bool>()?, [true; 9]);
    assert_eq!(Tensor::bernoulli(9, 0.0, 1, &engine)?.to_vec::<bool>()?, [false; 9]);
    assert_eq!(Tensor::randn([0, 3], 1, &engine)?.to_vec::<f32>()?.len(), 0);
    assert!(Tensor::bernoulli(9, f64::NAN, 1, &engine).is_err());
    Ok(())
}

#[test]
fn dropout_keeps_the_mean() -> Result<()> {
    let engine = cpu();
    let x = Tensor::full(10_001, 2.0, DType::F32, &engine)?.variable()?;
    let y = x.dropout(0.25, 3)?;
    let values = y.to_vec::<f32>()?;
    assert!(values.iter().all(|&v| v == 0.0 || (v - 2.0 / 0.75).abs() < 1e-6));
    let mean = y.mean(0, false)?.item()?;
    assert!((mean - 2.0).abs() < 0.05, "{mean}");
    let gradient = y.mul(5.0)?.sum(.., false)?.grad(&[&x])?.remove(0).to_vec::<f32>()?;
    for (g, v) in gradient.iter().zip(&values) {
        assert!((g - v * 2.5).abs() < 1e-5);
    }
    assert_eq!(x.dropout(1.0, 3)?.to_vec::<f32>()?, [0.0; 10_001]);
    assert_eq!(x.dropout(0.0, 3)?.to_vec::<f32>()?, [2.0; 10_001]);
    for p in [-0.1, 1.1, f64::NAN] {
        assert!(x.dropout(p, 3).unwrap_err().to_string().contains("not a probability"));
    }
    Ok(())
}
