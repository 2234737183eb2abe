//! Layers and losses against PyTorch in float64: outputs, gradients, buffers. The numbers are made
//! by scripts/reference_training.py.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln::nn::StateDict;
use kiln::prelude::*;
use support::{below, close, reference};

/// What PyTorch computed, by name.
struct Reference(StateDict);

impl Reference {
    fn load(device: &Device) -> Self {
        Self(reference(device, "training"))
    }

    fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in the reference")).clone()
    }

    fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }
}

fn layers(init: &mut Init) -> Vec<(&'static str, Box<dyn Forward>)> {
    vec![
        ("linear", Box::new(Linear::new(5, 3, init))),
        ("conv1d", Box::new(Conv1d::grouped(4, 6, 3, 2, init).stride(2).padding(1))),
        ("conv2d", Box::new(Conv2d::new(2, 4, [3, 2], init).stride([2, 1]).padding([1, 0]).dilation([1, 2]))),
        ("batch_norm1d", Box::new(BatchNorm1d::new(3, init))),
        ("batch_norm2d", Box::new(BatchNorm2d::new(4, init))),
        ("batch_norm_average", Box::new(BatchNorm2d::new(4, init).momentum(None).no_affine())),
        ("layer_norm", Box::new(LayerNorm::new([4, 5], init))),
        ("group_norm", Box::new(GroupNorm::new(2, 6, init))),
        ("rms_norm", Box::new(RmsNorm::new(7, init))),
        ("embedding", Box::new(Embedding::padded(10, 4, 3, init))),
        ("max_pool2d", Box::new(MaxPool2d::new(3).stride(2).padding(1).ceil_mode())),
        ("max_pool1d", Box::new(MaxPool1d::new(2).dilation(2))),
        ("avg_pool2d", Box::new(AvgPool2d::new(2).padding(1).without_padding())),
        ("avg_pool1d", Box::new(AvgPool1d::new(3).stride(1).padding(1))),
        ("adaptive_uneven", Box::new(AdaptiveAvgPool2d::new([3, 2]))),
        ("adaptive_even", Box::new(AdaptiveAvgPool2d::new([4, 1]))),
        ("adaptive1d", Box::new(AdaptiveAvgPool1d::new(4))),
        ("relu", Box::new(Relu)),
        ("relu6", Box::new(Relu6)),
        ("gelu", Box::new(Gelu)),
        ("gelu_tanh", Box::new(GeluTanh)),
        ("tanh", Box::new(Tanh)),
        ("sigmoid", Box::new(Sigmoid)),
        ("log_sigmoid", Box::new(LogSigmoid)),
        ("silu", Box::new(Silu)),
        ("mish", Box::new(Mish)),
        ("softplus", Box::new(Softplus::default())),
        ("softsign", Box::new(Softsign)),
        ("selu", Box::new(Selu)),
        ("hardswish", Box::new(Hardswish)),
        ("hardsigmoid", Box::new(Hardsigmoid)),
        ("leaky_relu", Box::new(LeakyRelu::default())),
        ("elu", Box::new(Elu::default())),
        ("softmax", Box::new(Softmax::default())),
        ("log_softmax", Box::new(LogSoftmax::default())),
        ("identity", Box::new(Identity)),
        ("flatten", Box::new(Flatten::default())),
    ]
}

#[test]
fn layers_agree_with_pytorch() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    for (name, layer) in layers(&mut Init::new(&device, 0)) {
        let of = |part: &str| format!("layer.{name}.{part}");
        layer.load_state_dict(&below(&reference.0, &of("before."))).unwrap_or_else(|e| panic!("{name}: {e}"));

        let x = reference.get(&of("x"));
        let y = layer.forward(&x);
        let gradients = (&y * reference.get(&of("dy"))).sum().backward();
        close(&of("y"), &y, &reference.get(&of("y")), 1e-5);
        if let Some(dx) = reference.find(&of("dx")) {
            let along = (&y * reference.get(&of("dy"))).sum();
            close(&of("dx"), &along.grad(&[&x]).unwrap()[0], dx, 1e-4);
        }
        for (path, param) in layer.named_parameters() {
            let got =
                gradients.as_ref().unwrap().get(&param).unwrap_or_else(|| panic!("{name}.{path} has no gradient"));
            close(&of(&path), &got, &reference.get(&of(&format!("d.{path}"))), 1e-4);
        }
        for (path, value) in layer.state_dict() {
            close(&of(&path), &value, &reference.get(&of(&format!("after.{path}"))), 1e-5);
        }
        layer.eval();
        close(&of("eval"), &layer.forward(&x), &reference.get(&of("eval")), 1e-5);
    }
}

#[test]
fn losses_agree_with_pytorch() {
    use kiln::loss::*;
    type Loss = fn(&Tensor, &[Tensor]) -> Tensor;
    fn weighted(w: &Tensor, label_smoothing: f64, reduction: Reduction) -> CrossEntropy {
        CrossEntropy { weight: Some(w.clone()), label_smoothing, reduction, ..Default::default() }
    }
    let cases: &[(&str, Loss)] = &[
        ("mse", |x, r| mse_loss(x, &r[0])),
        ("mse_sum", |x, r| mse_loss_with(x, &r[0], Reduction::Sum)),
        ("l1", |x, r| l1_loss(x, &r[0])),
        ("l1_none", |x, r| l1_loss_with(x, &r[0], Reduction::None)),
        ("smooth_l1", |x, r| smooth_l1_loss(x, &r[0], 0.7)),
        ("huber", |x, r| huber_loss(x, &r[0], 0.7)),
        ("cross_entropy", |x, r| cross_entropy(x, &r[0])),
        ("cross_entropy_ignored", |x, r| cross_entropy(x, &r[0])),
        ("cross_entropy_smoothed", |x, r| CrossEntropy { label_smoothing: 0.2, ..Default::default() }.loss(x, &r[0])),
        ("cross_entropy_weighted", |x, r| weighted(&r[1], 0.0, Reduction::Mean).loss(x, &r[0])),
        ("cross_entropy_both", |x, r| weighted(&r[1], 0.2, Reduction::Mean).loss(x, &r[0])),
        ("cross_entropy_sum", |x, r| weighted(&r[1], 0.0, Reduction::Sum).loss(x, &r[0])),
        ("cross_entropy_none", |x, r| weighted(&r[1], 0.0, Reduction::None).loss(x, &r[0])),
        ("cross_entropy_image", |x, r| cross_entropy(x, &r[0])),
        ("cross_entropy_image_both", |x, r| {
            CrossEntropy { ignore_index: 1, ..weighted(&r[1], 0.1, Reduction::Mean) }.loss(x, &r[0])
        }),
        ("cross_entropy_zero_weight", |x, r| weighted(&r[1], 0.2, Reduction::Mean).loss(x, &r[0])),
        ("cross_entropy_row", |x, r| cross_entropy(x, &r[0])),
        ("cross_entropy_huge", |x, r| cross_entropy(x, &r[0])),
        ("cross_entropy_soft", |x, r| weighted(&r[1], 0.2, Reduction::Mean).loss(x, &r[0])),
        ("nll", |x, r| nll_loss(x, &r[0])),
        ("bce", |x, r| binary_cross_entropy(x, &r[0])),
        ("bce_logits", |x, r| binary_cross_entropy_with_logits(x, &r[0])),
        ("bce_logits_weighted", |x, r| {
            let (weight, pos_weight) = (Some(r[1].clone()), Some(r[2].clone()));
            BinaryCrossEntropy { weight, pos_weight, reduction: Reduction::Mean }.loss(x, &r[0])
        }),
        ("kl_div", |x, r| kl_div(x, &r[0], Reduction::Mean)),
        ("kl_div_sum", |x, r| kl_div(x, &r[0], Reduction::Sum)),
    ];

    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    for (name, loss) in cases {
        let of = |part: &str| format!("loss.{name}.{part}");
        let x = reference.get(&of("x"));
        let rest: Vec<Tensor> = (0..3).map_while(|i| reference.find(&of(&i.to_string())).cloned()).collect();
        let y = loss(&x, &rest);
        close(&of("y"), &y, &reference.get(&of("y")), 1e-5);
        close(&of("dx"), &y.sum().grad(&[&x]).unwrap()[0], &reference.get(&of("dx")), 1e-5);
    }
}

#[test]
fn losses_refuse_shapes_that_do_not_fit() {
    let device = Device::open().unwrap();
    let (x, y) = (Tensor::zeros(&device, [4, 3]), Tensor::zeros(&device, [4, 2]));
    let labels = Tensor::new(&device, [0i32, 1, 2]);
    let five = CrossEntropy { weight: Some(Tensor::ones(&device, [5])), ..Default::default() };
    let (fits, soft) = (Tensor::new(&device, [0i32, 1, 2, 0]), Tensor::ones(&device, [4, 3]));
    for loss in [
        mse_loss(&x, &y),
        l1_loss(&x, &y),
        kl_div(&x, &y, Reduction::Mean),
        cross_entropy(&x, &labels),
        cross_entropy(&x, &y),
        five.loss(&x, &fits),
        five.loss(&x, &soft),
        nll_loss(&x, &labels),
    ] {
        let error = loss.eval().unwrap_err();
        assert!(matches!(&error, Error::Shape { .. }) && error.to_string().contains("tests/layers.rs"), "{error}");
    }
    let bad = Tensor::new(&device, [0i32, 1, 3, 0]);
    let error = cross_entropy(&x, &bad).item().unwrap_err();
    assert!(matches!(error, Error::Index { row: 2, .. }), "{error}");
}

#[test]
fn dropout_keeps_the_mean_draws_anew_and_follows_its_seed() {
    let device = Device::open().unwrap();
    let x = Tensor::ones(&device, [200, 500]);
    let draw = |layer: &Dropout| layer.forward(&x).to_vec::<f32>().unwrap();

    let layer = Dropout::new(0.3, &mut Init::new(&device, 5));
    let (first, second) = (draw(&layer), draw(&layer));
    let kept = first.iter().filter(|&&v| v != 0.0).count() as f64 / 1e5;
    // 0.7 ± 4 standard deviations of a mean of 10⁵ coins
    assert!((kept - 0.7).abs() < 4.0 * (0.21f64 / 1e5).sqrt(), "kept {kept}");
    assert!(first.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.7).abs() < 1e-6));
    assert_ne!(first, second);

    let twin = Dropout::new(0.3, &mut Init::new(&device, 5));
    assert_eq!((draw(&twin), draw(&twin)), (first.clone(), second));
    assert_ne!(draw(&Dropout::new(0.3, &mut Init::new(&device, 6))), first);

    layer.eval();
    assert!(draw(&layer).iter().all(|&v| v == 1.0));
    layer.train();
    assert!(draw(&Dropout::new(1.0, &mut Init::new(&device, 5))).iter().all(|&v| v == 0.0));
    assert!(draw(&Dropout::new(0.0, &mut Init::new(&device, 5))).iter().all(|&v| v == 1.0));
}

#[test]
fn wrong_sizes_surface_as_errors_with_the_layers_path() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let model = Sequential::new().push(Linear::new(4, 8, &mut init)).push(Relu).push(Linear::new(9, 2, &mut init));
    let error = model.forward(&Tensor::zeros(&device, [3, 4])).eval().unwrap_err();
    assert!(error.to_string().contains("in 2: ") && error.to_string().contains("matmul"), "{error}");

    let norm = BatchNorm1d::new(4, &mut init);
    assert!(norm.forward(&Tensor::zeros(&device, [1, 4])).eval().is_err());
    assert!(norm.forward(&Tensor::zeros(&device, [5, 3])).eval().is_err());
    assert!(GroupNorm::new(3, 4, &mut init).forward(&Tensor::zeros(&device, [2, 4])).eval().is_err());
    assert!(LayerNorm::new(4, &mut init).forward(&Tensor::zeros(&device, [2, 5])).eval().is_err());
    assert!(
        Embedding::new(4, 2, &mut init).forward(&Tensor::new(&device, [4i32])).eval().is_err()
            || Embedding::new(4, 2, &mut init).forward(&Tensor::new(&device, [4i32])).to_vec::<f32>().is_err()
    );
    assert!(Conv2d::new(3, 8, 3, &mut init).forward(&Tensor::zeros(&device, [1, 2, 8, 8])).eval().is_err());
    assert!(Conv2d::grouped(3, 8, 3, 0, &mut init).forward(&Tensor::zeros(&device, [1, 3, 8, 8])).eval().is_err());
}
