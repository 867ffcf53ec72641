//! Recurrent layers: the Elman network, LSTM and GRU, with PyTorch's names, gates and shapes.
//!
//! A layer projects its inputs of all steps in one product; what is left for a step is the product
//! with the state before it and the gates.

use super::{Init, Module, Param, Params};
use crate::{Error, Result, Tensor};
use std::borrow::Borrow;

/// What happens in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `tanh(W x + b + U h + c)` (Elman 1990).
    Rnn,
    /// Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate; the weights hold
    /// the gates in the order input, forget, cell, output.
    Lstm,
    /// Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), the reset gate applied after the
    /// product with the state; the weights hold the gates in the order reset, update, new.
    Gru,
}

impl Cell {
    /// How many vectors of the state's size the weights compute.
    fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Lstm => 4,
            Cell::Gru => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Cell::Rnn => "RNN",
            Cell::Lstm => "LSTM",
            Cell::Gru => "GRU",
        }
    }
}

/// The weights of one direction of one layer; `G` is the number of gates times the state's size `H`.
#[derive(Clone, Debug)]
pub struct Weights<T = Tensor> {
    /// For the input, `[G, I]`.
    pub weight_ih: T,
    /// For the state, `[G, H]`.
    pub weight_hh: T,
    /// Both `[G]`, for the input's and the state's product.
    pub biases: Option<[T; 2]>,
}

/// How the layers are put together; see [`recurrent`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrentOptions {
    /// Layers on top of each other.
    pub layers: usize,
    /// Whether every layer also goes through the sequence from its end; the results of both
    /// directions stand side by side.
    pub bidirectional: bool,
    /// Whether sequences are `[N, T, I]`, and not `[T, N, I]` as in PyTorch by default.
    pub batch_first: bool,
    /// Whether products have biases.
    pub bias: bool,
    /// The probability with which an element between two layers is dropped in training.
    pub dropout: f64,
}

impl Default for RecurrentOptions {
    /// One layer, one direction, time first, with biases, no dropout.
    fn default() -> RecurrentOptions {
        RecurrentOptions { layers: 1, bidirectional: false, batch_first: false, bias: true, dropout: 0.0 }
    }
}

/// What [`recurrent`] returns.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The states after every step of the last layer, `[T, N, directions * H]` (`[N, T, ...]` with
    /// `batch_first`).
    pub output: Tensor,
    /// The last state of every layer and direction, `[layers * directions, N, H]`.
    pub hidden: Tensor,
    /// The same of an LSTM's cells.
    pub cell: Option<Tensor>,
}

/// The initial states: `[layers * directions, N, H]` each, zero where they are absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Initial<'a> {
    /// The states.
    pub hidden: Option<&'a Tensor>,
    /// An LSTM's cells.
    pub cell: Option<&'a Tensor>,
}

/// Runs a recurrent network over sequences `[T, N, I]`. The weights are those of layer 0, of its
/// reverse direction where there is one, of layer 1 and so on. `seed` makes the dropout between
/// layers, which `None` leaves out.
///
/// An error where the shapes do not fit, the number of weights is not that of layers times
/// directions, or there are no steps.
pub fn recurrent(
    kind: Cell,
    x: &Tensor,
    initial: Initial,
    weights: &[Weights],
    options: RecurrentOptions,
    mut seed: Option<&mut dyn FnMut() -> u64>,
) -> Result<Sequence> {
    let refuse = |message: String| Err(Error::op(kind.name(), message));
    let directions = 1 + usize::from(options.bidirectional);
    if options.layers == 0 || weights.len() != options.layers * directions {
        let layers = options.layers;
        return refuse(format!("{} weights for {layers} layers in {directions} directions", weights.len()));
    }
    if x.rank() != 3 {
        return refuse(format!("input {} is not a batch of sequences", x.shape()));
    }
    let mut x = if options.batch_first { x.transpose(0, 1)? } else { x.clone() };
    let (steps, batch) = (x.dims()[0], x.dims()[1]);
    if steps == 0 {
        return refuse(format!("input {} has no steps", x.shape()));
    }
    let size = weights[0].weight_hh.dims().last().copied().unwrap_or(0);
    for (what, given) in [("hidden", initial.hidden), ("cell", initial.cell)] {
        let wanted = [weights.len(), batch, size];
        if let Some(given) = given.filter(|given| given.dims() != wanted) {
            return refuse(format!("the initial {what} state is {}, expected {wanted:?}", given.shape()));
        }
    }
    let (mut hidden, mut cells) = (Vec::new(), Vec::new());
    for (layer, weights) in weights.chunks(directions).enumerate() {
        if let Some(next) = seed.as_mut().filter(|_| layer > 0 && options.dropout > 0.0) {
            x = x.dropout(options.dropout, next())?;
        }
        let mut outputs = Vec::new();
        for (direction, weights) in weights.iter().enumerate() {
            check(kind, weights, x.dims()[2], size)?;
            let slot = layer * directions + direction;
            let start = |state: Option<&Tensor>| match state {
                Some(state) => state.select(0, slot),
                None => Tensor::zeros([batch, size], x.engine()),
            };
            let state = State { hidden: start(initial.hidden)?, cell: start(initial.cell)? };
            let (output, last) = direction_of(kind, &x, state, weights, direction == 1)?;
            outputs.push(output);
            hidden.push(last.hidden);
            cells.push(last.cell);
        }
        x = Tensor::concat(&outputs.iter().collect::<Vec<_>>(), 2)?;
    }
    let stacked = |states: Vec<Tensor>| Tensor::stack(&states.iter().collect::<Vec<_>>(), 0);
    let cell = if kind == Cell::Lstm { Some(stacked(cells)?) } else { None };
    let output = if options.batch_first { x.transpose(0, 1)? } else { x };
    Ok(Sequence { output, hidden: stacked(hidden)?, cell })
}

fn check(kind: Cell, weights: &Weights, inputs: usize, size: usize) -> Result<()> {
    let rows = kind.gates() * size;
    let biases = weights.biases.iter().flatten();
    let wanted = [(&weights.weight_ih, vec![rows, inputs]), (&weights.weight_hh, vec![rows, size])];
    for (tensor, wanted) in wanted.into_iter().chain(biases.map(|bias| (bias, vec![rows]))) {
        if tensor.dims() != wanted {
            let message = format!("a weight is {}, expected {wanted:?}", tensor.shape());
            return Err(Error::op(kind.name(), message));
        }
    }
    Ok(())
}

/// The state between two steps, `[N, H]` each; the cell is an LSTM's.
struct State {
    hidden: Tensor,
    cell: Tensor,
}

/// One direction of one layer: the states after every step `[T, N, H]`, in the order of the
/// sequence, and the last one.
fn direction_of(
    kind: Cell,
    x: &Tensor,
    mut state: State,
    weights: &Weights,
    reverse: bool,
) -> Result<(Tensor, State)> {
    let [input_bias, state_bias] = match &weights.biases {
        // Where the two biases are only ever added together, they are once for all steps.
        Some([input, state]) if kind != Cell::Gru => [Some(input.add(state)?), None],
        Some([input, state]) => [Some(input.clone()), Some(state.clone())],
        None => [None, None],
    };
    let projected = x.linear(&weights.weight_ih, input_bias.as_ref())?;
    let mut steps = unbind(&projected)?;
    if reverse {
        steps.reverse();
    }
    let mut outputs = Vec::with_capacity(steps.len());
    for input in &steps {
        let product = state.hidden.linear(&weights.weight_hh, state_bias.as_ref())?;
        state = step(kind, input, &product, &state)?;
        outputs.push(state.hidden.clone());
    }
    if reverse {
        outputs.reverse();
    }
    Ok((Tensor::stack(&outputs.iter().collect::<Vec<_>>(), 0)?, state))
}

/// The state after a step, from the products `[N, G]` with the input and with the state before.
fn step(kind: Cell, input: &Tensor, product: &Tensor, state: &State) -> Result<State> {
    let size = state.hidden.dims()[1];
    let gate = |t: &Tensor, at: usize| t.narrow(1, at * size, size);
    let cell = state.cell.clone();
    match kind {
        Cell::Rnn => Ok(State { hidden: input.add(product)?.tanh()?, cell }),
        Cell::Lstm => {
            let gates = input.add(product)?;
            let sigmoid = |at: usize| gate(&gates, at)?.sigmoid();
            let new = sigmoid(0)?.mul(&gate(&gates, 2)?.tanh()?)?;
            let cell = sigmoid(1)?.mul(&cell)?.add(&new)?;
            Ok(State { hidden: sigmoid(3)?.mul(&cell.tanh()?)?, cell })
        }
        Cell::Gru => {
            let sigmoid = |at: usize| gate(input, at)?.add(&gate(product, at)?)?.sigmoid();
            let new = gate(input, 2)?.add(&sigmoid(0)?.mul(&gate(product, 2)?)?)?.tanh()?;
            // (1 - z) n + z h, with one product less.
            let hidden = new.add(&sigmoid(1)?.mul(&state.hidden.sub(&new)?)?)?;
            Ok(State { hidden, cell })
        }
    }
}

/// The parts of the first dimension, without it. Halved again and again: the gradient of a part is
/// padded to its whole, so parts cut off one by one would cost the square of their number.
fn unbind(x: &Tensor) -> Result<Vec<Tensor>> {
    let count = x.dims()[0];
    if count < 2 {
        return Ok(vec![x.squeeze(0)?]);
    }
    let mut parts = unbind(&x.narrow(0, 0, count / 2)?)?;
    parts.append(&mut unbind(&x.narrow(0, count / 2, count - count / 2)?)?);
    Ok(parts)
}

/// What the three layers have in common.
#[derive(Clone, Debug)]
struct Stack {
    weights: Vec<Weights<Param>>,
    options: RecurrentOptions,
    params: Params,
}

impl Stack {
    fn new(
        kind: Cell,
        params: &Params,
        inputs: usize,
        size: usize,
        options: RecurrentOptions,
    ) -> Result<Stack> {
        if !(0.0..=1.0).contains(&options.dropout) {
            let message = format!("the dropout {} is not a probability", options.dropout);
            return Err(Error::op(kind.name(), message));
        }
        let rows = kind.gates() * size;
        let mut weights = Vec::new();
        for layer in 0..options.layers {
            for end in &["", "_reverse"][..1 + usize::from(options.bidirectional)] {
                let inputs =
                    if layer == 0 { inputs } else { size * (1 + usize::from(options.bidirectional)) };
                let init = Init::bias(size);
                let name = |what: &str| format!("{what}_l{layer}{end}");
                let weight_ih = params.parameter(&name("weight_ih"), [rows, inputs], init)?;
                let weight_hh = params.parameter(&name("weight_hh"), [rows, size], init)?;
                let bias = |what: &str| params.parameter(&name(what), rows, init);
                let biases = if options.bias { Some([bias("bias_ih")?, bias("bias_hh")?]) } else { None };
                weights.push(Weights { weight_ih, weight_hh, biases });
            }
        }
        Ok(Stack { weights, options, params: params.clone() })
    }

    fn run(&self, kind: Cell, x: &Tensor, initial: Initial) -> Result<Sequence> {
        let values = |weights: &Weights<Param>| Weights {
            weight_ih: weights.weight_ih.get(),
            weight_hh: weights.weight_hh.get(),
            biases: weights.biases.as_ref().map(|biases| biases.each_ref().map(Param::get)),
        };
        let weights: Vec<Weights> = self.weights.iter().map(values).collect();
        let mut seed = || self.params.next_seed();
        let seed: Option<&mut dyn FnMut() -> u64> =
            if self.params.is_training() { Some(&mut seed) } else { None };
        recurrent(kind, x, initial, &weights, self.options, seed)
    }
}

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident => $cell:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// As a [`Module`] it starts from zeros and gives the states after every step of its last
        /// layer.
        #[derive(Clone, Debug)]
        pub struct $name(Stack);

        impl $name {
            /// A network for inputs of `inputs` elements and states of `size`, its weights uniform within
            /// `1 / sqrt(size)` of 0 at first, as in PyTorch. An error where the path is taken or the
            /// dropout is no probability.
            pub fn new(
                params: impl Borrow<Params>,
                inputs: usize,
                size: usize,
                options: RecurrentOptions,
            ) -> Result<$name> {
                Ok($name(Stack::new(Cell::$cell, params.borrow(), inputs, size, options)?))
            }

            /// The states after every step and the last ones, from these: see [`recurrent`].
            pub fn run(&self, x: &Tensor, initial: Initial) -> Result<Sequence> {
                self.0.run(Cell::$cell, x, initial)
            }
        }

        impl Module for $name {
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                Ok(self.run(x, Initial::default())?.output)
            }
        }
    )*};
}

layers! {
    /// The Elman network with `tanh`; see [`Cell::Rnn`].
    RNN => Rnn;
    /// Long short-term memory; see [`Cell::Lstm`].
    ///
    /// ```
    /// use kiln::nn::{LSTM, Module, Params, recurrent::RecurrentOptions};
    /// let params = Params::new(&kiln::Engine::cpu(), 0);
    /// let options = RecurrentOptions { batch_first: true, ..Default::default() };
    /// let lstm = LSTM::new(&params / "lstm", 8, 32, options)?;
    /// let x = kiln::Tensor::rand([2, 20, 8], 0, params.engine())?;
    /// assert_eq!(lstm.forward(&x)?.dims(), [2, 20, 32]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    LSTM => Lstm;
    /// Gated recurrent units; see [`Cell::Gru`].
    GRU => Gru;
}
