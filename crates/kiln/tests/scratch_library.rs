#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
use kiln::prelude::*;
use kiln::data::digits;
fn cnn(init: &mut Init) -> Sequential {
    Sequential::new()
        .push(Conv2d::new(1, 32, 3, init).padding(1))
        .push(BatchNorm2d::new(32, init))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Conv2d::new(32, 64, 3, init).padding(1))
        .push(BatchNorm2d::new(64, init))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Flatten::default())
        .push(Dropout::new(0.25, init))
        .push(Linear::new(256, 10, init))
}
fn mlp(init: &mut Init) -> Sequential {
    Sequential::new().push(Linear::new(64, 128, init)).push(Relu).push(Dropout::new(0.2, init)).push(Linear::new(128, 64, init)).push(Relu).push(Linear::new(64, 10, init))
}
#[test]
fn export() {
    let device = Device::open().unwrap();
    let model = cnn(&mut Init::new(&device, 3));
    let (train, test) = digits::split(&device).unwrap();
    let (train, test) = (train.reshaped(&[1, 8, 8]).unwrap(), test.reshaped(&[1, 8, 8]).unwrap());
    let mut adam = AdamW::new(&model, 3e-3);
    for (x, y) in train.batches(64, 0) { adam.step(&cross_entropy(&model.forward(&x), &y)).unwrap(); }
    model.eval();
    store::save(&model, "/tmp/m/cnn.safetensors").unwrap();
    let (x, y) = test.all();
    let out = [("x".to_string(), x.clone()), ("y".to_string(), y), ("logits".to_string(), model.forward(&x))].into();
    store::save_tensors(&out, &Default::default(), "/tmp/m/out.safetensors").unwrap();
}
#[test]
fn steady() {
    let device = Device::open().unwrap();
    let set = digits::load(&device).unwrap();
    for (name, model, set) in [
        ("mlp", mlp(&mut Init::new(&device, 1)), set.clone()), ("cnn", cnn(&mut Init::new(&device, 1)), set.reshaped(&[1, 8, 8]).unwrap())] {
        let mut adam = Adam::new(&model, 1e-3);
        let mut losses = Vec::new();
        let mut before = None;
        let mut t = std::time::Instant::now();
        let mut n = 0;
        for epoch in 0..6 {
            for (x, y) in set.batches(64, epoch) {
                let logits = model.forward(&x);
                let loss = cross_entropy(&logits, &y);
                let hits = accuracy(&logits, &y);
                adam.set_lr(1e-3 / (1.0 + epoch as f64));
                adam.step_with(&loss, &[&hits]).unwrap();
                losses.push((loss, hits)); n += 1;
            }
            if epoch == 1 { device.wait().unwrap(); before = Some(device.counters()); t = std::time::Instant::now(); n = 0; }
        }
        device.wait().unwrap();
        println!("{name} {:?} per step\n{:?}\n{:?}", t.elapsed() / n, before.unwrap(), device.counters());
        device.profile(true);
        for (x, y) in set.batches(64, 0).take(1) { let l = model.forward(&x); adam.step_with(&cross_entropy(&l, &y), &[&accuracy(&l, &y)]).unwrap(); }
        device.wait().unwrap();
        for e in device.take_profile().events { println!("  {:?} {} {:.1}", e.groups, e.label, e.duration); }
        device.profile(false);
    }
}
