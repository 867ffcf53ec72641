// Convolution with filters that see one channel each, and its two gradients: directly, since the sums of a matrix
// product would be as short as a filter.
//
//   OF  computes              from the source            and the other
//   0   gradient of input     the output's gradient      weight
//   1   gradient of weight    images                     the output's gradient
//   2   output                images                     weight
//
// An invocation has blocks of ROWS x 4 places of the images in role 0, else of the output. Of the source a block
// sees SPAN_Y x SPAN_X places, which it reads row by row and each once; which tap meets which of them is known
// before the kernel runs.

const OF: u32 = 2u;
const WEIGHT: bool = false;
const KERNEL_Y: i32 = 3;
const KERNEL_X: i32 = 3;
const STRIDE_Y: i32 = 1;
const STRIDE_X: i32 = 1;
const PADDING_Y: i32 = 1;
const PADDING_X: i32 = 1;
const DILATION_Y: i32 = 1;
const DILATION_X: i32 = 1;
// From the source's place for the first place of a block (that of its window, in role 0 that over the stride) to
// the first one seen, and how many are seen.
const MIN_Y: i32 = -1;
const MIN_X: i32 = -1;
const SPAN_Y: u32 = 6u;
const SPAN_X: u32 = 6u;
// Whether the source is read in aligned vectors, the first of which begins SHIFT before the first place seen.
const VECTORS: bool = true;
const SHIFT: u32 = 3u;
const WINDOW: u32 = 12u;
// Whether the source and the other hold halves, two in a word.
const SOURCE_HALF: bool = false;
const OTHER_HALF: bool = false;
// Whether rows of the blocks' tensor are whole vectors.
const ROW_VECTORS: bool = true;
const LANES: u32 = 64u;
// Whether a workgroup adds up the gradient of a weight; otherwise each invocation writes its part.
const WORKGROUP_MEMORY: bool = true;

const ROWS: u32 = 4u;
const TAPS_X: u32 = 3u;
const TAPS: u32 = 9u;
const NEXT: vec4<i32> = vec4(0, 1, 2, 3);

struct Params {
    // Height and width of the source's planes, and of the planes of blocks.
    source: vec2<u32>,
    size: vec2<u32>,
    // Blocks of a plane.
    blocks: vec2<u32>,
    // Planes of blocks; channels of an image and filters of each.
    planes: u32,
    channels: u32,
    filters: u32,
    // Workgroups for each filter's gradient.
    splits: u32,
    // finish
}

@group(0) @binding(0) var<uniform> params: Params;
// Each buffer once by word and once by vector.
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read> source4: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> other: array<u32>;
@group(0) @binding(4) var<storage, read> other4: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;
@group(0) @binding(6) var<storage, read_write> result4: array<vec4<f32>>;

fn source_at(place: u32) -> f32 {
    if SOURCE_HALF {
        return unpack2x16float(source[place / 2u])[place % 2u];
    }
    return bitcast<f32>(source[place]);
}

fn source_four(four: u32) -> vec4<f32> {
    if SOURCE_HALF {
        return vec4(unpack2x16float(source[2u * four]), unpack2x16float(source[2u * four + 1u]));
    }
    return bitcast<vec4<f32>>(source4[four]);
}

fn other_at(place: u32) -> f32 {
    if OTHER_HALF {
        return unpack2x16float(other[place / 2u])[place % 2u];
    }
    return bitcast<f32>(other[place]);
}

// What a block sees of one row of the source, and a zero.
var<private> window: array<f32, WINDOW + 1u>;

// Reads row number `row` of the window of a block of a plane.
fn read_row(plane: u32, block: vec2<u32>, row: u32) {
    let size = params.source;
    let rows_on = select(i32(block.x * ROWS) * STRIDE_Y, i32(block.x * ROWS) / STRIDE_Y, OF == 0u);
    let y = u32(rows_on + MIN_Y + i32(row));
    let start = (plane * size.x + y) * size.y;
    let on = select(i32(block.y * 4u) * STRIDE_X, i32(block.y * 4u) / STRIDE_X, OF == 0u) + MIN_X;
    // if: VECTORS
    for (var i = 0u; i < WINDOW / 4u; i++) { // unroll
        let x = u32(on - i32(SHIFT)) + 4u * i;
        let inside = y < size.x && x < size.y;
        let four = select(vec4(0.0), source_four(select(0u, (start + x) / 4u, inside)), inside);
        for (var j = 0u; j < 4u; j++) { // unroll
            window[4u * i + j] = four[j];
        }
    }
    // end if
    // if: !VECTORS
    for (var i = 0u; i < WINDOW; i++) { // unroll
        let x = u32(on) + i;
        let inside = y < size.x && x < size.y;
        window[i] = select(0.0, source_at(select(0u, start + x, inside)), inside);
    }
    // end if
    window[WINDOW] = 0.0;
}

// The plane and the block of a number.
fn place_of(number: u32) -> vec3<u32> {
    let row = number / params.blocks.y;
    return vec3(row / params.blocks.x, row % params.blocks.x, number % params.blocks.y);
}

// begin finish
fn finish(place: u32, value: f32) -> f32 {
    return value;
}

fn finish4(place: u32, values: vec4<f32>) -> vec4<f32> {
    return values;
}
// end finish

// if: !WEIGHT
fn store(plane: u32, y: u32, x: u32, values: vec4<f32>) {
    let place = (plane * params.size.x + y) * params.size.y + x;
    if ROW_VECTORS {
        result4[place / 4u] = finish4(place, values);
        return;
    }
    for (var i = 0u; i < 4u; i++) { // unroll
        if x + i < params.size.y {
            result[place + i] = finish(place + i, values[i]);
        }
    }
}

// One block.
fn block(number: u32) {
    let at = place_of(number);
    if at.x >= params.planes {
        return;
    }
    // In role 0 a plane is a channel, which all its filters have seen; else it is what one filter makes.
    let seen_by = select(1u, params.filters, OF == 0u);
    var sums: array<vec4<f32>, ROWS>;
    for (var i = 0u; i < seen_by; i++) {
        let filter_ = at.x % (params.channels * params.filters / seen_by) * seen_by + i;
        var weight: array<f32, TAPS>;
        for (var tap = 0u; tap < TAPS; tap++) { // unroll
            weight[tap] = other_at(filter_ * TAPS + tap);
        }
        let plane = select(at.x / params.filters, at.x * seen_by + i, OF == 0u);
        for (var t = 0u; t < SPAN_Y; t++) { // unroll
            read_row(plane, at.yz, t);
            for (var r = 0u; r < ROWS; r++) { // unroll
                let far = select(i32(t) - i32(r) * STRIDE_Y, i32(r) + PADDING_Y - STRIDE_Y * (i32(t) + MIN_Y), OF == 0u);
                let y = min(max(far, 0) / DILATION_Y, KERNEL_Y - 1);
                if far == y * DILATION_Y {
                    for (var x = 0u; x < TAPS_X; x++) { // unroll
                        let steps = NEXT + PADDING_X - i32(x) * DILATION_X - STRIDE_X * MIN_X;
                        let met = select(vec4(i32(WINDOW)), i32(SHIFT) + steps / STRIDE_X, steps % STRIDE_X == vec4(0));
                        let at = select(i32(SHIFT) + NEXT * STRIDE_X + i32(x) * DILATION_X, met, OF == 0u);
                        let seen = vec4(window[at.x], window[at.y], window[at.z], window[at.w]);
                        sums[r] = fma(vec4(weight[u32(y) * TAPS_X + x]), seen, sums[r]);
                    }
                }
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) { // unroll
        let y = at.y * ROWS + r;
        if y < params.size.x {
            store(at.x, y, at.z * 4u, sums[r]);
        }
    }
}
// end if

// if: WEIGHT
// if: WORKGROUP_MEMORY
var<workgroup> parts: array<f32, TAPS * LANES>;
// end if

// Four of a row of the output's gradient.
fn upstream(plane: u32, y: u32, x: u32) -> vec4<f32> {
    let size = params.size;
    let place = (plane * size.x + y) * size.y + x;
    if y >= size.x {
        return vec4(0.0);
    }
    if ROW_VECTORS && OTHER_HALF {
        return vec4(unpack2x16float(other[place / 2u]), unpack2x16float(other[place / 2u + 1u]));
    }
    if ROW_VECTORS {
        return bitcast<vec4<f32>>(other4[place / 4u]);
    }
    var values: vec4<f32>;
    for (var i = 0u; i < 4u; i++) { // unroll
        let inside = x + i < size.y;
        values[i] = select(0.0, other_at(select(0u, place + i, inside)), inside);
    }
    return values;
}

// The gradient of a filter, by one of the workgroups for it.
fn gradient(number: u32, lane: u32) {
    let filters = params.channels * params.filters;
    let filter_ = number / params.splits;
    if filter_ >= filters {
        return;
    }
    var part = number % params.splits * LANES + lane;
    var sums: array<f32, TAPS>;
    // A plane here is an image.
    let count = params.planes * params.blocks.x * params.blocks.y;
    for (var i = part; i < count; i += params.splits * LANES) {
        let at = place_of(i);
        var rows: array<vec4<f32>, ROWS>;
        for (var r = 0u; r < ROWS; r++) { // unroll
            rows[r] = upstream(at.x * filters + filter_, at.y * ROWS + r, at.z * 4u);
        }
        for (var t = 0u; t < SPAN_Y; t++) { // unroll
            read_row(at.x * params.channels + filter_ / params.filters, at.yz, t);
            for (var r = 0u; r < ROWS; r++) { // unroll
                let far = select(i32(t) - i32(r) * STRIDE_Y, i32(r) + PADDING_Y - STRIDE_Y * (i32(t) + MIN_Y), OF == 0u);
                let y = min(max(far, 0) / DILATION_Y, KERNEL_Y - 1);
                if far == y * DILATION_Y {
                    for (var x = 0u; x < TAPS_X; x++) { // unroll
                        let steps = NEXT + PADDING_X - i32(x) * DILATION_X - STRIDE_X * MIN_X;
                        let met = select(vec4(i32(WINDOW)), i32(SHIFT) + steps / STRIDE_X, steps % STRIDE_X == vec4(0));
                        let at = select(i32(SHIFT) + NEXT * STRIDE_X + i32(x) * DILATION_X, met, OF == 0u);
                        let seen = vec4(window[at.x], window[at.y], window[at.z], window[at.w]);
                        sums[u32(y) * TAPS_X + x] += dot(rows[r], seen);
                    }
                }
            }
        }
    }
    // if: WORKGROUP_MEMORY
    for (var tap = 0u; tap < TAPS; tap++) { // unroll
        parts[tap * LANES + lane] = sums[tap];
    }
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            for (var tap = 0u; tap < TAPS; tap++) { // unroll
                sums[tap] += parts[tap * LANES + lane + half];
                parts[tap * LANES + lane] = sums[tap];
            }
        }
    }
    if lane > 0u {
        return;
    }
    part = number % params.splits;
    // end if
    for (var tap = 0u; tap < TAPS; tap++) { // unroll
        result[(part * filters + filter_) * TAPS + tap] = sums[tap];
    }
}
// end if

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = group.x + group.y * groups.x;
    // if: WEIGHT
    gradient(number, lane);
    // end if
    // if: !WEIGHT
    block(number * LANES + lane);
    // end if
}
