//! Decompositions against scikit-learn's.

use crate::fixtures::{assert_close, matrix, numbers, parse};
use kiln::Result;
use kiln::classical::decomposition::Components;
use kiln::classical::prelude::*;
use ndarray::{Array2, ArrayView1, ArrayView2};
use serde_json::{Value, json};
use sprs::CsMat;

fn fixture() -> Value {
    parse(include_str!("../../assets/fixtures/classical/decomposition.json"))
}

fn close(name: &str, got: ArrayView2<'_, f64>, expected: &Value, tolerance: f64) {
    let expected = matrix(expected);
    assert_eq!(got.dim(), expected.dim(), "{name}");
    assert_close(name, got, expected, tolerance);
}

fn close_1(name: &str, got: ArrayView1<'_, f64>, expected: &Value, tolerance: f64) {
    assert_close(name, got, numbers(expected), tolerance);
}

/// Parameters from the fixture's names and values.
fn params<P: serde::de::DeserializeOwned>(value: &Value) -> P {
    serde_json::from_value(value.clone()).expect("the fixture's parameters are the estimator's")
}

macro_rules! assert_projection {
    ($name:expr, $model:expr, $new:expr, $expected:expr, $tolerance:expr) => {
        let (model, expected) = (&$model, &$expected);
        close_1($name, model.mean(), &expected["mean"], $tolerance);
        close($name, model.components(), &expected["components"], $tolerance);
        close_1($name, model.explained_variance(), &expected["explained_variance"], $tolerance);
        close_1($name, model.explained_variance_ratio(), &expected["explained_variance_ratio"], $tolerance);
        close_1($name, model.singular_values(), &expected["singular_values"], $tolerance);
        assert_close(
            $name,
            &[model.noise_variance()],
            &numbers(&json!([expected["noise_variance"]])),
            $tolerance,
        );
        let transformed = model.transform(&$new)?;
        close($name, transformed.view(), &expected["transformed"], $tolerance);
    };
}

#[test]
fn pca() -> Result<()> {
    let fixture = fixture();
    let (x, wide, new) = (matrix(&fixture["x"]), matrix(&fixture["wide"]), matrix(&fixture["new"]));
    let expected = &fixture["pca"];
    use kiln::classical::decomposition::SvdSolver::{Full, Randomized};
    let three = Pca::params().n_components(3);
    assert_projection!("covariance", three.fit(&x)?, new, expected["covariance"], 1e-7);
    assert_projection!("full", three.clone().svd_solver(Full).fit(&x)?, new, expected["full"], 1e-8);
    assert_projection!("whiten", Pca::params().whiten(true).fit(&x)?, new, expected["whiten"], 1e-7);
    assert_projection!("share", Pca::params().n_components(0.9).fit(&x)?, new, expected["share"], 1e-7);
    let four = Pca::params().n_components(4);
    assert_projection!("wide", four.clone().svd_solver(Full).fit(&wide)?, wide, expected["wide"], 1e-8);
    // Random directions beyond the number of rows span everything: the result is exact.
    assert_projection!(
        "randomized",
        four.svd_solver(Randomized).fit(&wide)?,
        wide,
        expected["randomized"],
        1e-7
    );

    let whitened = Pca::params().whiten(true).fit(&x)?;
    let back = whitened.inverse_transform(&whitened.transform(&x)?)?;
    assert!((back - &x).iter().all(|error| error.abs() < 1e-10));
    assert_eq!(whitened.feature_names_out(&[])[..2], ["pca0", "pca1"]);
    assert_eq!(Pca::params().n_components, Components::All);
    let error = Pca::params().n_components(7).fit(&x).expect_err("x has six columns");
    assert!(error.to_string().contains("n_components is 7"), "{error}");
    assert!(Pca::params().n_components(1.5).fit(&x).is_err());
    assert!(whitened.inverse_transform(&wide).is_err());
    Ok(())
}

#[test]
fn incremental_pca() -> Result<()> {
    let fixture = fixture();
    let (x, new) = (matrix(&fixture["x"]), matrix(&fixture["new"]));
    let model = IncrementalPca::params().n_components(3).batch_size(17).fit(&x)?;
    assert_projection!("incremental", model, new, fixture["incremental"], 1e-7);
    let model = IncrementalPca::params().batch_size(25).whiten(true).fit(&x)?;
    assert_projection!("whiten", model, new, fixture["incremental_whiten"], 1e-7);
    assert!(IncrementalPca::params().n_components(3).batch_size(2).fit(&x).is_err());
    Ok(())
}

#[test]
fn truncated_svd_of_sparse_and_dense_counts() -> Result<()> {
    let fixture = fixture();
    let dense = matrix(&fixture["counts"]);
    let sparse = CsMat::csr_from_dense(dense.view(), 0.0);
    let expected = &fixture["truncated_svd"];
    let params = TruncatedSvd::params().n_components(3).n_iter(9);
    for model in [params.fit(&dense)?, params.fit(&sparse)?] {
        close("components", model.components(), &expected["components"], 1e-7);
        close_1("variance", model.explained_variance(), &expected["explained_variance"], 1e-7);
        close_1("ratio", model.explained_variance_ratio(), &expected["explained_variance_ratio"], 1e-7);
        close_1("values", model.singular_values(), &expected["singular_values"], 1e-7);
        close("dense", model.transform(&dense)?.view(), &expected["transformed"], 1e-7);
        close("sparse", model.transform(&sparse)?.view(), &expected["transformed"], 1e-7);
    }
    Ok(())
}

#[test]
fn nmf() -> Result<()> {
    let fixture = fixture();
    let counts = matrix(&fixture["counts"]);
    for (name, expected) in fixture["nmf"].as_object().expect("cases by name") {
        let model = params::<kiln::classical::decomposition::NmfParams>(&expected["params"]).fit(&counts)?;
        assert_eq!(model.n_iter() as u64, expected["n_iter"].as_u64().expect("a number"), "{name}");
        close(name, model.components(), &expected["components"], 1e-5);
        let new = counts.slice(ndarray::s![..9, ..]);
        close(name, model.transform(&new)?.view(), &expected["transformed"], 1e-5);
        assert_close(
            name,
            &[model.reconstruction_err()],
            &numbers(&json!([expected["reconstruction_err"]])),
            1e-5,
        );
    }
    let random = Nmf::params().n_components(15).seed(1).fit(&counts)?;
    assert!(random.reconstruction_err() < 3.0, "{}", random.reconstruction_err());
    assert!(random.components().iter().all(|value| *value >= 0.0));
    let error = Nmf::params().fit(&(counts - 1.0)).expect_err("it holds numbers below 0");
    assert!(error.to_string().contains("holds -1 at row"), "{error}");
    Ok(())
}

/// For each expected row the found one of the same direction, and the cosine between the two.
fn matched(found: ArrayView2<'_, f64>, expected: &Array2<f64>) -> Vec<(usize, f64)> {
    let cosine = |a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>| a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt();
    let best = |row: ArrayView1<'_, f64>| {
        let cosines = found.rows().into_iter().map(|candidate| cosine(candidate, row)).enumerate();
        cosines.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).expect("there are rows")
    };
    expected.rows().into_iter().map(best).collect()
}

#[test]
fn fast_ica_up_to_order_and_sign() -> Result<()> {
    let fixture = fixture();
    let mixed = matrix(&fixture["mixed"]);
    for (name, expected) in fixture["ica"].as_object().expect("cases by name") {
        let params: kiln::classical::decomposition::FastIcaParams = params(&expected["params"]);
        let model = params.tol(1e-14).max_iter(2000).fit(&mixed)?;
        let (components, mixing) = (matrix(&expected["components"]), matrix(&expected["mixing"]));
        for (row, (index, cosine)) in matched(model.components(), &components).into_iter().enumerate() {
            if name == "deflation" {
                // Each source carries the errors of those found before it, in an order left to chance.
                assert!(cosine.abs() > 0.97, "{cosine}");
                continue;
            }
            let found = &model.components().row(index) * cosine.signum();
            assert_close(name, &found.to_vec(), &components.row(row).to_vec(), 1e-5);
            let found = &model.mixing().column(index) * cosine.signum();
            assert_close(name, &found.to_vec(), &mixing.column(row).to_vec(), 1e-5);
        }
        let deviations = model.transform(&mixed)?.std_axis(ndarray::Axis(0), 0.0);
        assert!(deviations.iter().all(|deviation| (deviation - 1.0).abs() < 1e-9));
    }
    Ok(())
}

#[test]
fn kernel_pca() -> Result<()> {
    let fixture = fixture();
    let (x, new) = (matrix(&fixture["x"]), matrix(&fixture["new"]));
    for (name, expected) in fixture["kernel_pca"].as_object().expect("cases by name") {
        let params = params::<kiln::classical::decomposition::KernelPcaParams>(&expected["params"]);
        let model = params.fit(&x)?;
        close_1(name, model.eigenvalues(), &expected["eigenvalues"], 1e-7);
        close(name, model.transform(&new)?.view(), &expected["transformed"], 1e-6);
        let difference = params.fit_transform(&x)? - model.transform(&x)?;
        assert!(difference.iter().all(|difference| difference.abs() < 1e-6), "{name}");
        if let Some(inverted) = expected.get("inverted") {
            close(name, model.inverse_transform(&model.transform(&new)?)?.view(), inverted, 1e-6);
        }
    }
    // Many rows take another way to the same eigenvectors.
    let rows = Array2::from_shape_fn((260, 5), |(i, j)| ((i * (j + 2)) as f64).sin() * (j + 1) as f64);
    let (few, all) = (KernelPca::params().n_components(3).fit(&rows)?, KernelPca::params().fit(&rows)?);
    let difference = few.transform(&rows)? - all.transform(&rows)?.slice(ndarray::s![.., ..3]);
    assert!(difference.iter().all(|difference| difference.abs() < 1e-6));
    assert!(few.inverse_transform(&few.transform(&rows)?).is_err());
    Ok(())
}
