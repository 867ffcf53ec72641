// The core of every matrix product: C[m, n] = sum over k of A[m, k] B[k, n], a tile a workgroup.
//
// A shader that imports this one replaces the part between the two marks: it says where the
// elements are. Its uniform begins with `size` and `tiles`; `start` is called before anything else
// for a batch entry, the other functions only for places inside the matrices. What stands there
// now, one product of row-major matrices, makes this file valid as it is.
//
// An invocation computes M4 x N4 blocks of 4 x 4; a workgroup is THREADS_M x THREADS_N of them.
// Both tiles lie in workgroup memory as vectors of four neighbouring rows (of A) or columns (of B);
// the next tiles are fetched into registers while the products of these ones are summed.

const M4: u32 = 1u;
const N4: u32 = 1u;
const THREADS_M: u32 = 16u;
const THREADS_N: u32 = 16u;
// Whether neighbouring invocations load along k: right where k is the contiguous dimension.
const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;

const TILE_K: u32 = 16u;
const THREADS: u32 = THREADS_M * THREADS_N;
const VECTORS_M: u32 = THREADS_M * M4;
const VECTORS_N: u32 = THREADS_N * N4;
const A_LOADS: u32 = VECTORS_M * TILE_K / THREADS;
const B_LOADS: u32 = VECTORS_N * TILE_K / THREADS;

// begin operands
struct Params {
    // m, n, k, batch entries
    size: vec4<u32>,
    // Tiles along m and n; the runs that the sum over k is cut into, which different workgroups
    // compute; the length of a run.
    tiles: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

fn start(batch: u32) {}

fn load_a(m: u32, k: u32) -> f32 {
    return a[m * params.size.z + k];
}

fn load_b(k: u32, n: u32) -> f32 {
    return b[k * params.size.y + n];
}

fn store(m: u32, n: u32, split: u32, value: f32) {
    result[(split * params.size.x + m) * params.size.y + n] = value;
}
// end operands

var<workgroup> tile_a: array<vec4<f32>, VECTORS_M * TILE_K>;
var<workgroup> tile_b: array<vec4<f32>, VECTORS_N * TILE_K>;

// The vector and the k, inside the tile, that load number i fetches.
fn place_in_tile(i: u32, vectors: u32, along_k: bool) -> vec2<u32> {
    if along_k {
        return vec2(i / TILE_K, i % TILE_K);
    }
    return vec2(i % vectors, i / vectors);
}

fn fetch_a(m: u32, k: u32, k_end: u32) -> vec4<f32> {
    var values = vec4(0.0);
    if k < k_end {
        let end = params.size.x;
        if m < end { values.x = load_a(m, k); }
        if m + 1u < end { values.y = load_a(m + 1u, k); }
        if m + 2u < end { values.z = load_a(m + 2u, k); }
        if m + 3u < end { values.w = load_a(m + 3u, k); }
    }
    return values;
}

fn fetch_b(k: u32, n: u32, k_end: u32) -> vec4<f32> {
    var values = vec4(0.0);
    if k < k_end {
        let end = params.size.y;
        if n < end { values.x = load_b(k, n); }
        if n + 1u < end { values.y = load_b(k, n + 1u); }
        if n + 2u < end { values.z = load_b(k, n + 2u); }
        if n + 3u < end { values.w = load_b(k, n + 3u); }
    }
    return values;
}

// Computes tile `number`; nothing where it is past the last one. `number` must be the same for
// all invocations of the workgroup, which is what makes the barriers uniform.
fn gemm_tile(number: u32, lane: u32) {
    let size = params.size;
    let tiles_m = params.tiles.x;
    let splits = params.tiles.z;
    let run = params.tiles.w;
    let in_batch = number / splits;
    let split = number % splits;
    let tiles = tiles_m * params.tiles.y;
    let batch = in_batch / tiles;
    if batch >= size.w {
        return;
    }
    let first_m = in_batch % tiles % tiles_m * VECTORS_M * 4u;
    let first_n = in_batch % tiles / tiles_m * VECTORS_N * 4u;
    let k_begin = split * run;
    let k_end = min(k_begin + run, size.z);
    start(batch);

    let row = lane / THREADS_N;
    let column = lane % THREADS_N;
    var sums: array<vec4<f32>, 4u * M4 * N4>;
    var next_a: array<vec4<f32>, A_LOADS>;
    var next_b: array<vec4<f32>, B_LOADS>;
    for (var k = k_begin; ; k += TILE_K) {
        // Before the first sums there is nothing to add: that round only fetches.
        if k > k_begin {
            workgroupBarrier();
            for (var i = 0u; i < A_LOADS; i++) {
                let place = place_in_tile(lane + i * THREADS, VECTORS_M, A_ALONG_K);
                tile_a[place.y * VECTORS_M + place.x] = next_a[i];
            }
            for (var i = 0u; i < B_LOADS; i++) {
                let place = place_in_tile(lane + i * THREADS, VECTORS_N, B_ALONG_K);
                tile_b[place.y * VECTORS_N + place.x] = next_b[i];
            }
            workgroupBarrier();
        }
        if k < k_end {
            for (var i = 0u; i < A_LOADS; i++) {
                let place = place_in_tile(lane + i * THREADS, VECTORS_M, A_ALONG_K);
                next_a[i] = fetch_a(first_m + place.x * 4u, k + place.y, k_end);
            }
            for (var i = 0u; i < B_LOADS; i++) {
                let place = place_in_tile(lane + i * THREADS, VECTORS_N, B_ALONG_K);
                next_b[i] = fetch_b(k + place.y, first_n + place.x * 4u, k_end);
            }
        }
        if k > k_begin {
            for (var kk = 0u; kk < TILE_K; kk++) {
                for (var i = 0u; i < M4; i++) {
                    let a = tile_a[kk * VECTORS_M + i * THREADS_M + row];
                    for (var j = 0u; j < N4; j++) {
                        let b = tile_b[kk * VECTORS_N + j * THREADS_N + column];
                        let at = (i * N4 + j) * 4u;
                        sums[at] = fma(vec4(a.x), b, sums[at]);
                        sums[at + 1u] = fma(vec4(a.y), b, sums[at + 1u]);
                        sums[at + 2u] = fma(vec4(a.z), b, sums[at + 2u]);
                        sums[at + 3u] = fma(vec4(a.w), b, sums[at + 3u]);
                    }
                }
            }
        }
        if k >= k_end {
            break;
        }
    }

    for (var i = 0u; i < M4; i++) {
        for (var j = 0u; j < N4; j++) {
            let n = first_n + (j * THREADS_N + column) * 4u;
            for (var r = 0u; r < 4u; r++) {
                let m = first_m + (i * THREADS_M + row) * 4u + r;
                let values = sums[(i * N4 + j) * 4u + r];
                if m < size.x {
                    if n < size.y { store(m, n, split, values.x); }
                    if n + 1u < size.y { store(m, n + 1u, split, values.y); }
                    if n + 2u < size.y { store(m, n + 2u, split, values.z); }
                    if n + 3u < size.y { store(m, n + 3u, split, values.w); }
                }
            }
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    gemm_tile(group.x + group.y * groups.x, lane);
}
