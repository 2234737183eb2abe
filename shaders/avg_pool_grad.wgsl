// avg_pool_grad: out[nc, p] = Σ_o dy[nc, o] / divisor of o, over the outputs whose windows hold p
//                out [planes, depth, height, width] like x; dy like y
//
// The gradient of avg_pool with respect to its input, gathered: an invocation owns WIDTH positions of x.
//
// dispatch: ceil(planes · positions / WIDTH / 64) groups, folded past 65535
// cost:     each output is read once for every position of its window; memory bound
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
const REACH: vec3<u32> = (KERNEL - vec3(1u)) / STRIDE + vec3(1u);     // outputs that a position may reach

struct Sizes { planes: u32, in_d: u32, in_h: u32, in_w: u32, out_d: u32, out_h: u32, out_w: u32, divisor: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<F>;

// slot: what becomes of one element, or of four in a row (p is then a multiple of 4)
fn store(v: F, nc: u32, p: u32) {
    out[(nc * sizes.in_d * sizes.in_h * sizes.in_w + p) / WIDTH] = v;
}

// slot: the finished positions; F = vec4<f32>: store(v, nc, p);
fn emit(v: vec4<f32>, nc: u32, p: u32) { store(v.x, nc, p); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = ((first_group_() + wid.y * 65535u + wid.x) * 64u + lane) * WIDTH;
    // planes, depth, height and width are one count; four positions never belong to two planes
    let line = quotient_(i, sizes.in_w);
    let slab = quotient_(line, sizes.in_h);
    let nc = select(quotient_(slab, sizes.in_d), slab, FLAT);
    if nc >= sizes.planes { return; }
    var at = vec3(slab - nc * sizes.in_d, line - slab * sizes.in_h, i - line * sizes.in_w);
    let first = (at.x * sizes.in_h + at.y) * sizes.in_w + at.z;
    let start = nc * sizes.out_d * sizes.out_h * sizes.out_w;
    var sums: vec4<f32>;
    for (var j = 0u; j < WIDTH; j++) {
        let range = reached_(at);
        var sum = 0.0;
        for (var d = 0u; d < range.count.x; d++) {
            for (var h = 0u; h < range.count.y; h++) {
                for (var w = 0u; w < range.count.z; w++) {
                    let o = range.last - vec3(d, h, w);          // wraps before the first
                    let real = o.x < sizes.out_d && o.y < sizes.out_h && o.z < sizes.out_w;
                    let place = start + select(0u, (o.x * sizes.out_h + o.y) * sizes.out_w + o.z, real);
                    let own = window_(o);
                    let holds = real && all(at >= own.begin) && all(at < own.end);
                    sum += select(0.0, dy[place] / divisor_(o), holds);
                }
            }
        }
        sums[j] = sum;
        at.z++;
        if at.z == sizes.in_w { at = vec3(at.x, at.y + 1u, 0u); }
        if at.y == sizes.in_h { at = vec3(at.x + 1u, 0u, at.z); }
    }
    emit(sums, nc, first);
}
