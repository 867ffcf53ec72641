//! Scaled dot-product attention.

use crate::{DType, Error, Result, Tensor};

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

impl Tensor {
    /// Attention (Vaswani et al. 2017, arXiv:1706.03762): the values `[..., S, V]` weighted by the softmax of
    /// the scaled products of queries (`self`, `[..., L, E]`) and keys `[..., S, E]`: `[..., L, V]`.
    /// Dimensions before the last two are broadcast. A query that sees no key gives zeros.
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
        let refuse = |message: String| Err(Error::op("scaled_dot_product_attention", message));
        let fits = [self, key, value].iter().all(|tensor| tensor.rank() >= 2);
        if !fits || self.size(-1)? != key.size(-1)? || key.size(-2)? != value.size(-2)? {
            return refuse(format!(
                "query {}, key {} and value {} are not [..., L, E], [..., S, E] and [..., S, V]",
                self.shape(),
                key.shape(),
                value.shape()
            ));
        }
        if options.enable_gqa {
            return self.grouped_query_attention(key, value, options);
        }
        let scale = options.scale.unwrap_or_else(|| 1.0 / (self.dims()[self.rank() - 1] as f64).sqrt());
        // The queries are fewer than the scores.
        let mut scores = self.mul(scale)?.matmul(&key.t()?)?;
        let mut visible = options.is_causal.then(|| causal(&scores)).transpose()?;
        if let Some(mask) = options.mask {
            if mask.shape().broadcast(scores.shape()).as_ref() != Some(scores.shape()) {
                return refuse(format!("mask {} for scores {}", mask.shape(), scores.shape()));
            }
            let seen = match mask.dtype() {
                DType::Bool => mask.clone(),
                DType::F32 | DType::F16 => {
                    scores = scores.add(mask)?;
                    mask.ne(f64::NEG_INFINITY)?
                }
                DType::I32 => return refuse("the mask is i32, neither truth values nor floats".into()),
            };
            visible = Some(match visible {
                Some(visible) => visible.logical_and(&seen)?,
                None => seen,
            });
        }
        let mut weights = match visible {
            // The least finite number, where infinity would make NaN of a row that sees nothing.
            Some(visible) => {
                let scores = visible.where_(&scores, f64::from(f32::MIN))?;
                visible.where_(&scores.softmax(-1)?, 0.0)?
            }
            None => scores.softmax(-1)?,
        };
        if let Some((probability, seed)) = options.dropout {
            weights = weights.dropout(probability, seed)?;
        }
        weights.matmul(value)
    }

    /// Each head of keys and values repeated for the heads of queries that share it.
    fn grouped_query_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        options: AttentionOptions,
    ) -> Result<Tensor> {
        let repeated = |x: &Tensor| {
            let (Ok(queries), Ok(heads)) = (self.size(-3), x.size(-3)) else { return Ok(x.clone()) };
            if heads == 0 || queries % heads != 0 {
                let message = format!("{queries} heads of queries do not share {heads} of {}", x.shape());
                return Err(Error::op("scaled_dot_product_attention", message));
            }
            let at = x.rank() - 2;
            let mut dims = x.dims().to_vec();
            dims.insert(at, queries / heads);
            x.unsqueeze(at as isize)?.broadcast_to(&dims[..])?.flatten(at as isize - 1, at as isize)
        };
        let options = AttentionOptions { enable_gqa: false, ..options };
        self.scaled_dot_product_attention(&repeated(key)?, &repeated(value)?, options)
    }
}

/// Which keys each query sees: `[L, S]`.
fn causal(scores: &Tensor) -> Result<Tensor> {
    let count = |axis: isize| Tensor::arange(0.0, scores.size(axis)? as f64, 1.0, scores.engine());
    count(-2)?.unsqueeze(1)?.ge(&count(-1)?)
}
