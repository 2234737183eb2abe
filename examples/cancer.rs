//! Tells malignant from benign tumours by thirty measurements of cell nuclei, in five-fold cross-validation.
//!
//!     cargo run --release --example cancer
//!
//! Data: W. Wolberg, O. Mangasarian, N. Street, W. Street 1993, "Breast Cancer Wisconsin (Diagnostic)", UCI Machine
//! Learning Repository, doi.org/10.24432/C5DW2B, CC BY 4.0.

use kiln::prelude::*;

/// The share of 569 tumours told right, each by a model that has not seen it.
pub(crate) const BAR: f64 = 0.97;

const FEATURES: usize = 30;
const FOLDS: usize = 5;

/// `train` and `test` with the mean and deviation of `train` taken out of each column.
fn standardized(train: &Tensor, test: &Tensor) -> [Tensor; 2] {
    let (mean, deviation) = (train.mean_axes([0], true), train.var([0], 1, true).sqrt());
    [train, test].map(|x| (x - &mean) / &deviation)
}

/// Trains on four fifths five times from `seed`, and gives the share of the others told right.
pub(crate) fn run(device: &Device, seed: u64, quick: bool) -> Result<f64> {
    let rows: Vec<Vec<f32>> = (include_str!("data/breast_cancer.csv").lines().skip(1))
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap_or(f32::NAN)).collect())
        .collect();
    let values: Vec<f32> = rows.iter().flat_map(|row| row[..FEATURES].to_vec()).collect();
    let labels: Vec<i32> = rows.iter().map(|row| row[FEATURES] as i32).collect();
    let set = TensorDataset::new(device, (values, [FEATURES]), (labels.clone(), []))?;

    // stratified: the rows of each class take turns in the folds
    let mut turn = [0, 0];
    let mut fold_of = |label: i32| {
        turn[label as usize] += 1;
        turn[label as usize] % FOLDS
    };
    let folds: Vec<usize> = labels.iter().map(|&label| fold_of(label)).collect();
    let mut matrix = ConfusionMatrix::new(2);
    for fold in 0..if quick { 1 } else { FOLDS } {
        let part =
            |held_out| set.subset(&(0..rows.len()).filter(|&i| (folds[i] == fold) == held_out).collect::<Vec<_>>());
        let ((x, y), (test_x, test_y)) = (part(false).all(), part(true).all());
        let [x, test_x] = standardized(&x, &test_x);
        let init = &mut Init::new(device, seed * 100 + fold as u64);
        let model = (Sequential::new().push(Linear::new(FEATURES, 32, init)).push(Relu).push(Dropout::new(0.5, init)))
            .push(Linear::new(32, 2, init));
        let mut adam = AdamW::new(&model, 1e-2).weight_decay(1.0);
        let mut train = adam.capture(|(x, y): &(Tensor, Tensor)| cross_entropy(&model.forward(x), y));
        x.eval()?;
        let batch = (x, y);
        for step in 0..100 {
            train.set_lr(schedule::cosine(1e-2, step, 100, 0.0));
            train.step(&batch)?;
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
