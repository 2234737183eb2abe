// conv_weight_subgroup: out[s, c, q] = Σ_{n, p} dy[n, c, p] · x[n, i, p · stride + t · dilation - padding]      q = (i, t), a weight of channel c
//       dy [n, groups · rows, depth, height, width], x [n, groups · chans, ..], out [slices, groups · rows, chans · kernel]
//       slice s sums its share of the lines (n, depth, height) of dy; the slices are to be summed afterwards
//
// For CPU adapters: a matrix product of dy with the windows of x, gathered as they are needed. As in matmul_subgroup, a workgroup is
// one subgroup of 8 lanes and owns ROWS channels and 32 weights of each; a lane owns four weights. The sum runs along the lines of
// dy, four places at a time. No shared memory, no barrier.
//
// dispatch: ceil(rows / ROWS) · ceil(chans · taps / 32) · groups · slices groups, folded past 65535
// cost:     2 operations for each product; dy is read chans · taps / 32 times, each window rows / ROWS times
// source:   Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning", section 3
// twin:     crates/device/tests/conv.rs (f64)

alias EX = f32;                   // elements of x: f32 | f16
alias D = f32;                    // one load of dy: f32 | f16 | vec4 of them
alias D4 = vec4<f32>;             // four elements of dy
alias F = f32;                    // what store takes: f32 | vec4<f32>
const D_WIDTH: u32 = 1u;          // elements in a load; 4 needs lines of dy of a multiple of 4
const WIDTH: u32 = 1u;            // elements of F
const KERNEL: vec3<u32> = vec3(1u, 3u, 3u);      // depth, height, width
const STRIDE: vec3<i32> = vec3(1, 1, 1);
const PADDING: vec3<i32> = vec3(0, 1, 1);
const DILATION: vec3<i32> = vec3(1, 1, 1);
const FLAT: bool = true;          // no depth axis: one plane, no window, no padding along it
const PER: u32 = 4u;              // rows that a lane loads: 1, 2 or 4
const ROWS: u32 = 8u * PER;
const TAPS: u32 = KERNEL.x * KERNEL.y * KERNEL.z;

// to: dy; from: x. `rows` and `chans` are channels of a group of dy and of x.
struct Sizes {
    groups: u32, rows: u32, chans: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
    slices: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> dy: array<D>;
@group(0) @binding(1) var<storage, read> x: array<EX>;
@group(0) @binding(2) var<storage, read_write> out: array<F>;

// slot: what becomes of one weight's sum, or of four in a row (q is then a multiple of 4)
fn store(v: F, s: u32, c: u32, q: u32) {
    out[((s * sizes.groups * sizes.rows + c) * sizes.chans * TAPS + q) / WIDTH] = v;
}

// slot: four weights; F = vec4<f32>: if q < sizes.chans * TAPS { store(v, s, c, q); }
fn emit(v: vec4<f32>, s: u32, c: u32, q: u32) {
    for (var j = 0u; j < 4u && q + j < sizes.chans * TAPS; j++) { store(v[j], s, c, q + j); }
}

// Four places of a line of dy.
fn dy_four(i: u32, ahead: vec3<u32>) -> vec4<f32> {
    if D_WIDTH == 4u { return vec4<f32>(D4(dy[i / 4u])); }
    return vec4(vec4<f32>(D4(dy[i])).x, vec4<f32>(D4(dy[i + ahead.x])).x, vec4<f32>(D4(dy[i + ahead.y])).x, vec4<f32>(D4(dy[i + ahead.z])).x);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.chans * TAPS + 31u) / 32u;
    let down = (sizes.rows + ROWS - 1u) / ROWS;
    let id = first_group_() + wid.y * 65535u + wid.x;
    let group = id / across / down % sizes.groups;
    let slice = id / across / down / sizes.groups;
    if slice >= sizes.slices { return; }
    let row = id / across % down * ROWS;
    let q = id % across * 32u + lane * 4u;
    let weights = array(weight_(q, group), weight_(q + 1u, group), weight_(q + 2u, group), weight_(q + 3u, group));
    let channels = min(vec4(row + PER * lane) + vec4(0u, 1u, 2u, 3u), vec4(sizes.rows - 1u)) + group * sizes.rows;

    let height = sizes.to_d * sizes.to_h;       // lines of an image
    let lines = sizes.images * height;
    let share = (lines + sizes.slices - 1u) / sizes.slices;
    var acc: array<vec4<f32>, ROWS>;
    for (var l = slice * share; l < min(lines, (slice + 1u) * share); l++) {
        let image = quotient_(l, height);
        let inner = l - image * height;          // the line in its image
        let depth = select(quotient_(inner, sizes.to_h), 0u, FLAT);
        let h = inner - depth * sizes.to_h;
        let at0 = line_(weights[0], image, depth, h);
        let at1 = line_(weights[1], image, depth, h);
        let at2 = line_(weights[2], image, depth, h);
        let at3 = line_(weights[3], image, depth, h);
        let starts = ((image * sizes.groups * sizes.rows + channels) * height + inner) * sizes.to_w;
        for (var p = 0u; p < sizes.to_w; p += 4u) {
            let ahead = min(vec3(1u, 2u, 3u), vec3(sizes.to_w - 1u - p));       // the last step may be short
            let real = vec4(0u, 1u, 2u, 3u) < vec4(sizes.to_w - p);
            var y: mat4x4<f32>;                 // [i]: place p + i, four weights
            for (var i = 0u; i < 4u; i++) {
                let v = vec4(meet_(weights[0], at0, p + i), meet_(weights[1], at1, p + i), meet_(weights[2], at2, p + i), meet_(weights[3], at3, p + i));
                y[i] = select(vec4(0.0), v, real[i]);
            }
            let at = starts + p;
            var x = mat4x4(dy_four(at.x, ahead), dy_four(at.y, ahead), dy_four(at.z, ahead), dy_four(at.w, ahead));
            for (var i = 0u; i < PER; i++) {
                let xi = select(vec4(0.0), x[i], real);
                spread_(&acc, i, xi, y);
            }
        }
    }

    let rows = min(ROWS, sizes.rows - row);
    for (var done = 0u; done < rows; done += 8u) {
        var eight = take_eight_(&acc);
        for (var i = 0u; i < min(8u, rows - done); i++) { emit(take_one_(&eight), slice, group * sizes.rows + row + done + i, q); }
    }
}
