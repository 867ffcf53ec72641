//! The fuzzy graph of nearest neighbours.

use crate::classical::linalg::eigsh;
use crate::classical::neighbors::Neighbors;
use crate::parallel;
use ndarray::{Array1, Array2, s};

/// For each row those it is joined to, and how surely, in order.
pub(super) type Graph = Vec<Vec<(usize, f64)>>;

/// Widths are at least this part of the mean distance.
const LEAST_WIDTH: f64 = 1e-3;

/// How surely each neighbour of each row is one, between 0 and 1: with `count` neighbours, the row itself
/// included where it is one, the sum is `log2(count)`.
pub(super) fn memberships(near: &Neighbors, count: usize, connectivity: f64) -> Array2<f64> {
    let mean_all = near.distances.mean().unwrap_or(0.0);
    let target = (count as f64).log2();
    let rows: Vec<Vec<f64>> = parallel::map(1, near.distances.rows(), |row| {
        let distances = row.to_vec();
        let nearest = connected(&distances, connectivity);
        let width = width(&distances, nearest, target, mean_all);
        let membership = |distance: &f64| {
            if *distance <= nearest || width == 0.0 { 1.0 } else { (-(distance - nearest) / width).exp() }
        };
        distances.iter().map(membership).collect()
    });
    Array2::from_shape_fn(near.distances.dim(), |(row, place)| rows[row][place])
}

/// The distance up to which neighbours count as wholly connected.
fn connected(distances: &[f64], connectivity: f64) -> f64 {
    let apart: Vec<f64> = distances.iter().copied().filter(|distance| *distance > 0.0).collect();
    let whole = connectivity as usize;
    let part = connectivity - whole as f64;
    match (apart.len() >= whole.max(1), whole) {
        (false, _) => apart.iter().copied().fold(0.0, f64::max),
        (true, 0) => part * apart[0],
        (true, _) => {
            apart[whole - 1] + part * (apart.get(whole).unwrap_or(&apart[whole - 1]) - apart[whole - 1])
        }
    }
}

/// The scale of distances with which memberships have the wanted sum.
fn width(distances: &[f64], nearest: f64, target: f64, mean_all: f64) -> f64 {
    let mean = distances.iter().sum::<f64>() / distances.len() as f64;
    // From the scale of the distances, or the search would end before it reached large ones.
    let (mut low, mut high, mut width) = (0.0_f64, f64::INFINITY, if mean > 0.0 { mean } else { 1.0 });
    for _ in 0..64 {
        let membership =
            |distance: &f64| if *distance > nearest { (-(distance - nearest) / width).exp() } else { 1.0 };
        let sum: f64 = distances.iter().map(membership).sum();
        if (sum - target).abs() < 1e-5 {
            break;
        }
        if sum > target {
            high = width;
            width = (low + high) / 2.0;
        } else {
            low = width;
            width = if high.is_infinite() { width * 2.0 } else { (low + high) / 2.0 };
        }
    }
    width.max(LEAST_WIDTH * if nearest > 0.0 { mean } else { mean_all })
}

/// Joins rows if either is a neighbour of the other, as the fuzzy union (`mix` 1), or only if both are, as
/// the fuzzy intersection (`mix` 0).
pub(super) fn union(near: &Neighbors, memberships: &Array2<f64>, mix: f64) -> Graph {
    let mut pairs: Vec<Vec<(usize, f64, f64)>> = vec![Vec::new(); near.indices.nrows()];
    for (row, (others, memberships)) in near.indices.rows().into_iter().zip(memberships.rows()).enumerate() {
        for (&other, &membership) in others.iter().zip(&memberships) {
            pairs[row].push((other, membership, 0.0));
            pairs[other].push((row, 0.0, membership));
        }
    }
    let joined = |mut list: Vec<(usize, f64, f64)>| {
        list.sort_unstable_by_key(|(other, _, _)| *other);
        list.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 += later.1;
                kept.2 += later.2;
            }
            same
        });
        let weight = |(other, forth, back): (usize, f64, f64)| {
            (other, mix * (forth + back - forth * back) + (1.0 - mix) * forth * back)
        };
        list.into_iter().map(weight).filter(|(_, weight)| *weight > 0.0).collect()
    };
    pairs.into_iter().map(joined).collect()
}

/// Positions from the eigenvectors of the smallest eigenvalues of the graph's normalised Laplacian, the first
/// one left out; `None` if the graph is in parts, too small, or the search does not converge.
pub(super) fn spectral(graph: &Graph, components: usize) -> Option<Array2<f64>> {
    let rows = graph.len();
    if rows <= 2 * (components + 1) {
        return None;
    }
    let roots: Vec<f64> =
        graph.iter().map(|list| list.iter().map(|(_, weight)| weight).sum::<f64>().sqrt()).collect();
    if roots.iter().any(|root| *root <= 0.0) {
        return None;
    }
    // The largest eigenvalues of 1 + D^(-1/2) W D^(-1/2) belong to the smallest of the Laplacian.
    let apply = |vector: ndarray::ArrayView1<'_, f64>| {
        Array1::from_shape_fn(rows, |row| {
            let sum: f64 =
                graph[row].iter().map(|&(other, weight)| weight * vector[other] / roots[other]).sum();
            vector[row] + sum / roots[row]
        })
    };
    let (values, vectors) = eigsh(rows, components + 1, 1e-5, apply).ok()?;
    // A second eigenvalue of 0 is a second part.
    (values[1] < 2.0 - 1e-4).then(|| vectors.slice(s![.., 1..]).to_owned())
}
