//! Wrong calls: each gives a typed error that names the operation, what it was given and the caller's line.
//! None of them panics, and an expression made of a wrong one keeps the first cause.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod calls;
mod environment;

use kiln::loss;
use kiln::prelude::*;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::OnceLock;

/// Where the tensors of the rows live.
struct World {
    device: Device,
}

impl World {
    fn open() -> Self {
        static DEVICE: OnceLock<Device> = OnceLock::new();
        Self { device: DEVICE.get_or_init(|| Device::open().unwrap()).clone() }
    }

    /// Ones, f32.
    fn t(&self, shape: &[usize]) -> Tensor {
        Tensor::ones(&self.device, shape)
    }

    /// Zeros, i32.
    fn i(&self, shape: &[usize]) -> Tensor {
        self.t(shape).cast(DType::I32) - 1
    }
}

/// What a wrong call may give: something that is found wrong when it is read, or an `Err` at once.
trait Outcome {
    fn outcome(self) -> Result<()>;
}

impl Outcome for Tensor {
    fn outcome(self) -> Result<()> {
        self.to_vec::<f32>().map(drop)
    }
}

impl Outcome for (Tensor, Tensor) {
    fn outcome(self) -> Result<()> {
        let (first, second) = (self.0.outcome(), self.1.outcome());
        second.map_or(first, |()| Ok(()))
    }
}

impl Outcome for Vec<Tensor> {
    fn outcome(self) -> Result<()> {
        self.into_iter().try_for_each(Tensor::outcome)
    }
}

impl<T> Outcome for Result<T> {
    fn outcome(self) -> Result<()> {
        self.map(drop)
    }
}

type Call = Box<dyn Fn(&World) -> Result<()>>;

/// One wrong call.
struct Row {
    line: u32,
    /// The variant of `Error`.
    kind: &'static str,
    /// The operation as the caller wrote it, and what else the message must contain.
    says: Vec<&'static str>,
    run: Call,
}

/// The rows, while they are written down.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    /// A call that is wrong; it stands on the line of this call.
    #[track_caller]
    fn bad<O: Outcome>(&mut self, kind: &'static str, says: &[&'static str], run: impl Fn(&World) -> O + 'static) {
        let run = Box::new(move |world: &World| run(world).outcome());
        self.0.push(Row { line: Location::caller().line(), kind, says: says.to_vec(), run });
    }
}

/// What is wrong with the answer to a row, if anything.
fn judge(world: &World, row: &Row) -> Option<String> {
    let name = format!("line {}, {}", row.line, row.says[0]);
    let answer = match catch_unwind(AssertUnwindSafe(|| (row.run)(world))) {
        Err(_) => return Some(format!("{name}: PANIC")),
        Ok(Ok(())) => return Some(format!("{name}: no error")),
        Ok(Err(error)) => error,
    };
    let (kind, text) = (format!("{answer:?}"), answer.to_string());
    if !kind.starts_with(row.kind) {
        return Some(format!("{name}: {kind}, not {}", row.kind));
    }
    let missing = row.says.iter().find(|part| !text.contains(**part));
    let place = format!("tests/errors/calls.rs:{}:", row.line);
    match missing {
        Some(part) => Some(format!("{name}: {part:?} is not in: {text}")),
        None if !text.contains(&place) => Some(format!("{name}: {place:?} is not in: {text}")),
        None => None,
    }
}

fn check(fill: fn(&mut Rows)) {
    let (world, mut rows) = (World::open(), Rows::default());
    fill(&mut rows);
    let wrong: Vec<String> = rows.0.iter().filter_map(|row| judge(&world, row)).collect();
    assert!(wrong.is_empty(), "{} of {} wrong\n{}", wrong.len(), rows.0.len(), wrong.join("\n"));
}

#[test]
fn elementwise_calls() {
    check(calls::elementwise);
}

#[test]
fn view_calls() {
    check(calls::views);
}

#[test]
fn join_calls() {
    check(calls::joins);
}

#[test]
fn reduction_calls() {
    check(calls::reductions);
}

#[test]
fn product_calls() {
    check(calls::products);
}

#[test]
fn index_calls() {
    check(calls::indices);
}

#[test]
fn arrangement_calls() {
    check(calls::arrangements);
}

#[test]
fn place_calls() {
    check(calls::places);
}

#[test]
fn layer_calls() {
    check(calls::layers);
}

#[test]
fn making_and_reading() {
    check(calls::making);
}

/// A pattern finds as many pieces as it has places, also in a tensor that carries an error.
#[test]
fn errors_come_in_as_many_pieces_as_asked_for() {
    let bad = World::open().t(&[2, 6]).matmul(&World::open().t(&[5]));
    let lists =
        [bad.chunk(3, 1), bad.split_sizes(&[1, 2, 3], 1), bad.tensor_split(3, 1), World::open().t(&[6]).chunk(3, 2)];
    for pieces in lists.into_iter().chain([bad.chunk_into::<3>(1).to_vec(), bad.unbind_into::<3>(1).to_vec()]) {
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.eval().is_err()));
    }
    assert!(bad.chunk(usize::MAX, 1).iter().all(|piece| piece.eval().is_err()));
    assert_eq!(bad.with_dims(|[]| unreachable!("it carries an error")).eval(), bad.eval());
}

/// Everything that is made of a wrong expression gives its first cause, on every way out.
#[test]
fn the_first_cause_is_kept() {
    let w = World::open();
    let bad = w.t(&[2, 3]).matmul(&w.t(&[2, 3]));
    let cause = bad.eval().unwrap_err();
    let after: [(&str, Tensor); 14] = [
        ("add", &bad + 1.0),
        ("from the right", 2.0 * &bad),
        ("unary", bad.exp()),
        ("reduction", bad.sum()),
        ("view", bad.reshape([7, 9]).permute([5, 5]).slice(9, 0, 1, 1)),
        ("matmul", w.t(&[2, 2]).matmul(&bad)),
        ("a second mistake", &bad + w.t(&[7]) + w.t(&[9])),
        ("cat", Tensor::cat(&[&w.t(&[2]), &bad], 3)),
        ("where", Tensor::where_(&bad.gt(0.0), &bad, 0.0)),
        ("gather", w.t(&[3]).gather(0, &bad)),
        ("conv", w.t(&[1, 1, 8, 8]).conv2d(&bad, None, &Conv::default())),
        ("norm", bad.layer_norm(1, None, None, 1e-5)),
        ("loss", loss::cross_entropy(&bad, &w.i(&[2]))),
        ("sort", bad.sort(0, true).1),
    ];
    for (name, tensor) in &after {
        assert_eq!(tensor.eval().unwrap_err(), cause, "{name}");
    }
    assert_eq!(bad.shape().unwrap_err(), cause);
    assert_eq!(bad.dims::<2>().unwrap_err(), cause);
    assert_eq!(bad.item().unwrap_err(), cause);
    assert_eq!(bad.to_vec::<f32>().unwrap_err(), cause);
    assert_eq!(bad.sum().backward().err(), Some(cause.clone()));
    assert_eq!(bad.sum().grad(&[&w.t(&[2])]).err(), Some(cause));
}

/// Tensors of two devices do not meet.
#[test]
fn two_devices() {
    let (here, there) = (World::open(), World { device: Device::open().unwrap() });
    let error = (here.t(&[2]) + there.t(&[2])).eval().unwrap_err();
    assert!(matches!(error, Error::Devices { .. }), "{error:?}");
    assert!(error.to_string().contains("add"), "{error}");
}

/// Arguments at the ends of their types are an answer or an error, never a panic.
#[test]
fn extreme_arguments() {
    let w = World::open();
    let x = w.t(&[3, 3]);
    let sum = |t: Tensor| t.sum().item().unwrap();
    assert_eq!(sum(x.tril(i64::MAX)), 9.0);
    assert_eq!(sum(x.tril(i64::MIN)), 0.0);
    assert_eq!(sum(x.triu(i64::MAX)), 0.0);
    assert_eq!(sum(x.triu(i64::MIN)), 9.0);
    assert_eq!(sum(x.slice(0, i64::MIN, i64::MAX, 1)), 9.0);
    assert_eq!(sum(x.slice(0, 0, 3, i64::MAX)), 3.0);
    assert_eq!(sum(x.slice(0, 2, -9, i64::MIN)), 3.0);
    assert_eq!(sum(x.diagonal(i64::MAX, 0, 1)), 0.0);
    assert_eq!(sum(x.diagonal(i64::MIN, 0, 1)), 0.0);
    assert_eq!(sum(x.roll(i64::MIN, 0)), 9.0);
    assert_eq!(x.chunk(usize::MAX, 0).len(), 3);
    assert_eq!(x.split(usize::MAX, 0).len(), 1);
    for bad in [
        x.narrow(0, i64::MIN, 1),
        x.select(0, i64::MIN),
        x.unsqueeze(i64::MIN),
        x.transpose(i64::MIN, 0),
        x.flip([i64::MAX]),
    ] {
        assert!(bad.eval().is_err());
    }
    let wide = Conv { padding: vec![usize::MAX], ..Conv::default() };
    assert!(w.t(&[1, 1, 3, 3]).conv2d(&w.t(&[1, 1, 3, 3]), None, &wide).eval().is_err());
    assert!(Tensor::linspace(&w.device, 0.0, 1.0, usize::MAX).eval().is_err());
    assert!(Tensor::eye(&w.device, usize::MAX).eval().is_err());
    assert!(w.i(&[3]).one_hot(usize::MAX).eval().is_err());
    assert!(w.t(&[3]).unfold(0, usize::MAX, usize::MAX).eval().is_err());
}
