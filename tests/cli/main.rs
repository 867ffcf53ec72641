//! The command line, as a user runs it.

mod images;
mod placement;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn kiln(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln")).args(arguments).output().unwrap()
}

#[test]
fn a_profile_has_a_row_for_each_operation() {
    let path = std::env::temp_dir().join(format!("kiln-profile-{}.json", std::process::id()));
    let profiled = |path: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(["doctor", "--device", "cpu", "matmul"]).env("KILN_PROFILE", path).output().unwrap()
    };
    assert!(profiled(&path).status.success());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let rows: Vec<Value> =
        serde_json::from_str(&format!("{}]", text.trim_end().trim_end_matches(','))).unwrap();
    let product = rows.iter().find(|row| row["name"] == "matmul" && row["args"]["output"] == "f32 [65, 70]");
    let product = product.expect("the case of several tiles");
    assert_eq!((&product["ph"], &product["cat"]), (&Value::from("X"), &Value::from("cpu")));
    assert_eq!(product["args"]["inputs"], serde_json::json!(["f32 [65, 33]", "f32 [33, 70]"]));
    // The rate is the work over the time.
    let (seconds, rate) =
        (product["dur"].as_f64().unwrap() / 1e6, product["args"]["GFLOP/s"].as_f64().unwrap());
    let expected = 2.0 * 65.0 * 33.0 * 70.0 / seconds / 1e9;
    assert!((rate - expected).abs() < 0.01 * expected + 0.001, "{rate} {expected}");
    assert!(rows.windows(2).all(|pair| pair[0]["ts"].as_f64() < pair[1]["ts"].as_f64()));

    let failed = profiled(Path::new("/nowhere/trace.json"));
    assert!(!failed.status.success());
    assert!(String::from_utf8_lossy(&failed.stdout).contains("/nowhere/trace.json"));
}

#[test]
fn doctor_checks_the_operations_asked_for() {
    let output = kiln(&["doctor", "--device", "cpu", "--json", "matmul", "softmax"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["tested"]["kind"], "Cpu");
    let operations = report["operations"].as_object().unwrap();
    assert_eq!(operations.keys().collect::<Vec<_>>(), ["matmul", "softmax"]);
    for (name, operation) in operations {
        assert!(operation["cases"].as_u64().unwrap() > 5, "{name}");
        for check in ["value", "gradient", "second_gradient"] {
            let units = operation[check]["units"].as_f64().unwrap();
            // Rounding alone leaves something.
            assert!(units > 0.0 && units <= 1.0, "{name} {check}: {units}");
        }
        assert_eq!(operation["failures"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn doctor_fails_where_an_operation_does() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    // A case of log is meant to give NaN, none of relu6 is.
    command.args(["doctor", "--device", "cpu", "--json", "log", "relu6"]).env("KILN_DEBUG", "nan");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["passed"], false);
    let failures = report["operations"]["log"]["failures"].as_array().unwrap();
    let named =
        |failure: &Value| failure["message"].as_str().unwrap().starts_with("log: the output [10] has NaN");
    assert!(failures.iter().any(|failure| failure["case"] == "log/edges" && named(failure)), "{failures:?}");
    assert_eq!(report["operations"]["relu6"]["failures"].as_array().unwrap().len(), 0);
}

#[test]
fn doctor_refuses_what_it_does_not_know() {
    let output = kiln(&["doctor", "--device", "cpu", "convolute"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("convolute"));
    let output = kiln(&["doctor", "--device", "no such adapter"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no such adapter"));
}

#[test]
fn bench_takes_other_sizes_and_half_precision() {
    let rows = |arguments: &[&str]| -> Vec<Value> {
        let output = kiln(&[&["bench", "--device", "cpu", "--json"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect()
    };
    let value = |rows: &[Value], metric: &str| {
        let row = rows
            .iter()
            .find(|row| row["metric"] == metric)
            .unwrap_or_else(|| panic!("no {metric}: {rows:?}"));
        row["value"].as_f64().unwrap()
    };
    let product = rows(&["w1", "--size", "16", "--dtype", "f16"]);
    let (milliseconds, rate) = (value(&product, "n16_f16_time"), value(&product, "n16_f16_rate"));
    let expected = 2.0 * 16f64.powi(3) / milliseconds / 1e6;
    assert!((rate - expected).abs() < 1e-6 * expected, "{rate} {expected}");
    let training = rows(&["w4", "--batch-size", "3", "--autocast"]);
    let (milliseconds, rate) = (value(&training, "autocast_time"), value(&training, "autocast_rate"));
    assert!((rate - 3e3 / milliseconds).abs() < 1e-6 * rate, "{rate} {milliseconds}");

    for (arguments, named) in [(["bench", "w2", "--autocast"], "w2"), (["bench", "w4", "--dtype=f16"], "w4")]
    {
        let output = kiln(&arguments);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(named) && error.contains(arguments[2].split('=').next().unwrap()), "{error}");
    }
}
