//! Programs: replay, parameters on both ways, rebinding, copies, submissions, the steady state, timing, threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln_device::{
    Buffer, Clock, Copy, Device, Error, Launch, Options, Params, Program, Slice, Source, Step, fold_groups,
};

/// x[i] = x[i] * scale + shift
const AFFINE: &str = "
struct Sizes { n: u32, scale: f32, shift: f32 }
var<immediate> sizes: Sizes;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * 65535u + group.x) * 64u + lane;
    if i < sizes.n { x[i] = x[i] * sizes.scale + sizes.shift; }
}";

fn open(options: Options) -> Result<Device, Error> {
    let env = Options::from_env()?;
    Device::open_with(&Options { adapter: env.adapter, backend: env.backend, ..options })
}

fn upload(device: &Device, values: &[f32]) -> Result<Buffer, Error> {
    device.upload(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>(), "values")
}

fn read(device: &Device, buffer: &Buffer) -> Result<Vec<f32>, Error> {
    let bytes = device.read(&[Slice::from(buffer)])?.remove(0);
    Ok(bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect())
}

fn affine(device: &Device, x: &Buffer, scale: f32, shift: f32) -> Result<Step, Error> {
    let n = x.bytes() / 4;
    let params = Params::new().u32(n as u32).f32(scale).f32(shift);
    let launch = Launch::new(Source::new("affine", AFFINE).changing(), params, fold_groups(n.div_ceil(64)));
    Step::new(device, &launch, &[("x", x)])
}

#[test]
fn steps_run_in_order_and_parameters_change_between_runs() -> Result<(), Error> {
    for immediates in [true, false] {
        let device = open(Options { immediates, ..Options::default() })?;
        let x = upload(&device, &[1.0; 100])?;
        let steps =
            vec![affine(&device, &x, 2.0, 0.0)?, affine(&device, &x, 1.0, 3.0)?, affine(&device, &x, 10.0, 1.0)?];
        let mut program = Program::new(&device, steps)?;
        assert_eq!(program.len(), 3);
        program.run(&[], &[], &[])?;
        assert_eq!(read(&device, &x)?, [51.0; 100], "immediates {immediates}");
        program.set_param(1, 8, 0f32.to_le_bytes());
        program.set_param(2, 8, 0f32.to_le_bytes());
        program.set_param(2, 12, [0xff; 4]); // past the end
        program.set_param(9, 0, [0xff; 4]); // no such step
        program.run(&[], &[], &[])?;
        assert_eq!(read(&device, &x)?, [1020.0; 100], "immediates {immediates}");
    }
    Ok(())
}

#[test]
fn a_struct_past_the_immediates_becomes_a_uniform() -> Result<(), Error> {
    let device = open(Options::default())?;
    let x = upload(&device, &[0.0; 64])?;
    let params = (0..60).fold(Params::new().u32(64).f32(1.0).f32(5.0), Params::u32);
    let source = Source::new("long", AFFINE.replace("sizes.shift;", "sizes.shift + last();"))
        .changing()
        .declare("fn last() -> f32 { return f32(sizes.p59); }");
    let source = (0..60).fold(source, |source, i| source.param(&format!("p{i}"), "u32"));
    let step = Step::new(&device, &Launch::new(source, params, [1, 1, 1]), &[("x", &x)])?;
    assert!(step.kernel.uniform() && step.kernel.params_bytes() == 63 * 4);
    device.run(vec![step.clone(), affine(&device, &x, 2.0, 0.0)?, step])?;
    assert_eq!(read(&device, &x)?, [192.0; 64]);
    Ok(())
}

#[test]
fn parameters_that_stay_lie_in_a_uniform_and_can_be_set_all_the_same() -> Result<(), Error> {
    let device = open(Options::default())?;
    let x = upload(&device, &[1.0; 100])?;
    let still = |scale: f32, shift: f32, fields: u32| {
        let source = (0..fields).fold(Source::new("still", AFFINE), |source, i| source.param(&format!("p{i}"), "u32"));
        let params = (0..fields).fold(Params::new().u32(100).f32(scale).f32(shift), Params::u32);
        Step::new(&device, &Launch::new(source, params, [2, 1, 1]), &[("x", &x)])
    };
    // the page holds steps of different lengths, and one between them takes immediates
    let steps = vec![still(2.0, 0.0, 0)?, affine(&device, &x, 1.0, 1.0)?, still(3.0, 0.0, 70)?, still(1.0, 5.0, 2)?];
    assert_eq!(steps.iter().map(|step| step.kernel.uniform()).collect::<Vec<_>>(), [true, false, true, true]);
    let mut program = Program::new(&device, steps)?;
    program.run(&[], &[], &[])?;
    assert_eq!(read(&device, &x)?, [14.0; 100]);
    let made = device.counters();
    for (step, scale) in [(0, 0.5f32), (1, 2.0), (2, 0.5)] {
        program.set_param(step, 4, scale.to_le_bytes());
    }
    program.run(&[], &[], &[])?;
    assert_eq!(read(&device, &x)?, [12.5; 100]);
    program.run(&[], &[], &[])?;
    assert_eq!(read(&device, &x)?, [11.75; 100]);
    assert_eq!((device.counters().buffers, device.counters().bind_groups), (made.buffers, made.bind_groups));
    Ok(())
}

#[test]
fn copies_clears_and_steps_have_their_order() -> Result<(), Error> {
    let device = open(Options::default())?;
    let (x, input, scratch, out) = (
        upload(&device, &[7.0; 33])?,
        upload(&device, &[3.0; 33])?,
        upload(&device, &[9.0; 33])?,
        device.alloc(33 * 4, "out")?,
    );
    let mut program =
        Program::new(&device, vec![affine(&device, &x, 2.0, 1.0)?, affine(&device, &scratch, 5.0, 1.0)?])?;
    program.run(&[Copy::whole(&input, &x)], std::slice::from_ref(&scratch), &[Copy::whole(&x, &out)])?;
    assert_eq!((read(&device, &out)?, read(&device, &scratch)?), (vec![7.0; 33], vec![1.0; 33]));
    let bad = Copy { bytes: 4096, ..Copy::whole(&input, &x) };
    assert!(matches!(program.run(&[bad], &[], &[]), Err(Error::Validation(_))));
    assert_eq!(read(&device, &out)?, [7.0; 33], "a refused run does nothing");
    Ok(())
}

#[test]
fn rebinding_changes_every_use() -> Result<(), Error> {
    let device = open(Options::default())?;
    let (a, b) = (upload(&device, &[1.0; 8])?, upload(&device, &[2.0; 8])?);
    let mut program = Program::new(&device, vec![affine(&device, &a, 2.0, 0.0)?, affine(&device, &a, 1.0, 1.0)?])?;
    program.rebind(&a, &b)?;
    program.run(&[], &[], &[])?;
    assert_eq!((read(&device, &a)?, read(&device, &b)?), (vec![1.0; 8], vec![5.0; 8]));
    let short = device.alloc(4, "short")?;
    assert!(matches!(program.rebind(&b, &short), Err(Error::Validation(_))));
    program.set_param(usize::MAX, usize::MAX, [0; 4]);
    program.set_param(0, usize::MAX, [0; 4]);
    program.run(&[], &[], &[])?;
    assert_eq!(read(&device, &b)?, [11.0; 8], "a refused rebind changes nothing");
    Ok(())
}

#[test]
fn the_steady_state_makes_nothing() -> Result<(), Error> {
    for immediates in [true, false] {
        let device = open(Options { immediates, ..Options::default() })?;
        let x = upload(&device, &[1.0; 1000])?;
        let mut program = Program::new(&device, (0..20).map(|_| affine(&device, &x, 1.0, 1.0).unwrap()).collect())?;
        program.run(&[], &[], &[])?;
        read(&device, &x)?;
        let before = device.counters();
        for _ in 0..50 {
            let batch = upload(&device, &[0.0; 1000])?;
            program.set_param(0, 4, 2f32.to_le_bytes());
            program.run(&[Copy::whole(&batch, &x)], &[], &[])?;
            assert_eq!(read(&device, &x)?, [20.0; 1000]);
        }
        let after = device.counters();
        assert_eq!((after.pipelines, after.bind_groups), (before.pipelines, before.bind_groups));
        assert!(after.buffers <= before.buffers + 1, "one buffer for the batches: {after:?}");
        assert_eq!(after.dispatches - before.dispatches, 50 * 20);
        assert_eq!(after.submissions - before.submissions, 50 * 2);
        assert_eq!(after.live_bytes, before.live_bytes);
    }
    Ok(())
}

#[test]
fn many_steps_are_several_submissions() -> Result<(), Error> {
    let device = open(Options::default())?;
    let x = upload(&device, &[0.0; 4])?;
    let mut program = Program::new(&device, (0..1300).map(|_| affine(&device, &x, 1.0, 1.0).unwrap()).collect())?;
    let before = device.counters().submissions;
    program.run(&[], &[], &[])?;
    assert_eq!(device.counters().submissions - before, 3);
    assert_eq!(read(&device, &x)?, [1300.0; 4]);
    Ok(())
}

#[test]
fn grids_fold_past_65535() -> Result<(), Error> {
    assert_eq!(fold_groups(0), [0, 0, 1]);
    assert_eq!(fold_groups(65_535), [65_535, 1, 1]);
    assert_eq!(fold_groups(65_536), [65_535, 2, 1]);
    let device = open(Options::default())?;
    let n = 65_535 * 64 + 65;
    let x = device.zeroed(n * 4, "x")?;
    device.run(vec![affine(&device, &x, 1.0, 1.0)?])?;
    assert!(read(&device, &x)?.iter().all(|&v| v == 1.0));
    Ok(())
}

#[test]
fn wrong_steps_are_refused() -> Result<(), Error> {
    let device = open(Options { max_binding: Some(1 << 16), ..Options::default() })?;
    let x = upload(&device, &[1.0; 64])?;
    let good = affine(&device, &x, 1.0, 0.0)?;
    let fails = |step: Step| Program::new(&device, vec![step]).expect_err("a wrong step");
    let missing = Step { bindings: vec![("y".into(), Slice::from(&x))], ..good.clone() };
    assert!(fails(missing).to_string().contains("nothing is bound to `x`"));
    let short = Step { params: vec![0; 4], ..good.clone() };
    assert!(fails(short).to_string().contains("4 bytes of parameters for a kernel that takes 12"));
    let slice = Slice { buffer: x.clone(), offset: 4, bytes: 16 };
    let crooked = Step { bindings: vec![("x".into(), slice)], ..good.clone() };
    assert!(fails(crooked).to_string().contains("not a multiple"));
    let slice = Slice { buffer: x.clone(), offset: 0, bytes: 1 << 20 };
    let past = Step { bindings: vec![("x".into(), slice)], ..good.clone() };
    assert!(matches!(fails(past), Error::Validation(_)));
    let wide = Step { groups: [70_000, 1, 1], ..good.clone() };
    assert!(matches!(fails(wide), Error::Limit { what: "workgroups in one dimension", .. }));
    let long = device.alloc(1 << 17, "long")?;
    let large = Step { bindings: vec![("x".into(), Slice::from(&long))], ..good };
    assert!(matches!(fails(large), Error::Limit { what: "bytes in a binding", has: 65_536, .. }));
    Ok(())
}

#[test]
fn one_buffer_is_not_read_and_written_by_one_step() -> Result<(), Error> {
    let device = open(Options::default())?;
    let text = "
        @group(0) @binding(0) var<storage, read> a: array<f32>;
        @group(0) @binding(1) var<storage, read> b: array<f32>;
        @group(0) @binding(2) var<storage, read_write> out: array<f32>;
        @compute @workgroup_size(1) fn main() { out[0] = a[0] + b[0]; }";
    let (x, y) = (upload(&device, &[1.0; 4])?, upload(&device, &[0.0; 4])?);
    let launch = Launch::new(Source::user("add", text), Params::new(), [1, 1, 1]);
    let both = Step::new(&device, &launch, &[("a", &x), ("b", &x), ("out", &x)])?;
    let error = Program::new(&device, vec![both]).expect_err("an alias");
    assert!(error.to_string().contains("`a` and `out` are one buffer"), "{error}");
    device.run(vec![Step::new(&device, &launch, &[("a", &x), ("b", &x), ("out", &y)])?])?;
    assert_eq!(read(&device, &y)?[0], 2.0);
    Ok(())
}

#[test]
fn profiles_name_every_dispatch() -> Result<(), Error> {
    let device = open(Options::default())?;
    let x = upload(&device, &vec![1.0; 1 << 20])?;
    let mut second = affine(&device, &x, 1.0, 1.0)?;
    second.label = "shift \"x\"".into();
    let mut program = Program::new(&device, vec![affine(&device, &x, 1.0, 1.0)?, second])?;
    device.profile(true);
    for _ in 0..3 {
        program.run(&[], &[], &[])?;
    }
    device.profile(false);
    program.run(&[], &[], &[])?;
    let profile = device.take_profile();
    assert_eq!(profile.events.len(), 6);
    assert_eq!(profile.clock == Clock::Device, device.caps().timestamps);
    assert!(profile.events.iter().all(|event| event.duration > 0.0), "{profile:?}");
    let table = profile.table();
    assert!(table.contains("affine") && table.contains("share"), "{table}");
    let path = std::env::temp_dir().join(format!("kiln-trace-{}.json", std::process::id()));
    profile.write_trace(&path).unwrap();
    let trace = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(trace.contains(r#""name":"shift \"x\"""#) && trace.trim_end().ends_with("]}"), "{trace}");
    assert!(device.take_profile().events.is_empty());
    assert_eq!(read(&device, &x)?[0], 9.0);
    Ok(())
}

#[test]
fn two_threads_do_not_disturb_each_other() -> Result<(), Error> {
    let device = open(Options::default())?;
    let work = |start: f32| -> Result<Vec<f32>, Error> {
        let x = upload(&device, &[start; 500])?;
        let mut program = Program::new(&device, vec![affine(&device, &x, 0.5, 1.0)?, affine(&device, &x, 1.5, 0.1)?])?;
        for _ in 0..100 {
            program.run(&[], &[], &[])?;
            let scratch = device.zeroed(2000, "scratch")?;
            device.run(vec![affine(&device, &scratch, 1.0, start)?])?;
            assert_eq!(read(&device, &scratch)?, [start; 500]);
        }
        read(&device, &x)
    };
    let alone = [work(1.0)?, work(2.0)?];
    let together = std::thread::scope(|scope| {
        let threads = [1.0, 2.0].map(|start| scope.spawn(move || work(start)));
        threads.map(|thread| thread.join().unwrap().unwrap())
    });
    assert_eq!(alone, together);
    Ok(())
}

/// Prints what encoding a replayed dispatch costs the host. `cargo test … -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn host_cost_of_a_replayed_dispatch() -> Result<(), Error> {
    for immediates in [true, false] {
        let device = open(Options { immediates, ..Options::default() })?;
        let buffers: Vec<Buffer> = (0..50).map(|_| upload(&device, &[0.0; 64]).unwrap()).collect();
        let steps = (0..500).map(|i| affine(&device, &buffers[i % 50], 1.0, 1.0).unwrap()).collect();
        let mut program = Program::new(&device, steps)?;
        let mut best = f64::INFINITY;
        for _ in 0..50 {
            let start = std::time::Instant::now();
            program.run(&[], &[], &[])?;
            best = best.min(start.elapsed().as_secs_f64());
            device.wait()?;
        }
        println!("immediates {immediates}: {:.2} µs per dispatch", best * 1e6 / 500.0);
    }
    Ok(())
}

/// A buffer without room for one element of the kernel's array is refused when the program is made, not when it runs.
#[test]
fn buffers_are_as_long_as_a_kernels_types_ask() -> Result<(), Error> {
    const ROWS: &str = "
struct Row { values: array<vec4<f32>, 5> }
struct Sizes { n: u32 }
var<immediate> sizes: Sizes;
@group(0) @binding(0) var<storage, read_write> rows: array<Row>;
@compute @workgroup_size(1) fn main() { if sizes.n > 0u { rows[0].values[4].w = 7.0; } }";
    let device = open(Options::default())?;
    let launch = Launch::new(Source::new("rows", ROWS), Params::new().u32(1), [1, 1, 1]);
    for (floats, fits) in [(20, true), (40, true), (16, false), (1, false)] {
        let rows = upload(&device, &vec![0.0; floats])?;
        let step = Step::new(&device, &launch, &[("rows", &rows)])?;
        match Program::new(&device, vec![step]) {
            Ok(mut program) => {
                assert!(fits, "{floats} floats");
                program.run(&[], &[], &[])?;
                assert_eq!(read(&device, &rows)?[19], 7.0);
            }
            Err(Error::Validation(text)) => assert!(!fits && text.contains("80"), "{floats} floats: {text}"),
            Err(error) => return Err(error),
        }
    }
    assert_eq!(device.kernel(&launch.source)?.bindings()[0].least, 80);
    Ok(())
}
