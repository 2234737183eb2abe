//! Whole trainings, as scripts/drawn_runs.py describes them.

use super::call::{Call, Text};
use super::training::{or_error, schedule};
use kiln::optim::*;
use kiln::prelude::*;
use kiln::schedule::*;

/// The parameters after the steps of `c`; `None` if it is no training.
pub fn run(device: &Device, c: &Call, x: &[Tensor]) -> Option<Vec<Tensor>> {
    if c.name() != "run" {
        return None;
    }
    let lr = c.number("lr");
    macro_rules! rule {
        ($kind:ident, [$($number:ident)*], [$($flag:ident)*]) => {
            train(device, c, x, |model: &Vec<Param>| {
                let rule = $kind::new(model, lr).weight_decay(c.number("weight_decay"));
                $(let rule = if c.has(stringify!($number)) { rule.$number(c.number(stringify!($number))) } else { rule };)*
                $(let rule = if c.flag(stringify!($flag)) { rule.$flag() } else { rule };)*
                let rule = if c.flag("maximize") { rule.maximize() } else { rule };
                if c.has("other") { rule.group("biases", c.number("other"), |slot| slot.param.rank() == 1 && slot.param.numel() == 3, |_| {}) } else { rule }
            })
        };
    }
    Some(match c.text("rule") {
        "SGD" => rule!(Sgd, [momentum dampening], [nesterov]),
        "Adam" => rule!(Adam, [eps], [amsgrad]),
        "AdamW" => rule!(AdamW, [eps], [amsgrad]),
        "RMSprop" => rule!(RmsProp, [eps momentum], [centered]),
        "Adagrad" => rule!(Adagrad, [eps lr_decay initial_accumulator_value], []),
        "Adadelta" => rule!(Adadelta, [eps], []),
        "Adamax" => rule!(Adamax, [eps], []),
        "NAdam" => rule!(NAdam, [eps], [decoupled]),
        "RAdam" => rule!(RAdam, [eps], [decoupled]),
        _ => rule!(Asgd, [lambd alpha t0], []),
    })
}

/// The loss of one batch: see `loss_of` of the script.
fn loss(p: &[Param], x: &Tensor, y: &Tensor, part: &str) -> Tensor {
    let h = (x.matmul(&p[0]) + &*p[2]).tanh();
    let h = if part.contains('u') { &h + h.matmul(&p[1]).tanh() } else { h };
    (h.matmul(&p[0].t()) * &*p[3] - y).square().mean()
}

fn train<O: Optimizer>(device: &Device, c: &Call, x: &[Tensor], make: impl Fn(&Vec<Param>) -> O) -> Vec<Tensor> {
    let init = &mut Init::new(device, 0);
    let model: Vec<Param> = x[..4].iter().map(|value| init.param(value)).collect();
    let scheduler =
        |o: &mut O| c.has("schedule").then(|| Scheduler::new(schedule(c, c.text("schedule"), "").unwrap(), o));
    let mut rule = make(&model);
    let mut rates = scheduler(&mut rule);
    let mut sum = Accumulator::new(&rule);
    let result = c.text("parts").split(':').enumerate().try_for_each(|(t, part)| {
        if part.contains('s') && t > 0 {
            let saved = (rule.state_dict(), rates.as_ref().map(Scheduler::state));
            rule = make(&model);
            rule.load_state_dict(&saved.0)?;
            rates = scheduler(&mut rule);
            if let (Some(rates), Some(state)) = (&mut rates, saved.1) {
                assert!(rates.load_state(&state, &mut rule));
            }
        }
        for (i, param) in model.iter().enumerate() {
            param.set_trainable(!part.contains(&i.to_string()));
        }
        let batch = |half: i64| [4, 5].map(|i: usize| x[i].select(0, t as i64).select(0, half));
        let of = |half: i64| loss(&model, &batch(half)[0], &batch(half)[1], part);
        if part.contains('a') {
            (0..2).try_for_each(|half| sum.add(&rule.backward(&of(half))?))?;
            rule.step(&sum.sum()?)?;
        } else {
            rule.step(&of(0))?;
        }
        if let Some(rates) = &mut rates {
            rates.step(&mut rule);
        }
        Ok(())
    });
    or_error(device, result, model.iter().map(|p| p.value()).collect())
}
