// conv_coop: out[n, c, p] = Σ_{i, t} w[c, i, t] · x[n, i, p · stride + t · dilation - padding]
// and, BACKWARD: out[n, i, p] = Σ_{c, t} w[c, i, t] · x[n, c, (p + padding - t · dilation) / stride] where that is whole
//                x [n, channels, depth, height, width], w [c, i of the group, kernel], out like x; groups apart
//
// For GPUs with matrix units: f16 operands, f32 sums. conv_tile's method with matmul_coop's fragments: a workgroup of SM x SN subgroups
// owns TILE_M channels and TILE_N positions, counted over all images, and brings the weights and the windows into workgroup memory
// TILE_K links of the chain (channels and taps) at a time, with zeros past its end, the next ones while it computes. An invocation
// always brings windows of the same four positions, so where they lie is worked out once.
//
// dispatch: ceil(rows / TILE_M) · ceil(images · area / TILE_N) · groups · slices groups, folded past 65535
// cost:     2 operations for each product; each window is read rows / TILE_M times
// source:   Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning", section 3
// twin:     crates/device/tests/conv.rs (f64)

enable f16;
enable wgpu_cooperative_matrix;

alias EX = f16;                   // elements of x or dy
alias W = f16;                    // one load of w: f16 | vec4<f16>
alias W4 = vec4<f16>;             // four weights
alias F = f32;                    // what store takes: f32 | vec4<f32>
alias FragA = coop_mat8x8<f16, A>;
alias FragB = coop_mat8x8<f16, B>;
alias FragC = coop_mat8x8<f32, C>;
const W_WIDTH: u32 = 1u;          // elements in a load; 4 needs the chain of an output to be contiguous and a multiple of 4 long
const WIDTH: u32 = 1u;            // elements of F
const BACKWARD: bool = false;     // the gradient with respect to the input
const STRIDED: bool = false;      // BACKWARD, with a stride over 1
const KERNEL: vec3<u32> = vec3(1u, 3u, 3u);      // depth, height, width
const STRIDE: vec3<i32> = vec3(1, 1, 1);
const PADDING: vec3<i32> = vec3(0, 1, 1);
const DILATION: vec3<i32> = vec3(1, 1, 1);
const FLAT: bool = true;          // no depth axis: one plane, no window, no padding along it
const SIZE: u32 = 8u;             // of a fragment: 8 | 16
const SM: u32 = 2u;               // subgroups along the rows
const SN: u32 = 2u;
const FM: u32 = 2u;               // fragments of a subgroup along the rows: 1 | 2 | 4
const FN: u32 = 2u;
const TILE_K: u32 = 32u;
const WG: u32 = 32u;              // SM · SN subgroups
const TILE_M: u32 = SM * FM * SIZE;
const TILE_N: u32 = SN * FN * SIZE;
const A_LINE: u32 = TILE_K + 8u;             // keeps 16-byte alignment, and neighbouring lines in other banks
const B_LINE: u32 = TILE_N + 8u;
const A_DOWN: bool = false;       // weights lie along the chain, windows along the positions
const B_DOWN: bool = false;
const A_LINES: u32 = TILE_M;
const B_LINES: u32 = TILE_K;
const A_FOURS: u32 = TILE_K / 4u;
const B_FOURS: u32 = TILE_N / 4u;            // divides WG
const A_LOADS: u32 = (A_LINES * A_FOURS + WG - 1u) / WG;          // fours that one invocation brings in a step
const B_LOADS: u32 = (B_LINES * B_FOURS + WG - 1u) / WG;
const TAPS: u32 = KERNEL.x * KERNEL.y * KERNEL.z;

// from: x, or dy if BACKWARD; to: y, or dx. `rows` and `chans` are channels of a group of `to` and of `from`.
struct Sizes {
    groups: u32, rows: u32, chans: u32, images: u32,
    to_d: u32, to_h: u32, to_w: u32, from_d: u32, from_h: u32, from_w: u32,
    slices: u32,
}
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> x: array<EX>;
@group(0) @binding(1) var<storage, read> w: array<W>;
@group(0) @binding(2) var<storage, read_write> out: array<F>;
@group(0) @binding(3) var<storage, read> dy: array<EX>;        // in place of x if BACKWARD

// slot: an element of x; BACKWARD: dy[i]
fn load(i: u32) -> f16 { return x[i]; }

// slot: what becomes of one element, or of four in a row (p is then a multiple of 4); p counts positions of a plane, n images, and on
// through those of the slices
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

var<workgroup> ta: array<f16, A_LINE * A_LINES>;
var<workgroup> tb: array<f16, B_LINE * B_LINES>;
var<workgroup> corner: array<f32, SM * SN * SIZE * SIZE>;

// What the window of a column sees at a tap of channel c; zero in the padding.
fn see(column: Column_, tap: vec3<i32>, c: u32) -> f16 {
    var at = select(column.at + tap, column.at - tap, BACKWARD);
    var real = true;
    if STRIDED {
        real = all(at >= vec3(0)) && all(at % STRIDE == vec3(0));
        at /= STRIDE;
    }
    let u = vec3<u32>(at);
    real = real && (FLAT || u.x < sizes.from_d) && u.y < sizes.from_h && u.z < sizes.from_w;
    let depth = select(c * sizes.from_d + u.x, c, FLAT);
    let i = column.start + (depth * sizes.from_h + u.y) * sizes.from_w + u.z;
    return select(0.0h, load(select(0u, i, real)), real);
}

// Four links of the chain from k on, of one row. Past the last row it brings what is never stored, past `end` zeros.
fn w_four(group: u32, row: u32, k: u32, chain: u32, end: u32) -> vec4<f16> {
    let four = vec4(k) + vec4(0u, 1u, 2u, 3u);
    let ks = min(four, vec4(chain - 1u));
    let cs = ks / TAPS;
    let i = cs * select(TAPS, sizes.rows * TAPS, BACKWARD) + ks - cs * TAPS
        + group * sizes.rows * chain + min(row, sizes.rows - 1u) * select(chain, TAPS, BACKWARD);
    var v: vec4<f16>;
    if W_WIDTH == 4u { v = W4(w[i.x / 4u]); }
    else { v = vec4(W4(w[i.x]).x, W4(w[i.y]).x, W4(w[i.z]).x, W4(w[i.w]).x); }
    return select(vec4<f16>(), v, four < vec4(end));
}

// An invocation's share of the weights of the step at k: neighbours follow the chain.
fn fetch_a(next: ptr<function, array<vec4<f16>, A_LOADS>>, index: u32, group: u32, top: u32, k: u32, chain: u32, end: u32) {
    for (var l = 0u; l < A_LOADS; l++) {
        let i = index + l * WG;
        (*next)[l] = w_four(group, top + i / A_FOURS, k + i % A_FOURS * 4u, chain, end);
    }
}
// And of the windows, of four positions: neighbours follow the positions.
fn fetch_b(next: ptr<function, array<vec4<f16>, B_LOADS>>, index: u32, c0: Column_, c1: Column_, c2: Column_, c3: Column_, k: u32, end: u32) {
    for (var l = 0u; l < B_LOADS; l++) {
        let link = k + (index + l * WG) / B_FOURS;
        let c = min(link, end - 1u) / TAPS;
        let tap = reach_(min(link, end - 1u) - c * TAPS);
        let v = vec4(see(c0, tap, c), see(c1, tap, c), see(c2, tap, c), see(c3, tap, c));
        (*next)[l] = select(vec4<f16>(), v, link < end);
    }
}

// Four finished elements; own.part is the first of the slice's images.
fn finished(v: vec4<f32>, own: Own_, row: u32, col: u32) {
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    let image = quotient_(col, area);
    let count = max(sizes.images * area, col) - col;
    if row < sizes.rows { emit(v, count, own.part + image, own.group * sizes.rows + row, col - image * area); }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let across = (sizes.images * sizes.to_d * sizes.to_h * sizes.to_w + TILE_N - 1u) / TILE_N;
    let down = (sizes.rows + TILE_M - 1u) / TILE_M;
    let id = first_group_() + wid.y * 65535u + wid.x;
    let group = id / across / down % sizes.groups;
    let slice = id / across / down / sizes.groups;
    if slice >= sizes.slices { return; }        // the whole workgroup
    let top = id / across % down * TILE_M;
    let left = id % across * TILE_N;
    let chain = sizes.chans * TAPS;
    let share = ((chain + sizes.slices - 1u) / sizes.slices + 3u) / 4u * 4u;       // so that fours of w stay aligned
    let begin = min(slice * share, chain);
    let end = min(begin + share, chain);
    let own = Own_(subgroup, lane, lanes, slice * sizes.images, group);
    // This subgroup's part of the tile. Where subgroups are smaller than expected, those that are too many do what another one
    // does, and do not store: cooperative operations must be reached by all.
    let own_row = subgroup / SN % SM * FM * SIZE;
    let own_col = subgroup % SN * FN * SIZE;
    let row = top + own_row;
    let col = left + own_col;
    let first = left + index % B_FOURS * 4u;    // of the positions whose windows this invocation brings
    let p0 = column_(first, group);
    let p1 = column_(first + 1u, group);
    let p2 = column_(first + 2u, group);
    let p3 = column_(first + 3u, group);

    let zero = zero_(index);
    var c00 = zero; var c01 = zero; var c02 = zero; var c03 = zero;
    var c10 = zero; var c11 = zero; var c12 = zero; var c13 = zero;
    var c20 = zero; var c21 = zero; var c22 = zero; var c23 = zero;
    var c30 = zero; var c31 = zero; var c32 = zero; var c33 = zero;

    var next_a: array<vec4<f16>, A_LOADS>;
    var next_b: array<vec4<f16>, B_LOADS>;
    if begin < end {
        fetch_a(&next_a, index, group, top, begin, chain, end);
        fetch_b(&next_b, index, p0, p1, p2, p3, begin, end);
    }
    for (var k = begin; k < end; k += TILE_K) {
        workgroupBarrier();
        lay_a_(&next_a, index);
        lay_b_(&next_b, index);
        workgroupBarrier();
        if k + TILE_K < end {
            fetch_a(&next_a, index, group, top, k + TILE_K, chain, end);
            fetch_b(&next_b, index, p0, p1, p2, p3, k + TILE_K, end);
        }
        for (var kk = 0u; kk < TILE_K; kk += SIZE) {
            let b0 = frag_b_(kk, own_col);
            let b1 = frag_b_(kk, own_col + min(1u, FN - 1u) * SIZE);
            let b2 = frag_b_(kk, own_col + min(2u, FN - 1u) * SIZE);
            let b3 = frag_b_(kk, own_col + (FN - 1u) * SIZE);
            let a0 = frag_a_(own_row, kk);
            c00 = coopMultiplyAdd(a0, b0, c00);
            if FN > 1u { c01 = coopMultiplyAdd(a0, b1, c01); }
            if FN > 2u { c02 = coopMultiplyAdd(a0, b2, c02); c03 = coopMultiplyAdd(a0, b3, c03); }
            if FM > 1u {
                let a1 = frag_a_(own_row + SIZE, kk);
                c10 = coopMultiplyAdd(a1, b0, c10);
                if FN > 1u { c11 = coopMultiplyAdd(a1, b1, c11); }
                if FN > 2u { c12 = coopMultiplyAdd(a1, b2, c12); c13 = coopMultiplyAdd(a1, b3, c13); }
            }
            if FM > 2u {
                let a2 = frag_a_(own_row + 2u * SIZE, kk);
                c20 = coopMultiplyAdd(a2, b0, c20); c21 = coopMultiplyAdd(a2, b1, c21);
                if FN > 2u { c22 = coopMultiplyAdd(a2, b2, c22); c23 = coopMultiplyAdd(a2, b3, c23); }
                let a3 = frag_a_(own_row + 3u * SIZE, kk);
                c30 = coopMultiplyAdd(a3, b0, c30); c31 = coopMultiplyAdd(a3, b1, c31);
                if FN > 2u { c32 = coopMultiplyAdd(a3, b2, c32); c33 = coopMultiplyAdd(a3, b3, c33); }
            }
        }
    }

    finish_(c00, c01, c02, c03, c10, c11, c12, c13, c20, c21, c22, c23, c30, c31, c32, c33, own, row, col);
}
