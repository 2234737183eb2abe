//! Limited-memory BFGS.

use std::collections::VecDeque;

use super::Slots;
use super::line_search::{Point, strong_wolfe};
use super::method::negative;
use crate::nn::{Module, StateDict};
use crate::{Gradients, Result, State, Tensor};

/// L-BFGS, as PyTorch has it, for full batches: each step goes several rounds, and each of them asks `closure` for the
/// loss at the present parameters. With s the moves and y the changes of the gradient g of the last rounds:
/// ```text
/// d = −H g,  H from s and y by the two-loop recursion        p = p + t d
/// t = min(1, 1 / Σ|g|) · lr in the first round, then lr; or by a line search for the strong Wolfe conditions
/// ```
/// Values come back to the host in each round. There are no groups and no weight decay.
///
/// Source: Nocedal & Wright 2006, *Numerical Optimization*, alg. 7.4; Liu & Nocedal 1989.
///
/// ```
/// # use kiln::prelude::*; use kiln::optim::Lbfgs;
/// # let device = Device::open()?;
/// let model = Linear::new(3, 1, &mut Init::new(&device, 0));
/// let (x, y) = (Tensor::eye(&device, 3), Tensor::new(&device, [[1.0], [2.0], [3.0]]));
/// let mut lbfgs = Lbfgs::new(&model, 1.0).strong_wolfe();
/// lbfgs.step(|| mse_loss(&model.forward(&x), &y))?;
/// assert!(mse_loss(&model.forward(&x), &y).item()? < 1e-6);
/// # Ok::<(), Error>(())
/// ```
pub struct Lbfgs {
    slots: Slots,
    max_iter: usize,
    max_eval: Option<usize>,
    tolerance_grad: f64,
    tolerance_change: f64,
    history_size: usize,
    strong_wolfe: bool,
    maximize: bool,
    past: Option<Past>,
}

/// What is known of earlier rounds.
struct Past {
    direction: Tensor,
    t: f64,
    gradient: Tensor,
    loss: f64,
    /// y, s, y·s, oldest first.
    pairs: VecDeque<(Tensor, Tensor, f64)>,
    /// The scale of the first guess of H.
    diagonal: f64,
}

impl Lbfgs {
    /// For the parameters of `model`: 20 rounds a step, a history of 100; PyTorch's learning rate is 1.
    pub fn new<M: Module + ?Sized>(model: &M, lr: f64) -> Self {
        Self {
            slots: Slots::new(model, lr),
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            strong_wolfe: false,
            maximize: false,
            past: None,
        }
    }

    /// Sets the most rounds of a step.
    #[must_use]
    pub fn max_iter(mut self, rounds: usize) -> Self {
        self.max_iter = rounds;
        self
    }

    /// Sets the most evaluations of a step; 5/4 of the rounds by default.
    #[must_use]
    pub fn max_eval(mut self, evaluations: usize) -> Self {
        self.max_eval = Some(evaluations);
        self
    }

    /// Ends a step once no element of the gradient is larger.
    #[must_use]
    pub fn tolerance_grad(mut self, tolerance: f64) -> Self {
        self.tolerance_grad = tolerance;
        self
    }

    /// Ends a step once loss or parameters change by less.
    #[must_use]
    pub fn tolerance_change(mut self, tolerance: f64) -> Self {
        self.tolerance_change = tolerance;
        self
    }

    /// Sets how many rounds are remembered.
    #[must_use]
    pub fn history_size(mut self, rounds: usize) -> Self {
        self.history_size = rounds;
        self
    }

    /// Searches along each direction until the strong Wolfe conditions hold.
    #[must_use]
    pub fn strong_wolfe(mut self) -> Self {
        self.strong_wolfe = true;
        self
    }

    /// Climbs.
    #[must_use]
    pub fn maximize(mut self) -> Self {
        self.maximize = true;
        self
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        self.slots.groups[0].lr
    }

    /// Sets the learning rate.
    pub fn set_lr(&mut self, lr: f64) {
        self.slots.groups[0].lr = lr;
    }

    /// Takes one step of several rounds; gives the loss before it. `closure` makes the loss at the present parameters
    /// and may be called up to `max_eval` times and once more.
    ///
    /// # Errors
    /// What the loss carries or the device says; the parameters are then where the last complete round left them,
    /// except in the middle of a line search. [`Error::Argument`](crate::Error::Argument) for a negative learning rate.
    #[track_caller]
    pub fn step(&mut self, mut closure: impl FnMut() -> Tensor) -> Result<f64> {
        if let (Some((name, given, why)), Some(slot)) = (negative(&[("lr", self.lr())]), self.slots.all.first()) {
            slot.param.value().bad_argument("step", name, given, why).shape()?;
        }
        let sign = if self.maximize { -1.0 } else { 1.0 };
        let mut evaluate = |slots: &Slots| -> Result<(f64, Tensor)> {
            let loss = closure();
            let gradients = loss.backward()?;
            let flat = flat(slots, &gradients) * sign;
            Tensor::eval_all(&[&loss, &flat])?;
            Ok((sign * loss.item_as::<f64>()?, flat))
        };
        if self.slots.all.is_empty() {
            return closure().item_as();
        }
        let (mut loss, mut g) = evaluate(&self.slots)?;
        let first = sign * loss;
        let mut calls = 1;
        let most = self.max_eval.unwrap_or(self.max_iter * 5 / 4);
        if largest(&g)? <= self.tolerance_grad {
            return Ok(first);
        }
        for round in 1..=self.max_iter {
            let (new, lr) = (self.past.is_none(), self.lr());
            let past = self.remember(&g, loss)?;
            let t = if new { (1.0 / g.abs().sum().item_as::<f64>()?).min(1.0) } else { 1.0 } * lr;
            let (d, before) = (past.direction.clone(), past.loss);
            let slope = dot(&g, &d)?;
            past.t = t;
            if slope > -self.tolerance_change {
                break;
            }
            let mut evaluated = 0;
            let mut taken = t;
            if self.strong_wolfe {
                let here: Vec<Tensor> = self.slots.all.iter().map(|slot| slot.param.value()).collect();
                let start = Point { t: 0.0, f: loss, g: g.clone(), slope };
                let at = |t: f64| -> Result<Point> {
                    move_to(&self.slots, &here, &d, t)?;
                    let (f, g) = evaluate(&self.slots)?;
                    let slope = dot(&g, &d)?;
                    Ok(Point { t, f, g, slope })
                };
                let rounds = most.saturating_sub(calls);
                let (end, count) = strong_wolfe(at, &start, t, largest(&d)?, self.tolerance_change, rounds)?;
                move_to(&self.slots, &here, &d, end.t)?;
                (loss, g, taken, evaluated) = (end.f, end.g, end.t, count);
            } else {
                let here: Vec<Tensor> = self.slots.all.iter().map(|slot| slot.param.value()).collect();
                move_to(&self.slots, &here, &d, t)?;
                if round != self.max_iter {
                    (loss, g) = evaluate(&self.slots)?;
                    evaluated = 1;
                }
            }
            if let Some(past) = &mut self.past {
                past.t = taken;
            }
            calls += evaluated;
            let over = round == self.max_iter
                || calls >= most
                || largest(&g)? <= self.tolerance_grad
                || largest(&d)? * taken.abs() <= self.tolerance_change
                || (loss - before).abs() < self.tolerance_change;
            if over {
                break;
            }
        }
        Ok(first)
    }

    /// Takes the last move into the history and makes the direction of the next.
    fn remember(&mut self, g: &Tensor, loss: f64) -> Result<&mut Past> {
        let Some(mut past) = self.past.take() else {
            let direction = -g;
            let (pairs, gradient) = (VecDeque::new(), g.clone());
            return Ok(self.past.insert(Past { direction, t: 0.0, gradient, loss, pairs, diagonal: 1.0 }));
        };
        let y = g - &past.gradient;
        let s = &past.direction * past.t;
        Tensor::eval_all(&[&y, &s])?;
        let ys = dot(&y, &s)?;
        if ys > 1e-10 {
            if past.pairs.len() == self.history_size {
                past.pairs.pop_front();
            }
            past.diagonal = ys / dot(&y, &y)?;
            past.pairs.push_back((y, s, ys));
        }
        let mut d = -g;
        let mut shares = Vec::new();
        for (y, s, ys) in past.pairs.iter().rev() {
            let share = dot(s, &d)? / ys;
            d = &d - y * share;
            shares.push(share);
        }
        d = d * past.diagonal;
        for ((y, s, ys), share) in past.pairs.iter().zip(shares.iter().rev()) {
            let back = dot(y, &d)? / ys;
            d = &d + s * (share - back);
        }
        d.eval()?;
        (past.direction, past.gradient, past.loss) = (d, g.clone(), loss);
        Ok(self.past.insert(past))
    }

    /// What is remembered of earlier rounds, for a checkpoint; empty before the first step.
    pub fn state_dict(&self) -> StateDict {
        let mut dict = StateDict::new();
        let Some(past) = &self.past else { return dict };
        dict.insert("d".into(), past.direction.clone());
        dict.insert("prev_flat_grad".into(), past.gradient.clone());
        let numbers = [past.t, past.loss, past.diagonal].map(|v| v as f32);
        dict.insert("numbers".into(), Tensor::new(past.gradient.device(), numbers));
        for (at, (y, s, ys)) in past.pairs.iter().enumerate() {
            dict.insert(format!("old_dirs.{at}"), y.clone());
            dict.insert(format!("old_stps.{at}"), s.clone());
            dict.insert(format!("ys.{at}"), Tensor::new(y.device(), *ys as f32));
        }
        dict
    }

    /// Puts back what [`state_dict`](Lbfgs::state_dict) gave.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) lists what is missing or of another shape; nothing has been changed then.
    pub fn load_state_dict(&mut self, dict: &StateDict) -> Result<()> {
        if dict.is_empty() {
            self.past = None;
            return Ok(());
        }
        let length: usize = self.slots.all.iter().map(|slot| slot.param.numel()).sum();
        let mut report = crate::StateReport::default();
        let mut find = |name: String, shape: &[usize]| -> Option<Tensor> {
            let Some(tensor) = dict.get(&name) else {
                report.missing.push(name);
                return None;
            };
            let is = tensor.shape().map(|s| s.to_vec()).unwrap_or_default();
            if is != shape {
                report.mismatched.push((name, shape.to_vec(), is));
                return None;
            }
            Some(tensor.clone())
        };
        let parts =
            (find("d".into(), &[length]), find("prev_flat_grad".into(), &[length]), find("numbers".into(), &[3]));
        let count = dict.keys().filter(|name| name.starts_with("old_dirs.")).count();
        let mut pairs = VecDeque::new();
        for at in 0..count {
            let y = find(format!("old_dirs.{at}"), &[length]);
            let s = find(format!("old_stps.{at}"), &[length]);
            if let (Some(y), Some(s), Some(ys)) = (y, s, find(format!("ys.{at}"), &[])) {
                pairs.push_back((y, s, ys.item_as::<f64>()?));
            }
        }
        let (Some(direction), Some(gradient), Some(numbers)) = parts else {
            return Err(crate::Error::State(Box::new(report)));
        };
        if report != crate::StateReport::default() {
            return Err(crate::Error::State(Box::new(report)));
        }
        let numbers = numbers.to_vec::<f64>()?;
        let (t, loss, diagonal) = (numbers[0], numbers[1], numbers[2]);
        self.past = Some(Past { direction, t, gradient, loss, pairs, diagonal });
        Ok(())
    }
}

/// All gradients one after another, zeros where there are none.
fn flat(slots: &Slots, gradients: &Gradients) -> Tensor {
    let known: std::collections::HashMap<u64, &Tensor> = gradients.iter().collect();
    let parts: Vec<Tensor> = slots
        .all
        .iter()
        .map(|slot| known.get(&slot.param.id()).map_or_else(|| slot.param.zeros_like(), |&g| g.clone()))
        .map(|g| g.reshape([-1i64]))
        .collect();
    Tensor::cat(&parts, 0)
}

/// Sets the parameters to `here + t · d`.
fn move_to(slots: &Slots, here: &[Tensor], d: &Tensor, t: f64) -> Result<()> {
    let mut start = 0;
    let mut updates = Vec::new();
    for (slot, value) in slots.all.iter().zip(here) {
        let part = d.narrow(0, start as i64, slot.param.numel()).reshape(slot.param.shape_or_scalar());
        updates.push((State::clone(&slot.param), value + part * t));
        start += slot.param.numel();
    }
    crate::step(&[], updates, &[])
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    (a * b).sum().item_as()
}

fn largest(x: &Tensor) -> Result<f64> {
    x.abs().max().item_as()
}
