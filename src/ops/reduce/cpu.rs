//! Reductions on the CPU.

use crate::Word;
use crate::op::Elements;
use crate::parallel;
use crate::vectors::vectorised;

/// The greater; NaN wins.
pub(super) fn greater(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// The lesser; NaN wins.
pub(super) fn lesser(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

/// Elements a thread should have at least.
const SHARE: usize = 16 * 1024;

/// Folds `length` elements into one, for each of `outer` and `inner`. Where and in which order depends
/// on the sizes alone, so that the rounding does not change with the number of threads.
pub(super) fn fold<T: Word>(
    input: Elements<T>,
    output: &mut [T],
    (outer, length, inner): (usize, usize, usize),
    first: T,
    join: impl Fn(T, T) -> T + Copy + Sync,
) {
    // A long run is cut into parts for the threads to share, whose results are folded in turn.
    let cut = if inner == 1 { 4 * SHARE } else { (SHARE / inner).max(32) };
    if length > cut {
        let parts = length.div_ceil(cut);
        let mut partial = vec![first; outer * parts * inner];
        parallel::chunks(&mut partial, inner, 1, |at, out| {
            let (row, part) = (at / parts, at % parts);
            let (start, end) = (part * cut, length.min((part + 1) * cut));
            let range = (row * length + start) * inner..(row * length + end) * inner;
            input.with(range, |input| run(input, out, first, join));
        });
        return fold(Elements::of(&partial), output, (outer, parts, inner), first, join);
    }
    if length == 0 {
        return output.fill(first);
    }
    let size = length * inner;
    if size > 4 * SHARE {
        // Few long rows: the columns are shared.
        let width = SHARE.div_ceil(length);
        for (at, out) in output.chunks_exact_mut(inner).enumerate() {
            parallel::chunks(out, width, 1, |piece, out| {
                out.fill(first);
                for row in 0..length {
                    let start = at * size + row * inner + piece * width;
                    input.with(start..start + out.len(), |row| onto(out, row, join));
                }
            });
        }
        return;
    }
    let items = SHARE.div_ceil(size);
    parallel::chunks(output, items * inner, 1, |piece, out| {
        let start = piece * items * size;
        input.with(start..start + out.len() * length, |input| {
            let rows = input.chunks_exact(size).zip(out.chunks_exact_mut(inner));
            rows.for_each(|(input, out)| run(input, out, first, join));
        });
    });
}

/// Joins the elements of a row and those of `output`.
fn onto<T: Word>(output: &mut [T], row: &[T], join: impl Fn(T, T) -> T + Copy) {
    vectorised(
        #[inline(always)]
        || output.iter_mut().zip(row).for_each(|(out, &value)| *out = join(*out, value)),
    );
}

/// Folds whole rows of `output`'s length into it.
fn run<T: Word>(input: &[T], output: &mut [T], first: T, join: impl Fn(T, T) -> T + Copy) {
    if let [out] = output {
        *out = lanes(input, first, join);
        return;
    }
    vectorised(
        #[inline(always)]
        || {
            output.fill(first);
            for row in input.chunks_exact(output.len()) {
                output.iter_mut().zip(row).for_each(|(out, &value)| *out = join(*out, value));
            }
        },
    );
}

/// A run folded in 32 lanes: vectors, and for a sum a rounding error that grows with a 32nd of the
/// length.
fn lanes<T: Word>(values: &[T], first: T, join: impl Fn(T, T) -> T + Copy) -> T {
    vectorised(
        #[inline(always)]
        || {
            let mut lanes = [first; 32];
            let chunks = values.chunks_exact(32);
            let rest = chunks.remainder().iter().fold(first, |sum, &value| join(sum, value));
            for chunk in chunks {
                for (lane, &value) in lanes.iter_mut().zip(chunk) {
                    *lane = join(*lane, value);
                }
            }
            for half in [16, 8, 4, 2, 1] {
                for i in 0..half {
                    lanes[i] = join(lanes[i], lanes[i + half]);
                }
            }
            join(lanes[0], rest)
        },
    )
}

/// The sum of a row.
pub(in crate::ops) fn sum(values: &[f32]) -> f32 {
    lanes(values, 0.0, |a, b| a + b)
}

/// The greatest of a row; NaN wins.
pub(in crate::ops) fn greatest(values: &[f32]) -> f32 {
    lanes(values, f32::NEG_INFINITY, greater)
}

/// The first position of the best element.
pub(super) fn positions<T: Word>(
    input: &[T],
    output: &mut [i32],
    (_, length, inner): (usize, usize, usize),
    better: impl Fn(T, T) -> bool + Sync,
) {
    let share = SHARE.div_ceil(length.max(1));
    parallel::chunks(output, share, 1, |piece, output| {
        for (at, out) in (piece * share..).zip(output) {
            let base = at / inner * length * inner + at % inner;
            let (mut best, mut position) = (input[base], 0);
            for step in 1..length {
                let value = input[base + step * inner];
                if better(value, best) {
                    (best, position) = (value, step as i32);
                }
            }
            *out = position;
        }
    });
}
