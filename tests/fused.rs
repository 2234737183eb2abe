//! Fusion changes no answer: random expressions, with their gradients, on a device that fuses and on one that runs an
//! operation at a time. (`tests/reference.rs` is run both ways too; this finds combinations that nobody wrote down.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::Lit;
use kiln::prelude::*;

/// How many expressions are tried. Each has about a dozen operations.
const EXPRESSIONS: u64 = 80;

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Numbers in -1..1.
    fn tensor(&mut self, device: &Device, shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        let numbers: Vec<f32> = (0..count).map(|_| self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0).collect();
        Tensor::from_vec(device, numbers, shape)
    }
}

const SHAPES: [&[usize]; 9] = [&[], &[5], &[4, 5], &[5, 4], &[3, 4, 5], &[1, 5], &[4, 1], &[8, 8], &[3, 1, 5]];

/// One more expression of those there are; it may be wrong, then it is not used.
fn grow(random: &mut Random, pool: &[Tensor]) -> Tensor {
    let x = random.pick(pool);
    let y = random.pick(pool);
    let axis = random.below(x.rank().max(1)) as i64;
    let extent = x.shape().map_or(1, |s| s.get(axis as usize).copied().unwrap_or(1));
    match random.below(90) {
        0 => x.tanh(),
        1 => x.sigmoid() - 0.5,
        2 => x.square() * 0.5,
        3 => (x * 0.5).exp() - 1.0,
        4 => x / (x.abs() + 1.0),
        5..=7 => (x + y) * 0.5,
        8 | 9 => x * y,
        10 => x - y.detach(),
        11 => Tensor::where_(&x.gt(y), x, y * 0.25),
        12 => x.maximum(y),
        13 => x.sum_axes(axis, random.below(2) == 0) * 0.3,
        14 => x.mean_axes(axis, true),
        15 => x.amax(axis, random.below(2) == 0),
        16 => x.transpose(0, -1),
        17 => x.flip(axis),
        18 => x.slice(axis, 1, i64::MAX, 1 + random.below(2) as i64),
        19 => x.reshape([-1]),
        20 => x.unsqueeze(axis),
        21 => x.pad(&[(1, 0)], PadMode::Constant(0.5)),
        22 => Tensor::cat(&[x, y], axis),
        23 => x.softmax(axis),
        24 => x.matmul(y) * 0.3,
        25 => x.matmul(&y.mt()) * 0.3,
        26 => x.layer_norm(1, None, None, 0.1),
        27 => x.cumsum(axis) * 0.3,
        28 => {
            let index: Vec<i32> = (0..3).map(|_| random.below(extent.max(1)) as i32).collect();
            x.index_select(axis, &Tensor::from_vec(x.device(), index, &[3]))
        }
        29 => x.sort(axis, random.below(2) == 0).0,
        30 => x.logsumexp(axis, true) * 0.3,
        31 => x.prod_axes(axis, false),
        32 => (x.var(axis, 0, true) + 0.1).sqrt(),
        33 => x.roll(2, axis),
        34 => x.tril(random.below(3) as i64 - 1),
        35 => x.diagonal(1, -2, -1),
        36 => Tensor::stack(&[x, &y.relu(), x], axis),
        37 => x.chunk(2, axis).swap_remove(0),
        38 => x.permute([1, 2, 0]),
        39 => {
            x.conv1d(&y.reshape([1, -1, 5]).slice(2, 0, 3, 1), None, &Conv { padding: vec![1], ..Conv::default() })
                * 0.3
        }
        40 => x.max_pool1d(&Pool::new(2)),
        41 => x.unfold(axis, 3, 1),
        42 => {
            // A row between the first and the last, the first for NaN.
            let part = x.reshape([-1]).sigmoid();
            let rows = y.shape().map_or(1, |s| s.first().copied().unwrap_or(1)) as f32;
            y.embedding(&(Tensor::where_(&part.gt(0.0), &part, 0.0) * (0.999 * rows)).cast(DType::I32))
        }
        43 => x.expand([2, 1, 1, 1]).squeeze(1).sum_axes(0, false) * 0.3,
        44 => {
            x.unsqueeze(0).unsqueeze(0).conv2d(
                &y.reshape([1, 1, -1, 5]).slice(2, 0, 3, 1),
                None,
                &Conv { padding: vec![1], ..Conv::default() },
            ) * 0.3
        }
        45 => x.unsqueeze(0).unsqueeze(0).avg_pool2d(&Pool::new(2)),
        46 => x.unsqueeze(0).max_pool2d(&Pool::new(2)),
        47 => x.unsqueeze(0).unsqueeze(0).scaled_dot_product_attention(
            &y.unsqueeze(0).unsqueeze(0),
            &y.tanh().unsqueeze(0).unsqueeze(0),
            &Attention { causal: random.below(2) == 0, ..Attention::default() },
        ),
        48 => x.group_norm(1, None, None, 0.1),
        49 => x.take_along(axis, &x.tanh().argsort(axis, true).slice(axis, 0, 2, 1)),
        50 => x.gather(axis, &x.argsort(axis, false)),
        51 => x.scatter_add(axis, &x.argsort(axis, false), y) * 0.5,
        52 => {
            let index: Vec<i32> = (0..extent).map(|_| random.below(extent.max(1)) as i32).collect();
            x.index_add(axis, &Tensor::from_vec(x.device(), index, &[extent]), y) * 0.5
        }
        53 => x.cumprod(axis),
        54 => x.topk(1 + random.below(extent.max(1)), axis, random.below(2) == 0).0,
        55 => x.masked_fill(&y.gt(0.2), 0.7),
        56 => x.norm(2.0, axis, random.below(2) == 0) * 0.3,
        57 => (x.std(axis, 0, false) + 1.0).ln(),
        58 => x.logaddexp(y) * 0.4,
        59 => x.lerp(y, 0.3),
        60 => x.addcmul(y, x, 0.3),
        61 => x.kthvalue(1, axis, random.below(2) == 0).0,
        62 => x.median(axis, random.below(2) == 0).0,
        63 => x.select(axis, -1),
        64 => x.select_scatter(&y.select(axis, 0), axis, 1),
        65 => x.slice_scatter(&y.slice(axis, 0, 2, 1), axis, 1, 3, 1),
        66 => x.repeat([2, 1, 1]) * 0.5,
        67 => x.repeat_interleave(2, axis),
        68 => x.rot90(1 + random.below(3) as i64, 0, 1),
        69 => x.reshape([-1]).slice(0, 0, 6, 1).diag_embed(random.below(3) as i64 - 1),
        70 => x.reshape([-1]).slice(0, 0, 7, 1).outer(&y.reshape([-1]).slice(0, 0, 5, 1)),
        71 => x.rms_norm(1, None, 0.1),
        72 => x.log_softmax(axis) * 0.2,
        73 => x.minimum(y),
        74 => x.amin(axis, false),
        75 => x.slice(axis, -3, i64::MAX, 1),
        76 => x.movedim(0, -1),
        77 => x.logcumsumexp(axis) * 0.3,
        78 => x.cummax(axis).0,
        79 => x.pad(&[(2, -1)], PadMode::Constant(0.0)),
        80 => x.pad(&[(1, 2)], PadMode::Reflect),
        81 => x.pad(&[(2, 1)], PadMode::Replicate),
        82 => x.normalize(2.0, axis),
        83 => x.gelu(),
        84 => x.silu(),
        85 => {
            x.unsqueeze(0).unsqueeze(0).conv_transpose2d(
                &y.reshape([1, 1, -1, 5]).slice(2, 0, 2, 1),
                None,
                &ConvTranspose { stride: vec![2], ..ConvTranspose::default() },
            ) * 0.3
        }
        86 => Tensor::where_(&x.ge(0.0), 1.0, y) * x,
        87 => x.diff(1, axis),
        88 => {
            x.conv1d(
                &y.reshape([-1, 1, 5]).slice(2, 1, 4, 1),
                None,
                &Conv { padding: vec![2], dilation: vec![2], ..Conv::default() },
            ) * 0.3
        }
        _ => x.index_select(axis, &x.argmax(axis, true).reshape([-1])),
    }
}

/// The last expressions that grew from `seed`, and the gradients of their sum.
fn answers(device: &Device, seed: u64) -> Vec<Tensor> {
    let random = &mut Random(seed << 20);
    let mut leaves = Vec::new();
    for _ in 0..4 {
        let shape = *random.pick(&SHAPES);
        leaves.push(random.tensor(device, shape));
    }
    let mut pool = leaves.clone();
    for _ in 0..14 {
        let more = grow(random, &pool);
        if more.shape().is_ok_and(|shape| shape.numel() <= 2000 && shape.rank() <= 5) {
            pool.push(more);
        }
    }
    let outs = pool.split_off(pool.len().saturating_sub(3).max(4));
    let mut loss = Tensor::zeros(device, [0i64; 0]);
    for out in &outs {
        loss = loss + (out * random.tensor(device, &out.shape().unwrap())).sum();
    }
    let grads = loss.grad(&leaves).unwrap();
    outs.into_iter().chain([loss]).chain(grads).collect()
}

#[test]
fn fusion_changes_no_answer() {
    let (fused, plain) = (Device::open().unwrap(), Device::open().unwrap());
    fused.set_fusion(true);
    plain.set_fusion(false);
    let mut wrong = Vec::new();
    for seed in 0..EXPRESSIONS {
        let (got, want) = (answers(&fused, seed), answers(&plain, seed));
        if seed % 2 == 0 {
            Tensor::eval_all(&got).unwrap();
        }
        for (at, (got, want)) in got.iter().zip(&want).enumerate() {
            let (got, want) = (got.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap());
            let alike = |g: f32, w: f32| g == w || (g.is_nan() && w.is_nan());
            let pairs = got.iter().zip(&want).filter(|(g, w)| !alike(**g, **w));
            let error = pairs.map(|(g, w)| (g - w).abs() / (1.0 + w.abs()));
            let worst = error.fold(0.0, |m: f32, e| if e.is_nan() { f32::INFINITY } else { m.max(e) });
            if got.len() != want.len() || worst > 2e-5 {
                wrong.push(format!("expression {seed}, answer {at} of {} elements: off by {worst:.1e}", want.len()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// Cells that a step replaces by each other: every value is of what stood there before the step.
#[test]
fn cells_that_trade_places() {
    for fused in [true, false] {
        let device = Device::open().unwrap();
        device.set_fusion(fused);
        // one element, few, and more than what is put together for its size alone
        for n in [1usize, 5, 6, 1000] {
            let init = Init::new(&device, 0);
            let start = |k: usize| (0..n).map(|i| (i * 7 + k * 1000) as f32).collect::<Vec<_>>();
            let cells: Vec<State> = (0..20).map(|k| init.state(&Tensor::from_vec(&device, start(k), &[n]))).collect();
            let check = |what: &str, at: usize, want: Vec<f32>| {
                assert_eq!(cells[at].to_vec::<f32>().unwrap(), want, "{what} of {n}, fused: {fused}");
            };
            let step = |replace: Vec<(usize, Tensor)>| {
                kiln::step(&[], replace.into_iter().map(|(k, v)| (cells[k].clone(), v)).collect(), &[]).unwrap();
            };
            let (a, b, c) = (&cells[0], &cells[1], &cells[2]);
            step(vec![(0, b.value()), (1, a.value())]);
            check("a swap", 0, start(1));
            check("a swap", 1, start(0));
            step(vec![(0, b.value()), (1, c.value()), (2, a.value())]);
            check("a circle", 0, start(0));
            check("a circle", 1, start(2));
            check("a circle", 2, start(1));
            let sum = |x: Vec<f32>, y: Vec<f32>| x.iter().zip(y).map(|(x, y)| x + y).collect::<Vec<_>>();
            step(vec![(0, &**a + &**b), (1, a.value())]);
            check("Fibonacci", 0, sum(start(0), start(2)));
            check("Fibonacci", 1, start(0));
            // turned round on the way, so that no element is read where it is written
            step(vec![(1, c.flip([0i64])), (2, b.flip([0i64]))]);
            check("a turned swap", 1, start(1).into_iter().rev().collect());
            check("a turned swap", 2, start(0).into_iter().rev().collect());
            // more cells than one kernel has bindings
            step((3..20).map(|k| (k, cells[if k == 19 { 3 } else { k + 1 }].value())).collect());
            (3..20).for_each(|k| check("a long circle", k, start(if k == 19 { 3 } else { k + 1 })));
        }
    }
}

/// Whatever is known of one factor, NaN and infinity times nothing are NaN: drivers make 0 of a product with a 0 that they see,
/// or with a truth value that became a number in the same kernel.
#[test]
fn nothing_times_nan_is_nan() {
    for fuse in [true, false] {
        let device = Device::open().unwrap();
        device.set_fusion(fuse);
        let x = Tensor::new(&device, [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0]);
        let (yes, no) = (Tensor::new(&device, [true; 4]), Tensor::new(&device, [false; 4]));
        let low = x.square().lt(-1.0); // false, in the same kernel
        let lost = [
            ("x 0", &x * Lit(0.0)),
            ("x -0", &x * Lit(-0.0)),
            ("exp x 0", x.abs().exp() * Lit(0.0)),
            ("x false", &x * &no),
            ("false x", &no * &x),
            ("x (x² < -1)", &x * &low),
            ("half", low.cast(DType::F16) * &x),
            ("not true", &x * yes.logical_not()),
            ("where", Tensor::where_(&low, Lit(1.0), Lit(0.0)) * &x),
            ("where not", Tensor::where_(&low.logical_not(), Lit(0.0), Lit(1.0)) * &x),
            ("where of numbers", Tensor::where_(&low, 1.0, 0.0) * &x),
            ("where and half", Tensor::where_(&low, Lit(0.5), Lit(0.0)) * &x),
            ("integers", low.cast(DType::I32).cast(DType::F32) * &x),
            ("where given", Tensor::where_(&no, Lit(1.0), Lit(0.0)) * &x),
            ("where a number", Tensor::where_(&low, &x, Lit(0.0)) * &x),
            ("zeros", x.zeros_like() * &x),
            ("product", low.cast(DType::F32).reshape([4, 1]).matmul(&x.reshape([1, 4])).select(0, 0)),
        ];
        for (name, y) in lost {
            let got = y.to_vec::<f32>().unwrap();
            assert!(got[..3].iter().all(|v| v.is_nan()) && got[3] == 0.0, "{name}, fused: {fuse}: {got:?}");
        }
        let one = (&x * &yes).to_vec::<f32>().unwrap();
        assert!(one[0].is_nan() && one[1..] == [f32::INFINITY, f32::NEG_INFINITY, 2.0], "{one:?}");
        // a flat function has the gradient 0, whatever comes from above
        let z = Tensor::new(&device, [0.5, 1.5, 2.5, 3.5]);
        let flat = ((z.floor() + z.sign() + z.floor_divide(2.0)) * &x).sum().grad(&[&z]).unwrap().remove(0);
        assert_eq!(flat.to_vec::<f32>().unwrap(), [0.0; 4]);
    }
}

/// Two kernels that read memory in a row of views: what one of them has copied ends the views of the other.
#[test]
fn operands_that_are_views_of_views() {
    for fuse in [true, false] {
        let device = Device::open().unwrap();
        device.set_fusion(fuse);
        let x = Tensor::new(&device, [[3.0, 1.0, 2.0], [6.0, 5.0, 4.0]]);
        let turned = x.t();
        let (rows, columns) = (turned.t().sort(1, false).0, turned.sort(1, false).0);
        Tensor::eval_all(&[&rows, &columns]).unwrap();
        assert_eq!(rows.to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(columns.to_vec::<f32>().unwrap(), [3.0, 6.0, 1.0, 5.0, 2.0, 4.0]);
    }
}
