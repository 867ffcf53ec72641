// Back through the steps of a recurrent network: as recurrent.wgsl, from the last step to the first
// and on to the initial state. The gradients of the products with the state, of the step after, lie in
// workgroup memory, a part at a time.

// 0: RNN with tanh, 1: RNN with relu, 2: LSTM, 3: GRU.
const CELL: u32 = 2u;
const GATES: u32 = 4u;
const THREADS: u32 = 256u;
const VECTORS: u32 = 2u;
const REVERSE: bool = false;
// Units of an invocation, THREADS apart.
const UNITS: u32 = 4u;
// Gradients in workgroup memory for each sequence.
const PART: u32 = 256u;

struct Params {
    batch: u32,
    steps: u32,
    size: u32,
    // Units of a run, and the number of runs.
    units: u32,
    runs: u32,
    // The steps of this dispatch, counted from the last one of the sequence.
    begin: u32,
    end: u32,
    // Elements saved at each place of a sequence.
    saved: u32,
    // Where the cells begin in the states and their gradient, and what is saved in what was packed.
    cells_start: u32,
    saved_start: u32,
    // Where the gradient of the initial state begins in the result.
    initial_start: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
// What recurrent.wgsl wrote.
@group(0) @binding(1) var<storage, read> packed: array<f32>;
// Of the outputs [batch, steps, size] and an LSTM's last cells [batch, size].
@group(0) @binding(2) var<storage, read> upstream: array<f32>;
// [GATES * size, size]
@group(0) @binding(3) var<storage, read> weight: array<f32>;
// The gradients of the products [batch, steps, GATES * size], of the initial state [batch, size], and
// of an LSTM's cells [batch, size] or a GRU's inputs, as the products. Before the end the second
// holds what reaches a GRU's state past the product, and the third what reaches the cell.
@group(0) @binding(4) var<storage, read_write> result: array<f32>;

var<workgroup> after: array<vec4<f32>, VECTORS * PART>;

// Within 1e-7 of the tangent; here only differences of about 1 count.
fn tangent(a: f32) -> f32 {
    let e = exp(-2.0 * abs(a));
    return sign(a) * (1.0 - e) / (1.0 + e);
}

// The place in the sequence of a step, counted from the last one.
fn time(step: u32) -> u32 {
    if REVERSE { return step; }
    return params.steps - 1u - step;
}

fn product_after(sample: u32, step: u32, column: u32) -> f32 {
    let width = GATES * params.size;
    if sample >= params.batch || column >= width { return 0.0; }
    return result[(sample * params.steps + time(step - 1u)) * width + column];
}

// The gradients of a step from that of its state through the product after it.
fn finish(sample: u32, step: u32, unit: u32, through: f32) {
    if sample >= params.batch { return; }
    let size = params.size;
    let own = params.initial_start + sample * size + unit;
    var state = through;
    if CELL == 3u && step > 0u {
        state += result[own];
    }
    if step == params.steps {
        result[own] = state;
        return;
    }
    let place = sample * params.steps + time(step);
    state += upstream[place * size + unit];
    let products = place * GATES * size + unit;
    if CELL < 2u {
        let h = packed[place * size + unit];
        if CELL == 0u {
            result[products] = state * (1.0 - h * h);
        } else {
            result[products] = select(0.0, state, h > 0.0);
        }
        return;
    }
    let start = params.saved_start + place * params.saved + unit;
    let old = packed[start];
    let a = packed[start + size];
    let b = packed[start + 2u * size];
    let c = packed[start + 3u * size];
    let d = packed[start + 4u * size];
    if CELL == 2u {
        let at = params.initial_start + (params.batch + sample) * size + unit;
        let t = tangent(b * old + a * c);
        var cell = state * d * (1.0 - t * t);
        if step == 0u {
            cell += upstream[params.cells_start + sample * size + unit];
        } else {
            cell += result[at];
        }
        result[products] = cell * c * a * (1.0 - a);
        result[products + size] = cell * old * b * (1.0 - b);
        result[products + 2u * size] = cell * a * (1.0 - c * c);
        result[products + 3u * size] = state * t * d * (1.0 - d);
        result[at] = cell * b;
    } else {
        let n = state * (1.0 - b) * (1.0 - c * c);
        let r = n * d * a * (1.0 - a);
        let z = state * (old - c) * b * (1.0 - b);
        let inputs = params.initial_start + params.batch * size + products;
        result[products] = r;
        result[products + size] = z;
        result[products + 2u * size] = n * a;
        result[inputs] = r;
        result[inputs + size] = z;
        result[inputs + 2u * size] = n;
        result[own] = state * b;
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    let first_sample = number / params.runs * (4u * VECTORS);
    if first_sample >= params.batch { return; }
    let size = params.size;
    let width = GATES * size;
    let first_unit = number % params.runs * params.units;
    let end_unit = min(first_unit + params.units, size);
    for (var step = params.begin; step < params.end; step++) {
        for (var base = first_unit; base < end_unit; base += UNITS * THREADS) {
            let unit = base + lane;
            // Of sequences 0 to 3, and 4 to 7.
            var low: array<vec4<f32>, UNITS>;
            var high: array<vec4<f32>, UNITS>;
            for (var i = 0u; i < UNITS; i++) {
                low[i] = vec4(0.0);
                high[i] = vec4(0.0);
            }
            // There is no step after the last one.
            let columns = select(width, 0u, step == 0u);
            for (var start = 0u; start < columns; start += PART) {
                workgroupBarrier();
                for (var i = lane; i < VECTORS * PART; i += THREADS) {
                    let sample = first_sample + i / PART * 4u;
                    let k = start + i % PART;
                    after[i % PART * VECTORS + i / PART] = vec4(
                        product_after(sample, step, k), product_after(sample + 1u, step, k),
                        product_after(sample + 2u, step, k), product_after(sample + 3u, step, k));
                }
                workgroupBarrier();
                let count = min(PART, columns - start);
                for (var k = 0u; k < count; k++) {
                    let row = (start + k) * size;
                    let a = after[k * VECTORS];
                    let b = after[k * VECTORS + VECTORS - 1u];
                    for (var i = 0u; i < UNITS; i++) {
                        // Past the last unit any will do: the sum is not used.
                        let factor = vec4(weight[row + min(unit + i * THREADS, size - 1u)]);
                        low[i] = fma(factor, a, low[i]);
                        if VECTORS > 1u {
                            high[i] = fma(factor, b, high[i]);
                        }
                    }
                }
            }
            for (var i = 0u; i < UNITS; i++) {
                let own = unit + i * THREADS;
                if own < end_unit {
                    finish(first_sample, step, own, low[i].x);
                    finish(first_sample + 1u, step, own, low[i].y);
                    finish(first_sample + 2u, step, own, low[i].z);
                    finish(first_sample + 3u, step, own, low[i].w);
                    if VECTORS > 1u {
                        finish(first_sample + 4u, step, own, high[i].x);
                        finish(first_sample + 5u, step, own, high[i].y);
                        finish(first_sample + 6u, step, own, high[i].z);
                        finish(first_sample + 7u, step, own, high[i].w);
                    }
                }
            }
        }
        // What was written is read in the next step.
        storageBarrier();
    }
}
