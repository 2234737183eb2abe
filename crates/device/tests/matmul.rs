//! Every variant of the matrix product against its definition in f64, over odd shapes, strides, batches and slices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln_device::kernels::matmul::{self, Elem, Problem, Strides, Variant};
use kiln_device::{Caps, Device, Slice, Step};

/// Numbers in -1..1 from a linear congruential generator.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// f16 bits of numbers that f16 holds exactly: multiples of 1/256 in -1..1.
fn half(values: &mut [f32]) -> Vec<u8> {
    let bits = |v: f32| {
        let exponent = v.abs().log2().floor() as i32;
        let fraction = (v.abs() / (exponent as f32).exp2() - 1.0) * 1024.0;
        (u16::from(v < 0.0) << 15) | (((exponent + 15) as u16) << 10) | fraction as u16
    };
    values.iter_mut().for_each(|v| *v = (*v * 256.0).round() / 256.0);
    values.iter().flat_map(|&v| if v == 0.0 { [0, 0] } else { bits(v).to_le_bytes() }).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Every element that an operand's strides reach, plus one.
fn reach(s: &Strides, batch: [u32; 2], rows: u32, cols: u32) -> usize {
    (s.offset + (batch[0] - 1) * s.batch[0] + (batch[1] - 1) * s.batch[1] + (rows - 1) * s.row + (cols - 1) * s.col + 1)
        as usize
}

/// The greatest |got - want| / Σ|terms| of the variant's result; a NaN is infinitely wrong.
fn error(device: &Device, caps: &Caps, p: &Problem, variant: Variant) -> f64 {
    let mut a = numbers(reach(&p.a, p.batch, p.m, p.k), 1);
    let mut b = numbers(reach(&p.b, p.batch, p.k, p.n), 2);
    let stored = |v: &mut Vec<f32>, elem| if elem == Elem::F16 { half(v) } else { bytes(v) };
    let a_buffer = device.upload(&stored(&mut a, p.a_elem), "a").unwrap();
    let b_buffer = device.upload(&stored(&mut b, p.b_elem), "b").unwrap();
    let batches = p.batch[0] * p.batch[1];
    let size = (batches * p.m * p.n) as usize;
    let poison = vec![f32::NAN; size * p.split as usize];
    let out = device.upload(&bytes(&poison), "out").unwrap();
    let launch = matmul::launch_as(caps, p, variant).unwrap();
    assert_eq!(launch.width, if p.n.is_multiple_of(4) { 4 } else { 1 });
    let step = Step::new(device, &launch, &[("a", &a_buffer), ("b", &b_buffer), ("out", &out)]).unwrap();
    device.run(vec![step]).unwrap();
    let got = floats(&device.read(&[Slice::from(&out)]).unwrap()[0]);

    let mut worst = 0f64;
    for i in 0..size {
        let (batch, row, col) = (i as u32 / p.n / p.m, i as u32 / p.n % p.m, i as u32 % p.n);
        let start = |s: &Strides| s.offset + batch / p.batch[1] * s.batch[0] + batch % p.batch[1] * s.batch[1];
        let (mut want, mut terms) = (0f64, 1e-30f64);
        for k in 0..p.k {
            let x = a[(start(&p.a) + row * p.a.row + k * p.a.col) as usize];
            let y = b[(start(&p.b) + k * p.b.row + col * p.b.col) as usize];
            want += f64::from(x) * f64::from(y);
            terms += (f64::from(x) * f64::from(y)).abs();
        }
        let got: f64 = (0..p.split as usize).map(|s| f64::from(got[s * size + i])).sum();
        let error = (got - want).abs() / terms;
        worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
    }
    worst
}

/// The four storage orders, at shapes around the block sizes, padded and broadcast operands, batches, slices.
fn problems() -> Vec<Problem> {
    let mut all = Vec::new();
    let mut add = |batch: [u32; 2], [m, n, k]: [u32; 3], order: u32, pad: u32| {
        let stride = |rows: u32, cols: u32, turned: bool| {
            let (row, col, size) =
                if turned { (1, rows + pad, cols * (rows + pad)) } else { (cols + pad, 1, rows * (cols + pad)) };
            Strides { offset: pad, batch: [batch[1] * size, size], row, col }
        };
        all.push(Problem::new(batch, m, n, k, stride(m, k, order & 1 == 1), stride(k, n, order & 2 == 2)));
    };
    let shapes: [[u32; 3]; 14] = [
        [1, 1, 1],
        [1, 4, 4],
        [2, 3, 5],
        [4, 4, 4],
        [8, 8, 8],
        [7, 12, 9],
        [17, 33, 65],
        [32, 32, 16],
        [33, 36, 17],
        [40, 130, 3],
        [64, 64, 64],
        [65, 31, 130],
        [12, 68, 20],
        [129, 132, 31],
    ];
    for (i, &shape) in shapes.iter().enumerate() {
        for order in 0..4 {
            add([1, 1], shape, order, 0);
            add([1 + i as u32 % 3, 1 + i as u32 % 2], shape, order, [4, 1, 8][i % 3]);
        }
    }
    let stack = all.len();
    for i in (0..stack).step_by(5) {
        let mut p = all[i];
        p.split = 1 + (i as u32) % 4;
        all.push(p);
        // A broadcast operand, a broadcast axis, a step of two along both axes.
        p.a.batch = [0, 0];
        p.b.row = 0;
        all.push(p);
        p.a = Strides { offset: 3, batch: [0, 2 * p.m * 2 * p.k], row: 2 * 2 * p.k, col: 2 };
        all.push(p);
    }
    all
}

/// Checks every problem by one of the variants, in turn.
fn check(variants: &[Variant], most_rows: u32) {
    let device = Device::open().unwrap();
    let problems: Vec<Problem> = problems().into_iter().filter(|p| p.m <= most_rows).collect();
    assert!(problems.len() >= 40 * variants.len(), "{} problems", problems.len());
    for (p, &variant) in problems.iter().zip(variants.iter().cycle()) {
        let error = error(&device, device.caps(), p, variant);
        assert!(error <= 1e-5, "{variant:?} {p:?}: {error:e}");
    }
}

/// Whether the device has the subgroups that the variant for CPU adapters needs.
fn has_subgroups() -> bool {
    Device::open().unwrap().caps().subgroup.is_some_and(|(least, _)| least >= 8)
}

#[test]
fn subgroup_variant_is_right() {
    if has_subgroups() {
        check(&[Variant::Subgroup], u32::MAX);
    }
}

#[test]
fn block_variant_is_right() {
    check(&[Variant::Block], u32::MAX);
}

#[test]
fn tile_variants_are_right() {
    check(&[32, 64, 128].map(Variant::Tile), u32::MAX);
}

#[test]
fn thin_variant_is_right() {
    check(&[Variant::Thin], 8);
}

/// One of each, those for subgroups only where there are any.
fn variants() -> impl Iterator<Item = Variant> {
    let all = [Variant::Subgroup, Variant::Block, Variant::Tile(32), Variant::Tile(64), Variant::Thin];
    all.into_iter().skip(usize::from(!has_subgroups()))
}

#[test]
fn half_operands_accumulate_in_f32() {
    let device = Device::open().unwrap();
    if !device.caps().f16 {
        return;
    }
    let elems = [(Elem::F16, Elem::F32), (Elem::F32, Elem::F16), (Elem::F16, Elem::F16)];
    for variant in variants() {
        for (i, mut p) in problems().into_iter().filter(|p| variant != Variant::Thin || p.m <= 8).step_by(9).enumerate()
        {
            (p.a_elem, p.b_elem) = elems[i % 3];
            let error = error(&device, device.caps(), &p, variant);
            assert!(error <= 1e-5, "{variant:?} {p:?}: {error:e}");
        }
    }
}

#[test]
fn a_long_k_is_split() {
    let device = Device::open().unwrap();
    let (m, n, k) = (3, 4, 300_000);
    let mut p = Problem::new([1, 1], m, n, k, Strides::contiguous(1, m, k), Strides::contiguous(1, k, n));
    assert!(matmul::launch(device.caps(), &p).is_err(), "one slice is too long");
    p.split = matmul::splits(device.caps(), &p);
    let variant = matmul::variant(device.caps(), &p);
    let error = error(&device, device.caps(), &p, variant);
    assert!(error <= 1e-5, "{p:?}: {error:e}");
}

#[test]
fn what_is_past_the_end_is_never_multiplied() {
    // NaN right behind each row and after the last element: only masked loads see it.
    let device = Device::open().unwrap();
    for variant in variants() {
        for (k, pad, order) in [(5, 3, 0), (6, 2, 1), (7, 1, 2), (9, 7, 3), (5, 2, 0), (1, 3, 1)] {
            let (m, n) = (8, 12);
            let turned = |turn: bool, rows: u32, cols: u32| {
                if turn {
                    Strides { row: 1, col: rows + pad, ..Strides::default() }
                } else {
                    Strides { row: cols + pad, col: 1, ..Strides::default() }
                }
            };
            let p = Problem::new([1, 1], m, n, k, turned(order & 1 == 1, m, k), turned(order & 2 == 2, k, n));
            let fill = |s: &Strides, rows: u32, cols: u32| {
                let mut v = vec![f32::NAN; (reach(s, [1, 1], rows, cols) + pad as usize).next_multiple_of(4)];
                (0..rows * cols).for_each(|i| v[(i / cols * s.row + i % cols * s.col) as usize] = 1.0);
                device.upload(&bytes(&v), "operand").unwrap()
            };
            let (a, b) = (fill(&p.a, m, k), fill(&p.b, k, n));
            let out = device.zeroed(u64::from(m * n * 4), "out").unwrap();
            let launch = matmul::launch_as(device.caps(), &p, variant).unwrap();
            device.run(vec![Step::new(&device, &launch, &[("a", &a), ("b", &b), ("out", &out)]).unwrap()]).unwrap();
            let got = floats(&device.read(&[Slice::from(&out)]).unwrap()[0]);
            assert!(got.iter().all(|&v| v == k as f32), "{variant:?} {p:?}: {got:?}");
        }
    }
}

#[test]
fn wrong_problems_are_errors() {
    let device = Device::open().unwrap();
    let strides = Strides::contiguous(1, 4, 4);
    let mut p = Problem::new([1, 1], 9, 4, 4, strides, strides);
    assert!(matmul::launch_as(device.caps(), &p, Variant::Thin).is_err());
    assert!(matmul::launch_as(device.caps(), &p, Variant::Tile(48)).is_err());
    p.k = 0;
    assert!(matmul::launch(device.caps(), &p).is_err());
}
