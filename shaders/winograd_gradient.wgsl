// Winograd's convolution F(2x2, 3x3), last step of the gradient of the weight: the 3 x 3 taps of each kernel
// of its 16 points, of which every one has a matrix [filter, channel]. An invocation transforms the kernels
// of four neighbours in it.

// Whether to add to what other images gave.
const ADDED: bool = false;

struct Params {
    // Vectors of four kernels.
    kernels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> points: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;

fn back(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> mat3x4<f32> {
    let even = 0.5 * (b + c);
    return mat3x4(a + even, 0.5 * (b - c), even + d);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    let i = number * 64u + lane;
    let point = params.kernels;
    if i >= point {
        return;
    }
    var columns: array<mat3x4<f32>, 4>;
    // As in winograd_output.wgsl.
    for (var at = i; at < 4u * point; at += point) {
        for (var c = 0u; c < 3u; c++) { // unroll
            columns[c] = columns[c + 1u];
        }
        columns[3] = back(points[at], points[at + 4u * point], points[at + 8u * point], points[at + 12u * point]);
    }
    var taps: array<f32, 36>;
    for (var y = 0u; y < 3u; y++) { // unroll
        let kernel = back(columns[0][y], columns[1][y], columns[2][y], columns[3][y]);
        for (var x = 0u; x < 3u; x++) { // unroll
            for (var j = 0u; j < 4u; j++) { // unroll
                taps[9u * j + 3u * y + x] = kernel[x][j];
            }
        }
    }
    for (var v = 0u; v < 9u; v++) { // unroll
        var four = vec4(taps[4u * v], taps[4u * v + 1u], taps[4u * v + 2u], taps[4u * v + 3u]);
        if ADDED {
            four += result[9u * i + v];
        }
        result[9u * i + v] = four;
    }
}
