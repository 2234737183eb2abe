//! Pooling, with windows of two by two.

use kiln::prelude::*;

use super::conv::gradient;
use crate::bench::data::Data;
use crate::bench::op::{Case, Op, Work, no_variants, wide};
use crate::bench::subject::Subject;
use crate::bench::twin::Twin;
use crate::failure::Result;

const fn row(name: &'static str, about: &'static str, make: fn(&Device, &Case) -> Result<Subject>) -> Op {
    let ladder: &[&[usize]] = &[&[64, 16, 28], &[64, 64, 56], &[128, 64, 112], &[256, 64, 112]];
    let valid = |size: &[usize]| size.last().is_some_and(|side| side % 2 == 1).then_some("the side is even");
    let axes = &["images", "channels", "side"];
    Op { name, family: "pool", about, axes, ladder, half: false, work, valid, variants: no_variants, make }
}

pub(crate) const OPS: &[Op] = &[
    row("max_pool2d", "the greatest of each window", |d, c| forward(d, c, true)),
    row("avg_pool2d", "the mean of each window", |d, c| forward(d, c, false)),
    row("max_pool2d_grad", "dx, from dy and the places of the greatest", backward),
];

fn work(size: &[usize]) -> Work {
    let [images, channels, side] = wide(size);
    let x = images * channels * side * side;
    Work { flops: x, moved: 1.25 * x, moved_f32: 0.0, held: 2.5 * x, largest: x }
}

/// The four elements of window `i` of y, and where they are in x.
fn window(data: Data, side: usize, i: usize) -> [(usize, f64); 4] {
    let half = side / 2;
    let (plane, row, col) = (i / half / half, i / half % half, i % half);
    let first = (plane * side + 2 * row) * side + 2 * col;
    [first, first + 1, first + side, first + side + 1].map(|at| (at, data.wide(at)))
}

/// The greatest, the first of equals.
fn greatest(window: [(usize, f64); 4]) -> (usize, f64) {
    window.into_iter().rev().fold((0, f64::MIN), |best, one| if one.1 >= best.1 { one } else { best })
}

fn forward(device: &Device, case: &Case, max: bool) -> Result<Subject> {
    let [images, channels, side] = case.dims()?;
    let data = Data::new(1, case.dtype);
    let x = data.tensor(device, &[images, channels, side, side])?;
    let twin = Twin::each(images * channels * side * side / 4, 10, move |i| {
        let window = window(data, side, i);
        if max { greatest(window).1 } else { window.iter().map(|(_, v)| v).sum::<f64>() / 4.0 }
    });
    let pool = Pool::new(2);
    let expression = move || if max { x.max_pool2d(&pool) } else { x.avg_pool2d(&pool) };
    Ok(Subject::tensor(expression, twin, if max { 0.0 } else { 1e-6 }))
}

fn backward(device: &Device, case: &Case) -> Result<Subject> {
    let [images, channels, side] = case.dims()?;
    let (data, up) = (Data::new(1, case.dtype), Data::new(2, case.dtype));
    let x = data.tensor(device, &[images, channels, side, side])?;
    let dy = up.tensor(device, &[images, channels, side / 2, side / 2])?;
    let y = x.max_pool2d(&Pool::new(2));
    y.eval()?;
    let twin = Twin::each(images * channels * side * side, 10, move |i| {
        let (plane, row, col) = (i / side / side, i / side % side, i % side);
        let of = (plane * (side / 2) + row / 2) * (side / 2) + col / 2;
        if greatest(window(data, side, of)).0 == i { up.wide(of) } else { 0.0 }
    });
    Ok(Subject::tensor(move || gradient(&(&y * &dy), &x), twin, 0.0))
}
