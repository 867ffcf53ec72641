// The positions that sort each row: an invocation counts how many elements of its row come before its
// own, which is its place. That compares every two elements, but needs one dispatch and no scratch,
// and neighbours read the same words.

// Whether the words are floats, else signed integers.
const FLOAT: bool = true;
const DESCENDING: bool = false;

struct Params {
    count: u32,
    length: u32,
    // How many of a row's places are written.
    keep: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> result: array<i32>;

// A number that orders as the element does: NaN above all, and both zeros the same.
fn key(word: u32) -> u32 {
    var k = word ^ 0x80000000u;
    if FLOAT {
        if (word & 0x7fffffffu) > 0x7f800000u {
            k = 0xffffffffu;
        } else if word == 0x80000000u {
            k = 0x80000000u;
        } else if word > 0x80000000u {
            k = ~word;
        }
    }
    return select(k, ~k, DESCENDING);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i >= params.count { return; }
    let row = i / params.length;
    let first = row * params.length;
    let own = key(input[i]);
    var before = 0u;
    for (var at = first; at < i; at++) {
        before += u32(key(input[at]) <= own);
    }
    for (var at = i + 1u; at < first + params.length; at++) {
        before += u32(key(input[at]) < own);
    }
    if before < params.keep {
        result[row * params.keep + before] = i32(i - first);
    }
}
