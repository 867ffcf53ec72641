//! Scaled dot-product attention: of each query, the keys are gone through once, in tiles, with a running
//! maximum and sum of the softmax, and no matrix of all scores is ever in memory (Dao et al. 2022,
//! arXiv:2205.14135; Dao 2023, arXiv:2307.08691). The gradient computes the weights again from the logarithms
//! of the sums. [`plain`] is the same in ordinary ops: the reference, what second derivatives are made of, and
//! what runs where the tiles would be no gain.

mod cpu;
mod gpu;
mod plain;

use crate::device::{Caps, Plan};
use crate::graph::grad::differentiable;
use crate::tensor::{autocasts, no_grad, records_gradients};
use crate::{DType, Error, Identity, Layout, Op, Output, Result, Shape, Spec, Tensor, View};
use plain::plain;
use std::hash::{Hash, Hasher};

const NAME: &str = "scaled_dot_product_attention";
/// Elements of a query or a value up to which the tiles pay: beyond, what a tile reads again for each of its
/// neighbours is more than the scores.
const LONGEST: usize = 128;

/// What [`Tensor::scaled_dot_product_attention`] can be asked for besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttentionOptions<'a> {
    /// Broadcast to `[..., L, S]`: truth values that say which keys a query may see, or floats to
    /// add to the scores.
    pub mask: Option<&'a Tensor>,
    /// Whether query `i` sees keys `0..=i` only.
    pub is_causal: bool,
    /// What the products of queries and keys are multiplied by; `1 / sqrt(E)` unless set.
    pub scale: Option<f64>,
    /// The probability with which a weight is dropped, and the seed.
    pub dropout: Option<(f64, u64)>,
    /// Whether the heads of the queries, the third dimension from the end, share fewer heads of keys and
    /// values, neighbours the same one (Ainslie et al. 2023, arXiv:2305.13245).
    pub enable_gqa: bool,
}

/// What is asked of the kernels besides the sizes. In what follows N is the batch, H the heads of the queries
/// and K those of the keys, L queries, S keys, E elements of a query and V of a value, both multiples of 4.
#[derive(Clone, Copy, Debug)]
struct Pass {
    scale: f32,
    is_causal: bool,
    /// Whether the logarithms of the sums stand behind the output, as the gradient needs them.
    saves: bool,
}

impl Hash for Pass {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.scale.to_bits(), self.is_causal, self.saves).hash(state);
    }
}

/// N, H, K, L, S, E and V.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    heads: usize,
    shared: usize,
    queries: usize,
    keys: usize,
    size: usize,
    values: usize,
}

impl Sizes {
    /// Of the queries `[N, H, L, E]`, the keys `[N, K, S, E]` and the values `[N, K, S, V]`.
    fn of([query, key, value]: [&Shape; 3]) -> Sizes {
        Sizes {
            batch: query[0],
            heads: query[1],
            shared: key[1],
            queries: query[2],
            keys: key[2],
            size: query[3],
            values: value[3],
        }
    }

    fn of_specs(inputs: &[Spec]) -> Sizes {
        Sizes::of([inputs[0].shape(), inputs[1].shape(), inputs[2].shape()])
    }

    /// Elements of the output.
    fn outputs(&self) -> usize {
        self.batch * self.queries * self.heads * self.values
    }

    /// How far the logarithms of two heads are apart: whole vectors.
    fn row(&self) -> usize {
        self.queries.next_multiple_of(4)
    }

    /// Pairs of a query and a key.
    fn scores(&self) -> u64 {
        (self.batch * self.heads * self.queries) as u64 * self.keys as u64
    }
}

/// Inputs: queries, keys, values, and a mask of floats `[N, H, L, S]` if there is one. The output is
/// `[N, L, H, V]`, so that the heads of a query lie side by side, and behind it the logarithms, `[N, H, L]` with
/// each row filled up to whole vectors. That of a query that sees nothing is 0.
#[derive(Debug, Hash)]
struct Forward(Pass);

impl Op for Forward {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let sizes = Sizes::of_specs(inputs);
        let saved = if self.0.saves { sizes.batch * sizes.heads * sizes.row() } else { 0 };
        Ok(Spec::new(DType::F32, Shape::new(&[sizes.outputs() + saved])?))
    }

    fn strided(&self) -> bool {
        true
    }

    fn flops(&self, inputs: &[Spec], _: &Spec) -> u64 {
        let sizes = Sizes::of_specs(inputs);
        sizes.scores() * (2 * (sizes.size + sizes.values) as u64 + 8)
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        cpu::forward(&self.0, inputs, output.slice());
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], _: &Spec, caps: &Caps) -> Option<Plan> {
        Some(gpu::forward(&self.0, inputs, caps))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(Error::op(self.name(), "has its gradient where its output is seen"))
    }
}

/// Where the gradients of queries, keys and values are in a [`Backward`]'s output: the offset of each, and how
/// far two entries of the batch, and two queries or keys, are apart. Heads follow each other.
#[derive(Clone, Copy, Debug)]
struct Places([(usize, usize, usize); 3]);

/// Inputs: those of [`Forward`] with what it made, the gradient of the output `[N, H, L, V]`, and the sums of each
/// query's outputs times their gradients, with rows as those of the logarithms, before the mask.
/// The gradients of queries `[N, L, H, E]`, keys `[N, S, K, E]` and values `[N, S, K, V]`: one after the other,
/// or side by side, `[N, L, 3, H, E]`, as in the projection that all three are parts of.
#[derive(Clone, Copy, Debug, Hash)]
struct Backward {
    pass: Pass,
    projected: bool,
}

impl Backward {
    fn places(&self, sizes: &Sizes) -> Places {
        let Sizes { batch, heads, shared, queries, keys, size, values } = *sizes;
        let [of_query, of_key, of_value] = [heads * size, shared * size, shared * values];
        if self.projected {
            return Places([0, 1, 2].map(|part| (part * of_query, queries * 3 * of_query, 3 * of_query)));
        }
        let first = batch * queries * of_query;
        Places([
            (0, queries * of_query, of_query),
            (first, keys * of_key, of_key),
            (first + batch * keys * of_key, keys * of_value, of_value),
        ])
    }

    /// The gradients of the queries, keys and values, or of their projection.
    fn parts(&self, sizes: &Sizes, packed: &Tensor) -> Result<Vec<Tensor>> {
        let Sizes { batch, heads, shared, queries, keys, size, values } = *sizes;
        if self.projected {
            return Ok(vec![packed.reshape([batch, queries, 3 * heads * size])?]);
        }
        let dims =
            [[batch, queries, heads, size], [batch, keys, shared, size], [batch, keys, shared, values]];
        let Places(places) = self.places(sizes);
        let part = |(&(offset, ..), dims): (&(usize, usize, usize), [usize; 4])| {
            packed.narrow(0, offset, dims.iter().product())?.reshape(dims)?.transpose(1, 2)
        };
        places.iter().zip(dims).map(part).collect()
    }
}

impl Op for Backward {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention_gradient"
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let elements = inputs[..3].iter().map(Spec::elements).sum();
        Ok(Spec::new(DType::F32, Shape::new(&[elements])?))
    }

    fn strided(&self) -> bool {
        true
    }

    fn flops(&self, inputs: &[Spec], _: &Spec) -> u64 {
        let sizes = Sizes::of_specs(inputs);
        sizes.scores() * (6 * sizes.size as u64 + 4 * sizes.values as u64 + 12)
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        cpu::backward(self, inputs, output.slice());
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, inputs: &[Spec], _: &Spec, caps: &Caps) -> Option<Plan> {
        Some(gpu::backward(self, inputs, caps))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(Error::op(self.name(), "is only recorded where no gradient of it is wanted"))
    }
}

/// Sees the output `[N, H, L, V]` of a [`Forward`], which is the first input; the others are what that was made
/// of: queries, keys and values, or the projection `[N, L, 3 E]` with its number of heads, and the mask.
/// Gradients go past the kernel to these.
#[derive(Clone, Copy, Debug)]
struct Seen {
    pass: Pass,
    sizes: Sizes,
    projected: bool,
}

impl Seen {
    /// The queries, keys and values among the op's own inputs, and the mask.
    fn operands<'a>(&self, own: &'a [Tensor]) -> Result<([Tensor; 3], Option<&'a Tensor>)> {
        if self.projected {
            return Ok((heads_of(&own[0], self.sizes.heads)?, own.get(1)));
        }
        Ok(([own[0].clone(), own[1].clone(), own[2].clone()], own.get(3)))
    }

    /// The output for these inputs, of which `own` are what gradients go to.
    fn record(
        self,
        [query, key, value]: [&Tensor; 3],
        own: &[&Tensor],
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let inputs: Vec<&Tensor> = [query, key, value].into_iter().chain(mask).collect();
        let packed = no_grad(|| Tensor::apply(Forward(self.pass), &inputs))?;
        let inputs: Vec<&Tensor> = [&packed].into_iter().chain(own.iter().copied()).chain(mask).collect();
        Tensor::apply(self, &inputs)
    }
}

impl Op for Seen {
    fn name(&self) -> &'static str {
        NAME
    }

    fn output(&self, _: &[Spec]) -> Result<Spec> {
        let Sizes { batch, heads, queries, values, .. } = self.sizes;
        Ok(Spec::new(DType::F32, Shape::new(&[batch, heads, queries, values])?))
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        let Sizes { batch, heads, queries, values, .. } = self.sizes;
        let shape = Shape::new(&[batch, queries, heads, values]).ok()?;
        Some(input.slice(0, 0, self.sizes.outputs(), 1).reshape(shape)?.permute(&[0, 2, 1, 3]))
    }

    fn gradient(&self, inputs: &[Tensor], output: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (packed, own) = (&inputs[0], &inputs[1..]);
        let mut gradients = vec![None];
        if records_gradients() {
            let Pass { scale, is_causal, .. } = self.pass;
            gradients.extend(differentiable(own, &[], upstream, &|own| {
                let ([query, key, value], mask) = self.operands(own)?;
                let scale = Some(f64::from(scale));
                let options = AttentionOptions { mask, is_causal, scale, dropout: None, enable_gqa: true };
                plain([&query, &key, &value], options)
            })?);
            return Ok(gradients);
        }
        // In the order in which both lie in memory.
        let [of, by] = [upstream.transpose(1, 2)?, output.transpose(1, 2)?];
        let products = filled(&of.mul(&by)?.sum(-1, false)?.transpose(1, 2)?)?;
        let upstream = aligned(upstream)?;
        let ([query, key, value], mask) = self.operands(own)?;
        let inputs = [&query, &key, &value, packed, &upstream, &products].into_iter().chain(mask);
        let op = Backward { pass: self.pass, projected: self.projected };
        let found = Tensor::apply(op, &inputs.collect::<Vec<_>>())?;
        gradients.extend(op.parts(&self.sizes, &found)?.into_iter().map(Some));
        gradients.extend(mask.map(|_| None));
        Ok(gradients)
    }
}

/// Views of the queries, keys and values `[N, H, L, E / H]` of a projection `[N, L, 3 E]`.
fn heads_of(projected: &Tensor, heads: usize) -> Result<[Tensor; 3]> {
    let [batch, length, width] = [0, 1, 2].map(|axis: usize| projected.dims()[axis]);
    let parts = projected.reshape([batch, length, 3, heads, width / 3 / heads])?;
    let part = |index: usize| parts.select(2, index)?.transpose(1, 2);
    Ok([part(0)?, part(1)?, part(2)?])
}

/// Whether kernels read it as it lies: vectors of 4 along the last dimension, forwards.
fn is_aligned(tensor: &Tensor) -> bool {
    let layout = tensor.layout();
    let (shape, strides) = (&layout.shape, layout.strides());
    let last = strides.len() - 1;
    let whole = |axis: usize| strides[axis] >= 0 && strides[axis] % 4 == 0 || shape[axis] == 1;
    strides[last] == 1
        && [shape[last], layout.offset].iter().all(|count| count.is_multiple_of(4))
        && (0..last).all(whole)
}

/// The tensor, or a copy that kernels can read.
fn aligned(tensor: &Tensor) -> Result<Tensor> {
    if is_aligned(tensor) { Ok(tensor.clone()) } else { tensor.copied() }
}

/// With its last dimension filled up with zeros to whole vectors.
fn filled(tensor: &Tensor) -> Result<Tensor> {
    let size = tensor.size(-1)?;
    aligned(&tensor.pad_axis(-1, 0, size.next_multiple_of(4) - size, 0, 0.0)?)
}

/// With two dimensions before the last two: those that are missing added, those that are too many merged.
fn four(tensor: &Tensor) -> Result<Tensor> {
    match tensor.rank() {
        2 => tensor.unsqueeze(0)?.unsqueeze(0),
        3 => tensor.unsqueeze(1),
        4 => Ok(tensor.clone()),
        rank => tensor.flatten(0, rank as isize - 4),
    }
}

/// A mask as what is added to the scores: minus infinity where a key is not to be seen.
fn added(mask: &Tensor) -> Result<Tensor> {
    if mask.dtype() != DType::Bool {
        return mask.cast(DType::F32);
    }
    let zeros = Tensor::zeros([1], mask.engine())?;
    mask.where_(&zeros, f64::NEG_INFINITY)
}

impl Tensor {
    /// Attention (Vaswani et al. 2017, arXiv:1706.03762): the values `[..., S, V]` weighted by the softmax of
    /// the scaled products of queries (`self`, `[..., L, E]`) and keys `[..., S, E]`: `[..., L, V]`.
    /// Dimensions before the last two are broadcast. A query that sees no key gives zeros.
    ///
    /// Its memory grows with `L + S`, not with `L * S`, unless weights are dropped, the gradient of the mask
    /// is wanted, or E or V is above 128.
    ///
    /// An error where shapes do not fit, or the mask is an integer tensor or does not broadcast to
    /// `[..., L, S]`.
    ///
    /// ```
    /// use kiln::{Engine, Tensor, ops::AttentionOptions};
    /// let x = Tensor::rand([2, 5, 4], 0, &Engine::cpu())?;
    /// let options = AttentionOptions { is_causal: true, ..Default::default() };
    /// let y = x.scaled_dot_product_attention(&x, &x, options)?;
    /// // The first query sees the first key alone.
    /// assert_eq!(y.narrow(1, 0, 1)?.to_vec::<f32>()?, x.narrow(1, 0, 1)?.to_vec::<f32>()?);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn scaled_dot_product_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        options: AttentionOptions,
    ) -> Result<Tensor> {
        let inputs = [self, key, value];
        let refuse = |message: String| Err(Error::op(NAME, message));
        let fits = inputs.iter().all(|tensor| tensor.rank() >= 2);
        if !fits || self.size(-1)? != key.size(-1)? || key.size(-2)? != value.size(-2)? {
            return refuse(format!(
                "query {}, key {} and value {} are not [..., L, E], [..., S, E] and [..., S, V]",
                self.shape(),
                key.shape(),
                value.shape()
            ));
        }
        inputs.iter().try_for_each(|input| input.check_float(NAME))?;
        let grouped = options.enable_gqa && inputs.iter().all(|input| input.rank() > 2);
        let heads = |x: &Tensor| if grouped { x.dims()[x.rank() - 3] } else { 1 };
        if let Some(x) = [key, value].into_iter().find(|x| heads(x) == 0 || heads(self) % heads(x) != 0) {
            return refuse(format!(
                "{} heads of queries do not share {} of {}",
                heads(self),
                heads(x),
                x.shape()
            ));
        }
        // What is broadcast: all but the heads that are shared.
        let kept = if grouped { 3 } else { 2 };
        let lead = |x: &Tensor| Shape::new(&x.dims()[..x.rank() - kept]);
        let (of_query, of_key, of_value) = (lead(self)?, lead(key)?, lead(value)?);
        let Some(lead) = of_query.broadcast(&of_key).and_then(|both| both.broadcast(&of_value)) else {
            return refuse(format!(
                "the dimensions of query {}, key {} and value {} before the last {kept} do not broadcast",
                self.shape(),
                key.shape(),
                value.shape()
            ));
        };
        let queries = &self.dims()[self.rank() - kept..self.rank() - 1];
        let scores = Shape::new(&[&lead[..], queries, &[key.size(-2)?]].concat())?;
        if let Some(mask) = options.mask {
            if mask.dtype() == DType::I32 {
                return refuse("the mask is i32, neither truth values nor floats".into());
            }
            if mask.shape().broadcast(&scores) != Some(scores) {
                return refuse(format!("mask {} for scores {scores}", mask.shape()));
            }
        }
        let lengths = [self.size(-1)?, value.size(-1)?];
        let mask_learns = records_gradients() && options.mask.is_some_and(Tensor::requires_grad);
        if options.dropout.is_some()
            || mask_learns
            || lengths.iter().any(|&length| length > LONGEST)
            || scores.elements() == 0
            || lengths.contains(&0)
            || heads(key) != heads(value)
        {
            return plain(inputs, options);
        }
        let canonical = |x: &Tensor| {
            let dims = [&lead[..], &x.dims()[x.rank() - kept..]].concat();
            filled(&four(&x.cast(DType::F32)?.broadcast_to(dims)?)?)
        };
        let [query, key, value] = [canonical(self)?, canonical(key)?, canonical(value)?];
        let mask = options.mask.map(|mask| four(&added(mask)?.broadcast_to(scores)?)).transpose()?;
        let sizes = Sizes::of([query.shape(), key.shape(), value.shape()]);
        let own = [&query, &key, &value];
        let pass = Pass::new(&options, lengths[0], own.iter().any(|input| input.requires_grad()));
        let seen = Seen { pass, sizes, projected: false }.record(own, &own, mask.as_ref())?;
        let output = seen
            .narrow(-1, 0, lengths[1])?
            .reshape([&scores[..scores.rank() - 1], &lengths[1..]].concat())?;
        let narrow = autocasts() || inputs.iter().all(|input| input.dtype() == DType::F16);
        output.cast(if narrow { DType::F16 } else { DType::F32 })
    }

    /// Attention of `heads` heads whose queries, keys and values are the parts of one projection `[N, L, 3 E]`:
    /// `[N, heads, L, E / heads]`. Its gradient is in one piece too.
    pub(crate) fn attention_of_projection(&self, heads: usize, options: AttentionOptions) -> Result<Tensor> {
        let [query, key, value] = heads_of(self, heads)?;
        let size = query.size(-1)?;
        let direct = self.dtype() == DType::F32
            && !autocasts()
            && options.mask.is_none()
            && options.dropout.is_none()
            && [&query, &key, &value].into_iter().all(is_aligned)
            && (1..=LONGEST).contains(&size)
            && query.elements() > 0;
        if !direct {
            return query.scaled_dot_product_attention(&key, &value, options);
        }
        let sizes = Sizes::of([query.shape(), key.shape(), value.shape()]);
        let pass = Pass::new(&options, size, self.requires_grad());
        Seen { pass, sizes, projected: true }.record([&query, &key, &value], &[self], None)
    }
}

impl Pass {
    /// For queries of `size` elements, of which gradients may be `wanted`.
    fn new(options: &AttentionOptions, size: usize, wanted: bool) -> Pass {
        let scale = options.scale.unwrap_or_else(|| 1.0 / (size as f64).sqrt()) as f32;
        Pass { scale, is_causal: options.is_causal, saves: wanted && records_gradients() }
    }
}
