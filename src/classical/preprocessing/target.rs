//! Categories replaced by the mean target of their samples.

use super::columns::{MISSING, category, distinct};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::order;
use crate::classical::params::{model, params};
use crate::classical::random;
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// A fitted target encoder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetEncoder {
    n_features: usize,
    /// Ascending; a missing value, if there was one, last.
    categories: Vec<Vec<f64>>,
    /// For each feature, for each target, the number of each category.
    encodings: Vec<Vec<Vec<f64>>>,
    /// The mean of each target, which stands for unseen categories.
    target_mean: Vec<f64>,
    classes: Vec<i64>,
}

params! {
    /// Parameters of [`TargetEncoder`]: each category becomes the mean target of its samples, drawn
    /// towards the mean of all the more, the fewer there are (Micci-Barreca, 2001). More than two classes
    /// give a column for each class.
    ///
    /// `fit_transform_with` encodes each fold by the others, so that no row sees its own target.
    TargetEncoderParams for TargetEncoder = "TargetEncoder" {
        /// How many samples the mean of all counts as; without it, the ratio of the variances within the
        /// category and over all decides.
        smooth: Option<f64> = None,
        /// How many folds `fit_transform_with` makes.
        cv: usize = 5,
        /// Whether rows are put into folds at random.
        shuffle: bool = true,
        /// Seed of the folds.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }

    fn check(&self) -> Result<()> {
        if self.cv < 2 || self.smooth.is_some_and(|smooth| smooth.is_nan() || smooth < 0.0) {
            return Err(Self::error("cv must be 2 or more and smooth 0 or more"));
        }
        Ok(())
    }
}

/// The numbers to average: the target, or whether it is the second class, or each class.
fn targets(y: &Target) -> Result<(Vec<Vec<f64>>, Vec<i64>)> {
    let indicator = |codes: &[usize], class: usize| {
        codes.iter().map(|&code| f64::from(u8::from(code == class))).collect::<Vec<f64>>()
    };
    match y {
        Target::None => Err(TargetEncoderParams::error("it needs a target; use fit_with")),
        Target::Values(values) => Ok((vec![values.clone()], Vec::new())),
        Target::Classes(classes) => match classes.values.len() {
            0 | 1 => Err(TargetEncoderParams::error("the target has one class only; at least 2 are needed")),
            2 => Ok((vec![indicator(&classes.codes, 1)], classes.values.clone())),
            n => Ok(((0..n).map(|class| indicator(&classes.codes, class)).collect(), classes.values.clone())),
        },
    }
}

impl TargetEncoderParams {
    fn learn(
        &self,
        x: ArrayView2<'_, f64>,
        rows: &[usize],
        y: &[Vec<f64>],
        classes: &[i64],
    ) -> TargetEncoder {
        let mean_of = |y: &Vec<f64>| rows.iter().map(|&row| y[row]).sum::<f64>() / rows.len() as f64;
        let target_mean: Vec<f64> = y.iter().map(mean_of).collect();
        let variance_of = |(y, mean): (&Vec<f64>, &f64)| {
            rows.iter().map(|&row| (y[row] - mean).powi(2)).sum::<f64>() / rows.len() as f64
        };
        let variances: Vec<f64> = y.iter().zip(&target_mean).map(variance_of).collect();
        let mut model = TargetEncoder {
            n_features: x.ncols(),
            categories: Vec::new(),
            encodings: Vec::new(),
            target_mean,
            classes: classes.to_vec(),
        };
        for column in x.columns() {
            let values: Vec<f64> =
                rows.iter().map(|&row| column[row]).filter(|value| !value.is_nan()).collect();
            let mut categories = distinct(&values);
            if values.len() < rows.len() {
                categories.push(f64::NAN);
            }
            let codes: Vec<usize> =
                rows.iter().map(|&row| find(&categories, column[row]).unwrap_or_default()).collect();
            let encode = |(at, y): (usize, &Vec<f64>)| {
                let samples = || codes.iter().zip(rows.iter().map(|&row| y[row]));
                let (mut counts, mut means) = (vec![0.0; categories.len()], vec![0.0; categories.len()]);
                for (&code, y) in samples() {
                    counts[code] += 1.0;
                    means[code] += y;
                }
                means.iter_mut().zip(&counts).for_each(|(mean, count)| *mean /= count);
                let mut spreads = vec![0.0; categories.len()];
                for (&code, y) in samples() {
                    spreads[code] += (y - means[code]).powi(2);
                }
                let encoding = |code: usize| {
                    let (count, mean, overall) = (counts[code], means[code], model.target_mean[at]);
                    let share = match self.smooth {
                        Some(smooth) => count / (count + smooth),
                        None => variances[at] * count / (variances[at] * count + spreads[code] / count),
                    };
                    if share.is_nan() { overall } else { share * mean + (1.0 - share) * overall }
                };
                (0..categories.len()).map(encoding).collect()
            };
            let encodings = y.iter().enumerate().map(encode).collect();
            model.encodings.push(encodings);
            model.categories.push(categories);
        }
        model
    }

    /// The fold of each row, each class spread evenly over the folds.
    fn folds(&self, y: &Target, rows: usize) -> Vec<usize> {
        let mut order = if self.shuffle {
            random::permutation(&mut random::stream(self.seed, 0), rows)
        } else {
            (0..rows).collect()
        };
        if let Target::Classes(classes) = y {
            order::grouped(&mut order, &classes.codes);
        }
        let mut folds = vec![0; rows];
        for (place, &row) in order.iter().enumerate() {
            // In turn for classes, in blocks for numbers.
            folds[row] =
                if matches!(y, Target::Classes(_)) { place % self.cv } else { place * self.cv / rows };
        }
        folds
    }
}

impl FitTransformer for TargetEncoderParams {
    type Model = TargetEncoder;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<TargetEncoder> {
        let (y, classes) = targets(&data.y)?;
        let rows: Vec<usize> = (0..data.x.rows()).collect();
        let model = self.learn(data.x.dense().view(), &rows, &y, &classes);
        if model.encodings.iter().flatten().flatten().any(|value| !value.is_finite()) {
            return Err(Self::error("the target's values are too large"));
        }
        Ok(model)
    }

    fn fit_transform_checked(&self, data: &Training<'_, Target>) -> Result<(TargetEncoder, Matrix<'static>)> {
        let model = self.fit_checked(data)?;
        let (y, classes) = targets(&data.y)?;
        let x = data.x.dense();
        if x.nrows() < self.cv {
            return Err(Self::error(format!("{} rows for {} folds", x.nrows(), self.cv)));
        }
        let folds = self.folds(&data.y, x.nrows());
        let mut out = Array2::zeros((x.nrows(), model.width()));
        for fold in 0..self.cv {
            let (test, train): (Vec<usize>, Vec<usize>) = (0..x.nrows()).partition(|&row| folds[row] == fold);
            let part = self.learn(x.view(), &train, &y, &classes);
            for row in test {
                part.encode(x.row(row).iter().copied(), out.row_mut(row).iter_mut());
            }
        }
        Ok((model, Matrix::Dense(out.into())))
    }
}

fn find(categories: &[f64], value: f64) -> Option<usize> {
    if value.is_nan() {
        return categories.last().is_some_and(|last| last.is_nan()).then(|| categories.len() - 1);
    }
    category(categories, value)
}

impl TargetEncoder {
    /// The mean of the target; for more than two classes the share of each.
    pub fn target_mean(&self) -> &[f64] {
        &self.target_mean
    }

    fn width(&self) -> usize {
        self.n_features * self.target_mean.len()
    }

    fn encode<'a>(&self, row: impl Iterator<Item = f64>, out: impl Iterator<Item = &'a mut f64>) {
        let numbers = row.enumerate().flat_map(|(column, value)| {
            let code = find(&self.categories[column], value);
            self.target_mean
                .iter()
                .enumerate()
                .map(move |(target, &mean)| code.map_or(mean, |code| self.encodings[column][target][code]))
        });
        out.zip(numbers).for_each(|(out, number)| *out = number);
    }
}

impl Transformer for TargetEncoder {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let x = x.dense();
        let mut out = Array2::zeros((x.nrows(), self.width()));
        for (row, mut out) in x.rows().into_iter().zip(out.rows_mut()) {
            self.encode(row.iter().copied(), out.iter_mut());
        }
        Ok(Matrix::Dense(out.into()))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        if self.target_mean.len() == 1 {
            return input.to_vec();
        }
        input
            .iter()
            .flat_map(|name| self.classes.iter().map(move |class| format!("{name}_{class}")))
            .collect()
    }
}

model!(
    TargetEncoder = "TargetEncoder",
    fn accepts(&self) -> Accepts {
        MISSING
    },
    fn is_consistent(&self) -> bool {
        let targets = self.target_mean.len();
        let fits = |(categories, encodings): (&Vec<f64>, &Vec<Vec<f64>>)| {
            encodings.len() == targets && encodings.iter().all(|numbers| numbers.len() == categories.len())
        };
        self.categories.len() == self.n_features
            && self.encodings.len() == self.n_features
            && self.categories.iter().zip(&self.encodings).all(fits)
    }
);
