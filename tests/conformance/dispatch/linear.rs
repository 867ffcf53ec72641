//! Matrix products.

use super::{Args, Outputs, one};
use kiln::Tensor;

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    one(match op {
        "matmul" => x()?.matmul(args.tensor("other")?)?,
        "mm" => x()?.matmul(args.tensor("mat2")?)?,
        "bmm" => x()?.bmm(args.tensor("mat2")?)?,
        "linear" => x()?.linear(args.tensor("weight")?, args.maybe("bias"))?,
        "addmm" => {
            let (beta, alpha) = (args.number("beta")?.unwrap_or(1.0), args.number("alpha")?.unwrap_or(1.0));
            x()?.addmm(args.tensor("mat1")?, args.tensor("mat2")?, beta, alpha)?
        }
        "outer" => x()?.outer(args.tensor("vec2")?)?,
        "einsum" => {
            let Some(equation) = args.text("equation")? else { return Ok(None) };
            Tensor::einsum(equation, &args.tensors())?
        }
        _ => return Ok(None),
    })
}
