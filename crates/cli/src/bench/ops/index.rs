//! Rows of a table by index, and what goes the other way.

use kiln::prelude::*;

use super::conv::gradient;
use crate::bench::data::{Data, index, indices};
use crate::bench::op::{Case, Op, Work, any_size, no_variants, wide};
use crate::bench::subject::Subject;
use crate::bench::twin::Twin;
use crate::failure::Result;

const fn row(
    name: &'static str,
    about: &'static str,
    work: fn(&[usize]) -> Work,
    make: fn(&Device, &Case) -> Result<Subject>,
) -> Op {
    let ladder: &[&[usize]] = &[&[256, 128, 512], &[4096, 256, 4096], &[50_304, 768, 8192], &[50_304, 768, 32_768]];
    let (valid, variants) = (any_size as fn(&[usize]) -> _, no_variants as fn(&_, &_) -> _);
    Op {
        name,
        family: "index",
        about,
        axes: &["table", "width", "picks"],
        ladder,
        half: false,
        work,
        valid,
        variants,
        make,
    }
}

pub(crate) const OPS: &[Op] = &[
    row("embedding", "rows of table [table, width] by index [picks]", |s| work(s, false), embedding),
    row(
        "embedding_grad",
        "the table's gradient: rows [picks, width] summed by index",
        |s| work(s, true),
        embedding_grad,
    ),
    row("index_add", "table + rows [picks, width] summed by index", |s| work(s, true), index_add),
    Op {
        axes: &["rows", "cols"],
        ladder: &[&[512, 256], &[4096, 1024], &[16_384, 4096]],
        work: |size| {
            let [rows, cols] = wide(size);
            Work { flops: 0.0, moved: 3.0 * rows * cols, moved_f32: 0.0, held: 3.0 * rows * cols, largest: rows * cols }
        },
        ..row("gather", "out[r, c] = x[r, index[r, c]]", |s| work(s, false), gather)
    },
];

fn work(size: &[usize], whole_table: bool) -> Work {
    let [table, width, picks] = wide(size);
    let (rows, all) = (picks * width, table * width);
    let moved = picks + rows + if whole_table { all } else { rows };
    Work {
        flops: if whole_table { rows } else { 0.0 },
        moved,
        moved_f32: 0.0,
        held: 2.0 * all + 3.0 * rows,
        largest: all.max(rows),
    }
}

fn embedding(device: &Device, case: &Case) -> Result<Subject> {
    let [table, width, picks] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let (x, places) = (data.tensor(device, &[table, width])?, indices(device, 2, &[picks], table)?);
    let twin = Twin::each(picks * width, 4, move |i| data.wide(index(2, i / width, table) * width + i % width));
    Ok(Subject::tensor(move || x.embedding(&places), twin, 0.0))
}

/// Which picks name each row of the table, in order.
fn named(table: usize, picks: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); table];
    (0..picks).for_each(|pick| rows[index(2, pick, table)].push(pick));
    rows
}

/// The sums of rows of `data` by index, with `base` added.
fn sums([table, width, picks]: [usize; 3], data: Data, base: Option<Data>) -> Twin {
    let named = named(table, picks);
    Twin::each(table * width, 4 * (1 + picks / table), move |i| {
        let (row, col) = (i / width, i % width);
        let sum: f64 = named[row].iter().map(|pick| data.wide(pick * width + col)).sum();
        sum + base.map_or(0.0, |base| base.wide(i))
    })
}

fn embedding_grad(device: &Device, case: &Case) -> Result<Subject> {
    let [table, width, picks] = case.dims()?;
    let (data, up) = (Data::new(1, case.dtype), Data::new(3, case.dtype));
    let (x, places) = (data.tensor(device, &[table, width])?, indices(device, 2, &[picks], table)?);
    let dy = up.tensor(device, &[picks, width])?;
    let expression = move || gradient(&(x.embedding(&places) * &dy), &x);
    Ok(Subject::tensor(expression, sums([table, width, picks], up, None), 1e-5))
}

fn index_add(device: &Device, case: &Case) -> Result<Subject> {
    let [table, width, picks] = case.dims()?;
    let (data, up) = (Data::new(1, case.dtype), Data::new(3, case.dtype));
    let (x, places) = (data.tensor(device, &[table, width])?, indices(device, 2, &[picks], table)?);
    let source = up.tensor(device, &[picks, width])?;
    let expression = move || x.index_add(0, &places, &source);
    Ok(Subject::tensor(expression, sums([table, width, picks], up, Some(data)), 1e-5))
}

fn gather(device: &Device, case: &Case) -> Result<Subject> {
    let [rows, cols] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let (x, places) = (data.tensor(device, &[rows, cols])?, indices(device, 2, &[rows, cols], cols)?);
    let twin = Twin::each(rows * cols, 4, move |i| data.wide(i / cols * cols + index(2, i, cols)));
    Ok(Subject::tensor(move || x.gather(1, &places), twin, 0.0))
}
