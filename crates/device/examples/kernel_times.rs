//! Temporary: times of kernels.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
use kiln_device::kernels::matmul::{self, Problem, Strides, Variant};
use kiln_device::*;
use std::time::Instant;

fn time(device: &Device, launch: &Launch, bindings: &[(&'static str, &Buffer)]) -> (f64, f64) {
    let t = Instant::now();
    let step = Step::new(device, launch, bindings).unwrap();
    let mut program = Program::new(device, vec![step]).unwrap();
    program.run(&[], &[], &[]).unwrap();
    device.wait().unwrap();
    let first = t.elapsed().as_secs_f64();
    let (mut best, mut total) = (f64::MAX, 0.0);
    while total < 0.4 {
        let t = Instant::now();
        program.run(&[], &[], &[]).unwrap();
        device.wait().unwrap();
        let t = t.elapsed().as_secs_f64();
        best = best.min(t);
        total += t;
    }
    (best, first - best)
}

fn main() {
    let device = Device::open().unwrap();
    println!("{}", device.caps().driver);
    let mut args = std::env::args().skip(1);
    let variant = match args.next().as_deref() {
        Some("block") => Some(Variant::Block),
        Some("tile32") => Some(Variant::Tile(32)),
        Some("tile64") => Some(Variant::Tile(64)),
        Some("tile128") => Some(Variant::Tile(128)),
        Some("thin") => Some(Variant::Thin),
        _ => None,
    };
    if std::env::args().nth(1).as_deref() == Some("conv") {
        use kiln_device::kernels::conv::{self, Problem, Variant};
        let caps = device.caps();
        for (n, ci, co, hw, k, st) in [(8, 16, 32, 32, 3, 1), (64, 1, 16, 28, 3, 1), (8, 32, 64, 16, 1, 1), (16, 64, 64, 7, 3, 1)] {
            let o = (hw + 2 * (k / 2) - k) / st + 1;
            let p = Problem { n, c_in: ci, c_out: co, groups: 1, input: [1, hw, hw], output: [1, o, o], kernel: [1, k, k], stride: [1, st, st], padding: [0, k / 2, k / 2], dilation: [1; 3] };
            let data = vec![1u8; 4 << 22];
            let (x, w, dy, out) = (device.upload(&data, "x").unwrap(), device.upload(&data, "w").unwrap(), device.upload(&data, "dy").unwrap(), device.upload(&data, "o").unwrap());
            let b: [(&'static str, &Buffer); 4] = [("x", &x), ("w", &w), ("dy", &dy), ("out", &out)];
            let split = conv::weight_grad_splits(caps, &p);
            let flop = 2.0 * (n * co * o * o * ci * k * k) as f64;
            let mut vs = vec![Variant::Subgroup];
            if std::env::args().nth(2).is_some() { vs = vec![Variant::Direct, Variant::Tile(32), Variant::Tile(64)]; }
            for v in vs {
                let mut line = format!("{v:?} n{n} {ci}->{co} {hw} k{k} s{st} split {split}: ");
                let mut sum = 0.0;
                for l in [conv::forward_as(caps, &p, v), conv::input_grad_as(caps, &p, v), conv::weight_grad_as(caps, &p, split, v)] {
                    let (best, first) = time(&device, &l.unwrap(), &b);
                    sum += best * 1e3;
                    line += &format!("  {:.2} ms {:.1} GF (first {:.0})", best * 1e3, flop / best / 1e9, first * 1e3);
                }
                println!("{line}  all {sum:.2}");
            }
        }
        return;
    }
    for size in args {
        let v: Vec<u32> = size.split(',').map(|x| x.parse().unwrap()).collect();
        let (m, n, k) = (v[0], v[1], v[2]);
        let data = vec![1u8; (4 * (m * k).max(k * n).max(m * n)) as usize];
        let (a, b, out) = (device.upload(&data, "a").unwrap(), device.upload(&data, "b").unwrap(), device.upload(&data, "o").unwrap());
        let mut line = String::new();
        for order in 0..4 {
            let at = if order & 1 == 1 { Strides { row: 1, col: m, ..Strides::default() } } else { Strides { row: k, col: 1, ..Strides::default() } };
            let bt = if order & 2 == 2 { Strides { row: 1, col: k, ..Strides::default() } } else { Strides { row: n, col: 1, ..Strides::default() } };
            let p = Problem::new([1, 1], m, n, k, at, bt);
            let launch = matmul::launch_as(device.caps(), &p, variant.unwrap_or(matmul::variant(device.caps(), &p))).unwrap();
            let (best, first) = time(&device, &launch, &[("a", &a), ("b", &b), ("out", &out)]);
            line += &format!("  {:5.1} ({:.0} ms)", 2.0 * m as f64 * n as f64 * k as f64 / best / 1e9, first * 1e3);
        }
        println!("{m}x{n}x{k}: {line}");
    }
}
