//! Every variant of the matrix product against its definition in f64, over odd shapes, strides, batches and slices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;

use kiln_device::kernels::matmul::{self, Algorithm, Coop, Elem, Precision, Problem, Strides, Variant};
use kiln_device::{AdapterKind, Buffer, Caps, Device};
use support::fragments::Machine;
use support::{bytes, floats};

/// Numbers in -1..1 from a linear congruential generator.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Every element that an operand's strides reach, plus one.
fn reach(s: &Strides, batch: [u32; 2], rows: u32, cols: u32) -> usize {
    (s.offset + (batch[0] - 1) * s.batch[0] + (batch[1] - 1) * s.batch[1] + (rows - 1) * s.row + (cols - 1) * s.col + 1)
        as usize
}

/// What a variant, with all its launches, makes of two operands.
fn product(machine: &Machine, p: &Problem, variant: &Variant, a: &Buffer, b: &Buffer) -> Vec<f32> {
    let size = (p.batch[0] * p.batch[1] * p.m * p.n) as usize;
    let out = machine.device.upload(&bytes(&vec![f32::NAN; size]), "out").unwrap();
    let stages = matmul::stages(&machine.caps, p, variant).unwrap();
    assert_eq!(stages.stages[0].launch.width, if p.n.is_multiple_of(4) { 4 } else { 1 });
    machine.run_all(&stages, &[("a", a), ("b", b), ("out", &out)]);
    floats(&machine.device, &out)
}

/// The greatest |got - want| / Σ|terms| of the variant's result; a NaN is infinitely wrong.
fn error(machine: &Machine, p: &Problem, variant: &Variant) -> f64 {
    let mut a = numbers(reach(&p.a, p.batch, p.m, p.k), 1);
    let mut b = numbers(reach(&p.b, p.batch, p.k, p.n), 2);
    let stored = |v: &mut Vec<f32>, elem| if elem == Elem::F16 { machine.half(v) } else { bytes(v) };
    let device = &machine.device;
    let a_buffer = device.upload(&stored(&mut a, p.a_elem), "a").unwrap();
    let b_buffer = device.upload(&stored(&mut b, p.b_elem), "b").unwrap();
    let got = product(machine, p, variant, &a_buffer, &b_buffer);

    let mut worst = 0f64;
    for (i, &got) in got.iter().enumerate() {
        let (batch, row, col) = (i as u32 / p.n / p.m, i as u32 / p.n % p.m, i as u32 % p.n);
        let start = |s: &Strides| s.offset + batch / p.batch[1] * s.batch[0] + batch % p.batch[1] * s.batch[1];
        let (mut want, mut terms) = (0f64, 1e-30f64);
        for k in 0..p.k {
            let x = a[(start(&p.a) + row * p.a.row + k * p.a.col) as usize];
            let y = b[(start(&p.b) + k * p.b.row + col * p.b.col) as usize];
            want += f64::from(x) * f64::from(y);
            terms += (f64::from(x) * f64::from(y)).abs();
        }
        let error = (f64::from(got) - want).abs() / terms;
        worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
    }
    worst
}

/// Rows of `rows` elements, or columns, with a gap of `pad` and the same before the first element.
fn strides(batch: [u32; 2], rows: u32, cols: u32, pad: u32, turned: bool) -> Strides {
    let (row, col, size) =
        if turned { (1, rows + pad, cols * (rows + pad)) } else { (cols + pad, 1, rows * (cols + pad)) };
    Strides { offset: pad, batch: [batch[1] * size, size], row, col }
}

/// A product whose operands are stored in one of four orders.
fn problem(batch: [u32; 2], [m, n, k]: [u32; 3], order: u32, pad: u32) -> Problem {
    let (a, b) = (strides(batch, m, k, pad, order & 1 == 1), strides(batch, k, n, pad, order & 2 == 2));
    Problem::new(batch, m, n, k, a, b)
}

/// At least 40 problems in one storage order: shapes around the block sizes, thin ones, long ones, batches, padded,
/// shifted and broadcast operands, slices of k. They need three classes of pipelines: all fours, none, and all but the
/// output.
fn problems(order: u32) -> Vec<(Problem, u32)> {
    let whole = [
        [4, 4, 4],
        [8, 8, 8],
        [16, 16, 16],
        [12, 68, 20],
        [32, 32, 32],
        [36, 36, 20],
        [64, 64, 64],
        [4, 132, 36],
        [132, 4, 36],
        [16, 260, 12],
        [260, 16, 12],
        [128, 132, 28],
        [4, 4, 2052],
        [68, 64, 516],
    ];
    let odd = [
        [1, 1, 1],
        [1, 3, 17],
        [3, 1, 1],
        [1, 65, 129],
        [65, 1, 130],
        [2, 3, 5],
        [7, 12, 9],
        [15, 17, 16],
        [17, 33, 65],
        [33, 36, 17],
        [40, 130, 3],
        [64, 65, 31],
        [65, 31, 130],
        [129, 67, 31],
        [3, 511, 7],
        [511, 5, 3],
        [9, 14, 511],
        [127, 129, 5],
    ];
    let mut all = Vec::new();
    for (i, shape) in whole.into_iter().enumerate() {
        all.push((problem([1, 1], shape, order, 0), 1));
        if i % 3 == 0 {
            all.push((problem([1 + i as u32 % 2, 2], shape, order, 4), 1 + i as u32 % 4));
        }
    }
    for (i, shape) in odd.into_iter().enumerate() {
        all.push((problem([1, 1], shape, order, 1), 1));
        if i % 4 == 1 {
            let mut p = problem([2, 1 + i as u32 % 3], shape, order, 1);
            // A broadcast operand, and steps of two along both axes of it.
            p.a.batch = [0, 0];
            all.push((p, 1 + i as u32 % 3));
            p.a = Strides { offset: 3, batch: [0, 4 * p.m * p.k], row: 4 * p.k, col: 2 };
            all.push((p, 1));
        }
    }
    all
}

/// Every algorithm that this device can run for some problem.
fn algorithms(machine: &Machine) -> Vec<Algorithm> {
    let mut all = Vec::new();
    for shape in [[64, 64, 64], [8, 64, 64], [64, 8, 64]] {
        let mut p = problem([1, 1], shape, 0, 0);
        (p.a_elem, p.b_elem) = if machine.caps.f16 { (Elem::F16, Elem::F16) } else { (Elem::F32, Elem::F32) };
        for variant in matmul::variants(&machine.caps, &p) {
            if !all.contains(&variant.algorithm) {
                all.push(variant.algorithm);
            }
        }
    }
    all
}

fn fits(machine: &Machine, p: &Problem, algorithm: Algorithm) -> bool {
    matmul::variants(&machine.caps, p).iter().any(|v| v.algorithm == algorithm)
}

/// Checks the algorithms of a class over the problems of two storage orders, in which each operand is stored both ways.
/// Where `turns`, each algorithm takes one order, another than the one before: they share the code that it changes.
fn check(class: impl Fn(&Algorithm) -> bool, turns: bool) {
    let machine = Machine::own();
    for (i, algorithm) in algorithms(&machine).into_iter().filter(class).enumerate() {
        let orders = if turns { vec![i as u32 % 4] } else { vec![0, 3] };
        let mut count = 0;
        for (p, split) in orders.into_iter().flat_map(problems).filter(|(p, _)| fits(&machine, p, algorithm)) {
            let variant = Variant { algorithm, split };
            let error = error(&machine, &p, &variant);
            assert!(error <= 1e-5, "{variant} {p:?}: {error:e}");
            count += 1;
        }
        assert!(count >= 40, "{count} problems for {algorithm:?}");
    }
}

#[test]
fn the_plain_algorithm_is_right() {
    check(|a| matches!(a, Algorithm::Block), false);
}

#[test]
fn subgroup_variants_are_right() {
    check(|a| matches!(a, Algorithm::Subgroup { .. }), false);
}

#[test]
fn tile_variants_are_right() {
    check(|a| matches!(a, Algorithm::Tile(_)), true);
}

#[test]
fn thin_variants_are_right() {
    check(|a| matches!(a, Algorithm::Thin), false);
}

#[test]
fn narrow_variants_are_right() {
    check(|a| matches!(a, Algorithm::Narrow), false);
}

/// Straight from storage: whole fragments of `size` only, so the shapes are other ones.
fn straight(order: u32, size: u32) -> Vec<(Problem, u32)> {
    let mut all = Vec::new();
    let shapes = [[1, 1, 1], [2, 2, 2], [4, 1, 5], [9, 3, 1], [3, 9, 17], [8, 8, 4], [1, 17, 6]];
    for (i, shape) in shapes.map(|shape| shape.map(|n| n * size)).into_iter().enumerate() {
        all.push((problem([1, 1], shape, order, 0), 1));
        all.push((problem([1 + i as u32 % 2, 2], shape, order, 8), 1 + i as u32 % 3));
        let mut p = problem([2, 2], shape, order, 16);
        (p.a.batch, p.b.offset) = ([0, 0], 8);
        all.push((p, 1));
    }
    all
}

/// A variant by matrix units over the problems that `of` lets through. Says how many there are.
fn check_matrix_units(machine: &Machine, coop: Coop, order: u32, of: impl Fn(&Problem) -> bool) -> usize {
    let direct = || [straight(order, coop.size), straight(3 - order, coop.size)].concat();
    let list = if coop.staged { problems(order) } else { direct() };
    let list: Vec<_> = list.into_iter().filter(|(p, _)| of(p)).collect();
    for &(p, split) in &list {
        let (p, variant) = (half(p), Variant { algorithm: Algorithm::Coop(coop), split });
        // Products of f16 are exact in f32, and so are sums of these multiples of 2⁻¹⁶.
        let error = error(machine, &p, &variant);
        assert!(error <= 1e-6, "{variant} {p:?}: {error:e}");
    }
    list.len()
}

/// The variants by matrix units, each with the order in which it takes its operands.
fn coops(machine: &Machine) -> Vec<(Coop, u32)> {
    let coop = |(i, algorithm)| if let Algorithm::Coop(coop) = algorithm { Some((coop, i as u32 % 4)) } else { None };
    algorithms(machine).into_iter().enumerate().filter_map(coop).collect()
}

/// The problem with operands in half precision.
fn half(p: Problem) -> Problem {
    Problem { a_elem: Elem::F16, b_elem: Elem::F16, ..p }
}

#[test]
fn matrix_units_are_right() {
    let machine = Machine::own();
    for (coop, order) in coops(&machine) {
        assert!(check_matrix_units(&machine, coop, order, |_| true) >= 40);
    }
}

/// Fragments that no software adapter has, in subgroups of 16 to 64 lanes, and where the driver makes smaller ones than it
/// said. Played kernels take long to compile: the smallest of each class by all problems, the others by those that are loaded in
/// fours, and so the other machines' smallest.
#[test]
#[ignore = "compiles for half a minute: scripts/test --all"]
fn matrix_units_of_gpus_are_right() {
    // more products in an invocation are more iterations than lavapipe 22.3 makes
    let short = |p: &Problem| p.k < 1000;
    let fours = |p: &Problem| short(p) && [p.m, p.n, p.k].iter().all(|n| n.is_multiple_of(4));
    let machine = Machine::played(16, (32, 32), 32);
    let all = coops(&machine);
    assert_eq!(all.len(), 8);
    for (coop, order) in all {
        let smallest = coop.fragments == [2, 2];
        let checked = check_matrix_units(&machine, coop, order, |p| if smallest { short(p) } else { fours(p) });
        assert!(checked >= if smallest { 40 } else { 15 }, "{checked} problems of {coop:?}");
    }
    for machine in Machine::others() {
        for (coop, order) in coops(&machine).into_iter().filter(|(coop, _)| coop.staged && coop.fragments == [2, 2]) {
            assert!(check_matrix_units(&machine, coop, order, |p| fours(p) && p.batch == [1, 1]) >= 10);
        }
    }
}

#[test]
fn f32_operands_are_rounded_only_where_allowed() {
    let machine = Machine::own();
    let mut p = problem([1, 2], [33, 20, 70], 2, 1);
    let coop = |p: &Problem| {
        let all = matmul::variants(&machine.caps, p);
        all.into_iter().filter(|v| matches!(v.algorithm, Algorithm::Coop(_))).collect::<Vec<_>>()
    };
    assert!(coop(&p).is_empty());
    p.precision = Precision::Fast;
    for variant in coop(&p).into_iter().rev().take(1) {
        // Each operand is rounded to 11 bits.
        let error = error(&machine, &p, &variant);
        assert!(error > 1e-7 && error <= 1e-3, "{variant}: {error:e}");
    }
}

#[test]
fn names_are_unique() {
    let machine = Machine::own();
    let all = algorithms(&machine);
    let names: BTreeSet<String> = all.iter().map(|&algorithm| Variant { algorithm, split: 1 }.to_string()).collect();
    assert_eq!(names.len(), all.len(), "{names:?}");
}

/// One algorithm of each class.
fn some(machine: &Machine) -> Vec<Algorithm> {
    let mut seen = BTreeSet::new();
    algorithms(machine).into_iter().filter(|a| seen.insert(a.class())).collect()
}

#[test]
fn half_operands_accumulate_in_f32() {
    let machine = Machine::own();
    if !machine.caps.f16 {
        return;
    }
    let elems = [(Elem::F16, Elem::F32), (Elem::F32, Elem::F16), (Elem::F16, Elem::F16)];
    for algorithm in some(&machine) {
        for (i, (mut p, split)) in [0, 3].into_iter().flat_map(problems).step_by(11).enumerate() {
            (p.a_elem, p.b_elem) = elems[i % 3];
            if fits(&machine, &p, algorithm) {
                let variant = Variant { algorithm, split };
                let error = error(&machine, &p, &variant);
                assert!(error <= 1e-5, "{variant} {p:?}: {error:e}");
            }
        }
    }
}

#[test]
fn a_long_k_is_split() {
    let machine = Machine::own();
    let p = problem([1, 1], [3, 4, 300_000], 0, 0);
    let whole = Variant { algorithm: Algorithm::Block, split: 1 };
    assert!(matmul::launch_with(&machine.caps, &p, &whole).is_err(), "one slice is too long");
    let chosen = matmul::choose(&machine.caps, &p);
    assert!(matmul::variants(&machine.caps, &p).iter().all(|v| v.split > 1));
    let error = error(&machine, &p, &chosen);
    assert!(error <= 1e-5, "{chosen} {p:?}: {error:e}");
}

/// Intel's compiler has half of the registers that blocks of 8x8 take.
#[test]
fn blocks_fit_the_registers() {
    let own = |subgroup| {
        let gpu = Caps { kind: AdapterKind::Discrete, max_invocations: 1024, subgroup, ..Machine::own().caps };
        let Algorithm::Tile(tile) = matmul::choose(&gpu, &problem([1, 1], [2048; 3], 0, 0)).algorithm else { return 0 };
        tile.own[0] * tile.own[1]
    };
    assert_eq!([Some((32, 32)), Some((32, 64)), Some((8, 32)), None].map(own), [64, 64, 32, 64]);
}

#[test]
fn what_is_past_the_end_is_never_multiplied() {
    // NaN right behind each row and after the last element: only masked loads see it.
    let machine = Machine::own();
    for algorithm in some(&machine) {
        for (k, pad, order) in [(5, 3, 0), (6, 2, 1), (7, 1, 2), (9, 7, 3), (5, 2, 0), (1, 3, 1)] {
            let mut p = problem([1, 1], [8, 12, k], order, pad);
            (p.a.offset, p.b.offset, p.precision) = (0, 0, Precision::Fast);
            let fill = |s: &Strides, rows: u32, cols: u32| {
                let mut v = vec![f32::NAN; (reach(s, [1, 1], rows, cols) + pad as usize).next_multiple_of(4)];
                (0..rows * cols).for_each(|i| v[(i / cols * s.row + i % cols * s.col) as usize] = 1.0);
                machine.device.upload(&bytes(&v), "operand").unwrap()
            };
            let (a, b) = (fill(&p.a, p.m, k), fill(&p.b, k, p.n));
            if fits(&machine, &p, algorithm) {
                let got = product(&machine, &p, &Variant { algorithm, split: 1 }, &a, &b);
                assert!(got.iter().all(|&v| v == k as f32), "{algorithm:?} {p:?}: {got:?}");
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row_and_column() {
    let machine = Machine::own();
    let [m, n, k] = [10, 24, 20];
    let p = Problem { precision: Precision::Fast, ..problem([1, 1], [m, n, k], 0, 0) };
    let (mut a, mut b) = (vec![1.0; (m * k) as usize], vec![1.0; (k * n) as usize]);
    a[(2 * k + 7) as usize] = f32::NAN;
    a[(5 * k + 3) as usize] = f32::INFINITY;
    b[(11 * n + 4) as usize] = f32::NEG_INFINITY;
    let (a, b) = (machine.device.upload(&bytes(&a), "a").unwrap(), machine.device.upload(&bytes(&b), "b").unwrap());
    for algorithm in some(&machine).into_iter().filter(|&a| fits(&machine, &p, a)) {
        for (i, v) in product(&machine, &p, &Variant { algorithm, split: 1 }, &a, &b).into_iter().enumerate() {
            let (row, col) = (i as u32 / n, i as u32 % n);
            let right = match (row, col) {
                (2, _) | (5, 4) => v.is_nan(),
                (5, _) => v == f32::INFINITY,
                (_, 4) => v == f32::NEG_INFINITY,
                _ => v == k as f32,
            };
            assert!(right, "{algorithm:?}: {v} at [{row}, {col}]");
        }
    }
}

#[test]
fn wrong_problems_are_errors() {
    let device = Device::open().unwrap();
    let strides = Strides::contiguous(1, 4, 4);
    let mut p = Problem::new([1, 1], 17, 4, 4, strides, strides);
    let thin = Variant { algorithm: Algorithm::Thin, split: 1 };
    assert!(matmul::launch_with(device.caps(), &p, &thin).is_err(), "too many rows");
    assert!(matmul::launch_with(device.caps(), &p, &Variant { split: 0, ..thin }).is_err(), "no slice");
    p.k = 0;
    assert!(matmul::launch(device.caps(), &p).is_err());
}
