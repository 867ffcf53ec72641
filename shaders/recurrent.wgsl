// The steps of a recurrent network. A workgroup computes a run of units, of all gates, for 4 * VECTORS
// sequences, and every invocation some units: there, each element of the weight that is read
// serves all these sequences. The state before a step lies in workgroup memory, a part at a time.
//
// Where a dispatch has several steps the workgroup computes all units, since it reads what it wrote
// in the step before.

// 0: RNN with tanh, 1: RNN with relu, 2: LSTM, 3: GRU.
const CELL: u32 = 2u;
const GATES: u32 = 4u;
const THREADS: u32 = 256u;
const VECTORS: u32 = 2u;
const REVERSE: bool = false;
// Units of the state in workgroup memory.
const PART: u32 = 256u;

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
    // Elements saved for the gradient at each place of a sequence, or 0.
    saved: u32,
    // Where the cells and what is saved begin in the result.
    cells_start: u32,
    saved_start: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
// [batch, steps, GATES * size]
@group(0) @binding(1) var<storage, read> input: array<f32>;
// [batch, size]
@group(0) @binding(2) var<storage, read> initial: array<f32>;
// [size, GATES * size]
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
// [batch, size] of an LSTM
@group(0) @binding(5) var<storage, read> initial_cells: array<f32>;
// The outputs [batch, steps, size], an LSTM's cells [batch, size], what is saved [batch, steps, saved].
@group(0) @binding(6) var<storage, read_write> result: array<f32>;

var<workgroup> before: array<vec4<f32>, VECTORS * PART>;

fn is_nan(a: f32) -> bool {
    return (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u;
}

// As in elementwise.wgsl.
fn tanh_f32(a: f32) -> f32 {
    if is_nan(a) { return a; }
    if abs(a) < 0.15 {
        let s = a * a;
        return a * (1.0 + s * (-0.33333333 + s * (0.13333333 + s * (-0.053968254 + s * 0.021869488))));
    }
    let e = exp(2.0 * min(abs(a), 10.0));
    return sign(a) * (1.0 - 2.0 / (e + 1.0));
}

fn sigmoid(a: f32) -> f32 {
    return 1.0 / (1.0 + exp(-a));
}

// The place in the sequence of a step.
fn time(step: u32) -> u32 {
    if REVERSE { return params.steps - 1u - step; }
    return step;
}

fn state_before(sample: u32, step: u32, unit: u32) -> f32 {
    if sample >= params.batch || unit >= params.size { return 0.0; }
    if step == 0u { return initial[sample * params.size + unit]; }
    return result[(sample * params.steps + time(step - 1u)) * params.size + unit];
}

// The state after a step, from the products with the state before.
fn finish(sample: u32, step: u32, unit: u32, products: array<f32, GATES>) {
    if sample >= params.batch { return; }
    let place = sample * params.steps + time(step);
    let size = params.size;
    var x: array<f32, GATES>;
    var p = products;
    for (var gate = 0u; gate < GATES; gate++) {
        x[gate] = input[(place * GATES + gate) * size + unit];
        p[gate] += bias[gate * size + unit];
    }
    let output = place * size + unit;
    if CELL == 0u {
        result[output] = tanh_f32(x[0] + p[0]);
    } else if CELL == 1u {
        let value = x[0] + p[0];
        result[output] = select(value, 0.0, value < 0.0);
    } else {
        // What is saved: the cell or state before, and four values.
        var old: f32;
        var kept: vec4<f32>;
        if CELL == 2u {
            let cell = params.cells_start + sample * size + unit;
            if step == 0u {
                old = initial_cells[sample * size + unit];
            } else {
                old = result[cell];
            }
            kept = vec4(sigmoid(x[0] + p[0]), sigmoid(x[1 % GATES] + p[1 % GATES]),
                tanh_f32(x[2 % GATES] + p[2 % GATES]), sigmoid(x[3 % GATES] + p[3 % GATES]));
            let new_cell = kept.y * old + kept.x * kept.z;
            result[cell] = new_cell;
            result[output] = kept.w * tanh_f32(new_cell);
        } else {
            old = state_before(sample, step, unit);
            let r = sigmoid(x[0] + p[0]);
            let z = sigmoid(x[1 % GATES] + p[1 % GATES]);
            let n = tanh_f32(x[2 % GATES] + r * p[2 % GATES]);
            kept = vec4(r, z, n, p[2 % GATES]);
            result[output] = n + z * (old - n);
        }
        if params.saved > 0u {
            let start = params.saved_start + place * params.saved + unit;
            result[start] = old;
            for (var i = 0u; i < 4u; i++) {
                result[start + (i + 1u) * size] = kept[i];
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
    let number = group.x + group.y * groups.x;
    let first_sample = number / params.runs * (4u * VECTORS);
    if first_sample >= params.batch { return; }
    let size = params.size;
    let first_unit = number % params.runs * params.units;
    let end_unit = min(first_unit + params.units, size);
    for (var step = params.begin; step < params.end; step++) {
        for (var base = first_unit; base < end_unit; base += THREADS) {
            let unit = base + lane;
            // Of sequences 0 to 3, and 4 to 7.
            var low: array<vec4<f32>, GATES>;
            var high: array<vec4<f32>, GATES>;
            for (var gate = 0u; gate < GATES; gate++) {
                low[gate] = vec4(0.0);
                high[gate] = vec4(0.0);
            }
            for (var start = 0u; start < size; start += PART) {
                workgroupBarrier();
                for (var i = lane; i < VECTORS * PART; i += THREADS) {
                    let sample = first_sample + i / PART * 4u;
                    let k = start + i % PART;
                    before[i % PART * VECTORS + i / PART] = vec4(
                        state_before(sample, step, k), state_before(sample + 1u, step, k),
                        state_before(sample + 2u, step, k), state_before(sample + 3u, step, k));
                }
                workgroupBarrier();
                if unit < end_unit {
                    let count = min(PART, size - start);
                    for (var k = 0u; k < count; k++) {
                        let row = (start + k) * GATES * size + unit;
                        for (var gate = 0u; gate < GATES; gate++) {
                            let factor = vec4(weight[row + gate * size]);
                            low[gate] = fma(factor, before[k * VECTORS], low[gate]);
                            if VECTORS > 1u {
                                high[gate] = fma(factor, before[k * VECTORS + VECTORS - 1u], high[gate]);
                            }
                        }
                    }
                }
            }
            if unit < end_unit {
                var x: array<f32, GATES>;
                var y: array<f32, GATES>;
                var z: array<f32, GATES>;
                var w: array<f32, GATES>;
                for (var gate = 0u; gate < GATES; gate++) {
                    x[gate] = low[gate].x;
                    y[gate] = low[gate].y;
                    z[gate] = low[gate].z;
                    w[gate] = low[gate].w;
                }
                finish(first_sample, step, unit, x);
                finish(first_sample + 1u, step, unit, y);
                finish(first_sample + 2u, step, unit, z);
                finish(first_sample + 3u, step, unit, w);
                if VECTORS > 1u {
                    for (var gate = 0u; gate < GATES; gate++) {
                        x[gate] = high[gate].x;
                        y[gate] = high[gate].y;
                        z[gate] = high[gate].z;
                        w[gate] = high[gate].w;
                    }
                    finish(first_sample + 4u, step, unit, x);
                    finish(first_sample + 5u, step, unit, y);
                    finish(first_sample + 6u, step, unit, z);
                    finish(first_sample + 7u, step, unit, w);
                }
            }
        }
        // What was written is read in the next step.
        storageBarrier();
    }
}
