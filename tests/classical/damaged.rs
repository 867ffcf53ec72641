//! Model files whose numbers are wrong under a right checksum: reading one, or predicting with what was
//! read, is an error or gives finite numbers, whatever the registry's estimator.

use kiln::Result;
use kiln::classical::recommend::{Als, Basis, BiasedFactorization, Neighborhood, Ratings, Recommender};
use kiln::classical::registry;
use kiln::classical::{Kind, prelude::*};
use ndarray::Array2;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};

const MAGIC: &[u8] = b"KILNMODL";
/// Magic, version, checksum.
const HEADER: usize = 16;
/// Changed bytes of each file.
const PLACES: usize = 100;

/// Where the saved models of a file begin and end, the file itself first, those within others after them.
fn models(bytes: &[u8]) -> Vec<(usize, usize)> {
    let starts = (0..bytes.len()).filter(|&start| bytes[start..].starts_with(MAGIC));
    starts.filter_map(|start| Some((start, end(bytes, start)?))).collect()
}

/// The end of the model that starts here, by the length before it and its checksum.
fn end(bytes: &[u8], start: usize) -> Option<usize> {
    let checksum = bytes.get(start + 12..start + HEADER)?;
    let lengths = (1..=start.min(5)).map(|digits| {
        let digits = bytes[start - digits..start].iter().enumerate();
        digits.fold(0, |length, (place, &digit)| length | usize::from(digit & 0x7f) << (7 * place))
    });
    let mut ends = lengths.map(|length| start + length).chain((start == 0).then_some(bytes.len()));
    ends.find(|&end| {
        let content = bytes.get(start + HEADER..end);
        content.is_some_and(|content| crc32fast::hash(content).to_le_bytes() == checksum)
    })
}

/// Files that differ from a saved model in one byte, and in the checksums that tell of it.
fn damaged(bytes: &[u8], mut try_out: impl FnMut(&[u8])) {
    let models = models(bytes);
    assert_eq!(models.first(), Some(&(0, bytes.len())));
    let first = HEADER + 1 + usize::from(bytes[HEADER]);
    let step = (bytes.len() - first).div_ceil(PLACES).max(1);
    for place in (first..bytes.len()).step_by(step) {
        if models.iter().any(|&(start, _)| (start..start + HEADER).contains(&place)) {
            continue;
        }
        for change in [1, 0xff, 0x80, 0x40, 5] {
            let mut copy = bytes.to_vec();
            copy[place] = copy[place].wrapping_add(change);
            for &(start, end) in models.iter().rev() {
                let checksum = crc32fast::hash(&copy[start + HEADER..end]);
                copy[start + 12..start + HEADER].copy_from_slice(&checksum.to_le_bytes());
            }
            try_out(&copy);
        }
    }
}

/// Rows of whole numbers from 0, which every estimator takes.
fn rows(count: usize, columns: usize) -> Array2<f64> {
    Array2::from_shape_fn((count, columns), |(row, column)| ((row * (column + 3) + row / 4) % 7) as f64)
}

/// Reads every damaged file of a model and predicts with what could be read.
fn examine<T: ?Sized + Kind>(
    model: &T,
    faults: &mut Vec<String>,
    predict: impl Fn(&T, &Array2<f64>) -> Result<Vec<f64>>,
) {
    let bytes = model.to_bytes().expect("a fitted model can be saved");
    let mut found = None;
    damaged(&bytes, |copy| {
        let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<Vec<f64>> {
            let model = Boxed::<T>::from_bytes(copy)?;
            // As many columns as it asks for, that it may not be the number of columns that saves it.
            predict(&model, &rows(12, model.n_features().min(300)))
        }));
        match outcome {
            Err(_) => found = Some("panicked".to_owned()),
            Ok(Ok(numbers)) => {
                let bad = numbers.iter().find(|number| !number.is_finite());
                found = bad.map(|number| format!("gave {number}")).or(found.take());
            }
            Ok(Err(_)) => {}
        }
    });
    faults.extend(found.map(|fault| format!("{} {fault}", model.name())));
}

/// The defaults, but something within what has nothing in it by default.
fn settings(name: &str) -> Value {
    match name {
        "ColumnTransformer" => {
            json!({"remainder": "passthrough", "transformers": [["part", ["StandardScaler", "{}"], [0, 2]]]})
        }
        "ClassifierPipeline" | "RegressorPipeline" | "TransformerPipeline" => {
            json!({"steps": [["step", ["StandardScaler", "{}"]]]})
        }
        _ => json!({}),
    }
}

fn numbers(values: impl IntoIterator<Item = i64>) -> Vec<f64> {
    values.into_iter().map(|value| value as f64).collect()
}

#[test]
fn no_damaged_model_panics() {
    let x = rows(40, 4);
    let labels: Vec<i64> = (0..40).map(|row| row % 3).collect();
    let targets: Vec<f64> = x.rows().into_iter().map(|row| 9.0 + 2.0 * row[0] - row[1]).collect();
    let mut faults = Vec::new();
    for entry in registry::classifiers() {
        let params = (entry.params)(settings(entry.name)).expect("these are parameters");
        let model = params.fit_boxed(&x, &labels, None).expect(entry.name);
        examine(&*model, &mut faults, |model, new| {
            let mut all = numbers(model.predict(new)?);
            all.extend(model.predict_proba(new).into_iter().flatten());
            all.extend(model.decision_function(new).into_iter().flatten());
            drop(model.importances());
            Ok(all)
        });
    }
    for entry in registry::regressors() {
        let params = (entry.params)(settings(entry.name)).expect("these are parameters");
        let model = params.fit_boxed(&x, &targets, None).expect(entry.name);
        examine(&*model, &mut faults, |model, new| {
            drop(model.importances());
            Ok(model.predict(new)?.to_vec())
        });
    }
    for entry in registry::clusterers() {
        let params = (entry.params)(settings(entry.name)).expect("these are parameters");
        let model = params.fit_boxed(&x, None).expect(entry.name);
        examine(&*model, &mut faults, |model, new| {
            let assigned = model.assign(&model.input(new)?)?;
            Ok(numbers(model.labels().iter().copied().chain(assigned.into_iter().flatten())))
        });
    }
    for entry in registry::outlier_detectors() {
        let params = (entry.params)(settings(entry.name)).expect("these are parameters");
        let model = params.fit_boxed(&x, None).expect(entry.name);
        examine(&*model, &mut faults, |model, new| Ok(model.decision_function(new)?.to_vec()));
    }
    for entry in registry::transformers() {
        let params = (entry.params)(settings(entry.name)).expect("these are parameters");
        let model = params.fit_boxed(&x, Target::classes(&labels), None).expect(entry.name);
        examine(&*model, &mut faults, |model, new| {
            let names: Vec<String> = (0..new.ncols()).map(|column| format!("x{column}")).collect();
            model.feature_names_out(&names);
            let out = model.transform(new)?;
            let back = model.inverse_transform(&out);
            // NaN stands for a missing value.
            let all = out.iter().chain(back.iter().flatten()).copied();
            Ok(all.filter(|value| !value.is_nan()).collect())
        });
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// As [`examine`], of a recommender, which is read from files only.
fn examine_recommender<R: Recommender>(model: &R, faults: &mut Vec<String>) {
    let path = std::env::temp_dir().join(format!("kiln-damaged-{}-{}", R::NAME, std::process::id()));
    model.save(&path).expect("a fitted model can be saved");
    let bytes = std::fs::read(&path).expect("it was just written");
    let mut panicked = false;
    damaged(&bytes, |copy| {
        std::fs::write(&path, copy).expect("it was written before");
        let run = || -> Result<()> {
            let model = R::load(&path)?;
            let _ = (0..4).map(|user| model.predict(user, 10 * user)).sum::<f64>();
            model.recommend(1, 3).map(drop)
        };
        panicked |= catch_unwind(AssertUnwindSafe(run)).is_err();
    });
    std::fs::remove_file(&path).expect("it was written before");
    faults.extend(panicked.then(|| format!("{} panicked", R::NAME)));
}

#[test]
fn no_damaged_recommender_panics() {
    let triples = [(1, 10, 5.0), (1, 20, 1.0), (2, 10, 4.5), (2, 30, 2.0), (3, 20, 5.0), (3, 30, 4.0)];
    let ratings = Ratings::new(&triples).expect("these are ratings");
    let mut faults = Vec::new();
    examine_recommender(&Als::params().factors(2).fit(&ratings).expect("it fits"), &mut faults);
    examine_recommender(&BiasedFactorization::params().fit(&ratings).expect("it fits"), &mut faults);
    for basis in [Basis::Items, Basis::Users] {
        let params = Neighborhood::params().basis(basis);
        examine_recommender(&params.fit(&ratings).expect("it fits"), &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join(", "));
}

#[test]
fn models_deep_within_each_other_are_refused() {
    let x = rows(10, 2);
    let nested = |levels: usize| {
        let scaler = TransformerPipeline::params().step("scaler", StandardScaler::params());
        let params = (1..levels).fold(scaler, |inner, _| TransformerPipeline::params().step("inner", inner));
        params.fit(&x).and_then(|model| model.to_bytes()).expect("a pipeline can be saved")
    };
    assert!(TransformerPipeline::from_bytes(&nested(20)).is_ok());
    let error = TransformerPipeline::from_bytes(&nested(60)).expect_err("60 pipelines within each other");
    assert!(error.to_string().contains("within each other"), "{error}");
}
