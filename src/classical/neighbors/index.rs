//! Rows that can be searched for the nearest ones or those within a radius.

use super::brute;
use super::metric::Distance;
use super::tree::{Shape, Tree};
use crate::Result;
use crate::classical::parallel;
use ndarray::{Array2, ArrayView2};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BinaryHeap;

/// How neighbours are searched for; what is found is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// A k-d tree for up to 15 columns, else all distances.
    #[default]
    Auto,
    /// All distances, for Euclidean ones by matrix products.
    Brute,
    /// A k-d tree.
    KdTree,
    /// A ball tree.
    BallTree,
}

/// Columns up to which a tree is likely to save more than it costs.
const TREE_COLUMNS: usize = 15;
/// Queries that one thread takes at a time.
const QUERIES: usize = 128;

/// A row and its reduced distance; ordered by distance, then row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) reduced: f64,
    pub(crate) row: usize,
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> std::cmp::Ordering {
        self.reduced.total_cmp(&other.reduced).then(self.row.cmp(&other.row))
    }
}

/// What a search collects for one query.
pub(super) trait Visit {
    /// Rows beyond this reduced distance need not be offered.
    fn limit(&self) -> f64;
    /// A row within the limit.
    fn offer(&mut self, reduced: f64, row: usize);
}

/// The nearest so many rows, except one.
struct Nearest {
    heap: BinaryHeap<Candidate>,
    count: usize,
    except: Option<usize>,
}

impl Visit for Nearest {
    fn limit(&self) -> f64 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() == self.count => worst.reduced,
            _ => f64::INFINITY,
        }
    }

    fn offer(&mut self, reduced: f64, row: usize) {
        if self.except == Some(row) {
            return;
        }
        let candidate = Candidate { reduced, row };
        if self.heap.len() < self.count {
            self.heap.push(candidate);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }
}

/// The rows within a radius.
struct Within {
    limit: f64,
    found: Vec<Candidate>,
}

impl Visit for Within {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn offer(&mut self, reduced: f64, row: usize) {
        self.found.push(Candidate { reduced, row });
    }
}

/// The nearest rows of each query, nearest first; of equally near ones the first rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbors {
    /// Their distances, `[queries, neighbours]`.
    pub distances: Array2<f64>,
    /// Their row numbers, `[queries, neighbours]`.
    pub indices: Array2<usize>,
}

/// Searchable rows.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    distance: Distance,
    algorithm: Algorithm,
    leaf_size: usize,
    columns: usize,
    /// As [`Distance::prepare`] makes them, row after row, in the order of the search.
    points: Vec<f64>,
    search: Search,
}

#[derive(Debug, Clone)]
enum Search {
    Tree(Tree),
    Products(brute::Products),
    Brute,
}

impl Index {
    /// An index of at least one row.
    ///
    /// # Errors
    /// Values so large that distances overflow, in the name of `name`.
    pub(crate) fn new(
        name: &'static str,
        rows: ArrayView2<'_, f64>,
        distance: Distance,
        algorithm: Algorithm,
        leaf_size: usize,
    ) -> Result<Index> {
        distance.check(name, rows)?;
        Ok(Index::of_prepared(distance.prepare(rows).into_owned(), distance, algorithm, leaf_size))
    }

    fn of_prepared(points: Array2<f64>, distance: Distance, algorithm: Algorithm, leaf_size: usize) -> Index {
        let columns = points.ncols();
        let shape = match algorithm {
            Algorithm::Auto if columns > TREE_COLUMNS => None,
            Algorithm::Brute => None,
            Algorithm::Auto | Algorithm::KdTree => Some(Shape::Box),
            Algorithm::BallTree => Some(Shape::Ball),
        };
        let (points, search) = match shape {
            Some(shape) => {
                let (tree, points) = Tree::new(distance, shape, leaf_size, points);
                (rows_of(points), Search::Tree(tree))
            }
            None => {
                let points = rows_of(points);
                let products = matches!(distance, Distance::Euclidean | Distance::Cosine)
                    .then(|| brute::Products::new(&points, columns));
                (points, products.map_or(Search::Brute, Search::Products))
            }
        };
        Index { distance, algorithm, leaf_size, columns, points, search }
    }

    /// Whether it holds so many columns, and enough rows for each to have `count` neighbours.
    pub(crate) fn fits(&self, columns: usize, count: usize) -> bool {
        self.columns == columns && (1..=self.rows()).contains(&count)
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.points.len() / self.columns
    }

    /// The row at a position of `points`.
    fn row(&self, position: usize) -> usize {
        match &self.search {
            Search::Tree(tree) => tree.order[position],
            Search::Products(_) | Search::Brute => position,
        }
    }

    /// The nearest `count` rows of each query; `count` is from 1 to [`Index::rows`].
    ///
    /// # Errors
    /// Queries so large that distances overflow.
    pub(crate) fn nearest(
        &self,
        name: &'static str,
        queries: ArrayView2<'_, f64>,
        count: usize,
    ) -> Result<Neighbors> {
        self.distance.check(name, queries)?;
        let queries = rows_of(self.distance.prepare(queries).into_owned());
        let nearest = |_| Nearest { heap: BinaryHeap::with_capacity(count), count, except: None };
        let found = self.run(&queries, nearest, |visit| visit.heap.into_sorted_vec());
        Ok(self.neighbors(count, &found))
    }

    /// The nearest `count` rows of each row besides itself; `count` is below [`Index::rows`].
    pub(crate) fn nearest_others(&self, count: usize) -> Neighbors {
        let nearest = |position| Nearest {
            heap: BinaryHeap::with_capacity(count),
            count,
            except: Some(self.row(position)),
        };
        let found = self.run(&self.points, nearest, |visit| visit.heap.into_sorted_vec());
        self.neighbors(count, &self.in_order(found))
    }

    fn neighbors(&self, count: usize, found: &[Vec<Candidate>]) -> Neighbors {
        let shape = (found.len(), count);
        let distance = |(query, place): (usize, usize)| self.distance.expand(found[query][place].reduced);
        Neighbors {
            distances: Array2::from_shape_fn(shape, distance),
            indices: Array2::from_shape_fn(shape, |(query, place)| found[query][place].row),
        }
    }

    /// What `finish` makes of the rows within `radius` (inclusive) of each query, in no certain order.
    ///
    /// # Errors
    /// Queries so large that distances overflow.
    pub(crate) fn within<T: Send>(
        &self,
        name: &'static str,
        queries: ArrayView2<'_, f64>,
        radius: f64,
        finish: impl Fn(Vec<Candidate>) -> T + Sync,
    ) -> Result<Vec<T>> {
        self.distance.check(name, queries)?;
        let queries = rows_of(self.distance.prepare(queries).into_owned());
        let limit = self.distance.reduce(radius);
        Ok(self.run(&queries, |_| Within { limit, found: Vec::new() }, |visit| finish(visit.found)))
    }

    /// As [`Index::within`] for the indexed rows themselves; each is within its own radius.
    pub(crate) fn within_others<T: Send>(
        &self,
        radius: f64,
        finish: impl Fn(Vec<Candidate>) -> T + Sync,
    ) -> Vec<T> {
        let limit = self.distance.reduce(radius);
        let start = |_| Within { limit, found: Vec::new() };
        self.in_order(self.run(&self.points, start, |visit| finish(visit.found)))
    }

    /// The distance that a candidate is at.
    pub(crate) fn distance(&self, candidate: Candidate) -> f64 {
        self.distance.expand(candidate.reduced)
    }

    /// What was found for each position, by row.
    fn in_order<T>(&self, found: Vec<T>) -> Vec<T> {
        let mut found: Vec<(usize, T)> =
            found.into_iter().enumerate().map(|(position, found)| (self.row(position), found)).collect();
        found.sort_unstable_by_key(|(row, _)| *row);
        found.into_iter().map(|(_, found)| found).collect()
    }

    /// Searches for all queries on all cores.
    fn run<V: Visit + Send, T: Send>(
        &self,
        queries: &[f64],
        start: impl Fn(usize) -> V + Sync,
        finish: impl Fn(V) -> T + Sync,
    ) -> Vec<T> {
        let count = queries.len() / self.columns;
        let share = count.div_ceil(rayon::current_num_threads()).clamp(1, QUERIES);
        let work = count * self.points.len() / if matches!(self.search, Search::Tree(_)) { 16 } else { 4 };
        let chunks = queries.chunks(share * self.columns).enumerate();
        let answers = parallel::map(work, chunks, |(chunk, queries)| {
            let first = chunk * share;
            let mut visits: Vec<V> =
                (0..queries.len() / self.columns).map(|query| start(first + query)).collect();
            match &self.search {
                Search::Tree(tree) => {
                    for (query, visit) in queries.chunks_exact(self.columns).zip(&mut visits) {
                        tree.search(self.distance, &self.points, query, visit);
                    }
                }
                Search::Products(products) => products.search(&self.points, queries, &mut visits),
                Search::Brute => {
                    brute::search(self.distance, &self.points, self.columns, queries, &mut visits)
                }
            }
            visits.into_iter().map(&finish).collect::<Vec<T>>()
        });
        answers.into_iter().flatten().collect()
    }
}

/// The rows of an array one after the other.
fn rows_of(array: Array2<f64>) -> Vec<f64> {
    if array.is_standard_layout() {
        array.into_raw_vec_and_offset().0
    } else {
        array.iter().copied().collect()
    }
}

/// Written without the tree, which is made again when it is read.
impl Serialize for Index {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Rows go back to their places, because a tree breaks ties by them.
        let mut places = vec![0; self.rows()];
        (0..self.rows()).for_each(|position| places[self.row(position)] = position);
        let points: Vec<f64> = places
            .iter()
            .flat_map(|&place| &self.points[place * self.columns..][..self.columns])
            .copied()
            .collect();
        (self.distance, self.algorithm, self.leaf_size, self.columns, points).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Index, D::Error> {
        let (distance, algorithm, leaf_size, columns, points) =
            <(Distance, Algorithm, usize, usize, Vec<f64>)>::deserialize(deserializer)?;
        let rows = points.len().checked_div(columns).unwrap_or(0);
        let points = Array2::from_shape_vec((rows, columns), points).map_err(D::Error::custom)?;
        if rows == 0 || points.iter().any(|value| !value.is_finite()) {
            return Err(D::Error::custom("no rows, or values that are not finite"));
        }
        Ok(Index::of_prepared(points, distance, algorithm, leaf_size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classical::neighbors::Metric;

    /// Points on a coarse grid, so that many distances tie and many rows are the same.
    fn points(rows: usize, columns: usize, offset: f64) -> Array2<f64> {
        let mut rng = fastrand::Rng::with_seed(3);
        Array2::from_shape_fn((rows, columns), |_| offset + f64::from(rng.u8(..5)))
    }

    /// All distances by their definition, sorted.
    fn reference(distance: Distance, query: &[f64], points: &Array2<f64>) -> Vec<Candidate> {
        let all = points.rows().into_iter().enumerate();
        let mut all: Vec<Candidate> = all
            .map(|(row, point)| Candidate { reduced: distance.reduced(query, &point.to_vec()), row })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn every_algorithm_finds_the_same_as_all_distances() -> Result<()> {
        for (columns, offset) in [(1, 0.0), (3, 1e6), (18, 0.0)] {
            let (rows, queries) = (points(300, columns, offset), points(150, columns, offset) + 0.3);
            for (metric, p) in [
                (Metric::Euclidean, 2.0),
                (Metric::Manhattan, 2.0),
                (Metric::Chebyshev, 2.0),
                (Metric::Minkowski, 3.0),
                (Metric::Cosine, 2.0),
            ] {
                let distance = metric.distance("test", p)?;
                let (prepared, asked) = (distance.prepare(rows.view()), distance.prepare(queries.view()));
                let prepared = prepared.to_owned();
                let expected: Vec<Vec<Candidate>> = asked
                    .rows()
                    .into_iter()
                    .map(|query| reference(distance, &query.to_vec(), &prepared))
                    .collect();
                for algorithm in [Algorithm::Brute, Algorithm::KdTree, Algorithm::BallTree] {
                    let index = Index::new("test", rows.view(), distance, algorithm, 7)?;
                    let found = index.nearest("test", queries.view(), 20)?;
                    for (query, expected) in expected.iter().enumerate() {
                        let rows: Vec<usize> = expected[..20].iter().map(|candidate| candidate.row).collect();
                        assert_eq!(found.indices.row(query).to_vec(), rows, "{metric:?} {algorithm:?}");
                    }
                    let radius = index.distance(expected[0][40]);
                    let within = index.within("test", queries.view(), radius, |mut found| {
                        found.sort();
                        found
                    })?;
                    for (found, expected) in within.iter().zip(&expected) {
                        let limit = distance.reduce(radius);
                        let count = expected.iter().filter(|candidate| candidate.reduced <= limit).count();
                        assert_eq!(found, &expected[..count], "{metric:?} {algorithm:?}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_row_is_not_its_own_neighbour() -> Result<()> {
        let rows = points(100, 2, 0.0);
        for algorithm in [Algorithm::Brute, Algorithm::KdTree, Algorithm::BallTree] {
            let index = Index::new("test", rows.view(), Distance::Euclidean, algorithm, 5)?;
            let found = index.nearest_others(4);
            let within = index.within_others(1.0, |found| found.len());
            for (row, point) in rows.rows().into_iter().enumerate() {
                let mut expected = reference(Distance::Euclidean, &point.to_vec(), &rows);
                assert_eq!(within[row], expected.iter().filter(|candidate| candidate.reduced <= 1.0).count());
                expected.retain(|candidate| candidate.row != row);
                let nearest: Vec<usize> = expected[..4].iter().map(|candidate| candidate.row).collect();
                assert_eq!(found.indices.row(row).to_vec(), nearest, "{algorithm:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn damaged_rows_are_refused() {
        let stored = (Distance::Euclidean, Algorithm::Auto, 30_usize, 3_usize, vec![1.0_f64; 7]);
        let bytes = postcard::to_stdvec(&stored).expect("plain values can be written");
        assert!(postcard::from_bytes::<Index>(&bytes).is_err());
        let stored = (Distance::Euclidean, Algorithm::Auto, 30_usize, 0_usize, Vec::<f64>::new());
        let bytes = postcard::to_stdvec(&stored).expect("plain values can be written");
        assert!(postcard::from_bytes::<Index>(&bytes).is_err());
    }
}
