//! Matrix factorisation with biases by stochastic gradient descent.

use super::ratings::{Catalogue, Ratings};
use super::{Recommender, check_count, check_not_negative};
use crate::Result;
use crate::classical::estimator::Parameters;
use crate::classical::params::params;
use crate::classical::random::{normal, stream};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// Mean, biases and vectors of users and items.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BiasedFactorization {
    catalogue: Catalogue,
    mean: f64,
    user_biases: Vec<f64>,
    item_biases: Vec<f64>,
    users: Array2<f64>,
    items: Array2<f64>,
    errors: Vec<f64>,
}

params! {
    /// Parameters of [`BiasedFactorization`]: a rating is the mean, plus a bias of the user, plus one of the
    /// item, plus the product of their vectors; all learned by stochastic gradient descent (Koren, Bell and
    /// Volinsky, 2009).
    ///
    /// ```
    /// use kiln::classical::recommend::{BiasedFactorization, Ratings, Recommender};
    ///
    /// let ratings = Ratings::new(&[(1, 10, 5.0), (1, 20, 1.0), (2, 10, 4.5), (3, 20, 2.0)])?;
    /// let model = BiasedFactorization::params().n_epochs(200).fit(&ratings)?;
    /// assert!(model.predict(2, 20) < model.predict(2, 10));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    BiasedFactorizationParams for BiasedFactorization = "BiasedFactorization" {
        /// Length of the vectors.
        n_factors: usize = 100,
        /// Passes over the ratings, each in another order.
        n_epochs: usize = 20,
        /// Length of the steps.
        learning_rate: f64 = 0.005,
        /// Strength of the penalty on biases and vectors.
        regularization: f64 = 0.02,
        /// Deviation of the first vectors' entries.
        init_deviation: f64 = 0.1,
        /// Seed of the first vectors and of the orders.
        seed: u64 = 0,
    }

    fn check(&self) -> Result<()> {
        check_count(Self::NAME, "n_factors", self.n_factors)?;
        check_count(Self::NAME, "n_epochs", self.n_epochs)?;
        check_not_negative(Self::NAME, "learning_rate", self.learning_rate)?;
        check_not_negative(Self::NAME, "regularization", self.regularization)?;
        check_not_negative(Self::NAME, "init_deviation", self.init_deviation)
    }
}

impl BiasedFactorizationParams {
    /// Learns biases and vectors.
    ///
    /// # Errors
    /// Wrong parameters, and steps so long that the numbers grow without end.
    pub fn fit(&self, ratings: &Ratings) -> Result<BiasedFactorization> {
        self.check()?;
        let flat = |(user, list): (usize, &Vec<(usize, f64)>)| {
            list.iter().map(move |&(item, value)| (user, item, value)).collect::<Vec<_>>()
        };
        let mut triples: Vec<(usize, usize, f64)> =
            ratings.by_user().iter().enumerate().flat_map(flat).collect();
        let mut rng = stream(self.seed, 0);
        let mut random = |count| {
            Array2::from_shape_simple_fn((count, self.n_factors), || self.init_deviation * normal(&mut rng))
        };
        let catalogue = ratings.catalogue().clone();
        let (users, items) = (catalogue.users().len(), catalogue.items().len());
        let mut model = BiasedFactorization {
            mean: triples.iter().map(|triple| triple.2).sum::<f64>() / triples.len() as f64,
            user_biases: vec![0.0; users],
            item_biases: vec![0.0; items],
            users: random(users),
            items: random(items),
            errors: Vec::with_capacity(self.n_epochs),
            catalogue,
        };
        for epoch in 0..self.n_epochs {
            stream(self.seed, 1 + epoch).shuffle(&mut triples);
            let squares: f64 = triples.iter().map(|triple| self.step(&mut model, *triple)).sum();
            let error = (squares / triples.len() as f64).sqrt();
            if !error.is_finite() {
                return Err(Self::error(format!(
                    "the error became {error} in epoch {epoch}; lower learning_rate"
                )));
            }
            model.errors.push(error);
        }
        Ok(model)
    }

    /// Moves everything that has to do with one rating; returns the squared error before.
    fn step(&self, model: &mut BiasedFactorization, (user, item, value): (usize, usize, f64)) -> f64 {
        let error = value - model.score(Some(user), Some(item));
        let (rate, penalty) = (self.learning_rate, self.regularization);
        for bias in [&mut model.user_biases[user], &mut model.item_biases[item]] {
            *bias += rate * (error - penalty * *bias);
        }
        let (mut own, mut other) = (model.users.row_mut(user), model.items.row_mut(item));
        for (p, q) in own.iter_mut().zip(&mut other) {
            let before = *p;
            *p += rate * (error * *q - penalty * *p);
            *q += rate * (error * before - penalty * *q);
        }
        error * error
    }
}

impl BiasedFactorization {
    /// The users' vectors, in the catalogue's order, `[users, n_factors]`.
    pub fn user_factors(&self) -> ArrayView2<'_, f64> {
        self.users.view()
    }

    /// The items' vectors, in the catalogue's order, `[items, n_factors]`.
    pub fn item_factors(&self) -> ArrayView2<'_, f64> {
        self.items.view()
    }

    /// The root mean squared error over each epoch, measured before each step.
    pub fn training_errors(&self) -> &[f64] {
        &self.errors
    }
}

impl Recommender for BiasedFactorization {
    const NAME: &'static str = "BiasedFactorization";

    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn is_consistent(&self) -> bool {
        let biases = (self.user_biases.len(), self.item_biases.len());
        self.catalogue.has_vectors(&self.users, &self.items)
            && biases == (self.users.nrows(), self.items.nrows())
    }

    fn score(&self, user: Option<usize>, item: Option<usize>) -> f64 {
        let biases =
            user.map_or(0.0, |user| self.user_biases[user]) + item.map_or(0.0, |item| self.item_biases[item]);
        let taste = match (user, item) {
            (Some(user), Some(item)) => self.users.row(user).dot(&self.items.row(item)),
            _ => 0.0,
        };
        self.mean + biases + taste
    }
}
