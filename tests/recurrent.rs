//! Recurrent layers and cells against PyTorch in float64: outputs, states, gradients; lengths as in packed
//! sequences.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod sequence;
mod support;

use kiln::nn::{GruCell, LstmCell, Nonlinearity, RecurrentWeights, RnnCell};
use kiln::prelude::*;
use sequence::Reference;
use support::close;

fn options(num_layers: usize, bidirectional: bool) -> RecurrentOptions {
    RecurrentOptions { num_layers, bidirectional, ..Default::default() }
}

/// Outputs and states of any of the three.
enum Layer {
    Rnn(Rnn),
    Lstm(Lstm),
    Gru(Gru),
}

#[test]
fn layers_agree_with_pytorch() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let init = &mut Init::new(&device, 0);
    let relu = RecurrentOptions { nonlinearity: Nonlinearity::Relu, bias: false, ..options(1, true) };
    let first = |o: RecurrentOptions| RecurrentOptions { batch_first: true, ..o };
    let plain = |o: RecurrentOptions| RecurrentOptions { bias: false, ..o };
    let proj = |proj_size, o: RecurrentOptions| RecurrentOptions { proj_size, ..o };
    let cases = [
        ("rnn", Layer::Rnn(Rnn::new(3, 5, init))),
        ("rnn_relu", Layer::Rnn(Rnn::with(3, 5, relu, init))),
        ("rnn_single", Layer::Rnn(Rnn::with(2, 3, options(2, false), init))),
        ("rnn_lengths", Layer::Rnn(Rnn::with(3, 4, options(1, true), init))),
        ("lstm", Layer::Lstm(Lstm::new(3, 5, init))),
        ("lstm_one", Layer::Lstm(Lstm::new(3, 4, init))),
        ("lstm_single", Layer::Lstm(Lstm::with(3, 4, first(options(1, true)), init))),
        ("lstm_proj", Layer::Lstm(Lstm::with(4, 7, proj(3, options(2, true)), init))),
        ("lstm_lengths", Layer::Lstm(Lstm::with(3, 4, first(options(2, true)), init))),
        ("lstm_proj_lengths", Layer::Lstm(Lstm::with(3, 5, plain(proj(2, options(1, false))), init))),
        ("gru", Layer::Gru(Gru::new(3, 5, init))),
        ("gru_first", Layer::Gru(Gru::with(2, 3, first(plain(options(3, false))), init))),
        ("gru_lengths", Layer::Gru(Gru::with(3, 4, options(2, true), init))),
    ];
    for (name, layer) in cases {
        let case = reference.case(&format!("recurrent.{name}"));
        let (x, h0, c0, lengths) = (case.get("x"), case.find("h0"), case.find("c0"), case.find("lengths"));
        let mut inputs = vec![("x", &x)];
        inputs.extend(h0.as_ref().map(|h| ("h0", h)));
        inputs.extend(c0.as_ref().map(|c| ("c0", c)));
        match layer {
            Layer::Rnn(layer) => {
                case.start(&layer);
                let (y, h) = layer.run(&x, h0.as_ref(), lengths.as_ref());
                case.check(&layer, &inputs, &[("y", &y), ("h", &h)]);
            }
            Layer::Gru(layer) => {
                case.start(&layer);
                let (y, h) = layer.run(&x, h0.as_ref(), lengths.as_ref());
                case.check(&layer, &inputs, &[("y", &y), ("h", &h)]);
            }
            Layer::Lstm(layer) => {
                case.start(&layer);
                let (y, (h, c)) = layer.run(&x, h0.as_ref().zip(c0.as_ref()), lengths.as_ref());
                case.check(&layer, &inputs, &[("y", &y), ("h", &h), ("c", &c)]);
            }
        }
    }
}

#[test]
fn cells_agree_with_pytorch() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let init = &mut Init::new(&device, 0);
    for (name, cell) in
        [("rnn", RnnCell::new(3, 4, init)), ("rnn_relu", RnnCell::no_bias(3, 4, init).nonlinearity(Nonlinearity::Relu))]
    {
        let case = reference.case(&format!("cell.{name}"));
        case.start(&cell);
        let (x, h0) = (case.get("x"), case.get("h0"));
        case.check(&cell, &[("x", &x), ("h0", &h0)], &[("h", &cell.forward(&x, Some(&h0)))]);
    }
    for (name, cell) in [("gru", GruCell::new(3, 4, init)), ("gru_fresh", GruCell::no_bias(3, 4, init))] {
        let case = reference.case(&format!("cell.{name}"));
        case.start(&cell);
        let (x, h0) = (case.get("x"), case.find("h0"));
        let inputs: Vec<(&str, &Tensor)> = [("x", &x)].into_iter().chain(h0.iter().map(|h| ("h0", h))).collect();
        case.check(&cell, &inputs, &[("h", &cell.forward(&x, h0.as_ref()))]);
    }
    for (name, cell) in [("lstm", LstmCell::new(3, 4, init)), ("lstm_fresh", LstmCell::no_bias(3, 4, init))] {
        let case = reference.case(&format!("cell.{name}"));
        case.start(&cell);
        let (x, h0, c0) = (case.get("x"), case.find("h0"), case.find("c0"));
        let (h, c) = cell.forward(&x, h0.as_ref().zip(c0.as_ref()));
        let mut inputs = vec![("x", &x)];
        inputs.extend(h0.iter().map(|h| ("h0", h)).chain(c0.iter().map(|c| ("c0", c))));
        case.check(&cell, &inputs, &[("h", &h), ("c", &c)]);
    }
}

#[test]
fn what_lies_past_the_end_does_not_matter() {
    let device = Device::open().unwrap();
    let lstm = Lstm::with(2, 3, options(1, true), &mut Init::new(&device, 1));
    let lengths = Tensor::new(&device, [2i32, 0]);
    let ends = |filler: f32| {
        let mut numbers = vec![0.5f32; 3 * 2 * 2];
        numbers[2..4].fill(filler); // the second row has no steps
        numbers[6..].fill(filler); // step 1 of it, and step 2 of both
        let x = Tensor::from_vec(&device, numbers, &[3, 2, 2]);
        let (y, (h, _)) = lstm.run(&x, None, Some(&lengths));
        let loss = y.square().sum() + h.square().sum();
        let gradients = loss.backward().unwrap();
        let dw = gradients.get(&lstm.layers()[0][0].weight_ih).unwrap().to_vec::<f32>().unwrap();
        (y.to_vec::<f32>().unwrap(), h.to_vec::<f32>().unwrap(), dw)
    };
    let (y, h, dw) = ends(0.0);
    assert_eq!((y.clone(), h.clone(), dw), ends(f32::NAN));
    // [time, batch, 6] and [direction, batch, 3]: the row without steps stays at zero
    assert!((0..3).all(|t| y[t * 12 + 6..t * 12 + 12].iter().all(|&v| v == 0.0)));
    assert!(h[3..6].iter().chain(&h[9..12]).all(|&v| v == 0.0));
    assert!(y[24..].iter().all(|&v| v == 0.0));
}

#[test]
fn dropout_acts_between_layers_while_training() {
    let device = Device::open().unwrap();
    let settings = RecurrentOptions { dropout: 0.5, ..options(2, false) };
    let gru = Gru::with(2, 8, settings, &mut Init::new(&device, 3));
    let x = Tensor::ones(&device, [4, 2, 2]);
    let draw = || gru.forward(&x).to_vec::<f32>().unwrap();
    assert_ne!(draw(), draw());
    gru.eval();
    assert_eq!(draw(), draw());
    assert!(gru.state_dict().keys().all(|name| name.starts_with("weight_") || name.starts_with("bias_")));
}

#[test]
fn gradients_of_slices_join_in_any_order() {
    let device = Device::open().unwrap();
    let x = Tensor::new(&device, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let apart = x.narrow(0, 4, 2).square().sum() + x.narrow(0, 0, 1).square().sum() + x.narrow(0, 2, 1).sum();
    close("apart", &apart.grad(&[&x]).unwrap()[0], &Tensor::new(&device, [2.0, 0.0, 1.0, 0.0, 10.0, 12.0]), 0.0);
    let over = x.narrow(0, 0, 3).sum() + x.narrow(0, 2, 3).square().sum() + x.sum();
    close("over", &over.grad(&[&x]).unwrap()[0], &Tensor::new(&device, [2.0, 2.0, 8.0, 9.0, 11.0, 1.0]), 0.0);
    let y = x.reshape([2, 3]);
    let crossed = y.narrow(0, 1, 1).sum() + y.narrow(1, 1, 1).square().sum();
    close("crossed", &crossed.grad(&[&x]).unwrap()[0], &Tensor::new(&device, [0.0, 4.0, 0.0, 1.0, 11.0, 1.0]), 0.0);
    // the gradient has a gradient: d/dx Σ (3x²)² over the two ends
    let (a, b) = (x.narrow(0, 0, 2), x.narrow(0, 4, 2));
    let cubes = (&a * &a * &a).sum() + (&b * &b * &b).sum();
    let slope = cubes.grad(&[&x]).unwrap().remove(0).square().sum();
    let want: Vec<f32> = [1.0f32, 2.0, 0.0, 0.0, 5.0, 6.0].iter().map(|v| 36.0 * v * v * v).collect();
    close("second", &slope.grad(&[&x]).unwrap()[0], &Tensor::new(&device, want), 1e-6);
}

/// One cell for each step, as a program would write it: the states after every step. Rows past their end keep theirs.
fn by_cells(weights: &RecurrentWeights, gru: bool, x: &Tensor, lengths: &Tensor, reverse: bool) -> Tensor {
    let [steps, batch, inputs] = x.dims().unwrap();
    let hidden = weights.weight_hh.shape().unwrap()[1];
    let init = &mut Init::new(x.device(), 0);
    let zero = Tensor::zeros(x.device(), [batch, hidden]);
    let (mut h, mut c) = (zero.clone(), zero);
    let mut all = vec![h.clone(); steps];
    let (mut gru_cell, mut lstm_cell) = (GruCell::new(inputs, hidden, init), LstmCell::new(inputs, hidden, init));
    for own in [&mut gru_cell.weights, &mut lstm_cell.weights] {
        own.weight_ih = weights.weight_ih.clone();
        own.weight_hh = weights.weight_hh.clone();
        own.bias_ih = weights.bias_ih.clone();
        own.bias_hh = weights.bias_hh.clone();
    }
    for at in 0..steps {
        let t = if reverse { steps - 1 - at } else { at };
        let inside = lengths.gt(t as i32).unsqueeze(-1);
        let x = x.select(0, t as i64);
        let (new_h, new_c) = match gru {
            true => (gru_cell.forward(&x, Some(&h)), c.clone()),
            false => lstm_cell.forward(&x, Some((&h, &c))),
        };
        h = Tensor::where_(&inside, &new_h, &h);
        c = Tensor::where_(&inside, &new_c, &c);
        all[t] = Tensor::where_(&inside, &h, kiln::Lit(0.0));
    }
    Tensor::stack(&all, 0)
}

#[test]
fn kernels_agree_with_cells_and_have_second_gradients() {
    let device = Device::open().unwrap();
    let lengths = Tensor::new(&device, [3i32, 1]);
    let x = Rng::new(&device, 5).normal([3, 2, 2]);
    for gru in [false, true] {
        let init = &mut Init::new(&device, 7);
        let (lstm, layer) = (Lstm::with(2, 3, options(1, true), init), Gru::with(2, 3, options(1, true), init));
        let y = if gru { layer.run(&x, None, Some(&lengths)).0 } else { lstm.run(&x, None, Some(&lengths)).0 };
        let both = if gru { &layer.layers()[0] } else { &lstm.layers()[0] };
        let parts = [0, 1].map(|d| by_cells(&both[d], gru, &x, &lengths, d == 1));
        let want = Tensor::cat(&[&parts[0], &parts[1]], -1);
        close("y", &y, &want, 1e-5);
        let weights: Vec<&Tensor> = both.iter().flat_map(|w| [&**w.weight_hh, &**w.weight_ih]).collect();
        let slopes = |y: &Tensor| {
            let all: Vec<&Tensor> = weights.iter().copied().chain([&x]).collect();
            let first = (y * y).sum().grad(&all).unwrap();
            let bend = first.iter().fold(Tensor::zeros(&device, [0usize; 0]), |sum, g| sum + g.square().sum());
            let second = bend.grad(&all).unwrap();
            first.into_iter().chain(second).collect::<Vec<_>>()
        };
        for (number, (got, want)) in slopes(&y).iter().zip(&slopes(&want)).enumerate() {
            close(&format!("gradient {number}, GRU: {gru}"), got, want, 1e-4);
        }
    }
}

#[test]
fn a_long_sequence_is_one_node() {
    let device = Device::open().unwrap();
    let lstm = Lstm::new(2, 3, &mut Init::new(&device, 0));
    let loss = lstm.forward(&Tensor::ones(&device, [400, 1, 2])).square().sum();
    let dw = loss.grad(&[&lstm.layers()[0][0].weight_hh]).unwrap();
    let before = device.counters().dispatches;
    Tensor::eval_all(&[&loss, &dw[0]]).unwrap();
    // a launch for each step, one more for the start, and a few products
    let spent = device.counters().dispatches - before;
    assert!((801..840).contains(&spent), "{spent} dispatches");
}

/// Layers that are unrolled over time: of half floats, and in mixed precision, with and without a projected state.
#[test]
fn half_floats_are_near_single_ones() {
    let device = Device::open().unwrap();
    if !device.caps().f16 {
        println!("{} has no half precision", device.caps().name);
        return;
    }
    let init = &mut Init::new(&device, 4);
    let both = RecurrentOptions { bidirectional: true, ..Default::default() };
    type Run = Box<dyn Fn(&Tensor, &Tensor) -> Tensor>;
    let layers: [(&str, Run); 4] = [
        ("rnn", {
            let rnn = Rnn::new(3, 5, init);
            Box::new(move |x, lengths| rnn.run(x, None, Some(lengths)).0)
        }),
        ("gru", {
            let gru = Gru::with(3, 5, both.clone(), init);
            Box::new(move |x, lengths| gru.run(x, None, Some(lengths)).0)
        }),
        ("lstm", {
            let lstm = Lstm::with(3, 5, RecurrentOptions { num_layers: 2, ..both.clone() }, init);
            Box::new(move |x, lengths| lstm.run(x, None, Some(lengths)).0)
        }),
        ("projected", {
            let lstm = Lstm::with(3, 5, RecurrentOptions { proj_size: 2, ..both }, init);
            Box::new(move |x, lengths| lstm.run(x, None, Some(lengths)).0)
        }),
    ];
    let half = Rng::new(&device, 7).normal([6, 4, 3]).cast(DType::F16);
    let single = half.cast(DType::F32);
    let lengths = Tensor::new(&device, [6, 3, 1, 5]);
    Tensor::eval_all(&[&half, &single]).unwrap();
    let numbers = |t: &Tensor| t.to_vec::<f32>().unwrap();
    for (name, run) in &layers {
        let loss = |x: &Tensor| run(x, &lengths).cast(DType::F32).square().sum();
        let want = (numbers(&run(&single, &lengths)), numbers(&loss(&single).grad(&[&single]).unwrap()[0]));
        let mixed = loss(&single).mixed_precision().unwrap();
        let close = |what: &str, got: &[f32], want: &[f32]| {
            for (got, want) in got.iter().zip(want) {
                // half floats have 11 bits, and six steps add up
                assert!((got - want).abs() <= 1e-2 * (1.0 + want.abs()), "{name} {what}: {got} is not {want}");
            }
        };
        close("y", &numbers(&run(&half, &lengths)), &want.0);
        close("dx", &numbers(&loss(&half).grad(&[&half]).unwrap()[0]), &want.1);
        close("mixed", &numbers(&mixed), &numbers(&loss(&single)));
        close("mixed dx", &numbers(&mixed.grad(&[&single]).unwrap()[0]), &want.1);
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 0);
    let lstm = Lstm::new(3, 4, init);
    let x = Tensor::zeros(&device, [5, 2, 3]);
    let h = Tensor::zeros(&device, [1, 2, 4]);
    let two = Tensor::new(&device, [1i32, 2]);
    let with = |o: RecurrentOptions, init: &mut Init| Lstm::with(3, 4, o, init).forward(&x);
    let bad: [(&str, Tensor); 13] = [
        ("x is", lstm.forward(&Tensor::zeros(&device, [5, 2, 4]))),
        ("x is", lstm.forward(&Tensor::zeros(&device, [3]))),
        ("time step", lstm.forward(&Tensor::zeros(&device, [0, 2, 3]))),
        ("floats", lstm.forward(&Tensor::full(&device, [5, 2, 3], 1i32))),
        ("a state is", lstm.run(&x, Some((&h, &Tensor::zeros(&device, [1, 3, 4]))), None).0),
        ("a state is", lstm.run(&x, Some((&Tensor::zeros(&device, [2, 2, 4]), &h)), None).1.1),
        ("one length", lstm.run(&x, None, Some(&Tensor::new(&device, [1i32]))).0),
        ("i32 or u32", lstm.run(&x, None, Some(&Tensor::new(&device, [1.0f32, 2.0]))).0),
        ("one length", lstm.run(&Tensor::zeros(&device, [5, 3]), None, Some(&two)).0),
        ("smaller", with(RecurrentOptions { proj_size: 4, ..Default::default() }, init)),
        ("at least 1", with(RecurrentOptions { num_layers: 0, ..Default::default() }, init)),
        ("probability", with(RecurrentOptions { dropout: 1.5, ..Default::default() }, init)),
        ("an LSTM's", Gru::with(3, 4, RecurrentOptions { proj_size: 2, ..Default::default() }, init).forward(&x)),
    ];
    for (why, y) in bad {
        let error = y.eval().unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("tests/recurrent.rs"), "{why}: {error}");
    }
    let past = Tensor::new(&device, [6i32, 2]);
    let error = lstm.run(&x, None, Some(&past)).0.to_vec::<f32>().unwrap_err();
    assert!(matches!(error, Error::Index { row: 0, .. }), "{error}");

    let cell = LstmCell::new(3, 4, init);
    assert!(cell.forward(&Tensor::zeros(&device, [2, 4]), None).0.eval().is_err());
    let (x, c) = (Tensor::zeros(&device, [2, 3]), Tensor::zeros(&device, [1, 4]));
    assert!(cell.forward(&x, Some((&Tensor::zeros(&device, [2, 4]), &c))).1.eval().is_err());
}
