//! Losses.

use super::Zip;
use crate::nn::loss::*;
use crate::proof::case::{Array, Case, Input};
use crate::proof::reference as r;
use crate::{Result, Tensor};
use ndarray::{ArrayD, Axis, Dimension, IxDyn};

pub fn losses(cases: &mut Vec<Case>) {
    elements(cases);
    classes(cases);
    embeddings(cases);
    alignments(cases);
}

const REDUCTIONS: [(&str, Reduction); 4] = [
    ("none", Reduction::None),
    ("mean", Reduction::Mean),
    ("sum", Reduction::Sum),
    ("batchmean", Reduction::BatchMean),
];

fn reduced(losses: Array, reduction: Reduction) -> Array {
    let (sum, count) = (losses.sum(), losses.len() as f64);
    match reduction {
        Reduction::None => losses,
        Reduction::Mean => r::scalar(sum / count),
        Reduction::Sum => r::scalar(sum),
        Reduction::BatchMean => r::scalar(sum / losses.shape().first().copied().unwrap_or(1) as f64),
    }
}

/// Losses of single elements.
fn elements(cases: &mut Vec<Case>) {
    type Loss = fn(&Tensor, &Tensor, Reduction) -> Result<Tensor>;
    let smooth = |x: f64, t: f64| {
        let d = (x - t).abs();
        if d < 0.5 { d * d } else { d - 0.25 }
    };
    let huber = |x: f64, t: f64| {
        let d = (x - t).abs();
        if d <= 1.5 { d * d / 2.0 } else { 1.5 * (d - 0.75) }
    };
    let hinge = |x: f64, t: f64| if t == 1.0 { x } else { (1.2 - x).max(0.0) };
    let all: [(&str, Loss, Zip, [f64; 2]); 8] = [
        ("mse_loss/", mse_loss, |x, t| (x - t) * (x - t), [-2.0, 2.0]),
        ("l1_loss/", l1_loss, |x, t| (x - t).abs(), [-2.0, 2.0]),
        ("smooth_l1_loss/", |x, t, r| smooth_l1_loss(x, t, 0.5, r), smooth, [-2.0, 2.0]),
        ("huber_loss/", |x, t, r| huber_loss(x, t, 1.5, r), huber, [-2.0, 2.0]),
        ("kl_div/", |x, t, r| kl_div(x, t, false, r), |x, t| t * (t.ln() - x), [0.1, 1.0]),
        ("kl_div/log_", |x, t, r| kl_div(x, t, true, r), |x, t| t.exp() * (t - x), [-3.0, 0.0]),
        (
            "binary_cross_entropy_with_logits/",
            |x, t, reduction| {
                let options = BceOptions { reduction, ..Default::default() };
                binary_cross_entropy_with_logits(x, t, &options)
            },
            |x, t| x.exp().ln_1p() - t * x,
            [0.0, 1.0],
        ),
        ("hinge_embedding_loss/", |x, t, r| hinge_embedding_loss(x, t, 1.2, r), hinge, [-1.0, 1.0]),
    ];
    for (name, op, f, [low, high]) in all {
        let target = |shape: &[usize]| {
            let values = Input::within(shape, low, high);
            if name.starts_with("hinge") {
                values.mapped(|v| if v < 0.0 { -1.0 } else { 1.0 }).fixed()
            } else {
                values
            }
        };
        let scores = |shape: &[usize]| Input::within(shape, -3.0, 3.0);
        let permuted = [scores(&[3, 5]).permute(&[1, 0]), target(&[5, 3])];
        let shapes = [
            ("odd", [scores(&[5, 7]), target(&[5, 7])]),
            ("view", permuted),
            ("scalar", [scores(&[]), target(&[])]),
        ];
        for (variant, inputs) in shapes {
            for (way, reduction) in REDUCTIONS {
                cases.push(
                    Case::new(
                        format!("{name}{variant}_{way}"),
                        inputs.clone(),
                        move |x| op(&x[0], &x[1], reduction),
                        move |x| reduced(r::zip(f)(x), reduction),
                    )
                    .tolerance(2e-6, 5e-6),
                );
            }
        }
        let none = [scores(&[0, 3]), target(&[0, 3])];
        cases.push(Case::new(
            format!("{name}empty"),
            none,
            move |x| op(&x[0], &x[1], Reduction::Sum),
            |_| r::scalar(0.0),
        ));
    }
    let inputs = [
        Input::within(&[4, 3], -9.0, 9.0),
        Input::within(&[4, 3], 0.0, 1.0),
        Input::within(&[4, 1], 0.5, 2.0),
        Input::within(&[3], 0.5, 4.0),
    ];
    cases.push(Case::new(
        "binary_cross_entropy_with_logits/weights",
        inputs,
        |x| {
            let (weight, pos_weight) = (Some(x[2].clone()), Some(x[3].clone()));
            binary_cross_entropy_with_logits(
                &x[0],
                &x[1],
                &BceOptions { weight, pos_weight, ..Default::default() },
            )
        },
        |x| {
            let x = r::broadcast(x);
            let each = ArrayD::from_shape_fn(x[0].raw_dim(), |at| {
                let (x, t, weight, positive) = (x[0][&at], x[1][&at], x[2][&at], x[3][&at]);
                weight * (positive * t * (-x).exp().ln_1p() + (1.0 - t) * x.exp().ln_1p())
            });
            reduced(each, Reduction::Mean)
        },
    ));
}

/// Losses of labels and of class probabilities.
fn classes(cases: &mut Vec<Case>) {
    /// The loss and the weight of each label.
    fn hard(log_p: &Array, labels: &Array, weight: &Array, ignore: f64, smoothing: f64) -> [Array; 2] {
        let axis = if log_p.ndim() == 1 { 0 } else { 1 };
        let classes = weight.len();
        let at = |place: &IxDyn, class: usize| {
            let mut place = place.slice().to_vec();
            place.insert(axis, class);
            log_p[IxDyn(&place)] * weight[[class]]
        };
        let weights = labels.mapv(|label| if label == ignore { 0.0 } else { weight[[label as usize]] });
        let losses = ArrayD::from_shape_fn(labels.raw_dim(), |place| {
            if labels[&place] == ignore {
                return 0.0;
            }
            let all: f64 = (0..classes).map(|class| at(&place, class)).sum();
            -(1.0 - smoothing) * at(&place, labels[&place] as usize) - smoothing / classes as f64 * all
        });
        [losses, weights]
    }
    fn mean([losses, weights]: [Array; 2], reduction: Reduction) -> Array {
        if reduction == Reduction::Mean {
            r::scalar(losses.sum() / weights.sum())
        } else {
            reduced(losses, reduction)
        }
    }
    for (name, shape, labels) in [
        ("batch", vec![6, 5], vec![6]),
        ("images", vec![2, 4, 3, 2], vec![2, 3, 2]),
        ("sample", vec![5], vec![]),
        ("one", vec![1, 1], vec![1]),
        ("many", vec![3, 1000], vec![3]),
    ] {
        let axis = usize::from(shape.len() > 1);
        let classes = shape[axis];
        for (way, reduction) in REDUCTIONS {
            let inputs = [
                Input::within(&shape, -4.0, 4.0),
                Input::ints(&labels, 0, classes as i32),
                Input::within(&[classes], 0.5, 2.0),
            ];
            // With a label that is ignored where there are several classes.
            let ignore = if classes > 1 && !labels.is_empty() { 1 } else { -100 };
            for smoothing in [0.0, 0.2] {
                let op = move |x: &[Tensor]| {
                    let options = CrossEntropyOptions {
                        weight: Some(x[2].clone()),
                        ignore_index: Some(ignore),
                        label_smoothing: smoothing,
                        reduction,
                    };
                    cross_entropy_with(&x[0], &x[1], &options)
                };
                let reference = move |x: &[Array]| {
                    let log_p = r::softmax(&x[0], axis, true);
                    mean(hard(&log_p, &x[1], &x[2], f64::from(ignore), smoothing), reduction)
                };
                let name = format!("cross_entropy_with/{name}_{way}_{smoothing}");
                cases.push(Case::new(name, inputs.clone(), op, reference).tolerance(5e-6, 5e-6));
            }
            let op = move |x: &[Tensor]| {
                let options =
                    NllOptions { weight: Some(x[2].clone()), ignore_index: Some(ignore), reduction };
                nll_loss(&x[0], &x[1], &options)
            };
            let reference =
                move |x: &[Array]| mean(hard(&x[0], &x[1], &x[2], f64::from(ignore), 0.0), reduction);
            cases.push(
                Case::new(format!("nll_loss/{name}_{way}"), inputs, op, reference).tolerance(5e-6, 5e-6),
            );
        }
        let soft = [Input::within(&shape, -4.0, 4.0), Input::within(&shape, 0.0, 1.0)];
        cases.push(
            Case::new(
                format!("cross_entropy_with/{name}_soft"),
                soft,
                |x| {
                    let options = CrossEntropyOptions { label_smoothing: 0.1, ..Default::default() };
                    cross_entropy_with(&x[0], &x[1], &options)
                },
                move |x| {
                    let target = x[1].mapv(|t| 0.9 * t + 0.1 / classes as f64);
                    let losses = -(r::softmax(&x[0], axis, true) * target).sum_axis(Axis(axis));
                    reduced(losses, Reduction::Mean)
                },
            )
            .tolerance(5e-6, 5e-6),
        );
    }
    for (name, logits) in [
        ("odd", Input::floats(&[7, 5])),
        ("view", Input::floats(&[5, 7]).permute(&[1, 0])),
        ("far", Input::within(&[7, 5], -900.0, 900.0)),
    ] {
        cases.push(
            Case::new(
                format!("cross_entropy/{name}"),
                [logits, Input::ints(&[7], 0, 5)],
                |x| cross_entropy(&x[0], &x[1]),
                |x| {
                    let log_p = r::softmax(&x[0], 1, true);
                    mean(hard(&log_p, &x[1], &ArrayD::ones(IxDyn(&[5])), -100.0, 0.0), Reduction::Mean)
                },
            )
            .tolerance(5e-6, 5e-6),
        );
    }
}

/// Losses of vectors.
fn embeddings(cases: &mut Vec<Case>) {
    for (way, reduction) in REDUCTIONS {
        let signs = Input::within(&[6], -1.0, 1.0).mapped(|v| if v < 0.0 { -1.0 } else { 1.0 }).fixed();
        let vectors = |shape: &[usize]| Input::floats(shape);
        cases.push(
            Case::new(
                format!("cosine_embedding_loss/{way}"),
                [vectors(&[6, 5]), vectors(&[6, 5]).reseeded(), signs],
                move |x| cosine_embedding_loss(&x[0], &x[1], &x[2], -0.25, reduction),
                move |x| {
                    let rows = |x: &Array| r::reduce(x, &[1], false, &|row| row.iter().sum());
                    let length = |x: &Array| rows(&(x * x));
                    let cosine = rows(&(&x[0] * &x[1])) / (length(&x[0]) * length(&x[1])).mapv(f64::sqrt);
                    let loss = r::zip(
                        |cosine, sign| if sign == 1.0 { 1.0 - cosine } else { (cosine + 0.25f64).max(0.0) },
                    );
                    reduced(loss(&[cosine, x[2].clone()]), reduction)
                },
            )
            .tolerance(5e-6, 5e-6),
        );
        for (name, p, swap) in [("euclid", 2.0, false), ("cubic", 3.0, false), ("swap", 2.0, true)] {
            let options = TripletOptions { margin: 1.5, p, swap, reduction, ..Default::default() };
            cases.push(
                Case::new(
                    format!("triplet_margin_loss/{name}_{way}"),
                    [vectors(&[5, 4]), vectors(&[5, 4]).reseeded(), Input::within(&[5, 4], -1.5, 2.5)],
                    move |x| triplet_margin_loss(&x[0], &x[1], &x[2], options),
                    move |x| {
                        let distance = |a: &Array, b: &Array| {
                            let powers = (a - b).mapv(|d| (d + 1e-6).abs().powf(p));
                            r::reduce(&powers, &[1], false, &|row| row.iter().sum::<f64>().powf(1.0 / p))
                        };
                        let mut apart = distance(&x[0], &x[2]);
                        if swap {
                            apart = r::zip(f64::min)(&[apart, distance(&x[1], &x[2])]);
                        }
                        let losses = (distance(&x[0], &x[1]) - apart).mapv(|d| (d + 1.5f64).max(0.0));
                        reduced(losses, reduction)
                    },
                )
                .tolerance(5e-6, 5e-6),
            );
        }
    }
}

/// Connectionist temporal classification against every alignment.
fn alignments(cases: &mut Vec<Case>) {
    for (name, labels, inputs, targets) in [
        ("pair", [[1, 2], [2, 1]], [5, 4], [2, 1]),
        ("repeated", [[1, 1], [2, 2]], [5, 5], [2, 2]),
        ("empty", [[1, 2], [0, 0]], [3, 5], [2, 0]),
    ] {
        for (way, reduction) in REDUCTIONS {
            let op = move |x: &[Tensor]| {
                let log_p = x[0].log_softmax(-1)?;
                let options = CtcOptions { reduction, ..Default::default() };
                let labels = Tensor::from_slice(labels.as_flattened(), [2, 2], x[0].engine())?;
                ctc_loss(&log_p, &labels, &inputs, &targets, options)
            };
            let reference = move |x: &[Array]| {
                let log_p = r::softmax(&x[0], 2, true);
                let losses: Vec<f64> = (0..2)
                    .map(|n| {
                        let wanted = &labels[n][..targets[n]];
                        let loss = -likelihood(&log_p, n, inputs[n], wanted).ln();
                        if reduction == Reduction::Mean { loss / targets[n].max(1) as f64 } else { loss }
                    })
                    .collect();
                reduced(ArrayD::from_shape_vec(IxDyn(&[2]), losses).expect("two losses"), reduction)
            };
            let case =
                Case::new(format!("ctc_loss/{name}_{way}"), [Input::floats(&[5, 2, 3])], op, reference);
            cases.push(case.tolerance(5e-6, 5e-6));
        }
    }
}

/// The likelihood of labels under log-probabilities `[T, N, 3]` of a sample, class 0 being the blank.
fn likelihood(log_p: &Array, sample: usize, steps: usize, wanted: &[i32]) -> f64 {
    let path = |code: usize| (0..steps).map(move |step| code / 3usize.pow(step as u32) % 3);
    let matches = |&code: &usize| {
        let mut labels: Vec<i32> = path(code).map(|label| label as i32).collect();
        labels.dedup();
        labels.retain(|&label| label != 0);
        labels == wanted
    };
    let probability =
        |code| path(code).enumerate().map(|(step, label)| log_p[[step, sample, label]]).sum::<f64>().exp();
    (0..3usize.pow(steps as u32)).filter(matches).map(probability).sum()
}
