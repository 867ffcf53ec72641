// Convolution and its two gradients as matrix products of which the windows are never written out:
// the loads find the elements. A group of channels is a batch entry.
//
//   OF  computes              m        n                          k
//   0   gradient of input     channel  image, y, x                filter, tap
//   1   gradient of weight    filter   channel, tap               image, y, x of the output
//   2   output                filter   image, y, x of the output  channel, tap
//
// The other two of input, weight and output (or its gradient) are `first` and `second`. A is the
// weight (in role 0 with its channels last), or in role 1 the output's gradient; B are windows of the input, in role 0 of the output's
// gradient.
// import: CORE = gemm

// Whether the four that are fetched lie along k: right where k is the contiguous dimension.
const A_ALONG_K: bool = true;
const B_ALONG_K: bool = false;
// Whether the first and second input hold halves, two in a word.
const FIRST_HALF: bool = false;
const SECOND_HALF: bool = false;
// Whether the four that are fetched are one aligned vector; of B, whether they lie in a run that
// starts anywhere in a row of aligned vectors. Whether the four that are stored are one.
const A_VECTORS: bool = false;
const B_VECTORS: bool = false;
const C_VECTORS: bool = false;
// Whether the four that are fetched of B, neighbouring places along x, are always in one row.
const B_ROWS: bool = false;

const OF: u32 = 2u;
// Constants, because dividing by a variable is slow.
const KERNEL_Y: u32 = 3u;
const KERNEL_X: u32 = 3u;
const STRIDE_Y: u32 = 1u;
const STRIDE_X: u32 = 1u;
const KERNEL: u32 = KERNEL_Y * KERNEL_X;
// In role 0 the pixels that are this far apart meet the same taps: a phase of them is a batch entry.
const PHASES_Y: u32 = 1u;
const PHASES_X: u32 = 1u;
const PHASES: u32 = PHASES_Y * PHASES_X;
// Taps that a phase meets at most.
const TAPS_Y: u32 = (KERNEL_Y + PHASES_Y - 1u) / PHASES_Y;
const TAPS_X: u32 = (KERNEL_X + PHASES_X - 1u) / PHASES_X;
// Farther than any pixel is, and no place.
const OUTSIDE: u32 = 0x40000000u;
const NOWHERE: u32 = 0xffffffffu;

struct Params {
    // As in gemm.wgsl.
    size: vec4<u32>,
    tiles: vec4<u32>,
    groups: u32,
    // Of one group.
    channels: u32,
    filters: u32,
    image_y: u32,
    image_x: u32,
    output_y: u32,
    output_x: u32,
    padding_y: u32,
    padding_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    // Elements of the result: from one run of a split sum to the next.
    elements: u32,
    // finish
}

@group(0) @binding(0) var<uniform> params: Params;
// Each buffer once by word and once by vector.
@group(0) @binding(1) var<storage, read> first: array<u32>;
@group(0) @binding(2) var<storage, read> first4: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> second: array<u32>;
@group(0) @binding(4) var<storage, read> second4: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;
@group(0) @binding(6) var<storage, read_write> result4: array<vec4<f32>>;

fn first_at(place: u32) -> f32 {
    if FIRST_HALF {
        return unpack2x16float(first[place / 2u])[place % 2u];
    }
    return bitcast<f32>(first[place]);
}

fn second_at(place: u32) -> f32 {
    if SECOND_HALF {
        return unpack2x16float(second[place / 2u])[place % 2u];
    }
    return bitcast<f32>(second[place]);
}

var<private> channel_group: u32;
// The first pixel of a phase, and the first tap that it meets.
var<private> phase: vec2<u32>;
var<private> first_tap: vec2<u32>;

fn start(batch: u32) -> bool {
    channel_group = batch / PHASES;
    // By values of its own, which are known to be the same for all invocations where the batch is.
    let pixel = vec2(batch % PHASES / PHASES_X, batch % PHASES_X);
    let tap = (pixel + vec2(params.padding_y, params.padding_x)) % vec2(PHASES_Y, PHASES_X);
    phase = pixel;
    first_tap = tap;
    return tap.x < KERNEL_Y && tap.y < KERNEL_X;
}

// Image, y and x of pixel n of a phase.
fn pixel_of(n: u32) -> vec3<u32> {
    let rows = (params.image_y + PHASES_Y - 1u) / PHASES_Y;
    let columns = (params.image_x + PHASES_X - 1u) / PHASES_X;
    return split_index(n, rows, columns) * vec3(1u, PHASES_Y, PHASES_X) + vec3(0u, phase);
}

// `index` as (plane, y, x) of planes of these sizes.
fn split_index(index: u32, y: u32, x: u32) -> vec3<u32> {
    let row = index / x;
    return vec3(row / y, row % y, index % x);
}

// A plane of the image tensor and of the output.
fn image_plane(image: u32, channel: u32) -> u32 {
    return ((image * params.groups + channel_group) * params.channels + channel) * params.image_y * params.image_x;
}

fn output_plane(image: u32, filter_: u32) -> u32 {
    return ((image * params.groups + channel_group) * params.filters + filter_) * params.output_y * params.output_x;
}

fn weight_place(filter_: u32, channel_tap: u32) -> u32 {
    return (channel_group * params.filters + filter_) * params.channels * KERNEL + channel_tap;
}

// The place of an element of A is the sum of its row's and what its depth has last.
fn row(m: u32) -> vec4<u32> {
    switch OF {
        case 0u: { return vec4(m, 0u, 0u, 0u); }
        case 1u: { return vec4(output_plane(0u, m), 0u, 0u, 0u); }
        default: { return vec4(weight_place(m, 0u), 0u, 0u, 0u); }
    }
}

// Of B, columns and depths have a place, y and x each. Their sum (in role 0 their difference) is the
// plane and the pixel in it; pixels before the plane wrap around to large numbers.
fn column(n: u32) -> vec4<u32> {
    switch OF {
        case 0u: {
            let pixel = pixel_of(n);
            return vec4(output_plane(pixel.x, 0u), pixel.y + params.padding_y, pixel.z + params.padding_x, 0u);
        }
        case 1u: {
            let tap = split_index(n, KERNEL_Y, KERNEL_X);
            return vec4(image_plane(0u, tap.x), tap.y * params.dilation_y - params.padding_y,
                tap.z * params.dilation_x - params.padding_x, 0u);
        }
        default: {
            let position = split_index(n, params.output_y, params.output_x);
            return vec4(image_plane(position.x, 0u), position.y * STRIDE_Y - params.padding_y,
                position.z * STRIDE_X - params.padding_x, 0u);
        }
    }
}

// The depth of a place in the outputs: image, y and x.
fn depth_of(position: vec3<u32>) -> vec4<u32> {
    let image = position.x * params.groups;
    return vec4(image * params.channels * params.image_y * params.image_x,
        position.y * STRIDE_Y, position.z * STRIDE_X,
        (image * params.filters * params.output_y + position.y) * params.output_x + position.z);
}

fn depth(k: u32) -> vec4<u32> {
    if OF == 1u {
        return depth_of(split_index(k, params.output_y, params.output_x));
    }
    let dilation = vec2(params.dilation_y, params.dilation_x);
    if OF == 0u {
        let number = split_index(k, TAPS_Y, TAPS_X);
        let tap = first_tap + number.yz * vec2(PHASES_Y, PHASES_X);
        let at = select(tap * dilation, vec2(OUTSIDE), tap >= vec2(KERNEL_Y, KERNEL_X));
        let row = (channel_group * params.filters + number.x) * KERNEL + min(tap.x * KERNEL_X + tap.y, KERNEL - 1u);
        return vec4(number.x * params.output_y * params.output_x, at, row * params.channels);
    }
    let tap = split_index(k, KERNEL_Y, KERNEL_X);
    return vec4(tap.x * params.image_y * params.image_x, tap.yz * dilation, k);
}

// The depths of k and the next three, of which those past the last repeat it. Through the outputs it goes in
// steps, which take no divisions.
fn depths(k: u32) -> array<vec4<u32>, 4> {
    var four: array<vec4<u32>, 4>;
    if OF != 1u {
        for (var r = 0u; r < 4u; r++) { // unroll
            four[r] = depth(min(k + r, params.size.z - 1u));
        }
        return four;
    }
    var position = split_index(k, params.output_y, params.output_x);
    for (var r = 0u; r < 4u; r++) { // unroll
        four[r] = depth_of(position);
        let right = position + vec3(0u, 0u, 1u);
        let below = select(right, vec3(right.x, right.y + 1u, 0u), right.z == params.output_x);
        let next = select(below, vec3(below.x + 1u, 0u, 0u), below.y == params.output_y);
        position = select(position, next, k + r + 1u < params.size.z);
    }
    return four;
}

fn a_at(place: u32) -> f32 {
    if OF == 0u { return first_at(place); }
    return second_at(place);
}

fn fetch_a(row: vec4<u32>, m: u32, depth_: vec4<u32>, k: u32) -> vec4<f32> {
    let place = row.x + depth_.w;
    if A_VECTORS {
        if OF == 0u && FIRST_HALF {
            return vec4(unpack2x16float(first[place / 2u]), unpack2x16float(first[place / 2u + 1u]));
        }
        if OF != 0u && SECOND_HALF {
            return vec4(unpack2x16float(second[place / 2u]), unpack2x16float(second[place / 2u + 1u]));
        }
        if OF == 0u { return bitcast<vec4<f32>>(first4[place / 4u]); }
        return bitcast<vec4<f32>>(second4[place / 4u]);
    }
    if OF == 1u {
        let four = depths(k);
        return vec4(a_at(place), a_at(row.x + four[1].w), a_at(row.x + four[2].w), a_at(row.x + four[3].w));
    }
    // Those past the last repeat it.
    let count = select(params.size.z - k, params.size.x - m, OF == 0u);
    let next = min(vec4(0u, 1u, 2u, 3u), vec4(count - 1u));
    let p = place + next;
    return vec4(a_at(p.x), a_at(p.y), a_at(p.z), a_at(p.w));
}

// One element of B; padding is 0.
fn b_at(column: vec4<u32>, depth: vec4<u32>) -> f32 {
    let plane = column.x + depth.x;
    if OF == 0u {
        let y = column.y - depth.y;
        let x = column.z - depth.z;
        let inside = y % STRIDE_Y == 0u && x % STRIDE_X == 0u
            && y / STRIDE_Y < params.output_y && x / STRIDE_X < params.output_x;
        let place = plane + y / STRIDE_Y * params.output_x + x / STRIDE_X;
        return select(0.0, second_at(select(0u, place, inside)), inside);
    }
    let y = column.y + depth.y;
    let x = column.z + depth.z;
    let inside = y < params.image_y && x < params.image_x;
    return select(0.0, first_at(select(0u, plane + y * params.image_x + x, inside)), inside);
}

// Vector number `block` of a row that begins at `start`, zeros beside the row.
fn block_of(start: u32, block: u32, width: u32) -> vec4<f32> {
    let inside = block < width / 4u;
    let place = select(0u, start / 4u + block, inside);
    var values: vec4<f32>;
    if OF == 0u && SECOND_HALF {
        values = vec4(unpack2x16float(second[2u * place]), unpack2x16float(second[2u * place + 1u]));
    } else if OF == 0u {
        values = bitcast<vec4<f32>>(second4[place]);
    } else if FIRST_HALF {
        values = vec4(unpack2x16float(first[2u * place]), unpack2x16float(first[2u * place + 1u]));
    } else {
        values = bitcast<vec4<f32>>(first4[place]);
    }
    return select(vec4(0.0), values, inside);
}

// Four neighbours from x on, which may be before the row.
fn run_of(start: u32, x: u32, width: u32) -> vec4<f32> {
    let block = bitcast<u32>(bitcast<i32>(x) >> 2u);
    let low = block_of(start, block, width);
    let shift = x % 4u;
    if shift == 0u {
        return low;
    }
    let high = block_of(start, block + 1u, width);
    if shift == 1u {
        return vec4(low.yzw, high.x);
    }
    if shift == 2u {
        return vec4(low.zw, high.xy);
    }
    return vec4(low.w, high.xyz);
}

fn fetch_b(depth_: vec4<u32>, k: u32, column_: vec4<u32>, n: u32) -> vec4<f32> {
    if B_VECTORS {
        let plane = column_.x + depth_.x;
        var at = column_.yz + depth_.yz;
        if OF == 0u {
            // The phase makes the differences multiples of the steps.
            let steps = vec2(i32(STRIDE_Y), i32(STRIDE_X));
            at = bitcast<vec2<u32>>(bitcast<vec2<i32>>(column_.yz - depth_.yz) / steps);
        }
        let size = select(vec2(params.image_y, params.image_x), vec2(params.output_y, params.output_x), OF == 0u);
        let inside = at.x < size.x;
        let values = run_of(plane + select(0u, at.x * size.y, inside), at.y, size.y);
        return select(vec4(0.0), values, inside);
    }
    if B_ROWS {
        let step = vec4(0u, 0u, select(STRIDE_X, PHASES_X, OF == 0u), 0u);
        return vec4(b_at(column_, depth_), b_at(column_ + step, depth_), b_at(column_ + 2u * step, depth_),
            b_at(column_ + 3u * step, depth_));
    }
    if B_ALONG_K {
        let four = depths(k);
        return vec4(b_at(column_, depth_), b_at(column_, four[1]), b_at(column_, four[2]), b_at(column_, four[3]));
    }
    // Those past the last repeat it.
    let next = min(vec4(0u, 1u, 2u, 3u), vec4(params.size.y - n - 1u));
    return vec4(b_at(column_, depth_), b_at(column(n + next.y), depth_), b_at(column(n + next.z), depth_),
        b_at(column(n + next.w), depth_));
}

fn landing(n: u32) -> u32 {
    switch OF {
        case 0u: {
            let pixel = pixel_of(n);
            let place = image_plane(pixel.x, 0u) + pixel.y * params.image_x + pixel.z;
            return select(NOWHERE, place, pixel.y < params.image_y && pixel.z < params.image_x);
        }
        case 1u: {
            return n;
        }
        default: {
            let position = split_index(n, params.output_y, params.output_x);
            return output_plane(position.x, 0u) + position.y * params.output_x + position.z;
        }
    }
}

// begin finish
fn finish(place: u32, value: f32) -> f32 {
    return value;
}

fn finish4(place: u32, values: vec4<f32>) -> vec4<f32> {
    return values;
}
// end finish

fn store(m: u32, n: u32, landing_: u32, split: u32, values: vec4<f32>) {
    var place = split * params.elements;
    switch OF {
        case 0u: { place += m * params.image_y * params.image_x; }
        case 1u: { place += weight_place(m, 0u); }
        default: { place += m * params.output_y * params.output_x; }
    }
    if C_VECTORS {
        result4[(place + landing_) / 4u] = finish4(place + landing_, values);
        return;
    }
    for (var i = 0u; i < 4u; i++) { // unroll
        let at = landing(n + i);
        if n + i < params.size.y && at != NOWHERE {
            result[place + at] = finish(place + at, values[i]);
        }
    }
}
