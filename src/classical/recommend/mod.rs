//! Recommendation from ratings: matrix factorisation and neighbours, top-N lists, measures of rankings.

mod als;
mod baseline;
mod factorization;
mod metrics;
mod neighborhood;
mod ratings;

pub use als::{Als, AlsParams, Feedback};
pub use factorization::{BiasedFactorization, BiasedFactorizationParams};
pub use metrics::{RankingScores, average_precision, ndcg, precision, ranking_scores, recall, rmse};
pub use neighborhood::{Basis, Neighborhood, NeighborhoodParams, Similarity};
pub use ratings::{Catalogue, Ratings, Triple};

use super::persist;
use crate::classical::order;
use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// An item for a user, and how well the model thinks it fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recommendation {
    /// The item's id.
    pub item: i64,
    /// The predicted rating, or preference for implicit feedback.
    pub score: f64,
}

/// A fitted model of who likes what.
pub trait Recommender: Serialize + DeserializeOwned + Send + Sync {
    /// The model's name, which a file of it carries.
    const NAME: &'static str;

    /// The users and items it was fitted on, and who has seen what.
    fn catalogue(&self) -> &Catalogue;

    /// The score of one item for one user, by position in the catalogue; `None` is one not in it.
    fn score(&self, user: Option<usize>, item: Option<usize>) -> f64;

    /// The scores of all items for a user, by position.
    fn scores(&self, user: usize) -> Vec<f64> {
        (0..self.catalogue().items().len()).map(|item| self.score(Some(user), Some(item))).collect()
    }

    /// The rating (or preference, for implicit feedback) that a user would give an item. Of users and items
    /// that were not in the ratings, the model knows only what all have in common.
    fn predict(&self, user: i64, item: i64) -> f64 {
        let catalogue = self.catalogue();
        self.score(catalogue.user(user), catalogue.item(item))
    }

    /// The best items that the user has not rated, best first, at most `n`.
    ///
    /// # Errors
    /// If the user was not in the ratings.
    fn recommend(&self, user: i64, n: usize) -> Result<Vec<Recommendation>> {
        let catalogue = self.catalogue();
        let position = catalogue.user(user).ok_or_else(|| {
            Error::op(Self::NAME, format!("user {user} is not in the ratings it was fitted on"))
        })?;
        let scores = self.scores(position);
        let mut unseen: Vec<usize> =
            (0..scores.len()).filter(|&item| !catalogue.has_seen(position, item)).collect();
        order::descending(&mut unseen, &scores);
        let best = unseen.into_iter().take(n);
        Ok(best.map(|item| Recommendation { item: catalogue.items()[item], score: scores[item] }).collect())
    }

    /// Whether the fields fit each other as a fit leaves them, as
    /// [`Model::is_consistent`](super::Model::is_consistent).
    fn is_consistent(&self) -> bool;

    /// Writes the model to a file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save(&self, path: &Path) -> Result<()> {
        persist::write(path, persist::to_bytes(Self::NAME, self))
    }

    /// Reads a model that [`Recommender::save`] wrote.
    ///
    /// # Errors
    /// A file that cannot be read, holds no model, another one, or a damaged one.
    fn load(path: &Path) -> Result<Self> {
        persist::from_bytes(Self::NAME, &persist::read(path)?, Self::is_consistent)
            .map_err(|error| Error::file(path, error.to_string()))
    }
}

/// Refuses what is not a finite number from 0.
fn check_not_negative(model: &'static str, name: &str, value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::op(model, format!("{name} is {value}; it must be 0 or more")))
}

/// Refuses a number of nothing.
fn check_count(model: &'static str, name: &str, value: usize) -> Result<()> {
    if value > 0 {
        return Ok(());
    }
    Err(Error::op(model, format!("{name} is 0; it must be 1 or more")))
}
