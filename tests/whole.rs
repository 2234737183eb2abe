//! Products of integer matrices are exact, and wrap at 32 bits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::prelude::*;

/// Integers of all sizes from a linear congruential generator.
fn integers(count: usize, seed: u64) -> Vec<i32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as i32 >> (state % 32)
    };
    (0..count).map(|_| next()).collect()
}

/// The definition, modulo 2³².
fn product(a: &[i32], b: &[i32], [m, k, n]: [usize; 3]) -> Vec<i32> {
    let element =
        |i: usize| (0..k).fold(0i32, |sum, at| sum.wrapping_add(a[i / n * k + at].wrapping_mul(b[at * n + i % n])));
    (0..m * n).map(element).collect()
}

#[test]
fn products_of_integers_are_exact() {
    let device = Device::open().unwrap();
    for size @ [m, k, n] in [[1, 1, 1], [3, 17, 5], [1, 1000, 1], [33, 65, 129], [2, 0, 3], [0, 4, 3], [4, 3, 0]] {
        let (a, b) = (integers(m * k, 1), integers(k * n, 2));
        let (x, y) = (Tensor::from_vec(&device, a.clone(), &[m, k]), Tensor::from_vec(&device, b.clone(), &[k, n]));
        assert_eq!(x.matmul(&y).to_vec::<i32>().unwrap(), product(&a, &b, size), "{size:?}");
        // the same through transposed views
        assert_eq!(y.t().matmul(&x.t()).t().to_vec::<i32>().unwrap(), product(&a, &b, size), "{size:?}");
    }
}

#[test]
fn batches_of_integers_broadcast() {
    let device = Device::open().unwrap();
    let (a, b) = (integers(2 * 3 * 4, 3), integers(5 * 4 * 2, 4));
    let x = Tensor::from_vec(&device, a.clone(), &[2, 1, 3, 4]);
    let y = Tensor::from_vec(&device, b.clone(), &[5, 4, 2]);
    let got = x.matmul(&y);
    assert_eq!(got.shape().unwrap()[..], [2, 5, 3, 2]);
    let want: Vec<i32> =
        a.chunks(12).flat_map(|a| b.chunks(8).flat_map(|b| product(a, b, [3, 4, 2])).collect::<Vec<_>>()).collect();
    assert_eq!(got.to_vec::<i32>().unwrap(), want);
    let large = Tensor::new(&device, [3_000_000_001u32, 2]);
    assert_eq!(large.dot(&Tensor::new(&device, [1u32, 7])).to_vec::<u32>().unwrap(), [3_000_000_015]);
    let yes = Tensor::new(&device, [true, true]);
    assert_eq!(yes.dot(&yes).to_vec::<i32>().unwrap(), [2]);
}
