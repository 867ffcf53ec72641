//! The rounds of boosting: gradients, a tree for each output, new raw predictions.

use super::binning::Binned;
use super::grow::{self, Buffers, Grown, Growth};
use super::loss::{Loss, Sample, softmax};
use crate::classical::parallel;
use crate::classical::random;
use crate::classical::tree::{Tree, add_values};
use crate::{Error, Result};
use ndarray::ArrayView2;
use std::sync::{Mutex, PoisonError};

/// How many rows' gradients are computed at once.
const CHUNK: usize = 4096;
/// What a value of a loss takes, or an exponential: in nanoseconds, about.
const LOSS: usize = 4;

/// When to stop before the last round.
pub(super) struct Stopping<'a> {
    /// Rows that are not learned from, and their targets; without them the training loss is watched.
    pub held_out: Option<(ArrayView2<'a, f64>, Sample<'a>)>,
    pub n_iter_no_change: usize,
    pub tol: f64,
}

/// What boosting is told.
pub(super) struct Plan<'a> {
    pub name: &'static str,
    pub loss: Loss,
    pub growth: Growth,
    pub max_iter: usize,
    pub seed: u64,
    pub stopping: Option<Stopping<'a>>,
}

/// What came of it.
pub(super) struct Trained {
    pub baseline: Vec<f64>,
    /// One for each round and output.
    pub trees: Vec<Tree>,
    /// The mean loss before each round that was watched, and after the last.
    pub losses: Vec<f64>,
}

/// Boosts on binned rows.
///
/// # Errors
/// Targets so large that gradients overflow single precision.
pub(super) fn train(plan: &Plan<'_>, binned: &Binned, sample: Sample<'_>) -> Result<Trained> {
    parallel::within(grow::work(binned, &plan.growth, plan.loss.outputs()), || {
        if plan.loss.constant_hessian() && sample.weights.is_none() {
            rounds::<2>(plan, binned, sample)
        } else {
            rounds::<3>(plan, binned, sample)
        }
    })
}

fn rounds<const N: usize>(plan: &Plan<'_>, binned: &Binned, sample: Sample<'_>) -> Result<Trained> {
    let (rows, outputs) = (binned.rows, plan.loss.outputs());
    let baseline = plan.loss.baseline(sample);
    let repeat = |rows: usize| baseline.iter().flat_map(|&value| std::iter::repeat_n(value, rows)).collect();
    let mut raw: Vec<f64> = repeat(rows);
    let held_out = plan.stopping.as_ref().and_then(|stopping| stopping.held_out);
    let mut held_raw: Vec<f64> = held_out.map(|(x, _)| repeat(x.nrows())).unwrap_or_default();
    let loss = |raw: &[f64], held_raw: &[f64]| match held_out {
        Some((_, sample)) => plan.loss.mean(sample, held_raw),
        None => plan.loss.mean(sample, raw),
    };
    let mut losses: Vec<f64> = plan.stopping.iter().map(|_| loss(&raw, &held_raw)).collect();
    let mut gradients = vec![[0.0_f32; 2]; rows * outputs];
    let mut probabilities = vec![0.0; if outputs > 1 { raw.len() } else { 0 }];
    // As many as trees are grown at once, which is fewer than there are outputs.
    let spare: Mutex<Vec<Buffers<N>>> = Mutex::default();
    let spares = || spare.lock().unwrap_or_else(PoisonError::into_inner);
    let mut trees = Vec::with_capacity(plan.max_iter * outputs);
    for round in 0..plan.max_iter {
        if outputs > 1 {
            to_probabilities(&raw, rows, &mut probabilities);
        }
        let from = if outputs > 1 { &probabilities } else { &raw };
        let columns = gradients.chunks_mut(rows).zip(from.chunks(rows)).enumerate();
        let chunks = columns.flat_map(|(output, (gradients, from))| {
            let chunks = gradients.chunks_mut(CHUNK).zip(from.chunks(CHUNK)).enumerate();
            chunks.map(move |(chunk, (gradients, from))| (output, chunk * CHUNK, gradients, from))
        });
        parallel::for_each(LOSS * from.len(), chunks, |(output, first, gradients, from)| {
            plan.loss.gradients(sample, output, first, from, gradients);
        });
        if gradients.iter().flatten().any(|value| !value.is_finite()) {
            return Err(Error::op(plan.name, "gradients overflow; is y scaled too large, or learning_rate?"));
        }
        let work = grow::work(binned, &plan.growth, outputs);
        let of_outputs = gradients.chunks(rows).zip(raw.chunks_mut(rows)).enumerate();
        let grown = parallel::map(work, of_outputs, |(output, (gradients, raw))| {
            let mut rng = random::stream(plan.seed, round * outputs + output);
            let mut buffers = spares().pop().unwrap_or_default();
            let grown = grow::grow(binned, gradients, &plan.growth, &mut buffers, &mut rng);
            spares().push(buffers);
            finish(plan, grown, sample, raw)
        });
        // Later rounds would find as little to split.
        let stuck =
            grown.iter().all(|tree| tree.n_nodes() == 1) && plan.growth.max_features == binned.features.len();
        for (output, tree) in grown.iter().enumerate() {
            if let Some((x, _)) = held_out {
                add_values(
                    std::slice::from_ref(tree),
                    x,
                    &mut held_raw[output * x.nrows()..][..x.nrows()],
                    1,
                );
            }
        }
        trees.extend(grown);
        if let Some(stopping) = &plan.stopping {
            losses.push(loss(&raw, &held_raw));
            if has_stalled(&losses, stopping) {
                break;
            }
        }
        if stuck {
            break;
        }
    }
    Ok(Trained { baseline, trees, losses })
}

/// The tree with values in its leaves, which are added to the raw predictions of their rows.
fn finish(plan: &Plan<'_>, grown: Grown, sample: Sample<'_>, raw: &mut [f64]) -> Tree {
    let mut tree = grown.tree;
    for leaf in grown.leaves {
        let rows = &grown.rows[leaf.rows];
        let value = match plan.loss.leaf_quantile() {
            Some(share) => Loss::residual_quantile(sample, raw, rows, share),
            None => leaf.value,
        };
        let value = value * plan.growth.learning_rate;
        tree.set_leaf(leaf.node, &[value]);
        rows.iter().for_each(|&row| raw[row as usize] += value);
    }
    tree
}

/// The probabilities of classes, in the order of `raw`: a class after the other.
fn to_probabilities(raw: &[f64], rows: usize, probabilities: &mut [f64]) {
    let outputs = raw.len() / rows;
    let mut columns: Vec<_> = probabilities.chunks_mut(rows).map(|column| column.chunks_mut(CHUNK)).collect();
    let chunks = (0..rows.div_ceil(CHUNK))
        .map(|_| columns.iter_mut().filter_map(Iterator::next).collect::<Vec<&mut [f64]>>());
    parallel::for_each(LOSS * raw.len(), chunks.enumerate(), |(chunk, mut columns)| {
        let mut row_values = vec![0.0; outputs];
        for at in 0..columns[0].len() {
            for (output, value) in row_values.iter_mut().enumerate() {
                *value = raw[output * rows + chunk * CHUNK + at];
            }
            softmax(&mut row_values);
            columns.iter_mut().zip(&row_values).for_each(|(column, value)| column[at] = *value);
        }
    });
}

/// Whether none of the last rounds lowered the loss from what it was before them.
fn has_stalled(losses: &[f64], stopping: &Stopping<'_>) -> bool {
    let Some(before) = losses.len().checked_sub(stopping.n_iter_no_change + 1) else { return false };
    losses[before + 1..].iter().all(|&loss| loss >= losses[before] - stopping.tol)
}
