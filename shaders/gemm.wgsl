// The core of every matrix product: C[m, n] = sum over k of A[m, k] B[k, n], a tile a workgroup.
//
// A shader that imports this one replaces the part between the two marks: it says where the
// elements are. What stands there now, one product of row-major matrices, makes this file valid as it
// is. `start` is called before anything else for a batch entry, and says whether it has anything but
// zeros to sum. What depends on a row, a column or a
// place along k alone is computed once, by `row`, `column` and `depth`, and handed to `fetch_a` and
// `fetch_b`, which read four neighbours: along k, or along m and n. All places are inside the
// matrices but for the last three of the four; what is read there does not matter.
//
// An invocation computes M4 x N4 blocks of 4 x 4; a workgroup is THREADS_M x THREADS_N of them.

const M4: u32 = 1u;
const N4: u32 = 1u;
const THREADS_M: u32 = 16u;
const THREADS_N: u32 = 16u;
// Whether the tiles pass through workgroup memory. A processor that plays a GPU has none that is
// faster than its caches, and waits at barriers.
const WORKGROUP_MEMORY: bool = true;

const TILE_K: u32 = 16u;
const THREADS: u32 = THREADS_M * THREADS_N;
const VECTORS_M: u32 = THREADS_M * M4;
const VECTORS_N: u32 = THREADS_N * N4;
const A_LOADS: u32 = VECTORS_M * TILE_K / THREADS;
const B_LOADS: u32 = VECTORS_N * TILE_K / THREADS;
const ROWS: u32 = 4u * M4;
const COLUMNS: u32 = 4u * N4;

// begin operands
// Whether the four that are fetched lie along k: right where k is the contiguous dimension.
const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;

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

fn start(batch: u32) -> bool {
    return true;
}

fn row(m: u32) -> vec4<u32> {
    return vec4(m * params.size.z);
}

fn column(n: u32) -> vec4<u32> {
    return vec4(n);
}

fn depth(k: u32) -> vec4<u32> {
    return vec4(k, k * params.size.y, 0u, 0u);
}

fn fetch_a(row: vec4<u32>, m: u32, depth: vec4<u32>, k: u32) -> vec4<f32> {
    let place = row.x + depth.x;
    return vec4(a[place], a[place + 1u], a[place + 2u], a[place + 3u]);
}

fn fetch_b(depth: vec4<u32>, k: u32, column: vec4<u32>, n: u32) -> vec4<f32> {
    let place = depth.y + column.x;
    return vec4(b[place], b[place + 1u], b[place + 2u], b[place + 3u]);
}

// What the place of a result takes from its column.
fn landing(n: u32) -> u32 {
    return n;
}

// Writes the four results from (m, n) on that lie along n, as far as there are any.
fn store(m: u32, n: u32, landing: u32, split: u32, values: vec4<f32>) {
    result[(split * params.size.x + m) * params.size.y + landing] = values.x;
}
// end operands

// Four numbers from k on along k, or all four at k: 0 where k is past the end of the run.
fn within(values: vec4<f32>, k: u32, k_end: u32, along_k: bool) -> vec4<f32> {
    if along_k {
        return select(vec4(0.0), values, vec4(k, k + 1u, k + 2u, k + 3u) < vec4(k_end));
    }
    return select(vec4(0.0), values, k < k_end);
}

// The first of the four among which is the last of `size`.
fn last_four(size: u32) -> u32 {
    return (size - 1u) / 4u * 4u;
}

// if: WORKGROUP_MEMORY
// Vectors of four neighbouring rows (of A) or columns (of B); the next tiles are fetched into
// registers while the products of these ones are summed.
var<workgroup> tile_a: array<vec4<f32>, VECTORS_M * TILE_K>;
var<workgroup> tile_b: array<vec4<f32>, VECTORS_N * TILE_K>;

// Where in a tile the four of load number i are: (row or column, k).
fn place_in_tile(i: u32, vectors: u32, along_k: bool) -> vec2<u32> {
    if along_k {
        return vec2(i / (TILE_K / 4u), i % (TILE_K / 4u) * 4u);
    }
    return vec2(i % vectors * 4u, i / vectors);
}

fn shared_tile(first_m: u32, first_n: u32, split: u32, k_begin: u32, k_end: u32, lane: u32) {
    let size = params.size;
    let last_k = select(vec2(k_end - 1u), vec2(last_four(k_end)), vec2(A_ALONG_K, B_ALONG_K));
    var rows: array<vec4<u32>, A_LOADS>;
    var columns: array<vec4<u32>, B_LOADS>;
    for (var i = 0u; i < A_LOADS; i++) { // unroll
        let m = first_m + place_in_tile(lane + i * THREADS, VECTORS_M, A_ALONG_K).x;
        rows[i] = row(min(m, select(last_four(size.x), size.x - 1u, A_ALONG_K)));
    }
    for (var i = 0u; i < B_LOADS; i++) { // unroll
        let n = first_n + place_in_tile(lane + i * THREADS, VECTORS_N, B_ALONG_K).x;
        columns[i] = column(min(n, select(last_four(size.y), size.y - 1u, B_ALONG_K)));
    }
    let my_row = lane / THREADS_N;
    let my_column = lane % THREADS_N;
    var sums: array<vec4<f32>, ROWS * N4>;
    var next_a: array<vec4<f32>, A_LOADS>;
    var next_b: array<vec4<f32>, B_LOADS>;
    for (var k = k_begin; ; k += TILE_K) {
        // Before the first sums there is nothing to add: that round only fetches.
        if k > k_begin {
            workgroupBarrier();
            for (var i = 0u; i < A_LOADS; i++) { // unroll
                let place = place_in_tile(lane + i * THREADS, VECTORS_M, A_ALONG_K);
                let at = place.y * VECTORS_M + place.x / 4u;
                // if: A_ALONG_K
                for (var r = 0u; r < 4u; r++) { // unroll
                    tile_a[at + r * VECTORS_M][place.x % 4u] = next_a[i][r];
                }
                // end if
                // if: !A_ALONG_K
                tile_a[at] = next_a[i];
                // end if
            }
            for (var i = 0u; i < B_LOADS; i++) { // unroll
                let place = place_in_tile(lane + i * THREADS, VECTORS_N, B_ALONG_K);
                let at = place.y * VECTORS_N + place.x / 4u;
                // if: B_ALONG_K
                for (var r = 0u; r < 4u; r++) { // unroll
                    tile_b[at + r * VECTORS_N][place.x % 4u] = next_b[i][r];
                }
                // end if
                // if: !B_ALONG_K
                tile_b[at] = next_b[i];
                // end if
            }
            workgroupBarrier();
        }
        if k < k_end {
            for (var i = 0u; i < A_LOADS; i++) { // unroll
                let place = place_in_tile(lane + i * THREADS, VECTORS_M, A_ALONG_K);
                let at = min(k + place.y, last_k.x);
                let m = min(first_m + place.x, size.x - 1u);
                next_a[i] = within(fetch_a(rows[i], m, depth(at), at), k + place.y, k_end, A_ALONG_K);
            }
            for (var i = 0u; i < B_LOADS; i++) { // unroll
                let place = place_in_tile(lane + i * THREADS, VECTORS_N, B_ALONG_K);
                let at = min(k + place.y, last_k.y);
                let n = min(first_n + place.x, size.y - 1u);
                next_b[i] = within(fetch_b(depth(at), at, columns[i], n), k + place.y, k_end, B_ALONG_K);
            }
        }
        if k > k_begin {
            for (var kk = 0u; kk < TILE_K; kk++) { // unroll
                for (var i = 0u; i < M4; i++) { // unroll
                    let a = tile_a[kk * VECTORS_M + i * THREADS_M + my_row];
                    for (var j = 0u; j < N4; j++) { // unroll
                        let b = tile_b[kk * VECTORS_N + j * THREADS_N + my_column];
                        for (var r = 0u; r < 4u; r++) { // unroll
                            let at = (4u * i + r) * N4 + j;
                            sums[at] = fma(vec4(a[r]), b, sums[at]);
                        }
                    }
                }
            }
        }
        if k >= k_end {
            break;
        }
    }
    for (var j = 0u; j < N4; j++) { // unroll
        let n = first_n + (j * THREADS_N + my_column) * 4u;
        let at_n = landing(min(n, size.y - 1u));
        for (var i = 0u; i < ROWS; i++) { // unroll
            let m = first_m + (i / 4u * THREADS_M + my_row) * 4u + i % 4u;
            if m < size.x && n < size.y {
                store(m, n, at_n, split, sums[i * N4 + j]);
            }
        }
    }
}
// end if

// if: !WORKGROUP_MEMORY
// The sum and the products of four of a row of A with four rows of B.
fn add_products(sum: vec4<f32>, a: vec4<f32>, b: mat4x4<f32>) -> vec4<f32> {
    return fma(vec4(a.w), b[3], fma(vec4(a.z), b[2], fma(vec4(a.y), b[1], fma(vec4(a.x), b[0], sum))));
}

fn own_tile(first_m: u32, first_n: u32, split: u32, k_begin: u32, k_end: u32, lane: u32) {
    let size = params.size;
    let m = first_m + lane / THREADS_N * ROWS;
    let n = first_n + lane % THREADS_N * COLUMNS;
    if m >= size.x || n >= size.y {
        return;
    }
    var rows: array<vec4<u32>, ROWS>;
    var columns: array<vec4<u32>, COLUMNS>;
    for (var i = 0u; i < ROWS; i++) { // unroll
        rows[i] = row(min(m + i, select(last_four(size.x), size.x - 1u, A_ALONG_K)));
    }
    for (var i = 0u; i < COLUMNS; i++) { // unroll
        columns[i] = column(min(n + i, select(last_four(size.y), size.y - 1u, B_ALONG_K)));
    }
    var sums: array<vec4<f32>, ROWS * N4>;
    for (var k = k_begin; k < k_end; k += 4u) {
        var depths: array<vec4<u32>, 4>;
        for (var r = 0u; r < 4u; r++) { // unroll
            depths[r] = depth(min(k + r, k_end - 1u));
        }
        // Four rows of A, and the four columns that these meet in B.
        var a: array<mat4x4<f32>, M4>;
        var b: array<mat4x4<f32>, N4>;
        for (var i = 0u; i < M4; i++) { // unroll
            for (var r = 0u; r < 4u; r++) { // unroll
                // if: A_ALONG_K
                let row = 4u * i + r;
                let at_m = min(m + row, size.x - 1u);
                a[i][r] = within(fetch_a(rows[row], at_m, depths[0], k), k, k_end, true);
                // end if
                // if: !A_ALONG_K
                let at = min(k + r, k_end - 1u);
                let four = min(m + 4u * i, last_four(size.x));
                a[i][r] = within(fetch_a(rows[4u * i], four, depths[r], at), k + r, k_end, false);
                // end if
            }
            // if: !A_ALONG_K
            a[i] = transpose(a[i]);
            // end if
        }
        for (var j = 0u; j < N4; j++) { // unroll
            for (var r = 0u; r < 4u; r++) { // unroll
                // if: B_ALONG_K
                let column = 4u * j + r;
                let at_n = min(n + column, size.y - 1u);
                b[j][r] = within(fetch_b(depths[0], k, columns[column], at_n), k, k_end, true);
                // end if
                // if: !B_ALONG_K
                let at = min(k + r, k_end - 1u);
                let four = min(n + 4u * j, last_four(size.y));
                b[j][r] = within(fetch_b(depths[r], at, columns[4u * j], four), k + r, k_end, false);
                // end if
            }
            // if: B_ALONG_K
            b[j] = transpose(b[j]);
            // end if
        }
        for (var i = 0u; i < ROWS; i++) { // unroll
            for (var j = 0u; j < N4; j++) { // unroll
                let at = i * N4 + j;
                sums[at] = add_products(sums[at], a[i / 4u][i % 4u], b[j]);
            }
        }
    }
    var landings: array<u32, N4>;
    for (var j = 0u; j < N4; j++) { // unroll
        landings[j] = landing(min(n + 4u * j, size.y - 1u));
    }
    // The row that is stored is always the first: the others move up. So the text of storing is compiled
    // once, not for every row, which takes a third of the time.
    for (var i = 0u; i < min(ROWS, size.x - m); i++) {
        for (var j = 0u; j < N4; j++) { // unroll
            if n + 4u * j < size.y {
                store(m + i, n + 4u * j, landings[j], split, sums[j]);
            }
        }
        for (var s = 0u; s < ROWS * N4; s++) { // unroll
            sums[s] = sums[(s + N4) % (ROWS * N4)];
        }
    }
}
// end if

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // The number of the tile, which is the same for all invocations of a workgroup and makes the
    // barriers uniform.
    let number = group.x + group.y * groups.x;
    let tiles = params.tiles;
    let in_batch = number / tiles.z;
    let split = number % tiles.z;
    let batch = in_batch / (tiles.x * tiles.y);
    if batch >= params.size.w {
        return;
    }
    let tile = in_batch % (tiles.x * tiles.y);
    let first_m = tile % tiles.x * VECTORS_M * 4u;
    let first_n = tile / tiles.x * VECTORS_N * 4u;
    let k_begin = split * tiles.w;
    let k_end = select(k_begin, min(k_begin + tiles.w, params.size.z), start(batch));
    // if: WORKGROUP_MEMORY
    shared_tile(first_m, first_n, split, k_begin, k_end, lane);
    // end if
    // if: !WORKGROUP_MEMORY
    own_tile(first_m, first_n, split, k_begin, k_end, lane);
    // end if
}
