// recurrence: one step of RNN, LSTM or GRU for all rows of a batch: h' = f(gx[t], h · Wᵀ + bias)
// gx [time, batch, G·hidden], w [G·hidden, hidden], y [time, batch, S·hidden], gates [time, batch, 4·hidden];
// time and batch may lie the other way round. S = 2 for LSTM (h, then c), else 1.
//
//   tanh, relu   h' = tanh(p) or max(p, 0),  p = gx + w h
//   LSTM         i, f, o = σ(p), g = tanh(p);  c' = f c + i g;  h' = o tanh(c')
//   GRU          r, z = σ(gx + q), q = w h + bias;  n = tanh(gx + r q);  h' = (1 - z) n + z h
//
// A workgroup owns UNITS hidden units and ROWS rows; LANES invocations share out the dot products of a unit, whose gates
// are the components of a vector, and join them through workgroup memory. Rows past their end keep their state. `gates`
// holds what the gradient needs: i, f, g, o, or r, z, n, q.
//
// dispatch: ceil(hidden / UNITS) · ceil(batch / ROWS) groups, folded past 65535; once for each step, in order
// cost:     2 G hidden² operations a row; w is read batch / ROWS times
// source:   Hochreiter & Schmidhuber 1997; Cho et al. 2014, §2.3; the fused form: Appleyard et al. 2016
// twin:     crates/device/tests/recurrence.rs (f64)

alias F = f32;                    // the library's width
alias I = i32;
alias U = u32;
alias L = bool;
const CELL: u32 = 2u;             // 0 tanh, 1 relu, 2 LSTM, 3 GRU
const FIRST: bool = false;        // the step that begins at the initial state
const LANES: u32 = 1u;            // a power of two
const UNITS: u32 = 8u;
const ROWS: u32 = 4u;
const WG: u32 = LANES * UNITS;
const PARTS: u32 = WG * ROWS;
const G: u32 = select(select(1u, 4u, CELL == 2u), 3u, CELL == 3u);
const S: u32 = select(1u, 2u, CELL == 2u);

// row (t, b) is row t_row + b · batch_row of what has time; `now` and `other` are t_row of this step and the one before
struct Sizes { batch: u32, hidden: u32, batch_row: u32, now: u32, other: u32, time: u32 }
var<immediate> sizes: Sizes;

@group(0) @binding(0) var<storage, read> gx: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> h0: array<f32>;
@group(0) @binding(4) var<storage, read> c0: array<f32>;
@group(0) @binding(5) var<storage, read> lengths: array<i32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> gates: array<f32>;

// slot: whether the row has this step.
fn inside(row: u32) -> bool { return i32(sizes.time) < lengths[row]; }

// slot: h before this step; at first h0[row * sizes.hidden + unit].
fn h_before(row: u32, unit: u32) -> f32 {
    return y[(sizes.other + row * sizes.batch_row) * S * sizes.hidden + unit];
}

// slot: c before this step; at first c0[row * sizes.hidden + unit].
fn c_before(row: u32, unit: u32) -> f32 {
    return y[(sizes.other + row * sizes.batch_row) * S * sizes.hidden + sizes.hidden + unit];
}

// slot: keeps the gates; nothing for a cell of one gate.
fn keep(row: u32, unit: u32, v: vec4<f32>) {
    let at = (sizes.now + row * sizes.batch_row) * 4u * sizes.hidden + unit;
    for (var g = 0u; g < 4u; g++) { gates[at + g * sizes.hidden] = v[g]; }
}

// slot: bias of gate g; 0 where it is in gx.
fn bias_of(g: u32, unit: u32) -> f32 { return bias[g * sizes.hidden + unit]; }

var<workgroup> parts: array<vec4<f32>, PARTS>;

fn column(unit: u32, k: u32) -> vec4<f32> {
    let size = sizes.hidden * sizes.hidden;
    let at = unit * sizes.hidden + k;
    if G == 1u { return vec4(w[at], 0.0, 0.0, 0.0); }
    if G == 3u { return vec4(w[at], w[at + size], w[at + 2u * size], 0.0); }
    return vec4(w[at], w[at + size], w[at + 2u * size], w[at + 3u * size]);
}

fn finish(row: u32, unit: u32, p: vec4<f32>) {
    let place = sizes.now + row * sizes.batch_row;
    let in_at = place * G * sizes.hidden + unit;
    let to = place * S * sizes.hidden + unit;
    let h = h_before(row, unit);
    if CELL < 2u {
        let x = gx[in_at] + p.x;
        y[to] = select(h, select(tanh_(x), relu_(x), CELL == 1u), inside(row));
    } else if CELL == 2u {
        let i = sigmoid_(gx[in_at] + p.x);
        let f = sigmoid_(gx[in_at + sizes.hidden] + p.y);
        let g = tanh_(gx[in_at + 2u * sizes.hidden] + p.z);
        let o = sigmoid_(gx[in_at + 3u * sizes.hidden] + p.w);
        let old = c_before(row, unit);
        let c = f * old + i * g;
        y[to] = select(h, o * tanh_(c), inside(row));
        y[to + sizes.hidden] = select(old, c, inside(row));
        keep(row, unit, vec4(i, f, g, o));
    } else {
        let r = sigmoid_(gx[in_at] + (p.x + bias_of(0u, unit)));
        let z = sigmoid_(gx[in_at + sizes.hidden] + (p.y + bias_of(1u, unit)));
        let q = p.z + bias_of(2u, unit);
        let n = tanh_(gx[in_at + 2u * sizes.hidden] + r * q);
        y[to] = select(h, (1.0 - z) * n + z * h, inside(row));
        keep(row, unit, vec4(r, z, n, q));
    }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let blocks = (sizes.hidden + UNITS - 1u) / UNITS;
    let group = first_group_() + wid.y * 65535u + wid.x;
    let block = group / blocks;
    let first = block * ROWS;
    if first >= sizes.batch { return; }                     // the whole workgroup
    let part = lane % LANES;
    let unit = (group - block * blocks) * UNITS + lane / LANES;
    let own = min(unit, sizes.hidden - 1u);                 // past the edge: what is never stored

    var acc: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) { acc[r] = vec4(0.0); }
    for (var k = part; k < sizes.hidden; k += LANES) {
        let weights = column(own, k);
        for (var r = 0u; r < ROWS; r++) {
            acc[r] = fma(weights, vec4(h_before(min(first + r, sizes.batch - 1u), k)), acc[r]);
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
            if part < half { parts[lane * ROWS + r] += parts[(lane + half) * ROWS + r]; }
        }
    }
    workgroupBarrier();
    for (var r = part; r < ROWS; r += LANES) {
        if unit < sizes.hidden && first + r < sizes.batch { finish(first + r, unit, parts[(lane - part) * ROWS + r]); }
    }
}
