// Back through the steps of a recurrent network, from the last step to the first and on to the initial
// state: the products are of the gradients of the step after.

// import: recurrent_steps

// 0: RNN with tanh, 1: RNN with relu, 2: LSTM, 3: GRU.
const CELL: u32 = 2u;
const GATES: u32 = 4u;
const REVERSE: bool = false;
// Four neighbouring units, or one where their number is no multiple of 4.
alias Element = vec4<f32>;
const WIDTH: u32 = 4u;
const LANES: u32 = 4u;
const ROWS: u32 = 4u;
const PRODUCTS: u32 = 1u;

// Counted in elements but for the first two.
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
    // What is saved at each place of a sequence.
    saved: u32,
    // Where the cells begin in the states and their gradient, and what is saved in what was packed.
    cells_start: u32,
    saved_start: u32,
    // Where the gradient of the initial state begins in the result.
    initial_start: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
// What recurrent.wgsl wrote.
@group(0) @binding(1) var<storage, read> packed: array<Element>;
// Of the outputs [batch, steps, size] and an LSTM's last cells [batch, size].
@group(0) @binding(2) var<storage, read> upstream: array<Element>;
// [GATES * size, size]
@group(0) @binding(3) var<storage, read> weight: array<Element>;
// The gradients of the products [batch, steps, GATES * size], of the initial state [batch, size], and
// of an LSTM's cells [batch, size] or a GRU's inputs, as the products. Before the end the second
// holds what reaches a GRU's state past the product, and the third what reaches the cell.
@group(0) @binding(4) var<storage, read_write> result: array<Element>;

// Within 1e-7 of the tangent; here only differences of about 1 count.
fn tangent(a: Element) -> Element {
    let e = exp(-2.0 * abs(a));
    return sign(a) * (1.0 - e) / (1.0 + e);
}

// The place in the sequence of a step, counted from the last one.
fn time(step: u32) -> u32 {
    if REVERSE { return step; }
    return params.steps - 1u - step;
}

// There is no step after the last one.
fn rows(step: u32) -> u32 {
    return select(GATES * params.size * WIDTH, 0u, step == 0u);
}

fn stride() -> u32 {
    return params.size;
}

fn apart() -> u32 {
    return LANES;
}

// Where the gradients of the step after begin.
fn place(sample: u32, step: u32) -> u32 {
    return (sample * params.steps + time(step - 1u)) * GATES * params.size;
}

// Four of them. What is past the last one is multiplied by zero.
fn state(start: u32, k: u32) -> vec4<f32> {
    let at = start + k / WIDTH;
    if WIDTH > 1u { return vec4<f32>(result[at]); }
    let left = GATES * params.size - k;
    return vec4<f32>(
        vec4<f32>(result[at]).x, vec4<f32>(result[at + min(1u, left - 1u)]).x,
        vec4<f32>(result[at + min(2u, left - 1u)]).x, vec4<f32>(result[at + min(3u, left - 1u)]).x);
}

// The gradients of a step from that of its state through the product after it.
fn finish(sample: u32, step: u32, unit: u32, through: array<Element, PRODUCTS>) {
    let size = params.size;
    let own = params.initial_start + sample * size + unit;
    var gradient = through[0];
    if CELL == 3u && step > 0u {
        gradient += result[own];
    }
    if step == params.steps {
        result[own] = gradient;
        return;
    }
    let spot = sample * params.steps + time(step);
    gradient += upstream[spot * size + unit];
    let products = spot * GATES * size + unit;
    if CELL < 2u {
        let h = packed[spot * size + unit];
        if CELL == 0u {
            result[products] = gradient * (1.0 - h * h);
        } else {
            result[products] = select(Element(), gradient, h > Element());
        }
        return;
    }
    let start = params.saved_start + spot * params.saved + unit;
    let old = packed[start];
    let a = packed[start + size];
    let b = packed[start + 2u * size];
    let c = packed[start + 3u * size];
    let d = packed[start + 4u * size];
    if CELL == 2u {
        let at = params.initial_start + (params.batch + sample) * size + unit;
        let t = tangent(b * old + a * c);
        var cell = gradient * d * (1.0 - t * t);
        if step == 0u {
            cell += upstream[params.cells_start + sample * size + unit];
        } else {
            cell += result[at];
        }
        result[products] = cell * c * a * (1.0 - a);
        result[products + size] = cell * old * b * (1.0 - b);
        result[products + 2u * size] = cell * a * (1.0 - c * c);
        result[products + 3u * size] = gradient * t * d * (1.0 - d);
        result[at] = cell * b;
    } else {
        let n = gradient * (1.0 - b) * (1.0 - c * c);
        let r = n * d * a * (1.0 - a);
        let z = gradient * (old - c) * b * (1.0 - b);
        let inputs = params.initial_start + params.batch * size + products;
        result[products] = r;
        result[products + size] = z;
        result[products + 2u * size] = n * a;
        result[inputs] = r;
        result[inputs + size] = z;
        result[inputs + 2u * size] = n;
        result[own] = gradient * b;
    }
}
