//! Functions of single elements: arithmetic, comparison, activations.

use super::{Args, Outputs, one};
use kiln::{DType, Error, Result, Tensor};

pub fn run(op: &str, args: &Args) -> Outputs {
    // Where the result goes changes nothing about it.
    args.flag("inplace")?;
    if let Some(function) = unary(op) {
        return one(function(args.tensor("input")?)?);
    }
    let x = || args.tensor("input");
    let operand = |name: &str| {
        let absent = || Error::op("fixtures", format!("the case has no {name}"));
        args.operand(name)?.ok_or_else(absent)
    };
    let other = || operand("other");
    // Truth of any dtype: what is not 0.
    let truth = |name: &str| {
        let x = args.tensor(name)?;
        if x.dtype() == DType::Bool { Ok(x.clone()) } else { x.ne(0.0) }
    };
    // The other operand times `alpha`.
    let scaled = || -> Result<Tensor> {
        let alpha = args.number("alpha")?.unwrap_or(1.0);
        match args.maybe("other") {
            Some(other) => other.mul(alpha),
            None => x()?.zeros_like()?.add(args.number("other")?.unwrap_or_default() * alpha),
        }
    };
    one(match op {
        "add" if args.number("alpha")?.is_some() => x()?.add(&scaled()?)?,
        "sub" if args.number("alpha")?.is_some() => x()?.sub(&scaled()?)?,
        "add" => x()?.add(other()?)?,
        "sub" => x()?.sub(other()?)?,
        "mul" => x()?.mul(other()?)?,
        "div" => match args.text("rounding_mode")? {
            None => x()?.div(other()?)?,
            Some("floor") => x()?.div(other()?)?.floor()?,
            Some("trunc") => x()?.div(other()?)?.trunc()?,
            Some(_) => return Ok(None),
        },
        // The base may be a number.
        "pow" if args.number("self")?.is_some() => {
            let exponent = args.tensor("exponent")?;
            exponent.zeros_like()?.add(args.number("self")?.unwrap_or_default())?.pow(exponent)?
        }
        "pow" => x()?.pow(operand("exponent")?)?,
        "round" => {
            let scale = 10f64.powi(args.int("decimals")?.unwrap_or(0) as i32);
            x()?.mul(scale)?.round()?.div(scale)?
        }
        "atan2" => x()?.atan2(other()?)?,
        "fmod" => x()?.fmod(other()?)?,
        "remainder" => x()?.remainder(other()?)?,
        "max" if args.maybe("other").is_some() => x()?.maximum(args.tensor("other")?)?,
        "min" if args.maybe("other").is_some() => x()?.minimum(args.tensor("other")?)?,
        "maximum" => x()?.maximum(other()?)?,
        "minimum" => x()?.minimum(other()?)?,
        "eq" => x()?.eq(other()?)?,
        "ne" => x()?.ne(other()?)?,
        "lt" => x()?.lt(other()?)?,
        "le" => x()?.le(other()?)?,
        "gt" => x()?.gt(other()?)?,
        "ge" => x()?.ge(other()?)?,
        "logical_and" => truth("input")?.logical_and(&truth("other")?)?,
        "logical_or" => truth("input")?.logical_or(&truth("other")?)?,
        "logical_xor" => truth("input")?.logical_xor(&truth("other")?)?,
        "logical_not" => truth("input")?.logical_not()?,
        "where" => args.tensor("condition")?.where_(operand("input")?, other()?)?,
        "masked_fill" => args.tensor("mask")?.where_(operand("value")?, x()?)?,
        "clamp" | "clamp_min" | "clamp_max" => match (args.operand("min")?, args.operand("max")?) {
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
        "hardshrink" => x()?.hardshrink(args.number("lambd")?.unwrap_or(0.5))?,
        "softshrink" => x()?.softshrink(args.number("lambd")?.unwrap_or(0.5))?,
        "threshold" => {
            let (Some(threshold), Some(value)) = (args.number("threshold")?, args.number("value")?) else {
                return Ok(None);
            };
            x()?.threshold(threshold, value)?
        }
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
        "asin" => Tensor::asin,
        "acos" => Tensor::acos,
        "sinh" => Tensor::sinh,
        "cosh" => Tensor::cosh,
        "asinh" => Tensor::asinh,
        "acosh" => Tensor::acosh,
        "atanh" => Tensor::atanh,
        "exp2" => Tensor::exp2,
        "log2" => Tensor::log2,
        "log10" => Tensor::log10,
        "frac" => Tensor::frac,
        "tanhshrink" => Tensor::tanhshrink,
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
        "trunc" => Tensor::trunc,
        "reciprocal" => Tensor::reciprocal,
        "neg" => Tensor::neg,
        "square" => Tensor::square,
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
