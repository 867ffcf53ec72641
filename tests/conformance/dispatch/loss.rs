//! Losses.

use super::{Args, Outputs, one};
use kiln::nn::loss::*;
use kiln::{Error, Result, Tensor};

pub fn run(op: &str, args: &Args) -> Outputs {
    let x = || args.tensor("input");
    let target = || args.tensor("target");
    let number = |name: &str, default: f64| Ok::<_, Error>(args.number(name)?.unwrap_or(default));
    let reduction = match args.text("reduction")? {
        None | Some("mean") => Reduction::Mean,
        Some("sum") => Reduction::Sum,
        Some("none") => Reduction::None,
        Some("batchmean") => Reduction::BatchMean,
        Some(_) => return Ok(None),
    };
    let weight = || args.maybe("weight").cloned();
    // PyTorch ignores the label -100 unless told otherwise.
    let ignore_index = || Ok::<_, Error>(Some(args.int("ignore_index")?.map_or(-100, |label| label as i32)));
    one(match op {
        "cross_entropy" => {
            let options = CrossEntropyOptions {
                weight: weight(),
                ignore_index: ignore_index()?,
                label_smoothing: number("label_smoothing", 0.0)?,
                reduction,
            };
            cross_entropy_with(x()?, target()?, &options)?
        }
        "nll_loss" => {
            let options = NllOptions { weight: weight(), ignore_index: ignore_index()?, reduction };
            nll_loss(x()?, target()?, &options)?
        }
        "binary_cross_entropy_with_logits" => {
            let pos_weight = args.maybe("pos_weight").cloned();
            let options = BceOptions { weight: weight(), pos_weight, reduction };
            binary_cross_entropy_with_logits(x()?, target()?, &options)?
        }
        "mse_loss" => mse_loss(x()?, target()?, reduction)?,
        "l1_loss" => l1_loss(x()?, target()?, reduction)?,
        "smooth_l1_loss" => smooth_l1_loss(x()?, target()?, number("beta", 1.0)?, reduction)?,
        "huber_loss" => huber_loss(x()?, target()?, number("delta", 1.0)?, reduction)?,
        "kl_div" => kl_div(x()?, target()?, args.flag("log_target")?, reduction)?,
        "hinge_embedding_loss" => hinge_embedding_loss(x()?, target()?, number("margin", 1.0)?, reduction)?,
        "cosine_embedding_loss" => {
            let (first, second) = (args.tensor("input1")?, args.tensor("input2")?);
            cosine_embedding_loss(first, second, target()?, number("margin", 0.0)?, reduction)?
        }
        "triplet_margin_loss" => {
            let options = TripletOptions {
                margin: number("margin", 1.0)?,
                p: number("p", 2.0)?,
                eps: number("eps", 1e-6)?,
                swap: args.flag("swap")?,
                reduction,
            };
            let (positive, negative) = (args.tensor("positive")?, args.tensor("negative")?);
            triplet_margin_loss(args.tensor("anchor")?, positive, negative, options)?
        }
        "ctc_loss" => {
            let blank = args.sizes::<1>("blank", 0)?[0];
            let options = CtcOptions { blank, reduction, zero_infinity: args.flag("zero_infinity")? };
            let log_probabilities = args.tensor("logits")?.log_softmax(-1)?;
            let (inputs, targets) = (lengths(args, "input_lengths")?, lengths(args, "target_lengths")?);
            ctc_loss(&log_probabilities, args.tensor("targets")?, &inputs, &targets, options)?
        }
        _ => return Ok(None),
    })
}

fn lengths(args: &Args, name: &str) -> Result<Vec<usize>> {
    let lengths: &Tensor = args.tensor(name)?;
    Ok(lengths.to_vec::<i32>()?.into_iter().map(|length| length.max(0) as usize).collect())
}
