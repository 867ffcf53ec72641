// Batched matrix product of operands of any strides.
// import: gemm

// Whether the first and second input hold halves, two in a word.
const FIRST_HALF: bool = false;
const SECOND_HALF: bool = false;

struct Operand {
    offset: i32,
    row: i32,
    column: i32,
    pad: i32,
    // Of the (merged) batch dimensions; 6 at most.
    batch: array<vec4<i32>, 2>,
}

struct Params {
    // As in gemm.wgsl.
    size: vec4<u32>,
    tiles: vec4<u32>,
    a: Operand,
    b: Operand,
    batch_dims: array<vec4<u32>, 2>,
    batch_rank: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

var<private> a_start: i32;
var<private> b_start: i32;
var<private> matrix: u32;

fn start(batch: u32) {
    a_start = params.a.offset;
    b_start = params.b.offset;
    matrix = batch;
    var rest = batch;
    for (var d = params.batch_rank; d > 0u; d--) {
        let axis = d - 1u;
        let size = params.batch_dims[axis / 4u][axis % 4u];
        let index = i32(rest % size);
        a_start += index * params.a.batch[axis / 4u][axis % 4u];
        b_start += index * params.b.batch[axis / 4u][axis % 4u];
        rest /= size;
    }
}

fn load_a(m: u32, k: u32) -> f32 {
    let place = a_start + i32(m) * params.a.row + i32(k) * params.a.column;
    if FIRST_HALF {
        return unpack2x16float(a[place / 2])[place % 2];
    }
    return bitcast<f32>(a[place]);
}

fn load_b(k: u32, n: u32) -> f32 {
    let place = b_start + i32(k) * params.b.row + i32(n) * params.b.column;
    if SECOND_HALF {
        return unpack2x16float(b[place / 2])[place % 2];
    }
    return bitcast<f32>(b[place]);
}

fn store(m: u32, n: u32, split: u32, value: f32) {
    let size = params.size;
    result[((split * size.w + matrix) * size.x + m) * size.y + n] = value;
}
