//! Recurrent, attention and transformer layers: names, modes, and agreement with one step at a time.

use kiln::nn::recurrent::{Initial, RecurrentOptions};
use kiln::nn::{
    Embedding, GRU, GroupNorm, InstanceNorm2d, LSTM, LayerNorm, Module, MultiheadAttention, Params, RMSNorm,
    RNN, TransformerEncoderLayer, TransformerOptions,
};
use kiln::ops::AttentionOptions;
use kiln::{Engine, Result, Tensor};

fn fresh() -> Params {
    Params::new(&Engine::cpu(), 5)
}

fn names(params: &Params) -> Vec<String> {
    params.named().into_iter().map(|(name, param)| format!("{name} {}", param.get().shape())).collect()
}

#[track_caller]
fn assert_near(a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims());
    let (a, b): (Vec<f32>, Vec<f32>) = (a.to_vec().unwrap(), b.to_vec().unwrap());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T>, expected: &str) {
    let message = result.unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn parameters_have_pytorchs_names() -> Result<()> {
    let params = fresh();
    let options = RecurrentOptions { layers: 2, bidirectional: true, ..Default::default() };
    LSTM::new(&params, 3, 4, options)?;
    let all = names(&params);
    assert_eq!(
        all[..4],
        ["weight_ih_l0 [16, 3]", "weight_hh_l0 [16, 4]", "bias_ih_l0 [16]", "bias_hh_l0 [16]"]
    );
    assert_eq!(all[4], "weight_ih_l0_reverse [16, 3]");
    assert_eq!(all[12], "weight_ih_l1_reverse [16, 8]");
    assert_eq!(all.len(), 16);

    let params = fresh();
    TransformerEncoderLayer::new(
        &params,
        TransformerOptions { feedforward: 6, ..TransformerOptions::new(4, 2) },
    )?;
    let expected = [
        "self_attn.in_proj_weight [12, 4]",
        "self_attn.in_proj_bias [12]",
        "self_attn.out_proj.weight [4, 4]",
        "self_attn.out_proj.bias [4]",
        "linear1.weight [6, 4]",
        "linear1.bias [6]",
        "linear2.weight [4, 6]",
        "linear2.bias [4]",
        "norm1.weight [4]",
        "norm1.bias [4]",
        "norm2.weight [4]",
        "norm2.bias [4]",
    ];
    assert_eq!(names(&params), expected);

    let params = fresh();
    LayerNorm::new(&params / "ln", [2, 3])?;
    RMSNorm::new(&params / "rms", 3)?;
    GroupNorm::new(&params / "gn", 2, 4)?;
    InstanceNorm2d::affine(&params / "in", 4)?;
    Embedding::new(&params / "embed", 7, 2)?;
    let expected = [
        "ln.weight [2, 3]",
        "ln.bias [2, 3]",
        "rms.weight [3]",
        "gn.weight [4]",
        "gn.bias [4]",
        "in.weight [4]",
        "in.bias [4]",
        "embed.weight [7, 2]",
    ];
    assert_eq!(names(&params), expected);
    Ok(())
}

/// A sequence in two halves, the second from the first's state, is the sequence in one.
#[test]
fn states_carry_on() -> Result<()> {
    let params = fresh();
    let options = RecurrentOptions { layers: 2, batch_first: true, ..Default::default() };
    let x = Tensor::randn([2, 7, 3], 1, params.engine())?;
    let (first, second) = (x.narrow(1, 0, 4)?, x.narrow(1, 4, 3)?);
    let lstm = LSTM::new(&params / "lstm", 3, 4, options)?;
    let whole = lstm.run(&x, Initial::default())?;
    let start = lstm.run(&first, Initial::default())?;
    let initial = Initial { hidden: Some(&start.hidden), cell: start.cell.as_ref() };
    let rest = lstm.run(&second, initial)?;
    assert_near(&Tensor::concat(&[&start.output, &rest.output], 1)?, &whole.output);
    assert_near(&rest.hidden, &whole.hidden);
    assert_near(rest.cell.as_ref().unwrap(), whole.cell.as_ref().unwrap());
    let (gru, rnn) = (GRU::new(&params / "gru", 3, 4, options)?, RNN::new(&params / "rnn", 3, 4, options)?);
    let run = |x: &Tensor, hidden: Option<&Tensor>| {
        let initial = Initial { hidden, cell: None };
        Ok::<_, kiln::Error>([gru.run(x, initial)?, rnn.run(x, initial)?])
    };
    for which in 0..2 {
        let start = &run(&first, None)?[which];
        assert!(start.cell.is_none());
        let rest = &run(&second, Some(&start.hidden))?[which];
        assert_near(&rest.hidden, &run(&x, None)?[which].hidden);
    }
    Ok(())
}

/// The reverse direction is the forward one of the reversed sequence.
#[test]
fn both_directions() -> Result<()> {
    let params = fresh();
    let options = RecurrentOptions { bidirectional: true, bias: false, ..Default::default() };
    let gru = GRU::new(&params / "both", 3, 4, options)?;
    let single = GRU::new(&params / "single", 3, 4, RecurrentOptions { bidirectional: false, ..options })?;
    let [both, one] = ["both", "single"].map(|part| (&params / part).named());
    for (at, (name, param)) in one.iter().enumerate() {
        assert_eq!(format!("{name}_reverse"), both[2 + at].0);
        param.set(both[2 + at].1.get())?;
    }
    let x = Tensor::randn([5, 2, 3], 1, params.engine())?;
    let reverse = gru.forward(&x)?.narrow(2, 4, 4)?;
    assert_near(&reverse, &single.forward(&x.flip(0)?)?.flip(0)?);
    Ok(())
}

/// With weights of 1 and no biases a unit adds up what it sees, and keeps nothing below 0.
#[test]
fn a_network_with_relu() -> Result<()> {
    let params = fresh();
    let options = RecurrentOptions { bias: false, ..Default::default() };
    let rnn = RNN::relu(&params, 1, 1, options)?;
    for (_, param) in params.named() {
        param.set(Tensor::ones([1, 1], params.engine())?)?;
    }
    let x = Tensor::from_slice(&[1.0f32, 2.0, -5.0, 4.0], [4, 1, 1], params.engine())?;
    assert_eq!(rnn.forward(&x)?.to_vec::<f32>()?, [1.0, 3.0, 0.0, 4.0]);
    Ok(())
}

#[test]
fn dropout_follows_the_mode() -> Result<()> {
    let params = fresh();
    let options = RecurrentOptions { layers: 2, dropout: 0.5, ..Default::default() };
    let lstm = LSTM::new(&params / "lstm", 3, 8, options)?;
    let layer = TransformerOptions { dropout: 0.5, feedforward: 8, ..TransformerOptions::new(8, 2) };
    let encoder = TransformerEncoderLayer::new(&params / "encoder", layer)?;
    let x = Tensor::randn([6, 2, 3], 1, params.engine())?;
    let tokens = Tensor::randn([2, 6, 8], 2, params.engine())?;
    let twice = |module: &dyn Module, x: &Tensor| {
        Ok::<_, kiln::Error>(module.forward(x)?.to_vec::<f32>()? == module.forward(x)?.to_vec::<f32>()?)
    };
    assert!(!twice(&lstm, &x)? && !twice(&encoder, &tokens)?);
    params.eval();
    assert!(twice(&lstm, &x)? && twice(&encoder, &tokens)?);
    Ok(())
}

/// With a causal mask a token's result does not depend on those after it, as one product for query, key
/// and value or as three.
/// The gradients to the second order of attention to oneself are those of attention to a copy, whose queries, keys and
/// values are projected one by one.
#[test]
fn one_projection_has_the_gradients_of_three() -> Result<()> {
    for engine in [Ok(Engine::cpu()), Engine::new("gpu")].into_iter().flatten() {
        let params = Params::new(&engine, 5);
        let attention = MultiheadAttention::new(&params / "attention", 8, 2)?;
        let x = Tensor::randn([2, 35, 8], 1, &engine)?.variable()?;
        let mut found = Vec::new();
        for copied in [false, true] {
            let other = if copied { x.mul(1.0)? } else { x.clone() };
            let loss = attention.attend(&x, &other, &other, None, true)?.square()?.sum(.., false)?;
            let wanted = [x.clone(), attention.in_proj_weight.get(), attention.in_proj_bias.get()];
            let gradients = loss.backward()?;
            let mut all: Vec<Tensor> = wanted.iter().map(|x| gradients.get(x).unwrap().clone()).collect();
            let again = loss.grad(&[&wanted[0]])?.remove(0).square()?.sum(.., false)?;
            all.extend(again.grad(&[&wanted[0], &wanted[1]])?);
            found.push(all);
        }
        for (one, three) in found[0].iter().zip(&found[1]) {
            let largest = three.abs()?.max(.., false)?.item()?;
            assert!(largest > 0.1, "{largest}");
            let apart = one.sub(three)?.abs()?.max(.., false)?.item()?;
            assert!(apart < 1e-4 * largest, "{apart} of {largest}");
        }
    }
    Ok(())
}

/// The most memory that attention of 2 heads over 1024 tokens takes, forwards and back.
fn peak_of_attention(engine: &Engine, dropout: Option<(f64, u64)>) -> Result<u64> {
    let x = Tensor::randn([2, 1024, 16], 1, engine)?.variable()?;
    let options = AttentionOptions { dropout, ..Default::default() };
    let y = x.scaled_dot_product_attention(&x, &x, options)?;
    let gradients = y.square()?.sum(.., false)?.backward()?;
    assert!(gradients.get(&x).unwrap().to_vec::<f32>()?.iter().all(|gradient| gradient.is_finite()));
    Ok(engine.memory().peak)
}

#[test]
fn attention_has_no_matrix_of_scores() -> Result<()> {
    const SCORES: u64 = 2 * 1024 * 1024 * 4;
    assert!(peak_of_attention(&Engine::cpu(), Some((0.0, 1)))? > SCORES);
    let engines = [Ok(Engine::cpu()), Engine::new("gpu")];
    for engine in engines.into_iter().flatten() {
        let peak = peak_of_attention(&engine, None)?;
        assert!(peak < SCORES / 2, "{peak} bytes");
    }
    Ok(())
}

#[test]
fn attention_over_what_may_be_seen() -> Result<()> {
    let params = fresh();
    let attention = MultiheadAttention::new(&params / "attention", 8, 2)?;
    let x = Tensor::randn([2, 5, 8], 3, params.engine())?;
    let start = x.narrow(1, 0, 3)?;
    let causal = attention.attend(&x, &x, &x, None, true)?;
    assert_near(&causal.narrow(1, 0, 3)?, &attention.attend(&start, &start, &start, None, true)?);
    let copy = x.mul(1.0)?;
    assert_near(&causal, &attention.attend(&x, &copy, &copy, None, true)?);
    let seen = Tensor::ones([5, 5], params.engine())?.cast(kiln::DType::Bool)?;
    assert_near(&attention.forward(&x)?, &attention.attend(&x, &x, &x, Some(&seen), false)?);
    assert_refused(attention.attend(&x, &start, &x, None, false), "[..., S, E]");
    assert_refused(attention.forward(&x.narrow(2, 0, 4)?), "not [N, length, 8]");
    assert_refused(MultiheadAttention::new(&params / "odd", 8, 3), "3 heads");
    Ok(())
}

#[test]
fn sequences_that_do_not_fit_are_refused() -> Result<()> {
    let params = fresh();
    let lstm = LSTM::new(&params / "lstm", 3, 4, RecurrentOptions::default())?;
    let zeros = |shape: [usize; 3]| Tensor::zeros(shape, params.engine());
    assert_refused(lstm.forward(&zeros([5, 2, 4])?), "LSTM: a weight is [16, 3], expected [16, 4]");
    assert_refused(lstm.forward(&zeros([0, 2, 3])?), "no steps");
    assert_refused(lstm.forward(&Tensor::zeros([5, 3], params.engine())?), "not a batch of sequences");
    let wrong = zeros([1, 3, 4])?;
    let initial = Initial { hidden: Some(&wrong), cell: None };
    assert_refused(lstm.run(&zeros([5, 2, 3])?, initial), "expected [1, 2, 4]");
    let none = RNN::new(&params / "none", 3, 4, RecurrentOptions { layers: 0, ..Default::default() })?;
    assert_refused(none.forward(&zeros([5, 2, 3])?), "0 layers");
    assert_eq!(lstm.forward(&zeros([5, 0, 3])?)?.dims(), [5, 0, 4]);
    let embedding = Embedding::new(&params / "embed", 4, 2)?;
    assert_refused(embedding.forward(&zeros([1, 1, 1])?), "i32");
    assert_refused(embedding.forward(&Tensor::from_slice(&[4], 1, params.engine())?), "index 4");
    Ok(())
}

/// Cutting a long sequence into steps costs no more than a step's share of it.
#[test]
fn gradients_of_a_long_sequence() -> Result<()> {
    let params = fresh();
    let gru = GRU::new(&params / "gru", 2, 3, RecurrentOptions::default())?;
    let x = Tensor::randn([600, 1, 2], 1, params.engine())?.variable()?;
    let gradients = gru.forward(&x)?.square()?.mean(.., false)?.backward()?;
    let values: Vec<f32> = gradients.get(&x).unwrap().to_vec()?;
    assert!(values.iter().all(|g| g.is_finite() && *g != 0.0));
    Ok(())
}
