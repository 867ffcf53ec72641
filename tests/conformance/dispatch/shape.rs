//! Views, joining, padding, resizing and indexing.

use super::{Args, Outputs, one};
use kiln::ops::{Interpolation, PadMode, UnfoldOptions};
use kiln::{INFER, Result, Tensor};

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    let dim = || Ok::<_, kiln::Error>(args.int("dim")?.unwrap_or(0));
    let list = |name: &str| Ok::<_, kiln::Error>(args.ints(name)?.unwrap_or_default());
    let sizes = |name: &str| -> Result<Vec<usize>> {
        Ok(list(name)?.into_iter().map(|n| usize::try_from(n).unwrap_or(INFER)).collect())
    };
    let count = |name: &str| Ok::<_, kiln::Error>(args.int(name)?.unwrap_or(0).unsigned_abs());
    let windows = || -> Result<UnfoldOptions> {
        Ok(UnfoldOptions {
            kernel: args.sizes("kernel_size", 1)?,
            stride: args.sizes("stride", 1)?,
            padding: args.sizes("padding", 0)?,
            dilation: args.sizes("dilation", 1)?,
        })
    };
    one(match op {
        "reshape" => x()?.reshape(sizes("shape")?)?,
        "permute" => x()?.permute(&list("dims")?)?,
        "flip" => list("dims")?.into_iter().try_fold(x()?.clone(), |x, dim| x.flip(dim))?,
        "roll" if list("dims")?.is_empty() => {
            x()?.flatten(0, -1)?.roll(&list("shifts")?, &[0])?.reshape(x()?.shape())?
        }
        "roll" => x()?.roll(&list("shifts")?, &list("dims")?)?,
        "flatten" => x()?.flatten(args.int("start_dim")?.unwrap_or(0), args.int("end_dim")?.unwrap_or(-1))?,
        "squeeze" => match args.ints("dim")? {
            // PyTorch leaves other sizes than 1.
            Some(dims) => {
                let single = |dim: &isize| x().and_then(|x| x.size(*dim)).is_ok_and(|size| size == 1);
                x()?.squeeze(&dims.into_iter().filter(single).collect::<Vec<_>>()[..])?
            }
            None => {
                let single = x()?.dims().iter().enumerate().filter(|(_, size)| **size == 1);
                x()?.squeeze(&single.map(|(dim, _)| dim as isize).collect::<Vec<_>>()[..])?
            }
        },
        "unsqueeze" => x()?.unsqueeze(dim()?)?,
        "transpose" => x()?.transpose(args.int("dim0")?.unwrap_or(0), args.int("dim1")?.unwrap_or(0))?,
        "narrow" => x()?.narrow(dim()?, count("start")?, count("length")?)?,
        "select" => {
            let index = args.int("index")?.unwrap_or(0);
            let size = x()?.size(dim()?)? as isize;
            x()?.select(dim()?, (if index < 0 { index + size } else { index }).unsigned_abs())?
        }
        "repeat" => x()?.repeat(&sizes("repeats")?)?,
        "expand" => x()?.expand(&list("size")?)?,
        "split" => {
            let parts = sizes("split_size_or_sections")?;
            let one_size = args.value("split_size_or_sections").is_some_and(serde_json::Value::is_number);
            let split =
                if one_size { x()?.split(parts[0], dim()?)? } else { x()?.split_with_sizes(&parts, dim()?)? };
            return Ok(Some(split));
        }
        "chunk" => return Ok(Some(x()?.chunk(count("chunks")?, dim()?)?)),
        "meshgrid" => {
            let (columns, mut vectors) = (args.text("indexing")? == Some("xy"), args.tensors());
            if !columns || vectors.len() < 2 {
                return Ok(Some(Tensor::meshgrid(&vectors)?));
            }
            vectors.swap(0, 1);
            let mut grids = Tensor::meshgrid(&vectors)?;
            grids.swap(0, 1);
            return grids.iter().map(|grid| grid.transpose(0, 1)).collect::<Result<_>>().map(Some);
        }
        "cat" => Tensor::concat(&args.tensors(), dim()?)?,
        "stack" => Tensor::stack(&args.tensors(), dim()?)?,
        "tril" => x()?.tril(args.int("diagonal")?.unwrap_or(0))?,
        "triu" => x()?.triu(args.int("diagonal")?.unwrap_or(0))?,
        "one_hot" => match args.int("num_classes")?.filter(|&classes| classes >= 0) {
            Some(classes) => x()?.one_hot(classes.unsigned_abs())?,
            None => x()?.one_hot(x()?.max(.., false)?.item()? as usize + 1)?,
        },
        "unfold" => x()?.unfold(windows()?)?,
        "fold" => x()?.fold(args.sizes("output_size", 0)?, windows()?)?,
        "pixel_shuffle" => x()?.pixel_shuffle(count("upscale_factor")?)?,
        "pixel_unshuffle" => x()?.pixel_unshuffle(count("downscale_factor")?)?,
        "pad" => return pad(args),
        "interpolate" => return interpolate(args),
        "index_select" => x()?.index_select(dim()?, args.tensor("index")?)?,
        "gather" => {
            // Only the gradient's storage would be another.
            args.flag("sparse_grad")?;
            x()?.gather(dim()?, args.tensor("index")?)?
        }
        "scatter_add" => x()?.scatter_add(dim()?, args.tensor("index")?, args.tensor("src")?)?,
        "scatter" if args.text("reduce")? == Some("add") => match args.number("value")? {
            Some(value) => {
                let index = args.tensor("index")?;
                let values = Tensor::full(index.shape(), value, x()?.dtype(), x()?.engine())?;
                x()?.scatter_add(dim()?, index, &values)?
            }
            None => x()?.scatter_add(dim()?, args.tensor("index")?, args.tensor("src")?)?,
        },
        "scatter" if args.text("reduce")?.is_some() => return Ok(None),
        "scatter" => match args.number("value")? {
            Some(value) => x()?.scatter_value(dim()?, args.tensor("index")?, value)?,
            None => x()?.scatter(dim()?, args.tensor("index")?, args.tensor("src")?)?,
        },
        "embedding" => {
            if args.flag("scale_grad_by_freq")? || args.number("max_norm")?.is_some() {
                return Ok(None);
            }
            args.flag("sparse")?;
            let table = args.tensor("weight")?;
            let rows = table.dims().first().map_or(0, |&rows| rows as isize);
            let padding = args.int("padding_idx")?.map(|row| row.rem_euclid(rows.max(1)).unsigned_abs());
            table.embedding(x()?, padding)?
        }
        _ => return Ok(None),
    })
}

/// PyTorch lists pairs from the last dimension to the first, as many as are padded.
fn pad(args: &Args) -> Outputs {
    let x = args.tensor("input")?;
    let listed = args.ints("pad")?.unwrap_or_default();
    let value = args.number("value")?.unwrap_or(0.0) as f32;
    let mode = match args.text("mode")? {
        None | Some("constant") => PadMode::Constant(value),
        Some("reflect") => PadMode::Reflect,
        Some("replicate") => PadMode::Replicate,
        Some("circular") => PadMode::Circular,
        Some(_) => return Ok(None),
    };
    let mut padding = vec![(0, 0); x.rank()];
    for (pair, dimension) in listed.chunks_exact(2).zip(padding.iter_mut().rev()) {
        *dimension = (pair[0], pair[1]);
    }
    one(x.pad_with(&padding, mode)?)
}

fn interpolate(args: &Args) -> Outputs {
    let x = args.tensor("input")?;
    let align_corners = args.flag("align_corners")?;
    if args.flag("antialias")? {
        return Ok(None);
    }
    let mode = match args.text("mode")? {
        None | Some("nearest") => Interpolation::Nearest,
        Some("nearest-exact") => Interpolation::NearestExact,
        Some("linear" | "bilinear" | "trilinear") => Interpolation::Linear { align_corners },
        Some("bicubic") => Interpolation::Cubic { align_corners },
        Some("area") => Interpolation::Area,
        Some(_) => return Ok(None),
    };
    let dimensions = x.rank().saturating_sub(2);
    if let Some(size) = args.ints("size")? {
        let size: Vec<usize> = size.into_iter().map(isize::unsigned_abs).collect();
        return one(x.interpolate(&if size.len() == 1 { vec![size[0]; dimensions] } else { size }, mode)?);
    }
    let factors: Option<Vec<f64>> = match args.value("scale_factor") {
        Some(serde_json::Value::Array(list)) => list.iter().map(serde_json::Value::as_f64).collect(),
        Some(factor) => factor.as_f64().map(|factor| vec![factor; dimensions]),
        None => None,
    };
    let Some(factors) = factors else { return Ok(None) };
    if args.flag("recompute_scale_factor")? {
        let sizes = x.dims()[2..].iter().zip(&factors).map(|(&size, factor)| (size as f64 * factor) as usize);
        return one(x.interpolate(&sizes.collect::<Vec<_>>(), mode)?);
    }
    one(x.interpolate_by(&factors, mode)?)
}
