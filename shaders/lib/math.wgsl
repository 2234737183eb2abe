// Mathematical functions that keep 1e-6 where WGSL permits less, or where NaN and infinity matter.
//
// Each function is written once for `F` (f32 or vec4<f32>), with `I`, `U` and `L` its integers and truth values; `A`, `B` and `C`
// are the roles of cooperative matrices. They use only constructs that are valid at both widths, and no branches. Error: |got - want| / (1 + |want|) <= 1e-6 against
// f64, over the whole range unless said otherwise (measured: crates/device/tests/math.rs).
//
// Comparisons with NaN are unreliable in WGSL, and NaN and infinity cannot be written as constants: they are
// told apart, and made, by their bits. Only one rounding-sensitive habit is used: products of few-bit factors, which
// are exact with and without fused multiply-add.
//
// Sources: Cephes (Moshier), single precision: exp, sin, cos, asin, acos, atan. FreeBSD msun / musl: log, pow.
// Eigen: tanh. Abramowitz & Stegun ch. 6: lgamma, digamma, trigamma. Numerical Recipes 6.2.2: erfc. Others beside them.

// ---- bits ----

fn inf_() -> F {
    var bits = 0x7f800000u;
    return F(bitcast<f32>(bits));
}

fn nan_() -> F {
    var bits = 0x7fc00000u;
    return F(bitcast<f32>(bits));
}

fn abs_bits_(x: F) -> U {
    return bitcast<U>(x) & U(0x7fffffffu);
}

fn isnan_(x: F) -> L {
    return abs_bits_(x) > U(0x7f800000u);
}

fn isinf_(x: F) -> L {
    return abs_bits_(x) == U(0x7f800000u);
}

fn isfinite_(x: F) -> L {
    return abs_bits_(x) < U(0x7f800000u);
}

fn signbit_(x: F) -> L {
    return bitcast<U>(x) > U(0x7fffffffu);
}

// |x| with the sign of s. Not by bits: Mesa 26 merges (x & M) | (s & ~M) with a later select(.., s, isnan_(s)), wrongly.
fn copysign_(x: F, s: F) -> F {
    return select(abs(x), -abs(x), signbit_(s));
}

// x without its last 12 bits: products of two such numbers are exact.
fn head_(x: F) -> F {
    return bitcast<F>(bitcast<U>(x) & U(0xfffff000u));
}

// The integer nearest to n, for |n| < 2^22.
fn int_(n: F) -> I {
    return bitcast<I>(n + 12582912.0) - I(0x4b400000);
}

// 2^n for -126 <= n <= 127.
fn pow2_(n: I) -> F {
    return bitcast<F>((n + I(127)) << U(23u));
}

// x * 2^n for |n| <= 252.
fn ldexp_(x: F, n: I) -> F {
    let half = n >> U(1u);
    return x * pow2_(half) * pow2_(n - half);
}

// ---- comparison and rounding, NaN passing through ----

fn max_(a: F, b: F) -> F {
    return select(select(max(a, b), b, isnan_(b)), a, isnan_(a));
}

fn min_(a: F, b: F) -> F {
    return select(select(min(a, b), b, isnan_(b)), a, isnan_(a));
}

fn clamp_(x: F, low: F, high: F) -> F {
    return min_(max_(x, low), high);
}

fn relu_(x: F) -> F {
    return select(max(x, F(0.0)), x, isnan_(x));
}

// -1, 0 or 1; 0 for NaN, as torch.sign.
fn sign_(x: F) -> F {
    return select(select(copysign_(F(1.0), x), x, x == F(0.0)), F(0.0), isnan_(x));
}

// To the nearest integer, halves to even.
fn round_(x: F) -> F {
    return round(x);
}

fn trunc_(x: F) -> F {
    return trunc(x);
}

fn sqrt_(x: F) -> F {
    return select(sqrt(x), nan_(), x < F(0.0));
}

// 1 / sqrt(x) with one Newton step.
fn rsqrt_(x: F) -> F {
    let y = inverseSqrt(x);
    let z = y + 0.5 * y * (1.0 - x * y * y);
    let v = select(z, y, (x > F(1e38)) | (abs(x) < F(1e-37)));
    let u = select(v, copysign_(inf_(), x), x == F(0.0));
    let w = select(u, F(0.0), isinf_(x));
    return select(w, nan_(), isnan_(x) | (x < F(0.0)));
}

// a - b * trunc(a / b), by long division in two steps: exact for |a / b| < 2^22. The sign is a's.
fn fmod_(a: F, b: F) -> F {
    let n = abs(b);
    let low = n - head_(n);
    var r = abs(a);
    var q = head_(trunc(r / n));
    r = (r - q * head_(n)) - q * low;
    q = trunc(r / n);
    r = (r - q * head_(n)) - q * low;
    r = select(r, r + n, r < F(0.0));
    r = select(r, r - n, r >= n);
    let y = copysign_(select(r, abs(a), abs(a) < n), a);
    let v = select(y, a, isinf_(b) & isfinite_(a));
    return select(v, nan_(), isnan_(a) | isnan_(b) | isinf_(a) | (b == F(0.0)));
}

// The remainder with the sign of the divisor, as torch.remainder.
fn rem_(a: F, b: F) -> F {
    let r = fmod_(a, b);
    return select(r, r + b, (r != F(0.0)) & isfinite_(r) & ((r < F(0.0)) != (b < F(0.0))));
}

// The quotient rounded down, by way of the remainder as torch.floor_divide has it: infinities give NaN or -1.
fn floor_div_(a: F, b: F) -> F {
    let m = fmod_(a, b);
    var d = (a - m) / b;
    d = select(d, d - 1.0, (m != F(0.0)) & ((b < F(0.0)) != (m < F(0.0))));
    let f = floor(d);
    let r = select(f, f + 1.0, d - f > F(0.5));
    let v = select(r, nan_(), isnan_(m));
    return select(v, a / b, b == F(0.0));
}

// ---- exponentials ----

// e^r - 1 for |r| <= ln(2) / 2.
fn expm1_near_(r: F) -> F {
    let p = ((((1.9875691500e-4 * r + 1.3981999507e-3) * r + 8.3334519073e-3) * r + 4.1665795894e-2) * r
        + 1.6666665459e-1) * r + 5.0000001201e-1;
    return p * r * r + r;
}

// e^x * 2^k. x = n ln 2 + r, with ln 2 in two parts.
fn exp_scaled_(x: F, k: I) -> F {
    let v = clamp(x, F(-110.0), F(90.0));
    let n = round(v * 1.44269504);
    let r = (v - n * 0.693359375) + n * 2.12194440e-4;
    return select(ldexp_(1.0 + expm1_near_(r), int_(n) + k), x, isnan_(x));
}

fn exp_(x: F) -> F {
    return exp_scaled_(x, I(0));
}

fn exp2_(x: F) -> F {
    let v = clamp(x, F(-160.0), F(130.0));
    let n = round(v);
    let y = ldexp_(1.0 + expm1_near_((v - n) * 0.69314718), int_(n));
    return select(y, x, isnan_(x));
}

// 2^n (e^r - 1) + (2^n - 1).
fn expm1_(x: F) -> F {
    let v = clamp(x, F(-20.0), F(89.0));
    let n = round(v * 1.44269504);
    let r = (v - n * 0.693359375) + n * 2.12194440e-4;
    let half = pow2_(int_(n) - I(1));
    return select(2.0 * (half * expm1_near_(r) + (half - 0.5)), x, isnan_(x));
}

fn sigmoid_(x: F) -> F {
    let e = exp_(-abs(x));
    return select(F(1.0), e, x < F(0.0)) / (1.0 + e);
}

// ln(1 + e^x).
fn softplus_(x: F) -> F {
    return relu_(x) + log1p_(exp_(-abs(x)));
}

// ---- logarithms ----

// ln v in another base: e * (hi + lo) + c ln(m), where v = 2^e m, m in [sqrt(1/2), sqrt(2)).
// `near` is v - 1, which the caller may know more exactly; it is used where e is 0.
fn log_near_(v: F, near: F, hi: f32, lo: f32, c: f32) -> F {
    let tiny = v < F(1.17549435e-38);
    let b = bitcast<I>(select(v, v * 8388608.0, tiny)) - I(0x3f3504f3);
    let e = F(b >> U(23u)) - select(F(0.0), F(23.0), tiny);
    let m = bitcast<F>((b & I(0x7fffff)) + I(0x3f3504f3));
    let f = select(m - 1.0, near, e == F(0.0));
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let p = z * (0.66666662693 + w * 0.28498786688) + w * (0.40000972152 + w * 0.24279078841);
    let h = 0.5 * f * f;
    let y = e * hi + ((f - (h - s * (h + p))) * c + e * lo);
    let bits = bitcast<U>(v);
    let up = select(y, v, bits >= U(0x7f800000u));
    return select(select(up, nan_(), bits > U(0x80000000u)), -inf_(), v == F(0.0) & !isnan_(v));
}

fn log_(x: F) -> F {
    return log_near_(x, x - 1.0, 0.693145751953125, 1.42860682e-6, 1.0);
}

fn log1p_(x: F) -> F {
    return log_near_(1.0 + x, x, 0.693145751953125, 1.42860682e-6, 1.0);
}

fn log2_(x: F) -> F {
    return log_near_(x, x - 1.0, 1.0, 0.0, 1.44269504);
}

fn log10_(x: F) -> F {
    return log_near_(x, x - 1.0, 0.301025390625, 4.6050389812e-6, 0.43429448);
}

// ---- power ----

// x ln y as torch.xlogy: of 0 it is 0, whatever else y is than NaN.
fn xlogy_(x: F, y: F) -> F {
    return select(x * log_(y), F(0.0), (x == F(0.0)) & !isnan_(y));
}

// The larger, and the logarithm of 1 and how much smaller the other is; of equal infinities the infinity.
fn logaddexp_(x: F, y: F) -> F {
    let v = max_(x, y) + log1p_(exp_(-abs(x - y)));
    return select(v, x, isinf_(x) & (x == y));
}

fn logaddexp2_(x: F, y: F) -> F {
    let v = max_(x, y) + log1p_(exp2_(-abs(x - y))) * 1.44269504;
    return select(v, x, isinf_(x) & (x == y));
}

// x^y as torch.pow: x^0 = 1^y = 1, a negative base with a whole exponent has a sign, any other gives NaN.
// log2|x| in two parts, so that y log2|x| keeps its digits behind the point (msun e_powf.c).
fn pow_(x: F, y: F) -> F {
    let a = abs(x);
    let tiny = a < F(1.17549435e-38);
    let b = bitcast<I>(select(a, a * 8388608.0, tiny)) - I(0x3f3504f3);
    let e = F(b >> U(23u)) - select(F(0.0), F(23.0), tiny);
    let m = bitcast<F>((b & I(0x7fffff)) + I(0x3f3504f3));
    // s = (m - 1) / (m + 1) = s1 + s2; ln m = 2 s + 2/3 s^3 + ...
    let f = m - 1.0;
    let s = f / (m + 1.0);
    let s1 = head_(s);
    let t1 = head_(m + 1.0);
    let s2 = ((f - s1 * t1) - s1 * (m - (t1 - 1.0))) / (m + 1.0);
    let z = s * s;
    let q = s * z * (0.66666667 + z * (0.4 + z * (0.28571429 + z * 0.2225)));
    // log2 m = (2 s1 + rest) log2(e), log2(e) = 1.4423828125 + 3.1222839e-4
    let rest = 2.0 * s2 + q;
    let big = 2.0 * s1 * 1.4423828125;
    let small = 2.0 * s1 * 3.12228389e-4 + rest * 1.44269504;
    let l1 = head_(e + (big + small));
    let l2 = (big - (l1 - e)) + small;
    let y1 = head_(y);
    let high = y1 * l1;
    let low = (y - y1) * l1 + y * l2;
    let n = round(clamp(high + low, F(-200.0), F(200.0)));
    let r = clamp((high - n) + low, F(-1.0), F(1.0));
    let v = ldexp_(1.0 + expm1_near_(r * 0.69314718), int_(n));
    return pow_edges_(x, y, v);
}

// What |x|^y = v becomes with signs, zeros, infinities and NaN.
fn pow_edges_(x: F, y: F, v: F) -> F {
    let a = abs(x);
    let whole = trunc(y) == y;
    let odd = whole & (fract(abs(y) * 0.5) == F(0.5)) & isfinite_(y);
    let falls = (a < F(1.0)) == (y > F(0.0));     // |x|^y -> 0, for the edges below
    let edge = (x == F(0.0)) | isinf_(x) | isinf_(y);
    let size = select(select(v, select(inf_(), F(0.0), falls), edge), F(1.0), edge & (a == F(1.0)));
    let signed = select(size, -size, signbit_(x) & odd);
    let real = select(signed, nan_(), (x < F(0.0)) & !whole & isfinite_(x) & isfinite_(y));
    let known = select(real, nan_(), isnan_(x) | isnan_(y));
    return select(known, F(1.0), (abs_bits_(y) == U(0u)) | (bitcast<U>(x) == U(0x3f800000u)));
}

// ---- trigonometry: x = n pi/2 + r; good to |x| = 1e5 ----

// pi / 2 in parts of 8 bits, whose products with n are exact.
fn angle_(x: F, n: F) -> F {
    let r = (((x - n * 1.5703125) - n * 4.825592041015625e-4) - n * 1.2665987014770508e-6) - n * 9.92093580e-10;
    return clamp(r, F(-0.7854), F(0.7854));
}

// sin(x + turns pi/2).
fn trig_(x: F, turns: f32) -> F {
    let n = round(x * 0.63661977);
    let r = angle_(x, n);
    let z = r * r;
    let s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
    let c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
    let q = n + turns;
    let quarter = q - 4.0 * floor(q * 0.25);
    let y = select(s, c, (quarter == F(1.0)) | (quarter == F(3.0)));
    return select(nan_(), select(y, -y, quarter >= F(2.0)), isfinite_(x));
}

fn sin_(x: F) -> F {
    return trig_(x, 0.0);
}

fn cos_(x: F) -> F {
    return trig_(x, 1.0);
}

fn tan_(x: F) -> F {
    let n = round(x * 0.63661977);
    let r = angle_(x, n);
    let z = r * r;
    let t = (((((9.38540185543e-3 * z + 3.11992232697e-3) * z + 2.44301354525e-2) * z + 5.34112807005e-2) * z
        + 1.33387994085e-1) * z + 3.33331568548e-1) * z * r + r;
    let y = select(t, -1.0 / t, fract(abs(n) * 0.5) == F(0.5));
    return select(nan_(), y, isfinite_(x));
}

// asin(a) for 0 <= a <= 1/2; for larger a, pi/4 - asin(a)/2, from asin(a) = pi/2 - 2 asin(sqrt((1 - a) / 2)).
fn asin_part_(a: F) -> F {
    let big = a > F(0.5);
    let z = select(a * a, 0.5 * (1.0 - a), big);
    let s = select(a, sqrt(z), big);
    let p = (((4.2163199048e-2 * z + 2.4181311049e-2) * z + 4.5470025998e-2) * z + 7.4953002686e-2) * z + 1.6666752422e-1;
    return select(p * z * s + s, nan_(), isnan_(a) | (a > F(1.0)));
}

fn asin_(x: F) -> F {
    let p = asin_part_(abs(x));
    return copysign_(select(p, 1.57079633 - 2.0 * p, abs(x) > F(0.5)), x);
}

fn acos_(x: F) -> F {
    let p = asin_part_(abs(x));
    let far = select(2.0 * p, 3.14159265 - 2.0 * p, x < F(0.0));
    return select(1.57079633 - copysign_(p, x), far, abs(x) > F(0.5));
}

// atan(num / den), both >= 0, not both 0 and not both infinite.
fn atan_ratio_(num: F, den: F) -> F {
    let mid = num > 0.41421356 * den;
    let far = num > 2.41421356 * den;
    let top = select(select(num, num - den, mid), -den, far);
    let bottom = select(select(den, num + den, mid), num, far);
    let x = top / bottom;
    let z = x * x;
    let p = (((8.05374449538e-2 * z - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1) * z * x + x;
    return p + select(select(F(0.0), F(0.785398163), mid), F(1.57079633), far);
}

fn atan_(x: F) -> F {
    let y = atan_ratio_(min(abs(x), F(1e18)), F(1.0));
    return copysign_(select(y, x, isnan_(x)), x);
}

// The angle of the point (x, y), in -pi..pi, as torch.atan2(y, x).
fn atan2_(y: F, x: F) -> F {
    let large = max(abs(x), abs(y));
    let scale = select(F(1.0), F(1e-6), large > F(1e30)) * select(F(1.0), F(1e18), large < F(1e-18));
    let near = abs(y) * scale;
    let top = select(near, select(F(0.0), F(1.0), isinf_(y)), isinf_(x) | isinf_(y));
    let side = select(abs(x) * scale, select(F(0.0), F(1.0), isinf_(x)), isinf_(x) | isinf_(y));
    let zero = (x == F(0.0)) & (y == F(0.0));
    let r = atan_ratio_(top, select(side, F(1.0), zero));
    let v = copysign_(select(r, 3.14159265 - r, signbit_(x)), y);
    return select(v, nan_(), isnan_(x) | isnan_(y));
}

// ---- hyperbolic ----

// A ratio of polynomials in x^2 (Eigen, ptanh); +-1 to the last digit beyond 7.99.
fn tanh_(x: F) -> F {
    let v = clamp(x, F(-7.9988117), F(7.9988117));
    let z = v * v;
    let p = (((((-2.76076847742355e-16 * z + 2.00018790482477e-13) * z - 8.60467152213735e-11) * z
        + 5.12229709037114e-8) * z + 1.48572235717979e-5) * z + 6.37261928875436e-4) * z + 4.89352455891786e-3;
    let q = ((1.19825839466702e-6 * z + 1.18534705686654e-4) * z + 2.26843463243900e-3) * z + 4.89352518554385e-3;
    // ±1 to the last bit from 9.02 on
    let y = select(v * p / q, sign(x), abs(x) > F(9.02));
    return select(y, x, isnan_(x));
}

fn sinh_(x: F) -> F {
    let z = x * x;
    let near = ((2.03721912945e-4 * z + 8.33028376239e-3) * z + 1.66667160211e-1) * z * x + x;
    let e = exp_scaled_(abs(x), I(-1));
    return select(copysign_(e - 0.25 / e, x), near, abs(x) < F(1.0));
}

fn cosh_(x: F) -> F {
    let e = exp_scaled_(abs(x), I(-1));
    return e + 0.25 / e;
}

fn asinh_(x: F) -> F {
    let a = abs(x);
    let huge = a > F(1e9);
    let z = select(a, F(0.0), huge) * a;
    let y = log1p_(select(a + z / (1.0 + sqrt(z + 1.0)), a, huge)) + select(F(0.0), F(0.69314718), huge);
    return copysign_(y, x);
}

fn acosh_(x: F) -> F {
    let huge = x > F(1e9);
    let t = select(x - 1.0, F(0.0), huge | (x < F(1.0)));
    let y = log1p_(select(t + sqrt(t * (t + 2.0)), x, huge)) + select(F(0.0), F(0.69314718), huge);
    return select(y, nan_(), isnan_(x) | (x < F(1.0)));
}

fn atanh_(x: F) -> F {
    let a = abs(x);
    return copysign_(0.5 * log1p_(2.0 * a / (1.0 - a)), x);
}
