//! Draws from distributions: what may come, how often, and the same again for the same seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::prelude::*;

fn device() -> Device {
    Device::open().unwrap()
}

/// How often each of `count` numbers was drawn, as a share.
fn shares(drawn: &[i32], count: usize) -> Vec<f64> {
    let mut found = vec![0.0; count];
    drawn.iter().for_each(|&i| found[i as usize] += 1.0 / drawn.len() as f64);
    found
}

#[test]
fn integers_fill_their_range_evenly() {
    let rng = Rng::new(&device(), 3);
    let drawn = rng.integers(-2..5, [100, 300]).to_vec::<i32>().unwrap();
    let shifted: Vec<i32> = drawn.iter().map(|v| v + 2).collect();
    for share in shares(&shifted, 7) {
        assert!((share - 1.0 / 7.0).abs() < 0.01, "{share}"); // five standard deviations
    }
    let wide = rng.integers(i32::MIN..i32::MAX, [1000]).to_vec::<i32>().unwrap();
    assert!(wide.iter().any(|&v| v < -(1 << 30)) && wide.iter().any(|&v| v > 1 << 30));
    assert_eq!(rng.integers(7..8, [3]).to_vec::<i32>().unwrap(), [7, 7, 7]);
    assert!(rng.integers(0..9, [0]).to_vec::<i32>().unwrap().is_empty());
    let error = rng.integers(4..4, [3]).to_vec::<i32>().unwrap_err().to_string();
    assert!(error.contains("integers") && error.contains("4..4") && error.contains("draw.rs"), "{error}");
}

#[test]
fn a_permutation_has_each_number_once() {
    let rng = Rng::new(&device(), 3);
    let (first, second) = (rng.permutation(1000), rng.permutation(1000));
    let (first, second) = (first.to_vec::<i32>().unwrap(), second.to_vec::<i32>().unwrap());
    assert_ne!(first, second);
    for mut drawn in [first, second] {
        assert!(drawn.iter().enumerate().filter(|&(i, &v)| i as i32 == v).count() < 10);
        drawn.sort_unstable();
        assert_eq!(drawn, (0..1000).collect::<Vec<i32>>());
    }
    assert!(rng.permutation(0).to_vec::<i32>().unwrap().is_empty());
}

#[test]
fn exponential_and_gumbel_have_their_moments() {
    let rng = Rng::new(&device(), 5);
    let n = 200_000;
    let moments = |x: Tensor| {
        let x = x.to_vec::<f32>().unwrap();
        assert!(x.iter().all(|v| v.is_finite()));
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
        (mean, x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / x.len() as f64)
    };
    let (mean, variance) = moments(rng.exponential(2.0, [n]));
    assert!((mean - 0.5).abs() < 0.006 && (variance - 0.25).abs() < 0.015, "{mean} {variance}");
    let (mean, variance) = moments(rng.gumbel([n]));
    assert!((mean - 0.577_216).abs() < 0.015 && (variance - 1.644_934).abs() < 0.05, "{mean} {variance}");
    assert!(rng.exponential(0.0, [3]).to_vec::<f32>().unwrap_err().to_string().contains("rate"));
}

#[test]
fn multinomial_draws_by_weight() {
    let device = device();
    let rng = Rng::new(&device, 7);
    let weights = Tensor::new(&device, [[0.0, 1.0, 3.0, 0.0, 4.0, 0.0], [5.0, 0.0, 0.0, 0.0, 0.0, 0.0]]);
    let drawn = rng.multinomial(&weights, 20_000, true);
    assert_eq!(drawn.shape().unwrap(), Shape::new(&[2, 20_000]).unwrap());
    let drawn = drawn.to_vec::<i32>().unwrap();
    for (share, want) in shares(&drawn[..20_000], 6).iter().zip([0.0, 0.125, 0.375, 0.0, 0.5, 0.0]) {
        assert!((share - want).abs() < 0.017 && (want > 0.0 || *share == 0.0), "{share}, not {want}");
    }
    assert!(drawn[20_000..].iter().all(|&i| i == 0));
    // without replacement: the first of two draws has the same shares, the second is another column
    let rows = Tensor::new(&device, [1.0, 0.0, 3.0]).expand([20_000, 3]);
    let pairs = rng.multinomial(&rows, 2, false).to_vec::<i32>().unwrap();
    assert!(pairs.chunks(2).all(|p| p[0] + p[1] == 2 && p[0] != 1));
    let first: Vec<i32> = pairs.chunks(2).map(|p| p[0]).collect();
    assert!((shares(&first, 3)[2] - 0.75).abs() < 0.016);
    // a seed gives the same again, and the gradient does not flow
    let again = |seed| Rng::new(&device, seed).multinomial(&weights, 9, true).to_vec::<i32>().unwrap();
    assert_eq!(again(1), again(1));
}

#[test]
fn multinomial_says_what_does_not_fit() {
    let device = device();
    let rng = Rng::new(&device, 7);
    let fails = |t: Tensor, word: &str| {
        let error = t.to_vec::<i32>().unwrap_err().to_string();
        assert!(error.contains("multinomial") && error.contains(word) && error.contains("draw.rs"), "{error}");
    };
    fails(rng.multinomial(&Tensor::ones(&device, [2, 2, 2]), 1, true), "[columns]");
    fails(rng.multinomial(&Tensor::ones(&device, [2, 0]), 1, true), "[columns]");
    fails(rng.multinomial(&Tensor::new(&device, [1i32, 2]), 1, true), "floats");
    fails(rng.multinomial(&Tensor::ones(&device, [3]), 4, false), "without replacement");
}

#[test]
fn normalize_divides_by_the_norm() {
    let device = device();
    let x = Tensor::new(&device, [[3.0, -4.0], [0.0, 0.0]]);
    assert_eq!(x.normalize(2.0, 1).to_vec::<f32>().unwrap(), [0.6, -0.8, 0.0, 0.0]);
    let grad = x.normalize(2.0, -1).narrow(1, 0, 1).sum().grad(&[&x]).unwrap()[0].to_vec::<f32>().unwrap();
    // PyTorch 2.15: tensor([[0.1280, 0.0960], [1e12, 0]])
    for (got, want) in grad.iter().zip([0.128, 0.096, 1e12, 0.0]) {
        assert!((got - want).abs() <= 1e-5 * (1.0 + want.abs()), "{got}, not {want}");
    }
}
