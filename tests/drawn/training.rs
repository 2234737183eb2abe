//! What the optimizers and schedules of the draw are called here.

use super::call::{Call, Text};
use kiln::init::{Fan, Nonlinearity};
use kiln::optim::*;
use kiln::prelude::*;
use kiln::schedule::*;

/// The learning rates and what else a schedule, an optimizer and the like give; `None` if `c` names none.
pub fn run(device: &Device, c: &Call, x: &[Tensor]) -> Option<Vec<Tensor>> {
    if let Some(schedule) = schedule(c, c.name(), "") {
        return Some(rates(device, c, schedule));
    }
    match c.name() {
        "ReduceLROnPlateau" => Some(plateau(device, c)),
        "step_to" => Some(stepped_to(device, c)),
        "LBFGS" => Some(vec![lbfgs(c, x)]),
        "AveragedModel" => Some(averaged(c, x)),
        "update_bn" => Some(updated(c, &x[0])),
        "init" => Some(vec![first_weights(device, c)]),
        "init_exactly" => Some(vec![fixed_weights(device, c)]),
        "init_spread" => Some(vec![spread_weights(device, c)]),
        "clip_grad_norm" | "clip_grads_with_norm" | "get_total_norm" | "clip_grad_value" => Some(clipped(c, x)),
        _ => optimizer(c, x),
    }
}

fn params(init: &mut Init, values: &[Tensor]) -> Vec<Param> {
    values.iter().map(|value| init.param(value)).collect()
}

/// An invalid tensor in place of what an error left.
pub fn or_error(device: &Device, result: Result<()>, values: Vec<Tensor>) -> Vec<Tensor> {
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
            let or = |key: &str, default: f64| if c.has(key) { c.number(key) } else { default };
            let eps = (or("eps1", f64::from(f32::EPSILON)), or("eps2", 1e-3));
            step!(Adafactor::new(&model, lr).eps(eps), [beta2_decay d weight_decay], [])
        }
        "Muon" => {
            let make = match c.text("adjust_lr") {
                "match_rms_adamw" => Muon::new(&model, lr).adjust_lr(AdjustLr::MatchRmsAdamW),
                "spectral_unclamped" => Muon::new(&model, lr).adjust_lr(AdjustLr::SpectralUnclamped),
                _ => Muon::new(&model, lr),
            };
            let make = if c.has("ns_steps") { make.ns_steps(c.size("ns_steps")) } else { make };
            let make = match c.floats("ns_coefficients")[..] {
                [x, y, z] => make.ns_coefficients((x, y, z)),
                _ => make,
            };
            step!(make.nesterov(!c.flag("no_nesterov")), [momentum eps weight_decay], [])
        }
        "Lion" => {
            let make = Lion::new(&model, lr);
            step!(if c.has("betas") { make.betas(betas) } else { make }, [weight_decay], [])
        }
        "Lamb" => step!(Lamb::new(&model, lr).betas(betas), [eps weight_decay], []),
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
    let lbfgs = if c.flag("strong_wolfe") { lbfgs.strong_wolfe() } else { lbfgs };
    let lbfgs = if c.has("max_eval") { lbfgs.max_eval(c.size("max_eval")) } else { lbfgs };
    let lbfgs = if c.has("tolerance_grad") { lbfgs.tolerance_grad(c.number("tolerance_grad")) } else { lbfgs };
    let lbfgs = if c.has("tolerance_change") { lbfgs.tolerance_change(c.number("tolerance_change")) } else { lbfgs };
    let (mut lbfgs, sign) = if c.flag("maximize") { (lbfgs.maximize(), -1.0) } else { (lbfgs, 1.0) };
    for _ in 0..c.size("steps") {
        lbfgs.step(|| (p.dot(&x[1].mv(&p)) * 0.5 - p.dot(&x[2])) * sign).unwrap();
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
    let p = c.float("p");
    match c.name() {
        "get_total_norm" => return vec![total_norm(&gradients, p).unwrap()],
        "clip_grad_value" => clip_grad_value(&mut gradients, c.number("most")),
        "clip_grads_with_norm" => {
            let norm = Tensor::new(device, if p.abs() < 9.0 { p.abs() } else { 0.25 });
            clip_grads_with_norm(&mut gradients, c.float("most"), &norm);
        }
        _ => out.extend(clip_grad_norm_of(&mut gradients, c.float("most"), p)),
    }
    out.extend(model.iter().map(|p| gradients.get(p).unwrap()));
    out
}

fn averaged(c: &Call, x: &[Tensor]) -> Vec<Tensor> {
    let [steps, n] = x[0].dims::<2>().unwrap();
    let model = BatchNorm1d::new(n, &mut Init::new(x[0].device(), 0));
    let average =
        if c.has("decay") { AveragedModel::ema(&model, c.number("decay")) } else { AveragedModel::swa(&model) };
    let average = if c.flag("use_buffers") { average.use_buffers() } else { average };
    let (weight, mean) = (&model.named_parameters()[0].1, &model.named_states()[0].1);
    for t in 0..steps as i64 {
        weight.set(&x[0].select(0, t)).unwrap();
        mean.set(&x[1].select(0, t)).unwrap();
        average.update().unwrap();
    }
    let found = average.state_dict();
    ["module.weight", "module.running_mean"].map(|name| found[name].clone()).to_vec()
}

fn updated(c: &Call, x: &Tensor) -> Vec<Tensor> {
    let ([batches, _, n], init) = (x.dims::<3>().unwrap(), &mut Init::new(x.device(), 0));
    let norm = |init: &mut Init| BatchNorm1d::new(n, init).momentum(Some(c.number("momentum")));
    let model = Sequential::new().push(norm(init)).push(norm(init));
    model.eval();
    let rows = (0..batches as i64).map(|t| x.select(0, t));
    update_bn(&model, rows, |batch| model.forward(batch)).unwrap();
    let found = model.state_dict();
    let mut out =
        ["0.running_mean", "0.running_var", "1.running_mean", "1.running_var"].map(|name| found[name].clone()).to_vec();
    out.push(model.forward(&x.select(0, 0)));
    out
}

/// The schedule `name`, whose settings in `c` have `prefix` before their names.
pub fn schedule(c: &Call, name: &str, prefix: &str) -> Option<Box<dyn Schedule>> {
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

/// The learning rate, and the momentum if it is cycled, of 30 steps; the step after them has what was refused.
fn rates(device: &Device, c: &Call, schedule: Box<dyn Schedule>) -> Vec<Tensor> {
    let (param, lr) = (Init::new(device, 0).zeros(&[1]), c.number("lr"));
    match c.text("by") {
        "Adam" => rates_of(device, Adam::new(&param, lr), &param, schedule),
        "Adagrad" => rates_of(device, Adagrad::new(&param, lr), &param, schedule),
        _ => rates_of(device, Sgd::new(&param, lr).momentum(0.9), &param, schedule),
    }
}

fn rates_of(device: &Device, mut optimizer: impl Optimizer, param: &Param, schedule: Box<dyn Schedule>) -> Vec<Tensor> {
    let cycled = schedule.momentum(0).is_some();
    let mut scheduler = Scheduler::new(schedule, &mut optimizer);
    let mut out = Vec::new();
    for _ in 0..30 {
        out.push(optimizer.lr() as f32);
        out.extend(optimizer.present_momentum().filter(|_| cycled).map(|m| m as f32));
        scheduler.step(&mut optimizer);
    }
    let stepped = optimizer.step(&param.sum());
    if stepped.is_ok() && out.len() % 30 == 0 {
        return vec![Tensor::from_slice(device, &out, &[30, out.len() / 30])];
    }
    or_error(device, stepped, Vec::new())
}

/// Learning rates at given epochs; -1 stands for a step by one.
fn stepped_to(device: &Device, c: &Call) -> Vec<Tensor> {
    let param = Init::new(device, 0).zeros(&[1]);
    let mut sgd = Sgd::new(&param, c.number("lr"));
    let mut scheduler = Scheduler::new(schedule(c, c.text("schedule"), "").unwrap(), &mut sgd);
    let lrs = c.floats("epochs").into_iter().map(|epoch| {
        if epoch < 0.0 {
            scheduler.step(&mut sgd)
        } else {
            scheduler.step_to(&mut sgd, epoch)
        }
        sgd.lr() as f32
    });
    let lrs = Tensor::from_vec(device, lrs.collect(), &[12]);
    let stepped = sgd.step(&param.sum());
    or_error(device, stepped, vec![lrs])
}

fn plateau(device: &Device, c: &Call) -> Vec<Tensor> {
    let param = Init::new(device, 0).zeros(&[1]);
    let mut sgd = Sgd::new(&param, c.number("lr"));
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
    let lrs = Tensor::from_vec(device, lrs.collect(), &[30]);
    let stepped = sgd.step(&param.sum());
    or_error(device, stepped, vec![lrs])
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

/// First weights that are not random, or how many zeros there are in each column of sparse ones.
fn fixed_weights(device: &Device, c: &Call) -> Tensor {
    let init = &mut Init::new(device, 7);
    let shape = c.sizes("shape");
    match c.text("how") {
        "eye" => init.eye(&shape).value(),
        "dirac" => init.dirac(&shape, c.size("groups")).value(),
        "constant" => init.constant(&shape, c.number("value")).value(),
        "ones" => init.ones(&shape).value(),
        "zeros" => init.zeros(&shape).value(),
        _ => init.sparse(&shape, c.number("sparsity"), 0.01).eq(0.0).cast(DType::F32).sum_axes(0, false),
    }
}

/// Mean and deviation of many weights.
fn spread_weights(device: &Device, c: &Call) -> Tensor {
    let init = &mut Init::new(device, 7);
    let (range, mean, std) = (c.number("a")..c.number("b"), c.number("mean"), c.number("std"));
    let weight = match c.text("how") {
        "uniform" => init.uniform(&[90, 90], range),
        "normal" => init.normal(&[90, 90], mean, std),
        _ => init.trunc_normal(&[90, 90], mean, std, range),
    };
    Tensor::stack(&[&weight.mean(), &weight.reshape([-1i64]).std(0i64, 0, false)], 0)
}
