//! Stacked generalisation (Wolpert, 1992): an estimator that learns from what others predict for rows that
//! they were not fitted on.

use super::members::{Named, dense_accepts, folds, knows, member_probabilities};
use super::voting::{default_classifiers, default_regressors};
use super::{RandomForestClassifier, RandomForestRegressor};
use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Parameters, Regressor};
use crate::classical::params::{model, params};
use crate::classical::persist::Boxed;
use crate::classical::registry::{AnyClassifier, AnyRegressor};
use crate::{Error, Result};
use ndarray::{Array1, Array2, Axis, concatenate, s};
use serde::{Deserialize, Serialize};

fn check_cv(name: &'static str, cv: usize) -> Result<()> {
    if cv >= 2 {
        return Ok(());
    }
    Err(Error::op(name, format!("cv is {cv}; it must be 2 or more")))
}

/// What the final estimator sees: the members' predictions, then the features if they are passed through.
fn stacked(mut parts: Vec<Array2<f64>>, x: &Matrix<'_>, passthrough: bool) -> Result<Matrix<'static>> {
    if passthrough {
        parts.push(x.dense().into_owned());
    }
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    let all = concatenate(Axis(1), &views).map_err(|error| Error::op("stacking", error.to_string()))?;
    Ok(Matrix::Dense(all.as_standard_layout().into_owned().into()))
}

/// Predictions `[rows, width]` of each row by a member fitted on the other folds.
fn out_of_fold(
    of_row: &[usize],
    cv: usize,
    width: usize,
    predict: impl Fn(&[usize], &[usize]) -> Result<Array2<f64>>,
) -> Result<Array2<f64>> {
    let mut all = Array2::zeros((of_row.len(), width));
    for fold in 0..cv {
        let (held, kept): (Vec<usize>, Vec<usize>) = (0..of_row.len()).partition(|&row| of_row[row] == fold);
        if held.is_empty() {
            continue;
        }
        for (&row, predicted) in held.iter().zip(predict(&kept, &held)?.rows()) {
            all.row_mut(row).assign(&predicted);
        }
    }
    Ok(all)
}

fn pick<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().map(|&row| values[row]).collect()
}

/// The columns of class probabilities that say something: of two classes the second.
fn informative(probabilities: Array2<f64>) -> Array2<f64> {
    if probabilities.ncols() == 2 { probabilities.slice(s![.., 1..]).to_owned() } else { probabilities }
}

/// A fitted stack of classifiers.
#[derive(Debug, Serialize, Deserialize)]
pub struct StackingClassifier {
    n_features: usize,
    classes: Vec<i64>,
    members: Vec<Boxed<dyn Classifier>>,
    last: Boxed<dyn Classifier>,
    passthrough: bool,
}

params! {
    /// Parameters of [`StackingClassifier`].
    ///
    /// ```
    /// use kiln::classical::AnyClassifier;
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((60, 2), |(row, column)| (row * (column + 3)) as f64 % 11.0);
    /// let y: Vec<i64> = x.column(0).iter().map(|&value| i64::from(value > 4.0)).collect();
    /// let members = vec![
    ///     ("tree", AnyClassifier::from(DecisionTreeClassifier::params().max_depth(2))),
    ///     ("forest", RandomForest::params().trees(10).into()),
    /// ];
    /// let last = DecisionTreeClassifier::params().max_depth(2);
    /// let model = StackingClassifier::params().estimators(members).final_estimator(last).fit(&x, &y)?;
    /// assert!(model.score(&x, &y)? > 0.9);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    StackingClassifierParams for StackingClassifier = "StackingClassifier" {
        /// What is combined, by name; their class probabilities count, or their labels if they have none.
        estimators: Named<AnyClassifier> = default_classifiers(),
        /// What learns from the others' predictions.
        final_estimator: AnyClassifier = RandomForestClassifier::params().min_samples_leaf(5).into(),
        /// The folds, at least 2, by which predictions of rows not fitted on are made.
        cv: usize = 5,
        /// Whether the final estimator sees the features too.
        passthrough: bool = false,
        /// Seed of the folds.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        let members = self.estimators.0.iter().map(|(_, estimator)| estimator.0.accepts());
        let accepts = dense_accepts(members.chain(self.passthrough.then(|| self.final_estimator.0.accepts())));
        Accepts { rows: accepts.rows.max(2), ..accepts }
    }

    fn check(&self) -> Result<()> {
        self.estimators.check(Self::NAME)?;
        check_cv(Self::NAME, self.cv)
    }
}

impl FitClassifier for StackingClassifierParams {
    type Model = StackingClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<StackingClassifier> {
        let classes = data.y.values.len();
        if let Some(class) = data.y.counts(None).iter().position(|&count| count < 2.0) {
            let label = data.y.values[class];
            return Err(Self::error(format!("class {label} has 1 sample; folds need at least 2 of each")));
        }
        let weights = data.weights.as_deref();
        let of_row = folds(&data.y.codes, self.cv, self.seed);
        let (mut parts, mut members) = (Vec::new(), Vec::new());
        for (_, estimator) in &self.estimators.0 {
            let part = out_of_fold(&of_row, self.cv, classes, |kept, held| {
                let weights = weights.map(|weights| pick(weights, kept));
                let codes = pick(&data.y.codes, kept);
                let model = estimator.0.fit_boxed(&data.x.select(kept), &codes, weights.as_deref())?;
                member_probabilities(&*model, &data.x.select(held), classes)
            })?;
            parts.push(informative(part));
            members.push(Boxed(estimator.0.fit_boxed(&data.x, &data.y.codes, weights)?));
        }
        let seen = stacked(parts, &data.x, self.passthrough)?;
        Ok(StackingClassifier {
            n_features: data.x.columns(),
            classes: data.y.values.clone(),
            members,
            last: Boxed(self.final_estimator.0.fit_boxed(&seen, &data.y.codes, weights)?),
            passthrough: self.passthrough,
        })
    }
}

impl StackingClassifier {
    /// The fitted classifiers that are combined; their classes are positions in [`Classifier::classes`].
    pub fn estimators(&self) -> &[Boxed<dyn Classifier>] {
        &self.members
    }

    /// The classifier that learned from the others.
    pub fn final_estimator(&self) -> &dyn Classifier {
        &*self.last
    }

    fn seen(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let part = |member: &Boxed<dyn Classifier>| {
            Ok(informative(member_probabilities(&**member, x, self.classes.len())?))
        };
        stacked(self.members.iter().map(part).collect::<Result<_>>()?, x, self.passthrough)
    }
}

impl Classifier for StackingClassifier {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    // The final estimator has seen every class, so its codes are those of the stack.
    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        self.last.predict_codes(&self.seen(x)?)
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        self.last.probabilities(&self.seen(x)?)
    }

    fn scores(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        self.last.scores(&self.seen(x)?)
    }
}

model!(
    StackingClassifier = "StackingClassifier",
    fn accepts(&self) -> Accepts {
        let last = self.passthrough.then(|| self.last.accepts());
        dense_accepts(self.members.iter().map(|member| member.accepts()).chain(last))
    },
    fn is_consistent(&self) -> bool {
        let classes = self.classes.len();
        let seen = self.members.len() * if classes == 2 { 1 } else { classes };
        let passed = if self.passthrough { self.n_features } else { 0 };
        self.members.iter().all(|member| knows(&**member, self.n_features, classes))
            && knows(&*self.last, seen.saturating_add(passed), classes)
            && self.last.classes().len() == classes
    }
);

/// A fitted stack of regressors.
#[derive(Debug, Serialize, Deserialize)]
pub struct StackingRegressor {
    n_features: usize,
    members: Vec<Boxed<dyn Regressor>>,
    last: Boxed<dyn Regressor>,
    passthrough: bool,
}

params! {
    /// Parameters of [`StackingRegressor`].
    StackingRegressorParams for StackingRegressor = "StackingRegressor" {
        /// What is combined, by name.
        estimators: Named<AnyRegressor> = default_regressors(),
        /// What learns from the others' predictions.
        final_estimator: AnyRegressor = RandomForestRegressor::params().min_samples_leaf(5).into(),
        /// The folds, at least 2, by which predictions of rows not fitted on are made.
        cv: usize = 5,
        /// Whether the final estimator sees the features too.
        passthrough: bool = false,
        /// Seed of the folds.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        let members = self.estimators.0.iter().map(|(_, estimator)| estimator.0.accepts());
        let accepts = dense_accepts(members.chain(self.passthrough.then(|| self.final_estimator.0.accepts())));
        Accepts { rows: accepts.rows.max(2), ..accepts }
    }

    fn check(&self) -> Result<()> {
        self.estimators.check(Self::NAME)?;
        check_cv(Self::NAME, self.cv)
    }
}

impl FitRegressor for StackingRegressorParams {
    type Model = StackingRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<StackingRegressor> {
        let weights = data.weights.as_deref();
        let of_row = folds(&vec![0; data.y.len()], self.cv, self.seed);
        let (mut parts, mut members) = (Vec::new(), Vec::new());
        for (_, estimator) in &self.estimators.0 {
            parts.push(out_of_fold(&of_row, self.cv, 1, |kept, held| {
                let weights = weights.map(|weights| pick(weights, kept));
                let targets = pick(&data.y, kept);
                let model = estimator.0.fit_boxed(&data.x.select(kept), &targets, weights.as_deref())?;
                Ok(Array1::from(model.predict_rows(&data.x.select(held))?).insert_axis(Axis(1)))
            })?);
            members.push(Boxed(estimator.0.fit_boxed(&data.x, &data.y, weights)?));
        }
        let seen = stacked(parts, &data.x, self.passthrough)?;
        Ok(StackingRegressor {
            n_features: data.x.columns(),
            members,
            last: Boxed(self.final_estimator.0.fit_boxed(&seen, &data.y, weights)?),
            passthrough: self.passthrough,
        })
    }
}

impl StackingRegressor {
    /// The fitted regressors that are combined.
    pub fn estimators(&self) -> &[Boxed<dyn Regressor>] {
        &self.members
    }

    /// The regressor that learned from the others.
    pub fn final_estimator(&self) -> &dyn Regressor {
        &*self.last
    }
}

impl Regressor for StackingRegressor {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let part =
            |member: &Boxed<dyn Regressor>| Ok(Array1::from(member.predict_rows(x)?).insert_axis(Axis(1)));
        let parts = self.members.iter().map(part).collect::<Result<_>>()?;
        self.last.predict_rows(&stacked(parts, x, self.passthrough)?)
    }
}

model!(
    StackingRegressor = "StackingRegressor",
    fn accepts(&self) -> Accepts {
        let last = self.passthrough.then(|| self.last.accepts());
        dense_accepts(self.members.iter().map(|member| member.accepts()).chain(last))
    },
    fn is_consistent(&self) -> bool {
        let passed = if self.passthrough { self.n_features } else { 0 };
        self.members.iter().all(|member| member.n_features() == self.n_features)
            && self.last.n_features() == self.members.len().saturating_add(passed)
    }
);
