// Reductions of [outer, length, inner] over the length. LANES invocations share an output: 1 where
// neighbours along inner are read together or the length is short, up to a whole workgroup where it
// is long. Partial results meet in a fixed order, so the rounding is always the same.
//
// Where outputs are few the length is cut into parts, whose results [parts, outputs] are reduced by
// a second dispatch.

alias T = f32;
alias R = f32;
// What is read at once: four neighbours, or one element where those are not of one row.
alias Word = vec4<f32>;
const WIDTH: u32 = 4u;
// Where the four stand along the length, counted from the first: 0, 1, 2, 3 in a row, 0 in four columns. What
// is not there at all is past every end.
const PLACES = vec4(0u, 1u, 2u, 3u);
// Elements along the length that are read at once, and outputs that they are of: one of both is 1.
const STEP: u32 = 4u;
const OUTPUTS: u32 = 1u;
// Whether T is f32, which has NaN.
const FLOAT: bool = true;
// 0: sum, 1: maximum, 2: minimum, 3: product.
const KIND: u32 = 0u;
// Whether the result is the position of the element instead of its value.
const POSITION: bool = false;
const LANES: u32 = 256u;

struct Params {
    // Outputs over OUTPUTS.
    items: u32,
    length: u32,
    inner: u32,
    parts: u32,
    // Length of a part.
    part: u32,
    // The bits of the result over no elements: infinities have no literal.
    first: u32,
    // given
    // finish
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> result: array<R>;

// begin given
@group(0) @binding(1) var<storage, read> input: array<Word>;

fn given(i: u32) -> T {
    return vec4<T>(input[i / WIDTH]).x;
}

fn given4(i: u32) -> vec4<T> {
    return vec4<T>(input[i / WIDTH]);
}
// end given

// The position where there was no element.
const NONE: u32 = 0xffffffffu;

// import: fold

var<workgroup> values: array<T, 256>;
var<workgroup> positions: array<u32, 256>;

// Four partial results; over a workgroup the first counts.
struct Partial {
    value: vec4<T>,
    position: vec4<u32>,
}

// Tested by bits: shader compilers may assume that a float is not NaN.
fn are_nan(a: vec4<T>) -> vec4<bool> {
    return vec4(FLOAT) & ((bitcast<vec4<u32>>(a) & vec4(0x7fffffffu)) > vec4(0x7f800000u));
}

// Whether b at position q comes before a at position p: NaN before all, the first of equal ones.
fn precedes(b: vec4<T>, q: vec4<u32>, a: vec4<T>, p: vec4<u32>) -> vec4<bool> {
    let before = q < p;
    let better = select(select((b < a), (b > a), vec4(KIND == 1u)), before, a == b);
    let nan = are_nan(b) & (!are_nan(a) | before);
    let known = select(better, nan, are_nan(a) | are_nan(b));
    return (q != vec4(NONE)) & (known | (p == vec4(NONE)));
}

fn join(a: Partial, b: Partial) -> Partial {
    if POSITION {
        let chosen = precedes(b.value, b.position, a.value, a.position);
        return Partial(select(a.value, b.value, chosen), select(a.position, b.position, chosen));
    }
    if KIND == 0u { return Partial(a.value + b.value, a.position); }
    if KIND == 3u { return Partial(a.value * b.value, a.position); }
    var best = min(a.value, b.value);
    if KIND == 1u { best = max(a.value, b.value); }
    best = select(best, b.value, are_nan(b.value));
    return Partial(select(best, a.value, are_nan(a.value)), a.position);
}

// if: SUBGROUPS
fn of_subgroup(each: Partial) -> Partial {
    let value = each.value.x;
    if KIND == 0u { return Partial(vec4(subgroupAdd(value)), each.position); }
    if KIND == 3u { return Partial(vec4(subgroupMul(value)), each.position); }
    // NaN goes by its bits.
    let nan = are_nan(each.value).x;
    let bits = subgroupMax(select(0u, bitcast<u32>(value), nan));
    let known = select(value, bitcast<T>(params.first), nan);
    var best = subgroupMin(known);
    if KIND == 1u { best = subgroupMax(known); }
    let chosen = select(value == best, nan, bits != 0u);
    var position = NONE;
    if POSITION { position = subgroupMin(select(NONE, each.position.x, chosen)); }
    return Partial(vec4(select(best, bitcast<T>(bits), bits != 0u)), vec4(position));
}
// end if

fn write_partial(place: u32, partial: Partial) {
    values[place] = partial.value.x;
    if POSITION { positions[place] = partial.position.x; }
}

fn read_partial(place: u32) -> Partial {
    if POSITION { return Partial(vec4(values[place]), vec4(positions[place])); }
    return Partial(vec4(values[place]), vec4(NONE));
}

fn gather(item: u32, lane: u32) -> Partial {
    let nothing = vec4<T>(bitcast<T>(params.first));
    var total = Partial(nothing, vec4(NONE));
    if item < params.items * params.parts {
        let output = item % params.items * OUTPUTS;
        let begin = item / params.items * params.part;
        let end = min(begin + params.part, params.length);
        let base = output / params.inner * params.length * params.inner + output % params.inner;
        for (var k = begin + lane * STEP; k < end; k += LANES * STEP) {
            var elements: vec4<T>;
            if WIDTH == 4u {
                elements = given4(base + k * params.inner);
            } else {
                elements = vec4<T>(given(base + k * params.inner));
            }
            let position = vec4(k) + PLACES;
            let there = position < vec4(end);
            total = join(total, Partial(select(nothing, elements, there), select(vec4(NONE), position, there)));
        }
    }
    if STEP == 4u {
        total = join(total, Partial(total.value.zwxy, total.position.zwxy));
        total = join(total, Partial(total.value.yxwz, total.position.yxwz));
    }
    return total;
}

// begin finish
fn finish(place: u32, value: R) -> R {
    return value;
}
// end finish

fn keep(item: u32, lane: u32, total: Partial) {
    if item < params.items * params.parts {
        for (var i = 0u; i < OUTPUTS; i++) {
            let place = item * OUTPUTS + i;
            if POSITION {
                result[place] = R(total.position[i]);
            } else {
                result[place] = finish(place, R(total.value[i]));
            }
        }
    }
}
