//! The search for good parameters.

use super::learner::{Learner, Scorer};
use super::split::{Fold, Splitter};
use super::validate::Data;
use crate::classical::Features;
use crate::classical::random;
use crate::parallel;
use crate::{Error, Result};
use fastrand::Rng;
use serde_json::{Map, Value};

/// Parameters by name.
type Values = Map<String, Value>;

/// One choice of parameters and how it did.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The parameters that were set.
    pub params: Map<String, Value>,
    /// The score of each fold.
    pub scores: Vec<f64>,
    /// How many rows were used.
    pub rows: usize,
}

impl Candidate {
    /// The mean score.
    pub fn mean(&self) -> f64 {
        self.scores.iter().sum::<f64>() / self.scores.len() as f64
    }

    /// The standard deviation of the scores.
    pub fn std(&self) -> f64 {
        let mean = self.mean();
        (self.scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / self.scores.len() as f64)
            .sqrt()
    }
}

/// What a search found.
#[derive(Debug)]
pub struct SearchResult<L: Learner> {
    /// The best parameters, all set.
    pub best_estimator: L,
    /// The best parameters that the search set.
    pub best_params: Map<String, Value>,
    /// Their mean score.
    pub best_score: f64,
    /// The model that they give on all rows.
    pub best_model: Box<L::Model>,
    /// Every choice that was tried, in order; a halving search has some more than once.
    pub candidates: Vec<Candidate>,
}

/// All combinations of lists of values, the last name changing fastest.
///
/// # Errors
/// Anything but an object of lists that are not empty.
pub fn grid(lists: &Value) -> Result<Vec<Map<String, Value>>> {
    let refuse = || Error::op("grid", format!("{lists} is no object of lists with at least one value each"));
    let mut combinations = vec![Values::new()];
    for (name, values) in lists.as_object().ok_or_else(refuse)? {
        let values = values.as_array().filter(|values| !values.is_empty()).ok_or_else(refuse)?;
        let with = |combination: &Values, value: &Value| {
            let mut longer = combination.clone();
            longer.insert(name.clone(), value.clone());
            longer
        };
        combinations =
            combinations.iter().flat_map(|one| values.iter().map(|value| with(one, value))).collect();
    }
    Ok(combinations)
}

/// Scores every choice on every fold, all at once.
fn evaluate<L: Learner>(
    learner: &L,
    data: &Data<'_, L>,
    folds: &[Fold],
    choices: Vec<Values>,
    scorer: &Scorer<L>,
) -> Result<Vec<Candidate>> {
    let learners: Vec<L> = choices.iter().map(|choice| learner.with(choice)).collect::<Result<_>>()?;
    let runs: Vec<(&L, &Fold)> =
        learners.iter().flat_map(|learner| folds.iter().map(move |fold| (learner, fold))).collect();
    let run = |(learner, fold): &(&L, &Fold)| {
        let model = data.part(&fold.train).learn(learner)?;
        data.part(&fold.test).score(&model, scorer)
    };
    let scores = parallel::try_map(&runs, run)?;
    let rows = folds.first().map_or(0, |fold| fold.train.len() + fold.test.len());
    let candidate = |(params, scores): (Values, &[f64])| Candidate { params, scores: scores.to_vec(), rows };
    Ok(choices.into_iter().zip(scores.chunks(folds.len())).map(candidate).collect())
}

/// The candidates from the best down; of equal ones the earlier.
fn ranked(candidates: &[Candidate]) -> Vec<&Candidate> {
    let mut ranked: Vec<&Candidate> = candidates.iter().collect();
    ranked.sort_by(|a, b| b.mean().total_cmp(&a.mean()));
    ranked
}

fn finish<L: Learner>(
    learner: &L,
    data: &Data<'_, L>,
    last: &[Candidate],
    candidates: Vec<Candidate>,
) -> Result<SearchResult<L>> {
    let Some(best) = ranked(last).first().map(|&best| best.clone()) else {
        return Err(Error::op("search", "there is nothing to choose from"));
    };
    let best_estimator = learner.with(&best.params)?;
    let best_model = best_estimator.learn(&data.x, &data.y, data.weights.as_deref())?;
    let best_score = best.mean();
    Ok(SearchResult { best_estimator, best_params: best.params, best_score, best_model, candidates })
}

/// Tries all combinations of lists of values by cross-validation.
///
/// ```
/// use kiln::classical::model_selection::{GridSearch, KFold};
/// use kiln::classical::{AnyRegressor, prelude::*};
/// use ndarray::Array2;
/// use serde_json::json;
///
/// let x = Array2::from_shape_fn((20, 2), |(row, column)| (row * (column + 3) % 7) as f64);
/// let y: Vec<f64> = x.rows().into_iter().map(|row| 2.0 * row[0] - row[1]).collect();
/// let search = GridSearch::new(AnyRegressor::from(Ridge::params()), json!({"alpha": [100.0, 0.01]}));
/// let found = search.fit(&x, &y, &KFold::new(4))?;
/// assert_eq!(found.best_params["alpha"], 0.01);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct GridSearch<L> {
    learner: L,
    lists: Value,
    scoring: Option<String>,
}

impl<L: Learner> GridSearch<L> {
    /// A search over an object of lists of values by the parameters' names; those of a pipeline's step are
    /// `step__parameter`.
    pub fn new(learner: L, lists: Value) -> GridSearch<L> {
        GridSearch { learner, lists, scoring: None }
    }

    /// The name of the score that decides; accuracy or R2 without one.
    #[must_use]
    pub fn scoring(mut self, scoring: &str) -> GridSearch<L> {
        self.scoring = Some(scoring.to_owned());
        self
    }

    /// Tries all combinations and learns the best from all rows.
    ///
    /// # Errors
    /// An object that [`grid`] refuses, an unknown parameter or score, data that the estimator refuses.
    pub fn fit(&self, x: &dyn Features, y: &L::Truth<'_>, cv: &dyn Splitter) -> Result<SearchResult<L>> {
        let data = Data::checked("GridSearch", &self.learner, x, y)?;
        let scorer = L::scorer(self.scoring.as_deref().unwrap_or(L::SCORING))?;
        let candidates = evaluate(&self.learner, &data, &data.folds(cv)?, grid(&self.lists)?, &scorer)?;
        finish(&self.learner, &data, &candidates.clone(), candidates)
    }
}

/// Tries parameters drawn at random by cross-validation (Bergstra and Bengio, 2012).
#[derive(Debug, Clone)]
pub struct RandomizedSearch<L> {
    learner: L,
    distributions: Value,
    n_iter: usize,
    seed: u64,
    scoring: Option<String>,
}

impl<L: Learner> RandomizedSearch<L> {
    /// A search of `n_iter` draws from an object of distributions by the parameters' names: a list of
    /// values, or `{"uniform": [low, high]}`, `{"loguniform": [low, high]}` or `{"randint": [low, high]}`
    /// (whole numbers below `high`).
    pub fn new(learner: L, distributions: Value, n_iter: usize, seed: u64) -> RandomizedSearch<L> {
        RandomizedSearch { learner, distributions, n_iter, seed, scoring: None }
    }

    /// The name of the score that decides; accuracy or R2 without one.
    #[must_use]
    pub fn scoring(mut self, scoring: &str) -> RandomizedSearch<L> {
        self.scoring = Some(scoring.to_owned());
        self
    }

    /// Tries the draws and learns the best from all rows.
    ///
    /// # Errors
    /// A distribution of another form, an unknown parameter or score, data that the estimator refuses.
    pub fn fit(&self, x: &dyn Features, y: &L::Truth<'_>, cv: &dyn Splitter) -> Result<SearchResult<L>> {
        let data = Data::checked("RandomizedSearch", &self.learner, x, y)?;
        let scorer = L::scorer(self.scoring.as_deref().unwrap_or(L::SCORING))?;
        let draw_all = |index: usize| {
            let mut rng = random::stream(self.seed, index);
            let distributions = self.distributions.as_object().ok_or_else(|| refuse(&self.distributions))?;
            distributions.iter().map(|(name, from)| Ok((name.clone(), draw(from, &mut rng)?))).collect()
        };
        let choices: Vec<Values> = (0..self.n_iter).map(draw_all).collect::<Result<_>>()?;
        let candidates = evaluate(&self.learner, &data, &data.folds(cv)?, choices, &scorer)?;
        finish(&self.learner, &data, &candidates.clone(), candidates)
    }
}

fn refuse(value: &Value) -> Error {
    let message = "must be a list of values or {\"uniform\" | \"loguniform\" | \"randint\": [low, high]}";
    Error::op("RandomizedSearch", format!("{value} {message}"))
}

fn draw(from: &Value, rng: &mut Rng) -> Result<Value> {
    if let Some(values) = from.as_array() {
        return rng.choice(values).cloned().ok_or_else(|| refuse(from));
    }
    let object = from.as_object().filter(|object| object.len() == 1);
    let (kind, range) = object.and_then(|object| object.iter().next()).ok_or_else(|| refuse(from))?;
    let ends = || Some((range.get(0)?.as_f64()?, range.get(1)?.as_f64()?));
    match (kind.as_str(), ends()) {
        ("uniform", Some((low, high))) if low <= high => Ok(Value::from(low + rng.f64() * (high - low))),
        ("loguniform", Some((low, high))) if 0.0 < low && low <= high => {
            Ok(Value::from((low.ln() + rng.f64() * (high / low).ln()).exp()))
        }
        ("randint", Some((low, high))) if low.fract() == 0.0 && high.fract() == 0.0 && low < high => {
            Ok(Value::from(rng.i64(low as i64..high as i64)))
        }
        _ => Err(refuse(from)),
    }
}

/// Tries all combinations on few rows, the best of them on more, and so on (Jamieson and Talwalkar,
/// 2016).
#[derive(Debug, Clone)]
pub struct HalvingGridSearch<L> {
    learner: L,
    lists: Value,
    /// How many times fewer candidates and more rows each round has.
    factor: usize,
    seed: u64,
    scoring: Option<String>,
}

impl<L: Learner> HalvingGridSearch<L> {
    /// A search over lists as for [`GridSearch`]; each round keeps one in `factor` (3 is usual) and gives
    /// it `factor` times the rows.
    pub fn new(learner: L, lists: Value, factor: usize, seed: u64) -> HalvingGridSearch<L> {
        HalvingGridSearch { learner, lists, factor, seed, scoring: None }
    }

    /// The name of the score that decides; accuracy or R2 without one.
    #[must_use]
    pub fn scoring(mut self, scoring: &str) -> HalvingGridSearch<L> {
        self.scoring = Some(scoring.to_owned());
        self
    }

    /// Runs the rounds and learns the best from all rows. A round's rows are drawn at random from each
    /// fold; there are at least 20 of them.
    ///
    /// # Errors
    /// As [`GridSearch::fit`], and a `factor` below 2.
    pub fn fit(&self, x: &dyn Features, y: &L::Truth<'_>, cv: &dyn Splitter) -> Result<SearchResult<L>> {
        if self.factor < 2 {
            let message = format!("factor is {}; it must be 2 or more", self.factor);
            return Err(Error::op("HalvingGridSearch", message));
        }
        let data = Data::checked("HalvingGridSearch", &self.learner, x, y)?;
        let scorer = L::scorer(self.scoring.as_deref().unwrap_or(L::SCORING))?;
        let folds = data.folds(cv)?;
        let mut choices = grid(&self.lists)?;
        let mut rounds = 1;
        let mut left = choices.len();
        while left > self.factor && data.y.len() / self.factor.pow(rounds) >= 20 {
            left = left.div_ceil(self.factor);
            rounds += 1;
        }
        let (mut candidates, mut last) = (Vec::new(), Vec::new());
        for round in (0..rounds).rev() {
            let share = self.factor.pow(round);
            let some = |rows: &[usize], stream: usize| {
                let mut rows = rows.to_vec();
                random::stream(self.seed, stream).shuffle(&mut rows);
                rows.truncate(rows.len().div_ceil(share));
                rows
            };
            let part = |(at, fold): (usize, &Fold)| Fold {
                train: if share == 1 { fold.train.clone() } else { some(&fold.train, 2 * at) },
                test: if share == 1 { fold.test.clone() } else { some(&fold.test, 2 * at + 1) },
            };
            let folds: Vec<Fold> = folds.iter().enumerate().map(part).collect();
            last = evaluate(&self.learner, &data, &folds, choices, &scorer)?;
            let keep = last.len().div_ceil(self.factor);
            choices =
                ranked(&last).into_iter().take(keep).map(|candidate| candidate.params.clone()).collect();
            candidates.extend(last.iter().cloned());
        }
        finish(&self.learner, &data, &last, candidates)
    }
}
