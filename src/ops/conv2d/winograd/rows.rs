//! The transforms of Winograd's F(2x2, 3x3), a row of a tile at a time.

use super::LANES;
use pulp::Simd;

/// A transform of one row of a tile, on vectors of channels.
pub(super) trait Row<const FROM: usize, const TO: usize> {
    fn apply<S: Simd>(simd: S, row: [S::f32s; FROM]) -> [S::f32s; TO];
}

/// Of an input: `B^T` in the paper.
pub(super) struct Input;
/// Back to outputs: `A^T`.
pub(super) struct Output;
/// Of a kernel: `G`.
pub(super) struct Weight;

/// Of the gradient of an output: `A`.
pub(super) struct Upstream;
/// Back to the gradient of a kernel: `G^T`.
pub(super) struct Taps;

#[inline(always)]
fn half<S: Simd>(simd: S, a: S::f32s) -> S::f32s {
    simd.mul_f32s(simd.splat_f32s(0.5), a)
}

impl Row<4, 4> for Input {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, d: [S::f32s; 4]) -> [S::f32s; 4] {
        [
            simd.sub_f32s(d[0], d[2]),
            simd.add_f32s(d[1], d[2]),
            simd.sub_f32s(d[2], d[1]),
            simd.sub_f32s(d[1], d[3]),
        ]
    }
}

impl Row<4, 2> for Output {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, m: [S::f32s; 4]) -> [S::f32s; 2] {
        let (s, d) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
        [simd.add_f32s(m[0], s), simd.sub_f32s(d, m[3])]
    }
}

impl Row<3, 4> for Weight {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, g: [S::f32s; 3]) -> [S::f32s; 4] {
        let (outer, inner) = (half(simd, simd.add_f32s(g[0], g[2])), half(simd, g[1]));
        [g[0], simd.add_f32s(outer, inner), simd.sub_f32s(outer, inner), g[2]]
    }
}

impl Row<2, 4> for Upstream {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
        [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
    }
}

impl Row<4, 3> for Taps {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, m: [S::f32s; 4]) -> [S::f32s; 3] {
        let (s, d) = (half(simd, simd.add_f32s(m[1], m[2])), half(simd, simd.sub_f32s(m[1], m[2])));
        [simd.add_f32s(m[0], s), d, simd.add_f32s(s, m[3])]
    }
}

/// Transforms a tile along both sides: `from(y, x)` and `to(y, x)` are places in `source` and
/// `target` of `LANES` channels each.
#[inline(always)]
pub(super) fn tile<S: Simd, R: Row<FROM, TO>, const FROM: usize, const TO: usize>(
    simd: S,
    source: &[f32],
    from: impl Fn(usize, usize) -> usize,
    target: &mut [f32],
    to: impl Fn(usize, usize) -> usize,
) {
    for part in (0..LANES).step_by(S::F32_LANES) {
        let load = |place: usize| -> S::f32s {
            bytemuck::pod_read_unaligned(bytemuck::cast_slice(&source[place + part..][..S::F32_LANES]))
        };
        let zero = simd.splat_f32s(0.0);
        let mut columns = [[zero; TO]; FROM];
        for (x, column) in columns.iter_mut().enumerate() {
            let mut values = [zero; FROM];
            for (y, value) in values.iter_mut().enumerate() {
                *value = load(from(y, x));
            }
            *column = R::apply(simd, values);
        }
        for y in 0..TO {
            let mut row = [zero; FROM];
            for (x, column) in columns.iter().enumerate() {
                row[x] = column[y];
            }
            for (x, value) in R::apply(simd, row).into_iter().enumerate() {
                let (lanes, target) = ([value], &mut target[to(y, x) + part..][..S::F32_LANES]);
                let lanes: &[f32] = bytemuck::cast_slice(&lanes);
                // Not `copy_from_slice`, which is a call.
                target.iter_mut().enumerate().for_each(|(lane, target)| *target = lanes[lane]);
            }
        }
    }
}
