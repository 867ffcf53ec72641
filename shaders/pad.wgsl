// Padding of one dimension of [outer, size, inner], around and between its elements: words of any type or,
// where inner has whole ones, vectors of four.

alias Word = vec4<u32>;

struct Params {
    count: u32,
    // Sizes of the dimension before and after.
    size: u32,
    padded: u32,
    inner: u32,
    before: u32,
    // From one element to the next in the output.
    step: u32,
    // The padding's word.
    value: u32,
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
    let row = i / params.inner;
    // Places before the first element wrap around to great ones.
    let distance = row % params.padded - params.before;
    let at = distance / params.step;
    if at < params.size && distance % params.step == 0u {
        result[i] = input[(row / params.padded * params.size + at) * params.inner + i % params.inner];
    } else {
        result[i] = Word(params.value);
    }
}
