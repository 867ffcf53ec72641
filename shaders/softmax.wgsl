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

// import: fold

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

// if: SUBGROUPS
fn of_subgroup(each: Partial) -> Partial {
    let top = Word(subgroupMax(vec4<f32>(each.top).x));
    let share = exponential(select(each.top - top, Word(0.0), each.top == top));
    return Partial(top, Word(subgroupAdd(vec4<f32>(each.total * share).x)));
}
// end if

fn write_partial(place: u32, partial: Partial) {
    tops[place] = vec4<f32>(partial.top).x;
    totals[place] = vec4<f32>(partial.total).x;
}

fn read_partial(place: u32) -> Partial {
    return Partial(Word(tops[place]), Word(totals[place]));
}

// The words of a row; a row past the end has none.
fn words_of(row: u32) -> vec2<u32> {
    let length = params.length / WIDTH;
    return row * length + vec2(0u, select(0u, length, row < params.rows));
}

fn gather(row: u32, lane: u32) -> Partial {
    let words = words_of(row);
    var sum = Partial(Word(bitcast<f32>(params.first)), Word(0.0));
    for (var k = words.x + lane; k < words.y; k += LANES) {
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
    return sum;
}

fn keep(row: u32, lane: u32, sum: Partial) {
    let words = words_of(row);
    var scale = Word(1.0) / sum.total;
    var shift = log(sum.total);
    // A row with a NaN, with inf, or of -inf alone has no softmax: a NaN, made at run time of the bits of -inf.
    let top = bitcast<u32>(vec4<f32>(sum.top).x) & 0x7fffffffu;
    let total = bitcast<u32>(vec4<f32>(sum.total).x) & 0x7fffffffu;
    if top == 0x7f800000u || total > 0x7f800000u {
        scale = bitcast<Word>(Bits(0x7fc00000u | params.first));
        shift = scale;
    }
    for (var k = words.x + lane; k < words.y; k += LANES) {
        let value = input[k] - sum.top;
        if LOG {
            result[k] = value - shift;
        } else {
            result[k] = exponential(value) * scale;
        }
    }
}
