//! Normalisation.

use crate::Tensor;
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference as r;

/// A value for each channel, over `[N, C, ...]` of this rank.
fn channels(values: &Array, rank: usize) -> Array {
    let mut shape = vec![1; rank - 1];
    shape[0] = values.len();
    r::reshape(values, &shape)
}

/// Normalised by channels, scaled and shifted.
fn affine(x: Array, weight: &Array, bias: &Array) -> Array {
    let rank = x.ndim();
    x * channels(weight, rank) + channels(bias, rank)
}

fn grouped(x: &Array, groups: usize, eps: f64) -> Array {
    let flat = r::reshape(x, &[x.shape()[0], groups, x.len() / x.shape()[0] / groups]);
    r::reshape(&r::standardised(&flat, &[2], eps), x.shape())
}

pub fn norms(cases: &mut Vec<Case>) {
    // Far from 0 the mean's own rounding is what remains.
    let mut push = |case: Case| {
        let far = case.name.contains("/far");
        cases.push(if far { case.value_only().tolerance(1e-5, 5e-5) } else { case.tolerance(1e-5, 1e-5) })
    };
    let images = || Input::floats(&[3, 4, 3, 5]);
    let shapes = [
        ("matrix", Input::floats(&[5, 4])),
        ("matrix_in_parts", Input::floats(&[300, 4])),
        ("sequence", Input::floats(&[2, 4, 7])),
        ("vectors", Input::floats(&[2, 4, 8])),
        ("images", images()),
        ("permuted", Input::floats(&[4, 3, 2, 5]).permute(&[1, 0, 3, 2])),
        ("far", Input::within(&[6, 4, 5], 49.0, 51.0)),
        // Channels that a workgroup shares.
        ("planes", Input::floats(&[2, 4, 36, 36])),
        ("far_planes", Input::within(&[2, 4, 36, 36], 49.0, 51.0)),
    ];
    for (name, input) in shapes {
        let of_channels = |low, high| Input::within(&[4], low, high);
        let inputs = vec![input.clone(), of_channels(0.5, 2.0), of_channels(-1.0, 1.0)];
        let axes = |x: &Array| (0..x.ndim()).filter(|&axis| axis != 1).collect::<Vec<_>>();
        push(Case::new(
            format!("batch_norm_training/{name}"),
            inputs.clone(),
            |x| Ok(x[0].batch_norm_training(Some(&x[1]), Some(&x[2]), 1e-5)?.0),
            move |x| affine(r::standardised(&x[0], &axes(&x[0]), 1e-5), &x[1], &x[2]),
        ));
        let statistics = [inputs.clone(), vec![of_channels(-1.5, 1.0), of_channels(0.5, 3.0)]].concat();
        push(Case::new(
            format!("batch_norm/{name}"),
            statistics,
            |x| x[0].batch_norm(&x[3], &x[4], Some(&x[1]), Some(&x[2]), 1e-3),
            |x| {
                let rank = x[0].ndim();
                let deviation = x[4].mapv(|v| (v + 1e-3).sqrt());
                affine((&x[0] - channels(&x[3], rank)) / channels(&deviation, rank), &x[1], &x[2])
            },
        ));
        if name.starts_with("matrix") || name.contains("planes") {
            continue;
        }
        push(Case::new(
            format!("instance_norm/{name}"),
            inputs.clone(),
            |x| x[0].instance_norm(Some(&x[1]), Some(&x[2]), 1e-5),
            |x| affine(grouped(&x[0], 4, 1e-5), &x[1], &x[2]),
        ));
        for groups in [1, 2, 4] {
            push(Case::new(
                format!("group_norm/{name}_{groups}"),
                inputs.clone(),
                move |x| x[0].group_norm(groups, Some(&x[1]), Some(&x[2]), 1e-5),
                move |x| affine(grouped(&x[0], groups, 1e-5), &x[1], &x[2]),
            ));
        }
    }
    let pair = || [Input::floats(&[5, 12]), Input::within(&[12], 0.5, 2.0)];
    let standardised = |x: &[Array]| r::standardised(&x[0], &[1], 1e-5);
    let weighted = |x: &[Tensor]| x[0].layer_norm(&[12], Some(&x[1]), None, 1e-5);
    push(Case::new("layer_norm/weight_alone", pair(), weighted, move |x| standardised(x) * &x[1]));
    let biased = |x: &[Tensor]| x[0].layer_norm(&[12], None, Some(&x[1]), 1e-5);
    push(Case::new("layer_norm/bias_alone", pair(), biased, move |x| standardised(x) + &x[1]));
    for (name, input, shape) in [
        ("row", Input::floats(&[4, 7]), vec![7]),
        ("long", Input::floats(&[2, 1025]), vec![1025]),
        ("vectors", Input::floats(&[3, 64]), vec![64]),
        ("in_parts", Input::floats(&[2, 33_000]), vec![33_000]),
        ("rows", Input::floats(&[700, 6]), vec![6]),
        ("image", Input::floats(&[3, 4, 5]), vec![4, 5]),
        ("permuted", Input::floats(&[6, 3]).permute(&[1, 0]), vec![6]),
        ("one", Input::floats(&[3, 2, 1]), vec![2, 1]),
        ("empty", Input::floats(&[0, 6]), vec![6]),
    ] {
        let inputs = vec![input, Input::within(&shape, 0.5, 2.0), Input::within(&shape, -1.0, 1.0)];
        let axes = move |x: &[Array]| (x[0].ndim() - x[1].ndim()..x[0].ndim()).collect::<Vec<_>>();
        let sizes = shape.clone();
        push(Case::new(
            format!("layer_norm/{name}"),
            inputs.clone(),
            move |x| x[0].layer_norm(&sizes, Some(&x[1]), Some(&x[2]), 1e-5),
            move |x| r::standardised(&x[0], &axes(x), 1e-5) * &x[1] + &x[2],
        ));
        push(Case::new(
            format!("rms_norm/{name}"),
            inputs[..2].to_vec(),
            move |x| x[0].rms_norm(&shape, Some(&x[1]), 1e-5),
            move |x| {
                let squares = r::reduce(&x[0].mapv(|v| v * v), &axes(x), true, &r::mean);
                &x[0] / squares.mapv(|v| (v + 1e-5).sqrt()) * &x[1]
            },
        ));
    }
    for (name, shape, size) in [
        ("odd", vec![2, 7, 3], 3),
        ("even", vec![1, 5, 2, 3], 4),
        ("wide", vec![2, 3, 4], 9),
        ("one", vec![1, 1, 1], 1),
    ] {
        push(Case::new(
            format!("local_response_norm/{name}"),
            [Input::floats(&shape)],
            move |x| x[0].local_response_norm(size, 0.5, 0.75, 2.0),
            move |x| {
                let means = r::lines(&x[0], 1, &|line| {
                    let window =
                        |at: usize| at.saturating_sub(size / 2)..(at + (size - 1) / 2 + 1).min(line.len());
                    let mean = |at| line[window(at)].iter().map(|v| v * v).sum::<f64>() / size as f64;
                    (0..line.len()).map(mean).collect()
                });
                &x[0] / means.mapv(|mean| (2.0 + 0.5 * mean).powf(0.75))
            },
        ));
    }
}
