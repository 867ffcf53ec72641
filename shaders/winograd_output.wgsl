// Winograd's convolution F(2x2, 3x3), last step: of the 16 points of each tile, which every one has a matrix
// [channel, tile] of, the 2 x 2 pixels. An invocation transforms a block of four tiles, two by two or in
// a row, as they are in winograd_input.wgsl.

const BLOCK_X: u32 = 2u;
// Whether rows are stored as aligned vectors.
const VECTORS: bool = false;

struct Params {
    channels: u32,
    height: u32,
    width: u32,
    // Blocks along y and x of an image, and of all images of this dispatch, which begin at an image.
    blocks_y: u32,
    blocks_x: u32,
    blocks: u32,
    first_image: u32,
    // finish
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> points: array<vec4<f32>>;
// By word and by vector.
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
@group(0) @binding(3) var<storage, read_write> result4: array<vec4<f32>>;

fn back(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> mat2x4<f32> {
    return mat2x4(a + b + c, b - c - d);
}

// begin finish
fn finish(place: u32, value: f32) -> f32 {
    return value;
}

fn finish4(place: u32, values: vec4<f32>) -> vec4<f32> {
    return values;
}
// end finish

// Four neighbours in a row from `x` on, as far as they are in the image.
fn store(plane: u32, y: u32, x: u32, values: vec4<f32>) {
    if y >= params.height || x >= params.width {
        return;
    }
    let place = (plane + y) * params.width + x;
    if VECTORS {
        result4[place / 4u] = finish4(place, values);
        return;
    }
    for (var j = 0u; j < 4u; j++) { // unroll
        if x + j < params.width {
            result[place + j] = finish(place + j, values[j]);
        }
    }
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    let i = number * 64u + lane;
    let channel = i / params.blocks;
    if channel >= params.channels {
        return;
    }
    let point = params.channels * params.blocks;
    var columns: array<mat2x4<f32>, 4>;
    for (var x = 0u; x < 4u; x++) { // unroll
        let at = i + x * point;
        columns[x] = back(points[at], points[at + 4u * point], points[at + 8u * point], points[at + 12u * point]);
    }
    let row = i % params.blocks / params.blocks_x;
    let plane = ((params.first_image + row / params.blocks_y) * params.channels + channel) * params.height;
    let first_y = row % params.blocks_y * (8u / BLOCK_X);
    let first_x = i % params.blocks_x * 2u * BLOCK_X;
    for (var r = 0u; r < 2u; r++) { // unroll
        let pixels = back(columns[0][r], columns[1][r], columns[2][r], columns[3][r]);
        // Two tiles at a time: those of a row of two, or the first and last of a row of four.
        for (var h = 0u; h < 2u; h++) { // unroll
            let left = 2u * h;
            let right = left + 1u;
            let y = first_y + left / BLOCK_X * 2u + r;
            let x = first_x + left % BLOCK_X * 2u;
            store(plane, y, x, vec4(pixels[0][left], pixels[1][left], pixels[0][right], pixels[1][right]));
        }
    }
}
