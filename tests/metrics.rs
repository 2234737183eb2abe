//! Metrics against scikit-learn (scripts/reference_metrics.py), and against values worked out by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::metrics::{
    Average, Bleu, Calibration, ClassRankings, ConfusionMatrix, MultiLabel, Ranking, Regression, accuracy,
    top_k_accuracy,
};
use kiln::nn::StateDict;
use kiln::prelude::*;
use std::path::Path;

struct Reference(StateDict, Device);

impl Reference {
    fn load() -> Self {
        let device = Device::open().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/metrics.safetensors");
        Self(store::load_tensors(&device, path).unwrap().0, device)
    }

    fn list(&self, name: &str) -> Vec<f64> {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}")).to_vec::<f64>().unwrap()
    }

    #[track_caller]
    fn check(&self, name: &str, got: &[f64]) {
        let want = self.list(name);
        assert_eq!(got.len(), want.len(), "{name}");
        for (got, want) in got.iter().zip(want) {
            // the file holds float64, the tensors that carry it float32
            assert!((got - want).abs() <= 2e-6 * (1.0 + want.abs()), "{name}: {got} is not {want}");
        }
    }
}

#[test]
fn confusion() {
    let reference = Reference::load();
    let ints = |name: &str| reference.list(name).iter().map(|&x| x as i32).collect::<Vec<_>>();
    let (truth, answer) = (ints("confusion.truth"), ints("confusion.answer"));
    let mut matrix = ConfusionMatrix::new(6);
    for (truth, answer) in truth.chunks(33).zip(answer.chunks(33)) {
        matrix.add(truth, answer).unwrap();
    }
    let each = |of: fn(&ConfusionMatrix, usize) -> f64| (0..6).map(|c| of(&matrix, c)).collect::<Vec<_>>();
    reference.check("confusion.precision.each", &each(ConfusionMatrix::precision));
    reference.check("confusion.recall.each", &each(ConfusionMatrix::recall));
    reference.check("confusion.f1.each", &each(ConfusionMatrix::f1));
    reference.check("confusion.iou.each", &each(ConfusionMatrix::iou));
    for (name, average) in [("micro", Average::Micro), ("macro", Average::Macro), ("weighted", Average::Weighted)] {
        reference.check(&format!("confusion.precision.{name}"), &[matrix.mean_precision(average)]);
        reference.check(&format!("confusion.recall.{name}"), &[matrix.mean_recall(average)]);
        reference.check(&format!("confusion.f1.{name}"), &[matrix.mean_f1(average)]);
        reference.check(&format!("confusion.iou.{name}"), &[matrix.mean_iou(average)]);
    }
    reference.check("confusion.accuracy", &[matrix.accuracy()]);
    reference.check("confusion.balanced", &[matrix.balanced_accuracy()]);
    reference.check("confusion.matthews", &[matrix.matthews()]);
    reference.check("confusion.kappa", &[matrix.kappa()]);
    assert!(ConfusionMatrix::new(3).accuracy().is_nan());
}

#[test]
fn ranking() {
    let reference = Reference::load();
    for name in ["ties", "plain"] {
        let (scores, labels) =
            (reference.list(&format!("rank.{name}.scores")), reference.list(&format!("rank.{name}.labels")));
        let mut ranking = Ranking::default();
        for (scores, labels) in scores.chunks(50).zip(labels.chunks(50)) {
            let tensor = |v: &[f64]| Tensor::from_vec(&reference.1, v.iter().map(|&x| x as f32).collect(), &[v.len()]);
            ranking.add_tensors(&tensor(scores), &tensor(labels)).unwrap();
        }
        reference.check(&format!("rank.{name}.auc"), &[ranking.roc_auc()]);
        reference.check(&format!("rank.{name}.ap"), &[ranking.average_precision()]);
        let (xs, ys): (Vec<f64>, Vec<f64>) = ranking.roc_curve().iter().map(|p| (p.x, p.y)).unzip();
        reference.check(&format!("rank.{name}.fpr"), &xs);
        reference.check(&format!("rank.{name}.tpr"), &ys);
        let (xs, ys): (Vec<f64>, Vec<f64>) = ranking.precision_recall_curve().iter().map(|p| (p.x, p.y)).unzip();
        let want = reference.list(&format!("rank.{name}.recall"));
        assert_eq!(xs.len(), want.len());
        reference.check(&format!("rank.{name}.recall"), &xs);
        reference.check(&format!("rank.{name}.precision"), &ys);
    }
    assert!(Ranking::default().roc_auc().is_nan());
    let mut ranking = Ranking::default();
    assert!(matches!(ranking.add(&[1.0], &[]), Err(Error::Argument { .. })));
}

const AVERAGES: [(&str, Average); 3] =
    [("micro", Average::Micro), ("macro", Average::Macro), ("weighted", Average::Weighted)];

#[test]
fn shares_of_nothing_are_what_is_asked_for() {
    let reference = Reference::load();
    let ints = |name: &str| reference.list(name).iter().map(|&x| x as i32).collect::<Vec<_>>();
    for (name, value) in [("one", 1.0), ("nan", f64::NAN)] {
        let mut matrix = ConfusionMatrix::new(5).zero_division(value);
        matrix.add(&ints("sparse.truth"), &ints("sparse.answer")).unwrap();
        for (by, average) in AVERAGES {
            reference.check(&format!("sparse.{name}.precision.{by}"), &[matrix.mean_precision(average)]);
            reference.check(&format!("sparse.{name}.recall.{by}"), &[matrix.mean_recall(average)]);
            reference.check(&format!("sparse.{name}.f1.{by}"), &[matrix.mean_f1(average)]);
        }
    }
    let labels = Tensor::new(&reference.1, [0i32, 1]);
    let logits = Tensor::zeros(&reference.1, [3, 2]);
    assert!(matches!(ConfusionMatrix::new(2).add_logits(&labels, &logits), Err(Error::Shape { .. })));
}

#[test]
fn several_labels() {
    let reference = Reference::load();
    let (truth, scores) = (reference.0["labels.truth"].clone(), reference.0["labels.scores"].clone());
    let mut labels = MultiLabel::new(5);
    for from in [0, 15] {
        let rows = |t: &Tensor| t.slice(0, from, if from == 0 { 15 } else { 40 }, 1);
        labels.add_tensors(&rows(&scores), &rows(&truth), 0.5).unwrap();
    }
    for (by, average) in AVERAGES {
        reference.check(&format!("labels.precision.{by}"), &[labels.mean_precision(average)]);
        reference.check(&format!("labels.recall.{by}"), &[labels.mean_recall(average)]);
        reference.check(&format!("labels.f1.{by}"), &[labels.mean_f1(average)]);
        reference.check(&format!("labels.iou.{by}"), &[labels.mean_iou(average)]);
    }
    let each = |of: fn(&MultiLabel, usize) -> f64| (0..5).map(|label| of(&labels, label)).collect::<Vec<_>>();
    reference.check("labels.precision.each", &each(MultiLabel::precision));
    reference.check("labels.recall.each", &each(MultiLabel::recall));
    reference.check("labels.f1.each", &each(MultiLabel::f1));
    reference.check("labels.iou.each", &each(MultiLabel::iou));
    reference.check("labels.accuracy", &[labels.accuracy()]);
    reference.check("labels.hamming", &[labels.hamming_loss()]);
    assert!(matches!(labels.add(&[true; 4], &[true; 4]), Err(Error::Argument { .. })));

    // without the label that is never true, of which there is no area
    let whole = |t: &Tensor| Tensor::cat(&[&t.narrow(1, 0, 3), &t.narrow(1, 4, 1)], 1);
    let mut rankings = ClassRankings::new(4);
    rankings.add_tensors(&whole(&scores), &whole(&truth)).unwrap();
    let mut rest = ClassRankings::new(3);
    rest.add_tensors(&reference.0["rest.scores"], &reference.0["rest.labels"]).unwrap();
    for (by, average) in AVERAGES {
        reference.check(&format!("labels.auc.{by}"), &[rankings.mean_roc_auc(average)]);
        reference.check(&format!("labels.ap.{by}"), &[rankings.mean_average_precision(average)]);
        reference.check(&format!("rest.auc.{by}"), &[rest.mean_roc_auc(average)]);
    }
    let mut all = ClassRankings::new(5);
    all.add_tensors(&scores, &truth).unwrap();
    assert!(all.mean_roc_auc(Average::Macro).is_nan() && all.classes()[0].roc_auc() > 0.5);
    assert!(matches!(Ranking::default().add(&[f64::NAN], &[true]), Err(Error::Argument { .. })));
}

#[test]
fn regression() {
    let reference = Reference::load();
    let (predicted, wanted) = (reference.list("regression.predicted"), reference.list("regression.wanted"));
    let mut errors = Regression::default();
    predicted.iter().zip(&wanted).for_each(|(&p, &w)| errors.add(p, w).unwrap());
    // inputs of about 1000 passed through float32: 1e-4 of an error of 1
    let close = |name: &str, got: f64| {
        let want = reference.list(name)[0];
        assert!((got - want).abs() < 1e-4 * (1.0 + want.abs()), "{name}: {got} is not {want}");
    };
    close("regression.mae", errors.mae());
    close("regression.mse", errors.mse());
    close("regression.rmse", errors.rmse());
    close("regression.max", errors.max_error());
    close("regression.r2", errors.r2());
    let mut constant = Regression::default();
    constant.add(1.0, 1.0).unwrap();
    assert!(constant.r2().is_nan());
    constant.add(1.0, 1.0).unwrap();
    assert_eq!(constant.r2(), 1.0);
    constant.add(2.0, 1.0).unwrap();
    assert_eq!(constant.r2(), 0.0);
    let (a, b) = (Tensor::ones(&reference.1, [3]), Tensor::ones(&reference.1, [4]));
    assert!(matches!(constant.add_tensors(&a, &b), Err(Error::Argument { .. })));
}

#[test]
fn top_k() {
    let reference = Reference::load();
    let (logits, labels) = (reference.0["top.logits"].clone(), reference.0["top.labels"].clone());
    for k in [1, 2, 5, 7] {
        let share = top_k_accuracy(&logits, &labels, k).item().unwrap();
        reference.check(&format!("top.{k}"), &[f64::from(share)]);
    }
}

#[test]
fn calibration() {
    let mut calibration = Calibration::new(5);
    // bins (0, .2], (.2, .4], …: 0.2 belongs to the first, 0.0 too
    calibration.add(&[0.2, 0.0, 0.3, 0.9, 1.0], &[true, false, false, true, false]).unwrap();
    let counts: Vec<f64> = calibration.bins().iter().map(|b| b.count).collect();
    assert_eq!(counts, [2.0, 1.0, 0.0, 0.0, 2.0]);
    assert!((calibration.error() - (0.8 + 0.3 + 0.9) / 5.0).abs() < 1e-12);
    assert!((calibration.max_error() - 0.45).abs() < 1e-12);
    let device = Device::open().unwrap();
    let logits = Tensor::new(&device, [[0.0, 0.0], [100.0, 0.0]]);
    let mut calibration = Calibration::new(10);
    calibration.add_logits(&logits, &Tensor::new(&device, [1, 0])).unwrap();
    assert!((calibration.error() - 0.25).abs() < 1e-6);
}

#[test]
fn bleu() {
    let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
    // Papineni et al., example 1: modified precisions 17/18, 10/17, 7/16, 4/15
    let candidate = "It is a guide to action which ensures that the military always obeys the commands of the party";
    let references = [
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "It is the guiding principle which guarantees the military forces always being under the command of the Party",
        "It is the practical guide for the army always to heed the directions of the party",
    ];
    let mut bleu = Bleu::default();
    bleu.add(&words(candidate), &references.map(words));
    let want = (17.0 / 18.0_f64 * 10.0 / 17.0 * 7.0 / 16.0 * 4.0 / 15.0).powf(0.25);
    assert!((bleu.value() - want).abs() < 1e-12, "{} is not {want}", bleu.value());
    // a candidate of half the length: brevity penalty e^(1 − 2)
    let mut short = Bleu::default();
    short.add(&[1, 2, 3, 4], &[[1, 2, 3, 4, 5, 6, 7, 8]]);
    assert!((short.value() - (-1.0_f64).exp()).abs() < 1e-12);
    let mut none = Bleu::default();
    none.add(&[1, 2, 3], &[[4, 5, 6]]);
    assert_eq!(none.value(), 0.0);
}

/// What scikit-learn answers with a ValueError, and what would count for something else than was meant. Nothing of a
/// batch that is refused counts.
#[test]
fn what_is_no_answer_is_refused() {
    let device = Device::open().unwrap();
    let argument = |got: Result<()>| assert!(matches!(got, Err(Error::Argument { .. })), "{got:?}");
    let shape = |got: Result<()>| assert!(matches!(got, Err(Error::Shape { .. })), "{got:?}");

    let mut matrix = ConfusionMatrix::new(2);
    for (truth, answers) in
        [(&[0, 1, 2][..], &[0, 1, 1][..]), (&[0, -1], &[0, 1]), (&[0, 1], &[1, 2]), (&[0], &[-1]), (&[0, 1], &[0])]
    {
        argument(matrix.add(truth, answers));
    }
    let said = matrix.add(&[0, 1, 7], &[0, 1, 1]).unwrap_err().to_string();
    assert!(said.contains("truth = 7 (entry 2)") && said.contains("metrics.rs"), "{said}");
    let logits = Tensor::new(&device, [[0.0, 1.0], [2.0, 1.0]]);
    let broken = Tensor::new(&device, [[0.0, f32::NAN], [2.0, 1.0]]);
    let labels = |list: [i32; 2]| Tensor::new(&device, list);
    argument(matrix.add_logits(&labels([0, 2]), &logits));
    argument(matrix.add_logits(&labels([-100, 1]), &logits));
    argument(matrix.add_logits(&labels([0, 1]), &broken));
    // more classes in the logits than the matrix has
    argument(matrix.add_logits(&Tensor::new(&device, [0]), &Tensor::new(&device, [[0.0, 1.0, 2.0]])));
    shape(matrix.add_logits(&Tensor::new(&device, [1]), &logits));
    shape(matrix.add_logits(&Tensor::new(&device, [[0], [1]]), &logits));
    assert!(matches!(matrix.add_logits(&labels([0, 1]).cast(DType::F32), &logits), Err(Error::DType { .. })));
    assert_eq!(matrix, ConfusionMatrix::new(2));
    matrix.add(&[], &[]).unwrap();
    assert!(matrix.accuracy().is_nan() && matrix.mean_f1(Average::Macro).is_nan());

    // a label for all rows would be right or wrong for each of them
    for wrong in [Tensor::new(&device, [1]), Tensor::new(&device, [[0], [1]]), Tensor::new(&device, 1)] {
        shape(accuracy(&logits, &wrong).eval());
        shape(top_k_accuracy(&logits, &wrong, 1).eval());
    }
    assert!(matches!(top_k_accuracy(&logits, &labels([0, 1]), 3).eval(), Err(Error::Argument { .. })));
    assert_eq!(accuracy(&logits, &labels([1, 5])).item().unwrap(), 0.5);
    let deep = logits.reshape([1, 2, 1, 2]);
    assert_eq!(accuracy(&deep, &labels([1, 0]).reshape([1, 2, 1])).item().unwrap(), 1.0);

    let mut calibration = Calibration::new(3);
    for confidence in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        argument(calibration.add(&[0.5, confidence], &[true, true]));
    }
    argument(calibration.add(&[0.5], &[]));
    argument(calibration.add_logits(&broken, &labels([0, 1])));
    argument(calibration.add_logits(&logits, &labels([0, 2])));
    shape(calibration.add_logits(&logits, &Tensor::new(&device, [1])));
    assert_eq!(calibration, Calibration::new(3));
    assert!(calibration.error().is_nan());

    let pair = |a: f32, b: f32| Tensor::new(&device, [a, b]);
    let mut ranking = Ranking::default();
    argument(ranking.add(&[0.5, f64::NAN], &[true, false]));
    argument(ranking.add_tensors(&pair(0.5, f32::NAN), &pair(1.0, 0.0)));
    for label in [f32::NAN, 2.0, -1.0] {
        argument(ranking.add_tensors(&pair(0.5, 0.1), &pair(label, 0.0)));
    }
    argument(ranking.add_tensors(&pair(0.5, 0.1), &Tensor::new(&device, [1.0])));
    assert_eq!(ranking, Ranking::default());

    let mut answered = MultiLabel::new(2);
    let mut rankings = ClassRankings::new(2);
    let yes = Tensor::new(&device, [[1.0, 0.0], [0.0, 1.0]]);
    argument(answered.add_tensors(&broken, &yes, 0.5));
    argument(answered.add_tensors(&logits, &(&yes * 3.0), 0.5));
    argument(rankings.add_tensors(&broken, &yes));
    argument(rankings.add_tensors(&logits, &(&yes * f32::NAN)));
    shape(answered.add_tensors(&logits.reshape([4, 1]), &yes.reshape([4, 1]), 0.5));
    shape(rankings.add_tensors(&logits.reshape([1, 4]), &yes.reshape([1, 4])));
    let got = rankings.add_tensors(&logits, &labels([0, 2]));
    assert!(matches!(got, Err(Error::Index { .. })), "{got:?}");
    assert_eq!((answered, rankings), (MultiLabel::new(2), ClassRankings::new(2)));

    let mut errors = Regression::default();
    for number in [f64::NAN, f64::INFINITY] {
        argument(errors.add(number, 1.0));
        argument(errors.add(1.0, number));
    }
    argument(errors.add_tensors(&pair(0.5, f32::NAN), &pair(1.0, 0.0)));
    assert_eq!(errors, Regression::default());
    assert!(errors.mae().is_nan() && errors.r2().is_nan());
}
