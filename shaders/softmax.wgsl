// Softmax of rows, LANES invocations a row: the greatest and the sum of the exponentials in one pass
// (Milakov and Gimelshein 2018, arXiv:1805.02867), the result in a second one.

// What is read at once: four neighbours, or one element where rows are not of whole vectors.
alias Word = vec4<f32>;
alias Bits = vec4<u32>;
const WIDTH: u32 = 4u;
const LANES: u32 = 256u;
// Whether the logarithm is wanted.
const LOG: bool = false;

struct Params {
    rows: u32,
    length: u32,
    // The bits of -inf, which has no literal.
    first: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Word>;
@group(0) @binding(2) var<storage, read_write> result: array<Word>;

var<workgroup> tops: array<f32, 256>;
var<workgroup> totals: array<f32, 256>;

// The greatest of some elements, and the sum of their exponentials less that.
struct Partial {
    top: Word,
    total: Word,
}

// exp of NaN and of -inf are left open by WGSL; below -104 it is 0 in f32.
fn exponential(a: Word) -> Word {
    let nan = (bitcast<Bits>(a) & Bits(0x7fffffffu)) > Bits(0x7f800000u);
    return select(select(exp(a), Word(0.0), a < Word(-104.0)), a, nan);
}

// NaN stays in the total alone.
fn join(a: Partial, b: Partial) -> Partial {
    // What comes of -inf counts here until something greater takes its share to 0.
    let distance = select(b.top - a.top, Word(0.0), a.top == b.top);
    let share = exponential(-abs(distance));
    let greater = distance > Word(0.0);
    let total = select(a.total + b.total * share, a.total * share + b.total, greater);
    return Partial(select(a.top, b.top, greater), total);
}

fn write_partial(index: u32, partial: Partial) {
    tops[index] = vec4<f32>(partial.top).x;
    totals[index] = vec4<f32>(partial.total).x;
}

fn read_partial(index: u32) -> Partial {
    return Partial(Word(tops[index]), Word(totals[index]));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = (group.x + group.y * groups.x) * (256u / LANES) + index / LANES;
    let lane = index % LANES;
    let length = params.length / WIDTH;
    let start = row * length;
    // A row past the end has no elements.
    let end = start + select(0u, length, row < params.rows);

    let nothing = Partial(Word(bitcast<f32>(params.first)), Word(0.0));
    var sum = nothing;
    for (var k = start + lane; k < end; k += LANES) {
        sum = join(sum, Partial(input[k], Word(1.0)));
    }
    if WIDTH == 4u {
        let top = vec4<f32>(sum.top);
        let total = vec4<f32>(sum.total);
        sum = Partial(Word(top.x), Word(total.x));
        sum = join(sum, Partial(Word(top.y), Word(total.y)));
        sum = join(sum, Partial(Word(top.z), Word(total.z)));
        sum = join(sum, Partial(Word(top.w), Word(total.w)));
    }
    if LANES > 1u {
        // As in reduce.wgsl.
        write_partial(index, sum);
        workgroupBarrier();
        if LANES > 16u {
            if lane < 16u {
                for (var other = 16u; other < LANES; other += 16u) {
                    sum = join(sum, read_partial(index + other));
                }
                write_partial(index, sum);
            }
            workgroupBarrier();
        }
        if lane == 0u {
            for (var other = 1u; other < min(LANES, 16u); other++) {
                sum = join(sum, read_partial(index + other));
            }
            write_partial(index, sum);
        }
        workgroupBarrier();
        sum = read_partial(index - lane);
    }

    var scale = Word(1.0) / sum.total;
    var shift = log(sum.total);
    // A row with a NaN, with inf, or of -inf alone has no softmax: a NaN, made at run time of the bits of -inf.
    let top = bitcast<u32>(vec4<f32>(sum.top).x) & 0x7fffffffu;
    let total = bitcast<u32>(vec4<f32>(sum.total).x) & 0x7fffffffu;
    if top == 0x7f800000u || total > 0x7f800000u {
        scale = bitcast<Word>(Bits(0x7fc00000u | params.first));
        shift = scale;
    }
    for (var k = start + lane; k < end; k += LANES) {
        let value = input[k] - sum.top;
        if LOG {
            result[k] = value - shift;
        } else {
            result[k] = exponential(value) * scale;
        }
    }
}
