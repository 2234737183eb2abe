// avg_pool: out[nc, p] = Σ_t x[nc, p · stride + t - padding] / divisor      x [planes, depth, height, width], out likewise
//
// An invocation owns WIDTH positions and walks their windows, clipped to x. A window that holds nothing gives NaN, as 0 / 0.
//
// dispatch: ceil(planes · positions / WIDTH / 64) groups, folded past 65535
// cost:     each window is read once; memory bound
// source:   the definition
// twin:     crates/device/tests/pool.rs (f64)

alias F = f32;                    // what store takes: f32 | vec4<f32>
const WIDTH: u32 = 1u;            // elements of F, and positions of an invocation
const FLAT: bool = true;          // no depth axis: planes are images
const KERNEL: vec3<u32> = vec3(1u, 2u, 2u);      // depth, height, width
const STRIDE: vec3<u32> = vec3(1u, 2u, 2u);
const PADDING: vec3<u32> = vec3(0u, 0u, 0u);
const COUNT_PADDING: bool = true; // the padding's zeros count as elements
const ADAPTIVE: bool = false;     // window o of `out` over `in` is ⌊o · in / out⌋ .. ⌈(o + 1) · in / out⌉, whatever KERNEL says

struct Sizes { planes: u32, in_d: u32, in_h: u32, in_w: u32, out_d: u32, out_h: u32, out_w: u32, divisor: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<F>;

// slot: what becomes of one element, or of four in a row (p is then a multiple of 4)
fn store(v: F, nc: u32, p: u32) {
    out[(nc * sizes.out_d * sizes.out_h * sizes.out_w + p) / WIDTH] = v;
}

// slot: the finished positions; F = vec4<f32>: store(v, nc, p);
fn emit(v: vec4<f32>, nc: u32, p: u32) { store(v.x, nc, p); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = ((first_group_() + wid.y * 65535u + wid.x) * 64u + lane) * WIDTH;
    // planes, depth, height and width are one count; four positions never belong to two planes
    let line = quotient_(i, sizes.out_w);
    let slab = quotient_(line, sizes.out_h);
    let nc = select(quotient_(slab, sizes.out_d), slab, FLAT);
    if nc >= sizes.planes { return; }
    var at = vec3(slab - nc * sizes.out_d, line - slab * sizes.out_h, i - line * sizes.out_w);
    let first = (at.x * sizes.out_h + at.y) * sizes.out_w + at.z;
    let start = nc * sizes.in_d * sizes.in_h * sizes.in_w;
    var means: vec4<f32>;
    for (var j = 0u; j < WIDTH; j++) {
        let own = window_(at);
        var sum = 0.0;
        for (var d = own.begin.x; d < own.end.x; d++) {
            for (var h = own.begin.y; h < own.end.y; h++) {
                for (var w = own.begin.z; w < own.end.z; w++) {
                    sum += x[start + (d * sizes.in_h + h) * sizes.in_w + w];
                }
            }
        }
        means[j] = sum / divisor_(at);
        at.z++;
        if at.z == sizes.out_w { at = vec3(at.x, at.y + 1u, 0u); }
        if at.y == sizes.out_h { at = vec3(at.x + 1u, 0u, at.z); }
    }
    emit(means, nc, first);
}
