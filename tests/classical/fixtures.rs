//! Reading scikit-learn's numbers; null stands for NaN.

use ndarray::Array2;
use serde_json::Value;
use std::borrow::Borrow;
use std::path::Path;

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

/// A file, or a part of one. Its readers panic where a fixture is not as the test says.
pub struct Fixture(pub Value);

impl Fixture {
    pub fn read(family: &str) -> Fixture {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fixtures/classical");
        let text = std::fs::read_to_string(folder.join(family).with_extension("json"))
            .expect("the fixture is there");
        Fixture(parse(&text))
    }

    pub fn at(&self, key: &str) -> Fixture {
        Fixture(self.0[key].clone())
    }

    pub fn cases(&self, key: &str) -> Vec<Fixture> {
        let cases = self.0[key].as_array().unwrap_or_else(|| panic!("{key} is no list"));
        assert!(!cases.is_empty(), "{key} has no cases");
        cases.iter().cloned().map(Fixture).collect()
    }

    pub fn matrix(&self, key: &str) -> Array2<f64> {
        matrix(&self.0[key])
    }

    pub fn vector(&self, key: &str) -> Vec<f64> {
        numbers(&self.0[key])
    }

    pub fn labels(&self, key: &str) -> Vec<i64> {
        labels(&self.0[key])
    }

    pub fn number(&self, key: &str) -> f64 {
        self.0[key].as_f64().unwrap_or_else(|| panic!("{key} is no number"))
    }

    pub fn flag(&self, key: &str) -> bool {
        self.0[key].as_bool().unwrap_or_else(|| panic!("{key} is no flag"))
    }

    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("{key} is no text"))
    }
}

/// Equally many numbers, each within `tolerance` of the expected, relative to its size where that is above
/// 1; NaN equals NaN.
pub fn assert_close(
    what: &str,
    found: impl IntoIterator<Item: Borrow<f64>>,
    expected: impl IntoIterator<Item: Borrow<f64>>,
    tolerance: f64,
) {
    let found: Vec<f64> = found.into_iter().map(|number| *number.borrow()).collect();
    let expected: Vec<f64> = expected.into_iter().map(|number| *number.borrow()).collect();
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let same = found.is_nan() && expected.is_nan()
            || found == expected
            || (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        assert!(same, "{what}: value {at} is {found}, scikit-learn has {expected}");
    }
}
