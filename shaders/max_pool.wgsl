// max_pool: out[nc, p] = max_t x[nc, p · stride + t · dilation - padding]      x [planes, depth, height, width], out likewise
//           index[nc, p] = where in the plane of x that is
//
// As in PyTorch the first of equal elements is taken, a NaN is greater than all, and of several NaN the last is taken. Padding is never
// taken; a window that sees nothing else gives -∞ and index -1. An invocation owns WIDTH positions and walks their windows.
//
// dispatch: ceil(planes · positions / WIDTH / 64) groups, folded past 65535
// cost:     each window is read once; memory bound
// source:   the definition
// twin:     crates/device/tests/pool.rs (f64)

alias F = f32;                    // what store takes: f32 | vec4<f32>
alias I = i32;                    // i32 | vec4<i32>
const WIDTH: u32 = 1u;            // elements of F, and positions of an invocation
const FLAT: bool = true;          // no depth axis: planes are images
const KERNEL: vec3<u32> = vec3(1u, 2u, 2u);      // depth, height, width
const STRIDE: vec3<u32> = vec3(1u, 2u, 2u);
const PADDING: vec3<u32> = vec3(0u, 0u, 0u);
const DILATION: vec3<u32> = vec3(1u, 1u, 1u);
const ADAPTIVE: bool = false;     // window o of `out` over `in` is ⌊o · in / out⌋ .. ⌈(o + 1) · in / out⌉, whatever KERNEL says

struct Sizes { planes: u32, in_d: u32, in_h: u32, in_w: u32, out_d: u32, out_h: u32, out_w: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<F>;
@group(0) @binding(2) var<storage, read_write> index: array<I>;

// slot: what becomes of one element, or of four in a row (p is then a multiple of 4)
fn store(v: F, nc: u32, p: u32) {
    out[(nc * sizes.out_d * sizes.out_h * sizes.out_w + p) / WIDTH] = v;
}

// slot: the finished positions; F = vec4<f32>: index[i / 4u] = at; store(v, nc, p);
fn emit(v: vec4<f32>, at: vec4<i32>, i: u32, nc: u32, p: u32) {
    index[i] = at.x;
    store(v.x, nc, p);
}

fn is_nan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }

// Where a window begins, which wraps in the padding, and how many elements it has.
struct Window { first: vec3<u32>, count: vec3<u32> }

fn window(o: vec3<u32>) -> Window {
    if !ADAPTIVE { return Window(o * STRIDE - PADDING, KERNEL); }
    let size = vec3(sizes.in_d, sizes.in_h, sizes.in_w);
    let outs = vec3(sizes.out_d, sizes.out_h, sizes.out_w);
    let first = o * size / outs;
    return Window(first, ((o + 1u) * size + outs - 1u) / outs - first);
}

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
    var values: vec4<f32>;
    var places: vec4<i32>;
    for (var j = 0u; j < WIDTH; j++) {
        let own = window(at);
        var lowest = 0xff800000u;               // -∞; WGSL has no literal for it
        var best = bitcast<f32>(lowest);
        var found = -1;
        for (var d = 0u; d < own.count.x; d++) {
            for (var h = 0u; h < own.count.y; h++) {
                for (var w = 0u; w < own.count.z; w++) {
                    let q = own.first + vec3(d, h, w) * DILATION;
                    let real = q.x < sizes.in_d && q.y < sizes.in_h && q.z < sizes.in_w;
                    let place = (q.x * sizes.in_h + q.y) * sizes.in_w + q.z;
                    let v = x[start + select(0u, place, real)];
                    let takes = real && (is_nan(v) || found < 0 || (!is_nan(best) && v > best));
                    best = select(best, v, takes);
                    found = select(found, i32(place), takes);
                }
            }
        }
        values[j] = best;
        places[j] = found;
        at.z++;
        if at.z == sizes.out_w { at = vec3(at.x, at.y + 1u, 0u); }
        if at.y == sizes.out_h { at = vec3(at.x + 1u, 0u, at.z); }
    }
    emit(values, places, i, nc, first);
}
