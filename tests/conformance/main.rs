//! Every op against PyTorch: the cases of `assets/fixtures/ops`, on every device.
//!
//! A case is one trial a device, `cpu/NAME` and `gpu/NAME`: outputs, gradients and, where the case has
//! them, gradients of gradients, each within its own tolerance. Inputs reach the ops as the views that
//! the case describes. What Kiln lacks is listed as of the kind `missing`, and fails. On a GPU that takes denormal numbers for 0, elements computed from such are not compared; the
//! cases are of the kind `denormals excused`.
//!
//! | variable | effect |
//! | --- | --- |
//! | `KILN_FIXTURES=DIR` | reads the cases in `DIR`, or `DIR/ops`, instead |
//! | `KILN_REQUIRE_GPU=1` | an absent GPU fails |

mod case;
mod compare;
mod dispatch;

use case::{Case, Cases};
use kiln::Engine;
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::Arc;

fn main() {
    let arguments = Arguments::from_args();
    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    let cases = match Cases::load() {
        Ok(cases) => cases,
        Err(message) => {
            let trial = Trial::test("fixtures", move || Err(Failed::from(message)));
            libtest_mimic::run(&arguments, vec![trial]).exit()
        }
    };
    let cpu = Engine::cpu();
    let gpu = Engine::new("gpu");
    // Where asking fails, the trials say why.
    let flushes = gpu.as_ref().is_ok_and(|gpu| compare::flushes(gpu).unwrap_or(false));
    let mut trials = Vec::new();
    for case in cases.cases {
        let case = Arc::new(case);
        // Recording runs nothing, so asking whether an op is there is cheap.
        if let Some(lack) = dispatch::lack(&case, &cpu) {
            for device in ["cpu", "gpu"] {
                let lack = lack.clone();
                let trial = Trial::test(format!("{device}/{}", case.name), || Err(Failed::from(lack)));
                trials.push(trial.with_kind("missing"));
            }
            continue;
        }
        trials.push(trial("cpu", &case, &cpu, false));
        match &gpu {
            Ok(gpu) => trials.push(trial("gpu", &case, gpu, flushes)),
            Err(error) => {
                let message = error.to_string();
                let absent = Trial::test(format!("gpu/{}", case.name), || Err(Failed::from(message)));
                trials.push(absent.with_ignored_flag(!required));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(device: &str, case: &Arc<Case>, engine: &Engine, flushes: bool) -> Trial {
    let (case, engine) = (case.clone(), engine.clone());
    let kind = if flushes && case.denormal { "denormals excused" } else { "" };
    let trial = Trial::test(format!("{device}/{}", case.name), move || {
        let problems = compare::run(&case, &engine, flushes)?;
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
    });
    trial.with_kind(kind)
}
