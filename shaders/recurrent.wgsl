// The steps of a recurrent network, from the first one on.

// import: recurrent_steps

// 0: RNN with tanh, 1: RNN with relu, 2: LSTM, 3: GRU.
const CELL: u32 = 2u;
const GATES: u32 = 4u;
const REVERSE: bool = false;
// Whether a dispatch is of the first step alone, or of none but others: the state before is in another buffer then,
// and to look into both takes longer.
const FIRST: bool = false;
// Four neighbouring units, or one where their number is no multiple of 4.
alias Element = vec4<f32>;
alias Bits = vec4<u32>;
const WIDTH: u32 = 4u;
const LANES: u32 = 16u;
const ROWS: u32 = GATES;
const PRODUCTS: u32 = GATES;

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
    // What is saved for the gradient at each place of a sequence, or 0.
    saved: u32,
    // Where the cells and what is saved begin in the result.
    cells_start: u32,
    saved_start: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
// [batch, steps, GATES * size]
@group(0) @binding(1) var<storage, read> input: array<Element>;
// [batch, size]
@group(0) @binding(2) var<storage, read> initial: array<Element>;
// [size, GATES * size]
@group(0) @binding(3) var<storage, read> weight: array<Element>;
@group(0) @binding(4) var<storage, read> bias: array<Element>;
// [batch, size] of an LSTM
@group(0) @binding(5) var<storage, read> initial_cells: array<Element>;
// The outputs [batch, steps, size], an LSTM's cells [batch, size], what is saved [batch, steps, saved].
@group(0) @binding(6) var<storage, read_write> result: array<Element>;

// As in elementwise.wgsl.
fn tanh_f32(a: Element) -> Element {
    let s = a * a;
    let small = a * (1.0 + s * (-0.33333333 + s * (0.13333333 + s * (-0.053968254 + s * 0.021869488))));
    let e = exp(2.0 * min(abs(a), Element(10.0)));
    let large = sign(a) * (1.0 - 2.0 / (e + 1.0));
    let is_nan = (bitcast<Bits>(a) & Bits(0x7fffffffu)) > Bits(0x7f800000u);
    return select(select(large, small, abs(a) < Element(0.15)), a, is_nan);
}

fn sigmoid(a: Element) -> Element {
    return 1.0 / (1.0 + exp(-a));
}

// The place in the sequence of a step.
fn time(step: u32) -> u32 {
    if REVERSE { return params.steps - 1u - step; }
    return step;
}

fn rows(step: u32) -> u32 {
    return params.size * WIDTH;
}

fn stride() -> u32 {
    return params.size * GATES;
}

fn apart() -> u32 {
    return params.size;
}

// Where the state before a step begins.
fn place(sample: u32, step: u32) -> u32 {
    if FIRST { return sample * params.size; }
    return (sample * params.steps + time(step - 1u)) * params.size;
}

fn state_at(at: u32) -> Element {
    if FIRST { return initial[at]; }
    return result[at];
}

// Four units of it. What is past the last one is multiplied by zero.
fn state(start: u32, k: u32) -> vec4<f32> {
    let at = start + k / WIDTH;
    if WIDTH > 1u { return vec4<f32>(state_at(at)); }
    let left = params.size - k;
    return vec4<f32>(
        vec4<f32>(state_at(at)).x, vec4<f32>(state_at(at + min(1u, left - 1u))).x,
        vec4<f32>(state_at(at + min(2u, left - 1u))).x, vec4<f32>(state_at(at + min(3u, left - 1u))).x);
}

// The state after a step, from the products with the state before.
fn finish(sample: u32, step: u32, unit: u32, products: array<Element, PRODUCTS>) {
    let spot = sample * params.steps + time(step);
    let size = params.size;
    let start = spot * GATES * size + unit;
    let output = spot * size + unit;
    let x_0 = input[start];
    let p_0 = products[0] + bias[unit];
    if CELL == 0u {
        result[output] = tanh_f32(x_0 + p_0);
        return;
    }
    if CELL == 1u {
        let value = x_0 + p_0;
        result[output] = select(value, Element(), value < Element());
        return;
    }
    let x_1 = input[start + size];
    let x_2 = input[start + 2u * size];
    let p_1 = products[1u % PRODUCTS] + bias[unit + size];
    let p_2 = products[2u % PRODUCTS] + bias[unit + 2u * size];
    // What is saved: the cell or state before, and four values.
    var old: Element;
    var a: Element;
    var b: Element;
    var c: Element;
    var d: Element;
    if CELL == 2u {
        let cell = params.cells_start + sample * size + unit;
        if FIRST {
            old = initial_cells[sample * size + unit];
        } else {
            old = result[cell];
        }
        a = sigmoid(x_0 + p_0);
        b = sigmoid(x_1 + p_1);
        c = tanh_f32(x_2 + p_2);
        d = sigmoid(input[start + 3u * size] + products[3u % PRODUCTS] + bias[unit + 3u * size]);
        let new_cell = b * old + a * c;
        result[cell] = new_cell;
        result[output] = d * tanh_f32(new_cell);
    } else {
        old = state_at(place(sample, step) + unit);
        a = sigmoid(x_0 + p_0);
        b = sigmoid(x_1 + p_1);
        c = tanh_f32(x_2 + a * p_2);
        d = p_2;
        result[output] = c + b * (old - c);
    }
    if params.saved > 0u {
        let saved = params.saved_start + spot * params.saved + unit;
        result[saved] = old;
        result[saved + size] = a;
        result[saved + 2u * size] = b;
        result[saved + 3u * size] = c;
        result[saved + 4u * size] = d;
    }
}
