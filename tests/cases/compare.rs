//! How far an answer is from the reference, and how far it may be.

use super::reference::Want;
use super::{Case, input::fingerprint, input::uniform, reference};
use kiln::prelude::*;

/// What an error is divided by.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    /// 1 + |want|.
    Element,
    /// 1 + the greatest |want| of the tensor.
    Tensor,
    /// |want|.
    Relative,
}

/// How large an error may be.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pub forward: f64,
    pub gradient: f64,
    pub scale: Scale,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { forward: 1e-5, gradient: 1e-4, scale: Scale::Element }
    }
}

/// The greatest error and what it is. A NaN equals a NaN only, an infinity itself only.
fn worst(got: &[f64], want: &Want, bound: f64, scale: Scale) -> (f64, String) {
    let largest = want.numbers.iter().filter(|w| w.is_finite()).fold(0.0, |m: f64, w| m.max(w.abs()));
    let error = |got: f64, want: f64| {
        let unit = match scale {
            Scale::Element => 1.0 + want.abs(),
            Scale::Tensor => 1.0 + largest,
            Scale::Relative => want.abs().max(f64::from(f32::MIN_POSITIVE)),
        };
        match got {
            _ if got == want || (got.is_nan() && want.is_nan()) => 0.0,
            _ if got.is_finite() && want.is_finite() => (got - want).abs() / unit,
            _ => f64::INFINITY,
        }
    };
    let errors = got.iter().zip(&want.numbers).map(|(&g, &w)| error(g, w));
    let wrong = errors.clone().filter(|&e| e > bound).count();
    match errors.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)) {
        None => (0.0, String::new()),
        Some((at, most)) => {
            let what = format!("[{at}] is {} not {}, error {most:.1e}", got[at], want.numbers[at]);
            (most, format!("{what}, {wrong} of {} wrong", got.len()))
        }
    }
}

/// A mistake: how great, and what.
pub type Mistake = (f64, String);

/// What is to be said of a row.
#[derive(Default)]
pub struct Verdict {
    pub mistakes: Vec<Mistake>,
    /// The greatest error of a result, and of a gradient, as a part of what is allowed.
    pub forward: f64,
    pub gradient: f64,
}

impl Verdict {
    /// Something that makes comparing numbers pointless.
    pub fn fatal(what: String) -> Self {
        Self { mistakes: vec![(f64::INFINITY, what)], ..Self::default() }
    }

    /// Compares `got` with what is recorded as `part` of the row.
    fn check(&mut self, case: &Case, part: &str, index: usize, got: &Tensor) {
        let name = format!("{}:{part}{index}", case.name);
        let mut refuse = |error, what: String| self.mistakes.push((error, format!("{name}: {what}")));
        let Some(want) = reference::want(&case.name, part, index) else {
            return refuse(f64::INFINITY, "PyTorch has no such result".into());
        };
        let (shape, numbers) = match got.shape().and_then(|shape| Ok((shape, got.to_vec::<f64>()?))) {
            Ok(read) => read,
            Err(error) => return refuse(f64::INFINITY, error.to_string()),
        };
        if shape[..] != want.shape[..] {
            return refuse(f64::INFINITY, format!("shape {shape}, not {:?}", want.shape));
        }
        if got.dtype().to_string() != want.dtype {
            return refuse(f64::INFINITY, format!("{}, not {}", got.dtype(), want.dtype));
        }
        let out = part == "out";
        let bound = if out { case.tolerance.forward } else { case.tolerance.gradient };
        let bound = if want.exact { f64::MIN_POSITIVE } else { bound };
        let (error, what) = worst(&numbers, &want, bound, case.tolerance.scale);
        if error > bound {
            refuse(error, what);
        }
        let most = if out { &mut self.forward } else { &mut self.gradient };
        *most = most.max(error / bound);
    }
}

/// Σ over the float tensors j of Σ tensorⱼ · weightⱼ, or nothing if there are none.
fn weighed(device: &Device, name: &str, stream: u64, tensors: &[Tensor]) -> Result<Option<Tensor>> {
    let mut sum: Option<Tensor> = None;
    for (j, tensor) in tensors.iter().enumerate().filter(|(_, t)| t.dtype() == DType::F32) {
        let shape = tensor.shape()?;
        let weights = uniform(name, stream + j as u64, shape.numel(), -1.0, 1.0);
        let term = (tensor * &Tensor::from_vec(device, weights, &shape)).sum();
        sum = Some(sum.map_or(term.clone(), |s| s + term));
    }
    Ok(sum)
}

/// A result of a row: where it is recorded, and the tensor.
type Answer = (&'static str, usize, Tensor);

/// Runs a row and compares everything that PyTorch answered.
pub fn judge(device: &Device, case: &Case) -> Verdict {
    let name = &case.name;
    match reference::rows().get(name) {
        None => Verdict::fatal(format!("{name}: not in tests/data/reference.bin: add it to scripts/reference.py")),
        Some(mark) if *mark != fingerprint(name, &case.inputs) => {
            Verdict::fatal(format!("{name}: the inputs are not those of scripts/reference.py"))
        }
        Some(_) => {
            let verdict = ask(device, case, true);
            if verdict.mistakes.is_empty() { ask(device, case, false) } else { verdict }
        }
    }
}

/// Asks for every answer of a row: in one plan, as a training step does, or one after another.
fn ask(device: &Device, case: &Case, together: bool) -> Verdict {
    let name = &case.name;
    let inputs: Vec<Tensor> = case.inputs.iter().enumerate().map(|(k, input)| input.tensor(device, name, k)).collect();
    let outs = (case.run)(&inputs);
    let mut answers: Vec<Answer> = outs.iter().enumerate().map(|(j, out)| ("out", j, out.clone())).collect();
    if let Err(error) = gradients(device, case, &inputs, outs, &mut answers) {
        return Verdict::fatal(format!("{name}: {error}"));
    }
    if answers.len() != reference::count(name) {
        return Verdict::fatal(format!("{name}: {} results, not {}", answers.len(), reference::count(name)));
    }
    if together {
        // What is wrong with it, each tensor will say when it is read.
        let _ = Tensor::eval_all(&answers.iter().map(|(_, _, tensor)| tensor).collect::<Vec<_>>());
    }
    let mut verdict = Verdict::default();
    for (part, index, tensor) in &answers {
        verdict.check(case, part, *index, tensor);
    }
    if !together {
        verdict.mistakes.iter_mut().for_each(|(_, what)| what.push_str(" (asked for one after another)"));
    }
    verdict
}

/// Adds the gradients of a row, and their gradients, where PyTorch recorded them.
fn gradients(
    device: &Device,
    case: &Case,
    inputs: &[Tensor],
    mut of: Vec<Tensor>,
    answers: &mut Vec<Answer>,
) -> Result<()> {
    let floats: Vec<usize> = (0..inputs.len()).filter(|&k| case.inputs[k].is_float()).collect();
    let wanted: Vec<&Tensor> = floats.iter().map(|&k| &inputs[k]).collect();
    for (part, stream) in [("grad", 1000), ("twice", 2000)] {
        let recorded = floats.first().is_some_and(|&k| reference::want(&case.name, part, k).is_some());
        let Some(sum) = weighed(device, &case.name, stream, &of)?.filter(|_| recorded) else { break };
        let grads = sum.grad(&wanted)?;
        // Gradient k has the weights of stream 2000 + k, so inputs that have no gradient keep their place.
        of = inputs.to_vec();
        for (&k, grad) in floats.iter().zip(grads) {
            answers.push((part, k, grad.clone()));
            of[k] = grad;
        }
    }
    Ok(())
}
