//! What `support/fragments.rs` plays sees the mistakes that a kernel for fragments can make.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::matmul::{self, Algorithm, Elem, Problem, Strides};
use support::fragments::Machine;
use support::order::edited;
use support::{empty, floats, normal};

/// A product of 48 x 64 and 64 x 32 by tiles of 64 x 64, with edits of the kernel: the result, and what is wrong with its fragments.
fn product(staged: bool, edits: &[(&str, &str)]) -> (Vec<f32>, Vec<&'static str>) {
    let machine = Machine::played(16, (32, 32), 32);
    let [m, n, k] = [48, 32, 64];
    let (a, b) = (Strides::contiguous(1, m, k), Strides::contiguous(1, k, n));
    let p = Problem { a_elem: Elem::F16, b_elem: Elem::F16, ..Problem::new([1, 1], m, n, k, a, b) };
    let wanted =
        |a: &Algorithm| matches!(a, Algorithm::Coop(coop) if coop.staged == staged && coop.fragments == [2, 2]);
    let variant = matmul::variants(&machine.caps, &p).into_iter().find(|v| wanted(&v.algorithm)).unwrap();
    let mut stages = matmul::stages(&machine.caps, &p, &variant).unwrap();
    for (from, to) in edits {
        stages.stages[0].launch = edited(&stages.stages[0].launch, from, to);
    }
    let operands = [m * k, k * n].map(|n| machine.half(&mut normal(n as usize, u64::from(n))));
    let [a, b] = operands.map(|bytes| machine.device.upload(&bytes, "operand").unwrap());
    let out = empty(&machine.device, (m * n) as usize);
    let faults = machine.faults(&stages, &[("a", &a), ("b", &b), ("out", &out)]);
    (floats(&machine.device, &out), faults)
}

#[test]
fn mistakes_with_fragments_are_seen() {
    let (right, none) = product(true, &[]);
    assert!(none.is_empty());
    assert_eq!(product(false, &[]), (right.clone(), none), "both ways are the same sums in the same order");

    let (_, past) = product(false, &[("min(row, sizes.m - SIZE)", "row")]);
    assert_eq!(past, ["a fragment does not lie in its array"], "rows past the last");
    let (_, odd) = product(false, &[("+ k * sizes.a_col;", "+ k * sizes.a_col + 4u;")]);
    assert!(odd.contains(&"a fragment does not lie on 16 bytes"), "{odd:?}");
    let line = "+ 8u;\nconst B_LINE";
    let (_, odd) = product(true, &[(line, "+ 4u;\nconst B_LINE"), ("(A_LINE - 8u)", "(A_LINE - 4u)")]);
    assert_eq!(odd, ["a fragment does not lie on 16 bytes"], "lines of 36 halves");

    // each subgroup of a row of them takes another row of the tile
    let own = "let own_row = subgroup / SN % SM * FM * SIZE;";
    let (other, none) = product(true, &[(own, "let own_row = subgroup % SM * FM * SIZE;")]);
    assert!(none.is_empty() && other != right, "{none:?}");
}
