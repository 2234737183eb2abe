// conv_subgroup: out[n, c, p] = Σ_{i, t} w[c, i, t] · x[n, i, p · stride + t · dilation - padding]
// and, BACKWARD: out[n, i, p] = Σ_{c, t} w[c, i, t] · x[n, c, (p + padding - t · dilation) / stride] where that is whole
//                x [n, channels, depth, height, width], w [c, i of the group, kernel], out like x; groups apart
//
// For CPU adapters: a matrix product of the weights with the windows, which are gathered as they are needed (implicit GEMM). As in
// matmul_subgroup, a workgroup is one subgroup of 8 lanes and owns ROWS channels and 32 positions, counted over all images; a lane
// owns four positions. The sum runs over channels and taps as one chain, four at a time. No shared memory, no barrier.
//
// dispatch: ceil(rows / ROWS) · ceil(images · area / 32) · groups groups, folded past 65535
// cost:     2 operations for each product; each window is read rows / ROWS times
// source:   Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning", section 3
// twin:     crates/device/tests/conv.rs (f64)

alias EX = f32;                   // elements of x or dy: f32 | f16
alias W = f32;                    // one load of w: f32 | f16 | vec4 of them
alias W4 = vec4<f32>;             // four weights
alias F = f32;                    // what store takes: f32 | vec4<f32>
const W_WIDTH: u32 = 1u;          // elements in a load; 4 needs the chain of an output to be contiguous and a multiple of 4 long
const WIDTH: u32 = 1u;            // elements of F
const BACKWARD: bool = false;     // the gradient with respect to the input
const STRIDED: bool = false;      // BACKWARD, with a stride over 1
const KERNEL: vec3<u32> = vec3(1u, 3u, 3u);      // depth, height, width
const STRIDE: vec3<i32> = vec3(1, 1, 1);
const PADDING: vec3<i32> = vec3(0, 1, 1);
const DILATION: vec3<i32> = vec3(1, 1, 1);
const FLAT: bool = true;          // no depth axis: one plane, no window, no padding along it
const PER: u32 = 4u;              // rows that a lane loads: 1, 2 or 4
const ROWS: u32 = 8u * PER;
const TAPS: u32 = KERNEL.x * KERNEL.y * KERNEL.z;

// from: x, or dy if BACKWARD; to: y, or dx. `rows` and `chans` are channels of a group of `to` and of `from`.
struct Sizes {
    groups: u32, rows: u32, chans: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<EX>;
@group(0) @binding(1) var<storage, read> w: array<W>;
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

// Four weights of one row, where the chain stands.
fn w_four(start: u32, at: vec4<u32>) -> vec4<f32> {
    let i = vec4(start) + at;
    if W_WIDTH == 4u { return vec4<f32>(W4(w[i.x / 4u])); }
    return vec4(vec4<f32>(W4(w[i.x])).x, vec4<f32>(W4(w[i.y])).x, vec4<f32>(W4(w[i.z])).x, vec4<f32>(W4(w[i.w])).x);
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.images * sizes.to_d * sizes.to_h * sizes.to_w + 31u) / 32u;
    let down = (sizes.rows + ROWS - 1u) / ROWS;
    let id = first_group_() + wid.y * 65535u + wid.x;
    let group = id / across / down;
    if group >= sizes.groups { return; }
    let row = id / across % down * ROWS;
    let col = id % across * 32u + lane * 4u;
    let chain = sizes.chans * TAPS;

    var columns: array<Column_, 4>;
    for (var j = 0u; j < 4u; j++) { columns[j] = column_(col + j, group); }
    let w_row = select(chain, TAPS, BACKWARD);
    let w_chan = select(TAPS, sizes.rows * TAPS, BACKWARD);
    let w_rows = min(vec4(row + PER * lane) + vec4(0u, 1u, 2u, 3u), vec4(sizes.rows - 1u)) * w_row + group * sizes.rows * chain;

    var acc: array<vec4<f32>, ROWS>;
    for (var k = 0u; k < chain; k += 4u) {
        let real = vec4(k) + vec4(0u, 1u, 2u, 3u) < vec4(chain);    // the last step may be short
        let ks = min(vec4(k) + vec4(0u, 1u, 2u, 3u), vec4(chain - 1u));
        let cs = ks / TAPS;
        let taps = ks - cs * TAPS;
        var y: mat4x4<f32>;                     // [i]: k + i, four columns
        for (var i = 0u; i < 4u; i++) {
            let tap = reach_(taps[i]);
            let c = cs[i];
            let v = vec4(see_(columns[0], tap, c), see_(columns[1], tap, c), see_(columns[2], tap, c), see_(columns[3], tap, c));
            y[i] = select(vec4(0.0), v, real[i]);
        }
        let at = cs * w_chan + taps;
        var x = mat4x4(w_four(w_rows.x, at), w_four(w_rows.y, at), w_four(w_rows.z, at), w_four(w_rows.w, at));
        for (var i = 0u; i < PER; i++) {
            let xi = select(vec4(0.0), x[i], real);
            spread_(&acc, i, xi, y);
        }
    }

    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    let count = max(sizes.images * area, col) - col;
    let image = quotient_(col, area);
    let rows = min(ROWS, sizes.rows - row);
    for (var done = 0u; done < rows; done += 8u) {
        var eight = take_eight_(&acc);
        for (var i = 0u; i < min(8u, rows - done); i++) { emit(take_one_(&eight), count, image, group * sizes.rows + row + done + i, col - image * area); }
    }
}
