//! The CPU device: plain memory, and kernels that use every core.

mod pool;
pub(crate) mod threads;

use super::{Argument, Buffer, Device, DeviceKind, Download, Memory};
use crate::op::{Op, Output, View};
use crate::{Error, Result, Spec};
use pool::{Block, Pool};
use std::ops::Range;
use std::sync::Arc;

/// The processor. Work runs at once, on threads of its own.
#[derive(Debug)]
pub struct CpuDevice {
    name: String,
    pool: Arc<Pool>,
}

impl CpuDevice {
    /// The processor Kiln runs on, with all its cores.
    pub fn new() -> CpuDevice {
        let threads = threads::count();
        CpuDevice { name: format!("CPU ({threads} threads)"), pool: Arc::default() }
    }

    fn block<'a>(&self, buffer: &'a Buffer) -> Result<&'a Block> {
        buffer.storage().ok_or_else(|| Error::device(&self.name, "the buffer belongs to another device"))
    }
}

impl Default for CpuDevice {
    fn default() -> CpuDevice {
        CpuDevice::new()
    }
}

impl Device for CpuDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        let block = Pool::take(&self.pool, bytes).ok_or_else(|| Error::OutOfMemory {
            device: self.name.clone(),
            requested: bytes as u64,
            in_use: self.memory().live,
        })?;
        Ok(Buffer::new(block, DeviceKind::Cpu))
    }

    fn upload(&self, data: &[u8]) -> Result<Buffer> {
        let buffer = self.allocate(data.len())?;
        // SAFETY: the block was just made with at least this many bytes and nobody else has it.
        unsafe { self.block(&buffer)?.pointer().copy_from_nonoverlapping(data.as_ptr(), data.len()) };
        Ok(buffer)
    }

    fn download<'a>(&'a self, buffer: &Buffer, range: Range<usize>) -> Download<'a> {
        let copy = self.block(buffer).map(|block| block.bytes()[range].to_vec());
        Box::pin(std::future::ready(copy))
    }

    fn bytes<'a>(&self, buffer: &'a Buffer, range: Range<usize>) -> Option<&'a [u8]> {
        self.block(buffer).ok()?.bytes().get(range)
    }

    fn alignment(&self) -> usize {
        1
    }

    fn in_place(&self, op: &dyn Op, index: usize, _: &[Spec], _: &Spec) -> bool {
        op.in_place(index)
    }

    fn supports(&self, _: &dyn Op, _: &[Spec], _: &Spec) -> bool {
        true
    }

    fn run(&self, op: &dyn Op, inputs: &[Argument], output: &Argument) -> Result<()> {
        let views = inputs
            .iter()
            .map(|input| {
                let block = self.block(&input.buffer)?;
                let aliased = input.buffer.same(&output.buffer);
                // SAFETY: blocks are aligned to 64 bytes and live as long as `inputs`; a block is written
                // by the one op whose output it is.
                Ok(unsafe { View::new(input.spec, block.pointer(), block.bytes().len(), aliased) })
            })
            .collect::<Result<Vec<_>>>()?;
        let block = self.block(&output.buffer)?;
        // SAFETY: as above.
        let mut output = unsafe { Output::new(output.spec, block.pointer(), block.bytes().len()) };
        threads::run(|| op.cpu(&views, &mut output))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn memory(&self) -> Memory {
        self.pool.memory()
    }
}
