//! Calls drawn at random, against PyTorch: results, gradients, gradients of gradients, and refusals. The calls and the
//! answers are in tests/data/drawn.safetensors, which scripts/reference_drawn.py writes and explains.
//!
//! `KILN_DRAWN=file` takes another draw, of another seed or length.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod call;
mod ops;

use call::Call;
use kiln::prelude::*;
use ops::run;
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

/// What a call gives: its results, their gradients, and the gradients of those, as far as PyTorch gave some.
fn tensors(device: &Device, call: &Call) -> Result<[Vec<Tensor>; 3]> {
    let (bases, inputs) = call.inputs(device);
    let out = run(device, call, &inputs);
    out.iter().try_for_each(|t| t.shape().map(drop))?;
    let floats: Vec<&Tensor> = bases.iter().filter(|t| t.dtype().is_float()).collect();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    if !call.grad.is_empty() {
        let loss = dot(device, &out).expect("a float to differentiate");
        first = loss.grad(&floats)?;
    }
    if !call.grad2.is_empty() {
        // the script's sum leaves out what PyTorch gave no gradient
        let given: Vec<Tensor> = first
            .iter()
            .zip(&call.grad)
            .map(|(t, want)| if want.is_some() { t.clone() } else { Tensor::zeros(device, [1]).cast(DType::I32) })
            .collect();
        second = dot(device, &given).expect("a gradient").grad(&floats)?;
    }
    Ok([out, first, second])
}

/// What is wrong with an answer, if anything: `got` are the words of `tensor`, `want` what PyTorch says.
fn compare(name: &str, tensor: &Tensor, got: &[u8], want: &call::Want, bound: f64) -> Option<String> {
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
            if name == "grad2" && !w.is_finite() {
                return true;
            }
            // an element that is small because its terms cancel cannot be better than its terms
            let scale = 1.0 + f64::from(w.abs()) + 0.1 * f64::from(peak.min(1e3));
            g == w || (g.is_nan() && w.is_nan()) || (f64::from(g) - f64::from(w)).abs() <= bound * scale
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
        let all = tensors(device, call)?;
        let flat: Vec<&Tensor> = all.iter().flatten().collect();
        let bytes = Tensor::read_all(&flat)?;
        Ok::<_, Error>((all, bytes))
    }));
    let (all, bytes) = match found {
        Err(_) => return Some("PANIC".into()),
        Ok(Err(error)) if call.refused => {
            let text = error.to_string();
            return (!text.contains("tests/drawn")).then(|| format!("the error does not name the caller: {text}"));
        }
        Ok(Err(error)) => return Some(format!("refused: {error}")),
        Ok(Ok(_)) if call.refused => return Some("should be refused".into()),
        Ok(Ok(found)) => found,
    };
    let want = [&call.out, &call.grad, &call.grad2];
    let mut bytes = bytes.iter();
    for ((name, bound, tensors), want) in
        [("out", 1e-5, &all[0]), ("grad", 1e-4, &all[1]), ("grad2", 1e-4, &all[2])].into_iter().zip(want)
    {
        if tensors.len() != want.len() {
            return Some(format!("{name}: {} tensors, not {}", tensors.len(), want.len()));
        }
        for (i, (tensor, want)) in tensors.iter().zip(want).enumerate() {
            let got = bytes.next().unwrap();
            // where PyTorch has no gradient, ours is zeros
            let nothing = got.iter().all(|&b| b & 0x7f == 0);
            let wrong = match want {
                Some(want) => compare(name, tensor, got, want, bound),
                None => (!nothing).then(|| "a gradient where there is none".into()),
            };
            if let Some(wrong) = wrong {
                return Some(format!("{name}{i}: {wrong}"));
            }
        }
    }
    None
}

#[test]
fn drawn_calls_are_answered_as_by_pytorch() {
    let device = Device::open().unwrap();
    let path = std::env::var("KILN_DRAWN")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/drawn.safetensors").into());
    let file = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let words: Vec<i32> = file
        .tensor("words")
        .unwrap()
        .data()
        .chunks_exact(4)
        .map(|b| i32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let text = String::from_utf8(file.tensor("calls").unwrap().data().to_vec()).unwrap();
    let calls: Vec<Call> = text.lines().map(|line| Call::parse(line, &words)).collect();
    assert!(calls.len() > 500, "{} calls", calls.len());
    let (mut wrong, mut of) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for call in &calls {
        if let Some(text) = judge(&device, call) {
            wrong.push(format!("{}\n   {text}", call.line));
            *of.entry(call.name()).or_default() += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong: {of:?}\n{}", wrong.len(), calls.len(), wrong.join("\n"));
}
