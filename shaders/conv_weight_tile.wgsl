// conv_weight_tile: out[s, c, q] = Σ_{n, p} dy[n, c, p] · x[n, i, p · stride + t · dilation - padding]      q = (i, t), a weight of channel c
//       dy [n, groups · rows, depth, height, width], x [n, groups · chans, ..], out [slices, groups · rows, chans · kernel]
//       slice s sums its share of the places (n, p); the slices are to be summed afterwards
//
// For GPUs: a matrix product of dy with the windows of x, gathered as they are needed, by matmul_tile's method: a workgroup owns
// TILE_M channels and TILE_N weights of each. The sum runs over the places of dy, TILE_K at a time, the next ones brought while it
// computes. An invocation always brings the same one of them, so that neighbours read neighbours; it finds what that place meets
// by adding to the ways of the weights, which are worked out once.
//
// dispatch: ceil(rows / TILE_M) · ceil(chans · taps / TILE_N) · groups · slices groups, folded past 65535
// cost:     2 operations for each product; dy is read chans · taps / TILE_N times, each window rows / TILE_M times
// source:   Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning", section 3
// twin:     crates/device/tests/conv.rs (f64)

alias EX = f32;                   // elements of x: f32 | f16
alias ED = f32;                   // elements of dy: f32 | f16
alias F = f32;                    // what store takes: f32 | vec4<f32>
const WIDTH: u32 = 1u;            // elements of F
const KERNEL: vec3<u32> = vec3(1u, 3u, 3u);      // depth, height, width
const STRIDE: vec3<i32> = vec3(1, 1, 1);
const PADDING: vec3<i32> = vec3(0, 1, 1);
const DILATION: vec3<i32> = vec3(1, 1, 1);
const FLAT: bool = true;          // no depth axis: one plane, no window, no padding along it
const TILE_M: u32 = 32u;
const TILE_N: u32 = 32u;
const TILE_K: u32 = 16u;
const RB: u32 = 1u;               // blocks of four rows that an invocation owns
const CB: u32 = 1u;               // blocks of four columns
const TX: u32 = TILE_N / (4u * CB);
const TY: u32 = TILE_M / (4u * RB);
const WG: u32 = TX * TY;
const LINE: u32 = (TILE_M + TILE_N) / 4u + 1u;     // vectors of one k in the tile: a's, b's, and one that keeps lines in other banks
const FOURS: u32 = WG / TILE_K;                    // rows that come at a time, in fours, or weights
const A_LOADS: u32 = TILE_M / 4u / FOURS;          // fours that an invocation brings in a step
const B_LOADS: u32 = TILE_N / 4u / FOURS;

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
@group(0) @binding(2) var<storage, read_write> out: array<F>;

// slot: what becomes of one weight's sum, or of four in a row (q is then a multiple of 4)
fn store(v: F, s: u32, c: u32, q: u32) {
    out[((s * sizes.groups * sizes.rows + c) * sizes.chans * TAPS + q) / WIDTH] = v;
}

// slot: four weights; F = vec4<f32>: if q < sizes.chans * TAPS { store(v, s, c, q); }
fn emit(v: vec4<f32>, s: u32, c: u32, q: u32) {
    for (var j = 0u; j < 4u; j++) { if q + j < sizes.chans * TAPS { store(v[j], s, c, q + j); } }
}

var<workgroup> tile: array<vec4<f32>, LINE * TILE_K>;
var<workgroup> weights: array<vec4<i32>, TILE_N>;          // their ways

// What an invocation has brought of one place, fours of rows and of weights. It is only touched when it is laid down: until then it
// may still be on its way.
struct Next { dy: array<vec4<f32>, A_LOADS>, x: array<vec4<f32>, B_LOADS> }

// Where there is no element comes some other.
fn fetch(dy_at: u32, top: u32, x_at: i32, four: u32) -> Next {
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    var next: Next;
    for (var i = 0u; i < A_LOADS; i++) {
        let rows = vec4(top + 4u * (four + i * FOURS)) + vec4(0u, 1u, 2u, 3u);
        let at = dy_at + min(rows, vec4(sizes.rows - 1u)) * area;
        next.dy[i] = vec4(f32(dy[at.x]), f32(dy[at.y]), f32(dy[at.z]), f32(dy[at.w]));
    }
    for (var i = 0u; i < B_LOADS; i++) {
        let q = 4u * (four + i * FOURS);
        let ways = x_at + vec4(weights[q].x, weights[q + 1u].x, weights[q + 2u].x, weights[q + 3u].x);
        let at = min(vec4<u32>(ways), vec4(last_()));
        next.x[i] = vec4(f32(x[at.x]), f32(x[at.y]), f32(x[at.z]), f32(x[at.w]));
    }
    return next;
}

fn leave(v: vec4<f32>, slice: u32, group: u32, row: u32, col: u32) {
    if row < sizes.rows { emit(v, slice, group * sizes.rows + row, col); }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = (sizes.chans * TAPS + TILE_N - 1u) / TILE_N;
    let down = (sizes.rows + TILE_M - 1u) / TILE_M;
    let id = first_group_() + wid.y * 65535u + wid.x;
    let group = id / across / down % sizes.groups;
    let slice = id / across / down / sizes.groups;
    if slice >= sizes.slices { return; }        // the whole workgroup
    let row = id / across % down * TILE_M;
    let col = id % across * TILE_N;
    let area = sizes.to_d * sizes.to_h * sizes.to_w;
    let places = sizes.images * area;
    let share = (places + sizes.slices - 1u) / sizes.slices;
    let begin = min(slice * share, places);
    let end = min(begin + share, places);
    let tx = lane % TX;
    let ty = lane / TX;

    // What this invocation brings: a place of each step, and fours from this one on. Past the end it brings the last place
    // of dy once more, which meets zeros.
    let four = lane / TILE_K;
    var own = begin + lane % TILE_K;
    var place = place_(own);
    let step = place_(TILE_K);
    let ahead = (sizes.groups * sizes.rows - 1u) * area;       // from image to image, beside the places between them
    let start = group * sizes.rows * area;
    let last = start + end - 1u + quotient_(end - 1u, area) * ahead;
    for (var i = lane; i < TILE_N; i += WG) { weights[i] = weight_way_(col + i, group); }

    var acc: array<vec4<f32>, 4u * RB * CB>;
    var next: Next;
    var way = vec4<i32>();                      // to the place whose elements wait in `next`
    // The first round only fetches, the last only computes.
    for (var k = begin; k < end + TILE_K; k += TILE_K) {
        workgroupBarrier();
        if k > begin {
            let line = lane % TILE_K * LINE + four;
            for (var i = 0u; i < A_LOADS; i++) { tile[line + i * FOURS] = next.dy[i]; }
            for (var i = 0u; i < B_LOADS; i++) {
                let q = 4u * (four + i * FOURS);
                let met = vec4(met_(way + weights[q]), met_(way + weights[q + 1u]), met_(way + weights[q + 2u]), met_(way + weights[q + 3u]));
                tile[line + TILE_M / 4u + i * FOURS] = select(vec4(0.0), next.x[i], met);
            }
        }
        workgroupBarrier();
        way = place_way_(place, own < end);
        next = fetch(select(last, start + own + place.x * ahead, own < end), row, way.x, four);
        own += TILE_K;
        place = further_(place, step);
        if k > begin {
            for (var kk = 0u; kk < TILE_K; kk += 4u) {        // written out: no compiler unrolls as much
                add_products_(&acc, kk * LINE, tx, ty);
                add_products_(&acc, kk * LINE + LINE, tx, ty);
                add_products_(&acc, kk * LINE + 2u * LINE, tx, ty);
                add_products_(&acc, kk * LINE + 3u * LINE, tx, ty);
            }
        }
    }

    // A long output slot keeps this loop from being unrolled. No index depends on it, so acc is in registers all the same.
    for (var i = 0u; i < 4u; i++) {
        let r = row + 4u * ty + i;
        let c = col + 4u * tx;
        leave(acc[0], slice, group, r, c);
        if RB > 1u { leave(acc[4u * (RB - 1u)], slice, group, r + 4u * TY, c); }
        if CB > 1u { leave(acc[4u * RB * (CB - 1u)], slice, group, r, c + 4u * TX); }
        if RB * CB > 2u { leave(acc[4u * RB * CB - 4u], slice, group, r + 4u * TY, c + 4u * TX); }
        for (var j = 1u; j < 4u * RB * CB; j++) { acc[j - 1u] = acc[j]; }
    }
}
