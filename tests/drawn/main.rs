//! Calls drawn at random, against PyTorch: results, gradients, gradients of gradients, what is left in a layer, and
//! refusals. The calls and the answers are in tests/data, from scripts/reference_drawn.py (tensor operations) and
//! scripts/reference_drawn_layers.py (layers, losses, optimizers, schedules); scripts/drawn_answers.py says what is in them.
//! Calls where functions have corners are picked by hand: scripts/reference_picked.py. Compositions of operations are
//! drawn by scripts/reference_drawn_programs.py.
//!
//! `KILN_DRAWN=file` takes another draw, of another seed or length.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod call;
mod layers;
mod losses;
mod ops;
mod programs;
mod runs;
mod training;
mod types;
mod weights;

use call::{Call, Text, Want};
use kiln::prelude::*;
use layers::{Layer, function, named, with};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Σ t · weight over all floats among `tensors`; the weights are those of the script.
fn dot(device: &Device, tensors: &[Tensor]) -> Option<Tensor> {
    let weighed = tensors.iter().enumerate().filter(|(_, t)| t.dtype().is_float()).map(|(i, t)| {
        let weights: Vec<f32> = (0..t.numel()).map(|k| ((k * 7 + 3 * i) % 9) as f32 / 4.0 - 1.0).collect();
        (t * Tensor::from_vec(device, weights, &t.shape().unwrap())).sum()
    });
    weighed.reduce(|a, b| a + b)
}

/// The results of the operation, loss, optimizer or program that `call` names.
fn operation(device: &Device, call: &Call, x: &[Tensor]) -> Vec<Tensor> {
    let one = || losses::loss(call, x).or_else(|| function(call, x)).map(|y| vec![y]);
    let trained = || runs::run(device, call, x).or_else(|| training::run(device, call, x));
    let several = || trained().unwrap_or_else(|| ops::run(device, call, x));
    programs::run(device, call, x).or_else(|| types::run(device, call)).or_else(one).unwrap_or_else(several)
}

/// The layer that a call names, or its operation as a layer without parameters.
fn layer<'a>(device: &'a Device, call: &'a Call) -> Layer<'a> {
    let operation = move |_: &nn::Identity, x: &[Tensor]| operation(device, call, x);
    let init = &mut Init::new(device, 0);
    named(call, init).or_else(|| weights::named(call, init)).unwrap_or_else(|| with(nn::Identity, operation))
}

/// What a call gives and PyTorch does too: name, result, what PyTorch says.
type Answers<'a> = Vec<(String, Tensor, &'a Option<Want>)>;

fn answers<'a>(device: &Device, call: &'a Call) -> Result<std::result::Result<Answers<'a>, String>> {
    let (variables, inputs) = call.inputs(device);
    let layer = layer(device, call);
    if !call.refused {
        let state = call.state.iter().map(|(path, want)| (path.clone(), want.as_ref().unwrap().tensor(device)));
        layer.module.load_state_dict(&state.collect())?;
    }
    if call.flag("eval") {
        layer.module.eval();
    }
    let calls = if call.has("calls") { call.size("calls") } else { 1 };
    for _ in 1..calls {
        Tensor::eval_all(&layer.run(&inputs).iter().collect::<Vec<_>>())?;
    }
    let out = layer.run(&inputs);
    out.iter().try_for_each(|t| t.shape().map(drop))?;
    if call.refused {
        return Ok(Ok(out.into_iter().map(|t| ("out".into(), t, &None)).collect()));
    }
    let variables: Vec<&Tensor> = variables.iter().collect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut answers = Answers::new();
    if !call.grad.is_empty() || !call.dstate.is_empty() {
        let loss = dot(device, &out).expect("a float to differentiate");
        first = loss.grad(&variables)?;
        let gradients = loss.backward()?;
        for (path, param) in layer.module.named_parameters() {
            let Some((_, want)) = call.dstate.iter().find(|(known, _)| *known == path) else {
                return Ok(Err(format!("PyTorch has no {path}")));
            };
            let got = gradients.get(&param).unwrap_or_else(|| param.zeros_like());
            answers.push((format!("grad of {path}"), got, want));
        }
    }
    if !call.grad2.is_empty() {
        // the script's sum leaves out what PyTorch gave no gradient
        let given: Vec<Tensor> = first
            .iter()
            .zip(&call.grad)
            .map(|(t, want)| if want.is_some() { t.clone() } else { Tensor::zeros(device, [1]).cast(DType::I32) })
            .collect();
        second = dot(device, &given).expect("a gradient").grad(&variables)?;
    }
    let after = layer.module.state_dict();
    for (path, want) in &call.after {
        answers.push((format!("after {path}"), after[path].clone(), want));
    }
    for (name, tensors, want) in [("out", out, &call.out), ("grad", first, &call.grad), ("grad2", second, &call.grad2)]
    {
        if tensors.len() != want.len() {
            return Ok(Err(format!("{name}: {} tensors, not {}", tensors.len(), want.len())));
        }
        answers.extend(tensors.into_iter().zip(want).enumerate().map(|(i, (t, want))| (format!("{name}{i}"), t, want)));
    }
    Ok(Ok(answers))
}

/// What is wrong with an answer, if anything: `got` are the words of `tensor`, `want` what PyTorch says.
fn compare(name: &str, tensor: &Tensor, got: &[u8], want: &Want, bound: f64) -> Option<String> {
    let shape = tensor.shape().unwrap();
    if shape[..] != want.shape[..] || tensor.dtype() != want.dtype {
        return Some(format!("{} {shape:?} is not {} {:?}", tensor.dtype(), want.dtype, want.shape));
    }
    let words: Vec<i32> = got.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
    let floats = |words: &[i32]| words.iter().map(|&w| f32::from_bits(w as u32)).collect::<Vec<f32>>();
    let wrong = if want.dtype == DType::F32 {
        let (got, want) = (floats(&words), floats(&want.words));
        let peak = want.iter().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs()));
        let near = |g: f32, w: f32| {
            // a second derivative that PyTorch does not have
            if name.starts_with("grad2") && !w.is_finite() {
                return true;
            }
            // an element that is small because its terms cancel cannot be better than its terms
            let scale = 1.0 + f64::from(w.abs()) + 0.1 * f64::from(peak.min(1e3));
            let apart = (f64::from(g) - f64::from(w)).abs();
            g == w || (g.is_nan() && w.is_nan()) || (w.is_finite() && apart <= bound * scale)
        };
        let first = got.iter().zip(&want).position(|(&g, &w)| !near(g, w));
        first.map(|i| format!("{} is not {} at {i}\n   got  {got:?}\n   want {want:?}", got[i], want[i]))
    } else {
        (words != want.words).then(|| format!("{words:?}\n   is not {:?}", want.words))
    };
    wrong.map(|text| text.chars().take(600).collect())
}

fn judge(device: &Device, call: &Call) -> Option<String> {
    let found = catch_unwind(AssertUnwindSafe(|| {
        let all = match answers(device, call)? {
            Ok(all) => all,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let flat: Vec<&Tensor> = all.iter().map(|(_, t, _)| t).collect();
        let bytes = Tensor::read_all(&flat)?;
        Ok::<_, Error>(Ok((all, bytes)))
    }));
    let (all, bytes) = match found {
        Err(_) => return Some("PANIC".into()),
        Ok(Err(error)) if call.refused => {
            let text = error.to_string();
            return (!text.contains("tests/drawn")).then(|| format!("the error does not name the caller: {text}"));
        }
        Ok(Err(error)) => return Some(format!("refused: {error}")),
        Ok(Ok(_)) if call.refused => return Some("should be refused".into()),
        Ok(Ok(Err(wrong))) => return Some(wrong),
        Ok(Ok(Ok(found))) => found,
    };
    for ((name, tensor, want), got) in all.iter().zip(&bytes) {
        let bound = if call.has("bound") { call.number("bound") } else { 1e-5 };
        // where PyTorch has no gradient, ours is zeros
        let nothing = got.iter().all(|&b| b & 0x7f == 0);
        let wrong = match want {
            Some(want) => compare(name, tensor, got, want, if name.starts_with("grad") { 1e-4 } else { bound }),
            None => (!nothing).then(|| "a gradient where there is none".into()),
        };
        if let Some(wrong) = wrong {
            return Some(format!("{name}: {wrong}"));
        }
    }
    None
}

/// Whether the adapter takes numbers below the least normal one for zero, as WGSL permits (lavapipe 26 does, in comparisons).
fn takes_small_for_zero(device: &Device) -> bool {
    let small = Tensor::new(device, [f32::MIN_POSITIVE / 2.0]);
    small.gt(kiln::Lit(0.0)).to_vec::<bool>().unwrap() == [false]
}

/// Whether an input of the call has such numbers.
fn has_small(device: &Device, call: &Call) -> bool {
    let (variables, inputs) = call.inputs(device);
    let floats = variables.iter().chain(&inputs).filter(|t| t.dtype() == DType::F32);
    floats.flat_map(|t| t.to_vec::<f32>().unwrap()).any(f32::is_subnormal)
}

/// Makes the calls of a file of `tests/data`, which are at least so many, or of KILN_DRAWN.
fn make_all(name: &str, least: usize) {
    let device = Device::open().unwrap();
    let path = std::env::var("KILN_DRAWN")
        .unwrap_or_else(|_| format!("{}/../../tests/data/{name}.safetensors", env!("CARGO_MANIFEST_DIR")));
    let file = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let words = file.tensor("words").unwrap();
    let words: Vec<i32> = words.data().chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
    let text = String::from_utf8(file.tensor("calls").unwrap().data().to_vec()).unwrap();
    let calls: Vec<Call> = text.lines().map(|line| Call::parse(line, &words)).collect();
    let least = if std::env::var_os("KILN_DRAWN").is_some() { 1 } else { least };
    assert!(calls.len() >= least, "{} calls", calls.len());
    let (mut wrong, mut of) = (Vec::new(), BTreeMap::<&str, usize>::new());
    let small_is_zero = takes_small_for_zero(&device);
    for call in calls.iter().filter(|call| !types::lacks(&device, call)) {
        if let Some(text) = judge(&device, call).filter(|_| !(small_is_zero && has_small(&device, call))) {
            wrong.push(format!("{}\n   {text}", call.line));
            *of.entry(call.name()).or_default() += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong: {of:?}\n{}", wrong.len(), calls.len(), wrong.join("\n"));
}

#[test]
fn drawn_operations_are_answered_as_by_pytorch() {
    make_all("drawn", 1200);
}

#[test]
fn picked_calls_are_answered_as_by_pytorch() {
    make_all("picked", 3299);
}

#[test]
fn drawn_layers_are_answered_as_by_pytorch() {
    make_all("drawn_layers", 560);
}

#[test]
fn drawn_programs_are_answered_as_by_pytorch() {
    make_all("drawn_programs", 70);
}
