//! Features as ranks: each column is sorted once, and trees are grown on small integers.

use crate::classical::parallel;
use ndarray::ArrayView2;

/// The rank of a missing value: above all others.
pub(crate) const MISSING: u32 = u32::MAX;

/// A column of the training features.
#[derive(Debug)]
pub(crate) struct Column {
    /// For each row, the place of its value among the column's distinct values.
    pub ranks: Vec<u32>,
    /// The distinct values, ascending.
    pub values: Vec<f64>,
}

impl Column {
    fn new(column: impl Iterator<Item = f64>) -> Column {
        let mut rows: Vec<(f64, u32)> = column.zip(0..).collect();
        let mut ranks = vec![MISSING; rows.len()];
        rows.retain(|(value, _)| !value.is_nan());
        // Adding 0 makes -0 and 0 the same bits.
        rows.sort_unstable_by(|a, b| (a.0 + 0.0).total_cmp(&(b.0 + 0.0)));
        let mut values = Vec::new();
        for (value, row) in rows {
            if values.last() != Some(&value) {
                values.push(value);
            }
            ranks[row as usize] = values.len() as u32 - 1;
        }
        Column { ranks, values }
    }

    /// The threshold between this rank and the next higher one that is `above`: halfway.
    pub fn between(&self, below: u32, above: u32) -> f64 {
        let (low, high) = (self.values[below as usize], self.values[above as usize]);
        let middle = low / 2.0 + high / 2.0;
        // Rounding must not push the threshold up to the higher value.
        if middle < high { middle } else { low }
    }
}

/// All columns of a matrix.
pub(crate) fn columns(x: ArrayView2<'_, f64>) -> Vec<Column> {
    // Sorting takes some tens of nanoseconds for each value.
    parallel::map(32 * x.len(), x.columns(), |column| Column::new(column.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_values() {
        let column = Column::new([3.0, f64::NAN, -1.0, 3.0, 0.0, -0.0].into_iter());
        assert_eq!(column.ranks, [2, MISSING, 0, 2, 1, 1]);
        assert_eq!(column.values, [-1.0, 0.0, 3.0]);
        assert_eq!(column.between(1, 2), 1.5);
        let next = Column::new([1.0, 1.0_f64.next_up()].into_iter());
        assert_eq!(next.between(0, 1), 1.0);
    }
}
