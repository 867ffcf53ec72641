// An index sorted by counting: an invocation counts how many come before its own, which is its place.
// Equal ones keep their order.

struct Params {
    length: u32,
    step: u32,
    offset: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<i32>;
@group(0) @binding(2) var<storage, read_write> sorted: array<i32>;
@group(0) @binding(3) var<storage, read_write> order: array<u32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i >= params.length { return; }
    let own = index[params.offset + i * params.step];
    var before = 0u;
    for (var k = 0u; k < i; k++) {
        before += u32(index[params.offset + k * params.step] <= own);
    }
    for (var k = i + 1u; k < params.length; k++) {
        before += u32(index[params.offset + k * params.step] < own);
    }
    sorted[before] = own;
    order[before] = i;
}
