//! Nearest centres and their means, which all variants of k-means consist of.

use crate::classical::linalg;
use crate::classical::neighbors::Distance;
use crate::classical::order;
use crate::classical::parallel;
use crate::classical::random;
use crate::vectors::vectorised;
use fastrand::Rng;
use ndarray::{Array2, ArrayView2, s};

/// Rows whose distances to all centres are computed together.
const BLOCK: usize = 256;
/// Pieces that the rows are divided into at most: each adds up its own means, whatever thread it runs on.
const PIECES: usize = 32;

/// What it takes to find the nearest centre of each row.
pub(super) fn work(x: ArrayView2<'_, f64>, clusters: usize) -> usize {
    x.nrows() * clusters + parallel::products([x.nrows(), x.ncols(), clusters])
}

fn piece(rows: usize) -> usize {
    rows.div_ceil(PIECES).max(BLOCK)
}

/// The nearest centre of each row, the first of equally near ones, and whether any was another before.
pub(super) fn assign(x: ArrayView2<'_, f64>, centers: &Array2<f64>, labels: &mut [usize]) -> bool {
    let size = piece(x.nrows());
    let moved =
        parallel::map(work(x, centers.nrows()), labels.chunks_mut(size).enumerate(), |(at, labels)| {
            let start = at * size;
            assign_piece(x.slice(s![start..start + labels.len(), ..]), centers, labels)
        });
    moved.contains(&true)
}

fn assign_piece(x: ArrayView2<'_, f64>, centers: &Array2<f64>, labels: &mut [usize]) -> bool {
    let norms: Vec<f64> = centers.rows().into_iter().map(|center| center.dot(&center)).collect();
    let mut products = Array2::zeros((centers.nrows(), BLOCK));
    let mut moved = false;
    for (block, labels) in labels.chunks_mut(BLOCK).enumerate() {
        let count = labels.len();
        let rows = x.slice(s![block * BLOCK..block * BLOCK + count, ..]);
        linalg::matmul_into(-2.0, centers.view(), rows.t(), products.slice_mut(s![.., ..count]));
        let (mut best, mut nearest) = ([f64::INFINITY; BLOCK], [0.0; BLOCK]);
        vectorised(
            #[inline(always)]
            || {
                for (center, (products, norm)) in products.rows().into_iter().zip(&norms).enumerate() {
                    let center = center as f64;
                    let products = products.to_slice().unwrap_or_default();
                    for ((best, nearest), product) in best.iter_mut().zip(&mut nearest).zip(products) {
                        let closer = product + norm < *best;
                        *nearest = if closer { center } else { *nearest };
                        *best = if closer { product + norm } else { *best };
                    }
                }
            },
        );
        for (label, &nearest) in labels.iter_mut().zip(&nearest) {
            moved |= *label != nearest as usize;
            *label = nearest as usize;
        }
    }
    moved
}

/// The sum of the rows of each cluster, by weight, and the clusters' weights.
pub(super) fn sums(
    x: ArrayView2<'_, f64>,
    weights: Option<&[f64]>,
    labels: &[usize],
    clusters: usize,
) -> (Array2<f64>, Vec<f64>) {
    let size = piece(x.nrows());
    let parts = parallel::map(x.len(), labels.chunks(size).enumerate(), |(at, labels)| {
        let (mut sums, mut totals) = (Array2::zeros((clusters, x.ncols())), vec![0.0; clusters]);
        for (row, &label) in (at * size..).zip(labels) {
            let weight = weights.map_or(1.0, |weights| weights[row]);
            totals[label] += weight;
            sums.row_mut(label).scaled_add(weight, &x.row(row));
        }
        (sums, totals)
    });
    let start = (Array2::zeros((clusters, x.ncols())), vec![0.0; clusters]);
    parts.into_iter().fold(start, |(mut sums, mut totals), (part, weights)| {
        sums += &part;
        totals.iter_mut().zip(weights).for_each(|(total, weight)| *total += weight);
        (sums, totals)
    })
}

/// The squared distance of each row to its centre.
pub(super) fn distances(x: ArrayView2<'_, f64>, centers: &Array2<f64>, labels: &[usize]) -> Vec<f64> {
    let (x, centers) = (x.as_standard_layout(), centers.as_standard_layout());
    let columns = x.ncols();
    let centers = centers.as_slice().unwrap_or_default();
    let rows = x.as_slice().unwrap_or_default().chunks_exact(columns);
    let square = |(row, &label): (&[f64], &usize)| {
        Distance::Euclidean.reduced(row, &centers[label * columns..][..columns])
    };
    rows.zip(labels).map(square).collect()
}

/// What a run came to.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) labels: Vec<usize>,
    pub(super) centers: Array2<f64>,
    pub(super) inertia: f64,
    pub(super) iterations: usize,
}

/// The weighted sum of squared distances to the centres.
pub(super) fn inertia(distances: &[f64], weights: Option<&[f64]>) -> f64 {
    let weighted = |(row, distance): (usize, &f64)| distance * weights.map_or(1.0, |weights| weights[row]);
    distances.iter().enumerate().map(weighted).sum()
}

/// Moves centres to the means of what is nearest to them until nothing changes, or the squared distance
/// that they all move is at most `tolerance`.
pub(super) fn run(
    x: ArrayView2<'_, f64>,
    weights: Option<&[f64]>,
    mut centers: Array2<f64>,
    max_iter: usize,
    tolerance: f64,
) -> Run {
    let mut labels = vec![usize::MAX; x.nrows()];
    let mut iterations = 0;
    let mut settled = false;
    while iterations < max_iter {
        iterations += 1;
        if !assign(x, &centers, &mut labels) {
            settled = true;
            break;
        }
        let (mut means, mut totals) = sums(x, weights, &labels, centers.nrows());
        fill_empty(x, weights, &labels, &centers, &mut means, &mut totals);
        for (cluster, (mut mean, total)) in means.rows_mut().into_iter().zip(totals).enumerate() {
            if total > 0.0 {
                mean /= total;
            } else {
                mean.assign(&centers.row(cluster));
            }
        }
        let shift: f64 = means.iter().zip(&centers).map(|(mean, center)| (mean - center).powi(2)).sum();
        centers = means;
        if shift <= tolerance {
            break;
        }
    }
    if !settled {
        assign(x, &centers, &mut labels);
    }
    let inertia = inertia(&distances(x, &centers, &labels), weights);
    Run { labels, centers, inertia, iterations }
}

/// Gives clusters without a row the rows that are farthest from their centres.
fn fill_empty(
    x: ArrayView2<'_, f64>,
    weights: Option<&[f64]>,
    labels: &[usize],
    centers: &Array2<f64>,
    sums: &mut Array2<f64>,
    totals: &mut [f64],
) {
    let empty: Vec<usize> = (0..totals.len()).filter(|&cluster| totals[cluster] == 0.0).collect();
    if empty.is_empty() {
        return;
    }
    let distances = distances(x, centers, labels);
    let mut order: Vec<usize> = (0..x.nrows()).filter(|&row| distances[row] > 0.0).collect();
    order::descending(&mut order, &distances);
    for (&cluster, &row) in empty.iter().zip(&order) {
        let weight = weights.map_or(1.0, |weights| weights[row]);
        let value = x.row(row).mapv(|value| value * weight);
        sums.row_mut(labels[row]).scaled_add(-1.0, &value);
        totals[labels[row]] -= weight;
        sums.row_mut(cluster).assign(&value);
        totals[cluster] = weight;
    }
}

/// Rows drawn with a probability that grows with the distance from those drawn already, the best of a few
/// each time (k-means++; Arthur and Vassilvitskii, 2007); `x` is row-major.
pub(in crate::classical) fn plus_plus(
    x: ArrayView2<'_, f64>,
    weights: Option<&[f64]>,
    clusters: usize,
    rng: &mut Rng,
) -> Vec<usize> {
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let values = x.as_slice().unwrap_or_default();
    let trials = 2 + (clusters as f64).ln() as usize;
    let squares = |row: usize| {
        let mut squares = vec![0.0; x.nrows()];
        Distance::Euclidean.reduced_to_rows(x.row(row).to_slice().unwrap_or_default(), values, &mut squares);
        squares
    };
    let all: Vec<f64> = (0..x.nrows()).map(weight).collect();
    let mut chosen = vec![random::weighted(rng, &all)];
    let mut nearest = squares(chosen[0]);
    while chosen.len() < clusters {
        let shares: Vec<f64> = nearest.iter().enumerate().map(|(row, square)| square * weight(row)).collect();
        let candidates: Vec<usize> = (0..trials).map(|_| random::weighted(rng, &shares)).collect();
        let tried = parallel::map(trials * x.len() / 4, candidates, |row| {
            let mut squares = squares(row);
            squares.iter_mut().zip(&nearest).for_each(|(square, &before)| *square = square.min(before));
            let left = inertia(&squares, weights);
            (left, row, squares)
        });
        if let Some((_, row, squares)) = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)) {
            chosen.push(row);
            nearest = squares;
        }
    }
    chosen
}
