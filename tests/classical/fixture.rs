//! What scikit-learn came to, read from `assets/fixtures/classical`.

use ndarray::Array2;
use serde_json::Value;
use std::path::Path;

/// A file, or a part of one. Its readers panic where a fixture is not as the test says.
pub struct Fixture(pub Value);

impl Fixture {
    pub fn read(family: &str) -> Fixture {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fixtures/classical");
        let text = std::fs::read_to_string(folder.join(family).with_extension("json"))
            .expect("the fixture is there");
        Fixture(serde_json::from_str(&text).expect("the fixture is JSON"))
    }

    pub fn at(&self, key: &str) -> Fixture {
        Fixture(self.0[key].clone())
    }

    pub fn cases(&self, key: &str) -> Vec<Fixture> {
        let cases = self.0[key].as_array().unwrap_or_else(|| panic!("{key} is no list"));
        assert!(!cases.is_empty(), "{key} has no cases");
        cases.iter().cloned().map(Fixture).collect()
    }

    fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> T {
        serde_json::from_value(self.0[key].clone()).unwrap_or_else(|error| panic!("{key}: {error}"))
    }

    pub fn matrix(&self, key: &str) -> Array2<f64> {
        let rows: Vec<Vec<f64>> = self.get(key);
        let shape = (rows.len(), rows[0].len());
        Array2::from_shape_vec(shape, rows.concat()).expect("rows of one length")
    }

    pub fn vector(&self, key: &str) -> Vec<f64> {
        self.get(key)
    }

    pub fn labels(&self, key: &str) -> Vec<i64> {
        self.get(key)
    }

    pub fn number(&self, key: &str) -> f64 {
        self.get(key)
    }

    pub fn flag(&self, key: &str) -> bool {
        self.get(key)
    }

    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("{key} is no text"))
    }
}

/// Equally many numbers, each within `tolerance` of the expected, relative to its size where that is
/// above 1.
pub fn close(
    what: &str,
    found: impl IntoIterator<Item = f64>,
    expected: impl IntoIterator<Item = f64>,
    tolerance: f64,
) {
    let (found, expected): (Vec<f64>, Vec<f64>) =
        (found.into_iter().collect(), expected.into_iter().collect());
    assert_eq!(found.len(), expected.len(), "{what}: numbers");
    for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs() / expected.abs().max(1.0);
        assert!(error <= tolerance, "{what}: {found} instead of {expected} at {place}");
    }
}
