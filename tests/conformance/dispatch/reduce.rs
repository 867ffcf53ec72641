//! Reductions, scans and sorting.

use super::{Args, Outputs, one};

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    let keepdim = || args.flag("keepdim");
    // All dimensions where none is named.
    let axes = || -> kiln::Result<Vec<isize>> {
        let named = args.ints("dim")?.filter(|dims| !dims.is_empty());
        Ok(named.unwrap_or((0..x()?.rank() as isize).collect()))
    };
    let correction = || {
        let unbiased = args.value("unbiased").is_none_or(|value| value.as_bool() != Some(false));
        Ok::<_, kiln::Error>(args.int("correction")?.unwrap_or(unbiased.into()).unsigned_abs())
    };
    let last = || Ok::<_, kiln::Error>(args.int("dim")?.unwrap_or(-1));
    one(match op {
        "sum" => x()?.sum(&axes()?[..], keepdim()?)?,
        "mean" => x()?.mean(&axes()?[..], keepdim()?)?,
        "prod" => x()?.prod(&axes()?[..], keepdim()?)?,
        "amax" => x()?.max(&axes()?[..], keepdim()?)?,
        "amin" => x()?.min(&axes()?[..], keepdim()?)?,
        "any" => x()?.any(&axes()?[..], keepdim()?)?,
        "all" => x()?.all(&axes()?[..], keepdim()?)?,
        "logsumexp" => x()?.logsumexp(&axes()?[..], keepdim()?)?,
        "norm" => {
            x()?.norm(args.number("ord")?.or(args.number("p")?).unwrap_or(2.0), &axes()?[..], keepdim()?)?
        }
        "var" => x()?.var(&axes()?[..], correction()?, keepdim()?)?,
        "std" => x()?.std(&axes()?[..], correction()?, keepdim()?)?,
        "argmax" => x()?.argmax(&axes()?[..], keepdim()?)?,
        "argmin" => x()?.argmin(&axes()?[..], keepdim()?)?,
        "max" | "min" => {
            let (dim, greatest) = (args.int("dim")?, op == "max");
            let (values, positions) = match dim {
                Some(dim) if greatest => x()?.max_dim(dim, keepdim()?)?,
                Some(dim) => x()?.min_dim(dim, keepdim()?)?,
                None if greatest => return one(x()?.max(.., false)?),
                None => return one(x()?.min(.., false)?),
            };
            return Ok(Some(vec![values, positions]));
        }
        "cumsum" => x()?.cumsum(last()?)?,
        "cumprod" => x()?.cumprod(last()?)?,
        "argsort" | "sort" => {
            // Kiln's order is always the stable one.
            args.flag("stable")?;
            let descending = args.flag("descending")?;
            if op == "argsort" {
                return one(x()?.argsort(last()?, descending)?);
            }
            let (values, positions) = x()?.sort(last()?, descending)?;
            return Ok(Some(vec![values, positions]));
        }
        "topk" => {
            let Some(k) = args.int("k")? else { return Ok(None) };
            let largest = args.value("largest").is_none_or(|value| value.as_bool() == Some(true));
            args.flag("sorted")?;
            let (values, positions) = x()?.topk(k.unsigned_abs(), last()?, largest)?;
            return Ok(Some(vec![values, positions]));
        }
        _ => return Ok(None),
    })
}
