//! Trees, ensembles and explanations against scikit-learn's numbers (`tests/fixtures/classical_trees.py`).

use crate::fixtures::assert_close;
use kiln::Result;
use kiln::classical::ensemble::{BoostingLoss, Monotonic, Voting};
use kiln::classical::explain::{TreeEnsemble, partial_dependence, permutation_importance, shap_values};
use kiln::classical::prelude::*;
use kiln::classical::registry;
use kiln::classical::tree::Tree;
use kiln::classical::{AnyClassifier, AnyRegressor};
use ndarray::{Array1, Array2, s};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

type Numbers = Vec<Option<f64>>;

#[derive(Deserialize)]
struct Case {
    kind: String,
    x: String,
    y: String,
    weighted: bool,
    params: Map<String, Value>,
    predicted: Vec<f64>,
    importances: Option<Vec<f64>>,
    leaves: Option<usize>,
    depth: Option<usize>,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Dependence {
    features: Vec<usize>,
    grid: Vec<Vec<f64>>,
    average: Vec<f64>,
}

#[derive(Deserialize)]
struct AdaBoost {
    decision: Vec<f64>,
    predicted: Vec<f64>,
    weights: Vec<f64>,
    errors: Vec<f64>,
}

#[derive(Deserialize)]
struct Fixture {
    rows: usize,
    weights: Vec<f64>,
    sets: BTreeMap<String, Numbers>,
    targets: BTreeMap<String, Vec<f64>>,
    trees: Vec<Case>,
    boosting: Vec<Case>,
    dependence: Vec<Dependence>,
    adaboost: AdaBoost,
    scores: BTreeMap<String, [f64; 2]>,
}

impl Fixture {
    fn read() -> Fixture {
        let json = include_str!("../../assets/fixtures/classical/trees.json");
        serde_json::from_str(json).expect("the fixture is as its script writes it")
    }

    /// All rows of a set, `[rows, 4]`.
    fn set(&self, name: &str) -> Array2<f64> {
        let values: Vec<f64> = self.sets[name].iter().map(|value| value.unwrap_or(f64::NAN)).collect();
        Array2::from_shape_vec((values.len() / 4, 4), values).expect("sets have 4 columns")
    }

    fn train(&self, name: &str) -> Array2<f64> {
        self.set(name).slice(s![..self.rows, ..]).to_owned()
    }

    fn new_rows(&self, name: &str) -> Array2<f64> {
        self.set(name).slice(s![self.rows.., ..]).to_owned()
    }

    fn y(&self, name: &str) -> Vec<f64> {
        self.targets[name][..self.rows].to_vec()
    }

    fn labels(&self, name: &str) -> Vec<i64> {
        self.y(name).iter().map(|&label| label as i64).collect()
    }
}

fn flat(array: Array2<f64>) -> Vec<f64> {
    array.into_iter().collect()
}

/// The probabilities or predictions of the case's new rows by the estimator so named.
fn predicted(fixture: &Fixture, case: &Case, name: &str, params: Value) -> Result<Vec<f64>> {
    let (x, new) = (fixture.train(&case.x), fixture.new_rows(&case.x));
    let weights = case.weighted.then_some(&fixture.weights[..]);
    if case.kind == "classifier" {
        let params = (registry::find(registry::classifiers(), &format!("{name}Classifier"))?.params)(params)?;
        Ok(flat(params.fit_boxed(&x, &fixture.labels(&case.y), weights)?.predict_proba(&new)?))
    } else {
        let params = (registry::find(registry::regressors(), &format!("{name}Regressor"))?.params)(params)?;
        Ok(params.fit_boxed(&x, &fixture.y(&case.y), weights)?.predict(&new)?.to_vec())
    }
}

#[test]
fn decision_trees_are_scikit_learns() -> Result<()> {
    let fixture = Fixture::read();
    for case in &fixture.trees {
        let what = format!("{} on {} {} with {:?}", case.kind, case.x, case.y, case.params);
        let found = predicted(&fixture, case, "DecisionTree", Value::Object(case.params.clone()))?;
        assert_close(&what, &found, &case.predicted, 1e-6);
        let x = fixture.train(&case.x);
        let params = Value::Object(case.params.clone());
        let weights = if case.weighted { fixture.weights.clone() } else { vec![1.0; fixture.rows] };
        let (importances, tree, text): (Vec<f64>, Tree, String);
        let names: Vec<String> = ["a", "b", "c", "d"].map(String::from).to_vec();
        if case.kind == "classifier" {
            let params =
                serde_json::from_value::<kiln::classical::tree::DecisionTreeClassifierParams>(params);
            let model = params.expect("parameters").fit_weighted(&x, &fixture.labels(&case.y), &weights)?;
            (importances, tree) = (model.feature_importances(), model.tree().clone());
            text = model.to_text(&names)?;
            assert_eq!(model.apply(&x)?.len(), x.nrows());
        } else {
            let params = serde_json::from_value::<kiln::classical::tree::DecisionTreeRegressorParams>(params);
            let model = params.expect("parameters").fit_weighted(&x, &fixture.y(&case.y), &weights)?;
            (importances, tree) = (model.feature_importances(), model.tree().clone());
            text = model.to_text(&names)?;
        }
        assert_close(&what, &importances, case.importances.as_deref().unwrap_or_default(), 1e-6);
        assert_eq!((Some(tree.n_leaves()), Some(tree.depth())), (case.leaves, case.depth), "{what}");
        if let Some(expected) = &case.text {
            assert_eq!(&text, expected, "{what}");
        }
    }
    Ok(())
}

/// scikit-learn's parameters of boosting in Kiln's terms.
fn boosting_params(params: &Map<String, Value>) -> Value {
    let mut params = params.clone();
    params.insert("early_stopping".into(), json!("off"));
    if let Some(quantile) = params.remove("quantile") {
        params.insert("loss".into(), json!({ "quantile": quantile }));
    }
    if let Some(Value::Array(ways)) = params.get_mut("monotonic_cst") {
        for way in ways {
            *way = match way.as_i64() {
                Some(1) => json!("increasing"),
                Some(-1) => json!("decreasing"),
                _ => json!("none"),
            };
        }
    }
    Value::Object(params)
}

#[test]
fn boosting_is_scikit_learns() -> Result<()> {
    let fixture = Fixture::read();
    for case in &fixture.boosting {
        let what = format!("{} on {} {} with {:?}", case.kind, case.x, case.y, case.params);
        let found = predicted(&fixture, case, "HistGradientBoosting", boosting_params(&case.params))?;
        assert_close(&what, &found, &case.predicted, 1e-5);
    }
    Ok(())
}

#[test]
fn boosting_keeps_to_monotonic_constraints() -> Result<()> {
    let fixture = Fixture::read();
    let (x, y) = (fixture.train("plain"), fixture.y("reg"));
    let ways = vec![Monotonic::Increasing, Monotonic::None, Monotonic::Decreasing, Monotonic::None];
    let model = HistGradientBoostingRegressor::params().monotonic_cst(ways).fit(&x, &y)?;
    for (feature, sign) in [(0, 1.0), (2, -1.0)] {
        let mut rows = Array2::from_shape_fn((200, 4), |(_, column)| x[[7, column]]);
        for row in 0..200 {
            rows[[row, feature]] = -3.0 + 0.03 * row as f64;
        }
        let predicted = model.predict(&rows)?;
        let steps: Vec<f64> =
            predicted.windows(2).into_iter().map(|pair| sign * (pair[1] - pair[0])).collect();
        assert!(steps.iter().all(|&step| step >= -1e-12), "feature {feature}");
        assert!(steps.iter().any(|&step| step > 0.0), "feature {feature} has no effect");
    }
    Ok(())
}

#[test]
fn boosting_stops_early_and_draws_features() -> Result<()> {
    let fixture = Fixture::read();
    let (x, y) = (fixture.train("plain"), fixture.y("reg"));
    let params =
        HistGradientBoostingRegressor::params().early_stopping(true).max_iter(500).learning_rate(0.3);
    let model = params.clone().fit(&x, &y)?;
    assert!(model.n_iter() < 200, "{} rounds", model.n_iter());
    assert_eq!(model.losses().len(), model.n_iter() + 1);
    let tail = &model.losses()[model.n_iter() - 10..];
    assert!(tail[1..].iter().all(|&loss| loss >= tail[0] - 1e-7), "{tail:?}");
    let new = (fixture.new_rows("plain"), &fixture.targets["reg"][fixture.rows..]);
    assert!(model.score(&new.0, &new.1)? > 0.8);
    let drawn = params.max_features(0.5).fit(&x, &y)?;
    assert!(drawn.score(&new.0, &new.1)? > 0.75);
    assert_ne!(drawn.predict(&new.0)?, model.predict(&new.0)?);
    let labels = fixture.labels("multi");
    let model =
        HistGradientBoostingClassifier::params().early_stopping(true).max_iter(300).fit(&x, &labels)?;
    assert!(model.n_iter() < 300 && model.score(&x, &labels)? > 0.9);
    Ok(())
}

#[test]
fn unknown_categories_go_with_missing_ones() -> Result<()> {
    let fixture = Fixture::read();
    let mut x = fixture.train("category");
    let y = fixture.y("category");
    for row in (0..fixture.rows).step_by(9) {
        x[[row, 3]] = f64::NAN;
    }
    let params = HistGradientBoostingRegressor::params().categorical_features(vec![3]);
    let model = params.clone().fit(&x, &y)?;
    let predict = |category: f64| {
        let mut new = fixture.new_rows("category");
        new.column_mut(3).fill(category);
        model.predict(&new)
    };
    assert_eq!(predict(200.0)?, predict(f64::NAN)?);
    assert_eq!(predict(1e9)?, predict(f64::NAN)?);
    assert_ne!(predict(2.0)?, predict(f64::NAN)?);
    x[[4, 3]] = 2.5;
    let error = params.fit(&x, &y).expect_err("2.5 is no category").to_string();
    assert!(error.contains("2.5") && error.contains("column 3"), "{error}");
    Ok(())
}

#[test]
fn losses_of_skewed_targets_are_refused() -> Result<()> {
    let fixture = Fixture::read();
    let (x, y) = (fixture.train("plain"), fixture.y("reg"));
    for loss in [BoostingLoss::Poisson, BoostingLoss::Gamma] {
        assert!(HistGradientBoostingRegressor::params().loss(loss).fit(&x, &y).is_err(), "{loss:?}");
    }
    let huge: Vec<f64> = y.iter().map(|value| value * 1e200).collect();
    assert!(HistGradientBoostingRegressor::params().fit(&x, &huge).is_err());
    assert!(DecisionTreeRegressor::params().fit(&x, &huge).is_err());
    Ok(())
}

#[test]
fn adaboost_is_scikit_learns() -> Result<()> {
    let fixture = Fixture::read();
    let (x, new) = (fixture.train("plain"), fixture.new_rows("plain"));
    let tree = DecisionTreeClassifier::params().max_depth(2).min_samples_leaf(5);
    let params = AdaBoostClassifier::params().estimator(tree).n_estimators(8);
    let model = params.fit_weighted(&x, &fixture.labels("multi"), &fixture.weights)?;
    assert_close("errors", model.estimator_errors(), &fixture.adaboost.errors, 1e-8);
    assert_close("weights", model.estimator_weights(), &fixture.adaboost.weights, 1e-8);
    assert_close("decision", &flat(model.decision_function(&new)?), &fixture.adaboost.decision, 1e-8);
    assert_close("probabilities", &flat(model.predict_proba(&new)?), &fixture.adaboost.predicted, 1e-8);
    Ok(())
}

/// Within noise of scikit-learn: its mean over seeds, and 4 of its deviations plus 0.01.
fn within(fixture: &Fixture, name: &str, found: f64) {
    let [mean, deviation] = fixture.scores[name];
    assert!((found - mean).abs() < 4.0 * deviation + 0.01, "{name}: {found} against {mean} +- {deviation}");
}

#[test]
fn forests_score_as_scikit_learns() -> Result<()> {
    let fixture = Fixture::read();
    let x = fixture.set("plain");
    let labels: Vec<i64> = fixture.targets["multi"].iter().map(|&label| label as i64).collect();
    let y = &fixture.targets["reg"];
    let forest = RandomForest::params().trees(100).oob_score(true).fit(&x, &labels)?;
    within(&fixture, "RandomForestClassifier", forest.oob_score().unwrap_or_default());
    assert!((forest.feature_importances().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let shares = forest.oob_decision_function().map(|shares| shares.sum());
    assert!(shares.is_some_and(|sum| (sum - x.nrows() as f64).abs() < 1e-6), "{shares:?}");
    let forest = ExtraTreesClassifier::params().bootstrap(true).oob_score(true).fit(&x, &labels)?;
    within(&fixture, "ExtraTreesClassifier", forest.oob_score().unwrap_or_default());
    let forest = RandomForestRegressor::params().oob_score(true).fit(&x, y)?;
    within(&fixture, "RandomForestRegressor", forest.oob_score().unwrap_or_default());
    let forest = ExtraTreesRegressor::params().bootstrap(true).oob_score(true).fit(&x, y)?;
    within(&fixture, "ExtraTreesRegressor", forest.oob_score().unwrap_or_default());
    let (train, new) = (fixture.train("plain"), fixture.new_rows("plain"));
    let model = AdaBoostRegressor::params().fit(&train, &fixture.y("reg"))?;
    within(&fixture, "AdaBoostRegressor", model.score(&new, &&y[fixture.rows..])?);
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let fixture = Fixture::read();
    let (x, y, labels) = (fixture.train("missing"), fixture.y("reg"), fixture.labels("multi"));
    let all = || -> Result<Vec<f64>> {
        let mut all = flat(RandomForest::params().trees(20).seed(3).fit(&x, &labels)?.predict_proba(&x)?);
        all.extend(flat(HistGradientBoostingClassifier::params().fit(&x, &labels)?.predict_proba(&x)?));
        all.extend(BaggingRegressor::params().fit(&x, &y)?.predict(&x)?);
        all.extend(IsolationForest::params().fit(&x)?.decision_function(&x)?);
        Ok(all)
    };
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(all)
    };
    assert_eq!(with(1)?, with(3)?);
    Ok(())
}

#[test]
fn isolation_forest_finds_what_was_planted() -> Result<()> {
    let mut x = Fixture::read().set("plain");
    for row in 0..17 {
        x.row_mut(20 * row).mapv_inplace(|value| 6.0 * value.signum() + value);
    }
    let model = IsolationForest::params().contamination(0.05).seed(1).fit(&x)?;
    let predicted = model.predict(&x)?;
    assert_eq!(predicted.iter().filter(|&&label| label == -1).count(), 17);
    assert!((0..17).all(|row| predicted[20 * row] == -1), "{predicted}");
    let default = IsolationForest::params().fit(&x)?;
    assert_eq!(default.offset(), -0.5);
    // A row that every tree sets apart at once scores -1 + 0.5, one as deep as the average -0.5 + 0.5.
    assert!(default.decision_function(&x)?.iter().all(|score| score.abs() < 0.5));
    Ok(())
}

#[test]
fn combinations_do_what_they_say() -> Result<()> {
    let fixture = Fixture::read();
    let (x, new, labels) = (fixture.train("plain"), fixture.new_rows("plain"), fixture.labels("multi"));
    let y = fixture.y("reg");
    let tree = DecisionTreeClassifier::params().max_depth(3);
    let forest = RandomForest::params().trees(10);
    let expected = tree.clone().fit(&x, &labels)?.predict_proba(&new)? * 0.75
        + forest.clone().fit(&x, &labels)?.predict_proba(&new)? * 0.25;
    let members: Vec<(&str, AnyClassifier)> = vec![("tree", tree.clone().into()), ("forest", forest.into())];
    let vote =
        VotingClassifier::params().estimators(members.clone()).voting(Voting::Soft).weights(vec![3.0, 1.0]);
    assert_close("vote", &flat(vote.fit(&x, &labels)?.predict_proba(&new)?), &flat(expected), 1e-12);
    let alone = VotingClassifier::params().estimators(vec![("tree", tree.clone())]).fit(&x, &labels)?;
    assert_eq!(alone.predict(&new)?, tree.clone().fit(&x, &labels)?.predict(&new)?);

    let whole = BaggingClassifier::params().estimator(tree.clone()).n_estimators(1).bootstrap(false);
    let (bagged, single) = (whole.fit(&x, &labels)?, tree.fit(&x, &labels)?);
    assert_eq!(bagged.score(&x, &labels)?, single.score(&x, &labels)?);
    let bagging = BaggingRegressor::params().n_estimators(40).max_features(0.75).fit(&x, &y)?;
    assert!(bagging.estimators().iter().all(|(_, features)| features.len() == 3));
    let (test, test_y) = (fixture.new_rows("plain"), &fixture.targets["reg"][fixture.rows..]);
    assert!(
        bagging.score(&test, &test_y)?
            > DecisionTreeRegressor::params().fit(&x, &y)?.score(&test, &test_y)?
    );

    let regressors: Vec<(&str, AnyRegressor)> =
        vec![("ridge", Ridge::params().into()), ("boosting", HistGradientBoostingRegressor::params().into())];
    // Half of what each says, where the stack can learn to trust the better one.
    let vote = VotingRegressor::params().estimators(regressors.clone()).fit(&x, &y)?;
    let stack =
        StackingRegressor::params().estimators(regressors).final_estimator(Ridge::params()).fit(&x, &y)?;
    assert!(stack.score(&test, &test_y)? > vote.score(&test, &test_y)?);
    let halves = (Ridge::params().fit(&x, &y)?.predict(&test)?
        + HistGradientBoostingRegressor::params().fit(&x, &y)?.predict(&test)?)
        / 2.0;
    assert_close("mean", &vote.predict(&test)?.to_vec(), &halves.to_vec(), 1e-12);
    let stack = StackingClassifier::params().estimators(members).passthrough(true).fit(&x, &labels)?;
    assert!(
        stack.score(
            &new,
            &&fixture.targets["multi"][fixture.rows..].iter().map(|&l| l as i64).collect::<Vec<_>>()[..]
        )? > 0.7
    );
    Ok(())
}

/// The mean value of the leaves that a row reaches when it goes both ways, by training weight, at splits on
/// features outside `known`.
fn expectation(tree: &Tree, node: usize, row: &[f64], known: u32) -> f64 {
    let Some((left, right)) = tree.children(node) else {
        return tree.value(node).map_or(0.0, |value| value[0]);
    };
    let feature = tree.feature(node).unwrap_or_default();
    if known >> feature & 1 == 0 {
        let mean = |child| tree.weight(child) * expectation(tree, child, row, known);
        return (mean(left) + mean(right)) / tree.weight(node);
    }
    let goes_left = match tree.threshold(node) {
        _ if row[feature].is_nan() => tree.missing_left(node),
        Some(threshold) => row[feature] <= threshold,
        None => tree.categories(node).is_some_and(|codes| codes.contains(&(row[feature] as usize))),
    };
    expectation(tree, if goes_left { left } else { right }, row, known)
}

/// Shapley's formula over all subsets of features.
fn shapley(tree: &Tree, row: &[f64]) -> Vec<f64> {
    let factorial = |n: u32| (1..=n).product::<u32>() as f64;
    let features = row.len() as u32;
    let of_feature = |feature: u32| {
        let without = (0..1_u32 << features).filter(|known| known >> feature & 1 == 0);
        let terms = without.map(|known| {
            let size = known.count_ones();
            let weight = factorial(size) * factorial(features - size - 1) / factorial(features);
            weight * (expectation(tree, 0, row, known | 1 << feature) - expectation(tree, 0, row, known))
        });
        terms.sum()
    };
    (0..features).map(of_feature).collect()
}

#[test]
fn shap_values_are_shapleys() -> Result<()> {
    let fixture = Fixture::read();
    for (set, y, categorical) in [("missing", "reg", vec![]), ("category", "category", vec![3])] {
        let (x, new) = (fixture.train(set), fixture.new_rows(set));
        let params = HistGradientBoostingRegressor::params().max_iter(3).categorical_features(categorical);
        let model = params.fit(&x, &fixture.y(y))?;
        let shap = shap_values(&model, &new)?;
        for (row, values) in new.rows().into_iter().zip(shap.values.outer_iter()).take(12) {
            let mut expected = vec![0.0; 4];
            for tree in model.estimators() {
                let of_tree = shapley(tree, &row.to_vec());
                expected.iter_mut().zip(of_tree).for_each(|(sum, value)| *sum += value);
            }
            assert_close(set, &values.column(0).to_vec(), &expected, 1e-10);
        }
    }
    Ok(())
}

#[test]
fn shap_values_add_up_to_the_prediction() -> Result<()> {
    let fixture = Fixture::read();
    let (x, new) = (fixture.train("missing"), fixture.new_rows("missing"));
    let (y, labels) = (fixture.y("reg"), fixture.labels("multi"));
    let check = |model: &dyn TreeEnsemble, raw: Array2<f64>| -> Result<()> {
        let shap = shap_values(model, &new)?;
        assert_close(model.name(), &flat(shap.raw_predictions()), &flat(raw), 1e-9);
        assert!(shap.values.iter().any(|&value| value != 0.0));
        Ok(())
    };
    let column = |values: Array1<f64>| values.insert_axis(ndarray::Axis(1));
    let model = DecisionTreeClassifier::params().fit(&x, &labels)?;
    check(&model, model.predict_proba(&new)?)?;
    let model = RandomForest::params().trees(5).fit(&x, &labels)?;
    check(&model, model.predict_proba(&new)?)?;
    let model = ExtraTreesRegressor::params().n_estimators(5).fit(&x, &y)?;
    check(&model, column(model.predict(&new)?))?;
    let model = HistGradientBoostingClassifier::params().max_iter(5).fit(&x, &labels)?;
    check(&model, model.decision_function(&new)?)?;
    // The score of the paper is 2 to the minus mean length over its usual value, here that of 256 rows.
    let model = IsolationForest::params().n_estimators(10).fit(&x)?;
    let usual = 10.244_770_920_115_81;
    check(&model, column(model.decision_function(&new)?.mapv(|score| -(0.5 - score).log2() * usual)))
}

#[test]
fn partial_dependence_is_scikit_learns() -> Result<()> {
    let fixture = Fixture::read();
    let x = fixture.train("plain");
    let params = HistGradientBoostingRegressor::params().max_iter(20).early_stopping(false);
    let model = params.fit(&x, &fixture.y("reg"))?;
    for case in &fixture.dependence {
        let found = partial_dependence(&x, &case.features, 8, |x| model.predict(x))?;
        for (found, expected) in found.grid.iter().zip(&case.grid) {
            assert_close("grid", found, expected, 1e-6);
        }
        assert_close("average", &found.average.to_vec(), &case.average, 1e-5);
        assert_eq!(found.individual.dim(), (x.nrows(), case.average.len()));
    }
    assert!(partial_dependence(&x, &[4], 8, |x| model.predict(x)).is_err());
    Ok(())
}

#[test]
fn permutation_importance_is_that_of_the_formula() -> Result<()> {
    let x = Fixture::read().set("plain");
    // For y = 3 a + b the squared error of shuffled a is 9 * 2 var(a) in the mean, and R2 falls by its
    // share of the variance of y.
    let y = &x.column(0) * 3.0 + x.column(1);
    let score = |x: &Array2<f64>| kiln::classical::metrics::r2_score(&y, &(&x.column(0) * 3.0 + x.column(1)));
    let found = permutation_importance(&x, 30, 5, score)?;
    assert_eq!(found.baseline, 1.0);
    for (feature, factor) in [(0, 9.0), (1, 1.0), (2, 0.0), (3, 0.0)] {
        let expected = factor * 2.0 * x.column(feature).var(0.0) / y.var(0.0);
        let (mean, deviation) = (found.means()[feature], found.deviations()[feature]);
        assert!((mean - expected).abs() <= deviation + 1e-12, "{feature}: {mean} against {expected}");
    }
    assert!(permutation_importance(&x, 0, 5, score).is_err());
    Ok(())
}
