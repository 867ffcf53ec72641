//! Losses of probabilities: cross-entropies and the divergence of distributions.

use super::{Reduction, check_shapes};
use crate::{DType, Error, Result, Tensor};

/// The mean cross-entropy of class labels under `softmax(logits)`: logits `[N, C]`, labels `I32`
/// `[N]`, result a scalar. PyTorch's `cross_entropy`; [`cross_entropy_with`] has its options.
///
/// An error where the shapes are others, the batch is empty, or a label is not a class (labels
/// computed on a device are checked when the loss is).
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let refuse = |message: String| Err(Error::op("cross_entropy", message));
    let &[samples, _] = logits.dims() else {
        return refuse(format!("expected logits [N, C], got {}", logits.shape()));
    };
    if labels.dims() != [samples] || labels.dtype() != DType::I32 {
        let (dtype, shape) = (labels.dtype(), labels.shape());
        return refuse(format!("expected labels i32 [{samples}] for the logits, got {dtype} {shape}"));
    }
    cross_entropy_with(logits, labels, &CrossEntropyOptions::default())
}

/// Options of [`cross_entropy_with`]; the default is PyTorch's, but that it ignores no label.
#[derive(Clone, Debug, Default)]
pub struct CrossEntropyOptions {
    /// A weight `[C]` for each class.
    pub weight: Option<Tensor>,
    /// A label that counts for nothing, a class or not; PyTorch's is -100 unless set.
    pub ignore_index: Option<i32>,
    /// The share of a label that is spread over all classes evenly (Szegedy et al. 2015,
    /// arXiv:1512.00567); 0 to 1.
    pub label_smoothing: f64,
    /// What becomes of the losses of single samples. The mean of labelled samples divides by the sum of
    /// their labels' weights.
    pub reduction: Reduction,
}

/// The cross-entropy of targets under `softmax(logits)`. Logits are `[N, C]`, `[N, C, ...]` with more
/// dimensions of samples, or `[C]`; targets are labels, `I32` of that shape without the classes, or
/// probabilities, floats of the logits' shape. PyTorch's `cross_entropy`.
///
/// For a label `y`: `-weight[y] * log(softmax(logits)[y])`. For probabilities `t`:
/// `-sum(t * weight * log(softmax(logits)))`. Smoothing mixes targets with `1 / C`.
///
/// An error where shapes or dtypes do not fit, the mean of no samples is asked for, or a label is
/// neither a class nor ignored (labels computed on a device are checked when the loss is).
pub fn cross_entropy_with(logits: &Tensor, target: &Tensor, options: &CrossEntropyOptions) -> Result<Tensor> {
    const NAME: &str = "cross_entropy";
    let smoothing = options.label_smoothing;
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(Error::op(NAME, format!("label smoothing {smoothing} is not from 0 to 1")));
    }
    let axis = class_axis(NAME, logits)?;
    let classes = logits.size(axis)?;
    let weight = options.weight.as_ref();
    check_weight(NAME, weight, classes)?;
    let log_p = logits.log_softmax(axis)?;
    if target.dtype().is_float() {
        check_shapes(NAME, logits, target)?;
        let target = match smoothing {
            0.0 => target.clone(),
            _ => target.mul(1.0 - smoothing)?.add(smoothing / classes as f64)?,
        };
        let losses = weighted(&log_p.mul(&target)?, weight, axis)?.sum(axis, false)?.neg()?;
        return options.reduction.apply(NAME, &losses);
    }
    let labels = Labels::new(NAME, &log_p, target, weight, options.ignore_index)?;
    let hard = labels.losses(&log_p, axis)?;
    if smoothing == 0.0 {
        return labels.reduce(NAME, &hard, options.reduction);
    }
    let even = labels.mask(&weighted(&log_p, weight, axis)?.sum(axis, false)?.neg()?)?;
    let losses = hard.mul(1.0 - smoothing)?.add(&even.mul(smoothing / classes as f64)?)?;
    labels.reduce(NAME, &losses, options.reduction)
}

/// Options of [`nll_loss`]; the default is PyTorch's, but that it ignores no label.
#[derive(Clone, Debug, Default)]
pub struct NllOptions {
    /// A weight `[C]` for each class.
    pub weight: Option<Tensor>,
    /// A label that counts for nothing, a class or not; PyTorch's is -100 unless set.
    pub ignore_index: Option<i32>,
    /// What becomes of the losses of single samples. The mean divides by the sum of the labels'
    /// weights.
    pub reduction: Reduction,
}

/// `-weight[y] * x[y]`, the negative log-likelihood of labels `y` where `x` are log-probabilities, as
/// [`Tensor::log_softmax`] gives. Shapes and errors as [`cross_entropy_with`]. PyTorch's `nll_loss`.
pub fn nll_loss(log_probabilities: &Tensor, labels: &Tensor, options: &NllOptions) -> Result<Tensor> {
    const NAME: &str = "nll_loss";
    let axis = class_axis(NAME, log_probabilities)?;
    let weight = options.weight.as_ref();
    check_weight(NAME, weight, log_probabilities.size(axis)?)?;
    let labels = Labels::new(NAME, log_probabilities, labels, weight, options.ignore_index)?;
    labels.reduce(NAME, &labels.losses(log_probabilities, axis)?, options.reduction)
}

/// The dimension of the classes: the second, or the only one.
fn class_axis(op: &'static str, input: &Tensor) -> Result<isize> {
    match input.rank() {
        0 => Err(Error::op(op, "expected an input [N, C], [N, C, ...] or [C], got a scalar")),
        1 => Ok(0),
        _ => Ok(1),
    }
}

fn check_weight(op: &'static str, weight: Option<&Tensor>, classes: usize) -> Result<()> {
    match weight {
        Some(weight) if weight.dims() != [classes] => {
            let message = format!("class weights {} for {classes} classes", weight.shape());
            Err(Error::op(op, message))
        }
        _ => Ok(()),
    }
}

/// `x` times the weight of each class, the classes being dimension `axis`.
fn weighted(x: &Tensor, weight: Option<&Tensor>, axis: isize) -> Result<Tensor> {
    let Some(weight) = weight else { return Ok(x.clone()) };
    let mut dims = vec![1; x.rank()];
    dims[axis.unsigned_abs()] = weight.elements();
    x.mul(&weight.reshape(dims)?)
}

/// Labels that can be looked up, and what each counts.
struct Labels {
    /// Classes throughout: 0 where the label is ignored.
    index: Tensor,
    /// Where a label is ignored; nothing if none can be.
    ignored: Option<Tensor>,
    /// The weight of each label, 0 where ignored; nothing if all count 1.
    weight: Option<Tensor>,
}

impl Labels {
    fn new(
        op: &'static str,
        input: &Tensor,
        labels: &Tensor,
        weight: Option<&Tensor>,
        ignore: Option<i32>,
    ) -> Result<Labels> {
        let axis = class_axis(op, input)?.unsigned_abs();
        let mut expected = input.dims().to_vec();
        let classes = expected.remove(axis);
        if labels.dims() != expected || labels.dtype() != DType::I32 {
            let (dtype, shape, input) = (labels.dtype(), labels.shape(), input.shape());
            let message =
                format!("expected labels i32 {expected:?} for the input {input}, got {dtype} {shape}");
            return Err(Error::op(op, message));
        }
        labels.check_indices_but(op, "label", classes, ignore)?;
        let ignored = ignore.map(|ignore| labels.eq(ignore)).transpose()?;
        let index = match &ignored {
            Some(ignored) => ignored.where_(0.0, labels)?,
            None => labels.clone(),
        };
        let mut labels = Labels { index, ignored, weight: None };
        labels.weight = match weight {
            Some(weight) => {
                let each = weight.gather(0, &labels.index.reshape(labels.index.elements())?)?;
                Some(labels.mask(&each.reshape(labels.index.shape())?)?)
            }
            None => {
                labels.ignored.as_ref().map(|ignored| ignored.logical_not()?.cast(DType::F32)).transpose()?
            }
        };
        Ok(labels)
    }

    /// `x` with 0 in place of what is ignored.
    fn mask(&self, x: &Tensor) -> Result<Tensor> {
        match &self.ignored {
            Some(ignored) => ignored.where_(0.0, x),
            None => Ok(x.clone()),
        }
    }

    /// The negative log-probability of each label, weighted.
    fn losses(&self, log_p: &Tensor, axis: isize) -> Result<Tensor> {
        let picked = log_p.gather(axis, &self.index.unsqueeze(axis)?)?.squeeze(axis)?.neg()?;
        // An ignored sample may hold infinities, which its weight of 0 would not silence.
        let picked = self.mask(&picked)?;
        match &self.weight {
            Some(weight) => picked.mul(weight),
            None => Ok(picked),
        }
    }

    /// The losses of samples made one, the mean being that of the weights.
    fn reduce(&self, op: &'static str, losses: &Tensor, reduction: Reduction) -> Result<Tensor> {
        match &self.weight {
            Some(weight) if reduction == Reduction::Mean && losses.elements() > 0 => {
                losses.sum(.., false)?.div(&weight.sum(.., false)?)
            }
            _ => reduction.apply(op, losses),
        }
    }
}

/// Options of [`binary_cross_entropy_with_logits`].
#[derive(Clone, Debug, Default)]
pub struct BceOptions {
    /// A weight for each element, broadcast.
    pub weight: Option<Tensor>,
    /// How much a target of 1 counts more than one of 0, broadcast: one number a class.
    pub pos_weight: Option<Tensor>,
    /// What becomes of the losses of single elements. The mean divides by their number.
    pub reduction: Reduction,
}

/// `-weight * (pos_weight * t * log(sigmoid(x)) + (1 - t) * log(1 - sigmoid(x)))` of logits `x` and
/// probabilities `t` of one shape, stable for large logits. PyTorch's
/// `binary_cross_entropy_with_logits`.
///
/// An error where shapes do not fit, or the mean is asked for and there are no elements.
pub fn binary_cross_entropy_with_logits(
    logits: &Tensor,
    target: &Tensor,
    options: &BceOptions,
) -> Result<Tensor> {
    const NAME: &str = "binary_cross_entropy_with_logits";
    check_shapes(NAME, logits, target)?;
    // log(1 - sigmoid(x)) is log(sigmoid(x)) - x.
    let log_p = logits.logsigmoid()?;
    let log_p = match &options.pos_weight {
        Some(weight) => log_p.mul(&weight.sub(1.0)?.mul(target)?.add(1.0)?)?,
        None => log_p,
    };
    let mut losses = target.neg()?.add(1.0)?.mul(logits)?.sub(&log_p)?;
    if let Some(weight) = &options.weight {
        losses = losses.mul(weight)?;
    }
    if losses.shape() != logits.shape() {
        let message = format!("weights do not broadcast to the logits {}", logits.shape());
        return Err(Error::op(NAME, message));
    }
    options.reduction.apply(NAME, &losses)
}

/// `t * (log(t) - x)`, whose sum is the Kullback-Leibler divergence of a distribution with
/// log-probabilities `x` from one with probabilities `t`; with `log_target`, `t` holds log-probabilities
/// too. PyTorch's `kl_div`. [`Reduction::BatchMean`] is the mean of the divergences of single samples.
///
/// An error where the shapes differ, or a mean is asked for and there are no elements.
pub fn kl_div(input: &Tensor, target: &Tensor, log_target: bool, reduction: Reduction) -> Result<Tensor> {
    check_shapes("kl_div", input, target)?;
    if log_target {
        return reduction.apply("kl_div", &target.exp()?.mul(&target.sub(input)?)?);
    }
    // 0 log(0) is 0.
    let log = target.eq(0.0)?.where_(1.0, target)?.log()?;
    reduction.apply("kl_div", &target.mul(&log.sub(input)?)?)
}
