//! Where operations run, and what `KILN_EXPLAIN` says of it.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// What a small benchmark of products says on standard error.
fn explained(device: &str, cache: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(["bench", "w1", "--size", "64", "--json", "--device", device]);
    let output = command.env("KILN_EXPLAIN", "1").env("XDG_CACHE_HOME", cache).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

/// The one row of the product, however often it ran.
fn product(text: &str) -> Vec<&str> {
    let rows: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("matmul ")).collect();
    let [row] = rows[..] else { panic!("{} rows of the product:\n{text}", rows.len()) };
    row.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

#[test]
fn each_graph_is_explained_once() {
    let cache = std::env::temp_dir().join(format!("kiln-placement-{}", std::process::id()));
    let measured = cache.join("kiln/ceilings.json");
    let cpu = explained("cpu", &cache);
    let [op, output, "-", "-", "only device", name] = product(&cpu)[..] else { panic!("{cpu}") };
    assert_eq!((op, output, &name[..3]), ("matmul", "f32 [64, 64]", "CPU"));
    assert!(!measured.exists(), "one device needs no measurement");

    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    match kiln::Engine::new("gpu") {
        Err(error) if !required => return eprintln!("not run: {error}"),
        found => drop(found.unwrap()),
    }
    let gpu = explained("gpu", &cache);
    assert_eq!(product(&gpu)[2..5], ["-", "-", "asked for by name"]);
    assert!(!measured.exists());

    let auto = explained("auto:gpu", &cache);
    let columns = product(&auto);
    let [on_cpu, on_gpu] = [columns[2], columns[3]].map(|column| column.parse::<f64>().unwrap());
    assert!(on_cpu > 0.0 && on_gpu > 0.0);
    let graph = auto.lines().find(|line| line.starts_with("graph of ")).unwrap();
    assert!(graph.contains(" and ") && graph.contains(" ms with transfers, "), "{graph}");
    // Both devices were measured, by what is multiplied and copied, and the numbers kept.
    let kept = std::fs::read_to_string(&measured).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept.as_object().unwrap().len(), 2);
    let cpu = kept.as_object().unwrap().iter().find(|(device, _)| device.starts_with("CPU")).unwrap().1;
    let work = 2.0 * 64f64.powi(3) / cpu["flops"].as_f64().unwrap();
    let memory = 3.0 * 4.0 * 64.0 * 64.0 / cpu["bandwidth"].as_f64().unwrap();
    let estimate = 1e6 * (cpu["launch"].as_f64().unwrap() + work.max(memory));
    assert!((on_cpu - estimate).abs() <= 0.051, "{on_cpu} {estimate}");
    std::fs::remove_dir_all(&cache).unwrap();
}
