//! Functions of one tensor, and of a tensor and a number.

use super::input::{EDGES, SPECIALS, TAME, f, f_in, v};
use super::{Fun, Table, python};

/// Name, domain, function; flags: `s` all special values, `m` the tame ones only, `r` relative accuracy near zero,
/// `e` the places where pieces join.
const ROWS: [(&str, f64, f64, Fun, &str); 56] = [
    ("neg", -2.0, 2.0, |x| x.neg(), "s"),
    ("exp", -4.0, 4.0, |x| x.exp(), "s"),
    ("exp2", -4.0, 4.0, |x| x.exp2(), "s"),
    ("expm1", -2.0, 2.0, |x| x.expm1(), "sr"),
    ("ln", 0.1, 4.0, |x| x.ln(), "s"),
    ("log2", 0.1, 4.0, |x| x.log2(), "s"),
    ("log10", 0.1, 4.0, |x| x.log10(), "s"),
    ("log1p", -0.9, 4.0, |x| x.log1p(), "sr"),
    ("sqrt", 0.1, 4.0, |x| x.sqrt(), "s"),
    ("rsqrt", 0.1, 4.0, |x| x.rsqrt(), "s"),
    ("square", -2.0, 2.0, |x| x.square(), "s"),
    ("abs", -2.0, 2.0, |x| x.abs(), "se"),
    ("sign", -2.0, 2.0, |x| x.sign(), "se"),
    ("floor", -5.0, 5.0, |x| x.floor(), "s"),
    ("ceil", -5.0, 5.0, |x| x.ceil(), "s"),
    ("round", -5.0, 5.0, |x| x.round(), "s"),
    ("trunc", -5.0, 5.0, |x| x.trunc(), "s"),
    ("frac", -5.0, 5.0, |x| x.frac(), "m"),
    ("recip", 0.2, 3.0, |x| x.recip(), "s"),
    ("sin", -10.0, 10.0, |x| x.sin(), "mr"),
    ("cos", -10.0, 10.0, |x| x.cos(), "m"),
    ("tan", -1.4, 1.4, |x| x.tan(), "mr"),
    ("asin", -0.95, 0.95, |x| x.asin(), "mr"),
    ("acos", -0.95, 0.95, |x| x.acos(), "m"),
    ("atan", -4.0, 4.0, |x| x.atan(), "sr"),
    ("sinh", -4.0, 4.0, |x| x.sinh(), "sr"),
    ("cosh", -4.0, 4.0, |x| x.cosh(), "s"),
    ("tanh", -4.0, 4.0, |x| x.tanh(), "sr"),
    ("asinh", -5.0, 5.0, |x| x.asinh(), "sr"),
    ("acosh", 1.1, 6.0, |x| x.acosh(), "s"),
    ("atanh", -0.95, 0.95, |x| x.atanh(), "mr"),
    ("erf", -3.0, 3.0, |x| x.erf(), "sr"),
    ("erfc", -3.0, 3.0, |x| x.erfc(), "s"),
    ("sigmoid", -8.0, 8.0, |x| x.sigmoid(), "s"),
    ("logsigmoid", -8.0, 8.0, |x| x.logsigmoid(), "s"),
    ("softplus", -8.0, 30.0, |x| x.softplus(), "s"),
    ("relu", -2.0, 2.0, |x| x.relu(), "se"),
    ("relu6", -2.0, 8.0, |x| x.relu6(), "se"),
    ("leaky_relu", -2.0, 2.0, |x| x.leaky_relu(0.125), "se"),
    ("elu", -4.0, 2.0, |x| x.elu(0.75), "se"),
    ("selu", -4.0, 2.0, |x| x.selu(), "se"),
    ("celu", -4.0, 2.0, |x| x.celu(0.75), "se"),
    ("gelu", -4.0, 4.0, |x| x.gelu(), "s"),
    ("gelu_tanh", -4.0, 4.0, |x| x.gelu_tanh(), "s"),
    ("silu", -4.0, 4.0, |x| x.silu(), "s"),
    ("mish", -4.0, 4.0, |x| x.mish(), "s"),
    ("hardtanh", -2.0, 2.0, |x| x.hardtanh(-1.5, 0.5), "se"),
    ("hardswish", -5.0, 5.0, |x| x.hardswish(), "se"),
    ("hardsigmoid", -5.0, 5.0, |x| x.hardsigmoid(), "se"),
    ("softsign", -4.0, 4.0, |x| x.softsign(), "s"),
    ("tanhshrink", -4.0, 4.0, |x| x.tanhshrink(), "s"),
    ("hardshrink", -2.0, 2.0, |x| x.hardshrink(0.5), "se"),
    ("softshrink", -2.0, 2.0, |x| x.softshrink(0.5), "se"),
    ("isnan", -2.0, 2.0, |x| x.isnan(), "s"),
    ("isinf", -2.0, 2.0, |x| x.isinf(), "s"),
    ("isfinite", -2.0, 2.0, |x| x.isfinite(), "s"),
];

pub fn unary(t: &mut Table) {
    for (op, lo, hi, fun, flags) in ROWS {
        let has = |flag| flags.contains(flag);
        t.case(format!("unary/{op}"), [f_in(&[129], lo, hi)], move |x| fun(&x[0]));
        let mut specials = if has('s') { SPECIALS.to_vec() } else { TAME.to_vec() };
        // At -∞ PyTorch's kernel gives NaN where its formula, 0 for x ≤ -3, gives 0, which is ours.
        specials.retain(|&x| op != "hardswish" || x != -f32::INFINITY);
        t.case(format!("unary/{op}/specials"), [v(&specials)], move |x| fun(&x[0]));
        if has('r') {
            t.case(format!("unary/{op}/small"), [f_in(&[65], -0.01, 0.01)], move |x| fun(&x[0])).relative();
        }
        if has('e') {
            t.case(format!("unary/{op}/edges"), [v(&EDGES)], move |x| fun(&x[0]));
        }
    }
    let near1: [(&str, Fun); 3] = [("ln", |x| x.ln()), ("log2", |x| x.log2()), ("log10", |x| x.log10())];
    for (op, fun) in near1 {
        t.case(format!("unary/{op}/near1"), [f_in(&[65], 0.99, 1.01)], move |x| fun(&x[0])).relative();
    }
    let wide: [(&str, Fun); 2] = [("sin", |x| x.sin()), ("cos", |x| x.cos())];
    for (op, fun) in wide {
        t.case(format!("unary/{op}/wide"), [f_in(&[129], -1000.0, 1000.0)], move |x| fun(&x[0]));
    }
    let shapes: [(&str, Fun); 3] = [("exp", |x| x.exp()), ("gelu", |x| x.gelu()), ("relu", |x| x.relu())];
    for (op, fun) in shapes {
        t.case(format!("unary/{op}/scalar"), [f(&[])], move |x| fun(&x[0]));
        t.case(format!("unary/{op}/empty"), [f(&[3, 0])], move |x| fun(&x[0]));
        t.case(format!("unary/{op}/transposed"), [f(&[17, 65])], move |x| fun(&x[0].t()));
        t.case(format!("unary/{op}/stepped"), [f(&[9, 130])], move |x| fun(&x[0].slice(1, 1, 130, 3)));
    }
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for (lo, hi) in [(-0.5, 1.0), (1.0, -1.0), (nan, 1.0), (-1.0, nan), (-inf, inf)] {
        let name = format!("unary/clamp/{}/{}", python(lo), python(hi));
        t.case(name, [v(&SPECIALS)], move |x| x[0].clamp(lo, hi));
    }
    t.case("unary/clamp/edges", [v(&EDGES)], |x| x[0].clamp(-0.5, 1.0));
    t.case("unary/clamp_min", [v(&SPECIALS)], |x| x[0].clamp_min(0.5));
    t.case("unary/clamp_min/edges", [v(&EDGES)], |x| x[0].clamp_min(0.5));
    t.case("unary/clamp_max", [v(&SPECIALS)], |x| x[0].clamp_max(0.5));
    t.case("unary/clamp_max/edges", [v(&EDGES)], |x| x[0].clamp_max(0.5));
}

pub fn scalar(t: &mut Table) {
    let rows: [(&str, Fun); 8] = [
        ("add", |x| x + 0.3),
        ("sub", |x| x - 0.3),
        ("mul", |x| x * 0.3),
        ("div", |x| x / 0.3),
        ("from", |x| 0.3 - x),
        ("over", |x| 0.3 / x),
        ("add_int", |x| x + 2),
        ("chain", |x| (x * 2.0 + 1.0) / 4.0 - 3.0),
    ];
    for (op, fun) in rows {
        t.case(format!("scalar/{op}"), [f_in(&[17], 0.5, 2.0)], move |x| fun(&x[0]));
    }
    for p in [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0] {
        t.case(format!("scalar/powf/{p:?}"), [f_in(&[17], 0.5, 2.0)], move |x| x[0].powf(p));
    }
    for p in [-1.0, 0.0, 0.5, 2.0, 2.5, 3.0] {
        t.case(format!("scalar/powf/{p:?}/specials"), [v(&SPECIALS)], move |x| x[0].powf(p));
    }
    for p in [1.0, 2.0, 3.0] {
        t.case(format!("scalar/powf/{p:?}/edges"), [v(&EDGES)], move |x| x[0].powf(p));
    }
}
