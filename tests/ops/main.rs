//! Every operation against a float64 reference, on every device, driven from one table.
//!
//! A case becomes these trials: `cpu/value` and `gpu/value` compare with the reference computed in
//! float64, `gpu/agrees` compares the GPU with the CPU, `cpu/gradient` and `gpu/gradient` compare gradients taken
//! in the middle of a graph with central differences of the float64 reference, and `shader` validates
//! what the op would give a GPU and translates it to SPIR-V, MSL and HLSL, with naga and without a GPU. A device that is absent shows as
//! ignored; `KILN_REQUIRE_GPU=1` makes that a failure.

mod case;
mod reference;
mod shader;
mod table;

use case::{Array, Case, compare, draw, read};
use kiln::{DType, Engine, Result, Tensor};
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::Arc;

fn main() {
    let cpu = Engine::cpu();
    let gpu = Engine::new("gpu");
    let required = std::env::var_os("KILN_REQUIRE_GPU").is_some_and(|value| value != "0");
    let recorder = shader::Recorder::engine();
    let mut trials = Vec::new();
    for case in table::cases() {
        let case = Arc::new(case);
        let name = case.name.clone();
        trial(&mut trials, format!("cpu/value/{name}"), &case, &cpu, value);
        if case.gradient {
            trial(&mut trials, format!("cpu/gradient/{name}"), &case, &cpu, gradient);
        }
        let (validated, engine) = (case.clone(), recorder.clone());
        trials.push(Trial::test(format!("shader/{name}"), move || shader::validate(&validated, &engine)));
        match &gpu {
            Ok(gpu) => {
                trial(&mut trials, format!("gpu/value/{name}"), &case, gpu, value);
                let (both, cpu, gpu_engine) = (case.clone(), cpu.clone(), gpu.clone());
                trials.push(Trial::test(format!("gpu/agrees/{name}"), move || {
                    let expected = both.run(&cpu)?;
                    Ok(compare(&both.run(&gpu_engine)?, &expected, both.rtol, both.atol)?)
                }));
                if case.gradient {
                    trial(&mut trials, format!("gpu/gradient/{name}"), &case, gpu, gradient);
                }
            }
            Err(error) => {
                let kinds: &[&str] =
                    if case.gradient { &["value", "agrees", "gradient"] } else { &["value", "agrees"] };
                for kind in kinds {
                    let message = error.to_string();
                    let absent = Trial::test(format!("gpu/{kind}/{name}"), || Err(Failed::from(message)));
                    trials.push(absent.with_ignored_flag(!required));
                }
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial(
    trials: &mut Vec<Trial>,
    name: String,
    case: &Arc<Case>,
    engine: &Engine,
    test: fn(&Case, &Engine) -> Result<(), Failed>,
) {
    let (case, engine) = (case.clone(), engine.clone());
    trials.push(Trial::test(name, move || test(&case, &engine)));
}

/// The op's result against the reference.
fn value(case: &Case, engine: &Engine) -> Result<(), Failed> {
    let expected = (case.reference)(&case.arrays());
    let tensors = case.tensors(engine)?;
    let result = (case.op)(&tensors)?;
    let again = (case.op)(&case.tensors(engine)?)?;
    if result.to_bytes()? != again.to_bytes()? {
        return Err("two runs differ in their bits".into());
    }
    compare(&read(&result)?, &expected, case.rtol, case.atol)?;
    Ok(())
}

/// Gradients with the op in the middle of a graph: something before it, and an upstream that is
/// not 1.
fn gradient(case: &Case, engine: &Engine) -> Result<(), Failed> {
    const SCALE: f64 = 1.5;
    let mut leaves = Vec::new();
    let mut inputs = Vec::new();
    for input in &case.inputs {
        let leaf = input.leaf(engine)?;
        if leaf.dtype() == DType::F32 {
            let leaf = leaf.variable()?;
            inputs.push(input.viewed(&leaf.mul(SCALE)?.div(SCALE)?)?);
            leaves.push(Some(leaf));
        } else {
            inputs.push(input.viewed(&leaf)?);
            leaves.push(None);
        }
    }
    let output = (case.op)(&inputs)?;
    let weights = draw(output.dims(), 0.5, 2.0, 77);
    let values: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
    let upstream = Tensor::from_slice(&values, output.shape(), engine)?;
    let gradients = output.mul(&upstream)?.sum(.., false)?.backward()?;

    let weights = weights.mapv(|w| f64::from(w as f32));
    let loss = |arrays: &[Array]| -> f64 {
        let viewed: Vec<Array> =
            case.inputs.iter().zip(arrays).map(|(input, array)| input.viewed_array(array)).collect();
        ((case.reference)(&viewed) * &weights).sum()
    };
    let stored: Vec<Array> = case.inputs.iter().map(case::Input::array).collect();
    for (position, leaf) in leaves.iter().enumerate() {
        let Some(leaf) = leaf else { continue };
        let Some(found) = gradients.get(leaf) else {
            return Err(format!("input {position} got no gradient").into());
        };
        let found = read(found)?;
        if found.shape() != stored[position].shape() {
            return Err(format!("gradient of shape {:?} for input {position}", found.shape()).into());
        }
        let flat: Vec<f64> = found.iter().copied().collect();
        // Differences for at most 32 elements, spread over the tensor.
        let count = flat.len();
        let stride = count.div_ceil(32).max(1);
        for element in (0..count).step_by(stride) {
            let h = 1e-4;
            let shifted = |by: f64| {
                let mut arrays = stored.clone();
                arrays[position].as_slice_mut().expect("arrays are row-major")[element] += by;
                loss(&arrays)
            };
            let expected = (shifted(h) - shifted(-h)) / (2.0 * h);
            let allowed = case.gradient_tolerance * expected.abs().max(1.0);
            if (flat[element] - expected).abs().is_nan() || (flat[element] - expected).abs() > allowed {
                return Err(format!(
                    "input {position}, element {element}: gradient {} but differences give {expected}",
                    flat[element]
                )
                .into());
            }
        }
    }
    Ok(())
}
