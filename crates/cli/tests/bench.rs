//! `kiln bench` from outside: what it prints, what it refuses, and with which exit status.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Exit status, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    let output = command.arg("bench").args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_list_names_families_ops_and_sizes() {
    let (status, out, err) = run(&["list"]);
    assert_eq!(status, 0, "{err}");
    for word in [
        "matmul_batched",
        "conv2d_dw",
        "softmax",
        "argsort",
        "embedding_grad",
        "train_gpt_124m",
        "mxnxk",
        "512x512x512",
    ] {
        assert!(out.contains(word), "no {word} in\n{out}");
    }
}

#[test]
fn peaks_are_numbers_above_zero() {
    let (status, out, err) = run(&["peak", "--time", "0.002", "--json"]);
    assert_eq!(status, 0, "{err}");
    for name in ["f32_gflops", "copy_gbs_1MiB", "read_gbs_1MiB", "write_gbs_1MiB", "round_trip_us"] {
        let value = out.split(&format!("\"{name}\": ")).nth(1).and_then(|rest| rest.split([',', '}']).next());
        assert!(value.and_then(|v| v.parse::<f64>().ok()).is_some_and(|v| v > 0.0), "{name} in {out}");
    }
}

/// The smallest size of every op: each is verified against its twin, and none of them is wrong.
#[test]
fn every_op_is_right_and_has_its_columns() {
    let small = [
        (&["matmul", "matmul_bt", "matmul_at", "matmul_skinny", "matmul_long"][..], "33x65x17"),
        (&["matvec"], "1x65x129"),
        (&["matmul_batched"], "3x17x33x65"),
        (&["conv2d", "conv2d_dx", "conv2d_dw"], "2x3x5x9x3"),
        (&["conv2d_1x1"], "2x3x5x9x1"),
        (&["conv2d_depthwise"], "2x3x9x3"),
        (
            &["softmax", "log_softmax", "softmax_grad", "layer_norm", "layer_norm_grad", "rms_norm", "cross_entropy"],
            "17x65",
        ),
        (&["cross_entropy_grad", "reduce", "cumsum", "gather", "bias_relu_residual", "transpose"], "17x65"),
        (&["sort", "argsort"], "3x300"),
        (&["embedding", "embedding_grad", "index_add"], "50x12x77"),
        (&["scale", "add", "gelu", "mul_add_gelu", "chain", "random_uniform", "random_normal", "optimizer"], "1001"),
        (&["pool"], "3x2x10"),
    ];
    for (ops, size) in small {
        let args: Vec<&str> = ["run"]
            .iter()
            .chain(ops)
            .chain(&["--size", size, "--time", "0.002", "--format", "jsonl"])
            .copied()
            .collect();
        let (status, out, err) = run(&args);
        assert_eq!(status, 0, "{args:?}: {err}\n{out}");
        let rows: Vec<&str> = out.lines().filter(|line| line.contains("\"kind\": \"row\"")).collect();
        assert!(rows.len() >= ops.len(), "{ops:?}: {out}");
        for row in rows {
            for name in [
                "op",
                "shape",
                "dtype",
                "variant",
                "wall_ms",
                "gpu_p20",
                "wall_p80",
                "gbs",
                "percent_of_peak",
                "bound",
                "error",
                "adapter",
                "driver",
                "version",
            ] {
                assert!(row.contains(&format!("\"{name}\": ")), "no {name} in {row}");
            }
        }
    }
}

#[test]
fn every_variant_of_a_product_and_a_convolution_is_right() {
    for (op, size) in [
        ("matmul", "65x132x70"),
        ("matvec", "1x132x70"),
        ("conv2d", "2x4x8x9x3"),
        ("conv2d_dx", "2x4x8x9x3"),
        ("conv2d_dw", "2x4x8x9x3"),
    ] {
        let (status, out, err) =
            run(&["run", op, "--size", size, "--variant", "all", "--time", "0.002", "--format", "csv"]);
        assert_eq!(status, 0, "{err}\n{out}");
        let rows = out.lines().filter(|line| line.starts_with(op)).count();
        assert!(rows >= 3, "{op} has {rows} variants:\n{out}");
    }
}

#[test]
fn a_training_step_is_checked_and_timed() {
    let (status, out, err) = run(&["run", "train_lstm", "--size", "2x3x8", "--time", "0.01"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("\ntrain_lstm 2x3x8 f32 ") && out.contains(" bound by"), "{out}");
    let markdown = ["run", "train_resnet18", "--size", "2x8x4", "--time", "0.01", "--format", "markdown"];
    let (status, out, err) = run(&markdown);
    assert_eq!(status, 0, "{err}\n{out}");
    assert!(out.contains("| train_resnet18 | 2x8x4 | f32 |"), "{out}");
}

#[test]
fn what_makes_no_sense_is_explained_with_status_2() {
    for (args, word) in [
        (&["run", "matmull"][..], "there is no op or family `matmull`"),
        (&["run", "matmul", "--size", "0x8x8"], "m is zero"),
        (&["run", "matmul", "--size", "8x8"], "2 numbers for 3 axes (it takes mxnxk)"),
        (&["run", "matmul", "--size", "8x8x-8"], "`-8` is no size"),
        (&["run", "matmul", "--size", "8xax8"], "`a` is no size"),
        (&["run", "matmul", "--size", "99999999999x8x8"], "larger than any tensor"),
        (&["run", "matmul", "--size", "99999999999999999999999x8x8"], "is no size"),
        (&["run", "matmul", "--size", "2000000000x8x2000000000"], "elements; the most is"),
        (&["run", "matmul", "--size", "40000x40000x8"], "matmul 40000x40000x8: "),
        (&["run", "scale", "--size", "2000000000"], "scale 2000000000: "),
        (&["run", "matmul", "--size", "8x8x8", "--dtype", "f64"], "there are f32, f16 and all"),
        (&["run", "sort", "--size", "8x8", "--dtype", "f16"], "f16"),
        (&["run", "matmul", "--size", "8x8x8", "--variant", "magic"], "no variant `magic` here; there are auto, "),
        (&["run", "sort", "--size", "8x8", "--variant", "tile"], "one algorithm only"),
        (&["run", "conv2d", "--size", "1x1x1x8x4"], "has a middle"),
        (&["run", "max_pool2d", "--size", "1x1x7"], "the side is even"),
        (&["run", "train_gpt", "--size", "1x10x3x4x5x6"], "the heads divide the width"),
        (&["run", "matmul", "--time", "0"], "must be a number of seconds"),
        (&["run", "matmul", "--time", "nan"], "must be a number of seconds"),
        (&["run", "matmul", "--format", "xml"], "possible values"),
        (&["ab", "matmul"], "give --variant twice, or --set twice"),
        (&["ab", "matmul", "--variant", "auto", "--variant", "magic"], "no variant `magic`"),
        (&["ab", "reduce", "--set", "fusion=on", "--set", "fusion=off"], "is a family"),
        (&["ab", "scale", "--set", "fusion=on", "--set", "fusion=maybe"], "=on or =off"),
        (&["compare", "nowhere.jsonl", "nowhere.jsonl"], "cannot read nowhere.jsonl"),
        (&["report", "nowhere.jsonl"], "cannot read nowhere.jsonl"),
        (&["wgsl", "nowhere.wgsl"], "cannot read nowhere.wgsl"),
    ] {
        let (status, out, err) = run(args);
        assert!(status == 2 && err.contains(word), "{args:?}: {status}: {err}\n{out}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_of_its_own() {
    let file = write(&folder("unwritable"), "file", "in the way");
    let (status, _, err) = run(&["run", "scale", "--size", "8", "--time", "0.001", "--out", &format!("{file}/below")]);
    assert!(status == 1 && err.contains("cannot write"), "{status}: {err}");
}

/// Two saved runs: one row the same, one faster, one slower, one unsure.
#[test]
fn runs_are_compared_and_reported() {
    let folder = folder("compare");
    let line = |op: &str, [p20, ms, p80]: [f64; 3]| {
        format!(
            "{{\"kind\": \"row\", \"family\": \"f\", \"op\": \"{op}\", \"shape\": \"8\", \"dtype\": \"f32\", \"variant\": \"auto\", \"status\": \"ok\", \
             \"wall_ms\": {ms}, \"wall_p20\": {p20}, \"wall_p80\": {p80}, \"percent_of_peak\": 5, \"bound\": \"memory\", \"flops\": 8, \"bytes\": 64, \
             \"dispatches\": 1, \"repetitions\": 5, \"adapter\": \"a\", \"driver\": \"d\", \"backend\": \"b\", \"software\": true, \"version\": \"0\"}}\n"
        )
    };
    let before = ["same", "faster", "slower", "unsure", "gone"].map(|op| line(op, [0.9, 1.0, 1.1])).concat();
    let after = [
        line("same", [0.9, 1.01, 1.1]),
        line("faster", [0.4, 0.5, 0.6]),
        line("slower", [1.4, 1.5, 1.6]),
        line("unsure", [1.0, 1.5, 1.6]),
        line("new", [1.0, 1.0, 1.0]),
    ]
    .concat();
    let (a, b) = (write(&folder, "a.jsonl", &before), write(&folder, "b.jsonl", &after));
    let (status, out, err) = run(&["compare", &a, &b]);
    assert_eq!(status, 1, "{err}");
    assert!(err.contains("1 slower") && out.contains("1 faster, 1 same, 1 slower, 1 unsure"), "{out}{err}");
    assert!(out.contains("only in the first run") && out.contains("only in the second run"), "{out}");
    for verdict in ["same", "faster", "slower", "unsure"] {
        let row = out.lines().find(|line| line.starts_with(&format!("{verdict} 8 f32"))).unwrap();
        assert!(row.contains(&format!("  {verdict} (wall)")), "{row}");
    }
    assert_eq!(run(&["compare", &a, &a]).0, 0);

    let page = folder.join("report.html");
    let (status, _, err) = run(&["report", &a, "-o", page.to_str().unwrap()]);
    assert_eq!(status, 0, "{err}");
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!doctype html>") && text.contains("slower") && !text.contains("http"), "{text}");

    for (name, text) in [("empty", ""), ("prose", "hello\n"), ("half", &before[..before.len() / 2 + 9])] {
        let path = write(&folder, name, text);
        for args in [&["compare", &path, &a][..], &["report", &path]] {
            let (status, _, err) = run(args);
            assert!(status == 2 && err.contains(name), "{args:?}: {status}: {err}");
        }
    }
}

#[test]
fn two_settings_are_measured_in_turn() {
    let (status, out, err) =
        run(&["ab", "chain", "--size", "4096", "--set", "fusion=on", "--set", "fusion=off", "--time", "0.05"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("A  fusion=on") && out.contains("B  fusion=off") && out.contains("rounds in turn"), "{out}");
    let args = ["ab", "matmul", "--size", "64x64x64", "--variant", "auto", "--variant", "block8x8", "--time", "0.05"];
    let (status, out, err) = run(&args);
    assert!(status == 0 && out.contains("B  block8x8"), "{out}{err}");
}

const AXPY: &str = "
struct Settings { scale: f32, offset: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> settings: Settings;
@compute @workgroup_size(64) fn axpy(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&y) { y[id.x] = settings.scale * x[id.x] + settings.offset; }
}
@compute @workgroup_size(1) fn nothing() {}
";

#[test]
fn a_file_of_the_users_own_runs_with_what_it_binds() {
    let file = write(&folder("wgsl"), "axpy.wgsl", AXPY);
    let binds = ["--bind", "f32:4096:3", "--bind", "f32:4096:zero", "--bind", "f32:2:2"];
    let args: Vec<&str> = ["wgsl", &file, "--entry", "axpy", "--time", "0.005"].into_iter().chain(binds).collect();
    let (status, out, err) = run(&args);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("16×1×1 workgroups of 64×1×1") && out.contains("y begins with 8.00 8.00 8.00 8.00"), "{out}");
    let (status, out, err) = run(&[&args[..], &["--json", "--groups", "16,1"]].concat());
    assert!(status == 0 && out.contains("\"gbs\": ") && out.contains("\"groups\": \"16,1,1\""), "{out}{err}");
    // what is no number is shown as such
    let nan = args.iter().map(|arg| if *arg == "f32:4096:3" { "f32:4096:nan" } else { arg });
    let (status, out, err) = run(&nan.collect::<Vec<_>>());
    assert!(status == 0 && out.contains("y begins with NaN NaN NaN NaN"), "{out}{err}");
}

#[test]
fn halves_are_shown_as_numbers() {
    if !kiln::Device::open().unwrap().caps().f16 {
        return;
    }
    let text = "enable f16;
        @group(0) @binding(0) var<storage, read_write> x: array<f16>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < arrayLength(&x) { x[id.x] = x[id.x] * 0.5h + 1.0h; }
        }";
    let file = write(&folder("half"), "half.wgsl", text);
    let (status, out, err) = run(&["wgsl", &file, "--bind", "f16:9:index", "--time", "0.005"]);
    assert!(status == 0 && out.contains("x begins with 1.00 1.50 2.00 2.50"), "{out}{err}");
}

#[test]
fn a_file_that_does_not_fit_is_explained() {
    let folder = folder("unfit");
    let axpy = write(&folder, "axpy.wgsl", AXPY);
    let broken = write(&folder, "broken.wgsl", "fn main( {");
    let texture = write(
        &folder,
        "texture.wgsl",
        "@group(0) @binding(0) var t: texture_2d<f32>;\n@compute @workgroup_size(1) fn main() { _ = textureDimensions(t); }",
    );
    let wide = write(&folder, "wide.wgsl", "@compute @workgroup_size(65536) fn main() {}");
    let none = write(&folder, "none.wgsl", "fn helper() {}");
    let pair = ["--bind", "f32:8", "--bind", "f32:8"];
    let axpy_with = |binds: &[&str]| -> Vec<String> {
        ["wgsl", &axpy, "--entry", "axpy"].iter().chain(binds).map(ToString::to_string).collect()
    };
    let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (args, word) in [
        (list(&["wgsl", &axpy]), "several entry points"),
        (list(&["wgsl", &axpy, "--entry", "main"]), "it has axpy, nothing"),
        (axpy_with(&pair), "2 of --bind for 3 bindings"),
        (axpy_with(&[]), "@group(1) @binding(0) var<uniform> settings: Settings"),
        (axpy_with(&["--bind", "i32:8", "--bind", "f32:8", "--bind", "f32:2"]), "`x` is array<vec4<f32>>: --bind f32:"),
        (axpy_with(&["--bind", "f32:8", "--bind", "f32:8", "--bind", "f32:1"]), "takes 8 bytes or more"),
        (axpy_with(&["--bind", "f32:7", "--bind", "f32:8", "--bind", "f32:2"]), "no whole number of them"),
        (axpy_with(&["--bind", "f32:8:red"]), "random, zero, index or a number"),
        (axpy_with(&["--bind", "f32:8", "--bind", "f32:8", "--bind", "f32:2", "--groups", "0"]), "--groups 0"),
        (
            axpy_with(&["--bind", "f32:8", "--bind", "f32:8", "--bind", "f32:2", "--groups", "9999999"]),
            "workgroups in one dimension",
        ),
        (
            axpy_with(&["--bind", "f32:8", "--bind", "f32:8", "--bind", "f32:2", "--immediate", "u32:1"]),
            "1 words of --immediate, 0 are declared",
        ),
        (axpy_with(&["--bind", "f32:2000000000", "--bind", "f32:2000000000", "--bind", "f32:2"]), "kiln: "),
        (list(&["wgsl", &broken]), "broken.wgsl"),
        (list(&["wgsl", &texture]), "is no buffer"),
        (list(&["wgsl", &wide]), "Workgroup size is out of range"),
        (list(&["wgsl", &none]), "no @compute entry point"),
    ] {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let (status, out, err) = run(&words);
        assert!(status == 2 && err.contains(word), "{args:?}: {status}: {err}\n{out}");
    }
}
