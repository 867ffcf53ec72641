//! Recurrent networks: all steps of one direction of a layer in one kernel.
//!
//! What a step needs of its inputs is projected for all steps in one product before; what is left
//! is the product with the state before and the gates. Sequences of a batch do not depend on each
//! other, so threads and workgroups go through theirs without waiting for anybody. [`steps`] is
//! the same written in ordinary ops: the plain reference, and what second derivatives are made of.

mod cpu;
mod gpu;
mod packed;
mod steps;

use crate::device::{Caps, Plan};
use crate::graph::grad::differentiable;
use crate::tensor::{no_grad, records_gradients};
use crate::{DType, Error, Identity, Layout, Op, Output, Result, Shape, Spec, Tensor, View};

/// What happens in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// `tanh(W x + b + U h + c)` (Elman 1990).
    Rnn,
    /// The same with `relu` in place of `tanh`.
    RnnRelu,
    /// Long short-term memory (Hochreiter and Schmidhuber 1997) with a forget gate; the weights hold
    /// the gates in the order input, forget, cell, output.
    Lstm,
    /// Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), the reset gate applied after the
    /// product with the state; the weights hold the gates in the order reset, update, new.
    Gru,
}

impl Cell {
    /// How many vectors of the state's size the weights compute.
    pub(crate) fn gates(self) -> usize {
        match self {
            Cell::Rnn | Cell::RnnRelu => 1,
            Cell::Lstm => 4,
            Cell::Gru => 3,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Cell::Rnn | Cell::RnnRelu => "RNN",
            Cell::Lstm => "LSTM",
            Cell::Gru => "GRU",
        }
    }
}

/// One direction of one layer. In what follows N is the batch, T the steps, H the state's size and G
/// the gates times H.
///
/// The states of an LSTM are the outputs `[N, T, H]` and then the last cells `[N, H]`; of the others
/// the outputs alone.
#[derive(Clone, Copy, Debug, Hash)]
struct Pass {
    cell: Cell,
    batch: usize,
    steps: usize,
    size: usize,
    /// From the end of the sequence to its start.
    reverse: bool,
    /// Whether what the gradient needs stands behind the states: for each place `[N, T]` of an LSTM
    /// the cell before the step and the four gates, of a GRU the state before, its three gates and
    /// the new gate's product with the state. An RNN's gradient needs its states only.
    saves: bool,
}

impl Pass {
    /// The gates times the size.
    fn width(&self) -> usize {
        self.cell.gates() * self.size
    }

    /// The place in the sequence of step number `step`.
    fn time(&self, step: usize) -> usize {
        if self.reverse { self.steps - 1 - step } else { step }
    }

    /// Elements of all outputs.
    fn outputs(&self) -> usize {
        self.batch * self.steps * self.size
    }

    /// Elements of a state, or of an LSTM's cells.
    fn state(&self) -> usize {
        self.batch * self.size
    }

    /// Elements of an LSTM's last cells.
    fn cells(&self) -> usize {
        if self.cell == Cell::Lstm { self.state() } else { 0 }
    }

    /// Elements saved of one place.
    fn saved(&self) -> usize {
        if self.saves && self.cell.gates() > 1 { 5 * self.size } else { 0 }
    }

    /// The dimensions of the inputs: the projected sequence, the state, the state's weight (as
    /// given, or transposed), its bias, and an LSTM's cells.
    fn inputs(&self, transposed: bool) -> Vec<Vec<usize>> {
        let Pass { batch, steps, size, .. } = *self;
        let weight = if transposed { vec![size, self.width()] } else { vec![self.width(), size] };
        let mut dims = vec![vec![batch, steps, self.width()], vec![batch, size], weight, vec![self.width()]];
        dims.extend((self.cell == Cell::Lstm).then(|| vec![batch, size]));
        dims
    }

    fn check(&self, inputs: &[Spec], expected: &[Vec<usize>]) -> Result<()> {
        let fits =
            |(input, dims): (&Spec, &Vec<usize>)| input.dtype == DType::F32 && input.shape().dims() == dims;
        if inputs.len() == expected.len() && inputs.iter().zip(expected).all(fits) {
            return Ok(());
        }
        let given: Vec<_> = inputs.iter().map(|input| format!("{} {}", input.dtype, input.shape())).collect();
        let message = format!("inputs {} where f32 {expected:?} are expected", given.join(", "));
        Err(Error::op(self.cell.name(), message))
    }

    /// The shape of the states: rows of H.
    fn states(&self) -> Result<Shape> {
        let cells = if self.cell == Cell::Lstm { self.batch } else { 0 };
        Shape::new(&[self.batch * self.steps + cells, self.size])
    }

    /// The outputs `[N, T, H]` as a view of the states.
    fn output(&self, states: &Tensor) -> Result<Tensor> {
        states.narrow(0, 0, self.batch * self.steps)?.reshape([self.batch, self.steps, self.size])
    }

    /// The state before every step, `[N * T, H]`.
    fn before(&self, states: &Tensor, initial: &Tensor) -> Result<Tensor> {
        let (output, initial) = (self.output(states)?, initial.unsqueeze(1)?);
        let others = output.narrow(1, usize::from(self.reverse), self.steps - 1)?;
        let parts = if self.reverse { [&others, &initial] } else { [&initial, &others] };
        Tensor::concat(&parts, 1)?.reshape([self.batch * self.steps, self.size])
    }
}

/// Goes through the sequence: the states, and behind them what is saved, one after the other.
#[derive(Debug, Hash)]
struct Forward(Pass);

impl Op for Forward {
    fn name(&self) -> &'static str {
        self.0.cell.name()
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        let pass = &self.0;
        pass.check(inputs, &pass.inputs(true))?;
        let places = pass.batch * pass.steps;
        let elements = pass.outputs() + pass.cells() + places * pass.saved();
        Ok(Spec::new(DType::F32, Shape::new(&[elements])?))
    }

    fn flops(&self, _: &[Spec], _: &Spec) -> u64 {
        2 * self.0.outputs() as u64 * self.0.width() as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let inputs: Vec<&[f32]> = inputs.iter().map(View::slice).collect();
        cpu::forward(&self.0, &inputs, output.slice());
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, _: &[Spec], _: &Spec, caps: &Caps) -> Option<Plan> {
        Some(gpu::forward(&self.0, caps))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(Error::op(self.name(), "has its gradient where its states are seen"))
    }
}

/// Sees the states of a [`Forward`], which is the first input; the others are its own inputs, with the
/// weight as given. Gradients go past the kernel to these, and what was saved has none.
#[derive(Debug)]
struct States(Pass);

impl Op for States {
    fn name(&self) -> &'static str {
        self.0.cell.name()
    }

    fn output(&self, inputs: &[Spec]) -> Result<Spec> {
        self.0.check(&inputs[1..], &self.0.inputs(false))?;
        Ok(Spec::new(DType::F32, self.0.states()?))
    }

    fn view(&self, input: &Layout) -> Option<Layout> {
        let shape = self.0.states().ok()?;
        input.slice(0, 0, shape.elements(), 1).reshape(shape)
    }

    fn gradient(&self, inputs: &[Tensor], states: &Tensor, upstream: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (pass, own) = (&self.0, &inputs[1..]);
        let mut gradients = vec![None];
        if records_gradients() {
            gradients.extend(differentiable(own, &[], upstream, &|own| steps::states(pass, own))?);
            return Ok(gradients);
        }
        let Pass { batch, steps, size, .. } = *pass;
        let (places, width) = (batch * steps, pass.width());
        let packed = Tensor::apply(Backward(*pass), &[&inputs[0], upstream, &own[2]])?;
        let mut place = 0;
        let mut part = |rows: usize, columns: usize| {
            let start = place;
            place += rows * columns;
            packed.narrow(0, start, rows * columns)?.reshape([rows, columns])
        };
        let products = part(places, width)?;
        let hidden = part(batch, size)?;
        let (input, cells) = match pass.cell {
            Cell::Lstm => (products.clone(), Some(part(batch, size)?)),
            Cell::Gru => (part(places, width)?, None),
            Cell::Rnn | Cell::RnnRelu => (products.clone(), None),
        };
        gradients.push(Some(input.reshape([batch, steps, width])?));
        gradients.push(Some(hidden));
        gradients.push(Some(products.t()?.matmul(&pass.before(states, &own[1])?)?));
        gradients.push(Some(products.sum(0, false)?));
        gradients.extend(cells.map(Some));
        Ok(gradients)
    }
}

/// Goes back through the sequence. Inputs: what [`Forward`] made, the gradient of the states, the
/// weight as given. One after the other: the gradients of the products with the state `[N * T, G]`,
/// of the initial state `[N, H]`, and of an LSTM's initial cells `[N, H]` or a GRU's projected inputs
/// `[N * T, G]` (those of the others are the products').
#[derive(Debug, Hash)]
struct Backward(Pass);

impl Op for Backward {
    fn name(&self) -> &'static str {
        match self.0.cell {
            Cell::Rnn | Cell::RnnRelu => "RNN_gradient",
            Cell::Lstm => "LSTM_gradient",
            Cell::Gru => "GRU_gradient",
        }
    }

    fn output(&self, _: &[Spec]) -> Result<Spec> {
        let pass = &self.0;
        let products = pass.batch * pass.steps * pass.width();
        let inputs = if pass.cell == Cell::Gru { products } else { 0 };
        Ok(Spec::new(DType::F32, Shape::new(&[products + pass.state() + pass.cells() + inputs])?))
    }

    fn flops(&self, _: &[Spec], _: &Spec) -> u64 {
        2 * self.0.outputs() as u64 * self.0.width() as u64
    }

    fn cpu(&self, inputs: &[View], output: &mut Output) -> Result<()> {
        let [saved, upstream, weight] = [0, 1, 2].map(|i: usize| inputs[i].slice());
        cpu::backward(&self.0, saved, upstream, weight, output.slice());
        Ok(())
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn gpu(&self, _: &[Spec], _: &Spec, caps: &Caps) -> Option<Plan> {
        Some(gpu::backward(&self.0, caps))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(Error::op(self.name(), "is only recorded where no gradient of it is wanted"))
    }
}

/// The tensors one direction of a layer starts from, besides the sequence.
pub(crate) struct Recurrence<'a> {
    pub cell: Cell,
    /// `[N, H]`.
    pub hidden: &'a Tensor,
    /// `[N, H]`, an LSTM's.
    pub cells: &'a Tensor,
    /// `[G, H]`.
    pub weight: &'a Tensor,
    /// `[G]`, added to the product with the state.
    pub bias: &'a Tensor,
    pub reverse: bool,
}

impl Recurrence<'_> {
    /// The outputs `[N, T, H]`, in the order of the sequence, and an LSTM's last cells, from the
    /// projected inputs `[N, T, G]`; T must not be 0.
    pub fn run(&self, projected: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let &[batch, steps, _] = projected.dims() else {
            let message = format!("the projected inputs are {}", projected.shape());
            return Err(Error::op(self.cell.name(), message));
        };
        let size = self.weight.size(-1)?;
        let mut inputs = vec![projected, self.hidden, self.weight, self.bias];
        inputs.extend((self.cell == Cell::Lstm).then_some(self.cells));
        // Half precision is storage: the states of all steps are one result, in f32 until the end.
        let widened =
            |t: &&Tensor| if t.dtype() == DType::F16 { t.cast(DType::F32) } else { Ok((*t).clone()) };
        let wide = inputs.iter().map(widened).collect::<Result<Vec<_>>>()?;
        let mut wide: Vec<&Tensor> = wide.iter().collect();
        let saves = records_gradients() && wide.iter().any(|input| input.requires_grad());
        let pass = Pass { cell: self.cell, batch, steps, size, reverse: self.reverse, saves };
        let packed = no_grad(|| {
            let transposed = wide[2].t()?;
            let mut inputs = wide.clone();
            inputs[2] = &transposed;
            Tensor::apply(Forward(pass), &inputs)
        })?;
        wide.insert(0, &packed);
        let states = Tensor::apply(States(pass), &wide)?;
        let output = pass.output(&states)?.cast(projected.dtype())?;
        let cells = (self.cell == Cell::Lstm)
            .then(|| states.narrow(0, batch * steps, batch)?.cast(projected.dtype()));
        Ok((output, cells.transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;

    /// The states of a sequence `[2, 3, G]` that is also what the initial states are computed from, by
    /// the kernels or by ordinary ops.
    fn run(cell: Cell, reverse: bool, composed: bool, inputs: &[Tensor; 3]) -> Result<Tensor> {
        let [x, weight, bias] = inputs;
        let (batch, steps, size) = (2, 3, 5);
        let state = x.narrow(1, 0, 1)?.narrow(2, 0, size)?.reshape([batch, size])?;
        let (output, cells) = if composed {
            let pass = Pass { cell, batch, steps, size, reverse, saves: true };
            let mut inputs = vec![x.clone(), state.clone(), weight.clone(), bias.clone()];
            inputs.extend((cell == Cell::Lstm).then_some(state));
            let states = steps::states(&pass, &inputs)?;
            let cells = states.narrow(0, batch * steps, states.size(0)? - batch * steps)?;
            (pass.output(&states)?, (cell == Cell::Lstm).then_some(cells))
        } else {
            Recurrence { cell, hidden: &state, cells: &state, weight, bias, reverse }.run(x)?
        };
        // The gradient of what follows depends on the states.
        let loss = output.square()?.mul(&output)?.sum(.., false)?;
        match cells {
            Some(cells) => loss.add(&cells.square()?.sum(.., false)?),
            None => Ok(loss),
        }
    }

    #[test]
    fn gradients_to_the_second_order_are_those_of_ordinary_ops() -> Result<()> {
        let engine = Engine::cpu();
        for cell in [Cell::Rnn, Cell::RnnRelu, Cell::Lstm, Cell::Gru] {
            let width = cell.gates() * 5;
            let variable = |shape: &[usize], seed| Tensor::randn(shape, seed, &engine)?.mul(0.5)?.variable();
            let inputs = [variable(&[2, 3, width], 1)?, variable(&[width, 5], 2)?, variable(&[width], 3)?];
            for reverse in [false, true] {
                let mut found = Vec::new();
                for composed in [false, true] {
                    let loss = run(cell, reverse, composed, &inputs)?;
                    let first = loss.backward()?;
                    let mut all: Vec<Tensor> =
                        inputs.iter().filter_map(|input| first.get(input).cloned()).collect();
                    let wanted: Vec<&Tensor> = inputs.iter().collect();
                    let again = loss.grad(&wanted)?;
                    let mut sum = again[0].square()?.sum(.., false)?;
                    for gradient in &again[1..] {
                        sum = sum.add(&gradient.square()?.sum(.., false)?)?;
                    }
                    all.extend(sum.grad(&wanted)?);
                    all.push(loss);
                    assert_eq!(all.len(), 7);
                    found.push(all.iter().map(Tensor::to_vec::<f32>).collect::<Result<Vec<_>>>()?.concat());
                }
                for (position, (fused, composed)) in found[0].iter().zip(&found[1]).enumerate() {
                    let allowed = 1e-4 * composed.abs().max(1.0);
                    assert!((fused - composed).abs() < allowed, "{cell:?} {position}: {fused} {composed}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn nothing_is_saved_where_no_gradient_is_wanted() -> Result<()> {
        let engine = Engine::cpu();
        let x = Tensor::randn([2, 3, 20], 1, &engine)?;
        let (weight, bias) = (Tensor::randn([20, 5], 2, &engine)?.variable()?, Tensor::zeros([20], &engine)?);
        let state = Tensor::zeros([2, 5], &engine)?;
        let run = |x: &Tensor| {
            let (cell, hidden, cells) = (Cell::Lstm, &state, &state);
            Recurrence { cell, hidden, cells, weight: &weight, bias: &bias, reverse: false }.run(x)
        };
        // Below the two views that make the outputs of the states, and the states themselves.
        let packed = |output: Tensor| {
            (0..3).fold(output, |tensor, _| tensor.inner().state().inputs[0].clone()).elements()
        };
        let (saved, bare) = (packed(run(&x)?.0), packed(no_grad(|| run(&x))?.0));
        assert_eq!((saved, bare), (2 * 3 * 5 * 6 + 2 * 5, 2 * 3 * 5 + 2 * 5));
        Ok(())
    }
}
