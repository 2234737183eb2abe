#![allow(clippy::unwrap_used, missing_docs)]
use kiln::prelude::*;
fn dev() -> Device {
    Device::open().unwrap()
}
#[test]
fn elementwise() {
    let d = dev();
    let x = Tensor::new(&d, [[1.0, 2.0], [3.0, 4.0]]);
    assert_eq!((&x * 2.0 + 1.0).to_vec::<f32>().unwrap(), [3.0, 5.0, 7.0, 9.0]);
    assert_eq!(x.sum().item().unwrap(), 10.0);
    assert_eq!(x.t().to_vec::<f32>().unwrap(), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(x.matmul(&x).relu().to_vec::<f32>().unwrap(), [7.0, 10.0, 15.0, 22.0]);
    let b = Tensor::new(&d, [10.0, 20.0]);
    assert_eq!((x.matmul(&x) + &b).to_vec::<f32>().unwrap(), [17.0, 30.0, 25.0, 42.0]);
    assert_eq!(Tensor::cat(&[&x, &x], 1).to_vec::<f32>().unwrap(), [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
    let s = x.softmax(-1).to_vec::<f32>().unwrap();
    assert!((s[0] + s[1] - 1.0).abs() < 1e-6);
}
#[test]
fn gradient() {
    let d = dev();
    let x = Tensor::new(&d, [1.0, 2.0, 3.0]);
    let g = (&x * &x).sum().backward().unwrap().get(&x).unwrap();
    assert_eq!(g.to_vec::<f32>().unwrap(), [2.0, 4.0, 6.0]);
    let i = Tensor::new(&d, [2, 0, 2, 1]);
    let e = x.reshape([3, 1]).embedding(&i);
    assert_eq!(e.to_vec::<f32>().unwrap(), [3.0, 1.0, 3.0, 2.0]);
    let g = e.sum().grad(&[&x]).unwrap();
    assert_eq!(g[0].to_vec::<f32>().unwrap(), [1.0, 1.0, 2.0]);
    let bad = Tensor::new(&d, [2, 5]);
    println!("{}", x.index_select(0, &bad).to_vec::<f32>().unwrap_err());
}
#[test]
fn trains() {
    let d = dev();
    let group = kiln::CellGroup::new(&d);
    let rng = Rng::new(&d, 1);
    let w1 = group.param(&(rng.normal([20, 64]) * 0.3));
    let b1 = group.param(&Tensor::zeros(&d, [64]));
    let w2 = group.param(&(rng.normal([64, 5]) * 0.2));
    let mut first = 0.0;
    let mut last = 0.0;
    let mut losses = vec![];
    for i in 0..50 {
        let x = rng.normal([32, 20]);
        x.eval().unwrap();
        let y = x.narrow(1, 0, 5).relu();
        let h = (x.matmul(&w1) + &b1).gelu();
        let p = h.matmul(&w2);
        let loss = (p - y).square().mean();
        let g = loss.backward().unwrap();
        let c0 = d.counters();
        let up = [&w1, &b1, &w2].map(|p| ((**p).clone(), &**p - g.get(p).unwrap() * 0.1));
        kiln::step(&[&loss], up.to_vec(), &[]).unwrap();
        let c1 = d.counters();
        if i == 0 {
            first = loss.item().unwrap();
        }
        if i > 45 {
            println!(
                "dispatches {} pipelines {} groups {} buffers {}",
                c1.dispatches - c0.dispatches,
                c1.pipelines - c0.pipelines,
                c1.bind_groups - c0.bind_groups,
                c1.buffers - c0.buffers
            );
        }
        last = loss.item().unwrap();
        losses.push(loss);
    }
    println!("{first} {last}");
    for p in d.plans() {
        println!("{p:?}");
    }
    assert!(last < 0.6 * first);
}
