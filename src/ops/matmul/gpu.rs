//! Plans for the tiled product of `shaders/gemm.wgsl`, for every operation built on it.

use crate::device::{Binding, Caps, Kernel, Plan, Shader};
use crate::{DType, Spec};
use std::borrow::Cow;

/// Workgroups that keep a large GPU busy. Not asked of the device: which kernel runs, and with it
/// the rounding, should depend on shapes only.
const BUSY: usize = 256;
/// The shortest run of a sum that is worth a workgroup of its own.
const SHORTEST_RUN: usize = 256;
/// `TILE_K` of the shader.
const TILE_K: usize = 16;

/// A batch of products `[m, k] x [k, n]` of operands that a shader knows how to load.
pub(crate) struct Gemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    /// Whether k is the contiguous dimension of the operands.
    pub along_k: [bool; 2],
}

impl Gemm {
    /// Rows and columns of a workgroup's tile: as large as leaves enough of them.
    fn tile(&self) -> [usize; 2] {
        let mut tile = [self.m, self.n].map(|size| size.next_power_of_two().clamp(32, 128));
        // Halving the longer side first keeps the most products for each element loaded.
        while self.tiles(tile) < BUSY && tile != [32, 32] {
            let side = usize::from(tile[1] >= tile[0]);
            tile[side] /= 2;
        }
        // A product with few small tiles gains more from cutting its sums than from tiles that
        // load as much as they compute.
        if self.tiles(tile) < BUSY && self.k >= 4 * SHORTEST_RUN {
            tile = [self.m, self.n].map(|size| size.next_power_of_two().clamp(32, 64));
        }
        tile
    }

    fn tiles(&self, [rows, columns]: [usize; 2]) -> usize {
        self.m.div_ceil(rows) * self.n.div_ceil(columns) * self.batch
    }

    /// The plan of `shader`, an importer of the core, whose uniform is the core's eight words and then
    /// `params`, and which binds these two inputs and a result of `elements` elements.
    pub fn plan(
        &self,
        shader: Shader,
        inputs: &[Spec],
        mut constants: Vec<(&'static str, Cow<'static, str>)>,
        params: Vec<u32>,
        elements: usize,
        caps: &Caps,
    ) -> Plan {
        if elements == 0 {
            return Plan::default();
        }
        let tile = self.tile();
        let tiles = self.tiles(tile);
        let room = caps.binding_bytes as usize / (elements * size_of::<f32>());
        let splits = (BUSY / tiles).min(self.k / SHORTEST_RUN).min(room).max(1);
        let run = self.k.div_ceil(splits).next_multiple_of(TILE_K).max(TILE_K);
        let splits = self.k.div_ceil(run).max(1);

        for (side, blocks, threads) in [(0, "M4", "THREADS_M"), (1, "N4", "THREADS_N")] {
            let per_thread = if tile[side] == 128 { 2 } else { 1 };
            constants.push((blocks, format!("{per_thread}u").into()));
            constants.push((threads, format!("{}u", tile[side] / 4 / per_thread).into()));
        }
        let half = |input: usize| inputs[input].dtype == DType::F16;
        let flags = [
            ("FIRST_HALF", half(0)),
            ("SECOND_HALF", half(1)),
            ("A_ALONG_K", self.along_k[0]),
            ("B_ALONG_K", self.along_k[1]),
        ];
        constants.extend(flags.map(|(name, flag)| (name, if flag { "true" } else { "false" }.into())));
        let [tiles_m, tiles_n] = [self.m.div_ceil(tile[0]), self.n.div_ceil(tile[1])];
        let sizes = [self.m, self.n, self.k, self.batch, tiles_m, tiles_n, splits, run];
        let result = if splits > 1 { Binding::Scratch(0) } else { Binding::Output };
        let product = Kernel {
            shader,
            constants,
            bindings: vec![Binding::Input(0), Binding::Input(1), result],
            params: sizes.into_iter().map(|size| size as u32).chain(params).collect(),
            groups: Kernel::fold(tiles * splits, caps),
        };
        if splits == 1 {
            return Plan::one(product);
        }
        let sum = Kernel {
            shader: Shader::file("gemm_sum", include_str!("../../../shaders/gemm_sum.wgsl")),
            constants: Vec::new(),
            bindings: vec![Binding::Scratch(0), Binding::Output],
            params: vec![elements as u32, splits as u32],
            groups: Kernel::fold(elements.div_ceil(256), caps),
        };
        Plan { kernels: vec![product, sum], scratch: vec![splits * elements * size_of::<f32>()] }
    }
}
