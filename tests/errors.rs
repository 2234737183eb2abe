//! Wrong calls: each gives a typed error that names the operation, what it was given and the caller's line.
//! None of them panics, and an expression made of a wrong one keeps the first cause.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::loss::{self, CrossEntropy};
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
    let place = format!("tests/errors.rs:{}:", row.line);
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

#[rustfmt::skip]
fn elementwise(r: &mut Rows) {
    r.bad("Shape", &["add", "[2, 3] and [4]"], |w| w.t(&[2, 3]) + w.t(&[4]));
    r.bad("Shape", &["mul", "[2, 3] and [3, 2]"], |w| w.t(&[2, 3]) * w.t(&[3, 2]));
    r.bad("Shape", &["pow", "[2] and [3]"], |w| w.t(&[2]).pow(w.t(&[3])));
    r.bad("Shape", &["lt", "[2] and [3]"], |w| w.t(&[2]).lt(w.t(&[3])));
    r.bad("Shape", &["logical_and", "[2] and [3]"], |w| w.t(&[2]).logical_and(w.t(&[3])));
    r.bad("Shape", &["where", "[2]", "[3]"], |w| Tensor::where_(&w.t(&[2]).gt(0.0), w.t(&[3]), 0.0));
    r.bad("Shape", &["sub", "[0] and [2]"], |w| w.t(&[0]) - w.t(&[2]));
    r.bad("Shape", &["masked_fill", "[2]", "[3]"], |w| w.t(&[2]).masked_fill(&w.t(&[3]).gt(0.0), 0.0));
}

#[test]
fn elementwise_calls() {
    check(elementwise);
}

#[rustfmt::skip]
fn views(r: &mut Rows) {
    r.bad("Argument", &["reshape", "[4, 2]", "[2, 3]"], |w| w.t(&[2, 3]).reshape([4, 2]));
    r.bad("Shape", &["reshape", "[2, 3]"], |w| w.t(&[2, 3]).reshape([-1, 4]));
    r.bad("Argument", &["reshape", "[-1, -1]"], |w| w.t(&[2, 3]).reshape([-1, -1]));
    r.bad("Argument", &["reshape", "-2"], |w| w.t(&[2, 3]).reshape([-2, 3]));
    r.bad("Argument", &["reshape"], |w| w.t(&[2, 3]).reshape([1i64; 9]));
    r.bad("Argument", &["reshape"], |w| w.t(&[2, 3]).reshape([i64::MAX, i64::MAX]));
    r.bad("Argument", &["permute"], |w| w.t(&[2, 3]).permute([0, 0]));
    r.bad("Argument", &["permute"], |w| w.t(&[2, 3]).permute([0]));
    r.bad("Axis", &["permute", "axis 2", "[2, 3]"], |w| w.t(&[2, 3]).permute([0, 2]));
    r.bad("Axis", &["transpose", "axis -3", "[2, 3]"], |w| w.t(&[2, 3]).transpose(0, -3));
    r.bad("Shape", &["t", "[2, 3, 4]"], |w| w.t(&[2, 3, 4]).t());
    r.bad("Argument", &["expand", "[4, 3]", "[2, 3]"], |w| w.t(&[2, 3]).expand([4, 3]));
    r.bad("Argument", &["expand", "[3]", "[2, 3]"], |w| w.t(&[2, 3]).expand([3]));
    r.bad("Argument", &["expand", "-1"], |w| w.t(&[3]).expand([-1, 3]));
    r.bad("Axis", &["squeeze", "axis 2"], |w| w.t(&[2, 1]).squeeze(2));
    r.bad("Argument", &["unsqueeze", "4"], |w| w.t(&[2, 1]).unsqueeze(4));
    r.bad("Axis", &["flatten", "axis 3"], |w| w.t(&[2, 1]).flatten(0, 3));
    r.bad("Argument", &["flatten"], |w| w.t(&[2, 1]).flatten(1, 0));
    r.bad("Axis", &["slice", "axis 2"], |w| w.t(&[2, 3]).slice(2, 0, 1, 1));
    r.bad("Argument", &["slice", "step"], |w| w.t(&[2, 3]).slice(0, 0, 2, 0));
    r.bad("Argument", &["narrow"], |w| w.t(&[2, 3]).narrow(1, 2, 2));
    r.bad("Argument", &["narrow"], |w| w.t(&[2, 3]).narrow(1, 1, usize::MAX));
    r.bad("Argument", &["select", "3"], |w| w.t(&[2, 3]).select(1, 3));
    r.bad("Axis", &["select", "axis 2"], |w| w.t(&[2, 3]).select(2, 0));
    r.bad("Axis", &["flip", "axis 2"], |w| w.t(&[2, 3]).flip([2]));
    r.bad("Argument", &["pad"], |w| w.t(&[3]).pad(&[(1, 1), (1, 1)], PadMode::Constant(0.0)));
    r.bad("Argument", &["pad"], |w| w.t(&[3]).pad(&[(3, 0)], PadMode::Reflect));
    r.bad("Argument", &["pad"], |w| w.t(&[3]).pad(&[(-2, -2)], PadMode::Constant(0.0)));
    r.bad("Limit", &["pad"], |w| w.t(&[3]).pad(&[(i64::MAX, i64::MAX)], PadMode::Constant(0.0)));
    r.bad("Axis", &["roll", "axis 1"], |w| w.t(&[3]).roll(1, 1));
    r.bad("Shape", &["tril", "[3]"], |w| w.t(&[3]).tril(0));
    r.bad("Axis", &["diagonal", "axis 2"], |w| w.t(&[3, 3]).diagonal(0, 0, 2));
    r.bad("Argument", &["diagonal"], |w| w.t(&[3, 3]).diagonal(0, 1, 1));
    r.bad("Argument", &["unfold"], |w| w.t(&[3]).unfold(0, 4, 1));
    r.bad("Argument", &["unfold"], |w| w.t(&[3]).unfold(0, 2, 0));
    r.bad("Limit", &["expand"], |w| w.t(&[1, 1]).expand([1 << 16, 1 << 16]));
}

#[test]
fn view_calls() {
    check(views);
}

#[rustfmt::skip]
fn joins(r: &mut Rows) {
    r.bad("Shape", &["cat", "[2, 3]", "[2, 4]"], |w| Tensor::cat(&[&w.t(&[2, 3]), &w.t(&[2, 4])], 0));
    r.bad("Shape", &["cat", "[2, 3]", "[2]"], |w| Tensor::cat(&[&w.t(&[2, 3]), &w.t(&[2])], 0));
    r.bad("Shape", &["cat"], |w| Tensor::cat(&[&w.t(&[]), &w.t(&[])], 0));
    r.bad("Axis", &["cat", "axis 2"], |w| Tensor::cat(&[&w.t(&[2, 3]), &w.t(&[2, 3])], 2));
    r.bad("Argument", &["cat", "tensors"], |_| Tensor::cat::<Tensor>(&[], 0));
    r.bad("Shape", &["stack", "[2]", "[3]"], |w| Tensor::stack(&[&w.t(&[2]), &w.t(&[3])], 0));
    r.bad("Argument", &["stack", "2"], |w| Tensor::stack(&[&w.t(&[2]), &w.t(&[2])], 2));
    r.bad("Argument", &["split"], |w| w.t(&[3]).split(0, 0));
    r.bad("Axis", &["split", "axis 1"], |w| w.t(&[3]).split(1, 1));
    r.bad("Argument", &["chunk"], |w| w.t(&[3]).chunk(0, 0));
    r.bad("Argument", &["split", "[1, 1]"], |w| w.t(&[3]).split_sizes(&[1, 1], 0));
    r.bad("Argument", &["split"], |w| w.t(&[3]).split_sizes(&[usize::MAX, 4], 0));
    r.bad("Shape", &["chunk", "[3]", "pieces"], |w| w.t(&[3]).chunk_into::<4>(0).to_vec());
    r.bad("Argument", &["split", "[2, 2]"], |w| w.t(&[3]).split_into([2, 2], 0).to_vec());
    r.bad("Shape", &["unbind", "[3]", "pieces"], |w| w.t(&[3]).unbind_into::<2>(0).to_vec());
    r.bad("Axis", &["unbind", "axis 1"], |w| w.t(&[3]).unbind_into::<2>(1).to_vec());
    r.bad("Axis", &["slice", "axis 1"], |w| w.t(&[3]).range(1, 1..));
    r.bad("Shape", &["with_dims", "[3]"], |w| w.t(&[3]).with_dims(|[_, _]| unreachable!("it has one axis")));
    r.bad("Argument", &["reshape"], |w| w.t(&[3]).reshape_as(&w.t(&[2, 2])));
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

#[test]
fn join_calls() {
    check(joins);
}

#[rustfmt::skip]
fn reductions(r: &mut Rows) {
    r.bad("Axis", &["sum", "axis 2", "[2, 3]"], |w| w.t(&[2, 3]).sum_axes([2], false));
    r.bad("Argument", &["sum"], |w| w.t(&[2, 3]).sum_axes([1, 1], false));
    r.bad("Argument", &["sum"], |w| w.t(&[2, 3]).sum_axes([1, -1], false));
    r.bad("Axis", &["mean", "axis 2"], |w| w.t(&[2, 3]).mean_axes([2], false));
    r.bad("DType", &["mean", "i32"], |w| w.i(&[2, 3]).mean());
    r.bad("Axis", &["var", "axis 2"], |w| w.t(&[2, 3]).var([2], 1, false));
    r.bad("DType", &["var", "i32"], |w| w.i(&[2, 3]).var([1], 1, false));
    r.bad("Axis", &["std", "axis 2"], |w| w.t(&[2, 3]).std([2], 1, false));
    r.bad("Axis", &["norm", "axis 2"], |w| w.t(&[2, 3]).norm(2.0, [2], false));
    r.bad("Axis", &["any", "axis 2"], |w| w.t(&[2, 3]).any([2], false));
    r.bad("Axis", &["all", "axis 2"], |w| w.t(&[2, 3]).all([2], false));
    r.bad("Axis", &["logsumexp", "axis -3"], |w| w.t(&[2, 3]).logsumexp([-3], false));
    r.bad("Shape", &["max", "[0]"], |w| w.t(&[0]).max());
    r.bad("Shape", &["amin", "[3, 0]"], |w| w.t(&[3, 0]).amin([1], false));
    r.bad("Shape", &["argmax", "[3, 0]"], |w| w.t(&[3, 0]).argmax(1, false));
    r.bad("Axis", &["argmin", "axis 2"], |w| w.t(&[2, 3]).argmin(2, false));
    r.bad("Axis", &["max", "axis 2"], |w| w.t(&[2, 3]).max_with_index(2, false));
    r.bad("Axis", &["cumsum", "axis 2"], |w| w.t(&[2, 3]).cumsum(2));
    r.bad("Axis", &["cumprod", "axis 2"], |w| w.t(&[2, 3]).cumprod(2));
    r.bad("Axis", &["sort", "axis 1"], |w| w.t(&[3]).sort(1, false));
    r.bad("Axis", &["argsort", "axis 1"], |w| w.t(&[3]).argsort(1, false));
    r.bad("Argument", &["topk", "4 of 3"], |w| w.t(&[3]).topk(4, 0, true));
    r.bad("Axis", &["topk", "axis 1"], |w| w.t(&[3]).topk(1, 1, true));
    r.bad("Axis", &["softmax", "axis 1"], |w| w.t(&[3]).softmax(1));
    r.bad("DType", &["log_softmax", "i32"], |w| w.i(&[3]).log_softmax(0));
}

#[test]
fn reduction_calls() {
    check(reductions);
}

#[rustfmt::skip]
fn products(r: &mut Rows) {
    r.bad("Shape", &["matmul", "[2, 3] and [4, 5]"], |w| w.t(&[2, 3]).matmul(&w.t(&[4, 5])));
    r.bad("Shape", &["matmul", "[3] and [4]"], |w| w.t(&[3]).matmul(&w.t(&[4])));
    r.bad("Shape", &["matmul", "[2, 3] and [4]"], |w| w.t(&[2, 3]).matmul(&w.t(&[4])));
    r.bad("Shape", &["matmul", "[]"], |w| w.t(&[]).matmul(&w.t(&[4])));
    r.bad("Shape", &["matmul", "[2, 3, 4] and [3, 4, 5]"], |w| w.t(&[2, 3, 4]).matmul(&w.t(&[3, 4, 5])));
    r.bad("Shape", &["dot", "[2, 2]"], |w| w.t(&[2, 2]).dot(&w.t(&[2])));
    r.bad("Argument", &["einsum", "ij,jk->ik"], |w| Tensor::einsum("ij,jk->ik", &[&w.t(&[2, 3]), &w.t(&[4, 5])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij,jk->ik", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ijk->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("i->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij->k", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij->ii", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("i7->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("...i...->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij->->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum"], |w| Tensor::einsum("ij.->i", &[&w.t(&[2, 3])]));
    r.bad("Argument", &["einsum", "tensors"], |_| Tensor::einsum("i->i", &[]));
}

#[test]
fn product_calls() {
    check(products);
}

#[rustfmt::skip]
fn indices(r: &mut Rows) {
    r.bad("DType", &["gather", "f32 and f32"], |w| w.t(&[2, 3]).gather(1, &w.t(&[2, 3])));
    r.bad("Axis", &["gather", "axis 2"], |w| w.t(&[2, 3]).gather(2, &w.i(&[2, 3])));
    r.bad("Shape", &["gather", "[2, 3] and [3, 3]"], |w| w.t(&[2, 3]).gather(1, &w.i(&[3, 3])));
    r.bad("Shape", &["gather", "[2, 3] and [3]"], |w| w.t(&[2, 3]).gather(1, &w.i(&[3])));
    r.bad("Shape", &["gather", "[2, 0]"], |w| w.t(&[2, 0]).gather(1, &w.i(&[2, 1])));
    r.bad("Shape", &["take_along", "[2, 3] and [3]"], |w| w.t(&[2, 3]).take_along(1, &w.i(&[3])));
    r.bad("Shape", &["take_along"], |w| w.t(&[2, 3]).take_along(1, &w.i(&[4, 3])));
    r.bad("DType", &["take_along", "f32"], |w| w.t(&[2, 3]).take_along(1, &w.t(&[2, 3])));
    r.bad("DType", &["index_select"], |w| w.t(&[2, 3]).index_select(0, &w.t(&[2])));
    r.bad("Shape", &["index_select", "[2, 2]"], |w| w.t(&[2, 3]).index_select(0, &w.i(&[2, 2])));
    r.bad("Axis", &["index_select", "axis 2"], |w| w.t(&[2, 3]).index_select(2, &w.i(&[2])));
    r.bad("DType", &["scatter_add"], |w| w.t(&[3]).scatter_add(0, &w.t(&[3]), &w.t(&[3])));
    r.bad("Shape", &["scatter_add", "[2, 3]", "[2, 9]"], |w| w.t(&[2, 3]).scatter_add(1, &w.i(&[2, 9]), &w.t(&[2, 8])));
    r.bad("Shape", &["index_add", "[3, 2]"], |w| w.t(&[3, 2]).index_add(0, &w.i(&[4]), &w.t(&[3, 2])));
    r.bad("Shape", &["embedding", "[3]"], |w| w.t(&[3]).embedding(&w.i(&[4])));
    r.bad("DType", &["embedding", "f32"], |w| w.t(&[3, 2]).embedding(&w.t(&[4])));
    r.bad("DType", &["one_hot", "f32"], |w| w.t(&[3]).one_hot(5));
    r.bad("Index", &["embedding", "row 1"], |w| w.t(&[3, 2]).embedding(&Tensor::new(&w.device, [2, 3, 0])));
    r.bad("Index", &["embedding", "row 0"], |w| w.t(&[3, 2]).embedding(&Tensor::new(&w.device, [-1, 0])));
    r.bad("Index", &["gather"], |w| w.t(&[3]).gather(0, &Tensor::new(&w.device, [0, 5])));
    r.bad("Index", &["index_select", "row 2"], |w| w.t(&[3, 2]).index_select(1, &Tensor::new(&w.device, [0, 1, 2])));
    r.bad("Index", &["scatter_add"], |w| w.t(&[3]).scatter_add(0, &Tensor::new(&w.device, [0, 3]), &w.t(&[2])));
    r.bad("Index", &["index_add"], |w| w.t(&[3]).index_add(0, &Tensor::new(&w.device, [0, 3]), &w.t(&[2])));
    r.bad("Index", &["cross_entropy", "row 1"], |w| loss::cross_entropy(&w.t(&[2, 3]), &Tensor::new(&w.device, [0, 3])));
}

#[test]
fn index_calls() {
    check(indices);
}

#[rustfmt::skip]
fn arrangements(r: &mut Rows) {
    r.bad("Argument", &["arange", "step = -1"], |w| Tensor::arange(&w.device, 0, 5, -1));
    r.bad("Argument", &["eye", "extents"], |w| Tensor::eye(&w.device, [1, 2, 3]));
    r.bad("Argument", &["movedim"], |w| w.t(&[2, 3]).movedim([0, 0], [0, 1]));
    r.bad("Axis", &["movedim", "axis 2"], |w| w.t(&[2, 3]).movedim(2, 0));
    r.bad("Argument", &["unflatten", "[2, 2]"], |w| w.t(&[2, 3]).unflatten(1, [2, 2]));
    r.bad("Argument", &["repeat", "[2]"], |w| w.t(&[2, 3]).repeat([2]));
    r.bad("Argument", &["repeat", "-1"], |w| w.t(&[2]).repeat([-1]));
    r.bad("Limit", &["repeat"], |w| w.t(&[1 << 16]).repeat([1 << 16]));
    r.bad("Axis", &["repeat_interleave", "axis 1"], |w| w.t(&[2]).repeat_interleave(2, 1));
    r.bad("Argument", &["rot90"], |w| w.t(&[2, 3]).rot90(1, 0, 0));
    r.bad("Argument", &["diag_embed"], |w| w.t(&[2]).diag_embed(i64::MIN));
    r.bad("Shape", &["diag", "[1, 2, 3]"], |w| w.t(&[1, 2, 3]).diag(0));
    r.bad("Axis", &["unbind", "axis 1"], |w| w.t(&[2]).unbind(1));
    r.bad("Argument", &["tensor_split"], |w| w.t(&[2]).tensor_split(0, 0));
    r.bad("Argument", &["roll", "shifts"], |w| w.t(&[2, 3]).roll([1, 2], 0));
    r.bad("Shape", &["meshgrid", "[2, 3]"], |w| Tensor::meshgrid(&[&w.t(&[2, 3])]));
    r.bad("DType", &["bitwise_and", "f32"], |w| w.t(&[2]) & w.t(&[2]));
    r.bad("Argument", &["kthvalue", "4 of 3"], |w| w.t(&[3]).kthvalue(4, 0, false));
    r.bad("Shape", &["median", "[0]"], |w| w.t(&[0]).median(0, false));
    r.bad("Argument", &["quantile", "2"], |w| w.t(&[3]).quantile(2.0, 0, false));
    r.bad("DType", &["quantile", "i32"], |w| w.i(&[3]).quantile(0.5, 0, false));
    r.bad("Argument", &["histc"], |w| w.t(&[3]).histc(0, 0.0, 1.0));
    r.bad("Index", &["bincount"], |w| Tensor::new(&w.device, [0, 3]).bincount(None, 3));
    r.bad("DType", &["logcumsumexp", "i32"], |w| w.i(&[3]).logcumsumexp(0));
    r.bad("Axis", &["cummax", "axis 1"], |w| w.t(&[3]).cummax(1));
    r.bad("Axis", &["diff", "axis 1"], |w| w.t(&[3]).diff(1, 1));
}

#[test]
fn arrangement_calls() {
    check(arrangements);
}

#[rustfmt::skip]
fn places(r: &mut Rows) {
    r.bad("Shape", &["scatter", "[2, 3]", "[3, 3]"], |w| w.t(&[2, 3]).scatter(1, &w.i(&[3, 3]), &w.t(&[3, 3])));
    r.bad("DType", &["scatter"], |w| w.t(&[3]).scatter(0, &w.t(&[3]), &w.t(&[3])));
    r.bad("Index", &["scatter"], |w| w.t(&[3]).scatter(0, &Tensor::new(&w.device, [3]), &w.t(&[1])));
    r.bad("Shape", &["index_copy"], |w| w.t(&[3]).index_copy(0, &w.i(&[2]), &w.t(&[3])));
    r.bad("Axis", &["index_fill", "axis 1"], |w| w.t(&[3]).index_fill(1, &w.i(&[2]), 1.0));
    r.bad("Shape", &["index", "[3]"], |w| w.t(&[3]).index(&[&w.i(&[2]), &w.i(&[2])]));
    r.bad("Shape", &["index"], |w| w.t(&[3, 3]).index(&[&w.i(&[2]), &w.i(&[3])]));
    r.bad("Index", &["index"], |w| w.t(&[3, 3]).index(&[&w.i(&[1]), &Tensor::new(&w.device, [3])]));
    r.bad("Index", &["take"], |w| w.t(&[3]).take(&Tensor::new(&w.device, [-4])));
    r.bad("Argument", &["index_put"], |w| w.t(&[3]).index_put(&[&w.i(&[2])], &w.t(&[3]), true));
    r.bad("Argument", &["select_scatter"], |w| w.t(&[3]).select_scatter(&w.t(&[]), 0, 3));
    r.bad("Shape", &["slice_scatter"], |w| w.t(&[3]).slice_scatter(&w.t(&[3]), 0, 0, 2, 1));
    r.bad("Index", &["masked_scatter"], |w| w.t(&[3]).masked_scatter(&w.t(&[3]).gt(0.0), &w.t(&[2])));
    r.bad("Shape", &["masked_select", "[2]", "[3]"], |w| w.t(&[2]).masked_select(&w.t(&[3]).gt(0.0)));
    r.bad("Shape", &["searchsorted"], |w| w.t(&[2, 3]).searchsorted(&w.t(&[3, 1]), false));
    r.bad("Shape", &["mm", "[2, 3] and [3]"], |w| w.t(&[2, 3]).mm(&w.t(&[3])));
    r.bad("Shape", &["bmm"], |w| w.t(&[2, 3, 4]).bmm(&w.t(&[1, 4, 5])));
    r.bad("Shape", &["outer"], |w| w.t(&[2, 3]).outer(&w.t(&[3])));
    r.bad("Shape", &["addmm"], |w| w.t(&[3, 3]).addmm(&w.t(&[2, 3]), &w.t(&[3, 3]), 1.0, 1.0));
    r.bad("Shape", &["kron"], |w| w.t(&[1, 1, 1, 1, 1]).kron(&w.t(&[2])));
    r.bad("Shape", &["cross"], |w| w.t(&[2]).cross(&w.t(&[2]), 0));
    r.bad("Shape", &["tensordot"], |w| w.t(&[2, 3]).tensordot(&w.t(&[2, 3]), 1));
    r.bad("Shape", &["trace"], |w| w.t(&[2]).trace());
    r.bad("Shape", &["matrix_power"], |w| w.t(&[2, 3]).matrix_power(2));
    r.bad("Shape", &["cdist"], |w| w.t(&[2, 3]).cdist(&w.t(&[2, 4]), 2.0));
}

#[test]
fn place_calls() {
    check(places);
}

/// A stride, and the rest as it is by default.
fn stride(n: usize) -> Conv {
    Conv { stride: vec![n], ..Conv::default() }
}

#[rustfmt::skip]
fn layers(r: &mut Rows) {
    r.bad("Shape", &["conv2d", "[1, 3, 8, 8]", "[4, 2, 3, 3]"], |w| w.t(&[1, 3, 8, 8]).conv2d(&w.t(&[4, 2, 3, 3]), None, &Conv::default()));
    r.bad("Shape", &["conv2d", "[3, 8]"], |w| w.t(&[3, 8]).conv2d(&w.t(&[4, 3, 3, 3]), None, &Conv::default()));
    r.bad("Shape", &["conv1d", "[4, 3, 3, 3]"], |w| w.t(&[1, 3, 8]).conv1d(&w.t(&[4, 3, 3, 3]), None, &Conv::default()));
    r.bad("Shape", &["conv2d", "[1, 1, 2, 2]"], |w| w.t(&[1, 1, 2, 2]).conv2d(&w.t(&[1, 1, 3, 3]), None, &Conv::default()));
    r.bad("Shape", &["conv2d", "[5]"], |w| w.t(&[1, 1, 8, 8]).conv2d(&w.t(&[4, 1, 3, 3]), Some(&w.t(&[5])), &Conv::default()));
    r.bad("Argument", &["conv2d", "stride"], |w| w.t(&[1, 1, 8, 8]).conv2d(&w.t(&[4, 1, 3, 3]), None, &stride(0)));
    r.bad("Argument", &["conv2d"], |w| w.t(&[1, 1, 8, 8]).conv2d(&w.t(&[4, 1, 3, 3]), None, &Conv { padding: vec![1, 1, 1], ..stride(1) }));
    r.bad("Argument", &["conv2d", "groups"], |w| w.t(&[1, 1, 8, 8]).conv2d(&w.t(&[4, 1, 3, 3]), None, &Conv { groups: 0, ..stride(1) }));
    r.bad("Shape", &["conv2d"], |w| w.t(&[1, 4, 8, 8]).conv2d(&w.t(&[3, 2, 3, 3]), None, &Conv { groups: 2, ..stride(1) }));
    r.bad("DType", &["conv1d", "i32"], |w| w.i(&[1, 1, 8]).conv1d(&w.t(&[1, 1, 3]), None, &Conv::default()));
    r.bad("Argument", &["max_pool2d"], |w| w.t(&[1, 1, 8, 8]).max_pool2d(&Pool::new(0)));
    r.bad("Argument", &["max_pool2d", "padding"], |w| w.t(&[1, 1, 8, 8]).max_pool2d(&Pool { padding: vec![2], ..Pool::new(3) }));
    r.bad("Argument", &["avg_pool2d", "padding"], |w| w.t(&[1, 1, 8, 8]).avg_pool2d(&Pool { padding: vec![usize::MAX], ..Pool::new(3) }));
    r.bad("Shape", &["avg_pool2d", "[1, 1, 2, 2]"], |w| w.t(&[1, 1, 2, 2]).avg_pool2d(&Pool::new(3)));
    r.bad("Shape", &["max_pool1d", "[8]"], |w| w.t(&[8]).max_pool1d(&Pool::new(2)));
    r.bad("DType", &["max_pool1d", "i32"], |w| w.i(&[1, 1, 8]).max_pool1d(&Pool::new(2)));
    r.bad("Argument", &["layer_norm", "axes"], |w| w.t(&[3]).layer_norm(2, None, None, 1e-5));
    r.bad("Shape", &["layer_norm", "[2, 3]", "[2]"], |w| w.t(&[2, 3]).layer_norm(1, Some(&w.t(&[2])), None, 1e-5));
    r.bad("Shape", &["rms_norm", "[2, 3]", "[2]"], |w| w.t(&[2, 3]).rms_norm(1, Some(&w.t(&[2])), 1e-5));
    r.bad("DType", &["layer_norm", "i32"], |w| w.i(&[2, 3]).layer_norm(1, None, None, 1e-5));
    r.bad("Argument", &["group_norm", "2 of [1, 3, 4]"], |w| w.t(&[1, 3, 4]).group_norm(2, None, None, 1e-5));
    r.bad("Shape", &["group_norm", "[2]"], |w| w.t(&[1, 3, 4]).group_norm(3, Some(&w.t(&[2])), None, 1e-5));
    r.bad("Shape", &["batch_norm", "[3]"], |w| w.t(&[3]).batch_norm(&w.t(&[3]), &w.t(&[3]), None, None, 1e-5));
    r.bad("Shape", &["batch_norm", "[4]"], |w| w.t(&[2, 3]).batch_norm(&w.t(&[4]), &w.t(&[4]), None, None, 1e-5));
    r.bad("Shape", &["mse_loss", "[2]", "[3]"], |w| loss::mse_loss(&w.t(&[2]), &w.t(&[3])));
    r.bad("Shape", &["l1_loss", "[2, 3]", "[2]"], |w| loss::l1_loss(&w.t(&[2, 3]), &w.t(&[2])));
    r.bad("Shape", &["avg_pool3d", "[1, 1, 1, 2, 2]"], |w| w.t(&[1, 1, 1, 2, 2]).avg_pool3d(&Pool { padding: vec![1], ..Pool::new(2) }));
    r.bad("Shape", &["lp_pool3d", "[1, 2, 2, 1]"], |w| w.t(&[1, 2, 2, 1]).lp_pool3d(2.0, &Pool { ceil: true, ..Pool::new(2) }));
    r.bad("Argument", &["fractional_max_pool3d", "output"], |w| w.t(&[1, 1, 3, 3, 3]).fractional_max_pool3d(&[2], &[2], &w.t(&[1, 1, 3])).0);
    r.bad("Shape", &["cross_entropy", "[2, 3]", "[3]"], |w| loss::cross_entropy(&w.t(&[2, 3]), &w.i(&[3])));
    r.bad("Shape", &["cross_entropy", "[2, 3]", "[2, 4]"], |w| loss::cross_entropy(&w.t(&[2, 3]), &w.t(&[2, 4])));
    r.bad("Shape", &["cross_entropy", "[4]"], |w| CrossEntropy { weight: Some(w.t(&[4])), ..Default::default() }.loss(&w.t(&[2, 3]), &w.i(&[2])));
    r.bad("Shape", &["binary_cross_entropy_with_logits"], |w| loss::binary_cross_entropy_with_logits(&w.t(&[2]), &w.t(&[3])));
}

#[test]
fn layer_calls() {
    check(layers);
}

#[rustfmt::skip]
fn making(r: &mut Rows) {
    r.bad("Argument", &["from_vec", "[2, 2]"], |w| Tensor::from_vec(&w.device, vec![1.0f32; 3], &[2, 2]));
    r.bad("Argument", &["from_slice", "number 1"], |w| Tensor::from_slice(&w.device, &[0i64, 1 << 40], &[2]));
    r.bad("Argument", &["zeros", "-1"], |w| Tensor::zeros(&w.device, [2, -1]));
    r.bad("Argument", &["ones"], |w| Tensor::ones(&w.device, [1i64; 9]));
    r.bad("Limit", &["zeros"], |w| Tensor::zeros(&w.device, [1 << 16, 1 << 16]));
    r.bad("Argument", &["full"], |w| Tensor::full(&w.device, [i64::MAX, 2], 0.0));
    r.bad("Argument", &["arange", "step"], |w| Tensor::arange(&w.device, 0, 5, 0));
    r.bad("Argument", &["arange"], |w| Tensor::arange(&w.device, 0.0, f64::INFINITY, 1.0));
    r.bad("Shape", &["item", "[2]"], |w| w.t(&[2]).item());
    r.bad("Shape", &["dims", "[2, 3]"], |w| w.t(&[2, 3]).dims::<3>());
    r.bad("Gradient", &["backward"], |w| w.t(&[2]).backward());
    r.bad("Gradient", &["grad"], |w| { let x = w.t(&[2]); (&x * 2.0).grad(&[&x]) });
    r.bad("Gradient", &["grad"], |w| { let x = w.t(&[2]); x.cast(DType::I32).sum().grad(&[&x]) });
}

#[test]
fn making_and_reading() {
    check(making);
}

/// There are enough of them.
#[test]
fn at_least_sixty_rows() {
    let mut rows = Rows::default();
    let tables: [fn(&mut Rows); 8] = [elementwise, views, joins, reductions, products, indices, layers, making];
    tables.iter().for_each(|fill| fill(&mut rows));
    assert!(rows.0.len() >= 60, "{}", rows.0.len());
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
