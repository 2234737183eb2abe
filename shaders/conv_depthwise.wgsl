// conv_depthwise: out[n, c, p] = Σ_t w[c, t] · x[n, c / MULT, p · stride + t · dilation - padding]
// and, BACKWARD:  out[n, i, p] = Σ_{c of i, t} w[c, t] · dy[n, c, (p + padding - t · dilation) / stride] where that is whole
//                 x [n, channels, depth, height, width], w [MULT · channels, kernel]: one channel of x to a group
//
// An invocation owns four neighbours of a line of one channel. Where the stride is 1 their windows overlap, and each line of a window
// is read once for all four; the weights are the same for all invocations of a channel. No shared memory, no barrier.
//
// dispatch: images · channels of out · lines · ceil(width / 4) invocations in groups of 64, folded past 65535
// cost:     2 operations for each product; with stride 1 an element is read (KERNEL.z + 3) / 4 times for each line of a window
// source:   the definition
// twin:     crates/device/tests/conv.rs (f64)

alias EX = f32;                   // elements of x or dy: f32 | f16
alias EW = f32;                   // elements of w: f32 | f16
alias F = f32;                    // what store takes: f32 | vec4<f32>
const WIDTH: u32 = 1u;            // elements of F; 4 needs lines of a multiple of 4
const BACKWARD: bool = false;     // the gradient with respect to the input
const STRIDED: bool = false;      // BACKWARD, with a stride over 1
const MULT: u32 = 1u;             // channels of y to one of x
const KERNEL: vec3<u32> = vec3(1u, 3u, 3u);      // depth, height, width
const STRIDE: vec3<i32> = vec3(1, 1, 1);
const PADDING: vec3<i32> = vec3(0, 1, 1);
const DILATION: vec3<i32> = vec3(1, 1, 1);
const TAPS: u32 = KERNEL.x * KERNEL.y * KERNEL.z;
const REACH: u32 = (KERNEL.z - 1u) * u32(DILATION.z);       // from the first to the last tap of a line
const STEP: u32 = select(u32(STRIDE.z), 1u, BACKWARD);
const SPAN: u32 = REACH + 3u * STEP + 1u;                   // elements of a line that four windows see

// from: x, or dy if BACKWARD; to: y, or dx, with `channels` channels.
struct Sizes {
    channels: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<EX>;
@group(0) @binding(1) var<storage, read> w: array<EW>;
@group(0) @binding(2) var<storage, read_write> out: array<F>;
@group(0) @binding(3) var<storage, read> dy: array<EX>;         // in place of x if BACKWARD

// slot: an element of x; BACKWARD: f32(dy[i])
fn load(i: u32) -> f32 { return f32(x[i]); }

// slot: what becomes of one element, or of four in a row (p is then a multiple of 4); p counts positions of a plane
fn store(v: F, n: u32, c: u32, p: u32) {
    out[((n * sizes.channels + c) * sizes.to_d * sizes.to_h * sizes.to_w + p) / WIDTH] = v;
}

// slot: four neighbours, of which the first `count` are in the line; F = vec4<f32>: store(v, n, c, p);
fn emit(v: vec4<f32>, count: u32, n: u32, c: u32, p: u32) {
    for (var j = 0u; j < 4u; j++) { if j < count { store(v[j], n, c, p + j); } }
}

// An element of a line of `from` that starts at `start`; zero outside of it, or of everything if the line is not `real`.
fn at(start: u32, place: i32, real: bool) -> f32 {
    let here = real & (u32(place) < sizes.from_w);
    return select(0.0, load(select(0u, start + u32(place), here)), here);
}

// Where a line of windows meets `from` along depth or height: the place, and whether it is there.
struct Met { at: u32, real: bool }

fn meet(to: u32, tap: u32, stride: i32, padding: i32, dilation: i32, extent: u32) -> Met {
    if !BACKWARD {
        let q = u32(i32(to) * stride + i32(tap) * dilation - padding);
        return Met(q, q < extent);
    }
    let q = i32(to) + padding - i32(tap) * dilation;
    return Met(u32(q / stride), (q >= 0) & (q % stride == 0) & (u32(q / stride) < extent));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.to_w + 3u) / 4u;
    let id = (first_group_() + wid.y * 65535u + wid.x) * 64u + lane;
    let line = quotient_(id, across);
    let slab = quotient_(line, sizes.to_h);
    let plane_to = quotient_(slab, sizes.to_d);
    let n = quotient_(plane_to, sizes.channels);
    let col = (id - line * across) * 4u;
    let h = line - slab * sizes.to_h;
    let d = slab - plane_to * sizes.to_d;
    let channel = plane_to - n * sizes.channels;
    if n >= sizes.images { return; }

    var acc = vec4(0.0);
    for (var m = 0u; m < select(1u, MULT, BACKWARD); m++) {
        // channels of y, which the weights belong to, and of `from`
        let c = select(channel, channel * MULT + m, BACKWARD);
        let plane = n * select(sizes.channels / MULT, sizes.channels * MULT, BACKWARD) + select(channel / MULT, c, BACKWARD);
        for (var td = 0u; td < KERNEL.x; td++) {
            let md = meet(d, td, STRIDE.x, PADDING.x, DILATION.x, sizes.from_d);
            for (var th = 0u; th < KERNEL.y; th++) {
                let mh = meet(h, th, STRIDE.y, PADDING.y, DILATION.y, sizes.from_h);
                let real = md.real & mh.real;
                let start = ((plane * sizes.from_d + md.at) * sizes.from_h + mh.at) * sizes.from_w;
                let weights = (c * KERNEL.x + td) * KERNEL.y * KERNEL.z + th * KERNEL.z;
                if STRIDED {
                    for (var t = 0u; t < KERNEL.z; t++) {
                        let q = vec4(i32(col) + PADDING.z - i32(t) * DILATION.z) + vec4(0, 1, 2, 3);
                        let whole = (q >= vec4(0)) & (q % vec4(STRIDE.z) == vec4(0));
                        let to = q / vec4(STRIDE.z);
                        let v = vec4(at(start, to.x, real & whole.x), at(start, to.y, real & whole.y),
                            at(start, to.z, real & whole.z), at(start, to.w, real & whole.w));
                        acc += f32(w[weights + t]) * v;
                    }
                } else {
                    var seen: array<f32, SPAN>;
                    let first = select(i32(col) * STRIDE.z - PADDING.z, i32(col) + PADDING.z - i32(REACH), BACKWARD);
                    for (var i = 0u; i < SPAN; i++) { seen[i] = at(start, first + i32(i), real); }
                    for (var t = 0u; t < KERNEL.z; t++) {
                        let i = select(t * u32(DILATION.z), REACH - t * u32(DILATION.z), BACKWARD);
                        acc += f32(w[weights + t]) * vec4(seen[i], seen[i + STEP], seen[i + 2u * STEP], seen[i + 3u * STEP]);
                    }
                }
            }
        }
    }
    emit(acc, sizes.to_w - col, n, channel, (d * sizes.to_h + h) * sizes.to_w + col);
}
