//! Random tensors from a counter-based generator: every element is a function of the seed and its
//! place alone, so results do not depend on threads, devices or the order of execution.

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::parallel;
use crate::vectors::vectorised;
use crate::{DType, Engine, Error, Identity, IntoShape, Op, Output, Result, Shape, Spec, Tensor, View};
use std::hash::{Hash, Hasher};
use std::iter::zip;

/// Blocks of four words that are made together.
const LANES: usize = 16;
/// Elements a thread should have at least; a multiple of what is made together.
const SHARE: usize = 4 * 1024;

/// Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
/// (SC 2011): four random words from a counter and a key.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    philox(counter.map(|word| [word]), key).map(|[word]| word)
}

/// Philox4x32-10 for several counters at once, one a lane of a vector.
#[inline(always)]
fn philox<const N: usize>(mut counter: [[u32; N]; 4], mut key: [u32; 2]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        let [a, b, c, d] = &mut counter;
        for ((a, b), (c, d)) in zip(zip(a, b), zip(c, d)) {
            let first = u64::from(*a) * 0xd251_1f53;
            let second = u64::from(*c) * 0xcd9e_8d57;
            *a = (second >> 32) as u32 ^ *b ^ key[0];
            *b = second as u32;
            *c = (first >> 32) as u32 ^ *d ^ key[1];
            *d = first as u32;
        }
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// What the words are made into.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Uniform,
    Normal,
    /// True with this probability.
    Bernoulli(f32),
}

impl Kind {
    /// The last word of the counter, and the GPU kernel's number for the kind. Kinds draw apart, so that a dropout and an initialisation that
    /// happen to share a seed are not correlated.
    fn stream(self) -> u32 {
        match self {
            Kind::Uniform => 0,
            Kind::Normal => 1,
            Kind::Bernoulli(_) => 2,
        }
    }
}

/// The last word of the counter of a permutation's draws.
const PERMUTATION: u32 = 3;

#[derive(Debug)]
struct Random {
    kind: Kind,
    shape: Shape,
    seed: u64,
}

impl Random {
    fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    /// Fills `out`, each four elements with `convert` of a block's words.
    fn fill<T: crate::Word>(&self, out: &mut [T], convert: impl Fn([u32; 4]) -> [T; 4] + Sync) {
        parallel::chunks(out, SHARE, 1, |share, out| {
            vectorised(
                #[inline(always)]
                || {
                    for (group, out) in out.chunks_mut(4 * LANES).enumerate() {
                        let first = (share * (SHARE / 4) + group * LANES) as u32;
                        let counters = std::array::from_fn(|i| first + i as u32);
                        let words = philox(
                            [counters, [0; LANES], [0; LANES], [self.kind.stream(); LANES]],
                            self.key(),
                        );
                        let mut values = [[T::zeroed(); 4]; LANES];
                        for (i, values) in values.iter_mut().enumerate() {
                            *values = convert([words[0][i], words[1][i], words[2][i], words[3][i]]);
                        }
                        out.copy_from_slice(&values.as_flattened()[..out.len()]);
                    }
                },
            );
        });
    }
}

impl Hash for Random {
    /// By what is compiled: the seed and the probability are numbers.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.stream().hash(state);
    }
}

impl Op for Random {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Uniform => "rand",
            Kind::Normal => "randn",
            Kind::Bernoulli(_) => "bernoulli",
        }
    }

    fn output(&self, _: &[Spec]) -> Result<Spec> {
        let dtype = if matches!(self.kind, Kind::Bernoulli(_)) { DType::Bool } else { DType::F32 };
        Ok(Spec::new(dtype, self.shape))
    }

    fn flops(&self, _: &[Spec], output: &Spec) -> u64 {
        32 * output.elements() as u64
    }

    fn cpu(&self, _: &[View], output: &mut Output) -> Result<()> {
        match self.kind {
            Kind::Uniform => self.fill(output.slice(), |words| words.map(uniform)),
            Kind::Bernoulli(p) => self.fill(output.slice(), |words| words.map(|w| u32::from(uniform(w) < p))),
            Kind::Normal => self.fill(output.slice(), |[a, b, c, d]| {
                let ([w, x], [y, z]) = (normals(a, b), normals(c, d));
                [w, x, y, z]
            }),
        }
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn numbers(&self) -> Vec<u32> {
        let p = if let Kind::Bernoulli(p) = self.kind { p } else { 0.0 };
        let [low, high] = self.key();
        vec![low, high, p.to_bits()]
    }

    fn gpu(&self, _: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        if !caps.reads_vectors(output.bytes()) {
            return None;
        }
        let (vectors, stream) = (output.elements().div_ceil(4), self.kind.stream());
        let mut params = self.numbers();
        let numbers = params.len();
        params.extend([vectors as u32, stream]);
        let kernel = Kernel {
            shader: Shader::file("random", include_str!("../../shaders/random.wgsl")),
            constants: vec![("KIND", format!("{stream}u").into())],
            bindings: vec![Binding::Output],
            params,
            groups: Kernel::fold(vectors.div_ceil(256), caps),
        };
        Some(Plan::numbered(kernel, numbers))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(Vec::new())
    }
}

/// The upper 24 bits as a number in `[0, 1)`: as many as an `f32` holds, so that 1 is never reached
/// by rounding.
#[inline(always)]
fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Two independent standard normals (Box and Muller 1958).
///
/// Logarithm, sine and cosine are written out (with the polynomials of Cephes) rather than called: WGSL's
/// own are only bound to an absolute error of 2^-11, and here both devices must agree.
#[inline(always)]
fn normals(first: u32, second: u32) -> [f32; 2] {
    // In (0, 1]: the logarithm of 0 is never asked for.
    let radius = (-2.0 * log_of_24_bits((first >> 8) + 1)).sqrt();
    // The angle in 2^-24 turns, from the nearest quarter turn.
    let angle = second >> 8;
    let quarter = (angle + (1 << 21)) >> 22;
    let x = (angle as i32 - (quarter << 22) as i32) as f32 * (std::f32::consts::TAU / 16_777_216.0);
    let z = x * x;
    let sin = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1) * z * x + x;
    let cos = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    let (cos, sin) = if quarter & 1 == 1 { (-sin, cos) } else { (cos, sin) };
    let radius = if quarter & 2 == 2 { -radius } else { radius };
    [radius * cos, radius * sin]
}

/// The natural logarithm of `k * 2^-24`, for `k` from 1 to `2^24`.
#[inline(always)]
fn log_of_24_bits(k: u32) -> f32 {
    // k * 2^-24 is (1 + f) * 2^e with 1 + f from sqrt(1/2) to sqrt(2).
    let bits = (k as f32).to_bits() + (0x3f80_0000 - 0x3f35_04f3);
    let e = (bits >> 23) as i32 as f32 - (127.0 + 24.0);
    let f = f32::from_bits((bits & 0x007f_ffff) + 0x3f35_04f3) - 1.0;
    let z = f * f;
    let mut p = 7.037_683_6e-2 * f - 1.151_461e-1;
    p = p * f + 1.167_699_9e-1;
    p = p * f - 1.242_014_1e-1;
    p = p * f + 1.424_932_3e-1;
    p = p * f - 1.666_805_8e-1;
    p = p * f + 2.000_071_5e-1;
    p = p * f - 2.499_999_4e-1;
    p = p * f + 3.333_333e-1;
    // ln 2 in two parts, the first with few enough bits for an exact product.
    f + (p * f * z - 2.121_944_4e-4 * e - 0.5 * z) + 0.693_359_4 * e
}

impl Tensor {
    /// Numbers drawn uniformly from `[0, 1)`, `f32`. The same seed gives the same numbers, on every
    /// device.
    ///
    /// ```
    /// use kiln::{Engine, Tensor};
    /// let engine = Engine::cpu();
    /// let x = Tensor::rand([2, 3], 7, &engine)?;
    /// assert_eq!(x.to_vec::<f32>()?, Tensor::rand(6, 7, &engine)?.to_vec::<f32>()?);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn rand(shape: impl IntoShape, seed: u64, engine: &Engine) -> Result<Tensor> {
        Tensor::generate(Random { kind: Kind::Uniform, shape: shape.into_shape()?, seed }, engine)
    }

    /// Numbers drawn from the normal distribution of mean 0 and variance 1, `f32`. The same seed gives
    /// the same numbers, up to rounding between devices.
    pub fn randn(shape: impl IntoShape, seed: u64, engine: &Engine) -> Result<Tensor> {
        Tensor::generate(Random { kind: Kind::Normal, shape: shape.into_shape()?, seed }, engine)
    }

    /// Truth values that are true with probability `p`; an error unless `p` lies in `[0, 1]`. The same
    /// seed gives the same values, on every device.
    pub fn bernoulli(shape: impl IntoShape, p: f64, seed: u64, engine: &Engine) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::op("bernoulli", format!("{p} is not a probability")));
        }
        let kind = Kind::Bernoulli(p as f32);
        Tensor::generate(Random { kind, shape: shape.into_shape()?, seed }, engine)
    }

    /// The numbers `0..n` in an order drawn from all with equal probability, `I32` (PyTorch's `randperm`). The
    /// same seed gives the same order, on every device. An error where `n` is beyond `I32`.
    pub fn randperm(n: usize, seed: u64, engine: &Engine) -> Result<Tensor> {
        let Ok(count) = i32::try_from(n) else {
            return Err(Error::op("randperm", format!("{n} numbers do not fit i32")));
        };
        let mut order: Vec<i32> = (0..count).collect();
        let key = [seed as u32, (seed >> 32) as u32];
        // Fisher and Yates, from the end; 64 bits make the remainder's bias vanish.
        for last in (1..n).rev() {
            let [low, high, ..] = philox4x32([last as u32, 0, 0, PERMUTATION], key);
            let draw = u64::from(high) << 32 | u64::from(low);
            order.swap(last, (draw % (last as u64 + 1)) as usize);
        }
        Tensor::from_vec(order, n, engine)
    }

    /// Draws `samples` classes from each row of weights `[..., C]` (not negative, not all 0; they need not sum
    /// to 1): `I32` `[..., samples]`, PyTorch's `multinomial`. Without `replacement` no class is drawn twice from a
    /// row, and classes of weight 0 only when no others are left. The same seed gives the same classes, up to
    /// rounding between devices.
    ///
    /// Each class waits for an exponentially distributed time of its weight as rate; the first ones are drawn. An error
    /// for a scalar, no classes, a dtype that is no float, or more samples than classes without replacement.
    pub fn multinomial(&self, samples: usize, replacement: bool, seed: u64) -> Result<Tensor> {
        let refuse = |message: String| Err(Error::op("multinomial", message));
        let classes = self.dims().last().copied().unwrap_or(0);
        if classes == 0 || !self.dtype().is_float() {
            return refuse(format!("{} {} are not weights [..., C]", self.dtype(), self.shape()));
        }
        if !replacement && samples > classes {
            return refuse(format!("{samples} samples of {classes} classes without replacement"));
        }
        let weights = if replacement { self.unsqueeze(-2)? } else { self.clone() };
        let mut shape = weights.dims().to_vec();
        if replacement {
            shape[self.rank() - 1] = samples;
        }
        // 1 - u is never 0.
        let times = Tensor::rand(&shape[..], seed, self.engine())?.neg()?.log1p()?.neg()?;
        let rates = weights.div(&times.clamp_min(f64::from(f32::MIN_POSITIVE))?)?;
        if replacement { rates.argmax(-1, false) } else { Ok(rates.topk(samples, -1, true)?.1) }
    }

    /// Zero with probability `p`, else scaled by `1 / (1 - p)` so that the mean stays (inverted
    /// dropout, Srivastava et al. 2014). An error unless `p` lies in `[0, 1]` and the dtype is a float.
    pub fn dropout(&self, p: f64, seed: u64) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::op("dropout", format!("{p} is not a probability")));
        }
        if !self.dtype().is_float() {
            return Err(Error::op("dropout", format!("is not defined for {}", self.dtype())));
        }
        if p == 0.0 {
            return Ok(self.clone());
        }
        let keep = Tensor::bernoulli(self.shape(), 1.0 - p, seed, self.engine())?;
        // Where nothing is kept the scale does not matter, but it must not be infinite.
        let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
        keep.where_(&self.mul(scale)?, 0.0)
    }
}
