//! Convolution, transposed convolution, pooling, unpooling, im2col and col2im against PyTorch in float64: results,
//! indices, gradients and gradients of gradients. The numbers are made by scripts/reference_conv.py.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln::nn::StateDict;
use kiln::prelude::*;
use support::{close, reference};

/// What a case computes: the result, and an index where it has one.
type Run = Box<dyn Fn(&[Tensor]) -> (Tensor, Option<Tensor>)>;

struct Cases {
    device: Device,
    reference: StateDict,
    count: usize,
}

impl Cases {
    fn new() -> Self {
        let device = Device::open().unwrap();
        let reference = reference(&device, "conv");
        Self { device, reference, count: 0 }
    }

    fn find(&self, name: &str, part: &str) -> Option<Tensor> {
        self.reference.get(&format!("{name}.{part}")).cloned()
    }

    fn get(&self, name: &str, part: &str) -> Tensor {
        self.find(name, part).unwrap_or_else(|| panic!("no {name}.{part} in the reference"))
    }

    fn one(&mut self, name: &str, run: impl Fn(&[Tensor]) -> Tensor + 'static) {
        self.case(name, Box::new(move |x| (run(x), None)));
    }

    fn both(&mut self, name: &str, run: impl Fn(&[Tensor]) -> (Tensor, Tensor) + 'static) {
        self.case(
            name,
            Box::new(move |x| {
                let (y, index) = run(x);
                (y, Some(index))
            }),
        );
    }

    fn case(&mut self, name: &str, run: Run) {
        self.count += 1;
        let inputs: Vec<Tensor> = (0..3).map_while(|i| self.find(name, &i.to_string())).collect();
        let (y, index) = run(&inputs);
        close(&format!("{name}: y"), &y, &self.get(name, "y"), 1e-5);
        if let Some(index) = index {
            assert_eq!(index.to_vec::<i32>(), self.get(name, "index").to_vec::<i32>(), "{name}: index");
        }
        let dy = self.get(name, "dy");
        let floats: Vec<&Tensor> = inputs.iter().filter(|x| x.dtype().is_float()).collect();
        let grads = (&y * &dy).sum().grad(&floats).unwrap();
        for (n, g) in grads.iter().enumerate() {
            close(&format!("{name}: d{n}"), g, &self.get(name, &format!("d{n}")), 1e-4);
        }
        if self.find(name, "u0").is_none() {
            return;
        }
        let terms = grads.iter().enumerate().map(|(n, g)| (g * self.get(name, &format!("u{n}"))).sum());
        let along = terms.reduce(|a, b| a + b).unwrap();
        let wanted: Vec<&Tensor> = floats.iter().copied().chain([&dy]).collect();
        for (n, g) in along.grad(&wanted).unwrap().iter().enumerate() {
            // a gradient that PyTorch says is nothing is zero
            let want = self.find(name, &format!("dd{n}")).unwrap_or_else(|| g.zeros_like());
            close(&format!("{name}: dd{n}"), g, &want, 1e-4);
        }
    }
}

fn conv(stride: &[usize], padding: &[usize], dilation: &[usize], groups: usize) -> Conv {
    Conv { stride: stride.into(), padding: padding.into(), dilation: dilation.into(), groups, same: false }
}

#[test]
fn convolutions_agree_with_pytorch() {
    let mut c = Cases::new();
    let same = |dilation: &[usize]| Conv { same: true, dilation: dilation.into(), ..Conv::default() };
    let run = |how: Conv| {
        move |x: &[Tensor]| match x[0].rank() {
            3 => x[0].conv1d(&x[1], Some(&x[2]), &how),
            4 => x[0].conv2d(&x[1], Some(&x[2]), &how),
            _ => x[0].conv3d(&x[1], Some(&x[2]), &how),
        }
    };
    c.one("conv3d", run(conv(&[1], &[1], &[1], 1)));
    c.one("conv3d_strided", run(conv(&[2, 1, 3], &[1, 2, 0], &[1, 2, 1], 2)));
    c.one("conv3d_depthwise", run(conv(&[1], &[1], &[1], 3)));
    c.one("conv1d_same_even", run(same(&[1])));
    c.one("conv2d_same_uneven", run(same(&[3, 2])));
    c.one("conv3d_same", run(same(&[1])));
    c.one("conv2d_depthwise_twice", run(conv(&[2, 1], &[1, 2], &[1], 5)));
    assert_eq!(c.count, 7);
}

#[test]
fn transposed_convolutions_agree_with_pytorch() {
    let mut c = Cases::new();
    let how = |stride: &[usize], padding: &[usize], more: &[usize], dilation: &[usize], groups| ConvTranspose {
        stride: stride.into(),
        padding: padding.into(),
        output_padding: more.into(),
        dilation: dilation.into(),
        groups,
    };
    let run = |how: ConvTranspose| {
        move |x: &[Tensor]| match x[0].rank() {
            3 if x[1].rank() == 3 => x[0].conv_transpose1d(&x[1], x.get(2), &how),
            5 => x[0].conv_transpose3d(&x[1], x.get(2), &how),
            _ => x[0].conv_transpose2d(&x[1], x.get(2), &how),
        }
    };
    c.one("conv_transpose1d", run(ConvTranspose::default()));
    c.one("conv_transpose1d_all", run(how(&[3], &[2], &[2], &[2], 2)));
    c.one("conv_transpose2d", run(how(&[2], &[1], &[1], &[1], 1)));
    c.one("conv_transpose2d_uneven", run(how(&[1, 3], &[0, 2], &[0, 1], &[1], 2)));
    c.one("conv_transpose2d_output_padding_by_dilation", run(how(&[1], &[0], &[2], &[3], 1)));
    c.one("conv_transpose2d_depthwise", run(how(&[2], &[1], &[0], &[1], 5)));
    c.one("conv_transpose2d_one", run(how(&[4], &[0], &[3], &[1], 1)));
    c.one("conv_transpose3d", run(how(&[2], &[1], &[1], &[1], 1)));
    c.one("conv_transpose3d_groups", run(how(&[2, 1, 1], &[0], &[0], &[1, 2, 1], 4)));
    c.one("conv_transpose2d_single", run(how(&[2], &[0], &[0], &[1], 1)));
    let x = Tensor::zeros(&c.device, [0, 3, 5, 5]);
    let y = x.conv_transpose2d(&Tensor::zeros(&c.device, [3, 4, 2, 2]), None, &ConvTranspose::default());
    assert_eq!(y.shape().unwrap(), [0, 4, 6, 6]);
}

fn pool(kernel: &[usize], stride: &[usize], padding: &[usize], dilation: &[usize], ceil: bool) -> Pool {
    let (kernel, stride) = (kernel.into(), stride.into());
    Pool { kernel, stride, padding: padding.into(), dilation: dilation.into(), ceil, ..Pool::new(1) }
}

#[test]
fn pooling_agrees_with_pytorch() {
    let mut c = Cases::new();
    c.both("max1d", |x| x[0].max_pool1d_with_index(&pool(&[3], &[2], &[1], &[2], true)));
    c.both("max2d_overlap", |x| x[0].max_pool2d_with_index(&pool(&[3, 2], &[2, 1], &[1, 0], &[1, 3], false)));
    c.both("max2d_wide", |x| x[0].max_pool2d_with_index(&pool(&[6], &[1], &[3], &[1], false)));
    c.both("max3d", |x| x[0].max_pool3d_with_index(&pool(&[2], &[], &[0], &[1], true)));
    c.both("max3d_overlap", |x| {
        x[0].max_pool3d_with_index(&pool(&[2, 3, 3], &[1, 2, 1], &[1, 1, 0], &[2, 1, 1], false))
    });
    let without = |p: Pool| Pool { count_padding: false, ..p };
    let by = |divisor, p: Pool| Pool { divisor: Some(divisor), ..p };
    c.one("avg1d_ceil", move |x| x[0].avg_pool1d(&without(pool(&[4], &[3], &[1], &[1], true))));
    c.one("avg2d_divisor", move |x| x[0].avg_pool2d(&by(5, pool(&[3], &[2], &[1], &[1], true))));
    c.one("avg2d_ceil", |x| x[0].avg_pool2d(&pool(&[2, 4], &[3, 3], &[1, 2], &[1], true)));
    c.one("avg3d", move |x| x[0].avg_pool3d(&without(pool(&[2], &[1], &[1], &[1], false))));
    c.one("avg3d_all", move |x| x[0].avg_pool3d(&by(7, pool(&[3, 2, 3], &[2, 2, 1], &[1, 0, 1], &[1], true))));
    c.one("avg3d_ceil", move |x| x[0].avg_pool3d(&without(pool(&[3], &[2], &[1], &[1], true))));
    for (i, size) in [4i64, 7, 3].into_iter().enumerate() {
        c.one(&format!("adaptive_avg1d_{i}"), move |x| x[0].adaptive_avg_pool1d(size));
        c.both(&format!("adaptive_max1d_{i}"), move |x| x[0].adaptive_max_pool1d_with_index(size));
    }
    for (i, size) in [[3i64, 2], [6, 4], [4, 1], [-1, 4]].into_iter().enumerate() {
        c.one(&format!("adaptive_avg2d_{i}"), move |x| x[0].adaptive_avg_pool2d(size));
        c.both(&format!("adaptive_max2d_{i}"), move |x| x[0].adaptive_max_pool2d_with_index(size));
    }
    for (i, size) in [vec![2i64, 3, 3], vec![4, 5, 3], vec![2]].into_iter().enumerate() {
        let other = size.clone();
        c.one(&format!("adaptive_avg3d_{i}"), move |x| x[0].adaptive_avg_pool3d(&size));
        c.both(&format!("adaptive_max3d_{i}"), move |x| x[0].adaptive_max_pool3d_with_index(&other));
    }
    assert_eq!(c.count, 31);
}

#[test]
fn other_pooling_agrees_with_pytorch() {
    let mut c = Cases::new();
    let infinite = f32::INFINITY;
    c.one("lp1d", |x| x[0].lp_pool1d(2.0, &pool(&[3], &[2], &[0], &[1], false)));
    c.one("lp1d_ceil", |x| x[0].lp_pool1d(3.0, &pool(&[3], &[2], &[0], &[1], true)));
    c.one("lp2d", |x| x[0].lp_pool2d(4.0, &pool(&[2, 3], &[2, 1], &[0], &[1], false)));
    c.one("lp2d_one", |x| x[0].lp_pool2d(1.0, &Pool::new(2)));
    c.one("lp2d_fraction", |x| x[0].lp_pool2d(1.5, &Pool::new(2)));
    c.one("lp2d_infinite", move |x| x[0].lp_pool2d(infinite, &pool(&[3], &[2], &[0], &[1], false)));
    c.one("lp2d_least", move |x| x[0].lp_pool2d(-infinite, &Pool::new(2)));
    c.one("lp2d_zeros", |x| x[0].lp_pool2d(2.0, &Pool::new(2)));
    c.one("lp3d", |x| x[0].lp_pool3d(2.0, &pool(&[2], &[1, 2, 2], &[0], &[1], false)));
    for (name, kernel, output) in [
        ("fractional2d", vec![2, 3], vec![4, 3]),
        ("fractional2d_dense", vec![2], vec![5]),
        ("fractional2d_one", vec![5, 2], vec![1, 3]),
        ("fractional3d", vec![2, 3, 2], vec![3, 4, 2]),
    ] {
        let samples = c.get(name, "samples");
        c.both(name, move |x| match x[0].rank() {
            4 => x[0].fractional_max_pool2d(&kernel, &output, &samples),
            _ => x[0].fractional_max_pool3d(&kernel, &output, &samples),
        });
    }
    c.one("unpool1d", |x| x[0].max_unpool1d(&x[1], &Pool::new(2), None));
    c.one("unpool2d", |x| x[0].max_unpool2d(&x[1], &Pool::new(2), None));
    c.one("unpool2d_sized", |x| x[0].max_unpool2d(&x[1], &pool(&[3], &[2], &[0], &[1], false), Some(&[10, 8])));
    c.one("unpool2d_padded", |x| x[0].max_unpool2d(&x[1], &pool(&[2], &[2], &[1], &[1], false), Some(&[7, 9])));
    c.one("unpool3d", |x| x[0].max_unpool3d(&x[1], &Pool::new(2), Some(&[4, 6, 5])));
    assert_eq!(c.count, 18);
}

#[test]
fn im2col_and_col2im_agree_with_pytorch() {
    let mut c = Cases::new();
    let patches = |kernel: &[usize], stride: &[usize], padding: &[usize], dilation: &[usize]| Patches {
        kernel: kernel.into(),
        stride: stride.into(),
        padding: padding.into(),
        dilation: dilation.into(),
    };
    let (a, b) = (patches(&[2, 3], &[2, 1], &[1, 0], &[1, 2]), patches(&[2], &[2], &[0], &[1]));
    c.one("im2col", move |x| x[0].im2col(&a));
    c.one("im2col_single", move |x| x[0].im2col(&b));
    let (a, b) = (patches(&[3, 2], &[2, 1], &[1, 0], &[1]), patches(&[2], &[2], &[1], &[3, 2]));
    c.one("col2im", move |x| x[0].col2im([5, 6], &a));
    c.one("col2im_dilated", move |x| x[0].col2im([6, 5], &b));
    c.one("col2im_single", |x| x[0].col2im([4, 4], &Patches::new(3)));
}

/// NaN is greater than all, of equals the first is taken; of several elements for one place the last is.
#[test]
fn ties_and_nan_are_as_in_pytorch() {
    let device = Device::open().unwrap();
    let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
    let x = Tensor::new(&device, [[[3.0, 3.0, 2.0, low, 1.0, nan, 7.0, nan, low, low, low, low]]]);
    let (y, index) = x.adaptive_max_pool1d_with_index(3);
    let y = y.to_vec::<f32>().unwrap();
    assert!(y[0] == 3.0 && y[1].is_nan() && y[2] == low, "{y:?}");
    assert_eq!(index.to_vec::<i32>().unwrap(), [0, 7, 8]);
    let (y, index) =
        Tensor::full(&device, [1, 1, 3, 3], low).max_pool2d_with_index(&pool(&[2], &[1], &[1], &[1], false));
    assert!(y.to_vec::<f32>().unwrap().iter().all(|&v| v == low));
    assert_eq!(index.to_vec::<i32>().unwrap(), [0, 0, 1, 2, 0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8]);

    // of equal indices the last one counts, and each has the gradient
    let at = Tensor::new(&device, [[[4i32, 0, 4, 4]]]);
    let y = Tensor::new(&device, [[[f32::INFINITY, 2.0, 3.0, 4.0]]]).max_unpool1d(&at, &Pool::new(2), None);
    assert_eq!(y.to_vec::<f32>().unwrap(), [2.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0]);
    let x = Tensor::new(&device, [[[1.0, 2.0, 3.0]]]);
    let y = x.max_unpool1d(&at.narrow(2, 0, 3), &Pool::new(2), None);
    let weighted = (y * Tensor::new(&device, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).sum();
    let dx = weighted.grad(&[&x]).unwrap()[0].to_vec::<f32>().unwrap();
    assert_eq!(dx, [5.0, 1.0, 5.0]);
}

/// Nothing in, nothing out: no images, no windows, and zeros as the gradients of what nothing depends on.
#[test]
fn empty_batches_and_results_are_empty() {
    let device = Device::open().unwrap();
    let none = Tensor::zeros(&device, [0, 3, 6, 8]);
    let w = Tensor::ones(&device, [4, 3, 3, 3]);
    assert_eq!(none.conv2d(&w, None, &Conv::default()).shape().unwrap(), [0, 4, 4, 6]);
    assert_eq!(none.max_pool2d(&Pool::new(2)).shape().unwrap(), [0, 3, 3, 4]);
    assert_eq!(none.adaptive_avg_pool2d(5).shape().unwrap(), [0, 3, 5, 5]);
    assert_eq!(none.im2col(&Patches::new(3)).shape().unwrap(), [0, 27, 24]);
    assert_eq!(none.max_unpool2d(&none.cast(DType::I32), &Pool::new(2), None).shape().unwrap(), [0, 3, 12, 16]);
    let dw = none.conv2d(&w, None, &Conv::default()).sum().grad(&[&w]).unwrap().remove(0);
    assert!(dw.to_vec::<f32>().unwrap().iter().all(|&v| v == 0.0));
    let x = Tensor::ones(&device, [2, 3, 6, 8]);
    let y = x.adaptive_max_pool2d([0i64, 2]);
    assert_eq!(y.shape().unwrap(), [2, 3, 0, 2]);
    assert!(y.sum().grad(&[&x]).unwrap()[0].to_vec::<f32>().unwrap().iter().all(|&v| v == 0.0));
}

/// Half-precision operands give what single precision gives to within half a unit of half precision in each operand.
#[test]
fn half_precision_is_accumulated_in_single() {
    let device = Device::open().unwrap();
    if !device.caps().f16 {
        return;
    }
    let (x, w) = (Rng::new(&device, 1), Rng::new(&device, 2));
    let (x, w) = (x.normal([2, 40, 7, 9]).cast(DType::F16), w.normal([6, 40, 3, 3]).cast(DType::F16));
    let how = conv(&[1], &[1], &[1], 1);
    let (half, single) = (x.conv2d(&w, None, &how), x.cast(DType::F32).conv2d(&w.cast(DType::F32), None, &how));
    assert_eq!(half.dtype(), DType::F16);
    // the result is rounded once
    close("half", &half.cast(DType::F32), &single, 1e-3);
    let grads = |x: &Tensor, w: &Tensor| x.conv2d(w, None, &how).cast(DType::F32).square().sum().grad(&[x, w]).unwrap();
    let single = grads(&x.cast(DType::F32), &w.cast(DType::F32));
    for (got, want) in grads(&x, &w).iter().zip(&single) {
        let scale = want.abs().max();
        // dy is rounded to half precision too, and sums over 63 and over 54 places
        close("half", &(got.cast(DType::F32) / &scale), &(want / &scale), 2e-3);
    }
}

#[test]
fn wrong_calls_are_typed_errors() {
    let device = Device::open().unwrap();
    let t = |dims: &[usize]| Tensor::zeros(&device, dims);
    let back = |stride: usize, padding: usize, more: usize, groups: usize| ConvTranspose {
        stride: vec![stride],
        padding: vec![padding],
        output_padding: vec![more],
        groups,
        ..ConvTranspose::default()
    };
    let same = Conv { same: true, ..Conv::default() };
    let places = |v: i32| Tensor::full(&device, [1, 1, 2, 2], v);
    let x = t(&[1, 4, 6, 6]);
    let rows: Vec<(&str, &str, Tensor)> = vec![
        ("Shape", "conv2d", t(&[2, 3, 0, 5]).conv2d(&t(&[4, 3, 3, 3]), None, &conv(&[1], &[2], &[1], 1))),
        ("Shape", "conv2d", x.conv2d(&t(&[0, 4, 3, 3]), None, &Conv::default())),
        ("Argument", "conv2d", x.conv2d(&t(&[2, 4, 3, 3]), None, &Conv { stride: vec![2], ..same.clone() })),
        ("Argument", "conv2d", x.conv2d(&t(&[2, 4, 3, 3]), None, &conv(&[1 << 33], &[0], &[1], 1))),
        ("Shape", "conv3d", x.conv3d(&t(&[2, 4, 3, 3, 3]), None, &Conv::default())),
        ("Shape", "conv3d", t(&[1, 4, 2, 6, 6]).conv3d(&t(&[2, 4, 3, 3, 3]), None, &Conv::default())),
        ("Shape", "conv_transpose2d", x.conv_transpose2d(&t(&[3, 4, 3, 3]), None, &back(1, 0, 0, 1))),
        ("Shape", "conv_transpose2d", x.conv_transpose2d(&t(&[4, 4, 3, 3]), None, &back(1, 0, 0, 3))),
        ("Shape", "conv_transpose2d", x.conv_transpose2d(&t(&[4, 4, 3, 3]), None, &back(1, 9, 0, 1))),
        ("Shape", "conv_transpose2d", x.conv_transpose2d(&t(&[4, 4, 3, 3]), None, &back(1, usize::MAX, 0, 1))),
        ("Shape", "conv_transpose2d", x.conv_transpose2d(&t(&[4, 4, 3, 3]), Some(&t(&[5])), &back(1, 0, 0, 1))),
        ("Argument", "conv_transpose2d", x.conv_transpose2d(&t(&[4, 4, 3, 3]), None, &back(2, 0, 2, 1))),
        ("Argument", "conv_transpose2d", x.conv_transpose2d(&t(&[4, 4, 3, 3]), None, &back(0, 0, 0, 1))),
        ("Argument", "conv_transpose2d", x.conv_transpose2d(&t(&[4, 4, 3, 3]), None, &back(1, 0, 0, 0))),
        (
            "DType",
            "conv_transpose1d",
            t(&[1, 1, 4]).cast(DType::I32).conv_transpose1d(&t(&[1, 1, 2]), None, &back(1, 0, 0, 1)),
        ),
        ("Shape", "max_pool3d", x.max_pool3d(&Pool::new(7))),
        ("Shape", "max_pool2d", t(&[1, 1, 0, 4]).max_pool2d(&Pool::new(1))),
        ("Argument", "avg_pool2d", x.avg_pool2d(&Pool { divisor: Some(0), ..Pool::new(2) })),
        ("Argument", "avg_pool3d", t(&[1, 2, 2, 2, 2]).avg_pool3d(&Pool { kernel: vec![2, 2], ..Pool::new(2) })),
        ("Shape", "adaptive_avg_pool2d", t(&[1, 1, 0, 4]).adaptive_avg_pool2d(2)),
        ("Argument", "adaptive_avg_pool2d", x.adaptive_avg_pool2d([1i64, 2, 3])),
        ("Argument", "adaptive_max_pool2d", x.adaptive_max_pool2d(-2)),
        ("DType", "adaptive_max_pool1d", t(&[1, 1, 4]).cast(DType::I32).adaptive_max_pool1d(2)),
        ("Argument", "lp_pool2d", x.lp_pool2d(0.0, &Pool::new(2))),
        ("Argument", "lp_pool2d", x.lp_pool2d(2.0, &Pool { padding: vec![1], ..Pool::new(2) })),
        ("Argument", "fractional_max_pool2d", x.fractional_max_pool2d(&[2], &[6], &t(&[1, 4, 2])).0),
        ("Shape", "fractional_max_pool2d", x.fractional_max_pool2d(&[2], &[3], &t(&[1, 4, 3])).0),
        ("Argument", "max_unpool2d", t(&[1, 1, 2, 2]).max_unpool2d(&places(0), &Pool::new(2), Some(&[6, 6]))),
        ("Shape", "max_unpool2d", t(&[1, 1, 2, 3]).max_unpool2d(&places(0), &Pool::new(2), None)),
        ("Index", "max_unpool2d", t(&[1, 1, 2, 2]).max_unpool2d(&places(16), &Pool::new(2), None)),
        ("DType", "max_unpool2d", t(&[1, 1, 2, 2]).max_unpool2d(&t(&[1, 1, 2, 2]), &Pool::new(2), None)),
        ("Shape", "im2col", x.im2col(&Patches::new(7))),
        ("Shape", "im2col", t(&[3, 4]).im2col(&Patches::new(1))),
        ("Argument", "im2col", x.im2col(&Patches { stride: vec![0], ..Patches::new(2) })),
        ("Shape", "col2im", t(&[1, 9, 5]).col2im([4, 4], &Patches::new(3))),
        ("Shape", "col2im", t(&[1, 8, 4]).col2im([4, 4], &Patches::new(3))),
    ];
    for (i, (kind, op, bad)) in rows.into_iter().enumerate() {
        let error = bad.to_vec::<f32>().expect_err(&format!("row {i}, {op}, is wrong"));
        let name = format!("{error:?}");
        assert!(name.starts_with(kind), "row {i}, {op}: {error:?}");
        assert!(error.to_string().contains(op) && error.to_string().contains("tests/conv.rs"), "row {i}: {error}");
    }
}
