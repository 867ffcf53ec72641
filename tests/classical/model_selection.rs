//! Folds, cross-validation, searches and pipelines against scikit-learn's.

use crate::fixtures::{assert_close, labels, matrix, numbers, parse};
use kiln::Result;
use kiln::classical::explain::permutation_importance;
use kiln::classical::model_selection::*;
use kiln::classical::prelude::*;
use kiln::classical::{AnyClassifier, AnyRegressor};
use ndarray::Array2;
use serde_json::{Value, json};

fn fixture() -> Value {
    parse(include_str!("../../assets/fixtures/classical/model_selection.json"))
}

/// The pipeline of the fixture.
fn pipeline() -> AnyRegressor {
    let pipeline = RegressorPipeline::params()
        .step("impute", SimpleImputer::params())
        .step("poly", PolynomialFeatures::params())
        .step("scale", StandardScaler::params())
        .regressor(Ridge::params());
    pipeline.into()
}

#[test]
fn folds_are_those_of_scikit_learn() -> Result<()> {
    let fixture = fixture();
    let (y, groups) = (labels(&fixture["y"]), labels(&fixture["groups"]));
    let gap = TimeSeriesSplit { n_splits: 3, gap: 2, test_size: Some(7), max_train_size: Some(20) };
    let splitters: [(&str, Box<dyn Splitter>); 6] = [
        ("kfold", Box::new(KFold::new(5))),
        ("stratified", Box::new(StratifiedKFold::new(5))),
        ("group", Box::new(GroupKFold::new(4, &groups))),
        ("stratified_group", Box::new(StratifiedGroupKFold::new(3, &groups))),
        ("time", Box::new(TimeSeriesSplit::new(5))),
        ("time_gap", Box::new(gap)),
    ];
    for (name, splitter) in splitters {
        let folds = splitter.split(y.len(), Some(&y))?;
        let expected = fixture["folds"][name].as_array().expect("a list of folds");
        assert_eq!(folds.len(), expected.len(), "{name}");
        for (fold, expected) in folds.iter().zip(expected) {
            let rows = |rows: &Value| labels(rows).into_iter().map(|row| row as usize).collect::<Vec<_>>();
            assert_eq!((&fold.train, &fold.test), (&rows(&expected[0]), &rows(&expected[1])), "{name}");
        }
    }
    Ok(())
}

#[test]
fn random_divisions_keep_their_promises() -> Result<()> {
    let y: Vec<i64> = (0..100).map(|row| i64::from(row % 10 == 0)).collect();
    let share = |rows: &[usize]| rows.iter().map(|&row| y[row] as f64).sum::<f64>() / rows.len() as f64;
    let whole = |fold: &Fold| {
        let mut rows = [fold.train.as_slice(), &fold.test].concat();
        rows.sort_unstable();
        rows.into_iter().eq(0..100)
    };
    let fold = train_test_indices(100, 0.3, Some(1), Some(&y))?;
    assert!(whole(&fold) && fold.test.len() == 30 && share(&fold.test) == 0.1 && share(&fold.train) == 0.1);
    assert_eq!(fold, train_test_indices(100, 0.3, Some(1), Some(&y))?, "the seed decides");
    assert_ne!(fold, train_test_indices(100, 0.3, Some(2), Some(&y))?, "the seed matters");
    assert_eq!(train_test_indices(10, 0.25, None, None)?.test, [7, 8, 9], "in order, the last rows");

    let shuffle =
        ShuffleSplit { n_splits: 4, test_size: 0.2, stratified: true, seed: 3 }.split(100, Some(&y))?;
    assert!(shuffle.len() == 4 && shuffle.iter().all(|fold| whole(fold) && share(&fold.test) == 0.1));
    assert_ne!(shuffle[0], shuffle[1]);
    for stratified in [false, true] {
        let folds = RepeatedKFold { n_splits: 5, n_repeats: 3, stratified, seed: 1 }.split(100, Some(&y))?;
        assert_eq!(folds.len(), 15);
        let mut times = [0; 100];
        folds.iter().flat_map(|fold| &fold.test).for_each(|&row| times[row] += 1);
        assert_eq!(times, [3; 100]);
        assert!(!stratified || folds.iter().all(|fold| share(&fold.test) == 0.1));
    }
    assert_eq!(LeaveOneOut.split(4, None)?[2], Fold { train: vec![0, 1, 3], test: vec![2] });
    let x = Array2::from_shape_fn((10, 1), |(row, _)| row as f64);
    let names: Vec<String> = (0..10).map(|row| row.to_string()).collect();
    let (x_train, x_test, y_train, y_test) = train_test_split(&x, &names, 0.3, 5)?;
    assert_eq!((x_train.nrows(), x_test.nrows()), (7, 3));
    assert!(x_train.iter().zip(&y_train).chain(x_test.iter().zip(&y_test)).all(|(x, y)| x.to_string() == *y));

    for refused in [
        KFold::new(1).split(5, None),
        KFold::new(6).split(5, None),
        StratifiedKFold::new(3).split(4, Some(&[0, 0, 1, 1])),
        StratifiedKFold::new(3).split(4, None),
        GroupKFold::new(3, &[0, 0, 1]).split(3, None),
        GroupKFold::new(2, &[0, 1]).split(3, None),
        TimeSeriesSplit::new(5).split(5, None),
        train_test_indices(10, 1.0, Some(0), None).map(|fold| vec![fold]),
        train_test_indices(3, 0.5, Some(0), Some(&[0, 1, 1])).map(|fold| vec![fold]),
    ] {
        assert!(refused.expect_err("it does not fit").to_string().len() > 20);
    }
    Ok(())
}

#[test]
fn cross_validation_is_that_of_scikit_learn() -> Result<()> {
    let fixture = fixture();
    let (x, y, cv) = (matrix(&fixture["x"]), numbers(&fixture["target"]), KFold::new(5));
    let scoring = ["r2", "neg_mean_absolute_error", "neg_root_mean_squared_error"];
    let result = cross_validate(&pipeline(), &x, &y, &cv, &scoring)?;
    for name in scoring {
        assert_close(name, &result.test_scores[name], &numbers(&fixture["scores"][name]), 1e-9);
        assert_close(name, &result.train_scores[name], &numbers(&fixture["train_scores"][name]), 1e-9);
    }
    assert_eq!(cross_val_score(&pipeline(), &x, &y, &cv, None)?, result.test_scores["r2"]);
    let predictions = cross_val_predict(&pipeline(), &x, &y, &cv)?;
    assert_close("cross_val_predict", &predictions, &numbers(&fixture["predict"]), 1e-9);
    let curve = learning_curve(&pipeline(), &x, &y, &cv, None, &[0.3, 1.0])?;
    for (at, point) in curve.iter().enumerate() {
        assert_eq!(point.at, fixture["learning"]["sizes"][at]);
        assert_close(
            "learning curve",
            &point.train_scores,
            &numbers(&fixture["learning"]["train"][at]),
            1e-8,
        );
        assert_close("learning curve", &point.test_scores, &numbers(&fixture["learning"]["test"][at]), 1e-8);
    }
    let values = [json!(1), json!(2)];
    let curve = validation_curve(&pipeline(), &x, &y, &cv, None, ("poly__degree", &values))?;
    assert_eq!(curve[1].test_scores, result.test_scores["r2"]);
    Ok(())
}

#[test]
fn searches_find_what_scikit_learn_finds() -> Result<()> {
    let fixture = fixture();
    let (x, y, cv) = (matrix(&fixture["x"]), numbers(&fixture["target"]), KFold::new(5));
    let lists = json!({"poly__degree": [1, 2, 3], "regressor__alpha": [0.1, 10.0]});
    let found = GridSearch::new(pipeline(), lists.clone()).fit(&x, &y, &cv)?;
    let theirs = fixture["search"].as_object().expect("scores by parameters");
    assert_eq!(found.candidates.len(), theirs.len());
    for candidate in &found.candidates {
        let (degree, alpha) = (&candidate.params["poly__degree"], &candidate.params["regressor__alpha"]);
        let key = theirs.keys().find(|key| {
            let params: Value = serde_json::from_str(key).unwrap_or_default();
            params["poly__degree"] == *degree && params["ridge__alpha"] == *alpha
        });
        let expected = &theirs[key.expect("scikit-learn tried it too")];
        assert_close("mean score", &[candidate.mean()], &[expected.as_f64().unwrap_or(f64::NAN)], 1e-8);
    }
    assert_eq!(found.best_params["poly__degree"], fixture["best_params"]["poly__degree"]);
    assert_eq!(found.best_params["regressor__alpha"], fixture["best_params"]["ridge__alpha"]);
    let predicted = found.best_model.predict(&x)?.to_vec();
    assert_close("the best model", &predicted, &numbers(&fixture["best_predictions"]), 1e-8);
    let halving = HalvingGridSearch::new(pipeline(), lists, 2, 0).fit(&x, &y, &cv)?;
    assert_eq!(halving.best_params["poly__degree"], found.best_params["poly__degree"]);
    assert!(halving.candidates.iter().any(|candidate| candidate.rows < 40), "the first round has fewer rows");
    let distributions = json!({"regressor__alpha": {"loguniform": [0.1, 10.0]}, "poly__degree": [2]});
    let random = RandomizedSearch::new(pipeline(), distributions, 6, 0)
        .scoring("neg_mean_squared_error")
        .fit(&x, &y, &cv)?;
    let alphas = random.candidates.iter().map(|one| one.params["regressor__alpha"].as_f64().unwrap_or(0.0));
    assert!(random.candidates.len() == 6 && alphas.clone().all(|alpha| (0.1..=10.0).contains(&alpha)));
    assert_eq!(random.best_score, random.candidates.iter().map(Candidate::mean).fold(f64::MIN, f64::max));
    for (wrong, says) in [
        (json!({"scale__no_such": [1]}), "no_such"),
        (json!({"no_step__alpha": [1]}), "no_step"),
        (json!({"alpha": [1]}), "step__parameter"),
        (json!({"regressor__alpha": []}), "at least one value"),
    ] {
        let error = GridSearch::new(pipeline(), wrong).fit(&x, &y, &cv).expect_err("a wrong list");
        assert!(error.to_string().contains(says), "{error}");
    }
    Ok(())
}

#[test]
fn scores_of_classifiers_are_by_name() -> Result<()> {
    let x = Array2::from_shape_fn((30, 2), |(row, column)| (row * (column + 2) % 5) as f64);
    let y: Vec<i64> = (0..30).map(|row| i64::from(row % 3 == 0)).collect();
    let prior = AnyClassifier::from(DummyClassifier::params());
    let scoring = ["accuracy", "balanced_accuracy", "f1", "roc_auc", "neg_log_loss", "neg_brier_score"];
    let result = cross_validate(&prior, &x, &y, &StratifiedKFold::new(5), &scoring)?;
    let entropy = -(2.0 / 3.0 * (2.0_f64 / 3.0).ln() + (1.0_f64 / 3.0).ln() / 3.0);
    // What always saying "no", with a third of probability, scores.
    for (name, expected) in scoring.iter().zip([2.0 / 3.0, 0.5, 0.0, 0.5, -entropy, -2.0 / 9.0]) {
        assert_close(name, &result.test_scores[*name], &[expected; 5], 1e-12);
    }
    let error = cross_val_score(&prior, &x, &y, &StratifiedKFold::new(5), Some("acuracy"))
        .expect_err("no such score");
    assert!(
        error.to_string().contains("acuracy") && error.to_string().contains("balanced_accuracy"),
        "{error}"
    );
    Ok(())
}

#[test]
fn shuffling_a_column_costs_what_it_is_worth() -> Result<()> {
    let x = Array2::from_shape_fn((60, 3), |(row, column)| ((row * (7 + 4 * column)) % 13) as f64);
    let y: Vec<f64> = x.rows().into_iter().map(|row| 3.0 * row[0] + row[1]).collect();
    let model = Ridge::params().alpha(1e-6).fit(&x, &y)?;
    let importances = permutation_importance(&x, 5, 0, |x| model.score(x, &y))?.means();
    // Shuffling a column of variance v costs 2 v coef^2 of the target's variance.
    let variance = |values: ndarray::ArrayView1<'_, f64>| values.var(0.0);
    let total = ndarray::ArrayView1::from(&y).var(0.0);
    for (column, coef) in [3.0_f64, 1.0, 0.0].into_iter().enumerate() {
        let expected = 2.0 * variance(x.column(column)) * coef.powi(2) / total;
        assert!(
            (importances[column] - expected).abs() < 0.15 * expected + 1e-6,
            "{importances:?}, {expected}"
        );
    }
    Ok(())
}
