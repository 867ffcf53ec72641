//! `docs/ops.md`: which operation runs where, from the source, the table of cases and the ops' own plans.

use crate::shader::Recorder;
use kiln::Engine;
use kiln::proof;
use libtest_mimic::Failed;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const HEAD: &str = "\
# Operations

Made from the code by `cargo test --test ops page`, which fails when this page is stale; `KILN_BLESS=1` writes it anew.

- **Cases**: lines of the table in `src/proof/table`. Each compares values with a float64 reference on the CPU and on \
the GPU, and the two with each other; a public operation without a case fails the test.
- **Kernels**: what the operation consists of before fusion, over its cases; none where it is a view.
- **GPU**: whether every kernel of every case has a plan on a device of WebGPU's least limits; kernels that leave some \
case to the CPU are named.
- **Gradient**, **second**: whether gradients, and gradients of gradients, are compared with differences of the reference; \
`-` where the result does not depend on an input smoothly.

| Operation | Cases | Kernels | CPU | GPU | Gradient | Second |
|---|---:|---|---|---|---|---|
";

#[derive(Default)]
struct Line {
    cases: usize,
    kernels: Vec<&'static str>,
    without_plan: BTreeSet<&'static str>,
    gradient: bool,
    second: bool,
}

/// Whether `docs/ops.md` says what the code says.
pub fn current() -> Result<(), Failed> {
    let (cpu, recorder) = (Engine::cpu(), Recorder::engine());
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for case in proof::cases() {
        let line = lines.entry(case.operation().to_string()).or_default();
        line.cases += 1;
        for kernel in case.kernels(&cpu)? {
            if !line.kernels.contains(&kernel) {
                line.kernels.push(kernel);
            }
        }
        line.without_plan.extend(recorder.of(&case)?);
        line.gradient |= case.gradient;
        line.second |= case.second_order();
    }
    let public = public_operations()?;
    let untested: Vec<&String> = public.iter().filter(|&name| !lines.contains_key(name)).collect();
    let unknown: Vec<&String> = lines.keys().filter(|&name| !public.contains(name)).collect();
    if !untested.is_empty() || !unknown.is_empty() {
        return Err(format!("no case for {untested:?}; cases of no public operation: {unknown:?}").into());
    }
    let mut page = HEAD.to_string();
    for (name, line) in lines {
        let yes = |yes: bool| if yes { "yes" } else { "-" };
        let without: Vec<_> = line.without_plan.iter().copied().collect();
        let gpu = if without.is_empty() { "yes".into() } else { format!("but {}", without.join(", ")) };
        let (cases, kernels) = (line.cases, line.kernels.join(", "));
        let (gradient, second) = (yes(line.gradient), yes(line.second));
        writeln!(page, "| `{name}` | {cases} | {kernels} | yes | {gpu} | {gradient} | {second} |")?;
    }
    let file = root().join("docs/ops.md");
    if std::env::var_os("KILN_BLESS").is_some() {
        return Ok(std::fs::write(file, page)?);
    }
    match std::fs::read_to_string(file)? == page {
        true => Ok(()),
        false => {
            Err("docs/ops.md is stale; run this test with KILN_BLESS=1 and look at the difference".into())
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all functions on tensors: methods in `src/ops`, rows that macros make methods of, losses,
/// recurrent networks, and constructors that need no data.
fn public_operations() -> Result<BTreeSet<String>, Failed> {
    let mut names = BTreeSet::new();
    let mut files = vec![root().join("src/tensor/construct.rs")];
    rust_files(&root().join("src/ops"), &mut files)?;
    rust_files(&root().join("src/nn/loss"), &mut files)?;
    files.push(root().join("src/nn/recurrent.rs"));
    for file in files {
        let free = file.starts_with(root().join("src/nn"));
        let (mut of_tensor, mut rows) = (false, false);
        for line in std::fs::read_to_string(file)?.lines() {
            match line {
                "impl Tensor {" => of_tensor = true,
                "unary_methods! {" | "binary_methods! {" => rows = true,
                "}" => (of_tensor, rows) = (false, false),
                _ => {}
            }
            let function = line.strip_prefix(if free { "pub fn " } else { "    pub fn " });
            if let Some(function) = function.filter(|_| of_tensor || free) {
                let name = function.split(['(', '<']).next().unwrap_or(function);
                // Keywords end in an underscore in Rust.
                names.insert(name.trim_end_matches('_').to_string());
            } else if let Some((name, _)) = line.trim().split_once(" => ").filter(|_| rows) {
                names.insert(name.to_string());
            }
        }
    }
    names.retain(|name| !name.starts_with("from"));
    Ok(names)
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
