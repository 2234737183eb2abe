//! Pooling and its gradients against the definition, over odd shapes, windows, paddings, ceil mode and NaN.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln_device::kernels::pool::{self, Divisor, Problem};
use kiln_device::{Buffer, Device, Launch, Slice, Step};

/// Multiples of 1/8 in -1..1, so that many are equal.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 60) as f32) / 8.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn run(device: &Device, launch: &Launch, inputs: &[(&'static str, &Buffer)], len: usize) -> Vec<f32> {
    let out = device.upload(&bytes(&vec![7e7; len]), "out").unwrap();
    let mut bindings = inputs.to_vec();
    bindings.push(("out", &out));
    device.run(vec![Step::new(device, launch, &bindings).unwrap()]).unwrap();
    read(device, &out).into_iter().map(f32::from_bits).collect()
}

fn read(device: &Device, buffer: &Buffer) -> Vec<u32> {
    let bytes = device.read(&[Slice::from(buffer)]).unwrap().remove(0);
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn volume(v: [u32; 3]) -> usize {
    v.iter().product::<u32>() as usize
}

/// Positions of x that the window of output `o` sees, in order.
fn seen(p: &Problem, o: usize) -> Vec<usize> {
    let o = o as u32;
    let at = [o / p.output[2] / p.output[1], o / p.output[2] % p.output[1], o % p.output[2]];
    let axis = |i: usize| -> Vec<i64> {
        if p.adaptive {
            let (o, outs, size) = (u64::from(at[i]), u64::from(p.output[i]), u64::from(p.input[i]));
            return (0..size)
                .filter(|q| (o * size) / outs <= *q && *q < ((o + 1) * size).div_ceil(outs))
                .map(|q| q as i64)
                .collect();
        }
        let from = |t: u32| i64::from(at[i] * p.stride[i] + t * p.dilation[i]) - i64::from(p.padding[i]);
        (0..p.kernel[i]).map(from).filter(|&q| q >= 0 && q < i64::from(p.input[i])).collect()
    };
    let (ds, hs, ws) = (axis(0), axis(1), axis(2));
    let mut all = Vec::new();
    for &d in &ds {
        for &h in &hs {
            all.extend(ws.iter().map(|&w| ((d * i64::from(p.input[1]) + h) * i64::from(p.input[2]) + w) as usize));
        }
    }
    all
}

fn divisor(p: &Problem, o: usize, divisor: Divisor) -> f64 {
    let o = o as u32;
    let at = [o / p.output[2] / p.output[1], o / p.output[2] % p.output[1], o % p.output[2]];
    match divisor {
        Divisor::Fixed(n) => f64::from(n),
        Divisor::WithPadding if p.adaptive => seen(p, o as usize).len() as f64,
        Divisor::WithoutPadding => seen(p, o as usize).len() as f64,
        Divisor::WithPadding => (0..3)
            .map(|i| {
                let first = at[i] * p.stride[i];
                f64::from((first + p.kernel[i]).min(p.input[i] + 2 * p.padding[i]) - first)
            })
            .product(),
    }
}

/// Sizes of one axis: input, kernel, stride, padding, dilation, ceil mode.
type Axis = [u32; 6];

fn problem(planes: u32, axes: [Axis; 3]) -> Problem {
    let part = |i: usize| axes.map(|a| a[i]);
    let output = axes.map(|[input, kernel, stride, padding, dilation, ceil]| {
        let span = input + 2 * padding - dilation * (kernel - 1) - 1;
        let mut output = (span + ceil * (stride - 1)) / stride + 1;
        if (output - 1) * stride >= input + padding {
            output -= 1; // the last window must begin inside
        }
        output
    });
    Problem {
        planes,
        input: part(0),
        output,
        kernel: part(1),
        stride: part(2),
        padding: part(3),
        dilation: part(4),
        adaptive: false,
    }
}

const NONE: Axis = [1, 1, 1, 0, 1, 0];

fn problems(dilated: bool) -> Vec<Problem> {
    let axes: [Axis; 12] = [
        [1, 1, 1, 0, 1, 0],
        [4, 2, 2, 0, 1, 0],
        [8, 2, 2, 0, 1, 0],
        [7, 2, 2, 0, 1, 1],
        [9, 3, 2, 1, 1, 0],
        [10, 3, 3, 1, 1, 1],
        [17, 5, 1, 2, 1, 0],
        [6, 4, 3, 2, 1, 1],
        [12, 3, 1, 1, 2, 0],
        [13, 2, 2, 1, 3, 1],
        [33, 3, 4, 0, 1, 1],
        [5, 5, 5, 0, 1, 0],
    ];
    let axes: Vec<Axis> = axes.into_iter().filter(|a| dilated || a[4] == 1).collect();
    let mut all = Vec::new();
    for (i, &a) in axes.iter().enumerate() {
        let (b, c) = (axes[(i + 3) % axes.len()], axes[(i + 5) % axes.len()]);
        all.push(problem(1 + i as u32 % 5, [NONE, NONE, a]));
        all.push(problem(3, [NONE, a, b]));
        all.push(problem(2, [NONE, b, a]));
        all.push(problem(2, [a, b, c]));
        all.push(problem(1, [NONE, a, a]));
        // the same sizes, with windows that follow from them alone
        let sizes = problem(2, [if i % 2 == 0 { NONE } else { c }, b, a]);
        let output = [0, 1, 2].map(|k| (sizes.input[k] + i as u32) / 2).map(|n| n.max(1));
        all.push(Problem { adaptive: true, dilation: [1; 3], output, ..sizes });
    }
    all
}

#[test]
fn max_and_its_gradient_are_exact() {
    let device = Device::open().unwrap();
    let problems = problems(true);
    assert!(problems.len() >= 40);
    for p in &problems {
        let (planes, area, plane) = (p.planes as usize, volume(p.output), volume(p.input));
        let mut x = numbers(planes * plane, 1);
        x.iter_mut().step_by(11).skip(1).for_each(|v| *v = f32::NAN);
        x.iter_mut().step_by(7).skip(1).for_each(|v| *v = f32::NEG_INFINITY);
        let dy = numbers(planes * area, 2);
        let mut want = vec![0f32; planes * area];
        let mut places = vec![0u32; planes * area];
        let mut dx = vec![0f64; planes * plane];
        for i in 0..planes * area {
            let (mut best, mut found) = (f32::NEG_INFINITY, None);
            for q in seen(p, i % area) {
                let v = x[i / area * plane + q];
                if v.is_nan() || found.is_none() || v > best {
                    (best, found) = (v, Some(q));
                }
            }
            want[i] = best;
            places[i] = found.map_or(u32::MAX, |q| q as u32);
            if let Some(q) = found {
                dx[i / area * plane + q] += f64::from(dy[i]);
            }
        }
        let x = device.upload(&bytes(&x), "x").unwrap();
        let dy = device.upload(&bytes(&dy), "dy").unwrap();
        let index = device.zeroed(4 * places.len() as u64, "index").unwrap();
        let got = run(&device, &pool::max(device.caps(), p).unwrap(), &[("x", &x), ("index", &index)], want.len());
        let same = |(got, want): (&f32, &f32)| got == want || (got.is_nan() && want.is_nan());
        assert!(got.iter().zip(&want).all(same), "{p:?}: {got:?}, not {want:?}");
        assert_eq!(read(&device, &index), places, "{p:?}");
        let got = run(&device, &pool::max_grad(device.caps(), p).unwrap(), &[("dy", &dy), ("index", &index)], dx.len());
        assert!(got.iter().zip(&dx).all(|(&got, &want)| f64::from(got) == want), "{p:?}: eighths add up exactly");
    }
}

#[test]
fn avg_and_its_gradient_are_right() {
    let device = Device::open().unwrap();
    let problems = problems(false);
    assert!(problems.len() >= 40);
    for (i, p) in problems.iter().enumerate() {
        let by = [Divisor::WithPadding, Divisor::WithoutPadding, Divisor::Fixed(3)][i % 3];
        let (planes, area, plane) = (p.planes as usize, volume(p.output), volume(p.input));
        let x = numbers(planes * plane, 1);
        let dy = numbers(planes * area, 2);
        let (mut y, mut dx) = (vec![[0f64; 2]; planes * area], vec![[0f64; 2]; planes * plane]);
        let add = |sum: &mut [f64; 2], term: f64| *sum = [sum[0] + term, sum[1] + term.abs()];
        for o in 0..planes * area {
            let n = divisor(p, o % area, by);
            for q in seen(p, o % area) {
                let q = o / area * plane + q;
                add(&mut y[o], f64::from(x[q]) / n);
                add(&mut dx[q], f64::from(dy[o]) / n);
            }
        }
        let x = device.upload(&bytes(&x), "x").unwrap();
        let dy = device.upload(&bytes(&dy), "dy").unwrap();
        let close = |got: &[f32], want: &[[f64; 2]]| {
            let worst = got.iter().zip(want).find(|(g, w)| (f64::from(**g) - w[0]).abs() > 1e-5 * w[1] || g.is_nan());
            assert!(worst.is_none(), "{by:?} {p:?}: {worst:?}");
        };
        close(&run(&device, &pool::avg(device.caps(), p, by).unwrap(), &[("x", &x)], y.len()), &y);
        close(&run(&device, &pool::avg_grad(device.caps(), p, by).unwrap(), &[("dy", &dy)], dx.len()), &dx);
    }
}

#[test]
fn wrong_problems_are_errors() {
    let device = Device::open().unwrap();
    let caps = device.caps();
    let good = problem(2, [NONE, [6, 2, 2, 0, 1, 0], [6, 2, 2, 0, 1, 0]]);
    assert!(pool::max(caps, &good).is_ok());
    assert!(pool::max(caps, &Problem { planes: 0, ..good }).is_err());
    assert!(
        pool::max(caps, &Problem { kernel: [1, 200, 200], ..good }).is_err(),
        "a window too long for one invocation"
    );
    assert!(pool::avg(caps, &Problem { dilation: [1, 1, 2], ..good }, Divisor::WithPadding).is_err());
    assert!(pool::avg(caps, &good, Divisor::Fixed(0)).is_err());
}
