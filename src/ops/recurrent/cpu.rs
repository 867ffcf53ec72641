//! Recurrent networks on the CPU: each thread takes some sequences through all steps, so that none
//! waits for another.

use super::packed::Packed;
use super::{Cell, Pass};
use crate::ops::math::{sigmoid, tanh};
use crate::parallel;
use crate::vectors::copy;
use pulp::{Arch, Simd, WithSimd};

/// Elements that [`map`] works on at a time: a few vectors of the widest instruction set.
const LANES: usize = 32;

/// `outputs[o][i] = f(inputs[..][i])[o]`. Through blocks of a fixed length, which the compiler
/// knows not to overlap and makes vectors of, unless `f` is long: half a dozen gates at once stay scalar.
#[inline(always)]
fn map<const IN: usize, const OUT: usize>(
    inputs: [&[f32]; IN],
    mut outputs: [&mut [f32]; OUT],
    f: impl Fn([f32; IN]) -> [f32; OUT],
) {
    let length = outputs[0].len();
    let (mut last, mut to) = ([[0.0; LANES]; IN], [[0.0; LANES]; OUT]);
    for start in (0..length).step_by(LANES) {
        let count = LANES.min(length - start);
        let mut from = [&[0.0; LANES]; IN];
        for ((block, last), input) in from.iter_mut().zip(&mut last).zip(&inputs) {
            if count < LANES {
                last[..count].copy_from_slice(&input[start..start + count]);
            }
            *block = input[start..].first_chunk().unwrap_or(last);
        }
        for lane in 0..LANES {
            // Not `from_fn`, whose calls need not be inlined.
            let mut values = [0.0; IN];
            for input in 0..IN {
                values[input] = from[input][lane];
            }
            let values = f(values);
            for output in 0..OUT {
                to[output][lane] = values[output];
            }
        }
        for (block, output) in to.iter().zip(&mut outputs) {
            copy::<LANES>(&block[..count], &mut output[start..start + count]);
        }
    }
}

/// Zero for what is below it, and NaN for NaN.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Sequences for a thread at a time: enough rows for the matrix product to be fast, few enough to go
/// round. The bits of the result do not depend on it.
fn at_once(pass: &Pass) -> usize {
    pass.batch.div_ceil(rayon::current_num_threads()).clamp(4, 32)
}

/// The parts of a row, each of a state's size.
fn parts<const N: usize>(row: &[f32], size: usize) -> [&[f32]; N] {
    std::array::from_fn(|part| &row[part * size..(part + 1) * size])
}

/// The same, to be written.
fn parts_mut<const N: usize>(mut row: &mut [f32], size: usize) -> [&mut [f32]; N] {
    std::array::from_fn(|_| {
        let part;
        (part, row) = std::mem::take(&mut row).split_at_mut(size);
        part
    })
}

/// `count` pieces of memory, all empty where there is nothing to cut.
fn pieces(memory: &mut [f32], length: usize, count: usize) -> impl Iterator<Item = &mut [f32]> {
    memory.chunks_mut(length.max(1)).chain((0..count).map(|_| &mut [][..])).take(count)
}

/// See [`Forward`](super::Forward); `weight` is transposed.
pub(super) fn forward(pass: &Pass, inputs: &[&[f32]], output: &mut [f32]) {
    Packed::with(inputs[2], pass.width(), |weight| forward_by(weight, pass, inputs, output));
}

fn forward_by(weight: Packed, pass: &Pass, inputs: &[&[f32]], output: &mut [f32]) {
    // As many as the op checked.
    let [input, initial, bias] = [0, 1, 3].map(|i: usize| inputs[i]);
    let Pass { cell, steps, size, .. } = *pass;
    let (width, saved_size, at_once) = (pass.width(), pass.saved(), at_once(pass));
    let (outputs, rest) = output.split_at_mut(pass.outputs());
    let (cells, saved) = rest.split_at_mut(pass.cells());
    if let Some(initial) = inputs.get(4) {
        cells.copy_from_slice(initial);
    }
    let count = pass.batch.div_ceil(at_once);
    let blocks = pieces(outputs, at_once * steps * size, count)
        .zip(pieces(cells, at_once * size, count))
        .zip(pieces(saved, at_once * steps * saved_size, count))
        .zip(initial.chunks(at_once * size).zip(input.chunks(at_once * steps * width)));
    let arch = Arch::new();
    parallel::map(1, blocks, |(((outputs, cells), saved), (initial, input))| {
        let mut states = initial.to_vec();
        let rows = states.len() / size;
        let mut products = vec![0.0; rows * width];
        let mut unsaved = vec![0.0; 5 * size];
        for step in 0..steps {
            weight.multiply(&states, &mut products);
            for row in 0..rows {
                let place = row * steps + pass.time(step);
                arch.dispatch(Step {
                    cell,
                    input: &input[place * width..][..width],
                    product: &products[row * width..][..width],
                    bias,
                    state: &mut states[row * size..][..size],
                    cells: if cell == Cell::Lstm { &mut cells[row * size..][..size] } else { &mut [] },
                    output: &mut outputs[place * size..][..size],
                    kept: match saved_size {
                        0 => &mut unsaved[..],
                        _ => &mut saved[place * saved_size..][..saved_size],
                    },
                });
            }
        }
    });
}

/// One step of one sequence, from the products with the input and with the state.
struct Step<'a> {
    cell: Cell,
    input: &'a [f32],
    product: &'a [f32],
    bias: &'a [f32],
    /// Before the step, and then after it.
    state: &'a mut [f32],
    /// The same of an LSTM's cells.
    cells: &'a mut [f32],
    output: &'a mut [f32],
    /// What the gradient needs.
    kept: &'a mut [f32],
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Step { cell, input, product, bias, state, cells, output, kept } = self;
        let size = state.len();
        match cell {
            Cell::Rnn => map(
                [input, product, bias],
                [output],
                #[inline(always)]
                |[x, p, b]| [tanh(x + p + b)],
            ),
            Cell::RnnRelu => map(
                [input, product, bias],
                [output],
                #[inline(always)]
                |[x, p, b]| [relu(x + p + b)],
            ),
            Cell::Lstm => {
                let [x, p, b] = [input, product, bias].map(|row| parts(row, size));
                lstm(x, p, b, cells, output, kept);
            }
            Cell::Gru => {
                let [x, p, b] = [input, product, bias].map(|row| parts(row, size));
                gru(x, p, b, state, output, kept);
            }
        }
        state.copy_from_slice(output);
    }
}

/// The sigmoid of the sum of three rows.
#[inline(always)]
fn gate(x: &[f32], p: &[f32], b: &[f32], to: &mut [f32]) {
    map(
        [x, p, b],
        [to],
        #[inline(always)]
        |[x, p, b]| [sigmoid(x + p + b)],
    );
}

#[inline(always)]
fn lstm(
    x: [&[f32]; 4],
    p: [&[f32]; 4],
    b: [&[f32]; 4],
    cells: &mut [f32],
    output: &mut [f32],
    kept: &mut [f32],
) {
    let [before, i, f, g, o] = parts_mut(kept, cells.len());
    before.copy_from_slice(cells);
    for (at, to) in [(0, &mut *i), (1, &mut *f), (3, &mut *o)] {
        gate(x[at], p[at], b[at], to);
    }
    map(
        [x[2], p[2], b[2]],
        [g],
        #[inline(always)]
        |[x, p, b]| [tanh(x + p + b)],
    );
    map(
        [before, i, f, g, o],
        [cells, output],
        #[inline(always)]
        |[before, i, f, g, o]| {
            let cell = f * before + i * g;
            [cell, o * tanh(cell)]
        },
    );
}

#[inline(always)]
fn gru(x: [&[f32]; 3], p: [&[f32]; 3], b: [&[f32]; 3], state: &[f32], output: &mut [f32], kept: &mut [f32]) {
    let [before, r, z, n, product] = parts_mut(kept, state.len());
    before.copy_from_slice(state);
    for (at, to) in [(0, &mut *r), (1, &mut *z)] {
        gate(x[at], p[at], b[at], to);
    }
    map(
        [p[2], b[2], x[2], r],
        [product, n],
        #[inline(always)]
        |[p, b, x, r]| {
            let product = p + b;
            [product, tanh(x + r * product)]
        },
    );
    map(
        [z, n, state],
        [output],
        #[inline(always)]
        |[z, n, h]| [n + z * (h - n)],
    );
}

/// See [`Backward`](super::Backward).
pub(super) fn backward(pass: &Pass, packed: &[f32], upstream: &[f32], weight: &[f32], output: &mut [f32]) {
    Packed::with(weight, pass.size, |weight| backward_by(weight, pass, packed, upstream, output));
}

fn backward_by(weight: Packed, pass: &Pass, packed: &[f32], upstream: &[f32], output: &mut [f32]) {
    let Pass { cell, steps, size, .. } = *pass;
    let (width, saved_size, at_once) = (pass.width(), pass.saved(), at_once(pass));
    let (states, saved) = packed.split_at(pass.outputs() + pass.cells());
    let (upstream, last_cells) = upstream.split_at(pass.outputs());
    let (products, rest) = output.split_at_mut(pass.batch * steps * width);
    let (hidden, rest) = rest.split_at_mut(pass.state());
    // Of an LSTM's cells, or of a GRU's inputs.
    let others = if cell == Cell::Lstm { size } else { rest.len() / pass.batch.max(1) };
    if cell == Cell::Lstm {
        rest.copy_from_slice(last_cells);
    }
    hidden.fill(0.0);
    let count = pass.batch.div_ceil(at_once);
    let blocks = pieces(products, at_once * steps * width, count)
        .zip(pieces(hidden, at_once * size, count))
        .zip(pieces(rest, at_once * others, count))
        .enumerate();
    let arch = Arch::new();
    parallel::map(1, blocks, |(block, ((products, hidden), others))| {
        let rows = hidden.len() / size;
        // The gradients of the products of one step, closer together than in the output.
        let mut after = vec![0.0; rows * width];
        // What reaches the state of a step through the product of the next one.
        let mut through = vec![0.0; rows * size];
        // What reaches it, or an LSTM's cell, past the product.
        let mut past = vec![0.0; size];
        for step in (0..steps).rev() {
            if step + 1 < steps {
                weight.multiply(&after, &mut through);
            }
            for row in 0..rows {
                let place = row * steps + pass.time(step);
                let whole = block * at_once * steps + place;
                let product = &mut after[row * width..][..width];
                let (carried, input) = match cell {
                    Cell::Rnn | Cell::RnnRelu => (&mut [][..], &mut [][..]),
                    Cell::Lstm => (&mut others[row * size..][..size], &mut [][..]),
                    Cell::Gru => (&mut hidden[row * size..][..size], &mut others[place * width..][..width]),
                };
                let past = &mut past[..carried.len()];
                past.copy_from_slice(carried);
                arch.dispatch(StepBack {
                    cell,
                    state: &states[whole * size..][..size],
                    kept: &saved[whole * saved_size..][..saved_size],
                    upstream: &upstream[whole * size..][..size],
                    through: &through[row * size..][..size],
                    past,
                    product,
                    input,
                    carried,
                });
                products[place * width..][..width].copy_from_slice(product);
            }
        }
        weight.multiply(&after, &mut through);
        hidden.iter_mut().zip(&through).for_each(|(hidden, through)| *hidden += through);
    });
}

/// The gradient before a gate's sigmoid, from that after it.
#[inline(always)]
fn through_sigmoid(gradient: f32, gate: f32) -> f32 {
    gradient * gate * (1.0 - gate)
}

/// The gradients of one step of one sequence, from those of the state after it.
struct StepBack<'a> {
    cell: Cell,
    state: &'a [f32],
    kept: &'a [f32],
    upstream: &'a [f32],
    through: &'a [f32],
    /// Of an LSTM's cells, or what reaches a GRU's state past the product.
    past: &'a [f32],
    /// Of the product with the state.
    product: &'a mut [f32],
    /// Of a GRU's projected input.
    input: &'a mut [f32],
    /// For the step before, as `past`.
    carried: &'a mut [f32],
}

impl WithSimd for StepBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let StepBack { cell, state, kept, upstream, through, past, product, input, carried } = self;
        let size = state.len();
        match cell {
            Cell::Rnn => map(
                [upstream, through, state],
                [product],
                #[inline(always)]
                |[upstream, through, h]| [(upstream + through) * (1.0 - h * h)],
            ),
            Cell::RnnRelu => map(
                [upstream, through, state],
                [product],
                #[inline(always)]
                |[upstream, through, h]| [if h > 0.0 { upstream + through } else { 0.0 }],
            ),
            Cell::Lstm => {
                let [before, i, f, g, o] = parts(kept, size);
                let [di, df, dg, d_o] = parts_mut(product, size);
                let from = [upstream, through, past, before, i, f, g, o];
                map(
                    from,
                    [di, df, dg, d_o, carried],
                    #[inline(always)]
                    |[up, through, past, before, i, f, g, o]| {
                        let state = up + through;
                        let cell = tanh(f * before + i * g);
                        let dc = past + state * o * (1.0 - cell * cell);
                        let di = through_sigmoid(dc * g, i);
                        let df = through_sigmoid(dc * before, f);
                        [di, df, dc * i * (1.0 - g * g), through_sigmoid(state * cell, o), dc * f]
                    },
                );
            }
            Cell::Gru => {
                let [before, r, z, n, p] = parts(kept, size);
                let [dr, dz, dp] = parts_mut(product, size);
                let [_, _, dn] = parts_mut(input, size);
                let from = [upstream, through, past, before, r, z, n, p];
                map(
                    from,
                    [dr, dz, dp, dn, carried],
                    #[inline(always)]
                    |[up, through, past, before, r, z, n, product]| {
                        let state = up + through + past;
                        let dn = state * (1.0 - z) * (1.0 - n * n);
                        let dr = through_sigmoid(dn * product, r);
                        [dr, through_sigmoid(state * (before - n), z), dn * r, dn, state * z]
                    },
                );
                input[..2 * size].copy_from_slice(&product[..2 * size]);
            }
        }
    }
}
