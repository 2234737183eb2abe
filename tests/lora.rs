//! Low-rank adapters on layers of a model, and freezing by patterns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln::nn::{Gpt2, Gpt2Options, LoraOptions};
use kiln::prelude::*;
use support::worst;

/// A temporary file, gone at the end.
struct File(std::path::PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("kiln-lora-{name}-{}.safetensors", std::process::id())))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn gpt(device: &Device, seed: u64) -> Gpt2 {
    let sizes = Gpt2Options { vocabulary: 19, context: 8, width: 16, layers: 2, heads: 2, dropout: 0.0 };
    Gpt2::new(sizes, &mut Init::new(device, seed))
}

fn tokens(device: &Device) -> Tensor {
    Tensor::new(device, [[3i32, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]])
}

fn loss(gpt: &Gpt2, tokens: &Tensor) -> Tensor {
    let (now, next) = (tokens.narrow(1, 0, 7), tokens.narrow(1, 1, 7));
    cross_entropy(&gpt.forward(&now).flatten(0, 1), &next.flatten(0, 1))
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec().unwrap()
}

/// A pretrained model as a file, adapters on its products, training, the adapter's own file, another process's model,
/// merging: each compared with the one before.
#[test]
fn adapters_of_a_loaded_model_train_save_load_and_merge() {
    let device = Device::open().unwrap();
    let (base, file) = (File::new("base"), File::new("adapter"));
    store::save(&gpt(&device, 1), &base.0).unwrap();
    let model = gpt(&device, 2);
    store::load(&model, &base.0).unwrap();
    let x = tokens(&device);
    let before = values(&model.forward(&x));
    let weights: Vec<_> = model.state_dict().into_iter().map(|(name, value)| (name, values(&value))).collect();

    let mut init = Init::new(&device, 3);
    let options = LoraOptions { rank: 4, alpha: 8.0, dropout: 0.0 };
    let lora = Lora::attach(&model, &["h.*.attn.c_attn", "h.1.mlp.c_*"], options, &mut init).unwrap();
    assert_eq!(lora.paths(), ["h.0.attn.c_attn", "h.1.attn.c_attn", "h.1.mlp.c_fc", "h.1.mlp.c_proj"]);
    // 2 × (16 → 48), 16 → 64, 64 → 16, each through 4
    assert_eq!(lora.num_parameters(), 4 * (2 * (16 + 48) + 2 * (16 + 64)));
    assert_eq!(values(&model.forward(&x)), before, "B is zero: nothing changes");
    let trained = model.parameters().iter().filter(|p| p.trainable()).count();
    assert_eq!((trained, lora.parameters().len()), (8, 8));

    let mut adam = AdamW::new(&lora, 5e-2);
    let first = loss(&model, &x).item().unwrap();
    for _ in 0..30 {
        adam.step(&loss(&model, &x)).unwrap();
    }
    let last = loss(&model, &x).item().unwrap();
    // logits from an untrained table of tokens cannot be large
    assert!(last < 0.95 * first, "{first} to {last}");
    for (name, value) in &weights {
        assert_eq!(&values(&model.state_dict()[name]), value, "{name} was to be frozen");
    }
    let adapted = values(&model.forward(&x));
    assert!(worst(&adapted, &before) > 1e-2);

    lora.save(&file.0).unwrap();
    let (names, _) = store::load_tensors(&device, &file.0).unwrap();
    assert_eq!(names.len(), 8);
    assert_eq!(names["base_model.model.h.1.mlp.c_fc.lora_A.weight"].shape().unwrap(), [4, 16]);
    assert_eq!(names["base_model.model.h.1.mlp.c_fc.lora_B.weight"].shape().unwrap(), [64, 4]);

    let other = gpt(&device, 4);
    store::load(&other, &base.0).unwrap();
    let loaded = Lora::load(&other, &file.0, &mut init).unwrap();
    assert_eq!(values(&other.forward(&x)), adapted, "the file is the whole of what was learned");
    loaded.detach();
    assert_eq!(values(&other.forward(&x)), before);
    assert!(other.parameters().iter().all(|p| p.trainable()));

    lora.merge().unwrap();
    assert!(worst(&values(&model.forward(&x)), &adapted) < 1e-5, "merged is unmerged");
    let after: Vec<String> = model.state_dict().into_keys().collect();
    assert_eq!(after, weights.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
    assert!(model.parameters().iter().all(|p| p.trainable()));
}

/// y = x·Wᵀ + b + (x·Aᵀ)·Bᵀ · alpha/rank, in f64, and the gradients of A and B alone.
#[test]
fn an_adapted_layer_is_its_formula() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 5);
    let layer = Linear::new(3, 2, &mut init);
    let options = LoraOptions { rank: 2, alpha: 5.0, dropout: 0.0 };
    let lora = Lora::attach(&layer, &[""], options, &mut init).unwrap();
    let numbers = |seed, shape: [usize; 2]| Rng::new(&device, seed).normal(shape);
    let (a, b, x) = (numbers(1, [2, 3]), numbers(2, [2, 2]), numbers(3, [4, 3]));
    let dict = [("base_model.model..lora_A.weight", &a), ("base_model.model..lora_B.weight", &b)];
    let names: Vec<String> = lora.state_dict().into_keys().collect();
    let dict = dict.iter().zip(&names).map(|((_, t), name)| (name.clone(), (*t).clone())).collect();
    lora.load_state_dict(&dict).unwrap();

    let f64s = |t: &Tensor| values(t).into_iter().map(f64::from).collect::<Vec<f64>>();
    let (w, bias, a, b, rows) = (f64s(&layer.weight), f64s(layer.bias.as_ref().unwrap()), f64s(&a), f64s(&b), f64s(&x));
    let want: Vec<f32> = rows
        .chunks(3)
        .flat_map(|x| {
            let thin: Vec<f64> = a.chunks(3).map(|a| a.iter().zip(x).map(|(a, x)| a * x).sum()).collect();
            (0..2)
                .map(|o| {
                    let plain: f64 = (0..3).map(|i| w[o * 3 + i] * x[i]).sum();
                    let low: f64 = (0..2).map(|r| b[o * 2 + r] * thin[r]).sum();
                    (plain + bias[o] + 2.5 * low) as f32
                })
                .collect::<Vec<f32>>()
        })
        .collect();
    assert!(worst(&values(&layer.forward(&x)), &want) < 1e-5);

    let gradients = layer.forward(&x).square().sum().backward().unwrap();
    assert_eq!(gradients.len(), 2, "of A and B");
    let h = 1e-3;
    for param in lora.parameters() {
        let got = values(&gradients.get(&param).unwrap());
        let start = values(&param);
        let shape = param.shape().unwrap();
        for at in 0..start.len() {
            let at_step = |step: f32| {
                let mut moved = start.clone();
                moved[at] += step;
                param.set(&Tensor::from_vec(&device, moved, &shape)).unwrap();
                f64::from(layer.forward(&x).square().sum().item().unwrap())
            };
            let slope = (at_step(h) - at_step(-h)) / f64::from(2.0 * h);
            // f32 sums of about 100, differences of 1e-3: the slope itself is good to 1e-2
            assert!((slope - f64::from(got[at])).abs() < 2e-2 * (1.0 + slope.abs()), "{slope} and {}", got[at]);
        }
        param.set(&Tensor::from_vec(&device, start, &shape)).unwrap();
    }
}

#[test]
fn dropout_of_an_adapter_is_for_training() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 6);
    let layer = Linear::no_bias(64, 1, &mut init);
    let options = LoraOptions { rank: 1, alpha: 1.0, dropout: 0.5 };
    let lora = Lora::attach(&layer, &["**"], options, &mut init).unwrap();
    lora.parameters()[1].set(&Tensor::ones(&device, [1, 1])).unwrap();
    let x = Tensor::ones(&device, [8, 64]);
    let spread = |y: Vec<f32>| y.iter().fold(0.0f32, |most, v| most.max((v - y[0]).abs()));
    assert!(spread(values(&layer.forward(&x))) > 1e-3);
    layer.eval();
    assert!(spread(values(&layer.forward(&x))) < 1e-5);
}

#[test]
fn what_is_refused_changes_nothing() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 7);
    let model = Sequential::new().push(Linear::new(4, 8, &mut init)).push(Relu).push(Linear::new(8, 2, &mut init));
    let attach = |patterns: &[&str], rank| {
        let options = LoraOptions { rank, ..Default::default() };
        Lora::attach(&model, patterns, options, &mut Init::new(&device, 8))
    };
    for (patterns, rank) in [(&["0"][..], 0), (&[], 2), (&["0", "nothing"], 2), (&["1"], 2), (&["0.weight"], 2)] {
        assert!(matches!(attach(patterns, rank), Err(Error::Argument { op: "lora", .. })), "{patterns:?} {rank}");
        assert!(model.parameters().iter().all(|p| p.trainable()));
        assert_eq!(model.parameters().len(), 4);
    }
    let lora = attach(&["0"], 2).unwrap();
    assert!(matches!(attach(&["**"], 2), Err(Error::Argument { .. })), "it has one already");
    let file = File::new("refused");
    lora.save(&file.0).unwrap();
    lora.detach();
    // not a model with such layers; not of these sizes; not an adapter's file
    let mut load = |model: &Sequential, file: &File| Lora::load(model, &file.0, &mut init).map(drop);
    assert!(matches!(load(&Sequential::new().push(Relu), &file), Err(Error::Argument { .. })));
    let wide = Sequential::new().push(Linear::new(5, 8, &mut Init::new(&device, 9)));
    assert!(matches!(load(&wide, &file), Err(Error::State(_))));
    assert!(wide.parameters().len() == 2 && wide.parameters().iter().all(|p| p.trainable()));
    store::save(&model, &file.0).unwrap();
    assert!(matches!(load(&model, &file), Err(Error::File { .. })));
}

#[test]
fn layers_freeze_by_pattern() {
    let device = Device::open().unwrap();
    let model = gpt(&device, 10);
    let trained = || -> Vec<String> {
        model.named_parameters().into_iter().filter(|(_, p)| p.trainable()).map(|(path, _)| path).collect()
    };
    assert_eq!(model.freeze_matching("h.0").unwrap(), 12);
    assert_eq!(model.freeze_matching("w*").unwrap(), 2);
    assert!(
        trained().iter().all(|path| path.starts_with("h.1.") || path.starts_with("ln_f.")) && trained().len() == 14
    );
    model.freeze();
    assert_eq!(model.unfreeze_matching("**.bias").unwrap(), 13);
    assert!(trained().iter().all(|path| path.ends_with(".bias")));
    for wrong in ["h.2", "wte.weigh", "", "h.0.attn.c_attn.weight.x"] {
        let refused = Err(())
            == model.freeze_matching(wrong).map(drop).map_err(|error| {
                assert!(matches!(error, Error::Argument { name: "pattern", .. }), "{error}");
            });
        assert!(refused, "{wrong}");
    }
    // what is frozen stays as it is
    let before: Vec<_> = model.named_parameters().into_iter().map(|(path, p)| (path, values(&p))).collect();
    let mut sgd = Sgd::new(&model, 0.5);
    sgd.step(&loss(&model, &tokens(&device))).unwrap();
    for ((path, before), (_, param)) in before.iter().zip(model.named_parameters()) {
        assert_eq!(*before == values(&param), !path.ends_with(".bias"), "{path}");
    }
}

/// Adapters that PEFT has saved (scripts/reference_peft.py, which also checks that PEFT reads what is saved here).
#[test]
fn adapters_of_pefts_go_both_ways() {
    let device = Device::open().unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/files/peft");
    let (mut base, _) = store::load_tensors(&device, folder.join("model.safetensors")).unwrap();
    let (x, want) = (base.remove("tokens").unwrap(), base.remove("adapted").unwrap());
    let init = &mut Init::new(&device, 11);
    let model = gpt(&device, 12);
    model.load_state_dict(&base).unwrap();
    model.eval();
    let before = values(&model.forward(&x));
    let lora = Lora::load_peft(&model, &folder, init).unwrap();
    assert_eq!(lora.paths(), ["h.0.attn.c_attn", "h.0.mlp.c_proj", "h.1.attn.c_attn", "h.1.mlp.c_proj"]);
    let error = worst(&values(&model.forward(&x)), &values(&want));
    assert!(error < 1e-5, "{error:e}");
    assert!(worst(&before, &values(&want)) > 1e-2);

    // written again, the file holds the same names and numbers
    let own = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("peft");
    lora.save_peft(&own, "transformer").unwrap();
    let tensors = |folder: &std::path::Path| {
        let (all, _) = store::load_tensors(&device, folder.join("adapter_model.safetensors")).unwrap();
        all.into_iter().map(|(name, tensor)| (name, values(&tensor))).collect::<Vec<_>>()
    };
    assert_eq!(tensors(&own), tensors(&folder));
    lora.detach();
    let again = Lora::load_peft(&model, &own, init).unwrap();
    assert!(worst(&values(&model.forward(&x)), &values(&want)) < 1e-5);
    again.detach();
    assert_eq!(values(&model.forward(&x)), before);

    // what is of another kind is refused, and leaves the model as it was
    let config = std::fs::read_to_string(own.join("adapter_config.json")).unwrap();
    let other = own.with_file_name("peft-refused");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::copy(own.join("adapter_model.safetensors"), other.join("adapter_model.safetensors")).unwrap();
    for (from, to) in [
        ("\"LORA\"", "\"IA3\""),
        ("\"none\"", "\"all\""),
        ("\"r\": 4", "\"r\": 0"),
        ("\"r\": 4", "\"r\": \"4\""),
        ("\"r\": 4", "\"r\": 4, \"use_dora\": true"),
        ("\"r\": 4", "\"r\": 4, \"modules_to_save\": [\"lm_head\"]"),
        ("\"r\": 4", "\"r\": 4, \"rank_pattern\": {\"h.0\": 2}"),
        ("lora_alpha", "alpha"),
        ("{", ""),
    ] {
        assert!(config.contains(from), "{from} in {config}");
        std::fs::write(other.join("adapter_config.json"), config.replacen(from, to, 1)).unwrap();
        let got = Lora::load_peft(&model, &other, init).map(drop);
        assert!(matches!(got, Err(Error::File { .. })), "{to}: {got:?}");
    }
    std::fs::write(other.join("adapter_config.json"), config.replacen("\"r\": 4", "\"r\": 3", 1)).unwrap();
    assert!(matches!(Lora::load_peft(&model, &other, init).map(drop), Err(Error::State(_))));
    let small = Sequential::new().push(Linear::new(4, 4, init));
    assert!(matches!(Lora::load_peft(&small, &own, init).map(drop), Err(Error::File { .. })));
    assert!(matches!(Lora::load_peft(&model, own.join("none"), init).map(drop), Err(Error::File { .. })));
    assert!(model.parameters().iter().all(|p| p.trainable()));
}
