//! Matrix factorisation by alternating least squares.

use super::baseline::Baseline;
use super::ratings::{Catalogue, Lists, Ratings};
use super::{Recommender, check_count, check_not_negative};
use crate::Result;
use crate::classical::estimator::Parameters;
use crate::classical::linalg::{gram, solve_positive};
use crate::classical::params::params;
use crate::classical::random::{normal, stream};
use crate::parallel;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// What the numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feedback {
    /// Ratings: the higher, the better liked.
    #[default]
    Explicit,
    /// How often or how long something was used: the higher, the surer that it is liked at all.
    Implicit,
}

/// A factorisation of ratings into vectors of users and items.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Als {
    catalogue: Catalogue,
    /// What the vectors' products come on top of; none for implicit feedback.
    baseline: Option<Baseline>,
    users: Array2<f64>,
    items: Array2<f64>,
}

params! {
    /// Parameters of [`Als`]: each user and item gets a vector, and the vectors of one side follow from
    /// those of the other by least squares. For ratings, the penalty grows with their number (Zhou,
    /// Wilkinson, Schreiber and Pan, 2008); for implicit feedback, every pair counts, more so the more
    /// often it was seen (Hu, Koren and Volinsky, 2008).
    ///
    /// ```
    /// use kiln::classical::recommend::{Als, Ratings, Recommender};
    ///
    /// let ratings = Ratings::new(&[(1, 10, 5.0), (1, 20, 1.0), (2, 10, 4.5), (3, 20, 5.0), (3, 30, 4.0)])?;
    /// let model = Als::params().factors(2).fit(&ratings)?;
    /// assert!(model.predict(1, 10) > model.predict(1, 20));
    /// assert_eq!(model.recommend(1, 5)?[0].item, 30);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    AlsParams for Als = "ALS" {
        /// Length of the vectors.
        factors: usize = 32,
        /// Strength of the penalty on the vectors.
        regularization: f64 = 0.1,
        /// Rounds of both sides.
        iterations: usize = 15,
        /// What the numbers mean.
        feedback: Feedback = Feedback::Explicit,
        /// How much surer an implicit number of 1 makes than one of 0.
        alpha: f64 = 40.0,
        /// Seed of the first vectors.
        seed: u64 = 0,
    }

    fn check(&self) -> Result<()> {
        check_count(Self::NAME, "factors", self.factors)?;
        check_count(Self::NAME, "iterations", self.iterations)?;
        check_not_negative(Self::NAME, "alpha", self.alpha)?;
        if self.regularization > 0.0 && self.regularization.is_finite() {
            return Ok(());
        }
        Err(Self::error(format!("regularization is {}; it must be above 0", self.regularization)))
    }
}

impl AlsParams {
    /// Learns the vectors.
    ///
    /// # Errors
    /// Wrong parameters, negative implicit feedback, and numbers so large that they overflow.
    pub fn fit(&self, ratings: &Ratings) -> Result<Als> {
        self.check()?;
        let (mut by_user, mut by_item) = (ratings.by_user().clone(), ratings.by_item());
        let baseline = match self.feedback {
            Feedback::Explicit => Some(Baseline::new(ratings)),
            Feedback::Implicit => None,
        };
        if let Some(baseline) = &baseline {
            subtract(&mut by_user, |user, item| baseline.of(Some(user), Some(item)));
            subtract(&mut by_item, |item, user| baseline.of(Some(user), Some(item)));
        } else if by_user.iter().flatten().any(|(_, value)| *value < 0.0) {
            return Err(Self::error("implicit feedback is a count or a duration; there is one below 0"));
        }
        let mut rng = stream(self.seed, 0);
        let scale = 1.0 / (self.factors as f64).sqrt();
        let mut random =
            |count| Array2::from_shape_simple_fn((count, self.factors), || scale * normal(&mut rng));
        let mut items: Array2<f64> = random(by_item.len());
        let mut users = random(by_user.len());
        for _ in 0..self.iterations {
            users = self.solve(&by_user, items.view())?;
            items = self.solve(&by_item, users.view())?;
        }
        Ok(Als { catalogue: ratings.catalogue().clone(), baseline, users, items })
    }

    /// The best vectors of one side for those of the other.
    fn solve(&self, lists: &Lists, others: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        let everyone = match self.feedback {
            Feedback::Explicit => Array2::zeros((self.factors, self.factors)),
            Feedback::Implicit => gram(others),
        };
        let solved = parallel::map(16, lists, |list| {
            let mut normal = everyone.clone();
            let mut right = Array1::<f64>::zeros(self.factors);
            for &(other, value) in list {
                let vector = others.row(other);
                let (weight, target) = match self.feedback {
                    Feedback::Explicit => (1.0, value),
                    Feedback::Implicit => (self.alpha * value, (1.0 + self.alpha * value)),
                };
                add_outer(&mut normal, weight, vector);
                right.scaled_add(target, &vector);
            }
            let times = match self.feedback {
                Feedback::Explicit => list.len() as f64,
                Feedback::Implicit => 1.0,
            };
            normal.diag_mut().map_inplace(|value| *value += self.regularization * times);
            let solution = solve_positive(normal.view(), right.view())?;
            solution.iter().all(|value| value.is_finite()).then_some(solution)
        });
        let solved: Option<Vec<Array1<f64>>> = solved.into_iter().collect();
        let solved = solved
            .ok_or_else(|| Self::error("the numbers are too large, or the regularization is too small"))?;
        let mut out = Array2::zeros((lists.len(), self.factors));
        out.axis_iter_mut(Axis(0)).zip(&solved).for_each(|(mut row, vector)| row.assign(vector));
        Ok(out)
    }
}

/// `matrix += weight * vector vector^T`.
fn add_outer(matrix: &mut Array2<f64>, weight: f64, vector: ArrayView1<'_, f64>) {
    for (mut row, &value) in matrix.rows_mut().into_iter().zip(&vector) {
        row.scaled_add(weight * value, &vector);
    }
}

fn subtract(lists: &mut Lists, expected: impl Fn(usize, usize) -> f64) {
    for (row, list) in lists.iter_mut().enumerate() {
        list.iter_mut().for_each(|(column, value)| *value -= expected(row, *column));
    }
}

impl Als {
    /// The users' vectors, in the catalogue's order, `[users, factors]`.
    pub fn user_factors(&self) -> ArrayView2<'_, f64> {
        self.users.view()
    }

    /// The items' vectors, in the catalogue's order, `[items, factors]`.
    pub fn item_factors(&self) -> ArrayView2<'_, f64> {
        self.items.view()
    }
}

impl Recommender for Als {
    const NAME: &'static str = "ALS";

    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn is_consistent(&self) -> bool {
        self.catalogue.has_vectors(&self.users, &self.items)
            && self.baseline.as_ref().is_none_or(|baseline| baseline.fits(&self.catalogue))
    }

    fn score(&self, user: Option<usize>, item: Option<usize>) -> f64 {
        let taste = match (user, item) {
            (Some(user), Some(item)) => self.users.row(user).dot(&self.items.row(item)),
            _ => 0.0,
        };
        self.baseline.as_ref().map_or(0.0, |baseline| baseline.of(user, item)) + taste
    }
}
