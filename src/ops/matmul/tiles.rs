//! The tiles that products are cut into: which one a rule chooses, and which others a device may measure.

use super::gpu::{BUSY, Gemm, SHORTEST_RUN, TINY};
use crate::device::{Caps, Cooperative};

/// What the shaders' `TILE_K` is without cooperative matrices.
const TILE_K: usize = 16;

/// What a workgroup computes: along rows and columns, blocks of an invocation, and invocations. Blocks are of 4 x 4
/// results. With cooperative matrices they are fragments of a subgroup, and subgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub blocks: [usize; 2],
    pub threads: [usize; 2],
}

const fn tile(blocks: [usize; 2], threads: [usize; 2]) -> Tile {
    Tile { blocks, threads }
}

/// Tiles worth measuring on a GPU.
const HARDWARE: &[Tile] = &[
    tile([2, 2], [16, 16]),
    tile([2, 1], [16, 16]),
    tile([1, 2], [16, 16]),
    tile([2, 2], [16, 8]),
    tile([2, 2], [8, 16]),
    tile([1, 1], [16, 16]),
    tile([2, 2], [8, 8]),
    tile([1, 1], [16, 8]),
    tile([1, 1], [8, 16]),
    tile([1, 1], [8, 8]),
    tile([2, 1], [16, 4]),
    tile([1, 2], [4, 16]),
];

/// On a processor that plays one, which has no use for workgroups but that they run on its cores.
const SOFTWARE: &[Tile] = &[
    tile([1, 1], [4, 4]),
    tile([2, 1], [4, 4]),
    tile([1, 2], [4, 4]),
    tile([2, 2], [4, 4]),
    tile([4, 2], [4, 4]),
    tile([2, 4], [4, 4]),
    tile([4, 4], [4, 4]),
    tile([8, 4], [4, 4]),
];

/// With cooperative matrices.
const COOPERATIVE: &[Tile] = &[
    tile([4, 2], [2, 4]),
    tile([2, 2], [2, 4]),
    tile([4, 1], [2, 4]),
    tile([2, 1], [2, 4]),
    tile([1, 1], [2, 4]),
];

impl Tile {
    /// Rows and columns, where a block has `unit` of either.
    pub fn size(self, unit: usize) -> [usize; 2] {
        [0, 1].map(|side| unit * self.blocks[side] * self.threads[side])
    }

    fn name(self, unit: usize) -> String {
        let ([rows, columns], [m, n]) = (self.size(unit), self.blocks);
        format!("{rows}x{columns} by {}x{}", m * unit, n * unit)
    }

    /// Whether it is within what the shader and the device allow.
    fn allowed(self, caps: &Caps, cooperative: Option<Cooperative>) -> bool {
        let Tile { blocks, threads } = self;
        if let Some(Cooperative { size, subgroup }) = cooperative {
            // Loads that the invocations of a workgroup share evenly.
            let invocations = threads[0] * threads[1] * subgroup as usize;
            return self
                .size(size as usize)
                .iter()
                .all(|side| (side * size as usize / 2).is_multiple_of(invocations));
        }
        let [rows, columns] = self.size(4);
        let even = threads[1] <= TILE_K * blocks[0] && threads[0] <= TILE_K * blocks[1];
        let bytes = (rows + columns) * TILE_K * size_of::<f32>();
        threads[0] * threads[1] <= caps.workgroup_size as usize
            && (caps.software || even && bytes <= caps.workgroup_bytes as usize)
    }
}

impl Gemm {
    /// The tile that `caps` asks for, or else the rule's; and the names of all, the rule's first.
    pub(super) fn choose_tile(&self, caps: &Caps, cooperative: Option<Cooperative>) -> (Tile, Vec<String>) {
        let (rule, others, unit) = match cooperative {
            Some(with) => (self.cooperative_rule(with), COOPERATIVE, with.size as usize),
            None if caps.software => (self.software_rule(), SOFTWARE, 4),
            None => (self.hardware_rule(), HARDWARE, 4),
        };
        // Of a product that takes no longer than its launch there is nothing to choose. Else tiles not much larger or
        // smaller than the rule's, and none of which most is outside the product.
        let worth = self.m * self.n * self.k * self.batch >= TINY;
        let area = |tile: Tile| tile.size(unit).iter().product::<usize>();
        let inside = |tile: Tile| {
            let [rows, columns] = tile.size(unit);
            rows <= self.m.next_power_of_two().max(16) && columns <= self.n.next_power_of_two().max(16)
        };
        let near = |tile: Tile| area(tile) <= 4 * area(rule) && area(rule) <= 4 * area(tile);
        let others = others.iter().copied().filter(|&other| {
            worth && other != rule && near(other) && inside(other) && other.allowed(caps, cooperative)
        });
        let tiles: Vec<Tile> = std::iter::once(rule).chain(others).collect();
        let chosen = caps.variant.and_then(|variant| tiles.get(variant)).unwrap_or(&rule);
        (*chosen, tiles.iter().map(|tile| tile.name(unit)).collect())
    }

    /// As large a tile as leaves enough of them.
    fn hardware_rule(&self) -> Tile {
        let mut size = [self.m, self.n].map(|size| size.next_power_of_two().clamp(32, 128));
        // Halving the longer side first keeps the most products for each element loaded.
        while self.tiles(size) < BUSY && size != [32, 32] {
            let side = usize::from(size[1] >= size[0]);
            size[side] /= 2;
        }
        // A product with few small tiles gains more from cutting its sums than from tiles that
        // load as much as they compute.
        if self.tiles(size) < BUSY && self.k >= 4 * SHORTEST_RUN {
            size = [self.m, self.n].map(|size| size.next_power_of_two().clamp(32, 64));
        }
        let blocks = size.map(|size| if size == 128 { 2 } else { 1 });
        Tile { blocks, threads: [0, 1].map(|side| size[side] / 4 / blocks[side]) }
    }

    /// What an invocation loads is all that counts: the more products it computes, the fewer loads each takes.
    fn software_rule(&self) -> Tile {
        let threads = match (self.m, self.n) {
            (0..=8, _) => [1, 16],
            (_, 0..=8) => [16, 1],
            _ => [4, 4],
        };
        // Of small products a large kernel takes longer to compile than it saves.
        let products = self.m * self.n * self.k * self.batch;
        let most = match products.max(1).ilog2() {
            0..24 => [1, 1],
            24..27 => [2, 2],
            27 => [4, 2],
            28 => [4, 4],
            _ => [8, 4],
        };
        let blocks = [0, 1].map(|side| {
            let size = [self.m, self.n][side].div_ceil(4 * threads[side]).next_power_of_two();
            size.min(most[side])
        });
        Tile { blocks, threads }
    }

    fn cooperative_rule(&self, with: Cooperative) -> Tile {
        let [large, small] = [tile([4, 2], [2, 4]), tile([2, 1], [2, 4])];
        if self.tiles(large.size(with.size as usize)) >= BUSY / 2 { large } else { small }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_offered_where_it_may_be() {
        let caps = [Caps::default(), Caps { software: true, ..Caps::default() }];
        let cooperative = [16, 8].map(|size| Some(Cooperative { size, subgroup: 2 * size }));
        for (caps, cooperative) in
            [(&caps[0], None), (&caps[1], None), (&caps[0], cooperative[0]), (&caps[0], cooperative[1])]
        {
            for (m, n) in [(16, 9000), (9000, 16), (100, 100), (1000, 1000), (9000, 9000)] {
                let gemm = Gemm { m, n, k: 64, batch: 1, along_k: [true, false], vectors: [false; 3] };
                let (rule, names) = gemm.choose_tile(caps, cooperative);
                let of = |variant: usize| {
                    gemm.choose_tile(&Caps { variant: Some(variant), ..caps.clone() }, cooperative)
                };
                assert_eq!(of(0).0, rule);
                assert_eq!(of(names.len()).0, rule, "a variant that there is not");
                let mut seen: Vec<Tile> = (0..names.len()).map(|variant| of(variant).0).collect();
                assert!(seen.iter().all(|tile| tile.allowed(caps, cooperative)), "{seen:?}");
                seen.dedup();
                assert_eq!(seen.len(), names.len());
                // Named by what they are, whichever the rule's is.
                assert!((0..names.len()).all(|variant| of(variant).1 == names));
            }
        }
        assert!(HARDWARE.iter().all(|tile| tile.allowed(&Caps::default(), None)));
    }
}
