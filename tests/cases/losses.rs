//! Losses.

use super::Table;
use super::input::{f, f_in, i};
use kiln::loss::{self, BinaryCrossEntropy, CrossEntropy, Reduction};

/// Reductions other than the mean.
const REDUCTIONS: [(&str, Reduction); 2] = [("sum", Reduction::Sum), ("none", Reduction::None)];

pub fn losses(t: &mut Table) {
    t.case("losses/mse", [f(&[17, 5]), f(&[17, 5])], |x| loss::mse_loss(&x[0], &x[1]));
    t.case("losses/l1", [f(&[17, 5]), f(&[17, 5])], |x| loss::l1_loss(&x[0], &x[1]));
    t.case("losses/smooth_l1", [f(&[17, 5]), f(&[17, 5])], |x| loss::smooth_l1_loss(&x[0], &x[1], 0.5));
    t.case("losses/huber", [f(&[17, 5]), f(&[17, 5])], |x| loss::huber_loss(&x[0], &x[1], 0.5));
    for (name, reduction) in REDUCTIONS {
        t.case(format!("losses/mse/{name}"), [f(&[17, 5]), f(&[17, 5])], move |x| {
            loss::mse_loss_with(&x[0], &x[1], reduction)
        });
        t.case(format!("losses/kl_div/{name}"), [f_in(&[17, 5], -4.0, 0.0), f_in(&[17, 5], 0.0, 1.0)], move |x| {
            loss::kl_div(&x[0], &x[1], reduction)
        });
    }
    t.case("losses/bce", [f_in(&[17, 5], 0.05, 0.95), f_in(&[17, 5], 0.0, 1.0)], |x| {
        loss::binary_cross_entropy(&x[0], &x[1])
    });
    t.case("losses/bce_with_logits", [f_in(&[17, 5], -4.0, 4.0), f_in(&[17, 5], 0.0, 1.0)], |x| {
        loss::binary_cross_entropy_with_logits(&x[0], &x[1])
    });
    t.case("losses/bce_with_logits/large", [f_in(&[17], -1e3, 1e3), f_in(&[17], 0.0, 1.0)], |x| {
        loss::binary_cross_entropy_with_logits(&x[0], &x[1])
    });
    t.case("losses/bce_with_logits/pos_weight", [f(&[17, 5]), f_in(&[17, 5], 0.0, 1.0), f_in(&[5], 0.5, 2.0)], |x| {
        BinaryCrossEntropy { pos_weight: Some(x[2].detach()), ..Default::default() }.loss(&x[0], &x[1])
    });
    cross_entropy(t);
}

fn cross_entropy(t: &mut Table) {
    for (rows, classes) in [(1, 1), (1, 10), (17, 10), (65, 129), (3, 1000)] {
        let inputs = [f_in(&[rows, classes], -4.0, 4.0), i(&[rows], 0, classes as i64)];
        t.case(format!("losses/cross_entropy/{rows}x{classes}"), inputs, |x| loss::cross_entropy(&x[0], &x[1]));
    }
    t.case("losses/nll", [f_in(&[17, 5], -4.0, 0.0), i(&[17], 0, 5)], |x| loss::nll_loss(&x[0], &x[1]));
    t.case("losses/cross_entropy/smoothing", [f(&[17, 10]), i(&[17], 0, 10)], |x| {
        CrossEntropy { label_smoothing: 0.1, ..Default::default() }.loss(&x[0], &x[1])
    });
    t.case("losses/cross_entropy/weights", [f(&[17, 10]), i(&[17], 0, 10), f_in(&[10], 0.5, 2.0)], |x| {
        CrossEntropy { weight: Some(x[2].detach()), ..Default::default() }.loss(&x[0], &x[1])
    });
    t.case("losses/cross_entropy/ignore", [f(&[17, 5]), i(&[17], 0, 5)], |x| {
        CrossEntropy { ignore_index: 2, ..Default::default() }.loss(&x[0], &x[1])
    });
    t.case("losses/cross_entropy/everything", [f(&[17, 5]), i(&[17], 0, 5), f_in(&[5], 0.5, 2.0)], |x| {
        CrossEntropy { weight: Some(x[2].detach()), ignore_index: 2, label_smoothing: 0.2, ..Default::default() }
            .loss(&x[0], &x[1])
    });
    for (name, reduction) in REDUCTIONS {
        let inputs = [f(&[17, 5]), i(&[17], 0, 5), f_in(&[5], 0.5, 2.0)];
        t.case(format!("losses/cross_entropy/everything/{name}"), inputs, move |x| {
            CrossEntropy { weight: Some(x[2].detach()), ignore_index: 2, label_smoothing: 0.2, reduction }
                .loss(&x[0], &x[1])
        });
    }
    t.case("losses/cross_entropy/probabilities", [f(&[17, 5]), f_in(&[17, 5], 0.0, 1.0)], |x| {
        CrossEntropy { label_smoothing: 0.1, ..Default::default() }.loss(&x[0], &x[1])
    });
    t.case("losses/cross_entropy/pixels", [f(&[2, 5, 3, 4]), i(&[2, 3, 4], 0, 5)], |x| {
        loss::cross_entropy(&x[0], &x[1])
    });
    t.case("losses/cross_entropy/one_row", [f(&[5]), i(&[], 0, 5)], |x| loss::cross_entropy(&x[0], &x[1]));
    t.case("losses/cross_entropy/large", [f_in(&[17, 10], -1e3, 1e3), i(&[17], 0, 10)], |x| {
        loss::cross_entropy(&x[0], &x[1])
    });
    t.case("losses/cross_entropy/twice", [f(&[3, 5]), i(&[3], 0, 5)], |x| loss::cross_entropy(&x[0], &x[1]));
}
