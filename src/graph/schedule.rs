//! Tasks that are kept for the next graph of the same structure: one step of a training run is as the one before.

use super::collect::Item;
use super::fuse::{Form, forms};
use crate::expr::{Expr, Numbers};
use crate::op::{Key, identify};
use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

/// Bytes of all structures kept, so that those that never come again do not pile up.
const MAX_BYTES: usize = 4 << 20;
/// Room for most items.
const ITEM_BYTES: usize = 160;
/// Structures kept, among which one is found by comparing.
const MAX_KNOWN: usize = 256;

/// The tasks of graphs that were run.
#[derive(Default)]
pub(crate) struct Schedules {
    /// By the graph's [`structure`]; the oldest first.
    known: VecDeque<(Vec<u8>, Arc<[Form]>)>,
    bytes: usize,
    /// The memory of the last structure, for the next, and how many items it was of.
    spare: Vec<u8>,
    pub(super) items: usize,
}

impl Schedules {
    /// The [`forms`] of a graph.
    pub(super) fn forms(&mut self, items: &[Item], fuse: bool) -> Arc<[Form]> {
        self.items = items.len();
        let structure = structure(items, fuse, std::mem::take(&mut self.spare));
        if let Some((_, forms)) = self.known.iter().rev().find(|(known, _)| *known == structure) {
            self.spare = structure;
            return Arc::clone(forms);
        }
        let forms: Arc<[Form]> = forms(items, fuse).into();
        self.bytes += structure.len();
        self.known.push_back((structure, Arc::clone(&forms)));
        while self.bytes > MAX_BYTES || self.known.len() > MAX_KNOWN {
            let oldest = self.known.pop_front();
            self.bytes -= oldest.map_or(0, |(structure, _)| structure.len());
        }
        forms
    }
}

/// All that the tasks of a graph depend on, so that graphs of one structure have the same. Numbers count by their
/// places alone. It is written to `memory`.
fn structure(items: &[Item], fuse: bool, mut memory: Vec<u8>) -> Vec<u8> {
    memory.clear();
    memory.reserve(ITEM_BYTES * items.len());
    let mut key = Key(memory);
    fuse.hash(&mut key);
    for item in items {
        let node = &*item.node;
        (item.pending, item.keep, node.view, &item.inputs).hash(&mut key);
        key.spec(&node.spec);
        if !item.pending || node.view {
            continue;
        }
        let (kind, row, numbers) = match node.op.expr() {
            None => (0u8, None, Numbers::default()),
            Some(Expr::Constant(number)) => (1, None, [Some(number), None, None]),
            Some(Expr::Row(row)) => (2, Some(row), Numbers::default()),
            Some(Expr::Partial(row, numbers)) => (3, Some(row), numbers),
        };
        (kind, row, numbers.map(|number| number.map(|number| number.dtype))).hash(&mut key);
        if kind == 0 {
            let op = &*node.op;
            (identify(op, &mut key), op.finishes(), op.begins(), op.strided()).hash(&mut key);
        }
    }
    key.0
}

#[cfg(test)]
mod tests {
    use super::super::collect::collect;
    use super::*;
    use crate::{DType, Engine, Result, Tensor};

    /// A graph's structure, while the tensors given with it are held.
    fn structure_of((y, _held): (Tensor, Vec<Tensor>)) -> Result<Vec<u8>> {
        Ok(structure(&collect(&[&y], &|_| false, 0)?, true, Vec::new()))
    }

    #[test]
    fn numbers_are_no_part_of_a_structure_and_all_else_is() -> Result<()> {
        let engine = Engine::cpu();
        let ready = |shape: [usize; 2]| -> Result<Tensor> {
            let x = Tensor::rand(shape, 1, &engine)?;
            x.eval()?;
            Ok(x)
        };
        let (x, other, wide) = (ready([4, 4])?, ready([4, 4])?, ready([4, 5])?);
        let whole = x.cast(DType::I32)?;
        whole.eval()?;
        let scaled = |x: &Tensor, number: f64| Ok((x.mul(number)?.add(x)?, Vec::new()));
        let first = structure_of(scaled(&x, 0.5)?)?;
        assert_eq!(first, structure_of(scaled(&x, 0.25)?)?);
        assert_eq!(first, structure_of(scaled(&other, 0.5)?)?);
        let kept = x.mul(0.5)?;
        let others: [(Tensor, Vec<Tensor>); 9] = [
            scaled(&wide, 0.5)?,
            scaled(&whole, 1.0)?,
            (x.t()?.mul(0.5)?.add(&x)?, Vec::new()),
            (x.mul(0.5)?.add(&other)?, Vec::new()),
            (x.add(0.5)?.add(&x)?, Vec::new()),
            (x.mul(0.5)?.add(0.5)?, Vec::new()),
            (kept.add(&x)?, vec![kept]),
            (x.matmul(&x)?.add(&x)?, Vec::new()),
            (x.softmax(-1)?.add(&x)?, Vec::new()),
        ];
        let mut seen = vec![first];
        for graph in others {
            let structure = structure_of(graph)?;
            assert!(!seen.contains(&structure), "graph {} is as one before", seen.len());
            seen.push(structure);
        }
        Ok(())
    }

    #[test]
    fn a_kept_schedule_computes_with_the_numbers_of_each_graph() -> Result<()> {
        for engine in [Some(Engine::cpu()), Engine::new("gpu").ok()].into_iter().flatten() {
            let x = Tensor::from_vec(vec![1.0f32, -2.0, 3.0, -4.0], [2, 2], &engine)?;
            let one = Tensor::from_vec(vec![1.0f32, 0.0, 0.0, 1.0], [2, 2], &engine)?;
            crate::eval([&x, &one])?;
            for step in 0..4 {
                let (a, b) = (f64::from(step), f64::from(2 * step + 1));
                // A chain, a filled tensor, and steps that follow a product.
                let full = Tensor::full([2, 2], b, DType::F32, &engine)?;
                let y = x.matmul(&one)?.mul(a)?.add(&full)?.relu()?.sub(&x.mul(b)?.sin()?)?;
                let expected = [1.0f64, -2.0, 3.0, -4.0].map(|x| (a * x + b).max(0.0) - (b * x).sin());
                for (got, expected) in y.to_vec::<f32>()?.into_iter().zip(expected) {
                    assert!((f64::from(got) - expected).abs() < 1e-5, "step {step}: {got} for {expected}");
                }
            }
            assert!(engine.lock().known.len() <= 3, "each step had a schedule of its own");
        }
        Ok(())
    }

    #[test]
    fn the_oldest_are_forgotten() -> Result<()> {
        let engine = Engine::cpu();
        for n in 1..=MAX_KNOWN + 10 {
            Tensor::ones(n, &engine)?.add(1.0)?.eval()?;
        }
        let schedules = engine.lock();
        assert_eq!(schedules.known.len(), MAX_KNOWN);
        assert_eq!(
            schedules.bytes,
            schedules.known.iter().map(|(structure, _)| structure.len()).sum::<usize>()
        );
        Ok(())
    }
}
