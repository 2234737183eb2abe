#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
use kiln::prelude::*;
use kiln::data::digits;
#[test]
fn plans() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 1);
    for (name, model) in [
        ("two", Sequential::new().push(Linear::new(64, 32, &mut init)).push(Relu).push(Linear::new(32, 10, &mut init))),
        ("three", Sequential::new().push(Linear::new(64, 128, &mut init)).push(Relu).push(Linear::new(128, 64, &mut init)).push(Relu).push(Linear::new(64, 10, &mut init))),
    ] {
    let mut adam = Adam::new(&model, 1e-3);
    let set = digits::load(&device).unwrap();
    let t = std::time::Instant::now();
    let mut n = 0;
    for (x, y) in set.batches(64, 0).drop_last() {
        let logits = model.forward(&x);
        let loss = cross_entropy(&logits, &y);
        let hits = accuracy(&logits, &y);
        adam.step_with(&loss, &[]).unwrap();
        let _ = hits;
        n += 1;
        if n == 1 { println!("first {:?}", t.elapsed()); }
    }
    device.wait().unwrap();
    println!("{name}: {n} steps {:?}", t.elapsed());
    device.profile(true);
    for (x, y) in set.batches(64, 0).take(1) { adam.step(&cross_entropy(&model.forward(&x), &y)).unwrap(); }
    device.wait().unwrap();
    for e in device.take_profile().events { println!("  {:?} {} {} {:.1}", e.groups, e.kernel, e.label, e.duration); }
    device.profile(false);
    for p in device.plans() { println!("{p:?}"); }
    device.clear_plans();
    }
}
