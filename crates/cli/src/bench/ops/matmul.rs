//! Matrix products: square, thin, transposed, batched. `auto` is the product as a tensor operation; a named variant is
//! its kernel alone.

use kiln::gpu::Caps;
use kiln::gpu::kernels::matmul::{self, Elem, Problem, Strides};
use kiln::prelude::*;

use crate::bench::data::Data;
use crate::bench::op::{Case, Op, Work, any_size, dims, wide};
use crate::bench::subject::Subject;
use crate::bench::twin::Twin;
use crate::failure::{Failure, Result};

/// Which operands are stored transposed.
type Stored = [bool; 2];

const PLAIN: Stored = [false, false];
const B_TRANSPOSED: Stored = [false, true];
const A_TRANSPOSED: Stored = [true, false];

/// A row of [`OPS`].
const fn row(
    name: &'static str,
    about: &'static str,
    ladder: &'static [&'static [usize]],
    variants: fn(&Caps, &Case) -> Vec<String>,
    make: fn(&Device, &Case) -> Result<Subject>,
) -> Op {
    let axes = &["m", "n", "k"];
    Op { name, family: "product", about, axes, ladder, half: true, work, valid: any_size, variants, make }
}

pub(crate) const OPS: &[Op] = &[
    row(
        "matmul",
        "a [m, k] · b [k, n]",
        &[
            &[256, 256, 256],
            &[512, 512, 512],
            &[1024, 1024, 1024],
            &[2048, 2048, 2048],
            &[4096, 4096, 4096],
            &[8192, 8192, 8192],
        ],
        |caps, case| names(caps, case, PLAIN),
        |device, case| make(device, case, PLAIN),
    ),
    row(
        "matmul_bt",
        "a [m, k] · b [n, k]ᵀ: a linear layer",
        &[&[256, 256, 256], &[1024, 1024, 1024], &[4096, 4096, 4096]],
        |caps, case| names(caps, case, B_TRANSPOSED),
        |device, case| make(device, case, B_TRANSPOSED),
    ),
    row(
        "matmul_at",
        "a [k, m]ᵀ · b [k, n]: the gradient of its weights",
        &[&[256, 256, 256], &[1024, 1024, 1024], &[4096, 4096, 4096]],
        |caps, case| names(caps, case, A_TRANSPOSED),
        |device, case| make(device, case, A_TRANSPOSED),
    ),
    row(
        "matmul_skinny",
        "a [m, k] · b [k, n] with few rows",
        &[&[16, 512, 512], &[64, 1024, 1024], &[64, 4096, 4096]],
        |caps, case| names(caps, case, PLAIN),
        |device, case| make(device, case, PLAIN),
    ),
    row(
        "matmul_long",
        "a [m, k] · b [k, n] with a long k",
        &[&[64, 64, 4096], &[128, 128, 16_384], &[256, 256, 65_536]],
        |caps, case| names(caps, case, PLAIN),
        |device, case| make(device, case, PLAIN),
    ),
    row(
        "matvec",
        "a [m, k] · b [k, n] with one row: generating text",
        &[&[1, 1024, 1024], &[1, 4096, 4096], &[1, 16_384, 4096]],
        |caps, case| names(caps, case, PLAIN),
        |device, case| make(device, case, PLAIN),
    ),
    Op {
        name: "matmul_batched",
        family: "product",
        about: "a [batch, m, k] · b [batch, k, n]",
        axes: &["batch", "m", "n", "k"],
        ladder: &[&[8, 128, 128, 64], &[32, 256, 256, 64], &[96, 512, 512, 64]],
        half: true,
        work,
        valid: any_size,
        variants: |caps, case| names(caps, case, PLAIN),
        make: |device, case| make(device, case, PLAIN),
    },
];

/// Batch, m, n, k.
fn sizes(size: &[usize]) -> Option<[usize; 4]> {
    dims::<3>(size).map(|[m, n, k]| [1, m, n, k]).or_else(|| dims(size))
}

fn work(size: &[usize]) -> Work {
    let [batch, m, n, k] = if size.len() == 3 {
        let [m, n, k] = wide(size);
        [1.0, m, n, k]
    } else {
        wide(size)
    };
    let elements = batch * (m * k + k * n + m * n);
    let largest = batch * (m * k).max(k * n).max(m * n);
    Work { flops: 2.0 * batch * m * n * k, moved: elements, moved_f32: 0.0, held: elements, largest }
}

/// Sums of k products in f32 are off by rounding errors that grow with k; a lost product is off by 0.3.
pub(crate) fn tolerance(k: usize, dtype: DType) -> f64 {
    let sum = 1e-5 * (k as f64 / 256.0).max(1.0);
    if dtype == DType::F16 { sum + 1e-3 } else { sum } // an f16 result is rounded to 11 bits
}

fn twin([batch, m, n, k]: [usize; 4], stored: Stored, [a, b]: [Data; 2]) -> Twin {
    Twin::each(batch * m * n, k, move |i| {
        let (p, row, col) = (i / (m * n), i / n % m, i % n);
        let a_at = |t: usize| p * m * k + if stored[0] { t * m + row } else { row * k + t };
        let b_at = |t: usize| p * k * n + if stored[1] { col * k + t } else { t * n + col };
        (0..k).map(|t| a.wide(a_at(t)) * b.wide(b_at(t))).sum()
    })
}

fn problem(case: &Case, stored: Stored) -> Option<Problem> {
    let size = sizes(&case.size)?;
    let [batch, m, n, k] = size.map(|n| n as u32);
    let strides = |transposed: bool, rows: u32, cols: u32| {
        let plain = Strides::contiguous(batch, rows, cols);
        if transposed { Strides { row: 1, col: rows, ..plain } } else { plain }
    };
    let p = Problem::new([1, batch], m, n, k, strides(stored[0], m, k), strides(stored[1], k, n));
    let elem = if case.dtype == DType::F16 { Elem::F16 } else { Elem::F32 };
    Some(Problem { a_elem: elem, b_elem: elem, ..p })
}

fn names(caps: &Caps, case: &Case, stored: Stored) -> Vec<String> {
    let Some(p) = problem(case, stored) else { return Vec::new() };
    matmul::variants(caps, &p).iter().map(ToString::to_string).collect()
}

fn make(device: &Device, case: &Case, stored: Stored) -> Result<Subject> {
    let (Some(size), Some(p)) = (sizes(&case.size), problem(case, stored)) else {
        return Err(Failure::Usage(format!("a product of m, n, k, not {}", case.shape())));
    };
    let [batch, m, n, k] = size;
    let operands = [Data::new(1, case.dtype), Data::new(2, case.dtype)];
    let judged = (twin(size, stored, operands), tolerance(k, case.dtype));
    let caps = device.caps();
    if let Some(wanted) = &case.variant {
        let found = matmul::variants(caps, &p).into_iter().find(|variant| variant.to_string() == *wanted);
        let variant = found.ok_or_else(|| Failure::Usage(format!("matmul has no variant `{wanted}` here")))?;
        let [a, b] = [(operands[0], batch * m * k), (operands[1], batch * k * n)];
        let (a, b) = (device.upload(&a.0.bytes(a.1)?, "a")?, device.upload(&b.0.bytes(b.1)?, "b")?);
        let out = device.zeroed(4 * (batch * m * n) as u64, "out")?;
        let bindings = [("a", &a), ("b", &b), ("out", &out)];
        let steps = matmul::stages(caps, &p, &variant)?.steps(device, &bindings)?;
        return Ok(Subject::kernels(device, steps, &out, |v| v, judged)?.named(wanted));
    }
    let shape = |transposed: bool, rows: usize, cols: usize| {
        if transposed { [batch, cols, rows] } else { [batch, rows, cols] }
    };
    let a = operands[0].tensor(device, &shape(stored[0], m, k))?;
    let b = operands[1].tensor(device, &shape(stored[1], k, n))?;
    let view = move |x: &Tensor, transposed: bool| {
        let x = if batch == 1 { x.squeeze(0) } else { x.clone() };
        if transposed { x.mt() } else { x }
    };
    let product = move || view(&a, stored[0]).matmul(&view(&b, stored[1]));
    let chosen = format!("auto ({})", matmul::pick(device, &p));
    Ok(Subject::tensor(product, judged.0, judged.1).named(chosen))
}
