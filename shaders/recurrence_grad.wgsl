// recurrence_grad: one step back through recurrence.wgsl, for all rows of a batch
// dy as y; out [time, batch, G·hidden] are the gradients of what the gates' functions are taken of, in w's order; a GRU has
// a fourth block, that of n's input, beside n's product. carry [S, batch, hidden]: what goes back to the step before but for
// the product, and in the end the gradient of the initial state.
//
//   dh = dy[t] + carry + out[t + 1] · W                  (or t - 1, in reverse)
//   LSTM   dc = dy_c[t] + carry_c + dh o (1 - tanh²c);  i: dc g i(1 - i);  f: dc c' f(1 - f);  g: dc i (1 - g²);
//          o: dh tanh(c) o(1 - o);  carry_c = dc f
//   GRU    n: dh (1 - z)(1 - n²) =: m, and m r beside the product;  r: m q r(1 - r);  z: dh (h' - n) z(1 - z);
//          carry = dh z
//
// The gradient of W is one matrix product over all steps afterwards. Rows past their end hand on what they got.
//
// dispatch: ceil(hidden / UNITS) · ceil(batch / ROWS) groups, folded past 65535; once for each step from the last on, and
//           once more for the initial state
// cost:     2 G hidden² operations a row; w is read batch / ROWS times
// source:   Werbos 1990, "Backpropagation through time"
// twin:     crates/device/tests/recurrence.rs (f64)

alias F = f32;                    // the library's width
alias I = i32;
alias U = u32;
alias L = bool;
const CELL: u32 = 2u;             // 0 tanh, 1 relu, 2 LSTM, 3 GRU
const FIRST: bool = false;        // nothing comes from a later step
const END: bool = false;          // the gradient of the initial state is all that is left
const LANES: u32 = 1u;            // a power of two
const UNITS: u32 = 8u;
const ROWS: u32 = 4u;
const WG: u32 = LANES * UNITS;
const PARTS: u32 = WG * ROWS;
const G: u32 = select(select(1u, 4u, CELL == 2u), 3u, CELL == 3u);
const W: u32 = select(1u, 4u, CELL > 1u);       // blocks of out
const S: u32 = select(1u, 2u, CELL == 2u);

// as in recurrence.wgsl; `other` is the step after this one, `before` the one before it
struct Sizes { batch: u32, hidden: u32, batch_row: u32, now: u32, other: u32, time: u32, before: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> w: array<f32>;
@group(0) @binding(1) var<storage, read> start: array<f32>;    // c0 of an LSTM, else h0
@group(0) @binding(2) var<storage, read> lengths: array<i32>;
@group(0) @binding(3) var<storage, read> y: array<f32>;
@group(0) @binding(4) var<storage, read> gates: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@group(0) @binding(7) var<storage, read_write> carry: array<f32>;

// slot: whether the row has this step.
fn inside(row: u32) -> bool { return i32(sizes.time) < lengths[row]; }

// slot: c of an LSTM before this step, else h; at the first step of all: start[row * sizes.hidden + unit].
fn before(row: u32, unit: u32) -> f32 {
    return y[(sizes.before + row * sizes.batch_row) * S * sizes.hidden + (S - 1u) * sizes.hidden + unit];
}

// slot: what the forward step kept; 0 for a cell of one gate.
fn kept(at: u32) -> f32 { return gates[at]; }

var<workgroup> parts: array<f32, PARTS>;

fn finish(row: u32, unit: u32, product: f32) {
    let place = sizes.now + row * sizes.batch_row;
    let own = row * sizes.hidden + unit;
    let second = own + sizes.batch * sizes.hidden;
    if END {
        carry[own] += product;
        return;
    }
    let in_at = place * S * sizes.hidden + unit;
    let to = place * W * sizes.hidden + unit;
    var dh = dy[in_at];
    if !FIRST { dh += carry[own] + product; }
    let here = inside(row);
    if CELL < 2u {
        let h = y[in_at];
        let d = dh * select(1.0 - h * h, select(0.0, 1.0, h > 0.0), CELL == 1u);
        out[to] = select(0.0, d, here);
        carry[own] = select(dh, 0.0, here);
        return;
    }
    let gates_at = place * 4u * sizes.hidden + unit;
    let a = kept(gates_at);
    let b = kept(gates_at + sizes.hidden);
    let c = kept(gates_at + 2u * sizes.hidden);
    let d = kept(gates_at + 3u * sizes.hidden);
    var all: vec4<f32>;
    if CELL == 2u {
        var dc = dy[in_at + sizes.hidden];
        if !FIRST { dc += carry[second]; }
        let t = tanh_(y[in_at + sizes.hidden]);
        let above = dc + dh * d * (1.0 - t * t);
        all = vec4(above * c * a * (1.0 - a), above * before(row, unit) * b * (1.0 - b), above * a * (1.0 - c * c),
            dh * t * d * (1.0 - d));
        carry[own] = select(dh, 0.0, here);
        carry[second] = select(dc, above * b, here);
    } else {
        let m = dh * (1.0 - b) * (1.0 - c * c);
        all = vec4(m * d * a * (1.0 - a), dh * (before(row, unit) - c) * b * (1.0 - b), m * a, m);
        carry[own] = select(dh, dh * b, here);
    }
    for (var g = 0u; g < 4u; g++) { out[to + g * sizes.hidden] = select(0.0, all[g], here); }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let blocks = (sizes.hidden + UNITS - 1u) / UNITS;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let block = group / blocks;
    let first = block * ROWS;
    if first >= sizes.batch { return; }                     // the whole workgroup
    // neighbours read neighbouring columns of w
    let part = lane / UNITS;
    let unit = (group - block * blocks) * UNITS + lane % UNITS;
    let own = min(unit, sizes.hidden - 1u);                 // past the edge: what is never stored

    var acc: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) { acc[r] = 0.0; }
    if !FIRST {
        for (var k = part; k < G * sizes.hidden; k += LANES) {
            let weight = w[k * sizes.hidden + own];
            for (var r = 0u; r < ROWS; r++) {
                let row = min(first + r, sizes.batch - 1u);
                acc[r] = fma(weight, out[(sizes.other + row * sizes.batch_row) * W * sizes.hidden + k], acc[r]);
            }
        }
    }
    if LANES == 1u {
        for (var r = 0u; r < ROWS; r++) {
            if unit < sizes.hidden && first + r < sizes.batch { finish(first + r, unit, acc[r]); }
        }
        return;
    }

    for (var r = 0u; r < ROWS; r++) { parts[lane * ROWS + r] = acc[r]; }
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        for (var r = 0u; r < ROWS; r++) {
            if part < half { parts[lane * ROWS + r] += parts[(lane + half * UNITS) * ROWS + r]; }
        }
    }
    workgroupBarrier();
    for (var r = part; r < ROWS; r += LANES) {
        if unit < sizes.hidden && first + r < sizes.batch {
            finish(first + r, unit, parts[(lane % UNITS) * ROWS + r]);
        }
    }
}
