//! Convolutions and pooling.

use super::{Args, Outputs, one};
use kiln::ops::{Conv2dOptions, Pool2dOptions};

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    let images = || Ok::<_, kiln::Error>(x()?.rank() == 4);
    one(match op {
        "conv2d" if images()? => {
            if args.value("padding").is_some_and(|padding| padding.is_string()) {
                return Ok(None);
            }
            let options = Conv2dOptions {
                stride: args.sizes("stride", 1)?,
                padding: args.sizes("padding", 0)?,
                dilation: args.sizes("dilation", 1)?,
                groups: args.sizes::<1>("groups", 1)?[0],
            };
            x()?.conv2d(args.tensor("weight")?, args.maybe("bias"), options)?
        }
        "max_pool2d" if images()? && !args.flag("return_indices")? => x()?.max_pool2d(pooling(args)?)?,
        "avg_pool2d" if images()? => {
            if args.value("divisor_override").is_some() {
                return Ok(None);
            }
            let mut options = pooling(args)?;
            options.count_include_pad = args.value("count_include_pad").is_none_or(|v| v == true);
            x()?.avg_pool2d(options)?
        }
        "adaptive_avg_pool2d" if images()? => x()?.adaptive_avg_pool2d(args.sizes("output_size", 1)?)?,
        _ => return Ok(None),
    })
}

fn pooling(args: &Args) -> kiln::Result<Pool2dOptions> {
    let kernel = args.sizes("kernel_size", 1)?;
    let stride = if args.value("stride").is_some() { args.sizes("stride", 1)? } else { kernel };
    Ok(Pool2dOptions {
        kernel,
        stride,
        padding: args.sizes("padding", 0)?,
        dilation: args.sizes("dilation", 1)?,
        ceil_mode: args.flag("ceil_mode")?,
        ..Pool2dOptions::new(1)
    })
}
