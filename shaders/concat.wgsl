// Copies one input into its place in the joined tensor, in words of any type or, where runs are of such, in
// vectors of four.

alias Word = vec4<u32>;

struct Params {
    count: u32,
    // Words that lie together, of the input and of the output.
    run: u32,
    total: u32,
    // Where the input's run starts in the output's.
    offset: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Word>;
@group(0) @binding(2) var<storage, read_write> result: array<Word>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i >= params.count { return; }
    result[i / params.run * params.total + params.offset + i % params.run] = input[i];
}
