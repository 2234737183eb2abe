//! `nn::summary` against numbers counted by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::nn::{Summary, summary};
use kiln::prelude::*;

#[path = "models/resnet18.rs"]
mod resnet18;

/// Path, kind, output (nothing if it does not run), parameters, multiply-adds, bytes.
type Row = (&'static str, &'static str, &'static [usize], usize, u64, usize);

fn check(summary: &Summary, want: &[Row]) {
    let shape = |r: &kiln::nn::SummaryRow| r.output.clone().unwrap_or_default();
    let shapes: Vec<Vec<usize>> = summary.rows.iter().map(shape).collect();
    let got: Vec<_> = (summary.rows.iter().zip(&shapes))
        .map(|(r, shape)| (&r.path[..], &r.kind[..], &shape[..], r.parameters, r.multiply_adds, r.bytes))
        .collect();
    assert_eq!(got, want, "\n{summary}");
}

#[test]
fn a_perceptron() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let model = Sequential::new().push(Linear::new(64, 32, &mut init)).push(Relu).push(Linear::new(32, 10, &mut init));
    model.layers()[0].freeze();
    let of = |batch: usize| summary(&model, &model.forward(&Tensor::zeros(&device, [batch, 64]))).unwrap();
    check(&of(5), &[("0", "Linear", &[5, 32], 2080, 10_240, 640), ("2", "Linear", &[5, 10], 330, 1600, 200)]);
    check(&of(1), &[("0", "Linear", &[1, 32], 2080, 2048, 128), ("2", "Linear", &[1, 10], 330, 320, 40)]);
    let text = "\
layer  kind    output   parameters  multiply-adds  bytes
0      Linear  [5, 32]       2,080         10,240    640
2      Linear  [5, 10]         330          1,600    200
all                          2,410         11,840    840
330 parameters are trained; parameters and buffers take 9,640 bytes
";
    assert_eq!(of(5).to_string(), text);
    let bad = model.forward(&Tensor::zeros(&device, [5, 63]));
    assert!(matches!(summary(&model, &bad), Err(Error::Shape { .. } | Error::In { .. })));
}

#[derive(Module)]
struct Residual {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc: Linear,
    spare: Linear,
}

#[test]
fn a_residual_network() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let model = Residual {
        conv1: Conv2d::new(1, 4, 3, &mut init).padding(1).no_bias(),
        bn1: BatchNorm2d::new(4, &mut init),
        conv2: Conv2d::new(4, 4, 3, &mut init).padding(1),
        pool: MaxPool2d::new(2),
        fc: Linear::new(64, 10, &mut init),
        spare: Linear::new(2, 3, &mut init),
    };
    for (training, x) in [(true, Tensor::zeros(&device, [2, 1, 8, 8])), (false, Tensor::ones(&device, [2, 1, 8, 8]))] {
        if !training {
            model.eval();
        }
        let x = model.bn1.forward(&model.conv1.forward(&x)).relu();
        let x = &x + model.conv2.forward(&x).relu();
        let y = model.fc.forward(&model.pool.forward(&x).reshape([2, 64]));
        let want: [Row; 6] = [
            ("conv1", "Conv2d", &[2, 4, 8, 8], 36, 4608, 2048), // 2·4·64 places × 1·9
            ("bn1", "BatchNorm", &[2, 4, 8, 8], 8, 0, 2048),
            ("conv2", "Conv2d", &[2, 4, 8, 8], 148, 18_432, 2048), // 2·4·64 places × 4·9
            ("", "max_pool2d", &[2, 4, 4, 4], 0, 0, 512),
            ("fc", "Linear", &[2, 10], 650, 1280, 80),
            ("spare", "Linear", &[], 9, 0, 0),
        ];
        let summary = summary(&model, &y).unwrap();
        check(&summary, &want);
        assert_eq!((summary.parameters, summary.trainable), (851, 851));
        assert_eq!(summary.held_bytes, 4 * (851 + 4 + 4 + 1)); // and running mean, variance, count
        y.eval().unwrap(); // the statistics of the next pass are not an expression of this one
    }
}

/// The figures that are told of it everywhere: 11.69 million parameters, 1.81 billion multiply-adds an image.
#[test]
fn resnet18_at_224() {
    let device = Device::open().unwrap();
    let model = resnet18::ResNet18::new(64, 1000, &mut Init::new(&device, 0));
    let summary = summary(&model, &model.forward(&Tensor::zeros(&device, [1, 3, 224, 224]))).unwrap();
    let stem = 112 * 112 * 64 * 3 * 49;
    let stage = |size: u64, width: u64| size * size * width * width * 9;
    // each stage but the first begins with half the channels and a 1×1 convolution beside it
    let later: u64 = [(28, 128), (14, 256), (7, 512)]
        .iter()
        .map(|&(size, width)| 3 * stage(size, width) + stage(size, width) / 2 + size * size * width * width / 2)
        .sum();
    assert_eq!(summary.multiply_adds(), stem + 4 * stage(56, 64) + later + 512 * 1000);
    assert_eq!((summary.multiply_adds(), summary.parameters), (1_814_073_344, 11_689_512));
    assert_eq!(summary.rows.len(), 20 + 1 + 20 + 1); // convolutions, pool, norms, head
    let last = summary.rows.iter().find(|row| row.path == "layer4.1.conv2").unwrap();
    assert_eq!((&last.output, last.multiply_adds), (&Some(vec![1, 512, 7, 7]), stage(7, 512)));
}

#[test]
fn a_transformer_layer() {
    let device = Device::open().unwrap();
    let options = nn::TransformerOptions { dim_feedforward: 32, ..Default::default() };
    let layer = nn::TransformerEncoderLayer::with(16, 2, options, &mut Init::new(&device, 0));
    layer.eval();
    let y = layer.forward(&Tensor::zeros(&device, [5, 3, 16])); // 5 steps, 3 sequences
    let want: [Row; 7] = [
        ("self_attn", "MultiheadAttention", &[5, 3, 48], 816, 15 * 16 * 48, 15 * 48 * 4),
        ("", "scaled_dot_product_attention", &[3, 2, 5, 8], 0, 3 * 2 * 5 * 5 * (8 + 8), 15 * 16 * 4),
        ("self_attn.out_proj", "Linear", &[5, 3, 16], 272, 15 * 16 * 16, 15 * 16 * 4),
        ("norm1", "LayerNorm", &[5, 3, 16], 32, 0, 15 * 16 * 4),
        ("linear1", "Linear", &[5, 3, 32], 544, 15 * 16 * 32, 15 * 32 * 4),
        ("linear2", "Linear", &[5, 3, 16], 528, 15 * 32 * 16, 15 * 16 * 4),
        ("norm2", "LayerNorm", &[5, 3, 16], 32, 0, 15 * 16 * 4),
    ];
    check(&summary(&layer, &y).unwrap(), &want);
}

#[test]
fn an_lstm_of_two_layers_and_directions() {
    let device = Device::open().unwrap();
    let options = RecurrentOptions { num_layers: 2, bidirectional: true, batch_first: true, ..Default::default() };
    let lstm = Lstm::with(7, 32, options, &mut Init::new(&device, 0));
    let summary = summary(&lstm, &lstm.forward(&Tensor::zeros(&device, [4, 10, 7]))).unwrap();
    let [row] = &summary.rows[..] else { panic!("\n{summary}") };
    assert_eq!((&row.kind[..], &row.output), ("Lstm", &Some(vec![4, 10, 64])));
    // each step of each sequence: four gates from the input and from the state
    assert_eq!(row.multiply_adds, 2 * 40 * 128 * ((7 + 32) + (64 + 32)));
    assert_eq!(row.parameters, 2 * 128 * ((7 + 32 + 2) + (64 + 32 + 2)));
}

#[test]
fn a_gpt_whose_table_is_its_head() {
    let device = Device::open().unwrap();
    let sizes = nn::Gpt2Options { vocabulary: 19, context: 8, width: 16, layers: 2, heads: 2, dropout: 0.1 };
    let gpt = nn::Gpt2::new(sizes, &mut Init::new(&device, 0));
    let summary = summary(&gpt, &gpt.forward(&Tensor::new(&device, [[1i32; 8]; 2]))).unwrap();
    let rows: Vec<_> = summary.rows.iter().map(|r| (&r.path[..], &r.kind[..], r.multiply_adds)).collect();
    let block = |attention, row: usize| {
        [("scaled_dot_product_attention", attention), ("Projection", [12_288, 4096, 16_384, 16_384][row])] // 16 rows × 16 × 48, 16, 64, 64
    };
    assert_eq!(rows[..2], [("wte", "Embedding", 0), ("wpe", "Embedding", 0)]);
    assert_eq!((rows[3].1, rows[3].2), block(0, 0)[1]);
    assert_eq!((rows[4].1, rows[4].2), block(2 * 2 * 8 * 8 * 16, 0)[0]);
    assert_eq!(rows.last().unwrap(), &("wte", "matmul", 16 * 16 * 19));
    assert_eq!(summary.multiply_adds(), 2 * (16 * 16 * (48 + 16 + 64 + 64) + 2 * 2 * 8 * 8 * 16) + 16 * 16 * 19);
    assert_eq!(summary.parameters, gpt.num_parameters());
}

#[test]
fn layers_used_twice_tables_and_pools() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let model = Linear::new(8, 8, &mut init);
    let y = model.forward(&model.forward(&Tensor::zeros(&device, [3, 8])));
    check(&summary(&model, &y).unwrap(), &[("", "Linear", &[3, 8], 72, 2 * 3 * 64, 2 * 96)]);
    let table = Embedding::new(11, 4, &mut init);
    let y = table.forward(&Tensor::new(&device, [[1i32, 2, 3]]));
    check(&summary(&table, &y).unwrap(), &[("", "Embedding", &[1, 3, 4], 44, 0, 48)]);
    // an input of one number is an input
    let one = Linear::no_bias(1, 2, &mut init);
    check(&summary(&one, &one.forward(&Tensor::ones(&device, [1, 1]))).unwrap(), &[("", "Linear", &[1, 2], 2, 2, 8)]);
    let narrow = Conv2d::grouped(6, 4, 3, 2, &mut init);
    let wide = ConvTranspose2d::new(4, 2, 2, &mut init).stride(2);
    let model = Sequential::new().push(narrow).push(AvgPool2d::new(2)).push(wide).push(Flatten::default());
    let y = model.forward(&Tensor::zeros(&device, [1, 6, 6, 6]));
    let want: [Row; 3] = [
        ("0", "Conv2d", &[1, 4, 4, 4], 112, 64 * 3 * 9, 256),
        ("1", "AvgPool2d", &[1, 4, 2, 2], 0, 0, 64),
        ("2", "ConvTranspose2d", &[1, 2, 4, 4], 34, 16 * 2 * 4, 128), // each of 16 inputs into 2 × 2·2 outputs
    ];
    check(&summary(&model, &y).unwrap(), &want);
}
