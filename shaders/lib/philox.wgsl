// Random numbers from counters: Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as
// 1, 2, 3", table 2). Element a of a stream (c1, c2) is word a % 4 of philox((a / 4, c1, c2, 0), (k0, k1)).
// Words, uniforms and Bernoullis have the same bits on every adapter and at every width; normals agree to 1e-6.
// twin: crates/device/src/philox.rs

// The high half of a * b.
fn mul_high_(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let mid = ah * bl + ((al * bl) >> 16u);
    let low = al * bh + (mid & 0xffffu);
    return ah * bh + (mid >> 16u) + (low >> 16u);
}

fn philox_round_(c: vec4<u32>, k: vec2<u32>) -> vec4<u32> {
    return vec4(mul_high_(0xcd9e8d57u, c.z) ^ c.y ^ k.x, 0xcd9e8d57u * c.z,
                mul_high_(0xd2511f53u, c.x) ^ c.w ^ k.y, 0xd2511f53u * c.x);
}

// Ten rounds, written out: a loop would count towards the most that an invocation may take on lavapipe.
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let step = vec2(0x9e3779b9u, 0xbb67ae85u);
    var c = philox_round_(counter, key);
    c = philox_round_(c, key + step);
    c = philox_round_(c, key + 2u * step);
    c = philox_round_(c, key + 3u * step);
    c = philox_round_(c, key + 4u * step);
    c = philox_round_(c, key + 5u * step);
    c = philox_round_(c, key + 6u * step);
    c = philox_round_(c, key + 7u * step);
    c = philox_round_(c, key + 8u * step);
    return philox_round_(c, key + 9u * step);
}

// ---- four elements at a time: 4 q .. 4 q + 3 ----

fn philox_words_(q: u32, k0: u32, k1: u32, c1: u32, c2: u32) -> vec4<u32> {
    return philox(vec4(q, c1, c2, 0u), vec2(k0, k1));
}

// In [0, 1), multiples of 2^-24.
fn philox_uniforms_(q: u32, k0: u32, k1: u32, c1: u32, c2: u32) -> vec4<f32> {
    return vec4<f32>(philox_words_(q, k0, k1, c1, c2) >> vec4(8u)) * 5.9604645e-8;
}

// cos and sin of a + turns, a in [0, 1) turns, reduced exactly.
fn turn_(a: f32) -> vec2<f32> {
    let n = round(4.0 * a);
    let r = (a - 0.25 * n) * 6.2831853;
    let z = r * r;
    let s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
    let c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
    let quarter = u32(n) & 3u;
    let v = select(vec2(c, s), vec2(-s, c), (quarter & 1u) == 1u);
    return select(v, -v, quarter >= 2u);
}

// sqrt(-2 ln u), u = (w + 1) 2^-24 for a word without its low 8 bits.
fn radius_(w: u32) -> f32 {
    let u = f32((w >> 8u) + 1u) * 5.9604645e-8;
    let b = bitcast<i32>(u) - 0x3f3504f3;
    let e = f32(b >> 23u);
    let f = bitcast<f32>((b & 0x7fffff) + 0x3f3504f3) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let p = z * (0.66666662693 + z * (0.40000972152 + z * (0.28498786688 + z * 0.24279078841)));
    let h = 0.5 * f * f;
    let y = e * 0.693145751953125 + ((f - (h - s * (h + p))) + e * 1.42860682e-6);
    return sqrt(max(-2.0 * y, 0.0));
}

// Box & Muller 1958: radius and angle from the words (0, 1), and from (2, 3).
fn philox_normals_(q: u32, k0: u32, k1: u32, c1: u32, c2: u32) -> vec4<f32> {
    let w = philox_words_(q, k0, k1, c1, c2);
    let p = radius_(w.x) * turn_(f32(w.y >> 8u) * 5.9604645e-8);
    let r = radius_(w.z) * turn_(f32(w.w >> 8u) * 5.9604645e-8);
    return vec4(p, r);
}

// ---- single elements: word i % 4 of call i / 4 ----

fn philox_word1_(i: u32, k0: u32, k1: u32, c1: u32, c2: u32) -> u32 {
    let w = philox_words_(i / 4u, k0, k1, c1, c2);
    let pair = select(w.xy, w.zw, (i & 2u) != 0u);
    return select(pair.x, pair.y, (i & 1u) != 0u);
}

fn philox_uniform1_(i: u32, k0: u32, k1: u32, c1: u32, c2: u32) -> f32 {
    return f32(philox_word1_(i, k0, k1, c1, c2) >> 8u) * 5.9604645e-8;
}

fn philox_normal1_(i: u32, k0: u32, k1: u32, c1: u32, c2: u32) -> f32 {
    let w = philox_words_(i / 4u, k0, k1, c1, c2);
    let pair = select(w.xy, w.zw, (i & 2u) != 0u);
    let v = radius_(pair.x) * turn_(f32(pair.y >> 8u) * 5.9604645e-8);
    return select(v.x, v.y, (i & 1u) != 0u);
}
