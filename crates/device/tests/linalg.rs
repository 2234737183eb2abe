//! Factors and triangular equations of small matrices against f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::kernels::linalg::{self, MAX_ROWS, Square, Triangular};
use kiln_device::{Device, Launch};
use support::{close, device, empty, floats, normal, upload};

/// One, odd, one under, at and over the workgroup, and the most.
const SIZES: [[usize; 2]; 7] = [[1, 1], [5, 2], [3, 3], [70, 7], [2, 127], [2, 129], [1, MAX_ROWS as usize]];

fn run(device: &Device, launch: &Launch, inputs: &[(&'static str, &[f32])], size: usize) -> Vec<f32> {
    let out = empty(device, size);
    let buffers: Vec<_> = inputs.iter().map(|(name, x)| (*name, upload(device, x))).collect();
    let mut bound: Vec<_> = buffers.iter().map(|(name, buffer)| (*name, buffer)).collect();
    bound.push(("out", &out));
    support::run(device, launch, &bound).unwrap();
    floats(device, &out)
}

fn square(matrices: usize, n: usize) -> Square {
    Square { matrices: matrices as u32, n: n as u32 }
}

/// A · B of `n` rows and columns.
fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let at = |i: usize| (0..n).map(|k| a[i / n * n + k] * b[k * n + i % n]).sum();
    (0..n * n).map(at).collect()
}

#[test]
fn lu_multiplies_to_its_matrix() {
    let device = device();
    for [matrices, n] in SIZES {
        let x = normal(matrices * n * n, 3);
        let got = run(&device, &linalg::lu(&square(matrices, n)), &[("x", &x)], matrices * (n + 2) * n);
        for (x, got) in x.chunks(n * n).zip(got.chunks((n + 2) * n)) {
            let part = |lower: bool| -> Vec<f64> {
                let at = |i: usize| match (i / n, i % n) {
                    (row, col) if row == col && lower => 1.0,
                    (row, col) if (row > col) == lower && (row != col || !lower) => f64::from(got[i]),
                    _ => 0.0,
                };
                (0..n * n).map(at).collect()
            };
            let rows: Vec<usize> = got[n * n..][..n].iter().map(|&row| row as usize).collect();
            let (lower, upper) = (part(true), part(false));
            assert!(lower.iter().all(|l| l.abs() <= 1.0), "the largest of a column is its pivot");
            let permuted: Vec<f32> = rows.iter().flat_map(|row| x[row * n..][..n].to_vec()).collect();
            let permuted: Vec<f64> = permuted.iter().map(|&v| v.into()).collect();
            let product: Vec<f32> = product(&lower, &upper, n).iter().map(|&v| v as f32).collect();
            // n roundings of terms that pivoting keeps near those of x
            close(&format!("[{matrices}, {n}]"), &product, &permuted, 1e-6 * (n as f64).sqrt().max(4.0));
            let turns = (0..n).flat_map(|i| rows[i + 1..].iter().map(move |later| (i, *later)));
            let odd = turns.filter(|(i, later)| rows[*i] > *later).count() % 2 == 1;
            assert_eq!(got[(n + 1) * n], if odd { -1.0 } else { 1.0 });
        }
    }
    // a column of zeros, and one of NaN
    let got = run(&device, &linalg::lu(&square(1, 2)), &[("x", &[0.0, 1.0, 0.0, 2.0])], 8);
    assert_eq!(got[..6], [0.0, 1.0, 0.0, 2.0, 0.0, 1.0]);
    let got = run(&device, &linalg::lu(&square(1, 2)), &[("x", &[0.0, 1.0, f32::NAN, 2.0])], 8);
    assert!(got[0].is_nan() && got[3].is_nan(), "{got:?}");
}

#[test]
fn cholesky_is_the_root() {
    let device = device();
    for [matrices, n] in SIZES {
        let x: Vec<f32> = normal(matrices * n * n, 5)
            .chunks(n * n)
            .flat_map(|m| {
                let m: Vec<f64> = m.iter().map(|&v| v.into()).collect();
                let turned: Vec<f64> = (0..n * n).map(|i| m[i % n * n + i / n]).collect();
                let own = |i: usize| if i.is_multiple_of(n + 1) { n as f64 } else { 0.0 };
                product(&m, &turned, n).iter().enumerate().map(|(i, v)| (v + own(i)) as f32).collect::<Vec<_>>()
            })
            .collect();
        let want: Vec<f64> = x
            .chunks(n * n)
            .flat_map(|x| {
                let mut root = vec![0.0f64; n * n];
                for (row, col) in (0..n).flat_map(|row| (0..=row).map(move |col| (row, col))) {
                    let sum: f64 = (0..col).map(|k| root[row * n + k] * root[col * n + k]).sum();
                    let rest = f64::from(x[row * n + col]) - sum;
                    root[row * n + col] = if row == col { rest.sqrt() } else { rest / root[col * n + col] };
                }
                root
            })
            .collect();
        // what stands above the diagonal is not looked at
        let torn: Vec<f32> = x.iter().enumerate().map(|(i, &v)| if i / n % n < i % n { f32::NAN } else { v }).collect();
        let got = run(&device, &linalg::cholesky(&square(matrices, n)), &[("x", &torn)], x.len());
        // the condition of x is below 6
        close(&format!("[{matrices}, {n}]"), &got, &want, 1e-5);
    }
    let got = run(&device, &linalg::cholesky(&square(1, 2)), &[("x", &[1.0, 2.0, 2.0, 1.0])], 4);
    assert!(got[0] == 1.0 && got[1] == 0.0 && got[2] == 2.0 && got[3].is_nan(), "{got:?}");
}

#[test]
fn triangular_equations_are_solved() {
    let device = device();
    for ([matrices, n], columns) in SIZES.into_iter().zip([1, 3, 70, 2, 1, 5, 3]) {
        for (upper, unit) in [(false, false), (false, true), (true, false), (true, true)] {
            let inside = |row: usize, col: usize| if upper { col > row } else { col < row };
            let entry = |(i, v): (usize, f32)| match (i / n % n, i % n) {
                (row, col) if row == col => {
                    if unit {
                        f32::NAN
                    } else {
                        2.0 + v.abs()
                    }
                }
                (row, col) if inside(row, col) => v / n as f32,
                _ => f32::NAN, // not looked at
            };
            let a: Vec<f32> = normal(matrices * n * n, 8).into_iter().enumerate().map(entry).collect();
            let b = normal(matrices * n * columns, 9);
            let mut want = vec![0.0f64; b.len()];
            for (matrix, col) in (0..matrices).flat_map(|matrix| (0..columns).map(move |col| (matrix, col))) {
                let at = |row: usize| (matrix * n + row) * columns + col;
                for step in 0..n {
                    let row = if upper { n - 1 - step } else { step };
                    let a = |col: usize| f64::from(a[(matrix * n + row) * n + col]);
                    let known: f64 = (0..n).filter(|&c| inside(row, c)).map(|c| a(c) * want[at(c)]).sum();
                    want[at(row)] = (f64::from(b[at(row)]) - known) / if unit { 1.0 } else { a(row) };
                }
            }
            let p = Triangular { of: square(matrices, n), columns: columns as u32, upper, unit };
            let got = run(&device, &linalg::triangular(&p), &[("a", &a), ("b", &b)], b.len());
            close(&format!("{p:?}"), &got, &want, 2e-6);
        }
    }
}
