//! First weights: their statistics, orthogonality, what is exact about them, and those of layers against PyTorch's
//! (scripts/reference_first_weights.py).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use kiln::init::{Fan, Nonlinearity};
use kiln::nn::*;
use kiln::prelude::*;

fn numbers(param: &Param) -> Vec<f64> {
    param.to_vec::<f64>().unwrap()
}

/// Mean, deviation, least and greatest.
fn statistics(values: &[f64]) -> [f64; 4] {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let (least, greatest) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
    [mean, var.sqrt(), least, greatest]
}

/// Spread of each initialiser over 60,000 numbers: mean and deviation to 2 % of the deviation, which is five times
/// what chance allows; bounds where there are some.
#[test]
fn spreads() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 3);
    let shape = [200, 100, 3];
    let (fan_in, fan_out) = (300f64, 600f64);
    let root = |x: f64| x.sqrt();
    // uniform: deviation, bound = √3 of it
    let rows: Vec<(&str, Param, f64, Option<f64>)> = vec![
        ("uniform", init.uniform(&shape, -2.0..2.0), 2.0 / root(3.0), Some(2.0)),
        ("normal", init.normal(&shape, 0.0, 0.5), 0.5, None),
        (
            "xavier_uniform",
            init.xavier_uniform(&shape, 2.0),
            2.0 * root(2.0 / (fan_in + fan_out)),
            Some(2.0 * root(6.0 / (fan_in + fan_out))),
        ),
        ("xavier_normal", init.xavier_normal(&shape, 2.0), 2.0 * root(2.0 / (fan_in + fan_out)), None),
        (
            "kaiming_uniform",
            init.kaiming_uniform(&shape, 0.5),
            root(2.0 / 1.25 / fan_in),
            Some(root(6.0 / 1.25 / fan_in)),
        ),
        ("kaiming_normal", init.kaiming_normal(&shape, 0.0), root(2.0 / fan_in), None),
        (
            "kaiming_uniform out",
            init.kaiming_uniform_for(&shape, Fan::Out, Nonlinearity::Tanh),
            5.0 / 3.0 / root(fan_out),
            Some(5.0 / 3.0 * root(3.0 / fan_out)),
        ),
        (
            "kaiming_normal out",
            init.kaiming_normal_for(&shape, Fan::Out, Nonlinearity::Selu),
            0.75 / root(fan_out),
            None,
        ),
        ("trunc_normal", init.trunc_normal(&shape, 0.0, 1.0, -2.0..2.0), 0.879_626, Some(2.0)),
    ];
    for (name, param, std, bound) in rows {
        let [mean, got, least, greatest] = statistics(&numbers(&param));
        assert!(mean.abs() < 0.02 * std && (got / std - 1.0).abs() < 0.02, "{name}: {mean} ± {got}, not 0 ± {std}");
        if let Some(bound) = bound {
            let close = 1.0001 * bound;
            assert!(least >= -close && greatest <= close && greatest > 0.99 * bound, "{name}: {least}..{greatest}");
        }
    }
    let gains = [Nonlinearity::Linear, Nonlinearity::Sigmoid, Nonlinearity::Relu, Nonlinearity::LeakyRelu(0.01)];
    let want = [1.0, 1.0, std::f64::consts::SQRT_2, 1.4141428569978354];
    assert!(gains.iter().zip(want).all(|(g, w)| (g.gain() - w).abs() < 1e-15));
}

/// A range far from the mean: inside of it, and denser towards the mean.
#[test]
fn a_tail_of_a_normal() {
    let device = Device::open().unwrap();
    let values = numbers(&Init::new(&device, 3).trunc_normal(&[20_000], 0.0, 1.0, 3.0..5.0));
    let [mean, _, least, greatest] = statistics(&values);
    assert!(least >= 3.0 && greatest <= 5.0);
    assert!((mean - 3.2831).abs() < 0.01, "{mean}"); // (φ(3) − φ(5)) / (Φ(5) − Φ(3))
}

#[test]
fn orthogonal_rows_or_columns() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 3);
    for (shape, rows, columns) in [(&[5usize, 3, 4][..], 5, 12), (&[12, 5][..], 12, 5), (&[7, 7][..], 7, 7)] {
        let m = numbers(&init.orthogonal(shape, 3.0));
        let (count, at): (usize, Box<dyn Fn(usize, usize) -> f64>) = if rows <= columns {
            (rows, Box::new(|i, j| (0..columns).map(|k| m[i * columns + k] * m[j * columns + k]).sum()))
        } else {
            (columns, Box::new(|i, j| (0..rows).map(|k| m[k * columns + i] * m[k * columns + j]).sum()))
        };
        for (i, j) in (0..count).flat_map(|i| (0..count).map(move |j| (i, j))) {
            let want = if i == j { 9.0 } else { 0.0 };
            assert!((at(i, j) - want).abs() < 1e-5, "{shape:?}: {i} · {j} = {}", at(i, j));
        }
    }
}

#[test]
fn identities() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 3);
    assert_eq!(numbers(&init.eye(&[2, 3])), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    // a convolution of two groups hands its channels on
    let w = init.dirac(&[4, 2, 3, 2], 2);
    let x = Rng::new(&device, 1).normal([1, 4, 5, 6]);
    let conv = Conv { groups: 2, padding: vec![1, 1], ..Conv::default() };
    let y = x.conv2d(&w, None, &conv).narrow(2, 0, 5).narrow(3, 0, 6);
    assert_eq!(y.to_vec::<f32>().unwrap(), x.to_vec::<f32>().unwrap());
    let sparse = numbers(&init.sparse(&[30, 40], 0.35, 0.5));
    for column in 0..40 {
        let zeros = (0..30).filter(|row| sparse[row * 40 + column] == 0.0).count();
        assert_eq!(zeros, 11, "0.35 of 30, rounded up");
    }
    let rest: Vec<f64> = sparse.into_iter().filter(|v| *v != 0.0).collect();
    assert!((statistics(&rest)[1] - 0.5).abs() < 0.05);
    for wrong in [init.eye(&[2]), init.dirac(&[2, 2], 1), init.dirac(&[3, 2, 1], 2), init.sparse(&[2, 2, 2], 0.1, 1.0)]
    {
        assert!(matches!(wrong.to_vec::<f32>(), Err(Error::Argument { .. })));
    }
}

type Parameters = Vec<(String, Param)>;

/// The layer of a name in the script.
fn layer(name: &str, init: &mut Init) -> Box<dyn Module> {
    let stacked = RecurrentOptions { num_layers: 2, bidirectional: true, ..Default::default() };
    let thin = RecurrentOptions { proj_size: 5, ..Default::default() };
    let own = MultiheadOptions { kdim: Some(7), vdim: Some(9), add_bias_kv: true, ..Default::default() };
    let inner = || TransformerOptions { dim_feedforward: 64, ..Default::default() };
    match name {
        "linear" => Box::new(Linear::new(30, 50, init)),
        "bilinear" => Box::new(Bilinear::new(7, 9, 50, init)),
        "conv1" => Box::new(Conv1d::grouped(6, 40, 3, 2, init)),
        "conv2" => Box::new(Conv2d::new(6, 40, [2, 3], init)),
        "conv3" => Box::new(Conv3d::new(2, 40, 2, init)),
        "transposed1" => Box::new(ConvTranspose1d::grouped(12, 40, 3, 2, init)),
        "transposed2" => Box::new(ConvTranspose2d::new(6, 40, [2, 3], init)),
        "transposed3" => Box::new(ConvTranspose3d::new(2, 40, 2, init)),
        "embedding" => Box::new(Embedding::new(50, 20, init)),
        "bag" => Box::new(EmbeddingBag::new(50, 20, BagMode::Mean, init)),
        "rnn" => Box::new(Rnn::with(6, 20, stacked, init)),
        "lstm" => Box::new(Lstm::new(6, 20, init)),
        "lstm_proj" => Box::new(Lstm::with(6, 20, thin, init)),
        "gru" => Box::new(Gru::new(6, 20, init)),
        "rnn_cell" => Box::new(RnnCell::new(6, 20, init)),
        "lstm_cell" => Box::new(LstmCell::new(6, 20, init)),
        "gru_cell" => Box::new(GruCell::new(6, 20, init)),
        "attention" => Box::new(MultiheadAttention::new(40, 4, init)),
        "attention_own" => Box::new(MultiheadAttention::with(40, 4, own, init)),
        "encoder_layer" => Box::new(TransformerEncoderLayer::with(32, 4, inner(), init)),
        "decoder_layer" => Box::new(TransformerDecoderLayer::with(32, 4, inner(), init)),
        "transformer" => Box::new(Transformer::new(32, 4, [1, 1], inner(), init)),
        "adaptive" => Box::new(AdaptiveLogSoftmax::with(32, 100, &[20, 50], 4.0, true, init)),
        "linear_cross_entropy" => Box::new(LinearCrossEntropy::new(30, 50, &[], init).bias(init)),
        "prelu" => Box::new(PRelu::new(3, init)),
        "batch_norm" => Box::new(BatchNorm2d::new(4, init)),
        "instance_norm" => Box::new(InstanceNorm1d::new(4).affine(init)),
        "layer_norm" => Box::new(LayerNorm::new(4, init)),
        "rms_norm" => Box::new(RmsNorm::new(4, init)),
        "group_norm" => Box::new(GroupNorm::new(2, 4, init)),
        other => panic!("{other}"),
    }
}

/// Deviation and kurtosis, which tells even from normal numbers, over at least 2,000 of each parameter: five times what chance
/// allows them to differ. The largest of even numbers is their bound.
#[test]
fn layers_start_as_pytorchs() {
    let device = Device::open().unwrap();
    let path = format!("{}/../../tests/data/first_weights.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut wanted = BTreeMap::<&str, Vec<(&str, Vec<f64>)>>::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let numbers = words[2..].iter().map(|word| word.parse().unwrap()).collect();
        wanted.entry(words[0]).or_default().push((words[1], numbers));
    }
    let (init, mut wrong, mut parameters) = (&mut Init::new(&device, 3), Vec::new(), 0);
    for (name, want) in &wanted {
        let first = layer(name, init).named_parameters();
        let names: BTreeSet<&str> = first.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(names, want.iter().map(|(path, _)| *path).collect(), "{name}");
        let random = want.iter().filter(|(_, numbers)| numbers.len() > 1);
        let least = random.map(|(path, _)| first.iter().find(|(known, _)| known == path).unwrap().1.numel()).min();
        let count = least.map_or(1, |least| 2000usize.div_ceil(least));
        let models: Vec<Parameters> = (0..count).map(|_| layer(name, init).named_parameters()).collect();
        for (path, want) in want {
            let of = |model: &Parameters| numbers(&model.iter().find(|(known, _)| known == path).unwrap().1);
            let values: Vec<f64> = models.iter().flat_map(of).collect();
            let n = values.len() as f64;
            let moment = |power: i32| values.iter().map(|v| v.powi(power)).sum::<f64>() / n;
            let largest = values.iter().fold(0f64, |m, v| m.max(v.abs()));
            let right = match want[..] {
                [value] => values.iter().all(|v| (v - value).abs() < 1e-6),
                [deviation, kurtosis, bound] => {
                    let (std, k) = (moment(2).sqrt(), moment(4) / moment(2).powi(2));
                    let even = kurtosis < 2.0;
                    moment(1).abs() < 5.0 * deviation / n.sqrt()
                        && (std / deviation - 1.0).abs() < if even { 0.06 } else { 0.1 }
                        && (k - kurtosis).abs() < if even { 0.2 } else { 0.7 }
                        && (!even || (largest / bound - 1.0).abs() < 0.01)
                }
                _ => panic!("{want:?}"),
            };
            if !right {
                wrong.push(format!("{name} {path}: {}, {largest}, not {want:?}", moment(2).sqrt()));
            }
            parameters += 1;
        }
    }
    assert!(wrong.is_empty() && parameters > 150, "{parameters}\n{}", wrong.join("\n"));
}

#[test]
fn parameters_larger_than_anything_are_errors() {
    let device = Device::open_with(&kiln::gpu::Options { budget: Some(1 << 24), ..Default::default() }).unwrap();
    let mut init = Init::new(&device, 0);
    for shape in [[1 << 20, 1 << 20], [usize::MAX, 2], [1 << 12, 1 << 12]] {
        assert!(init.uniform(&shape, 0.0..1.0).to_vec::<f32>().is_err(), "{shape:?}");
        let window = [shape[0], shape[1], 3];
        let others = [
            init.eye(&shape),
            init.dirac(&window, 1),
            init.orthogonal(&window, 1.0),
            init.sparse(&shape, 0.5, 1.0),
            init.xavier_normal(&window, 1.0),
            init.kaiming_uniform(&window, 0.0),
        ];
        assert!(others.iter().all(|param| param.to_vec::<f32>().is_err()), "{shape:?}");
    }
    assert!(Linear::new(1 << 20, 1 << 20, &mut init).forward(&Tensor::ones(&device, [1, 1])).item().is_err());
    assert_eq!(init.uniform(&[2, 3], 0.0..1.0).to_vec::<f32>().unwrap().len(), 6);
}
