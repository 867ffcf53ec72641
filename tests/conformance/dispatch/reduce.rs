//! Reductions, scans and sorting.

use super::{Args, Outputs, one};

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    let keepdim = || args.flag("keepdim");
    // All dimensions where none is named.
    let axes = || -> kiln::Result<Vec<isize>> {
        Ok(args.ints("dim")?.unwrap_or((0..x()?.rank() as isize).collect()))
    };
    one(match op {
        "sum" => x()?.sum(&axes()?[..], keepdim()?)?,
        "mean" => x()?.mean(&axes()?[..], keepdim()?)?,
        "amax" => x()?.max(&axes()?[..], keepdim()?)?,
        "amin" => x()?.min(&axes()?[..], keepdim()?)?,
        "var" => {
            let correction = args.int("correction")?.unwrap_or(1);
            x()?.var(&axes()?[..], correction.unsigned_abs(), keepdim()?)?
        }
        "argmax" | "argmin" => {
            let Some(axis) = args.int("dim")? else { return Ok(None) };
            if op == "argmax" { x()?.argmax(axis, keepdim()?)? } else { x()?.argmin(axis, keepdim()?)? }
        }
        _ => return Ok(None),
    })
}
