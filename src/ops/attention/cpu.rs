//! Attention on the CPU: a thread takes a block of queries through blocks of keys, whose scores stay in its
//! cache.

use super::{Backward, Pass, Places, Sizes};
use crate::View;
use crate::gemm::{self, Matrix, Parallelism};
use crate::ops::math::exp;
use crate::ops::reduce::greatest;
use crate::parallel;
use crate::vectors::vectorised;
use std::ops::Range;

/// Queries and keys of a block: few enough for their scores to stay in a cache, and enough for the products to be
/// fast.
const QUERIES: usize = 128;
const KEYS: usize = 256;

/// Rows of one head in an input: the first element, and how far two rows and two elements of one are apart.
#[derive(Clone, Copy)]
struct Rows {
    data: *const f32,
    row: isize,
    column: isize,
}

impl Rows {
    /// The last two dimensions of a view at these places in the first two.
    fn of(view: &View, at: [usize; 2]) -> Rows {
        let strides = view.spec.layout.strides();
        let place: isize = at.iter().zip(strides).map(|(&at, stride)| at as isize * stride).sum();
        let first = view.spec.layout.offset as isize + place;
        Rows {
            data: view.buffer::<f32>().as_ptr().wrapping_offset(first),
            row: strides[2],
            column: strides[3],
        }
    }

    /// A block of `columns` columns.
    fn block(values: &[f32], columns: usize) -> Rows {
        Rows { data: values.as_ptr(), row: columns as isize, column: 1 }
    }

    fn from(self, first: usize) -> Rows {
        Rows { data: self.data.wrapping_offset(first as isize * self.row), ..self }
    }

    fn t(self) -> Rows {
        Rows { row: self.column, column: self.row, ..self }
    }

    /// The first element of a row.
    ///
    /// # Safety
    /// There must be such a row.
    unsafe fn at(self, row: usize) -> f32 {
        // SAFETY: the caller's.
        unsafe { *self.from(row).data }
    }
}

/// Memory that threads write, each its own rows of its own head.
#[derive(Clone, Copy)]
struct Target {
    data: *mut f32,
    /// How far two rows are apart.
    row: usize,
}

// SAFETY: the threads' rows do not overlap.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    fn from(self, offset: usize) -> Target {
        Target { data: self.data.wrapping_add(offset), ..self }
    }

    /// `scale * a b` of `[rows, columns, terms]`, added to what is there if `add`.
    ///
    /// # Safety
    /// Places in all three must be valid, and nobody else may use the target's meanwhile.
    unsafe fn multiply(self, sizes: [usize; 3], add: bool, [a, b]: [Rows; 2], scale: f32) {
        let operands = [a, b].map(|rows| Matrix::new(rows.data, rows.row, rows.column));
        // SAFETY: the caller's.
        unsafe {
            gemm::multiply(sizes, (self.data, self.row as isize, 1), add, operands, scale, Parallelism::None);
        }
    }

    /// # Safety
    /// As in [`multiply`](Self::multiply).
    unsafe fn values<'a>(self, row: usize, columns: usize) -> &'a mut [f32] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.row), columns) }
    }
}

/// Memory of a thread for a block.
#[derive(Default)]
struct Memory {
    /// A row of keys for each query: scores, then weights.
    weights: Vec<f32>,
    /// The gradients of the scores.
    slopes: Vec<f32>,
}

/// The first elements of memory that grows as needed.
fn first(memory: &mut Vec<f32>, count: usize) -> &mut [f32] {
    if memory.len() < count {
        memory.resize(count, 0.0);
    }
    &mut memory[..count]
}

/// The exponentials of a row less `top` in place of it, and their sum, in lanes as [`sum`](crate::ops::reduce).
#[inline(always)]
fn exponentials(row: &mut [f32], top: f32) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [0.0; LANES];
    let mut chunks = row.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *value = exp(*value - top);
            *lane += *value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(chunks.into_remainder()) {
        *value = exp(*value - top);
        *lane += *value;
    }
    for half in [16, 8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// The queries and keys of a head whose scores are computed.
#[derive(Clone, Copy)]
struct Head<'a> {
    pass: &'a Pass,
    size: usize,
    query: Rows,
    key: Rows,
    mask: Option<Rows>,
}

impl Head<'_> {
    /// The scores of a block of queries and keys, minus infinity where the key is not seen.
    fn scores(&self, queries: &Range<usize>, keys: &Range<usize>, scores: &mut [f32]) {
        let columns = keys.len();
        let target = Target { data: scores.as_mut_ptr(), row: columns };
        let operands = [self.query.from(queries.start), self.key.from(keys.start).t()];
        // SAFETY: the ranges are inside the inputs, which the executor's views cover, and the scores are ours.
        unsafe { target.multiply([queries.len(), columns, self.size], false, operands, self.pass.scale) };
        for (query, row) in queries.clone().zip(scores.chunks_exact_mut(columns)) {
            if let Some(mask) = self.mask {
                let hide = |score: &mut f32, added: f32| {
                    *score = if added == f32::NEG_INFINITY { added } else { *score + added };
                };
                let mask = mask.from(query).t().from(keys.start);
                // SAFETY: the mask has an element for each query and key.
                unsafe {
                    match mask.row {
                        1 => {
                            let added = std::slice::from_raw_parts(mask.data, columns);
                            row.iter_mut().zip(added).for_each(|(score, &added)| hide(score, added));
                        }
                        _ => row.iter_mut().enumerate().for_each(|(key, score)| hide(score, mask.at(key))),
                    }
                }
            }
            if self.pass.is_causal {
                let seen = (query + 1).saturating_sub(keys.start).min(columns);
                row[seen..].fill(f32::NEG_INFINITY);
            }
        }
    }

    /// The end of the keys that some of these queries see.
    fn seen(&self, queries: &Range<usize>, keys: usize) -> usize {
        if self.pass.is_causal { queries.end.min(keys) } else { keys }
    }
}

/// Ranges of `length` at most that make up `whole`.
fn blocks(whole: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let end = whole.end;
    whole.step_by(length).map(move |start| start..end.min(start + length))
}

/// See [`Forward`](super::Forward).
pub(super) fn forward(pass: &Pass, inputs: &[View], output: &mut [f32]) {
    let sizes = Sizes::of([0, 1, 2].map(|input: usize| inputs[input].spec.shape()));
    let Sizes { heads, queries, keys, values, .. } = sizes;
    let (attended, logs) = output.split_at_mut(sizes.outputs());
    let attended = Target { data: attended.as_mut_ptr(), row: heads * values };
    let logs = pass.saves.then_some(Target { data: logs.as_mut_ptr(), row: sizes.row() });
    let count = queries.div_ceil(QUERIES);
    parallel::ranges(sizes.batch * heads * count, 1, &|tasks| {
        let mut memory = Memory::default();
        for task in tasks {
            let (block, head, entry) = (task % count, task / count % heads, task / count / heads);
            let rows = block * QUERIES..queries.min((block + 1) * QUERIES);
            let shared = head / (heads / sizes.shared);
            let value = Rows::of(&inputs[2], [entry, shared]);
            let parts = Head {
                pass,
                size: sizes.size,
                query: Rows::of(&inputs[0], [entry, head]),
                key: Rows::of(&inputs[1], [entry, shared]),
                mask: inputs.get(3).map(|mask| Rows::of(mask, [entry, head])),
            };
            let target = attended.from(((entry * queries + rows.start) * heads + head) * values);
            let (mut tops, mut totals) = ([f32::NEG_INFINITY; QUERIES], [0.0; QUERIES]);
            for columns in blocks(0..parts.seen(&rows, keys), KEYS) {
                let scores = first(&mut memory.weights, rows.len() * columns.len());
                parts.scores(&rows, &columns, scores);
                for (row, scores) in scores.chunks_exact_mut(columns.len()).enumerate() {
                    let before = tops[row];
                    let found = greatest(scores);
                    tops[row] = if found > before || found.is_nan() { found } else { before };
                    // Nothing seen yet: every weight is the exponential of minus infinity.
                    let top = if tops[row] == f32::NEG_INFINITY { 0.0 } else { tops[row] };
                    let total = vectorised(
                        #[inline(always)]
                        || exponentials(scores, top),
                    );
                    let kept = exp(before - top);
                    if columns.start > 0 && kept != 1.0 {
                        totals[row] *= kept;
                        // SAFETY: the row is this task's.
                        let sums = unsafe { target.values(row, values) };
                        sums.iter_mut().for_each(|sum| *sum *= kept);
                    }
                    totals[row] += total;
                }
                let weights = Rows::block(scores, columns.len());
                // SAFETY: the rows of the output are this task's, and the values reach as far as the keys.
                unsafe {
                    let operands = [weights, value.from(columns.start)];
                    target.multiply([rows.len(), values, columns.len()], columns.start > 0, operands, 1.0);
                }
            }
            for (row, (&top, &total)) in tops.iter().zip(&totals).take(rows.len()).enumerate() {
                // SAFETY: as above.
                let sums = unsafe { target.values(row, values) };
                let scale = if total == 0.0 { 0.0 } else { 1.0 / total };
                sums.iter_mut().for_each(|sum| *sum *= scale);
                if let Some(logs) = logs {
                    let log = if total == 0.0 { 0.0 } else { top + total.ln() };
                    // SAFETY: as above.
                    unsafe { logs.values(entry * heads + head, queries)[rows.start + row] = log };
                }
            }
        }
    });
}

/// What the gradients of all heads are computed with.
struct Gradients<'a> {
    pass: &'a Pass,
    sizes: Sizes,
    inputs: &'a [View<'a>],
    places: Places,
    output: Target,
}

/// A head of the queries, on the way back.
struct Returning<'a> {
    index: usize,
    head: Head<'a>,
    upstream: Rows,
    /// The logarithm of each query's sum.
    logs: &'a [f32],
    /// The sum of each query's outputs times their gradients.
    sums: &'a [f32],
}

/// See [`Backward`].
pub(super) fn backward(op: &Backward, inputs: &[View], output: &mut [f32]) {
    let sizes = Sizes::of([0, 1, 2].map(|input: usize| inputs[input].spec.shape()));
    let output = Target { data: output.as_mut_ptr(), row: 0 };
    let gradients = Gradients { pass: &op.pass, sizes, inputs, places: op.places(&sizes), output };
    let Sizes { batch, heads, shared, queries, keys, .. } = sizes;
    let share = heads / shared;
    let groups = 0..batch * shared;
    if groups.len() >= rayon::current_num_threads() {
        return parallel::ranges(groups.len(), 1, &|groups| {
            let mut memory = Memory::default();
            for group in groups {
                gradients.write(&mut memory, group, 0..share, 0..queries, 0..keys, [true; 2]);
            }
        });
    }
    // Threads that share a head compute its scores twice: for the gradients of the keys and of the queries.
    let cut = |group| blocks(0..keys, KEYS).map(move |keys| (group, keys));
    let of_keys: Vec<_> = groups.clone().flat_map(cut).collect();
    parallel::ranges(of_keys.len(), 1, &|tasks| {
        let mut memory = Memory::default();
        for (group, keys) in &of_keys[tasks] {
            gradients.write(&mut memory, *group, 0..share, 0..queries, keys.clone(), [false, true]);
        }
    });
    let cut = |group| {
        (0..share).flat_map(move |head| blocks(0..queries, QUERIES).map(move |rows| (group, head, rows)))
    };
    let of_queries: Vec<_> = groups.flat_map(cut).collect();
    parallel::ranges(of_queries.len(), 1, &|tasks| {
        let mut memory = Memory::default();
        for (group, head, queries) in &of_queries[tasks] {
            gradients.write(&mut memory, *group, *head..head + 1, queries.clone(), 0..keys, [true, false]);
        }
    });
}

impl Gradients<'_> {
    /// A gradient's rows of a head, from `row` on.
    fn target(&self, part: usize, [entry, head, row]: [usize; 3]) -> Target {
        let (offset, batch, stride) = self.places.0[part];
        let columns = if part == 2 { self.sizes.values } else { self.sizes.size };
        Target { row: stride, ..self.output.from(offset + entry * batch + row * stride + head * columns) }
    }

    fn returning(&self, [entry, index, group]: [usize; 3]) -> Returning<'_> {
        let Sizes { heads, queries, size, .. } = self.sizes;
        let rows = |input: usize, head| Rows::of(&self.inputs[input], [entry, head]);
        let row = (entry * heads + index) * self.sizes.row();
        let statistics =
            |input: usize, first: usize| &self.inputs[input].slice::<f32>()[first + row..][..queries];
        let mask = self.inputs.get(6).map(|mask| Rows::of(mask, [entry, index]));
        let head = Head { pass: self.pass, size, query: rows(0, index), key: rows(1, group), mask };
        let (logs, sums) = (statistics(3, self.sizes.outputs()), statistics(5, 0));
        Returning { index, head, upstream: rows(4, index), logs, sums }
    }

    /// The gradients of these queries of some heads, numbered among those that share the keys of `group`, or those of
    /// these keys and values, or both.
    fn write(
        &self,
        memory: &mut Memory,
        group: usize,
        heads: Range<usize>,
        queries: Range<usize>,
        keys: Range<usize>,
        [of_queries, of_keys]: [bool; 2],
    ) {
        let Sizes { shared, size, values, .. } = self.sizes;
        let (entry, group, share) = (group / shared, group % shared, self.sizes.heads / shared);
        let returning: Vec<_> =
            heads.map(|head| self.returning([entry, group * share + head, group])).collect();
        let value = Rows::of(&self.inputs[2], [entry, group]);
        for columns in blocks(keys.clone(), KEYS) {
            let [of_key, of_value] = [1, 2].map(|part| self.target(part, [entry, group, columns.start]));
            let count = columns.len();
            let mut add = false;
            for from in &returning {
                let seeing = blocks(queries.clone(), QUERIES);
                for rows in seeing.filter(|rows| columns.start < from.head.seen(rows, self.sizes.keys)) {
                    let weights = first(&mut memory.weights, rows.len() * count);
                    let slopes = first(&mut memory.slopes, rows.len() * count);
                    from.slopes((&rows, &columns), value, values, [&mut *weights, &mut *slopes]);
                    let [weights, slopes] = [weights, slopes].map(|block| Rows::block(block, count));
                    let [query, upstream] = [from.head.query, from.upstream].map(|all| all.from(rows.start));
                    let scale = self.pass.scale;
                    // SAFETY: the ranges are inside the inputs, and the output's rows are this task's.
                    unsafe {
                        if of_keys {
                            let sizes = [count, values, rows.len()];
                            of_value.multiply(sizes, add, [weights.t(), upstream], 1.0);
                            of_key.multiply([count, size, rows.len()], add, [slopes.t(), query], scale);
                            add = true;
                        }
                        if of_queries {
                            let target = self.target(0, [entry, from.index, rows.start]);
                            let operands = [slopes, from.head.key.from(columns.start)];
                            target.multiply([rows.len(), size, count], columns.start > 0, operands, scale);
                        }
                    }
                }
            }
            if of_keys && !add {
                // No query sees these keys.
                for row in 0..count {
                    // SAFETY: as above.
                    unsafe {
                        of_key.values(row, size).fill(0.0);
                        of_value.values(row, values).fill(0.0);
                    }
                }
            }
        }
    }
}

impl Returning<'_> {
    /// The weights of a block of queries and keys, and the gradients of the scaled scores.
    fn slopes(
        &self,
        (queries, keys): (&Range<usize>, &Range<usize>),
        value: Rows,
        values: usize,
        [weights, slopes]: [&mut [f32]; 2],
    ) {
        let columns = keys.len();
        self.head.scores(queries, keys, weights);
        let target = Target { data: slopes.as_mut_ptr(), row: columns };
        let operands = [self.upstream.from(queries.start), value.from(keys.start).t()];
        // SAFETY: the ranges are inside the inputs, and the slopes are ours.
        unsafe { target.multiply([queries.len(), columns, values], false, operands, 1.0) };
        let rows = weights.chunks_exact_mut(columns).zip(slopes.chunks_exact_mut(columns));
        for (query, (weights, slopes)) in queries.clone().zip(rows) {
            let (log, sum) = (self.logs[query], self.sums[query]);
            vectorised(
                #[inline(always)]
                || {
                    for (weight, slope) in weights.iter_mut().zip(slopes) {
                        *weight = exp(*weight - log);
                        *slope = *weight * (*slope - sum);
                    }
                },
            );
        }
    }
}
