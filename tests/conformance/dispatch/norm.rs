//! Normalisation and softmax.

use super::{Args, Outputs, one};

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    let dim = || Ok::<_, kiln::Error>(args.int("dim")?.unwrap_or(-1));
    one(match op {
        "softmax" => x()?.softmax(dim()?)?,
        "log_softmax" => x()?.log_softmax(dim()?)?,
        _ => return Ok(None),
    })
}
