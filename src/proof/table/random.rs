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
}
