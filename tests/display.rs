//! Tensors print as PyTorch prints them: `tests/data/display.txt` was recorded by `scripts/reference.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::prelude::*;

/// The recorded text of `name`.
fn recorded(name: &str) -> &'static str {
    let text = include_str!("data/display.txt");
    let block = text.split("## ").find(|block| block.lines().next() == Some(name)).expect("a recorded block");
    block[name.len() + 1..].trim_end()
}

/// 0, 1, 2, … divided by `by`.
fn counted(device: &Device, shape: &[usize], by: f32) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::from_vec(device, (0..count).map(|n| n as f32 / by).collect::<Vec<f32>>(), shape)
}

#[test]
fn tensors_print_as_in_pytorch() {
    let device = &Device::open().unwrap();
    let ints = |count: i32, shape: &[usize]| Tensor::from_vec(device, (0..count).collect::<Vec<i32>>(), shape);
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let rows: Vec<(&str, Tensor)> = vec![
        ("scalar", Tensor::new(device, 1.5f32)),
        ("scalar_int", Tensor::new(device, 7i32)),
        ("scalar_bool", Tensor::new(device, true)),
        ("empty", counted(device, &[0], 1.0)),
        ("empty_2d", counted(device, &[3, 0], 1.0)),
        ("whole", Tensor::new(device, [1.0f32, 2.0, -3.0])),
        ("fractions", Tensor::new(device, [1.5f32, 2.25, -3.0])),
        ("thirds", Tensor::new(device, [1.0f32 / 3.0, -2.0 / 3.0, 100.0])),
        ("wide_range", Tensor::new(device, [1e-3f32, 1.0, 12345.678])),
        ("tiny", Tensor::new(device, [1e-5f32, 1.0])),
        ("huge", Tensor::new(device, [1e9f32, 1.0, 0.5])),
        ("huge_whole", Tensor::new(device, [1e9f32, 1.0])),
        ("specials", Tensor::new(device, [nan, inf, -inf, 1.0])),
        ("nan_fraction", Tensor::new(device, [nan, 0.5])),
        ("zeros", Tensor::zeros(device, [2, 3])),
        ("negative_zero", Tensor::new(device, [-0.0f32, 1.5])),
        ("matrix", counted(device, &[2, 3], 4.0)),
        ("ints", Tensor::new(device, [[1, -20], [300, 4]])),
        ("bools", Tensor::new(device, [[true, false], [false, true]])),
        ("cube", counted(device, &[2, 2, 3], 1.0)),
        ("four", Tensor::zeros(device, [1, 2, 1, 2])),
        ("wrapped", counted(device, &[30], 2.0)),
        ("wrapped_ints", ints(50, &[50])),
        ("summary", counted(device, &[1001], 1.0)),
        ("summary_2d", counted(device, &[40, 50], 1.0)),
        ("thousand", ints(1000, &[10, 100]).slice(0, 0, 2, 1).slice(1, 0, 12, 1)),
    ];
    let mut wrong = Vec::new();
    for (name, tensor) in &rows {
        let (got, want) = (tensor.to_string(), recorded(name));
        if got != want {
            wrong.push(format!("{name}: got\n{got}\nnot\n{want}"));
        }
    }
    let blocks = include_str!("data/display.txt").matches("## ").count();
    assert_eq!(rows.len(), blocks, "rows here and recorded");
    assert!(wrong.is_empty(), "{} of {} wrong\n{}", wrong.len(), rows.len(), wrong.join("\n\n"));
}

#[test]
fn a_tensor_with_an_error_prints_the_error() {
    let device = &Device::open().unwrap();
    let bad = Tensor::zeros(device, [2, 3]).matmul(&Tensor::zeros(device, [2, 3]));
    for text in [bad.to_string(), format!("{bad:?}")] {
        assert!(text.contains("matmul") && text.contains("[2, 3]"), "{text}");
    }
}

#[test]
fn printing_evaluates() {
    let device = &Device::open().unwrap();
    let sum = Tensor::new(device, [1.0f32, 2.0]) + 1.0;
    assert_eq!(format!("{sum}"), "tensor([2., 3.])");
    assert!(format!("{sum:?}").contains("tensor([2., 3.])"), "{sum:?}");
}

#[test]
fn parameters_and_states_say_what_they_are() {
    let device = Device::open().unwrap();
    let layer = BatchNorm1d::new(2, &mut Init::new(&device, 0));
    assert_eq!(format!("{:?}", layer.weight.as_ref().unwrap()), "Param containing:\ntensor([1., 1.])");
    let model = Sequential::new().push(layer);
    let params = model.named_parameters();
    let _names_them = Adam::new(&model, 1e-3);
    params[1].1.set_trainable(false);
    let (_, mean) = model.named_states().into_iter().find(|(path, _)| path.ends_with("running_mean")).unwrap();
    for (shown, want) in [
        (format!("{:?}", params[0].1), "Param 0.weight containing:\ntensor([1., 1.])"),
        (format!("{:?}", params[1].1), "Frozen param 0.bias containing:\ntensor([0., 0.])"),
        (format!("{mean:?}"), "State containing:\ntensor([0., 0.])"),
    ] {
        assert_eq!(shown, want);
    }
}
