//! Ratings of items by users.

use crate::classical::random::{permutation, stream};
use crate::{Error, Result};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// The ids of a user and an item, and the rating.
pub type Triple = (i64, i64, f64);

/// The rows or columns of a sparse matrix: positions and values, in order of position.
pub(super) type Lists = Vec<Vec<(usize, f64)>>;

/// Users and items by id, and which items each user has rated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    users: Vec<i64>,
    items: Vec<i64>,
    seen: Vec<Vec<usize>>,
}

impl Catalogue {
    /// The users' ids, ascending.
    pub fn users(&self) -> &[i64] {
        &self.users
    }

    /// The items' ids, ascending.
    pub fn items(&self) -> &[i64] {
        &self.items
    }

    /// The position of a user.
    pub fn user(&self, id: i64) -> Option<usize> {
        self.users.binary_search(&id).ok()
    }

    /// The position of an item.
    pub fn item(&self, id: i64) -> Option<usize> {
        self.items.binary_search(&id).ok()
    }

    /// Whether each user and each item has a vector, all of one length.
    pub(super) fn has_vectors(&self, users: &Array2<f64>, items: &Array2<f64>) -> bool {
        (users.nrows(), items.nrows()) == (self.users.len(), self.items.len())
            && users.ncols() == items.ncols()
    }

    /// Whether the user at this position has rated the item at that one.
    pub fn has_seen(&self, user: usize, item: usize) -> bool {
        self.seen.get(user).is_some_and(|seen| seen.binary_search(&item).is_ok())
    }
}

/// Ratings by user and item, each pair at most once.
///
/// ```
/// use kiln::classical::recommend::Ratings;
///
/// let ratings = Ratings::new(&[(7, 100, 4.0), (7, 200, 1.5), (9, 100, 5.0)])?;
/// assert_eq!(ratings.len(), 3);
/// assert_eq!(ratings.catalogue().users(), [7, 9]);
/// # Ok::<(), kiln::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ratings {
    catalogue: Catalogue,
    by_user: Lists,
}

impl Ratings {
    /// Sorts out users, items and ratings from triples of user id, item id and rating.
    ///
    /// # Errors
    /// No ratings, a rating that is not finite, a pair rated twice.
    pub fn new(triples: &[Triple]) -> Result<Ratings> {
        let refuse = |message: String| Err(Error::op("Ratings", message));
        if triples.is_empty() {
            return refuse("there are no ratings".to_owned());
        }
        if let Some((user, item, value)) = triples.iter().find(|triple| !triple.2.is_finite()) {
            return refuse(format!("the rating of item {item} by user {user} is {value}"));
        }
        let distinct = |ids: Vec<i64>| {
            let mut ids = ids;
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let users = distinct(triples.iter().map(|triple| triple.0).collect());
        let items = distinct(triples.iter().map(|triple| triple.1).collect());
        let mut by_user: Lists = vec![Vec::new(); users.len()];
        for (user, item, value) in triples {
            // Each id was put into the lists just searched.
            let position = |ids: &[i64], id| ids.binary_search(id).unwrap_or_default();
            by_user[position(&users, user)].push((position(&items, item), *value));
        }
        for (user, list) in by_user.iter_mut().enumerate() {
            list.sort_unstable_by_key(|(item, _)| *item);
            if let Some(pair) = list.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return refuse(format!(
                    "user {} rates item {} twice; combine the two",
                    users[user], items[pair[0].0]
                ));
            }
        }
        let seen = by_user.iter().map(|list| list.iter().map(|(item, _)| *item).collect()).collect();
        Ok(Ratings { catalogue: Catalogue { users, items, seen }, by_user })
    }

    /// How many ratings there are.
    pub fn len(&self) -> usize {
        self.by_user.iter().map(Vec::len).sum()
    }

    /// Whether there are none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The users and items.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Each user's ratings by position of the item.
    pub(super) fn by_user(&self) -> &Lists {
        &self.by_user
    }

    /// Each item's ratings by position of the user.
    pub(super) fn by_item(&self) -> Lists {
        let mut by_item: Lists = vec![Vec::new(); self.catalogue.items.len()];
        for (user, list) in self.by_user.iter().enumerate() {
            list.iter().for_each(|&(item, value)| by_item[item].push((user, value)));
        }
        by_item
    }

    /// The ratings as triples of user id, item id and rating, by user and item.
    pub fn triples(&self) -> Vec<Triple> {
        let Catalogue { users, items, .. } = &self.catalogue;
        let of_user = |(user, list): (usize, &Vec<(usize, f64)>)| {
            list.iter().map(move |&(item, value)| (users[user], items[item], value)).collect::<Vec<_>>()
        };
        self.by_user.iter().enumerate().flat_map(of_user).collect()
    }

    /// Two parts drawn at random: ratings to fit on, and triples to test with, `test_size` of all.
    ///
    /// # Errors
    /// If `test_size` does not lie between 0 and 1, or a part would be empty.
    pub fn split(&self, test_size: f64, seed: u64) -> Result<(Ratings, Vec<Triple>)> {
        let triples = self.triples();
        let count = (triples.len() as f64 * test_size).round();
        if !(count >= 1.0 && count < triples.len() as f64) {
            return Err(Error::op(
                "Ratings",
                format!("test_size {test_size} of {} ratings leaves a part empty", triples.len()),
            ));
        }
        let order = permutation(&mut stream(seed, 0), triples.len());
        let pick = |order: &[usize]| order.iter().map(|&index| triples[index]).collect::<Vec<_>>();
        let (test, train) = order.split_at(count as usize);
        Ok((Ratings::new(&pick(train))?, pick(test)))
    }
}
