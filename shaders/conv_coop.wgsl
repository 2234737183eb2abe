// conv_coop: out[n, c, p] = Σ_{i, t} w[c, i, t] · x[n, i, p · stride + t · dilation - padding]
// and, BACKWARD: out[n, i, p] = Σ_{c, t} w[c, i, t] · x[n, c, (p + padding - t · dilation) / stride] where that is whole
//                x [n, channels, depth, height, width], w [c, i of the group, kernel], out like x; groups apart
//
// For GPUs with matrix units: f16 operands, f32 sums. conv_tile's method with matmul_coop's fragments: a workgroup of SM x SN subgroups
// owns TILE_M channels and TILE_N positions, counted over all images, and brings the weights and the windows into workgroup memory
// TILE_K links of the chain (channels and taps) at a time, the next ones while it computes. An invocation always brings windows of the
// same four positions: what they see is found by adding to their ways, which are worked out once.
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
const B_LINE: u32 = TILE_K + 8u;
const A_DOWN: bool = false;       // both lie along the chain
const B_DOWN: bool = true;
const A_LINES: u32 = TILE_M;
const A_FOURS: u32 = TILE_K / 4u;
const A_LOADS: u32 = (A_LINES * A_FOURS + WG - 1u) / WG;          // fours that one invocation brings in a step
const B_ACROSS: u32 = TILE_N / 4u;           // from one of an invocation's positions to the next; divides WG
const B_LOADS: u32 = (B_ACROSS * TILE_K / 4u + WG - 1u) / WG;     // fours of each position that one invocation brings
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
var<workgroup> tb: array<f16, B_LINE * TILE_N>;
var<workgroup> corner: array<f32, SM * SN * SIZE * SIZE>;
var<workgroup> links: array<vec4<i32>, 2u * TILE_K>;   // their ways: of a step, and of the next one
var<workgroup> fours: array<vec2<u32>, B_ACROSS>;      // image and position of every fourth column

// An invocation's share of the weights of the step at k: neighbours follow the chain. Past the last row it brings what is never
// stored, past the end of the chain what meets zeros.
fn fetch_a(next: ptr<function, array<vec4<f16>, A_LOADS>>, index: u32, group: u32, top: u32, k: u32, chain: u32) {
    let ks = min(vec4(k + index % A_FOURS * 4u) + vec4(0u, 1u, 2u, 3u), vec4(chain - 1u));
    let at = group * sizes.rows * chain + select(ks, ks + ks / TAPS * (sizes.rows - 1u) * TAPS, BACKWARD);
    for (var l = 0u; l < A_LOADS; l++) {
        let row = top + index / A_FOURS + l * (WG / A_FOURS);
        let i = at + min(row, sizes.rows - 1u) * select(chain, TAPS, BACKWARD);
        if W_WIDTH == 4u { (*next)[l] = W4(w[i.x / 4u]); }
        else { (*next)[l] = vec4(W4(w[i.x]).x, W4(w[i.y]).x, W4(w[i.z]).x, W4(w[i.w]).x); }
    }
}

// And of the windows, of four positions each: fours of the links `now`. Where there is no element comes some other. They are only
// touched when they are laid down: until then they may still be on their way.
fn fetch_b(next: ptr<function, array<vec4<f16>, 4u * B_LOADS>>, index: u32, starts: vec4<i32>, now: u32) {
    for (var l = 0u; l < B_LOADS; l++) {
        let first = now + min(b_first(index, l), TILE_K - 4u);
        let four = vec4(links[first].x, links[first + 1u].x, links[first + 2u].x, links[first + 3u].x);
        for (var j = 0u; j < 4u; j++) {
            let at = min(vec4<u32>(starts[j] + four), vec4(last_()));
            (*next)[4u * l + j] = vec4(load(at.x), load(at.y), load(at.z), load(at.w));
        }
    }
}
fn lay_b(next: ptr<function, array<vec4<f16>, 4u * B_LOADS>>, index: u32, positions: array<vec4<i32>, 4>, now: u32) {
    var own = positions;
    for (var l = 0u; l < B_LOADS; l++) {
        let first = b_first(index, l);
        if B_ACROSS * TILE_K / 4u >= WG || first < TILE_K {
            let i = now + first;
            let four = array(links[i], links[i + 1u], links[i + 2u], links[i + 3u]);
            for (var j = 0u; j < 4u; j++) {
                let found = vec4(found_(own[j] + four[0]), found_(own[j] + four[1]), found_(own[j] + four[2]), found_(own[j] + four[3]));
                let v = select(vec4<f16>(), (*next)[4u * l + j], found);
                let to = (index % B_ACROSS + j * B_ACROSS) * B_LINE + first;
                for (var n = 0u; n < 4u; n++) { tb[to + n] = v[n]; }
            }
        }
    }
}
// The first link of a four.
fn b_first(index: u32, load: u32) -> u32 { return (index / B_ACROSS * B_LOADS + load) * 4u; }

// Four finished elements; own.part is the first of the slice's images.
fn finished(v: vec4<f32>, own: Own_, row: u32, col: u32) {
    let count = max(sizes.images * sizes.to_d * sizes.to_h * sizes.to_w, col) - col;
    let at = fours[col % TILE_N / 4u];
    if row < sizes.rows { emit(v, count, own.part + at.x, own.group * sizes.rows + row, at.y); }
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
    var positions: array<vec4<i32>, 4>;         // whose windows this invocation brings
    for (var j = 0u; j < 4u; j++) { positions[j] = position_(left + index % B_ACROSS + j * B_ACROSS, group); }
    let starts = vec4(positions[0].x, positions[1].x, positions[2].x, positions[3].x);
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    if index < B_ACROSS {
        let image = quotient_(left + 4u * index, area);
        fours[index] = vec2(image, left + 4u * index - image * area);
    }

    let zero = zero_(index);
    var c00 = zero; var c01 = zero; var c02 = zero; var c03 = zero;
    var c10 = zero; var c11 = zero; var c12 = zero; var c13 = zero;
    var c20 = zero; var c21 = zero; var c22 = zero; var c23 = zero;
    var c30 = zero; var c31 = zero; var c32 = zero; var c33 = zero;

    var next_a: array<vec4<f16>, A_LOADS>;
    var next_b: array<vec4<f16>, 4u * B_LOADS>;
    if index < TILE_K { links[index] = link_(begin + index, end); }
    workgroupBarrier();
    fetch_a(&next_a, index, group, top, begin, chain);
    var now = 0u;                               // where this step's links are
    fetch_b(&next_b, index, starts, now);
    for (var k = begin; k < end; k += TILE_K) {
        workgroupBarrier();
        lay_a_(&next_a, index);
        lay_b(&next_b, index, positions, now);
        now = TILE_K - now;
        if index < TILE_K { links[now + index] = link_(k + TILE_K + index, end); }
        workgroupBarrier();
        fetch_a(&next_a, index, group, top, k + TILE_K, chain);
        fetch_b(&next_b, index, starts, now);
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
