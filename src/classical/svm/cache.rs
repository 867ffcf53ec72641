//! Kernel rows that were computed lately.

use std::sync::Arc;

/// Rows of kernel values in single precision, as many as fit; the ones not asked for lately go first
/// (second chance, which comes close to least recently used).
#[derive(Debug)]
pub(super) struct Cache {
    rows: Vec<Option<Arc<[f32]>>>,
    /// Whether each row was asked for since the hand last passed it.
    recent: Vec<bool>,
    /// The rows that are held, in a ring.
    held: Vec<usize>,
    hand: usize,
    bytes: usize,
}

impl Cache {
    /// Room for `bytes` of rows of `length` values, of which there are as many.
    pub(super) fn new(length: usize, bytes: usize) -> Cache {
        Cache { rows: vec![None; length], recent: vec![false; length], held: Vec::new(), hand: 0, bytes }
    }

    /// A row; `compute` makes it if it is not held.
    pub(super) fn row(&mut self, row: usize, compute: impl FnOnce() -> Arc<[f32]>) -> Arc<[f32]> {
        self.recent[row] = true;
        if let Some(values) = &self.rows[row] {
            return Arc::clone(values);
        }
        let values = compute();
        self.rows[row] = Some(Arc::clone(&values));
        // The two rows of a step are always held.
        let capacity = (self.bytes / (size_of::<f32>() * self.rows.len())).max(2);
        if self.held.len() < capacity {
            self.held.push(row);
            return values;
        }
        loop {
            self.hand = (self.hand + 1) % self.held.len();
            let candidate = self.held[self.hand];
            if !std::mem::take(&mut self.recent[candidate]) {
                self.rows[candidate] = None;
                self.held[self.hand] = row;
                return values;
            }
        }
    }

    /// Keeps these rows, and of each row these values.
    pub(super) fn keep(&mut self, kept: &[usize]) {
        // The others go first, then each row when its values are taken, so that room for both is not needed.
        self.rows = kept.iter().map(|&row| self.rows[row].take()).collect();
        for row in self.rows.iter_mut().flatten() {
            *row = kept.iter().map(|&column| row[column]).collect();
        }
        self.recent = kept.iter().map(|&row| self.recent[row]).collect();
        self.held = (0..kept.len()).filter(|&row| self.rows[row].is_some()).collect();
        self.hand = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_asked_for_lately_stay() {
        let mut cache = Cache::new(4, 2 * 4 * size_of::<f32>());
        let mut computed = Vec::new();
        let mut ask = |row: usize| {
            let values = cache.row(row, || {
                computed.push(row);
                vec![row as f32; 4].into()
            });
            assert_eq!(values[0], row as f32);
        };
        [0, 1, 0, 1, 2, 2, 3, 3, 2].into_iter().for_each(&mut ask);
        assert_eq!(computed, [0, 1, 2, 3]);
    }

    #[test]
    fn kept_rows_are_cut() {
        let mut cache = Cache::new(4, 1 << 10);
        cache.row(1, || [0.0, 1.0, 2.0, 3.0].into());
        cache.row(2, || [0.0, 2.0, 4.0, 6.0].into());
        cache.keep(&[0, 2, 3]);
        assert_eq!(*cache.row(1, || unreachable!("it is held")), [0.0, 4.0, 6.0]);
        assert_eq!(*cache.row(0, || [9.0; 3].into()), [9.0; 3]);
    }
}
