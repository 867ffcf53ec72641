// Reductions of [outer, length, inner] over the length. LANES invocations share an output: 1 where
// neighbours along inner are read together or the length is short, up to a whole workgroup where it
// is long. Partial results meet in a fixed order, so the rounding is always the same.
//
// Where outputs are few the length is cut into parts, whose results [parts, outputs] are reduced by
// a second dispatch.

alias T = f32;
alias R = f32;
// Whether T is f32, which has NaN.
const FLOAT: bool = true;
// 0: sum, 1: maximum, 2: minimum, 3: product.
const KIND: u32 = 0u;
// Whether the result is the position of the element instead of its value.
const POSITION: bool = false;
const LANES: u32 = 256u;

struct Params {
    outputs: u32,
    length: u32,
    inner: u32,
    parts: u32,
    // Length of a part.
    part: u32,
    // The bits of the result over no elements: infinities have no literal.
    first: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<T>;
@group(0) @binding(2) var<storage, read_write> result: array<R>;

// The position where there was no element.
const NONE: u32 = 0xffffffffu;

var<workgroup> values: array<T, 256>;
var<workgroup> positions: array<u32, 256>;

// Tested by bits: shader compilers may assume that a float is not NaN.
fn is_nan(a: T) -> bool {
    return FLOAT && (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u;
}

fn join(a: T, b: T) -> T {
    if KIND == 0u { return a + b; }
    if KIND == 3u { return a * b; }
    if is_nan(a) { return a; }
    if is_nan(b) { return b; }
    if KIND == 1u { return max(a, b); }
    return min(a, b);
}

// Whether b at position q comes before a at position p: NaN before all, the first of equal ones.
fn precedes(b: T, q: u32, a: T, p: u32) -> bool {
    if q == NONE || p == NONE { return p == NONE; }
    if is_nan(a) || is_nan(b) { return is_nan(b) && (!is_nan(a) || q < p); }
    if a == b { return q < p; }
    return (b > a) == (KIND == 1u);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let item = (group.x + group.y * groups.x) * (256u / LANES) + index / LANES;
    let lane = index % LANES;
    let inside = item < params.outputs * params.parts;
    var value = bitcast<T>(params.first);
    var position = NONE;
    if inside {
        let output = item % params.outputs;
        let begin = item / params.outputs * params.part;
        let end = min(begin + params.part, params.length);
        let base = output / params.inner * params.length * params.inner + output % params.inner;
        for (var k = begin + lane; k < end; k += LANES) {
            let element = input[base + k * params.inner];
            if POSITION {
                if precedes(element, k, value, position) {
                    value = element;
                    position = k;
                }
            } else {
                value = join(value, element);
            }
        }
    }
    values[index] = value;
    if POSITION {
        positions[index] = position;
    }
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            let other = index + width;
            if POSITION {
                if precedes(values[other], positions[other], values[index], positions[index]) {
                    values[index] = values[other];
                    positions[index] = positions[other];
                }
            } else {
                values[index] = join(values[index], values[other]);
            }
        }
    }
    if inside && lane == 0u {
        if POSITION {
            result[item] = R(positions[index]);
        } else {
            result[item] = R(values[index]);
        }
    }
}
