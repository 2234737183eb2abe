//! A call as scripts/drawn_answers.py writes it.

use kiln::prelude::*;
use std::collections::HashMap;

/// A tensor of the file.
pub struct Want {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub words: Vec<i32>,
}

impl Want {
    fn parse(text: &str, words: &[i32]) -> Option<Want> {
        let dtype = match text.chars().next()? {
            'f' => DType::F32,
            'i' => DType::I32,
            'u' => DType::U32,
            'b' => DType::Bool,
            _ => return None,
        };
        let (dims, at) = text[1..].split_once('@').unwrap();
        let shape: Vec<usize> = dims.split('x').filter(|d| !d.is_empty()).map(|d| d.parse().unwrap()).collect();
        let (at, count) = (at.parse::<usize>().unwrap(), shape.iter().product::<usize>());
        Some(Want { dtype, shape, words: words[at..at + count].to_vec() })
    }

    pub fn tensor(&self, device: &Device) -> Tensor {
        let bytes: Vec<u8> = self.words.iter().flat_map(|w| w.to_le_bytes()).collect();
        Tensor::from_raw(device, self.dtype, &self.shape, &bytes)
    }
}

/// One line of the file.
pub struct Call {
    pub line: String,
    args: HashMap<String, String>,
    inputs: Vec<(Want, Vec<String>)>,
    pub out: Vec<Option<Want>>,
    pub grad: Vec<Option<Want>>,
    pub grad2: Vec<Option<Want>>,
    /// Of a layer: what is in it before the call, the gradients of its parameters, and what is in it after the call.
    pub state: Vec<(String, Option<Want>)>,
    pub dstate: Vec<(String, Option<Want>)>,
    pub after: Vec<(String, Option<Want>)>,
    pub refused: bool,
}

impl Call {
    pub fn parse(line: &str, words: &[i32]) -> Call {
        let args: HashMap<String, String> =
            line.split(';').skip(1).filter_map(|p| p.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        let list = |key: &str| {
            let text = args.get(key).map_or("", String::as_str);
            text.split(',').filter(|t| !t.is_empty()).map(|t| Want::parse(t, words)).collect::<Vec<_>>()
        };
        let named = |key: &str| {
            let text = args.get(key).map_or("", String::as_str);
            let parts = text.split(',').filter(|t| !t.is_empty()).map(|t| t.split_once('~').unwrap());
            parts.map(|(path, t)| (path.to_string(), Want::parse(t, words))).collect::<Vec<_>>()
        };
        let inputs = args["in"].split(',').filter(|t| !t.is_empty()).map(|text| {
            let mut parts = text.split('/').map(String::from);
            (Want::parse(&parts.next().unwrap(), words).unwrap(), parts.collect())
        });
        Call {
            line: line.split(";out=").next().unwrap().into(),
            state: named("state"),
            dstate: named("dstate"),
            after: named("after"),
            inputs: inputs.collect(),
            out: list("out"),
            grad: list("grad"),
            grad2: list("grad2"),
            refused: args.contains_key("err"),
            args,
        }
    }

    pub fn name(&self) -> &str {
        self.line.split(';').next().unwrap()
    }

    /// The inputs that are differentiated as they are in memory, and all as the call sees them.
    pub fn inputs(&self, device: &Device) -> (Vec<Tensor>, Vec<Tensor>) {
        let bases: Vec<Tensor> = self.inputs.iter().map(|(want, _)| want.tensor(device)).collect();
        let seen = bases.iter().zip(&self.inputs).map(|(base, (_, views))| {
            views.iter().filter(|view| *view != "const").fold(base.clone(), |x, view| {
                let (name, n) = view.split_once(':').unwrap();
                let n: Vec<i64> = n.split(':').map(|v| v.parse().unwrap()).collect();
                match name {
                    "flip" => x.flip([n[0]]),
                    "transpose" => x.transpose(n[0], n[1]),
                    "narrow" => x.narrow(n[0], n[1], n[2] as usize),
                    "slice" => x.slice(n[0], n[1], n[2], n[3]),
                    other => panic!("view {other}"),
                }
            })
        });
        let seen = seen.collect();
        let variable = |(base, (_, views)): (Tensor, &(Want, Vec<String>))| {
            (base.dtype().is_float() && !views.iter().any(|view| view == "const")).then_some(base)
        };
        (bases.into_iter().zip(&self.inputs).filter_map(variable).collect(), seen)
    }
}

/// Arguments by name.
pub trait Text {
    fn text(&self, name: &str) -> &str;

    fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap()
    }

    fn has(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    fn number(&self, name: &str) -> f64 {
        self.text(name).parse().unwrap()
    }

    fn size(&self, name: &str) -> usize {
        self.text(name).parse().unwrap()
    }

    fn float(&self, name: &str) -> f32 {
        self.text(name).parse().unwrap()
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name) == "1"
    }

    fn list(&self, name: &str) -> Vec<i64> {
        self.text(name).split(':').filter(|t| !t.is_empty()).map(|t| t.parse().unwrap()).collect()
    }

    fn floats(&self, name: &str) -> Vec<f64> {
        self.text(name).split(':').filter_map(|t| t.parse().ok()).collect()
    }

    fn sizes(&self, name: &str) -> Vec<usize> {
        self.list(name).into_iter().map(|d| d as usize).collect()
    }

    /// Whether a number is written as an integer.
    fn whole(&self, name: &str) -> bool {
        self.text(name).parse::<i64>().is_ok()
    }
}

impl Text for Call {
    fn text(&self, name: &str) -> &str {
        self.args.get(name).map_or("", String::as_str)
    }
}
