// Template of every elementwise kernel. The part between the two marks is generated from the rows of
// the ops: bindings, `compute` (one element) and `store` (the four that one invocation writes). What stands
// there now, a copy of f32, makes this file valid as it is.
//
// params: the constants, sizes of the (merged) dimensions where an input is strided, for each input its offset and,
// where it is strided, its strides; then the number of vectors of four elements.

const PARAMS: u32 = 4u;
@group(0) @binding(0) var<uniform> params: array<vec4<u32>, PARAMS>;

// begin functions
// Tested by bits: shader compilers may assume that a float is not NaN.
fn is_nan(a: f32) -> bool {
    return (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u;
}

fn is_inf(a: f32) -> bool {
    return (bitcast<u32>(a) & 0x7fffffffu) == 0x7f800000u;
}

fn nan() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

fn inf() -> f32 {
    var bits = 0x7f800000u;
    return bitcast<f32>(bits);
}

// NaN wins, as in PyTorch.
fn maximum_f32(a: f32, b: f32) -> f32 {
    if is_nan(a) { return a; }
    if is_nan(b) { return b; }
    return max(a, b);
}

fn minimum_f32(a: f32, b: f32) -> f32 {
    if is_nan(a) { return a; }
    if is_nan(b) { return b; }
    return min(a, b);
}

// WGSL leaves exp and log open at NaN, infinities and 0, and drivers differ there.
fn exp_f32(a: f32) -> f32 {
    if is_nan(a) { return a; }
    if a > 88.72284 { return inf(); }
    if a < -104.0 { return 0.0; }
    return exp(a);
}

fn exp2_f32(a: f32) -> f32 {
    if is_nan(a) { return a; }
    if a >= 128.0 { return inf(); }
    if a < -150.0 { return 0.0; }
    return exp2(a);
}

// log(1 + a) for a from -0.3 to 0.5, by log((1 + s) / (1 - s)) = 2 (s + s^3 / 3 + s^5 / 5 + ...).
fn log1p_series(a: f32) -> f32 {
    let s = a / (2.0 + a);
    let q = s * s;
    return 2.0 * s * (1.0 + q * (0.33333334 + q * (0.2 + q * (0.14285715 + q * (0.11111111 + q * 0.09090909)))));
}

// Near 1 WGSL only bounds the absolute error of log.
fn log_f32(a: f32) -> f32 {
    if is_nan(a) || a < 0.0 { return nan(); }
    if a == 0.0 { return -inf(); }
    if is_inf(a) { return a; }
    if a > 0.75 && a < 1.5 { return log1p_series(a - 1.0); }
    return log(a);
}

// log(1 + a) would lose the digits of a near 0.
fn log1p_f32(a: f32) -> f32 {
    if a > -0.3 && a < 0.5 && !is_nan(a) { return log1p_series(a); }
    return log_f32(1.0 + a);
}

fn relu_f32(a: f32) -> f32 {
    if is_nan(a) { return a; }
    return max(a, 0.0);
}

// tanh by exp2 overflows in some drivers for large arguments; it is 1 in f32 from 9.02 on. Near 0
// the series keeps the relative error small.
fn tanh_f32(a: f32) -> f32 {
    if is_nan(a) { return a; }
    if abs(a) < 0.15 {
        let s = a * a;
        return a * (1.0 + s * (-0.33333333 + s * (0.13333333 + s * (-0.053968254 + s * 0.021869488))));
    }
    let e = exp(2.0 * min(abs(a), 10.0));
    return sign(a) * (1.0 - 2.0 / (e + 1.0));
}

// Below 0.5 the Taylor series: exp(a) - 1 would cancel.
fn expm1_f32(a: f32) -> f32 {
    if is_nan(a) { return a; }
    if abs(a) < 0.5 {
        return a + a * a * (0.5 + a * (0.16666667 + a * (0.041666668 + a * (0.008333334
            + a * (0.0013888889 + a * (0.0001984127 + a * 0.000024801588))))));
    }
    return exp_f32(a) - 1.0;
}

// WGSL allows sin, cos, tan and atan errors in the fourth digit, and any beyond pi: these are the
// polynomials of S. L. Moshier's Cephes library (sinf.c, tanf.c, atanf.c).

// The multiple of pi/4 nearest to |a| among the even ones, and what is left of |a|. It is taken away in three
// parts, which keeps the digits up to 8192; beyond, the device's own functions have to do.
struct Octant {
    number: u32,
    rest: f32,
}

fn octant(a: f32) -> Octant {
    let x = abs(a);
    let number = (u32(x * 1.2732395447) + 1u) & 0xfffffffeu;
    let n = f32(number);
    return Octant(number, ((x - n * 0.78515625) - n * 2.4187564849853515625e-4) - n * 3.77489497744594108e-8);
}

// The sine of |r| <= pi/4 a number of quarter turns later.
fn sine(r: f32, quarters: u32) -> f32 {
    let q = r * r;
    let s = r + r * q * (-0.16666654611 + q * (0.0083321608736 - q * 0.00019515295891));
    let c = 1.0 - 0.5 * q + q * q * (0.04166664568298827 + q * (-0.001388731625493765 + q * 0.00002443315711809948));
    let y = select(s, c, (quarters & 1u) != 0u);
    return select(y, -y, (quarters & 2u) != 0u);
}

fn sin_f32(a: f32) -> f32 {
    if is_nan(a) || is_inf(a) { return nan(); }
    if abs(a) > 8192.0 { return sin(a); }
    let o = octant(a);
    let y = sine(o.rest, o.number / 2u);
    return select(y, -y, a < 0.0);
}

fn cos_f32(a: f32) -> f32 {
    if is_nan(a) || is_inf(a) { return nan(); }
    if abs(a) > 8192.0 { return cos(a); }
    let o = octant(a);
    return sine(o.rest, o.number / 2u + 1u);
}

fn tan_f32(a: f32) -> f32 {
    if is_nan(a) || is_inf(a) { return nan(); }
    if abs(a) > 8192.0 { return tan(a); }
    let o = octant(a);
    let r = o.rest;
    let q = r * r;
    var y = r + r * q * (0.333331568548 + q * (0.133387994085 + q * (0.0534112807005
        + q * (0.0244301354525 + q * (0.00311992232697 + q * 0.00938540185543)))));
    if (o.number & 2u) != 0u { y = -1.0 / y; }
    return select(y, -y, a < 0.0);
}

// The arc tangent of 0 <= a <= 1.
fn atan_unit(a: f32) -> f32 {
    let upper = a > 0.41421356237;
    let x = select(a, (a - 1.0) / (a + 1.0), upper);
    let q = x * x;
    let y = x + x * q * (-0.333329491539 + q * (0.199777106478 + q * (-0.138776856032 + q * 0.0805374449538)));
    return select(y, 0.78539816340 + y, upper);
}

fn atan_f32(a: f32) -> f32 {
    if is_nan(a) { return a; }
    let x = abs(a);
    if x <= 1.0 { return select(atan_unit(x), -atan_unit(x), a < 0.0); }
    let y = 1.5707963268 - atan_unit(1.0 / x);
    return select(y, -y, a < 0.0);
}

fn negative(a: f32) -> bool {
    return (bitcast<u32>(a) & 0x80000000u) != 0u;
}

fn atan2_f32(a: f32, b: f32) -> f32 {
    if is_nan(a) || is_nan(b) { return nan(); }
    let y = abs(a);
    let x = abs(b);
    var angle = 0.0;
    if is_inf(a) && is_inf(b) {
        angle = 0.78539816340;
    } else if y > x {
        angle = 1.5707963268 - atan_unit(x / y);
    } else if x > 0.0 {
        angle = atan_unit(y / x);
    }
    if negative(b) { angle = 3.1415926536 - angle; }
    return select(angle, -angle, negative(a));
}

fn asin_f32(a: f32) -> f32 {
    return select(nan(), atan2_f32(a, sqrt((1.0 - a) * (1.0 + a))), abs(a) <= 1.0);
}

fn acos_f32(a: f32) -> f32 {
    return select(nan(), atan2_f32(sqrt((1.0 - a) * (1.0 + a)), a), abs(a) <= 1.0);
}

// The root is squared again at the end, so that nothing overflows before the result does.
fn sinh_f32(a: f32) -> f32 {
    if abs(a) < 1.0 {
        let e = expm1_f32(a);
        return 0.5 * (e + e / (e + 1.0));
    }
    let root = exp_f32(0.5 * abs(a));
    let y = 0.5 * root * root - 0.5 / root / root;
    return select(y, -y, a < 0.0);
}

fn cosh_f32(a: f32) -> f32 {
    let root = exp_f32(0.5 * abs(a));
    return 0.5 * root * root + 0.5 / root / root;
}

fn asinh_f32(a: f32) -> f32 {
    let x = abs(a);
    var y = x;
    if x > 1e4 {
        y = log_f32(x) + 0.69314718056;
    } else if x > 0.0 {
        y = log1p_f32(x + x * x / (1.0 + sqrt(x * x + 1.0)));
    }
    return select(y, -y, a < 0.0);
}

fn acosh_f32(a: f32) -> f32 {
    if a > 1e4 { return log_f32(a) + 0.69314718056; }
    let rest = a - 1.0;
    return select(nan(), log1p_f32(rest + sqrt(rest * (a + 1.0))), a >= 1.0);
}

fn atanh_f32(a: f32) -> f32 {
    return select(nan(), 0.5 * (log1p_f32(a) - log1p_f32(-a)), abs(a) <= 1.0);
}

// Long division: the divisor times powers of 2 is taken away from the greatest on. Exact on every
// device, since each difference is of numbers within a factor of 2 of each other.
fn fmod_f32(a: f32, b: f32) -> f32 {
    if is_nan(a) || is_nan(b) || is_inf(a) || b == 0.0 { return nan(); }
    var rest = abs(a);
    var part = abs(b);
    var doubled = 0;
    for (; doubled < 300 && part <= rest * 0.5; doubled++) { part *= 2.0; }
    for (; doubled >= 0; doubled--) {
        if rest >= part { rest -= part; }
        part *= 0.5;
    }
    return select(rest, -rest, negative(a));
}

fn remainder_f32(a: f32, b: f32) -> f32 {
    let rest = fmod_f32(a, b);
    return select(rest, rest + b, rest != 0.0 && (rest < 0.0) != (b < 0.0));
}

// GLSL leaves % open for negative numbers.
fn fmod_i32(a: i32, b: i32) -> i32 {
    if b == 0 { return 0; }
    return a - divide_i32(a, b) * b;
}

fn remainder_i32(a: i32, b: i32) -> i32 {
    let rest = fmod_i32(a, b);
    return select(rest, rest + b, rest != 0 && (rest < 0) != (b < 0));
}

// pow also where WGSL leaves it open: at infinities, and for a negative base, which takes whole exponents only.
fn pow_f32(a: f32, b: f32) -> f32 {
    if b == 0.0 || a == 1.0 { return 1.0; }
    if is_nan(a) || is_nan(b) { return nan(); }
    if is_inf(b) {
        if a == -1.0 { return 1.0; }
        return select(0.0, inf(), (abs(a) > 1.0) == (b > 0.0));
    }
    if a > 0.0 && !is_inf(a) { return pow(a, b); }
    let whole = floor(b) == b;
    let odd = whole && abs(b) < 16777216.0 && (i32(b) & 1) == 1;
    if a == 0.0 {
        let magnitude = select(0.0, inf(), b < 0.0);
        return select(magnitude, bitcast<f32>(bitcast<u32>(magnitude) | (bitcast<u32>(a) & 0x80000000u)), odd);
    }
    if is_inf(a) {
        let magnitude = select(0.0, inf(), b > 0.0);
        return select(magnitude, -magnitude, odd && a < 0.0);
    }
    if !whole { return nan(); }
    let magnitude = pow(-a, b);
    return select(magnitude, -magnitude, odd);
}

// Abramowitz and Stegun 7.1.26 is too coarse for f32: a Taylor series below 1 and the continued
// tail above it. Numerical Recipes, erfcc, keeps 1.2e-7 everywhere.
fn erf_f32(a: f32) -> f32 {
    if is_nan(a) { return a; }
    let z = abs(a);
    if z < 0.5 {
        let s = a * a;
        return a * (1.1283791671 + s * (-0.3761263890 + s * (0.1128379167 + s * (-0.0268661706 + s * (0.0052239776 - s * 0.0008548327)))));
    }
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
        + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
    let r = 1.0 - t * exp_f32(-z * z + p);
    return select(-r, r, a >= 0.0);
}

fn maximum_i32(a: i32, b: i32) -> i32 {
    return max(a, b);
}

fn minimum_i32(a: i32, b: i32) -> i32 {
    return min(a, b);
}

fn divide_f32(a: f32, b: f32) -> f32 {
    return a / b;
}

fn divide_i32(a: i32, b: i32) -> i32 {
    if b == 0 { return 0; }
    if b == -1 { return -a; }
    return a / b;
}

// end functions

// begin generated
@group(0) @binding(1) var<storage, read> in0: array<vec4<f32>>;
fn load0(p: u32) -> vec4<f32> { return in0[p / 4u]; }
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;
fn compute(x0: f32) -> f32 {
    return x0;
}
fn store(i: u32) {
    let first = 4u * i;
    let x0_0 = load0(params[0][1] + first);
    let y = vec4(compute(x0_0[0]), compute(x0_0[1]), compute(x0_0[2]), compute(x0_0[3]));
    if i < params[0][0] { result[i] = y; }
}
// end generated

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    store((group.x + group.y * groups.x) * 256u + lane);
}
