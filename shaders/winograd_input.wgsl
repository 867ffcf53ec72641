// Winograd's convolution F(2x2, 3x3), second step: what each tile of a channel sees, as 16 points, of which
// every one has a matrix [channel, tile]. Tiles are two pixels from the next. Of the input a tile sees 4 x 4
// pixels; for the gradient of the weight, of the output's gradient its own 2 x 2. An invocation transforms a
// block of four tiles, two by two or in a row.

const BLOCK_X: u32 = 2u;
// Pixels along a side of what a tile sees, and of what a block sees.
const TILE: u32 = 4u;
const SPAN_Y: u32 = 6u;
const SPAN_X: u32 = 6u;
// Whether rows are read as aligned vectors: so many, of which the block begins at element SHIFT.
const VECTORS: bool = false;
const WORDS: u32 = 3u;
const SHIFT: u32 = 0u;

struct Params {
    channels: u32,
    height: u32,
    width: u32,
    // Blocks along y and x of an image, and of all images of this dispatch, which begin at an image.
    blocks_y: u32,
    blocks_x: u32,
    blocks: u32,
    first_image: u32,
    padding_y: u32,
    padding_x: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// By word and by vector.
@group(0) @binding(1) var<storage, read> image: array<f32>;
@group(0) @binding(2) var<storage, read> image4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> points: array<vec4<f32>>;

fn forth(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> mat4x4<f32> {
    if TILE == 2u {
        return mat4x4(a, a + b, a - b, -b);
    }
    return mat4x4(a - c, b + c, c - b, b - d);
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
    let row = i % params.blocks / params.blocks_x;
    let plane = ((params.first_image + row / params.blocks_y) * params.channels + channel) * params.height;
    // What is before the image wraps around to large numbers.
    let first_y = row % params.blocks_y * (8u / BLOCK_X) - params.padding_y;
    let first_x = i % params.blocks_x * 2u * BLOCK_X - params.padding_x;
    var pixels: array<f32, SPAN_Y * SPAN_X>;
    for (var y = 0u; y < SPAN_Y; y++) { // unroll
        let inside_y = first_y + y < params.height;
        // if: VECTORS
        let line4 = (plane + first_y + y) * (params.width / 4u);
        let first = bitcast<u32>(bitcast<i32>(first_x) >> 2u);
        var words: array<vec4<f32>, WORDS>;
        for (var w = 0u; w < WORDS; w++) { // unroll
            let inside = inside_y && first + w < params.width / 4u;
            words[w] = select(vec4(0.0), image4[select(0u, line4 + first + w, inside)], inside);
        }
        for (var x = 0u; x < SPAN_X; x++) { // unroll
            pixels[y * SPAN_X + x] = words[(SHIFT + x) / 4u][(SHIFT + x) % 4u];
        }
        // end if
        // if: !VECTORS
        let line = (plane + first_y + y) * params.width + first_x;
        for (var x = 0u; x < SPAN_X; x++) { // unroll
            let inside = inside_y && first_x + x < params.width;
            pixels[y * SPAN_X + x] = select(0.0, image[select(0u, line + x, inside)], inside);
        }
        // end if
    }
    // From a pixel of the first tile to those of the others.
    const SECOND = 1u / BLOCK_X * 2u * SPAN_X + 1u % BLOCK_X * 2u;
    const THIRD = 2u / BLOCK_X * 2u * SPAN_X + 2u % BLOCK_X * 2u;
    const FOURTH = 3u / BLOCK_X * 2u * SPAN_X + 3u % BLOCK_X * 2u;
    var columns: array<mat4x4<f32>, 4>;
    for (var x = 0u; x < TILE; x++) { // unroll
        var column: array<vec4<f32>, 4>;
        for (var y = 0u; y < TILE; y++) { // unroll
            let at = y * SPAN_X + x;
            column[y] = vec4(pixels[at], pixels[at + SECOND], pixels[at + THIRD], pixels[at + FOURTH]);
        }
        columns[x] = forth(column[0], column[1], column[2], column[3]);
    }
    let point = params.channels * params.blocks;
    for (var y = 0u; y < 4u; y++) { // unroll
        let at = forth(columns[0][y], columns[1][y], columns[2][y], columns[3][y]);
        for (var x = 0u; x < 4u; x++) { // unroll
            points[(4u * y + x) * point + i] = at[x];
        }
    }
}
