//! Losses of embeddings: what belongs together comes close, what does not is kept apart.

use super::{Reduction, check_shapes};
use crate::{Error, Result, Tensor};

/// A distance `x` that is to become small where the target is 1, and above the margin where it is -1:
/// `x`, or `max(0, margin - x)`. PyTorch's `hinge_embedding_loss`, whose margin is 1 unless set.
///
/// An error where the shapes differ, or the mean is asked for and there are no elements.
pub fn hinge_embedding_loss(
    input: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    const NAME: &str = "hinge_embedding_loss";
    check_shapes(NAME, input, target)?;
    let apart = input.neg()?.add(margin)?.relu()?;
    // Written as PyTorch does: a target that is neither counts both ways.
    let apart = target.ne(1.0)?.where_(&apart, 0.0)?;
    let close = target.ne(-1.0)?.where_(input, 0.0)?;
    reduction.apply(NAME, &apart.add(&close)?)
}

/// The cosine of the angle between vectors `[N, D]` (or `[D]`) is to become 1 where the target `[N]` is
/// 1, and at most the margin where it is -1: `1 - cos`, or `max(0, cos - margin)`. PyTorch's
/// `cosine_embedding_loss`, whose margin is 0 unless set.
///
/// An error where shapes do not fit, or the mean is asked for and there are no elements.
pub fn cosine_embedding_loss(
    first: &Tensor,
    second: &Tensor,
    target: &Tensor,
    margin: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    const NAME: &str = "cosine_embedding_loss";
    /// Keeps the cosine of a vector of zeros finite.
    const EPSILON: f64 = 1e-12;
    check_shapes(NAME, first, second)?;
    let expected = first.dims().split_last().map(|(_, batch)| batch);
    if !(1..=2).contains(&first.rank()) || expected != Some(target.dims()) {
        let (vectors, target) = (first.shape(), target.shape());
        return Err(Error::op(
            NAME,
            format!("expected vectors [N, D] and targets [N], got {vectors} and {target}"),
        ));
    }
    let length = |x: &Tensor| x.square()?.sum(-1, false)?.add(EPSILON);
    let cosine = first.mul(second)?.sum(-1, false)?.div(&length(first)?.mul(&length(second)?)?.sqrt()?)?;
    let close = target.eq(1.0)?.where_(&cosine.neg()?.add(1.0)?, 0.0)?;
    let apart = target.eq(-1.0)?.where_(&cosine.sub(margin)?.relu()?, 0.0)?;
    reduction.apply(NAME, &close.add(&apart)?)
}

/// Options of [`triplet_margin_loss`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TripletOptions {
    /// How much farther the negative is to be; 1 unless set.
    pub margin: f64,
    /// The norm that measures distance; 2 unless set.
    pub p: f64,
    /// Added to each difference, so that the distance has a gradient at 0; 1e-6 unless set.
    pub eps: f64,
    /// Whether the distance of the negative to the positive counts too, where it is the lesser one
    /// (Balntas et al. 2016).
    pub swap: bool,
    /// What becomes of the losses of single triplets.
    pub reduction: Reduction,
}

impl Default for TripletOptions {
    fn default() -> TripletOptions {
        TripletOptions { margin: 1.0, p: 2.0, eps: 1e-6, swap: false, reduction: Reduction::Mean }
    }
}

/// Of vectors `[N, D]` (or `[D]`), the anchor is to be nearer to the positive than to the negative, by
/// the margin: `max(0, margin + |a - p| - |a - n|)` (Schroff et al. 2015, arXiv:1503.03832). PyTorch's
/// `triplet_margin_loss`.
///
/// An error where the shapes differ, there are no vectors to measure, or the norm is not positive.
pub fn triplet_margin_loss(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    options: TripletOptions,
) -> Result<Tensor> {
    const NAME: &str = "triplet_margin_loss";
    check_shapes(NAME, anchor, positive)?;
    check_shapes(NAME, anchor, negative)?;
    let TripletOptions { margin, p, eps, swap, reduction } = options;
    if anchor.rank() == 0 || p.is_nan() || p <= 0.0 {
        return Err(Error::op(NAME, format!("no norm {p} of vectors {}", anchor.shape())));
    }
    let distance = |a: &Tensor, b: &Tensor| {
        let difference = a.sub(b)?.add(eps)?;
        if p == 2.0 {
            return difference.square()?.sum(-1, false)?.sqrt();
        }
        difference.abs()?.pow(p)?.sum(-1, false)?.pow(1.0 / p)
    };
    let mut apart = distance(anchor, negative)?;
    if swap {
        apart = apart.minimum(&distance(positive, negative)?)?;
    }
    reduction.apply(NAME, &distance(anchor, positive)?.sub(&apart)?.add(margin)?.relu()?)
}
