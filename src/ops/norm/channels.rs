//! What a norm takes of each channel, in one pass over memory: the mean and the variance, and the sums of its
//! gradient.

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::ops::reduce::{INVOCATIONS, sum};
use crate::parallel;
use crate::vectors::vectorised;
use crate::{Error, Identity, Layout, Op, Output, Result, Shape, Spec, Tensor, View};

/// Elements that the CPU takes at a time; they stay in the first-level cache.
const CHUNK: usize = 1024;
/// Elements of a channel that one thread takes.
const PART: usize = 64 * CHUNK;

/// A tensor as `[outer, channels, length]`.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Channels {
    pub outer: usize,
    pub channels: usize,
    pub length: usize,
}

impl Channels {
    /// Elements of a channel.
    pub fn count(self) -> usize {
        self.outer * self.length
    }

    /// Joins what `work` makes of the elements of each channel, which it is given in slices of a chunk at
    /// most: those of each tensor, the channel's number and how many came before. The order depends on the
    /// sizes alone.
    fn fold<T: Send, const N: usize>(
        self,
        tensors: [&[f32]; N],
        work: impl Fn([&[f32]; N], usize, usize) -> T + Sync,
        join: impl Fn(T, T) -> T + Sync,
    ) -> Vec<Option<T>> {
        let Channels { channels, length, .. } = self;
        let part = |gathered: &mut [[f32; CHUNK]; N], channel: usize, mut at: usize, end: usize| {
            let mut total = None;
            while at < end {
                let n = CHUNK.min(end - at);
                let start = |at: usize| (at / length * channels + channel) * length + at % length;
                let chunk = if at % length + n <= length {
                    tensors.map(|tensor| &tensor[start(at)..][..n])
                } else {
                    let mut done = 0;
                    while done < n {
                        let (from, run) = (start(at + done), (length - (at + done) % length).min(n - done));
                        for (gathered, tensor) in gathered.iter_mut().zip(tensors) {
                            gathered[done..done + run].copy_from_slice(&tensor[from..from + run]);
                        }
                        done += run;
                    }
                    gathered.each_ref().map(|gathered| &gathered[..n])
                };
                let found = work(chunk, channel, at);
                total = Some(match total {
                    Some(total) => join(total, found),
                    None => found,
                });
                at += n;
            }
            total
        };
        let parts = self.count().div_ceil(PART).max(1);
        let share = (CHUNK * 8 / self.count().clamp(1, PART)).max(1);
        let mut found: Vec<Option<T>> = Vec::new();
        found.resize_with(channels * parts, || None);
        parallel::chunks(&mut found, share, 1, |piece, found| {
            let mut gathered = [[0.0; CHUNK]; N];
            for (at, found) in (piece * share..).zip(found) {
                let start = at % parts * PART;
                *found = part(&mut gathered, at / parts, start, self.count().min(start + PART));
            }
        });
        found.chunks_mut(parts).map(|parts| parts.iter_mut().filter_map(Option::take).reduce(&join)).collect()
    }

    /// Elements that the GPU kernel reads at once, and invocations that share a channel.
    fn reading(self) -> (usize, usize) {
        let width = if self.length.is_multiple_of(4) { 4 } else { 1 };
        // A few words for each along the length; few enough across channels that these fill cache lines.
        let lanes =
            if self.by_columns(width) { 8 } else { (self.count() / width / 4).next_power_of_two().min(256) };
        (width, lanes)
    }

    /// Whether lengths are so short that invocations side by side rather read neighbouring channels.
    fn by_columns(self, width: usize) -> bool {
        self.length / width < 8
    }

    fn gpu(self, sums: Option<Sums>, caps: &Caps) -> Plan {
        // The kernel reads what is there for the gradient alone, and the weight where there is one.
        let [x, upstream, moments, weight] = match sums {
            None => [0; 4],
            Some(Sums { of: Of::Weighted, .. }) => [1, 0, 2, 3],
            Some(_) => [1, 0, 2, 1],
        }
        .map(Binding::Input);
        let (width, lanes) = self.reading();
        // A part for so many words of each invocation, until there are invocations enough.
        let most = self.count() / (16 * lanes * width);
        let parts = (INVOCATIONS / (self.channels * lanes).max(1)).min(most);
        if parts < 2 {
            return Plan::one(self.kernel(sums, 1, [x, upstream, moments, weight, Binding::Output], caps));
        }
        // A partial result is a vector.
        let joined = Channels { outer: parts, length: 4, ..self };
        Plan {
            kernels: vec![
                self.kernel(sums, parts, [x, upstream, moments, weight, Binding::Scratch(0)], caps),
                joined.kernel(
                    sums,
                    1,
                    [Binding::Written(0), upstream, moments, weight, Binding::Output],
                    caps,
                ),
            ],
            scratch: vec![parts * self.channels * 16],
            ..Plan::default()
        }
    }

    /// A dispatch with each channel in so many parts.
    fn kernel(self, sums: Option<Sums>, parts: usize, bindings: [Binding; 5], caps: &Caps) -> Kernel {
        let (width, lanes) = self.reading();
        let (length, count) = (self.length / width, self.count() / width);
        let (join, partial) = (bindings[0] == Binding::Written(0), bindings[4] == Binding::Scratch(0));
        let subgroups = !self.by_columns(width) && caps.subgroups_within(lanes);
        let steps = [lanes / length.max(1), lanes % length.max(1)];
        let sizes = [self.channels, length, count, count.div_ceil(parts), parts, steps[0], steps[1]];
        let (weighted, across, eps) = match sums.map(|sums| sums.of) {
            Some(Of::Weighted) => (true, false, 0.0),
            Some(Of::Across { eps }) => (false, true, f32::from_bits(eps)),
            _ => (false, false, 0.0),
        };
        Kernel {
            shader: Shader::file("channels", include_str!("../../../shaders/channels.wgsl")),
            constants: vec![
                ("Word", if width == 4 { "vec4<f32>" } else { "f32" }.into()),
                ("WIDTH", format!("{width}u").into()),
                ("LANES", format!("{lanes}u").into()),
                ("SUBGROUPS", subgroups.to_string().into()),
                ("COLUMNS", self.by_columns(width).to_string().into()),
                ("SUMS", sums.is_some().to_string().into()),
                ("WEIGHTED", weighted.to_string().into()),
                ("ACROSS", across.to_string().into()),
                ("PARTIAL", partial.to_string().into()),
                ("JOIN", join.to_string().into()),
            ],
            bindings: bindings.to_vec(),
            params: sizes.iter().map(|&size| size as u32).chain([eps.to_bits()]).collect(),
            groups: Kernel::fold((self.channels * parts).div_ceil(256 / lanes), caps),
        }
    }
}

/// The mean and the biased variance of each channel: `[2, channels]`.
#[derive(Clone, Debug, Hash)]
pub(super) struct Moments {
    pub channels: Channels,
    /// The shape of a value for each channel that broadcasts to the input's.
    pub kept: Vec<usize>,
}

impl Op for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        pair(inputs[0], self.channels)
    }

    fn flops(&self, inputs: &[Spec], _: &Spec) -> u64 {
        4 * inputs[0].elements() as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        // Count, mean and sum of the squared distances from it, joined as in the shader.
        let found = self.channels.fold(
            [inputs[0].slice()],
            |[values], _, _| {
                let count = values.len() as f64;
                let mean = f64::from(sum(values)) / count;
                (count, mean, f64::from(squares(values, mean as f32)))
            },
            |a, b| {
                let count = a.0 + b.0;
                let (share, distance) = (b.0 / count, b.1 - a.1);
                (count, a.1 + distance * share, a.2 + b.2 + distance * distance * a.0 * share)
            },
        );
        write_pair(
            output,
            found
                .into_iter()
                .map(|found| found.map_or([0.0; 2], |(count, mean, squares)| [mean, squares / count])),
        );
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, _: &[Spec], _: &Spec, caps: &Caps) -> Option<Plan> {
        Some(self.channels.gpu(None, caps))
    }

    fn gradient(&self, inputs: &[Tensor], output: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [mean, _] = halves(output, &self.kept)?;
        let [of_mean, of_variance] = halves(upstream, &self.kept)?;
        let slope = inputs[0].sub(&mean)?.mul(&of_variance.mul(2.0)?)?;
        Ok(vec![Some(slope.add(&of_mean)?.mul(1.0 / self.channels.count() as f64)?)])
    }
}

/// Two sums over each channel, `[2, channels]`, of upstream, x and moments: what the gradient of a norm needs.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Sums {
    pub channels: Channels,
    pub of: Of,
}

/// What is summed.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Of {
    /// `upstream` and `upstream * (x - mean)`, by each channel's moments.
    Upstream,
    /// The same of `upstream * weight`, a further input of a weight for each element of a channel.
    Weighted,
    /// `upstream` and `upstream * (x - mean) / sqrt(variance + eps)`, by moments of what lies across the
    /// channels, `[2, outer]`; lengths are 1.
    Across {
        /// The bits of an f32.
        eps: u32,
    },
}

impl Sums {
    /// Those by moments across the channels: rows are taken in order, a part of them by each thread.
    fn across(self, eps: f32, [upstream, x, moments]: [&[f32]; 3]) -> Vec<[f64; 2]> {
        const ROWS: usize = 64;
        let Channels { outer, channels, .. } = self.channels;
        let mut parts = vec![0.0; outer.div_ceil(ROWS) * 2 * channels];
        parallel::chunks(&mut parts, (2 * channels).max(1), 1, |part, sums| {
            let (first, second) = sums.split_at_mut(channels);
            for row in part * ROWS..outer.min((part + 1) * ROWS) {
                let (mean, scale) = (moments[row], 1.0 / (moments[outer + row] + eps).sqrt());
                let [upstream, x] = [upstream, x].map(|tensor| &tensor[row * channels..][..channels]);
                vectorised(
                    #[inline(always)]
                    || {
                        let sums = first.iter_mut().zip(second.iter_mut());
                        for ((first, second), (&upstream, &x)) in sums.zip(upstream.iter().zip(x)) {
                            *first += upstream;
                            *second += upstream * ((x - mean) * scale);
                        }
                    },
                );
            }
        });
        let total =
            |place: usize| parts.iter().skip(place).step_by(2 * channels).map(|&sum| f64::from(sum)).sum();
        (0..channels).map(|channel| [total(channel), total(channels + channel)]).collect()
    }
}

impl Op for Sums {
    fn name(&self) -> &'static str {
        "norm_sums"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        pair(inputs[0], self.channels)
    }

    fn flops(&self, inputs: &[Spec], _: &Spec) -> u64 {
        4 * inputs[0].elements() as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let [upstream, x, means] = [0, 1, 2].map(|input: usize| inputs[input].slice::<f32>());
        let sums = |upstream: &[f32], x: &[f32], channel: usize| {
            [sum(upstream), weighted(upstream, x, means[channel])].map(f64::from)
        };
        let join = |a: [f64; 2], b: [f64; 2]| [a[0] + b[0], a[1] + b[1]];
        let found = match self.of {
            Of::Upstream => self.channels.fold(
                [upstream, x],
                |[upstream, x], channel, _| sums(upstream, x, channel),
                join,
            ),
            Of::Weighted => {
                let weight: &[f32] = inputs[3].slice();
                let product = |[upstream, x]: [&[f32]; 2], channel, at: usize| {
                    let mut products = [0.0; CHUNK];
                    let factors = upstream.iter().zip(&weight[at..]);
                    products
                        .iter_mut()
                        .zip(factors)
                        .for_each(|(product, (&upstream, &weight))| *product = upstream * weight);
                    sums(&products[..upstream.len()], x, channel)
                };
                self.channels.fold([upstream, x], product, join)
            }
            Of::Across { eps } => {
                write_pair(output, self.across(f32::from_bits(eps), [upstream, x, means]).into_iter());
                return Ok(());
            }
        };
        write_pair(output, found.into_iter().map(Option::unwrap_or_default));
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, _: &[Spec], _: &Spec, caps: &Caps) -> Option<Plan> {
        Some(self.channels.gpu(Some(*self), caps))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(Error::op(self.name(), "is the gradient of a norm, which is differentiated by its formula"))
    }
}

/// The sum of `f(a, b)` over two slices of one length, in 32 lanes as [`sum`]'s.
#[inline(always)]
fn folded(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 32];
    let (a, b) = (a.chunks_exact(32), b.chunks_exact(32));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(&a, &b)| f(a, b)).sum();
    for (a, b) in a.zip(b) {
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f(a, b);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The sum of the squared distances from `mean`.
fn squares(values: &[f32], mean: f32) -> f32 {
    vectorised(
        #[inline(always)]
        || folded(values, values, |a, _| (a - mean) * (a - mean)),
    )
}

/// The sum of `upstream * (x - mean)`.
fn weighted(upstream: &[f32], x: &[f32], mean: f32) -> f32 {
    vectorised(
        #[inline(always)]
        || folded(upstream, x, |upstream, x| upstream * (x - mean)),
    )
}

fn pair(input: Spec, channels: Channels) -> Result<Spec> {
    Ok(Spec::new(input.dtype, Shape::new(&[2, channels.channels])?))
}

fn write_pair(output: &mut Output, pairs: impl Iterator<Item = [f64; 2]>) {
    let output: &mut [f32] = output.slice();
    let (first, second) = output.split_at_mut(output.len() / 2);
    for ((first, second), pair) in first.iter_mut().zip(second).zip(pairs) {
        [*first, *second] = pair.map(|value| value as f32);
    }
}

/// The two rows of a contiguous `[2, channels]`, each in the shape `kept`.
pub(super) fn halves(pair: &Tensor, kept: &[usize]) -> Result<[Tensor; 2]> {
    let kept = Shape::new(kept)?;
    Ok([Tensor::apply(Half { at: 0, kept }, &[pair])?, Tensor::apply(Half { at: 1, kept }, &[pair])?])
}

/// One of two rows in another shape: a view.
#[derive(Debug)]
struct Half {
    at: usize,
    kept: Shape,
}

impl Op for Half {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        Ok(Spec::new(inputs[0].dtype, self.kept))
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        input.slice(0, self.at, 1, 1).reshape(self.kept)
    }

    fn gradient(&self, inputs: &[Tensor], _: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let row = upstream.reshape([1, inputs[0].dims()[1]])?;
        Ok(vec![Some(row.pad_axis(0, self.at, 1 - self.at, 0, 0.0)?)])
    }
}
