// result[i] = data[place(i) + index[i] * step], where place walks the data without its axis. Elements
// are words of any type or, where an index chooses whole rows of such, vectors of four.

alias Word = vec4<u32>;

struct Params {
    count: u32,
    // Of the data along the axis.
    size: u32,
    step: u32,
    // The word for an index out of range.
    missing: u32,
    data_offset: u32,
    index_offset: u32,
    rank: u32,
    unused: u32,
    dims: array<vec4<u32>, 2>,
    data: array<vec4<u32>, 2>,
    index: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> data: array<Word>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> result: array<Word>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i >= params.count { return; }
    var rest = i;
    var place = params.data_offset;
    var at = params.index_offset;
    for (var d = params.rank; d > 0u; d--) {
        let axis = d - 1u;
        let size = params.dims[axis / 4u][axis % 4u];
        place += rest % size * params.data[axis / 4u][axis % 4u];
        at += rest % size * params.index[axis / 4u][axis % 4u];
        rest /= size;
    }
    // A negative index is a great unsigned one.
    let chosen = u32(index[at]);
    if chosen < params.size {
        result[i] = data[place + chosen * params.step];
    } else {
        result[i] = Word(params.missing);
    }
}
