//! Calibration against scikit-learn's, and what oversampling promises.

use crate::fixtures::{assert_close, labels, numbers, parse};
use kiln::Result;
use kiln::classical::calibration::SigmoidCalibration;
use kiln::classical::imbalance::Smote;
use kiln::classical::prelude::*;
use kiln::classical::weighted;
use ndarray::{Array2, Axis, array};

fn column(values: Vec<f64>) -> Array2<f64> {
    ndarray::Array1::from(values).insert_axis(Axis(1))
}

#[test]
fn calibrations_are_those_of_scikit_learn() -> Result<()> {
    let fixture = parse(include_str!("../../assets/fixtures/classical/calibration.json"));
    let [score, value, new, w] = ["score", "value", "new", "w"].map(|name| numbers(&fixture[name]));
    let positive: Vec<bool> = labels(&fixture["y"]).into_iter().map(|label| label == 1).collect();
    for (tag, weights) in [("", vec![1.0; w.len()]), ("_w", w)] {
        let sigmoid = SigmoidCalibration::fit(&score, &positive, &weights);
        // scikit-learn stops at a gradient of 1e-6.
        assert_close("sigmoid", &[sigmoid.a, sigmoid.b], &numbers(&fixture[format!("sigmoid{tag}")]), 1e-5);
        for (name, params) in [
            ("isotonic", IsotonicRegression::params()),
            ("falling", IsotonicRegression::params().increasing(false)),
            ("bounded", IsotonicRegression::params().y_min(-1.0).y_max(1.0)),
        ] {
            let model = params.fit(&column(score.clone()), &weighted(&value, &weights))?;
            let got = model.predict(&column(new.clone()))?.to_vec();
            assert_close(name, &got, &numbers(&fixture[format!("{name}{tag}")]), 1e-10);
        }
    }
    assert!(IsotonicRegression::params().fit(&array![[1.0, 2.0]], &[1.0]).is_err(), "two columns");
    Ok(())
}

#[test]
fn a_classifier_without_skill_is_calibrated_to_the_shares() -> Result<()> {
    let x = Array2::from_shape_fn((40, 2), |(row, column)| (row * (column + 3) % 7) as f64);
    let y: Vec<i64> = (0..40).map(|row| if row % 4 == 0 { 7 } else { 3 }).collect();
    for method in [CalibrationMethod::Sigmoid, CalibrationMethod::Isotonic] {
        let model = CalibratedClassifier::params().method(method).fit(&x, &y)?;
        let probabilities = model.predict_proba(&x)?;
        // Each fold judges 2 of 8; Platt's targets are 3/4 and 1/8, of which the mean is 9/32.
        let expected = if method == CalibrationMethod::Sigmoid { 9.0 / 32.0 } else { 0.25 };
        assert!(probabilities.column(1).iter().all(|p| (p - expected).abs() < 1e-6), "{probabilities}");
        assert_eq!(model.classes(), [3, 7]);
    }
    let error = CalibratedClassifier::params().cv(11).fit(&x, &y).expect_err("10 samples in 11 folds");
    assert!(error.to_string().contains("class 7"), "{error}");
    Ok(())
}

#[test]
fn oversampling_fills_the_rare_class_between_its_samples() -> Result<()> {
    let x = Array2::from_shape_fn((24, 2), |(row, column)| {
        if row % 6 == 0 { 10.0 + (row * (column + 1) % 5) as f64 } else { (row * (column + 2) % 9) as f64 }
    });
    let y: Vec<i64> = (0..24).map(|row| i64::from(row % 6 == 0)).collect();
    let (more, labels) = Smote::default().fit_resample(&x, &y)?;
    assert_eq!((more.nrows(), labels.iter().filter(|&&label| label == 1).count()), (40, 20));
    assert_eq!(more.slice(ndarray::s![..24, ..]), x);
    let new = more.slice(ndarray::s![24.., ..]);
    assert!(new.iter().all(|value| (10.0..=14.0).contains(value)), "between samples of the class: {new}");
    assert_eq!(Smote::default().fit_resample(&x, &y)?.0, more, "the seed decides");
    let single: Vec<i64> = (0..24).map(|row| i64::from(row == 3)).collect();
    assert!(
        Smote::default().fit_resample(&x, &single).is_err()
            && Smote::default().fit_resample(&x, &[0; 24]).is_err()
    );
    Ok(())
}
