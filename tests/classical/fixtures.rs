//! Reading scikit-learn's numbers; null stands for NaN.

use ndarray::Array2;
use serde_json::Value;

/// A fixture, from the text that `include_str!` gives.
pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("the fixture is JSON")
}

/// A list of numbers.
pub fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap_or_else(|| panic!("a list, not {value}"));
    list.iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect()
}

/// A list of labels.
pub fn labels(value: &Value) -> Vec<i64> {
    numbers(value).into_iter().map(|number| number as i64).collect()
}

/// A list of rows.
pub fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = value.as_array().expect("a list of rows").iter().map(numbers).collect();
    let columns = rows.first().map_or(0, Vec::len);
    Array2::from_shape_vec((rows.len(), columns), rows.concat()).expect("rows of one length")
}

/// Numbers equal within a relative and absolute tolerance; NaN equals NaN.
pub fn assert_close(name: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{name}: number of values");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got.is_nan() && expected.is_nan()
            || got == expected
            || (got - expected).abs() <= tolerance * (1.0 + expected.abs());
        assert!(same, "{name}: value {at} is {got}, scikit-learn has {expected}");
    }
}
