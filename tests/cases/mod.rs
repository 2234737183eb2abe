//! **The case table.** A row is a name, its inputs and an expression; what PyTorch answers to it, forward and
//! backward, is in `tests/data/reference.bin`, made by `scripts/reference.py` from a row of the same name.
//!
//! To add a row, add it in both places and run the script. Whether a row has gradients, and second gradients,
//! is what the reference file holds for it.

// Each test program that includes this module uses a part of it.
#![allow(dead_code)]

pub mod compare;
pub mod input;
pub mod reference;

mod binary;
mod conv;
mod create;
mod dtypes;
mod fuse;
mod index;
mod join;
mod losses;
mod matmul;
mod norms;
mod reduce;
mod scan;
mod softmax;
mod sort;
mod unary;
mod views;

use compare::{Scale, Tolerance};
use input::Input;
use kiln::prelude::*;

/// One row.
pub struct Case {
    /// `family/op/detail`.
    pub name: String,
    pub inputs: Vec<Input>,
    pub run: Run,
    pub tolerance: Tolerance,
}

type Run = Box<dyn Fn(&[Tensor]) -> Vec<Tensor> + Send + Sync>;

impl Case {
    /// Sums of products: the error is taken relative to the greatest element of the tensor, which stands for
    /// the sum of |terms|; an element that is small because its terms cancel cannot be better than its terms.
    pub fn contraction(&mut self) -> &mut Self {
        self.tolerance.scale = Scale::Tensor;
        self
    }

    /// Accuracy near zero: the error is taken relative to the element itself.
    pub fn relative(&mut self) -> &mut Self {
        self.tolerance.scale = Scale::Relative;
        self
    }

    /// Other bounds than 1e-5 forward and 1e-4 for gradients; the reason stands beside the call.
    pub fn within(&mut self, forward: f64, gradient: f64) -> &mut Self {
        (self.tolerance.forward, self.tolerance.gradient) = (forward, gradient);
        self
    }
}

/// What an expression of a row gives: one tensor or several.
pub trait Outputs {
    fn outputs(self) -> Vec<Tensor>;
}

impl Outputs for Tensor {
    fn outputs(self) -> Vec<Tensor> {
        vec![self]
    }
}

impl Outputs for Vec<Tensor> {
    fn outputs(self) -> Vec<Tensor> {
        self
    }
}

impl<const N: usize> Outputs for [Tensor; N] {
    fn outputs(self) -> Vec<Tensor> {
        self.into()
    }
}

impl Outputs for (Tensor, Tensor) {
    fn outputs(self) -> Vec<Tensor> {
        vec![self.0, self.1]
    }
}

/// The rows of one family, while they are written down.
#[derive(Default)]
pub struct Table(pub Vec<Case>);

impl Table {
    pub fn case<O: Outputs>(
        &mut self,
        name: impl Into<String>,
        inputs: impl Into<Vec<Input>>,
        run: impl Fn(&[Tensor]) -> O + Send + Sync + 'static,
    ) -> &mut Case {
        let (name, inputs) = (name.into(), inputs.into());
        let run: Run = Box::new(move |x| run(x).outputs());
        self.0.push(Case { name, inputs, run, tolerance: Tolerance::default() });
        self.0.last_mut().unwrap()
    }
}

/// A function of one tensor, for tables of them.
pub type Fun = fn(&Tensor) -> Tensor;
/// A function of one tensor along an axis.
pub type Along = fn(&Tensor, i64) -> Tensor;
/// A function of two.
pub type Fun2 = fn(&Tensor, &Tensor) -> Tensor;

/// `3x17`, or `scalar`: a shape in a row's name.
fn dims(shape: &[usize]) -> String {
    let parts: Vec<String> = shape.iter().map(usize::to_string).collect();
    if parts.is_empty() { "scalar".into() } else { parts.join("x") }
}

/// A float as Python writes it in a row's name.
fn python(x: f64) -> String {
    if x.is_nan() { "nan".into() } else { format!("{x:?}") }
}

/// Fills a table with the rows of a family.
type Fill = fn(&mut Table);

/// The families and their rows.
pub const FAMILIES: [(&str, Fill); 19] = [
    ("unary", unary::unary),
    ("scalar", unary::scalar),
    ("binary", binary::binary),
    ("dtypes", dtypes::dtypes),
    ("create", create::create),
    ("reduce", reduce::reduce),
    ("scan", scan::scan),
    ("views", views::views),
    ("join", join::join),
    ("matmul", matmul::matmul),
    ("einsum", matmul::einsum),
    ("index", index::index),
    ("sort", sort::sort),
    ("softmax", softmax::softmax),
    ("conv", conv::conv),
    ("pool", conv::pool),
    ("norms", norms::norms),
    ("losses", losses::losses),
    ("fuse", fuse::fuse),
];
