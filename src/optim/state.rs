//! What all optimisers share: the state of each parameter and the end of a step.

use super::check_not_negative;
use crate::io::{HostTensor, StateDict};
use crate::nn::{Params, from_host, to_host};
use crate::{Error, Gradients, Result, Tensor, eval, no_grad};
use std::collections::BTreeMap;
use std::path::Path;

/// The learning rate, and what an optimiser remembers of each parameter.
#[derive(Debug)]
pub(super) struct State {
    params: Params,
    kind: &'static str,
    /// Names of the tensors in a slot.
    names: &'static [&'static str],
    pub learning_rate: f64,
    slots: BTreeMap<String, Slot>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// Updates so far.
    step: i32,
    tensors: Vec<Tensor>,
}

/// What the new value of a parameter is computed from.
pub(super) struct Update<'a> {
    pub value: &'a Tensor,
    pub gradient: &'a Tensor,
    /// Which update of this parameter it is, from 1.
    pub step: i32,
    /// The state after the last update; empty before the first.
    pub state: &'a [Tensor],
}

impl State {
    pub fn new(
        params: &Params,
        kind: &'static str,
        names: &'static [&'static str],
        learning_rate: f64,
    ) -> Result<State> {
        check_not_negative("the learning rate", learning_rate)?;
        Ok(State { params: params.clone(), kind, names, learning_rate, slots: BTreeMap::new() })
    }

    /// One step: `rule` gives a parameter's new value and new state.
    pub fn step(
        &mut self,
        gradients: Gradients,
        rule: impl Fn(Update) -> Result<(Tensor, Vec<Tensor>)>,
    ) -> Result<()> {
        check_not_negative("the learning rate", self.learning_rate)?;
        // All updates are recorded before the first parameter changes.
        let trainable = self.params.trainable();
        let mut updates = Vec::with_capacity(trainable.len());
        for (name, param) in trainable {
            let value = param.get();
            let Some(gradient) = gradients.get(&value) else { continue };
            let slot = self.slots.get(&name).cloned().unwrap_or_default();
            let step = slot.step.saturating_add(1);
            let kind = |tensor: &Tensor| (tensor.dtype(), *tensor.shape());
            if kind(gradient) != kind(&value) {
                let [of, to] = [gradient, &value].map(|x| format!("{} {}", x.dtype(), x.shape()));
                return Err(Error::op(
                    "optimizer",
                    format!("the gradient of {name} is {of}, the parameter {to}"),
                ));
            }
            // Detached, so that the new value does not hold on to the old one.
            let value = value.detach();
            let gradient = if gradient.requires_grad() { &gradient.detach() } else { gradient };
            let (value, tensors) = no_grad(|| {
                let (value, tensors) = rule(Update { value: &value, gradient, step, state: &slot.tensors })?;
                let tensors = tensors.iter().map(Tensor::contiguous).collect::<Result<_>>()?;
                Ok::<_, Error>((value, tensors))
            })?;
            updates.push((name, param, value, Slot { step, tensors }));
        }
        if updates.is_empty() {
            let message = "no parameter has a gradient: those given are of other parameters, or of values \
                           that an earlier step replaced";
            return Err(Error::op("optimizer", message));
        }
        // What takes memory comes before anything changes: after an error a smaller batch can be tried.
        if let Err(error) = gradients.compute(self.params.buffers()) {
            self.params.restore_buffers();
            return Err(error);
        }
        let mut targets = Vec::with_capacity(updates.len() * (1 + self.names.len()));
        for (name, param, value, slot) in updates {
            param.set(value)?;
            targets.push(param.get());
            targets.extend(slot.tensors.iter().cloned());
            self.slots.insert(name, slot);
        }
        // The old values are held by the graph alone now, so their memory is free for the new ones.
        gradients.finish(&targets)
    }

    pub fn state_dict(&self) -> Result<StateDict> {
        eval(self.slots.values().flat_map(|slot| &slot.tensors))?;
        let mut state = StateDict::default();
        for (name, slot) in &self.slots {
            state.tensors.insert(format!("{name}.step"), HostTensor::from_slice(&[], &[slot.step])?);
            for (part, tensor) in self.names.iter().zip(&slot.tensors) {
                state.tensors.insert(format!("{name}.{part}"), to_host(tensor)?);
            }
        }
        state.metadata.insert("optimizer".into(), self.kind.into());
        state.metadata.insert("learning_rate".into(), self.learning_rate.to_string());
        Ok(state)
    }

    pub fn load_state_dict(&mut self, state: &StateDict, path: &Path) -> Result<()> {
        let text = |key: &str| state.metadata.get(key).map_or("", String::as_str);
        if text("optimizer") != self.kind {
            let message = format!("holds the state of {:?}, not of {:?}", text("optimizer"), self.kind);
            return Err(Error::file(path, message));
        }
        let learning_rate = text("learning_rate").parse().map_err(|_| {
            Error::file(path, format!("the learning rate {:?} is not a number", text("learning_rate")))
        })?;
        check_not_negative("the learning rate", learning_rate)?;
        // A parameter that never had a gradient has no state.
        let mut known = self.params.trainable();
        known.retain(|(name, _)| {
            let parts = self.names.iter().chain(&["step"]);
            parts.into_iter().any(|part| state.tensors.contains_key(&format!("{name}.{part}")))
        });
        let mut expected = BTreeMap::new();
        for (name, param) in &known {
            expected.insert(format!("{name}.step"), Vec::new());
            let shape = param.get().dims().to_vec();
            expected.extend(self.names.iter().map(|part| (format!("{name}.{part}"), shape.clone())));
        }
        state.check(path, &expected)?;
        let mut slots = BTreeMap::new();
        for (name, param) in known {
            let load = |part: &&str| {
                let key = format!("{name}.{part}");
                from_host(&key, &state.tensors[&key], &param.get(), path)
            };
            let tensors = self.names.iter().map(load).collect::<Result<_>>()?;
            let step = state.tensors[&format!("{name}.step")].to_vec::<i32>()?[0].max(0);
            slots.insert(name, Slot { step, tensors });
        }
        (self.learning_rate, self.slots) = (learning_rate, slots);
        Ok(())
    }
}

/// The methods of [`Optimizer`](super::Optimizer) that a `State` in the field `state` answers.
macro_rules! delegate_to_state {
    () => {
        fn learning_rate(&self) -> f64 {
            self.state.learning_rate
        }

        fn set_learning_rate(&mut self, learning_rate: f64) {
            self.state.learning_rate = learning_rate;
        }

        fn state_dict(&self) -> $crate::Result<$crate::io::StateDict> {
            self.state.state_dict()
        }

        fn load_state_dict(
            &mut self,
            state: &$crate::io::StateDict,
            path: &std::path::Path,
        ) -> $crate::Result<()> {
            self.state.load_state_dict(state, path)
        }
    };
}
pub(super) use delegate_to_state;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;
    use crate::nn::Init;
    use crate::optim::{Adam, AdamOptions, AdamW, Optimizer, Sgd, SgdOptions};

    /// Where the values of tensors lie.
    fn places<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Vec<usize> {
        let place = |tensor: &Tensor| tensor.inner().state().value.as_ref().map(|buffer| buffer.address());
        tensors.map(|tensor| place(tensor).expect("a value after a step")).collect()
    }

    /// Fails unless what a step replaces lies where it lay before.
    fn stays<O: Optimizer>(
        engine: &Engine,
        make: impl Fn(&Params) -> Result<O>,
        state: fn(&O) -> &State,
    ) -> Result<()> {
        let params = Params::new(engine, 0);
        let weight = params.parameter("weight", [40, 30], Init::Ones)?;
        let x = Tensor::rand([8, 40], 1, engine)?;
        let mut optimizer = make(&params)?;
        let mut seen = Vec::new();
        for _ in 0..4 {
            let loss = x.matmul(&weight.get())?.square()?.mean(.., false)?;
            optimizer.step(loss.backward()?)?;
            let value = weight.get();
            seen.push(places(state(&optimizer).slots["weight"].tensors.iter().chain([&value])));
        }
        assert_eq!(seen[2], seen[3], "{}", state(&optimizer).kind);
        Ok(())
    }

    #[test]
    fn what_a_step_replaces_is_written_over() -> Result<()> {
        for engine in [Some(Engine::cpu()), Engine::new("gpu").ok()].into_iter().flatten() {
            for nesterov in [false, true] {
                let options =
                    SgdOptions { momentum: 0.9, weight_decay: 0.01, nesterov, ..Default::default() };
                stays(&engine, |params| Sgd::new(params, options), |sgd| &sgd.state)?;
            }
            stays(&engine, |params| Adam::new(params, AdamOptions::default()), |adam| &adam.state)?;
            stays(&engine, |params| AdamW::new(params, AdamOptions::adamw()), |adamw| &adamw.state)?;
        }
        Ok(())
    }
}
