//! Normalisation in its functional forms.

use super::Table;
use super::input::{f, f_in};
use kiln::prelude::*;

const EPS: f32 = 1e-5;

/// Batch normalisation as it is while training: with the batch's own statistics.
fn batch(x: &[Tensor]) -> Tensor {
    let (mean, var) = x[0].batch_statistics();
    x[0].batch_norm(&mean, &var, Some(&x[1]), Some(&x[2]), EPS)
}

pub fn norms(t: &mut Table) {
    for n in [1, 3, 17, 65, 129, 1000] {
        t.case(format!("norms/layer/{n}"), [f(&[5, n]), f(&[n]), f(&[n])], |x| {
            x[0].layer_norm(1, Some(&x[1]), Some(&x[2]), EPS)
        });
        t.case(format!("norms/rms/{n}"), [f(&[5, n]), f(&[n])], |x| x[0].rms_norm(1, Some(&x[1]), 1e-6));
    }
    t.case("norms/layer/plain", [f(&[3, 5, 17])], |x| x[0].layer_norm(1, None, None, EPS));
    t.case("norms/layer/two_axes", [f(&[3, 5, 7]), f(&[5, 7]), f(&[5, 7])], |x| {
        x[0].layer_norm(2, Some(&x[1]), Some(&x[2]), EPS)
    });
    t.case("norms/layer/strided", [f(&[17, 5]), f(&[17]), f(&[17])], |x| {
        x[0].t().layer_norm(1, Some(&x[1]), Some(&x[2]), EPS)
    });
    // Numbers near 100 with deviations of 0.3: their sum, 13,000, has steps of 1e-3, so that the mean is off by 1e-5,
    // which is 3e-5 deviations.
    t.case("norms/layer/large_offset", [f_in(&[5, 129], 100.0, 101.0)], |x| x[0].layer_norm(1, None, None, EPS))
        .within(6e-5, 1e-4);
    t.case("norms/layer/twice", [f(&[3, 5]), f(&[5]), f(&[5])], |x| x[0].layer_norm(1, Some(&x[1]), Some(&x[2]), EPS));
    t.case("norms/standardize", [f(&[5, 65])], |x| x[0].standardize(EPS));
    t.case("norms/rms/twice", [f(&[3, 5]), f(&[5])], |x| x[0].rms_norm(1, Some(&x[1]), 1e-6));
    let group: [(&str, &[usize], usize); 3] =
        [("2", &[2, 6, 5], 2), ("1", &[2, 3, 5, 7], 1), ("each", &[2, 5, 9, 3], 5)];
    for (name, shape, groups) in group {
        t.case(format!("norms/group/{name}"), [f(shape), f(&shape[1..2]), f(&shape[1..2])], move |x| {
            x[0].group_norm(groups, Some(&x[1]), Some(&x[2]), EPS)
        });
    }
    let shapes: [(&str, &[usize]); 4] =
        [("2d", &[17, 5]), ("3d", &[3, 17, 5]), ("4d", &[3, 5, 7, 9]), ("twice", &[5, 3])];
    for (name, shape) in shapes {
        t.case(format!("norms/batch/{name}"), [f(shape), f(&shape[1..2]), f(&shape[1..2])], batch);
    }
    t.case("norms/batch/eval", [f(&[3, 5, 7]), f(&[5]), f_in(&[5], 0.5, 2.0), f(&[5]), f(&[5])], |x| {
        x[0].batch_norm(&x[1].detach(), &x[2].detach(), Some(&x[3]), Some(&x[4]), EPS)
    });
}
