// A leaky integrator along the rows of a matrix: y[t] = DECAY * y[t - 1] + x[t], an invocation a row.

const DECAY: f32 = 0.5;

struct Params {
    rows: u32,
    length: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = (group.x + group.y * groups.x) * 64u + index;
    if row >= params.rows {
        return;
    }
    var state = 0.0;
    for (var t = row * params.length; t < (row + 1u) * params.length; t++) {
        state = DECAY * state + x[t];
        y[t] = state;
    }
}
