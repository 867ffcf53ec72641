//! Nearest neighbours against scikit-learn's.

use crate::fixtures::{Fixture, assert_close};
use kiln::Result;
use kiln::classical::prelude::*;
use ndarray::{Array2, array, s};
use serde_json::Value;

fn params<P: Parameters>(value: &Value, algorithm: &str) -> P {
    let mut all = value.as_object().expect("params are an object").clone();
    all.insert("algorithm".into(), algorithm.into());
    serde_json::from_value(all.into()).expect("scikit-learn's names and values")
}

const ALGORITHMS: [&str; 4] = ["auto", "brute", "kd_tree", "ball_tree"];

#[test]
fn neighbours_are_scikit_learns() -> Result<()> {
    let all = Fixture::read("neighbors");
    let (x, new) = (all.matrix("x"), all.matrix("new"));
    for (case, algorithm) in all.cases("found").iter().flat_map(|case| ALGORITHMS.map(|name| (case, name))) {
        let index = params::<NearestNeighborsParams>(&case.0["params"], algorithm).n_neighbors(4).fit(&x)?;
        let found = index.kneighbors(&new.slice(s![..12, ..]))?;
        let what = format!("{} {algorithm}", case.0["params"]);
        assert_close(&what, found.indices.mapv(|row| row as f64), case.matrix("indices"), 0.0);
        assert_close(&what, found.distances, case.matrix("distances"), 1e-9);
        let others = index.kneighbors_of_fitted()?.indices.slice(s![..12, ..]).mapv(|row| row as f64);
        assert_close(&what, others, case.matrix("others"), 0.0);
    }
    Ok(())
}

#[test]
fn predictions_are_scikit_learns() -> Result<()> {
    let all = Fixture::read("neighbors");
    let (x, new, labels) = (all.matrix("x"), all.matrix("new"), all.labels("labels"));
    for (case, algorithm) in
        all.cases("predictions").iter().flat_map(|case| ALGORITHMS.map(|name| (case, name)))
    {
        let what = format!("{} {algorithm}", case.0["params"]);
        let classifier =
            params::<KNeighborsClassifierParams>(&case.0["params"], algorithm).fit(&x, &labels)?;
        assert_eq!(classifier.predict(&new)?.to_vec(), case.labels("predict"), "{what}");
        assert_close(&what, classifier.predict_proba(&new)?, case.matrix("proba"), 1e-9);
        let regressor = params::<KNeighborsRegressorParams>(&case.0["params"], algorithm)
            .fit(&x, &all.vector("targets"))?;
        assert_close(&what, regressor.predict(&new)?, case.vector("values"), 1e-9);
    }
    Ok(())
}

#[test]
fn predictions_within_a_radius_are_scikit_learns() -> Result<()> {
    let all = Fixture::read("neighbors");
    let (x, new, labels) = (all.matrix("x"), all.matrix("new"), all.labels("labels"));
    let mut without = 0;
    for (case, algorithm) in all.cases("within").iter().flat_map(|case| ALGORITHMS.map(|name| (case, name))) {
        let what = format!("{} {algorithm}", case.0["params"]);
        let params: RadiusNeighborsClassifierParams = params(&case.0["params"], algorithm);
        let classifier = params.outlier_label(1).fit(&x, &labels)?;
        assert_eq!(classifier.predict(&new)?.to_vec(), case.labels("predict"), "{what}");
        assert_close(&what, classifier.predict_proba(&new)?, case.matrix("proba"), 1e-9);
        let params: RadiusNeighborsRegressorParams = crate::neighbors::params(&case.0["params"], algorithm);
        let regressor = params.fit(&x, &all.vector("targets"))?;
        for (row, expected) in new.rows().into_iter().zip(case.vector("values")) {
            let found = regressor.predict(&row.insert_axis(ndarray::Axis(0)));
            if expected.is_nan() {
                without += 1;
                let error = found.unwrap_err().to_string();
                assert!(error.contains("no neighbour"), "{error}");
            } else {
                assert_close(&what, found?, [expected], 1e-9);
            }
        }
    }
    assert!(without > 0, "a case has rows without neighbours");
    let params = RadiusNeighborsClassifier::params().outlier_label(9);
    assert!(params.fit(&x, &labels).unwrap_err().to_string().contains("outlier_label is 9"));
    Ok(())
}

#[test]
fn centroids_are_scikit_learns() -> Result<()> {
    let all = Fixture::read("neighbors");
    let (x, new, labels) = (all.matrix("x"), all.matrix("new"), all.labels("labels"));
    for case in all.cases("centroids") {
        let params = NearestCentroidParams {
            metric: serde_json::from_value(case.0["metric"].clone()).expect("a metric"),
        };
        let model = params.fit(&x, &labels)?;
        assert_close("centroids", model.centroids().clone(), case.matrix("centroids"), 1e-9);
        assert_eq!(model.predict(&new)?.to_vec(), case.labels("predict"));
    }
    assert!(NearestCentroid::params().metric(Metric::Cosine).fit(&x, &labels).is_err());
    Ok(())
}

#[test]
fn local_outlier_factors_are_scikit_learns() -> Result<()> {
    let all = Fixture::read("neighbors");
    let (x, new) = (all.matrix("x"), all.matrix("new"));
    for case in all.cases("outliers") {
        let model = params::<LocalOutlierFactorParams>(&case.0["params"], "auto").fit(&x)?;
        let what = case.0["params"].to_string();
        assert_close(&what, model.negative_outlier_factor().to_vec(), case.vector("training"), 1e-8);
        assert_close(&what, [model.offset()], [case.number("offset")], 1e-8);
        assert_close(&what, model.decision_function(&new)?, case.vector("decision"), 1e-8);
    }
    assert!(LocalOutlierFactor::params().contamination(0.7).fit(&x).is_err());
    Ok(())
}

#[test]
fn neighbours_at_distance_0_decide_alone() -> Result<()> {
    let x = array![[0.0], [0.0], [1.0], [1.1]];
    let params = KNeighborsRegressor::params().n_neighbors(4).weights(NeighborWeights::Distance);
    let model = params.fit(&x, &[1.0, 2.0, 50.0, 60.0])?;
    assert_eq!(model.predict(&array![[0.0]])?, array![1.5]);
    Ok(())
}

#[test]
fn rows_within_a_radius() -> Result<()> {
    let x = Array2::from_shape_fn((50, 2), |(row, column)| (row * [7, 11][column] % 50) as f64);
    for algorithm in ALGORITHMS {
        let index =
            params::<NearestNeighborsParams>(&serde_json::json!({}), algorithm).radius(9.0).fit(&x)?;
        for (found, point) in index.radius_neighbors(&x)?.into_iter().zip(x.rows()) {
            let near = |row: &usize| (&x.row(*row) - &point).mapv(|value| value * value).sum() <= 81.0;
            let rows: Vec<usize> = found.iter().map(|neighbor| neighbor.index).collect();
            assert_eq!(rows, (0..50).filter(near).collect::<Vec<_>>(), "{algorithm}");
        }
    }
    Ok(())
}

#[test]
fn too_few_rows_and_wrong_parameters_are_named() -> Result<()> {
    let x = array![[0.0], [1.0]];
    let index = NearestNeighbors::params().n_neighbors(2).fit(&x)?;
    assert!(index.kneighbors(&x).is_ok());
    let error = index.kneighbors_of_fitted().expect_err("each has one other").to_string();
    assert!(error.contains("n_neighbors is 2"), "{error}");
    for params in [
        NearestNeighbors::params().n_neighbors(0),
        NearestNeighbors::params().p(0.5),
        NearestNeighbors::params().radius(-1.0),
    ] {
        assert!(params.fit(&x).is_err(), "{params:?}");
    }
    Ok(())
}
