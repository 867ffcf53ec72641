//! Losses beyond PyTorch's fixtures: refusals, ignored samples, sequences against every alignment.

use kiln::nn::loss::*;
use kiln::{Engine, Error, Result, Tensor};
use std::sync::LazyLock;

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::cpu);

fn floats(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &ENGINE).unwrap()
}

fn labels(values: &[i32]) -> Tensor {
    Tensor::from_slice(values, values.len(), &ENGINE).unwrap()
}

#[track_caller]
fn refused(result: Result<Tensor>, text: &str) {
    match result {
        Err(error @ Error::Op { .. }) => {
            assert!(error.to_string().contains(text), "{error} does not say {text:?}")
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

const MEAN: Reduction = Reduction::Mean;

#[test]
fn mistakes_are_refused() {
    let (logits, smooth) = (floats(&[0.0; 6], &[2, 3]), |label_smoothing| CrossEntropyOptions {
        label_smoothing,
        ..Default::default()
    });
    let plain = CrossEntropyOptions::default();
    refused(
        cross_entropy_with(&logits, &labels(&[0, 3]), &plain),
        "label 3 is out of range, expected 0 to 2",
    );
    refused(cross_entropy_with(&logits, &labels(&[0, -100]), &plain), "label -100");
    refused(cross_entropy_with(&logits, &labels(&[0]), &plain), "expected labels i32 [2]");
    refused(cross_entropy_with(&logits, &floats(&[0.5; 2], &[2]), &plain), "[2, 3] and [2] differ");
    refused(cross_entropy_with(&logits, &labels(&[0, 1]), &smooth(1.5)), "label smoothing 1.5");
    refused(cross_entropy_with(&floats(&[], &[0, 3]), &labels(&[]), &plain), "empty");
    let weight = Some(floats(&[1.0; 2], &[2]));
    let options = NllOptions { weight, ..Default::default() };
    refused(nll_loss(&logits, &labels(&[0, 1]), &options), "class weights [2] for 3 classes");
    refused(huber_loss(&logits, &logits, 0.0, MEAN), "delta 0");
    refused(smooth_l1_loss(&logits, &logits, -1.0, MEAN), "beta -1");
    refused(l1_loss(&logits, &floats(&[0.0; 3], &[3]), MEAN), "[2, 3] and [3] differ");
    refused(cosine_embedding_loss(&logits, &logits, &floats(&[1.0], &[1]), 0.0, MEAN), "targets [N]");
    let wide = BceOptions { weight: Some(floats(&[1.0; 4], &[2, 2, 1])), ..Default::default() };
    refused(
        binary_cross_entropy_with_logits(&logits, &logits, &wide),
        "do not broadcast to the logits [2, 3]",
    );
    let ctc = |lengths: &[usize], blank| {
        let targets = Tensor::from_slice(&[1, 2], [1, 2], &ENGINE)?;
        ctc_loss(
            &floats(&[0.0; 6], &[2, 1, 3]),
            &targets,
            lengths,
            &[2],
            CtcOptions { blank, ..Default::default() },
        )
    };
    refused(ctc(&[3], 0), "input lengths [3]: expected 1 of at most 2");
    refused(ctc(&[2], 3), "blank 3");
}

#[test]
fn ignored_samples_count_for_nothing() -> Result<()> {
    let options =
        |ignore_index| CrossEntropyOptions { ignore_index: Some(ignore_index), ..Default::default() };
    let logits = floats(&[1.0, 2.0, f32::INFINITY, 0.0, 3.0, 1.0], &[3, 2]).variable()?;
    let loss = cross_entropy_with(&logits, &labels(&[0, -1, 1]), &options(-1))?;
    let want = (1.0f64.exp().ln_1p() + 2.0f64.exp().ln_1p()) / 2.0;
    assert!((loss.item()? - want).abs() < 1e-6);
    // As in PyTorch, the mean of nothing is not a number.
    assert!(cross_entropy_with(&logits, &labels(&[-1; 3]), &options(-1))?.item()?.is_nan());
    refused(cross_entropy_with(&logits, &labels(&[0, -2, 1]), &options(-1)), "label -2");
    Ok(())
}

/// The likelihood of labels by going through every alignment.
fn likelihood(probabilities: &[[f64; 3]], wanted: &[usize]) -> f64 {
    let steps = probabilities.len() as u32;
    let path = |code: usize| (0..steps).map(move |step| code / 3usize.pow(step) % 3);
    let collapsed = |code: usize| {
        let mut labels: Vec<usize> = path(code).collect();
        labels.dedup();
        labels.retain(|&label| label != 0);
        labels
    };
    let matching = (0..3usize.pow(steps)).filter(|&code| collapsed(code) == wanted);
    matching.map(|code| path(code).zip(probabilities).map(|(label, p)| p[label]).product::<f64>()).sum()
}

#[test]
fn sequences_count_every_alignment() -> Result<()> {
    let rows = [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.3, 0.3, 0.4], [0.1, 0.7, 0.2], [0.5, 0.25, 0.25]];
    let values: Vec<f32> = rows.iter().flatten().map(|&p: &f64| p.ln() as f32).collect();
    let log_p = floats(&values, &[5, 1, 3]);
    let none = CtcOptions { reduction: Reduction::None, ..Default::default() };
    for (wanted, steps) in [(&[1, 2][..], 5), (&[1, 1], 5), (&[2, 1, 2], 4), (&[], 3), (&[2], 1)] {
        let padded: Vec<i32> = (0..3).map(|i| wanted.get(i).map_or(0, |&label| label as i32)).collect();
        let targets = Tensor::from_slice(&padded, [1, 3], &ENGINE)?;
        let loss = ctc_loss(&log_p, &targets, &[steps], &[wanted.len()], none)?.item()?;
        let want = -likelihood(&rows[..steps], wanted).ln();
        assert!((loss - want).abs() < 1e-5, "{wanted:?}: {loss} instead of {want}");
    }
    let targets = Tensor::from_slice(&[1, 1], [1, 2], &ENGINE)?;
    let short =
        |zero_infinity| ctc_loss(&log_p, &targets, &[2], &[2], CtcOptions { zero_infinity, ..none })?.item();
    assert_eq!((short(false)?, short(true)?), (f64::INFINITY, 0.0));
    Ok(())
}

#[test]
fn reductions() -> Result<()> {
    let (x, y) = (floats(&[1.0, 2.0, 3.0, 4.0], &[2, 2]), floats(&[0.0; 4], &[2, 2]));
    assert_eq!(l1_loss(&x, &y, Reduction::Sum)?.item()?, 10.0);
    assert_eq!(l1_loss(&x, &y, Reduction::BatchMean)?.item()?, 5.0);
    assert_eq!(l1_loss(&x, &y, Reduction::Mean)?.item()?, 2.5);
    assert_eq!(l1_loss(&x, &y, Reduction::None)?.dims(), [2, 2]);
    assert_eq!(mse_loss(&floats(&[], &[0]), &floats(&[], &[0]), Reduction::Sum)?.item()?, 0.0);
    Ok(())
}
