//! Every variant of the recurrences and of their gradients against the definition in f64 and plain loops: batches and
//! states around the blocks, both directions and orders, rows that end early.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::recurrence::{self, Cell, Problem, Variant};
use kiln_device::{Buffer, Device, Launch, Step};
use support::{close, device, empty, floats, normal, upload};

/// What the kernels are given, in the order of `Problem`'s axes.
struct Data {
    gx: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    h0: Vec<f32>,
    c0: Vec<f32>,
    lengths: Vec<i32>,
    dy: Vec<f32>,
}

fn data(p: &Problem) -> Data {
    let [t, b, h, g, s] = [p.steps, p.batch, p.hidden, p.cell.gates(), p.cell.states()].map(|n| n as usize);
    let scale = 1.0 / (h as f32).sqrt();
    Data {
        gx: normal(t * b * g * h, 1),
        w: normal(g * h * h, 2).iter().map(|x| x * scale).collect(),
        bias: normal(g * h, 3),
        h0: normal(b * h, 4),
        c0: normal(b * h, 5),
        // the first row has no steps, the last has all
        lengths: (0..b).map(|i| if i + 1 == b { t as i32 } else { (i % (t + 1)) as i32 }).collect(),
        dy: normal(t * b * s * h, 6),
    }
}

/// y and, of the way back, the gradients of the gates and of the initial state.
struct Twin {
    y: Vec<f64>,
    out: Vec<f64>,
    carry: Vec<f64>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn twin(p: &Problem, d: &Data) -> Twin {
    let [t, b, h, g, s] = [p.steps, p.batch, p.hidden, p.cell.gates(), p.cell.states()].map(|n| n as usize);
    let blocks = p.cell.blocks() as usize;
    let place = |time: usize, row: usize| if p.batch_first { row * t + time } else { time * b + row };
    let inside = |time: usize, row: usize| !p.masked || (time as i32) < d.lengths[row];
    let order: Vec<usize> = if p.reverse { (0..t).rev().collect() } else { (0..t).collect() };
    let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (w, gx, dy) = (wide(&d.w), wide(&d.gx), wide(&d.dy));
    let mut y = vec![0.0; t * b * s * h];
    let mut out = vec![0.0; t * b * blocks * h];
    let mut carry = vec![0.0; s * b * h];
    for row in 0..b {
        let (mut hs, mut cs) = (wide(&d.h0[row * h..][..h]), wide(&d.c0[row * h..][..h]));
        // the states before each step, and what its gates were
        let mut past = Vec::new();
        for &time in &order {
            let at = place(time, row);
            let product: Vec<f64> = (0..g * h).map(|k| (0..h).map(|j| w[k * h + j] * hs[j]).sum()).collect();
            let x = |gate: usize, j: usize| gx[at * g * h + gate * h + j];
            let q = |gate: usize, j: usize| {
                product[gate * h + j] + if p.cell == Cell::Gru { f64::from(d.bias[gate * h + j]) } else { 0.0 }
            };
            let sum = |gate: usize, j: usize| x(gate, j) + q(gate, j);
            let gates: Vec<[f64; 4]> = (0..h)
                .map(|j| match p.cell {
                    Cell::Tanh => [sum(0, j).tanh(), 0.0, 0.0, 0.0],
                    Cell::Relu => [sum(0, j).max(0.0), 0.0, 0.0, 0.0],
                    Cell::Lstm => [sigmoid(sum(0, j)), sigmoid(sum(1, j)), sum(2, j).tanh(), sigmoid(sum(3, j))],
                    Cell::Gru => {
                        let r = sigmoid(sum(0, j));
                        [r, sigmoid(sum(1, j)), (x(2, j) + r * q(2, j)).tanh(), q(2, j)]
                    }
                })
                .collect();
            past.push((hs.clone(), cs.clone(), gates.clone()));
            if inside(time, row) {
                for (j, v) in gates.iter().enumerate() {
                    if p.cell == Cell::Lstm {
                        cs[j] = v[1] * cs[j] + v[0] * v[2];
                    }
                    hs[j] = match p.cell {
                        Cell::Tanh | Cell::Relu => v[0],
                        Cell::Lstm => v[3] * cs[j].tanh(),
                        Cell::Gru => (1.0 - v[1]) * v[2] + v[1] * hs[j],
                    };
                }
            }
            for j in 0..h {
                y[at * s * h + j] = hs[j];
                if s == 2 {
                    y[at * s * h + h + j] = cs[j];
                }
            }
        }
        let (mut dh, mut dc) = (vec![0.0; h], vec![0.0; h]);
        for (&time, (h_old, c_old, gates)) in order.iter().zip(&past).rev() {
            let at = place(time, row);
            for j in 0..h {
                dh[j] += dy[at * s * h + j];
                dc[j] += if s == 2 { dy[at * s * h + h + j] } else { 0.0 };
            }
            if !inside(time, row) {
                continue;
            }
            let mut through = vec![0.0; g * h];
            for j in 0..h {
                let [i, f, n, o] = gates[j];
                let new = y[at * s * h + j];
                let to = |block: usize| at * blocks * h + block * h + j;
                let mut set = |values: &[f64]| {
                    for (block, &v) in values.iter().enumerate() {
                        out[to(block)] = v;
                        if block < g {
                            through[block * h + j] = v;
                        }
                    }
                };
                match p.cell {
                    Cell::Tanh => set(&[dh[j] * (1.0 - new * new)]),
                    Cell::Relu => set(&[if new > 0.0 { dh[j] } else { 0.0 }]),
                    Cell::Lstm => {
                        let t = y[at * s * h + h + j].tanh();
                        let above = dc[j] + dh[j] * o * (1.0 - t * t);
                        let own = [
                            above * n * i * (1.0 - i),
                            above * c_old[j] * f * (1.0 - f),
                            above * i * (1.0 - n * n),
                            dh[j] * t * o * (1.0 - o),
                        ];
                        set(&own);
                        dc[j] = above * f;
                    }
                    Cell::Gru => {
                        let m = dh[j] * (1.0 - f) * (1.0 - n * n);
                        set(&[m * o * i * (1.0 - i), dh[j] * (h_old[j] - n) * f * (1.0 - f), m * i, m]);
                    }
                }
                dh[j] = if p.cell == Cell::Gru { dh[j] * f } else { 0.0 };
            }
            for j in 0..h {
                dh[j] += (0..g * h).map(|k| through[k] * w[k * h + j]).sum::<f64>();
            }
        }
        carry[row * h..][..h].copy_from_slice(&dh);
        if s == 2 {
            carry[(b + row) * h..][..h].copy_from_slice(&dc);
        }
    }
    Twin { y, out, carry }
}

fn run(device: &Device, launches: &[Launch], bindings: &[(&'static str, &Buffer)]) {
    device.run(launches.iter().map(|l| Step::new(device, l, bindings).unwrap()).collect()).unwrap();
}

fn check(device: &Device, p: &Problem, variant: Variant) {
    let d = data(p);
    let want = twin(p, &d);
    let [gx, w, bias, h0, c0, dy] = [&d.gx, &d.w, &d.bias, &d.h0, &d.c0, &d.dy].map(|x| upload(device, x));
    let lengths = upload(device, &d.lengths);
    let y = empty(device, want.y.len());
    let gates = empty(device, (p.steps * p.batch * 4 * p.hidden) as usize);
    let forward = recurrence::forward_with(p, variant).unwrap();
    assert_eq!(forward.len(), p.steps as usize);
    let given = [("gx", &gx), ("w", &w), ("bias", &bias), ("h0", &h0), ("c0", &c0), ("lengths", &lengths)];
    run(device, &forward, &[&given[..], &[("y", &y), ("gates", &gates)]].concat());
    let what = format!("{p:?} {variant:?}");
    close(&format!("y {what}"), &floats(device, &y), &want.y, 1e-5);

    let (out, carry) = (empty(device, want.out.len()), empty(device, want.carry.len()));
    let start = if p.cell == Cell::Lstm { &c0 } else { &h0 };
    let given = [("w", &w), ("start", start), ("lengths", &lengths), ("y", &y), ("gates", &gates), ("dy", &dy)];
    let back = recurrence::grad_with(p, variant).unwrap();
    run(device, &back, &[&given[..], &[("out", &out), ("carry", &carry)]].concat());
    close(&format!("gates' gradient {what}"), &floats(device, &out), &want.out, 1e-4);
    close(&format!("start's gradient {what}"), &floats(device, &carry), &want.carry, 1e-4);
}

#[test]
fn recurrences_and_their_gradients_are_those_of_their_twin() {
    let device = device();
    // steps, batch, hidden: the rows of a workgroup are 1, or 4 or 8, its units 8 or 4
    let sizes = [
        [1, 1, 1],
        [2, 3, 5],
        [5, 1, 7],
        [3, 4, 8],
        [4, 5, 9],
        [7, 8, 3],
        [2, 9, 16],
        [6, 2, 33],
        [3, 17, 12],
        [3, 4, 40],
        [11, 3, 2],
        [2, 1, 130],
    ];
    for variant in recurrence::variants(device.caps()) {
        for cell in [Cell::Tanh, Cell::Relu, Cell::Lstm, Cell::Gru] {
            // relu differs from tanh in one line
            let some = if cell == Cell::Relu { 6 } else { sizes.len() };
            for (number, [steps, batch, hidden]) in sizes.into_iter().enumerate().take(some) {
                let [reverse, batch_first] = [1, 2].map(|bit| number & bit != 0);
                let masked = number % 3 == 1;
                check(&device, &Problem { cell, steps, batch, hidden, reverse, batch_first, masked }, variant);
            }
        }
    }
}

#[test]
fn what_has_no_kernel_is_an_error() {
    let p =
        Problem { cell: Cell::Lstm, steps: 2, batch: 3, hidden: 4, reverse: false, batch_first: false, masked: false };
    let bad = [
        Problem { steps: 0, ..p },
        Problem { batch: 0, ..p },
        Problem { hidden: 0, ..p },
        Problem { hidden: recurrence::MAX_HIDDEN + 1, ..p },
        Problem { steps: u32::MAX, ..p },
    ];
    for p in bad {
        for variant in [Variant::Alone, Variant::Shared] {
            assert!(recurrence::forward_with(&p, variant).is_err(), "{p:?}");
            assert!(recurrence::grad_with(&p, variant).is_err(), "{p:?}");
        }
    }
}
