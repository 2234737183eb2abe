//! Convolution and pooling over one to three axes.

use super::input::{f, ties, v_as};
use super::{Case, Table};
use kiln::prelude::*;

/// Everything that a convolution takes but its operands.
type How = (&'static [usize], &'static [usize], &'static [usize], usize);

/// Name, x, weight, whether there is a bias, and (stride, padding, dilation, groups).
type Row = (&'static str, &'static [usize], &'static [usize], bool, How);

const PLAIN: How = (&[1], &[0], &[1], 1);
const SAME: How = (&[1], &[1], &[1], 1);

const ROWS: [Row; 23] = [
    ("1d/plain", &[2, 3, 17], &[5, 3, 3], true, PLAIN),
    ("1d/one", &[1, 1, 1], &[1, 1, 1], false, PLAIN),
    ("1d/stride3_pad2", &[3, 2, 65], &[4, 2, 5], true, (&[3], &[2], &[1], 1)),
    ("1d/dilation4", &[2, 3, 33], &[2, 3, 3], false, (&[1], &[4], &[4], 1)),
    ("1d/groups", &[2, 4, 17], &[6, 2, 3], true, (&[1], &[1], &[1], 2)),
    ("1d/depthwise", &[2, 5, 129], &[5, 1, 7], true, (&[2], &[3], &[1], 5)),
    ("2d/plain", &[2, 3, 9, 7], &[5, 3, 3, 3], true, PLAIN),
    ("2d/same", &[2, 3, 8, 8], &[4, 3, 3, 3], true, SAME),
    ("2d/one_by_one", &[3, 5, 7, 5], &[9, 5, 1, 1], false, PLAIN),
    ("2d/stride2", &[2, 3, 9, 11], &[4, 3, 3, 3], true, (&[2], &[1], &[1], 1)),
    ("2d/stride_uneven", &[1, 2, 17, 13], &[3, 2, 5, 3], false, (&[3, 2], &[2, 0], &[1], 1)),
    ("2d/dilation", &[1, 3, 13, 17], &[2, 3, 3, 3], true, (&[1], &[1, 2], &[2, 3], 1)),
    ("2d/groups", &[2, 6, 7, 9], &[4, 3, 3, 3], true, (&[1], &[1], &[1], 2)),
    ("2d/depthwise", &[2, 17, 9, 5], &[17, 1, 3, 3], true, (&[1], &[1], &[1], 17)),
    ("2d/everything", &[2, 4, 15, 17], &[6, 2, 3, 5], true, (&[2, 3], &[3, 1], &[2, 1], 2)),
    ("2d/whole_input", &[3, 2, 5, 5], &[4, 2, 5, 5], true, PLAIN),
    ("2d/rest_unused", &[1, 1, 8, 8], &[1, 1, 3, 3], false, (&[4], &[0], &[1], 1)),
    ("2d/padding_wide", &[1, 1, 3, 3], &[1, 1, 3, 3], true, (&[1], &[4], &[1], 1)),
    ("2d/no_batch", &[0, 3, 8, 8], &[4, 3, 3, 3], true, SAME),
    ("2d/many_channels", &[1, 65, 5, 5], &[33, 65, 3, 3], true, SAME),
    ("2d/batch17", &[17, 1, 8, 8], &[8, 1, 3, 3], true, SAME),
    ("3d/plain", &[2, 2, 5, 6, 7], &[3, 2, 3, 3, 3], true, SAME),
    ("3d/stride_groups", &[1, 4, 7, 5, 9], &[4, 2, 3, 1, 3], false, (&[2], &[1, 0, 1], &[1], 2)),
];

/// The convolution of x[0] with x[1], plus x[2] if it is there.
fn run(x: &[Tensor], (stride, padding, dilation, groups): How) -> Tensor {
    let how =
        Conv { stride: stride.into(), padding: padding.into(), dilation: dilation.into(), groups, ..Conv::default() };
    match x[1].rank() {
        3 => x[0].conv1d(&x[1], x.get(2), &how),
        4 => x[0].conv2d(&x[1], x.get(2), &how),
        _ => x[0].conv3d(&x[1], x.get(2), &how),
    }
}

pub fn conv(t: &mut Table) {
    for (name, x, w, bias, how) in ROWS {
        let mut inputs = vec![f(x), f(w)];
        inputs.extend(bias.then(|| f(&w[..1])));
        t.case(format!("conv/{name}"), inputs, move |x| run(x, how)).contraction();
    }
    t.case("conv/single_image", [f(&[3, 8, 7]), f(&[4, 3, 3, 3])], |x| run(x, PLAIN)).contraction();
    t.case("conv/strided_input", [f(&[7, 9, 3, 2]), f(&[4, 3, 3, 3])], |x| {
        run(&[x[0].permute([3, 2, 0, 1]), x[1].clone()], PLAIN)
    })
    .contraction();
    t.case("conv/relu", [f(&[2, 3, 8, 8]), f(&[4, 3, 3, 3]), f(&[4])], |x| run(x, SAME).relu()).contraction();
    t.case("conv/two", [f(&[2, 1, 8, 8]), f(&[3, 1, 3, 3]), f(&[2, 3, 3, 3])], |x| {
        run(&[run(&x[..2], SAME).tanh(), x[2].clone()], (&[2], &[0], &[1], 1))
    })
    .contraction();
    t.case("conv/twice", [f(&[2, 2, 6, 5]), f(&[4, 1, 3, 3]), f(&[4])], |x| run(x, (&[2], &[1], &[1], 2)).square())
        .contraction();
}

/// Name, x, kernel, stride, padding, dilation, ceil.
type PoolRow = (&'static str, &'static [usize], &'static [usize], &'static [usize], &'static [usize], usize, bool);

const POOLS: [PoolRow; 9] = [
    ("1d/2", &[2, 3, 17], &[2], &[2], &[0], 1, false),
    ("1d/overlap", &[1, 2, 65], &[5], &[2], &[2], 1, false),
    ("2d/2", &[2, 3, 8, 8], &[2], &[2], &[0], 1, false),
    ("2d/odd", &[2, 3, 9, 7], &[2], &[2], &[0], 1, false),
    ("2d/ceil", &[1, 2, 9, 7], &[2], &[2], &[0], 1, true),
    ("2d/3_stride2_pad1", &[2, 3, 9, 11], &[3], &[2], &[1], 1, false),
    ("2d/uneven", &[1, 3, 13, 11], &[3, 2], &[1, 3], &[1, 0], 1, false),
    ("2d/global", &[2, 5, 5, 7], &[5, 7], &[1], &[0], 1, false),
    ("2d/dilation", &[1, 2, 11, 9], &[3], &[1], &[1], 2, false),
];

fn largest(x: &Tensor, pool: &Pool) -> Tensor {
    if x.rank() == 3 { x.max_pool1d(pool) } else { x.max_pool2d(pool) }
}

fn mean(x: &Tensor, pool: &Pool) -> Tensor {
    if x.rank() == 3 { x.avg_pool1d(pool) } else { x.avg_pool2d(pool) }
}

/// A row that pools its first input.
fn pooled(t: &mut Table, name: String, x: &[usize], pool: Pool, by: fn(&Tensor, &Pool) -> Tensor) {
    let _: &mut Case = t.case(name, [f(x)], move |x| by(&x[0], &pool));
}

pub fn pool(t: &mut Table) {
    for (name, x, kernel, stride, padding, dilation, ceil) in POOLS {
        let how = Pool {
            kernel: kernel.into(),
            stride: stride.into(),
            padding: padding.into(),
            dilation: vec![dilation],
            ceil,
            ..Pool::new(1)
        };
        pooled(t, format!("pool/max/{name}"), x, how.clone(), largest);
        if dilation == 1 {
            pooled(t, format!("pool/avg/{name}"), x, how.clone(), mean);
            pooled(t, format!("pool/avg_without_padding/{name}"), x, Pool { count_padding: false, ..how }, mean);
        }
    }
    t.case("pool/max/ties", [ties(&[1, 2, 8, 8])], |x| x[0].max_pool2d(&Pool { stride: vec![2], ..Pool::new(3) }));
    t.case("pool/max/index", [f(&[1, 2, 9, 8])], |x| {
        x[0].max_pool2d_with_index(&Pool { stride: vec![2], padding: vec![1], ..Pool::new(3) })
    });
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = v_as(&[1, 1, 2, 4], &[1.0, nan, 2.0, 3.0, -inf, -inf, -inf, -inf]);
    t.case("pool/max/nan", [x], |x| x[0].max_pool2d(&Pool::new(2)));
    t.case("pool/max/all_lowest", [v_as(&[1, 1, 2, 2], &[-inf; 4])], |x| x[0].max_pool2d(&Pool::new(2)));
    t.case("pool/max/twice", [f(&[1, 2, 6, 6])], |x| x[0].max_pool2d(&Pool::new(2)).square());
    t.case("pool/avg/twice", [f(&[1, 2, 6, 6])], |x| {
        x[0].avg_pool2d(&Pool { stride: vec![2], padding: vec![1], ..Pool::new(3) }).square()
    });
    t.case("pool/max/of_relu_of_conv", [f(&[2, 1, 8, 8]), f(&[3, 1, 3, 3])], |x| {
        run(x, SAME).relu().max_pool2d(&Pool::new(2))
    })
    .contraction();
    t.case("pool/global_avg", [f(&[2, 3, 5, 7])], |x| x[0].global_avg_pool());
}
