//! Layers against PyTorch in float64: outputs, gradients of inputs and parameters, buffers after a training pass,
//! evaluation mode. The numbers are made by scripts/reference_layers.py.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeSet;

use kiln::nn::{self, Interpolation::*, *};
use kiln::prelude::*;
use kiln::{Patches, loss};

#[path = "models/resnet18.rs"]
mod resnet18;
use resnet18::ResNet18;
use support::{below, reference, values, worst};

type Run = Box<dyn Fn(&[Tensor]) -> Tensor>;

/// A layer, and how it is called.
struct Case {
    name: String,
    module: Box<dyn Module>,
    run: Run,
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn layer(&mut self, name: &str, layer: impl Forward + 'static) {
        let layer = std::sync::Arc::new(layer);
        let module = Box::new(layer.clone());
        self.0.push(Case { name: name.into(), module, run: Box::new(move |x| layer.forward(&x[0])) });
    }

    fn with<M: Module + 'static>(&mut self, name: &str, module: M, run: impl Fn(&M, &[Tensor]) -> Tensor + 'static) {
        let module = std::sync::Arc::new(module);
        let same = module.clone();
        self.0.push(Case { name: name.into(), module: Box::new(module), run: Box::new(move |x| run(&same, x)) });
    }

    fn function(&mut self, name: &str, run: impl Fn(&[Tensor]) -> Tensor + 'static) {
        self.with(name, Identity, move |_, x| run(x));
    }
}

fn convolutions(t: &mut Cases, init: &mut Init) {
    for (name, mode) in
        [("reflect", PaddingMode::Reflect), ("replicate", PaddingMode::Replicate), ("circular", PaddingMode::Circular)]
    {
        t.layer(&format!("conv2d.{name}"), Conv2d::new(2, 3, 3, init).padding([1, 2]).padding_mode(mode));
    }
    t.layer("conv1d.same", Conv1d::new(2, 4, 4, init).same().dilation(2));
    t.layer("conv1d.same.circular", Conv1d::new(2, 4, 4, init).same().padding_mode(PaddingMode::Circular));
    t.layer("conv3d", Conv3d::grouped(2, 4, [3, 2, 2], 2, init).stride([1, 2, 1]).padding(1));
    t.layer("conv3d.reflect", Conv3d::new(1, 2, 3, init).padding(1).padding_mode(PaddingMode::Reflect).no_bias());
    t.layer("conv_t1d", ConvTranspose1d::grouped(4, 6, 3, 2, init).stride(2).padding(1).output_padding(1));
    t.layer("conv_t2d", ConvTranspose2d::new(2, 3, [3, 2], init).stride([2, 1]).padding([1, 0]).dilation([1, 2]));
    t.with("conv_t2d.to", ConvTranspose2d::new(2, 3, 3, init).stride(3).padding(1), |m, x| {
        m.forward_to(&x[0], [9, 11])
    });
    t.layer("conv_t3d", ConvTranspose3d::new(2, 2, 2, init).stride(2).no_bias());
}

fn pooling(t: &mut Cases, _: &mut Init) {
    t.layer("max_pool3d", MaxPool3d::new(2).stride(1));
    t.layer("avg_pool3d", AvgPool3d::new(2).padding(1).divisor(3));
    t.layer("lp_pool1d", LpPool1d::new(2.0, 3).stride(2));
    t.layer("lp_pool2d", LpPool2d::new(3.0, 2).ceil_mode());
    t.layer("adaptive_max1d", AdaptiveMaxPool1d::new(3));
    t.layer("adaptive_max2d", AdaptiveMaxPool2d::new([3, -1]));
    t.layer("adaptive_avg3d", AdaptiveAvgPool3d::new([2, 3, 1]));
    t.function("max_unpool2d", |x| {
        let (y, index) = MaxPool2d::new(2).with_index(&x[0]);
        MaxUnpool2d::new(2).forward(&y, &index, Some(&[5, 6]))
    });
}

fn resizing(t: &mut Cases, _: &mut Init) {
    for (name, mode) in [
        ("nearest", Nearest),
        ("nearest-exact", NearestExact),
        ("bilinear", Linear),
        ("bicubic", Bicubic),
        ("area", Area),
    ] {
        t.layer(&format!("resize.{name}"), Upsample::to([7, 9]).mode(mode));
        t.layer(&format!("resize.down.{name}"), Upsample::to([3, 2]).mode(mode));
        t.function(&format!("resize.by.{name}"), move |x| interpolate(&x[0], &Size::By(vec![1.7, 2.5]), mode, false));
        if matches!(mode, Linear | Bicubic) {
            t.layer(&format!("resize.corners.{name}"), Upsample::to([7, 1]).mode(mode).align_corners());
        }
    }
    t.layer("resize.linear", Upsample::by(2.0).mode(Linear));
    t.layer("resize.trilinear", Upsample::to([3, 5, 4]).mode(Linear).align_corners());
    t.layer("resize.twice", Upsample::by(2.0));
}

fn moving(t: &mut Cases, _: &mut Init) {
    t.layer("zero_pad2d", ZeroPad2d::new([1, 2, 0, -1]));
    t.layer("constant_pad3d", ConstantPad3d::new([1, 0, 2, 1, 0, 1], 3.5));
    t.layer("reflection_pad1d", ReflectionPad1d::new([3, 1]));
    t.layer("reflection_pad2d", ReflectionPad2d::new([1, 2, 3, 0]));
    t.layer("replication_pad3d", ReplicationPad3d::new([1, 2, 3, 0, 1, 1]));
    t.layer("circular_pad2d", CircularPad2d::new([1, 4, 3, 0]));
    t.layer("pixel_shuffle", PixelShuffle(2));
    t.layer("pixel_unshuffle", PixelUnshuffle(2));
    t.layer("channel_shuffle", ChannelShuffle(3));
    t.layer("unflatten", Unflatten::new(1, [2, -1]));
    let patches = || Patches { kernel: vec![2, 3], padding: vec![1], stride: vec![2], ..Patches::new(1) };
    t.layer("unfold", Unfold { patches: patches() });
    t.layer("fold", Fold::new([5, 4], patches()));
}

fn norms(t: &mut Cases, init: &mut Init) {
    t.layer("batch_norm3d", BatchNorm3d::new(2, init));
    t.layer("batch_norm1d.rows", BatchNorm1d::new(3, init).eps(1e-2).momentum(Some(0.3)));
    t.layer("batch_norm2d.untracked", BatchNorm2d::new(2, init).no_tracking());
    t.layer("instance_norm1d", InstanceNorm1d::new(3));
    t.layer("instance_norm2d", InstanceNorm2d::new(2).affine(init).tracking(init));
    t.layer("instance_norm3d", InstanceNorm3d::new(2).affine(init).eps(1e-3));
    t.layer("instance_norm.alone", InstanceNorm2d::new(2));
    t.layer("layer_norm.plain", LayerNorm::new(5, init).no_affine());
    t.layer("layer_norm.no_bias", LayerNorm::new([2, 5], init).no_bias().eps(1e-2));
    t.layer("rms_norm.plain", RmsNorm::new(5, init).no_affine().eps(1e-3));
    t.layer("group_norm.plain", GroupNorm::new(3, 6, init).no_affine());
    t.layer("response_norm", LocalResponseNorm { alpha: 0.5, k: 2.0, ..LocalResponseNorm::new(3) });
    t.layer("response_norm.even", LocalResponseNorm { alpha: 0.3, beta: 0.6, ..LocalResponseNorm::new(4) });
    t.layer("weight_norm", WeightNorm::new(nn::Linear::new(4, 3, init), init));
    t.layer("weight_norm.conv", WeightNorm::new(Conv2d::new(2, 3, 2, init), init));
    t.layer("spectral_norm", SpectralNorm::new(nn::Linear::new(4, 3, init), init).unwrap());
    t.layer("spectral_norm.conv_t", SpectralNorm::new(ConvTranspose1d::new(2, 3, 2, init), init).unwrap());
}

fn tables_and_distances(t: &mut Cases, init: &mut Init) {
    t.with("bilinear", Bilinear::new(3, 4, 2, init), |m, x| m.forward(&x[0], &x[1]));
    t.with("bilinear.no_bias", Bilinear::new(3, 4, 2, init).no_bias(), |m, x| m.forward(&x[0], &x[1]));
    for (name, mode) in [("sum", BagMode::Sum), ("mean", BagMode::Mean), ("max", BagMode::Max)] {
        t.layer(&format!("bag.{name}"), EmbeddingBag::new(10, 3, mode, init));
        t.with(&format!("bag.offsets.{name}"), EmbeddingBag::new(10, 3, mode, init).padding(3), |m, x| {
            m.offsets(&x[0], &x[1], None)
        });
    }
    t.with("bag.weighted", EmbeddingBag::new(10, 3, BagMode::Sum, init), |m, x| m.weighted(&x[0], Some(&x[1])));
    t.function("cosine_similarity", |x| CosineSimilarity::default().forward(&x[0], &x[1]));
    t.function("cosine_similarity.broadcast", |x| cosine_similarity(&x[0], &x[1], -1, 1e-8));
    t.function("cosine_similarity.zero", |x| cosine_similarity(&x[0], &x[1], 0, 1e-2));
    t.function("pairwise_distance", |x| {
        PairwiseDistance { p: 3.0, keep: true, ..Default::default() }.forward(&x[0], &x[1])
    });
    for (name, p) in [("1.0", 1.0), ("2.0", 2.0), ("3.0", 3.0), ("inf", f32::INFINITY)] {
        t.function(&format!("cdist.{name}"), move |x| cdist(&x[0], &x[1], p));
    }
    t.function("cdist.same", |x| cdist(&x[0], &x[0].detach(), 2.0));
}

fn activations(t: &mut Cases, init: &mut Init) {
    t.layer("act.celu", Celu(0.7));
    t.layer("act.elu", Elu(0.7));
    t.layer("act.glu", Glu(0));
    t.layer("act.hardshrink", Hardshrink(0.75));
    t.layer("act.hardtanh", Hardtanh { low: -0.6, high: 2.1 });
    t.layer("act.leaky_relu", LeakyRelu(0.3));
    t.layer("act.prelu", PRelu::new(1, init));
    t.layer("act.prelu.channels", PRelu::new(3, init));
    t.layer("act.softmax2d", Softmax2d);
    t.layer("act.softmin", Softmin(1));
    t.layer("act.softplus", Softplus { beta: 2.0, threshold: 3.1 });
    t.layer("act.softshrink", Softshrink(0.75));
    t.layer("act.tanhshrink", Tanhshrink);
    t.layer("act.threshold", Threshold { threshold: 0.3, value: -2.0 });
    t.layer("act.softsign", Softsign);
}

#[test]
fn layers_agree_with_pytorch() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let mut cases = Cases::default();
    for part in [convolutions, pooling, resizing, moving, norms, tables_and_distances, activations] {
        part(&mut cases, &mut init);
    }
    let all = reference(&device, "nn_layers");
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for Case { name, module, run } in &cases.0 {
        let find = |part: &str| all.get(&format!("{name}.{part}"));
        let need = |part: &str| find(part).unwrap_or_else(|| panic!("no {name}.{part} in the reference")).clone();
        used.insert(format!("{name}.y"));
        module.load_state_dict(&below(&all, &format!("{name}.before."))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let x: Vec<Tensor> = (0..2).map_while(|i| find(&i.to_string()).cloned()).collect();
        let y = run(&x);
        assert_eq!(y.shape().unwrap_or_else(|e| panic!("{name}: {e}")), need("y").shape().unwrap(), "{name}");

        let mut parts = vec![("y".to_string(), y.clone(), need("y"), 1e-5)];
        let along = (&y * need("dy")).sum();
        for (i, x) in x.iter().enumerate().filter(|(_, x)| x.dtype().is_float()) {
            parts.push((format!("d{i}"), along.grad(&[x]).unwrap().remove(0), need(&format!("d{i}")), 1e-4));
        }
        let gradients = along.backward().unwrap();
        for (path, param) in module.named_parameters() {
            let got = gradients.get(&param).unwrap_or_else(|| panic!("{name}.{path} has no gradient"));
            parts.push((path.clone(), got, need(&format!("d.{path}")), 1e-4));
        }
        let (got, want): (Vec<&Tensor>, Vec<&Tensor>) = parts.iter().map(|(_, got, want, _)| (got, want)).unzip();
        for ((part, .., limit), (got, want)) in
            parts.iter().zip(values(&got).unwrap().iter().zip(values(&want).unwrap()))
        {
            let error = worst(got, &want);
            if error > *limit {
                wrong.push(format!("{name} {part}: off by {error:e}"));
            }
        }
        for (path, state) in module.named_states() {
            let want = need(&format!("after.{path}"));
            let error = worst(&state.value().to_vec::<f32>().unwrap(), &want.to_vec::<f32>().unwrap());
            if error > 1e-5 {
                wrong.push(format!("{name} after {path}: off by {error:e}"));
            }
        }
        module.eval();
        let error = worst(&run(&x).to_vec::<f32>().unwrap(), &need("eval").to_vec::<f32>().unwrap());
        if error > 1e-5 {
            wrong.push(format!("{name} eval: off by {error:e}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let left: Vec<&String> =
        all.keys().filter(|k| k.ends_with(".y") && !used.contains(*k) && *k != "resnet.y").collect();
    assert!(left.is_empty(), "not compared: {left:?}");
}

#[test]
fn a_resnet_of_torchvision_loads_by_name_and_gives_its_logits() {
    let device = Device::open().unwrap();
    let all = reference(&device, "nn_layers");
    let model = ResNet18::new(4, 5, &mut Init::new(&device, 1));
    model.load_state_dict(&below(&all, "resnet.state.")).unwrap();
    model.eval();
    let names: Vec<String> = model.state_dict().into_keys().collect();
    for name in [
        "layer1.0.conv1.weight",
        "layer2.0.downsample.0.weight",
        "bn1.running_mean",
        "layer4.1.bn2.num_batches_tracked",
    ] {
        assert!(names.iter().any(|n| n == name), "no {name} in {names:?}");
    }
    let y = model.forward(&all["resnet.x"]);
    // as PyTorch's own float32 differs from float64 over 18 layers
    let error = worst(&y.to_vec::<f32>().unwrap(), &all["resnet.y"].to_vec::<f32>().unwrap());
    assert!(error <= 1e-4, "logits off by {error:e}");
}

#[test]
fn tied_weights_are_one_parameter_under_two_names() {
    #[derive(Module)]
    struct Tied {
        embed: Embedding,
        head: nn::Linear,
    }
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let embed = Embedding::new(5, 3, &mut init);
    let head = nn::Linear::of(embed.weight.clone(), None);
    let model = Tied { embed, head };
    assert_eq!(model.parameters().len(), 1);
    assert_eq!(model.state_dict().into_keys().collect::<Vec<_>>(), ["embed.weight", "head.weight"]);

    let index = Tensor::new(&device, [1i32, 4]);
    let mut sgd = Sgd::new(&model, 0.1);
    let before = model.embed.weight.to_vec::<f32>().unwrap();
    sgd.step(&cross_entropy(&model.head.forward(&model.embed.forward(&index)), &index)).unwrap();
    let after = model.embed.weight.to_vec::<f32>().unwrap();
    assert!(before != after && model.head.weight.to_vec::<f32>().unwrap() == after);
}

#[test]
fn what_is_dropped_and_what_is_kept() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 5);
    let planes = |layer: &dyn Forward, shape: &[usize], kept: usize| {
        let y = layer.forward(&Tensor::ones(&device, shape)).to_vec::<f32>().unwrap();
        let rows: Vec<&[f32]> = y.chunks(kept).collect();
        assert!(rows.iter().all(|row| row.iter().all(|v| *v == row[0])), "planes are whole");
        let zeros = rows.iter().filter(|row| row[0] == 0.0).count() as f64 / rows.len() as f64;
        assert!((zeros - 0.5).abs() < 0.12 && y.iter().all(|&v| v == 0.0 || v == 2.0), "{zeros} dropped");
    };
    planes(&Dropout1d::new(0.5, &mut init), &[30, 20, 4], 4);
    planes(&Dropout1d::new(0.5, &mut init), &[600, 4], 4);
    planes(&Dropout2d::new(0.5, &mut init), &[30, 20, 2, 3], 6);
    planes(&Dropout3d::new(0.5, &mut init), &[30, 20, 2, 3, 2], 12);
    planes(&StochasticDepth::new(0.5, DropMode::Row, &mut init), &[600, 5], 5);

    let x = Rng::new(&device, 3).normal([200, 100]);
    for p in [0.2f32, 0.5] {
        // mean 0 and variance 1 stay: within 5 standard errors of 20,000 numbers
        let y = AlphaDropout::new(p, &mut init).forward(&x).to_vec::<f64>().unwrap();
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        let var = y.iter().map(|v| v * v).sum::<f64>() / y.len() as f64 - mean * mean;
        assert!(mean.abs() < 0.04 && (var - 1.0).abs() < 0.06, "mean {mean}, variance {var}");
    }
    let y = FeatureAlphaDropout::new(0.5, &mut init).forward(&Tensor::ones(&device, [30, 20, 4]));
    let kinds: BTreeSet<u32> = y.to_vec::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    assert_eq!(kinds.len(), 2);

    let batch = StochasticDepth::new(0.5, DropMode::Batch, &mut init);
    let draws: Vec<f32> =
        (0..40).map(|_| batch.forward(&Tensor::ones(&device, [3])).to_vec::<f32>().unwrap()[0]).collect();
    assert!(draws.contains(&0.0) && draws.contains(&2.0), "{draws:?}");

    let slopes = RRelu::new(&mut init);
    let y = slopes.forward(&Tensor::full(&device, [500], -1.0)).to_vec::<f32>().unwrap();
    assert!(y.iter().all(|v| (-1.0 / 3.0 - 1e-6..=-0.125).contains(v)) && y[0] != y[1], "{:?}", &y[..4]);
    slopes.eval();
    let y = slopes.forward(&Tensor::new(&device, [-1.0, 2.0])).to_vec::<f32>().unwrap();
    assert!((y[0] + 0.229_166_67).abs() < 1e-6 && y[1] == 2.0);
}

/// As PyTorch does: nobody looks at the channels of nothing, which counts as a batch and moves no statistics.
#[test]
fn a_batch_norm_of_nothing() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    for shape in [[0usize, 3, 2, 2], [0, 4, 2, 2], [2, 4, 0, 2], [2, 0, 2, 2]] {
        let norm = BatchNorm2d::new(3, &mut init);
        for (training, seen) in [(true, 1), (false, 1)] {
            if !training {
                norm.eval();
            }
            let x = Tensor::zeros(&device, shape);
            let y = norm.forward(&x);
            assert_eq!(y.shape().unwrap().to_vec(), shape);
            let gradients = y.sum().backward().unwrap();
            for param in norm.parameters() {
                assert_eq!(gradients.get(&param).unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
            }
            y.eval().unwrap();
            let running = norm.running.as_ref().unwrap();
            assert_eq!(running.num_batches_tracked.to_vec::<i32>().unwrap(), [seen], "{shape:?}");
            assert_eq!(running.running_mean.to_vec::<f32>().unwrap(), [0.0; 3]);
            assert_eq!(running.running_var.to_vec::<f32>().unwrap(), [1.0; 3]);
        }
        let free = BatchNorm2d::new(3, &mut init).no_affine().no_tracking();
        let free = free.forward(&Tensor::zeros(&device, shape));
        assert_eq!((free.shape().unwrap().to_vec(), free.to_vec::<f32>().unwrap().len()), (shape.to_vec(), 0));
    }
    assert!(BatchNorm2d::new(3, &mut init).forward(&Tensor::zeros(&device, [0, 3, 2])).eval().is_err());
}

#[test]
fn mixtures_take_their_share() {
    let device = Device::open().unwrap();
    let x = Tensor::from_vec(&device, vec![0.0f32; 16].into_iter().chain(vec![1.0; 16]).collect(), &[2, 1, 4, 4]);
    let order = Tensor::new(&device, [1i32, 0]);
    let mixed = mixup(&x, &order, 0.75).to_vec::<f32>().unwrap();
    assert!(mixed[..16].iter().all(|v| *v == 0.25) && mixed[16..].iter().all(|v| *v == 0.75));
    let (cut, lambda) = cutmix(&x, &order, 0.75, [0.5, 0.5]);
    let cut = cut.to_vec::<f32>().unwrap();
    assert_eq!((cut[..16].iter().sum::<f32>(), lambda), (4.0, 0.75));
    assert!([5, 6, 9, 10].iter().all(|&i| cut[i] == 1.0));
    assert!(cutmix(&x, &order, 1.5, [0.5, 0.5]).0.eval().is_err());
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let (row, image) = (zeros(&[2, 3]), zeros(&[1, 3, 4, 5]));
    let wrong: Vec<Tensor> = vec![
        BatchNorm2d::new(3, &mut init).forward(&row),
        BatchNorm1d::new(3, &mut init).forward(&image),
        BatchNorm2d::new(4, &mut init).forward(&image),
        BatchNorm3d::new(3, &mut init).forward(&image),
        BatchNorm2d::new(3, &mut init).forward(&zeros(&[1, 3, 1, 1])),
        InstanceNorm2d::new(4).affine(&init).forward(&image),
        InstanceNorm2d::new(3).forward(&zeros(&[2, 3, 1, 1])),
        LayerNorm::new(4, &mut init).no_affine().forward(&row),
        LocalResponseNorm::new(3).forward(&row),
        Softmax2d.forward(&row),
        Glu(-1).forward(&row),
        Glu(5).forward(&row),
        PRelu::new(2, &mut init).forward(&row),
        Dropout2d::new(0.5, &mut init).forward(&zeros(&[3])),
        Dropout::new(1.5, &mut init).forward(&row),
        PixelShuffle(2).forward(&image),
        PixelShuffle(0).forward(&image),
        PixelShuffle(1 << 40).forward(&image),
        PixelUnshuffle(2).forward(&image),
        ChannelShuffle(2).forward(&image),
        Unflatten::new(1, [2, 2]).forward(&row),
        Unflatten::new(7, [2, 2]).forward(&row),
        Unflatten::new(1, [i64::MAX, 2]).forward(&row),
        ReflectionPad2d::new([1, 2, 3]).forward(&image),
        CircularPad2d::new(6).forward(&image),
        ReflectionPad2d::new(5).forward(&image),
        Conv2d::new(3, 2, 3, &mut init).padding(9).padding_mode(PaddingMode::Reflect).forward(&image),
        Conv2d::new(3, 2, 1, &mut init).same().stride(3).padding_mode(PaddingMode::Reflect).forward(&image),
        ConvTranspose2d::new(3, 2, 3, &mut init).stride(2).forward_to(&image, [4, 5]),
        ConvTranspose2d::new(3, 2, 3, &mut init).forward_to(&image, [4]),
        ConvTranspose3d::new(1, 1, [2, 2], &mut init).forward_to(&zeros(&[1, 1, 2, 2, 2]), [3, 3, 3]),
        ConvTranspose2d::new(3, 2, 3, &mut init).stride(1i64 << 62).forward_to(&image, [9, 9]),
        Upsample::to([0, 2]).forward(&image),
        Upsample::by(0.01).forward(&image),
        Upsample::to(1usize << 40).forward(&image),
        Upsample::to(3).forward(&row),
        Upsample::to(3).mode(Bicubic).forward(&zeros(&[1, 2, 3])),
        Upsample::to(3).align_corners().forward(&image),
        Bilinear::new(3, 4, 2, &mut init).forward(&row, &row),
        EmbeddingBag::new(4, 2, BagMode::Mean, &mut init).forward(&Tensor::new(&device, [1i32])),
        EmbeddingBag::new(4, 2, BagMode::Mean, &mut init)
            .weighted(&Tensor::new(&device, [[1i32]]), Some(&zeros(&[1, 1]))),
        Embedding::padded(4, 2, 4, &mut init).forward(&Tensor::new(&device, [1i32])),
        EmbeddingBag::new(4, 2, BagMode::Sum, &mut init).padding(9).forward(&Tensor::new(&device, [[1i32]])),
        affine_grid(&zeros(&[1, 2, 3]), &[1 << 40, 1 << 40], false),
        cdist(&row, &zeros(&[2, 4]), 2.0),
        cdist(&row, &row, -1.0),
        loss::mse_loss(&row, &image),
    ];
    for (index, tensor) in wrong.iter().enumerate() {
        let error = match tensor.eval() {
            Err(error) => error,
            Ok(()) => panic!("number {index} was taken"),
        };
        let typed = matches!(error, Error::Shape { .. } | Error::Argument { .. } | Error::Axis { .. });
        assert!(typed && error.to_string().contains("tests/nn_layers.rs"), "number {index}: {error}");
    }
    assert!(SpectralNorm::new(Conv1d::new(1, 1, 1, &mut init), &mut init).is_ok());
}
