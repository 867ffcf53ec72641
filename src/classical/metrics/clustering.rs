//! Scores of clusterings, against known groups or by the distances of the samples.

use super::same_length;
use crate::classical::data::{Accepts, Classes, Features, Labels, checked_features};
use crate::classical::linalg::matmul;
use crate::parallel;
use crate::{Error, Result};
use ndarray::{Array1, Array2, Axis, s};

/// How many samples of each true group (rows) fell into each cluster (columns).
///
/// # Errors
/// Columns of different lengths, or empty.
pub fn contingency_matrix(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<Array2<f64>> {
    let (truth, predicted) = (Classes::new(&labels_true.labels()), Classes::new(&labels_pred.labels()));
    same_length("contingency_matrix", truth.codes.len(), predicted.codes.len())?;
    let mut counts = Array2::zeros((truth.values.len(), predicted.values.len()));
    for (&group, &cluster) in truth.codes.iter().zip(&predicted.codes) {
        counts[[group, cluster]] += 1.0;
    }
    Ok(counts)
}

fn square(counts: &Array1<f64>) -> f64 {
    counts.iter().map(|count| count * count).sum()
}

/// Twice the number of pairs of samples that are: together in both, together in the true groups, together
/// in the clusters, any.
fn pairs(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<[f64; 4]> {
    let table = contingency_matrix(labels_true, labels_pred)?;
    let n = table.sum();
    let both: f64 = table.iter().map(|count| count * count).sum();
    Ok([both - n, square(&table.sum_axis(Axis(1))) - n, square(&table.sum_axis(Axis(0))) - n, n * (n - 1.0)])
}

/// The share of pairs of samples on which groups and clusters agree (Rand, 1971).
///
/// # Errors
/// As [`contingency_matrix`].
pub fn rand_score(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<f64> {
    let [both, groups, clusters, all] = pairs(labels_true, labels_pred)?;
    Ok(if all == 0.0 { 1.0 } else { (all + 2.0 * both - groups - clusters) / all })
}

/// The Rand index corrected for chance: 0 on average for random clusters, 1 for the same (Hubert and
/// Arabie, 1985).
///
/// # Errors
/// As [`contingency_matrix`].
pub fn adjusted_rand_score(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<f64> {
    let [both, groups, clusters, all] = pairs(labels_true, labels_pred)?;
    if both == groups && both == clusters {
        return Ok(1.0);
    }
    let chance = groups * clusters / all;
    Ok((both - chance) / ((groups + clusters) / 2.0 - chance))
}

/// The geometric mean of the pairs' precision and recall (Fowlkes and Mallows, 1983).
///
/// # Errors
/// As [`contingency_matrix`].
pub fn fowlkes_mallows_score(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<f64> {
    let [both, groups, clusters, _] = pairs(labels_true, labels_pred)?;
    Ok(if both == 0.0 { 0.0 } else { (both / groups).sqrt() * (both / clusters).sqrt() })
}

/// The entropy of counts, in nats.
fn entropy(counts: &Array1<f64>) -> f64 {
    let total = counts.sum();
    counts.iter().filter(|count| **count > 0.0).map(|count| -count / total * (count / total).ln()).sum()
}

fn mutual_information(table: &Array2<f64>) -> f64 {
    let (rows, columns, total) = (table.sum_axis(Axis(1)), table.sum_axis(Axis(0)), table.sum());
    let filled = table.indexed_iter().filter(|(_, count)| **count > 0.0);
    let terms = filled.map(|((i, j), count)| count / total * (count * total / (rows[i] * columns[j])).ln());
    terms.sum::<f64>().max(0.0)
}

/// The mutual information of groups and clusters, in nats.
///
/// # Errors
/// As [`contingency_matrix`].
pub fn mutual_info_score(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<f64> {
    Ok(mutual_information(&contingency_matrix(labels_true, labels_pred)?))
}

/// Mutual information over the mean of the entropies, between 0 and 1.
///
/// # Errors
/// As [`contingency_matrix`].
pub fn normalized_mutual_info_score(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<f64> {
    v_measure_score(labels_true, labels_pred)
}

/// The mutual information that random clusters of the same sizes have on average (Vinh, Epps and
/// Bailey, 2010).
fn expected_information(table: &Array2<f64>) -> f64 {
    let total = table.sum() as usize;
    let mut log_factorial = vec![0.0; total + 1];
    for n in 1..=total {
        log_factorial[n] = log_factorial[n - 1] + (n as f64).ln();
    }
    let n = total as f64;
    let mut expected = 0.0;
    for a in table.sum_axis(Axis(1)) {
        for b in table.sum_axis(Axis(0)) {
            let (a, b) = (a as usize, b as usize);
            for both in (a + b).saturating_sub(total).max(1)..=a.min(b) {
                let f = &log_factorial;
                let log_probability = f[a] + f[b] + f[total - a] + f[total - b]
                    - f[total]
                    - f[both]
                    - f[a - both]
                    - f[b - both]
                    - f[total + both - a - b];
                let count = both as f64;
                expected += count / n * (n * count / (a as f64 * b as f64)).ln() * log_probability.exp();
            }
        }
    }
    expected
}

/// Mutual information corrected for chance: 0 on average for random clusters, 1 for the same.
///
/// # Errors
/// As [`contingency_matrix`].
pub fn adjusted_mutual_info_score(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<f64> {
    let table = contingency_matrix(labels_true, labels_pred)?;
    let (groups, clusters) = table.dim();
    let rows = table.nrows();
    if groups == clusters && (groups == 1 || table.sum() as usize == rows) {
        return Ok(1.0);
    }
    let expected = expected_information(&table);
    let mean = (entropy(&table.sum_axis(Axis(1))) + entropy(&table.sum_axis(Axis(0)))) / 2.0;
    let range = mean - expected;
    let range = if range < 0.0 { range.min(-f64::EPSILON) } else { range.max(f64::EPSILON) };
    Ok((mutual_information(&table) - expected) / range)
}

/// Homogeneity (each cluster holds one group), completeness (each group lies in one cluster) and their
/// harmonic mean, the V-measure; between 0 and 1 (Rosenberg and Hirschberg, 2007).
///
/// # Errors
/// As [`contingency_matrix`].
pub fn homogeneity_completeness_v_measure(
    labels_true: &dyn Labels,
    labels_pred: &dyn Labels,
) -> Result<(f64, f64, f64)> {
    let table = contingency_matrix(labels_true, labels_pred)?;
    let information = mutual_information(&table);
    let share = |entropy: f64| if entropy == 0.0 { 1.0 } else { information / entropy };
    let homogeneity = share(entropy(&table.sum_axis(Axis(1))));
    let completeness = share(entropy(&table.sum_axis(Axis(0))));
    let sum = homogeneity + completeness;
    let v = if sum == 0.0 { 0.0 } else { 2.0 * homogeneity * completeness / sum };
    Ok((homogeneity, completeness, v))
}

/// Whether each cluster holds one group only.
///
/// # Errors
/// As [`contingency_matrix`].
pub fn homogeneity_score(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<f64> {
    Ok(homogeneity_completeness_v_measure(labels_true, labels_pred)?.0)
}

/// Whether each group lies in one cluster only.
///
/// # Errors
/// As [`contingency_matrix`].
pub fn completeness_score(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<f64> {
    Ok(homogeneity_completeness_v_measure(labels_true, labels_pred)?.1)
}

/// The harmonic mean of homogeneity and completeness.
///
/// # Errors
/// As [`contingency_matrix`].
pub fn v_measure_score(labels_true: &dyn Labels, labels_pred: &dyn Labels) -> Result<f64> {
    Ok(homogeneity_completeness_v_measure(labels_true, labels_pred)?.2)
}

/// Checked samples with their clusters: at least two clusters, and fewer than samples.
fn clustered(name: &'static str, x: &dyn Features, labels: &dyn Labels) -> Result<(Array2<f64>, Classes)> {
    let x = checked_features(name, Accepts::PLAIN, x)?.dense().into_owned();
    let classes = Classes::new(&labels.labels());
    let (rows, clusters) = (x.nrows(), classes.values.len());
    if classes.codes.len() != rows {
        return Err(Error::op(name, format!("x has {rows} rows but labels has {}", classes.codes.len())));
    }
    if clusters < 2 || clusters >= rows {
        let message = format!("{clusters} clusters of {rows} samples; it needs 2 to samples - 1");
        return Err(Error::op(name, message));
    }
    Ok((x, classes))
}

/// The rows of a block of distances.
const BLOCK: usize = 256;

/// The silhouette of each sample: `(b - a) / max(a, b)` with the mean distances `a` to its own and `b` to
/// the nearest other cluster, Euclidean; 0 in a cluster of one (Rousseeuw, 1987).
///
/// # Errors
/// `x` that is empty or not finite, labels of another length, and other than 2 to samples - 1 clusters.
pub fn silhouette_samples(x: &dyn Features, labels: &dyn Labels) -> Result<Vec<f64>> {
    let (mut x, classes) = clustered("silhouette_samples", x, labels)?;
    // Centred, so that a common offset does not cost the digits of |a|^2 - 2ab + |b|^2.
    if let Some(mean) = x.mean_axis(Axis(0)) {
        x -= &mean;
    }
    let norms: Vec<f64> = x.rows().into_iter().map(|row| row.dot(&row)).collect();
    let counts = classes.counts(None);
    let blocks: Vec<Vec<f64>> = parallel::map(1, (0..x.nrows()).step_by(BLOCK), |start| {
        let end = (start + BLOCK).min(x.nrows());
        let products = matmul(x.slice(s![start..end, ..]), x.t());
        let silhouette = |(at, products): (usize, ndarray::ArrayView1<'_, f64>)| {
            let row = start + at;
            let mut sums = vec![0.0; counts.len()];
            for (other, product) in products.iter().enumerate() {
                if other != row {
                    let squared = norms[row] + norms[other] - 2.0 * product;
                    sums[classes.codes[other]] += squared.max(0.0).sqrt();
                }
            }
            let own = classes.codes[row];
            if counts[own] == 1.0 {
                return 0.0;
            }
            let inner = sums[own] / (counts[own] - 1.0);
            let others = (0..counts.len()).filter(|&cluster| cluster != own);
            let outer = others.map(|cluster| sums[cluster] / counts[cluster]).fold(f64::INFINITY, f64::min);
            let larger = inner.max(outer);
            if larger == 0.0 { 0.0 } else { (outer - inner) / larger }
        };
        products.rows().into_iter().enumerate().map(silhouette).collect()
    });
    Ok(blocks.concat())
}

/// The mean silhouette, between -1 and 1: how much nearer samples are to their own cluster than to the
/// next.
///
/// # Errors
/// As [`silhouette_samples`].
pub fn silhouette_score(x: &dyn Features, labels: &dyn Labels) -> Result<f64> {
    let samples = silhouette_samples(x, labels)?;
    Ok(samples.iter().sum::<f64>() / samples.len() as f64)
}

/// The mean of each cluster, one a row.
fn centroids(x: &Array2<f64>, classes: &Classes) -> Array2<f64> {
    let mut means = Array2::zeros((classes.values.len(), x.ncols()));
    for (row, &cluster) in x.rows().into_iter().zip(&classes.codes) {
        let mut mean = means.row_mut(cluster);
        mean += &row;
    }
    for (mut mean, count) in means.rows_mut().into_iter().zip(classes.counts(None)) {
        mean /= count;
    }
    means
}

/// The variance between clusters over that within, each per degree of freedom; higher is better
/// (Calinski and Harabasz, 1974).
///
/// # Errors
/// As [`silhouette_samples`].
pub fn calinski_harabasz_score(x: &dyn Features, labels: &dyn Labels) -> Result<f64> {
    let (x, classes) = clustered("calinski_harabasz_score", x, labels)?;
    let (centroids, total) = (centroids(&x, &classes), classes.codes.len() as f64);
    let mean = x.sum_axis(Axis(0)) / total;
    let squared = |difference: Array1<f64>| difference.dot(&difference);
    let counts = classes.counts(None);
    let between: f64 = centroids
        .rows()
        .into_iter()
        .zip(&counts)
        .map(|(center, count)| count * squared(&center - &mean))
        .sum();
    let rows = x.rows().into_iter().zip(&classes.codes);
    let within: f64 = rows.map(|(row, &cluster)| squared(&row - &centroids.row(cluster))).sum();
    let clusters = counts.len() as f64;
    Ok(if within == 0.0 { 1.0 } else { between * (total - clusters) / (within * (clusters - 1.0)) })
}

/// The mean over clusters of the likeness to the most alike other one: the sum of their spreads over
/// their distance; lower is better (Davies and Bouldin, 1979).
///
/// # Errors
/// As [`silhouette_samples`].
pub fn davies_bouldin_score(x: &dyn Features, labels: &dyn Labels) -> Result<f64> {
    let (x, classes) = clustered("davies_bouldin_score", x, labels)?;
    let centroids = centroids(&x, &classes);
    let distance = |difference: Array1<f64>| difference.dot(&difference).sqrt();
    let mut spreads = vec![0.0; centroids.nrows()];
    for (row, &cluster) in x.rows().into_iter().zip(&classes.codes) {
        spreads[cluster] += distance(&row - &centroids.row(cluster));
    }
    spreads.iter_mut().zip(classes.counts(None)).for_each(|(spread, count)| *spread /= count);
    let likeness = |i: usize, j: usize| {
        let apart = distance(&centroids.row(i) - &centroids.row(j));
        if apart == 0.0 { 0.0 } else { (spreads[i] + spreads[j]) / apart }
    };
    let clusters = 0..spreads.len();
    let worst = clusters
        .clone()
        .map(|i| clusters.clone().filter(|&j| j != i).map(|j| likeness(i, j)).fold(0.0, f64::max));
    Ok(worst.sum::<f64>() / spreads.len() as f64)
}
