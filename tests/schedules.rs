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

/// What PyTorch's constructors refuse, and steps past the end of a one-cycle schedule: an error of the optimizer's next step.
#[test]
fn settings_that_pytorch_refuses_are_errors_of_the_step() {
    let device = Device::open().unwrap();
    let new = || Linear::new(1, 1, &mut Init::new(&device, 0));
    let constant = |factor| Box::new(ConstantLr { factor, total_iters: 5 }) as Box<dyn Schedule>;
    let line = |start_factor, end_factor| Box::new(LinearLr { start_factor, end_factor, total_iters: 5 });
    let lists = || Box::new(PerGroup::new(StepLr::new(1, 0.1)).and(StepLr::new(1, 0.5))) as Box<dyn Schedule>;
    let restarts = |t_0, t_mult| Box::new(CosineAnnealingWarmRestarts { t_0, t_mult, eta_min: 0.0 });
    let cycle = |total_steps, pct_start| Box::new(OneCycleLr { pct_start, ..OneCycleLr::new(0.1, total_steps) });
    let cases: Vec<(Box<dyn Schedule>, usize, &str, &str)> = vec![
        (constant(-0.1), 0, "ConstantLr", "factor"),
        (constant(1.1), 9, "ConstantLr", "factor"),
        (constant(f64::NAN), 0, "ConstantLr", "factor"),
        (line(0.0, 1.0), 0, "LinearLr", "start_factor"),
        (line(1.5, 1.0), 0, "LinearLr", "start_factor"),
        (line(0.5, -0.5), 0, "LinearLr", "end_factor"),
        (line(0.5, 1.5), 0, "LinearLr", "end_factor"),
        (Box::new(StepLr::new(0, 0.1)), 0, "StepLr", "step_size"),
        (Box::new(CosineAnnealingLr::new(0)), 0, "CosineAnnealingLr", "t_max"),
        (restarts(0, 1), 0, "CosineAnnealingWarmRestarts", "t_0"),
        (restarts(3, 0), 0, "CosineAnnealingWarmRestarts", "t_mult"),
        (cycle(0, 0.3), 0, "OneCycleLr", "total_steps"),
        (cycle(10, -0.1), 0, "OneCycleLr", "pct_start"),
        (cycle(10, 1.1), 0, "OneCycleLr", "pct_start"),
        (cycle(10, 0.3), 11, "OneCycleLr", "total_steps"),
        (Box::new(CyclicLr { step_size_up: 0, ..CyclicLr::new(0.1, 0.2) }), 0, "CyclicLr", "step_size_up"),
        (Box::new(ChainedScheduler::new()), 0, "ChainedScheduler", "schedules"),
        (Box::new(ChainedScheduler::new().and(StepLr::new(1, 0.1)).and(constant(2.0))), 0, "ConstantLr", "factor"),
        (Box::new(SequentialLr::new(StepLr::new(1, 0.1)).then(4, constant(2.0))), 0, "ConstantLr", "factor"),
        (Box::new(SequentialLr::new(StepLr::new(1, 0.1)).then(4, cycle(10, 0.3))), 15, "OneCycleLr", "total_steps"),
        (
            Box::new(SequentialLr::new(StepLr::new(1, 0.1)).then(9, StepLr::new(1, 0.1)).then(4, StepLr::new(1, 0.1))),
            0,
            "SequentialLr",
            "milestone",
        ),
        (Box::new(PerGroup::new(StepLr::new(1, 0.1)).and(constant(2.0))), 0, "ConstantLr", "factor"),
        // lists that are not as long as the optimizer has groups: one
        (lists(), 0, "PerGroup", "schedules"),
        (Box::new(ChainedScheduler::new().and(lists())), 0, "PerGroup", "schedules"),
        (Box::new(SequentialLr::new(StepLr::new(1, 0.1)).then(9, lists())), 3, "PerGroup", "schedules"),
        (Box::new(Warmup::new(3, lists())), 0, "PerGroup", "schedules"),
        (Box::new(PerGroup::new(lists())), 0, "PerGroup", "schedules"),
        (Box::new(Warmup::new(3, constant(2.0))), 0, "ConstantLr", "factor"),
    ];
    for (schedule, t, op, name) in &cases {
        let model = new();
        let loss = || model.forward(&Tensor::ones(&device, [2, 1])).square().mean();
        let mut sgd = Sgd::new(&model, 0.25).momentum(0.9);
        let before = parameters(&model);
        apply(&**schedule, &mut sgd, *t);
        let here = line!() - 1;
        for _ in 0..2 {
            let error = sgd.step(&loss()).unwrap_err();
            let Error::Argument { op: got, name: of, at, .. } = &error else { panic!("{error}") };
            assert_eq!((*got, *of, at.line()), (*op, *name, here), "{error}");
            assert!(at.file().ends_with("schedules.rs"), "{at}");
        }
        let mut captured = sgd.capture(|x: &Tensor| model.forward(x).square().mean());
        assert!(matches!(captured.step(&Tensor::ones(&device, [2, 1])), Err(Error::Argument { .. })));
        assert_eq!((parameters(&model), sgd.lr()), (before.clone(), 0.25), "{op} {name} at {t}");
        sgd.set_lr(0.25); // a learning rate that is right again, if the same
        sgd.step(&loss()).unwrap();
        assert_ne!(parameters(&model), before);

        // the trainer knows before its first step, from the settings alone
        if schedule.refused(0).or(schedule.refused_for(1)).is_some() {
            let set = TensorDataset::new(&device, (vec![1.0f32; 4], [1]), (vec![0i32; 4], [])).unwrap();
            let mut sgd = Sgd::new(&model, 0.25).momentum(0.9);
            let trainer = Trainer::new(1).progress(false).scheduler(schedule);
            let here = line!() - 1;
            let fitted = trainer
                .fit(&model, &mut sgd, &set, None, |(x, _)| Outcome::loss(model.forward(x).square().mean(), x.numel()));
            let error = fitted.unwrap_err();
            assert!(matches!(&error, Error::Argument { op: got, at, .. } if got == op && at.line() == here), "{error}");
        }
    }
    // what is right at last stays so
    let model = new();
    let loss = || model.forward(&Tensor::ones(&device, [2, 1])).square().mean();
    let mut sgd = Sgd::new(&model, 0.25).momentum(0.9);
    constant(2.0).apply(&mut sgd, 0);
    constant(0.5).apply(&mut sgd, 0);
    sgd.step(&loss()).unwrap();
    assert_eq!(sgd.lr(), 0.125);
    // a schedule that has run out in the middle of a training
    let set = TensorDataset::new(&device, (vec![1.0f32; 8], [1]), (vec![0i32; 8], [])).unwrap();
    let trainer = Trainer::new(1).batch(2).progress(false).scheduler(OneCycleLr::new(0.1, 2));
    let fitted =
        trainer.fit(&model, &mut sgd, &set, None, |(x, _)| Outcome::loss(model.forward(x).square().mean(), x.numel()));
    assert!(fitted.unwrap_err().to_string().contains("total_steps = 2"));
}

fn parameters(model: &Linear) -> Vec<f32> {
    nn::parameters_to_vector(&model.parameters()).to_vec().unwrap()
}

#[test]
fn plateaus_and_momenta_are_refused_too() {
    let device = Device::open().unwrap();
    let model = Linear::new(1, 1, &mut Init::new(&device, 0));
    let loss = || model.forward(&Tensor::ones(&device, [2, 1])).square().mean();
    let mut sgd = Sgd::new(&model, 0.25);
    let mut plateau = ReduceLrOnPlateau { factor: 1.0, ..Default::default() };
    assert!(!plateau.step(1.0, &mut sgd));
    assert!(matches!(sgd.step(&loss()), Err(Error::Argument { op: "ReduceLrOnPlateau", name: "factor", .. })));
    let set = TensorDataset::new(&device, (vec![1.0f32; 4], [1]), (vec![0i32; 4], [])).unwrap();
    let fitted = Trainer::new(1)
        .progress(false)
        .plateau(plateau)
        .fit(&model, &mut sgd, &set, None, |(x, _)| Outcome::loss(model.forward(x).square().mean(), x.numel()));
    assert!(matches!(fitted, Err(Error::Argument { name: "factor", .. })));

    // the lowest rates of two groups, which the optimizer has not
    let mut sgd = Sgd::new(&model, 0.25);
    let mut plateau = ReduceLrOnPlateau { min_lrs: vec![0.1, 0.2], patience: 0, ..Default::default() };
    let listed = |error| matches!(error, Error::Argument { op: "ReduceLrOnPlateau", name: "min_lrs", .. });
    assert!(!plateau.step(1.0, &mut sgd) && listed(sgd.step(&loss()).unwrap_err()));
    let trainer = Trainer::new(1).progress(false).plateau(plateau.clone());
    let forward = |(x, _): &(Tensor, Tensor)| Outcome::loss(model.forward(x).square().mean(), x.numel());
    assert!(listed(trainer.fit(&model, &mut sgd, &set, None, forward).unwrap_err()));
    let mut sgd = Sgd::new(&model, 0.25).group("bias", 0.4, |slot| slot.name == "bias", |_| {});
    plateau.step(1.0, &mut sgd);
    assert!(plateau.step(1.0, &mut sgd));
    assert_eq!(sgd.slots().groups.iter().map(|group| group.lr).collect::<Vec<_>>(), [0.1, 0.2]);
    sgd.step(&loss()).unwrap();

    // momentum is cycled of optimizers that have it or β₁, also where it was 0
    let cycle = OneCycleLr::new(0.1, 10);
    let without = OneCycleLr { momentum: None, ..cycle.clone() };
    let mut adagrad = kiln::optim::Adagrad::new(&model, 0.1);
    cycle.apply(&mut adagrad, 0);
    assert!(matches!(adagrad.step(&loss()), Err(Error::Argument { name: "momentum", .. })));
    without.apply(&mut adagrad, 0);
    adagrad.step(&loss()).unwrap();
    let mut plain = Sgd::new(&model, 0.1);
    cycle.apply(&mut plain, 0);
    plain.step(&loss()).unwrap();
    assert_eq!(plain.present_momentum(), Some(0.95));
}
