//! The program from outside: what it prints, writes and returns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn kiln(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Exit status, standard output, standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn run(args: &[&str]) -> (i32, String, String) {
    told(&kiln(args).output().unwrap())
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn devices_lists_the_one_that_is_used() {
    let (status, out, err) = run(&["devices"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("Kiln uses this one") && out.contains("subgroups"), "{out}");
}

#[test]
fn tuning_is_kept_and_listed() {
    let cache = folder("tuned");
    let run = |args: &[&str]| told(&kiln(args).env("KILN_CACHE_DIR", &cache).output().unwrap());
    let (status, out, err) = run(&["tune", "--list"]);
    assert!(status == 0 && out.contains("matmul 128x128x128_b1_nn_f32f32"), "{out}{err}");
    let (status, out, err) = run(&["tune", "--class", "128x128x128_b1_nn_f32", "--limit", "120"]);
    assert!(status == 0 && out.contains("Tuning 1 size class ") && out.contains(" µs, "), "{out}{err}");
    let (status, out, err) = run(&["devices", "--kernels"]);
    assert!(status == 0 && out.contains("1 class was tuned") && out.contains(", tuned: "), "{out}{err}");
    let (status, _, err) = run(&["tune", "--forget"]);
    assert_eq!(status, 0, "{err}");
    assert!(run(&["devices", "--kernels"]).1.contains("0 classes were tuned"));
    for wrong in [["--family", "nothing"], ["--class", "7x7"]] {
        let (status, _, err) = run(&[&["tune"][..], &wrong].concat());
        assert!(status == 2 && err.contains(wrong[1]), "{wrong:?}: {status}: {err}");
    }
}

/// Every example is there; each shows its model without its data.
#[test]
fn train_lists_the_examples_and_shows_their_models() {
    let (status, out, err) = run(&["train", "--help"]);
    assert_eq!(status, 0, "{err}");
    let names = "digits residual grammar markov chars karate cancer vae mnist fashion cifar10";
    for name in names.split(' ') {
        assert!(out.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))), "no {name} in {out}");
        let (status, out, err) = run(&["train", name, "--summary"]);
        assert_eq!(status, 0, "{name}: {err}");
        assert!(
            out.starts_with("layer ") && out.contains("parameters are trained") && !out.contains("not run"),
            "{out}"
        );
    }
    let (_, out, _) = run(&["train", "mnist", "--summary"]);
    let row = |name: &str| out.lines().find(|line| line.starts_with(name)).map(str::to_string).unwrap_or_default();
    assert!(row("conv1").contains("Conv2d") && row("conv1").contains("225,792"), "{out}"); // 784 · 32 · 9
    assert!(row("fc1").contains("401,408"), "{out}"); // 3136 · 128
    let (status, _, err) = run(&["train", "mnist"]);
    assert!(status == 2 && err.contains("<DIR>"), "{err}");
    let (status, _, err) = run(&["train", "cifar10", "no such folder"]);
    assert!(status == 1 && err.contains("data_batch_1.bin"), "{err}");
}

#[test]
fn tuning_that_cannot_be_kept_is_not_begun() {
    let folder = folder("untuned");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("file");
    std::fs::write(&file, "in the way").unwrap();
    for args in [&["tune", "--class", "128x128x128_b1_nn_f32"][..], &["tune", "--forget"]] {
        let (status, out, err) = told(&kiln(args).env("KILN_CACHE_DIR", &file).output().unwrap());
        assert!(status == 1 && err.contains("kiln: cannot write") && out.is_empty(), "{status}: {out}{err}");
    }
}

/// What is wrong in a file of tuned choices is left out, and said where it names a variant that is not there.
#[test]
fn a_damaged_file_of_tuned_choices_does_no_harm() {
    let cache = folder("damaged");
    let run = |args: &[&str]| told(&kiln(args).env("KILN_CACHE_DIR", &cache).output().unwrap());
    let tune = ["tune", "--class", "128x128x128_b1_nn_f32", "--limit", "120"];
    assert_eq!(run(&tune).0, 0);
    let tuned = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path());
    let file = tuned().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("tuned_")).unwrap();
    let line = std::fs::read_to_string(&file).unwrap();
    let (key, value) = line.trim_end().rsplit_once('\t').unwrap();
    let words: Vec<&str> = value.split(' ').collect();
    for (text, count, said) in [
        (
            format!("{key}\tmagic 3 {} 4\n", words[2]).into_bytes(),
            "1 class was",
            "tuned to magic, which is none of its",
        ),
        (format!("{key}\t{} NaN {} 4\n", words[0], words[2]).into_bytes(), "0 classes were", ""),
        (format!("{key}\t{} -3 {} 4\n", words[0], words[2]).into_bytes(), "0 classes were", ""),
        ([b"\xff\xfe\n\n\t\t\n", line.as_bytes()].concat(), "1 class was", ", tuned: "),
        (line.as_bytes()[..line.len() / 2].to_vec(), "0 classes were", ""),
    ] {
        std::fs::write(&file, &text).unwrap();
        let (status, out, err) = run(&["devices", "--kernels"]);
        assert!(status == 0 && out.contains(count) && out.contains(said), "{count}: {status}: {out}{err}");
        assert!(!out.contains("NaN") && !out.contains("-3 µs"), "{out}");
    }
}

#[test]
fn without_an_adapter_it_says_what_to_do() {
    let train = |name: &str, value: &str| told(&kiln(&["train", "digits"]).env(name, value).output().unwrap());
    let (status, _, err) = train("KILN_ADAPTER", "no such adapter");
    assert_eq!(status, 3, "{err}");
    assert!(err.contains("no adapter for `no such adapter`") && err.contains("a part of one of these names"), "{err}");
    let (status, _, err) = train("KILN_BACKEND", "vulcan");
    assert!(status == 3 && err.contains("KILN_BACKEND=vulcan") && err.contains("vulkan, metal or dx12"), "{err}");
}

/// No driver at all, as the Vulkan loader sees it.
#[cfg(target_os = "linux")]
#[test]
fn without_a_driver_it_says_what_to_install() {
    let mut command = kiln(&["devices"]);
    command.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
    let (status, _, err) = told(&command.output().unwrap());
    assert!(status == 3 && err.contains("mesa-vulkan-drivers") && err.contains("Found: none"), "{status}: {err}");
}

#[test]
fn wrong_arguments_are_explained() {
    for (args, word) in [
        (&["train", "digits", "--epochs", "0"][..], "--epochs"),
        (&["train", "digits", "--batch", "-3"], "-3 is not in 1.."),
        (&["train", "digits", "--lr", "nan"], "must be a number above zero"),
        (&["train", "digits", "--model", "gpt"], "possible values: mlp, cnn"),
        (&["train", "digits", "--resume", "x", "--seed", "1"], "cannot be used with"),
        (&["train", "digits", "--resume", "x", "--summary"], "cannot be used with"),
        (&["tune", "--forget", "--family", "matmul"], "cannot be used with"),
        (&["predict"], "MODEL"),
        (&["paint"], "unrecognized subcommand"),
    ] {
        let (status, _, err) = run(args);
        assert!(status == 2 && err.contains(word), "{args:?}: {status}: {err}");
    }
}

#[test]
fn files_that_do_not_fit_are_explained() {
    let folder = folder("unfit");
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(path("text"), "not a model").unwrap();
    // Valid, with no tensors.
    std::fs::write(path("empty"), [&2u64.to_le_bytes()[..], b"{}"].concat()).unwrap();
    std::fs::write(path("file"), "in the way").unwrap();
    for (args, word) in [
        (["predict", &path("missing")], "missing"),
        (["predict", &path("text")], "no safetensors file"),
        (["predict", &path("empty")], "is not a digits model"),
        (["predict", folder.to_str().unwrap()], "not a regular file"),
    ] {
        let (status, _, err) = run(&args);
        assert!(status == 1 && err.contains("kiln: ") && err.contains(word), "{args:?}: {status}: {err}");
    }
    for wrong in ["nowhere", "text", "other"] {
        let checkpoint = folder.join("other/checkpoints");
        std::fs::create_dir_all(&checkpoint).unwrap();
        std::fs::copy(path("empty"), checkpoint.join("step-000000003.safetensors")).unwrap();
        let (status, _, err) = run(&["train", "digits", "--resume", &path(wrong)]);
        assert!(status == 1 && err.contains("no training can go on from"), "{wrong}: {status}: {err}");
    }
    let (status, _, err) = run(&["train", "digits", "--out", &path("other")]);
    assert!(status == 1 && err.contains("--resume"), "{status}: {err}");
    // before anything is trained
    for (option, file) in
        [("--out", path("file/below")), ("--report", path("nowhere/page.html")), ("--report", path(""))]
    {
        let (status, out, err) = run(&["train", "digits", option, &file]);
        assert!(status == 1 && err.contains("cannot write") && out.is_empty(), "{option} {file}: {status}: {out}{err}");
    }
}

#[test]
fn a_training_ends_with_figures_a_picture_and_a_model_that_predicts() {
    let folder = folder("mlp");
    let out = folder.to_str().unwrap();
    let (status, text, err) = run(&["train", "digits", "--model", "mlp", "--epochs", "2", "--out", out]);
    assert_eq!(status, 0, "{err}");
    for part in ["  1/2 ", "  2/2 ", "held out: loss", "truth", "% of the held-out images"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let picture = std::fs::read_to_string(folder.join("curves.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n") && picture.contains("Accuracy"));

    let model = folder.join("model.safetensors");
    let (status, shown, err) = run(&["predict", model.to_str().unwrap(), "--count", "3"]);
    assert_eq!(status, 0, "{err}");
    let (status, _, err) = run(&["train", "digits", "--resume", out]);
    assert!(status == 1 && err.contains("has come to its end"), "{status}: {err}");
    // The same share as the training reported, rounded alike.
    let share = text.split(" % of the held-out").next().and_then(|t| t.split_whitespace().last()).unwrap();
    let share: f64 = share.parse().unwrap();
    let again = shown.split("read right: ").nth(1).and_then(|t| t.split(' ').next()).unwrap();
    assert_eq!(again.parse::<f64>().unwrap(), (share * 10.0).round() / 10.0, "{shown}");
}

/// Stopped or killed in the middle and resumed, a training ends with the bytes of one that was left alone.
#[cfg(unix)]
#[test]
fn a_stopped_or_killed_training_goes_on_to_the_same_bytes() {
    use std::io::{BufRead, BufReader};
    let whole = folder("whole");
    let start = |out: &Path| {
        let mut command = kiln(&["train", "digits", "--model", "cnn", "--epochs", "4", "--seed", "3", "--out"]);
        command.arg(out);
        command
    };
    assert_eq!(told(&start(&whole).output().unwrap()).0, 0);
    assert!(!whole.join("checkpoints").exists(), "the training is at its end");

    for signal in ["INT", "TERM", "KILL"] {
        let broken = folder(signal);
        let mut child = start(&broken).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // the line of an epoch comes before its checkpoint, which a killed training needs
        let after = if signal == "KILL" { "  2/4 " } else { "  1/4 " };
        assert!(lines.by_ref().any(|line| line.unwrap().contains(after)));
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        let (status, _, err) = told(&child.wait_with_output().unwrap());
        if signal != "KILL" {
            assert_eq!(status, 130, "{err}");
            assert!(err.contains("Stopping after this step") && rest.iter().any(|line| line.contains("--resume")));
        }

        let (status, text, err) = run(&["train", "digits", "--resume", broken.to_str().unwrap()]);
        assert_eq!(status, 0, "{err}");
        assert!(!text.contains("  1/4 ") && text.contains("  4/4 "), "{text}");
        for name in ["model.safetensors", "curves.svg"] {
            let bytes = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
            assert!(bytes(&whole) == bytes(&broken), "{name} differs after {signal}");
        }
    }
}

#[test]
fn a_profile_says_where_a_steps_time_goes() {
    let folder = folder("profile");
    let out = folder.to_str().unwrap();
    let (status, text, err) = run(&["train", "digits", "--model", "mlp", "--epochs", "1", "--out", out, "--profile"]);
    assert_eq!(status, 0, "{err}");
    for part in [
        "differentiating the loss",
        "encoding dispatches",
        "waiting for the device",
        "building expressions",
        "the device, meanwhile",
        "matmul",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    assert!(text.contains("  1/1 "), "the training follows:\n{text}");
    let trace = std::fs::read_to_string(folder.join("trace.json")).unwrap();
    assert!(trace.contains("\"cat\":\"kernel\"") && trace.contains("\"cat\":\"host\"") && !trace.contains("NaN"));
    // Both clocks on one axis: no dispatch a second away from what the host did.
    let starts = trace.split("\"ts\":").skip(1).map(|rest| rest.split(',').next().unwrap().parse::<f64>().unwrap());
    let (least, most) = starts.fold((f64::MAX, f64::MIN), |(l, m), ts| (l.min(ts), m.max(ts)));
    assert!(least >= 0.0 && most < 120e6, "{least} to {most} µs");
}
