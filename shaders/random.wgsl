// random: out[i] = the i-th draw of a Philox stream                                                  out [n]
//
// Counter-based: element i depends on the stream and on i alone, so any part can be drawn again. Words, uniforms and
// Bernoullis have the same bits on every adapter and at both widths; normals agree to 1e-6.
//
// dispatch: ceil(n / WIDTH / WG) workgroups, folded past 65535
// cost:     one write; about 60 integer operations an element at width 4, four times that at width 1
// source:   lib/philox.wgsl
// twin:     crates/device/src/philox.rs, crates/device/tests/random.rs

alias F = f32;                    // f32 | vec4<f32>; I, U and L have its width
alias I = i32;
alias U = u32;
alias L = bool;
alias V = f32;                    // F, or U for words
const WG: u32 = 64u;

struct Sizes { n: u32, k0: u32, k1: u32, c1: u32, c2: u32, p: f32 }    // n: invocations; p: of Bernoulli draws
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read_write> out: array<V>;

// slot: key (x, y) and counter (z, w) of the stream.
fn stream() -> vec4<u32> {
    return vec4(sizes.k0, sizes.k1, sizes.c1, sizes.c2);
}

// slot: element i, or the elements 4 i .. 4 i + 3.
fn draw(i: u32, s: vec4<u32>) -> V {
    return philox_uniform1_(i, s.x, s.y, s.z, s.w);
}

// slot: what is done with them.
fn store(v: V, i: u32) {
    out[i] = v;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (first_group_() + group.y * 65535u + group.x) * WG + local;
    if i < sizes.n { store(draw(i, stream()), i); }
}
