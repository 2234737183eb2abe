//! What the optimizers and schedules of the draw are called here.

use super::call::{Call, Text};
use kiln::init::{Fan, Nonlinearity};
use kiln::optim::*;
use kiln::prelude::*;
use kiln::schedule::*;

/// The learning rates and what else a schedule, an optimizer and the like give; `None` if `c` names none.
pub fn run(device: &Device, c: &Call, x: &[Tensor]) -> Option<Vec<Tensor>> {
    if let Some(schedule) = schedule(c, c.name(), "") {
        return Some(vec![rates(device, c, schedule)]);
    }
    match c.name() {
        "ReduceLROnPlateau" => Some(vec![plateau(device, c)]),
        "LBFGS" => Some(vec![lbfgs(c, x)]),
        "AveragedModel" => Some(vec![averaged(c, &x[0])]),
        "init" => Some(vec![first_weights(device, c)]),
        "clip_grad_norm" | "clip_grad_value" => Some(clipped(c, x)),
        _ => optimizer(c, x),
    }
}

fn params(init: &mut Init, values: &[Tensor]) -> Vec<Param> {
    values.iter().map(|value| init.param(value)).collect()
}

/// An invalid tensor in place of what an error left.
fn or_error(device: &Device, result: Result<()>, values: Vec<Tensor>) -> Vec<Tensor> {
    match result {
        Ok(()) => values,
        Err(error) => vec![invalid(device, error)],
    }
}

/// A tensor that carries an error; which one does not matter to the draw.
fn invalid(device: &Device, error: Error) -> Tensor {
    assert!(matches!(error, Error::Argument { .. } | Error::Shape { .. }), "{error}");
    Tensor::zeros(device, [1]).squeeze(7)
}

/// The optimizer with what `c` sets: builder methods of these names, with a number or without argument.
macro_rules! optimizer {
    ($make:expr, $c:ident, [$($number:ident)*], [$($flag:ident)*]) => {{
        let optimizer = $make;
        $(let optimizer = if $c.has(stringify!($number)) {
            optimizer.$number($c.number(stringify!($number)))
        } else {
            optimizer
        };)*
        $(let optimizer = if $c.flag(stringify!($flag)) { optimizer.$flag() } else { optimizer };)*
        optimizer
    }};
}

fn optimizer(c: &Call, x: &[Tensor]) -> Option<Vec<Tensor>> {
    if x.len() != 4 || !c.has("lr") {
        return None;
    }
    let (model, lr) = (params(&mut Init::new(x[0].device(), 0), &x[..2]), c.number("lr"));
    let pair = |key: &str, default: (f64, f64)| match c.floats(key)[..] {
        [a, b] => (a, b),
        _ => default,
    };
    let betas = pair("betas", (0.9, 0.999));
    macro_rules! step {
        ($make:expr, [$($number:ident)*], [$($flag:ident)*]) => {
            train(optimizer!($make, c, [$($number)*], [$($flag)* maximize]), c, &model, &x[2..])
        };
    }
    Some(match c.name() {
        "SGD" => step!(Sgd::new(&model, lr), [momentum dampening weight_decay], [nesterov]),
        "Adam" => step!(Adam::new(&model, lr).betas(betas.0, betas.1), [eps weight_decay], [amsgrad]),
        "AdamW" => step!(AdamW::new(&model, lr).betas(betas.0, betas.1), [eps weight_decay], [amsgrad]),
        "RMSprop" => step!(RmsProp::new(&model, lr), [alpha momentum eps weight_decay], [centered]),
        "Adagrad" => step!(Adagrad::new(&model, lr), [lr_decay initial_accumulator_value eps weight_decay], []),
        "Adadelta" => step!(Adadelta::new(&model, lr), [rho eps weight_decay], []),
        "Adamax" => step!(Adamax::new(&model, lr).betas(betas), [eps weight_decay], []),
        "NAdam" => step!(NAdam::new(&model, lr).betas(betas), [momentum_decay eps weight_decay], [decoupled]),
        "RAdam" => step!(RAdam::new(&model, lr).betas(betas), [eps weight_decay], [decoupled]),
        "ASGD" => step!(Asgd::new(&model, lr), [lambd alpha t0 weight_decay], []),
        "Rprop" => {
            let sizes = pair("step_sizes", (1e-6, 50.0));
            step!(Rprop::new(&model, lr).etas(pair("etas", (0.5, 1.2))).step_sizes(sizes), [], [])
        }
        "Adafactor" => {
            let second = if c.has("eps2") { c.number("eps2") } else { 1e-3 };
            let make = Adafactor::new(&model, lr).rule(|rule| rule.eps.1 = second);
            step!(make, [beta2_decay d weight_decay], [])
        }
        _ => return None,
    })
}

/// The parameters after a step for each of the `gradients [steps, ..]`.
fn train(mut optimizer: impl Optimizer, c: &Call, model: &[Param], gradients: &[Tensor]) -> Vec<Tensor> {
    let device = gradients[0].device();
    let steps = gradients[0].shape().unwrap()[0];
    let result = (0..steps as i64).try_for_each(|t| {
        if t == 2 && c.has("later") {
            optimizer.set_lr(c.number("later"));
        }
        let terms = model.iter().zip(gradients).map(|(p, g)| (&**p * g.select(0, t)).sum());
        optimizer.step(&terms.reduce(|a, b| a + b).unwrap())
    });
    or_error(device, result, model.iter().map(|p| p.value()).collect())
}

fn lbfgs(c: &Call, x: &[Tensor]) -> Tensor {
    let p = Init::new(x[0].device(), 0).param(&x[0]);
    let lbfgs = Lbfgs::new(&p, c.number("lr")).max_iter(c.size("max_iter")).history_size(c.size("history_size"));
    let mut lbfgs = if c.flag("strong_wolfe") { lbfgs.strong_wolfe() } else { lbfgs };
    for _ in 0..c.size("steps") {
        lbfgs.step(|| p.dot(&x[1].mv(&p)) * 0.5 - p.dot(&x[2])).unwrap();
    }
    p.value()
}

fn clipped(c: &Call, x: &[Tensor]) -> Vec<Tensor> {
    let device = x[0].device();
    let zeros: Vec<Tensor> = x.iter().map(Tensor::zeros_like).collect();
    let model = params(&mut Init::new(device, 0), &zeros);
    let loss = model.iter().zip(x).map(|(p, g)| (&**p * g).sum()).reduce(|a, b| a + b).unwrap();
    let mut gradients = loss.backward().unwrap();
    let mut out = Vec::new();
    if c.name() == "clip_grad_value" {
        clip_grad_value(&mut gradients, c.number("most"));
    } else {
        out.extend(clip_grad_norm_of(&mut gradients, c.float("most"), c.float("p")));
    }
    out.extend(model.iter().map(|p| gradients.get(p).unwrap()));
    out
}

fn averaged(c: &Call, x: &Tensor) -> Tensor {
    let [steps, n] = x.dims::<2>().unwrap();
    let model = Init::new(x.device(), 0).zeros(&[1, n]);
    let average =
        if c.has("decay") { AveragedModel::ema(&model, c.number("decay")) } else { AveragedModel::swa(&model) };
    for t in 0..steps as i64 {
        model.set(&x.narrow(0, t, 1)).unwrap();
        average.update().unwrap();
    }
    average.named_states().pop().unwrap().1.value()
}

/// The schedule `name`, whose settings in `c` have `prefix` before their names.
fn schedule(c: &Call, name: &str, prefix: &str) -> Option<Box<dyn Schedule>> {
    let key = |key: &str| format!("{prefix}{key}");
    let (number, size) = (|name: &str| c.number(&key(name)), |name: &str| c.size(&key(name)));
    let momentum = || <[f64; 2]>::try_from(c.floats("momentum")).ok().map(|[a, b]| (a, b));
    let anneal = || if c.text("anneal_strategy") == "cos" { Anneal::Cos } else { Anneal::Linear };
    Some(match name {
        "StepLR" => Box::new(StepLr::new(size("step_size"), number("gamma"))),
        "MultiStepLR" => Box::new(MultiStepLr::new(c.sizes(&key("milestones")), number("gamma"))),
        "ConstantLR" => Box::new(ConstantLr { factor: number("factor"), total_iters: size("total_iters") }),
        "LinearLR" => {
            let (start_factor, end_factor) = (number("start_factor"), number("end_factor"));
            Box::new(LinearLr { start_factor, end_factor, total_iters: size("total_iters") })
        }
        "ExponentialLR" => Box::new(ExponentialLr::new(number("gamma"))),
        "PolynomialLR" => Box::new(PolynomialLr { total_iters: size("total_iters"), power: number("power") }),
        "CosineAnnealingLR" => Box::new(CosineAnnealingLr { t_max: size("T_max"), eta_min: number("eta_min") }),
        "CosineAnnealingWarmRestarts" => {
            let (t_0, t_mult) = (size("T_0"), size("T_mult"));
            Box::new(CosineAnnealingWarmRestarts { t_0, t_mult, eta_min: number("eta_min") })
        }
        "LambdaLR" => {
            let k = number("k");
            Box::new(LambdaLr(move |t| k.powi(t as i32) + 0.1 * t as f64))
        }
        "MultiplicativeLR" => {
            let k = number("k");
            Box::new(MultiplicativeLr::new(move |t| k + 0.05 * t as f64))
        }
        "OneCycleLR" => Box::new(OneCycleLr {
            pct_start: number("pct_start"),
            anneal: anneal(),
            momentum: momentum(),
            div_factor: number("div_factor"),
            final_div_factor: number("final_div_factor"),
            three_phase: c.flag("three_phase"),
            ..OneCycleLr::new(number("max_lr"), size("total_steps"))
        }),
        "CyclicLR" => Box::new(CyclicLr {
            step_size_up: size("step_size_up"),
            step_size_down: Some(c).filter(|c| c.has("step_size_down")).map(|_| size("step_size_down")),
            mode: match c.text("mode") {
                "triangular" => CyclicMode::Triangular,
                "triangular2" => CyclicMode::Triangular2,
                _ => CyclicMode::ExpRange { gamma: number("gamma") },
            },
            momentum: momentum(),
            ..CyclicLr::new(number("base_lr"), number("max_lr"))
        }),
        "SWALR" => {
            Box::new(SwaLr { anneal_epochs: size("anneal_epochs"), anneal: anneal(), ..SwaLr::new(number("swa_lr")) })
        }
        "SequentialLR" => {
            let names: Vec<&str> = c.text("names").split(':').collect();
            let part = |i: usize| schedule(c, names[i], &format!("{i}.")).unwrap();
            let mut all = SequentialLr::new(part(0));
            for (i, milestone) in c.sizes("milestones").into_iter().enumerate() {
                all = all.then(milestone, part(i + 1));
            }
            Box::new(all)
        }
        _ => return None,
    })
}

fn some_sgd(device: &Device, c: &Call) -> Sgd {
    Sgd::new(&Init::new(device, 0).zeros(&[1]), c.number("lr"))
}

/// The learning rate, and the momentum if it is cycled, of 30 steps.
fn rates(device: &Device, c: &Call, schedule: Box<dyn Schedule>) -> Tensor {
    let mut sgd = some_sgd(device, c).momentum(0.9);
    let cycled = schedule.momentum(0).is_some();
    let mut scheduler = Scheduler::new(schedule, &mut sgd);
    let mut out = Vec::new();
    for _ in 0..30 {
        out.push(sgd.lr() as f32);
        out.extend(sgd.present_momentum().filter(|_| cycled).map(|m| m as f32));
        scheduler.step(&mut sgd);
    }
    Tensor::from_slice(device, &out, &[30, 1 + usize::from(cycled)])
}

fn plateau(device: &Device, c: &Call) -> Tensor {
    let mut sgd = some_sgd(device, c);
    let mut plateau = ReduceLrOnPlateau {
        mode: if c.text("mode") == "min" { PlateauMode::Min } else { PlateauMode::Max },
        factor: c.number("factor"),
        patience: c.size("patience"),
        threshold: c.number("threshold"),
        threshold_mode: if c.text("threshold_mode") == "rel" { ThresholdMode::Rel } else { ThresholdMode::Abs },
        cooldown: c.size("cooldown"),
        min_lr: c.number("min_lr"),
        eps: c.number("eps"),
        ..Default::default()
    };
    let figures = c.floats("figures");
    let lrs = figures.into_iter().map(|figure| {
        plateau.step(figure, &mut sgd);
        sgd.lr() as f32
    });
    Tensor::from_vec(device, lrs.collect(), &[30])
}

/// Logarithms of the deviation of weights, and of the largest where it has a bound.
fn first_weights(device: &Device, c: &Call) -> Tensor {
    let init = &mut Init::new(device, 7);
    let (shape, gain) = (c.sizes("shape"), if c.has("gain") { c.number("gain") } else { 1.0 });
    let follows = match c.text("follows") {
        "linear" => Nonlinearity::Linear,
        "sigmoid" => Nonlinearity::Sigmoid,
        "tanh" => Nonlinearity::Tanh,
        "relu" => Nonlinearity::Relu,
        "selu" => Nonlinearity::Selu,
        _ => Nonlinearity::LeakyRelu(c.number("slope")),
    };
    let fan = if c.text("fan") == "fan_in" { Fan::In } else { Fan::Out };
    let weight = match c.text("how") {
        "xavier_uniform" => init.xavier_uniform(&shape, gain),
        "xavier_normal" => init.xavier_normal(&shape, gain),
        "kaiming_uniform" => init.kaiming_uniform_for(&shape, fan, follows),
        "kaiming_normal" => init.kaiming_normal_for(&shape, fan, follows),
        "orthogonal" => init.orthogonal(&shape, gain),
        _ => init.trunc_normal(&shape, 0.0, 1.0, -2.0..2.0),
    };
    let deviation = weight.square().mean().sqrt().ln();
    let largest = weight.abs().max().ln();
    let uniform = c.text("how").ends_with("uniform");
    Tensor::stack(&[&deviation, &largest][..if uniform { 2 } else { 1 }], 0)
}
