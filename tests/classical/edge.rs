//! Bad input to every estimator of the registry: a clear error or finite numbers, never a panic. A new
//! estimator is here as soon as it has its row in the registry.

use kiln::classical::prelude::*;
use kiln::classical::registry;
use kiln::{Error, Result};
use ndarray::{Array2, s};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a case expects of estimators.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    /// A fit, and finite predictions of the right number.
    Fits,
    /// Either a clear error or finite predictions.
    Survives,
    /// An error at the fit.
    Refuses,
    /// An error at the fit, unless NaN is taken as missing.
    RefusesMissing,
    /// A fit, then an error at the prediction (unless NaN is taken as missing, where that is the case).
    RefusesNew,
}

struct Case {
    name: &'static str,
    expect: Expect,
    x: Array2<f64>,
    labels: Vec<i64>,
    targets: Vec<f64>,
    new: Array2<f64>,
    weights: Option<Vec<f64>>,
}

/// Two classes apart in half of the columns, all values at least 0 (some estimators count).
fn sample(rows: usize, mut state: u64) -> (Array2<f64>, Vec<i64>, Vec<f64>) {
    let mut next = || {
        state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
        state as f64 / 2_147_483_648.0
    };
    let x = Array2::from_shape_fn((rows, 4), |(row, column)| next() + (row % 2 * (column % 2)) as f64);
    let labels = (0..rows).map(|row| (row % 2) as i64).collect();
    let targets = x.rows().into_iter().map(|row| 3.0 + 2.0 * row[0] - row[1]).collect();
    (x, labels, targets)
}

fn cases() -> Vec<Case> {
    use Expect::*;
    let case = |name, expect, change: &dyn Fn(&mut Case)| {
        let (x, labels, targets) = sample(60, 1);
        let mut case = Case { name, expect, x, labels, targets, new: sample(20, 7).0, weights: None };
        change(&mut case);
        case
    };
    let keep = |case: &mut Case, rows: usize| {
        case.x = case.x.slice(s![..rows, ..]).to_owned();
        case.labels.truncate(rows);
        case.targets.truncate(rows);
    };
    vec![
        case("plain", Fits, &|_| {}),
        case("NaN", RefusesMissing, &|case| case.x[[5, 1]] = f64::NAN),
        case("infinity", Refuses, &|case| case.x[[5, 1]] = f64::INFINITY),
        case("constant column", Survives, &|case| {
            case.x.column_mut(2).fill(5.0);
            case.new.column_mut(2).fill(5.0);
        }),
        case("column that changes later", Survives, &|case| case.x.column_mut(2).fill(5.0)),
        case("repeated column", Survives, &|case| {
            let copy = case.x.column(1).to_owned();
            case.x.column_mut(3).assign(&copy);
        }),
        case("all constant", Survives, &|case| case.x.fill(5.0)),
        case("one class", Survives, &|case| {
            case.labels.fill(0);
            case.targets.fill(3.0);
        }),
        case("no rows", Refuses, &|case| keep(case, 0)),
        case("one row", Survives, &|case| keep(case, 1)),
        case("two rows", Survives, &|case| keep(case, 2)),
        case("three rows", Survives, &|case| keep(case, 3)),
        case("no columns", Refuses, &|case| case.x = Array2::zeros((60, 0))),
        case("large offset", Survives, &|case| {
            case.x += 1e6;
            case.new += 1e6;
        }),
        case("large values", Survives, &|case| {
            case.x *= 1e150;
            case.new *= 1e150;
        }),
        case("values whose squares nearly overflow", Survives, &|case| {
            case.x *= 2e153;
            case.new *= 2e153;
        }),
        case("values that nearly overflow", Survives, &|case| {
            case.x *= 5e307;
            case.new *= 5e307;
        }),
        case("values whose squares underflow", Survives, &|case| {
            case.x *= 1e-170;
            case.new *= 1e-170;
        }),
        case("subnormal values", Survives, &|case| {
            case.x *= 1e-310;
            case.new *= 1e-310;
        }),
        case("NaN in new rows", RefusesNew, &|case| case.new[[3, 1]] = f64::NAN),
        case("fewer columns in new rows", RefusesNew, &|case| {
            case.new = case.new.slice(s![.., ..3]).to_owned()
        }),
        case("no new rows", RefusesNew, &|case| case.new = Array2::zeros((0, 4))),
        case("one weight is 0", Survives, &|case| {
            case.weights = Some((0..60).map(|row| f64::from(u8::from(row != 7))).collect());
        }),
        case("only one class has weight", Survives, &|case| {
            case.weights = Some(case.labels.iter().map(|&label| label as f64).collect());
        }),
        case("weights whose sum overflows", Refuses, &|case| case.weights = Some(vec![1e308; 60])),
        case("all weights are 0", Refuses, &|case| case.weights = Some(vec![0.0; 60])),
        case("negative weight", Refuses, &|case| case.weights = Some(vec![-1.0; 60])),
        case("too few weights", Refuses, &|case| case.weights = Some(vec![1.0; 59])),
    ]
}

/// What a fit and a prediction came to: all numbers they gave, or which of the two refused.
enum Outcome {
    Numbers(Vec<f64>),
    FitRefused(Error),
    PredictionRefused(Error),
}

fn outcome<M>(fit: Result<M>, predict: impl FnOnce(M) -> Result<Vec<f64>>) -> Outcome {
    match fit {
        Err(error) => Outcome::FitRefused(error),
        Ok(model) => predict(model).map_or_else(Outcome::PredictionRefused, Outcome::Numbers),
    }
}

/// Estimators of categories, which are given the whole parts of the sample's values.
const OF_CATEGORIES: [&str; 1] = ["CategoricalNB"];

/// Runs every case on one estimator and collects what is wrong with it.
fn examine(name: &str, missing: bool, run: &dyn Fn(&Case) -> Outcome, faults: &mut Vec<String>) {
    for mut case in cases() {
        if OF_CATEGORIES.contains(&name) {
            case.x.mapv_inplace(f64::floor);
            case.new.mapv_inplace(f64::floor);
        }
        let fault = match catch_unwind(AssertUnwindSafe(|| run(&case))) {
            Err(_) => Some("panicked".to_owned()),
            Ok(outcome) => judge(&case, missing, &outcome),
        };
        faults.extend(fault.map(|fault| format!("{name}, {}: {fault}", case.name)));
    }
}

fn judge(case: &Case, missing: bool, outcome: &Outcome) -> Option<String> {
    use Expect::*;
    let nan = case.x.iter().chain(&case.new).any(|value| value.is_nan());
    let expect = match case.expect {
        RefusesMissing if missing => Fits,
        RefusesMissing => Refuses,
        RefusesNew if missing && nan => Fits,
        other => other,
    };
    match (expect, outcome) {
        (Fits | Survives, Outcome::Numbers(numbers)) => {
            let bad = numbers.iter().find(|number| !number.is_finite());
            bad.map(|number| format!("gave {number}"))
        }
        (Refuses, Outcome::FitRefused(error))
        | (RefusesNew, Outcome::PredictionRefused(error))
        | (Survives, Outcome::FitRefused(error) | Outcome::PredictionRefused(error)) => {
            (error.to_string().len() < 15).then(|| format!("says only {error}"))
        }
        (_, Outcome::Numbers(_)) => Some("was not refused".to_owned()),
        (_, Outcome::FitRefused(error)) => Some(format!("the fit was refused: {error}")),
        (_, Outcome::PredictionRefused(error)) => Some(format!("the prediction was refused: {error}")),
    }
}

/// Saved and read back, a model gives the same numbers; damaged bytes are refused.
fn reload<T: ?Sized + kiln::classical::Kind>(model: &T) -> Result<Boxed<T>> {
    let bytes = model.to_bytes()?;
    for damaged in [&bytes[..bytes.len() - 1], &bytes[1..], &bytes[..7]] {
        assert!(
            Boxed::<T>::from_bytes(damaged).is_err(),
            "{} was read back from damaged bytes",
            model.name()
        );
    }
    Boxed::from_bytes(&bytes)
}

fn numbers(values: impl IntoIterator<Item = i64>) -> Vec<f64> {
    values.into_iter().map(|value| value as f64).collect()
}

fn same(name: &str, fresh: &[f64], read: &[f64]) {
    assert_eq!(fresh, read, "{name} changed when it was saved and read back");
}

#[test]
fn every_estimator_survives_bad_input() {
    let mut faults = Vec::new();
    for entry in registry::classifiers() {
        let params = (entry.params)(json!({})).expect("defaults are parameters");
        let run = |case: &Case| {
            outcome(params.fit_boxed(&case.x, &case.labels, case.weights.as_deref()), |model| {
                let input = model.input(&case.new)?;
                let answers = |model: &dyn Classifier| -> Result<Vec<f64>> {
                    let mut all = numbers(model.predict(&case.new)?);
                    assert_eq!(all.len(), case.new.nrows());
                    if let Some(probabilities) = model.probabilities(&input)? {
                        assert_eq!(probabilities.dim(), (case.new.nrows(), model.classes().len()));
                        assert!(probabilities.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-6));
                        all.extend(probabilities);
                    }
                    all.extend(model.scores(&input)?.into_iter().flatten());
                    Ok(all)
                };
                let all = answers(&*model)?;
                same(entry.name, &all, &answers(&*reload(&*model)?)?);
                Ok(all)
            })
        };
        examine(entry.name, params.accepts().missing, &run, &mut faults);
        let (x, labels, _) = sample(60, 1);
        if params.fit_boxed(&x, &&labels[..50], None).is_ok() {
            faults.push(format!("{}: took 60 rows with 50 labels", entry.name));
        }
    }
    for entry in registry::regressors() {
        let params = (entry.params)(json!({})).expect("defaults are parameters");
        let run = |case: &Case| {
            outcome(params.fit_boxed(&case.x, &case.targets, case.weights.as_deref()), |model| {
                let fresh = model.predict(&case.new)?.to_vec();
                assert_eq!(fresh.len(), case.new.nrows());
                same(entry.name, &fresh, &reload(&*model)?.predict(&case.new)?.to_vec());
                Ok(fresh)
            })
        };
        examine(entry.name, params.accepts().missing, &run, &mut faults);
        let (x, _, mut targets) = sample(60, 1);
        if params.fit_boxed(&x, &&targets[..50], None).is_ok() {
            faults.push(format!("{}: took 60 rows with 50 targets", entry.name));
        }
        targets[3] = f64::NAN;
        if params.fit_boxed(&x, &targets, None).is_ok() {
            faults.push(format!("{}: took a NaN target", entry.name));
        }
    }
    for entry in registry::clusterers() {
        let params = (entry.params)(json!({})).expect("defaults are parameters");
        let run = |case: &Case| {
            outcome(params.fit_boxed(&case.x, case.weights.as_deref()), |model| {
                let input = model.input(&case.new)?;
                let mut all = numbers(model.labels().iter().copied());
                assert_eq!(all.len(), case.x.nrows());
                all.extend(numbers(model.assign(&input)?.into_iter().flatten()));
                same(entry.name, &all[..case.x.nrows()], &numbers(reload(&*model)?.labels().iter().copied()));
                Ok(all)
            })
        };
        examine(entry.name, params.accepts().missing, &run, &mut faults);
    }
    for entry in registry::outlier_detectors() {
        let params = (entry.params)(json!({})).expect("defaults are parameters");
        let run = |case: &Case| {
            outcome(params.fit_boxed(&case.x, case.weights.as_deref()), |model| {
                let fresh = model.decision_function(&case.new)?.to_vec();
                same(entry.name, &fresh, &reload(&*model)?.decision_function(&case.new)?.to_vec());
                Ok(fresh)
            })
        };
        examine(entry.name, params.accepts().missing, &run, &mut faults);
    }
    for entry in registry::transformers() {
        // New rows have other values than those fitted, which encoders refuse by default.
        let values = match entry.name {
            "OneHotEncoder" => json!({"handle_unknown": "ignore"}),
            "ColumnTransformer" => json!({"remainder": "passthrough"}),
            "OrdinalEncoder" => json!({"unknown_value": -1.0}),
            _ => json!({}),
        };
        let params = (entry.params)(values).expect("defaults are parameters");
        let run = |case: &Case| {
            let target = Target::classes(&case.labels);
            outcome(params.fit_boxed(&case.x, target, case.weights.as_deref()), |model| {
                let fresh = model.transform(&case.new)?;
                let names: Vec<String> = (0..model.n_features()).map(|column| format!("x{column}")).collect();
                assert_eq!(
                    model.feature_names_out(&names).len(),
                    fresh.ncols(),
                    "{}: names of columns",
                    entry.name
                );
                // Refused or not, what fits neither the columns given nor those made is no panic.
                model.feature_names_out(&[]);
                drop(model.inverse_transform(&Array2::<f64>::zeros((2, 9))));
                // A missing value that was not to be filled stays one.
                let stays = case.x.iter().chain(&case.new).any(|value| value.is_nan());
                let keep = |value: &f64| !(stays && value.is_nan());
                let fresh: Vec<f64> = fresh.into_iter().filter(keep).collect();
                let read = reload(&*model)?.transform(&case.new)?;
                same(entry.name, &fresh, &read.into_iter().filter(keep).collect::<Vec<_>>());
                Ok(fresh)
            })
        };
        examine(entry.name, params.accepts().missing, &run, &mut faults);
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Runs an estimator with each number among its parameters replaced by odd ones.
fn vary(name: &str, defaults: &Value, run: &dyn Fn(Value) -> Result<Vec<f64>>, faults: &mut Vec<String>) {
    let odd = [json!(0), json!(1), json!(61), json!(-1.0), json!(0.5), json!(1e-300), json!(1e300)];
    for (key, value) in defaults.as_object().into_iter().flatten() {
        for odd in odd.iter().filter(|_| value.is_number() || value.is_null()) {
            match catch_unwind(AssertUnwindSafe(|| run(json!({key: odd})))) {
                Err(_) => faults.push(format!("{name}, {key} {odd}: panicked")),
                Ok(Ok(found)) if found.iter().any(|number| !number.is_finite()) => {
                    faults.push(format!("{name}, {key} {odd}: gave a number that is not finite"));
                }
                Ok(_) => {}
            }
        }
    }
}

#[test]
fn every_estimator_survives_odd_parameters() {
    let (x, labels, targets) = sample(60, 1);
    let new = x.slice(s![..20, ..]).to_owned();
    let mut faults = Vec::new();
    let no = json!({});
    for entry in registry::classifiers() {
        let run = |values| {
            let model = (entry.params)(values)?.fit_boxed(&x, &labels, None)?;
            let mut all = numbers(model.predict(&new)?);
            let input = model.input(&new)?;
            all.extend(model.probabilities(&input)?.into_iter().flatten());
            all.extend(model.scores(&input)?.into_iter().flatten());
            Ok(all)
        };
        let defaults = (entry.params)(no.clone()).expect("defaults are parameters").to_json();
        vary(entry.name, &defaults, &run, &mut faults);
    }
    for entry in registry::regressors() {
        let run = |values| {
            let model = (entry.params)(values)?.fit_boxed(&x, &targets, None)?;
            Ok(model.predict(&new)?.to_vec())
        };
        let defaults = (entry.params)(no.clone()).expect("defaults are parameters").to_json();
        vary(entry.name, &defaults, &run, &mut faults);
    }
    for entry in registry::clusterers() {
        let run = |values| {
            let model = (entry.params)(values)?.fit_boxed(&x, None)?;
            model.assign(&model.input(&new)?)?;
            Ok(numbers(model.labels().iter().copied()))
        };
        let defaults = (entry.params)(no.clone()).expect("defaults are parameters").to_json();
        vary(entry.name, &defaults, &run, &mut faults);
    }
    for entry in registry::outlier_detectors() {
        let run = |values| {
            let model = (entry.params)(values)?.fit_boxed(&x, None)?;
            Ok(model.decision_function(&new)?.to_vec())
        };
        let defaults = (entry.params)(no.clone()).expect("defaults are parameters").to_json();
        vary(entry.name, &defaults, &run, &mut faults);
    }
    for entry in registry::transformers() {
        let run = |values| {
            let model = (entry.params)(values)?.fit_boxed(&x, Target::classes(&labels), None)?;
            Ok(model.transform(&new)?.into_iter().collect())
        };
        let defaults = (entry.params)(no.clone()).expect("defaults are parameters").to_json();
        vary(entry.name, &defaults, &run, &mut faults);
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn unknown_parameters_and_estimators_are_named() {
    for entry in registry::classifiers() {
        let error =
            (entry.params)(json!({"no_such_parameter": 1})).expect_err("no estimator has this parameter");
        assert!(error.to_string().contains("no_such_parameter"), "{error}");
    }
    let Err(error) = registry::find(registry::regressors(), "RigdeRegression") else {
        panic!("no estimator has this name");
    };
    assert!(error.to_string().contains("RigdeRegression") && error.to_string().contains("Ridge"), "{error}");
}

/// Boxed parameters are cloned by pipelines and ensembles, whatever a user has put into them.
#[test]
fn a_parameter_that_json_cannot_hold_is_refused_by_name_at_the_fit() {
    let (x, _, y) = sample(20, 1);
    let boxed = registry::AnyRegressor::from(Ridge::params().alpha(f64::NAN));
    let error = boxed.clone().0.fit_boxed(&x, &y, None).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("alpha"), "{error}");
}
