// Special functions, written once for `F` (f32 or vec4<f32>) as in math.wgsl.

// erf: an odd polynomial near 0, 1 - e^-p(|x|) beyond (Juffa 2015, "erff", stackoverflow.com/a/35148199).
fn erf_(x: F) -> F {
    let t = min(abs(x), F(4.0));
    let z = t * t;
    let p = (((((-1.72853470e-5 * t + 3.83197126e-4) * z + (-3.88396438e-3 * t + 2.42546219e-2)) * t - 1.06777877e-1) * t
        - 6.34846687e-1) * t - 1.28717512e-1) * t - t;
    let n = ((((-5.96761703e-4 * z + 4.99119423e-3) * z - 2.67681349e-2) * z + 1.12819925e-1) * z - 3.76125336e-1) * z
        + 1.28379166e-1;
    let y = select(1.0 - exp_(p), n * t + t, t <= F(0.927734375));
    return copysign_(select(y, x, isnan_(x)), x);
}

// erfc = t e^(-x^2 + p(t)), t = 1 / (1 + |x|/2) (Numerical Recipes 6.2.2, Chebyshev).
fn erfc_(x: F) -> F {
    let a = min(abs(x), F(30.0));
    let t = 1.0 / (1.0 + 0.5 * a);
    let p = ((((((((0.17087277 * t - 0.82215223) * t + 1.48851587) * t - 1.13520398) * t + 0.27886807) * t
        - 0.18628806) * t + 0.09678418) * t + 0.37409196) * t + 1.00002368) * t - 1.26551223;
    let y = t * exp_(p - a * a);
    return select(select(y, 2.0 - y, x < F(0.0)), x, isnan_(x));
}

// x P(X <= x), X normal: the erf form of GELU.
fn gelu_(x: F) -> F {
    return 0.5 * x * (1.0 + erf_(x * 0.70710678));
}

// Giles 2012, "Approximating the erfinv function", single precision.
fn erfinv_(x: F) -> F {
    let w = -log_((1.0 - x) * (1.0 + x));
    let a = w - 2.5;
    let near = (((((((2.81022636e-8 * a + 3.43273939e-7) * a - 3.5233877e-6) * a - 4.39150654e-6) * a + 2.1858087e-4) * a
        - 1.25372503e-3) * a - 4.17768164e-3) * a + 2.46640727e-1) * a + 1.50140941;
    let b = sqrt(max(w, F(0.0))) - 3.0;
    let far = (((((((-2.00214257e-4 * b + 1.00950558e-4) * b + 1.34934322e-3) * b - 3.67342844e-3) * b + 5.73950773e-3) * b
        - 7.6224613e-3) * b + 9.43887047e-3) * b + 1.00167406) * b + 2.83297682;
    let y = x * select(far, near, w < F(5.0));
    let edge = select(y, copysign_(inf_(), x), abs(x) == F(1.0));
    return select(edge, nan_(), isnan_(x) | (abs(x) > F(1.0)));
}

// sin(pi x), pi x reduced exactly.
fn sinpi_(x: F) -> F {
    let r = x - 2.0 * round(0.5 * x);
    return sin_(3.14159265 * select(r, copysign_(1.0 - abs(r), r), abs(r) > F(0.5)));
}

// ln |gamma(x)|: Stirling's series (A&S 6.1.41) from x + 3 down, reflected below 1/2.
fn lgamma_(x: F) -> F {
    let flip = x < F(0.5);
    let a = select(x, 1.0 - x, flip);
    let small = a < F(3.0);
    let v = select(a, a + 3.0, small);
    let r = 1.0 / v;
    let z = r * r;
    let tail = r * (0.083333333 - z * (0.0027777778 - z * (7.9365079e-4 - z * 5.9523810e-4)));
    let series = (v - 0.5) * (log_(v) - 1.0) + 0.41893853 + tail;
    let y = series - log_(select(F(1.0), a * (a + 1.0) * (a + 2.0), small));
    let pole = select(F(1.14472989) - log_(abs(sinpi_(x))) - y, y, !flip);
    let edge = select(pole, inf_(), isinf_(x) | ((x <= F(0.0)) & (floor(x) == x)));
    return select(edge, x, isnan_(x));
}

// d/dx ln gamma(x): recurrence up to 6, then A&S 6.3.18; reflected below 0.
fn digamma_(x: F) -> F {
    let flip = x < F(0.0);
    var v = select(x, 1.0 - x, flip);
    var y = F(0.0);
    for (var i = 0u; i < 6u; i++) {
        let low = v < F(6.0);
        y -= select(F(0.0), 1.0 / v, low);
        v += select(F(0.0), F(1.0), low);
    }
    let z = 1.0 / (v * v);
    y += log_(v) - 0.5 / v - z * (0.083333333 - z * (0.0083333333 - z * 0.0039682540));
    let r = x - round(x);
    let t = tan_(3.14159265 * r);
    let pole = select(y, y - 3.14159265 / t, flip);
    let edge = select(select(pole, nan_(), flip & (r == F(0.0))), -copysign_(inf_(), x), x == F(0.0));
    return select(edge, x, isnan_(x) | (isinf_(x) & !flip));
}

// d/dx digamma(x), likewise (A&S 6.4.12).
fn trigamma_(x: F) -> F {
    let flip = x < F(0.0);
    var v = select(x, 1.0 - x, flip);
    var y = F(0.0);
    for (var i = 0u; i < 6u; i++) {
        let low = v < F(6.0);
        let part = 1.0 / v;
        y += select(F(0.0), part * part, low);
        v += select(F(0.0), F(1.0), low);
    }
    let r = 1.0 / v;
    let z = r * r;
    y += r + 0.5 * z + r * z * (0.16666667 - z * (0.033333333 - z * 0.023809524));
    let s = 3.14159265 / sinpi_(x);
    return select(select(y, s * s - y, flip), x, isnan_(x));
}
