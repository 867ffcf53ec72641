// Random words by Philox4x32-10, four an invocation, as src/ops/random.rs makes them on the CPU.

// 0: uniform floats, 1: normal floats, 2: truth values.
const KIND: u32 = 0u;

struct Params {
    // The seed, low word first.
    key_low: u32,
    key_high: u32,
    // For truth values.
    probability: f32,
    // Vectors of four words; the last may reach past the end of the tensor.
    count: u32,
    // The last word of the counter.
    stream: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> result: array<vec4<u32>>;

fn multiply_high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let left = (a >> 16u) * (b & 0xffffu);
    let right = (a & 0xffffu) * (b >> 16u);
    let carry = ((low >> 16u) + (left & 0xffffu) + (right & 0xffffu)) >> 16u;
    return (a >> 16u) * (b >> 16u) + (left >> 16u) + (right >> 16u) + carry;
}

fn philox4x32(start: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var counter = start;
    var key = seed;
    for (var i = 0u; i < 10u; i++) {
        counter = vec4(
            multiply_high(counter.z, 0xcd9e8d57u) ^ counter.y ^ key.x,
            counter.z * 0xcd9e8d57u,
            multiply_high(counter.x, 0xd2511f53u) ^ counter.w ^ key.y,
            counter.x * 0xd2511f53u,
        );
        key += vec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}

fn uniform_24(word: u32) -> f32 {
    return f32(word >> 8u) * (1.0 / 16777216.0);
}

// The natural logarithm of k * 2^-24, for k from 1 to 2^24.
fn log_of_24_bits(k: u32) -> f32 {
    let bits = bitcast<u32>(f32(k)) + (0x3f800000u - 0x3f3504f3u);
    let e = f32(i32(bits >> 23u)) - (127.0 + 24.0);
    let f = bitcast<f32>((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0;
    let z = f * f;
    var p = 7.0376836e-2 * f - 1.151461e-1;
    p = p * f + 1.1676999e-1;
    p = p * f - 1.2420141e-1;
    p = p * f + 1.4249323e-1;
    p = p * f - 1.6668058e-1;
    p = p * f + 2.0000715e-1;
    p = p * f - 2.4999994e-1;
    p = p * f + 3.333333e-1;
    return f + (p * f * z - 2.1219444e-4 * e - 0.5 * z) + 0.6933594 * e;
}

// Two independent standard normals, by Box and Muller.
fn normals(first: u32, second: u32) -> vec2<f32> {
    let radius = sqrt(-2.0 * log_of_24_bits((first >> 8u) + 1u));
    let angle = second >> 8u;
    let quarter = (angle + (1u << 21u)) >> 22u;
    let x = f32(i32(angle) - i32(quarter << 22u)) * (6.2831855 / 16777216.0);
    let z = x * x;
    let s = ((-1.9515296e-4 * z + 8.332161e-3) * z - 1.6666655e-1) * z * x + x;
    let c = ((2.4433157e-5 * z - 1.3887316e-3) * z + 4.1666646e-2) * z * z - 0.5 * z + 1.0;
    var turned = vec2(c, s);
    if (quarter & 1u) == 1u { turned = vec2(-s, c); }
    if (quarter & 2u) == 2u { turned = -turned; }
    return radius * turned;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = (group.x + group.y * groups.x) * 256u + lane;
    let words = philox4x32(vec4(block, 0u, 0u, params.stream), vec2(params.key_low, params.key_high));
    var values: vec4<u32>;
    if KIND == 1u {
        values = bitcast<vec4<u32>>(vec4(normals(words.x, words.y), normals(words.z, words.w)));
    } else {
        let floats = vec4(uniform_24(words.x), uniform_24(words.y), uniform_24(words.z), uniform_24(words.w));
        if KIND == 2u {
            values = select(vec4(0u), vec4(1u), floats < vec4(params.probability));
        } else {
            values = bitcast<vec4<u32>>(floats);
        }
    }
    if block < params.count {
        result[block] = values;
    }
}
