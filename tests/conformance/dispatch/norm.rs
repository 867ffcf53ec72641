//! Normalisation and softmax.

use super::{Args, Outputs, one};
use kiln::Result;

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    let dim = || Ok::<_, kiln::Error>(args.int("dim")?.unwrap_or(-1));
    let (weight, bias) = (|| args.maybe("weight"), || args.maybe("bias"));
    let eps = |default: f64| Ok::<_, kiln::Error>(args.number("eps")?.unwrap_or(default));
    let shape = || -> Result<Vec<usize>> {
        Ok(args.ints("normalized_shape")?.unwrap_or_default().iter().map(|&size| size as usize).collect())
    };
    one(match op {
        "softmax" => x()?.softmax(dim()?)?,
        "softmin" => x()?.softmin(dim()?)?,
        "log_softmax" => x()?.log_softmax(dim()?)?,
        "layer_norm" => x()?.layer_norm(&shape()?, weight(), bias(), eps(1e-5)?)?,
        "rms_norm" => x()?.rms_norm(&shape()?, weight(), eps(f64::from(f32::EPSILON))?)?,
        "group_norm" => {
            x()?.group_norm(args.sizes::<1>("num_groups", 1)?[0], weight(), bias(), eps(1e-5)?)?
        }
        "instance_norm" => {
            let running = args.maybe("running_mean").zip(args.maybe("running_var"));
            args.number("momentum")?;
            let own = args.value("use_input_stats").is_none_or(|value| value.as_bool() != Some(false));
            match running {
                Some((mean, variance)) if !own => {
                    x()?.batch_norm(mean, variance, weight(), bias(), eps(1e-5)?)?
                }
                _ => x()?.instance_norm(weight(), bias(), eps(1e-5)?)?,
            }
        }
        "local_response_norm" => {
            let [size] = args.sizes("size", 1)?;
            let number =
                |name: &str, default: f64| Ok::<_, kiln::Error>(args.number(name)?.unwrap_or(default));
            x()?.local_response_norm(size, number("alpha", 1e-4)?, number("beta", 0.75)?, number("k", 1.0)?)?
        }
        "batch_norm" => return batch_norm(args),
        _ => return Ok(None),
    })
}

fn batch_norm(args: &Args) -> Outputs {
    let (x, weight, bias) = (args.tensor("input")?, args.maybe("weight"), args.maybe("bias"));
    let running = args.maybe("running_mean").zip(args.maybe("running_var"));
    let (eps, momentum) = (args.number("eps")?.unwrap_or(1e-5), args.number("momentum")?.unwrap_or(0.1));
    if !args.flag("training")? {
        let Some((mean, variance)) = running else { return Ok(None) };
        return one(x.batch_norm(mean, variance, weight, bias, eps)?);
    }
    let (output, batch) = x.batch_norm_training(weight, bias, eps)?;
    let mut outputs = vec![output];
    if let Some((mean, variance)) = running {
        outputs.extend(batch.track(mean, variance, momentum)?);
    }
    Ok(Some(outputs))
}
