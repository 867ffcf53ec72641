// Means over windows that are a range of rows times a range of columns, or the transpose: each
// window's share given back to its elements, gathered by each element.

const ADAPTIVE: bool = false;
const SPREAD: bool = false;

// Pairs are height and width. The last three are those of fixed windows.
struct Params {
    count: u32,
    // Whether padding counts in the divisor.
    include: u32,
    // What to divide by instead, for height and width; 0 to count.
    divisor: vec2<u32>,
    input: vec2<u32>,
    output: vec2<u32>,
    kernel: vec2<u32>,
    stride: vec2<u32>,
    padding: vec2<u32>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

struct Range {
    start: u32,
    end: u32,
    divisor: u32,
}

// The rows (d = 0) or columns (d = 1) of window o.
fn range(o: u32, d: u32) -> Range {
    let size = params.input[d];
    if ADAPTIVE {
        let count = params.output[d];
        let start = o * size / count;
        let end = ((o + 1u) * size + count - 1u) / count;
        return Range(start, end, end - start);
    }
    let padding = params.padding[d];
    let first = o * params.stride[d];
    let last = min(first + params.kernel[d], size + 2u * padding);
    let start = max(first, padding) - padding;
    let end = min(last - padding, size);
    if params.divisor.x != 0u {
        return Range(start, end, params.divisor[d]);
    }
    return Range(start, end, select(end - start, last - first, params.include != 0u));
}

// The windows that hold row (column) h: first, and one past the last.
fn covering(h: u32, d: u32) -> vec2<u32> {
    let count = params.output[d];
    if ADAPTIVE {
        let size = params.input[d];
        return vec2(h * count / size, ((h + 1u) * count + size - 1u) / size);
    }
    let place = h + params.padding[d];
    let start = select(0u, (place - params.kernel[d]) / params.stride[d] + 1u, place >= params.kernel[d]);
    return vec2(start, min(count, place / params.stride[d] + 1u));
}

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
    var sum = 0.0;
    if SPREAD {
        let rows = covering(i % size / params.input.y, 0u);
        let columns = covering(i % params.input.y, 1u);
        for (var oh = rows.x; oh < rows.y; oh++) {
            let height = range(oh, 0u).divisor;
            for (var ow = columns.x; ow < columns.y; ow++) {
                let share = 1.0 / (f32(height) * f32(range(ow, 1u).divisor));
                sum += input[i / size * pooled + oh * params.output.y + ow] * share;
            }
        }
        result[i] = sum;
    } else {
        let rows = range(i % pooled / params.output.y, 0u);
        let columns = range(i % params.output.y, 1u);
        for (var h = rows.start; h < rows.end; h++) {
            for (var w = columns.start; w < columns.end; w++) {
                sum += input[i / pooled * size + h * params.input.y + w];
            }
        }
        result[i] = sum / (f32(rows.divisor) * f32(columns.divisor));
    }
}
