//! Predictions from similar users or similar items.

use super::baseline::Baseline;
use super::ratings::{Catalogue, Lists, Ratings};
use super::{Recommender, check_count, check_not_negative};
use crate::Result;
use crate::classical::estimator::Parameters;
use crate::classical::params::params;
use serde::{Deserialize, Serialize};

/// Whose similarity counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Items that the user rated, similar to the one in question (Sarwar et al., 2001).
    #[default]
    Items,
    /// Users similar to the one in question, who rated the item (Resnick et al., 1994).
    Users,
}

/// How similar two lists of ratings are; only what both rated counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// The cosine of the ratings.
    Cosine,
    /// The cosine of the ratings less the mean of each list: Pearson's correlation.
    #[default]
    Pearson,
    /// The cosine of the ratings less the mean on the other side (for items, of each user).
    AdjustedCosine,
}

/// Ratings, ready to find neighbours in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Neighborhood {
    params: NeighborhoodParams,
    catalogue: Catalogue,
    baseline: Baseline,
    /// The ratings less the baseline, of the side that neighbours are sought on and of the other.
    residuals: Lists,
    residuals_across: Lists,
    /// The ratings centred as the similarity asks, of both sides.
    centred: Lists,
    centred_across: Lists,
}

params! {
    /// Parameters of [`Neighborhood`]: the expected rating, plus what the nearest neighbours deviate from
    /// theirs, weighted by similarity (Koren, 2010).
    ///
    /// ```
    /// use kiln::classical::recommend::{Neighborhood, Ratings, Recommender};
    ///
    /// let ratings = Ratings::new(&[(1, 10, 5.0), (1, 20, 1.0), (2, 10, 5.0), (2, 20, 1.0), (2, 30, 5.0)])?;
    /// let model = Neighborhood::params().fit(&ratings)?;
    /// assert_eq!(model.recommend(1, 3)?.len(), 1);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    NeighborhoodParams for Neighborhood = "Neighborhood" {
        /// Most neighbours that count; only those of positive similarity do.
        n_neighbors: usize = 40,
        /// Whose similarity counts.
        basis: Basis = Basis::Items,
        /// How similarity is measured.
        similarity: Similarity = Similarity::Pearson,
        /// Common ratings at which a similarity counts half; fewer are trusted less.
        shrinkage: f64 = 100.0,
    }

    fn check(&self) -> Result<()> {
        check_count(Self::NAME, "n_neighbors", self.n_neighbors)?;
        check_not_negative(Self::NAME, "shrinkage", self.shrinkage)
    }
}

impl NeighborhoodParams {
    /// Makes ratings ready for the search.
    ///
    /// # Errors
    /// Wrong parameters.
    pub fn fit(&self, ratings: &Ratings) -> Result<Neighborhood> {
        self.check()?;
        let baseline = Baseline::new(ratings);
        let mut residual_users = ratings.by_user().clone();
        for (user, list) in residual_users.iter_mut().enumerate() {
            list.iter_mut().for_each(|(item, value)| *value -= baseline.of(Some(user), Some(*item)));
        }
        let (own, across) = match self.basis {
            Basis::Items => (ratings.by_item(), ratings.by_user().clone()),
            Basis::Users => (ratings.by_user().clone(), ratings.by_item()),
        };
        let centred = match self.similarity {
            Similarity::Cosine => own,
            Similarity::Pearson => less(&own, |row, _| row, &means(&own)),
            Similarity::AdjustedCosine => less(&own, |_, column| column, &means(&across)),
        };
        let residual_items = transposed(&residual_users, ratings.catalogue().items().len());
        let (residuals, residuals_across) = match self.basis {
            Basis::Items => (residual_items, residual_users),
            Basis::Users => (residual_users, residual_items),
        };
        let centred_across = transposed(&centred, across.len());
        Ok(Neighborhood {
            params: self.clone(),
            catalogue: ratings.catalogue().clone(),
            baseline,
            residuals,
            residuals_across,
            centred,
            centred_across,
        })
    }
}

fn means(lists: &Lists) -> Vec<f64> {
    let mean =
        |list: &Vec<(usize, f64)>| list.iter().map(|(_, value)| value).sum::<f64>() / list.len() as f64;
    lists.iter().map(mean).collect()
}

/// The values less the mean of their row or column, whichever `which` picks.
fn less(lists: &Lists, which: impl Fn(usize, usize) -> usize, means: &[f64]) -> Lists {
    let list = |(row, list): (usize, &Vec<(usize, f64)>)| {
        list.iter().map(|&(column, value)| (column, value - means[which(row, column)])).collect()
    };
    lists.iter().enumerate().map(list).collect()
}

fn transposed(lists: &Lists, columns: usize) -> Lists {
    let mut out = vec![Vec::new(); columns];
    for (row, list) in lists.iter().enumerate() {
        list.iter().for_each(|&(column, value)| out[column].push((row, value)));
    }
    out
}

/// Sums over what two lists have in common.
#[derive(Clone, Copy, Default)]
struct Common {
    product: f64,
    own: f64,
    other: f64,
    count: f64,
}

impl Neighborhood {
    /// The similarity of one row (item or user) to all others.
    fn similarities(&self, row: usize) -> Vec<f64> {
        let mut sums = vec![Common::default(); self.centred.len()];
        for &(column, value) in &self.centred[row] {
            for &(other, theirs) in &self.centred_across[column] {
                let sum = &mut sums[other];
                sum.product += value * theirs;
                sum.own += value * value;
                sum.other += theirs * theirs;
                sum.count += 1.0;
            }
        }
        let similarity = |sum: Common| {
            let norms = (sum.own * sum.other).sqrt();
            let trust = sum.count / (sum.count + self.params.shrinkage);
            if norms > 0.0 { trust * sum.product / norms } else { 0.0 }
        };
        sums.into_iter().map(similarity).collect()
    }

    /// The deviation from the baseline that pairs of similarity and deviation suggest.
    fn deviation(&self, mut neighbors: Vec<(f64, f64)>) -> f64 {
        neighbors.retain(|(similarity, _)| *similarity > 0.0);
        neighbors.sort_by(|a, b| b.0.total_cmp(&a.0));
        neighbors.truncate(self.params.n_neighbors);
        let total: f64 = neighbors.iter().map(|(similarity, _)| similarity).sum();
        let weighted: f64 = neighbors.iter().map(|(similarity, value)| similarity * value).sum();
        if total > 0.0 { weighted / total } else { 0.0 }
    }

    /// `row` is of the side that neighbours are sought on, `column` of the other.
    fn deviation_of(&self, row: usize, column: usize) -> f64 {
        let similarities = self.similarities(row);
        let rated = &self.residuals_across[column];
        self.deviation(rated.iter().map(|&(other, value)| (similarities[other], value)).collect())
    }
}

impl Recommender for Neighborhood {
    const NAME: &'static str = "Neighborhood";

    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn is_consistent(&self) -> bool {
        let (users, items) = (self.catalogue.users().len(), self.catalogue.items().len());
        let (rows, columns) = match self.params.basis {
            Basis::Items => (items, users),
            Basis::Users => (users, items),
        };
        let fit = |lists: &Lists, rows: usize, columns: usize| {
            lists.len() == rows && lists.iter().flatten().all(|&(column, _)| column < columns)
        };
        self.baseline.fits(&self.catalogue)
            && [&self.residuals, &self.centred].into_iter().all(|lists| fit(lists, rows, columns))
            && [&self.residuals_across, &self.centred_across]
                .into_iter()
                .all(|lists| fit(lists, columns, rows))
    }

    fn score(&self, user: Option<usize>, item: Option<usize>) -> f64 {
        let deviation = match (user, item, self.params.basis) {
            (Some(user), Some(item), Basis::Items) => self.deviation_of(item, user),
            (Some(user), Some(item), Basis::Users) => self.deviation_of(user, item),
            _ => 0.0,
        };
        self.baseline.of(user, item) + deviation
    }

    fn scores(&self, user: usize) -> Vec<f64> {
        let items = self.catalogue.items().len();
        let mut neighbors = vec![Vec::new(); items];
        match self.params.basis {
            Basis::Items => {
                for &(rated, value) in &self.residuals_across[user] {
                    let similarities = self.similarities(rated);
                    neighbors
                        .iter_mut()
                        .zip(similarities)
                        .for_each(|(list, similarity)| list.push((similarity, value)));
                }
            }
            Basis::Users => {
                let similarities = self.similarities(user);
                for (other, list) in self.residuals.iter().enumerate() {
                    list.iter().for_each(|&(item, value)| neighbors[item].push((similarities[other], value)));
                }
            }
        }
        let score = |(item, list)| self.baseline.of(Some(user), Some(item)) + self.deviation(list);
        neighbors.into_iter().enumerate().map(score).collect()
    }
}
