// conv_weight_direct: out[s, c, q] = Σ_{n, p} dy[n, c, p] · x[n, i, p · stride + t · dilation - padding]      q = (i, t), a weight of channel c
//       dy [n, groups · rows, depth, height, width], x [n, groups · chans, ..], out [slices, groups · rows, chans · kernel]
//       slice s sums its share of the lines (n, depth, height) of dy; the slices are to be summed afterwards
//
// The plain variant: an invocation owns one weight and walks its share of the lines. For few channels a group (depthwise), for CPU
// adapters without subgroups, and what the other variants are judged by. No shared memory, no barrier.
//
// dispatch: slices · groups · rows · chans · taps invocations in groups of 64, folded past 65535
// cost:     2 operations for each product; every product reads both operands
// source:   the definition
// twin:     crates/device/tests/conv.rs (f64)

alias EX = f32;                   // elements of x: f32 | f16
alias ED = f32;                   // elements of dy: f32 | f16
const KERNEL: vec3<u32> = vec3(1u, 3u, 3u);      // depth, height, width
const STRIDE: vec3<i32> = vec3(1, 1, 1);
const PADDING: vec3<i32> = vec3(0, 1, 1);
const DILATION: vec3<i32> = vec3(1, 1, 1);
const FLAT: bool = true;          // no depth axis: one plane, no window, no padding along it
const TAPS: u32 = KERNEL.x * KERNEL.y * KERNEL.z;

// to: dy; from: x. `rows` and `chans` are channels of a group of dy and of x.
struct Sizes {
    groups: u32, rows: u32, chans: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
    slices: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> dy: array<ED>;
@group(0) @binding(1) var<storage, read> x: array<EX>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

// slot: what becomes of one weight's sum
fn store(v: f32, s: u32, c: u32, q: u32) {
    out[(s * sizes.groups * sizes.rows + c) * sizes.chans * TAPS + q] = v;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (first_group_() + wid.y * 65535u + wid.x) * 64u + lane;
    let chain = sizes.chans * TAPS;
    let q = id % chain;
    let c = id / chain % (sizes.groups * sizes.rows);
    let slice = id / chain / (sizes.groups * sizes.rows);
    if slice >= sizes.slices { return; }
    let own = weight_(q, c / sizes.rows);

    let height = sizes.to_d * sizes.to_h;       // lines of an image
    let lines = sizes.images * height;
    let share = (lines + sizes.slices - 1u) / sizes.slices;
    var total = 0.0;
    for (var l = slice * share; l < min(lines, (slice + 1u) * share); l++) {
        let image = quotient_(l, height);
        let inner = l - image * height;          // the line in its image
        let depth = select(quotient_(inner, sizes.to_h), 0u, FLAT);
        let h = inner - depth * sizes.to_h;
        let at = line_(own, image, depth, h);
        let start = ((image * sizes.groups * sizes.rows + c) * height + inner) * sizes.to_w;
        var sum = 0.0;
        for (var p = 0u; p < sizes.to_w; p++) { sum += f32(dy[start + p]) * meet_(own, at, p); }
        total += sum;
    }
    store(total, slice, c, q);
}
