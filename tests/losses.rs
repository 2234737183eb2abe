//! Every loss against PyTorch in float64: values, and gradients of all inputs that have one. The numbers are
//! made by scripts/reference_losses.py.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;

use kiln::loss::*;
use kiln::nn::cosine_similarity;
use kiln::prelude::*;
use support::{reference, values, worst};

/// A loss of the reference's inputs.
type Loss = Box<dyn Fn(&[Tensor]) -> Tensor>;

const REDUCTIONS: [(&str, Reduction); 3] =
    [("mean", Reduction::Mean), ("sum", Reduction::Sum), ("none", Reduction::None)];

#[derive(Default)]
struct Cases(Vec<(String, Loss)>);

impl Cases {
    fn one(&mut self, name: &str, loss: impl Fn(&[Tensor]) -> Tensor + 'static) {
        self.0.push((name.into(), Box::new(loss)));
    }

    /// With each reduction.
    fn each(&mut self, name: &str, loss: impl Fn(&[Tensor], Reduction) -> Tensor + Clone + 'static) {
        for (reduction_name, reduction) in REDUCTIONS {
            let loss = loss.clone();
            self.one(&format!("{name}.{reduction_name}"), move |x| loss(x, reduction));
        }
    }
}

fn weighted(w: &Tensor, label_smoothing: f64, reduction: Reduction) -> CrossEntropy {
    CrossEntropy { weight: Some(w.clone()), label_smoothing, reduction, ..Default::default() }
}

fn regression(t: &mut Cases) {
    t.each("l1", |x, r| l1_loss_with(&x[0], &x[1], r));
    t.each("mse", |x, r| mse_loss_with(&x[0], &x[1], r));
    t.each("smooth_l1", |x, reduction| SmoothL1 { beta: 0.6, reduction }.loss(&x[0], &x[1]));
    t.one("smooth_l1.beta0", |x| smooth_l1_loss(&x[0], &x[1], 0.0));
    t.each("huber", |x, reduction| Huber { delta: 0.6, reduction }.loss(&x[0], &x[1]));
    t.one("l1.inf", |x| l1_loss_with(&x[0], &x[1], Reduction::None));
    t.one("huber.inf", |x| Huber { reduction: Reduction::None, ..Default::default() }.loss(&x[0], &x[1]));
    for (log_input, full) in [(true, true), (true, false), (false, true), (false, false)] {
        let name = format!("poisson.{}{}", u8::from(log_input), u8::from(full));
        t.each(&name, move |x, reduction| {
            PoissonNll { log_input, full, reduction, ..Default::default() }.loss(&x[0], &x[1])
        });
    }
    t.one("poisson.eps", |x| PoissonNll { log_input: false, eps: 0.5, ..Default::default() }.loss(&x[0], &x[1]));
    t.each("gauss", |x, reduction| GaussianNll { eps: 0.1, reduction, ..Default::default() }.loss(&x[0], &x[1], &x[2]));
    t.each("gauss.full", |x, reduction| {
        GaussianNll { full: true, reduction, ..Default::default() }.loss(&x[0], &x[1], &x[2])
    });
    t.one("gauss.rows", |x| gaussian_nll_loss(&x[0], &x[1], &x[2]));
    t.one("gauss.rows1", |x| gaussian_nll_loss(&x[0], &x[1], &x[2]));
    t.each("kl", |x, r| kl_div(&x[0], &x[1], r));
    t.one("kl.batchmean", |x| KlDiv::default().batch_mean(&x[0], &x[1]));
    t.each("kl.log", |x, reduction| KlDiv { log_target: true, reduction }.loss(&x[0], &x[1]));
    t.one("kl.log.batchmean", |x| KlDiv { log_target: true, ..Default::default() }.batch_mean(&x[0], &x[1]));
}

fn classes(t: &mut Cases) {
    t.each("nll", |x, r| weighted(&x[2], 0.0, r).nll(&x[0], &x[1]));
    t.each("nll.volume", |x, reduction| {
        CrossEntropy { ignore_index: 1, reduction, ..Default::default() }.nll(&x[0], &x[1])
    });
    t.each("ce", |x, r| weighted(&x[2], 0.1, r).loss(&x[0], &x[1]));
    t.each("ce.volume", |x, r| CrossEntropy { ignore_index: 1, ..weighted(&x[2], 0.3, r) }.loss(&x[0], &x[1]));
    t.each("ce.soft", |x, r| weighted(&x[2], 0.1, r).loss(&x[0], &x[1]));
    t.one("ce.soft_row", |x| cross_entropy(&x[0], &x[1]));
    let with = |reduction| CrossEntropy { reduction, ..Default::default() };
    t.one("ce.huge", move |x| with(Reduction::None).loss(&x[0], &x[1]));
    t.one("ce.all_ignored", |x| cross_entropy(&x[0], &x[1]));
    t.one("ce.all_ignored_sum", move |x| with(Reduction::Sum).loss(&x[0], &x[1]));
    t.one("ce.one", |x| cross_entropy(&x[0], &x[1]));
    t.one("ce.empty", |x| cross_entropy(&x[0], &x[1]));
    t.one("ce.inf", move |x| with(Reduction::None).loss(&x[0], &x[1]));
}

fn binary(t: &mut Cases) {
    let none = || BinaryCrossEntropy { reduction: Reduction::None, ..Default::default() };
    t.each("bce", |x, reduction| {
        BinaryCrossEntropy { weight: Some(x[2].clone()), pos_weight: None, reduction }.of_probabilities(&x[0], &x[1])
    });
    t.one("bce.ends", move |x| none().of_probabilities(&x[0], &x[1]));
    t.each("bce_logits", |x, reduction| {
        let (weight, pos_weight) = (Some(x[2].clone()), Some(x[3].clone()));
        BinaryCrossEntropy { weight, pos_weight, reduction }.loss(&x[0], &x[1])
    });
    t.one("bce_logits.huge", move |x| none().loss(&x[0], &x[1]));
    t.each("focal", |x, reduction| Focal { reduction, ..Default::default() }.loss(&x[0], &x[1]));
    t.one("focal.plain", |x| Focal { alpha: None, gamma: 1.5, ..Default::default() }.loss(&x[0], &x[1]));
    t.one("focal.gamma0", |x| Focal { gamma: 0.0, ..Default::default() }.loss(&x[0], &x[1]));
    t.each("dice", |x, reduction| Dice { reduction, ..Default::default() }.loss(&x[0], &x[1]));
    t.each("tversky", |x, reduction| Tversky { alpha: 0.3, beta: 0.7, smooth: 0.1, reduction }.loss(&x[0], &x[1]));
    t.one("dice.nothing", |x| Dice { smooth: 1.0, ..Default::default() }.loss(&x[0], &x[1]));
}

fn margins(t: &mut Cases) {
    t.each("hinge", |x, reduction| HingeEmbedding { margin: 1.2, reduction }.loss(&x[0], &x[1]));
    t.each("soft_margin", |x, r| soft_margin_loss(&x[0], &x[1], r));
    t.each("ranking", |x, reduction| MarginRanking { margin: 0.3, reduction }.loss(&x[0], &x[1], &x[2]));
    t.one("ranking.one", |x| MarginRanking::default().loss(&x[0], &x[1], &x[2]));
    for p in [1, 2] {
        t.each(&format!("multi_margin{p}"), move |x, reduction| {
            MultiMargin { p, margin: 0.8, weight: Some(x[2].clone()), reduction }.loss(&x[0], &x[1])
        });
    }
    t.one("multi_margin.row", |x| MultiMargin::default().loss(&x[0], &x[1]));
    t.each("multilabel_margin", |x, r| multilabel_margin_loss(&x[0], &x[1], r));
    t.one("multilabel_margin.row", |x| multilabel_margin_loss(&x[0], &x[1], Reduction::Mean));
    t.each("multilabel_soft", |x, reduction| {
        MultiLabelSoftMargin { weight: Some(x[2].clone()), reduction }.loss(&x[0], &x[1])
    });
    t.one("multilabel_soft.plain", |x| MultiLabelSoftMargin::default().loss(&x[0], &x[1]));
    t.each("cosine", |x, reduction| CosineEmbedding { margin: 0.2, reduction }.loss(&x[0], &x[1], &x[2]));
    t.one("cosine.row", |x| CosineEmbedding::default().loss(&x[0], &x[1], &x[2]));
    t.each("triplet", |x, reduction| TripletMargin { reduction, ..Default::default() }.loss(&x[0], &x[1], &x[2]));
    t.each("triplet.swap", |x, reduction| {
        TripletMargin { margin: 0.7, p: 3.0, eps: 1e-3, swap: true, reduction }.loss(&x[0], &x[1], &x[2])
    });
    t.one("triplet.same", |x| TripletMargin::default().loss(&x[0], &x[1], &x[2]));
    t.one("triplet.l1", |x| TripletMargin { p: 1.0, ..Default::default() }.loss(&x[0], &x[1], &x[2]));
    t.each("triplet.distance", |x, reduction| {
        let settings = TripletMargin { margin: 0.5, swap: true, reduction, ..Default::default() };
        settings.with_distance(&x[0], &x[1], &x[2], |a, b| 1.0 - cosine_similarity(a, b, 1, 1e-8))
    });
}

fn sequences(t: &mut Cases) {
    fn of(ctc: Ctc, x: &[Tensor]) -> Tensor {
        ctc.loss(&x[0].log_softmax(-1), &x[1], &x[2], &x[3])
    }
    fn none() -> Ctc {
        Ctc { reduction: Reduction::None, ..Default::default() }
    }
    t.each("ctc", |x, reduction| of(Ctc { reduction, ..Default::default() }, x));
    t.each("ctc.direct", |x, reduction| Ctc { reduction, ..Default::default() }.loss(&x[0], &x[1], &x[2], &x[3]));
    t.one("ctc.blank", |x| of(Ctc { blank: 3, ..Default::default() }, x));
    t.each("ctc.zero_infinity", |x, reduction| of(Ctc { zero_infinity: true, reduction, blank: 0 }, x));
    t.one("ctc.long", |x| of(none(), x));
    t.one("ctc.one", |x| of(none(), x));
    t.one("ctc.sharp", |x| none().loss(&x[0], &x[1], &x[2], &x[3]));
    t.one("ctc.never", |x| none().loss(&x[0], &x[1], &x[2], &x[3]));
}

#[test]
fn losses_agree_with_pytorch() {
    let mut cases = Cases::default();
    for part in [regression, classes, binary, margins, sequences] {
        part(&mut cases);
    }
    let device = Device::open().unwrap();
    let reference = reference(&device, "losses");

    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (name, loss) in &cases.0 {
        let find = |part: String| reference.get(&format!("{name}.{part}"));
        let x: Vec<Tensor> = (0..4).map_while(|i| find(i.to_string()).cloned()).collect();
        used.insert(format!("{name}.y"));
        let y = loss(&x);
        let want = find("y".into()).unwrap_or_else(|| panic!("no {name} in the reference"));
        assert_eq!(y.shape().unwrap_or_else(|e| panic!("{name}: {e}")), want.shape().unwrap(), "{name}");
        let (mut got, mut wanted, mut limits) = (vec![y.clone()], vec![want], vec![1e-5]);
        let differentiable: Vec<usize> = (0..x.len()).filter(|i| find(format!("d{i}")).is_some()).collect();
        got.extend(y.sum().grad(&differentiable.iter().map(|&i| &x[i]).collect::<Vec<_>>()).unwrap());
        for i in differentiable {
            wanted.push(find(format!("d{i}")).unwrap());
            limits.push(1e-4);
        }
        let got = values(&got.iter().collect::<Vec<_>>()).unwrap();
        for (part, ((got, want), limit)) in got.iter().zip(values(&wanted).unwrap()).zip(limits).enumerate() {
            let error = worst(got, &want);
            if error > limit {
                wrong.push(format!("{name}: part {part} (the loss, then gradients) off by {error:e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let left: Vec<&String> = reference.keys().filter(|k| k.ends_with(".y") && !used.contains(*k)).collect();
    assert!(left.is_empty(), "not compared: {left:?}");
}

#[test]
fn impossible_alignments_cost_infinity_and_have_no_gradient() {
    let device = Device::open().unwrap();
    let logp = Tensor::zeros(&device, [2, 2, 3]).log_softmax(-1);
    // "1 1" needs a blank between: three steps
    let labels = Tensor::new(&device, [[1i32, 1], [1, 2]]);
    let two = Tensor::new(&device, [2i32, 2]);
    let losses = Ctc { reduction: Reduction::None, ..Default::default() }.loss(&logp, &labels, &two, &two);
    let values = losses.to_vec::<f32>().unwrap();
    assert!(values[0] == f32::INFINITY && (values[1] - 9f32.ln()).abs() < 1e-5, "{values:?}");
    let d = losses.sum().grad(&[&logp]).unwrap()[0].to_vec::<f32>().unwrap();
    assert!(d.iter().all(|v| v.is_finite()) && d[..3] == [0.0; 3], "{d:?}");
}

#[test]
fn second_derivatives_of_losses_are_there() {
    let device = Device::open().unwrap();
    let x = Tensor::new(&device, [0.3f32, 0.8]);
    let y = Tensor::new(&device, [0.0f32, 1.0]);
    let slope = binary_cross_entropy(&x, &y).grad(&[&x]).unwrap()[0].sum();
    let twice = slope.grad(&[&x]).unwrap()[0].to_vec::<f32>().unwrap();
    // d²/dp² of -ln(1 - p)/2 and -ln(p)/2
    for (got, want) in twice.iter().zip([0.5 / 0.49, 0.5 / 0.64]) {
        assert!((got - want).abs() < 1e-4, "{twice:?}");
    }
}

/// At a difference of 0 a parabola's second derivative is not lost: PyTorch's is 1 there, and 1/beta.
#[test]
fn robust_losses_are_smooth_at_zero() {
    let device = Device::open().unwrap();
    let x = Tensor::new(&device, [0.0, 0.25, -0.25, 3.0, -3.0]);
    let zeros = Tensor::zeros(&device, [5]);
    let sum = Reduction::Sum;
    let huber = Huber { delta: 2.0, reduction: sum }.loss(&x, &zeros);
    let smooth = SmoothL1 { beta: 0.5, reduction: sum }.loss(&x, &zeros);
    for (loss, want, slope, curve) in
        [(huber, 8.0625, [0.0, 0.25, -0.25, 2.0, -2.0], 1.0), (smooth, 5.625, [0.0, 0.5, -0.5, 1.0, -1.0], 2.0)]
    {
        assert_eq!(loss.item().unwrap(), want);
        let first = loss.grad(&[&x]).unwrap().remove(0);
        assert_eq!(first.to_vec::<f32>().unwrap(), slope);
        let second = first.sum().grad(&[&x]).unwrap().remove(0);
        assert_eq!(second.to_vec::<f32>().unwrap(), [curve, curve, curve, 0.0, 0.0]);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let device = Device::open().unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let (x, y, row, labels) = (zeros(&[4, 3]), zeros(&[4, 1]), zeros(&[3]), Tensor::new(&device, [0i32, 1, 2, 0]));
    let (five, odd) = (Some(zeros(&[5])), zeros(&[4, 2]));
    let logp = zeros(&[6, 4, 3]);
    let (words, lengths) = (Tensor::new(&device, [[1i32, 2]; 4]), Tensor::new(&device, [2i32; 4]));
    let shapes: Vec<(&str, Tensor)> = vec![
        ("poisson_nll_loss", poisson_nll_loss(&x, &odd)),
        ("gaussian_nll_loss", gaussian_nll_loss(&x, &odd, &x)),
        ("gaussian_nll_loss", gaussian_nll_loss(&x, &x, &row)),
        ("kl_div", KlDiv::default().batch_mean(&x, &odd)),
        ("binary_cross_entropy", binary_cross_entropy(&x, &y)),
        ("binary_cross_entropy_with_logits", binary_cross_entropy_with_logits(&x, &row)),
        (
            "binary_cross_entropy_with_logits",
            BinaryCrossEntropy { weight: five.clone(), ..Default::default() }.loss(&x, &x),
        ),
        (
            "binary_cross_entropy_with_logits",
            BinaryCrossEntropy { weight: Some(zeros(&[2, 4, 3])), ..Default::default() }.loss(&x, &x),
        ),
        ("sigmoid_focal_loss", sigmoid_focal_loss(&x, &y)),
        ("tversky_loss", Tversky::default().loss(&row, &row)),
        ("dice_loss", Dice::default().loss(&x, &y)),
        ("hinge_embedding_loss", HingeEmbedding::default().loss(&x, &odd)),
        ("soft_margin_loss", soft_margin_loss(&row, &x, Reduction::Mean)),
        ("mse_loss", mse_loss(&x, &odd)),
        ("mse_loss", mse_loss_weighted(&x, &x, &row, Reduction::Mean)),
        ("l1_loss", l1_loss_weighted(&x, &x, &y, Reduction::Sum)),
        ("huber_loss", Huber::default().weighted(&x, &x, &row)),
        ("smooth_l1_loss", smooth_l1_loss(&odd, &x, 1.0)),
        ("margin_ranking_loss", MarginRanking::default().loss(&x, &x, &row)),
        ("margin_ranking_loss", MarginRanking::default().loss(&x, &x, &odd)),
        ("multi_margin_loss", MultiMargin::default().loss(&x, &words)),
        ("multi_margin_loss", MultiMargin { weight: five.clone(), ..Default::default() }.loss(&x, &labels)),
        ("multilabel_margin_loss", multilabel_margin_loss(&x, &labels, Reduction::Mean)),
        ("multilabel_soft_margin_loss", MultiLabelSoftMargin { weight: five, ..Default::default() }.loss(&x, &x)),
        ("cosine_embedding_loss", CosineEmbedding::default().loss(&x, &x, &row)),
        ("triplet_margin_loss", TripletMargin::default().loss(&x, &x, &odd)),
        ("ctc_loss", ctc_loss(&x, &words, &lengths, &lengths)),
        ("ctc_loss", ctc_loss(&logp, &words, &labels.narrow(0, 0, 3), &lengths)),
    ];
    for (op, loss) in shapes {
        let error = loss.eval().unwrap_err();
        assert!(matches!(&error, Error::Shape { op: named, .. } if *named == op), "{op}: {error}");
        assert!(error.to_string().contains("tests/losses.rs"), "{error}");
    }

    let arguments: Vec<Tensor> = vec![
        smooth_l1_loss(&x, &x, -1.0),
        huber_loss(&x, &x, 0.0),
        Focal { gamma: -1.0, ..Default::default() }.loss(&x, &x),
        MultiMargin { p: 3, ..Default::default() }.loss(&x, &labels),
        TripletMargin { margin: 0.0, ..Default::default() }.loss(&x, &x, &x),
        BinaryCrossEntropy { pos_weight: Some(row.clone()), ..Default::default() }.of_probabilities(&x, &x),
        Ctc { blank: 3, ..Default::default() }.loss(&logp, &words, &lengths, &lengths),
    ];
    for loss in arguments {
        let error = loss.eval().unwrap_err();
        assert!(matches!(&error, Error::Argument { .. }), "{error}");
    }

    for loss in [
        MultiMargin::default().loss(&x, &zeros(&[4])),
        multilabel_margin_loss(&x, &x, Reduction::Mean),
        ctc_loss(&logp, &zeros(&[4, 2]), &lengths, &lengths),
    ] {
        let error = loss.eval().unwrap_err();
        assert!(matches!(&error, Error::DType { .. }), "{error}");
    }

    let beyond = Tensor::new(&device, [2i32, 2, 2, 7]);
    for loss in [
        MultiMargin::default().loss(&x, &(&labels + 2)),
        multilabel_margin_loss(&x, &Tensor::new(&device, [[3i32, -1, 0]; 4]), Reduction::Mean),
        ctc_loss(&logp, &(&words + 1), &lengths, &lengths),
        ctc_loss(&logp, &words, &beyond, &lengths),
        ctc_loss(&logp, &words, &lengths, &beyond),
    ] {
        let error = loss.to_vec::<f32>().unwrap_err();
        assert!(matches!(&error, Error::Index { .. }), "{error}");
    }
}

/// What the log has of this file.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Ear;

impl log::Log for Ear {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        if text.contains("losses.rs") && record.level() == log::Level::Warn {
            SAID.lock().unwrap().push(text);
        }
    }

    fn flush(&self) {}
}

/// As in PyTorch, and the log says so once for each line.
#[test]
fn shapes_that_differ_are_broadcast_and_the_log_says_so() {
    log::set_boxed_logger(Box::new(Ear)).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let device = Device::open().unwrap();
    let (x, y) = (Tensor::new(&device, [[1.0], [2.0], [4.0]]), Tensor::new(&device, [1.0, 2.0, 5.0]));
    let here = line!() + 2;
    for _ in 0..3 {
        let losses = mse_loss_with(&x, &y, Reduction::None);
        assert_eq!(losses.to_vec::<f32>().unwrap(), [0.0, 1.0, 16.0, 1.0, 0.0, 9.0, 9.0, 4.0, 1.0]);
    }
    let gradient = l1_loss(&x, &y).grad(&[&x]).unwrap()[0].to_vec::<f32>().unwrap();
    assert!(worst(&gradient, &[-2.0 / 9.0, 0.0, 1.0 / 9.0]) < 1e-6, "{gradient:?}");
    let _ = mse_loss(&x, &x); // equal shapes are nothing to speak of
    let at = |line: u32| format!("losses.rs:{line}: ");
    let said: Vec<String> =
        SAID.lock().unwrap().iter().filter(|text| text.contains("[3, 1] and [3]")).cloned().collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains(&at(here)) && said[0].contains("mse_loss: [3, 1] and [3] are broadcast to [3, 3]"),
        "{said:?}"
    );
    assert!(said[1].contains(&at(here + 3)) && said[1].contains("l1_loss"), "{said:?}");
}
