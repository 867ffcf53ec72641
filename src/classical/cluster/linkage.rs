//! Trees of merged clusters.

use crate::classical::neighbors::Distance;
use crate::parallel;
use crate::{Error, Result};

/// Merges in the order of their distance. Clusters below the number of rows are rows; the others are
/// numbered by the merge that made them.
#[derive(Debug, Clone)]
pub(super) struct Dendrogram {
    pub(super) children: Vec<[usize; 2]>,
    pub(super) distances: Vec<f64>,
}

/// Sets that are joined step by step, each with a number of its own.
struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    fn find(&mut self, mut member: usize) -> usize {
        while self.parent[member] != member {
            self.parent[member] = self.parent[self.parent[member]];
            member = self.parent[member];
        }
        member
    }
}

impl Dendrogram {
    /// From merges of the clusters that two rows are in, in any order.
    pub(super) fn new(rows: usize, mut merges: Vec<(usize, usize, f64)>) -> Dendrogram {
        merges.sort_by(|a, b| a.2.total_cmp(&b.2));
        let mut sets = Sets { parent: (0..rows).collect() };
        let mut dendrogram = Dendrogram { children: Vec::new(), distances: Vec::new() };
        for (a, b, distance) in merges {
            let (a, b) = (sets.find(a), sets.find(b));
            let merged = sets.parent.len();
            sets.parent.push(merged);
            (sets.parent[a], sets.parent[b]) = (merged, merged);
            dendrogram.children.push([a.min(b), a.max(b)]);
            dendrogram.distances.push(distance);
        }
        dendrogram
    }

    /// The cluster of each row after all merges but the last `clusters - 1`, numbered by their first rows.
    pub(super) fn cut(&self, clusters: usize) -> Vec<i64> {
        let rows = self.children.len() + 1;
        let mut sets = Sets { parent: (0..2 * rows - 1).collect() };
        for (merge, children) in self.children.iter().take(rows - clusters).enumerate() {
            children.iter().for_each(|&child| sets.parent[child] = rows + merge);
        }
        let mut numbers = vec![-1; sets.parent.len()];
        let mut next = 0;
        (0..rows)
            .map(|row| {
                let number = &mut numbers[sets.find(row)];
                if *number == -1 {
                    *number = next;
                    next += 1;
                }
                *number
            })
            .collect()
    }
}

/// The edges of a minimum spanning tree, grown from row 0 (Prim, 1957): a row, the row that is joined to
/// it, and their distance. `fill` writes the distances of a row from all.
pub(super) fn spanning_tree(rows: usize, fill: impl Fn(usize, &mut [f64])) -> Vec<(usize, usize, f64)> {
    // For each row the nearest that was joined before it.
    let mut nearest = vec![(f64::INFINITY, 0); rows];
    let mut distances = vec![0.0; rows];
    let mut left: Vec<usize> = (1..rows).collect();
    let mut current = 0;
    let mut edges = Vec::with_capacity(rows - 1);
    while !left.is_empty() {
        fill(current, &mut distances);
        let (mut place, mut least) = (0, f64::INFINITY);
        for (at, &row) in left.iter().enumerate() {
            if distances[row] < nearest[row].0 {
                nearest[row] = (distances[row], current);
            }
            if nearest[row].0 < least {
                (place, least) = (at, nearest[row].0);
            }
        }
        current = left.remove(place);
        edges.push((nearest[current].1, current, least));
    }
    edges
}

/// Distances between all pairs of different rows, those of each row with the rows before it together.
pub(super) struct Pairs {
    values: Vec<f64>,
}

/// The bytes that can still be allocated, where the system tells (Linux).
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

impl Pairs {
    /// All pairs of `rows`, which lie one after the other.
    ///
    /// # Errors
    /// More pairs than there is memory for, in the name of `name`.
    pub(super) fn new(name: &'static str, distance: Distance, rows: &[f64], columns: usize) -> Result<Pairs> {
        let count = rows.len() / columns;
        let pairs = count * (count - 1) / 2;
        let bytes = pairs as u64 * size_of::<f64>() as u64;
        let mut values = Vec::new();
        if available_memory().is_some_and(|available| bytes > available)
            || values.try_reserve_exact(pairs).is_err()
        {
            let message = format!(
                "the distances between all pairs of {count} rows take {:.1} GiB, more than there is memory for; \
                 use the single linkage, or fewer rows",
                bytes as f64 / f64::from(1 << 30)
            );
            return Err(Error::op(name, message));
        }
        values.resize(pairs, 0.0);
        let mut parts = Vec::with_capacity(count);
        let mut rest = values.as_mut_slice();
        for row in 1..count {
            let (part, after) = rest.split_at_mut(row);
            parts.push((row, part));
            rest = after;
        }
        parallel::map(1, parts, |(row, part)| {
            distance.reduced_to_rows(&rows[row * columns..][..columns], &rows[..row * columns], part);
            part.iter_mut().for_each(|value| *value = distance.expand(*value));
        });
        Ok(Pairs { values })
    }

    pub(super) fn at(&mut self, a: usize, b: usize) -> &mut f64 {
        let (low, high) = (a.min(b), a.max(b));
        &mut self.values[high * (high - 1) / 2 + low]
    }
}
