// Overlapping windows added up: [outer, size, count, inner] to [outer, length, inner], where element k
// of window w lies at k * dilation + w * stride. Each invocation gathers what lies on its place.

struct Params {
    elements: u32,
    length: u32,
    inner: u32,
    size: u32,
    dilation: u32,
    stride: u32,
    count: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i >= params.elements { return; }
    let place = i / params.inner % params.length;
    let outer = i / params.inner / params.length;
    var sum = 0.0;
    for (var k = 0u; k < params.size; k++) {
        let start = k * params.dilation;
        if start > place { break; }
        let window = (place - start) / params.stride;
        if window < params.count && window * params.stride == place - start {
            let row = (outer * params.size + k) * params.count + window;
            sum += input[row * params.inner + i % params.inner];
        }
    }
    result[i] = sum;
}
