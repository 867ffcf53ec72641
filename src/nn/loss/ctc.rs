//! Connectionist temporal classification.

use super::Reduction;
use crate::{DType, Error, Result, Tensor};

/// Stands for the logarithm of 0: small enough to vanish beside any path, and unlike `-inf` the
/// difference of two is a number.
const NEVER: f32 = -1e30;

/// Options of [`ctc_loss`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtcOptions {
    /// The class that stands for no label; 0 unless set.
    pub blank: usize,
    /// What becomes of the losses of single sequences. The mean first divides each by its number of
    /// labels.
    pub reduction: Reduction,
    /// Whether a sequence too short for its labels costs nothing, in place of infinity.
    pub zero_infinity: bool,
}

/// The negative log-likelihood of label sequences whatever their alignment to the input (Graves et al.
/// 2006): log-probabilities `[T, N, C]`, labels `I32` `[N, S]` of which the first
/// `target_lengths[n]` count, and the number of steps `input_lengths[n]` of each sequence. PyTorch's
/// `ctc_loss`.
///
/// The forward recursion over the labels with a blank between any two, in tensor ops. An error where
/// shapes do not fit, a label or the blank is not a class, or a length is beyond its tensor.
pub fn ctc_loss(
    log_probabilities: &Tensor,
    targets: &Tensor,
    input_lengths: &[usize],
    target_lengths: &[usize],
    options: CtcOptions,
) -> Result<Tensor> {
    const NAME: &str = "ctc_loss";
    let refuse = |message: String| Err(Error::op(NAME, message));
    let (&[steps, batch, classes], &[rows, labels]) = (log_probabilities.dims(), targets.dims()) else {
        let (input, targets) = (log_probabilities.shape(), targets.shape());
        return refuse(format!("expected an input [T, N, C] and targets [N, S], got {input} and {targets}"));
    };
    if rows != batch || targets.dtype() != DType::I32 {
        let (dtype, shape) = (targets.dtype(), targets.shape());
        return refuse(format!("expected targets i32 [{batch}, S] for the input, got {dtype} {shape}"));
    }
    for (what, lengths, limit) in [("input", input_lengths, steps), ("target", target_lengths, labels)] {
        if lengths.len() != batch || lengths.iter().any(|&length| length > limit) {
            return refuse(format!("{what} lengths {lengths:?}: expected {batch} of at most {limit}"));
        }
    }
    if options.blank >= classes || steps == 0 || batch == 0 {
        let shape = log_probabilities.shape();
        return refuse(format!("no paths over an input {shape} with blank {}", options.blank));
    }
    targets.check_indices(NAME, "label", classes)?;

    let engine = log_probabilities.engine();
    let blank = options.blank as f64;
    // Blank, label, blank, label, ..., blank.
    let blanks = |width: usize| Tensor::full([batch, width], blank, DType::I32, engine);
    let path = Tensor::stack(&[&blanks(labels)?, targets], 2)?.reshape([batch, 2 * labels])?;
    let path = Tensor::concat(&[&path, &blanks(1)?], 1)?;
    let places = 2 * labels + 1;
    let emitted = path.reshape([1, batch, places])?.broadcast_to([steps, batch, places])?;
    let emitted = log_probabilities.gather(2, &emitted)?;
    let shifted = |x: &Tensor, by: usize, value: f32| x.pad(&[(0, 0), (by, 0)], value)?.narrow(1, 0, places);
    // A blank may be left out between two labels that differ. (No class is below 0.)
    let before = shifted(&path.cast(DType::F32)?, 2, -1.0)?.cast(DType::I32)?;
    let skips = path.ne(blank)?.logical_and(&path.ne(&before)?)?.logical_and(&before.ge(0)?)?;

    let start: Vec<bool> = (0..places).map(|place| place < 2).collect();
    let start = Tensor::from_slice(&start, [1, places], engine)?;
    let mut alpha = start.where_(&emitted.select(0, 0)?, f64::from(NEVER))?;
    let whole = input_lengths.iter().min() == Some(&steps);
    for step in 1..steps {
        let last = shifted(&alpha, 1, NEVER)?;
        let skipped = skips.where_(&shifted(&alpha, 2, NEVER)?, f64::from(NEVER))?;
        let next = log_sum(&[&alpha, &last, &skipped])?.add(&emitted.select(0, step)?)?;
        alpha = if whole {
            next
        } else {
            let running: Vec<bool> = input_lengths.iter().map(|&length| step < length).collect();
            Tensor::from_slice(&running, [batch, 1], engine)?.where_(&next, &alpha)?
        };
    }

    // A path ends with the last label or the blank after it.
    let at = |back: usize| {
        let ends: Vec<i32> = target_lengths.iter().map(|&n| (2 * n).saturating_sub(back) as i32).collect();
        alpha.gather(1, &Tensor::from_slice(&ends, [batch, 1], engine)?)?.squeeze(1)
    };
    let none: Vec<bool> = target_lengths.iter().map(|&n| n == 0).collect();
    let none = Tensor::from_slice(&none, batch, engine)?;
    let losses = log_sum(&[&at(0)?, &none.where_(f64::from(NEVER), &at(1)?)?])?.neg()?;
    let impossible = losses.gt(f64::from(-NEVER) / 2.0)?;
    let losses = impossible.where_(if options.zero_infinity { 0.0 } else { f64::INFINITY }, &losses)?;
    if options.reduction != Reduction::Mean {
        return options.reduction.apply(NAME, &losses);
    }
    let counts: Vec<f32> = target_lengths.iter().map(|&n| n.max(1) as f32).collect();
    losses.div(&Tensor::from_slice(&counts, batch, engine)?)?.mean(.., false)
}

/// `log(sum(exp(x)))` of several tensors, element by element.
fn log_sum(terms: &[&Tensor]) -> Result<Tensor> {
    let (first, rest) = (terms[0].detach(), &terms[1..]);
    // The greatest only scales: no gradient flows to it.
    let greatest = rest.iter().try_fold(first, |greatest, term| greatest.maximum(&term.detach()))?;
    let mut sum = terms[0].sub(&greatest)?.exp()?;
    for term in rest {
        sum = sum.add(&term.sub(&greatest)?.exp()?)?;
    }
    sum.log()?.add(&greatest)
}
