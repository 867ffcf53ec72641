// Sums by index: each invocation makes one output element and walks all indices of its line, in
// order. That reads much more than it adds, but needs no atomics and always rounds the same.

alias T = f32;
// Whether an element takes the place of those before it, instead of being added.
const REPLACE: bool = false;

struct Params {
    count: u32,
    // Of the output along the axis, and the elements of a step along it.
    size: u32,
    inner: u32,
    // Indices of a line.
    length: u32,
    index_step: u32,
    source_step: u32,
    index_offset: u32,
    source_offset: u32,
    rank: u32,
    unused_1: u32,
    unused_2: u32,
    unused_3: u32,
    // Sizes without the axis, and the strides of both.
    dims: array<vec4<u32>, 2>,
    index: array<vec4<u32>, 2>,
    source: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<i32>;
@group(0) @binding(2) var<storage, read> source: array<T>;
@group(0) @binding(3) var<storage, read_write> result: array<T>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i >= params.count { return; }
    let own = i32(i / params.inner % params.size);
    var rest = i / (params.inner * params.size) * params.inner + i % params.inner;
    var at = params.index_offset;
    var place = params.source_offset;
    for (var d = params.rank; d > 0u; d--) {
        let axis = d - 1u;
        let size = params.dims[axis / 4u][axis % 4u];
        at += rest % size * params.index[axis / 4u][axis % 4u];
        place += rest % size * params.source[axis / 4u][axis % 4u];
        rest /= size;
    }
    var sum = T(0);
    for (var k = 0u; k < params.length; k++) {
        if index[at + k * params.index_step] == own {
            let element = source[place + k * params.source_step];
            sum = select(sum + element, element, REPLACE);
        }
    }
    result[i] = sum;
}
