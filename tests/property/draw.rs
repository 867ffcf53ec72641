//! Ops, shapes, views and arguments drawn from bytes: random ones in the property tests, the fuzzer's in `fuzz`.

use kiln::nn::loss;
use kiln::ops::*;
use kiln::{DType, Engine, Result, Tensor};

/// Bytes that decide everything; zeros once they are used up.
pub struct Source<'a>(pub &'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// A size that fits, but once in a while one that cannot.
    fn size(&mut self, n: usize) -> usize {
        match self.byte() {
            255 => usize::MAX,
            254 => 1 << 33,
            253 => 70_000,
            byte => usize::from(byte) % n,
        }
    }

    fn sizes<const N: usize>(&mut self, n: usize) -> [usize; N] {
        std::array::from_fn(|_| self.size(n))
    }

    /// A dimension of this many, or one beyond them; negative ones too.
    fn dim(&mut self, rank: usize) -> isize {
        let dim = match self.byte() {
            byte @ 240.. => usize::from(byte) - 240,
            byte => usize::from(byte) % rank.max(1),
        };
        if self.flag() { dim as isize - rank as isize } else { dim as isize }
    }

    fn dims(&mut self, rank: usize) -> Vec<isize> {
        (0..self.below(3)).map(|_| self.dim(rank)).collect()
    }

    fn number(&mut self) -> f64 {
        const NUMBERS: [f64; 12] =
            [0.0, 1.0, -1.0, 0.5, 2.0, 3.0, -0.25, 1e-3, 100.0, f64::NAN, f64::INFINITY, -1e30];
        NUMBERS[self.below(NUMBERS.len())]
    }

    fn shape(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| [1, 2, 3, 4, 5, 7, 0, 9][self.below(8)]).collect()
    }

    /// A tensor of this rank, through a chain of views.
    pub fn tensor(&mut self, rank: usize, dtype: DType, engine: &Engine) -> Result<Tensor> {
        let shape = self.shape(rank);
        self.filled(&shape, dtype, engine)
    }

    /// A tensor of whole and half numbers, of this shape before its views.
    fn filled(&mut self, shape: &[usize], dtype: DType, engine: &Engine) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        let seed = self.below(251);
        let values: Vec<f32> = (0..count).map(|i| ((i * 37 + seed) % 41) as f32 / 4.0 - 5.0).collect();
        let x = Tensor::from_vec(values, shape, engine)?;
        self.viewed(if dtype == DType::F32 { x } else { x.cast(dtype)? })
    }

    /// Up to three views, those that do not fit left out.
    fn viewed(&mut self, mut x: Tensor) -> Result<Tensor> {
        for _ in 0..self.below(4) {
            let rank = x.rank();
            let dim = self.dim(rank);
            let next = match self.below(8) {
                0 => x.transpose(dim, self.dim(rank)),
                1 => x.flip(dim),
                2 => x.slice(dim, self.below(3), self.below(6), 1 + self.below(3)),
                3 => x.narrow(dim, self.below(2), self.below(5)),
                4 => x.select(dim, self.below(3)).and_then(|part| part.unsqueeze(dim)),
                5 => x.narrow(dim, 0, 1).and_then(|one| one.broadcast_to(x.shape())),
                6 => x.permute(&(0..rank as isize).rev().collect::<Vec<_>>()),
                _ => x.unsqueeze(dim).and_then(|x| x.transpose(dim, 0)).and_then(|x| x.squeeze(0)),
            };
            x = next.unwrap_or(x);
        }
        Ok(x)
    }

    /// Places from 0 on, in a tensor of this shape.
    fn index(&mut self, shape: &[usize], below: usize, engine: &Engine) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        let step = 1 + self.below(7);
        // Now and then one that is out of range.
        let limit = if self.byte() == 255 { below + 1 } else { below.max(1) };
        let values: Vec<i32> = (0..count).map(|i| (i * step % limit) as i32).collect();
        self.viewed(Tensor::from_vec(values, shape, engine)?)
    }
}

/// How many ops [`apply`] knows.
pub const OPS: usize = 60;

/// The ranks that an op is best given, drawn from these.
pub fn rank(op: usize, source: &mut Source) -> usize {
    match op % OPS {
        34 | 35 | 41..=44 | 48 => 4,
        36 | 38 | 45 => 3,
        37 | 39 | 46 => 5,
        50 | 51 => 2,
        _ => source.below(5),
    }
}

/// One op on `x` and on others that it needs, with drawn arguments. An error where they do not fit.
pub fn apply(op: usize, x: &Tensor, source: &mut Source) -> Result<Tensor> {
    let engine = x.engine();
    let rank = x.rank();
    let other = |source: &mut Source, rank| source.tensor(rank, DType::F32, engine);
    match op % OPS {
        0 => unary(x, source),
        1 => x.add(&other(source, source_rank(rank))?),
        2 => x.mul(&x.t().unwrap_or_else(|_| x.clone())),
        3 => x.div(&other(source, rank.min(1))?),
        4 => x.pow(source.number()),
        5 => x.atan2(&other(source, rank)?)?.fmod(source.number()),
        6 => x.gt(source.number())?.where_(x, source.number()),
        7 => x.clamp(source.number(), source.number()),
        8 => x.sum(&source.dims(rank)[..], source.flag()),
        9 => x.mean(&source.dims(rank)[..], source.flag()),
        10 => x.max(&source.dims(rank)[..], source.flag()),
        11 => x.var(&source.dims(rank)[..], source.below(3), source.flag()),
        12 => x.norm(
            [0.0, 1.0, 2.0, 3.0, f64::INFINITY][source.below(5)],
            &source.dims(rank)[..],
            source.flag(),
        ),
        13 => x.logsumexp(&source.dims(rank)[..], source.flag()),
        14 => x.argmax(source.dim(rank), source.flag()),
        15 => x.cumsum(source.dim(rank)),
        16 => x.cumprod(source.dim(rank)),
        17 => x.prod(source.dim(rank), source.flag()),
        18 => Ok(x.sort(source.dim(rank), source.flag())?.0),
        19 => Ok(x.topk(source.size(4), source.dim(rank), source.flag())?.1),
        20 => x.softmax(source.dim(rank)),
        21 => x.log_softmax(source.dim(rank)),
        22 => {
            let shape: Vec<usize> = (0..source.below(4)).map(|_| source.size(9)).collect();
            x.reshape(shape)
        }
        23 => x.roll(&[source.below(9) as isize - 4], &[source.dim(rank)]),
        24 => x.repeat(&source.shape(source_rank(rank))),
        25 => x.pad_with(&padding(rank, source), mode(source)),
        26 => Tensor::concat(&[x, &other(source, rank)?, x], source.dim(rank)),
        27 => Tensor::stack(&[x, x], source.dim(rank + 1)),
        28 => x.tril(source.below(9) as isize - 4),
        29 => x.chunk(source.size(4), source.dim(rank))?.pop().map_or_else(|| Ok(x.clone()), Ok),
        30 => x.matmul(&other(source, source_rank(rank))?),
        31 => x.linear(&other(source, 2)?, None),
        32 => Tensor::einsum(
            ["ij,jk->ik", "...i,...i->...", "ii->i", "ij->ji", "i,j", "abc,cd->abd", "->", "iij,j->i"]
                [source.below(8)],
            &[x, &other(source, source_rank(rank))?][..1 + source.below(2)],
        ),
        33 => x.outer(&other(source, 1)?),
        34 => {
            let options = Conv2dOptions {
                stride: source.sizes(4),
                padding: source.sizes(3),
                dilation: source.sizes(3),
                groups: 1 + source.below(2),
            };
            x.conv2d(&weight(x, 4, options.groups, source)?, None, options)
        }
        35 => {
            let options = ConvTranspose2dOptions {
                stride: source.sizes(4),
                padding: source.sizes(3),
                output_padding: source.sizes(2),
                dilation: source.sizes(3),
                groups: 1,
            };
            x.conv_transpose2d(&weight(x, 4, 1, source)?.transpose(0, 1)?, None, options)
        }
        36 => {
            let [stride, padding, dilation] = source.sizes(3);
            x.conv1d(&weight(x, 3, 1, source)?, None, Conv1dOptions { stride, padding, dilation, groups: 1 })
        }
        37 => {
            let (stride, padding, dilation) = (source.sizes(3), source.sizes(2), source.sizes(3));
            x.conv3d(&weight(x, 5, 1, source)?, None, Conv3dOptions { stride, padding, dilation, groups: 1 })
        }
        38 => {
            let options = Pool1dOptions { padding: source.size(2), ..Pool1dOptions::new(source.size(4)) };
            x.max_pool1d(options)
        }
        39 => {
            x.avg_pool3d(Pool3dOptions { stride: source.sizes(3), ..Pool3dOptions::new(1 + source.below(3)) })
        }
        40 => x.glu(source.dim(rank)),
        41 => x.max_pool2d(windows(source)),
        42 => x.avg_pool2d(Pool2dOptions { dilation: [1, 1], ..windows(source) }),
        43 => x.adaptive_avg_pool2d(source.sizes(6)),
        44 => x.adaptive_max_pool2d(source.sizes(6)),
        45..=46 | 48 => {
            let size: Vec<usize> = (2..rank).map(|_| source.size(9)).collect();
            x.interpolate(&size, interpolation(source))
        }
        47 => x.layer_norm(&x.dims()[rank.saturating_sub(1 + source.below(2))..], None, None, 1e-5),
        49 => x.group_norm(1 + source.below(3), None, None, 1e-5),
        50 => {
            let classes = x.dims().get(1).copied().unwrap_or(1);
            loss::cross_entropy(x, &source.index(&x.dims()[..rank.min(1)], classes, engine)?)
        }
        51 => x.addmm(x, &other(source, 2)?, source.number(), source.number()),
        52 => {
            let (dim, mut shape) = (source.below(rank.max(1)), x.dims().to_vec());
            let Some(size) = shape.get_mut(dim) else { return x.gather(0, &source.index(&[], 1, engine)?) };
            let below = std::mem::replace(size, source.below(6));
            x.gather(dim as isize, &source.index(&shape, below, engine)?)
        }
        53 => {
            let (dim, mut shape) = (source.below(rank.max(1)), x.dims().to_vec());
            let Some(size) = shape.get_mut(dim) else {
                return x.index_select(0, &source.index(&[2], 1, engine)?);
            };
            let below = std::mem::replace(size, source.below(6));
            let index = source.index(&shape, below, engine)?;
            let values = source.filled(&shape, DType::F32, engine)?;
            if source.flag() {
                x.scatter_add(dim as isize, &index, &values)
            } else {
                x.scatter(dim as isize, &index, &values)
            }
        }
        54 => x.embedding(&source.index(&[3, 2], x.dims().first().copied().unwrap_or(0), engine)?, None),
        55 => x.unfold(unfolding(source)),
        56 => x.fold(source.sizes(7), unfolding(source)),
        57 => x.pixel_shuffle(source.size(4)),
        58 => x.scaled_dot_product_attention(
            x,
            x,
            AttentionOptions { is_causal: source.flag(), ..Default::default() },
        ),
        _ => x.expand(&[source.below(4) as isize, -1, source.below(5) as isize - 1]),
    }
}

fn source_rank(rank: usize) -> usize {
    rank.clamp(1, 3)
}

fn unary(x: &Tensor, source: &mut Source) -> Result<Tensor> {
    const OPS: [fn(&Tensor) -> Result<Tensor>; 24] = [
        Tensor::neg,
        Tensor::abs,
        Tensor::exp,
        Tensor::log,
        Tensor::sqrt,
        Tensor::sin,
        Tensor::cos,
        Tensor::tan,
        Tensor::tanh,
        Tensor::erf,
        Tensor::floor,
        Tensor::round,
        Tensor::relu,
        Tensor::sigmoid,
        Tensor::gelu,
        Tensor::silu,
        Tensor::mish,
        Tensor::hardswish,
        Tensor::log1p,
        Tensor::expm1,
        Tensor::asinh,
        Tensor::atanh,
        Tensor::logsigmoid,
        Tensor::frac,
    ];
    OPS[source.below(OPS.len())](x)
}

/// A weight that fits the channels of `x`, most of the time.
fn weight(x: &Tensor, rank: usize, groups: usize, source: &mut Source) -> Result<Tensor> {
    let channels = x.dims().get(1).copied().unwrap_or(1) / groups + usize::from(source.below(32) == 31);
    let mut shape = vec![groups * (1 + source.below(3)), channels];
    shape.extend((2..rank).map(|_| source.below(4)));
    source.filled(&shape, DType::F32, x.engine())
}

fn windows(source: &mut Source) -> Pool2dOptions {
    Pool2dOptions {
        kernel: source.sizes(4),
        stride: source.sizes(4),
        padding: source.sizes(2),
        dilation: source.sizes(3),
        ceil_mode: source.flag(),
        count_include_pad: source.flag(),
        divisor: source.flag().then_some(source.below(3)),
    }
}

fn unfolding(source: &mut Source) -> UnfoldOptions {
    UnfoldOptions {
        kernel: source.sizes(4),
        stride: source.sizes(4),
        padding: source.sizes(3),
        dilation: source.sizes(3),
    }
}

fn padding(rank: usize, source: &mut Source) -> Vec<(isize, isize)> {
    let mut side = || match source.byte() {
        255 => isize::MAX,
        254 => isize::MIN,
        byte => isize::from(byte % 7) - 2,
    };
    (0..rank).map(|_| (side(), side())).collect()
}

fn mode(source: &mut Source) -> PadMode {
    [PadMode::Constant(1.5), PadMode::Reflect, PadMode::Replicate, PadMode::Circular][source.below(4)]
}

fn interpolation(source: &mut Source) -> Interpolation {
    let align_corners = source.flag();
    [
        Interpolation::Nearest,
        Interpolation::NearestExact,
        Interpolation::Linear { align_corners },
        Interpolation::Cubic { align_corners },
        Interpolation::Area,
    ][source.below(5)]
}
