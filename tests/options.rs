//! Settings of layers and of gradient clipping: what they do to training, what is refused, and what is drawn.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln::init::Draws;
use kiln::loss::{CrossEntropy, GaussianNll};
use kiln::nn::{self, Interpolation::Linear, *};
use kiln::optim::{clip_grad_norm_of, total_norm};
use kiln::prelude::{DType, Device, Error, Init, Optimizer, Rng, Sgd, Tensor, mse_loss};
use support::{off, reference, worst};

#[test]
fn a_table_cut_to_a_length_trains_as_pytorchs() {
    let device = Device::open().unwrap();
    let all = reference(&device, "sweep");
    let goal = &all["trained.goal"] * 3.0;
    let index = |step: i32| (Tensor::new(&device, [[3i32, 1, 5, 1], [0, 3, 3, 2]]) + step).rem(6);
    let make = || {
        let table = Embedding::new(6, 3, &mut Init::new(&device, 0)).max_norm(1.0);
        table.weight.set(&all["trained.before"]).unwrap();
        table
    };
    let judge = |table: &Embedding| {
        let error = off(&table.weight, &all["trained.after"]);
        assert!(error < 1e-5, "off by {error:e}");
    };
    let table = make();
    let mut sgd = Sgd::new(&table, 0.5).momentum(0.9);
    for step in 0..6 {
        sgd.step(&mse_loss(&table.forward(&index(step)), &goal)).unwrap();
    }
    judge(&table);
    // and in captured steps, whose graph is made once
    let table = make();
    let mut sgd = Sgd::new(&table, 0.5).momentum(0.9);
    let mut train = sgd.capture(|index: &Tensor| mse_loss(&table.forward(index), &goal));
    for step in 0..6 {
        train.step(&index(step)).unwrap();
    }
    judge(&table);
}

#[test]
fn draws_follow_their_distributions() {
    let device = Device::open().unwrap();
    let mut draws = Draws::new(3, 0);
    // below x lies 2/π · asin(√x) of Beta(½, ½), x of Beta(1, 1), 3x² − 2x³ of Beta(2, 2)
    type Below = fn(f64) -> f64;
    let shares: [(f64, Below); 3] =
        [(0.5, |x| 2.0 / std::f64::consts::PI * x.sqrt().asin()), (1.0, |x| x), (2.0, |x| x * x * (3.0 - 2.0 * x))];
    let n = 20_000;
    for (alpha, below) in shares {
        let values: Vec<f64> = (0..n).map(|_| beta(alpha, &mut draws)).collect();
        for x in [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98] {
            let (want, got) = (below(x), values.iter().filter(|v| **v < x).count() as f64 / f64::from(n));
            let deviation = (want * (1.0 - want) / f64::from(n)).sqrt();
            assert!((got - want).abs() < 5.0 * deviation, "Beta({alpha}) below {x}: {got}, not {want}");
        }
    }
    assert_eq!([0.0, f64::NAN, f64::INFINITY].map(|alpha| beta(alpha, &mut draws)), [1.0, 1.0, 0.5]);
    assert!((0..50).all(|_| (0.0..=1.0).contains(&beta(1e-3, &mut draws))));

    // the largest of logits and Gumbel numbers is drawn with the softmax's probabilities, whatever tau is
    let logits = Tensor::new(&device, [0.5, -1.0, 1.5, 0.0]);
    let many = logits.expand([4000, 4]);
    let rng = Rng::new(&device, 5);
    let hard = gumbel_softmax(&many, 0.5, true, -1, &rng);
    let shares = hard.mean_axes(0, false).to_vec::<f64>().unwrap();
    for (got, want) in shares.iter().zip(logits.softmax(-1).to_vec::<f64>().unwrap()) {
        assert!((got - want).abs() < 5.0 * (want * (1.0 - want) / 4000.0).sqrt(), "{got}, not {want}");
    }
    assert!(hard.to_vec::<f32>().unwrap().iter().all(|v| v.abs() < 1e-6 || (v - 1.0).abs() < 1e-6));
    // the hard ones have the gradient of the soft ones
    let slope = |hard: bool| {
        let y = gumbel_softmax(&logits.expand([3, 4]), 2.0, hard, 1, &Rng::new(&device, 9));
        (y * Tensor::arange(&device, 0, 4, 1)).sum().grad(&[&logits]).unwrap()[0].to_vec::<f32>().unwrap()
    };
    assert!(worst(&slope(true), &slope(false)) < 1e-6 && slope(false).iter().any(|v| v.abs() > 1e-3));
    // by the definition, with the noise of the same key and call
    for (axis, tau) in [(0i64, 0.5), (1, 1.0), (-1, 3.0)] {
        let x = Rng::new(&device, 1).normal([5, 4]);
        let noise = Rng::new(&device, 4).gumbel([5, 4]);
        let want = ((&x + noise) / tau).softmax(axis);
        let soft = gumbel_softmax(&x, tau, false, axis, &Rng::new(&device, 4));
        assert!(worst(&soft.to_vec::<f32>().unwrap(), &want.to_vec::<f32>().unwrap()) < 1e-6);
        let hard = gumbel_softmax(&x, tau, true, axis, &Rng::new(&device, 4));
        let largest = want.eq(want.amax(axis, true)).cast(DType::F32);
        assert!(worst(&hard.to_vec::<f32>().unwrap(), &largest.to_vec::<f32>().unwrap()) < 1e-6);
        // PyTorch's `y_hard - y_soft.detach() + y_soft`: the slope of Σ w y is that of the soft one, y (w − Σ w y) / tau
        let w = Rng::new(&device, 2).normal([5, 4]);
        let slope = (hard * &w).sum().grad(&[&x]).unwrap()[0].to_vec::<f32>().unwrap();
        let [y, w] = [&want, &w].map(|t| t.to_vec::<f64>().unwrap());
        let slice = |i: usize| (0..20).filter(move |j| if axis == 0 { i % 4 == j % 4 } else { i / 4 == j / 4 });
        let by_hand = |i: usize| y[i] * (w[i] - slice(i).map(|j| w[j] * y[j]).sum::<f64>()) / tau;
        assert!(worst(&slope, &(0..20).map(|i| by_hand(i) as f32).collect::<Vec<_>>()) < 1e-5);
    }
    assert!(gumbel_softmax(&logits, 0.0, false, -1, &rng).eval().is_err());
    assert!(gumbel_softmax(&logits, 1.0, true, 3, &rng).eval().is_err());
}

#[test]
fn norms_of_gradients_are_those_asked_for() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 0);
    let params = [init.zeros(&[3]), init.zeros(&[2, 2])];
    let slopes = [Tensor::new(&device, [3.0, -4.0, 0.5]), Tensor::new(&device, [[1.0, -7.0], [0.0, 2.0]])];
    let loss = (&params[0] * &slopes[0]).sum() + (&params[1] * &slopes[1]).sum();
    let all = [3.0f64, 4.0, 0.5, 1.0, 7.0, 0.0, 2.0];
    for (p, want) in [
        (1.0f32, all.iter().sum::<f64>()),
        (2.0, all.iter().map(|v| v * v).sum::<f64>().sqrt()),
        (3.0, all.iter().map(|v| v.powi(3)).sum::<f64>().cbrt()),
        (f32::INFINITY, 7.0),
    ] {
        let mut gradients = loss.backward().unwrap();
        let norm = clip_grad_norm_of(&mut gradients, 2.0, p).unwrap();
        assert!((norm.item_as::<f64>().unwrap() - want).abs() < 1e-5, "p = {p}");
        let clipped = total_norm(&gradients, p).unwrap().item_as::<f64>().unwrap();
        assert!((clipped - 2.0).abs() < 1e-5, "p = {p}: {clipped}");
        let mut gradients = loss.backward().unwrap();
        clip_grad_norm_of(&mut gradients, 100.0, p).unwrap();
        assert_eq!(gradients.get(&params[0]).unwrap().to_vec::<f32>().unwrap(), [3.0, -4.0, 0.5]);
    }
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 0);
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let (image, row, index) = (zeros(&[1, 2, 4, 4]), zeros(&[1, 2, 4]), Tensor::new(&device, [0i32, 1]));
    let grid = zeros(&[1, 3, 3, 2]);
    let wrong = [
        Upsample::to(2).antialias().forward(&image),
        Upsample::to(2).mode(Linear).antialias().forward(&row),
        Upsample::with(Size::Rounded(vec![0.1])).forward(&image),
        grid_sample(&image, &zeros(&[2, 3, 3, 2]), GridOptions::default()),
        grid_sample(&row, &grid, GridOptions::default()),
        affine_grid(&zeros(&[1, 2, 2]), &[3, 4], false),
        affine_grid(&zeros(&[1, 2, 3]), &[3], false),
        pdist(&row, 2.0),
        pdist(&zeros(&[3, 2]), -1.0),
        Embedding::new(3, 2, init).max_norm(-1.0).forward(&index),
        EmbeddingBag::new(3, 2, BagMode::Max, init).scale_grad_by_freq().offsets(&index, &index, None),
        EmbeddingBag::new(3, 2, BagMode::Sum, init).include_last_offset().offsets(
            &index,
            &zeros(&[0]).cast(DType::I32),
            None,
        ),
        WeightNorm::along(nn::Linear::new(4, 2, init), Some(2), init).forward(&row),
        InstanceNorm1d::new(2).forward(&zeros(&[3, 2, 1])),
        CrossEntropy { label_smoothing: 1.5, ..Default::default() }.loss(&zeros(&[2, 3]), &index),
        GaussianNll::default().loss(&image, &image, &zeros(&[1, 2, 1, 1])),
        FractionalMaxPool2d::by(2, [1.5, 0.5], init).forward(&image),
    ];
    for (number, tensor) in wrong.iter().enumerate() {
        let error = tensor.eval().err().unwrap_or_else(|| panic!("number {number} was taken"));
        assert!(
            matches!(error, Error::Shape { .. } | Error::Argument { .. } | Error::Axis { .. }),
            "{number}: {error}"
        );
    }
    assert!(SpectralNorm::along(nn::Linear::new(4, 2, init), 5, init).is_err());
    let eval = InstanceNorm1d::new(2);
    eval.eval();
    assert!(eval.forward(&zeros(&[3, 2, 1])).eval().is_err(), "PyTorch refuses a single place in evaluation too");
    // an offset past the end, an index outside of the table
    let bag = EmbeddingBag::new(3, 2, BagMode::Sum, init);
    assert!(bag.offsets(&index, &Tensor::new(&device, [0i32, 3]), None).to_vec::<f32>().is_err());
    assert!(Embedding::new(2, 2, init).max_norm(1.0).forward(&(&index + 1)).to_vec::<f32>().is_err());
}
