//! Dropout.

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
