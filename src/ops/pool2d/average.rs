//! The mean of each window. Windows are products of a range of rows and one of columns, so one op
//! does fixed and adaptive pooling, and its transpose.

use super::{LIMIT, Pool2dOptions, SHARE, check_images, resized};
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::parallel;
use crate::vectors::vectorised;
use crate::{Error, Identity, Op, Output, Result, Spec, Tensor, View};
use std::iter::zip;

/// Where the windows are.
#[derive(Clone, Copy, Debug, Hash)]
enum Windows {
    Fixed(Pool2dOptions),
    /// As many as asked for, spread over the image.
    Adaptive,
}

/// Means over the windows of an image of size `input`, or with `spread` the transpose: each window's
/// share given back to its elements.
#[derive(Debug, Hash)]
struct AveragePool {
    windows: Windows,
    input: [usize; 2],
    output: [usize; 2],
    spread: bool,
}

/// Rows or columns `start..end` of the image, and what they count in the mean's divisor.
#[derive(Clone, Copy)]
struct Range {
    start: usize,
    end: usize,
    weight: f32,
}

impl AveragePool {
    /// The rows (`d` 0) or columns (`d` 1) of each window.
    fn ranges(&self, d: usize) -> Vec<Range> {
        let (size, count) = (self.input[d], self.output[d]);
        let range = |o: usize| match self.windows {
            Windows::Adaptive => {
                let (start, end) = (o * size / count, ((o + 1) * size).div_ceil(count));
                Range { start, end, weight: 1.0 / (end - start) as f32 }
            }
            Windows::Fixed(options) => {
                // Places count from the start of the padding.
                let (pad, first) = (options.padding[d], o * options.stride[d]);
                let last = (first + options.kernel[d]).min(size + 2 * pad);
                let (start, end) = (first.saturating_sub(pad), (last - pad).min(size));
                let divisor = match options.divisor {
                    // The height's share is the whole divisor.
                    Some(divisor) if d == 0 => divisor,
                    Some(_) => 1,
                    None if options.count_include_pad => last - first,
                    None => end - start,
                };
                Range { start, end, weight: 1.0 / divisor as f32 }
            }
        };
        (0..count).map(range).collect()
    }
}

impl Op for AveragePool {
    fn name(&self) -> &'static str {
        match (self.windows, self.spread) {
            (Windows::Fixed(_), false) => "avg_pool2d",
            (Windows::Fixed(_), true) => "avg_pool2d_spread",
            (Windows::Adaptive, false) => "adaptive_avg_pool2d",
            (Windows::Adaptive, true) => "adaptive_avg_pool2d_spread",
        }
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        check_images(self.name(), &inputs[0])?;
        let shape = inputs[0].shape();
        let (from, to) = if self.spread { (self.output, self.input) } else { (self.input, self.output) };
        if shape[2..] != from {
            return Err(Error::op(self.name(), format!("shape {shape} where {from:?} were expected")));
        }
        resized(shape, to)
    }

    fn flops(&self, inputs: &[Spec], output: &Spec) -> u64 {
        let window = match self.windows {
            Windows::Fixed(options) => options.kernel.iter().product(),
            Windows::Adaptive => {
                (0..2).map(|d| self.input[d].div_ceil(self.output[d].max(1))).product::<usize>()
            }
        };
        let pooled = if self.spread { inputs[0].elements() } else { output.elements() };
        (pooled as u64).saturating_mul(window as u64)
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let (rows, columns) = (self.ranges(0), self.ranges(1));
        let size = |[height, width]: [usize; 2]| height * width;
        let (image, pooled, width) = (size(self.input), size(self.output), self.input[1]);
        let (from, to) = if self.spread { (pooled, image) } else { (image, pooled) };
        let input = inputs[0].slice::<f32>();
        parallel::chunks(output.slice::<f32>(), to, SHARE.div_ceil(image), |at, out| {
            let from = &input[at * from..][..from];
            // A window's rows are joined first: their loop runs along memory.
            let mut line = vec![0.0f32; width];
            if self.spread {
                out.fill(0.0);
            }
            for (oh, row) in rows.iter().enumerate() {
                let window = oh * columns.len()..(oh + 1) * columns.len();
                let lines = row.start * width..row.end * width;
                line.fill(0.0);
                if self.spread {
                    for (column, share) in zip(&columns, &from[window]) {
                        let share = share * (row.weight * column.weight);
                        line[column.start..column.end].iter_mut().for_each(|sum| *sum += share);
                    }
                    out[lines].chunks_exact_mut(width).for_each(|out| add(out, &line));
                } else {
                    from[lines].chunks_exact(width).for_each(|from| add(&mut line, from));
                    for (column, out) in zip(&columns, &mut out[window]) {
                        let sum: f32 = line[column.start..column.end].iter().sum();
                        *out = sum * (row.weight * column.weight);
                    }
                }
            }
        });
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, _: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let (adaptive, options) = match self.windows {
            Windows::Adaptive => (true, Pool2dOptions::new(1)),
            Windows::Fixed(options) => (false, options),
        };
        // The kernel multiplies these in 32 bits.
        let product =
            |d: usize| self.input[d] as u64 * self.output[d] as u64 + (self.input[d] + self.output[d]) as u64;
        if adaptive && (0..2).any(|d| product(d) > u64::from(u32::MAX)) {
            return None;
        }
        let pairs = [self.input, self.output, options.kernel, options.stride, options.padding];
        let mut params = vec![output.elements() as u32, u32::from(options.count_include_pad)];
        params.extend([options.divisor.unwrap_or(0) as u32, 1]);
        params.extend(pairs.as_flattened().iter().map(|&size| size as u32));
        Some(Plan::one(Kernel {
            shader: Shader::file("pool2d_average", include_str!("../../../shaders/pool2d_average.wgsl")),
            constants: vec![
                ("ADAPTIVE", adaptive.to_string().into()),
                ("SPREAD", self.spread.to_string().into()),
            ],
            bindings: vec![Binding::Input(0), Binding::Output],
            params,
            groups: Kernel::fold(output.elements().div_ceil(256), caps),
        }))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let transpose = AveragePool { spread: !self.spread, ..*self };
        Ok(vec![Some(Tensor::apply(transpose, &[upstream])?)])
    }
}

fn add(sums: &mut [f32], values: &[f32]) {
    vectorised(
        #[inline(always)]
        || zip(sums, values).for_each(|(sum, value)| *sum += value),
    );
}

impl Tensor {
    /// The mean of each window of images `[N, C, H, W]`. An error names the shape where a window does
    /// not fit, and options out of their range (see [`Pool2dOptions`]).
    pub fn avg_pool2d(&self, options: Pool2dOptions) -> Result<Tensor> {
        check_images("avg_pool2d", self.spec())?;
        if options.dilation != [1, 1] {
            return Err(Error::op("avg_pool2d", format!("has no dilation, not {:?}", options.dilation)));
        }
        if options.divisor.is_some_and(|divisor| !(1..=LIMIT).contains(&divisor)) {
            let message = format!("divisor {:?} is not from 1 to {LIMIT}", options.divisor);
            return Err(Error::op("avg_pool2d", message));
        }
        let output = options.sizes("avg_pool2d", self.shape())?;
        let windows = Windows::Fixed(options);
        let input = [self.dims()[2], self.dims()[3]];
        Tensor::apply(AveragePool { windows, input, output, spread: false }, &[self])
    }

    /// Means over as many windows as it takes to get images of this height and width from images
    /// `[N, C, H, W]`: window `i` of `n` covers rows `floor(i * H / n)` to `ceil((i + 1) * H / n)`. An
    /// error for images without elements, or where no windows are asked for.
    pub fn adaptive_avg_pool2d(&self, output: [usize; 2]) -> Result<Tensor> {
        const NAME: &str = "adaptive_avg_pool2d";
        check_images(NAME, self.spec())?;
        let input = [self.dims()[2], self.dims()[3]];
        if input.contains(&0) || output.iter().any(|count| !(1..=LIMIT).contains(count)) {
            let message = format!("there are no means of {input:?} elements in {output:?} windows");
            return Err(Error::op(NAME, message));
        }
        if output == [1, 1] {
            return self.mean([2, 3], true);
        }
        Tensor::apply(AveragePool { windows: Windows::Adaptive, input, output, spread: false }, &[self])
    }

    /// The `p`-norm of each window of images `[N, C, H, W]`, PyTorch's `lp_pool2d`: the `p`-th root of
    /// the sum of `x^p`, NaN where there is no such root (a negative sum and a `p` other than 1).
    /// Padding, dilation and the choices for a mean's divisor have no meaning here and are an error;
    /// so is a `p` that is not above 0.
    pub fn lp_pool2d(&self, p: f64, options: Pool2dOptions) -> Result<Tensor> {
        const NAME: &str = "lp_pool2d";
        let Pool2dOptions { kernel, stride, ceil_mode, .. } = options;
        let plain = Pool2dOptions { kernel, stride, ceil_mode, ..Pool2dOptions::new(1) };
        if options != plain || p.is_nan() || p <= 0.0 {
            return Err(Error::op(NAME, format!("is not defined for p = {p} and {options:?}")));
        }
        let powers = if p == 2.0 { self.square()? } else { self.pow(p)? };
        let sums = powers.avg_pool2d(plain)?.mul((kernel[0] * kernel[1]) as f64)?;
        if p == 2.0 { sums.sqrt() } else { sums.pow(1.0 / p) }
    }
}
