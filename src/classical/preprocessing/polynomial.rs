//! Products of columns.

use super::columns::{each_row, finite};
use crate::Result;
use crate::classical::data::{Matrix, Training, column_name};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// Fitted polynomial features.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolynomialFeatures {
    n_features: usize,
    /// The columns that each output multiplies.
    terms: Vec<Vec<usize>>,
}

params! {
    /// Parameters of [`PolynomialFeatures`]: all products of up to `degree` columns.
    PolynomialFeaturesParams for PolynomialFeatures = "PolynomialFeatures" {
        /// The largest number of factors.
        degree: usize = 2,
        /// Whether a product takes each column at most once.
        interaction_only: bool = false,
        /// Whether to begin with a column of ones.
        include_bias: bool = true,
    }
}

/// More output columns than this are a mistake.
const MAX_TERMS: usize = 1_000_000;

impl FitTransformer for PolynomialFeaturesParams {
    type Model = PolynomialFeatures;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<PolynomialFeatures> {
        let columns = data.x.columns();
        let mut terms = vec![Vec::new()];
        let mut of_degree = vec![Vec::<usize>::new()];
        for _ in 0..self.degree {
            let mut longer = Vec::new();
            for term in &of_degree {
                let from = term.last().map_or(0, |&last| last + usize::from(self.interaction_only));
                longer.extend((from..columns).map(|column| [term.as_slice(), &[column]].concat()));
                if terms.len() + longer.len() > MAX_TERMS {
                    return Err(Self::error(format!(
                        "degree {} makes over {MAX_TERMS} columns",
                        self.degree
                    )));
                }
            }
            terms.extend(longer.iter().cloned());
            of_degree = longer;
        }
        if !self.include_bias {
            terms.remove(0);
        }
        if terms.is_empty() {
            return Err(Self::error("degree is 0 without include_bias: there is nothing to give"));
        }
        Ok(PolynomialFeatures { n_features: columns, terms })
    }
}

impl PolynomialFeatures {
    /// The columns that each output column multiplies; none for the column of ones.
    pub fn terms(&self) -> &[Vec<usize>] {
        &self.terms
    }
}

impl Transformer for PolynomialFeatures {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let x = x.dense();
        let mut out = Array2::zeros((x.nrows(), self.terms.len()));
        each_row(&mut out, |row, mut out| {
            let row = x.row(row);
            for (value, term) in out.iter_mut().zip(&self.terms) {
                *value = term.iter().map(|&column| row[column]).product();
            }
        });
        finite("PolynomialFeatures", out)
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        let power = |run: &[usize]| match run {
            [column] => column_name(input, *column),
            run => format!("{}^{}", column_name(input, run[0]), run.len()),
        };
        let name = |term: &Vec<usize>| {
            let factors: Vec<String> = term.chunk_by(|a, b| a == b).map(power).collect();
            if factors.is_empty() { "1".to_owned() } else { factors.join(" ") }
        };
        self.terms.iter().map(name).collect()
    }
}

model!(
    PolynomialFeatures = "PolynomialFeatures",
    fn is_consistent(&self) -> bool {
        self.terms.iter().flatten().all(|&column| column < self.n_features)
    }
);
