//! Metrics of answers, scores and predictions that were drawn at random, against scikit-learn (scripts/drawn_metrics.py),
//! whole and in batches.
//!
//! `KILN_DRAWN=file` takes another draw, of another seed or length.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::ops::Range;

use kiln::metrics::*;
use kiln::prelude::*;

/// The numbers of a line by their names; those of what is wanted begin with `=`.
struct Case(BTreeMap<String, Vec<f64>>);

impl Case {
    fn parse(line: &str) -> (&str, Self) {
        let (kind, rest) = line.split_once(';').unwrap();
        let fields = rest.split(';').map(|field| {
            let (name, numbers) = field[1..].split_once('=').unwrap();
            let numbers = numbers.split(' ').filter(|text| !text.is_empty());
            (field[..1].to_string() + name, numbers.map(|text| text.parse().unwrap()).collect())
        });
        (kind, Self(fields.collect()))
    }

    fn list(&self, name: &str) -> &[f64] {
        &self.0[name]
    }

    fn number(&self, name: &str) -> f64 {
        self.0[name][0]
    }

    fn count(&self, name: &str) -> usize {
        self.number(name) as usize
    }

    fn classes(&self, name: &str) -> Vec<i32> {
        self.list(name).iter().map(|&v| v as i32).collect()
    }

    fn truths(&self, name: &str) -> Vec<bool> {
        self.list(name).iter().map(|&v| v == 1.0).collect()
    }

    fn tensor(&self, device: &Device, name: &str, shape: &[usize]) -> Tensor {
        Tensor::from_vec(device, self.list(name).iter().map(|&v| v as f32).collect(), shape)
    }

    /// What is wanted and not so: every name must have got an answer.
    fn wrong(&self, got: &[(String, Vec<f64>)], bound: f64) -> Vec<String> {
        let wanted = self.0.iter().filter_map(|(name, numbers)| Some((name.strip_prefix('=')?, numbers)));
        let judged = wanted.map(|(name, want)| {
            let Some((_, got)) = got.iter().find(|(known, _)| known == name) else { return Some(format!("no {name}")) };
            let near =
                |g: f64, w: f64| g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= bound * (1.0 + w.abs());
            let right = got.len() == want.len() && got.iter().zip(want).all(|(&g, &w)| near(g, w));
            (!right).then(|| format!("{name}: {got:?} is not {want:?}"))
        });
        judged.flatten().collect()
    }
}

/// Where batches begin and end: everything at once, or parts, of which some are empty.
fn batches(rows: usize, whole: bool) -> Vec<Range<usize>> {
    let ends = if whole { vec![0, rows] } else { vec![0, rows / 3, rows.div_ceil(2), rows.div_ceil(2), rows] };
    ends.windows(2).map(|ends| ends[0]..ends[1]).collect()
}

type Answers = Vec<(String, Vec<f64>)>;

/// The shares of classes or labels, for each and averaged.
macro_rules! shares {
    ($of:expr, $classes:expr) => {{
        let (of, mut out) = (&$of, Answers::new());
        for (name, average) in [("micro", Average::Micro), ("macro", Average::Macro), ("weighted", Average::Weighted)] {
            out.push((format!("precision.{name}"), vec![of.mean_precision(average)]));
            out.push((format!("recall.{name}"), vec![of.mean_recall(average)]));
            out.push((format!("f1.{name}"), vec![of.mean_f1(average)]));
            out.push((format!("iou.{name}"), vec![of.mean_iou(average)]));
        }
        out.push(("precision.each".into(), (0..$classes).map(|class| of.precision(class)).collect()));
        out.push(("recall.each".into(), (0..$classes).map(|class| of.recall(class)).collect()));
        out.push(("f1.each".into(), (0..$classes).map(|class| of.f1(class)).collect()));
        out.push(("iou.each".into(), (0..$classes).map(|class| of.iou(class)).collect()));
        out
    }};
}

fn named(list: &[(&str, Vec<f64>)]) -> Answers {
    list.iter().map(|(name, numbers)| (name.to_string(), numbers.clone())).collect()
}

fn confusion(case: &Case, whole: bool) -> Answers {
    let (classes, truth, answer) = (case.count("classes"), case.classes("truth"), case.classes("answer"));
    let mut matrix = ConfusionMatrix::new(classes).zero_division(case.number("zero"));
    for rows in batches(truth.len(), whole) {
        matrix.add(&truth[rows.clone()], &answer[rows]).unwrap();
    }
    let mut out = shares!(matrix, classes);
    out.extend(named(&[
        ("accuracy", vec![matrix.accuracy()]),
        ("balanced", vec![matrix.balanced_accuracy()]),
        ("matthews", vec![matrix.matthews()]),
        ("kappa", vec![matrix.kappa()]),
        ("counts", matrix.counts().iter().flatten().map(|&n| n as f64).collect()),
    ]));
    out
}

fn multilabel(case: &Case, whole: bool) -> Answers {
    let (labels, truth, answer) = (case.count("labels"), case.truths("truth"), case.truths("answer"));
    let mut of = MultiLabel::new(labels).zero_division(case.number("zero"));
    for rows in batches(truth.len() / labels, whole) {
        let rows = rows.start * labels..rows.end * labels;
        of.add(&truth[rows.clone()], &answer[rows]).unwrap();
    }
    let mut out = shares!(of, labels);
    out.extend(named(&[("accuracy", vec![of.accuracy()]), ("hamming", vec![of.hamming_loss()])]));
    out
}

fn ranking(case: &Case, whole: bool) -> Answers {
    let (scores, labels) = (case.list("scores"), case.truths("labels"));
    let mut ranking = Ranking::default();
    for rows in batches(labels.len(), whole) {
        ranking.add(&scores[rows.clone()], &labels[rows]).unwrap();
    }
    let (roc, curve) = (ranking.roc_curve(), ranking.precision_recall_curve());
    let all = |curve: &[CurvePoint], of: fn(&CurvePoint) -> f64| curve.iter().map(of).collect::<Vec<f64>>();
    named(&[
        ("auc", vec![ranking.roc_auc()]),
        ("ap", vec![ranking.average_precision()]),
        ("fpr", all(&roc, |p| p.x)),
        ("tpr", all(&roc, |p| p.y)),
        ("thresholds", all(&roc, |p| p.threshold)),
        ("precision", all(&curve, |p| p.y)),
        ("recall", all(&curve, |p| p.x)),
    ])
}

fn rankings(case: &Case, device: &Device, whole: bool) -> Answers {
    let classes = case.count("classes");
    let n = case.list("scores").len() / classes;
    let scores = case.tensor(device, "scores", &[n, classes]);
    // of one class each, as its number
    let labels = match case.classes("which") {
        which if which.is_empty() => case.tensor(device, "labels", &[n, classes]),
        which => Tensor::from_vec(device, which, &[n]),
    };
    let mut rankings = ClassRankings::new(classes);
    for rows in batches(n, whole) {
        let part = |t: &Tensor| t.narrow(0, rows.start as i64, rows.len());
        rankings.add_tensors(&part(&scores), &part(&labels)).unwrap();
    }
    let mut out = Answers::new();
    for (name, average) in [("micro", Average::Micro), ("macro", Average::Macro), ("weighted", Average::Weighted)] {
        out.push((format!("auc.{name}"), vec![rankings.mean_roc_auc(average)]));
        out.push((format!("ap.{name}"), vec![rankings.mean_average_precision(average)]));
    }
    out
}

fn regression(case: &Case, device: &Device, whole: bool) -> Answers {
    let n = case.list("wanted").len();
    let (predicted, wanted) = (case.tensor(device, "predicted", &[n]), case.tensor(device, "wanted", &[n]));
    let mut errors = Regression::default();
    for rows in batches(n, whole) {
        let part = |t: &Tensor| t.narrow(0, rows.start as i64, rows.len());
        errors.add_tensors(&part(&predicted), &part(&wanted)).unwrap();
    }
    named(&[
        ("mae", vec![errors.mae()]),
        ("mse", vec![errors.mse()]),
        ("rmse", vec![errors.rmse()]),
        ("max", vec![errors.max_error()]),
        ("r2", vec![errors.r2()]),
    ])
}

fn top(case: &Case, device: &Device) -> Answers {
    let (classes, k, labels) = (case.count("classes"), case.count("k"), case.classes("labels"));
    let logits = case.tensor(device, "logits", &[labels.len(), classes]);
    let labels = Tensor::from_vec(device, labels.clone(), &[labels.len()]);
    let share = |t: Tensor| vec![f64::from(t.item().unwrap())];
    named(&[("top", share(top_k_accuracy(&logits, &labels, k))), ("first", share(accuracy(&logits, &labels)))])
}

fn calibration(case: &Case, whole: bool) -> Answers {
    let (sure, right) = (case.list("sure"), case.truths("right"));
    let mut calibration = Calibration::new(case.count("bins"));
    for rows in batches(sure.len(), whole) {
        calibration.add(&sure[rows.clone()], &right[rows]).unwrap();
    }
    named(&[
        ("counts", calibration.bins().iter().map(|bin| bin.count).collect()),
        ("error", vec![calibration.error()]),
        ("max", vec![calibration.max_error()]),
    ])
}

fn bleu(case: &Case) -> Answers {
    let mut words = case.classes("pairs").into_iter();
    let mut bleu = Bleu::default();
    while let Some(references) = words.next() {
        let mut list = || {
            let length = words.next().unwrap() as usize;
            words.by_ref().take(length).collect::<Vec<i32>>()
        };
        let candidate = list();
        bleu.add(&candidate, &(0..references).map(|_| list()).collect::<Vec<_>>());
    }
    named(&[("value", vec![bleu.value()])])
}

#[test]
fn drawn_scores_are_scikit_learns() {
    let device = Device::open().unwrap();
    let path = std::env::var("KILN_DRAWN")
        .unwrap_or_else(|_| format!("{}/../../tests/data/drawn_metrics.txt", env!("CARGO_MANIFEST_DIR")));
    let text = std::fs::read_to_string(path).unwrap();
    let (mut wrong, mut of) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for line in text.lines() {
        let (kind, case) = Case::parse(line);
        for whole in [true, false] {
            let got = match kind {
                "confusion" => confusion(&case, whole),
                "multilabel" => multilabel(&case, whole),
                "ranking" => ranking(&case, whole),
                "rankings" => rankings(&case, &device, whole),
                "regression" => regression(&case, &device, whole),
                "top" => top(&case, &device),
                "calibration" => calibration(&case, whole),
                "bleu" => bleu(&case),
                other => panic!("{other}"),
            };
            // shares that were counted in float32
            let found = case.wrong(&got, if kind == "top" { 1e-6 } else { 1e-9 });
            if !found.is_empty() {
                wrong.push(format!("{}\n   {}", line.split(";=").next().unwrap(), found.join("\n   ")));
            }
        }
        *of.entry(kind).or_default() += 1;
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(of.len() == 8 && of.values().all(|&cases| cases >= 30), "{of:?}");
}
