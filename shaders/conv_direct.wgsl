// conv_direct: out[n, c, p] = Σ_{i, t} w[c, i, t] · x[n, i, p · stride + t · dilation - padding]
// and, BACKWARD: out[n, i, p] = Σ_{c, t} w[c, i, t] · x[n, c, (p + padding - t · dilation) / stride] where that is whole
//                x [n, channels, depth, height, width], w [c, i of the group, kernel], out like x; groups apart
//
// The plain variant: an invocation owns four positions of one channel and walks their windows. For few channels a group (depthwise),
// for CPU adapters without subgroups, and what the other variants are judged by. No shared memory, no barrier.
//
// dispatch: groups · rows · ceil(images · area / 4) invocations in groups of 64, folded past 65535
// cost:     2 operations for each product; each window is read `rows` times
// source:   the definition
// twin:     crates/device/tests/conv.rs (f64)

alias EX = f32;                   // elements of x or dy: f32 | f16
alias EW = f32;                   // elements of w: f32 | f16
alias F = f32;                    // what store takes: f32 | vec4<f32>
const WIDTH: u32 = 1u;            // elements of F
const BACKWARD: bool = false;     // the gradient with respect to the input
const STRIDED: bool = false;      // BACKWARD, with a stride over 1
const KERNEL: vec3<u32> = vec3(1u, 3u, 3u);      // depth, height, width
const STRIDE: vec3<i32> = vec3(1, 1, 1);
const PADDING: vec3<i32> = vec3(0, 1, 1);
const DILATION: vec3<i32> = vec3(1, 1, 1);
const FLAT: bool = true;          // no depth axis: one plane, no window, no padding along it
const TAPS: u32 = KERNEL.x * KERNEL.y * KERNEL.z;

// from: x, or dy if BACKWARD; to: y, or dx. `rows` and `chans` are channels of a group of `to` and of `from`.
struct Sizes {
    groups: u32, rows: u32, chans: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<EX>;
@group(0) @binding(1) var<storage, read> w: array<EW>;
@group(0) @binding(2) var<storage, read_write> out: array<F>;
@group(0) @binding(3) var<storage, read> dy: array<EX>;        // in place of x if BACKWARD

// slot: an element of x; BACKWARD: f32(dy[i])
fn load(i: u32) -> f32 { return f32(x[i]); }

// slot: what becomes of one element, or of four in a row (p is then a multiple of 4); p counts positions of a plane
fn store(v: F, n: u32, c: u32, p: u32) {
    out[((n * sizes.groups * sizes.rows + c) * sizes.to_d * sizes.to_h * sizes.to_w + p) / WIDTH] = v;
}

// slot: four columns, of which the first `count` are there and the first is position p of image n; F = vec4<f32>: if count > 0u { store(v, n, c, p); }
fn emit(v: vec4<f32>, count: u32, n: u32, c: u32, p: u32) {
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    for (var j = 0u; j < 4u; j++) {         // as often in every lane: Mesa 26.1 mistakes rows where it is not
        let over = quotient_(p + j, area);
        if j < count { store(v[j], n + over, c, p + j - over * area); }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.images * sizes.to_d * sizes.to_h * sizes.to_w + 3u) / 4u;
    let id = (first_group_() + wid.y * 65535u + wid.x) * 64u + lane;
    let channel = quotient_(id, across);
    if channel >= sizes.groups * sizes.rows { return; }
    let col = (id - channel * across) * 4u;
    let group = channel / sizes.rows;
    let row = channel % sizes.rows;
    var columns: array<Column_, 4>;
    for (var j = 0u; j < 4u; j++) { columns[j] = column_(col + j, group); }
    let w_row = select(sizes.chans * TAPS, TAPS, BACKWARD);
    let w_chan = select(TAPS, sizes.rows * TAPS, BACKWARD);
    let w_start = group * sizes.rows * sizes.chans * TAPS + row * w_row;

    var acc = vec4(0.0);
    for (var t = 0u; t < TAPS; t++) {
        let tap = reach_(t);
        for (var c = 0u; c < sizes.chans; c++) {
            let v = vec4(see_(columns[0], tap, c), see_(columns[1], tap, c), see_(columns[2], tap, c), see_(columns[3], tap, c));
            acc += f32(w[w_start + c * w_chan + t]) * v;
        }
    }
    let all = sizes.images * sizes.to_d * sizes.to_h * sizes.to_w;
    let image = quotient_(col, all / sizes.images);
    emit(acc, all - col, image, channel, col - image * (all / sizes.images));
}
