//! Embeddings against scikit-learn's, and by what they keep of the neighbourhoods.

use crate::fixtures::{assert_close, labels, matrix, parse};
use kiln::Result;
use kiln::classical::manifold::{Start, TsneMethod};
use kiln::classical::prelude::*;
use ndarray::{Array2, ArrayView2};
use serde_json::Value;

fn fixture() -> Value {
    parse(include_str!("../../assets/fixtures/classical/manifold.json"))
}

/// Columns turned so that they agree in sign: where entries of two sizes are as large, rounding picks the
/// sign of an eigenvector.
fn assert_columns(name: &str, found: &Array2<f64>, expected: &Array2<f64>) {
    assert_eq!(found.dim(), expected.dim(), "{name}");
    for (found, expected) in found.columns().into_iter().zip(expected.columns()) {
        let found = &found * found.dot(&expected).signum();
        assert_close(name, &found.to_vec(), &expected.to_vec(), 1e-6);
    }
}

/// The numbers of the rows, nearest first, for each row; the row itself left out.
fn ranking(x: ArrayView2<'_, f64>) -> Vec<Vec<usize>> {
    let distance = |a: usize, b: usize| (&x.row(a) - &x.row(b)).mapv(|value| value * value).sum();
    let nearest = |row: usize| {
        let mut others: Vec<usize> = (0..x.nrows()).filter(|&other| other != row).collect();
        others.sort_by(|&a, &b| f64::total_cmp(&distance(row, a), &distance(row, b)));
        others
    };
    (0..x.nrows()).map(nearest).collect()
}

/// How well the `k` nearest rows in the embedding are near in the data (Venna and Kaski, 2001), from 0 to 1.
fn trustworthiness(x: ArrayView2<'_, f64>, embedding: ArrayView2<'_, f64>, k: usize) -> f64 {
    let (before, after) = (ranking(x), ranking(embedding));
    let mut penalty = 0.0;
    for (before, after) in before.iter().zip(&after) {
        for other in &after[..k] {
            let rank = 1 + before.iter().position(|row| row == other).expect("the same rows");
            penalty += rank.saturating_sub(k) as f64;
        }
    }
    let (n, k) = (x.nrows() as f64, k as f64);
    1.0 - penalty * 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0))
}

/// The share of rows whose nearest neighbour is of their class.
fn purity(embedding: ArrayView2<'_, f64>, labels: &[i64]) -> f64 {
    let same =
        ranking(embedding).iter().zip(labels).filter(|(near, label)| labels[near[0]] == **label).count();
    same as f64 / labels.len() as f64
}

#[test]
fn isomap() -> Result<()> {
    let fixture = fixture();
    for (name, expected) in fixture["isomap"].as_object().expect("cases by name") {
        let x = matrix(&fixture[name]);
        let neighbors = expected["n_neighbors"].as_u64().expect("a number") as usize;
        let model = Isomap::params().n_neighbors(neighbors).fit(&x)?;
        let distances = matrix(&expected["distances"]);
        for (row, expected) in distances.rows().into_iter().enumerate() {
            assert_close(name, &model.dist_matrix().row(17 * row).to_vec(), &expected.to_vec(), 1e-8);
        }
        assert_columns(name, &model.embedding(), &matrix(&expected["embedding"]));
        assert_columns(name, &model.transform(&matrix(&fixture["new"]))?, &matrix(&expected["transformed"]));
    }
    assert!(Isomap::params().n_neighbors(200).fit(&matrix(&fixture["roll"])).is_err());
    Ok(())
}

#[test]
fn tsne_is_as_good_as_scikit_learn_s() -> Result<()> {
    let digits = &fixture()["digits"];
    let (x, y) = (matrix(&digits["x"]), labels(&digits["y"]));
    let number = |name: &str| digits[name].as_f64().expect("a number");
    let params = Tsne::params().perplexity(20.0);
    let fast = params.clone().fit(&x)?;
    // Both descend the same loss from the same start; how far they get differs with rounding.
    assert!(fast.kl_divergence() < number("divergence") + 0.03, "{}", fast.kl_divergence());
    let trust = trustworthiness(x.view(), fast.embedding(), 7);
    assert!(trust > number("trustworthiness") - 0.01, "{trust}");
    assert!(purity(fast.embedding(), &y) > 0.9, "{}", purity(fast.embedding(), &y));
    let exact = params.method(TsneMethod::Exact).fit(&x)?;
    assert!(exact.kl_divergence() < number("exact_divergence") + 0.03, "{}", exact.kl_divergence());
    Ok(())
}

#[test]
fn tsne_in_other_dimensions_and_its_refusals() -> Result<()> {
    let x = matrix(&fixture()["roll"]);
    // A line has no room for a sheet.
    for (components, least) in [(1, 0.75), (3, 0.95)] {
        let params =
            Tsne::params().n_components(components).perplexity(8.0).init(Start::Random).max_iter(500);
        let map = params.fit(&x)?;
        let trust = trustworthiness(x.view(), map.embedding(), 5);
        assert!(trust > least, "{components}: {trust}");
        assert_eq!(map.embedding(), params.fit(&x)?.embedding(), "the same seed gives the same map");
    }
    for params in [
        Tsne::params().perplexity(90.0),
        Tsne::params().n_components(4),
        Tsne::params().max_iter(100),
        Tsne::params().learning_rate(-1.0),
        Tsne::params().perplexity(5.0).learning_rate(1e300),
    ] {
        assert!(params.fit(&x).is_err(), "{params:?}");
    }
    assert!(Tsne::params().perplexity(5.0).fit(&(&x * 1e200)).is_err());
    let constant = Tsne::params().perplexity(5.0).fit(&Array2::from_elem((20, 3), 2.0))?;
    assert!(constant.embedding().iter().all(|value| value.is_finite()));
    Ok(())
}

#[test]
fn umap_keeps_neighbourhoods_and_places_new_rows() -> Result<()> {
    let digits = &fixture()["digits"];
    let (x, y) = (matrix(&digits["x"]), labels(&digits["y"]));
    let model = Umap::params().seed(3).fit(&x)?;
    let trust = trustworthiness(x.view(), model.embedding(), 7);
    assert!(trust > 0.93, "{trust}");
    assert!(purity(model.embedding(), &y) > 0.88, "{}", purity(model.embedding(), &y));
    assert_eq!(model.embedding(), Umap::params().seed(3).fit(&x)?.embedding());

    // Rows that the model has not seen come to lie among rows of their class.
    let (train, test): (Vec<usize>, Vec<usize>) = (0..x.nrows()).partition(|row| row % 4 != 0);
    let select = |rows: &[usize]| x.select(ndarray::Axis(0), rows);
    let model = Umap::params().fit(&select(&train))?;
    let placed = model.transform(&select(&test))?;
    let right = placed.rows().into_iter().zip(&test).filter(|(position, row)| {
        let distance =
            |other: usize| (&model.embedding().row(other) - position).mapv(|value| value * value).sum();
        let nearest = (0..train.len()).min_by(|&a, &b| f64::total_cmp(&distance(a), &distance(b)));
        nearest.is_some_and(|other| y[train[other]] == y[**row])
    });
    let share = right.count() as f64 / test.len() as f64;
    assert!(share > 0.8, "{share}");
    Ok(())
}

#[test]
fn umap_of_parts_and_its_refusals() -> Result<()> {
    let fixture = fixture();
    let parts = matrix(&fixture["parts"]);
    let map = Umap::params().n_neighbors(5).n_epochs(200).fit(&parts)?;
    assert!(trustworthiness(parts.view(), map.embedding(), 5) > 0.9);
    assert_eq!(map.feature_names_out(&[]), ["umap0", "umap1"]);
    for params in [
        Umap::params().n_neighbors(1),
        Umap::params().min_dist(2.0),
        Umap::params().set_op_mix_ratio(1.5),
        Umap::params().n_epochs(0),
        Umap::params().learning_rate(f64::NAN),
    ] {
        assert!(params.fit(&parts).is_err(), "{params:?}");
    }
    Ok(())
}
