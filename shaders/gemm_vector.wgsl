// The core of products of which one operand is few lines: up to four rows of A, or columns of B. As `gemm.wgsl`,
// whose words on the operands hold here too. Each number of the other operand is read once and takes part in few
// products, so that nothing is kept for others: an invocation sums a part of k of BLOCKS times four lines of it,
// and LANES_K invocations add their parts.

const FEW: u32 = 1u;
// Whether the few are the rows of A, and the lines the columns of B.
const FEW_ROWS: bool = true;
const BLOCKS: u32 = 1u;
// Invocations of a workgroup, along the lines and along k; the latter a power of two.
const LANES: u32 = 4u;
const LANES_K: u32 = 32u;
// Whether LANES_K is above 1.
const SHARED_SUMS: bool = true;

const THREADS: u32 = LANES * LANES_K;
const SUMS: u32 = FEW * BLOCKS;

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

const FEW_ALONG_K: bool = select(B_ALONG_K, A_ALONG_K, FEW_ROWS);
const LINES_ALONG_K: bool = select(A_ALONG_K, B_ALONG_K, FEW_ROWS);

fn lines() -> u32 {
    return select(params.size.x, params.size.y, FEW_ROWS);
}

fn few_start(i: u32) -> vec4<u32> {
    if FEW_ROWS {
        return row(i);
    }
    return column(i);
}

fn line_start(i: u32) -> vec4<u32> {
    if FEW_ROWS {
        return column(i);
    }
    return row(i);
}

fn fetch_few(start: vec4<u32>, i: u32, depth: vec4<u32>, k: u32) -> vec4<f32> {
    if FEW_ROWS {
        return fetch_a(start, i, depth, k);
    }
    return fetch_b(depth, k, start, i);
}

fn fetch_line(start: vec4<u32>, i: u32, depth: vec4<u32>, k: u32) -> vec4<f32> {
    if FEW_ROWS {
        return fetch_b(depth, k, start, i);
    }
    return fetch_a(start, i, depth, k);
}

// if: SHARED_SUMS
var<workgroup> parts: array<vec4<f32>, SUMS * THREADS>;
// end if

// Four numbers from k on along k, or all four at k: 0 where k is past the end of the run.
fn within(values: vec4<f32>, k: u32, k_end: u32, along_k: bool) -> vec4<f32> {
    if along_k {
        return select(vec4(0.0), values, vec4(k, k + 1u, k + 2u, k + 3u) < vec4(k_end));
    }
    return select(vec4(0.0), values, k < k_end);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    let tiles = params.tiles;
    let in_batch = number / tiles.z;
    let split = number % tiles.z;
    let batch = in_batch / (tiles.x * tiles.y);
    if batch >= params.size.w {
        return;
    }
    let first_block = in_batch % (tiles.x * tiles.y) * BLOCKS * LANES;
    let k_begin = split * tiles.w;
    let k_end = select(k_begin, min(k_begin + tiles.w, params.size.z), start(batch));
    // Neighbours read neighbours.
    let my_part = select(lane / LANES, lane % LANES_K, LINES_ALONG_K);
    let my_block = first_block + select(lane % LANES, lane / LANES_K, LINES_ALONG_K);

    let last = select((lines() - 1u) / 4u * 4u, lines() - 1u, LINES_ALONG_K);
    var starts: array<vec4<u32>, 4u * BLOCKS>;
    for (var i = 0u; i < 4u * BLOCKS; i++) { // unroll
        starts[i] = line_start(min((my_block + i / 4u * LANES) * 4u + i % 4u, last));
    }
    var few_starts: array<vec4<u32>, FEW>;
    for (var i = 0u; i < FEW; i++) { // unroll
        few_starts[i] = few_start(i);
    }
    // Of four lines each.
    var sums: array<vec4<f32>, SUMS>;
    for (var k = k_begin + my_part * 4u; k < k_end; k += 4u * LANES_K) {
        var depths: array<vec4<u32>, 4>;
        for (var r = 0u; r < 4u; r++) { // unroll
            depths[r] = depth(min(k + r, k_end - 1u));
        }
        var x: mat4x4<f32>;
        if FEW_ALONG_K {
            for (var i = 0u; i < FEW; i++) { // unroll
                x[i] = within(fetch_few(few_starts[i], i, depths[0], k), k, k_end, true);
            }
        } else {
            for (var r = 0u; r < 4u; r++) { // unroll
                let at = min(k + r, k_end - 1u);
                x[r] = within(fetch_few(few_starts[0], 0u, depths[r], at), k + r, k_end, false);
            }
            x = transpose(x);
        }
        for (var b = 0u; b < BLOCKS; b++) { // unroll
            let line = (my_block + b * LANES) * 4u;
            var y: mat4x4<f32>;
            for (var r = 0u; r < 4u; r++) { // unroll
                if LINES_ALONG_K {
                    y[r] = within(fetch_line(starts[4u * b + r], min(line + r, last), depths[0], k), k, k_end, true);
                } else {
                    let at = min(k + r, k_end - 1u);
                    y[r] = within(fetch_line(starts[4u * b], min(line, last), depths[r], at), k + r, k_end, false);
                }
            }
            for (var i = 0u; i < FEW; i++) { // unroll
                if LINES_ALONG_K {
                    sums[b * FEW + i] += x[i] * y;
                } else {
                    sums[b * FEW + i] += y * x[i];
                }
            }
        }
    }

    // if: SHARED_SUMS
    for (var i = 0u; i < SUMS; i++) { // unroll
        parts[i * THREADS + lane] = sums[i];
    }
    for (var half = LANES_K / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if my_part < half {
            let other = lane + half * select(LANES, 1u, LINES_ALONG_K);
            for (var i = 0u; i < SUMS; i++) { // unroll
                sums[i] += parts[i * THREADS + other];
                parts[i * THREADS + lane] = sums[i];
            }
        }
    }
    // end if
    if my_part > 0u {
        return;
    }
    for (var b = 0u; b < BLOCKS; b++) { // unroll
        let line = (my_block + b * LANES) * 4u;
        // if: FEW_ROWS
        if line < lines() {
            for (var i = 0u; i < FEW; i++) { // unroll
                store(i, line, landing(line), split, sums[b * FEW + i]);
            }
        }
        // end if
        // if: !FEW_ROWS
        for (var r = 0u; r < 4u; r++) { // unroll
            var values: vec4<f32>;
            for (var i = 0u; i < FEW; i++) { // unroll
                values[i] = sums[b * FEW + i][r];
            }
            if line + r < lines() {
                store(line + r, 0u, landing(0u), split, values);
            }
        }
        // end if
    }
}
