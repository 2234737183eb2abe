//! What the derive writes: paths, modes, lists, freezing, loading.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::nn::{StateDict, functional_call};
use kiln::prelude::*;

#[derive(Module)]
struct Block {
    norm: BatchNorm1d,
    linear: Linear,
    drop: Dropout,
}

#[derive(Module)]
enum Head {
    Plain(Linear),
    Wide {
        first: Linear,
        second: Linear,
    },
    #[allow(dead_code)]
    Nothing,
}

#[derive(Module)]
struct Wrapper(Sequential);

#[derive(Module)]
struct Pair(Linear, Linear);

#[derive(Module)]
struct Nothing;

#[derive(Module)]
struct Model<A> {
    layers: Vec<Block>,
    r#type: usize,
    #[module(flatten)]
    inner: Wrapper,
    #[module(skip)]
    _skipped: std::cell::Cell<u8>,
    #[module(name = "self_attn")]
    attention: Pair,
    head: Head,
    option: Option<Linear>,
    none: Option<Linear>,
    boxed: Box<dyn Forward>,
    tuple: (Linear, f32),
    array: [Linear; 2],
    activation: A,
    name: String,
    unit: Nothing,
}

fn linear(init: &mut Init) -> Linear {
    Linear::no_bias(2, 2, init)
}

fn model(init: &mut Init) -> Model<Relu> {
    let mut block = || Block { norm: BatchNorm1d::new(2, init), linear: linear(init), drop: Dropout::new(0.5, init) };
    let layers = vec![block(), block()];
    Model {
        layers,
        r#type: 3,
        inner: Wrapper(Sequential::new().push(Relu).push(linear(init))),
        _skipped: std::cell::Cell::new(0),
        attention: Pair(linear(init), linear(init)),
        head: Head::Wide { first: linear(init), second: linear(init) },
        option: Some(linear(init)),
        none: None,
        boxed: Box::new(linear(init)),
        tuple: (linear(init), 1.0),
        array: [linear(init), linear(init)],
        activation: Relu,
        name: "model".into(),
        unit: Nothing,
    }
}

#[test]
fn paths_are_those_of_a_state_dict() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let model = model(&mut init);
    let names: Vec<String> = model.named_parameters().into_iter().map(|(name, _)| name).collect();
    let want = [
        "layers.0.norm.weight",
        "layers.0.norm.bias",
        "layers.0.linear.weight",
        "layers.1.norm.weight",
        "layers.1.norm.bias",
        "layers.1.linear.weight",
        "1.weight",
        "self_attn.0.weight",
        "self_attn.1.weight",
        "head.first.weight",
        "head.second.weight",
        "option.weight",
        "boxed.weight",
        "tuple.0.weight",
        "array.0.weight",
        "array.1.weight",
    ];
    assert_eq!(names, want);
    let states: Vec<String> = model.named_states().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        states[..3],
        ["running_mean", "running_var", "num_batches_tracked"].map(|n| format!("layers.0.norm.{n}"))
    );
    let counters: Vec<String> = model.named_counters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(counters, ["layers.0.drop", "layers.1.drop"]);
    assert_eq!(model.state_dict().len(), want.len() + 6);
    assert_eq!(model.num_parameters(), 12 * 4 + 4 * 2);
    let _ = (model.r#type, &model.name, &model.activation, &model.unit, &model.none);

    let head = Head::Plain(linear(&mut init));
    assert_eq!(head.named_parameters()[0].0, "weight");
    assert!(Head::Nothing.parameters().is_empty());
}

#[test]
fn a_shared_parameter_is_trained_once_and_saved_under_both_names() {
    let device = Device::open().unwrap();
    let first = Embedding::new(3, 2, &mut Init::new(&device, 0));
    let second = Linear::of(first.weight.clone(), None);
    let tied = (first, second);
    assert_eq!(tied.parameters().len(), 1);
    assert_eq!(tied.state_dict().into_keys().collect::<Vec<_>>(), ["0.weight", "1.weight"]);
}

#[test]
fn train_and_eval_reach_every_layer() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let block =
        Block { norm: BatchNorm1d::new(2, &mut init), linear: linear(&mut init), drop: Dropout::new(0.5, &mut init) };
    let x = Tensor::new(&device, [[1.0f32, 2.0], [3.0, -4.0]]);
    let forward = || block.drop.forward(&block.linear.forward(&block.norm.forward(&x))).to_vec::<f32>().unwrap();
    let statistics = || block.norm.running.as_ref().unwrap().running_mean.to_vec::<f32>().unwrap();

    block.eval();
    let quiet = forward();
    assert_eq!((forward(), statistics()), (quiet.clone(), vec![0.0, 0.0]));
    block.train();
    assert_ne!(forward(), quiet);
    assert_eq!(statistics(), [0.2, -0.1]);
    assert_eq!(block.norm.running.as_ref().unwrap().num_batches_tracked.to_vec::<i32>().unwrap(), [1]);
}

#[test]
fn a_state_dict_that_does_not_fit_is_reported_whole_and_changes_nothing() {
    let device = Device::open().unwrap();
    let mut init = Init::new(&device, 0);
    let model = (Linear::new(2, 3, &mut init), BatchNorm1d::new(3, &mut init));
    let before: Vec<Vec<f32>> = model.state_dict().values().map(|t| t.to_vec().unwrap()).collect();
    let mut dict: StateDict = model.state_dict().into_iter().map(|(name, t)| (name, t.ones_like())).collect();
    dict.remove("1.running_var");
    dict.insert("2.weight".into(), Tensor::ones(&device, [1]));
    dict.insert("0.weight".into(), Tensor::ones(&device, [2, 3]));

    let error = model.load_state_dict(&dict).unwrap_err();
    let Error::State(report) = &error else { panic!("{error}") };
    assert_eq!(report.missing, ["1.running_var"]);
    assert_eq!(report.unexpected, ["2.weight"]);
    assert_eq!(report.mismatched, [("0.weight".to_string(), vec![3, 2], vec![2, 3])]);
    for part in ["1.running_var", "2.weight", "0.weight"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let after: Vec<Vec<f32>> = model.state_dict().values().map(|t| t.to_vec().unwrap()).collect();
    assert_eq!(before, after);

    let report = model.load_matching(&dict).unwrap();
    assert_eq!(report.missing.len() + report.unexpected.len() + report.mismatched.len(), 3);
    assert_eq!(model.0.bias.as_ref().unwrap().to_vec::<f32>().unwrap(), [1.0; 3]);
    assert_eq!(model.0.weight.to_vec::<f32>().unwrap(), before[1]);
}

#[test]
fn a_state_dict_is_a_snapshot() {
    let device = Device::open().unwrap();
    let model = Linear::new(2, 1, &mut Init::new(&device, 0));
    let snapshot = model.state_dict();
    let before = model.weight.to_vec::<f32>().unwrap();
    let mut sgd = Sgd::new(&model, 0.5);
    for _ in 0..3 {
        sgd.step(&model.forward(&Tensor::ones(&device, [1, 2])).sum()).unwrap();
    }
    assert_ne!(model.weight.to_vec::<f32>().unwrap(), before);
    assert_eq!(snapshot["weight"].to_vec::<f32>().unwrap(), before);
    model.load_state_dict(&snapshot).unwrap();
    assert_eq!(model.weight.to_vec::<f32>().unwrap(), before);
}

#[test]
fn a_module_runs_with_other_tensors_in_the_place_of_its_own() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 3);
    let linear = Linear::new(2, 2, init);
    let shared = Linear::of(linear.weight.clone(), None);
    let pair = Pair(linear, shared);
    let x = Tensor::new(&device, [[1.0, 2.0]]);
    let numbers = |t: &Tensor| t.to_vec::<f32>().unwrap();
    let run = || (pair.0.forward(&x), pair.1.forward(&x));
    let (before, _) = run();

    let eye = Tensor::eye(&device, 2);
    let bias = Tensor::new(&device, [10.0, 20.0]);
    let values = StateDict::from([("0.weight".to_string(), eye.clone()), ("0.bias".to_string(), bias.clone())]);
    let (first, second) = functional_call(&pair, &values, run).unwrap();
    assert_eq!((numbers(&first), numbers(&second)), (vec![11.0, 22.0], vec![1.0, 2.0])); // the second shares its weight
    assert_eq!(numbers(&run().0), numbers(&before));
    // gradients reach what stands there, and not the parameter
    assert_eq!(first.sum().backward().unwrap().len(), 0);
    let slopes = first.sum().grad(&[&eye, &bias]).unwrap();
    assert_eq!((numbers(&slopes[0]), numbers(&slopes[1])), (vec![1.0, 2.0, 1.0, 2.0], vec![1.0, 1.0]));
    // one inside of another adds to it
    let zero = StateDict::from([("0.bias".to_string(), Tensor::zeros(&device, [2]))]);
    let inner = functional_call(&pair, &values, || functional_call(&pair, &zero, run).unwrap().0).unwrap();
    assert_eq!(numbers(&inner), [1.0, 2.0]);

    let with = |path: &str, value: Tensor| StateDict::from([(path.to_string(), value)]);
    for bad in [with("2.weight", eye.clone()), with("0.bias", Tensor::zeros(&device, [3]))] {
        assert!(matches!(functional_call(&pair, &bad, run), Err(Error::State(_))));
    }
    let integers = with("0.bias", Tensor::new(&device, [1i32, 2]));
    assert!(matches!(functional_call(&pair, &integers, run), Err(Error::DType { .. })));
    assert!(matches!(functional_call(&pair, &with("0.bias", eye.matmul(&x)), run), Err(Error::Shape { .. })));
}

#[test]
fn a_buffer_that_is_stood_for_stays_as_it_is() {
    let device = Device::open().unwrap();
    let norm = BatchNorm1d::new(2, &mut Init::new(&device, 0));
    let x = Tensor::new(&device, [[1.0, 5.0], [3.0, 9.0]]);
    let mean = || norm.state_dict()["running_mean"].to_vec::<f32>().unwrap();
    let values = StateDict::from([("running_mean".to_string(), Tensor::new(&device, [7.0, 7.0]))]);
    functional_call(&norm, &values, || norm.forward(&x)).unwrap().eval().unwrap();
    assert_eq!(mean(), [0.0, 0.0]);
    norm.eval();
    let y = functional_call(&norm, &values, || norm.forward(&x)).unwrap();
    let variance = 0.9 + 0.1 * 2.0; // the buffer beside it followed the first batch
    assert!((y.to_vec::<f64>().unwrap()[0] - (1.0 - 7.0) / f64::sqrt(variance + 1e-5)).abs() < 1e-5);
    norm.train();
    // a buffer that is not named changes as ever
    let weight = StateDict::from([("weight".to_string(), Tensor::zeros(&device, [2]))]);
    functional_call(&norm, &weight, || norm.forward(&x)).unwrap().eval().unwrap();
    assert!(mean().iter().zip([0.2, 0.7]).all(|(got, want)| (got - want).abs() < 1e-6));
}

#[test]
fn parameters_stand_on_either_side_of_a_number() {
    let device = Device::open().unwrap();
    let p = Init::new(&device, 0).constant(&[2], 3.0);
    let mask = Init::new(&device, 0).state(&Tensor::new(&device, [true, false]));
    for (got, want) in [(1.0 - &p, -2.0), (2 * &p, 6.0), (-&p, -3.0), (6.0 / &p, 2.0)] {
        assert_eq!(got.to_vec::<f32>().unwrap(), [want; 2]);
    }
    // a literal has a type before anything is known of the rest
    assert_eq!((1.0 - p.square()).abs().to_vec::<f32>().unwrap(), [8.0; 2]);
    assert_eq!((!&mask).to_vec::<f32>().unwrap(), [0.0, 1.0]);
    assert_eq!(Tensor::cat(&[&p, &p], 0).shape().unwrap(), [4]);
}

#[test]
fn ranges_are_pythons() {
    let x = Tensor::arange(&Device::open().unwrap(), 0, 5, 1);
    let numbers = |t: Tensor| t.to_vec::<i32>().unwrap();
    assert_eq!(numbers(x.range(0, 1..)), [1, 2, 3, 4]);
    assert_eq!(numbers(x.range(0, ..-1)), [0, 1, 2, 3]);
    assert_eq!(numbers(x.range(0, -2..)), [3, 4]);
    assert_eq!(numbers(x.range(0, 1..=2)), [1, 2]);
    assert_eq!(numbers(x.range(0, ..=-1)), [0, 1, 2, 3, 4]);
    assert_eq!(numbers(x.range(0, ..=-2)), [0, 1, 2, 3]);
    assert_eq!(numbers(x.range(0, 3..99)), [3, 4]);
    assert_eq!(numbers(x.range(0, ..)), [0, 1, 2, 3, 4]);
    let (from, to) = (4, -3);
    assert_eq!(x.range(0, from..to).shape().unwrap(), [0]);
    assert_eq!(x.range(0, i64::MIN..i64::MAX).shape().unwrap(), [5]);
}

#[test]
fn initialisers_have_their_moments_and_follow_their_seed() {
    let device = Device::open().unwrap();
    type Draw<'a> = &'a dyn Fn(&mut Init) -> Param;
    let values = |draw: Draw| draw(&mut Init::new(&device, 9)).to_vec::<f64>().unwrap();
    let deviation = |values: &[f64]| (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt();
    let rows: &[(&str, Draw, f64)] = &[
        ("uniform", &|i| i.uniform(&[100, 100], -1.0..1.0), 1.0 / 3f64.sqrt()),
        ("normal", &|i| i.normal(&[100, 100], 0.0, 2.0), 2.0),
        ("fan_in_uniform", &|i| i.fan_in_uniform(&[100, 100], 100), 0.1 / 3f64.sqrt()),
        ("xavier_uniform", &|i| i.xavier_uniform(&[60, 140], 1.0), 0.1),
        ("xavier_normal", &|i| i.xavier_normal(&[60, 140], 2.0), 0.2),
        ("kaiming_uniform", &|i| i.kaiming_uniform(&[100, 50, 2, 2], 0.0), 0.1),
        ("kaiming_normal", &|i| i.kaiming_normal(&[100, 100], 1.0), 0.1),
        ("orthogonal", &|i| i.orthogonal(&[100, 100], 1.0), 0.1),
        // the deviation of a standard normal cut at ±1
        ("trunc_normal", &|i| i.trunc_normal(&[100, 100], 0.0, 1.0, -1.0..1.0), 0.5396),
    ];
    for (name, draw, want) in rows {
        let drawn = values(draw);
        let got = deviation(&drawn);
        assert!((got / want - 1.0).abs() < 0.03, "{name}: deviation {got}, not {want}");
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        assert!(mean.abs() < 4.0 * want / (drawn.len() as f64).sqrt(), "{name}: mean {mean}");
        assert_eq!(drawn, values(draw), "{name}");
    }

    for shape in [[3usize, 5], [5, 3]] {
        let w = Init::new(&device, 1).orthogonal(&shape, 2.0);
        let product = if shape[0] < shape[1] { w.matmul(&w.t()) } else { w.t().matmul(&w) };
        let error = (product - Tensor::eye(&device, 3) * 4.0).abs().max().item().unwrap();
        assert!(error < 1e-5, "{shape:?}: {error}");
    }
    assert!(values(&|i| i.trunc_normal(&[10], 0.0, 1.0, 5e9..6e9)).iter().all(|&v| v >= 4.9e9));
    assert!(values(&|i| i.zeros(&[3])).iter().all(|&v| v == 0.0) && values(&|i| i.constant(&[2], 2.5)) == [2.5, 2.5]);
}
