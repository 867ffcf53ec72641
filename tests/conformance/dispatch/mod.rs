//! From the name of a PyTorch function to Kiln's call.
//!
//! A family's `run(op, args)` gives the outputs in PyTorch's order; `Ok(None)` says that the op is
//! another family's, or that Kiln lacks the op or one of its options. An attribute or input that a
//! family never asked for counts as lacking too, so that none is passed over in silence.

mod conv;
mod elementwise;
mod linear;
mod loss;
mod norm;
mod reduce;
mod sequence;
mod shape;

use crate::case::Case;
use kiln::{Engine, Error, Operand, Result, Tensor};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// What a family gives: the outputs, or nothing where it lacks the op or an option.
pub type Outputs = Result<Option<Vec<Tensor>>>;

/// The arguments of a case.
pub struct Args<'a> {
    inputs: Vec<(&'a str, Tensor)>,
    attrs: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<String>>,
}

impl Args<'_> {
    fn ask(&self, name: &str) {
        self.asked.borrow_mut().insert(name.into());
    }

    fn wrong<T>(&self, name: &str, what: &str) -> Result<T> {
        Err(Error::op("fixtures", format!("{name} is {:?}, not {what}", self.attrs.get(name))))
    }

    /// An input that must be there.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.maybe(name).ok_or_else(|| Error::op("fixtures", format!("the case has no input {name:?}")))
    }

    /// An input that may be absent.
    pub fn maybe(&self, name: &str) -> Option<&Tensor> {
        self.ask(name);
        self.inputs.iter().find(|(arg, _)| *arg == name).map(|(_, tensor)| tensor)
    }

    /// The list that cat, stack and einsum take.
    pub fn tensors(&self) -> Vec<&Tensor> {
        self.ask("tensors");
        self.inputs.iter().filter(|(arg, _)| *arg == "tensors").map(|(_, tensor)| tensor).collect()
    }

    /// An attribute.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.ask(name);
        self.attrs.get(name)
    }

    /// A number, where there is one: the words inf, -inf and nan too.
    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(Value::String(word)) => match word.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => self.wrong(name, "a number"),
            },
            Some(_) => self.wrong(name, "a number"),
        }
    }

    /// A whole number, where there is one.
    pub fn int(&self, name: &str) -> Result<Option<isize>> {
        match self.value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number as isize)),
                None => self.wrong(name, "a whole number"),
            },
        }
    }

    /// A tensor or a number, where there is one.
    pub fn operand(&self, name: &str) -> Result<Option<Operand<'_>>> {
        Ok(match self.maybe(name) {
            Some(tensor) => Some(tensor.into()),
            None => self.number(name)?.map(Operand::from),
        })
    }

    /// Whole numbers, where they are given; one alone is a list of one.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<isize>>> {
        match self.value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(list)) => {
                match list.iter().map(|v| v.as_i64().map(|n| n as isize)).collect::<Option<Vec<_>>>() {
                    Some(list) => Ok(Some(list)),
                    None => self.wrong(name, "whole numbers"),
                }
            }
            Some(_) => Ok(self.int(name)?.map(|one| vec![one])),
        }
    }

    /// `N` sizes: a list of as many, or one for all.
    pub fn sizes<const N: usize>(&self, name: &str, default: usize) -> Result<[usize; N]> {
        let Some(list) = self.ints(name)? else { return Ok([default; N]) };
        let list: Option<Vec<usize>> = list.iter().map(|&n| usize::try_from(n).ok()).collect();
        match list.as_deref() {
            Some(&[one]) => Ok([one; N]),
            Some(list) if list.len() == N => Ok(std::array::from_fn(|i| list[i])),
            _ => self.wrong(name, "such a list of sizes"),
        }
    }

    /// Whether an attribute is true; false where it is absent.
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.value(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => self.wrong(name, "true or false"),
        }
    }

    /// A word, where there is one.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.wrong(name, "a word"),
        }
    }

    /// An attribute or input that nobody asked for.
    fn ignored(&self) -> Option<String> {
        let asked = self.asked.borrow();
        let names = self.inputs.iter().map(|(arg, _)| *arg).chain(self.attrs.keys().map(String::as_str));
        names.into_iter().find(|&name| !asked.contains(name)).map(str::to_string)
    }
}

/// An op with one output.
pub fn one(output: Tensor) -> Outputs {
    Ok(Some(vec![output]))
}

/// The outputs of a case over its stored inputs, or what Kiln lacks for it.
pub fn run(case: &Case, leaves: &[Tensor]) -> Result<Result<Vec<Tensor>, String>> {
    let mut inputs = Vec::new();
    for (input, leaf) in case.inputs.iter().zip(leaves) {
        inputs.push((input.arg.as_str(), input.viewed(leaf)?));
    }
    let args = Args { inputs, attrs: &case.attrs, asked: RefCell::default() };
    let families = [
        elementwise::run,
        reduce::run,
        shape::run,
        linear::run,
        conv::run,
        norm::run,
        sequence::run,
        loss::run,
    ];
    for family in families {
        if let Some(outputs) = family(&case.op, &args)? {
            return Ok(match args.ignored() {
                Some(name) => Err(format!("missing: {} has no {name}", case.op)),
                None => Ok(outputs),
            });
        }
    }
    Ok(Err(format!("missing: {} {}", case.op, Value::Object(case.attrs.clone()))))
}

/// What Kiln lacks for a case, if anything. An op's refusal is no lack: it shows when the case runs.
pub fn lack(case: &Case, engine: &Engine) -> Option<String> {
    let leaves = case.leaves(engine).ok()?;
    run(case, &leaves).ok()?.err()
}
