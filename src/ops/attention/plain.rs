//! Attention in ordinary ops, with all scores in memory.

use super::AttentionOptions;
use crate::{DType, Result, Tensor};

/// The output for queries `[..., L, E]`, keys `[..., S, E]` and values `[..., S, V]` that fit each other and
/// the mask.
pub(super) fn plain([query, key, value]: [&Tensor; 3], options: AttentionOptions) -> Result<Tensor> {
    if options.enable_gqa {
        let options = AttentionOptions { enable_gqa: false, ..options };
        return plain([query, &repeated(key, query)?, &repeated(value, query)?], options);
    }
    let scale = options.scale.unwrap_or_else(|| 1.0 / (query.dims()[query.rank() - 1] as f64).sqrt());
    // The queries are fewer than the scores.
    let mut scores = query.mul(scale)?.matmul(&key.t()?)?;
    let mut visible = options.is_causal.then(|| causal(&scores)).transpose()?;
    if let Some(mask) = options.mask {
        let seen = if mask.dtype() == DType::Bool {
            mask.clone()
        } else {
            scores = scores.add(mask)?;
            mask.ne(f64::NEG_INFINITY)?
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

/// Each head repeated for the heads of queries that share it.
fn repeated(x: &Tensor, query: &Tensor) -> Result<Tensor> {
    let (Ok(queries), Ok(heads)) = (query.size(-3), x.size(-3)) else { return Ok(x.clone()) };
    let at = x.rank() - 2;
    let mut dims = x.dims().to_vec();
    dims.insert(at, queries / heads.max(1));
    x.unsqueeze(at as isize)?.broadcast_to(&dims[..])?.flatten(at as isize - 1, at as isize)
}

/// Which keys each query sees: `[L, S]`.
fn causal(scores: &Tensor) -> Result<Tensor> {
    let count = |axis: isize| Tensor::arange(0.0, scores.size(axis)? as f64, 1.0, scores.engine());
    count(-2)?.unsqueeze(1)?.ge(&count(-1)?)
}
