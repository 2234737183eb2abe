//! Tells malignant from benign tumours by thirty measurements of cell nuclei, in five-fold cross-validation.
//!
//!     cargo run --release --example cancer
//!
//! Data: W. Wolberg, O. Mangasarian, N. Street, W. Street 1993, "Breast Cancer Wisconsin (Diagnostic)", UCI Machine
//! Learning Repository, doi.org/10.24432/C5DW2B, CC BY 4.0.

use kiln::data::files::csv::Csv;
use kiln::prelude::*;

/// The share of 569 tumours told right, each by a model that has not seen it.
pub(crate) const BAR: f64 = 0.97;

pub(crate) const FEATURES: usize = 30;

/// `train` and `test` with the mean and deviation of `train` taken out of each column.
fn standardized(train: &Tensor, test: &Tensor) -> [Tensor; 2] {
    let (mean, deviation) = (train.mean_axes([0], true), train.var([0], 1, true).sqrt());
    [train, test].map(|x| (x - &mean) / &deviation)
}

/// The untrained network: `x` [batch, FEATURES] → logits [batch, 2].
pub(crate) fn mlp(init: &mut Init) -> Sequential {
    let hidden = Sequential::new().push(Linear::new(FEATURES, 32, init)).push(Relu).push(Dropout::new(0.5, init));
    hidden.push(Linear::new(32, 2, init))
}

/// Trains on four fifths five times from `seed`, and gives the share of the others told right.
pub(crate) fn run(device: &Device, seed: u64, quick: bool) -> Result<f64> {
    let table = Csv::new().parse(include_bytes!("data/breast_cancer.csv"), "breast_cancer.csv")?;
    let set = table.classification(device, &(0..FEATURES).collect::<Vec<_>>(), "benign")?;
    let mut matrix = ConfusionMatrix::new(2);
    for (fold, (train, test)) in set.stratified_k_fold(5, seed)?.iter().enumerate().take(if quick { 1 } else { 5 }) {
        let ((x, y), (test_x, test_y)) = (train.all(), test.all());
        let [x, test_x] = standardized(&x, &test_x);
        let model = mlp(&mut Init::new(device, seed * 100 + fold as u64));
        let mut adam = AdamW::new(&model, 1e-2).weight_decay(1.0);
        let mut learn = adam.capture(|(x, y): &(Tensor, Tensor)| cross_entropy(&model.forward(x), y));
        x.eval()?;
        let batch = (x, y);
        for step in 0..100 {
            learn.set_lr(schedule::cosine(1e-2, step, 100, 0.0));
            learn.step(&batch)?;
        }
        model.eval();
        matrix.add_logits(&test_y, &model.forward(&test_x))?;
    }
    let [[malignant, missed], [alarms, benign]] = [0, 1].map(|truth| [0, 1].map(|said| matrix.counts()[truth][said]));
    println!("malignant: {malignant} found, {missed} missed; benign: {benign} found, {alarms} false alarms");
    println!("{:.2} % right", 100.0 * matrix.accuracy());
    Ok(matrix.accuracy())
}

fn main() -> Result<()> {
    let right = run(&Device::open()?, 42, false)?;
    assert!(right >= BAR, "{right} is less than {BAR}");
    Ok(())
}
