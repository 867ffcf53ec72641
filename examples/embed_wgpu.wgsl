// Pendulums let go at different angles, a step of all of them: an invocation each.

const STEP: f32 = 0.01;

// Angle and speed.
@group(0) @binding(0) var<storage, read_write> pendulums: array<vec2<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= arrayLength(&pendulums) {
        return;
    }
    var state = pendulums[id.x];
    for (var step = 0; step < 100; step++) {
        state.y -= STEP * 9.81 * sin(state.x);
        state.x += STEP * state.y;
    }
    pendulums[id.x] = state;
}
