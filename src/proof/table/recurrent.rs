//! Recurrent networks: outputs and last states, one after the other.

use crate::nn::recurrent::{Cell, Initial, RecurrentOptions, Weights, recurrent};
use crate::proof::case::{Array, Case, Input};
use crate::{Result, Tensor};
use ndarray::Array1;

/// A network and the sizes of what it is given.
#[derive(Clone, Copy)]
struct Net {
    cell: Cell,
    batch: usize,
    steps: usize,
    inputs: usize,
    size: usize,
    /// Whether initial states are given.
    states: bool,
    options: RecurrentOptions,
}

impl Net {
    fn new(cell: Cell, batch: usize, steps: usize, inputs: usize, size: usize) -> Net {
        Net { cell, batch, steps, inputs, size, states: true, options: RecurrentOptions::default() }
    }

    fn gates(&self) -> usize {
        match self.cell {
            Cell::Rnn | Cell::RnnRelu => 1,
            Cell::Lstm => 4,
            Cell::Gru => 3,
        }
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.options.bidirectional)
    }

    /// How many initial states are given.
    fn given(&self) -> usize {
        if self.states { 1 + usize::from(self.cell == Cell::Lstm) } else { 0 }
    }

    /// The sequence, the initial states, and the weights of each layer and direction.
    fn given_inputs(&self) -> Vec<Input> {
        let (rows, size) = (self.gates() * self.size, self.size);
        // Sums of a few dozen terms stay near 1.
        let scale = 1.5 / (size as f64).sqrt();
        let x = if self.options.batch_first {
            Input::floats(&[self.batch, self.steps, self.inputs])
        } else {
            Input::floats(&[self.steps, self.batch, self.inputs])
        };
        let state = Input::floats(&[self.options.layers * self.directions(), self.batch, size]);
        let mut inputs = vec![x, state.clone(), state.reseeded()];
        inputs.truncate(1 + self.given());
        for layer in 0..self.options.layers {
            for direction in 0..self.directions() {
                let columns = if layer == 0 { self.inputs } else { size * self.directions() };
                let mut weights = vec![
                    Input::within(&[rows, columns], -scale, scale),
                    Input::within(&[rows, size], -scale, scale).reseeded(),
                    Input::within(&[rows], -0.5, 0.5),
                    Input::within(&[rows], -0.5, 0.5).reseeded(),
                ];
                weights.truncate(if self.options.bias { 4 } else { 2 });
                if direction == 1 {
                    weights = weights.into_iter().map(Input::reseeded).collect();
                }
                inputs.append(&mut weights);
            }
        }
        inputs
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let (x, rest) = (&inputs[0], &inputs[1..]);
        let (states, weights) = rest.split_at(self.given());
        let weights: Vec<Weights> = weights
            .chunks(if self.options.bias { 4 } else { 2 })
            .map(|part| Weights {
                weight_ih: part[0].clone(),
                weight_hh: part[1].clone(),
                biases: self.options.bias.then(|| [part[2].clone(), part[3].clone()]),
            })
            .collect();
        let initial = Initial { hidden: states.first(), cell: states.get(1) };
        let result = recurrent(self.cell, x, initial, &weights, self.options, None)?;
        let mut parts = vec![result.output.flatten(0, -1)?, result.hidden.flatten(0, -1)?];
        if let Some(cell) = result.cell {
            parts.push(cell.flatten(0, -1)?);
        }
        Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0)
    }

    /// The state and the cell after a step: each element by its formula.
    fn step(&self, weights: &[Array], x: &[f64], state: &[f64], cell: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let row = |weight: &Array, values: &[f64], row: usize| -> f64 {
            values.iter().enumerate().map(|(column, value)| weight[[row, column]] * value).sum()
        };
        let bias = |which: usize, row: usize| if self.options.bias { weights[2 + which][[row]] } else { 0.0 };
        let input = |gate: usize, unit: usize| {
            row(&weights[0], x, gate * self.size + unit) + bias(0, gate * self.size + unit)
        };
        let product = |gate: usize, unit: usize| {
            row(&weights[1], state, gate * self.size + unit) + bias(1, gate * self.size + unit)
        };
        let sigmoid = |value: f64| 1.0 / (1.0 + (-value).exp());
        let unit = |unit: usize| {
            let sum = |gate: usize| input(gate, unit) + product(gate, unit);
            match self.cell {
                Cell::Rnn => (sum(0).tanh(), 0.0),
                Cell::RnnRelu => (sum(0).max(0.0), 0.0),
                Cell::Lstm => {
                    let cell = sigmoid(sum(1)) * cell[unit] + sigmoid(sum(0)) * sum(2).tanh();
                    (sigmoid(sum(3)) * cell.tanh(), cell)
                }
                Cell::Gru => {
                    let new = (input(2, unit) + sigmoid(sum(0)) * product(2, unit)).tanh();
                    let keep = sigmoid(sum(1));
                    ((1.0 - keep) * new + keep * state[unit], 0.0)
                }
            }
        };
        (0..self.size).map(unit).unzip()
    }

    fn reference(&self, arrays: &[Array]) -> Array {
        let (states, weights) = arrays[1..].split_at(self.given());
        let at = |sample: usize, time: usize| {
            if self.options.batch_first { [sample, time] } else { [time, sample] }
        };
        // By sample and step.
        let mut sequence: Vec<Vec<Vec<f64>>> = (0..self.batch)
            .map(|n| {
                let x = |t: usize, i: usize| arrays[0][[at(n, t)[0], at(n, t)[1], i]];
                (0..self.steps).map(|t| (0..self.inputs).map(|i| x(t, i)).collect()).collect()
            })
            .collect();
        let (mut last, mut last_cells) = (Vec::new(), Vec::new());
        let per_layer = self.directions() * if self.options.bias { 4 } else { 2 };
        for (layer, weights) in weights.chunks(per_layer).enumerate() {
            let mut outputs = vec![vec![Vec::new(); self.steps]; self.batch];
            for (direction, weights) in weights.chunks(per_layer / self.directions()).enumerate() {
                let slot = layer * self.directions() + direction;
                for (n, steps) in sequence.iter().enumerate() {
                    let start = |which: usize| -> Vec<f64> {
                        let states = states.get(which);
                        (0..self.size).map(|unit| states.map_or(0.0, |s| s[[slot, n, unit]])).collect()
                    };
                    let (mut state, mut cell) = (start(0), start(1));
                    for step in 0..self.steps {
                        let time = if direction == 1 { self.steps - 1 - step } else { step };
                        (state, cell) = self.step(weights, &steps[time], &state, &cell);
                        outputs[n][time].extend(&state);
                    }
                    last.extend(state);
                    last_cells.extend(cell);
                }
            }
            sequence = outputs;
        }
        let mut values = Vec::new();
        let (outer, inner) =
            if self.options.batch_first { (self.batch, self.steps) } else { (self.steps, self.batch) };
        for a in 0..outer {
            for b in 0..inner {
                let [n, t] = if self.options.batch_first { [a, b] } else { [b, a] };
                values.extend(&sequence[n][t]);
            }
        }
        values.append(&mut last);
        if self.cell == Cell::Lstm {
            values.append(&mut last_cells);
        }
        Array1::from_vec(values).into_dyn()
    }

    fn case(self, name: &str) -> Case {
        let kind = match self.cell {
            Cell::Rnn => "rnn",
            Cell::RnnRelu => "rnn_relu",
            Cell::Lstm => "lstm",
            Cell::Gru => "gru",
        };
        let (op, reference) = (move |x: &[Tensor]| self.run(x), move |x: &[Array]| self.reference(x));
        Case::new(format!("recurrent/{kind}/{name}"), self.given_inputs(), op, reference)
            .tolerance(4e-6, 4e-6)
    }
}

pub fn networks(cases: &mut Vec<Case>) {
    let plain = RecurrentOptions::default();
    for cell in [Cell::Rnn, Cell::RnnRelu, Cell::Lstm, Cell::Gru] {
        cases.push(Net::new(cell, 3, 5, 4, 7).case("odd"));
        cases.push(Net::new(cell, 1, 1, 1, 1).case("one_of_all"));
        cases.push(Net::new(cell, 9, 2, 3, 1).case("size_1"));
        cases.push(Net::new(cell, 0, 2, 3, 4).case("no_sequences"));
        let zeros = Net { states: false, ..Net::new(cell, 2, 4, 3, 5) };
        cases.push(zeros.case("from_zeros"));
        let options = RecurrentOptions { batch_first: true, bias: false, ..plain };
        cases.push(Net { options, ..zeros }.case("batch_first_without_bias"));
        let options = RecurrentOptions { bidirectional: true, ..plain };
        cases.push(Net { options, ..Net::new(cell, 2, 3, 2, 4) }.case("both_directions"));
        let options = RecurrentOptions { layers: 3, bidirectional: true, batch_first: true, ..plain };
        cases.push(Net { options, ..Net::new(cell, 2, 3, 2, 3) }.case("three_layers_both_directions"));
        // More units than a workgroup computes at once, one by one and by fours; more sequences than one takes.
        // No unit is so near to the kink of relu that differences would step over it.
        cases.push(Net::new(cell, 9, 2, 3, 67).case("wide"));
        cases.push(Net::new(cell, 9, 3, 2, 68).case("wide_by_fours"));
        // A dispatch for each step, and several workgroups for its units.
        let large = Net::new(cell, 2, 2, 2, 300).case("large");
        cases.push(large.value_only());
        let size = if cell == Cell::Lstm { 132 } else { 260 };
        cases.push(Net::new(cell, 1, 2, 1, size).case("step_by_step"));
        cases.push(Net::new(cell, 10, 2, 1, size).case("step_by_step_many"));
        cases.push(Net::new(cell, 10, 3, 1, size + 1).case("step_by_step_odd").value_only());
    }
    let net = Net::new(Cell::Lstm, 3, 4, 5, 6);
    let mut inputs = net.given_inputs();
    inputs[0] = Input::floats(&[5, 4, 6]).slice(2, 0, 6, 2).permute(&[1, 2, 0]);
    inputs[1] = Input::floats(&[6, 3, 1]).permute(&[2, 1, 0]);
    inputs[4] = Input::within(&[6, 24], -0.5, 0.5).permute(&[1, 0]);
    inputs[5] = Input::within(&[1], -0.5, 0.5).broadcast(&[24]);
    let case = Case::new("recurrent/lstm/views", inputs, move |x| net.run(x), move |x| net.reference(x));
    cases.push(case.tolerance(4e-6, 4e-6));
    let inputs: Vec<Input> = net.given_inputs().into_iter().map(Input::half).collect();
    let case = Case::new("recurrent/lstm/half", inputs, move |x| net.run(x), move |x| net.reference(x));
    cases.push(case.tolerance(2e-3, 2e-3).value_only());
}
