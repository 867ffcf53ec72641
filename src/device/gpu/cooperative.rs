//! Cooperative matrices (tensor cores), asked for where an adapter has them and used once they were seen right.

use super::{GpuDevice, Plans};
use crate::device::{Argument, Cooperative, Device};
use crate::ops::matmul::Matmul;
use crate::{DType, Op, Result, Shape, Spec};
use half::f16;

/// Workgroup memory that `gemm_cooperative.wgsl` takes at most.
const WORKGROUP_BYTES: u32 = 32 << 10;

/// What the features of [`features`] are for on this adapter: square matrices of halves with sums in `f32`, the
/// larger the better, and subgroups of one size. Software has them too, and is no faster by them: it is asked where
/// `KILN_COOPERATIVE=1`. `KILN_COOPERATIVE=0` asks nobody.
pub(super) fn offered(adapter: &wgpu::Adapter) -> Option<Cooperative> {
    let info = adapter.get_info();
    let asked = std::env::var("KILN_COOPERATIVE").unwrap_or_default();
    let software = info.device_type == wgpu::DeviceType::Cpu;
    if asked == "0" || (software && asked != "1") || !adapter.features().contains(features()) {
        return None;
    }
    let limits = adapter.limits();
    if limits.max_compute_workgroup_storage_size < WORKGROUP_BYTES
        || info.subgroup_min_size != info.subgroup_max_size
        || limits.max_compute_invocations_per_workgroup < 8 * info.subgroup_max_size
    {
        return None;
    }
    use wgpu::CooperativeScalarType::{F16, F32};
    let square = |of: &wgpu::CooperativeMatrixProperties| {
        let sums = (of.ab_type, of.cr_type) == (F16, F32) && !of.saturating_accumulation;
        (sums && of.m_size == of.n_size && of.n_size == of.k_size).then_some(of.m_size)
    };
    let size = adapter.cooperative_matrix_properties().iter().filter_map(square).max()?;
    // A lane writes whole vectors of what a subgroup holds.
    let whole = (size * size).is_multiple_of(4 * info.subgroup_max_size);
    (matches!(size, 8 | 16) && whole).then_some(Cooperative { size, subgroup: info.subgroup_max_size })
}

/// What kernels on cooperative matrices need.
pub(super) fn features() -> wgpu::Features {
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP
}

impl GpuDevice {
    /// Uses cooperative matrices from now on if a product by them is right: of whole numbers, so that every sum is
    /// exact in any order, and of sizes that no tile divides.
    pub(super) fn try_cooperative(&mut self, offered: Cooperative) {
        self.caps.cooperative = Some(offered);
        if !self.multiplies().unwrap_or(false) {
            self.caps.cooperative = None;
            self.plans = Plans::default();
        }
    }

    fn multiplies(&self) -> Result<bool> {
        let (m, n, k) = (150, 100, 71);
        let a = |row: usize, column: usize| (7 * row + 3 * column) % 11;
        let b = |row: usize, column: usize| (5 * row + 2 * column) % 13;
        let operand = |rows: usize, columns: usize, value: &dyn Fn(usize, usize) -> usize| {
            let values: Vec<f16> = (0..rows * columns)
                .map(|place| f16::from_f32(value(place / columns, place % columns) as f32))
                .collect();
            let spec = Spec::new(DType::F16, Shape::new(&[rows, columns])?);
            Ok(Argument { buffer: self.upload(bytemuck::cast_slice(&values))?, spec })
        };
        let inputs = [operand(m, k, &a)?, operand(k, n, &b)?];
        let spec = Matmul.output(&[inputs[0].spec, inputs[1].spec])?;
        let output = Argument { buffer: self.allocate(spec.bytes())?, spec };
        self.run(&Matmul, &inputs, &output)?;
        let bytes = pollster::block_on(self.download(&output.buffer, 0..spec.bytes()))?;
        let products =
            bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let exact = |place: usize| (0..k).map(|i| a(place / n, i) * b(i, place % n)).sum::<usize>() as f32;
        Ok(products.enumerate().all(|(place, product)| product == exact(place)))
    }
}
