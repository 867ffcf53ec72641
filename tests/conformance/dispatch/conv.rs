//! Convolutions and pooling.

use super::{Args, Outputs};
use kiln::ops::{
    Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions,
    ConvTranspose3dOptions, Pool1dOptions, Pool2dOptions, Pool3dOptions,
};
use kiln::{Result, Tensor};

pub fn run(op: &str, args: &Args) -> Outputs {
    // PyTorch names a function by its number of dimensions, to which batch and channels come.
    let Some(dims) = op.strip_suffix('d').and_then(|op| op.chars().last()).and_then(|c| c.to_digit(10))
    else {
        return Ok(None);
    };
    let x = args.tensor("input")?;
    let outputs = if op.starts_with("conv") { convolution } else { pooling };
    // Kiln takes batches: a sample alone is a batch of one.
    if x.rank() == dims as usize + 1 {
        let Some(batches) = outputs(op, &x.unsqueeze(0)?, args)? else { return Ok(None) };
        return batches.iter().map(|batch| batch.squeeze(0)).collect::<Result<_>>().map(Some);
    }
    outputs(op, x, args)
}

fn convolution(op: &str, x: &Tensor, args: &Args) -> Outputs {
    let weight = args.tensor("weight")?;
    let bias = args.maybe("bias");
    let groups = args.sizes::<1>("groups", 1)?[0];
    let padding = args.value("padding").and_then(|padding| padding.as_str());
    let plain = padding.is_none_or(|word| word == "valid");
    let output = match op {
        "conv1d" if plain => {
            let [stride] = args.sizes("stride", 1)?;
            let [padding] = explicit(args)?;
            let [dilation] = args.sizes("dilation", 1)?;
            x.conv1d(weight, bias, Conv1dOptions { stride, padding, dilation, groups })?
        }
        "conv2d" if plain => {
            let (stride, padding) = (args.sizes("stride", 1)?, explicit(args)?);
            let dilation = args.sizes("dilation", 1)?;
            x.conv2d(weight, bias, Conv2dOptions { stride, padding, dilation, groups })?
        }
        "conv3d" if plain => {
            let (stride, padding) = (args.sizes("stride", 1)?, explicit(args)?);
            let dilation = args.sizes("dilation", 1)?;
            x.conv3d(weight, bias, Conv3dOptions { stride, padding, dilation, groups })?
        }
        _ if padding == Some("same") && args.ints("stride")?.is_some_and(|s| s.iter().any(|&s| s != 1)) => {
            return Ok(None);
        }
        "conv1d" => x.conv1d_same(weight, bias, args.sizes::<1>("dilation", 1)?[0], groups)?,
        "conv2d" => x.conv2d_same(weight, bias, args.sizes("dilation", 1)?, groups)?,
        "conv3d" => x.conv3d_same(weight, bias, args.sizes("dilation", 1)?, groups)?,
        "conv_transpose1d" => {
            let [stride] = args.sizes("stride", 1)?;
            let [padding] = args.sizes("padding", 0)?;
            let [output_padding] = args.sizes("output_padding", 0)?;
            let [dilation] = args.sizes("dilation", 1)?;
            let options = ConvTranspose1dOptions { stride, padding, output_padding, dilation, groups };
            x.conv_transpose1d(weight, bias, options)?
        }
        "conv_transpose2d" => {
            let options = ConvTranspose2dOptions {
                stride: args.sizes("stride", 1)?,
                padding: args.sizes("padding", 0)?,
                output_padding: args.sizes("output_padding", 0)?,
                dilation: args.sizes("dilation", 1)?,
                groups,
            };
            x.conv_transpose2d(weight, bias, options)?
        }
        "conv_transpose3d" => {
            let options = ConvTranspose3dOptions {
                stride: args.sizes("stride", 1)?,
                padding: args.sizes("padding", 0)?,
                output_padding: args.sizes("output_padding", 0)?,
                dilation: args.sizes("dilation", 1)?,
                groups,
            };
            x.conv_transpose3d(weight, bias, options)?
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![output]))
}

/// The padding in numbers: none where it is called valid.
fn explicit<const N: usize>(args: &Args) -> Result<[usize; N]> {
    if args.value("padding").is_some_and(|padding| padding.is_string()) {
        return Ok([0; N]);
    }
    args.sizes("padding", 0)
}

fn pooling(op: &str, x: &Tensor, args: &Args) -> Outputs {
    let pair = |(values, indices): (Tensor, Tensor)| Ok(Some(vec![values, indices]));
    let output = match op {
        "max_pool1d" if args.flag("return_indices")? => {
            return pair(x.max_pool1d_with_indices(windows1d(args)?)?);
        }
        "max_pool2d" if args.flag("return_indices")? => {
            return pair(x.max_pool2d_with_indices(windows2d(args)?)?);
        }
        "max_pool1d" => x.max_pool1d(windows1d(args)?)?,
        "max_pool2d" => x.max_pool2d(windows2d(args)?)?,
        "avg_pool1d" => x.avg_pool1d(windows1d(args)?)?,
        "avg_pool2d" => {
            let divisor = args.int("divisor_override")?.map(|divisor| divisor as usize);
            x.avg_pool2d(Pool2dOptions { divisor, ..windows2d(args)? })?
        }
        "max_pool3d" if !args.flag("return_indices")? => x.max_pool3d(windows3d(args)?)?,
        "avg_pool3d" => {
            let divisor = args.int("divisor_override")?.map(|divisor| divisor as usize);
            x.avg_pool3d(Pool3dOptions { divisor, ..windows3d(args)? })?
        }
        "lp_pool1d" | "lp_pool2d" => {
            let Some(norm) = args.number("norm_type")? else { return Ok(None) };
            if op == "lp_pool1d" {
                x.lp_pool1d(norm, windows1d(args)?)?
            } else {
                x.lp_pool2d(norm, windows2d(args)?)?
            }
        }
        "adaptive_avg_pool1d" => x.adaptive_avg_pool1d(targets::<1>(args, x)?[0])?,
        "adaptive_avg_pool2d" => x.adaptive_avg_pool2d(targets(args, x)?)?,
        "adaptive_avg_pool3d" => x.adaptive_avg_pool3d(targets(args, x)?)?,
        "adaptive_max_pool3d" => x.adaptive_max_pool3d(targets(args, x)?)?,
        "adaptive_max_pool1d" => x.adaptive_max_pool1d(targets::<1>(args, x)?[0])?,
        "adaptive_max_pool2d" => x.adaptive_max_pool2d(targets(args, x)?)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![output]))
}

/// The sizes that adaptive pooling is to give; none for one that stays.
fn targets<const N: usize>(args: &Args, x: &Tensor) -> Result<[usize; N]> {
    let Some(list) = args.value("output_size").and_then(|value| value.as_array()) else {
        return args.sizes("output_size", 1);
    };
    let size = |at: usize| list.get(at).unwrap_or(&list[0]).as_u64().map_or(x.dims()[2 + at], |n| n as usize);
    Ok(std::array::from_fn(size))
}

macro_rules! windows {
    ($name:ident, $options:ident) => {
        fn $name(args: &Args) -> Result<$options> {
            let kernel = args.sizes("kernel_size", 1)?;
            let stride = if args.ints("stride")?.is_some() { args.sizes("stride", 1)? } else { kernel };
            Ok($options {
                kernel,
                stride,
                padding: args.sizes("padding", 0)?,
                dilation: args.sizes("dilation", 1)?,
                ceil_mode: args.flag("ceil_mode")?,
                count_include_pad: args.value("count_include_pad").is_none_or(|v| v == true),
                divisor: None,
            })
        }
    };
}

windows!(windows2d, Pool2dOptions);
windows!(windows3d, Pool3dOptions);

fn windows1d(args: &Args) -> Result<Pool1dOptions> {
    let [kernel] = args.sizes("kernel_size", 1)?;
    let [stride] = if args.ints("stride")?.is_some() { args.sizes("stride", 1)? } else { [kernel] };
    Ok(Pool1dOptions {
        kernel,
        stride,
        padding: args.sizes::<1>("padding", 0)?[0],
        dilation: args.sizes::<1>("dilation", 1)?[0],
        ceil_mode: args.flag("ceil_mode")?,
        count_include_pad: args.value("count_include_pad").is_none_or(|v| v == true),
    })
}
