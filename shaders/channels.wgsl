// What a norm takes of each channel of x [outer, channels, length], in one pass: the mean and the variance, or
// for its gradient the sums of `upstream`, which may be weighted, and of its products with `x - mean`, or with x
// normalised by the moments of what lies across the channels. LANES invocations share a channel. Where channels
// are few each is cut into parts, which a second dispatch joins.
//
// Deviations are counted from the first element that an invocation sees, so that no large squares cancel, and
// joined by the rule of Chan, Golub and LeVeque 1979.

// What is read at once: four neighbours, or one element where lengths are not of whole vectors.
alias Word = vec4<f32>;
const WIDTH: u32 = 4u;
const LANES: u32 = 256u;
// Whether it is the gradient's sums that are wanted.
const SUMS: bool = false;
// Whether upstream is weighted, and whether moments are those of each place in outer.
const WEIGHTED: bool = false;
const ACROSS: bool = false;
// Whether the result is a vector for each part, and whether x is made of those, [parts, channels].
const PARTIAL: bool = false;
const JOIN: bool = false;

struct Params {
    channels: u32,
    // In words, of x and of a channel and a part.
    length: u32,
    count: u32,
    part: u32,
    parts: u32,
    // LANES words further on in a channel: so many times outer, and this much more of the length.
    rows: u32,
    rest: u32,
    eps: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Word>;
// The next three are read for the gradient alone.
@group(0) @binding(2) var<storage, read> upstream: array<Word>;
@group(0) @binding(3) var<storage, read> moments: array<f32>;
@group(0) @binding(4) var<storage, read> weights: array<Word>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;

alias Partial = vec4<f32>;
// import: fold

var<workgroup> partials: array<vec4<f32>, 256>;

// Of two sets of elements: their number, their mean and the sum of the squared distances from it; or the sums.
fn join(a: Partial, b: Partial) -> Partial {
    if SUMS { return a + b; }
    let count = a.x + b.x;
    let share = b.x / max(count, 1.0);
    let distance = b.y - a.y;
    return vec4(count, a.y + distance * share, a.z + b.z + distance * distance * a.x * share, 0.0);
}

// if: SUBGROUPS
fn of_subgroup(each: Partial) -> Partial {
    if SUMS { return vec4(subgroupAdd(each.xy), 0.0, 0.0); }
    let count = subgroupAdd(each.x);
    let origin = subgroupBroadcastFirst(each.y);
    let mean = origin + subgroupAdd(each.x * (each.y - origin)) / max(count, 1.0);
    let distance = each.y - mean;
    return vec4(count, mean, subgroupAdd(each.z + each.x * distance * distance), 0.0);
}
// end if

fn write_partial(place: u32, partial: Partial) {
    partials[place] = partial;
}

fn read_partial(place: u32) -> Partial {
    return partials[place];
}

fn gather(item: u32, lane: u32) -> Partial {
    let channel = item % params.channels;
    var total = vec4(0.0);
    if item < params.channels * params.parts {
        let begin = item / params.channels * params.part;
        let end = min(begin + params.part, params.count);
        var row = (begin + lane) / params.length;
        var place = (begin + lane) % params.length;
        var origin = Word(0.0);
        if SUMS && !ACROSS { origin = Word(moments[channel]); }
        var first = Word(0.0);
        var second = Word(0.0);
        var words = 0u;
        for (var k = begin + lane; k < end; k += LANES) {
            let at = (row * params.channels + channel) * params.length + place;
            let value = x[at];
            if JOIN {
                total = join(total, vec4<f32>(value));
            } else if SUMS {
                var weight = upstream[at];
                if WEIGHTED { weight *= weights[place]; }
                first += weight;
                if ACROSS {
                    let scale = inverseSqrt(moments[params.count + row] + params.eps);
                    second += weight * ((value - moments[row]) * scale);
                } else {
                    second += weight * (value - origin);
                }
            } else {
                origin = select(origin, value, words == 0u);
                first += value - origin;
                second += (value - origin) * (value - origin);
            }
            words++;
            row += params.rows;
            place += params.rest;
            if place >= params.length {
                place -= params.length;
                row++;
            }
        }
        if !JOIN {
            if !SUMS {
                // From sums of distances from the origin to mean and squared distances from the mean.
                let share = 1.0 / max(f32(words), 1.0);
                second = max(second - first * first * share, Word(0.0));
                first = origin + first * share;
            }
            let a = vec4<f32>(first);
            let b = vec4<f32>(second);
            for (var i = 0u; i < WIDTH; i++) {
                let sums = vec4(a[i], b[i], 0.0, 0.0);
                total = join(total, select(vec4(f32(words), sums.xyz), sums, SUMS));
            }
        }
    }
    return total;
}

fn keep(item: u32, lane: u32, total: Partial) {
    if item < params.channels * params.parts {
        if PARTIAL {
            for (var i = 0u; i < 4u; i++) {
                result[item * 4u + i] = total[i];
            }
        } else if SUMS {
            result[item] = total.x;
            result[params.channels + item] = total.y;
        } else {
            result[item] = total.y;
            result[params.channels + item] = total.z / max(total.x, 1.0);
        }
    }
}
