//! Dropout, of elements and of whole branches.

use super::{Module, Params};
use crate::{Error, Result, Tensor};
use std::borrow::Borrow;

/// In training, sets each element to 0 with this probability and scales the others so that the
/// mean stays (Srivastava et al. 2014); passes its input on otherwise.
#[derive(Clone, Debug)]
pub struct Dropout {
    params: Params,
    probability: f64,
}

impl Dropout {
    /// A layer that drops with `probability`. An error unless it is in 0..=1.
    pub fn new(params: impl Borrow<Params>, probability: f64) -> Result<Dropout> {
        if !(0.0..=1.0).contains(&probability) {
            return Err(Error::op("Dropout", format!("the probability {probability} is not in 0..=1")));
        }
        Ok(Dropout { params: params.borrow().clone(), probability })
    }
}

impl Module for Dropout {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !self.params.is_training() || self.probability == 0.0 {
            return Ok(x.clone());
        }
        x.dropout(self.probability, self.params.next_seed())
    }
}

/// In training, sets the whole of a sample to 0 with this probability and scales the others so that
/// the mean stays: on a residual branch, stochastic depth (Huang et al. 2016, arXiv:1603.09382;
/// torchvision's `StochasticDepth` in mode `row`). Passes its input `[N, ...]` on otherwise.
#[derive(Clone, Debug)]
pub struct StochasticDepth(Dropout);

impl StochasticDepth {
    /// A layer that drops with `probability`. An error unless it is in 0..=1.
    pub fn new(params: impl Borrow<Params>, probability: f64) -> Result<StochasticDepth> {
        Ok(StochasticDepth(Dropout::new(params, probability)?))
    }
}

impl Module for StochasticDepth {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut dims = vec![1; x.rank()];
        let Some(samples) = dims.first_mut() else {
            return Err(Error::op("StochasticDepth", "expected [N, ...], got a scalar"));
        };
        *samples = x.dims()[0];
        if !self.0.params.is_training() || self.0.probability == 0.0 {
            return Ok(x.clone());
        }
        // Each sample's factor: 0, or what keeps the mean.
        x.mul(&self.0.forward(&Tensor::ones(dims, x.engine())?)?)
    }
}
