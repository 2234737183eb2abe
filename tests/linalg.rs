//! Equations and factors of small matrices, orthogonal weights, and batch norm folded away, against PyTorch in float64
//! (scripts/reference_linalg.py); parameters as a vector and counts of repetitions beside them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln::nn::{
    BatchNorm, Lora, LoraOptions, Orthogonal, OrthogonalMap, StateDict, Weighted, fuse_conv_bn, fuse_linear_bn,
    parameters_to_vector, vector_to_parameters,
};
use kiln::prelude::*;
use support::{below, close, off, reference};

fn run(name: &str, x: &[Tensor]) -> Tensor {
    let flag = |at: usize| name.as_bytes()[name.len() - 3 + at] == b'1';
    match name.split_once('.').unwrap() {
        ("solve", _) => x[0].solve(&x[1]),
        ("inv", _) => x[0].inv(),
        ("det", _) => x[0].det(),
        ("slogdet", _) => x[0].slogdet().1,
        ("cholesky", kind) => ((&x[0] + x[0].mt()) * 0.5).cholesky(kind == "upper"),
        ("matrix_exp", _) => x[0].matrix_exp(),
        ("triangular", _) => x[0].solve_triangular(&x[1], flag(0), flag(1), flag(2)),
        _ => panic!("{name}"),
    }
}

#[test]
fn matrices_agree_with_pytorch() {
    let device = Device::open().unwrap();
    let all = reference(&device, "linalg");
    let names: Vec<&str> = all.keys().filter_map(|name| name.strip_suffix(".y0")).collect();
    assert!(names.len() >= 27, "{names:?}");
    let mut wrong = Vec::new();
    for name in names {
        let part = below(&all, &format!("{name}."));
        let x: Vec<Tensor> = (0..2).filter_map(|at| part.get(&format!("x{at}")).cloned()).collect();
        let mut check = |what: String, got: &Tensor, tolerance: f64| {
            let want = &part[&what];
            let error = off(got, want);
            if error > tolerance {
                wrong.push(format!("{name}.{what}: off by {error:e}"));
            }
        };
        let y = run(name, &x);
        check("y0".into(), &y, 1e-5);
        let inputs: Vec<&Tensor> = x.iter().collect();
        let first = (y * &part["dy0"]).sum().grad(&inputs).unwrap();
        let again = first.iter().map(|d| d.square().sum()).reduce(|a, b| a + b).unwrap();
        let second = again.grad(&inputs).unwrap();
        for (at, (first, second)) in first.iter().zip(&second).enumerate() {
            check(format!("dx{at}"), first, 1e-4);
            // products of up to five inverses in f32
            check(format!("ddx{at}"), second, 1e-3);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (sign, _) = all["slogdet.batch.x0"].slogdet();
    close("signs", &sign, &all["slogdet.signs"], 0.0);
}

#[test]
fn matrices_at_their_edges() {
    let device = Device::open().unwrap();
    let tensor = |list: [[f32; 2]; 2]| Tensor::new(&device, list);
    // in need of an exchange; singular; not positive definite
    let turned = tensor([[0.0, 1.0], [2.0, 0.0]]);
    assert_eq!(turned.det().item().unwrap(), -2.0);
    assert_eq!(turned.inv().to_vec::<f32>().unwrap(), [0.0, 0.5, 1.0, 0.0]);
    let singular = tensor([[1.0, 2.0], [2.0, 4.0]]);
    assert_eq!(singular.det().item().unwrap(), 0.0);
    let (sign, size) = singular.slogdet();
    assert_eq!((sign.item().unwrap(), size.item().unwrap()), (0.0, f32::NEG_INFINITY));
    assert!(singular.inv().to_vec::<f32>().unwrap().iter().any(|v| !v.is_finite()));
    assert!(tensor([[1.0, 2.0], [2.0, 1.0]]).cholesky(false).to_vec::<f32>().unwrap()[3].is_nan());
    assert!(tensor([[f32::NAN, 2.0], [2.0, 1.0]]).det().item().unwrap().is_nan());
    // views, and what the other triangle holds
    let torn = tensor([[2.0, f32::NAN], [1.0, 4.0]]);
    let b = Tensor::new(&device, [[2.0], [5.0]]);
    assert_eq!(torn.solve_triangular(&b, false, true, false).to_vec::<f32>().unwrap(), [1.0, 1.0]);
    assert_eq!(torn.mt().solve_triangular(&b, true, true, false).to_vec::<f32>().unwrap(), [0.375, 1.25]);
    // e^A of a rotation by many turns, of nothing, and past what is squared
    let turn = |angle: f32| tensor([[0.0, -angle], [angle, 0.0]]).matrix_exp().to_vec::<f32>().unwrap();
    for angle in [0.0f32, 1e-3, 1.0, 30.0] {
        // the angle's own rounding, thirty times
        let near = |got: f32, want: f32| assert!((got - want).abs() < 1e-6 + 1e-6 * angle, "{angle}: {got} {want}");
        near(turn(angle)[0], angle.cos());
        near(turn(angle)[2], angle.sin());
    }
    assert!(turn(1e4).iter().all(|v| v.is_nan()));
    // nothing at all
    let none = Tensor::zeros(&device, [0, 3, 3]);
    assert_eq!(none.inv().shape().unwrap().to_vec(), [0, 3, 3]);
    assert_eq!(none.cholesky(true).shape().unwrap().to_vec(), [0, 3, 3]);
    assert_eq!(none.matrix_exp().shape().unwrap().to_vec(), [0, 3, 3]);
    assert_eq!(none.det().shape().unwrap().to_vec(), [0]);
    assert_eq!(none.solve(&Tensor::zeros(&device, [3, 2])).shape().unwrap().to_vec(), [0, 3, 2]);
    let point = Tensor::zeros(&device, [2, 0, 0]);
    assert_eq!(point.det().to_vec::<f32>().unwrap(), [1.0, 1.0]);
    assert_eq!(point.slogdet().1.to_vec::<f32>().unwrap(), [0.0, 0.0]);
    // many: more than one row of workgroups would need no other kernel
    let many = Tensor::eye(&device, [3]).expand([5000, 3, 3]) * 2.0;
    assert!(many.inv().eq(Tensor::eye(&device, [3]) * 0.5).all([0i64; 0], false).item_as::<bool>().unwrap());

    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let shape = |t: Tensor| assert!(matches!(t.eval(), Err(Error::Shape { .. })));
    shape(zeros(&[3]).inv());
    shape(zeros(&[2, 3]).det());
    shape(zeros(&[2, 3]).slogdet().0);
    shape(zeros(&[2, 3]).cholesky(false));
    shape(zeros(&[2, 3]).matrix_exp());
    shape(zeros(&[193, 193]).inv());
    shape(zeros(&[2, 2]).solve(&zeros(&[3, 1])));
    shape(zeros(&[2, 2]).solve(&zeros(&[3])));
    shape(zeros(&[2, 2, 2]).solve(&zeros(&[3, 2, 1])));
    shape(zeros(&[2, 2]).solve_triangular(&zeros(&[3, 2]), true, true, false));
    shape(zeros(&[2, 2]).solve_triangular(&zeros(&[2]), true, false, false));
    assert!(matches!(zeros(&[2, 2]).cast(DType::I32).inv().eval(), Err(Error::DType { .. })));
    assert!(matches!(zeros(&[2, 2]).solve(&zeros(&[2, 2]).cast(DType::F16)).eval(), Err(Error::DType { .. })));
    assert!(zeros(&[2, 2]).solve(&zeros(&[3]).inv()).eval().is_err());
}

fn held<L: Weighted>(name: &str, make: impl FnOnce(&mut Init) -> L, map: Option<OrthogonalMap>, all: &StateDict) {
    let device = all["start.tall"].device().clone();
    let part = below(all, &format!("orthogonal.{name}."));
    let init = &mut Init::new(&device, 3);
    let layer = make(init);
    let layer = match map {
        Some(map) => Orthogonal::with(layer, map, !name.ends_with("bare"), init).unwrap(),
        None => Orthogonal::new(layer, init).unwrap(),
    };
    layer.load_state_dict(&below(&part, "state.")).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(layer.state_dict().len(), below(&part, "state.").len());
    let x = &part["x"];
    let y = layer.forward(x);
    close(&format!("{name}.weight"), &layer.weight(), &part["weight"], 1e-5);
    close(&format!("{name}.y"), &y, &part["y"], 1e-5);
    let loss = (y * &part["dy"]).sum();
    close(&format!("{name}.dx"), &loss.grad(&[x]).unwrap()[0], &part["dx"], 1e-4);
    let gradients = loss.backward().unwrap();
    for (path, param) in layer.named_parameters() {
        close(&format!("{name}.{path}"), &gradients.get(&param).unwrap(), &part[&format!("grad.{path}")], 1e-4);
    }
}

#[test]
fn orthogonal_weights_agree_with_pytorch() {
    use OrthogonalMap::{Cayley, Householder, MatrixExp};
    let device = Device::open().unwrap();
    let all = reference(&device, "linalg");
    held("exp", |init| Linear::new(5, 5, init), None, &all);
    held("exp_tall", |init| Linear::new(3, 5, init), Some(MatrixExp), &all);
    held("cayley", |init| Linear::no_bias(4, 4, init), Some(Cayley), &all);
    held("cayley_wide", |init| Linear::new(6, 4, init), Some(Cayley), &all);
    held("householder", |init| Linear::new(4, 7, init), None, &all);
    held("householder_wide", |init| Linear::new(7, 4, init), None, &all);
    held("householder_square", |init| Linear::new(4, 4, init), Some(Householder), &all);
    held("householder_bare", |init| Linear::new(3, 5, init), Some(Householder), &all);
    held("exp_conv", |init| Conv2d::new(2, 3, 3, init), None, &all);

    // what an untrained weight becomes: its orthogonal factor
    let init = &mut Init::new(&device, 4);
    let linear = |name: &str, init: &Init| Linear::of(init.param(&all[name]), None);
    let bare = Orthogonal::with(linear("start.tall", init), Householder, false, init).unwrap();
    close("start.tall.bare", &bare.weight(), &all["start.tall.bare"], 1e-5);
    let square = Orthogonal::new(linear("start.square", init), init).unwrap();
    close("start.square", &square.weight(), &all["start.square.orthogonal"], 1e-5);
    let kept = Orthogonal::new(linear("start.square.orthogonal", init), init).unwrap();
    close("an orthogonal weight", &kept.weight(), &all["start.square.orthogonal"], 1e-6);
    let wide = Orthogonal::new(Linear::new(6, 3, init), init).unwrap();
    close("rows", &wide.weight().matmul(&wide.weight().mt()), &Tensor::eye(&device, [3]), 1e-5);

    // it stays orthogonal while it is trained
    let (x, want) = (Rng::new(&device, 1).normal([16, 6]), Rng::new(&device, 2).normal([16, 3]));
    let mut adam = Adam::new(&wide, 0.1);
    let loss = || mse_loss(&wide.forward(&x), &want);
    let before = loss().item().unwrap();
    for _ in 0..20 {
        adam.step(&loss()).unwrap();
    }
    assert!(loss().item().unwrap() < 0.9 * before);
    close("rows after", &wide.weight().matmul(&wide.weight().mt()), &Tensor::eye(&device, [3]), 1e-5);

    let refused = Orthogonal::with(Linear::new(3, 3, init), Cayley, false, init);
    assert!(matches!(refused.err(), Some(Error::Argument { .. })));
}

#[test]
fn batch_norm_folds_into_the_layer_before_it() {
    let device = Device::open().unwrap();
    let all = reference(&device, "linalg");
    let init = &mut Init::new(&device, 0);
    fn check<L: Weighted, const N: usize>(
        name: &str,
        layer: L,
        norm: BatchNorm<N>,
        all: &StateDict,
        fuse: fn(L, &BatchNorm<N>) -> Result<L>,
    ) {
        let part = below(all, &format!("fused.{name}."));
        layer.load_state_dict(&below(&part, "layer.")).unwrap();
        norm.load_state_dict(&below(&part, "norm.")).unwrap();
        norm.eval();
        let fused = fuse(layer, &norm).unwrap();
        close(&format!("{name}.weight"), fused.weight(), &part["weight"], 1e-5);
        close(&format!("{name}.bias"), fused.bias().unwrap(), &part["bias"], 1e-5);
        close(&format!("{name}.y"), &fused.forward(&part["x"]), &part["y"], 1e-5);
    }
    check("conv1d", Conv1d::new(2, 3, 3, init), BatchNorm1d::new(3, init), &all, fuse_conv_bn);
    let grouped = Conv2d::grouped(4, 6, 3, 2, init).padding(1).no_bias();
    check("conv2d", grouped, BatchNorm2d::new(6, init).eps(1e-3), &all, fuse_conv_bn);
    check("conv3d", Conv3d::new(2, 3, 2, init), BatchNorm3d::new(3, init).no_affine(), &all, fuse_conv_bn);
    let turned = ConvTranspose2d::new(3, 4, 2, init).stride(2);
    check("turned", turned, BatchNorm2d::new(4, init), &all, fuse_conv_bn);
    check("linear", Linear::new(3, 5, init), BatchNorm1d::new(5, init), &all, fuse_linear_bn);

    // groups of a transposed convolution, which PyTorch does not fold; a frozen weight stays frozen
    let (turned, norm) = (ConvTranspose2d::grouped(4, 6, 3, 2, init), BatchNorm2d::new(6, init));
    turned.freeze();
    norm.forward(&Rng::new(&device, 5).normal([4, 6, 3, 3])).eval().unwrap();
    norm.eval();
    let x = Rng::new(&device, 6).normal([2, 4, 5, 5]);
    let want = norm.forward(&turned.forward(&x));
    want.eval().unwrap();
    let fused = fuse_conv_bn(turned, &norm).unwrap();
    close("groups", &fused.forward(&x), &want, 1e-5);
    assert!(fused.parameters().iter().all(|p| !p.trainable()));

    let conv = || Conv2d::new(2, 3, 3, &mut Init::new(&device, 0));
    norm.train();
    assert!(matches!(fuse_conv_bn(conv(), &norm).err(), Some(Error::Argument { .. })));
    norm.eval();
    assert!(matches!(fuse_conv_bn(conv(), &norm).err(), Some(Error::Shape { .. })));
    let bare = BatchNorm2d::new(3, init).no_tracking();
    bare.eval();
    assert!(matches!(fuse_conv_bn(conv(), &bare).err(), Some(Error::Argument { .. })));
    let adapted = Linear::new(3, 5, init);
    let lora = Lora::attach(&(&adapted, &conv()), &["0"], LoraOptions::default(), init).unwrap();
    assert!(!lora.parameters().is_empty());
    let norm = BatchNorm1d::new(5, init);
    norm.eval();
    assert!(matches!(fuse_linear_bn(adapted, &norm).err(), Some(Error::Argument { .. })));
}

#[test]
fn parameters_are_a_vector() {
    let device = Device::open().unwrap();
    let model = Linear::new(3, 2, &mut Init::new(&device, 1));
    let parameters = model.parameters();
    let vector = parameters_to_vector(&parameters);
    let list = |t: &Tensor| t.to_vec::<f32>().unwrap();
    let (weight, bias) = (list(&model.weight), list(model.bias.as_ref().unwrap()));
    assert_eq!(list(&vector), [&weight[..], &bias].concat());
    let gradients = vector.square().sum().backward().unwrap();
    assert_eq!(list(&gradients.get(&model.weight).unwrap()), weight.iter().map(|w| 2.0 * w).collect::<Vec<_>>());
    // from an expression of the same parameters, each of which is still there when the next one is set
    vector_to_parameters(&(&vector - vector.mean()), &parameters).unwrap();
    let mean = list(&vector.mean())[0];
    let want: Vec<f32> = [&weight[..], &bias].concat().iter().map(|w| w - mean).collect();
    assert_eq!(list(&parameters_to_vector(&parameters)), want);
    for wrong in [Tensor::zeros(&device, [7]), Tensor::zeros(&device, [9])] {
        assert!(matches!(vector_to_parameters(&wrong, &parameters), Err(Error::Argument { .. })));
    }
    assert!(matches!(vector_to_parameters(&Tensor::zeros(&device, [2, 4]), &parameters), Err(Error::Shape { .. })));
    assert_eq!(list(&parameters_to_vector(&parameters)), want);
}

#[test]
fn elements_are_repeated_by_counts() {
    let device = Device::open().unwrap();
    let x = Tensor::new(&device, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    let counts = |list: &[i32]| Tensor::from_slice(&device, list, &[list.len()]);
    let rows = x.repeat_interleave_with(&counts(&[2, 0, 1]), 0).unwrap();
    assert_eq!(rows.shape().unwrap().to_vec(), [3, 2]);
    assert_eq!(rows.to_vec::<f32>().unwrap(), [1.0, 2.0, 1.0, 2.0, 5.0, 6.0]);
    let gradient = rows.square().sum().grad(&[&x]).unwrap().remove(0);
    assert_eq!(gradient.to_vec::<f32>().unwrap(), [4.0, 8.0, 0.0, 0.0, 10.0, 12.0]);
    let columns = x.repeat_interleave_with(&Tensor::new(&device, 2), -1).unwrap();
    assert_eq!(columns.to_vec::<f32>().unwrap()[..4], [1.0, 1.0, 2.0, 2.0]);
    assert_eq!(x.repeat_interleave_with(&counts(&[0, 0, 0]), 0).unwrap().shape().unwrap().to_vec(), [0, 2]);
    let none = Tensor::zeros(&device, [0, 2]);
    assert_eq!(none.repeat_interleave_with(&counts(&[]), 0).unwrap().shape().unwrap().to_vec(), [0, 2]);
    assert!(matches!(x.repeat_interleave_with(&counts(&[1, -1, 1]), 0), Err(Error::Argument { .. })));
    assert!(matches!(x.repeat_interleave_with(&counts(&[i32::MAX, i32::MAX, 1]), 0), Err(Error::Argument { .. })));
    assert!(matches!(x.repeat_interleave_with(&counts(&[1, 1]), 0), Err(Error::Shape { .. })));
    assert!(matches!(x.repeat_interleave_with(&counts(&[1, 1]), 2), Err(Error::Axis { .. })));
    let floats = Tensor::new(&device, [1.0, 1.0, 1.0]);
    assert!(matches!(x.repeat_interleave_with(&floats, 0), Err(Error::DType { .. })));
}
