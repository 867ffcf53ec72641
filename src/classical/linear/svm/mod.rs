//! Linear support vector machines, with liblinear's objectives: a constant column takes the intercept's
//! place, and its coefficient shares the penalty.

mod dual;
mod newton;
mod svc;
mod svr;

pub use svc::{LinearSVC, LinearSVCLoss, LinearSVCParams};
pub use svr::{LinearSVR, LinearSVRLoss, LinearSVRParams};

use super::rows::Rows;
use crate::Result;
use crate::classical::data::Accepts;
use crate::classical::estimator::Parameters;

/// Sparse matrices are used as they are.
const ACCEPTS: Accepts = Accepts { sparse: true, ..Accepts::PLAIN };

/// Samples with a constant column appended: a weight vector has one element more than there are features.
#[derive(Clone, Copy)]
struct Samples<'a> {
    rows: Rows<'a>,
    count: usize,
    features: usize,
    /// The value of the constant column; 0 if there is no intercept.
    constant: f64,
}

impl Samples<'_> {
    fn dot(&self, row: usize, w: &[f64]) -> f64 {
        self.rows.get(row).dot(w) + self.constant * w[self.features]
    }

    fn add_to(&self, row: usize, w: &mut [f64], scale: f64) {
        self.rows.get(row).add_to(w, scale);
        w[self.features] += scale * self.constant;
    }

    fn squared_norm(&self, row: usize) -> f64 {
        self.rows.get(row).squared_norm() + self.constant * self.constant
    }
}

/// Refuses a constant column that could carry no intercept.
fn check_scaling<P: Parameters>(intercept_scaling: f64) -> Result<()> {
    if intercept_scaling > 0.0 && intercept_scaling.is_finite() {
        return Ok(());
    }
    Err(P::error(format!("intercept_scaling is {intercept_scaling}; it must be above 0")))
}
