//! Gaussian mixtures against scikit-learn's.

use crate::fixtures::{assert_close, matrix, numbers, parse};
use kiln::Result;
use kiln::classical::mixture::{CovarianceType, InitParams};
use kiln::classical::prelude::*;
use ndarray::{Axis, s};

fn close(name: &str, got: impl IntoIterator<Item = f64>, expected: impl IntoIterator<Item = f64>) {
    assert_close(name, got, expected, 1e-6);
}

#[test]
fn every_covariance_type() -> Result<()> {
    let fixture = parse(include_str!("../../assets/fixtures/classical/mixture.json"));
    let (x, new) = (matrix(&fixture["x"]), matrix(&fixture["new"]));
    for (name, expected) in fixture["cases"].as_object().expect("cases by name") {
        let kind: CovarianceType = serde_json::from_value(name.as_str().into()).expect("a covariance type");
        let mixture = GaussianMixture::params().n_components(3).covariance_type(kind).tol(1e-6).fit(&x)?;
        // The order of the components is that of the first centres, which are random.
        let means = matrix(&expected["means"]);
        let order: Vec<usize> = means
            .rows()
            .into_iter()
            .map(|mean| {
                let distance = |k: &usize| (&mixture.means().row(*k) - &mean).mapv(f64::abs).sum();
                (0..3).min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("three components")
            })
            .collect();
        close(name, mixture.means().select(Axis(0), &order), means);
        close(name, mixture.weights().select(Axis(0), &order), numbers(&expected["weights"]));
        let covariances = matrix(&expected["covariances"]);
        for (row, &k) in order.iter().enumerate() {
            let expected = covariances.slice(s![3 * row..3 * row + 3, ..]).to_owned();
            close(name, mixture.covariances()[k].clone(), expected);
        }
        close(name, mixture.predict_proba(&new)?.select(Axis(1), &order), matrix(&expected["probabilities"]));
        close(name, mixture.score_samples(&new)?, numbers(&expected["scores"]));
        let expected = [&expected["bic"], &expected["aic"], &expected["lower_bound"], &expected["n_iter"]];
        let found = [mixture.bic(&x)?, mixture.aic(&x)?, mixture.lower_bound(), mixture.n_iter() as f64];
        close(name, found, expected.map(|value| value.as_f64().expect("a number")));
        assert!(mixture.converged());
        assert_eq!(mixture.predict(&x)?.to_vec(), mixture.labels());
    }
    Ok(())
}

#[test]
fn samples_have_the_density_s_moments() -> Result<()> {
    let fixture = parse(include_str!("../../assets/fixtures/classical/mixture.json"));
    let mixture = GaussianMixture::params().n_components(3).fit(&matrix(&fixture["x"]))?;
    let (rows, labels) = mixture.sample(20_000, 5)?;
    for k in 0..3 {
        let own: Vec<usize> = (0..labels.len()).filter(|&row| labels[row] == k as i64).collect();
        assert!((own.len() as f64 / 20_000.0 - mixture.weights()[k]).abs() < 0.01);
        let own = rows.select(Axis(0), &own);
        let mean = own.mean_axis(Axis(0)).expect("rows");
        assert!((&mean - &mixture.means().row(k)).iter().all(|difference| difference.abs() < 0.1));
        let centred = own - mean;
        let covariance = centred.t().dot(&centred) / centred.nrows() as f64;
        assert!((covariance - &mixture.covariances()[k]).iter().all(|difference| difference.abs() < 0.3));
    }
    Ok(())
}

#[test]
fn other_starts_and_refusals() -> Result<()> {
    let fixture = parse(include_str!("../../assets/fixtures/classical/mixture.json"));
    let x = matrix(&fixture["x"]);
    let best = fixture["cases"]["full"]["lower_bound"].as_f64().expect("a number");
    for init in [InitParams::KMeansPlusPlus, InitParams::Random, InitParams::RandomFromData] {
        let mixture = GaussianMixture::params().n_components(3).init_params(init).n_init(8).fit(&x)?;
        assert!(mixture.lower_bound() > best - 0.05, "{init:?}: {}", mixture.lower_bound());
    }
    let error = GaussianMixture::params().n_components(500).fit(&x).expect_err("there are 150 rows");
    assert!(error.to_string().contains("n_components is 500"), "{error}");
    assert!(GaussianMixture::params().n_components(2).reg_covar(0.0).fit(&(x * 0.0)).is_err());
    Ok(())
}
