//! What goes around an optimizer: groups, joined optimizers, accumulation, averages of weights, noise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::optim::*;
use kiln::prelude::*;
use kiln::schedule::{Schedule, StepLr};

fn numbers(t: &Tensor) -> Vec<f64> {
    t.to_vec::<f64>().unwrap()
}

fn close(got: &[f64], want: &[f64], to: f64) {
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() <= to * (1.0 + w.abs())), "{got:?} is not {want:?}");
}

fn data(device: &Device) -> (Tensor, Tensor) {
    let rng = Rng::new(device, 5);
    let (x, y) = (rng.normal([16, 4]), rng.normal([16, 2]));
    Tensor::eval_all(&[&x, &y]).unwrap();
    (x, y)
}

#[test]
fn groups_have_rates_and_settings_of_their_own() {
    let device = Device::open().unwrap();
    let model = Linear::new(2, 2, &mut Init::new(&device, 0));
    let bias = model.bias.as_ref().unwrap();
    let mut sgd = Sgd::new(&model, 0.5)
        .weight_decay(0.1)
        .group("biases", 0.25, |slot| slot.name == "bias", |rule| rule.momentum = 0.9)
        .each(|slot| {
            if slot.group == 1 {
                slot.weight_decay = 0.0
            }
        });
    let names: Vec<String> = sgd.states().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["bias.momentum_buffer"]);
    let (w, b) = (numbers(&model.weight), numbers(bias));
    let x = Tensor::ones(&device, [1, 2]);
    sgd.step(&model.forward(&x).sum()).unwrap();
    close(&numbers(&model.weight), &w.iter().map(|w| w - 0.5 * (1.0 + 0.1 * w)).collect::<Vec<_>>(), 1e-6);
    close(&numbers(bias), &b.iter().map(|b| b - 0.25).collect::<Vec<_>>(), 1e-6);
    // a schedule drives each group from its own rate, and one number keeps their ratio
    StepLr::new(1, 0.1).apply(&mut sgd, 1);
    close(&sgd.slots().groups.iter().map(|g| g.lr).collect::<Vec<_>>(), &[0.05, 0.025], 1e-12);
    sgd.set_lr(1.0);
    close(&sgd.slots().groups.iter().map(|g| g.lr).collect::<Vec<_>>(), &[1.0, 0.5], 1e-12);
    // frozen parameters have no gradient and stay
    bias.set_trainable(false);
    let before = numbers(bias);
    sgd.step(&model.forward(&x).sum()).unwrap();
    assert_eq!(numbers(bias), before);
}

#[test]
fn joined_optimizers_are_each_alone() {
    let device = Device::open().unwrap();
    let (x, y) = data(&device);
    let run = |joined: bool| {
        let model = Linear::new(4, 2, &mut Init::new(&device, 0));
        let muon = Muon::new(&model, 0.02).only(|slot| slot.param.rank() == 2);
        let mut rest = AdamW::new(&model, 0.01).only(|slot| slot.param.rank() != 2);
        let loss = || mse_loss(&model.forward(&x), &y);
        if joined {
            let mut both = Joined::new(muon, rest);
            for _ in 0..3 {
                both.step(&loss()).unwrap();
            }
            both.set_lr(0.01);
            assert!((both.second().lr() - 0.005).abs() < 1e-12);
            assert_eq!(both.states().len(), 1 + 5);
        } else {
            let mut muon = muon;
            for _ in 0..3 {
                let gradients = loss().backward().unwrap();
                let updates = muon.update(&gradients).into_iter().chain(rest.update(&gradients)).collect();
                kiln::step(&[], updates, &[]).unwrap();
            }
            muon.set_lr(0.0);
            rest.set_lr(0.0);
        }
        numbers(&model.weight).into_iter().chain(numbers(model.bias.as_ref().unwrap())).collect::<Vec<_>>()
    };
    close(&run(true), &run(false), 1e-7);
    // a vector is no matrix
    let model = Linear::new(4, 2, &mut Init::new(&device, 0));
    let refused = Muon::new(&model, 0.02).step(&mse_loss(&model.forward(&x), &y));
    assert!(matches!(refused, Err(Error::Argument { .. })), "{refused:?}");
}

#[test]
fn four_small_batches_are_one_large() {
    let device = Device::open().unwrap();
    let (x, y) = data(&device);
    let run = |parts: i64, mixed: bool| {
        let model = Linear::new(4, 2, &mut Init::new(&device, 0));
        let sgd = Sgd::new(&model, 0.1).momentum(0.9);
        let mut plain = sgd;
        let mut half = mixed.then(|| Sgd::new(&model, 0.1).momentum(0.9).mixed_precision().init_scale(256.0));
        let mut sum = Accumulator::new(&plain);
        assert!(sum.mean().is_err());
        for _ in 0..3 {
            let rows = 16 / parts;
            for part in 0..parts {
                let at = |t: &Tensor| t.narrow(0, part * rows, rows as usize);
                let loss = mse_loss(&model.forward(&at(&x)), &at(&y));
                let gradients = half.as_ref().map_or_else(|| plain.backward(&loss), |o| o.backward(&loss));
                sum.add(&gradients.unwrap()).unwrap();
            }
            assert_eq!(sum.count(), parts as usize);
            let mut gradients = sum.mean().unwrap();
            clip_grad_norm(&mut gradients, 10.0);
            match &mut half {
                Some(half) => half.step(&gradients).unwrap(),
                None => plain.step(&gradients).unwrap(),
            }
        }
        numbers(&model.weight)
    };
    close(&run(4, false), &run(1, false), 1e-6);
    if device.caps().f16 {
        close(&run(4, true), &run(1, false), 2e-3);
    }
}

#[test]
fn averages_of_weights() {
    let device = Device::open().unwrap();
    let (x, y) = data(&device);
    let model = Linear::new(4, 2, &mut Init::new(&device, 0));
    let mut sgd = Sgd::new(&model, 0.1);
    let (swa, ema) = (AveragedModel::swa(&model), AveragedModel::ema(&model, 0.75));
    let mut seen: Vec<Vec<f64>> = Vec::new();
    for _ in 0..5 {
        sgd.step(&mse_loss(&model.forward(&x), &y)).unwrap();
        swa.update().unwrap();
        ema.update().unwrap();
        seen.push(numbers(&model.weight));
    }
    let at = |i: usize, f: &dyn Fn(&[f64]) -> f64| f(&seen.iter().map(|w| w[i]).collect::<Vec<_>>());
    let mean: Vec<f64> = (0..8).map(|i| at(i, &|w| w.iter().sum::<f64>() / 5.0)).collect();
    let moving: Vec<f64> = (0..8).map(|i| at(i, &|w| w[1..].iter().fold(w[0], |a, p| 0.75 * a + 0.25 * p))).collect();
    close(&numbers(&swa.state_dict()["module.weight"]), &mean, 1e-6);
    close(&numbers(&ema.state_dict()["module.weight"]), &moving, 1e-6);
    assert_eq!(swa.n_averaged().unwrap(), 5);

    let inside = ema.during(|| Ok(numbers(&model.weight))).unwrap();
    close(&inside, &moving, 1e-6);
    assert_eq!(numbers(&model.weight), seen[4], "the weights are back");
    // they are saved and taken up again
    let other = AveragedModel::ema(&model, 0.75);
    other.load_state_dict(&ema.state_dict()).unwrap();
    other.swap().unwrap();
    close(&numbers(&model.weight), &moving, 1e-6);
}

#[test]
fn batch_norm_is_made_anew() {
    let device = Device::open().unwrap();
    let norm = BatchNorm1d::new(4, &mut Init::new(&device, 0));
    let model = Sequential::new().push(norm);
    let (x, _) = data(&device);
    model.forward(&(&x * 100.0)).eval().unwrap();
    model.eval();
    let batches: Vec<Tensor> = (0..4).map(|i| x.narrow(0, 4 * i, 4)).collect();
    update_bn(&model, &batches, |batch| model.forward(batch)).unwrap();
    let states = model.state_dict();
    // the mean of the batches' means and unbiased variances
    let of = |f: fn(&Tensor) -> Tensor| {
        let all: Vec<Vec<f64>> = batches.iter().map(|b| numbers(&f(b))).collect();
        (0..4).map(|i| all.iter().map(|v| v[i]).sum::<f64>() / 4.0).collect::<Vec<f64>>()
    };
    close(&numbers(&states["0.running_mean"]), &of(|b| b.mean_axes([0i64], false)), 1e-5);
    close(&numbers(&states["0.running_var"]), &of(|b| b.var([0i64], 1, false)), 1e-5);
    assert_eq!(states["0.num_batches_tracked"].item_as::<i32>().unwrap(), 4);
    let before = numbers(&states["0.running_mean"]);
    model.forward(&x).eval().unwrap();
    assert_eq!(numbers(&model.state_dict()["0.running_mean"]), before, "in evaluation mode still");
}

#[test]
fn noise_falls_and_can_be_taken_up_again() {
    let device = Device::open().unwrap();
    let model = Linear::new(100, 100, &mut Init::new(&device, 0));
    let gradients = || (model.weight.sum() * 0.0).backward().unwrap();
    let mut noise = GradientNoise::new(&device, 7, 0.3);
    let deviation = |g: &Gradients| numbers(&g.get(&model.weight).unwrap().std([0i64; 0], 1, false))[0];
    let mut second = Vec::new();
    for step in 0..3 {
        let mut g = gradients();
        let want = (0.3 / (1.0 + f64::from(step)).powf(0.55)).sqrt();
        assert!((noise.deviation() - want).abs() < 1e-12);
        noise.add(&mut g);
        assert!((deviation(&g) / want - 1.0).abs() < 0.03);
        if step == 1 {
            second = numbers(&g.get(&model.weight).unwrap());
        }
    }
    let mut again = GradientNoise::new(&device, 7, 0.3);
    again.set_step(1);
    let mut g = gradients();
    again.add(&mut g);
    assert_eq!(numbers(&g.get(&model.weight).unwrap()), second);
}

#[test]
fn averages_are_saved_with_the_training() {
    let device = Device::open().unwrap();
    let (x, y) = data(&device);
    let parts = |seed: u64| {
        let model = Linear::new(4, 2, &mut Init::new(&device, seed));
        let (adam, average) = (Adam::new(&model, 0.05), AveragedModel::ema(&model, 0.9));
        (model, adam, average)
    };
    let train = |(model, adam, average): &mut (Linear, Adam, AveragedModel), steps: usize| {
        for _ in 0..steps {
            adam.step(&mse_loss(&model.forward(&x), &y)).unwrap();
            average.update().unwrap();
        }
    };
    let path = std::env::temp_dir().join(format!("kiln-averages-{}.safetensors", std::process::id()));
    let mut whole = parts(1);
    train(&mut whole, 5);
    let (model, adam, average) = &whole;
    let state = store::TrainingState::new(model, adam).with("average", average);
    state.save(&store::Metadata::new(), &path).unwrap();
    train(&mut whole, 4);

    let mut again = parts(2);
    let (model, adam, average) = &again;
    // a file with averages is not one of model and optimizer alone
    assert!(matches!(store::load_training(model, adam, &device, &path), Err(Error::State(_))));
    let state = store::TrainingState::new(model, adam).with("average", average);
    state.load(&device, &path).unwrap();
    assert_eq!(average.n_averaged().unwrap(), 5);
    std::fs::remove_file(path).unwrap();
    train(&mut again, 4);
    let all = |(model, _, average): &(Linear, Adam, AveragedModel)| {
        let dict = model.state_dict().into_iter().chain(average.state_dict());
        dict.map(|(name, value)| (name, value.to_vec::<f32>().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(all(&whole), all(&again));
}
