//! More samples of rare classes.

use super::data::{Accepts, Classes, Features, Labels, checked_features};
use super::random;
use crate::classical::order;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView1, Axis, concatenate};

/// Synthetic minority oversampling (Chawla et al., 2002): new samples of each rarer class, until it has as
/// many as the most frequent, lie between a sample and one of its nearest of the same class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Smote {
    /// How many nearest samples a new one may lie towards.
    pub k_neighbors: usize,
    /// Seed of the choice.
    pub seed: u64,
}

impl Default for Smote {
    fn default() -> Smote {
        Smote { k_neighbors: 5, seed: 0 }
    }
}

fn squared(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

impl Smote {
    /// The samples and labels with the new ones after them.
    ///
    /// # Errors
    /// Features that are not finite, labels of another number, fewer than two classes, `k_neighbors` of 0,
    /// or a class with a single sample, between which and others nothing lies.
    pub fn fit_resample(&self, x: &dyn Features, y: &dyn Labels) -> Result<(Array2<f64>, Vec<i64>)> {
        let refuse = |message: String| Err(Error::op("SMOTE", message));
        let matrix = checked_features("SMOTE", Accepts::PLAIN, x)?;
        let (x, mut labels) = (matrix.dense(), y.labels());
        let classes = Classes::new(&labels);
        if labels.len() != x.nrows() || classes.values.len() < 2 || self.k_neighbors == 0 {
            let (rows, given, found) = (x.nrows(), labels.len(), classes.values.len());
            return refuse(format!(
                "{rows} rows, {given} labels of {found} classes, {} neighbours",
                self.k_neighbors
            ));
        }
        let counts = classes.counts(None);
        let most = counts.iter().copied().fold(0.0, f64::max) as usize;
        let mut made = Vec::new();
        for (class, &label) in classes.values.iter().enumerate() {
            let own: Vec<usize> = (0..labels.len()).filter(|&row| classes.codes[row] == class).collect();
            if own.len() == most {
                continue;
            }
            if own.len() == 1 {
                return refuse(format!("class {label} has a single sample; at least 2 are needed"));
            }
            let mut rng = random::stream(self.seed, class);
            for _ in own.len()..most {
                let from = own[rng.usize(..own.len())];
                let others: Vec<usize> = own.iter().copied().filter(|&row| row != from).collect();
                let distances: Vec<f64> =
                    others.iter().map(|&row| squared(x.row(row), x.row(from))).collect();
                let mut nearest: Vec<usize> = (0..others.len()).collect();
                order::ascending(&mut nearest, &distances);
                let towards = others[nearest[rng.usize(..others.len().min(self.k_neighbors))]];
                let share = rng.f64();
                made.extend(x.row(from).iter().zip(x.row(towards)).map(|(a, b)| a + share * (b - a)));
                labels.push(label);
            }
        }
        let rows = made.len() / x.ncols();
        // So many whole rows were made, of the columns of `x`.
        let made = Array2::from_shape_vec((rows, x.ncols()), made).unwrap_or_default();
        let all = concatenate(Axis(0), &[x.view(), made.view()]);
        Ok((all.map_err(|error| Error::op("SMOTE", error.to_string()))?, labels))
    }
}
