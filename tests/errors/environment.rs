//! What the environment changes, tried in processes of their own: switches, and a machine without an adapter.

use kiln::gpu;
use kiln::prelude::*;
use std::process::Command;

#[path = "../support/program.rs"]
mod program;

/// This program, running one of its ignored tests. What it logs comes out on its standard error.
fn child(test: &str) -> Command {
    let mut command = program::this_program();
    command.args(["--exact", test, "--ignored", "--nocapture"]).env("RUST_LOG", "warn");
    for switch in ["KILN_FUSE", "KILN_CHECKED", "KILN_KERNELS"] {
        command.env_remove(switch);
    }
    command
}

/// Standard output and error of a child that ends well.
fn told(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
#[ignore = "run by `a_switch_is_0_or_1`"]
fn two_devices() {
    env_logger::init();
    for _ in 0..2 {
        let device = Device::open().unwrap();
        let x = Tensor::new(&device, [1.0f32, 2.0]);
        let before = device.counters().dispatches;
        assert_eq!((x.square() * 3.0 + 1.0).exp().ln().to_vec::<f32>().unwrap()[0].round(), 4.0);
        let fused = device.counters().dispatches == before + 1;
        println!("fused {fused}, checked {}", device.caps().checked);
    }
}

#[test]
fn a_switch_is_0_or_1() {
    let run = |name: &str, value: &str| told(child("environment::two_devices").env(name, value));
    for (name, value, want) in [
        ("KILN_FUSE", "1", "fused true, checked false"),
        ("KILN_FUSE", "", "fused true, checked false"),
        ("KILN_FUSE", "0", "fused false, checked false"),
        ("KILN_CHECKED", "1", "fused true, checked true"),
        ("KILN_CHECKED", "0", "fused true, checked false"),
    ] {
        let (out, log) = run(name, value);
        assert_eq!(out.matches(want).count(), 2, "{name}={value}: {out}");
        assert!(!log.contains("KILN_"), "{name}={value}: {log}");
    }
    for name in ["KILN_FUSE", "KILN_CHECKED"] {
        let (out, log) = run(name, "off");
        assert_eq!(out.matches("fused true, checked false").count(), 2, "{name}: {out}");
        assert_eq!(log.matches(&format!("{name}=off")).count(), 1, "{name}: {log}");
    }
    // a file where a folder is asked for: said once, whatever the number of kernels
    let file = std::env::current_exe().unwrap();
    let (_, log) = told(child("environment::two_devices").env("KILN_KERNELS", &file));
    assert_eq!(log.matches("KILN_KERNELS").count(), 1, "{log}");
}

#[test]
#[ignore = "run by `a_list_of_nothing_is_an_error_where_there_is_no_adapter`"]
fn nothing_of_nothing() {
    assert!(Device::open().is_err());
    let none: [Tensor; 0] = [];
    for (op, made) in
        [("cat", Tensor::cat(&none, 0)), ("stack", Tensor::stack(&none, 0)), ("einsum", Tensor::einsum("i->i", &[]))]
    {
        let error = made.eval().unwrap_err();
        assert!(matches!(&error, Error::Argument { op: of, name: "tensors", .. } if *of == op), "{error}");
        assert!(error.to_string().contains("environment.rs"), "{error}");
        let later = (made.relu() + 1.0).sum();
        assert_eq!(
            (later.to_vec::<f32>().unwrap_err(), later.backward().map(drop).unwrap_err()),
            (error.clone(), error)
        );
        // and nothing can be computed where it lives
        let other = Tensor::ones(made.device(), [2]) + 1.0;
        assert!(matches!(other.to_vec::<f32>(), Err(Error::Device(gpu::Error::Lost(_)))), "{other:?}");
    }
}

#[test]
fn a_list_of_nothing_is_an_error_where_there_is_no_adapter() {
    told(child("environment::nothing_of_nothing").env("KILN_ADAPTER", "no such adapter"));
}
