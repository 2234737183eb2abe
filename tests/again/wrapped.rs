//! Steps of optimizers that are made of others, and of the trainer.

use super::support::net::bits;
use super::{By, Net, batch, differentiated, same};
use kiln::optim::{Clipped, Joined, Muon, Slots, Updates};
use kiln::prelude::*;

/// A story in which the settings of any optimizer change, and so do the batches, the numbers of the loss and what is held.
fn long_story<O: Optimizer>(
    device: &Device,
    by: By,
    make: impl FnOnce(&Net) -> O,
) -> (Vec<u32>, Vec<(String, Vec<u32>)>) {
    let model = Net::new(device);
    let mut optimizer = make(&model);
    let (mut seen, mut held) = (Vec::new(), Vec::new());
    for i in 0..36 {
        match i {
            10..16 => optimizer.set_lr(1e-2 / i as f64),
            18 => optimizer.slots_mut().all[1].weight_decay = 0.1,
            22 => optimizer.set_momentum(0.5),
            24 => model.eval(),
            26 => model.train(),
            28 => model.top.first.weight.set_trainable(false),
            32 => model.top.first.weight.set_trainable(true),
            _ => {}
        }
        let (x, y) = batch(device, if i % 3 == 0 { 5 } else { 8 }, i);
        let logits = model.forward(&x);
        let loss = cross_entropy(&logits, &y) * (1.0 + (i % 4) as f32);
        let right = logits.argmax(-1, false).eq(&y).sum();
        if i % 5 == 0 {
            held.push(logits);
        }
        by.step(&mut optimizer, &loss, &[&right]).unwrap();
        seen.extend([loss.item().unwrap().to_bits(), right.item().unwrap() as u32]);
    }
    for logits in held {
        seen.extend(logits.to_vec::<f32>().unwrap().iter().map(|v| v.to_bits()));
    }
    (seen, bits(&model, &optimizer))
}

#[test]
fn clipped_steps_do_the_same_and_make_no_gradients() {
    let clips = |norm: f64, value: f64| {
        same(move |device, by| {
            long_story(device, by, |model| Clipped::new(AdamW::new(model, 1e-2)).norm(norm).value(value))
        })
    };
    for (norm, value) in [(0.1, 1e9), (1e9, 1e-3), (0.5, 0.05)] {
        let made = clips(norm, value);
        assert!((2..24).contains(&made), "{made} of 36");
    }
}

#[test]
fn steps_in_mixed_precision_do_the_same_and_make_no_gradients() {
    if !Device::open().unwrap().caps().f16 {
        return;
    }
    let made = same(|device, by| {
        long_story(device, by, |model| AdamW::new(model, 1e-2).mixed_precision().init_scale(64.0).growth_interval(3))
    });
    assert!((2..24).contains(&made), "{made} of 36");
    let made = same(|device, by| {
        long_story(device, by, |model| Clipped::new(AdamW::new(model, 1e-2).mixed_precision()).norm(0.3))
    });
    assert!((2..24).contains(&made), "{made} of 36");
}

/// What the program holds of the old graph stands for a cast of the new one, whether anybody reads it or not.
#[test]
fn outputs_that_are_held_in_mixed_precision_are_no_hindrance() {
    if !Device::open().unwrap().caps().f16 {
        return;
    }
    let made = same(|device, by| {
        let model = Net::new(device);
        let mut adam = AdamW::new(&model, 1e-2).mixed_precision().init_scale(64.0);
        let mut seen = Vec::new();
        for i in 0..24 {
            let (x, y) = batch(device, 8, i);
            // the temporary lives until the step is done
            by.step(&mut adam, &cross_entropy(&model.forward(&x), &y), &[]).unwrap();
            let (hidden, twice) = (model.hidden(&x), i % 2 == 0);
            let logits = model.top.last.forward(&hidden);
            let loss = if twice { logits.square().mean() } else { cross_entropy(&logits, &y) };
            by.step(&mut adam, &loss, &[]).unwrap();
            assert_eq!(logits.dtype(), DType::F32);
            if i % 3 > 0 {
                let both = &logits * 2.0 + hidden.sum();
                seen.extend(both.to_vec::<f32>().unwrap().iter().map(|v| v.to_bits()));
            }
        }
        (seen, bits(&model, &adam))
    });
    assert_eq!(made, 6, "each of three structures is made twice");
}

#[test]
fn joined_optimizers_do_the_same_and_make_no_gradients() {
    let made = same(|device, by| {
        long_story(device, by, |model| {
            let matrix = |slot: &kiln::optim::Slot| slot.param.rank() == 2;
            let muon = Muon::new(model, 1e-2).only(matrix);
            Clipped::new(Joined::new(muon, AdamW::new(model, 1e-3).only(|slot| !matrix(slot)))).norm(0.5)
        })
    });
    assert!((2..24).contains(&made), "{made} of 36");
}

/// An overflow of f16 in a step taken again is skipped like any other, and the scale goes down.
#[test]
fn overflows_are_skipped() {
    if !Device::open().unwrap().caps().f16 {
        return;
    }
    let made = same(|device, by| {
        let model = Net::new(device);
        let mut sgd = Sgd::new(&model, 1e-2).mixed_precision().init_scale(1024.0).growth_interval(4);
        let mut seen = Vec::new();
        for i in 0..20 {
            let (x, y) = batch(device, 8, i);
            let factor = if i == 9 || i == 13 { 1e6 } else { 1.0 };
            let loss = cross_entropy(&model.forward(&x), &y) * factor;
            by.step(&mut sgd, &loss, &[]).unwrap();
            seen.push((loss.item().unwrap().to_bits(), sgd.scale().unwrap() as u32, sgd.skipped_steps().unwrap()));
        }
        assert_eq!(seen[19].2, 2);
        sgd = sgd.growth_factor(4.0).backoff_factor(0.25);
        for i in 0..9 {
            let (x, y) = batch(device, 8, i);
            by.step(&mut sgd, &(cross_entropy(&model.forward(&x), &y) * 1.0), &[]).unwrap();
            seen.push((0, sgd.scale().unwrap() as u32, sgd.skipped_steps().unwrap()));
        }
        (seen, bits(&model, &sgd))
    });
    assert!((2..8).contains(&made), "{made} of 29");
}

#[test]
fn bad_clipped_steps_change_nothing() {
    let device = Device::open().unwrap();
    let model = Net::new(&device);
    let mut adam = Clipped::new(Adam::new(&model, 1e-2)).norm(0.5);
    let mut train = |label: i32, scale: f32| -> Result<()> {
        let (x, y) = (Tensor::new(&device, [0, 1, 2, 6]), Tensor::new(&device, [0, 1, 2, label]));
        let loss = cross_entropy(&(model.forward(&x) * scale), &y);
        adam.step(&loss)?;
        loss.item().map(|_| ())
    };
    (0..6).for_each(|i| train(i % 4, 1.0).unwrap());
    let all =
        || model.state_dict().into_values().map(|t| t.cast(DType::F32).to_vec::<f32>().unwrap()).collect::<Vec<_>>();
    for _ in 0..2 {
        let before = all();
        let error = train(3, f32::NAN).unwrap_err();
        assert!(matches!(error, Error::NotFinite { op: "mul", .. }), "{error}");
        let error = train(9, 1.0).unwrap_err();
        assert!(matches!(error, Error::Index { row: 3, .. }), "{error}");
        assert_eq!(all(), before);
        train(3, 1.0).unwrap();
        assert_ne!(all(), before);
    }
}

/// An optimizer whose steps are always made in full.
struct InFull<O>(O);

impl<O: Optimizer> Optimizer for InFull<O> {
    fn slots(&self) -> &Slots {
        self.0.slots()
    }
    fn slots_mut(&mut self) -> &mut Slots {
        self.0.slots_mut()
    }
    fn backward(&self, loss: &Tensor) -> Result<Gradients> {
        self.0.backward(loss)
    }
    fn update(&self, gradients: &Gradients) -> Updates {
        self.0.update(gradients)
    }
    fn states(&self) -> Vec<(String, State)> {
        self.0.states()
    }
}

/// The trainer's steps: clipped, with a schedule, in mixed precision or not.
#[test]
fn the_trainer_takes_steps_again() {
    fn fit<O: Optimizer>(make: impl FnOnce(AdamW) -> O) -> (Vec<(String, Vec<u32>)>, u64) {
        let device = Device::open().unwrap();
        device.profile_host(true);
        let model = Net::new(&device);
        let (x, y) = ((0..40).map(|i| i * 31 % 7).collect::<Vec<i32>>(), (0..40).map(|i| i % 4).collect::<Vec<i32>>());
        let data = TensorDataset::new(&device, (x, []), (y, [])).unwrap();
        let mut optimizer = make(AdamW::new(&model, 1e-2));
        let trainer = Trainer::new(6).batch(8).progress(false).clip_norm(0.5).scheduler(schedule::StepLr::new(7, 0.9));
        trainer
            .fit(&model, &mut optimizer, &data, None, |(x, y)| Outcome::classification(&model.forward(x), y))
            .unwrap();
        (bits(&model, &optimizer), differentiated(&device))
    }
    let ((want, all), (got, few)) = (fit(InFull), fit(|adam| adam));
    assert_eq!(got, want);
    assert!(all == 30 && few < 8, "{few} of {all}");
    if Device::open().unwrap().caps().f16 {
        let (want, all) = fit(|adam| InFull(adam.mixed_precision()));
        let (got, few) = fit(AdamW::mixed_precision);
        assert_eq!(got, want, "in mixed precision");
        assert!(all == 30 && few < 8, "{few} of {all}");
    }
}
