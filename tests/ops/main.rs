//! Every operation against a float64 reference, on every device, driven from the table of `kiln::proof`.
//!
//! A case becomes these trials on each device: `value` compares with the reference computed in float64,
//! `gradient` and `second` compare gradients taken in the middle of a graph, and gradients of those, with
//! central differences of the float64 reference. `led` and `followed` add steps before and after an operation
//! that its own kernel can take over. `gpu/agrees` compares the GPU with the CPU, and `shader` validates what the op
//! would give a GPU and translates it to SPIR-V, MSL and HLSL, with naga and without a GPU. A device that is absent shows as ignored; `KILN_REQUIRE_GPU=1` makes that a failure.
//!
//! `page` holds `docs/ops.md` against the code; `KILN_BLESS=1` writes it anew.

mod page;
mod shader;

use kiln::proof::{self, Case, Deviation};
use kiln::{Engine, Result};
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::Arc;

type Check = fn(&Case, &Engine) -> Result<Deviation>;

fn main() {
    let cpu = Engine::cpu();
    let gpu = Engine::new("gpu");
    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    let recorder = shader::Recorder::engine();
    let mut trials = vec![Trial::test("page", page::current)];
    for case in proof::cases() {
        let case = Arc::new(case);
        let name = case.name.clone();
        let checks: &[(&str, Check)] =
            &[("value", Case::value), ("gradient", Case::first_gradient), ("second", Case::second_gradient)];
        let checks = &checks[..1 + usize::from(case.gradient) + usize::from(case.second_order())];
        for &(kind, check) in checks {
            trials.push(trial(format!("cpu/{kind}/{name}"), &case, &cpu, check));
            match &gpu {
                Ok(gpu) => trials.push(trial(format!("gpu/{kind}/{name}"), &case, gpu, check)),
                Err(error) => trials.push(absent(format!("gpu/{kind}/{name}"), error, required)),
            }
        }
        match &gpu {
            Ok(gpu) => {
                let (case, cpu, gpu) = (case.clone(), cpu.clone(), gpu.clone());
                let agrees = move || passes(case.agreement(&gpu, &cpu)?);
                trials.push(Trial::test(format!("gpu/agrees/{name}"), agrees));
            }
            Err(error) => trials.push(absent(format!("gpu/agrees/{name}"), error, required)),
        }
        let around: [(&str, Check, bool); 2] = [
            ("led", Case::led, case.begins(&cpu).unwrap_or_default()),
            ("followed", Case::followed, case.finishes(&cpu).unwrap_or_default()),
        ];
        for (kind, check, _) in around.into_iter().filter(|around| around.2) {
            trials.push(trial(format!("cpu/{kind}/{name}"), &case, &cpu, check));
            match &gpu {
                Ok(gpu) => trials.push(trial(format!("gpu/{kind}/{name}"), &case, gpu, check)),
                Err(error) => trials.push(absent(format!("gpu/{kind}/{name}"), error, required)),
            }
        }
        let recorder = recorder.clone();
        trials.push(Trial::test(format!("shader/{name}"), move || shader::validate(&case, &recorder)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial(name: String, case: &Arc<Case>, engine: &Engine, check: Check) -> Trial {
    let (case, engine) = (case.clone(), engine.clone());
    Trial::test(name, move || passes(check(&case, &engine)?))
}

fn absent(name: String, error: &kiln::Error, required: bool) -> Trial {
    let message = error.to_string();
    Trial::test(name, || Err(Failed::from(message))).with_ignored_flag(!required)
}

fn passes(deviation: Deviation) -> Result<(), Failed> {
    if deviation.passes() { Ok(()) } else { Err(deviation.worst.into()) }
}
