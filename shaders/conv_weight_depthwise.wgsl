// conv_weight_depthwise: out[s, c, t] = Σ_{n, p} dy[n, c, p] · x[n, c / MULT, p · stride + t · dilation - padding]
//       dy [n, MULT · channels, depth, height, width], x [n, channels, ..], out [slices, MULT · channels, kernel]; a slice sums its share of
//       the positions of all images; the slices are to be summed afterwards
//
// A workgroup owns all weights of one channel. Its lanes go over the share side by side, so that neighbours read neighbours, and each
// keeps a sum for every weight; they are added up at the end as a tree, in a fixed order.
//
// dispatch: channels of y · slices groups, folded past 65535
// cost:     2 operations for each product; dy is read once, each window once
// source:   the definition
// twin:     crates/device/tests/conv.rs (f64)

alias EX = f32;                   // elements of x: f32 | f16
alias ED = f32;                   // elements of dy: f32 | f16
const LANES: u32 = 64u;           // a power of two; one subgroup on CPU adapters
const MULT: u32 = 1u;             // channels of y to one of x
const KERNEL: vec3<u32> = vec3(1u, 3u, 3u);      // depth, height, width; few enough for registers
const STRIDE: vec3<i32> = vec3(1, 1, 1);
const PADDING: vec3<i32> = vec3(0, 1, 1);
const DILATION: vec3<i32> = vec3(1, 1, 1);
const TAPS: u32 = KERNEL.x * KERNEL.y * KERNEL.z;

// to: dy, with `channels` channels; from: x.
struct Sizes {
    channels: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
    slices: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> dy: array<ED>;
@group(0) @binding(1) var<storage, read> x: array<EX>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

// slot: what becomes of one weight's sum
fn store(v: f32, s: u32, c: u32, q: u32) {
    out[(s * sizes.channels + c) * TAPS + q] = v;
}

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = first_group_() + wid.y * 65535u + wid.x;
    let c = id % sizes.channels;
    let slice = id / sizes.channels;
    if slice >= sizes.slices { return; }        // the whole workgroup
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    let share = (sizes.images * area + sizes.slices - 1u) / sizes.slices;

    var acc: array<f32, TAPS>;
    for (var i = slice * share + lane; i < min((slice + 1u) * share, sizes.images * area); i += LANES) {
        let n = quotient_(i, area);
        let p = i - n * area;
        let line = quotient_(p, sizes.to_w);
        let depth = quotient_(line, sizes.to_h);
        let own = f32(dy[(n * sizes.channels + c) * area + p]);
        let at = vec3<i32>(vec3(depth, line - depth * sizes.to_h, p - line * sizes.to_w)) * STRIDE - PADDING;
        let plane = n * (sizes.channels / MULT) + c / MULT;
        for (var t = 0u; t < TAPS; t++) {
            let tap = vec3<i32>(vec3(t / KERNEL.z / KERNEL.y, t / KERNEL.z % KERNEL.y, t % KERNEL.z)) * DILATION;
            let q = vec3<u32>(at + tap);
            let real = (q.x < sizes.from_d) & (q.y < sizes.from_h) & (q.z < sizes.from_w);
            let place = ((plane * sizes.from_d + q.x) * sizes.from_h + q.y) * sizes.from_w + q.z;
            acc[t] += own * select(0.0, f32(x[select(0u, place, real)]), real);
        }
    }
    for (var t = 0u; t < TAPS; t++) {
        sums[lane] = acc[t];
        for (var half = LANES / 2u; half > 0u; half /= 2u) {
            workgroupBarrier();
            if lane < half { sums[lane] += sums[lane + half]; }
        }
        workgroupBarrier();
        if lane == 0u { store(sums[0], slice, c, t); }
        workgroupBarrier();
    }
}
