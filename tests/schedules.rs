//! Schedules that are chained, one after another and at once, against PyTorch (scripts/reference_schedules.py): nearly 200
//! drawn ones, each saved and taken up again half way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use kiln::prelude::*;
use kiln::schedule::*;

/// `( kind argument … )`, where arguments of `chain` and `sequence` are lists too.
enum Spec {
    Word(String),
    List(Vec<Spec>),
}

impl Spec {
    fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Spec {
        match words.next().unwrap() {
            "(" => {
                let mut list = Vec::new();
                loop {
                    match Spec::parse(words) {
                        Spec::Word(word) if word == ")" => return Spec::List(list),
                        part => list.push(part),
                    }
                }
            }
            word => Spec::Word(word.to_string()),
        }
    }

    fn list(&self) -> &[Spec] {
        match self {
            Spec::List(list) => list,
            Spec::Word(word) => panic!("{word} is no list"),
        }
    }

    fn word(&self) -> &str {
        match self {
            Spec::Word(word) => word,
            Spec::List(_) => panic!("a list"),
        }
    }

    fn number(&self) -> f64 {
        self.word().parse().unwrap()
    }

    fn count(&self) -> usize {
        self.word().parse().unwrap()
    }

    fn build(&self) -> Box<dyn Schedule> {
        let [kind, rest @ ..] = self.list() else { panic!("an empty list") };
        let (f, n) = (|i: usize| rest[i].number(), |i: usize| rest[i].count());
        match kind.word() {
            "chain" => Box::new(rest.iter().fold(ChainedScheduler::new(), |all, part| all.and(part.build()))),
            "sequence" => {
                let [ends, first, parts @ ..] = rest else { panic!("no schedule") };
                let ends = ends.list().iter().map(Spec::count);
                let first = SequentialLr::new(first.build());
                Box::new(ends.zip(parts).fold(first, |all, (end, part)| all.then(end, part.build())))
            }
            "step" => Box::new(StepLr::new(n(0), f(1))),
            "multi" => Box::new(MultiStepLr::new(rest[1..].iter().map(Spec::count).collect::<Vec<_>>(), f(0))),
            "constant" => Box::new(ConstantLr { factor: f(0), total_iters: n(1) }),
            "linear" => Box::new(LinearLr { start_factor: f(0), end_factor: f(1), total_iters: n(2) }),
            "exponential" => Box::new(ExponentialLr::new(f(0))),
            "polynomial" => Box::new(PolynomialLr { total_iters: n(0), power: f(1) }),
            "cosine" => Box::new(CosineAnnealingLr { t_max: n(0), eta_min: f(1) }),
            "restarts" => Box::new(CosineAnnealingWarmRestarts { t_0: n(0), t_mult: n(1), eta_min: f(2) }),
            "lambda" => {
                let factor = f(0);
                Box::new(LambdaLr(move |t| factor.powi(t as i32)))
            }
            "multiplicative" => {
                let factor = f(0);
                Box::new(MultiplicativeLr::new(move |t| if t % 3 == 0 { 1.05 } else { factor }))
            }
            "swa" => {
                let anneal = if rest[2].word() == "cos" { Anneal::Cos } else { Anneal::Linear };
                Box::new(SwaLr { swa_lr: f(0), anneal_epochs: n(1), anneal })
            }
            "one_cycle" => Box::new(OneCycleLr::new(f(0), n(1))),
            "cyclic" => Box::new(CyclicLr { step_size_up: n(2), ..CyclicLr::new(f(0), f(1)) }),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn chained_schedules_are_pytorchs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/schedules.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().skip(1).peekable();
    let device = Device::open().unwrap();
    let model = Linear::new(1, 1, &mut Init::new(&device, 0));
    let (mut cases, mut wrong) = (0, Vec::new());
    while let Some(line) = lines.next() {
        let (text, resumed) = line.split_once(" resumed ").unwrap();
        let schedule = || Spec::parse(&mut text.split(' ')).build();
        let start = || Sgd::new(&model, 0.3).momentum(0.9);
        let mut sgd = start();
        let mut scheduler = Scheduler::new(schedule(), &mut sgd);
        let (mut want, mut right) = ([0.0; 2], true);
        for t in 0.. {
            let Some(line) = lines.next_if(|line| !line.starts_with('(')) else { break };
            if let Some((lr, momentum)) = line.split_once(' ') {
                want = [lr.parse().unwrap(), momentum.parse().unwrap()];
            }
            if t.to_string() == resumed {
                let state = scheduler.state();
                sgd = start();
                scheduler = Scheduler::new(schedule(), &mut sgd);
                assert!(scheduler.load_state(&state, &mut sgd));
            }
            let got = [sgd.lr(), sgd.present_momentum().unwrap()];
            // up to forty products each; SWA divides by what is left of the way, next to nothing at its end
            let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() <= 1e-10 * want.abs() + 1e-15);
            if right && !near {
                wrong.push(format!("{text} at {t}: {got:?} is not {want:?}"));
            }
            right &= near;
            scheduler.step(&mut sgd);
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases >= 150, "{cases}");
}

/// A schedule among others is a function of `t` still: asked in any order, by several groups, and for a late step at once.
#[test]
fn chained_schedules_remember_nothing() {
    let make = || {
        let first = ConstantLr { factor: 0.5, total_iters: 7 };
        ChainedScheduler::new().and(first).and(CosineAnnealingLr { t_max: 9, eta_min: 0.1 })
    };
    let (schedule, base) = (make(), [1.0, 0.3]);
    let want: Vec<[f64; 2]> = (0..30).map(|t| [0, 1].map(|group| make().lr_of(group, base[group], t))).collect();
    for t in [0, 29, 3, 3, 4, 28, 0, 1] {
        assert_eq!([1, 0].map(|group| schedule.lr_of(group, base[group], t)), [want[t][1], want[t][0]], "{t}");
    }
    assert_ne!(schedule.lr(2.0, 5), schedule.lr(1.0, 5));
    let later = SequentialLr::new(make()).then(4, ExponentialLr::new(0.5));
    assert_eq!([later.lr(1.0, 3), later.lr(1.0, 4), later.lr(1.0, 6)], [want[3][0], 1.0, 0.25]);
    let ramp = Warmup::new(4, make());
    let among = ChainedScheduler::new().and(&ramp);
    for t in 0..20 {
        assert!((among.lr(1.0, t) - ramp.lr(1.0, t)).abs() < 1e-12, "{t}");
    }
    let root = InverseSqrtLr { warmup: 4 };
    assert!(
        (ChainedScheduler::new().and(&root).and(StepLr::new(5, 0.5)).lr(1.0, 12) - root.lr(0.25, 12)).abs() < 1e-12
    );
}
