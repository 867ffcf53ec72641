//! Random numbers.

use crate::proof::case::{Array, Case, Input};
use crate::{DType, Tensor};
use ndarray::{ArrayD, IxDyn};

/// Mean and variance of many draws; the generator itself has known answers elsewhere.
pub fn random(cases: &mut Vec<Case>) {
    let ones = || [Input::given(&[1.0; 1000])];
    let moments = |x: &Tensor| -> crate::Result<Tensor> {
        let mean = x.mean(.., false)?;
        let spread = x.sub(&mean)?.square()?.mean(.., false)?;
        Tensor::stack(&[&mean, &spread], 0)
    };
    let close = |mean: f64, spread: f64| {
        move |_: &[Array]| ArrayD::from_shape_vec(IxDyn(&[2]), vec![mean, spread]).unwrap()
    };
    let draws = 200_000;
    cases.push(
        Case::new(
            "rand/moments",
            ones(),
            move |x| moments(&Tensor::rand(draws, 5, x[0].engine())?),
            close(0.5, 1.0 / 12.0),
        )
        .value_only()
        .tolerance(0.0, 4e-3),
    );
    cases.push(
        Case::new(
            "randn/moments",
            ones(),
            move |x| moments(&Tensor::randn(draws, 5, x[0].engine())?),
            close(0.0, 1.0),
        )
        .value_only()
        .tolerance(0.0, 1.5e-2),
    );
    cases.push(
        Case::new(
            "bernoulli/moments",
            ones(),
            move |x| moments(&Tensor::bernoulli(draws, 0.3, 9, x[0].engine())?.cast(DType::F32)?),
            close(0.3, 0.21),
        )
        .value_only()
        .tolerance(0.0, 6e-3),
    );
    let kept = |x: &[Tensor]| x[0].dropout(0.25, 3)?.gt(0.0)?.cast(DType::F32)?.mean(.., false);
    let input = [Input::within(&[100_000], 0.5, 1.0)];
    cases.push(
        Case::new("dropout/kept", input, kept, |_| ArrayD::from_elem(IxDyn(&[]), 0.75))
            .value_only()
            .tolerance(0.0, 6e-3),
    );
    // A permutation sorted is the numbers themselves.
    for n in [0usize, 1, 1000] {
        let op = move |x: &[Tensor]| {
            let order = Tensor::randperm(n, 4, x[0].engine())?;
            Ok(order.sort(0, false)?.0)
        };
        let numbers = move |_: &[Array]| ArrayD::from_shape_fn(IxDyn(&[n]), |at| at[0] as f64);
        cases.push(Case::new(format!("randperm/{n}"), ones(), op, numbers).value_only().tolerance(0.0, 0.0));
    }
    // How often each class is drawn, of 40,000 draws; a standard deviation is at most 0.0025.
    let frequencies = |x: &[Tensor]| {
        let drawn = x[0].multinomial(40_000, true, 6)?;
        drawn.one_hot(4)?.cast(DType::F32)?.mean(0, false)
    };
    let weights = [Input::given(&[1.0, 0.0, 5.0, 2.0])];
    let shares = |x: &[Array]| &x[0] / x[0].sum();
    cases.push(
        Case::new("multinomial/frequencies", weights, frequencies, shares)
            .value_only()
            .tolerance(0.0, 0.0125),
    );
    // Without replacement every class but that of weight 0 is drawn once.
    let all = |x: &[Tensor]| {
        let drawn = x[0].broadcast_to([50, 4])?.multinomial(3, false, 8)?;
        drawn.one_hot(4)?.sum(1, false)
    };
    let once = |_: &[Array]| ArrayD::from_shape_fn(IxDyn(&[50, 4]), |at| f64::from(u8::from(at[1] != 1)));
    let weights = [Input::given(&[1.0, 0.0, 5.0, 2.0])];
    cases.push(Case::new("multinomial/once", weights, all, once).value_only().tolerance(0.0, 0.0));
}
