//! Views, joining and indexing.

use super::{Args, Outputs, one};
use kiln::Tensor;

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    let dim = || Ok::<_, kiln::Error>(args.int("dim")?.unwrap_or(0));
    one(match op {
        "permute" => x()?.permute(&args.ints("dims")?.unwrap_or_default())?,
        "flip" => {
            let dims = args.ints("dims")?.unwrap_or_default();
            dims.into_iter().try_fold(x()?.clone(), |x, dim| x.flip(dim))?
        }
        "cat" => Tensor::concat(&args.tensors(), dim()?)?,
        "stack" => Tensor::stack(&args.tensors(), dim()?)?,
        "index_select" => x()?.index_select(dim()?, args.tensor("index")?)?,
        "gather" => x()?.gather(dim()?, args.tensor("index")?)?,
        "scatter_add" => x()?.scatter_add(dim()?, args.tensor("index")?, args.tensor("src")?)?,
        _ => return Ok(None),
    })
}
