enable f16;
enable wgpu_cooperative_matrix;
// The core of products of halves where the GPU multiplies small matrices at once: tensor cores,
// matrix units. As `gemm.wgsl`, whose words on the operands hold here too, with fragments of FRAGMENT x FRAGMENT
// that a subgroup holds together; sums are f32.

alias FragmentA = coop_mat16x16<f16, A>;
alias FragmentB = coop_mat16x16<f16, B>;
alias FragmentC = coop_mat16x16<f32, C>;
const FRAGMENT: u32 = 16u;
const SUBGROUP: u32 = 32u;
// Fragments of a subgroup, and subgroups of a workgroup.
const FRAGMENTS_M: u32 = 4u;
const FRAGMENTS_N: u32 = 2u;
const SUBGROUPS_M: u32 = 2u;
const SUBGROUPS_N: u32 = 4u;

const THREADS: u32 = SUBGROUPS_M * SUBGROUPS_N * SUBGROUP;
const TILE_M: u32 = SUBGROUPS_M * FRAGMENTS_M * FRAGMENT;
const TILE_N: u32 = SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
const TILE_K: u32 = 2u * FRAGMENT;
const A_LOADS: u32 = TILE_M * TILE_K / 4u / THREADS;
const B_LOADS: u32 = TILE_N * TILE_K / 4u / THREADS;
const SUMS: u32 = FRAGMENTS_M * FRAGMENTS_N;
// Vectors that a lane writes of a fragment.
const VECTORS: u32 = FRAGMENT * FRAGMENT / 4u / SUBGROUP;

// begin operands
const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;

struct Params {
    size: vec4<u32>,
    tiles: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4<f32>>;

fn start(batch: u32) -> bool {
    return true;
}

fn row(m: u32) -> vec4<u32> {
    return vec4(m);
}

fn column(n: u32) -> vec4<u32> {
    return vec4(n);
}

fn depth(k: u32) -> vec4<u32> {
    return vec4(k);
}

fn fetch_a(row: vec4<u32>, m: u32, depth: vec4<u32>, k: u32) -> vec4<f32> {
    return a[(row.x * params.size.z + depth.x) / 4u];
}

fn fetch_b(depth: vec4<u32>, k: u32, column: vec4<u32>, n: u32) -> vec4<f32> {
    return b[(depth.x * params.size.y + column.x) / 4u];
}

fn landing(n: u32) -> u32 {
    return n;
}

fn store(m: u32, n: u32, landing: u32, split: u32, values: vec4<f32>) {
    result[((split * params.size.x + m) * params.size.y + landing) / 4u] = values;
}
// end operands

// Vectors between the rows of a tile in workgroup memory; two more than they have, which keeps rows
// that are read together in different banks.
const STEP_A: u32 = select(TILE_M, TILE_K, A_ALONG_K) / 4u + 2u;
const STEP_B: u32 = select(TILE_N, TILE_K, B_ALONG_K) / 4u + 2u;
var<workgroup> tile_a: array<vec4<f16>, STEP_A * select(TILE_K, TILE_M, A_ALONG_K)>;
var<workgroup> tile_b: array<vec4<f16>, STEP_B * select(TILE_K, TILE_N, B_ALONG_K)>;
var<workgroup> staging: array<f32, SUBGROUPS_M * SUBGROUPS_N * FRAGMENT * FRAGMENT>;

// Where in a tile the four of load number i are: (row or column, k).
fn place_in_tile(i: u32, size: u32, along_k: bool) -> vec2<u32> {
    if along_k {
        return vec2(i / (TILE_K / 4u), i % (TILE_K / 4u) * 4u);
    }
    return vec2(i % (size / 4u) * 4u, i / (size / 4u));
}

// Four numbers from k on along k, or all four at k: 0 where k is past the end of the run.
fn within(values: vec4<f32>, k: u32, k_end: u32, along_k: bool) -> vec4<f16> {
    if along_k {
        return vec4<f16>(select(vec4(0.0), values, vec4(k, k + 1u, k + 2u, k + 3u) < vec4(k_end)));
    }
    return vec4<f16>(select(vec4(0.0), values, k < k_end));
}

var<private> rows: array<vec4<u32>, A_LOADS>;
var<private> columns: array<vec4<u32>, B_LOADS>;
var<private> next_a: array<vec4<f16>, A_LOADS>;
var<private> next_b: array<vec4<f16>, B_LOADS>;

// Reads this invocation's part of the tiles from k on.
fn fetch(first_m: u32, first_n: u32, k: u32, k_end: u32, lane: u32) {
    let last_k = select(vec2(k_end - 1u), vec2((k_end - 1u) / 4u * 4u), vec2(A_ALONG_K, B_ALONG_K));
    for (var i = 0u; i < A_LOADS; i++) { // unroll
        let place = place_in_tile(lane + i * THREADS, TILE_M, A_ALONG_K);
        let at = min(k + place.y, last_k.x);
        let m = min(first_m + place.x, params.size.x - 1u);
        next_a[i] = within(fetch_a(rows[i], m, depth(at), at), k + place.y, k_end, A_ALONG_K);
    }
    for (var i = 0u; i < B_LOADS; i++) { // unroll
        let place = place_in_tile(lane + i * THREADS, TILE_N, B_ALONG_K);
        let at = min(k + place.y, last_k.y);
        let n = min(first_n + place.x, params.size.y - 1u);
        next_b[i] = within(fetch_b(depth(at), at, columns[i], n), k + place.y, k_end, B_ALONG_K);
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) in_subgroup: u32,
) {
    let number = group.x + group.y * groups.x;
    let size = params.size;
    let tiles = params.tiles;
    let in_batch = number / tiles.z;
    let split = number % tiles.z;
    let batch = in_batch / (tiles.x * tiles.y);
    if batch >= size.w {
        return;
    }
    let tile = in_batch % (tiles.x * tiles.y);
    let first_m = tile % tiles.x * TILE_M;
    let first_n = tile / tiles.x * TILE_N;
    let k_begin = split * tiles.w;
    let k_end = select(k_begin, min(k_begin + tiles.w, size.z), start(batch));

    let last = (size.xy - 1u) / 4u * 4u;
    for (var i = 0u; i < A_LOADS; i++) { // unroll
        let m = first_m + place_in_tile(lane + i * THREADS, TILE_M, A_ALONG_K).x;
        rows[i] = row(min(m, select(last.x, size.x - 1u, A_ALONG_K)));
    }
    for (var i = 0u; i < B_LOADS; i++) { // unroll
        let n = first_n + place_in_tile(lane + i * THREADS, TILE_N, B_ALONG_K).x;
        columns[i] = column(min(n, select(last.y, size.y - 1u, B_ALONG_K)));
    }
    let my_m = subgroup / SUBGROUPS_N * FRAGMENTS_M * FRAGMENT;
    let my_n = subgroup % SUBGROUPS_N * FRAGMENTS_N * FRAGMENT;
    var sums: array<FragmentC, SUMS>;
    for (var i = 0u; i < SUMS; i++) { // unroll
        sums[i] = FragmentC();
    }
    if k_begin < k_end {
        fetch(first_m, first_n, k_begin, k_end, lane);
    }
    for (var k = k_begin; k < k_end; k += TILE_K) {
        workgroupBarrier();
        for (var i = 0u; i < A_LOADS; i++) { // unroll
            let place = place_in_tile(lane + i * THREADS, TILE_M, A_ALONG_K);
            tile_a[select(place.y * STEP_A + place.x / 4u, place.x * STEP_A + place.y / 4u, A_ALONG_K)] = next_a[i];
        }
        for (var i = 0u; i < B_LOADS; i++) { // unroll
            let place = place_in_tile(lane + i * THREADS, TILE_N, B_ALONG_K);
            tile_b[select(place.y * STEP_B + place.x / 4u, place.x * STEP_B + place.y / 4u, B_ALONG_K)] = next_b[i];
        }
        workgroupBarrier();
        // The next tiles arrive while the products of these are summed.
        fetch(first_m, first_n, k + TILE_K, k_end, lane);
        for (var kk = 0u; kk < 2u; kk++) { // unroll
            var b: array<FragmentB, FRAGMENTS_N>;
            for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
                let n = my_n + j * FRAGMENT;
                // if: B_ALONG_K
                b[j] = coopLoad<FragmentB>(&tile_b[n * STEP_B + kk * FRAGMENT / 4u], STEP_B);
                // end if
                // if: !B_ALONG_K
                b[j] = coopLoadT<FragmentB>(&tile_b[kk * FRAGMENT * STEP_B + n / 4u], STEP_B);
                // end if
            }
            for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
                let m = my_m + i * FRAGMENT;
                var a = FragmentA();
                // if: A_ALONG_K
                a = coopLoadT<FragmentA>(&tile_a[m * STEP_A + kk * FRAGMENT / 4u], STEP_A);
                // end if
                // if: !A_ALONG_K
                a = coopLoad<FragmentA>(&tile_a[kk * FRAGMENT * STEP_A + m / 4u], STEP_A);
                // end if
                for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
                    let at = i * FRAGMENTS_N + j;
                    sums[at] = coopMultiplyAdd(a, b[j], sums[at]);
                }
            }
        }
    }
    // By way of workgroup memory to where results belong.
    let staged = subgroup * FRAGMENT * FRAGMENT;
    for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
        for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
            workgroupBarrier();
            coopStoreT(sums[i * FRAGMENTS_N + j], &staging[staged], FRAGMENT);
            workgroupBarrier();
            for (var v = 0u; v < VECTORS; v++) { // unroll
                let at = in_subgroup + v * SUBGROUP;
                let m = first_m + my_m + i * FRAGMENT + at / (FRAGMENT / 4u);
                let n = first_n + my_n + j * FRAGMENT + at % (FRAGMENT / 4u) * 4u;
                let from_ = staged + at * 4u;
                let values = vec4(staging[from_], staging[from_ + 1u], staging[from_ + 2u], staging[from_ + 3u]);
                if m < size.x && n < size.y {
                    store(m, n, landing(n), split, values);
                }
            }
        }
    }
}
