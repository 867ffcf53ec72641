//! Attention and recurrent layers.

use super::{Args, Outputs, one};
use kiln::nn::recurrent::{Cell, Initial, RecurrentOptions, Weights, recurrent};
use kiln::ops::AttentionOptions;

pub fn run(op: &str, args: &Args) -> Outputs {
    let kind = match op {
        "rnn_tanh" => Cell::Rnn,
        "lstm" => Cell::Lstm,
        "gru" => Cell::Gru,
        "scaled_dot_product_attention" => {
            let dropped = args.number("dropout_p")?.unwrap_or(0.0) != 0.0;
            let options = AttentionOptions {
                mask: args.maybe("attn_mask"),
                is_causal: args.flag("is_causal")?,
                scale: args.number("scale")?,
                dropout: None,
                enable_gqa: args.flag("enable_gqa")?,
            };
            let (query, key, value) = (args.tensor("query")?, args.tensor("key")?, args.tensor("value")?);
            // Kiln's random numbers are not PyTorch's.
            let output = query.scaled_dot_product_attention(key, value, options)?;
            return if dropped { Ok(None) } else { one(output) };
        }
        _ => return Ok(None),
    };
    let mut options = RecurrentOptions {
        layers: args.sizes::<1>("num_layers", 1)?[0],
        bidirectional: args.flag("bidirectional")?,
        batch_first: args.flag("batch_first")?,
        ..Default::default()
    };
    // Whether there are biases shows in the inputs.
    args.flag("bias")?;
    let mut weights = Vec::new();
    for layer in 0..options.layers {
        for end in &["", "_reverse"][..1 + usize::from(options.bidirectional)] {
            let name = |what: &str| format!("{what}_l{layer}{end}");
            let biases = match (args.maybe(&name("bias_ih")), args.maybe(&name("bias_hh"))) {
                (Some(input), Some(state)) => Some([input.clone(), state.clone()]),
                _ => None,
            };
            options.bias = biases.is_some();
            weights.push(Weights {
                weight_ih: args.tensor(&name("weight_ih"))?.clone(),
                weight_hh: args.tensor(&name("weight_hh"))?.clone(),
                biases,
            });
        }
    }
    let initial = Initial { hidden: args.maybe("h0"), cell: args.maybe("c0") };
    let sequence = recurrent(kind, args.tensor("input")?, initial, &weights, options, None)?;
    Ok(Some([sequence.output, sequence.hidden].into_iter().chain(sequence.cell).collect()))
}
