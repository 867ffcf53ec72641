// Softmax of rows, LANES invocations a row.

const LANES: u32 = 256u;
// Whether the logarithm is wanted.
const LOG: bool = false;

struct Params {
    rows: u32,
    length: u32,
    // The bits of -inf, which has no literal.
    first: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

var<workgroup> values: array<f32, 256>;

fn is_nan(a: f32) -> bool {
    return (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u;
}

fn greater(a: f32, b: f32) -> f32 {
    if is_nan(a) { return a; }
    if is_nan(b) { return b; }
    return max(a, b);
}

// exp of NaN and of -inf are left open by WGSL; below -104 it is 0 in f32.
fn exponential(a: f32) -> f32 {
    if is_nan(a) { return a; }
    if a < -104.0 { return 0.0; }
    return exp(a);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = (group.x + group.y * groups.x) * (256u / LANES) + index / LANES;
    let lane = index % LANES;
    let start = row * params.length;
    // A row past the end has no elements.
    let length = select(0u, params.length, row < params.rows);

    var top = bitcast<f32>(params.first);
    for (var k = lane; k < length; k += LANES) {
        top = greater(top, input[start + k]);
    }
    values[index] = top;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            values[index] = greater(values[index], values[index + width]);
        }
    }
    workgroupBarrier();
    top = values[index - lane];
    workgroupBarrier();

    var total = 0.0;
    for (var k = lane; k < length; k += LANES) {
        total += exponential(input[start + k] - top);
    }
    values[index] = total;
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            values[index] += values[index + width];
        }
    }
    workgroupBarrier();
    total = values[index - lane];

    let scale = 1.0 / total;
    let shift = log(total);
    for (var k = lane; k < length; k += LANES) {
        let value = input[start + k] - top;
        if LOG {
            result[start + k] = value - shift;
        } else {
            result[start + k] = exponential(value) * scale;
        }
    }
}
