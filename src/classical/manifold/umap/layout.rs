//! Positions by stochastic gradient descent: neighbours pull, random others push.

use super::graph::Graph;
use crate::classical::neighbors::Neighbors;
use crate::classical::random::stream;
use crate::parallel;
use fastrand::Rng;
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// How points act on each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Forces {
    /// Of the curve `1 / (1 + a d^(2 b))`.
    pub a: f64,
    pub b: f64,
    /// The strength of the push.
    pub repulsion: f64,
    /// Random points for each neighbour.
    pub negatives: usize,
}

/// The longest step in any dimension, before the learning rate.
const LONGEST: f64 = 4.0;

fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

impl Forces {
    /// The factor of the difference by which a neighbour pulls; negative.
    fn pull(&self, square: f64) -> f64 {
        if square <= 0.0 {
            return 0.0;
        }
        let power = square.powf(self.b);
        -2.0 * self.a * self.b * power / (square * (1.0 + self.a * power))
    }

    /// The factor of the difference by which another point pushes.
    fn push(&self, square: f64) -> f64 {
        if square <= 0.0 {
            return 0.0;
        }
        2.0 * self.repulsion * self.b / ((0.001 + square) * (1.0 + self.a * square.powf(self.b)))
    }
}

/// When an edge acts, and when its random points do.
struct Schedule {
    period: f64,
    next: f64,
    negative_period: f64,
    next_negative: f64,
}

impl Schedule {
    fn new(period: f64, negatives: usize) -> Schedule {
        let negative_period = period / negatives.max(1) as f64;
        Schedule { period, next: period, negative_period, next_negative: negative_period }
    }

    /// Whether the edge acts in this epoch, and with how many random points.
    fn due(&mut self, epoch: f64, negatives: usize) -> Option<usize> {
        if self.next > epoch {
            return None;
        }
        self.next += self.period;
        if negatives == 0 {
            return Some(0);
        }
        let count = ((epoch - self.next_negative) / self.negative_period).max(0.0) as usize;
        self.next_negative += count as f64 * self.negative_period;
        Some(count)
    }
}

/// Lays out a graph. One edge after the other moves its points, so the result does not depend on threads.
pub(super) fn optimize(
    forces: &Forces,
    graph: &Graph,
    start: Array2<f64>,
    epochs: usize,
    learning_rate: f64,
    rng: &mut Rng,
) -> Array2<f64> {
    let (rows, dimensions) = start.dim();
    let (mut points, _) = start.into_raw_vec_and_offset();
    let strongest = graph.iter().flatten().map(|(_, weight)| *weight).fold(0.0, f64::max);
    let mut edges: Vec<(usize, usize, Schedule)> = Vec::new();
    for (row, list) in graph.iter().enumerate() {
        // Edges too weak to act even once are left out.
        for &(other, weight) in list.iter().filter(|(_, weight)| *weight >= strongest / epochs as f64) {
            edges.push((row, other, Schedule::new(strongest / weight, forces.negatives)));
        }
    }
    for epoch in 0..epochs {
        let rate = learning_rate * (1.0 - epoch as f64 / epochs as f64);
        for (row, other, schedule) in &mut edges {
            let Some(negatives) = schedule.due(epoch as f64, forces.negatives) else { continue };
            let (from, to) = (*row * dimensions, *other * dimensions);
            let pull = forces.pull(squared(&points[from..from + dimensions], &points[to..to + dimensions]));
            for d in 0..dimensions {
                let step = (pull * (points[from + d] - points[to + d])).clamp(-LONGEST, LONGEST);
                points[from + d] += rate * step;
                points[to + d] -= rate * step;
            }
            for _ in 0..negatives {
                let random = rng.usize(..rows);
                if random == *row {
                    continue;
                }
                let to = random * dimensions;
                let push =
                    forces.push(squared(&points[from..from + dimensions], &points[to..to + dimensions]));
                for d in 0..dimensions {
                    let step = (push * (points[from + d] - points[to + d])).clamp(-LONGEST, LONGEST);
                    points[from + d] += rate * step;
                }
            }
        }
    }
    Array2::from_shape_fn((rows, dimensions), |(row, d)| points[row * dimensions + d])
}

/// Places new rows among fixed ones, each on its own.
pub(super) fn place(
    forces: &Forces,
    near: &Neighbors,
    memberships: &Array2<f64>,
    fixed: ArrayView2<'_, f64>,
    epochs: usize,
    learning_rate: f64,
    seed: u64,
) -> Array2<f64> {
    let dimensions = fixed.ncols();
    let strongest = memberships.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let positions: Vec<Vec<f64>> = parallel::map(1, 0..memberships.nrows(), |row| {
        let (others, weights) = (near.indices.row(row), memberships.row(row));
        let total = weights.sum();
        let mut point = vec![0.0; dimensions];
        for (&other, &weight) in others.iter().zip(weights) {
            point.iter_mut().zip(fixed.row(other)).for_each(|(value, at)| *value += weight * at / total);
        }
        let mut rng = stream(seed, 3 + row);
        let usable = others.iter().zip(weights).filter(|(_, weight)| **weight >= strongest / epochs as f64);
        let mut edges: Vec<(usize, Schedule)> = usable
            .map(|(&other, weight)| (other, Schedule::new(strongest / weight, forces.negatives)))
            .collect();
        let act = |point: &mut [f64], other: usize, rate: f64, attracts: bool| {
            let at = fixed.row(other).to_vec();
            let square = squared(point, &at);
            let factor = if attracts { forces.pull(square) } else { forces.push(square) };
            for (value, at) in point.iter_mut().zip(at) {
                *value += rate * (factor * (*value - at)).clamp(-LONGEST, LONGEST);
            }
        };
        for epoch in 0..epochs {
            let rate = learning_rate * (1.0 - epoch as f64 / epochs as f64);
            for (other, schedule) in &mut edges {
                let Some(negatives) = schedule.due(epoch as f64, forces.negatives) else { continue };
                act(&mut point, *other, rate, true);
                for _ in 0..negatives {
                    act(&mut point, rng.usize(..fixed.nrows()), rate, false);
                }
            }
        }
        point
    });
    Array2::from_shape_fn((positions.len(), dimensions), |(row, d)| positions[row][d])
}
