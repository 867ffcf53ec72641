// The element of `other` at the position of the greatest of each window of x, or the transpose:
// each window's element of `other` added at that position, gathered by the position's own
// invocation so that no two write one place.

const SPREAD: bool = false;

// Pairs are height and width; places count from the start of the padding.
struct Params {
    count: u32,
    // The bits of the result for a window without elements.
    empty: u32,
    input: vec2<u32>,
    output: vec2<u32>,
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
    dilation: vec2<u32>,
    // finish
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> other: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

const NONE: u32 = 0xffffffffu;

fn not_a_number(a: f32) -> bool {
    return (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u;
}

// The place of the greatest element of a window of the plane that starts at `base`: the first of
// equal ones, NaN before all.
fn greatest(base: u32, window: vec2<u32>) -> u32 {
    var best = NONE;
    var value = 0.0;
    for (var i = 0u; i < params.kernel.x; i++) {
        let h = window.x * params.stride.x + i * params.dilation.x - params.padding.x;
        if h >= params.input.x { continue; }
        for (var j = 0u; j < params.kernel.y; j++) {
            let w = window.y * params.stride.y + j * params.dilation.y - params.padding.y;
            if w >= params.input.y { continue; }
            let at = base + h * params.input.y + w;
            let element = x[at];
            if best == NONE || (!not_a_number(value) && (not_a_number(element) || element > value)) {
                best = at;
                value = element;
            }
        }
    }
    return best;
}

// The windows that may hold row (column) h: first, and one past the last.
fn covering(h: u32, d: u32) -> vec2<u32> {
    let place = h + params.padding[d];
    let reach = params.dilation[d] * (params.kernel[d] - 1u);
    let stride = params.stride[d];
    let start = select(0u, (place - reach + stride - 1u) / stride, place > reach);
    return vec2(start, min(params.output[d], place / stride + 1u));
}

// begin finish
fn finish(place: u32, value: f32) -> f32 {
    return value;
}

fn finish4(place: u32, values: vec4<f32>) -> vec4<f32> {
    return values;
}
// end finish

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i >= params.count { return; }
    let size = params.input.x * params.input.y;
    let pooled = params.output.x * params.output.y;
    if SPREAD {
        let plane = i / size;
        let rows = covering(i % size / params.input.y, 0u);
        let columns = covering(i % params.input.y, 1u);
        var sum = 0.0;
        for (var oh = rows.x; oh < rows.y; oh++) {
            for (var ow = columns.x; ow < columns.y; ow++) {
                if greatest(plane * size, vec2(oh, ow)) == i {
                    sum += other[plane * pooled + oh * params.output.y + ow];
                }
            }
        }
        result[i] = finish(i, sum);
    } else {
        let window = vec2(i % pooled / params.output.y, i % params.output.y);
        let best = greatest(i / pooled * size, window);
        if best == NONE {
            result[i] = finish(i, bitcast<f32>(params.empty));
        } else {
            result[i] = finish(i, other[best]);
        }
    }
}
