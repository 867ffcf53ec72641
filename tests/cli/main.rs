//! The command line, as a user runs it.

mod images;

use serde_json::Value;
use std::process::{Command, Output};

fn kiln(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln")).args(arguments).output().unwrap()
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
fn doctor_refuses_what_it_does_not_know() {
    let output = kiln(&["doctor", "--device", "cpu", "convolute"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("convolute"));
    let output = kiln(&["doctor", "--device", "no such adapter"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no such adapter"));
}
