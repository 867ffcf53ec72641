//! Decisions for each pair of classes, which support vector classifiers come down to.

use super::hand_out;
use super::kernel::KernelFunction;
use super::platt::{Sigmoid, couple};
use super::solver::{Effort, Problem, Solution};
use crate::classical::class_weight::ClassWeight;
use crate::classical::data::{Classes, Matrix, Training};
use crate::classical::parallel;
use crate::classical::random;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

/// What the margin is traded against.
#[derive(Debug, Clone, Copy)]
pub(super) enum Softness {
    /// What a row on the wrong side costs.
    Cost(f64),
    /// The share of rows that may lie within the margin.
    Share(f64),
}

/// How pairs are fitted.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pub(super) name: &'static str,
    pub(super) softness: Softness,
    pub(super) kernel: KernelFunction,
    pub(super) effort: Effort,
    pub(super) class_weight: &'a ClassWeight,
    pub(super) probability: bool,
    pub(super) break_ties: bool,
    pub(super) seed: u64,
}

/// A decision for each pair of classes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OneVsOne {
    pub(super) classes: Vec<i64>,
    kernel: KernelFunction,
    /// The rows' numbers, class by class, and how many there are of each class.
    pub(super) support: Vec<usize>,
    pub(super) n_support: Vec<usize>,
    pub(super) vectors: Array2<f64>,
    /// For each vector its coefficient against each other class: `[vectors, classes - 1]`.
    coefficients: Array2<f64>,
    /// For each pair what its sum is measured against, the first class above it.
    rho: Vec<f64>,
    /// For each pair the probability of its first class.
    sigmoids: Option<Vec<Sigmoid>>,
    pub(super) n_iter: Vec<usize>,
    break_ties: bool,
}

/// Parts that the rows are divided into for probabilities.
const FOLDS: usize = 5;

/// The pairs of classes, in the order of their decisions.
fn pairs(classes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..classes).flat_map(move |first| (first + 1..classes).map(move |second| (first, second)))
}

/// Two classes to be told apart: row numbers, whether each is of the first class, and its weight.
struct Pair {
    rows: Vec<usize>,
    first: Vec<bool>,
    weight: Vec<f64>,
}

impl Pair {
    fn solve(&self, settings: &Settings<'_>, x: ArrayView2<'_, f64>) -> Result<Solution> {
        let of_side = |side: bool, value: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let pairs = self.first.iter().zip(&self.weight);
            pairs.map(|(&first, &weight)| if first == side { value(weight) } else { 0.0 }).collect()
        };
        let kernel = &settings.kernel;
        let rows = kernel.prepare(x.select(Axis(0), &self.rows).view());
        match settings.softness {
            Softness::Cost(cost) => Problem {
                kernel,
                rows,
                linear: self.first.iter().map(|&first| if first { -1.0 } else { 1.0 }).collect(),
                lower: of_side(false, &|weight| -cost * weight),
                upper: of_side(true, &|weight| cost * weight),
                start: vec![0.0; self.rows.len()],
                second: Vec::new(),
            }
            .solve(settings.name, settings.effort),
            Softness::Share(nu) => {
                let (lower, upper) = (of_side(false, &|weight| -weight), of_side(true, &|weight| weight));
                // Each class is given half of what the share of the weights comes to.
                let half = nu * self.weight.iter().sum::<f64>() / 2.0;
                let of_first = hand_out(half, upper.iter().copied());
                let of_second = hand_out(half, lower.iter().map(|lower| -lower));
                if [&of_first, &of_second].iter().any(|given| given.iter().sum::<f64>() < half * (1.0 - 1e-9))
                {
                    let message = format!("nu is {nu}, more than the classes' numbers of rows allow");
                    return Err(Error::op(settings.name, message));
                }
                let solution = Problem {
                    kernel,
                    rows,
                    linear: vec![0.0; self.rows.len()],
                    lower,
                    upper,
                    start: of_first.iter().zip(&of_second).map(|(first, second)| first - second).collect(),
                    second: self.first.iter().map(|first| !first).collect(),
                }
                .solve(settings.name, settings.effort)?;
                solution.scaled(settings.name)
            }
        }
    }

    fn select(&self, places: &[usize]) -> Pair {
        Pair {
            rows: places.iter().map(|&place| self.rows[place]).collect(),
            first: places.iter().map(|&place| self.first[place]).collect(),
            weight: places.iter().map(|&place| self.weight[place]).collect(),
        }
    }

    /// A sigmoid of the decisions that models fitted to the other rows make.
    fn sigmoid(&self, settings: &Settings<'_>, x: ArrayView2<'_, f64>, part: usize) -> Result<Sigmoid> {
        let kernel = &settings.kernel;
        let order = random::permutation(&mut random::stream(settings.seed, part), self.rows.len());
        let mut decisions = vec![0.0; self.rows.len()];
        for fold in 0..FOLDS {
            let (out, kept): (Vec<_>, Vec<_>) =
                order.iter().enumerate().partition(|(at, _)| at % FOLDS == fold);
            let places = |chosen: Vec<(usize, &usize)>| {
                chosen.into_iter().map(|(_, &place)| place).collect::<Vec<_>>()
            };
            let (out, kept) = (places(out), self.select(&places(kept)));
            let one_sided = kept.first.iter().all(|first| *first == kept.first[0]);
            if kept.first.is_empty() || one_sided {
                let side = kept.first.first().map_or(0.0, |first| if *first { 1.0 } else { -1.0 });
                out.iter().for_each(|&place| decisions[place] = side);
                continue;
            }
            let solution = kept.solve(settings, x)?;
            let rows = |rows: &[usize]| kernel.prepare(x.select(Axis(0), rows).view());
            let asked: Vec<usize> = out.iter().map(|&place| self.rows[place]).collect();
            let weights =
                Array2::from_shape_fn((kept.rows.len(), 1), |(place, _)| solution.coefficients[place]);
            let sums = kernel.product(&rows(&asked), rows(&kept.rows).view(), weights.view());
            out.iter().zip(&sums).for_each(|(&place, sum)| decisions[place] = sum - solution.rho);
        }
        Ok(Sigmoid::fit(&decisions, &self.first))
    }
}

impl OneVsOne {
    /// A machine for each pair of classes.
    ///
    /// # Errors
    /// A class without weight, and what the solver refuses.
    pub(super) fn fit(settings: Settings<'_>, data: &Training<'_, Classes>) -> Result<OneVsOne> {
        let x = data.x.dense();
        let weights = settings.class_weight.apply(settings.name, data)?;
        let weight = |row: usize| weights.as_ref().map_or(1.0, |weights| weights[row]);
        let classes = data.y.values.len();
        let mut members = vec![Vec::new(); classes];
        for (row, &code) in data.y.codes.iter().enumerate().filter(|(row, _)| weight(*row) > 0.0) {
            members[code].push(row);
        }
        if let Some(code) = members.iter().position(Vec::is_empty) {
            let label = data.y.values[code];
            return Err(Error::op(settings.name, format!("every row of class {label} has weight 0")));
        }
        let pairs: Vec<(usize, usize)> = pairs(classes).collect();
        // Each pair evaluates a good part of its kernel at least.
        let work = pairs.iter().map(|&(i, j)| (members[i].len() + members[j].len()).pow(2)).sum();
        let solved = parallel::map(work, pairs.iter().enumerate(), |(part, &(i, j))| {
            let rows: Vec<usize> = members[i].iter().chain(&members[j]).copied().collect();
            let pair = Pair {
                first: (0..rows.len()).map(|place| place < members[i].len()).collect(),
                weight: rows.iter().map(|&row| weight(row)).collect(),
                rows,
            };
            let sigmoid =
                settings.probability.then(|| pair.sigmoid(&settings, x.view(), part)).transpose()?;
            Ok((pair.solve(&settings, x.view())?, sigmoid))
        });
        let solved: Vec<(Solution, Option<Sigmoid>)> = solved.into_iter().collect::<Result<_>>()?;
        // Every row's coefficients against the other classes, of which it is kept if one is not 0.
        let mut coefficients: Vec<Array2<f64>> =
            members.iter().map(|rows| Array2::zeros((rows.len(), classes - 1))).collect();
        for (&(i, j), (solution, _)) in pairs.iter().zip(&solved) {
            let (first, second) = solution.coefficients.split_at(members[i].len());
            coefficients[i].column_mut(j - 1).iter_mut().zip(first).for_each(|(to, from)| *to = *from);
            coefficients[j].column_mut(i).iter_mut().zip(second).for_each(|(to, from)| *to = *from);
        }
        let (mut support, mut n_support, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (rows, coefficients) in members.iter().zip(&coefficients) {
            let used =
                rows.iter().zip(coefficients.rows()).filter(|(_, row)| row.iter().any(|value| *value != 0.0));
            let before = support.len();
            for (&row, coefficients) in used {
                support.push(row);
                kept.extend(coefficients);
            }
            n_support.push(support.len() - before);
        }
        Ok(OneVsOne {
            classes: data.y.values.clone(),
            vectors: x.select(Axis(0), &support),
            coefficients: Array2::from_shape_vec((support.len(), classes - 1), kept)
                .map_err(|error| Error::op(settings.name, error.to_string()))?,
            support,
            n_support,
            rho: solved.iter().map(|(solution, _)| solution.rho).collect(),
            sigmoids: solved.iter().map(|(_, sigmoid)| *sigmoid).collect(),
            n_iter: solved.iter().map(|(solution, _)| solution.iterations).collect(),
            break_ties: settings.break_ties,
            kernel: settings.kernel,
        })
    }

    /// Whether it is a machine for rows of so many columns.
    pub(super) fn fits(&self, columns: usize) -> bool {
        let (classes, vectors) = (self.classes.len(), self.vectors.nrows());
        classes >= 2
            && self.kernel.fits(columns)
            && self.vectors.ncols() == columns
            && self.n_support.len() == classes
            && self.n_support.iter().fold(0_usize, |sum, &count| sum.saturating_add(count)) == vectors
            && self.coefficients.dim() == (vectors, classes - 1)
            && self.rho.len() == pairs(classes).count()
            && self.sigmoids.as_ref().is_none_or(|sigmoids| sigmoids.len() == self.rho.len())
    }

    pub(super) fn dual_coef(&self) -> Array2<f64> {
        self.coefficients.t().mapv(|value| self.side() * value)
    }

    pub(super) fn intercept(&self) -> Vec<f64> {
        self.rho.iter().map(|rho| -self.side() * rho).collect()
    }

    /// Scores of two classes are those of the second, scores of pairs those of the first.
    fn side(&self) -> f64 {
        if self.classes.len() == 2 { -1.0 } else { 1.0 }
    }

    /// The score of each pair, above 0 for the first, or the only pair's second.
    pub(super) fn pairwise(&self, x: &Matrix<'_>) -> Array2<f64> {
        self.decisions(x) * self.side()
    }

    /// The decision of each pair, above 0 for its first class.
    fn decisions(&self, x: &Matrix<'_>) -> Array2<f64> {
        let x = self.kernel.prepare(x.dense().view());
        let vectors = self.kernel.prepare(self.vectors.view());
        let mut start = 0;
        let sums: Vec<Array2<f64>> = self
            .n_support
            .iter()
            .map(|count| {
                let range = start..start + count;
                start = range.end;
                let (vectors, weights) =
                    (vectors.slice(s![range.clone(), ..]), self.coefficients.slice(s![range, ..]));
                self.kernel.product(&x, vectors, weights)
            })
            .collect();
        let mut decisions = Array2::zeros((x.nrows(), self.rho.len()));
        for (((i, j), rho), mut column) in
            pairs(self.classes.len()).zip(&self.rho).zip(decisions.columns_mut())
        {
            let both = sums[i].column(j - 1).into_iter().zip(sums[j].column(i));
            column.iter_mut().zip(both).for_each(|(to, (first, second))| *to = first + second - rho);
        }
        decisions
    }

    /// How many pairs each class wins, and less than half a win for by how much: `[rows, classes]`.
    fn class_scores(&self, decisions: &Array2<f64>) -> Array2<f64> {
        let mut scores = Array2::zeros((decisions.nrows(), self.classes.len()));
        let mut wins = scores.clone();
        for ((i, j), decisions) in pairs(self.classes.len()).zip(decisions.columns()) {
            for (row, &decision) in decisions.iter().enumerate() {
                scores[[row, i]] += decision;
                scores[[row, j]] -= decision;
                wins[[row, if decision < 0.0 { j } else { i }]] += 1.0;
            }
        }
        scores.mapv_inplace(|sum: f64| sum / (3.0 * (sum.abs() + 1.0)));
        scores + wins
    }

    pub(super) fn predict_codes(&self, x: &Matrix<'_>) -> Vec<usize> {
        let decisions = self.decisions(x);
        if self.break_ties && self.classes.len() > 2 {
            let scores = self.class_scores(&decisions);
            return scores.rows().into_iter().map(|row| most(row.iter().copied())).collect();
        }
        let vote = |decisions: ndarray::ArrayView1<'_, f64>| {
            let mut votes = vec![0.0; self.classes.len()];
            for ((i, j), &decision) in pairs(self.classes.len()).zip(decisions) {
                votes[if decision > 0.0 { i } else { j }] += 1.0;
            }
            most(votes.into_iter())
        };
        decisions.rows().into_iter().map(vote).collect()
    }

    pub(super) fn scores(&self, x: &Matrix<'_>) -> Array2<f64> {
        let decisions = self.decisions(x);
        if self.classes.len() == 2 { -decisions } else { self.class_scores(&decisions) }
    }

    pub(super) fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let Some(sigmoids) = &self.sigmoids else { return Ok(None) };
        let mut pairs = self.decisions(x);
        for (mut column, sigmoid) in pairs.columns_mut().into_iter().zip(sigmoids) {
            column.mapv_inplace(|decision| sigmoid.probability(decision));
        }
        let classes = self.classes.len();
        let rows = pairs.rows().into_iter().flat_map(|row| match classes {
            2 => vec![row[0], 1.0 - row[0]],
            _ => couple(classes, row),
        });
        let shape = (pairs.nrows(), classes);
        let all = Array2::from_shape_vec(shape, rows.collect());
        all.map(Some).map_err(|error| Error::op("SVC", error.to_string()))
    }
}

/// The first of the largest.
fn most(values: impl DoubleEndedIterator<Item = f64> + ExactSizeIterator) -> usize {
    values.enumerate().rev().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(place, _)| place)
}

/// A classifier with a field `machines` that it predicts with, and what it tells about them.
macro_rules! one_vs_one {
    ($(#[$doc:meta])* $model:ident = $name:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        pub struct $model {
            n_features: usize,
            machines: $crate::classical::svm::one_vs_one::OneVsOne,
        }

        impl $model {
            /// The numbers of the training rows that are support vectors, class by class.
            pub fn support(&self) -> &[usize] {
                &self.machines.support
            }

            /// How many support vectors each class has.
            pub fn n_support(&self) -> &[usize] {
                &self.machines.n_support
            }

            /// The support vectors, row by row.
            pub fn support_vectors(&self) -> &ndarray::Array2<f64> {
                &self.machines.vectors
            }

            /// The coefficients of the support vectors, `[classes - 1, vectors]`: a vector of class `k` has
            /// one for each other class in their order. For two classes they add up to the score of the
            /// second; for more, those of a pair add up to the score of its first.
            pub fn dual_coef(&self) -> ndarray::Array2<f64> {
                self.machines.dual_coef()
            }

            /// What is added for each pair of classes.
            pub fn intercept(&self) -> Vec<f64> {
                self.machines.intercept()
            }

            /// Steps that the solver took for each pair.
            pub fn n_iter(&self) -> &[usize] {
                &self.machines.n_iter
            }

            /// The score of each pair of classes (0, 1), (0, 2), .., above 0 for the first: `[rows, pairs]`,
            /// as scikit-learn's `decision_function_shape="ovo"`. For two classes it is above 0 for the
            /// second.
            ///
            /// # Errors
            /// As [`Model::input`](crate::classical::Model::input).
            pub fn pairwise_decision_function(
                &self,
                x: &dyn $crate::classical::Features,
            ) -> $crate::Result<ndarray::Array2<f64>> {
                Ok(self.machines.pairwise(&$crate::classical::Model::input(self, x)?))
            }
        }

        impl $crate::classical::Classifier for $model {
            fn classes(&self) -> &[i64] {
                &self.machines.classes
            }

            fn predict_codes(&self, x: &$crate::classical::Matrix<'_>) -> $crate::Result<Vec<usize>> {
                Ok(self.machines.predict_codes(x))
            }

            fn scores(&self, x: &$crate::classical::Matrix<'_>) -> $crate::Result<Option<ndarray::Array2<f64>>> {
                Ok(Some(self.machines.scores(x)))
            }

            fn probabilities(
                &self,
                x: &$crate::classical::Matrix<'_>,
            ) -> $crate::Result<Option<ndarray::Array2<f64>>> {
                self.machines.probabilities(x)
            }
        }

        $crate::classical::params::model!(
            $model = $name,
            fn is_consistent(&self) -> bool {
                self.machines.fits(self.n_features)
            }
        );
    };
}

pub(super) use one_vs_one;
