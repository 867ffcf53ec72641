//! Plans for the tiled product of `shaders/gemm.wgsl`, for every operation built on it.

use super::tiles::Tile;
use crate::device::{Binding, Caps, Cooperative, Kernel, Plan, Shader, Variants};
use crate::{DType, Spec};
use std::borrow::Cow;

/// Workgroups that keep a large GPU busy, and a processor that plays one. Not asked of the device: which kernel
/// runs, and with it the rounding, should depend on little else than shapes.
pub(super) const BUSY: usize = 256;
const BUSY_SOFTWARE: usize = 16;
/// The shortest run of a sum that is worth a workgroup of its own.
pub(super) const SHORTEST_RUN: usize = 256;
/// Rows or columns up to which a product is bound by how fast the other operand is read.
const FEW: usize = 4;
/// Multiply-adds below which a product counts as tiny.
pub(super) const TINY: usize = 1 << 18;
/// Invocations of a workgroup then.
const VECTOR_LANES: usize = 128;
/// What the shaders' `TILE_K` divides.
const TILE_K: usize = 32;

/// A kernel's constants.
type Constants = Vec<(&'static str, Cow<'static, str>)>;

/// A batch of products `[m, k] x [k, n]` of operands that a shader knows how to load.
pub(crate) struct Gemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    /// Whether four neighbours along k are fetched at once, of either operand; right where k is the contiguous
    /// dimension.
    pub along_k: [bool; 2],
    /// Whether the four that are fetched of either operand, or stored, are one aligned vector.
    pub vectors: [bool; 3],
}

impl Gemm {
    /// Rows and columns of a workgroup's tile, and the constants that say so; and the names of the tiles that it
    /// could be.
    fn tile(
        &self,
        caps: &Caps,
        cooperative: Option<Cooperative>,
        constants: &mut Constants,
    ) -> ([usize; 2], Vec<String>) {
        let (tile, names) = self.choose_tile(caps, cooperative);
        let Tile { blocks, threads } = tile;
        let mut push = |name, value: String| constants.push((name, value.into()));
        if let Some(with) = cooperative {
            let size = with.size;
            for (name, role, element) in
                [("FragmentA", "A", "f16"), ("FragmentB", "B", "f16"), ("FragmentC", "C", "f32")]
            {
                push(name, format!("coop_mat{size}x{size}<{element}, {role}>"));
            }
            push("FRAGMENT", format!("{size}u"));
            push("SUBGROUP", format!("{}u", with.subgroup));
            push("FRAGMENTS_M", format!("{}u", blocks[0]));
            push("FRAGMENTS_N", format!("{}u", blocks[1]));
            push("CORE", "gemm_cooperative".into());
            return (tile.size(size as usize), names);
        }
        for (side, [blocks_name, threads_name]) in
            [["M4", "THREADS_M"], ["N4", "THREADS_N"]].into_iter().enumerate()
        {
            push(blocks_name, format!("{}u", blocks[side]));
            push(threads_name, format!("{}u", threads[side]));
        }
        push("WORKGROUP_MEMORY", (!caps.software).to_string());
        (tile.size(4), names)
    }

    /// As [`tile`](Self::tile), of a product with up to [`FEW`] rows or columns; none of others.
    fn vector_tile(&self, caps: &Caps, constants: &mut Constants) -> Option<[usize; 2]> {
        let few_rows = self.m <= self.n;
        let (few, lines, lines_along_k) =
            if few_rows { (self.m, self.n, self.along_k[1]) } else { (self.n, self.m, self.along_k[0]) };
        // Where compiling a kernel is what takes time, the smallest products share one; and columns that are no
        // whole vectors are stored one by one, which is slow there.
        let none = self.m * self.n * self.k * self.batch < TINY || !(few_rows || few.is_multiple_of(4));
        if few > FEW || (caps.software && none) {
            return None;
        }
        let tile = |lines: usize| if few_rows { [few, lines] } else { [lines, few] };
        let [mut blocks, mut lanes, mut lanes_k] = [1, 16, 1];
        if caps.software {
            blocks = (lines / (4 * lanes)).next_power_of_two().clamp(1, 4);
        } else {
            // Neighbours read neighbours; as many as it takes to keep the GPU busy share the sums of a line.
            let fewest;
            (lanes_k, fewest) = if lines_along_k { (32, 1) } else { (4, 8) };
            lanes = VECTOR_LANES / lanes_k;
            while lanes > fewest && 8 * lanes_k < self.k && self.tiles(tile(4 * lanes)) < BUSY {
                (lanes, lanes_k) = (lanes / 2, lanes_k * 2);
            }
        }
        let words = [("FEW", few), ("BLOCKS", blocks), ("LANES", lanes), ("LANES_K", lanes_k)];
        constants.extend(words.map(|(name, word)| (name, format!("{word}u").into())));
        let flags = [("FEW_ROWS", few_rows), ("SHARED_SUMS", lanes_k > 1)];
        constants.extend(flags.map(|(name, flag)| (name, flag.to_string().into())));
        constants.push(("CORE", "gemm_vector".into()));
        Some(tile(4 * blocks * lanes))
    }

    /// Workgroups of tiles of this size.
    pub(super) fn tiles(&self, [rows, columns]: [usize; 2]) -> usize {
        self.m.div_ceil(rows) * self.n.div_ceil(columns) * self.batch
    }

    /// The plan of `shader`, an importer of the core, whose uniform is the core's eight words and then
    /// `params`, and which binds these two inputs and a result of `elements` elements.
    pub fn plan(
        &self,
        shader: Shader,
        inputs: &[Spec],
        mut constants: Constants,
        params: Vec<u32>,
        elements: usize,
        caps: &Caps,
    ) -> Plan {
        if elements == 0 {
            return Plan::default();
        }
        let half = |input: usize| inputs[input].dtype == DType::F16;
        let cooperative = caps.cooperative.filter(|_| half(0) && half(1));
        let class = self.class(&shader, &constants, inputs);
        let ([rows, columns], names) = match self.vector_tile(caps, &mut constants) {
            Some(tile) => (tile, Vec::new()),
            None => self.tile(caps, cooperative, &mut constants),
        };
        let tiles = self.tiles([rows, columns]);
        let busy = if caps.software { BUSY_SOFTWARE } else { BUSY };
        let room = caps.binding_bytes as usize / (elements * size_of::<f32>());
        let splits = (busy / tiles).min(self.k / SHORTEST_RUN).min(room).max(1);
        let run = self.k.div_ceil(splits).next_multiple_of(TILE_K).max(TILE_K);
        let splits = self.k.div_ceil(run).max(1);

        let flags = [
            ("FIRST_HALF", half(0)),
            ("SECOND_HALF", half(1)),
            ("A_ALONG_K", self.along_k[0]),
            ("B_ALONG_K", self.along_k[1]),
            ("A_VECTORS", self.vectors[0]),
            ("B_VECTORS", self.vectors[1]),
            ("C_VECTORS", self.vectors[2]),
        ];
        constants.extend(flags.map(|(name, flag)| (name, if flag { "true" } else { "false" }.into())));
        let [tiles_m, tiles_n] = [self.m.div_ceil(rows), self.n.div_ceil(columns)];
        let sizes = [self.m, self.n, self.k, self.batch, tiles_m, tiles_n, splits, run];
        let result = if splits > 1 { Binding::Scratch(0) } else { Binding::Output };
        let product = Kernel {
            shader,
            constants,
            // Each by word and by vector.
            bindings: [Binding::Input(0), Binding::Input(1), result]
                .into_iter()
                .flat_map(|b| [b, b])
                .collect(),
            params: sizes.into_iter().map(|size| size as u32).chain(params).collect(),
            groups: Kernel::fold(tiles * splits, caps),
        };
        let variants = (names.len() > 1).then_some(Variants { class, names });
        if splits == 1 {
            return Plan { variants, ..Plan::one(product) };
        }
        let sum = sum_of_splits(elements, splits, caps);
        let scratch = vec![splits * elements * size_of::<f32>()];
        Plan { kernels: vec![product, sum], scratch, variants, ..Plan::default() }
    }

    /// Products for which the same tile is likely to be the fastest.
    fn class(&self, shader: &Shader, constants: &Constants, inputs: &[Spec]) -> String {
        let mut class = shader.name.to_string();
        constants.iter().for_each(|(_, value)| class += &format!(" {value}"));
        inputs.iter().for_each(|input| class += &format!(" {}", input.dtype));
        class += " ";
        self.along_k.iter().chain(&self.vectors).for_each(|&flag| class.push(if flag { '1' } else { '0' }));
        let [m, n, k, batch] = [self.m, self.n, self.k, self.batch].map(usize::next_power_of_two);
        class + &format!(" {m}x{n}x{k} x{batch}")
    }
}

/// The kernel that adds up `splits` runs of `elements` sums each, from the first scratch buffer into the output.
pub(crate) fn sum_of_splits(elements: usize, splits: usize, caps: &Caps) -> Kernel {
    Kernel {
        shader: Shader::file("gemm_sum", include_str!("../../../shaders/gemm_sum.wgsl")),
        constants: Vec::new(),
        bindings: vec![Binding::Written(0), Binding::Output],
        params: vec![elements as u32, splits as u32],
        groups: Kernel::fold(elements.div_ceil(256), caps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    fn plan(dtypes: [DType; 2], size: usize, caps: &Caps) -> Plan {
        let gemm = Gemm { m: size, n: size, k: size, batch: 1, along_k: [true, false], vectors: [false; 3] };
        let inputs = dtypes.map(|dtype| Spec::new(dtype, Shape::new(&[size, size]).unwrap()));
        gemm.plan(Shader::file("none", ""), &inputs, Vec::new(), Vec::new(), size * size, caps)
    }

    fn constant(plan: &Plan, name: &str) -> Option<String> {
        let constants = &plan.kernels[0].constants;
        constants.iter().find(|(constant, _)| *constant == name).map(|(_, value)| value.to_string())
    }

    /// Tensor cores multiply halves by halves, and nothing else.
    #[test]
    fn halves_go_to_cooperative_matrices() {
        let cooperative = Some(Cooperative { size: 16, subgroup: 32 });
        let caps = Caps { cooperative, ..Caps::default() };
        let core = |dtypes, caps: &Caps| constant(&plan(dtypes, 512, caps), "CORE");
        assert_eq!(core([DType::F16; 2], &caps).as_deref(), Some("gemm_cooperative"));
        assert_eq!(core([DType::F16; 2], &Caps::default()), None);
        for mixed in [[DType::F32; 2], [DType::F16, DType::F32], [DType::F32, DType::F16]] {
            assert_eq!(core(mixed, &caps), None);
        }
    }

    /// Few rows or columns are multiplied line by line, also where tensor cores are.
    #[test]
    fn few_lines_have_a_kernel_of_their_own() {
        let cooperative = Some(Cooperative { size: 16, subgroup: 32 });
        for (sizes, few) in [([1, 900, 300], Some("1u")), ([900, 3, 300], Some("3u")), ([5, 900, 300], None)]
        {
            for lines_along_k in [false, true] {
                let [m, n, k] = sizes;
                let gemm = Gemm { m, n, k, batch: 1, along_k: [lines_along_k; 2], vectors: [false; 3] };
                let caps = Caps { cooperative, ..Caps::default() };
                let half = |rows, columns| Spec::new(DType::F16, Shape::new(&[rows, columns]).unwrap());
                let plan = gemm.plan(
                    Shader::file("none", ""),
                    &[half(m, k), half(k, n)],
                    Vec::new(),
                    Vec::new(),
                    m * n,
                    &caps,
                );
                assert_eq!(constant(&plan, "FEW").as_deref(), few);
                let word =
                    |name: &str| constant(&plan, name).unwrap().trim_end_matches('u').parse::<u32>().unwrap();
                if few.is_some() {
                    let tiles = plan.kernels[0].params[4] * plan.kernels[0].params[5];
                    assert_eq!(word("LANES") * word("LANES_K"), VECTOR_LANES as u32);
                    assert_eq!(tiles, 900u32.div_ceil(4 * word("LANES") * word("BLOCKS")));
                }
            }
        }
    }

    /// Every result is in one tile, whatever the kernel.
    #[test]
    fn tiles_cover_the_product() {
        let cooperative = Some(Cooperative { size: 8, subgroup: 8 });
        for size in [5, 31, 130, 700, 4000] {
            for (caps, dtype) in [
                (Caps::default(), DType::F32),
                (Caps { software: true, ..Caps::default() }, DType::F32),
                (Caps { cooperative, ..Caps::default() }, DType::F16),
            ] {
                let plan = plan([dtype; 2], size, &caps);
                let word = |name: &str| {
                    let value = constant(&plan, name)?;
                    value.trim_end_matches('u').parse::<usize>().ok()
                };
                let tile = match word("FRAGMENT") {
                    Some(fragment) => [
                        2 * fragment * word("FRAGMENTS_M").unwrap(),
                        4 * fragment * word("FRAGMENTS_N").unwrap(),
                    ],
                    None => [["M4", "THREADS_M"], ["N4", "THREADS_N"]]
                        .map(|names| 4 * names.map(|name| word(name).unwrap()).iter().product::<usize>()),
                };
                let params = &plan.kernels[0].params;
                let [tiles_m, tiles_n, splits, run] = [4, 5, 6, 7].map(|word: usize| params[word] as usize);
                assert!(tiles_m * tile[0] >= size && (tiles_m - 1) * tile[0] < size);
                assert!(tiles_n * tile[1] >= size && (tiles_n - 1) * tile[1] < size);
                assert!(splits * run >= size && (splits - 1) * run < size);
                let groups: usize = plan.kernels[0].groups.iter().map(|&count| count as usize).product();
                assert!(groups >= tiles_m * tiles_n * splits);
            }
        }
    }
}
