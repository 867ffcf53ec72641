//! Every transformer against scikit-learn's, through the registry.

use crate::fixtures::{assert_close, labels, matrix, numbers, parse};
use kiln::Result;
use kiln::classical::Matrix;
use kiln::classical::prelude::*;
use kiln::classical::preprocessing::LabelEncoder;
use kiln::classical::registry;
use ndarray::array;
use serde_json::{Value, json};

/// The power transformer's optimum, a regression's solver and differences of squares decide the last
/// digits.
fn tolerance(estimator: &str) -> f64 {
    match estimator {
        "PowerTransformer" => 1e-6,
        "IterativeImputer" | "QuantileTransformer" | "KNNImputer" => 1e-8,
        _ => 1e-10,
    }
}

#[test]
fn transforms_are_those_of_scikit_learn() -> Result<()> {
    let fixture = parse(include_str!("../../assets/fixtures/classical/preprocessing.json"));
    let table = |name: &Value| matrix(&fixture["tables"][name.as_str().expect("a table's name")]);
    let cases = fixture["cases"].as_array().expect("a list of cases");
    for case in cases {
        let estimator = case["estimator"].as_str().expect("an estimator's name");
        let name = format!("{estimator} {} of {}", case["params"], case["x"]);
        let params = (registry::find(registry::transformers(), estimator)?.params)(case["params"].clone())?;
        let (x, new) = (table(&case["x"]), table(&case["new"]));
        let target = match (&case["y"], case["classes"].as_bool()) {
            (Value::Null, _) => Target::None,
            (y, Some(true)) => Target::classes(&labels(y)),
            (y, _) => Target::Values(numbers(y)),
        };
        let model = params.fit_boxed(&x, target, None)?;
        let (got, expected) = (model.transform(&new)?, matrix(&case["expected"]));
        assert_eq!(got.dim(), expected.dim(), "{name}");
        let flat = |x: ndarray::Array2<f64>| x.into_iter().collect::<Vec<_>>();
        assert_close(&name, &flat(got), &flat(expected.clone()), tolerance(estimator));
        if case["inverse"].is_array() {
            let back = model.inverse_transform(&expected)?;
            assert_close(
                &format!("{name}, back"),
                &flat(back),
                &flat(matrix(&case["inverse"])),
                tolerance(estimator),
            );
        }
        if let Some(names) = case["names"].as_array() {
            let input: Vec<String> = (0..x.ncols()).map(|column| format!("x{column}")).collect();
            let got = model.feature_names_out(&input);
            assert!(
                got.iter().eq(names.iter().map(|name| name.as_str().unwrap_or_default())),
                "{name}: {got:?}"
            );
        }
    }
    let tested =
        |entry: &&registry::Entry<_, _>| cases.iter().any(|case| case["estimator"] == json!(entry.name));
    let ours = ["Scaler", "Transformer", "Encoder", "Imputer", "Normalizer", "Binarizer", "Discretizer"];
    for entry in registry::transformers() {
        if ours.iter().any(|end| entry.name.ends_with(end)) && !entry.name.starts_with("Column") {
            assert!(tested(&entry), "{} is not compared with scikit-learn", entry.name);
        }
    }
    Ok(())
}

#[test]
fn power_transforms_have_an_inverse() -> Result<()> {
    let x = array![[0.5, -3.0], [1.5, 2.0], [9.0, 0.25], [2.5, -1.0], [4.0, 4.0]];
    let model = PowerTransformer::params().fit(&x)?;
    let back = model.inverse_transform(&model.transform(&x)?)?;
    assert!((&back - &x).iter().all(|difference| difference.abs() < 1e-10), "{back}");
    let positive = x.mapv(f64::abs);
    let model = PowerTransformer::params().method(PowerMethod::BoxCox).fit(&positive)?;
    let back = model.inverse_transform(&model.transform(&positive)?)?;
    assert!((&back - &positive).iter().all(|difference| difference.abs() < 1e-10), "{back}");
    assert!(PowerTransformer::params().method(PowerMethod::BoxCox).fit(&x).is_err());
    Ok(())
}

#[test]
fn rows_are_found_in_column_major_matrices() -> Result<()> {
    let x = ndarray::Array2::from_shape_fn((300, 2), |(row, column)| (row * (3 + column) % 17) as f64);
    let turned = Matrix::Dense(x.t().as_standard_layout().into_owned().reversed_axes().into());
    let models: [&dyn Transformer; 3] = [
        &StandardScaler::params().fit(&x)?,
        &PolynomialFeatures::params().fit(&x)?,
        &KNNImputer::params().fit(&x)?,
    ];
    for model in models {
        assert_eq!(model.transform_rows(&turned)?.dense(), model.transform(&x)?, "{}", model.name());
    }
    Ok(())
}

#[test]
fn a_row_does_not_see_its_own_target() -> Result<()> {
    // Each row is a category of its own: encoded by the other rows it can only be their mean.
    let x = ndarray::Array2::from_shape_fn((40, 1), |(row, _)| row as f64);
    let y: Vec<f64> = (0..40).map(f64::from).collect();
    let (model, encoded) = TargetEncoder::params().smooth(0.0).fit_transform_with(&x, Target::Values(y))?;
    assert!(
        (model.transform(&x)?[[30, 0]] - 30.0).abs() < 1e-12,
        "after the fit each category has its own mean"
    );
    let encoded = encoded.dense().into_owned();
    let mut means: Vec<f64> = encoded.iter().copied().collect();
    means.sort_by(f64::total_cmp);
    means.dedup();
    assert_eq!(means.len(), 5, "one mean for each fold");
    assert!((encoded.mean().unwrap_or_default() - 19.5).abs() < 1e-9, "the folds are of one size");
    Ok(())
}

#[test]
fn unseen_categories_are_handled_as_asked() -> Result<()> {
    let (x, new) = (array![[0.0], [1.0], [1.0]], array![[5.0]]);
    let error = OneHotEncoder::params().fit(&x)?.transform(&new).expect_err("5 was not seen");
    assert!(error.to_string().contains("column 0 holds 5"), "{error}");
    let ignoring = OneHotEncoder::params().handle_unknown(UnknownCategory::Ignore).fit(&x)?;
    assert_eq!(ignoring.transform(&new)?, array![[0.0, 0.0]]);
    assert!(OrdinalEncoder::params().fit(&x)?.transform(&new).is_err());
    assert_eq!(OrdinalEncoder::params().unknown_value(-1.0).fit(&x)?.transform(&new)?, array![[-1.0]]);
    let rare = OneHotEncoder::params().min_frequency(2).fit(&x)?;
    assert_eq!(rare.feature_names_out(&["c".to_owned()]), ["c_1", "c_infrequent"]);
    Ok(())
}

#[test]
fn labels_are_numbered_in_order() -> Result<()> {
    let encoder = LabelEncoder::fit(["10", "9", "10"])?;
    assert_eq!(encoder.classes(), ["9", "10"], "numbers by their value");
    assert_eq!(encoder.transform(["10", "9"])?, [1, 0]);
    assert!(encoder.transform(["11"]).is_err() && encoder.inverse_transform(&[2]).is_err());
    assert!(encoder.inverse_transform(&[-1]).is_err() && LabelEncoder::fit(Vec::<String>::new()).is_err());
    Ok(())
}
