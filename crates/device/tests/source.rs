//! Specialising a text: what may be changed, what is dropped, what is appended, and what is said about mistakes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln_device::{Device, Error, Options, Source};

const TEXT: &str = "// header: stays
struct Sizes { n: u32, /* a comment } */ m: u32 }   // sizes
var<immediate> sizes: Sizes;
const TILE: u32 = 4u; // tile; not a value
const TINY: f32 = 1e-5;
alias Elem = f32;
@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

// slot: loads an element
fn load(i: u32) -> f32 {
    return f32(x[i]); // } not the end
}
fn unused(v: vec2<f32>) -> f32 { return v.y; }

@compute @workgroup_size(TILE) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < sizes.n { out[id.x] = load(id.x) + TINY; }
}
";

fn finish(source: Source) -> String {
    source.finish().unwrap()
}

#[test]
fn what_main_does_not_reach_is_left_out() {
    let text = finish(Source::new("k", TEXT));
    assert!(text.starts_with("// header: stays"), "{text}");
    assert!(!text.contains("var<storage, read> y"), "a member `.y` is no mention of `y`: {text}");
    assert!(!text.contains("fn unused"), "{text}");
    assert!(text.contains("var<storage, read> x") && text.contains("// tile; not a value"), "{text}");
}

#[test]
fn consts_aliases_slots_and_sizes_are_replaced() {
    let source = Source::new("k", TEXT)
        .constant("TILE", "64u")
        .alias("Elem", "f16")
        .slot("load", "    let v = y[i]; // mine\n    return v;")
        .param("in0_s0", "u32")
        .param("scale", "f32");
    let text = finish(source);
    assert!(text.contains("const TILE: u32 = 64u;") && text.contains("alias Elem = f16;"), "{text}");
    assert!(text.contains("let v = y[i]; // mine") && !text.contains("x[i]"), "{text}");
    assert!(text.contains("m: u32, in0_s0: u32, scale: f32 }"), "{text}");
    assert!(!text.contains("var<storage, read> x") && text.contains("var<storage, read> y"), "{text}");
    assert!(text.starts_with("enable f16;\n"), "{text}");
}

#[test]
fn declarations_are_appended_and_reached() {
    let source = Source::new("k", TEXT)
        .declare(
            "@group(0) @binding(10) var<storage, read> in0: array<f32>;\nfn half(v: f32) -> f32 { return 0.5 * v; }",
        )
        .declare("@group(0) @binding(11) var<storage, read> in1: array<f32>;")
        .slot("load", "return half(in0[i]);");
    let text = finish(source);
    assert!(text.contains("in0: array") && text.contains("fn half") && !text.contains("in1"), "{text}");
}

#[test]
fn names_that_are_not_there_are_errors() {
    let wrong: [(Source, &str); 5] = [
        (Source::new("k", TEXT).constant("TLIE", 1), "const `TLIE`"),
        (Source::new("k", TEXT).alias("TILE", "u32"), "alias `TILE`"),
        (Source::new("k", TEXT).slot("main", ""), "slot `main`"),
        (Source::new("k", TEXT).slot("store", ""), "slot `store`"),
        (Source::new("k", "@compute @workgroup_size(1) fn main() {}").param("n", "u32"), "struct `Sizes`"),
    ];
    for (source, part) in wrong {
        let error = source.finish().expect_err(part);
        assert!(matches!(&error, Error::Kernel { name, .. } if name == "k"), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn an_empty_sizes_disappears() {
    let text = finish(Source::new(
        "k",
        "struct Sizes { }\nvar<immediate> sizes: Sizes;\n@compute @workgroup_size(1) fn main() {}",
    ));
    assert!(!text.contains("Sizes"), "{text}");
    let text = finish(
        Source::new("k", "struct Sizes { }\nvar<immediate> sizes: Sizes;\n@compute @workgroup_size(1) fn main() {}")
            .param("n", "u32"),
    );
    assert!(text.contains("struct Sizes { n: u32 }"), "{text}");
}

#[test]
fn library_functions_come_with_what_they_use() {
    let text = finish(Source::new(
        "k",
        "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
         @compute @workgroup_size(1) fn main() { let r = philox(vec4(0u), vec2(1u)); x[0] = r.x; }",
    ));
    assert_eq!(text.matches("fn philox(").count(), 1, "{text}");
    assert!(!text.contains("fn erf"), "{text}");
    // The file's own function of that name wins.
    let text = finish(Source::new(
        "k",
        "fn philox(a: u32) -> u32 { return a; }
         @group(0) @binding(0) var<storage, read_write> x: array<u32>;
         @compute @workgroup_size(1) fn main() { x[0] = philox(3u); }",
    ));
    assert_eq!(text.matches("fn philox").count(), 1, "{text}");
}

#[test]
fn one_text_is_one_kernel_whatever_its_comments() -> Result<(), Error> {
    let device = Device::open()?;
    let first = device.kernel(&Source::new("k", TEXT))?;
    let pipelines = device.counters().pipelines;
    let again =
        device.kernel(&Source::new("other", format!("// examples/gpt.rs:41\n{TEXT}").replace("\n//", "\n//!")))?;
    assert_eq!((again.name(), device.counters().pipelines), (first.name(), pipelines), "comments make no new kernel");
    let other = device.kernel(&Source::new("k", TEXT).constant("TILE", "64u"))?;
    assert_eq!((other.workgroup(), device.counters().pipelines), ([64, 1, 1], pipelines + 1));
    let names: Vec<&str> = first.bindings().iter().map(|binding| binding.name.as_str()).collect();
    assert_eq!((names, first.params_bytes()), (vec!["x", "out"], 8));
    assert_eq!(first.bindings().iter().map(|b| (b.binding, b.writes)).collect::<Vec<_>>(), [(0, false), (2, true)]);
    Ok(())
}

#[test]
fn several_kernels_compile_at_once() -> Result<(), Error> {
    let device = Device::open()?;
    let sources: Vec<Source> =
        (0..24).map(|i| Source::new("k", TEXT).constant("TILE", format!("{}u", i % 12 + 1))).collect();
    let kernels = device.kernels(&sources)?;
    assert_eq!(kernels.len(), 24);
    assert_eq!(device.counters().pipelines, 12);
    assert!(kernels.iter().enumerate().all(|(i, kernel)| kernel.workgroup()[0] == i as u32 % 12 + 1));
    let mut wrong = sources;
    wrong[7] = Source::new("broken", TEXT).slot("load", "return 1u;");
    wrong[8] = Source::new("fine", TEXT).constant("TILE", "100u");
    assert!(matches!(device.kernels(&wrong), Err(Error::Kernel { name, .. }) if name == "broken"));
    Ok(())
}

#[test]
fn wrong_kernels_are_errors_with_their_line() -> Result<(), Error> {
    let device = Device::open()?;
    let main = "@compute @workgroup_size(1) fn main() {}";
    let cases = [
        ("syntax", "fn main( {".to_string(), "syntax"),
        ("types", TEXT.replace("+ TINY", "+ 1u"), "out[id.x] = load(id.x) + 1u"),
        ("no entry", "fn helper() {}".to_string(), "no entry point `main`"),
        (
            "group",
            format!("@group(2) @binding(0) var<storage, read> x: array<f32>; {}", main.replace("{}", "{ _ = x[0]; }")),
            "group 2",
        ),
        (
            "odd sizes",
            "struct Sizes { at: vec2<u32> } var<immediate> sizes: Sizes; ".to_string() + main,
            "u32, i32 and f32",
        ),
        ("texture", format!("@group(0) @binding(0) var t: texture_2d<f32>; {main}"), "nothing else"),
        ("coop", "enable wgpu_cooperative_matrix; alias M = coop_mat4x4<f32, A>; ".to_string() + main, ""),
    ];
    for (name, text, part) in cases {
        let error = device.kernel(&Source::user(name, text)).expect_err(name);
        assert!(matches!(error, Error::Kernel { .. } | Error::Feature { .. }), "{error:?}");
        assert!(error.to_string().contains(part) && error.to_string().contains(name), "{error}");
    }
    Ok(())
}

#[test]
fn what_the_device_lacks_is_a_typed_error() -> Result<(), Error> {
    let device = Device::open_with(&Options { max_storage_buffers: Some(4), subgroups: false, ..Options::default() })?;
    assert_eq!((device.caps().max_storage_buffers, device.caps().subgroup), (4, None));
    let declare: String =
        (0..5).map(|i| format!("@group(0) @binding({i}) var<storage, read_write> b{i}: array<f32>;\n")).collect();
    let many = format!("{declare} @compute @workgroup_size(1) fn main() {{ b0[0] = b1[0] + b2[0] + b3[0] + b4[0]; }}");
    let error = device.kernel(&Source::user("many", many)).expect_err("five buffers");
    assert_eq!(error, Error::Limit { kernel: "many".into(), what: "storage buffers", needs: 5, has: 4 });
    let shared = "var<workgroup> w: array<f32, 100000>;\n@compute @workgroup_size(1) fn main() { w[0] = 1.0; }";
    let error = device.kernel(&Source::user("shared", shared)).expect_err("400 kB");
    assert!(matches!(error, Error::Limit { what: "bytes of workgroup memory", needs: 400_000, .. }), "{error}");
    let wide = "@compute @workgroup_size(64, 64, 64) fn main() {}";
    let error = device.kernel(&Source::user("wide", wide)).expect_err("262144 invocations");
    assert!(matches!(error, Error::Limit { what: "invocations in a workgroup", .. }), "{error}");
    let sum = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
        @compute @workgroup_size(8) fn main() { x[0] = subgroupAdd(x[0]); }";
    assert!(device.kernel(&Source::user("sum", sum)).is_err());
    if !device.caps().f16 {
        let half = "enable f16; var<private> h: f16;\n@compute @workgroup_size(1) fn main() { h = 1.0h; }";
        let error = device.kernel(&Source::user("half", half)).expect_err("f16");
        assert_eq!(error, Error::Feature { kernel: "half".into(), feature: "f16" });
    }
    Ok(())
}
