//! Recursive feature elimination (Guyon, Weston, Barnhill and Vapnik: Gene Selection for Cancer
//! Classification using Support Vector Machines, 2002).

use super::select::selector;
use crate::Result;
use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Model, Parameters, Target, Transformer};
use crate::classical::linear::{LogisticRegression, Ridge};
use crate::classical::model_selection::{Fold, KFold, Learner, Splitter, StratifiedKFold};
use crate::classical::order;
use crate::classical::params::{model, params};
use crate::classical::registry::{AnyClassifier, AnyRegressor};
use crate::parallel;
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// A fitted recursive elimination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rfe {
    n_features: usize,
    ranking: Vec<usize>,
    support: Vec<usize>,
}

params! {
    /// Parameters of [`Rfe`]: an estimator is fitted, the columns that count least for it
    /// ([`Model::importances`]) are left out, and so on until the wanted number is left. Linear models rank
    /// columns by their coefficients, which compare only between columns of one scale.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((40, 4), |(row, column)| (row * (column + 3) * 7 % 11) as f64);
    /// let y: Vec<f64> = x.rows().into_iter().map(|row| 3.0 * row[1] - row[2]).collect();
    /// let model = Rfe::params().n_features_to_select(2).fit_with(&x, Target::Values(y))?;
    /// assert_eq!(model.support(), [1, 2]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    RfeParams for Rfe = "RFE" {
        /// Ranks the columns if the target is classes.
        classifier: AnyClassifier = LogisticRegression::params().into(),
        /// Ranks the columns if the target is numbers.
        regressor: AnyRegressor = Ridge::params().into(),
        /// How many columns are kept; `None` for half of them.
        n_features_to_select: Option<usize> = None,
        /// How many columns a round leaves out, or below 1 which share of all columns; above 0.
        step: f64 = 1.0,
    }

    fn check(&self) -> Result<()> {
        check_step::<Self>(self.step)
    }
}

/// A fitted recursive elimination down to a number of columns found by cross-validation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rfecv {
    n_features: usize,
    ranking: Vec<usize>,
    support: Vec<usize>,
    scores: Vec<(usize, f64)>,
}

params! {
    /// Parameters of [`Rfecv`]: as [`RfeParams`], down to the number of columns with the best mean score
    /// on the rows left out of each fold; of equally good ones the fewest.
    RfecvParams for Rfecv = "RFECV" {
        /// Ranks the columns if the target is classes.
        classifier: AnyClassifier = LogisticRegression::params().into(),
        /// Ranks the columns if the target is numbers.
        regressor: AnyRegressor = Ridge::params().into(),
        /// The fewest columns that may be kept.
        min_features_to_select: usize = 1,
        /// How many columns a round leaves out, or below 1 which share of all columns; above 0.
        step: f64 = 1.0,
        /// How many folds; for classes they are stratified.
        cv: usize = 5,
        /// What is scored; `None` for the accuracy of classifiers and the R2 of regressors.
        scoring: Option<String> = None,
    }

    fn check(&self) -> Result<()> {
        check_step::<Self>(self.step)
    }
}

fn check_step<P: Parameters>(step: f64) -> Result<()> {
    if step > 0.0 && step.is_finite() {
        return Ok(());
    }
    Err(P::error(format!("step is {step}; it must be above 0")))
}

/// An elimination from the columns of `x` down to `kept` of them.
struct Elimination<'a, L: Learner> {
    name: &'static str,
    learner: &'a L,
    x: ArrayView2<'a, f64>,
    y: &'a [L::Value],
    kept: usize,
    step: f64,
}

fn columns(x: ArrayView2<'_, f64>, chosen: &[usize]) -> Matrix<'static> {
    Matrix::Dense(x.select(Axis(1), chosen).as_standard_layout().into_owned().into())
}

impl<L: Learner> Elimination<'_, L> {
    fn learn(&self, chosen: &[usize]) -> Result<Box<L::Model>> {
        self.learner.learn(&columns(self.x, chosen), self.y, None)
    }

    /// The rank of each column: 1 if it is kept, 2 if it went in the last round, and so on. `visit` is shown
    /// the model of each round with its columns.
    fn ranking(&self, mut visit: impl FnMut(&L::Model, &[usize]) -> Result<()>) -> Result<Vec<usize>> {
        let features = self.x.ncols();
        if !(1..=features).contains(&self.kept) {
            let message = format!("{} columns are to be kept of {features}", self.kept);
            return Err(crate::Error::op(self.name, message));
        }
        let step = if self.step < 1.0 { self.step * features as f64 } else { self.step };
        let mut ranking = vec![1; features];
        let mut left: Vec<usize> = (0..features).collect();
        while left.len() > self.kept {
            let model = self.learn(&left)?;
            visit(&model, &left)?;
            let importances = model.importances().ok_or_else(|| {
                let message = format!("{} does not say how much a column counts", model.name());
                crate::Error::op(self.name, message)
            })?;
            let mut order: Vec<usize> = (0..left.len()).collect();
            order::ascending(&mut order, &importances);
            let mut stays = order.split_off((step.max(1.0) as usize).min(left.len() - self.kept));
            stays.sort_unstable();
            left = stays.iter().map(|&place| left[place]).collect();
            let gone = (0..features).filter(|column| left.binary_search(column).is_err());
            gone.for_each(|column| ranking[column] += 1);
        }
        Ok(ranking)
    }

    /// The score on some rows of the columns left in each round, the last included: how many columns, and
    /// the score.
    fn scores(&self, scoring: &str, x: ArrayView2<'_, f64>, y: &[L::Value]) -> Result<Vec<(usize, f64)>> {
        let scorer = L::scorer(scoring)?;
        let mut scores = Vec::new();
        let mut score = |model: &L::Model, chosen: &[usize]| {
            scores.push((chosen.len(), scorer(model, &columns(x, chosen), y, None)?));
            Ok(())
        };
        let kept = support(&self.ranking(&mut score)?);
        let model = self.learn(&kept)?;
        score(&model, &kept)?;
        Ok(scores)
    }
}

/// The columns of rank 1.
fn support(ranking: &[usize]) -> Vec<usize> {
    (0..ranking.len()).filter(|&column| ranking[column] == 1).collect()
}

fn labels(classes: &Classes) -> Vec<i64> {
    classes.codes.iter().map(|&code| classes.values[code]).collect()
}

fn no_target<P: Parameters>() -> crate::Error {
    P::error("it needs a target; use fit_with")
}

impl RfeParams {
    fn eliminate<L: Learner>(&self, learner: &L, y: &[L::Value], x: ArrayView2<'_, f64>) -> Result<Rfe> {
        let kept = self.n_features_to_select.unwrap_or((x.ncols() / 2).max(1));
        let rounds = Elimination { name: Self::NAME, learner, x, y, kept, step: self.step };
        let ranking = rounds.ranking(|_, _| Ok(()))?;
        Ok(Rfe { n_features: x.ncols(), support: support(&ranking), ranking })
    }
}

impl FitTransformer for RfeParams {
    type Model = Rfe;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<Rfe> {
        let x = data.x.dense();
        match &data.y {
            Target::None => Err(no_target::<Self>()),
            Target::Classes(classes) => self.eliminate(&self.classifier, &labels(classes), x.view()),
            Target::Values(values) => self.eliminate(&self.regressor, values, x.view()),
        }
    }
}

impl RfecvParams {
    fn elimination<'a, L: Learner>(
        &self,
        learner: &'a L,
        x: ArrayView2<'a, f64>,
        y: &'a [L::Value],
        kept: usize,
    ) -> Elimination<'a, L> {
        Elimination { name: Self::NAME, learner, x, y, kept, step: self.step }
    }

    fn eliminate<L: Learner>(&self, learner: &L, y: &[L::Value], x: ArrayView2<'_, f64>) -> Result<Rfecv> {
        let labels = L::labels(y);
        let folds = match &labels {
            Some(_) => StratifiedKFold::new(self.cv).split(y.len(), labels.as_deref())?,
            None => KFold::new(self.cv).split(y.len(), None)?,
        };
        let scoring = self.scoring.as_deref().unwrap_or(L::SCORING);
        let part = |rows: &[usize]| {
            (x.select(Axis(0), rows), rows.iter().map(|&row| y[row]).collect::<Vec<L::Value>>())
        };
        let run = |fold: &Fold| {
            let ((train, train_y), (test, test_y)) = (part(&fold.train), part(&fold.test));
            let rounds = self.elimination(learner, train.view(), &train_y, self.min_features_to_select);
            rounds.scores(scoring, test.view(), &test_y)
        };
        let of_folds: Vec<Vec<(usize, f64)>> = parallel::try_map(&folds, run)?;
        let mean = |round: usize| {
            let sum: f64 = of_folds.iter().map(|scores| scores[round].1).sum();
            (of_folds[0][round].0, sum / of_folds.len() as f64)
        };
        let scores: Vec<(usize, f64)> = (0..of_folds[0].len()).map(mean).collect();
        // The last of the best has the fewest columns.
        let kept = scores.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(1, |(columns, _)| *columns);
        let ranking = self.elimination(learner, x, y, kept).ranking(|_, _| Ok(()))?;
        Ok(Rfecv { n_features: x.ncols(), support: support(&ranking), ranking, scores })
    }
}

impl FitTransformer for RfecvParams {
    type Model = Rfecv;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<Rfecv> {
        let x = data.x.dense();
        match &data.y {
            Target::None => Err(no_target::<Self>()),
            Target::Classes(classes) => self.eliminate(&self.classifier, &labels(classes), x.view()),
            Target::Values(values) => self.eliminate(&self.regressor, values, x.view()),
        }
    }
}

macro_rules! ranking {
    ($($model:ident),*) => {
        $(impl $model {
            /// The rank of each column: 1 if it is kept, 2 if it went in the last round, and so on.
            pub fn ranking(&self) -> &[usize] {
                &self.ranking
            }
        })*
    };
}

ranking!(Rfe, Rfecv);

impl Rfecv {
    /// For each number of columns that was tried, from all on downwards, the mean score of the folds.
    pub fn scores(&self) -> &[(usize, f64)] {
        &self.scores
    }
}

selector!(Rfe = "RFE", Accepts::PLAIN);
selector!(Rfecv = "RFECV", Accepts::PLAIN);
