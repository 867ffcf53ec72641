//! Matrix products.

use super::{Args, Outputs, one};

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    one(match op {
        "matmul" => x()?.matmul(args.tensor("other")?)?,
        "bmm" => x()?.matmul(args.tensor("mat2")?)?,
        "linear" => {
            let product = x()?.matmul(&args.tensor("weight")?.t()?)?;
            match args.maybe("bias") {
                Some(bias) => product.add(bias)?,
                None => product,
            }
        }
        _ => return Ok(None),
    })
}
