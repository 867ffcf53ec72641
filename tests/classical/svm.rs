//! Support vector machines against scikit-learn's. Both keep kernel values in single precision, which
//! bounds how alike the solutions can be.

use crate::fixtures::{Fixture, assert_close};
use kiln::Result;
use kiln::classical::prelude::*;
use serde_json::{Value, json};

/// A case's parameters under Kiln's names, solved as exactly.
fn params<P: Parameters>(case: &Value) -> P {
    let mut all = case["params"].as_object().expect("params are an object").clone();
    if let Some(c) = all.remove("C") {
        all.insert("c".into(), c);
    }
    all.insert("tol".into(), json!(1e-9));
    serde_json::from_value(all.into()).expect("scikit-learn's names and values")
}

#[test]
fn svc_has_scikit_learns_solution() -> Result<()> {
    let all = Fixture::read("svm");
    let svc = all.at("svc");
    let (x, new, weights) = (svc.matrix("x"), svc.matrix("new"), svc.vector("weights"));
    for case in svc.cases("cases") {
        let labels = svc.at("labels").labels(case.text("labels"));
        let params: SvcParams = params(&case.0);
        let model = match case.flag("weighted") {
            true => params.fit_weighted(&x, &labels, &weights)?,
            false => params.fit(&x, &labels)?,
        };
        let what = case.0["params"].to_string();
        assert_close(&what, model.intercept(), case.vector("intercept"), 1e-4);
        assert_close(&what, model.decision_function(&new)?, case.matrix("decision"), 1e-4);
        assert_eq!(model.predict(&new)?.to_vec(), case.labels("predict"), "{what}");
        // Rows at the very edge of the margin are support vectors by accident of rounding, and the sigmoid
        // is no kernel of a convex problem, so that its coefficients are not unique.
        let expected = case.matrix("dual_coef");
        if model.support().len() == expected.ncols() && case.at("params").text("kernel") != "sigmoid" {
            let support: Vec<i64> = model.support().iter().map(|&row| row as i64).collect();
            assert_eq!(support, case.labels("support"), "{what}");
            assert_close(&what, model.dual_coef(), expected, 1e-4);
        }
        let difference = model.support().len().abs_diff(case.labels("support").len());
        assert!(difference <= 2, "{what}: {difference} more or fewer support vectors");
    }
    Ok(())
}

#[test]
fn svr_has_scikit_learns_solution() -> Result<()> {
    let all = Fixture::read("svm");
    let svr = all.at("svr");
    let (x, y, new) = (svr.matrix("x"), svr.vector("y"), svr.matrix("new"));
    for case in svr.cases("cases") {
        let params: SvrParams = params(&case.0);
        let model = match case.flag("weighted") {
            true => params.fit_weighted(&x, &y, &svr.vector("weights"))?,
            false => params.fit(&x, &y)?,
        };
        let what = case.0["params"].to_string();
        assert_close(&what, [model.intercept()], [case.number("intercept")], 1e-3);
        assert_close(&what, model.predict(&new)?, case.vector("predict"), 1e-3);
        let support: Vec<i64> = model.support().iter().map(|&row| row as i64).collect();
        assert_eq!(support, case.labels("support"), "{what}");
    }
    Ok(())
}

#[test]
fn one_class_svm_has_scikit_learns_solution() -> Result<()> {
    let all = Fixture::read("svm");
    let svc = all.at("svc");
    let (x, new, weights) = (svc.matrix("x"), svc.matrix("new"), svc.vector("weights"));
    for case in all.cases("one_class") {
        let params = params::<OneClassSvmParams>(&case.0).nu(0.3);
        let model = match case.flag("weighted") {
            true => params.fit_weighted(&x, &weights)?,
            false => params.fit(&x)?,
        };
        let what = case.0["params"].to_string();
        assert_close(&what, [model.intercept()], [case.number("intercept")], 1e-4);
        assert_close(&what, model.decision_function(&new)?, case.vector("decision"), 1e-4);
    }
    Ok(())
}

#[test]
fn nu_svc_has_scikit_learns_solution() -> Result<()> {
    let all = Fixture::read("svm");
    let svc = all.at("svc");
    let (x, new, weights) = (svc.matrix("x"), svc.matrix("new"), svc.vector("weights"));
    for case in svc.cases("nu") {
        let labels = svc.at("labels").labels(case.text("labels"));
        let params: NuSvcParams = params(&case.0);
        let model = match case.flag("weighted") {
            true => params.fit_weighted(&x, &labels, &weights)?,
            false => params.fit(&x, &labels)?,
        };
        let what = format!("{} {}", case.0["params"], case.text("labels"));
        assert_close(&what, model.decision_function(&new)?, case.matrix("decision"), 1e-4);
        assert_eq!(model.predict(&new)?.to_vec(), case.labels("predict"), "{what}");
        let difference = model.support().len().abs_diff(case.number("support") as usize);
        assert!(difference <= 2, "{what}: {difference} more or fewer support vectors");
    }
    let rare: Vec<i64> = (0..x.nrows()).map(|row| i64::from(row < 5)).collect();
    let error = NuSvc::params().fit(&x, &rare).unwrap_err().to_string();
    assert!(error.contains("nu is 0.5"), "{error}");
    Ok(())
}

#[test]
fn nu_svr_has_scikit_learns_solution() -> Result<()> {
    let all = Fixture::read("svm");
    let svr = all.at("svr");
    let (x, y, new) = (svr.matrix("x"), svr.vector("y"), svr.matrix("new"));
    for case in svr.cases("nu") {
        let params: NuSvrParams = params(&case.0);
        let model = match case.flag("weighted") {
            true => params.fit_weighted(&x, &y, &svr.vector("weights"))?,
            false => params.fit(&x, &y)?,
        };
        let what = case.0["params"].to_string();
        assert_close(&what, model.predict(&new)?, case.vector("predict"), 1e-3);
        assert_eq!(model.support().len(), case.number("support") as usize, "{what}");
    }
    assert!(NuSvr::params().nu(0.0).fit(&x, &y).is_err());
    Ok(())
}

/// Shrinking and a cache of two rows change the way, not the solution.
#[test]
fn shrinking_and_a_small_cache_change_nothing() -> Result<()> {
    let (x, y) = rings(400);
    let exact = Svc::params().tol(1e-8).shrinking(false).fit(&x, &y)?;
    for params in [Svc::params(), Svc::params().cache_size(1e-3)] {
        let model = params.tol(1e-8).fit(&x, &y)?;
        assert_close("rings", model.decision_function(&x)?, exact.decision_function(&x)?, 1e-5);
    }
    Ok(())
}

/// Two rings around each other, with noise.
fn rings(rows: usize) -> (ndarray::Array2<f64>, Vec<i64>) {
    let angle = |row: usize| row as f64 * 0.7;
    let radius = |row: usize| (1 + row % 2) as f64 + 0.8 * ((row * 37 % 101) as f64 / 101.0 - 0.5);
    let x = ndarray::Array2::from_shape_fn((rows, 2), |(row, column)| {
        radius(row) * if column == 0 { angle(row).cos() } else { angle(row).sin() }
    });
    (x, (0..rows).map(|row| (row % 2) as i64).collect())
}

#[test]
fn probabilities_follow_the_shares() -> Result<()> {
    // The rings overlap where the radius is 1.4 to 1.6; within that band both are equally frequent.
    let (x, y) = rings(600);
    let model = Svc::params().probability(true).fit(&x, &y)?;
    let at =
        |radius: f64| -> Result<f64> { Ok(model.predict_proba(&ndarray::array![[radius, 0.0]])?[[0, 1]]) };
    assert!(at(1.0)? < 0.1 && at(2.0)? > 0.9, "{} and {}", at(1.0)?, at(2.0)?);
    assert!((at(1.5)? - 0.5).abs() < 0.2, "{}", at(1.5)?);
    let three: Vec<i64> = (0..600).map(|row| (row % 3) as i64).collect();
    let x = ndarray::Array2::from_shape_fn((600, 1), |(row, _)| (row % 3) as f64 + (row % 7) as f64 * 0.05);
    let proba = Svc::params().probability(true).fit(&x, &three)?.predict_proba(&x)?;
    for (row, proba) in proba.rows().into_iter().enumerate() {
        assert!((proba.sum() - 1.0).abs() < 1e-9 && proba[row % 3] > 0.8, "{proba}");
    }
    Ok(())
}

#[test]
fn wrong_parameters_and_weights_are_named() {
    let (x, y) = rings(40);
    for (params, named) in [
        (Svc::params().c(0.0), "c is 0"),
        (Svc::params().tol(f64::NAN), "tol"),
        (Svc::params().gamma(-1.0), "gamma is -1"),
        (Svc::params().coef0(f64::INFINITY), "coef0"),
    ] {
        let error = params.fit(&x, &y).expect_err("the parameters make no sense").to_string();
        assert!(error.contains(named), "{error}");
    }
    let weights: Vec<f64> = y.iter().map(|&label| label as f64).collect();
    let error =
        Svc::params().fit_weighted(&x, &y, &weights).expect_err("one class has no weight").to_string();
    assert!(error.contains("class 0"), "{error}");
    assert!(OneClassSvm::params().nu(1.5).fit(&x).is_err());
}
