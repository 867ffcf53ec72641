// Attention and its gradients without a matrix of all scores (Dao et al. 2022, arXiv:2205.14135; Dao 2023,
// arXiv:2307.08691). Rows of one kind, the own ones, meet those of the other kind, tile by tile: queries meet keys for
// the output and for their own gradient, keys meet queries for the gradients of keys and values. A tile of scores is
// the product of X, the own queries or keys, and Y, the others. Of those it becomes weights by the softmax, which
// add up the rows of W, the values or the gradients of the outputs. The gradients of the weights are the product of U,
// own rows of the same two, and W; what they make of the scores adds up the rows of Y.

// Whether the output is computed, and not gradients; whether the own rows are keys.
const FORWARD: bool = true;
const KEYS: bool = false;
// Whether something is added to the scores.
const MASKED: bool = false;
// Whether 64 invocations share a tile of 32 x 32 in workgroup memory, or each has a tile of its own, and its sums in
// the result: where workgroup memory is no faster than the buffers.
const WORKGROUP_MEMORY: bool = true;
// Invocations of a workgroup, and the vectors of 4 rows and 4 columns of each.
const THREADS: u32 = 64u;
const M4: u32 = 1u;
const N4: u32 = 1u;
const ROWS: u32 = M4 * 4u;
// Own rows and other rows of a tile.
const TILE: u32 = 32u;
const OTHERS: u32 = 32u;
// Parts of 8 vectors that the rows of Y and W are summed in.
const Y_PARTS: u32 = 4u;
const W_PARTS: u32 = 4u;
// The score of what is not seen.
const HIDDEN: f32 = -3e38;

struct Params {
    // Heads of the queries, how many of them share one of the keys, queries, keys.
    size: vec4<u32>,
    // Tiles of a head, entries of the batch, vectors of a query or key, vectors of a value.
    counts: vec4<u32>,
    // The first element, and the steps of an entry of the batch, a head and a row: of the mask in elements, of all
    // others in vectors.
    query: vec4<u32>,
    key: vec4<u32>,
    value: vec4<u32>,
    upstream: vec4<u32>,
    mask: vec4<u32>,
    // Where the rows of sums of Y and of W go.
    of_y: vec4<u32>,
    of_w: vec4<u32>,
    // The step of a column of the mask; whether a query sees only the keys up to its own place; where the
    // logarithms of the sums start, and how far those of two heads are apart (0 where they are not kept).
    more: vec4<u32>,
    scale: f32,
    // Where the sums of products start.
    products: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> key: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> value: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> result: array<vec4<f32>>;
// Of the gradients: that of the output, the output and logarithms as they were made, and for each query the sum of its
// output times the gradient of that.
@group(0) @binding(5) var<storage, read> upstream: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> packed: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> mask: array<f32>;

// Scores or weights of an invocation: row by row.
alias Tile = array<vec4<f32>, ROWS * N4>;
// A number for each of its rows.
alias Column = array<vec4<f32>, M4>;

// Rows of a head: the first vector, the step from row to row, how many there are. Those past the end are the last one.
fn row_of(rows: vec3<u32>, row: u32) -> u32 {
    return rows.x + min(row, rows.z - 1u) * rows.y;
}

fn rows_of(place: vec4<u32>, entry: u32, head: u32, count: u32) -> vec3<u32> {
    return vec3(place.x + entry * place.y + head * place.z, place.w, count);
}

// A vector of X, or of U.
fn own(of_u: bool, place: u32) -> vec4<f32> {
    if of_u {
        if KEYS {
            return value[place];
        }
        return upstream[place];
    }
    if KEYS {
        return key[place];
    }
    return query[place];
}

// A vector of Y, or of W.
fn other(of_w: bool, place: u32) -> vec4<f32> {
    if of_w {
        if KEYS {
            return upstream[place];
        }
        return value[place];
    }
    if KEYS {
        return query[place];
    }
    return key[place];
}

// exp of NaN is left open by WGSL; below -104 it is 0 in f32.
fn exponential(a: vec4<f32>) -> vec4<f32> {
    let nan = (bitcast<vec4<u32>>(a) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
    return select(select(exp(a), vec4(0.0), a < vec4(-104.0)), a, nan);
}

fn weight(score: vec4<f32>, less: vec4<f32>) -> vec4<f32> {
    return select(exponential(score - less), vec4(0.0), score <= vec4(HIDDEN));
}

// The sum and the products of four of a row with four rows.
fn add_products(sum: vec4<f32>, a: vec4<f32>, b: mat4x4<f32>) -> vec4<f32> {
    return fma(vec4(a.w), b[3], fma(vec4(a.z), b[2], fma(vec4(a.y), b[1], fma(vec4(a.x), b[0], sum))));
}

// if: WORKGROUP_MEMORY
// 32 vectors of four own rows each, and of four columns.
var<workgroup> tile_a: array<vec4<f32>, 256>;
var<workgroup> tile_b: array<vec4<f32>, 256>;
var<workgroup> tops: array<vec4<f32>, 64>;

// The sums of rows of Y and W, of each part: the rows' vectors of this invocation.
var<private> sums_of_y: array<mat4x4<f32>, Y_PARTS>;
var<private> sums_of_w: array<mat4x4<f32>, W_PARTS>;

// The sums and the products of the tiles in workgroup memory.
fn multiplied(before: mat4x4<f32>, lane: u32) -> mat4x4<f32> {
    var sums = before;
    for (var k = 0u; k < 32u; k++) { // unroll
        let a = tile_a[k * 8u + lane / 8u];
        let b = tile_b[k * 8u + lane % 8u];
        sums[0] = fma(vec4(a.x), b, sums[0]);
        sums[1] = fma(vec4(a.y), b, sums[1]);
        sums[2] = fma(vec4(a.z), b, sums[2]);
        sums[3] = fma(vec4(a.w), b, sums[3]);
    }
    return sums;
}

// Products of own rows of a tile and the others from `start` on.
fn shared_product(
    second: bool,
    rows: vec3<u32>,
    tile: u32,
    others: vec3<u32>,
    start: u32,
    vectors: u32,
    lane: u32,
) -> Tile {
    var sums: mat4x4<f32>;
    let four = lane / 8u * 4u;
    for (var part = 0u; part < vectors; part += 8u) {
        let at = part + lane % 8u;
        var a: mat4x4<f32>;
        var b: mat4x4<f32>;
        if at < vectors {
            for (var r = 0u; r < 4u; r++) { // unroll
                a[r] = own(second, row_of(rows, tile * TILE + four + r) + at);
                b[r] = other(second, row_of(others, start + four + r) + at);
            }
        }
        a = transpose(a);
        b = transpose(b);
        workgroupBarrier();
        for (var r = 0u; r < 4u; r++) { // unroll
            tile_a[(lane % 8u * 4u + r) * 8u + lane / 8u] = a[r];
            tile_b[(lane % 8u * 4u + r) * 8u + lane / 8u] = b[r];
        }
        workgroupBarrier();
        sums = multiplied(sums, lane);
    }
    return Tile(sums[0], sums[1], sums[2], sums[3]);
}

// Makes weights, column by column, what is multiplied with rows.
fn share_weights(weights: Tile, lane: u32) {
    let columns = transpose(mat4x4(weights[0], weights[1], weights[2], weights[3]));
    workgroupBarrier();
    for (var r = 0u; r < 4u; r++) { // unroll
        tile_a[(lane % 8u * 4u + r) * 8u + lane / 8u] = columns[r];
    }
}

// Makes part `part` of the others from `start` on what weights are multiplied with.
fn share_rows(second: bool, others: vec3<u32>, start: u32, part: u32, vectors: u32, lane: u32) {
    let at = part * 8u + lane % 8u;
    var rows: mat4x4<f32>;
    if at < vectors {
        for (var r = 0u; r < 4u; r++) { // unroll
            rows[r] = other(second, row_of(others, start + lane / 8u + 8u * r) + at);
        }
    }
    workgroupBarrier();
    for (var r = 0u; r < 4u; r++) { // unroll
        tile_b[lane + 64u * r] = rows[r];
    }
    workgroupBarrier();
}

// Adds rows of Y by these weights.
fn shared_add_y(weights: Tile, others: vec3<u32>, start: u32, vectors: u32, lane: u32) {
    share_weights(weights, lane);
    for (var part = 0u; part < Y_PARTS; part++) { // unroll
        share_rows(false, others, start, part, vectors, lane);
        sums_of_y[part] = multiplied(sums_of_y[part], lane);
    }
}

// Adds rows of W by these weights to what is `kept` of the sums of each row.
fn shared_add_w(weights: Tile, kept: vec4<f32>, others: vec3<u32>, start: u32, vectors: u32, lane: u32) {
    share_weights(weights, lane);
    for (var part = 0u; part < W_PARTS; part++) { // unroll
        share_rows(true, others, start, part, vectors, lane);
        var sums = sums_of_w[part];
        for (var r = 0u; r < 4u; r++) { // unroll
            sums[r] *= kept[r];
        }
        sums_of_w[part] = multiplied(sums, lane);
    }
}

// The greatest, or the sums, of four rows over all lanes that share them.
fn shared_rows(each: vec4<f32>, sum: bool, lane: u32) -> vec4<f32> {
    tops[lane] = each;
    workgroupBarrier();
    var all = tops[lane / 8u * 8u];
    for (var r = 1u; r < 8u; r++) {
        let next = tops[lane / 8u * 8u + r];
        all = select(max(all, next), all + next, sum);
    }
    workgroupBarrier();
    return all;
}

fn store_part(sums: mat4x4<f32>, place: vec3<u32>, first: u32, at: u32, vectors: u32) {
    for (var r = 0u; r < 4u; r++) { // unroll
        if first + r < place.z && at < vectors {
            result[row_of(place, first + r) + at] = sums[r];
        }
    }
}
// end if

// if: !WORKGROUP_MEMORY
// Products of own rows from `first` on and the others from `start` on.
fn own_product(
    second: bool,
    rows: vec3<u32>,
    first: u32,
    others: vec3<u32>,
    start: u32,
    vectors: u32,
) -> Tile {
    var sums: Tile;
    var mine: array<u32, ROWS>;
    var theirs: array<u32, N4 * 4u>;
    for (var i = 0u; i < ROWS; i++) { // unroll
        mine[i] = row_of(rows, first + i);
    }
    for (var j = 0u; j < N4 * 4u; j++) { // unroll
        theirs[j] = row_of(others, start + j);
    }
    for (var at = 0u; at < vectors; at++) {
        var b: array<mat4x4<f32>, N4>;
        for (var j = 0u; j < N4; j++) { // unroll
            for (var r = 0u; r < 4u; r++) { // unroll
                b[j][r] = other(second, theirs[4u * j + r] + at);
            }
            b[j] = transpose(b[j]);
        }
        for (var i = 0u; i < ROWS; i++) { // unroll
            let a = own(second, mine[i] + at);
            for (var j = 0u; j < N4; j++) { // unroll
                sums[i * N4 + j] = add_products(sums[i * N4 + j], a, b[j]);
            }
        }
    }
    return sums;
}

// Adds rows of Y or W by these weights to what is `kept` of the result's rows, or puts them there.
fn own_add(
    second: bool,
    weights: Tile,
    kept: Column,
    fresh: bool,
    others: vec3<u32>,
    start: u32,
    to: vec3<u32>,
    first: u32,
    vectors: u32,
) {
    for (var at = 0u; at < vectors; at++) {
        var b: array<mat4x4<f32>, N4>;
        for (var j = 0u; j < N4; j++) { // unroll
            for (var r = 0u; r < 4u; r++) { // unroll
                b[j][r] = other(second, row_of(others, start + 4u * j + r) + at);
            }
        }
        for (var i = 0u; i < ROWS; i++) { // unroll
            let place = row_of(to, first + i) + at;
            var sum = vec4(0.0);
            if !fresh {
                sum = result[place] * kept[i / 4u][i % 4u];
            }
            for (var j = 0u; j < N4; j++) { // unroll
                sum = add_products(sum, weights[i * N4 + j], b[j]);
            }
            if first + i < to.z {
                result[place] = sum;
            }
        }
    }
}

fn own_clear(to: vec3<u32>, first: u32, vectors: u32) {
    for (var i = 0u; i < ROWS; i++) {
        for (var at = 0u; at < vectors && first + i < to.z; at++) {
            result[row_of(to, first + i) + at] = vec4(0.0);
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
    let size = params.size;
    var tile = group.x + group.y * groups.x;
    // if: !WORKGROUP_MEMORY
    tile = tile * THREADS + lane;
    // end if
    let heads = select(size.x, size.x / size.y, KEYS);
    let pair = tile / params.counts.x;
    tile = tile % params.counts.x;
    let entry = pair / heads;
    let head = pair % heads;
    if entry >= params.counts.y {
        return;
    }
    let e = params.counts.z;
    let v = params.counts.w;
    let own_count = select(size.z, size.w, KEYS);
    let other_count = select(size.w, size.z, KEYS);
    var first = tile * TILE;
    var lane_column = 0u;
    // if: WORKGROUP_MEMORY
    first += lane / 8u * 4u;
    lane_column = lane % 8u * 4u;
    // end if
    // What a tile has to meet.
    var begin = 0u;
    var end = other_count;
    let is_causal = params.more.y != 0u;
    if is_causal {
        if KEYS {
            begin = tile * TILE / OTHERS * OTHERS;
        } else {
            end = min(end, (tile + 1u) * TILE);
        }
    }
    let to_y = rows_of(params.of_y, entry, head, own_count);
    let to_w = rows_of(params.of_w, entry, head, own_count);

    var top: Column;
    var total: Column;
    for (var i = 0u; i < M4; i++) { // unroll
        top[i] = vec4(HIDDEN);
    }
    let sharers = select(1u, size.y, KEYS);
    for (var sharer = 0u; sharer < sharers; sharer++) {
        let query_head = select(head, head * size.y + sharer, KEYS);
        let key_head = select(head / size.y, head, KEYS);
        let queries = rows_of(params.query, entry, query_head, size.z);
        let keys = rows_of(params.key, entry, key_head, size.w);
        let values = rows_of(params.value, entry, key_head, size.w);
        let gradients = rows_of(params.upstream, entry, query_head, size.z);
        let x = select(queries, keys, vec3(KEYS));
        let y = select(keys, queries, vec3(KEYS));
        let u = select(gradients, values, vec3(KEYS));
        let w = select(values, gradients, vec3(KEYS));
        let masked = params.mask.x + entry * params.mask.y + query_head * params.mask.z;
        let statistics = (entry * size.x + query_head) * params.more.w;
        for (var start = begin; start < end; start += OTHERS) {
            var weights: Tile;
            // if: WORKGROUP_MEMORY
            weights = shared_product(false, x, tile, y, start, e, lane);
            // end if
            // if: !WORKGROUP_MEMORY
            weights = own_product(false, x, first, y, start, e);
            // end if
            for (var i = 0u; i < ROWS; i++) { // unroll
                for (var j = 0u; j < N4; j++) { // unroll
                    let row = first + i;
                    let column = start + lane_column + 4u * j;
                    let columns = vec4(column, column + 1u, column + 2u, column + 3u);
                    var score = weights[i * N4 + j] * params.scale;
                    var hidden = columns >= vec4(other_count);
                    if is_causal {
                        hidden = hidden | select(columns > vec4(row), columns < vec4(row), vec4(KEYS));
                    }
                    if MASKED {
                        let rows = vec4(min(row, own_count - 1u));
                        let others = min(columns, vec4(other_count - 1u));
                        let at = masked + select(rows, others, vec4(KEYS)) * params.mask.w
                            + select(others, rows, vec4(KEYS)) * params.more.x;
                        let added = vec4(mask[at.x], mask[at.y], mask[at.z], mask[at.w]);
                        score += added;
                        hidden = hidden | (added < vec4(HIDDEN));
                    }
                    weights[i * N4 + j] = select(score, vec4(HIDDEN), hidden);
                }
            }
            if FORWARD {
                var kept: Column;
                for (var i = 0u; i < M4; i++) { // unroll
                    var found = top[i];
                    for (var r = 0u; r < 4u; r++) { // unroll
                        for (var j = 0u; j < N4; j++) { // unroll
                            let four = weights[(4u * i + r) * N4 + j];
                            found[r] = max(found[r], max(max(four.x, four.y), max(four.z, four.w)));
                        }
                    }
                    // if: WORKGROUP_MEMORY
                    found = shared_rows(found, false, lane);
                    // end if
                    kept[i] = exponential(top[i] - found);
                    top[i] = found;
                    total[i] *= kept[i];
                    for (var r = 0u; r < 4u; r++) { // unroll
                        for (var j = 0u; j < N4; j++) { // unroll
                            let at = (4u * i + r) * N4 + j;
                            weights[at] = weight(weights[at], vec4(found[r]));
                            total[i][r] += dot(weights[at], vec4(1.0));
                        }
                    }
                }
                // if: WORKGROUP_MEMORY
                shared_add_w(weights, kept[0], w, start, v, lane);
                // end if
                // if: !WORKGROUP_MEMORY
                if start + OTHERS >= end {
                    for (var i = 0u; i < ROWS; i++) { // unroll
                        let scale = 1.0 / select(total[i / 4u][i % 4u], 1.0, total[i / 4u][i % 4u] == 0.0);
                        kept[i / 4u][i % 4u] *= scale;
                        for (var j = 0u; j < N4; j++) { // unroll
                            weights[i * N4 + j] *= scale;
                        }
                    }
                }
                own_add(true, weights, kept, start == 0u, w, start, to_w, first, v);
                // end if
            } else {
                var slopes: Tile;
                // if: WORKGROUP_MEMORY
                slopes = shared_product(true, u, tile, w, start, v, lane);
                // end if
                // if: !WORKGROUP_MEMORY
                slopes = own_product(true, u, first, w, start, v);
                // end if
                for (var i = 0u; i < M4; i++) { // unroll
                    for (var j = 0u; j < N4; j++) { // unroll
                        let place = select(first + 4u * i, start + lane_column + 4u * j, KEYS);
                        let four = statistics + min(place, size.z - 1u) / 4u;
                        let logs = packed[params.more.z + four];
                        let sums = products[params.products + four];
                        for (var r = 0u; r < 4u; r++) { // unroll
                            let at = (4u * i + r) * N4 + j;
                            weights[at] = weight(weights[at], select(vec4(logs[r]), logs, vec4(KEYS)));
                            let less = select(vec4(sums[r]), sums, vec4(KEYS));
                            slopes[at] = weights[at] * (slopes[at] - less) * params.scale;
                        }
                    }
                }
                // if: WORKGROUP_MEMORY
                if KEYS {
                    shared_add_w(weights, vec4(1.0), w, start, v, lane);
                }
                shared_add_y(slopes, y, start, e, lane);
                // end if
                // if: !WORKGROUP_MEMORY
                let fresh = sharer == 0u && start == begin;
                var all: Column;
                for (var i = 0u; i < M4; i++) { // unroll
                    all[i] = vec4(1.0);
                }
                if KEYS {
                    own_add(true, weights, all, fresh, w, start, to_w, first, v);
                }
                own_add(false, slopes, all, fresh, y, start, to_y, first, e);
                // end if
            }
        }
    }
    // if: !WORKGROUP_MEMORY
    if KEYS && begin >= end {
        own_clear(to_y, first, e);
        own_clear(to_w, first, v);
    }
    // end if
    // if: WORKGROUP_MEMORY
    if FORWARD {
        total[0] = shared_rows(total[0], true, lane);
    }
    for (var part = 0u; part < W_PARTS; part++) { // unroll
        var sums = sums_of_w[part];
        if FORWARD {
            for (var r = 0u; r < 4u; r++) { // unroll
                sums[r] /= select(total[0][r], 1.0, total[0][r] == 0.0);
            }
        }
        if FORWARD || KEYS {
            store_part(sums, to_w, first, part * 8u + lane % 8u, v);
        }
    }
    if !FORWARD {
        for (var part = 0u; part < Y_PARTS; part++) { // unroll
            store_part(sums_of_y[part], to_y, first, part * 8u + lane % 8u, e);
        }
    }
    // end if
    if FORWARD && params.more.w != 0u && lane_column == 0u {
        for (var i = 0u; i < M4; i++) { // unroll
            if first + 4u * i < own_count {
                // A sum of nothing has no logarithm, and needs none: nothing is weighed by it.
                let seen = total[i] != vec4(0.0);
                let logs = select(vec4(0.0), top[i] + log(select(vec4(1.0), total[i], seen)), seen);
                result[params.more.z + (entry * size.x + head) * params.more.w + first / 4u + i] = logs;
            }
        }
    }
}
