//! Every row of the case table against PyTorch, forward, backward and twice backward.
//!
//! A family is a test, so `cargo test -p kiln --test reference matmul` runs one. The whole program is also run with
//! `KILN_FUSE=0` and with `KILN_CHECKED=1`: the answers must not depend on either.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod cases;

use cases::compare::{Mistake, Verdict, judge};
use cases::{Case, FAMILIES, Table, reference};
use kiln::Device;
use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Once, OnceLock};
use std::time::Instant;

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| Device::open().expect("an adapter is needed for the tests"))
}

fn rows(family: &str) -> Vec<Case> {
    let fill = FAMILIES.iter().find(|(name, _)| *name == family).unwrap().1;
    let mut table = Table::default();
    fill(&mut table);
    table.0
}

thread_local! {
    /// Where and why the row that runs on this thread panicked, if one runs.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A row that panics is a mistake like another, and must not hide the rest.
fn run(case: &Case) -> Verdict {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |info| {
            let in_row = PANIC.with_borrow_mut(|text| text.as_mut().map(|text| *text = info.to_string()).is_some());
            if !in_row {
                loud(info);
            }
        }));
    });
    PANIC.set(Some(String::new()));
    let found = catch_unwind(AssertUnwindSafe(|| judge(device(), case)));
    let text = PANIC.take().unwrap_or_default();
    found.unwrap_or_else(|_| Verdict::fatal(format!("{}: PANIC: {text}", case.name)))
}

/// The row that comes nearest to its tolerance, or passes it furthest.
fn nearest(rows: &[Case], verdicts: &[Verdict], of: fn(&Verdict) -> f64) -> String {
    let most = rows.iter().zip(verdicts).max_by(|a, b| of(a.1).total_cmp(&of(b.1)));
    most.map_or(String::new(), |(row, verdict)| format!("{:.0} % in {}", 100.0 * of(verdict), row.name))
}

/// Runs the rows of a family; fails with all that is wrong, the worst first.
fn check(family: &str) {
    let (rows, start) = (rows(family), Instant::now());
    let verdicts: Vec<Verdict> = rows.iter().map(run).collect();
    let right = verdicts.iter().filter(|verdict| verdict.mistakes.is_empty()).count();
    println!("{family}: {right} of {} rows right, {:.1} s", rows.len(), start.elapsed().as_secs_f64());
    let (out, gradient) = (nearest(&rows, &verdicts, |v| v.forward), nearest(&rows, &verdicts, |v| v.gradient));
    println!("{family}: greatest part of the tolerance: forward {out}, gradient {gradient}");
    let mut found: Vec<Mistake> = verdicts.into_iter().flat_map(|verdict| verdict.mistakes).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let list: Vec<String> = found.into_iter().map(|(_, what)| what).collect();
    assert!(list.is_empty(), "{family}: {} wrong\n{}", list.len(), list.join("\n"));
}

macro_rules! families {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        /// Each family has its test.
        #[test]
        fn all_families_are_tested() {
            assert_eq!(FAMILIES.map(|(name, _)| name).to_vec(), [$(stringify!($name)),*]);
        }
    };
}
families! { unary scalar binary dtypes create reduce scan views join matmul einsum index sort softmax conv pool norms losses fuse }

/// A reference without a row tests nothing.
#[test]
fn every_reference_has_a_row() {
    let names: HashSet<String> = FAMILIES.iter().flat_map(|(family, _)| rows(family)).map(|case| case.name).collect();
    let mut lost: Vec<_> = reference::rows().keys().filter(|name| !names.contains(*name)).collect();
    lost.sort();
    assert!(lost.is_empty(), "in tests/data/reference.bin but not in tests/cases: {lost:#?}");
    assert!(names.len() > 900, "{} rows", names.len());
}
