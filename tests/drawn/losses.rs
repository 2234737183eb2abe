//! What the losses of the draw are called here.

use super::call::{Call, Text};
use kiln::loss::*;
use kiln::nn::pairwise_distance;
use kiln::prelude::Tensor;

/// The loss that `c` names; `None` if that is none.
pub fn loss(c: &Call, x: &[Tensor]) -> Option<Tensor> {
    let reduction = match c.text("reduction") {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        _ => Reduction::Mean,
    };
    let or = |key: &str, default: f64| if c.has(key) { c.number(key) } else { default };
    let weight = |at: usize| x.get(at).filter(|_| c.flag("weight")).cloned();
    let (a, b) = (x.first()?, x.get(1)?);
    Some(match c.name() {
        "MSELoss" if c.flag("weight") => mse_loss_weighted(a, b, &x[2], reduction),
        "L1Loss" if c.flag("weight") => l1_loss_weighted(a, b, &x[2], reduction),
        "HuberLoss" if c.flag("weight") => Huber { delta: or("delta", 1.0), reduction }.weighted(a, b, &x[2]),
        "MSELoss" => mse_loss_with(a, b, reduction),
        "L1Loss" => l1_loss_with(a, b, reduction),
        "SmoothL1Loss" => SmoothL1 { beta: or("beta", 1.0), reduction }.loss(a, b),
        "HuberLoss" => Huber { delta: or("delta", 1.0), reduction }.loss(a, b),
        "SoftMarginLoss" => soft_margin_loss(a, b, reduction),
        "HingeEmbeddingLoss" => HingeEmbedding { margin: or("margin", 1.0), reduction }.loss(a, b),
        "BCELoss" => BinaryCrossEntropy { weight: weight(2), pos_weight: None, reduction }.of_probabilities(a, b),
        "BCEWithLogitsLoss" => {
            let pos_weight = x.last().filter(|_| c.flag("pos_weight")).cloned();
            BinaryCrossEntropy { weight: weight(2), pos_weight, reduction }.loss(a, b)
        }
        "KLDivLoss" => {
            let loss = KlDiv { log_target: c.flag("log_target"), reduction };
            if c.text("reduction") == "batchmean" { loss.batch_mean(a, b) } else { loss.loss(a, b) }
        }
        "PoissonNLLLoss" => {
            let (log_input, full) = (!c.flag("rates"), c.flag("full"));
            PoissonNll { log_input, full, eps: or("eps", 1e-8), reduction }.loss(a, b)
        }
        "GaussianNLLLoss" => GaussianNll { full: c.flag("full"), eps: or("eps", 1e-6), reduction }.loss(a, b, &x[2]),
        name @ ("CrossEntropyLoss" | "NLLLoss") => {
            let ignore_index = if c.has("ignore_index") { c.int("ignore_index") as i32 } else { -100 };
            let label_smoothing = or("label_smoothing", 0.0);
            let loss = CrossEntropy { weight: weight(2), ignore_index, label_smoothing, reduction };
            if name == "NLLLoss" { loss.nll(a, b) } else { loss.loss(a, b) }
        }
        "MultiMarginLoss" => {
            let p = if c.has("p") { c.int("p") as u32 } else { 1 };
            MultiMargin { p, margin: or("margin", 1.0), weight: weight(2), reduction }.loss(a, b)
        }
        "MultiLabelMarginLoss" => multilabel_margin_loss(a, b, reduction),
        "MultiLabelSoftMarginLoss" => MultiLabelSoftMargin { weight: weight(2), reduction }.loss(a, b),
        "MarginRankingLoss" => MarginRanking { margin: or("margin", 0.0), reduction }.loss(a, b, &x[2]),
        "CosineEmbeddingLoss" => CosineEmbedding { margin: or("margin", 0.0), reduction }.loss(a, b, &x[2]),
        name @ ("TripletMarginLoss" | "TripletMarginWithDistanceLoss") => {
            let (margin, eps, swap) = (or("margin", 1.0), or("eps", 1e-6), c.flag("swap"));
            let loss = TripletMargin { margin, p: or("p", 2.0) as f32, eps, swap, reduction };
            match c.text("distance") {
                _ if name == "TripletMarginLoss" => loss.loss(a, b, &x[2]),
                "l1" => loss.with_distance(a, b, &x[2], |x, y| (x - y).abs().sum_axes(-1, false)),
                _ => loss.with_distance(a, b, &x[2], |x, y| pairwise_distance(x, y, 2.0, 1e-6, false)),
            }
        }
        "CTCLoss" => {
            let blank = if c.has("blank") { c.size("blank") } else { 0 };
            let loss = Ctc { blank, zero_infinity: c.flag("zero_infinity"), reduction };
            loss.loss(&a.log_softmax(-1), b, &x[2], &x[3])
        }
        _ => return None,
    })
}
