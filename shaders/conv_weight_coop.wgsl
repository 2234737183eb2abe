// conv_weight_coop: out[s, c, q] = Σ_{n, p} dy[n, c, p] · x[n, i, p · stride + t · dilation - padding]      q = (i, t), a weight of channel c
//       dy [n, groups · rows, depth, height, width], x [n, groups · chans, ..], out [slices, groups · rows, chans · kernel]
//       slice s sums its share of the places (n, p); the slices are to be summed afterwards
//
// For GPUs with matrix units: f16 operands, f32 sums. conv_weight_tile's method with matmul_coop's fragments: a workgroup of SM x SN
// subgroups owns TILE_M channels and TILE_N weights of each. The sum runs over the places of dy, TILE_K at a time, the next ones
// brought while it computes.
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
const D_WIDTH: u32 = 1u;          // elements in a load; 4 needs planes of dy of a multiple of 4
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
const A_FOURS: u32 = TILE_K / 4u;
const A_LOADS: u32 = (A_LINES * A_FOURS + WG - 1u) / WG;            // fours that one invocation brings in a step
const B_STEP: u32 = WG / TILE_K;             // from one weight of which an invocation brings what it meets to the next
const B_LOADS: u32 = TILE_N / B_STEP;
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
    for (var j = 0u; j < 4u; j++) { if q + j < sizes.chans * TAPS { store(v[j], s, c, q + j); } }
}

var<workgroup> ta: array<f16, A_LINE * A_LINES>;
var<workgroup> tb: array<f16, B_LINE * TILE_N>;
var<workgroup> corner: array<f32, SM * SN * SIZE * SIZE>;
var<workgroup> weights: array<vec4<i32>, TILE_N>;      // their ways

// An invocation's share of dy: four places of each line, neighbours follow the places. Past the last channel it brings what is never
// stored.
fn fetch_a(next: ptr<function, array<vec4<f16>, A_LOADS>>, index: u32, top: u32, places: vec4<u32>) {
    for (var l = 0u; l < A_LOADS; l++) {
        let row = top + index / A_FOURS + l * (WG / A_FOURS);
        let i = places + min(row, sizes.rows - 1u) * sizes.to_d * sizes.to_h * sizes.to_w;
        if D_WIDTH == 4u { (*next)[l] = D4(dy[i.x / 4u]); }
        else { (*next)[l] = vec4(D4(dy[i.x]).x, D4(dy[i.y]).x, D4(dy[i.z]).x, D4(dy[i.w]).x); }
    }
}

// And of x: what weights B_STEP apart meet at one place. Where there is no element comes some other. They are only touched when they
// are laid down: until then they may still be on their way.
fn fetch_b(next: ptr<function, array<f16, B_LOADS>>, index: u32, start: i32) {
    for (var l = 0u; l < B_LOADS; l++) {
        let at = u32(start + weights[index / TILE_K + l * B_STEP].x);
        (*next)[l] = f16(x[min(at, last_())]);
    }
}
fn lay_b(next: ptr<function, array<f16, B_LOADS>>, index: u32, place: vec4<i32>) {
    for (var l = 0u; l < B_LOADS; l++) {
        let q = index / TILE_K + l * B_STEP;
        tb[q * B_LINE + index % TILE_K] = select(0.0h, (*next)[l], met_(place + weights[q]));
    }
}

// Where four places lie in dy, in the group's first channel: from `own` on, the first being `place`. Those past the end are the last
// one, which meets zeros.
fn four_places(own: u32, place: vec4<u32>, group: u32, end: u32) -> vec4<u32> {
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    var images = vec4(place.x);
    if D_WIDTH == 1u {
        let one = place_(1u);
        let second = further_(place, one);
        let third = further_(second, one);
        images = vec4(place.x, second.x, third.x, further_(third, one).x);
    }
    let four = vec4(own) + vec4(0u, 1u, 2u, 3u);
    let last = vec2(end - 1u, quotient_(end - 1u, area));
    let real = four < vec4(end);
    let ahead = (sizes.groups * sizes.rows - 1u) * area;       // from image to image, beside the places between them
    return select(vec4(last.x), four, real) + select(vec4(last.y), images, real) * ahead + group * sizes.rows * area;
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
    let places = sizes.images * sizes.to_d * sizes.to_h * sizes.to_w;
    let share = ((places + sizes.slices - 1u) / sizes.slices + 3u) / 4u * 4u;      // so that fours of dy stay aligned
    let begin = min(slice * share, places);
    let end = min(begin + share, places);
    let own = Own_(subgroup, lane, lanes, slice, group);
    // This subgroup's part of the tile. Where subgroups are smaller than expected, those that are too many do what another one
    // does, and do not store: cooperative operations must be reached by all.
    let own_row = subgroup / SN % SM * FM * SIZE;
    let own_col = subgroup % SN * FN * SIZE;
    let row = top + own_row;
    let col = left + own_col;

    // The places that this invocation brings: four of dy, and one of x.
    var a_own = begin + index % A_FOURS * 4u;
    var b_own = begin + index % TILE_K;
    var a_place = place_(a_own);
    var b_place = place_(b_own);
    let step = place_(TILE_K);
    for (var i = index; i < TILE_N; i += WG) { weights[i] = weight_way_(left + i, group); }

    let zero = zero_(index);
    var c00 = zero; var c01 = zero; var c02 = zero; var c03 = zero;
    var c10 = zero; var c11 = zero; var c12 = zero; var c13 = zero;
    var c20 = zero; var c21 = zero; var c22 = zero; var c23 = zero;
    var c30 = zero; var c31 = zero; var c32 = zero; var c33 = zero;

    var next_a: array<vec4<f16>, A_LOADS>;
    var next_b: array<f16, B_LOADS>;
    workgroupBarrier();
    fetch_a(&next_a, index, top, four_places(a_own, a_place, group, end));
    var way = place_way_(b_place, b_own < end);
    fetch_b(&next_b, index, way.x);
    for (var k = begin; k < end; k += TILE_K) {
        workgroupBarrier();
        lay_a_(&next_a, index);
        lay_b(&next_b, index, way);
        workgroupBarrier();
        a_own += TILE_K;
        b_own += TILE_K;
        a_place = further_(a_place, step);
        b_place = further_(b_place, step);
        fetch_a(&next_a, index, top, four_places(a_own, a_place, group, end));
        way = place_way_(b_place, b_own < end);
        fetch_b(&next_b, index, way.x);
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
