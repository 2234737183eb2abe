// conv_weight_coop: out[s, c, q] = Σ_{n, p} dy[n, c, p] · x[n, i, p · stride + t · dilation - padding]      q = (i, t), a weight of channel c
//       dy [n, groups · rows, depth, height, width], x [n, groups · chans, ..], out [slices, groups · rows, chans · kernel]
//       slice s sums its share of the lines (n, depth, height) of dy; the slices are to be summed afterwards
//
// For GPUs with matrix units: f16 operands, f32 sums. conv_weight_tile's method with matmul_coop's fragments: a workgroup of SM x SN
// subgroups owns TILE_M channels and TILE_N weights of each. The sum runs over the lines of dy, each padded to a multiple of four
// places, TILE_K places at a time, the next ones brought while it computes.
//
// dispatch: ceil(rows / TILE_M) · ceil(chans · taps / TILE_N) · groups · slices groups, folded past 65535
// cost:     2 operations for each product; dy is read chans · taps / TILE_N times, each window rows / TILE_M times
// source:   Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning", section 3
// twin:     crates/device/tests/conv.rs (f64)

enable f16;
enable wgpu_cooperative_matrix;

alias EX = f16;                   // elements of x
alias D = f16;                    // one load of dy: f16 | vec4<f16>
alias D4 = vec4<f16>;             // four elements of dy
alias F = f32;                    // what store takes: f32 | vec4<f32>
alias FragA = coop_mat8x8<f16, A>;
alias FragB = coop_mat8x8<f16, B>;
alias FragC = coop_mat8x8<f32, C>;
const D_WIDTH: u32 = 1u;          // elements in a load; 4 needs lines of dy of a multiple of 4
const WIDTH: u32 = 1u;            // elements of F
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
const B_LINE: u32 = TILE_K + 8u;
const A_DOWN: bool = false;       // both lie along the places
const B_DOWN: bool = true;
const A_LINES: u32 = TILE_M;
const B_LINES: u32 = TILE_N;
const A_FOURS: u32 = TILE_K / 4u;
const B_FOURS: u32 = TILE_K / 4u;
const A_LOADS: u32 = (A_LINES * A_FOURS + WG - 1u) / WG;            // fours that one invocation brings in a step
const B_LOADS: u32 = (B_LINES * B_FOURS + WG - 1u) / WG;
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

var<workgroup> ta: array<f16, A_LINE * A_LINES>;
var<workgroup> tb: array<f16, B_LINE * B_LINES>;
var<workgroup> corner: array<f32, SM * SN * SIZE * SIZE>;

// What the weight meets at a place of the line; zero in the padding.
fn see(weight: Weight_, line: Line_, place: u32) -> f16 {
    let w = u32(weight.at.z + i32(place) * STRIDE.z);
    let real = line.real && w < sizes.from_w;
    return select(0.0h, f16(x[select(0u, line.start + w, real)]), real);
}

// Four_ places of one channel of dy. Past the last channel it brings what is never stored, past `end` zeros.
fn dy_four(group: u32, row: u32, k: u32, end: u32) -> vec4<f16> {
    let f = four_(min(k, end - 4u));
    let c = group * sizes.rows + min(row, sizes.rows - 1u);
    let start = (((f.image * sizes.groups * sizes.rows + c) * sizes.to_d + f.depth) * sizes.to_h + f.height) * sizes.to_w;
    let places = vec4(f.place) + vec4(0u, 1u, 2u, 3u);
    let i = min(places, vec4(sizes.to_w - 1u)) + start;
    var v: vec4<f16>;
    if D_WIDTH == 4u { v = D4(dy[i.x / 4u]); }
    else { v = vec4(D4(dy[i.x]).x, D4(dy[i.y]).x, D4(dy[i.z]).x, D4(dy[i.w]).x); }
    return select(vec4<f16>(), v, (places < vec4(sizes.to_w)) & vec4(k < end));
}

// What one weight meets at four places.
fn x_four(own: Weight_, k: u32, end: u32) -> vec4<f16> {
    let f = four_(min(k, end - 4u));
    let at = line_(own, f.image, f.depth, f.height);
    let places = vec4(f.place) + vec4(0u, 1u, 2u, 3u);
    let v = vec4(see(own, at, places.x), see(own, at, places.y), see(own, at, places.z), see(own, at, places.w));
    return select(vec4<f16>(), v, (places < vec4(sizes.to_w)) & vec4(k < end));
}

// An invocation's shares of the step at k: neighbours follow the places.
fn fetch_a(next: ptr<function, array<vec4<f16>, A_LOADS>>, index: u32, group: u32, top: u32, k: u32, end: u32) {
    for (var l = 0u; l < A_LOADS; l++) {
        let i = index + l * WG;
        (*next)[l] = dy_four(group, top + i / A_FOURS, k + i % A_FOURS * 4u, end);
    }
}
fn fetch_b(next: ptr<function, array<vec4<f16>, B_LOADS>>, index: u32, group: u32, left: u32, k: u32, end: u32) {
    for (var l = 0u; l < B_LOADS; l++) {
        let i = index + l * WG;
        (*next)[l] = x_four(weight_(left + i / B_FOURS, group), k + i % B_FOURS * 4u, end);
    }
}

// Four finished elements.
fn finished(v: vec4<f32>, own: Own_, row: u32, col: u32) {
    if row < sizes.rows { emit(v, own.part, own.group * sizes.rows + row, col); }
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let across = (sizes.chans * TAPS + TILE_N - 1u) / TILE_N;
    let down = (sizes.rows + TILE_M - 1u) / TILE_M;
    let id = first_group_() + wid.y * 65535u + wid.x;
    let group = id / across / down % sizes.groups;
    let slice = id / across / down / sizes.groups;
    if slice >= sizes.slices { return; }        // the whole workgroup
    let top = id / across % down * TILE_M;
    let left = id % across * TILE_N;
    let padded = (sizes.to_w + 3u) / 4u * 4u;
    let lines = sizes.images * sizes.to_d * sizes.to_h;
    let share = (lines + sizes.slices - 1u) / sizes.slices;
    let begin = min(slice * share, lines) * padded;
    let end = min(lines, (slice + 1u) * share) * padded;
    let own = Own_(subgroup, lane, lanes, slice, group);
    // This subgroup's part of the tile. Where subgroups are smaller than expected, those that are too many do what another one
    // does, and do not store: cooperative operations must be reached by all.
    let own_row = subgroup / SN % SM * FM * SIZE;
    let own_col = subgroup % SN * FN * SIZE;
    let row = top + own_row;
    let col = left + own_col;

    let zero = zero_(index);
    var c00 = zero; var c01 = zero; var c02 = zero; var c03 = zero;
    var c10 = zero; var c11 = zero; var c12 = zero; var c13 = zero;
    var c20 = zero; var c21 = zero; var c22 = zero; var c23 = zero;
    var c30 = zero; var c31 = zero; var c32 = zero; var c33 = zero;

    var next_a: array<vec4<f16>, A_LOADS>;
    var next_b: array<vec4<f16>, B_LOADS>;
    if begin < end {
        fetch_a(&next_a, index, group, top, begin, end);
        fetch_b(&next_b, index, group, left, begin, end);
    }
    for (var k = begin; k < end; k += TILE_K) {
        workgroupBarrier();
        lay_a_(&next_a, index);
        lay_b_(&next_b, index);
        workgroupBarrier();
        if k + TILE_K < end {
            fetch_a(&next_a, index, group, top, k + TILE_K, end);
            fetch_b(&next_b, index, group, left, k + TILE_K, end);
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
