//! Reductions of rows and columns, arguments of extremes and the guard, against f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::reduce::{self, Arg, Cols, Rows, col_chunks, row_chunks};
use kiln_device::kernels::{Kind, Scalar, guard};
use kiln_device::{Caps, Device};
use support::{close, device, empty, floats, ints, normal, run, upload, variants, words};

const KINDS: [Kind; 4] = [Kind::Sum, Kind::Prod, Kind::Max, Kind::Min];
const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn twin(kind: Kind, values: impl Iterator<Item = f64>) -> f64 {
    match kind {
        Kind::Sum => values.sum(),
        Kind::Prod => values.product(),
        Kind::Max => values.fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }),
        Kind::Min => values.fold(f64::INFINITY, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }),
    }
}

/// Elements near enough to 1 for their product to stay in range.
fn data(kind: Kind, n: usize) -> Vec<f32> {
    let x = normal(n, 11);
    if kind == Kind::Prod { x.iter().map(|v| 1.0 + 0.01 * v).collect() } else { x }
}

/// The rows reduced, in two launches where one is not enough.
fn rows(
    device: &Device,
    caps: &Caps,
    kind: Kind,
    x: &[f32],
    [rows, cols]: [usize; 2],
    width: u32,
    chunks: u32,
) -> Vec<f32> {
    let (input, part) = (upload(device, x), empty(device, rows * chunks as usize));
    let p = Rows { kind, ty: Scalar::F32, rows: rows as u32, cols: cols as u32, width, chunks };
    run(device, &reduce::rows(caps, &p).unwrap(), &[("x", &input), ("out", &part)]).unwrap();
    if chunks == 1 {
        return floats(device, &part);
    }
    let out = empty(device, rows);
    let p = Rows { cols: chunks, chunks: 1, width: 1, ..p };
    run(device, &reduce::rows(caps, &p).unwrap(), &[("x", &part), ("out", &out)]).unwrap();
    floats(device, &out)
}

#[test]
fn rows_match_f64() {
    let device = device();
    for (variant, caps) in variants(&device) {
        for [r, c] in [
            [1, 1],
            [3, 2],
            [5, 4],
            [67, 3],
            [3, 17],
            [130, 16],
            [7, 65],
            [5, 127],
            [5, 128],
            [3, 129],
            [9, 512],
            [2, 5000],
            [3, 20000],
        ] {
            for kind in KINDS {
                let x = data(kind, r * c);
                let want: Vec<f64> = x.chunks(c).map(|row| twin(kind, row.iter().map(|&v| v.into()))).collect();
                let scale: Vec<f64> =
                    x.chunks(c).map(|row| row.iter().map(|&v| f64::from(v).abs()).sum::<f64>()).collect();
                for width in [1, 4].into_iter().filter(|w| c % w == 0) {
                    for chunks in [1, 3] {
                        let got = rows(&device, &caps, kind, &x, [r, c], width as u32, chunks);
                        if kind == Kind::Sum {
                            // Relative to the sum of |terms|: a sum may cancel.
                            let relative = |v: &f64, s: &f64| v / s;
                            let got: Vec<f32> =
                                got.iter().zip(&scale).map(|(g, s)| (f64::from(*g) / s) as f32).collect();
                            let want: Vec<f64> = want.iter().zip(&scale).map(|(w, s)| relative(w, s)).collect();
                            close(
                                &format!("{variant} {kind:?} [{r}, {c}] width {width} chunks {chunks}"),
                                &got,
                                &want,
                                1e-6,
                            );
                        } else {
                            // A product of n factors has n roundings.
                            let tolerance = if kind == Kind::Prod { 1e-7 * (c as f64).sqrt().max(4.0) } else { 0.0 };
                            close(
                                &format!("{variant} {kind:?} [{r}, {c}] width {width} chunks {chunks}"),
                                &got,
                                &want,
                                tolerance,
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn columns_match_f64() {
    let device = device();
    for (variant, caps) in variants(&device) {
        for [o, r, c] in
            [[1, 1, 1], [1, 3, 17], [2, 33, 4], [3, 65, 5], [5, 129, 8], [1, 128, 129], [2, 1000, 3], [1, 5000, 12]]
        {
            for kind in KINDS {
                let x = data(kind, o * r * c);
                let column = |o: usize, j: usize| (0..r).map(move |i| (o * r + i) * c + j);
                let fold = |f: &dyn Fn(f64) -> f64, kind| -> Vec<f64> {
                    (0..o)
                        .flat_map(|o| (0..c).map(move |j| (o, j)))
                        .map(|(o, j)| twin(kind, column(o, j).map(|i| f(x[i].into()))))
                        .collect()
                };
                let (want, scale) = (fold(&|v| v, kind), fold(&f64::abs, Kind::Sum));
                for width in [1, 4].into_iter().filter(|w| c % w == 0) {
                    for chunks in [1, 5, col_chunks(&caps, o as u32, r as u32, c as u32, width as u32)] {
                        let (input, part) = (upload(&device, &x), empty(&device, o * c * chunks as usize));
                        let p = Cols {
                            kind,
                            ty: Scalar::F32,
                            outer: o as u32,
                            rows: r as u32,
                            inner: c as u32,
                            width: width as u32,
                            chunks,
                        };
                        run(&device, &reduce::cols(&caps, &p).unwrap(), &[("x", &input), ("out", &part)]).unwrap();
                        let out = empty(&device, o * c);
                        let p = Cols { rows: chunks, chunks: 1, ..p };
                        run(&device, &reduce::cols(&caps, &p).unwrap(), &[("x", &part), ("out", &out)]).unwrap();
                        let what = format!("{variant} {kind:?} [{o}, {r}, {c}] width {width} chunks {chunks}");
                        let got = floats(&device, &out);
                        if kind == Kind::Sum {
                            let got: Vec<f32> =
                                got.iter().zip(&scale).map(|(g, s)| (f64::from(*g) / s) as f32).collect();
                            let want: Vec<f64> = want.iter().zip(&scale).map(|(w, s)| w / s).collect();
                            close(&what, &got, &want, 1e-6);
                        } else {
                            close(
                                &what,
                                &got,
                                &want,
                                if kind == Kind::Prod { 1e-7 * (r as f64).sqrt().max(4.0) } else { 0.0 },
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn integers_are_exact() {
    let device = device();
    let x: Vec<i32> = (0..6 * 52).map(|i| (i * 7919) % 23 - 11).collect();
    for (variant, caps) in variants(&device) {
        for kind in KINDS {
            for (c, width) in [(52, 4), (52, 1), (13, 1), (4, 4)] {
                let want: Vec<i32> = x
                    .chunks(c)
                    .map(|row| match kind {
                        Kind::Sum => row.iter().sum(),
                        Kind::Prod => row.iter().fold(1i32, |a, &b| a.wrapping_mul(b)),
                        Kind::Max => *row.iter().max().unwrap(),
                        Kind::Min => *row.iter().min().unwrap(),
                    })
                    .collect();
                for ty in [Scalar::I32, Scalar::U32] {
                    if ty == Scalar::U32 && matches!(kind, Kind::Max | Kind::Min) {
                        continue;
                    }
                    let (input, out) = (upload(&device, &x), empty(&device, x.len() / c));
                    let p = Rows { kind, ty, rows: (x.len() / c) as u32, cols: c as u32, width, chunks: 1 };
                    run(&device, &reduce::rows(&caps, &p).unwrap(), &[("x", &input), ("out", &out)]).unwrap();
                    assert_eq!(ints(&device, &out), want, "{variant} {kind:?} {ty:?} [_, {c}] width {width}");
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_pass_through() {
    let device = device();
    for (variant, caps) in variants(&device) {
        for c in [4, 16, 40, 700] {
            let mut x = vec![1.0f32; 6 * c];
            x[c / 2] = NAN;
            x[c..2 * c].fill(-INF);
            x[2 * c..3 * c].fill(INF);
            x[3 * c + 1] = INF;
            (x[4 * c], x[5 * c - 1]) = (-INF, INF);
            x[5 * c..].fill(-3.0);
            for width in [1, 4] {
                for (kind, want) in
                    [(Kind::Max, [NAN, -INF, INF, INF, INF, -3.0]), (Kind::Min, [NAN, -INF, INF, 1.0, -INF, -3.0])]
                {
                    let got = rows(&device, &caps, kind, &x, [6, c], width, 1);
                    close(&format!("{variant} {kind:?} {c} width {width}"), &got, &want.map(f64::from), 0.0);
                }
                let sum = rows(&device, &caps, Kind::Sum, &x, [6, c], width, 1);
                close(
                    &format!("{variant} sum {c}"),
                    &sum,
                    &[NAN, -INF, INF, INF, NAN, -3.0 * c as f32].map(f64::from),
                    0.0,
                );
            }
        }
    }
}

#[test]
fn ten_million_ones_and_tenths() {
    let device = device();
    let n = 10_000_000;
    for (variant, caps) in variants(&device) {
        let chunks = row_chunks(&caps, 1, n as u32);
        for (value, width) in [(1.0f32, 4), (0.1, 4), (0.1, 1)] {
            let got = rows(&device, &caps, Kind::Sum, &vec![value; n], [1, n], width, chunks)[0];
            let want = f64::from(value) * n as f64;
            let relative = (f64::from(got) - want).abs() / want;
            println!("{variant}: {n} times {value}, width {width}: {relative:.1e}");
            assert!(relative < 1e-5, "{variant} {value}: {got} is not {want}");
        }
        let x = normal(n, 5);
        let got = rows(&device, &caps, Kind::Sum, &x, [1, n], 4, chunks)[0];
        let (want, scale) = x.iter().fold((0.0, 0.0), |(s, a), &v| (s + f64::from(v), a + f64::from(v.abs())));
        assert!((f64::from(got) - want).abs() / scale < 1e-6, "{variant}: {got} is not {want}");
    }
    // A length at which lavapipe 22.3 stops a single loop in silence.
    for n in [65_535, 65_536, 262_144] {
        let got =
            rows(&device, device.caps(), Kind::Sum, &vec![1.0; n], [1, n], 1, row_chunks(device.caps(), 1, n as u32))
                [0];
        assert_eq!(got, n as f32);
    }
    // The longest rows and columns that one launch may have.
    for (variant, caps) in variants(&device) {
        for n in [60_000 * 8, 59_999] {
            assert_eq!(rows(&device, &caps, Kind::Sum, &vec![1.0; n], [1, n], 1, 1)[0], n as f32, "{variant}");
        }
        let (input, out) = (upload(&device, &[1.0f32; 60_000 * 4]), empty(&device, 4));
        let p = Cols { kind: Kind::Sum, ty: Scalar::F32, outer: 1, rows: 60_000, inner: 4, width: 1, chunks: 1 };
        run(&device, &reduce::cols(&caps, &p).unwrap(), &[("x", &input), ("out", &out)]).unwrap();
        assert_eq!(floats(&device, &out), [60_000.0; 4], "{variant}");
    }
}

#[test]
fn the_first_extreme_wins() {
    let device = device();
    for (variant, caps) in variants(&device) {
        for c in [1usize, 3, 4, 17, 65, 129, 1000] {
            let mut x: Vec<f32> = normal(9 * c, 2).iter().map(|v| v.round()).collect();
            x[c - 1] = NAN;
            x[c..2 * c].fill(-INF);
            x[2 * c + c / 2..3 * c].fill(NAN);
            x[3 * c..4 * c].fill(0.0);
            x[3 * c] = -0.0;
            for max in [true, false] {
                let want: Vec<i32> = x
                    .chunks(c)
                    .map(|row| {
                        let better = |a: f32, b: f32| !a.is_nan() && (b.is_nan() || if max { b > a } else { b < a });
                        (1..c).fold(0, |best, i| if better(row[best], row[i]) { i } else { best }) as i32
                    })
                    .collect();
                let (input, out) = (upload(&device, &x), empty(&device, 9));
                let p = Arg { max, ty: Scalar::F32, rows: 9, cols: c as u32 };
                run(&device, &reduce::arg_rows(&caps, &p).unwrap(), &[("x", &input), ("out", &out)]).unwrap();
                assert_eq!(ints(&device, &out), want, "{variant} max {max} [9, {c}]");

                let y: Vec<i32> = (0..9 * c as i32).map(|i| (i * 7919) % 23 - 11).collect();
                let want: Vec<i32> = y
                    .chunks(c)
                    .map(|row| {
                        let best = if max { row.iter().max() } else { row.iter().min() }.unwrap();
                        row.iter().position(|v| v == best).unwrap() as i32
                    })
                    .collect();
                let input = upload(&device, &y);
                run(
                    &device,
                    &reduce::arg_rows(&caps, &Arg { ty: Scalar::I32, ..p }).unwrap(),
                    &[("x", &input), ("out", &out)],
                )
                .unwrap();
                assert_eq!(ints(&device, &out), want, "{variant} i32 max {max} [9, {c}]");
            }
        }
    }
}

#[test]
fn the_guard_tells_of_the_first_fault_and_keeps_what_it_saw() {
    let device = device();
    let check = |x: &[f32], node: u32, fault: &kiln_device::Buffer| {
        let input = upload(&device, x);
        let launch = guard::launch(device.caps(), x.len() as u32, false, node, guard::place(1)).unwrap();
        run(&device, &launch, &[("x", &input), ("fault", fault)]).unwrap();
        let words = words(&device, fault);
        assert_eq!(words[1..], [0, x[0].to_bits(), 0]);
        guard::fault(words[0])
    };
    let fault = upload(&device, &[0u32; 4]);
    assert_eq!(check(&[1.0, -f32::MAX, 0.0], 7, &fault), None);
    assert_eq!(check(&[NAN], 7, &fault), Some((7, 0)));
    assert_eq!(check(&[INF], 9, &fault), Some((7, 0)));
    assert_eq!(check(&[1.0, -INF], 3, &fault), Some((3, 1)));
    let mut x = vec![0.0; 1000];
    (x[700], x[300]) = (NAN, NAN);
    assert_eq!(check(&x, 3, &upload(&device, &[0u32; 4])), Some((3, 300)));
    // two halves to a word: 1, 0.5, -65504 and then an infinity
    for (more, row) in [(0x0000u32, None), (0x7c00, Some((4, 3))), (0xfe01, Some((4, 3)))] {
        let (input, fault) = (upload(&device, &[0x3800_3c00u32, 0xfbff | more << 16]), upload(&device, &[0u32; 4]));
        let launch = guard::launch(device.caps(), 4, true, 4, guard::place(0)).unwrap();
        run(&device, &launch, &[("x", &input), ("fault", &fault)]).unwrap();
        let words = words(&device, &fault);
        assert_eq!((guard::fault(words[0]), words[1]), (row, 1f32.to_bits()));
    }
    assert_eq!(guard::fault(guard::key(5, 12)), Some((5, 12)));
    assert!(guard::launch(device.caps(), 1, false, 5000, None).is_err());
}

#[test]
fn marks_tell_infinity_from_nan() {
    let device = device();
    // values of f32, or of f16 two in a word; what their flags are
    let f32s: [(&[u32], u32); 4] = [
        (&[0, 0x7f7f_ffff, 0xff7f_ffff], 0),
        (&[0, 0xff80_0000], 1),
        (&[0x7fc0_0000], 2),
        (&[0x7f80_0000, 0xff80_0001], 3),
    ];
    let f16s: [(&[u32], u32); 4] =
        [(&[0x7bff_fbff], 0), (&[0, 0x0000_fc00], 1), (&[0x7e00_0000], 2), (&[0x7c00_7c01], 3)];
    for (half, cases) in [(false, f32s), (true, f16s)] {
        let flags = upload(&device, &[0u32; 8]);
        for (node, (bits, _)) in cases.iter().enumerate() {
            let n = bits.len() as u32 * if half { 2 } else { 1 };
            let launch = guard::mark(device.caps(), n, half, node as u32).unwrap();
            run(&device, &launch, &[("x", &upload(&device, bits)), ("flags", &flags)]).unwrap();
        }
        assert_eq!(words(&device, &flags)[..4], cases.map(|c| c.1), "half: {half}");
    }
    // what lies past the end is not looked at, and long tensors are looked at to their end
    let mut x = vec![0.0f32; 70_000];
    x[69_999] = NAN;
    for (n, want) in [(69_999, 0), (70_000, 2)] {
        let flags = upload(&device, &[0u32; 4]);
        let launch = guard::mark(device.caps(), n, false, 1).unwrap();
        run(&device, &launch, &[("x", &upload(&device, &x)), ("flags", &flags)]).unwrap();
        assert_eq!(words(&device, &flags)[1], want);
    }
}

#[test]
fn a_row_too_long_for_one_launch_is_an_error() {
    let device = device();
    let p = Rows { kind: Kind::Sum, ty: Scalar::F32, rows: 1, cols: 1 << 30, width: 1, chunks: 1 };
    for (_, caps) in variants(&device) {
        assert!(reduce::rows(&caps, &p).is_err());
        assert!(reduce::rows(&caps, &Rows { chunks: row_chunks(&caps, 1, 1 << 30), ..p }).is_ok());
        assert!(reduce::rows(&caps, &Rows { cols: 6, width: 4, ..p }).is_err());
    }
}
