// pool2d_max.wgsl for windows of 2 x 2 that cover planes of even heights and widths: an invocation has a
// window, whose two rows are a vector each.

// Whether the result is the element of `other` at the position of the greatest, and whether the elements of
// `other` are given back to those positions; else it is the greatest.
const PICK: bool = false;
const SPREAD: bool = false;

struct Params {
    // Windows, in all and in a row.
    count: u32,
    row: u32,
    // finish
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> other: array<f32>;
// By word and by vector.
@group(0) @binding(3) var<storage, read_write> result: array<f32>;
@group(0) @binding(4) var<storage, read_write> result2: array<vec2<f32>>;

// The greatest so far: the first of equal ones, NaN before all.
struct Best {
    value: f32,
    place: u32,
}

fn not_a_number(a: f32) -> bool {
    return (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u;
}

fn join(best: Best, value: f32, place: u32) -> Best {
    let better = !not_a_number(best.value) & (not_a_number(value) | (value > best.value));
    return Best(select(best.value, value, better), select(best.place, place, better));
}

// begin finish
fn finish(place: u32, value: f32) -> f32 {
    return value;
}

fn finish4(place: u32, values: vec4<f32>) -> vec4<f32> {
    return values;
}
// end finish

// Writes a row of a window.
fn write_row(row: u32, values: vec2<f32>) {
    result2[row] = vec2(finish(2u * row, values.x), finish(2u * row + 1u, values.y));
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
    var best = Best(above.x, 0u);
    best = join(best, above.y, 1u);
    best = join(best, below.x, 2u);
    best = join(best, below.y, 3u);
    if SPREAD {
        let given = select(vec4(0.0), vec4(other[i]), vec4(best.place) == vec4(0u, 1u, 2u, 3u));
        write_row(upper, given.xy);
        write_row(lower, given.zw);
    } else if PICK {
        let at = 2u * select(upper, lower, best.place > 1u) + best.place % 2u;
        result[i] = finish(i, other[at]);
    } else {
        result[i] = finish(i, best.value);
    }
}
