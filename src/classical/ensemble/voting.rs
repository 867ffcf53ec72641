//! Several different estimators on the same data, whose predictions are averaged.

use super::members::{Named, dense_accepts, knows, largest_codes, member_codes, member_probabilities};
use super::{
    ExtraTreesClassifier, ExtraTreesRegressor, HistGradientBoostingClassifier, HistGradientBoostingRegressor,
    RandomForestClassifier, RandomForestRegressor,
};
use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Regressor};
use crate::classical::params::{model, params};
use crate::classical::persist::Boxed;
use crate::classical::registry::{AnyClassifier, AnyRegressor};
use crate::{Error, Result};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// What classifiers vote with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Voting {
    /// The label each predicts.
    #[default]
    Hard,
    /// The probabilities each gives.
    Soft,
}

/// The classifiers that are combined unless others are named.
pub(super) fn default_classifiers() -> Named<AnyClassifier> {
    Named(vec![
        ("random_forest".into(), RandomForestClassifier::params().into()),
        ("extra_trees".into(), ExtraTreesClassifier::params().into()),
        ("hist_gradient_boosting".into(), HistGradientBoostingClassifier::params().into()),
    ])
}

/// The regressors that are combined unless others are named.
pub(super) fn default_regressors() -> Named<AnyRegressor> {
    Named(vec![
        ("random_forest".into(), RandomForestRegressor::params().into()),
        ("extra_trees".into(), ExtraTreesRegressor::params().into()),
        ("hist_gradient_boosting".into(), HistGradientBoostingRegressor::params().into()),
    ])
}

fn check_weights(name: &'static str, weights: Option<&[f64]>, members: usize) -> Result<()> {
    let Some(weights) = weights else { return Ok(()) };
    let right = weights.len() == members
        && weights.iter().all(|weight| *weight >= 0.0 && weight.is_finite())
        && weights.iter().any(|&weight| weight > 0.0);
    if right {
        return Ok(());
    }
    let message = format!("weights are {weights:?}; they must be {members} numbers of 0 or more, not all 0");
    Err(Error::op(name, message))
}

/// Each member's share of the vote.
fn vote_shares(weights: Option<&[f64]>, members: usize) -> Vec<f64> {
    let weights = weights.map_or_else(|| vec![1.0; members], <[f64]>::to_vec);
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// A fitted vote of classifiers.
#[derive(Debug, Serialize, Deserialize)]
pub struct VotingClassifier {
    n_features: usize,
    classes: Vec<i64>,
    members: Vec<Boxed<dyn Classifier>>,
    shares: Vec<f64>,
    voting: Voting,
}

params! {
    /// Parameters of [`VotingClassifier`].
    ///
    /// ```
    /// use kiln::classical::ensemble::Voting;
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((60, 2), |(row, column)| (row * (column + 3)) as f64 % 11.0);
    /// let y: Vec<i64> = x.column(0).iter().map(|&value| i64::from(value > 4.0)).collect();
    /// let members = vec![
    ///     ("stump", AnyClassifier::from(DecisionTreeClassifier::params().max_depth(1))),
    ///     ("forest", RandomForest::params().trees(10).into()),
    /// ];
    /// let model = VotingClassifier::params().estimators(members).voting(Voting::Soft).fit(&x, &y)?;
    /// assert!(model.score(&x, &y)? > 0.95);
    /// # use kiln::classical::AnyClassifier;
    /// # Ok::<(), kiln::Error>(())
    /// ```
    VotingClassifierParams for VotingClassifier = "VotingClassifier" {
        /// What is combined, by name.
        estimators: Named<AnyClassifier> = default_classifiers(),
        /// What they vote with.
        voting: Voting = Voting::Hard,
        /// How much each estimator's vote counts; `None` is all the same.
        weights: Option<Vec<f64>> = None,
    }

    fn accepts(&self) -> Accepts {
        dense_accepts(self.estimators.0.iter().map(|(_, estimator)| estimator.0.accepts()))
    }

    fn check(&self) -> Result<()> {
        self.estimators.check(Self::NAME)?;
        check_weights(Self::NAME, self.weights.as_deref(), self.estimators.0.len())
    }
}

impl FitClassifier for VotingClassifierParams {
    type Model = VotingClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<VotingClassifier> {
        let fit = |(_, estimator): &(String, AnyClassifier)| {
            estimator.0.fit_boxed(&data.x, &data.y.codes, data.weights.as_deref()).map(Boxed)
        };
        Ok(VotingClassifier {
            n_features: data.x.columns(),
            classes: data.y.values.clone(),
            members: self.estimators.0.iter().map(fit).collect::<Result<_>>()?,
            shares: vote_shares(self.weights.as_deref(), self.estimators.0.len()),
            voting: self.voting,
        })
    }
}

impl VotingClassifier {
    /// The fitted classifiers; their classes are positions in [`Classifier::classes`].
    pub fn estimators(&self) -> &[Boxed<dyn Classifier>] {
        &self.members
    }

    /// Each class's share of the vote.
    fn vote(&self, x: &Matrix<'_>) -> Result<Array2<f64>> {
        let mut votes = Array2::zeros((x.rows(), self.classes.len()));
        for (member, &share) in self.members.iter().zip(&self.shares) {
            match self.voting {
                Voting::Soft => votes += &(member_probabilities(&**member, x, self.classes.len())? * share),
                Voting::Hard => {
                    for (row, code) in member_codes(&**member, x)?.into_iter().enumerate() {
                        votes[[row, code]] += share;
                    }
                }
            }
        }
        Ok(votes)
    }
}

impl Classifier for VotingClassifier {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        Ok(largest_codes(&self.vote(x)?))
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        match self.voting {
            Voting::Soft => Ok(Some(self.vote(x)?)),
            Voting::Hard => Ok(None),
        }
    }
}

model!(
    VotingClassifier = "VotingClassifier",
    fn accepts(&self) -> Accepts {
        dense_accepts(self.members.iter().map(|member| member.accepts()))
    },
    fn is_consistent(&self) -> bool {
        let classes = self.classes.len();
        classes > 0 && self.members.iter().all(|member| knows(&**member, self.n_features, classes))
    }
);

/// A fitted average of regressors.
#[derive(Debug, Serialize, Deserialize)]
pub struct VotingRegressor {
    n_features: usize,
    members: Vec<Boxed<dyn Regressor>>,
    shares: Vec<f64>,
}

params! {
    /// Parameters of [`VotingRegressor`].
    VotingRegressorParams for VotingRegressor = "VotingRegressor" {
        /// What is combined, by name.
        estimators: Named<AnyRegressor> = default_regressors(),
        /// How much each estimator counts; `None` is all the same.
        weights: Option<Vec<f64>> = None,
    }

    fn accepts(&self) -> Accepts {
        dense_accepts(self.estimators.0.iter().map(|(_, estimator)| estimator.0.accepts()))
    }

    fn check(&self) -> Result<()> {
        self.estimators.check(Self::NAME)?;
        check_weights(Self::NAME, self.weights.as_deref(), self.estimators.0.len())
    }
}

impl FitRegressor for VotingRegressorParams {
    type Model = VotingRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<VotingRegressor> {
        let fit = |(_, estimator): &(String, AnyRegressor)| {
            estimator.0.fit_boxed(&data.x, &data.y, data.weights.as_deref()).map(Boxed)
        };
        Ok(VotingRegressor {
            n_features: data.x.columns(),
            members: self.estimators.0.iter().map(fit).collect::<Result<_>>()?,
            shares: vote_shares(self.weights.as_deref(), self.estimators.0.len()),
        })
    }
}

impl VotingRegressor {
    /// The fitted regressors.
    pub fn estimators(&self) -> &[Boxed<dyn Regressor>] {
        &self.members
    }
}

impl Regressor for VotingRegressor {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let mut sums = vec![0.0; x.rows()];
        for (member, share) in self.members.iter().zip(&self.shares) {
            let predicted = member.predict_rows(x)?;
            sums.iter_mut().zip(predicted).for_each(|(sum, value)| *sum += share * value);
        }
        Ok(sums)
    }
}

model!(
    VotingRegressor = "VotingRegressor",
    fn accepts(&self) -> Accepts {
        dense_accepts(self.members.iter().map(|member| member.accepts()))
    },
    fn is_consistent(&self) -> bool {
        self.members.iter().all(|member| member.n_features() == self.n_features)
    }
);
