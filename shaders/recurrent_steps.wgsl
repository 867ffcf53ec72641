// The steps of a recurrent network, forward or back: products of what a step starts from with the weight,
// and then what makes the step of them. A workgroup computes some units of 4 * VECTORS sequences. Its
// invocations are LANES next to each other along the units, which read neighbouring columns of the
// weight, by SPLIT runs of the weight's rows, whose sums come together in workgroup memory. An invocation
// has ROWS columns of all these sequences: each element of the weight that is read serves all of them.
//
// Where a dispatch has several steps the workgroup computes all units, since it reads what it wrote in the
// step before.

const THREADS: u32 = 64u;
const SPLIT: u32 = THREADS / LANES;
const VECTORS: u32 = 1u;
const SAMPLES: u32 = 4u * VECTORS;
// Four rows of ROWS columns: of `vec4<f32>` a `mat4x4<f32>`, of `f32` a `vec4<f32>`. Either times a matrix of
// four rows of four sequences is an element for each of these.
alias Weights = mat4x4<f32>;

// What the importer stands in for: here, the sums themselves.
// begin operands
// Four neighbouring units, or one where their number is no multiple of 4.
alias Element = vec4<f32>;
const WIDTH: u32 = 4u;
const LANES: u32 = 16u;
// Columns of an invocation; of them `finish` is given PRODUCTS, and called for the others with those.
const ROWS: u32 = 4u;
const PRODUCTS: u32 = 4u;

// Counted in elements but for the first two.
struct Params {
    batch: u32,
    steps: u32,
    size: u32,
    // Units of a run, and the number of runs.
    units: u32,
    runs: u32,
    // The steps of this dispatch.
    begin: u32,
    end: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> states: array<Element>;
@group(0) @binding(2) var<storage, read> weight: array<Element>;
@group(0) @binding(3) var<storage, read_write> result: array<Element>;

// Rows of the weight, elements of one, and how far apart an invocation's columns are.
fn rows(step: u32) -> u32 {
    return params.size * WIDTH;
}

fn stride() -> u32 {
    return params.size * ROWS;
}

fn apart() -> u32 {
    return params.size;
}

// Where a sequence's part in the products begins, and four numbers of it.
fn place(sample: u32, step: u32) -> u32 {
    return sample * params.size;
}

fn state(start: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(states[start + k / WIDTH]);
}

fn finish(sample: u32, step: u32, unit: u32, products: array<Element, PRODUCTS>) {
    result[sample * params.size + unit] = products[0];
}
// end operands

var<workgroup> sums: array<Element, THREADS * ROWS * SAMPLES>;

fn weight_at(row: u32, column: u32, count: u32) -> Element {
    // The last four rows of a width of 1 may be fewer.
    if WIDTH == 1u && row >= count { return Element(); }
    return weight[row * stride() + column];
}

// Four rows, of a column that is never past the last: of those past it the sums are not used.
fn weights(row: u32, column: u32, count: u32) -> Weights {
    let c = min(column, stride() - 1u);
    return Weights(weight_at(row, c, count), weight_at(row + 1u, c, count),
        weight_at(row + 2u, c, count), weight_at(row + 3u, c, count));
}

// Adds up products of an invocation's rows into `sums`.
fn multiply(lane: u32, first_sample: u32, step: u32, column: u32) {
    let count = rows(step);
    // Past the last sequence any will do, too.
    let last = params.batch - 1u;
    var starts: array<u32, SAMPLES>;
    for (var i = 0u; i < SAMPLES; i++) { // unroll
        starts[i] = place(min(first_sample + i, last), step);
    }
    let between = apart();
    // By rows, and of each by four sequences.
    var parts: array<Weights, ROWS * VECTORS>;
    for (var k = lane / LANES * 4u; k < count; k += SPLIT * 4u) {
        var seen: array<mat4x4<f32>, VECTORS>;
        for (var i = 0u; i < SAMPLES; i++) { // unroll
            seen[i / 4u][i % 4u] = state(starts[i], k);
        }
        for (var row = 0u; row < ROWS; row++) { // unroll
            let w = weights(k, column + row * between, count);
            for (var i = 0u; i < VECTORS; i++) { // unroll
                parts[row * VECTORS + i] += w * seen[i];
            }
        }
    }
    for (var i = 0u; i < ROWS * VECTORS; i++) { // unroll
        for (var r = 0u; r < 4u; r++) { // unroll
            sums[(i * 4u + r) * THREADS + lane] = parts[i][r];
        }
    }
}

// The product of a row, of sequence `sample` of the workgroup's.
fn product(row: u32, sample: u32, column: u32) -> Element {
    let start = (row * SAMPLES + sample) * THREADS + column;
    var sum = sums[start];
    for (var part = 1u; part < SPLIT; part++) {
        sum += sums[start + part * LANES];
    }
    return sum;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    let first_sample = number / params.runs * SAMPLES;
    if first_sample >= params.batch { return; }
    let first_unit = number % params.runs * params.units;
    let end_unit = min(first_unit + params.units, params.size);
    // What `finish` is called for: a unit of a column, a sequence, and where it takes one product of them the rows.
    const CALLS = ROWS / PRODUCTS;
    for (var step = params.begin; step < params.end; step++) {
        for (var base = first_unit; base < end_unit; base += LANES * CALLS) {
            multiply(lane, first_sample, step, base + lane % LANES);
            workgroupBarrier();
            for (var i = lane; i < LANES * CALLS * SAMPLES; i += THREADS) {
                let column = i % LANES;
                let row = i / LANES % CALLS;
                let sample = i / (LANES * CALLS);
                let unit = base + row * LANES + column;
                if unit < end_unit && first_sample + sample < params.batch {
                    var products: array<Element, PRODUCTS>;
                    products[0] = product(row, sample, column);
                    if PRODUCTS > 1u { products[1u % PRODUCTS] = product(1u, sample, column); }
                    if PRODUCTS > 2u { products[2u % PRODUCTS] = product(2u, sample, column); }
                    if PRODUCTS > 3u { products[3u % PRODUCTS] = product(3u, sample, column); }
                    finish(first_sample + sample, step, unit, products);
                }
            }
            workgroupBarrier();
        }
        // What was written is read in the next step.
        storageBarrier();
    }
}
