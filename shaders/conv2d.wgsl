// Convolution and its two gradients as matrix products of which the windows are never written out:
// the loads find the elements. A group of channels is a batch entry.
//
//   OF  computes              m        n                          k
//   0   gradient of input     channel  image, y, x                filter, tap
//   1   gradient of weight    filter   channel, tap               image, y, x of the output
//   2   output                filter   image, y, x of the output  channel, tap
//
// The other two of input, weight and output (or its gradient) are `first` and `second`.
// import: gemm

// Whether the first and second input hold halves, two in a word.
const FIRST_HALF: bool = false;
const SECOND_HALF: bool = false;

const OF: u32 = 2u;
// Constants, because dividing by a variable is slow.
const KERNEL_Y: u32 = 3u;
const KERNEL_X: u32 = 3u;
const STRIDE_Y: u32 = 1u;
const STRIDE_X: u32 = 1u;
const KERNEL: u32 = KERNEL_Y * KERNEL_X;

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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> first: array<u32>;
@group(0) @binding(2) var<storage, read> second: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

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

fn start(batch: u32) {
    channel_group = batch;
}

// `index` as (plane, y, x) of planes of these sizes.
fn split_index(index: u32, y: u32, x: u32) -> vec3<u32> {
    let row = index / x;
    return vec3(row / y, row % y, index % x);
}

fn weight_place(filter_: u32, channel_tap: u32) -> u32 {
    return (channel_group * params.filters + filter_) * params.channels * KERNEL + channel_tap;
}

fn output_place(image: u32, filter_: u32, y: u32, x: u32) -> u32 {
    let plane = (image * params.groups + channel_group) * params.filters + filter_;
    return (plane * params.output_y + y) * params.output_x + x;
}

fn input_place(image: u32, channel: u32, y: u32, x: u32) -> u32 {
    let plane = (image * params.groups + channel_group) * params.channels + channel;
    return (plane * params.image_y + y) * params.image_x + x;
}

// What tap (channel, ky, kx) sees from output position (image, y, x); padding is 0. Places before
// the image wrap around to large numbers.
fn seen(tap: vec3<u32>, position: vec3<u32>) -> f32 {
    let y = position.y * STRIDE_Y + tap.y * params.dilation_y - params.padding_y;
    let x = position.z * STRIDE_X + tap.z * params.dilation_x - params.padding_x;
    if y >= params.image_y || x >= params.image_x {
        return 0.0;
    }
    return first_at(input_place(position.x, tap.x, y, x));
}

// The output gradient that reaches pixel (image, y, x) through tap (filter, ky, kx).
fn reaching(tap: vec3<u32>, pixel: vec3<u32>) -> f32 {
    let y = pixel.y + params.padding_y - tap.y * params.dilation_y;
    let x = pixel.z + params.padding_x - tap.z * params.dilation_x;
    if y % STRIDE_Y != 0u || x % STRIDE_X != 0u {
        return 0.0;
    }
    if y / STRIDE_Y >= params.output_y || x / STRIDE_X >= params.output_x {
        return 0.0;
    }
    return second_at(output_place(pixel.x, tap.x, y / STRIDE_Y, x / STRIDE_X));
}

fn load_a(m: u32, k: u32) -> f32 {
    switch OF {
        case 0u: {
            return first_at(weight_place(k / KERNEL, m * KERNEL + k % KERNEL));
        }
        case 1u: {
            let position = split_index(k, params.output_y, params.output_x);
            return second_at(output_place(position.x, m, position.y, position.z));
        }
        default: {
            return second_at(weight_place(m, k));
        }
    }
}

fn load_b(k: u32, n: u32) -> f32 {
    switch OF {
        case 0u: {
            let pixel = split_index(n, params.image_y, params.image_x);
            return reaching(split_index(k, KERNEL_Y, KERNEL_X), pixel);
        }
        case 1u: {
            let position = split_index(k, params.output_y, params.output_x);
            return seen(split_index(n, KERNEL_Y, KERNEL_X), position);
        }
        default: {
            let position = split_index(n, params.output_y, params.output_x);
            return seen(split_index(k, KERNEL_Y, KERNEL_X), position);
        }
    }
}

fn store(m: u32, n: u32, split: u32, value: f32) {
    var place = split * params.elements;
    switch OF {
        case 0u: {
            let pixel = split_index(n, params.image_y, params.image_x);
            place += input_place(pixel.x, m, pixel.y, pixel.z);
        }
        case 1u: {
            place += weight_place(m, n);
        }
        default: {
            let position = split_index(n, params.output_y, params.output_x);
            place += output_place(position.x, m, position.y, position.z);
        }
    }
    result[place] = value;
}
