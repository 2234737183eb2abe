//! Compositions of operations, as scripts/drawn_programs.py writes them.

use super::call::{Call, Text};
use super::{dot, operation};
use kiln::optim::*;
use kiln::prelude::*;

/// The registers that no step takes, or the parameters after a few steps of an optimizer; `None` if `c` is one operation.
pub fn run(device: &Device, c: &Call, x: &[Tensor]) -> Option<Vec<Tensor>> {
    match c.name() {
        "program" => Some(program(device, c, x)),
        "descent" => Some(descent(device, c, x)),
        _ => None,
    }
}

/// A program as it runs: its registers, and which of them were taken.
struct Machine<'a> {
    device: &'a Device,
    regs: Vec<Tensor>,
    used: Vec<usize>,
}

fn program(device: &Device, c: &Call, x: &[Tensor]) -> Vec<Tensor> {
    let mut machine = Machine { device, regs: x.to_vec(), used: Vec::new() };
    machine.steps(&mut c.text("steps").split(' '));
    let Machine { regs, used, .. } = machine;
    regs.into_iter().enumerate().skip(x.len()).filter(|(i, _)| !used.contains(i)).map(|(_, t)| t).collect()
}

impl<'a> Machine<'a> {
    /// Steps up to the end, or to the bracket that closes.
    fn steps(&mut self, steps: &mut std::str::Split<'a, char>) {
        while let Some(step) = steps.next() {
            match step {
                "[" => kiln::checkpoint(|| self.steps(steps)),
                "]" => return,
                step => self.step(step),
            }
        }
    }

    fn step(&mut self, step: &str) {
        let (call, of) = step.rsplit_once('|').unwrap();
        let of: Vec<usize> = of.split('.').map(|r| r.parse().unwrap()).collect();
        let x: Vec<Tensor> = of.iter().map(|&r| self.regs[r].clone()).collect();
        let call = Call::parse(&format!("{};in=", call.replace(',', ";")), &[]);
        let out = primitive(&call, &x).map_or_else(|| operation(self.device, &call, &x), |t| vec![t]);
        self.used.extend(of);
        self.regs.extend(out);
    }
}

/// Steps that the other draws do not have as operations.
fn primitive(c: &Call, x: &[Tensor]) -> Option<Tensor> {
    let pool = || Pool { stride: vec![c.size("s")], padding: vec![c.size("p")], ..Pool::new(c.size("k")) };
    Some(match c.name() {
        "detach" => x[0].detach(),
        "grad" => {
            let found = x[0].sum().grad(&[&x[1]]);
            found.map_or_else(|error| panic!("{error}"), |mut all| all.swap_remove(0))
        }
        "layer_norm" => x[0].layer_norm(c.size("n"), None, None, c.float("eps")),
        "rms_norm" => x[0].rms_norm(c.size("n"), None, c.float("eps")),
        "group_norm" => x[0].group_norm(c.size("n"), None, None, c.float("eps")),
        "conv1d" => {
            let (stride, padding, dilation) = (vec![c.size("s")], vec![c.size("p")], vec![c.size("d")]);
            x[0].conv1d(&x[1], None, &Conv { stride, padding, dilation, ..Conv::default() })
        }
        "max_pool" => x[0].max_pool1d(&pool()),
        "avg_pool" => x[0].avg_pool1d(&pool()),
        _ => return None,
    })
}

fn descent(device: &Device, c: &Call, x: &[Tensor]) -> Vec<Tensor> {
    let init = &mut Init::new(device, 0);
    let params: Vec<Option<Param>> = x.iter().map(|t| t.dtype().is_float().then(|| init.param(t))).collect();
    let model: Vec<Param> = params.iter().flatten().cloned().collect();
    let loss = || {
        let inputs = params.iter().zip(x).map(|(p, t)| p.as_ref().map_or_else(|| t.clone(), |p| p.value()));
        dot(device, &program(device, c, &inputs.collect::<Vec<_>>())).unwrap()
    };
    let turns = c.size("turns");
    match c.text("by") {
        "SGD" => take(Sgd::new(&model, 0.125).momentum(0.5), turns, loss),
        "Adam" => take(Adam::new(&model, 0.125).eps(0.125), turns, loss),
        "AdamW" => take(AdamW::new(&model, 0.125).eps(0.125).weight_decay(0.25), turns, loss),
        "RMSprop" => take(RmsProp::new(&model, 0.125).eps(0.125), turns, loss),
        _ => take(Adagrad::new(&model, 0.125).eps(0.125), turns, loss),
    }
    model.iter().map(|p| p.value()).collect()
}

fn take(mut rule: impl Optimizer, steps: usize, loss: impl Fn() -> Tensor) {
    for _ in 0..steps {
        rule.step(&loss()).unwrap();
    }
}
