//! A bad step changes nothing: no weight, no running statistic, no moment, no counter. The error names what went
//! wrong and in which layer, and training goes on after it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::loss::cross_entropy;
use kiln::prelude::*;

/// Everything that a step may change: look-up, running statistics, dropout's counter.
#[derive(Module)]
struct Model {
    table: Embedding,
    norm: BatchNorm1d,
    drop: Dropout,
    out: Linear,
}

impl Model {
    fn new(device: &Device) -> Self {
        let init = &mut Init::new(device, 7);
        Self {
            table: Embedding::new(5, 8, init),
            norm: BatchNorm1d::new(8, init),
            drop: Dropout::new(0.25, init),
            out: Linear::new(8, 3, init),
        }
    }

    /// `words` [batch] and `scale` [] → logits [batch, 3].
    fn forward(&self, words: &Tensor, scale: &Tensor) -> Tensor {
        let x = self.table.forward(words) * scale;
        self.out.forward(&self.drop.forward(&self.norm.forward(&x)))
    }
}

/// A model in training.
struct World {
    device: Device,
    model: Model,
    adam: Adam,
}

impl World {
    fn new() -> Self {
        let device = Device::open().unwrap();
        let model = Model::new(&device);
        let adam = Adam::new(&model, 1e-2);
        Self { device, model, adam }
    }

    /// One step; the loss as it is read afterwards, or the first error.
    fn step(&mut self, words: [i32; 6], labels: [i32; 6], scale: f32) -> Result<f32> {
        let logits = self.model.forward(&Tensor::new(&self.device, words), &Tensor::new(&self.device, scale));
        let loss = cross_entropy(&logits, &Tensor::new(&self.device, labels));
        self.adam.step(&loss)?;
        loss.item()
    }

    fn good(&mut self) -> f32 {
        self.step([0, 1, 2, 3, 4, 0], [0, 1, 2, 0, 1, 2], 1.0).unwrap()
    }

    /// The bits of every cell of model and optimizer.
    fn bits(&self) -> Vec<(String, Vec<u32>)> {
        let counters = self.model.named_counters().into_iter().map(|(name, state)| (name, state.value()));
        let all = self.model.state_dict().into_iter().chain(Optimizer::state_dict(&self.adam)).chain(counters);
        let bits = |t: Tensor| Tensor::read_all(&[&t]).unwrap().swap_remove(0);
        let words = |b: Vec<u8>| b.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        all.map(|(name, tensor)| (name, words(bits(tensor)))).collect()
    }
}

/// Takes a bad step between good ones; gives its error.
fn refused(words: [i32; 6], labels: [i32; 6], scale: f32) -> Error {
    let mut world = World::new();
    world.good();
    world.good();
    let before = world.bits();
    assert!(before.len() > 12, "{before:?}");
    let error = world.step(words, labels, scale).expect_err("the step is refused");
    for (was, is) in before.iter().zip(world.bits()) {
        assert_eq!(*was, is, "changed by a bad step");
    }
    assert!(world.good().is_finite());
    assert_ne!(before, world.bits(), "training goes on");
    // A run that never met the bad step is at the same place, bit for bit.
    let mut untroubled = World::new();
    for _ in 0..3 {
        untroubled.good();
    }
    assert_eq!(untroubled.bits(), world.bits());
    error
}

const WORDS: [i32; 6] = [4, 3, 2, 1, 0, 1];
const LABELS: [i32; 6] = [0, 1, 2, 0, 1, 2];

#[test]
fn an_index_past_the_table() {
    let error = refused([4, 3, 5, 1, 0, 1], LABELS, 1.0);
    assert!(matches!(error, Error::Index { row: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("nn/linear.rs") || error.to_string().contains("faults.rs"), "{error}");
}

#[test]
fn a_negative_index() {
    let error = refused([4, 3, 2, 1, 0, -1], LABELS, 1.0);
    assert!(matches!(error, Error::Index { row: 5, .. }), "{error:?}");
}

#[test]
fn a_label_that_is_no_class() {
    let error = refused(WORDS, [0, 3, 2, 0, 1, 2], 1.0);
    assert!(matches!(error, Error::Index { row: 1, .. }), "{error:?}");
}

#[test]
fn a_loss_that_is_not_a_number() {
    let error = refused(WORDS, LABELS, f32::NAN);
    assert!(matches!(error, Error::NotFinite { .. }), "{error:?}");
}

#[test]
fn an_infinite_loss() {
    let error = refused(WORDS, LABELS, f32::INFINITY);
    assert!(matches!(error, Error::NotFinite { .. }), "{error:?}");
}

/// Steps that are queued behind a bad one, before the host has seen it, change nothing either.
#[test]
fn a_fault_holds_until_it_is_seen() {
    let mut world = World::new();
    world.good();
    let before = world.bits();
    let run = |world: &mut World, word: i32| {
        let logits = world.model.forward(&Tensor::new(&world.device, [word; 6]), &Tensor::new(&world.device, 1.0f32));
        let loss = cross_entropy(&logits, &Tensor::new(&world.device, LABELS));
        (world.adam.step(&loss), loss)
    };
    let (first, bad) = run(&mut world, 9);
    assert_eq!(first, Ok(()), "nothing is known yet");
    let (_, _) = run(&mut world, 1);
    let (_, _) = run(&mut world, 2);
    assert!(matches!(bad.item(), Err(Error::Index { .. })));
    assert_eq!(before, world.bits());
    assert!(world.good().is_finite());
    assert_ne!(before, world.bits());
}

/// A layer that goes wrong in the way it is told to.
#[derive(Module)]
struct Wrong {
    weight: Param,
    #[module(skip)]
    way: &'static str,
}

impl Forward for Wrong {
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = x * &self.weight;
        match self.way {
            "ln" => (y.square() * -1.0).ln(),
            "exp" => (y * 1e4).exp(),
            "overflow" => {
                let e = (y * 1e4).exp();
                &e / e.sum_axes(-1, true) // infinity by infinity: what overflowed is to blame
            }
            "norm" => {
                let centered = &y * 0.0;
                &centered / centered.square().mean_axes(-1, true).sqrt()
            }
            "mask" => y.masked_fill(&y.ge(-1e9), f32::NEG_INFINITY).softmax(-1), // nothing is left of the row
            "masked" => y.masked_fill(&y.gt(0.0), f32::NEG_INFINITY).exp() + (y.abs() - 1e6).sqrt(),
            "root" => y.square().sum_axes(-1, true).sqrt() * 0.0 + (&y * 0.0).sqrt(), // finite; its gradient is not
            _ => y,
        }
    }
}

/// The line of this file that holds `text`, from 1.
fn line_of(text: &str) -> u32 {
    include_str!("faults.rs").lines().position(|line| line.contains(text)).unwrap() as u32 + 1
}

/// A step of three layers whose second goes wrong in that way; the error, and the device.
fn wrong_step(way: &'static str, fused: bool, clip: bool) -> Error {
    let device = Device::open().unwrap();
    device.set_fusion(fused);
    let init = &mut Init::new(&device, 3);
    let weight = init.param(&Tensor::ones(&device, [6]));
    let model =
        Sequential::new().push(Linear::new(5, 6, init)).push(Wrong { weight, way }).push(Linear::new(6, 2, init));
    let mut adam = Adam::new(&model, 1e-3);
    for scale in [1.0, 2.0] {
        let x = Tensor::from_vec(&device, (0..20).map(|i| (i % 7) as f32 * 0.3 + scale).collect(), &[4, 5]);
        let loss = model.forward(&x).square().mean();
        if clip {
            let mut gradients = loss.backward().unwrap();
            clip_grad_norm(&mut gradients, 1.0);
            adam.step(&gradients).unwrap();
        } else {
            adam.step(&loss).unwrap();
        }
        if let Err(error) = loss.item() {
            return error;
        }
    }
    panic!("{way} went well");
}

/// Not the loss is named, but what made the first NaN or infinity, with its layer and its line.
#[test]
fn the_first_operation_that_went_wrong_is_named() {
    for fused in [true, false] {
        for (way, operation, line) in [
            ("ln", "ln", "(y.square() * -1.0).ln()"),
            ("exp", "exp", "\"exp\" => (y * 1e4).exp()"),
            ("overflow", "exp", "let e = (y * 1e4).exp();"),
            ("norm", "div", "&centered / centered.square()"),
            ("mask", "softmax", "// nothing is left of the row"),
            ("masked", "sqrt", ".exp() + (y.abs() - 1e6).sqrt(),"),
        ] {
            match wrong_step(way, fused, false) {
                Error::NotFinite { what: "loss", op, backward: false, module, at } => {
                    assert_eq!((op, module.0.as_deref()), (operation, Some("1")), "{way}, fused: {fused}");
                    assert_eq!((at.file(), at.line()), (file!(), line_of(line)), "{way}, fused: {fused}");
                }
                other => panic!("{way}, fused: {fused}: {other:?}"),
            }
        }
    }
    let text = wrong_step("ln", true, false).to_string();
    assert!(text.contains("ln (in 1) is the first that is not finite; nor is the loss"), "{text}");
}

/// A finite loss whose gradient is not: clipping sees it, and the operation is that whose gradient went wrong.
#[test]
fn a_gradient_that_went_wrong_is_named() {
    for fused in [true, false] {
        match wrong_step("root", fused, true) {
            Error::NotFinite { what: "gradient norm", op: "sqrt", backward: true, module, at } => {
                assert_eq!(module.0.as_deref(), Some("1"));
                assert_eq!(at.line(), line_of("// finite; its gradient is not"));
            }
            other => panic!("fused: {fused}: {other:?}"),
        }
    }
    let text = wrong_step("root", true, true).to_string();
    assert!(
        text.contains("the gradient of sqrt (in 1) is the first that is not finite; nor is the gradient norm"),
        "{text}"
    );
}

/// The step is found among those queued around it, and a parameter that was bad before is named itself.
#[test]
fn the_bad_step_is_found_among_others() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 3);
    let model = Sequential::new().push(Linear::new(3, 4, init)).push(Linear::new(4, 2, init));
    let mut sgd = Sgd::new(&model, 1e-3);
    let mut step = |value: f32| {
        let loss = model.forward(&Tensor::full(&device, [2, 3], value)).square().mean();
        sgd.step(&loss).unwrap();
        loss
    };
    let losses = [1.0, f32::NAN, 1.0, 1.0].map(&mut step);
    let error = losses[3].item().unwrap_err();
    assert!(matches!(error, Error::NotFinite { op: "matmul", .. }), "{error:?}");
    assert!(error.to_string().contains("(in 0"), "the first that reads the bad batch: {error}");
    model.named_parameters()[2].1.set(&Tensor::full(&device, [2, 4], f32::INFINITY)).unwrap();
    let error = step(1.0).item().unwrap_err();
    let Error::NotFinite { op: "parameter", module, .. } = &error else { panic!("{error:?}") };
    assert_eq!(module.0.as_deref(), Some("1.weight"), "{error}");
}

/// The layer is named where the model names its parts.
#[test]
fn the_layer_is_named() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 7);
    let model = Sequential::new().push(Embedding::new(5, 4, init)).push(Linear::new(4, 2, init));
    let error = model.forward(&Tensor::new(&device, [0, 7])).to_vec::<f32>().unwrap_err();
    assert!(matches!(error, Error::Index { .. }), "{error:?}");
    assert!(error.to_string().contains("(in 0"), "{error}");
    let model = Sequential::new().push(Linear::new(4, 3, init)).push(Linear::new(4, 2, init));
    let error = model.forward(&Tensor::ones(&device, [5, 4])).eval().unwrap_err();
    assert!(matches!(error, Error::In { .. }), "{error:?}");
    assert!(error.to_string().contains("in 1") && error.to_string().contains("matmul"), "{error}");
}

/// A step of which one replacement does not fit replaces nothing, not even what came before it in the list.
type Loss = fn(&Tensor) -> Tensor;

/// A single number of `x` [4, 4] by each kind of kernel: one without an output slot, a view, several launches, …
const LOSSES: [(&str, Loss); 11] = [
    ("sum", |x| x.sum()),
    ("formula of a sum", |x| (x.sum() * 2.0 + 1.0).abs()),
    ("greatest", |x| x.amax([0i64, 1], false)),
    ("product of matrices", |x| x.narrow(0, 0, 1).matmul(&x.narrow(1, 0, 1)).reshape([0i64; 0])),
    ("logsumexp", |x| x.reshape([16]).logsumexp(0, false)),
    ("one element", |x| x.select(0, 0).select(0, 0)),
    ("one element, computed", |x| (x * 2.0).select(0, 0).select(0, 0)),
    ("last of a running sum", |x| x.reshape([16]).cumsum(0).select(0, 15)),
    ("least of a sort", |x| x.reshape([16]).sort(0, true).0.select(0, 0)),
    ("looked up", |x| x.reshape([16]).index_select(0, &Tensor::new(x.device(), [0])).reshape([0i64; 0])),
    ("long sum", |x| (x.reshape([16, 1]) * Tensor::ones(x.device(), [16, 30_000])).sum()),
];

/// Wherever a loss is made, it is looked at.
#[test]
fn a_loss_of_any_kernel_is_checked() {
    let device = Device::open().unwrap();
    for fused in [true, false] {
        device.set_fusion(fused);
        for (name, loss) in LOSSES {
            let init = &mut Init::new(&device, 3);
            let model = Wrong { weight: init.param(&Tensor::full(&device, [4, 4], 0.01)), way: "" };
            let mut sgd = Sgd::new(&model, 1e-3);
            let mut step = |scale: f32| {
                let loss = loss(&model.forward(&Tensor::new(&device, scale)));
                sgd.step(&loss).and_then(|()| loss.item())
            };
            let weight = || model.weight.to_vec::<f32>().unwrap();
            let before = weight();
            for bad in [f32::NAN, f32::INFINITY] {
                let error = step(bad);
                assert!(matches!(error, Err(Error::NotFinite { .. })), "{name}, fused {fused}, {bad}: {error:?}");
                assert_eq!(weight(), before, "{name}, fused {fused}, {bad}");
            }
            step(2.0).unwrap();
            assert_ne!(weight(), before, "{name}, fused {fused}");
        }
    }
}

#[test]
fn a_step_that_does_not_fit_replaces_nothing() {
    let device = Device::open().unwrap();
    let group = kiln::CellGroup::new(&device);
    let (a, b) = (group.param(&Tensor::ones(&device, [2])), group.state(&Tensor::ones(&device, [3])));
    b.set(&(&b + 1.0)).unwrap(); // waits
    let replace = vec![((*a).clone(), &a * 5.0), (b.clone(), Tensor::zeros(&device, [4]))];
    assert!(matches!(kiln::step(&[], replace, &[]), Err(Error::Shape { .. })));
    assert_eq!(a.to_vec::<f32>().unwrap(), [1.0, 1.0]);
    assert_eq!(b.to_vec::<f32>().unwrap(), [2.0, 2.0, 2.0]);
}
