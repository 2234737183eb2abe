// Integer arithmetic as PyTorch has it, written once for `I` (i32 or vec4<i32>) or `U`. A zero divisor gives 0.

// Quotient rounded down.
fn idiv_floor_(a: I, b: I) -> I {
    let d = select(b, I(1), b == I(0));
    let q = a / d;
    let r = a - q * d;
    let down = select(I(0), I(1), (r != I(0)) & ((r < I(0)) != (d < I(0))));
    return select(q - down, I(0), b == I(0));
}

// Quotient rounded towards zero.
fn idiv_trunc_(a: I, b: I) -> I {
    return select(a / select(b, I(1), b == I(0)), I(0), b == I(0));
}

// Remainder with the sign of the divisor.
fn irem_(a: I, b: I) -> I {
    return select(a - idiv_floor_(a, b) * b, I(0), b == I(0));
}

// Remainder with the sign of the dividend.
fn ifmod_(a: I, b: I) -> I {
    return a - idiv_trunc_(a, b) * b;
}

// a^b by squaring; a negative exponent gives 1 / a^-b rounded towards zero.
fn ipow_(a: I, b: I) -> I {
    var y = I(1);
    var base = a;
    var e = abs(b);
    for (var i = 0u; i < 31u; i++) {
        y = select(y, y * base, (e & I(1)) == I(1));
        base = base * base;
        e = e >> U(1u);
    }
    let sign = select(I(1), I(-1), (b & I(1)) == I(1));
    let inverse = select(select(I(0), sign, a == I(-1)), I(1), a == I(1));
    return select(y, inverse, b < I(0));
}

fn udiv_(a: U, b: U) -> U {
    return select(a / select(b, U(1u), b == U(0u)), U(0u), b == U(0u));
}

fn urem_(a: U, b: U) -> U {
    return a - udiv_(a, b) * b;
}

// n / d for n below 2³¹ and d above 0, by way of floats: vectors of integers have no division on CPU adapters, where each element is
// divided by itself, and on GPUs it takes as many steps as this. The first quotient is wrong by 2⁻²² of itself at most; what it leaves
// over is divided again, and what may be wrong by one then is put right.
fn quotient_(n: u32, d: u32) -> u32 {
    let inverse = 1.0 / f32(d);
    let first = u32(f32(n) * inverse);
    let q = first + u32(i32(floor(f32(i32(n - first * d)) * inverse)));
    let left = i32(n - q * d);
    return q + select(0u, 1u, left >= i32(d)) - select(0u, 1u, left < 0);
}
