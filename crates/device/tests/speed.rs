//! How long the row kernels take on this adapter, and how long their pipelines take to make. Measurements, not tests:
//! `cargo test -p kiln-device --test speed -- --ignored --nocapture --test-threads 1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::attention::Part;
use kiln_device::kernels::matmul::Elem;
use kiln_device::kernels::{Kind, Scalar, attention, map, norm, random, reduce, scan, segment, softmax, sort};
use kiln_device::philox::Stream;
use kiln_device::{Buffer, Device, Launch, Options, Program, Source, Step};
use std::time::Instant;
use support::{classes, device, empty, half, normal, upload, variants};

/// Milliseconds of one run of `steps`, the best of several, and what making them took.
fn time(device: &Device, what: &str, make: impl FnOnce() -> Vec<Step>) {
    let start = Instant::now();
    let steps = make();
    let compile = start.elapsed().as_secs_f64() * 1e3;
    const REPEATS: usize = 10;
    let count = steps.len();
    let text: usize = steps.iter().map(|s| s.kernel.text().len()).max().unwrap();
    let many: Vec<Step> = (0..REPEATS).flat_map(|_| steps.clone()).collect();
    let mut program = Program::new(device, many).unwrap();
    let mut run = || {
        let start = Instant::now();
        program.run(&[], &[], &[]).unwrap();
        device.wait().unwrap();
        start.elapsed().as_secs_f64() * 1e3
    };
    let first = run();
    let best = (0..8).map(|_| run()).fold(f64::INFINITY, f64::min) / REPEATS as f64;
    println!(
        "{what:48} {best:8.3} ms  {count:3} launches, made in {compile:6.1} ms, first run {first:6.1} ms, {text} bytes"
    );
}

fn one(device: &Device, what: &str, launch: &Launch, bindings: &[(&'static str, &Buffer)]) {
    time(device, what, || vec![Step::new(device, launch, bindings).unwrap()]);
}

#[test]
#[ignore = "a measurement"]
fn rows() {
    let device = device();
    let [rows, cols] = [512u32, 1024u32];
    let n = (rows * cols) as usize;
    let data = normal(n, 1);
    let [x, g, xhat] = [0; 3].map(|_| upload(&device, &data));
    let (out, rstd) = (empty(&device, n), empty(&device, n));
    for (variant, caps) in variants(&device) {
        for width in [4, 1] {
            let name = |what: &str| format!("{variant} {what} 512x1024 width {width}");
            let p = reduce::Rows { kind: Kind::Sum, ty: Scalar::F32, rows, cols, width, chunks: 1 };
            one(&device, &name("sum of rows"), &reduce::rows(&caps, &p).unwrap(), &[("x", &x), ("out", &out)]);
            let p = reduce::Rows { kind: Kind::Max, ..p };
            one(&device, &name("max of rows"), &reduce::rows(&caps, &p).unwrap(), &[("x", &x), ("out", &out)]);
            let chunks = reduce::col_chunks(&caps, 1, rows, cols, width);
            let p = reduce::Cols { kind: Kind::Sum, ty: Scalar::F32, outer: 1, rows, inner: cols, width, chunks };
            one(
                &device,
                &name(&format!("sum of columns, {chunks} chunks")),
                &reduce::cols(&caps, &p).unwrap(),
                &[("x", &x), ("out", &out)],
            );
            let p = softmax::Rows { log: false, rows, cols, width };
            one(&device, &name("softmax"), &softmax::rows(&caps, &p).unwrap(), &[("x", &x), ("out", &out)]);
            let p = softmax::LogSumExp { rows, cols, width };
            one(&device, &name("logsumexp"), &softmax::logsumexp(&caps, &p).unwrap(), &[("x", &x), ("out", &out)]);
            let p = norm::Rows { center: true, rows, cols, width, eps: 1e-5 };
            one(&device, &name("norm"), &norm::rows(&caps, &p).unwrap(), &[("x", &x), ("out", &out), ("rstd", &rstd)]);
            let p = norm::Grad { center: true, rows, cols, width };
            let bindings = [("g", &g), ("xhat", &xhat), ("rstd", &rstd), ("out", &out)];
            one(&device, &name("norm gradient"), &norm::grad(&caps, &p).unwrap(), &bindings);
        }
        let p = reduce::Arg { max: true, ty: Scalar::F32, rows, cols };
        one(
            &device,
            &format!("{variant} argmax 512x1024"),
            &reduce::arg_rows(&caps, &p).unwrap(),
            &[("x", &x), ("out", &out)],
        );
        for (rows, cols) in [(52_428, 10), (131_072, 4), (8192, 64)] {
            let width = if cols % 4 == 0 { 4 } else { 1 };
            let p = softmax::Rows { log: false, rows, cols, width };
            one(
                &device,
                &format!("{variant} softmax {rows}x{cols} width {width}"),
                &softmax::rows(&caps, &p).unwrap(),
                &[("x", &x), ("out", &out)],
            );
            let p = reduce::Rows { kind: Kind::Sum, ty: Scalar::F32, rows, cols, width, chunks: 1 };
            one(
                &device,
                &format!("{variant} sum {rows}x{cols} width {width}"),
                &reduce::rows(&caps, &p).unwrap(),
                &[("x", &x), ("out", &out)],
            );
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn elementwise() {
    let device = device();
    let n = 1u32 << 20;
    let (x, out) = (upload(&device, &normal(n as usize, 1)), empty(&device, n as usize));
    for expression in [
        "x",
        "exp(x)",
        "exp_(x)",
        "log(abs(x))",
        "log_(abs(x))",
        "tanh(x)",
        "tanh_(x)",
        "sigmoid_(x)",
        "gelu_(x)",
        "erf_(x)",
        "sin(x)",
        "sin_(x)",
        "pow(abs(x), F(2.5))",
        "pow_(x, F(2.5))",
        "sqrt_(abs(x))",
        "rsqrt_(abs(x))",
        "max_(x, F(0.0))",
        "relu_(x)",
        "softplus_(x)",
        "atan2_(x, x)",
        "rem_(x, F(0.3))",
        "lgamma_(x)",
        "digamma_(x)",
    ] {
        let launch = map::launch(device.caps(), n / 4, 4).unwrap();
        let source = launch.source.clone().slot("body", format!("    let x = x[i];\n    out[i] = {expression};"));
        one(
            &device,
            &format!("map {expression} 2^20 width 4"),
            &Launch { source, ..launch },
            &[("x", &x), ("out", &out)],
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn others() {
    let device = device();
    let n = 1usize << 20;
    let (x, out, indices) = (upload(&device, &normal(n, 1)), empty(&device, n), empty(&device, n));
    let caps = device.caps().clone();
    for (draw, width) in
        [(random::Draw::Uniform, 4), (random::Draw::Uniform, 1), (random::Draw::Normal, 4), (random::Draw::Normal, 1)]
    {
        let launch = random::launch(&caps, draw, Stream::new(1, 2), n as u32, width).unwrap();
        one(&device, &format!("{draw:?} 2^20 width {width}"), &launch, &[("out", &out)]);
    }
    for (rows, cols) in [(1u32, 1u32 << 20), (512, 2048), (8192, 128)] {
        let p = scan::Rows { kind: Kind::Sum, ty: Scalar::F32, rows, cols };
        let stages = scan::rows(&caps, &p).unwrap();
        time(&device, &format!("scan {rows}x{cols}"), || stages.steps(&device, &[("x", &x), ("out", &out)]).unwrap());
        let p = sort::Rows { ty: Scalar::F32, rows, cols, descending: false, bits: 32 };
        let stages = sort::rows(&caps, &p).unwrap();
        let bindings = [("x", &x), ("out", &out), ("indices", &indices)];
        time(&device, &format!("sort {rows}x{cols}"), || stages.steps(&device, &bindings).unwrap());
    }
    let keys: Vec<i32> = (0..8192).map(|i| i / 9).collect();
    let perm: Vec<i32> = (0..8192).map(|i| (i * 5) % 8192).collect();
    let (keys, perm) = (upload(&device, &keys), upload(&device, &perm));
    let p = segment::Sum { n: 8192, rows: 1000, cols: 128, width: 4, ty: Scalar::F32, key: Scalar::I32 };
    let bindings = [("src", &x), ("sorted", &keys), ("perm", &perm), ("out", &out)];
    time(&device, "segment sum of 8192x128 into 1000", || {
        segment::sum(&caps, &p).unwrap().steps(&device, &bindings).unwrap()
    });
}

#[test]
#[ignore = "a measurement"]
fn short() {
    let device = device();
    let n = 1usize << 20;
    let (x, out) = (upload(&device, &normal(n, 1)), empty(&device, n));
    let caps = variants(&device).remove(2).1;
    for cols in [3u32, 4, 10, 16, 32, 64, 128] {
        let rows = n as u32 / cols;
        for width in [1u32, 4].into_iter().filter(|w| cols % w == 0) {
            let p = reduce::Rows { kind: Kind::Sum, ty: Scalar::F32, rows, cols, width, chunks: 1 };
            one(
                &device,
                &format!("sum {rows}x{cols} width {width}"),
                &reduce::rows(&caps, &p).unwrap(),
                &[("x", &x), ("out", &out)],
            );
            let p = softmax::Rows { log: false, rows, cols, width };
            one(
                &device,
                &format!("softmax {rows}x{cols} width {width}"),
                &softmax::rows(&caps, &p).unwrap(),
                &[("x", &x), ("out", &out)],
            );
        }
    }
}

/// Causal attention of a sequence to itself.
fn causal(heads: u32, length: u32, e: u32, elem: Elem) -> attention::Problem {
    let place = attention::Place { offset: 0, batch: 0, head: length * e, row: e };
    attention::Problem {
        batch: 1,
        heads,
        kv_heads: heads,
        length,
        keys: length,
        e,
        ev: e,
        causal: true,
        scale: 0.1,
        elem,
        q: place,
        k: place,
        v: place,
        mask: None,
        dropout: false,
    }
}

#[test]
#[ignore = "a measurement"]
fn attention() {
    let device = device();
    let caps = device.caps().clone();
    for (heads, length, e) in [(32, 64, 32), (8, 256, 64), (2, 1024, 64)] {
        let n = (heads * length * e) as usize;
        let data = normal(n, 1);
        let [q, k, v, dy] = [0; 4].map(|_| upload(&device, &data));
        let [out, dq, dk, dv] = [0; 4].map(|_| empty(&device, n));
        let rows = (heads * length) as usize;
        let (lse, norms) = (empty(&device, rows), empty(&device, 2 * rows));
        // one of ten is dropped
        let draw = upload(&device, &[7, 1, 3, 1_677_722]);
        for dropout in [false, true] {
            let p = attention::Problem { dropout, ..causal(heads, length, e, Elem::F32) };
            let [forward, query, keys] = Part::ALL.map(|part| attention::launch(&caps, &p, part).unwrap());
            let drops = if dropout { ", dropout" } else { "" };
            let name = |what: &str| format!("{what} {heads}x{length}x{e} causal{drops}");
            let given = [("q", &q), ("k", &k), ("v", &v), ("draw", &draw)];
            one(&device, &name("attention"), &forward, &[&given[..], &[("out", &out), ("lse", &lse)]].concat());
            let more = [("y", &out), ("dy", &dy), ("lse", &lse), ("out", &dq), ("norms", &norms)];
            one(&device, &name("query gradient"), &query, &[&given[..], &more].concat());
            let more = [("dy", &dy), ("norms", &norms), ("out", &dk), ("dv", &dv)];
            one(&device, &name("key gradient"), &keys, &[&given[..], &more].concat());
        }
    }
}

/// Every part by every variant, of half floats where the device has them.
#[test]
#[ignore = "a measurement"]
fn attention_variants() {
    let device = device();
    let caps = device.caps().clone();
    let elem = if caps.f16 { Elem::F16 } else { Elem::F32 };
    for (heads, length, e) in [(32, 64, 32), (8, 256, 64), (2, 1024, 64), (2, 512, 128)] {
        let n = (heads * length * e) as usize;
        let mut data = normal(n, 1);
        let x = if caps.f16 { device.upload(&half(&mut data), "x").unwrap() } else { upload(&device, &data) };
        let rows = (heads * length) as usize;
        let (out, dv, lse, norms) =
            (empty(&device, n), empty(&device, n), upload(&device, &vec![1.0f32; rows]), empty(&device, 2 * rows));
        let p = causal(heads, length, e, elem);
        let all = [("q", &x), ("k", &x), ("v", &x), ("y", &x), ("dy", &x)];
        let all = [&all[..], &[("out", &out), ("dv", &dv), ("lse", &lse), ("norms", &norms)]].concat();
        for part in Part::ALL {
            for variant in attention::variants(&caps, &p, part) {
                let launch = attention::launch_with(&caps, &p, part, variant).unwrap();
                one(&device, &format!("{part:?} {variant} {elem:?} {heads}x{length}x{e} causal"), &launch, &all);
            }
        }
    }
}

/// Seconds of processor time that this process has taken, all threads together, where the system says; ticks are 10 ms.
fn processor() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // the name before them may have spaces
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

/// What the self-test of each class adds to its first use, with nothing cached by Kiln: the means of several, each on a
/// device of its own. `MESA_SHADER_CACHE_DISABLE=true` keeps Mesa from caching either.
#[test]
#[ignore = "a measurement"]
fn self_tests() {
    const ROUNDS: u32 = 5;
    let folder = std::env::temp_dir().join(format!("kiln-speed-{}", std::process::id()));
    for (name, classes) in classes() {
        let family = kiln_device::kernels::FAMILIES.iter().find(|f| f.name == name).unwrap();
        for class in classes {
            let (mut wall, mut spent, mut bytes) = (0.0, Some(0.0), None);
            for _ in 0..ROUNDS {
                std::fs::create_dir_all(&folder).unwrap();
                let options = Options { cache_dir: Some(folder.clone()), ..Options::from_env().unwrap() };
                let device = Device::open_with(&options).unwrap();
                // a driver's first kernel is slower than others
                device.kernel(&Source::new("nothing", "@compute @workgroup_size(1) fn main() {}")).unwrap();
                let (start, before) = (Instant::now(), processor());
                // the definition is part of it
                let trial = (family.test)(device.caps(), &class);
                if let Some(trial) = &trial {
                    let verdict = device.self_test(name, trial).unwrap();
                    assert_eq!(verdict.wrong, None, "{name} {class}");
                    wall += start.elapsed().as_secs_f64() * 1e3 / f64::from(ROUNDS);
                    let own = |after: f64, before: f64| (after - before) * 1e3 / f64::from(ROUNDS);
                    spent = spent.zip(processor().zip(before)).map(|(sum, (after, before))| sum + own(after, before));
                    let text = &trial.candidates[0].stages.stages[0].launch.source;
                    bytes = Some((trial.candidates[0].name.clone(), text.finish().unwrap().len()));
                }
                drop(device);
                std::fs::remove_dir_all(&folder).unwrap();
            }
            if let Some((variant, bytes)) = bytes {
                let spent = spent.map_or("unknown".into(), |ms| format!("{ms:.0} ms"));
                println!(
                    "{:32} {wall:5.0} ms, processor {spent:>8}, {bytes:6} bytes of {variant}",
                    format!("{name} {class}")
                );
            }
        }
    }
}
