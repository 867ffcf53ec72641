//! What trees are grown on: classes or targets, made ready once for any number of trees.

use super::absolute::AbsoluteCriterion;
use super::columns::Column;
use super::criterion::{ClassCriterion, Entropy, Gini, Poisson, Squared, SumCriterion};
use super::grow::{Growth, grow};
use super::settings::{ClassificationCriterion, RegressionCriterion};
use super::structure::Tree;
use crate::classical::Classes;
use crate::{Error, Result};
use fastrand::Rng;

/// What is learned, with its criterion.
pub(crate) enum Problem {
    /// Class codes, below `count`.
    Classes { codes: Vec<u32>, count: usize, criterion: ClassificationCriterion },
    /// Targets less `offset`, which their sums are more exact without.
    Targets { targets: Vec<f64>, offset: f64, criterion: RegressionCriterion },
}

impl Problem {
    pub fn classes(classes: &Classes, criterion: ClassificationCriterion) -> Problem {
        let codes = classes.codes.iter().map(|&code| code as u32).collect();
        Problem::Classes { codes, count: classes.values.len(), criterion }
    }

    /// # Errors
    /// Targets whose squares overflow, and with [`RegressionCriterion::Poisson`] targets that are
    /// negative or all 0.
    pub fn targets(name: &'static str, y: &[f64], criterion: RegressionCriterion) -> Result<Problem> {
        let mut offset = 0.0;
        if criterion == RegressionCriterion::Poisson {
            if let Some(row) = y.iter().position(|&target| target < 0.0) {
                let message = format!("y holds {} at row {row}; poisson needs 0 or more", y[row]);
                return Err(Error::op(name, message));
            }
            if y.iter().all(|&target| target == 0.0) {
                return Err(Error::op(name, "every y is 0; poisson needs one above 0"));
            }
        } else {
            offset = y.iter().map(|target| target / y.len() as f64).sum();
        }
        let targets: Vec<f64> = y.iter().map(|target| target - offset).collect();
        let sum: f64 = targets.iter().map(|target| target.abs()).sum();
        if !(sum * sum).is_finite() {
            return Err(Error::op(name, "the squares of y overflow; scale it down"));
        }
        Ok(Problem::Targets { targets, offset, criterion })
    }

    /// A tree grown on the rows of weight above 0.
    pub fn grow(&self, columns: &[Column], weights: &[f64], growth: Growth, rng: &mut Rng) -> Tree {
        match self {
            Problem::Classes { codes, count, criterion: ClassificationCriterion::Gini } => {
                let criterion = ClassCriterion::<Gini>::new(codes, weights, *count);
                grow(columns, weights, criterion, growth, rng)
            }
            Problem::Classes { codes, count, .. } => {
                let criterion = ClassCriterion::<Entropy>::new(codes, weights, *count);
                grow(columns, weights, criterion, growth, rng)
            }
            Problem::Targets { targets, offset, criterion } => {
                let mut tree = match criterion {
                    RegressionCriterion::SquaredError | RegressionCriterion::FriedmanMse => {
                        grow(columns, weights, SumCriterion::<Squared>::new(targets, weights), growth, rng)
                    }
                    RegressionCriterion::Poisson => {
                        grow(columns, weights, SumCriterion::<Poisson>::new(targets, weights), growth, rng)
                    }
                    RegressionCriterion::AbsoluteError => {
                        grow(columns, weights, AbsoluteCriterion::new(targets, weights), growth, rng)
                    }
                };
                tree.map_values(|value| *value += offset);
                tree
            }
        }
    }
}
