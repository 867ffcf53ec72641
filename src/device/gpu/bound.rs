//! What of its buffers a kernel sees.

use super::GpuDevice;
use super::pool::Block;
use crate::device::{Argument, Kernel};
use crate::{Result, Spec};
use std::ops::Range;

/// A range of a buffer bound to a kernel.
pub(super) struct Bound<'a> {
    pub block: &'a Block,
    pub offset: u64,
    pub bytes: u64,
    /// Whether the kernel may write it.
    pub written: bool,
}

impl GpuDevice {
    /// The elements that a binding covers which reaches all of a spec's.
    fn covered(&self, spec: &Spec) -> Range<usize> {
        match spec.layout.extent() {
            extent if extent.is_empty() => 0..0,
            extent => extent.start - extent.start % (self.alignment / spec.dtype.size())..extent.end,
        }
    }

    /// A spec as a kernel sees it.
    fn as_bound(&self, spec: &Spec) -> Spec {
        let (mut seen, covered) = (*spec, self.covered(spec));
        seen.layout.offset = if covered.is_empty() { 0 } else { seen.layout.offset - covered.start };
        seen
    }

    /// Specs as a plan sees them.
    pub(super) fn all_as_bound<'a>(&self, specs: impl Iterator<Item = &'a Spec>) -> Vec<Spec> {
        specs.map(|spec| self.as_bound(spec)).collect()
    }

    /// What a binding of an argument covers.
    pub(super) fn bound<'a>(&self, argument: &'a Argument, written: bool) -> Result<Bound<'a>> {
        let block = self.block(&argument.buffer)?;
        let (covered, size) = (self.covered(&argument.spec), argument.spec.dtype.size());
        let [offset, end] = [covered.start, covered.end].map(|element| (element * size) as u64);
        Ok(Bound { block, offset, bytes: self.binding_bytes(block, offset, end), written })
    }

    /// The size of a binding from `offset` to `end`: whole `vec4`s, as the pool's sizes are.
    pub(super) fn binding_bytes(&self, block: &Block, offset: u64, end: u64) -> u64 {
        let bytes = end.saturating_sub(offset).next_multiple_of(16).max(16);
        bytes.min(block.bytes().saturating_sub(offset)).min(self.caps.binding_bytes & !3)
    }

    /// The bytes of a kernel's uniform, or what would fail once it is recorded. That has to come
    /// first: one invalid command spoils everything that is submitted with it.
    pub(super) fn check(&self, kernel: &Kernel, bound: &[Bound]) -> Result<u64, String> {
        let aliased = |read: &&Bound| bound.iter().any(|b| b.written && std::ptr::eq(b.block, read.block));
        if bound.iter().filter(|bound| !bound.written).any(|read| aliased(&read)) {
            return Err("one buffer is both read and written".into());
        }
        let words = kernel.params.len();
        self.arena.slot(&kernel.params).ok_or_else(|| format!("{words} words of params are too many"))
    }

    /// Whether a dispatch holds the workgroups, or as many as it takes where it can be cut into several.
    pub(super) fn holds(&self, [x, y, z]: [u32; 3], divisible: impl FnOnce() -> bool) -> bool {
        let limit = self.caps.groups;
        x <= limit && z <= limit && (y <= limit || (z == 1 && divisible()))
    }
}

/// An output as a kernel sees it: bound from its first element.
pub(super) fn as_written(output: &Spec) -> Spec {
    let mut seen = *output;
    seen.layout.offset = 0;
    seen
}
