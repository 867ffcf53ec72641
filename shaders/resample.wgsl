// Weighted sums of neighbours along the size of [outer, size, inner]: output o takes `taps` elements
// from starts[o]. Weights of 0 fill the rows, and what they stand for is not read.

struct Params {
    elements: u32,
    count: u32,
    size: u32,
    inner: u32,
    taps: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> starts: array<i32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i >= params.elements { return; }
    let output = i / params.inner % params.count;
    let outer = i / params.inner / params.count;
    let first = (outer * params.size + u32(starts[output])) * params.inner + i % params.inner;
    var sum = 0.0;
    for (var tap = 0u; tap < params.taps; tap++) {
        let weight = weights[output * params.taps + tap];
        if weight != 0.0 {
            sum += weight * input[first + tap * params.inner];
        }
    }
    result[i] = sum;
}
