//! Numbers put into bins.

use super::columns::{present, quantile_sorted, same_names, sorted};
use crate::Result;
use crate::classical::data::{Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// Where the edges of the bins lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinStrategy {
    /// Equally far apart.
    Uniform,
    /// With equally many values between them.
    #[default]
    Quantile,
    /// Halfway between the centres of one-dimensional k-means.
    Kmeans,
}

/// What a bin becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinEncoding {
    /// A column of 0 and 1 for each bin.
    #[default]
    Onehot,
    /// The number of the bin, from 0.
    Ordinal,
}

/// A fitted discretizer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KBinsDiscretizer {
    n_features: usize,
    bin_edges: Vec<Vec<f64>>,
    encode: BinEncoding,
}

params! {
    /// Parameters of [`KBinsDiscretizer`]: each column cut into bins.
    KBinsDiscretizerParams for KBinsDiscretizer = "KBinsDiscretizer" {
        /// How many bins a column is cut into; repeated edges make fewer.
        n_bins: usize = 5,
        /// What a bin becomes.
        encode: BinEncoding = BinEncoding::Onehot,
        /// Where the edges lie.
        strategy: BinStrategy = BinStrategy::Quantile,
    }

    fn check(&self) -> Result<()> {
        if self.n_bins < 2 {
            return Err(Self::error(format!("n_bins is {}; it must be 2 or more", self.n_bins)));
        }
        Ok(())
    }
}

impl FitTransformer for KBinsDiscretizerParams {
    type Model = KBinsDiscretizer;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<KBinsDiscretizer> {
        let columns = present(Self::NAME, data)?;
        let bin_edges: Vec<Vec<f64>> = columns.iter().map(|values| self.edges(&sorted(values))).collect();
        if let Some(column) = bin_edges.iter().position(|edges| edges.iter().any(|edge| !edge.is_finite())) {
            return Err(Self::error(format!("the values of column {column} are too large")));
        }
        Ok(KBinsDiscretizer { n_features: bin_edges.len(), bin_edges, encode: self.encode })
    }
}

impl KBinsDiscretizerParams {
    fn edges(&self, sorted: &[f64]) -> Vec<f64> {
        let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
        let bins = self.n_bins;
        let uniform = |at: usize| low + (high - low) * at as f64 / bins as f64;
        let mut edges: Vec<f64> = match self.strategy {
            BinStrategy::Uniform => (0..=bins).map(uniform).collect(),
            BinStrategy::Quantile => {
                (0..=bins).map(|at| quantile_sorted(sorted, at as f64 / bins as f64)).collect()
            }
            BinStrategy::Kmeans => {
                let start = (0..bins).map(|at| (uniform(at) + uniform(at + 1)) / 2.0).collect();
                let centers = centers(sorted, start);
                let halves = centers.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
                std::iter::once(low).chain(halves).chain([high]).collect()
            }
        };
        // Edges that nearly coincide bound an empty bin.
        edges.dedup_by(|next, before| *next - *before <= 1e-8);
        // One bin for everything.
        if edges.len() < 2 { vec![f64::MIN, f64::MAX] } else { edges }
    }
}

/// One-dimensional k-means of ascending values (Lloyd, 1982), from these ascending centres.
fn centers(sorted: &[f64], mut centers: Vec<f64>) -> Vec<f64> {
    for _ in 0..300 {
        let mut start = 0;
        let mut next = Vec::with_capacity(centers.len());
        for (at, &center) in centers.iter().enumerate() {
            let end = centers.get(at + 1).map_or(sorted.len(), |after| {
                sorted.partition_point(|&value| value <= (center + after) / 2.0)
            });
            let own = &sorted[start..end.max(start)];
            next.push(if own.is_empty() { center } else { own.iter().sum::<f64>() / own.len() as f64 });
            start = end.max(start);
        }
        if next == centers {
            break;
        }
        centers = next;
    }
    centers
}

impl KBinsDiscretizer {
    /// The edges of each column's bins, ascending, one more than bins.
    pub fn bin_edges(&self) -> &[Vec<f64>] {
        &self.bin_edges
    }

    fn widths(&self) -> impl Iterator<Item = usize> {
        self.bin_edges.iter().map(|edges| edges.len() - 1)
    }
}

impl Transformer for KBinsDiscretizer {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let x = x.dense();
        let starts: Vec<usize> =
            self.widths().scan(0, |sum, width| Some(std::mem::replace(sum, *sum + width))).collect();
        let bin = |column: usize, value: f64| {
            let edges = &self.bin_edges[column];
            edges[1..edges.len() - 1].partition_point(|&edge| edge <= value)
        };
        let out = match self.encode {
            BinEncoding::Ordinal => {
                Array2::from_shape_fn(x.dim(), |(row, column)| bin(column, x[[row, column]]) as f64)
            }
            BinEncoding::Onehot => {
                let mut out = Array2::zeros((x.nrows(), self.widths().sum()));
                for ((row, column), &value) in x.indexed_iter() {
                    out[[row, starts[column] + bin(column, value)]] = 1.0;
                }
                out
            }
        };
        Ok(Matrix::Dense(out.into()))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        match self.encode {
            BinEncoding::Ordinal => same_names(input),
            BinEncoding::Onehot => {
                let of_column = |(name, width): (&String, usize)| {
                    (0..width).map(|bin| format!("{name}_{bin}")).collect::<Vec<_>>()
                };
                input.iter().zip(self.widths()).flat_map(of_column).collect()
            }
        }
    }
}

model!(
    KBinsDiscretizer = "KBinsDiscretizer",
    fn is_consistent(&self) -> bool {
        self.bin_edges.len() == self.n_features && self.bin_edges.iter().all(|edges| edges.len() >= 2)
    }
);
