// Batched matrix product of operands of any strides.
// import: CORE = gemm

// Whether the four that are fetched lie along k: right where k is the contiguous dimension.
const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;
// Whether the first and second input hold halves, two in a word.
const FIRST_HALF: bool = false;
const SECOND_HALF: bool = false;
// Whether the four that are fetched are one aligned vector, and those that are stored.
const A_VECTORS: bool = false;
const B_VECTORS: bool = false;
const C_VECTORS: bool = false;

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
    // finish
}

@group(0) @binding(0) var<uniform> params: Params;
// Each buffer once by word and once by vector.
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> a4: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> b: array<u32>;
@group(0) @binding(4) var<storage, read> b4: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;
@group(0) @binding(6) var<storage, read_write> result4: array<vec4<f32>>;

var<private> a_start: i32;
var<private> b_start: i32;
var<private> matrix: u32;

fn start(batch: u32) -> bool {
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
    return true;
}

fn row(m: u32) -> vec4<u32> {
    return vec4(u32(a_start + i32(m) * params.a.row), 0u, 0u, 0u);
}

fn column(n: u32) -> vec4<u32> {
    return vec4(u32(b_start + i32(n) * params.b.column), 0u, 0u, 0u);
}

fn depth(k: u32) -> vec4<u32> {
    return vec4(u32(i32(k) * params.a.column), u32(i32(k) * params.b.row), 0u, 0u);
}

// The places of four numbers a step apart, of which those past the last repeat it.
fn places(first: u32, step: i32, count: u32) -> vec4<u32> {
    return vec4(first) + min(vec4(0u, 1u, 2u, 3u), vec4(count - 1u)) * u32(step);
}

fn half_of(word: u32, place: u32) -> f32 {
    return unpack2x16float(word)[place % 2u];
}

fn fetch_a(row: vec4<u32>, m: u32, depth: vec4<u32>, k: u32) -> vec4<f32> {
    let place = row.x + depth.x;
    if A_VECTORS && FIRST_HALF {
        return vec4(unpack2x16float(a[place / 2u]), unpack2x16float(a[place / 2u + 1u]));
    }
    if A_VECTORS {
        return bitcast<vec4<f32>>(a4[place / 4u]);
    }
    let step = select(params.a.row, params.a.column, A_ALONG_K);
    let p = places(place, step, select(params.size.x - m, params.size.z - k, A_ALONG_K));
    if FIRST_HALF {
        return vec4(half_of(a[p.x / 2u], p.x), half_of(a[p.y / 2u], p.y),
            half_of(a[p.z / 2u], p.z), half_of(a[p.w / 2u], p.w));
    }
    return bitcast<vec4<f32>>(vec4(a[p.x], a[p.y], a[p.z], a[p.w]));
}

fn fetch_b(depth: vec4<u32>, k: u32, column: vec4<u32>, n: u32) -> vec4<f32> {
    let place = depth.y + column.x;
    if B_VECTORS && SECOND_HALF {
        return vec4(unpack2x16float(b[place / 2u]), unpack2x16float(b[place / 2u + 1u]));
    }
    if B_VECTORS {
        return bitcast<vec4<f32>>(b4[place / 4u]);
    }
    let step = select(params.b.column, params.b.row, B_ALONG_K);
    let p = places(place, step, select(params.size.y - n, params.size.z - k, B_ALONG_K));
    if SECOND_HALF {
        return vec4(half_of(b[p.x / 2u], p.x), half_of(b[p.y / 2u], p.y),
            half_of(b[p.z / 2u], p.z), half_of(b[p.w / 2u], p.w));
    }
    return bitcast<vec4<f32>>(vec4(b[p.x], b[p.y], b[p.z], b[p.w]));
}

fn landing(n: u32) -> u32 {
    return n;
}

// begin finish
fn finish(place: u32, value: f32) -> f32 {
    return value;
}

fn finish4(place: u32, values: vec4<f32>) -> vec4<f32> {
    return values;
}
// end finish

fn store(m: u32, n: u32, landing: u32, split: u32, values: vec4<f32>) {
    let size = params.size;
    let place = ((split * size.w + matrix) * size.x + m) * size.y + landing;
    if C_VECTORS {
        result4[place / 4u] = finish4(place, values);
        return;
    }
    for (var i = 0u; i < 4u; i++) { // unroll
        if n + i < size.y {
            result[place + i] = finish(place + i, values[i]);
        }
    }
}
