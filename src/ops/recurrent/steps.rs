//! The network step by step, in ordinary ops.

use super::{Cell, Pass};
use crate::{Result, Tensor};

/// The states that [`Forward`](super::Forward) computes, from the same inputs with the weight as given.
pub(super) fn states(pass: &Pass, inputs: &[Tensor]) -> Result<Tensor> {
    // As many as the op checked.
    let [projected, hidden, weight, bias] = [0, 1, 2, 3].map(|i: usize| &inputs[i]);
    let mut state = State { hidden: hidden.clone(), cell: inputs.get(4).cloned() };
    let mut steps = unbind(&projected.transpose(0, 1)?)?;
    if pass.reverse {
        steps.reverse();
    }
    let mut outputs = Vec::with_capacity(steps.len());
    for input in &steps {
        let product = state.hidden.linear(weight, Some(bias))?;
        state = step(pass.cell, input, &product, &state)?;
        outputs.push(state.hidden.clone());
    }
    if pass.reverse {
        outputs.reverse();
    }
    let outputs = Tensor::stack(&outputs.iter().collect::<Vec<_>>(), 1)?;
    let outputs = outputs.reshape([pass.batch * pass.steps, pass.size])?;
    match &state.cell {
        Some(cell) => Tensor::concat(&[&outputs, cell], 0),
        None => Ok(outputs),
    }
}

/// The state between two steps, `[N, H]` each; the cell is an LSTM's.
struct State {
    hidden: Tensor,
    cell: Option<Tensor>,
}

/// The state after a step, from the products `[N, G]` with the input and with the state before.
fn step(kind: Cell, input: &Tensor, product: &Tensor, state: &State) -> Result<State> {
    let size = state.hidden.dims()[1];
    let gate = |t: &Tensor, at: usize| t.narrow(1, at * size, size);
    match (kind, &state.cell) {
        (Cell::Lstm, Some(cell)) => {
            let gates = input.add(product)?;
            let sigmoid = |at: usize| gate(&gates, at)?.sigmoid();
            let new = sigmoid(0)?.mul(&gate(&gates, 2)?.tanh()?)?;
            let cell = sigmoid(1)?.mul(cell)?.add(&new)?;
            Ok(State { hidden: sigmoid(3)?.mul(&cell.tanh()?)?, cell: Some(cell) })
        }
        (Cell::Gru, _) => {
            let sigmoid = |at: usize| gate(input, at)?.add(&gate(product, at)?)?.sigmoid();
            let new = gate(input, 2)?.add(&sigmoid(0)?.mul(&gate(product, 2)?)?)?.tanh()?;
            // (1 - z) n + z h, with one product less.
            let hidden = new.add(&sigmoid(1)?.mul(&state.hidden.sub(&new)?)?)?;
            Ok(State { hidden, cell: None })
        }
        (Cell::RnnRelu, _) => Ok(State { hidden: input.add(product)?.relu()?, cell: None }),
        (Cell::Rnn | Cell::Lstm, _) => Ok(State { hidden: input.add(product)?.tanh()?, cell: None }),
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
