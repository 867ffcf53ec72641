//! Functions of single elements: arithmetic, comparison, activations.

use super::{Args, Outputs, one};
use kiln::Tensor;

pub fn run(op: &str, args: &Args) -> Outputs {
    if let Some(function) = unary(op) {
        return one(function(args.tensor("input")?)?);
    }
    let x = || args.tensor("input");
    let other = || args.tensor("other");
    one(match op {
        "add" => match args.number("alpha")? {
            Some(alpha) => x()?.add(&other()?.mul(alpha)?)?,
            None => x()?.add(other()?)?,
        },
        "sub" => match args.number("alpha")? {
            Some(alpha) => x()?.sub(&other()?.mul(alpha)?)?,
            None => x()?.sub(other()?)?,
        },
        "mul" => x()?.mul(other()?)?,
        "div" => match args.text("rounding_mode")? {
            None => x()?.div(other()?)?,
            Some("floor") => x()?.div(other()?)?.floor()?,
            Some(_) => return Ok(None),
        },
        "pow" => match args.number("exponent")? {
            Some(exponent) => x()?.pow(exponent)?,
            None => x()?.pow(args.tensor("exponent")?)?,
        },
        "maximum" => x()?.maximum(other()?)?,
        "minimum" => x()?.minimum(other()?)?,
        "eq" => x()?.eq(other()?)?,
        "ne" => x()?.ne(other()?)?,
        "lt" => x()?.lt(other()?)?,
        "le" => x()?.le(other()?)?,
        "gt" => x()?.gt(other()?)?,
        "ge" => x()?.ge(other()?)?,
        "logical_and" => x()?.logical_and(other()?)?,
        "logical_or" => x()?.logical_or(other()?)?,
        "logical_xor" => x()?.logical_xor(other()?)?,
        "where" => args.tensor("condition")?.where_(x()?, other()?)?,
        "masked_fill" => {
            let value = args.number("value")?.unwrap_or_default();
            x()?.masked_fill(args.tensor("mask")?, value)?
        }
        "clamp" => match (args.number("min")?, args.number("max")?) {
            (Some(min), Some(max)) => x()?.clamp(min, max)?,
            _ => return Ok(None),
        },
        "leaky_relu" => x()?.leaky_relu(args.number("negative_slope")?.unwrap_or(0.01))?,
        "gelu" => match args.text("approximate")? {
            None | Some("none") => x()?.gelu()?,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    })
}

fn unary(op: &str) -> Option<fn(&Tensor) -> kiln::Result<Tensor>> {
    Some(match op {
        "exp" => Tensor::exp,
        "log" => Tensor::log,
        "sqrt" => Tensor::sqrt,
        "rsqrt" => Tensor::rsqrt,
        "sin" => Tensor::sin,
        "cos" => Tensor::cos,
        "tanh" => Tensor::tanh,
        "erf" => Tensor::erf,
        "abs" => Tensor::abs,
        "sign" => Tensor::sign,
        "floor" => Tensor::floor,
        "ceil" => Tensor::ceil,
        "round" => Tensor::round,
        "reciprocal" => Tensor::reciprocal,
        "neg" => Tensor::neg,
        "square" => Tensor::square,
        "logical_not" => Tensor::logical_not,
        "isnan" => Tensor::isnan,
        "isinf" => Tensor::isinf,
        "isfinite" => Tensor::isfinite,
        "relu" => Tensor::relu,
        "sigmoid" => Tensor::sigmoid,
        "silu" => Tensor::silu,
        _ => return None,
    })
}
