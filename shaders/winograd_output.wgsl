// Winograd's convolution F(2x2, 3x3), last step: of the 16 points of each tile, which every one has a matrix
// [channel, tile] of, the 2 x 2 pixels. An invocation transforms a block of four tiles, two by two or in
// a row, as they are in winograd_input.wgsl.

const BLOCK_X: u32 = 2u;
// Rows of a block, and vectors of two tiles in a row.
const BLOCK_Y: u32 = 8u / BLOCK_X;
const ACROSS: u32 = BLOCK_X / 2u;
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

// Four neighbours from `x` on of the row that begins at `row`, as far as they are in it.
fn store(row: u32, x: u32, values: vec4<f32>) {
    if x >= params.width {
        return;
    }
    let place = row + x;
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
    // The column that is read is always the last: the others move up.
    for (var at = i; at < 4u * point; at += point) {
        for (var c = 0u; c < 3u; c++) { // unroll
            columns[c] = columns[c + 1u];
        }
        columns[3] = back(points[at], points[at + 4u * point], points[at + 8u * point], points[at + 12u * point]);
    }
    let row = i % params.blocks / params.blocks_x;
    let plane = ((params.first_image + row / params.blocks_y) * params.channels + channel) * params.height;
    let first_y = row % params.blocks_y * BLOCK_Y;
    let first_x = i % params.blocks_x * 2u * BLOCK_X;
    var rows: array<vec4<f32>, 4>;
    for (var r = 0u; r < 2u; r++) { // unroll
        let pixels = back(columns[0][r], columns[1][r], columns[2][r], columns[3][r]);
        // Two tiles at a time: those of a row of two, or the first and last of a row of four.
        for (var h = 0u; h < 2u; h++) { // unroll
            let left = 2u * h;
            let right = left + 1u;
            rows[(left / BLOCK_X * 2u + r) * ACROSS + left % BLOCK_X / 2u] =
                vec4(pixels[0][left], pixels[1][left], pixels[0][right], pixels[1][right]);
        }
    }
    // The row that is stored is always the first: the others move up, as in gemm.wgsl.
    for (var y = 0u; y < min(BLOCK_Y, params.height - first_y); y++) {
        for (var x = 0u; x < ACROSS; x++) { // unroll
            store((plane + first_y + y) * params.width, first_x + 4u * x, rows[x]);
        }
        for (var v = 0u; v < 4u; v++) { // unroll
            rows[v] = rows[(v + ACROSS) % 4u];
        }
    }
}
