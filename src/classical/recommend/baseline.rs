//! What a rating is without the taste of the user for the item: mean, strictness of the user, quality of
//! the item.

use super::ratings::{Catalogue, Lists, Ratings};
use serde::{Deserialize, Serialize};

/// Ratings that pull an item's and a user's deviation towards 0 (Koren, 2010).
const ITEM_DAMPING: f64 = 25.0;
const USER_DAMPING: f64 = 10.0;

/// Damped mean deviations of items and users.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Baseline {
    mean: f64,
    users: Vec<f64>,
    items: Vec<f64>,
}

impl Baseline {
    pub fn new(ratings: &Ratings) -> Baseline {
        let sum: f64 = ratings.by_user().iter().flatten().map(|(_, value)| value).sum();
        let mean = sum / ratings.len() as f64;
        let damped = |lists: &Lists, damping: f64, expected: &dyn Fn(usize) -> f64| -> Vec<f64> {
            let deviation = |list: &Vec<(usize, f64)>| {
                let sum: f64 = list.iter().map(|(other, value)| value - expected(*other)).sum();
                sum / (damping + list.len() as f64)
            };
            lists.iter().map(deviation).collect()
        };
        let items = damped(&ratings.by_item(), ITEM_DAMPING, &|_| mean);
        let users = damped(ratings.by_user(), USER_DAMPING, &|item| mean + items[item]);
        Baseline { mean, users, items }
    }

    pub fn fits(&self, catalogue: &Catalogue) -> bool {
        (self.users.len(), self.items.len()) == (catalogue.users().len(), catalogue.items().len())
    }

    /// The rating to expect; `None` is a user or item not known.
    pub fn of(&self, user: Option<usize>, item: Option<usize>) -> f64 {
        self.mean + user.map_or(0.0, |user| self.users[user]) + item.map_or(0.0, |item| self.items[item])
    }
}
