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
const KERNEL: vec3<u32> = vec3(1u, 2u, 2u);      // depth, height, width
const STRIDE: vec3<u32> = vec3(1u, 2u, 2u);
const PADDING: vec3<u32> = vec3(0u, 0u, 0u);
const COUNT_PADDING: bool = true; // the padding's zeros count as elements

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

// What the window of an output is divided by: a given number, or its elements, with or without those in the padding. A window may
// reach past the padding (ceil mode); what lies there never counts.
fn divisor(o: vec3<u32>) -> f32 {
    if sizes.divisor > 0u { return f32(sizes.divisor); }
    let size = vec3(sizes.in_d, sizes.in_h, sizes.in_w);
    let first = o * STRIDE;                                     // counted from the beginning of the padding
    var end = min(first + KERNEL, size + 2u * PADDING);
    if COUNT_PADDING { let n = end - first; return f32(n.x * n.y * n.z); }
    end = min(end, size + PADDING);
    let begin = max(first, PADDING);
    let n = select(vec3(0u), end - begin, end > begin);
    return f32(n.x * n.y * n.z);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let area = sizes.out_d * sizes.out_h * sizes.out_w;
    let i = ((wid.y * 65535u + wid.x) * 64u + lane) * WIDTH;
    let nc = i / area;
    if nc >= sizes.planes { return; }
    let begin = i % area;
    var means: vec4<f32>;
    for (var j = 0u; j < WIDTH; j++) {
        let p = begin + j;
        let at = vec3(p / sizes.out_w / sizes.out_h, p / sizes.out_w % sizes.out_h, p % sizes.out_w);
        let size = vec3(sizes.in_d, sizes.in_h, sizes.in_w);
        let first = max(at * STRIDE, PADDING) - PADDING;
        let end = min(max(at * STRIDE + KERNEL, PADDING) - PADDING, size);
        var sum = 0.0;
        for (var d = first.x; d < end.x; d++) {
            for (var h = first.y; h < end.y; h++) {
                for (var w = first.z; w < end.z; w++) {
                    sum += x[((nc * sizes.in_d + d) * sizes.in_h + h) * sizes.in_w + w];
                }
            }
        }
        means[j] = sum / divisor(at);
    }
    emit(means, nc, begin);
}
