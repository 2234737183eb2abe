//! Every option of PyTorch's layers and functions that the other references leave out, against PyTorch in float64:
//! outputs, gradients of inputs and parameters, buffers after several calls, evaluation mode. The numbers are made by
//! scripts/reference_sweep.py.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln::loss::{CrossEntropy, Ctc, GaussianNll};
use kiln::nn::{self, Interpolation::*, Nonlinearity, *};
use kiln::prelude::{Device, Init, PaddingMode, Pool, RecurrentOptions, Reduction, Tensor};
use support::{below, off, reference, values, worst};

type Run = Box<dyn Fn(&[Tensor]) -> Vec<Tensor>>;

/// A layer, and how it is called.
struct Case {
    name: String,
    module: Box<dyn Module>,
    run: Run,
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    /// A module and what is made of it and the inputs.
    fn all<M: Module + 'static>(
        &mut self,
        name: &str,
        module: M,
        run: impl Fn(&M, &[Tensor]) -> Vec<Tensor> + 'static,
    ) {
        let module = Arc::new(module);
        let same = module.clone();
        self.0.push(Case { name: name.into(), module: Box::new(module), run: Box::new(move |x| run(&same, x)) });
    }

    fn layer(&mut self, name: &str, layer: impl Forward + 'static) {
        self.all(name, layer, |layer, x| vec![layer.forward(&x[0])]);
    }

    fn with<M: Module + 'static>(&mut self, name: &str, module: M, run: impl Fn(&M, &[Tensor]) -> Tensor + 'static) {
        self.all(name, module, move |m, x| vec![run(m, x)]);
    }

    fn pair<M: Module + 'static>(
        &mut self,
        name: &str,
        module: M,
        run: impl Fn(&M, &[Tensor]) -> (Tensor, Tensor) + 'static,
    ) {
        self.all(name, module, move |m, x| {
            let (a, b) = run(m, x);
            vec![a, b]
        });
    }

    fn function(&mut self, name: &str, run: impl Fn(&[Tensor]) -> Tensor + 'static) {
        self.with(name, Identity, move |_, x| run(x));
    }
}

fn convolutions(t: &mut Cases, init: &mut Init) {
    t.layer("conv1d.alone", Conv1d::new(2, 3, 3, init).padding(1));
    t.layer("conv2d.alone", Conv2d::new(2, 3, [2, 3], init).stride(2));
    t.layer("conv3d.alone", Conv3d::new(1, 2, 2, init));
    let depthwise = Conv2d::grouped(3, 6, 3, 3, init).stride(2).padding([1, 2]).dilation([2, 1]);
    t.layer("conv2d.depthwise", depthwise.no_bias());
    let circular = Conv2d::new(2, 2, [3, 2], init).stride([2, 1]).padding([2, 1]);
    t.layer("conv2d.circular", circular.padding_mode(PaddingMode::Circular));
    let same = Conv2d::new(1, 2, [2, 4], init).same().dilation([1, 2]);
    t.layer("conv2d.same", same.padding_mode(PaddingMode::Replicate));
    t.layer("conv2d.whole", Conv2d::new(2, 3, [4, 5], init));
    t.layer("conv2d.valid", Conv2d::new(2, 3, 1, init).stride(2));
    t.layer("conv3d.circular", Conv3d::new(1, 2, 3, init).padding(1).padding_mode(PaddingMode::Circular));
    t.layer("conv1d.replicate", Conv1d::new(2, 2, 3, init).padding(4).padding_mode(PaddingMode::Replicate));
    let alone = ConvTranspose1d::new(2, 3, 4, init).stride(3).padding(2).output_padding(2).dilation(2);
    t.layer("conv_t1d.alone", alone);
    let groups = ConvTranspose2d::grouped(4, 4, [3, 2], 4, init).stride([2, 3]).padding([1, 0]);
    t.layer("conv_t2d.groups", groups.output_padding([1, 2]));
    let padding = ConvTranspose3d::new(2, 1, [3, 2, 3], init).stride([2, 1, 2]).padding([1, 0, 1]);
    t.layer("conv_t3d.padding", padding.output_padding([1, 0, 0]));
    t.with("conv_t1d.to", ConvTranspose1d::new(2, 2, 3, init).stride(4), |m, x| m.forward_to(&x[0], 14));
}

fn pooling(t: &mut Cases, init: &mut Init) {
    let all = MaxPool2d::new([3, 2]).stride([2, 1]).padding(1).dilation([1, 2]).ceil_mode();
    t.pair("max_pool2d.all", all, |m, x| m.with_index(&x[0]));
    t.pair("max_pool1d.alone", MaxPool1d::new(3).stride(2).ceil_mode(), |m, x| m.with_index(&x[0]));
    let volumes = MaxPool3d::new([2, 3, 2]).stride([2, 1, 2]).padding([1, 1, 0]).ceil_mode();
    t.pair("max_pool3d.all", volumes, |m, x| m.with_index(&x[0]));
    t.pair("max_pool2d.ties", MaxPool2d::new(2).stride(1), |m, x| m.with_index(&x[0]));
    t.layer("avg_pool1d.ceil", AvgPool1d::new(3).stride(2).padding(1).ceil_mode().without_padding());
    t.layer("avg_pool1d.count", AvgPool1d::new(4).stride(3).padding(2).ceil_mode());
    t.layer("avg_pool2d.ceil", AvgPool2d::new([3, 2]).stride(2).padding([1, 0]).ceil_mode());
    t.layer("avg_pool2d.inside", AvgPool2d::new(3).stride(2).padding(1).ceil_mode().without_padding());
    t.layer("avg_pool2d.divisor", AvgPool2d::new(2).stride(3).ceil_mode().divisor(5));
    t.layer("avg_pool3d.ceil", AvgPool3d::new([2, 3, 2]).stride(2).padding([0, 1, 1]).ceil_mode().without_padding());
    t.layer("lp_pool1d.norm1", LpPool1d::new(1.0, 2).stride(1));
    t.layer("lp_pool2d.norm2", LpPool2d::new(2.0, [2, 3]).stride([1, 2]).ceil_mode());
    t.layer("lp_pool3d", LpPool3d::new(2.5, 2));
    t.layer("adaptive_avg1d.up", AdaptiveAvgPool1d::new(7));
    t.layer("adaptive_avg2d", AdaptiveAvgPool2d::new([-1, 3]));
    t.pair("adaptive_max2d.up", AdaptiveMaxPool2d::new([5, 2]), |m, x| m.with_index(&x[0]));
    t.pair("adaptive_max3d", AdaptiveMaxPool3d::new([2, 1, 3]), |m, x| m.with_index(&x[0]));
    t.function("max_unpool1d", |x| {
        let (y, index) = MaxPool1d::new(3).stride(2).padding(1).with_index(&x[0]);
        MaxUnpool1d::new(3).stride(2).padding(1).forward(&y, &index, Some(&[6]))
    });
    t.function("max_unpool3d", |x| {
        let (y, index) = MaxPool3d { pool: Pool::new(2) }.with_index(&x[0]);
        MaxUnpool3d::new(2).forward(&y, &index, None)
    });
    let fractional = FractionalMaxPool2d::new([2, 3], [4, 3], init);
    t.pair("fractional2d", fractional, |m, x| m.with_samples(&x[0], &x[1]));
    let ratio = FractionalMaxPool2d::by(3, [0.5, 0.7], init);
    t.pair("fractional2d.ratio", ratio, |m, x| m.with_samples(&x[0], &x[1]));
    let volumes = FractionalMaxPool3d::new(2, [3, 2, 4], init);
    t.pair("fractional3d", volumes, |m, x| m.with_samples(&x[0], &x[1]));
}

fn resizing(t: &mut Cases, _: &mut Init) {
    let by = |factors: &[f64]| Upsample::with(Size::By(factors.to_vec()));
    let rounded = |factors: &[f64]| Upsample::with(Size::Rounded(factors.to_vec()));
    t.layer("resize.row.nearest", by(&[1.6]));
    t.layer("resize.row.exact", Upsample::to(4).mode(NearestExact));
    t.layer("resize.row.area", Upsample::to(3).mode(Area));
    t.layer("resize.row.linear", by(&[0.55]).mode(Linear));
    t.layer("resize.row.corners", by(&[2.3]).mode(Linear).align_corners());
    t.layer("resize.row.recomputed", rounded(&[1.6]).mode(Linear));
    t.layer("resize.image.recomputed", rounded(&[1.3, 0.6]).mode(Bicubic));
    t.layer("resize.image.corners", by(&[1.5, 2.1]).mode(Bicubic).align_corners());
    t.layer("resize.volume.nearest", by(&[1.5, 0.5, 2.0]));
    t.layer("resize.volume.exact", Upsample::to([2, 5, 3]).mode(NearestExact));
    t.layer("resize.volume.area", Upsample::to([2, 5, 1]).mode(Area));
    t.layer("resize.volume.linear", by(&[1.4, 2.0, 0.7]).mode(Linear));
    for (name, mode) in [("bilinear", Linear), ("bicubic", Bicubic)] {
        t.layer(&format!("antialias.down.{name}"), Upsample::to([4, 3]).mode(mode).antialias());
        t.layer(
            &format!("antialias.mixed.{name}"),
            Upsample { align_corners: mode == Linear, ..Upsample::to([5, 13]).mode(mode).antialias() },
        );
        t.layer(&format!("antialias.by.{name}"), by(&[0.41, 0.7]).mode(mode).antialias());
    }
}

fn padding(t: &mut Cases, _: &mut Init) {
    t.layer("zero_pad1d", ZeroPad1d::new([2, -1]));
    t.layer("zero_pad3d", ZeroPad3d::new([1, 0, 0, 2, -1, 1]));
    t.layer("constant_pad1d", ConstantPad1d::new(2, -1.5));
    t.layer("constant_pad2d", ConstantPad2d::new([1, -1, 0, 2], 0.5));
    t.layer("reflection_pad3d", ReflectionPad3d::new([1, 0, 2, 1, 1, 1]));
    t.layer("replication_pad1d", ReplicationPad1d::new([3, 2]));
    t.layer("replication_pad2d", ReplicationPad2d::new([2, 5, 0, 1]));
    t.layer("circular_pad1d", CircularPad1d::new([2, 5]));
    t.layer("circular_pad3d", CircularPad3d::new([1, 2, 0, 1, 2, 0]));
}

fn norms(t: &mut Cases, init: &mut Init) {
    t.layer("batch_norm1d.plain", BatchNorm1d::new(3, init));
    t.layer("batch_norm2d.all_alike", BatchNorm2d::new(2, init).momentum(None).eps(1e-3));
    t.layer("batch_norm2d.bare", BatchNorm2d::new(2, init).no_affine());
    t.layer("batch_norm1d.no_bias", BatchNorm1d::new(3, init).no_bias());
    t.layer("batch_norm3d.one", BatchNorm3d::new(2, init).no_affine().no_tracking());
    t.layer("instance_norm1d.tracked", InstanceNorm1d::new(3).tracking(init).momentum(Some(0.4)));
    t.layer("instance_norm1d.still", InstanceNorm1d::new(3).tracking(init).momentum(None));
    t.layer("instance_norm3d.tracked", InstanceNorm3d::new(2).affine(init).tracking(init));
    t.layer("instance_norm2d.alone", InstanceNorm2d::new(2).affine(init).no_bias());
    t.layer("layer_norm.one", LayerNorm::new(1, init).eps(1e-2));
    t.layer("layer_norm.whole", LayerNorm::new([2, 3, 2], init));
    t.layer("rms_norm.planes", RmsNorm::new([2, 5], init).eps(1e-4));
    t.layer("group_norm.all", GroupNorm::new(1, 4, init).eps(1e-3));
    t.layer("group_norm.each", GroupNorm::new(4, 4, init).no_bias());
    t.layer("response_norm.volume", LocalResponseNorm { alpha: 0.5, beta: 0.9, k: 1.5, ..LocalResponseNorm::new(2) });
    let linear = nn::Linear::new(4, 3, init);
    t.layer("weight_norm.columns", WeightNorm::along(linear, Some(1), init));
    let conv = Conv1d::new(2, 3, 2, init);
    t.layer("weight_norm.whole", WeightNorm::along(conv, None, init));
    let conv = ConvTranspose2d::new(2, 3, 2, init);
    t.layer("weight_norm.conv_t", WeightNorm::new(conv, init));
    let linear = nn::Linear::new(4, 3, init);
    let mut three = SpectralNorm::new(linear, init).unwrap();
    three.iterations = 3;
    t.layer("spectral_norm.three", three);
    let conv = Conv1d::new(2, 3, 2, init);
    t.layer("spectral_norm.axis", SpectralNorm::along(conv, 1, init).unwrap());
}

fn tables(t: &mut Cases, init: &mut Init) {
    t.layer("embedding.padded", Embedding::padded(6, 3, 3, init));
    t.layer("embedding.by_freq", Embedding::padded(6, 3, 1, init).scale_grad_by_freq());
    t.layer("embedding.max_norm", Embedding::new(6, 3, init).max_norm(1.0));
    t.layer("embedding.max_norm1", Embedding::new(6, 3, init).max_norm(0.7).norm_type(1.0).scale_grad_by_freq());
    t.layer("embedding.max_norm_inf", Embedding::new(6, 3, init).max_norm(0.5).norm_type(f32::INFINITY));
    for (name, mode) in [("sum", BagMode::Sum), ("mean", BagMode::Mean), ("max", BagMode::Max)] {
        let mut bag = || EmbeddingBag::new(6, 3, mode, init);
        let last = bag().include_last_offset().padding(1);
        t.with(&format!("bag.last.{name}"), last, |m, x| m.offsets(&x[0], &x[1], None));
        let short = bag().max_norm(0.8);
        t.with(&format!("bag.max_norm.{name}"), short, |m, x| m.offsets(&x[0], &x[1], None));
        if mode != BagMode::Max {
            t.layer(&format!("bag.by_freq.{name}"), bag().scale_grad_by_freq());
        }
    }
    let bag = EmbeddingBag::new(6, 3, BagMode::Sum, init).padding(3);
    t.with("bag.offsets.weighted", bag, |m, x| m.offsets(&x[0], &x[1], Some(&x[2])));
}

fn functions(t: &mut Cases, init: &mut Init) {
    t.function("normalize", |x| normalize(&x[0], 2.0, 1, 1e-12));
    t.function("normalize.p1", |x| normalize(&x[0], 1.0, 0, 0.5));
    t.function("normalize.inf", |x| normalize(&x[0], f32::INFINITY, -1, 1e-12));
    t.function("normalize.zero", |x| normalize(&x[0], 2.0, -1, 1e-12));
    t.function("pdist", |x| pdist(&x[0], 2.0));
    t.function("pdist.p1", |x| pdist(&x[0], 1.5));
    for align_corners in [false, true] {
        let end = u8::from(align_corners);
        t.function(&format!("affine_grid.{end}"), move |x| affine_grid(&x[0], &[3, 4], align_corners));
        t.function(&format!("affine_grid3.{end}"), move |x| affine_grid(&x[0], &[2, 3, 2], align_corners));
    }
    let modes = [(GridMode::Linear, "bilinear"), (GridMode::Nearest, "nearest"), (GridMode::Bicubic, "bicubic")];
    let paddings =
        [(GridPadding::Zeros, "zeros"), (GridPadding::Border, "border"), (GridPadding::Reflection, "reflection")];
    let mut sample = |name: &str, mode, padding, align_corners| {
        let options = GridOptions { mode, padding, align_corners };
        t.function(name, move |x| grid_sample(&x[0], &x[1], options));
    };
    for (i, (mode, name)) in modes.into_iter().enumerate() {
        for (j, (padding, outside)) in paddings.into_iter().enumerate() {
            sample(&format!("grid.{name}.{outside}"), mode, padding, (i + j) % 2 == 1);
        }
    }
    sample("grid3.bilinear.reflection", GridMode::Linear, GridPadding::Reflection, false);
    sample("grid3.bilinear.zeros", GridMode::Linear, GridPadding::Zeros, true);
    sample("grid3.nearest.border", GridMode::Nearest, GridPadding::Border, false);
    sample("grid.corners", GridMode::Linear, GridPadding::Reflection, true);
    t.layer("far.prelu_row", PRelu::new(1, init));
    t.function("gumbel", |x| ((&x[0] + &x[1]) / 0.7).softmax(-1));
    let far: [fn(&Tensor) -> Tensor; 25] = [
        |x| Relu6.forward(x),
        |x| Gelu.forward(x),
        |x| GeluTanh.forward(x),
        |x| Selu.forward(x),
        |x| Silu.forward(x),
        |x| Mish.forward(x),
        |x| LogSigmoid.forward(x),
        |x| Hardswish.forward(x),
        |x| Hardsigmoid.forward(x),
        |x| Softplus::default().forward(x),
        |x| Elu(1.3).forward(x),
        |x| Celu(2.0).forward(x),
        |x| Tanhshrink.forward(x),
        |x| Softsign.forward(x),
        |x| Sigmoid.forward(x),
        |x| Tanh.forward(x),
        |x| LogSoftmax(0).forward(x),
        |x| Softmax(1).forward(x),
        |x| Softmin(0).forward(x),
        |x| Glu(0).forward(x),
        |x| Hardtanh::default().forward(x),
        |x| LeakyRelu::default().forward(x),
        |x| Softshrink::default().forward(x),
        |x| Hardshrink::default().forward(x),
        |x| Threshold { threshold: 0.1, value: 20.0 }.forward(x),
    ];
    t.all("far", Identity, move |_, x| far.iter().map(|f| f(&x[0])).collect());
}

fn losses(t: &mut Cases, init: &mut Init) {
    let adaptive = AdaptiveLogSoftmax::with(6, 12, &[3, 5, 9], 2.0, false, init);
    t.pair("adaptive", adaptive, |m, x| m.loss(&x[0], &x[1]));
    let biased = AdaptiveLogSoftmax::with(5, 7, &[2], 4.0, true, init);
    t.pair("adaptive.bias", biased, |m, x| m.loss(&x[0], &x[1]));
    t.pair("adaptive.one", AdaptiveLogSoftmax::new(5, 7, &[2, 4], init), |m, x| m.loss(&x[0], &x[1]));
    let weight = Some(Tensor::new(init.device(), [1.0, 2.0, 0.5]));
    let smooth = CrossEntropy { weight, label_smoothing: 0.1, ..Default::default() };
    let linear = LinearCrossEntropy::new(4, 3, &[2], init).bias(init).loss(smooth);
    // PyTorch has the class weights in its state dict
    t.with("linear_ce", linear, |m, x| m.forward(&x[0], &x[1]));
    let sum = CrossEntropy { reduction: Reduction::Sum, ignore_index: 2, ..Default::default() };
    let linear = LinearCrossEntropy::new(4, 3, &[], init).loss(sum);
    t.with("linear_ce.plain", linear, |m, x| m.forward(&x[0], &x[1]));
    t.function("gauss.channel", |x| GaussianNll { full: true, ..Default::default() }.loss(&x[0], &x[1], &x[2]));
    t.function("gauss.number", |x| {
        let loss = GaussianNll { reduction: Reduction::None, ..Default::default() };
        loss.loss(&x[0], &x[1], &Tensor::new(x[0].device(), 0.5))
    });
    for (name, reduction) in [("mean", Reduction::Mean), ("sum", Reduction::Sum), ("none", Reduction::None)] {
        t.function(&format!("ctc.flat.{name}"), move |x| {
            Ctc { reduction, ..Default::default() }.loss(&x[0].log_softmax(2), &x[1], &x[2], &x[3])
        });
    }
}

fn sequences(t: &mut Cases, init: &mut Init) {
    let deep =
        RecurrentOptions { num_layers: 3, bias: false, bidirectional: true, batch_first: true, ..Default::default() };
    let flat = |(y, (h, c)): (Tensor, (Tensor, Tensor))| vec![y, h, c];
    t.all("lstm.deep", Lstm::with(2, 3, deep, init), move |m, x| flat(m.run(&x[0], None, None)));
    let first = RecurrentOptions { num_layers: 2, bidirectional: true, batch_first: true, ..Default::default() };
    let proj = RecurrentOptions { proj_size: 2, ..first.clone() };
    t.all("lstm.proj", Lstm::with(3, 4, proj, init), move |m, x| flat(m.run(&x[0], None, Some(&x[1]))));
    let proj = RecurrentOptions { proj_size: 1, ..Default::default() };
    let one = Lstm::with(3, 4, proj, init);
    t.all("lstm.proj_first", one, move |m, x| flat(m.run(&x[0], Some((&x[1], &x[2])), None)));
    t.pair("gru.deep", Gru::with(2, 3, first.clone(), init), |m, x| m.run(&x[0], None, Some(&x[1])));
    let relu = RecurrentOptions { nonlinearity: Nonlinearity::Relu, bidirectional: false, ..first };
    t.pair("rnn.relu", Rnn::with(2, 3, relu, init), |m, x| m.run(&x[0], None, Some(&x[1])));
}

fn transformers(t: &mut Cases, init: &mut Init) {
    let small = || TransformerOptions { dim_feedforward: 6, dropout: 0.0, ..Default::default() };
    let options = TransformerOptions { batch_first: true, activation: Tensor::silu, ..small() };
    t.with("encoder.bool", TransformerEncoderLayer::with(4, 2, options, init), |m, x| {
        let masks = AttentionArgs { attn_mask: Some(&x[1]), key_padding_mask: Some(&x[2]), ..Default::default() };
        m.run(&x[0], masks)
    });
    let bare = || TransformerOptions { norm_first: true, bias: false, ..small() };
    t.with("encoder.float", TransformerEncoderLayer::with(4, 1, bare(), init), |m, x| {
        m.run(&x[0], AttentionArgs { attn_mask: Some(&x[1]), ..Default::default() })
    });
    t.layer("encoder.alone", TransformerEncoderLayer::with(4, 2, small(), init));
    t.with("decoder.all", TransformerDecoderLayer::with(4, 2, bare(), init), |m, x| {
        let tgt = AttentionArgs { attn_mask: Some(&x[2]), ..Default::default() };
        let memory = AttentionArgs { key_padding_mask: Some(&x[3]), ..Default::default() };
        m.run(&x[0], &x[1], DecoderMasks { tgt, memory })
    });
    let options = TransformerOptions { norm_first: true, batch_first: true, ..small() };
    t.with("transformer", Transformer::new(4, 2, [2, 2], options, init), |m, x| {
        let src = AttentionArgs { key_padding_mask: Some(&x[3]), ..Default::default() };
        let tgt = AttentionArgs { attn_mask: Some(&x[2]), ..Default::default() };
        m.run(&x[0], &x[1], src, DecoderMasks { tgt, memory: src })
    });
    let both = |(y, w): (Tensor, Option<Tensor>)| [Some(y), w].into_iter().flatten().collect::<Vec<_>>();
    let options = MultiheadOptions { kdim: Some(3), vdim: Some(5), add_bias_kv: true, ..Default::default() };
    t.all("mha.kv", MultiheadAttention::with(4, 2, options, init), move |m, x| {
        both(m.run(&x[0], &x[1], &x[2], AttentionArgs::default()))
    });
    let options = MultiheadOptions { add_zero_attn: true, no_bias: true, batch_first: true, ..Default::default() };
    t.all("mha.zero", MultiheadAttention::with(4, 2, options, init), move |m, x| {
        let args = AttentionArgs { key_padding_mask: Some(&x[1]), average_attn_weights: false, ..Default::default() };
        both(m.run(&x[0], &x[0], &x[0], args))
    });
}

/// What differs from the reference, as lines; the names of what was compared go into `used`.
fn compare(all: &StateDict, case: &Case, used: &mut BTreeSet<String>) -> kiln::Result<Vec<String>> {
    let Case { name, module, run } = case;
    let mut wrong = Vec::new();
    let find = |part: &str| all.get(&format!("{name}.{part}"));
    let need = |part: &str| find(part).unwrap_or_else(|| panic!("no {name}.{part} in the reference")).clone();
    used.insert(format!("{name}.y0"));
    let before = below(all, &format!("{name}.before."));
    let report = module.load_matching(&before)?;
    assert!(report.missing.is_empty() && report.mismatched.is_empty(), "{name}: {report:?}");
    assert!(report.unexpected.iter().all(|path| path == "weight"), "{name}: {report:?}");
    let x: Vec<Tensor> = (0..4).map_while(|i| find(&i.to_string()).cloned()).collect();
    let calls = find("calls").map_or(1, |t| t.item_as::<i32>().unwrap());
    for _ in 1..calls {
        Tensor::eval_all(&run(&x).iter().collect::<Vec<_>>())?;
    }
    let ys = run(&x);
    let mut parts = Vec::new();
    let mut along: Option<Tensor> = None;
    for (i, y) in ys.iter().enumerate() {
        let want = need(&format!("y{i}"));
        if y.shape()? != want.shape()? {
            return Ok(vec![format!("{name} y{i}: {:?} is not {:?}", y.shape()?, want.shape()?)]);
        }
        parts.push((format!("y{i}"), y.clone(), want, 1e-5));
        if let Some(dy) = find(&format!("dy{i}")) {
            let term = (y * dy).sum();
            along = Some(match along {
                Some(sum) => sum + term,
                None => term,
            });
        }
    }
    assert!(find(&format!("y{}", ys.len())).is_none(), "{name}: more outputs in the reference");
    let along = along.unwrap();
    for (i, x) in x.iter().enumerate() {
        if let Some(want) = find(&format!("d{i}")) {
            parts.push((format!("d{i}"), along.grad(&[x])?.remove(0), want.clone(), 1e-4));
        }
    }
    let gradients = along.backward()?;
    for (path, param) in module.named_parameters() {
        let got = gradients.get(&param).unwrap_or_else(|| param.zeros_like());
        parts.push((path.clone(), got, need(&format!("d.{path}")), 1e-4));
    }
    // buffers, and parameters that a forward pass changes
    let moved = module.named_states().into_iter().map(|(path, state)| (path, state.value()));
    let kept = module.named_parameters().into_iter().map(|(path, param)| (path, param.value()));
    for (path, value) in moved.chain(kept) {
        let want = need(&format!("after.{path}"));
        parts.push((format!("after {path}"), value, want, 1e-5));
    }
    let (got, want): (Vec<&Tensor>, Vec<&Tensor>) = parts.iter().map(|(_, got, want, _)| (got, want)).unzip();
    let (got, want) = (values(&got)?, values(&want)?);
    for ((part, .., limit), (got, want)) in parts.iter().zip(got.iter().zip(&want)) {
        let error = worst(got, want);
        if error > *limit {
            wrong.push(format!("{name} {part}: off by {error:e}\n   got {got:?}\n  want {want:?}"));
        }
    }
    module.eval();
    let ys = run(&x);
    let want: Vec<Tensor> = (0..ys.len()).map(|i| need(&format!("eval{i}"))).collect();
    let got = values(&ys.iter().collect::<Vec<_>>())?;
    for (i, (got, want)) in got.iter().zip(values(&want.iter().collect::<Vec<_>>())?).enumerate() {
        let error = worst(got, &want);
        if error > 1e-5 {
            wrong.push(format!("{name} eval{i}: off by {error:e}"));
        }
    }
    Ok(wrong)
}

#[test]
fn every_option_is_as_in_pytorch() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let mut cases = Cases::default();
    for part in [convolutions, pooling, resizing, padding, norms, tables, functions, losses, sequences, transformers] {
        part(&mut cases, &mut init);
    }
    let all = reference(&device, "sweep");
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for case in &cases.0 {
        match compare(&all, case, &mut used) {
            Ok(lines) => wrong.extend(lines),
            Err(error) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let left: Vec<&String> = all.keys().filter(|k| k.ends_with(".y0") && !used.contains(*k)).collect();
    assert!(left.is_empty(), "not compared: {left:?}");
}

#[test]
fn an_adaptive_softmax_knows_all_classes() {
    let device = Device::open().unwrap();
    let all = reference(&device, "sweep");
    let softmax = AdaptiveLogSoftmax::with(6, 12, &[3, 5, 9], 2.0, false, &mut Init::new(&device, 0));
    softmax.load_state_dict(&below(&all, "adaptive.before.")).unwrap();
    let x = &all["adaptive.0"];
    let (logp, chosen) = (softmax.log_prob(x), softmax.predict(x));
    assert!(off(&logp, &all["adaptive.log_prob"]) < 1e-5);
    assert_eq!(chosen.to_vec::<i32>().unwrap(), all["adaptive.predict"].to_vec::<i32>().unwrap());

    let labels = |label: i32| Tensor::from_vec(&device, vec![label; 7], &[7]);
    assert!(softmax.loss(x, &labels(12)).1.item().is_err() && softmax.loss(x, &labels(-1)).1.item().is_err());
    assert!(softmax.loss(x, &Tensor::new(&device, [0i32])).1.eval().is_err());
    let init = &mut Init::new(&device, 0);
    for cutoffs in [&[][..], &[0, 3], &[3, 3], &[5, 3], &[12]] {
        assert!(AdaptiveLogSoftmax::new(6, 12, cutoffs, init).log_prob(x).eval().is_err(), "{cutoffs:?}");
    }
}
