// pool2d_max.wgsl for windows of 2 x 2 that cover planes of even heights and of widths in fours: an
// invocation has two windows side by side, whose elements two vectors hold.

// Whether the result is the element of `other` at the position of the greatest, and whether the elements of
// `other` are given back to those positions; else it is the greatest.
const PICK: bool = false;
const SPREAD: bool = false;

struct Params {
    // Pairs of windows, in all and in a row.
    count: u32,
    row: u32,
    // finish
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> other: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> result: array<vec2<f32>>;

// In each of two windows the greatest so far: the first of equal ones, NaN before all.
struct Best {
    value: vec2<f32>,
    place: vec2<u32>,
}

fn not_numbers(a: vec2<f32>) -> vec2<bool> {
    return (bitcast<vec2<u32>>(a) & vec2(0x7fffffffu)) > vec2(0x7f800000u);
}

fn join(best: Best, value: vec2<f32>, place: u32) -> Best {
    let better = !not_numbers(best.value) & (not_numbers(value) | (value > best.value));
    return Best(select(best.value, value, better), select(best.place, vec2(place), better));
}

// begin finish
fn finish(place: u32, value: f32) -> f32 {
    return value;
}

fn finish4(place: u32, values: vec4<f32>) -> vec4<f32> {
    return values;
}
// end finish

// Writes the results of two windows.
fn write_pair(i: u32, values: vec2<f32>) {
    result[i] = vec2(finish(2u * i, values.x), finish(2u * i + 1u, values.y));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i >= params.count { return; }
    // The two rows of the windows, of which the planes are all made.
    let upper = i + i / params.row * params.row;
    let lower = upper + params.row;
    let above = x[upper];
    let below = x[lower];
    var best = Best(above.xz, vec2(0u));
    best = join(best, above.yw, 1u);
    best = join(best, below.xz, 2u);
    best = join(best, below.yw, 3u);
    if SPREAD {
        let given = other[i];
        let a = select(vec2(0.0), given, best.place == vec2(0u));
        let b = select(vec2(0.0), given, best.place == vec2(1u));
        let c = select(vec2(0.0), given, best.place == vec2(2u));
        let d = select(vec2(0.0), given, best.place == vec2(3u));
        let first = finish4(4u * upper, vec4(a.x, b.x, a.y, b.y));
        result[2u * upper] = first.xy;
        result[2u * upper + 1u] = first.zw;
        let second = finish4(4u * lower, vec4(c.x, d.x, c.y, d.y));
        result[2u * lower] = second.xy;
        result[2u * lower + 1u] = second.zw;
    } else if PICK {
        let left = vec4(other[2u * upper], other[2u * lower]);
        let right = vec4(other[2u * upper + 1u], other[2u * lower + 1u]);
        write_pair(i, vec2(left[best.place.x], right[best.place.y]));
    } else {
        write_pair(i, best.value);
    }
}
