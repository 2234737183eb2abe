//! Scans and sorts.

use kiln::prelude::*;

use crate::bench::data::Data;
use crate::bench::op::{Case, Op, Work, any_size, no_variants, wide};
use crate::bench::subject::Subject;
use crate::bench::twin::Twin;
use crate::failure::Result;

const fn row(
    name: &'static str,
    about: &'static str,
    passes: fn(&[usize]) -> Work,
    make: fn(&Device, &Case) -> Result<Subject>,
) -> Op {
    let ladder: &[&[usize]] = &[&[1, 65_536], &[1, 1 << 20], &[16, 1 << 20], &[64, 1 << 20]];
    let (valid, variants) = (any_size as fn(&[usize]) -> _, no_variants as fn(&_, &_) -> _);
    Op {
        name,
        family: "order",
        about,
        axes: &["rows", "cols"],
        ladder,
        half: false,
        work: passes,
        valid,
        variants,
        make,
    }
}

pub(crate) const OPS: &[Op] = &[
    row("cumsum", "sum of each element and all before it in its row", |s| work(s, 2.0), cumsum),
    row("sort", "each row in order, values and where they were (radix: eight passes)", |s| work(s, 16.0), sort),
    row("argsort", "where the elements of each row were", |s| work(s, 16.0), argsort),
];

fn work(size: &[usize], passes: f64) -> Work {
    let [rows, cols] = wide(size);
    let elements = rows * cols;
    Work { flops: 0.0, moved: passes * elements, moved_f32: 0.0, held: 6.0 * elements, largest: elements }
}

fn cumsum(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = data.tensor(device, &[rows, cols])?;
    let twin = Twin::rows(rows, cols, 4 * cols, move |row| {
        let sum = |sum: &mut f64, i: usize| {
            *sum += data.wide(row * cols + i);
            Some(*sum)
        };
        (0..cols).scan(0.0, sum).collect()
    });
    Ok(Subject::tensor(move || x.cumsum(-1), twin, 1e-6 * (cols as f64).sqrt().max(10.0)))
}

/// Places in the order of their elements, the first of equals first.
fn order(data: Data, row: usize, cols: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..cols).collect();
    places.sort_by(|&a, &b| data.at(row * cols + a).total_cmp(&data.at(row * cols + b)));
    places
}

fn sort(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = data.tensor(device, &[rows, cols])?;
    let sorted = move |row| order(data, row, cols).into_iter().map(|i| data.wide(row * cols + i)).collect();
    Ok(Subject::tensor(move || x.sort(-1, false).0, Twin::rows(rows, cols, 40 * cols, sorted), 0.0))
}

fn argsort(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = data.tensor(device, &[rows, cols])?;
    let places = move |row| order(data, row, cols).into_iter().map(|i| i as f64).collect();
    Ok(Subject::tensor(move || x.argsort(-1, false), Twin::rows(rows, cols, 40 * cols, places), 0.0))
}
