// Winograd's convolution F(2x2, 3x3), first step: each 3 x 3 kernel as 16 points, of which every one has
// a matrix [filter, channel]. An invocation transforms the kernels of four neighbours in it.

// Whether the kernels are turned around, as the gradient of the input has them.
const TURNED: bool = false;

struct Params {
    // Vectors of four kernels, and those of the weight.
    kernels: u32,
    vectors: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> points: array<vec4<f32>>;

fn forth(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>) -> mat4x4<f32> {
    let even = 0.5 * (a + c);
    let odd = 0.5 * b;
    return mat4x4(a, even + odd, even - odd, c);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    let i = number * 64u + lane;
    if i >= params.kernels {
        return;
    }
    var taps: array<f32, 36>;
    for (var v = 0u; v < 9u; v++) { // unroll
        let four = weight[min(9u * i + v, params.vectors - 1u)];
        for (var j = 0u; j < 4u; j++) { // unroll
            taps[4u * v + j] = four[j];
        }
    }
    var kernel: array<vec4<f32>, 9>;
    for (var t = 0u; t < 9u; t++) { // unroll
        let tap = select(t, 8u - t, TURNED);
        kernel[t] = vec4(taps[tap], taps[9u + tap], taps[18u + tap], taps[27u + tap]);
    }
    var columns: array<mat4x4<f32>, 3>;
    for (var x = 0u; x < 3u; x++) { // unroll
        columns[x] = forth(kernel[x], kernel[3u + x], kernel[6u + x]);
    }
    // The row that is stored is always the first: the others move up, as in gemm.wgsl.
    for (var at = i; at < 16u * params.kernels; at += 4u * params.kernels) {
        let row = forth(columns[0][0], columns[1][0], columns[2][0]);
        for (var x = 0u; x < 4u; x++) { // unroll
            points[at + x * params.kernels] = row[x];
        }
        for (var x = 0u; x < 3u; x++) { // unroll
            columns[x] = mat4x4(columns[x][1], columns[x][2], columns[x][3], columns[x][0]);
        }
    }
}
