//! Functions of single elements: arithmetic, comparison, activations.

use super::{Args, Outputs, one};
use kiln::{Error, Tensor};

pub fn run(op: &str, args: &Args) -> Outputs {
    if let Some(function) = unary(op) {
        return one(function(args.tensor("input")?)?);
    }
    let x = || args.tensor("input");
    let operand = |name: &str| {
        let absent = || Error::op("fixtures", format!("the case has no {name}"));
        args.operand(name)?.ok_or_else(absent)
    };
    let other = || operand("other");
    one(match op {
        "add" => match args.number("alpha")? {
            Some(alpha) => x()?.add(&args.tensor("other")?.mul(alpha)?)?,
            None => x()?.add(other()?)?,
        },
        "sub" => match args.number("alpha")? {
            Some(alpha) => x()?.sub(&args.tensor("other")?.mul(alpha)?)?,
            None => x()?.sub(other()?)?,
        },
        "mul" => x()?.mul(other()?)?,
        "div" => match args.text("rounding_mode")? {
            None => x()?.div(other()?)?,
            Some("floor") => x()?.div(other()?)?.floor()?,
            Some("trunc") => x()?.div(other()?)?.trunc()?,
            Some(_) => return Ok(None),
        },
        "pow" => x()?.pow(operand("exponent")?)?,
        "atan2" => x()?.atan2(other()?)?,
        "fmod" => x()?.fmod(other()?)?,
        "remainder" => x()?.remainder(other()?)?,
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
        "where" => args.tensor("condition")?.where_(operand("input")?, other()?)?,
        "masked_fill" => {
            let value = args.number("value")?.unwrap_or_default();
            x()?.masked_fill(args.tensor("mask")?, value)?
        }
        "clamp" => match (args.operand("min")?, args.operand("max")?) {
            (Some(min), Some(max)) => x()?.clamp(min, max)?,
            (Some(min), None) => x()?.clamp_min(min)?,
            (None, Some(max)) => x()?.clamp_max(max)?,
            (None, None) => return Ok(None),
        },
        "leaky_relu" => x()?.leaky_relu(args.number("negative_slope")?.unwrap_or(0.01))?,
        "elu" => x()?.elu(args.number("alpha")?.unwrap_or(1.0))?,
        "celu" => x()?.celu(args.number("alpha")?.unwrap_or(1.0))?,
        "prelu" => x()?.prelu(args.tensor("weight")?)?,
        "hardtanh" => {
            let (low, high) = (args.number("min_val")?, args.number("max_val")?);
            x()?.hardtanh(low.unwrap_or(-1.0), high.unwrap_or(1.0))?
        }
        "softplus" => {
            let (beta, threshold) = (args.number("beta")?, args.number("threshold")?);
            x()?.softplus(beta.unwrap_or(1.0), threshold.unwrap_or(20.0))?
        }
        "gelu" => match args.text("approximate")? {
            None | Some("none") => x()?.gelu()?,
            Some("tanh") => x()?.gelu_tanh()?,
            Some(_) => return Ok(None),
        },
        "glu" => x()?.glu(args.int("dim")?.unwrap_or(-1))?,
        _ => return Ok(None),
    })
}

fn unary(op: &str) -> Option<fn(&Tensor) -> kiln::Result<Tensor>> {
    Some(match op {
        "exp" => Tensor::exp,
        "expm1" => Tensor::expm1,
        "log" => Tensor::log,
        "log1p" => Tensor::log1p,
        "sqrt" => Tensor::sqrt,
        "rsqrt" => Tensor::rsqrt,
        "sin" => Tensor::sin,
        "cos" => Tensor::cos,
        "tan" => Tensor::tan,
        "atan" => Tensor::atan,
        "tanh" => Tensor::tanh,
        "erf" => Tensor::erf,
        "abs" => Tensor::abs,
        "sign" => Tensor::sign,
        "floor" => Tensor::floor,
        "ceil" => Tensor::ceil,
        "round" => Tensor::round,
        "trunc" => Tensor::trunc,
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
        "relu6" => Tensor::relu6,
        "selu" => Tensor::selu,
        "mish" => Tensor::mish,
        "softsign" => Tensor::softsign,
        "hardsigmoid" => Tensor::hardsigmoid,
        "hardswish" => Tensor::hardswish,
        "logsigmoid" => Tensor::logsigmoid,
        _ => return None,
    })
}
