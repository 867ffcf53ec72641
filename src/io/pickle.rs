//! Pickles, as data: the part of Python's format that holds tensors, and nothing that runs.

use std::collections::HashMap;

/// The place of a value in [`Pickle::values`].
pub(super) type Id = usize;

/// A value; what it consists of are other places, so that sharing costs nothing and no walk is deep.
#[derive(Debug)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// A float or a string of bytes: nothing that tensors are made from.
    Other,
    Text(&'a str),
    /// A class or function, by module and name.
    Global(&'a str, &'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Something stored outside of the pickle, by its key.
    Persistent(Id),
    /// A function and its arguments, not called.
    Call(Id, Id),
}

/// What a pickle holds. Tuples, persistent values and calls refer to earlier places alone.
pub(super) struct Pickle<'a> {
    pub values: Vec<Value<'a>>,
    pub root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads one pickle from the front of `bytes` and leaves what follows it. An error for what is
    /// not `allowed` by module and name, and for operations that state dicts have no use for.
    ///
    /// Every operation takes a byte or more and makes one value at most.
    pub fn read(bytes: &mut &'a [u8], allowed: fn(&str, &str) -> bool) -> Result<Pickle<'a>, String> {
        let size = bytes.len();
        let mut machine =
            Machine { bytes, allowed, values: Vec::new(), stack: Vec::new(), marks: Vec::new() };
        let root = machine.run();
        let at = size - machine.bytes.len();
        match root {
            Ok(root) => Ok(Pickle { values: machine.values, root }),
            Err(message) => Err(format!("{message} (before byte {at} of a pickle)")),
        }
    }

    pub fn text(&self, id: Id) -> Result<&'a str, String> {
        match self.values[id] {
            Value::Text(text) => Ok(text),
            ref other => Err(format!("expected a text, found {}", kind(other))),
        }
    }

    pub fn size(&self, id: Id) -> Result<usize, String> {
        match self.values[id] {
            Value::Int(value) => {
                usize::try_from(value).map_err(|_| format!("{value} is negative or too large"))
            }
            ref other => Err(format!("expected a number, found {}", kind(other))),
        }
    }

    /// The elements of a tuple of at least `least`.
    pub fn tuple(&self, id: Id, least: usize) -> Result<&[Id], String> {
        match &self.values[id] {
            Value::Tuple(items) if items.len() >= least => Ok(items),
            Value::Tuple(items) => Err(format!("a tuple of {} where {least} are needed", items.len())),
            other => Err(format!("expected a tuple, found {}", kind(other))),
        }
    }
}

/// What a value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::None => "None",
        Value::Bool(_) => "a truth value",
        Value::Int(_) => "a number",
        Value::Other => "a float or bytes",
        Value::Text(_) => "a text",
        Value::Global(..) => "a class",
        Value::Tuple(_) => "a tuple",
        Value::List(_) => "a list",
        Value::Dict(_) => "a dict",
        Value::Persistent(_) => "a storage",
        Value::Call(..) => "an object",
    }
}

struct Machine<'b, 'a> {
    bytes: &'b mut &'a [u8],
    allowed: fn(&str, &str) -> bool,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at which runs of items begin.
    marks: Vec<usize>,
}

impl<'a> Machine<'_, 'a> {
    /// Runs to the end of the pickle; the operations are named as in Python's `pickletools`.
    fn run(&mut self) -> Result<Id, String> {
        let mut memo: HashMap<usize, Id> = HashMap::new();
        loop {
            let [operation] = self.array()?;
            match operation {
                0x80 => drop(self.take(1)?), // PROTO
                0x95 => drop(self.take(8)?), // FRAME
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.push(Value::None),
                0x88 => self.push(Value::Bool(true)),
                0x89 => self.push(Value::Bool(false)),
                b'K' => self.integer::<1>(false)?, // BININT1
                b'M' => self.integer::<2>(false)?, // BININT2
                b'J' => self.integer::<4>(true)?,  // BININT
                0x8a => {
                    // LONG1: as many bytes as it takes, the last of which has the sign.
                    let count = self.length::<1>()?;
                    let digits = self.take(count)?;
                    let (Some(last), true) = (digits.last(), count <= 8) else {
                        return Err(format!("an integer of {count} bytes"));
                    };
                    let mut word = [if *last >= 0x80 { 0xff } else { 0 }; 8];
                    word[..count].copy_from_slice(digits);
                    self.push(Value::Int(i64::from_le_bytes(word)));
                }
                b'G' => {
                    self.take(8)?; // BINFLOAT
                    self.push(Value::Other);
                }
                b'X' | b'T' => self.string::<4>()?, // BINUNICODE, BINSTRING
                0x8c | b'U' => self.string::<1>()?, // SHORT_BINUNICODE, SHORT_BINSTRING
                b'C' => {
                    let count = self.length::<1>()?; // SHORT_BINBYTES
                    self.take(count)?;
                    self.push(Value::Other);
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                0x93 => {
                    // STACK_GLOBAL
                    let (name, module) = (self.pop()?, self.pop()?);
                    match (&self.values[module], &self.values[name]) {
                        (&Value::Text(module), &Value::Text(name)) => self.global(module, name)?,
                        _ => return Err("a class without a name".into()),
                    }
                }
                b'}' => self.push(Value::Dict(Vec::new())),
                b']' => self.push(Value::List(Vec::new())),
                b')' => self.push(Value::Tuple(Vec::new())),
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Value::Tuple(items));
                }
                0x85..=0x87 => {
                    // TUPLE1 to TUPLE3
                    let count = usize::from(operation - 0x84);
                    if self.free() < count {
                        return Err(UNDERFLOW.into());
                    }
                    let items = self.stack.split_off(self.stack.len() - count);
                    self.push(Value::Tuple(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.insert(vec![key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.insert(items)?;
                }
                b'q' => drop(memo.insert(self.length::<1>()?, self.top()?)), // BINPUT
                b'r' => drop(memo.insert(self.length::<4>()?, self.top()?)), // LONG_BINPUT
                0x94 => drop(memo.insert(memo.len(), self.top()?)),          // MEMOIZE
                b'h' | b'j' => {
                    // BINGET, LONG_BINGET
                    let key = if operation == b'h' { self.length::<1>()? } else { self.length::<4>()? };
                    let id = memo.get(&key).ok_or_else(|| format!("nothing is remembered as {key}"))?;
                    self.stack.push(*id);
                }
                b'Q' => {
                    let key = self.pop()?;
                    self.push(Value::Persistent(key));
                }
                b'R' => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    let called = match self.values[function] {
                        Value::Global("collections", "OrderedDict") => self.ordered_dict(arguments)?,
                        _ => Value::Call(function, arguments),
                    };
                    self.push(called);
                }
                b'b' => drop(self.pop()?), // BUILD: attributes of an object, such as a state dict's `_metadata`.
                other => return Err(format!("the operation {other:#04x} has no place in a state dict")),
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("truncated")?;
        *self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or("truncated")?;
        *self.bytes = rest;
        Ok(*taken)
    }

    /// An unsigned number of `N` bytes, at most 4.
    fn length<const N: usize>(&mut self) -> Result<usize, String> {
        Ok(self.array::<N>()?.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
    }

    fn integer<const N: usize>(&mut self, signed: bool) -> Result<(), String> {
        let value = self.length::<N>()?;
        self.push(Value::Int(if signed { i64::from(value as u32 as i32) } else { value as i64 }));
        Ok(())
    }

    fn string<const N: usize>(&mut self) -> Result<(), String> {
        let count = self.length::<N>()?;
        let text = std::str::from_utf8(self.take(count)?).map_err(|_| "a text that is not UTF-8")?;
        self.push(Value::Text(text));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n').ok_or("truncated")?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "a name that is not UTF-8".into())
    }

    fn global(&mut self, module: &'a str, name: &'a str) -> Result<(), String> {
        if !(self.allowed)(module, name) {
            return Err(format!(
                "{module}.{name} is none of what a state dict consists of; save `model.state_dict()`, of \
                 tensors alone"
            ));
        }
        self.push(Value::Global(module, name));
        Ok(())
    }

    /// What `OrderedDict()` makes, or as Python 2 wrote it, `OrderedDict([[key, value], ...])`.
    fn ordered_dict(&self, arguments: Id) -> Result<Value<'a>, String> {
        let pair = |&id: &Id| match &self.values[id] {
            Value::List(pair) | Value::Tuple(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            other => Err(format!("{} in place of a key and its value", kind(other))),
        };
        let entries = match self.values[arguments] {
            Value::Tuple(ref none) if none.is_empty() => Ok(Vec::new()),
            Value::Tuple(ref one) => match &self.values[one[0]] {
                Value::List(pairs) => pairs.iter().map(pair).collect(),
                other => Err(format!("a dict made of {}", kind(other))),
            },
            ref other => Err(format!("a dict made of {}", kind(other))),
        };
        Ok(Value::Dict(entries?))
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Items above the last mark.
    fn free(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().filter(|_| self.free() > 0).ok_or_else(|| UNDERFLOW.into())
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("items without a beginning")?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        let list = self.top()?;
        match &mut self.values[list] {
            Value::List(all) => all.extend(items),
            other => return Err(format!("items for {}", kind(other))),
        }
        Ok(())
    }

    fn insert(&mut self, items: Vec<Id>) -> Result<(), String> {
        let dict = self.top()?;
        let (pairs, []) = items.as_chunks() else { return Err("a key without a value".into()) };
        match &mut self.values[dict] {
            Value::Dict(all) => all.extend(pairs.iter().map(|&[key, value]| (key, value))),
            other => return Err(format!("keys for {}", kind(other))),
        }
        Ok(())
    }
}

const UNDERFLOW: &str = "an operation without its operands";
