//! How good predictions and top-N lists are.

use super::{Recommender, Triple};
use crate::parallel;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// The root mean squared error of predicted ratings for triples of user id, item id and rating.
///
/// # Errors
/// If there are no triples.
pub fn rmse<R: Recommender>(model: &R, triples: &[Triple]) -> Result<f64> {
    if triples.is_empty() {
        return Err(Error::op("rmse", "there are no ratings to compare with"));
    }
    let square = |&(user, item, value): &Triple| (model.predict(user, item) - value).powi(2);
    let squares = parallel::map(1, triples, square);
    Ok((squares.iter().sum::<f64>() / triples.len() as f64).sqrt())
}

/// The share of the first `k` recommended items that are relevant.
pub fn precision(recommended: &[i64], relevant: &BTreeSet<i64>, k: usize) -> f64 {
    if k == 0 { 0.0 } else { hits(recommended, relevant, k).count() as f64 / k as f64 }
}

/// The share of the relevant items that are among the first `k` recommended; 0 if none is relevant.
pub fn recall(recommended: &[i64], relevant: &BTreeSet<i64>, k: usize) -> f64 {
    let found = hits(recommended, relevant, k).count() as f64;
    if relevant.is_empty() { 0.0 } else { found / relevant.len() as f64 }
}

/// The discounted gain of the relevant items among the first `k`, over the most there could be (Järvelin
/// and Kekäläinen, 2002); 0 if none is relevant.
pub fn ndcg(recommended: &[i64], relevant: &BTreeSet<i64>, k: usize) -> f64 {
    let discount = |place: usize| 1.0 / (place as f64 + 2.0).log2();
    let most: f64 = (0..relevant.len().min(k)).map(discount).sum();
    let gain: f64 = hits(recommended, relevant, k).map(discount).sum();
    if most > 0.0 { gain / most } else { 0.0 }
}

/// The mean of the precisions at each relevant item among the first `k`, over as many as there could be; 0
/// if none is relevant.
pub fn average_precision(recommended: &[i64], relevant: &BTreeSet<i64>, k: usize) -> f64 {
    let precisions = hits(recommended, relevant, k)
        .enumerate()
        .map(|(before, place)| (before + 1) as f64 / (place + 1) as f64);
    let sum: f64 = precisions.sum();
    let most = relevant.len().min(k);
    if most > 0 { sum / most as f64 } else { 0.0 }
}

/// The places, from 0, of relevant items among the first `k`.
fn hits<'a>(
    recommended: &'a [i64],
    relevant: &'a BTreeSet<i64>,
    k: usize,
) -> impl Iterator<Item = usize> + 'a {
    recommended.iter().take(k).enumerate().filter(|(_, item)| relevant.contains(item)).map(|(place, _)| place)
}

/// Means over users of the measures of top-`k` lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankingScores {
    /// Of [`precision`].
    pub precision: f64,
    /// Of [`recall`].
    pub recall: f64,
    /// Of [`ndcg`].
    pub ndcg: f64,
    /// Of [`average_precision`]: the mean average precision.
    pub map: f64,
    /// How many users had a relevant item.
    pub users: usize,
}

/// Ranks all items that each user has not rated, and measures the first `k` by the test ratings of at least
/// `relevant_from`. Users without one, or without training ratings, do not count.
///
/// # Errors
/// If no user is left.
pub fn ranking_scores<R: Recommender>(
    model: &R,
    test: &[Triple],
    k: usize,
    relevant_from: f64,
) -> Result<RankingScores> {
    let mut relevant: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for &(user, item, _) in test.iter().filter(|triple| triple.2 >= relevant_from) {
        if model.catalogue().user(user).is_some() {
            relevant.entry(user).or_default().insert(item);
        }
    }
    if relevant.is_empty() || k == 0 {
        let message = format!(
            "no user known to the model has a test rating of {relevant_from} or more, or k = {k} is 0"
        );
        return Err(Error::op("ranking_scores", message));
    }
    let users = relevant.len();
    let of_user = |(&user, relevant): (&i64, &BTreeSet<i64>)| -> Result<[f64; 4]> {
        let list: Vec<i64> =
            model.recommend(user, k)?.iter().map(|recommendation| recommendation.item).collect();
        Ok([precision, recall, ndcg, average_precision].map(|measure| measure(&list, relevant, k)))
    };
    let scores: Vec<[f64; 4]> = parallel::try_map(&relevant, of_user)?;
    let mean = |index: usize| scores.iter().map(|all| all[index]).sum::<f64>() / users as f64;
    Ok(RankingScores { precision: mean(0), recall: mean(1), ndcg: mean(2), map: mean(3), users })
}
