//! Recurrent layers: the Elman network, LSTM and GRU, with PyTorch's names, gates and shapes.
//!
//! A layer projects its inputs of all steps in one product; one more kernel for each direction then
//! goes through the steps.

use super::{Init, Module, Param, Params};
use crate::ops::recurrent::Recurrence;
use crate::{Error, Result, Tensor};
use std::borrow::Borrow;

pub use crate::ops::recurrent::Cell;

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
    let mut x = if options.batch_first { x.clone() } else { x.transpose(0, 1)? };
    let (batch, steps) = (x.dims()[0], x.dims()[1]);
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
            let (starts, cells_start) = (start(initial.hidden)?, start(initial.cell)?);
            let reverse = direction == 1;
            let (output, last_cells) = direction_of(kind, &x, [&starts, &cells_start], weights, reverse)?;
            hidden.push(output.select(1, if reverse { 0 } else { steps - 1 })?);
            cells.extend(last_cells);
            outputs.push(output);
        }
        x = match &outputs[..] {
            [output] => output.clone(),
            _ => Tensor::concat(&outputs.iter().collect::<Vec<_>>(), 2)?,
        };
    }
    let stacked = |states: Vec<Tensor>| Tensor::stack(&states.iter().collect::<Vec<_>>(), 0);
    let cell = if kind == Cell::Lstm { Some(stacked(cells)?) } else { None };
    let output = if options.batch_first { x } else { x.transpose(0, 1)? };
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

/// One direction of one layer from sequences `[N, T, I]`: the states after every step, in the order of
/// the sequence, and an LSTM's last cells.
fn direction_of(
    cell: Cell,
    x: &Tensor,
    [hidden, cells]: [&Tensor; 2],
    weights: &Weights,
    reverse: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    // Where the two biases are only ever added together, one kernel adds both.
    let (input_bias, bias) = match &weights.biases {
        Some([input, state]) if cell == Cell::Gru => (Some(input), state.clone()),
        Some([input, state]) => (None, input.add(state)?),
        None => (None, Tensor::zeros(weights.weight_hh.dims()[0], x.engine())?),
    };
    let projected = x.linear(&weights.weight_ih, input_bias)?;
    Recurrence { cell, hidden, cells, weight: &weights.weight_hh, bias: &bias, reverse }.run(&projected)
}

/// What the three layers have in common.
#[derive(Clone, Debug)]
struct Stack {
    cell: Cell,
    weights: Vec<Weights<Param>>,
    options: RecurrentOptions,
    params: Params,
}

impl Stack {
    fn new(
        cell: Cell,
        params: &Params,
        inputs: usize,
        size: usize,
        options: RecurrentOptions,
    ) -> Result<Stack> {
        if !(0.0..=1.0).contains(&options.dropout) {
            let message = format!("the dropout {} is not a probability", options.dropout);
            return Err(Error::op(cell.name(), message));
        }
        let rows = cell.gates() * size;
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
        Ok(Stack { cell, weights, options, params: params.clone() })
    }

    fn run(&self, x: &Tensor, initial: Initial) -> Result<Sequence> {
        let values = |weights: &Weights<Param>| Weights {
            weight_ih: weights.weight_ih.get(),
            weight_hh: weights.weight_hh.get(),
            biases: weights.biases.as_ref().map(|biases| biases.each_ref().map(Param::get)),
        };
        let weights: Vec<Weights> = self.weights.iter().map(values).collect();
        let mut seed = || self.params.next_seed();
        let seed: Option<&mut dyn FnMut() -> u64> =
            if self.params.is_training() { Some(&mut seed) } else { None };
        recurrent(self.cell, x, initial, &weights, self.options, seed)
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
                self.0.run(x, initial)
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
    /// The Elman network, with `tanh` unless made by [`relu`](RNN::relu); see [`Cell::Rnn`].
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

impl RNN {
    /// As [`new`](RNN::new), with `relu` in place of `tanh`.
    pub fn relu(
        params: impl Borrow<Params>,
        inputs: usize,
        size: usize,
        options: RecurrentOptions,
    ) -> Result<RNN> {
        Ok(RNN(Stack::new(Cell::RnnRelu, params.borrow(), inputs, size, options)?))
    }
}
