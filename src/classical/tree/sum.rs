//! Predictions of many trees at once.

use super::structure::Tree;
use crate::classical::parallel;
use ndarray::{ArrayView2, s};

/// How many rows, at least and at most, go through all trees before the next ones do.
const BLOCK: usize = 256;
const MOST: usize = 8192;
/// Bytes of trees that a core's cache is likely to hold.
const CACHE: usize = 1 << 20;
/// What a row's way to a leaf takes, in nanoseconds.
const STEPS: usize = 16;

/// Adds the trees' values to `sums`, `width` numbers for each row. A tree of fewer outputs adds to the
/// columns after those of the tree before it, in turn.
pub(crate) fn add_values(trees: &[Tree], x: ArrayView2<'_, f64>, sums: &mut [f64], width: usize) {
    // Trees that the cache cannot hold together are read anew for each block of rows: the fewer the better.
    let rows = sums.len() / width;
    let share = rows.div_ceil(rayon::current_num_threads());
    let large = trees.iter().map(Tree::bytes).sum::<usize>() > CACHE;
    let size = if large { share.clamp(BLOCK, MOST) } else { BLOCK };
    let work = rows * trees.len() * STEPS;
    parallel::for_each(work, sums.chunks_mut(size * width).enumerate(), |(block, sums)| {
        let first = block * size;
        let rows = x.slice(s![first..first + sums.len() / width, ..]);
        for (index, tree) in trees.iter().enumerate() {
            let column = index * tree.n_outputs() % width;
            tree.each_value(rows, |row, values| {
                let sums = &mut sums[row * width + column..];
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            });
        }
    });
}
