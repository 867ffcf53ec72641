//! Several elementwise programs by one GPU kernel.
//!
//! A training step ends with the updates of all parameters and of what the optimiser keeps of each: hundreds of
//! programs, mostly of few elements, that wait for each other element by element or not at all. One kernel runs as
//! many as its bindings allow: those that touch what one of them writes in the same invocations, the others beside
//! them in workgroups of their own.

use super::wgsl::{LANES, Load, Params, compute, shader, vector};
use super::{Fused, GROUP};
use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::expr::Access;
use crate::{DType, Error, Identity, Op, Result, Spec, Tensor};
use smallvec::SmallVec;
use std::fmt::Write;
use std::hash::{Hash, Hasher};

/// Operands of most members.
const OPERANDS: usize = 8;
/// Members at most, for each a bit.
const MAX_MEMBERS: usize = u32::BITS as usize;

/// Programs in the order in which they are to be run.
#[derive(Debug, Default)]
pub(crate) struct Together {
    members: Vec<Member>,
    slots: Vec<Slot>,
    /// Those of all members.
    elements: usize,
}

#[derive(Debug)]
struct Member {
    fused: Fused,
    /// The slot of each input, and whether it is read element by element; otherwise one element is read for all.
    inputs: SmallVec<[(usize, bool); 4]>,
    /// The slot of the output.
    output: usize,
    /// The members that run in the same invocations, by the number of one of them.
    group: usize,
}

/// A part of a buffer that is bound once, whoever reads and writes it.
#[derive(Debug)]
struct Slot {
    buffer: usize,
    offset: usize,
    dtype: DType,
    /// How far any member reaches, and by which operand.
    end: usize,
    operand: Operand,
    written: bool,
    /// A bit for each member that reads or writes it.
    members: u32,
    /// The elements of its members, if all of them read it element by element.
    elements: Option<usize>,
}

/// Which input of which member, or past the inputs its output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Operand {
    pub member: usize,
    pub at: usize,
}

/// Whether a member of so many elements reads an input element by element; none where it reads neither so nor one
/// element for all.
fn by_element(spec: &Spec, elements: usize) -> Option<bool> {
    let aligned = spec.elements() == elements && spec.layout.offset.is_multiple_of(LANES);
    match Access::of(spec) {
        Access::Linear if aligned => Some(true),
        Access::Single => Some(aligned && elements == 1),
        Access::Linear | Access::Strided => None,
    }
}

impl Together {
    /// The program of an operation that can be a member on some inputs.
    fn program(op: &dyn Op) -> Option<&Fused> {
        let fits = |fused: &&Fused| {
            matches!(fused.dtype, DType::F32 | DType::I32)
                && fused.dtype == fused.program.dtype()
                && fused.shape.elements() > 0
        };
        Fused::of(op).filter(fits)
    }

    /// Whether an operation on such inputs can be a member.
    pub fn takes(op: &dyn Op, mut inputs: impl Iterator<Item = Spec>) -> bool {
        let reads = |fused: &Fused| inputs.all(|spec| by_element(&spec, fused.shape.elements()).is_some());
        Together::program(op).is_some_and(reads)
    }

    /// Adds an operation, its inputs and its output given by the numbers of their buffers and by what lies there.
    /// False, with nothing changed, where it cannot be: it takes more than `most` bindings in all, or more elements
    /// than a `u32` counts, or it reads what another member writes, or the other way round, at other than the same
    /// elements.
    pub fn add(&mut self, op: &dyn Op, inputs: &[(usize, Spec)], output: (usize, Spec), most: usize) -> bool {
        let Some(fused) = Together::program(op) else { return false };
        let elements = fused.shape.elements();
        let member = self.members.len();
        // Which operands are read and written element by element.
        let reads = inputs.iter().map(|(_, spec)| by_element(spec, elements));
        let Some(mut by_elements) = reads.collect::<Option<SmallVec<[bool; OPERANDS]>>>() else {
            return false;
        };
        by_elements.push(by_element(&output.1, elements) == Some(true));
        let operands = || inputs.iter().chain([&output]).zip(&by_elements).enumerate();
        let mut places: SmallVec<[usize; OPERANDS]> = SmallVec::new();
        // New slots by their operands, and the members to run before this one in its invocations.
        let (mut new, mut before): (SmallVec<[Slot; OPERANDS]>, u32) = (SmallVec::new(), 0);
        for (at, (&(buffer, ref spec), &own)) in operands() {
            let writes = at == inputs.len();
            let offset = spec.layout.offset;
            let mut place = None;
            for (at, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.buffer == buffer) {
                let same = slot.offset == offset && slot.dtype == spec.dtype;
                place = place.or(same.then_some(at));
                if slot.written || writes {
                    if !(same && own && slot.elements == Some(elements)) {
                        return false;
                    }
                    before |= slot.members;
                }
            }
            let over = |((other, read), own): (&(usize, Spec), &bool)| {
                let same = read.layout.offset == offset && read.dtype == spec.dtype;
                *other == buffer && !(same && *own)
            };
            if writes && inputs.iter().zip(&by_elements).any(over) {
                return false;
            }
            let end = spec.layout.extent().end;
            let slot = Slot {
                buffer,
                offset,
                dtype: spec.dtype,
                end,
                operand: Operand { member, at },
                written: writes,
                members: 0,
                elements: own.then_some(elements),
            };
            let known =
                |known: &Slot| (known.buffer, known.offset, known.dtype) == (buffer, offset, spec.dtype);
            let place = place.or_else(|| Some(self.slots.len() + new.iter().position(known)?));
            places.push(place.unwrap_or(self.slots.len() + new.len()));
            if place.is_none() {
                new.push(slot);
            }
        }
        let all = self.elements.saturating_add(elements);
        if self.slots.len() + new.len() > most || member == MAX_MEMBERS || all > u32::MAX as usize {
            return false;
        }
        self.elements = all;
        if self.slots.is_empty() {
            self.slots.reserve(most);
        }
        self.slots.extend(new);
        for ((at, ((_, spec), &own)), &place) in operands().zip(&places) {
            let slot = &mut self.slots[place];
            slot.members |= 1 << member;
            slot.written |= at == inputs.len();
            slot.elements = slot.elements.filter(|&known| own && known == elements);
            if spec.layout.extent().end > slot.end {
                (slot.end, slot.operand) = (spec.layout.extent().end, Operand { member, at });
            }
        }
        if before != 0 {
            let joined: Vec<usize> =
                (0..member).filter(|i| before >> i & 1 == 1).map(|i| self.members[i].group).collect();
            for other in self.members.iter_mut().filter(|other| joined.contains(&other.group)) {
                other.group = member;
            }
        }
        let output = places.pop().unwrap_or_default();
        let inputs = places.into_iter().zip(by_elements).collect();
        self.members.push(Member { fused: fused.clone(), inputs, output, group: member });
        true
    }

    /// What the operation is to be given: for each input one of the operands that it is, and for the output. None
    /// without members.
    pub fn operands(&self) -> Option<(Vec<Operand>, Operand)> {
        let result = self.result();
        let output = self.slots.get(result)?.operand;
        let inputs = self.slots.iter().enumerate().filter(|&(at, _)| at != result);
        Some((inputs.map(|(_, slot)| slot.operand).collect(), output))
    }

    /// The slot that is the operation's output; the others are its inputs.
    fn result(&self) -> usize {
        self.members.first().map_or(0, |member| member.output)
    }

    /// The code for the template, the uniform's words, and how many invocations there are.
    fn generate(&self, specs: &[Spec]) -> std::result::Result<(String, Vec<u32>, usize), std::fmt::Error> {
        let (mut code, mut params) = (String::new(), Params::new("params"));
        let numbers: Vec<String> = self.numbers().into_iter().map(|bits| params.push(bits)).collect();
        let mut numbers = numbers.as_slice();
        for (at, member) in self.members.iter().enumerate() {
            let (own, rest) = numbers.split_at(member.fused.numbers.len());
            compute(&member.fused, &mut code, &format!("compute{at}"), own)?;
            numbers = rest;
        }
        // The bindings of the inputs come first.
        let (mut binding, mut offsets) = (1, Vec::with_capacity(self.slots.len()));
        for (at, (slot, spec)) in self.slots.iter().zip(specs).enumerate() {
            let access = if slot.written { "read_write" } else { "read" };
            let bound = if at == self.result() { self.slots.len() } else { binding };
            binding += usize::from(at != self.result());
            let kind = vector(slot.dtype);
            writeln!(code, "@group(0) @binding({bound}) var<storage, {access}> slot{at}: array<{kind}>;")?;
            Load::Vector.declare(&mut code, &at.to_string(), slot.dtype, &format!("slot{at}"))?;
            offsets.push(params.push(spec.layout.offset as u32));
        }
        let mut start = 0;
        let mut choice = String::new();
        for group in 0..self.members.len() {
            let members = || self.members.iter().enumerate().filter(|(_, member)| member.group == group);
            let Some((_, first)) = members().next() else { continue };
            writeln!(code, "fn group{group}(i: u32) {{\n  let first = {LANES}u * i;")?;
            // Slots whose elements are in a variable.
            let (mut own, mut shared) = (vec![false; self.slots.len()], vec![false; self.slots.len()]);
            for (at, member) in members() {
                for &(slot, by_element) in &member.inputs {
                    let offset = &offsets[slot];
                    match by_element {
                        true if !std::mem::replace(&mut own[slot], true) => {
                            writeln!(code, "  var own{slot} = load{slot}({offset} + first);")?;
                        }
                        false if !std::mem::replace(&mut shared[slot], true) => {
                            writeln!(code, "  let shared{slot} = element{slot}({offset});")?;
                        }
                        _ => {}
                    }
                }
                let value = |lane: usize| {
                    let argument = |&(slot, by_element): &(usize, bool)| match by_element {
                        true => format!("own{slot}[{lane}]"),
                        false => format!("shared{slot}"),
                    };
                    let arguments: Vec<String> = member.inputs.iter().map(argument).collect();
                    format!("compute{at}({})", arguments.join(", "))
                };
                let output = member.output;
                let declare = if std::mem::replace(&mut own[output], true) { "" } else { "var " };
                let values: Vec<String> = (0..LANES).map(value).collect();
                writeln!(code, "  {declare}own{output} = vec4({});", values.join(", "))?;
                writeln!(code, "  slot{output}[i] = own{output};")?;
            }
            writeln!(code, "}}")?;
            let vectors = first.fused.shape.elements().div_ceil(LANES);
            let (from, count) = (params.push(start as u32), params.push(vectors as u32));
            start += vectors.next_multiple_of(GROUP);
            let past = params.push(start as u32);
            writeln!(
                choice,
                "  if i < {past} {{ if i - {from} < {count} {{ group{group}(i - {from}); }} return; }}"
            )?;
        }
        writeln!(code, "fn store(i: u32) {{\n{choice}}}")?;
        Ok((code, params.vectors(), start))
    }
}

impl Hash for Together {
    /// By what is compiled, and by sizes; which buffers it is about does not matter.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for Member { fused, inputs, output, group } in &self.members {
            fused.hash(state);
            (fused.shape.elements(), inputs, output, group).hash(state);
        }
        self.slots.iter().for_each(|slot| slot.written.hash(state));
    }
}

impl Op for Together {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn output(&self, _: &[Spec]) -> Result<Spec> {
        let first = self.members.first().ok_or_else(|| Error::op("fused", "no programs"))?;
        first.fused.output(&[])
    }

    fn strided(&self) -> bool {
        true
    }

    fn half(&self) -> bool {
        true
    }

    fn flops(&self, _: &[Spec], _: &Spec) -> u64 {
        let elements =
            |member: &Member| (member.fused.shape.elements() * member.fused.program.steps.len()) as u64;
        self.members.iter().map(elements).sum()
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }

    fn numbers(&self) -> Vec<u32> {
        self.members.iter().flat_map(|member| &member.fused.numbers).copied().collect()
    }

    fn gpu(&self, inputs: &[Spec], output: &Spec, caps: &Caps) -> Option<Plan> {
        let result = self.result();
        let mut specs = inputs.to_vec();
        specs.insert(result, *output);
        if specs.iter().any(|spec| !caps.reads_vectors(spec.layout.extent().end * spec.dtype.size())) {
            return None;
        }
        let (body, params, invocations) = self.generate(&specs).ok()?;
        let bound =
            |(at, slot): (usize, &Slot)| if slot.written { Binding::Both(at) } else { Binding::Input(at) };
        let inputs = self.slots.iter().enumerate().filter(|&(at, _)| at != result).map(|(_, slot)| slot);
        let source = shader(&body)?;
        let kernel = Kernel {
            shader: Shader::text(body, source),
            constants: vec![("PARAMS", format!("{}u", params.len() / 4).into())],
            bindings: inputs.enumerate().map(bound).chain([Binding::Output]).collect(),
            params,
            groups: Kernel::fold(invocations / GROUP, caps),
        };
        Some(Plan::numbered(kernel, self.numbers().len()))
    }

    fn gradient(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(Error::op("fused", "is made by the scheduler and has no gradient of its own"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;
    use crate::expr::{Arg, Program, Row, Step};
    use crate::ops::elementwise::{ADD, CAST_F16};

    /// A row of two inputs of this dtype.
    fn op(row: &'static Row, n: usize, dtype: DType) -> Fused {
        let args = [Arg::Input(0), Arg::Input(1), Arg::Input(1)];
        let steps = vec![Step { row, args, from: DType::F32, to: dtype }];
        let program = Program { inputs: vec![DType::F32; 2], scalars: Vec::new(), steps };
        Fused::new(program, Shape::new(&[n]).unwrap(), dtype)
    }

    fn vector(n: usize) -> Spec {
        Spec::new(DType::F32, Shape::new(&[n]).unwrap())
    }

    /// Whether a sum of `n` numbers can be added: of two buffers into a third.
    fn sum(together: &mut Together, n: usize, [a, b, to]: [usize; 3]) -> bool {
        together.add(&op(&ADD, n, DType::F32), &[(a, vector(n)), (b, vector(n))], (to, vector(n)), 24)
    }

    fn groups(together: &Together) -> Vec<usize> {
        together.members.iter().map(|member| member.group).collect()
    }

    #[test]
    fn what_waits_for_each_other_runs_in_the_same_invocations() {
        let mut together = Together::default();
        // Two of their own, and one that reads the results of both.
        assert!(sum(&mut together, 8, [0, 1, 2]) && sum(&mut together, 8, [3, 1, 4]));
        assert_eq!(groups(&together), [0, 1]);
        assert!(sum(&mut together, 8, [2, 4, 5]));
        assert_eq!(groups(&together), [2, 2, 2]);
        // One over what another reads.
        assert!(sum(&mut together, 12, [6, 7, 8]) && sum(&mut together, 12, [7, 9, 7]));
        assert_eq!(groups(&together), [2, 2, 2, 4, 4]);
        assert_eq!(together.slots.len(), 10);
    }

    #[test]
    fn what_would_see_a_result_too_early_or_too_late_is_refused() {
        let mut together = Together::default();
        assert!(sum(&mut together, 8, [0, 1, 2]));
        // A result of another size; one element of it for all; and over what is read otherwise.
        assert!(!sum(&mut together, 4, [2, 1, 3]));
        let part = |start, count| vector(8).layout.slice(0, start, count, 1);
        let first = Spec { layout: part(0, 1).broadcast(*vector(8).shape()), ..vector(8) };
        let later = Spec { layout: part(4, 4), ..vector(4) };
        let add = |together: &mut Together, n, a: (usize, Spec), to| {
            together.add(&op(&ADD, n, DType::F32), &[a, (7, vector(n))], (to, vector(n)), 24)
        };
        assert!(!add(&mut together, 8, (2, first), 3));
        assert!(!add(&mut together, 4, (2, later), 3));
        assert!(add(&mut together, 4, (1, later), 5), "another part of what is only read");
        assert!(!sum(&mut together, 8, [8, 9, 1]));
        assert_eq!(together.members.len(), 2);
    }

    #[test]
    fn there_are_bindings_for_so_many() {
        let mut together = Together::default();
        let added = (0..20).take_while(|&i| sum(&mut together, 8, [3 * i, 3 * i + 1, 3 * i + 2])).count();
        assert_eq!((added, together.slots.len()), (8, 24));
        let mut large = Together::default();
        let most = (1 << 31) - 1;
        assert!(sum(&mut large, most, [0, 1, 2]) && sum(&mut large, most, [3, 4, 5]));
        assert!(!sum(&mut large, 4, [6, 7, 8]));
        let narrow = op(&CAST_F16, 8, DType::F16);
        assert!(!Together::takes(&narrow, [vector(8)].into_iter()));
    }
}
