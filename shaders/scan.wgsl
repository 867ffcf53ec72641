// Running sums, products and recurrences along the length of [outer, length, inner]. LANES
// invocations share a line: each folds a chunk of it, the chunks' results are scanned among the
// lanes, and each lane walks its chunk again from what stands before it. A step is an affine map,
// y -> scale * y + shift, and so is a run of steps: that is what is folded.

alias T = f32;
// 0: sum, 1: product, 2: recurrence.
const KIND: u32 = 0u;
const REVERSE: bool = false;
const LANES: u32 = 256u;

struct Params {
    lines: u32,
    length: u32,
    inner: u32,
    chunk: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<T>;
// Of a recurrence; else the input again.
@group(0) @binding(2) var<storage, read> factor: array<T>;
@group(0) @binding(3) var<storage, read_write> result: array<T>;

var<workgroup> scales: array<T, 256>;
var<workgroup> shifts: array<T, 256>;

fn place(base: u32, step: u32) -> u32 {
    if REVERSE { return base + (params.length - 1u - step) * params.inner; }
    return base + step * params.inner;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let line = (group.x + group.y * groups.x) * (256u / LANES) + index / LANES;
    let lane = index % LANES;
    let base = line / params.inner * params.length * params.inner + line % params.inner;
    var begin = 0u;
    var end = 0u;
    if line < params.lines {
        begin = min(lane * params.chunk, params.length);
        end = min(begin + params.chunk, params.length);
    }
    var scale = T(1);
    var shift = T(0);
    if LANES > 1u {
        for (var step = begin; step < end; step++) {
            let at = place(base, step);
            if KIND == 0u {
                shift += input[at];
            } else if KIND == 1u {
                scale *= input[at];
            } else {
                scale *= factor[at];
                shift = shift * factor[at] + input[at];
            }
        }
        scales[index] = scale;
        shifts[index] = shift;
        workgroupBarrier();
        for (var width = 1u; width < LANES; width *= 2u) {
            if lane >= width {
                // The run before, then this one.
                shift += scale * shifts[index - width];
                scale *= scales[index - width];
            }
            workgroupBarrier();
            scales[index] = scale;
            shifts[index] = shift;
            workgroupBarrier();
        }
        scale = T(1);
        shift = T(0);
        if lane > 0u {
            scale = scales[index - 1u];
            shift = shifts[index - 1u];
        }
    }
    // What the steps before this lane's made of 0, or of 1 for a product.
    var value = shift;
    if KIND == 1u { value = scale; }
    for (var step = begin; step < end; step++) {
        let at = place(base, step);
        if KIND == 0u {
            value += input[at];
        } else if KIND == 1u {
            value *= input[at];
        } else if step == 0u {
            value = input[at];
        } else {
            value = value * factor[at] + input[at];
        }
        result[at] = value;
    }
}
